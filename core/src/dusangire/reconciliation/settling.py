"""A statement settles a payment: a transfer arrived that quotes its reference, to the franc.

Only a sure reference counts, only the whole amount, and only where nobody else can tell: a gateway
that can be asked is asked instead. What follows is what follows from a person's confirmation.
"""

import asyncio
from collections.abc import Sequence
from datetime import date
from uuid import UUID, uuid4

import structlog

from dusangire import attempts
from dusangire.access import SYSTEM
from dusangire.books import items
from dusangire.core import Core
from dusangire.database import Row, fetch, tx
from dusangire.gateway import Succeeded
from dusangire.gateways import Account
from dusangire.importing.accounts import StatementAccount
from dusangire.lifecycle import AttemptStatus, TransactionKind
from dusangire.money import Money
from dusangire.plugins import Capability
from dusangire.statements import AccountKind

log = structlog.get_logger(__name__)

_MOST = 5_000
_LOOKS = 100
_PATIENCE = 60
# A line that confirms a payment is claimed for it, by whoever comes first.
CLAIM = """
INSERT INTO idempotency_key (id, scope, operation, key, fingerprint, payment_id)
VALUES ($1, 'merchant', 'attachLine', $2, '', $3)
ON CONFLICT DO NOTHING"""
_OTHERS = """
SELECT FROM idempotency_key WHERE scope = 'merchant' AND operation = 'attachLine'
    AND key = ANY($1) AND payment_id <> $2 LIMIT 1"""
_NO_PLACE = "SELECT FROM event WHERE position IS NULL AND payment_id = ANY($1) LIMIT 1"
# Lines that quote one unpaid payment's reference, and no other's; together they are its amount.
# The payment's latest attempt is at a gateway of this account. PAY7K3M9Q2X is PAY-7K3M9Q2X.
_PAID = """
WITH line AS (
    SELECT l.id, l.amount, l.currency, l.booking_date, l.fingerprint, r.value
    FROM statement_line l
    JOIN statement_import i ON i.id = l.statement_import_id AND NOT i.blocks_posting
    JOIN statement_account a ON a.id = l.account_id
    JOIN line_ref r ON r.line_id = l.id AND r.kind IN ('RF', 'ID')
    WHERE l.account_id = $1 AND l.status IN ('OPEN', 'SUGGESTED') AND l.entry_status = 'BOOKED'
        AND l.direction = 'CREDIT' AND l.kind NOT IN ('FAILED', 'FEE', 'PAYOUT')
        AND NOT l.is_reversal AND l.posted
        AND l.booking_date BETWEEN $2 AND $3
        AND l.booking_date > coalesce(a.closed_until, '-infinity')
        -- Money that went back again, perhaps, pays for nothing before a person has looked.
        AND NOT EXISTS (SELECT FROM statement_line back
            WHERE back.account_id = l.account_id AND back.direction = 'DEBIT'
                AND back.entry_status = 'BOOKED' AND back.amount = l.amount
                AND back.currency = l.currency
                AND back.booking_date BETWEEN l.booking_date - 1 AND l.booking_date + 5
                AND (back.bank_reference = l.bank_reference OR EXISTS (SELECT FROM line_ref named
                    WHERE named.line_id = back.id AND named.value = r.value)))
        -- Nor does what was paired otherwise, or what a person gave to a payment already.
        AND NOT EXISTS (SELECT FROM match_found f
            WHERE f.account_id = $1 AND l.id = ANY(f.line_ids))
        AND NOT EXISTS (SELECT FROM match_leg g JOIN recon_match m ON m.id = g.match_id
            WHERE g.live AND g.line_id = l.id AND m.decided_by_name IS NOT NULL)
), pair AS (
    SELECT DISTINCT line.id AS line_id, line.amount AS paid, line.booking_date, p.id AS payment_id,
        p.amount, p.currency, p.status
    FROM line
    JOIN payment p ON p.reference = left(line.value, -8) || '-' || right(line.value, 8)
    WHERE p.currency = line.currency
        AND line.booking_date >= (p.created_at AT TIME ZONE 'Africa/Kigali')::date - 1
        AND NOT EXISTS (SELECT FROM idempotency_key k WHERE k.scope = 'merchant'
            AND k.operation = 'attachLine' AND k.key = line.id::text AND k.payment_id <> p.id)
), counted AS (
    SELECT pair.*, count(*) OVER (PARTITION BY line_id) AS payments FROM pair
)
SELECT c.payment_id, c.amount, c.currency, array_agg(c.line_id ORDER BY booking_date, line_id)
    AS line_ids, max(c.booking_date) AS day, latest.id AS attempt_id
FROM counted c
JOIN LATERAL (
    SELECT id, gateway_id, status FROM payment_attempt a WHERE a.payment_id = c.payment_id
    ORDER BY number DESC LIMIT 1
) AS latest ON latest.gateway_id = ANY($4)
    AND latest.status NOT IN ('SUCCEEDED', 'REVERSED', 'SUBMITTING')
WHERE c.status IN ('CREATED', 'PENDING', 'FAILED', 'EXPIRED', 'CANCELLED')
    AND NOT EXISTS (SELECT FROM clearing_item i WHERE i.payment_id = c.payment_id)
GROUP BY c.payment_id, c.amount, c.currency, latest.id
HAVING bool_and(c.payments = 1) AND sum(c.paid) = c.amount AND count(*) <= 12
ORDER BY c.payment_id LIMIT $5"""


# Where the provider's own statement has money that we do not: it is asked, out of its turn, once.
_ASK_AGAIN = """
UPDATE payment_attempt a SET next_check_at = least(a.next_check_at, now())
FROM statement_line l
WHERE l.account_id = $1 AND l.status IN ('OPEN', 'SUGGESTED') AND l.entry_status = 'BOOKED'
    AND l.direction = 'CREDIT' AND l.kind <> 'FAILED' AND l.booking_date BETWEEN $2 AND $3
    AND a.reference = l.our_reference AND a.gateway_id = $4
    AND a.status IN ('PENDING', 'UNKNOWN', 'FAILED', 'EXPIRED', 'CANCELLED')
    AND (a.asked_at IS NULL OR a.asked_at < l.created_at)
RETURNING a.id"""


async def settle(
    core: Core, account: StatementAccount, gateways: Sequence[UUID], begin: date, end: date
) -> int:
    """Settles what this bank account's lines pay for; gives how many payments that were.

    gateways: whose money the account shows. Each payment in a transaction of its own. Their money
    is an item of the books afterwards.
    """
    if account.kind != "BANK":
        await _ask_again(core, account, begin, end)
        return 0
    gateways = await _confirmed_by_hand(core, account, gateways)
    rows: list[Row] = []
    if gateways:
        async with tx(patience=_PATIENCE):
            rows = await fetch(_PAID, account.id, begin, end, gateways, _MOST)
    settled = 0
    for row in rows:
        settled += await _settle(core, account, row)
    if settled:
        core.news.set()
        await _collected(core, [row["payment_id"] for row in rows])
    return settled


async def _collected(core: Core, payment_ids: Sequence[UUID]) -> None:
    """Waits until the events have their places in the log, and takes them into the books.

    Where nobody gives out places this moment, the next run finds these payments.
    """
    for _ in range(_LOOKS):
        if not await fetch(_NO_PLACE, list(payment_ids)):
            break
        core.news.set()
        await asyncio.sleep(0.05)
    while await items.collect(core):
        pass


async def _ask_again(core: Core, account: StatementAccount, begin: date, end: date) -> None:
    if account.gateway_id is None:
        return
    gateway = await core.gateways.by_id(account.gateway_id)
    if Capability.STATUS_CHECK not in gateway.capabilities:
        return
    async with tx(patience=_PATIENCE):
        asked = await fetch(_ASK_AGAIN, account.id, begin, end, gateway.id)
    if asked:
        core.work.set()


async def _confirmed_by_hand(
    core: Core, account: StatementAccount, gateways: Sequence[UUID]
) -> list[UUID]:
    """Those that cannot be asked. On an account that is no gateway's own, only transfers to a bank:
    whether a courier was paid, the courier's report tells."""
    found = [await core.gateways.by_id(gateway_id) for gateway_id in gateways]
    return [
        gateway.id
        for gateway in found
        if Capability.MANUAL_CONFIRMATION in gateway.capabilities
        and (account.gateway_id is not None or _is_shown_by_banks(gateway))
    ]


def _is_shown_by_banks(gateway: Account) -> bool:
    return gateway.plugin is not None and gateway.plugin.description.statement is AccountKind.BANK


async def _settle(core: Core, account: StatementAccount, row: Row) -> bool:
    work = await attempts.load(row["attempt_id"])
    money = Money(row["amount"], row["currency"])
    if work.state.status in {AttemptStatus.SUCCEEDED, AttemptStatus.REVERSED}:
        return False
    if work.attempt.amount != money:
        return False
    gateway = await core.gateways.by_id(work.gateway_id)
    outcome = Succeeded(amount=money, reference=work.state.reference, gateway_transaction_id=None)
    lines = [str(line_id) for line_id in row["line_ids"]]
    async with tx():
        # The line is this payment's from here on: nobody attaches it to another one meanwhile.
        for line_id in lines:
            await fetch(CLAIM, uuid4(), line_id, row["payment_id"])
    if await fetch(_OTHERS, lines, row["payment_id"]):
        return False
    evidence = f"the statement of {account.code}, {row['day']}"
    payment = await attempts.advance(
        core,
        gateway,
        work,
        outcome,
        TransactionKind.STATEMENT,
        actor=SYSTEM,
        said={"evidence": evidence, "statement_lines": lines, "confirmed_by": "statement"},
    )
    log.info("settled by a statement", payment=work.attempt.payment_reference, lines=len(lines))
    return payment is not None
