"""The report of a run: what was there, what was matched, what is on its way, what is not explained.

For an accountant: the sums of an account over a period, then every line, everything still on its
way, and every open discrepancy. As values, and as CSV; cells never become formulas.
"""

import csv
import io
import unicodedata
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

from dusangire.access import Actor
from dusangire.core import Core
from dusangire.customers import sees_in_full
from dusangire.database import Row, fetch, tx
from dusangire.errors import NotFound
from dusangire.masking import mask_text
from dusangire.money import Money, exponent
from dusangire.reconciliation.runs import OWN_ITEM, reconciliation
from dusangire.records import Reconciliation
from dusangire.text import printable

Cell: TypeAlias = str | int | Decimal | date | None

_PAGE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Lines or items that are in the same state: how many, what came in, and what went out."""

    name: str
    count: int
    came_in: Money
    went_out: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An account over a period, as it is now.

    breaks: open discrepancies by kind.
    opening, closing: by the statements themselves; None where they tell no balance. What lies
    between is what the lines moved: `unexplained` is what is left when they do not agree.
    straight_through: of the matched lines, which part no person had to look at, in per cent.
    """

    run: Reconciliation
    currency: str
    opening: Money | None
    closing: Money | None
    unexplained: Money | None
    lines: tuple[Sums, ...]
    in_transit: Sums
    breaks: tuple[tuple[str, int], ...]
    straight_through: Decimal | None

    @property
    def facts(self) -> list[tuple[str, Cell]]:
        """The summary, line by line."""
        run = self.run
        decided = run.decided_by
        return [
            ("account", run.account),
            ("from", run.from_),
            ("to", run.to),
            ("currency", self.currency),
            ("run", str(run.id)),
            ("status", str(run.status)),
            ("opening balance", _amount(self.opening)),
            *(fact for sums in self.lines for fact in _facts(sums)),
            ("closing balance", _amount(self.closing)),
            ("balance not explained by the lines", _amount(self.unexplained)),
            *_facts(self.in_transit),
            *((f"break: {kind}", count) for kind, count in self.breaks),
            ("straight through, %", self.straight_through),
            ("asked for by", run.requested_by.name),
            (f"{run.status.lower()} by" if decided else "", decided.name if decided else None),
            (
                "decided at",
                run.decided_at.isoformat(timespec="seconds") if run.decided_at else None,
            ),
            ("note", run.note),
            ("digest", run.digest),
        ]


def _amount(money: Money | None) -> Decimal | None:
    return money.amount if money is not None else None


def _facts(sums: Sums) -> list[tuple[str, Cell]]:
    return [
        (sums.name, sums.count),
        (f"{sums.name}, in", sums.came_in.amount),
        (f"{sums.name}, out", sums.went_out.amount),
    ]


# ── what it is made of ───────────────────────────────────────────────────────────────────────────

_BALANCES = """SELECT
    (SELECT s.opening + coalesce((
            SELECT sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END)
            FROM statement_line l WHERE l.statement_id = s.id AND l.entry_status = 'BOOKED'
                AND l.booking_date < $2), 0)
        FROM statement s WHERE s.account_id = $1 AND s.opening IS NOT NULL
            AND s.period_to >= $2 AND s.period_from <= $3
        ORDER BY s.period_from, s.created_at, s.id LIMIT 1)::bigint AS opening,
    (SELECT s.closing - coalesce((
            SELECT sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END)
            FROM statement_line l WHERE l.statement_id = s.id AND l.entry_status = 'BOOKED'
                AND l.booking_date > $3), 0)
        FROM statement s WHERE s.account_id = $1 AND s.closing IS NOT NULL
            AND s.period_to >= $2 AND s.period_from <= $3
        ORDER BY s.period_to DESC, s.created_at DESC, s.id DESC LIMIT 1)::bigint AS closing"""
_LINE_SUMS = """SELECT status, count(*) AS n,
    coalesce(sum(amount) FILTER (WHERE direction = 'CREDIT'), 0)::bigint AS came_in,
    coalesce(sum(amount) FILTER (WHERE direction = 'DEBIT'), 0)::bigint AS went_out
FROM statement_line WHERE account_id = $1 AND entry_status = 'BOOKED'
    AND booking_date BETWEEN $2 AND $3 GROUP BY status"""
_ITEM_SUMS = f"""SELECT count(*) AS n,
    coalesce(sum(i.amount) FILTER (WHERE i.direction = 'CREDIT'), 0)::bigint AS came_in,
    coalesce(sum(i.amount) FILTER (WHERE i.direction = 'DEBIT'), 0)::bigint AS went_out
FROM clearing_item i JOIN statement_account a ON a.id = $1
WHERE {OWN_ITEM} AND i.status = 'OPEN' AND i.currency = a.currency
    AND (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date <= $2"""
_BREAKS = """SELECT kind, count(*) AS n FROM discrepancy
WHERE account_id = $1 AND status = 'OPEN' AND since <= $2 GROUP BY kind ORDER BY kind"""
# Matched without a person: the machine confirmed it.
_STRAIGHT = """SELECT count(*) AS n, count(*) FILTER (WHERE m.decided_by_kind = 'system') AS machine
FROM statement_line l JOIN match_leg g ON g.line_id = l.id AND g.live
JOIN recon_match m ON m.id = g.match_id AND m.status = 'CONFIRMED'
WHERE l.account_id = $1 AND l.booking_date BETWEEN $2 AND $3"""

_NAMES = {
    "MATCHED": "lines matched",
    "SUGGESTED": "lines with a suggestion",
    "OPEN": "lines not matched",
    "IGNORED": "lines set aside",
}


async def report(core: Core, actor: Actor, run_id: UUID) -> Report:
    """The report of a run, as things are now. Raises Forbidden, NotFound."""
    run = await reconciliation(core, actor, run_id)
    if run is None:
        raise NotFound("There is no such run.", field=["id"])
    window = run.account_id, run.from_, run.to
    async with tx(patience=60):
        [balances] = await fetch(_BALANCES, *window)
        line_sums = {row["status"]: row for row in await fetch(_LINE_SUMS, *window)}
        [item_sums] = await fetch(_ITEM_SUMS, run.account_id, run.to)
        breaks = await fetch(_BREAKS, run.account_id, run.to)
        [straight] = await fetch(_STRAIGHT, *window)
    currency = run.matched_total.currency
    lines = tuple(_sums(name, line_sums.get(status), currency) for status, name in _NAMES.items())
    opening, closing = (
        Money(balances[name], currency) if balances[name] is not None else None
        for name in ("opening", "closing")
    )
    return Report(
        run=run,
        currency=currency,
        opening=opening,
        closing=closing,
        unexplained=_rest(opening, closing, lines),
        lines=lines,
        in_transit=_sums("in transit", item_sums, currency),
        breaks=tuple((row["kind"], row["n"]) for row in breaks),
        straight_through=(
            round(Decimal(100) * straight["machine"] / straight["n"], 1) if straight["n"] else None
        ),
    )


def _sums(name: str, row: Row | None, currency: str) -> Sums:
    return Sums(
        name=name,
        count=row["n"] if row else 0,
        came_in=Money(row["came_in"] if row else 0, currency),
        went_out=Money(row["went_out"] if row else 0, currency),
    )


def _rest(opening: Money | None, closing: Money | None, lines: Sequence[Sums]) -> Money | None:
    if opening is None or closing is None:
        return None
    moved = sum(sums.came_in.minor - sums.went_out.minor for sums in lines)
    return Money(closing.minor - opening.minor - moved, opening.currency)


# ── every row of it ──────────────────────────────────────────────────────────────────────────────

COLUMNS = (
    "section",
    "date",
    "in",
    "out",
    "currency",
    "status",
    "payments",
    "party",
    "text",
    "rule",
    "confidence",
    "difference",
    "expected",
    "actual",
    "age_days",
    "id",
)

_LINES = """SELECT l.id, l.booking_date AS day, l.direction, l.amount, l.currency, l.status,
    l.counterparty AS party, l.narration AS text, m.rule, m.confidence, m.difference, p.payments
FROM statement_line l
LEFT JOIN match_leg g ON g.line_id = l.id AND g.live
LEFT JOIN recon_match m ON m.id = g.match_id
LEFT JOIN LATERAL (
    SELECT string_agg(DISTINCT payment.reference, ' ') AS payments FROM match_leg other
    JOIN clearing_item i ON i.id = other.item_id JOIN payment ON payment.id = i.payment_id
    WHERE other.match_id = m.id
) p ON m.id IS NOT NULL
WHERE l.account_id = $1 AND l.entry_status = 'BOOKED' AND l.booking_date BETWEEN $2 AND $3
    AND ($4::date IS NULL OR (l.booking_date, l.id) > ($4, $5))
ORDER BY l.booking_date, l.id LIMIT $6"""
_ITEMS = f"""SELECT i.id, (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date AS day, i.occurred_at,
    i.direction, i.amount, i.currency, i.kind AS status, i.payer_name AS party,
    coalesce(i.settlement, '') AS text, payment.reference AS payments,
    (now() AT TIME ZONE 'Africa/Kigali')::date
        - (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date AS age
FROM clearing_item i JOIN statement_account a ON a.id = $1
LEFT JOIN payment ON payment.id = i.payment_id
WHERE {OWN_ITEM} AND i.status = 'OPEN' AND i.currency = a.currency
    AND (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date <= $2
    AND ($3::timestamptz IS NULL OR (i.occurred_at, i.id) > ($3, $4))
ORDER BY i.occurred_at, i.id LIMIT $5"""
_DISCREPANCIES = """SELECT d.id, d.since AS day, d.created_at, d.currency, d.kind AS status,
    d.expected, d.actual, d.message AS text, payment.reference AS payments,
    (now() AT TIME ZONE 'Africa/Kigali')::date - d.since AS age
FROM discrepancy d LEFT JOIN payment ON payment.id = d.payment_id
WHERE d.account_id = $1 AND d.status = 'OPEN' AND d.since <= $2
    AND ($3::timestamptz IS NULL OR (d.created_at, d.id) > ($3, $4))
ORDER BY d.created_at, d.id LIMIT $5"""


async def rows(actor: Actor, found: Report) -> AsyncIterator[tuple[Cell, ...]]:
    """Every line, then what is in transit, then every open discrepancy, a page at a time."""
    in_full, run = sees_in_full(actor), found.run
    day: date | None = None
    last: UUID | None = None
    while page := await fetch(_LINES, run.account_id, run.from_, run.to, day, last, _PAGE):
        for row in page:
            yield _row("line", row, in_full=in_full)
        day, last = page[-1]["day"], page[-1]["id"]
    at: datetime | None = None
    last = None
    while page := await fetch(_ITEMS, run.account_id, run.to, at, last, _PAGE):
        for row in page:
            yield _row("in transit", row, in_full=in_full)
        at, last = page[-1]["occurred_at"], page[-1]["id"]
    at = last = None
    while page := await fetch(_DISCREPANCIES, run.account_id, run.to, at, last, _PAGE):
        for row in page:
            yield _row("discrepancy", row, in_full=in_full)
        at, last = page[-1]["created_at"], page[-1]["id"]


def _row(section: str, row: Row, *, in_full: bool) -> tuple[Cell, ...]:
    digits = exponent(row["currency"])

    def major(minor: int | None) -> Decimal | None:
        return Decimal(minor).scaleb(-digits) if minor is not None else None

    def text(words: str | None) -> str | None:
        return words if words is None or in_full else mask_text(words)

    # A discrepancy moved nothing: what was expected and what is there stand side by side.
    credit = row.get("direction") == "CREDIT"
    amount = major(row.get("amount"))
    return (
        section,
        row["day"],
        amount if credit else None,
        None if credit else amount,
        row["currency"],
        row["status"],
        row["payments"],
        text(row.get("party")),
        text(row["text"]),
        row.get("rule"),
        row.get("confidence"),
        major(row.get("difference")),
        major(row.get("expected")),
        major(row.get("actual")),
        row.get("age"),
        str(row["id"]),
    )


# ── cells ────────────────────────────────────────────────────────────────────────────────────────

_FORMULA = frozenset("=+-@")
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def cell(value: Cell) -> Cell:
    """A cell that no spreadsheet takes for a formula; numbers and days stay what they are.

    Whatever a payer or a bank wrote may begin like one, behind blanks, in full width, or in signs
    that are not seen.
    """
    if not isinstance(value, str):
        return value
    seen = unicodedata.normalize("NFKC", value)
    bare = seen.lstrip("".join({c for c in seen[:1000] if unicodedata.category(c) in _INVISIBLE}))
    risky = value[:1] in {"\t", "\r", "\n"} or bare[:1] in _FORMULA
    text = printable(value).replace("\n", " ")
    return f"'{text}" if risky and bare else text


async def csv_of(actor: Actor, found: Report) -> AsyncIterator[str]:
    """The report as CSV, a piece at a time: the summary, a blank line, then every row."""
    buffer = io.StringIO()
    # What is a text is quoted, so that no separator in it begins another cell.
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")

    def taken() -> str:
        piece = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return piece

    yield "\ufeff"  # without it spreadsheets take UTF-8 for something else
    for name, value in found.facts:
        if name and value is not None:
            writer.writerow((name, _plain(cell(value))))
    writer.writerow(())
    writer.writerow(COLUMNS)
    async for values in rows(actor, found):
        writer.writerow([_plain(cell(value)) for value in values])
        if buffer.tell() > 64 * 1024:
            yield taken()
    yield taken()


def _plain(value: Cell) -> str | int | Decimal | None:
    return value.isoformat() if isinstance(value, date) else value
