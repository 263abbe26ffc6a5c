"""Fiscal receipts: which invoices get one, how far each is, and what a person does about one.

A receipt is queued when its invoice is paid, or its credit note issued, and `signing` has the
device sign it. A document that the device may have taken is never sent under a second number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import orjson

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch
from dusangire.errors import Conflict, IllegalState, Invalid, NotFound
from dusangire.fiscal import FiscalDescription, Label, PartialRefunds, Signed
from dusangire.followers import Follower
from dusangire.invoicing.vat import tax_of
from dusangire.permissions import Permission
from dusangire.records import Invoice, InvoiceKind, InvoiceStatus, json_of
from dusangire.tail import EventRecord
from dusangire.text import clean

_MAX_PAGE = 100


class ReceiptStatus(StrEnum):
    """How far a fiscal receipt is.

    UNKNOWN: it was sent and nobody saw the answer; it is sent again under the same number.
    REJECTED: the device did not take it; a person corrects what is wrong, and those behind wait.
    NEEDS_RECEIPT: the device has it, and a person has to copy what it signed.
    """

    QUEUED = "QUEUED"
    SENDING = "SENDING"
    SIGNED = "SIGNED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"
    NEEDS_RECEIPT = "NEEDS_RECEIPT"


@dataclass(frozen=True, slots=True, kw_only=True)
class FiscalReceipt:
    """A fiscal receipt as it is now. What the device gives is None until it is SIGNED.

    invc_no: our number of it at the device. rcpt_no of its label, tot_rcpt_no of all.
    sale_id: the invoice that was sold, or that a credit note is about.
    doubted: it was sent at least once without anybody seeing the answer.
    """

    id: UUID
    place: int
    invoice_id: UUID
    sale_id: UUID
    label: Label
    status: ReceiptStatus
    version: int
    invc_no: int | None
    org_invc_no: int | None
    rcpt_no: int | None
    tot_rcpt_no: int | None
    sdc_id: str | None
    mrc_no: str | None
    internal_data: str | None
    receipt_signature: str | None
    sdc_datetime: datetime | None
    qr_payload: str | None
    error: Mapping[str, Any] | None
    doubted: bool
    tries: int
    copy_count: int
    completed_by: str | None
    created_at: datetime
    signed_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "FiscalReceipt":
        names = {name for name in cls.__slots__ if name not in {"label", "status", "error"}}
        return cls(
            **{name: row[name] for name in names},
            label=Label(row["fiscal_label"]),
            status=ReceiptStatus(row["status"]),
            error=json_of(row["error"]),
        )

    @property
    def number(self) -> str | None:
        """As it is printed: 27/32 NS."""
        if self.rcpt_no is None:
            return None
        return f"{self.rcpt_no}/{self.tot_rcpt_no} {self.label}"


def in_groups(text: str) -> str:
    """Internal data and signatures as they are printed: ABCD-EFGH-IJ."""
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


# ── what follows an invoice ──────────────────────────────────────────────────────────────────────


async def queue_up(core: Core, event: EventRecord) -> None:
    """Queues what a paid invoice or an issued credit note needs; once, however often it is told."""
    plugin, invoice = core.plugins.fiscal, event.invoice
    if plugin is None:
        raise IllegalState("No fiscal device is configured.")
    if invoice is None:
        return
    if invoice.kind is InvoiceKind.INVOICE and invoice.status is InvoiceStatus.PAID:
        document = await _document(invoice)
        await _queue(plugin.name, plugin.description, invoice.id, invoice.id, Label.NS, document)
    elif invoice.kind is InvoiceKind.CREDIT_NOTE and invoice.number is not None:
        await _queue_refund(plugin.name, plugin.description, invoice)


# A process that was started without the device must not pass over what others declare. And a
# device that is new signs no sales of the past: nobody expects them in its journal.
FOLLOWER = Follower(
    name="fiscal",
    types=("invoice.",),
    act=queue_up,
    runs=lambda core: core.plugins.fiscal is not None,
    from_now=True,
)


async def _document(invoice: Invoice, reason: str | None = None) -> dict[str, Any]:
    """What is declared of an invoice, as it is kept: without whom it was sold to."""
    lines = await fetch(
        "SELECT place, description, quantity, unit_price, tax_class, tax_rate, tax, total, "
        "item_code FROM invoice_line WHERE invoice_id = $1 ORDER BY place",
        invoice.id,
    )
    paid_with = await fetch(
        "SELECT g.plugin FROM payment_attempt a JOIN gateway_account g ON g.id = a.gateway_id "
        "JOIN invoice i ON i.payment_id = a.payment_id "
        "WHERE i.id = $1 AND a.status = 'SUCCEEDED' ORDER BY a.number LIMIT 1",
        invoice.original_id or invoice.id,
    )
    return {
        "number": invoice.number,
        "issued_at": invoice.issued_at,
        "currency": invoice.total.currency,
        "tax": invoice.tax.minor,
        "total": invoice.total.minor,
        "method": paid_with[0]["plugin"] if paid_with else None,
        "reason": reason,
        "lines": lines,
    }


async def _queue_refund(plugin: str, description: FiscalDescription, note: Invoice) -> None:
    sales = await fetch(
        "SELECT id, document FROM fiscal_receipt WHERE sale_id = $1 AND fiscal_label = 'NS' "
        "ORDER BY place DESC LIMIT 1",
        note.original_id,
    )
    if not sales:
        await _assert_no_sale_to_come(note)
        # Sold before there was a device: there is no receipt that this one could name.
        return
    [sale] = sales
    document = await _document(note, note.note or "refund")
    sold = json_of(sale["document"])
    assert note.original_id is not None
    whole = document["total"] == sold["total"]
    if whole or description.partial_refunds is PartialRefunds.ALLOW:
        await _queue(plugin, description, note.id, note.original_id, Label.NR, document, sale["id"])
        return
    back = {
        **{name: sold[name] for name in ("lines", "tax", "total")},
        **{name: document[name] for name in document.keys() - {"lines", "tax", "total"}},
    }
    refunded = await _queue(
        plugin, description, note.id, note.original_id, Label.NR, back, sale["id"]
    )
    left = {**sold, **remainder(sold, document), "number": document["number"]}
    await _queue(plugin, description, note.id, note.original_id, Label.NS, left, refunded)


async def _assert_no_sale_to_come(note: Invoice) -> None:
    """Raises when the sale's own event is still to be acted on: then the note comes again."""
    owed = await fetch(
        "SELECT 1 FROM follower_debt d JOIN event e USING (position) WHERE d.follower = $1 "
        "AND e.data->'invoice'->>'id' = $2",
        FOLLOWER.name,
        str(note.original_id),
    )
    if owed:
        raise IllegalState("The sale itself is not queued yet.")


def remainder(sold: Mapping[str, Any], credited: Mapping[str, Any]) -> dict[str, Any]:
    """What stays sold, line by line: the credit of each tax class is taken from its last lines."""
    back: dict[tuple[str, int], int] = {}
    for line in credited["lines"]:
        key = (line["tax_class"], line["tax_rate"])
        back[key] = back.get(key, 0) + line["total"]
    lines = []
    for line in reversed(sold["lines"]):
        key = (line["tax_class"], line["tax_rate"])
        less = min(back.get(key, 0), line["total"])
        back[key] = back.get(key, 0) - less
        if line["total"] > less:
            lines.append(_part(line, line["total"] - less) if less else line)
    if any(back.values()):
        raise Invalid("More was credited of a tax class than was sold.")
    lines.reverse()
    return {
        "lines": lines,
        "tax": sum(line["tax"] for line in lines),
        "total": sum(line["total"] for line in lines),
    }


def _part(line: Mapping[str, Any], total: int) -> dict[str, Any]:
    tax = tax_of(total, line["tax_rate"])
    return {**line, "quantity": 1000, "unit_price": total, "tax": tax, "total": total}


_QUEUE = f"""WITH queued AS (
    INSERT INTO fiscal_receipt (id, device_id, invoice_id, sale_id, follows_id, fiscal_label,
        document, status, error)
    VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9::jsonb)
    ON CONFLICT (invoice_id, fiscal_label) DO NOTHING RETURNING id
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $10, $11, $12, $13, $14::jsonb, $15 FROM queued
)
SELECT id FROM queued UNION ALL
SELECT id FROM fiscal_receipt WHERE invoice_id = $3 AND fiscal_label = $6"""


async def _queue(
    plugin: str,
    description: FiscalDescription,
    invoice_id: UUID,
    sale_id: UUID,
    label: Label,
    document: Mapping[str, Any],
    follows_id: UUID | None = None,
) -> UUID:
    [device] = await fetch(
        "INSERT INTO fiscal_device (id, tin, branch, plugin) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (tin, branch) DO UPDATE SET plugin = excluded.plugin RETURNING id",
        uuid4(),
        description.tin,
        description.branch,
        plugin,
    )
    problem = cannot_be_declared(description, document)
    status = ReceiptStatus.REJECTED if problem else ReceiptStatus.QUEUED
    [row] = await fetch(
        _QUEUE,
        uuid4(),
        device["id"],
        invoice_id,
        sale_id,
        follows_id,
        label,
        orjson.dumps(document).decode(),
        status,
        orjson.dumps(problem).decode() if problem else None,
        *audit_values(
            "system",
            "system",
            f"fiscal_receipt.{status.lower()}",
            f"invoice:{invoice_id}",
            {"label": label, **(problem or {})},
        ),
    )
    queued: UUID = row["id"]
    return queued


def cannot_be_declared(
    description: FiscalDescription, document: Mapping[str, Any]
) -> dict[str, str] | None:
    """Why the device could never sign it: found before a number is spent on it."""
    if document["currency"] not in description.currencies:
        return {
            "code": "CURRENCY",
            "message": f"{description.name} does not sign in {document['currency']}.",
        }
    classes = {line["tax_class"] for line in document["lines"]} - description.tax_classes
    if classes:
        return {
            "code": "TAX_CLASS",
            "message": f"{description.name} has no class for {', '.join(sorted(classes))}.",
        }
    if not document["lines"]:
        return {"code": "NO_LINES", "message": "There is nothing in it that could be declared."}
    return None


# ── looking at them ──────────────────────────────────────────────────────────────────────────────


async def of_invoices(invoice_ids: Sequence[UUID]) -> dict[UUID, FiscalReceipt]:
    """The receipt of each invoice and credit note that has one. A reissued rest is beside it."""
    rows = await fetch(
        "SELECT DISTINCT ON (r.invoice_id) r.* FROM fiscal_receipt r "
        "WHERE r.invoice_id = ANY($1) ORDER BY r.invoice_id, r.place",
        list(invoice_ids),
    )
    return {row["invoice_id"]: FiscalReceipt.of(row) for row in rows}


async def of_sale(sale_id: UUID) -> list[FiscalReceipt]:
    """Every receipt about one sale: its own, and those of its credit notes, in their order."""
    rows = await fetch("SELECT * FROM fiscal_receipt WHERE sale_id = $1 ORDER BY place", sale_id)
    return [FiscalReceipt.of(row) for row in rows]


async def listed(
    actor: Actor, statuses: Sequence[ReceiptStatus] | None, first: int, after: int | None = None
) -> list[FiscalReceipt]:
    """Receipts by their place in the line, the oldest first. Raises Forbidden."""
    actor.require(Permission.READ_INVOICES)
    rows = await fetch(
        "SELECT * FROM fiscal_receipt WHERE ($1::text[] IS NULL OR status = ANY($1)) "
        "AND place > $2 ORDER BY place LIMIT $3",
        None if statuses is None else list(statuses),
        after or 0,
        min(max(first, 1), _MAX_PAGE),
    )
    return [FiscalReceipt.of(row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsigned:
    """How far the line is behind. oldest_seconds: how long the first in it has waited.

    stopped: in words, why nothing can be sent; needing: how many a person has to look at.
    """

    waiting: int
    needing: int
    oldest_seconds: float
    stopped: str | None


async def unsigned() -> Unsigned:
    """What is not signed yet, of all devices."""
    [row] = await fetch(
        "SELECT count(*) AS waiting, "
        "count(*) FILTER (WHERE status IN ('REJECTED', 'NEEDS_RECEIPT')) AS needing, "
        "coalesce(extract(epoch FROM now() - min(created_at) "
        "FILTER (WHERE status <> 'REJECTED' OR invc_no IS NOT NULL)), 0)::float8 AS oldest, "
        "min(invc_no || ': ' || (error->>'code') || ' ' || (error->>'message')) "
        "FILTER (WHERE status = 'REJECTED' AND invc_no IS NOT NULL) AS rejected, "
        "(SELECT min((error->>'code') || ' ' || (error->>'message')) FROM fiscal_device "
        "WHERE error IS NOT NULL AND initialized_at IS NULL) AS device "
        "FROM fiscal_receipt WHERE status <> 'SIGNED'"
    )
    return Unsigned(
        waiting=row["waiting"],
        needing=row["needing"],
        oldest_seconds=row["oldest"],
        stopped=row["rejected"] or row["device"],
    )


async def count_copy(receipt_id: UUID) -> int:
    """One more copy of a signed receipt is printed: gives which one it is, from 1 on."""
    rows = await fetch(
        "UPDATE fiscal_receipt SET copy_count = copy_count + 1 WHERE id = $1 "
        "AND status = 'SIGNED' RETURNING copy_count",
        receipt_id,
    )
    if not rows:
        raise IllegalState("There is no signed receipt that could be copied.")
    count: int = rows[0]["copy_count"]
    return count


# ── what a person does ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteReceipt:
    """What stands on the device's own receipt, typed in by a person.

    evidence: where the person read it, such as "printout of the VSDC's journal, page 3".
    """

    id: UUID
    receipt_number: int
    total_number: int
    sdc_id: str
    mrc_no: str
    internal_data: str
    signature: str
    signed_at: datetime
    evidence: str


_SIGN = f"""WITH signed AS (
    UPDATE fiscal_receipt SET status = 'SIGNED', version = version + 1, rcpt_no = $2,
        tot_rcpt_no = $3, sdc_id = $4, mrc_no = $5, internal_data = $6, receipt_signature = $7,
        sdc_datetime = $8, qr_payload = $9, raw_answer = $10::jsonb, completed_by = $11,
        evidence = $12, error = NULL, signed_at = now(), updated_at = now()
    WHERE id = $1 AND status = ANY($13) RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $14, $15, $16, 'invoice:' || signed.invoice_id, $18::jsonb, $19 FROM signed
    WHERE $17::text IS NOT NULL
)
SELECT * FROM signed"""


async def sign(
    description: FiscalDescription,
    receipt_id: UUID,
    signed: Signed,
    *,
    actor: Actor,
    statuses: Sequence[ReceiptStatus],
    evidence: str | None = None,
) -> FiscalReceipt | None:
    """Keeps what the device signed. None when the receipt is in none of these statuses any more."""
    by_hand = evidence is not None
    rows = await fetch(
        _SIGN,
        receipt_id,
        signed.receipt_number,
        signed.total_number,
        signed.sdc_id,
        signed.mrc_no,
        signed.internal_data,
        signed.signature,
        signed.signed_at,
        qr_payload(description, signed),
        orjson.dumps(signed.raw).decode(),
        actor.name if by_hand else None,
        evidence,
        list(statuses),
        *audit_values(
            actor.kind,
            actor.name,
            "fiscal_receipt.completed" if by_hand else "fiscal_receipt.signed",
            "",
            {
                "receipt": f"{signed.receipt_number}/{signed.total_number}",
                "sdc": signed.sdc_id,
                **({"evidence": evidence} if by_hand else {}),
            },
        ),
    )
    return FiscalReceipt.of(rows[0]) if rows else None


def qr_payload(description: FiscalDescription, signed: Signed) -> str:
    """The text behind the QR code: 23112026#101531#SDC010000005#27#…#…"""
    there = signed.signed_at.astimezone(description.zone)
    return description.qr_template.format(
        date=f"{there:%d%m%Y}",
        time=f"{there:%H%M%S}",
        sdc_id=signed.sdc_id,
        receipt_number=signed.receipt_number,
        internal_data=signed.internal_data,
        signature=signed.signature,
    )


async def complete(core: Core, actor: Actor, request: CompleteReceipt) -> FiscalReceipt:
    """A person enters what the device signed while nobody saw its answer.

    Raises Forbidden, ConfirmationNeeded, NotFound, Invalid, IllegalState, Conflict.
    """
    actor.require(Permission.SETTLE_FISCAL_RECEIPTS)
    evidence = clean(request.evidence, "evidence", limit=1000)
    signed = _typed_in(request)
    known = await _found(request.id)
    if known.status is not ReceiptStatus.NEEDS_RECEIPT:
        raise IllegalState(f"The receipt is {known.status}: there is nothing to type in.")
    plugin = core.plugins.fiscal
    if plugin is None:
        raise IllegalState("No fiscal device is configured.")
    done = await sign(
        plugin.description,
        request.id,
        signed,
        actor=actor,
        statuses=[ReceiptStatus.NEEDS_RECEIPT],
        evidence=evidence,
    )
    if done is None:
        raise Conflict
    core.work.set()
    return done


def _typed_in(request: CompleteReceipt) -> Signed:
    if not 0 < request.receipt_number <= request.total_number < 2**53:
        raise Invalid(
            "Of RECEIPT NUMBER 27/32, 27 is the receipt's and 32 the total.",
            field=["receiptNumber"],
        )
    if request.signed_at.tzinfo is None:
        raise Invalid("The time needs a zone, such as +02:00.", field=["signedAt"])
    return Signed(
        receipt_number=request.receipt_number,
        total_number=request.total_number,
        sdc_id=_characters(request.sdc_id, "sdcId", 12),
        mrc_no=_characters(request.mrc_no, "mrcNo", 11),
        internal_data=_characters(request.internal_data, "internalData", 26),
        signature=_characters(request.signature, "signature", 16),
        signed_at=request.signed_at,
    )


def _characters(text: str, name: str, length: int) -> str:
    """What is printed in groups of four, without the dashes."""
    plain = text.replace("-", "").replace(" ", "").upper()
    if len(plain) != length or not plain.isascii() or not plain.isalnum():
        raise Invalid(f"{name} has {length} letters and digits.", field=[name])
    return plain


_RETRY = f"""WITH retried AS (
    UPDATE fiscal_receipt SET status = 'QUEUED', version = version + 1, next_try_at = now(),
        updated_at = now(), error = NULL,
        invc_no = CASE WHEN $3 THEN NULL ELSE invc_no END
    WHERE id = $1 AND version = $2 AND status = 'REJECTED' RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $4, $5, $6, 'invoice:' || retried.invoice_id, $8::jsonb, $9 FROM retried
    WHERE $7::text IS NOT NULL
)
SELECT * FROM retried"""


async def retry(
    core: Core, actor: Actor, receipt_id: UUID, *, new_number: bool = False, evidence: str = ""
) -> FiscalReceipt:
    """Sends a rejected receipt again, after what was wrong with it was corrected.

    new_number: the device has another document under its number; `evidence` says how a person
        knows that it is another one. Never possible once an answer to it was lost.
    Raises Forbidden, ConfirmationNeeded, NotFound, Invalid, IllegalState, Conflict.
    """
    actor.require(
        Permission.SETTLE_FISCAL_RECEIPTS if new_number else Permission.RETRY_FISCAL_RECEIPTS
    )
    known = await _found(receipt_id)
    if known.status is not ReceiptStatus.REJECTED:
        raise IllegalState(f"The receipt is {known.status}; only a rejected one is sent again.")
    if new_number:
        evidence = clean(evidence, "evidence", limit=1000)
        if known.doubted:
            raise IllegalState("The device may have this sale: under a new number it counts twice.")
    rows = await fetch(
        _RETRY,
        receipt_id,
        known.version,
        new_number,
        *audit_values(
            actor.kind,
            actor.name,
            "fiscal_receipt.retried",
            "",
            {
                "invc_no": known.invc_no,
                "new_number": new_number,
                **({"evidence": evidence} if new_number else {}),
            },
        ),
    )
    if not rows:
        raise Conflict
    core.work.set()
    return FiscalReceipt.of(rows[0])


async def _found(receipt_id: UUID) -> FiscalReceipt:
    rows = await fetch("SELECT * FROM fiscal_receipt WHERE id = $1", receipt_id)
    if not rows:
        raise NotFound(field=["id"])
    return FiscalReceipt.of(rows[0])
