"""Who may do what: a row for each root field of the schema, a column for each kind of caller.

S20 and S21 of the security checklist. A new root field without a row fails.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from dusangire.permissions import Scope
from dusangire_schema import executable
from dusangire_server.testing import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

# ok: it is done, or refused for another reason · no: FORBIDDEN · none: as if there were nothing
CALLERS = ("own", "other", "read", "write", "refunds", "reconciliation", "admin")
ROWS = """
                        own    other  read   write  refunds reconciliation admin
Query.viewer            ok     ok     ok     ok     ok     ok     ok
Query.payment           ok     none   ok     ok     none   none   ok
Query.payments          no     no     ok     no     no     no     ok
Query.storedMethods     no     no     ok     no     no     no     ok
Query.gateways          ok     ok     ok     ok     ok     ok     ok
Query.gatewayPlugins    no     no     no     no     no     no     ok
Query.apiKeys           no     no     no     no     no     no     ok
Query.events            no     no     ok     no     no     no     ok
Mutation.createPayment  no     no     no     ok     no     no     ok
Mutation.attemptPayment ok     none   none   ok     none   none   ok
Mutation.checkPayment   no     none   no     ok     none   none   ok
Mutation.cancelPayment  no     none   no     ok     none   none   ok
Mutation.confirmPayment no     none   no     ok     none   none   ok
Mutation.removeStoredMethod no no     no     ok     no     no     ok
Mutation.saveGateway    no     no     no     no     no     no     ok
Mutation.testGateway    no     no     no     no     no     no     ok
Mutation.createApiKey   no     no     no     no     no     no     ok
Mutation.revokeApiKey   no     no     no     no     no     no     ok
"""
TABLE = {
    row.split()[0]: dict(zip(CALLERS, row.split()[1:], strict=True))
    for row in ROWS.strip().splitlines()[1:]
}
# Watched over a socket; test_websocket and test_sse have their rows.
SUBSCRIPTIONS = {"paymentUpdated", "events", "gatewayHealth"}

MONEY = 'amount: { amount: "5000", currency: "RWF" }'
DOCUMENTS = {
    "Query.viewer": "{ viewer { kind } }",
    "Query.payment": '{ payment(id: "%(id)s") { id } }',
    "Query.payments": "{ payments { edges { cursor } } }",
    "Query.storedMethods": '{ storedMethods(customer: "C-1") { id } }',
    "Query.gateways": "{ gateways { code } }",
    "Query.gatewayPlugins": "{ gatewayPlugins { name } }",
    "Query.apiKeys": "{ apiKeys { id } }",
    "Query.events": "{ events { cursor } }",
    "Mutation.createPayment": 'mutation { createPayment(input: { idempotencyKey: "%(key)s" '
    + MONEY
    + " }) { userErrors { code } } }",
    "Mutation.attemptPayment": 'mutation { attemptPayment(input: { idempotencyKey: "%(key)s" '
    'paymentId: "%(id)s" method: { gateway: "fake" phone: "0780000201" } }) '
    "{ userErrors { code } } }",
    "Mutation.checkPayment": 'mutation { checkPayment(paymentId: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.cancelPayment": 'mutation { cancelPayment(input: { paymentId: "%(id)s" '
    'reason: "test" }) { userErrors { code } } }',
    "Mutation.confirmPayment": 'mutation { confirmPayment(input: { idempotencyKey: "%(key)s" '
    'paymentId: "%(id)s" evidence: "seen" ' + MONEY + " }) { userErrors { code } } }",
    "Mutation.removeStoredMethod": 'mutation { removeStoredMethod(id: "%(id)s") '
    "{ userErrors { code } } }",
    "Mutation.saveGateway": 'mutation { saveGateway(input: { code: "second" plugin: "fake" '
    'name: "Second" environment: TEST config: {} }) { userErrors { code } } }',
    "Mutation.testGateway": 'mutation { testGateway(code: "fake") { userErrors { code } } }',
    "Mutation.createApiKey": 'mutation { createApiKey(name: "till", scopes: [ADMIN]) '
    "{ userErrors { code } } }",
    "Mutation.revokeApiKey": 'mutation { revokeApiKey(id: "%(id)s") { userErrors { code } } }',
}


@dataclass(frozen=True, slots=True)
class Callers:
    payment_id: str
    tokens: dict[str, str]


async def _callers(shop: Shop) -> Callers:
    own, other = await shop.create(), await shop.create()
    scopes = dict(zip(CALLERS[2:], Scope, strict=True))
    return Callers(
        own["payment"]["id"],
        {
            "own": own["clientToken"],
            "other": other["clientToken"],
            **{name: shop.keys[scope] for name, scope in scopes.items()},
        },
    )


def _codes(answer: dict[str, Any]) -> set[str]:
    codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
    for value in (answer.get("data") or {}).values():
        if isinstance(value, dict):
            codes |= {error["code"] for error in value.get("userErrors", ())}
    return codes


def _outcome(answer: dict[str, Any]) -> str:
    codes = _codes(answer)
    assert "INTERNAL" not in codes, answer
    if "FORBIDDEN" in codes:
        return "no"
    data = answer.get("data") or {}
    return "none" if "NOT_FOUND" in codes or data.get("payment", 0) is None else "ok"


async def test_every_root_field_has_a_row() -> None:
    queries, mutations = executable.query_type, executable.mutation_type
    subscriptions = executable.subscription_type
    assert queries is not None
    assert mutations is not None
    assert subscriptions is not None

    fields = {f"Query.{name}" for name in queries.fields}
    fields |= {f"Mutation.{name}" for name in mutations.fields}

    assert fields == TABLE.keys() == DOCUMENTS.keys()
    assert subscriptions.fields.keys() == SUBSCRIPTIONS


@pytest.mark.parametrize("name", TABLE)
async def test_s20_everybody_gets_what_the_table_says(shop: Shop, name: str) -> None:
    outcomes = {}
    for caller in CALLERS:
        callers = await _callers(shop)
        key = f"{name} {caller}"
        document = DOCUMENTS[name] % {"id": callers.payment_id, "key": key}
        outcomes[caller] = _outcome(await shop.ask(document, token=callers.tokens[caller]))

    expected = dict(TABLE[name])
    if name == "Mutation.revokeApiKey":
        expected["admin"] = "none"  # the id is a payment's
    if name == "Mutation.removeStoredMethod":
        expected |= {"write": "none", "admin": "none"}  # as above
    assert outcomes == expected


@pytest.mark.parametrize("name", TABLE)
async def test_s20_nobody_gets_anything_without_a_token(shop: Shop, name: str) -> None:
    document = DOCUMENTS[name] % {"id": "1", "key": "k"}

    response = await shop.post(document, token="")

    assert response.status_code == 401
    assert "data" not in response.json()


async def test_s21_unknown_and_forbidden_look_alike(shop: Shop) -> None:
    callers = await _callers(shop)
    query = "query($id: ID!) { payment(id: $id) { id } }"
    check = "mutation($id: ID!) { checkPayment(paymentId: $id) { userErrors { code message } } }"
    unknown = "0b0e7c5e-5d0c-4b8e-9a51-0d8f6d3b1c11"

    for document in (query, check):
        answers = [
            await shop.ask(document, {"id": id_}, token=callers.tokens["other"])
            for id_ in (callers.payment_id, unknown)
        ]
        assert answers[0] == answers[1]


@pytest.mark.parametrize("caller", ["own", "read", "write"])
async def test_a_gateways_settings_are_for_staff(shop: Shop, caller: str) -> None:
    tokens = (await _callers(shop)).tokens
    query = "{ gateways { code config webhookUrl } }"

    theirs = await shop.get(query, token=tokens[caller])
    staff = await shop.get(query)

    assert theirs["gateways"][0] == {"code": "fake", "config": None, "webhookUrl": None}
    assert staff["gateways"][0]["config"] is not None
    assert "fake-api-key" not in str(staff)


async def test_how_a_gateway_was_talked_to_is_not_for_the_payer(shop: Shop) -> None:
    callers = await _callers(shop)
    query = "query($id: ID!) { payment(id: $id) { id transactions { edges { cursor } } } }"

    answer = await shop.ask(query, {"id": callers.payment_id}, token=callers.tokens["own"])

    assert answer["data"] == {"payment": None}
    assert _codes(answer) == {"NOT_FOUND"}
