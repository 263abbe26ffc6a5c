"""Fiscal receipts through the front door: a payment succeeds, and its invoice gets one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Mount

from dusangire.fiscalization.receipts import Unsigned
from dusangire.permissions import Role
from dusangire_server.cli.doctor import receipts_finding
from dusangire_server.testing import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECEIPT = """id status label number documentNumber originalNumber sdcId mrcNo internalData signature
    deviceTime qrText signedAt error { code message } invoice { number }"""
OF_PAYMENT = (
    "query($id: ID!) { payment(id: $id) { invoice { number fiscalReceipt { " + RECEIPT + " } } } }"
)
WAITING = (
    "{ fiscalReceipts(statuses: [REJECTED, NEEDS_RECEIPT]) { id status error { code } "
    "invoice { number } } }"
)
COMPLETE = """mutation($input: CompleteFiscalReceiptInput!) { completeFiscalReceipt(input: $input) {
    fiscalReceipt { status number qrText } userErrors { code field } } }"""
RETRY = """mutation($id: ID!) { retryFiscalReceipt(id: $id) {
    fiscalReceipt { status } userErrors { code } } }"""
PAID = {"gateway": "fake", "phone": "0780000001"}


@dataclass(frozen=True)
class Vsdc:
    """The simulated device, spoken to as a person at its screen would."""

    http: httpx.AsyncClient

    async def told(self, path: str, **words: Any) -> None:
        assert (await self.http.post(path, json=words)).status_code == 200

    async def truth(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/truth")).json()
        return found


@pytest_asyncio.fixture(loop_scope="module")
async def vsdc(shop: Shop) -> AsyncIterator[Vsdc]:
    plugins = shop.core.plugins
    found = plugins.simulate_fiscal("http://simulators")
    assert found is not None
    assert plugins.fiscal is not None
    name, app = found
    transport = httpx.ASGITransport(Starlette(routes=[Mount(f"/{name}", app)]))
    plugins.fiscal = replace(plugins.fiscal, transport=transport)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://simulators/{name}") as http:
        yield Vsdc(http)
    plugins.fiscal = None


async def receipt_of(
    shop: Shop, payment_id: str, status: str, token: str | None = None
) -> dict[str, Any]:
    """The receipt of a payment's invoice, once it has this status."""
    async with asyncio.timeout(20):
        while True:
            payment = (await shop.get(OF_PAYMENT, {"id": payment_id}, token=token))["payment"]
            receipt: dict[str, Any] | None = (payment["invoice"] or {}).get("fiscalReceipt")
            if receipt is not None and receipt["status"] == status:
                return receipt
            await asyncio.sleep(0.05)


async def test_a_payment_ends_with_a_fiscal_receipt_that_the_payer_can_read(
    shop: Shop, vsdc: Vsdc
) -> None:
    made = await shop.create(amount={"amount": "15000", "currency": "RWF"}, method=PAID)

    receipt = await receipt_of(shop, made["payment"]["id"], "SIGNED", made["clientToken"])

    [sale] = (await vsdc.truth())["sales"]
    assert (sale["totAmt"], sale["remark"]) == (15000, receipt["invoice"]["number"])
    assert receipt["label"] == "NS"
    assert receipt["number"].endswith(" NS")
    assert receipt["documentNumber"] == str(sale["invcNo"])
    assert receipt["qrText"].endswith(f"{receipt['internalData']}#{receipt['signature']}")


async def test_a_lost_answer_waits_for_a_person_who_enters_it(shop: Shop, vsdc: Vsdc) -> None:
    await vsdc.told("/settings", answer="999", times=1, after_save=True)
    made = await shop.create(method=PAID)
    receipt = await receipt_of(shop, made["payment"]["id"], "NEEDS_RECEIPT")
    [waiting] = (await shop.get(WAITING))["fiscalReceipts"]
    assert (waiting["id"], waiting["error"]["code"]) == (receipt["id"], "994")
    payers = await receipt_of(
        shop, made["payment"]["id"], "NEEDS_RECEIPT", token=made["clientToken"]
    )
    assert payers["error"] is None
    truth = await vsdc.truth()
    signed = truth["signed"][receipt["documentNumber"]]
    typed = {
        "id": receipt["id"],
        "receiptNumber": signed["rcptNo"],
        "totalNumber": signed["totRcptNo"],
        "sdcId": signed["sdcId"],
        "mrcNo": signed["mrcNo"],
        "internalData": signed["intrlData"],
        "signature": signed["rcptSign"],
        "signedAt": "2026-11-23T10:15:31+02:00",
        "evidence": "the device's journal",
    }

    by_key = (await shop.get(COMPLETE, {"input": typed}))["completeFiscalReceipt"]
    approver = await shop.person(Role.APPROVER)
    done = (await shop.get(COMPLETE, {"input": typed}, token=approver))["completeFiscalReceipt"]

    assert [error["code"] for error in by_key["userErrors"]] == ["FORBIDDEN"]
    assert done["fiscalReceipt"]["status"] == "SIGNED"
    assert done["fiscalReceipt"]["qrText"].startswith("23112026#101531#")
    assert truth["requests"][receipt["documentNumber"]] == 2
    assert len([s for s in truth["sales"] if s["remark"] == receipt["invoice"]["number"]]) == 1


async def test_a_rejected_receipt_is_sent_again_by_an_operator(shop: Shop, vsdc: Vsdc) -> None:
    await vsdc.told("/settings", answer="910", times=1)
    made = await shop.create(method=PAID)
    receipt = await receipt_of(shop, made["payment"]["id"], "REJECTED")
    headers = {"Authorization": f"Bearer {shop.admin}"}
    metrics = (await shop.http.get("/metrics", headers=headers)).text

    operator = await shop.person(Role.OPERATOR)
    answer = (await shop.get(RETRY, {"id": receipt["id"]}, token=operator))["retryFiscalReceipt"]

    assert answer["userErrors"] == []
    again = await receipt_of(shop, made["payment"]["id"], "SIGNED")
    assert again["documentNumber"] == receipt["documentNumber"]
    assert 'dusangire_fiscal_unsigned{waits_for="person"} 1.0' in metrics
    assert "dusangire_fiscal_oldest_unsigned_seconds" in metrics


@pytest.mark.parametrize(
    ("unsigned", "status", "words"),
    [
        (Unsigned(waiting=0, needing=0, oldest_seconds=0, stopped=None), "ok", "signed all"),
        (Unsigned(waiting=3, needing=0, oldest_seconds=43_100, stopped=None), "ok", "all but 3"),
        (Unsigned(waiting=3, needing=0, oldest_seconds=43_300, stopped=None), "warn", "12 h"),
        (Unsigned(waiting=3, needing=1, oldest_seconds=60, stopped=None), "warn", "need a person"),
        (Unsigned(waiting=3, needing=1, oldest_seconds=60, stopped="7: 910 no"), "fail", "910"),
    ],
)
async def test_doctor_says_how_far_the_device_is_behind(
    unsigned: Unsigned, status: str, words: str
) -> None:
    finding = receipts_finding("VSDC", unsigned)

    assert finding.status == status
    assert words in finding.message
