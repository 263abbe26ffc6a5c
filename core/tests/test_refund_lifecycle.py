"""What a refund may become, as a table: pure decisions."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from dusangire.errors import CannotStart
from dusangire.gateway import Accepted, Failed, FailureCode, NotSent, Outcome, Succeeded, Unknown
from dusangire.lifecycle import TransactionKind
from dusangire.money import Money
from dusangire.records import RefundStatus
from dusangire.refund_lifecycle import (
    REFUND_MOVES,
    RESERVING,
    UNKNOWN_CHECKS,
    RefundState,
    RefundTiming,
    decide_refund,
    money_moved,
)
from dusangire.settings import Settings

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
PRICE = Money(5000, "RWF")
TIMING = RefundTiming(now=NOON)
STATE = RefundState(
    status=RefundStatus.PROCESSING, reference="ours", amount=PRICE, decided_at=NOON, room=0
)
OUTCOMES: Mapping[str, Outcome] = {
    "succeeded": Succeeded(amount=PRICE, reference="ours"),
    "of another amount": Succeeded(amount=Money(1, "RWF"), reference="ours"),
    "of another refund": Succeeded(amount=PRICE, reference="theirs"),
    "failed": Failed(code=FailureCode.OTHER, message="No."),
    "accepted": Accepted(),
    "not sent": NotSent(cause="refused"),
    "unknown": Unknown(cause="lost"),
}
KINDS = [
    TransactionKind.REFUND,
    TransactionKind.REFUND_STATUS,
    TransactionKind.CALLBACK,
    TransactionKind.MANUAL,
]


@pytest.mark.parametrize("status", RefundStatus)
def test_no_outcome_leads_where_no_refund_may_go(status: RefundStatus) -> None:
    state = replace(STATE, status=status, room=9000)

    for outcome, kind, can_ask in product(OUTCOMES.values(), KINDS, (True, False)):
        change = decide_refund(state, outcome, kind, replace(TIMING, can_ask=can_ask))

        assert change.status is status or change.status in REFUND_MOVES[status]


@pytest.mark.parametrize("status", RefundStatus)
def test_only_a_success_of_this_very_refund_gives_money_back(status: RefundStatus) -> None:
    state = replace(STATE, status=status, room=9000)

    for (name, outcome), kind in product(OUTCOMES.items(), KINDS):
        change = decide_refund(state, outcome, kind, TIMING)
        _, refunded = money_moved(status, change.status, PRICE.minor)

        assert refunded == 0 or name == "succeeded"


def test_the_reserve_is_given_up_only_for_an_end() -> None:
    for before, after in product(RefundStatus, RefundStatus):
        reserved, refunded = money_moved(before, after, 10)

        if before in RESERVING and after not in RESERVING:
            assert (reserved, refunded) == (-10, 10 if after is RefundStatus.SUCCEEDED else 0)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Unknown(cause="lost"), TransactionKind.REFUND),
        (Unknown(cause="lost"), TransactionKind.REFUND_STATUS),
        (NotSent(cause="not known"), TransactionKind.REFUND_STATUS),
        (Accepted(), TransactionKind.REFUND_STATUS),
    ],
)
@pytest.mark.parametrize("times", range(6))
def test_what_may_be_paid_twice_is_never_free_to_be_sent_again(
    outcome: Outcome, kind: TransactionKind, times: int
) -> None:
    state = replace(
        STATE,
        status=RefundStatus.UNKNOWN,
        not_found=times,
        not_found_since=NOON - timedelta(hours=1),
    )

    assert not decide_refund(state, outcome, kind, TIMING).unsent


def test_a_refund_in_doubt_is_asked_about_more_and_more_rarely_and_then_left_to_a_person() -> None:
    waits = []
    for checks in range(len(UNKNOWN_CHECKS)):
        state = replace(STATE, status=RefundStatus.UNKNOWN, checks=checks)
        change = decide_refund(state, Unknown(cause="lost"), TransactionKind.REFUND_STATUS, TIMING)
        waits.append(change.next_check_at)

    assert waits[-1] is None
    assert all(wait is not None and wait > NOON for wait in waits[:-1])


def test_a_refusal_after_a_sending_in_doubt_is_no_end() -> None:
    state = replace(STATE, status=RefundStatus.UNKNOWN, sends=2, not_found_since=NOON)

    change = decide_refund(state, OUTCOMES["failed"], TransactionKind.REFUND, TIMING)

    assert change.status is RefundStatus.UNKNOWN


def test_a_gateway_that_accepted_and_cannot_be_asked_leaves_it_to_a_person() -> None:
    timing = replace(TIMING, can_ask=False)

    change = decide_refund(STATE, Accepted(), TransactionKind.REFUND, timing)

    assert (change.status, change.flagged) == (RefundStatus.UNKNOWN, True)
    assert change.next_check_at is None


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", ()),
        ("RWF 500000", (Money(500_000, "RWF"),)),
        ("RWF 500000, USD 400.50,", (Money(500_000, "RWF"), Money(40_050, "USD"))),
    ],
)
def test_two_approvers_above_takes_an_amount_for_each_currency(
    text: str, limits: tuple[Money, ...]
) -> None:
    settings = Settings.read({"DUSANGIRE_TWO_APPROVERS_ABOVE": text})

    assert settings.two_approvers_above == limits


@pytest.mark.parametrize("text", ["500000", "RWF", "RWF 1.5", "XXX 1", "RWF -1", "RWF 1 2"])
def test_two_approvers_above_refuses_what_is_no_amount(text: str) -> None:
    with pytest.raises(CannotStart, match="DUSANGIRE_TWO_APPROVERS_ABOVE"):
        Settings.read({"DUSANGIRE_TWO_APPROVERS_ABOVE": text})
