"""Gateways that want to be left alone for minutes: questions wait, webhooks do not."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from core.tests.conftest import Script, Shop, open_shop, paid

from dusangire import attempts, hookimpl, inbox
from dusangire.gateway import (
    Attempt,
    CheckSchedule,
    Failed,
    FailureCode,
    GatewayDescription,
    Heard,
    NotSent,
    Outcome,
    Succeeded,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.lifecycle import (
    AttemptState,
    AttemptStatus,
    AttentionReason,
    PaymentState,
    PaymentStatus,
    Timing,
    TransactionKind,
    decide,
)
from dusangire.money import Money
from dusangire.testing.stand import after

FIRST = timedelta(seconds=200)
SCHEDULE = CheckSchedule(first=(200, 60, 120, 240), then=3600)
# Not all attempts ask at once.
EARLY, LATE = 0.9, 1.1
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
PRICE = Money(5_000, "RWF")
LOST = Unknown(cause="the reply was lost")
NOT_KNOWN = NotSent(cause="404")
DECLINED = Failed(code=FailureCode.DECLINED_BY_PAYER, message="The payer said no.")


class Patient(Script):
    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return replace(super().describe_gateway(), check_schedule=SCHEDULE)


@pytest.fixture
async def shop(tmp_path: Path, url: str) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path, url, script=Patient(), poll_scale=1) as shop:
        yield shop


async def pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


async def tell(shop: Shop, heard: Heard) -> None:
    """A webhook comes, and a worker reads it."""
    shop.script.reads = lambda _: heard
    request = WebhookRequest(method="POST", headers={}, body=b"{}")
    account = await shop.account()
    await inbox.accept(shop.core, "script", account.webhook_token, request)
    await shop.read_mail()


async def test_after_a_lost_answer_the_first_question_waits_as_the_gateway_wishes(
    shop: Shop,
) -> None:
    shop.script.says("initiate", LOST)

    created = await shop.create()

    attempt = await shop.attempt(created.payment.id)
    assert attempt["status"] == "UNKNOWN"
    assert FIRST * EARLY <= attempt["next_check_at"] - attempt["asked_at"] <= FIRST * LATE
    assert await shop.take() == []


async def test_after_a_crash_the_first_question_waits_as_the_gateway_wishes(shop: Shop) -> None:
    class Killed(BaseException):
        """Nothing of ours catches this, as nothing catches a kill -9."""

    shop.script.says("initiate", Killed())

    created = await shop.create(wait_ms=0)
    for task in [task for task in asyncio.all_tasks() if task.get_name().startswith("submit")]:
        with pytest.raises(Killed):
            await task

    attempt = await shop.attempt(created.payment.id)
    lease = attempts.lease_for(shop.core, await shop.account())
    assert attempt["status"] == "SUBMITTING"
    assert lease < FIRST
    assert attempt["next_check_at"] - attempt["lease_until"] == FIRST - lease


async def test_a_second_attempt_that_crashes_waits_as_long(shop: Shop) -> None:
    shop.script.says("initiate", DECLINED)
    created = await shop.create()
    seen = []

    async def look(attempt: Attempt) -> Outcome:
        seen.append(await shop.attempt(created.payment.id, 2))
        return LOST

    shop.script.says("initiate", look)
    await shop.try_again(created.payment.id)

    [while_sent] = seen
    lease = attempts.lease_for(shop.core, await shop.account())
    assert while_sent["next_check_at"] - while_sent["lease_until"] == FIRST - lease


@pytest.mark.parametrize("trust", [Trust.UNSIGNED, Trust.SHARED_SECRET, Trust.SIGNED])
async def test_a_webhook_makes_the_question_due_long_before(shop: Shop, trust: Trust) -> None:
    shop.script.says("initiate", LOST)
    shop.script.says("check", pays)
    created = await shop.create()
    reference = (await shop.attempt(created.payment.id))["reference"]

    await tell(shop, Heard(reference=reference, trust=trust, dedupe_key="1"))
    hinted = await shop.attempt(created.payment.id)
    await shop.run(
        "UPDATE payment_attempt SET next_check_at = next_check_at - $1::interval", inbox.HINT_EVERY
    )
    await shop.work()

    assert hinted["next_check_at"] - hinted["asked_at"] <= inbox.HINT_EVERY
    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"


async def test_a_signed_success_needs_no_question(shop: Shop) -> None:
    shop.script.says("initiate", LOST)
    created = await shop.create()
    reference = (await shop.attempt(created.payment.id))["reference"]
    outcome = Succeeded(amount=PRICE, reference=reference)

    await tell(
        shop, Heard(reference=reference, trust=Trust.SIGNED, dedupe_key="1", outcome=outcome)
    )

    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"
    assert shop.script.called("check") == []


# ── what such a gateway does not know ────────────────────────────────────────────────────────────


def story(*waits: float, last: Outcome = NOT_KNOWN) -> Any:
    """A lost answer, then a NotSent after each of `waits` seconds; the last one may be other."""
    payment = PaymentState(status=PaymentStatus.PENDING, expires_at=NOON + timedelta(hours=2))
    attempt = AttemptState(
        status=AttemptStatus.SUBMITTING, reference="ours", amount=PRICE, created_at=NOON
    )
    now, change = NOON, None
    said: list[tuple[Outcome, TransactionKind, float]] = [(LOST, TransactionKind.INITIATE, 0)]
    said += [(NOT_KNOWN, TransactionKind.STATUS_CHECK, wait) for wait in waits[:-1]]
    said += [(last, TransactionKind.STATUS_CHECK, wait) for wait in waits[-1:]]
    for outcome, kind, wait in said:
        now += timedelta(seconds=wait)
        change = decide(payment, attempt, outcome, kind, Timing(now=now, schedule=SCHEDULE))
        payment, attempt = after(payment, attempt, change)
    return change, now


@pytest.mark.parametrize(
    ("waits", "next_wait"),
    [((200,), 60), ((200, 60), 120), ((15, 10), 120), ((15, 10, 5), 240)],
)
def test_what_it_does_not_know_yet_is_asked_about_on_its_schedule(
    waits: tuple[float, ...], next_wait: float
) -> None:
    change, now = story(*waits)

    assert change.attempt_status is AttemptStatus.UNKNOWN
    assert not change.resend
    wait = (change.next_check_at - now).total_seconds()
    assert next_wait * EARLY <= wait <= next_wait * LATE


def test_hints_do_not_make_it_believed_sooner() -> None:
    change, _ = story(15, 10, 10, 10, 10)

    assert (change.attempt_status, change.resend) == (AttemptStatus.UNKNOWN, False)


def test_three_not_founds_over_a_minute_are_believed_and_too_late_to_send_again() -> None:
    change, _ = story(200, 60, 120)

    assert change.attempt_status is AttemptStatus.FAILED
    assert change.failure.code is FailureCode.NOT_SENT
    assert not change.resend
    assert change.late, "it was sent, and may have been on its way all the time"
    assert change.next_check_at is not None


def test_money_that_moved_after_all_is_found_and_a_person_is_called() -> None:
    change, _ = story(200, 60, 120, 600, last=Succeeded(amount=PRICE, reference="ours"))

    assert change.attempt_status is AttemptStatus.SUCCEEDED
    assert change.captured == PRICE.minor
    assert change.attention is AttentionReason.LATE_SUCCESS
