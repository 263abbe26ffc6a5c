"""The reference a payer quotes."""

import string
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stdnum import iso11649

from dusangire_bank.reference import creditor_reference, printed

# What payments are called, and what they might be called one day.
OURS = st.from_regex(r"PAY-[0-9A-HJKMNP-TV-Z]{8}", fullmatch=True)
ANY = st.one_of(OURS, st.text(max_size=60)).filter(
    lambda text: any(c.isascii() and c.isalnum() for c in text)
)


@pytest.mark.parametrize(
    ("body", "reference"),
    [
        ("539007547034", "RF18539007547034"),
        ("000000000000000000552", "RF38000000000000000000552"),
        ("RW00000042", "RF59RW00000042"),
        ("INV2026000042", "RF54INV2026000042"),
        ("PAY7K3M9Q2", "RF23PAY7K3M9Q2"),
        ("KGL20261123001", "RF28KGL20261123001"),
        ("1", "RF741"),
        ("PAY-7K3M9Q2X", "RF43PAY7K3M9Q2X"),
    ],
)
def test_the_check_digits_are_those_of_iso_11649(body: str, reference: str) -> None:
    assert creditor_reference(body) == reference


@given(ANY)
def test_any_reference_gives_one_that_banks_take(payment_reference: str) -> None:
    reference = creditor_reference(payment_reference)

    assert iso11649.is_valid(reference)
    assert len(reference) <= 25
    assert set(reference) <= set(string.ascii_uppercase + string.digits)
    assert reference[2:4].isdigit()


@given(OURS, OURS)
def test_two_payments_have_two_references(one: str, other: str) -> None:
    assume(one != other)

    assert creditor_reference(one) != creditor_reference(other)


@given(ANY, st.data())
def test_a_wrong_digit_and_a_wrong_letter_are_noticed(
    payment_reference: str, data: st.DataObject
) -> None:
    reference = creditor_reference(payment_reference)
    place = data.draw(st.integers(2, len(reference) - 1))
    right = reference[place]
    alphabet = string.digits if right.isdigit() else string.ascii_uppercase
    wrong = data.draw(st.sampled_from(alphabet.replace(right, "")))

    assert not iso11649.is_valid(reference[:place] + wrong + reference[place + 1 :])


def test_a_letter_for_a_digit_is_noticed_nearly_always() -> None:
    references = [creditor_reference(f"PAY-{number:08d}") for number in range(0, 90_000_000, 9_973)]
    mistyped = [
        reference[:place] + letter + reference[place + 1 :]
        for reference in references[:500]
        for place, letter in product(range(7, len(reference)), "OIZSB")
    ]

    missed = sum(iso11649.is_valid(reference) for reference in mistyped)

    assert missed / len(mistyped) < 0.02


@given(ANY)
def test_printed_in_fours_it_is_the_same_reference(payment_reference: str) -> None:
    reference = creditor_reference(payment_reference)

    groups = printed(reference).split(" ")

    assert "".join(groups) == reference
    assert {len(group) for group in groups[:-1]} <= {4}


def test_what_no_bank_could_print_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing that a bank could print"):
        creditor_reference("— —")
