"""The database may be slow, crossed or gone: callers hear of it in time, and it heals."""

import asyncio
import os
import signal
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
from core.tests.conftest import Shop, open_shop, until
from tortoise.connection import get_connection

from dusangire import database
from dusangire.core import open_core
from dusangire.database import fetch, migrate, spawn, tx
from dusangire.errors import CannotStart, Retryable
from dusangire.exchanges import MAX_ANSWER, AnswerTooLarge, open_client
from dusangire.postgres import EmbeddedServer
from dusangire.settings import Settings


@asynccontextmanager
async def locking(shop: Shop, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """Another connection that holds the locks of `statement`."""
    connection = await asyncpg.connect(shop.url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(statement)
    yield connection
    await transaction.rollback()
    await connection.close()


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


async def test_waiting_for_a_connection_ends(tmp_path: Path, url: str) -> None:
    async with open_shop(tmp_path, url, connections=2) as shop:
        hogs = [asyncio.create_task(fetch("SELECT pg_sleep(3.9)")) for _ in range(2)]
        await asyncio.sleep(0.1)
        started = time.monotonic()

        with pytest.raises(Retryable):
            await fetch("SELECT 1")

        assert time.monotonic() - started < 5
        await asyncio.gather(*hogs)
        assert shop.core is not None


async def test_callers_that_go_away_take_no_connection_with_them(tmp_path: Path, url: str) -> None:
    async def work() -> None:
        while True:
            async with tx():
                await fetch("SELECT 1")

    async with open_shop(tmp_path, url, connections=4):
        pool = get_connection("default")._pool
        for turn in range(20):
            callers = [asyncio.create_task(work()) for _ in range(8)]
            await asyncio.sleep(0.02 + 0.001 * turn)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)

        async def all_are_back() -> bool:
            return all(not holder._in_use for holder in pool._holders)

        await until(all_are_back)
        assert (
            await asyncio.gather(*(fetch("SELECT 1 AS one") for _ in range(4)))
            == [[{"one": 1}]] * 4
        )


async def test_a_statement_that_takes_too_long_is_stopped(shop: Shop) -> None:
    started = time.monotonic()

    with pytest.raises(Retryable):
        await fetch("SELECT pg_sleep(20)")

    assert time.monotonic() - started < 6
    assert await fetch("SELECT 1 AS one") == [{"one": 1}]


async def test_a_row_that_somebody_else_holds_is_not_waited_for_long(shop: Shop) -> None:
    async with locking(shop, "SELECT * FROM gateway_account FOR UPDATE"):
        started = time.monotonic()

        with pytest.raises(Retryable):
            await fetch("UPDATE gateway_account SET name = 'x' RETURNING id")

        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("synchronous_commit", "on"),
        ("TimeZone", "UTC"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "10s"),
    ],
)
async def test_every_connection_has_its_limits(shop: Shop, setting: str, value: str) -> None:
    [row] = await fetch("SELECT current_setting($1) AS value", setting)

    assert row["value"] == value


# ── collisions ───────────────────────────────────────────────────────────────────────────────────


async def test_a_deadlock_is_tried_again_and_nobody_hears_of_it(shop: Shop) -> None:
    first, second = [row["code"] for row in await fetch("SELECT code FROM gateway_account")]
    statement = (
        "WITH one AS (SELECT id FROM gateway_account WHERE code = $1 FOR UPDATE), "
        "nap AS (SELECT pg_sleep(0.3) FROM one), "
        "two AS (SELECT id FROM gateway_account WHERE code = $2 AND (SELECT count(*) FROM nap) > 0 "
        "FOR UPDATE) SELECT count(*) AS n FROM two"
    )
    before = await shop.value(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )

    one, other = await asyncio.gather(
        fetch(statement, first, second), fetch(statement, second, first)
    )

    assert one == other == [{"n": 1}]
    await asyncio.sleep(1.1)  # statistics are told once a second
    assert (
        await shop.value(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        > before
    )


async def test_a_deadlock_in_a_transaction_can_be_tried_again(shop: Shop) -> None:
    first, second = [row["code"] for row in await fetch("SELECT code FROM gateway_account")]

    async def lock(one: str, other: str) -> str:
        try:
            async with tx():
                for code in (one, other):
                    await fetch("SELECT id FROM gateway_account WHERE code = $1 FOR UPDATE", code)
                    await asyncio.sleep(0.2)
        except Retryable:
            return "again"
        return "done"

    answers = await asyncio.gather(lock(first, second), lock(second, first))

    assert sorted(answers) == ["again", "done"]


# ── transactions ─────────────────────────────────────────────────────────────────────────────────


async def test_what_raises_in_a_transaction_leaves_nothing(shop: Shop) -> None:
    async def break_off() -> None:
        async with tx():
            await fetch("INSERT INTO customer (id, reference) VALUES ($1, 'c')", uuid4())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await break_off()

    assert await fetch("SELECT * FROM customer") == []


async def test_no_task_starts_inside_a_transaction(shop: Shop) -> None:
    async def work() -> None: ...

    async with tx():
        coroutine = work()
        with pytest.raises(RuntimeError, match="Inside a transaction"):
            spawn(coroutine, name="never")
        coroutine.close()


async def test_no_gateway_is_called_inside_a_transaction(shop: Shop) -> None:
    called = []

    async def provider(request: httpx.Request) -> httpx.Response:
        called.append(request)
        return httpx.Response(200)

    transport = httpx.MockTransport(provider)
    async with open_client("https://x.example", transport=transport) as http, tx():
        with pytest.raises(RuntimeError, match="Inside a transaction"):
            await http.get("/")

    assert called == []


async def test_after_a_transaction_tasks_may_start_again(shop: Shop) -> None:
    async with tx():
        pass

    async def work() -> int:
        return 7

    assert await spawn(work(), name="fine") == 7


async def test_a_connection_that_is_lost_inside_a_transaction_is_retryable(shop: Shop) -> None:
    async def lose_it() -> None:
        async with tx():
            [row] = await fetch("SELECT pg_backend_pid() AS pid")
            await shop.run("SELECT pg_terminate_backend($1)", row["pid"])
            await asyncio.sleep(0.1)
            await fetch("SELECT 1")

    with pytest.raises(Retryable):
        await lose_it()

    assert await fetch("SELECT 1 AS one") == [{"one": 1}]


async def test_a_connection_that_is_lost_at_commit_is_retryable(shop: Shop) -> None:
    async def lose_it() -> None:
        async with tx():
            [row] = await fetch("SELECT pg_backend_pid() AS pid")
            await shop.run("SELECT pg_terminate_backend($1)", row["pid"])
            await asyncio.sleep(0.1)

    with pytest.raises(Retryable):
        await lose_it()


async def test_connections_that_died_while_nobody_used_them_are_replaced(shop: Shop) -> None:
    await asyncio.gather(*(fetch("SELECT pg_sleep(0.05)") for _ in range(8)))
    await shop.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.1)

    answers = await asyncio.gather(
        *(fetch("SELECT 1 AS one") for _ in range(8)), return_exceptions=True
    )

    assert all(answer == [{"one": 1}] or isinstance(answer, Retryable) for answer in answers)
    assert await fetch("SELECT 1 AS one") == [{"one": 1}]


# ── gone and back ────────────────────────────────────────────────────────────────────────────────


async def test_a_killed_database_is_noticed_in_five_seconds_and_forgotten_ten_after(
    tmp_path: Path,
) -> None:
    with EmbeddedServer(tmp_path / "server") as server:
        await migrate(server.url)
        async with open_shop(tmp_path, server.url) as shop:
            acknowledged = await shop.create(idempotency_key="before")
            pid_file = tmp_path / "server" / "postgresql" / "data" / "postmaster.pid"
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)

            started = time.monotonic()
            with suppress(Retryable):
                await shop.create(idempotency_key="during")
            assert time.monotonic() - started < 5

            async def healthy() -> bool:
                with suppress(Retryable):
                    await shop.create(idempotency_key="after")
                    return True
                return False

            await until(healthy, within=10)
            again = await shop.create(idempotency_key="before")
            assert (again.payment.id, again.replayed) == (acknowledged.payment.id, True)


@pytest.mark.parametrize(
    "address",
    [
        "postgres://nobody@127.0.0.1:9/none",
        "postgres://127.0.0.1:99999/none",
        "postgres://127.0.0.1:x/none",
        "nonsense",
        "postgres:///none?host=/nowhere",
    ],
)
async def test_a_database_that_is_not_there_is_named_at_the_start(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(CannotStart, match="DUSANGIRE_DATABASE_URL"):
        async with open_core(Settings(home=tmp_path), address):
            pass
    with pytest.raises(CannotStart, match="DUSANGIRE_DATABASE_URL"):
        await migrate(address)


async def test_a_database_of_another_name_and_a_wrong_password_are_named(
    tmp_path: Path, url: str
) -> None:
    base, _, query = url.partition("?")
    missing = base.rpartition("/")[0] + "/not_there" + (f"?{query}" if query else "")

    for address in (missing, url.replace("@", "x@", 1)):
        with pytest.raises(CannotStart) as refused:
            async with open_core(Settings(home=tmp_path), address):
                pass
        assert str(urlsplit(url).password) not in str(refused.value)


async def test_a_process_leaves_no_connection_behind(tmp_path: Path, url: str) -> None:
    async with open_shop(tmp_path, url) as shop:
        await asyncio.gather(*(shop.create() for _ in range(10)))

    left = await shop.value(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert left == 0
    assert not [task for task in database._background if not task.done()]


# ── what a gateway may answer ────────────────────────────────────────────────────────────────────


async def answer_of(response: httpx.Response) -> httpx.Response:
    async def provider(request: httpx.Request) -> httpx.Response:
        return response

    async with open_client("https://x.example", transport=httpx.MockTransport(provider)) as http:
        return await http.get("/")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_packed_gigabyte_is_refused_before_it_is_unpacked(encoding: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(300)) + packer.flush()
    response = httpx.Response(
        200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(packed)
    )

    tracemalloc.start()
    with pytest.raises(AnswerTooLarge):
        await answer_of(response)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(packed) < MAX_ANSWER
    assert peak < 20_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_a_packed_answer_is_read(encoding: str) -> None:
    body = b'{"status": "SUCCESSFUL"}'
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    packed = body if encoding == "identity" else packer.compress(body) + packer.flush()
    headers = {"content-encoding": encoding, "content-type": "application/json"}

    answer = await answer_of(httpx.Response(200, headers=headers, stream=httpx.ByteStream(packed)))

    assert answer.json() == {"status": "SUCCESSFUL"}


async def test_a_large_answer_is_cut_off() -> None:
    with pytest.raises(AnswerTooLarge):
        await answer_of(httpx.Response(200, stream=httpx.ByteStream(b"x" * (MAX_ANSWER + 1))))
