"""Numbers about this process, for Prometheus."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(slots=True)
class Metrics:
    """Counts and times of one app. Labels never hold anything a caller wrote."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _seconds: dict[str, Histogram] = field(init=False)
    _subscriptions: Gauge = field(init=False)
    _refused: Counter = field(init=False)
    _webhooks: Counter = field(init=False)

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

    def text(self) -> bytes:
        return generate_latest(self.registry)
