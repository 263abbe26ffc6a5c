"""A payment by MTN, from the prompt to its end, over real HTTP to the simulator."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from dusangire.gateway import (
    Accepted,
    ApproveOnPhone,
    Attempt,
    Failed,
    FailureCode,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated, simulate

NewAttempt = Callable[..., Attempt]


async def ended(momo: Simulated, attempt: Attempt) -> Outcome:
    """The first answer of check_payment that is not "still undecided"."""
    async with asyncio.timeout(5):
        while True:
            outcome = await momo.plugin.check_payment(momo.gateway, attempt)
            if not isinstance(outcome, Accepted):
                return outcome
            await asyncio.sleep(0.01)


async def test_a_payment_asks_the_payer_to_approve_on_the_phone(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()

    outcome = await momo.plugin.initiate_payment(momo.gateway, attempt)

    assert isinstance(outcome, Accepted)
    assert isinstance(outcome.next_action, ApproveOnPhone)
    assert outcome.next_action.phone == "+250788123456"
    assert "1,500 RWF" in outcome.next_action.message


async def test_an_approved_payment_succeeds_with_what_mtn_says(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()
    await momo.plugin.initiate_payment(momo.gateway, attempt)

    outcome = await ended(momo, attempt)

    told = await momo.transaction(attempt.reference)
    assert outcome == Succeeded(
        amount=Money(1500, "RWF"),
        reference=attempt.reference,
        gateway_transaction_id=told["gateway_transaction_id"],
    )


@pytest.mark.parametrize(
    ("currency", "minor", "text"),
    [
        ("RWF", 1, "1"),
        ("RWF", 1500, "1500"),
        ("RWF", 123_456_789_012, "123456789012"),
        ("EUR", 1050, "10.50"),
        ("EUR", 7, "0.07"),
        ("BHD", 1005, "1.005"),
    ],
)
async def test_the_amount_arrives_exactly(
    plugin: Plugin, new_attempt: NewAttempt, currency: str, minor: int, text: str
) -> None:
    attempt = new_attempt(amount=Money(minor, currency))

    async with simulate(plugin, currency=currency) as momo:
        await momo.tell("settings", scale=0)
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        outcome = await ended(momo, attempt)
        told = await momo.transaction(attempt.reference)

    assert told["amount"] == text
    assert isinstance(outcome, Succeeded)
    assert outcome.amount == attempt.amount


async def test_repeating_a_reference_moves_money_once(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()

    outcomes = await asyncio.gather(
        *(momo.plugin.initiate_payment(momo.gateway, attempt) for _ in range(10))
    )
    await ended(momo, attempt)

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    told = await momo.transaction(attempt.reference)
    assert (told["requests"], told["moves"]) == (10, 1)


async def test_a_reference_that_mtn_does_not_know_is_not_sent(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    outcome = await momo.plugin.check_payment(momo.gateway, new_attempt())

    assert isinstance(outcome, NotSent)


async def test_a_payment_sent_to_another_platform_is_unknown_not_unsent(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(plugin_data={"base_url": "https://proxy.momoapi.mtn.com"})

    outcome = await momo.plugin.check_payment(momo.gateway, attempt)

    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("phone", "code", "gateway_code"),
    [
        ("+250780000101", FailureCode.INSUFFICIENT_FUNDS, "NOT_ENOUGH_FUNDS"),
        ("+250780000102", FailureCode.DECLINED_BY_PAYER, "APPROVAL_REJECTED"),
        ("+250780000103", FailureCode.PAYER_TIMEOUT, "EXPIRED"),
        ("+250780000104", FailureCode.PAYER_LIMIT_REACHED, "PAYER_LIMIT_REACHED"),
        ("+250780000106", FailureCode.PAYER_NOT_FOUND, "PAYER_NOT_FOUND"),
        ("+250780000107", FailureCode.INSUFFICIENT_FUNDS, "NOT_ENOUGH_FUNDS"),
        ("+250780000108", FailureCode.OTHER, "SOMETHING_NEW"),
        ("+46733123450", FailureCode.GATEWAY_ERROR, "INTERNAL_PROCESSING_ERROR"),
        ("+46733123451", FailureCode.DECLINED_BY_PAYER, "APPROVAL_REJECTED"),
        ("+46733123452", FailureCode.PAYER_TIMEOUT, "EXPIRED"),
        ("+46733123455", FailureCode.PAYER_NOT_FOUND, "PAYER_NOT_FOUND"),
        ("+46733123456", FailureCode.GATEWAY_CONFIGURATION, "PAYEE_NOT_ALLOWED_TO_RECEIVE"),
        ("+46733123457", FailureCode.GATEWAY_CONFIGURATION, "NOT_ALLOWED"),
        ("+46733123458", FailureCode.GATEWAY_CONFIGURATION, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        ("+46733123459", FailureCode.GATEWAY_CONFIGURATION, "INVALID_CALLBACK_URL_HOST"),
        ("+46733123460", FailureCode.GATEWAY_CONFIGURATION, "INVALID_CURRENCY"),
        ("+46733123461", FailureCode.GATEWAY_ERROR, "INTERNAL_PROCESSING_ERROR"),
        ("+46733123462", FailureCode.GATEWAY_ERROR, "SERVICE_UNAVAILABLE"),
        ("+46733123463", FailureCode.PAYER_TIMEOUT, "COULD_NOT_PERFORM_TRANSACTION"),
        ("+46733123464", FailureCode.GATEWAY_CONFIGURATION, "TRANSFER_TYPE_UNKNOWN"),
    ],
)
async def test_a_failure_has_our_reason_and_mtns_word(
    momo: Simulated, new_attempt: NewAttempt, phone: str, code: FailureCode, gateway_code: str
) -> None:
    attempt = new_attempt(phone=phone)
    await momo.plugin.initiate_payment(momo.gateway, attempt)

    outcome = await ended(momo, attempt)

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (code, gateway_code)
    assert outcome.reference == attempt.reference
    assert (await momo.transaction(attempt.reference))["moves"] == 0


async def test_a_prompt_nobody_answers_ends_as_the_payers_timeout(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    await momo.tell("settings", scale=0.0001)
    attempt = new_attempt(phone="+250780000105")
    await momo.plugin.initiate_payment(momo.gateway, attempt)

    outcome = await ended(momo, attempt)

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.PAYER_TIMEOUT


async def test_a_reason_we_do_not_know_is_kept_as_it_is(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(phone="+250780000108")
    await momo.plugin.initiate_payment(momo.gateway, attempt)

    outcome = await ended(momo, attempt)

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (FailureCode.OTHER, "SOMETHING_NEW")
    assert outcome.gateway_code not in momo.plugin.description.codes


async def test_a_payment_that_stays_pending_stays_accepted(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(phone="+250780000201", plugin_data={"base_url": momo.url})
    first = await momo.plugin.initiate_payment(momo.gateway, attempt)
    await asyncio.sleep(0.1)

    outcome = await momo.plugin.check_payment(momo.gateway, attempt)

    assert isinstance(first, Accepted)
    assert outcome == replace(first, reference=attempt.reference)


@pytest.mark.parametrize(
    ("phone", "expected"),
    [
        ("+250780000001", Failed),
        ("+250780000002", Accepted),
        ("+250780000003", Unknown),
        ("+250780000004", Unknown),
        ("+250780000005", Unknown),
        ("+250780000208", Accepted),
    ],
)
async def test_an_answer_at_once_is_what_it_says_and_no_more(
    momo: Simulated, new_attempt: NewAttempt, phone: str, expected: type[Outcome]
) -> None:
    outcome = await momo.plugin.initiate_payment(momo.gateway, new_attempt(phone=phone))

    assert isinstance(outcome, expected)


@pytest.mark.parametrize("phone", ["+250780000004", "+250780000005"])
async def test_after_a_lost_answer_the_status_tells_the_truth(
    momo: Simulated, new_attempt: NewAttempt, phone: str
) -> None:
    attempt = new_attempt(phone=phone)
    assert isinstance(await momo.plugin.initiate_payment(momo.gateway, attempt), Unknown)

    outcome = await ended(momo, attempt)

    assert isinstance(outcome, Succeeded)


async def test_a_late_success_is_told_when_asked_again(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    await momo.tell("settings", scale=0.2)
    attempt = new_attempt(phone="+250780000207")
    await momo.plugin.initiate_payment(momo.gateway, attempt)
    first = await ended(momo, attempt)
    await asyncio.sleep(0.8)

    second = await momo.plugin.check_payment(momo.gateway, attempt)

    assert isinstance(first, Failed)
    assert isinstance(second, Succeeded)
    assert (await momo.transaction(attempt.reference))["moves"] == 1


async def test_a_phone_is_needed(momo: Simulated, new_attempt: NewAttempt) -> None:
    outcome = await momo.plugin.initiate_payment(momo.gateway, new_attempt(phone=None))

    assert isinstance(outcome, Failed)
    assert (await momo.truth())["transactions"] == []


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Order 1042", "Order 1042"),
        ("Aline's order", "Aline s order"),
        ("Thé  à   la menthe ☕", "The a la menthe"),
        ("x" * 200, "x" * 160),
        ("🎁", "PAY-7K3M9Q2X"),
        (None, "PAY-7K3M9Q2X"),
    ],
)
async def test_messages_hold_only_what_mtn_accepts(
    momo: Simulated, new_attempt: NewAttempt, description: str | None, expected: str
) -> None:
    attempt = new_attempt(description=description)

    await momo.plugin.initiate_payment(momo.gateway, attempt)

    assert (await momo.transaction(attempt.reference))["message"] == expected


@pytest.mark.parametrize(
    ("phone", "known"),
    [
        ("+250788123456", True),
        ("+250780000106", False),
        ("+46733123450", False),
        ("+46733123451", False),
        ("+46733123452", True),
        ("+46733123453", True),
        ("+46733123454", True),
        ("+46733123455", True),
    ],
)
async def test_only_a_number_that_mtn_surely_does_not_know_is_refused_before(
    momo: Simulated, new_attempt: NewAttempt, phone: str, known: bool
) -> None:
    gateway = momo.configured(check_payer=True)

    outcome = await momo.plugin.check_payer(gateway, new_attempt(phone=phone))

    assert (outcome is None) == known
    assert outcome is None or outcome.code is FailureCode.PAYER_NOT_FOUND


async def test_the_payer_is_not_looked_up_unless_configured(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    outcome = await momo.plugin.check_payer(momo.gateway, new_attempt(phone="+250780000106"))

    assert outcome is None
