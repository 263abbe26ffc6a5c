"""MT940 and MT942: what banks make of the standard, and what nobody may get away with."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
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
from dusangire_statements import mt940
from dusangire_statements.information import information_of

OPTIONS = ReadOptions(currency="RWF", today=date(2026, 11, 23))
HEAD = [":20:S1", ":25:000400000001", ":28C:228/1", ":60F:C261122RWF100000,"]
END = [":62F:C261123RWF115000,", "-"]


def read(tmp_path: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> list[Record]:
    file = tmp_path / "statement.sta"
    file.write_bytes((end.join(lines) + end).encode(encoding))
    return list(mt940.FORMAT.read(file, OPTIONS))


def entries_of(records: Sequence[Record]) -> list[Entry]:
    return [record for record in records if isinstance(record, Entry)]


def entry_of(tmp_path: Path, *lines: str) -> Entry:
    (entry,) = entries_of(read(tmp_path, *HEAD, *lines, *END))
    return entry


def test_a_line_says_who_paid_what_when_and_with_which_reference(tmp_path: Path) -> None:
    entry = entry_of(
        tmp_path, ":61:2611231123C15000,NTRFRF59RW00000042//FT26327AB1C2", "SHOP CUSTOMER A"
    )

    assert entry.line == 5
    assert entry.direction is Direction.CREDIT
    assert entry.amount == Money(15_000, "RWF")
    assert (entry.booking_date, entry.value_date) == (date(2026, 11, 23), date(2026, 11, 23))
    assert entry.customer_reference == "RF59RW00000042"
    assert entry.bank_reference == "FT26327AB1C2"
    assert entry.narration == "SHOP CUSTOMER A"
    assert entry.type_code == "NTRF"


@pytest.mark.parametrize(
    ("mark", "direction", "is_reversal", "status"),
    [
        ("C", "CREDIT", False, "BOOKED"),
        ("D", "DEBIT", False, "BOOKED"),
        ("RC", "DEBIT", True, "BOOKED"),
        ("RD", "CREDIT", True, "BOOKED"),
        ("CF", "CREDIT", False, "BOOKED"),
        ("DF", "DEBIT", False, "BOOKED"),
        ("CR", "CREDIT", False, "BOOKED"),
        ("DR", "DEBIT", False, "BOOKED"),
        ("RCR", "DEBIT", True, "BOOKED"),
        ("EC", "CREDIT", False, "PENDING"),
        ("ED", "DEBIT", False, "PENDING"),
    ],
)
def test_a_mark_is_a_direction_and_a_funds_code_is_no_reversal(
    tmp_path: Path, mark: str, direction: str, is_reversal: bool, status: str
) -> None:
    entry = entry_of(tmp_path, f":61:2611231123{mark}800,NTRFNONREF//X")

    assert (entry.direction, entry.is_reversal, entry.status) == (direction, is_reversal, status)
    assert entry.amount.minor == 800
    assert entry.customer_reference is None


@pytest.mark.parametrize(
    ("dates", "booked"),
    [
        ("2612310102", date(2027, 1, 2)),
        ("2701011231", date(2026, 12, 31)),
        ("2611231124", date(2026, 11, 24)),
        ("261123    ", date(2026, 11, 23)),
        ("261123", date(2026, 11, 23)),
        ("9912310101", date(2000, 1, 1)),
    ],
)
def test_an_entry_date_has_the_year_nearest_to_the_value_date(
    tmp_path: Path, dates: str, booked: date
) -> None:
    assert entry_of(tmp_path, f":61:{dates}C1,NTRFX").booking_date == booked


def test_30_february_is_the_last_of_february_and_said(tmp_path: Path) -> None:
    records = read(tmp_path, *HEAD, ":61:2602300301D600,NTRFNONREF", *END)

    (entry,) = entries_of(records)
    assert entry.value_date == date(2026, 2, 28)
    assert [(r.code, r.line) for r in records if isinstance(r, Remark)] == [("IMPOSSIBLE_DATE", 5)]


@pytest.mark.parametrize(
    ("currency", "text", "minor"),
    [
        ("RWF", "15000,", 15_000),
        ("RWF", "15000,00", 15_000),
        ("RWF", "15000", 15_000),
        ("RWF", "15.000,", 15_000),
        ("EUR", "000000001000,5", 100_050),
        ("EUR", "11.90", 1_190),
        ("KWD", "1,234", 1_234),
    ],
)
def test_an_amount_has_a_comma_for_decimals(
    tmp_path: Path, currency: str, text: str, minor: int
) -> None:
    records = read(tmp_path, ":20:A", f":60F:C261122{currency}0,", f":61:261123C{text}NTRFX")

    assert entries_of(records)[0].amount == Money(minor, currency)


@pytest.mark.parametrize(
    "line",
    [
        "261123CNaN,NTRFX",
        "261123CInfinity",
        "261123C1e9,NTRFX",
        "261123C1,2,3NTRFX",
        "261123C1,..1",
        f"261123C{MAX_MINOR + 1},NTRFX",
        "261123C" + "9" * 40 + ",NTRFX",
        "261123C15.000NTRFX",
        "261323C5,NTRFX",
        "261132C5,NTRFX",
        "261100C5,NTRFX",
        "2611231399C5,NTRFX",
        "garbage",
        "",
    ],
)
def test_a_line_that_cannot_be_read_is_set_aside_with_its_number_and_the_others_stay(
    tmp_path: Path, line: str
) -> None:
    records = read(tmp_path, *HEAD, f":61:{line}", ":86:WHO", ":61:261123C5,NTRFX", *END)

    rejected = [record for record in records if isinstance(record, Rejected)]
    assert [(one.line, one.raw) for one in rejected] == [(5, f":61:{line}\n:86:WHO")]
    assert [(entry.line, entry.amount.minor) for entry in entries_of(records)] == [(7, 5)]


@pytest.mark.parametrize(
    "balance", ["C261122RWFNaN", "C261122RWF" + "9" * 30, "C261122XYZ5,", "C261322RWF5,", "5,"]
)
def test_a_statement_with_a_broken_balance_is_refused_with_the_line(
    tmp_path: Path, balance: str
) -> None:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, ":20:A", f":60F:{balance}", *END)

    assert caught.value.line == 2


def test_a_line_of_zero_tells_something_and_moves_nothing(tmp_path: Path) -> None:
    assert entry_of(tmp_path, ":61:261123C0,00NMSCX").status is EntryStatus.INFO


def test_a_charge_is_a_fee(tmp_path: Path) -> None:
    assert entry_of(tmp_path, ":61:261123D500,NCHGNONREF//FT1").kind is EntryKind.FEE


def test_what_a_bank_adds_about_another_currency_and_its_charge_is_kept(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, ":61:261123C6000,NTRFX//Y", "/OCMT/EUR4,5//CHGS/EUR0,5/")

    assert entry.original_amount == Money(450, "EUR")
    assert entry.charges == Money(50, "EUR")


def test_pages_of_a_statement_are_one_statement(tmp_path: Path) -> None:
    records = read(
        tmp_path,
        ":20:A", ":25:1", ":28C:7/1", ":60F:C261122RWF100,", ":61:261123C10,NTRFA",
        ":62M:C261123RWF110,", "-",
        ":20:B", ":25:1", ":28C:7/2", ":60M:C261123RWF110,", ":61:261123C20,NTRFB",
        ":62M:C261123RWF130,", "-",
        ":20:C", ":25:1", ":28C:7/3", ":60M:C261123RWF130,", ":61:261123C30,NTRFC",
        ":62F:C261123RWF160,", "-",
    )  # fmt: skip

    assert [type(record) for record in records] == [
        StatementHead, Entry, Entry, Entry, StatementEnd,
    ]  # fmt: skip
    head, end = records[0], records[-1]
    assert isinstance(head, StatementHead)
    assert isinstance(end, StatementEnd)
    assert (head.opening, end.closing, end.continued) == (100, 160, False)


def test_a_page_that_is_missing_is_noticed(tmp_path: Path) -> None:
    records = read(
        tmp_path,
        ":20:A", ":25:1", ":28C:7/1", ":60F:C261122RWF100,", ":62M:C261123RWF110,", "-",
        ":20:B", ":25:1", ":28C:7/3", ":60M:C261123RWF150,", ":62F:C261123RWF150,", "-",
    )  # fmt: skip

    assert [(r.code, r.line) for r in records if isinstance(r, Remark)] == [("PAGE_CHAIN", 7)]


def test_pages_in_files_of_their_own_say_that_they_go_on(tmp_path: Path) -> None:
    head, end = read(tmp_path, ":20:B", ":25:1", ":60M:C261122RWF1,", ":62M:C261123RWF1,")

    assert isinstance(head, StatementHead)
    assert isinstance(end, StatementEnd)
    assert head.continues
    assert end.continued


def test_a_statement_without_lines_is_a_statement(tmp_path: Path) -> None:
    head, end = read(tmp_path, *HEAD, ":62F:C261123RWF100000,")

    assert isinstance(head, StatementHead)
    assert isinstance(end, StatementEnd)
    assert (head.opening, end.closing) == (100_000, 100_000)


def test_an_overdrawn_account_has_less_than_nothing(tmp_path: Path) -> None:
    head, end = read(tmp_path, ":20:A", ":60F:D261122RWF5,", ":62F:D261122RWF7,")

    assert isinstance(head, StatementHead)
    assert isinstance(end, StatementEnd)
    assert (head.opening, end.closing) == (-5, -7)


def test_an_interim_report_has_totals_and_a_currency_of_its_own(tmp_path: Path) -> None:
    records = read(
        tmp_path, "{1:F01BKIGRWRW}{4:", ":20:I", ":25:1", ":28C:1/1", ":34F:RWFC0,",
        ":13D:2611231200+0200", ":61:261123C5,NTRFX", ":90D:0RWF0,", ":90C:1RWF5,", "-}",
    )  # fmt: skip

    head, entry, end = records
    assert isinstance(head, StatementHead)
    assert isinstance(entry, Entry)
    assert isinstance(end, StatementEnd)
    assert head.opening is None
    assert entry.amount == Money(5, "RWF")
    assert (end.total_credits, end.total_debits, end.entries) == (5, 0, 1)


def test_a_statement_that_changes_its_currency_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="begins in RWF and ends in EUR"):
        read(tmp_path, *HEAD, ":62F:C261123EUR1,")


def test_a_tag_that_nobody_knows_is_left_out_and_said_once(tmp_path: Path) -> None:
    records = read(tmp_path, *HEAD, ":99Z:A", ":99Z:B", *END)

    assert [r.message for r in records if isinstance(r, Remark)] == ["The tag :99Z: was left out."]


@pytest.mark.parametrize("lines", [[], ["hello"], [":61:261123C5,NTRFX"], [":25:1"]])
def test_a_file_without_a_statement_is_refused(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(Unreadable, match=":20:"):
        read(tmp_path, *lines)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Café Müller"),
        ("utf-8-sig", "Café Müller"),
        ("utf-16", "Café Müller"),
        ("utf-16-le", "Café Müller"),
        ("cp852", "Café Müller"),
        ("latin-1", "Café Müller"),
    ],
)
def test_the_letters_of_old_and_new_software_are_read(
    tmp_path: Path, encoding: str, text: str, end: str
) -> None:
    lines = (*HEAD, ":61:261123C5,NTRFX", f":86:{text}", *END)

    records = read(tmp_path, *lines, encoding=encoding, end=end)

    assert entries_of(records)[0].narration == text
    start = (tmp_path / "statement.sta").read_bytes()[:65536]
    assert mt940.FORMAT.recognises(start)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["A" * 60 + " RF59R", "W00000042"], "A" * 60 + " RF59R W00000042"),
        (["A" * 59 + " RF59R", "W00000042"], "A" * 59 + " RF59RW00000042"),
        (["SHORT", "LINES"], "SHORT LINES"),
        (["x" * 29 + "R", "F59RW00000042" + "y" * 17, "z"],
         "x" * 29 + "RF59RW00000042" + "y" * 17 + "z"),
    ],
)  # fmt: skip
def test_a_word_that_was_cut_at_the_width_of_a_line_is_whole_again(
    lines: list[str], text: str
) -> None:
    told = information_of(lines)

    assert told.text == text
    assert told.parts == tuple(lines)


def test_fields_of_a_german_bank_are_told_apart() -> None:
    told = information_of([
        "166?00GUTSCHRIFT?20EREF+INV-2026-42?21KREF+K1?22SVWZ+Order RF59RW00000?2304",
        "2 thank you?30BIC?31RW0004?32JEAN CLAUDE?33 M",
    ])  # fmt: skip

    assert told.end_to_end_id == "INV-2026-42"
    assert told.customer_reference == "K1"
    assert told.counterparty == "JEAN CLAUDE M"
    assert told.account == "RW0004"
    assert "RF59RW0000004" in told.text.replace(" ", "")
    assert told.code == "166"


def test_another_separator_of_fields_is_seen() -> None:
    assert information_of(["020~00TRANSFER~20INVOICE 9~32ALICE"]).counterparty == "ALICE"


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("/EREF/E2E9/REMI/Invoice 7/NAME/ALICE M/IBAN/NL01/", "text", "Invoice 7"),
        ("/EREF/E2E9/REMI/Invoice 7/NAME/ALICE M/", "counterparty", "ALICE M"),
        ("/EREF/E2E9/REMI/Invoice 7/", "end_to_end_id", "E2E9"),
        ("/EREF/NOTPROVIDED/REMI/Invoice 7/", "end_to_end_id", None),
        ("/REMI/USTD//Invoice 7/", "text", "Invoice 7"),
        ("/REMI/STRD/CUR/RF59RW00000042/", "structured_reference", "RF59RW00000042"),
        ("/ORDP//NAME/ALICE/REMI/x/", "counterparty", "ALICE"),
    ],
)
def test_codes_between_slashes_are_told_apart(text: str, field: str, value: str | None) -> None:
    assert getattr(information_of([text]), field) == value


@pytest.mark.parametrize(
    ("what", "lines"),
    [
        ("a line", [":86:" + "x" * 20_000]),
        ("a tag of many lines", [":86:x", *["y"] * 300]),
        ("a tag of much text", [":86:x", *["y" * 9_000] * 3]),
    ],
)
def test_text_without_end_is_refused_with_its_line(
    tmp_path: Path, what: str, lines: list[str]
) -> None:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, *HEAD, ":61:261123C5,NTRFX", *lines)

    assert caught.value.line == 6


def test_noise_ends_in_records_or_a_refusal_and_in_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(20261123)
    whole = "\n".join([*HEAD, ":61:2611231123C15000,NTRFA//B", ":86:166?20EREF+A?32B", *END])
    outcomes: set[type] = set()
    for _ in range(300):
        noisy = list(whole)
        for _ in range(rng.randint(1, 8)):
            noisy[rng.randrange(len(noisy))] = rng.choice(":,?/+0A\n\x00é{}-")
        try:
            outcomes |= {type(one) for one in read(tmp_path, "".join(noisy))}
        except Unreadable:
            outcomes.add(Unreadable)

    assert {Entry, Rejected, Unreadable} <= outcomes


def test_a_written_statement_is_read_back_as_it_was(tmp_path: Path) -> None:
    rng = random.Random(42)
    for _ in range(20):
        written = [
            (
                date(2026, 1, 1) + timedelta(days=rng.randrange(360)),
                rng.choice([Direction.CREDIT, Direction.DEBIT]),
                rng.randint(1, 10**9),
                f"R{rng.randrange(10**9)}",
                f"ORDER {rng.randrange(10**6)}",
            )
            for _ in range(rng.randint(0, 20))
        ]
        lines = list(HEAD)
        for day, direction, minor, reference, text in written:
            lines.append(f":61:{day:%y%m%d%m%d}{direction[0]}{minor},NTRF{reference}//B")
            lines.append(f":86:{text}")

        back = entries_of(read(tmp_path, *lines, *END))

        assert written == [
            (e.booking_date, e.direction, e.amount.minor, e.customer_reference, e.narration)
            for e in back
        ]


HOSTILE = [
    ":61:261123C" + "1" * 9_000,
    ":61:261123C" + "1." * 4_500,
    ":61:261123C1," + "/" * 9_000,
    ":61:261123C1,NTRF" + "//" * 4_500,
    ":61:" + " " * 9_000,
    ":61:" + "R" * 9_000,
    ":86:" + "?20" * 3_000,
    ":86:166?20" + "EREF+" * 1_800,
    ":86:/REMI/" + "/NAME/" * 1_500,
    ":86:/REMI/" + "/" * 9_000,
    ":86:" + " " * 9_000 + "x",
    ":28C:" + "1" * 9_000,
    ":62F:C261123RWF" + "1" * 9_000,
    ":90C:" + "1" * 9_000,
]


@pytest.mark.parametrize("line", HOSTILE, ids=[line[:20] for line in HOSTILE])
def test_a_hostile_line_is_read_or_refused_and_the_line_before_it_stays(
    tmp_path: Path, line: str
) -> None:
    file = tmp_path / "statement.sta"
    file.write_text("\n".join([*HEAD, ":61:261123C5,NTRFX", ":86:OK", ":61:261123C6,NTRFX", line]))
    refused_at = None
    records = []
    try:
        for record in mt940.FORMAT.read(file, OPTIONS):
            records.append(record)  # noqa: PERF402 - what came before a refusal counts
    except Unreadable as refusal:
        refused_at = refusal.line

    assert entries_of(records)[0].amount.minor == 5
    assert refused_at in {None, 8}
