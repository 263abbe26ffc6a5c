"""A whole shop that takes cards: through the API, the page, the webhook and the way back."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from plugins.card.tests.conftest import Bench
from tests.harness.kept import everything_kept

from dusangire.access import OPERATOR
from dusangire.errors import GatewayConfiguration
from dusangire.gateway import Environment
from dusangire.plugins import Plugin, Plugins
from dusangire.testing.rig import simulate, until
from dusangire_server.testing import Shop, open_shop

PAYMENT = """query($id: ID!) { payment(id: $id) { id reference status
    nextAction { __typename ... on FollowLink { url } }
    attempts { gatewayReference } failure { code } } }"""
CANCEL = """mutation($id: ID!) { cancelPayment(input: { paymentId: $id, reason: "changed" }) {
    payment { status } userErrors { code message } } }"""


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(public_url="https://pay.example.rw") as shop:
        yield shop


@pytest.fixture
def plugin() -> Plugin:
    return Plugins.load()["card"]


@pytest.fixture
async def bench(shop: Shop, plugin: Plugin) -> AsyncIterator[Bench]:
    async with simulate(plugin) as simulated, httpx.AsyncClient(verify=False) as page:
        await simulated.tell("settings", scale=0.01)
        await save(shop, plugin, base_url=simulated.url)
        yield Bench(simulated, page)


async def save(shop: Shop, plugin: Plugin, **config: Any) -> None:
    await shop.core.gateways.save(
        OPERATOR,
        code="card",
        plugin="card",
        name="Card",
        environment=Environment.TEST,
        config={**(plugin.description.example_config or {}), **config},
    )


async def payment(shop: Shop, payment_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.get(PAYMENT, {"id": payment_id}))["payment"]
    return found


async def with_link(shop: Shop, **changes: Any) -> dict[str, Any]:
    """A payment whose payer has the link."""
    created = await shop.create(**{"method": {"gateway": "card"}, "waitMs": 3000, **changes})
    found: list[dict[str, Any]] = []

    async def linked() -> bool:
        found[:] = [await payment(shop, created["payment"]["id"])]
        return found[0]["nextAction"] is not None

    await until(linked)
    assert found[0]["nextAction"]["__typename"] == "FollowLink"
    return found[0]


async def becomes(shop: Shop, payment_id: str, status: str) -> None:
    async def is_so() -> bool:
        return bool((await payment(shop, payment_id))["status"] == status)

    await until(is_so)


async def test_a_payer_pays_and_comes_back(shop: Shop, bench: Bench) -> None:
    made = await with_link(shop)

    back = await bench.page.post(made["nextAction"]["url"], data={"card": "visa-3ds", "act": "pay"})
    location = httpx.URL(back.headers["location"])
    await shop.http.get(location.raw_path.decode())

    assert location.host == "pay.example.rw"
    assert location.path == f"/return/{made['reference']}"
    await becomes(shop, made["id"], "SUCCEEDED")
    assert await bench.moves(made["attempts"][0]["gatewayReference"]) == 1


async def test_what_the_browser_says_is_not_believed(shop: Shop, bench: Bench) -> None:
    made = await with_link(shop)
    reference = made["attempts"][0]["gatewayReference"]

    await shop.http.get(
        f"/return/{made['reference']}?status=successful&tx_ref={reference}&transaction_id=1"
    )

    assert (await payment(shop, made["id"]))["status"] == "PENDING"


async def test_a_lost_link_is_made_again_and_paid_once(shop: Shop, bench: Bench) -> None:
    await bench.simulated.tell("faults", lost_replies=1, only="payments", times=1)

    made = await with_link(shop)
    await bench.page.post(made["nextAction"]["url"], data={"card": "visa-3ds", "act": "pay"})

    await becomes(shop, made["id"], "SUCCEEDED")
    told = await bench.simulated.transaction(made["attempts"][0]["gatewayReference"])
    assert (told["moves"], told["requests"]) == (1, 2)


async def test_a_payment_in_naira_does_not_pay_for_francs(shop: Shop, bench: Bench) -> None:
    made = await with_link(shop)

    await bench.page.post(made["nextAction"]["url"], data={"card": "naira", "act": "pay"})
    await shop.http.get(f"/return/{made['reference']}")

    query = "query($id: ID!) { payment(id: $id) { status needsAttention } }"

    async def noticed() -> bool:
        found = (await shop.get(query, {"id": made["id"]}))["payment"]
        assert found["status"] == "PENDING"
        return "AMOUNT_MISMATCH" in found["needsAttention"]

    await until(noticed)


async def test_a_cancelled_payment_cannot_be_paid_any_more(shop: Shop, bench: Bench) -> None:
    made = await with_link(shop)

    async def cancelled() -> bool:
        done = (await shop.get(CANCEL, {"id": made["id"]}))["cancelPayment"]
        # Here the gateway is asked all the time, and whoever cancels may come in between.
        assert {error["code"] for error in done["userErrors"]} <= {"CONFLICT", "ATTEMPT_OPEN"}
        return done["payment"] is not None

    await until(cancelled, seconds=20)
    late = await bench.page.post(made["nextAction"]["url"], data={"card": "visa-3ds", "act": "pay"})

    assert (await payment(shop, made["id"]))["status"] == "CANCELLED"
    assert late.status_code == 409


async def test_a_key_for_real_money_is_not_saved_in_test_mode(shop: Shop, plugin: Plugin) -> None:
    with pytest.raises(GatewayConfiguration, match="live key") as refused:
        await save(
            shop,
            plugin,
            base_url="https://api.flutterwave.com/v3",
            secret_key="FLWSECK-0123456789abcdef-X",
        )

    assert refused.value.field == ("config", "secret_key")
    assert "0123456789" not in refused.value.message


STORED = "query($c: String!) { storedMethods(customer: $c) { id kind label consent } }"


async def test_a_card_that_was_kept_is_charged_without_the_payer_and_its_token_stays_secret(
    shop: Shop, bench: Bench
) -> None:
    uwase = {"reference": "uwase"}
    made = await with_link(
        shop, customer=uwase, method={"gateway": "card", "storeConsent": "Remember my card"}
    )
    await bench.page.post(made["nextAction"]["url"], data={"card": "visa-3ds", "act": "pay"})
    await shop.http.get(f"/return/{made['reference']}")
    await becomes(shop, made["id"], "SUCCEEDED")
    [kept] = (await shop.get(STORED, {"c": "uwase"}))["storedMethods"]

    again = await shop.create(
        customer=uwase,
        method={"gateway": "card", "storedMethodId": kept["id"], "email": "new@example.rw"},
        waitMs=3000,
    )

    assert kept["label"] == "Visa •••• 4246"
    await becomes(shop, again["payment"]["id"], "SUCCEEDED")
    charged = (await payment(shop, again["payment"]["id"]))["attempts"][0]["gatewayReference"]
    assert await bench.moves(charged) == 1
    seen = await everything_kept()
    assert not [table for table, text in seen.items() if "flw-t1nf-" in text]


async def test_a_charge_of_a_kept_card_whose_answer_is_lost_moves_money_once(
    shop: Shop, bench: Bench
) -> None:
    uwase = {"reference": "uwase"}
    made = await with_link(
        shop, customer=uwase, method={"gateway": "card", "storeConsent": "Remember my card"}
    )
    await bench.page.post(made["nextAction"]["url"], data={"card": "visa-3ds", "act": "pay"})
    await shop.http.get(f"/return/{made['reference']}")
    await becomes(shop, made["id"], "SUCCEEDED")
    [kept] = (await shop.get(STORED, {"c": "uwase"}))["storedMethods"]
    await bench.simulated.tell("faults", lost_replies=1, only="tokenized", times=1)

    again = await shop.create(
        customer=uwase, method={"gateway": "card", "storedMethodId": kept["id"]}, waitMs=3000
    )

    await becomes(shop, again["payment"]["id"], "SUCCEEDED")
    charged = (await payment(shop, again["payment"]["id"]))["attempts"][0]["gatewayReference"]
    told = await bench.simulated.transaction(charged)
    assert (told["moves"], told["requests"]) == (1, 1)
