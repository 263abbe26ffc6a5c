"""Invoices and credit notes: found, drafted, issued, thrown away."""

from typing import cast

import strawberry

from dusangire import intake
from dusangire.invoicing import invoices as core
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import InvoiceKind, InvoiceStatus
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import BuyerInput, InvoiceLineInput, day, id_of, known_id
from dusangire_schema.scalars import DayText
from dusangire_schema.types import Invoice


@strawberry.type
class InvoiceEdge:
    cursor: str
    node: Invoice


@strawberry.type
class InvoiceConnection:
    edges: list[InvoiceEdge]
    page_info: PageInfo


@strawberry.input
class CreateInvoiceInput:
    idempotency_key: str
    payment_id: strawberry.ID
    lines: list[InvoiceLineInput] | None = strawberry.field(
        default=None,
        description="What is sold; they must come to the payment's amount. "
        "Left out: one line of all of it.",
    )
    buyer: BuyerInput | None = None
    note: str | None = None
    due_on: DayText | None = None

    def to_core(self) -> intake.CreateInvoice:
        return intake.CreateInvoice(
            idempotency_key=self.idempotency_key,
            payment_id=known_id(self.payment_id, "paymentId"),
            lines=[line.to_core() for line in self.lines] if self.lines is not None else None,
            buyer=self.buyer.to_core() if self.buyer else None,
            note=self.note,
            due_on=day(self.due_on, "dueOn"),
        )


@strawberry.type
class InvoicePayload:
    invoice: Invoice | None = None
    replayed: bool = False
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "InvoicePayload":
        return cls(user_errors=errors)


@strawberry.type
class InvoiceQueries:
    @strawberry.field
    async def invoice(
        self, info: Info, id: strawberry.ID | None = None, number: str | None = None
    ) -> Invoice | None:
        if id is not None and (known := id_of(id)) is None:
            return None
        found = await core.invoice(
            info.context.actor, id=known if id is not None else None, number=number
        )
        return cast("Invoice | None", found)

    @described.field("Invoices and credit notes, the newest first.")
    async def invoices(
        self,
        info: Info,
        status: list[InvoiceStatus] | None = None,
        kind: InvoiceKind | None = None,
        first: int | None = 25,
        after: str | None = None,
    ) -> InvoiceConnection:
        page = await core.invoices(info.context.actor, status, kind, page_size(first, 25), after)
        return InvoiceConnection(
            edges=[
                InvoiceEdge(cursor=cursor, node=cast("Invoice", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )


@strawberry.type
class InvoiceMutations:
    @described.field("A draft for a payment that has no invoice. It has no number yet.")
    @answering(InvoicePayload.refused)
    async def create_invoice(self, info: Info, input: CreateInvoiceInput) -> InvoicePayload:
        context = info.context
        done = await core.create_invoice(context.core, context.actor, input.to_core())
        return InvoicePayload(invoice=cast("Invoice", done.invoice), replayed=done.replayed)

    @described.field("Gives a draft its number: from now on it cannot be changed.")
    @answering(InvoicePayload.refused)
    async def issue_invoice(self, info: Info, id: strawberry.ID) -> InvoicePayload:
        context = info.context
        issued = await core.issue_invoice(context.core, context.actor, known_id(id, "id"))
        return InvoicePayload(invoice=cast("Invoice", issued))

    @described.field("Throws a draft away. What was issued is corrected by a refund.")
    @answering(InvoicePayload.refused)
    async def void_invoice(self, info: Info, id: strawberry.ID, reason: str) -> InvoicePayload:
        context = info.context
        voided = await core.void_invoice(context.core, context.actor, known_id(id, "id"), reason)
        return InvoicePayload(invoice=cast("Invoice", voided))
