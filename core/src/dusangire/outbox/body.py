"""What merchants' webhooks say: the objects in the API's words, phone numbers and people left out.

A webhook goes to a machine that we do not know. It says what happened to which payment; whose phone
paid it is asked for through the API, by somebody with a key.
"""

from datetime import UTC, datetime
from typing import Any

import orjson

from dusangire.lifecycle import Failure, PaymentStatus
from dusangire.masking import mask_json, mask_text
from dusangire.money import Money
from dusangire.records import Invoice, Payment, Reconciliation, RefundRequest
from dusangire.tail import EventRecord

TEST = "webhook.test"
FAMILIES = ("payment.", "refund.", "invoice.", "reconciliation.")
# What an endpoint may ask for by name.
TYPES = frozenset(
    {
        *(f"payment.{status.lower()}" for status in PaymentStatus),
        "payment.updated",
        "payment.reconciled",
        "refund.requested",
        "refund.approved",
        "refund.rejected",
        "refund.processing",
        "refund.unknown",
        "refund.succeeded",
        "refund.failed",
        "refund.cancelled",
        "invoice.drafted",
        "invoice.issued",
        "invoice.paid",
        "invoice.voided",
        "reconciliation.awaiting_approval",
        "reconciliation.approved",
        "reconciliation.rejected",
        "reconciliation.failed",
    }
)
WILDCARDS = frozenset({"*", *(f"{family}*" for family in FAMILIES)})


def wanted_by(type_: str) -> list[str]:
    """What an endpoint may have asked for to be told of this type."""
    return [type_, f"{type_.partition('.')[0]}.*", "*"]


def body_of(event: EventRecord) -> str | None:
    """What is sent of an event; None when it is about nothing that merchants are told of."""
    data: dict[str, Any] = {}
    if event.payment is not None:
        data["payment"] = _payment(event.payment)
    if event.refund is not None:
        data["refund"] = _refund(event.refund)
    if event.invoice is not None:
        data["invoice"] = _invoice(event.invoice)
    # How far a run is goes to who watches it; a machine is told what it came to.
    if event.reconciliation is not None and event.type in TYPES:
        data["reconciliation"] = _reconciliation(event.reconciliation)
    return body(event.type, event.occurred_at, data) if data else None


def body(type_: str, at: datetime, data: dict[str, Any]) -> str:
    return orjson.dumps({"type": type_, "timestamp": _moment(at), "data": data}).decode()


def _payment(payment: Payment) -> dict[str, Any]:
    return {
        "id": str(payment.id),
        "reference": payment.reference,
        "version": payment.version,
        "status": payment.status,
        "amount": _money(payment.amount),
        "captured": _money(payment.captured),
        "refunded": _money(payment.refunded),
        "refundable": _money(payment.refundable),
        "orderReference": payment.order_reference,
        "description": mask_text(payment.description) if payment.description else None,
        "gatewayId": str(payment.gateway_id) if payment.gateway_id else None,
        "failure": _failure(payment.failure),
        "needsAttention": list(payment.needs_attention),
        "reconciliationStatus": payment.reconciliation_status,
        "metadata": mask_json(payment.metadata),
        "createdAt": _moment(payment.created_at),
        "updatedAt": _moment(payment.updated_at),
        "expiresAt": _moment(payment.expires_at),
        "completedAt": _moment(payment.completed_at),
    }


def _refund(refund: RefundRequest) -> dict[str, Any]:
    return {
        "id": str(refund.id),
        "reference": refund.reference,
        "paymentId": str(refund.payment_id),
        "version": refund.version,
        "status": refund.status,
        "amount": _money(refund.amount),
        "failure": _failure(refund.failure),
        "createdAt": _moment(refund.created_at),
        "updatedAt": _moment(refund.updated_at),
        "completedAt": _moment(refund.completed_at),
    }


def _invoice(invoice: Invoice) -> dict[str, Any]:
    return {
        "id": str(invoice.id),
        "kind": invoice.kind,
        "status": invoice.status,
        "version": invoice.version,
        "number": invoice.number,
        "net": _money(invoice.net),
        "tax": _money(invoice.tax),
        "total": _money(invoice.total),
        "paymentId": str(invoice.payment_id) if invoice.payment_id else None,
        "refundId": str(invoice.refund_id) if invoice.refund_id else None,
        "originalId": str(invoice.original_id) if invoice.original_id else None,
        "dueOn": invoice.due_on.isoformat() if invoice.due_on else None,
        "issuedAt": _moment(invoice.issued_at),
        "paidAt": _moment(invoice.paid_at),
        "createdAt": _moment(invoice.created_at),
    }


def _reconciliation(run: Reconciliation) -> dict[str, Any]:
    return {
        "id": str(run.id),
        "account": run.account,
        "kind": run.kind,
        "status": run.status,
        "version": run.version,
        "from": run.from_.isoformat(),
        "to": run.to.isoformat(),
        "matchedCount": run.matched_count,
        "suggestedCount": run.suggested_count,
        "unmatchedPayments": run.unmatched_payments,
        "unmatchedLines": run.unmatched_lines,
        "matchedTotal": _money(run.matched_total),
        "discrepancyCount": run.discrepancy_count,
        "createdAt": _moment(run.created_at),
        "finishedAt": _moment(run.finished_at),
    }


def _money(money: Money) -> dict[str, str]:
    return {"amount": format(money.amount, "f"), "currency": money.currency}


def _failure(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {
        "code": failure.code,
        "message": mask_text(failure.message),
        "gatewayCode": mask_text(failure.gateway_code) if failure.gateway_code else None,
    }


def _moment(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat()[:-6] + "Z" if at else None
