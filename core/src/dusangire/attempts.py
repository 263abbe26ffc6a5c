"""One attempt at one gateway: send it, ask about it, and write down what became of it.

Write ahead, then call: the row says what to ask before anything is sent. The gateway is called
outside any transaction. What it said is decided in `lifecycle` and committed by `advance`, the one
function that changes an attempt and its payment.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from dusangire import stored_methods, watch
from dusangire.access import SYSTEM, Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch
from dusangire.errors import Retryable
from dusangire.exchanges import Exchange, recording
from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    NotSent,
    Outcome,
    Succeeded,
    TransferToAccount,
    Unknown,
)
from dusangire.gateways import Account
from dusangire.lifecycle import (
    ENDED,
    TIME_IS_OVER,
    AttemptState,
    AttemptStatus,
    AttentionReason,
    Change,
    PaymentState,
    PaymentStatus,
    Timing,
    TransactionKind,
    decide,
    expired_if_withdrawn,
    to_withdraw,
)
from dusangire.masking import hiding, mask_json, mask_text, spellings
from dusangire.money import Money
from dusangire.phone import PhoneNumber
from dusangire.records import Payment, action_json, failure_json, json_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An attempt in hand: the row, its payment's state, and the versions they had.

    leased_until: on the monotonic clock; after it another process may have taken it over.
    token: what a stored method is charged with, while this process sends it.
    """

    id: UUID
    payment_id: UUID
    gateway_id: UUID
    environment: str
    version: int
    payment_version: int
    attempt: Attempt
    state: AttemptState
    payment: PaymentState
    leased_until: float = math.inf
    correlation_id: str | None = None
    customer_id: UUID | None = None
    stored_method_id: UUID | None = None
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, row: Row, lease: timedelta | None = None) -> "Work":
        """From WORK_COLUMNS, leased just now or not at all."""
        amount = Money(row["amount"], row["currency"])
        attempt = Attempt(
            reference=row["reference"],
            payment_reference=row["payment_reference"],
            amount=amount,
            created_at=row["created_at"],
            phone=PhoneNumber(row["phone"]) if row["phone"] else None,
            email=row["email"],
            description=row["description"],
            order_reference=row["order_reference"],
            return_url=row["return_url"],
            gateway_transaction_id=row["gateway_transaction_id"],
            expires_at=row["expires_at"],
            customer=row["customer"],
            keeps_method=row["store_consent"] is not None,
            uses_stored_method=row["stored_method_id"] is not None,
            details=json_of(row["details"]),
            plugin_data=json_of(row["plugin_data"]),
        )
        return cls(
            id=row["id"],
            payment_id=row["payment_id"],
            gateway_id=row["gateway_id"],
            environment=row["environment"],
            version=row["version"],
            payment_version=row["payment_version"],
            attempt=attempt,
            state=AttemptState(
                status=AttemptStatus(row["status"]),
                reference=row["reference"],
                amount=amount,
                created_at=row["created_at"],
                checks=row["checks"],
                late=row["late"],
                resend=row["resend"],
                not_found=row["not_found"],
                not_found_since=row["not_found_since"],
            ),
            payment=PaymentState(
                status=PaymentStatus(row["payment_status"]),
                captured=row["captured"],
                expires_at=row["expires_at"],
                has_next_action=row["has_next_action"],
                attention=frozenset(map(AttentionReason, json_of(row["needs_attention"]))),
            ),
            leased_until=time.monotonic() + lease.total_seconds() if lease else math.inf,
            correlation_id=row["correlation_id"],
            customer_id=row["customer_id"],
            stored_method_id=row["stored_method_id"],
        )


WORK_COLUMNS = """
    a.id, a.payment_id, a.gateway_id, a.environment, a.version, a.status, a.reference, a.phone,
    a.email, a.details, a.plugin_data, a.return_url, a.gateway_transaction_id, a.correlation_id,
    a.created_at, a.checks, a.late, a.not_found, a.not_found_since,
    a.stored_method_id, a.store_consent, p.customer_id,
    p.version AS payment_version, p.status AS payment_status, p.reference AS payment_reference,
    p.amount, p.currency, p.captured, p.expires_at, p.needs_attention, p.description,
    p.order_reference, p.next_action IS NOT NULL AS has_next_action,
    (SELECT reference FROM customer WHERE id = p.customer_id) AS customer"""


# ── taking ───────────────────────────────────────────────────────────────────────────────────────


def lease_for(core: Core, account: Account) -> timedelta:
    """How long a process may work on an attempt before another one takes it over."""
    return timedelta(seconds=max(3.0, (account.call_timeout + 10) * core.settings.poll_scale))


def first_look(core: Core, account: Account) -> timedelta:
    """When an attempt is looked at whose sender was never heard of again.

    By then another process may take it over, and the gateway's schedule has come to a question.
    """
    lease, plugin = lease_for(core, account), account.plugin
    if plugin is None or not plugin.implements("check_payment"):
        return lease
    schedule = plugin.description.check_schedule
    first = timedelta(seconds=(*schedule.first, schedule.then)[0])
    return max(lease, first * core.settings.poll_scale)


def _lease(core: Core) -> timedelta:
    return timedelta(seconds=90) * max(core.settings.poll_scale, 0.05)


# `resend` is taken out of the row before anything is sent again: whoever crashes in between
# leaves an attempt that is asked about, not one that is sent a third time. The next check moves to
# the end of the lease, so that a hint that comes meanwhile stands out as an earlier one.
_TAKE = f"""
WITH due AS (
    {{due}}
), a AS (
    UPDATE payment_attempt SET lease_until = now() + $1::interval,
        next_check_at = now() + $1::interval, resend = false, version = version + 1
    FROM due WHERE payment_attempt.id = due.id
    RETURNING payment_attempt.*, due.resend AS was_resend
)
SELECT {WORK_COLUMNS}, a.was_resend AS resend FROM a JOIN payment p ON p.id = a.payment_id"""
_TAKE_DUE = _TAKE.format(
    due="""SELECT due.id, due.resend
    FROM unnest($2::uuid[], $3::int[], $5::boolean[]) AS gateway (id, places, is_open)
    CROSS JOIN LATERAL (
        SELECT id, resend, next_check_at FROM payment_attempt
        WHERE gateway_id = gateway.id AND next_check_at <= now()
            AND (lease_until IS NULL OR lease_until < now()) AND (resend OR NOT gateway.is_open)
        ORDER BY next_check_at LIMIT least(gateway.places, $4) FOR UPDATE SKIP LOCKED
    ) AS due ORDER BY due.next_check_at LIMIT $4"""
)
_TAKE_LATEST = _TAKE.format(
    due="""SELECT id, resend FROM payment_attempt
    WHERE payment_id = $2 AND (lease_until IS NULL OR lease_until < now()) AND number =
        (SELECT max(number) FROM payment_attempt WHERE payment_id = $2)
    FOR UPDATE SKIP LOCKED"""
)
_TAKE_RETURNED = _TAKE.format(
    due="""SELECT id, resend FROM payment_attempt
    WHERE payment_id = $2 AND (lease_until IS NULL OR lease_until < now()) AND number =
        (SELECT max(number) FROM payment_attempt WHERE payment_id = $2)
        AND (status IN ('SUBMITTING', 'PENDING', 'UNKNOWN')
            OR late AND status IN ('FAILED', 'EXPIRED', 'CANCELLED'))
        AND NOT resend AND (asked_at IS NULL OR asked_at < now() - $3::interval)
    FOR UPDATE SKIP LOCKED"""
)
# What is due first. Where another look is as good, the attempt that was made last: it is the one
# that the gateway is most likely to remember.
_TAKE_TO_PROBE = _TAKE.format(
    due="""SELECT id, resend FROM payment_attempt
    WHERE gateway_id = $2 AND NOT resend AND (lease_until IS NULL OR lease_until < now())
        AND (next_check_at <= now() OR NOT $3)
    ORDER BY coalesce(next_check_at <= now(), false) DESC,
        CASE WHEN next_check_at <= now() THEN next_check_at END, created_at DESC
    LIMIT 1 FOR UPDATE SKIP LOCKED"""
)


async def take_due(
    core: Core, limit: int, places: Mapping[UUID, int], left_alone: Collection[UUID] = ()
) -> list[Work]:
    """Attempts whose time to be asked about has come, the oldest first, leased to this process.

    places: how many each gateway has a place for. The others stay for whoever has one first: what
    waits for a slow gateway must not fill the worker and hold up the quick ones.
    left_alone: gateways that give no answers. Of theirs only what waits to be sent is taken, since
    its time may run out.
    """
    lease, is_open = _lease(core), [gateway in left_alone for gateway in places]
    rows = await fetch(_TAKE_DUE, lease, list(places), list(places.values()), limit, is_open)
    return [Work.of(row, lease) for row in rows]


async def take_to_probe(core: Core, gateway_id: UUID, *, due: bool) -> Work | None:
    """The attempt to ask a gateway about that gave no answers; never one that would be sent.

    due: only one whose time has come; otherwise the latest one, too.
    """
    lease = _lease(core)
    rows = await fetch(_TAKE_TO_PROBE, lease, gateway_id, due)
    return beside_the_schedule(Work.of(rows[0], lease)) if rows else None


def beside_the_schedule(work: Work) -> Work:
    """The attempt, asked about once more than planned: the questions of later days stay."""
    checks = max(0, work.state.checks - 1)
    return replace(work, state=replace(work.state, checks=checks))


async def take_latest(core: Core, payment_id: UUID) -> Work | None:
    """The payment's latest attempt, if no other process works on it."""
    lease = _lease(core)
    rows = await fetch(_TAKE_LATEST, lease, payment_id)
    return Work.of(rows[0], lease) if rows else None


async def take_returned(core: Core, payment_id: UUID, every: timedelta) -> Work | None:
    """The payment's latest attempt, if asking may tell something new and the last time is as
    long ago as `every`; no other process works on it."""
    lease = _lease(core)
    rows = await fetch(_TAKE_RETURNED, lease, payment_id, every)
    return Work.of(rows[0], lease) if rows else None


async def load(attempt_id: UUID) -> Work:
    """An attempt without a lease: to decide anew after its row changed."""
    [row] = await fetch(
        f"SELECT {WORK_COLUMNS}, a.resend FROM payment_attempt a "
        "JOIN payment p ON p.id = a.payment_id WHERE a.id = $1",
        attempt_id,
    )
    return Work.of(row)


# ── calling ──────────────────────────────────────────────────────────────────────────────────────


async def submit(core: Core, account: Account, work: Work) -> Payment | None:
    """Sends an attempt that this process wrote and leased just now."""
    if account.watch.is_open or account.places.crowded:
        return await _hold_back(core, account, work)
    leased_until = time.monotonic() + lease_for(core, account).total_seconds()
    async with account.places:
        return await _send(core, account, replace(work, leased_until=leased_until))


async def proceed(core: Core, account: Account, work: Work) -> Payment | None:
    """What is due for an attempt: to be sent again, to be asked about, or to expire."""
    if work.state.resend and account.watch.is_open:
        return await _hold_back(core, account, work)
    async with account.places:
        if work.state.resend:
            return await _send(core, account, work)
        if time.monotonic() > work.leased_until:
            return None  # as in _send
        return await ask(core, account, work)


async def _send(core: Core, account: Account, work: Work) -> Payment | None:
    if time.monotonic() > work.leased_until:
        return None  # waited too long for a place: another process has taken it over by now
    if work.payment.status not in {PaymentStatus.CREATED, PaymentStatus.PENDING}:
        outcome = NotSent(cause=f"the payment is {work.payment.status} meanwhile")
        return await advance(core, account, work, outcome, TransactionKind.INITIATE)
    if account.watch.is_open:
        return await _hold_back(core, account, work)
    if work.stored_method_id is None:
        return await _call(core, account, work, TransactionKind.INITIATE)
    return await _charge_stored(core, account, work, work.stored_method_id)


async def _charge_stored(
    core: Core, account: Account, work: Work, method_id: UUID
) -> Payment | None:
    """Sends with a stored method, unless its payer took it back since: then nothing leaves."""
    opened = await stored_methods.use(core, method_id, work.customer_id, work.gateway_id)
    if isinstance(opened, Failed | NotSent):
        return await advance(core, account, work, opened, TransactionKind.INITIATE)
    with hiding(opened):
        sent = replace(work, token=opened)
        return await _call(core, account, sent, TransactionKind.INITIATE)


async def _hold_back(core: Core, account: Account, work: Work) -> Payment | None:
    """Keeps an attempt that never left for later: it waits as long as any that cannot be sent."""
    why = "the gateway gives no answers" if account.watch.is_open else "too many are waiting for it"
    outcome = NotSent(cause=f"held back, {why}")
    return await advance(core, account, work, outcome, TransactionKind.INITIATE)


async def ask(core: Core, account: Account, work: Work) -> Payment | None:
    """Asks the gateway; where it cannot be asked, only the clock decides.

    When the payment's time is over, what the gateway can take back is taken back instead: a link
    that stays open could still be paid.
    """
    if to_withdraw(work.payment, work.state, _timing(core, account)):
        return await _call(
            core,
            account,
            work,
            TransactionKind.CANCEL,
            said={"reason": TIME_IS_OVER},
            means=expired_if_withdrawn,
        )
    if account.plugin is not None and not account.plugin.implements("check_payment"):
        return await advance(core, account, work, Accepted(), TransactionKind.STATUS_CHECK)
    return await _call(core, account, work, TransactionKind.STATUS_CHECK)


async def cancel(
    core: Core, account: Account, work: Work, actor: Actor, reason: str
) -> Payment | None:
    """Withdraws the attempt at the gateway, or here if it certainly never got there."""
    if work.state.resend:
        outcome = Failed(code=FailureCode.CANCELLED, message=reason)
        return await advance(core, account, work, outcome, TransactionKind.CANCEL, actor=actor)
    return await _call(
        core, account, work, TransactionKind.CANCEL, actor=actor, said={"reason": reason}
    )


async def _call(
    core: Core,
    account: Account,
    work: Work,
    kind: TransactionKind,
    *,
    actor: Actor = SYSTEM,
    said: Mapping[str, Any] | None = None,
    means: Callable[[Outcome], Outcome] = lambda outcome: outcome,
) -> Payment | None:
    term = account.watch.breaker.term
    with recording() as recorded:
        outcome = means(await _outcome(account, work, kind))
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
            advance,
            core,
            account,
            work,
            outcome,
            kind,
            exchanges=recorded.exchanges,
            duration_ms=recorded.duration_ms,
            notes=recorded.notes,
            actor=actor,
            said=said,
        )
    finally:
        if _callable(account, work):
            await watch.saw(core, account, seen)


# The gateway has answered: while the database is away, the answer is held on to. Writing it twice
# does no harm, since the second time it changes nothing.
persistently = AsyncRetrying(
    retry=retry_if_exception_type(Retryable),
    stop=stop_after_delay(30),
    wait=wait_random_exponential(0.2, max=2),
    reraise=True,
)


def _callable(account: Account, work: Work) -> bool:
    """Whether there is a plugin to call, and the gateway is where the attempt was sent to."""
    return account.gateway is not None and account.environment == work.environment


async def _outcome(account: Account, work: Work, kind: TransactionKind) -> Outcome:
    plugin, gateway = account.plugin, account.gateway
    if plugin is None or gateway is None:
        return Unknown(cause=f"the plugin {account.plugin_name} does not work")
    if account.environment != work.environment:
        return Unknown(
            cause=f"the gateway is {account.environment} now, the attempt was {work.environment}"
        )
    match kind:
        case TransactionKind.INITIATE if work.token is not None:
            return await plugin.charge_token(gateway, work.attempt, work.token)
        case TransactionKind.INITIATE:
            return await plugin.initiate_payment(gateway, work.attempt)
        case TransactionKind.CANCEL:
            return await plugin.cancel_payment(gateway, work.attempt)
        case _:
            return await plugin.check_payment(gateway, work.attempt)


# ── writing down ─────────────────────────────────────────────────────────────────────────────────


async def advance(
    core: Core,
    account: Account,
    work: Work,
    outcome: Outcome,
    kind: TransactionKind,
    *,
    exchanges: Sequence[Exchange] = (),
    duration_ms: int | None = None,
    notes: Mapping[str, Any] | None = None,
    actor: Actor = SYSTEM,
    said: Mapping[str, Any] | None = None,
) -> Payment | None:
    """Commits what an outcome means: attempt, payment, event, audit and log in one statement.

    notes: what plugins remarked while they were called; kept in the log.
    said: what a person gave as evidence or reason; kept in the log and the audit.
    Gives the payment if it changed. When somebody else changed it first, decides anew.
    """
    timing = _timing(core, account)
    change = decide(work.payment, work.state, outcome, kind, timing)
    rows = log_rows(kind, change.note, outcome, exchanges, duration_ms, said, notes)
    rows = _without_token(rows, outcome)
    for _ in range(10):
        # The schedule runs by the clock of the database, whatever this machine's says.
        due_in = change.next_check_at - timing.now if change.next_check_at else None
        kept = _kept(core, account, work, change, outcome)
        advanced, payment = await _write(work, change, due_in, account, actor, rows, said, kept)
        if advanced:
            _tell(core, account, work, change)
            return payment
        rows = []  # the exchange is in the log by now
        fresh = await load(work.id)
        if _overtaken(work, fresh, outcome, kind):
            log.info("outcome dropped: the attempt was taken over", reference=work.state.reference)
            return None
        work = replace(fresh, state=replace(fresh.state, resend=False))
        change = decide(work.payment, work.state, outcome, kind, timing)
    log.error("outcome not written: the payment kept changing", reference=work.state.reference)
    return None


def _overtaken(seen: Work, fresh: Work, outcome: Outcome, kind: TransactionKind) -> bool:
    """Whether another process took the attempt over, so that only clear evidence counts."""
    if seen.version == fresh.version:
        return False  # only the payment changed
    if isinstance(outcome, Failed):
        return kind is TransactionKind.INITIATE
    return not isinstance(outcome, Succeeded | Accepted)


def _timing(core: Core, account: Account) -> Timing:
    plugin = account.plugin
    timing = Timing(now=core.clock(), scale=core.settings.poll_scale)
    if plugin is None:
        return timing
    return replace(
        timing,
        schedule=plugin.description.check_schedule,
        can_ask=plugin.implements("check_payment"),
        can_withdraw=plugin.implements("cancel_payment"),
    )


ADVANCE = f"""
WITH target AS (
    SELECT p.id FROM payment p JOIN payment_attempt a ON a.payment_id = p.id
    WHERE p.id = $1 AND p.version = $2 AND a.id = $3 AND a.version = $4
    FOR NO KEY UPDATE OF p, a
), attempt AS (
    UPDATE payment_attempt SET version = version + 1, status = $5,
        gateway_transaction_id = coalesce($6, gateway_transaction_id),
        plugin_data = plugin_data || $7::jsonb,
        failure = coalesce($8::jsonb, failure), fee = coalesce($9, fee),
        completed_at = CASE WHEN $5 = 'SUCCEEDED' AND status <> 'SUCCEEDED' THEN now()
            WHEN $10 THEN coalesce(completed_at, now()) END,
        next_check_at = CASE WHEN next_check_at < lease_until
            THEN least(now() + $11::interval, next_check_at) ELSE now() + $11::interval END,
        lease_until = NULL, asked_at = now(),
        checks = $12, late = $13, resend = $14, not_found = $15, not_found_since = $16
    FROM target WHERE payment_attempt.id = $3
    RETURNING gateway_id, store_consent, store_consent_by, payment_attempt.created_at
), changed AS (
    UPDATE payment SET version = version + 1, status = $18, captured = captured + $19,
        updated_at = now(),
        next_action = CASE WHEN $18 <> 'PENDING' THEN NULL
            ELSE coalesce($20::jsonb, next_action) END,
        failure = CASE WHEN $18 IN ('FAILED', 'EXPIRED', 'CANCELLED')
            THEN coalesce($8::jsonb, failure) END,
        failure_code = CASE WHEN $18 IN ('FAILED', 'EXPIRED', 'CANCELLED')
            THEN coalesce($21, failure_code) END,
        needs_attention = CASE WHEN $22::text IS NULL OR needs_attention ? $22
            THEN needs_attention ELSE needs_attention || to_jsonb($22::text) END,
        completed_at = CASE WHEN $19 > 0 AND status IN ('FAILED', 'EXPIRED', 'CANCELLED') THEN now()
            WHEN $18 NOT IN ('CREATED', 'PENDING') THEN coalesce(completed_at, now()) END,
        search = CASE WHEN $23 = '' THEN search ELSE left(search || ' ' || $23, 4000) END
    FROM target WHERE payment.id = target.id AND $17::text IS NOT NULL
    RETURNING payment.*
), event AS (
    INSERT INTO event (type, payment_id, data)
    SELECT $17, id, to_jsonb(changed) - 'search' FROM changed
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $24, $25, $26, 'payment:' || reference, $28::jsonb, $29 FROM changed
    WHERE $27::text IS NOT NULL
), log AS (
    INSERT INTO payment_transaction (payment_id, gateway_id, kind, outcome, http_status,
        error_code, error_message, request, response, duration_ms, notes)
    SELECT $1, $30, $31, x.outcome, x.http_status, x.error_code, x.error_message, x.request,
        x.response, x.duration_ms, x.notes
    FROM jsonb_to_recordset($32::jsonb) AS x (outcome text, http_status int, error_code text,
        error_message text, request jsonb, response jsonb, duration_ms int, notes jsonb)
), kept AS (
    -- Of a card that is kept already the token stays: it is sealed for the row that it is in.
    INSERT INTO stored_method (id, customer_id, gateway_id, kind, label, phone, token, fingerprint,
        expires_at, consent, consented_at, consented_by)
    SELECT x.id, x.customer_id, gateway_id, x.kind, x.label, x.phone, x.token, coalesce((
            SELECT known.fingerprint FROM stored_method known
            WHERE known.customer_id = x.customer_id AND known.gateway_id = attempt.gateway_id
                AND known.removed_at IS NULL AND known.fingerprint = ANY(x.fingerprints) LIMIT 1
        ), x.fingerprints[1]), x.expires_at, store_consent, created_at, store_consent_by
    FROM attempt, jsonb_to_record($33::jsonb) AS x (id uuid, customer_id uuid, kind text,
        label text, phone text, token text, fingerprints text[], expires_at timestamptz)
    WHERE store_consent IS NOT NULL AND x.id IS NOT NULL
    ON CONFLICT (customer_id, gateway_id, coalesce(phone, fingerprint)) WHERE removed_at IS NULL
    DO UPDATE SET label = excluded.label, expires_at = excluded.expires_at,
        consent = excluded.consent, consented_at = excluded.consented_at,
        consented_by = excluded.consented_by
    RETURNING stored_method.*
), kept_audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $24, $25, 'stored_method.kept', 'stored_method:' || id, jsonb_build_object(
        'attempt', $28::jsonb -> 'attempt', 'gateway', $28::jsonb -> 'gateway', 'kind', kind,
        'label', label, 'consent', consent, 'consented_by', consented_by), $29 FROM kept
)
SELECT (SELECT count(*) FROM attempt) AS advanced, changed.*
FROM (SELECT 1) AS one LEFT JOIN changed ON true"""


async def _write(
    work: Work,
    change: Change,
    due_in: timedelta | None,
    account: Account,
    actor: Actor,
    rows: list[dict[str, Any]],
    said: Mapping[str, Any] | None,
    kept: str | None,
) -> tuple[bool, Payment | None]:
    ended = change.attempt_status in ENDED | {AttemptStatus.SUCCEEDED, AttemptStatus.REVERSED}
    failure = change.failure
    action = change.next_action
    # What will stand on a bank statement is what staff look for.
    quoted = action.reference if isinstance(action, TransferToAccount) else None
    found = [change.gateway_transaction_id, quoted, failure and failure.gateway_code]
    [row] = await fetch(
        ADVANCE,
        work.payment_id,
        work.payment_version,
        work.id,
        work.version,
        change.attempt_status.value,
        change.gateway_transaction_id,
        orjson.dumps(change.plugin_data).decode(),
        failure_json(failure),
        change.fee.minor if change.fee else None,
        ended,
        due_in,
        change.checks,
        change.late,
        change.resend,
        change.not_found,
        change.not_found_since,
        change.event,
        change.payment_status.value,
        change.captured,
        action_json(change.next_action),
        failure.code.value if failure else None,
        change.attention,
        " ".join(text for text in [*found, failure and failure.message] if text),
        *audit_values(
            actor.kind,
            actor.name,
            change.event or "",
            "payment",
            {
                "attempt": work.state.reference,
                "gateway": account.code,
                "outcome": change.note,
                **(said or {}),
            },
        ),
        work.gateway_id,
        (rows[0]["kind"] if rows else TransactionKind.MANUAL.value),
        orjson.dumps(rows).decode(),
        kept,
    )
    return row["advanced"] > 0, Payment.of(row) if row["id"] is not None else None


def _kept(core: Core, account: Account, work: Work, change: Change, outcome: Outcome) -> str | None:
    """The payer's method to keep with this change: only of a success, and as they agreed."""
    if not (work.attempt.keeps_method and isinstance(outcome, Succeeded) and change.captured):
        return None
    if work.customer_id is None:
        return None
    return stored_methods.to_keep(
        core, account, outcome, customer_id=work.customer_id, phone=work.attempt.phone
    )


def _without_token(rows: list[dict[str, Any]], outcome: Outcome) -> list[dict[str, Any]]:
    """The log of an answer that brought a token, wherever in it the token stood."""
    if not isinstance(outcome, Succeeded) or outcome.token is None:
        return rows
    secrets = spellings(outcome.token.secret)
    return [{name: mask_json(value, secrets) for name, value in row.items()} for row in rows]


def _tell(core: Core, account: Account, work: Work, change: Change) -> None:
    if change.event is not None:
        core.news.set()
    if change.attention is not None:
        log.warning(
            "payment needs attention",
            payment=work.attempt.payment_reference,
            gateway=account.code,
            reason=change.attention,
            outcome=change.note,
        )
    if change.note.startswith("refused:"):
        log.error(
            "security: an answer contradicts what was sent",
            payment=work.attempt.payment_reference,
            gateway=account.code,
            problem=change.note,
        )


def log_rows(
    kind: TransactionKind,
    outcome: str,
    heard: Outcome | None,
    exchanges: Sequence[Exchange],
    duration_ms: int | None,
    said: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """One row for each HTTP exchange; the last one carries the outcome. One row without any."""
    code = heard.gateway_code or heard.code.value if isinstance(heard, Failed) else None
    message = (
        heard.message
        if isinstance(heard, Failed)
        else heard.cause
        if isinstance(heard, Unknown | NotSent)
        else None
    )
    message = mask_text(message) if message else None
    last = {
        "kind": kind.value,
        "outcome": outcome,
        "error_code": code,
        "error_message": message,
        "notes": notes or None,
    }
    if not exchanges:
        return [{**last, "duration_ms": duration_ms, "request": said}]
    rows = [
        {
            "kind": kind.value,
            "outcome": f"HTTP {exchange.http_status}" if exchange.http_status else "no answer",
            "error_message": exchange.error,
            **_seen(exchange),
        }
        for exchange in exchanges[:-1]
    ]
    return [*rows, {**last, **_seen(exchanges[-1])}]


def _seen(exchange: Exchange) -> dict[str, Any]:
    seen = asdict(exchange)
    seen.pop("error")
    return seen
