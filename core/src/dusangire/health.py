"""How the gateways do, for people and dashboards: measured now and then, by one worker at a time.

One row for each gateway holds what was measured, beside the breaker's state (see `watch`). What
changed so much that somebody should know is an event, written with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from dusangire.breaker import Breaker, BreakerState
from dusangire.database import Row, fetch
from dusangire.records import json_of, moment_of

if TYPE_CHECKING:
    from dusangire.core import Core

MEASURE_EVERY = timedelta(seconds=5)
# At this share of attempts that the gateway broke, payers notice.
DEGRADED = 0.5
# A rate that moves by less is noise; so is a time that does not become half as long again.
NEWS_RATE = 0.05
NEWS_TIME = 1.5


class HealthStatus(StrEnum):
    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"
    NO_TRAFFIC = "NO_TRAFFIC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A gateway's condition.

    success_rate: 0 to 1, of the attempts that ended, in the last hour.
    p95_ms: how long 95 of 100 of them took at most, from the attempt to its end.
    last_error: why it last gave no usable answer, or broke a payment; a payer's "no" is none.
    next_probe_at: when an open breaker is looked at again.
    measured_at: None until a worker did.
    """

    gateway_id: UUID
    status: HealthStatus = HealthStatus.NO_TRAFFIC
    success_rate: float | None = None
    p95_ms: int | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    last_callback_at: datetime | None = None
    breaker: BreakerState = BreakerState.CLOSED
    next_probe_at: datetime | None = None
    measured_at: datetime | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Health":
        """From a row of `gateway_health`."""
        breaker = Breaker(row["term"])
        # What is left alone takes no payments, however well the last ones went.
        status = HealthStatus.DOWN if breaker.is_open else HealthStatus(row["traffic"])
        return cls(
            gateway_id=row["gateway_id"],
            status=status,
            success_rate=row["success_rate"],
            p95_ms=row["p95_ms"],
            last_error=row["last_error"],
            last_error_at=row["last_error_at"],
            last_callback_at=row["last_callback_at"],
            breaker=breaker.state,
            next_probe_at=row["probe_at"],
            measured_at=row["measured_at"],
        )

    @classmethod
    def of_snapshot(cls, data: Mapping[str, Any]) -> "Health":
        """From an event: the row as it was when the event was written."""
        moments = ("last_error_at", "last_callback_at", "probe_at", "measured_at")
        told = {name: moment_of(data[name]) for name in moments}
        return cls.of({**data, **told, "gateway_id": UUID(data["gateway_id"])})


async def load(gateway_ids: Sequence[UUID]) -> list[Health]:
    """The health of each, with one query for all."""
    rows = await fetch(
        "SELECT * FROM gateway_health WHERE gateway_id = ANY($1::uuid[])", list(gateway_ids)
    )
    found = {row["gateway_id"]: Health.of(row) for row in rows}
    return [found.get(gateway_id, Health(gateway_id=gateway_id)) for gateway_id in gateway_ids]


# ── measuring ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the attempts of the last hour say."""

    status: HealthStatus = HealthStatus.NO_TRAFFIC
    success_rate: float | None = None
    p95_ms: int | None = None

    @classmethod
    def of(cls, row: Row) -> "Traffic":
        ended: int = row["ended"]
        return cls(
            status=_status(row["attempts"], row["told"], row["broken"]),
            success_rate=row["succeeded"] / ended if ended else None,
            p95_ms=row["p95_ms"],
        )

    def is_news_after(self, told: "Traffic") -> bool:
        """Whether somebody who was told `told` should know."""
        return (
            self.status is not told.status
            or _moved(self.success_rate, told.success_rate, lambda a, b: abs(a - b) >= NEWS_RATE)
            or _moved(
                self.p95_ms, told.p95_ms, lambda a, b: max(a, b) >= NEWS_TIME * max(1, min(a, b))
            )
        )


def _moved(now: float | None, before: float | None, far: Any) -> bool:
    if now is None or before is None:
        return now is not before
    return bool(far(now, before))


def _status(attempts: int, told: int, broken: int) -> HealthStatus:
    """told: attempts that the gateway had its say on, or should have had."""
    if not attempts:
        return HealthStatus.NO_TRAFFIC
    if told and broken == told:
        return HealthStatus.DOWN
    return HealthStatus.DEGRADED if told and broken / told >= DEGRADED else HealthStatus.HEALTHY


# The row is the turn: whoever moves its time measures, the others go on.
_CLAIM = """
INSERT INTO gateway_health AS h (gateway_id, measured_at)
SELECT id, now() FROM gateway_account
ON CONFLICT (gateway_id) DO UPDATE SET measured_at = now()
WHERE h.measured_at IS NULL OR h.measured_at < now() - $1::interval
RETURNING gateway_id, told"""

# A decline is the payer's doing: only what the gateway broke counts against it. At most the latest
# 5,000 attempts of each gateway are looked at, along an index, however many there were.
_RECENT = """
SELECT gateway.id AS gateway_id, found.*,
    (SELECT max(received_at) FROM gateway_webhook WHERE gateway_id = gateway.id)
        AS last_callback_at
FROM unnest($1::uuid[]) AS gateway (id) CROSS JOIN LATERAL (
    SELECT count(*) AS attempts,
        count(*) FILTER (WHERE status <> 'SUBMITTING' OR resend) AS told,
        count(*) FILTER (WHERE broke OR status = 'UNKNOWN' OR resend) AS broken,
        count(*) FILTER (WHERE completed_at IS NOT NULL) AS ended,
        count(*) FILTER (WHERE status = 'SUCCEEDED') AS succeeded,
        percentile_disc(0.95) WITHIN GROUP (
            ORDER BY greatest(0, round(extract(epoch FROM completed_at - created_at) * 1000))
        ) FILTER (WHERE completed_at IS NOT NULL)::bigint AS p95_ms,
        (array_agg(failure ->> 'message' ORDER BY completed_at DESC) FILTER (WHERE broke))[1]
            AS error,
        max(completed_at) FILTER (WHERE broke) AS error_at
    FROM (
        SELECT status, created_at, completed_at, resend, failure,
            coalesce(failure ->> 'code', '')
                IN ('NOT_SENT', 'GATEWAY_ERROR', 'GATEWAY_CONFIGURATION') AS broke
        FROM payment_attempt
        WHERE gateway_id = gateway.id AND created_at > now() - interval '1 hour'
        ORDER BY created_at DESC LIMIT 5000
    ) AS recent
) AS found"""

_WRITE = """
WITH changed AS (
    UPDATE gateway_health SET traffic = $2, success_rate = $3, p95_ms = $4,
        last_callback_at = $5,
        last_error = CASE WHEN $7 > coalesce(last_error_at, '-infinity') THEN $6
            ELSE last_error END,
        last_error_at = greatest(last_error_at, $7),
        told = CASE WHEN $8 THEN $9::jsonb ELSE told END
    WHERE gateway_id = $1 RETURNING *
), event AS (
    INSERT INTO event (type, data)
    SELECT 'gateway.health',
        jsonb_build_object('gateway_id', gateway_id, 'health', to_jsonb(changed))
    FROM changed WHERE $8
)
SELECT 1 FROM changed"""


async def measure(core: "Core") -> int:
    """Measures the gateways that nobody measured lately; gives how many."""
    claimed = await fetch(_CLAIM, MEASURE_EVERY * core.settings.poll_scale)
    if not claimed:
        return 0
    told = {row["gateway_id"]: _told(json_of(row["told"])) for row in claimed}
    for row in await fetch(_RECENT, list(told)):
        traffic = Traffic.of(row)
        news = traffic.is_news_after(told[row["gateway_id"]])
        await fetch(
            _WRITE,
            row["gateway_id"],
            traffic.status.value,
            traffic.success_rate,
            traffic.p95_ms,
            row["last_callback_at"],
            row["error"],
            row["error_at"],
            news,
            _telling(traffic),
        )
        if news:
            core.news.set()
    return len(told)


def _told(data: Mapping[str, Any]) -> Traffic:
    return Traffic(**{**data, "status": HealthStatus(data["status"])}) if data else Traffic()


def _telling(traffic: Traffic) -> str:
    return orjson.dumps(
        {
            "status": traffic.status.value,
            "success_rate": traffic.success_rate,
            "p95_ms": traffic.p95_ms,
        }
    ).decode()
