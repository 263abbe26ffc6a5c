"""What MTN's webhooks make us hear: a hint whose payment it is, and never an outcome."""

import json
from contextlib import suppress

import pytest

from dusangire.errors import WebhookRejected
from dusangire.gateway import Heard, Reply, Trust, WebhookRequest
from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated

REFERENCE = "7b1d0f9e-2c3a-4e58-8a17-6f5e4d3c2b1a"
TOLD = {
    "financialTransactionId": "1195500001",
    "externalId": REFERENCE,
    "amount": "1500",
    "currency": "RWF",
    "payer": {"partyIdType": "MSISDN", "partyId": "250780000000"},
    "status": "SUCCESSFUL",
}


def hear(
    momo: Simulated,
    body: object,
    method: str = "PUT",
    content_type: str = "application/json",
) -> Heard:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = WebhookRequest(method=method, headers={"content-type": content_type}, body=raw)
    return momo.plugin.read_webhook(momo.gateway, request)


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
async def test_a_webhook_is_a_hint_and_no_more(
    momo: Simulated, method: str, content_type: str
) -> None:
    heard = hear(momo, TOLD, method, content_type)

    assert heard.reference == REFERENCE
    assert heard.trust is Trust.UNSIGNED
    assert heard.outcome is None
    assert heard.reply == Reply(status=200, body=b"")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"{", 400, id="half a JSON"),
        pytest.param(b"<html>", 400, id="HTML"),
        pytest.param(b"[]", 400, id="a list"),
        pytest.param(b"\xff\xff\xff", 400, id="not even text"),
        pytest.param(b"[" * 16_000, 400, id="deep nesting"),
        pytest.param(b'{"a":' * 3_000 + b"1" + b"}" * 1_300, 400, id="deep and broken"),
        pytest.param(b'{"amount": ' + b"9" * 10_000 + b"}", 400, id="a giant number"),
        pytest.param(json.dumps(TOLD).encode() + b" " * 16_384, 413, id="too large"),
    ],
)
async def test_what_is_no_webhook_is_rejected(momo: Simulated, body: bytes, status: int) -> None:
    with pytest.raises(WebhookRejected) as raised:
        hear(momo, body)

    assert raised.value.status == status


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({"externalId": REFERENCE}, REFERENCE),
        ({"referenceId": REFERENCE}, REFERENCE),
        ({"externalId": 7}, None),
        ({"externalId": ""}, None),
        ({"externalId": "x" * 65}, None),
        ({"externalId": "a\x00b"}, None),
        ({"externalId": "\ud800"}, None),
        ({}, None),
    ],
)
async def test_the_reference_is_the_id_that_mtn_repeats(
    momo: Simulated, fields: dict[str, object], reference: str | None
) -> None:
    assert hear(momo, fields).reference == reference


async def test_a_repeated_webhook_has_the_same_key_and_another_one_another(
    momo: Simulated,
) -> None:
    key = hear(momo, TOLD).dedupe_key

    assert hear(momo, dict(reversed(TOLD.items()))).dedupe_key == key
    for change in (
        {"status": "FAILED"},
        {"amount": "1501"},
        {"externalId": "another"},
        {"financialTransactionId": None},
    ):
        assert hear(momo, TOLD | change).dedupe_key != key


async def test_no_depth_of_nesting_blows_up(momo: Simulated) -> None:
    for depth in range(1, 2_000):
        nested = b'{"amount":' + b"[" * depth + b"]" * depth + b"}"
        with suppress(WebhookRejected):
            assert hear(momo, nested).reference is None


def test_the_plugin_hears_webhooks_and_refunds_in_parts(plugin: Plugin) -> None:
    assert {"CALLBACK", "STATUS_CHECK", "REFUND", "PARTIAL_REFUND"} <= plugin.capabilities
