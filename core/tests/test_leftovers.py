"""Lines that no reference explains: what is offered, what is not, and what is never guessed."""

import random
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from dusangire.reconciliation.passes.leftovers import OpenItem, OpenLine, Terms, match

DAY = date(2026, 10, 6)  # a Tuesday
PHONE = "250788123456"


def line(number: int, amount: int = 5000, after: int = 0, **fields: Any) -> OpenLine:
    day = DAY + timedelta(days=after)
    known = {"direction": "CREDIT", "currency": "RWF", **fields}
    return OpenLine(id=UUID(int=number), amount=amount, day=day, **known)


def item(number: int, amount: int = 5000, after: int = 0, **fields: Any) -> OpenItem:
    day = DAY + timedelta(days=after)
    known = {"kind": "PAYMENT", "direction": "CREDIT", "currency": "RWF", "began": day, **fields}
    return OpenItem(id=UUID(int=100 + number), amount=amount, day=day, **known)


def found(lines: list[OpenLine], items: list[OpenItem], **terms: Any) -> list[tuple[Any, ...]]:
    matches, _ = match(lines, items, Terms(**terms))
    return [
        (one.rule, [n.int for n in one.line_ids], [n.int - 100 for n in one.item_ids], one.sure)
        for one in matches
    ]


def tied(lines: list[OpenLine], items: list[OpenItem]) -> set[tuple[int, int]]:
    _, candidates = match(lines, items, Terms())
    return {(one.line_id.int, one.item_id.int - 100) for one in candidates}


def test_one_amount_on_one_day_is_offered_and_never_taken_for_sure() -> None:
    assert found([line(1)], [item(1)]) == [("amount-date", [1], [1], False)]


def test_two_equal_amounts_are_two_candidates_and_no_match() -> None:
    lines, items = [line(1), line(2)], [item(1), item(2)]

    assert found(lines, items) == []
    assert tied(lines, items) == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_a_second_line_as_good_makes_a_tie_of_the_item_too() -> None:
    lines = [line(1), line(2)]

    assert found(lines, [item(1)]) == []
    assert tied(lines, [item(1)]) == {(1, 1), (2, 1)}


def test_the_payer_tells_two_equal_amounts_apart() -> None:
    lines = [line(1, payers=frozenset({PHONE})), line(2)]
    items = [item(1, payer="+" + PHONE), item(2)]

    assert found(lines, items) == [
        ("amount-date-payer", [1], [1], False),
        ("amount-date", [2], [2], False),
    ]


@pytest.mark.parametrize("auto", [True, False])
def test_amount_and_payer_need_a_person_unless_the_account_says_otherwise(auto: bool) -> None:
    lines, items = [line(1, name="UWASE JEAN")], [item(1, name="Jean Uwase")]

    assert found(lines, items, auto_payer=auto) == [("amount-date-payer", [1], [1], auto)]


@pytest.mark.parametrize(
    "changes",
    [
        {"currency": "USD"},
        {"direction": "DEBIT"},
        {"after": -3},
        {"after": 9},
        {"amount": 5001},
    ],
)
def test_what_cannot_be_is_not_offered(changes: dict[str, Any]) -> None:
    assert found([line(1, **changes)], [item(1)]) == []


def test_a_pair_that_a_person_rejected_is_not_offered_again() -> None:
    rejected = frozenset({(UUID(int=1), UUID(int=101))})

    assert found([line(1)], [item(1)], rejected=rejected) == []


def payout(number: int, **fields: Any) -> OpenItem:
    return item(number, kind="PAYOUT", provider=("Flutterwave",), **fields)


@pytest.mark.parametrize(
    ("line_fields", "sure"),
    [
        ({"narration": "FLUTTERWAVE SETTLEMENT"}, True),
        ({"narration": "x", "words": frozenset({"FLW20261006"})}, True),
        ({"narration": "somebody"}, None),
        ({"narration": "FLUTTERWAVE", "trusted": False}, False),
        ({"narration": "FLUTTERWAVE", "after": 4}, None),
    ],
)
def test_a_payout_is_the_banks_line_that_names_it(
    line_fields: dict[str, Any], sure: bool | None
) -> None:
    items = [payout(1, words=frozenset({"FLW20261006"}))]

    expected = [] if sure is None else [("payout-to-bank", [1], [1], sure)]
    assert found([line(1, **line_fields)], items) == expected


def test_a_payout_waits_for_the_bank_over_a_holiday() -> None:
    # The 1st of July 2026 is a Wednesday, and a holiday; so is the 4th, a Saturday.
    before = date(2026, 6, 30)
    late = OpenLine(id=UUID(int=1), direction="CREDIT", amount=5000, currency="RWF",
        day=date(2026, 7, 6), narration="FLUTTERWAVE")  # fmt: skip
    items = [OpenItem(id=UUID(int=101), kind="PAYOUT", direction="CREDIT", amount=5000,
        currency="RWF", began=before, day=before, provider=("Flutterwave",))]  # fmt: skip

    assert found([late], items) == [("payout-to-bank", [1], [1], True)]


def test_two_payouts_alike_are_left_to_a_person() -> None:
    lines = [line(1, narration="FLUTTERWAVE")]

    assert found(lines, [payout(1), payout(2)]) == []
    assert tied(lines, [payout(1), payout(2)]) == {(1, 1), (1, 2)}


def test_one_transfer_for_three_of_the_same_payer_is_offered() -> None:
    payer: dict[str, Any] = {"payer": PHONE}
    items = [item(1, 1000, **payer), item(2, 1500, **payer), item(3, 2700, **payer)]

    assert found([line(1, 5200, payers=frozenset({PHONE}))], items) == [
        ("combined", [1], [1, 2, 3], False)
    ]


def test_two_transfers_of_one_payer_for_one_payment_are_offered() -> None:
    payers = frozenset({PHONE})
    lines = [line(1, 2000, payers=payers), line(2, 3000, after=1, payers=payers)]

    assert found(lines, [item(1, payer=PHONE)]) == [("instalments", [1, 2], [1], False)]


def test_forty_equal_amounts_and_their_sum_end_as_a_tie() -> None:
    items = [item(n, 1000, payer=PHONE) for n in range(40)]

    assert found([line(900, 12_000, payers=frozenset({PHONE}))], items) == []


def test_a_franc_less_is_offered_only_within_the_agreed_tolerance() -> None:
    lines = [line(1, 4990, payers=frozenset({PHONE}))]
    items = [item(1, payer=PHONE)]

    assert found(lines, items) == []
    assert found(lines, items, tolerance=10) == [("tolerance", [1], [1], False)]
    assert found(lines, items, tolerance=9) == []


@pytest.mark.parametrize("seed", range(15))
def test_any_order_gives_the_same_and_nothing_is_used_twice(seed: int) -> None:
    rng = random.Random(seed)
    payers = [f"25078{n:07d}" for n in range(5)]
    lines = [
        line(n, rng.randrange(1, 9) * 500, rng.randrange(5),
            payers=frozenset(rng.sample(payers, rng.randrange(2))))
        for n in range(1, 60)
    ]  # fmt: skip
    items = [
        item(n, rng.randrange(1, 9) * 500, rng.randrange(5), payer=rng.choice([None, *payers]))
        for n in range(1, 60)
    ]
    first = match(lines, items, Terms())

    rng.shuffle(lines)
    rng.shuffle(items)

    assert match(lines, items, Terms()) == first
    amounts = {one.id: one.amount for one in lines} | {one.id: one.amount for one in items}
    used = [one for m in first[0] for one in (*m.line_ids, *m.item_ids)]
    assert len(used) == len(set(used))
    for one in first[0]:
        assert (
            sum(amounts[n] for n in one.line_ids)
            == sum(amounts[n] for n in one.item_ids) + one.difference
        )
