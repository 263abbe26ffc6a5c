"""A load generator that costs little: raw HTTP/1.1 over kept-alive sockets, without a library.

An HTTP library would take more of the two cores than the server it measures.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Measured:
    """`count` answers in `seconds`; `latencies` in milliseconds, sorted."""

    count: int
    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    def percentile(self, percent: float) -> float:
        return self.latencies[
            min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))
        ]


def graphql_request(key: str, query: str, variables: dict[str, object]) -> bytes:
    """The bytes of one GraphQL request."""
    body = orjson.dumps({"query": query, "variables": variables})
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def plain_request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def always(request: bytes) -> Callable[[int], bytes]:
    """The same request each time."""
    return lambda _n: request


async def measure(
    port: int,
    request: Callable[[int], bytes],
    *,
    seconds: float,
    concurrency: int = 16,
    check: bytes = b'"data"',
) -> Measured:
    """Sends `request(n)` from `concurrency` connections for a while, each after its last answer.

    Every answer must be a 200 that holds `check` and no error: a fast failure is not a result.
    """
    latencies: list[float] = []
    numbers = iter(range(10**12))
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            started = time.perf_counter()
            writer.write(request(next(numbers)))
            body = await _answer(reader)
            latencies.append((time.perf_counter() - started) * 1000)
            if check not in body or b'"errors"' in body or b'"code"' in body:
                raise RuntimeError(f"the benchmark measured a failure: {body[:500]!r}")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    took = time.perf_counter() - started
    return Measured(len(latencies), took, sorted(latencies))


async def paced(
    port: int,
    request: Callable[[int], bytes],
    *,
    seconds: float,
    rate: float,
    good: Callable[[bytes], bool],
) -> Measured:
    """Sends `rate` requests a second, whether the earlier ones were answered or not.

    As customers do: a server that gets slow does not get fewer of them. Every answer must be good.
    """
    loop, latencies = asyncio.get_running_loop(), list[float]()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(n: int, due: float) -> None:
        # Counted from when it was due: a generator that falls behind must not flatter the server.
        while idle and idle[-1][0].at_eof():
            idle.pop()[1].close()  # the server ends those that nobody used for a while
        connection = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(request(n))
        body = await _answer(connection[0])
        latencies.append((loop.time() - due) * 1000)
        idle.append(connection)
        if not good(body):
            raise RuntimeError(f"the benchmark measured a failure: {body[:500]!r}")

    begin, count = loop.time(), int(seconds * rate)
    async with asyncio.TaskGroup() as sending:
        for n in range(count):
            due = begin + n / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            sending.create_task(one(n, due))
    took = loop.time() - begin
    for _, writer in idle:
        writer.close()
    return Measured(len(latencies), took, sorted(latencies))


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the benchmark measured a failure: {head[:200]!r}")
    lowered = head.lower()
    start = lowered.index(b"content-length:") + len(b"content-length:")
    length = int(lowered[start : lowered.index(b"\r", start)])
    return await reader.readexactly(length)
