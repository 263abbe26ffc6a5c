"""Files made to hurt whoever reads them: refused, with the line where there is one."""

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from plugins.statements.tests.tabling import csv, options, read, xlsx

from dusangire.statements import Unreadable
from dusangire.statements_mapping import BadMapping, check
from dusangire_statements import tables
from dusangire_statements.workbooks import Workbook, require_harmless

HEADER = "Date,Narration,Reference,Debit,Credit,Balance\n"
ROWS: list[list[object]] = [["Date", "Details", "Amount"], ["2026-11-02", "x", 5]]


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = "2026-11-03,x,,,5,\n" * 30_000
    file = csv(tmp_path, HEADER + "2026-11-02,x,,,5,\n" + '2026-11-02,"x,,,5,\n' + rows)

    with pytest.raises(Unreadable, match="A quote that is opened on line 3") as refused:
        read(file)

    assert refused.value.line == 3


def test_a_field_of_more_than_10_000_characters_is_refused_with_its_line(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + f"2026-11-02,{'x' * 10_001},,,5,\n")

    with pytest.raises(Unreadable, match="10,000 characters") as refused:
        read(file)

    assert refused.value.line == 2


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "2026-11-02," * 100_000)

    with pytest.raises(Unreadable, match="Line 2 is longer"):
        read(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_nul_is_refused_with_its_line(tmp_path: Path, encoding: str) -> None:
    file = csv(tmp_path, HEADER + "2026-11-02,x\0,,,5,\n", encoding)

    with pytest.raises(Unreadable, match="NUL") as refused:
        read(file)

    assert refused.value.line == 2


def test_more_than_200_000_rows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dusangire_statements.deciding.ROWS_LIMIT", 20)
    file = csv(tmp_path, HEADER + "2026-11-02,x,,,5,\n" * 21)

    with pytest.raises(Unreadable, match="more than 20 rows") as refused:
        read(file)

    assert refused.value.line == 22


def test_a_long_table_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "2026-11-02,some words here,R1,,5000,\n" * 2_000)
    tracemalloc.start()
    try:
        for _ in tables.read(file, options()):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 3_000_000


def test_no_pattern_backtracks_on_a_hostile_line(tmp_path: Path) -> None:
    mapping = {
        "columns": {"booking_date": "date", "debit": "debit", "credit": "credit"},
        "fee_rows": {"same_reference_as_parent": False},
    }
    words = ("charge " * 1400)[:9_900]
    file = csv(
        tmp_path, HEADER + f"2026-11-02,{words},,5,,\n{words},{'1' * 9_900},,{'9' * 900},,\n"
    )

    found = read(file, options(mapping=mapping))  # a pattern that backtracks would take years

    assert len(found.entries) == 1


@pytest.mark.parametrize(
    "head",
    [b"{1:F01BANKRWRW}{2:O940}\n:20:1,2,3\n", b":20:A,B,C\n:25:1\n",
     b"<?xml version='1.0'?><a b=',,'/>", b"OFXHEADER:100\nDATA:OFXSGML,,\n",
     b"%PDF-1.7,,,", b"PK\x03\x04\0\0,,,",
     b"just words\n", b""],
)  # fmt: skip
def test_what_is_no_csv_is_not_taken_for_one(head: bytes) -> None:
    assert not tables.FORMATS[0].recognises(head)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_csv_is_recognised_by_its_content(encoding: str) -> None:
    assert tables.FORMATS[0].recognises(HEADER.encode(encoding))


# ── workbooks ────────────────────────────────────────────────────────────────────────────────────


def packed(folder: Path, write: Callable[[zipfile.ZipFile], None]) -> Path:
    """A workbook to which something was added."""
    file = xlsx(folder, ROWS)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    return file


def test_a_bomb_of_195_kb_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    file = packed(
        tmp_path, lambda archive: archive.writestr("xl/media/zeros.xml", b"0" * 200 * 2**20)
    )
    assert file.stat().st_size < 250_000

    with pytest.raises(Unreadable, match="far more than its size"):
        Workbook(file)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    file = packed(
        tmp_path, lambda archive: archive.writestr("xl/media/zeros.xml", b"0" * 40 * 2**20)
    )
    told = (40 * 2**20).to_bytes(4, "little")
    file.write_bytes(file.read_bytes().replace(told, (1000).to_bytes(4, "little")))

    with pytest.raises(Unreadable, match="far more than its size"):
        Workbook(file)


def test_parts_that_overlap_are_refused(tmp_path: Path) -> None:
    file = xlsx(tmp_path, ROWS)
    raw = bytearray(file.read_bytes())
    first = raw.find(b"PK\x01\x02")
    second = raw.find(b"PK\x01\x02", first + 4)
    raw[second + 42 : second + 46] = raw[first + 42 : first + 46]
    file.write_bytes(bytes(raw))

    with pytest.raises(Unreadable, match=r"overlap|damaged"):
        Workbook(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("../../etc/passwd", b"x", "points out of it"),
        ("/etc/passwd", b"x", "points out of it"),
        ("xl\\evil.xml", b"x", "points out of it"),
        ("C:evil.xml", b"x", "points out of it"),
        ("xl/media/inner.zip", b"x", "an archive in it"),
        ("xl/media/picture.png", b"PK\x03\x04inner", "an archive in it"),
        ("xl/media/picture.png", b"\x1f\x8binner", "an archive in it"),
        ("xl/vbaProject.bin", b"x", "has macros"),
        ("xl/evil.xml", b"<!DOCTYPE x [<!ENTITY a 'b'>]><x/>", "declares entities"),
        ("xl/evil.xml", "<x/>".encode("utf-16"), "a way that is not read"),
    ],
)
def test_a_workbook_with_something_hidden_in_it_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    def hide(archive: zipfile.ZipFile) -> None:
        part = zipfile.ZipInfo("placeholder")
        part.filename = name  # as it is: the constructor would make it harmless
        archive.writestr(part, content)

    with pytest.raises(Unreadable, match=message):
        Workbook(packed(tmp_path, hide))


def test_more_than_100_parts_are_refused(tmp_path: Path) -> None:
    def fill(archive: zipfile.ZipFile) -> None:
        for number in range(101):
            archive.writestr(f"xl/{number}.xml", b"<x/>")

    with pytest.raises(Unreadable, match="at most 100"):
        Workbook(packed(tmp_path, fill))


def test_a_sheet_that_reaches_to_its_last_cell_is_refused(tmp_path: Path) -> None:
    file = packed(
        tmp_path,
        lambda archive: archive.writestr(
            "xl/worksheets/sheet9.xml",
            b'<worksheet><sheetData><row r="1"><c r="A1"/></row>'
            b'<row r="1048576"><c r="XFD1048576"/></row></sheetData></worksheet>',
        ),
    )

    with pytest.raises(Unreadable, match="row 1,048,576"):
        Workbook(file)


def test_an_archive_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "upload"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "x")

    with pytest.raises(Unreadable, match=r"no \.xlsx or \.ods"):
        Workbook(file)


@pytest.mark.parametrize("cut", [10, 200, 2_000])
def test_a_damaged_workbook_is_refused(tmp_path: Path, cut: int) -> None:
    file = xlsx(tmp_path, ROWS)
    file.write_bytes(file.read_bytes()[:cut])

    with pytest.raises(Unreadable):
        Workbook(file)


def test_an_old_workbook_with_macros_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(
        bytes.fromhex("D0CF11E0A1B11AE1") + bytes(600) + "_VBA_PROJECT".encode("utf-16-le")
    )

    with pytest.raises(Unreadable, match="has macros"):
        require_harmless(file)


def test_a_formula_in_a_sheet_is_not_evaluated(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["Date", "Details", "Amount"],
        ["2026-11-02", '=HYPERLINK("http://x","y")', 5],
    ]

    entry = read(xlsx(tmp_path, rows)).entries[0]

    assert entry.narration == ""


def test_an_ending_says_nothing(tmp_path: Path) -> None:
    file = xlsx(tmp_path, ROWS)
    lying = file.rename(tmp_path / "statement.csv")

    assert read(lying).signed == [5]


def _mapping(pattern: str) -> dict[str, object]:
    columns = {"booking_date": "day", "amount": "sum", "description": "text"}
    return {"columns": columns, "fee_rows": {"narration_regex": pattern}}


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "((a+))+b",
        "(x(y+)z)*",
        "(?:(?:(?:a+)))+",
        "(a|a)*b",
        "((a|b))+",
        "(?:a?a?)+b",
        "(a*){3,}",
        "(?P<x>a+)*",
        "([ab]+)*",
        r"(a)\1",
        "(?P<x>a)(?P=x)",
    ],
)
def test_s48_an_own_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(BadMapping, match=r"fee_rows\.narration_regex: must not repeat a group"):
        check(_mapping(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i)\b(charges?|fees?|commission|vat|levy|frais)\b",
        "(?i)^(pay|transfer)?.{0,30}",
        "[(+)]+fee",
        "[])(+]+",
        r"\(a+\)+",
        "(abc)+",
        "(?:ab){2}",
    ],
)
def test_a_harmless_pattern_is_taken(pattern: str) -> None:
    assert check(_mapping(pattern)).fee_rows is not None
