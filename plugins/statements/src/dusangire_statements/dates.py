"""A date as somebody wrote it: `2026-11-02`, `02/11/2026`, `2-Nov-26 10:05 PM`, a cell, a number.

Whether `02/11` is in February or in November is never read from one row: the whole column decides,
then the profile, then a person.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum
from functools import lru_cache

__all__ = ["BadDate", "DayOrder", "Moment", "evidence", "parse", "parse_time", "serial"]

LENGTH_LIMIT = 60
_FIRST, _LAST = 1990, 2100
_MONTHS = {
    word: number
    for number, words in enumerate(
        (
            "jan january janvier januar mutarama",
            "feb february fev fevr fevrier februar gashyantare",
            "mar march mars marz werurwe",
            "apr april avr avril mata",
            "may mai gicurasi",
            "jun june juin juni kamena",
            "jul july juil juillet juli nyakanga",
            "aug august aout kanama",
            "sep sept september septembre nzeri",
            "oct october octobre okt oktober ukwakira",
            "nov november novembre ugushyingo",
            "dec december decembre dez dezember ukuboza",
        ),
        start=1,
    )
    for word in words.split()
}
_ACCENTS = str.maketrans("éèêûùôäàâç", "eeeuuoaaac")
_SPACES = str.maketrans("\u00a0\u202f\u2009\t", "    ")
_TIME = re.compile(
    r"(\d{1,2})[:.hH](\d{2})(?:[:.](\d{2})(?:[.,](\d{1,9}))?)?\s*([AaPp]\.?[Mm]\.?)?"
    r"\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2}|CAT)?"
)
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?=$|[T ,])")
_NUMERIC = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{2})(?=$|[T ,])")
_NAMED = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th|er)?[-/. ]*([^\W\d_]{3,12})[-/., ]*(\d{4}|\d{2})(?=$|[T ,])"
)
_NAME_FIRST = re.compile(r"([^\W\d_]{3,12})[ .-]*(\d{1,2})(?:st|nd|rd|th)?,? +(\d{4})(?=$|[T ,])")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?=$|[T ])")
_CAT = timezone(timedelta(hours=2))


class BadDate(ValueError):
    """No date. The text says why."""


class DayOrder(StrEnum):
    """Which comes first in `02/11/2026`."""

    DAY_FIRST = "DAY_FIRST"
    MONTH_FIRST = "MONTH_FIRST"


@dataclass(frozen=True, slots=True)
class Moment:
    """A day, the time on it where the text has one, and whether the day had to be corrected.

    at: without a zone when the text has none.
    clamped: the text says a day its month does not have; `day` is the month's last.
    """

    day: date
    at: datetime | None = None
    clamped: bool = False


@lru_cache(maxsize=20_000)
def parse(text: str, order: DayOrder | None, formats: tuple[str, ...] = ()) -> Moment:
    """What the text says. order: None where the column could not tell.

    formats: of strptime, for shapes that are not known here. Raises BadDate.
    """
    if len(text) > LENGTH_LIMIT:
        raise BadDate("is too long for a date")
    bare = " ".join(text.translate(_SPACES).strip().lstrip("'").split())
    if not bare:
        raise BadDate("has no date")
    found = _parts(bare, order)
    if found is None:
        return _by_format(bare, text, formats)
    year, month, day, rest = found
    at = parse_time(rest) if rest else None
    return _moment(text, year, month, day, at)


def evidence(texts: Iterable[str]) -> tuple[DayOrder | None, bool]:
    """What a column says of the order, and whether it contradicts itself or needs one at all.

    The second is True when there are dates that cannot be read without an order.
    """
    day_first = month_first = ambiguous = False
    for text in texts:
        found = _NUMERIC.match(text.strip().lstrip("'")[:LENGTH_LIMIT])
        if not found:
            continue
        first, second = int(found[1]), int(found[3])
        day_first |= first > 12
        month_first |= second > 12
        ambiguous = True
    if day_first and month_first:
        return None, True
    if day_first:
        return DayOrder.DAY_FIRST, False
    if month_first:
        return DayOrder.MONTH_FIRST, False
    return None, ambiguous


def order_of(formats: Sequence[str]) -> DayOrder | None:
    """The order that formats such as %d/%m/%Y have, if they say one."""
    orders = set()
    for known in formats:
        day, month, year = (
            known.find("%d"),
            known.find("%m"),
            max(known.find("%Y"), known.find("%y")),
        )
        if -1 not in {day, month} and not year < min(day, month):
            orders.add(DayOrder.DAY_FIRST if day < month else DayOrder.MONTH_FIRST)
    return orders.pop() if len(orders) == 1 else None


def serial(number: float) -> Moment:
    """The day a spreadsheet counts as `number`, from 1900. Raises BadDate."""
    if not 30_000 <= number < 80_000:
        raise BadDate(f"{number:g} is no date")
    at = datetime(1899, 12, 30) + timedelta(seconds=round(number * 86_400))  # noqa: DTZ001
    return Moment(at.date(), at if at.time() != time() else None)


def parse_time(text: str) -> tuple[time, timezone | None]:
    """A time of day and its offset, if it has one. Raises BadDate."""
    found = _TIME.fullmatch(text.strip(" T,"))
    if not found:
        raise BadDate(f"{text[:LENGTH_LIMIT]!r} is no time of day")
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if half := found[5]:
        if not 1 <= hour <= 12:
            raise BadDate(f"{text[:LENGTH_LIMIT]!r} is no time of day")
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    try:
        return time(hour, minute, second, int((found[4] or "0")[:6].ljust(6, "0"))), _offset(
            found[6]
        )
    except ValueError as error:
        raise BadDate(f"{text[:LENGTH_LIMIT]!r} is no time of day") from error


def _parts(bare: str, order: DayOrder | None) -> tuple[int, int, int, str] | None:
    """Year, month, day and what is left; None: not one of the shapes."""
    if found := _YEAR_FIRST.match(bare):
        return int(found[1]), int(found[3]), int(found[4]), bare[found.end() :]
    if found := _NUMERIC.match(bare):
        first, second = int(found[1]), int(found[3])
        if order is None and first <= 12 and second <= 12 and first != second:
            raise BadDate(f"{bare!r} may be day/month or month/day")
        month_first = order is DayOrder.MONTH_FIRST if order else second > 12
        month, day = (first, second) if month_first else (second, first)
        return _year(found[4]), month, day, bare[found.end() :]
    if found := _NAMED.match(bare):
        return _year(found[3]), _month(found[2], bare), int(found[1]), bare[found.end() :]
    if found := _NAME_FIRST.match(bare):
        return int(found[3]), _month(found[1], bare), int(found[2]), bare[found.end() :]
    if found := _COMPACT.match(bare):
        return int(found[1]), int(found[2]), int(found[3]), bare[found.end() :]
    return None


def _moment(
    text: str, year: int, month: int, day: int, at: tuple[time, timezone | None] | None
) -> Moment:
    if not (_FIRST <= year <= _LAST and 1 <= month <= 12 and 1 <= day <= 31):
        raise BadDate(f"{text.strip()!r} is no date")
    last = _last_day(year, month)
    clamped = day > last
    on = date(year, month, min(day, last))
    if at is None:
        return Moment(on, None, clamped)
    return Moment(on, datetime.combine(on, at[0], tzinfo=at[1]), clamped)


def _last_day(year: int, month: int) -> int:
    following = date(year + month // 12, month % 12 + 1, 1)
    return (following - timedelta(days=1)).day


def _by_format(bare: str, text: str, formats: tuple[str, ...]) -> Moment:
    for known in formats:
        try:
            at = datetime.strptime(bare, known)  # noqa: DTZ007  # its zone is the profile's
        except ValueError:
            continue
        if _FIRST <= at.year <= _LAST:
            timed = any(word in known for word in ("%H", "%I"))
            return Moment(at.date(), at if timed else None)
    raise BadDate(f"{text.strip()[:LENGTH_LIMIT]!r} is no date")


def _year(text: str) -> int:
    year = int(text)
    if len(text) == 4:
        return year
    return year + (1900 if year >= 80 else 2000)


def _month(word: str, text: str) -> int:
    number = _MONTHS.get(word.lower().translate(_ACCENTS))
    if number is None:
        raise BadDate(f"{text!r} is no date")
    return number


def _offset(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in {"Z", "UTC", "GMT"}:
        return UTC
    if text == "CAT":
        return _CAT
    digits = text[1:].replace(":", "").ljust(4, "0")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-away if text[0] == "-" else away)
