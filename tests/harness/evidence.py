"""Gathers what the judges need: waits until nothing moves any more, then asks everybody."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
from tests.harness.browser import Shown
from tests.harness.client import Merchant, Said
from tests.harness.invariants import violations
from tests.harness.known import Asked, Evidence, Stored, Told, Watched
from tests.harness.live import Subscriber
from tests.harness.simulator import Truth
from tests.harness.system import System

_BUSY = """
SELECT (SELECT count(*) FROM payment_attempt a WHERE status IN ('SUBMITTING', 'PENDING', 'UNKNOWN')
            AND reference <> ALL($1::text[]) AND NOT EXISTS (
                SELECT FROM gateway_account g
                WHERE g.id = a.gateway_id AND g.plugin IN ('cod', 'bank')))
     + (SELECT count(*) FROM gateway_webhook WHERE status = 'RECEIVED')
     + (SELECT count(*) FROM event WHERE position IS NULL)
     + (SELECT count(*) FROM refund WHERE next_check_at IS NOT NULL)
     -- What follows from a change: invoices, webhooks to the merchant, the chain of the audit log.
     + (SELECT count(*) FROM follower WHERE position < (SELECT max(position) FROM event))
     + (SELECT count(*) FROM follower_debt)
     + (SELECT count(*) FROM webhook_delivery WHERE next_try_at IS NOT NULL)
     + (SELECT count(*) FROM audit_entry WHERE sequence IS NULL)"""
_LEFT_BEHIND = """
SELECT state, count(*) AS n FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IS NOT NULL
    AND state_change < now() - interval '2 seconds'
GROUP BY state"""
_SHOWN = (
    "payment_transaction", "event", "audit_entry", "idempotency_key", "gateway_account", "refund",
    "refund_approval", "invoice", "staff", "staff_session", "staff_link", "webhook_endpoint",
    "webhook_delivery", "webhook_try", "follower_debt",
)  # fmt: skip


# Paid there, and not known here yet. Without a next check nobody will ever ask: that is a loss.
_UNHEARD = """
SELECT a.payment_id, a.checks, a.not_found, a.next_check_at > now() + interval '8 seconds' AS far
FROM unnest($1::text[]) AS paid (reference) JOIN payment_attempt a USING (reference)
WHERE a.status <> 'SUCCEEDED' AND a.next_check_at IS NOT NULL"""
# Ended or never begun there, and asked about again much later: by the late schedule, or by that of
# a patient gateway after the line had eaten its first questions.
_DUE_LATE = """
SELECT payment_id, checks, not_found FROM payment_attempt WHERE status IN ('PENDING', 'UNKNOWN')
AND reference <> ALL($1::text[]) AND next_check_at > now() + interval '8 seconds'"""


# The same for refunds. What somebody holds a lease on is left to them, until that is over.
_HURRY_REFUNDS = """
UPDATE refund SET next_check_at = now() WHERE next_check_at > now() + interval '8 seconds'
AND (lease_until IS NULL OR lease_until < now()) RETURNING payment_id"""
# And for webhooks: whoever took one more than three seconds ago was killed with it.
_HURRY_WEBHOOKS = """
UPDATE webhook_delivery SET next_try_at = now() WHERE next_try_at > now() + interval '8 seconds'
AND next_try_at NOT BETWEEN now() + interval '27 seconds' AND now() + interval '30 seconds'"""
# What providers know refunds by, which is nobody's business but ours and theirs.
_BEHIND = """
SELECT r.id::text, r.gateway_reference, r.sends, a.reference AS charge, g.code
FROM refund r JOIN payment_attempt a ON a.id = r.attempt_id
JOIN gateway_account g ON g.id = r.gateway_id"""


@dataclass(frozen=True, slots=True)
class Rest:
    """How a system came to rest. hurried: payments asked about now that were due much later."""

    seconds: float
    hurried: int


async def quiet(system: System, *, seconds: float = 60) -> Rest:
    """Waits until nothing is open but what the provider keeps pending.

    Raises nothing when it does not come to rest: the judges will say what is open.
    """
    began, calm = time.monotonic(), 0
    hurried: set[tuple[str, int, int]] = set()
    connection = await asyncpg.connect(system.database_url)
    try:
        while calm < 3 and time.monotonic() < began + seconds:
            truth = await system.truth()
            paid = [one["reference"] for one in truth.transactions if one["moves"]]
            unheard = await connection.fetch(_UNHEARD, paid)
            due_late = await connection.fetch(_DUE_LATE, truth.pending)
            far = {
                (str(row["payment_id"]), row["checks"], row["not_found"])
                for row in [*(row for row in unheard if row["far"]), *due_late]
            }
            await _hurry(system, {payment_id for payment_id, *_ in far - hurried})
            hurried |= far
            await connection.execute(_HURRY_REFUNDS)
            await connection.execute(_HURRY_WEBHOOKS)
            busy = unheard or await connection.fetchval(_BUSY, truth.pending)
            calm = 0 if busy else calm + 1
            await asyncio.sleep(0.2)
    finally:
        await connection.close()
    return Rest(time.monotonic() - began, len({payment_id for payment_id, *_ in hurried}))


async def _hurry(system: System, payment_ids: set[str]) -> None:
    async with system.merchant() as merchant:
        for payment_id in payment_ids:
            await merchant.check(payment_id)


async def refunds_of(system: System, merchant: Merchant) -> list[dict[str, Any]]:
    """All of them, with what their providers know them by, the oldest first."""
    connection = await asyncpg.connect(system.database_url)
    try:
        behind = {row["id"]: row for row in await connection.fetch(_BEHIND)}
    finally:
        await connection.close()
    return [
        {
            **refund,
            "gatewayReference": behind[refund["id"]]["gateway_reference"],
            "charge": behind[refund["id"]]["charge"],
            "gateway": behind[refund["id"]]["code"],
            "sends": behind[refund["id"]]["sends"],
        }
        for refund in reversed(await merchant.refunds())
    ]


async def gather(
    system: System,
    history: Sequence[Said],
    *,
    subscribers: Sequence[Subscriber] = (),
    observed: Sequence[tuple[str, int, str]] = (),
    glimpsed: Sequence[dict[str, Any]] = (),
    shown: Sequence[Shown] = (),
    asked: Sequence[Asked] = (),
    told: Sequence[Told] | None = None,
    secrets: Sequence[str] = (),
    private: Sequence[str] = (),
    logs: bool = True,
    audit: bool = False,
) -> Evidence:
    """All that is known about a system at rest.

    told: what the merchant's server was sent, if there is one. secrets: of the run, beside those
    of every system. audit: whether the audit log is gone through as well.
    """
    async with system.merchant() as merchant:
        payments, events = await merchant.payments(), await merchant.events()
        refunds = await refunds_of(system, merchant)
        invoices, invoice_events = await merchant.invoices(), await merchant.invoice_events()
    connection = await asyncpg.connect(system.database_url)
    try:
        inbox = [
            Stored(bytes(row["body"]).decode(), 1 + row["repeated"], row["status"])
            for row in await connection.fetch("SELECT * FROM gateway_webhook")
        ]
        sessions = {row["state"]: row["n"] for row in await connection.fetch(_LEFT_BEHIND)}
        entries = await connection.fetch(
            "SELECT object, count(*) AS n FROM audit_entry GROUP BY object"
        )
        seen = {
            table: "\n".join(
                str(row[0]) for row in await connection.fetch(f"SELECT t::text FROM {table} t")
            )
            for table in _SHOWN
        }
    finally:
        await connection.close()
    seen["answers"] = json.dumps([payments, events, refunds, invoices, invoice_events])
    return Evidence(
        truth=await system.truth(),
        history=list(history),
        payments=payments,
        events=events,
        asked=list(asked),
        refunds=refunds,
        invoices=invoices,
        invoice_events=invoice_events,
        inbox=inbox,
        watched=[Watched(one.payment_id, list(one.seen)) for one in subscribers],
        observed=list(observed),
        glimpsed=list(glimpsed),
        shown=list(shown),
        told=list(told) if told is not None else None,
        audit=await system.audit() if audit else None,
        audited={row["object"]: row["n"] for row in entries},
        sessions=sessions,
        logs=system.logs() if logs else {},
        seen=seen,
        secrets=[
            *system.secrets.texts(),
            system.token,
            *(url.rpartition("/")[2] for url in system.webhook_urls.values()),
            # How the simulator's access tokens begin.
            "eyJ0eXAiOiJKV1Qi",
            *secrets,
        ],
        private=private,
    )


async def sound(system: System, merchant: Merchant) -> None:
    """Asserts that everything holds for what this merchant asked for, once it came to rest.

    The log of a shared system holds what other journeys provoked, so it is not judged here.
    """
    charges = {said.charge for said in merchant.history}
    everything = await gather(system, merchant.history, logs=False)
    payments = [one for one in everything.payments if one["description"] in charges]
    ids = {payment["id"] for payment in payments}
    paid = [one for one in everything.truth.transactions if one["message"] in charges]
    references = {one["reference"] for one in paid}
    evidence = replace(
        everything,
        truth=Truth(paid, [o for o in everything.truth.refunds if o["original"] in references]),
        payments=payments,
        events=[event for event in everything.events if event["payment"]["id"] in ids],
        refunds=[one for one in everything.refunds if one["payment"]["id"] in ids],
        invoices=None,
        invoice_events=[],
    )
    found = violations(evidence)
    assert not found, "\n".join(found)
