"""Money goes back once, no more than came, and only as two people wanted it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from core.tests.conftest import paid
from core.tests.refunding import Refunder, RefundShop, given_back, open_refund_shop

from dusangire import events, payments, refund_work, refunds, sequencer
from dusangire.access import OPERATOR, Actor
from dusangire.errors import (
    CallerError,
    ConfirmationNeeded,
    CurrencyNotSupported,
    Forbidden,
    IdempotencyMismatch,
    IllegalState,
    Invalid,
    InvalidAmount,
    NotFound,
    RefundExceedsCaptured,
    RefundNotSupported,
    SelfApproval,
    StaleApproval,
)
from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    Heard,
    NotSent,
    Outcome,
    Refund,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.inbox import accept
from dusangire.intake import ConfirmPayment, MethodInput
from dusangire.money import Money
from dusangire.permissions import Role, Scope
from dusangire.records import RefundRequest


@pytest.fixture
async def shop(tmp_path: Path, url: str) -> AsyncIterator[RefundShop]:
    async with open_refund_shop(tmp_path, url) as shop:
        yield shop


KEY = Actor(kind="api_key", name="shop", scopes=frozenset({Scope.REFUNDS_REQUEST}))


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_refund_that_was_approved_goes_back_and_the_payment_says_so(
    shop: RefundShop,
) -> None:
    payment_id = await shop.pay()

    refund = await shop.approved(payment_id, amount="2000")
    await shop.give_back()

    row, payment = await shop.refund_row(refund.id), await shop.payment(payment_id)
    assert (row["status"], row["gateway_transaction_id"]) == ("SUCCEEDED", "GR-1")
    assert (payment["status"], payment["refunded"], payment["reserved"]) == (
        "PARTIALLY_REFUNDED",
        2000,
        0,
    )
    assert await shop.told(payment_id) == [
        "refund.requested",
        "refund.approved",
        "refund.succeeded",
    ]


async def test_without_an_amount_all_that_is_left_goes_back(shop: RefundShop) -> None:
    payment_id = await shop.pay()
    await shop.approved(payment_id, amount="2000")
    await shop.give_back()

    rest = await shop.approved(payment_id)
    await shop.give_back()

    assert rest.amount == Money(3000, "RWF")
    payment = await shop.payment(payment_id)
    assert (payment["status"], payment["refunded"]) == ("REFUNDED", 5000)


@pytest.mark.parametrize(
    ("wanted", "error", "field"),
    [
        ({"amount": "5001"}, RefundExceedsCaptured, ("amount", "amount")),
        ({"amount": "0"}, InvalidAmount, ("amount", "amount")),
        ({"amount": "-5"}, InvalidAmount, ("amount", "amount")),
        ({"amount": "1.5"}, InvalidAmount, ("amount", "amount")),
        ({"amount": "5", "currency": "USD"}, CurrencyNotSupported, ("amount", "currency")),
        ({"payment_id": uuid4()}, NotFound, ("paymentId",)),
        ({"attempt_id": uuid4()}, NotFound, ("attemptId",)),
        ({"reason": " "}, CallerError, ("reason",)),
    ],
)
async def test_what_cannot_be_given_back_is_refused_before_anything_is_called(
    shop: RefundShop, wanted: dict[str, Any], error: type[CallerError], field: tuple[str, ...]
) -> None:
    payment_id = await shop.pay()
    before = await shop.counts()

    with pytest.raises(error) as refused:
        await shop.ask_back(**{"payment_id": payment_id, **wanted})

    assert refused.value.field == field
    assert await shop.counts() == before
    assert shop.gateway.paid_out == []


async def test_a_payment_in_doubt_gives_nothing_back(shop: RefundShop) -> None:
    shop.script.says("initiate", Unknown(cause="lost"))
    payment_id = (await shop.create()).payment.id

    with pytest.raises(IllegalState):
        await shop.ask_back(payment_id)


async def test_what_is_asked_for_is_held_back(shop: RefundShop) -> None:
    payment_id = await shop.pay()
    await shop.ask_back(payment_id, amount="3000")

    with pytest.raises(RefundExceedsCaptured, match="2,000 RWF can be given back"):
        await shop.ask_back(payment_id, amount="2001")


async def test_the_same_key_asks_once(shop: RefundShop) -> None:
    payment_id = await shop.pay()

    first = await shop.ask_back(payment_id, idempotency_key="k", amount="5000")
    again = await shop.ask_back(payment_id, idempotency_key="k", amount="5000.0")

    assert (first.replayed, again.replayed) == (False, True)
    assert first.refund == again.refund
    with pytest.raises(IdempotencyMismatch):
        await shop.ask_back(payment_id, idempotency_key="k", amount="1")


async def test_a_gateway_that_gives_back_whole_payments_is_asked_for_no_part(
    tmp_path: Path, url: str
) -> None:
    async with open_refund_shop(tmp_path, url, gateway=Refunder(partial=False)) as shop:
        payment_id = await shop.pay()

        with pytest.raises(RefundNotSupported, match="whole payments only"):
            await shop.ask_back(payment_id, amount="4999")
        await shop.ask_back(payment_id)


async def test_each_of_two_captures_gives_back_no_more_than_it_brought(shop: RefundShop) -> None:
    payment_id = await _paid_twice(shop)
    first = (await shop.attempt(payment_id, 1))["id"]

    await shop.ask_back(payment_id, amount="3000", attempt_id=first)

    with pytest.raises(RefundExceedsCaptured, match="2,000 RWF can be given back"):
        await shop.ask_back(payment_id, amount="3000", attempt_id=first)
    second = (await shop.attempt(payment_id, 2))["id"]
    await shop.ask_back(payment_id, amount="5000", attempt_id=second)
    rest = await shop.ask_back(payment_id)
    assert (await shop.refund_row(rest.refund.id))["attempt_id"] == first


async def test_of_two_captures_nobody_guesses_which_one_goes_back(shop: RefundShop) -> None:
    payment_id = await _paid_twice(shop)
    attempts = [str((await shop.attempt(payment_id, number))["id"]) for number in (1, 2)]

    with pytest.raises(Invalid) as refused:
        await shop.ask_back(payment_id)

    assert refused.value.field == ("attemptId",)
    assert all(attempt in refused.value.message for attempt in attempts)
    assert (await shop.payment(payment_id))["reserved"] == 0


async def _paid_twice(shop: RefundShop) -> Any:
    """A payment whose first attempt succeeded after the second one had."""
    shop.script.says("initiate", Failed(code=FailureCode.PAYER_TIMEOUT, message="no answer"))
    payment_id = (await shop.create()).payment.id
    shop.script.says("initiate", Accepted())
    await shop.try_again(payment_id)

    async def pays(attempt: Attempt) -> Outcome:
        return paid(attempt)

    shop.script.says("check", pays)
    await shop.work_now()
    await shop.work_now()
    assert (await shop.payment(payment_id))["captured"] == 10_000
    return payment_id


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_no_sets_the_amount_free(shop: RefundShop) -> None:
    payment_id, approver = await shop.pay(), await shop.hire()
    asked = await shop.ask_back(payment_id)

    done = await shop.reject(asked.refund, approver)
    again = await shop.reject(asked.refund, approver)

    assert (done.refund.status, done.replayed, again.replayed) == ("REJECTED", False, True)
    assert (await shop.payment(payment_id))["reserved"] == 0
    assert await shop.told(payment_id) == ["refund.requested", "refund.rejected"]


async def test_a_request_can_be_taken_back_until_it_is_decided(shop: RefundShop) -> None:
    payment_id = await shop.pay()
    asked = (await shop.ask_back(payment_id)).refund
    decided = await shop.approved(await shop.pay())

    done = await shop.cancel(asked, await shop.hire(Role.OPERATOR))

    assert done.refund.status == "CANCELLED"
    assert (await shop.payment(payment_id))["reserved"] == 0
    with pytest.raises(IllegalState):
        await shop.cancel(decided, await shop.hire(Role.OPERATOR))


async def test_clicking_twice_approves_once(shop: RefundShop) -> None:
    payment_id, approver = await shop.pay(), await shop.hire()
    asked = (await shop.ask_back(payment_id)).refund

    first = await shop.approve(asked, approver)
    again = await shop.approve(asked, approver)

    assert (first.replayed, again.replayed) == (False, True)
    assert await shop.told(payment_id) == ["refund.requested", "refund.approved"]


async def test_a_large_refund_needs_two_different_people(tmp_path: Path, url: str) -> None:
    limit = (Money(4999, "RWF"), Money(100, "USD"))
    async with open_refund_shop(tmp_path, url, two_approvers_above=limit) as shop:
        payment_id = await shop.pay("10000")
        small = (await shop.ask_back(payment_id, amount="4999")).refund
        large = (await shop.ask_back(payment_id, amount="5000")).refund
        one, two = await shop.hire(), await shop.hire()

        halfway = await shop.approve(large, one)
        twice = await shop.approve(large, one)
        done = await shop.approve(large, two)

        assert (small.approvals_needed, large.approvals_needed) == (1, 2)
        assert (halfway.refund.status, twice.refund.status) == ("REQUESTED", "REQUESTED")
        assert (done.refund.status, done.refund.decided_by and done.refund.decided_by.name) == (
            "PROCESSING",
            two.name,
        )
        said = (await refunds.approvals([large.id]))[large.id]
        assert [approval.by.name for approval in said] == [one.name, two.name]


async def test_a_large_refund_in_small_parts_needs_two_people_too(tmp_path: Path, url: str) -> None:
    limit = (Money(2000, "RWF"),)
    async with open_refund_shop(tmp_path, url, two_approvers_above=limit) as shop:
        payment_id = await shop.pay()

        gone = await shop.approved(payment_id, amount="1000")
        await shop.give_back()
        held = (await shop.ask_back(payment_id, amount="1000")).refund
        above = (await shop.ask_back(payment_id, amount="1")).refund

        needed = [one.approvals_needed for one in (gone, held, above)]
        assert (await shop.payment(payment_id))["refunded"] == 1000
        assert needed == [1, 1, 2]


async def test_nobody_approves_what_they_asked_for(shop: RefundShop) -> None:
    approver = await shop.hire()
    asked = (await shop.ask_back(await shop.pay(), approver)).refund

    with pytest.raises(SelfApproval):
        await shop.approve(asked, approver)
    with pytest.raises(SelfApproval):
        await shop.reject(asked, approver)


async def test_nobody_approves_what_their_key_asked_for(shop: RefundShop) -> None:
    approver = await shop.hire()
    key = replace(KEY, staff_id=approver.staff_id)
    asked = (await shop.ask_back(await shop.pay(), key)).refund

    with pytest.raises(SelfApproval):
        await shop.approve(asked, approver)


async def test_an_approval_names_what_it_saw(shop: RefundShop) -> None:
    payment_id = await shop.pay()
    one = (await shop.ask_back(payment_id, amount="100")).refund
    other = (await shop.ask_back(payment_id, amount="4900")).refund

    with pytest.raises(StaleApproval):
        await shop.approve(other, await shop.hire(), digest=one.digest)


@pytest.mark.parametrize("actor", [OPERATOR, KEY, replace(KEY, scopes=frozenset({Scope.ADMIN}))])
async def test_neither_keys_nor_the_command_line_decide_or_settle(
    shop: RefundShop, actor: Actor
) -> None:
    asked = (await shop.ask_back(await shop.pay())).refund

    for deed in (shop.approve, shop.reject, shop.settle):
        with pytest.raises(Forbidden):
            await deed(asked, actor)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_only_approvers_approve(shop: RefundShop, role: Role) -> None:
    asked = (await shop.ask_back(await shop.pay())).refund

    with pytest.raises(Forbidden):
        await shop.approve(asked, await shop.hire(role))


async def test_an_approver_shows_first_that_it_is_them(shop: RefundShop) -> None:
    asked = (await shop.ask_back(await shop.pay())).refund

    with pytest.raises(ConfirmationNeeded):
        await shop.approve(asked, await shop.hire(fresh=False))


@pytest.mark.parametrize("change", ["disabled_at = now()", "role = 'OPERATOR'"])
async def test_a_session_that_remembers_an_old_right_approves_nothing(
    shop: RefundShop, change: str
) -> None:
    asked, approver = (await shop.ask_back(await shop.pay())).refund, await shop.hire()
    await _change(shop, approver, change)

    with pytest.raises(Forbidden):
        await shop.approve(asked, approver)


@pytest.mark.parametrize("change", ["disabled_at = now()", "role = 'OPERATOR'"])
async def test_a_right_taken_away_before_it_runs_voids_the_approval(
    shop: RefundShop, change: str
) -> None:
    payment_id, approver = await shop.pay(), await shop.hire()
    asked = (await shop.ask_back(payment_id)).refund
    await shop.approve(asked, approver)

    await _change(shop, approver, change)
    await shop.give_back()
    voided = await shop.refund_row(asked.id)
    await shop.approve(asked, await shop.hire())
    await shop.give_back()

    assert (voided["status"], voided["decided_by_id"], voided["version"]) == ("REQUESTED", None, 3)
    assert len(shop.gateway.paid_out) == 1
    assert await shop.told(payment_id) == [
        "refund.requested",
        "refund.approved",
        "refund.requested",
        "refund.approved",
        "refund.succeeded",
    ]
    actions = await shop.rows("SELECT action FROM audit_entry WHERE object LIKE 'refund:%'")
    assert "refund.approvals_voided" in {row["action"] for row in actions}


async def test_a_right_taken_away_while_the_payment_is_looked_at_still_counts(
    shop: RefundShop,
) -> None:
    payment_id, approver = await shop.pay(), await shop.hire()
    asked = (await shop.ask_back(payment_id)).refund
    await shop.approve(asked, approver)

    async def meanwhile(attempt: Attempt) -> Outcome:
        await _change(shop, approver, "disabled_at = now()")
        return paid(attempt)

    shop.script.says("check", meanwhile)
    await shop.give_back()

    assert (await shop.refund_row(asked.id))["status"] == "REQUESTED"
    assert shop.gateway.paid_out == []


async def _change(shop: RefundShop, person: Actor, change: str) -> None:
    await shop.run(f"UPDATE staff SET {change} WHERE id = $1", person.staff_id)


@pytest.mark.parametrize("ended", ["reject", "cancel"])
async def test_what_has_ended_is_not_approved(shop: RefundShop, ended: str) -> None:
    asked = (await shop.ask_back(await shop.pay())).refund
    await getattr(shop, ended)(asked, await shop.hire())

    with pytest.raises(IllegalState):
        await shop.approve(asked, await shop.hire())
    await shop.give_back()
    assert shop.gateway.paid_out == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE refund SET decided_by_id = requested_by_id",
        "UPDATE refund SET status = 'PROCESSING'",
        "UPDATE refund SET status = 'SUCCEEDED'",
        "UPDATE refund SET amount = 1",
        "UPDATE refund SET reason = 'another'",
        "UPDATE refund SET approvals_needed = 2",
        "UPDATE refund SET requested_by_id = NULL",
        "UPDATE refund SET status = 'UNKNOWN', settled_by_id = requested_by_id",
        (
            "INSERT INTO refund_approval (id, refund_id, staff_id, digest) "
            "SELECT gen_random_uuid(), id, requested_by_id, digest FROM refund"
        ),
        (
            "INSERT INTO refund_approval (id, refund_id, staff_id, digest) "
            "SELECT gen_random_uuid(), refund.id, staff.id, 'other' FROM refund, staff "
            "WHERE staff.role = 'APPROVER'"
        ),
        (
            "INSERT INTO refund (id, reference, payment_id, attempt_id, gateway_id, status, "
            "amount, currency, reason, digest, by_hand, requested_by_kind, requested_by_name, "
            "gateway_reference) SELECT gen_random_uuid(), 'REF-X', payment_id, attempt_id, "
            "gateway_id, 'PROCESSING', amount, currency, reason, digest, by_hand, 'staff', 'x', "
            "'other' FROM refund"
        ),
    ],
)
async def test_the_database_itself_wants_four_eyes(shop: RefundShop, statement: str) -> None:
    await shop.hire()
    await shop.ask_back(await shop.pay(), await shop.hire(Role.OPERATOR))

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await shop.run(statement)


async def test_an_approval_is_never_changed(shop: RefundShop) -> None:
    await shop.approved(await shop.pay())

    for change in ("approved_at = now()", "staff_id = staff_id, digest = 'x'"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await shop.run(f"UPDATE refund_approval SET {change}")


async def test_what_was_changed_behind_our_back_is_not_sent(shop: RefundShop) -> None:
    refund = await shop.approved(await shop.pay(), amount="100")
    await shop.run("ALTER TABLE refund DISABLE TRIGGER refund_as_approved")
    await shop.run("UPDATE refund SET amount = 5000")
    await shop.run("ALTER TABLE refund ENABLE TRIGGER refund_as_approved")

    await shop.give_back()

    assert shop.gateway.paid_out == []
    assert (await shop.refund_row(refund.id))["status"] == "REQUESTED"


# ── at the gateway ───────────────────────────────────────────────────────────────────────────────


async def test_the_payment_is_looked_at_before_anything_is_sent(shop: RefundShop) -> None:
    await shop.approved(await shop.pay())
    shop.gateway.calls.clear()

    await shop.give_back()

    assert [hook for hook, _ in shop.gateway.calls] == ["check", "refund"]


@pytest.mark.parametrize("said", [Unknown(cause="?"), Accepted(), NotSent(cause="not known")])
async def test_a_payment_that_cannot_be_confirmed_gives_nothing_back_yet(
    shop: RefundShop, said: Outcome
) -> None:
    payment_id = await shop.pay()
    refund = await shop.approved(payment_id)

    shop.script.says("check", said)
    await shop.give_back()
    waiting = await shop.refund_row(refund.id)
    shop.clock.forward(days=2)
    await shop.give_back()

    assert shop.gateway.paid_out == []
    assert (waiting["status"], waiting["sent_at"]) == ("PROCESSING", None)
    ended = await shop.refund_row(refund.id)
    assert (ended["status"], '"NOT_SENT"' in ended["failure"]) == ("FAILED", True)
    assert (await shop.payment(payment_id))["reserved"] == 0


async def test_a_payment_that_the_gateway_took_back_is_not_given_back_again(
    shop: RefundShop,
) -> None:
    payment_id = await shop.pay()
    refund = await shop.approved(payment_id)

    shop.script.says("check", Failed(code=FailureCode.OTHER, message="reversed"))
    await shop.give_back()

    assert shop.gateway.paid_out == []
    assert (await shop.refund_row(refund.id))["status"] == "FAILED"
    assert "REVERSED_BY_GATEWAY" in (await shop.payment(payment_id))["needs_attention"]


async def test_a_refused_refund_comes_back_with_its_reason_and_sets_the_amount_free(
    shop: RefundShop,
) -> None:
    payment_id = await shop.pay()
    refund = await shop.approved(payment_id)
    no = Failed(code=FailureCode.PAYER_BLOCKED, message="The wallet is closed.", gateway_code="77")

    shop.gateway.answers("refund", no)
    await shop.give_back()

    read = await refunds.refund(shop.core, OPERATOR, id=refund.id)
    assert read is not None
    assert read.failure is not None
    assert (read.status, read.failure.code, read.failure.gateway_code) == (
        "FAILED",
        FailureCode.PAYER_BLOCKED,
        "77",
    )
    assert (await shop.payment(payment_id))["reserved"] == 0
    await shop.ask_back(payment_id)


async def test_what_never_left_is_sent_again(shop: RefundShop) -> None:
    refund = await shop.approved(await shop.pay())

    shop.gateway.answers("refund", NotSent(cause="refused"), _gives_back)
    await shop.give_back()
    await shop.give_back()

    assert len(shop.gateway.paid_out) == 2
    assert (await shop.refund_row(refund.id))["status"] == "SUCCEEDED"


async def test_an_accepted_refund_is_asked_about_until_it_is_done(shop: RefundShop) -> None:
    payment_id = await shop.pay()
    refund = await shop.approved(payment_id)

    shop.gateway.answers("refund", Accepted(plugin_data={"their": "id"}))
    shop.gateway.answers("check_of_refund", Accepted(), Unknown(cause="?"), _gives_back)
    for _ in range(4):
        await shop.give_back()

    assert (await shop.refund_row(refund.id))["status"] == "SUCCEEDED"
    assert await shop.told(payment_id) == [
        "refund.requested",
        "refund.approved",
        "refund.processing",
        "refund.succeeded",
    ]
    kinds = [row["kind"] for row in await shop.log(payment_id)]
    assert kinds == ["INITIATE", "STATUS_CHECK", "REFUND", *["REFUND_STATUS"] * 3]


@pytest.mark.parametrize(
    "changes", [{"amount": Money(1, "RWF")}, {"amount": Money(5000, "USD")}, {"reference": "other"}]
)
async def test_an_answer_that_contradicts_what_was_sent_is_for_a_person(
    shop: RefundShop, changes: dict[str, Any]
) -> None:
    payment_id = await shop.pay()
    refund = await shop.approved(payment_id)

    async def nonsense(sent: Refund) -> Outcome:
        return given_back(sent, **changes)

    shop.gateway.answers("refund", nonsense)
    await shop.give_back()

    payment = await shop.payment(payment_id)
    assert (await shop.refund_row(refund.id))["status"] == "UNKNOWN"
    assert (payment["reserved"], payment["refunded"]) == (5000, 0)
    assert "REFUND_UNKNOWN" in payment["needs_attention"]


async def test_where_a_repetition_is_paid_once_a_refund_nobody_knows_is_sent_again(
    tmp_path: Path, url: str
) -> None:
    async with open_refund_shop(tmp_path, url, gateway=Refunder(repeatable=True)) as shop:
        refund = await shop.approved(await shop.pay())
        shop.gateway.answers("refund", Unknown(cause="lost"), _gives_back)
        shop.gateway.answers("check_of_refund", NotSent(cause="not known"))

        for _ in range(3):
            await shop.give_back()
        asked_only = len(shop.gateway.paid_out)
        shop.clock.forward(minutes=2)
        for _ in range(2):
            await shop.give_back()

        assert asked_only == 1
        assert len(shop.gateway.paid_out) == 2
        assert len(set(shop.gateway.paid_out)) == 1
        assert (await shop.refund_row(refund.id))["status"] == "SUCCEEDED"


async def _gives_back(refund: Refund) -> Outcome:
    return given_back(refund)


async def _free_to_be_sent_again(shop: RefundShop) -> RefundRequest:
    """A refund whose answer was lost, and which its gateway does not know."""
    refund = await shop.approved(await shop.pay())
    shop.gateway.answers("refund", Unknown(cause="lost"))
    shop.gateway.answers("check_of_refund", NotSent(cause="not known"))
    for _ in range(4):
        await shop.give_back()
        shop.clock.forward(minutes=1)
    row = await shop.refund_row(refund.id)
    assert (row["status"], row["sent_at"], row["sends"]) == ("UNKNOWN", None, 1)
    return refund


@pytest.mark.parametrize("why", ["the payment failed", "too late", "no right"])
async def test_a_refund_in_doubt_that_is_not_sent_again_is_asked_about(
    tmp_path: Path, url: str, why: str
) -> None:
    async with open_refund_shop(tmp_path, url, gateway=Refunder(repeatable=True)) as shop:
        refund = await _free_to_be_sent_again(shop)
        match why:
            case "the payment failed":
                failed = Failed(code=FailureCode.OTHER, message="It was given back.")
                shop.script.says("check", failed)
            case "too late":
                shop.script.says("check", Unknown(cause="no answer"))
                shop.clock.forward(days=2)
            case _:
                await shop.run("UPDATE staff SET disabled_at = now() WHERE role = 'APPROVER'")

        await shop.give_back()
        held = await shop.refund_row(refund.id)
        shop.gateway.answers("check_of_refund", _gives_back)
        await shop.give_back()

        assert (held["status"], held["sends"]) == ("UNKNOWN", 1)
        assert (await shop.refund_row(refund.id))["status"] == "SUCCEEDED"


async def test_a_refund_that_nobody_ever_knows_is_left_to_a_person_in_the_end(
    tmp_path: Path, url: str
) -> None:
    async with open_refund_shop(tmp_path, url, gateway=Refunder(repeatable=True)) as shop:
        refund = await _free_to_be_sent_again(shop)
        shop.script.says("check", Unknown(cause="no answer"))
        shop.clock.forward(days=2)

        for _ in range(30):
            await shop.give_back()
            shop.clock.forward(hours=7)

        row = await shop.refund_row(refund.id)
        assert (row["status"], row["next_check_at"]) == ("UNKNOWN", None)


# ── by hand, and in doubt ────────────────────────────────────────────────────────────────────────


async def _by_hand(shop: RefundShop) -> RefundRequest:
    """An approved refund of cash."""
    payment = (await shop.create(method=MethodInput(gateway="cash"))).payment
    confirmed = ConfirmPayment(
        idempotency_key="c", payment_id=payment.id, amount="5000", currency="RWF", evidence="seen"
    )
    await payments.confirm_payment(shop.core, OPERATOR, confirmed)
    return await shop.approved(payment.id)


async def test_cash_goes_back_by_hand_and_somebody_says_so_with_evidence(shop: RefundShop) -> None:
    refund = await _by_hand(shop)
    await shop.give_back()
    waiting = await shop.refund_row(refund.id)

    done = await shop.settle(refund, await shop.hire(Role.OPERATOR))

    assert (waiting["status"], waiting["by_hand"]) == ("PROCESSING", True)
    assert (done.refund.status, done.refund.evidence) == ("SUCCEEDED", "I saw it")
    assert (await shop.payment(refund.payment_id))["status"] == "REFUNDED"
    assert [row["kind"] for row in await shop.log(refund.payment_id)][-1] == "MANUAL"


async def test_settling_twice_settles_once(shop: RefundShop) -> None:
    refund, settler = await _by_hand(shop), await shop.hire(Role.OPERATOR)

    first = await shop.settle(refund, settler)
    again = await shop.settle(refund, settler)

    assert (first.replayed, again.replayed) == (False, True)
    with pytest.raises(IllegalState):
        await shop.settle(refund, await shop.hire(Role.OPERATOR))


async def test_cash_approved_by_somebody_who_left_is_approved_again_first(
    shop: RefundShop,
) -> None:
    refund, settler = await _by_hand(shop), await shop.hire(Role.OPERATOR)
    await shop.run("UPDATE staff SET disabled_at = now() WHERE role = 'APPROVER'")

    with pytest.raises(IllegalState, match="approved again"):
        await shop.settle(refund, settler)

    assert (await shop.refund_row(refund.id))["status"] == "REQUESTED"
    await shop.approve(refund, await shop.hire())
    assert (await shop.settle(refund, settler)).refund.status == "SUCCEEDED"


async def test_the_same_words_for_the_opposite_are_no_repetition(shop: RefundShop) -> None:
    refund, settler = await _by_hand(shop), await shop.hire(Role.OPERATOR)
    await shop.settle(refund, settler, succeeded=False)

    with pytest.raises(IllegalState, match="FAILED already"):
        await shop.settle(refund, settler, succeeded=True)


async def test_what_the_gateway_is_doing_is_not_settled_by_hand(shop: RefundShop) -> None:
    refund = await shop.approved(await shop.pay())

    with pytest.raises(IllegalState, match="tells by itself"):
        await shop.settle(refund, await shop.hire())


async def _in_doubt(shop: RefundShop, asker: Actor) -> RefundRequest:
    asked = (await shop.ask_back(await shop.pay(), asker)).refund
    await shop.approve(asked, await shop.hire())
    shop.gateway.answers("refund", Unknown(cause="lost"))
    await shop.give_back()
    assert (await shop.refund_row(asked.id))["status"] == "UNKNOWN"
    return asked


async def test_a_refund_in_doubt_is_settled_by_another_person_than_asked_for_it(
    shop: RefundShop,
) -> None:
    asker = await shop.hire()
    refund = await _in_doubt(shop, asker)

    with pytest.raises(SelfApproval):
        await shop.settle(refund, asker)
    with pytest.raises(Forbidden):
        await shop.settle(refund, await shop.hire(Role.OPERATOR))
    with pytest.raises(ConfirmationNeeded):
        await shop.settle(refund, await shop.hire(fresh=False))
    done = await shop.settle(refund, await shop.hire(), succeeded=False)

    payment = await shop.payment(refund.payment_id)
    assert done.refund.status == "FAILED"
    assert (payment["reserved"], payment["refunded"]) == (0, 0)
    assert payment["needs_attention"] == "[]"


async def test_a_word_of_the_gateway_comes_after_what_a_person_found(shop: RefundShop) -> None:
    refund = await _in_doubt(shop, await shop.hire())
    await shop.settle(refund, await shop.hire(), succeeded=False)

    await _hear(shop, refund, signed=True)

    payment = await shop.payment(refund.payment_id)
    assert (await shop.refund_row(refund.id))["status"] == "SUCCEEDED"
    assert payment["refunded"] == 5000
    assert "REFUND_UNKNOWN" in payment["needs_attention"]


async def test_a_late_word_with_nothing_left_calls_a_person(shop: RefundShop) -> None:
    refund = await _in_doubt(shop, await shop.hire())
    await shop.settle(refund, await shop.hire(), succeeded=False)
    await shop.ask_back(refund.payment_id, amount="1")

    await _hear(shop, refund, signed=True)

    payment = await shop.payment(refund.payment_id)
    assert (await shop.refund_row(refund.id))["status"] == "FAILED"
    assert (payment["refunded"], payment["reserved"]) == (0, 1)
    assert "REFUND_UNKNOWN" in payment["needs_attention"]


# ── what gateways tell by themselves ─────────────────────────────────────────────────────────────


async def _hear(shop: RefundShop, refund: RefundRequest, *, signed: bool) -> None:
    row = await shop.refund_row(refund.id)
    reference = row["gateway_reference"]
    sent = Heard(
        reference=reference,
        trust=Trust.SIGNED if signed else Trust.UNSIGNED,
        dedupe_key=str(uuid4()),
        outcome=given_back(_Said(refund.amount, reference)) if signed else None,  # type: ignore[arg-type]
    )
    shop.script.reads = lambda _request: sent
    account = await shop.account()
    await accept(
        shop.core,
        account.code,
        account.webhook_token,
        WebhookRequest(method="POST", headers={}, body=b"{}"),
    )
    await shop.read_mail()


class _Said:
    def __init__(self, amount: Money, reference: str) -> None:
        self.amount, self.reference = amount, reference


async def test_a_signed_message_about_a_refund_counts(shop: RefundShop) -> None:
    refund = await _in_doubt(shop, await shop.hire())

    await _hear(shop, refund, signed=True)

    assert (await shop.refund_row(refund.id))["status"] == "SUCCEEDED"
    assert (await shop.log(refund.payment_id))[-1]["kind"] == "CALLBACK"


async def test_an_unsigned_message_about_a_refund_only_makes_us_ask(shop: RefundShop) -> None:
    refund = await _in_doubt(shop, await shop.hire())
    later = (await shop.refund_row(refund.id))["next_check_at"]

    await _hear(shop, refund, signed=False)

    row = await shop.refund_row(refund.id)
    assert (row["status"], row["next_check_at"] < later) == ("UNKNOWN", True)


@pytest.mark.parametrize("outcome", [Accepted(), Failed(code=FailureCode.OTHER, message="no")])
async def test_while_it_is_sent_a_signed_message_without_success_decides_nothing(
    shop: RefundShop, outcome: Outcome
) -> None:
    refund = await _in_doubt(shop, await shop.hire())
    await shop.run("UPDATE refund SET asked_at = NULL, lease_until = now() + interval '1 minute'")
    before = await shop.refund_row(refund.id)

    await refund_work.heard(shop.core, await shop.account(), refund.id, outcome, {})

    after = await shop.refund_row(refund.id)
    assert {**after, "next_check_at": None} == {**before, "next_check_at": None}
    assert after["next_check_at"] <= before["next_check_at"]


async def test_who_watches_a_payment_sees_its_refund(shop: RefundShop) -> None:
    started = asyncio.Event()
    tasks = [
        asyncio.create_task(sequencer.run(shop.core, shop.url)),
        asyncio.create_task(shop.core.tail.run(shop.url, started)),
    ]
    await started.wait()
    payment_id = await shop.pay()
    seen = []

    async with aclosing(events.watch_payment(shop.core, OPERATOR, payment_id)) as told:
        await anext(told)
        await shop.approved(payment_id)
        await shop.give_back()
        async with asyncio.timeout(10):
            async for event in told:
                assert event.payment is not None
                seen.append(
                    (event.type, event.refund and event.refund.status, event.payment.status)
                )
                if event.type == "refund.succeeded":
                    break
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert seen == [
        ("refund.requested", "REQUESTED", "SUCCEEDED"),
        ("refund.approved", "PROCESSING", "SUCCEEDED"),
        ("refund.succeeded", "SUCCEEDED", "REFUNDED"),
    ]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


async def test_refunds_are_listed_by_status_and_page(shop: RefundShop) -> None:
    asked = [(await shop.ask_back(await shop.pay())).refund for _ in range(3)]
    await shop.reject(asked[0], await shop.hire())

    first = await refunds.refunds(shop.core, KEY, first=2)
    rest = await refunds.refunds(shop.core, KEY, first=2, after=first.cursors[-1])
    rejected = await refunds.refunds(shop.core, KEY, status=[asked[0].status.REJECTED])

    found = [one.id for one in [*first.items, *rest.items]]
    assert found == [one.id for one in reversed(asked)]
    assert (first.has_next, rest.has_next) == (True, False)
    assert [one.id for one in rejected.items] == [asked[0].id]


async def test_every_deed_is_in_the_audit_with_who_did_it(shop: RefundShop) -> None:
    asker, approver = await shop.hire(Role.OPERATOR), await shop.hire()
    asked = (await shop.ask_back(await shop.pay(), asker)).refund
    await shop.approve(asked, approver, note="seen the bag")
    await shop.give_back()

    rows = await shop.rows(
        "SELECT actor_name, action, detail FROM audit_entry WHERE object = $1 ORDER BY id",
        f"refund:{asked.reference}",
    )
    assert [(row["actor_name"], row["action"]) for row in rows] == [
        (asker.name, "refund.requested"),
        (approver.name, "refund.approved"),
        ("system", "refund.succeeded"),
    ]
    assert "seen the bag" in rows[1]["detail"]
    assert asked.digest in rows[1]["detail"]
