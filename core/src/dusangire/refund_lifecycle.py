"""What a refund may become: pure decisions, without I/O.

Refund   REQUESTED → PROCESSING → SUCCEEDED | FAILED
          │  │   ▲      │    ▲         an approver's right was taken away: back to REQUESTED
          │  │   └──────┤    │
          ▼  ▼          ▼    ▼
   REJECTED CANCELLED  UNKNOWN → SUCCEEDED | FAILED
         with evidence only:  FAILED → SUCCEEDED (late)

Whatever holds money back stays in the payment's reserve until it is certain what became of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from dusangire.gateway import (
    Accepted,
    Failed,
    FailureCode,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from dusangire.lifecycle import NOT_FOUND_FOR, NOT_FOUND_TIMES, Failure, Timing, TransactionKind
from dusangire.money import Money
from dusangire.records import RefundStatus

# The amount is neither given back nor free for another refund.
RESERVING = frozenset({RefundStatus.REQUESTED, RefundStatus.PROCESSING, RefundStatus.UNKNOWN})
# Approved, and at work.
UNDER_WAY = frozenset({RefundStatus.PROCESSING, RefundStatus.UNKNOWN})
ENDED = frozenset(RefundStatus) - RESERVING

# The published state machine. A change that is not in here is a bug, and refused.
REFUND_MOVES: Mapping[RefundStatus, frozenset[RefundStatus]] = {
    RefundStatus.REQUESTED: frozenset(
        {RefundStatus.PROCESSING, RefundStatus.REJECTED, RefundStatus.CANCELLED}
    ),
    RefundStatus.PROCESSING: frozenset(
        {
            RefundStatus.REQUESTED,
            RefundStatus.UNKNOWN,
            RefundStatus.SUCCEEDED,
            RefundStatus.FAILED,
        }
    ),
    RefundStatus.UNKNOWN: frozenset(
        {
            RefundStatus.PROCESSING,
            RefundStatus.SUCCEEDED,
            RefundStatus.FAILED,
        }
    ),
    RefundStatus.FAILED: frozenset({RefundStatus.SUCCEEDED}),
    RefundStatus.SUCCEEDED: frozenset(),
    RefundStatus.REJECTED: frozenset(),
    RefundStatus.CANCELLED: frozenset(),
}

# What certainly never left is tried again for this long; then it comes back to a person.
SEND_FOR = timedelta(hours=24)
# Where a repetition is paid only once, a refund that the gateway does not know is sent again, but
# not for ever: a gateway that forgets it each time needs a person.
MAX_SENDS = 3
# How often a refund in doubt is asked about; then it is a person's turn.
UNKNOWN_CHECKS = (
    timedelta(seconds=30),
    timedelta(minutes=5),
    timedelta(hours=1),
    timedelta(hours=6),
    *(timedelta(days=1),) * 7,
)
# Banks take days to give money back on a card: asking each minute would tell nothing.
_SLOWEST = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundState:
    """What a decision needs to know of a refund.

    reference: what the gateway knows it by.
    room: what the payment has left to give back beside its reserve, in minor units.
    decided_at: when it was approved.
    sends: how often it was sent, this time included.
    not_found: "I do not know it" answers in a row, the first of them at `not_found_since`, which
        stays when it is sent again: the sending before may still be on its way.
    """

    status: RefundStatus
    reference: str
    amount: Money
    room: int = 0
    decided_at: datetime | None = None
    sends: int = 0
    checks: int = 0
    not_found: int = 0
    not_found_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundChange:
    """What follows from an outcome: new values, and None where nothing changes.

    event: the event type; None when nothing changed that anybody watches.
    flagged: whether the payment needs somebody's attention for it; None: as before.
    unsent: the last sending certainly took no effect: it may be sent again when it is due.
    """

    note: str
    status: RefundStatus
    event: str | None = None
    failure: Failure | None = None
    flagged: bool | None = None
    gateway_transaction_id: str | None = None
    plugin_data: Mapping[str, Any] = field(default_factory=dict)
    next_check_at: datetime | None = None
    checks: int = 0
    unsent: bool = False
    not_found: int = 0
    not_found_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundTiming(Timing):
    """The clock of a decision. repeatable: the same refund sent twice is paid once."""

    repeatable: bool = False

    def next_pending(self, checks: int) -> datetime:
        """When a refund is due again that the gateway has accepted: ever more rarely."""
        first = self.schedule.first
        if checks < len(first):
            return self.after(first[checks])
        grown = self.schedule.then * 1.5 ** min(checks - len(first), 40)
        return self.after(min(timedelta(seconds=grown), _SLOWEST))

    def next_in_doubt(self, checks: int) -> datetime | None:
        if not self.can_ask or checks >= len(UNKNOWN_CHECKS):
            return None
        return self.after(UNKNOWN_CHECKS[checks])


def money_moved(before: RefundStatus, after: RefundStatus, amount: int) -> tuple[int, int]:
    """By how much the payment's reserved and refunded amounts change."""
    reserved = (after in RESERVING) - (before in RESERVING)
    refunded = (after is RefundStatus.SUCCEEDED) - (before is RefundStatus.SUCCEEDED)
    return amount * reserved, amount * refunded


def decide_refund(
    refund: RefundState, outcome: Outcome, kind: TransactionKind, timing: RefundTiming
) -> RefundChange:
    """What a refund becomes when the gateway, or a person with evidence, said `outcome`."""
    if problem := _contradiction(refund, outcome):
        return _contradicted(refund, problem, timing)
    match outcome:
        case Succeeded():
            return _succeeded(refund, outcome)
        case Failed():
            return _failed(refund, outcome, kind, timing)
        case Accepted():
            return _accepted(refund, outcome, kind, timing)
        case NotSent() if kind is TransactionKind.REFUND:
            return _not_sent(refund, outcome, timing)
        case NotSent() if kind is TransactionKind.REFUND_STATUS:
            return _not_found(refund, outcome, timing)
        case NotSent(cause=cause) | Unknown(cause=cause):
            return _unknown(refund, cause, kind, timing)


def _contradiction(refund: RefundState, outcome: Outcome) -> str | None:
    """What in an answer contradicts what was sent; None when all agrees."""
    if isinstance(outcome, Accepted | Failed | Succeeded) and outcome.reference not in {
        None,
        refund.reference,
    }:
        return f"the answer is about another reference, {outcome.reference}"
    if not isinstance(outcome, Succeeded):
        return None
    if outcome.amount != refund.amount:
        return f"the gateway says {outcome.amount}, we asked for {refund.amount}"
    if refund.status not in UNDER_WAY | {RefundStatus.SUCCEEDED, RefundStatus.FAILED}:
        return f"the gateway says it is done, and it is {refund.status}"
    return None


def _contradicted(refund: RefundState, problem: str, timing: RefundTiming) -> RefundChange:
    """An answer that contradicts what was sent moves nothing, and a person is called."""
    in_doubt = refund.status in UNDER_WAY
    change = _same(
        refund,
        f"refused: {problem}",
        flagged=True,
        event=event_of(RefundStatus.UNKNOWN if in_doubt else refund.status),
    )
    if not in_doubt:
        return change
    checks = refund.checks + 1 if refund.status is RefundStatus.UNKNOWN else 0
    return replace(
        change,
        status=RefundStatus.UNKNOWN,
        checks=checks,
        next_check_at=timing.next_in_doubt(checks),
    )


def _succeeded(refund: RefundState, outcome: Succeeded) -> RefundChange:
    if refund.status is RefundStatus.SUCCEEDED:
        return _same(refund, "succeeded (known already)")
    done = RefundChange(
        note="succeeded",
        status=RefundStatus.SUCCEEDED,
        event=event_of(RefundStatus.SUCCEEDED),
        flagged=_settled(refund),
        gateway_transaction_id=outcome.gateway_transaction_id,
    )
    if refund.status is not RefundStatus.FAILED:
        return done
    if refund.room >= refund.amount.minor:
        return replace(done, note="succeeded (late)", flagged=True)
    # Its reserve was given up and used for another refund since: more went back than was paid.
    return _same(
        refund,
        "succeeded (late), and nothing is left of the payment",
        flagged=True,
        event=event_of(RefundStatus.FAILED),
    )


def _failed(
    refund: RefundState, outcome: Failed, kind: TransactionKind, timing: RefundTiming
) -> RefundChange:
    note = f"failed: {outcome.code}" + (
        f" ({outcome.gateway_code})" if outcome.gateway_code else ""
    )
    if refund.status is RefundStatus.SUCCEEDED:
        return _same(refund, note, flagged=True, event=event_of(RefundStatus.SUCCEEDED))
    if refund.status not in UNDER_WAY:
        return _same(refund, note)
    if kind is TransactionKind.REFUND and refund.not_found_since is not None:
        # It may be refused because the sending before this one arrived after all.
        return _unknown(refund, f"{note}, after a sending in doubt", kind, timing)
    return RefundChange(
        note=note,
        status=RefundStatus.FAILED,
        event=event_of(RefundStatus.FAILED),
        flagged=_settled(refund),
        failure=Failure(
            code=outcome.code, message=outcome.message, gateway_code=outcome.gateway_code
        ),
    )


def _accepted(
    refund: RefundState, outcome: Accepted, kind: TransactionKind, timing: RefundTiming
) -> RefundChange:
    note = f"pending: unknown status {outcome.unmapped}" if outcome.unmapped else "pending"
    if refund.status not in UNDER_WAY:
        return _same(refund, note)
    if not timing.can_ask:
        # The gateway took it and cannot be asked: only a person can find out what became of it.
        change = _unknown(refund, "the gateway took it, and cannot be asked", kind, timing)
        return replace(change, plugin_data=outcome.plugin_data)
    news = kind is TransactionKind.REFUND or refund.status is not RefundStatus.PROCESSING
    checks = 0 if news else refund.checks + 1
    return RefundChange(
        note=note,
        status=RefundStatus.PROCESSING,
        event=event_of(RefundStatus.PROCESSING) if news else None,
        flagged=_settled(refund),
        plugin_data=outcome.plugin_data,
        checks=checks,
        next_check_at=timing.next_pending(checks),
    )


def _not_sent(refund: RefundState, outcome: NotSent, timing: RefundTiming) -> RefundChange:
    """It certainly took no effect: tried again for a while, then a person's turn."""
    if refund.status not in UNDER_WAY:
        return _same(refund, f"not sent: {outcome.cause}")
    if timing.over(refund.decided_at and refund.decided_at + SEND_FOR * timing.scale):
        if refund.not_found_since is not None:
            # That this sending took no effect says nothing of the one before.
            return _unknown(refund, outcome.cause, TransactionKind.REFUND, timing)
        return RefundChange(
            note=f"never sent: {outcome.cause}",
            status=RefundStatus.FAILED,
            event=event_of(RefundStatus.FAILED),
            flagged=_settled(refund),
            failure=Failure(code=FailureCode.NOT_SENT, message=outcome.cause),
        )
    wait = outcome.retry_after or min(
        timedelta(hours=1), timedelta(seconds=10) * 2 ** min(refund.checks, 12)
    )
    return _same(
        refund,
        f"not sent: {outcome.cause}",
        checks=refund.checks + 1,
        unsent=True,
        not_found_since=refund.not_found_since,
        next_check_at=timing.after(wait),
    )


def _not_found(refund: RefundState, outcome: NotSent, timing: RefundTiming) -> RefundChange:
    # What was accepted once, or may be paid twice, is never sent again.
    if refund.status is not RefundStatus.UNKNOWN or not timing.repeatable:
        return _unknown(refund, outcome.cause, TransactionKind.REFUND_STATUS, timing)
    times = refund.not_found + 1
    since = (refund.not_found_since if refund.not_found else None) or timing.now
    note = f"not known to the gateway ({times}): {outcome.cause}"
    believed = times >= NOT_FOUND_TIMES and timing.now - since >= NOT_FOUND_FOR * timing.scale
    if believed and _may_send_again(refund, timing):
        return _same(refund, note, unsent=True, not_found_since=since, next_check_at=timing.now)
    checks = refund.checks + 1
    return _same(
        refund,
        note,
        checks=checks,
        not_found=times,
        not_found_since=since,
        next_check_at=timing.next_in_doubt(checks),
    )


def _may_send_again(refund: RefundState, timing: RefundTiming) -> bool:
    """Not for ever, and not after its approvals were taken away: then it is only asked about."""
    return (
        refund.sends < MAX_SENDS
        and refund.decided_at is not None
        and not timing.over(refund.decided_at + SEND_FOR * timing.scale)
    )


def _unknown(
    refund: RefundState, cause: str, kind: TransactionKind, timing: RefundTiming
) -> RefundChange:
    note = f"unknown: {cause}"
    if refund.status not in UNDER_WAY:
        return _same(refund, note)
    asked = kind is TransactionKind.REFUND_STATUS
    if refund.status is RefundStatus.PROCESSING and asked and timing.can_ask:
        # The gateway has it; that it did not answer this time changes nothing.
        checks = refund.checks + 1
        return _same(refund, note, checks=checks, next_check_at=timing.next_pending(checks))
    news = refund.status is not RefundStatus.UNKNOWN
    checks = 0 if news or not asked else refund.checks + 1
    return RefundChange(
        note=note,
        status=RefundStatus.UNKNOWN,
        event=event_of(RefundStatus.UNKNOWN) if news else None,
        flagged=True if news else None,
        checks=checks,
        next_check_at=timing.next_in_doubt(checks),
        not_found=refund.not_found if asked else 0,
        not_found_since=refund.not_found_since,
    )


def _settled(refund: RefundState) -> bool | None:
    """What was in doubt needs no attention any more."""
    return False if refund.status is RefundStatus.UNKNOWN else None


def _same(refund: RefundState, note: str, **changes: Any) -> RefundChange:
    return RefundChange(note=note, status=refund.status, **changes)


def event_of(status: RefundStatus) -> str:
    """The type of the event that tells of a status."""
    return f"refund.{status.lower()}"
