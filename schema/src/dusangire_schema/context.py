"""What every resolver of one request shares: who asks, core, and what was loaded already."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from dusangire import codes, health, queries, records, refunds, stored_methods, timeline
from dusangire.access import Actor
from dusangire.core import Core
from dusangire.customers import sees_in_full
from dusangire.fiscalization import receipts
from dusangire.importing import stored
from dusangire.invoicing import invoices
from dusangire.notifying import notifications
from dusangire.outbox import endpoints
from dusangire.reconciliation import decisions, discrepancies
from dusangire.refunds import Approval
from dusangire.stored_methods import StoredMethod
from dusangire_schema.scalars import show_numbers


@dataclass(slots=True)
class Loaders:
    """Rows beside the payments of one answer: one query for all of them, only when selected."""

    attempts: DataLoader[UUID, list[records.PaymentAttempt]]
    customers: DataLoader[UUID, records.Customer | None]
    stored_methods: DataLoader[UUID, list[StoredMethod]]
    health: DataLoader[UUID, health.Health]
    unmapped_codes: DataLoader[UUID, list[codes.UnmappedCode]]
    payments: DataLoader[UUID, records.Payment]
    refunds: DataLoader[UUID, list[records.RefundRequest]]
    approvals: DataLoader[UUID, list[Approval]]
    invoices: DataLoader[UUID, records.Invoice | None]
    payment_invoices: DataLoader[UUID, records.Invoice | None]
    invoice_lines: DataLoader[UUID, list[records.InvoiceLine]]
    credit_notes: DataLoader[UUID, list[records.Invoice]]
    stories: DataLoader[UUID, timeline.Story]
    fiscal_receipts: DataLoader[UUID, receipts.FiscalReceipt | None]
    notifications: DataLoader[UUID, list[notifications.Notification]]
    webhook_endpoints: DataLoader[UUID, endpoints.Endpoint]
    webhook_tries: DataLoader[UUID, list[endpoints.Try]]
    lines: DataLoader[UUID, stored.StatementLine | None]
    payment_discrepancies: DataLoader[UUID, list[discrepancies.Discrepancy]]
    match_payments: DataLoader[UUID, list[records.Payment]]
    match_line_ids: DataLoader[UUID, list[UUID]]
    line_matches: DataLoader[UUID, records.Match | None]


@dataclass(slots=True)
class Context:
    """One request. `actor` is whom its token belongs to."""

    core: Core
    actor: Actor
    _loaders: Loaders | None = field(default=None, repr=False)

    @property
    def loaders(self) -> Loaders:
        # Made late: most requests load nothing beside the payment, and making them costs time.
        if self._loaders is None:
            self._loaders = Loaders(
                DataLoader(load_fn=_attempts),
                DataLoader(load_fn=_customers),
                DataLoader(load_fn=_stored_methods),
                DataLoader(load_fn=health.load),
                DataLoader(load_fn=codes.load),
                DataLoader(load_fn=_payments),
                DataLoader(load_fn=_refunds),
                DataLoader(load_fn=_approvals),
                DataLoader(load_fn=_invoices),
                DataLoader(load_fn=_payment_invoices),
                DataLoader(load_fn=_invoice_lines),
                DataLoader(load_fn=_credit_notes),
                DataLoader(load_fn=self._stories),
                fiscal_receipts=DataLoader(load_fn=_fiscal_receipts),
                notifications=DataLoader(load_fn=_notifications),
                webhook_endpoints=DataLoader(load_fn=self._webhook_endpoints),
                webhook_tries=DataLoader(load_fn=self._webhook_tries),
                lines=DataLoader(load_fn=self._lines),
                payment_discrepancies=DataLoader(load_fn=_payment_discrepancies),
                match_payments=DataLoader(load_fn=_match_payments),
                match_line_ids=DataLoader(load_fn=_match_line_ids),
                line_matches=DataLoader(load_fn=_line_matches),
            )
        return self._loaders

    async def _stories(self, payment_ids: Sequence[UUID]) -> list[timeline.Story]:
        return [await timeline.of(self.core, self.actor, one) for one in payment_ids]

    async def _webhook_endpoints(self, ids: Sequence[UUID]) -> list[endpoints.Endpoint]:
        found = await endpoints.by_ids(self.actor, ids)
        return [found[endpoint_id] for endpoint_id in ids]

    async def _lines(self, ids: Sequence[UUID]) -> list[stored.StatementLine | None]:
        found = await stored.by_ids(self.actor, ids)
        return [found.get(line_id) for line_id in ids]

    async def _webhook_tries(self, delivery_ids: Sequence[UUID]) -> list[list[endpoints.Try]]:
        found = await endpoints.tries(self.actor, delivery_ids)
        return [found.get(delivery_id, []) for delivery_id in delivery_ids]


Info: TypeAlias = strawberry.Info[Context, None]


def context_of(core: Core, actor: Actor) -> Context:
    """The context of a request. What it shows of customers goes by who asks."""
    show_numbers(in_full=sees_in_full(actor))
    return Context(core, actor)


async def _attempts(payment_ids: Sequence[UUID]) -> list[list[records.PaymentAttempt]]:
    found = await queries.attempts(payment_ids)
    return [found.get(payment_id, []) for payment_id in payment_ids]


async def _notifications(
    payment_ids: Sequence[UUID],
) -> list[list[notifications.Notification]]:
    found = await notifications.of_payments(payment_ids)
    return [found.get(payment_id, []) for payment_id in payment_ids]


async def _payment_discrepancies(
    payment_ids: Sequence[UUID],
) -> list[list[discrepancies.Discrepancy]]:
    found = await discrepancies.of_payments(payment_ids)
    return [found[payment_id] for payment_id in payment_ids]


async def _match_payments(match_ids: Sequence[UUID]) -> list[list[records.Payment]]:
    found = await decisions.payments_of(match_ids)
    return [found[match_id] for match_id in match_ids]


async def _match_line_ids(match_ids: Sequence[UUID]) -> list[list[UUID]]:
    found = await decisions.line_ids_of(match_ids)
    return [found[match_id] for match_id in match_ids]


async def _line_matches(line_ids: Sequence[UUID]) -> list[records.Match | None]:
    found = await decisions.of_lines(line_ids)
    return [found.get(line_id) for line_id in line_ids]


async def _customers(ids: Sequence[UUID]) -> list[records.Customer | None]:
    found = await queries.customers(ids)
    return [found.get(customer_id) for customer_id in ids]


async def _stored_methods(customer_ids: Sequence[UUID]) -> list[list[StoredMethod]]:
    found = await stored_methods.of_customers(customer_ids)
    return [found.get(customer_id, []) for customer_id in customer_ids]


async def _payments(ids: Sequence[UUID]) -> list[records.Payment]:
    found = await queries.payments_by_id(ids)
    return [found[payment_id] for payment_id in ids]


async def _refunds(payment_ids: Sequence[UUID]) -> list[list[records.RefundRequest]]:
    found = await refunds.of_payments(payment_ids)
    return [found.get(payment_id, []) for payment_id in payment_ids]


async def _approvals(refund_ids: Sequence[UUID]) -> list[list[Approval]]:
    found = await refunds.approvals(refund_ids)
    return [found.get(refund_id, []) for refund_id in refund_ids]


async def _invoices(ids: Sequence[UUID]) -> list[records.Invoice | None]:
    found = await invoices.by_ids(ids)
    return [found.get(invoice_id) for invoice_id in ids]


async def _payment_invoices(payment_ids: Sequence[UUID]) -> list[records.Invoice | None]:
    found = await invoices.of_payments(payment_ids)
    return [found.get(payment_id) for payment_id in payment_ids]


async def _invoice_lines(invoice_ids: Sequence[UUID]) -> list[list[records.InvoiceLine]]:
    found = await invoices.lines(invoice_ids)
    return [found[invoice_id] for invoice_id in invoice_ids]


async def _credit_notes(invoice_ids: Sequence[UUID]) -> list[list[records.Invoice]]:
    found = await invoices.credit_notes(invoice_ids)
    return [found[invoice_id] for invoice_id in invoice_ids]


async def _fiscal_receipts(
    invoice_ids: Sequence[UUID],
) -> list[receipts.FiscalReceipt | None]:
    found = await receipts.of_invoices(invoice_ids)
    return [found.get(invoice_id) for invoice_id in invoice_ids]
