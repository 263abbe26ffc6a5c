"""Sending an attempt, asking about it, and what becomes of it whatever goes wrong."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from core.tests.conftest import AMOUNT, PHONE, SECRET, Script, Shop, Step, open_shop, paid, settle

from dusangire import attempts, payments
from dusangire.access import OPERATOR
from dusangire.exchanges import open_client, recording
from dusangire.gateway import (
    Accepted,
    ApproveOnPhone,
    Attempt,
    Failed,
    FailureCode,
    FollowLink,
    NotSent,
    Outcome,
    PayInPerson,
    Succeeded,
    TransferToAccount,
    Unknown,
)
from dusangire.intake import ConfirmPayment, MethodInput
from dusangire.lifecycle import PAYMENT_MOVES, PaymentStatus, TransactionKind
from dusangire.money import Money
from dusangire.phone import PhoneNumber

DECLINED = Failed(code=FailureCode.DECLINED_BY_PAYER, message="The payer said no.")
TIMED_OUT = Failed(code=FailureCode.PAYER_TIMEOUT, message="The payer did not answer.")
WITHDRAWN = Failed(code=FailureCode.CANCELLED, message="withdrawn")


async def pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


# ── write ahead, then call ───────────────────────────────────────────────────────────────────────


async def test_the_attempt_is_committed_before_the_gateway_is_called(shop: Shop) -> None:
    seen = []

    async def look(attempt: Attempt) -> Outcome:
        seen.append(
            await shop.row(
                "SELECT a.status, a.lease_until > now() AS leased, p.status AS payment_status "
                "FROM payment_attempt a JOIN payment p ON p.id = a.payment_id "
                "WHERE a.reference = $1",
                attempt.reference,
            )
        )
        return Accepted()

    shop.script.says("initiate", look)

    await shop.create()

    assert seen == [{"status": "SUBMITTING", "leased": True, "payment_status": "CREATED"}]


async def test_a_second_attempt_is_committed_before_it_is_sent(shop: Shop) -> None:
    shop.script.says("initiate", DECLINED)
    created = await shop.create()
    seen = []

    async def look(attempt: Attempt) -> Outcome:
        seen.append(
            await shop.value(
                "SELECT status FROM payment_attempt WHERE reference = $1", attempt.reference
            )
        )
        return Accepted()

    shop.script.says("initiate", look)
    await shop.try_again(created.payment.id)

    assert seen == ["SUBMITTING"]


async def test_the_gateway_is_called_outside_any_transaction(shop: Shop) -> None:
    seen = []

    async def look(attempt: Attempt) -> Outcome:
        seen.append(
            await shop.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND state LIKE 'idle in transaction%'"
            )
        )
        return Accepted()

    shop.script.says("initiate", look)

    await shop.create()

    assert seen == [0]


async def test_after_a_crash_between_call_and_commit_a_worker_finds_the_truth(shop: Shop) -> None:
    class Killed(BaseException):
        """Nothing of ours catches this, as nothing catches a kill -9."""

    shop.script.says("initiate", Killed())
    shop.script.says("check", pays)
    created = await shop.create(wait_ms=0)
    for task in [task for task in asyncio.all_tasks() if task.get_name().startswith("submit")]:
        with pytest.raises(Killed):
            await task
    assert (await shop.attempt(created.payment.id))["status"] == "SUBMITTING"

    await shop.work_now()

    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"
    assert shop.script.calls == [
        ("initiate", (await shop.attempt(created.payment.id))["reference"]),
        ("check", (await shop.attempt(created.payment.id))["reference"]),
    ]


async def test_a_worker_leaves_an_attempt_alone_while_it_is_being_sent(shop: Shop) -> None:
    taken = []

    async def look(attempt: Attempt) -> Outcome:
        await shop.run("UPDATE payment_attempt SET next_check_at = now() - interval '1 h'")
        taken.extend(await shop.take())
        return Accepted()

    shop.script.says("initiate", look)

    await shop.create()

    assert taken == []


async def test_leases_and_checks_run_by_the_clock_of_the_database(shop: Shop) -> None:
    shop.clock.forward(minutes=-10)
    shop.script.says("initiate", slowly := Held())

    created = await shop.create(wait_ms=0)
    await slowly.started.wait()
    leased = await shop.attempt(created.payment.id)
    now = await shop.value("SELECT now()")
    slowly.go.set()
    await settle()
    after = await shop.attempt(created.payment.id)

    assert leased["lease_until"] > now
    assert timedelta(0) < after["next_check_at"] - now < timedelta(seconds=5)


class Held:
    """A gateway that answers when it is let go."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.outcome = outcome

    async def __call__(self, attempt: Attempt) -> Outcome:
        self.started.set()
        await self.go.wait()
        return self.outcome or Accepted()


async def test_the_answer_is_written_when_the_caller_has_gone(shop: Shop) -> None:
    shop.script.says("initiate", slowly := Held(DECLINED))
    caller = asyncio.create_task(shop.create())
    await slowly.started.wait()

    caller.cancel()
    await asyncio.wait({caller})
    slowly.go.set()
    await settle()

    assert await shop.value("SELECT status FROM payment") == "FAILED"


# ── not known, not sent ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "step",
    [
        Unknown(cause="the reply was lost"),
        RuntimeError("a bug in the plugin"),
        SystemExit(1),
        asyncio.CancelledError(),
        TimeoutError(),
        "nonsense",
        None,
        Failed(code="SOMETHING", message="not one of the codes"),  # type: ignore[arg-type]
        Failed(code=FailureCode.OTHER, message=None),  # type: ignore[arg-type]
        Accepted(plugin_data={"client": object()}),
        Accepted(plugin_data={"much": "x" * 30_000}),
        Accepted(next_action="approve it"),  # type: ignore[arg-type]
        Accepted(next_action=FollowLink(url="javascript:alert(1)")),
        Succeeded(amount="5000", reference="x"),  # type: ignore[arg-type]
        Succeeded(amount=AMOUNT, reference=None),  # type: ignore[arg-type]
        NotSent(cause=None),  # type: ignore[arg-type]
    ],
    ids=lambda value: ascii(value)[:50],
)
async def test_what_is_not_a_clear_answer_is_unknown_and_asked_about(shop: Shop, step: Any) -> None:
    async def answer(attempt: Attempt) -> Outcome:
        if isinstance(step, BaseException):
            raise step
        outcome: Outcome = step
        return outcome

    shop.script.says("initiate", answer)
    shop.script.says("check", pays)

    created = await shop.create()
    unknown = await shop.attempt(created.payment.id)
    await shop.work_now()

    assert (created.payment.status, unknown["status"]) == (PaymentStatus.PENDING, "UNKNOWN")
    assert unknown["next_check_at"] is not None
    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"
    assert len(shop.script.called("initiate")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"gateway_transaction_id": "GT\x00\ud800 1"},
        {"gateway_transaction_id": "9" * 5_000},
        {"fee": Money(-5, "RWF")},
        {"fee": Money(5, "USD")},
        {"fee": Money(10**18, "RWF")},
    ],
    ids=lambda value: ascii(value)[:50],
)
async def test_a_success_is_written_whatever_stands_beside_it(
    shop: Shop, change: dict[str, Any]
) -> None:
    async def answer(attempt: Attempt) -> Outcome:
        return paid(attempt, **change)

    shop.script.says("initiate", answer)

    created = await shop.create()

    assert created.payment.status is PaymentStatus.SUCCEEDED
    assert (await shop.attempt(created.payment.id))["fee"] is None


@pytest.mark.parametrize(
    "outcome",
    [
        Failed(code=FailureCode.OTHER, message="no\x00\ud800" + "x" * 5_000, gateway_code="\x00"),
        Accepted(unmapped="ODD\x00\ud800" + "x" * 5_000),
        Accepted(plugin_data={"a\x00": "\ud800\x00", "n": 2**70, "deep": [[[[1]]]]}),
        Accepted(next_action=PayInPerson(message="\x00\ud800", amount=AMOUNT)),
        Accepted(
            next_action=TransferToAccount(
                bank_name="\x00",
                account_name="\ud800",
                account_number="1",
                reference="RF\x00",
                amount=AMOUNT,
                instructions={"en": "\x00\ud800"},
            )
        ),
        Unknown(cause="\x00\ud800"),
        NotSent(cause="\x00\ud800", retry_after=timedelta.max),
        NotSent(cause="early", retry_after=timedelta.min),
        Accepted(reference="\x00\ud800"),
    ],
    ids=lambda outcome: ascii(outcome)[:40],
)
async def test_strange_characters_of_a_provider_do_not_stop_the_writing(
    shop: Shop, outcome: Outcome
) -> None:
    shop.script.says("initiate", outcome)

    created = await shop.create()

    attempt = await shop.attempt(created.payment.id)
    assert attempt["lease_until"] is None
    assert len(await shop.log(created.payment.id)) == 1


async def test_a_hook_that_hangs_is_unknown_after_its_time(tmp_path: Path, url: str) -> None:
    async def hang(attempt: Attempt) -> Outcome:
        await asyncio.sleep(60)
        raise AssertionError

    async with open_shop(tmp_path, url, script=Script(call_timeout=0.05)) as shop:
        shop.script.says("initiate", hang)

        created = await shop.create()

        assert (await shop.attempt(created.payment.id))["status"] == "UNKNOWN"
        assert "no answer within 0.05 s" in (await shop.log(created.payment.id))[0]["outcome"]


async def test_a_call_that_a_hook_cancelled_does_not_cancel_its_caller(shop: Shop) -> None:
    created = await shop.create()
    shop.script.says("check", asyncio.CancelledError())

    done = await payments.check_payment(shop.core, OPERATOR, created.payment.id)

    assert done.payment.status is PaymentStatus.PENDING


async def test_not_found_is_believed_after_three_times_and_a_minute_and_not_before(
    shop: Shop,
) -> None:
    shop.script.says("initiate", Unknown(cause="the reply was lost"), Accepted())
    shop.script.says("check", NotSent(cause="404"))
    created = await shop.create()

    for _ in range(4):
        await shop.work_now()
    before = len(shop.script.called("initiate"))
    shop.clock.forward(seconds=0.61)  # a minute at poll_scale 0.01
    await shop.work_now()
    await shop.work_now()

    assert before == 1
    assert shop.script.called("initiate") == [shop.script.calls[0][1]] * 2
    assert (await shop.attempt(created.payment.id))["status"] == "PENDING"


async def test_two_not_founds_are_not_enough_however_far_apart(shop: Shop) -> None:
    shop.script.says("initiate", Unknown(cause="the reply was lost"))
    shop.script.says("check", NotSent(cause="404"))
    await shop.create()

    await shop.work_now()
    shop.clock.forward(seconds=1)
    await shop.work_now()
    await shop.due()
    [work] = await shop.take()

    assert not work.state.resend
    assert len(shop.script.called("initiate")) == 1


async def test_an_answer_between_two_not_founds_starts_the_count_anew(shop: Shop) -> None:
    shop.script.says("initiate", Unknown(cause="the reply was lost"))
    shop.script.says(
        "check",
        NotSent(cause="404"),
        NotSent(cause="404"),
        Accepted(),
        NotSent(cause="404"),
    )
    created = await shop.create()

    for _ in range(3):
        await shop.work_now()
    shop.clock.forward(seconds=1)
    for _ in range(3):
        await shop.work_now()

    assert len(shop.script.called("initiate")) == 1
    assert (await shop.attempt(created.payment.id))["status"] == "PENDING"


async def test_what_never_left_is_sent_again_with_the_same_reference(shop: Shop) -> None:
    shop.script.says("initiate", NotSent(cause="refused"), NotSent(cause="refused"), Accepted())
    created = await shop.create()
    assert created.payment.status is PaymentStatus.CREATED

    await shop.work_now()
    await shop.work_now()

    assert len(set(shop.script.called("initiate"))) == 1
    assert len(shop.script.called("initiate")) == 3
    assert (await shop.payment(created.payment.id))["status"] == "PENDING"


async def test_what_never_left_in_three_minutes_has_failed(shop: Shop) -> None:
    shop.script.says("initiate", NotSent(cause="refused"))
    created = await shop.create()

    shop.clock.forward(seconds=2)  # three minutes at poll_scale 0.01
    await shop.work_now()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["failure_code"]) == ("FAILED", "NOT_SENT")
    assert (await shop.attempt(created.payment.id))["next_check_at"] is None


async def test_a_crash_while_sending_again_leads_to_a_question_not_a_third_sending(
    shop: Shop,
) -> None:
    shop.script.says("initiate", NotSent(cause="refused"))
    await shop.create()
    await shop.due()
    [work] = await shop.take()  # the process that took it dies here
    assert work.state.resend

    await shop.work_now()

    assert [hook for hook, _ in shop.script.calls] == ["initiate", "check"]


async def test_what_was_paid_by_another_attempt_is_not_sent_again(shop: Shop) -> None:
    shop.script.says("initiate", TIMED_OUT)
    created = await shop.create()
    first = await shop.attempt(created.payment.id)
    shop.script.says("initiate", NotSent(cause="refused"))
    await shop.try_again(created.payment.id)
    sent = len(shop.script.called("initiate"))
    work = await attempts.load(first["id"])
    await attempts.advance(
        shop.core, await shop.account(), work, paid(work.attempt), TransactionKind.CALLBACK
    )

    shop.script.says("initiate", pays)
    await shop.work_now()
    await shop.work_now()

    assert len(shop.script.called("initiate")) == sent
    assert (await shop.attempt(created.payment.id, 2))["status"] == "FAILED"
    assert (await shop.payment(created.payment.id))["captured"] == AMOUNT.minor


# ── two at once ──────────────────────────────────────────────────────────────────────────────────


async def test_two_workers_never_take_the_same_attempt(shop: Shop) -> None:
    for _ in range(12):
        await shop.create()
    await shop.due()

    taken = await asyncio.gather(*(shop.take(5) for _ in range(6)))

    rest = await shop.take(12)
    ids = [work.id for works in [*taken, rest] for work in works]
    assert len(ids) == len(set(ids)) == 12


async def test_a_worker_that_wakes_up_too_late_cannot_write_what_it_did_not_learn(
    shop: Shop,
) -> None:
    created = await shop.create()
    await shop.due()
    [stalled] = await shop.take()
    await shop.due()
    shop.script.says("check", DECLINED)
    await shop.work()
    before = await shop.attempt(created.payment.id)

    for outcome in (Unknown(cause="woke up"), NotSent(cause="woke up")):
        await attempts.advance(
            shop.core,
            await shop.account(),
            stalled,
            outcome,
            TransactionKind.STATUS_CHECK,
        )

    assert await shop.attempt(created.payment.id) == before


async def test_a_worker_that_wakes_up_too_late_still_brings_a_success(shop: Shop) -> None:
    created = await shop.create()
    await shop.due()
    [stalled] = await shop.take()
    await shop.work_now()

    await attempts.advance(
        shop.core,
        await shop.account(),
        stalled,
        paid(stalled.attempt),
        TransactionKind.STATUS_CHECK,
    )

    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"


async def test_who_waited_for_a_place_beyond_the_lease_does_not_call(shop: Shop) -> None:
    await shop.create()
    await shop.due()
    [work] = await shop.take()
    called = len(shop.script.calls)

    for late in (work, replace(work, state=replace(work.state, resend=True))):
        await attempts.proceed(shop.core, await shop.account(), replace(late, leased_until=0.0))

    assert len(shop.script.calls) == called


async def test_of_many_answers_at_once_each_is_written_once(shop: Shop) -> None:
    created = await shop.create()
    work = await attempts.load((await shop.attempt(created.payment.id))["id"])
    account = await shop.account()

    await asyncio.gather(
        *(
            attempts.advance(shop.core, account, work, paid(work.attempt), TransactionKind.CALLBACK)
            for _ in range(8)
        )
    )

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)
    assert [event["status"] for event in await shop.events(created.payment.id)].count(
        "SUCCEEDED"
    ) == 1
    assert len(await shop.log(created.payment.id)) == 1 + 8


async def test_a_slow_gateway_holds_up_no_other(tmp_path: Path, url: str) -> None:
    slow = Script(concurrency=2)
    async with open_shop(tmp_path, url, plugins={"slow": slow}) as shop:
        await shop.save_gateway("slow", "slow")
        for _ in range(12):
            await shop.create(method=MethodInput(gateway="slow"))
        quick = await shop.create()
        await shop.run("UPDATE payment_attempt SET created_at = now() - interval '1 h'")
        await shop.due()
        await shop.run(
            "UPDATE payment_attempt SET next_check_at = now() - interval '1 h' "
            "WHERE payment_id <> $1",
            quick.payment.id,
        )

        taken = await shop.take(8)

        assert [work.payment_id for work in taken].count(quick.payment.id) == 1
        assert len(taken) == 3


async def test_a_full_gateway_is_given_no_more_while_its_calls_last(
    tmp_path: Path, url: str
) -> None:
    async with open_shop(tmp_path, url, script=Script(concurrency=2)) as shop:
        held = Held()
        shop.script.says("initiate", held)
        waiting = [asyncio.create_task(shop.create(wait_ms=0)) for _ in range(5)]
        await asyncio.gather(*waiting)
        await held.started.wait()
        await asyncio.sleep(0.05)

        called = len(shop.script.calls)
        free = (await shop.account()).places.free
        held.go.set()
        await settle()

        assert (called, free) == (2, 0)
        assert len(shop.script.calls) == 5
        assert (await shop.account()).places.free == 2


# ── answers that contradict what was sent ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        {"amount": Money(4999, "RWF")},
        {"amount": Money(5001, "RWF")},
        {"amount": Money(5000, "USD")},
        {"amount": Money(0, "RWF")},
        {"amount": Money(-5000, "RWF")},
        {"amount": Money(10**30, "RWF")},
    ],
    ids=lambda value: ascii(value)[:50],
)
@pytest.mark.parametrize("hook", ["initiate", "check"])
async def test_another_amount_is_no_success_and_calls_a_person(
    shop: Shop, hook: str, change: dict[str, Any]
) -> None:
    async def answer(attempt: Attempt) -> Outcome:
        return paid(attempt, **change)

    shop.script.says(hook, answer)

    created = await shop.create()
    await shop.work_now()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("PENDING", 0)
    if change["amount"].minor < 2**63:  # larger ones are nonsense, not amounts
        assert "AMOUNT_MISMATCH" in payment["needs_attention"]
        assert await shop.value("SELECT bool_or(outcome LIKE 'refused:%') FROM payment_transaction")


async def test_the_right_amount_after_a_wrong_one_still_succeeds(shop: Shop) -> None:
    async def less(attempt: Attempt) -> Outcome:
        return paid(attempt, amount=Money(1, "RWF"))

    shop.script.says("check", less, pays)
    created = await shop.create()

    await shop.work_now()
    await shop.work_now()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)


@pytest.mark.parametrize("hook", ["initiate", "check"])
@pytest.mark.parametrize("kind", ["succeeded", "failed", "accepted"])
async def test_an_answer_about_another_payment_is_refused(shop: Shop, hook: str, kind: str) -> None:
    other = await shop.create()
    reference = (await shop.attempt(other.payment.id))["reference"]
    answers: dict[str, Outcome] = {
        "succeeded": Succeeded(amount=AMOUNT, reference=reference),
        "failed": replace(DECLINED, reference=reference),
        "accepted": Accepted(reference=reference),
    }
    shop.script.says(hook, answers[kind])

    created = await shop.create()
    await shop.due()
    await shop.run(
        "UPDATE payment_attempt SET next_check_at = NULL WHERE payment_id = $1", other.payment.id
    )
    await shop.work()

    assert (await shop.payment(created.payment.id))["status"] == "PENDING"
    assert (await shop.payment(other.payment.id))["status"] == "PENDING"
    assert any(row["outcome"].startswith("refused:") for row in await shop.log(created.payment.id))


async def test_the_answer_of_another_environment_is_not_asked_for(shop: Shop) -> None:
    created = await shop.create()
    await shop.run("UPDATE payment_attempt SET environment = 'LIVE'")
    shop.script.says("check", pays)

    await shop.work_now()

    assert shop.script.called("check") == []
    assert (await shop.payment(created.payment.id))["status"] == "PENDING"
    assert "the gateway is TEST now" in (await shop.log(created.payment.id))[-1]["outcome"]


async def test_an_attempt_whose_plugin_is_gone_stays_and_is_asked_later(
    tmp_path: Path, url: str
) -> None:
    async with open_shop(tmp_path, url) as shop:
        created = await shop.create()
        await shop.run("UPDATE gateway_account SET plugin = 'gone', version = version + 1")
        await shop.core.gateways.reload()

        await shop.work_now()

        attempt = await shop.attempt(created.payment.id)
        assert (attempt["status"], attempt["next_check_at"] is not None) == ("PENDING", True)
        assert "plugin gone does not work" in (await shop.log(created.payment.id))[-1]["outcome"]


# ── late, twice, taken back ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["FAILED", "EXPIRED", "CANCELLED"])
async def test_a_late_success_is_taken_and_flagged(shop: Shop, end: str) -> None:
    created = await shop.create()
    if end == "FAILED":
        shop.script.says("check", TIMED_OUT)
    shop.script.says("cancel", WITHDRAWN)
    if end == "EXPIRED":
        shop.clock.forward(hours=25)
    if end == "CANCELLED":
        await payments.cancel_payment(shop.core, OPERATOR, created.payment.id, "sold out")
    else:
        await shop.work_now()
    assert (await shop.payment(created.payment.id))["status"] == end

    shop.script.says("check", pays)
    await shop.work_now()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)
    assert payment["needs_attention"] == '["LATE_SUCCESS"]'
    assert payment["failure"] is None


async def test_a_clear_decline_is_not_asked_about_again(shop: Shop) -> None:
    shop.script.says("initiate", DECLINED)

    created = await shop.create()

    assert (await shop.attempt(created.payment.id))["next_check_at"] is None


async def test_a_second_capture_is_flagged(shop: Shop) -> None:
    shop.script.says("initiate", TIMED_OUT, pays)
    created = await shop.create()
    await shop.try_again(created.payment.id)

    shop.script.says("check", pays)
    await shop.work_now()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", 2 * AMOUNT.minor)
    assert payment["needs_attention"] == '["DUPLICATE_CAPTURE"]'


async def test_a_failure_after_success_is_flagged_and_takes_no_money_back(shop: Shop) -> None:
    shop.script.says("initiate", pays)
    created = await shop.create()

    shop.script.says("check", DECLINED)
    await payments.check_payment(shop.core, OPERATOR, created.payment.id)

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)
    assert payment["needs_attention"] == '["REVERSED_BY_GATEWAY"]'
    assert (await shop.attempt(created.payment.id))["status"] == "REVERSED"


async def test_the_same_success_again_changes_nothing(shop: Shop) -> None:
    shop.script.says("initiate", pays)
    shop.script.says("check", pays)
    created = await shop.create()
    before = await shop.payment(created.payment.id)

    await payments.check_payment(shop.core, OPERATOR, created.payment.id)

    assert await shop.payment(created.payment.id) == before


async def test_pending_after_success_changes_nothing(shop: Shop) -> None:
    shop.script.says("initiate", pays)
    created = await shop.create()
    before = await shop.payment(created.payment.id)

    shop.script.says("check", Accepted())
    await payments.check_payment(shop.core, OPERATOR, created.payment.id)

    assert await shop.payment(created.payment.id) == before


async def test_an_unknown_word_stays_pending_and_is_flagged_once(shop: Shop) -> None:
    shop.script.says("check", Accepted(unmapped="ON_THE_MOON"))
    created = await shop.create()

    await shop.work_now()
    flagged = await shop.payment(created.payment.id)
    await shop.work_now()

    assert (flagged["status"], flagged["needs_attention"]) == ("PENDING", '["UNMAPPED_STATUS"]')
    assert await shop.payment(created.payment.id) == flagged
    assert "ON_THE_MOON" in (await shop.log(created.payment.id))[-1]["outcome"]


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


class Prompt(Script):
    """A gateway that cannot take back what it asked the payer."""

    cancel_payment = None  # type: ignore[assignment]


async def test_expiry_asks_first_and_a_payer_who_paid_has_paid(tmp_path: Path, url: str) -> None:
    async with open_shop(tmp_path, url, script=Prompt()) as shop:
        created = await shop.create()
        shop.clock.forward(hours=25)
        shop.script.says("check", pays)

        await shop.work_now()

        payment = await shop.payment(created.payment.id)
        assert (payment["status"], payment["needs_attention"]) == ("SUCCEEDED", "[]")


async def test_a_pending_payment_expires_after_one_more_question(tmp_path: Path, url: str) -> None:
    async with open_shop(tmp_path, url, script=Prompt()) as shop:
        created = await shop.create()
        shop.clock.forward(hours=25)

        await shop.work_now()

        payment = await shop.payment(created.payment.id)
        assert (payment["status"], payment["failure_code"]) == ("EXPIRED", "EXPIRED")
        assert shop.script.called("check") == shop.script.called("initiate")


async def test_what_can_be_taken_back_is_withdrawn_when_its_time_is_over(shop: Shop) -> None:
    created = await shop.create()
    shop.clock.forward(hours=25)
    shop.script.says("cancel", WITHDRAWN)

    await shop.work_now()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["failure_code"]) == ("EXPIRED", "EXPIRED")
    assert (await shop.attempt(created.payment.id))["status"] == "EXPIRED"
    assert shop.script.called("cancel") == shop.script.called("initiate")
    assert shop.script.called("check") == []
    [*_, last] = await shop.log(created.payment.id)
    assert (last["kind"], last["outcome"]) == ("CANCEL", "expired: withdrawn at the gateway")


async def test_before_its_time_is_over_nothing_is_withdrawn(shop: Shop) -> None:
    await shop.create()
    shop.clock.forward(hours=23)

    await shop.work_now()

    assert shop.script.called("cancel") == []


async def test_a_withdrawal_that_comes_too_late_finds_the_money(shop: Shop) -> None:
    created = await shop.create()
    shop.clock.forward(hours=25)
    shop.script.says("cancel", pays)

    await shop.work_now()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)
    assert payment["needs_attention"] == "[]"


@pytest.mark.parametrize(
    "answer", [Unknown(cause="lost"), NotSent(cause="refused"), RuntimeError("bug")], ids=repr
)
async def test_a_withdrawal_in_doubt_expires_nothing_and_comes_again(
    shop: Shop, answer: Any
) -> None:
    created = await shop.create()
    shop.clock.forward(hours=25)
    shop.script.says("cancel", answer, WITHDRAWN)

    await shop.work_now()
    in_doubt = await shop.payment(created.payment.id)
    await shop.work_now()
    await shop.work_now()

    assert in_doubt["status"] == "PENDING"
    assert (await shop.payment(created.payment.id))["status"] == "EXPIRED"
    assert [hook for hook, _ in shop.script.calls] == ["initiate", "cancel", "check", "cancel"]


async def test_what_may_never_have_arrived_is_asked_about_before_it_is_withdrawn(
    shop: Shop,
) -> None:
    shop.script.says("initiate", Unknown(cause="the reply was lost"))
    created = await shop.create()
    shop.clock.forward(hours=25)
    shop.script.says("cancel", WITHDRAWN)

    await shop.work_now()
    await shop.work()

    assert [hook for hook, _ in shop.script.calls] == ["initiate", "check", "cancel"]
    assert (await shop.payment(created.payment.id))["status"] == "EXPIRED"


async def test_cash_that_nobody_brought_expires_and_can_still_be_confirmed(shop: Shop) -> None:
    soon = shop.clock() + timedelta(hours=1)
    created = await shop.create(method=MethodInput(gateway="cash"), expires_at=soon)
    shop.clock.forward(hours=2)

    await shop.work_now()
    expired = await shop.payment(created.payment.id)
    again = await shop.work_now()
    request = ConfirmPayment(
        idempotency_key="key",
        payment_id=created.payment.id,
        amount="5000",
        currency="RWF",
        evidence="the courier's receipt",
    )
    late = await payments.confirm_payment(shop.core, OPERATOR, request)

    assert (expired["status"], again) == ("EXPIRED", 0)
    assert late.payment.status is PaymentStatus.SUCCEEDED
    assert late.payment.needs_attention == ("LATE_SUCCESS",)


@pytest.mark.parametrize(
    "answer", [Unknown(cause="timeout"), NotSent(cause="404"), RuntimeError("bug")], ids=repr
)
async def test_no_timer_fails_a_payment_without_an_answer(shop: Shop, answer: Any) -> None:
    created = await shop.create()
    shop.script.says("check", answer)

    for _ in range(20):
        shop.clock.forward(days=1)
        await shop.work_now()

    payment = await shop.payment(created.payment.id)
    assert payment["status"] == "PENDING"
    assert payment["needs_attention"] == '["OUTCOME_UNKNOWN"]'
    assert (await shop.attempt(created.payment.id))["next_check_at"] is None


async def test_an_unknown_submission_is_never_failed_by_a_timer(shop: Shop) -> None:
    shop.script.says("initiate", Unknown(cause="the reply was lost"))
    shop.script.says("check", Unknown(cause="still away"))
    created = await shop.create()

    for _ in range(20):
        shop.clock.forward(days=1)
        await shop.work_now()
    shop.script.says("check", pays)
    done = await payments.check_payment(shop.core, OPERATOR, created.payment.id)

    assert done.payment.status is PaymentStatus.SUCCEEDED


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


PROMPT = ApproveOnPhone(phone=PhoneNumber(PHONE), message="Approve it.")
# What the gateway answers when it is sent an attempt, and then each time it is asked.
STORIES: dict[str, tuple[list[Step], list[Step]]] = {
    "paid at once": ([pays], [pays]),
    "declined": ([DECLINED], [DECLINED]),
    "paid on the third question": ([Accepted()], [Accepted(), Unknown(cause="timeout"), pays]),
    "lost, then paid": ([Unknown(cause="lost")], [Accepted(), pays]),
    "timed out, then paid": ([Accepted()], [TIMED_OUT, pays]),
    "paid, then reversed": ([Accepted()], [pays, DECLINED]),
    "not sent, then paid": ([NotSent(cause="refused"), pays], [pays]),
    "prompted": ([Accepted(next_action=PROMPT)], [Accepted(unmapped="HM"), DECLINED]),
}


async def tell(shop: Shop, story: str) -> UUID:
    """Lets the story happen, with more questions than a schedule would ask."""
    shop.script.says("initiate", *STORIES[story][0])
    shop.script.says("check", *STORIES[story][1])
    created = await shop.create()
    for _ in range(4):
        await shop.run("UPDATE payment_attempt SET next_check_at = now(), lease_until = NULL")
        await shop.work()
    return created.payment.id


@pytest.mark.parametrize("story", STORIES)
async def test_each_visible_change_is_one_version_one_event_one_audit_entry(
    shop: Shop, story: str
) -> None:
    payment_id = await tell(shop, story)

    payment = await shop.payment(payment_id)
    events = await shop.events(payment_id)
    audited = await shop.rows(
        "SELECT action FROM audit_entry WHERE object = $1 ORDER BY id",
        f"payment:{payment['reference']}",
    )
    assert [event["version"] for event in events] == list(range(1, payment["version"] + 1))
    assert [entry["action"] for entry in audited] == [event["type"] for event in events]
    assert events[-1]["status"] == payment["status"]


@pytest.mark.parametrize("story", STORIES)
async def test_the_path_of_a_payment_is_one_of_the_published_machine(
    shop: Shop, story: str
) -> None:
    payment_id = await tell(shop, story)

    path = [PaymentStatus(event["status"]) for event in await shop.events(payment_id)]
    assert path[0] is PaymentStatus.CREATED
    assert all(
        after in PAYMENT_MOVES[before] for before, after in pairwise(path) if before is not after
    )


async def test_the_log_tells_the_story(shop: Shop) -> None:
    shop.script.says("initiate", Unknown(cause="the reply was lost"))
    shop.script.says("check", Accepted(), replace(DECLINED, gateway_code="NO-7"))
    created = await shop.create()

    await shop.work_now()
    await shop.work_now()

    log = await shop.log(created.payment.id)
    assert [(row["kind"], row["outcome"], row["error_code"]) for row in log] == [
        ("INITIATE", "unknown: the reply was lost", None),
        ("STATUS_CHECK", "pending", None),
        ("STATUS_CHECK", "failed: DECLINED_BY_PAYER (NO-7)", "NO-7"),
    ]


LEAKY_ANSWER = (
    '{"access_token": "canary-token-77aa", "payer": "250788123456", "echo": "' + SECRET + '", '
    '"pan": "4111 1111 1111 1111", "callback_url": "https://pay.example.rw/webhooks/x/canary-hook"'
)
CANARIES = ["canary-", "788123456", "4111 1111", "4111111111111111"]


@pytest.mark.parametrize("content_type", ["application/json", "text/html", ""])
@pytest.mark.parametrize("cut", ["", "}"], ids=["cut off", "whole"])
async def test_nothing_secret_is_kept_of_what_was_said(
    shop: Shop, content_type: str, cut: str
) -> None:
    async def provider(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200,
            headers={"content-type": content_type, "set-cookie": "canary-cookie"},
            content=(LEAKY_ANSWER + cut).encode(),
        )

    async def talk(attempt: Attempt) -> Outcome:
        async with open_client(
            "https://provider.example",
            secrets=[SECRET],
            transport=httpx.MockTransport(provider),
        ) as http:
            answer = await http.post(
                f"/pay/{SECRET}?msisdn=250788123456",
                json={"phone": PHONE, "api_key": "canary-key", "note": f"x{SECRET}x"},
                headers={"authorization": "Bearer canary-bearer", "x-api-key": "canary-x"},
            )
            await http.post("/form", data={"client_secret": "canary-form", "to": "0788123456"})
        return Failed(code=FailureCode.OTHER, message=f"{PHONE} said no", gateway_code=answer.text)

    shop.script.says("initiate", talk)

    created = await shop.create()

    log = await shop.rows(
        "SELECT t::text AS line FROM payment_transaction t WHERE payment_id = $1",
        created.payment.id,
    )
    kept = " ".join(row["line"] for row in log)
    kept += str(await shop.value("SELECT string_agg(e.data::text, ' ') FROM event e"))
    kept += str(await shop.value("SELECT string_agg(e::text, ' ') FROM audit_entry e"))
    assert [canary for canary in CANARIES if canary in kept] == []
    assert "provider.example" in kept


async def test_an_answer_that_cannot_be_stored_does_not_lose_the_outcome(shop: Shop) -> None:
    bodies = [
        b'{"status": "\\u0000", "half": "\\ud800", "n": 123456789012345678901234567890, "f": NaN}',
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b"[" * 5_000,
        b"\x00\xff\xfe",
        b'{"\\u0000": 1}',
    ]

    async def provider(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, headers={"content-type": "application/json"}, content=bodies.pop()
        )

    async def talk(attempt: Attempt) -> Outcome:
        async with open_client(
            "https://provider.example", transport=httpx.MockTransport(provider)
        ) as http:
            for _ in range(5):
                await http.get("/status")
        return paid(attempt)

    shop.script.says("initiate", talk)

    created = await shop.create()

    assert created.payment.status is PaymentStatus.SUCCEEDED
    assert len(await shop.log(created.payment.id)) == 5


async def test_each_exchange_is_one_row_and_the_last_one_carries_the_outcome() -> None:
    async def provider(request: httpx.Request) -> httpx.Response:
        return httpx.Response(202 if request.method == "POST" else 200, json={})

    with recording() as recorded:
        async with open_client(
            "https://provider.example", transport=httpx.MockTransport(provider)
        ) as http:
            await http.get("/token")
            await http.post("/pay", json={})

    rows = attempts.log_rows(TransactionKind.INITIATE, "pending", Accepted(), recorded.exchanges, 5)

    assert [(row["outcome"], row["http_status"]) for row in rows] == [
        ("HTTP 200", 200),
        ("pending", 202),
    ]
