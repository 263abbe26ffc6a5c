"""Webhooks of a simulated provider: real HTTP, and a note of how each try was answered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import httpx

TIMEOUT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """What the provider tells: exactly these bytes.

    headers: beside the content type.
    tries: how often it is sent at most, until it is answered with 2xx.
    """

    body: bytes
    method: str = "POST"
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    tries: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How one webhook went. `status` is what the receiver answered, `error` why there is none."""

    sent_at: datetime
    body: str
    status: int | None = None
    error: str | None = None

    @property
    def arrived(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Courier:
    """Brings webhooks. The client is opened with the first one and keeps no connection open."""

    clock: Callable[[], datetime]
    _http: httpx.AsyncClient | None = field(default=None, repr=False)

    async def deliver(self, url: str, webhook: Webhook) -> Delivery:
        sent_at, body = self.clock(), webhook.body.decode("utf-8", "replace")
        try:
            response = await self._client().request(
                webhook.method,
                url,
                content=webhook.body,
                headers={"Content-Type": webhook.content_type, **webhook.headers},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Delivery(sent_at=sent_at, body=body, error=repr(error))
        return Delivery(sent_at=sent_at, body=body, status=response.status_code)

    def drop(self, webhook: Webhook) -> Delivery:
        """A webhook that got lost on its way."""
        return Delivery(
            sent_at=self.clock(), body=webhook.body.decode("utf-8", "replace"), error="dropped"
        )

    def _client(self) -> httpx.AsyncClient:
        # Without kept connections nothing has to be closed when the simulator's process ends.
        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=TIMEOUT, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False
            )
        return self._http
