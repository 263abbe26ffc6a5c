"""One approved refund at its gateway: send it once, ask about it, and write down what became of it.

Write ahead, then call: `sent_at` is committed before anything leaves, together with a last look at
the rights of those who approved. Whoever dies after that leaves a refund that is asked about, and
not one that is sent again. What the gateway said is decided in `refund_lifecycle` and committed by
`write`, the one function that changes a refund and its payment.
"""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog

from dusangire import attempts, watch
from dusangire.access import SYSTEM, Actor
from dusangire.attempts import log_rows, persistently
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch
from dusangire.exchanges import Exchange, recording
from dusangire.gateway import Accepted, Failed, FailureCode, NotSent, Outcome, Succeeded, Unknown
from dusangire.gateway import Refund as Sent
from dusangire.gateways import Account
from dusangire.lifecycle import AttentionReason, TransactionKind, integrity_problem
from dusangire.masking import mask_text
from dusangire.permissions import RULES, Permission, Role
from dusangire.records import RefundRequest, RefundStatus, failure_json, json_of
from dusangire.refund_lifecycle import (
    ENDED,
    RefundChange,
    RefundState,
    RefundTiming,
    decide_refund,
    event_of,
    money_moved,
)

log = structlog.get_logger(__name__)

# Two calls of a gateway fit into it: the look at the payment, and the sending.
_LEASE = timedelta(minutes=4)
_MAY_DECIDE = [
    role.value for role in Role if role.rank >= RULES[Permission.DECIDE_REFUNDS].role.rank
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundWork:
    """A refund in hand: the row, and the versions that it and its payment had.

    turn: grows with everything that is written to the row, seen or not.
    sent: it may be at the gateway. in_doubt: it was sent, and nothing was written down since.
    approved: by as many as it needs, all of whom may still do so.
    leased_until: on the monotonic clock; after it another process may have taken it over.
    """

    id: UUID
    payment_id: UUID
    payment_version: int
    payment_reference: str
    attempt_id: UUID
    gateway_id: UUID
    turn: int
    record: RefundRequest
    state: RefundState
    plugin_data: Mapping[str, Any]
    sent: bool
    in_doubt: bool
    approved: bool
    correlation_id: str | None
    leased_until: float = math.inf

    @classmethod
    def of(cls, row: Row, lease: timedelta | None = None) -> "RefundWork":
        """From WORK_COLUMNS, leased just now or not at all."""
        record = RefundRequest.of(row)
        return cls(
            id=record.id,
            payment_id=record.payment_id,
            payment_version=row["payment_version"],
            payment_reference=row["payment_reference"],
            attempt_id=row["attempt_id"],
            gateway_id=record.gateway_id,
            turn=row["turn"],
            record=record,
            state=RefundState(
                status=record.status,
                reference=row["gateway_reference"],
                amount=record.amount,
                room=row["room"],
                decided_at=record.decided_at,
                sends=row["sends"],
                checks=row["checks"],
                not_found=row["not_found"],
                not_found_since=row["not_found_since"],
            ),
            plugin_data=json_of(row["plugin_data"]),
            sent=row["sent_at"] is not None,
            in_doubt=row["sent_at"] is not None and row["asked_at"] is None,
            approved=row["standing"] >= record.approvals_needed
            and digest_of(record) == record.digest,
            correlation_id=row["correlation_id"],
            leased_until=time.monotonic() + lease.total_seconds() if lease else math.inf,
        )


def digest_of(refund: RefundRequest) -> str:
    """What somebody agrees to who approves it: SHA-256 of all that the decision is about."""
    decided_on = {
        "refund": str(refund.id),
        "payment": str(refund.payment_id),
        "gateway": str(refund.gateway_id),
        "by_hand": refund.by_hand,
        "amount": refund.amount.minor,
        "currency": refund.amount.currency,
        "reason": refund.reason,
        "requested_by": [refund.requested_by.kind, refund.requested_by.name],
        "requested_by_id": str(refund.requested_by_id) if refund.requested_by_id else None,
        "approvals_needed": refund.approvals_needed,
    }
    return hashlib.sha256(orjson.dumps(decided_on, option=orjson.OPT_SORT_KEYS)).hexdigest()


# How many who approved it may still do so: their rights are read anew each time.
STANDING = """(SELECT count(DISTINCT s.id) FROM refund_approval a JOIN staff s ON s.id = a.staff_id
        WHERE a.refund_id = r.id AND a.voided_at IS NULL AND a.digest = r.digest
            AND s.disabled_at IS NULL AND s.role = ANY($1::text[])
            AND s.id IS DISTINCT FROM r.requested_by_id)"""
WORK_COLUMNS = f"""r.*, p.version AS payment_version, p.reference AS payment_reference,
    p.captured - p.refunded - p.reserved AS room, {STANDING} AS standing"""

_LOAD = f"""
SELECT {WORK_COLUMNS} FROM refund r JOIN payment p ON p.id = r.payment_id WHERE r.id = $2"""
_LOAD_LOCKED = f"{_LOAD} FOR NO KEY UPDATE OF p, r"


async def load(refund_id: UUID) -> RefundWork | None:
    """A refund without a lease: to decide anew after its row changed."""
    rows = await fetch(_LOAD, _MAY_DECIDE, refund_id)
    return RefundWork.of(rows[0]) if rows else None


async def load_locked(refund_id: UUID) -> RefundWork | None:
    """A refund that nobody else changes, nor its payment, until this transaction ends."""
    rows = await fetch(_LOAD_LOCKED, _MAY_DECIDE, refund_id)
    return RefundWork.of(rows[0]) if rows else None


# ── taking ───────────────────────────────────────────────────────────────────────────────────────

# The next check moves to the end of the lease, so that a hint that comes meanwhile stands out as
# an earlier one.
_TAKE = f"""
WITH due AS (
    SELECT due.id FROM unnest($3::uuid[], $4::int[]) AS gateway (id, places)
    CROSS JOIN LATERAL (
        SELECT id, next_check_at FROM refund
        WHERE gateway_id = gateway.id AND next_check_at <= now()
            AND (lease_until IS NULL OR lease_until < now())
            AND status IN ('PROCESSING', 'UNKNOWN') AND NOT by_hand
        ORDER BY next_check_at LIMIT least(gateway.places, $5) FOR UPDATE SKIP LOCKED
    ) AS due ORDER BY due.next_check_at LIMIT $5
), r AS (
    UPDATE refund SET lease_until = now() + $2::interval, next_check_at = now() + $2::interval,
        turn = turn + 1
    FROM due WHERE refund.id = due.id RETURNING refund.*
)
SELECT {WORK_COLUMNS} FROM r JOIN payment p ON p.id = r.payment_id"""


def _lease(core: Core) -> timedelta:
    return _LEASE * max(core.settings.poll_scale, 0.05)


async def take_due(core: Core, limit: int, places: Mapping[UUID, int]) -> list[RefundWork]:
    """Approved refunds that are to be sent or asked about, leased to this process.

    places: how many each gateway has a place for; of others none are taken.
    """
    lease = _lease(core)
    rows = await fetch(
        _TAKE, _MAY_DECIDE, lease, list(places), [max(0, n) for n in places.values()], limit
    )
    return [RefundWork.of(row, lease) for row in rows]


# ── calling ──────────────────────────────────────────────────────────────────────────────────────


async def proceed(core: Core, account: Account, work: RefundWork) -> RefundRequest | None:
    """What is due for a refund: to be sent, or to be asked about."""
    async with account.places:
        if time.monotonic() > work.leased_until:
            return None  # waited too long for a place: another process has taken it over by now
        if work.in_doubt:
            lost = Unknown(cause="it was sent, and whoever sent it was never heard of again")
            return await advance_refund(core, account, work, lost, TransactionKind.REFUND)
        if work.sent:
            return await _ask(core, account, work)
        return await _send(core, account, work)


async def _send(core: Core, account: Account, work: RefundWork) -> RefundRequest | None:
    if not work.approved:
        return await void_approvals(core, account, work)
    attempt = await attempts.load(work.attempt_id)
    outcome = await _reason_not_to(core, account, work, attempt)
    if outcome is not None:
        return await advance_refund(core, account, work, outcome, TransactionKind.REFUND)
    ready = await _write_ahead(core, work)
    if ready is None:
        log.info("refund not sent: it changed meanwhile", refund=work.record.reference)
        fresh = await load(work.id)
        assert fresh is not None, "a refund stays"
        ours = fresh.turn == work.turn and not fresh.approved
        return await void_approvals(core, account, fresh) if ours else None
    if time.monotonic() > ready.leased_until - _lease(core).total_seconds() / 2:
        # Stopped for minutes: it would arrive after others have taken it over, or settled it.
        log.warning("refund not sent: too late", refund=work.record.reference)
        return None
    return await _call(core, account, ready, attempt, TransactionKind.REFUND)


async def _reason_not_to(
    core: Core, account: Account, work: RefundWork, attempt: attempts.Work
) -> Outcome | None:
    """Why nothing is sent now. The payment itself is asked about first: what was taken back at the
    gateway meanwhile must not be given back a second time."""
    plugin, gateway = account.plugin, account.gateway
    if plugin is None or gateway is None:
        return NotSent(cause=f"the plugin {account.plugin_name} does not work")
    if account.environment != attempt.environment:
        return NotSent(
            cause=f"the gateway is {account.environment} now, the payment {attempt.environment}"
        )
    if account.watch.is_open:
        return NotSent(cause="held back, the gateway gives no answers")
    if not plugin.implements("check_payment"):
        return None  # what is known of the payment came from a person or a signed message
    term = account.watch.breaker.term
    with recording() as recorded:
        said = await plugin.check_payment(gateway, attempt.attempt)
    kind = TransactionKind.STATUS_CHECK
    await persistently(
        attempts.advance,
        core,
        account,
        attempt,
        said,
        kind,
        exchanges=recorded.exchanges,
        duration_ms=recorded.duration_ms,
        notes=recorded.notes,
    )
    seen = watch.Seen(
        about=attempt.state.reference,
        kind=kind,
        term=term,
        outcome=said,
        exchanges=recorded.exchanges,
        duration_ms=recorded.duration_ms,
    )
    await watch.saw(core, account, seen)
    if problem := integrity_problem(attempt.state, said):
        return NotSent(cause=f"the gateway contradicts the payment: {problem}")
    match said:
        case Succeeded():
            return None
        case Failed():
            return Failed(
                code=FailureCode.OTHER,
                message=f"The gateway says that the payment did not succeed: {said.message}",
                gateway_code=said.gateway_code,
            )
        case Accepted():
            return NotSent(cause="the gateway says that the payment is not decided")
        case NotSent(cause=cause) | Unknown(cause=cause):
            return NotSent(cause=f"the payment could not be looked at first: {cause}")


# A refund that is sent says so before: after this commit nobody sends it a second time by mistake.
_WRITE_AHEAD = f"""
UPDATE refund r SET sent_at = now(), asked_at = NULL, sends = sends + 1, turn = turn + 1,
    lease_until = now() + $5::interval, next_check_at = now() + $5::interval
WHERE id = $2 AND version = $3 AND turn = $4 AND sent_at IS NULL
    AND status IN ('PROCESSING', 'UNKNOWN') AND {STANDING} >= approvals_needed
RETURNING turn, sends"""


async def _write_ahead(core: Core, work: RefundWork) -> RefundWork | None:
    lease, began = _lease(core), time.monotonic()
    rows = await fetch(_WRITE_AHEAD, _MAY_DECIDE, work.id, work.record.version, work.turn, lease)
    if not rows:
        return None
    return replace(
        work,
        turn=rows[0]["turn"],
        state=replace(work.state, sends=rows[0]["sends"]),
        sent=True,
        leased_until=began + lease.total_seconds(),
    )


async def _ask(core: Core, account: Account, work: RefundWork) -> RefundRequest | None:
    attempt = await attempts.load(work.attempt_id)
    return await _call(core, account, work, attempt, TransactionKind.REFUND_STATUS)


async def _call(
    core: Core,
    account: Account,
    work: RefundWork,
    attempt: attempts.Work,
    kind: TransactionKind,
) -> RefundRequest | None:
    term = account.watch.breaker.term
    with recording() as recorded:
        outcome = await _outcome(account, work, attempt, kind)
    seen = watch.Seen(
        about=work.state.reference,
        kind=kind,
        term=term,
        outcome=outcome,
        exchanges=recorded.exchanges,
        duration_ms=recorded.duration_ms,
    )
    try:
        return await persistently(
            advance_refund,
            core,
            account,
            work,
            outcome,
            kind,
            exchanges=recorded.exchanges,
            duration_ms=recorded.duration_ms,
            notes=recorded.notes,
        )
    finally:
        if account.gateway is not None and account.environment == attempt.environment:
            await watch.saw(core, account, seen)


async def _outcome(
    account: Account, work: RefundWork, attempt: attempts.Work, kind: TransactionKind
) -> Outcome:
    plugin, gateway = account.plugin, account.gateway
    if plugin is None or gateway is None:
        return Unknown(cause=f"the plugin {account.plugin_name} does not work")
    if account.environment != attempt.environment:
        return Unknown(
            cause=f"the gateway is {account.environment} now, the payment {attempt.environment}"
        )
    sent = Sent(
        reference=work.state.reference,
        refund_reference=work.record.reference,
        attempt=attempt.attempt,
        amount=work.record.amount,
        reason=work.record.reason,
        created_at=work.record.created_at,
        plugin_data=work.plugin_data,
    )
    if kind is TransactionKind.REFUND:
        return await plugin.refund_payment(gateway, sent)
    if not plugin.implements("check_refund"):
        return Unknown(cause=f"{account.name} cannot be asked about refunds")
    return await plugin.check_refund(gateway, sent)


# ── writing down ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What somebody did with a refund, beside what it became.

    decides: the actor is who decided. voids: what was approved does not count any more.
    action: what the audit calls it, if that is not the event's type.
    said: the reason or note that was given; for the audit.
    """

    actor: Actor = SYSTEM
    decides: bool = False
    voids: bool = False
    evidence: str | None = None
    action: str | None = None
    said: Mapping[str, Any] = field(default_factory=dict)


async def advance_refund(
    core: Core,
    account: Account,
    work: RefundWork,
    outcome: Outcome,
    kind: TransactionKind,
    *,
    exchanges: Sequence[Exchange] = (),
    duration_ms: int | None = None,
    notes: Mapping[str, Any] | None = None,
    heard: Mapping[str, Any] | None = None,
    deed: Deed | None = None,
) -> RefundRequest | None:
    """Commits what an outcome means: refund, payment, event, audit and log in one statement.

    heard: the message that brought it; kept in the log. deed: whose word it is, if a person's.
    Gives the refund if it changed. When somebody else changed it first, decides anew.
    """
    timing = _timing(core, account)
    deed = deed or Deed()
    said = {**(heard or {}), **({"evidence": deed.evidence} if deed.evidence else {})}
    change = decide_refund(work.state, outcome, kind, timing)
    rows = log_rows(kind, change.note, outcome, exchanges, duration_ms, said or None, notes)
    for _ in range(10):
        due_in = change.next_check_at - timing.now if change.next_check_at else None
        written = await write(work, change, deed, due_in=due_in, rows=rows, gateway=account.code)
        if written is not None:
            _tell(core, account, work, change)
            return written
        fresh = await load(work.id)
        assert fresh is not None, "a refund stays"
        if fresh.state.sends != work.state.sends and not isinstance(outcome, Succeeded | Accepted):
            log.info("outcome dropped: it was sent again", refund=work.record.reference)
            return None
        work = fresh
        change = decide_refund(work.state, outcome, kind, timing)
    log.error("outcome not written: the refund kept changing", refund=work.record.reference)
    return None


def _timing(core: Core, account: Account) -> RefundTiming:
    plugin = account.plugin
    timing = RefundTiming(now=core.clock(), scale=core.settings.poll_scale)
    if plugin is None:
        return timing
    return replace(
        timing,
        schedule=plugin.description.check_schedule,
        can_ask=plugin.implements("check_refund"),
        repeatable=plugin.description.repeatable_refunds,
    )


async def void_approvals(core: Core, account: Account, work: RefundWork) -> RefundRequest | None:
    """Back to a request: somebody who approved it may not do so any more."""
    log.warning("security: approvals of a refund do not count any more", refund=work.record.id)
    change = RefundChange(
        note="the approvals do not count any more",
        status=RefundStatus.REQUESTED,
        event=event_of(RefundStatus.REQUESTED),
    )
    timing = _timing(core, account)
    if work.state.status is RefundStatus.UNKNOWN:
        # An earlier sending may be on its way: it is asked about, and not sent again.
        change = replace(
            change,
            status=RefundStatus.UNKNOWN,
            event="refund.unknown",
            flagged=True,
            next_check_at=timing.next_in_doubt(0),
        )
    due_in = change.next_check_at - timing.now if change.next_check_at else None
    deed = Deed(voids=True, action="refund.approvals_voided")
    voided = await write(work, change, deed, due_in=due_in)
    if voided is not None:
        core.news.set()
    return voided


ADVANCE_REFUND = f"""
WITH target AS (
    SELECT p.id AS payment_id, r.id AS refund_id FROM payment p JOIN refund r ON r.payment_id = p.id
    WHERE p.id = $1 AND p.version = $2 AND r.id = $3 AND r.turn = $4
    FOR NO KEY UPDATE OF p, r
), voided AS (
    UPDATE refund_approval SET voided_at = now() FROM target
    WHERE $5 AND refund_approval.refund_id = target.refund_id AND voided_at IS NULL
), moved AS (
    UPDATE refund SET turn = turn + 1, status = $6, asked_at = now(), lease_until = NULL,
        version = version + CASE WHEN $7::text IS NULL THEN 0 ELSE 1 END,
        updated_at = CASE WHEN $7::text IS NULL THEN updated_at ELSE now() END,
        gateway_transaction_id = coalesce($8, gateway_transaction_id),
        plugin_data = plugin_data || $9::jsonb,
        failure = CASE WHEN $6 = 'SUCCEEDED' THEN NULL ELSE coalesce($10::jsonb, failure) END,
        completed_at = CASE WHEN $11 THEN coalesce(completed_at, now()) END,
        next_check_at = CASE WHEN $11 OR $6 = 'REQUESTED' THEN NULL
            WHEN next_check_at < lease_until THEN least(now() + $12::interval, next_check_at)
            ELSE now() + $12::interval END,
        checks = $13, sent_at = CASE WHEN $14 THEN NULL
            WHEN $6 = 'UNKNOWN' THEN coalesce(sent_at, now()) ELSE sent_at END,
        not_found = $15, not_found_since = $16,
        decided_by_kind = CASE WHEN $17 THEN $24 WHEN NOT $5 THEN decided_by_kind END,
        decided_by_name = CASE WHEN $17 THEN $25 WHEN NOT $5 THEN decided_by_name END,
        decided_by_id = CASE WHEN $17 THEN $18::uuid WHEN NOT $5 THEN decided_by_id END,
        decided_at = CASE WHEN $17 THEN now() WHEN NOT $5 THEN decided_at END,
        evidence = coalesce($19, evidence),
        settled_by_name = CASE WHEN $19::text IS NULL THEN settled_by_name ELSE $25 END,
        settled_by_id = CASE WHEN $19::text IS NULL THEN settled_by_id ELSE $18::uuid END
    FROM target WHERE refund.id = target.refund_id
    RETURNING refund.*
), changed AS (
    UPDATE payment SET version = version + 1, updated_at = now(),
        reserved = reserved + $20, refunded = refunded + $21,
        status = CASE WHEN refunded + $21 = 0 THEN status
            WHEN refunded + $21 >= captured THEN 'REFUNDED' ELSE 'PARTIALLY_REFUNDED' END,
        needs_attention = CASE
            WHEN $22::boolean AND NOT needs_attention ? $23
                THEN needs_attention || to_jsonb($23::text)
            WHEN NOT $22::boolean AND NOT EXISTS (
                    SELECT FROM refund other WHERE other.payment_id = payment.id
                    AND other.id <> $3 AND other.status = 'UNKNOWN')
                THEN needs_attention - $23
            ELSE needs_attention END,
        search = CASE WHEN $8::text IS NULL THEN search ELSE left(search || ' ' || $8, 4000) END
    FROM target WHERE payment.id = target.payment_id AND $7::text IS NOT NULL
    RETURNING payment.*
), event AS (
    INSERT INTO event (type, payment_id, data)
    SELECT $7, changed.id, jsonb_build_object('payment', to_jsonb(changed) - 'search',
        'refund', to_jsonb(moved) - 'plugin_data')
    FROM changed, moved
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $24, $25, $26, 'refund:' || moved.reference, $28::jsonb, $29 FROM changed, moved
    WHERE $27::text IS NOT NULL
), log AS (
    INSERT INTO payment_transaction (payment_id, gateway_id, kind, outcome, http_status,
        error_code, error_message, request, response, duration_ms, notes)
    SELECT $1, moved.gateway_id, x.kind, x.outcome, x.http_status, x.error_code, x.error_message,
        x.request, x.response, x.duration_ms, x.notes
    FROM moved, jsonb_to_recordset($30::jsonb) AS x (kind text, outcome text, http_status int,
        error_code text, error_message text, request jsonb, response jsonb, duration_ms int,
        notes jsonb)
)
SELECT * FROM moved"""


async def write(
    work: RefundWork,
    change: RefundChange,
    deed: Deed,
    *,
    due_in: timedelta | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    gateway: str | None = None,
) -> RefundRequest | None:
    """The refund as it is now; None when somebody else changed it, or its payment, first."""
    reserved, refunded = money_moved(work.state.status, change.status, work.state.amount.minor)
    actor, event = deed.actor, change.event
    detail = {
        "payment": work.payment_reference,
        "amount": str(work.record.amount),
        **({"gateway": gateway} if gateway else {}),
        "outcome": mask_text(change.note),
        **({"evidence": deed.evidence} if deed.evidence else {}),
        **deed.said,
    }
    written = await fetch(
        ADVANCE_REFUND,
        work.payment_id,
        work.payment_version,
        work.id,
        work.turn,
        deed.voids,
        change.status.value,
        event,
        change.gateway_transaction_id,
        orjson.dumps(change.plugin_data).decode(),
        failure_json(change.failure),
        change.status in ENDED,
        due_in,
        change.checks,
        change.unsent,
        change.not_found,
        change.not_found_since,
        deed.decides,
        actor.staff_id,
        deed.evidence,
        reserved,
        refunded,
        change.flagged,
        AttentionReason.REFUND_UNKNOWN.value,
        *audit_values(actor.kind, actor.name, deed.action or event or "", "refund", detail),
        orjson.dumps(list(rows)).decode(),
    )
    return RefundRequest.of(written[0]) if written else None


def _tell(core: Core, account: Account, work: RefundWork, change: RefundChange) -> None:
    if change.event is not None:
        core.news.set()
    if change.flagged:
        log.warning(
            "refund needs attention",
            refund=work.record.reference,
            payment=work.payment_reference,
            gateway=account.code,
            outcome=change.note,
        )
    if change.note.startswith("refused:"):
        log.error(
            "security: an answer contradicts what was sent",
            refund=work.record.reference,
            gateway=account.code,
            problem=change.note,
        )


# ── what a gateway tells by itself ───────────────────────────────────────────────────────────────


async def find(gateway_id: UUID, reference: str) -> UUID | None:
    """The refund that a gateway's message is about."""
    rows = await fetch(
        "SELECT id FROM refund WHERE gateway_reference = $1 AND gateway_id = $2",
        reference,
        gateway_id,
    )
    return rows[0]["id"] if rows else None


async def heard(
    core: Core, account: Account, refund_id: UUID, outcome: Outcome, said: Mapping[str, Any]
) -> None:
    """Decides on a signed message. said: what came, as it may be shown.

    While the refund is being sent, anything but its success may be about an earlier sending, and is
    a hint: a person who settled it on that word could pay it a second time.
    """
    work = await load(refund_id)
    assert work is not None, "a refund stays"
    if work.in_doubt and not isinstance(outcome, Succeeded):
        await hint(refund_id, timedelta(0), said)
        return
    await advance_refund(core, account, work, outcome, TransactionKind.CALLBACK, heard=said)


_HINT = """
WITH hinted AS (
    UPDATE refund SET next_check_at = least(coalesce(next_check_at, 'infinity'),
        greatest(now(), coalesce(asked_at + $2::interval, now())))
    WHERE id = $1 AND status IN ('PROCESSING', 'UNKNOWN') AND NOT by_hand
)
INSERT INTO payment_transaction (payment_id, gateway_id, kind, outcome, request)
SELECT payment_id, gateway_id, 'CALLBACK', 'heard; asking the gateway', $3::jsonb
FROM refund WHERE id = $1"""


async def hint(refund_id: UUID, every: timedelta, said: Mapping[str, Any]) -> None:
    """Makes the next question due now, or as soon as the last one is as old as `every`."""
    await fetch(_HINT, refund_id, every, orjson.dumps(said).decode())
