"""The judges of what comes after a payment: refunds, invoices, the merchant's webhooks, the audit.

I7, I8, I13 and I15 of the catalogue, and for refunds and webhooks also I4, I9, I10, I11 and I17.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.harness.known import PAID, Evidence, Judge, refund_behind

# Written down here once more, from the published picture and not from the code that it judges.
MOVES: Mapping[str, frozenset[str]] = {
    "REQUESTED": frozenset({"PROCESSING", "REJECTED", "CANCELLED"}),
    "PROCESSING": frozenset({"REQUESTED", "UNKNOWN", "SUCCEEDED", "FAILED"}),
    "UNKNOWN": frozenset({"PROCESSING", "SUCCEEDED", "FAILED"}),
    "FAILED": frozenset({"SUCCEEDED"}),
    "SUCCEEDED": frozenset(),
    "REJECTED": frozenset(),
    "CANCELLED": frozenset(),
}
HOLDING = frozenset({"REQUESTED", "PROCESSING", "UNKNOWN"})
UNDECIDED = frozenset({"REQUESTED", "REJECTED", "CANCELLED"})


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────


def never_more_than_captured(evidence: Evidence) -> Iterator[str]:
    """I7: at every version, at every moment that was looked at, and at the providers."""
    for events in evidence.events_of.values():
        refunds: dict[str, Mapping[str, Any]] = {}
        for event in events:
            if event.get("refund"):
                refunds[event["refund"]["id"]] = event["refund"]
            yield from _overdrawn(event["payment"], refunds.values(), exactly=True)
    for payment in evidence.glimpsed:
        # Its refunds were read a moment later than the payment itself.
        yield from _overdrawn(payment, payment["refunds"], exactly=False)
    back: Counter[str] = Counter()
    for one in evidence.truth.refunds:
        back[one["original"]] += one["moves"] * _number(one["amount"])
    for charge in evidence.truth.transactions:
        if back[charge["reference"]] > charge["moves"] * _number(charge["amount"]):
            yield f"of {charge['reference']} more went back than was paid: {back}"


def _overdrawn(payment: Mapping[str, Any], refunds: Any, *, exactly: bool) -> Iterator[str]:
    name = f"{payment['reference']} version {payment['version']}"
    captured, refunded = _of(payment, "captured"), _of(payment, "refunded")
    held = captured - refunded - _of(payment, "refundable")
    done = sum(_of(one, "amount") for one in refunds if one["status"] == "SUCCEEDED")
    open_ = sum(_of(one, "amount") for one in refunds if one["status"] in HOLDING)
    if refunded < 0 or held < 0 or refunded + held > captured:
        yield f"{name}: {refunded} given back and {held} held of {captured}"
    if done + open_ > captured:
        yield f"{name}: its refunds come to {done + open_} of {captured}"
    if exactly and (done, open_) != (refunded, held):
        yield f"{name}: refunds of {done} and {open_}, noted as {refunded} and {held}"


def one_refund_for_each_approval(evidence: Evidence) -> Iterator[str]:
    """I8: at the providers at most one for each request that was approved, and no other one."""
    given: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in evidence.truth.refunds:
        if one["moves"] > 1:
            yield f"money of the refund {one['reference']} moved {one['moves']} times"
        refund = refund_behind(one, evidence.refunds)
        if refund is None:
            yield f"{one['gateway']} has a refund of {one['original']} that nobody asked for"
            continue
        given[refund["id"]].append(one)
        if refund["status"] in UNDECIDED:
            yield f"{refund['reference']} is {refund['status']} and was sent"
        if (_number(one["amount"]), one["currency"]) != (
            _of(refund, "amount"),
            refund["amount"]["currency"],
        ):
            yield f"{refund['reference']}: {refund['amount']} here, {one['amount']} there"
    for refund in evidence.refunds:
        taken = [one for one in given[refund["id"]] if one["status"] != "FAILED"]
        yield from _disagreeing(refund, taken)
        yield from _unapproved(refund)


def _disagreeing(refund: Mapping[str, Any], taken: list[dict[str, Any]]) -> Iterator[str]:
    name = f"{refund['reference']} ({refund['status']})"
    moved = sum(one["moves"] for one in taken)
    if len(taken) > 1:
        yield f"{name} was given back {len(taken)} times"
    if refund["byHand"] and taken:
        yield f"{name} is by hand, and the gateway gave it back"
    if refund["status"] == "SUCCEEDED" and not refund["byHand"] and moved != 1:
        yield f"{name} is done, and nothing went back"
    if refund["status"] == "FAILED" and moved:
        yield f"LOST: {name} is free again, and the money went back"


def _unapproved(refund: Mapping[str, Any]) -> Iterator[str]:
    said_yes = {one["by"]["name"] for one in refund["approvals"]}
    if refund["requestedBy"]["name"] in said_yes:
        yield f"{refund['reference']} was approved by whoever asked for it"
    if refund["status"] not in UNDECIDED and len(said_yes) < refund["approvalsNeeded"]:
        yield f"{refund['reference']} is {refund['status']}, approved by {sorted(said_yes)} alone"


def refunds_are_kept(evidence: Evidence) -> Iterator[str]:
    """I4 and I17 for refunds: what was answered is there, and once; what was refused is not."""
    there = {refund["id"]: refund for refund in evidence.refunds}
    named: dict[str, set[str]] = defaultdict(set)
    for asked in evidence.asked:
        if asked.result != "ok" or asked.refund_id is None:
            continue
        named[asked.reason].add(asked.refund_id)
        if asked.refund_id not in there:
            yield f"{asked.operation} {asked.reason} answered a refund that is not there"
        elif (asked.version or 0) > there[asked.refund_id]["version"]:
            yield f"{asked.operation} {asked.reason} answered a version that was lost"
    for reason, ids in named.items():
        if len(ids) > 1:
            yield f"{reason} named {len(ids)} refunds"
    made = Counter(refund["reason"] for refund in evidence.refunds)
    wanted = {a.reason for a in evidence.asked if a.operation == "request" and a.result != "fail"}
    for reason, times in made.items():
        if times > 1:
            yield f"{reason} made {times} refunds"
        if reason not in wanted:
            yield f"{reason} was not asked for, or refused, and made a refund"


def refunds_follow_the_machine(evidence: Evidence) -> Iterator[str]:
    """I9, I10 and I11 for refunds: versions 1, 2, 3 …, each once, along the published moves."""
    for refund in evidence.refunds:
        events = evidence.events_of_refunds.get(refund["id"], [])
        versions = [event["refund"]["version"] for event in events]
        path = [event["refund"]["status"] for event in events]
        if versions != list(range(1, refund["version"] + 1)):
            yield f"{refund['reference']} has version {refund['version']}, events {versions}"
            continue
        if path[0] != "REQUESTED" or path[-1] != refund["status"]:
            yield f"{refund['reference']} is {refund['status']}, its events say {path}"
        for before, after in pairwise(path):
            if before != after and after not in MOVES[before]:
                yield f"{refund['reference']} went from {before} to {after}"
    for unknown in evidence.events_of_refunds.keys() - {one["id"] for one in evidence.refunds}:
        yield f"events of the refund {unknown}, which is not there"


def no_refund_stays_open(evidence: Evidence) -> Iterator[str]:
    """I6 for refunds: what stays in doubt is said to be so, and waits for a person."""
    for refund in evidence.refunds:
        if refund["status"] == "PROCESSING" and not refund["byHand"]:
            yield f"{refund['reference']} is still on its way"


# ── invoices ─────────────────────────────────────────────────────────────────────────────────────


def one_document_for_each_change(evidence: Evidence) -> Iterator[str]:
    """An invoice for each payment that was paid, a credit note for each refund that is done."""
    if evidence.invoices is None:
        return
    invoices = [one for one in evidence.invoices if one["kind"] == "INVOICE"]
    notes = [one for one in evidence.invoices if one["kind"] == "CREDIT_NOTE"]
    for payment in evidence.payments:
        mine = [one for one in invoices if (one["payment"] or {}).get("id") == payment["id"]]
        wanted = ["PAID"] if payment["status"] in PAID else []
        if [one["status"] for one in mine] != wanted:
            yield f"{payment['reference']} is {payment['status']} and has the invoices {mine}"
        elif mine and mine[0]["total"] != payment["captured"]:
            yield f"{payment['reference']}: {payment['captured']} paid, {mine[0]['total']} invoiced"
    for refund in evidence.refunds:
        mine = [one for one in notes if (one["refund"] or {}).get("id") == refund["id"]]
        if len(mine) != (refund["status"] == "SUCCEEDED"):
            yield f"{refund['reference']} is {refund['status']} and has the credit notes {mine}"
        elif mine and mine[0]["total"] != refund["amount"]:
            yield f"{refund['reference']}: {refund['amount']}, and {mine[0]['total']} credited"
    known = {one["id"] for one in (*evidence.payments, *evidence.refunds)}
    for one in evidence.invoices:
        about = one["refund"] if one["kind"] == "CREDIT_NOTE" else one["payment"]
        if about is None or about["id"] not in known:
            yield f"{one['number']} is about nothing that is there"


def numbers_have_no_gaps(evidence: Evidence) -> Iterator[str]:
    """I13: 1, 2, 3 … in each series, in the order in which they were issued."""
    series: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for one in evidence.invoices or ():
        if one["number"] is None:
            if one["status"] not in {"DRAFT", "VOID"}:
                yield f"a document is {one['status']} without a number"
            continue
        name, _, number = one["number"].rpartition("-")
        series[name].append((int(number), one["issuedAt"]))
    told: dict[str, list[int]] = defaultdict(list)
    for event in evidence.invoice_events:
        if event["type"] == "invoice.issued":
            name, _, number = event["invoice"]["number"].rpartition("-")
            told[name].append(int(number))
    for name, given in series.items():
        numbers = [number for number, _ in sorted(given)]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{name} has the numbers {numbers}"
        moments = [moment for _, moment in sorted(given)]
        if moments != sorted(moments):
            yield f"{name} was not issued in the order of its numbers"
        if told[name] != numbers:
            yield f"{name} has the numbers {numbers}, events told of {told[name]}"


# ── webhooks to the merchant ─────────────────────────────────────────────────────────────────────


def the_merchant_was_told(evidence: Evidence) -> Iterator[str]:
    """I10: each change at least once, always under the same id, and nothing that did not happen."""
    if evidence.told is None:
        return
    happened = Counter(_name(one["type"], one) for one in evidence.events)
    happened.update(_name(one["type"], one) for one in evidence.invoice_events)
    ids: dict[tuple[str, ...], set[str]] = defaultdict(set)
    bodies: dict[str, set[str]] = defaultdict(set)
    arrived = set()
    for told in evidence.told:
        if not told.genuine:
            yield f"a webhook that is not signed by us: {told.body[:200]}"
            continue
        body = json.loads(told.body)
        name = _name(body["type"], body["data"])
        ids[name].add(told.id)
        bodies[told.id].add(told.body)
        if told.acknowledged:
            arrived.add(name)
        if name not in happened:
            yield f"the merchant was told of {name}, which did not happen"
    for name in happened.keys() - arrived:
        yield f"LOST: the merchant was never told of {name}"
    for name, known in ids.items():
        if len(known) > happened[name] > 0:
            yield f"{name} was told under {len(known)} ids"
    for one, said in bodies.items():
        if len(said) > 1:
            yield f"{one} said {len(said)} different things"


def _name(type_: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Which change it is: its type, and which version of what."""
    what = data.get("invoice") or data["payment"]
    return (type_, what["id"], str(what["version"]), what["status"])


# ── the audit log ────────────────────────────────────────────────────────────────────────────────


def the_audit_log_is_whole(evidence: Evidence) -> Iterator[str]:
    """I15: nothing in it was changed, and every change of a refund or invoice is in it."""
    if evidence.audit is None:
        return
    if not evidence.audit["sound"]:
        yield f"the log is not as it was written: {evidence.audit['problems']}"
    if evidence.audit["waiting"]:
        yield f"{evidence.audit['waiting']} entries are not sealed"
    changes = Counter(f"refund:{one['refund']['reference']}" for one in _with(evidence, "refund"))
    changes.update(f"invoice:{one['invoice']['id']}" for one in evidence.invoice_events)
    for what, times in changes.items():
        if evidence.audited.get(what, 0) != times:
            yield f"{what} changed {times} times, entries: {evidence.audited.get(what, 0)}"


def _with(evidence: Evidence, what: str) -> Iterator[dict[str, Any]]:
    return (event for event in evidence.events if event.get(what))


# ── amounts ──────────────────────────────────────────────────────────────────────────────────────


def _of(what: Mapping[str, Any], field: str) -> int:
    return _number(what[field]["amount"])


def _number(amount: str) -> int:
    """In francs, which have no parts."""
    return int(Decimal(amount))


JUDGES: Mapping[str, Judge] = {
    "I7": never_more_than_captured,
    "I8": one_refund_for_each_approval,
    "I4, I17, refunds": refunds_are_kept,
    "I9, I11, refunds": refunds_follow_the_machine,
    "I6, refunds": no_refund_stays_open,
    "I13, documents": one_document_for_each_change,
    "I13": numbers_have_no_gaps,
    "I10, webhooks": the_merchant_was_told,
    "I15": the_audit_log_is_whole,
}
