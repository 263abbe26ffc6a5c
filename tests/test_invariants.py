"""The judges judged: sound evidence passes, and each kind of unsound evidence is found."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.harness.browser import Shown
from tests.harness.client import Said
from tests.harness.invariants import violations
from tests.harness.known import Asked, Evidence, Stored, Told, Watched, refund_behind
from tests.harness.simulator import Truth

BODY = '{"externalId": "ref-1", "status": "SUCCESSFUL"}'


def charge(**changes: Any) -> dict[str, Any]:
    return {
        "reference": "ref-1",
        "message": "order 1",
        "gateway": "mtn",
        "amount": "1500",
        "currency": "RWF",
        "status": "SUCCEEDED",
        "moves": 1,
        "webhooks": [{"body": BODY, "status": 200}],
        **changes,
    }


def rwf(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "RWF"}


def payment(**changes: Any) -> dict[str, Any]:
    return {
        "id": "p1",
        "reference": "PAY-1",
        "version": 3,
        "status": "SUCCEEDED",
        "description": "order 1",
        "amount": rwf("1500"),
        "captured": rwf("1500"),
        "refunded": rwf("0"),
        "refundable": rwf("1500"),
        "attempts": [attempt()],
        **changes,
    }


def attempt(**changes: Any) -> dict[str, Any]:
    return {
        "number": 1,
        "status": "SUCCEEDED",
        "gatewayReference": "ref-1",
        "gateway": {"code": "mtn"},
        **changes,
    }


def event(version: int, status: str, **changes: Any) -> dict[str, Any]:
    shown = payment(version=version, status=status)
    return {"cursor": f"c{version}", "type": f"payment.{status}", "payment": shown, **changes}


def said(**changes: Any) -> Said:
    plain = Said(
        operation="createPayment",
        key="order 1",
        charge="order 1",
        result="ok",
        seconds=0.1,
        payment_id="p1",
        version=1,
        status="CREATED",
    )
    return replace(plain, **changes)


EVENTS = [event(1, "CREATED"), event(2, "PENDING"), event(3, "SUCCEEDED")]
SOUND = Evidence(
    truth=Truth([charge()]),
    history=[said()],
    payments=[payment()],
    events=EVENTS,
    inbox=[Stored(BODY, 1, "DONE")],
    watched=[Watched(None, EVENTS), Watched("p1", EVENTS[1:])],
    observed=[("p1", 2, "PENDING")],
    shown=[Shown("PAY-1", "waiting"), Shown("PAY-1", "paid")],
    sessions={"idle": 3},
    logs={"web1": "started"},
    seen={"events": "nothing"},
    secrets=["canary"],
    private=["788000111"],
)


def test_sound_evidence_has_no_violations() -> None:
    assert violations(SOUND) == []


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        ("I1", {"truth": Truth([charge(moves=2)])}),
        ("I1", {"truth": Truth([charge(), charge(reference="ref-2", webhooks=[])])}),
        ("I1", {"truth": Truth([charge(), charge(message="unasked", webhooks=[])])}),
        ("I2", {"payments": [payment(status="FAILED", attempts=[attempt(status="FAILED")])]}),
        ("I2", {"payments": [payment(captured={"amount": "1", "currency": "RWF"})]}),
        ("I2", {"payments": [payment(attempts=[attempt(gatewayReference="other")])]}),
        ("I3", {"truth": Truth([charge(moves=0, status="FAILED")])}),
        ("I3", {"payments": [payment(attempts=[attempt(status="FAILED")])]}),
        ("I3", {"payments": [payment(attempts=[attempt(gateway={"code": "cod"})])],
                "truth": Truth([])}),
        ("I2", {"truth": Truth([charge(gateway="airtel")])}),
        ("I3, pages", {"shown": [Shown("PAY-1", "nobody")]}),
        ("I3, pages", {"shown": [Shown("PAY-2", "waiting")]}),
        ("I3, pages", {"payments": [payment(status="FAILED", attempts=[])]}),
        ("I4", {"history": [said(), said(key="order 2", payment_id="gone")]}),
        ("I4", {"history": [said(), said(payment_id="p2")]}),
        ("I4", {"history": [said(version=4)]}),
        ("I4", {"observed": [("p1", 4, "SUCCEEDED")]}),
        ("I5", {"inbox": []}),
        ("I5", {"inbox": [Stored(BODY, 1, "RECEIVED")]}),
        ("I5", {"truth": Truth([charge(webhooks=[{"body": BODY, "status": 200}] * 2)])}),
        ("I6", {"payments": [payment(status="PENDING")]}),
        ("I9", {"events": [event(1, "CREATED"), event(2, "SUCCEEDED"), event(3, "PENDING")]}),
        ("I9", {"events": [event(1, "PENDING"), *EVENTS[1:]]}),
        ("I10, I11", {"events": [EVENTS[0], EVENTS[2]]}),
        ("I10, I11", {"events": [EVENTS[1], EVENTS[0], EVENTS[2]]}),
        ("I10, I11", {"events": [*EVENTS, EVENTS[2]]}),
        ("I10, I11", {"events": []}),
        ("I10, I11", {"observed": [("p1", 2, "FAILED")]}),
        ("I12", {"watched": [Watched(None, [EVENTS[0], EVENTS[2]])]}),
        ("I12", {"watched": [Watched(None, [*EVENTS, EVENTS[2]])]}),
        ("I12", {"watched": [Watched(None, [EVENTS[1], EVENTS[0], EVENTS[2]])]}),
        ("I12", {"watched": [Watched("p1", EVENTS[:2])]}),
        ("I12", {"watched": [Watched("p1", [EVENTS[2], EVENTS[1], EVENTS[2]])]}),
        ("I12", {"watched": [Watched("p1", [])]}),
        ("I17", {"history": [said(result="fail", payment_id=None)]}),
        ("I17", {"payments": [payment(), payment(id="p2")]}),
        ("I19", {"logs": {"web1": "the key is canary"}}),
        ("I19", {"logs": {"web1": "0788000111 pays"}}),
        ("I19", {"seen": {"events": "canary"}}),
        ("I20", {"sessions": {"idle in transaction": 1}}),
        ("errors", {"logs": {"web1": "Traceback (most recent call last): KeyError"}}),
    ],
)  # fmt: skip
def test_unsound_evidence_is_found(number: str, changes: dict[str, Any]) -> None:
    found = violations(replace(SOUND, **changes))

    assert any(text.startswith(f"{number}:") for text in found), found


def test_a_subscriber_that_saw_nothing_of_everything_missed_it_all() -> None:
    assert violations(replace(SOUND, watched=[Watched(None, [])])) != []


def test_what_a_person_confirmed_needs_no_gateway() -> None:
    cash = payment(attempts=[attempt(gateway={"code": "cod"})])
    confirmed = said(operation="confirmPayment", key="order 1 paid")

    assert (
        violations(
            replace(SOUND, truth=Truth([]), payments=[cash], history=[said(), confirmed], inbox=[])
        )
        == []
    )


# ── what comes after a payment ───────────────────────────────────────────────────────────────────


def refund(version: int = 3, status: str = "SUCCEEDED", **changes: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "reference": "REF-1",
        "version": version,
        "status": status,
        "reason": "return 1",
        "amount": rwf("500"),
        "byHand": False,
        "approvalsNeeded": 1,
        "requestedBy": {"kind": "api_key", "name": "shop"},
        "approvals": [{"by": {"kind": "staff", "name": "aline"}}],
        "payment": {"id": "p1", "reference": "PAY-1"},
        "gatewayReference": "back-1",
        "charge": "ref-1",
        "gateway": "mtn",
        **changes,
    }


def given(**changes: Any) -> dict[str, Any]:
    return charge(
        reference="back-1", original="ref-1", kind="refund", amount="500", webhooks=[], **changes
    )


def returned(version: int, type_: str, refunded: str, left: str, **of: Any) -> dict[str, Any]:
    """An event of the refund: of the payment's fourth version, the fifth …"""
    status = "SUCCEEDED" if refunded == "0" else "PARTIALLY_REFUNDED"
    shown = payment(version=version, status=status, refunded=rwf(refunded), refundable=rwf(left))
    told = event(version, status, payment=shown)
    return {**told, "type": type_, "refund": refund(version - 3, **of)}


def document(
    kind: str = "INVOICE", number: str | None = "INV-2026-000001", **of: Any
) -> dict[str, Any]:
    plain = {
        "id": number,
        "version": 3,
        "number": number,
        "kind": kind,
        "status": "PAID" if kind == "INVOICE" else "ISSUED",
        "issuedAt": "2026-11-23T10:00:00",
        "total": rwf("1500" if kind == "INVOICE" else "500"),
        "payment": {"id": "p1"},
        "refund": {"id": "r1"} if kind == "CREDIT_NOTE" else None,
    }
    return {**plain, **of}


def issued(invoice: dict[str, Any]) -> dict[str, Any]:
    return {"cursor": invoice["id"], "type": "invoice.issued", "invoice": invoice}


def told(of: dict[str, Any], **changes: Any) -> Told:
    kept = {name: of[name] for name in ("payment", "invoice", "refund") if name in of}
    plain = Told(id=f"msg-{of['cursor']}", body=json.dumps({"type": of["type"], "data": kept}))
    return replace(plain, **changes)


BACK = [
    *EVENTS,
    returned(4, "refund.requested", "0", "1000", status="REQUESTED", approvals=[]),
    returned(5, "refund.approved", "0", "1000", status="PROCESSING"),
    returned(6, "refund.succeeded", "500", "1000", status="SUCCEEDED"),
]
GIVEN_BACK = payment(
    version=6, status="PARTIALLY_REFUNDED", refunded=rwf("500"), refundable=rwf("1000")
)
INVOICE, NOTE = document(), document("CREDIT_NOTE", "CRN-2026-000001")
TOLD = [told(one) for one in (*BACK, issued(INVOICE), issued(NOTE))]
ASKED = Asked(operation="request", reason="return 1", result="ok", refund_id="r1", version=1)
RETURNED = replace(
    SOUND,
    truth=Truth([charge()], [given()]),
    payments=[GIVEN_BACK],
    events=BACK,
    asked=[ASKED, replace(ASKED, result="info", refund_id=None)],
    refunds=[refund()],
    invoices=[INVOICE, NOTE],
    invoice_events=[issued(INVOICE), issued(NOTE)],
    watched=[Watched(None, BACK), Watched("p1", BACK[1:])],
    glimpsed=[{**GIVEN_BACK, "refunds": [{"id": "r1", **refund()}]}],
    told=[*TOLD, TOLD[0]],
    audit={"sound": True, "waiting": 0, "problems": []},
    audited={"refund:REF-1": 3, "invoice:INV-2026-000001": 1, "invoice:CRN-2026-000001": 1},
)
SECOND = document(id="i2", number="INV-2026-000003", payment={"id": "p2"})
LOST = Truth([charge()], [])


def test_money_that_went_back_as_it_should_is_no_violation() -> None:
    assert violations(RETURNED) == []


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        # More than was captured: as noted, as its refunds say, at a moment, and at the provider.
        ("I7", {"events": [*BACK[:5], returned(6, "refund.succeeded", "1600", "0")]}),
        ("I7", {"events": [*BACK[:5], returned(6, "refund.succeeded", "500", "1000",
                                               amount=rwf("1501"))]}),
        ("I7", {"events": [*BACK[:4], returned(5, "refund.approved", "0", "1500",
                                               status="PROCESSING"), BACK[5]]}),
        ("I7", {"glimpsed": [{**GIVEN_BACK, "refunds": [refund(), refund(amount=rwf("1001"))]}]}),
        ("I7", {"truth": Truth([charge()], [given(moves=4)])}),
        # At most one for each approval, and none without.
        ("I8", {"truth": Truth([charge()], [given(moves=2)])}),
        ("I8", {"truth": Truth([charge()], [given(), {**given(), "reference": "back-1/7"}])}),
        ("I8", {"truth": Truth([charge()], [given(), {**given(), "reference": "back-2"}])}),
        ("I8", {"truth": Truth([charge()], [{**given(), "amount": "501"}])}),
        ("I8", {"truth": LOST}),
        ("I8", {"refunds": [refund(approvals=[])]}),
        ("I8", {"refunds": [refund(approvalsNeeded=2)]}),
        ("I8", {"refunds": [refund(requestedBy={"kind": "staff", "name": "aline"})]}),
        ("I8", {"refunds": [refund(status="REQUESTED")]}),
        ("I8", {"refunds": [refund(status="FAILED")]}),
        ("I8", {"refunds": [refund(byHand=True)]}),
        # One that nobody knows the end of may be there once.
        ("I8", {"refunds": [refund(status="UNKNOWN")],
                "truth": Truth([charge()], [given(), {**given(), "reference": "back-1/7"}])}),
        ("I4, I17, refunds", {"asked": [replace(ASKED, refund_id="r2")]}),
        ("I4, I17, refunds", {"asked": [replace(ASKED, version=4)]}),
        ("I4, I17, refunds", {"asked": [ASKED, replace(ASKED, refund_id="r2")]}),
        ("I4, I17, refunds", {"asked": [replace(ASKED, result="fail", refund_id=None)]}),
        ("I4, I17, refunds", {"refunds": [refund(), refund(id="r2")]}),
        ("I9, I11, refunds", {"events": [*BACK[:4], BACK[5]]}),
        ("I9, I11, refunds", {"events": [*BACK, BACK[5]]}),
        ("I9, I11, refunds", {"events": BACK[:3]}),
        ("I9, I11, refunds", {"refunds": []}),
        ("I9, I11, refunds", {"refunds": [refund(status="UNKNOWN")]}),
        ("I9, I11, refunds", {"events": [*BACK[:4], returned(5, "refund.rejected", "0", "1500",
                                                             status="REJECTED"), BACK[5]]}),
        ("I6, refunds", {"refunds": [refund(status="PROCESSING")]}),
        ("I13, documents", {"invoices": [NOTE]}),
        ("I13, documents", {"invoices": [INVOICE, document(id="i2"), NOTE]}),
        ("I13, documents", {"invoices": [document(status="ISSUED"), NOTE]}),
        ("I13, documents", {"invoices": [document(total=rwf("1499")), NOTE]}),
        ("I13, documents", {"invoices": [INVOICE]}),
        ("I13, documents", {"invoices": [INVOICE, NOTE, {**NOTE, "id": "n2"}]}),
        ("I13, documents", {"invoices": [INVOICE, {**NOTE, "total": rwf("1500")}]}),
        ("I13, documents", {"refunds": [refund(status="FAILED")]}),
        ("I13, documents", {"payments": [payment(status="FAILED", attempts=[])]}),
        ("I13, documents", {"invoices": [INVOICE, NOTE, SECOND]}),
        ("I13", {"invoices": [INVOICE, NOTE, SECOND]}),
        ("I13", {"invoices": [INVOICE, document(id="i2"), NOTE]}),
        ("I13", {"invoices": [document(number=None), NOTE]}),
        ("I13", {"invoices": [INVOICE, NOTE, document(number="INV-2026-000002",
                                                      issuedAt="2026-11-23T09:59:59")]}),
        ("I13", {"invoice_events": [issued(INVOICE)]}),
        ("I13", {"invoice_events": [issued(INVOICE), issued(NOTE), issued(NOTE)]}),
        ("I10, webhooks", {"told": TOLD[1:]}),
        ("I10, webhooks", {"told": TOLD[:-1]}),
        ("I10, webhooks", {"told": [*TOLD[1:], replace(TOLD[0], acknowledged=False)]}),
        ("I10, webhooks", {"told": [*TOLD, replace(TOLD[0], id="another")]}),
        ("I10, webhooks", {"told": [*TOLD, replace(TOLD[0], id=TOLD[1].id)]}),
        ("I10, webhooks", {"told": [*TOLD, replace(TOLD[0], genuine=False)]}),
        ("I10, webhooks", {"told": [*TOLD, told(returned(7, "refund.failed", "0", "1500"))]}),
        ("I15", {"audit": {"sound": False, "waiting": 0, "problems": ["entry 3"]}}),
        ("I15", {"audit": {"sound": True, "waiting": 1, "problems": []}}),
        ("I15", {"audited": {**RETURNED.audited, "refund:REF-1": 2}}),
        ("I15", {"audited": {**RETURNED.audited, "invoice:INV-2026-000001": 2}}),
        ("I5", {"truth": Truth([charge()],
                               [{**given(), "webhooks": [{"body": "lost", "status": 200}]}])}),
        ("I19", {"told": [*TOLD, replace(TOLD[0], body=TOLD[0].body.replace("order", "canary"))]}),
        ("I19", {"told": [*TOLD, told({**BACK[0], "refund": "788000111"})]}),
    ],
)  # fmt: skip
def test_what_went_wrong_after_a_payment_is_found(number: str, changes: dict[str, Any]) -> None:
    found = violations(replace(RETURNED, **changes))

    assert any(text.startswith(f"{number}:") for text in found), found


def in_doubt(*at_provider: dict[str, Any]) -> Evidence:
    """The answer to the refund was lost."""
    doubt = returned(6, "refund.unknown", "0", "1000", status="UNKNOWN")
    held = {**GIVEN_BACK, "status": "SUCCEEDED", "refunded": rwf("0")}
    return replace(
        RETURNED,
        truth=Truth([charge()], list(at_provider)),
        payments=[held],
        refunds=[refund(status="UNKNOWN")],
        events=[*BACK[:5], doubt],
        watched=[],
        glimpsed=[],
        invoices=[INVOICE],
        invoice_events=[issued(INVOICE)],
        told=[told(one) for one in (*BACK[:5], doubt, issued(INVOICE))],
    )


def test_a_refund_in_doubt_may_be_there_once_or_not_at_all() -> None:
    assert violations(in_doubt()) == []
    assert violations(in_doubt(given())) == []
    assert violations(in_doubt(given(), {**given(), "reference": "back-1/7"})) != []


def test_airtel_knows_a_refund_by_the_payment_alone() -> None:
    """A second request after one that failed is the one that the money went back for."""
    at_airtel = {**given(), "gateway": "airtel", "reference": "CI-1"}
    mine = [refund(id="r0", status="FAILED", gateway="airtel"), refund(gateway="airtel")]

    assert refund_behind(at_airtel, mine) == mine[1]
    assert refund_behind({**at_airtel, "original": "ref-2"}, mine) is None


def test_where_nobody_was_to_be_told_and_no_audit_was_asked_for_nothing_is_missed() -> None:
    assert violations(replace(RETURNED, told=None, audit=None, invoices=None)) == []
