"""What a caller can do with a payment, and everything that is refused before it is stored."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from core.tests.conftest import AMOUNT, PHONE, Script, Shop, open_shop, paid, settle

from dusangire import access, hookimpl, payments
from dusangire.access import OPERATOR, Actor
from dusangire.errors import CallerError, ErrorCode, Retryable
from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    Gateway,
    NotSent,
    Outcome,
    Unknown,
)
from dusangire.intake import AttemptPayment, ConfirmPayment, CustomerInput, MethodInput
from dusangire.lifecycle import PaymentStatus
from dusangire.permissions import Scope

PAN = "4111 1111 1111 1111"
LONG = "x" * 300
NOW = datetime.now(UTC)
NOBODY = UUID("5f0c2f1e-7d4a-4c0e-9a53-0b9f6a1c2d3e")
DECLINED = Failed(code=FailureCode.DECLINED_BY_PAYER, message="The payer said no.")
WITHDRAWN = Failed(code=FailureCode.CANCELLED, message="withdrawn")


async def pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.fixture
async def choosy(tmp_path: Path, url: str) -> AsyncIterator[Shop]:
    """A shop with a gateway that has limits, one in dollars and one that is switched off."""
    plugins: dict[str, object] = {"needs": Script(needs_phone=True)}
    async with open_shop(tmp_path, url, plugins=plugins) as shop:
        await shop.save_gateway("needs", "needs", min_amount="100", max_amount="1000000")
        await shop.save_gateway("off", "cash", enabled=False)
        await shop.save_gateway("dollars", "cash", currency="USD")
        yield shop


def method(**changes: Any) -> dict[str, Any]:
    return {"method": MethodInput(**{"gateway": "script", "phone": PHONE, **changes})}


def customer(**changes: Any) -> dict[str, Any]:
    return {"customer": CustomerInput(**{"reference": "c-1", **changes})}


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("a blank key", {"idempotency_key": "  "}, "INVALID", "idempotencyKey"),
    ("a long key", {"idempotency_key": LONG}, "INVALID", "idempotencyKey"),
    ("NUL in the key", {"idempotency_key": "a\x00b"}, "INVALID", "idempotencyKey"),
    ("half a character in the key", {"idempotency_key": "\ud800"}, "INVALID", "idempotencyKey"),
    ("a card number as key", {"idempotency_key": PAN}, "INVALID", "idempotencyKey"),
    ("decimals of francs", {"amount": "10.5"}, "INVALID_AMOUNT", "amount.amount"),
    ("a 30th decimal", {"amount": "5000." + "0" * 29 + "1"}, "INVALID_AMOUNT", "amount.amount"),
    ("a negative amount", {"amount": "-5000"}, "INVALID_AMOUNT", "amount.amount"),
    ("nothing", {"amount": 0}, "INVALID_AMOUNT", "amount.amount"),
    ("not a number", {"amount": Decimal("NaN")}, "INVALID_AMOUNT", "amount.amount"),
    ("a signalling NaN", {"amount": Decimal("sNaN")}, "INVALID_AMOUNT", "amount.amount"),
    ("infinity", {"amount": Decimal("Infinity")}, "INVALID_AMOUNT", "amount.amount"),
    ("words", {"amount": "five thousand"}, "INVALID_AMOUNT", "amount.amount"),
    ("no amount", {"amount": None}, "INVALID_AMOUNT", "amount.amount"),
    ("too much", {"amount": 10**16}, "AMOUNT_OUT_OF_LIMITS", "amount.amount"),
    ("far too much", {"amount": "1e999999"}, "AMOUNT_OUT_OF_LIMITS", "amount.amount"),
    ("far too little", {"amount": "1e-999999"}, "INVALID_AMOUNT", "amount.amount"),
    ("no such currency", {"currency": "XYZ"}, "CURRENCY_NOT_SUPPORTED", "amount.currency"),
    ("lower case", {"currency": "rwf"}, "CURRENCY_NOT_SUPPORTED", "amount.currency"),
    ("gold", {"currency": "XAU"}, "CURRENCY_NOT_SUPPORTED", "amount.currency"),
    ("another currency", {"currency": "USD"}, "CURRENCY_NOT_SUPPORTED", "amount.currency"),
    ("half a currency", {"currency": "\ud800"}, "CURRENCY_NOT_SUPPORTED", "amount.currency"),
    ("an unknown gateway", method(gateway="moon"), "GATEWAY_NOT_FOUND", "method.gateway"),
    ("NUL as gateway", method(gateway="\x00"), "GATEWAY_NOT_FOUND", "method.gateway"),
    ("half a gateway", method(gateway="\ud800"), "GATEWAY_NOT_FOUND", "method.gateway"),
    ("a gateway that is off", method(gateway="off"), "GATEWAY_DISABLED", "method.gateway"),
    (
        "a gateway of dollars",
        method(gateway="dollars"),
        "CURRENCY_NOT_SUPPORTED",
        "amount.currency",
    ),
    (
        "below the limit",
        {"amount": 99, **method(gateway="needs")},
        "AMOUNT_OUT_OF_LIMITS",
        "amount.amount",
    ),
    (
        "above the limit",
        {"amount": 1000001, **method(gateway="needs")},
        "AMOUNT_OUT_OF_LIMITS",
        "amount.amount",
    ),
    (
        "no phone where one is needed",
        method(gateway="needs", phone=None),
        "INVALID_PHONE",
        "method.phone",
    ),
    ("a blank phone", method(gateway="needs", phone=" "), "INVALID_PHONE", "method.phone"),
    ("a wrong phone", method(phone="12345"), "INVALID_PHONE", "method.phone"),
    ("NUL in the phone", method(phone="0788\x00123456"), "INVALID_PHONE", "method.phone"),
    ("a long phone", method(phone="0" * 300), "INVALID_PHONE", "method.phone"),
    ("no e-mail address", method(email="nobody"), "INVALID", "method.email"),
    ("NUL in the e-mail", method(email="a\x00@b.rw"), "INVALID", "method.email"),
    ("a long e-mail", method(email=f"{LONG}@b.rw"), "INVALID", "method.email"),
    ("a stored method", method(stored_method_id="1"), "INVALID", "method.storedMethodId"),
    ("unknown details", method(details={"pin": "1"}), "INVALID", "method.details.pin"),
    ("details of another kind", method(details=[1]), "INVALID", "method.details"),
    ("a long order reference", {"order_reference": LONG}, "INVALID", "orderReference"),
    ("NUL in the order reference", {"order_reference": "a\x00"}, "INVALID", "orderReference"),
    ("a card number as order reference", {"order_reference": PAN}, "INVALID", "orderReference"),
    (
        "half a character as order reference",
        {"order_reference": "\ud800"},
        "INVALID",
        "orderReference",
    ),
    ("a long description", {"description": LONG}, "INVALID", "description"),
    ("NUL in the description", {"description": "\x00"}, "INVALID", "description"),
    ("escapes in the description", {"description": "\x1b[31mred"}, "INVALID", "description"),
    ("a line break in it", {"description": "a\nINFO forged"}, "INVALID", "description"),
    ("a card number in it", {"description": f"card {PAN}"}, "INVALID", "description"),
    ("a card number with dashes", {"description": PAN.replace(" ", "-")}, "INVALID", "description"),
    ("a card number and its expiry", {"description": f"{PAN} 12/29"}, "INVALID", "description"),
    ("a card number and its code", {"description": f"{PAN} 123"}, "INVALID", "description"),
    ("a blank customer", customer(reference=" "), "INVALID", "customer.reference"),
    ("a long customer", customer(reference=LONG), "INVALID", "customer.reference"),
    ("NUL in the customer", customer(reference="\x00"), "INVALID", "customer.reference"),
    ("a card number as customer", customer(reference=PAN), "INVALID", "customer.reference"),
    ("a long name", customer(name=LONG), "INVALID", "customer.name"),
    ("NUL in the name", customer(name="a\x00"), "INVALID", "customer.name"),
    ("a card number as name", customer(name=PAN), "INVALID", "customer.name"),
    ("no address of a customer", customer(email="x"), "INVALID", "customer.email"),
    ("no phone of a customer", customer(phone="x"), "INVALID_PHONE", "customer.phone"),
    ("a return address without https", {"return_url": "http://shop.rw/"}, "INVALID", "returnUrl"),
    ("a script", {"return_url": "javascript:alert(1)"}, "INVALID", "returnUrl"),
    ("half an address", {"return_url": "//shop.rw"}, "INVALID", "returnUrl"),
    ("a broken address", {"return_url": "https://[::1"}, "INVALID", "returnUrl"),
    ("NUL in the address", {"return_url": "https://shop.rw/\x00"}, "INVALID", "returnUrl"),
    ("a long address", {"return_url": "https://shop.rw/" + "x" * 2_000}, "INVALID", "returnUrl"),
    (
        "a card number in the address",
        {"return_url": f"https://shop.rw/{PAN}"},
        "INVALID",
        "returnUrl",
    ),
    ("a card number in metadata", {"metadata": {"a": [PAN]}}, "INVALID", "metadata"),
    ("one as a number", {"metadata": {"a": 4111111111111111}}, "INVALID", "metadata"),
    ("one as a name", {"metadata": {PAN: 1}}, "INVALID", "metadata"),
    ("NUL in metadata", {"metadata": {"a": "\x00"}}, "INVALID", "metadata"),
    ("half a character in metadata", {"metadata": "\ud800"}, "INVALID", "metadata"),
    ("half a character as a name", {"metadata": {"\ud800": 1}}, "INVALID", "metadata"),
    ("huge metadata", {"metadata": {"a": "x" * 9_000}}, "INVALID", "metadata"),
    ("deep metadata", {"metadata": deep(300)}, "INVALID", "metadata"),
    ("very deep metadata", {"metadata": deep(5_000)}, "INVALID", "metadata"),
    ("a huge number in metadata", {"metadata": 2**70}, "INVALID", "metadata"),
    ("no JSON", {"metadata": {"a": object()}}, "INVALID", "metadata"),
    ("an expiry in the past", {"expires_at": NOW - timedelta(1)}, "INVALID", "expiresAt"),
    (
        "an expiry without an offset",
        {"expires_at": NOW.replace(tzinfo=None) + timedelta(1)},
        "INVALID",
        "expiresAt",
    ),
    (
        "the first moment of all",
        {"expires_at": datetime.min.replace(tzinfo=UTC)},
        "INVALID",
        "expiresAt",
    ),
    (
        "the last moment of all",
        {"expires_at": datetime.max.replace(tzinfo=UTC)},
        "INVALID",
        "expiresAt",
    ),
    ("an expiry in a year", {"expires_at": NOW + timedelta(365)}, "INVALID", "expiresAt"),
    ("a negative wait", {"wait_ms": -1}, "INVALID", "waitMs"),
    ("a long wait", {"wait_ms": 10_001}, "INVALID", "waitMs"),
]


async def test_what_is_wrong_is_named_and_nothing_is_stored(choosy: Shop) -> None:
    before = await choosy.counts()
    found = {}

    for name, changes, _, _ in REFUSED:
        try:
            await choosy.create(**changes)
        except CallerError as error:
            found[name] = (str(error.code), ".".join(error.field))

    assert found == {name: (code, field) for name, _, code, field in REFUSED}
    assert await choosy.counts() == before
    assert choosy.script.calls == []


ALLOWED: list[dict[str, Any]] = [
    {"amount": 5000},
    {"amount": Decimal("5000.00")},
    {"amount": "5E3"},
    {"amount": 9_000_000_000_000_000},
    {"method": None, "currency": "BHD", "amount": "10.125"},
    {"order_reference": "commande n° 7 – été", "description": "日本 🎉"},
    {"order_reference": "  ", "description": ""},
    {"metadata": {"a": [1, 2.5, None, True, "x"]}},
    {"metadata": "text"},
    {"metadata": {}},
    {"return_url": "https://shop.rw/done?order=7#top"},
    {"return_url": "http://localhost:3000/done"},
    {"expires_at": NOW + timedelta(days=89)},
    {"expires_at": (NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=2)))},
    {"wait_ms": 0},
    {"customer": CustomerInput(reference="c", name="N", email="a@b.rw", phone="0788123456")},
    {"description": "Order 250788123456 / invoice 20260912345678"},
]


@pytest.mark.parametrize("changes", ALLOWED, ids="-".join)
async def test_what_is_right_is_taken_as_it_is(shop: Shop, changes: dict[str, Any]) -> None:
    done = await shop.create(**changes)
    await settle()

    assert done.payment.id == (await shop.row("SELECT id FROM payment"))["id"]
    assert not done.replayed


async def test_a_payment_has_what_was_asked_for(shop: Shop) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=3)
    done = await shop.create(
        order_reference="ORDER-7",
        description="Two goats",
        customer=CustomerInput(reference="c-1", phone="0788 123 456"),
        metadata={"cart": 7},
        return_url="https://shop.rw/done",
        expires_at=expires_at,
    )

    payment = done.payment
    assert payment.reference.startswith("PAY-")
    assert (payment.amount, payment.captured.minor) == (AMOUNT, 0)
    assert (payment.order_reference, payment.description) == ("ORDER-7", "Two goats")
    assert (payment.metadata, payment.return_url) == ({"cart": 7}, "https://shop.rw/done")
    assert (payment.expires_at, payment.status) == (expires_at, PaymentStatus.PENDING)
    assert (await shop.row("SELECT phone FROM customer"))["phone"] == PHONE


async def test_cash_does_not_expire_by_itself_and_a_prompt_does(shop: Shop) -> None:
    cash = await shop.create(**method(gateway="cash"))
    prompt = await shop.create()

    assert cash.payment.expires_at is None
    assert prompt.payment.expires_at is not None


async def test_the_caller_waits_no_longer_than_it_wants(shop: Shop) -> None:
    async def slow(attempt: Attempt) -> Outcome:
        await asyncio.sleep(0.5)
        return paid(attempt)

    shop.script.says("initiate", slow)
    started = asyncio.get_running_loop().time()

    done = await shop.create(wait_ms=50)

    assert done.payment.status is PaymentStatus.CREATED
    assert asyncio.get_running_loop().time() - started < 0.4
    await settle()
    assert (await shop.payment(done.payment.id))["status"] == "SUCCEEDED"


async def test_a_payer_who_cannot_pay_is_refused_before_anything_is_stored(
    tmp_path: Path, url: str
) -> None:
    class Looks(Script):
        @hookimpl
        async def check_payer(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome | None:
            return Failed(code=FailureCode.PAYER_NOT_FOUND, message="No wallet has this number.")

    async with open_shop(tmp_path, url, script=Looks()) as shop:
        before = await shop.counts()

        with pytest.raises(CallerError) as refused:
            await shop.create()

        assert refused.value.code is ErrorCode.GATEWAY_REJECTED
        assert refused.value.field == ("method", "phone")
        assert await shop.counts() == before


# ── once ─────────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_requests_with_one_key_are_one_payment_and_one_call(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.create(idempotency_key="one") for _ in range(50)))

    assert len({done.payment.id for done in answers}) == 1
    assert [done.replayed for done in answers].count(False) == 1
    assert len(shop.script.called("initiate")) == 1
    counts = await shop.counts()
    assert (counts["payment"], counts["payment_attempt"], counts["idempotency_key"]) == (1, 1, 1)


async def test_fifty_tries_with_one_key_are_one_attempt(shop: Shop) -> None:
    shop.script.says("initiate", DECLINED, Accepted())
    created = await shop.create()

    answers = await asyncio.gather(
        *(shop.try_again(created.payment.id, idempotency_key="one") for _ in range(50))
    )

    assert [done.replayed for done in answers].count(False) == 1
    assert len(shop.script.called("initiate")) == 2
    assert (await shop.counts())["payment_attempt"] == 2


async def test_two_tries_with_two_keys_are_one_attempt_and_a_refusal(shop: Shop) -> None:
    shop.script.says("initiate", DECLINED, Accepted())
    created = await shop.create()

    answers = await asyncio.gather(
        *(shop.try_again(created.payment.id) for _ in range(10)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, CallerError)]
    assert len(refused) == 9
    assert {error.code for error in refused} <= {ErrorCode.ATTEMPT_OPEN, ErrorCode.CONFLICT}
    assert (await shop.counts())["payment_attempt"] == 2


SPELLINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"amount": "5000"}, {"amount": Decimal("5000.00")}),
    ({"amount": "5000"}, {"amount": 5000}),
    (method(phone="0788 123 456"), method(phone="+250788123456")),
    (customer(phone="0788123456"), customer(phone="250788123456")),
    ({"order_reference": "O-1"}, {"order_reference": " O-1 "}),
    ({"description": "caf\u00e9"}, {"description": "cafe\u0301"}),
    ({"description": ""}, {"description": None}),
    ({"metadata": {"a": 1, "b": 2}}, {"metadata": {"b": 2, "a": 1}}),
    ({"wait_ms": 0}, {"wait_ms": 100}),
    (
        {"expires_at": NOW + timedelta(hours=5)},
        {"expires_at": (NOW + timedelta(hours=5)).astimezone(timezone(timedelta(hours=2)))},
    ),
]


@pytest.mark.parametrize(("first", "second"), SPELLINGS)
async def test_another_spelling_of_the_same_is_the_same(
    shop: Shop, first: dict[str, Any], second: dict[str, Any]
) -> None:
    once = await shop.create(idempotency_key="one", **first)
    again = await shop.create(idempotency_key="one", **second)
    await settle()

    assert (again.payment.id, again.replayed) == (once.payment.id, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "5001"},
        {"currency": "USD", **method(gateway="script")},
        {"order_reference": "other"},
        {"description": "other"},
        method(phone="0788123457"),
        method(gateway="cash"),
        {"method": None},
        customer(),
        {"metadata": {"a": 1}},
        {"metadata": ""},
        {"return_url": "https://other.rw/"},
        {"expires_at": NOW + timedelta(hours=5)},
        {"amount": "-1"},
        {"metadata": "\ud800"},
        {"metadata": deep(5_000)},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_the_same_key_for_something_else_is_refused(
    shop: Shop, changes: dict[str, Any]
) -> None:
    await shop.create(idempotency_key="one")
    before = await shop.counts()

    with pytest.raises(CallerError) as refused:
        await shop.create(idempotency_key="one", **changes)

    assert refused.value.code is ErrorCode.IDEMPOTENCY_MISMATCH
    assert await shop.counts() == before
    assert len(shop.script.called("initiate")) == 1


async def test_a_replay_works_after_the_gateway_was_switched_off(shop: Shop) -> None:
    created = await shop.create(idempotency_key="one")
    await shop.save_gateway("script", "script", enabled=False)

    again = await shop.create(idempotency_key="one")

    assert (again.payment.id, again.replayed) == (created.payment.id, True)


async def test_a_replay_works_after_its_expiry_has_passed(shop: Shop) -> None:
    expires_at = shop.clock() + timedelta(hours=1)
    created = await shop.create(idempotency_key="one", expires_at=expires_at)
    shop.clock.forward(hours=2)

    again = await shop.create(idempotency_key="one", expires_at=expires_at)

    assert (again.payment.id, again.replayed) == (created.payment.id, True)


async def test_a_replay_tells_the_payment_as_it_is_now(shop: Shop) -> None:
    created = await shop.create(idempotency_key="one")
    shop.script.says("check", pays)
    await payments.check_payment(shop.core, OPERATOR, created.payment.id)

    again = await shop.create(idempotency_key="one")

    assert again.payment.status is PaymentStatus.SUCCEEDED


async def test_a_key_that_was_refused_is_free(shop: Shop) -> None:
    with pytest.raises(CallerError):
        await shop.create(idempotency_key="one", amount="-1")

    assert not (await shop.create(idempotency_key="one")).replayed


async def test_a_rotated_api_key_shares_the_idempotency_keys_of_the_merchant(shop: Shop) -> None:
    actors = [await api_key(shop, Scope.PAYMENTS_WRITE) for _ in range(2)]

    first = await shop.create(actor=actors[0], idempotency_key="one")
    again = await shop.create(actor=actors[1], idempotency_key="one")

    assert (again.payment.id, again.replayed) == (first.payment.id, True)


async def test_keys_of_different_operations_are_different(shop: Shop) -> None:
    shop.script.says("initiate", DECLINED, Accepted())
    created = await shop.create(idempotency_key="one")

    again = await shop.try_again(created.payment.id, idempotency_key="one")

    assert not again.replayed


async def test_a_payer_has_idempotency_keys_of_their_own(shop: Shop) -> None:
    shop.script.says("initiate", DECLINED, DECLINED, DECLINED, Accepted())
    mine, other = [(await shop.create()).payment.id for _ in range(2)]

    for payment_id in (mine, other):
        payer = await payer_of(shop, payment_id)
        done = await payments.attempt_payment(
            shop.core,
            payer,
            AttemptPayment(
                idempotency_key="k", payment_id=payment_id, method=MethodInput(gateway="script")
            ),
        )
        assert not done.replayed


async def test_when_the_database_answers_too_late_the_same_key_tells_the_truth(
    shop: Shop,
) -> None:
    connection = await asyncpg.connect(shop.url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE idempotency_key")

    with pytest.raises(Retryable):
        await shop.create(idempotency_key="one")
    await transaction.rollback()
    await connection.close()

    assert not (await shop.create(idempotency_key="one")).replayed
    assert (await shop.counts())["payment"] == 1


# ── who may ──────────────────────────────────────────────────────────────────────────────────────


async def api_key(shop: Shop, *scopes: Scope) -> Actor:
    _, token = await access.create_api_key(OPERATOR, "shop", list(scopes))
    return await shop.core.authenticator.actor(token)


async def payer_of(shop: Shop, payment_id: UUID) -> Actor:
    return await shop.core.authenticator.actor(shop.core.authenticator.client_token(payment_id))


def attempt_of(payment_id: UUID) -> AttemptPayment:
    return AttemptPayment(
        idempotency_key="k", payment_id=payment_id, method=MethodInput(gateway="script")
    )


def confirm_of(payment_id: UUID, **changes: Any) -> ConfirmPayment:
    given: dict[str, Any] = {
        "idempotency_key": "confirm",
        "payment_id": payment_id,
        "amount": "5000",
        "currency": "RWF",
        "evidence": "Jean, the courier",
        **changes,
    }
    return ConfirmPayment(**given)


ACTIONS: dict[str, Callable[[Shop, Actor, UUID], Any]] = {
    "create": lambda shop, actor, _: shop.create(actor=actor),
    "attempt": lambda shop, actor, id_: payments.attempt_payment(shop.core, actor, attempt_of(id_)),
    "check": lambda shop, actor, id_: payments.check_payment(shop.core, actor, id_),
    "cancel": lambda shop, actor, id_: payments.cancel_payment(shop.core, actor, id_, "why"),
    "confirm": lambda shop, actor, id_: payments.confirm_payment(shop.core, actor, confirm_of(id_)),
}
# Who is refused what, and how. What is not here is allowed.
MATRIX: dict[tuple[str, str], str] = {
    ("reader", "create"): "FORBIDDEN",
    ("reader", "attempt"): "NOT_FOUND",
    ("reader", "check"): "FORBIDDEN",
    ("reader", "cancel"): "FORBIDDEN",
    ("reader", "confirm"): "FORBIDDEN",
    ("reconciler", "create"): "FORBIDDEN",
    ("reconciler", "attempt"): "NOT_FOUND",
    ("reconciler", "check"): "NOT_FOUND",
    ("reconciler", "cancel"): "NOT_FOUND",
    ("reconciler", "confirm"): "NOT_FOUND",
    ("payer", "create"): "FORBIDDEN",
    ("payer", "check"): "FORBIDDEN",
    ("payer", "cancel"): "FORBIDDEN",
    ("payer", "confirm"): "FORBIDDEN",
    ("payer of another", "create"): "FORBIDDEN",
    ("payer of another", "attempt"): "NOT_FOUND",
    ("payer of another", "check"): "NOT_FOUND",
    ("payer of another", "cancel"): "NOT_FOUND",
    ("payer of another", "confirm"): "NOT_FOUND",
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "who", ["reader", "reconciler", "writer", "admin", "payer", "payer of another"]
)
async def test_each_caller_may_do_what_the_matrix_says(shop: Shop, who: str, action: str) -> None:
    shop.script.says("initiate", DECLINED, Accepted())
    created = (await shop.create()).payment
    if action == "confirm":
        created = (await shop.create(**method(gateway="cash"))).payment
    other = (await shop.create(**method(gateway="cash"))).payment
    actors: dict[str, Any] = {
        "reader": lambda: api_key(shop, Scope.PAYMENTS_READ),
        "reconciler": lambda: api_key(shop, Scope.RECONCILIATION),
        "writer": lambda: api_key(shop, Scope.PAYMENTS_WRITE),
        "admin": lambda: api_key(shop, Scope.ADMIN),
        "payer": lambda: payer_of(shop, created.id),
        "payer of another": lambda: payer_of(shop, other.id),
    }
    actor = await actors[who]()
    before = await shop.payment(created.id)

    try:
        await ACTIONS[action](shop, actor, created.id)
        said = None
    except CallerError as error:
        said = str(error.code)

    assert said == MATRIX.get((who, action))
    if said:
        assert await shop.payment(created.id) == before


@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "create"])
async def test_unknown_and_forbidden_look_alike(shop: Shop, action: str) -> None:
    mine, other = [(await shop.create()).payment.id for _ in range(2)]
    payer = await payer_of(shop, mine)

    said = []
    for payment_id in (other, uuid4()):
        with pytest.raises(CallerError) as refused:
            await ACTIONS[action](shop, payer, payment_id)
        said.append((refused.value.code, str(refused.value), refused.value.field))

    assert said[0] == said[1]


# ── attempt ──────────────────────────────────────────────────────────────────────────────────────


async def test_another_method_may_be_tried_after_the_last_one_failed(shop: Shop) -> None:
    shop.script.says("initiate", DECLINED)
    created = await shop.create()

    again = await shop.try_again(created.payment.id, **method(gateway="cash"))

    assert again.payment.status is PaymentStatus.PENDING
    assert again.payment.failure is None
    assert (await shop.attempt(created.payment.id, 2))["gateway_id"] == again.payment.gateway_id


@pytest.mark.parametrize("answer", [Accepted(), Unknown(cause="lost"), NotSent(cause="refused")])
async def test_while_an_attempt_is_open_no_other_starts(shop: Shop, answer: Outcome) -> None:
    shop.script.says("initiate", answer)
    created = await shop.create()

    with pytest.raises(CallerError) as refused:
        await shop.try_again(created.payment.id)

    assert refused.value.code is ErrorCode.ATTEMPT_OPEN
    assert (await shop.counts())["payment_attempt"] == 1


async def test_nothing_is_left_to_pay_after_success_cancellation_and_expiry(shop: Shop) -> None:
    shop.script.says("initiate", pays)
    succeeded = (await shop.create()).payment.id
    cancelled = (await shop.create(method=None)).payment.id
    await payments.cancel_payment(shop.core, OPERATOR, cancelled, "why")
    expired = (await shop.create(method=None)).payment.id
    shop.clock.forward(days=2)

    said = []
    for payment_id in (succeeded, cancelled, expired):
        with pytest.raises(CallerError) as refused:
            await shop.try_again(payment_id)
        said.append(str(refused.value.code))

    assert said == ["ILLEGAL_STATE", "ILLEGAL_STATE", "EXPIRED"]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"idempotency_key": " "}, "INVALID", "idempotencyKey"),
        ({"payment_id": NOBODY}, "NOT_FOUND", "paymentId"),
        (method(gateway="moon"), "GATEWAY_NOT_FOUND", "method.gateway"),
        (method(phone="1"), "INVALID_PHONE", "method.phone"),
        (method(details={"x": 1}), "INVALID", "method.details.x"),
        ({"return_url": "ftp://x"}, "INVALID", "returnUrl"),
        ({"wait_ms": -1}, "INVALID", "waitMs"),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_a_wrong_attempt_is_named_and_stores_nothing(
    shop: Shop, changes: dict[str, Any], code: str, field: str
) -> None:
    shop.script.says("initiate", DECLINED)
    created = await shop.create()
    before = await shop.counts()

    with pytest.raises(CallerError) as refused:
        await shop.try_again(**{"payment_id": created.payment.id, **changes})

    assert (str(refused.value.code), ".".join(refused.value.field)) == (code, field)
    assert await shop.counts() == before


# ── check, cancel ────────────────────────────────────────────────────────────────────────────────


async def test_checking_asks_the_gateway_now(shop: Shop) -> None:
    created = await shop.create()
    shop.script.says("check", pays)

    done = await payments.check_payment(shop.core, OPERATOR, created.payment.id)

    assert done.payment.status is PaymentStatus.SUCCEEDED


async def test_many_checks_at_once_ask_once_at_a_time(shop: Shop) -> None:
    created = await shop.create()
    asking = 0

    async def alone(attempt: Attempt) -> Outcome:
        nonlocal asking
        asking += 1
        assert asking == 1
        await asyncio.sleep(0.05)
        asking -= 1
        return Accepted()

    shop.script.says("check", alone)

    await asyncio.gather(
        *(payments.check_payment(shop.core, OPERATOR, created.payment.id) for _ in range(10))
    )

    assert all(row["error_message"] is None for row in await shop.log(created.payment.id))


async def test_checking_what_has_no_attempt_changes_nothing(shop: Shop) -> None:
    created = await shop.create(method=None)

    done = await payments.check_payment(shop.core, OPERATOR, created.payment.id)

    assert done.payment == created.payment


async def test_an_unpaid_payment_is_cancelled_with_its_reason(shop: Shop) -> None:
    created = await shop.create(method=None)

    done = await payments.cancel_payment(shop.core, OPERATOR, created.payment.id, "sold out")
    again = await payments.cancel_payment(shop.core, OPERATOR, created.payment.id, "sold out")

    assert done.payment.status is PaymentStatus.CANCELLED
    assert done.payment.failure is not None
    assert done.payment.failure.message == "sold out"
    assert again.payment == done.payment
    detail = await shop.value("SELECT detail FROM audit_entry WHERE action = 'payment.cancelled'")
    assert "sold out" in detail


async def test_an_open_attempt_is_withdrawn_at_the_gateway_first(shop: Shop) -> None:
    created = await shop.create()
    shop.script.says("cancel", WITHDRAWN)

    done = await payments.cancel_payment(shop.core, OPERATOR, created.payment.id, "sold out")

    assert done.payment.status is PaymentStatus.CANCELLED
    assert shop.script.called("cancel") == shop.script.called("initiate")


@pytest.mark.parametrize(
    "answer", [Unknown(cause="timeout"), Accepted(), NotSent(cause="404"), RuntimeError()], ids=repr
)
async def test_what_the_gateway_does_not_take_back_stays_open(shop: Shop, answer: Any) -> None:
    created = await shop.create()
    shop.script.says("cancel", answer)

    with pytest.raises(CallerError) as refused:
        await payments.cancel_payment(shop.core, OPERATOR, created.payment.id, "sold out")

    assert refused.value.code is ErrorCode.ATTEMPT_OPEN
    assert (await shop.payment(created.payment.id))["status"] == "PENDING"


async def test_a_cancellation_that_comes_too_late_finds_the_money(shop: Shop) -> None:
    created = await shop.create()
    shop.script.says("cancel", pays)

    with pytest.raises(CallerError) as refused:
        await payments.cancel_payment(shop.core, OPERATOR, created.payment.id, "sold out")

    assert refused.value.code is ErrorCode.ILLEGAL_STATE
    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    "reason", ["", "x" * 300, "\x00", PAN, "\ud800"], ids=lambda text: ascii(text)[:30]
)
async def test_a_wrong_reason_is_refused(shop: Shop, reason: str) -> None:
    created = await shop.create(method=None)

    with pytest.raises(CallerError) as refused:
        await payments.cancel_payment(shop.core, OPERATOR, created.payment.id, reason)

    assert refused.value.field == ("reason",)


async def test_cancelling_and_trying_again_at_once_end_in_one_of_the_two(shop: Shop) -> None:
    for _ in range(5):
        shop.script.says("initiate", DECLINED, Accepted())
        created = await shop.create()

        await asyncio.gather(
            payments.cancel_payment(shop.core, OPERATOR, created.payment.id, "why"),
            shop.try_again(created.payment.id),
            return_exceptions=True,
        )
        await settle()

        payment = await shop.payment(created.payment.id)
        count = await shop.value(
            "SELECT count(*) FROM payment_attempt WHERE payment_id = $1 AND status = 'PENDING'",
            created.payment.id,
        )
        assert (payment["status"], count) in {("CANCELLED", 0), ("PENDING", 1)}


# ── confirm ──────────────────────────────────────────────────────────────────────────────────────


async def test_cash_that_a_person_saw_is_confirmed(shop: Shop) -> None:
    created = await shop.create(**method(gateway="cash"))

    done = await payments.confirm_payment(shop.core, OPERATOR, confirm_of(created.payment.id))

    assert done.payment.status is PaymentStatus.SUCCEEDED
    log = (await shop.log(created.payment.id))[-1]
    assert (log["kind"], "Jean, the courier" in log["request"]) == ("MANUAL", True)


async def test_ten_confirmations_at_once_are_one(shop: Shop) -> None:
    created = await shop.create(**method(gateway="cash"))

    same = [confirm_of(created.payment.id) for _ in range(5)]
    others = [confirm_of(created.payment.id, idempotency_key=f"c{n}") for n in range(5)]
    answers = await asyncio.gather(
        *(payments.confirm_payment(shop.core, OPERATOR, one) for one in [*same, *others]),
        return_exceptions=True,
    )

    assert all(not isinstance(answer, BaseException) for answer in answers[:5])
    assert (await shop.payment(created.payment.id))["captured"] == AMOUNT.minor


async def test_a_confirmation_is_replayed(shop: Shop) -> None:
    created = await shop.create(**method(gateway="cash"))
    await payments.confirm_payment(shop.core, OPERATOR, confirm_of(created.payment.id))

    again = await payments.confirm_payment(
        shop.core, OPERATOR, confirm_of(created.payment.id, amount="5000.00")
    )

    assert again.replayed
    assert again.payment.captured == AMOUNT


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"amount": "4999"}, "INVALID_AMOUNT", "amount.amount"),
        ({"amount": "10.5"}, "INVALID_AMOUNT", "amount.amount"),
        ({"currency": "USD"}, "INVALID_AMOUNT", "amount.amount"),
        ({"currency": "???"}, "CURRENCY_NOT_SUPPORTED", "amount.currency"),
        ({"evidence": " "}, "INVALID", "evidence"),
        ({"evidence": "\x00"}, "INVALID", "evidence"),
        ({"evidence": PAN}, "INVALID", "evidence"),
        ({"evidence": LONG}, "INVALID", "evidence"),
        ({"note": LONG}, "INVALID", "note"),
        ({"note": PAN}, "INVALID", "note"),
        ({"idempotency_key": ""}, "INVALID", "idempotencyKey"),
        ({"payment_id": NOBODY}, "NOT_FOUND", "paymentId"),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_a_wrong_confirmation_is_named_and_stores_nothing(
    shop: Shop, changes: dict[str, Any], code: str, field: str
) -> None:
    created = await shop.create(**method(gateway="cash"))
    before = await shop.counts()

    with pytest.raises(CallerError) as refused:
        await payments.confirm_payment(
            shop.core, OPERATOR, confirm_of(**{"payment_id": created.payment.id, **changes})
        )

    assert (str(refused.value.code), ".".join(refused.value.field)) == (code, field)
    assert await shop.counts() == before


async def test_nobody_confirms_what_a_gateway_tells_by_itself(shop: Shop) -> None:
    created = await shop.create()

    with pytest.raises(CallerError) as refused:
        await payments.confirm_payment(shop.core, OPERATOR, confirm_of(created.payment.id))

    assert refused.value.code is ErrorCode.ILLEGAL_STATE


# ── expiry ───────────────────────────────────────────────────────────────────────────────────────


async def test_what_nobody_chose_a_method_for_expires(shop: Shop) -> None:
    over, kept = [(await shop.create(method=None)).payment.id for _ in range(2)]
    await shop.run("UPDATE payment SET expires_at = now() - interval '1 s' WHERE id = $1", over)

    ended = await asyncio.gather(*(payments.expire_due(shop.core) for _ in range(4)))

    assert sum(ended) == 1
    assert (await shop.payment(over))["status"] == "EXPIRED"
    assert (await shop.payment(kept))["status"] == "CREATED"
    assert [event["type"] for event in await shop.events(over)] == [
        "payment.created",
        "payment.expired",
    ]


async def test_what_is_being_paid_does_not_expire_by_the_clock_alone(shop: Shop) -> None:
    shop.script.says("initiate", NotSent(cause="refused"))
    created = await shop.create()
    await shop.run("UPDATE payment SET expires_at = now() - interval '1 s'")

    assert await payments.expire_due(shop.core) == 0
    assert (await shop.payment(created.payment.id))["status"] == "CREATED"
