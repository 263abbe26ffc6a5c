"""GraphQL over a WebSocket: the graphql-transport-ws protocol, for subscriptions only.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
from collections.abc import Collection
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from dusangire_server.doors import Doors, header
from dusangire_server.graphql import (
    Admitted,
    Asked,
    Caller,
    Faulty,
    GraphQL,
    Refused,
    Unwatched,
    faulty,
)
from dusangire_server.http import correlation_id
from dusangire_server.sse import first_of, still_valid

log = structlog.get_logger(__name__)

PROTOCOL = "graphql-transport-ws"


class Close(IntEnum):
    """Why a socket is closed. The words are sent along."""

    GOING_AWAY = 1001
    POLICY = 1008
    TOO_LARGE = 1009
    TRY_AGAIN = 1013
    BAD_MESSAGE = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NO_PROTOCOL = 4406
    INIT_TIMEOUT = 4408
    TWICE = 4409
    TOO_MANY = 4429

    @property
    def reason(self) -> str:
        return self.name.capitalize().replace("_", " ")


class _Closed(Exception):
    """This conversation is over. code None: the client left."""

    def __init__(self, code: Close | None) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class GraphQLOverWebSocket:
    """The route WS /graphql, as an ASGI app.

    doors: whose cookies count. origins: hosts whose pages may connect, beside our own.
    """

    graphql: GraphQL
    doors: Doors
    origins: Collection[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        if not self._is_our_page(scope):
            log.warning("security: foreign origin", origin=header(scope, b"origin")[:200])
            await send({"type": "websocket.close", "code": Close.POLICY})
            return
        offered = PROTOCOL in scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL if offered else None})
        socket = _Socket(receive, send, self.graphql.limits.message)
        if not offered:
            await socket.close(Close.NO_PROTOCOL)
            return
        # A shop's page may connect, but only with a token of its own: the cookie is for our pages.
        session = self.doors.session(scope)
        await _Conversation(self.graphql, socket, correlation_id(scope), session).hold()

    def _is_our_page(self, scope: Scope) -> bool:
        # Programs send no Origin; browsers always do, and a page cannot forge it.
        origin = header(scope, b"origin")
        if not origin:
            return True
        try:
            host = urlsplit(origin).netloc
        except ValueError:
            return False
        return bool(host) and (host == header(scope, b"host") or host in self.origins)


@dataclass(slots=True)
class _Socket:
    """JSON messages over one ASGI connection."""

    receive_: Receive
    send_: Send
    limit: int
    closed: bool = False

    async def receive(self) -> dict[str, Any]:
        """The next message. Raises _Closed for one that is none."""
        message = await self.receive_()
        if message["type"] == "websocket.disconnect":
            raise _Closed(None)
        text = message.get("text")
        if text is None:
            raise _Closed(Close.BAD_MESSAGE)
        if len(text.encode("utf-8", "surrogatepass")) > self.limit:
            raise _Closed(Close.TOO_LARGE)
        try:
            parsed = orjson.loads(text)
            orjson.dumps(parsed)
        except (orjson.JSONDecodeError, TypeError):
            raise _Closed(Close.BAD_MESSAGE) from None
        if not isinstance(parsed, dict) or not isinstance(parsed.get("type"), str):
            raise _Closed(Close.BAD_MESSAGE)
        return parsed

    async def send(self, kind: str, **members: Any) -> None:
        """Raises _Closed when the client has left."""
        text = orjson.dumps({"type": kind, **members}).decode()
        try:
            await self.send_({"type": "websocket.send", "text": text})
        except OSError as error:  # how ASGI servers tell
            raise _Closed(None) from error

    async def close(self, code: Close) -> None:
        # The client may be gone already, and then there is nobody to tell.
        with suppress(RuntimeError, OSError):
            await self.send_({"type": "websocket.close", "code": code, "reason": code.reason})


@dataclass(slots=True)
class _Conversation:
    """One client: its token, or the cookie of its session, and what it watches."""

    graphql: GraphQL
    socket: _Socket
    correlation_id: str
    session: str
    _watching: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def hold(self) -> None:
        """Talks until either side has had enough."""
        try:
            with ExitStack() as held:
                caller = await self._greet(held)
                await self._talk(caller)
        except _Closed as closed:
            if closed.code is not None:
                await self.socket.close(closed.code)
        except Exception:
            log.exception("socket failed")
            await self.socket.close(Close.TRY_AGAIN)

    async def _greet(self, held: ExitStack) -> Caller:
        """The first message must say who is there, and soon."""
        try:
            async with asyncio.timeout(self.graphql.limits.init_wait):
                message = await self._first()
        except TimeoutError:
            raise _Closed(Close.INIT_TIMEOUT) from None
        payload = message.get("payload")
        token = payload.get("authorization") if isinstance(payload, dict) else None
        try:
            caller = await self.graphql.caller(
                token if isinstance(token, str) else "", self.session if token is None else ""
            )
        except Refused as refused:
            raise _Closed(Close.TRY_AGAIN if refused.status == 503 else Close.FORBIDDEN) from None
        try:
            held.enter_context(self.graphql.connection(caller))
        except Refused:
            raise _Closed(Close.TOO_MANY) from None
        await self.socket.send("connection_ack")
        return caller

    async def _first(self) -> dict[str, Any]:
        while (message := await self.socket.receive())["type"] != "connection_init":
            if message["type"] == "ping":
                await self.socket.send("pong")
            elif message["type"] != "pong":
                raise _Closed(Close.UNAUTHORIZED)
        return message

    async def _talk(self, caller: Caller) -> None:
        try:
            await first_of(
                self._listen(caller),
                self._beat(),
                self._until(still_valid(self.graphql, caller), Close.FORBIDDEN),
                self._until(self.graphql.closing.wait(), Close.GOING_AWAY),
            )
        finally:
            watching = list(self._watching.values())
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _listen(self, caller: Caller) -> None:
        while True:
            message = await self.socket.receive()
            match message["type"]:
                case "ping":
                    await self.socket.send("pong")
                case "pong":
                    pass
                case "subscribe":
                    await self._subscribe(caller, message)
                case "complete":
                    if (task := self._watching.pop(str(message.get("id")), None)) is not None:
                        task.cancel()
                case "connection_init":
                    raise _Closed(Close.TOO_MANY)
                case _:
                    raise _Closed(Close.BAD_MESSAGE)

    async def _subscribe(self, caller: Caller, message: dict[str, Any]) -> None:
        name = message.get("id")
        if not isinstance(name, str) or not 0 < len(name) <= 100:
            raise _Closed(Close.BAD_MESSAGE)
        if name in self._watching:
            raise _Closed(Close.TWICE)
        try:
            admitted = self._admit(caller, message.get("payload"))
        except Refused as refused:
            await self.socket.send("error", id=name, payload=refused.answer["errors"])
            return
        except Faulty as fault:
            errors = faulty(fault, self.correlation_id)["errors"]
            await self.socket.send("error", id=name, payload=errors)
            return
        events = self.graphql.subscribe(admitted, self.correlation_id)
        task = asyncio.create_task(self._watch(name, events), name=f"subscription {name}")
        self._watching[name] = task

    def _admit(self, caller: Caller, payload: Any) -> Admitted:
        if len(self._watching) >= self.graphql.limits.subscriptions:
            raise Refused(429, "RATE_LIMITED", "This connection has too many subscriptions.")
        admitted = self.graphql.admit(caller, Asked.of(payload))
        if not admitted.is_subscription:
            raise Refused(400, "BAD_REQUEST", "Send queries and mutations with POST /graphql.")
        return admitted

    async def _watch(self, name: str, events: Any) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    await self.socket.send("next", id=name, payload=event)
            await self.socket.send("complete", id=name)
        except Unwatched as ended:
            with suppress(_Closed):
                await self.socket.send("error", id=name, payload=ended.errors)
            if ended.unauthenticated:
                await self.socket.close(Close.FORBIDDEN)
        except _Closed:
            pass  # nobody is there to be told
        except Exception:
            log.exception("subscription failed")
        finally:
            if self._watching.get(name) is asyncio.current_task():
                del self._watching[name]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.graphql.limits.heartbeat)
            await self.socket.send("ping")

    async def _until(self, ended: Any, code: Close) -> None:
        await ended
        raise _Closed(code)
