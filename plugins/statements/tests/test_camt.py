"""camt.052, camt.053 and camt.054, in every version; and XML that means harm."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

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
from dusangire_statements import camt

OPTIONS = ReadOptions(currency="RWF", today=date(2026, 11, 23))
DATES = "<BookgDt><Dt>2026-11-23</Dt></BookgDt><ValDt><Dt>2026-11-22</Dt></ValDt>"


def document(*parts: str, namespace: str = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08",
             root: str = "BkToCstmrStmt", kind: str = "Stmt", head: str = "") -> str:  # fmt: skip
    return (
        f'<?xml version="1.0"?>\n<Document xmlns="{namespace}"><{root}>\n'
        f"<GrpHdr><MsgId>M</MsgId>{head}</GrpHdr>\n<{kind}><Id>S-228</Id>\n"
        "<ElctrncSeqNb>228</ElctrncSeqNb>"
        "<Acct><Id><Othr><Id>000400000001</Id></Othr></Id><Ccy>RWF</Ccy></Acct>\n"
        + "\n".join(parts)
        + f"\n</{kind}></{root}></Document>"
    )


def entry(amount: str = "15000", inner: str = "", *, currency: str = "RWF", way: str = "CRDT",
          status: str = "<Sts><Cd>BOOK</Cd></Sts>", dates: str = DATES) -> str:  # fmt: skip
    return (
        f'<Ntry><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{way}</CdtDbtInd>{status}{dates}'
        f"{inner}</Ntry>"
    )


def details(*inner: str) -> str:
    return "<NtryDtls>" + "".join(f"<TxDtls>{one}</TxDtls>" for one in inner) + "</NtryDtls>"


def amount(minor: int, way: str = "CRDT") -> str:
    return f'<Amt Ccy="RWF">{minor}</Amt><CdtDbtInd>{way}</CdtDbtInd>'


def balance(code: str, text: str, way: str = "CRDT", sub: str = "") -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry>{sub}</Tp>"
        f'<Amt Ccy="RWF">{text}</Amt><CdtDbtInd>{way}</CdtDbtInd></Bal>'
    )


def read(tmp_path: Path, content: str | bytes) -> list[Record]:
    file = tmp_path / "statement.xml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(camt.FORMAT.read(file, OPTIONS))


def entries_of(records: Sequence[Record]) -> list[Entry]:
    return [record for record in records if isinstance(record, Entry)]


def codes_of(records: Sequence[Record]) -> list[str]:
    return [record.code for record in records if isinstance(record, Remark)]


def one(tmp_path: Path, *parts: str) -> Entry:
    (found,) = entries_of(read(tmp_path, document(*parts)))
    return found


V02 = f"""
<Ntry><Amt Ccy="RWF">15000</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts>{DATES}
 <AcctSvcrRef>FT26327AB1C2</AcctSvcrRef>
 <BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>RCDT</Cd><SubFmlyCd>DMCT</SubFmlyCd></Fmly></Domn></BkTxCd>
 <NtryDtls><TxDtls><Refs><EndToEndId>NOTPROVIDED</EndToEndId><InstrId>I-1</InstrId></Refs>
  <AmtDtls><TxAmt><Amt Ccy="RWF">15000</Amt></TxAmt></AmtDtls>
  <RltdPties><Dbtr><Nm>Shop Customer A</Nm></Dbtr>
   <DbtrAcct><Id><Othr><Id>000400000009</Id></Othr></Id></DbtrAcct></RltdPties>
  <RltdAgts><DbtrAgt><FinInstnId><BIC>BKIGRWRW</BIC></FinInstnId></DbtrAgt></RltdAgts>
  <RmtInf><Strd><CdtrRefInf><CdtrRef>RF59RW00000042</CdtrRef></CdtrRefInf></Strd></RmtInf>
 </TxDtls></NtryDtls></Ntry>"""
V08 = f"""
<Ntry><Amt Ccy="RWF">15000</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>{DATES}
 <AcctSvcrRef>FT26327AB1C2</AcctSvcrRef>
 <BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>RCDT</Cd><SubFmlyCd>DMCT</SubFmlyCd></Fmly></Domn></BkTxCd>
 <NtryDtls><TxDtls><Refs><EndToEndId>NOTPROVIDED</EndToEndId><InstrId>I-1</InstrId></Refs>
  <Amt Ccy="RWF">15000</Amt><CdtDbtInd>CRDT</CdtDbtInd>
  <RltdPties><Dbtr><Pty><Nm>Shop Customer A</Nm></Pty></Dbtr>
   <DbtrAcct><Id><Othr><Id>000400000009</Id></Othr></Id></DbtrAcct></RltdPties>
  <RltdAgts><DbtrAgt><FinInstnId><BICFI>BKIGRWRW</BICFI></FinInstnId></DbtrAgt></RltdAgts>
  <RmtInf><Strd><CdtrRefInf><Tp><CdOrPrtry><Cd>SCOR</Cd></CdOrPrtry></Tp>
   <Ref>RF59RW00000042</Ref></CdtrRefInf></Strd></RmtInf>
 </TxDtls></NtryDtls></Ntry>"""


def test_versions_02_and_08_of_one_statement_give_equal_entries(tmp_path: Path) -> None:
    old, new = one(tmp_path, V02), one(tmp_path, V08)

    assert replace(old, raw="") == replace(new, raw="")
    assert new.structured_reference == "RF59RW00000042"
    assert new.counterparty == "Shop Customer A"
    assert new.counterparty_account == "000400000009"
    assert new.bank_reference == "FT26327AB1C2"
    assert new.end_to_end_id is None
    assert (new.booking_date, new.value_date) == (date(2026, 11, 23), date(2026, 11, 22))


@pytest.mark.parametrize(
    ("root", "kind"),
    [("BkToCstmrAcctRpt", "Rpt"), ("BkToCstmrStmt", "Stmt"), ("BkToCstmrDbtCdtNtfctn", "Ntfctn")],
)
@pytest.mark.parametrize("namespace", ["", "urn:iso:std:iso:20022:tech:xsd:camt.099.001.99"])
def test_a_message_is_read_whatever_its_namespace(
    tmp_path: Path, root: str, kind: str, namespace: str
) -> None:
    content = document(entry(), root=root, kind=kind, namespace=namespace)
    prefixed = re.sub(r"<(/?)([A-Z])", r"<\1n:\2", content).replace("xmlns=", "xmlns:n=")

    plain = read(tmp_path, content)

    assert [one.amount for one in entries_of(plain)] == [Money(15_000, "RWF")]
    assert camt.FORMAT.recognises(content.encode()[:65536])
    if namespace:
        assert entries_of(read(tmp_path, prefixed)) == entries_of(plain)
        assert camt.FORMAT.recognises(prefixed.encode()[:65536])


def test_balances_totals_and_pages_are_told(tmp_path: Path) -> None:
    content = document(
        balance("PRCD", "100000"), balance("CLBD", "115000", "DBIT"), balance("CLAV", "90000"),
        "<TxsSummry><TtlNtries><NbOfNtries>1</NbOfNtries></TtlNtries><TtlCdtNtries><Sum>15000</Sum>"
        "</TtlCdtNtries><TtlDbtNtries><Sum>0</Sum></TtlDbtNtries></TxsSummry>",
        entry(),
        head="<MsgPgntn><PgNb>2</PgNb><LastPgInd>false</LastPgInd></MsgPgntn>",
    )  # fmt: skip

    head, _, end = read(tmp_path, content)

    assert isinstance(head, StatementHead)
    assert isinstance(end, StatementEnd)
    assert (head.account, head.currency, head.number) == ("000400000001", "RWF", "228")
    assert (head.opening, head.sequence, head.continues) == (100_000, "2", True)
    assert (end.closing, end.available, end.continued) == (-115_000, 90_000, True)
    assert (end.entries, end.total_credits, end.total_debits) == (1, 15_000, 0)


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("<Sts>BOOK</Sts>", EntryStatus.BOOKED),
        ("<Sts><Cd>BOOK</Cd></Sts>", EntryStatus.BOOKED),
        ("<Sts><Prtry>BOOK</Prtry></Sts>", EntryStatus.BOOKED),
        ("<Sts>PDNG</Sts>", EntryStatus.PENDING),
        ("<Sts><Cd>FUTR</Cd></Sts>", EntryStatus.PENDING),
        ("<Sts><Cd>INFO</Cd></Sts>", EntryStatus.INFO),
        ("<Sts><Cd>NEWS</Cd></Sts>", EntryStatus.PENDING),
        ("", EntryStatus.BOOKED),
    ],
)
def test_a_status_is_read_in_old_and_new_ways_and_a_strange_one_is_pending(
    tmp_path: Path, told: str, status: EntryStatus
) -> None:
    assert one(tmp_path, entry(status=told)).status is status


def test_a_reversal_already_says_which_way_the_money_went(tmp_path: Path) -> None:
    found = one(tmp_path, entry(way="DBIT", inner="<RvslInd>true</RvslInd>"))

    assert (found.direction, found.is_reversal) == (Direction.DEBIT, True)


@pytest.mark.parametrize(
    ("dates", "booked", "has_moment"),
    [
        ("<BookgDt><Dt>2026-11-23</Dt></BookgDt>", date(2026, 11, 23), False),
        ("<BookgDt><Dt>2026-11-23T10:00:00</Dt></BookgDt>", date(2026, 11, 23), False),
        ("<BookgDt><DtTm>2026-11-23T23:30:00+02:00</DtTm></BookgDt>", date(2026, 11, 23), True),
        ("<BookgDt><DtTm>2026-11-23T00:00:00</DtTm></BookgDt>", date(2026, 11, 23), False),
        ("<ValDt><Dt>2026-11-22</Dt></ValDt>", date(2026, 11, 22), False),
        ("<BookgDt><Dt>2026-02-30</Dt></BookgDt>", date(2026, 2, 28), False),
    ],
)
def test_a_date_is_read_in_the_ways_banks_write_it(
    tmp_path: Path, dates: str, booked: date, has_moment: bool
) -> None:
    records = read(tmp_path, document(entry(dates=dates)))

    (found,) = entries_of(records)
    assert found.booking_date == booked
    assert (found.occurred_at is not None) == has_moment
    assert codes_of(records) == (["IMPOSSIBLE_DATE"] if "02-30" in dates else [])


def test_details_that_sum_up_to_the_entry_replace_it(tmp_path: Path) -> None:
    content = document(
        entry("900", details(
            amount(500) + "<Refs><EndToEndId>A</EndToEndId></Refs>",
            "\n" + amount(700) + "<Refs><EndToEndId>B</EndToEndId></Refs>",
            amount(300, "DBIT") + "<Refs><EndToEndId>C</EndToEndId></Refs>",
        ))
    )  # fmt: skip

    found = [
        (e.end_to_end_id, e.amount.minor, e.direction) for e in entries_of(read(tmp_path, content))
    ]

    assert found == [("A", 500, "CREDIT"), ("B", 700, "CREDIT"), ("C", 300, "DEBIT")]


@pytest.mark.parametrize("second", [amount(600), "", '<Amt Ccy="USD">4</Amt>'])
def test_details_that_do_not_sum_up_leave_the_entry_whole_and_are_said(
    tmp_path: Path, second: str
) -> None:
    records = read(tmp_path, document(entry("1000", details(amount(500), second))))

    assert [(e.amount.minor, e.batch_count) for e in entries_of(records)] == [(1_000, 2)]
    assert codes_of(records) == ["DETAILS_DO_NOT_ADD_UP"]


def test_an_entry_may_have_very_many_payments(tmp_path: Path) -> None:
    many = 12_000
    inner = details(*[f"\n{amount(5)}\n" for _ in range(many)]).replace("</TxDtls>", "</TxDtls>\n")

    found = entries_of(read(tmp_path, document(entry(str(5 * many), inner))))

    assert len(found) == many
    assert found[-1].line > found[0].line


def test_a_batch_without_details_says_how_many_are_in_it(tmp_path: Path) -> None:
    inner = "<NtryDtls><Btch><NbOfTxs>12</NbOfTxs></Btch></NtryDtls>"

    assert one(tmp_path, entry(inner=inner)).batch_count == 12


def test_remittance_in_many_lines_is_one_text_and_its_parts(tmp_path: Path) -> None:
    inner = details(
        "<RmtInf><Ustrd>ORDER 17 &amp;</Ustrd><Ustrd>THANK YOU</Ustrd></RmtInf>"
        "<RtrInf><Rsn><Cd>AC04</Cd></Rsn></RtrInf>"
    )

    found = one(tmp_path, entry(inner=inner))

    assert found.narration == "ORDER 17 & THANK YOU AC04"
    assert found.narration_parts == ("ORDER 17 &", "THANK YOU")


def test_charges_are_kept_beside_the_amount_and_a_charge_is_a_fee(tmp_path: Path) -> None:
    charges = (
        '<Chrgs><Rcrd><Amt Ccy="RWF">100</Amt></Rcrd><Rcrd><Amt Ccy="RWF">18</Amt></Rcrd></Chrgs>'
    )
    code = (
        "<BkTxCd><Domn><Cd>ACMT</Cd><Fmly><Cd>MDOP</Cd><SubFmlyCd>CHRG</SubFmlyCd></Fmly>"
        "</Domn></BkTxCd>"
    )

    assert one(tmp_path, entry(inner=charges)).charges == Money(118, "RWF")
    assert one(tmp_path, entry(inner=code)).kind is EntryKind.FEE


@pytest.mark.parametrize(
    ("currency", "text", "minor", "remarks"),
    [
        ("RWF", "15000.00000", 15_000, []),
        ("EUR", "474.4", 47_440, []),
        ("EUR", "27.12345", 2_712, ["TOO_MANY_DECIMALS"]),
        ("RWF", "0.5", 1, ["TOO_MANY_DECIMALS"]),
    ],
)
def test_an_amount_may_have_five_decimals_and_rounding_is_said(
    tmp_path: Path, currency: str, text: str, minor: int, remarks: list[str]
) -> None:
    records = read(tmp_path, document(entry(text, currency=currency)))

    assert [e.amount for e in entries_of(records)] == [Money(minor, currency)]
    assert codes_of(records) == remarks


@pytest.mark.parametrize(
    "wrong",
    [
        entry("NaN"), entry("Infinity"), entry("1e9"), entry("-5"), entry("1,234.00"), entry(""),
        entry(str(MAX_MINOR + 1)), entry("9" * 300), entry("٣"), entry(currency="XYZ"),
        entry(way="BOTH"), entry(dates=""), entry(dates="<BookgDt><Dt>soon</Dt></BookgDt>"),
        entry(dates="<BookgDt><Dt>2026-13-01</Dt></BookgDt>"),
        "<Ntry><CdtDbtInd>CRDT</CdtDbtInd></Ntry>",
        entry(inner=details('<Amt Ccy="RWF">NaN</Amt>')),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_is_set_aside_and_the_others_stay(
    tmp_path: Path, wrong: str
) -> None:
    records = read(tmp_path, document(wrong, entry("7")))

    assert [r.line for r in records if isinstance(r, Rejected)] == [6]
    assert [e.amount.minor for e in entries_of(records)] == [7]


@pytest.mark.parametrize("text", ["NaN", "1e9", "9" * 30, "1.5"])
def test_a_balance_that_cannot_be_read_is_a_refusal_with_its_line(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, document(balance("OPBD", text), entry()))

    assert caught.value.line == 6


def test_a_line_of_zero_tells_something_and_moves_nothing(tmp_path: Path) -> None:
    assert one(tmp_path, entry("0.00")).status is EntryStatus.INFO


def test_a_statement_without_entries_is_a_statement(tmp_path: Path) -> None:
    head, end = read(tmp_path, document(balance("OPBD", "5"), balance("CLBD", "5")))

    assert isinstance(head, StatementHead)
    assert isinstance(end, StatementEnd)
    assert (head.opening, end.closing) == (5, 5)


LAUGHS = "".join(
    f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(10)
)  # fmt: skip


@pytest.mark.parametrize(
    "declared",
    [
        f"<!DOCTYPE x [{LAUGHS}]>",
        f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1:1/x">]>',
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:1/x"> %a;]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
        '<!DOCTYPE x PUBLIC "-//X//Y" "file:///dev/zero">',
        "<!DOCTYPE x>",
    ],
    ids=["laughs", "quadratic", "file", "http", "parameter", "dtd", "public", "empty"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_before_anything_is_fetched_or_grows(
    tmp_path: Path, declared: str, encoding: str
) -> None:
    body = document(entry(inner="<AddtlNtryInf>&a;&l9;</AddtlNtryInf>")).removeprefix(
        '<?xml version="1.0"?>\n'
    )
    content = f'<?xml version="1.0" encoding="{encoding}"?>\n{declared}\n{body}'

    with pytest.raises(Unreadable, match="declares a document type") as caught:
        read(tmp_path, content.encode(encoding))

    assert caught.value.line == 2


@pytest.mark.parametrize("inside", ["", "<BkToCstmrStmt><Stmt><Ntry>"])
def test_xml_of_200_000_levels_is_refused(tmp_path: Path, inside: str) -> None:
    with pytest.raises(Unreadable, match="deeper than 100"):
        read(tmp_path, f"<Document>\n{inside}" + "<a>" * 200_000)


@pytest.mark.parametrize("encoding", ["utf-7", "utf-32", "idna", "no-such", "rot13", "base64"])
def test_an_encoding_that_hides_things_is_refused(tmp_path: Path, encoding: str) -> None:
    hidden = "+ADwAIQ-DOCTYPE x+AD4-"

    with pytest.raises(Unreadable):
        read(tmp_path, f'<?xml version="1.0" encoding="{encoding}"?>\n{hidden}<Document/>')


@pytest.mark.parametrize(
    "content",
    ["", "not xml", "<Document>", "<Document></Wrong>", "<Document>&a;</Document>", "<a/>",
     "<Document/><Document/>", "\0\0\0\0", "<Document>\x01</Document>"],
)  # fmt: skip
def test_what_is_no_camt_message_is_refused_with_a_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, content)

    assert caught.value.line == 1


def test_a_file_that_ends_in_the_middle_is_refused_with_the_line(tmp_path: Path) -> None:
    content = document(entry(), entry())

    with pytest.raises(Unreadable, match="not well-formed") as caught:
        read(tmp_path, content[: content.rindex("<CdtDbtInd>")])

    assert caught.value.line == 7


def test_a_text_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="longer than"):
        read(tmp_path, document(entry(inner=f"<AddtlNtryInf>{'x' * 20_000}</AddtlNtryInf>")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "cp1252"])
def test_letters_are_read_in_the_encoding_that_is_declared(tmp_path: Path, encoding: str) -> None:
    body = document(entry(inner="<AddtlNtryInf>Café</AddtlNtryInf>"))
    declared = encoding.removesuffix("-sig")
    content = body.replace('version="1.0"', f'version="1.0" encoding="{declared}"')

    (found,) = entries_of(read(tmp_path, content.encode(encoding)))

    assert found.narration == "Café"
    assert camt.FORMAT.recognises(content.encode(encoding)[:65536])


def test_entries_come_while_the_file_is_being_read(tmp_path: Path) -> None:
    file = tmp_path / "statement.xml"
    file.write_text(document(*[entry()] * 2_000)[:-20] + "<broken")
    records = camt.FORMAT.read(file, OPTIONS)

    assert isinstance(next(records), StatementHead)
    assert isinstance(next(records), Entry)
    with pytest.raises(Unreadable):
        list(records)


def test_a_written_statement_is_read_back_as_it_was(tmp_path: Path) -> None:
    rng = random.Random(42)
    for _ in range(20):
        written = [
            (
                date(2026, 1, 1) + timedelta(days=rng.randrange(360)),
                rng.choice([Direction.CREDIT, Direction.DEBIT]),
                rng.randint(1, 10**12),
                f"E{rng.randrange(10**9)}",
                f"ORDER <{rng.randrange(10**6)}> & CO",
            )
            for _ in range(rng.randint(0, 20))
        ]
        parts = [
            entry(
                str(minor),
                details(f"<Refs><EndToEndId>{reference}</EndToEndId></Refs>"
                        f"<RmtInf><Ustrd>{escape(text)}</Ustrd></RmtInf>"),
                way="CRDT" if direction is Direction.CREDIT else "DBIT",
                dates=f"<BookgDt><Dt>{day}</Dt></BookgDt>",
            )
            for day, direction, minor, reference, text in written
        ]  # fmt: skip

        back = entries_of(read(tmp_path, document(*parts)))

        assert written == [
            (e.booking_date, e.direction, e.amount.minor, e.end_to_end_id, e.narration)
            for e in back
        ]
