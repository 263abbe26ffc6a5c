"""What happens when something is slow, broken, revoked or asked too often."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest
from graphql import get_introspection_query
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from dusangire.permissions import Scope
from dusangire.testing.rig import serve
from dusangire_server.limits import Limits
from dusangire_server.testing import CREATE, Shop, open_shop

VIEWER = "{ viewer { kind } }"


def _codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


async def test_s22_a_revoked_key_is_out_within_five_seconds(own_shop: Shop) -> None:
    made = await own_shop.get(
        'mutation { createApiKey(name: "till", scopes: [PAYMENTS_READ]) { apiKey { id } secret } }'
    )
    token = made["createApiKey"]["secret"]
    assert (await own_shop.post(VIEWER, token=token)).status_code == 200
    await own_shop.get(
        "mutation($id: ID!) { revokeApiKey(id: $id) { apiKey { revokedAt } } }",
        {"id": made["createApiKey"]["apiKey"]["id"]},
    )

    revoked_at = time.monotonic()
    while (await own_shop.post(VIEWER, token=token)).status_code != 401:
        assert time.monotonic() - revoked_at < 5
        await asyncio.sleep(0.1)


async def test_s6_the_rate_counts_root_fields_not_requests() -> None:
    async with open_shop(limits=Limits(per_key=20)) as shop:
        ten = "{" + " ".join(f"v{n}: viewer {{ kind }}" for n in range(10)) + "}"
        await asyncio.sleep(1)

        responses = [await shop.post(ten) for _ in range(3)]

        assert [r.status_code for r in responses] == [200, 200, 429]
        assert responses[2].headers["retry-after"] == "1"
        assert _codes(responses[2].json()) == ["RATE_LIMITED"]


async def test_s6_a_payers_token_has_a_smaller_share(own_shop: Shop) -> None:
    token = (await own_shop.create())["clientToken"]
    fifteen = "{" + " ".join(f"v{n}: viewer {{ kind }}" for n in range(15)) + "}"

    statuses = [(await own_shop.post(fifteen, token=token)).status_code for _ in range(4)]

    assert 429 in statuses
    assert (await own_shop.post(VIEWER)).status_code == 200


async def test_s10_an_operation_that_takes_too_long_is_stopped() -> None:
    async with open_shop(limits=Limits(deadline=0.3)) as shop:
        connection = await asyncpg.connect(shop.database_url)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE payment IN ACCESS EXCLUSIVE MODE")
                started = time.monotonic()
                answer = await shop.ask("{ payments { edges { cursor } } }")
        finally:
            await connection.close()

        assert time.monotonic() - started < 1.5
        assert answer["data"] is None
        assert _codes(answer) == ["RETRYABLE"]


@asynccontextmanager
async def _changed(shop: Shop, change: str, back: str) -> AsyncIterator[None]:
    """The database with a change that no migration made; undone for the next test."""
    connection = await asyncpg.connect(shop.database_url)
    try:
        await connection.execute(change)
        yield
        await connection.execute(back)
    finally:
        await connection.close()


async def test_s7_an_error_of_ours_is_masked_with_an_id_that_the_log_has(own_shop: Shop) -> None:
    there, back = ("ALTER TABLE payment RENAME TO hunter2", "ALTER TABLE hunter2 RENAME TO payment")

    async with _changed(own_shop, there, back):
        with capture_logs() as logged:
            response = await own_shop.post(
                "{ payments { edges { node { reference } } } }", X_Request_Id="order-4711"
            )

    [error] = response.json()["errors"]
    assert error["extensions"] == {"code": "INTERNAL", "correlationId": "order-4711"}
    assert "hunter2" not in response.text
    assert '"payment"' not in error["message"]
    assert response.headers["x-request-id"] == "order-4711"
    assert any("request failed" in entry["event"] for entry in logged)


async def test_s8_live_mode_hides_the_schema_from_all_but_staff() -> None:
    async with open_shop(live=True) as shop:
        query = get_introspection_query()

        merchant = await shop.ask(query, token=shop.keys[Scope.PAYMENTS_WRITE])
        fragment = await shop.ask(
            '{ ...f } fragment f on Query { __type(name: "Payment") { name } }',
            token=shop.keys[Scope.PAYMENTS_READ],
        )
        staff = await shop.ask(query)

        assert "data" not in merchant
        assert "data" not in fragment
        assert "errors" not in staff


async def test_a_lost_database_is_retryable_everywhere() -> None:
    async with open_shop(through=_Wire.to) as shop:
        await shop.get(VIEWER)
        _Wire.laid[shop.database_url].cut()

        query = await shop.ask("{ payments { edges { cursor } } }")
        mutation = await shop.ask(
            CREATE, {"input": {"idempotencyKey": "k", "amount": {"amount": 1, "currency": "RWF"}}}
        )
        unknown_key = await shop.post(VIEWER, token="dpk_0123456789ab_00")
        ready = await shop.http.get("/ready")
        health = await shop.http.get("/health")

    assert _codes(query) == ["RETRYABLE"]
    [error] = mutation["data"]["createPayment"]["userErrors"]
    assert error["code"] == "RETRYABLE"
    assert [unknown_key.status_code, ready.status_code, health.status_code] == [503, 503, 200]


class _Wire:
    """A wire to the database that can be cut."""

    laid: ClassVar[dict[str, "_Wire"]] = {}

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[str]:
        """The URL of the same database, over the wire."""
        parts = urlsplit(url)
        folder = parse_qs(parts.query)["host"][0]
        wire = cls(f"{folder}/.s.PGSQL.5432")
        server = await asyncio.start_server(wire._carry, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        credentials = parts.netloc.rpartition("@")[0]
        wired = urlunsplit((parts.scheme, f"{credentials}@127.0.0.1:{port}", parts.path, "", ""))
        cls.laid[wired] = wire
        try:
            yield wired
        finally:
            wire.cut()
            server.close()

    def cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        self._writers |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("pay.example.rw", 200),
        ("pay.example.rw:443", 200),
        ("PAY.example.rw", 200),
        ("evil.example", 421),
        ("pay.example.rw.evil.example", 421),
        ("pay.example.rw@evil.example", 421),
        ("evil.example/pay.example.rw", 421),
        ("", 421),
    ],
)
async def test_s36_in_live_mode_only_our_own_name_is_served(host: str, status: int) -> None:
    async with open_shop(live=True, public_url="https://pay.example.rw") as shop:
        headers = {"Host": host, "Authorization": f"Bearer {shop.admin}"}
        spoofed = {"X-Forwarded-Host": "pay.example.rw", "X-Forwarded-For": "127.0.0.1"}

        response = await shop.http.post(
            "/graphql", json={"query": VIEWER}, headers={**headers, **spoofed}
        )

        assert response.status_code == status
        assert (await shop.http.get("/health", headers={"Host": host})).status_code == 200


async def test_readiness_misses_a_migration(own_shop: Shop) -> None:
    there = "UPDATE aerich SET version = 'x' || version"
    back = "UPDATE aerich SET version = substr(version, 2)"

    async with _changed(own_shop, there, back):
        missing = await own_shop.http.get("/ready")

    assert missing.status_code == 503
    assert (await own_shop.http.get("/ready")).status_code == 200


async def test_s36_a_socket_for_another_name_is_refused() -> None:
    async with (
        open_shop(live=True, public_url="https://pay.example.rw") as shop,
        serve(shop.app) as base,
    ):
        address = base.replace("http", "ws") + "/graphql"

        with pytest.raises(InvalidStatus):
            async with connect(
                address, subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None
            ):
                pass
