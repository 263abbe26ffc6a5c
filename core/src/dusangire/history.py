"""What a payer paid before, for plugins that set limits."""

from dataclasses import dataclass
from datetime import datetime

from dusangire.database import fetch
from dusangire.gateway import Attempt, Environment
from dusangire.money import Money

# Every other attempt counts, whichever was first: each is committed before its own look, so two at
# once see each other. Both may be refused then, which is safe; counting only earlier ones would
# let both pass whenever their order in time is not the order of their commits.
PAID = """
WITH mine AS (
    SELECT id, payment_id FROM payment_attempt
    WHERE phone = $5 AND created_at >= $2 AND environment = $4 AND reference <> $1
        AND status IN ('SUBMITTING', 'PENDING', 'UNKNOWN', 'SUCCEEDED')
    UNION
    SELECT a.id, a.payment_id FROM customer c
    JOIN payment p ON p.customer_id = c.id
    JOIN payment_attempt a ON a.payment_id = p.id
    WHERE c.reference = $6 AND a.created_at >= $2 AND a.environment = $4 AND a.reference <> $1
        AND a.status IN ('SUBMITTING', 'PENDING', 'UNKNOWN', 'SUCCEEDED')
)
SELECT coalesce(sum(p.amount), 0) AS minor
FROM mine JOIN payment p ON p.id = mine.payment_id WHERE p.currency = $3"""


@dataclass(frozen=True, slots=True)
class Payers:
    """The attempts of one environment: play money does not count towards real money."""

    environment: Environment

    async def paid(self, attempt: Attempt, *, since: datetime) -> Money:
        """As `History` says. Raises Retryable while the database is away."""
        [row] = await fetch(
            PAID,
            attempt.reference,
            since,
            attempt.amount.currency,
            self.environment.value,
            attempt.phone,
            attempt.customer,
        )
        return Money(int(row["minor"]), attempt.amount.currency)
