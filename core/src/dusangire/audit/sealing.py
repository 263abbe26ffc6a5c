"""The sealer: gives committed audit entries their place in a chain, one process at a time.

Who writes an entry waits for nothing: within a second it is sealed. From then on whoever changes,
removes or inserts one breaks the chain at that place. The chain alone does not show that its end
was removed, or taken out of it, changed, and sealed anew: only a head kept elsewhere does. Nor is
an entry proved before it is sealed. `proof` checks all of this.
"""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import orjson
import structlog

from dusangire.audit.entries import GENESIS, SEALED_COLUMNS, Head, form, link
from dusangire.core import Core
from dusangire.database import LOST

log = structlog.get_logger(__name__)

# How long an entry waits at most. One look costs an index probe.
POLL = 0.25
STANDBY = 1.0
# How long until a head that could not be written to its file is tried again, and between two
# warnings.
_AGAIN = 60.0
_LOCK = 0x64757364
_BATCH = 1_000

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_UNSEALED = (
    f"SELECT {SEALED_COLUMNS} FROM audit_entry WHERE sequence IS NULL ORDER BY id LIMIT {_BATCH}"
)
HEAD = (
    "SELECT sequence, hash FROM audit_entry WHERE sequence IS NOT NULL "
    "ORDER BY sequence DESC LIMIT 1"
)
# While a worker runs, no entry waits for longer than this.
_LATE = "at < clock_timestamp() - interval '1 minute'"
WAITING = f"""SELECT count(*) AS n, count(*) FILTER (WHERE {_LATE}) AS late, min(at) AS since
FROM (SELECT {SEALED_COLUMNS} FROM audit_entry WHERE sequence IS NULL) unsealed"""
_SEAL = """
UPDATE audit_entry SET sequence = sealed.sequence, hash = sealed.hash
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS sealed (id, sequence, hash)
WHERE audit_entry.id = sealed.id AND audit_entry.sequence IS NULL"""


class _Overtaken(Exception):
    """Another process sealed the same entries first. Nothing was written."""


async def run(core: Core, url: str) -> None:
    """Seals while this process holds the lock; stands by while another one does."""
    while True:
        try:
            connection = await asyncpg.connect(
                url, timeout=5, server_settings={"application_name": "dusangire sealer"}
            )
            try:
                await _hold(core, connection)
            finally:
                connection.terminate()
        except (*LOST, asyncpg.PostgresError, _Overtaken) as error:
            log.warning("sealer interrupted", error=f"{type(error).__name__}: {error}")
        except Exception:
            # Whatever is wrong with one entry must not end the other work of this process.
            log.exception("sealer failed")
        await asyncio.sleep(STANDBY)


async def _hold(core: Core, connection: Connection) -> None:
    # Polled, not waited for: a waiting session would run into the statement timeout.
    loop, not_before = asyncio.get_running_loop(), 0.0
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        if loop.time() >= not_before and await _warn_of_late(connection):
            not_before = loop.time() + _AGAIN
        await asyncio.sleep(STANDBY)
    log.info("sealer elected")
    crier = _Crier(core.settings.audit_head_file)
    while True:
        if await seal(connection) < _BATCH:
            await crier.tell(connection, core.clock())
            await asyncio.sleep(POLL)


async def _warn_of_late(connection: Connection) -> bool:
    """Says when whoever holds the lock does not seal: it need not be a worker of ours."""
    waiting = await connection.fetchrow(WAITING)
    assert waiting is not None
    if waiting["late"]:
        log.warning(
            "security: audit entries are not sealed",
            late=waiting["late"],
            since=str(waiting["since"]),
        )
    return bool(waiting["late"])


async def seal(connection: Connection) -> int:
    """Seals the entries that it sees, at most a batch of them; gives how many.

    Killed anywhere, it leaves a batch sealed or not sealed. Raises _Overtaken.
    """
    rows = await connection.fetch(_UNSEALED)
    if not rows:
        return 0
    last = await head(connection)
    sequence, previous = (last.sequence, last.hash) if last else (0, GENESIS)
    sealed: list[tuple[int, int, str]] = []
    for row in rows:
        sequence += 1
        previous = link(previous, form(dict(row), sequence))
        sealed.append((row["id"], sequence, previous))
    async with connection.transaction():
        done = await connection.execute(_SEAL, *map(list, zip(*sealed, strict=True)))
        if int(done.rpartition(" ")[2]) != len(sealed):
            raise _Overtaken
    return len(sealed)


async def head(connection: Connection) -> Head | None:
    """The last sealed entry, if there is any."""
    row = await connection.fetchrow(HEAD)
    return Head(row["sequence"], row["hash"]) if row else None


class _Crier:
    """Says the head once a day, and when this process became the sealer: what is kept elsewhere
    proves that nothing before it was changed."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._told = ""
        self._not_before = 0.0

    async def tell(self, connection: Connection, now: datetime) -> None:
        today, clock = now.astimezone(UTC).date().isoformat(), asyncio.get_running_loop().time()
        if self._told == today or clock < self._not_before:
            return
        last = await head(connection)
        if last is None:
            return
        log.info("audit head", sequence=last.sequence, head=last.hash)
        try:
            if self._file is not None:
                await asyncio.to_thread(_append, self._file, head_line(last, now))
        except OSError as error:
            self._not_before = clock + _AGAIN
            log.warning("audit head not kept", file=str(self._file), error=str(error))
            return
        self._told = today


def head_line(last: Head, now: datetime) -> dict[str, Any]:
    """A head as it is kept in a file: one line of JSON."""
    return {
        "at": now.astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z",
        "sequence": last.sequence,
        "hash": last.hash,
    }


def _append(path: Path, line: dict[str, Any]) -> None:
    with open(path, "ab", opener=_private) as file:
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        file.flush()
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
