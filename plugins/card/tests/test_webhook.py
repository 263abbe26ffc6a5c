"""What Flutterwave's webhooks make us hear: a hint, from whoever knows the hash."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from plugins.card.tests.conftest import Bench
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dusangire.errors import WebhookRejected
from dusangire.gateway import Attempt, Heard, Reply, Trust, WebhookRequest
from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated, serve, simulate, until

NewAttempt = Callable[..., Attempt]
SECRET = "simulated-webhook-secret-hash"
REFERENCE = "7b1d0f9e-2c3a-4e58-8a17-6f5e4d3c2b1a"
REFUND = "0a4b6c1d-9e2f-4a37-8b55-1c2d3e4f5a6b"

CHARGE: dict[str, Any] = {
    "event": "charge.completed",
    "event.type": "CARD_TRANSACTION",
    "data": {
        "id": 910000001,
        "tx_ref": REFERENCE,
        "flw_ref": "FLW-MOCK-0a1b2c",
        "amount": 15000,
        "currency": "RWF",
        "status": "successful",
        "card": {"first_6digits": "543898", "last_4digits": "0229"},
    },
    "meta_data": {"payment": "PAY-7K3M9Q2X"},
}
FLAT = {
    "id": 910000001,
    "txRef": REFERENCE,
    "flwRef": "FLW-MOCK-0a1b2c",
    "orderRef": "URF_1",
    "amount": 15000,
    "status": "successful",
    "currency": "RWF",
    "entity": {"card6": "543898", "card_last4": "0229"},
    "event.type": "CARD_TRANSACTION",
}
FLAT_REFUND = {
    "id": 75001,
    "AmountRefunded": 5000,
    "status": "completed",
    "FlwRef": "FLW-MOCK-0a1b2c",
    "comments": f"{REFUND} REF-2B8D4F6H",
    "meta": '{"source":"availablebalance"}',
    "TransactionId": 910000001,
}
NEW_REFUND = {
    "event": "refund.completed",
    "data": {"id": 75001, "amount_refunded": 5000, "status": "completed", "comments": REFUND},
}


def raw(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def sealed(body: object, secret: str = SECRET) -> bytes:
    return hmac.digest(secret.encode(), raw(body), hashlib.sha256)


def hear(bench: Bench, body: object, **headers: str) -> Heard:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = WebhookRequest(method="POST", headers=given, body=raw(body))
    return bench.plugin.read_webhook(bench.gateway, request)


@pytest.mark.parametrize(
    ("body", "reference"),
    [
        pytest.param(CHARGE, REFERENCE, id="a charge in data"),
        pytest.param(FLAT, REFERENCE, id="a flat charge"),
        pytest.param(FLAT_REFUND, REFUND, id="a flat refund"),
        pytest.param(NEW_REFUND, REFUND, id="a refund in data"),
        pytest.param({**CHARGE, "event": "charge.failed"}, REFERENCE, id="another event"),
        pytest.param({"event": "transfer.completed", "data": {"id": 1}}, None, id="not for us"),
        pytest.param({"event": "x", "data": []}, None, id="data of another shape"),
        pytest.param({**FLAT, "txRef": "order-1"}, None, id="a reference of somebody else"),
        pytest.param({**FLAT, "txRef": 7}, None, id="a reference of another type"),
        pytest.param({}, None, id="nothing"),
    ],
)
async def test_every_shape_is_a_hint_and_no_more(
    bench: Bench, body: object, reference: str | None
) -> None:
    heard = hear(bench, body, verif_hash=SECRET)

    assert heard.reference == reference
    assert heard.trust is Trust.SHARED_SECRET
    assert heard.outcome is None
    assert heard.reply == Reply(status=200)


@pytest.mark.parametrize(
    ("headers", "trust"),
    [
        ({"verif_hash": SECRET}, Trust.SHARED_SECRET),
        ({"flutterwave_signature": SECRET}, Trust.SHARED_SECRET),
        ({"flutterwave_signature": sealed(CHARGE).hex()}, Trust.SIGNED),
        ({"flutterwave_signature": base64.b64encode(sealed(CHARGE)).decode()}, Trust.SIGNED),
        (
            {"verif_hash": SECRET, "flutterwave_signature": sealed(CHARGE).hex()},
            Trust.SIGNED,
        ),
        ({"verif_hash": SECRET, "flutterwave_signature": "v2,later"}, Trust.SHARED_SECRET),
    ],
)
async def test_who_knows_the_hash_is_heard(
    bench: Bench, headers: dict[str, str], trust: Trust
) -> None:
    assert hear(bench, CHARGE, **headers).trust is trust


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"verif_hash": ""}, id="an empty hash"),
        pytest.param({"verif_hash": SECRET[:-1]}, id="nearly the hash"),
        pytest.param({"verif_hash": "é"}, id="not ASCII"),
        pytest.param({"verif_hash": "\ud800"}, id="half a character"),
        pytest.param({"flutterwave_signature": sealed(FLAT).hex()}, id="another message's"),
        pytest.param({"flutterwave_signature": sealed(CHARGE, "x").hex()}, id="another secret's"),
        pytest.param({"flutterwave_signature": "v2,later"}, id="a signature we do not know"),
        pytest.param(
            {"verif_hash": SECRET, "flutterwave_signature": sealed(FLAT).hex()},
            id="the right hash with a wrong signature",
        ),
    ],
)
async def test_a_forged_webhook_is_rejected(bench: Bench, headers: dict[str, str]) -> None:
    with pytest.raises(WebhookRejected) as raised:
        hear(bench, CHARGE, **headers)

    assert raised.value.status == 401
    assert SECRET not in raised.value.message


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half a JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xff", id="not even text"),
        pytest.param(json.dumps(CHARGE).encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":' * 50_000, id="deep nesting"),
        pytest.param(b'{"id": ' + b"9" * 10_000 + b"}", id="a giant number"),
    ],
)
async def test_what_is_no_webhook_is_rejected(bench: Bench, body: bytes) -> None:
    with pytest.raises(WebhookRejected) as raised:
        hear(bench, body, verif_hash=SECRET)

    assert raised.value.status == 400


async def test_a_repeated_webhook_has_the_same_key_and_another_one_another(bench: Bench) -> None:
    def key(body: dict[str, Any]) -> str:
        return hear(bench, body, verif_hash=SECRET).dedupe_key

    assert key(FLAT) == key(dict(reversed(FLAT.items()))) == key(CHARGE)
    others: list[dict[str, Any]] = [
        {"status": "failed"},
        {"id": 910000002},
        {"txRef": REFUND},
        {"AmountRefunded": 1},
    ]
    assert len({key(FLAT), *(key(FLAT | change) for change in others)}) == 5


# ── what the simulator sends ─────────────────────────────────────────────────────────────────────


async def received(
    plugin: Plugin, settings: dict[str, Any], new_attempt: NewAttempt
) -> tuple[Attempt, Simulated, list[WebhookRequest]]:
    """A paid attempt, and the webhooks that the simulator sent about it."""
    requests: list[WebhookRequest] = []

    async def catch(request: Request) -> Response:
        headers = dict(request.headers)
        body = await request.body()
        requests.append(WebhookRequest(method=request.method, headers=headers, body=body))
        return Response()

    app = Starlette(routes=[Route("/hook", catch, methods=["POST"])])
    async with (
        serve(app) as url,
        simulate(plugin, webhook_url=f"{url}/hook") as simulated,
        httpx.AsyncClient(verify=False) as page,
    ):
        await simulated.tell("settings", scale=0.01, **settings)
        bench = Bench(simulated, page)
        attempt = await bench.paid(new_attempt(), "visa-3ds")

        async def came() -> bool:
            return bool(requests)

        await until(came)
        return attempt, simulated, requests


@pytest.mark.parametrize("shape", ["event", "flat"])
@pytest.mark.parametrize(
    ("proof", "trust"), [("hash", Trust.SHARED_SECRET), ("hmac", Trust.SIGNED)]
)
async def test_the_simulators_webhooks_are_heard(
    plugin: Plugin, new_attempt: NewAttempt, shape: str, proof: str, trust: Trust
) -> None:
    settings = {"webhook_shape": shape, "webhook_proof": proof}
    attempt, simulated, requests = await received(plugin, settings, new_attempt)

    heard = plugin.read_webhook(simulated.gateway, requests[0])

    assert (heard.reference, heard.trust) == (attempt.reference, trust)
    assert b"flw-t1nf" not in requests[0].body


async def test_a_wrong_hash_of_the_simulator_is_rejected(
    plugin: Plugin, new_attempt: NewAttempt
) -> None:
    _, simulated, requests = await received(plugin, {"webhook_proof": "wrong"}, new_attempt)

    with pytest.raises(WebhookRejected):
        plugin.read_webhook(simulated.gateway, requests[0])


def test_the_plugin_hears_webhooks_and_gives_back_in_parts(plugin: Plugin) -> None:
    expected = {"CALLBACK", "STATUS_CHECK", "CANCEL", "REFUND", "PARTIAL_REFUND"}

    assert expected <= plugin.capabilities
    assert not plugin.description.repeatable_refunds
    assert plugin.implements("charge_token")
