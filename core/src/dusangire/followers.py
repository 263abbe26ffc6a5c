"""What follows from a change: invoices, webhooks to the merchant, messages to people.

An event is written in the transaction of its change, so what follows from a change follows its
event: each follower reads the log by position, writes what is to be done, and moves on, all in one
transaction. A crash in between repeats nothing and loses nothing, and no payment waits for it.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import asyncpg
import structlog

from dusangire.core import Core
from dusangire.database import LOST, Row, fetch, tx
from dusangire.errors import Retryable
from dusangire.masking import mask_text
from dusangire.tail import EVENT_COLUMNS, EventRecord
from dusangire.text import printable

log = structlog.get_logger(__name__)

_BATCH = 50
# What is wrong with the database or the moment, not with the event.
_TRY_LATER = (*LOST, Retryable, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """One that acts on events, each once.

    name: of its place in the log, for ever.
    types: how the types of the events begin that it acts on, such as `refund.`.
    act: writes what follows, with `fetch` alone: it runs inside a transaction. What it raises makes
        the event a debt: it is tried again, and those behind it go on.
    """

    name: str
    types: tuple[str, ...]
    act: Callable[[Core, EventRecord], Awaitable[None]]


_BEHIND = """
SELECT name FROM unnest($1::text[]) AS name LEFT JOIN follower f USING (name)
WHERE coalesce(f.position, 0) < (SELECT max(position) FROM event)
UNION SELECT follower FROM follower_debt WHERE next_try_at <= now() AND follower = ANY($1)"""


async def follow(core: Core, followers: Iterable[Follower]) -> int:
    """Lets each follower act on what is new, and on what it could not do before; gives how many
    events were looked at. Any number of processes may call it at once."""
    named = {follower.name: follower for follower in followers}
    done = 0
    for row in await fetch(_BEHIND, list(named)):
        follower = named[row["name"]]
        done += await _go_on(core, follower) + await _make_good(core, follower)
    return done


async def _go_on(core: Core, follower: Follower) -> int:
    await fetch("INSERT INTO follower (name) VALUES ($1) ON CONFLICT DO NOTHING", follower.name)
    async with tx():
        # Whoever holds the row follows; another process comes back later.
        held = await fetch(
            "SELECT position FROM follower WHERE name = $1 FOR UPDATE SKIP LOCKED", follower.name
        )
        if not held:
            return 0
        events = await fetch(
            f"SELECT {EVENT_COLUMNS} FROM event WHERE position > $1 ORDER BY position "
            f"LIMIT {_BATCH}",
            held[0]["position"],
        )
        for row in events:
            if row["type"].startswith(follower.types):
                error = await _act(core, follower, row)
                if error is not None:
                    await _owe(core, follower, row, error)
        if events:
            await fetch(
                "UPDATE follower SET position = $2 WHERE name = $1",
                follower.name,
                events[-1]["position"],
            )
    return len(events)


async def _act(core: Core, follower: Follower, row: Row) -> Exception | None:
    """Why it could not act, after all of it was taken back."""
    await fetch("SAVEPOINT act")
    try:
        await follower.act(core, EventRecord.of(row))
    except _TRY_LATER:
        raise
    except Exception as error:
        log.exception("event not acted on", follower=follower.name, position=row["position"])
        await fetch("ROLLBACK TO SAVEPOINT act")
        return error
    await fetch("RELEASE SAVEPOINT act")
    return None


async def _owe(core: Core, follower: Follower, row: Row, error: Exception) -> None:
    await fetch(
        "INSERT INTO follower_debt (id, follower, position, error, next_try_at) "
        "VALUES ($1, $2, $3, $4, now() + $5::interval)",
        uuid4(),
        follower.name,
        row["position"],
        _words(error),
        _pause(core, 1),
    )


async def _make_good(core: Core, follower: Follower) -> int:
    """Tries the debt that has waited longest."""
    async with tx():
        due = await fetch(
            "SELECT id, position, tries FROM follower_debt WHERE follower = $1 "
            "AND next_try_at <= now() ORDER BY next_try_at LIMIT 1 FOR UPDATE SKIP LOCKED",
            follower.name,
        )
        if not due:
            return 0
        [debt] = due
        [row] = await fetch(
            f"SELECT {EVENT_COLUMNS} FROM event WHERE position = $1", debt["position"]
        )
        error = await _act(core, follower, row)
        if error is None:
            await fetch("DELETE FROM follower_debt WHERE id = $1", debt["id"])
        else:
            await fetch(
                "UPDATE follower_debt SET tries = tries + 1, error = $2, "
                "next_try_at = now() + $3::interval WHERE id = $1",
                debt["id"],
                _words(error),
                _pause(core, debt["tries"] + 1),
            )
    return 1


def _pause(core: Core, tries: int) -> timedelta:
    return timedelta(seconds=min(3600, 5 * 2 ** min(tries, 12))) * core.settings.poll_scale


def _words(error: Exception) -> str:
    return mask_text(printable(f"{type(error).__name__}: {error}"))[:1000]
