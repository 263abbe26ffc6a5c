"""Runs: one account compared with our records, step by step, while everybody can watch.

A run is a row, and a worker goes through it: what came in is collected, matched, and what does not
agree is looked for. All of it may be done twice: a worker that dies leaves its lease behind, and
the next one begins again at the front and comes to the same result.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import structlog
from structlog.contextvars import bound_contextvars

from dusangire.access import SYSTEM, Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values, correlation_id
from dusangire.books import items
from dusangire.core import Core
from dusangire.cursors import make_cursor
from dusangire.database import LOST, Row, fetch, tx
from dusangire.errors import (
    CallerError,
    IllegalState,
    Invalid,
    NotFound,
    Retryable,
    SelfApproval,
    StaleApproval,
)
from dusangire.importing import accounts
from dusangire.importing.accounts import StatementAccount
from dusangire.masking import mask_text
from dusangire.permissions import Permission
from dusangire.queries import MAX_PAGE, Page
from dusangire.reconciliation import discrepancies, matching
from dusangire.reconciliation.decisions import mark_of
from dusangire.records import Reconciliation, RunKind, RunStatus
from dusangire.text import clean_optional, printable

log = structlog.get_logger(__name__)

MAX_DAYS = 1_100
# How long a worker's silence lasts before another one takes its run over.
LEASE = timedelta(seconds=60)
# A run that ends so many workers is given up.
TRIES = 8
# So many seconds a run waits for events to get their places.
STAMPED = 10.0
# After so many new items the plans of earlier statements are not to be trusted.
MANY = 1_000
# People watch: nobody reads faster.
TOLD_EVERY = 0.4
_WITH_ACCOUNT = "a.code AS account_code, a.currency AS account_currency"
_EVENT = """event AS (
    INSERT INTO event (type, data)
    SELECT 'reconciliation.' || $2, jsonb_build_object('reconciliation', to_jsonb(run)) FROM run
)"""


class _TakenOver(Exception):
    """Another worker goes on with this run, or somebody ended it."""


# ── beginning ────────────────────────────────────────────────────────────────────────────────────

_BEGIN = f"""WITH made AS (
    INSERT INTO reconciliation (id, account_id, kind, from_date, to_date, requested_by_kind,
        requested_by_name, requested_by_id, correlation_id, night, step)
    VALUES ($1, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'waiting')
    ON CONFLICT DO NOTHING RETURNING *
), covered AS (
    UPDATE statement_import i SET reconcile_due = false FROM made
    WHERE i.account_id = made.account_id AND i.reconcile_due
        AND made.from_date <= (
            SELECT min(booking_date) FROM statement_line l WHERE l.statement_import_id = i.id)
        AND made.to_date >= (
            SELECT max(booking_date) FROM statement_line l WHERE l.statement_import_id = i.id)
), run AS (
    SELECT made.*, {_WITH_ACCOUNT} FROM made JOIN statement_account a ON a.id = made.account_id
), {_EVENT}, audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $12, $13, $14, $15, $16::jsonb, $17 FROM run
)
SELECT * FROM run"""
_RUNNING = """SELECT id, requested_by_name, created_at FROM reconciliation
WHERE account_id = $1 AND status = 'RUNNING'"""


async def begin(
    core: Core, actor: Actor, account_code: str, from_: date, to: date
) -> Reconciliation:
    """A run of an account over days of its statements; a worker goes through it.

    Raises Forbidden, NotFound, Invalid; IllegalState while another run of this account goes on.
    """
    actor.require(Permission.RECONCILE)
    if from_ > to:
        raise Invalid("`from` must not be after `to`.", field=["from"])
    if (to - from_).days > MAX_DAYS:
        raise Invalid(f"A run covers {MAX_DAYS} days at most.", field=["from"])
    account = await accounts.by_code(core, account_code.strip().lower())
    run = await _begin(core, actor, account.id, account.code, RunKind.MANUAL, from_, to)
    if run is not None:
        return run
    going = await fetch(_RUNNING, account.id)
    if not going:
        raise Retryable("A run of this account has just ended. Try again.")
    raise IllegalState(
        f"A run of {account.code} goes on already, for {going[0]['requested_by_name']}, since "
        f"{going[0]['created_at']:%Y-%m-%d %H:%M} UTC ({going[0]['id']}). Wait until it ended."
    )


async def _begin(
    core: Core,
    actor: Actor,
    account_id: UUID,
    code: str,
    kind: RunKind,
    from_: date,
    to: date,
    night: date | None = None,
) -> Reconciliation | None:
    """None while another one runs, or when this night's began already."""
    run_id = uuid4()
    said = {"account": code, "kind": kind, "from": from_, "to": to}
    rows = await fetch(
        _BEGIN,
        run_id,
        "progress",
        account_id,
        str(kind),
        from_,
        to,
        actor.kind,
        actor.name,
        actor.staff_id,
        correlation_id(),
        night,
        *audit_values(
            actor.kind, actor.name, "reconciliation.begun", f"reconciliation:{run_id}", said
        ),
    )
    if not rows:
        return None
    core.work.set()
    core.news.set()
    return Reconciliation.of(rows[0])


_IMPORTED = """SELECT a.id, a.code, min(l.booking_date) AS first, max(l.booking_date) AS last
FROM statement_line l JOIN statement_account a ON a.id = l.account_id
WHERE l.statement_import_id = $1 AND a.id = $2 GROUP BY a.id"""


async def after_import(core: Core, account_id: UUID, import_id: UUID) -> Reconciliation | None:
    """A run over the days that an import brought; None when it brought nothing, or when another
    run goes on: `begin_due` makes up for it once that one has ended, unless that one covers it.
    """
    rows = await fetch(_IMPORTED, import_id, account_id)
    if not rows:
        return None
    [row] = rows
    return await _begin(
        core, SYSTEM, row["id"], row["code"], RunKind.IMPORT, row["first"], row["last"]
    )


# The days of imports that no run has covered, of accounts where none goes on now.
_LEFT_OVER = """SELECT a.id, a.code, min(l.booking_date) AS first, max(l.booking_date) AS last
FROM statement_import i JOIN statement_account a ON a.id = i.account_id
JOIN statement_line l ON l.statement_import_id = i.id
WHERE i.reconcile_due AND NOT EXISTS (
    SELECT FROM reconciliation r WHERE r.account_id = a.id AND r.status = 'RUNNING')
GROUP BY a.id ORDER BY a.code"""
# The night of a day begins at two in the morning in Kigali, by the database's clock.
_NIGHT = """WITH clock AS (
    SELECT (now() AT TIME ZONE 'Africa/Kigali')::date AS today,
        (now() AT TIME ZONE 'Africa/Kigali' - interval '2 hours')::date AS night
)
SELECT a.id, a.code, clock.today, clock.night, coalesce(
    (SELECT min(booking_date) FROM statement_line l
     WHERE l.account_id = a.id AND l.status IN ('OPEN', 'SUGGESTED')), clock.today - 31) AS first
FROM statement_account a CROSS JOIN clock
WHERE a.created_at < (clock.night + time '02:00') AT TIME ZONE 'Africa/Kigali'
    AND NOT EXISTS (SELECT FROM reconciliation r
        WHERE r.account_id = a.id AND (r.night = clock.night OR r.status = 'RUNNING'))
ORDER BY a.code"""


async def begin_due(core: Core) -> int:
    """Begins what is due: the runs of this night, and those after imports that found another run
    going on. Any number of processes may call it at once: each run begins once.
    """
    begun = 0
    for row in await fetch(_LEFT_OVER):
        days = row["first"], row["last"]
        run = await _begin(core, SYSTEM, row["id"], row["code"], RunKind.IMPORT, *days)
        begun += run is not None
    for row in await fetch(_NIGHT):
        first = min(row["first"], row["today"])
        run = await _begin(
            core,
            SYSTEM,
            row["id"],
            row["code"],
            RunKind.NIGHTLY,
            first,
            row["today"],
            row["night"],
        )
        begun += run is not None
    return begun


# ── working ──────────────────────────────────────────────────────────────────────────────────────

_TAKE = f"""WITH due AS (
    SELECT id FROM reconciliation
    WHERE status = 'RUNNING' AND next_try_at <= now() AND ($1::uuid IS NULL OR id = $1)
    ORDER BY next_try_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE reconciliation r SET tries = r.tries + 1, next_try_at = now() + $2::interval
FROM due, statement_account a WHERE r.id = due.id AND a.id = r.account_id
RETURNING r.*, {_WITH_ACCOUNT}"""
_HOLD = """UPDATE reconciliation SET next_try_at = now() + $3::interval
WHERE id = $1 AND tries = $2 AND status = 'RUNNING' RETURNING id"""
_TELL = f"""WITH run AS (
    UPDATE reconciliation r SET step = $4, progress = greatest(r.progress, $5::float),
        version = r.version + 1, next_try_at = now() + $6::interval
    FROM statement_account a
    WHERE r.id = $1 AND r.tries = $3 AND r.status = 'RUNNING' AND a.id = r.account_id
    RETURNING r.*, {_WITH_ACCOUNT}
), {_EVENT}
SELECT * FROM run"""
_END = f"""WITH run AS (
    UPDATE reconciliation r SET status = $4, step = NULL, version = r.version + 1,
        progress = CASE WHEN $4 = 'FAILED' THEN r.progress ELSE 1 END,
        counts = coalesce($5::jsonb, r.counts), error = $6, next_try_at = NULL,
        finished_at = now(),
        decided_by_kind = CASE WHEN $4 = 'APPROVED' THEN 'system' END,
        decided_by_name = CASE WHEN $4 = 'APPROVED' THEN 'system' END,
        decided_at = CASE WHEN $4 = 'APPROVED' THEN now() END
    FROM statement_account a
    WHERE r.id = $1 AND r.tries = $3 AND r.status = 'RUNNING' AND a.id = r.account_id
    RETURNING r.*, {_WITH_ACCOUNT}
), {_EVENT}, audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $7, $8, $9, $10, $11::jsonb, coalesce($12, run.correlation_id) FROM run
)
SELECT * FROM run"""


async def work_due(core: Core, run_id: UUID | None = None) -> int:
    """Takes one run that waits for a worker, or this one, and goes through it; gives how many.

    Any number of processes may call it at once.
    """
    rows = await fetch(_TAKE, run_id, LEASE)
    if not rows:
        return 0
    [row] = rows
    with bound_contextvars(correlation_id=row["correlation_id"]):
        await _go_through(core, row)
    return 1


async def _go_through(core: Core, row: Row) -> None:
    work = _Work(core, row["id"], row["tries"])
    if row["tries"] > TRIES:
        await _fail(work, _GivenUp("It ended every worker that took it."))
        return
    try:
        account = await accounts.by_id(row["account_id"])
        async with work.held():
            await _steps(core, account, row, work.tell)
            counts = await count(account.id, row["from_date"], row["to_date"])
        manual = row["kind"] == RunKind.MANUAL
        await work.end(RunStatus.AWAITING_APPROVAL if manual else RunStatus.APPROVED, counts=counts)
    except _TakenOver:
        log.warning("run taken over", reconciliation=str(row["id"]))
    except (Retryable, *LOST) as error:
        # The database was away: the lease ends, and somebody begins again.
        log.warning("run left for later", reconciliation=str(row["id"]), error=str(error))
        if row["tries"] >= TRIES:
            await _fail(work, error)
    except Exception as error:
        log.exception("run failed", reconciliation=str(row["id"]))
        await _fail(work, error)


class _GivenUp(Exception):
    """Tried often enough."""


async def _fail(work: "_Work", error: Exception) -> None:
    told = isinstance(error, CallerError | _GivenUp)
    words = str(error) if told else f"{type(error).__name__}: {error}"
    try:
        await work.end(RunStatus.FAILED, error=mask_text(printable(words))[:500])
    except _TakenOver:
        log.warning("run taken over", reconciliation=str(work.run_id))


_UNSTAMPED = """SELECT EXISTS (
    SELECT FROM event WHERE position IS NULL AND occurred_at < $1) AS waiting"""
Tell = Callable[[str, float], Awaitable[None]]


async def _steps(core: Core, account: StatementAccount, row: Row, tell: Tell) -> None:
    """All of it may be done again: what is matched stays, and what is found is found once."""
    await tell("collecting", 0.02)
    await _stamped(row["created_at"])
    moved = 0
    while step := await items.collect(core):
        moved += step
        await tell("collecting", 0.02 + 0.13 * moved / (moved + 20_000))
    if moved >= MANY:
        async with tx(patience=60):
            await fetch("ANALYZE clearing_item, item_ref")
    await tell("matching", 0.15)

    async def matched(what: str, part: float) -> None:
        await tell(f"matching: {what}", 0.15 + 0.65 * min(1.0, max(0.0, part)))

    await matching.match(core, account, row["id"], row["from_date"], row["to_date"], matched)
    await tell("looking for discrepancies", 0.8)
    await discrepancies.find(core, account, row["id"], row["to_date"])
    await tell("counting", 0.95)


async def _stamped(begun_at: datetime) -> None:
    """Waits until what was written before the run began has its place in the log: items are made
    of that. Without a sequencer anywhere it goes on with what is there.
    """
    end = time.monotonic() + STAMPED
    while (await fetch(_UNSTAMPED, begun_at))[0]["waiting"]:
        if time.monotonic() > end:
            log.warning("run goes on without the latest events")
            return
        await asyncio.sleep(0.05)


@dataclass(eq=False)
class _Work:
    """One worker's hold on a run. tries: which hold; a later one ends it."""

    core: Core
    run_id: UUID
    tries: int
    _step: str | None = None
    _told_at: float = field(default=-1e9)

    async def tell(self, step: str, progress: float) -> None:
        """Raises _TakenOver."""
        now = time.monotonic()
        stage = step.partition(":")[0]
        if stage == self._step and now - self._told_at < TOLD_EVERY:
            return
        self._step, self._told_at = stage, now
        rows = await fetch(
            _TELL, self.run_id, "progress", self.tries, step[:100], float(progress), LEASE
        )
        if not rows:
            raise _TakenOver
        self.core.news.set()

    async def end(
        self, status: RunStatus, *, counts: dict[str, int] | None = None, error: str | None = None
    ) -> None:
        """Raises _TakenOver."""
        said = {"status": status, "counts": counts, "error": error}
        rows = await fetch(
            _END,
            self.run_id,
            status.lower(),
            self.tries,
            str(status),
            orjson.dumps(counts).decode() if counts is not None else None,
            error,
            *audit_values(
                "system",
                "system",
                f"reconciliation.{'failed' if status is RunStatus.FAILED else 'finished'}",
                f"reconciliation:{self.run_id}",
                said,
            ),
        )
        if not rows:
            raise _TakenOver
        self.core.news.set()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keeps the lease while a step takes its time. Raises _TakenOver when it was lost."""
        working, lost = asyncio.current_task(), False

        async def hold() -> None:
            nonlocal lost
            while True:
                await asyncio.sleep(LEASE.total_seconds() / 4)
                try:
                    kept = await fetch(_HOLD, self.run_id, self.tries, LEASE)
                except (Retryable, *LOST):
                    continue
                if not kept:
                    lost = True
                    assert working is not None
                    working.cancel()
                    return

        holding = asyncio.create_task(hold(), name=f"hold {self.run_id}")
        try:
            yield
        except asyncio.CancelledError:
            if lost:
                raise _TakenOver from None
            raise
        finally:
            holding.cancel()


# A gateway's money shows on its own account; that of one without shows on any bank account. As
# `matching.scope_of` has it; a is the account, i the item.
OWN_ITEM = """CASE WHEN a.gateway_id IS NOT NULL
    THEN i.gateway_id = a.gateway_id AND (a.kind <> 'BANK' OR NOT EXISTS (
        SELECT FROM statement_account o
        WHERE o.gateway_id = a.gateway_id AND o.id <> a.id AND o.kind <> 'BANK'))
    ELSE NOT EXISTS (SELECT FROM statement_account o WHERE o.gateway_id = i.gateway_id) END"""
_COUNT = f"""SELECT
    (SELECT count(DISTINCT m.id) FROM statement_line l
        JOIN match_leg g ON g.line_id = l.id AND g.live
        JOIN recon_match m ON m.id = g.match_id AND m.status = 'CONFIRMED'
        WHERE l.account_id = $1 AND l.booking_date BETWEEN $2 AND $3) AS matched,
    (SELECT count(DISTINCT m.id) FROM statement_line l
        JOIN match_leg g ON g.line_id = l.id AND g.live
        JOIN recon_match m ON m.id = g.match_id AND m.status = 'SUGGESTED'
        WHERE l.account_id = $1 AND l.booking_date BETWEEN $2 AND $3) AS suggested,
    (SELECT coalesce(sum(l.amount), 0)::bigint FROM statement_line l
        WHERE l.account_id = $1 AND l.status = 'MATCHED'
            AND l.booking_date BETWEEN $2 AND $3) AS matched_total,
    (SELECT count(*) FROM statement_line l WHERE l.account_id = $1 AND l.entry_status = 'BOOKED'
        AND l.status IN ('OPEN', 'SUGGESTED')
        AND l.booking_date BETWEEN $2 AND $3) AS unmatched_lines,
    (SELECT count(*) FROM clearing_item i JOIN statement_account a ON a.id = $1
        WHERE {OWN_ITEM} AND i.status = 'OPEN' AND i.kind = 'PAYMENT'
        AND (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date BETWEEN $2 AND $3
    ) AS unmatched_payments,
    (SELECT count(*) FROM discrepancy d
        WHERE d.account_id = $1 AND d.status = 'OPEN') AS discrepancies,
    (SELECT count(*) FROM discrepancy d WHERE d.account_id = $1 AND d.status = 'OPEN'
        AND d.kind IN ('BALANCE_BREAK', 'CURRENCY_MISMATCH')) AS criticals"""


async def count(account_id: UUID, from_: date, to: date) -> dict[str, int]:
    """What a run came to, as it is now: this is what is approved."""
    async with tx(patience=60):
        [row] = await fetch(_COUNT, account_id, from_, to)
    return dict(row)


# ── approving ────────────────────────────────────────────────────────────────────────────────────

_LOCK = f"""SELECT r.*, {_WITH_ACCOUNT} FROM reconciliation r
JOIN statement_account a ON a.id = r.account_id WHERE r.id = $1 FOR UPDATE OF r"""
_DECIDE = f"""WITH run AS (
    UPDATE reconciliation r SET status = $3, version = r.version + 1, note = $4,
        counts = $5::jsonb, decided_by_kind = $6, decided_by_name = $7, decided_by_id = $8,
        decided_at = now()
    FROM statement_account a
    WHERE r.id = $1 AND r.status = 'AWAITING_APPROVAL' AND a.id = r.account_id
    RETURNING r.*, {_WITH_ACCOUNT}
), {_EVENT}, audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $9, $10, $11, $12, $13::jsonb, $14 FROM run
)
SELECT * FROM run"""
_RECOUNTED = f"""UPDATE reconciliation r SET counts = $2::jsonb, version = r.version + 1
FROM statement_account a
WHERE r.id = $1 AND r.status = 'AWAITING_APPROVAL' AND a.id = r.account_id
RETURNING r.*, {_WITH_ACCOUNT}"""


async def approve(
    core: Core, actor: Actor, run_id: UUID, note: str | None = None, digest: str | None = None
) -> Reconciliation:
    """A person's yes to what a run came to, who did not ask for it. Twice is as good as once.

    digest: of the run as whoever approves saw it; without one, what it comes to now is approved.
    Raises Forbidden, ConfirmationNeeded, NotFound, SelfApproval, IllegalState; StaleApproval when
    something changed since.
    """
    actor.require(Permission.APPROVE_RECONCILIATIONS)
    return await _decide(core, actor, run_id, RunStatus.APPROVED, note, digest)


async def reject(core: Core, actor: Actor, run_id: UUID, note: str) -> Reconciliation:
    """A person's no, with the reason. What was matched stays: people undo single matches.

    Raises Forbidden, ConfirmationNeeded, NotFound, SelfApproval, IllegalState, Invalid.
    """
    actor.require(Permission.APPROVE_RECONCILIATIONS)
    if not note.strip():
        raise Invalid("Say why.", field=["note"])
    return await _decide(core, actor, run_id, RunStatus.REJECTED, note, None)


async def _decide(
    core: Core,
    actor: Actor,
    run_id: UUID,
    status: RunStatus,
    note: str | None,
    digest: str | None,
) -> Reconciliation:
    note = clean_optional(note, "note", limit=500)
    stale = False
    async with tx(patience=60):
        rows = await fetch(_LOCK, run_id)
        if not rows:
            raise NotFound("There is no such run.", field=["id"])
        [row] = rows
        run = Reconciliation.of(row)
        if run.status is status and row["decided_by_id"] == actor.staff_id:
            return run  # said before, by the same person
        _check(actor, run)
        counts = await count(run.account_id, run.from_, run.to)
        now = Reconciliation.of({**row, "counts": counts})
        if digest is not None and digest != now.digest:
            stale = True
            await fetch(_RECOUNTED, run_id, orjson.dumps(counts).decode())
        else:
            if status is RunStatus.APPROVED and now.criticals and note is None:
                raise IllegalState(
                    f"{now.criticals} open discrepancies say that the statement or a currency is "
                    "wrong. Resolve them, or say in the note why this is approved all the same."
                )
            decided = await _put_decision(actor, now, status, note, counts)
    if stale:
        raise StaleApproval("What this run comes to has changed since. Read it again, then decide.")
    core.news.set()
    return decided


def _check(actor: Actor, run: Reconciliation) -> None:
    if run.status is not RunStatus.AWAITING_APPROVAL:
        raise IllegalState(f"This run does not wait for anybody: it is {run.status}.")
    if actor.staff_id is not None and actor.staff_id == run.requested_by_id:
        raise SelfApproval("Nobody decides on a run that they asked for themselves.")


async def _put_decision(
    actor: Actor,
    run: Reconciliation,
    status: RunStatus,
    note: str | None,
    counts: dict[str, int],
) -> Reconciliation:
    said = {"digest": run.digest, "counts": counts, "note": note}
    [row] = await fetch(
        _DECIDE,
        run.id,
        status.lower(),
        str(status),
        note,
        orjson.dumps(counts).decode(),
        actor.kind,
        actor.name,
        actor.staff_id,
        *audit_values(
            actor.kind,
            actor.name,
            f"reconciliation.{status.lower()}",
            f"reconciliation:{run.id}",
            said,
        ),
    )
    return Reconciliation.of(row)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────

_ONE = f"""SELECT r.*, {_WITH_ACCOUNT} FROM reconciliation r
JOIN statement_account a ON a.id = r.account_id WHERE r.id = $1"""
_MANY = f"""SELECT r.*, {_WITH_ACCOUNT} FROM reconciliation r
JOIN statement_account a ON a.id = r.account_id
WHERE ($1::text IS NULL OR a.code = $1) AND ($2::text[] IS NULL OR r.status = ANY($2))
    AND ($3::timestamptz IS NULL OR (r.created_at, r.id) < ($3, $4))
ORDER BY r.created_at DESC, r.id DESC LIMIT $5"""


async def reconciliation(core: Core, actor: Actor, run_id: UUID) -> Reconciliation | None:
    """Raises Forbidden."""
    actor.require(Permission.READ_STATEMENTS)
    rows = await fetch(_ONE, run_id)
    return Reconciliation.of(rows[0]) if rows else None


async def reconciliations(
    core: Core,
    actor: Actor,
    first: int = 25,
    after: str | None = None,
    *,
    account: str | None = None,
    status: Sequence[RunStatus] | None = None,
) -> Page[Reconciliation]:
    """A page of runs, the newest first. Raises Forbidden, Invalid."""
    actor.require(Permission.READ_STATEMENTS)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    moment, last = mark_of(after) if after is not None else (None, None)
    statuses = [one.value for one in status] if status is not None else None
    rows = await fetch(_MANY, account, statuses, moment, last, first + 1)
    shown = rows[:first]
    return Page(
        items=[Reconciliation.of(row) for row in shown],
        cursors=[make_cursor([row["created_at"].isoformat(), row["id"].hex]) for row in shown],
        has_next=len(rows) > first,
    )
