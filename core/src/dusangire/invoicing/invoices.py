"""Invoices and credit notes: drafted, issued under a number without gaps, paid, credited.

A number is given when a document is issued, from a counter whose row is locked until the
transaction ends: what fails gives its number back, and nobody comes before their turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from tortoise.exceptions import IntegrityError

from dusangire.access import SYSTEM, Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.cursors import make_cursor, read_cursor
from dusangire.database import Row, fetch, tx
from dusangire.days import KIGALI
from dusangire.errors import IdempotencyMismatch, IllegalState, Invalid, NotFound
from dusangire.followers import Follower
from dusangire.intake import CreateInvoice, fingerprint
from dusangire.invoicing.billing import (
    DRAFTED,
    DRAFTED_EVENT,
    SERIES,
    Draft,
    Line,
    checked_buyer,
    checked_lines,
    tax_rules,
    whole_line,
)
from dusangire.invoicing.vat import Sold, credit
from dusangire.lifecycle import PaymentStatus
from dusangire.permissions import Permission
from dusangire.queries import MAX_PAGE, Page
from dusangire.records import (
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceStatus,
    Payment,
    RefundRequest,
    json_of,
)
from dusangire.tail import EventRecord
from dusangire.text import clean, printable

# Where a year begins and a day ends, for documents of a merchant in Rwanda.
_PAID = {PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The invoice as it is now. replayed: the key was used before, nothing was done."""

    invoice: Invoice
    replayed: bool = False


# ── drafts ───────────────────────────────────────────────────────────────────────────────────────

_CREATE = f"""
WITH claim AS (
    INSERT INTO idempotency_key (id, scope, operation, key, fingerprint, payment_id, invoice_id)
    VALUES ($1, $2, 'createInvoice', $3, $4, $5, ($7::jsonb->>'id')::uuid)
    ON CONFLICT DO NOTHING RETURNING payment_id
), wanted AS (
    SELECT $7::jsonb AS draft FROM claim
), {DRAFTED}, {DRAFTED_EVENT}, audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $8, $9, $10, 'invoice:' || id, $12::jsonb, $13 FROM drafted
    WHERE $11::text IS NOT NULL
)
SELECT *, $6::text AS asked FROM drafted"""


async def create_invoice(core: Core, actor: Actor, request: CreateInvoice) -> Done:
    """A draft for a payment that has no invoice. It gets a number when it is issued.

    Raises Forbidden, NotFound, Invalid…, IllegalState (it has one), IdempotencyMismatch, Retryable.
    """
    actor.require(Permission.WRITE_INVOICES)
    key = clean(request.idempotency_key, "idempotencyKey")
    digest = fingerprint(request)
    if known := await _known(actor, key, digest):
        return known
    draft, reference = await _drafted(core, request)
    try:
        rows = await fetch(
            _CREATE,
            uuid4(),
            actor.idempotency_scope,
            key,
            digest,
            request.payment_id,
            reference,
            draft.json(),
            *audit_values(
                actor.kind, actor.name, "invoice.drafted", "invoice", {"payment": reference}
            ),
        )
    except IntegrityError as error:
        if "idempotency_key_invoice_id_fkey" not in str(error):
            raise
        raise IllegalState("This payment has an invoice already.") from error
    if rows:
        core.news.set()
        return Done(invoice=Invoice.of(rows[0]))
    known = await _known(actor, key, digest)
    assert known is not None, "a key that was taken is there"
    return known


async def _drafted(core: Core, request: CreateInvoice) -> tuple[Draft, str]:
    """What shall be written, and the reference of its payment."""
    rows = await fetch("SELECT * FROM payment WHERE id = $1", request.payment_id)
    if not rows:
        raise NotFound(field=["paymentId"])
    payment = Payment.of(rows[0])
    rules = await tax_rules(core)
    if request.lines is None:
        lines = [whole_line(rules, payment.amount, payment.description, payment.reference)]
    else:
        lines = checked_lines(rules, request.lines, payment.amount)
    note = request.note
    draft = Draft(
        kind=InvoiceKind.INVOICE,
        currency=payment.amount.currency,
        lines=lines,
        customer_id=payment.customer_id,
        payment_id=payment.id,
        buyer=checked_buyer(request.buyer),
        note=clean(note, "note", limit=1_000, lines=True) if note and note.strip() else None,
        due_on=request.due_on,
    )
    return draft, payment.reference


async def _known(actor: Actor, key: str, digest: str) -> Done | None:
    """What a key stands for. Raises IdempotencyMismatch when it came with other input."""
    rows = await fetch(
        "SELECT k.fingerprint, i.* FROM idempotency_key k JOIN invoice i ON i.id = k.invoice_id "
        "WHERE k.scope = $1 AND k.operation = 'createInvoice' AND k.key = $2",
        actor.idempotency_scope,
        key,
    )
    if not rows:
        return None
    if rows[0]["fingerprint"] != digest:
        raise IdempotencyMismatch(field=["idempotencyKey"])
    return Done(invoice=Invoice.of(rows[0]), replayed=True)


_VOID = f"""
WITH changed AS (
    UPDATE invoice SET status = 'VOID', version = version + 1, updated_at = now()
    WHERE id = $1 AND status = 'DRAFT' RETURNING *
), event AS (
    INSERT INTO event (type, data)
    SELECT 'invoice.voided', jsonb_build_object('invoice',
        to_jsonb(changed) #- '{{buyer,phone}}' #- '{{buyer,email}}') FROM changed
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $2, $3, $4, 'invoice:' || id, $6::jsonb, $7 FROM changed WHERE $5::text IS NOT NULL
)
SELECT * FROM changed"""


async def void_invoice(core: Core, actor: Actor, invoice_id: UUID, reason: str) -> Invoice:
    """Throws a draft away. What was issued stays: it is corrected by a credit note.

    Raises Forbidden, NotFound, Invalid, IllegalState.
    """
    actor.require(Permission.WRITE_INVOICES)
    reason = clean(reason, "reason")
    rows = await fetch(
        _VOID,
        invoice_id,
        *audit_values(actor.kind, actor.name, "invoice.voided", "invoice", {"reason": reason}),
    )
    if rows:
        core.news.set()
        return Invoice.of(rows[0])
    found = Invoice.of(await _row(invoice_id))
    if found.status is not InvoiceStatus.VOID:
        raise IllegalState(
            f"{found.number} is issued and stays. A refund of its payment makes a credit note."
        )
    return found


# ── issuing ──────────────────────────────────────────────────────────────────────────────────────


async def issue_invoice(core: Core, actor: Actor, invoice_id: UUID) -> Invoice:
    """Gives a draft its number. Doing it again changes nothing. Paid at once when its payment is.

    Raises Forbidden, NotFound, IllegalState (it was thrown away), Retryable.
    """
    actor.require(Permission.WRITE_INVOICES)
    row = await _row(invoice_id)
    if row["status"] == InvoiceStatus.DRAFT:
        async with tx():
            turn = await _turn(core, row["series"])
            row = await _issue(actor, turn, await _row(invoice_id, lock=True))
            row = await _settle_what_was_paid(core, actor, row)
        core.news.set()
    if row["status"] == InvoiceStatus.VOID:
        raise IllegalState("This draft was thrown away. Create another one.")
    return Invoice.of(row)


@dataclass(frozen=True, slots=True)
class _Turn:
    """The right to give the next number, until the transaction ends."""

    series: str
    counter: str
    year: int
    sequence: int
    at: datetime

    @property
    def number(self) -> str:
        return f"{self.series}-{self.year}-{self.sequence:06d}"


async def _turn(core: Core, series: str) -> _Turn:
    """Waits for the counter. The time is taken after that, so that it follows the numbers."""
    year = _year(core.clock())
    while True:
        counter = f"{series}-{year}"
        row = await _locked(counter)
        # Clocks of two machines differ: nobody issues before the one who came before.
        at = max(core.clock(), row["last_at"]) if row["last_at"] else core.clock()
        if _year(at) == year:
            return _Turn(series, counter, year, row["reached"] + 1, at)
        year = _year(at)  # the year ended while we waited


_COUNTER = "SELECT reached, last_at FROM document_counter WHERE name = $1 FOR UPDATE"


async def _locked(counter: str) -> Row:
    rows = await fetch(_COUNTER, counter)
    if not rows:
        await fetch(
            "INSERT INTO document_counter (name) VALUES ($1) ON CONFLICT DO NOTHING", counter
        )
        rows = await fetch(_COUNTER, counter)
    return rows[0]


def _year(moment: datetime) -> int:
    return moment.astimezone(KIGALI).year


_ISSUE = f"""
WITH counter AS (
    UPDATE document_counter SET reached = $4, last_at = $5 WHERE name = $2
), changed AS (
    UPDATE invoice SET status = 'ISSUED', version = version + 1, year = $3, sequence = $4,
        number = $6, issued_at = $5, updated_at = $5,
        seller = (SELECT jsonb_build_object('name', name, 'tin', tin, 'address', address,
            'phone', phone, 'email', email, 'vat_registered', vat_registered, 'footer', footer)
            FROM merchant WHERE id = 1),
        buyer = nullif(coalesce((SELECT jsonb_build_object('reference', reference, 'name', name,
            'email', email, 'phone', phone) FROM customer WHERE customer.id = invoice.customer_id),
            '{{}}') || coalesce(buyer, '{{}}'), '{{}}')
    WHERE id = $1 RETURNING *
), event AS (
    INSERT INTO event (type, data)
    SELECT 'invoice.issued', jsonb_build_object('invoice',
        to_jsonb(changed) #- '{{buyer,phone}}' #- '{{buyer,email}}') FROM changed
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $7, $8, $9, 'invoice:' || id, $11::jsonb, $12 FROM changed WHERE $10::text IS NOT NULL
)
SELECT * FROM changed"""


async def _issue(actor: Actor, turn: _Turn, row: Row) -> Row:
    """The document, whose row is locked, under its number; as it is, when somebody was faster."""
    if row["status"] != InvoiceStatus.DRAFT:
        return row
    [issued] = await fetch(
        _ISSUE,
        row["id"],
        turn.counter,
        turn.year,
        turn.sequence,
        turn.at,
        turn.number,
        *audit_values(actor.kind, actor.name, "invoice.issued", "invoice", {"number": turn.number}),
    )
    return issued


_MARK_PAID = f"""
WITH changed AS (
    UPDATE invoice SET status = 'PAID', version = version + 1, paid_at = $2, updated_at = $3
    WHERE id = $1 AND status = 'ISSUED' RETURNING *
), event AS (
    INSERT INTO event (type, data)
    SELECT 'invoice.paid', jsonb_build_object('invoice',
        to_jsonb(changed) #- '{{buyer,phone}}' #- '{{buyer,email}}') FROM changed
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $4, $5, $6, 'invoice:' || id, $8::jsonb, $9 FROM changed WHERE $7::text IS NOT NULL
)
SELECT * FROM changed"""


async def _mark_paid(core: Core, actor: Actor, row: Row, payment: Payment) -> Row:
    """The invoice after it was paid; as it is, when it was before."""
    now = core.clock()
    rows = await fetch(
        _MARK_PAID,
        row["id"],
        payment.completed_at or now,
        now,
        *audit_values(
            actor.kind, actor.name, "invoice.paid", "invoice", {"payment": payment.reference}
        ),
    )
    return rows[0] if rows else row


async def _settle_what_was_paid(core: Core, actor: Actor, row: Row) -> Row:
    """An invoice that is issued after its payment was paid: the event of that is long gone."""
    if row["status"] != InvoiceStatus.ISSUED or row["payment_id"] is None:
        return row
    [payment] = await fetch("SELECT * FROM payment WHERE id = $1", row["payment_id"])
    if PaymentStatus(payment["status"]) not in _PAID:
        return row
    paid = await _mark_paid(core, actor, row, Payment.of(payment))
    for refund in await fetch(
        "SELECT * FROM refund WHERE payment_id = $1 AND status = 'SUCCEEDED' ORDER BY completed_at",
        row["payment_id"],
    ):
        await _credit(core, actor, RefundRequest.of(refund))
    return paid


# ── what follows from a payment and from a refund ────────────────────────────────────────────────


async def _act(core: Core, event: EventRecord) -> None:
    # One order for all who issue: the invoices' counter, an invoice, the credit notes' counter.
    # The next event of the batch may want the first again, so that a refund takes it too.
    turn = await _turn(core, SERIES[InvoiceKind.INVOICE])
    if event.type == "payment.succeeded" and event.payment is not None:
        await _invoice_payment(core, turn, event.payment)
    elif event.type == "refund.succeeded" and event.refund is not None:
        await _credit(core, SYSTEM, event.refund)


FOLLOWER = Follower(name="invoices", types=("payment.succeeded", "refund.succeeded"), act=_act)

_OF_PAYMENT = (
    "SELECT * FROM invoice WHERE payment_id = $1 AND kind = 'INVOICE' AND status <> 'VOID' "
    "FOR UPDATE"
)


async def _invoice_payment(core: Core, turn: _Turn, payment: Payment) -> None:
    """Issues the invoice of a payment that was paid, and marks it paid."""
    rows = await fetch(_OF_PAYMENT, payment.id)
    if not rows:
        rows = await _insert(await _of_payment(core, payment))
    if not rows:  # somebody made a draft this moment
        rows = await fetch(_OF_PAYMENT, payment.id)
    [row] = rows
    row = await _issue(SYSTEM, turn, row)
    await _mark_paid(core, SYSTEM, row, payment)


async def _of_payment(core: Core, payment: Payment) -> Draft:
    rules = await tax_rules(core)
    return Draft(
        kind=InvoiceKind.INVOICE,
        currency=payment.amount.currency,
        lines=[whole_line(rules, payment.amount, payment.description, payment.reference)],
        customer_id=payment.customer_id,
        payment_id=payment.id,
    )


_INSERT = f"WITH wanted AS (SELECT $1::jsonb AS draft), {DRAFTED} SELECT * FROM drafted"


async def _insert(draft: Draft) -> list[Row]:
    """The draft's row; none when there is such a document already."""
    return await fetch(_INSERT, draft.json())


async def _credit(core: Core, actor: Actor, refund: RefundRequest) -> None:
    """A credit note for what was given back, once."""
    rows = await fetch(_OF_PAYMENT, refund.payment_id)
    if not rows or rows[0]["number"] is None:
        await _refuse_if_owed(refund.payment_id)
        return  # paid before there were invoices; a draft is credited when it is issued
    [original] = rows
    if not await _was_invoiced(refund):
        return
    if await fetch("SELECT FROM invoice WHERE refund_id = $1", refund.id):
        return
    draft = Draft(
        kind=InvoiceKind.CREDIT_NOTE,
        currency=original["currency"],
        lines=await _credit_lines(original["id"], refund.amount.minor),
        customer_id=original["customer_id"],
        payment_id=original["payment_id"],
        refund_id=refund.id,
        original_id=original["id"],
        # It is made out to whom the invoice was made out to, whatever became of the customer.
        buyer=json_of(original["buyer"]),
        note=refund.reason,
    )
    turn = await _turn(core, SERIES[InvoiceKind.CREDIT_NOTE])
    [row] = await _insert(draft)
    await _issue(actor, turn, row)


async def _refuse_if_owed(payment_id: UUID) -> None:
    """Raises when the payment's invoice could not be made yet: the credit note waits for it."""
    if await fetch(
        "SELECT FROM follower_debt d JOIN event e ON e.position = d.position "
        "WHERE d.follower = $1 AND e.payment_id = $2 AND e.type = 'payment.succeeded'",
        FOLLOWER.name,
        payment_id,
    ):
        raise IllegalState("The payment's invoice is not there yet: its credit note waits for it.")


async def _was_invoiced(refund: RefundRequest) -> bool:
    """Whether the money that goes back is what the invoice is about.

    A payer who paid twice has one invoice, for what came first: what came second was never sold.
    """
    [row] = await fetch(
        "SELECT (SELECT attempt_id FROM refund WHERE id = $2) AS refunded, "
        "(SELECT id FROM payment_attempt WHERE payment_id = $1 "
        "AND status IN ('SUCCEEDED', 'REVERSED') ORDER BY completed_at, number LIMIT 1) AS paid",
        refund.payment_id,
        refund.id,
    )
    return bool(row["refunded"] == row["paid"])


async def _credit_lines(original_id: UUID, amount: int) -> list[Line]:
    rows = await fetch(
        "SELECT l.*, coalesce(c.credited, 0)::bigint AS credited FROM invoice_line l LEFT JOIN ("
        "SELECT place, sum(l.total) AS credited FROM invoice_line l JOIN invoice i "
        "ON i.id = l.invoice_id WHERE i.original_id = $1 AND i.status <> 'VOID' GROUP BY place"
        ") c USING (place) WHERE invoice_id = $1 ORDER BY place",
        original_id,
    )
    sold = [Sold(row["total"], row["tax"], row["tax_rate"], row["credited"]) for row in rows]
    parts = zip(rows, credit(sold, amount), strict=True)
    return [_credit_line(row, total, tax) for row, (total, tax) in parts if total]


def _credit_line(row: Row, total: int, tax: int) -> Line:
    whole = total == row["total"]
    return Line(
        place=row["place"],
        description=row["description"],
        quantity=row["quantity"] if whole else 1000,
        unit_price=row["unit_price"] if whole else total,
        tax_class=row["tax_class"],
        tax_rate=row["tax_rate"],
        tax=tax,
        total=total,
        item_code=row["item_code"],
    )


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


_FOUND = "SELECT * FROM invoice WHERE id = $1"
_LOCKED = "SELECT * FROM invoice WHERE id = $1 FOR UPDATE"


async def _row(invoice_id: UUID, *, lock: bool = False) -> Row:
    rows = await fetch(_LOCKED if lock else _FOUND, invoice_id)
    if not rows:
        raise NotFound(field=["id"])
    return rows[0]


async def invoice(
    actor: Actor, *, id: UUID | None = None, number: str | None = None
) -> Invoice | None:
    """A document by id or number; None when there is none, or the actor may not see it.

    Who may see a payment may see its invoice and its credit notes: payers see their own.
    """
    if id is not None:
        rows = await fetch(_FOUND, id)
    elif number is not None and printable(number) == number:
        rows = await fetch("SELECT * FROM invoice WHERE number = $1", number.strip().upper())
    else:
        rows = []
    if not rows or not may_see(actor, rows[0]["payment_id"]):
        return None
    return Invoice.of(rows[0])


def may_see(actor: Actor, payment_id: UUID | None) -> bool:
    return actor.may(Permission.READ_INVOICES) or (
        payment_id is not None and actor.may_see(payment_id)
    )


_LIST = """
SELECT * FROM invoice WHERE ($1::text[] IS NULL OR status = ANY($1))
AND ($2::text IS NULL OR kind = $2)
AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid))
ORDER BY created_at DESC, id DESC LIMIT $5"""


async def invoices(
    actor: Actor,
    status: Sequence[InvoiceStatus] | None = None,
    kind: InvoiceKind | None = None,
    first: int = 25,
    after: str | None = None,
) -> Page[Invoice]:
    """A page of documents, the newest first. Raises Forbidden; Invalid for a strange cursor."""
    actor.require(Permission.READ_INVOICES)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    mark, mark_id = _mark(after) if after is not None else (None, None)
    words = [str(one) for one in status] if status is not None else None
    rows = await fetch(_LIST, words, kind, mark, mark_id, first + 1)
    shown = [Invoice.of(row) for row in rows[:first]]
    return Page(
        items=shown,
        cursors=[make_cursor([one.created_at.isoformat(), one.id.hex]) for one in shown],
        has_next=len(rows) > first,
    )


def _mark(after: str) -> tuple[datetime, UUID]:
    moment, hex_id = read_cursor(after, 2)
    try:
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(hex=hex_id)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Invalid("This cursor is not one of ours.", field=["after"]) from error


async def of_payments(payment_ids: Sequence[UUID]) -> dict[UUID, Invoice]:
    """The invoice of each payment that has one."""
    rows = await fetch(
        "SELECT * FROM invoice WHERE payment_id = ANY($1) AND kind = 'INVOICE' "
        "AND status <> 'VOID'",
        list(payment_ids),
    )
    return {row["payment_id"]: Invoice.of(row) for row in rows}


async def by_ids(ids: Sequence[UUID]) -> dict[UUID, Invoice]:
    rows = await fetch("SELECT * FROM invoice WHERE id = ANY($1)", list(ids))
    return {row["id"]: Invoice.of(row) for row in rows}


async def lines(invoice_ids: Sequence[UUID]) -> dict[UUID, list[InvoiceLine]]:
    """The lines of each document, in their order."""
    found: dict[UUID, list[InvoiceLine]] = {invoice_id: [] for invoice_id in invoice_ids}
    for row in await fetch(
        "SELECT l.*, i.currency FROM invoice_line l JOIN invoice i ON i.id = l.invoice_id "
        "WHERE invoice_id = ANY($1) ORDER BY invoice_id, place",
        list(invoice_ids),
    ):
        found[row["invoice_id"]].append(InvoiceLine.of(row))
    return found


async def credit_notes(original_ids: Sequence[UUID]) -> dict[UUID, list[Invoice]]:
    """The credit notes of each invoice, in the order of their numbers."""
    found: dict[UUID, list[Invoice]] = {original_id: [] for original_id in original_ids}
    for row in await fetch(
        "SELECT * FROM invoice WHERE original_id = ANY($1) AND status <> 'VOID' "
        "ORDER BY year, sequence",
        list(original_ids),
    ):
        found[row["original_id"]].append(Invoice.of(row))
    return found


# ── proof ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberLine:
    """The numbers of a series and year. reached: what the counter says was given last.

    out_of_order: numbers that were given before the one in front of them.
    """

    name: str
    issued: int
    first: int
    last: int
    reached: int
    out_of_order: int

    @property
    def whole(self) -> bool:
        """1 to n, none missing, none twice, each after the one before it."""
        gapless = self.last == self.issued == self.reached and self.first == min(1, self.issued)
        return gapless and self.out_of_order == 0


# Of `sequence` alone, which is there with the number: the index has all of it.
_GAPS = """
SELECT coalesce(given.name, counter.name) AS name, series, year, coalesce(issued, 0) AS issued,
    coalesce(first, 0) AS first, coalesce(last, 0) AS last, coalesce(reached, 0) AS reached
FROM (
    SELECT series || '-' || year AS name, series, year, count(*) AS issued,
        min(sequence) AS first, max(sequence) AS last
    FROM invoice WHERE sequence IS NOT NULL GROUP BY series, year
) AS given FULL JOIN document_counter AS counter ON counter.name = given.name
ORDER BY 1"""
_DISORDER = """
SELECT count(*) FILTER (WHERE issued_at < before) AS disorder, max(sequence) AS last FROM (
    SELECT sequence, issued_at, lag(issued_at) OVER (ORDER BY sequence) AS before FROM (
        SELECT sequence, issued_at FROM invoice
        WHERE series = $1 AND year = $2 AND sequence >= $3 ORDER BY sequence LIMIT $4
    ) AS part
) AS numbered"""
# Documents of one statement: millions take longer than a statement may.
_PART = 50_000


async def gaps() -> list[NumberLine]:
    """Every series and year with its numbers; `whole` says whether one is missing."""
    return [
        NumberLine(
            **{name: row[name] for name in ("name", "issued", "first", "last", "reached")},
            out_of_order=await _out_of_order(row),
        )
        for row in await fetch(_GAPS)
    ]


async def _out_of_order(row: Row) -> int:
    found, at = 0, row["first"]
    while at < row["last"]:
        # Each part begins with the last one of the part before.
        [part] = await fetch(_DISORDER, row["series"], row["year"], at, _PART)
        found, at = found + part["disorder"], part["last"]
    return found
