"""Amounts: every way of writing one is read back exactly, and nothing is guessed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dusangire_statements.numbers import BadNumber, NumberStyle, decide, minor_units, parse

ENGLISH = NumberStyle()
GERMAN = NumberStyle(thousands=".", decimal=",")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", "1234"),
        ("1234", "1234"),
        ("1,234.50", "1234.50"),
        ("1\u00a0234", "1234"),
        ("1\u202f234\u202f567", "1234567"),
        ("1'234.50", "1234.50"),
        ("1\u2019234", "1234"),
        ("RWF 5,000", "5000"),
        ("Rwf5,000", "5000"),
        ("FRW 5 000", "5000"),
        ("5,000 RWF", "5000"),
        ("-5,000", "-5000"),
        ("\u2212 5,000", "-5000"),
        ("5,000-", "-5000"),
        ("(5,000)", "-5000"),
        ("(RWF 5,000)", "-5000"),
        ("RWF -5,000", "-5000"),
        ("-RWF 5,000", "-5000"),
        ("+5", "5"),
        ("$ 12.5", "12.5"),
        ("RWF. 5,000", "5000"),
        ("USD .50", "0.5"),
        ("0.00", "0"),
        (".50", "0.5"),
        ("15000.", "15000"),
        ("\ufeff7\u200b", "7"),
    ],
)
def test_an_amount_is_read_however_it_is_decorated(text: str, value: str) -> None:
    number = parse(text, ENGLISH)

    assert number is not None
    assert number.value == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "Infinity", "-inf", "1e9", "1E+9", "1.5e3", "1_000", "0x10", "١٢٣", "1,23",
        "12,34,567", "1.234,56", "1,234.56.7", "1,,234", "--5", "-(5)", "(-5)", "-5-", "-5 DR",
        "5-3", "=1+1", "12a", "9" * 61, ",", ".", "RWF", "1,234 5,6", "USD.50",
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(BadNumber):
        parse(text, ENGLISH)


@pytest.mark.parametrize(("text", "mark"), [("5 CR", "C"), ("5.00DR", "D"), ("5,000 Dr.", "D")])
def test_credit_and_debit_behind_an_amount_are_understood(text: str, mark: str) -> None:
    number = parse(text, ENGLISH)

    assert number is not None
    assert (number.mark, number.value > 0) == (mark, True)


@pytest.mark.parametrize(("text", "currency"), [("FRW 5", "RWF"), ("5 USD", "USD"), ("€5", "EUR")])
def test_the_currency_beside_an_amount_is_kept(text: str, currency: str) -> None:
    number = parse(text, ENGLISH)

    assert number is not None
    assert number.currency == currency


def test_an_empty_cell_and_a_dash_are_no_amount_at_all() -> None:
    assert [parse(text, ENGLISH) for text in ("", "  ", "-", "\u00a0")] == [None] * 4


@given(
    st.integers(-(10**13), 10**13),
    st.sampled_from([",", ".", " ", "'", "\u00a0", "\u202f", ""]),
    st.sampled_from(["{}", "RWF {}", "{} RWF", " {} ", "\u00a0{}"]),
    st.sampled_from(["minus", "behind", "brackets"]),
)
def test_a_number_written_in_any_style_is_read_back_exactly(
    cents: int, group: str, around: str, negative: str
) -> None:
    style = GERMAN if group == "." else ENGLISH
    whole, rest = divmod(abs(cents), 100)
    text = f"{whole:,}".replace(",", group) + style.decimal + f"{rest:02}"
    if cents < 0:
        text = {"minus": f"-{text}", "behind": f"{text}-", "brackets": f"({text})"}[negative]

    number = parse(around.format(text), style)

    assert number is not None
    assert number.value == Decimal(cents) / 100


@pytest.mark.parametrize(
    ("texts", "currency", "decimal"),
    [
        (["1,234", "500"], "RWF", "."),
        (["1.234", "500"], "RWF", ","),
        (["1.234,56"], "EUR", ","),
        (["12,50", "3"], "EUR", ","),
        (["1,234.56", "12.50"], "EUR", "."),
        (["1,234,567"], "RWF", "."),
        (["15000.00"], "RWF", "."),
        (["7"], "EUR", "."),
    ],
)
def test_all_amounts_together_say_where_decimals_begin(
    texts: list[str], currency: str, decimal: str
) -> None:
    style = decide(texts, currency)

    assert style is not None
    assert style.decimal == decimal


@pytest.mark.parametrize(
    ("texts", "currency"),
    [
        (["1,234.50", "1.234,50"], "EUR"),
        (["12,50", "12.50"], "EUR"),
        (["1,234"], "BHD"),
        (["1,234", "1.234"], "RWF"),
        (["12.50", "1.234"], "EUR"),
    ],
)
def test_amounts_that_contradict_each_other_are_not_decided(
    texts: list[str], currency: str
) -> None:
    assert decide(texts, currency) is None


def test_more_decimals_than_the_currency_has_are_refused_or_rounded_as_asked() -> None:
    assert minor_units(Decimal("5000.00"), "RWF") == (5000, False)
    assert minor_units(Decimal("570.5"), "RWF", "round") == (571, True)
    with pytest.raises(BadNumber, match="RWF has no decimals"):
        minor_units(Decimal("570.5"), "RWF")


def test_an_amount_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(BadNumber, match="larger than any amount"):
        minor_units(Decimal(10) ** 30, "RWF")
