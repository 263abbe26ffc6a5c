"""Money on its way: each captured payment, each refund, each reversal, once, from the event log.

A payment that succeeded is money the gateway owes us; a refund is money we owe it. Either is an
item that a statement has to confirm, and an entry in the books: both are written in the transaction
that moves this follower's place in the log.
"""

from dusangire.core import Core
from dusangire.database import fetch
from dusangire.followers import TAIL_BATCH, tail

# The day of money is Kigali's. An entry of a closed period is posted to the first open day.
_ITEMS = """
WITH news AS (
    SELECT payment_id, min(occurred_at) FILTER (
        WHERE data -> 'needs_attention' ? 'REVERSED_BY_GATEWAY') AS reversed_at
    FROM event WHERE position > $1 AND position <= $2 AND payment_id IS NOT NULL
        AND type LIKE 'payment.%'
        AND type NOT IN ('payment.created', 'payment.pending', 'payment.reconciled')
    GROUP BY payment_id
), given_back AS (
    SELECT DISTINCT (data -> 'refund' ->> 'id')::uuid AS refund_id
    FROM event WHERE position > $1 AND position <= $2 AND type = 'refund.succeeded'
), captured AS (
    SELECT a.*, p.amount, p.currency, p.reference AS payment_reference, p.order_reference,
        p.customer_id, news.reversed_at
    FROM news JOIN payment_attempt a ON a.payment_id = news.payment_id
        AND a.status IN ('SUCCEEDED', 'REVERSED')
    JOIN payment p ON p.id = news.payment_id
), found AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, c.*
    FROM (
        SELECT 'PAYMENT' AS kind, gateway_id, fee, payment_id, id AS attempt_id,
            NULL::uuid AS refund_id, phone, amount, currency, customer_id, created_at AS began_at,
            coalesce(completed_at, created_at) AS occurred_at, payment_reference, order_reference,
            gateway_transaction_id, reference AS tx_ref, NULL::text AS refund_reference
        FROM captured
        UNION ALL
        SELECT 'REVERSAL', gateway_id, NULL, payment_id, id, NULL, phone, amount, currency,
            customer_id, coalesce(completed_at, created_at), reversed_at, payment_reference,
            order_reference, gateway_transaction_id, reference, NULL
        FROM captured WHERE status = 'REVERSED' AND reversed_at IS NOT NULL
        UNION ALL
        SELECT 'REFUND', r.gateway_id, NULL, r.payment_id, NULL, r.id, a.phone, r.amount,
            r.currency, p.customer_id, r.created_at, coalesce(r.completed_at, r.updated_at),
            p.reference, p.order_reference, r.gateway_transaction_id, r.gateway_reference,
            r.reference
        FROM given_back JOIN refund r ON r.id = given_back.refund_id AND r.status = 'SUCCEEDED'
        JOIN payment_attempt a ON a.id = r.attempt_id JOIN payment p ON p.id = r.payment_id
    ) AS c
), placed AS (
    SELECT found.*, 'clearing:' || g.code AS book, customer.name AS payer_name, greatest(
        (occurred_at AT TIME ZONE 'Africa/Kigali')::date,
        (SELECT max(closed_until) + 1 FROM statement_account s WHERE s.gateway_id = g.id)) AS day
    FROM found JOIN gateway_account g ON g.id = found.gateway_id
    LEFT JOIN customer ON customer.id = found.customer_id
), made AS (
    INSERT INTO clearing_item (id, gateway_id, book, kind, direction, amount, currency, fee,
        payment_id, attempt_id, refund_id, payer_account, payer_name, began_at, occurred_at)
    SELECT id, gateway_id, book, kind, CASE kind WHEN 'PAYMENT' THEN 'CREDIT' ELSE 'DEBIT' END,
        amount, currency, fee, payment_id, attempt_id, refund_id, phone, payer_name, began_at,
        occurred_at
    FROM placed ORDER BY occurred_at, id ON CONFLICT DO NOTHING RETURNING id
), named AS (
    INSERT INTO item_ref (item_id, kind, value)
    SELECT id, ref.kind, ref.value FROM made JOIN placed USING (id)
    CROSS JOIN LATERAL (
        SELECT said.kind, upper(regexp_replace(said.value, '[^A-Za-z0-9]', '', 'g')) AS value
        FROM (VALUES ('PAYMENT', payment_reference), ('TXN', gateway_transaction_id),
            ('TX_REF', tx_ref), ('REFUND', refund_reference), ('ORDER', order_reference)
        ) AS said (kind, value)
    ) AS ref WHERE ref.value <> ''
)
INSERT INTO ledger_entry (cause, debit, credit, amount, currency, date, item_id, actor)
SELECT CASE kind WHEN 'PAYMENT' THEN 'captured' WHEN 'REFUND' THEN 'refunded' ELSE 'reversed' END,
    CASE kind WHEN 'PAYMENT' THEN book ELSE 'receivable' END,
    CASE kind WHEN 'PAYMENT' THEN 'receivable' ELSE book END,
    amount, currency, day, id, 'system'
FROM made JOIN placed USING (id) ORDER BY day, occurred_at, id"""

# An invoice is often made after its payment succeeded: its number comes with an event of its own.
_INVOICES = """
WITH news AS (
    SELECT payment_id FROM event WHERE position > $1 AND position <= $2 AND payment_id IS NOT NULL
    UNION SELECT (data -> 'invoice' ->> 'payment_id')::uuid FROM event
    WHERE position > $1 AND position <= $2 AND type LIKE 'invoice.%'
), named AS (
    SELECT DISTINCT item.id, upper(regexp_replace(number, '[^A-Za-z0-9]', '', 'g')) AS value
    FROM news JOIN invoice USING (payment_id) JOIN clearing_item item USING (payment_id)
    WHERE invoice.kind = 'INVOICE' AND number IS NOT NULL
)
INSERT INTO item_ref (item_id, kind, value) SELECT id, 'INVOICE', value FROM named
WHERE NOT EXISTS (SELECT FROM item_ref r
    WHERE r.item_id = named.id AND r.kind = 'INVOICE' AND r.value = named.value)"""

# Of a log without any event there is no end to go to, and a place beyond it would lose the first.
_NEWS = "SELECT FROM event WHERE position IS NOT NULL LIMIT 1"

# Nobody closes a period while entries for it are being written.
_HOLD_PERIODS = """SELECT id FROM statement_account WHERE gateway_id IS NOT NULL
ORDER BY id FOR SHARE"""


async def collect(core: Core) -> int:
    """Takes in what the events tell, some thousand of them at a time; gives how many it looked at.

    Any number of processes may call it at once: one of them does it.
    """
    if not await fetch(_NEWS):
        return 0
    done = moved = await tail("books", _take_in)
    while moved >= TAIL_BATCH:
        moved = await tail("books", _take_in)
        done += moved
    return done


async def _take_in(begin: int, end: int) -> None:
    await fetch(_HOLD_PERIODS)
    await fetch(_ITEMS, begin, end)
    await fetch(_INVOICES, begin, end)
