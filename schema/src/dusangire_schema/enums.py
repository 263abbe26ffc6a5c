"""The closed vocabularies. Core's own words are published as they are."""

from enum import StrEnum

import strawberry

from dusangire.analytics.revenue import RevenueGroup
from dusangire.breaker import BreakerState
from dusangire.errors import ErrorCode
from dusangire.fiscal import Label as FiscalLabel
from dusangire.fiscalization.receipts import ReceiptStatus
from dusangire.gateway import Environment, FailureCode
from dusangire.health import HealthStatus
from dusangire.importing.imports import ImportStatus
from dusangire.importing.stored import LineStatus
from dusangire.lifecycle import AttemptStatus, AttentionReason, PaymentStatus, TransactionKind
from dusangire.notifying.notices import Notice
from dusangire.notifying.notifications import NotificationStatus
from dusangire.outbox.endpoints import DeliveryStatus as WebhookDeliveryStatus
from dusangire.permissions import Role, Scope
from dusangire.plugins import Capability
from dusangire.queries import PaymentOrder
from dusangire.reconciliation.discrepancies import DiscrepancyKind, DiscrepancyStatus
from dusangire.reconciliation.discrepancies import Severity as DiscrepancySeverity
from dusangire.records import InvoiceKind, InvoiceStatus, MatchStatus, RefundStatus, RunKind
from dusangire.records import RunStatus as ReconciliationRunStatus
from dusangire.statements import AccountKind, Direction, EntryKind, EntryStatus
from dusangire.stored_methods import StoredMethodKind

for words, name, description in (
    (Scope, "Scope", None),
    (Role, "Role", None),
    (ErrorCode, "ErrorCode", None),
    (Environment, "Environment", None),
    (
        FailureCode,
        "FailureCode",
        "Closed vocabulary of why money did not move; the gateway's own word stays in gatewayCode.",
    ),
    (PaymentStatus, "PaymentStatus", None),
    (
        AttemptStatus,
        "AttemptStatus",
        (
            "UNKNOWN: the call may or may not have reached the gateway; "
            "it is being asked about, never resent blindly."
        ),
    ),
    (AttentionReason, "AttentionReason", None),
    (Notice, "Notice", "Something that customers or staff are told."),
    (
        NotificationStatus,
        "NotificationStatus",
        (
            "UNKNOWN: it may or may not have been sent, and no machine sends it again. "
            "FAILED: it was certainly not sent."
        ),
    ),
    (TransactionKind, "TransactionKind", None),
    (Capability, "GatewayCapability", None),
    (HealthStatus, "HealthStatus", None),
    (
        BreakerState,
        "BreakerState",
        (
            "OPEN: the gateway gives no answers, so that new payments are refused with "
            "GATEWAY_UNAVAILABLE until it answers a status read."
        ),
    ),
    (PaymentOrder, "PaymentOrder", None),
    (RevenueGroup, "RevenueGroup", "What revenue is divided by. A week begins on Monday."),
    (RefundStatus, "RefundStatus", None),
    (ReconciliationRunStatus, "ReconciliationRunStatus", None),
    (
        RunKind,
        "ReconciliationKind",
        "MANUAL: somebody asked for it, and somebody else approves it. IMPORT, NIGHTLY: by itself.",
    ),
    (MatchStatus, "MatchStatus", None),
    (DiscrepancyKind, "DiscrepancyKind", None),
    (DiscrepancyStatus, "DiscrepancyStatus", None),
    (DiscrepancySeverity, "DiscrepancySeverity", None),
    (ImportStatus, "ImportStatus", None),
    (Direction, "Direction", None),
    (LineStatus, "LineStatus", None),
    (EntryKind, "StatementLineKind", "What a line is, as far as the file says."),
    (
        EntryStatus,
        "StatementEntryStatus",
        "BOOKED: it happened. PENDING: it may. INFO: nothing moved.",
    ),
    (
        AccountKind,
        "StatementAccountKind",
        (
            "BANK: an account at a bank. WALLET: the merchant's own wallet at an operator. "
            "SETTLEMENT: a provider's report of what it will pay out."
        ),
    ),
    (InvoiceKind, "InvoiceKind", None),
    (InvoiceStatus, "InvoiceStatus", None),
    (
        ReceiptStatus,
        "FiscalReceiptStatus",
        (
            "REJECTED: the device did not take it, and those behind it wait. UNKNOWN: its answer "
            "was lost; it is sent again under the same number. NEEDS_RECEIPT: the device has it, "
            "and a person has to enter what it signed."
        ),
    ),
    (FiscalLabel, "FiscalLabel", "NS: a normal sale. NR: the refund of one."),
    (
        WebhookDeliveryStatus,
        "WebhookDeliveryStatus",
        "FAILED: given up after three days. CANCELLED: its endpoint was deleted.",
    ),
    (
        StoredMethodKind,
        "StoredMethodKind",
        "PHONE: the number that is asked. TOKEN: what the gateway gave for charging a card again.",
    ),
):
    strawberry.enum(words, name=name, description=description)


@strawberry.enum
class ReconciliationStatus(StrEnum):
    NOT_RECONCILED = "NOT_RECONCILED"
    MATCHED = "MATCHED"
    DISCREPANCY = "DISCREPANCY"


__all__ = [
    "AccountKind",
    "AttemptStatus",
    "AttentionReason",
    "BreakerState",
    "Capability",
    "Direction",
    "DiscrepancyKind",
    "DiscrepancySeverity",
    "DiscrepancyStatus",
    "EntryKind",
    "EntryStatus",
    "Environment",
    "ErrorCode",
    "FailureCode",
    "FiscalLabel",
    "HealthStatus",
    "ImportStatus",
    "InvoiceKind",
    "InvoiceStatus",
    "LineStatus",
    "MatchStatus",
    "Notice",
    "NotificationStatus",
    "PaymentOrder",
    "PaymentStatus",
    "ReceiptStatus",
    "ReconciliationRunStatus",
    "ReconciliationStatus",
    "RefundStatus",
    "RevenueGroup",
    "Role",
    "RunKind",
    "Scope",
    "TransactionKind",
    "WebhookDeliveryStatus",
]
