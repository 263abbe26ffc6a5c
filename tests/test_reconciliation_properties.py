"""What holds for any statement: sums agree, order does not matter, and twice is as good as once."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.truth import files
from tests.truth.desk import Desk, open_desk
from tests.truth.judge import Verdict, judge
from tests.truth.known import KIGALI, Line, Month, Paid
from tests.truth.month import rf

from dusangire.testing.database import fresh_database

# Each example takes a database, an import and a run: few of them, and the same ones each time.
few = settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

MONDAY = date(2026, 10, 5)
# In each currency: what lines brought, less what payments asked for, fees and differences apart.
_TOTALS = """
SELECT m.currency,
    sum(lines.sum)::bigint AS external, sum(items.sum)::bigint AS internal,
    sum(m.fee)::bigint AS fees, sum(m.difference)::bigint AS differences
FROM recon_match m
CROSS JOIN LATERAL (
    SELECT coalesce(sum(CASE l.direction WHEN 'CREDIT' THEN l.amount ELSE -l.amount END), 0) AS sum
    FROM match_leg g JOIN statement_line l ON l.id = g.line_id WHERE g.match_id = m.id
) AS lines
CROSS JOIN LATERAL (
    SELECT count(*) AS count,
        coalesce(sum(CASE i.direction WHEN 'CREDIT' THEN i.amount ELSE -i.amount END), 0) AS sum
    FROM match_leg g JOIN clearing_item i ON i.id = g.item_id WHERE g.match_id = m.id
) AS items
WHERE m.status = 'CONFIRMED' AND items.count > 0 GROUP BY m.currency"""


@dataclass(frozen=True)
class Story:
    """One payer: how much they owe, on which day, and how they paid it."""

    amount: int
    day: int
    how: str


HOWS = ["exactly", "silently", "too little", "in two parts", "twice", "never", "and back"]
stories = st.lists(
    st.builds(
        Story,
        # Few prices, so that some are the same.
        amount=st.sampled_from([5_000, 7_500, 10_000, 12_500, 20_000]),
        day=st.integers(0, 3),
        how=st.sampled_from(HOWS),
    ),
    min_size=5,
    max_size=14,
)
# All that may happen, twice, for one price, over two days.
everything = [Story(10_000, n % 2, how) for n, how in enumerate([*HOWS, *HOWS])]


@given(told=stories)
@example(told=everything)
@few
async def test_26_what_was_matched_is_the_same_on_both_sides_but_for_what_was_booked(
    told: list[Story], tmp_path: Path
) -> None:
    month = _month(told)

    async with _desk(tmp_path) as desk:
        verdict = await _reconciled(desk, month)
        totals = await desk.rows(_TOTALS)

    assert all(
        row["external"] == row["internal"] - row["fees"] + row["differences"] for row in totals
    )
    assert verdict.false == []
    assert verdict.breaks == []


@given(told=stories, seed=st.integers(0, 100))
@example(told=everything, seed=1)
@few
async def test_27_another_order_of_lines_and_payments_gives_the_same_matches(
    told: list[Story], seed: int, tmp_path: Path
) -> None:
    month, rng = _month(told), random.Random(seed)
    other = replace(
        month,
        payments=rng.sample(month.payments, len(month.payments)),
        lines={"bank": rng.sample(month.lines["bank"], len(month.lines["bank"]))},
    )

    async with _desk(tmp_path) as desk:
        straight = await _reconciled(desk, month)
    async with _desk(tmp_path) as desk:
        shuffled = await _reconciled(desk, other)

    assert shuffled.state == straight.state


@given(told=stories)
@example(told=everything)
@few
async def test_a_second_import_and_a_second_run_change_nothing(
    told: list[Story], tmp_path: Path
) -> None:
    month = _month(told)

    async with _desk(tmp_path) as desk:
        first = await _reconciled(desk, month)
        before = await _counts(desk)
        again = await _reconciled(desk, replace(month, payments=[]))
        after = await _counts(desk)

    assert again.state == first.state
    assert after == before


def _month(told: list[Story]) -> Month:
    month = Month(begin=MONDAY, end=MONDAY + timedelta(days=10), lines={"bank": []})
    for n, story in enumerate(told):
        at = datetime(2026, 10, 5 + story.day, 9, n, tzinfo=KIGALI)
        paid = Paid(name=f"PAY-Z{n:07d}", gateway="bank", amount=story.amount, at=at)
        month.payments.append(paid)
        month.lines["bank"] += _lines(paid, story, n)
    return month


def _lines(paid: Paid, story: Story, n: int) -> list[Line]:
    one = Line(
        day=paid.at.date(),
        amount=story.amount,
        mark=f"FT{n}",
        note=rf(paid.body),
        truth=frozenset({paid.name}),
    )
    later = one.day + timedelta(days=1)
    match story.how:
        case "exactly":
            return [one]
        case "silently":
            return [replace(one, note="Incoming")]
        case "too little":
            return [replace(one, amount=story.amount - 500)]
        case "in two parts":
            part = replace(one, amount=2_000)
            return [part, replace(one, amount=story.amount - 2_000, mark=f"FT{n}B", day=later)]
        case "twice":
            return [one, replace(one, mark=f"FT{n}B", day=later)]
        case "and back":
            return [one, replace(one, amount=-story.amount, day=later, reversal=True)]
    return []


@asynccontextmanager
async def _desk(folder: Path) -> AsyncIterator[Desk]:
    async with fresh_database() as url, open_desk(folder, url) as desk:
        yield desk


async def _reconciled(desk: Desk, month: Month) -> Verdict:
    await desk.load(month.payments)
    if month.lines["bank"]:
        await desk.bring("bank", files.mt940(month.lines["bank"]), "a.sta")
    await desk.reconcile("bank")
    return await judge(desk.url, month)


async def _counts(desk: Desk) -> dict[str, int]:
    """Rows of what a second time must not add to."""
    return {
        table: (await desk.row(f"SELECT count(*) AS n FROM {table}"))["n"]
        for table in (
            "statement_line", "clearing_item", "recon_match", "match_leg", "ledger_entry",
            "discrepancy", "statement_import",
        )
    }  # fmt: skip
