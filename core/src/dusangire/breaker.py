"""When a gateway is left alone, and when it is trusted again: pure decisions, without I/O.

CLOSED ──(calls without a usable answer)──▶ OPEN ──(a status read is answered)──▶ CLOSED

The state is shared by all processes through one row. Each change begins a new term: odd terms are
open, even ones closed, so that two who have the same term agree, and a call that began in an
earlier one (a timeout comes a minute late) changes nothing any more.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from dusangire.exchanges import Exchange
from dusangire.gateway import Accepted, Failed, FailureCode, NotSent, Outcome, Succeeded, Unknown
from dusangire.lifecycle import TransactionKind

# One lost answer is the network's everyday life. Five in a row are not, and come within half a
# minute also where there is one payment a minute, since each is asked about four times in that.
IN_A_ROW = 5
# At a busy gateway one success among failures would begin the row anew for ever.
RECENT = 20
TOO_MANY = 10
WITHIN = 60.0
# A single payment that the gateway chokes on must not stop all others.
PAYMENTS = 2
# The first look soon, for most troubles are short; then rarely, for the others last for hours.
FIRST_PROBE = 5.0
SLOWEST_PROBE = 60.0
# After an outage all that waited is due at once: the share of the places grows over this long.
GENTLE = 30.0

_REFUSED = frozenset({401, 403})
_TROUBLE = frozenset({408, 425, 429})


class BreakerState(StrEnum):
    """CLOSED: calls go through. OPEN: nothing new is sent until a status read is answered."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"


@dataclass(frozen=True, slots=True)
class Call:
    """One call and whether it got a usable answer. at: monotonic. about: an attempt's reference."""

    at: float
    about: str
    answered: bool


@dataclass(frozen=True, slots=True)
class Breaker:
    """What one process knows: the term, and the latest calls that it made in it."""

    term: int = 0
    calls: tuple[Call, ...] = ()

    @property
    def state(self) -> BreakerState:
        return BreakerState.OPEN if self.term % 2 else BreakerState.CLOSED

    @property
    def is_open(self) -> bool:
        return self.state is BreakerState.OPEN

    def saw(self, call: Call, term: int) -> "Breaker":
        """After a call that began in `term`; calls of earlier terms do not count."""
        if term != self.term:
            return self
        return replace(self, calls=(*self.calls, call)[-RECENT:])

    def learned(self, term: int) -> "Breaker":
        """After the shared row was read: a later term is the truth, an earlier one is old news."""
        return Breaker(term) if term > self.term else self

    def must_change(self, now: float) -> bool:
        """Whether the calls seen are reason to open, or to close."""
        if self.is_open:
            return any(call.answered for call in self.calls)
        return _failing(self.calls[-IN_A_ROW:], IN_A_ROW) or _failing(
            [call for call in self.calls if now - call.at <= WITHIN], TOO_MANY, of=RECENT
        )


def _failing(calls: Sequence[Call], times: int, of: int = 0) -> bool:
    failed = [call for call in calls if not call.answered]
    payments = {call.about for call in failed}
    return len(calls) >= of and len(failed) >= times and len(payments) >= PAYMENTS


def probe_wait(probes: int, scale: float = 1.0) -> timedelta:
    """How long until the next look, after `probes` without an answer: 5 s, 10 s, … 60 s, ±10 %."""
    seconds = min(SLOWEST_PROBE, FIRST_PROBE * 2 ** min(probes, 10))
    return timedelta(seconds=seconds * scale * random.uniform(0.9, 1.1))  # noqa: S311 - jitter


def gentle_share(limit: int, closed_for: float, scale: float = 1.0) -> int:
    """How many of `limit` places what waited may take, so long after the breaker closed."""
    if closed_for >= GENTLE * scale:
        return limit
    return min(limit, 1 << int(max(0.0, closed_for) / (GENTLE * scale) * 5))


def is_answer(kind: TransactionKind, outcome: Outcome, exchanges: Sequence[Exchange]) -> bool:
    """Whether the gateway, as its last exchange shows, gave an answer that can be used.

    A decline is one, and so is "I do not know this reference".
    """
    status = exchanges[-1].http_status if exchanges else None
    broken = status is None or status >= 500 or status in _TROUBLE | _REFUSED
    match outcome:
        case Succeeded() | Accepted():
            return True
        case Failed(code=FailureCode.GATEWAY_CONFIGURATION):
            # Refused credentials come in many statuses. In an answer that is otherwise in order it
            # is this one payment that the account is not made for.
            return status is not None and status < 400
        case Failed(code=FailureCode.GATEWAY_ERROR):
            return not broken
        case Failed():
            return True
        case NotSent():
            return not broken and kind is not TransactionKind.INITIATE
        case Unknown(gateway_code=code):
            # It speaks its own language, and leaves open what became of this one payment.
            return not broken and code is not None
