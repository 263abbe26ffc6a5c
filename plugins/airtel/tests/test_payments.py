"""A payment by Airtel Money, from the prompt to its end, over real HTTP to the simulator."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

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
from dusangire.lifecycle import Timing
from dusangire.money import Money
from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated, simulate

NewAttempt = Callable[..., Attempt]
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


async def ended(airtel: Simulated, attempt: Attempt) -> Outcome:
    """The first answer of check_payment that is an end."""
    async with asyncio.timeout(5):
        while True:
            outcome = await airtel.plugin.check_payment(airtel.gateway, attempt)
            if isinstance(outcome, Succeeded | Failed):
                return outcome
            await asyncio.sleep(0.01)


async def test_a_payment_asks_the_payer_to_approve_on_the_phone(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()

    outcome = await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    assert isinstance(outcome, Accepted)
    assert isinstance(outcome.next_action, ApproveOnPhone)
    assert outcome.next_action.phone == "+250733123456"
    assert "1,500 RWF" in outcome.next_action.message
    assert outcome.reference == attempt.reference


async def test_an_approved_payment_succeeds_with_airtels_id(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    outcome = await ended(airtel, attempt)

    told = await airtel.transaction(attempt.reference)
    assert outcome == Succeeded(
        amount=Money(1500, "RWF"),
        reference=attempt.reference,
        gateway_transaction_id=told["gateway_transaction_id"],
    )
    assert told["moves"] == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("signing", [False, True])
async def test_both_versions_of_the_path_work_signed_and_unsigned(
    plugin: Plugin, new_attempt: NewAttempt, version: str, signing: bool
) -> None:
    attempt = new_attempt()

    async with simulate(plugin, payments_version=version, message_signing=signing) as airtel:
        await airtel.tell("settings", scale=0)
        await airtel.plugin.initiate_payment(airtel.gateway, attempt)
        outcome = await ended(airtel, attempt)

    assert isinstance(outcome, Succeeded)


@pytest.mark.parametrize(
    ("currency", "minor", "text"),
    [("RWF", 1, "1"), ("RWF", 123_456_789_012, "123456789012"), ("KES", 10_00, "10")],
)
async def test_the_amount_arrives_exactly(
    plugin: Plugin, new_attempt: NewAttempt, currency: str, minor: int, text: str
) -> None:
    attempt = new_attempt(amount=Money(minor, currency))

    async with simulate(plugin, currency=currency) as airtel:
        outcome = await airtel.plugin.initiate_payment(airtel.gateway, attempt)
        told = await airtel.transaction(attempt.reference)

    assert isinstance(outcome, Accepted)
    assert told["amount"] == text


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (Money(1050, "KES"), FailureCode.AMOUNT_OUT_OF_LIMITS),
        (Money(1500, "RWF"), FailureCode.GATEWAY_CONFIGURATION),
    ],
)
async def test_an_amount_that_airtel_has_no_form_for_is_refused_before_anything_is_sent(
    plugin: Plugin, new_attempt: NewAttempt, amount: Money, code: FailureCode
) -> None:
    async with simulate(plugin, currency="KES") as airtel:
        outcome = await airtel.plugin.initiate_payment(airtel.gateway, new_attempt(amount=amount))
        truth = await airtel.truth()

    assert isinstance(outcome, Failed)
    assert outcome.code is code
    assert truth["transactions"] == []


@pytest.mark.parametrize("phone", [None, "+254733123456", "+46733123450"])
async def test_a_rwandan_number_is_needed(
    airtel: Simulated, new_attempt: NewAttempt, phone: str | None
) -> None:
    outcome = await airtel.plugin.initiate_payment(airtel.gateway, new_attempt(phone=phone))

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.PAYER_NOT_FOUND
    assert (await airtel.truth())["transactions"] == []


@pytest.mark.parametrize("phone", ["+250733123456", "+250720000001"])
async def test_airtel_is_told_the_number_without_the_country(
    airtel: Simulated, new_attempt: NewAttempt, phone: str
) -> None:
    attempt = new_attempt(phone=phone)

    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    assert (await airtel.transaction(attempt.reference))["party"] == phone.removeprefix("+250")


async def test_repeating_a_reference_moves_money_once(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()

    outcomes = await asyncio.gather(
        *(airtel.plugin.initiate_payment(airtel.gateway, attempt) for _ in range(10))
    )
    await ended(airtel, attempt)

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    told = await airtel.transaction(attempt.reference)
    assert (told["requests"], told["moves"]) == (10, 1)


@pytest.mark.parametrize("status", [200, 400])
async def test_an_id_that_airtel_has_already_means_that_it_arrived(
    airtel: Simulated, new_attempt: NewAttempt, status: int
) -> None:
    await airtel.tell("settings", duplicate_status=status)
    attempt = new_attempt()

    outcomes = [await airtel.plugin.initiate_payment(airtel.gateway, attempt) for _ in range(2)]

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)


@pytest.mark.parametrize("status", [200, 404])
async def test_a_reference_that_airtel_does_not_know_is_not_sent(
    airtel: Simulated, new_attempt: NewAttempt, status: int
) -> None:
    await airtel.tell("settings", unknown_status=status)

    outcome = await airtel.plugin.check_payment(airtel.gateway, new_attempt())

    assert isinstance(outcome, NotSent)


async def test_a_payment_sent_to_another_host_is_unknown_not_unsent(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(plugin_data={"base_url": "https://openapi.airtel.africa"})

    outcome = await airtel.plugin.check_payment(airtel.gateway, attempt)

    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("phone", "code", "gateway_code"),
    [
        ("730000002", FailureCode.WRONG_PIN, "DP00800001002"),
        ("730000003", FailureCode.PAYER_LIMIT_REACHED, "DP00800001003"),
        ("730000007", FailureCode.INSUFFICIENT_FUNDS, "DP00800001007"),
        ("730000008", FailureCode.DECLINED_BY_PAYER, "DP00800001008"),
        ("730000029", FailureCode.EXPIRED, "DP00800001029"),
        ("730000105", FailureCode.DECLINED_BY_PAYER, "DP00800001008"),
        ("730000108", FailureCode.PAYER_BLOCKED, "DP00800001010"),
        ("730000109", FailureCode.PAYER_BLOCKED, "DP00800001010"),
    ],
)
async def test_a_failure_has_our_reason_and_airtels_code(
    airtel: Simulated, new_attempt: NewAttempt, phone: str, code: FailureCode, gateway_code: str
) -> None:
    attempt = new_attempt(phone=f"+250{phone}")
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    outcome = await ended(airtel, attempt)

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (code, gateway_code)
    assert outcome.reference == attempt.reference
    assert (await airtel.transaction(attempt.reference))["moves"] == 0


async def test_a_prompt_nobody_answers_ends_as_the_payers_timeout(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    await airtel.tell("settings", scale=0.001)
    attempt = new_attempt(phone="+250730000005")
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    outcome = await ended(airtel, attempt)

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (FailureCode.PAYER_TIMEOUT, "DP00800001005")


@pytest.mark.parametrize("phone", ["730000010", "730000110", "788123456"])
async def test_a_number_without_a_wallet_is_told_at_once(
    airtel: Simulated, new_attempt: NewAttempt, phone: str
) -> None:
    attempt = new_attempt(phone=f"+250{phone}")

    outcome = await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (FailureCode.PAYER_NOT_FOUND, "DP00800001005")


@pytest.mark.parametrize(
    ("phone", "gateway_code"),
    [
        ("730000024", "DP00800001024"),
        ("730000026", None),
        ("730000117", "ROUTER117"),
    ],
)
async def test_an_open_answer_is_unknown_and_the_enquiry_tells_the_truth(
    airtel: Simulated, new_attempt: NewAttempt, phone: str, gateway_code: str | None
) -> None:
    attempt = new_attempt(phone=f"+250{phone}")

    asked = await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    assert isinstance(asked, Unknown)
    assert asked.gateway_code == gateway_code
    assert isinstance(await ended(airtel, attempt), Succeeded)
    assert (await airtel.transaction(attempt.reference))["moves"] == 1


async def test_after_an_error_that_stored_nothing_airtel_does_not_know_the_payment(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(phone="+250730000025")

    asked = await airtel.plugin.initiate_payment(airtel.gateway, attempt)
    told = await airtel.plugin.check_payment(airtel.gateway, attempt)

    assert isinstance(asked, Unknown)
    assert isinstance(told, NotSent)


async def test_an_ambiguous_payment_stays_unknown(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(phone="+250730000100")
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)
    await asyncio.sleep(0.1)

    outcome = await airtel.plugin.check_payment(airtel.gateway, attempt)

    assert outcome == Unknown(cause="Airtel says TA, ambiguous", gateway_code="TA")


async def test_a_payment_in_progress_stays_accepted(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(phone="+250730000101")
    first = await airtel.plugin.initiate_payment(airtel.gateway, attempt)
    await asyncio.sleep(0.1)

    outcome = await airtel.plugin.check_payment(airtel.gateway, attempt)

    assert isinstance(first, Accepted)
    assert outcome == replace(first, reference=attempt.reference)


@pytest.mark.parametrize("phone", ["730000102", "730000103", "730000104", "730000106"])
async def test_whatever_the_callbacks_do_the_enquiry_tells_the_truth(
    airtel: Simulated, new_attempt: NewAttempt, phone: str
) -> None:
    attempt = new_attempt(phone=f"+250{phone}")
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    assert isinstance(await ended(airtel, attempt), Succeeded)


async def test_a_code_nobody_knows_beside_a_status_in_progress_is_pending(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    await airtel.tell("settings", scale=0.1)
    attempt = new_attempt(phone="+250730000107")
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    waiting = await airtel.plugin.check_payment(airtel.gateway, attempt)

    assert isinstance(waiting, Accepted)
    assert isinstance(await ended(airtel, attempt), Succeeded)


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Order 1042", "PAY7K3M9Q2X Order 1042"),
        ("Aline's order", "PAY7K3M9Q2X Aline s order"),
        ("Thé  à   la menthe ☕", "PAY7K3M9Q2X The a la menthe"),
        ("x" * 200, "PAY7K3M9Q2X " + "x" * 52),
        ("🎁", "PAY7K3M9Q2X"),
        (None, "PAY7K3M9Q2X"),
    ],
)
async def test_the_reference_holds_only_what_airtel_accepts(
    airtel: Simulated, new_attempt: NewAttempt, description: str | None, expected: str
) -> None:
    attempt = new_attempt(description=description)

    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    assert (await airtel.transaction(attempt.reference))["message"] == expected


# ── before the payment ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("phone", "code"),
    [
        ("+250733123456", None),
        ("+250730000108", FailureCode.PAYER_BLOCKED),
        ("+250730000109", FailureCode.PAYER_BLOCKED),
        ("+250730000110", FailureCode.PAYER_NOT_FOUND),
        ("+254733123456", None),
    ],
)
async def test_only_a_payer_who_surely_cannot_pay_is_refused_before(
    airtel: Simulated, new_attempt: NewAttempt, phone: str, code: FailureCode | None
) -> None:
    gateway = airtel.configured(check_payer=True)

    outcome = await airtel.plugin.check_payer(gateway, new_attempt(phone=phone))

    assert (outcome and outcome.code) == code
    assert "Aline" not in str(outcome)


async def test_the_payer_is_not_looked_up_unless_configured(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    await airtel.tell("faults", lost_replies=1)

    outcome = await airtel.plugin.check_payer(airtel.gateway, new_attempt(phone="+250730000110"))

    assert outcome is None


@pytest.mark.parametrize("fault", ["lost_replies", "unavailable", "html", "truncated"])
async def test_a_look_up_that_fails_stops_no_payment(
    airtel: Simulated, new_attempt: NewAttempt, fault: str
) -> None:
    await airtel.tell("faults", **{fault: 1, "only": "users"})
    gateway = airtel.configured(check_payer=True)

    outcome = await airtel.plugin.check_payer(gateway, new_attempt(phone="+250730000110"))

    assert outcome is None


# ── when it is asked about ───────────────────────────────────────────────────────────────────────


def test_nothing_is_asked_before_three_minutes_are_over(plugin: Plugin) -> None:
    timing = Timing(now=NOW, schedule=plugin.description.check_schedule)

    first = [(timing.next_check(0, None) or NOW) - NOW for _ in range(1000)]

    assert min(wait.total_seconds() for wait in first) >= 180
    assert max(wait.total_seconds() for wait in first) < 240


def test_it_is_asked_less_and_less_often(plugin: Plugin) -> None:
    schedule = plugin.description.check_schedule

    minutes, total = [], 0.0
    for wait in (*schedule.first, schedule.then):
        total += wait
        minutes.append(round(total / 60))

    assert minutes == [3, 4, 6, 10, 20, 40, 100]
