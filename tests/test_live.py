"""Whoever watches misses nothing, over broken connections and killed servers."""

import asyncio

import pytest
from tests.harness.client import Merchant
from tests.harness.live import Subscriber, Transport, over_sse, over_websocket
from tests.harness.simulator import Simulator
from tests.harness.system import System

# Our own connections, cut while they open, leave sockets for the collector to close.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


both = pytest.mark.parametrize("transport", [over_websocket, over_sse], ids=["websocket", "sse"])


async def _last_cursor(merchant: Merchant, key: str) -> str:
    """The cursor of everything so far."""
    created = await merchant.create(f"{key} before", phone="250780000102")
    await merchant.until(created.id, "FAILED")
    await asyncio.sleep(0.3)
    cursor: str = (await merchant.events())[-1]["cursor"]
    return cursor


@both
async def test_a_watched_payment_is_shown_as_it_is_and_then_with_every_change(
    merchant: Merchant, key: str, transport: Transport
) -> None:
    created = await merchant.create(key, waitMs=0)
    async with Subscriber(
        merchant.addresses, created.client_token or "", payment_id=created.id, transport=transport
    ) as watcher:
        await watcher.until(lambda event: event["payment"]["status"] == "SUCCEEDED")

    final = await merchant.payment(created.id)
    first = watcher.versions[0]
    assert watcher.versions == list(range(first, final["version"] + 1))


@both
async def test_a_payer_who_reconnects_with_a_version_gets_only_what_is_new(
    merchant: Merchant, mtn: Simulator, key: str, transport: Transport
) -> None:
    await mtn.settings(delay=2.5)
    created = await merchant.create(key)
    pending = await merchant.until(created.id, "PENDING")
    async with Subscriber(
        merchant.addresses, created.client_token or "", payment_id=created.id, transport=transport
    ) as watcher:
        await watcher.until(lambda event: event["payment"]["version"] == pending["version"])
        for _ in range(4):
            watcher.drop()
            await asyncio.sleep(0.3)
        await watcher.until(lambda event: event["payment"]["status"] == "SUCCEEDED")

    assert watcher.breaks >= 4
    assert watcher.versions == sorted(set(watcher.versions))
    assert watcher.versions.count(pending["version"]) == 1


@both
async def test_a_subscriber_that_loses_its_connection_resumes_by_cursor_and_misses_nothing(
    merchant: Merchant, key: str, transport: Transport
) -> None:
    cursor = await _last_cursor(merchant, key)
    async with Subscriber(
        merchant.addresses, merchant.token, cursor=cursor, transport=transport
    ) as all_events:
        paying = [asyncio.create_task(merchant.create(f"{key} {n}", waitMs=0)) for n in range(20)]
        for _ in range(8):
            await asyncio.sleep(0.1)
            all_events.drop()
        created = [await task for task in paying]
        for one in created:
            await merchant.until(one.id, "SUCCEEDED")
        await asyncio.sleep(0.5)
        expected = await merchant.events(cursor)
        await all_events.until(lambda event: event["cursor"] == expected[-1]["cursor"])

    assert all_events.breaks >= 5
    assert all_events.cursors == [event["cursor"] for event in expected]
    assert all_events.seen == expected


@both
async def test_a_subscriber_misses_nothing_when_the_server_is_killed(
    system: System, merchant: Merchant, key: str, transport: Transport
) -> None:
    cursor = await _last_cursor(merchant, key)
    [web] = system.webs
    async with Subscriber(
        merchant.addresses, merchant.token, cursor=cursor, transport=transport
    ) as all_events:
        created = [await merchant.create(f"{key} {n}", waitMs=0) for n in range(5)]
        web.kill()
        web.start()
        created += [await merchant.create(f"{key} {n}", waitMs=0) for n in range(5, 10)]
        for one in created:
            # What was not sent before the kill may be too old to be sent after it.
            await merchant.until(one.id, "SUCCEEDED", "FAILED", seconds=30)
        await asyncio.sleep(0.5)
        expected = await merchant.events(cursor)
        await all_events.until(lambda event: event["cursor"] == expected[-1]["cursor"])

    assert all_events.breaks >= 1
    assert all_events.cursors == [event["cursor"] for event in expected]


async def test_a_burst_of_events_reaches_a_subscriber_whole(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    await mtn.settings(delay=0.1)
    cursor = await _last_cursor(merchant, key)
    [worker] = system.workers
    async with Subscriber(merchant.addresses, merchant.token, cursor=cursor) as all_events:
        worker.freeze()
        try:
            created = await asyncio.gather(*(merchant.create(f"{key} {n}") for n in range(60)))
        finally:
            worker.thaw()
        for one in created:
            await merchant.until(one.id, "SUCCEEDED", seconds=30)
        await asyncio.sleep(0.5)
        expected = await merchant.events(cursor)
        await all_events.until(lambda event: event["cursor"] == expected[-1]["cursor"])

    assert all_events.cursors == [event["cursor"] for event in expected]


async def test_a_payer_watches_only_their_own_payment(merchant: Merchant, key: str) -> None:
    mine = await merchant.create(key, waitMs=0)
    theirs = await merchant.create(f"{key} other", waitMs=0)
    async with (
        Subscriber(merchant.addresses, mine.client_token or "", payment_id=theirs.id) as foreign,
        Subscriber(merchant.addresses, mine.client_token or "") as everything,
    ):
        await merchant.until(theirs.id, "SUCCEEDED")
        await asyncio.sleep(0.5)

    assert foreign.seen == everything.seen == []
