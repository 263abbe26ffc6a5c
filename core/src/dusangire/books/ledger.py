"""Reading the books: balances with what they are made of, and entries."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from dusangire.access import Actor
from dusangire.cursors import make_cursor, read_cursor
from dusangire.database import Row, fetch
from dusangire.errors import Invalid
from dusangire.money import Money
from dusangire.permissions import Permission
from dusangire.queries import MAX_PAGE, Page


@dataclass(frozen=True, slots=True, kw_only=True)
class BookBalance:
    """One account of the books. balance: debits less credits, may be less than zero.

    open_items, open_total: of a `clearing:` or `in_transit:` account, what no statement has
    confirmed yet; of a `suspense:` account, the lines that nobody has explained. difference: what
    of the balance these do not account for; anything but zero is a fault.
    """

    account: str
    currency: str
    debits: Money
    credits: Money
    balance: Money
    open_items: int | None
    open_total: Money | None
    oldest_open: datetime | None
    difference: Money | None

    @classmethod
    def of(cls, row: Row) -> "BookBalance":
        def money(minor: int | None) -> Money | None:
            return Money(int(minor), row["currency"]) if minor is not None else None

        waits = row["account"].partition(":")[0] in {"clearing", "in_transit", "suspense"}
        open_total = int(row["open_total"] or 0) if waits else None
        balance = row["debits"] - row["credits"]
        return cls(
            account=row["account"],
            currency=row["currency"],
            debits=Money(row["debits"], row["currency"]),
            credits=Money(row["credits"], row["currency"]),
            balance=Money(balance, row["currency"]),
            open_items=(row["open_items"] or 0) if waits else None,
            open_total=money(open_total),
            oldest_open=row["oldest_open"],
            difference=money(balance - open_total) if open_total is not None else None,
        )


# Money in suspense is owed to whoever it belongs to: a credit, so less than zero here.
_BALANCES = """
WITH items AS (
    SELECT book AS account, currency, count(*) AS open_items, min(occurred_at) AS oldest_open,
        sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END) AS open_total
    FROM clearing_item WHERE status = 'OPEN' GROUP BY book, currency
), lines AS (
    SELECT 'suspense:' || a.code AS account, l.currency, count(*) AS open_items,
        min(booking_date)::timestamp AT TIME ZONE 'Africa/Kigali' AS oldest_open,
        -sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END) AS open_total
    FROM statement_line l JOIN statement_account a ON a.id = l.account_id
    WHERE l.status IN ('OPEN', 'SUGGESTED', 'IGNORED') AND l.posted AND (l.status <> 'IGNORED'
        OR NOT EXISTS (SELECT FROM ledger_entry e WHERE e.line_id = l.id
            AND e.cause = 'written_off' AND e.reverses IS NULL
            AND NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id)))
    GROUP BY 1, 2
), waits AS (SELECT * FROM items UNION ALL SELECT * FROM lines)
SELECT account, currency, coalesce(debits, 0) AS debits, coalesce(credits, 0) AS credits,
    open_items, oldest_open, open_total
FROM ledger_balance FULL JOIN waits USING (account, currency) ORDER BY account, currency"""


async def balances(actor: Actor) -> list[BookBalance]:
    """Every account of the books, by name. Raises Forbidden."""
    actor.require(Permission.READ_BOOKS)
    return [BookBalance.of(row) for row in await fetch(_BALANCES)]


async def clearing(actor: Actor) -> list[BookBalance]:
    """The accounts whose money is on its way, or waits to be explained. Raises Forbidden."""
    return [one for one in await balances(actor) if one.difference is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """An amount that went to `debit` from `credit`. reverses: the entry that it takes back.

    cause: captured, refunded, reversed, line, match, fee, difference, payout, written_off.
    """

    id: str
    date: date
    cause: str
    debit: str
    credit: str
    amount: Money
    payment_id: UUID | None
    line_id: UUID | None
    match_id: UUID | None
    reverses: str | None
    actor: str
    note: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: Row) -> "LedgerEntry":
        return cls(
            id=str(row["id"]),
            date=row["date"],
            cause=row["cause"],
            debit=row["debit"],
            credit=row["credit"],
            amount=Money(row["amount"], row["currency"]),
            payment_id=row["payment_id"],
            line_id=row["line_id"],
            match_id=row["match_id"],
            reverses=str(row["reverses"]) if row["reverses"] is not None else None,
            actor=row["actor"],
            note=row["note"],
            created_at=row["created_at"],
        )


_SHOWN = """SELECT e.id, e.date, e.cause, e.debit, e.credit, e.amount, e.currency, i.payment_id,
    e.line_id, e.match_id, e.reverses, e.actor, e.note, e.created_at
FROM e LEFT JOIN clearing_item i ON i.id = e.item_id ORDER BY e.date DESC, e.id DESC LIMIT $1"""
# Each side of an account has an index: a page is read from both, and the newest of them are kept.
_OF_ACCOUNT = f"""WITH e AS (
    (SELECT * FROM ledger_entry WHERE debit = $6 AND (date, id) < ($2, $3)
        AND date >= $4 AND date <= $5 ORDER BY date DESC, id DESC LIMIT $1)
    UNION ALL
    (SELECT * FROM ledger_entry WHERE credit = $6 AND (date, id) < ($2, $3)
        AND date >= $4 AND date <= $5 ORDER BY date DESC, id DESC LIMIT $1)
) {_SHOWN}"""
_ALL = f"""WITH e AS (
    SELECT * FROM ledger_entry WHERE (date, id) < ($2, $3) AND date >= $4 AND date <= $5
    ORDER BY date DESC, id DESC LIMIT $1
) {_SHOWN}"""


async def entries(
    actor: Actor,
    account: str | None = None,
    from_date: date | None = None,
    to_date: date | None = None,
    first: int = 50,
    after: str | None = None,
) -> Page[LedgerEntry]:
    """Entries of one account of the books, or of all, the newest first.

    Raises Forbidden, Invalid.
    """
    actor.require(Permission.READ_BOOKS)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    day, entry_id = _place(after)
    bounds = (first + 1, day, entry_id, from_date or date.min, to_date or date.max)
    if account is not None:
        rows = await fetch(_OF_ACCOUNT, *bounds, account.replace("\0", "")[:200])
    else:
        rows = await fetch(_ALL, *bounds)
    shown = rows[:first]
    return Page(
        items=[LedgerEntry.of(row) for row in shown],
        cursors=[make_cursor([row["date"].isoformat(), row["id"]]) for row in shown],
        has_next=len(rows) > first,
    )


def _place(after: str | None) -> tuple[date, int]:
    if after is None:
        return date.max, 2**63 - 1
    match read_cursor(after, 2):
        case [str(text), int(entry_id)] if 0 <= entry_id < 2**63:
            with suppress(ValueError):
                return date.fromisoformat(text), entry_id
    raise Invalid("This cursor is not one of ours.", field=["after"])
