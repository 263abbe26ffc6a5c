"""Flutterwave's simulator on a loopback port, and a payer who follows the link."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from dusangire.gateway import Accepted, Attempt, FollowLink, Gateway, Outcome, Refund, Succeeded
from dusangire.money import Money
from dusangire.plugins import Plugin, Plugins
from dusangire.testing.rig import Simulated, simulate
from dusangire_card import gateway as card


@dataclass(frozen=True, slots=True)
class Bench:
    """The simulator, and what a shop and its payer do with it. page: the payer's browser."""

    simulated: Simulated
    page: httpx.AsyncClient

    @property
    def plugin(self) -> Plugin:
        return self.simulated.plugin

    @property
    def gateway(self) -> Gateway[Any]:
        return self.simulated.gateway

    async def begin(self, attempt: Attempt, gateway: Gateway[Any] | None = None) -> Attempt:
        """The attempt after its page was made, as core keeps it."""
        outcome = await self.plugin.initiate_payment(gateway or self.gateway, attempt)
        assert isinstance(outcome, Accepted), outcome
        return replace(attempt, plugin_data=outcome.plugin_data)

    async def pays(
        self, attempt: Attempt, card: str = "mastercard-3ds", act: str = "pay"
    ) -> httpx.Response:
        """The payer picks a card on the page, or cancels."""
        return await self.page.post(link_of(attempt), data={"card": card, "act": act})

    async def paid(self, attempt: Attempt, card: str = "mastercard-3ds") -> Attempt:
        """The attempt after it was paid and asked about, as core keeps it."""
        attempt = await self.begin(attempt)
        await self.pays(attempt, card)
        outcome = await self.asks(attempt)
        assert isinstance(outcome, Succeeded), outcome
        return replace(attempt, gateway_transaction_id=outcome.gateway_transaction_id)

    async def asks(self, attempt: Attempt) -> Outcome:
        return await self.plugin.check_payment(self.gateway, attempt)

    async def moves(self, reference: str) -> int:
        told = await self.simulated.transaction(reference)
        moves: int = told["moves"]
        return moves


def link_of(attempt: Attempt) -> str:
    url: str = attempt.plugin_data["link"]["url"]
    return url


def link_in(outcome: Outcome) -> FollowLink:
    assert isinstance(outcome, Accepted), outcome
    assert isinstance(outcome.next_action, FollowLink)
    return outcome.next_action


@pytest.fixture
def plugin() -> Plugin:
    return Plugins.load({"card": card}, installed=[])["card"]


@pytest.fixture
async def bench(plugin: Plugin) -> AsyncIterator[Bench]:
    async with simulate(plugin) as simulated, httpx.AsyncClient(verify=False) as page:
        await simulated.tell("settings", scale=0.01)
        yield Bench(simulated, page)


@pytest.fixture
def new_attempt() -> Callable[..., Attempt]:
    def make(amount: Money | None = None, **fields: object) -> Attempt:
        values: dict[str, object] = {
            "reference": str(uuid4()),
            "payment_reference": "PAY-7K3M9Q2X",
            "amount": amount or Money(15_000, "RWF"),
            "created_at": datetime.now(UTC),
            "email": "buyer@example.rw",
            "description": "Order 1042",
        }
        return Attempt(**{**values, **fields})  # type: ignore[arg-type]  # fields are the caller's

    return make


@pytest.fixture
def new_refund() -> Callable[..., Refund]:
    def make(attempt: Attempt, minor: int = 5_000, **fields: object) -> Refund:
        values: dict[str, object] = {
            "reference": str(uuid4()),
            "refund_reference": "REF-2B8D4F6H",
            "attempt": attempt,
            "amount": Money(minor, attempt.amount.currency),
            "reason": "One item was missing",
            "created_at": datetime.now(UTC),
        }
        return Refund(**{**values, **fields})  # type: ignore[arg-type]  # as above

    return make
