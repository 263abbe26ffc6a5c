"""Subscriptions as server-sent events: POST /graphql with Accept: text/event-stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from httpx_sse import EventSource

from dusangire.testing.rig import serve, until
from dusangire_server.limits import Limits
from dusangire_server.testing import Shop, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

WATCH = "subscription($id: ID!) { paymentUpdated(id: $id) { type payment { version } } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(limits=Limits(heartbeat=0.2, connections_per_client=1)) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serve(shop.app) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client,
    ):
        yield client


@asynccontextmanager
async def _stream(
    http: httpx.AsyncClient, token: str, query: str, **variables: Any
) -> AsyncIterator[httpx.Response]:
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    body = {"query": query, "variables": variables}
    async with http.stream("POST", "/graphql", json=body, headers=headers) as response:
        yield response


async def _watched(shop: Shop, count: int) -> bool:
    return len(shop.core.tail) == count


async def test_a_payer_watches_a_payment_to_its_end(shop: Shop, http: httpx.AsyncClient) -> None:
    created = await shop.create(method={"gateway": "fake", "phone": "0780000000"})

    types = []
    async with _stream(http, created["clientToken"], WATCH, id=created["payment"]["id"]) as stream:
        async for event in EventSource(stream).aiter_sse():
            types.append(json.loads(event.data)["data"]["paymentUpdated"]["type"])
            if types[-1] == "payment.succeeded":
                break

    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"


async def test_who_leaves_is_forgotten(shop: Shop, http: httpx.AsyncClient) -> None:
    created = await shop.create()

    async with _stream(http, shop.admin, WATCH, id=created["payment"]["id"]):
        await until(lambda: _watched(shop, 1))

    await until(lambda: _watched(shop, 0))
    assert not shop.app.state.graphql._connections


async def test_a_query_comes_as_one_event(shop: Shop, http: httpx.AsyncClient) -> None:
    async with _stream(http, shop.admin, "{ viewer { kind } }") as stream:
        text = (await stream.aread()).decode()

    first, second, rest = text.split("\n\n")
    assert first == 'event: next\ndata: {"data":{"viewer":{"kind":"api_key"}}}'
    assert (second, rest) == ("event: complete\ndata:", "")


async def test_a_fault_comes_as_an_event_and_ends_the_stream(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    texts = []
    unknown = 'subscription { paymentUpdated(id: "1") { type } }'
    for query in ("subscription { evnts { type } }", unknown):
        async with _stream(http, shop.admin, query) as stream:
            texts.append((await stream.aread()).decode())

    assert "Cannot query field" in texts[0]
    assert '"code":"NOT_FOUND"' in texts[1]
    assert all(text.endswith("event: complete\ndata:\n\n") for text in texts)


async def test_without_a_token_there_is_no_stream(http: httpx.AsyncClient) -> None:
    async with _stream(http, "none", "subscription { events { type } }") as stream:
        assert stream.status_code == 401


async def test_a_stream_is_a_connection_that_is_counted(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    created = await shop.create()
    token, payment_id = created["clientToken"], created["payment"]["id"]

    async with (
        _stream(http, token, WATCH, id=payment_id) as first,
        _stream(http, token, WATCH, id=payment_id) as second,
    ):
        assert (first.status_code, second.status_code) == (200, 429)


async def test_a_subscription_needs_a_stream(shop: Shop) -> None:
    response = await shop.post("subscription { events { type } }")

    assert response.status_code == 406


async def test_a_quiet_stream_has_a_heartbeat(shop: Shop, http: httpx.AsyncClient) -> None:
    query = 'subscription { events(types: ["payment.created"]) { type } }'
    async with _stream(http, shop.admin, query) as stream:
        async with asyncio.timeout(3):
            assert await anext(stream.aiter_text()) == ":\n\n"


async def test_s18_a_revoked_key_ends_its_stream(shop: Shop, http: httpx.AsyncClient) -> None:
    made = await shop.get(
        'mutation { createApiKey(name: "till", scopes: [PAYMENTS_READ]) { apiKey { id } secret } }'
    )
    key = made["createApiKey"]

    async with _stream(http, key["secret"], "subscription { events { type } }") as stream:
        await shop.get(
            "mutation($id: ID!) { revokeApiKey(id: $id) { apiKey { revokedAt } } }",
            {"id": key["apiKey"]["id"]},
        )
        async with asyncio.timeout(5):
            await stream.aread()

    await until(lambda: _watched(shop, 0))


async def test_a_process_that_ends_ends_its_streams(shop: Shop, http: httpx.AsyncClient) -> None:
    async with _stream(http, shop.admin, "subscription { events { type } }") as stream:
        shop.app.state.graphql.closing.set()
        async with asyncio.timeout(2):
            await stream.aread()

    await until(lambda: _watched(shop, 0))
    shop.app.state.graphql.closing.clear()
