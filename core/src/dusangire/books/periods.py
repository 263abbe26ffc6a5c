"""Closed periods: days whose books stay as they are, closed and opened again by two people.

Closing stops no money: what is late is booked on the first open day. Only decisions about the
closed days themselves are refused.
"""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID, uuid4

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch, tx
from dusangire.errors import Forbidden, IllegalState, Invalid, NotFound, SelfApproval
from dusangire.importing import accounts
from dusangire.permissions import Permission
from dusangire.text import clean_optional


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodClose:
    """What one person asked for, and what became of it.

    kind: CLOSE or REOPEN; status: ASKED, DONE or REFUSED. closed_until: the last day that is closed
    once it is done; None: none is. open_discrepancies: what is still unexplained up to that day.
    """

    id: UUID
    account: str
    kind: str
    closed_until: date | None
    status: str
    note: str | None
    asked_by: str
    decided_by: str | None
    decision_note: str | None
    decided_at: datetime | None
    created_at: datetime
    open_discrepancies: int

    @classmethod
    def of(cls, row: Row) -> "PeriodClose":
        return cls(
            id=row["id"],
            account=row["code"],
            kind=row["kind"],
            closed_until=row["closed_until"],
            status=row["status"],
            note=row["note"],
            asked_by=row["asked_by_name"],
            decided_by=row["decided_by_name"],
            decision_note=row["decision_note"],
            decided_at=row["decided_at"],
            created_at=row["created_at"],
            open_discrepancies=row["open_discrepancies"],
        )


_CLOSED = "SELECT code, closed_until FROM statement_account WHERE id = $1 FOR SHARE"


async def require_open(account_id: UUID, *days: date) -> None:
    """Inside the transaction of what changes these days: nobody closes them before it ended.

    Raises IllegalState if one is closed.
    """
    [account] = await fetch(_CLOSED, account_id)
    closed = account["closed_until"]
    if closed is not None and any(day <= closed for day in days):
        raise IllegalState(
            f"The books of {account['code']} are closed until {closed}. Two people can open them "
            "again: one asks with reopenPeriod, another confirms with confirmPeriod."
        )


_SHOWN = """SELECT p.*, a.code, (SELECT count(*) FROM discrepancy d WHERE d.account_id = a.id
    AND d.status = 'OPEN' AND d.since <= p.closed_until) AS open_discrepancies
FROM period_close p JOIN statement_account a ON a.id = p.account_id"""
_ONE = f"{_SHOWN} WHERE p.id = $1"
_ALL = f"""{_SHOWN} WHERE $1::text IS NULL OR a.code = $1
ORDER BY p.created_at DESC, p.id LIMIT 200"""
_HOLD = "SELECT id, code, closed_until FROM statement_account WHERE id = $1 FOR UPDATE"
_RUNNING = "SELECT FROM reconciliation WHERE account_id = $1 AND status = 'RUNNING'"
_ASK = f"""WITH asked AS (
    INSERT INTO period_close (id, account_id, kind, closed_until, note, asked_by_name, asked_by_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $8, $9, $10, $11, $12::jsonb, $13 FROM asked
)
SELECT id FROM asked"""


async def close_period(
    core: Core, actor: Actor, account: str, until: date, note: str | None = None
) -> PeriodClose:
    """Asks that an account's days up to `until` be closed; another person confirms it.

    Raises Forbidden, NotFound; Invalid for a day that is not over; IllegalState.
    """
    held = await _account(core, actor, account)
    if until >= core.today():
        raise Invalid("Only days that are over can be closed.", field=["until"])
    return await _ask(actor, held, "CLOSE", until, note)


async def reopen_period(
    core: Core, actor: Actor, account: str, until: date | None, note: str | None = None
) -> PeriodClose:
    """Asks that an account be closed only up to `until`, or not at all.

    Raises Forbidden, NotFound, IllegalState.
    """
    return await _ask(actor, await _account(core, actor, account), "REOPEN", until, note)


async def _account(core: Core, actor: Actor, code: str) -> accounts.StatementAccount:
    actor.require(Permission.CLOSE_PERIODS)
    return await accounts.by_code(core, code)


async def _ask(
    actor: Actor,
    account: accounts.StatementAccount,
    kind: str,
    until: date | None,
    note: str | None,
) -> PeriodClose:
    if actor.staff_id is None or actor.kind != "staff":
        raise Forbidden(
            "This needs a person: closing is asked for by one and confirmed by another."
        )
    note = clean_optional(note, "note", limit=500)
    period_id = uuid4()
    async with tx():
        [held] = await fetch(_HOLD, account.id)
        await _check_possible(held, kind, until)
        asked = await fetch(
            _ASK,
            period_id,
            account.id,
            kind,
            until,
            note,
            actor.name,
            actor.staff_id,
            *audit_values(
                actor.kind,
                actor.name,
                f"period.{kind.lower()}_asked",
                f"statement_account:{held['code']}",
                {"until": until and until.isoformat(), "note": note},
            ),
        )
        if not asked:
            raise IllegalState(
                "Somebody has asked for this account already. Let another person confirm or "
                "refuse that with confirmPeriod first."
            )
        [row] = await fetch(_ONE, period_id)
    return PeriodClose.of(row)


async def _check_possible(account: Row, kind: str, until: date | None) -> None:
    closed: date | None = account["closed_until"]
    if kind == "CLOSE" and closed is not None and until is not None and until <= closed:
        raise IllegalState(f"These days are closed already, until {closed}.")
    if kind == "REOPEN" and (closed is None or (until is not None and until >= closed)):
        raise IllegalState("There is nothing to open again after this day.")
    if await fetch(_RUNNING, account["id"]):
        raise IllegalState("This account is being reconciled just now. Wait until that ended.")


_ASKED = """SELECT id, account_id, kind, closed_until, asked_by_id FROM period_close
WHERE id = $1 AND status = 'ASKED' FOR UPDATE"""
_PERIOD = "SELECT account_id FROM period_close WHERE id = $1"
_DECIDE = f"""WITH decided AS (
    UPDATE period_close SET status = $2, decided_by_name = $3, decided_by_id = $4,
        decision_note = $5, decided_at = now()
    WHERE id = $1 RETURNING account_id, closed_until, status
), done AS (
    UPDATE statement_account a SET closed_until = decided.closed_until, version = version + 1
    FROM decided WHERE a.id = decided.account_id AND decided.status = 'DONE'
)
INSERT INTO audit_entry {AUDIT_COLUMNS} VALUES ($6, $7, $8, $9, $10::jsonb, $11)"""


async def confirm_period(
    actor: Actor, period_id: UUID, *, agreed: bool = True, note: str | None = None
) -> PeriodClose:
    """Does what another person asked for, or refuses it. Who asked may only take it back.

    Raises Forbidden, SelfApproval, NotFound, IllegalState.
    """
    actor.require(Permission.CLOSE_PERIODS)
    if actor.staff_id is None or actor.kind != "staff":
        raise Forbidden(
            "This needs a person: closing is asked for by one and confirmed by another."
        )
    note = clean_optional(note, "note", limit=500)
    async with tx():
        found = await fetch(_PERIOD, period_id)
        if not found:
            raise NotFound(field=["id"])
        [account] = await fetch(_HOLD, found[0]["account_id"])
        asked = await fetch(_ASKED, period_id)
        if not asked:
            raise IllegalState("This was decided already.")
        if agreed:
            if asked[0]["asked_by_id"] == actor.staff_id:
                raise SelfApproval(
                    "Nobody confirms what they asked for themselves. Ask somebody else."
                )
            await _check_possible(account, asked[0]["kind"], asked[0]["closed_until"])
        until = asked[0]["closed_until"]
        done = f"period.{asked[0]['kind'].lower()}"
        await fetch(
            _DECIDE,
            period_id,
            "DONE" if agreed else "REFUSED",
            actor.name,
            actor.staff_id,
            note,
            *audit_values(
                actor.kind,
                actor.name,
                f"{done}_confirmed" if agreed else f"{done}_refused",
                f"statement_account:{account['code']}",
                {"until": until and until.isoformat(), "note": note},
            ),
        )
        [row] = await fetch(_ONE, period_id)
    return PeriodClose.of(row)


async def periods(actor: Actor, account: str | None = None) -> list[PeriodClose]:
    """What was asked for and decided, the newest first. Raises Forbidden."""
    actor.require(Permission.READ_BOOKS)
    return [PeriodClose.of(row) for row in await fetch(_ALL, account)]
