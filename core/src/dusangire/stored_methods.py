"""Payment methods of payers who come back: kept with their consent, listed, used and removed.

What is kept comes from an attempt that succeeded: `attempts.advance` writes what `to_keep` gives
together with the success. A token is sealed for its row, its customer and its gateway, so that
nobody who can write to the table can charge one customer's card for another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

import orjson
import structlog

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch
from dusangire.errors import CannotStart, Invalid, NotFound
from dusangire.gateway import Failed, FailureCode, NotSent, Succeeded
from dusangire.gateways import Account
from dusangire.permissions import Permission
from dusangire.phone import PhoneNumber, mask_phone
from dusangire.text import printable

log = structlog.get_logger(__name__)

_FIELD = ("method", "storedMethodId")
# What a token is recognised by, so that the same card is kept once.
_FINGERPRINT = "stored-method"


class StoredMethodKind(StrEnum):
    PHONE = "PHONE"
    TOKEN = "TOKEN"  # noqa: S105 - a word, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMethod:
    """A payment method that its payer agreed to have kept. Its token is not among what is read.

    label: what the payer knows it by; empty once it is removed.
    consent: the words they agreed to, at `consented_at`, in a request of `consented_by`.
    """

    id: UUID
    customer_id: UUID
    gateway_id: UUID
    kind: StoredMethodKind
    label: str
    phone: PhoneNumber | None = field(repr=False)
    consent: str
    consented_at: datetime
    consented_by: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    removed_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "StoredMethod":
        return cls(
            id=row["id"],
            customer_id=row["customer_id"],
            gateway_id=row["gateway_id"],
            kind=StoredMethodKind(row["kind"]),
            label=row["label"],
            phone=PhoneNumber(row["phone"]) if row["phone"] else None,
            consent=row["consent"],
            consented_at=row["consented_at"],
            consented_by=row["consented_by"],
            created_at=row["created_at"],
            last_used_at=row["last_used_at"],
            expires_at=row["expires_at"],
            removed_at=row["removed_at"],
        )


COLUMNS = """m.id, m.customer_id, m.gateway_id, m.kind, m.label, m.phone, m.consent,
    m.consented_at, m.consented_by, m.created_at, m.last_used_at, m.expires_at, m.removed_at"""


# ── listing and removing ─────────────────────────────────────────────────────────────────────────

_OF_CUSTOMERS = f"""SELECT {COLUMNS} FROM stored_method m
WHERE m.customer_id = ANY($1) AND m.removed_at IS NULL ORDER BY m.created_at, m.id"""
_OF_REFERENCE = f"""SELECT {COLUMNS} FROM stored_method m
JOIN customer c ON c.id = m.customer_id
WHERE c.reference = $1 AND m.removed_at IS NULL ORDER BY m.created_at, m.id"""
_BY_ID = f"SELECT {COLUMNS} FROM stored_method m WHERE m.id = $1"
_REMOVE = f"""
WITH m AS (
    UPDATE stored_method SET removed_at = now(), label = '', phone = NULL, token = NULL,
        fingerprint = NULL, expires_at = NULL
    WHERE id = $1 AND removed_at IS NULL RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $2, $3, $4, $5, $6::jsonb, $7 FROM m
)
SELECT {COLUMNS} FROM m"""


async def of_customer(actor: Actor, customer: str) -> list[StoredMethod]:
    """What is kept of a customer, by the merchant's reference. Raises Forbidden."""
    actor.require(Permission.READ_PAYMENTS)
    if printable(customer) != customer:
        return []
    return [StoredMethod.of(row) for row in await fetch(_OF_REFERENCE, customer)]


async def of_customers(ids: Sequence[UUID]) -> dict[UUID, list[StoredMethod]]:
    """What is kept of each customer."""
    found: dict[UUID, list[StoredMethod]] = {customer_id: [] for customer_id in ids}
    for row in await fetch(_OF_CUSTOMERS, list(ids)):
        found[row["customer_id"]].append(StoredMethod.of(row))
    return found


async def remove(actor: Actor, method_id: UUID) -> StoredMethod:
    """Wipes a method; that it was there, the consent and when it went are what stays.

    Doing it again changes nothing. Raises Forbidden, NotFound.
    """
    actor.require(Permission.WRITE_PAYMENTS)
    removed = await fetch(
        _REMOVE,
        method_id,
        *audit_values(
            actor.kind, actor.name, "stored_method.removed", f"stored_method:{method_id}", {}
        ),
    )
    rows = removed or await fetch(_BY_ID, method_id)
    if not rows:
        raise NotFound(field=["id"])
    return StoredMethod.of(rows[0])


# ── using ────────────────────────────────────────────────────────────────────────────────────────

_OF_PAYER = f"""SELECT {COLUMNS} FROM stored_method m JOIN customer c ON c.id = m.customer_id
WHERE m.id = $1 AND (c.reference = $2 OR c.id = $3)"""
_USE = """UPDATE stored_method SET last_used_at = now() WHERE id = $1 AND removed_at IS NULL
RETURNING kind, token"""


async def usable(
    core: Core, account: Account, given: str, customer: str | UUID | None
) -> StoredMethod:
    """The method that the payment's customer may pay with on this gateway.

    customer: the merchant's reference, or the id. Raises NotFound, which says nothing about other
    customers' methods; Invalid.
    """
    if customer is None:
        raise Invalid("Only a payment with a customer has stored methods.", field=_FIELD)
    method = await _of_payer(given, customer)
    if method is None:
        raise NotFound("This customer has no such stored method.", field=_FIELD)
    if method.removed_at is not None:
        raise Invalid("This payment method was removed. Choose another one.", field=_FIELD)
    if method.gateway_id != account.id:
        raise Invalid(
            f"This stored method is not one of {account.name}.", field=["method", "gateway"]
        )
    if method.expires_at is not None and method.expires_at <= core.clock():
        raise Invalid(f"{method.label} has expired. Choose another one.", field=_FIELD)
    charges = account.plugin is not None and account.plugin.implements("charge_token")
    if method.kind is StoredMethodKind.TOKEN and not charges:
        raise Invalid(f"{account.name} charges no stored methods any more.", field=_FIELD)
    return method


async def _of_payer(given: str, customer: str | UUID) -> StoredMethod | None:
    try:
        method_id = UUID(given)
    except ValueError:
        return None
    by_id = customer if isinstance(customer, UUID) else None
    rows = await fetch(_OF_PAYER, method_id, None if by_id else customer, by_id)
    return StoredMethod.of(rows[0]) if rows else None


async def use(
    core: Core, method_id: UUID, customer_id: UUID | None, gateway_id: UUID
) -> str | Failed | NotSent | None:
    """Its token, right before it is charged; None when the phone number is all there is.

    Failed when it was removed since the attempt was written: nothing leaves then.
    """
    rows = await fetch(_USE, method_id)
    if not rows:
        return Failed(
            code=FailureCode.CANCELLED,
            message="The stored payment method was removed before it was charged.",
        )
    [row] = rows
    if row["kind"] == StoredMethodKind.PHONE:
        return None
    owner = _owner(method_id, customer_id, gateway_id)
    try:
        return core.keyring.unseal(row["token"], owner=owner, field="token")
    except CannotStart as error:
        log.exception("security: a stored method cannot be opened", method=str(method_id))
        return NotSent(cause=error.message)


def _owner(method_id: UUID, customer_id: UUID | None, gateway_id: UUID) -> str:
    return f"stored_method:{method_id}:{customer_id}:{gateway_id}"


# ── keeping ──────────────────────────────────────────────────────────────────────────────────────


def to_keep(
    core: Core,
    account: Account,
    outcome: Succeeded,
    *,
    customer_id: UUID,
    phone: PhoneNumber | None,
) -> str | None:
    """What a success leaves to be kept, as `attempts.ADVANCE` wants it; None: nothing.

    A token where the gateway gave one, else the number that paid.
    """
    plugin, token = account.plugin, outcome.token
    if plugin is None:
        return None
    method_id = uuid4()
    kept = {"id": str(method_id), "customer_id": str(customer_id)}
    if token is not None and plugin.implements("charge_token"):
        owner = _owner(method_id, customer_id, account.id)
        secret = {
            "token": core.keyring.seal(token.secret, owner=owner, field="token"),
            "fingerprints": _fingerprints(core, customer_id, account.id, token.secret),
        }
        about = {"label": token.label or account.name, "expires_at": token.expires_at}
        return _json({**kept, **about, **secret, "kind": StoredMethodKind.TOKEN})
    if plugin.description.needs_phone and phone is not None:
        about = {"label": mask_phone(phone), "expires_at": None}
        return _json({**kept, **about, "phone": phone, "kind": StoredMethodKind.PHONE})
    return None


def _json(kept: dict[str, object]) -> str:
    return orjson.dumps(kept).decode()


def _fingerprints(core: Core, customer_id: UUID, gateway_id: UUID, token: str) -> list[str]:
    """By each key, the newest first: a method that is known under an older key is found too.

    Of this customer and gateway only, so that nobody sees in the table who shares a card.
    """
    return core.keyring.digests(f"{customer_id}\x1f{gateway_id}\x1f{token}", _FINGERPRINT)


# ── new keys ─────────────────────────────────────────────────────────────────────────────────────

_STALE = """SELECT id, customer_id, gateway_id, token FROM stored_method
WHERE token IS NOT NULL AND split_part(token, ':', 1) <> $1 LIMIT 200"""
# Who was removed meanwhile has no token any more. A twin of the same card, which two keys at once
# can make, keeps its own fingerprint.
_RESEAL = """UPDATE stored_method m SET token = $3, fingerprint = CASE WHEN EXISTS (
        SELECT FROM stored_method twin WHERE twin.customer_id = m.customer_id
        AND twin.gateway_id = m.gateway_id AND twin.fingerprint = $4) THEN fingerprint ELSE $4 END
WHERE id = $1 AND token = $2 RETURNING id"""


async def reseal(core: Core) -> int:
    """Seals every token with the newest key; gives how many. Raises CannotStart, naming a key."""
    done = 0
    while stale := await fetch(_STALE, core.keyring.newest):
        for row in stale:
            owner = _owner(row["id"], row["customer_id"], row["gateway_id"])
            token = core.keyring.unseal(row["token"], owner=owner, field="token")
            prints = _fingerprints(core, row["customer_id"], row["gateway_id"], token)
            sealed = core.keyring.seal(token, owner=owner, field="token")
            done += len(await fetch(_RESEAL, row["id"], row["token"], sealed, prints[0]))
    return done
