"""Passwords of people: which ones we take, and what is kept of them (argon2id)."""

import asyncio
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dusangire.errors import Invalid

SHORTEST, LONGEST = 12, 128
# zxcvbn: 3 takes ten thousand million guesses. More of the text than this takes it too long.
_STRONG = 3
_LOOKED_AT = 72

# OWASP's second choice: 19 MiB and two passes, about 30 ms.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# However many try to sign in, two at a time are worked on, and the API goes on beside them.
_POOL = ThreadPoolExecutor(2, thread_name_prefix="password")


def check(password: str, *known: str) -> None:
    """Raises Invalid for one that is short or easily guessed. known: the person's own words."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid(
            f"A password has {SHORTEST} to {LONGEST} characters. Four words that have nothing to "
            "do with each other make a good one.",
            field=["password"],
        )
    from zxcvbn import zxcvbn  # noqa: PLC0415 - its lists of common words take time to import

    words = [*known, *(part for text in known for part in text.split("@")), "dusangire"]
    if zxcvbn(password[:_LOOKED_AT], user_inputs=words)["score"] < _STRONG:
        raise Invalid(
            "This password is easily guessed. Four words that have nothing to do with each other "
            "make a good one.",
            field=["password"],
        )


async def hashed(password: str) -> str:
    """What is kept of a password."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, _HASHER.hash, _same(password))


async def matches(kept: str | None, password: str) -> bool:
    """Whether it is the password. Without any it takes as long to say no."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, _matches, kept, password)


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
