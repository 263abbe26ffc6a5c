"""GraphQL by POST: JSON in, JSON or an event stream out. And what all our HTTP has in common."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import orjson
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from dusangire_schema.errors import masked
from dusangire_server.doors import Doors, header
from dusangire_server.graphql import Answer, Asked, Faulty, GraphQL, Refused, faulty
from dusangire_server.sse import send_events, single

log = structlog.get_logger(__name__)

_OURS = re.compile(r"[A-Za-z0-9._-]{1,64}")
# JSON nested less deeply than this needs no look: this many brackets do not fit in.
_SHALLOW = 500
# Asked by machines that know an address and no name.
_ANY_HOST = frozenset({"/health", "/ready", "/metrics"})

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# Whoever opened us over https does so for a year, whatever a link says.
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")
_MOST_HOPS = 20


class TooLarge(Exception):
    """The body is larger than we read."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The body, counted as it comes: what Content-Length says proves nothing. Raises TooLarge."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > limit:
            raise TooLarge
        if not message.get("more_body", False):
            return bytes(body)


def correlation_id(scope: Scope) -> str:
    return str(scope["state"]["correlation_id"])


async def send_json(
    send: Send, status: int, answer: Mapping[str, Any], *headers: tuple[bytes, bytes]
) -> None:
    body = orjson.dumps(answer)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True, slots=True)
class GraphQLOverHTTP:
    """The route POST /graphql, as an ASGI app. doors: whose cookies count."""

    graphql: GraphQL
    doors: Doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        except Refused as refused:
            self.graphql.metrics.refused(refused.status)
            await send_json(send, refused.status, refused.answer, *_hints(refused))
        except Exception:
            log.exception("request failed")
            answer = {"errors": [masked(correlation_id(scope))]}
            await send_json(send, 500, answer)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        payload = await self._body(scope, receive)
        session = self.doors.session(scope) if header(scope, b"x-csrf") == "1" else ""
        caller = await self.graphql.caller(header(scope, b"authorization"), session)
        asked = Asked.of(_json(payload))
        streaming = "text/event-stream" in header(scope, b"accept")
        request_id = correlation_id(scope)
        try:
            admitted = self.graphql.admit(caller, asked)
        except Faulty as fault:
            await self._send(send, receive, streaming, faulty(fault, request_id))
            return
        if not admitted.is_subscription:
            answer = await self.graphql.execute(admitted, request_id)
            await self._send(send, receive, streaming, answer)
            return
        if not streaming:
            raise Refused(
                406,
                "BAD_REQUEST",
                "Subscriptions come as `Accept: text/event-stream`, or over a WebSocket.",
            )
        with self.graphql.connection(caller):
            events = self.graphql.subscribe(admitted, request_id)
            await send_events(self.graphql, caller, events, receive, send)

    async def _send(self, send: Send, receive: Receive, streaming: bool, answer: Answer) -> None:
        if streaming:
            await send_events(self.graphql, None, single(answer), receive, send)
        else:
            await send_json(send, 200, answer)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        if scope["method"] != "POST":
            raise Refused(405, "BAD_REQUEST", "Send GraphQL with POST.")
        content_type = header(scope, b"content-type").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise Refused(415, "BAD_REQUEST", "Send GraphQL as application/json.")
        if header(scope, b"content-encoding") not in {"", "identity"}:
            raise Refused(415, "BAD_REQUEST", "Send the body as it is, not compressed.")
        try:
            return await read_body(receive, self.graphql.limits.body)
        except TooLarge:
            raise Refused(
                413, "TOO_LARGE", f"At most {self.graphql.limits.body:,} bytes can be sent."
            ) from None


def _json(body: bytes) -> Any:
    try:
        payload = orjson.loads(body)
        if len(body) > _SHALLOW:
            # Reading goes deeper than writing: what cannot be written again is too deep to keep.
            orjson.dumps(payload)
    except (orjson.JSONDecodeError, TypeError):
        raise Refused(400, "BAD_REQUEST", "The body is not JSON, or nested too deeply.") from None
    return payload


def _hints(refused: Refused) -> list[tuple[bytes, bytes]]:
    match refused.status:
        case 401:
            return [(b"www-authenticate", b"Bearer")]
        case 405:
            return [(b"allow", b"POST")]
        case 429 | 503:
            return [(b"retry-after", b"1")]
    return []


# ── what all routes have in common ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Guard:
    """Around every route: one id for logs and answer, headers for browsers, our own name only.

    hosts: the names that requests may come for; none: any.
    https: whether we are reached by https alone.
    proxies: whose X-Forwarded-For says who is calling.
    """

    app: ASGIApp
    hosts: Collection[str] = ()
    https: bool = False
    proxies: Sequence[IPv4Network | IPv6Network] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        request_id = given if _OURS.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["correlation_id"] = request_id
        bind_contextvars(correlation_id=request_id)
        https = (_HTTPS_ONLY,) if self.https else ()
        extra = (*SECURITY_HEADERS, *https, (b"x-request-id", request_id.encode()))
        if self.proxies and scope.get("client"):
            scope["client"] = (self._caller(scope), 0)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                # A page with a policy of its own, such as the dashboard's, keeps it.
                own = {name.lower() for name, _ in headers}
                message["headers"] = [*headers, *(pair for pair in extra if pair[0] not in own)]
            await send(message)

        if self.hosts and not self._is_ours(scope):
            await _refuse_host(scope, sending)
            return
        await self.app(scope, receive, sending)

    def _caller(self, scope: Scope) -> str:
        """The last address that a trusted proxy saw and that is no trusted proxy itself.

        What stands before it in the header is whatever the caller wrote there.
        """
        told = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        found = str(scope["client"][0])
        for hop in reversed(str(told, "latin-1").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]):
            if not self._trusts(found):
                break
            try:
                found = str(ip_address(hop.strip()))
            except ValueError:
                break
        return found

    def _trusts(self, address: str) -> bool:
        try:
            known = ip_address(address)
        except ValueError:
            return False
        known = getattr(known, "ipv4_mapped", None) or known
        return any(known in network for network in self.proxies)

    def _is_ours(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope["path"] in _ANY_HOST:
            return True
        return host_of(header(scope, b"host")) in self.hosts


def host_of(authority: str) -> str:
    """The name in a Host header or an address, without its port."""
    return (urlsplit(f"//{authority}").hostname or "") if _sane(authority) else ""


def _sane(authority: str) -> bool:
    return not re.search(r"[\s/@\\]", authority) and authority.count("[") == authority.count("]")


async def _refuse_host(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    refused = Refused(421, "BAD_REQUEST", "This host is not served here.")
    await send_json(send, refused.status, refused.answer)
