"""What can be read, in the words of the contract.

Core's records have the same names and are answered as they are: a type here lists what is shown of
one, and its methods fetch what stands beside it. `Private` attributes are the record's own.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeAlias, cast
from uuid import UUID

import strawberry

from dusangire import (
    access,
    codes,
    events,
    failures,
    gateway,
    health,
    queries,
    records,
    tail,
    timeline,
)
from dusangire.customers import sees_in_full, shown_email
from dusangire.errors import Invalid, NotFound
from dusangire.fiscalization import receipts
from dusangire.gateways import Account
from dusangire.importing import stored
from dusangire.invoicing.documents import links
from dusangire.languages import in_language
from dusangire.permissions import Permission, Scope
from dusangire.plugins import Plugin
from dusangire.reconciliation import discrepancies
from dusangire.stored_methods import StoredMethodKind
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import (
    AttemptStatus,
    AttentionReason,
    BreakerState,
    Capability,
    Direction,
    DiscrepancyKind,
    DiscrepancySeverity,
    DiscrepancyStatus,
    EntryKind,
    EntryStatus,
    Environment,
    FailureCode,
    FiscalLabel,
    HealthStatus,
    InvoiceKind,
    InvoiceStatus,
    LineStatus,
    MatchStatus,
    Notice,
    NotificationStatus,
    PaymentStatus,
    ReceiptStatus,
    ReconciliationRunStatus,
    ReconciliationStatus,
    RefundStatus,
    Role,
    RunKind,
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
    phone: PhoneNumber | None

    @strawberry.field
    def email(self, info: Info) -> str | None:
        email = cast("records.Customer", self).email
        return email if sees_in_full(info.context.actor) else shown_email(email)

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
    confirmed_until: datetime | None = strawberry.field(
        description="Until when a person need not show again who they are; see confirmIdentity."
    )

    @classmethod
    def of(cls, actor: access.Actor, *, confirmed_at: datetime | None = None) -> "Viewer":
        at = confirmed_at.timestamp() if confirmed_at else actor.confirmed_at
        until = None if at is None else datetime.fromtimestamp(at + access.CONFIRMED_FOR, UTC)
        return cls(
            kind=actor.kind,
            name=actor.name,
            role=actor.role,
            scopes=sorted(actor.scopes),
            confirmed_until=until if until is not None and until > datetime.now(UTC) else None,
        )


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


@strawberry.type(description="Something that happened to a payment.")
class Moment:
    at: datetime
    who: Actor | None
    what: str = strawberry.field(description="A sentence in plain English.")
    source: str = strawberry.field(
        description="action, attempt, exchange, webhook, approval, receipt, delivery "
        "or notification."
    )
    details: JSON | None = strawberry.field(
        description="What is known beside it: without secrets, and with numbers in part."
    )


@strawberry.type
class Why:
    headline: str = strawberry.field(
        description="What the state is, why, and what happens next, in plain English."
    )
    next_at: datetime | None = strawberry.field(
        description="When something happens by itself; null: never, or somebody has to act."
    )


@strawberry.type(description="A message to a customer or to somebody of the staff.")
class Notification:
    id: strawberry.ID
    notice: Notice
    channel: str = strawberry.field(description="The plugin that sends it, such as email.")
    to: str = strawberry.field(description="The address, masked.")
    status: NotificationStatus
    tries: int
    cause: str | None = strawberry.field(
        description="Why it was not sent, or not yet, or why nobody knows."
    )
    created_at: datetime
    ended_at: datetime | None


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

    @described.field("Oldest first; none for who may not read refunds.")
    async def refunds(self, info: Info) -> list["RefundRequest"]:
        if not info.context.actor.may(Permission.READ_REFUNDS):
            return []
        found = await info.context.loaders.refunds.load(_payment(self).id)
        return cast("list[RefundRequest]", found)

    @strawberry.field
    async def invoice(self, info: Info) -> "Invoice | None":
        found = await info.context.loaders.payment_invoices.load(_payment(self).id)
        return cast("Invoice | None", found)

    @described.field(
        "Who was told about it, oldest first: at most the last 50. Not for payers' tokens."
    )
    async def notifications(self, info: Info) -> list[Notification]:
        if not info.context.actor.may(Permission.READ_NOTIFICATIONS):
            return []
        found = await info.context.loaders.notifications.load(_payment(self).id)
        return cast("list[Notification]", found)

    @described.field(
        "What does not agree with the statements, oldest first. Not for payers' tokens."
    )
    async def discrepancies(self, info: Info) -> list["Discrepancy"]:
        if not info.context.actor.may(Permission.READ_STATEMENTS):
            return []
        found = await info.context.loaders.payment_discrepancies.load(_payment(self).id)
        return cast("list[Discrepancy]", found)

    @described.field(
        "Why it is in this state, and what comes next. Of one payment, not of those in a list. "
        "For who may read payments."
    )
    async def why(self, info: Info) -> Why:
        return cast("Why", await _story(info, self))

    @described.field(
        "Everything that happened to it, oldest first; of a very long story the last 1,000. "
        "Refunds, invoices, deliveries, messages and looks at customers' numbers are in it for who "
        "may read these. Of one payment, not of those in a list. For who may read payments."
    )
    async def timeline(self, info: Info) -> list[Moment]:
        return cast("list[Moment]", list((await _story(info, self)).moments))


async def _story(info: Info, shown: Payment) -> timeline.Story:
    """Raises Invalid for a payment in a list: each story is a large statement of its own."""
    if any(isinstance(step, int) for step in info.path.as_list()):
        raise Invalid("why and timeline are of one payment: ask for it by payment(id: …).")
    return await info.context.loaders.stories.load(_payment(shown).id)


def _payment(shown: Payment) -> records.Payment:
    return cast("records.Payment", shown)


def _invoice(shown: "Invoice") -> records.Invoice:
    return cast("records.Invoice", shown)


async def gateway_of(info: Info, gateway_id: UUID) -> Gateway:
    return cast("Gateway", await info.context.core.gateways.by_id(gateway_id))


# ── refunds, invoices, receipts, reconciliation ──────────────────────────────────────────────────


@strawberry.type
class RefundApproval:
    by: Actor
    note: str | None
    approved_at: datetime
    voided_at: datetime | None = strawberry.field(
        description="Since then it does not count: who gave it may not approve any more."
    )


@strawberry.type
class RefundRequest:
    id: strawberry.ID
    reference: str
    version: int = strawberry.field(description="Grows by one with each change.")
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
    by_hand: bool = strawberry.field(
        description="A person gives the money back, and says so with settleRefund."
    )
    approvals_needed: int
    evidence: str | None = strawberry.field(
        description="What whoever settled it saw, in their words."
    )
    created_at: datetime
    completed_at: datetime | None

    @strawberry.field
    async def payment(self, info: Info) -> Payment:
        refund = cast("records.RefundRequest", self)
        if not info.context.actor.may_see(refund.payment_id):
            raise NotFound
        return cast("Payment", await info.context.loaders.payments.load(refund.payment_id))

    @described.field("Who said yes, the earliest first.")
    async def approvals(self, info: Info) -> list[RefundApproval]:
        found = await info.context.loaders.approvals.load(cast("records.RefundRequest", self).id)
        return cast("list[RefundApproval]", found)


@strawberry.type
class InvoiceLine:
    description: str
    quantity: Decimal
    unit_price: Money
    tax_class: str = strawberry.field(description="A, B, C or D, as on fiscal receipts.")
    tax_rate: Decimal = strawberry.field(description="Per cent, such as 18.")
    tax: Money
    total: Money
    item_code: str | None


@strawberry.type(description="Why a receipt is not signed: the device's code, and words.")
class FiscalError:
    code: str
    message: str


@strawberry.type(description="An invoice or credit note at a tax authority's device.")
class FiscalReceipt:
    id: strawberry.ID
    status: ReceiptStatus
    label: FiscalLabel
    number: str | None = strawberry.field(description="As it is printed: 27/32 NS.")
    sdc_id: str | None
    mrc_no: str | None
    internal_data: str | None
    signed_at: datetime | None
    created_at: datetime

    @described.field("Our own number of it at the device; the same one whenever it is sent again.")
    def document_number(self) -> str | None:
        number = _receipt(self).invc_no
        return None if number is None else str(number)

    @described.field("Of a refund: the number of the sale at the device.")
    def original_number(self) -> str | None:
        number = _receipt(self).org_invc_no
        return None if number is None else str(number)

    @strawberry.field
    def signature(self) -> str | None:
        return _receipt(self).receipt_signature

    @described.field("The device's own time on the receipt.")
    def device_time(self) -> datetime | None:
        return _receipt(self).sdc_datetime

    @described.field("The text behind the QR code.")
    def qr_text(self) -> str | None:
        return _receipt(self).qr_payload

    @described.field("Null for the payer: it is about the merchant's settings.")
    def error(self, info: Info) -> FiscalError | None:
        error = _receipt(self).error
        if not info.context.actor.may(Permission.READ_INVOICES):
            return None
        return FiscalError(code=error["code"], message=error["message"]) if error else None

    @described.field("The invoice or credit note that it is about.")
    async def invoice(self, info: Info) -> "Invoice | None":
        found = await info.context.loaders.invoices.load(_receipt(self).invoice_id)
        return cast("Invoice | None", found)


def _receipt(shown: FiscalReceipt) -> receipts.FiscalReceipt:
    return cast("receipts.FiscalReceipt", shown)


@strawberry.type(description="A copy of who somebody was when the invoice was issued.")
class InvoiceParty:
    name: str | None
    tax_id: str | None
    address: str | None
    purchase_code: str | None = strawberry.field(
        description="With which a business may deduct what it bought."
    )

    @classmethod
    def of(cls, copy: Mapping[str, Any] | None) -> "InvoiceParty | None":
        if copy is None:
            return None
        return cls(
            name=copy.get("name"),
            tax_id=copy.get("tin"),
            address=copy.get("address"),
            purchase_code=copy.get("purchase_code"),
        )


@strawberry.type
class Invoice:
    id: strawberry.ID
    version: int = strawberry.field(description="Grows by one with each change.")
    number: str | None = strawberry.field(
        description="Gapless within its series and year, given when issued: INV-2026-000042."
    )
    kind: InvoiceKind
    status: InvoiceStatus
    net: Money
    tax: Money
    total: Money
    note: str | None
    due_on: date | None
    issued_at: datetime | None
    paid_at: datetime | None
    created_at: datetime

    @strawberry.field
    async def customer(self, info: Info) -> Customer | None:
        customer_id = _invoice(self).customer_id
        if customer_id is None:
            return None
        return cast("Customer | None", await info.context.loaders.customers.load(customer_id))

    @strawberry.field
    async def lines(self, info: Info) -> list[InvoiceLine]:
        found = await info.context.loaders.invoice_lines.load(_invoice(self).id)
        return cast("list[InvoiceLine]", found)

    @strawberry.field
    async def payment(self, info: Info) -> Payment | None:
        payment_id = _invoice(self).payment_id
        if payment_id is None or not info.context.actor.may_see(payment_id):
            return None
        return cast("Payment", await info.context.loaders.payments.load(payment_id))

    @described.field("Whose invoice it is; null until it is issued.")
    def seller(self) -> InvoiceParty | None:
        return InvoiceParty.of(_invoice(self).seller)

    @described.field("Whom it is made out to.")
    def buyer(self) -> InvoiceParty | None:
        return InvoiceParty.of(_invoice(self).buyer)

    @described.field("What a tax authority's device signed, or has yet to sign; null without one.")
    async def fiscal_receipt(self, info: Info) -> "FiscalReceipt | None":
        found = await info.context.loaders.fiscal_receipts.load(_invoice(self).id)
        return cast("FiscalReceipt | None", found)

    @described.field("Of an invoice: what was taken off it, in the order of the numbers.")
    async def credit_notes(self, info: Info) -> list["Invoice"]:
        found = await info.context.loaders.credit_notes.load(_invoice(self).id)
        return cast("list[Invoice]", found)

    @described.field("Of a credit note: the invoice it takes something off.")
    async def original(self, info: Info) -> "Invoice | None":
        original_id = _invoice(self).original_id
        if original_id is None:
            return None
        return cast("Invoice | None", await info.context.loaders.invoices.load(original_id))

    @described.field("Of a credit note: why it was made; none for who may not read refunds.")
    async def refund(self, info: Info) -> RefundRequest | None:
        invoice = _invoice(self)
        reader = info.context.actor.may(Permission.READ_REFUNDS)
        if invoice.refund_id is None or invoice.payment_id is None or not reader:
            return None
        found = await info.context.loaders.refunds.load(invoice.payment_id)
        mine = next((one for one in found if one.id == invoice.refund_id), None)
        return cast("RefundRequest | None", mine)

    @described.field("Link to the PDF, valid for a short time.")
    def pdf_url(self, info: Info, locale: str | None = "en") -> str | None:
        context = info.context
        # People see the buyer's phone number and e-mail address in part, here as everywhere.
        in_full = sees_in_full(context.actor)
        return links.pdf_url(context.core, _invoice(self), locale, in_full=in_full)


@strawberry.type
class PaymentReconciliation:
    id: strawberry.ID
    account: str
    kind: RunKind
    from_: date = strawberry.field(name="from")
    to: date
    status: ReconciliationRunStatus
    version: int
    step: str | None = strawberry.field(description="What it does just now.")
    progress: float
    matched_count: int
    suggested_count: int
    unmatched_payments: int
    unmatched_lines: int
    matched_total: Money = strawberry.field(
        description="What the matched lines of the period moved, in and out added up."
    )
    discrepancy_count: int = strawberry.field(description="Of the account, open ones.")
    digest: str = strawberry.field(
        description="Of what is approved: give it to approveReconciliation."
    )
    error: str | None = strawberry.field(description="Why it failed.")
    note: str | None = strawberry.field(description="Of whoever decided.")
    requested_by: Actor
    approved_by: Actor | None
    decided_by: Actor | None = strawberry.field(description="Who approved or rejected it.")
    decided_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


@strawberry.type
class StatementLine:
    id: strawberry.ID
    account: str
    booking_date: date
    value_date: date | None
    occurred_at: datetime | None
    direction: Direction
    kind: EntryKind
    entry_status: EntryStatus
    amount: Money = strawberry.field(description="What the account's balance moved by.")
    gross: Money | None = strawberry.field(description="What the payer paid, where it is said.")
    fee: Money | None = strawberry.field(description="What the provider kept, where it is said.")
    reference: str | None
    transaction_id: str | None
    settlement: str | None = strawberry.field(description="The payout it is a part of.")
    counterparty: str | None
    status: LineStatus
    number: int = strawberry.field(description="Where it stands in its file.")
    import_id: strawberry.ID

    @strawberry.field
    def narration(self, info: Info) -> str:
        line = cast("stored.StatementLine", self)
        return stored.shown_text(info.context.actor, line.narration)

    @described.field("Its end only, for people.")
    def counterparty_account(self, info: Info) -> str | None:
        line = cast("stored.StatementLine", self)
        return stored.shown_account(info.context.actor, line.counterparty_account)

    @described.field("What it belongs to now, suggested or confirmed.")
    async def match(self, info: Info) -> Annotated["Match", strawberry.lazy(__name__)] | None:
        line = cast("stored.StatementLine", self)
        found = await info.context.loaders.line_matches.load(line.id)
        return cast("Match | None", found)


@strawberry.type(description="Why these payments and lines belong together.")
class Match:
    id: strawberry.ID
    status: MatchStatus
    rule: str
    confidence: int
    explanation: list[str] = strawberry.field(description="What agreed and what did not, in words.")
    fee: Money = strawberry.field(description="What the provider kept.")
    difference: Money = strawberry.field(
        description="What the lines bring more, or less, than the payments with the fee taken off."
    )
    waits_for_another: bool = strawberry.field(
        description="Somebody said yes; the difference needs the yes of another person."
    )
    decided_by: Actor | None
    decided_at: datetime | None
    note: str | None
    created_at: datetime

    @described.field("None of a payout, which is many.")
    async def payments(self, info: Info) -> list[Payment]:
        found = await info.context.loaders.match_payments.load(_match(self).id)
        return cast("list[Payment]", found)

    @described.field("Of a match that was ended, those it had.")
    async def lines(self, info: Info) -> list[StatementLine]:
        loaders = info.context.loaders
        found = await loaders.lines.load_many(await loaders.match_line_ids.load(_match(self).id))
        return cast("list[StatementLine]", [line for line in found if line is not None])


@strawberry.type(description="Something that does not agree, once however often it is found.")
class Discrepancy:
    id: strawberry.ID
    account: str
    kind: DiscrepancyKind
    severity: DiscrepancySeverity
    status: DiscrepancyStatus
    item_id: strawberry.ID | None = strawberry.field(
        description="Of our records: for matchLines(itemIds)."
    )
    expected: Money | None = strawberry.field(description="What our records say.")
    actual: Money | None = strawberry.field(description="What the statement says.")
    message: str = strawberry.field(description="What happened, and what to do next.")
    candidates: JSON = strawberry.field(description="Of an ambiguous one: what it may be.")
    since: date = strawberry.field(description="The day of the money.")
    assigned_to: Actor | None
    resolution: str | None
    resolved_by: Actor | None
    resolved_at: datetime | None
    asked_by: Actor | None = strawberry.field(
        description="Who wants to write it off, while another person has to agree."
    )
    created_at: datetime

    @strawberry.field
    async def payment(self, info: Info) -> Payment | None:
        payment_id = _discrepancy(self).payment_id
        if payment_id is None or not info.context.actor.may_see(payment_id):
            return None
        return cast("Payment", await info.context.loaders.payments.load(payment_id))

    @strawberry.field
    async def line(self, info: Info) -> StatementLine | None:
        line_id = _discrepancy(self).line_id
        if line_id is None:
            return None
        return cast("StatementLine | None", await info.context.loaders.lines.load(line_id))

    @described.field("Days since the money moved, until it was closed.")
    def age_days(self, info: Info) -> int:
        return _discrepancy(self).age_days(info.context.core.clock())


def _discrepancy(shown: Discrepancy) -> discrepancies.Discrepancy:
    return cast("discrepancies.Discrepancy", shown)


def _match(shown: Match) -> records.Match:
    return cast("records.Match", shown)


# ── live ─────────────────────────────────────────────────────────────────────────────────────────


@strawberry.type
class DiscrepancyCount:
    kind: DiscrepancyKind
    count: int


@strawberry.type(description="What one run found that is grave and new: HIGH and CRITICAL.")
class OpenedDiscrepancies:
    account: str
    name: str = strawberry.field(description="Of the account.")
    count: int

    @strawberry.field
    def kinds(self) -> list[DiscrepancyCount]:
        found = cast("tail.OpenedDiscrepancies", self).kinds
        return [
            DiscrepancyCount(kind=discrepancies.DiscrepancyKind(kind), count=count)
            for kind, count in found.items()
        ]


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

    @described.field("As the event told it; none for who may not read refunds.")
    def refund(self, info: Info) -> RefundRequest | None:
        if not info.context.actor.may(Permission.READ_REFUNDS):
            return None
        return cast("RefundRequest | None", cast("tail.EventRecord", self).refund)

    @strawberry.field
    def invoice(self) -> Invoice | None:
        return cast("Invoice | None", cast("tail.EventRecord", self).invoice)

    @described.field("As the event told it; none for who may not read statements.")
    def reconciliation(self, info: Info) -> PaymentReconciliation | None:
        if not info.context.actor.may(Permission.READ_STATEMENTS):
            return None
        run = cast("tail.EventRecord", self).reconciliation
        return cast("PaymentReconciliation | None", run)

    @described.field("Of discrepancy.opened; none for who may not read statements.")
    def discrepancies(self, info: Info) -> OpenedDiscrepancies | None:
        if not info.context.actor.may(Permission.READ_STATEMENTS):
            return None
        found = cast("tail.EventRecord", self).discrepancies
        return cast("OpenedDiscrepancies | None", found)
