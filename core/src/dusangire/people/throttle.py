"""How often somebody may try to sign in, so that guessing takes years.

Each try is counted before it is looked at: a thousand at once are no more than a thousand in turn.
Nobody's guesses lock somebody else out: who signed in on a device before is counted for that
device alone, and everybody else for their address, for the account, and for the two together.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from dusangire.database import fetch
from dusangire.errors import TooManyTries

log = structlog.get_logger(__name__)

# Tries are forgotten after a day without any.
_TAKE_TRY = """INSERT INTO login_throttle AS t (key) VALUES ($1)
ON CONFLICT (key) DO UPDATE SET
    tries = t.tries + 1,
    last_at = now(),
    blocked_until = now() + make_interval(secs => CASE WHEN t.tries + 1 < $2 THEN 0
        ELSE least($4, $3 * 2 ^ least(t.tries + 1 - $2, 20)) END)
WHERE t.blocked_until <= clock_timestamp()
RETURNING tries"""
_FORGET_OLD = """DELETE FROM login_throttle
WHERE last_at < now() - interval '1 day' AND blocked_until < now()"""
_WAIT = """SELECT ceil(extract(epoch FROM blocked_until - now()))::int AS seconds
FROM login_throttle WHERE key = $1"""
_FORGET = "DELETE FROM login_throttle WHERE key = ANY($1)"
_GIVE_BACK = """UPDATE login_throttle SET tries = tries - 1, blocked_until = now()
WHERE key = ANY($1) AND tries > 0"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Tries that are counted together.

    about: what for, hashed before it is kept. free: so many without waiting.
    wait: seconds to wait then, twice as long after each further try, up to `most`.
    shared: others may be counted here too, so that a success forgives one try and not all.
    """

    about: tuple[str, ...]
    free: int
    wait: float
    most: float
    shared: bool = False

    @property
    def key(self) -> str:
        return hashlib.sha256("\x1f".join(self.about).encode("utf-8", "replace")).hexdigest()


def login_buckets(email: str, source: str, device: str | None) -> tuple[Bucket, ...]:
    """Where a try to sign in is counted. device: one where this person signed in before."""
    if device is not None:
        return (Bucket(about=("device", email, device), free=10, wait=30, most=900),)
    return (
        Bucket(about=("source", source), free=30, wait=2, most=30, shared=True),
        Bucket(about=("account", email), free=20, wait=5, most=30),
        # Behind a proxy a stranger has the same address: they must not shut anybody out for long.
        Bucket(about=("both", email, source), free=5, wait=30, most=30),
    )


async def take(buckets: Sequence[Bucket]) -> int:
    """Counts a try; gives how many there were in the last bucket. Raises TooManyTries."""
    tries = 0
    for bucket in buckets:
        rows = await fetch(_TAKE_TRY, bucket.key, bucket.free, bucket.wait, bucket.most)
        if not rows:
            found = await fetch(_WAIT, bucket.key)
            wait = max(1, found[0]["seconds"]) if found else 1
            log.warning("security: too many tries to sign in", by=bucket.about[0], wait=wait)
            raise TooManyTries(wait=wait)
        tries = rows[0]["tries"]
    return tries


async def not_looked_at(buckets: Sequence[Bucket]) -> None:
    """Takes one try back: there was no time for it."""
    await fetch(_GIVE_BACK, [bucket.key for bucket in buckets])


async def succeeded(buckets: Sequence[Bucket]) -> None:
    """Forgets the tries that led to a success."""
    await fetch(_FORGET, [bucket.key for bucket in buckets if not bucket.shared])
    await fetch(_GIVE_BACK, [bucket.key for bucket in buckets if bucket.shared])
    await fetch(_FORGET_OLD)
