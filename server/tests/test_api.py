"""Payments through the front door: POST /graphql."""

from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from dusangire.permissions import Scope
from dusangire.testing.rig import until
from dusangire_server.app import build_app
from dusangire_server.testing import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYTHING = """query($id: ID!) { payment(id: $id) {
    reference orderReference description metadata
    amount { amount currency } captured { amount } refunded { amount } refundable { amount }
    customer { reference name phone } gateway { code brandColor plugin currencies environment }
    attempts { number status gateway { name } } refunds { id } invoice { id }
    transactions { edges { cursor node { kind outcome gateway { code } } } }
    nextAction { __typename ... on ApproveOnPhone { phone message } }
    needsAttention reconciliationStatus createdAt expiresAt completedAt } }"""


async def _payment(shop: Shop, payment_id: str, fields: str) -> dict[str, Any]:
    query = f"query($id: ID!) {{ payment(id: $id) {{ {fields} }} }}"
    found: dict[str, Any] = (await shop.get(query, {"id": payment_id}))["payment"]
    return found


async def _status(shop: Shop, created: dict[str, Any]) -> str:
    return str((await _payment(shop, created["payment"]["id"], "status"))["status"])


async def test_a_payment_is_created_and_read(shop: Shop) -> None:
    created = await shop.create(
        orderReference="ORDER-7",
        description="Two bags of coffee",
        customer={"reference": "C-1", "name": "Aline", "phone": "0788123456"},
        method={"gateway": "fake", "phone": "0780000201"},
        metadata={"basket": [1, 2]},
        waitMs=2000,
    )

    found = (await shop.get(EVERYTHING, {"id": created["payment"]["id"]}))["payment"]
    assert created["userErrors"] == []
    assert found["reference"] == created["payment"]["reference"]
    assert found["amount"] == {"amount": "5000", "currency": "RWF"}
    assert found["captured"] == found["refunded"] == found["refundable"] == {"amount": "0"}
    assert found["customer"] == {"reference": "C-1", "name": "Aline", "phone": "+250788123456"}
    assert found["metadata"] == {"basket": [1, 2]}
    assert found["gateway"] == {
        "code": "fake",
        "brandColor": "#7A5AF8",
        "plugin": "fake",
        "currencies": ["RWF"],
        "environment": "TEST",
    }
    assert found["attempts"] == [
        {"number": 1, "status": "PENDING", "gateway": {"name": "Fake Pay"}}
    ]
    assert found["nextAction"]["__typename"] == "ApproveOnPhone"
    assert found["transactions"]["edges"][0]["node"]["kind"] == "INITIATE"
    assert (found["refunds"], found["invoice"]) == ([], None)
    assert found["createdAt"].endswith("Z")


async def test_an_approved_payment_succeeds(shop: Shop) -> None:
    created = await shop.create(method={"gateway": "fake", "phone": "0780000000"})

    async def paid() -> bool:
        found = await _payment(shop, created["payment"]["id"], "status captured { amount }")
        return bool(found == {"status": "SUCCEEDED", "captured": {"amount": "5000"}})

    await until(paid)


async def test_a_declined_payment_says_why(shop: Shop) -> None:
    created = await shop.create(method={"gateway": "fake", "phone": "0780000102"})

    async def failed() -> bool:
        return await _status(shop, created) == "FAILED"

    await until(failed)
    found = await _payment(
        shop,
        created["payment"]["id"],
        'failure { code message gatewayCode retryable payerMessage(locale: "rw-RW") nextStep }',
    )
    assert found["failure"]["code"] == "DECLINED_BY_PAYER"
    assert found["failure"]["retryable"] is True
    assert found["failure"]["payerMessage"] == "Ubwishyu ntibwemejwe."
    assert found["failure"]["nextStep"] == "If you still want to pay, try again and approve it."


async def test_the_same_key_gives_the_same_payment(shop: Shop) -> None:
    first = await shop.create(idempotencyKey="same", orderReference="A")
    again = await shop.create(idempotencyKey="same", orderReference="A")
    other = await shop.create(idempotencyKey="same", orderReference="B")

    assert (first["replayed"], again["replayed"]) == (False, True)
    assert again["payment"] == first["payment"]
    assert [error["code"] for error in other["userErrors"]] == ["IDEMPOTENCY_MISMATCH"]


async def test_a_payer_reads_and_pays_with_the_client_token(shop: Shop) -> None:
    created = await shop.create()
    payment_id, token = created["payment"]["id"], created["clientToken"]

    tried = await shop.get(
        """mutation($input: AttemptPaymentInput!) { attemptPayment(input: $input) {
            payment { status attempts { number } } userErrors { code } } }""",
        {
            "input": {
                "idempotencyKey": "try-1",
                "paymentId": payment_id,
                "method": {"gateway": "fake", "phone": "0780000201"},
            }
        },
        token=token,
    )

    payload = tried["attemptPayment"]
    assert payload["userErrors"] == []
    assert payload["payment"] == {"status": "PENDING", "attempts": [{"number": 1}]}


async def test_a_cancelled_payment_is_cancelled(shop: Shop) -> None:
    created = await shop.create()

    payload = (
        await shop.get(
            """mutation($input: CancelPaymentInput!) { cancelPayment(input: $input) {
                payment { status } userErrors { code } } }""",
            {"input": {"paymentId": created["payment"]["id"], "reason": "Out of coffee"}},
        )
    )["cancelPayment"]

    assert payload == {"payment": {"status": "CANCELLED"}, "userErrors": []}


async def test_pages_of_payments_follow_each_other(shop: Shop) -> None:
    made = [(await shop.create(orderReference="PAGES"))["payment"]["id"] for _ in range(5)]
    query = """query($after: String) { payments(
        filter: { orderReference: "PAGES" } orderBy: CREATED_ASC first: 2 after: $after) {
        totalCount edges { node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""

    found, cursor, pages = [], None, 0
    while True:
        page = (await shop.get(query, {"after": cursor}))["payments"]
        found += [edge["node"]["id"] for edge in page["edges"]]
        pages, cursor = pages + 1, page["pageInfo"]["endCursor"]
        assert page["totalCount"] == 5
        assert page["pageInfo"]["hasPreviousPage"] is (pages > 1)
        if not page["pageInfo"]["hasNextPage"]:
            break

    assert (found, pages) == (made, 3)


@pytest.mark.parametrize(
    "wanted",
    [
        {"search": "needle"},
        {"orderReference": "NEEDLE-1"},
        {"customer": "C-NEEDLE"},
        {"phone": "0788 999 111"},
        {"amountMin": "77", "amountMax": 77, "currency": "RWF"},
        {"status": ["CREATED"], "search": "needle"},
        {"createdFrom": "2020-01-01T00:00:00+02:00", "search": "needle"},
    ],
)
async def test_a_payment_is_found_by_what_is_known_of_it(
    shop: Shop, wanted: dict[str, Any]
) -> None:
    created = await shop.create(
        idempotencyKey="needle",
        amount={"amount": "77", "currency": "RWF"},
        orderReference="NEEDLE-1",
        customer={"reference": "C-NEEDLE", "phone": "0788999111"},
    )

    found = await shop.get(
        "query($f: PaymentFilter) { payments(filter: $f) { totalCount edges { node { id } } } }",
        {"f": wanted},
    )

    assert found["payments"]["edges"] == [{"node": {"id": created["payment"]["id"]}}]


async def test_a_client_that_was_away_gets_what_it_missed(shop: Shop) -> None:
    async def newest() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            await shop.get(
                '{ events(types: ["payment.created"]) { cursor type payment { id status } } }'
            )
        )["events"]
        return found

    created = await shop.create(idempotencyKey="missed")

    async def arrived() -> bool:
        return any(e["payment"]["id"] == created["payment"]["id"] for e in await newest())

    await until(arrived)
    events = await newest()
    later = await shop.get(
        'query($c: String) { events(after: $c, types: ["payment.created"]) { cursor } }',
        {"c": events[0]["cursor"]},
    )
    assert [e["cursor"] for e in later["events"]][: len(events) - 1] == [
        e["cursor"] for e in events[1:]
    ]


async def test_a_gateway_is_configured_and_tested(shop: Shop) -> None:
    save = """mutation($input: SaveGatewayInput!) { saveGateway(input: $input) {
        gateway { code enabled config capabilities inputSchema health { status } }
        userErrors { code field } } }"""
    given = {"code": "third", "plugin": "fake", "name": "Third", "environment": "TEST"}

    saved = (await shop.get(save, {"input": {**given, "config": {"api_key": "abcdefghijklmnop"}}}))[
        "saveGateway"
    ]
    changes: list[dict[str, Any]] = [
        {"config": []},
        {"config": {"nonsense": 1}},
        {"config": {}, "plugin": "nope"},
        {"config": {}, "environment": "LIVE"},
    ]
    wrong = [
        (await shop.get(save, {"input": {**given, **change}}))["saveGateway"]["userErrors"]
        for change in changes
    ]
    tested = await shop.get(
        'mutation { testGateway(code: "third") { ok message userErrors { code } } }'
    )

    assert saved["userErrors"] == []
    assert saved["gateway"]["config"]["api_key"].endswith("mnop")
    assert "abcdefgh" not in str(saved)
    assert saved["gateway"]["health"] == {"status": "NO_TRAFFIC"}
    assert [errors[0]["code"] for errors in wrong] == [
        "INVALID",
        "GATEWAY_CONFIGURATION",
        "GATEWAY_NOT_FOUND",
        "GATEWAY_CONFIGURATION",
    ]
    assert tested["testGateway"]["ok"] is True


async def test_a_gateways_health_comes_from_its_attempts(shop: Shop) -> None:
    created = await shop.create(method={"gateway": "fake", "phone": "0780000000"})

    async def paid() -> bool:
        return await _status(shop, created) == "SUCCEEDED"

    await until(paid)
    fake: dict[str, Any] = {}

    async def measured() -> bool:
        health = await shop.get(
            "{ gateways { code health { status successRate p95Ms lastCallbackAt breaker "
            "lastError lastErrorAt measuredAt unmappedCodes { code count lastSeenAt } } } }"
        )
        [found] = [g["health"] for g in health["gateways"] if g["code"] == "fake"]
        fake.update(found)
        # Other tests' payments count as well, and what was measured may be from before this one.
        return bool(found["successRate"])

    await until(measured)

    assert (fake["status"], fake["breaker"]) == ("HEALTHY", "CLOSED")
    assert fake["successRate"] <= 1
    assert fake["p95Ms"] >= 0
    assert fake["unmappedCodes"] == []


async def test_installed_plugins_say_what_they_can(shop: Shop) -> None:
    found = await shop.get("{ gatewayPlugins { name version capabilities configSchema } }")

    [fake] = [plugin for plugin in found["gatewayPlugins"] if plugin["name"] == "fake"]
    assert {"REFUND", "STATUS_CHECK", "CALLBACK"} <= set(fake["capabilities"])
    assert "api_key" in fake["configSchema"]["properties"]


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_viewer_knows_what_they_may(shop: Shop, scope: Scope) -> None:
    found = await shop.get("{ viewer { kind name role scopes } }", token=shop.keys[scope])

    assert found["viewer"] == {
        "kind": "api_key",
        "name": scope.value,
        "role": None,
        "scopes": [scope.value],
    }


async def test_an_exact_amount_survives_the_way_in_and_out(shop: Shop) -> None:
    for written in ("8999999999999999", 8999999999999999):
        created = await shop.create(amount={"amount": written, "currency": "RWF"})
        assert created["payment"]["amount"]["amount"] == "8999999999999999"


async def test_simulators_are_served_in_test_mode_only(shop: Shop) -> None:
    simulators = {"fake": PlainTextResponse("simulated")}

    paths = [
        getattr(route, "path", "") for route in build_app(shop.core, simulators=simulators).routes
    ]

    assert "/simulators/fake" in paths
    assert (await shop.http.get("/simulators/fake/")).status_code == 404
