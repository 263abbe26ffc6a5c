"""The sequencer: gives committed events their positions, without gaps, one process at a time.

Rows get their id when they are written and become visible when they commit, in another order.
Reading by id would skip the late ones; so one process stamps what it can see, and that is the
order for everybody. (Measured before: tailing by id lost a quarter of the events.)
"""

import asyncio
from contextlib import suppress

import asyncpg
import structlog

from dusangire.core import Core
from dusangire.database import LOST
from dusangire.tail import CHANNEL

log = structlog.get_logger(__name__)

# How long an event of another process waits at most. One look costs an index probe.
POLL = 0.02
STANDBY = 1.0
_LOCK = 0x64757362
_BATCH = 1_000

_STAMP = f"""
WITH last AS (SELECT coalesce(max(position), 0) AS position FROM event),
fresh AS (
    SELECT id, row_number() OVER (ORDER BY id) AS nth
    FROM (SELECT id FROM event WHERE position IS NULL ORDER BY id LIMIT {_BATCH}) AS unstamped
)
UPDATE event SET position = last.position + fresh.nth FROM last, fresh WHERE event.id = fresh.id"""


async def run(core: Core, url: str) -> None:
    """Stamps events while this process holds the lock; stands by while another one does."""
    while True:
        try:
            connection = await asyncpg.connect(
                url, timeout=5, server_settings={"application_name": "dusangire sequencer"}
            )
            try:
                await _hold(core, connection)
            finally:
                connection.terminate()
        except (*LOST, asyncpg.PostgresError) as error:
            log.warning("sequencer interrupted", error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(STANDBY)


async def _hold(core: Core, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    # Polled, not waited for: a waiting session would run into the statement timeout.
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110
        await asyncio.sleep(STANDBY)
    log.info("sequencer elected")
    while True:
        core.news.clear()
        stamped = int((await connection.execute(_STAMP)).rpartition(" ")[2])
        if stamped:
            await connection.execute(f"NOTIFY {CHANNEL}")
        if stamped < _BATCH:
            # Not wait_for: before Python 3.12 it swallows a cancellation that crosses the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await core.news.wait()
