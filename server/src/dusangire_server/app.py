"""The web process as one ASGI app: the API, webhooks, returning payers, and how the process is."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from dusangire.core import Core
from dusangire_server.doors import Doors
from dusangire_server.graphql import GraphQL
from dusangire_server.http import GraphQLOverHTTP, Guard, host_of
from dusangire_server.limits import Limits
from dusangire_server.login import Login
from dusangire_server.metrics import Metrics
from dusangire_server.papers import Papers
from dusangire_server.returns import Returns
from dusangire_server.sheets import Sheets
from dusangire_server.status import Status, health
from dusangire_server.uploads import Uploads
from dusangire_server.webhooks import Webhooks
from dusangire_server.websocket import GraphQLOverWebSocket

# What uvicorn is to be started with. A socket's message is refused before it is read whole.
SERVER_OPTIONS: Mapping[str, Any] = {
    "server_header": False,
    "access_log": False,
    "ws_max_size": 64 * 1024,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 20.0,
    "ws_per_message_deflate": False,
    "timeout_graceful_shutdown": 20,
    # X-Forwarded-For is read by Guard, from proxies that are trusted; nothing else is.
    "proxy_headers": False,
}


def build_app(
    core: Core,
    *,
    simulators: Mapping[str, ASGIApp] | None = None,
    limits: Limits | None = None,
) -> Starlette:
    """The app. Whoever builds it runs `core.tail`, and calls `app.state.graphql.closing.set()`
    when the process shall end: open streams and sockets then end at once.

    simulators: apps that behave like gateways' providers, by name; never served in live mode.
    """
    graphql = GraphQL(core, limits or Limits(), Metrics())
    core.gateways.observers.append(graphql.metrics.call)
    app = Starlette(
        routes=_routes(core, graphql, {} if core.settings.live else dict(simulators or {})),
        middleware=[
            *_cors(core),
            Middleware(
                Guard,
                hosts=_hosts(core),
                https=(core.settings.public_url or "").startswith("https://"),
                proxies=core.settings.trusted_proxies,
            ),
        ],
    )
    app.state.graphql = graphql
    return app


def _routes(core: Core, graphql: GraphQL, simulators: Mapping[str, ASGIApp]) -> list[BaseRoute]:
    status, doors = Status(graphql), Doors(core.settings)
    return [
        Route("/graphql", GraphQLOverHTTP(graphql, doors)),
        WebSocketRoute("/graphql", GraphQLOverWebSocket(graphql, doors, _origins(core))),
        Route("/uploads", Uploads(graphql, doors)),
        *Login(core, doors, graphql.limits).routes,
        Route(
            "/webhooks/{gateway}/{token}",
            Webhooks(core, graphql.metrics),
            methods=["POST", "PUT"],
        ),
        Route(
            "/return/{reference}",
            Returns(core, graphql.limits).answer,
            methods=["GET", "POST"],
        ),
        *Papers(core, graphql.limits).routes,
        *Sheets(graphql, doors).routes,
        Route("/health", health),
        Route("/ready", status.ready),
        Route("/metrics", status.metrics),
        *(Mount(f"/simulators/{name}", app) for name, app in simulators.items()),
    ]


def _origins(core: Core) -> frozenset[str]:
    """Hosts whose pages may open sockets."""
    url = core.settings.public_url
    pages = core.settings.allowed_origins + ((url,) if url else ())
    return frozenset(urlsplit(page).netloc for page in pages)


def _cors(core: Core) -> list[Middleware]:
    """Lets the shop's pages call the API. Tokens come in a header, never in a cookie, so that a
    page can do no more than what the token it holds allows."""
    if not core.settings.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=core.settings.allowed_origins,
            allow_methods=["POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id"],
            max_age=3600,
        )
    ]


def _hosts(core: Core) -> frozenset[str]:
    """In live mode with a public address, requests for any other name are refused."""
    url = core.settings.public_url
    return frozenset({host_of(urlsplit(url).netloc)} if url and core.settings.live else ())
