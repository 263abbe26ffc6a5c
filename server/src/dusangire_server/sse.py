"""GraphQL over server-sent events: graphql-sse's distinct connections mode."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

import orjson
from starlette.types import Receive, Send

from dusangire_server.graphql import Answer, Caller, GraphQL, Unwatched

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # Proxies that collect an answer before they pass it on would hold events back.
    (b"x-accel-buffering", b"no"),
]
_COMPLETE = b"event: complete\ndata:\n\n"


async def single(answer: Answer) -> AsyncGenerator[Answer, None]:
    """One answer as a stream."""
    yield answer


async def send_events(
    graphql: GraphQL,
    caller: Caller | None,
    events: AsyncGenerator[Answer, None],
    receive: Receive,
    send: Send,
) -> None:
    """Sends `events` until they end, the client leaves, its token is revoked, or we close down.

    Whichever comes first, the generator behind `events` is closed.
    """
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await first_of(
        _pump(events, send),
        _gone(receive),
        _beat(graphql.limits.heartbeat, send),
        graphql.closing.wait(),
        *([still_valid(graphql, caller)] if caller is not None else []),
    )
    await send({"type": "http.response.body", "body": b""})


async def _pump(events: AsyncGenerator[Answer, None], send: Send) -> None:
    async with aclosing(events):
        try:
            async for event in events:
                await _write(send, b"event: next\ndata: " + orjson.dumps(event) + b"\n\n")
        except Unwatched as ended:
            answer = orjson.dumps({"errors": ended.errors})
            await _write(send, b"event: next\ndata: " + answer + b"\n\n")
        await _write(send, _COMPLETE)


async def _beat(every: float, send: Send) -> None:
    while True:
        await asyncio.sleep(every)
        await _write(send, b":\n\n")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def still_valid(graphql: GraphQL, caller: Caller) -> None:
    """Ends when the caller's token does not count any more."""
    while True:
        await asyncio.sleep(graphql.limits.access_check)
        if not await graphql.still_counts(caller):
            return


async def first_of(*waiting: Coroutine[Any, Any, Any]) -> None:
    """Runs all until one ends, and cancels the others. Raises what that one raised."""
    tasks = [asyncio.create_task(one) for one in waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
