"""A customer pays, through the front door: real processes, real HTTP, real PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.harness.browser import Browser, Shown
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


# ── other methods ────────────────────────────────────────────────────────────────────────────────


async def charged(system: System, key: str) -> list[tuple[str, str, int]]:
    """What each provider was asked for, and how often its money moved."""
    found = (await system.truth()).told(key)
    return [(one["gateway"], one["amount"], one["moves"]) for one in found]


async def page_of(merchant: Merchant, payment_id: str) -> str:
    """The link that the payer is given."""
    action = (await merchant.payment(payment_id))["nextAction"]
    assert action is not None
    return str(action["url"])


async def test_an_airtel_payer_approves_and_is_charged_once(
    system: System, merchant: Merchant, key: str
) -> None:
    created = await merchant.create(key, gateway="airtel", phone="0728 100 200")
    payment = await merchant.until(created.id, "SUCCEEDED")

    assert payment["captured"] == {"amount": "1500", "currency": "RWF"}
    assert await charged(system, key) == [("airtel", "1500", 1)]
    await sound(system, merchant)


async def test_an_airtel_payer_declines_and_is_told_why(
    system: System, merchant: Merchant, key: str
) -> None:
    created = await merchant.create(key, gateway="airtel", phone="0730 000 008")
    payment = await merchant.until(created.id, "FAILED")

    assert payment["failure"]["code"] == "DECLINED_BY_PAYER"
    assert await charged(system, key) == [("airtel", "1500", 0)]
    await sound(system, merchant)


async def test_a_card_payer_follows_the_link_pays_and_comes_back_to_a_page_that_knows(
    system: System, merchant: Merchant, browser: Browser, key: str
) -> None:
    # Without a webhook: coming back is what makes us ask.
    created = await merchant.create(key, gateway="card", phone=None)
    reference = (await merchant.payment(created.id))["reference"]
    back = await browser.pay(await page_of(merchant, created.id), "silent")
    assert back is not None
    state = await browser.stay(back)

    payment = await merchant.until(created.id, "SUCCEEDED")
    assert f"/return/{reference}?" in back
    assert state == "paid"
    assert payment["captured"] == {"amount": "1500", "currency": "RWF"}
    assert await charged(system, key) == [("card", "1500", 1)]
    await sound(system, merchant)


async def test_a_card_payer_goes_on_to_the_shop_with_ids_and_without_a_status(
    merchant: Merchant, browser: Browser, key: str
) -> None:
    shop = "http://127.0.0.1:3000/done?cart=7"
    created = await merchant.create(key, gateway="card", phone=None, returnUrl=shop)
    reference = (await merchant.payment(created.id))["reference"]

    back = await browser.pay(await page_of(merchant, created.id), "mastercard-3ds")
    assert back is not None
    address = await browser.come_back(back)

    assert address == f"{shop}&payment={created.id}&reference={reference}"


async def test_a_browser_that_lies_about_a_card_gets_nothing(
    system: System, merchant: Merchant, browser: Browser, key: str
) -> None:
    created = await merchant.create(key, gateway="card", phone=None)
    reference = (await merchant.payment(created.id))["reference"]

    lie = f"/return/{reference}?status=successful&tx_ref={reference}&transaction_id=910000001"
    await browser.come_back(f"{system.addresses[0]}{lie}")

    assert browser.shown == [Shown(reference, "waiting")]
    assert (await merchant.payment(created.id))["status"] == "PENDING"
    assert await charged(system, key) == [("card", "1500", 0)]


async def test_a_refused_card_leaves_the_page_open_for_another_one(
    system: System, merchant: Merchant, browser: Browser, key: str
) -> None:
    created = await merchant.create(key, gateway="card", phone=None)

    await browser.pay(await page_of(merchant, created.id), "insufficient", "visa-3ds")
    payment = await merchant.until(created.id, "SUCCEEDED")

    assert [one["status"] for one in payment["attempts"]] == ["SUCCEEDED"]
    assert await charged(system, key) == [("card", "1500", 1)]
    await sound(system, merchant)


async def test_when_the_time_is_over_the_page_is_closed_and_nobody_can_pay_on_it(
    system: System, merchant: Merchant, browser: Browser, key: str
) -> None:
    created = await merchant.create(key, gateway="card", phone=None)
    page = await page_of(merchant, created.id)
    await system.let_time_run_out(created.id)
    payment = await merchant.until(created.id, "EXPIRED")

    back = await browser.pay(page, "mastercard-3ds")

    assert back is None
    assert payment["failure"]["code"] == "EXPIRED"
    assert (await merchant.payment(created.id))["status"] == "EXPIRED"
    assert await charged(system, key) == [("card", "1500", 0)]
    log = await merchant.transactions(created.id)
    assert ("CANCEL", "expired: withdrawn at the gateway") in [
        (one["kind"], one["outcome"]) for one in log
    ]


async def test_who_paid_before_the_page_was_closed_has_paid(
    system: System, merchant: Merchant, browser: Browser, key: str
) -> None:
    created = await merchant.create(key, gateway="card", phone=None)

    await browser.pay(await page_of(merchant, created.id), "silent")
    await system.let_time_run_out(created.id)
    payment = await merchant.until(created.id, "SUCCEEDED", "EXPIRED")

    assert payment["status"] == "SUCCEEDED"
    assert payment["needsAttention"] == []
    await sound(system, merchant)


async def test_a_bank_transfer_is_confirmed_by_who_sees_the_money(
    system: System, merchant: Merchant, key: str
) -> None:
    created = await merchant.create(key, gateway="bank", phone=None, amount="250000")
    shown = await merchant.ask(
        "query($id: ID!) { payment(id: $id) { nextAction "
        "{ __typename ... on TransferToAccount { accountNumber reference } } } }",
        id=created.id,
    )
    confirmed = await merchant.confirm(
        f"{key} paid", created.id, charge=key, amount="250000", evidence="statement 7, line 3"
    )

    action = shown["payment"]["nextAction"]
    assert created.status == "PENDING"
    assert (action["__typename"], action["accountNumber"]) == ("TransferToAccount", "000400000001")
    assert action["reference"].startswith("RF")
    assert confirmed.status == "SUCCEEDED"
    await sound(system, merchant)


async def test_after_a_decline_on_the_phone_the_customer_pays_by_card(
    system: System, merchant: Merchant, browser: Browser, key: str
) -> None:
    created = await merchant.create(key, phone="250780000101")
    await merchant.until(created.id, "FAILED")

    attempted = await merchant.attempt(f"{key} card", created.id, charge=key, gateway="card")
    await browser.pay(await page_of(merchant, created.id), "mastercard-3ds")
    payment = await merchant.until(created.id, "SUCCEEDED")

    assert attempted.status == "PENDING"
    assert [(a["gateway"]["code"], a["status"]) for a in payment["attempts"]] == [
        ("mtn", "FAILED"),
        ("card", "SUCCEEDED"),
    ]
    assert sorted(await charged(system, key)) == [("card", "1500", 1), ("mtn", "1500", 0)]
    await sound(system, merchant)


async def test_a_decline_at_airtel_leads_to_mtn_and_one_charge(
    system: System, merchant: Merchant, key: str
) -> None:
    created = await merchant.create(key, gateway="airtel", phone="0730000008")
    await merchant.until(created.id, "FAILED")

    await merchant.attempt(f"{key} mtn", created.id, charge=key, gateway="mtn", phone="0788000111")
    await merchant.until(created.id, "SUCCEEDED")

    assert sorted(await charged(system, key)) == [("airtel", "1500", 0), ("mtn", "1500", 1)]
    await sound(system, merchant)
