"""Statements that banks and other people really wrote give the lines and balances they have."""

from datetime import date
from pathlib import Path

import pytest

from dusangire.statements import (
    Direction,
    Entry,
    ReadOptions,
    Record,
    Rejected,
    StatementEnd,
    StatementFormat,
    StatementHead,
)
from dusangire_statements import camt, mt940, ofx

# They belong to others and are not in this repository.
SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "statements"
OPTIONS = ReadOptions(currency="RWF", today=date(2026, 11, 23))
FORMATS = (mt940.FORMAT, camt.FORMAT, ofx.FORMAT)

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the samples of other people are not beside this repository"
)

# Each statement: currency, opening, lines, closing, and the sum of its lines.
EXPECTED = {
    "mt940_abnamro.sta": [
        ("EUR", 323628, 8, 87684, -32144),
        ("EUR", 287684, 2, 184975, -2449),
    ],
    "mt940_rabobank_iban.sta": [("EUR", 100000, 2, 96500, -3500), ("EUR", 96500, 2, 93000, -3500)],
    "mt940_cmxl_mixed_codes.sta": [
        ("DEM", 8434974, 11, 8443704, 8730),
        ("EUR", 218795, 2, 438795, 220000),
        ("PLN", 4000000, 3, 5004000, 1004000),
    ],
    "mt940_sepa_structured86.sta": [
        ("EUR", 76665649, 4, 112525040, 35859391),
        ("EUR", -197043187, 7, -447204909, -250191730),
    ],
    "mt940_february_30_crlf.sta": [("EUR", 120000, 1, 119400, -600)],
    "camt053_v02_multi_statement.xml": [("EUR", 1815, 1, 2700, 885), ("EUR", 2700, 1, 2000, -700)],
    "camt053_v08_swiss.xml": [("CHF", 8272195, 3, 8451525, 54228)],
    "camt053_v02_duplicate_same_day.xml": [("EUR", None, 2, None, -900)],
    "ofx102_checking.ofx": [("USD", None, 3, 10099, -5950)],
}


def _read(name: str) -> list[Record]:
    return list(_format_of(name).read(SAMPLES / name, OPTIONS))


def _format_of(name: str) -> StatementFormat:
    return next(one for one in FORMATS if name.startswith(one.name))


def _format_named(name: str) -> str:
    head = (SAMPLES / name).read_bytes()[: 1 << 16]
    return " ".join(one.name for one in FORMATS if one.recognises(head))


def _signed(entry: Entry) -> int:
    return entry.amount.minor if entry.direction is Direction.CREDIT else -entry.amount.minor


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_has_its_lines_and_balances(name: str) -> None:
    records = _read(name)

    found: list[tuple[str | None, int | None, int, int | None, int]] = []
    entries: list[Entry] = []
    for record in records:
        if isinstance(record, StatementHead):
            head, entries = record, []
        elif isinstance(record, Entry):
            entries.append(record)
        elif isinstance(record, StatementEnd):
            total = sum(_signed(entry) for entry in entries)
            found.append((head.currency, head.opening, len(entries), record.closing, total))
    assert found == EXPECTED[name]
    assert not [record for record in records if isinstance(record, Rejected)]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_is_recognised_by_one_format_only(name: str) -> None:
    assert _format_named(name) == _format_of(name).name


def test_a_table_is_no_standard_format() -> None:
    assert _format_named("csv_european_decimals.csv") == ""


@pytest.mark.parametrize("name", EXPECTED)
def test_the_line_of_an_entry_is_where_it_stands_in_the_file(name: str) -> None:
    begins = {"mt940": ":61:", "camt": "<Ntry>", "ofx": "<STMTTRN>"}[_format_of(name).name]
    lines = (SAMPLES / name).read_text(encoding="utf-8").splitlines()

    entries = [record for record in _read(name) if isinstance(record, Entry)]

    assert [lines[entry.line - 1].strip()[: len(begins)] for entry in entries] == (
        [begins] * len(entries)
    )


def test_a_structured_reference_of_a_sample_is_found() -> None:
    references = [
        record.structured_reference
        for record in _read("camt053_v08_swiss.xml")
        if isinstance(record, Entry)
    ]

    assert "RF38000000000000000000552" in references


def test_an_account_with_a_tilde_and_the_number_of_a_cheque_are_kept() -> None:
    head, *entries = _read("ofx102_checking.ofx")

    assert isinstance(head, StatementHead)
    assert head.account == "1452687~7"
    assert "319" in [one.customer_reference for one in entries if isinstance(one, Entry)]
