"""What one customer does, by method. Told again under the same key, a story must change nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeAlias

from tests.harness.browser import Browser
from tests.harness.client import Answer, Merchant
from tests.harness.system import System

LIES = "status=successful&transaction_id=910000001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Who pays: with which method, and what is special about it.

    phone: None where none is needed. cards: names of the simulator's cards, tried in this order.
    """

    system: System
    merchant: Merchant
    browser: Browser
    key: str
    gateway: str
    phone: str | None
    cards: tuple[str, ...] = ()

    async def create(self, **more: Any) -> Answer:
        return await self.merchant.create(self.key, gateway=self.gateway, phone=self.phone, **more)

    async def link(self, payment_id: str, seconds: float = 20) -> str | None:
        """Where the payer is to go on, once there is a link; None when there will be none."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            payment = await self.merchant.payment(payment_id)
            if payment["status"] not in {"CREATED", "PENDING"}:
                return None
            if payment["nextAction"] and "url" in payment["nextAction"]:
                return str(payment["nextAction"]["url"])
            await asyncio.sleep(0.1)
        return None


Story: TypeAlias = Callable[[Customer], Awaitable[Answer]]


# ── any method ───────────────────────────────────────────────────────────────────────────────────


async def _pays(customer: Customer) -> Answer:
    return await customer.create()


async def _pays_without_waiting(customer: Customer) -> Answer:
    return await customer.create(waitMs=0)


async def _clicks_three_times(customer: Customer) -> Answer:
    answers = await asyncio.gather(*(customer.create() for _ in range(3)))
    return answers[0]


async def _chooses_later(customer: Customer) -> Answer:
    key, merchant = customer.key, customer.merchant
    created = await merchant.create(key, gateway=None)
    await merchant.attempt(
        f"{key} a", created.id, charge=key, gateway=customer.gateway, phone=customer.phone
    )
    return created


async def _fails(customer: Customer, created: Answer) -> bool:
    try:
        await customer.merchant.until(created.id, "FAILED", "SUCCEEDED", seconds=20)
    except TimeoutError:
        return False
    return True


async def _is_declined_and_pays_cash(customer: Customer) -> Answer:
    created = await customer.create()
    if await _fails(customer, created):
        attempted = await customer.merchant.attempt(
            f"{customer.key} cash", created.id, charge=customer.key, gateway="cod"
        )
        if attempted.payment is not None:
            await _hands_over(customer, created)
    return created


async def _is_declined_and_pays_from_another_phone(customer: Customer) -> Answer:
    created = await customer.create()
    if await _fails(customer, created):
        await customer.merchant.attempt(
            f"{customer.key} b",
            created.id,
            charge=customer.key,
            gateway="mtn",
            phone="250788000777",
        )
    return created


async def _leaves_it(customer: Customer) -> Answer:
    # The same moment however often it is told: another one would be another request.
    soon = datetime.now(UTC) + timedelta(seconds=4)
    expires = _deadlines.setdefault(customer.key, soon.isoformat())
    return await customer.create(expiresAt=expires)


_deadlines: dict[str, str] = {}


# ── cash ─────────────────────────────────────────────────────────────────────────────────────────


async def _pays_cash(customer: Customer) -> Answer:
    created = await customer.create()
    await _hands_over(customer, created)
    return created


async def _hands_over(customer: Customer, created: Answer) -> None:
    await customer.merchant.confirm(
        f"{customer.key} paid",
        created.id,
        charge=customer.key,
        amount="1500",
        evidence="courier Aline",
    )


# ── card ─────────────────────────────────────────────────────────────────────────────────────────


async def _pays_by_card(customer: Customer) -> Answer:
    created = await customer.create()
    link = await customer.link(created.id)
    if link is not None:
        address = await customer.browser.pay(link, *customer.cards)
        if address is not None:
            await customer.browser.come_back(address)
    return created


async def _is_declined_and_pays_by_card(customer: Customer) -> Answer:
    created = await customer.create()
    if await _fails(customer, created):
        await customer.merchant.attempt(
            f"{customer.key} d", created.id, charge=customer.key, gateway="card"
        )
        link = await customer.link(created.id)
        if link is not None:
            await customer.browser.pay(link, *customer.cards)
    return created


async def _lies_and_never_pays(customer: Customer) -> Answer:
    created = await customer.create()
    assert created.payment is not None
    reference = created.payment["reference"]
    await customer.browser.come_back(f"http://shop/return/{reference}?{LIES}")
    return created


async def _gives_up(customer: Customer) -> Answer:
    created = await customer.create()
    link = await customer.link(created.id)
    if link is not None:
        address = await customer.browser.give_up(link)
        if address is not None:
            await customer.browser.come_back(address)
        await customer.merchant.cancel(created.id, "The customer left")
    return created


async def _pays_when_time_is_over(customer: Customer) -> Answer:
    """The payer and the clock race for the page."""
    created = await customer.create()
    link = await customer.link(created.id)
    if link is not None:
        await asyncio.gather(
            customer.browser.pay(link, *customer.cards),
            customer.system.let_time_run_out(created.id),
        )
    return created


# ── the table ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Tale:
    """A story with its part of all payments, and what the simulator needs to play its part.

    phone: of the simulator's numbers; None: any of the network's.
    needs: methods that it needs beside its own.
    """

    name: str
    share: float
    gateway: str
    story: Story
    phone: str | None = None
    cards: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()

    def possible(self, methods: Collection[str]) -> bool:
        return {self.gateway, *self.needs} <= set(methods)

    def payers_phone(self, draw: Random) -> str | None:
        match self.gateway:
            case "mtn":
                return self.phone or f"25078{draw.randrange(8_100_000, 8_999_999)}"
            case "airtel":
                return self.phone or f"25072{draw.randrange(8_100_000, 8_999_999)}"
        return None


def _mtn(name: str, share: float, story: Story, phone: str | None = None, *needs: str) -> Tale:
    return Tale(
        name=name, share=share, gateway="mtn", story=story, phone=phone, needs=frozenset(needs)
    )


def _airtel(name: str, share: float, story: Story, phone: str | None = None, *needs: str) -> Tale:
    return Tale(
        name=name, share=share, gateway="airtel", story=story, phone=phone, needs=frozenset(needs)
    )


def _card(name: str, share: float, story: Story, *cards: str) -> Tale:
    return Tale(name=name, share=share, gateway="card", story=story, cards=cards)


PAYS = "mastercard-3ds"
TALES: tuple[Tale, ...] = (
    _mtn("pays", 40, _pays),
    _mtn("does not wait", 12, _pays_without_waiting),
    _mtn("clicks thrice", 8, _clicks_three_times),
    _mtn("chooses later", 6, _chooses_later),
    _mtn("not enough money", 4, _pays, "250780000101"),
    _mtn("says no", 3, _pays, "250780000102"),
    _mtn("pays cash then", 4, _is_declined_and_pays_cash, "250780000101", "cod"),
    _mtn("other phone then", 4, _is_declined_and_pays_from_another_phone, "250780000101"),
    _mtn("silent", 3, _pays, "250780000202"),
    _mtn("thrice", 2, _pays, "250780000203"),
    _mtn("told early", 2, _pays, "250780000204"),
    _mtn("forged", 2, _pays, "250780000205"),
    _mtn("other amount told", 2, _pays, "250780000206"),
    _mtn("late", 3, _pays, "250780000207"),
    _mtn("found at second", 2, _pays, "250780000208"),
    _mtn("error but taken", 2, _pays, "250780000004"),
    _mtn("error not taken", 1, _pays, "250780000003"),
    _mtn("hangs up", 2, _pays, "250780000005"),
    _mtn("never ends", 2, _leaves_it, "250780000201"),
    Tale(
        name="declined, then by card",
        share=4,
        gateway="mtn",
        story=_is_declined_and_pays_by_card,
        phone="250780000101",
        cards=(PAYS,),
        needs=frozenset({"card"}),
    ),
    _airtel("airtel pays", 25, _pays),
    _airtel("airtel does not wait", 8, _pays_without_waiting),
    _airtel("airtel clicks thrice", 5, _clicks_three_times),
    _airtel("airtel chooses later", 4, _chooses_later),
    _airtel("airtel says no", 3, _pays, "250730000008"),
    _airtel("airtel says no, then cash", 2, _is_declined_and_pays_cash, "250730000008", "cod"),
    _airtel(
        "airtel says no, then mtn",
        2,
        _is_declined_and_pays_from_another_phone,
        "250730000008",
        "mtn",
    ),
    _airtel("airtel silent", 2, _pays, "250730000102"),
    _airtel("airtel thrice", 2, _pays, "250730000103"),
    _airtel("airtel told to have failed", 2, _pays, "250730000104"),
    _airtel("airtel forged", 2, _pays, "250730000105"),
    _airtel("airtel without hash", 2, _pays, "250730000106"),
    _airtel("airtel ambiguous", 2, _pays, "250730000024"),
    _airtel("airtel unanswered", 2, _pays, "250730000026"),
    _airtel("airtel timed out", 2, _pays, "250730000117"),
    _airtel("airtel broken", 1, _pays, "250730000025"),
    _airtel("airtel never ends", 1, _leaves_it, "250730000101"),
    _card("card pays", 22, _pays_by_card, PAYS),
    _card("card at second try", 4, _pays_by_card, "declined", PAYS),
    _card("card refused", 5, _pays_by_card, "insufficient", "expired"),
    _card("card slow", 3, _pays_by_card, "slow"),
    _card("card silent", 3, _pays_by_card, "silent"),
    _card("card thrice", 2, _pays_by_card, "thrice"),
    _card("card hidden", 2, _pays_by_card, "hidden"),
    _card("card with fee", 2, _pays_by_card, "with-fee"),
    _card("card pending", 1, _pays_by_card, "pending"),
    _card("card liar", 3, _lies_and_never_pays),
    _card("card given up", 3, _gives_up),
    _card("card too late", 5, _pays_when_time_is_over, PAYS),
    Tale(name="cash", share=12, gateway="cod", story=_pays_cash),
)  # fmt: skip
# Numbers of simulators: they are in the plugins' documents, and so may be in logs.
KNOWN_PHONES = frozenset(tale.phone for tale in TALES if tale.phone)
