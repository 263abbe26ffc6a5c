"""What strangers and a muddled provider send to the webhook route changes nothing by itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from tests.harness.client import Merchant
from tests.harness.evidence import sound
from tests.harness.meddler import meddling
from tests.harness.simulator import Simulator
from tests.harness.system import System

from dusangire.testing.rig import until

# Pending at MTN until the end of time, and never told about.
NEVER_ENDS = "250780000201"


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        yield http


def told(reference: str, **changes: Any) -> dict[str, Any]:
    """What MTN sends when a payment of 1500 was approved, `changes` over it."""
    return {
        "externalId": reference,
        "amount": "1500",
        "currency": "RWF",
        "financialTransactionId": "1234567890",
        "payer": {"partyIdType": "MSISDN", "partyId": NEVER_ENDS},
        "payerMessage": "",
        "payeeNote": "",
        "status": "SUCCESSFUL",
        **changes,
    }


async def worked_on(system: System) -> None:
    """Waits until the inbox is empty and what it hinted at was asked about."""
    connection = await asyncpg.connect(system.database_url)

    async def empty() -> bool:
        waiting = "SELECT count(*) FROM gateway_webhook WHERE status = 'RECEIVED'"
        return not await connection.fetchval(waiting)

    try:
        await until(empty, seconds=15)
    finally:
        await connection.close()
    await asyncio.sleep(1)


async def test_a_forged_success_leaves_a_pending_payment_pending(
    system: System, merchant: Merchant, http: httpx.AsyncClient, key: str
) -> None:
    created = await merchant.create(key, phone=NEVER_ENDS)
    before = await merchant.until(created.id, "PENDING")
    [attempt] = before["attempts"]

    answers = [
        await http.request(method, system.webhook_urls["mtn"], json=told(reference, **changes))
        for method in ("PUT", "POST")
        for reference, changes in [
            (attempt["gatewayReference"], {}),
            (attempt["gatewayReference"], {}),
            (attempt["gatewayReference"], {"amount": "1"}),
            (attempt["gatewayReference"], {"amount": "1500000"}),
            (attempt["gatewayReference"], {"currency": "USD"}),
            (attempt["gatewayReference"], {"status": "FAILED", "reason": "APPROVAL_REJECTED"}),
            (attempt["gatewayReference"], {"status": "SOMETHING_NEW"}),
        ]
    ]
    await worked_on(system)

    assert {answer.status_code for answer in answers} == {200}
    assert await merchant.payment(created.id) == before
    await sound(system, merchant)


async def test_a_forged_failure_leaves_a_paid_payment_paid(
    system: System, merchant: Merchant, http: httpx.AsyncClient, key: str
) -> None:
    created = await merchant.create(key)
    before = await merchant.until(created.id, "SUCCEEDED")
    [attempt] = before["attempts"]

    failure = told(attempt["gatewayReference"], status="FAILED", reason="APPROVAL_REJECTED")
    answer = await http.put(system.webhook_urls["mtn"], json=failure)
    await worked_on(system)

    assert answer.status_code == 200
    assert await merchant.payment(created.id) == before
    await sound(system, merchant)


async def test_a_genuine_webhook_repeated_or_spliced_onto_another_payment_has_no_effect(
    system: System, merchant: Merchant, mtn: Simulator, http: httpx.AsyncClient, key: str
) -> None:
    paid = await merchant.create(key)
    other = await merchant.create(f"{key} other", phone=NEVER_ENDS)
    await merchant.until(paid.id, "SUCCEEDED")
    await worked_on(system)
    before = [await merchant.payment(paid.id), await merchant.payment(other.id)]

    [charge] = (await mtn.truth()).told(key)
    body = charge["webhooks"][0]["body"]
    theirs = before[1]["attempts"][0]["gatewayReference"]
    for text in (body, body, body.replace(charge["reference"], theirs)):
        answer = await http.put(
            system.webhook_urls["mtn"], content=text, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 200
    await worked_on(system)

    assert [await merchant.payment(paid.id), await merchant.payment(other.id)] == before
    await sound(system, merchant)


async def test_a_webhook_about_an_unknown_payment_is_kept_and_makes_none(
    system: System, merchant: Merchant, http: httpx.AsyncClient
) -> None:
    known = len(await merchant.payments())
    reference = str(uuid4())

    answer = await http.put(system.webhook_urls["mtn"], json=told(reference))
    await worked_on(system)

    connection = await asyncpg.connect(system.database_url)
    kept = await connection.fetchval(
        "SELECT status FROM gateway_webhook WHERE reference = $1", reference
    )
    await connection.close()
    assert answer.status_code == 200
    assert kept == "ORPHAN"
    assert len(await merchant.payments()) == known


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"[1, 2]", 400),
        (b'{"externalId": ' + b"[" * 10_000, 400),
        (b"\xff\xfe\x00\x01", 400),
        (b'{"externalId": "' + b"a" * 50_000_000 + b'"}', 413),
    ],
    ids=["empty", "text", "a list", "deeply nested", "not UTF-8", "50 MB"],
)
async def test_what_is_no_webhook_is_refused_without_a_fault_of_ours(
    system: System, http: httpx.AsyncClient, content: bytes, status: int
) -> None:
    try:
        answer = await http.put(system.webhook_urls["mtn"], content=content)
    except httpx.WriteError:
        # Refused before all of it was sent.
        assert status == 413
        return

    assert answer.status_code == status


async def test_a_guessed_address_is_not_found(system: System, http: httpx.AsyncClient) -> None:
    url = system.webhook_urls["mtn"]
    guesses = [url[:-1], url + "x", url[:-4] + "AAAA", url.replace("/mtn/", "/cod/")]

    answers = [await http.put(guess, json=told(str(uuid4()))) for guess in guesses]

    assert {answer.status_code for answer in answers} == {404}


@pytest.mark.parametrize(
    "changes",
    [{"amount": "1"}, {"amount": "150000"}, {"currency": "USD"}, {"currency": "UGX"}],
    ids=lambda changes: " ".join(changes.values()),
)
async def test_a_tampered_amount_in_a_status_answer_is_flagged_and_never_a_success(
    system: System, merchant: Merchant, mtn: Simulator, key: str, changes: dict[str, str]
) -> None:
    gateway = f"mtn-{uuid4().hex[:8]}"
    async with meddling(mtn.address, lambda answer: {**answer, **changes}) as meddler:
        await system.save_gateway(gateway, "mtn", {**mtn.config, "base_url": meddler.address})
        created = await merchant.create(key, gateway=gateway)
        payment = await merchant.until(created.id, "PENDING", attention="AMOUNT_MISMATCH")

        await merchant.check(created.id)
        later = await merchant.payment(created.id)

    assert [one["moves"] for one in (await mtn.truth()).told(key)] == [1]
    assert payment["captured"]["amount"] == "0"
    assert (later["status"], later["captured"]["amount"]) == ("PENDING", "0")
    assert not [e for e in await merchant.events() if _is(e, created.id, "payment.succeeded")]


async def test_a_status_answer_about_another_payment_is_never_a_success(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    gateway = f"mtn-{uuid4().hex[:8]}"
    stranger = str(uuid4())
    async with meddling(mtn.address, lambda answer: {**answer, "externalId": stranger}) as meddler:
        await system.save_gateway(gateway, "mtn", {**mtn.config, "base_url": meddler.address})
        created = await merchant.create(key, gateway=gateway)
        await merchant.until(created.id, "PENDING")
        await asyncio.sleep(1)

        log = await merchant.transactions(created.id)
        payment = await merchant.payment(created.id)

    assert payment["status"] == "PENDING"
    assert any(entry["outcome"].startswith("refused:") for entry in log)


def _is(event: dict[str, Any], payment_id: str, type: str) -> bool:
    return bool(event["type"] == type and event["payment"]["id"] == payment_id)


async def test_one_told_amount_can_be_trusted_when_the_gateway_confirms_it(
    system: System, merchant: Merchant, key: str
) -> None:
    told_wrongly = await merchant.create(key, phone="250780000206")

    payment = await merchant.until(told_wrongly.id, "SUCCEEDED")

    assert payment["captured"]["amount"] == "1500"
    assert payment["needsAttention"] == []
    assert json.dumps(payment).count("999999") == 0
    await sound(system, merchant)
