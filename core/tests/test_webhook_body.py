"""What merchants' webhooks say of refunds and invoices, and what they do not say of people."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from dusangire.outbox.body import TYPES, WILDCARDS, body_of, wanted_by
from dusangire.tail import EventRecord

AT = "2026-11-23T14:30:00+00:00"
ID = "0b0e7c5e-5d0c-4b8e-9a51-0d8f6d3b1c11"
PEOPLE = ["clerk@shop.example", "boss@shop.example", "788123456", "Mutoni", "evidence-of-it"]
PAYMENT = {
    "id": ID, "reference": "PAY-7K3M9Q2X", "version": 5, "status": "PARTIALLY_REFUNDED",
    "amount": 1234, "captured": 1234, "refunded": 34, "reserved": 0, "currency": "USD",
    "order_reference": "ORDER-7", "description": "call 0788123456", "customer_id": None,
    "gateway_id": ID, "failure": None, "needs_attention": [], "metadata": None,
    "reconciliation_status": "UNMATCHED", "return_url": "https://shop.example.rw/?token=x",
    "next_action": {"kind": "ApproveOnPhone", "phone": "+250788123456", "message": "x",
                    "expires_at": None},
    "created_at": AT, "updated_at": AT, "expires_at": None, "completed_at": AT,
}  # fmt: skip
REFUND = {
    "id": ID, "reference": "REF-1", "payment_id": ID, "gateway_id": ID, "version": 2,
    "status": "FAILED", "amount": 34, "currency": "USD", "reason": "Mutoni's 0788 123 456",
    "digest": "d", "approvals_needed": 1, "by_hand": False,
    "requested_by_kind": "staff", "requested_by_name": "clerk@shop.example",
    "requested_by_id": None, "decided_by_kind": "staff", "decided_by_name": "boss@shop.example",
    "decided_at": AT, "failure": {"code": "INSUFFICIENT_FUNDS", "message": "+250788123456 said no",
                                  "gateway_code": "E-7"},
    "evidence": "evidence-of-it", "settled_by_name": "boss@shop.example",
    "created_at": AT, "updated_at": AT, "completed_at": AT,
}  # fmt: skip
INVOICE = {
    "id": ID, "kind": "CREDIT_NOTE", "status": "ISSUED", "version": 2,
    "number": "CN-2026-000001", "net": 29, "tax": 5, "total": 34, "currency": "USD",
    "customer_id": None, "payment_id": ID, "refund_id": ID, "original_id": ID,
    "seller": {"name": "Umurage"}, "buyer": {"name": "Mutoni", "phone": "+250788123456"},
    "note": "for Mutoni", "due_on": "2026-12-01", "issued_at": AT, "paid_at": None,
    "created_at": AT,
}  # fmt: skip


def told(type_: str, data: dict[str, Any], payment_id: UUID | None) -> Any:
    event = EventRecord.of(
        {
            "position": 1,
            "type": type_,
            "payment_id": payment_id,
            "data": data,
            "occurred_at": datetime(2026, 11, 23, 14, 30, tzinfo=UTC),
        }
    )
    body = body_of(event)
    return orjson.loads(body) if body is not None else None


def test_a_refund_comes_with_its_payment_and_without_the_people() -> None:
    said = told("refund.failed", {"payment": PAYMENT, "refund": REFUND}, UUID(ID))

    refund, payment = said["data"]["refund"], said["data"]["payment"]
    assert (said["type"], said["timestamp"]) == ("refund.failed", "2026-11-23T14:30:00Z")
    assert refund["amount"] == {"amount": "0.34", "currency": "USD"}
    assert (refund["status"], refund["paymentId"], refund["version"]) == ("FAILED", ID, 2)
    assert refund["failure"]["code"] == "INSUFFICIENT_FUNDS"
    assert payment["refundable"] == {"amount": "12.00", "currency": "USD"}
    assert [name for name in PEOPLE if name in str(said)] == []


def test_a_credit_note_says_what_it_belongs_to_and_not_to_whom() -> None:
    said = told("invoice.issued", {"invoice": INVOICE}, None)

    invoice = said["data"]["invoice"]
    assert said["data"].keys() == {"invoice"}
    assert (invoice["kind"], invoice["number"]) == ("CREDIT_NOTE", "CN-2026-000001")
    assert (invoice["originalId"], invoice["refundId"]) == (ID, ID)
    assert invoice["total"] == {"amount": "0.34", "currency": "USD"}
    assert invoice["dueOn"] == date(2026, 12, 1).isoformat()
    assert [name for name in PEOPLE if name in str(said)] == []


def test_what_the_payer_does_next_is_not_told() -> None:
    said = told("payment.pending", PAYMENT, UUID(ID))

    assert [name for name in PEOPLE if name in str(said)] == []
    assert "token=x" not in str(said)


def test_what_is_about_nothing_of_the_merchants_is_not_told() -> None:
    assert told("webhook_endpoint.disabled", {"webhook_endpoint": {"id": ID}}, None) is None


@pytest.mark.parametrize("type_", sorted(TYPES))
def test_every_type_is_asked_for_by_its_name_its_family_or_a_star(type_: str) -> None:
    exact, family, star = wanted_by(type_)

    assert exact == type_
    assert {family, star} <= WILDCARDS
