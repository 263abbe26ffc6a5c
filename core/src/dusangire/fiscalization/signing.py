"""Has a device sign what is queued: one document at a time, in the order of their numbers.

Who holds the device's row sends; when they die, their lease ends and the next one goes on with the
same document under the same number. Those behind a number wait until the device has it for certain
or a person said what to do, because a device takes growing numbers only.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog

from dusangire.access import SYSTEM
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch, spawn, tx
from dusangire.errors import Retryable
from dusangire.fiscal import (
    AlreadyDeclared,
    Buyer,
    Declared,
    FiscalDevice,
    FiscalDocument,
    FiscalItem,
    FiscalLine,
    Initialized,
    Label,
    NotSent,
    Rejected,
    Seller,
    Signed,
    SigningOutcome,
    Unknown,
)
from dusangire.fiscalization import receipts
from dusangire.fiscalization.plugin import FiscalPlugin
from dusangire.fiscalization.receipts import FiscalReceipt, ReceiptStatus
from dusangire.records import json_of

log = structlog.get_logger(__name__)

_UNSETTLED = [status for status in ReceiptStatus if status is not ReceiptStatus.SIGNED]

# The first that may be sent: nothing else has a number and no end, and what it follows is signed.
_NEXT = """
SELECT r.*, f.invc_no AS follows_no FROM fiscal_receipt r
JOIN fiscal_device d ON d.id = r.device_id
LEFT JOIN fiscal_receipt f ON f.id = r.follows_id
WHERE d.tin = $1 AND d.branch = $2 AND r.status IN ('QUEUED', 'SENDING', 'UNKNOWN')
    AND r.next_try_at <= now() AND (f.id IS NULL OR f.status = 'SIGNED')
    AND NOT EXISTS (SELECT FROM fiscal_receipt o WHERE o.device_id = r.device_id AND o.id <> r.id
        AND o.invc_no IS NOT NULL AND o.status NOT IN ('SIGNED', 'NEEDS_RECEIPT'))
ORDER BY r.place LIMIT 1"""


async def sign_due(core: Core) -> int:
    """Sends the document whose turn it is; gives how many were sent. Any number of processes may
    call it at once: one of them sends."""
    plugin = core.plugins.fiscal
    if plugin is None:
        return 0
    line = (plugin.description.tin, plugin.description.branch)
    if not await fetch(_NEXT, *line):
        return 0
    lease = timedelta(seconds=4 * plugin.description.call_timeout)
    held = await fetch(
        "UPDATE fiscal_device SET holder = $3, lease_until = now() + $4::interval "
        "WHERE tin = $1 AND branch = $2 AND next_try_at <= now() "
        "AND (lease_until IS NULL OR lease_until < now()) RETURNING *",
        *line,
        uuid4(),
        lease,
    )
    if not held:
        return 0
    task = spawn(_take_turn(core, plugin, held[0]), name=f"sign {plugin.description.tin}")
    # Not awaited itself: whoever stops waiting must not end it between the call and its answer.
    await asyncio.wait([task])
    sent: int = task.result()
    return sent


async def _take_turn(core: Core, plugin: FiscalPlugin, device: Row) -> int:
    try:
        return await _turn(core, plugin, device)
    except Retryable:
        return 0  # its row says what is known


async def _turn(core: Core, plugin: FiscalPlugin, device: Row) -> int:
    """What is sent while the device's row is ours."""
    try:
        # Read again: another one may have sent it between our look and our turn.
        due = await fetch(_NEXT, plugin.description.tin, plugin.description.branch)
        if not due:
            return 0
        [row] = due
        # A process that died while it was sending this one left it so: nobody saw the answer.
        row["doubted"] = row["doubted"] or row["status"] == ReceiptStatus.SENDING
        async with plugin.opened(core.clock) as opened:
            if device["initialized_at"] is None and not await _ready(core, plugin, opened, device):
                return 0
            return await _send(core, plugin, opened, device, row)
    finally:
        await fetch(
            "UPDATE fiscal_device SET holder = NULL, lease_until = NULL "
            "WHERE id = $1 AND holder = $2",
            device["id"],
            device["holder"],
        )


# ── before the first sale ────────────────────────────────────────────────────────────────────────


async def _ready(core: Core, plugin: FiscalPlugin, opened: FiscalDevice, device: Row) -> bool:
    outcome = await plugin.initialize(opened)
    if isinstance(outcome, Initialized):
        await fetch(
            f"""WITH ready AS (
                UPDATE fiscal_device SET initialized_at = now(), error = NULL, tries = 0,
                    reached = greatest(reached, $2) WHERE id = $1 RETURNING reached
            )
            INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $3, $4, $5, $6, $7::jsonb, $8
            FROM ready""",
            device["id"],
            outcome.last_number,
            *_by_system(
                "fiscal_device.initialized",
                f"fiscal_device:{device['tin']}-{device['branch']}",
                {"last_number": outcome.last_number},
            ),
        )
        return True
    error = _error(outcome)
    log.error("fiscal device not ready", **error)
    await fetch(
        "UPDATE fiscal_device SET error = $2::jsonb, tries = tries + 1, "
        "next_try_at = now() + $3::interval WHERE id = $1",
        device["id"],
        orjson.dumps(error).decode(),
        _pause(core, device["tries"] + 1),
    )
    return False


_ITEM = """WITH known AS (
    SELECT id, number, declared_at FROM fiscal_item WHERE device_id = $1 AND key = $2
), device AS (
    UPDATE fiscal_device SET items = items + 1 WHERE id = $1 AND NOT EXISTS (SELECT FROM known)
    RETURNING items
), made AS (
    INSERT INTO fiscal_item (id, device_id, key, number)
    SELECT $3, $1, $2, items FROM device RETURNING id, number, declared_at
)
SELECT * FROM known UNION ALL SELECT * FROM made"""


async def _items(
    plugin: FiscalPlugin, opened: FiscalDevice, device: Row, lines: list[dict[str, Any]]
) -> list[FiscalItem] | Rejected | NotSent | Unknown:
    """The item of each line, known to the device; or why it does not know one."""
    items = []
    for line in lines:
        code = line["item_code"]
        # What has no code of its own, such as a payment's description, shares an item: every
        # sale would add one to the merchant's catalogue otherwise.
        key = f"{code or ''} {line['tax_class']}"
        [row] = await fetch(_ITEM, device["id"], key, uuid4())
        item = FiscalItem(
            number=row["number"],
            name=line["description"] if code else "Sale",
            code=code,
            tax_class=line["tax_class"],
            unit_price=line["unit_price"],
        )
        if row["declared_at"] is None:
            outcome = await plugin.declare(opened, item)
            if not isinstance(outcome, Declared):
                return outcome
            await fetch("UPDATE fiscal_item SET declared_at = now() WHERE id = $1", row["id"])
        items.append(item)
    return items


# ── a document ───────────────────────────────────────────────────────────────────────────────────


async def _send(
    core: Core, plugin: FiscalPlugin, opened: FiscalDevice, device: Row, row: Row
) -> int:
    document = json_of(row["document"])
    if problem := receipts.cannot_be_declared(plugin.description, document):
        # Queued for a device with other settings, or sent again by somebody who changed nothing.
        await _keep(core, row, Rejected(**problem))
        return 0
    items = await _items(plugin, opened, device, document["lines"])
    if not isinstance(items, list):
        await _keep(core, row, items)
        return 0
    sending = await _begin(plugin, device, row)
    if sending is None:
        return 0
    wanted = _document(sending, document, items, await _people(sending["invoice_id"]))
    # Whatever ends this process from here on, the row says that something may have left.
    outcome = await plugin.sign(opened, wanted)
    if isinstance(outcome, Signed):
        # An answer is an answer, even if the lease ended meanwhile and somebody else asked too.
        await receipts.sign(
            plugin.description, row["id"], outcome, actor=SYSTEM, statuses=_UNSETTLED
        )
        return 1
    await _keep(core, sending, outcome)
    return 1


async def _begin(plugin: FiscalPlugin, device: Row, row: Row) -> Row | None:
    """Writes down that it is sent, and under which number. None when it is not our turn any more.

    A row that is SENDING already was left behind by a process that died: that is a doubt.
    """
    async with tx():
        mine = await fetch(
            "SELECT reached FROM fiscal_device WHERE id = $1 AND holder = $2 FOR UPDATE",
            device["id"],
            device["holder"],
        )
        if not mine:
            return None
        number = row["invc_no"]
        if number is None:
            number = mine[0]["reached"] + 1
        lease = timedelta(seconds=2 * plugin.description.call_timeout)
        await fetch(
            "UPDATE fiscal_device SET reached = greatest(reached, $2), "
            "lease_until = now() + $3::interval WHERE id = $1",
            device["id"],
            number,
            lease,
        )
        found = await fetch(
            _SENDING,
            row["id"],
            row["version"],
            number,
            row["follows_no"] if row["fiscal_label"] == Label.NR else None,
            lease,
            *_by_system("fiscal_receipt.sending", "", {"invc_no": number}),
        )
    return found[0] if found else None


_SENDING = f"""WITH sending AS (
    UPDATE fiscal_receipt SET doubted = doubted OR status IN ('SENDING', 'UNKNOWN'),
        status = 'SENDING', version = version + 1, invc_no = $3, org_invc_no = $4,
        tries = tries + 1, next_try_at = now() + $5::interval, sent_at = now(), updated_at = now()
    WHERE id = $1 AND version = $2 AND status IN ('QUEUED', 'SENDING', 'UNKNOWN') RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $6, $7, $8, 'invoice:' || sending.invoice_id, $10::jsonb, $11 FROM sending
    WHERE $9::text IS NOT NULL
)
SELECT * FROM sending"""


async def _people(invoice_id: UUID) -> tuple[Buyer, Seller]:
    """Read when they are needed: what the receipt keeps names nobody."""
    [row] = await fetch("SELECT buyer, seller FROM invoice WHERE id = $1", invoice_id)
    buyer, seller = json_of(row["buyer"]) or {}, json_of(row["seller"]) or {}
    return (
        Buyer(
            name=buyer.get("name"),
            tin=buyer.get("tin"),
            phone=buyer.get("phone"),
            purchase_code=buyer.get("purchase_code"),
        ),
        Seller(name=seller.get("name"), address=seller.get("address")),
    )


def _document(
    row: Row, document: Mapping[str, Any], items: list[FiscalItem], people: tuple[Buyer, Seller]
) -> FiscalDocument:
    buyer, seller = people
    return FiscalDocument(
        number=row["invc_no"],
        label=Label(row["fiscal_label"]),
        original_number=row["org_invc_no"],
        invoice_number=document["number"],
        issued_at=datetime.fromisoformat(document["issued_at"]),
        currency=document["currency"],
        lines=tuple(_line(line, item) for line, item in zip(document["lines"], items, strict=True)),
        tax=document["tax"],
        total=document["total"],
        method=document["method"],
        reason=document["reason"],
        buyer=buyer,
        seller=seller,
    )


def _line(line: Mapping[str, Any], item: FiscalItem) -> FiscalLine:
    quantity = Decimal(line["quantity"]) / 1000
    exact = quantity * line["unit_price"] == line["total"]
    return FiscalLine(
        place=line["place"],
        item=item,
        description=line["description"],
        # A share of a line, or a price that was rounded: declared as one piece of that amount.
        quantity=quantity if exact else Decimal(1),
        unit_price=line["unit_price"] if exact else line["total"],
        tax_class=line["tax_class"],
        tax_rate=Decimal(line["tax_rate"]) / 100,
        tax=line["tax"],
        total=line["total"],
    )


# ── what came of it ──────────────────────────────────────────────────────────────────────────────

_KEEP = f"""WITH kept AS (
    UPDATE fiscal_receipt SET status = $3, version = version + 1, error = $4::jsonb,
        next_try_at = now() + $5::interval, doubted = doubted OR $12 OR $3 = 'UNKNOWN',
        tries = tries + CASE WHEN invc_no IS NULL THEN 1 ELSE 0 END, updated_at = now()
    WHERE id = $1 AND version = $2 RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $6, $7, $8, 'invoice:' || kept.invoice_id, $10::jsonb, $11 FROM kept
    WHERE $9::text IS NOT NULL
)
SELECT * FROM kept"""


async def _keep(core: Core, row: Row, outcome: SigningOutcome) -> FiscalReceipt | None:
    """Writes down anything but a receipt. A doubt is never lost, whatever came after it."""
    status = after(outcome, sent=row["status"] == ReceiptStatus.SENDING, doubted=row["doubted"])
    error = _error(outcome)
    rows = await fetch(
        _KEEP,
        row["id"],
        row["version"],
        status,
        orjson.dumps(error).decode(),
        _pause(core, max(1, row["tries"])),
        *_by_system(f"fiscal_receipt.{status.lower()}", "", {"invc_no": row["invc_no"], **error}),
        row["doubted"],
    )
    if status in {ReceiptStatus.REJECTED, ReceiptStatus.NEEDS_RECEIPT}:
        log.error("a fiscal receipt needs a person", status=status, **error)
    return FiscalReceipt.of(rows[0]) if rows else None


def after(outcome: SigningOutcome, *, sent: bool, doubted: bool) -> ReceiptStatus:
    """What a receipt is after this outcome.

    sent: the document itself left, and not only something before it.
    doubted: an earlier answer to the same document was lost.
    """
    match outcome:
        case Signed():
            return ReceiptStatus.SIGNED
        case AlreadyDeclared():
            # Without a doubt it cannot be ours: somebody else gave this number.
            return ReceiptStatus.NEEDS_RECEIPT if doubted else ReceiptStatus.REJECTED
        case Rejected():
            return ReceiptStatus.REJECTED
        case NotSent():
            return ReceiptStatus.UNKNOWN if doubted else ReceiptStatus.QUEUED
        case Unknown():
            return ReceiptStatus.UNKNOWN if sent or doubted else ReceiptStatus.QUEUED


def _error(outcome: object) -> dict[str, str]:
    match outcome:
        case Rejected() | AlreadyDeclared():
            return {"code": outcome.code, "message": outcome.message}
        case NotSent():
            return {"code": "NOT_SENT", "message": outcome.cause}
        case Unknown():
            return {"code": "UNKNOWN", "message": outcome.cause}
    raise TypeError(f"{type(outcome).__name__} is no error")


def _pause(core: Core, tries: int) -> timedelta:
    return timedelta(seconds=min(900, 5 * 2 ** min(tries - 1, 10))) * core.settings.poll_scale


def _by_system(
    action: str, object_: str, detail: Mapping[str, Any]
) -> tuple[str, str, str, str, str, str | None]:
    return audit_values(SYSTEM.kind, SYSTEM.name, action, object_, detail)
