"""Real HTTP for tests: an app behind uvicorn, and a gateway whose provider is a simulator."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import structlog
import uvicorn
from starlette.types import ASGIApp
from structlog.testing import LogCapture

from dusangire.exchanges import open_client, secret_values
from dusangire.gateway import JSON, Environment, Gateway
from dusangire.plugins import Plugin
from dusangire.tokens import TokenCache

# Loading the authorities of the Web takes longer than most tests, and loopback needs none.
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Server(uvicorn.Server):
    """A server inside a test: it leaves the signals alone and stops at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Uvicorn would wait for its connections, and a tenth of a second in any case.
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if tasks := self.server_state.tasks:
            await asyncio.wait(tasks, timeout=2)
        await self.lifespan.shutdown()


@asynccontextmanager
async def serve(app: ASGIApp, *, port: int = 0) -> AsyncIterator[str]:
    """Serves `app` inside the block, in the same event loop, and gives its base URL.

    Connections that are still open at the end are cut, as by a server that dies.
    """
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        server = _Server(uvicorn.Config(app, log_config=None, access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.ended.set()
            await task


def free_port() -> int:
    """A port where nobody listens: connecting to it is refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 5) -> None:
    """Waits until `condition` holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        # What is waited for happens elsewhere, so there is no event to wait for.
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass(slots=True)
class Watch:
    """A clock that tests can put forward."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A plugin's gateway, whose provider is the plugin's simulator on a loopback port.

    control: an httpx client of the simulator's control API.
    logged: what the plugin wrote to its log.
    """

    plugin: Plugin
    gateway: Gateway[Any]
    url: str
    control: httpx.AsyncClient
    watch: Watch
    logged: list[MutableMapping[str, Any]]

    async def truth(self) -> dict[str, JSON]:
        response = await self.control.get("truth")
        told: dict[str, JSON] = response.raise_for_status().json()
        return told

    async def transaction(self, reference: str) -> dict[str, JSON]:
        """The truth about one transaction. Raises KeyError."""
        found = {one["reference"]: one for one in (await self.truth())["transactions"]}
        told: dict[str, JSON] = found[reference]
        return told

    async def tell(self, path: str, **values: JSON) -> None:
        """Posts to the control API: `tell("faults", lost_replies=1, times=1)`."""
        (await self.control.post(path, json=values)).raise_for_status()

    def configured(self, **changes: Any) -> Gateway[Any]:
        """The same gateway with other settings, and no tokens yet."""
        config = self.gateway.config.model_dump() | changes
        return replace(
            self.gateway,
            config=type(self.gateway.config).model_validate(config),
            tokens=TokenCache(self.watch),
        )


@asynccontextmanager
async def simulate(
    plugin: Plugin, *, webhook_url: str | None = None, **config: JSON
) -> AsyncIterator[Simulated]:
    """Serves the plugin's simulator with its example config, `config` over it."""
    described = plugin.description
    values = {**(described.example_config or {}), "base_url": "http://127.0.0.1", **config}
    watch, capture = Watch(), LogCapture()
    gateway: Gateway[Any] = Gateway(
        code=plugin.name,
        environment=Environment.TEST,
        config=described.config.model_validate(values),
        http=httpx.AsyncClient(verify=_TRUSTS_NOBODY),
        tokens=TokenCache(watch),
        webhook_url=webhook_url,
        clock=watch,
        log=structlog.wrap_logger(
            None, [capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        ),
    )
    app = plugin.simulator(gateway)
    assert app is not None, f"{plugin.name} has no simulator"
    async with serve(app) as url:
        real = described.config.model_validate({**values, "base_url": url})
        async with (
            httpx.AsyncHTTPTransport(verify=_TRUSTS_NOBODY) as transport,
            open_client(url, secrets=secret_values(real), transport=transport, timeout=5) as http,
            httpx.AsyncClient(base_url=f"{url}/_control/", verify=_TRUSTS_NOBODY) as control,
        ):
            yield Simulated(
                plugin=plugin,
                gateway=replace(gateway, config=real, http=http),
                url=url,
                control=control,
                watch=watch,
                logged=capture.entries,
            )
