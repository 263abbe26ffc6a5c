"""What no reference explains: amounts, days and payers, compared inside small buckets.

Pure: the same lines and items give the same matches, in whatever order they come. Nothing here is
guessed: of two that would fit equally, none is taken.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from dusangire.reconciliation import calendar, names, subsets
from dusangire.reconciliation.references import normalised

_WORD = re.compile(r"[^\W_]+")
# Of more equal amounts than these, no two tell each other apart by amount and day.
MOST_IN_BUCKET = 60
_CLEARLY_BETTER = 10
_CANDIDATES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLine:
    """A line that nothing has explained. Amounts are minor units."""

    id: UUID
    direction: str
    amount: int
    currency: str
    day: date
    name: str | None = None
    payers: frozenset[str] = frozenset()
    narration: str = ""
    words: frozenset[str] = frozenset()
    trusted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenItem:
    """Money of ours that no statement has confirmed."""

    id: UUID
    kind: str
    direction: str
    amount: int
    currency: str
    began: date
    day: date
    name: str | None = None
    payer: str | None = None
    words: frozenset[str] = frozenset()
    provider: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How strict an account is."""

    days_before: int = 1
    days_after: int = 3
    payout_before: int = 1
    payout_after: int = 3
    tolerance: int = 0
    tolerance_percent: Decimal = Decimal(1)
    threshold: int = 92
    auto_payer: bool = False
    rejected: frozenset[tuple[UUID, UUID]] = frozenset()
    tied: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Lines and items that belong together, sure or only suggested."""

    line_ids: tuple[UUID, ...]
    item_ids: tuple[UUID, ...]
    rule: str
    confidence: int
    explanation: tuple[str, ...]
    currency: str
    sure: bool = False
    difference: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A line and an item that would fit, as others would. score: 0 to 100."""

    line_id: UUID
    item_id: UUID
    rule: str
    score: int


@dataclass(slots=True)
class _Table:
    lines: list[OpenLine]
    items: list[OpenItem]
    terms: Terms
    matches: list[Match] = field(default_factory=list)
    candidates: dict[tuple[UUID, UUID], Candidate] = field(default_factory=dict)

    def take(self, matches: Sequence[Match]) -> None:
        self.matches += matches
        lines = {line_id for match in matches for line_id in match.line_ids}
        items = {item_id for match in matches for item_id in match.item_ids}
        self.lines = [line for line in self.lines if line.id not in lines]
        self.items = [item for item in self.items if item.id not in items]

    def allowed(self, line: OpenLine, item: OpenItem) -> bool:
        return (
            line.direction == item.direction
            and line.currency == item.currency
            and line.day >= item.began - timedelta(days=1)
            and (line.id, item.id) not in self.terms.rejected
        )

    def sure(self, confidence: int, lines: Iterable[OpenLine], items: Iterable[OpenItem]) -> bool:
        lines = list(lines)
        ids = {line.id for line in lines} | {item.id for item in items}
        return (
            confidence >= self.terms.threshold
            and all(line.trusted for line in lines)
            and not ids & self.terms.tied
        )


def match(
    lines: Sequence[OpenLine], items: Sequence[OpenItem], terms: Terms
) -> tuple[list[Match], list[Candidate]]:
    """What of these belongs together, and where a person has to pick."""
    table = _Table(
        sorted(lines, key=lambda line: (line.day, line.id)),
        sorted(items, key=lambda item: (item.day, item.id)),
        terms,
    )
    _payouts(table)
    _by_payer(table)
    _by_day(table)
    _several(table)
    _nearly(table)
    free = {line.id for line in table.lines} | {item.id for item in table.items}
    left = [
        candidate
        for candidate in table.candidates.values()
        if candidate.line_id in free and candidate.item_id in free
    ]
    return table.matches, sorted(left, key=lambda c: (c.line_id, c.item_id))


# ── one line, one item ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Pair:
    line: OpenLine
    item: OpenItem
    score: int
    confidence: int
    said: tuple[str, ...]


def _payouts(table: _Table) -> None:
    """The provider's payout as the bank has it: the amount, about the day, and by its name."""
    pairs = []
    for line, item in _equal(table, payouts=True):
        latest = calendar.business_days_after(item.day, table.terms.payout_after)
        if not item.day - timedelta(days=table.terms.payout_before) <= line.day <= latest:
            continue
        if named := sorted(line.words & item.words):
            said = f"The statement names the payout {named[0]}."
            pairs.append(_Pair(line, item, 99, 99, (said, _same_amount(line), _days(line, item))))
        elif word := _provider_word(line, item):
            said = f"The statement names the provider: {word}."
            pairs.append(_Pair(line, item, 95, 95, (said, _same_amount(line), _days(line, item))))
    _decide(table, "payout-to-bank", [pair for pair in pairs if pair.confidence == 99], gap=0)
    _decide(table, "payout-to-bank", _still(table, pairs), gap=0)


def _provider_word(line: OpenLine, item: OpenItem) -> str | None:
    # Whole words: CARDOSO is no card, and a QR code no cash on delivery.
    text = " ".join(_WORD.findall(f"{line.narration} {line.name or ''}".upper()))
    for word in item.provider:
        wanted = " ".join(_WORD.findall(word.upper()))
        if len(wanted) >= 3 and f" {wanted} " in f" {text} ":
            return word
    return None


def _by_payer(table: _Table) -> None:
    """The amount, within some days, and the same payer."""
    pairs = []
    for line, item in _equal(table):
        payer, said = _payer(line, item)
        if not payer or not _in_window(line, item, table.terms):
            continue
        score = 40 + _near(line, item) + payer
        pairs.append(_Pair(line, item, score, 85, (said, _same_amount(line), _days(line, item))))
    _decide(table, "amount-date-payer", pairs, gap=_CLEARLY_BETTER, auto=table.terms.auto_payer)


def _by_day(table: _Table) -> None:
    """The amount, on the day or the business day after, and nothing else that would fit."""
    pairs = [
        _Pair(line, item, 40 + _near(line, item), 75, (_same_amount(line), _days(line, item)))
        for line, item in _equal(table)
        if item.day <= line.day <= calendar.business_days_after(item.day, 1)
    ]
    _decide(table, "amount-date", pairs, gap=1000)


def _nearly(table: _Table) -> None:
    """The same payer and nearly the amount: a person says yes, and the rest is written off."""
    terms = table.terms
    if not terms.tolerance:
        return
    items: dict[Hashable, list[OpenItem]] = defaultdict(list)
    for item in table.items:
        for key in _payer_keys(item.payer, item.name):
            items[key].append(item)
    pairs = {}
    for line in table.lines:
        for key in {k for payer in [None, *line.payers] for k in _payer_keys(payer, line.name)}:
            for item in items[key][:MOST_IN_BUCKET]:
                apart = abs(line.amount - item.amount)
                close = (
                    0
                    < apart
                    <= min(terms.tolerance, int(item.amount * terms.tolerance_percent / 100))
                )
                if close and table.allowed(line, item) and _in_window(line, item, terms):
                    payer, said = _payer(line, item)
                    score = 20 + _near(line, item) + payer
                    words = (said, f"{apart} apart, within what was agreed.", _days(line, item))
                    pairs[line.id, item.id] = _Pair(line, item, score, 75, words)
    _decide(table, "tolerance", list(pairs.values()), gap=_CLEARLY_BETTER)


_One = TypeVar("_One", OpenLine, OpenItem)


def _equal(table: _Table, *, payouts: bool = False) -> Iterable[tuple[OpenLine, OpenItem]]:
    """Pairs with the same amount; of too many equal ones, none."""
    lines = _buckets(table.lines)
    items = _buckets(item for item in table.items if (item.kind == "PAYOUT") == payouts)
    for key in sorted(lines.keys() & items.keys()):
        few = len(lines[key]) <= MOST_IN_BUCKET and len(items[key]) <= MOST_IN_BUCKET
        for line in lines[key] if few else ():
            for item in items[key]:
                if table.allowed(line, item):
                    yield line, item


def _buckets(ones: Iterable[_One]) -> dict[tuple[str, str, int], list[_One]]:
    """By direction, currency and amount."""
    found: dict[tuple[str, str, int], list[_One]] = defaultdict(list)
    for one in ones:
        found[one.direction, one.currency, one.amount].append(one)
    return found


def _still(table: _Table, pairs: Iterable[_Pair]) -> list[_Pair]:
    free = {line.id for line in table.lines} | {item.id for item in table.items}
    return [pair for pair in pairs if {pair.line.id, pair.item.id} <= free]


def _decide(table: _Table, rule: str, pairs: list[_Pair], *, gap: int, auto: bool = False) -> None:
    """Takes a pair when neither of the two has another that is nearly as good.

    gap: by how much the next best has to be worse; 0 and 1000: there must not be any.
    """
    of_line: dict[UUID, list[_Pair]] = defaultdict(list)
    of_item: dict[UUID, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        of_line[pair.line.id].append(pair)
        of_item[pair.item.id].append(pair)
    taken = []
    for pair in pairs:
        rivals = [
            other
            for other in (*of_line[pair.line.id], *of_item[pair.item.id])
            if other is not pair and (gap in {0, 1000} or other.score > pair.score - gap)
        ]
        if not rivals:
            taken.append(pair)
            continue
        near = sorted(of_line[pair.line.id], key=lambda p: (-p.score, p.item.id))[:_CANDIDATES]
        if pair in near:
            table.candidates.setdefault(
                (pair.line.id, pair.item.id),
                Candidate(line_id=pair.line.id, item_id=pair.item.id, rule=rule, score=pair.score),
            )
    table.take([_taken(table, rule, pair, auto=auto) for pair in taken])


def _taken(table: _Table, rule: str, pair: _Pair, *, auto: bool) -> Match:
    sure = table.sure(pair.confidence, [pair.line], [pair.item])
    untied = table.sure(table.terms.threshold, [pair.line], [pair.item])
    sign = 1 if pair.line.direction == "CREDIT" else -1
    return Match(
        line_ids=(pair.line.id,),
        item_ids=(pair.item.id,),
        rule=rule,
        confidence=pair.confidence,
        explanation=pair.said,
        currency=pair.line.currency,
        sure=sure or (auto and untied),
        difference=sign * (pair.line.amount - pair.item.amount),
    )


# ── several ──────────────────────────────────────────────────────────────────────────────────────


def _several(table: _Table) -> None:
    """Instalments of one payment, and one transfer for several, of the same payer."""
    lines: dict[Hashable, list[OpenLine]] = defaultdict(list)
    items: dict[Hashable, list[OpenItem]] = defaultdict(list)
    for line in table.lines:
        for key in sorted({k for p in [None, *line.payers] for k in _payer_keys(p, line.name)}):
            lines[key, line.direction, line.currency].append(line)
    for item in table.items:
        if item.kind != "PAYOUT":
            for key in _payer_keys(item.payer, item.name):
                items[key, item.direction, item.currency].append(item)
    found = []
    for both in sorted(lines.keys() & items.keys(), key=str):
        found += _combined(table, lines[both], items[both])
        found += _instalments(table, lines[both], items[both])
    uses: dict[UUID, set[Match]] = defaultdict(set)
    for match in set(found):
        for one in (*match.line_ids, *match.item_ids):
            uses[one].add(match)
    table.take(
        [
            match
            for match in sorted(set(found), key=lambda m: (m.line_ids, m.item_ids))
            if all(len(uses[one]) == 1 for one in (*match.line_ids, *match.item_ids))
        ]
    )


def _combined(table: _Table, lines: list[OpenLine], items: list[OpenItem]) -> list[Match]:
    found = []
    for line in lines:
        near = [
            item
            for item in items
            if table.allowed(line, item) and _in_window(line, item, table.terms)
        ]
        solved = subsets.summing_up([item.amount for item in near], line.amount)
        if solved.found is subsets.Found.ONE:
            parts = [near[place] for place in solved.chosen]
            found.append(_suggested(55, "combined", [line], parts, "One transfer for several"))
        elif solved.found is subsets.Found.MANY:
            for place in solved.chosen[:_CANDIDATES]:
                _note(table, line, near[place], "combined", 55)
    return found


def _instalments(table: _Table, lines: list[OpenLine], items: list[OpenItem]) -> list[Match]:
    found = []
    for item in items:
        near = [
            line
            for line in lines
            if table.allowed(line, item) and _in_window(line, item, table.terms)
        ]
        solved = subsets.summing_up([line.amount for line in near], item.amount)
        if solved.found is subsets.Found.ONE:
            parts = [near[place] for place in solved.chosen]
            found.append(_suggested(60, "instalments", parts, [item], "Several transfers for one"))
        elif solved.found is subsets.Found.MANY:
            for place in solved.chosen[:_CANDIDATES]:
                _note(table, near[place], item, "instalments", 60)
    return found


def _suggested(
    confidence: int, rule: str, lines: list[OpenLine], items: list[OpenItem], words: str
) -> Match:
    return Match(
        line_ids=tuple(sorted(line.id for line in lines)),
        item_ids=tuple(sorted(item.id for item in items)),
        rule=rule,
        confidence=confidence,
        explanation=(f"{words}: the only sum that fits.", "The same payer."),
        currency=lines[0].currency,
    )


def _note(table: _Table, line: OpenLine, item: OpenItem, rule: str, score: int) -> None:
    table.candidates.setdefault(
        (line.id, item.id),
        Candidate(line_id=line.id, item_id=item.id, rule=rule, score=score),
    )


# ── what they have in common ─────────────────────────────────────────────────────────────────────


def _payer(line: OpenLine, item: OpenItem) -> tuple[int, str]:
    if item.payer and normalised(item.payer) in line.payers:
        return 15, "The payer's number is the same."
    alike = names.similarity(line.name, item.name)
    if alike >= names.SAME:
        return round(0.15 * alike), f"The payer's name is the same to {alike} %."
    return 0, ""


def _payer_keys(payer: str | None, name: str | None) -> list[tuple[str, ...]]:
    words = names.tokens(name or "")
    keys: list[tuple[str, ...]] = [("number", normalised(payer))] if payer else []
    return [*keys, ("name", *words)] if len(words) > 1 else keys


def _in_window(line: OpenLine, item: OpenItem, terms: Terms) -> bool:
    first = item.day - timedelta(days=terms.days_before)
    return first <= line.day <= calendar.business_days_after(item.day, terms.days_after)


def _near(line: OpenLine, item: OpenItem) -> int:
    apart = abs((line.day - item.day).days)
    steps: Mapping[int, int] = {0: 10, 1: 8, 2: 5, 3: 5}
    return steps.get(apart, 2 if apart <= 7 else 0)


def _same_amount(line: OpenLine) -> str:
    return f"The same amount in {line.currency} on both sides."


def _days(line: OpenLine, item: OpenItem) -> str:
    days = (line.day - item.day).days
    if days == 0:
        return "The same day."
    return (
        f"Booked {abs(days)} day{'s' if abs(days) > 1 else ''} {'later' if days > 0 else 'before'}."
    )
