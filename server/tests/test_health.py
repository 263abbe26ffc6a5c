"""A gateway that is down, as front ends, dashboards and operators see it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse

from dusangire.simulation.line import Faults
from dusangire.testing.rig import serve, until
from dusangire_server.testing import Shop

PAYER = {"gateway": "fake", "phone": "0780000201"}
HEALTH = """{ gateways { code health { status breaker successRate lastError lastErrorAt
    nextProbeAt unmappedCodes { code count firstSeenAt lastSeenAt } } } }"""
WATCH = """subscription { gatewayHealth { code health { status breaker lastError
    unmappedCodes { code } } } }"""


async def faults(shop: Shop, **rates: float) -> None:
    account = await shop.core.gateways.by_code("fake")
    assert account.gateway is not None
    shop.gateway.provider(account.gateway).simulation.set_faults(Faults(**rates))


async def breaks(shop: Shop) -> dict[str, Any]:
    """Its calls fail until a payment is refused; the refusal."""
    await shop.create(method=PAYER)
    await faults(shop, unavailable=1)
    errors: list[dict[str, Any]] = []

    async def refused() -> bool:
        errors[:] = (await shop.create(method=PAYER))["userErrors"]
        return bool(errors)

    await until(refused)
    return errors[0]


async def of_fake(shop: Shop, token: str | None = None) -> dict[str, Any]:
    gateways = (await shop.get(HEALTH, token=token))["gateways"]
    [found] = [gateway["health"] for gateway in gateways if gateway["code"] == "fake"]
    return dict(found)


async def test_it_is_refused_shown_and_taken_up_again_by_itself(own_shop: Shop) -> None:
    error = await breaks(own_shop)
    down = await of_fake(own_shop)
    metrics = await _metrics(own_shop)

    await faults(own_shop)

    async def works() -> bool:
        return not (await own_shop.create(method=PAYER))["userErrors"]

    await until(works)
    up = await of_fake(own_shop)

    assert error["code"] == "GATEWAY_UNAVAILABLE"
    assert error["field"] == ["method", "gateway"]
    assert (down["status"], down["breaker"]) == ("DOWN", "OPEN")
    assert "503" in down["lastError"]
    assert down["lastErrorAt"] is not None
    assert down["nextProbeAt"] is not None
    assert 'dusangire_gateway_breaker_open{gateway="fake"} 1.0' in metrics
    assert (up["breaker"], up["nextProbeAt"]) == ("CLOSED", None)
    assert 'dusangire_gateway_breaker_open{gateway="fake"} 0.0' in await _metrics(own_shop)


async def test_calls_are_counted_by_gateway_and_result(own_shop: Shop) -> None:
    await own_shop.create(method=PAYER)

    async def told() -> bool:
        return 'result="accepted"' in await _metrics(own_shop)

    await until(told)

    metrics = await _metrics(own_shop)
    assert 'gateway_calls_total{call="initiate",gateway="fake",result="accepted"} 1.0' in metrics
    assert 'dusangire_gateway_call_seconds_bucket{gateway="fake",le="30.0"}' in metrics
    assert 'dusangire_unmapped_codes{gateway="fake"} 0.0' in metrics


async def _metrics(shop: Shop) -> str:
    answer = await shop.http.get("/metrics", headers={"Authorization": f"Bearer {shop.admin}"})
    return answer.text


async def test_changes_come_as_events_with_the_health_of_that_moment(own_shop: Shop) -> None:
    await breaks(own_shop)
    found: list[dict[str, Any]] = []

    async def told() -> bool:
        query = """{ events(types: ["gateway.health"]) {
            type payment { id } gateway { code health { status breaker } } } }"""
        found[:] = (await own_shop.get(query))["events"]
        return any(event["gateway"]["health"]["breaker"] == "OPEN" for event in found)

    await until(told)

    assert {event["gateway"]["code"] for event in found} == {"fake"}
    opened = next(e for e in found if e["gateway"]["health"]["breaker"] == "OPEN")
    assert opened["gateway"]["health"]["status"] == "DOWN"
    assert opened["payment"] is None


@asynccontextmanager
async def _watching(shop: Shop, token: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async with serve(shop.app) as url:
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient() as http,
            aconnect_sse(
                http, "POST", f"{url}/graphql", json={"query": WATCH}, headers=headers
            ) as stream,
        ):
            yield (
                json.loads(message.data)["data"]["gatewayHealth"]
                async for message in stream.aiter_sse()
                if message.event == "next"
            )


@pytest.mark.parametrize("who", ["payer", "staff"])
async def test_whoever_sees_the_gateways_may_watch_them(own_shop: Shop, who: str) -> None:
    created = await own_shop.create()
    token = created["clientToken"] if who == "payer" else own_shop.admin

    async with _watching(own_shop, token) as changes:
        now = await anext(changes)
        await breaks(own_shop)
        seen = [await anext(changes)]
        while seen[-1]["health"]["breaker"] != "OPEN":
            seen.append(await anext(changes))

    assert now["health"]["breaker"] == "CLOSED"
    assert seen[-1]["code"] == "fake"
    assert (seen[-1]["health"]["lastError"] is None) is (who == "payer")


async def test_a_payer_is_told_no_errors_and_no_codes(own_shop: Shop) -> None:
    token = (await own_shop.create())["clientToken"]
    await breaks(own_shop)

    payer, staff = await of_fake(own_shop, token), await of_fake(own_shop)

    assert staff["lastError"] is not None
    assert (payer["lastError"], payer["lastErrorAt"], payer["unmappedCodes"]) == (None, None, [])
    assert (payer["status"], payer["breaker"]) == (staff["status"], staff["breaker"])
