"""Who did what, and whose numbers were looked at."""

from datetime import datetime
from typing import cast

import strawberry

from dusangire import customers
from dusangire.audit import log as audit_log
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import known_id
from dusangire_schema.scalars import JSON
from dusangire_schema.types import Actor


@strawberry.type
class AuditEntry:
    at: datetime
    actor: Actor
    action: str
    object: str
    detail: JSON | None
    hash: str = strawberry.field(
        description="Over this entry and the hash before it: `dusangire audit verify` checks them."
    )

    @described.field("Its place in the log: without gaps, from 1.")
    def sequence(self) -> str:
        return str(cast("audit_log.AuditRecord", self).sequence)


@strawberry.type
class AuditEntryEdge:
    cursor: str
    node: AuditEntry


@strawberry.type
class AuditEntryConnection:
    edges: list[AuditEntryEdge]
    page_info: PageInfo


@strawberry.type
class AuditQueries:
    @described.field(
        "Who did what, the newest first. object: such as payment:PAY-7K3M9Q2X. "
        "action: such as refund.approved. actor: a name, of people their e-mail address."
    )
    async def audit_log(
        self,
        info: Info,
        first: int | None = 50,
        after: str | None = None,
        object: str | None = None,
        action: str | None = None,
        actor: str | None = None,
    ) -> AuditEntryConnection:
        page = await audit_log.entries(
            info.context.actor,
            page_size(first, 50),
            after,
            object=object,
            action=action,
            actor_name=actor,
        )
        return AuditEntryConnection(
            edges=[
                AuditEntryEdge(cursor=cursor, node=cast("AuditEntry", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )


@strawberry.type(description="A customer in full. That it was looked at is in the audit log.")
class RevealedCustomer:
    customer_id: strawberry.ID | None
    reference: str | None
    name: str | None
    email: str | None
    phone: str | None
    payer_phone: str | None = strawberry.field(
        description="What the payment was last tried with, when a payment was asked about."
    )
    payer_email: str | None


@strawberry.type
class RevealCustomerPayload:
    customer: RevealedCustomer | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "RevealCustomerPayload":
        return cls(user_errors=errors)


@strawberry.type
class CustomerMutations:
    @described.field(
        "People see phone numbers and e-mail addresses in part. This gives them in full, of a "
        "payment's customer or of a customer, and keeps who asked, and why."
    )
    @answering(RevealCustomerPayload.refused)
    async def reveal_customer(
        self,
        info: Info,
        reason: str,
        payment_id: strawberry.ID | None = None,
        customer_id: strawberry.ID | None = None,
    ) -> RevealCustomerPayload:
        found = await customers.reveal(
            info.context.actor,
            reason=reason,
            payment_id=known_id(payment_id, "paymentId") if payment_id is not None else None,
            customer_id=known_id(customer_id, "customerId") if customer_id is not None else None,
        )
        return RevealCustomerPayload(customer=cast("RevealedCustomer", found))
