"""Payers who come back: their methods kept with consent, listed, used and removed, by GraphQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from dusangire.access import OPERATOR
from dusangire.database import fetch
from dusangire.gateway import Environment
from dusangire.permissions import Scope
from dusangire.testing.fake import FakeConfig, FakeGateway, sign
from dusangire.testing.rig import until
from dusangire_server.testing import Shop, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAYS, HAS_NO_MONEY, WAITS = "0780000000", "0780000101", "0780000201"
WORDS = "Remember this card for next time"
METHODS = """query($customer: String!) { storedMethods(customer: $customer) {
    id kind label consent gateway { code } consentedAt createdAt lastUsedAt expiresAt } }"""
ATTEMPT = """mutation($input: AttemptPaymentInput!) { attemptPayment(input: $input) {
    payment { id status } replayed userErrors { code message field } } }"""
REMOVE = """mutation($id: ID!) { removeStoredMethod(id: $id) {
    storedMethod { id kind label removedAt consent } userErrors { code message field } } }"""


class PhoneOnly(FakeGateway):
    """A gateway that asks a phone each time, and can charge no token."""

    charge_token = None  # type: ignore[assignment]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    """`fake` gives tokens, `momo` knows payers by phone, `cash` keeps nothing."""
    async with open_shop() as opened:
        opened.core.plugins.register("momo", PhoneOnly(), "0")
        for code, plugin in (("momo", "momo"), ("cash", "cod")):
            await opened.core.gateways.save(
                OPERATOR,
                code=code,
                plugin=plugin,
                name=code.title(),
                environment=Environment.TEST,
                config={},
            )
        yield opened


def _somebody() -> str:
    return f"C-{uuid4().hex[:8]}"


async def _pay(
    shop: Shop, customer: str | None, *, ends: str = "SUCCEEDED", **method: Any
) -> dict[str, Any]:
    """A payment that came to its end."""
    given = {"gateway": "fake", "phone": PAYS, **method}
    payer: dict[str, Any] = {"customer": {"reference": customer}} if customer else {}
    created = await shop.create(method=given, waitMs=2000, **payer)
    assert created["userErrors"] == []

    async def ended() -> bool:
        [row] = await fetch("SELECT status FROM payment WHERE id = $1", created["payment"]["id"])
        return bool(row["status"] == ends)

    await until(ended)
    return created


async def _methods(shop: Shop, customer: str) -> list[dict[str, Any]]:
    found = await shop.get(METHODS, {"customer": customer}, token=shop.keys[Scope.PAYMENTS_READ])
    methods: list[dict[str, Any]] = found["storedMethods"]
    return methods


async def _kept(shop: Shop, customer: str, gateway: str = "fake", phone: str = PAYS) -> str:
    await _pay(shop, customer, gateway=gateway, phone=phone, storeConsent=WORDS)
    [method] = await _methods(shop, customer)
    return str(method["id"])


async def _refused(shop: Shop, customer: str | None, **method: Any) -> list[dict[str, Any]]:
    """The errors of a payment that is not taken."""
    payer: dict[str, Any] = {"customer": {"reference": customer}} if customer else {}
    created = await shop.create(method={"gateway": "fake", **method}, **payer)
    errors: list[dict[str, Any]] = created["userErrors"]
    assert created["payment"] is None
    return errors


async def _remove(shop: Shop, method_id: str) -> dict[str, Any]:
    found = await shop.get(REMOVE, {"id": method_id}, token=shop.keys[Scope.PAYMENTS_WRITE])
    payload: dict[str, Any] = found["removeStoredMethod"]
    return payload


def _provider(shop: Shop, gateway: FakeGateway | None = None) -> Any:
    """What really happened at the fake's own provider."""
    return (gateway or shop.gateway)._provider


async def _audited(method_id: str) -> list[dict[str, Any]]:
    rows = await fetch(
        "SELECT * FROM audit_entry WHERE object = $1 ORDER BY id", f"stored_method:{method_id}"
    )
    return [{**row, "detail": json.loads(row["detail"])} for row in rows]


# ── keeping ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("gateway", ["fake", "momo"])
async def test_without_consent_nothing_is_kept(shop: Shop, gateway: str) -> None:
    customer = _somebody()

    await _pay(shop, customer, gateway=gateway)

    assert await _methods(shop, customer) == []


async def test_a_card_is_kept_with_the_words_its_payer_agreed_to(shop: Shop) -> None:
    customer = _somebody()

    await _pay(shop, customer, storeConsent=WORDS)

    [method] = await _methods(shop, customer)
    [kept] = await _audited(method["id"])
    assert (method["kind"], method["label"]) == ("TOKEN", "Fake •••• 0000")
    assert (method["consent"], method["gateway"]) == (WORDS, {"code": "fake"})
    assert method["consentedAt"] is not None
    assert method["lastUsedAt"] is method["expiresAt"] is None
    assert kept["action"] == "stored_method.kept"
    assert kept["detail"]["consent"] == WORDS
    assert kept["detail"]["consented_by"] == "api_key: PAYMENTS_WRITE"


async def test_a_phone_number_is_kept_and_shown_in_part(shop: Shop) -> None:
    customer = _somebody()

    await _pay(shop, customer, gateway="momo", storeConsent=WORDS)

    [method] = await _methods(shop, customer)
    assert (method["kind"], method["label"]) == ("PHONE", "+2507****000")


@pytest.mark.parametrize("gateway", ["fake", "momo"])
async def test_nothing_is_kept_of_a_payment_that_failed(shop: Shop, gateway: str) -> None:
    customer = _somebody()

    await _pay(
        shop, customer, ends="FAILED", gateway=gateway, phone=HAS_NO_MONEY, storeConsent=WORDS
    )

    assert await _methods(shop, customer) == []


@pytest.mark.parametrize("gateway", ["fake", "momo"])
async def test_two_payments_at_once_keep_a_method_once(shop: Shop, gateway: str) -> None:
    customer = _somebody()

    await asyncio.gather(
        *(_pay(shop, customer, gateway=gateway, storeConsent=WORDS) for _ in range(6))
    )

    assert len(await _methods(shop, customer)) == 1


async def test_a_later_consent_replaces_the_earlier_one(shop: Shop) -> None:
    customer = _somebody()
    first = await _kept(shop, customer)

    await _pay(shop, customer, storeConsent="Keep it for my subscription")

    [method] = await _methods(shop, customer)
    entries = await _audited(first)
    assert (method["id"], method["consent"]) == (first, "Keep it for my subscription")
    assert [entry["detail"]["consent"] for entry in entries] == [
        WORDS,
        "Keep it for my subscription",
    ]


async def test_two_customers_with_one_card_have_a_method_each(shop: Shop) -> None:
    one, other = _somebody(), _somebody()

    ids = [await _kept(shop, one), await _kept(shop, other)]

    prints = await fetch("SELECT fingerprint FROM stored_method WHERE id = ANY($1)", ids)
    assert len({row["fingerprint"] for row in prints}) == 2


@pytest.mark.parametrize(
    ("method", "customer", "code"),
    [
        ({"storeConsent": WORDS, "phone": PAYS}, None, "INVALID"),
        ({"storeConsent": WORDS, "gateway": "cash"}, "C-1", "INVALID"),
        ({"storeConsent": "  ", "phone": PAYS}, "C-1", "INVALID"),
        ({"storeConsent": "\u0007", "phone": PAYS}, "C-1", "INVALID"),
        ({"storeConsent": "x" * 1001, "phone": PAYS}, "C-1", "INVALID"),
        ({"storeConsent": "keep 4111 1111 1111 1111", "phone": PAYS}, "C-1", "INVALID"),
    ],
    ids=["nobody's", "keeps nothing", "empty", "control", "too long", "a card number"],
)
async def test_a_consent_that_cannot_be_followed_is_refused(
    shop: Shop, method: dict[str, str], customer: str | None, code: str
) -> None:
    [error] = await _refused(shop, customer, **method)

    assert (error["code"], error["field"]) == (code, ["method", "storeConsent"])


# ── using ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_kept_card_pays_without_the_payer_typing_anything(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer)

    paid = await _pay(shop, customer, phone=None, storedMethodId=method_id)

    [row] = await fetch(
        "SELECT a.* FROM payment_attempt a WHERE payment_id = $1", paid["payment"]["id"]
    )
    [method] = await _methods(shop, customer)
    charged = _provider(shop).simulation.transactions[row["reference"]]
    assert charged.party == "+250780000000"
    assert (row["phone"], row["stored_method_id"]) == (None, UUID(method_id))
    assert method["lastUsedAt"] is not None


async def test_a_kept_number_is_asked_again(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer, "momo", "0780000202")

    paid = await _pay(shop, customer, gateway="momo", phone=None, storedMethodId=method_id)

    [row] = await fetch(
        "SELECT phone FROM payment_attempt WHERE payment_id = $1", paid["payment"]["id"]
    )
    assert row["phone"] == "+250780000202"


async def test_a_card_that_is_used_may_be_agreed_to_again(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer)

    await _pay(shop, customer, phone=None, storedMethodId=method_id, storeConsent="Still fine")

    [method] = await _methods(shop, customer)
    assert (method["id"], method["consent"]) == (method_id, "Still fine")


async def test_a_payer_pays_with_what_is_kept_of_them(shop: Shop) -> None:
    customer = _somebody()
    await _kept(shop, customer)
    created = await shop.create(customer={"reference": customer})
    payment_id, token = created["payment"]["id"], created["clientToken"]

    seen = await shop.get(
        "query($id: ID!) { payment(id: $id) { customer { storedMethods { id label } } } }",
        {"id": payment_id},
        token=token,
    )
    [method] = seen["payment"]["customer"]["storedMethods"]
    given = {"gateway": "fake", "storedMethodId": method["id"]}
    request = {"idempotencyKey": "try", "paymentId": payment_id, "method": given}
    tried = (await shop.get(ATTEMPT, {"input": request}, token=token))["attemptPayment"]

    async def paid() -> bool:
        [row] = await fetch("SELECT status FROM payment WHERE id = $1", payment_id)
        return bool(row["status"] == "SUCCEEDED")

    await until(paid)
    assert tried["userErrors"] == []
    assert method["label"] == "Fake •••• 0000"


async def test_a_payer_cannot_pay_with_what_is_kept_of_another(shop: Shop) -> None:
    theirs = await _kept(shop, _somebody())
    await _kept(shop, mine := _somebody())
    payers: list[dict[str, Any]] = [{"customer": {"reference": mine}}, {}]
    for payer in payers:
        created = await shop.create(**payer)
        given = {"gateway": "fake", "storedMethodId": theirs}
        request = {"idempotencyKey": "x", "paymentId": created["payment"]["id"], "method": given}

        tried = await shop.get(ATTEMPT, {"input": request}, token=created["clientToken"])

        [error] = tried["attemptPayment"]["userErrors"]
        assert error["code"] == ("NOT_FOUND" if payer else "INVALID")
        assert error["field"] == ["method", "storedMethodId"]


async def test_another_customers_method_looks_like_none(shop: Shop) -> None:
    theirs = await _kept(shop, _somebody())
    await _kept(shop, mine := _somebody())

    answers = [
        await _refused(shop, customer, storedMethodId=method_id)
        for customer in (mine, _somebody())
        for method_id in (theirs, str(uuid4()), "no id at all", "x' OR '1'='1")
    ]

    assert answers == [answers[0]] * 8
    assert answers[0][0]["code"] == "NOT_FOUND"
    assert answers[0][0]["field"] == ["method", "storedMethodId"]


async def test_a_method_pays_on_its_own_gateway_only(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer)

    [error] = await _refused(shop, customer, gateway="momo", storedMethodId=method_id)

    assert (error["code"], error["field"]) == ("INVALID", ["method", "gateway"])


async def test_a_kept_number_is_not_paid_from_another_one(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer, "momo")
    given = {"gateway": "momo", "storedMethodId": method_id}

    [error] = await _refused(shop, customer, **given, phone="0780000202")
    same = await shop.create(customer={"reference": customer}, method={**given, "phone": PAYS})

    assert (error["code"], error["field"]) == ("INVALID", ["method", "phone"])
    assert same["userErrors"] == []


async def test_an_expired_card_is_refused(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer)
    await fetch(
        "UPDATE stored_method SET expires_at = now() - interval '1 s' WHERE id = $1",
        UUID(method_id),
    )

    [error] = await _refused(shop, customer, storedMethodId=method_id)

    assert (error["code"], error["field"]) == ("INVALID", ["method", "storedMethodId"])
    assert error["message"] == "Fake •••• 0000 has expired. Choose another one."


# ── replays ──────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_key_charges_a_card_once_even_after_it_was_removed(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer)
    request: dict[str, Any] = {
        "idempotencyKey": _somebody(),
        "customer": {"reference": customer},
        "method": {"gateway": "fake", "storedMethodId": method_id},
    }
    before = len(_provider(shop).simulation.transactions)

    answers = [await shop.create(**request), await shop.create(**request)]
    await _remove(shop, method_id)
    answers.append(await shop.create(**request))

    assert [answer["replayed"] for answer in answers] == [False, True, True]
    assert len({answer["payment"]["id"] for answer in answers}) == 1
    assert len(_provider(shop).simulation.transactions) == before + 1


@pytest.mark.parametrize(
    "changed", [{"storeConsent": "other"}, {"storedMethodId": "another"}], ids=str
)
async def test_a_key_stands_for_one_consent_and_one_method(
    shop: Shop, changed: dict[str, str]
) -> None:
    customer = _somebody()
    request: dict[str, Any] = {"idempotencyKey": _somebody(), "customer": {"reference": customer}}
    method = {"gateway": "fake", "phone": PAYS, "storeConsent": WORDS}
    await shop.create(**request, method=method)

    again = await shop.create(**request, method={**method, **changed})

    assert [error["code"] for error in again["userErrors"]] == ["IDEMPOTENCY_MISMATCH"]


# ── removing ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("gateway", ["fake", "momo"])
async def test_removing_wipes_all_but_that_it_was_there(shop: Shop, gateway: str) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer, gateway)

    removed = await _remove(shop, method_id)
    again = await _remove(shop, method_id)

    [row] = await fetch("SELECT * FROM stored_method WHERE id = $1", UUID(method_id))
    wiped = ("phone", "token", "fingerprint", "expires_at")
    assert removed == again
    assert (removed["storedMethod"]["label"], removed["userErrors"]) == ("", [])
    assert removed["storedMethod"]["removedAt"] is not None
    assert [row[name] for name in wiped] == [None] * 4
    assert await _methods(shop, customer) == []
    assert [entry["action"] for entry in await _audited(method_id)] == [
        "stored_method.kept",
        "stored_method.removed",
    ]


async def test_a_removed_method_pays_no_more(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer)
    await _remove(shop, method_id)

    [error] = await _refused(shop, customer, storedMethodId=method_id)

    assert (error["code"], error["field"]) == ("INVALID", ["method", "storedMethodId"])
    assert "removed" in error["message"]


async def test_what_was_removed_may_be_kept_again_as_another(shop: Shop) -> None:
    customer = _somebody()
    first = await _kept(shop, customer)
    await _remove(shop, first)

    second = await _kept(shop, customer)

    assert second != first
    await _pay(shop, customer, phone=None, storedMethodId=second)


async def test_many_removals_at_once_are_one(shop: Shop) -> None:
    method_id = await _kept(shop, _somebody())

    answers = await asyncio.gather(*(_remove(shop, method_id) for _ in range(10)))

    assert all(answer["userErrors"] == [] for answer in answers)
    assert len(await _audited(method_id)) == 2


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        (Scope.PAYMENTS_READ, "FORBIDDEN"),
        (Scope.REFUNDS_REQUEST, "FORBIDDEN"),
        (Scope.PAYMENTS_WRITE, None),
        (Scope.ADMIN, None),
    ],
)
async def test_removing_needs_a_key_that_may_write(
    shop: Shop, scope: Scope, code: str | None
) -> None:
    method_id = await _kept(shop, _somebody())

    answer = await shop.get(REMOVE, {"id": method_id}, token=shop.keys[scope])

    errors = answer["removeStoredMethod"]["userErrors"]
    assert [error["code"] for error in errors] == ([code] if code else [])


@pytest.mark.parametrize("method_id", ["0b0e7c5e-5d0c-4b8e-9a51-0d8f6d3b1c11", "none"])
async def test_what_is_not_there_cannot_be_removed(shop: Shop, method_id: str) -> None:
    [error] = (await _remove(shop, method_id))["userErrors"]

    assert (error["code"], error["field"]) == ("NOT_FOUND", ["id"])


# ── what is seen of a token ──────────────────────────────────────────────────────────────────────


async def _dump() -> str:
    """Every table as text, with the bodies of webhooks readable."""
    tables = await fetch("SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public'")
    lines = [
        row["line"]
        for table in tables
        for row in await fetch(f'SELECT t::text AS line FROM "{table["relname"]}" t')
    ]
    bodies = [
        bytes(row["body"]).decode() for row in await fetch("SELECT body FROM gateway_webhook")
    ]
    return "\n".join([*lines, *bodies])


def _webhook(reference: str, token: str) -> bytes:
    told = {
        "id": f"tx-{reference}",
        "status": "PAID",
        "reference": reference,
        "amount": "5000",
        "currency": "RWF",
        "phone": "+250780000201",
        "token": token,
        "beside": f"the same as in {token}",
    }
    return json.dumps({"event": told, "signature": sign(FakeConfig(), told)}).encode()


async def _tell(shop: Shop, created: dict[str, Any], token: str) -> None:
    """The gateway tells that a waiting payment was paid, and with which card."""
    [row] = await fetch(
        "SELECT reference FROM payment_attempt WHERE payment_id = $1", created["payment"]["id"]
    )
    account = await shop.core.gateways.by_code("fake")
    path = f"/webhooks/fake/{account.webhook_token}"
    answer = await shop.http.post(path, content=_webhook(row["reference"], token))
    assert answer.status_code == 200

    async def done() -> bool:
        [found] = await fetch(
            "SELECT status FROM gateway_webhook WHERE reference = $1", row["reference"]
        )
        return bool(found["status"] == "DONE")

    await until(done)


async def test_a_token_that_a_webhook_brings_is_kept_and_shown_nowhere(shop: Shop) -> None:
    token, customer = f"canary-{uuid4().hex}", _somebody()
    created = await shop.create(
        customer={"reference": customer},
        method={"gateway": "fake", "phone": WAITS, "storeConsent": WORDS},
        waitMs=2000,
    )

    await _tell(shop, created, token)

    [method] = await _methods(shop, customer)
    dump = await _dump()
    assert method["label"] == "Fake •••• 0201"
    assert created["payment"]["id"] in dump
    assert token not in dump
    assert token.encode().hex() not in dump


async def test_a_token_that_a_webhook_brings_unasked_is_dropped(shop: Shop) -> None:
    token, customer = f"canary-{uuid4().hex}", _somebody()
    created = await shop.create(
        customer={"reference": customer}, method={"gateway": "fake", "phone": WAITS}, waitMs=2000
    )

    await _tell(shop, created, token)

    [row] = await fetch("SELECT status FROM payment WHERE id = $1", created["payment"]["id"])
    assert row["status"] == "SUCCEEDED"
    assert await _methods(shop, customer) == []
    assert token not in await _dump()


async def test_no_table_and_no_answer_shows_the_token_of_a_card(shop: Shop) -> None:
    customer = _somebody()
    method_id = await _kept(shop, customer)
    paid = await _pay(shop, customer, phone=None, storedMethodId=method_id)
    tokens = list(_provider(shop).cards)

    log = await shop.get(
        "query($id: ID!) { payment(id: $id) { transactions { edges { node { kind request "
        "response outcome notes } } } } }",
        {"id": paid["payment"]["id"]},
    )

    dump = await _dump()
    assert tokens
    assert [token for token in tokens if token in dump or token in str(log)] == []
    assert "INITIATE" in str(log)
