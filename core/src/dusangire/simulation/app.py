"""The ASGI app around a simulated provider: its own paths, the control API, and a phone to tap on.

    GET  /                    a phone whose prompts a person approves or declines
    GET  /_control/truth      every transaction, how often its money moved, webhooks and answers
    GET, POST /_control/faults    {"lost_replies": 0.1}; what is not named is 0
    GET, POST /_control/settings  {"mode": "manual"}; what is not named stays
    POST /_control/decide     {"reference": "…", "decision": "approve" or "decline"}
    POST /_control/reset      {"seed": 7}
    GET  /_control/phone      what the phone shows

The provider's paths are behind the faulty line; these are not.
"""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from dusangire.errors import CallerError
from dusangire.gateway import JSON
from dusangire.simulation.line import Faults, FaultyLine
from dusangire.simulation.simulation import Simulation
from dusangire.simulation.transactions import Status, Transaction

_SHOWN = 8
_PAGE = {
    "": ("phone.html", "text/html"),
    "phone.css": ("phone.css", "text/css"),
    "phone.js": ("phone.js", "text/javascript"),
    "phone.svg": ("phone.svg", "image/svg+xml"),
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build_app(simulation: Simulation, provider: ASGIApp) -> Starlette:
    """`provider` answers the provider's paths. `app.state.simulation` is the simulation."""
    control = Control(simulation)
    app = Starlette(
        routes=[
            *(Route(f"/{path}", _page(*page)) for path, page in _PAGE.items()),
            Mount("/_control", routes=control.routes()),
            Mount("/", app=FaultyLine(provider, simulation.line)),
        ],
        exception_handlers={ValidationError: _refuse, CallerError: _refuse},
    )
    app.state.simulation = simulation
    return app


class Decision(BaseModel):
    """What a person taps."""

    model_config = ConfigDict(extra="forbid")

    reference: str
    decision: Literal["approve", "decline"]


class Reset(BaseModel):
    """Everything anew, with this random."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0


class Control:
    """The control API: what tests and the phone do to a simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    def routes(self) -> list[Route]:
        return [
            Route("/truth", self.truth),
            Route("/phone", self.phone),
            Route("/faults", self.faults, methods=["GET"]),
            Route("/faults", self.set_faults, methods=["POST"]),
            Route("/settings", self.settings, methods=["GET"]),
            Route("/settings", self.set_settings, methods=["POST"]),
            Route("/decide", self.decide, methods=["POST"]),
            Route("/reset", self.reset, methods=["POST"]),
        ]

    async def truth(self, _request: Request) -> Response:
        return JSONResponse(self.simulation.truth())

    async def phone(self, _request: Request) -> Response:
        newest = list(reversed(self.simulation.transactions.values()))
        waiting = [one for one in newest if one.status is Status.PENDING]
        ended = [one for one in newest if one.status is not Status.PENDING]
        return JSONResponse(
            {
                "name": self.simulation.name,
                "color": self.simulation.color,
                "mode": self.simulation.settings.mode,
                "waiting": [self._shown(one) for one in waiting[:_SHOWN]],
                "recent": [self._shown(one) for one in ended[:_SHOWN]],
            },
            headers={"Cache-Control": "no-store"},
        )

    async def faults(self, _request: Request) -> Response:
        return JSONResponse(self.simulation.line.faults.model_dump(mode="json"))

    async def set_faults(self, request: Request) -> Response:
        self.simulation.set_faults(Faults.model_validate(await _read(request)))
        return await self.faults(request)

    async def settings(self, _request: Request) -> Response:
        return JSONResponse(self.simulation.settings.model_dump(mode="json"))

    async def set_settings(self, request: Request) -> Response:
        wanted = await _read(request)
        current = self.simulation.settings
        merged = current.model_dump() | wanted
        self.simulation.settings = type(current).model_validate(merged)
        return await self.settings(request)

    async def decide(self, request: Request) -> Response:
        decision = Decision.model_validate(await _read(request))
        self.simulation.decide(decision.reference, approve=decision.decision == "approve")
        return JSONResponse({})

    async def reset(self, request: Request) -> Response:
        self.simulation.reset(Reset.model_validate(await _read(request)).seed)
        return JSONResponse({})

    def _shown(self, transaction: Transaction) -> dict[str, JSON]:
        return {
            "reference": transaction.reference,
            "kind": transaction.kind,
            "amount": _grouped(transaction.amount),
            "currency": transaction.currency,
            "party": transaction.party,
            "message": transaction.message,
            "status": transaction.status,
            "reason": transaction.reason,
            "seconds_left": self.simulation.seconds_left(transaction),
        }


async def _read(request: Request) -> dict[str, JSON]:
    """The JSON object of a POST of our own page or of a program, never of a foreign page.

    A foreign page cannot send application/json without asking first, and nobody answers that.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "Send application/json.")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "Another site may not decide here.")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "That is not JSON.") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "Send a JSON object.")
    return body


async def _refuse(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), status_code=400)


def _page(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_request: Request) -> Response:
        return Response(_file(name), media_type=media_type, headers=_PAGE_HEADERS)

    return serve


@cache
def _file(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


def _grouped(amount: str) -> str:
    try:
        return f"{Decimal(amount):,f}"
    except InvalidOperation:
        return amount
