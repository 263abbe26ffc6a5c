"""A bank transfer through the front door, from its instructions to the evidence that it came."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from dusangire.testing.rig import until
from dusangire_server.testing import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAVE = """mutation($input: SaveGatewayInput!) { saveGateway(input: $input) {
    gateway { code config capabilities } userErrors { code message field } } }"""
PAY = """mutation($input: CreatePaymentInput!) { createPayment(input: $input) {
    payment { id reference status expiresAt nextAction { __typename ... on TransferToAccount {
        bankName accountName accountNumber swiftCode reference amount { amount currency } expiresAt
        rw: instructions(locale: "rw") en: instructions fr: instructions(locale: "fr-RW")
        sw: instructions(locale: "sw") nothing: instructions(locale: null) } } }
    userErrors { code message field } } }"""
CONFIRM = """mutation($input: ConfirmPaymentInput!) { confirmPayment(input: $input) {
    payment { id status captured { amount } needsAttention nextAction { __typename } }
    replayed userErrors { code field } } }"""
CANCEL = """mutation($input: CancelPaymentInput!) { cancelPayment(input: $input) {
    payment { status failure { code message } } userErrors { code } } }"""
LOG = """query($id: ID!) { payment(id: $id) { transactions { edges { node {
    kind outcome request } } } } }"""
SEARCH = "query($f: PaymentFilter) { payments(filter: $f) { edges { node { id } } } }"


async def save(shop: Shop, code: str, **config: Any) -> dict[str, Any]:
    given = {
        "code": code,
        "plugin": "bank",
        "name": config["bank_name"],
        "environment": "TEST",
        "config": {"account_name": "Umurage Coffee Ltd", **config},
    }
    saved: dict[str, Any] = (await shop.get(SAVE, {"input": given}))["saveGateway"]
    assert saved["userErrors"] == []
    return saved["gateway"]  # type: ignore[no-any-return]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bk(shop: Shop) -> str:
    await save(
        shop, "bk", bank_name="Bank of Kigali", account_number="000400000001", swift_code="BKIGRWRW"
    )
    return "bk"


async def pay(shop: Shop, gateway: str, **changes: Any) -> dict[str, Any]:
    given = {
        "idempotencyKey": f"transfer-{uuid4()}",
        "amount": {"amount": "15000", "currency": "RWF"},
        "method": {"gateway": gateway},
        "waitMs": 5000,
        **changes,
    }
    payload = (await shop.get(PAY, {"input": given}))["createPayment"]
    assert payload["userErrors"] == []
    return payload["payment"]  # type: ignore[no-any-return]


async def confirm(shop: Shop, payment: dict[str, Any], key: str, **changes: Any) -> dict[str, Any]:
    given = {
        "idempotencyKey": key,
        "paymentId": payment["id"],
        "amount": {"amount": "15000", "currency": "RWF"},
        "evidence": "BK statement of 23 November, FT26327AB1C2",
        **changes,
    }
    payload: dict[str, Any] = (await shop.get(CONFIRM, {"input": given}))["confirmPayment"]
    return payload


async def test_a_transfer_is_asked_for_in_three_languages(shop: Shop, bk: str) -> None:
    payment = await pay(shop, bk)

    action = payment["nextAction"]
    body = payment["reference"].replace("-", "")
    assert payment["status"] == "PENDING"
    assert action["__typename"] == "TransferToAccount"
    assert action["bankName"] == "Bank of Kigali"
    assert action["accountNumber"] == "000400000001"
    assert action["amount"] == {"amount": "15000", "currency": "RWF"}
    assert action["reference"].endswith(body)
    assert action["rw"].startswith("Ohereza 15,000 RWF kuri konti")
    assert action["fr"].startswith("Virez 15\N{NO-BREAK SPACE}000 RWF")
    assert action["en"].startswith("Transfer 15,000 RWF")
    assert action["sw"] == action["nothing"] == action["en"]


async def test_a_transfer_that_a_person_saw_arrive_has_succeeded(shop: Shop, bk: str) -> None:
    payment = await pay(shop, bk)

    wrong = await confirm(shop, payment, "wrong", amount={"amount": "14000", "currency": "RWF"})
    confirmed = await confirm(shop, payment, "seen", note="One line")
    again = await confirm(shop, payment, "seen", note="One line")
    twice = await confirm(shop, payment, "seen twice")

    assert [error["code"] for error in wrong["userErrors"]] == ["INVALID_AMOUNT"]
    assert confirmed["payment"] == {
        "id": payment["id"],
        "status": "SUCCEEDED",
        "captured": {"amount": "15000"},
        "needsAttention": [],
        "nextAction": None,
    }
    assert (confirmed["replayed"], again["replayed"]) == (False, True)
    assert again["payment"] == confirmed["payment"]
    assert [error["code"] for error in twice["userErrors"]] == ["ILLEGAL_STATE"]


async def test_the_evidence_stands_in_the_log(shop: Shop, bk: str) -> None:
    payment = await pay(shop, bk)
    await confirm(shop, payment, "evidence", note="Seen by two")

    found = await shop.get(LOG, {"id": payment["id"]})

    nodes = [edge["node"] for edge in found["payment"]["transactions"]["edges"]]
    assert [(node["kind"], node["outcome"]) for node in nodes] == [
        ("INITIATE", "pending"),
        ("MANUAL", "succeeded"),
    ]
    assert nodes[-1]["request"]["evidence"] == "BK statement of 23 November, FT26327AB1C2"
    assert nodes[-1]["request"]["note"] == "Seen by two"


@pytest.mark.parametrize("typed", ["compact", "printed", "small", "part"])
async def test_a_payment_is_found_by_what_stands_on_the_statement(
    shop: Shop, bk: str, typed: str
) -> None:
    payment = await pay(shop, bk)
    await pay(shop, bk)
    reference = payment["nextAction"]["reference"]
    printed = " ".join(reference[i : i + 4] for i in range(0, len(reference), 4))
    text = {
        "compact": reference,
        "printed": printed,
        "small": reference.lower(),
        "part": reference[:10],
    }[typed]

    found = await shop.get(SEARCH, {"f": {"search": text}})

    assert found["payments"]["edges"] == [{"node": {"id": payment["id"]}}]


# ── a transfer that comes late ───────────────────────────────────────────────────────────────────


async def test_a_transfer_has_all_the_time_it_needs_unless_somebody_says_how_much(
    shop: Shop, bk: str
) -> None:
    until_then = (datetime.now(UTC) + timedelta(days=5)).replace(microsecond=0)

    unlimited = await pay(shop, bk)
    limited = await pay(shop, bk, expiresAt=until_then.isoformat())

    assert (unlimited["expiresAt"], unlimited["nextAction"]["expiresAt"]) == (None, None)
    assert datetime.fromisoformat(limited["expiresAt"]) == until_then
    assert limited["nextAction"]["expiresAt"] == limited["expiresAt"]


async def test_a_transfer_that_was_on_its_way_when_it_was_cancelled_still_counts(
    shop: Shop, bk: str
) -> None:
    payment = await pay(shop, bk)

    cancelled = (
        await shop.get(CANCEL, {"input": {"paymentId": payment["id"], "reason": "Changed mind"}})
    )["cancelPayment"]
    confirmed = await confirm(shop, payment, "after the cancellation")

    assert cancelled["userErrors"] == []
    assert cancelled["payment"]["status"] == "CANCELLED"
    assert "If you have sent it already" in cancelled["payment"]["failure"]["message"]
    assert confirmed["payment"]["status"] == "SUCCEEDED"
    assert confirmed["payment"]["needsAttention"] == ["LATE_SUCCESS"]


async def test_a_transfer_that_comes_after_its_time_still_counts(shop: Shop, bk: str) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    payment = await pay(shop, bk, expiresAt=soon.isoformat())

    async def expired() -> bool:
        found = await shop.get(
            "query($id: ID!) { payment(id: $id) { status } }", {"id": payment["id"]}
        )
        return bool(found["payment"]["status"] == "EXPIRED")

    await until(expired)
    confirmed = await confirm(shop, payment, "after its time")

    assert confirmed["payment"]["status"] == "SUCCEEDED"
    assert confirmed["payment"]["needsAttention"] == ["LATE_SUCCESS"]


# ── several accounts ─────────────────────────────────────────────────────────────────────────────


async def test_several_bank_accounts_are_several_gateways(shop: Shop, bk: str) -> None:
    saved = await save(
        shop, "kcb-usd", bank_name="BPR", account_number="440-123-456", currency="USD"
    )

    francs = await pay(shop, bk)
    dollars = await pay(shop, "kcb-usd", amount={"amount": "12.50", "currency": "USD"})

    assert saved["capabilities"] == ["CANCEL", "MANUAL_CONFIRMATION"]
    assert [p["nextAction"]["accountNumber"] for p in (francs, dollars)] == [
        "000400000001",
        "440-123-456",
    ]
    assert "Transfer 12.50 USD to account 440-123-456" in dollars["nextAction"]["en"]
