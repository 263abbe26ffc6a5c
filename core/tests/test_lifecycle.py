"""The lifecycle: whatever gateways say, in whatever order, nothing impossible follows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dusangire.gateway import (
    Accepted,
    Failed,
    FailureCode,
    NotSent,
    Outcome,
    PayInPerson,
    Succeeded,
    Unknown,
)
from dusangire.lifecycle import (
    ATTEMPT_MOVES,
    ENDED,
    LATE_CHECKS,
    NOT_FOUND_FOR,
    NOT_FOUND_TIMES,
    OPEN,
    PAYMENT_MOVES,
    RESEND_FOR,
    AttemptState,
    AttemptStatus,
    AttentionReason,
    Change,
    PaymentState,
    PaymentStatus,
    Timing,
    TransactionKind,
    decide,
    expired_if_withdrawn,
    to_withdraw,
)
from dusangire.money import Money
from dusangire.testing.stand import after

# A busy machine is slow, and not wrong.
patiently = settings(deadline=None, max_examples=300)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
OURS, ANOTHERS = "5b1f8f0e-3c5d-4b57-9d0a-0c9f3b0f4a11", "another"
PRICE = Money(5_000, "RWF")
KINDS = (
    TransactionKind.INITIATE,
    TransactionKind.STATUS_CHECK,
    TransactionKind.CALLBACK,
    TransactionKind.CANCEL,
    TransactionKind.MANUAL,
)
RANKS = {
    AttemptStatus.SUBMITTING: 0,
    AttemptStatus.UNKNOWN: 0,
    AttemptStatus.PENDING: 1,
    AttemptStatus.EXPIRED: 2,
    AttemptStatus.FAILED: 2,
    AttemptStatus.CANCELLED: 2,
    AttemptStatus.SUCCEEDED: 3,
}
FIRST_PAYMENT = PaymentState(status=PaymentStatus.CREATED)
FIRST_ATTEMPT = AttemptState(
    status=AttemptStatus.SUBMITTING, reference=OURS, amount=PRICE, created_at=NOON
)


@dataclass(frozen=True)
class Said:
    """What was heard, how, and how long after the time before."""

    outcome: Outcome
    kind: TransactionKind
    wait: timedelta


@dataclass(frozen=True)
class Step:
    """One decision: before, what was heard, and what followed."""

    said: Said
    now: datetime
    payment: PaymentState
    attempt: AttemptState
    change: Change
    payment_after: PaymentState
    attempt_after: AttemptState


references = st.sampled_from([None, OURS, OURS, OURS, ANOTHERS])
amounts = st.sampled_from(
    [*[PRICE] * 9, Money(4_999, "RWF"), Money(5_000, "KES"), Money(500_000, "RWF")]
)
actions = st.none() | st.just(PayInPerson(message="Pay.", amount=PRICE))
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(
        Accepted,
        reference=references,
        unmapped=st.none() | st.just("SOMETHING_NEW"),
        next_action=actions,
    ),
    st.builds(Succeeded, amount=amounts, reference=st.sampled_from([OURS, OURS, OURS, ANOTHERS])),
    st.builds(
        Failed,
        code=st.sampled_from(FailureCode),
        message=st.just("No."),
        reference=references,
    ),
    st.builds(
        NotSent,
        cause=st.just("refused"),
        retry_after=st.none() | st.timedeltas(timedelta(0), timedelta(hours=1)),
    ),
    st.builds(Unknown, cause=st.just("lost")),
)
waits = st.sampled_from([0, 1, 10, 29, 31, 61, 200, 4_000, 90_000]).map(
    lambda seconds: timedelta(seconds=seconds)
)
stories = st.lists(st.builds(Said, outcomes, st.sampled_from(KINDS), waits), max_size=25)
payments = st.builds(
    PaymentState,
    status=st.sampled_from(PaymentStatus),
    captured=st.just(0),
    expires_at=st.none() | st.just(NOON + timedelta(minutes=15)),
    has_next_action=st.booleans(),
    attention=st.frozensets(st.sampled_from(AttentionReason), max_size=2),
)


def tell(
    story: Sequence[Said],
    payment: PaymentState = FIRST_PAYMENT,
    *,
    can_ask: bool = True,
    can_withdraw: bool = False,
) -> list[Step]:
    """The decisions that follow from a story about one attempt."""
    attempt, now, steps = FIRST_ATTEMPT, NOON, []
    for said in story:
        now += said.wait
        timing = Timing(now=now, can_ask=can_ask, can_withdraw=can_withdraw)
        change = decide(payment, attempt, said.outcome, said.kind, timing)
        paid, tried = after(payment, attempt, change)
        steps.append(Step(said, now, payment, attempt, change, paid, tried))
        payment, attempt = paid, tried
    return steps


def is_ours(outcome: Outcome) -> bool:
    return getattr(outcome, "reference", None) in {None, OURS}


@patiently
@given(stories, payments, st.booleans(), st.booleans())
def test_every_change_is_in_the_published_state_machines(
    story: list[Said], payment: PaymentState, can_ask: bool, can_withdraw: bool
) -> None:
    for step in tell(story, payment, can_ask=can_ask, can_withdraw=can_withdraw):
        was, becomes = step.payment.status, step.change.payment_status
        assert becomes is was or becomes in PAYMENT_MOVES[was]
        tried, now_is = step.attempt.status, step.change.attempt_status
        assert now_is is tried or now_is in ATTEMPT_MOVES[tried]


@patiently
@given(stories, payments)
def test_money_is_captured_only_by_a_success_that_says_exactly_what_was_asked(
    story: list[Said], payment: PaymentState
) -> None:
    for step in tell(story, payment):
        if step.change.captured:
            assert isinstance(step.said.outcome, Succeeded)
            assert step.said.outcome.amount == PRICE
            assert step.said.outcome.reference == OURS
            assert step.change.captured == PRICE.minor
            assert step.change.attempt_status is AttemptStatus.SUCCEEDED
        if step.attempt.status is not AttemptStatus.SUCCEEDED:
            succeeded = step.change.attempt_status is AttemptStatus.SUCCEEDED
            assert bool(step.change.captured) is succeeded


@patiently
@given(stories, payments)
def test_one_attempt_captures_at_most_once(story: list[Said], payment: PaymentState) -> None:
    steps = tell(story, payment)

    assert sum(step.change.captured for step in steps) in {0, PRICE.minor}


@patiently
@given(stories, payments)
def test_an_answer_about_something_else_ends_nothing(
    story: list[Said], payment: PaymentState
) -> None:
    for step in tell(story, payment):
        wrong_amount = isinstance(step.said.outcome, Succeeded) and (
            step.said.outcome.amount != PRICE
        )
        if wrong_amount or not is_ours(step.said.outcome):
            still = step.attempt.status
            submitted = {AttemptStatus.UNKNOWN} if still is AttemptStatus.SUBMITTING else set()
            assert step.change.attempt_status in {still} | submitted
            assert step.change.payment_status in {step.payment.status, PaymentStatus.PENDING}


@patiently
@given(stories, payments, st.booleans())
def test_evidence_never_loses_to_weaker_evidence_without_a_reversal(
    story: list[Said], payment: PaymentState, can_withdraw: bool
) -> None:
    for step in tell(story, payment, can_withdraw=can_withdraw):
        before, now = step.attempt.status, step.change.attempt_status
        if AttemptStatus.REVERSED not in {before, now}:
            assert RANKS[now] >= RANKS[before]
        if now is AttemptStatus.REVERSED is not before:
            assert before is AttemptStatus.SUCCEEDED
            assert isinstance(step.said.outcome, Failed)
            assert step.change.attention is AttentionReason.REVERSED_BY_GATEWAY


@patiently
@given(stories, payments, st.booleans())
def test_an_event_is_given_exactly_when_something_visible_changed(
    story: list[Said], payment: PaymentState, can_withdraw: bool
) -> None:
    for step in tell(story, payment, can_withdraw=can_withdraw):
        changed = (
            step.change.payment_status is not step.payment.status
            or step.change.attempt_status is not step.attempt.status
            or bool(step.change.captured)
            or step.change.next_action is not None
            or step.change.attention is not None
        )
        assert (step.change.event is not None) is changed, step
        if step.change.payment_status is not step.payment.status:
            assert step.change.event == f"payment.{step.change.payment_status.lower()}"
        elif changed:
            assert step.change.event == "payment.updated"


@patiently
@given(stories, payments, st.booleans(), st.booleans())
def test_an_open_attempt_is_never_forgotten(
    story: list[Said], payment: PaymentState, can_ask: bool, can_withdraw: bool
) -> None:
    for step in tell(story, payment, can_ask=can_ask, can_withdraw=can_withdraw):
        if step.change.attempt_status not in OPEN or not can_ask:
            continue
        called = step.payment_after.attention & {
            AttentionReason.OUTCOME_UNKNOWN,
            AttentionReason.AMOUNT_MISMATCH,
        }
        assert step.change.next_check_at is not None or called, step
        if step.change.next_check_at is not None:
            assert step.change.next_check_at >= step.now


@patiently
@given(stories, payments)
def test_nothing_is_sent_again_that_was_accepted_or_has_ended(
    story: list[Said], payment: PaymentState
) -> None:
    accepted = False
    for step in tell(story, payment):
        accepted |= isinstance(step.said.outcome, Accepted) and is_ours(step.said.outcome)
        if step.change.resend:
            assert not accepted, step
            assert step.change.attempt_status in {AttemptStatus.SUBMITTING, AttemptStatus.UNKNOWN}


@patiently
@given(stories, payments)
def test_nothing_is_sent_again_unless_it_certainly_never_arrived(
    story: list[Said], payment: PaymentState
) -> None:
    not_found: list[datetime] = []
    for step in tell(story, payment):
        asked_in_vain = (
            isinstance(step.said.outcome, NotSent)
            and step.said.kind is TransactionKind.STATUS_CHECK
        )
        if asked_in_vain:
            not_found.append(step.now)
        if not step.change.resend:
            continue
        assert isinstance(step.said.outcome, NotSent)
        if asked_in_vain and not step.attempt.resend:
            assert len(not_found) >= NOT_FOUND_TIMES
            assert not_found[-1] - not_found[0] >= NOT_FOUND_FOR
        else:
            assert step.attempt.resend or step.said.kind is TransactionKind.INITIATE


@patiently
@given(stories, payments)
def test_nothing_is_sent_again_when_nobody_waits_for_it(
    story: list[Said], payment: PaymentState
) -> None:
    for step in tell(story, payment):
        if step.change.resend:
            assert step.payment.status in {PaymentStatus.CREATED, PaymentStatus.PENDING}
            assert step.now < NOON + RESEND_FOR


@patiently
@given(stories, st.booleans())
def test_a_payment_ends_only_when_the_gateway_said_so(
    story: list[Said], can_withdraw: bool
) -> None:
    payment = replace(FIRST_PAYMENT, expires_at=NOON + timedelta(minutes=15))
    for step in tell(story, payment, can_withdraw=can_withdraw):
        now = step.change.attempt_status
        if now is step.attempt.status or now in OPEN:
            continue
        if now in ENDED:
            assert isinstance(step.said.outcome, Failed | NotSent | Accepted)
        if isinstance(step.said.outcome, Accepted):
            assert now is AttemptStatus.EXPIRED
            assert step.now >= NOON + timedelta(minutes=15)
            # A link that can be closed is not left open and called expired.
            if step.said.kind is TransactionKind.STATUS_CHECK:
                assert not can_withdraw
            else:
                assert step.said.kind is TransactionKind.CANCEL


@patiently
@given(stories, st.booleans())
def test_only_time_that_is_over_makes_a_withdrawal_an_expiry(
    story: list[Said], can_withdraw: bool
) -> None:
    payment = replace(FIRST_PAYMENT, expires_at=NOON + timedelta(minutes=15))
    for step in tell(story, payment, can_withdraw=can_withdraw):
        is_new = step.change.attempt_status is not step.attempt.status
        if is_new and step.change.attempt_status is AttemptStatus.EXPIRED:
            assert step.now >= NOON + timedelta(minutes=15)
        if is_new and step.change.attempt_status is AttemptStatus.CANCELLED:
            assert step.said.kind is TransactionKind.CANCEL


# ── when time is over ────────────────────────────────────────────────────────────────────────────


def run_out(answers: Sequence[Outcome], *, can_ask: bool = True) -> list[Step]:
    """What core does, call by call, with a payment whose time is over at a gateway that takes
    requests back, and that gives these answers; the last one again and again."""
    payment = PaymentState(status=PaymentStatus.PENDING, expires_at=NOON)
    attempt = replace(FIRST_ATTEMPT, status=AttemptStatus.PENDING)
    now: datetime | None = NOON
    left, steps = list(answers), list[Step]()
    while now is not None and attempt.status in OPEN:
        assert len(steps) < 50, "it never ends"
        timing = Timing(now=now, can_ask=can_ask, can_withdraw=True)
        outcome: Outcome
        if to_withdraw(payment, attempt, timing):
            kind = TransactionKind.CANCEL
            outcome = expired_if_withdrawn(left.pop(0) if len(left) > 1 else left[0])
        else:
            kind = TransactionKind.STATUS_CHECK
            outcome = (left.pop(0) if len(left) > 1 else left[0]) if can_ask else Accepted()
        change = decide(payment, attempt, outcome, kind, timing)
        paid, tried = after(payment, attempt, change)
        steps.append(
            Step(Said(outcome, kind, now - NOON), now, payment, attempt, change, paid, tried)
        )
        payment, attempt, now = paid, tried, change.next_check_at
    return steps


WITHDRAWN = Failed(code=FailureCode.CANCELLED, message="Withdrawn.", gateway_code="CLOSED")


def test_what_is_withdrawn_when_its_time_is_over_is_expired() -> None:
    (step,) = run_out([WITHDRAWN])

    assert step.said.kind is TransactionKind.CANCEL
    assert step.change.attempt_status is AttemptStatus.EXPIRED
    assert step.change.payment_status is PaymentStatus.EXPIRED
    assert step.change.failure is not None
    assert step.change.failure.code is FailureCode.EXPIRED
    assert step.change.failure.gateway_code == "CLOSED"
    # The payer's yes may have crossed our no.
    assert step.change.next_check_at is not None


def test_a_withdrawal_that_comes_too_late_is_a_success() -> None:
    (step,) = run_out([Succeeded(amount=PRICE, reference=OURS)])

    assert step.change.payment_status is PaymentStatus.SUCCEEDED
    assert step.change.attention is None


def test_a_withdrawal_in_doubt_expires_nothing_and_is_tried_again() -> None:
    lost, asked, again = run_out([LOST, Accepted(), WITHDRAWN])

    assert lost.change.payment_status is PaymentStatus.PENDING
    assert [step.said.kind for step in (lost, asked, again)] == [
        TransactionKind.CANCEL,
        TransactionKind.STATUS_CHECK,
        TransactionKind.CANCEL,
    ]
    assert asked.now - lost.now > timedelta(minutes=4)
    assert again.now == asked.now
    assert again.change.payment_status is PaymentStatus.EXPIRED


def test_what_a_gateway_does_not_take_back_expires_after_the_second_try() -> None:
    first, asked, second = run_out([Accepted()])

    assert first.change.payment_status is PaymentStatus.PENDING
    assert asked.said.kind is TransactionKind.STATUS_CHECK
    assert second.said.kind is TransactionKind.CANCEL
    assert second.now - first.now > timedelta(minutes=4)
    assert second.change.payment_status is PaymentStatus.EXPIRED


def test_a_withdrawal_that_finds_a_decline_has_failed() -> None:
    (step,) = run_out([NO])

    assert step.change.payment_status is PaymentStatus.FAILED


@pytest.mark.parametrize("can_ask", [True, False])
def test_a_withdrawal_that_is_never_answered_calls_a_person(can_ask: bool) -> None:
    steps = run_out([LOST], can_ask=can_ask)

    assert steps[-1].change.attention is AttentionReason.OUTCOME_UNKNOWN
    assert steps[-1].payment_after.status is PaymentStatus.PENDING
    kinds = {step.said.kind for step in steps}
    assert kinds == {TransactionKind.CANCEL, TransactionKind.STATUS_CHECK}


@patiently
@given(st.lists(outcomes, min_size=1, max_size=30), st.booleans())
def test_a_payment_whose_time_is_over_ends_or_waits_for_a_person(
    answers: list[Outcome], can_ask: bool
) -> None:
    steps = run_out(answers, can_ask=can_ask)

    last = steps[-1]
    called = {AttentionReason.OUTCOME_UNKNOWN, AttentionReason.AMOUNT_MISMATCH}
    assert last.attempt_after.status not in OPEN or last.payment_after.attention & called
    # It does not hammer the gateway: at most a question and its withdrawal in one moment.
    moments = [step.now for step in steps]
    assert max(moments.count(moment) for moment in moments) <= 3
    if last.change.attempt_status is AttemptStatus.EXPIRED:
        assert last.said.kind is TransactionKind.CANCEL


def said(outcome: Outcome, kind: TransactionKind, seconds: float = 0) -> Said:
    return Said(outcome, kind, timedelta(seconds=seconds))


SENT, ASKED, HEARD = (
    TransactionKind.INITIATE,
    TransactionKind.STATUS_CHECK,
    TransactionKind.CALLBACK,
)
PAID = Succeeded(amount=PRICE, reference=OURS)
NO = Failed(code=FailureCode.DECLINED_BY_PAYER, message="No.")
LATE_NO = Failed(code=FailureCode.PAYER_TIMEOUT, message="No answer.")
NOT_KNOWN = NotSent(cause="404")
LOST = Unknown(cause="lost")


@pytest.mark.parametrize(
    ("story", "attempt", "payment", "event"),
    [
        pytest.param(
            [said(Accepted(), SENT), said(PAID, ASKED)],
            AttemptStatus.SUCCEEDED,
            PaymentStatus.SUCCEEDED,
            "payment.succeeded",
            id="an accepted payment that is paid succeeds",
        ),
        pytest.param(
            [said(Accepted(), SENT), said(NO, ASKED)],
            AttemptStatus.FAILED,
            PaymentStatus.FAILED,
            "payment.failed",
            id="a declined one fails",
        ),
        pytest.param(
            [said(LOST, SENT)],
            AttemptStatus.UNKNOWN,
            PaymentStatus.PENDING,
            "payment.pending",
            id="a lost reply is pending, not failed",
        ),
        pytest.param(
            [said(LOST, SENT), said(PAID, ASKED)],
            AttemptStatus.SUCCEEDED,
            PaymentStatus.SUCCEEDED,
            "payment.succeeded",
            id="a lost reply is found out by asking",
        ),
        pytest.param(
            [said(Accepted(), SENT), said(LATE_NO, ASKED), said(PAID, ASKED, 300)],
            AttemptStatus.SUCCEEDED,
            PaymentStatus.SUCCEEDED,
            "payment.succeeded",
            id="a late success counts",
        ),
        pytest.param(
            [said(Accepted(), SENT), said(PAID, ASKED), said(Accepted(), HEARD)],
            AttemptStatus.SUCCEEDED,
            PaymentStatus.SUCCEEDED,
            None,
            id="what comes out of order changes nothing",
        ),
        pytest.param(
            [said(Accepted(), SENT), said(PAID, ASKED), said(PAID, HEARD)],
            AttemptStatus.SUCCEEDED,
            PaymentStatus.SUCCEEDED,
            None,
            id="a success told twice is one success",
        ),
        pytest.param(
            [said(PAID, HEARD), said(NOT_KNOWN, SENT, 600)],
            AttemptStatus.SUCCEEDED,
            PaymentStatus.SUCCEEDED,
            None,
            id="a webhook that overtook a refused repetition stands",
        ),
        pytest.param(
            [said(NOT_KNOWN, SENT), said(NOT_KNOWN, SENT, 200)],
            AttemptStatus.FAILED,
            PaymentStatus.FAILED,
            "payment.failed",
            id="what could not be sent for three minutes fails",
        ),
    ],
)
def test_a_story_ends_as_it_should(
    story: list[Said],
    attempt: AttemptStatus,
    payment: PaymentStatus,
    event: str | None,
) -> None:
    last = tell(story)[-1]

    assert last.change.attempt_status is attempt
    assert last.change.payment_status is payment
    assert last.change.event == event


def test_three_not_founds_over_a_minute_allow_sending_again() -> None:
    first, second, third = tell(
        [said(LOST, SENT)] + [said(NOT_KNOWN, ASKED, 30) for _ in range(3)]
    )[1:]

    assert [step.change.resend for step in (first, second, third)] == [False, False, True]


def test_three_not_founds_within_a_minute_do_not() -> None:
    steps = tell([said(LOST, SENT)] + [said(NOT_KNOWN, ASKED, 10) for _ in range(5)])

    assert not any(step.change.resend for step in steps)


def test_a_success_after_another_attempt_paid_is_flagged_and_counted() -> None:
    paid = PaymentState(status=PaymentStatus.SUCCEEDED, captured=PRICE.minor)

    (step,) = tell([said(PAID, ASKED)], paid)

    assert step.change.attention is AttentionReason.DUPLICATE_CAPTURE
    assert step.payment_after.captured == 2 * PRICE.minor


@patiently
@given(st.integers(1, 3))
def test_an_unknown_outcome_is_asked_about_until_a_person_is_called(extra: int) -> None:
    expired = PaymentState(status=PaymentStatus.PENDING, expires_at=NOON + timedelta(minutes=15))
    story = [said(LOST, SENT), said(LOST, ASKED, 901)]
    story += [said(LOST, ASKED, 90_000) for _ in range(len(LATE_CHECKS) + extra)]

    steps = tell(story, expired)

    flagged = [s for s in steps if s.change.attention is AttentionReason.OUTCOME_UNKNOWN]
    assert len(flagged) == 1
    assert flagged[0].change.next_check_at is None
    assert all(step.change.attempt_status is AttemptStatus.UNKNOWN for step in steps)


def test_a_lost_reply_is_asked_about_after_the_schedules_first_wait() -> None:
    change = decide(
        FIRST_PAYMENT,
        FIRST_ATTEMPT,
        Unknown(cause="the reply was lost"),
        TransactionKind.INITIATE,
        Timing(now=NOON),
    )

    assert change.attempt_status is AttemptStatus.UNKNOWN
    assert change.next_check_at is not None
    assert timedelta(seconds=4) < change.next_check_at - NOON < timedelta(seconds=6)


# ── given up, although it may have left ──────────────────────────────────────────────────────────


def given_up(attempt: AttemptState) -> Change:
    """What follows when it cannot be sent any more, three minutes after it was written."""
    late = Timing(now=NOON + RESEND_FOR)
    cause = NotSent(cause="the gateway is left alone")
    return decide(FIRST_PAYMENT, attempt, cause, TransactionKind.INITIATE, late)


def test_what_never_left_is_not_asked_about_again() -> None:
    change = given_up(replace(FIRST_ATTEMPT, resend=True))

    assert change.attempt_status is AttemptStatus.FAILED
    assert change.next_check_at is None


@pytest.mark.parametrize(
    "status", [AttemptStatus.SUBMITTING, AttemptStatus.UNKNOWN], ids=["killed", "lost"]
)
def test_what_was_sent_once_and_not_found_is_asked_about_after_it_was_given_up(
    status: AttemptStatus,
) -> None:
    attempt = replace(FIRST_ATTEMPT, status=status)
    for seconds in (0, 30, 70):
        timing = Timing(now=NOON + timedelta(seconds=seconds))
        not_found = NotSent(cause="404")
        kind = TransactionKind.STATUS_CHECK
        change = decide(FIRST_PAYMENT, attempt, not_found, kind, timing)
        _, attempt = after(FIRST_PAYMENT, attempt, change)
    assert attempt.resend

    change = given_up(attempt)

    assert change.attempt_status is AttemptStatus.FAILED
    assert change.late
    assert change.next_check_at is not None


def test_after_it_was_sent_again_it_takes_another_minute_to_believe_that_it_is_not_known() -> None:
    attempt = replace(FIRST_ATTEMPT, not_found_since=NOON)
    answers = []
    for seconds in (100, 110, 120):
        timing = Timing(now=NOON + timedelta(seconds=seconds))
        not_found = NotSent(cause="404")
        change = decide(FIRST_PAYMENT, attempt, not_found, TransactionKind.STATUS_CHECK, timing)
        _, attempt = after(FIRST_PAYMENT, attempt, change)
        answers.append(change.resend)

    assert answers == [False, False, False]
