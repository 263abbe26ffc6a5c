"""Giving money back: in parts, once, and never on a guess."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plugins.card.tests.conftest import Bench

from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    Outcome,
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from dusangire_card.flutterwave.mapping import is_about, outcome_of_refund

NewAttempt = Callable[..., Attempt]
NewRefund = Callable[..., Refund]
FINAL_AFTER = timedelta(days=15)


async def refunded(bench: Bench, refund: Refund) -> Outcome:
    outcome = await bench.plugin.refund_payment(bench.gateway, refund)
    async with asyncio.timeout(5):
        while isinstance(outcome, Accepted):
            refund = replace(refund, plugin_data=outcome.plugin_data)
            outcome = await bench.plugin.check_refund(bench.gateway, refund)
            await asyncio.sleep(0.01)
    return outcome


async def refunds_of(bench: Bench, attempt: Attempt) -> list[dict[str, Any]]:
    told = (await bench.simulated.truth())["transactions"]
    return [one for one in told if one["original"] == attempt.reference]


async def test_a_refund_gives_back_exactly_what_was_asked(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await bench.paid(new_attempt()), 5_000)

    outcome = await refunded(bench, refund)

    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.reference) == (Money(5_000, "RWF"), refund.reference)
    [told] = await refunds_of(bench, refund.attempt)
    assert (told["amount"], told["moves"]) == ("5000", 1)


async def test_parts_add_up_and_never_to_more_than_was_paid(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = await bench.paid(new_attempt())

    outcomes = [await refunded(bench, new_refund(attempt, part)) for part in (5_000, 9_000, 1_001)]

    assert [type(outcome) for outcome in outcomes] == [Succeeded, Succeeded, Failed]
    assert isinstance(outcomes[2], Failed)
    assert outcomes[2].gateway_code == "exceed"


async def test_a_refund_that_was_taken_is_not_yet_one_that_arrived(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    await bench.simulated.tell("settings", refund_ends="completed")
    refund = new_refund(await bench.paid(new_attempt()))
    taken = await bench.plugin.refund_payment(bench.gateway, refund)
    await asyncio.sleep(0.05)

    later = await bench.plugin.check_refund(bench.gateway, refund)
    bench.simulated.watch.forward(15 * 24 * 3600)
    at_last = await bench.plugin.check_refund(bench.gateway, refund)

    assert isinstance(taken, Accepted)
    assert isinstance(later, Accepted)
    assert isinstance(at_last, Succeeded)


async def test_a_refund_can_fail(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    await bench.simulated.tell("settings", outcomes={"13": "failed"})

    outcome = await refunded(bench, new_refund(await bench.paid(new_attempt()), 13))

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (FailureCode.GATEWAY_ERROR, "failed")


async def test_an_empty_balance_is_named(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    await bench.simulated.tell("settings", outcomes={"14": "insufficient"})

    outcome = await refunded(bench, new_refund(await bench.paid(new_attempt()), 14))

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.INSUFFICIENT_FUNDS
    assert "balance" in outcome.message


@pytest.mark.parametrize("fault", ["lost_replies", "truncated", "oversized"])
async def test_a_lost_answer_is_unknown_and_the_refund_is_found_again(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund, fault: str
) -> None:
    refund = new_refund(await bench.paid(new_attempt()))
    # The list is asked first: only the answer to the refund itself is lost.
    await bench.simulated.tell("faults", **{fault: 1}, only=f"{await charge_id(bench)}/refund")

    lost = await bench.plugin.refund_payment(bench.gateway, refund)
    await bench.simulated.tell("faults")
    again = await bench.plugin.refund_payment(bench.gateway, refund)
    await asyncio.sleep(0.1)
    found = await bench.plugin.check_refund(bench.gateway, refund)

    assert isinstance(lost, Unknown)
    assert isinstance(again, Accepted | Succeeded)
    assert isinstance(found, Succeeded)
    assert len(await refunds_of(bench, refund.attempt)) == 1


async def charge_id(bench: Bench) -> str:
    [told] = (await bench.simulated.truth())["transactions"]
    found: str = told["gateway_transaction_id"]
    return found


async def test_a_refund_that_is_not_seen_is_unknown_and_never_not_sent(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = await bench.paid(new_attempt())
    # Of the same amount and time, but another one.
    await refunded(bench, new_refund(attempt, 5_000))

    outcome = await bench.plugin.check_refund(bench.gateway, new_refund(attempt, 5_000))

    assert isinstance(outcome, Unknown)


async def test_without_knowing_whether_there_is_one_no_refund_is_asked_for(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await bench.paid(new_attempt()))
    await bench.simulated.tell("faults", lost_replies=1, only="/refunds")

    outcome = await bench.plugin.refund_payment(bench.gateway, refund)

    assert isinstance(outcome, Unknown)
    assert not await refunds_of(bench, refund.attempt)


async def test_two_refunds_with_our_reference_are_for_a_person(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await bench.paid(new_attempt()))
    # Not even a race in front of us makes one of it at Flutterwave.
    await asyncio.gather(
        *(bench.plugin.refund_payment(bench.gateway, refund) for _ in range(2)),
    )
    doubled = len(await refunds_of(bench, refund.attempt)) == 2

    outcome = await bench.plugin.check_refund(bench.gateway, refund)

    assert doubled
    assert isinstance(outcome, Unknown)
    assert "more than once" in outcome.cause


async def test_the_charge_is_found_by_our_reference_when_its_id_was_not_kept(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = replace(await bench.paid(new_attempt()), gateway_transaction_id=None)

    assert isinstance(await refunded(bench, new_refund(attempt)), Succeeded)


async def test_what_was_not_paid_is_not_given_back(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = await bench.begin(new_attempt())

    outcome = await bench.plugin.refund_payment(bench.gateway, new_refund(attempt))

    assert isinstance(outcome, Failed)
    assert not await refunds_of(bench, attempt)


async def test_given_back_already_is_asked_about_not_failed(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = await bench.paid(new_attempt())
    await refunded(bench, new_refund(attempt, 15_000))

    outcome = await bench.plugin.refund_payment(bench.gateway, new_refund(attempt, 1_000))

    assert isinstance(outcome, Unknown)
    assert outcome.gateway_code == "409"


def told(**changes: object) -> dict[str, Any]:
    return {"id": 75001, "tx_id": 910000001, "amount_refunded": 5000, "status": "new", **changes}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (told(status="new"), Accepted),
        (told(status="pending"), Accepted),
        (told(status="pending-momo"), Accepted),
        (told(status="processing"), Accepted),
        (told(status="completed"), Accepted),
        (told(status="completed", meta={"source": "availablebalance"}), Accepted),
        (told(status="completed", meta="{broken"), Accepted),
        (told(status="completed", meta='{"disburse_status": "pending"}'), Accepted),
        (told(status="completed", meta={"disburse_status": "successful"}), Succeeded),
        (told(status="completed", meta='{"disburse_status": "successful"}'), Succeeded),
        (told(status="completed-mpgs"), Succeeded),
        (told(status="completed-bank-transfer"), Succeeded),
        (told(status="completed-momo"), Succeeded),
        (told(status="completed-offline"), Succeeded),
        (told(status="completed-preauth"), Succeeded),
        (told(status="successful"), Succeeded),
        (told(status="completed-mpgs", amount_refunded="x"), Unknown),
        (told(status="completed-mpgs", amount_refunded=None), Unknown),
        (told(status="failed"), Failed),
        (told(status="cancelled"), Failed),
        (told(status="completed", meta={"disburse_status": "failed"}), Failed),
        (told(status="new", meta='{"disburse_status": "failed"}'), Failed),
        (told(status="something-new"), Accepted),
        (told(status=None), Unknown),
    ],
)
def test_each_word_of_a_refund_means(
    new_attempt: NewAttempt, new_refund: NewRefund, fields: dict[str, Any], expected: type[Outcome]
) -> None:
    refund = new_refund(new_attempt())

    outcome = outcome_of_refund(fields, refund, datetime.now(UTC), FINAL_AFTER)

    assert isinstance(outcome, expected)
    if isinstance(outcome, Succeeded):
        assert outcome.amount == Money(5_000, "RWF")
    if isinstance(outcome, Accepted):
        known = fields["status"] != "something-new"
        assert outcome.unmapped == (None if known else "something-new")


def test_a_refund_is_ours_by_our_own_words_only(
    new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(new_attempt())

    def ours(**fields: object) -> bool:
        return is_about(told(**fields), refund, "910000001")

    assert ours(comments=f"{refund.reference} REF-2B8D4F6H")
    assert ours(comments=f"x {refund.reference}", tx_id=None)
    assert not ours(comments="REF-2B8D4F6H")
    assert not ours(comments=refund.reference, tx_id=910000002)
    assert not ours(comments=None)
    assert not is_about("text", refund, "910000001")
