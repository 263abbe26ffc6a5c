"""Days on which Rwanda's banks work: a transfer of Friday evening arrives on Monday."""

from datetime import date, timedelta
from functools import cache

import holidays

_DAY = timedelta(days=1)


@cache
def _holidays(year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays("RW", years=(year,)))


def is_business_day(day: date) -> bool:
    return day.weekday() < 5 and day not in _holidays(day.year)


def business_days_after(day: date, count: int) -> date:
    """The last day on which something of `day` arrives that takes so many business days.

    Of a day on which banks do not work, the next one on which they do counts as the first.
    """
    while not is_business_day(day):
        day += _DAY
    for _ in range(count):
        day += _DAY
        while not is_business_day(day):
            day += _DAY
    return day
