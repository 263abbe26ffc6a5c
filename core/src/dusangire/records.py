"""What is read: immutable values made from rows, and from the copies that events carry."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from dusangire.database import Row
from dusangire.gateway import (
    ApproveOnPhone,
    FailureCode,
    FollowLink,
    NextAction,
    PayInPerson,
    TransferToAccount,
)
from dusangire.lifecycle import (
    AttemptStatus,
    AttentionReason,
    Failure,
    PaymentStatus,
    TransactionKind,
)
from dusangire.money import Money

_ACTIONS: Mapping[str, type[NextAction]] = {
    action.__name__: action
    for action in (ApproveOnPhone, FollowLink, TransferToAccount, PayInPerson)
}
_PAYMENT_JSON = ("next_action", "failure", "needs_attention", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment as one version of it was. `refundable`: captured less refunded and reserved."""

    id: UUID
    reference: str
    version: int
    status: PaymentStatus
    amount: Money
    captured: Money
    refunded: Money
    refundable: Money
    order_reference: str | None
    description: str | None
    customer_id: UUID | None
    gateway_id: UUID | None
    next_action: NextAction | None
    failure: Failure | None
    needs_attention: tuple[AttentionReason, ...]
    reconciliation_status: str
    metadata: Any
    return_url: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    completed_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "Payment":
        """From a row of `payment`."""
        return cls._of({**row, **{name: json_of(row[name]) for name in _PAYMENT_JSON}})

    @classmethod
    def _of(cls, row: Mapping[str, Any]) -> "Payment":
        currency = row["currency"]
        return cls(
            id=row["id"],
            reference=row["reference"],
            version=row["version"],
            status=PaymentStatus(row["status"]),
            amount=Money(row["amount"], currency),
            captured=Money(row["captured"], currency),
            refunded=Money(row["refunded"], currency),
            refundable=Money(row["captured"] - row["refunded"] - row["reserved"], currency),
            order_reference=row["order_reference"],
            description=row["description"],
            customer_id=row["customer_id"],
            gateway_id=row["gateway_id"],
            next_action=action_of(row["next_action"]),
            failure=failure_of(row["failure"]),
            needs_attention=tuple(map(AttentionReason, row["needs_attention"])),
            reconciliation_status=row["reconciliation_status"],
            metadata=row["metadata"],
            return_url=row["return_url"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            expires_at=row["expires_at"],
            completed_at=row["completed_at"],
        )

    @classmethod
    def of_snapshot(cls, data: Mapping[str, Any]) -> "Payment":
        """From an event: the row as it was when the event was written."""
        moments = ("created_at", "updated_at", "expires_at", "completed_at")
        ids = ("id", "customer_id", "gateway_id")
        return cls._of(
            {
                **data,
                **{name: moment_of(data[name]) for name in moments},
                **{name: UUID(data[name]) if data[name] else None for name in ids},
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAttempt:
    """One try on one gateway."""

    id: UUID
    payment_id: UUID
    number: int
    gateway_id: UUID
    status: AttemptStatus
    gateway_reference: str
    gateway_transaction_id: str | None
    failure: Failure | None
    created_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "PaymentAttempt":
        return cls(
            id=row["id"],
            payment_id=row["payment_id"],
            number=row["number"],
            gateway_id=row["gateway_id"],
            status=AttemptStatus(row["status"]),
            gateway_reference=row["reference"],
            gateway_transaction_id=row["gateway_transaction_id"],
            failure=failure_of(json_of(row["failure"])),
            created_at=row["created_at"],
            completed_at=row["completed_at"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTransaction:
    """One exchange with a gateway, masked."""

    id: int
    kind: TransactionKind
    gateway_id: UUID
    outcome: str
    http_status: int | None
    error_code: str | None
    error_message: str | None
    request: Any
    response: Any
    duration_ms: int | None
    notes: Any
    created_at: datetime

    @classmethod
    def of(cls, row: Row) -> "PaymentTransaction":
        return cls(
            id=row["id"],
            kind=TransactionKind(row["kind"]),
            gateway_id=row["gateway_id"],
            outcome=row["outcome"],
            http_status=row["http_status"],
            error_code=row["error_code"],
            error_message=row["error_message"],
            request=json_of(row["request"]),
            response=json_of(row["response"]),
            duration_ms=row["duration_ms"],
            notes=json_of(row["notes"]),
            created_at=row["created_at"],
        )


class RefundStatus(StrEnum):
    REQUESTED = "REQUESTED"
    PROCESSING = "PROCESSING"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Who:
    """A person, an API key or the system, as it stands in a record."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequest:
    """A refund as one version of it was.

    by_hand: a person gives the money back, and says so with evidence.
    requested_by_id: the person behind it, also behind an API key.
    """

    id: UUID
    reference: str
    payment_id: UUID
    gateway_id: UUID
    version: int
    status: RefundStatus
    amount: Money
    reason: str
    digest: str
    approvals_needed: int
    by_hand: bool
    requested_by: Who
    requested_by_id: UUID | None
    decided_by: Who | None
    decided_at: datetime | None
    failure: Failure | None
    evidence: str | None
    settled_by_name: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "RefundRequest":
        """From a row of `refund`."""
        return cls._of({**row, "failure": json_of(row["failure"])})

    @classmethod
    def of_snapshot(cls, data: Mapping[str, Any]) -> "RefundRequest":
        """From an event: the row as it was when the event was written."""
        moments = ("decided_at", "created_at", "updated_at", "completed_at")
        ids = ("id", "payment_id", "gateway_id", "requested_by_id")
        return cls._of(
            {
                **data,
                **{name: moment_of(data[name]) for name in moments},
                **{name: UUID(data[name]) if data[name] else None for name in ids},
            }
        )

    @classmethod
    def _of(cls, row: Mapping[str, Any]) -> "RefundRequest":
        decided = row["decided_by_kind"]
        return cls(
            id=row["id"],
            reference=row["reference"],
            payment_id=row["payment_id"],
            gateway_id=row["gateway_id"],
            version=row["version"],
            status=RefundStatus(row["status"]),
            amount=Money(row["amount"], row["currency"]),
            reason=row["reason"],
            digest=row["digest"],
            approvals_needed=row["approvals_needed"],
            by_hand=row["by_hand"],
            requested_by=Who(row["requested_by_kind"], row["requested_by_name"]),
            requested_by_id=row["requested_by_id"],
            decided_by=Who(decided, row["decided_by_name"]) if decided else None,
            decided_at=row["decided_at"],
            failure=failure_of(row["failure"]),
            evidence=row["evidence"],
            settled_by_name=row["settled_by_name"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            completed_at=row["completed_at"],
        )


class RunStatus(StrEnum):
    RUNNING = "RUNNING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


class RunKind(StrEnum):
    """Who began a run: a person or key, an import, or the night."""

    MANUAL = "MANUAL"
    IMPORT = "IMPORT"
    NIGHTLY = "NIGHTLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A run over one account, as one version of it was.

    progress: 0 to 1. step: what it does, in a word.
    matched_total: what the matched lines of the period moved, in and out added up.
    criticals: open discrepancies of the account that nobody should say yes over without a word.
    digest: of what is approved: the period and its counts.
    """

    id: UUID
    account_id: UUID
    account: str
    kind: RunKind
    from_: date
    to: date
    version: int
    status: RunStatus
    step: str | None
    progress: float
    matched_count: int
    suggested_count: int
    unmatched_payments: int
    unmatched_lines: int
    matched_total: Money
    discrepancy_count: int
    criticals: int
    digest: str
    error: str | None
    note: str | None
    requested_by: Who
    requested_by_id: UUID | None
    decided_by: Who | None
    decided_at: datetime | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def approved_by(self) -> Who | None:
        return self.decided_by if self.status is RunStatus.APPROVED else None

    @classmethod
    def of(cls, row: Row) -> "Reconciliation":
        """From a row of `reconciliation`, with `account_code` and `account_currency`."""
        return cls._of({**row, "counts": json_of(row["counts"])})

    @classmethod
    def of_snapshot(cls, data: Mapping[str, Any]) -> "Reconciliation":
        """From an event: the row as it was when the event was written."""
        moments, days = ("decided_at", "created_at", "finished_at"), ("from_date", "to_date")
        ids = ("id", "account_id", "requested_by_id")
        return cls._of(
            {
                **data,
                **{name: moment_of(data[name]) for name in moments},
                **{name: date.fromisoformat(data[name]) for name in days},
                **{name: UUID(data[name]) if data[name] else None for name in ids},
            }
        )

    @classmethod
    def _of(cls, row: Mapping[str, Any]) -> "Reconciliation":
        counts, decided = row["counts"], row["decided_by_kind"]
        return cls(
            id=row["id"],
            account_id=row["account_id"],
            account=row["account_code"],
            kind=RunKind(row["kind"]),
            from_=row["from_date"],
            to=row["to_date"],
            version=row["version"],
            status=RunStatus(row["status"]),
            step=row["step"],
            progress=float(row["progress"]),
            matched_count=counts.get("matched", 0),
            suggested_count=counts.get("suggested", 0),
            unmatched_payments=counts.get("unmatched_payments", 0),
            unmatched_lines=counts.get("unmatched_lines", 0),
            matched_total=Money(counts.get("matched_total", 0), row["account_currency"]),
            discrepancy_count=counts.get("discrepancies", 0),
            criticals=counts.get("criticals", 0),
            digest=_run_digest(row),
            error=row["error"],
            note=row["note"],
            requested_by=Who(row["requested_by_kind"], row["requested_by_name"]),
            requested_by_id=row["requested_by_id"],
            decided_by=Who(decided, row["decided_by_name"]) if decided else None,
            decided_at=row["decided_at"],
            created_at=row["created_at"],
            finished_at=row["finished_at"],
        )


def _run_digest(row: Mapping[str, Any]) -> str:
    what = [str(row["id"]), str(row["from_date"]), str(row["to_date"]), row["counts"]]
    return hashlib.sha256(orjson.dumps(what, option=orjson.OPT_SORT_KEYS)).hexdigest()


class MatchStatus(StrEnum):
    """UNMATCHED: it was confirmed, and a person took it back."""

    SUGGESTED = "SUGGESTED"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    UNMATCHED = "UNMATCHED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Lines of a statement and money of ours that belong together.

    explanation: what agreed and what did not, in words.
    difference: what the lines bring more (or less) than the items, the fee taken off.
    decided_by: of a suggestion, who said yes first, and that it needs another person.
    """

    id: UUID
    account_id: UUID
    status: MatchStatus
    rule: str
    confidence: int
    explanation: tuple[str, ...]
    fee: Money
    difference: Money
    decided_by: Who | None
    decided_by_id: UUID | None
    decided_at: datetime | None
    note: str | None
    created_at: datetime

    @property
    def waits_for_another(self) -> bool:
        return self.status is MatchStatus.SUGGESTED and self.decided_by is not None

    @classmethod
    def of(cls, row: Row) -> "Match":
        """From a row of `recon_match`."""
        kind, currency = row["decided_by_kind"], row["currency"]
        return cls(
            id=row["id"],
            account_id=row["account_id"],
            status=MatchStatus(row["status"]),
            rule=row["rule"],
            confidence=row["confidence"],
            explanation=tuple(map(str, json_of(row["explanation"]))),
            fee=Money(row["fee"], currency),
            difference=Money(row["difference"], currency),
            decided_by=Who(kind, row["decided_by_name"]) if kind else None,
            decided_by_id=row["decided_by_id"],
            decided_at=row["decided_at"],
            note=row["note"],
            created_at=row["created_at"],
        )


class InvoiceKind(StrEnum):
    INVOICE = "INVOICE"
    CREDIT_NOTE = "CREDIT_NOTE"


class InvoiceStatus(StrEnum):
    DRAFT = "DRAFT"
    ISSUED = "ISSUED"
    PAID = "PAID"
    VOID = "VOID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice or credit note as one version of it was. Its lines are read beside it.

    number: given when it is issued, gapless within its series and year.
    seller: a copy of the merchant's profile when it was issued (name, tin, address, phone, email,
        vat_registered, footer); None before, and where there was no profile.
    buyer: a copy of the customer when it was issued (reference, name, email, phone) beside what was
        said for this invoice (name, tin, purchase_code, address); of a draft, the latter alone.
        Any key may be missing.
    """

    id: UUID
    kind: InvoiceKind
    status: InvoiceStatus
    version: int
    number: str | None
    net: Money
    tax: Money
    total: Money
    customer_id: UUID | None
    payment_id: UUID | None
    refund_id: UUID | None
    original_id: UUID | None
    seller: Mapping[str, Any] | None
    buyer: Mapping[str, Any] | None
    note: str | None
    due_on: date | None
    issued_at: datetime | None
    paid_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: Row) -> "Invoice":
        """From a row of `invoice`."""
        return cls._of({**row, "seller": json_of(row["seller"]), "buyer": json_of(row["buyer"])})

    @classmethod
    def of_snapshot(cls, data: Mapping[str, Any]) -> "Invoice":
        """From an event: the row as it was when the event was written."""
        moments = ("issued_at", "paid_at", "created_at")
        ids = ("id", "customer_id", "payment_id", "refund_id", "original_id")
        return cls._of(
            {
                **data,
                **{name: moment_of(data[name]) for name in moments},
                **{name: UUID(data[name]) if data[name] else None for name in ids},
                "due_on": date.fromisoformat(data["due_on"]) if data["due_on"] else None,
            }
        )

    @classmethod
    def _of(cls, row: Mapping[str, Any]) -> "Invoice":
        currency = row["currency"]
        return cls(
            id=row["id"],
            kind=InvoiceKind(row["kind"]),
            status=InvoiceStatus(row["status"]),
            version=row["version"],
            number=row["number"],
            net=Money(row["net"], currency),
            tax=Money(row["tax"], currency),
            total=Money(row["total"], currency),
            customer_id=row["customer_id"],
            payment_id=row["payment_id"],
            refund_id=row["refund_id"],
            original_id=row["original_id"],
            seller=row["seller"],
            buyer=row["buyer"],
            note=row["note"],
            due_on=row["due_on"],
            issued_at=row["issued_at"],
            paid_at=row["paid_at"],
            created_at=row["created_at"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """What was sold, one line of an invoice. tax_rate: per cent; prices include tax.

    place: 1 for the first line; a line of a credit note has the place of the line it credits.
    """

    place: int
    description: str
    quantity: Decimal
    unit_price: Money
    tax_class: str
    tax_rate: Decimal
    tax: Money
    total: Money
    item_code: str | None

    @classmethod
    def of(cls, row: Row) -> "InvoiceLine":
        """From a row of `invoice_line`, with the `currency` of its invoice."""
        currency = row["currency"]
        return cls(
            place=row["place"],
            description=row["description"],
            quantity=_shortest(Decimal(row["quantity"]).scaleb(-3)),
            unit_price=Money(row["unit_price"], currency),
            tax_class=row["tax_class"],
            tax_rate=_shortest(Decimal(row["tax_rate"]).scaleb(-2)),
            tax=Money(row["tax"], currency),
            total=Money(row["total"], currency),
            item_code=row["item_code"],
        )


def _shortest(number: Decimal) -> Decimal:
    """2.500 as 2.5, and 10.000 as 10."""
    whole = number.to_integral_value()
    return whole if number == whole else number.normalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Whom the merchant sells to."""

    id: UUID
    reference: str
    name: str | None
    email: str | None
    phone: str | None

    @classmethod
    def of(cls, row: Row) -> "Customer":
        return cls(
            id=row["id"],
            reference=row["reference"],
            name=row["name"],
            email=row["email"],
            phone=row["phone"],
        )


def json_of(value: Any) -> Any:
    """A JSON column, which the driver gives as text."""
    return orjson.loads(value) if isinstance(value, str) else value


def moment_of(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def failure_of(data: Mapping[str, Any] | None) -> Failure | None:
    if data is None:
        return None
    return Failure(
        code=FailureCode(data["code"]), message=data["message"], gateway_code=data["gateway_code"]
    )


def failure_json(failure: Failure | None) -> str | None:
    return orjson.dumps(asdict(failure)).decode() if failure else None


def action_json(action: NextAction | None) -> str | None:
    """What the payer does next as it is stored: its kind beside its fields."""
    if action is None:
        return None
    return orjson.dumps({"kind": type(action).__name__, **asdict(action)}).decode()


def action_of(data: Mapping[str, Any] | None) -> NextAction | None:
    if data is None:
        return None
    values = {name: value for name, value in data.items() if name != "kind"}
    if "expires_at" in values:
        values["expires_at"] = moment_of(values["expires_at"])
    if "amount" in values:
        values["amount"] = Money(**values["amount"])
    return _ACTIONS[data["kind"]](**values)
