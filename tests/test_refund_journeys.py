"""Money that came by MTN, Airtel or card goes back by the same way, through the front door."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.test_card_in_a_shop import becomes, payment, with_link

from dusangire.access import OPERATOR
from dusangire.gateway import Environment
from dusangire.permissions import Role
from dusangire.plugins import Plugins
from dusangire.testing.rig import Simulated, simulate, until
from dusangire_server.testing import Shop, open_shop

ASK = """mutation($i: RequestRefundInput!) { requestRefund(input: $i) {
    refund { id digest } userErrors { code message } } }"""
APPROVE = """mutation($i: DecideRefundInput!) { approveRefund(input: $i) {
    refund { status } userErrors { code message } } }"""
READ = """query($id: ID!) { refund(id: $id) { status failure { code message }
    payment { status transactions { edges { node { kind outcome } } } } } }"""
PHONES = {"mtn": "0788123456", "airtel": "0731234567"}


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(public_url="https://pay.example.rw") as shop:
        yield shop


async def _paid(shop: Shop, simulated: Simulated, code: str) -> str:
    """The id of a payment that succeeded at a simulated provider."""
    await simulated.tell("settings", scale=0.01)
    plugin = Plugins.load()[code]
    await shop.core.gateways.save(
        OPERATOR,
        code=code,
        plugin=code,
        name=code.title(),
        environment=Environment.TEST,
        config={**(plugin.description.example_config or {}), "base_url": simulated.url},
    )
    if code == "card":
        made = await with_link(shop)
        async with httpx.AsyncClient(verify=False) as page:
            url, data = made["nextAction"]["url"], {"card": "visa-3ds", "act": "pay"}
            back = await page.post(url, data=data)
        location = httpx.URL(back.headers["location"])
        await shop.http.get(location.raw_path.decode())
    else:
        created = await shop.create(method={"gateway": code, "phone": PHONES[code]})
        made = await payment(shop, created["payment"]["id"])
    await becomes(shop, made["id"], "SUCCEEDED")
    return str(made["id"])


@pytest.mark.parametrize("code", ["mtn", "airtel", "card"])
async def test_a_payment_goes_back_the_way_it_came(shop: Shop, code: str) -> None:
    async with simulate(Plugins.load()[code]) as simulated:
        payment_id = await _paid(shop, simulated, code)
        asker, approver = await shop.person(Role.OPERATOR), await shop.person(Role.APPROVER)
        wanted = {"idempotencyKey": "r", "paymentId": payment_id, "reason": "A bag was torn"}

        asked = (await shop.get(ASK, {"i": wanted}, token=asker))["requestRefund"]["refund"]
        decision = {"refundId": asked["id"], "digest": asked["digest"]}
        await shop.get(APPROVE, {"i": decision}, token=approver)
        found: dict[str, Any] = {}

        async def ended() -> bool:
            found.update((await shop.get(READ, {"id": asked["id"]}))["refund"])
            return found["status"] not in {"REQUESTED", "PROCESSING"}

        await until(ended)

    kinds = [edge["node"]["kind"] for edge in found["payment"]["transactions"]["edges"]]
    assert (found["status"], found["failure"]) == ("SUCCEEDED", None)
    assert found["payment"]["status"] == "REFUNDED"
    assert "REFUND" in kinds
