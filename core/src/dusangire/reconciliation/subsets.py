"""Which of some amounts add up to a sum: found within limits, and never guessed.

Twenty equal amounts add up in thousands of ways; that many ways prove nothing, so the search ends
at the second one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MOST_CANDIDATES = 40
MOST_PARTS = 12
PATIENCE = 0.2
_STEPS = 200_000


class Found(StrEnum):
    """ONE: there is one way. MANY: there are several. NONE. GAVE_UP: too much to look through."""

    ONE = "ONE"
    MANY = "MANY"
    NONE = "NONE"
    GAVE_UP = "GAVE_UP"


@dataclass(frozen=True, slots=True)
class Solution:
    """chosen: places in the given amounts, in order; with MANY, the first way that was met."""

    found: Found
    chosen: tuple[int, ...] = ()


def summing_up(
    amounts: Sequence[int],
    total: int,
    *,
    parts: int = MOST_PARTS,
    clock: Callable[[], float] = time.monotonic,
) -> Solution:
    """The one choice of at least two of these amounts, all more than zero, that makes the total."""
    if total <= 0 or len(amounts) > MOST_CANDIDATES:
        return Solution(Found.GAVE_UP if total > 0 else Found.NONE)
    order = sorted(
        (place for place in range(len(amounts)) if 0 < amounts[place] < total),
        key=lambda place: (-amounts[place], place),
    )
    search = _Search([amounts[place] for place in order], parts, clock() + PATIENCE, clock)
    search.go(0, total, [])
    ways = [tuple(sorted(order[place] for place in way)) for way in search.ways]
    if search.gave_up and len(ways) < 2:
        return Solution(Found.GAVE_UP)
    if not ways:
        return Solution(Found.NONE)
    return Solution(Found.ONE if len(ways) == 1 else Found.MANY, ways[0])


class _Search:
    """Largest first; what is left must still be enough, and a dead end is met once."""

    def __init__(
        self, amounts: list[int], parts: int, until: float, clock: Callable[[], float]
    ) -> None:
        self.amounts, self.parts, self.until, self.clock = amounts, parts, until, clock
        self.ways: list[tuple[int, ...]] = []
        self.dead: set[tuple[int, int, int]] = set()
        self.steps = 0
        self.gave_up = False
        self.left = [0] * (len(amounts) + 1)
        for place in range(len(amounts) - 1, -1, -1):
            self.left[place] = self.left[place + 1] + amounts[place]

    def go(self, place: int, rest: int, chosen: list[int]) -> bool:
        """Whether a way was found from here, or the search is over."""
        if rest == 0:
            self.ways.append(tuple(chosen))
            return True
        here = (place, rest, len(chosen))
        if self._hopeless(place, rest, chosen) or here in self.dead or self._over():
            return False
        found = False
        for following in range(place, len(self.amounts)):
            if len(self.ways) > 1 or self.gave_up or self.left[following] < rest:
                break
            if self.amounts[following] <= rest and len(chosen) < self.parts:
                chosen.append(following)
                found |= self.go(following + 1, rest - self.amounts[following], chosen)
                chosen.pop()
        if not found and not self.gave_up and len(self.ways) < 2:
            self.dead.add(here)
        return found

    def _hopeless(self, place: int, rest: int, chosen: list[int]) -> bool:
        return self.left[place] < rest or len(chosen) >= self.parts

    def _over(self) -> bool:
        self.steps += 1
        if self.steps > _STEPS or (self.steps % 256 == 0 and self.clock() > self.until):
            self.gave_up = True
        return self.gave_up or len(self.ways) > 1
