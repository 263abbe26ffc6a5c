"""Whether a statement holds together: balances, dates, totals, and what came before it.

What is found is a warning, for the lines are true all the same. Where the balances do not agree
something is missing or was read wrongly: then no machine matches these lines before a person has
looked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from dusangire.money import Money
from dusangire.statements import Direction, Entry, EntryStatus, StatementEnd, StatementHead

# After these a person looks before a machine goes on.
BLOCKING = frozenset({"BALANCE_TIE", "RUNNING_BALANCE", "TOTALS", "CURRENCY"})
_SLACK = timedelta(days=3)
# Statements that lie further apart are not two neighbours: something between them was not imported.
_NEIGHBOURS = timedelta(days=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something about a file that a person should know. line: of the file."""

    code: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is known of the statement before: its balance at the end, its last day, its number."""

    closing: int | None = None
    until: date | None = None
    sequence: str | None = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """One statement, entry by entry."""

    head: StatementHead
    currency: str
    today: date
    credits: int = 0
    debits: int = 0
    entries: int = 0
    rejected: int = 0
    first_day: date | None = None
    last_day: date | None = None
    _warned: list[Warned] = field(default_factory=list)
    _forward: "_Running" = field(default_factory=lambda: _Running(backwards=False))
    _backward: "_Running" = field(default_factory=lambda: _Running(backwards=True))
    _outside: int = 0
    _future: int = 0

    def add(self, entry: Entry) -> None:
        self.entries += 1
        if entry.status is not EntryStatus.BOOKED:
            return
        signed = entry.amount.minor
        if entry.direction is Direction.CREDIT:
            self.credits += signed
        else:
            self.debits += signed
            signed = -signed
        day = entry.booking_date
        self.first_day = min(self.first_day or day, day)
        self.last_day = max(self.last_day or day, day)
        if entry.running_balance is not None:
            self._forward.add(entry.line, entry.running_balance, signed)
            self._backward.add(entry.line, entry.running_balance, signed)
        self._look_at_day(entry)

    def _look_at_day(self, entry: Entry) -> None:
        day, head = entry.booking_date, self.head
        early = head.period_from is not None and day < head.period_from - _SLACK
        late = head.period_to is not None and day > head.period_to + _SLACK
        if early or late:
            self._outside += 1
            if self._outside == 1:
                self._warn("PERIOD", f"{day} lies outside the statement's own period.", entry.line)
        if day > self.today:
            self._future += 1
            if self._future == 1:
                self._warn("FUTURE_DATE", f"{day} is still to come.", entry.line)

    def opening(self, end: StatementEnd) -> int | None:
        return self.head.opening if self.head.opening is not None else end.opening

    def close(self, end: StatementEnd, before: Before) -> list[Warned]:
        """What is to be said of the statement, now that all of it is known."""
        self._tie(end)
        self._run()
        self._compare_totals(end)
        self._continue(end, before)
        return list(self._warned)

    def ties(self, end: StatementEnd) -> bool | None:
        """Whether the balances agree with the lines; None: the file does not say."""
        opening = self.opening(end)
        if opening is None or end.closing is None:
            return None
        return opening + self.credits - self.debits == end.closing

    def _tie(self, end: StatementEnd) -> None:
        if self.ties(end) is not False:
            return
        opening = self.opening(end) or 0
        reached = opening + self.credits - self.debits
        self._warn(
            "BALANCE_TIE",
            f"The statement opens with {self._money(opening)} and its lines lead to "
            f"{self._money(reached)}, but it closes with {self._money(end.closing or 0)}.",
        )

    def _run(self) -> None:
        # Banks list the oldest first or the newest first; either way each line fits the next.
        best = min((self._forward, self._backward), key=lambda one: one.breaks)
        if best.breaks:
            self._warn(
                "RUNNING_BALANCE",
                f"The balance beside {best.breaks} of the lines does not follow from the line "
                "next to it.",
                best.first_break,
            )

    def _compare_totals(self, end: StatementEnd) -> None:
        for what, declared, found in (
            ("credits", end.total_credits, self.credits),
            ("debits", end.total_debits, self.debits),
        ):
            if declared is not None and abs(declared) != found:
                self._warn(
                    "TOTALS",
                    f"The file says that its {what} come to {self._money(abs(declared))}; they "
                    f"come to {self._money(found)}.",
                )
        if end.entries is not None and end.entries != self.entries:
            self._warn(
                "TOTALS", f"The file says that it has {end.entries} lines; it has {self.entries}."
            )

    def _continue(self, end: StatementEnd, before: Before) -> None:
        opening = self.opening(end)
        start = self.head.period_from or self.first_day
        near = (
            before.until is not None and start is not None and start - before.until <= _NEIGHBOURS
        )
        if near and None not in (before.closing, opening) and before.closing != opening:
            self._warn(
                "CONTINUITY",
                f"The statement before this one closed with {self._money(before.closing or 0)}; "
                f"this one opens with {self._money(opening or 0)}.",
            )
        mine, last = _number(self.head.sequence), _number(before.sequence)
        if mine is not None and last is not None and mine > last + 1:
            self._warn("SEQUENCE_GAP", f"Statement {last} is followed by statement {mine}.")

    def _warn(self, code: str, message: str, line: int | None = None) -> None:
        self._warned.append(Warned(code=code, message=message, line=line))

    def _money(self, minor: int) -> str:
        return str(Money(minor, self.currency))


@dataclass(slots=True, kw_only=True)
class _Running:
    """Whether each balance follows from the one beside it, read in one direction."""

    backwards: bool
    breaks: int = 0
    first_break: int | None = None
    _balance: int | None = None
    _signed: int = 0

    def add(self, line: int, balance: int, signed: int) -> None:
        if self._balance is not None:
            fits = (
                balance == self._balance - self._signed
                if self.backwards
                else balance == self._balance + signed
            )
            if not fits:
                self.breaks += 1
                self.first_break = self.first_break or line
        self._balance, self._signed = balance, signed


def _number(text: str | None) -> int | None:
    first = (text or "").split("/")[0]
    return int(first) if first.isascii() and first.isdigit() and len(first) < 18 else None


def blocks(warned: Iterable[Warned]) -> bool:
    """Whether a person has to look before a machine matches the lines."""
    return any(one.code in BLOCKING for one in warned)


def shortened(warned: Sequence[Warned], most: int = 200) -> list[Warned]:
    """So many that a person can read them, and how many there are beside them."""
    if len(warned) <= most:
        return list(warned)
    rest = len(warned) - most
    return [*warned[:most], Warned(code="MORE", message=f"There are {rest} more warnings.")]
