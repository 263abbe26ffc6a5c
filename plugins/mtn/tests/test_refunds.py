"""Giving money back: MTN's product Disbursement, over real HTTP to the simulator."""

import asyncio
from collections.abc import Callable

import pytest

from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    NotSent,
    Outcome,
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from dusangire.testing.rig import Simulated, until

NewAttempt = Callable[..., Attempt]
NewRefund = Callable[..., Refund]


async def paid(momo: Simulated, attempt: Attempt) -> Attempt:
    async def succeeded() -> bool:
        outcome = await momo.plugin.check_payment(momo.gateway, attempt)
        return isinstance(outcome, Succeeded)

    await momo.plugin.initiate_payment(momo.gateway, attempt)
    await until(succeeded)
    return attempt


async def refunded(momo: Simulated, refund: Refund) -> Outcome:
    outcome = await momo.plugin.refund_payment(momo.gateway, refund)
    async with asyncio.timeout(5):
        while isinstance(outcome, Accepted):
            outcome = await momo.plugin.check_refund(momo.gateway, refund)
            await asyncio.sleep(0.01)
    return outcome


async def test_a_refund_gives_back_exactly_what_was_asked(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await paid(momo, new_attempt()), 500)

    outcome = await refunded(momo, refund)

    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.reference) == (Money(500, "RWF"), refund.reference)
    told = await momo.transaction(refund.reference)
    assert (told["moves"], told["original"]) == (1, refund.attempt.reference)
    assert told["party"] == "250788123456"


async def test_partial_refunds_add_up_and_never_to_more_than_was_paid(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = await paid(momo, new_attempt())

    outcomes = [await refunded(momo, new_refund(attempt, minor)) for minor in (500, 1000, 1)]

    assert [type(outcome) for outcome in outcomes] == [Succeeded, Succeeded, Failed]


async def test_repeating_a_refund_pays_once(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await paid(momo, new_attempt()))

    outcomes = await asyncio.gather(
        *(momo.plugin.refund_payment(momo.gateway, refund) for _ in range(5))
    )
    await refunded(momo, refund)

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert (await momo.transaction(refund.reference))["moves"] == 1


async def test_a_refund_of_a_payment_mtn_does_not_know_fails(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    outcome = await refunded(momo, new_refund(new_attempt()))

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (FailureCode.OTHER, "RESOURCE_NOT_FOUND")


async def test_a_refund_of_an_unknown_payment_may_also_fail_later(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    await momo.tell("settings", unknown_original="FAILED")

    outcome = await refunded(momo, new_refund(new_attempt()))

    assert isinstance(outcome, Failed)
    assert outcome.gateway_code == "TRANSACTION_NOT_FOUND"


async def test_a_refund_of_a_payment_that_is_not_paid_fails(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = new_attempt(phone="+250780000201")
    await momo.plugin.initiate_payment(momo.gateway, attempt)

    outcome = await refunded(momo, new_refund(attempt))

    assert isinstance(outcome, Failed)
    assert outcome.gateway_code == "TRANSACTION_NOT_COMPLETED"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("PAYEE_NOT_FOUND", FailureCode.PAYER_NOT_FOUND),
        ("PAYEE_NOT_ALLOWED_TO_RECEIVE", FailureCode.PAYER_BLOCKED),
        ("PAYEE_LIMIT_REACHED", FailureCode.PAYER_LIMIT_REACHED),
        ("PAYER_LIMIT_REACHED", FailureCode.GATEWAY_ERROR),
        ("PAYER_NOT_FOUND", FailureCode.GATEWAY_CONFIGURATION),
        ("SENDER_ACCOUNT_NOT_ACTIVE", FailureCode.GATEWAY_CONFIGURATION),
        ("NOT_ENOUGH_FUNDS", FailureCode.INSUFFICIENT_FUNDS),
        ("NOT_ALLOWED", FailureCode.GATEWAY_CONFIGURATION),
    ],
)
async def test_in_a_refund_mtns_payee_is_our_payer(
    momo: Simulated,
    new_attempt: NewAttempt,
    new_refund: NewRefund,
    reason: str,
    code: FailureCode,
) -> None:
    attempt = await paid(momo, new_attempt())
    await momo.tell("settings", outcomes={"13": reason})

    outcome = await refunded(momo, new_refund(attempt, 13))

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (code, reason)


async def test_a_lost_reply_to_a_refund_is_unknown_and_the_status_then_tells_the_truth(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await paid(momo, new_attempt()))
    await momo.tell("faults", lost_replies=1, only="refund", times=1)

    lost = await momo.plugin.refund_payment(momo.gateway, refund)
    await asyncio.sleep(0.1)
    told = await momo.plugin.check_refund(momo.gateway, refund)

    assert isinstance(lost, Unknown)
    assert isinstance(told, Succeeded)


async def test_a_refund_that_never_arrived_is_not_sent(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await paid(momo, new_attempt()))

    outcome = await momo.plugin.check_refund(momo.gateway, refund)

    assert isinstance(outcome, NotSent)


async def test_without_disbursement_settings_nothing_is_sent(
    momo: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = await paid(momo, new_attempt())
    gateway = momo.configured(
        disbursement_subscription_key=None, disbursement_api_user=None, disbursement_api_key=None
    )

    outcome = await momo.plugin.refund_payment(gateway, new_refund(attempt))

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.GATEWAY_CONFIGURATION
    assert len((await momo.truth())["transactions"]) == 1
