"""How a gateway did in the last hour, told from its attempts and its webhooks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dusangire.database import Row, fetch
from dusangire_schema.enums import HealthStatus

# Below this share of attempts that reached an end, payers notice.
_DEGRADED = 0.5

# A decline is the payer's doing, not the gateway's: only what the gateway broke counts against it.
_QUERY = """
    WITH recent AS (
        SELECT gateway_id, status, created_at, completed_at, failure,
            failure ->> 'code' IN ('NOT_SENT', 'GATEWAY_ERROR', 'GATEWAY_CONFIGURATION') AS broke
        FROM payment_attempt
        WHERE gateway_id = ANY($1::uuid[]) AND created_at > now() - interval '1 hour'
    )
    SELECT gateway_id,
        count(*) FILTER (WHERE completed_at IS NOT NULL) AS ended,
        count(*) FILTER (WHERE status = 'SUCCEEDED') AS succeeded,
        count(*) FILTER (WHERE broke OR status = 'UNKNOWN') AS broken,
        count(*) AS attempts,
        percentile_disc(0.95) WITHIN GROUP (
            ORDER BY round(extract(epoch FROM completed_at - created_at) * 1000)::bigint
        ) FILTER (WHERE completed_at IS NOT NULL) AS p95_ms,
        (array_agg(failure ->> 'message' ORDER BY created_at DESC)
            FILTER (WHERE failure IS NOT NULL))[1] AS last_error,
        NULL::timestamptz AS last_callback_at
    FROM recent GROUP BY gateway_id
    UNION ALL
    SELECT gateway_id, 0, 0, 0, 0, NULL, NULL, max(received_at) FROM gateway_webhook
    WHERE gateway_id = ANY($1::uuid[]) GROUP BY gateway_id
"""


@dataclass(slots=True, kw_only=True)
class Health:
    """success_rate: 0 to 1, of the attempts that ended. p95_ms: from the attempt to its end."""

    status: HealthStatus = HealthStatus.NO_TRAFFIC
    success_rate: float | None = None
    p95_ms: int | None = None
    last_error: str | None = None
    last_callback_at: datetime | None = None

    def hear(self, row: Row) -> None:
        """Takes in one row of the query."""
        self.last_callback_at = row["last_callback_at"] or self.last_callback_at
        if not row["attempts"]:
            return
        self.status = _status(row["attempts"], row["broken"])
        self.success_rate = row["succeeded"] / row["ended"] if row["ended"] else None
        self.p95_ms = row["p95_ms"]
        self.last_error = row["last_error"]


def _status(attempts: int, broken: int) -> HealthStatus:
    if broken == attempts:
        return HealthStatus.DOWN
    return HealthStatus.DEGRADED if broken / attempts >= _DEGRADED else HealthStatus.HEALTHY


async def load(gateway_ids: Sequence[UUID]) -> list[Health]:
    """The health of each, with one query for all."""
    found = {gateway_id: Health() for gateway_id in gateway_ids}
    for row in await fetch(_QUERY, list(gateway_ids)):
        found[row["gateway_id"]].hear(row)
    return [found[gateway_id] for gateway_id in gateway_ids]
