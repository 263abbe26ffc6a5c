"""Numbers about this process, for Prometheus."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from dusangire.breaker import BreakerState
from dusangire.fiscalization.receipts import Unsigned
from dusangire.gateway import Accepted, Failed, NotSent, Outcome, Succeeded, Unknown
from dusangire.gateways import Account
from dusangire.reconciliation.measures import Waiting
from dusangire.watch import Seen

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Gateways are slow by nature: a prompt on a phone is sent within seconds, a timeout takes a minute.
_CALL_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_RESULTS: Mapping[type[Outcome], str] = {
    Accepted: "accepted",
    Succeeded: "succeeded",
    Failed: "failed",
    NotSent: "not_sent",
    Unknown: "unknown",
}


@dataclass(slots=True)
class Metrics:
    """Counts and times of one app. Labels never hold anything a caller wrote."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _seconds: dict[str, Histogram] = field(init=False)
    _subscriptions: Gauge = field(init=False)
    _refused: Counter = field(init=False)
    _webhooks: Counter = field(init=False)
    _calls: Counter = field(init=False)
    _call_seconds: Histogram = field(init=False)
    _breakers: Gauge = field(init=False)
    _unmapped: Gauge = field(init=False)
    _unsigned: Gauge = field(init=False)
    _unsigned_age: Gauge = field(init=False)
    _discrepancies: Gauge = field(init=False)
    _discrepancies_age: Gauge = field(init=False)
    _suspense: Gauge = field(init=False)
    _suspense_age: Gauge = field(init=False)

    def __post_init__(self) -> None:
        seconds = Histogram(
            "dusangire_graphql_seconds",
            "Time to answer an operation.",
            ["operation"],
            registry=self.registry,
        )
        self._seconds = {kind: seconds.labels(kind) for kind in ("query", "mutation")}
        self._subscriptions = Gauge(
            "dusangire_subscriptions", "Open subscriptions.", registry=self.registry
        )
        self._refused = Counter(
            "dusangire_refused", "Requests not worked on.", ["status"], registry=self.registry
        )
        self._webhooks = Counter(
            "dusangire_webhooks",
            "Messages of gateways.",
            ["gateway", "status"],
            registry=self.registry,
        )
        self._calls = Counter(
            "dusangire_gateway_calls",
            "Calls of this process to gateways about payments.",
            ["gateway", "call", "result"],
            registry=self.registry,
        )
        self._call_seconds = Histogram(
            "dusangire_gateway_call_seconds",
            "Time of such a call.",
            ["gateway"],
            buckets=_CALL_SECONDS,
            registry=self.registry,
        )
        self._breakers = Gauge(
            "dusangire_gateway_breaker_open",
            "1 while a gateway gives no answers and is left alone, in all processes.",
            ["gateway"],
            registry=self.registry,
        )
        self._unmapped = Gauge(
            "dusangire_unmapped_codes",
            "Codes that a gateway used and its plugin does not know.",
            ["gateway"],
            registry=self.registry,
        )

        self._unsigned = Gauge(
            "dusangire_fiscal_unsigned",
            "Fiscal receipts that no device has signed yet, or that a person has to look at.",
            ["waits_for"],
            registry=self.registry,
        )
        self._unsigned_age = Gauge(
            "dusangire_fiscal_oldest_unsigned_seconds",
            "How long the oldest of them has waited: a device must reach RRA once a day.",
            registry=self.registry,
        )
        self._discrepancies = Gauge(
            "dusangire_open_discrepancies",
            "What does not agree between statements and payments, and waits for a person.",
            ["kind", "severity"],
            registry=self.registry,
        )
        self._discrepancies_age = Gauge(
            "dusangire_oldest_discrepancy_seconds",
            "How long ago the day began on which the money of the oldest of them moved.",
            registry=self.registry,
        )
        self._suspense = Gauge(
            "dusangire_suspense_lines",
            "Lines of money that came in and that no payment explains.",
            ["account"],
            registry=self.registry,
        )
        self._suspense_age = Gauge(
            "dusangire_oldest_suspense_seconds",
            "How long ago the day of the oldest of them began.",
            ["account"],
            registry=self.registry,
        )

    @contextmanager
    def operation(self, kind: str) -> Iterator[None]:
        with self._seconds[kind].time():
            yield

    @contextmanager
    def subscription(self) -> Iterator[None]:
        with self._subscriptions.track_inprogress():
            yield

    def refused(self, status: int) -> None:
        self._refused.labels(status).inc()

    def webhook(self, gateway: str, status: int) -> None:
        self._webhooks.labels(gateway, status).inc()

    def call(self, account: Account, seen: Seen) -> None:
        result = _RESULTS[type(seen.outcome)]
        self._calls.labels(account.code, seen.kind.value.lower(), result).inc()
        self._call_seconds.labels(account.code).observe(seen.duration_ms / 1000)

    def gateway(self, code: str, breaker: BreakerState, unmapped_codes: int) -> None:
        self._breakers.labels(code).set(breaker is BreakerState.OPEN)
        self._unmapped.labels(code).set(unmapped_codes)

    def fiscal(self, unsigned: Unsigned) -> None:
        self._unsigned.labels("device").set(unsigned.waiting - unsigned.needing)
        self._unsigned.labels("person").set(unsigned.needing)
        self._unsigned_age.set(unsigned.oldest_seconds)

    def reconciling(self, waiting: Waiting) -> None:
        # A kind that is no longer there would stay at its last number.
        self._discrepancies.clear()
        for (kind, severity), count in waiting.discrepancies.items():
            self._discrepancies.labels(kind, severity).set(count)
        self._discrepancies_age.set(waiting.oldest_seconds)
        for account, (lines, oldest) in waiting.suspense.items():
            self._suspense.labels(account).set(lines)
            self._suspense_age.labels(account).set(oldest)

    def text(self) -> bytes:
        return generate_latest(self.registry)
