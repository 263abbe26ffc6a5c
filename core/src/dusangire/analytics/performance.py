"""How gateways do: how often they succeed, how long it takes, and why it fails."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from dusangire.access import Actor
from dusangire.analytics.revenue import check_days, gateway_codes
from dusangire.analytics.rollups import seconds_of
from dusangire.database import fetch
from dusangire.gateway import FailureCode
from dusangire.permissions import Permission


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How often attempts failed for one reason."""

    code: FailureCode
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPerformance:
    """The attempts on one gateway, by the day they were made.

    attempts: those that ended; open ones say nothing yet. succeeded: money that the gateway took
    back later succeeded all the same. success_rate: of those that ended, 0 to 1; None without any.
    p50_seconds, p95_seconds: from the request to the success, within 2.5 per cent; None without
    any. failures: the most frequent first.
    """

    gateway: str
    attempts: int
    succeeded: int
    success_rate: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    failures: tuple[FailureCount, ...]


_PERFORMANCE = """
SELECT gateway_id, outcome, bucket, sum(count)::bigint AS count
FROM attempt_rollup WHERE day BETWEEN $1 AND $2 AND outcome <> 'OPEN'
GROUP BY gateway_id, outcome, bucket HAVING sum(count) <> 0"""


async def gateway_performance(actor: Actor, from_: date, to: date) -> list[GatewayPerformance]:
    """How each gateway did with the attempts of these days, both included; of Kigali.

    Gateways without an attempt are left out. Raises Forbidden, Invalid.
    """
    actor.require(Permission.READ_ANALYTICS)
    check_days(from_, to)
    codes = await gateway_codes()
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    for row in await fetch(_PERFORMANCE, from_, to):
        tallies[codes[row["gateway_id"]]].add(row["outcome"], row["bucket"], row["count"])
    return [tallies[gateway].told(gateway) for gateway in sorted(tallies)]


class _Tally:
    def __init__(self) -> None:
        self.succeeded = 0
        self.failed: defaultdict[FailureCode, int] = defaultdict(int)
        self.buckets: defaultdict[int, int] = defaultdict(int)

    def add(self, outcome: str, bucket: int | None, count: int) -> None:
        if outcome not in {"SUCCEEDED", "REVERSED"}:
            self.failed[FailureCode(outcome)] += count
            return
        self.succeeded += count
        if bucket is not None:
            self.buckets[bucket] += count

    def told(self, gateway: str) -> GatewayPerformance:
        attempts = self.succeeded + sum(self.failed.values())
        most = sorted(self.failed.items(), key=lambda found: (-found[1], found[0]))
        return GatewayPerformance(
            gateway=gateway,
            attempts=attempts,
            succeeded=self.succeeded,
            success_rate=self.succeeded / attempts if attempts else None,
            p50_seconds=percentile(self.buckets.items(), 0.50),
            p95_seconds=percentile(self.buckets.items(), 0.95),
            failures=tuple(FailureCount(code, count) for code, count in most),
        )


def percentile(buckets: Iterable[tuple[int, int]], share: float) -> float | None:
    """The time within which this share was done; buckets: number and count. None without any."""
    counted = sorted(buckets)
    wanted = share * sum(count for _bucket, count in counted)
    passed = 0
    for bucket, count in counted:
        passed += count
        if passed >= wanted:
            return seconds_of(bucket)
    return None
