"""What does not agree: found by every run, once each, until it agrees or a person decides on it.

Of one cause there is one discrepancy. A run that finds it again brings it up to date; a run that
does not find it any more closes it. What a person closed stays closed, unless its amounts change.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.books import periods, posting
from dusangire.core import Core
from dusangire.cursors import make_cursor, read_cursor
from dusangire.database import Row, fetch, tx
from dusangire.days import KIGALI
from dusangire.errors import Conflict, IllegalState, Invalid, NotFound, SelfApproval
from dusangire.importing import accounts
from dusangire.importing.accounts import StatementAccount
from dusangire.money import Money
from dusangire.permissions import Permission
from dusangire.queries import MAX_PAGE, Page
from dusangire.reconciliation import detecting, recording, standing
from dusangire.reconciliation.wording import Facts, message
from dusangire.records import Who, json_of
from dusangire.text import clean

_MAX_NOTE = 500
_PAGE = 2_000


class DiscrepancyKind(StrEnum):
    """What it is that does not agree; docs/guides/discrepancies.md has what to do about each."""

    MISSING_IN_BANK = "MISSING_IN_BANK"
    MISSING_IN_SYSTEM = "MISSING_IN_SYSTEM"
    MISSING_AT_PROVIDER = "MISSING_AT_PROVIDER"
    STATUS_MISMATCH = "STATUS_MISMATCH"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    FEE_MISMATCH = "FEE_MISMATCH"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    DUPLICATE = "DUPLICATE"
    LATE = "LATE"
    AMBIGUOUS = "AMBIGUOUS"
    REVERSED = "REVERSED"
    CHARGEBACK = "CHARGEBACK"
    BALANCE_BREAK = "BALANCE_BREAK"
    STALE_CLEARING = "STALE_CLEARING"
    UNIDENTIFIED_DEBIT = "UNIDENTIFIED_DEBIT"


class DiscrepancyStatus(StrEnum):
    """AUTO_RESOLVED: a later run did not find it any more."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"
    WRITTEN_OFF = "WRITTEN_OFF"
    IGNORED = "IGNORED"
    AUTO_RESOLVED = "AUTO_RESOLVED"


class Severity(StrEnum):
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One thing that does not agree.

    expected: what our records say; actual: what the statement says. since: the day of the money.
    message: what happened and what to do next. candidates: of an ambiguous one, what it may be.
    asked_by: who wants to write it off, while another person has to agree.
    """

    id: UUID
    account_id: UUID
    account: str
    kind: DiscrepancyKind
    severity: Severity
    status: DiscrepancyStatus
    payment_id: UUID | None
    item_id: UUID | None
    line_id: UUID | None
    match_id: UUID | None
    expected: Money | None
    actual: Money | None
    message: str
    candidates: tuple[Mapping[str, Any], ...]
    since: date
    assigned_to: Who | None
    resolution: str | None
    resolved_by: Who | None
    resolved_by_id: UUID | None
    resolved_at: datetime | None
    asked_by: Who | None
    asked_by_id: UUID | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Row) -> "Discrepancy":
        """From _SELECT."""
        currency, resolved = row["currency"], row["resolved_by_kind"]
        return cls(
            id=row["id"],
            account_id=row["account_id"],
            account=row["account_code"],
            kind=DiscrepancyKind(row["kind"]),
            severity=Severity(row["severity"]),
            status=DiscrepancyStatus(row["status"]),
            payment_id=row["payment_id"],
            item_id=row["item_id"],
            line_id=row["line_id"],
            match_id=row["match_id"],
            expected=_money(row["expected"], currency),
            actual=_money(row["actual"], currency),
            message=row["message"],
            candidates=tuple(json_of(row["candidates"])),
            since=row["since"],
            assigned_to=Who("staff", row["assigned_name"]) if row["assigned_name"] else None,
            resolution=row["resolution"],
            resolved_by=Who(resolved, row["resolved_by_name"]) if resolved else None,
            resolved_by_id=row["resolved_by_id"],
            resolved_at=row["resolved_at"],
            asked_by=Who("staff", row["asked_by_name"]) if row["asked_by_name"] else None,
            asked_by_id=row["asked_by_id"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )

    def age_days(self, now: datetime) -> int:
        """Days since the money moved, until it was closed or `now`."""
        return max(0, ((self.resolved_at or now).astimezone(KIGALI).date() - self.since).days)


def _money(minor: int | None, currency: str) -> Money | None:
    return Money(minor, currency) if minor is not None else None


# ── finding ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one run came to: how many were opened, by kind, and how many closed by themselves."""

    opened: Mapping[str, int]
    closed: int


# A person who decides at the same moment is first, or waits and decides on what is there then.
_HOLD = """
SELECT count(*) FROM (
    SELECT id FROM discrepancy WHERE account_id = $1 AND status = 'OPEN' ORDER BY id FOR UPDATE
) AS held"""
# What is new, what has changed, and what a person closed when its amounts were others.
_NEWS = """
SELECT f.*, p.reference, o.id IS NULL AS is_new
FROM disc_found f
LEFT JOIN discrepancy o ON o.key = f.key AND o.status = 'OPEN'
LEFT JOIN payment p ON p.id = f.payment_id
WHERE f.key > $1 AND CASE WHEN o.id IS NULL THEN NOT EXISTS (
        SELECT FROM (
            SELECT expected, actual, currency FROM discrepancy c
            WHERE c.key = f.key AND c.status IN ('RESOLVED', 'IGNORED', 'WRITTEN_OFF')
            ORDER BY resolved_at DESC LIMIT 1
        ) AS c WHERE (c.expected, c.actual, c.currency)
            IS NOT DISTINCT FROM (f.expected, f.actual, f.currency)
    ) ELSE (o.severity, o.payment_id, o.item_id, o.line_id, o.match_id, o.currency, o.expected,
            o.actual, o.candidates)
        IS DISTINCT FROM (f.severity, f.payment_id, f.item_id, f.line_id, f.match_id, f.currency,
            f.expected, f.actual, f.candidates) END
ORDER BY f.key LIMIT $2"""
# Who was asked to agree to a write-off was asked about these amounts and no others.
_WRITE = """
INSERT INTO discrepancy AS d (id, key, account_id, kind, severity, payment_id, item_id, line_id,
    match_id, currency, expected, actual, message, candidates, since, reconciliation_id)
SELECT gen_random_uuid(), f.key, $1, f.kind, f.severity, f.payment_id, f.item_id, f.line_id,
    f.match_id, f.currency, f.expected, f.actual, said.message, f.candidates, f.since, $2
FROM disc_found f JOIN unnest($3::text[], $4::text[]) AS said (key, message) ON said.key = f.key
ORDER BY f.since, f.key
ON CONFLICT (key) WHERE status = 'OPEN' DO UPDATE SET severity = excluded.severity,
    payment_id = excluded.payment_id, item_id = excluded.item_id, line_id = excluded.line_id,
    match_id = excluded.match_id, currency = excluded.currency, expected = excluded.expected,
    actual = excluded.actual, message = excluded.message, candidates = excluded.candidates,
    reconciliation_id = excluded.reconciliation_id, updated_at = now(),
    asked_by_id = CASE WHEN (d.expected, d.actual) IS NOT DISTINCT FROM
        (excluded.expected, excluded.actual) THEN d.asked_by_id END,
    asked_by_name = CASE WHEN (d.expected, d.actual) IS NOT DISTINCT FROM
        (excluded.expected, excluded.actual) THEN d.asked_by_name END
RETURNING d.payment_id"""
_CLOSE = """
UPDATE discrepancy d SET status = 'AUTO_RESOLVED', resolution = 'A later run agrees.',
    resolved_by_kind = 'system', resolved_by_name = 'system', resolved_at = now(),
    updated_at = now(), reconciliation_id = $2
WHERE account_id = $1 AND status = 'OPEN' AND NOT starts_with(key, 'BALANCE_BREAK|books:')
    AND NOT EXISTS (SELECT FROM disc_found f WHERE f.key = d.key)
RETURNING payment_id"""
_TELL = """
INSERT INTO event (type, data) VALUES ('discrepancy.opened', jsonb_build_object('discrepancies',
    jsonb_build_object('account', $1::text, 'name', $2::text, 'kinds', $3::jsonb)))"""


async def find(
    core: Core, account: StatementAccount, reconciliation_id: UUID | None, to_date: date
) -> Found:
    """Looks at everything up to `to_date` that a match has not explained, in one transaction.

    Whoever wants to know is told once for all that is new and grave.
    """
    opened: Counter[str] = Counter()
    grave: Counter[str] = Counter()
    touched: set[UUID | None] = set()
    async with tx(patience=60):
        await detecting.detect(core, account, reconciliation_id, to_date)
        await fetch(_HOLD, account.id)
        key = ""
        while news := await fetch(_NEWS, key, _PAGE):
            key = news[-1]["key"]
            said = [message(_facts(account, row)) for row in news]
            keys = [row["key"] for row in news]
            await fetch(_WRITE, account.id, reconciliation_id, keys, said)
            for row in news:
                touched.add(row["payment_id"])
                opened[row["kind"]] += row["is_new"]
                grave[row["kind"]] += row["is_new"] and row["severity"] in {"HIGH", "CRITICAL"}
        gone = await fetch(_CLOSE, account.id, reconciliation_id)
        touched |= {row["payment_id"] for row in gone}
        if grave.total():
            kinds = orjson.dumps(dict(+grave)).decode()
            await fetch(_TELL, account.code, account.name, kinds)
        await standing.refresh([payment_id for payment_id in touched if payment_id is not None])
    core.news.set()
    return Found(opened=dict(+opened), closed=len(gone))


def _facts(account: StatementAccount, row: Row) -> Facts:
    return Facts(
        kind=row["kind"],
        account=account.name,
        currency=row["currency"],
        since=row["since"],
        expected=row["expected"],
        actual=row["actual"],
        reference=row["reference"],
        said=json_of(row["said"]),
    )


_REPORT = """
INSERT INTO discrepancy AS d (id, key, account_id, kind, severity, currency, expected, actual,
    message, since)
VALUES (gen_random_uuid(), 'BALANCE_BREAK|books:' || $2 || ':' || $3 || '|', $1, 'BALANCE_BREAK',
    'CRITICAL', $3, $4, $5, $6, (now() AT TIME ZONE 'Africa/Kigali')::date)
ON CONFLICT (key) WHERE status = 'OPEN' DO UPDATE SET expected = $4, actual = $5, message = $6,
    updated_at = now()
RETURNING id"""
_REPORT_OVER = """
UPDATE discrepancy SET status = 'AUTO_RESOLVED', resolution = 'A later check agrees.',
    resolved_by_kind = 'system', resolved_by_name = 'system', resolved_at = now(),
    updated_at = now()
WHERE status = 'OPEN' AND starts_with(key, 'BALANCE_BREAK|books:') AND NOT EXISTS (
    SELECT FROM unnest($1::text[], $2::text[]) AS still (book, currency)
    WHERE key = 'BALANCE_BREAK|books:' || book || ':' || still.currency || '|')"""


async def report_break(account_id: UUID, book: str, expected: Money, actual: int) -> None:
    """The check of the books found a balance that is not what it should be. In the caller's
    transaction; found again, it is brought up to date."""
    facts = Facts(
        kind=DiscrepancyKind.BALANCE_BREAK,
        account=book,
        currency=expected.currency,
        since=datetime.now(UTC).astimezone(KIGALI).date(),
        expected=expected.minor,
        actual=actual,
        said={"sort": "book", "book": book},
    )
    values = book, expected.currency, expected.minor, actual, message(facts)
    await fetch(_REPORT, account_id, *values)


async def breaks_are(broken: Sequence[tuple[str, str]]) -> None:
    """Closes what `report_break` opened, but for these (book, currency). In the caller's
    transaction."""
    books, currencies = [book for book, _ in broken], [currency for _, currency in broken]
    await fetch(_REPORT_OVER, books, currencies)


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────

_COLUMNS = "d.*, a.code AS account_code, s.email AS assigned_name"
_FROM = """discrepancy d JOIN statement_account a ON a.id = d.account_id
LEFT JOIN staff s ON s.id = d.assigned_to_id"""
_ONE = f"SELECT {_COLUMNS} FROM {_FROM} WHERE d.id = $1"
_LOCK = f"{_ONE} FOR UPDATE OF d"
_RESOLVE = """
UPDATE discrepancy SET status = $2, resolution = $3, resolved_by_kind = $4, resolved_by_name = $5,
    resolved_by_id = $6, resolved_at = now(), updated_at = now()
WHERE id = $1"""
_ASK = """
UPDATE discrepancy SET asked_by_id = $2, asked_by_name = $3, resolution = $4, updated_at = now()
WHERE id = $1"""
_AUDIT = f"INSERT INTO audit_entry {AUDIT_COLUMNS} VALUES ($1, $2, $3, $4, $5::jsonb, $6)"
_BY_A_PERSON = frozenset(
    {DiscrepancyStatus.RESOLVED, DiscrepancyStatus.IGNORED, DiscrepancyStatus.WRITTEN_OFF}
)


async def resolve(
    core: Core, actor: Actor, discrepancy_id: UUID, status: DiscrepancyStatus, note: str
) -> Discrepancy:
    """A person's decision, with its reason. The same person may say the same twice.

    RESOLVED: it was dealt with. IGNORED: it need not be. WRITTEN_OFF: its money is booked as a
    loss or a gain; above the account's limit the first person only asks (the answer is still OPEN,
    with `asked_by`), and another one, who may write off, carries it out.

    Raises Forbidden, ConfirmationNeeded, NotFound, Invalid, SelfApproval; IllegalState when there
    is nothing to write off; Conflict when somebody else decided first.
    """
    actor.require(Permission.RESOLVE_DISCREPANCIES)
    if status not in _BY_A_PERSON:
        raise Invalid("A person says RESOLVED, IGNORED or WRITTEN_OFF.", field=["input", "status"])
    note = clean(note, "note", limit=_MAX_NOTE)
    async with tx():
        found = await _locked(discrepancy_id)
        if found.status is status and found.resolved_by_id == actor.staff_id:
            return found
        _must_be_open(found)
        if status is DiscrepancyStatus.WRITTEN_OFF:
            done = await _write_off(actor, found, note)
        else:
            done = await _closed(actor, found, status, note)
    core.news.set()
    return done


async def _write_off(actor: Actor, found: Discrepancy, note: str) -> Discrepancy:
    what = await _at_stake(found)
    await periods.require_open(found.account_id, *what.days)
    account = await accounts.by_id(found.account_id)
    if account.is_too_much_for_one(what.amount):
        if found.asked_by_id is None:
            await fetch(_ASK, found.id, actor.staff_id, actor.name, note)
            return await _noted(actor, found, "discrepancy.write_off_asked", note, what.amount)
        if found.asked_by_id == actor.staff_id:
            raise SelfApproval(
                f"{what.amount} is above this account's limit: another person has to agree to "
                "write it off."
            )
        actor.require(Permission.WRITE_OFF)
    await _post(actor, found, what, note)
    return await _closed(actor, found, DiscrepancyStatus.WRITTEN_OFF, note, what.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stake:
    """What a write-off takes out of the books: a line, an item, or what is between the two."""

    amount: Money
    line_id: UUID | None = None
    item_id: UUID | None = None
    days: tuple[date, ...] = ()


_SIDES = """
SELECT l.id AS line_id, l.status AS line_status, l.amount AS line_amount, l.currency,
    l.direction AS line_direction, l.posted, l.booking_date, i.id AS item_id,
    i.status AS item_status, i.amount AS item_amount, i.currency AS item_currency,
    i.direction AS item_direction
FROM discrepancy d LEFT JOIN statement_line l ON l.id = d.line_id
LEFT JOIN clearing_item i ON i.id = d.item_id WHERE d.id = $1"""


async def _at_stake(found: Discrepancy) -> _Stake:
    [sides] = await fetch(_SIDES, found.id)
    line = sides["line_status"] in {"OPEN", "SUGGESTED"} and sides["posted"]
    item = sides["item_status"] == "OPEN"
    if found.kind is DiscrepancyKind.AMOUNT_MISMATCH:
        # Only where it is one line and one item; the sums of several are put together by hand.
        if line and item and found.actual and found.actual.minor == sides["line_amount"]:
            difference = abs(sides["item_amount"] - sides["line_amount"])
            return _Stake(
                amount=Money(difference, sides["currency"]),
                line_id=sides["line_id"],
                item_id=sides["item_id"],
                days=(sides["booking_date"],),
            )
        raise IllegalState(
            "Several lines or payments are in this. Put them together with matchLines: what is "
            "left over is written off there."
        )
    if line and found.kind is not DiscrepancyKind.FEE_MISMATCH:
        return _Stake(
            amount=Money(sides["line_amount"], sides["currency"]),
            line_id=sides["line_id"],
            days=(sides["booking_date"],),
        )
    if item:
        return _Stake(
            amount=Money(sides["item_amount"], sides["item_currency"]), item_id=sides["item_id"]
        )
    raise IllegalState(
        "No money is open in this that could be written off. Say RESOLVED or IGNORED, with why."
    )


_FREE = """SELECT m.decided_by_name FROM match_leg g JOIN recon_match m ON m.id = g.match_id
WHERE g.live AND (g.line_id = $1 OR g.item_id = $2)"""


async def _post(actor: Actor, found: Discrepancy, what: _Stake, note: str) -> None:
    if await fetch(_FREE, what.line_id, what.item_id):
        raise IllegalState("It is in a match that was offered. Confirm or reject that first.")
    if what.line_id and what.item_id:
        await recording.make(
            account_id=found.account_id,
            line_ids=[what.line_id],
            item_ids=[what.item_id],
            rule="write-off",
            confidence=100,
            explanation=[f"{actor.name} wrote the difference of {what.amount} off: {note}"],
            status="CONFIRMED",
            who=actor,
            reconciliation_id=None,
        )
    elif what.line_id:
        await posting.post_write_off_line(what.line_id, actor.name, note)
    elif what.item_id:
        await posting.post_write_off_item(what.item_id, actor.name, note)


async def _closed(
    actor: Actor,
    found: Discrepancy,
    status: DiscrepancyStatus,
    note: str,
    amount: Money | None = None,
) -> Discrepancy:
    who = actor.kind, actor.name, actor.staff_id
    await fetch(_RESOLVE, found.id, status.value, note, *who)
    if found.payment_id is not None:
        await standing.refresh([found.payment_id])
    return await _noted(actor, found, f"discrepancy.{status.lower()}", note, amount)


async def _noted(
    actor: Actor, found: Discrepancy, action: str, note: str, amount: Money | None = None
) -> Discrepancy:
    said = {
        "kind": found.kind,
        "account": found.account,
        "amount": str(amount) if amount else None,
        "asked by": found.asked_by.name if found.asked_by else None,
        "note": note,
    }
    detail = {name: value for name, value in said.items() if value is not None}
    object_ = f"discrepancy:{found.id}"
    await fetch(_AUDIT, *audit_values(actor.kind, actor.name, action, object_, detail))
    return Discrepancy.of((await fetch(_ONE, found.id))[0])


_STAFF = "SELECT email FROM staff WHERE id = $1 AND disabled_at IS NULL"
_ASSIGN = "UPDATE discrepancy SET assigned_to_id = $2, updated_at = now() WHERE id = $1"


async def assign(
    core: Core, actor: Actor, discrepancy_id: UUID, staff_id: UUID | None
) -> Discrepancy:
    """Says who looks after it; None: nobody does. Raises Forbidden, NotFound, Conflict."""
    actor.require(Permission.RESOLVE_DISCREPANCIES)
    async with tx():
        found = await _locked(discrepancy_id)
        _must_be_open(found)
        staff = await fetch(_STAFF, staff_id) if staff_id is not None else []
        if staff_id is not None and not staff:
            raise NotFound("There is no such person.", field=["staffId"])
        await fetch(_ASSIGN, found.id, staff_id)
        to = staff[0]["email"] if staff else "nobody"
        done = await _noted(actor, found, "discrepancy.assigned", f"to {to}")
    core.news.set()
    return done


async def _locked(discrepancy_id: UUID) -> Discrepancy:
    rows = await fetch(_LOCK, discrepancy_id)
    if not rows:
        raise NotFound("There is no such discrepancy.", field=["id"])
    return Discrepancy.of(rows[0])


def _must_be_open(found: Discrepancy) -> None:
    if found.status is not DiscrepancyStatus.OPEN:
        who = found.resolved_by.name if found.resolved_by else "the system"
        raise Conflict(f"This is {found.status} since {who} decided on it. Read it again.")


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscrepancyFilter:
    """Everything given must hold. account: a statement account's code."""

    status: Sequence[DiscrepancyStatus] | None = None
    kind: Sequence[DiscrepancyKind] | None = None
    severity: Sequence[Severity] | None = None
    account: str | None = None


_MANY = f"""SELECT {_COLUMNS} FROM {_FROM}
WHERE ($1::text[] IS NULL OR d.status = ANY($1)) AND ($2::text[] IS NULL OR d.kind = ANY($2))
    AND ($3::text[] IS NULL OR d.severity = ANY($3)) AND ($4::text IS NULL OR a.code = $4)
    AND ($5::timestamptz IS NULL OR (d.created_at, d.id) < ($5, $6))
ORDER BY d.created_at DESC, d.id DESC LIMIT $7"""
_OF_PAYMENTS = f"""SELECT {_COLUMNS} FROM {_FROM}
WHERE d.payment_id = ANY($1) ORDER BY d.created_at, d.id"""


async def discrepancy(core: Core, actor: Actor, discrepancy_id: UUID) -> Discrepancy | None:
    """Raises Forbidden."""
    actor.require(Permission.READ_STATEMENTS)
    rows = await fetch(_ONE, discrepancy_id)
    return Discrepancy.of(rows[0]) if rows else None


async def discrepancies(
    core: Core,
    actor: Actor,
    wanted: DiscrepancyFilter,
    first: int = 25,
    after: str | None = None,
) -> Page[Discrepancy]:
    """A page of them, the newest first. Raises Forbidden, Invalid."""
    actor.require(Permission.READ_STATEMENTS)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    mark = _mark(after) if after is not None else (None, None)
    rows = await fetch(
        _MANY,
        _words(wanted.status),
        _words(wanted.kind),
        _words(wanted.severity),
        wanted.account,
        *mark,
        first + 1,
    )
    shown = rows[:first]
    return Page(
        items=[Discrepancy.of(row) for row in shown],
        cursors=[make_cursor([row["created_at"].isoformat(), row["id"].hex]) for row in shown],
        has_next=len(rows) > first,
    )


async def of_payments(payment_ids: Sequence[UUID]) -> dict[UUID, list[Discrepancy]]:
    """All of each payment, the oldest first."""
    found: dict[UUID, list[Discrepancy]] = {payment_id: [] for payment_id in payment_ids}
    for row in await fetch(_OF_PAYMENTS, list(payment_ids)):
        found[row["payment_id"]].append(Discrepancy.of(row))
    return found


def _words(wanted: Sequence[StrEnum] | None) -> list[str] | None:
    return [word.value for word in wanted] if wanted is not None else None


def _mark(after: str) -> tuple[datetime, UUID]:
    moment, hex_id = read_cursor(after, 2)
    try:
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(hex=hex_id)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Invalid("This cursor is not one of ours.", field=["after"]) from error
