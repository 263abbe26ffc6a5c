"""Airtel's simulator on a loopback port, a hundred times as quick as life."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from dusangire.gateway import Attempt, Refund
from dusangire.money import Money
from dusangire.phone import PhoneNumber
from dusangire.plugins import Plugin, Plugins
from dusangire.testing.rig import Simulated, simulate
from dusangire_airtel import gateway


@pytest.fixture
def plugin() -> Plugin:
    return Plugins.load({"airtel": gateway}, installed=[])["airtel"]


@pytest.fixture
async def airtel(plugin: Plugin) -> AsyncIterator[Simulated]:
    async with simulate(plugin) as simulated:
        await simulated.tell("settings", scale=0.01)
        yield simulated


@pytest.fixture
def new_attempt() -> Callable[..., Attempt]:
    def make(
        phone: str | None = "+250733123456", amount: Money | None = None, **fields: object
    ) -> Attempt:
        values: dict[str, object] = {
            "reference": str(uuid4()),
            "payment_reference": "PAY-7K3M9Q2X",
            "amount": amount or Money(1500, "RWF"),
            "created_at": datetime.now(UTC),
            "phone": PhoneNumber(phone) if phone else None,
        }
        return Attempt(**{**values, **fields})  # type: ignore[arg-type]  # fields are the caller's

    return make


@pytest.fixture
def new_refund() -> Callable[..., Refund]:
    def make(attempt: Attempt, minor: int | None = None) -> Refund:
        amount = attempt.amount if minor is None else Money(minor, attempt.amount.currency)
        return Refund(
            reference=str(uuid4()),
            refund_reference="REF-2B8D4F6H",
            attempt=attempt,
            amount=amount,
            reason="The bag was torn",
            created_at=datetime.now(UTC),
        )

    return make
