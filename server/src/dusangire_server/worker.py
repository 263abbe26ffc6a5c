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

from dusangire import attempts, inbox, payments, sequencer
from dusangire.attempts import Work
from dusangire.core import Core
from dusangire.database import spawn
from dusangire.errors import Retryable

log = structlog.get_logger(__name__)

# How long work of another process may lie before it is seen. Work of this one wakes the worker up.
POLL = 0.5
EXPIRY_POLL = 5.0


async def run(core: Core, url: str, *, concurrency: int = 64) -> None:
    """Works until cancelled. Work in hand goes on in its own tasks; the rest stays in its row."""
    log.info("worker started", concurrency=concurrency)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sequencer.run(core, url))
        tasks.create_task(_every(core, POLL, lambda: _webhooks(core, min(concurrency, 8))))
        tasks.create_task(_every(core, POLL, _Attempts(core, concurrency).start_due))
        tasks.create_task(_every(core, EXPIRY_POLL, lambda: payments.expire_due(core)))


async def _every(core: Core, poll: float, step: Callable[[], Awaitable[int]]) -> None:
    """Repeats a step: at once while there is more to do, otherwise after `poll` or when woken."""
    poll = max(0.05, poll * min(1.0, core.settings.poll_scale * 10))
    while True:
        try:
            more = await step()
        except Retryable:
            more = 0
        except Exception:
            # One bad row must not end the work on all others.
            log.exception("a step of the worker failed")
            more = 0
        if not more:
            # Not wait_for: before Python 3.12 it swallows a cancellation that crosses the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(poll):
                    await core.work.wait()
            core.work.clear()


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
        works = await attempts.take_due(self._core, free, await self._places())
        for work in works:
            self._running += 1
            spawn(self._proceed(work), name=f"proceed {work.state.reference}")
        return len(works)

    async def _places(self) -> dict[UUID, int]:
        accounts = await self._core.gateways.all()
        return {account.id: account.places.free for account in accounts}

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
