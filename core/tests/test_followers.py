"""What follows from a change is written once, whatever breaks in between."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from core.tests.conftest import Shop
from core.tests.test_events import bare

from dusangire.core import Core
from dusangire.database import fetch
from dusangire.errors import Retryable
from dusangire.followers import Follower, follow, tail
from dusangire.tail import EventRecord


async def stamp(shop: Shop) -> None:
    """What the sequencer does, in one go."""
    await fetch("UPDATE event SET position = id WHERE position IS NULL")


async def remember(_core: Core, event: EventRecord) -> None:
    await fetch(
        "INSERT INTO unmapped_code (id, gateway_id, code) "
        "SELECT $1, id, $2 FROM gateway_account LIMIT 1",
        uuid4(),
        f"{event.payment_id}",
    )


async def remembered() -> list[str]:
    return [row["code"] for row in await fetch("SELECT code FROM unmapped_code")]


FOLLOWER = Follower(name="memory", types=("payment.",), act=remember)


async def test_every_event_is_acted_on_once_in_order(shop: Shop) -> None:
    made = [str(await bare(shop)) for _ in range(3)]
    await stamp(shop)

    assert await follow(shop.core, [FOLLOWER]) == 3
    assert await follow(shop.core, [FOLLOWER]) == 0

    assert await remembered() == made


async def test_a_follower_acts_on_its_own_types_only(shop: Shop) -> None:
    await bare(shop)
    await stamp(shop)
    other = Follower(name="other", types=("refund.", "invoice."), act=remember)

    assert await follow(shop.core, [other]) == 1

    assert await remembered() == []


async def test_one_that_cannot_act_here_leaves_its_place_to_those_who_can(shop: Shop) -> None:
    await bare(shop)
    await stamp(shop)

    assert await follow(shop.core, [replace(FOLLOWER, runs=lambda _core: False)]) == 0
    assert await follow(shop.core, [FOLLOWER]) == 1


async def test_one_that_begins_now_leaves_the_past_alone_and_misses_nothing_after(
    shop: Shop,
) -> None:
    beginner = replace(FOLLOWER, name="beginner", from_now=True)
    await bare(shop)
    await stamp(shop)
    assert await follow(shop.core, [beginner]) == 0
    made = str(await bare(shop))
    await stamp(shop)

    assert await follow(shop.core, [beginner]) == 1

    assert await remembered() == [made]


async def test_one_that_begins_before_there_is_anything_follows_the_first_event(shop: Shop) -> None:
    beginner = replace(FOLLOWER, name="beginner", from_now=True)
    await follow(shop.core, [beginner])
    made = str(await bare(shop))
    await stamp(shop)

    assert await follow(shop.core, [beginner]) == 1

    assert await remembered() == [made]


async def test_processes_at_once_act_once(shop: Shop) -> None:
    made = {str(await bare(shop)) for _ in range(20)}
    await stamp(shop)

    await asyncio.gather(*(follow(shop.core, [FOLLOWER]) for _ in range(8)))
    await follow(shop.core, [FOLLOWER])

    found = await remembered()
    assert set(found) == made
    assert len(found) == 20


async def test_one_that_fails_leaves_nothing_behind_and_holds_up_nobody(shop: Shop) -> None:
    first, second, third = [await bare(shop) for _ in range(3)]
    await stamp(shop)
    broken = {second}

    async def stumbles(core: Core, event: EventRecord) -> None:
        await remember(core, event)
        if event.payment_id in broken:
            raise ValueError("no such thing")

    stumbling = Follower(name="memory", types=("payment.",), act=stumbles)
    await follow(shop.core, [stumbling])
    assert await remembered() == [str(first), str(third)]
    [debt] = await fetch("SELECT error, tries FROM follower_debt")
    assert debt == {"error": "ValueError: no such thing", "tries": 1}

    await _due()
    await follow(shop.core, [stumbling])
    [debt] = await fetch("SELECT tries FROM follower_debt")
    assert debt["tries"] == 2

    broken.clear()
    await _due()
    await follow(shop.core, [stumbling])
    assert await remembered() == [str(first), str(third), str(second)]
    assert await fetch("SELECT FROM follower_debt") == []


async def test_a_lost_database_is_no_debt_the_whole_batch_comes_again(shop: Shop) -> None:
    made = [str(await bare(shop)) for _ in range(2)]
    await stamp(shop)
    lost: list[UUID | None] = []

    async def once_lost(core: Core, event: EventRecord) -> None:
        await remember(core, event)
        if str(event.payment_id) == made[1] and not lost:
            lost.append(event.payment_id)
            raise Retryable

    follower = Follower(name="memory", types=("payment.",), act=once_lost)
    with pytest.raises(Retryable):
        await follow(shop.core, [follower])
    assert await remembered() == []

    await follow(shop.core, [follower])

    assert await remembered() == made
    assert await fetch("SELECT FROM follower_debt") == []


async def test_one_that_is_blocked_holds_up_no_other(shop: Shop) -> None:
    made = str(await bare(shop))
    await stamp(shop)

    async def blocked(_core: Core, _event: EventRecord) -> None:
        raise Retryable

    first = Follower(name="first", types=("payment.",), act=blocked)

    await follow(shop.core, [first, FOLLOWER])

    assert await remembered() == [made]
    assert await shop.value("SELECT position FROM follower WHERE name = 'first'") == 0


async def test_an_event_that_always_runs_out_of_time_becomes_a_debt(shop: Shop) -> None:
    first, second, third = [await bare(shop) for _ in range(3)]
    await stamp(shop)

    async def too_long(core: Core, event: EventRecord) -> None:
        await remember(core, event)
        if event.payment_id == second:
            await fetch("SET LOCAL statement_timeout = 1")
            await fetch("SELECT pg_sleep(10)")

    slow = Follower(name="memory", types=("payment.",), act=too_long)
    for _ in range(5):
        with pytest.raises(Retryable):
            await follow(shop.core, [slow])
        assert await remembered() == []

    await follow(shop.core, [slow])

    assert await remembered() == [str(first), str(third)]
    assert await shop.value("SELECT tries FROM follower_debt") == 1
    await _due()
    await follow(shop.core, [slow])
    assert await shop.row("SELECT tries, next_try_at > now() AS waits FROM follower_debt") == {
        "tries": 2,
        "waits": True,
    }


async def _due() -> None:
    await fetch("UPDATE follower_debt SET next_try_at = now()")


# ── many at once ─────────────────────────────────────────────────────────────────────────────────


async def test_a_tail_takes_in_every_position_once_whatever_breaks(shop: Shop) -> None:
    seen: list[tuple[int, int]] = []

    async def take(begin: int, end: int) -> None:
        seen.append((begin, end))

    async def breaks(_begin: int, _end: int) -> None:
        raise RuntimeError

    # An empty log moves nobody ahead of what will come.
    assert [await tail("tail", take) for _ in range(3)] == [0, 0, 0]
    await bare(shop)
    await stamp(shop)
    last = await shop.value("SELECT max(position) FROM event")
    with pytest.raises(RuntimeError):
        await tail("tail", breaks)

    assert await tail("tail", take) == last
    assert await tail("tail", take) == 0
    assert seen == [(0, last)]
