"""The line between client and provider, and what goes wrong on it: real faults on a real wire."""

import asyncio
from collections.abc import Iterator
from enum import StrEnum
from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OVERSIZE = 40_000_000
_CHUNK = b" " * 64_000
_FIREWALL_PAGE = "<html><head><title>Request Rejected</title></head><body>Denied.</body></html>"

Rate = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=600)]


class Fault(StrEnum):
    """One thing that goes wrong with one request. The values are the rates' names in `Faults`."""

    LOST = "lost_replies"
    HUNG = "hung_replies"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    HTML = "html"
    TRUNCATED = "truncated"
    OVERSIZED = "oversized"


class Faults(BaseModel):
    """How often things go wrong, as shares of 1. Each request suffers at most one of the first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lost_replies: Rate = Field(0, description="Done, then the connection closes unanswered.")
    hung_replies: Rate = Field(0, description="Done, and never answered.")
    refused: Rate = Field(0, description="Not done; the connection closes unanswered.")
    unavailable: Rate = Field(0, description="Not done; 503.")
    html: Rate = Field(0, description="Not done; a firewall's HTML page with status 200.")
    truncated: Rate = Field(0, description="Done; the answer's JSON breaks off.")
    oversized: Rate = Field(0, description="Done; the answer is 40 MB long.")
    only: str = Field("", description="Only requests whose path contains this suffer.")
    times: int | None = Field(None, ge=0, description="After this many faults all is well.")
    latency: Seconds = Field(0, description="Seconds before each answer.")
    latency_jitter: Seconds = Field(0, description="Up to this many seconds more, at random.")
    dropped_webhooks: Rate = Field(0, description="Webhooks that never arrive.")
    duplicated_webhooks: Rate = Field(0, description="Webhooks that arrive twice.")
    delayed_webhooks: Rate = Field(0, description="Webhooks that come late, and so out of order.")
    webhook_delay: Seconds = Field(2, description="The longest delay of a late webhook.")

    @model_validator(mode="after")
    def _add_up(self) -> "Faults":
        if sum(rate for _, rate in self.rates()) > 1:
            raise ValueError("the rates of faults add up to more than 1")
        return self

    def rates(self) -> Iterator[tuple[Fault, float]]:
        for fault in Fault:
            yield fault, getattr(self, fault.value)


class FaultySource:
    """Draws faults with a seeded random, so that a run can be repeated."""

    def __init__(self, random: Random, faults: Faults) -> None:
        self.random = random
        self.faults = faults
        self.suffered = 0

    def draw(self, path: str) -> Fault | None:
        """What this request suffers."""
        if self.faults.only not in path or self.suffered == self.faults.times:
            return None
        drawn = self.random.random()
        for fault, rate in self.faults.rates():
            if drawn < rate:
                self.suffered += 1
                return fault
            drawn -= rate
        return None

    def latency(self) -> float:
        return self.faults.latency + self.random.random() * self.faults.latency_jitter

    def happens(self, rate: float) -> bool:
        return self.random.random() < rate


class FaultyLine:
    """ASGI middleware: the app behind a bad connection."""

    def __init__(self, app: ASGIApp, source: FaultySource) -> None:
        self.app = app
        self.source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fault = self.source.draw(scope["path"])
        if latency := self.source.latency():
            await asyncio.sleep(latency)
        match fault:
            case None:
                await self.app(scope, receive, send)
            case Fault.REFUSED:
                await hang_up(receive)
            case Fault.UNAVAILABLE:
                await _unavailable()(scope, receive, send)
            case Fault.HTML:
                await HTMLResponse(_FIREWALL_PAGE)(scope, receive, send)
            case _:
                answer = _Answer()
                await self.app(scope, receive, answer.keep)
                await _spoil(fault, answer, receive, send)


async def hang_up(receive: Receive) -> None:
    """Closes the client's connection without an answer.

    ASGI has no word for that. Under uvicorn `receive` is a method of the object that holds the
    transport; under other servers the client waits until it gives up, which is a lost reply too.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
    await hang(receive)


async def hang(receive: Receive) -> None:
    """Waits until the client has gone. Uvicorn minds no missing answer after that."""
    while (await receive())["type"] != "http.disconnect":
        pass


class HangUp(Response):
    """The answer of an endpoint that gives none: the connection closes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await hang_up(receive)


class _Answer:
    """An answer that is kept back instead of sent."""

    def __init__(self) -> None:
        self.start: Message = {}
        self.body = b""

    async def keep(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message.get("body", b"")


async def _spoil(fault: Fault, answer: _Answer, receive: Receive, send: Send) -> None:
    if fault is Fault.LOST:
        await hang_up(receive)
    elif fault is Fault.HUNG:
        await hang(receive)
    elif fault is Fault.TRUNCATED:
        await _start(send, answer.start["status"])
        half = answer.body[: len(answer.body) // 2] or b'{"sta'
        await send({"type": "http.response.body", "body": half})
    else:
        await _start(send, answer.start["status"])
        for _ in range(OVERSIZE // len(_CHUNK)):
            await send({"type": "http.response.body", "body": _CHUNK, "more_body": True})
        await send({"type": "http.response.body", "body": b"{}"})


async def _start(send: Send, status: int) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


def _unavailable() -> Response:
    return JSONResponse(
        {
            "code": "SERVICE_UNAVAILABLE",
            "message": "Service temporarily unavailable, try again later.",
        },
        status_code=503,
    )
