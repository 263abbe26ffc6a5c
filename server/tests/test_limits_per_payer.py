"""Limits of a payer, through the front door: many payments at once, and what staff read of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio

from dusangire.money import Money
from dusangire.testing.rig import until
from dusangire_limits.control import Limits
from dusangire_limits.settings import LimitSettings
from dusangire_server.testing import Shop, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATUS = """query($id: ID!) { payment(id: $id) { status failure { code retryable }
    transactions { edges { node { kind outcome notes } } } } }"""
# Somewhere it is noon, so that no day ends while these tests run.
NOON = ZoneInfo(f"Etc/GMT{datetime.now(UTC).hour - 12:+d}")
# Five payments of 5,000 francs a day.
MOST = LimitSettings(
    per_payment={"RWF": Money(20_000, "RWF")},
    per_day={"RWF": Money(25_000, "RWF")},
    time_zone=NOON,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as opened:
        opened.core.plugins.register("strict", Limits(MOST), "1")
        yield opened


async def pay(shop: Shop, phone: str, **changes: Any) -> str:
    payload = await shop.create(
        method={"gateway": "fake", "phone": phone}, waitMs=10_000,
        idempotencyKey=str(uuid4()), **changes,
    )  # fmt: skip
    assert payload["userErrors"] == []
    return str(payload["payment"]["id"])


async def read(shop: Shop, payment_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.get(STATUS, {"id": payment_id}))["payment"]
    return found


async def ends(shop: Shop, payments: list[str]) -> list[str]:
    """The status of each, once all have ended."""

    async def ended() -> bool:
        found = [await read(shop, payment_id) for payment_id in payments]
        return all(payment["status"] in {"SUCCEEDED", "FAILED"} for payment in found)

    await until(ended)
    return [(await read(shop, payment_id))["status"] for payment_id in payments]


@pytest.mark.parametrize("number", range(6))
async def test_of_many_payments_at_once_never_more_pass_than_the_day_allows(
    shop: Shop, number: int
) -> None:
    phone = f"078811000{number}"

    payments = await asyncio.gather(*(pay(shop, phone) for _ in range(8)))

    assert (await ends(shop, list(payments))).count("SUCCEEDED") <= 5


async def test_what_was_refused_uses_nothing_up(shop: Shop) -> None:
    statuses = []
    for amount in ("20001", *["5000"] * 6):
        payment = await pay(shop, "0788220001", amount={"amount": amount, "currency": "RWF"})
        statuses += await ends(shop, [payment])

    assert statuses == ["FAILED", *["SUCCEEDED"] * 5, "FAILED"]


async def test_two_numbers_of_one_customer_are_one_payer(shop: Shop) -> None:
    customer = {"reference": "C-LIMITED"}
    amount = {"amount": "20000", "currency": "RWF"}
    first = await pay(shop, "0788330001", customer=customer, amount=amount)
    await ends(shop, [first])

    second = await pay(shop, "0788330002", customer=customer, amount=amount)
    stranger = await pay(shop, "0788330003", amount=amount)

    assert await ends(shop, [second, stranger]) == ["FAILED", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("amount", "code", "retryable"),
    [("20001", "AMOUNT_OUT_OF_LIMITS", False), ("10000", "PAYER_LIMIT_REACHED", True)],
)
async def test_staff_read_in_the_log_why_a_payment_was_refused(
    shop: Shop, amount: str, code: str, retryable: bool
) -> None:
    phone = f"07884400{'01' if retryable else '02'}"
    earlier = await pay(shop, phone, amount={"amount": "20000", "currency": "RWF"})
    await ends(shop, [earlier])

    refused = await pay(shop, phone, amount={"amount": amount, "currency": "RWF"})

    found = await read(shop, refused)
    [node] = [edge["node"] for edge in found["transactions"]["edges"]]
    assert found["failure"] == {"code": code, "retryable": retryable}
    assert (node["kind"], node["outcome"]) == ("INITIATE", f"failed: {code}")
    assert node["notes"]["limits"]["refused"] == code
    assert node["notes"]["limits"]["per_day"] == "25,000 RWF"
    assert node["notes"]["limits"].get("paid_today") == ("20,000 RWF" if retryable else None)
