"""Ways around the second pair of eyes, through the front door. S26 and S27 of the checklist."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from dusangire.database import fetch
from dusangire.money import Money
from dusangire.permissions import Role, Scope
from dusangire.testing.rig import serve, until
from dusangire_server.testing import Person, Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUND = "refund { id reference status digest approvalsNeeded approvals { by { name } } } "
ERRORS = "replayed userErrors { code message field }"
REQUEST = "mutation($i: RequestRefundInput!) { requestRefund(input: $i) { " + REFUND + ERRORS + "}}"
APPROVE = "mutation($i: DecideRefundInput!) { approveRefund(input: $i) { " + REFUND + ERRORS + "}}"
REJECT = APPROVE.replace("approveRefund", "rejectRefund")
SETTLE = "mutation($i: SettleRefundInput!) { settleRefund(input: $i) { " + REFUND + ERRORS + "}}"
CANCEL = (
    'mutation($i: ID!) { cancelRefund(refundId: $i, reason: "a mistake") { '
    + REFUND
    + ERRORS
    + "}}"
)
READ = """query($id: ID!) { refund(id: $id) { status byHand evidence version
    requestedBy { kind name } decidedBy { kind name } payment { status refunded { amount }
    refunds { reference } } } }"""
PROTOCOL = Subprotocol("graphql-transport-ws")
_keys = count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(shop: Shop) -> dict[str, Person]:
    names = {"operator": Role.OPERATOR, "viewer": Role.VIEWER, "admin": Role.ADMIN}
    names |= {"one": Role.APPROVER, "two": Role.APPROVER}
    return {name: await shop.person(role) for name, role in names.items()}


async def _paid(shop: Shop) -> str:
    created = await shop.create(method={"gateway": "fake", "phone": "0780000000"})
    payment_id: str = created["payment"]["id"]
    query = "query($id: ID!) { payment(id: $id) { status } }"

    async def succeeded() -> bool:
        found = await shop.get(query, {"id": payment_id})
        return bool(found["payment"]["status"] == "SUCCEEDED")

    await until(succeeded)
    return payment_id


async def _request(shop: Shop, token: str, payment_id: str | None = None) -> dict[str, Any]:
    given = {
        "idempotencyKey": f"refund-{next(_keys)}",
        "paymentId": payment_id or await _paid(shop),
        "reason": "A bag was torn",
    }
    answer = await shop.get(REQUEST, {"i": given}, token=token)
    assert answer["requestRefund"]["userErrors"] == []
    refund: dict[str, Any] = answer["requestRefund"]["refund"]
    return refund


def _decision(refund: Mapping[str, Any], **changes: str) -> dict[str, Any]:
    return {"i": {"refundId": refund["id"], "digest": refund["digest"], **changes}}


async def _codes(shop: Shop, query: str, variables: Mapping[str, Any], token: str) -> set[str]:
    answer = await shop.ask(query, variables, token=token)
    codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
    for value in (answer.get("data") or {}).values():
        codes |= {error["code"] for error in (value or {}).get("userErrors", ())}
    return codes


async def _status(refund: Mapping[str, Any]) -> str:
    [row] = await fetch("SELECT status FROM refund WHERE id = $1", refund["id"])
    return str(row["status"])


async def test_one_asks_another_approves_and_the_money_goes_back(
    shop: Shop, people: dict[str, Person]
) -> None:
    refund = await _request(shop, people["operator"])

    done = await shop.get(APPROVE, _decision(refund, note="yes"), token=people["one"])

    assert done["approveRefund"]["refund"]["status"] == "PROCESSING"

    async def finished() -> bool:
        return await _status(refund) == "SUCCEEDED"

    await until(finished)
    read = (await shop.get(READ, {"id": refund["id"]}, token=people["viewer"]))["refund"]
    assert read["requestedBy"] == {"kind": "staff", "name": people["operator"].email}
    assert read["decidedBy"] == {"kind": "staff", "name": people["one"].email}
    assert read["payment"] == {
        "status": "REFUNDED",
        "refunded": {"amount": "5000"},
        "refunds": [{"reference": refund["reference"]}],
    }


async def test_not_ones_own_request(shop: Shop, people: dict[str, Person]) -> None:
    refund = await _request(shop, people["one"])

    assert await _codes(shop, APPROVE, _decision(refund), people["one"]) == {"SELF_APPROVAL"}
    assert await _codes(shop, REJECT, _decision(refund), people["one"]) == {"SELF_APPROVAL"}


async def test_not_what_ones_own_key_asked_for(shop: Shop, people: dict[str, Person]) -> None:
    make = 'mutation { createApiKey(name: "till", scopes: [REFUNDS_REQUEST]) { secret } }'
    made = await shop.get(make, token=people["admin"])
    refund = await _request(shop, made["createApiKey"]["secret"])

    assert await _codes(shop, APPROVE, _decision(refund), people["admin"]) == {"SELF_APPROVAL"}


async def test_not_with_the_digest_of_another_request(
    shop: Shop, people: dict[str, Person]
) -> None:
    refund, other = [await _request(shop, people["operator"]) for _ in range(2)]

    stale = _decision(refund, digest=other["digest"])

    assert await _codes(shop, APPROVE, stale, people["one"]) == {"STALE_APPROVAL"}
    assert await _codes(shop, APPROVE, _decision(refund, digest=""), people["one"]) == {
        "STALE_APPROVAL"
    }


@pytest.mark.parametrize("scope", Scope)
async def test_not_by_an_api_key(shop: Shop, people: dict[str, Person], scope: Scope) -> None:
    refund = await _request(shop, people["operator"])

    settled = {"i": {"refundId": refund["id"], "succeeded": True, "evidence": "seen"}}
    key = shop.keys[scope]

    assert await _codes(shop, APPROVE, _decision(refund), key) == {"FORBIDDEN"}
    assert await _codes(shop, REJECT, _decision(refund), key) == {"FORBIDDEN"}
    assert await _codes(shop, SETTLE, settled, key) == {"FORBIDDEN"}


@pytest.mark.parametrize("who", ["viewer", "operator"])
async def test_not_by_people_who_may_not(shop: Shop, people: dict[str, Person], who: str) -> None:
    refund = await _request(shop, people["one"])

    assert await _codes(shop, APPROVE, _decision(refund), people[who]) == {"FORBIDDEN"}


async def test_not_by_the_payer(shop: Shop, people: dict[str, Person]) -> None:
    refund = await _request(shop, people["operator"])
    token = (await shop.create())["clientToken"]

    assert await _codes(shop, APPROVE, _decision(refund), token) == {"FORBIDDEN"}


async def test_not_by_who_last_showed_long_ago_that_it_is_them(shop: Shop) -> None:
    refund = await _request(shop, shop.admin)
    stale = await shop.person(Role.APPROVER, fresh=False)

    assert await _codes(shop, APPROVE, _decision(refund), stale) == {"FORBIDDEN"}


async def test_not_by_who_was_disabled(shop: Shop, people: dict[str, Person]) -> None:
    refund, gone = await _request(shop, people["operator"]), await shop.person(Role.APPROVER)
    await fetch("UPDATE staff SET disabled_at = now() WHERE id = $1", gone.id)

    codes = await _codes(shop, APPROVE, _decision(refund), gone)

    assert codes & {"UNAUTHENTICATED", "FORBIDDEN"}
    assert await _status(refund) == "REQUESTED"


@asynccontextmanager
async def _two_above(shop: Shop, amount: Money) -> AsyncIterator[None]:
    before = shop.core.settings
    shop.core.settings = replace(before, two_approvers_above=(amount,))
    try:
        yield
    finally:
        shop.core.settings = before


async def test_not_twice_by_the_same_person(shop: Shop, people: dict[str, Person]) -> None:
    async with _two_above(shop, Money(4999, "RWF")):
        refund = await _request(shop, people["operator"])

    for _ in range(3):
        done = await shop.get(APPROVE, _decision(refund), token=people["one"])

    assert refund["approvalsNeeded"] == 2
    assert done["approveRefund"]["replayed"] is True
    assert done["approveRefund"]["refund"]["status"] == "REQUESTED"
    assert len(done["approveRefund"]["refund"]["approvals"]) == 1


async def test_not_twice_by_aliases_in_one_document(shop: Shop, people: dict[str, Person]) -> None:
    async with _two_above(shop, Money(4999, "RWF")):
        refund = await _request(shop, people["operator"])
    twice = (
        "mutation($i: DecideRefundInput!) { a: approveRefund(input: $i) { replayed } "
        "b: approveRefund(input: $i) { replayed } }"
    )

    await shop.ask(twice, _decision(refund), token=people["one"])

    assert await _status(refund) == "REQUESTED"


async def test_not_with_the_yes_of_somebody_who_lost_the_right(
    shop: Shop, people: dict[str, Person]
) -> None:
    async with _two_above(shop, Money(4999, "RWF")):
        refund = await _request(shop, people["operator"])
    leaving = await shop.person(Role.APPROVER)
    await shop.get(APPROVE, _decision(refund), token=leaving)
    await fetch("UPDATE staff SET role = 'VIEWER' WHERE id = $1", leaving.id)

    await shop.get(APPROVE, _decision(refund), token=people["one"])
    halfway = await _status(refund)
    done = await shop.get(APPROVE, _decision(refund), token=people["two"])

    assert halfway == "REQUESTED"
    assert done["approveRefund"]["refund"]["status"] == "PROCESSING"


@pytest.mark.parametrize("end", [REJECT, CANCEL])
async def test_not_what_has_ended(shop: Shop, people: dict[str, Person], end: str) -> None:
    refund = await _request(shop, people["operator"])
    given = {"i": refund["id"]} if end == CANCEL else _decision(refund)
    await shop.get(end, given, token=people["two"])

    assert await _codes(shop, APPROVE, _decision(refund), people["one"]) == {"ILLEGAL_STATE"}


async def test_not_by_settling_what_nobody_approved(shop: Shop, people: dict[str, Person]) -> None:
    refund = await _request(shop, people["operator"])
    settled = {"i": {"refundId": refund["id"], "succeeded": True, "evidence": "seen"}}

    for who in ("operator", "one", "admin"):
        assert await _codes(shop, SETTLE, settled, people[who]) == {"ILLEGAL_STATE"}


async def test_not_over_a_socket(shop: Shop, people: dict[str, Person]) -> None:
    refund = await _request(shop, people["operator"])
    payload = {"query": APPROVE, "variables": _decision(refund)}

    async with serve(shop.app) as base:
        url = base.replace("http", "ws") + "/graphql"
        async with connect(
            url, subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None
        ) as s:
            init = {"authorization": f"Bearer {shop.admin}"}
            await s.send(json.dumps({"type": "connection_init", "payload": init}))
            await s.recv()
            await s.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
            async with asyncio.timeout(5):
                while (told := json.loads(await s.recv()))["type"] == "ping":
                    pass

    assert "FORBIDDEN" in json.dumps(told) or told["type"] == "error"
    assert await _status(refund) == "REQUESTED"


async def test_a_key_for_refunds_alone_reads_them_and_not_their_payments(shop: Shop) -> None:
    key = shop.keys[Scope.REFUNDS_REQUEST]
    refund = await _request(shop, key)
    query = "query($id: ID!) { refund(id: $id) { id payment { id } } }"

    plain = await shop.get("query($id: ID!) { refund(id: $id) { id } }", refund, token=key)
    more = await shop.ask(query, {"id": refund["id"]}, token=key)

    assert plain["refund"] == {"id": refund["id"]}
    assert more["data"] == {"refund": None}
    assert more["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_a_payer_does_not_read_who_decided(shop: Shop) -> None:
    created = await shop.create(method={"gateway": "fake", "phone": "0780000000"})
    payment_id, query = created["payment"]["id"], "query($id: ID!) { payment(id: $id) { %s } }"

    async def succeeded() -> bool:
        found = await shop.get(query % "status", {"id": payment_id})
        return bool(found["payment"]["status"] == "SUCCEEDED")

    await until(succeeded)
    await _request(shop, shop.admin, payment_id)

    asked = query % "refunds { reason }"
    theirs = await shop.get(asked, {"id": payment_id}, token=created["clientToken"])
    ours = await shop.get(asked, {"id": payment_id})

    assert theirs["payment"] == {"refunds": []}
    assert ours["payment"] == {"refunds": [{"reason": "A bag was torn"}]}
