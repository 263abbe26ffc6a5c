"""Processes and the database die in the middle of it all; no payment is lost or charged twice."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from tests.harness.client import MANY, Merchant, Said
from tests.harness.evidence import gather, quiet, sound
from tests.harness.invariants import violations
from tests.harness.meddler import meddling
from tests.harness.outage import Database, own_database
from tests.harness.simulator import Simulator
from tests.harness.system import System, running

from dusangire.testing.rig import until

# Our own connections, cut while they open, leave sockets for the collector to close.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


async def test_a_request_under_way_is_answered_before_the_process_stops(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    [web] = system.webs
    await mtn.faults(latency=2)
    calling = asyncio.create_task(merchant.create(key, waitMs=8000))
    await _written(merchant, key)

    web.terminate()
    answer = await calling
    status = await web.until_ended()

    assert status == 0
    assert (answer.status, answer.replayed) == ("PENDING", False)
    web.start()
    await web.until_ready()
    await mtn.faults()
    await merchant.until(answer.id, "SUCCEEDED")
    await sound(system, merchant)


async def test_a_request_cut_off_by_a_kill_is_found_again_by_its_key(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    [web] = system.webs
    await mtn.faults(latency=4)
    calling = asyncio.create_task(merchant.create(key, waitMs=8000))
    await _written(merchant, key)

    web.kill()
    await mtn.faults()
    web.start()
    answer = await calling
    await merchant.until(answer.id, "SUCCEEDED", "FAILED", seconds=30)

    assert merchant.history[0].result == "info"
    assert answer.replayed
    await sound(system, merchant)


async def test_what_a_dead_worker_left_is_taken_up_by_the_next(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    [worker] = system.workers
    await mtn.faults(dropped_webhooks=1)
    worker.kill()
    created = await asyncio.gather(*(merchant.create(f"{key} {n}") for n in range(10)))
    waiting = [(await merchant.payment(one.id))["status"] for one in created]

    worker.start()
    for one in created:
        await merchant.until(one.id, "SUCCEEDED", seconds=20)

    assert set(waiting) == {"PENDING"}
    await sound(system, merchant)


async def test_a_worker_that_wakes_up_after_its_lease_changes_nothing(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    [worker] = system.workers
    await mtn.settings(delay=0.5)
    created = await asyncio.gather(*(merchant.create(f"{key} {n}") for n in range(10)))
    worker.freeze()
    await asyncio.sleep(5)

    worker.thaw()
    for one in created:
        await merchant.until(one.id, "SUCCEEDED", seconds=20)

    await sound(system, merchant)


async def test_a_gateway_that_hangs_does_not_slow_the_others(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    gateway = f"mtn-{uuid4().hex[:8]}"
    await mtn.faults(dropped_webhooks=1)
    async with meddling(mtn.address) as meddler:
        await system.save_gateway(gateway, "mtn", {**mtn.config, "base_url": meddler.address})
        meddler.hold.clear()
        stuck = await asyncio.gather(
            *(merchant.create(f"{key} stuck {n}", gateway=gateway, waitMs=0) for n in range(60))
        )
        # By now the worker asks about them too, and waits.
        await asyncio.sleep(4)
        began = time.monotonic()
        created = [await merchant.create(f"{key} {n}") for n in range(20)]
        creating = [said.seconds for said in merchant.history[-20:]]
        reading = [await _timed(merchant) for _ in range(20)]
        paid = [await merchant.until(one.id, "SUCCEEDED") for one in created]
        seconds = time.monotonic() - began
        hanging = meddler.waiting
        meddler.hold.set()
        for one in stuck:
            await merchant.until(one.id, "SUCCEEDED", "FAILED", seconds=40)

    assert hanging >= 16, "the gateway does not hang"
    assert statistics.median(creating) < 0.5
    assert max(creating) < 2
    assert max(reading) < 1
    assert len(paid) == 20
    assert seconds < 12
    await sound(system, merchant)


async def test_a_request_that_arrives_after_we_gave_it_up_is_found_and_flagged(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    gateway = f"mtn-{uuid4().hex[:8]}"
    await mtn.faults(dropped_webhooks=1)
    async with meddling(mtn.address) as meddler:
        await system.save_gateway(gateway, "mtn", {**mtn.config, "base_url": meddler.address})
        meddler.only = "POST"
        meddler.hold.clear()
        created = await merchant.create(key, gateway=gateway, waitMs=0)
        await merchant.until(created.id, "FAILED", seconds=20)
        meddler.hold.set()
        paid = await merchant.until(created.id, "SUCCEEDED", seconds=20)

    assert paid["needsAttention"] == ["LATE_SUCCESS"]
    await sound(system, merchant)


async def _written(merchant: Merchant, key: str) -> None:
    """Waits until the payment is there, while the answer to its request is not."""

    async def there() -> bool:
        return any(payment["description"] == key for payment in await merchant.payments())

    await until(there, seconds=5)


async def _timed(merchant: Merchant) -> float:
    began = time.monotonic()
    await merchant.ask(MANY)
    return time.monotonic() - began


# ── the database ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with own_database(tmp_path_factory.mktemp("database")) as database:
        yield database


@pytest_asyncio.fixture
async def fragile(database: Database, tmp_path: Path) -> AsyncIterator[System]:
    """A system whose database can be killed."""
    async with running(tmp_path, await database.create()) as system:
        await system.simulator.settings(delay=0.3)
        yield system


class Load:
    """A merchant who never stops asking, one try at a time, and notes how long each took."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant = merchant
        self.codes: list[str] = []
        self.ended = asyncio.Event()

    async def run(self, name: str) -> None:
        number = 0
        while not self.ended.is_set():
            number += 1
            await self.merchant.create(f"{name} {number:05}", waitMs=0)
            await asyncio.sleep(0.05)


async def test_a_killed_database_means_quick_refusals_and_no_lost_payment(
    database: Database, fragile: System
) -> None:
    pids = [process.pid for process in fragile.processes]
    async with fragile.merchant() as merchant:
        load = Load(merchant)
        async with asyncio.TaskGroup() as tasks:
            for name in range(8):
                tasks.create_task(load.run(f"load {name}"))
            await asyncio.sleep(2)
            killed = time.monotonic()
            with database.killed():
                await asyncio.sleep(4)
                refused = [said for said in merchant.history if _refused(said)]
            back = await database.until_back()
            healthy = await _first_success(merchant, after=len(merchant.history))
            await asyncio.sleep(1)
            load.ended.set()
        await quiet(fragile)
        evidence = await gather(fragile, merchant.history)

    slowest = max(said.seconds for said in merchant.history)
    assert refused, "nobody was told to try again"
    assert slowest < 5, f"an answer took {slowest:.1f} s"
    assert healthy - back < 10, f"healthy {healthy - back:.1f} s after the database"
    assert back - killed > 4
    assert [process.pid for process in fragile.processes] == pids
    assert all(process.running for process in fragile.processes)
    assert violations(evidence) == []


async def test_a_database_that_hangs_means_refusals_within_five_seconds(
    database: Database, fragile: System
) -> None:
    async with fragile.merchant() as merchant:
        await merchant.create("before")
        with database.frozen():
            merchant.patience = 0
            began = time.monotonic()
            with pytest.raises(Exception, match=r"RETRYABLE|503"):
                await merchant.create("while it hangs")
            seconds = time.monotonic() - began
        merchant.patience = 20
        thawed = time.monotonic()
        again = await merchant.create("while it hangs")
        healthy = time.monotonic() - thawed
        await merchant.until(again.id, "SUCCEEDED", "FAILED", seconds=30)
        await quiet(fragile)
        evidence = await gather(fragile, merchant.history)

    assert seconds < 5.5
    assert healthy < 10
    assert violations(evidence) == []


def _refused(said: Said) -> bool:
    return said.codes == ("RETRYABLE",) or said.result == "info"


async def _first_success(merchant: Merchant, after: int) -> float:
    """When somebody was answered again."""
    async with asyncio.timeout(30):
        while not any(said.result == "ok" for said in merchant.history[after:]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.monotonic()
