"""Merchants are told what happens: through the API, by a worker, to a real server of theirs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from core.tests.sink import Sink, open_sink

from dusangire.database import Row, fetch
from dusangire.egress import Egress
from dusangire.outbox import endpoints
from dusangire.permissions import Role, Scope
from dusangire_server.testing import Shop, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

CREATE = """mutation($url: String!, $events: [String!]!) {
  createWebhookEndpoint(url: $url, events: $events) {
    endpoint { id url events enabled createdAt disabledBecause oldSecretUntil
      health { failures failingSince lastSuccessAt lastFailureAt lastError } }
    secret
    userErrors { code message field }
  }
}"""
DELIVERIES = """query($status: WebhookDeliveryStatus) {
  webhookEndpoints {
    id enabled disabledBecause health { failures lastError lastSuccessAt }
    deliveries(first: 50, status: $status) {
      edges { cursor node { id messageId type status tries httpStatus error payload
        createdAt endedAt nextTryAt endpoint { id }
        log { number httpStatus error answer durationMs triedAt } } }
      pageInfo { hasNextPage }
    }
  }
}"""
EXISTING = "mutation($id: ID!) { %s { endpoint { id enabled } userErrors { code } } }"

# As somebody writes them who wants to be called from the inside.
INSIDE = [
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://0/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::1]/",
    "https://[::]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:7f00:1::]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://10.0.0.1/",
    "https://localhost/",
    "https://localhost./",
    "https://127.0.0.1.localhost/",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://shop.example.rw@127.0.0.1/",
    "https://shop.example.rw:22/",
    "http://shop.example.rw/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def near() -> AsyncIterator[Shop]:
    async with open_shop(loopback_webhooks=True) as shop:
        yield shop


@pytest_asyncio.fixture(loop_scope="module")
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as sink:
        yield sink


async def made(shop: Shop, sink: Sink, *events: str) -> tuple[str, str]:
    """The id of a new endpoint, and its secret."""
    answer = await shop.get(CREATE, {"url": sink.url, "events": list(events) or ["*"]})
    payload = answer["createWebhookEndpoint"]
    assert payload["userErrors"] == []
    return payload["endpoint"]["id"], payload["secret"]


async def told(shop: Shop, endpoint: str, **wanted: Any) -> list[dict[str, Any]]:
    found = await shop.get(DELIVERIES, wanted)
    [one] = [one for one in found["webhookEndpoints"] if one["id"] == endpoint]
    return [edge["node"] for edge in one["deliveries"]["edges"]]


async def within(condition: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for is outside
            await asyncio.sleep(0.05)


async def arrived(sink: Sink, count: int) -> None:
    async def enough() -> bool:
        return len(sink.received) >= count

    await within(enough)


@pytest.mark.parametrize("url", INSIDE)
async def test_s37_an_address_that_leads_inside_is_refused(
    near: Shop, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(near.core, "egress", Egress())

    answer = await near.get(CREATE, {"url": url, "events": ["*"]})

    payload = answer["createWebhookEndpoint"]
    assert payload["endpoint"] is None
    assert payload["secret"] is None
    [error] = payload["userErrors"]
    assert (error["code"], error["field"]) == ("INVALID", ["url"])


async def test_what_happens_to_a_payment_arrives_signed(near: Shop, sink: Sink) -> None:
    endpoint, secret = await made(near, sink, "payment.created")

    payment = (await near.create(orderReference="ORDER-1"))["payment"]
    await arrived(sink, 1)

    async def delivered() -> bool:
        return [one["status"] for one in await told(near, endpoint)] == ["DELIVERED"]

    await within(delivered)
    [one] = await told(near, endpoint)
    message = sink.received[0].verified(secret)
    assert message["data"]["payment"]["id"] == payment["id"]
    assert message["data"]["payment"]["orderReference"] == "ORDER-1"
    assert one["payload"] == message
    assert one["messageId"] == sink.received[0].id
    assert one["endpoint"] == {"id": endpoint}
    assert [(row["number"], row["httpStatus"]) for row in one["log"]] == [(1, 204)]


async def test_a_sink_in_trouble_is_tried_again_and_then_sent_anew(near: Shop, sink: Sink) -> None:
    endpoint, secret = await made(near, sink, "refund.*")
    sink.says(500, 404, 200)

    test = "mutation($id: ID!) { testWebhookEndpoint(id: $id) { delivery { id status } } }"
    delivery = (await near.get(test, {"id": endpoint}))["testWebhookEndpoint"]["delivery"]
    # The first three tries are due within seconds, a hundredth of what they are elsewhere.
    await arrived(sink, 3)

    async def ended() -> bool:
        return [one["status"] for one in await told(near, endpoint)] == ["DELIVERED"]

    await within(ended)
    again = "mutation($id: ID!) { redeliver(deliveryId: $id) { delivery { id tries } } }"
    answer = await near.get(again, {"id": delivery["id"]})
    await arrived(sink, 4)

    assert answer["redeliver"]["delivery"] == {"id": delivery["id"], "tries": 3}
    assert len({*sink.ids}) == 1
    assert sink.received[3].verified(secret)["type"] == "webhook.test"


async def test_410_disables_and_the_api_says_why(near: Shop, sink: Sink) -> None:
    endpoint, _ = await made(near, sink, "refund.*")
    sink.says(410)
    await near.get(
        "mutation($id: ID!) { testWebhookEndpoint(id: $id) { delivery { id } } }", {"id": endpoint}
    )

    async def disabled() -> bool:
        found = await near.get(DELIVERIES)
        return any(
            one["id"] == endpoint and not one["enabled"] for one in found["webhookEndpoints"]
        )

    await within(disabled)
    found = await near.get(DELIVERIES)
    [one] = [one for one in found["webhookEndpoints"] if one["id"] == endpoint]
    assert one["disabledBecause"].startswith("It answered 410")
    assert len(sink.received) == 1


async def _many() -> None:
    """Four endpoints that were told thirty things each; each took 101 tries."""
    await fetch(
        "INSERT INTO webhook_endpoint (id, url, events, secret, enabled, disabled_because) "
        "SELECT gen_random_uuid(), 'https://shop.example.rw/', '[]', 'x', false, 'many' "
        "FROM generate_series(1, 4)"
    )
    await fetch(
        "INSERT INTO webhook_delivery (id, endpoint_id, type, body, status, ended_at) "
        "SELECT gen_random_uuid(), id, 'webhook.test', '{}', 'FAILED', now() "
        "FROM webhook_endpoint, generate_series(1, 30) WHERE disabled_because = 'many'"
    )
    await fetch(
        "INSERT INTO webhook_try (id, delivery_id, number, duration_ms, tried_at) "
        "SELECT gen_random_uuid(), d.id, n, n, now() FROM webhook_delivery d "
        "JOIN webhook_endpoint e ON e.id = d.endpoint_id, generate_series(1, 101) n "
        "WHERE e.disabled_because = 'many'"
    )


async def _forget_many() -> None:
    await fetch(
        "DELETE FROM webhook_try t USING webhook_delivery d, webhook_endpoint e WHERE "
        "d.id = t.delivery_id AND e.id = d.endpoint_id AND e.disabled_because = 'many'"
    )
    await fetch(
        "DELETE FROM webhook_delivery d USING webhook_endpoint e "
        "WHERE e.id = d.endpoint_id AND e.disabled_because = 'many'"
    )
    await fetch("DELETE FROM webhook_endpoint WHERE disabled_because = 'many'")


@pytest_asyncio.fixture(loop_scope="module")
async def statements(near: Shop, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """What is asked of the database about webhooks, of which there are many."""
    await _many()
    asked: list[str] = []

    async def counting(statement: str, *values: Any) -> list[Row]:
        asked.append(statement)
        return await fetch(statement, *values)

    monkeypatch.setattr(endpoints, "fetch", counting)
    yield asked
    await _forget_many()


async def test_however_many_deliveries_a_page_has_their_tries_are_read_together(
    near: Shop, statements: list[str]
) -> None:
    found = await near.get(
        "{ webhookEndpoints { id disabledBecause deliveries(first: 30) { edges { node { "
        "endpoint { id } log { number } } } } } }"
    )

    # The endpoints; of each its page, and at most once for the page its tries and endpoints.
    assert len(statements) <= 1 + 3 * len(found["webhookEndpoints"])
    many = [one for one in found["webhookEndpoints"] if one["disabledBecause"] == "many"]
    nodes = [(one, edge["node"]) for one in many for edge in one["deliveries"]["edges"]]
    assert len(nodes) == 4 * 30
    for one, node in nodes:
        assert node["endpoint"] == {"id": one["id"]}
        assert [row["number"] for row in node["log"]] == list(range(2, 102))


async def test_deliveries_below_a_delivery_are_refused(near: Shop, statements: list[str]) -> None:
    answer = await near.ask(
        "{ webhookEndpoints { deliveries(first: 30) { edges { node { endpoint { "
        "deliveries(first: 100) { edges { node { id } } } } } } } } }"
    )

    assert answer["data"] is None
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"INVALID"}
    assert "below a delivery" in answer["errors"][0]["message"]
    assert len([one for one in statements if "FROM webhook_delivery" in one]) < 20


async def test_what_a_deleted_endpoint_was_told_still_names_it(near: Shop, sink: Sink) -> None:
    endpoint, _ = await made(near, sink)
    test = "mutation($id: ID!) { testWebhookEndpoint(id: $id) { delivery { id } } }"
    told_of = (await near.get(test, {"id": endpoint}))["testWebhookEndpoint"]["delivery"]["id"]
    await near.get(EXISTING % "deleteWebhookEndpoint(id: $id)", {"id": endpoint})

    found = await near.get(
        "query($id: ID!) { webhookDelivery(id: $id) { endpoint { id disabledBecause } } }",
        {"id": told_of},
    )

    assert found["webhookDelivery"]["endpoint"] == {
        "id": endpoint,
        "disabledBecause": "It was deleted.",
    }


async def test_an_endpoint_is_changed_rotated_and_deleted(near: Shop, sink: Sink) -> None:
    endpoint, secret = await made(near, sink)

    changed = await near.get(
        'mutation($id: ID!) { updateWebhookEndpoint(id: $id, events: ["refund.*"], enabled: false)'
        " { endpoint { url events enabled disabledBecause } userErrors { code } } }",
        {"id": endpoint},
    )
    rotated = await near.get(
        "mutation($id: ID!) { rotateWebhookSecret(id: $id, overlapHours: 1)"
        " { secret endpoint { oldSecretUntil } userErrors { code } } }",
        {"id": endpoint},
    )
    too_long = await near.get(
        "mutation($id: ID!) { rotateWebhookSecret(id: $id, overlapHours: 1000)"
        " { secret userErrors { code field } } }",
        {"id": endpoint},
    )
    failed = await near.get(
        'mutation($id: ID!) { redeliverFailed(endpointId: $id, since: "2026-01-01T00:00:00Z")'
        " { count userErrors { code } } }",
        {"id": endpoint},
    )
    deleted = await near.get(EXISTING % "deleteWebhookEndpoint(id: $id)", {"id": endpoint})
    again = await near.get(EXISTING % "deleteWebhookEndpoint(id: $id)", {"id": endpoint})
    found = await near.get(DELIVERIES)

    assert changed["updateWebhookEndpoint"]["endpoint"] == {
        "url": sink.url,
        "events": ["refund.*"],
        "enabled": False,
        "disabledBecause": "Somebody switched it off.",
    }
    assert rotated["rotateWebhookSecret"]["secret"] not in {None, secret}
    assert rotated["rotateWebhookSecret"]["endpoint"]["oldSecretUntil"] is not None
    assert too_long["rotateWebhookSecret"]["userErrors"] == [
        {"code": "INVALID", "field": ["overlapHours"]}
    ]
    assert failed["redeliverFailed"]["userErrors"] == [{"code": "ILLEGAL_STATE"}]
    assert deleted["deleteWebhookEndpoint"]["userErrors"] == []
    assert again["deleteWebhookEndpoint"]["userErrors"] == [{"code": "NOT_FOUND"}]
    assert endpoint not in {one["id"] for one in found["webhookEndpoints"]}


async def test_s40_nobody_is_shown_a_secret_again(near: Shop, sink: Sink) -> None:
    _, secret = await made(near, sink)

    found = await near.ask(DELIVERIES)

    assert "errors" not in found
    assert secret not in str(found)
    assert "secret" not in str(found)


async def test_deliveries_are_for_who_may_read_them(near: Shop, sink: Sink) -> None:
    await made(near, sink)
    viewer, operator = await near.person(Role.VIEWER), await near.person(Role.OPERATOR)

    for token in (viewer, near.keys[Scope.PAYMENTS_READ], near.keys[Scope.PAYMENTS_WRITE]):
        answer = await near.ask(DELIVERIES, token=token)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]
    assert (await near.get(DELIVERIES, token=operator))["webhookEndpoints"]
