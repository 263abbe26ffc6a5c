"""A customer pays, through the front door: real processes, real HTTP, real PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.harness.client import Merchant
from tests.harness.evidence import sound
from tests.harness.simulator import Simulator
from tests.harness.system import System


async def test_an_approved_payment_succeeds_and_is_charged_once(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    created = await merchant.create(key, amount="1500")
    payment = await merchant.until(created.id, "SUCCEEDED")

    [charge] = (await mtn.truth()).told(key)
    [attempt] = payment["attempts"]
    assert payment["captured"] == {"amount": "1500", "currency": "RWF"}
    assert charge["moves"] == 1
    assert attempt["gatewayReference"] == charge["reference"]
    assert attempt["gatewayTransactionId"] == charge["gateway_transaction_id"]
    await sound(system, merchant)


async def test_the_first_answer_says_what_the_payer_has_to_do(
    merchant: Merchant, mtn: Simulator, key: str
) -> None:
    await mtn.settings(delay=1)

    answer = await merchant.create(key, phone="0788000111")
    shown = await merchant.ask(
        "query($id: ID!) { payment(id: $id) { nextAction "
        "{ __typename ... on ApproveOnPhone { phone message } } } }",
        id=answer.id,
    )

    assert answer.status == "PENDING"
    assert shown["payment"]["nextAction"]["__typename"] == "ApproveOnPhone"
    assert shown["payment"]["nextAction"]["phone"] == "+250788000111"


@pytest.mark.parametrize(
    ("phone", "code", "word"),
    [
        ("250780000101", "INSUFFICIENT_FUNDS", "NOT_ENOUGH_FUNDS"),
        ("250780000102", "DECLINED_BY_PAYER", "APPROVAL_REJECTED"),
        ("250780000107", "INSUFFICIENT_FUNDS", "NOT_ENOUGH_FUNDS"),
        ("250780000108", "OTHER", "SOMETHING_NEW"),
        ("250780000205", "DECLINED_BY_PAYER", "APPROVAL_REJECTED"),
    ],
)
async def test_a_decline_says_why_and_takes_nothing(
    system: System,
    merchant: Merchant,
    mtn: Simulator,
    key: str,
    phone: str,
    code: str,
    word: str,
) -> None:
    created = await merchant.create(key, phone=phone)
    payment = await merchant.until(created.id, "FAILED")

    assert payment["failure"]["code"] == code
    assert payment["failure"]["gatewayCode"] == word
    assert payment["captured"]["amount"] == "0"
    assert [one["moves"] for one in (await mtn.truth()).told(key)] == [0]
    await sound(system, merchant)


async def test_after_a_decline_the_customer_pays_cash(
    system: System, merchant: Merchant, key: str
) -> None:
    created = await merchant.create(key, phone="250780000101", amount="4000")
    await merchant.until(created.id, "FAILED")
    attempted = await merchant.attempt(f"{key} cash", created.id, charge=key, gateway="cod")
    confirmed = await merchant.confirm(
        f"{key} paid", created.id, charge=key, amount="4000", evidence="courier Aline, receipt 7"
    )

    payment = await merchant.payment(created.id)
    assert attempted.status == "PENDING"
    assert confirmed.status == payment["status"] == "SUCCEEDED"
    assert payment["captured"]["amount"] == "4000"
    assert [(a["gateway"]["code"], a["status"]) for a in payment["attempts"]] == [
        ("mtn", "FAILED"),
        ("cod", "SUCCEEDED"),
    ]
    await sound(system, merchant)


async def test_a_payment_cannot_be_paid_twice_by_a_second_method(
    merchant: Merchant, key: str
) -> None:
    created = await merchant.create(key)

    while_open = await merchant.attempt(f"{key} 1", created.id, charge=key, gateway="cod")
    await merchant.until(created.id, "SUCCEEDED")
    after = await merchant.attempt(f"{key} 2", created.id, charge=key, gateway="cod")

    assert while_open.codes in {("ATTEMPT_OPEN",), ("ILLEGAL_STATE",)}
    assert after.codes == ("ILLEGAL_STATE",)


async def test_money_that_comes_after_the_deadline_is_taken_and_flagged(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    await mtn.settings(delay=4)
    soon = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()

    created = await merchant.create(key, expiresAt=soon)
    expired = await merchant.until(created.id, "EXPIRED")
    paid = await merchant.until(created.id, "SUCCEEDED")

    assert expired["captured"]["amount"] == "0"
    assert paid["needsAttention"] == ["LATE_SUCCESS"]
    assert paid["captured"]["amount"] == "1500"
    await sound(system, merchant)


async def test_a_success_after_a_failure_is_found_without_a_webhook(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    await mtn.faults(dropped_webhooks=1)

    created = await merchant.create(key, phone="250780000207")
    await merchant.until(created.id, "FAILED", "SUCCEEDED")
    paid = await merchant.until(created.id, "SUCCEEDED", seconds=25)

    assert paid["needsAttention"] == ["LATE_SUCCESS"]
    await sound(system, merchant)


async def test_when_every_webhook_is_lost_payments_are_found_by_asking(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    await mtn.faults(dropped_webhooks=1)

    created = await asyncio.gather(*(merchant.create(f"{key} {n}") for n in range(10)))
    payments = await asyncio.gather(*(merchant.until(one.id, "SUCCEEDED") for one in created))

    assert {payment["status"] for payment in payments} == {"SUCCEEDED"}
    await sound(system, merchant)


async def test_when_every_reply_to_a_request_is_lost_nobody_is_charged_twice(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    await mtn.faults(lost_replies=1, only="requesttopay", times=10)
    creating = asyncio.gather(*(merchant.create(f"{key} {n}", waitMs=0) for n in range(10)))

    created = await creating
    await asyncio.gather(*(merchant.until(one.id, "SUCCEEDED", seconds=30) for one in created))

    truth = await mtn.truth()
    assert [sum(t["moves"] for t in truth.told(f"{key} {n}")) for n in range(10)] == [1] * 10
    await sound(system, merchant)


async def test_a_request_that_never_arrived_is_sent_again_or_fails_clearly(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    await mtn.faults(refused=1, only="requesttopay", times=1)

    created = await merchant.create(key)
    payment = await merchant.until(created.id, "SUCCEEDED", "FAILED", seconds=30)

    moves = sum(one["moves"] for one in (await mtn.truth()).told(key))
    assert moves == (payment["status"] == "SUCCEEDED")
    await sound(system, merchant)


async def test_fifty_calls_at_once_with_one_key_are_one_payment(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    answers = await asyncio.gather(*(merchant.create(key) for _ in range(50)))

    await merchant.until(answers[0].id, "SUCCEEDED")
    assert len({answer.id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert [one["moves"] for one in (await mtn.truth()).told(key)] == [1]
    await sound(system, merchant)


async def test_a_key_with_other_input_is_refused_and_does_nothing(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    first = await merchant.create(key, amount="1500")
    other = await merchant.create(key, amount="2500")
    again = await merchant.create(key, amount="1500.00")

    assert other.codes == ("IDEMPOTENCY_MISMATCH",)
    assert (again.id, again.replayed) == (first.id, True)
    assert len((await mtn.truth()).told(key)) == 1
    await merchant.until(first.id, "SUCCEEDED")
    await sound(system, merchant)


async def test_a_client_that_goes_away_does_not_take_its_payment_along(
    system: System, merchant: Merchant, mtn: Simulator, key: str
) -> None:
    await mtn.faults(latency=0.5)
    calling = asyncio.create_task(merchant.create(key, waitMs=5000))
    await asyncio.sleep(0.3)
    calling.cancel()

    await mtn.faults()
    again = await merchant.create(key, waitMs=5000)
    await merchant.until(again.id, "SUCCEEDED")

    assert [one["moves"] for one in (await mtn.truth()).told(key)] == [1]
    await sound(system, merchant)
