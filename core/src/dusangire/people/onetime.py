"""Codes of a phone's code generator (TOTP, RFC 6238): six digits, each good for one use."""

import hmac
import time
from uuid import UUID

import pyotp

from dusangire.database import fetch
from dusangire.keyring import Keyring

# A new code each so many seconds; the one before and the one after are taken as well, since
# clocks of phones differ.
STEP = 30
_NEIGHBOURS = (0, -1, 1)
_SPEND = "UPDATE staff SET totp_step = $2 WHERE id = $1 AND totp_step < $2 RETURNING id"


def new_secret() -> str:
    """160 random bits in base32, as code generators take it."""
    return pyotp.random_base32()


def address(secret: str, email: str) -> str:
    """What the QR code says: `otpauth://totp/…`."""
    return pyotp.TOTP(secret, interval=STEP).provisioning_uri(name=email, issuer_name="DUSANGIRE")


def code_at(secret: str, moment: float) -> str:
    return pyotp.TOTP(secret, interval=STEP).at(int(moment))


def matching_step(secret: str, code: str) -> int | None:
    """Which step a code belongs to; None when it is none of now."""
    digits = "".join(code.split()).encode("utf-8", "replace")
    now = int(time.time()) // STEP
    for step in (now + neighbour for neighbour in _NEIGHBOURS):
        if hmac.compare_digest(code_at(secret, step * STEP).encode(), digits):
            return step
    return None


async def spend(staff_id: UUID, step: int) -> bool:
    """Uses a step up. False when it was used already: of any number at once, one gets it."""
    return bool(await fetch(_SPEND, staff_id, step))


def seal(keyring: Keyring, staff_id: UUID, secret: str) -> str:
    return keyring.seal(secret, owner=owner(staff_id), field="totp")


def unseal(keyring: Keyring, staff_id: UUID, sealed: str) -> str:
    """Raises CannotStart when its key is missing."""
    return keyring.unseal(sealed, owner=owner(staff_id), field="totp")


def owner(staff_id: UUID) -> str:
    return f"staff:{staff_id}"
