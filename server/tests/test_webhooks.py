"""What gateways send, by the route that they send it to."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dusangire.database import fetch
from dusangire.testing.fake import FakeConfig, sign
from dusangire.testing.rig import until
from dusangire_server.testing import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _path(shop: Shop, token: str | None = None) -> str:
    account = await shop.core.gateways.by_code("fake")
    return f"/webhooks/fake/{token or account.webhook_token}"


def _paid(reference: str, amount: str = "5000") -> bytes:
    told = {
        "id": f"tx-{reference}",
        "status": "PAID",
        "reference": reference,
        "amount": amount,
        "currency": "RWF",
    }
    return json.dumps({"event": told, "signature": sign(FakeConfig(), told)}).encode()


async def _waiting(shop: Shop) -> dict[str, Any]:
    created = await shop.create(method={"gateway": "fake", "phone": "0780000201"}, waitMs=2000)
    found: dict[str, Any] = (
        await shop.get(
            "query($id: ID!) { payment(id: $id) { id attempts { gatewayReference } } }",
            {"id": created["payment"]["id"]},
        )
    )["payment"]
    return found


async def _status(shop: Shop, payment_id: str) -> str:
    found = await shop.get("query($id: ID!) { payment(id: $id) { status } }", {"id": payment_id})
    return str(found["payment"]["status"])


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_signed_webhook_makes_a_payment_succeed(shop: Shop, method: str) -> None:
    payment = await _waiting(shop)
    body = _paid(payment["attempts"][0]["gatewayReference"])

    response = await shop.http.request(method, await _path(shop), content=body)

    assert (response.status_code, response.content) == (200, b"OK")

    async def paid() -> bool:
        return await _status(shop, payment["id"]) == "SUCCEEDED"

    await until(paid)


async def test_a_repeated_webhook_is_stored_once(shop: Shop) -> None:
    body = _paid("nobody's")

    statuses = [
        (await shop.http.post(await _path(shop), content=body)).status_code for _ in range(3)
    ]

    assert statuses == [200, 200, 200]
    [row] = await fetch("SELECT repeated FROM gateway_webhook WHERE reference = $1", "nobody's")
    assert row["repeated"] == 2


@pytest.mark.parametrize("token", ["wrong", "x" * 3000, "é", "%00", "..", "a%2Fb"])
async def test_a_wrong_token_is_unknown(shop: Shop, token: str) -> None:
    response = await shop.http.post(await _path(shop, token), content=_paid("x"))

    assert response.status_code == 404


@pytest.mark.parametrize("code", ["nope", "%00", "FAKE", "fake "])
async def test_a_gateway_that_is_none_is_unknown(shop: Shop, code: str) -> None:
    path = (await _path(shop)).replace("/fake/", f"/{code}/")

    assert (await shop.http.post(path, content=_paid("x"))).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[" * 100_000, 400),
        (b'{"event": {}, "signature": "\xc3\xa9"}', 401),
        (_paid("x").replace(b"5000", b"6000"), 401),
        (b"\x00" * 1000, 400),
    ],
)
async def test_a_forged_webhook_is_refused(shop: Shop, body: bytes, status: int) -> None:
    response = await shop.http.post(await _path(shop), content=body)

    assert response.status_code == status


async def test_s2_a_large_webhook_is_refused_whatever_its_length_says(shop: Shop) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(800):
            yield b" " * 64_000

    told = await shop.http.post(await _path(shop), content=b" " * 300_000)
    streamed = await shop.http.put(await _path(shop), content=endless())

    assert (told.status_code, streamed.status_code) == (413, 413)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_other_methods_are_refused(shop: Shop, method: str) -> None:
    assert (await shop.http.request(method, await _path(shop))).status_code == 405
