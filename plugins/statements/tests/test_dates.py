"""Dates: every way of writing one is read back exactly, and day and month are never guessed."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dusangire_statements.dates import (
    BadDate,
    DayOrder,
    evidence,
    order_of,
    parse,
    parse_time,
    serial,
)

DAY_FIRST = [
    "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%d/%m/%y", "%d-%b-%Y", "%d %B %Y", "%d%b%Y", "%b %d, %Y",
    "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d",
]  # fmt: skip
TIMES = ["", " %H:%M", " %H:%M:%S", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S%p"]


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2079, 12, 31)),  # noqa: DTZ001
    st.sampled_from(DAY_FIRST),
    st.sampled_from(TIMES),
)
def test_a_date_written_in_any_style_is_read_back(at: datetime, day: str, clock: str) -> None:
    text = at.strftime(day + clock)

    moment = parse(text, DayOrder.DAY_FIRST)

    assert moment.day == at.date()
    if clock:
        assert moment.at is not None
        assert (moment.at.hour, moment.at.minute) == (at.hour, at.minute)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["01/02/2026", "13/02/2026"], (DayOrder.DAY_FIRST, False)),
        (["01/02/2026", "02/13/2026"], (DayOrder.MONTH_FIRST, False)),
        (["01/02/2026", "03/04/2026"], (None, True)),
        (["13/02/2026", "02/13/2026"], (None, True)),
        (["2026-02-01", "1 Feb 2026"], (None, False)),
    ],
)
def test_the_whole_column_decides_which_comes_first(
    texts: list[str], found: tuple[DayOrder | None, bool]
) -> None:
    assert evidence(texts) == found


def test_a_date_that_may_be_either_is_refused_where_nothing_decides() -> None:
    with pytest.raises(BadDate, match="day/month or month/day"):
        parse("01/02/2026", None)


@pytest.mark.parametrize(
    ("formats", "order"),
    [
        (["%d/%m/%Y"], DayOrder.DAY_FIRST),
        (["%m/%d/%Y", "%Y-%m-%d"], DayOrder.MONTH_FIRST),
        (["%Y-%m-%d"], None),
        (["%d/%m/%Y", "%m/%d/%Y"], None),
    ],
)
def test_formats_say_the_order(formats: list[str], order: DayOrder | None) -> None:
    assert order_of(formats) == order


def test_february_30_becomes_the_last_of_february_and_says_so() -> None:
    moment = parse("30/02/2026", DayOrder.DAY_FIRST)

    assert (moment.day, moment.clamped) == (date(2026, 2, 28), True)


@pytest.mark.parametrize(
    "text",
    ["", "NaN", "32/01/2026", "01/13/2026", "2026-00-10", "02/11/0026", "9999-01-01", "1 Foo 2026",
     "02/11/2026 25:00", "2026-11-02 13:00 PM", "2026-11-02 10:61", "x" * 61, "２０２６-11-02x"],
)  # fmt: skip
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(BadDate):
        parse(text, DayOrder.DAY_FIRST)


def test_a_month_has_its_name_in_four_languages() -> None:
    words = ["nov", "novembre", "Ugushyingo", "November", "dez", "décembre", "ukuboza"]

    months = [parse(f"2 {word} 2026", None).day.month for word in words]

    assert months == [11, 11, 11, 11, 12, 12, 12]


def test_an_offset_in_the_text_is_kept() -> None:
    utc, kigali = parse("2026-11-02T23:30:00Z", None).at, parse("2026-11-02 23:30 +02:00", None).at

    assert utc == datetime(2026, 11, 2, 23, 30, tzinfo=UTC)
    assert kigali == datetime(2026, 11, 2, 23, 30, tzinfo=timezone(timedelta(hours=2)))


def test_a_spreadsheets_number_is_the_day_it_counts() -> None:
    assert serial(46328).day == date(2026, 11, 2)
    assert serial(46328.5).at == datetime(2026, 11, 2, 12)  # noqa: DTZ001
    with pytest.raises(BadDate):
        serial(5000)


def test_noon_and_midnight_are_not_mixed_up() -> None:
    assert [parse_time(text)[0].hour for text in ("12:05 AM", "12:05 PM", "0:05")] == [0, 12, 0]
