"""Whether two names are one payer: in either order, with or without a title, or cut short."""

import re
import unicodedata
from functools import lru_cache

from rapidfuzz import fuzz

SAME = 90
"""From this similarity on two names are taken for one."""

_NOT_LETTERS = re.compile(r"[^A-Z0-9]+")
_SAYS_NOTHING = frozenset(
    {"LTD", "LIMITED", "CO", "COMPANY", "SARL", "SA", "MR", "MRS", "MS", "MISS", "DR", "M", "MME"}
    | {"TRSF", "TRANSFER", "FROM"}
)


@lru_cache(maxsize=50_000)
def tokens(name: str) -> tuple[str, ...]:
    """The words of a name that tell somebody apart, sorted: `Mr. Éric Mugisha` is ERIC, MUGISHA."""
    plain = unicodedata.normalize("NFKD", name[:200])
    plain = "".join(c for c in plain if not unicodedata.combining(c)).upper()
    return tuple(sorted(w for w in _NOT_LETTERS.split(plain) if w and w not in _SAYS_NOTHING))


def similarity(one: str | None, other: str | None) -> int:
    """0 to 100. One common word, such as a first name, is nobody: two are needed."""
    first, second = tokens(one or ""), tokens(other or "")
    if len(first) < 2 or len(second) < 2:
        return 0
    if _cut_short(first, second):
        return 100
    if len(set(first) & set(second)) < 2:
        return 0
    return int(fuzz.token_set_ratio(" ".join(first), " ".join(second)))


def _cut_short(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Whether each word of the shorter name begins a word of the longer one, each another's."""
    shorter, longer = sorted((first, second), key=lambda words: (len(words), sum(map(len, words))))
    left = list(longer)
    for word in sorted(shorter, key=len, reverse=True):
        found = next((other for other in left if _begins(word, other)), None)
        if found is None:
            return False
        left.remove(found)
    return sum(len(word) >= 3 for word in shorter) >= 2


def _begins(word: str, other: str) -> bool:
    return other.startswith(word) and (len(word) >= 3 or word == other)
