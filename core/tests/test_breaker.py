"""When a gateway is left alone and when it is trusted again: the decisions by themselves."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dusangire.breaker import (
    GENTLE,
    IN_A_ROW,
    PAYMENTS,
    RECENT,
    TOO_MANY,
    WITHIN,
    Breaker,
    BreakerState,
    Call,
    gentle_share,
    is_answer,
    probe_wait,
)
from dusangire.exchanges import Exchange
from dusangire.gateway import Accepted, Failed, FailureCode, NotSent, Outcome, Succeeded, Unknown
from dusangire.lifecycle import TransactionKind
from dusangire.money import Money

# A busy machine is slow, and not wrong.
patiently = settings(deadline=None)


def after(answers: str, *, term: int = 0, seconds: float = 0) -> Breaker:
    """A breaker that saw calls about one payment each: `+` was answered, `-` was not."""
    breaker = Breaker(term)
    for n, answer in enumerate(answers):
        breaker = breaker.saw(Call(n * seconds, f"payment {n}", answer == "+"), term)
    return breaker


# ── opening and closing ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answers", "opens"),
    [
        ("", False),
        ("-" * (IN_A_ROW - 1), False),
        ("-" * IN_A_ROW, True),
        ("+" * 15 + "-" * IN_A_ROW, True),
        ("----+----+----+", False),
        ("-+" * 9, False),
        ("-+" * 10, True),
        ("-++" * 7, False),
    ],
)
def test_it_opens_after_five_in_a_row_or_half_of_the_last_twenty(answers: str, opens: bool) -> None:
    assert after(answers).must_change(now=0) is opens


def test_calls_of_long_ago_are_not_held_against_it() -> None:
    slow = after("-+" * 10, seconds=10)

    assert not slow.must_change(now=190)


def test_one_payment_that_the_gateway_chokes_on_does_not_stop_the_others() -> None:
    breaker = Breaker()
    for n in range(RECENT):
        breaker = breaker.saw(Call(float(n), "the same payment", answered=False), 0)

    assert not breaker.must_change(now=float(RECENT))
    assert breaker.saw(Call(20.0, "another one", answered=False), 0).must_change(now=20.0)


def test_one_answer_closes_it_and_silence_does_not() -> None:
    assert after("--+", term=1).must_change(now=0)
    assert not after("-" * RECENT, term=1).must_change(now=0)


def test_calls_that_began_before_the_change_do_not_count() -> None:
    timeouts = Breaker(2)
    for n in range(RECENT):
        timeouts = timeouts.saw(Call(float(n), f"payment {n}", answered=False), 0)

    assert timeouts == Breaker(2)


def test_a_later_term_is_taken_over_and_an_earlier_one_is_old_news() -> None:
    assert after("----").learned(1) == Breaker(1)
    assert after("----", term=2).learned(1) == after("----", term=2)
    assert after("----", term=2).learned(2) == after("----", term=2)


@patiently
@given(st.integers(0, 50), st.integers(0, 50))
def test_who_has_the_same_term_has_the_same_state(term: int, other: int) -> None:
    mine, theirs = Breaker().learned(term), Breaker().learned(other)

    assert (mine.state is theirs.state) or term != other
    assert mine.is_open is (mine.state is BreakerState.OPEN)


CALLS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 40)), max_size=60)


@patiently
@given(CALLS)
def test_it_never_opens_without_reason(calls: list[tuple[bool, int, int]]) -> None:
    breaker, now, seen = Breaker(), 0.0, list[Call]()
    for answered, payment, pause in calls:
        now += pause
        seen.append(Call(now, str(payment), answered))
        breaker = breaker.saw(seen[-1], 0)

        if breaker.must_change(now):
            lost = [call for call in seen[-RECENT:] if not call.answered]
            assert len({call.about for call in lost}) >= PAYMENTS
            in_a_row = not any(call.answered for call in seen[-IN_A_ROW:])
            recently = [call for call in lost if now - call.at <= WITHIN]
            assert in_a_row or len(recently) >= TOO_MANY
        if answered and all(call.answered for call in seen[-IN_A_ROW:]):
            assert not breaker.must_change(now) or len(seen) >= RECENT


class Shared(RuleBasedStateMachine):
    """Three processes and the row they share, whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.row = 0
        self.now = 0.0
        self.number = 0
        self.processes = [Breaker() for _ in range(3)]
        self.under_way: list[tuple[int, int]] = []
        self.changes: list[int] = []

    processes_ = st.integers(0, 2)

    @rule(process=processes_)
    def begins_a_call(self, process: int) -> None:
        self.under_way.append((process, self.processes[process].term))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), answered=st.booleans())
    def ends_a_call(self, data: Any, answered: bool) -> None:
        index = data.draw(st.integers(0, len(self.under_way) - 1))
        process, term = self.under_way.pop(index)
        self.now += 0.1
        self.number += 1
        before = self.processes[process]
        call = Call(self.now, str(self.number), answered)
        self.processes[process] = before.saw(call, term)
        if term != before.term:
            assert self.processes[process] == before
        self._write(process)

    @rule(process=processes_)
    def reads_the_row(self, process: int) -> None:
        self.processes[process] = self.processes[process].learned(self.row)

    def _write(self, process: int) -> None:
        """As the database does it: only who is up to date changes the row."""
        mine = self.processes[process]
        if mine.must_change(self.now) and mine.term == self.row:
            self.row += 1
            self.changes.append(self.row)
            self.processes[process] = mine.learned(self.row)

    @invariant()
    def nobody_is_ahead_of_the_row(self) -> None:
        assert all(process.term <= self.row for process in self.processes)

    @invariant()
    def each_term_began_once(self) -> None:
        assert self.changes == list(range(1, self.row + 1))

    @invariant()
    def who_has_read_the_row_agrees(self) -> None:
        states = {process.learned(self.row).state for process in self.processes}
        assert states == {Breaker(self.row).state}


TestShared = Shared.TestCase
TestShared.settings = settings(deadline=None, max_examples=50)


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────


def test_looks_come_soon_at_first_and_then_each_minute() -> None:
    for probes, seconds in enumerate([5, 10, 20, 40, 60, 60, 60]):
        assert timedelta(seconds=0.9 * seconds) <= probe_wait(probes)
        assert probe_wait(probes) <= timedelta(seconds=1.1 * seconds)
    assert probe_wait(10**6) <= timedelta(seconds=66)
    assert probe_wait(0, scale=0.01) <= timedelta(seconds=0.055)


def test_looks_of_several_gateways_spread() -> None:
    assert len({probe_wait(3) for _ in range(20)}) > 1


@patiently
@given(st.integers(1, 100), st.floats(0, 100))
def test_after_an_outage_the_share_of_the_places_only_grows(limit: int, seconds: float) -> None:
    share = gentle_share(limit, seconds)

    assert 1 <= share <= limit
    assert share <= gentle_share(limit, seconds + 1)
    assert gentle_share(limit, GENTLE) == limit


def test_the_first_seconds_after_an_outage_are_for_one_at_a_time() -> None:
    assert [gentle_share(16, seconds) for seconds in (0, 5, 7, 13, 19, 25, 30)] == [
        1, 1, 2, 4, 8, 16, 16,
    ]  # fmt: skip


# ── what an answer is ────────────────────────────────────────────────────────────────────────────

ASKED, SENT = TransactionKind.STATUS_CHECK, TransactionKind.INITIATE


def failed(code: FailureCode, word: str | None = None) -> Failed:
    return Failed(code=code, message="no", gateway_code=word)


@pytest.mark.parametrize(
    ("kind", "outcome", "status", "answer"),
    [
        (SENT, Accepted(), 202, True),
        (ASKED, Accepted(unmapped="ON_THE_MOON"), 200, True),
        (ASKED, Succeeded(amount=Money(1, "RWF"), reference="r"), 200, True),
        (SENT, failed(FailureCode.INSUFFICIENT_FUNDS), 200, True),
        # Some providers say no with a 500.
        (SENT, failed(FailureCode.PAYER_NOT_FOUND, "PAYER_NOT_FOUND"), 500, True),
        (ASKED, failed(FailureCode.GATEWAY_ERROR), 200, True),
        (SENT, failed(FailureCode.GATEWAY_ERROR), 503, False),
        # Refused credentials; and an account that cannot take this one payment.
        (SENT, failed(FailureCode.GATEWAY_CONFIGURATION), 401, False),
        (SENT, failed(FailureCode.GATEWAY_CONFIGURATION), 400, False),
        (SENT, failed(FailureCode.GATEWAY_CONFIGURATION), 200, True),
        (ASKED, NotSent(cause="it does not know the reference"), 404, True),
        (ASKED, NotSent(cause="busy"), 503, False),
        (SENT, NotSent(cause="connection refused"), None, False),
        (SENT, NotSent(cause="no token"), 200, False),
        (SENT, NotSent(cause="too many requests"), 429, False),
        (ASKED, Unknown(cause="timeout"), None, False),
        (ASKED, Unknown(cause="no token"), 401, False),
        (ASKED, Unknown(cause="its firewall"), 403, False),
        (ASKED, Unknown(cause="bad gateway"), 502, False),
        (ASKED, Unknown(cause="a web page"), 200, False),
        (SENT, Unknown(cause="it says it is not sure", gateway_code="AMBIGUOUS"), 200, True),
        (SENT, Unknown(cause="internal error", gateway_code="INTERNAL"), 500, False),
    ],
    ids=str,
)
def test_a_decline_is_an_answer_and_an_outage_is_none(
    kind: TransactionKind, outcome: Outcome, status: int | None, answer: bool
) -> None:
    exchange = Exchange(request={}, response=None, http_status=status, duration_ms=1)

    assert is_answer(kind, outcome, [exchange]) is answer
