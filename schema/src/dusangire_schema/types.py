"""What can be read, in the words of the contract.

Core's records have the same names and are answered as they are: a type here lists what is shown of
one, and its methods fetch what stands beside it. `Private` attributes are the record's own.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeAlias, cast
from uuid import UUID

import strawberry

from dusangire import codes, events, failures, gateway, health, queries, records, tail
from dusangire.gateways import Account
from dusangire.languages import in_language
from dusangire.permissions import Permission, Scope
from dusangire.plugins import Plugin
from dusangire.stored_methods import StoredMethodKind
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import (
    AttemptStatus,
    AttentionReason,
    BreakerState,
    Capability,
    Environment,
    FailureCode,
    HealthStatus,
    InvoiceKind,
    InvoiceStatus,
    PaymentStatus,
    ReconciliationRunStatus,
    ReconciliationStatus,
    RefundStatus,
    Role,
    TransactionKind,
)
from dusangire_schema.scalars import JSON, CurrencyCode, PhoneNumber


@strawberry.type
class Money:
    amount: Decimal
    currency: CurrencyCode


@strawberry.type
class Customer:
    id: strawberry.ID
    reference: str
    name: str | None
    email: str | None
    phone: PhoneNumber | None

    @described.field("The payment methods that the customer agreed to have kept, oldest first.")
    async def stored_methods(self, info: Info) -> list["StoredMethod"]:
        found = await info.context.loaders.stored_methods.load(cast("records.Customer", self).id)
        return cast("list[StoredMethod]", found)


@strawberry.type
class Failure:
    code: FailureCode
    message: str
    gateway_code: str | None

    @strawberry.field
    def retryable(self) -> bool:
        return failures.retryable(self.code)

    @described.field("For the payer: what happened. Languages: rw, en, fr; others give English.")
    def payer_message(self, locale: str | None = "en") -> str:
        return failures.payer_message(self.code, locale or "en")

    @described.field("For the payer: what to do now. Languages: rw, en, fr; others give English.")
    def next_step(self, locale: str | None = "en") -> str:
        return failures.next_step(self.code, locale or "en")


# ── what the payer has to do now ─────────────────────────────────────────────────────────────────


@strawberry.type
class ApproveOnPhone:
    phone: PhoneNumber
    message: str
    expires_at: datetime | None

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, gateway.ApproveOnPhone)


@strawberry.type
class FollowLink:
    url: str
    expires_at: datetime | None

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, gateway.FollowLink)


@strawberry.type
class TransferToAccount:
    bank_name: str
    account_name: str
    account_number: str
    swift_code: str | None
    reference: str
    amount: Money
    expires_at: datetime | None

    @described.field(
        "What to do, in words for the payer. Languages: rw, en, fr; any other gives English."
    )
    def instructions(self, locale: str | None = "en") -> str:
        texts = cast("gateway.TransferToAccount", self).instructions
        return in_language(texts, locale or "en")

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, gateway.TransferToAccount)


@strawberry.type
class PayInPerson:
    message: str
    amount: Money

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, gateway.PayInPerson)


NextAction: TypeAlias = Annotated[
    ApproveOnPhone | FollowLink | TransferToAccount | PayInPerson,
    strawberry.union(
        "NextAction",
        description="What the payer has to do now. "
        "A closed set: a plugin picks one, it cannot add one.",
    ),
]


# ── gateways ─────────────────────────────────────────────────────────────────────────────────────


@strawberry.type(description="A code that a gateway used and its plugin does not know.")
class UnmappedCode:
    code: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime


@strawberry.type
class GatewayHealth:
    gateway_id: strawberry.Private[UUID]
    status: HealthStatus
    success_rate: float | None = strawberry.field(
        description="0 to 1, of the attempts of the last hour that ended."
    )
    p95_ms: int | None = strawberry.field(
        name="p95Ms", description="How long 95 of 100 attempts took at most until they ended."
    )
    last_callback_at: datetime | None
    breaker: BreakerState
    next_probe_at: datetime | None = strawberry.field(
        description="When an open breaker is looked at again."
    )
    measured_at: datetime | None = strawberry.field(
        description="A worker measures every few seconds; null until one did."
    )

    @described.field(
        "Why it last gave no usable answer, or broke a payment. Not for payers' tokens."
    )
    def last_error(self, info: Info) -> str | None:
        return None if _is_payer(info) else cast("health.Health", self).last_error

    @described.field("Not for payers' tokens.")
    def last_error_at(self, info: Info) -> datetime | None:
        return None if _is_payer(info) else cast("health.Health", self).last_error_at

    @described.field(
        "Codes that it used and its plugin does not know, the most frequent first. "
        "Not for payers' tokens."
    )
    async def unmapped_codes(self, info: Info) -> list[UnmappedCode]:
        if _is_payer(info):
            return []
        found = await info.context.loaders.unmapped_codes.load(self.gateway_id)
        account = await info.context.core.gateways.by_id(self.gateway_id)
        return cast("list[UnmappedCode]", codes.still_unmapped(account, found))


def _is_payer(info: Info) -> bool:
    return info.context.actor.kind == "client"


@strawberry.type(description="A configured account at a provider, served by a plugin.")
class Gateway:
    id: strawberry.Private[UUID]
    shown_config: strawberry.Private[dict[str, Any]]
    code: str
    name: str
    plugin_name: str = strawberry.field(
        name="plugin",
        description="Name of the plugin that serves it: mtn, airtel, bank, card, cod, "
        "or a third party's.",
    )
    environment: Environment
    enabled: bool
    currencies: list[CurrencyCode]

    @strawberry.field
    def brand_color(self) -> str | None:
        plugin = _account(self).plugin
        return plugin.description.brand_color if plugin else None

    @strawberry.field
    def capabilities(self) -> list[Capability]:
        return sorted(_account(self).capabilities)

    @described.field("JSON Schema of PaymentMethodInput.details.")
    def input_schema(self) -> JSON:
        plugin = _account(self).plugin
        return JSON(plugin.description.details.model_json_schema() if plugin else {})

    @strawberry.field
    async def health(self, info: Info) -> GatewayHealth:
        told = _account(self).told
        found = told or await info.context.loaders.health.load(self.id)
        return cast("GatewayHealth", found)

    @described.field(
        "Staff only. Secrets are never returned: only that they are set, "
        "and their last four characters."
    )
    def config(self, info: Info) -> JSON | None:
        return (
            JSON(self.shown_config)
            if info.context.actor.may(Permission.READ_GATEWAY_SETTINGS)
            else None
        )

    @described.field(
        "Staff only. Where the provider shall send its webhooks; "
        "null when nobody outside can reach us."
    )
    def webhook_url(self, info: Info) -> str | None:
        return (
            _account(self).webhook_url
            if info.context.actor.may(Permission.READ_GATEWAY_SETTINGS)
            else None
        )


@strawberry.type(description="An installed plugin: what can be configured.")
class GatewayPlugin:
    name: str
    version: str

    @strawberry.field
    def config_schema(self) -> JSON:
        return JSON(cast("Plugin", self).description.config.model_json_schema())

    @strawberry.field
    def capabilities(self) -> list[Capability]:
        return sorted(cast("Plugin", self).capabilities)


def _account(shown: Gateway) -> Account:
    return cast("Account", shown)


@strawberry.type(
    description="A payment method of a payer who comes back, kept with their consent: "
    "give its id as PaymentMethodInput.storedMethodId."
)
class StoredMethod:
    gateway_id: strawberry.Private[UUID]
    id: strawberry.ID
    kind: StoredMethodKind
    label: str = strawberry.field(
        description="What the payer knows it by, such as Visa •••• 4242; empty once it is removed."
    )
    consent: str = strawberry.field(description="The words the payer agreed to.")
    consented_at: datetime
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None = strawberry.field(
        description="When the card can be charged no more."
    )
    removed_at: datetime | None

    @strawberry.field
    async def gateway(self, info: Info) -> Gateway:
        return await gateway_of(info, self.gateway_id)


# ── people ───────────────────────────────────────────────────────────────────────────────────────


@strawberry.type(description="A person, an API key or the system.")
class Actor:
    kind: str
    name: str


@strawberry.type
class Viewer:
    kind: str
    name: str
    role: Role | None
    scopes: list[Scope]


@strawberry.type
class ApiKey:
    id: strawberry.ID
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


# ── payments ─────────────────────────────────────────────────────────────────────────────────────


@strawberry.type(description="One try on one gateway.")
class PaymentAttempt:
    gateway_id: strawberry.Private[UUID]
    id: strawberry.ID
    number: int
    status: AttemptStatus
    gateway_reference: str = strawberry.field(
        description="The reference we sent: chosen and stored before the call."
    )
    gateway_transaction_id: str | None = strawberry.field(
        description="The gateway's own transaction id, once known."
    )
    failure: Failure | None
    created_at: datetime
    completed_at: datetime | None

    @strawberry.field
    async def gateway(self, info: Info) -> Gateway:
        return await gateway_of(info, self.gateway_id)


@strawberry.type(
    description="One exchange with a gateway: what was sent, what came back "
    "(secrets and phone numbers masked), how long it took."
)
class PaymentTransaction:
    gateway_id: strawberry.Private[UUID]
    id: strawberry.ID
    kind: TransactionKind
    outcome: str
    http_status: int | None
    error_code: str | None
    error_message: str | None
    request: JSON | None
    response: JSON | None
    duration_ms: int | None
    notes: JSON | None = strawberry.field(
        description="What plugins remarked during this call, by name."
    )
    created_at: datetime

    @strawberry.field
    async def gateway(self, info: Info) -> Gateway:
        return await gateway_of(info, self.gateway_id)


@strawberry.type
class PaymentTransactionEdge:
    cursor: str
    node: PaymentTransaction


@strawberry.type
class PaymentTransactionConnection:
    edges: list[PaymentTransactionEdge]
    page_info: PageInfo


@strawberry.type
class Payment:
    customer_id: strawberry.Private[UUID | None]
    gateway_id: strawberry.Private[UUID | None]
    id: strawberry.ID
    reference: str = strawberry.field(description="Human reference, e.g. PAY-7K3M9Q2X.")
    version: int = strawberry.field(description="Grows by one with each change; events carry it.")
    status: PaymentStatus
    amount: Money
    captured: Money
    refunded: Money
    refundable: Money
    order_reference: str | None
    description: str | None
    next_action: NextAction | None
    failure: Failure | None
    needs_attention: list[AttentionReason]
    reconciliation_status: ReconciliationStatus
    metadata: JSON | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    completed_at: datetime | None

    @strawberry.field
    async def customer(self, info: Info) -> Customer | None:
        if self.customer_id is None:
            return None
        return cast("Customer | None", await info.context.loaders.customers.load(self.customer_id))

    @described.field("Gateway of the latest attempt.")
    async def gateway(self, info: Info) -> Gateway | None:
        return None if self.gateway_id is None else await gateway_of(info, self.gateway_id)

    @strawberry.field
    async def attempts(self, info: Info) -> list[PaymentAttempt]:
        found = await info.context.loaders.attempts.load(_payment(self).id)
        return cast("list[PaymentAttempt]", found)

    @described.field("Every exchange with a gateway about this payment, oldest first (audit log).")
    async def transactions(
        self, info: Info, first: int | None = 50, after: str | None = None
    ) -> PaymentTransactionConnection:
        context = info.context
        page = await queries.transactions(
            context.core, context.actor, _payment(self).id, page_size(first, 50), after
        )
        return PaymentTransactionConnection(
            edges=[
                PaymentTransactionEdge(cursor=cursor, node=cast("PaymentTransaction", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )

    @strawberry.field
    def refunds(self) -> list["RefundRequest"]:
        return []

    @strawberry.field
    def invoice(self) -> "Invoice | None":
        return None


def _payment(shown: Payment) -> records.Payment:
    return cast("records.Payment", shown)


async def gateway_of(info: Info, gateway_id: UUID) -> Gateway:
    return cast("Gateway", await info.context.core.gateways.by_id(gateway_id))


# ── what later issues bring: the types that payments and events promise ──────────────────────────


@strawberry.type
class RefundRequest:
    id: strawberry.ID
    reference: str
    payment: Payment
    amount: Money
    reason: str
    status: RefundStatus
    requested_by: Actor
    decided_by: Actor | None
    decided_at: datetime | None
    digest: str = strawberry.field(
        description="Changes when the request changes: an approval names the digest it saw."
    )
    failure: Failure | None
    created_at: datetime
    completed_at: datetime | None


@strawberry.type
class InvoiceLine:
    description: str
    quantity: Decimal
    unit_price: Money
    tax_rate: Decimal
    tax: Money
    total: Money


@strawberry.type
class Invoice:
    id: strawberry.ID
    number: str | None = strawberry.field(
        description="Gapless within its series and year, given when issued: INV-2026-000042."
    )
    kind: InvoiceKind
    status: InvoiceStatus
    customer: Customer | None
    lines: list[InvoiceLine]
    net: Money
    tax: Money
    total: Money
    payment: Payment | None
    issued_at: datetime | None
    created_at: datetime

    @described.field("Link to the PDF, valid for a short time.")
    def pdf_url(self, locale: str | None = "en") -> str | None:
        return None


@strawberry.type
class PaymentReconciliation:
    id: strawberry.ID
    account: str
    from_: date = strawberry.field(name="from")
    to: date
    status: ReconciliationRunStatus
    progress: float
    matched_count: int
    suggested_count: int
    unmatched_payments: int
    unmatched_lines: int
    matched_total: Money
    discrepancy_count: int
    requested_by: Actor
    approved_by: Actor | None
    created_at: datetime


# ── live ─────────────────────────────────────────────────────────────────────────────────────────


@strawberry.type(
    description="One change. cursor orders events in commit order: give it back as `after` "
    "and nothing is missed or repeated."
)
class Event:
    cursor: str
    type: str = strawberry.field(
        description="payment.pending, payment.succeeded, refund.succeeded, invoice.issued, "
        "reconciliation.progress, gateway.health …"
    )
    occurred_at: datetime
    payment: Payment | None

    @described.field("With its health as the event told it.")
    async def gateway(self, info: Info) -> Gateway | None:
        event = cast("tail.EventRecord", self)
        return cast("Gateway | None", await events.gateway_of(info.context.core, event))

    @strawberry.field
    def refund(self) -> RefundRequest | None:
        return None

    @strawberry.field
    def invoice(self) -> Invoice | None:
        return None

    @strawberry.field
    def reconciliation(self) -> PaymentReconciliation | None:
        return None
