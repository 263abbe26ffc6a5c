"""A payer comes back: the truth is asked for, once in a while, and nothing else happens."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from core.tests.conftest import AMOUNT, Shop, open_shop, paid, settle

from dusangire.breaker import Breaker
from dusangire.gateway import Attempt, Failed, FailureCode, NotSent, Outcome, Unknown
from dusangire.lifecycle import LATE_CHECKS, PaymentStatus
from dusangire.returning import Returned, come_back

WITHDRAWN = Failed(code=FailureCode.CANCELLED, message="withdrawn")


async def pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


async def some_time_later(shop: Shop) -> None:
    await shop.run("UPDATE payment_attempt SET asked_at = now() - interval '3 s'")


async def back(shop: Shop, reference: str, **options: Any) -> Returned:
    returned = await come_back(shop.core, reference, **options)
    assert returned is not None
    return returned


async def test_coming_back_finds_out_what_is_true(shop: Shop) -> None:
    created = await shop.create()
    await some_time_later(shop)
    shop.script.says("check", pays)

    returned = await back(shop, created.payment.reference)

    assert returned.payment.status is PaymentStatus.SUCCEEDED
    assert returned.payment.captured == AMOUNT


async def test_however_often_the_page_is_loaded_the_gateway_is_asked_once_in_two_seconds(
    tmp_path: Path, url: str
) -> None:
    async with open_shop(tmp_path, url, poll_scale=1) as shop:
        created = await shop.create()
        asked = [await back(shop, created.payment.reference) for _ in range(3)]
        right_after_sending = len(shop.script.called("check"))

        await some_time_later(shop)
        for _ in range(3):
            await back(shop, created.payment.reference)

        assert {one.payment.status for one in asked} == {PaymentStatus.PENDING}
        assert right_after_sending == 0
        assert len(shop.script.called("check")) == 1


async def test_a_hundred_visitors_at_once_are_one_question(shop: Shop) -> None:
    created = await shop.create()
    await some_time_later(shop)
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def wait(attempt: Attempt) -> Outcome:
        entered.set()
        await go_on.wait()
        return paid(attempt)

    shop.script.says("check", wait)
    first = asyncio.create_task(back(shop, created.payment.reference))
    await entered.wait()
    others = await asyncio.gather(*(back(shop, created.payment.reference) for _ in range(99)))
    go_on.set()

    assert (await first).payment.status is PaymentStatus.SUCCEEDED
    assert {other.payment.status for other in others} == {PaymentStatus.PENDING}
    assert len(shop.script.called("check")) == 1


@pytest.mark.parametrize(
    "reference",
    ["PAY-00000000", "", "PAY-", "pay-0000000", "PAY-000000000", "%", "PAY-0000'; --", "é" * 12],
)
async def test_a_reference_that_is_not_ours_is_nothing(shop: Shop, reference: str) -> None:
    await shop.create()
    await some_time_later(shop)

    assert await come_back(shop.core, reference) is None
    assert shop.script.called("check") == []


async def test_people_may_write_the_reference_in_small_letters(shop: Shop) -> None:
    created = await shop.create()

    returned = await back(shop, f" {created.payment.reference.lower()} ")

    assert returned.payment.id == created.payment.id


async def test_a_slow_gateway_does_not_hold_the_payer_and_its_answer_is_written(
    shop: Shop,
) -> None:
    created = await shop.create()
    await some_time_later(shop)
    go_on = asyncio.Event()

    async def wait(attempt: Attempt) -> Outcome:
        await go_on.wait()
        return paid(attempt)

    shop.script.says("check", wait)

    returned = await back(shop, created.payment.reference, patience=0.05)
    go_on.set()
    await settle()

    assert returned.payment.status is PaymentStatus.PENDING
    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"


@pytest.mark.parametrize("answer", [Unknown(cause="lost"), RuntimeError("bug")], ids=repr)
async def test_whatever_the_gateway_does_the_payer_sees_what_we_know(
    shop: Shop, answer: Any
) -> None:
    created = await shop.create()
    await some_time_later(shop)
    shop.script.says("check", answer)

    returned = await back(shop, created.payment.reference)

    assert returned.payment.status is PaymentStatus.PENDING


async def test_a_busy_gateway_is_left_alone(shop: Shop) -> None:
    created = await shop.create()
    await some_time_later(shop)
    places = (await shop.account()).places

    async with asyncio.timeout(5):
        taken = [asyncio.create_task(places.__aenter__()) for _ in range(places.limit)]
        await asyncio.gather(*taken)
        returned = await back(shop, created.payment.reference)

    assert returned.payment.status is PaymentStatus.PENDING
    assert shop.script.called("check") == []


async def test_a_gateway_that_gives_no_answers_is_left_to_the_probes(shop: Shop) -> None:
    created = await shop.create()
    await some_time_later(shop)
    (await shop.account()).watch.breaker = Breaker(term=1)

    returned = await back(shop, created.payment.reference)

    assert returned.payment.status is PaymentStatus.PENDING
    assert shop.script.called("check") == []


async def test_what_never_left_is_not_sent_by_whoever_comes_by(shop: Shop) -> None:
    shop.script.says("initiate", NotSent(cause="refused"))
    created = await shop.create()
    await some_time_later(shop)

    await back(shop, created.payment.reference)

    assert len(shop.script.calls) == 1


async def test_a_payment_that_is_paid_is_not_asked_about(shop: Shop) -> None:
    shop.script.says("initiate", pays)
    created = await shop.create()
    await some_time_later(shop)

    await back(shop, created.payment.reference)

    assert shop.script.called("check") == []


async def test_who_paid_in_the_last_second_and_comes_back_has_paid(shop: Shop) -> None:
    created = await shop.create()
    shop.script.says("cancel", WITHDRAWN)
    shop.clock.forward(hours=25)
    await shop.work_now()
    await some_time_later(shop)
    shop.script.says("check", pays)

    returned = await back(shop, created.payment.reference)

    assert returned.payment.status is PaymentStatus.SUCCEEDED
    assert returned.payment.needs_attention == ("LATE_SUCCESS",)


async def test_reloading_does_not_use_up_the_questions_of_the_days_to_come(shop: Shop) -> None:
    created = await shop.create()
    shop.script.says("cancel", WITHDRAWN)
    shop.clock.forward(hours=25)
    await shop.work_now()

    for _ in range(len(LATE_CHECKS) + 5):
        await some_time_later(shop)
        await back(shop, created.payment.reference)

    attempt = await shop.attempt(created.payment.id)
    assert len(shop.script.called("check")) == len(LATE_CHECKS) + 5
    assert attempt["checks"] <= 1
    assert attempt["next_check_at"] is not None


async def test_the_payer_goes_on_to_where_the_last_attempt_says(shop: Shop) -> None:
    declined = Failed(code=FailureCode.DECLINED_BY_PAYER, message="No.")
    shop.script.says("initiate", declined)
    created = await shop.create(return_url="https://shop.example.rw/a")
    first = await back(shop, created.payment.reference)
    await shop.try_again(created.payment.id, return_url="https://shop.example.rw/b")

    second = await back(shop, created.payment.reference)

    assert first.return_url == "https://shop.example.rw/a"
    assert second.return_url == "https://shop.example.rw/b"


async def test_a_payment_without_a_method_has_nobody_to_ask(shop: Shop) -> None:
    created = await shop.create(method=None, return_url="https://shop.example.rw/a")

    returned = await back(shop, created.payment.reference)

    assert returned.payment.status is PaymentStatus.CREATED
    assert returned.return_url == "https://shop.example.rw/a"
