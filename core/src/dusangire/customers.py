"""Whom the merchant sells to: people see numbers and addresses in part, and look one up by saying
why.

The merchant's own systems gave us these, and read them as they are. Who looked one up is in the
audit log.
"""

from dataclasses import dataclass
from uuid import UUID

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.database import fetch
from dusangire.errors import Invalid, NotFound
from dusangire.masking import HIDDEN, mask_text
from dusangire.permissions import Permission
from dusangire.phone import mask_phone
from dusangire.text import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """A customer in full. payer_phone, payer_email: what the payment was last tried with."""

    customer_id: UUID | None
    reference: str | None
    name: str | None
    email: str | None
    phone: str | None
    payer_phone: str | None
    payer_email: str | None


def sees_in_full(actor: Actor) -> bool:
    """Whether numbers and addresses of customers are shown to somebody as they are."""
    return actor.kind != "staff"


def shown_phone(phone: str | None) -> str | None:
    """As people may see it."""
    return mask_phone(phone) if phone else phone


def shown_email(email: str | None) -> str | None:
    """As people may see it: `a•••@example.rw`."""
    if not email:
        return email
    name, at, host = email.rpartition("@")
    return f"{name[:1]}{HIDDEN}{at}{host}"


# Who reads it and that it was read: one statement, so that neither is without the other.
_AUDIT = f"""audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $2, $3, $4, $5::text || found.named, $6::jsonb || found.what, $7 FROM found
)
SELECT customer_id, reference, name, email, phone, payer_phone, payer_email FROM found"""
_OF_CUSTOMER = f"""WITH found AS (
    SELECT id AS customer_id, reference, name, email, phone, NULL::text AS payer_phone,
        NULL::text AS payer_email, 'customer:' || id AS named,
        jsonb_build_object('customer', reference) AS what
    FROM customer WHERE id = $1
), {_AUDIT}"""
_OF_PAYMENT = f"""WITH found AS (
    SELECT c.id AS customer_id, c.reference, c.name, c.email, c.phone, a.phone AS payer_phone,
        a.email AS payer_email, coalesce('customer:' || c.id, 'payment:' || p.reference) AS named,
        jsonb_strip_nulls(jsonb_build_object('customer', c.reference, 'payment', p.reference))
            AS what
    FROM payment p LEFT JOIN customer c ON c.id = p.customer_id
    LEFT JOIN LATERAL (
        SELECT phone, email FROM payment_attempt WHERE payment_id = p.id
        ORDER BY number DESC LIMIT 1
    ) a ON true
    WHERE p.id = $1
), {_AUDIT}"""


async def reveal(
    actor: Actor,
    *,
    reason: str,
    payment_id: UUID | None = None,
    customer_id: UUID | None = None,
) -> Revealed:
    """A customer in full, by a payment of theirs or by their id; the log keeps who asked, and why.

    Raises Forbidden, Invalid, NotFound.
    """
    actor.require(Permission.REVEAL_CUSTOMERS)
    reason = clean(reason, "reason")
    values = audit_values(
        actor.kind, actor.name, "customer.revealed", "", {"reason": mask_text(reason)}
    )
    if (payment_id is None) == (customer_id is None):
        raise Invalid("Give either paymentId or customerId.", field=["paymentId"])
    if payment_id is not None:
        rows = await fetch(_OF_PAYMENT, payment_id, *values)
    else:
        rows = await fetch(_OF_CUSTOMER, customer_id, *values)
    if not rows:
        raise NotFound(field=["paymentId" if payment_id else "customerId"])
    return Revealed(**rows[0])
