"""Gathers what the judges need: waits until nothing moves any more, then asks everybody."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import asyncpg
from tests.harness.browser import Shown
from tests.harness.client import Merchant, Said
from tests.harness.invariants import Evidence, Stored, Watched, violations
from tests.harness.live import Subscriber
from tests.harness.simulator import Truth
from tests.harness.system import System

_BUSY = """
SELECT (SELECT count(*) FROM payment_attempt a WHERE status IN ('SUBMITTING', 'PENDING', 'UNKNOWN')
            AND reference <> ALL($1::text[]) AND NOT EXISTS (
                SELECT FROM gateway_account g
                WHERE g.id = a.gateway_id AND g.plugin IN ('cod', 'bank')))
     + (SELECT count(*) FROM gateway_webhook WHERE status = 'RECEIVED')
     + (SELECT count(*) FROM event WHERE position IS NULL)"""
_LEFT_BEHIND = """
SELECT state, count(*) AS n FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IS NOT NULL
    AND state_change < now() - interval '2 seconds'
GROUP BY state"""
_SHOWN = ("payment_transaction", "event", "audit_entry", "idempotency_key", "gateway_account")


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


async def gather(
    system: System,
    history: Sequence[Said],
    *,
    subscribers: Sequence[Subscriber] = (),
    observed: Sequence[tuple[str, int, str]] = (),
    shown: Sequence[Shown] = (),
    private: Sequence[str] = (),
    logs: bool = True,
) -> Evidence:
    """All that is known about a system at rest."""
    async with system.merchant() as merchant:
        payments, events = await merchant.payments(), await merchant.events()
    connection = await asyncpg.connect(system.database_url)
    try:
        inbox = [
            Stored(bytes(row["body"]).decode(), 1 + row["repeated"], row["status"])
            for row in await connection.fetch("SELECT * FROM gateway_webhook")
        ]
        sessions = {row["state"]: row["n"] for row in await connection.fetch(_LEFT_BEHIND)}
        seen = {
            table: "\n".join(
                str(row[0]) for row in await connection.fetch(f"SELECT t::text FROM {table} t")
            )
            for table in _SHOWN
        }
    finally:
        await connection.close()
    seen["answers"] = json.dumps([payments, events])
    return Evidence(
        truth=await system.truth(),
        history=list(history),
        payments=payments,
        events=events,
        inbox=inbox,
        watched=[Watched(one.payment_id, list(one.seen)) for one in subscribers],
        observed=list(observed),
        shown=list(shown),
        sessions=sessions,
        logs=system.logs() if logs else {},
        seen=seen,
        secrets=[
            *system.secrets.texts(),
            system.token,
            *(url.rpartition("/")[2] for url in system.webhook_urls.values()),
            # How the simulator's access tokens begin.
            "eyJ0eXAiOiJKV1Qi",
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
    evidence = replace(
        everything,
        truth=Truth([one for one in everything.truth.transactions if one["message"] in charges]),
        payments=payments,
        events=[event for event in everything.events if event["payment"]["id"] in ids],
    )
    found = violations(evidence)
    assert not found, "\n".join(found)
