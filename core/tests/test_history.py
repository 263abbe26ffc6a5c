"""What a payer paid before: counted by phone and by customer, and looked up by indexes."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from core.tests.conftest import PHONE, Shop, paid

from dusangire.gateway import (
    Accepted,
    Attempt,
    Environment,
    Failed,
    FailureCode,
    Outcome,
    Unknown,
)
from dusangire.history import PAID, Payers
from dusangire.intake import CustomerInput, MethodInput
from dusangire.money import Money
from dusangire.phone import PhoneNumber

ALINE = CustomerInput(reference="C-ALINE")
OTHER_PHONE = "+250788999000"
DECLINED = Failed(code=FailureCode.DECLINED_BY_PAYER, message="The payer said no.")


async def pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


def looker(shop: Shop, **changes: Any) -> Attempt:
    """An attempt of 1,000 francs by the usual phone, about to be made."""
    attempt = Attempt(
        reference=str(uuid4()),
        payment_reference="PAY-LOOKER",
        amount=Money(1_000, "RWF"),
        created_at=shop.clock(),
        phone=PhoneNumber(PHONE),
    )
    return replace(attempt, **changes)


async def before(
    shop: Shop, attempt: Attempt, *, since: datetime | None = None, environment: str = "TEST"
) -> Money:
    since = since or shop.clock() - timedelta(hours=1)
    return await Payers(Environment(environment)).paid(attempt, since=since)


# ── what counts ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        pytest.param(pays, 5_000, id="paid"),
        pytest.param(Accepted(), 5_000, id="waits for the payer"),
        pytest.param(Unknown(cause="lost"), 5_000, id="nobody knows"),
        pytest.param(DECLINED, 0, id="declined"),
    ],
)
async def test_what_succeeded_and_what_still_may_counts(
    shop: Shop, answer: Any, counts: int
) -> None:
    shop.script.says("initiate", answer)
    await shop.create()

    assert await before(shop, looker(shop)) == Money(counts, "RWF")


async def test_an_attempt_does_not_count_itself(shop: Shop) -> None:
    created = await shop.create()
    reference = (await shop.attempt(created.payment.id))["reference"]

    assert await before(shop, looker(shop, reference=reference)) == Money(0, "RWF")


async def test_a_payer_is_known_by_phone_or_by_customer_and_counted_once(shop: Shop) -> None:
    await shop.create(amount="100", customer=ALINE)
    await shop.create(amount="20")
    await shop.create(
        amount="3", customer=ALINE, method=MethodInput(gateway="script", phone=OTHER_PHONE)
    )
    await shop.create(amount="4000", method=MethodInput(gateway="script", phone=OTHER_PHONE))

    by_both = await before(shop, looker(shop, customer="C-ALINE"))
    by_phone = await before(shop, looker(shop))
    by_customer = await before(shop, looker(shop, phone=None, customer="C-ALINE"))
    unknown = await before(shop, looker(shop, phone=None))

    assert (by_both.minor, by_phone.minor, by_customer.minor, unknown.minor) == (123, 120, 103, 0)


async def test_another_currency_another_environment_and_an_earlier_day_do_not_count(
    shop: Shop,
) -> None:
    await shop.create()

    dollars = await before(shop, looker(shop, amount=Money(1, "USD")))
    live = await before(shop, looker(shop), environment="LIVE")
    later = await before(shop, looker(shop), since=shop.clock() + timedelta(minutes=1))

    assert (dollars, live.minor, later.minor) == (Money(0, "USD"), 0, 0)


# ── what gateways are given ──────────────────────────────────────────────────────────────────────


async def test_a_gateway_is_given_the_history_and_our_address(shop: Shop) -> None:
    await shop.create()
    gateway = (await shop.account()).gateway
    assert gateway is not None

    found = await gateway.history.paid(looker(shop), since=shop.clock() - timedelta(hours=1))

    assert found == Money(5_000, "RWF")
    assert gateway.public_url == "https://pay.example.rw"


@pytest.mark.parametrize("again", [False, True], ids=["the first time", "sent again"])
async def test_an_attempt_says_whose_it_is_and_until_when(shop: Shop, again: bool) -> None:
    seen: list[Attempt] = []

    async def look(attempt: Attempt) -> Outcome:
        seen.append(attempt)
        return paid(attempt)

    shop.script.says("initiate", DECLINED, look) if again else shop.script.says("initiate", look)
    until = shop.clock() + timedelta(days=2)

    created = await shop.create(customer=ALINE, expires_at=until)
    if again:
        await shop.try_again(created.payment.id)

    assert [(one.customer, one.expires_at) for one in seen] == [("C-ALINE", until)]


# ── what it costs ────────────────────────────────────────────────────────────────────────────────


async def test_the_history_is_found_by_indexes(shop: Shop) -> None:
    created = await shop.create(customer=ALINE)
    # Enough strangers that reading the tables from one end to the other would be slower.
    await shop.run(
        "INSERT INTO customer (id, reference) "
        "SELECT gen_random_uuid(), 'S-' || n FROM generate_series(1, 3000) n"
    )
    await shop.run(
        "WITH made AS (INSERT INTO payment (id, reference, amount, currency, customer_id) "
        "SELECT gen_random_uuid(), reference, 5, 'RWF', id FROM customer WHERE reference <> $1 "
        "RETURNING id, reference) "
        "INSERT INTO payment_attempt (id, payment_id, number, gateway_id, environment, reference, "
        "phone, status) SELECT gen_random_uuid(), id, 1, $2, 'TEST', 'A' || reference, "
        "'+2507' || right(reference, 8), 'SUCCEEDED' FROM made",
        ALINE.reference,
        (await shop.account()).id,
    )
    await shop.run("ANALYZE")

    plan = await _plan(shop, str(created.payment.id))

    assert "Seq Scan" not in plan, plan
    for index in ("payment_attempt_phone_idx", "customer_reference_key", "payment_customer_idx"):
        assert index in plan


async def _plan(shop: Shop, reference: str) -> str:
    rows = await shop.rows(
        f"EXPLAIN {PAID}",
        reference,
        shop.clock() - timedelta(days=1),
        "RWF",
        "TEST",
        PHONE,
        ALINE.reference,
    )
    return "\n".join(row["QUERY PLAN"] for row in rows)
