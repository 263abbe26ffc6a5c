"""Amounts go out and come back exactly; fees are rounded once, and only they."""

import json
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dusangire.errors import CallerError
from dusangire.money import MAX_MINOR, Money
from dusangire_card.flutterwave.mapping import (
    exact_fee,
    money_body,
    parse_amount,
    rounded_fee,
)

currencies = st.sampled_from(["RWF", "UGX", "KES", "USD", "BHD"])
moneys = st.builds(Money, st.integers(1, MAX_MINOR), currencies)


@given(moneys)
def test_an_amount_goes_out_as_a_number_and_comes_back_the_same(money: Money) -> None:
    body = json.loads(orjson.dumps(money_body(money)), parse_float=Decimal)

    assert body["amount"] == money.amount
    assert body["currency"] == money.currency
    assert parse_amount(body["amount"], body["currency"]) == money


@given(st.integers(1, MAX_MINOR))
def test_francs_go_out_as_whole_numbers(minor: int) -> None:
    assert orjson.dumps(money_body(Money(minor, "RWF"))["amount"]) == str(minor).encode()


@given(moneys)
def test_however_it_is_written_it_is_the_same(money: Money) -> None:
    plain = f"{money.amount:f}"
    longer = f"{plain}0" if "." in plain else f"{plain}.0"

    for text in (plain, longer, f'"{plain}"', f'"{longer}"'):
        assert parse_amount(json.loads(text, parse_float=Decimal), money.currency) == money


@given(st.decimals(min_value=0, max_value=10**12, places=4), currencies)
def test_a_fee_is_rounded_by_half_a_unit_at_most(fee: Decimal, currency: str) -> None:
    rounded = rounded_fee(exact_fee({"app_fee": fee}), currency)

    assert rounded is not None
    unit = Money(1, currency).amount
    assert abs(rounded.amount - fee) <= unit / 2


@pytest.mark.parametrize(
    ("fee", "expected"),
    [
        (0, 0),
        (570, 570),
        ("570.49", 570),
        ("570.5", 571),
        (Decimal("0.5"), 1),
        (Decimal("0.4999"), 0),
        (Decimal("1E+3"), 1000),
        (-1, None),
        (None, None),
        (True, None),
        ("", None),
        ("1e3", None),
        ("NaN", None),
        ([570], None),
        (Decimal("1E+999999"), None),
        (Decimal("1E-999999"), 0),
        (10**400, None),
    ],
)
def test_a_fee_that_cannot_be_one_is_left_out(fee: object, expected: int | None) -> None:
    rounded = rounded_fee(exact_fee({"app_fee": fee}), "RWF")

    assert rounded == (None if expected is None else Money(expected, "RWF"))


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(max_value=0),
        st.text(max_size=30),
        st.decimals(),
        st.lists(st.integers()),
        st.dictionaries(st.text(), st.integers()),
        st.integers(min_value=10**17),
    )
)
def test_what_is_no_amount_is_an_error_and_never_a_guess(value: object) -> None:
    try:
        money = parse_amount(value, "RWF")
    except (CallerError, ValueError):
        return
    assert money.amount == Decimal(str(value))
