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
# So often an event may send its batch back; then it is a debt, and those behind it go on.
_STALLS = 5
# What is wrong with the database or the moment, not with the event.
_TRY_LATER = (*LOST, Retryable, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """One that acts on events, each once.

    name: of its place in the log, for ever.
    types: how the types of the events begin that it acts on, such as `refund.`.
    act: writes what follows, with `fetch` alone: it runs inside a transaction. What it raises makes
        the event a debt: it is tried again, and those behind it go on.
    runs: whether this process can act at all. One that cannot leaves the place to those who can.
    from_now: what happened before it first ran is not followed.
    """

    name: str
    types: tuple[str, ...]
    act: Callable[[Core, EventRecord], Awaitable[None]]
    runs: Callable[[Core], bool] = lambda _core: True
    from_now: bool = False


_BEHIND = """
SELECT name FROM unnest($1::text[]) AS name LEFT JOIN follower f USING (name)
WHERE coalesce(f.position, 0) < (SELECT max(position) FROM event)
    OR f.name IS NULL AND name = ANY($2)
UNION SELECT follower FROM follower_debt WHERE next_try_at <= now() AND follower = ANY($1)"""


async def follow(core: Core, followers: Iterable[Follower]) -> int:
    """Lets each follower act on what is new, and on what it could not do before; gives how many
    events were looked at. Any number of processes may call it at once.

    One that cannot go on holds up no other. Raises Retryable when none could.
    """
    named = {follower.name: follower for follower in followers if follower.runs(core)}
    from_now = [follower.name for follower in named.values() if follower.from_now]
    done = 0
    held_up: Retryable | None = None
    rows = await fetch(_BEHIND, list(named), from_now)
    # Who begins does so before the others write what it would have to follow.
    for row in sorted(rows, key=lambda row: row["name"] not in from_now):
        follower = named[row["name"]]
        for step in (_go_on, _make_good):
            try:
                done += await step(core, follower)
            except Retryable as error:
                held_up = error
            except Exception:
                log.exception("follower held up", follower=follower.name)
    if held_up is not None and not done:
        raise held_up
    return done


_STALLED = """
UPDATE follower SET stalls = CASE WHEN stalled_at = $2 THEN stalls + 1 ELSE 1 END, stalled_at = $2
WHERE name = $1"""


async def _go_on(core: Core, follower: Follower) -> int:
    await fetch(
        "INSERT INTO follower (name, position) SELECT $1, CASE WHEN $2 THEN "
        "(SELECT coalesce(max(position), 0) FROM event) ELSE 0 END ON CONFLICT DO NOTHING",
        follower.name,
        follower.from_now,
    )
    at: list[int] = []
    try:
        return await _act_on_batch(core, follower, at)
    except Retryable:
        if at:
            log.warning("follower held up", follower=follower.name, position=at[-1])
            # A database that is away counts nothing: that is no fault of the event.
            await fetch(_STALLED, follower.name, at[-1])
        raise


async def _act_on_batch(core: Core, follower: Follower, at: list[int]) -> int:
    """at: takes the position of each event before it is acted on."""
    async with tx():
        # Whoever holds the row follows; another process comes back later.
        held = await fetch(
            "SELECT position, stalled_at, stalls FROM follower WHERE name = $1 "
            "FOR UPDATE SKIP LOCKED",
            follower.name,
        )
        if not held:
            return 0
        tired_at = held[0]["stalled_at"] if held[0]["stalls"] >= _STALLS else None
        events = await fetch(
            f"SELECT {EVENT_COLUMNS} FROM event WHERE position > $1 ORDER BY position "
            f"LIMIT {_BATCH}",
            held[0]["position"],
        )
        for row in events:
            if row["type"].startswith(follower.types):
                at.append(row["position"])
                error = await _act(core, follower, row, patient=row["position"] != tired_at)
                if error is not None:
                    await _owe(core, follower, row, error)
        if events:
            await fetch(
                "UPDATE follower SET position = $2 WHERE name = $1",
                follower.name,
                events[-1]["position"],
            )
    return len(events)


async def _act(
    core: Core, follower: Follower, row: Row, *, patient: bool = False
) -> Exception | None:
    """Why it could not act, after all of it was taken back.

    patient: what may be the moment's fault is raised instead, so that the whole batch comes again.
    """
    await fetch("SAVEPOINT act")
    try:
        await follower.act(core, EventRecord.of(row))
    except Exception as error:
        if patient and isinstance(error, _TRY_LATER):
            raise
        log.exception("event not acted on", follower=follower.name, position=row["position"])
        # This raises when the connection is lost: then it is no debt.
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


TAIL_BATCH = 2_000


async def tail(name: str, act: Callable[[int, int], Awaitable[None]]) -> int:
    """Lets one that works on many events at once go on; gives how many positions it moved.

    name: of its place in the log, for ever. act: takes the last position it has seen and the one to
    go to, and writes what follows from the events in between, inside the transaction that moves the
    place. What it raises moves nothing. Any number of processes may call it at once.
    """
    await fetch("INSERT INTO follower (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
    async with tx(patience=60):
        held = await fetch(
            "SELECT position, least(position + $2, "
            "coalesce((SELECT max(position) FROM event), position)) AS end "
            "FROM follower WHERE name = $1 FOR UPDATE SKIP LOCKED",
            name,
            TAIL_BATCH,
        )
        if not held or held[0]["end"] <= held[0]["position"]:
            return 0
        begin, end = held[0]["position"], held[0]["end"]
        await act(begin, end)
        await fetch("UPDATE follower SET position = $2 WHERE name = $1", name, end)
    return int(end - begin)
