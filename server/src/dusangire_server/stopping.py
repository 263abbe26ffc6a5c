"""How a process stops: nothing is lost, and nothing stays behind.

    told to stop ──► no new connections, no new work, streams and sockets end
                 ──► answers under way and calls to gateways are finished, within 20 s

What is not finished by then stands in its row, and another process takes it up.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import structlog

from dusangire.database import drained

log = structlog.get_logger(__name__)

GRACE = 20.0
# The names of the tasks in which core talks to others, and writes down what they said.
_CALLS = ("submit ", "proceed ", "refund ", "tell ", "webhook ", "sign ")

Task: TypeAlias = asyncio.Task[Any]


class Stop(asyncio.Event):
    """Set once we are told to stop. `again` is called when somebody is in a hurry."""

    again: Callable[[], object]

    def __init__(self) -> None:
        super().__init__()
        self.again = lambda: None

    def interrupt(self) -> None:
        if self.is_set():
            self.again()
        self.set()


@contextmanager
def told_to_stop(lifeline: int | None = None) -> Iterator[Stop]:
    """SIGTERM and SIGINT set an event instead of ending us at once.

    lifeline: a descriptor that closes when the process that started us ends: we end with it.
    """
    loop, stop = asyncio.get_running_loop(), Stop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.interrupt)
    if lifeline is not None:
        loop.add_reader(lifeline, stop.set)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
        if lifeline is not None:
            loop.remove_reader(lifeline)


async def first_ended(stop: Stop, *tasks: Task) -> set[Task]:
    """Waits until we are told to stop or a task ends; gives the tasks that ended."""
    told = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({told, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    return {task for task in tasks if task.done()}


async def cancel(*tasks: Task) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def finish_calls(stop: Stop, patience: float) -> None:
    """Waits for calls to gateways that are under way, unless somebody is in a hurry."""
    calls = asyncio.create_task(drained(max(0.0, patience), *_CALLS))
    stop.again = calls.cancel
    with suppress(asyncio.CancelledError):
        if await calls:
            return
    log.warning("calls to gateways are left to another process")
