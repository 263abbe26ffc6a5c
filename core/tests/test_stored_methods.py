"""What becomes of a kept method on its way to the gateway, and what nobody may see of it."""

import base64
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from core.tests.conftest import AMOUNT, PHONE, Script, Shop, open_shop, paid

from dusangire import attempts, hookimpl, inbox, rotation, stored_methods
from dusangire.access import OPERATOR, Actor
from dusangire.errors import CannotStart, Forbidden, Invalid
from dusangire.gateway import (
    Accepted,
    Attempt,
    Gateway,
    Heard,
    NotSent,
    Outcome,
    PaymentToken,
    Succeeded,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.intake import CreatePayment, CustomerInput, MethodInput, fingerprint
from dusangire.keyring import Keyring
from dusangire.stored_methods import StoredMethod

TOKEN = "canary-token/4f1b+77aa"
WORDS = "Remember this card"
CARD = PaymentToken(secret=TOKEN, label="Visa •••• 4242")


def key_of(letter: str) -> str:
    return base64.b64encode(letter.encode() * 32).decode()


@dataclass(eq=False)
class Cards(Script):
    """A scripted gateway that keeps cards. charged: the tokens it was given."""

    charge: deque[Any] = field(default_factory=lambda: deque([Accepted()]))
    charged: list[str] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)

    @hookimpl
    async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        self.kept.append(attempt.keeps_method)
        return await self._play("initiate", attempt)

    @hookimpl
    async def charge_token(self, gateway: Gateway[Any], attempt: Attempt, token: str) -> Outcome:
        self.charged.append(token)
        return await self._play("charge", attempt)


@pytest.fixture
def cards() -> Cards:
    return Cards()


@pytest.fixture
async def shop(tmp_path: Path, url: str, cards: Cards) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path, url, script=cards, secret_keys=f"k1:{key_of('a')}") as opened:
        yield opened


async def keep(
    shop: Shop, cards: Script, *, customer: str = "C-1", token: PaymentToken | None = CARD
) -> StoredMethod:
    """A method that a payment of the customer left."""

    async def pays(attempt: Attempt) -> Succeeded:
        return paid(attempt, token=token)

    cards.says("initiate", pays)
    await shop.create(
        customer=CustomerInput(reference=customer),
        method=MethodInput(gateway="script", phone=PHONE, store_consent=WORDS),
    )
    cards.says("initiate", Accepted())
    return (await stored_methods.of_customer(OPERATOR, customer))[-1]


async def use(shop: Shop, method: StoredMethod, customer: str = "C-1") -> UUID:
    done = await shop.create(
        customer=CustomerInput(reference=customer),
        method=MethodInput(gateway="script", stored_method_id=str(method.id)),
    )
    return done.payment.id


# ── charging ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_plugin_is_told_whether_the_payer_wants_it_kept(shop: Shop, cards: Cards) -> None:
    await keep(shop, cards)
    await shop.create()

    assert cards.kept == [True, False]


async def test_a_kept_card_is_charged_with_its_token_and_nothing_is_initiated(
    shop: Shop, cards: Cards
) -> None:
    method = await keep(shop, cards)
    before = cards.called("initiate")

    await use(shop, method)

    assert cards.charged == [TOKEN]
    assert cards.called("initiate") == before


async def test_a_charge_that_never_left_is_sent_again_with_the_same_token_and_reference(
    shop: Shop, cards: Cards
) -> None:
    method = await keep(shop, cards)
    cards.says("charge", NotSent(cause="refused"), Accepted())

    payment_id = await use(shop, method)
    await shop.work_now()

    attempt = await shop.attempt(payment_id)
    assert cards.charged == [TOKEN, TOKEN]
    assert cards.called("charge") == [attempt["reference"]] * 2
    assert attempt["status"] == "PENDING"


async def test_a_lost_answer_to_a_charge_is_asked_about_and_never_charged_again(
    shop: Shop, cards: Cards
) -> None:
    method = await keep(shop, cards)
    told: list[bool] = []

    async def loses(attempt: Attempt) -> Outcome:
        told.append(attempt.uses_stored_method)
        return Unknown(cause="no answer")

    async def waits(attempt: Attempt) -> Outcome:
        told.append(attempt.uses_stored_method)
        return Accepted()

    cards.says("charge", loses)
    cards.says("check", waits)

    payment_id = await use(shop, method)
    await shop.work_now()

    assert cards.charged == [TOKEN]
    assert told == [True, True]
    assert len(cards.called("check")) == 1
    assert (await shop.attempt(payment_id))["status"] == "PENDING"


async def test_what_a_token_pays_says_whose_method_it_was(shop: Shop, cards: Cards) -> None:
    method = await keep(shop, cards)

    payment_id = await use(shop, method)

    detail = await shop.value(
        "SELECT detail->>'stored_method' FROM audit_entry a JOIN payment p ON "
        "a.object = 'payment:' || p.reference WHERE p.id = $1 AND action = 'payment.created'",
        payment_id,
    )
    assert detail == str(method.id)


# ── a method that goes while a payment is under way ──────────────────────────────────────────────


@pytest.mark.parametrize("token", [CARD, None], ids=["card", "phone"])
async def test_what_was_removed_before_it_was_charged_is_not_charged(
    tmp_path: Path, url: str, token: PaymentToken | None
) -> None:
    script = Cards(needs_phone=True)
    async with open_shop(tmp_path, url, script=script) as shop:
        method = await keep(shop, script, token=token)
        waiting = NotSent(cause="refused")
        script.says("charge" if token else "initiate", waiting)
        payment_id = await use(shop, method)
        sent = len(script.calls)

        await stored_methods.remove(OPERATOR, method.id)
        await shop.work_now()

        payment = await shop.payment(payment_id)
        assert len(script.calls) == sent
        assert (payment["status"], payment["failure_code"]) == ("FAILED", "CANCELLED")


async def test_another_method_may_be_tried_after_the_first_was_removed(
    shop: Shop, cards: Cards
) -> None:
    method = await keep(shop, cards)
    cards.says("charge", NotSent(cause="refused"))
    payment_id = await use(shop, method)
    await stored_methods.remove(OPERATOR, method.id)
    await shop.work_now()

    await shop.try_again(payment_id)

    assert (await shop.payment(payment_id))["status"] == "PENDING"


async def test_a_charge_under_way_is_followed_to_its_end_though_its_method_is_removed(
    shop: Shop, cards: Cards
) -> None:
    async def pays(attempt: Attempt) -> Succeeded:
        return paid(attempt)

    method = await keep(shop, cards)
    payment_id = await use(shop, method)
    cards.says("check", pays)

    await stored_methods.remove(OPERATOR, method.id)
    await shop.work_now()

    assert (await shop.payment(payment_id))["status"] == "SUCCEEDED"


async def test_a_card_that_expired_since_is_refused(shop: Shop, cards: Cards) -> None:
    card = replace(CARD, expires_at=shop.clock() + timedelta(days=1))
    method = await keep(shop, cards, token=card)
    await use(shop, method)
    shop.clock.forward(days=2)

    with pytest.raises(Invalid, match=r"Visa •••• 4242 has expired"):
        await use(shop, method)


# ── what is kept, and what is not ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "changes",
    [{"amount": "4999"}, {"reference": "another"}],
    ids=["another amount", "another reference"],
)
async def test_an_answer_that_contradicts_what_was_sent_leaves_nothing(
    shop: Shop, cards: Cards, changes: dict[str, str]
) -> None:
    async def lies(attempt: Attempt) -> Succeeded:
        amount = replace(attempt.amount, minor=4999) if "amount" in changes else attempt.amount
        reference = changes.get("reference", attempt.reference)
        return Succeeded(amount=amount, reference=reference, token=CARD)

    cards.says("initiate", lies)
    await shop.create(
        customer=CustomerInput(reference="C-1"),
        method=MethodInput(gateway="script", phone=PHONE, store_consent=WORDS),
    )

    assert await stored_methods.of_customer(OPERATOR, "C-1") == []


async def test_a_success_that_comes_twice_keeps_once(shop: Shop, cards: Cards) -> None:
    async def pays(attempt: Attempt) -> Succeeded:
        return paid(attempt, token=CARD)

    cards.says("check", pays)
    done = await shop.create(
        customer=CustomerInput(reference="C-1"),
        method=MethodInput(gateway="script", phone=PHONE, store_consent=WORDS),
    )
    account = await shop.account()
    work = await attempts.load((await shop.attempt(done.payment.id))["id"])

    await attempts.ask(shop.core, account, work)
    await attempts.ask(shop.core, account, work)

    kept = "SELECT count(*) FROM audit_entry WHERE action = 'stored_method.kept'"
    assert len(await stored_methods.of_customer(OPERATOR, "C-1")) == 1
    assert await shop.value(kept) == 1


# ── sealed ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE stored_method m SET token = (SELECT token FROM stored_method o WHERE o.id <> m.id)",
        "UPDATE stored_method SET customer_id = (SELECT id FROM customer WHERE reference = 'C-2')",
        "UPDATE stored_method SET token = left(token, -6) || 'AAAAA='",
    ],
    ids=["swapped", "moved", "damaged"],
)
async def test_a_token_opens_for_its_own_row_and_customer_only(
    shop: Shop, cards: Cards, harm: str
) -> None:
    await keep(shop, cards)
    await keep(shop, cards, token=PaymentToken(secret="another-token", label="Visa •••• 1111"))
    await shop.create(customer=CustomerInput(reference="C-2"))
    await shop.run(harm)
    owner = "C-2" if "C-2" in harm else "C-1"
    harmed = await stored_methods.of_customer(OPERATOR, owner)

    logs = [await shop.log(await use(shop, method, owner)) for method in harmed]

    assert len(logs) == 2
    assert all(entry["outcome"].startswith("not sent: ") for [entry] in logs)
    assert cards.charged == []


async def test_a_payment_cannot_be_pointed_at_another_customers_card(
    shop: Shop, cards: Cards
) -> None:
    mine = await keep(shop, cards, customer="C-1")
    theirs = await keep(shop, cards, customer="C-2")
    cards.says("charge", NotSent(cause="refused"))
    await use(shop, mine)
    await shop.run("UPDATE payment_attempt SET stored_method_id = $1", theirs.id)
    cards.charged.clear()

    await shop.work_now()

    assert cards.charged == []


# ── never shown ──────────────────────────────────────────────────────────────────────────────────


async def dump(shop: Shop) -> str:
    lines = []
    for table in await shop.counts():
        lines += [r["line"] for r in await shop.rows(f'SELECT t::text AS line FROM "{table}" t')]
    return "\n".join(lines)


class Leaky(Cards):
    """A plugin that shows its token wherever a plugin can."""

    @hookimpl
    async def charge_token(self, gateway: Gateway[Any], attempt: Attempt, token: str) -> Outcome:
        gateway.log.warning(f"charging {token}", card=token, body={"nested": [token]})
        gateway.note("card", f"was {token}")
        await gateway.http.post(
            f"https://cards.example/{quote(token, safe='')}/charges",
            json={"instrument": token, "cards": [{"value": token}]},
            headers={"X-Reference-Id": token},
        )
        return await self._play("charge", attempt)


def echoes(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"echo": request.content.decode(), "instrument": TOKEN})


@pytest.mark.parametrize(
    "answer",
    [
        Accepted(unmapped=f"odd {TOKEN}"),
        Unknown(cause=f"no answer for {TOKEN}"),
        NotSent(cause=f"refused {TOKEN}"),
        ValueError(f"cannot charge {TOKEN}"),
        httpx.ReadTimeout(f"POST /cards/{TOKEN}/charges"),
    ],
    ids=lambda answer: type(answer).__name__,
)
async def test_nothing_that_a_plugin_says_while_charging_shows_the_token(
    tmp_path: Path,
    url: str,
    capsys: pytest.CaptureFixture[str],
    answer: Any,
) -> None:
    leaky = Leaky()
    async with open_shop(tmp_path, url, script=leaky) as shop:
        shop.core.gateways.transport = httpx.MockTransport(echoes)
        await shop.save_gateway("script", "script", currency="RWF")
        method = await keep(shop, leaky)
        leaky.says("charge", answer)

        payment_id = await use(shop, method)
        shown = await dump(shop)
        [entry] = await shop.log(payment_id)

    printed = "".join(capsys.readouterr())
    hidden = (TOKEN, quote(TOKEN, safe=""), "canary-token")
    assert [text for text in hidden if text in shown or text in printed] == []
    assert "•••" in entry["request"]
    assert '"event": "charging' in printed


async def test_what_an_answer_says_of_a_new_token_is_masked_under_any_name(
    tmp_path: Path, url: str
) -> None:
    class Telling(Cards):
        @hookimpl
        async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
            await gateway.http.get("https://cards.example/answer")
            gateway.note("got", {"instrument": TOKEN})
            return paid(attempt, token=CARD)

    async with open_shop(tmp_path, url, script=Telling()) as shop:
        shop.core.gateways.transport = httpx.MockTransport(echoes)
        await shop.save_gateway("script", "script", currency="RWF")
        await shop.create()
        shown = await dump(shop)

    assert "instrument" in shown
    assert TOKEN not in shown


async def tell(shop: Shop, cards: Cards, *, after: int = 0, consent: str | None = WORDS) -> None:
    """A signed webhook says that a waiting payment was paid; read well after `after` failures."""
    done = await shop.create(
        customer=CustomerInput(reference="C-1"),
        method=MethodInput(gateway="script", phone=PHONE, store_consent=consent),
    )
    reference = (await shop.attempt(done.payment.id))["reference"]

    def reads(_request: WebhookRequest) -> Heard:
        if len(cards.heard) <= after:
            raise ValueError("not yet")
        success = Succeeded(amount=AMOUNT, reference=reference, token=CARD)
        return Heard(reference=reference, trust=Trust.SIGNED, dedupe_key="1", outcome=success)

    cards.reads = reads
    account = await shop.account()
    request = WebhookRequest(method="POST", headers={}, body=f"paid with {TOKEN}".encode())
    await inbox.accept(shop.core, "script", account.webhook_token, request)


@pytest.mark.parametrize("after", [0, 1], ids=["at once", "late"])
async def test_a_token_in_a_webhook_is_shown_nowhere_once_it_is_understood(
    shop: Shop, cards: Cards, after: int
) -> None:
    await tell(shop, cards, after=after)

    await shop.read_mail()

    kept = await stored_methods.of_customer(OPERATOR, "C-1")
    body = await shop.value("SELECT convert_from(body, 'UTF8') FROM gateway_webhook")
    assert [method.label for method in kept] == [CARD.label]
    assert body == "paid with •••"
    assert await shop.value("SELECT outcome->'token' FROM gateway_webhook") is None
    assert TOKEN not in await dump(shop)


async def test_a_token_that_nobody_agreed_to_keep_does_not_even_wait(
    shop: Shop, cards: Cards
) -> None:
    await tell(shop, cards, consent=None)

    waiting = await shop.row("SELECT status, outcome->'token' AS token FROM gateway_webhook")
    await shop.read_mail()

    assert waiting == {"status": "RECEIVED", "token": None}
    assert await shop.value("SELECT status FROM payment") == "SUCCEEDED"
    assert await stored_methods.of_customer(OPERATOR, "C-1") == []


# ── replays ──────────────────────────────────────────────────────────────────────────────────────


def test_keys_from_before_consent_could_be_given_still_stand_for_the_same_request() -> None:
    method = MethodInput(gateway="mtn", phone="0788123456")
    request = CreatePayment(idempotency_key="k", amount="5000", currency="RWF", method=method)

    digest = "1d3ff05a7ac494ed49934b1e8e96033079737398204bfb9812f54a6d97575579"
    assert fingerprint(request) == digest


# ── new keys ─────────────────────────────────────────────────────────────────────────────────────


async def sealed_with(shop: Shop) -> set[str]:
    rows = await shop.rows(
        "SELECT split_part(token, ':', 1) AS key FROM stored_method WHERE token IS NOT NULL "
        "UNION SELECT split_part(s.value, ':', 1) FROM gateway_account, jsonb_each_text(secrets) s"
    )
    return {row["key"] for row in rows}


def turn(shop: Shop, *letters: str) -> None:
    """Gives the process another ring, of the keys k1 (a) and k2 (b)."""
    ids = {"a": "k1", "b": "k2"}
    ring = Keyring.parse(",".join(f"{ids[letter]}:{key_of(letter)}" for letter in letters))
    shop.core.keyring = shop.core.gateways.keyring = ring


async def test_after_a_rotation_the_old_key_is_needed_for_nothing(shop: Shop, cards: Cards) -> None:
    method = await keep(shop, cards)
    turn(shop, "b", "a")

    rotated = await rotation.rotate(shop.core, OPERATOR)
    turn(shop, "b")
    await shop.core.gateways.reload()
    await use(shop, method)

    assert (rotated.key, rotated.gateways, rotated.stored_methods) == ("k2", 2, 1)
    assert await sealed_with(shop) == {"k2"}
    assert cards.charged == [TOKEN]


async def test_a_second_rotation_has_nothing_to_do(shop: Shop, cards: Cards) -> None:
    await keep(shop, cards)
    turn(shop, "b", "a")
    await rotation.rotate(shop.core, OPERATOR)

    again = await rotation.rotate(shop.core, OPERATOR)

    assert (again.gateways, again.stored_methods) == (0, 0)


@pytest.mark.parametrize("rotated", [False, True])
async def test_a_card_is_known_again_under_a_new_key(
    shop: Shop, cards: Cards, *, rotated: bool
) -> None:
    first = await keep(shop, cards)
    turn(shop, "b", "a")
    if rotated:
        await rotation.rotate(shop.core, OPERATOR)
        turn(shop, "b")

    again = await keep(shop, cards)

    assert again.id == first.id
    assert await shop.value("SELECT count(*) FROM stored_method") == 1


async def test_a_rotation_needs_the_old_key_and_names_it(shop: Shop, cards: Cards) -> None:
    await keep(shop, cards)
    turn(shop, "b")

    with pytest.raises(CannotStart, match="'k1'"):
        await rotation.rotate(shop.core, OPERATOR)

    assert await sealed_with(shop) == {"k1"}


async def test_a_token_that_waits_in_a_webhook_is_sealed_anew_too(shop: Shop, cards: Cards) -> None:
    await tell(shop, cards)
    waiting = await shop.value("SELECT outcome #>> '{token,secret}' FROM gateway_webhook")
    turn(shop, "b", "a")

    rotated = await rotation.rotate(shop.core, OPERATOR)
    turn(shop, "b")
    await shop.read_mail()

    assert waiting.startswith("k1:")
    assert rotated.stored_methods == 1
    [method] = await stored_methods.of_customer(OPERATOR, "C-1")
    await use(shop, method)
    assert cards.charged == [TOKEN]


async def test_a_removed_method_is_not_sealed_anew(shop: Shop, cards: Cards) -> None:
    method = await keep(shop, cards)
    await stored_methods.remove(OPERATOR, method.id)
    turn(shop, "b", "a")

    rotated = await rotation.rotate(shop.core, OPERATOR)

    assert rotated.stored_methods == 0


async def test_rotating_is_for_staff(shop: Shop) -> None:
    with pytest.raises(Forbidden):
        await rotation.rotate(shop.core, Actor(kind="api_key", name="shop"))
