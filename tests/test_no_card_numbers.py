"""No card number can be stored or logged: not by merchants, payers, webhooks or the provider.

A whole shop, and a provider that puts a number wherever there is room for one. Afterwards every
table is looked through, every column of every row, and every line of the log.
"""

import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from plugins.card.tests.test_wire import CHARGE
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.harness.kept import everything_kept, logged

from dusangire.access import OPERATOR
from dusangire.gateway import Environment
from dusangire.masking import has_card_number
from dusangire.testing.rig import serve, until
from dusangire_card.flutterwave.mapping import card_label
from dusangire_server.testing import Shop, open_shop

# A test number of Visa's: real ones are nobody's business, not even here.
PAN = "4111111111111111"
SPELLINGS = (PAN, "4111 1111 1111 1111", "4111-1111-1111-1111")
SECRET = "simulated-webhook-secret-hash"
CREATE = """mutation($input: CreatePaymentInput!) { createPayment(input: $input) {
    payment { id reference status nextAction { __typename ... on FollowLink { url } } }
    userErrors { code message field } } }"""


@dataclass
class LeakyProvider:
    """Answers as Flutterwave, with a card number in every place that ours might keep."""

    status: str = "pending"
    fails_with: Response | None = None
    references: list[str] = field(default_factory=list)
    url: str = ""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/payments", self.create, methods=["POST"]),
                Route("/{path:path}", self.other, methods=["GET", "POST"]),
            ]
        )

    async def create(self, request: Request) -> Response:
        if self.fails_with is not None:
            return self.fails_with
        self.references.append((await request.json())["tx_ref"])
        return said({"link": f"{self.url}/pay/x", "card": PAN}, message=f"Link for {PAN}")

    async def other(self, request: Request) -> Response:
        reference = request.query_params.get("tx_ref", "")
        return said(full_of_numbers(reference, self.status), message=f"Fetched {PAN}")


def full_of_numbers(reference: str, status: str) -> dict[str, Any]:
    return {
        **CHARGE,
        "tx_ref": reference,
        "amount": 5000,
        "status": status,
        "id": int(PAN),
        "flw_ref": f"FLW-MOCK-{PAN}",
        "narration": f"paid with {SPELLINGS[1]}",
        "processor_response": f"Approved {SPELLINGS[2]}",
        "account_id": int(PAN),
        "app_fee": int(PAN),
        "meta": {"pan": PAN, PAN: "as a name", "deep": [{"card": [PAN]}]},
        "customer": {"name": f"Aline {PAN}", "email": f"{PAN}@example.rw", "phone_number": PAN},
        "card": {
            "first_6digits": PAN,
            "last_4digits": PAN,
            "type": f"VISA {PAN}",
            "issuer": PAN,
            "expiry": PAN,
            "token": f"flw-t1nf-{PAN}",
        },
    }


def said(data: object, message: str) -> Response:
    body = json.dumps({"status": "success", "message": message, "data": data})
    return Response(body, media_type="application/json")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as out:
        yield out


@pytest.fixture
async def provider() -> AsyncIterator[LeakyProvider]:
    provider = LeakyProvider()
    async with serve(provider.app()) as provider.url:
        yield provider


@pytest.fixture
async def shop(provider: LeakyProvider, log: io.StringIO) -> AsyncIterator[Shop]:
    async with open_shop(public_url="https://pay.example.rw") as shop:
        await shop.core.gateways.save(
            OPERATOR,
            code="card",
            plugin="card",
            name="Card",
            environment=Environment.TEST,
            config={
                "base_url": provider.url,
                "secret_key": "FLWSECK_TEST-simulated-X",
                "webhook_secret_hash": SECRET,
                "email_domain": "buyers.example.rw",
            },
        )
        yield shop


async def assert_no_card_number(log: io.StringIO) -> None:
    texts = {**await everything_kept(), "the log": log.getvalue()}
    for place, text in texts.items():
        for spelling in SPELLINGS:
            assert spelling not in text, f"A card number is in {place}."
        # Other spellings too, but ids that are digits alone could be numbers by chance.
        assert "4111" not in re.sub(r"[ .-]", "", text) or not has_card_number(text), place


async def created(shop: Shop, **changes: Any) -> dict[str, Any]:
    given = {
        "idempotencyKey": f"key-{len(changes)}-{id(changes)}",
        "amount": {"amount": "5000", "currency": "RWF"},
        "method": {"gateway": "card"},
        "waitMs": 3000,
        **changes,
    }
    answer = await shop.get(CREATE, {"input": given})
    payload: dict[str, Any] = answer["createPayment"]
    return payload


async def status_of(shop: Shop, payment_id: str) -> str:
    query = "query($id: ID!) { payment(id: $id) { status } }"
    return str((await shop.get(query, {"id": payment_id}))["payment"]["status"])


async def webhook(shop: Shop, body: bytes, **headers: str) -> int:
    account = await shop.core.gateways.by_code("card")
    path = f"/webhooks/card/{account.webhook_token}"
    given = {"verif-hash": SECRET, **headers}
    return (await shop.http.post(path, content=body, headers=given)).status_code


# ── from the merchant ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", SPELLINGS)
async def test_a_merchant_cannot_give_one(shop: Shop, log: io.StringIO, number: str) -> None:
    inputs: list[dict[str, Any]] = [
        {"description": f"card {number}"},
        {"orderReference": number},
        {"idempotencyKey": number},
        {"metadata": {"card": number}},
        {"metadata": {number: "as a name"}},
        {"metadata": {"deep": [{"card": [number]}]}},
        {"metadata": {"number": int(PAN)}},
        {"customer": {"reference": number}},
        {"customer": {"reference": "uwase", "name": f"Aline {number}"}},
        {"customer": {"reference": "uwase", "email": f"{PAN}@example.rw"}},
        {"customer": {"reference": "uwase", "phone": number}},
        {"method": {"gateway": "card", "details": {"card": number}}},
        {"method": {"gateway": "card", "email": f"{PAN}@example.rw"}},
        {"method": {"gateway": "card", "phone": number}},
        {"method": {"gateway": number}},
        {"returnUrl": f"https://shop.example.rw/?card={number}"},
    ]

    answers = [await created(shop, **given) for given in inputs]

    assert all(answer["payment"] is None for answer in answers)
    assert all(answer["userErrors"] for answer in answers)
    await assert_no_card_number(log)


async def test_a_person_cannot_give_one_as_evidence_or_reason(shop: Shop, log: io.StringIO) -> None:
    payment = (await created(shop))["payment"]
    cancel = """mutation($id: ID!, $reason: String!) {
        cancelPayment(input: { paymentId: $id, reason: $reason }) {
            payment { id } userErrors { code } } }"""
    confirm = """mutation($id: ID!, $evidence: String!) { confirmPayment(input: {
        idempotencyKey: "c1", paymentId: $id, amount: { amount: "5000", currency: "RWF" },
        evidence: $evidence }) { payment { id } userErrors { code } } }"""

    refused = [
        await shop.ask(cancel, {"id": payment["id"], "reason": f"he said {PAN}"}),
        await shop.ask(confirm, {"id": payment["id"], "evidence": f"card {PAN}"}),
    ]

    for answer in refused:
        assert "4111" not in json.dumps(answer)
        [done] = answer["data"].values()
        assert done["userErrors"]
    await assert_no_card_number(log)


# ── from the provider ────────────────────────────────────────────────────────────────────────────


async def test_what_the_provider_answers_is_kept_without_it(
    shop: Shop, provider: LeakyProvider, log: io.StringIO
) -> None:
    payment = (await created(shop))["payment"]
    provider.status = "successful"
    [reference] = provider.references

    await webhook(shop, json.dumps({"txRef": reference, "status": "successful"}).encode())

    async def paid() -> bool:
        return await status_of(shop, payment["id"]) == "SUCCEEDED"

    await until(paid)
    kept = await everything_kept()
    assert "paid with" in kept["payment_transaction"], (
        "The answer is kept, so this proves something."
    )
    await assert_no_card_number(log)


@pytest.mark.parametrize("status", ["failed", f"on-hold {PAN}"])
async def test_its_words_and_reasons_are_kept_without_it(
    shop: Shop, provider: LeakyProvider, log: io.StringIO, status: str
) -> None:
    payment = (await created(shop))["payment"]
    provider.status = status

    await webhook(shop, json.dumps({"txRef": provider.references[0], "status": status}).encode())

    async def asked() -> bool:
        kept = await everything_kept()
        return "paid with" in kept["payment_transaction"]

    await until(asked)
    assert await status_of(shop, payment["id"]) == "PENDING"
    await assert_no_card_number(log)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Response(f"<h1>{PAN}</h1>", 502, media_type="text/html"), id="a page"),
        pytest.param(Response(f'{{"pan": "{PAN}", "x', 200), id="half a JSON"),
        pytest.param(
            Response(json.dumps({"status": "error", "message": PAN, "data": PAN}), 400), id="a no"
        ),
        pytest.param(
            Response(
                json.dumps(
                    {
                        "status": "success",
                        "message": "",
                        "data": {"link": f"https://checkout.flutterwave.com/pay/{PAN}"},
                    }
                ),
                200,
            ),
            id="in the link",
        ),
    ],
)
async def test_its_errors_are_kept_without_it(
    shop: Shop, provider: LeakyProvider, log: io.StringIO, answer: Response
) -> None:
    provider.fails_with = answer

    payment = (await created(shop))["payment"]

    assert payment["nextAction"] is None
    kept = await everything_kept()
    assert "•••" in kept["payment_transaction"], "The answer is kept, so this proves something."
    await assert_no_card_number(log)


# ── from webhooks and browsers ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", SPELLINGS)
@pytest.mark.parametrize("shape", ["event", "flat", "refund", "nobody's", "reference"])
async def test_webhooks_are_kept_without_it(
    shop: Shop, log: io.StringIO, shape: str, number: str
) -> None:
    data = {**full_of_numbers("7b1d0f9e-2c3a-4e58-8a17-6f5e4d3c2b1a", number), "pan": number}
    bodies: dict[str, dict[str, Any]] = {
        "event": {"event": "charge.completed", "data": data},
        "flat": {**data, "txRef": data["tx_ref"]},
        "refund": {**data, "AmountRefunded": 1, "comments": f"{number} {data['tx_ref']}"},
        "nobody's": {"event": number, "data": number},
        "reference": {"txRef": number, "id": number, "status": number},
    }

    status = await webhook(shop, json.dumps(bodies[shape]).encode(), **{"user-agent": number})

    assert status == 200
    assert "•••" in (await everything_kept())["gateway_webhook"]
    await assert_no_card_number(log)


@pytest.mark.parametrize(
    "headers", [{"verif-hash": "wrong"}, {"verif-hash": PAN}, {"flutterwave-signature": PAN}]
)
async def test_a_forged_webhook_leaves_nothing(
    shop: Shop, log: io.StringIO, headers: dict[str, str]
) -> None:
    body = json.dumps({"txRef": PAN, "card": PAN}).encode()

    status = await webhook(shop, body, **{"verif-hash": "wrong", **headers})

    assert status == 401
    assert not (await everything_kept())["gateway_webhook"]
    await assert_no_card_number(log)


async def test_what_a_browser_brings_back_is_not_kept(shop: Shop, log: io.StringIO) -> None:
    payment = (await created(shop))["payment"]
    query = f"status={PAN}&tx_ref={PAN}&transaction_id={PAN}&card={PAN}&lang={PAN}&n={PAN}"

    for path in (f"/return/{payment['reference']}?{query}", f"/return/{PAN}?{query}"):
        answer = await shop.http.get(path, headers={"user-agent": PAN, "referer": PAN})
        assert PAN not in answer.text
        posted = await shop.http.post(path, data={"card": PAN})
        assert PAN not in posted.text

    await assert_no_card_number(log)


def test_what_a_payer_knows_a_kept_card_by_holds_four_digits_at_most() -> None:
    assert card_label({"type": f"VISA {PAN}", "last_4digits": PAN}) == "Visa"
    assert card_label({"type": PAN, "last_4digits": "4242"}) == "Card •••• 4242"
    assert card_label({}) == "Card"
