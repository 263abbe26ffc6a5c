"""What people decide about matches: yes, no, these belong together, these do not after all.

A decision has a name, an entry in the audit log and its effect on the books in one transaction. No
machine undoes it. Of two people who decide at the same moment one is first, and the other is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tortoise.exceptions import IntegrityError

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.books import periods
from dusangire.core import Core
from dusangire.cursors import make_cursor, read_cursor
from dusangire.database import Row, fetch, tx
from dusangire.errors import Conflict, IllegalState, Invalid, NotFound, SelfApproval
from dusangire.importing import accounts
from dusangire.permissions import Permission
from dusangire.queries import MAX_PAGE, Page
from dusangire.reconciliation import recording, standing
from dusangire.records import Match, MatchStatus, Payment
from dusangire.text import clean, clean_optional

_MAX_NOTE = 500
# More on one side are two matches, or a list from the provider.
MAX_LEGS = 200
BY_HAND = "by-hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchLines:
    """What a person puts together. item_ids: payouts, and single items of a payment."""

    line_ids: Sequence[UUID]
    payment_ids: Sequence[UUID] = ()
    item_ids: Sequence[UUID] = ()
    note: str


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────

_MATCH = "SELECT * FROM recon_match WHERE id = $1"
# Lines, then items, then the match: in the order in which machines take them.
_LOCK_LINES = """SELECT count(*) FROM (
    SELECT l.id FROM statement_line l JOIN match_leg g ON g.line_id = l.id
    WHERE g.match_id = $1 ORDER BY l.id FOR NO KEY UPDATE OF l
) AS held"""
_LOCK_ITEMS = """SELECT count(*) FROM (
    SELECT i.id FROM clearing_item i JOIN match_leg g ON g.item_id = i.id
    WHERE g.match_id = $1 ORDER BY i.id FOR NO KEY UPDATE OF i
) AS held"""
_LOCK = f"{_MATCH} FOR UPDATE"
_LEGS = """SELECT g.line_id, g.item_id, l.booking_date, l.account_id, i.payment_id
FROM match_leg g LEFT JOIN statement_line l ON l.id = g.line_id
LEFT JOIN clearing_item i ON i.id = g.item_id WHERE g.match_id = $1 ORDER BY g.id"""
_FIRST_YES = """UPDATE recon_match SET decided_by_kind = $2, decided_by_name = $3,
    decided_by_id = $4, decided_at = now(), note = coalesce($5, note)
WHERE id = $1 RETURNING *"""
_REMEMBER_NO = """INSERT INTO rejected_pair (id, line_id, item_id, rejected_by)
SELECT gen_random_uuid(), l.line_id, i.item_id, $2
FROM match_leg l JOIN match_leg i ON i.match_id = l.match_id AND i.item_id IS NOT NULL
WHERE l.match_id = $1 AND l.line_id IS NOT NULL ON CONFLICT DO NOTHING"""
_AUDIT = f"INSERT INTO audit_entry {AUDIT_COLUMNS} VALUES ($1, $2, $3, $4, $5::jsonb, $6)"


async def confirm_match(core: Core, actor: Actor, match_id: UUID, note: str | None = None) -> Match:
    """A person's yes to a suggestion. The same person may say it twice.

    With a difference above the account's limit the first yes is only written down, and another
    person, who may write off, has to say it too. Raises Forbidden, ConfirmationNeeded, NotFound,
    SelfApproval, IllegalState, Conflict.
    """
    actor.require(Permission.DECIDE_MATCHES)
    note = clean_optional(note, "note", limit=_MAX_NOTE)
    async with tx():
        match = await _locked(match_id)
        if match.status is MatchStatus.CONFIRMED and match.decided_by_id == actor.staff_id:
            return match
        _must_be(match, MatchStatus.SUGGESTED)
        decided = await _say_yes(actor, match, note)
    core.news.set()
    return decided


async def _say_yes(actor: Actor, match: Match, note: str | None) -> Match:
    legs = await _legs(match.id)
    await periods.require_open(match.account_id, *legs.days)
    if await _too_much_for_one(match):
        if match.decided_by is None:
            return await _first_yes(actor, match, note)
        if match.decided_by_id == actor.staff_id:
            raise SelfApproval(
                f"The difference of {match.difference} is above this account's limit: another "
                "person has to say yes too."
            )
        actor.require(Permission.WRITE_OFF)
    await recording.confirm([match.id], actor)
    await standing.refresh(legs.payments)
    return await _noted(actor, match, "match.confirmed", note)


async def _too_much_for_one(match: Match) -> bool:
    account = await accounts.by_id(match.account_id)
    return account.is_too_much_for_one(match.difference)


async def _first_yes(actor: Actor, match: Match, note: str | None) -> Match:
    who = actor.kind, actor.name, actor.staff_id
    [row] = await fetch(_FIRST_YES, match.id, *who, note)
    said = _said(match, note)
    await fetch(_AUDIT, *audit_values(*who[:2], "match.agreed", f"match:{match.id}", said))
    return Match.of(row)


async def reject_match(core: Core, actor: Actor, match_id: UUID, note: str | None = None) -> Match:
    """A person's no to a suggestion: no machine offers these pairs again.

    Raises Forbidden, NotFound, IllegalState; Conflict when somebody else was first.
    """
    actor.require(Permission.DECIDE_MATCHES)
    note = clean_optional(note, "note", limit=_MAX_NOTE)
    async with tx():
        match = await _locked(match_id)
        if match.status is MatchStatus.REJECTED and match.decided_by_id == actor.staff_id:
            return match
        _must_be(match, MatchStatus.SUGGESTED)
        decided = await _end(actor, match, MatchStatus.REJECTED, note)
    core.news.set()
    return decided


async def unmatch(core: Core, actor: Actor, match_id: UUID, note: str) -> Match:
    """Takes a confirmed match apart, with the reason. The books get reversing entries, lines and
    items are open again, and no machine puts them together a second time.

    Raises Forbidden, NotFound, Invalid; IllegalState in a closed period; Conflict.
    """
    actor.require(Permission.DECIDE_MATCHES)
    note = clean(note, "note", limit=_MAX_NOTE)
    async with tx():
        match = await _locked(match_id)
        if match.status is MatchStatus.UNMATCHED and match.decided_by_id == actor.staff_id:
            return match
        _must_be(match, MatchStatus.CONFIRMED)
        decided = await _end(actor, match, MatchStatus.UNMATCHED, note)
    core.news.set()
    return decided


async def _end(actor: Actor, match: Match, status: MatchStatus, note: str | None) -> Match:
    legs = await _legs(match.id)
    if status is MatchStatus.UNMATCHED:
        await periods.require_open(match.account_id, *legs.days)
    await recording.end(match.id, status, actor, note)
    await fetch(_REMEMBER_NO, match.id, actor.name)
    await standing.refresh(legs.payments)
    return await _noted(actor, match, f"match.{status.lower()}", note)


# ── putting together by hand ─────────────────────────────────────────────────────────────────────

_LINES = """SELECT * FROM statement_line WHERE id = ANY($1) ORDER BY id FOR UPDATE"""
_ITEMS = """SELECT * FROM clearing_item
WHERE id = ANY($1) OR payment_id = ANY($2) AND status = 'OPEN' ORDER BY id FOR UPDATE"""
# What of the machine's these lines and items are suggested for; a first yes is a person's.
_IN_THE_WAY = """SELECT DISTINCT m.id, m.decided_by_name FROM recon_match m
JOIN match_leg g ON g.match_id = m.id AND g.live
WHERE m.status = 'SUGGESTED' AND (g.line_id = ANY($1) OR g.item_id = ANY($2)) ORDER BY m.id"""
_SAME = """SELECT m.* FROM recon_match m JOIN match_leg g ON g.match_id = m.id AND g.live
WHERE m.rule = 'by-hand' AND m.decided_by_id = $1 AND m.status IN ('SUGGESTED', 'CONFIRMED')
GROUP BY m.id HAVING array_agg(g.line_id ORDER BY g.line_id)
        FILTER (WHERE g.line_id IS NOT NULL) = $2::uuid[]
    AND bool_and(g.item_id IS NULL OR EXISTS (
        SELECT FROM clearing_item i WHERE i.id = g.item_id
        AND (i.id = ANY($3) OR i.payment_id = ANY($4))))
    AND bool_or(g.item_id IS NOT NULL)"""


async def match_lines(core: Core, actor: Actor, wanted: MatchLines) -> Match:
    """Puts lines and payments together by hand, as many of each as needed.

    They must agree, the provider's fee taken off, or the difference is written off: above the
    account's limit it waits until another person has said yes. The machine's suggestions for them
    are gone. The same person may ask twice.

    Raises Forbidden, NotFound, Invalid, IllegalState, CurrencyNotSupported; Conflict when somebody
    else was first.
    """
    actor.require(Permission.DECIDE_MATCHES)
    note = clean(wanted.note, "note", limit=_MAX_NOTE)
    asked = (wanted.line_ids, wanted.payment_ids, wanted.item_ids)
    line_ids, payment_ids, item_ids = (sorted(set(ids)) for ids in asked)
    _check_size(line_ids, [*payment_ids, *item_ids])
    try:
        async with tx():
            lines = await fetch(_LINES, line_ids)
            if same := await fetch(_SAME, actor.staff_id, line_ids, item_ids, payment_ids):
                return Match.of(same[0])
            items = await fetch(_ITEMS, item_ids, payment_ids)
            _check_found(wanted, lines, items)
            chosen = _one_way(lines, items, item_ids)
            _check_fitting(lines, chosen)
            match = await _make(actor, lines, chosen, note)
    except IntegrityError as error:
        raise Conflict(
            "Somebody put one of these together with something else meanwhile. Read them again."
        ) from error
    core.news.set()
    return match


async def _make(actor: Actor, lines: list[Row], items: list[Row], note: str) -> Match:
    account_id = lines[0]["account_id"]
    line_ids, item_ids = [row["id"] for row in lines], [row["id"] for row in items]
    await periods.require_open(account_id, *(row["booking_date"] for row in lines))
    for row in await fetch(_IN_THE_WAY, line_ids, item_ids):
        if row["decided_by_name"] is not None:
            raise IllegalState(
                f"{row['decided_by_name']} put one of these together already, and it waits for "
                "another person. Confirm or reject that first."
            )
        await recording.end(row["id"], MatchStatus.REJECTED, actor, "A person chose differently.")
    match_id = await recording.make(
        account_id=account_id,
        line_ids=line_ids,
        item_ids=item_ids,
        rule=BY_HAND,
        confidence=100,
        explanation=[f"{actor.name} put them together: {note}"],
        status=MatchStatus.SUGGESTED,
        who=None,
        reconciliation_id=None,
    )
    return await _say_yes(actor, await _locked(match_id), note)


def _check_size(line_ids: Sequence[UUID], others: Sequence[UUID]) -> None:
    for ids, name, what in ((line_ids, "lineIds", "line"), (others, "paymentIds", "payment")):
        if not ids:
            raise Invalid(f"Name at least one {what}.", field=["input", name])
        if len(ids) > MAX_LEGS:
            raise Invalid(f"At most {MAX_LEGS} at once.", field=["input", name])


def _check_found(wanted: MatchLines, lines: Sequence[Row], items: Sequence[Row]) -> None:
    if {*wanted.line_ids} - {row["id"] for row in lines}:
        raise NotFound("There is no such line.", field=["input", "lineIds"])
    if {*wanted.item_ids} - {row["id"] for row in items}:
        raise NotFound("There is no such item.", field=["input", "itemIds"])
    if {*wanted.payment_ids} - {row["payment_id"] for row in items}:
        raise IllegalState(
            "Of one of these payments no money is open: it was not captured yet, or what came in "
            "is matched already."
        )


def _one_way(lines: Sequence[Row], items: Sequence[Row], named: Sequence[UUID]) -> list[Row]:
    """The items that were named, and of the payments those that go the way of the lines."""
    ways = {row["direction"] for row in lines}
    return [row for row in items if row["id"] in named or row["direction"] in ways]


def _check_fitting(lines: Sequence[Row], items: Sequence[Row]) -> None:
    if len({row["account_id"] for row in lines}) != 1:
        raise Invalid("These lines are of different accounts.", field=["input", "lineIds"])
    currencies = {row["currency"] for row in (*lines, *items)}
    if len(currencies) != 1:
        raise IllegalState(f"These are different currencies: {', '.join(sorted(currencies))}.")
    if any(row["entry_status"] != "BOOKED" for row in lines):
        raise IllegalState("One of these lines is not booked yet.")
    if any(row["status"] in {"MATCHED", "IGNORED"} for row in lines):
        raise IllegalState("One of these lines is matched or set aside already. Take that back.")
    if any(row["status"] != "OPEN" for row in items):
        raise IllegalState("One of these is matched or written off already. Take that back first.")
    if not items:
        raise IllegalState("The money of these payments goes the other way than these lines.")


# ── what deciding shares ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Legs:
    days: list[Any]
    payments: list[UUID]


async def _legs(match_id: UUID) -> _Legs:
    rows = await fetch(_LEGS, match_id)
    return _Legs(
        days=[row["booking_date"] for row in rows if row["line_id"]],
        payments=sorted({row["payment_id"] for row in rows if row["payment_id"]}),
    )


async def _locked(match_id: UUID) -> Match:
    await fetch(_LOCK_LINES, match_id)
    await fetch(_LOCK_ITEMS, match_id)
    rows = await fetch(_LOCK, match_id)
    if not rows:
        raise NotFound("There is no such match.", field=["id"])
    return Match.of(rows[0])


def _must_be(match: Match, status: MatchStatus) -> None:
    if match.status is status:
        return
    who = match.decided_by.name if match.decided_by else "the system"
    raise Conflict(f"This match is {match.status} since {who} decided on it. Read it again.")


def _said(match: Match, note: str | None) -> dict[str, Any]:
    return {
        "rule": match.rule,
        "confidence": match.confidence,
        "difference": str(match.difference),
        "note": note,
    }


async def _noted(actor: Actor, match: Match, action: str, note: str | None) -> Match:
    said = _said(match, note)
    if match.decided_by is not None and match.status is MatchStatus.SUGGESTED:
        said["agreed by"] = match.decided_by.name
    values = audit_values(actor.kind, actor.name, action, f"match:{match.id}", said)
    await fetch(_AUDIT, *values)
    [row] = await fetch(_MATCH, match.id)
    return Match.of(row)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────

_MANY = """SELECT m.* FROM recon_match m JOIN statement_account a ON a.id = m.account_id
WHERE ($1::text IS NULL OR a.code = $1) AND ($2::text[] IS NULL OR m.status = ANY($2))
    AND ($3::timestamptz IS NULL OR (m.created_at, m.id) < ($3, $4))
ORDER BY m.created_at DESC, m.id DESC LIMIT $5"""
_OF_LINES = """SELECT g.line_id, m.* FROM match_leg g JOIN recon_match m ON m.id = g.match_id
WHERE g.line_id = ANY($1) AND g.live"""
_LINE_IDS = """SELECT match_id, line_id FROM match_leg
WHERE match_id = ANY($1) AND line_id IS NOT NULL ORDER BY id"""
_PAYMENTS_OF = """SELECT DISTINCT g.match_id, p.* FROM match_leg g
JOIN clearing_item i ON i.id = g.item_id JOIN payment p ON p.id = i.payment_id
WHERE g.match_id = ANY($1) ORDER BY p.created_at, p.id"""


async def match(core: Core, actor: Actor, match_id: UUID) -> Match | None:
    """Raises Forbidden."""
    actor.require(Permission.READ_STATEMENTS)
    rows = await fetch(_MATCH, match_id)
    return Match.of(rows[0]) if rows else None


async def matches(
    core: Core,
    actor: Actor,
    status: Sequence[MatchStatus] | None = None,
    account: str | None = None,
    first: int = 25,
    after: str | None = None,
) -> Page[Match]:
    """A page of matches, the newest first. Raises Forbidden, Invalid."""
    actor.require(Permission.READ_STATEMENTS)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    statuses = [one.value for one in status] if status is not None else None
    moment, last = mark_of(after) if after is not None else (None, None)
    rows = await fetch(_MANY, account, statuses, moment, last, first + 1)
    shown = rows[:first]
    return Page(
        items=[Match.of(row) for row in shown],
        cursors=[make_cursor([row["created_at"].isoformat(), row["id"].hex]) for row in shown],
        has_next=len(rows) > first,
    )


async def of_lines(line_ids: Sequence[UUID]) -> Mapping[UUID, Match]:
    """The match that each line is in now."""
    rows = await fetch(_OF_LINES, list(line_ids))
    return {row["line_id"]: Match.of(row) for row in rows}


async def line_ids_of(match_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    """The lines of each match, of ended ones too."""
    found: dict[UUID, list[UUID]] = {match_id: [] for match_id in match_ids}
    for row in await fetch(_LINE_IDS, list(match_ids)):
        found[row["match_id"]].append(row["line_id"])
    return found


async def payments_of(match_ids: Sequence[UUID]) -> dict[UUID, list[Payment]]:
    """The payments of each match; a payout has none."""
    found: dict[UUID, list[Payment]] = {match_id: [] for match_id in match_ids}
    for row in await fetch(_PAYMENTS_OF, list(match_ids)):
        found[row["match_id"]].append(Payment.of(row))
    return found


def mark_of(after: str) -> tuple[datetime, UUID]:
    """The moment and the id that a cursor stands for. Raises Invalid."""
    text, hex_id = read_cursor(after, 2)
    try:
        return datetime.fromisoformat(text).astimezone(UTC), UUID(hex=hex_id)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Invalid("This cursor is not one of ours.", field=["after"]) from error
