"""The judges: what must hold whatever happened, payment by payment.

Each judge compares what the provider knows, what clients were told and what we answer now, and
says in words what does not agree. The numbers are those of the catalogue of invariants: I1 to I6,
I9 to I12, I17, I19 and I20; `after_sale` has those about refunds, invoices, webhooks to the
merchant and the audit. Those left out are about books and bank statements.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from tests.harness import after_sale
from tests.harness.known import PAID, Evidence, Judge

# Where nobody but a person can tell what happened.
_BY_HAND = frozenset({"cod", "bank"})
TERMINAL = PAID | {"FAILED", "EXPIRED", "CANCELLED"}
# Written down here once more, from the published picture and not from the code that it judges.
MOVES: Mapping[str, frozenset[str]] = {
    "CREATED": frozenset({"PENDING", "SUCCEEDED", "FAILED", "EXPIRED", "CANCELLED"}),
    "PENDING": frozenset({"SUCCEEDED", "FAILED", "EXPIRED", "CANCELLED"}),
    "FAILED": frozenset({"PENDING", "EXPIRED", "CANCELLED", "SUCCEEDED"}),
    "EXPIRED": frozenset({"SUCCEEDED"}),
    "CANCELLED": frozenset({"SUCCEEDED"}),
    "SUCCEEDED": frozenset({"PARTIALLY_REFUNDED", "REFUNDED"}),
    "PARTIALLY_REFUNDED": frozenset({"REFUNDED"}),
    "REFUNDED": frozenset(),
}


def violations(evidence: Evidence) -> list[str]:
    """Everything that does not agree, each with the number of its invariant."""
    return [f"{number}: {text}" for number, judge in JUDGES.items() for text in judge(evidence)]


def one_charge_for_each_key(evidence: Evidence) -> Iterator[str]:
    """I1, by what the payer was told: it does not depend on anything that we answer."""
    moved: Counter[str] = Counter()
    for one in evidence.truth.transactions:
        moved[one["message"]] += one["moves"]
        if one["moves"] > 1:
            yield f"money of {one['reference']} moved {one['moves']} times"
    charges = {said.charge for said in evidence.history}
    for charge, times in moved.items():
        if times > 1:
            yield f"{charge!r} was charged {times} times"
        if charge not in charges:
            yield f"{charge!r} was charged, and nobody asked for it"


def charges_are_known(evidence: Evidence) -> Iterator[str]:
    """I2: what succeeded there succeeded here, with the same money."""
    ours = {a["gatewayReference"]: (p, a) for p in evidence.payments for a in p["attempts"]}
    for one in evidence.truth.transactions:
        if not one["moves"]:
            continue
        if one["reference"] not in ours:
            yield f"the charge {one['reference']} is of no attempt of ours"
            continue
        payment, attempt = ours[one["reference"]]
        # A second gateway at the same provider is called mtn-2, or the like.
        if attempt["gateway"]["code"].partition("-")[0] != one["gateway"]:
            yield f"{one['reference']} was paid at {one['gateway']}, and is of {attempt['gateway']}"
        if attempt["status"] != "SUCCEEDED" or payment["status"] not in PAID:
            yield (
                f"LOST: {payment['reference']} is {payment['status']}, its attempt "
                f"{attempt['status']}, and {one['reference']} was paid"
            )
        for asked in (payment["amount"], payment["captured"]):
            if (asked["amount"], asked["currency"]) != (one["amount"], one["currency"]):
                yield f"{payment['reference']}: {asked} here, {one['amount']} there"


def successes_were_paid(evidence: Evidence) -> Iterator[str]:
    """I3: nothing succeeded here without money there, or a person who confirmed it."""
    confirmed = {s.payment_id for s in evidence.history if s.operation == "confirmPayment"}
    for payment in evidence.payments:
        paid = [a for a in payment["attempts"] if a["status"] == "SUCCEEDED"]
        if (payment["status"] in PAID) != bool(paid):
            yield f"{payment['reference']} is {payment['status']}, {len(paid)} attempts succeeded"
        for attempt in paid:
            by_hand = attempt["gateway"]["code"] in _BY_HAND and payment["id"] in confirmed
            if attempt["gatewayReference"] not in evidence.succeeded and not by_hand:
                yield f"{payment['reference']} is SUCCEEDED, and nobody paid"


def pages_tell_the_truth(evidence: Evidence) -> Iterator[str]:
    """I3, for payers: a page that said "paid" was right, and every page was found."""
    by_reference = {payment["reference"]: payment for payment in evidence.payments}
    for shown in evidence.shown:
        payment = by_reference.get(shown.reference)
        if payment is None or shown.state not in {"paid", "waiting", "unpaid"}:
            yield f"the page of {shown.reference} showed {shown.state}"
        elif shown.state == "paid" and payment["status"] not in PAID:
            yield f"the page of {shown.reference} said paid, and it is {payment['status']}"


def answers_hold(evidence: Evidence) -> Iterator[str]:
    """I4: what was answered exists, and a key always names the same payment."""
    named: dict[tuple[str, str], set[str]] = defaultdict(set)
    for said in evidence.history:
        if said.result != "ok" or said.payment_id is None:
            continue
        named[said.operation, said.key].add(said.payment_id)
        if said.payment_id not in evidence.by_id:
            yield f"{said.operation} {said.key} answered {said.payment_id}, which is not there"
        elif (said.version or 0) > evidence.by_id[said.payment_id]["version"]:
            yield f"{said.operation} {said.key} answered a version that was lost"
    for (operation, key), payments in named.items():
        if len(payments) > 1:
            yield f"{operation} {key} named {len(payments)} payments"
    for payment_id, version, status in evidence.observed:
        if payment_id not in evidence.by_id:
            yield f"{payment_id} was read as {status} and is not there any more"
        elif version > evidence.by_id[payment_id]["version"]:
            yield f"{payment_id} was read in version {version}, which was lost"


def acknowledged_webhooks_are_kept(evidence: Evidence) -> Iterator[str]:
    """I5: what was answered with 2xx is in the inbox, and worked on."""
    acknowledged: Counter[str] = Counter()
    for one in (*evidence.truth.transactions, *evidence.truth.refunds):
        for delivery in one["webhooks"]:
            if delivery["status"] is not None and 200 <= delivery["status"] < 300:
                acknowledged[delivery["body"]] += 1
    stored = {webhook.body: webhook for webhook in evidence.inbox}
    for body, times in acknowledged.items():
        if body not in stored:
            yield f"LOST WEBHOOK: acknowledged {times} times and not kept: {body}"
        elif stored[body].times < times:
            yield f"acknowledged {times} times, noted {stored[body].times} times: {body}"
        elif stored[body].status != "DONE":
            yield f"acknowledged and {stored[body].status}: {body}"


def nothing_stays_open(evidence: Evidence) -> Iterator[str]:
    """I6: only what the provider keeps pending is open here."""
    pending = set(evidence.truth.pending)
    for payment in evidence.payments:
        references = {attempt["gatewayReference"] for attempt in payment["attempts"]}
        if payment["status"] not in TERMINAL and not references & pending:
            yield f"{payment['reference']} is still {payment['status']}"


def states_follow_the_machine(evidence: Evidence) -> Iterator[str]:
    """I9: from CREATED on, along the published moves."""
    for events in evidence.events_of.values():
        path = [event["payment"] for event in sorted(events, key=_version)]
        if path[0]["status"] != "CREATED":
            yield f"{path[0]['reference']} began as {path[0]['status']}"
        for before, after in pairwise(path):
            a, b = before["status"], after["status"]
            if a != b and b not in MOVES[a]:
                yield f"{before['reference']} went from {a} to {b}"


def one_event_for_each_change(evidence: Evidence) -> Iterator[str]:
    """I10 and I11: versions 1, 2, 3 … of each payment, each once and in this order."""
    for payment in evidence.payments:
        events = evidence.events_of.get(payment["id"], [])
        versions = [_version(event) for event in events]
        if versions != list(range(1, payment["version"] + 1)):
            yield f"{payment['reference']} has version {payment['version']}, events {versions}"
        elif events[-1]["payment"]["status"] != payment["status"]:
            yield f"{payment['reference']} is {payment['status']}, its last event says otherwise"
    for unknown in evidence.events_of.keys() - evidence.by_id.keys():
        yield f"events of {unknown}, which is not there"
    cursors = [event["cursor"] for event in evidence.events]
    if len(set(cursors)) != len(cursors):
        yield "two events have the same cursor"
    at = {(e["payment"]["id"], _version(e)): e["payment"]["status"] for e in evidence.events}
    for payment_id, version, status in evidence.observed:
        if at.get((payment_id, version), status) != status:
            yield f"{payment_id} version {version} was read as {status}, its event says otherwise"


def subscribers_missed_nothing(evidence: Evidence) -> Iterator[str]:
    """I12: over broken connections, everything once and in order; of one payment, up to the end."""
    everything = [event["cursor"] for event in evidence.events]
    for watched in evidence.watched:
        cursors = [event["cursor"] for event in watched.events]
        if watched.payment_id is None:
            start = everything.index(cursors[0]) if cursors and cursors[0] in everything else 0
            if cursors != everything[start:]:
                missed = len(set(everything[start:]) - set(cursors))
                repeated = len(cursors) - len(set(cursors))
                yield f"a subscriber of all missed {missed} and had {repeated} twice"
            continue
        versions = [_version(event) for event in watched.events]
        final = evidence.by_id[watched.payment_id]["version"]
        if versions != sorted(set(versions)):
            yield f"a subscriber of {watched.payment_id} saw versions {versions}"
        if not versions or versions[-1] != final:
            yield f"a subscriber of {watched.payment_id} saw {versions}, and not the last, {final}"


def refusals_did_nothing(evidence: Evidence) -> Iterator[str]:
    """I17: no payment and no charge for a key that was only refused; one payment for any other."""
    made: Counter[str] = Counter(payment["description"] for payment in evidence.payments)
    asked = {said.charge for said in evidence.history}
    done = {said.charge for said in evidence.history if said.result != "fail"}
    for charge, times in made.items():
        if times > 1:
            yield f"{charge!r} made {times} payments"
        if charge not in done:
            yield f"{charge!r} was refused and made a payment"
    for one in evidence.truth.transactions:
        if one["message"] in asked - done:
            yield f"{one['message']!r} was refused and reached the provider"


def secrets_stay_secret(evidence: Evidence) -> Iterator[str]:
    """I19."""
    for texts, forbidden in (
        (evidence.logs, [*evidence.secrets, *evidence.private]),
        (evidence.seen, evidence.secrets),
        # Merchants' servers are told of no payer.
        (
            {"webhooks": "\n".join(told.body for told in evidence.told or ())},
            [*evidence.secrets, *evidence.private],
        ),
    ):
        for name, text in texts.items():
            for secret in forbidden:
                if secret in text:
                    at = text.index(secret)
                    yield f"{secret[:12]}… is in {name}: …{text[max(0, at - 150) : at + 12]}…"


def nothing_is_left_behind(evidence: Evidence) -> Iterator[str]:
    """I20, as far as the database shows it: no transaction is left open."""
    for state, count in evidence.sessions.items():
        if state.startswith("idle in transaction") and count:
            yield f"{count} sessions are {state}"


def no_unexpected_errors(evidence: Evidence) -> Iterator[str]:
    """Not in the catalogue: a traceback in a log is a fault that nobody thought of.

    A lost database was thought of, however long the traceback; asyncpg warns of it with another.
    """
    for name, text in evidence.logs.items():
        found = Counter(
            # The end says what it was; times and ids at the beginning make each line different.
            line[-1200:]
            for line in text.splitlines()
            if ("Traceback (most recent call last)" in line or '"level":"critical"' in line)
            and "dusangire.errors.Retryable: " not in line
            and '"logger":"asyncpg.pool"' not in line
        )
        for line, times in found.items():
            yield f"{name}, {times} times: …{line}"


def _version(event: Mapping[str, Any]) -> int:
    return int(event["payment"]["version"])


JUDGES: Mapping[str, Judge] = {
    "I1": one_charge_for_each_key,
    "I2": charges_are_known,
    "I3": successes_were_paid,
    "I3, pages": pages_tell_the_truth,
    "I4": answers_hold,
    "I5": acknowledged_webhooks_are_kept,
    "I6": nothing_stays_open,
    "I9": states_follow_the_machine,
    "I10, I11": one_event_for_each_change,
    "I12": subscribers_missed_nothing,
    "I17": refusals_did_nothing,
    "I19": secrets_stay_secret,
    "I20": nothing_is_left_behind,
    "errors": no_unexpected_errors,
    **after_sale.JUDGES,
}
