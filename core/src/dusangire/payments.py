"""What a caller can do with a payment: create, attempt, check, cancel, confirm.

Every function is given the core and the actor first, checks what the actor may do, and raises a
CallerError for what the caller can correct.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

import orjson
from tortoise.exceptions import IntegrityError

from dusangire import attempts
from dusangire.access import Actor
from dusangire.attempts import Work
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values, correlation_id
from dusangire.core import Core
from dusangire.database import Row, fetch, spawn, tx
from dusangire.errors import (
    AttemptOpen,
    CallerError,
    Conflict,
    Expired,
    GatewayRejected,
    IdempotencyMismatch,
    IllegalState,
    InvalidAmount,
    NotFound,
    Retryable,
)
from dusangire.gateway import Attempt, Succeeded
from dusangire.gateways import Account
from dusangire.intake import (
    AttemptPayment,
    ConfirmPayment,
    CreatePayment,
    CustomerInput,
    Method,
    check_wait,
    checked_customer,
    checked_expiry,
    checked_metadata,
    checked_method,
    checked_money,
    checked_return_url,
    fingerprint,
)
from dusangire.invoicing.billing import (
    DRAFTED,
    DRAFTED_EVENT,
    Draft,
    Line,
    TaxRules,
    checked_buyer,
    checked_lines,
    tax_rules,
    whole_line,
)
from dusangire.lifecycle import (
    OPEN,
    AttemptState,
    AttemptStatus,
    PaymentState,
    PaymentStatus,
    TransactionKind,
)
from dusangire.money import Money
from dusangire.permissions import Permission
from dusangire.phone import PhoneNumber
from dusangire.plugins import Capability
from dusangire.records import InvoiceKind, Payment
from dusangire.stored_methods import StoredMethod, StoredMethodKind
from dusangire.text import clean, clean_optional

DEFAULT_WAIT_MS = 2_000
# Asking about the payer first is a courtesy: a slow gateway must not hold up the payment with it.
LOOK_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The payment as it is now. replayed: the key was used before, nothing was done."""

    payment: Payment
    replayed: bool = False


# ── create ───────────────────────────────────────────────────────────────────────────────────────


async def create_payment(core: Core, actor: Actor, request: CreatePayment) -> Done:
    """A payment, and its first attempt when a method is given.

    Raises CallerError: Forbidden, Invalid…, Gateway…, IdempotencyMismatch, Retryable. Nothing is
    stored then.
    """
    actor.require(Permission.WRITE_PAYMENTS)
    key = clean(request.idempotency_key, "idempotencyKey")
    try:
        plan = await _plan(core, request, key)
        if plan.account is not None and plan.account.looks_first and not plan.stored_token:
            await _look_before(core, actor, plan)
    except Retryable:
        raise
    except CallerError:
        # What is not acceptable now may have been when the key was used.
        if known := await _known(actor, "createPayment", key, fingerprint(request)):
            return known
        raise
    rows = await _insert(core, actor, plan)
    if not rows:
        known = await _known(actor, "createPayment", plan.key, plan.fingerprint)
        assert known is not None, "a key that was taken is there"
        return known
    core.news.set()
    payment = Payment.of(rows[0])
    if plan.account is None:
        return Done(payment=payment)
    return Done(payment=await _send(core, plan, payment, request.wait_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A checked request, ready to be written."""

    key: str
    fingerprint: str
    money: Money
    order_reference: str | None
    description: str | None
    customer: CustomerInput | None
    method: Method | None
    return_url: str | None
    metadata: str | None
    expires_at: datetime | None
    created_at: datetime
    attempt_id: UUID
    attempt_reference: str
    bill: "_Bill | None" = None

    @property
    def account(self) -> Account | None:
        return self.method.account if self.method else None

    @property
    def stored(self) -> StoredMethod | None:
        return self.method.stored if self.method else None

    @property
    def stored_token(self) -> bool:
        """Whether the payer is known to the gateway by a token, not by what they typed in."""
        return self.stored is not None and self.stored.kind is StoredMethodKind.TOKEN


@dataclass(frozen=True, slots=True)
class _Bill:
    """What the draft of an invoice that comes with the payment shall say. No lines: one for all."""

    rules: TaxRules
    lines: list[Line] | None
    buyer: dict[str, str] | None

    @classmethod
    async def of(cls, core: Core, request: CreatePayment, money: Money) -> "_Bill | None":
        if request.lines is None and request.buyer is None:
            return None
        rules = await tax_rules(core)
        given = request.lines
        lines = checked_lines(rules, given, money) if given is not None else None
        return cls(rules, lines, checked_buyer(request.buyer))

    def draft(self, plan: _Plan, reference: str) -> str:
        whole = whole_line(self.rules, plan.money, plan.description, reference)
        draft = Draft(
            kind=InvoiceKind.INVOICE,
            currency=plan.money.currency,
            lines=self.lines or [whole],
            buyer=self.buyer,
        )
        return draft.json()


async def _plan(core: Core, request: CreatePayment, key: str) -> _Plan:
    money = checked_money(request.amount, request.currency)
    check_wait(request.wait_ms)
    created_at = core.clock()
    customer = checked_customer(request.customer)
    payer = customer.reference if customer else None
    method = await checked_method(core, request.method, money, payer) if request.method else None
    metadata = checked_metadata(request.metadata)
    expires_at = checked_expiry(request.expires_at, created_at, method)
    return _Plan(
        key=key,
        fingerprint=fingerprint(request),
        money=money,
        order_reference=clean_optional(request.order_reference, "orderReference"),
        description=clean_optional(request.description, "description"),
        customer=customer,
        method=method,
        return_url=checked_return_url(core, request.return_url),
        metadata=metadata,
        expires_at=expires_at,
        created_at=created_at,
        attempt_id=uuid4(),
        attempt_reference=str(uuid4()),
        bill=await _Bill.of(core, request, money),
    )


_CREATED = f"""
claim AS (
    INSERT INTO idempotency_key (id, scope, operation, key, fingerprint, payment_id)
    VALUES ($1, $2, 'createPayment', $3, $4, $5)
    ON CONFLICT DO NOTHING RETURNING payment_id
), customer AS (
    INSERT INTO customer (id, reference, name, email, phone)
    SELECT $15::uuid, $16, $17, $18, $19 FROM claim WHERE $15::uuid IS NOT NULL
    ON CONFLICT (reference) DO UPDATE SET name = coalesce(excluded.name, customer.name),
        email = coalesce(excluded.email, customer.email),
        phone = coalesce(excluded.phone, customer.phone)
    RETURNING id
), payment AS (
    INSERT INTO payment (id, reference, amount, currency, order_reference, description,
        customer_id, gateway_id, metadata, return_url, search, created_at, updated_at, expires_at)
    SELECT $5, $6, $7, $8, $9, $10, (SELECT id FROM customer), $20, $11::jsonb, $12, $14, $21,
        $21, $13
    FROM claim RETURNING *
), attempt AS (
    INSERT INTO payment_attempt (id, payment_id, number, gateway_id, environment, reference,
        phone, email, details, return_url, correlation_id, created_at, next_check_at, lease_until,
        stored_method_id, store_consent, store_consent_by)
    SELECT $22, id, 1, $20, $23, $24, $25, $26, $27::jsonb, $12, $28, $21,
        now() + $39::interval, now() + $29::interval, $36, $37, $38
    FROM payment WHERE $20::uuid IS NOT NULL
), event AS (
    INSERT INTO event (type, payment_id, data)
    SELECT 'payment.created', id, to_jsonb(payment) - 'search' FROM payment
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $30, $31, $32, 'payment:' || reference, $34::jsonb, $35 FROM payment
    WHERE $33::text IS NOT NULL
)"""
CREATE = f"WITH {_CREATED} SELECT * FROM payment"
# A statement of its own: a payment without a draft of its invoice must not pay for it.
CREATE_WITH_INVOICE = f"""
WITH {_CREATED}, wanted AS (
    SELECT $40::jsonb || jsonb_build_object('payment_id', id, 'customer_id', customer_id) AS draft
    FROM payment
), {DRAFTED}, {DRAFTED_EVENT}, drafted_audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $30, $31, 'invoice.drafted', 'invoice:' || drafted.id,
        jsonb_build_object('payment', payment.reference), $35 FROM drafted, payment
)
SELECT * FROM payment"""


async def _insert(core: Core, actor: Actor, plan: _Plan) -> list[Row]:
    """The payment's row, or none when the key is taken."""
    method, customer, account = plan.method, plan.customer, plan.account
    for _ in range(5):
        payment_id, reference = uuid4(), new_reference("PAY")
        words = [reference, plan.order_reference, plan.description, plan.attempt_reference]
        words += [customer.reference, customer.name] if customer else []
        try:
            return await fetch(
                CREATE_WITH_INVOICE if plan.bill else CREATE,
                uuid4(),
                actor.idempotency_scope,
                plan.key,
                plan.fingerprint,
                payment_id,
                reference,
                plan.money.minor,
                plan.money.currency,
                plan.order_reference,
                plan.description,
                plan.metadata,
                plan.return_url,
                plan.expires_at,
                " ".join(word for word in words if word),
                uuid4() if customer else None,
                customer.reference if customer else None,
                customer.name if customer else None,
                customer.email if customer else None,
                customer.phone if customer else None,
                account.id if account else None,
                plan.created_at,
                plan.attempt_id,
                account.environment.value if account else None,
                plan.attempt_reference,
                method.phone if method else None,
                method.email if method else None,
                orjson.dumps(method.details if method else {}).decode(),
                correlation_id(),
                attempts.lease_for(core, account) if account else None,
                *audit_values(
                    actor.kind,
                    actor.name,
                    "payment.created",
                    "payment",
                    {"amount": str(plan.money), **_chosen(method)},
                ),
                *_stored_values(actor, method),
                attempts.first_look(core, account) if account else None,
                *([plan.bill.draft(plan, reference)] if plan.bill else []),
            )
        except IntegrityError as error:
            # 40 random bits make a reference that people can read out; once in a long while
            # two payments draw the same one.
            if "payment_reference_key" not in str(error):
                raise
    raise Conflict("No free payment reference was found. Try again.")


async def _send(core: Core, plan: _Plan, payment: Payment, wait_ms: int | None) -> Payment:
    """Sends the first attempt and waits for the gateway's first answer, up to `wait_ms`."""
    assert plan.method is not None
    return await _submit(core, plan.method.account, _work(plan, payment), payment, wait_ms)


async def _submit(
    core: Core, account: Account, work: Work, payment: Payment, wait_ms: int | None
) -> Payment:
    # The task goes on when the caller has gone or the wait is over: the answer must be written.
    task = spawn(attempts.submit(core, account, work), name=f"submit {work.state.reference}")
    wait = DEFAULT_WAIT_MS if wait_ms is None else wait_ms
    if wait:
        await asyncio.wait({task}, timeout=wait / 1000)
    if task.done() and not task.cancelled() and task.exception() is None:
        return task.result() or payment
    return payment


# ── attempt ──────────────────────────────────────────────────────────────────────────────────────

_ATTEMPT = f"""
WITH target AS (
    SELECT id FROM payment WHERE id = $5 AND version = $6 AND status IN ('CREATED', 'FAILED')
    FOR NO KEY UPDATE
), claim AS (
    INSERT INTO idempotency_key (id, scope, operation, key, fingerprint, payment_id)
    SELECT $1, $2, 'attemptPayment', $3, $4, id FROM target
    ON CONFLICT DO NOTHING RETURNING payment_id
), attempt AS (
    INSERT INTO payment_attempt (id, payment_id, number, gateway_id, environment, reference,
        phone, email, details, return_url, correlation_id, created_at, next_check_at, lease_until,
        stored_method_id, store_consent, store_consent_by)
    SELECT $7, payment_id,
        (SELECT coalesce(max(number), 0) + 1 FROM payment_attempt WHERE payment_id = $5),
        $8, $9, $10, $11, $12, $13::jsonb, $14, $15, $16,
        now() + $27::interval, now() + $17::interval, $24, $25, $26
    FROM claim
), changed AS (
    UPDATE payment SET version = version + 1, status = 'PENDING', gateway_id = $8,
        next_action = NULL, failure = NULL, failure_code = NULL, completed_at = NULL,
        updated_at = now(), search = left(search || ' ' || $10, 4000)
    FROM claim WHERE id = claim.payment_id RETURNING payment.*
), event AS (
    INSERT INTO event (type, payment_id, data)
    SELECT 'payment.pending', id, to_jsonb(changed) - 'search' FROM changed
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $18, $19, $20, 'payment:' || reference, $22::jsonb, $23 FROM changed
    WHERE $21::text IS NOT NULL
)
SELECT * FROM changed"""


async def attempt_payment(core: Core, actor: Actor, request: AttemptPayment) -> Done:
    """Another try, on any gateway, after the last attempt ended. Payers may do it themselves.

    Raises NotFound, Expired, AttemptOpen, IllegalState, and what create_payment raises.
    """
    key = clean(request.idempotency_key, "idempotencyKey")
    check_wait(request.wait_ms)
    if not actor.may(Permission.WRITE_PAYMENTS) and actor.payment_id != request.payment_id:
        raise NotFound(field=["paymentId"])
    try:
        return await _try_again(core, actor, request, key)
    except CallerError:
        # What is not possible now may have been when the key was used, perhaps a moment ago.
        if known := await _known(actor, "attemptPayment", key, fingerprint(request)):
            return known
        raise


async def _try_again(core: Core, actor: Actor, request: AttemptPayment, key: str) -> Done:
    payment = await _load(request.payment_id)
    _require_payable(payment, core.clock())
    method = await checked_method(core, request.method, payment.amount, payment.customer_id)
    return_url = checked_return_url(core, request.return_url) or payment.return_url
    account, created_at = method.account, core.clock()
    attempt_id, reference = uuid4(), str(uuid4())
    try:
        rows = await fetch(
            _ATTEMPT,
            uuid4(),
            actor.idempotency_scope,
            key,
            fingerprint(request),
            payment.id,
            payment.version,
            attempt_id,
            account.id,
            account.environment.value,
            reference,
            method.phone,
            method.email,
            orjson.dumps(method.details).decode(),
            return_url,
            correlation_id(),
            created_at,
            attempts.lease_for(core, account),
            *audit_values(actor.kind, actor.name, "payment.attempted", "payment", _chosen(method)),
            *_stored_values(actor, method),
            attempts.first_look(core, account),
        )
    except IntegrityError as error:
        raise AttemptOpen from error
    if not rows:
        _require_payable(await _load(request.payment_id), core.clock())
        raise Conflict
    core.news.set()
    changed = Payment.of(rows[0])
    work = await attempts.load(attempt_id)
    return Done(payment=await _submit(core, account, work, changed, request.wait_ms))


def _require_payable(payment: Payment, now: datetime) -> None:
    if payment.status is PaymentStatus.PENDING:
        raise AttemptOpen
    if payment.status is PaymentStatus.EXPIRED:
        raise Expired
    # Before its time is looked at: nobody who paid shall be told to create a new payment.
    if payment.status not in {PaymentStatus.CREATED, PaymentStatus.FAILED}:
        raise IllegalState(f"The payment is {payment.status}: nothing is left to pay.")
    if payment.expires_at is not None and now >= payment.expires_at:
        raise Expired


# ── check, cancel, confirm ───────────────────────────────────────────────────────────────────────


async def check_payment(core: Core, actor: Actor, payment_id: UUID) -> Done:
    """Asks the gateway now, unless somebody is asking it already. Raises NotFound, Forbidden."""
    payment = await _writable(actor, payment_id)
    work = await attempts.take_latest(core, payment.id)
    if work is None:
        return Done(payment=payment)
    account = await core.gateways.by_id(work.gateway_id)
    changed = await attempts.proceed(core, account, work)
    return Done(payment=changed or await _load(payment_id))


_CANCEL = f"""
WITH changed AS (
    UPDATE payment SET version = version + 1, status = 'CANCELLED', updated_at = now(),
        completed_at = now(), next_action = NULL, failure_code = 'CANCELLED',
        failure = jsonb_build_object('code', 'CANCELLED', 'message', $3::text,
            'gateway_code', NULL)
    WHERE id = $1 AND version = $2 AND status IN ('CREATED', 'FAILED') AND NOT EXISTS (
        SELECT FROM payment_attempt WHERE payment_id = $1
        AND status IN ('SUBMITTING', 'PENDING', 'UNKNOWN'))
    RETURNING *
), event AS (
    INSERT INTO event (type, payment_id, data)
    SELECT 'payment.cancelled', id, to_jsonb(changed) - 'search' FROM changed
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $4, $5, $6, 'payment:' || reference, $8::jsonb, $9 FROM changed
    WHERE $7::text IS NOT NULL
)
SELECT * FROM changed"""


async def cancel_payment(core: Core, actor: Actor, payment_id: UUID, reason: str) -> Done:
    """Ends a payment that nobody paid. An open attempt is withdrawn at the gateway first.

    Raises NotFound, Forbidden, Invalid, IllegalState (paid), AttemptOpen: the gateway cannot take
    its request back, so the payer may still pay.
    """
    payment = await _writable(actor, payment_id)
    reason = clean(reason, "reason")
    for _ in range(3):
        if payment.status is PaymentStatus.CANCELLED:
            return Done(payment=payment)
        if payment.status not in {
            PaymentStatus.CREATED,
            PaymentStatus.PENDING,
            PaymentStatus.FAILED,
        }:
            raise IllegalState(f"The payment is {payment.status} and cannot be cancelled.")
        payment = await _withdraw(core, actor, payment, reason)
        if payment.status is PaymentStatus.CANCELLED:
            return Done(payment=payment)
        rows = await fetch(
            _CANCEL,
            payment.id,
            payment.version,
            reason,
            *audit_values(
                actor.kind, actor.name, "payment.cancelled", "payment", {"reason": reason}
            ),
        )
        if rows:
            core.news.set()
            return Done(payment=Payment.of(rows[0]))
        payment = await _load(payment_id)
    raise Conflict


async def _withdraw(core: Core, actor: Actor, payment: Payment, reason: str) -> Payment:
    """The payment after its open attempt, if any, was withdrawn or found ended."""
    if not await _open_attempt(payment.id):
        return payment
    work = await attempts.take_latest(core, payment.id)
    if work is None:
        raise AttemptOpen("The payment is being worked on this moment. Try again in a few seconds.")
    account = await core.gateways.by_id(work.gateway_id)
    async with account.places:
        if Capability.CANCEL in account.capabilities:
            await attempts.cancel(core, account, work, actor, reason)
        else:
            await attempts.ask(core, account, work)
    if await _open_attempt(payment.id):
        raise AttemptOpen(
            f"{account.name} still has the request and cannot take it back: the payer may pay. "
            "Wait until it ended, or until the payment expires."
        )
    return await _load(payment.id)


async def confirm_payment(core: Core, actor: Actor, request: ConfirmPayment) -> Done:
    """Settles a payment that a person saw arrive: cash, or a bank transfer.

    Raises NotFound, Forbidden, Invalid…, IllegalState, IdempotencyMismatch.
    """
    key = clean(request.idempotency_key, "idempotencyKey")
    evidence = clean(request.evidence, "evidence")
    note = clean_optional(request.note, "note")
    money = checked_money(request.amount, request.currency)
    await _writable(actor, request.payment_id)
    digest = fingerprint(request)
    try:
        work, account = await _to_confirm(core, request.payment_id, money)
    except CallerError:
        # What is not possible now may have been when the key was used, perhaps a moment ago.
        if known := await _known(actor, "confirmPayment", key, digest):
            return known
        raise
    outcome = Succeeded(amount=money, reference=work.state.reference, gateway_transaction_id=None)
    async with tx():
        claimed = await fetch(
            "INSERT INTO idempotency_key (id, scope, operation, key, fingerprint, payment_id) "
            "VALUES ($1, $2, 'confirmPayment', $3, $4, $5) ON CONFLICT DO NOTHING RETURNING id",
            uuid4(),
            actor.idempotency_scope,
            key,
            digest,
            work.payment_id,
        )
        if claimed:
            await attempts.advance(
                core,
                account,
                work,
                outcome,
                TransactionKind.MANUAL,
                actor=actor,
                said={"evidence": evidence, "note": note, "confirmed_by": actor.name},
            )
    if not claimed:
        known = await _known(actor, "confirmPayment", key, digest)
        assert known is not None, "a key that was taken is there"
        return known
    core.news.set()
    return Done(payment=await _load(request.payment_id))


async def _to_confirm(core: Core, payment_id: UUID, money: Money) -> tuple[Work, Account]:
    rows = await fetch(
        "SELECT id, gateway_id, status FROM payment_attempt WHERE payment_id = $1 "
        "ORDER BY number DESC LIMIT 1",
        payment_id,
    )
    if not rows:
        raise IllegalState("No payment method was chosen yet: call attemptPayment first.")
    [row] = rows
    account = await core.gateways.by_id(row["gateway_id"])
    if Capability.MANUAL_CONFIRMATION not in account.capabilities:
        raise IllegalState(
            f"{account.name} tells by itself what was paid: nobody confirms it by hand."
        )
    work = await attempts.load(row["id"])
    if work.state.status in {AttemptStatus.SUCCEEDED, AttemptStatus.REVERSED}:
        raise IllegalState("The payment is confirmed already.")
    if money != work.attempt.amount:
        raise InvalidAmount(
            f"{work.attempt.amount} is due, not {money}. If another amount was handed over, "
            "settle the difference first.",
            field=["amount", "amount"],
        )
    return work, account


_EXPIRE = f"""
WITH over AS (
    SELECT id FROM payment p WHERE status = 'CREATED' AND expires_at <= now() AND NOT EXISTS (
        SELECT FROM payment_attempt WHERE payment_id = p.id
        AND status IN ('SUBMITTING', 'PENDING', 'UNKNOWN'))
    LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
), changed AS (
    UPDATE payment SET version = version + 1, status = 'EXPIRED', updated_at = now(),
        completed_at = now(), failure_code = 'EXPIRED',
        failure = jsonb_build_object('code', 'EXPIRED', 'message', 'The time to pay is over.',
            'gateway_code', NULL)
    FROM over WHERE payment.id = over.id RETURNING payment.*
), event AS (
    INSERT INTO event (type, payment_id, data)
    SELECT 'payment.expired', id, to_jsonb(changed) - 'search' FROM changed
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $1, $2, $3, 'payment:' || reference, $5::jsonb, $6 FROM changed
    WHERE $4::text IS NOT NULL
)
SELECT id FROM changed"""


async def expire_due(core: Core) -> int:
    """Ends payments whose time is over and for which no method was ever chosen."""
    rows = await fetch(_EXPIRE, *audit_values("system", "system", "payment.expired", "payment", {}))
    if rows:
        core.news.set()
    return len(rows)


# ── reading and checking input ───────────────────────────────────────────────────────────────────


async def _load(payment_id: UUID) -> Payment:
    rows = await fetch("SELECT * FROM payment WHERE id = $1", payment_id)
    if not rows:
        raise NotFound(field=["paymentId"])
    return Payment.of(rows[0])


async def _writable(actor: Actor, payment_id: UUID) -> Payment:
    if not actor.may_see(payment_id):
        raise NotFound(field=["paymentId"])
    actor.require(Permission.WRITE_PAYMENTS)
    return await _load(payment_id)


async def _open_attempt(payment_id: UUID) -> bool:
    rows = await fetch(
        "SELECT status FROM payment_attempt WHERE payment_id = $1 ORDER BY number DESC LIMIT 1",
        payment_id,
    )
    return bool(rows) and AttemptStatus(rows[0]["status"]) in OPEN


async def _known(actor: Actor, operation: str, key: str, fingerprint: str) -> Done | None:
    """What a key stands for. Raises IdempotencyMismatch when it came with other input."""
    rows = await fetch(
        "SELECT k.fingerprint, p.* FROM idempotency_key k JOIN payment p ON p.id = k.payment_id "
        "WHERE k.scope = $1 AND k.operation = $2 AND k.key = $3",
        actor.idempotency_scope,
        operation,
        key,
    )
    if not rows:
        return None
    if rows[0]["fingerprint"] != fingerprint:
        raise IdempotencyMismatch(field=["idempotencyKey"])
    return Done(payment=Payment.of(rows[0]), replayed=True)


async def _look_before(core: Core, actor: Actor, plan: _Plan) -> None:
    """Asks the gateway whether this payer can pay at all, unless the key was used before."""
    account = plan.account
    assert account is not None
    assert account.plugin is not None
    assert account.gateway is not None
    if await _known(actor, "createPayment", plan.key, plan.fingerprint):
        return
    if not account.places.free:
        return  # a busy gateway is not asked what can be left out
    try:
        async with asyncio.timeout(LOOK_TIMEOUT), account.places:
            refused = await account.plugin.check_payer(account.gateway, _attempt(plan, ""))
    except TimeoutError:
        return
    if refused is not None:
        raise GatewayRejected(refused.message, field=["method", "phone"])


def _attempt(plan: _Plan, payment_reference: str) -> Attempt:
    method = plan.method
    assert method is not None
    return Attempt(
        reference=plan.attempt_reference,
        payment_reference=payment_reference,
        amount=plan.money,
        created_at=plan.created_at,
        phone=PhoneNumber(method.phone) if method.phone else None,
        email=method.email,
        description=plan.description,
        order_reference=plan.order_reference,
        return_url=plan.return_url,
        expires_at=plan.expires_at,
        customer=plan.customer.reference if plan.customer else None,
        keeps_method=method.store_consent is not None,
        uses_stored_method=method.stored is not None,
        details=method.details,
    )


def _work(plan: _Plan, payment: Payment) -> Work:
    account = plan.account
    assert account is not None
    return Work(
        id=plan.attempt_id,
        payment_id=payment.id,
        gateway_id=account.id,
        environment=account.environment,
        version=1,
        payment_version=payment.version,
        attempt=_attempt(plan, payment.reference),
        state=AttemptState(
            status=AttemptStatus.SUBMITTING,
            reference=plan.attempt_reference,
            amount=plan.money,
            created_at=plan.created_at,
        ),
        payment=PaymentState(status=payment.status, expires_at=payment.expires_at),
        customer_id=payment.customer_id,
        stored_method_id=plan.stored.id if plan.stored else None,
    )


def _chosen(method: Method | None) -> dict[str, str | None]:
    """How the payer wants to pay, for the audit."""
    stored = {"stored_method": str(method.stored.id)} if method and method.stored else {}
    return {"gateway": method.account.code if method else None, **stored}


def _stored_values(
    actor: Actor, method: Method | None
) -> tuple[UUID | None, str | None, str | None]:
    """stored_method_id, store_consent and store_consent_by of an attempt."""
    consent = method.store_consent if method else None
    return (
        method.stored.id if method and method.stored else None,
        consent,
        f"{actor.kind}: {actor.name}" if consent else None,
    )


# Crockford's alphabet: nothing that looks like something else.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_reference(prefix: str) -> str:
    """Something people can read out, such as PAY-7K3M9Q2X."""
    return f"{prefix}-{''.join(secrets.choice(_ALPHABET) for _ in range(8))}"
