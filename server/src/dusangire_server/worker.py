"""Background work: due attempts, gateway webhooks, payments that expire, positions for events.

Run any number of them, in the web process or beside it, on as many machines as wanted. The rows
are the queue: a worker that dies leaves leases behind, and another one takes them over.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import structlog
from structlog.contextvars import bound_contextvars

from dusangire import attempts, followers, health, inbox, payments, probing, refund_work, sequencer
from dusangire.analytics import rollups
from dusangire.attempts import Work
from dusangire.audit import sealing
from dusangire.books import items, self_check
from dusangire.core import Core
from dusangire.database import spawn
from dusangire.errors import Retryable
from dusangire.fiscalization import receipts, signing
from dusangire.followers import Follower
from dusangire.gateways import Account
from dusangire.importing import imports, uploads
from dusangire.invoicing import invoices
from dusangire.notifying import notifications
from dusangire.outbox import deliveries as outbox
from dusangire.reconciliation import runs
from dusangire.refund_work import RefundWork

log = structlog.get_logger(__name__)

# How long work of another process may lie before it is seen. Work of this one wakes the worker up.
POLL = 0.5
EXPIRY_POLL = 5.0
# How often it is looked at whose turn it is to measure: a probe of one small table.
HEALTH_POLL = 2.0
FOLLOW_POLL = 0.25
# A figure of a dashboard may be a moment old.
ROLLUP_POLL = 1.0
# What a statement has to confirm is asked for seconds later at the earliest.
BOOKS_POLL = 2.0
BOOKS_CHECK_POLL = 600.0
# What is old can wait, and there is little of it at a time.
FORGET_POLL = 60.0

# What follows from a change.
FOLLOWERS: tuple[Follower, ...] = (
    invoices.FOLLOWER,
    receipts.FOLLOWER,
    notifications.FOLLOWER,
    outbox.FOLLOWER,
)


async def run(core: Core, url: str, *, concurrency: int = 64) -> None:
    """Works until cancelled. Work in hand goes on in its own tasks; the rest stays in its row."""
    log.info("worker started", concurrency=concurrency)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sequencer.run(core, url))
        tasks.create_task(sealing.run(core, url))
        tasks.create_task(_every(core, POLL, lambda: _webhooks(core, min(concurrency, 8))))
        tasks.create_task(_every(core, POLL, _Attempts(core, concurrency).start_due))
        tasks.create_task(_every(core, POLL, _Refunds(core, min(concurrency, 16)).start_due))
        tasks.create_task(_every(core, EXPIRY_POLL, lambda: payments.expire_due(core)))
        tasks.create_task(_every(core, FOLLOW_POLL, lambda: followers.follow(core, FOLLOWERS)))
        tasks.create_task(_calmly(core, ROLLUP_POLL, lambda: rollups.keep(core)))
        tasks.create_task(_calmly(core, BOOKS_POLL, lambda: items.collect(core)))
        tasks.create_task(_calmly(core, BOOKS_CHECK_POLL, lambda: self_check.check_nightly(core)))
        tasks.create_task(_every(core, POLL, lambda: signing.sign_due(core)))
        tasks.create_task(_every(core, POLL, lambda: notifications.send_due(core)))
        tasks.create_task(outbox.run(core))
        tasks.create_task(_every(core, POLL, lambda: runs.work_due(core)))
        tasks.create_task(_calmly(core, EXPIRY_POLL, lambda: runs.begin_due(core)))
        tasks.create_task(_calmly(core, FORGET_POLL, lambda: outbox.forget(core)))
        tasks.create_task(_every(core, POLL, lambda: imports.work_due(core)))
        tasks.create_task(_calmly(core, FORGET_POLL, lambda: uploads.forget(core)))
        tasks.create_task(_calmly(core, POLL, lambda: probing.probe_due(core)))
        tasks.create_task(_calmly(core, HEALTH_POLL, lambda: health.measure(core)))


async def _every(core: Core, poll: float, step: Callable[[], Awaitable[int]]) -> None:
    """Repeats a step: at once while there is more to do, otherwise after `poll` or when woken."""
    while True:
        if not await _done(step):
            # Not wait_for: before Python 3.12 it swallows a cancellation that crosses the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(_scaled(core, poll)):
                    await core.work.wait()
            core.work.clear()


async def _calmly(core: Core, poll: float, step: Callable[[], Awaitable[int]]) -> None:
    """Repeats a step after `poll` each time, however much there is to do."""
    while True:
        await _done(step)
        await asyncio.sleep(_scaled(core, poll))


def _scaled(core: Core, poll: float) -> float:
    return max(0.05, poll * min(1.0, core.settings.poll_scale * 10))


async def _done(step: Callable[[], Awaitable[int]]) -> int:
    try:
        return await step()
    except Retryable:
        return 0
    except Exception:
        # One bad row must not end the work on all others.
        log.exception("a step of the worker failed")
        return 0


async def _webhooks(core: Core, limit: int) -> int:
    messages = await inbox.take(core, limit)
    await asyncio.gather(*(inbox.work_on(core, message) for message in messages))
    return len(messages)


class _Attempts:
    """Due attempts at work: as many as there are places, however slow a single gateway is."""

    def __init__(self, core: Core, concurrency: int) -> None:
        self._core = core
        self._concurrency = concurrency
        self._running = 0

    async def start_due(self) -> int:
        free = self._concurrency - self._running
        if free <= 0:
            return 0
        places, left_alone = await self._places()
        works = await attempts.take_due(self._core, free, places, left_alone)
        for work in works:
            self._running += 1
            spawn(self._proceed(work), name=f"proceed {work.state.reference}")
        return len(works)

    async def _places(self) -> tuple[dict[UUID, int], set[UUID]]:
        """The places at each gateway, and which gateways are left alone."""
        accounts = await self._core.gateways.all()
        left_alone = {account.id for account in accounts if account.watch.is_open}
        return {account.id: self._room_at(account) for account in accounts}, left_alone

    def _room_at(self, account: Account) -> int:
        places, watch = account.places, account.watch
        if watch.is_open:
            return places.limit  # what is only put off takes none
        share = watch.share_of(places.limit, self._core.settings.poll_scale)
        return max(0, min(places.free, share - len(places.taken)))

    async def _proceed(self, work: Work) -> None:
        try:
            with bound_contextvars(correlation_id=work.correlation_id):
                account = await self._core.gateways.by_id(work.gateway_id)
                await attempts.proceed(self._core, account, work)
        except Retryable:
            log.warning("attempt left for later", reference=work.state.reference)
        finally:
            self._running -= 1
            self._core.work.set()


class _Refunds:
    """Approved refunds at work: as many as there are places, however slow a single gateway is."""

    def __init__(self, core: Core, concurrency: int) -> None:
        self._core = core
        self._concurrency = concurrency
        self._running = 0

    async def start_due(self) -> int:
        free = self._concurrency - self._running
        if free <= 0:
            return 0
        # A gateway that gives no answers is left alone, and a busy one is for payments first.
        places = {
            account.id: min(account.places.free, 1 + self._concurrency // 4)
            for account in await self._core.gateways.all()
            if not account.watch.is_open
        }
        works = await refund_work.take_due(self._core, free, places)
        for work in works:
            self._running += 1
            spawn(self._proceed(work), name=f"refund {work.record.reference}")
        return len(works)

    async def _proceed(self, work: RefundWork) -> None:
        try:
            with bound_contextvars(correlation_id=work.correlation_id):
                account = await self._core.gateways.by_id(work.gateway_id)
                await refund_work.proceed(self._core, account, work)
        except Retryable:
            log.warning("refund left for later", reference=work.record.reference)
        finally:
            self._running -= 1
            self._core.work.set()
