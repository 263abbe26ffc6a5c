"""How well reconciling goes: what needs no person, what waits, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from dusangire.access import Actor
from dusangire.core import Core
from dusangire.database import Row, fetch, tx
from dusangire.errors import Invalid
from dusangire.importing import accounts
from dusangire.money import Money
from dusangire.permissions import Permission
from dusangire.reconciliation.suspense import NAMES

MAX_DAYS = 1_100


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMeasure:
    """How one rule did. automatic: matched without a person. undone: of these, taken apart by a
    person. offered, accepted: suggestions that a person decided on, and said yes to."""

    rule: str
    automatic: int
    undone: int
    offered: int
    accepted: int

    @property
    def false_match_rate(self) -> float | None:
        return self.undone / self.automatic if self.automatic else None

    @property
    def acceptance_rate(self) -> float | None:
        return self.accepted / self.offered if self.offered else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMeasure:
    """Open discrepancies of one kind and age (`0-1` days and so on)."""

    kind: str
    days: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """An account over a period, and how it stands now.

    lines, total: booked in the period; automatic, automatic_total: of these, those that were
    matched without a person. days_to_bank: on average, from the payment to its line.
    fee, gross: of lines that say both; agreed_percent: what the contract says, without the fixed
    part.
    """

    account: str
    lines: int
    automatic: int
    total: Money
    automatic_total: Money
    rules: Sequence[RuleMeasure]
    open: Sequence[OpenMeasure]
    oldest_open_days: int | None
    suspense: Money
    clearing: Money
    days_to_bank: float | None
    fee: Money
    gross: Money
    agreed_percent: float | None

    @property
    def straight_through_rate(self) -> float | None:
        return self.automatic / self.lines if self.lines else None

    @property
    def straight_through_value_rate(self) -> float | None:
        return self.automatic_total.minor / self.total.minor if self.total.minor else None

    @property
    def fee_percent(self) -> float | None:
        return 100 * self.fee.minor / self.gross.minor if self.gross.minor else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits for a person, of all accounts.

    discrepancies: how many are open, by kind and severity; oldest_seconds: since the day of the
    money of the oldest. suspense: by account, how many lines nobody has explained, and since the
    day of the oldest, in seconds.
    """

    discrepancies: Mapping[tuple[str, str], int]
    oldest_seconds: float
    suspense: Mapping[str, tuple[int, float]]


# The days of money are Kigali's.
_WAITING = """
SELECT kind, severity, count(*) AS count,
    extract(epoch FROM now() - min(since)::timestamp AT TIME ZONE 'Africa/Kigali')::float8 AS oldest
FROM discrepancy WHERE status = 'OPEN' GROUP BY kind, severity"""
_IN_SUSPENSE = """
SELECT a.code, count(l.id) AS count, coalesce(extract(epoch FROM now()
    - min(l.booking_date)::timestamp AT TIME ZONE 'Africa/Kigali'), 0)::float8 AS oldest
FROM statement_account a LEFT JOIN statement_line l ON l.account_id = a.id
    AND l.status IN ('OPEN', 'SUGGESTED') AND l.direction = 'CREDIT' AND l.entry_status = 'BOOKED'
    AND l.currency = a.currency
GROUP BY a.code"""


async def waiting() -> Waiting:
    """For whoever watches the server. Raises Retryable."""
    found, lines = await fetch(_WAITING), await fetch(_IN_SUSPENSE)
    return Waiting(
        discrepancies={(row["kind"], row["severity"]): row["count"] for row in found},
        oldest_seconds=max((max(0.0, row["oldest"]) for row in found), default=0.0),
        suspense={row["code"]: (row["count"], max(0.0, row["oldest"])) for row in lines},
    )


_LINES = """
SELECT count(*) AS lines, coalesce(sum(l.amount), 0)::bigint AS total,
    count(*) FILTER (WHERE m.by_itself) AS automatic,
    coalesce(sum(l.amount) FILTER (WHERE m.by_itself), 0)::bigint AS automatic_total,
    coalesce(sum(l.fee) FILTER (WHERE l.gross IS NOT NULL), 0)::bigint AS fee,
    coalesce(sum(l.gross) FILTER (WHERE l.fee IS NOT NULL), 0)::bigint AS gross,
    avg(l.booking_date - m.paid_on)::float AS days_to_bank
FROM statement_line l LEFT JOIN LATERAL (
    SELECT m.decided_by_kind = 'system' AS by_itself, (
        SELECT min((i.occurred_at AT TIME ZONE 'Africa/Kigali')::date)
        FROM match_leg h JOIN clearing_item i ON i.id = h.item_id AND i.kind = 'PAYMENT'
        WHERE h.match_id = m.id AND h.live) AS paid_on
    FROM match_leg g JOIN recon_match m ON m.id = g.match_id AND m.status = 'CONFIRMED'
    WHERE g.line_id = l.id AND g.live
) AS m ON true
WHERE l.account_id = $1 AND l.booking_date BETWEEN $2 AND $3 AND l.entry_status = 'BOOKED'
    AND l.currency = $4"""
# A match that a person took apart says who did; that a machine had made it, its rule and that no
# entry of a person's says that it was confirmed.
_RULES = """
SELECT rule,
    count(*) FILTER (WHERE by_itself) AS automatic,
    count(*) FILTER (WHERE by_itself AND status = 'UNMATCHED') AS undone,
    count(*) FILTER (WHERE NOT by_itself) AS offered,
    count(*) FILTER (WHERE NOT by_itself AND status = 'CONFIRMED') AS accepted
FROM (
    SELECT m.rule, m.status, CASE m.status WHEN 'CONFIRMED' THEN m.decided_by_kind = 'system'
        WHEN 'UNMATCHED' THEN NOT EXISTS (SELECT FROM audit_entry e
            WHERE e.object = 'match:' || m.id AND e.action = 'match.confirmed')
        ELSE false END AS by_itself
    FROM recon_match m
    WHERE m.account_id = $1 AND m.rule NOT IN ('by-hand', 'write-off')
        AND (m.created_at AT TIME ZONE 'Africa/Kigali')::date BETWEEN $2 AND $3
        AND (m.status IN ('CONFIRMED', 'REJECTED', 'UNMATCHED'))
        AND (m.status = 'CONFIRMED' OR m.decided_by_kind IS DISTINCT FROM 'system')
) AS m GROUP BY rule ORDER BY rule"""
_OPEN = """
SELECT kind, width_bucket($2::date - since, ARRAY[2, 4, 8, 31]) AS age, count(*) AS count,
    max($2::date - since) AS oldest
FROM discrepancy WHERE account_id = $1 AND status = 'OPEN' GROUP BY 1, 2 ORDER BY 1, 2"""
_BALANCES = """
SELECT coalesce(sum(credits - debits) FILTER (WHERE account = 'suspense:' || $1), 0)::bigint
        AS suspense,
    coalesce(sum(debits - credits) FILTER (WHERE account IN ('in_transit:' || $1, 'clearing:' || (
        SELECT code FROM gateway_account WHERE id = $2))), 0)::bigint AS clearing
FROM ledger_balance WHERE currency = $3"""


async def measures(core: Core, actor: Actor, account: str, from_: date, to: date) -> Measures:
    """Raises Forbidden, NotFound, Invalid."""
    actor.require(Permission.READ_STATEMENTS)
    if not 0 <= (to - from_).days <= MAX_DAYS:
        raise Invalid(f"A period has 1 to {MAX_DAYS} days.", field=["to"])
    found = await accounts.by_code(core, account)
    today = core.today()
    async with tx(patience=30):
        [lines] = await fetch(_LINES, found.id, from_, to, found.currency)
        rules = await fetch(_RULES, found.id, from_, to)
        open_ = await fetch(_OPEN, found.id, today)
        [balances] = await fetch(_BALANCES, found.code, found.gateway_id, found.currency)
    agreed = found.settings.fee_percent

    def money(row: Row, name: str) -> Money:
        return Money(row[name], found.currency)

    return Measures(
        account=found.code,
        lines=lines["lines"],
        automatic=lines["automatic"],
        total=money(lines, "total"),
        automatic_total=money(lines, "automatic_total"),
        rules=[RuleMeasure(**row) for row in rules],
        open=[
            OpenMeasure(kind=row["kind"], days=NAMES[row["age"]], count=row["count"])
            for row in open_
        ],
        oldest_open_days=max((max(0, row["oldest"]) for row in open_), default=None),
        suspense=money(balances, "suspense"),
        clearing=money(balances, "clearing"),
        days_to_bank=lines["days_to_bank"],
        fee=money(lines, "fee"),
        gross=money(lines, "gross"),
        agreed_percent=float(agreed) if agreed is not None else None,
    )
