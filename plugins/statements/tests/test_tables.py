"""Tables: what each row says is kept, and what cannot be read is said with its line."""

import unicodedata
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugins.statements.tests.tabling import csv, options, read, xlsx

from dusangire.money import Money
from dusangire.statements import Direction, EntryKind, EntryStatus, Unreadable
from dusangire_statements import tables

HEADER = "Date,Narration,Reference,Debit,Credit,Balance\n"


# ── numbers, dates, signs ────────────────────────────────────────────────────────────────────────


def test_1_comma_234_is_1234_francs(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + '2026-11-02,x,R1,,"1,234","1,234"\n')

    entry = read(file).entries[0]

    assert entry.amount == Money(1234, "RWF")
    assert entry.running_balance == 1234


def test_the_whole_column_decides_between_day_and_month(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "02/11/2026,x,,,5,\n23/11/2026,x,,,6,\n")

    days = [entry.booking_date for entry in read(file).entries]

    assert days == [date(2026, 11, 2), date(2026, 11, 23)]


def test_dates_that_may_be_either_are_asked_about(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "02/11/2026,x,,,5,\n03/11/2026,x,,,6,\n")

    with pytest.raises(Unreadable, match="day/month or month/day"):
        read(file)

    assert tables.preview(file, options()).problem is not None


@pytest.mark.parametrize(("order", "month"), [("%d/%m/%Y", 11), ("%m/%d/%Y", 2)])
def test_the_profile_decides_where_the_column_cannot(
    tmp_path: Path, order: str, month: int
) -> None:
    file = csv(tmp_path, "Date,Text,Amount\n02/11/2026,x,5\n")
    mapping = {
        "columns": {"booking_date": "date", "amount": "amount"},
        "dates": [order],
        "sign": "signed",
    }

    assert read(file, options(mapping=mapping)).entries[0].booking_date.month == month


@pytest.mark.parametrize(
    ("row", "signed"),
    [
        ("100,,", -100),
        (",100,", 100),
        ("-100,,", -100),
        ("100,0.00,", -100),
        ("0,100,", 100),
        (",-100,", -100),
    ],
)
def test_debit_and_credit_columns_say_the_direction(tmp_path: Path, row: str, signed: int) -> None:
    file = csv(tmp_path, f"Date,Narration,Debit,Credit,Balance\n2026-11-02,x,{row}\n")

    assert read(file).signed == [signed]


def test_a_row_with_a_debit_and_a_credit_is_refused_with_its_line(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "2026-11-02,x,,5,6,\n2026-11-03,y,,,7,\n")

    found = read(file)

    assert [(bad.line, bad.message) for bad in found.rejected] == [
        (2, "Both debit and credit have an amount.")
    ]
    assert found.signed == [7]


@pytest.mark.parametrize(
    ("amounts", "signed"),
    [
        (["5", "-6"], [5, -6]),
        (["5 CR", "6 DR"], [5, -6]),
        (["5", "(6)"], [5, -6]),
        (["5", "6-"], [5, -6]),
    ],
)
def test_one_column_of_amounts_has_its_signs(
    tmp_path: Path, amounts: list[str], signed: list[int]
) -> None:
    rows = "".join(f"2026-11-02,x,{amount}\n" for amount in amounts)

    assert read(csv(tmp_path, "Date,Details,Amount\n" + rows)).signed == signed


def test_a_column_of_flags_says_the_direction(tmp_path: Path) -> None:
    file = csv(
        tmp_path,
        "Date,Details,DR/CR,Amount\n2026-11-02,x,CR,5\n2026-11-02,x,Dr.,6\n2026-11-02,x,?,7\n",
    )

    found = read(file)

    assert found.signed == [5, -6]
    assert "neither debit nor credit" in found.rejected[0].message


@pytest.mark.parametrize("debit_sign", ["negative", "positive"])
def test_a_debit_against_its_usual_sign_gives_money_back(tmp_path: Path, debit_sign: str) -> None:
    file = csv(tmp_path, "Date,Debit,Credit\n2026-11-02,-5,\n2026-11-02,5,\n")
    columns = {"booking_date": "date", "debit": "debit", "credit": "credit"}
    mapping = {"columns": columns, "debit_sign": debit_sign}

    found = read(file, options(mapping=mapping))

    assert found.signed == ([-5, 5] if debit_sign == "negative" else [5, -5])
    assert sorted(entry.is_reversal for entry in found.entries) == [False, True]


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "1e9", "1.234,56", "12345678901234567890"])
def test_an_amount_that_is_none_is_refused_with_its_line(tmp_path: Path, bad: str) -> None:
    file = csv(
        tmp_path,
        HEADER + f'2026-11-02,x,,,"{bad}",\n2026-11-03,y,,,"1,000.00",\n2026-11-04,z,,,5.0,\n',
    )
    mapping = {
        "columns": {"booking_date": "date", "debit": "debit", "credit": "credit"},
        "numbers": {"thousands": ",", "decimal": "."},
    }

    found = read(file, options(mapping=mapping))

    assert [bad.line for bad in found.rejected] == [2]
    assert found.signed == [1000, 5]


def test_february_30_is_the_last_of_february_and_remarked_with_its_line(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "30/02/2026,x,,,5,\n")

    found = read(file)

    assert found.entries[0].booking_date == date(2026, 2, 28)
    assert found.remarks["IMPOSSIBLE_DATE"].line == 2


def test_francs_with_cents_are_refused(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "2026-11-02,x,,,570.50,\n")

    assert "RWF has no decimals" in read(file).rejected[0].message


def test_an_amount_in_another_currency_says_so(tmp_path: Path) -> None:
    file = csv(
        tmp_path, "Date,Details,Amount,Currency\n2026-11-02,x,5.50,USD\n2026-11-02,x,5,RWF\n"
    )

    amounts = [entry.amount for entry in read(file).entries]

    assert amounts == [Money(550, "USD"), Money(5, "RWF")]


def test_the_name_of_a_column_may_say_the_currency(tmp_path: Path) -> None:
    file = csv(tmp_path, "Date,Description,Debit (USD),Credit (USD)\n2026-11-02,x,,5.50\n")

    found = read(file)

    assert found.entries[0].amount == Money(550, "USD")
    assert found.head.currency == "USD"


def test_a_moment_counts_on_the_day_it_is_in_kigali(tmp_path: Path) -> None:
    file = csv(tmp_path, "Date,Details,Amount\n2026-11-02T23:30:00Z,x,5\n2026-11-02 23:30,y,6\n")

    first, second = read(file).entries

    assert first.booking_date == date(2026, 11, 3)
    assert first.occurred_at == datetime(2026, 11, 2, 23, 30, tzinfo=UTC)
    assert second.booking_date == date(2026, 11, 2)


# ── rows that are no entries ─────────────────────────────────────────────────────────────────────


def test_a_statement_without_lines_is_read(tmp_path: Path) -> None:
    found = read(csv(tmp_path, HEADER))

    assert (found.entries, found.rejected) == ([], [])
    assert found.end.closing is None


def test_titles_totals_and_repeated_headers_are_no_entries(tmp_path: Path) -> None:
    file = csv(
        tmp_path,
        "My Bank Ltd\nAccount No,000012345678\nPeriod : 2026-11-01 To 2026-11-30\n\n"
        + HEADER
        + ',BALANCE B/FWD,,0.00,0.00,"100,000"\n'
        + '2026-11-02,x,R1,,"5,000","105,000"\n'
        + HEADER
        + '2026-11-03,y,R2,"1,000",,"104,000"\n'
        + ',Total,,"1,000","5,000",\n'
        + ',Closing Balance,,,,"104,000"\n'
        + "This is a computer generated statement,,,,,\n",
    )

    found = read(file)

    assert (found.signed, found.rejected) == ([5000, -1000], [])
    assert (found.head.account, found.head.opening) == ("000012345678", 100_000)
    assert (found.head.period_from, found.head.period_to) == (
        date(2026, 11, 1),
        date(2026, 11, 30),
    )
    assert found.end.closing == 104_000


def test_a_payer_named_total_is_not_taken_for_a_total(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "2026-11-02,TOTAL ENERGIES RW,R1,,5000,\n")

    assert read(file).signed == [5000]


def test_entries_below_a_footer_are_kept(tmp_path: Path) -> None:
    mapping = {
        "columns": {"booking_date": "date", "debit": "debit", "credit": "credit"},
        "footer": {"stop_matching": "^page"},
    }
    file = csv(tmp_path, HEADER + "2026-11-02,x,,,5,\nPage 1,,,,,\n2026-11-03,y,,,6,\n")

    assert read(file, options(mapping=mapping)).signed == [5, 6]


def test_an_amount_without_a_date_is_refused_not_dropped(tmp_path: Path) -> None:
    found = read(csv(tmp_path, HEADER + ",who knows,,,5,\n"))

    assert [bad.line for bad in found.rejected] == [2]


def test_a_row_without_an_amount_is_remarked(tmp_path: Path) -> None:
    found = read(csv(tmp_path, HEADER + "2026-11-02,only words,,,,\n2026-11-02,more,,,,\n"))

    assert found.remarks["NO_AMOUNT"].message.endswith("(2 rows)")
    assert found.remarks["NO_AMOUNT"].line == 2


def test_a_line_of_zero_moves_nothing(tmp_path: Path) -> None:
    entry = read(csv(tmp_path, HEADER + "2026-11-02,x,,0.00,0.00,\n")).entries[0]

    assert (entry.status, entry.amount.minor) == (EntryStatus.INFO, 0)


# ── references and words ─────────────────────────────────────────────────────────────────────────


def test_a_formula_is_text(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + '2026-11-02,=1+1,"=HYPERLINK(""http://x"")",,5,\n')

    entry = read(file).entries[0]

    assert entry.narration == "=1+1"
    assert entry.bank_reference == '=HYPERLINK("http://x")'


@pytest.mark.parametrize("lost", ["1.00000012345E+11", "2.5E+15"])
def test_a_reference_that_lost_its_digits_is_refused(tmp_path: Path, lost: str) -> None:
    found = read(csv(tmp_path, HEADER + f"2026-11-02,x,{lost},,5,\n"))

    assert "'Reference'" in found.rejected[0].message
    assert "Format the column as text" in found.rejected[0].message


def test_leading_zeros_and_an_excel_apostrophe_are_understood(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "2026-11-02,x,'000123,,5,\n" + '2026-11-02,x,"=""0042""",,5,\n')

    assert [entry.bank_reference for entry in read(file).entries] == ["000123", "0042"]


def test_a_word_nobody_knows_is_pending_and_remarked_once(tmp_path: Path) -> None:
    words = ["SUCCESSFUL", "Failed", "pending", "ODD", "ODD", ""]
    rows = "".join(f"2026-11-02,x,{word},5\n" for word in words)

    found = read(csv(tmp_path, "Date,Details,Status,Amount\n" + rows))

    booked, failed, *pending = found.entries
    assert booked.status is EntryStatus.BOOKED
    assert (failed.status, failed.kind) == (EntryStatus.INFO, EntryKind.FAILED)
    assert {entry.status for entry in pending} == {EntryStatus.PENDING}
    assert len([code for code in found.remarks if code == "UNKNOWN_STATUS"]) == 1


def test_a_type_nobody_knows_is_refused_where_it_says_the_direction(tmp_path: Path) -> None:
    rows = "2026-11-02,x,Payment,5\n2026-11-02,x,Refund,3\n2026-11-02,x,Tombola,7\n"

    found = read(csv(tmp_path, "Date,Details,Type,Amount\n" + rows))

    assert found.signed == [5, -3]
    assert "'Tombola'" in found.rejected[0].message


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        ("Gross,Fee,Net", "15000,570,14430", (15000, 570, 14430)),
        ("Gross,Fee", "15000,570", (15000, 570, 14430)),
        ("Gross,Fee", "15000,-570", (15000, 570, 14430)),
        ("Gross,Net", "15000,14430", (15000, 570, 14430)),
        ("Gross,Fee,Net", "0,1000,-1000", (0, 1000, -1000)),
    ],
)
def test_gross_fee_and_net_complete_each_other(
    tmp_path: Path, columns: str, row: str, expected: tuple[int, int, int]
) -> None:
    found = read(csv(tmp_path, f"Date,Settlement,{columns}\n2026-11-02,S1,{row}\n"))

    entry = found.entries[0]
    assert entry.gross is not None
    assert entry.fee is not None
    assert (entry.gross.minor, entry.fee.minor, found.signed[0]) == expected
    assert entry.settlement == "S1"


def test_a_net_that_is_not_gross_less_fee_is_remarked(tmp_path: Path) -> None:
    found = read(csv(tmp_path, "Date,Gross,Fee,Net\n2026-11-02,15000,570,14000\n"))

    assert found.signed == [14000]
    assert found.remarks["FEE_SUM"].line == 2


def test_an_amount_that_is_gross_moves_the_balance_by_less(tmp_path: Path) -> None:
    mapping = {
        "columns": {"booking_date": "date", "amount": "amount", "fee": "fee"},
        "amount_is": "gross",
        "sign": "signed",
    }
    file = csv(tmp_path, "Date,Amount,Fee\n2026-11-02,5000,100\n2026-11-02,-3000,50\n")

    found = read(file, options(mapping=mapping))

    assert found.signed == [4900, -3050]
    assert [entry.gross for entry in found.entries] == [Money(5000, "RWF"), Money(3000, "RWF")]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=30),
    st.sampled_from(["NFC", "NFD"]),
    st.integers(1, 10**9),
)
def test_whatever_a_payer_writes_the_amount_arrives(
    tmp_path: Path, words: str, form: str, amount: int
) -> None:
    text = unicodedata.normalize("NFD" if form == "NFD" else "NFC", words).replace('"', "'")

    found = read(csv(tmp_path, HEADER + f'2026-11-02,"{text}",R\u00a01,,"{amount:,}",\n'))

    assert found.signed == [amount]
    assert found.entries[0].bank_reference == "R 1"


# ── which profile, which delimiter, which encoding ───────────────────────────────────────────────


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    text = HEADER.replace(",", delimiter) + delimiter.join(
        ["2026-11-02", "a b", "R1", "", "5", "6\n"]
    )

    entry = read(csv(tmp_path, text)).entries[0]

    assert (entry.narration, entry.bank_reference, entry.running_balance) == ("a b", "R1", 6)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "cp852"])
def test_the_encoding_is_found(tmp_path: Path, encoding: str) -> None:
    words = (
        "Müller Café Genève, Übertrag für Köln, prélèvement éléphant où ça"
        if encoding != ("cp852")
        else "Zażółć gęślą jaźń, Łódź, Przelew własny, płatność"
    )
    rows = "".join(f'2026-11-{day:02},"{words}",R{day},,5,\n' for day in range(1, 20))

    entry = read(csv(tmp_path, HEADER + rows, encoding)).entries[0]

    assert entry.narration == words


def test_a_first_line_that_names_the_delimiter_is_believed(tmp_path: Path) -> None:
    file = csv(tmp_path, "sep=;\nDate;Details;Amount\n2026-11-02;a, b;5\n")

    entry = read(file).entries[0]

    assert (entry.narration, entry.line) == ("a, b", 3)


def test_a_line_end_between_quotes_does_not_shift_the_numbers_of_lines(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + '2026-11-02,"two\nlines",,,5,\n2026-11-03,x,,,6,\n')

    assert [entry.line for entry in read(file).entries] == [2, 4]


def test_columns_nobody_knows_are_asked_about(tmp_path: Path) -> None:
    file = csv(tmp_path, "Wann,Was,Wieviel\n2026-11-02,x,5\n")

    with pytest.raises(Unreadable, match="Say in a mapping"):
        read(file)


def test_a_mapping_that_names_what_is_not_there_says_what_it_looked_for(tmp_path: Path) -> None:
    mapping = {"columns": {"booking_date": "day", "amount": "sum"}}

    with pytest.raises(Unreadable, match="'day', 'sum'"):
        read(csv(tmp_path, "Wann,Wieviel\n2026-11-02,5\n"), options(mapping=mapping))


def test_a_column_of_the_mapping_that_is_missing_is_remarked(tmp_path: Path) -> None:
    mapping = {"columns": {"booking_date": "date", "amount": "amount", "reference": "our ref"}}

    found = read(csv(tmp_path, "Date,Amount\n2026-11-02,5\n"), options(mapping=mapping))

    assert "'our ref'" in found.remarks["MISSING_COLUMN"].message


def test_of_two_columns_of_one_name_the_second_can_be_meant(tmp_path: Path) -> None:
    mapping = {"columns": {"booking_date": "date", "amount": "amount#2"}, "sign": "signed"}

    found = read(csv(tmp_path, "Date,Amount,Amount\n2026-11-02,5,6\n"), options(mapping=mapping))

    assert found.signed == [6]


def test_a_preview_shows_the_rows_and_proposes_a_mapping_that_reads_them(tmp_path: Path) -> None:
    file = csv(tmp_path, "My Bank\n\nDate;Details;Amount;Colour\n2026-11-02;x;5;red\n")

    shown = tables.preview(file, options())

    assert (shown.header_line, shown.unknown_columns) == (3, ("Colour",))
    assert shown.rows[-1] == ("2026-11-02", "x", "5", "red")
    assert shown.problem is None
    assert read(file, options(mapping=shown.mapping)).signed == [5]


def test_a_preview_of_unknown_columns_shows_them_and_says_what_is_missing(tmp_path: Path) -> None:
    shown = tables.preview(csv(tmp_path, "Wann,Was,Wieviel\n2026-11-02,x,5\n"), options())

    assert shown.rows[0] == ("Wann", "Was", "Wieviel")
    assert shown.problem is not None
    assert "mapping" in shown.problem


def test_the_order_of_the_rows_is_the_files(tmp_path: Path) -> None:
    file = csv(tmp_path, HEADER + "2026-11-03,x,,,6,11\n2026-11-02,x,,,5,5\n")

    found = read(file)

    assert [entry.running_balance for entry in found.entries] == [11, 5]
    assert found.entries[0].direction is Direction.CREDIT


# ── spreadsheets ─────────────────────────────────────────────────────────────────────────────────


def test_dates_are_cells_texts_and_numbers(tmp_path: Path) -> None:
    file = xlsx(
        tmp_path,
        [
            ["Date", "Details", "Amount"],
            [date(2026, 11, 2), "cell", 5],
            ["02/11/2026", "text", 6],
            [46328, "number", 7],
            [20261102, "digits", 8],
            ["23/11/2026", "decides", 9],
            [datetime(2026, 11, 2, 23, 30), "moment", 10],  # noqa: DTZ001
        ],
    )

    entries = read(file).entries

    days = [entry.booking_date for entry in entries]
    assert days == [date(2026, 11, 2)] * 4 + [date(2026, 11, 23), date(2026, 11, 2)]
    assert entries[-1].occurred_at == datetime(2026, 11, 2, 21, 30, tzinfo=UTC)


def test_text_numbers_and_negative_debits_with_balances_around_them(tmp_path: Path) -> None:
    file = xlsx(
        tmp_path,
        [
            ["Closing balance", "1,050.00"],
            [],
            ["Date", "Details", "Debit", "Credit", "Balance"],
            ["2026-11-02", "out", "-50,00".replace(",", "."), "", "950.00"],
            ["2026-11-03", "in", "", "100.00", "1,050.00"],
            ["Opening balance", "", "", "", "1,000.00"],
        ],
    )

    found = read(file)

    assert found.signed == [-50, 100]
    assert (found.head.opening, found.end.closing) == (1000, 1050)


@pytest.mark.parametrize("lost", [1.5, 1e16])
def test_a_reference_that_became_a_number_is_refused(tmp_path: Path, lost: float) -> None:
    found = read(xlsx(tmp_path, [["Date", "Ref", "Amount"], ["2026-11-02", lost, 5]]))

    assert "lost digits" in found.rejected[0].message


def test_a_reference_that_is_still_whole_is_kept(tmp_path: Path) -> None:
    rows: list[list[object]] = [["Date", "Ref", "Amount"], ["2026-11-02", 100000012345, 5]]

    assert read(xlsx(tmp_path, rows)).entries[0].bank_reference == "100000012345"


def test_a_computed_amount_has_the_digits_a_spreadsheet_shows(tmp_path: Path) -> None:
    file = xlsx(tmp_path, [["Date", "Details", "Amount"], ["2026-11-02", "x", 0.1 + 0.2]])

    assert read(file, options("USD")).entries[0].amount == Money(30, "USD")


def test_the_lines_of_a_sheet_are_numbered_as_it_shows_them(tmp_path: Path) -> None:
    file = xlsx(tmp_path, [[], [], ["Date", "Details", "Amount"], [], ["2026-11-02", "x", 5]])

    assert read(file).entries[0].line == 5
