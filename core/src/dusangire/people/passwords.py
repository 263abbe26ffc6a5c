"""Passwords of people: which ones we take, and what is kept of them (argon2id)."""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dusangire.errors import Invalid, Retryable

P = ParamSpec("P")
T = TypeVar("T")

SHORTEST, LONGEST = 12, 128
# zxcvbn: 3 takes ten thousand million guesses. For a hostile text of 30 characters it needs a
# second, for one of 72 eight.
_STRONG = 3
_LOOKED_AT = 30

# OWASP's second choice: 19 MiB and two passes, about 30 ms.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class _Desk:
    """Threads for slow work, so that the API goes on beside it, and a queue that has an end."""

    def __init__(self, threads: int, places: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = places

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises Retryable when too many wait already."""
        if not self._free:
            raise Retryable("Many people sign in at this moment. Try again in a second.")
        self._free -= 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))
        finally:
            self._free += 1


# However many try to sign in, two at a time are worked on, and 32 wait.
_HASHING = _Desk(2, 34, "password")
# A long text must not keep others from signing in.
_CHECKING = _Desk(1, 9, "new password")


async def check(password: str, *known: str) -> None:
    """Raises Invalid for one that is short or easily guessed, Retryable when too many ask.

    known: the person's own words.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid(
            f"A password has {SHORTEST} to {LONGEST} characters. Four words that have nothing to "
            "do with each other make a good one.",
            field=["password"],
        )
    words = [*known, *(part for text in known for part in text.split("@")), "dusangire"]
    if await _CHECKING.run(_score, password[:_LOOKED_AT], words) < _STRONG:
        raise Invalid(
            "This password is easily guessed. Four words that have nothing to do with each other "
            "make a good one.",
            field=["password"],
        )


def _score(password: str, words: list[str]) -> int:
    from zxcvbn import zxcvbn  # noqa: PLC0415 - its lists of common words take time to import

    return int(zxcvbn(password, user_inputs=words)["score"])


async def hashed(password: str) -> str:
    """What is kept of a password. Raises Retryable when too many wait."""
    return await _HASHING.run(_HASHER.hash, _same(password))


async def matches(kept: str | None, password: str) -> bool:
    """Whether it is the password. Without any it takes as long to say no.

    Raises Retryable when too many wait.
    """
    return await _HASHING.run(_matches, kept, password)


def _matches(kept: str | None, password: str) -> bool:
    # What is longer than any password costs as much as the longest one.
    password = _same(password[: LONGEST + 1])
    try:
        _HASHER.verify(kept or _decoy(), password)
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


@cache
def _decoy() -> str:
    return _HASHER.hash(secrets.token_hex(16))


def _same(password: str) -> str:
    """Keyboards differ in how they write é; halves of characters cannot be written at all."""
    normal = unicodedata.normalize("NFC", password)
    return normal.encode("utf-8", "replace").decode()
