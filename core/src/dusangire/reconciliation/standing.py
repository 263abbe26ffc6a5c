"""Whether a payment's money was found where it should be: on the payment itself, for everybody."""

from collections.abc import Sequence
from uuid import UUID

from dusangire.database import fetch
from dusangire.transactions import inside_transaction

# Rows are taken in one order, so that two who do this at once wait and never lock each other out.
# All of them, not only those that look changed: what makes a payment whole may be another
# transaction's half, and whoever comes second has to see both.
_HOLD = """
SELECT count(*) FROM (
    SELECT id FROM payment WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE
) AS held"""
# A statement of its own, begun when the rows are held: it sees what those before it committed.
_REFRESH = """
WITH wanted AS (
    SELECT p.id, CASE
        WHEN d.payment_id IS NOT NULL THEN 'DISCREPANCY'
        WHEN i.settled THEN 'MATCHED'
        ELSE 'NOT_RECONCILED' END AS standing
    FROM payment p
    LEFT JOIN (
        SELECT DISTINCT payment_id FROM discrepancy
        WHERE payment_id = ANY($1) AND status = 'OPEN'
            AND severity IN ('MEDIUM', 'HIGH', 'CRITICAL')
    ) AS d ON d.payment_id = p.id
    LEFT JOIN (
        SELECT payment_id, bool_and(status <> 'OPEN') AS settled FROM clearing_item
        WHERE payment_id = ANY($1) GROUP BY payment_id
    ) AS i ON i.payment_id = p.id
    WHERE p.id = ANY($1)
), changed AS (
    UPDATE payment SET reconciliation_status = wanted.standing, version = version + 1,
        updated_at = now()
    FROM wanted WHERE payment.id = wanted.id
        AND payment.reconciliation_status <> wanted.standing
    RETURNING payment.*
), event AS (
    INSERT INTO event (type, payment_id, data)
    SELECT 'payment.reconciled', id, to_jsonb(changed) - 'search' FROM changed ORDER BY id
)
SELECT count(*) AS changed FROM changed"""


async def refresh(payment_ids: Sequence[UUID]) -> int:
    """Says of each payment anew how it stands; gives how many changed.

    Inside the caller's transaction, after everything else in it: DISCREPANCY while something of at
    least medium weight about it is open; MATCHED when all its money was found, or written off;
    NOT_RECONCILED otherwise. What changed has a new version and one event.
    """
    assert inside_transaction.get(), "standing.refresh belongs to the caller's transaction"
    if not payment_ids:
        return 0
    ids = sorted(set(payment_ids))
    await fetch(_HOLD, ids)
    [row] = await fetch(_REFRESH, ids)
    return int(row["changed"])
