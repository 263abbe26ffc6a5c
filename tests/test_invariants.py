"""The judges judged: sound evidence passes, and each kind of unsound evidence is found."""

from dataclasses import replace
from typing import Any

import pytest
from tests.harness.browser import Shown
from tests.harness.client import Said
from tests.harness.invariants import Evidence, Stored, Watched, violations
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


def payment(**changes: Any) -> dict[str, Any]:
    return {
        "id": "p1",
        "reference": "PAY-1",
        "version": 3,
        "status": "SUCCEEDED",
        "description": "order 1",
        "amount": {"amount": "1500", "currency": "RWF"},
        "captured": {"amount": "1500", "currency": "RWF"},
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
