"""Money: exact or refused, in every currency there is."""

from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from iso4217 import Currency

from dusangire.errors import AmountOutOfLimits, CurrencyNotSupported, InvalidAmount
from dusangire.money import MAX_MINOR, Money, exponent

# A busy machine is slow, and not wrong.
patiently = settings(deadline=None)

PAYABLE = sorted(one.code for one in Currency if one.exponent is not None)
UNPAYABLE = sorted(one.code for one in Currency if one.exponent is None)

currencies = st.sampled_from(PAYABLE)
minors = st.integers(min_value=1, max_value=MAX_MINOR)


@pytest.mark.parametrize(
    ("currency", "digits"), [("RWF", 0), ("UGX", 0), ("KES", 2), ("USD", 2), ("BHD", 3), ("UYW", 4)]
)
def test_a_currency_has_the_decimals_of_iso_4217(currency: str, digits: int) -> None:
    assert exponent(currency) == digits


@pytest.mark.parametrize("currency", PAYABLE)
def test_the_smallest_unit_of_each_currency_is_one(currency: str) -> None:
    smallest = Decimal(1).scaleb(-exponent(currency))

    assert Money.parse(smallest, currency) == Money(1, currency)


@pytest.mark.parametrize("currency", PAYABLE)
def test_a_tenth_of_the_smallest_unit_is_refused_in_each_currency(currency: str) -> None:
    too_small = Decimal(15).scaleb(-exponent(currency) - 1)

    with pytest.raises(InvalidAmount, match="decimals"):
        Money.parse(too_small, currency)


@pytest.mark.parametrize("currency", [*UNPAYABLE, "", "rwf", "RWFX", "???", "BTC"])
def test_what_has_no_minor_unit_is_no_currency_to_pay_in(currency: str) -> None:
    with pytest.raises(CurrencyNotSupported):
        Money.parse(1, currency)


@patiently
@given(minors, currencies)
def test_an_amount_comes_back_exactly(minor: int, currency: str) -> None:
    money = Money(minor, currency)

    assert Money.parse(money.amount, currency) == money
    assert Money.parse(f"{money.amount:f}", currency) == money


@patiently
@given(minors, currencies, st.integers(min_value=0, max_value=70))
def test_zeros_behind_an_amount_change_nothing(minor: int, currency: str, zeros: int) -> None:
    money = Money(minor, currency)
    text = f"{money.amount:f}"

    longer = (text if "." in text else text + ".") + "0" * zeros

    assert Money.parse(longer, currency) == money


@patiently
@given(minors, currencies, st.integers(min_value=1, max_value=80), st.integers(1, 9))
def test_a_digit_too_many_is_refused_and_never_rounded(
    minor: int, currency: str, places: int, digit: int
) -> None:
    extra = Decimal((0, (digit,), -exponent(currency) - places))
    text = f"{Money(minor, currency).amount:f}"

    longer = (text if "." in text else text + ".") + "0" * (places - 1) + str(digit)

    assert extra > 0
    with pytest.raises(InvalidAmount):
        Money.parse(longer, currency)


@pytest.mark.parametrize("amount", ["10.5", "0.1", "5000.01", "1e-1", Decimal("10.50")])
def test_a_part_of_a_franc_is_refused(amount: Decimal | str) -> None:
    with pytest.raises(InvalidAmount, match="RWF has no decimals"):
        Money.parse(amount, "RWF")


@pytest.mark.parametrize(
    "amount", ["0", "-1", "-0", "0.00", "NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "-1e30"]
)
def test_only_more_than_zero_is_an_amount(amount: str) -> None:
    with pytest.raises(InvalidAmount, match="more than zero"):
        Money.parse(amount, "RWF")


@pytest.mark.parametrize("amount", ["", "ten", "1,000", "5000 RWF", "0x10", "1e", "--1"])
def test_what_is_no_number_is_no_amount(amount: str) -> None:
    with pytest.raises(InvalidAmount, match="decimal number"):
        Money.parse(amount, "RWF")


@pytest.mark.parametrize("amount", ["1e30", "1e999999999", str(2**63), str(MAX_MINOR + 1)])
def test_more_than_can_be_stored_is_out_of_limits(amount: str) -> None:
    with pytest.raises(AmountOutOfLimits):
        Money.parse(amount, "RWF")


@patiently
@given(st.one_of(st.text(max_size=40), st.decimals().map(str), st.integers().map(str)), currencies)
@example("1e-999999999999", "RWF")
@example("1e999999999999", "BHD")
def test_whatever_is_typed_in_is_refused_or_fits_into_the_database(
    amount: str, currency: str
) -> None:
    try:
        money = Money.parse(amount, currency)
    except (InvalidAmount, AmountOutOfLimits):
        return

    assert 0 < money.minor <= MAX_MINOR < 2**63
    assert money.amount == Decimal(amount)


def test_an_amount_reads_as_people_write_it() -> None:
    assert str(Money(1_500_000, "RWF")) == "1,500,000 RWF"
    assert str(Money(1050, "USD")) == "10.50 USD"
