"""Whether the books are sound: every sum computed again, from what it is made of.

All of it is one statement, so that it sees one moment, while payments and matches go on.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson
import structlog

from dusangire.access import Actor
from dusangire.core import Core
from dusangire.database import Row, fetch, tx
from dusangire.money import Money
from dusangire.permissions import Permission
from dusangire.reconciliation import discrepancies
from dusangire.records import json_of

log = structlog.get_logger(__name__)

# Nothing is read out of order here: one statement is one moment.
_SUMS = """
WITH entry AS MATERIALIZED (
    SELECT debit, credit, currency, sum(amount) AS amount FROM ledger_entry GROUP BY 1, 2, 3
), moved AS (
    SELECT account, currency, sum(debit) AS debits, sum(credit) AS credits FROM (
        SELECT debit AS account, currency, amount AS debit, 0 AS credit FROM entry
        UNION ALL SELECT credit, currency, 0, amount FROM entry) AS side
    GROUP BY account, currency
), compared AS (
    SELECT 'BALANCE' AS rule, account, currency, coalesce(m.debits - m.credits, 0) AS expected,
        coalesce(b.debits - b.credits, 0)::numeric AS actual
    FROM moved m FULL JOIN ledger_balance b USING (account, currency)
    UNION ALL
    SELECT 'ZERO', 'all', currency, 0, sum(debits - credits) FROM ledger_balance GROUP BY currency
    UNION ALL
    SELECT 'OPEN_ITEMS', account, currency, coalesce(items.total, 0), coalesce(b.balance, 0)
    FROM (SELECT book AS account, currency,
            sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END) AS total
        FROM clearing_item WHERE status = 'OPEN' GROUP BY book, currency) AS items
    FULL JOIN (SELECT account, currency, debits - credits AS balance FROM moved
        WHERE account LIKE 'clearing:%' OR account LIKE 'in_transit:%') AS b
        USING (account, currency)
    UNION ALL
    SELECT 'SUSPENSE', account, currency, coalesce(lines.total, 0), coalesce(b.balance, 0)
    FROM (SELECT 'suspense:' || a.code AS account, l.currency,
            sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END) AS total
        FROM statement_line l JOIN statement_account a ON a.id = l.account_id
        WHERE posted AND status <> 'MATCHED' AND NOT EXISTS (
            SELECT FROM ledger_entry e WHERE e.line_id = l.id AND e.cause = 'written_off'
                AND e.reverses IS NULL
                AND NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id))
        GROUP BY 1, 2) AS lines
    FULL JOIN (SELECT account, currency, credits - debits AS balance FROM moved
        WHERE account LIKE 'suspense:%') AS b USING (account, currency)
    UNION ALL
    SELECT 'LINES', account, currency, coalesce(lines.total, 0), coalesce(b.balance, 0)
    FROM (SELECT 'bank:' || a.code AS account, l.currency,
            sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END) AS total
        FROM statement_line l JOIN statement_account a ON a.id = l.account_id
        WHERE posted AND a.kind <> 'SETTLEMENT' GROUP BY 1, 2) AS lines
    FULL JOIN (SELECT account, currency, debits - credits AS balance FROM moved
        WHERE account LIKE 'bank:%') AS b USING (account, currency)
    UNION ALL
    SELECT 'CUSTOMERS', 'receivable', currency, coalesce(items.total, 0), coalesce(b.balance, 0)
    FROM (SELECT currency, sum(CASE kind WHEN 'PAYMENT' THEN amount ELSE -amount END) AS total
        FROM clearing_item WHERE kind <> 'PAYOUT' GROUP BY currency) AS items
    FULL JOIN (SELECT currency, credits - debits AS balance FROM moved
        WHERE account = 'receivable') AS b USING (currency)
    UNION ALL
    SELECT 'MATCH', 'match:' || m.id, m.currency, coalesce(legs.total, 0), coalesce(e.moved, 0)
    FROM recon_match m
    LEFT JOIN (SELECT leg.match_id,
            sum(CASE l.direction WHEN 'CREDIT' THEN l.amount ELSE -l.amount END) AS total
        FROM match_leg leg JOIN recon_match c ON c.id = leg.match_id AND c.status = 'CONFIRMED'
        JOIN statement_line l ON l.id = leg.line_id WHERE leg.live
        GROUP BY leg.match_id) AS legs ON legs.match_id = m.id
    LEFT JOIN (SELECT match_id, sum(CASE WHEN starts_with(debit, 'suspense:') THEN amount
            ELSE -amount END) AS moved
        FROM ledger_entry WHERE match_id IS NOT NULL GROUP BY match_id) AS e ON e.match_id = m.id
    UNION ALL
    SELECT 'MATCHED', 'match:' || leg.match_id, coalesce(l.currency, i.currency), 0, count(*)
    FROM match_leg leg JOIN recon_match m ON m.id = leg.match_id AND m.status = 'CONFIRMED'
    LEFT JOIN statement_line l ON l.id = leg.line_id LEFT JOIN clearing_item i ON i.id = leg.item_id
    WHERE leg.live AND coalesce(l.status, i.status) <> 'MATCHED' GROUP BY 1, 2, 3
)
SELECT rule, account, currency, expected::text AS expected, actual::text AS actual,
    (SELECT count(*) FROM ledger_entry) AS entries
FROM compared WHERE expected <> actual ORDER BY rule, account, currency LIMIT 1000"""

_MEANING = {
    "BALANCE": "The balance that is kept is not the sum of the entries.",
    "ZERO": "Debits and credits of all accounts together do not come to zero.",
    "OPEN_ITEMS": "The balance is not the sum of what is open.",
    "SUSPENSE": "What waits to be explained is not the sum of the lines that nobody explained.",
    "LINES": "The balance is not the sum of the booked lines.",
    "CUSTOMERS": "What customers paid less what they got back is not in the books.",
    "MATCH": "What a match took out of suspense is not what its lines brought.",
    "MATCHED": "A confirmed match holds a line or a payment that does not count as matched.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One sum that does not agree. Amounts are minor units; of MATCHED, a count.

    rule: such as OPEN_ITEMS; account: of the books, or `match:…`.
    """

    rule: str
    account: str
    currency: str
    expected: int
    actual: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a self-check found. entries: how many there were."""

    checked_at: datetime
    entries: int
    breaks: list[Break]

    @property
    def sound(self) -> bool:
        return not self.breaks

    @classmethod
    def of(cls, row: Row) -> "Checked":
        return cls(
            checked_at=row["checked_at"],
            entries=row["entries"],
            breaks=[Break(**found) for found in json_of(row["breaks"])],
        )


_COUNT = "SELECT count(*) AS entries FROM ledger_entry"
_KEEP = """INSERT INTO books_check (id, entries, breaks) VALUES ($1, $2, $3::jsonb)
RETURNING entries, breaks, checked_at"""
_LAST = "SELECT entries, breaks, checked_at FROM books_check ORDER BY checked_at DESC LIMIT 1"
_FRESH = """SELECT entries, breaks, checked_at FROM books_check
WHERE checked_at > now() - interval '1 minute' ORDER BY checked_at DESC LIMIT 1"""
_TONIGHT = """SELECT pg_try_advisory_xact_lock(1685418081) AND NOT EXISTS (
    SELECT FROM books_check WHERE (checked_at AT TIME ZONE 'Africa/Kigali')::date
        = (now() AT TIME ZONE 'Africa/Kigali')::date) AS due"""
_FORGET = "DELETE FROM books_check WHERE checked_at < now() - interval '400 days'"


async def last(actor: Actor) -> Checked | None:
    """What the newest self-check found. Raises Forbidden."""
    actor.require(Permission.READ_BOOKS)
    rows = await fetch(_LAST)
    return Checked.of(rows[0]) if rows else None


async def check(actor: Actor) -> Checked:
    """Checks now, or gives what was found within the last minute. Raises Forbidden."""
    actor.require(Permission.READ_BOOKS)
    if rows := await fetch(_FRESH):
        return Checked.of(rows[0])
    return await _checked()


async def check_nightly(core: Core) -> int:
    """Checks once a day of Kigali's, whichever process comes first; tells whether it did."""
    async with tx(patience=600):
        if not (await fetch(_TONIGHT))[0]["due"]:
            return 0
        await fetch(_FORGET)
        found = await _look()
    _alarm(found)
    return 1


async def _checked() -> Checked:
    async with tx(patience=60):
        found = await _look()
    _alarm(found)
    return found


async def _look() -> Checked:
    rows = await fetch(_SUMS)
    breaks = [asdict(_break(row)) for row in rows]
    await _report(breaks)
    entries = rows[0]["entries"] if rows else (await fetch(_COUNT))[0]["entries"]
    [kept] = await fetch(_KEEP, uuid4(), entries, orjson.dumps(breaks).decode())
    return Checked.of(kept)


# A break of the gateway's own book, or of all, is shown with whichever account is nearest to it.
_NEAREST = "SELECT id FROM statement_account ORDER BY code = $1 DESC, created_at, id LIMIT 1"


async def _report(breaks: list[dict[str, Any]]) -> None:
    """A discrepancy for each account of the books; those that agree again are closed."""
    said = {(one["account"], one["currency"]): one for one in reversed(breaks)}
    reported = []
    for (account, currency), one in said.items():
        if nearest := await fetch(_NEAREST, account.rpartition(":")[2]):
            expected = Money(one["expected"], currency)
            await discrepancies.report_break(nearest[0]["id"], account, expected, one["actual"])
            reported.append((account, currency))
    await discrepancies.breaks_are(reported)


def _break(row: dict[str, Any]) -> Break:
    return Break(
        rule=row["rule"],
        account=row["account"],
        currency=row["currency"],
        expected=int(row["expected"]),
        actual=int(row["actual"]),
        message=_MEANING[row["rule"]],
    )


def _alarm(found: Checked) -> None:
    for one in found.breaks:
        log.error("the books do not agree", **asdict(one))
