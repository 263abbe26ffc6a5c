"""OFX 1 and 2: tags that are not closed, empty ones, several accounts, and files that mean harm."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from dusangire.money import MAX_MINOR, Money
from dusangire.statements import (
    Direction,
    Entry,
    EntryKind,
    EntryStatus,
    ReadOptions,
    Record,
    Rejected,
    Remark,
    StatementEnd,
    StatementHead,
    Unreadable,
)
from dusangire_statements import ofx

OPTIONS = ReadOptions(currency="RWF", today=date(2026, 11, 23))
SGML = "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\nCHARSET:1252\n\n"
XML = '<?xml version="1.0"?>\n<?OFX OFXHEADER="200" VERSION="211"?>\n'


def statement(*entries: str, currency: str = "RWF", account: str = "000400000001",
              balance: str = "115000") -> str:  # fmt: skip
    return (
        f"<STMTTRNRS><STATUS><CODE>0<SEVERITY>INFO</STATUS>\n<STMTRS><CURDEF>{currency}\n"
        f"<BANKACCTFROM><BANKID>040<ACCTID>{account}<ACCTTYPE>CHECKING</BANKACCTFROM>\n"
        "<BANKTRANLIST><DTSTART>20261101<DTEND>20261130\n"
        + "\n".join(entries)
        + f"\n</BANKTRANLIST>\n<LEDGERBAL><BALAMT>{balance}<DTASOF>20261130</LEDGERBAL>\n"
        "</STMTRS></STMTTRNRS>\n"
    )


def file_of(*statements: str, head: str = SGML) -> str:
    return f"{head}<OFX><BANKMSGSRSV1>\n{''.join(statements)}</BANKMSGSRSV1></OFX>\n"


def transaction(amount: str = "15000", inner: str = "", posted: str = "20261123") -> str:
    return f"<STMTTRN><TRNTYPE>CREDIT<DTPOSTED>{posted}<TRNAMT>{amount}<FITID>F1{inner}</STMTTRN>"


def read(tmp_path: Path, content: str, encoding: str = "utf-8") -> list[Record]:
    file = tmp_path / "statement.ofx"
    file.write_bytes(content.encode(encoding))
    return list(ofx.FORMAT.read(file, OPTIONS))


def entries_of(records: Sequence[Record]) -> list[Entry]:
    return [record for record in records if isinstance(record, Entry)]


def one(tmp_path: Path, *parts: str) -> Entry:
    (found,) = entries_of(read(tmp_path, file_of(statement(*parts))))
    return found


def test_a_statement_says_its_account_period_lines_and_balance(tmp_path: Path) -> None:
    head, entry, end = read(tmp_path, file_of(statement(transaction(inner="<NAME>ALICE M"))))

    assert head == StatementHead(
        account="000400000001", currency="RWF",
        period_from=date(2026, 11, 1), period_to=date(2026, 11, 30),
    )  # fmt: skip
    assert isinstance(entry, Entry)
    assert (entry.amount, entry.direction) == (Money(15_000, "RWF"), Direction.CREDIT)
    assert (entry.booking_date, entry.bank_reference) == (date(2026, 11, 23), "F1")
    assert (entry.counterparty, entry.narration) == ("ALICE M", "ALICE M")
    assert end == StatementEnd(closing=115_000)


def test_closed_tags_and_open_ones_give_the_same(tmp_path: Path) -> None:
    fields = {"TRNTYPE": "DEBIT", "DTPOSTED": "20261123", "TRNAMT": "-5", "FITID": "F", "MEMO": "A"}
    closed = "".join(f"<{tag}>{value}</{tag}>" for tag, value in fields.items())
    unclosed = "".join(f"<{tag}>{value}" for tag, value in fields.items())

    new = read(tmp_path, file_of(statement(f"<STMTTRN>{closed}</STMTTRN>"), head=XML))
    old = read(tmp_path, file_of(statement(f"<STMTTRN>{unclosed}")))

    assert [e.amount.minor for e in entries_of(old)] == [5]
    assert [(e.narration, e.direction) for e in entries_of(new)] == [
        (e.narration, e.direction) for e in entries_of(old)
    ]


def test_several_accounts_of_a_file_are_statements_of_their_own(tmp_path: Path) -> None:
    content = file_of(
        statement(transaction("1"), account="A"),
        statement(transaction("2.50"), currency="USD", account="B", balance="-7.5"),
    )

    records = read(tmp_path, content)

    heads = [(r.account, r.currency) for r in records if isinstance(r, StatementHead)]
    assert heads == [("A", "RWF"), ("B", "USD")]
    assert [e.amount for e in entries_of(records)] == [Money(1, "RWF"), Money(250, "USD")]
    assert [r.closing for r in records if isinstance(r, StatementEnd)] == [115_000, -750]


def test_a_credit_card_is_an_account(tmp_path: Path) -> None:
    content = file_of(statement(transaction("-5"))).replace("BANKACCTFROM", "CCACCTFROM")
    head, entry, _ = read(tmp_path, content.replace("STMTRS", "CCSTMTRS"))

    assert isinstance(head, StatementHead)
    assert isinstance(entry, Entry)
    assert head.account == "000400000001"
    assert entry.direction is Direction.DEBIT


@pytest.mark.parametrize("empty", ["<MEMO>", "<MEMO></MEMO>", "<MEMO/>", "<NAME>\n<MEMO>\n"])
def test_an_empty_tag_is_nothing(tmp_path: Path, empty: str) -> None:
    entry = one(tmp_path, transaction(inner=f"{empty}<CHECKNUM>319"))

    assert (entry.narration, entry.customer_reference) == ("", "319")


@pytest.mark.parametrize(
    ("currency", "text", "signed"),
    [
        ("USD", "-34.51", -3451), ("USD", "+0.01", 1), ("USD", "-34,51", -3451), ("USD", "5", 500),
        ("RWF", "15000.00", 15_000), ("RWF", "-15000", -15_000), ("RWF", "15000,00", 15_000),
    ],
)  # fmt: skip
def test_the_sign_says_the_direction_whatever_the_type_says(
    tmp_path: Path, currency: str, text: str, signed: int
) -> None:
    (entry,) = entries_of(read(tmp_path, file_of(statement(transaction(text), currency=currency))))

    assert entry.amount == Money(abs(signed), currency)
    assert (entry.direction is Direction.CREDIT) == (signed > 0)


@pytest.mark.parametrize(
    "wrong",
    [
        transaction("NaN"), transaction("-Infinity"), transaction("1e9"), transaction("--5"),
        transaction("1,234"), transaction("1,234.5"), transaction(str(MAX_MINOR + 1)),
        transaction("9" * 100), transaction(""), transaction(posted="soon"),
        transaction(posted="20261301"), transaction(posted="20261100"),
        transaction(posted="00001101"), "<STMTTRN><FITID>1</STMTTRN>",
        transaction(inner="<CURRENCY><CURSYM>XYZ</CURRENCY>"),
    ],
)  # fmt: skip
def test_a_transaction_that_cannot_be_read_is_set_aside_and_the_others_stay(
    tmp_path: Path, wrong: str
) -> None:
    records = read(tmp_path, file_of(statement(wrong, transaction("7"))))

    assert [r.line for r in records if isinstance(r, Rejected)] == [11]
    assert [(e.line, e.amount.minor) for e in entries_of(records)] == [(12, 7)]


def test_30_february_is_the_last_of_february_and_said(tmp_path: Path) -> None:
    records = read(tmp_path, file_of(statement(transaction(posted="20260230"))))

    assert entries_of(records)[0].booking_date == date(2026, 2, 28)
    assert [(r.code, r.line) for r in records if isinstance(r, Remark)] == [("IMPOSSIBLE_DATE", 11)]


@pytest.mark.parametrize(
    ("posted", "moment"),
    [
        ("20261123103000[+2:CAT]", datetime(2026, 11, 23, 8, 30, tzinfo=UTC)),
        ("20261123103000.123[-5:EST]", datetime(2026, 11, 23, 15, 30, tzinfo=UTC)),
        ("20261123103000[+5.50:IST]", datetime(2026, 11, 23, 5, 0, tzinfo=UTC)),
        ("20261123120000", None),
        ("20261123", None),
        ("20261123996199[+2:CAT]", None),
    ],
)
def test_a_moment_is_known_where_its_zone_is_written(
    tmp_path: Path, posted: str, moment: datetime | None
) -> None:
    entry = one(tmp_path, transaction(posted=posted))

    assert entry.booking_date == date(2026, 11, 23)
    assert entry.occurred_at == moment


def test_an_amount_of_another_currency_says_so(tmp_path: Path) -> None:
    inner = "<CURRENCY><CURRATE>1400<CURSYM>USD</CURRENCY>"

    assert one(tmp_path, transaction("4.50", inner)).amount == Money(450, "USD")


def test_a_payee_a_fee_and_a_waiting_payment_are_seen(tmp_path: Path) -> None:
    payee = one(tmp_path, transaction(inner="<PAYEE><NAME>BOB<CITY>KIGALI</PAYEE>"))
    fee = one(tmp_path, transaction("-5").replace("CREDIT", "SRVCHG"))
    waiting = one(tmp_path, transaction().replace("STMTTRN>", "STMTTRNP>"))

    assert payee.counterparty == "BOB"
    assert fee.kind is EntryKind.FEE
    assert waiting.status is EntryStatus.PENDING
    assert one(tmp_path, transaction("0")).status is EntryStatus.INFO


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("A &amp; B", "A & B"),
        ("<![CDATA[A <b> & C]]>", "A <b> & C"),
        ("A <!-- no --><MEMO>B", "A B"),
        ("1 < 2", "1 < 2"),
        ("Café", "Café"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_text_is_what_was_meant(tmp_path: Path, written: str, text: str, encoding: str) -> None:
    records = read(tmp_path, file_of(statement(transaction(inner=f"<NAME>{written}"))), encoding)

    assert entries_of(records)[0].narration == text


def test_a_file_in_one_line_is_read(tmp_path: Path) -> None:
    content = file_of(statement(*[transaction(str(n)) for n in range(1, 3_000)]), head=XML)

    found = entries_of(read(tmp_path, content.replace("\n", "")))

    assert [e.amount.minor for e in found] == list(range(1, 3_000))


def test_a_bank_that_answers_with_an_error_is_quoted(tmp_path: Path) -> None:
    content = file_of("<STMTTRNRS>\n<STATUS><CODE>2000<SEVERITY>ERROR<MESSAGE>Try later</STATUS>")

    with pytest.raises(Unreadable, match="error 2000: Try later") as caught:
        read(tmp_path, content)

    assert caught.value.line == 8


def test_a_warning_of_the_bank_is_kept(tmp_path: Path) -> None:
    content = file_of(statement(transaction())).replace("<CODE>0<", "<CODE>3<")

    records = read(tmp_path, content)

    assert [r.code for r in records if isinstance(r, Remark)] == ["BANK_SAYS"]
    assert len(entries_of(records)) == 1


@pytest.mark.parametrize("text", ["NaN", "1e9", "1,234", "9" * 40])
def test_a_balance_that_cannot_be_read_is_a_refusal(tmp_path: Path, text: str) -> None:
    with pytest.raises(Unreadable, match="LEDGERBAL"):
        read(tmp_path, file_of(statement(transaction(), balance=text)))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f'{XML}<!DOCTYPE OFX [<!ENTITY a "b">]><OFX>', 3),
        (f'{XML}<!DOCTYPE OFX SYSTEM "http://127.0.0.1:1/x"><OFX>', 3),
        (f"{SGML}<OFX><MEMO>{'x' * 20_000}", 6),
        (f"{SGML}<OFX><{'x' * 20_000}>", 6),
        (f"{SGML}<OFX>\n<NAME><![CDATA[ never closed", 7),
        (f"{SGML}<OFX>\n<!-- never closed", 7),
        (f"{SGML}<OFX>" + "<STMTTRNRS>" * 10, 6),
        ("", 1),
        ("hello", 1),
        (f"{SGML}<OFX></OFX>", 6),
    ],
    ids=lambda one: str(one)[-30:],
)
def test_what_is_no_statement_or_means_harm_is_refused_with_the_line(
    tmp_path: Path, content: str, line: int
) -> None:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, content)

    assert caught.value.line == line


def test_200_000_open_tags_cost_nothing(tmp_path: Path) -> None:
    content = file_of("<STMTRS><STMTTRN>" * 100_000, statement(transaction()))

    assert [e.amount.minor for e in entries_of(read(tmp_path, content))] == [15_000]


def test_a_document_type_is_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="declares a document type"):
        read(tmp_path, f'{XML}<!DOCTYPE OFX [<!ENTITY a "b">]><OFX>')
