"""Phone numbers: many spellings, one number, and never shown whole."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dusangire.errors import InvalidPhone
from dusangire.phone import mask_phone, parse_phone

# A busy machine is slow, and not wrong.
patiently = settings(deadline=None)

# Mobile numbers of MTN (78, 79) and Airtel (72, 73).
mobiles = st.builds(
    "{}{:07d}".format, st.sampled_from(["72", "73", "78", "79"]), st.integers(0, 9_999_999)
)
spellings = st.sampled_from(
    ["+250{}", "250{}", "0{}", "+250 {}", "250 {}", "00250{}", " +250{} ", "+250-{}"]
)


@patiently
@given(mobiles, spellings)
def test_every_spelling_is_the_same_number(mobile: str, spelling: str) -> None:
    assert parse_phone(spelling.format(mobile)) == f"+250{mobile}"


@patiently
@given(mobiles, st.sampled_from([" ", "-", ".", "  "]))
def test_groups_of_digits_are_no_other_number(mobile: str, between: str) -> None:
    grouped = between.join(["0" + mobile[:3], mobile[3:6], mobile[6:]])

    assert parse_phone(grouped) == f"+250{mobile}"


@pytest.mark.parametrize("number", ["+46733123450", "+256772123456", "+254712345678"])
def test_numbers_of_other_countries_are_numbers(number: str) -> None:
    assert parse_phone(number) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "0", "07", "0788", "07881234567", "+999123456789", "call me", "0" * 41),
        *("0788123456\n", "0788\x00123456", "+2507881234561234567890", "+250788123456;ext=7"),
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidPhone):
        parse_phone(text)


@patiently
@given(st.text(max_size=60) | st.text("+0123456789 -().", max_size=45))
def test_whatever_is_typed_in_is_refused_or_is_one_number(text: str) -> None:
    try:
        number = parse_phone(text)
    except InvalidPhone:
        return

    assert re.fullmatch(r"\+[1-9]\d{5,14}", number)
    assert parse_phone(number) == number


@patiently
@given(mobiles)
def test_a_masked_number_cannot_be_called(mobile: str) -> None:
    masked = mask_phone(f"+250{mobile}")

    assert masked == f"+250{mobile[0]}****{mobile[-3:]}"
