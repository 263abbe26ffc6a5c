"""The lines of statements as they are read: one, many by filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from dusangire.access import Actor
from dusangire.core import Core
from dusangire.cursors import make_cursor, read_cursor
from dusangire.customers import sees_in_full
from dusangire.database import Row, fetch
from dusangire.errors import Invalid
from dusangire.importing import accounts
from dusangire.masking import mask_text
from dusangire.money import Money
from dusangire.permissions import Permission
from dusangire.queries import MAX_PAGE, Page
from dusangire.statements import Direction, EntryKind, EntryStatus
from dusangire.text import clean


class LineStatus(StrEnum):
    OPEN = "OPEN"
    SUGGESTED = "SUGGESTED"
    MATCHED = "MATCHED"
    IGNORED = "IGNORED"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One line. reference: the first of what names it, the surest first.

    number: where it stands in its file. source: the line as the file had it.
    """

    id: UUID
    account: str
    import_id: UUID
    number: int
    status: LineStatus
    entry_status: EntryStatus
    kind: EntryKind
    direction: Direction
    amount: Money
    gross: Money | None
    fee: Money | None
    booking_date: date
    value_date: date | None
    occurred_at: datetime | None
    reference: str | None
    transaction_id: str | None
    our_reference: str | None
    bank_reference: str | None
    settlement: str | None
    counterparty: str | None
    counterparty_account: str | None
    narration: str
    source: str

    @classmethod
    def of(cls, row: Row) -> "StatementLine":
        def money(minor: int | None) -> Money | None:
            return None if minor is None else Money(minor, row["currency"])

        return cls(
            id=row["id"],
            account=row["account"],
            import_id=row["statement_import_id"],
            number=row["number"],
            status=LineStatus(row["status"]),
            entry_status=EntryStatus(row["entry_status"]),
            kind=EntryKind(row["kind"]),
            direction=Direction(row["direction"]),
            amount=Money(row["amount"], row["currency"]),
            gross=money(row["gross"]),
            fee=money(row["fee"]),
            booking_date=row["booking_date"],
            value_date=row["value_date"],
            occurred_at=row["occurred_at"],
            reference=next((row[name] for name in _REFERENCES if row[name]), None),
            transaction_id=row["transaction_id"],
            our_reference=row["our_reference"],
            bank_reference=row["bank_reference"],
            settlement=row["settlement"],
            counterparty=row["counterparty"],
            counterparty_account=row["counterparty_account"],
            narration=row["narration"],
            source=row["source"],
        )


_REFERENCES = (
    "structured_reference",
    "transaction_id",
    "our_reference",
    "end_to_end_id",
    "customer_reference",
    "bank_reference",
)


def shown_account(actor: Actor, number: str | None) -> str | None:
    """A payer's account, as somebody may see it."""
    if number is None or sees_in_full(actor):
        return number
    return f"•••{number[-4:]}" if len(number) > 6 else "•••"


def shown_text(actor: Actor, text: str) -> str:
    """What a bank wrote of a payer, as somebody may see it."""
    return text if sees_in_full(actor) else mask_text(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFilter:
    """Everything given must hold. search: a part of the narration, the payer or a reference."""

    account: str | None = None
    status: Sequence[LineStatus] | None = None
    from_: date | None = None
    to: date | None = None
    import_id: UUID | None = None
    search: str | None = None


_SELECT = """SELECT l.*, a.code AS account FROM statement_line l
JOIN statement_account a ON a.id = l.account_id"""
_LIST = f"""{_SELECT}
WHERE ($1::uuid IS NULL OR l.account_id = $1)
    AND ($2::text[] IS NULL OR l.status = ANY($2))
    AND ($3::date IS NULL OR l.booking_date >= $3)
    AND ($4::date IS NULL OR l.booking_date <= $4)
    AND ($5::uuid IS NULL OR l.statement_import_id = $5)
    AND ($6::text IS NULL OR concat_ws(' ', l.narration, l.counterparty, l.transaction_id,
        l.our_reference, l.bank_reference, l.structured_reference) ILIKE $6)
    AND ($7::date IS NULL OR (l.booking_date, l.id) < ($7, $8::uuid))
ORDER BY l.booking_date DESC, l.id DESC LIMIT $9"""
_BY_IDS = f"{_SELECT} WHERE l.id = ANY($1::uuid[])"


async def lines(
    core: Core, actor: Actor, wanted: LineFilter, first: int = 25, after: str | None = None
) -> Page[StatementLine]:
    """Lines, the newest day first. Raises Forbidden, NotFound, Invalid."""
    actor.require(Permission.READ_STATEMENTS)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    account = await accounts.by_code(core, wanted.account) if wanted.account else None
    day, line_id = _mark(after) if after else (None, None)
    rows = await fetch(
        _LIST,
        account and account.id,
        None if wanted.status is None else [str(one) for one in wanted.status],
        wanted.from_,
        wanted.to,
        wanted.import_id,
        _pattern(wanted.search),
        day,
        line_id,
        first + 1,
    )
    found = [StatementLine.of(row) for row in rows[:first]]
    marks = [make_cursor([one.booking_date.isoformat(), str(one.id)]) for one in found]
    return Page(found, marks, has_next=len(rows) > first)


async def by_ids(actor: Actor, ids: Sequence[UUID]) -> dict[UUID, StatementLine]:
    """Raises Forbidden."""
    actor.require(Permission.READ_STATEMENTS)
    return {row["id"]: StatementLine.of(row) for row in await fetch(_BY_IDS, list(ids))}


def _mark(after: str) -> tuple[date, UUID]:
    day, line_id = read_cursor(after, 2)
    try:
        return date.fromisoformat(str(day)), UUID(str(line_id))
    except ValueError as error:
        raise Invalid("This cursor is not one of ours.", field=["after"]) from error


def _pattern(search: str | None) -> str | None:
    if search is None:
        return None
    text: Any = clean(search, "search", limit=100)
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, "\\" + sign)
    return f"%{text}%"
