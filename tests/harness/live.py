"""Subscribers that lose their connection and go on from where they were, over WebSocket or SSE."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
from httpx_sse import aconnect_sse
from tests.harness.client import EVENT, OF_PAYMENTS, with_fragments
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

EVENTS = (
    f"subscription($after: String) {{ event: events(after: $after, types: {OF_PAYMENTS}) {EVENT} }}"
)
UPDATES = (
    "subscription($id: ID!, $afterVersion: Int) { event: paymentUpdated(id: $id, "
    "afterVersion: $afterVersion) { cursor type occurredAt payment { ...P } } }"
)

Transport: TypeAlias = Callable[
    [str, str, str, dict[str, Any]], AsyncGenerator[dict[str, Any], None]
]


class Interrupted(Exception):
    """The server ended the subscription, or the connection broke: subscribe again."""


async def over_websocket(
    address: str, token: str, document: str, variables: dict[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """Events over graphql-transport-ws. Raises Interrupted."""
    try:
        async with connect(
            f"{address.replace('http', 'ws', 1)}/graphql",
            subprotocols=[Subprotocol("graphql-transport-ws")],
            proxy=None,
            open_timeout=5,
            close_timeout=1,
        ) as socket:
            await socket.send(
                json.dumps(
                    {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
                )
            )
            async for text in socket:
                message = json.loads(text)
                match message["type"]:
                    case "connection_ack":
                        payload = {"query": with_fragments(document), "variables": variables}
                        subscribe = {"type": "subscribe", "id": "1", "payload": payload}
                        await socket.send(json.dumps(subscribe))
                    case "ping":
                        await socket.send(json.dumps({"type": "pong"}))
                    case "next":
                        yield _event(message["payload"])
                    case "error" | "complete":
                        raise Interrupted(text)
            raise Interrupted("closed")
    except (OSError, TimeoutError, WebSocketException) as error:
        raise Interrupted(repr(error)) from error


async def over_sse(
    address: str, token: str, document: str, variables: dict[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """Events over server-sent events. Raises Interrupted."""
    body = {"query": with_fragments(document), "variables": variables}
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(5, read=60)) as http,
            aconnect_sse(http, "POST", f"{address}/graphql", json=body, headers=headers) as source,
        ):
            async for event in source.aiter_sse():
                if event.event == "next":
                    yield _event(json.loads(event.data))
                elif event.event == "complete":
                    raise Interrupted("complete")
        raise Interrupted("closed")
    except httpx.HTTPError as error:
        raise Interrupted(repr(error)) from error


def _event(payload: dict[str, Any]) -> dict[str, Any]:
    if payload.get("errors"):
        raise Interrupted(str(payload["errors"]))
    event: dict[str, Any] = payload["data"]["event"]
    return event


@dataclass(slots=True)
class Subscriber:
    """Collects events in `seen`, over as many connections as it takes.

    payment_id: watch this payment and resume by version; None: watch all and resume by `cursor`.
    breaks: how often the connection was lost, or dropped on purpose.
    """

    addresses: Sequence[str]
    token: str
    payment_id: str | None = None
    cursor: str | None = None
    transport: Transport = over_websocket
    seed: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    breaks: int = 0
    why: list[str] = field(default_factory=list)
    _task: "asyncio.Task[None] | None" = None
    _connection: "asyncio.Task[None] | None" = None

    async def __aenter__(self) -> "Subscriber":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @property
    def versions(self) -> list[int]:
        return [event["payment"]["version"] for event in self.seen if event["payment"]]

    @property
    def cursors(self) -> list[str]:
        return [event["cursor"] for event in self.seen]

    def drop(self) -> None:
        """Cuts the connection; the next one follows at once."""
        if self._connection is not None:
            self._connection.cancel()

    async def until(
        self, condition: Callable[[dict[str, Any]], bool], *, seconds: float = 15
    ) -> dict[str, Any]:
        """The first event that fits. Raises TimeoutError, showing what was seen."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            for event in self.seen:
                if condition(event):
                    return event
            await asyncio.sleep(0.02)
        shown = [(event["type"], event["cursor"]) for event in self.seen]
        raise TimeoutError(f"not seen after {seconds} s: {shown}, interrupted by {self.why[-3:]}")

    async def _run(self) -> None:
        chooser = random.Random(self.seed)
        while True:
            address = chooser.choice(self.addresses)
            self._connection = asyncio.create_task(self._listen(address))
            try:
                await self._connection
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    self._connection.cancel()
                    raise
            except Interrupted as interrupted:
                self.why.append(str(interrupted)[:300])
                await asyncio.sleep(chooser.uniform(0.05, 0.2))
            self.breaks += 1

    async def _listen(self, address: str) -> None:
        document = EVENTS if self.payment_id is None else UPDATES
        async with aclosing(
            self.transport(address, self.token, document, self._position())
        ) as events:
            async for event in events:
                self.seen.append(event)
                self.cursor = event["cursor"]

    def _position(self) -> dict[str, Any]:
        if self.payment_id is None:
            return {"after": self.cursor}
        return {"id": self.payment_id, "afterVersion": max(self.versions, default=None)}
