"""The faulty line: carries every request between a gateway and its provider, and breaks when told.

It is a real HTTP proxy on a real port, so that what a plugin sees is what a bad day looks like:
the request was processed and the connection ended, a firewall's page with status 200, half a JSON.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cache
from typing import TypeAlias

import h11
import httpx
from starlette.types import ASGIApp

HUGE = 40_000_000
_CHUNK = b" " * 250_000
_PAGE = b"<!doctype html><html><head><title>Request Rejected</title></head><body>No.</body></html>"
# Between two hops only, or no longer true of a body that was read whole.
_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"host", b"upgrade"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked. Header names are lower case."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: str) -> str:
        return next((v.decode("latin-1") for n, v in self.headers if n == name.encode()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. `size`: of a body that is too large to keep; it is all spaces."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    size: int | None = None

    def but(self, body: bytes, content_type: bytes = b"application/json") -> "Answer":
        """The same with another body."""
        others = tuple(h for h in self.headers if h[0] not in {b"content-type"})
        return replace(self, headers=(*others, (b"content-type", content_type)), body=body)


class Silence(Enum):
    """Ways to give no answer."""

    CUT = auto()  # the connection is reset
    CLOSED = auto()  # the connection is closed in good order
    WAITING = auto()  # the connection stays open


Answerer: TypeAlias = Callable[[Request], Awaitable[Answer | Silence]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What becomes of an answer on its way back.

    carried: whether the request reached the provider at all.
    """

    name: str
    spoil: Callable[[Answer], Answer | Silence]
    carried: bool = True

    def __str__(self) -> str:
        return self.name


def _page(status: int, content_type: bytes) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, status=status).but(_PAGE, content_type)


def _half(answer: Answer) -> Answer:
    if len(answer.body) < 2:
        return Answer(status=200).but(b'{"status": "SUCC')
    return answer.but(answer.body[: len(answer.body) // 2])


REPLY_CUT = Trouble(name="the connection is cut", spoil=lambda _: Silence.CUT)
REPLY_CLOSED = Trouble(name="the connection closes", spoil=lambda _: Silence.CLOSED)
REQUEST_LOST = Trouble(name="the request is lost", spoil=lambda _: Silence.CUT, carried=False)
NO_ANSWER = Trouble(name="no answer comes", spoil=lambda _: Silence.WAITING)
NONSENSE = {
    trouble.name: trouble
    for trouble in (
        Trouble(name="html", spoil=_page(200, b"text/html")),
        Trouble(name="html_with_502", spoil=_page(502, b"text/html")),
        Trouble(name="html_called_json", spoil=_page(200, b"application/json")),
        Trouble(name="truncated_json", spoil=_half),
        Trouble(name="another_shape", spoil=lambda _: Answer(status=200).but(b"[null, 1]")),
        Trouble(name="40_mb", spoil=lambda answer: replace(answer, size=HUGE).but(b"")),
    )
}


@dataclass(frozen=True, slots=True)
class Carried:
    """One request, and the provider's own answer to it (None if the request was lost)."""

    request: Request
    answer: Answer | None


Strikes: TypeAlias = Callable[[Carried], Awaitable[bool]]


async def always(_carried: Carried) -> bool:
    return True


@dataclass(slots=True)
class Line:
    """A line to a provider. `carried`: everything that went over it, in order."""

    _http: httpx.AsyncClient = field(repr=False)
    url: str = ""
    carried: list[Carried] = field(default_factory=list)
    _trouble: Trouble | None = None
    _strikes: Strikes = always

    @classmethod
    @asynccontextmanager
    async def to(cls, app: ASGIApp) -> AsyncIterator["Line"]:
        """An open line to `app`, whose address is now the line's `url`."""
        async with inside(app) as http:
            line = cls(_http=http)
            async with listen(line._carry) as line.url:
                yield line

    @contextmanager
    def broken(self, trouble: Trouble, strikes: Strikes = always) -> Iterator[None]:
        """Inside the block, `trouble` befalls every exchange for which `strikes` says so."""
        self._trouble, self._strikes = trouble, strikes
        try:
            yield
        finally:
            self._trouble, self._strikes = None, always

    async def _carry(self, request: Request) -> Answer | Silence:
        trouble = self._trouble
        if trouble is not None and not trouble.carried:
            self.carried.append(Carried(request, None))
            return trouble.spoil(Answer(status=200))
        answer = await self._ask(request)
        carried = Carried(request, answer)
        self.carried.append(carried)
        if trouble is None or not await self._strikes(carried):
            return answer
        return trouble.spoil(answer)

    async def _ask(self, request: Request) -> Answer:
        headers = [pair for pair in request.headers if pair[0] not in _HOP]
        async with self._http.stream(
            request.method, request.target, headers=headers, content=request.body
        ) as response:
            body = b"".join([chunk async for chunk in response.aiter_raw()])
        kept = tuple((n.lower(), v) for n, v in response.headers.raw if n.lower() not in _HOP)
        return Answer(status=response.status_code, headers=kept, body=body)


def inside(app: ASGIApp) -> httpx.AsyncClient:
    """A client of `app` in this process."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    base_url = "http://simulator.test"
    return httpx.AsyncClient(transport=transport, base_url=base_url, trust_env=False)


@cache
def no_certificates() -> ssl.SSLContext:
    """For plain HTTP on this machine: loading certificates takes longer than most tests."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextmanager
def nobody_listens() -> Iterator[str]:
    """The URL of a port that is taken, so that nobody else gets it, and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
        yield f"http://{host}:{port}"


@asynccontextmanager
async def listen(answer: Answerer) -> AsyncIterator[str]:
    """A small HTTP server on a free port, one request a connection; gives its URL."""
    open_connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_connections.add(task)
        try:
            await _converse(answer, reader, writer)
        except (ConnectionError, asyncio.CancelledError, h11.RemoteProtocolError):
            # Who hung up, or the end of the test: nobody is left to be told.
            writer.transport.abort()
        finally:
            open_connections.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)


async def _converse(
    answer: Answerer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    connection = h11.Connection(h11.SERVER)
    request = await _read(connection, reader)
    if request is None:
        writer.close()
        return
    match await answer(request):
        case Answer() as given:
            await _write(connection, writer, given)
            writer.close()
        case Silence.CUT:
            # With nothing to linger for, the other side gets a reset instead of a good-bye.
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        case Silence.CLOSED:
            writer.close()
        case Silence.WAITING:
            await reader.read()
            writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif head is not None and isinstance(event, h11.EndOfMessage):
            return Request(
                method=head.method.decode(),
                target=head.target.decode(),
                headers=tuple((bytes(name), bytes(value)) for name, value in head.headers),
                body=body,
            )
        else:
            return None


async def _write(connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
    size = len(answer.body) if answer.size is None else answer.size
    # These two have no body, and h11 refuses to be told the length of one.
    empty = answer.status in {204, 304}
    length = [] if empty else [(b"content-length", str(size).encode())]
    headers = [*answer.headers, *length, (b"connection", b"close")]
    head = connection.send(h11.Response(status_code=answer.status, headers=headers))
    writer.write(head or b"")
    if answer.size is None:
        writer.write(b"" if empty else answer.body)
    else:
        for _ in range(answer.size // len(_CHUNK)):
            writer.write(_CHUNK)
            await writer.drain()
    await writer.drain()
