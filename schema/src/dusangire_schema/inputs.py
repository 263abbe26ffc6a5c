"""What can be sent, and how it becomes core's own input.

An input lists what a caller may set: there is nothing else to set. Amounts, moments and phone
numbers arrive as text; core says which field is wrong.
"""

from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import orjson
import strawberry

from dusangire import intake, queries
from dusangire.errors import Invalid, InvalidAmount, NotFound
from dusangire.invoicing import billing
from dusangire_schema.enums import (
    Environment,
    FailureCode,
    PaymentStatus,
    ReconciliationStatus,
)
from dusangire_schema.scalars import JSON, CurrencyCode, DecimalText, MomentText, PhoneNumber


@strawberry.input
class MoneyInput:
    amount: DecimalText
    currency: CurrencyCode


@strawberry.input
class CustomerInput:
    reference: str
    name: str | None = None
    email: str | None = None
    phone: PhoneNumber | None = None

    def to_core(self) -> intake.CustomerInput:
        return intake.CustomerInput(
            reference=self.reference, name=self.name, email=self.email, phone=self.phone
        )


@strawberry.input(description="What is sold. Prices include tax.")
class InvoiceLineInput:
    description: str
    quantity: DecimalText | None = strawberry.field(
        default=None, description="At most three decimals; left out: 1."
    )
    unit_price: MoneyInput
    tax_class: str | None = strawberry.field(
        default=None,
        description="A, B, C or D. Left out: B for a merchant registered for VAT, otherwise D.",
    )
    item_code: str | None = None

    def to_core(self) -> billing.LineInput:
        return billing.LineInput(
            description=self.description,
            quantity="1" if self.quantity is None else self.quantity,
            unit_price=self.unit_price.amount,
            currency=self.unit_price.currency,
            tax_class=self.tax_class,
            item_code=self.item_code,
        )


@strawberry.input(
    description="Whom an invoice is made out to, where that is more than the payment's customer."
)
class BuyerInput:
    name: str | None = None
    tax_id: str | None = strawberry.field(default=None, description="Nine digits.")
    purchase_code: str | None = strawberry.field(
        default=None, description="Six characters, with which a business deducts what it bought."
    )
    address: str | None = None

    def to_core(self) -> billing.BuyerInput:
        return billing.BuyerInput(
            name=self.name,
            tax_id=self.tax_id,
            purchase_code=self.purchase_code,
            address=self.address,
        )


@strawberry.input(
    description="gateway is a gateway's code; "
    "details holds what that gateway's inputSchema asks for beyond these."
)
class PaymentMethodInput:
    gateway: str
    phone: PhoneNumber | None = None
    email: str | None = None
    stored_method_id: strawberry.ID | None = strawberry.field(
        default=None, description="A method of the payment's customer; see storedMethods."
    )
    store_consent: str | None = strawberry.field(
        default=None,
        description="Keep this method for the customer when the payment succeeded: the words the "
        "payer agreed to. Left out, nothing is kept.",
    )
    details: JSON | None = None

    def to_core(self) -> intake.MethodInput:
        return intake.MethodInput(
            gateway=self.gateway,
            phone=self.phone,
            email=self.email,
            stored_method_id=self.stored_method_id,
            store_consent=self.store_consent,
            details=json_value(self.details, "method", "details"),
        )


@strawberry.input
class CreatePaymentInput:
    idempotency_key: str
    amount: MoneyInput
    order_reference: str | None = None
    description: str | None = None
    customer: CustomerInput | None = None
    method: PaymentMethodInput | None = strawberry.field(
        default=None, description="Leave out to let the payer choose later with attemptPayment."
    )
    return_url: str | None = None
    metadata: JSON | None = None
    expires_at: MomentText | None = None
    lines: list[InvoiceLineInput] | None = strawberry.field(
        default=None,
        description="For the invoice: what is sold. They must come to the amount.",
    )
    buyer: BuyerInput | None = strawberry.field(
        default=None, description="For the invoice: whom it is made out to."
    )
    wait_ms: int | None = strawberry.field(
        default=None,
        description="Hold the answer up to this long (max 10000) for the gateway's first answer; "
        "0 answers at once.",
    )

    def to_core(self) -> intake.CreatePayment:
        return intake.CreatePayment(
            idempotency_key=self.idempotency_key,
            amount=self.amount.amount,
            currency=self.amount.currency,
            order_reference=self.order_reference,
            description=self.description,
            customer=self.customer.to_core() if self.customer else None,
            method=self.method.to_core() if self.method else None,
            return_url=self.return_url,
            metadata=json_value(self.metadata, "metadata"),
            expires_at=moment(self.expires_at, "expiresAt"),
            lines=[line.to_core() for line in self.lines] if self.lines is not None else None,
            buyer=self.buyer.to_core() if self.buyer else None,
            wait_ms=self.wait_ms,
        )


@strawberry.input
class AttemptPaymentInput:
    idempotency_key: str
    payment_id: strawberry.ID
    method: PaymentMethodInput
    return_url: str | None = None
    wait_ms: int | None = None

    def to_core(self) -> intake.AttemptPayment:
        return intake.AttemptPayment(
            idempotency_key=self.idempotency_key,
            payment_id=known_id(self.payment_id, "paymentId"),
            method=self.method.to_core(),
            return_url=self.return_url,
            wait_ms=self.wait_ms,
        )


@strawberry.input(
    description="Money that a person saw arrive: a bank transfer, cash from a courier."
)
class ConfirmPaymentInput:
    idempotency_key: str
    payment_id: strawberry.ID
    amount: MoneyInput
    evidence: str
    note: str | None = None

    def to_core(self) -> intake.ConfirmPayment:
        return intake.ConfirmPayment(
            idempotency_key=self.idempotency_key,
            payment_id=known_id(self.payment_id, "paymentId"),
            amount=self.amount.amount,
            currency=self.amount.currency,
            evidence=self.evidence,
            note=self.note,
        )


@strawberry.input
class CancelPaymentInput:
    payment_id: strawberry.ID
    reason: str


@strawberry.input
class SaveGatewayInput:
    code: str
    plugin: str
    name: str
    environment: Environment
    config: JSON
    enabled: bool | None = True


@strawberry.input
class PaymentFilter:
    status: list[PaymentStatus] | None = None
    gateway: list[str] | None = None
    created_from: MomentText | None = None
    created_to: MomentText | None = None
    amount_min: DecimalText | None = None
    amount_max: DecimalText | None = None
    currency: CurrencyCode | None = None
    phone: PhoneNumber | None = None
    customer: str | None = None
    order_reference: str | None = None
    failure_code: list[FailureCode] | None = None
    reconciliation_status: list[ReconciliationStatus] | None = None
    needs_attention: bool | None = None
    search: str | None = strawberry.field(
        default=None,
        description="Free text over references, order, customer, description, gateway ids "
        "and error text.",
    )

    def to_core(self) -> queries.PaymentFilter:
        return queries.PaymentFilter(
            status=self.status,
            gateway=self.gateway,
            created_from=moment(self.created_from, "filter", "createdFrom"),
            created_to=moment(self.created_to, "filter", "createdTo"),
            amount_min=decimal(self.amount_min, "filter", "amountMin"),
            amount_max=decimal(self.amount_max, "filter", "amountMax"),
            currency=self.currency,
            phone=self.phone,
            customer=self.customer,
            order_reference=self.order_reference,
            failure_code=self.failure_code,
            reconciliation_status=self.reconciliation_status,
            needs_attention=self.needs_attention,
            search=self.search,
        )


def moment(text: str | None, *field: str) -> datetime | None:
    """A moment in RFC 3339. Raises Invalid, also for one without an offset."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid("Write a time like 2026-11-23T14:30:00+02:00, with its offset.", field=field)
    return found


def day(text: str | None, *field: str) -> date | None:
    """A calendar day. Raises Invalid."""
    return required_day(text, *field) if text is not None else None


def required_day(text: str, *field: str) -> date:
    """A calendar day. Raises Invalid."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid("Write a day like 2026-11-23.", field=field) from None


def decimal(text: str | None, *field: str) -> Decimal | None:
    """A number. Raises InvalidAmount."""
    if text is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidAmount(field=field) from None


def id_of(text: str | None) -> UUID | None:
    """An id; None for text that cannot be one, which is as unknown as any other."""
    try:
        return UUID(text) if text is not None else None
    except ValueError:
        return None


def known_id(text: str, field: str) -> UUID:
    """Raises NotFound for text that cannot be an id."""
    found = id_of(text)
    if found is None:
        raise NotFound(field=[field])
    return found


def json_value(value: Any, *field: str) -> Any:
    """A JSON value that can be stored. Raises Invalid for depths and numbers that cannot."""
    if value is None:
        return None
    try:
        stored = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise Invalid(
            f"{field[-1]} is nested too deeply or holds a number that is too large.", field=field
        ) from error
    if b"\\u0000" in stored:
        raise Invalid(f"{field[-1]} holds characters that cannot be stored.", field=field)
    return value
