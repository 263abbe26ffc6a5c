"""Sums, names and days: the small things that matching leans on."""

from datetime import date

import pytest

from dusangire.reconciliation.calendar import business_days_after, is_business_day
from dusangire.reconciliation.names import SAME, similarity
from dusangire.reconciliation.subsets import Found, summing_up


@pytest.mark.parametrize(
    ("amounts", "total", "found", "chosen"),
    [
        ([5, 7, 11], 18, Found.ONE, (1, 2)),
        ([5, 7, 11], 23, Found.ONE, (0, 1, 2)),
        ([5, 7, 11], 8, Found.NONE, ()),
        ([5, 7, 11], 0, Found.NONE, ()),
        ([18], 18, Found.NONE, ()),
        ([1, 2, 3, 4], 5, Found.MANY, None),
        ([100, 100, 100], 200, Found.MANY, None),
    ],
)
def test_a_sum_is_found_when_there_is_one_way_to_make_it(
    amounts: list[int], total: int, found: Found, chosen: tuple[int, ...] | None
) -> None:
    solution = summing_up(amounts, total)

    assert solution.found is found
    assert chosen is None or solution.chosen == chosen


def test_forty_equal_amounts_end_the_search_at_the_second_way() -> None:
    assert summing_up([1000] * 40, 12_000).found is Found.MANY


def test_more_than_forty_are_not_looked_through() -> None:
    assert summing_up([1000] * 41, 12_000).found is Found.GAVE_UP


def test_more_than_twelve_parts_are_not_believed() -> None:
    assert summing_up([1] * 20, 13).found is Found.NONE


def test_the_search_gives_up_when_its_time_is_over() -> None:
    ticks = iter(range(10**9))

    solution = summing_up([2**n + 1 for n in range(40)], 2**39, clock=lambda: float(next(ticks)))

    assert solution.found in {Found.GAVE_UP, Found.NONE}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("JEAN UWASE", "Uwase Jean"),
        ("Mr. Éric MUGISHA", "ERIC MUGISHA"),
        ("NIYONZIMA JEAN CLA", "Jean Claude Niyonzima"),
        ("UMURAGE COFFEE LTD", "Umurage Coffee"),
    ],
)
def test_one_payer_is_known_by_either_spelling(one: str, other: str) -> None:
    assert similarity(one, other) >= SAME


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("JEAN", "JEAN CLAUDE X"),
        ("JEAN UWASE", "JEAN MUGISHA"),
        ("J U", "JEAN UWASE"),
        ("", "JEAN UWASE"),
        ("TRSF FROM LTD", "TRANSFER FROM CO"),
    ],
)
def test_a_first_name_in_common_is_not_one_payer(one: str, other: str) -> None:
    assert similarity(one, other) < SAME


def test_banks_do_not_work_on_holidays_and_weekends() -> None:
    assert is_business_day(date(2026, 11, 23))
    assert not is_business_day(date(2026, 7, 1))
    assert not is_business_day(date(2026, 11, 22))


def test_a_payout_of_good_friday_arrives_after_the_holidays() -> None:
    # Easter Monday is the 6th of April, and the 7th a day of memory.
    assert business_days_after(date(2026, 4, 3), 0) == date(2026, 4, 8)
    assert business_days_after(date(2026, 4, 2), 1) == date(2026, 4, 8)
