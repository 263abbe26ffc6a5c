"""What people and API keys can do with a refund: ask for it, decide on it, settle it, read it.

Asking holds the amount back in the payment's reserve. Another person says yes to exactly what they
saw, and only then a worker sends it (`refund_work`). Every function is given the core and the actor
first, checks what the actor may do, and raises a CallerError for what the caller can correct.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import orjson
from tortoise.exceptions import IntegrityError

from dusangire import refund_work
from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.cursors import make_cursor, read_cursor
from dusangire.database import Row, fetch, tx
from dusangire.errors import (
    CallerError,
    Conflict,
    CurrencyNotSupported,
    Forbidden,
    GatewayConfiguration,
    IdempotencyMismatch,
    IllegalState,
    Invalid,
    NotFound,
    RefundExceedsCaptured,
    RefundNotSupported,
    Retryable,
    SelfApproval,
    StaleApproval,
)
from dusangire.gateway import Failed, FailureCode, Outcome, Succeeded
from dusangire.gateways import Account
from dusangire.intake import checked_money
from dusangire.lifecycle import PaymentStatus, TransactionKind
from dusangire.money import Money
from dusangire.payments import new_reference
from dusangire.permissions import RULES, Permission, Role
from dusangire.plugins import Capability
from dusangire.queries import MAX_PAGE, Page
from dusangire.records import RefundRequest, RefundStatus, Who
from dusangire.refund_lifecycle import RefundChange, event_of
from dusangire.refund_work import Deed, RefundWork, digest_of, load_locked
from dusangire.text import clean, clean_optional, printable

_REFUNDABLE = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED})
_MAX_TEXT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefund:
    """amount: major units, as the caller wrote it; None: all that can be given back.

    attempt_id: of a payment that was paid twice, which of the two goes back.
    """

    idempotency_key: str
    payment_id: UUID
    reason: str
    amount: Decimal | int | str | None = None
    currency: str | None = None
    attempt_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideRefund:
    """digest: of the request as whoever decides saw it."""

    refund_id: UUID
    digest: str
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleRefund:
    """What a person found out or did. evidence: how anybody else can see that it is so."""

    refund_id: UUID
    succeeded: bool
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundDone:
    """The refund as it is now. replayed: it was done before, nothing was done now."""

    refund: RefundRequest
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One person's yes. voided_at: it does not count any more, since they lost the right."""

    by: Who
    note: str | None
    approved_at: datetime
    voided_at: datetime | None


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


async def request(core: Core, actor: Actor, wanted: RequestRefund) -> RefundDone:
    """Holds the amount back until somebody else has decided.

    Raises Forbidden, NotFound, Invalid…, IllegalState, RefundExceedsCaptured, RefundNotSupported,
    CurrencyNotSupported, IdempotencyMismatch, Retryable. Nothing is held back then.
    """
    actor.require(Permission.REQUEST_REFUNDS)
    key = clean(wanted.idempotency_key, "idempotencyKey")
    reason = clean(wanted.reason, "reason", limit=_MAX_TEXT)
    money = _money(wanted)
    fingerprint = _fingerprint(wanted, reason, money)
    try:
        rows = await _reserve(core, actor, wanted, key, fingerprint, reason, money)
    except Retryable:
        raise
    except CallerError:
        # What is not possible now may have been when the key was used.
        if known := await _known(actor, key, fingerprint):
            return known
        raise
    if not rows:
        known = await _known(actor, key, fingerprint)
        assert known is not None, "a key that was taken is there"
        return known
    core.news.set()
    return RefundDone(refund=RefundRequest.of(rows[0]))


def _money(wanted: RequestRefund) -> Money | None:
    if wanted.amount is None:
        return None
    return checked_money(wanted.amount, wanted.currency or "")


def _fingerprint(wanted: RequestRefund, reason: str, money: Money | None) -> str:
    """A digest of what was asked for: spellings of the same amount and text have the same."""
    said = {
        "payment": str(wanted.payment_id),
        "amount": [money.minor, money.currency] if money else None,
        "reason": reason,
        "attempt": str(wanted.attempt_id) if wanted.attempt_id else None,
    }
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def _reserve(
    core: Core,
    actor: Actor,
    wanted: RequestRefund,
    key: str,
    fingerprint: str,
    reason: str,
    money: Money | None,
) -> list[Row]:
    """The refund's row, or none when the key is taken."""
    accounts = await _accounts(core, wanted.payment_id)
    for _ in range(5):
        try:
            async with tx():
                capture, amount, others = await _choose(wanted, money, accounts)
                account = accounts[capture["gateway_id"]]
                draft = _draft(core, actor, wanted, account, reason, amount, others)
                return await _insert(actor, draft, capture["id"], key, fingerprint)
        except IntegrityError as error:
            # As with payments: once in a long while two draw the same reference.
            if "refund_reference_key" not in str(error):
                raise
    raise Conflict("No free refund reference was found. Try again.")


async def _accounts(core: Core, payment_id: UUID) -> dict[UUID, Account]:
    """The gateways that the payment was paid by."""
    rows = await fetch(
        "SELECT DISTINCT gateway_id FROM payment_attempt WHERE payment_id = $1", payment_id
    )
    return {row["gateway_id"]: await core.gateways.by_id(row["gateway_id"]) for row in rows}


_PAYMENT_LOCKED = "SELECT * FROM payment WHERE id = $1 FOR NO KEY UPDATE"
# What each capture still has. Read after the payment is locked, so that nobody changes it.
_CAPTURES = """
SELECT a.id, a.number, a.gateway_id, p.amount AS paid, p.amount - coalesce((
        SELECT sum(r.amount) FROM refund r
        WHERE r.payment_id = a.payment_id AND r.attempt_id = a.id
        AND r.status NOT IN ('FAILED', 'REJECTED', 'CANCELLED')), 0)::bigint AS remaining
FROM payment_attempt a JOIN payment p ON p.id = a.payment_id
WHERE a.payment_id = $1 AND a.status = 'SUCCEEDED' ORDER BY a.number"""


async def _choose(
    wanted: RequestRefund, money: Money | None, accounts: Mapping[UUID, Account]
) -> tuple[Row, Money, int]:
    """Which capture the money goes back of, how much, and how much other refunds of the payment
    gave or hold back, with the payment locked."""
    rows = await fetch(_PAYMENT_LOCKED, wanted.payment_id)
    if not rows:
        raise NotFound(field=["paymentId"])
    [payment] = rows
    currency = payment["currency"]
    if money is not None and money.currency != currency:
        raise CurrencyNotSupported(
            f"The payment is in {currency}, and so are its refunds.", field=["amount", "currency"]
        )
    if PaymentStatus(payment["status"]) not in _REFUNDABLE:
        raise IllegalState(f"The payment is {payment['status']}: there is nothing to give back.")
    left = payment["captured"] - payment["refunded"] - payment["reserved"]
    captures = await fetch(_CAPTURES, wanted.payment_id)
    capture = _capture(wanted, captures)
    amount = money or Money(min(left, capture["remaining"]), currency)
    if amount.minor > min(left, capture["remaining"]) or not amount.minor:
        held = f" {Money(payment['reserved'], currency)} is held back for other refunds."
        raise RefundExceedsCaptured(
            f"{Money(max(0, min(left, capture['remaining'])), currency)} can be given back."
            + (held if payment["reserved"] else ""),
            field=["amount", "amount"],
        )
    account = accounts.get(capture["gateway_id"])
    if account is None or account.plugin is None:
        raise GatewayConfiguration("The plugin that this was paid with does not work.")
    if Capability.REFUND in account.capabilities and amount.minor != capture["paid"]:
        _require_partial(account, Money(capture["paid"], currency))
    return capture, amount, payment["refunded"] + payment["reserved"]


def _capture(wanted: RequestRefund, captures: Sequence[Row]) -> Row:
    """The one that was named, or the only one that has anything left.

    Nobody guesses between two: one of them is the sale, and the other was paid by mistake.
    """
    if wanted.attempt_id is not None:
        named = [one for one in captures if one["id"] == wanted.attempt_id]
        if not named:
            raise NotFound("This attempt did not bring any money.", field=["attemptId"])
        return named[0]
    if not captures:
        raise IllegalState("The gateway took the money back already: nothing can be given back.")
    left = [one for one in captures if one["remaining"] > 0]
    if len(left) > 1:
        named_so = ", ".join(f"{one['id']} (number {one['number']})" for one in left)
        raise Invalid(
            f"This was paid more than once. Name the attempt to give back: {named_so}.",
            field=["attemptId"],
        )
    return (left or captures)[0]


def _require_partial(account: Account, paid: Money) -> None:
    if Capability.PARTIAL_REFUND not in account.capabilities:
        raise RefundNotSupported(
            f"{account.name} gives back whole payments only: {paid}.", field=["amount", "amount"]
        )


def _draft(
    core: Core,
    actor: Actor,
    wanted: RequestRefund,
    account: Account,
    reason: str,
    amount: Money,
    others: int,
) -> RefundRequest:
    now = core.clock()
    draft = RefundRequest(
        id=uuid4(),
        reference=new_reference("REF"),
        payment_id=wanted.payment_id,
        gateway_id=account.id,
        version=1,
        status=RefundStatus.REQUESTED,
        amount=amount,
        reason=reason,
        digest="",
        approvals_needed=_approvals_needed(core, others + amount.minor, amount.currency),
        by_hand=Capability.REFUND not in account.capabilities,
        requested_by=Who(actor.kind, actor.name),
        requested_by_id=actor.staff_id,
        decided_by=None,
        decided_at=None,
        failure=None,
        evidence=None,
        settled_by_name=None,
        created_at=now,
        updated_at=now,
        completed_at=None,
    )
    return replace(draft, digest=digest_of(draft))


def _approvals_needed(core: Core, minor: int, currency: str) -> int:
    """minor: all that goes back of the payment, so that parts of it count as one."""
    limits = {limit.currency: limit.minor for limit in core.settings.two_approvers_above}
    return 2 if minor > limits.get(currency, minor) else 1


REQUEST = f"""
WITH claim AS (
    INSERT INTO idempotency_key (id, scope, operation, key, fingerprint, payment_id, refund_id)
    VALUES ($1, $2, 'requestRefund', $3, $4, $5, $6)
    ON CONFLICT DO NOTHING RETURNING payment_id
), asked AS (
    INSERT INTO refund (id, reference, payment_id, attempt_id, gateway_id, amount, currency, reason,
        digest, approvals_needed, by_hand, requested_by_kind, requested_by_name, requested_by_id,
        gateway_reference, correlation_id)
    SELECT $6, $7, payment_id, $8, $9, $10, $11, $12, $13, $14, $15, $18, $19, $16, $17, $23
    FROM claim RETURNING *
), changed AS (
    UPDATE payment SET version = payment.version + 1, updated_at = now(),
        reserved = reserved + asked.amount,
        search = left(search || ' ' || asked.reference || ' ' || asked.gateway_reference, 4000)
    FROM asked WHERE payment.id = asked.payment_id RETURNING payment.*
), event AS (
    INSERT INTO event (type, payment_id, data)
    SELECT 'refund.requested', changed.id, jsonb_build_object('payment',
        to_jsonb(changed) - 'search', 'refund', to_jsonb(asked) - 'plugin_data')
    FROM changed, asked
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $18, $19, $20, 'refund:' || reference, $22::jsonb, $23 FROM asked
    WHERE $21::text IS NOT NULL
)
SELECT * FROM asked"""


async def _insert(
    actor: Actor, draft: RefundRequest, attempt_id: UUID, key: str, fingerprint: str
) -> list[Row]:
    return await fetch(
        REQUEST,
        uuid4(),
        actor.idempotency_scope,
        key,
        fingerprint,
        draft.payment_id,
        draft.id,
        draft.reference,
        attempt_id,
        draft.gateway_id,
        draft.amount.minor,
        draft.amount.currency,
        draft.reason,
        draft.digest,
        draft.approvals_needed,
        draft.by_hand,
        draft.requested_by_id,
        str(uuid4()),
        *audit_values(
            actor.kind,
            actor.name,
            "refund.requested",
            "refund",
            {
                "payment": str(draft.payment_id),
                "amount": str(draft.amount),
                "reason": draft.reason,
                "digest": draft.digest,
                "approvals_needed": draft.approvals_needed,
            },
        ),
    )


async def _known(actor: Actor, key: str, fingerprint: str) -> RefundDone | None:
    """What a key stands for. Raises IdempotencyMismatch when it came with other input."""
    rows = await fetch(
        "SELECT k.fingerprint, r.* FROM idempotency_key k JOIN refund r ON r.id = k.refund_id "
        "WHERE k.scope = $1 AND k.operation = 'requestRefund' AND k.key = $2",
        actor.idempotency_scope,
        key,
    )
    if not rows:
        return None
    if rows[0]["fingerprint"] != fingerprint:
        raise IdempotencyMismatch(field=["idempotencyKey"])
    return RefundDone(refund=RefundRequest.of(rows[0]), replayed=True)


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────

_APPROVE = """
INSERT INTO refund_approval (id, refund_id, staff_id, digest, note) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (refund_id, staff_id) WHERE voided_at IS NULL DO NOTHING RETURNING id"""
_APPROVED_BY = """
SELECT id FROM refund_approval WHERE refund_id = $1 AND staff_id = $2 AND voided_at IS NULL"""
_MAY_STILL = """
SELECT id FROM staff WHERE id = $1 AND disabled_at IS NULL AND role = ANY($2::text[])"""


async def approve(core: Core, actor: Actor, decision: DecideRefund) -> RefundDone:
    """One person's yes; with the last one that is needed the refund goes on its way.

    Raises Forbidden, ConfirmationNeeded, NotFound, SelfApproval, StaleApproval, IllegalState.
    """
    actor.require(Permission.DECIDE_REFUNDS)
    note = clean_optional(decision.note, "note", limit=_MAX_TEXT)
    async with tx():
        work = await _to_decide(actor, decision)
        approved = await _has_approved(actor, work)
        if work.state.status is not RefundStatus.REQUESTED:
            if approved and work.state.status not in _UNDONE:
                return RefundDone(refund=work.record, replayed=True)
            raise _too_late(work)
        if approved:
            return RefundDone(refund=work.record, replayed=True)
        await fetch(_APPROVE, uuid4(), work.id, actor.staff_id, decision.digest, note)
        work = await _locked(decision.refund_id)  # with this one counted
        change = RefundChange(
            note="approved",
            status=RefundStatus.PROCESSING if work.approved else RefundStatus.REQUESTED,
            event="refund.approved",
        )
        deed = Deed(actor=actor, decides=True, said=_decision(decision, note))
        due_in = timedelta(0) if work.approved and not work.record.by_hand else None
        written = await refund_work.write(work, change, deed, due_in=due_in)
    return _done(core, written)


# What a yes that was given before does not stand for any more.
_UNDONE = frozenset({RefundStatus.REJECTED, RefundStatus.CANCELLED})


async def reject(core: Core, actor: Actor, decision: DecideRefund) -> RefundDone:
    """One person's no, which ends it: the amount is free again.

    Raises Forbidden, ConfirmationNeeded, NotFound, SelfApproval, StaleApproval, IllegalState.
    """
    actor.require(Permission.DECIDE_REFUNDS)
    note = clean_optional(decision.note, "note", limit=_MAX_TEXT)
    async with tx():
        work = await _to_decide(actor, decision)
        if work.state.status is RefundStatus.REJECTED:
            return RefundDone(refund=work.record, replayed=True)
        if work.state.status is not RefundStatus.REQUESTED:
            raise _too_late(work)
        change = _ended(RefundStatus.REJECTED)
        deed = Deed(actor=actor, decides=True, said=_decision(decision, note))
        written = await refund_work.write(work, change, deed)
    return _done(core, written)


async def cancel(core: Core, actor: Actor, refund_id: UUID, reason: str) -> RefundDone:
    """Takes a request back before it was decided: the amount is free again.

    Raises Forbidden, NotFound, Invalid, IllegalState.
    """
    actor.require(Permission.REQUEST_REFUNDS)
    reason = clean(reason, "reason", limit=_MAX_TEXT)
    async with tx():
        work = await _locked(refund_id)
        if work.state.status is RefundStatus.CANCELLED:
            return RefundDone(refund=work.record, replayed=True)
        if work.state.status is not RefundStatus.REQUESTED:
            raise _too_late(work)
        change = _ended(RefundStatus.CANCELLED)
        written = await refund_work.write(work, change, Deed(actor=actor, said={"reason": reason}))
    return _done(core, written)


async def _locked(refund_id: UUID) -> RefundWork:
    work = await load_locked(refund_id)
    if work is None:
        raise NotFound(field=["refundId"])
    return work


async def _to_decide(actor: Actor, decision: DecideRefund) -> RefundWork:
    """The refund, locked, if this person may decide on it and saw what it is."""
    work = await _locked(decision.refund_id)
    await _require_person(actor, Permission.DECIDE_REFUNDS)
    if actor.staff_id == work.record.requested_by_id:
        raise SelfApproval
    if decision.digest != work.record.digest or digest_of(work.record) != work.record.digest:
        raise StaleApproval(field=["digest"])
    return work


async def _require_person(actor: Actor, permission: Permission) -> None:
    """Somebody with a name, who has the right this moment, whatever their session remembers."""
    roles = [role.value for role in Role if role.rank >= RULES[permission].role.rank]
    if actor.kind != "staff" or not await fetch(_MAY_STILL, actor.staff_id, roles):
        raise Forbidden(f"This needs a person with the role {RULES[permission].role}.")


async def _has_approved(actor: Actor, work: RefundWork) -> bool:
    return bool(await fetch(_APPROVED_BY, work.id, actor.staff_id))


def _decision(decision: DecideRefund, note: str | None) -> dict[str, str]:
    return {"digest": decision.digest, **({"note": note} if note else {})}


def _ended(status: RefundStatus) -> RefundChange:
    return RefundChange(note=status.lower(), status=status, event=event_of(status))


def _too_late(work: RefundWork) -> IllegalState:
    return IllegalState(f"The refund is {work.state.status}: it was decided already.")


def _done(core: Core, written: RefundRequest | None) -> RefundDone:
    assert written is not None, "nobody else changes a locked row"
    core.news.set()
    core.work.set()
    return RefundDone(refund=written)


# ── settling ─────────────────────────────────────────────────────────────────────────────────────


async def settle(core: Core, actor: Actor, settled: SettleRefund) -> RefundDone:
    """What became of a refund that only a person can find out: by hand, or lost at its gateway.

    Raises Forbidden, ConfirmationNeeded, NotFound, Invalid, SelfApproval, IllegalState.
    """
    actor.require(Permission.SETTLE_REFUNDS)
    evidence = clean(settled.evidence, "evidence", limit=_MAX_TEXT)
    found = await refund_work.load(settled.refund_id)
    if found is None:
        raise NotFound(field=["refundId"])
    account = await core.gateways.by_id(found.gateway_id)
    async with tx():
        work = await _locked(settled.refund_id)
        await _require_person(actor, Permission.SETTLE_REFUNDS)
        if _settled_so(actor, work, settled.succeeded, evidence):
            return RefundDone(refund=work.record, replayed=True)
        _require_settleable(actor, work)
        if work.state.status is RefundStatus.UNKNOWN:
            await _require_person(actor, Permission.SETTLE_UNKNOWN_REFUNDS)
        # By hand, the person who settles it is the one who gave the money: rights are read again.
        counts = work.approved or work.state.status is RefundStatus.UNKNOWN
        if counts:
            written = await refund_work.advance_refund(
                core,
                account,
                work,
                _word(work, settled),
                TransactionKind.MANUAL,
                heard={"settled_by": actor.name},
                deed=Deed(actor=actor, evidence=evidence),
            )
        else:
            written = await refund_work.void_approvals(core, account, work)
    done = _done(core, written)
    if not counts:
        raise IllegalState(
            "Somebody who approved this refund may not do so any more. "
            "It has to be approved again before it can be settled."
        )
    return done


def _settled_so(actor: Actor, work: RefundWork, succeeded: bool, evidence: str) -> bool:
    """Whether the same person said the very same before."""
    said = (work.record.settled_by_name, work.record.evidence)
    became = RefundStatus.SUCCEEDED if succeeded else RefundStatus.FAILED
    return said == (actor.name, evidence) and work.state.status is became


def _require_settleable(actor: Actor, work: RefundWork) -> None:
    match work.state.status:
        case RefundStatus.UNKNOWN:
            actor.require(Permission.SETTLE_UNKNOWN_REFUNDS)
            if actor.staff_id == work.record.requested_by_id:
                raise SelfApproval("Whoever asked for the refund does not say what became of it.")
            if work.in_doubt:
                raise IllegalState(
                    "It is being sent at this moment. Settle it when its answer is there, or known "
                    "to be lost: in a few minutes."
                )
        case RefundStatus.PROCESSING if work.record.by_hand:
            return
        case RefundStatus.PROCESSING:
            raise IllegalState("The gateway is giving it back, and tells by itself what became.")
        case RefundStatus.REQUESTED:
            raise IllegalState("Nobody has approved this refund yet.")
        case status:
            raise IllegalState(f"The refund is {status} already.")


def _word(work: RefundWork, settled: SettleRefund) -> Outcome:
    if settled.succeeded:
        return Succeeded(amount=work.record.amount, reference=work.state.reference)
    return Failed(code=FailureCode.OTHER, message="A person found that no money went back.")


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


async def refund(
    core: Core, actor: Actor, *, id: UUID | None = None, reference: str | None = None
) -> RefundRequest | None:
    """A refund by id or by its reference; None when there is none or the actor may not see it."""
    if not actor.may(Permission.READ_REFUNDS):
        return None
    if reference is not None and printable(reference) != reference:
        return None
    rows = await fetch(
        "SELECT * FROM refund WHERE id = $1 OR reference = $2",
        id,
        reference.strip().upper() if reference else None,
    )
    return RefundRequest.of(rows[0]) if rows else None


_REFUNDS = """
SELECT * FROM refund WHERE ($1::text[] IS NULL OR status = ANY($1))
    AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
ORDER BY created_at DESC, id DESC LIMIT $4"""


async def refunds(
    core: Core,
    actor: Actor,
    status: Sequence[RefundStatus] | None = None,
    first: int = 25,
    after: str | None = None,
) -> Page[RefundRequest]:
    """A page of refunds, the newest first. Raises Forbidden, Invalid."""
    actor.require(Permission.READ_REFUNDS)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    statuses = [one.value for one in status] if status is not None else None
    moment, last = _mark(after) if after is not None else (None, None)
    rows = await fetch(_REFUNDS, statuses, moment, last, first + 1)
    shown = rows[:first]
    return Page(
        items=[RefundRequest.of(row) for row in shown],
        cursors=[make_cursor([row["created_at"].isoformat(), row["id"].hex]) for row in shown],
        has_next=len(rows) > first,
    )


def _mark(after: str) -> tuple[datetime, UUID]:
    text, hex_id = read_cursor(after, 2)
    try:
        return datetime.fromisoformat(text).astimezone(UTC), UUID(hex=hex_id)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Invalid("This cursor is not one of ours.", field=["after"]) from error


async def of_payments(payment_ids: Sequence[UUID]) -> dict[UUID, list[RefundRequest]]:
    """The refunds of each payment, in their order."""
    found: dict[UUID, list[RefundRequest]] = {payment_id: [] for payment_id in payment_ids}
    for row in await fetch(
        "SELECT * FROM refund WHERE payment_id = ANY($1) ORDER BY created_at, id",
        list(payment_ids),
    ):
        found[row["payment_id"]].append(RefundRequest.of(row))
    return found


async def approvals(refund_ids: Sequence[UUID]) -> dict[UUID, list[Approval]]:
    """Who said yes to each refund, in their order."""
    found: dict[UUID, list[Approval]] = {refund_id: [] for refund_id in refund_ids}
    for row in await fetch(
        "SELECT a.*, s.email FROM refund_approval a JOIN staff s ON s.id = a.staff_id "
        "WHERE a.refund_id = ANY($1) ORDER BY a.approved_at, a.id",
        list(refund_ids),
    ):
        found[row["refund_id"]].append(
            Approval(
                by=Who("staff", row["email"]),
                note=row["note"],
                approved_at=row["approved_at"],
                voided_at=row["voided_at"],
            )
        )
    return found
