"""A man in the middle: passes a gateway's calls on to the simulator, and meddles with some."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dusangire.testing.rig import serve

Change: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(slots=True)
class Meddler:
    """`address` is the base URL to give to a gateway.

    change: what becomes of the JSON of status answers.
    hold: while it is cleared, calls about payments wait here and do not reach the provider.
    only: the method of the calls that wait; empty for all of them.
    """

    target: str
    address: str = ""
    change: Change | None = None
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    only: str = ""
    waiting: int = 0

    async def pass_on(self, request: Request) -> Response:
        if "/requesttopay" in request.url.path and request.method.startswith(self.only):
            self.waiting += 1
            try:
                await self.hold.wait()
            finally:
                self.waiting -= 1
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.request(
                request.method,
                f"{self.target}{request.url.path}",
                content=await request.body(),
                headers=[(k, v) for k, v in request.headers.items() if k != "host"],
            )
        is_status = request.method == "GET" and "/requesttopay/" in request.url.path
        if self.change is not None and is_status and answer.status_code == 200:
            return JSONResponse(self.change(answer.json()))
        kept = {"content-type": answer.headers.get("content-type", "text/plain")}
        return Response(answer.content, answer.status_code, kept)


@asynccontextmanager
async def meddling(target: str, change: Change | None = None) -> AsyncIterator[Meddler]:
    """A meddler that passes everything on, in this process and on a real port."""
    meddler = Meddler(target, change=change)
    meddler.hold.set()
    route = Route("/{path:path}", meddler.pass_on, methods=["GET", "POST", "PUT"])
    async with serve(Starlette(routes=[route])) as address:
        meddler.address = address
        yield meddler
