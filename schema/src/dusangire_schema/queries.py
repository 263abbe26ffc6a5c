"""What can be asked."""

from typing import cast

import strawberry

from dusangire import access, events, stored_methods
from dusangire import queries as core
from dusangire.errors import Invalid
from dusangire.permissions import Permission
from dusangire_schema import described
from dusangire_schema.analytics import AnalyticsQueries
from dusangire_schema.audit import AuditQueries
from dusangire_schema.books import BooksQueries
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.discrepancies import DiscrepancyQueries
from dusangire_schema.enums import PaymentOrder
from dusangire_schema.fiscal import FiscalQueries
from dusangire_schema.inputs import PaymentFilter, id_of
from dusangire_schema.invoices import InvoiceQueries
from dusangire_schema.merchant import MerchantQueries
from dusangire_schema.merchant_webhooks import WebhookQueries
from dusangire_schema.notifications import NotificationQueries
from dusangire_schema.people import PeopleQueries
from dusangire_schema.reconciliation import ReconciliationQueries
from dusangire_schema.refunds import RefundQueries
from dusangire_schema.statements import StatementQueries
from dusangire_schema.types import (
    ApiKey,
    Event,
    Gateway,
    GatewayPlugin,
    Payment,
    StoredMethod,
    Viewer,
)


@strawberry.type
class PaymentEdge:
    cursor: str
    node: Payment


@strawberry.type
class PaymentConnection:
    wanted: strawberry.Private[core.PaymentFilter]
    edges: list[PaymentEdge]
    page_info: PageInfo

    @strawberry.field
    async def total_count(self, info: Info) -> int | None:
        return await core.count_payments(info.context.core, info.context.actor, self.wanted)


@strawberry.type
class Query(
    DiscrepancyQueries,
    ReconciliationQueries,
    AnalyticsQueries,
    AuditQueries,
    BooksQueries,
    PeopleQueries,
    RefundQueries,
    MerchantQueries,
    WebhookQueries,
    InvoiceQueries,
    FiscalQueries,
    NotificationQueries,
    StatementQueries,
):
    @strawberry.field
    def viewer(self, info: Info) -> Viewer:
        return Viewer.of(info.context.actor)

    @strawberry.field
    async def payment(
        self, info: Info, id: strawberry.ID | None = None, reference: str | None = None
    ) -> Payment | None:
        context = info.context
        if id is not None and (known := id_of(id)) is None:
            return None
        found = await core.payment(
            context.core, context.actor, id=known if id is not None else None, reference=reference
        )
        return cast("Payment | None", found)

    @strawberry.field
    async def payments(
        self,
        info: Info,
        filter: PaymentFilter | None = None,
        order_by: PaymentOrder | None = PaymentOrder.CREATED_DESC,
        first: int | None = 25,
        after: str | None = None,
    ) -> PaymentConnection:
        wanted = filter.to_core() if filter else core.PaymentFilter()
        page = await core.payments(
            info.context.core,
            info.context.actor,
            wanted,
            order_by or PaymentOrder.CREATED_DESC,
            page_size(first, 25),
            after,
        )
        return PaymentConnection(
            wanted=wanted,
            edges=[
                PaymentEdge(cursor=cursor, node=cast("Payment", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )

    @described.field(
        "What a customer agreed to have kept, oldest first, by your reference of them."
    )
    async def stored_methods(self, info: Info, customer: str) -> list[StoredMethod]:
        found = await stored_methods.of_customer(info.context.actor, customer)
        return cast("list[StoredMethod]", found)

    @strawberry.field
    async def gateways(self, info: Info) -> list[Gateway]:
        return cast("list[Gateway]", await info.context.core.gateways.all())

    @strawberry.field
    def gateway_plugins(self, info: Info) -> list[GatewayPlugin]:
        context = info.context
        context.actor.require(Permission.READ_GATEWAY_SETTINGS)
        installed = context.core.plugins.gateways
        return cast("list[GatewayPlugin]", [installed[name] for name in sorted(installed)])

    @strawberry.field
    async def api_keys(self, info: Info) -> list[ApiKey]:
        return cast("list[ApiKey]", await access.list_api_keys(info.context.actor))

    @described.field("Events after a cursor: what a client missed.")
    async def events(
        self,
        info: Info,
        after: str | None = None,
        types: list[str] | None = None,
        first: int | None = 100,
    ) -> list[Event]:
        found = await events.missed(
            info.context.core, info.context.actor, after, event_types(types), page_size(first, 100)
        )
        return cast("list[Event]", found)


def event_types(types: list[str] | None) -> list[str] | None:
    """Raises Invalid for text that is no type of event."""
    if types is not None and (len(types) > 50 or any("\x00" in t or len(t) > 100 for t in types)):
        raise Invalid("This is not a type of event.", field=["types"])
    return types
