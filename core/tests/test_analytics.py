"""What was earned is counted once, whatever broke in between, and costs the same at any size."""

import asyncio
import math
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from core.tests.conftest import Shop, Step, paid
from hypothesis import given
from hypothesis import strategies as st

from dusangire import database
from dusangire.access import OPERATOR, Actor
from dusangire.analytics import rollups
from dusangire.analytics.performance import gateway_performance, percentile
from dusangire.analytics.revenue import RevenueGroup, RevenueRow, revenue
from dusangire.analytics.rollups import BUCKET_WIDTH, SHORTEST, seconds_of
from dusangire.days import KIGALI
from dusangire.errors import CurrencyNotSupported, Forbidden, Invalid
from dusangire.gateway import Accepted, Attempt, Failed, FailureCode, Outcome
from dusangire.intake import MethodInput
from dusangire.lifecycle import PaymentStatus
from dusangire.permissions import Scope

# What the sums must be, counted anew.
RECOUNT = """
SELECT (CASE WHEN captured > 0 THEN coalesce(completed_at, created_at) ELSE created_at END
    AT TIME ZONE 'Africa/Kigali')::date AS day, gateway_id, currency, status, count(*) AS count,
    sum(amount)::bigint AS amount, sum(captured)::bigint AS captured,
    sum(refunded)::bigint AS refunded
FROM payment GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""
KEPT = """
SELECT day, gateway_id, currency, status, count, amount::bigint, captured::bigint,
    refunded::bigint
FROM revenue_rollup WHERE count <> 0 OR amount <> 0 OR captured <> 0 ORDER BY 1, 2, 3, 4"""
RECOUNT_ATTEMPTS = """
SELECT gateway_id, CASE WHEN status IN ('SUCCEEDED', 'REVERSED') THEN status
    WHEN status IN ('FAILED', 'EXPIRED', 'CANCELLED') THEN coalesce(failure ->> 'code', status)
    ELSE 'OPEN' END AS outcome, count(*) AS count
FROM payment_attempt GROUP BY 1, 2 ORDER BY 1, 2"""
KEPT_ATTEMPTS = """
SELECT gateway_id, outcome, sum(count)::bigint AS count FROM attempt_rollup
GROUP BY 1, 2 HAVING sum(count) <> 0 ORDER BY 1, 2"""


async def pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


DECLINED = Failed(code=FailureCode.INSUFFICIENT_FUNDS, message="no")


def today() -> date:
    return datetime.now(KIGALI).date()


async def keep(shop: Shop) -> int:
    """What the sequencer does, and then the sums."""
    await shop.run("UPDATE event SET position = id WHERE position IS NULL")
    return await rollups.keep(shop.core)


async def earned(*group_by: RevenueGroup, actor: Actor = OPERATOR) -> list[RevenueRow]:
    # A test may run over midnight.
    days = today() - timedelta(days=1), today() + timedelta(days=1)
    return await revenue(actor, *days, "RWF", group_by)


async def is_counted_right(shop: Shop) -> None:
    assert await shop.rows(KEPT) == await shop.rows(RECOUNT)
    assert await shop.rows(KEPT_ATTEMPTS) == await shop.rows(RECOUNT_ATTEMPTS)


async def change_something(shop: Shop, chance: random.Random, made: list[Any]) -> None:
    """One step of some payment's life."""
    match chance.randrange(6):
        case 0:
            made.append(
                (await shop.create(method=None, amount=chance.choice(["1", "700"]))).payment
            )
        case 1:
            shop.script.says("initiate", pays)
            made.append((await shop.create()).payment)
        case 2:
            shop.script.says("initiate", DECLINED)
            made.append((await shop.create(amount="250")).payment)
        case 3:
            shop.script.says("initiate", Accepted())
            steps: list[Step] = [pays, DECLINED, Accepted()]
            shop.script.says("check", chance.choice(steps))
            made.append((await shop.create(method=MethodInput(gateway="cash"))).payment)
            made.append((await shop.create(amount="31")).payment)
        case 4:
            await shop.work_now()
        case _:
            # As a refund does it.
            await shop.run(
                """WITH changed AS (UPDATE payment SET version = version + 1, refunded = captured,
                    status = 'REFUNDED' WHERE id = (SELECT id FROM payment
                    WHERE status = 'SUCCEEDED' ORDER BY id LIMIT 1) RETURNING *)
                INSERT INTO event (type, payment_id, data) SELECT 'refund.succeeded', id,
                    jsonb_build_object('payment', to_jsonb(changed) - 'search') FROM changed"""
            )


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_history_the_sums_are_those_of_the_payments(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    made: list[Any] = []
    for _ in range(25):
        await change_something(shop, chance, made)
        if chance.random() < 0.4:
            await keep(shop)
            await is_counted_right(shop)
    await keep(shop)

    await is_counted_right(shop)
    assert len(made) > 5


async def test_several_processes_at_once_count_each_change_once(shop: Shop) -> None:
    shop.script.says("initiate", pays)
    for _ in range(10):
        await shop.create()
    await shop.run("UPDATE event SET position = id WHERE position IS NULL")

    await asyncio.gather(*(rollups.keep(shop.core) for _ in range(5)))

    await is_counted_right(shop)


async def test_a_crash_in_the_middle_counts_nothing_and_the_next_one_all(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.script.says("initiate", pays)
    await shop.create()
    with monkeypatch.context() as patch:
        patch.setattr(rollups, "_ATTEMPTS", "broken")
        patch.setattr(rollups, "fetch", broken_at("broken"))
        with pytest.raises(RuntimeError):
            await keep(shop)
    assert await shop.rows(KEPT) == []

    await keep(shop)

    await is_counted_right(shop)


def broken_at(statement: str) -> Any:
    async def fetch(said: str, *values: Any) -> list[database.Row]:
        if said == statement:
            raise RuntimeError("killed")
        return await database.fetch(said, *values)

    return fetch


async def test_revenue_is_what_was_captured_and_nothing_else(shop: Shop) -> None:
    shop.script.says("initiate", pays, pays, DECLINED)
    for _ in range(3):
        await shop.create()
    await shop.create(method=None)
    await keep(shop)

    [row] = await earned()

    assert (row.count, row.amount.minor, row.refunded.minor) == (2, 10_000, 0)
    assert (row.gateway, row.status, row.period_start) == (None, None, None)


async def test_by_status_what_was_asked_for_is_seen_too(shop: Shop) -> None:
    shop.script.says("initiate", pays, DECLINED)
    await shop.create()
    await shop.create()
    await shop.create(method=None)
    await keep(shop)

    rows = {row.status: row for row in await earned(RevenueGroup.STATUS, RevenueGroup.GATEWAY)}

    assert {status: (row.gateway, row.amount.minor) for status, row in rows.items()} == {
        PaymentStatus.SUCCEEDED: ("script", 5_000),
        PaymentStatus.FAILED: ("script", 5_000),
        PaymentStatus.CREATED: (None, 5_000),
    }


@pytest.mark.parametrize(
    ("group", "begins"),
    [
        (RevenueGroup.DAY, date(2026, 7, 2)),
        (RevenueGroup.WEEK, date(2026, 6, 29)),
        (RevenueGroup.MONTH, date(2026, 7, 1)),
    ],
)
async def test_a_day_is_kigalis(shop: Shop, group: RevenueGroup, begins: date) -> None:
    shop.script.says("initiate", pays)
    await shop.create()
    # In Kigali it is half past midnight of the next day.
    late = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    await shop.run(
        "UPDATE event SET data = data || jsonb_build_object('completed_at', $1::timestamptz)", late
    )
    await keep(shop)

    [row] = await revenue(OPERATOR, date(2026, 7, 2), date(2026, 7, 2), "RWF", [group])

    assert row.period_start == begins
    assert not await revenue(OPERATOR, date(2026, 7, 1), date(2026, 7, 1), "RWF", [group])


async def test_what_cannot_be_asked_is_said(shop: Shop) -> None:
    day = date(2026, 1, 1)
    with pytest.raises(Invalid, match="one of DAY, WEEK and MONTH"):
        await revenue(OPERATOR, day, day, "RWF", [RevenueGroup.DAY, RevenueGroup.WEEK])
    with pytest.raises(Invalid, match="after"):
        await revenue(OPERATOR, day, day - timedelta(days=1), "RWF", [])
    with pytest.raises(Invalid, match="three years"):
        await gateway_performance(OPERATOR, day, day + timedelta(days=2000))
    with pytest.raises(CurrencyNotSupported):
        await revenue(OPERATOR, day, day, "XYZ", [])
    writer = Actor(kind="api_key", name="writer", scopes=frozenset({Scope.PAYMENTS_WRITE}))
    with pytest.raises(Forbidden):
        await earned(actor=writer)


async def test_performance_says_how_often_how_fast_and_why_not(shop: Shop) -> None:
    shop.script.says("initiate", pays, pays, pays, DECLINED, Accepted())
    for _ in range(5):
        await shop.create()
    await shop.run(
        "UPDATE payment_attempt SET completed_at = created_at + interval '20 s' "
        "WHERE status = 'SUCCEEDED'"
    )
    await keep(shop)

    [found] = await gateway_performance(OPERATOR, today() - timedelta(days=1), today())

    assert (found.gateway, found.attempts, found.succeeded) == ("script", 4, 3)
    assert found.success_rate == 0.75
    assert found.p50_seconds == pytest.approx(20, rel=0.026)
    assert found.p95_seconds == pytest.approx(20, rel=0.026)
    assert [(failure.code, failure.count) for failure in found.failures] == [
        (FailureCode.INSUFFICIENT_FUNDS, 1)
    ]


@given(st.floats(min_value=SHORTEST * 1.001, max_value=1e6))
def test_the_time_of_a_bucket_is_within_two_and_a_half_per_cent(seconds: float) -> None:
    bucket = math.ceil(math.log(seconds / SHORTEST) / math.log(BUCKET_WIDTH))

    assert seconds_of(bucket) == pytest.approx(seconds, rel=0.0255)


@given(st.dictionaries(st.integers(0, 60), st.integers(1, 9), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_that_of_the_list(buckets: dict[int, int], share: float) -> None:
    every = sorted(bucket for bucket, count in buckets.items() for _ in range(count))
    wanted = every[max(0, math.ceil(share * len(every) - 1e-9) - 1)]

    assert percentile(buckets.items(), share) == seconds_of(wanted)


def test_without_a_success_there_is_no_percentile() -> None:
    assert percentile([], 0.5) is None
