"""Live events: each change once, in one order for everybody, whatever breaks in between."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from core.tests.conftest import Shop, paid, until

from dusangire import access, events, payments, sequencer
from dusangire.access import OPERATOR, Actor
from dusangire.core import Core
from dusangire.cursors import make_cursor, position_cursor, read_position
from dusangire.errors import Forbidden, Invalid, NotFound, Unauthenticated
from dusangire.gateway import Attempt, Outcome
from dusangire.intake import MethodInput
from dusangire.permissions import Scope
from dusangire.tail import QUEUE, Behind, EventRecord, Tail

CASH = MethodInput(gateway="cash")


async def pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


async def bare(shop: Shop, **changes: Any) -> UUID:
    """A payment without a method: one event."""
    return (await shop.create(method=None, **changes)).payment.id


async def stamped(shop: Shop) -> int:
    """Waits until every event has its position; gives the last one."""

    async def all_have() -> bool:
        return not await shop.value("SELECT count(*) FROM event WHERE position IS NULL")

    await until(all_have)
    return int(await shop.value("SELECT coalesce(max(position), 0) FROM event"))


async def some(stream: AsyncGenerator[EventRecord, None], count: int) -> list[EventRecord]:
    async with asyncio.timeout(10):
        return [await anext(stream) for _ in range(count)]


@asynccontextmanager
async def running(*works: Any) -> AsyncIterator[list["asyncio.Task[None]"]]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


# ── positions ────────────────────────────────────────────────────────────────────────────────────


async def write_events(url: str, writer: int, count: int) -> None:
    """Commits rows a while after they were written, so that ids and commits cross."""
    connection = await asyncpg.connect(url)
    for n in range(count):
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO event (type, data) VALUES ('test', jsonb_build_object("
                "'writer', $1::int, 'n', $2::int))",
                writer,
                n,
            )
            await asyncio.sleep(random.uniform(0, 0.01))
    await connection.close()


async def follow(shop: Shop, total: int) -> list[tuple[int, int]]:
    """What a reader sees that goes on from the last position it has."""
    seen: list[tuple[int, int]] = []
    position = 0
    async with asyncio.timeout(30):
        while len(seen) < total:
            rows = await shop.rows(
                "SELECT position, id FROM event WHERE position > $1 ORDER BY position", position
            )
            seen += [(row["position"], row["id"]) for row in rows]
            position = seen[-1][0] if seen else 0
            await asyncio.sleep(0.005)
    return seen


async def test_positions_have_no_gap_and_readers_miss_nothing_under_eight_writers(
    shop: Shop,
) -> None:
    async with running(sequencer.run(shop.core, shop.url)):
        following = asyncio.create_task(follow(shop, 8 * 25))
        await asyncio.gather(*(write_events(shop.url, n, 25) for n in range(8)))
        seen = await following

    assert [position for position, _ in seen] == list(range(1, 8 * 25 + 1))
    assert len({id_ for _, id_ in seen}) == 8 * 25
    assert [id_ for _, id_ in seen] != sorted(id_ for _, id_ in seen), "commits did not cross"


async def test_another_sequencer_takes_over_when_the_first_loses_its_connection(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "STANDBY", 0.05)

    async def kill_now_and_then() -> None:
        for _ in range(8):
            await asyncio.sleep(0.1)
            await shop.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                "AND granted AND pid <> pg_backend_pid() "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )

    async with running(*(sequencer.run(shop.core, shop.url) for _ in range(3))):
        following = asyncio.create_task(follow(shop, 8 * 25))
        await asyncio.gather(
            kill_now_and_then(), *(write_events(shop.url, n, 25) for n in range(8))
        )
        seen = await following

    assert [position for position, _ in seen] == list(range(1, 8 * 25 + 1))
    assert len({id_ for _, id_ in seen}) == 8 * 25


async def test_of_two_sequencers_one_stamps(shop: Shop) -> None:
    async with running(*(sequencer.run(shop.core, shop.url) for _ in range(2))):
        await bare(shop)
        await stamped(shop)

        holders = await shop.value(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    assert holders == 1


async def test_the_events_of_a_payment_come_in_the_order_of_its_versions(live_shop: Shop) -> None:
    live_shop.script.says("check", pays)
    ids = [(await live_shop.create()).payment.id for _ in range(5)]
    await asyncio.gather(
        *(payments.check_payment(live_shop.core, OPERATOR, payment_id) for payment_id in ids)
    )
    await stamped(live_shop)

    for payment_id in ids:
        rows = await live_shop.rows(
            "SELECT (data->>'version')::int AS version FROM event WHERE payment_id = $1 "
            "ORDER BY position",
            payment_id,
        )
        assert [row["version"] for row in rows] == [1, 2, 3]


# ── the log ──────────────────────────────────────────────────────────────────────────────────────


async def test_missed_events_are_given_from_a_cursor_on(live_shop: Shop) -> None:
    for _ in range(5):
        await bare(live_shop)
    await stamped(live_shop)

    first = await events.missed(live_shop.core, OPERATOR, first=2)
    rest = await events.missed(live_shop.core, OPERATOR, after=first[-1].cursor)

    assert [event.position for event in [*first, *rest]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "é",
        "\x00",
        "\ud800",
        make_cursor([-1]),
        make_cursor([2**63]),
        make_cursor([True]),
        make_cursor([1, 2]),
        make_cursor(["1"]),
        make_cursor([None]),
    ],
    ids=ascii,
)
async def test_a_cursor_that_is_not_ours_is_refused(shop: Shop, cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        await events.missed(shop.core, OPERATOR, after=cursor)

    assert refused.value.field == ("after",)


@pytest.mark.parametrize("first", [0, -1, 501, 10**9])
async def test_pages_are_bounded(shop: Shop, first: int) -> None:
    with pytest.raises(Invalid):
        await events.missed(shop.core, OPERATOR, first=first)


async def test_types_narrow_what_is_given(live_shop: Shop) -> None:
    await live_shop.create()
    await stamped(live_shop)

    found = await events.missed(live_shop.core, OPERATOR, types=["payment.pending"])

    assert [event.type for event in found] == ["payment.pending"]


@pytest.mark.parametrize(
    "metadata", ["hello", "5", "null", "[1", 5, 1.5, True, [], {"a": "[1]"}, ["x"]], ids=repr
)
async def test_an_event_carries_the_payment_as_it_was_whatever_its_metadata(
    live_shop: Shop, metadata: Any
) -> None:
    created = await live_shop.create(method=None, metadata=metadata)
    await stamped(live_shop)

    [event] = await events.missed(live_shop.core, OPERATOR)

    assert event.payment == created.payment
    assert created.payment.metadata == metadata


async def test_an_event_holds_no_search_text(shop: Shop) -> None:
    await shop.create()

    assert await shop.value("SELECT count(*) FROM event WHERE data ? 'search'") == 0


# ── the tail ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_subscriber_hears_what_comes(live_shop: Shop) -> None:
    stream = events.watch(live_shop.core, OPERATOR)
    heard = asyncio.create_task(some(stream, 2))
    await until_subscribed(live_shop.core)

    created = await live_shop.create()

    assert [(event.type, event.payment_id) for event in await heard] == [
        ("payment.created", created.payment.id),
        ("payment.pending", created.payment.id),
    ]
    await stream.aclose()


async def until_subscribed(core: Core, count: int = 1) -> None:
    async def there() -> bool:
        return len(core.tail) == count

    await until(there)


async def test_resuming_from_a_cursor_misses_nothing_and_repeats_nothing(live_shop: Shop) -> None:
    writer = asyncio.create_task(_write_for_a_while(live_shop, 60))
    heard: list[int] = []
    cursor = position_cursor(0)
    while len(heard) < 60:
        stream = events.watch(live_shop.core, OPERATOR, after=cursor)
        for event in await some(stream, min(random.randint(1, 9), 60 - len(heard))):
            heard.append(event.position)
            cursor = event.cursor
        await stream.aclose()
    await writer

    assert heard == list(range(1, 61))
    assert len(live_shop.core.tail) == 0


async def _write_for_a_while(shop: Shop, count: int) -> None:
    for _ in range(count):
        await bare(shop)
        await asyncio.sleep(random.uniform(0, 0.01))


async def test_a_watcher_gets_the_state_now_and_then_each_change(live_shop: Shop) -> None:
    created = await live_shop.create()
    stream = events.watch_payment(live_shop.core, OPERATOR, created.payment.id)
    [now] = await some(stream, 1)

    live_shop.script.says("check", pays)
    await payments.check_payment(live_shop.core, OPERATOR, created.payment.id)
    [change] = await some(stream, 1)

    assert (now.type, now.version) == ("payment.pending", 2)
    assert (change.type, change.version) == ("payment.succeeded", 3)
    await stream.aclose()


async def test_a_watcher_who_has_the_state_now_gets_changes_only(live_shop: Shop) -> None:
    created = await live_shop.create()
    stream = events.watch_payment(live_shop.core, OPERATOR, created.payment.id, after_version=2)
    next_one = asyncio.create_task(some(stream, 1))
    await until_subscribed(live_shop.core)
    await asyncio.sleep(0.1)
    assert not next_one.done()

    live_shop.script.says("check", pays)
    await payments.check_payment(live_shop.core, OPERATOR, created.payment.id)

    assert [event.version for event in await next_one] == [3]
    await stream.aclose()


async def test_versions_only_grow_for_a_watcher_who_comes_in_the_middle(live_shop: Shop) -> None:
    live_shop.script.says("check", pays)
    created = await live_shop.create()
    work = asyncio.create_task(payments.check_payment(live_shop.core, OPERATOR, created.payment.id))
    streams = [
        events.watch_payment(live_shop.core, OPERATOR, created.payment.id) for _ in range(10)
    ]

    async def to_the_end(stream: AsyncGenerator[EventRecord, None]) -> list[int]:
        versions = []
        async for event in stream:
            versions.append(event.version)
            if event.type == "payment.succeeded":
                break
        await stream.aclose()
        return versions

    async with asyncio.timeout(10):
        paths = await asyncio.gather(*map(to_the_end, streams))
    await work

    assert all(path == sorted(set(path)) and path[-1] == 3 for path in paths)


async def test_a_payer_hears_of_one_payment_only(live_shop: Shop) -> None:
    mine, other = await bare(live_shop), await bare(live_shop)
    token = live_shop.core.authenticator.client_token(mine)
    payer = await live_shop.core.authenticator.actor(token)

    stream = events.watch_payment(live_shop.core, payer, mine)
    assert (await some(stream, 1))[0].payment_id == mine
    await stream.aclose()

    with pytest.raises(NotFound):
        await anext(events.watch_payment(live_shop.core, payer, other))
    with pytest.raises(Forbidden):
        await anext(events.watch(live_shop.core, payer))
    with pytest.raises(Forbidden):
        await events.missed(live_shop.core, payer)
    assert len(live_shop.core.tail) == 0


async def test_a_payment_that_is_not_there_leaves_no_subscription(live_shop: Shop) -> None:
    with pytest.raises(NotFound):
        await anext(
            events.watch_payment(
                live_shop.core, OPERATOR, UUID("5f0c2f1e-7d4a-4c0e-9a53-0b9f6a1c2d3e")
            )
        )

    assert len(live_shop.core.tail) == 0


async def test_watchers_who_leave_in_any_way_leave_nothing_behind(live_shop: Shop) -> None:
    payment_id = await bare(live_shop)
    await stamped(live_shop)

    closed = events.watch_payment(live_shop.core, OPERATOR, payment_id)
    await anext(closed)
    await closed.aclose()
    tasks = [
        asyncio.create_task(some(events.watch(live_shop.core, OPERATOR), 5)),
        asyncio.create_task(some(events.watch_payment(live_shop.core, OPERATOR, payment_id), 5)),
    ]
    await until_subscribed(live_shop.core, 2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    async def nobody() -> bool:
        return len(live_shop.core.tail) == 0

    await until(nobody)
    assert not live_shop.core.tail._of_payment


# ── slow, revoked, disconnected ──────────────────────────────────────────────────────────────────


def record(position: int, payment_id: UUID) -> EventRecord:
    row = {
        "position": position,
        "type": "test",
        "occurred_at": None,
        "payment_id": None,
        "data": "{}",
    }
    event = EventRecord.of(row)
    object.__setattr__(event, "payment_id", payment_id)
    return event


async def test_a_slow_watcher_of_a_payment_gets_its_latest_state() -> None:
    tail = Tail()
    subscription = tail.subscribe(OPERATOR, UUID(int=1))
    for position in range(1, 5 * QUEUE):
        subscription.push(record(position, UUID(int=1)))

    heard = [(await subscription.next()).position for _ in range(len(subscription.waiting))]

    assert len(heard) <= QUEUE
    assert heard == sorted(heard)
    assert heard[-1] == 5 * QUEUE - 1


async def test_what_does_not_fit_into_a_queue_is_not_kept_in_memory() -> None:
    tail = Tail()
    subscription = tail.subscribe(OPERATOR)
    for position in range(5 * QUEUE):
        subscription.push(record(position, UUID(int=position)))

    with pytest.raises(Behind):
        await subscription.next()
    assert not subscription.waiting


async def test_a_slow_subscriber_of_everything_still_gets_everything(live_shop: Shop) -> None:
    stream = events.watch(live_shop.core, OPERATOR, after=position_cursor(0))
    await bare(live_shop)
    heard = [event.position for event in await some(stream, 1)]

    for wave in (3 * QUEUE, 2, 2 * QUEUE):
        total = len(heard) + wave
        await live_shop.run(
            "INSERT INTO event (type, data) SELECT 'test', '{}' FROM generate_series(1, $1::int)",
            wave,
        )
        await stamped(live_shop)
        await until_read(live_shop.core, total)
        heard += [event.position for event in await some(stream, wave)]

    await stream.aclose()
    assert heard == list(range(1, 5 * QUEUE + 4))


async def until_read(core: Core, position: int) -> None:
    async def there() -> bool:
        return core.tail.position >= position

    await until(there)


async def test_a_revoked_key_ends_its_subscriptions_within_five_seconds(live_shop: Shop) -> None:
    key, token = await access.create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])
    actor = await live_shop.core.authenticator.actor(token)
    payment_id = await bare(live_shop)
    await until_read(live_shop.core, 1)
    streams = [
        events.watch(live_shop.core, actor),
        events.watch_payment(live_shop.core, actor, payment_id, after_version=1),
    ]
    waiting = [asyncio.create_task(some(stream, 1)) for stream in streams]
    await until_subscribed(live_shop.core, 2)

    await access.revoke_api_key(OPERATOR, key.id)

    async with asyncio.timeout(5):
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in ended] == [Unauthenticated, Unauthenticated]
    assert len(live_shop.core.tail) == 0


async def test_a_client_token_that_ran_out_ends_its_subscription(live_shop: Shop) -> None:
    payment_id = await bare(live_shop)
    payer = Actor(kind="client", name="payer", payment_id=payment_id, expires_at=1.0)

    stream = events.watch_payment(live_shop.core, payer, payment_id, after_version=1)

    with pytest.raises(Unauthenticated):
        await some(stream, 1)


async def test_events_go_on_after_the_connections_were_lost(live_shop: Shop) -> None:
    stream = events.watch(live_shop.core, OPERATOR)
    heard = asyncio.create_task(some(stream, 3))
    await until_subscribed(live_shop.core)
    await bare(live_shop)

    await live_shop.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.1)
    await live_shop.run("INSERT INTO event (type, data) VALUES ('one', '{}'), ('two', '{}')")

    assert [event.type for event in await heard] == ["payment.created", "one", "two"]
    await stream.aclose()


async def test_a_lost_wake_up_costs_a_moment_not_an_event(
    live_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dusangire.tail.CHANNEL", "nobody_speaks_here")
    await live_shop.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    )
    await asyncio.sleep(1.2)
    stream = events.watch(live_shop.core, OPERATOR)
    heard = asyncio.create_task(some(stream, 1))
    await until_subscribed(live_shop.core)

    await bare(live_shop)

    assert (await heard)[0].type == "payment.created"
    await stream.aclose()


async def test_the_tail_and_the_sequencer_stop_when_told_even_as_news_arrive(shop: Shop) -> None:
    for _ in range(20):
        started = asyncio.Event()
        tasks = [
            asyncio.create_task(shop.core.tail.run(shop.url, started)),
            asyncio.create_task(sequencer.run(shop.core, shop.url)),
        ]
        await started.wait()
        await asyncio.sleep(random.uniform(0.03, 0.06))

        shop.core.tail._woken.set()
        shop.core.news.set()
        for task in tasks:
            task.cancel()

        _, running_on = await asyncio.wait(tasks, timeout=2)
        assert not running_on


async def test_an_event_of_a_newer_version_of_ours_does_not_stop_the_others(
    live_shop: Shop,
) -> None:
    payment_id = await bare(live_shop)
    await until_read(live_shop.core, 1)
    stream = events.watch(live_shop.core, OPERATOR, types=["payment.created"])
    heard = asyncio.create_task(some(stream, 1))
    await until_subscribed(live_shop.core)

    await live_shop.run(
        "INSERT INTO event (type, payment_id, data) "
        "SELECT 'payment.frozen', $1, jsonb_set(data, '{status}', '\"FROZEN\"') FROM event LIMIT 1",
        payment_id,
    )
    other = await bare(live_shop)

    assert [event.payment_id for event in await heard] == [other]
    await stream.aclose()


async def test_a_cursor_reads_back_as_its_position() -> None:
    assert read_position(position_cursor(2**63 - 1)) == 2**63 - 1
