"""The sums behind the analytics, moved by each event once.

They follow the log of events by position, many at a time: what a payment counted before is taken
off and what it counts now is added, in the transaction that moves the position. So they are exact
after any crash, and a question costs the same with ten thousand payments and with ten million.
"""

from dusangire.core import Core
from dusangire.database import fetch
from dusangire.followers import TAIL_BATCH, tail

# Money came in, whatever was given back since.
PAID = ("SUCCEEDED", "PARTIALLY_REFUNDED", "REFUNDED")

# How long a success took is kept in buckets, each a twentieth wider than the one before it.
BUCKET_WIDTH = 1.05
SHORTEST = 0.01

# A day is Kigali's: the one a payment was paid on, or made on if it was not. The event of a refund
# has its payment inside.
_REVENUE = """
WITH fresh AS (
    SELECT DISTINCT ON (payment_id) payment_id,
        coalesce(data -> 'payment', data) AS payment
    FROM event WHERE position > $1 AND position <= $2 AND payment_id IS NOT NULL
    ORDER BY payment_id, position DESC
), counted AS (
    SELECT coalesce(data -> 'payment', data) AS payment
    FROM fresh CROSS JOIN LATERAL (
        SELECT data FROM event WHERE event.payment_id = fresh.payment_id AND position <= $1
        ORDER BY id DESC LIMIT 1) AS last
), moved AS (
    SELECT 1 AS sign, payment FROM fresh UNION ALL SELECT -1, payment FROM counted
), told AS (
    SELECT sign, p.*, (CASE WHEN captured > 0 THEN coalesce(completed_at, created_at)
        ELSE created_at END AT TIME ZONE 'Africa/Kigali')::date AS day
    FROM moved CROSS JOIN jsonb_to_record(payment) AS p (gateway_id uuid, currency text,
        status text, amount bigint, captured bigint, refunded bigint, created_at timestamptz,
        completed_at timestamptz)
)
INSERT INTO revenue_rollup AS kept
    (id, day, gateway_id, currency, status, count, amount, captured, refunded)
SELECT gen_random_uuid(), day, gateway_id, currency, status, sum(sign), sum(sign * amount::numeric),
    sum(sign * captured::numeric), sum(sign * refunded::numeric)
FROM told GROUP BY day, gateway_id, currency, status
HAVING sum(sign) <> 0 OR sum(sign * amount::numeric) <> 0
    OR sum(sign * captured::numeric) <> 0 OR sum(sign * refunded::numeric) <> 0
ON CONFLICT (currency, day, gateway_id, status) DO UPDATE SET count = kept.count + excluded.count,
    amount = kept.amount + excluded.amount, captured = kept.captured + excluded.captured,
    refunded = kept.refunded + excluded.refunded"""

# An attempt says nothing by itself: it is looked at whenever its payment says something.
_ATTEMPTS = """
WITH fresh AS (
    SELECT a.id, gateway_id, (created_at AT TIME ZONE 'Africa/Kigali')::date AS day,
        CASE status WHEN 'SUCCEEDED' THEN 'SUCCEEDED' WHEN 'REVERSED' THEN 'REVERSED'
            WHEN 'FAILED' THEN coalesce(failure ->> 'code', 'OTHER')
            WHEN 'EXPIRED' THEN coalesce(failure ->> 'code', 'EXPIRED')
            WHEN 'CANCELLED' THEN coalesce(failure ->> 'code', 'CANCELLED')
            ELSE 'OPEN' END AS outcome,
        CASE WHEN status = 'SUCCEEDED' AND completed_at IS NOT NULL THEN ceil(ln(greatest(1,
            extract(epoch FROM completed_at - created_at)::float8 / $3)) / ln($4::float8))::int
            END AS bucket
    FROM payment_attempt a WHERE payment_id IN (
        SELECT payment_id FROM event
        WHERE position > $1 AND position <= $2 AND payment_id IS NOT NULL)
), counted AS (
    SELECT t.outcome, t.bucket, fresh.gateway_id, fresh.day
    FROM fresh JOIN attempt_tally t ON t.attempt_id = fresh.id
), kept AS (
    INSERT INTO attempt_tally (attempt_id, outcome, bucket) SELECT id, outcome, bucket FROM fresh
    ON CONFLICT (attempt_id) DO UPDATE SET outcome = excluded.outcome, bucket = excluded.bucket
), moved AS (
    SELECT 1 AS sign, day, gateway_id, outcome, bucket FROM fresh
    UNION ALL SELECT -1, day, gateway_id, outcome, bucket FROM counted
)
INSERT INTO attempt_rollup AS kept (id, day, gateway_id, outcome, bucket, count)
SELECT gen_random_uuid(), day, gateway_id, outcome, bucket, sum(sign)
FROM moved GROUP BY day, gateway_id, outcome, bucket HAVING sum(sign) <> 0
ON CONFLICT (day, gateway_id, outcome, bucket)
    DO UPDATE SET count = kept.count + excluded.count"""


async def keep(core: Core) -> int:
    """Brings the sums up to the newest event, some thousand at a time; gives how many it took in.

    Any number of processes may call it at once: one of them does it.
    """
    done = moved = await tail("rollups", _take_in)
    while moved >= TAIL_BATCH:
        moved = await tail("rollups", _take_in)
        done += moved
    return done


async def _take_in(begin: int, end: int) -> None:
    await fetch(_REVENUE, begin, end)
    await fetch(_ATTEMPTS, begin, end, SHORTEST, BUCKET_WIDTH)


def seconds_of(bucket: int) -> float:
    """The middle of a bucket: at most two and a half per cent from what was measured."""
    return float(SHORTEST * BUCKET_WIDTH ** (bucket - 0.5))
