"""WS /graphql with real sockets. S numbers are those of the security checklist."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from dusangire.permissions import Scope
from dusangire.testing.rig import serve, until
from dusangire_server.limits import Limits
from dusangire_server.testing import Shop, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROTOCOL = Subprotocol("graphql-transport-ws")
WATCH = "subscription($id: ID!) { paymentUpdated(id: $id) { cursor type payment { version } } }"
EVENTS = 'subscription { events(types: ["payment.created"]) { type payment { id } } }'
ALIASES = " ".join(f"a{n}: type" for n in range(16))
LIMITS = Limits(init_wait=2, heartbeat=0.3, connections_per_client=2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(limits=LIMITS) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(shop: Shop) -> AsyncIterator[str]:
    async with serve(shop.app) as base:
        yield base.replace("http", "ws") + "/graphql"


async def _send(socket: ClientConnection, kind: str, **members: Any) -> None:
    await socket.send(json.dumps({"type": kind, **members}))


async def _next(socket: ClientConnection) -> dict[str, Any]:
    """The next message that is not the server's ping."""
    async with asyncio.timeout(5):
        while (message := json.loads(await socket.recv()))["type"] == "ping":
            await _send(socket, "pong")
    found: dict[str, Any] = message
    return found


async def _closed(socket: ClientConnection, seconds: float = 5) -> int | None:
    """The code that the server closes with."""
    async with asyncio.timeout(seconds):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


@asynccontextmanager
async def _greeted(url: str, token: str) -> AsyncIterator[ClientConnection]:
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        await _send(socket, "connection_init", payload={"authorization": f"Bearer {token}"})
        assert await _next(socket) == {"type": "connection_ack"}
        yield socket


async def _watch(socket: ClientConnection, name: str, query: str, **variables: Any) -> None:
    await _send(socket, "subscribe", id=name, payload={"query": query, "variables": variables})


async def test_a_payer_watches_a_payment_to_its_end(shop: Shop, url: str) -> None:
    created = await shop.create(method={"gateway": "fake", "phone": "0780000000"})

    async with _greeted(url, created["clientToken"]) as socket:
        await _watch(socket, "1", WATCH, id=created["payment"]["id"])
        types: list[str] = []
        versions: list[int] = []
        while types[-1:] != ["payment.succeeded"]:
            event = (await _next(socket))["payload"]["data"]["paymentUpdated"]
            types.append(event["type"])
            versions.append(event["payment"]["version"])

    assert versions == sorted(set(versions))


async def test_what_is_complete_sends_no_more(shop: Shop, url: str) -> None:
    payment = (await shop.create())["payment"]

    async with _greeted(url, shop.admin) as socket:
        await _watch(socket, "1", WATCH, id=payment["id"])
        assert (await _next(socket))["id"] == "1"
        await _send(socket, "complete", id="1")
        await until(lambda: _watched(shop, 0))
        await shop.get(
            "mutation($i: CancelPaymentInput!) { cancelPayment(input: $i) { replayed } }",
            {"i": {"paymentId": payment["id"], "reason": "test"}},
        )
        await _send(socket, "ping")

        assert await _next(socket) == {"type": "pong"}


async def _watched(shop: Shop, count: int) -> bool:
    return len(shop.core.tail) == count


async def test_who_leaves_is_forgotten(shop: Shop, url: str) -> None:
    payment = (await shop.create())["payment"]
    async with _greeted(url, shop.admin) as socket:
        for name in "123":
            await _watch(socket, name, WATCH, id=payment["id"])
        await until(lambda: _watched(shop, 3))
        socket.transport.abort()

    await until(lambda: _watched(shop, 0))


# ── S13, S14, S15 ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("protocols", [["graphql-ws"], ["graphql"], None])
async def test_s13_other_protocols_are_closed(url: str, protocols: list[str] | None) -> None:
    offered = [Subprotocol(p) for p in protocols] if protocols else None

    async with connect(url, subprotocols=offered, proxy=None) as socket:
        assert await _closed(socket) == 4406


async def test_s14_who_says_nothing_is_closed(url: str) -> None:
    started = time.monotonic()

    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        assert await _closed(socket) == 4408

    assert time.monotonic() - started < 5
    assert Limits().init_wait <= 5


async def test_s14_who_subscribes_before_greeting_is_closed(url: str) -> None:
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        await _watch(socket, "1", EVENTS)

        assert await _closed(socket) == 4401


@pytest.mark.parametrize(
    "payload", [None, {}, {"authorization": "Bearer dpk_a_b"}, {"authorization": 1}, [], "x"]
)
async def test_s14_a_wrong_token_is_closed(url: str, payload: Any) -> None:
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        await _send(socket, "connection_init", payload=payload)

        assert await _closed(socket) == 4403


async def test_s14_a_token_in_the_address_opens_nothing(shop: Shop, url: str) -> None:
    address = f"{url}?authorization=Bearer%20{shop.admin}&token={shop.admin}"

    async with connect(address, subprotocols=[PROTOCOL], proxy=None) as socket:
        await _send(socket, "connection_init")

        assert await _closed(socket) == 4403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "file://", "http://[", "x"])
async def test_s15_a_foreign_page_cannot_connect(url: str, origin: str) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(url, subprotocols=[PROTOCOL], origin=Origin(origin), proxy=None):
            pass


async def test_s15_our_own_page_can_connect(shop: Shop, url: str) -> None:
    origin = Origin(url.replace("ws:", "http:").removesuffix("/graphql"))

    async with connect(url, subprotocols=[PROTOCOL], origin=origin, proxy=None) as socket:
        await _send(socket, "connection_init", payload={"authorization": f"Bearer {shop.admin}"})

        assert await _next(socket) == {"type": "connection_ack"}


# ── S16, S17, S18 ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "query", ["{ viewer { kind } }", 'mutation { checkPayment(paymentId: "1") { replayed } }']
)
async def test_s16_queries_and_mutations_go_by_post(shop: Shop, url: str, query: str) -> None:
    async with _greeted(url, shop.admin) as socket:
        await _watch(socket, "1", query)
        message = await _next(socket)

    assert message["type"] == "error"
    assert "POST /graphql" in message["payload"][0]["message"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription { evnts { type } }", "BAD_REQUEST"),
        ("subscription {", "BAD_REQUEST"),
        ("", "BAD_REQUEST"),
        ("subscription { a: events { type } b: events { type } }", "BAD_REQUEST"),
        (f"subscription {{ events {{ {ALIASES} }} }}", "TOO_COMPLEX"),
        ('subscription { paymentUpdated(id: "1") { type } }', "NOT_FOUND"),
        ('subscription { events(after: "forged") { type } }', "INVALID"),
    ],
)
async def test_s16_the_same_limits_hold_here(shop: Shop, url: str, query: str, code: str) -> None:
    async with _greeted(url, shop.admin) as socket:
        await _watch(socket, "1", query)
        message = await _next(socket)

        assert (message["type"], message["id"]) == ("error", "1")
        assert message["payload"][0]["extensions"]["code"] == code


async def test_s17_a_connection_watches_ten_things(shop: Shop, url: str) -> None:
    payment = (await shop.create())["payment"]

    async with _greeted(url, shop.admin) as socket:
        for n in range(11):
            await _watch(socket, str(n), WATCH, id=payment["id"])
        messages = [await _next(socket) for _ in range(11)]

    refused = [m for m in messages if m["type"] == "error"]
    assert [m["id"] for m in refused] == ["10"]
    assert refused[0]["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_s17_a_token_has_so_many_connections(shop: Shop, url: str) -> None:
    token = (await shop.create())["clientToken"]
    greeting = {"authorization": f"Bearer {token}"}

    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(_greeted(url, token))
        async with connect(url, subprotocols=[PROTOCOL], proxy=None) as one_more:
            await _send(one_more, "connection_init", payload=greeting)
            assert await _closed(one_more) == 4429

    assert (Limits().connections_per_key, Limits().connections_per_client) == (50, 5)
    async with _greeted(url, token):
        pass


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(json.dumps({"type": "ping", "payload": "x" * 65_536}), 1009, id="too large"),
        pytest.param("é" * 40_000, 1009, id="too large in bytes"),
        pytest.param("[" * 30_000, 4400, id="brackets"),
        pytest.param('{"type":"ping","payload":' + "[" * 500 + "]" * 500 + "}", 4400, id="deep"),
        pytest.param("nonsense", 4400, id="nonsense"),
        pytest.param("[]", 4400, id="a list"),
        pytest.param('{"type": 1}', 4400, id="a number for a type"),
        pytest.param('{"type": "start"}', 4400, id="an old message"),
        pytest.param('{"type": "subscribe"}', 4400, id="no id"),
        pytest.param('{"type": "subscribe", "id": ""}', 4400, id="an empty id"),
        pytest.param('{"type": "connection_init"}', 4429, id="a second greeting"),
        pytest.param(b"\x00\x01", 4400, id="binary"),
    ],
)
async def test_s17_what_is_no_message_closes(
    shop: Shop, url: str, message: str | bytes, code: int
) -> None:
    async with _greeted(url, shop.admin) as socket:
        await socket.send(message)

        assert await _closed(socket) == code


async def test_a_name_is_used_once_at_a_time(shop: Shop, url: str) -> None:
    async with _greeted(url, shop.admin) as socket:
        await _watch(socket, "1", EVENTS)
        await _watch(socket, "1", EVENTS)

        assert await _closed(socket) == 4409


async def test_the_server_pings(shop: Shop, url: str) -> None:
    async with _greeted(url, shop.admin) as socket:
        async with asyncio.timeout(3):
            assert json.loads(await socket.recv()) == {"type": "ping"}


@pytest.mark.parametrize("watching", [True, False])
async def test_s18_a_revoked_key_is_closed_within_five_seconds(
    shop: Shop, url: str, watching: bool
) -> None:
    made = await shop.get(
        'mutation { createApiKey(name: "till", scopes: [PAYMENTS_READ]) { apiKey { id } secret } }'
    )
    key = made["createApiKey"]

    async with _greeted(url, key["secret"]) as socket:
        if watching:
            await _watch(socket, "1", EVENTS)
        await shop.get(
            "mutation($id: ID!) { revokeApiKey(id: $id) { apiKey { revokedAt } } }",
            {"id": key["apiKey"]["id"]},
        )

        assert await _closed(socket, seconds=5) == 4403

    await until(lambda: _watched(shop, 0))


async def test_s18_a_payer_sees_no_other_payment(shop: Shop, url: str) -> None:
    own, other = await shop.create(), await shop.create()

    async with _greeted(url, own["clientToken"]) as socket:
        await _watch(socket, "1", WATCH, id=other["payment"]["id"])
        unknown = await _next(socket)
        await _watch(socket, "2", EVENTS)
        everything = await _next(socket)

    assert unknown["payload"][0]["extensions"]["code"] == "NOT_FOUND"
    assert everything["payload"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_process_that_ends_says_so(shop: Shop, url: str) -> None:
    async with _greeted(url, shop.keys[Scope.PAYMENTS_READ]) as socket:
        await _watch(socket, "1", EVENTS)
        shop.app.state.graphql.closing.set()

        assert await _closed(socket) == 1001

    await until(lambda: _watched(shop, 0))
    shop.app.state.graphql.closing.clear()
