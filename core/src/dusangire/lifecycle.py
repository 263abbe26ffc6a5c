"""What a payment may become: pure decisions, without I/O.

Payment   CREATED → PENDING → SUCCEEDED → PARTIALLY_REFUNDED → REFUNDED
                     │  ▲
                     ▼  │ a new attempt, until it expires
                    FAILED            EXPIRED  CANCELLED

Attempt   SUBMITTING → PENDING | UNKNOWN → SUCCEEDED | FAILED | EXPIRED | CANCELLED
          with evidence only:  FAILED/EXPIRED/CANCELLED → SUCCEEDED (late)   SUCCEEDED → REVERSED

Evidence ranks: fetched or signed final success > fetched final failure > local expiry > pending.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from dusangire.gateway import (
    Accepted,
    CheckSchedule,
    Failed,
    FailureCode,
    NextAction,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from dusangire.money import Money


class PaymentStatus(StrEnum):
    CREATED = "CREATED"
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class AttemptStatus(StrEnum):
    SUBMITTING = "SUBMITTING"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REVERSED = "REVERSED"


class AttentionReason(StrEnum):
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    LATE_SUCCESS = "LATE_SUCCESS"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    DUPLICATE_CAPTURE = "DUPLICATE_CAPTURE"
    REVERSED_BY_GATEWAY = "REVERSED_BY_GATEWAY"
    REFUND_UNKNOWN = "REFUND_UNKNOWN"
    UNMAPPED_STATUS = "UNMAPPED_STATUS"


class TransactionKind(StrEnum):
    """Why a gateway was talked to, or talked to us."""

    INITIATE = "INITIATE"
    STATUS_CHECK = "STATUS_CHECK"
    CALLBACK = "CALLBACK"
    REFUND = "REFUND"
    REFUND_STATUS = "REFUND_STATUS"
    CANCEL = "CANCEL"
    MANUAL = "MANUAL"
    STATEMENT = "STATEMENT"


OPEN = frozenset({AttemptStatus.SUBMITTING, AttemptStatus.PENDING, AttemptStatus.UNKNOWN})
ENDED = frozenset({AttemptStatus.FAILED, AttemptStatus.EXPIRED, AttemptStatus.CANCELLED})
UNPAID = frozenset(
    {
        PaymentStatus.CREATED,
        PaymentStatus.PENDING,
        PaymentStatus.FAILED,
        PaymentStatus.EXPIRED,
        PaymentStatus.CANCELLED,
    }
)

# The published state machines. A change that is not in here is a bug, and refused.
PAYMENT_MOVES: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    PaymentStatus.CREATED: UNPAID - {PaymentStatus.CREATED} | {PaymentStatus.SUCCEEDED},
    PaymentStatus.PENDING: UNPAID - {PaymentStatus.CREATED, PaymentStatus.PENDING}
    | {PaymentStatus.SUCCEEDED},
    PaymentStatus.FAILED: frozenset(
        {
            PaymentStatus.PENDING,
            PaymentStatus.EXPIRED,
            PaymentStatus.CANCELLED,
            PaymentStatus.SUCCEEDED,
        }
    ),
    PaymentStatus.EXPIRED: frozenset({PaymentStatus.SUCCEEDED}),
    PaymentStatus.CANCELLED: frozenset({PaymentStatus.SUCCEEDED}),
    PaymentStatus.SUCCEEDED: frozenset({PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
    PaymentStatus.PARTIALLY_REFUNDED: frozenset({PaymentStatus.REFUNDED}),
    PaymentStatus.REFUNDED: frozenset({PaymentStatus.PARTIALLY_REFUNDED}),
}
ATTEMPT_MOVES: Mapping[AttemptStatus, frozenset[AttemptStatus]] = {
    AttemptStatus.SUBMITTING: frozenset(AttemptStatus) - {AttemptStatus.REVERSED},
    AttemptStatus.UNKNOWN: frozenset(AttemptStatus)
    - {AttemptStatus.SUBMITTING, AttemptStatus.REVERSED},
    AttemptStatus.PENDING: frozenset({AttemptStatus.SUCCEEDED}) | ENDED,
    AttemptStatus.FAILED: frozenset({AttemptStatus.SUCCEEDED}),
    AttemptStatus.EXPIRED: frozenset({AttemptStatus.SUCCEEDED}),
    AttemptStatus.CANCELLED: frozenset({AttemptStatus.SUCCEEDED}),
    AttemptStatus.SUCCEEDED: frozenset({AttemptStatus.REVERSED}),
    AttemptStatus.REVERSED: frozenset(),
}

# A gateway that does not know a reference is believed after this many answers over this long:
# some say "not found" for a moment after they accepted.
NOT_FOUND_TIMES = 3
NOT_FOUND_FOR = timedelta(seconds=60)
# A request that never left is repeated for this long. A prompt that appears on a phone much later
# than the payer asked for it would be worse than a clear failure.
RESEND_FOR = timedelta(minutes=3)
# After the deadline an open attempt, and after a doubtful end a closed one, is asked about this
# often; then it is a person's turn.
LATE_CHECKS = (
    timedelta(minutes=5),
    timedelta(hours=1),
    timedelta(hours=6),
    *(timedelta(days=1),) * 7,
)
TIME_IS_OVER = "The time to pay is over."
# Ends that the payer's own "yes" may have crossed on its way.
_DOUBTFUL_ENDS = frozenset({FailureCode.PAYER_TIMEOUT, FailureCode.EXPIRED, FailureCode.CANCELLED})
# Calls of ours that end with the gateway saying what became of an attempt.
_QUESTIONS = frozenset({TransactionKind.STATUS_CHECK, TransactionKind.CANCEL})


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentState:
    """What a decision needs to know of a payment."""

    status: PaymentStatus
    captured: int = 0
    expires_at: datetime | None = None
    has_next_action: bool = False
    attention: frozenset[AttentionReason] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptState:
    """What a decision needs to know of an attempt.

    checks: answers to status questions so far, counted anew after the deadline and after the end.
    not_found: "I do not know it" answers in a row, the first of them at `not_found_since`, which
        stays when it is sent again: the sending before may still be on its way.
    resend: it certainly never reached the gateway; it may be sent again.
    late: past its deadline or ended, and asked about on the late schedule.
    """

    status: AttemptStatus
    reference: str
    amount: Money
    created_at: datetime
    checks: int = 0
    late: bool = False
    resend: bool = False
    not_found: int = 0
    not_found_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    code: FailureCode
    message: str
    gateway_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What follows from an outcome: new values, and None where nothing changes.

    event: the event type; None when nothing changed that anybody watches.
    note: the outcome in words, for the payment's log.
    next_check_at: when to ask again; None: never by itself.
    """

    note: str
    attempt_status: AttemptStatus
    payment_status: PaymentStatus
    event: str | None = None
    captured: int = 0
    failure: Failure | None = None
    next_action: NextAction | None = None
    attention: AttentionReason | None = None
    gateway_transaction_id: str | None = None
    fee: Money | None = None
    plugin_data: Mapping[str, Any] = field(default_factory=dict)
    next_check_at: datetime | None = None
    checks: int = 0
    late: bool = False
    resend: bool = False
    not_found: int = 0
    not_found_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The clock of a decision: now, the gateway's schedule, and the factor tests speed it up by.

    can_ask: the gateway answers status questions. Where it does not, a person tells.
    can_withdraw: the gateway takes requests back, such as a link to a page.
    """

    now: datetime
    schedule: CheckSchedule = CheckSchedule()
    scale: float = 1.0
    can_ask: bool = True
    can_withdraw: bool = False

    def after(self, delay: timedelta | float) -> datetime:
        """`delay` from now, scaled, ±10 % so that attempts do not all ask at once."""
        wait = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        return self.now + wait * self.scale * random.uniform(0.9, 1.1)  # noqa: S311 - jitter

    def next_check(self, checks: int, expires_at: datetime | None) -> datetime | None:
        """When an open attempt is due again: by the schedule, and at the latest when it expires."""
        if not self.can_ask:
            return expires_at
        first = self.schedule.first
        due = self.after(first[checks] if checks < len(first) else self.schedule.then)
        return expires_at if expires_at and self.now < expires_at < due else due

    def next_late_check(self, checks: int, *, is_open: bool = False) -> datetime | None:
        """is_open: there is still something to withdraw, so that even who cannot ask comes back."""
        can_act = self.can_ask or (is_open and self.can_withdraw)
        if not can_act or checks >= len(LATE_CHECKS):
            return None
        return self.after(LATE_CHECKS[checks])

    def over(self, moment: datetime | None) -> bool:
        return moment is not None and self.now >= moment


def decide(
    payment: PaymentState,
    attempt: AttemptState,
    outcome: Outcome,
    kind: TransactionKind,
    timing: Timing,
) -> Change:
    """What an attempt and its payment become when the gateway said `outcome`.

    kind: how it was heard; a plain Unknown of a sending leaves the attempt to be asked about, a
    NotSent of a status question means that the gateway does not know the reference.
    """
    if problem := integrity_problem(attempt, outcome):
        return _mismatch(payment, attempt, outcome, problem, timing)
    match outcome:
        case Succeeded():
            return _succeeded(payment, attempt, outcome)
        case Failed():
            return _failed(payment, attempt, outcome, kind, timing)
        case Accepted():
            return _accepted(payment, attempt, outcome, kind, timing)
        case NotSent() if kind is TransactionKind.INITIATE:
            return _not_sent(payment, attempt, outcome, timing)
        case NotSent() if kind is TransactionKind.STATUS_CHECK:
            return _not_found(payment, attempt, outcome, timing)
        case NotSent(cause=cause) | Unknown(cause=cause):
            return _unknown(payment, attempt, cause, timing)


def integrity_problem(attempt: AttemptState, outcome: Outcome) -> str | None:
    """What in an answer contradicts what was sent; None when all agrees."""
    if isinstance(outcome, Accepted | Failed | Succeeded) and outcome.reference not in {
        None,
        attempt.reference,
    }:
        return f"the answer is about another reference, {outcome.reference}"
    if isinstance(outcome, Succeeded) and outcome.amount != attempt.amount:
        return f"the gateway says {outcome.amount}, we asked for {attempt.amount}"
    return None


def _succeeded(payment: PaymentState, attempt: AttemptState, outcome: Succeeded) -> Change:
    if attempt.status in {AttemptStatus.SUCCEEDED, AttemptStatus.REVERSED}:
        return _same(payment, attempt, "succeeded (known already)")
    if payment.status in UNPAID:
        status = PaymentStatus.SUCCEEDED
        late = attempt.status in ENDED or payment.status not in {
            PaymentStatus.CREATED,
            PaymentStatus.PENDING,
        }
        attention = AttentionReason.LATE_SUCCESS if late else None
    else:
        refunded = payment.status is PaymentStatus.REFUNDED
        status = PaymentStatus.PARTIALLY_REFUNDED if refunded else payment.status
        attention = AttentionReason.DUPLICATE_CAPTURE
    return Change(
        note="succeeded" if attention is None else f"succeeded ({attention})",
        attempt_status=AttemptStatus.SUCCEEDED,
        payment_status=status,
        event=_event(payment, status),
        captured=outcome.amount.minor,
        attention=attention,
        gateway_transaction_id=outcome.gateway_transaction_id,
        fee=outcome.fee,
    )


def _failed(
    payment: PaymentState,
    attempt: AttemptState,
    outcome: Failed,
    kind: TransactionKind,
    timing: Timing,
) -> Change:
    note = f"failed: {outcome.code}" + (
        f" ({outcome.gateway_code})" if outcome.gateway_code else ""
    )
    doubtful = outcome.code in _DOUBTFUL_ENDS and kind is not TransactionKind.MANUAL
    if attempt.status is AttemptStatus.SUCCEEDED:
        return Change(
            note=note,
            attempt_status=AttemptStatus.REVERSED,
            payment_status=payment.status,
            event="payment.updated",
            attention=AttentionReason.REVERSED_BY_GATEWAY,
        )
    if attempt.status not in OPEN:
        return _same(
            payment,
            attempt,
            note,
            late=True,
            checks=attempt.checks + 1,
            next_check_at=timing.next_late_check(attempt.checks + 1) if doubtful else None,
        )
    end = _end_of(outcome, kind, over=timing.over(payment.expires_at))
    status = PaymentStatus(end)
    if payment.status not in {PaymentStatus.CREATED, PaymentStatus.PENDING}:
        status = payment.status
    return Change(
        note="expired: withdrawn at the gateway" if end is AttemptStatus.EXPIRED else note,
        attempt_status=end,
        payment_status=status,
        event=_event(payment, status),
        failure=Failure(
            code=outcome.code, message=outcome.message, gateway_code=outcome.gateway_code
        ),
        late=doubtful,
        next_check_at=timing.next_late_check(0) if doubtful else None,
    )


def _end_of(outcome: Failed, kind: TransactionKind, *, over: bool) -> AttemptStatus:
    """How an open attempt ended: by itself, or because we took it back."""
    if kind is TransactionKind.CANCEL and outcome.code is FailureCode.CANCELLED:
        return AttemptStatus.CANCELLED
    if kind is TransactionKind.CANCEL and outcome.code is FailureCode.EXPIRED and over:
        return AttemptStatus.EXPIRED
    return AttemptStatus.FAILED


def expired_if_withdrawn(outcome: Outcome) -> Outcome:
    """What the gateway's answer to a withdrawal means when no person wanted it, but the clock."""
    if isinstance(outcome, Failed) and outcome.code is FailureCode.CANCELLED:
        return replace(outcome, code=FailureCode.EXPIRED, message=TIME_IS_OVER)
    return outcome


def to_withdraw(payment: PaymentState, attempt: AttemptState, timing: Timing) -> bool:
    """Whether an attempt is to be taken back at the gateway rather than asked about.

    The gateway must have it for certain: what may never have arrived is asked about first. After
    a withdrawal in doubt, questions and withdrawals take turns, in case only one of them works.
    """
    pending = attempt.status is AttemptStatus.PENDING
    turn = not attempt.late or attempt.checks % 2 == 1
    return pending and turn and timing.can_withdraw and timing.over(payment.expires_at)


def _accepted(
    payment: PaymentState,
    attempt: AttemptState,
    outcome: Accepted,
    kind: TransactionKind,
    timing: Timing,
) -> Change:
    asked = kind is TransactionKind.STATUS_CHECK
    note = f"pending: unknown status {outcome.unmapped}" if outcome.unmapped else "pending"
    if attempt.status in ENDED and kind is TransactionKind.INITIATE:
        # What we had given up arrived after all: the payer is being asked.
        return _same(payment, attempt, note, late=True, next_check_at=timing.next_late_check(0))
    if attempt.status not in OPEN:
        return _same(
            payment,
            attempt,
            note,
            late=attempt.late,
            checks=attempt.checks + asked,
            next_check_at=timing.next_late_check(attempt.checks + asked) if attempt.late else None,
        )
    over = timing.over(payment.expires_at)
    if over and kind in _QUESTIONS and not _withdraws_next(attempt, kind, timing):
        return _expired(payment, timing)
    attention = AttentionReason.UNMAPPED_STATUS if outcome.unmapped else None
    status = _pending(payment)
    checks = attempt.checks + asked
    # An answer to a question repeats what the payer has to do, in case the first one was lost.
    known = asked and payment.has_next_action
    change = Change(
        note=note,
        attempt_status=AttemptStatus.PENDING,
        payment_status=status,
        next_action=None if known else outcome.next_action,
        attention=attention if attention not in payment.attention else None,
        plugin_data=outcome.plugin_data,
        checks=checks,
        next_check_at=timing.next_check(checks, payment.expires_at),
    )
    if over and kind is TransactionKind.STATUS_CHECK:
        change = replace(change, late=attempt.late, next_check_at=timing.now)
    elif over and kind is TransactionKind.CANCEL:
        # A payment may be on its way through the gateway this moment: it gets time to arrive.
        later = timing.next_late_check(0, is_open=True)
        change = replace(change, late=True, checks=0, next_check_at=later)
    news = (
        change.attempt_status is not attempt.status
        or change.next_action is not None
        or change.attention is not None
    )
    return replace(change, event=_event(payment, status)) if news else change


def _withdraws_next(attempt: AttemptState, kind: TransactionKind, timing: Timing) -> bool:
    """Whether a withdrawal is still to come: after a question always, after the second one not."""
    if kind is TransactionKind.STATUS_CHECK:
        return timing.can_withdraw
    return not attempt.late


def _expired(payment: PaymentState, timing: Timing) -> Change:
    status = PaymentStatus.EXPIRED
    if payment.status not in {PaymentStatus.CREATED, PaymentStatus.PENDING}:
        status = payment.status
    return Change(
        note="expired: still pending at the gateway when its time was over",
        attempt_status=AttemptStatus.EXPIRED,
        payment_status=status,
        event=_event(payment, status),
        failure=Failure(code=FailureCode.EXPIRED, message=TIME_IS_OVER),
        late=True,
        next_check_at=timing.next_late_check(0),
    )


def _not_sent(
    payment: PaymentState, attempt: AttemptState, outcome: NotSent, timing: Timing
) -> Change:
    if attempt.status not in {AttemptStatus.SUBMITTING, AttemptStatus.UNKNOWN}:
        # An earlier sending arrived after all: that this one did not says nothing.
        return _unknown(payment, attempt, outcome.cause, timing)
    if _too_late_to_send(payment, attempt, timing):
        return _gave_up_sending(payment, attempt, outcome.cause, timing)
    wait = outcome.retry_after or timedelta(seconds=min(30, 2 * 2**attempt.checks))
    return _same(
        payment,
        attempt,
        f"not sent: {outcome.cause}",
        checks=attempt.checks + 1,
        resend=True,
        not_found_since=attempt.not_found_since,
        next_check_at=timing.after(wait),
    )


def _not_found(
    payment: PaymentState, attempt: AttemptState, outcome: NotSent, timing: Timing
) -> Change:
    if attempt.status not in {AttemptStatus.SUBMITTING, AttemptStatus.UNKNOWN}:
        return _unknown(payment, attempt, outcome.cause, timing)
    times = attempt.not_found + 1
    since = (attempt.not_found_since if attempt.not_found else None) or timing.now
    note = f"not known to the gateway ({times}): {outcome.cause}"
    if attempt.resend:  # it never left, and waits to be sent: no wonder
        return _not_sent(payment, attempt, outcome, timing)
    believed = times >= NOT_FOUND_TIMES and timing.now - since >= NOT_FOUND_FOR * timing.scale
    if not believed:
        return _same(
            payment,
            attempt,
            note,
            checks=attempt.checks + 1,
            not_found=times,
            not_found_since=since,
            next_check_at=timing.next_check(attempt.checks + 1, None),
        )
    if _too_late_to_send(payment, attempt, timing):
        return _gave_up_sending(payment, attempt, outcome.cause, timing)
    return _same(
        payment, attempt, note, resend=True, not_found_since=since, next_check_at=timing.now
    )


def _unknown(payment: PaymentState, attempt: AttemptState, cause: str, timing: Timing) -> Change:
    note = f"unknown: {cause}"
    if attempt.status not in OPEN:
        return _same(
            payment,
            attempt,
            note,
            late=attempt.late,
            checks=attempt.checks + 1,
            next_check_at=timing.next_late_check(attempt.checks + 1) if attempt.late else None,
        )
    submitting = attempt.status is AttemptStatus.SUBMITTING
    status = _pending(payment)
    late = attempt.late or timing.over(payment.expires_at)
    # Losing the answer to a sending was no question yet.
    checks = 0 if submitting or late is not attempt.late else attempt.checks + 1
    next_check_at = (
        timing.next_late_check(checks, is_open=True)
        if late
        else timing.next_check(checks, payment.expires_at)
    )
    given_up = late and next_check_at is None
    attention = AttentionReason.OUTCOME_UNKNOWN if given_up else None
    attention = attention if attention not in payment.attention else None
    return Change(
        note=note,
        attempt_status=AttemptStatus.UNKNOWN if submitting else attempt.status,
        payment_status=status,
        event=_event(payment, status) if submitting or attention else None,
        attention=attention,
        late=late,
        checks=checks,
        next_check_at=next_check_at,
        not_found=attempt.not_found,
        not_found_since=attempt.not_found_since,
    )


def _mismatch(
    payment: PaymentState,
    attempt: AttemptState,
    outcome: Outcome,
    problem: str,
    timing: Timing,
) -> Change:
    """An answer that contradicts what was sent moves nothing, and a person is called."""
    if not isinstance(outcome, Succeeded) or outcome.reference != attempt.reference:
        return replace(_unknown(payment, attempt, problem, timing), note=f"refused: {problem}")
    if attempt.status not in OPEN | ENDED:
        return _same(payment, attempt, f"refused: {problem}")
    news = AttentionReason.AMOUNT_MISMATCH not in payment.attention
    status = _pending(payment) if attempt.status in OPEN else payment.status
    return Change(
        note=f"refused: {problem}",
        attempt_status=(
            AttemptStatus.UNKNOWN if attempt.status is AttemptStatus.SUBMITTING else attempt.status
        ),
        payment_status=status,
        event=(
            _event(payment, status) if news or attempt.status is AttemptStatus.SUBMITTING else None
        ),
        attention=AttentionReason.AMOUNT_MISMATCH if news else None,
        late=True,
        checks=attempt.checks + 1 if attempt.late else 0,
        next_check_at=timing.next_late_check(attempt.checks + 1 if attempt.late else 0),
    )


def _same(payment: PaymentState, attempt: AttemptState, note: str, **bookkeeping: Any) -> Change:
    """Nothing that anybody watches changed."""
    return Change(
        note=note,
        attempt_status=attempt.status,
        payment_status=payment.status,
        **bookkeeping,
    )


def _never_sent(payment: PaymentState, cause: str) -> Change:
    status = (
        PaymentStatus.FAILED
        if payment.status in {PaymentStatus.CREATED, PaymentStatus.PENDING}
        else payment.status
    )
    return Change(
        note=f"failed: {FailureCode.NOT_SENT} ({cause})",
        attempt_status=AttemptStatus.FAILED,
        payment_status=status,
        event=_event(payment, status),
        failure=Failure(
            code=FailureCode.NOT_SENT,
            message="The payment provider could not be reached. No money moved.",
        ),
    )


def _gave_up_sending(
    payment: PaymentState, attempt: AttemptState, cause: str, timing: Timing
) -> Change:
    failed = _never_sent(payment, cause)
    if attempt.status is not AttemptStatus.UNKNOWN and attempt.not_found_since is None:
        return failed  # no sending of it ever left
    # It was sent once, and may have been on its way all the time.
    return replace(failed, late=True, next_check_at=timing.next_late_check(0))


def _too_late_to_send(payment: PaymentState, attempt: AttemptState, timing: Timing) -> bool:
    # Paid by another attempt, or ended: sending now would ask the payer for the money twice.
    wanted = payment.status in {PaymentStatus.CREATED, PaymentStatus.PENDING}
    deadline = attempt.created_at + RESEND_FOR * timing.scale
    return not wanted or timing.over(payment.expires_at) or timing.over(deadline)


def _pending(payment: PaymentState) -> PaymentStatus:
    return PaymentStatus.PENDING if payment.status is PaymentStatus.CREATED else payment.status


def _event(payment: PaymentState, status: PaymentStatus) -> str:
    """`payment.succeeded` and so on once for each status; `payment.updated` for other news."""
    return f"payment.{status.lower()}" if status is not payment.status else "payment.updated"
