"""What a line names: references as payers type them and banks cut them."""

import random
from datetime import date
from typing import Any

import pytest

from dusangire.money import Money
from dusangire.reconciliation.references import (
    ID,
    LIMIT,
    PHONE,
    RF,
    RF_REPAIRED,
    TOKEN,
    normalised,
    references_of,
)
from dusangire.statements import Direction, Entry


def named(narration: str = "", *, own: str | None = None, **fields: Any) -> list[tuple[str, str]]:
    entry = Entry(
        line=1,
        booking_date=date(2026, 11, 2),
        direction=Direction.CREDIT,
        amount=Money(15_000, "RWF"),
        narration=narration,
        **fields,
    )
    return references_of(entry, own)


@pytest.mark.parametrize(
    ("narration", "body"),
    [
        ("RF43PAY7K3M9Q2X", "PAY7K3M9Q2X"),
        ("rf43pay7k3m9q2x", "PAY7K3M9Q2X"),
        ("from A | RF43 PAY7 K3M9 Q2X", "PAY7K3M9Q2X"),
        ("x" * 60 + "RF43P AY7K3M9Q2X thanks", "PAY7K3M9Q2X"),
        ("xxRF43PAY7K3M9Q2Xthanksalot", "PAY7K3M9Q2X"),
        ("RF43-PAY-7K3M9Q2X/2", "PAY7K3M9Q2X"),
        ("RF18539007547034", "539007547034"),
        ("RF18000000000539007547034", "539007547034"),
        ("RF59RW00000042", "RW00000042"),
        ("RF54INV2026000042", "INV2026000042"),
        ("RF741", "1"),
    ],
)
def test_a_reference_is_found_however_it_was_written(narration: str, body: str) -> None:
    assert (RF, body) in named(narration)


@pytest.mark.parametrize("narration", ["RF44PAY7K3M9Q2X", "RF43PAY7K3M9Q2", "RF43PAY7K3M9Q2Y"])
def test_a_reference_whose_check_digits_fail_is_none(narration: str) -> None:
    assert RF not in {kind for kind, value in named(narration) if value.startswith("PAY7K3M9Q2")}


def test_characters_that_look_alike_are_put_right_and_said_to_be() -> None:
    found = named("RF59RWOOOOOO42")

    assert (RF_REPAIRED, "RW00000042") in found
    assert (RF, "RW00000042") not in found


def test_fields_of_their_own_are_ids() -> None:
    found = named(transaction_id="9000-1", our_reference="t/7k", end_to_end_id="NOTPROVIDED")

    assert (ID, "90001") in found
    assert (ID, "T7K") in found
    assert (ID, "NOTPROVIDED") not in found


@pytest.mark.parametrize("written", ["PAY-NYDJVNVG", "pay nydjvnvg", "PAYNYDJVNVG"])
def test_a_reference_of_letters_only_is_a_token_too(written: str) -> None:
    assert (TOKEN, "PAYNYDJVNVG") in named(f"Incoming | UWASE {written}")


def test_words_with_a_digit_are_tokens() -> None:
    found = [value for kind, value in named("pay for ORDER-1042 INV 2026 000042") if kind == TOKEN]

    assert {"ORDER1042", "1042", "INV2026000042"} <= set(found)


@pytest.mark.parametrize(
    "narration",
    ["2026-11-02", "02/11/2026", "20261102", "15,000", "RWF 15000", "0001234567", "hello", "2026"],
)
def test_dates_amounts_the_own_account_and_plain_words_are_no_tokens(narration: str) -> None:
    assert named(narration, own="000-1234567") == []


@pytest.mark.parametrize("narration", ["0788123456", "+250 788 123 456", "250788123456"])
def test_a_phone_number_is_a_phone_number(narration: str) -> None:
    found = named(f"MTN {narration} x")

    assert (PHONE, "250788123456") in found
    assert not [value for kind, value in found if kind == TOKEN and "788123456" in value]


def test_what_a_line_names_is_bounded_whatever_it_holds() -> None:
    rng = random.Random(1)
    text = " ".join(f"RF{rng.randrange(100):02d}O0I1{rng.randrange(10**9)}" for _ in range(4000))

    found = named(text)

    assert len(found) <= LIMIT
    assert found == list(dict.fromkeys(found))


def test_spelling_does_not_matter() -> None:
    assert normalised("pay-7k3m 9q2x") == normalised("PAY7K3M9Q2X") == "PAY7K3M9Q2X"
