"""Telling customers and staff what happened: each event, channel and recipient once.

A follower writes a row for everybody who shall be told. A worker then composes the message, marks
the row SENDING, and calls the channel: whoever dies in between leaves a row that says so, and what
may have been sent is never sent again by a machine.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import structlog

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.channels import (
    Address,
    Delivered,
    Delivery,
    Message,
    NotDelivered,
    Unclear,
)
from dusangire.core import Core
from dusangire.database import Row, fetch, spawn
from dusangire.errors import Retryable
from dusangire.followers import Follower
from dusangire.health import HealthStatus
from dusangire.languages import LANGUAGES
from dusangire.lifecycle import AttentionReason, PaymentStatus
from dusangire.masking import hide_addresses, mask_text
from dusangire.notifying.letters import DISABLED, Recipient, compose
from dusangire.notifying.notices import Notice
from dusangire.permissions import Permission, Role
from dusangire.phone import mask_phone
from dusangire.plugins import Channel
from dusangire.records import InvoiceKind, InvoiceStatus, json_of
from dusangire.tail import DISCREPANCIES, EVENT_COLUMNS, HEALTH, EventRecord
from dusangire.text import printable

log = structlog.get_logger(__name__)

# Seconds before the next try of what certainly was not sent; after the last one it has failed.
PAUSES = (60, 300, 1_800, 7_200, 21_600, 43_200, 86_400)
# A receipt waits for its invoice, a refund's news for its credit note: one message, not two.
HOLD = timedelta(seconds=30)
# Drawing an invoice takes a second; whoever takes longer has died.
COMPOSE = 60.0
_LEASE = timedelta(seconds=COMPOSE + 30)
# An invoice waits for its fiscal receipt this many tries, which is half an hour. Then it goes
# without: its page shows the receipt once there is one.
FISCAL_TRIES = 3
# Pauses between tries to write down an answer, in seconds.
_STUBBORN = (0.2, 1, 3)
# A gateway's bad day is one list to look at, not a thousand messages.
MOST_PER_HOUR = 20


class Audience(StrEnum):
    """Who is told. Each role hears what the ones below it hear."""

    CUSTOMER = "CUSTOMER"
    OPERATORS = "OPERATORS"
    APPROVERS = "APPROVERS"
    ADMINS = "ADMINS"
    REQUESTER = "REQUESTER"


# Who is told what: the one table of it.
TELLS: Mapping[Notice, tuple[Audience, ...]] = {
    Notice.PAYMENT_RECEIVED: (Audience.CUSTOMER,),
    Notice.INVOICE_PAID: (Audience.CUSTOMER,),
    Notice.INVOICE_ISSUED: (Audience.CUSTOMER,),
    Notice.CREDIT_NOTE_ISSUED: (Audience.CUSTOMER,),
    Notice.REFUND_MADE: (Audience.CUSTOMER,),
    # Whoever asked cannot decide it.
    Notice.REFUND_REQUESTED: (Audience.APPROVERS,),
    Notice.REFUND_REJECTED: (Audience.REQUESTER,),
    Notice.REFUND_FAILED: (Audience.APPROVERS, Audience.REQUESTER),
    Notice.REFUND_UNKNOWN: (Audience.APPROVERS, Audience.REQUESTER),
    Notice.PAYMENT_NEEDS_ATTENTION: (Audience.OPERATORS,),
    Notice.GATEWAY_DOWN: (Audience.OPERATORS,),
    Notice.GATEWAY_UP: (Audience.OPERATORS,),
    Notice.WEBHOOK_DISABLED: (Audience.ADMINS,),
    # One message for all that a run found.
    Notice.DISCREPANCIES_FOUND: (Audience.OPERATORS,),
}
_LOWEST = {Audience.APPROVERS: Role.APPROVER, Audience.ADMINS: Role.ADMIN}
# Told with a document instead, when there is one.
_SUPERSEDES = {
    Notice.INVOICE_PAID: Notice.PAYMENT_RECEIVED,
    Notice.CREDIT_NOTE_ISSUED: Notice.REFUND_MADE,
}
_CAPTURED = (
    PaymentStatus.SUCCEEDED,
    PaymentStatus.PARTIALLY_REFUNDED,
    PaymentStatus.REFUNDED,
)
_REFUND_NOTICES = {
    "refund.requested": Notice.REFUND_REQUESTED,
    "refund.rejected": Notice.REFUND_REJECTED,
    "refund.failed": Notice.REFUND_FAILED,
    "refund.unknown": Notice.REFUND_UNKNOWN,
    "refund.succeeded": Notice.REFUND_MADE,
}


class NotificationStatus(StrEnum):
    """WAITING to be sent, also again; UNKNOWN: it may have been sent; FAILED: it never was."""

    WAITING = "WAITING"
    SENDING = "SENDING"
    SENT = "SENT"
    UNKNOWN = "UNKNOWN"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One message to one recipient, as staff see it.

    to: the address, masked. cause: why it was not sent, or not yet, or why nobody knows.
    """

    id: UUID
    notice: Notice
    channel: str
    to: str
    status: NotificationStatus
    tries: int
    cause: str | None
    payment_id: UUID | None
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "Notification":
        return cls(
            id=row["id"],
            notice=Notice(row["notice"]),
            channel=row["channel"],
            to=row["shown_to"],
            status=NotificationStatus(row["status"]),
            tries=row["tries"],
            cause=row["cause"],
            payment_id=row["payment_id"],
            created_at=row["created_at"],
            ended_at=row["ended_at"],
        )


async def listed(
    actor: Actor,
    *,
    payment_id: UUID | None = None,
    status: Sequence[NotificationStatus] | None = None,
    first: int = 50,
) -> list[Notification]:
    """Messages, the newest first. Raises Forbidden."""
    actor.require(Permission.READ_NOTIFICATIONS)
    rows = await fetch(
        "SELECT * FROM notification WHERE ($1::uuid IS NULL OR payment_id = $1) "
        "AND ($2::text[] IS NULL OR status = ANY($2)) ORDER BY created_at DESC, id DESC LIMIT $3",
        payment_id,
        list(status) if status is not None else None,
        min(first, 100),
    )
    return [Notification.of(row) for row in rows]


async def of_payments(payment_ids: Sequence[UUID]) -> dict[UUID, list[Notification]]:
    """The messages about each payment, oldest first: at most the last 50 of one."""
    rows = await fetch(
        "SELECT n.* FROM unnest($1::uuid[]) AS wanted(id) CROSS JOIN LATERAL ("
        "SELECT * FROM notification WHERE payment_id = wanted.id "
        "ORDER BY created_at DESC LIMIT 50) n ORDER BY n.created_at, n.id",
        list(payment_ids),
    )
    found: dict[UUID, list[Notification]] = {}
    for row in rows:
        found.setdefault(row["payment_id"], []).append(Notification.of(row))
    return found


# ── whom to tell ─────────────────────────────────────────────────────────────────────────────────


async def tell(core: Core, event: EventRecord) -> None:
    """Writes who shall be told of an event, by which channels."""
    if not core.plugins.channels:
        return
    for notice in await _notices(event):
        if notice.value in core.settings.notices_off:
            continue
        for channel in core.plugins.channels.values():
            for audience in TELLS[notice]:
                if audience is Audience.CUSTOMER and channel.description.customers:
                    await _tell_customer(core, event, notice, channel)
                elif audience is not Audience.CUSTOMER and channel.description.staff:
                    await _tell_staff(core, event, notice, channel, audience)


FOLLOWER = Follower(
    name="notifications",
    types=("payment.", "refund.", "invoice.", HEALTH, DISABLED, DISCREPANCIES),
    act=tell,
)


async def _notices(event: EventRecord) -> list[Notice]:
    if event.type == DISABLED:
        return [Notice.WEBHOOK_DISABLED]
    if event.discrepancies is not None:
        return [Notice.DISCREPANCIES_FOUND]
    if event.health is not None:
        return await _of_health(event)
    if event.refund is not None:
        found = _REFUND_NOTICES.get(event.type)
        return [found] if found is not None else []
    if event.invoice is not None:
        return await _of_invoice(event)
    return await _of_payment(event)


_BEFORE = """
SELECT coalesce(data->'payment', data)->>'status' AS status,
    coalesce(data->'payment', data)->'needs_attention' AS needs_attention
FROM event WHERE payment_id = $1 AND position < $2 ORDER BY position DESC LIMIT 1"""


async def _of_payment(event: EventRecord) -> list[Notice]:
    payment = event.payment
    if payment is None or not (event.type == "payment.succeeded" or payment.needs_attention):
        return []
    rows = await fetch(_BEFORE, event.payment_id, event.position)
    before = PaymentStatus(rows[0]["status"]) if rows else PaymentStatus.CREATED
    known = set(json_of(rows[0]["needs_attention"])) if rows else set()
    found = []
    if payment.status is PaymentStatus.SUCCEEDED and before not in _CAPTURED:
        found.append(Notice.PAYMENT_RECEIVED)
    # A refund that nobody knows about is told as a refund.
    if set(payment.needs_attention) - known - {AttentionReason.REFUND_UNKNOWN}:
        found.append(Notice.PAYMENT_NEEDS_ATTENTION)
    return found


async def _of_invoice(event: EventRecord) -> list[Notice]:
    invoice = event.invoice
    if invoice is None:
        return []
    if event.type == "invoice.paid" and invoice.kind is InvoiceKind.INVOICE:
        return [Notice.INVOICE_PAID]
    if event.type != "invoice.issued":
        return []
    if invoice.kind is InvoiceKind.CREDIT_NOTE:
        return [Notice.CREDIT_NOTE_ISSUED]
    # One that was paid or voided meanwhile asks for nothing any more.
    rows = await fetch("SELECT status FROM invoice WHERE id = $1", invoice.id)
    unpaid = bool(rows) and rows[0]["status"] == InvoiceStatus.ISSUED
    return [Notice.INVOICE_ISSUED] if unpaid else []


async def _of_health(event: EventRecord) -> list[Notice]:
    down = event.health is not None and event.health.status is HealthStatus.DOWN
    rows = await fetch(
        "SELECT notice FROM notification WHERE gateway_id = $1 AND position < $2 "
        "ORDER BY position DESC LIMIT 1",
        event.gateway_id,
        event.position,
    )
    told_down = bool(rows) and rows[0]["notice"] == Notice.GATEWAY_DOWN
    if down == told_down:
        return []
    return [Notice.GATEWAY_DOWN if down else Notice.GATEWAY_UP]


# The language is the payment's, if the shop noted it there.
_CUSTOMER = """
SELECT coalesce(i.buyer->>'email', c.email, a.email) AS email,
    coalesce(i.buyer->>'phone', c.phone, a.phone) AS phone, p.metadata->>'locale' AS locale
FROM (VALUES ($1::uuid, $2::uuid, $3::uuid)) AS wanted(customer_id, payment_id, invoice_id)
LEFT JOIN invoice i ON i.id = wanted.invoice_id
LEFT JOIN payment p ON p.id = wanted.payment_id
LEFT JOIN customer c ON c.id = coalesce(wanted.customer_id, p.customer_id)
LEFT JOIN LATERAL (
    SELECT email, phone FROM payment_attempt WHERE payment_id = p.id ORDER BY number DESC LIMIT 1
) a ON true"""
_STAFF = """
SELECT id, email FROM staff WHERE disabled_at IS NULL AND CASE
    WHEN $3 THEN id = $2 ELSE role = ANY($1) AND id IS DISTINCT FROM $4 END"""
_WRITE = """
INSERT INTO notification (id, position, notice, channel, recipient, staff_id, payment_id,
    gateway_id, shown_to, next_try_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, now() + $10::interval
WHERE $5 = 'customer' OR $3 <> 'PAYMENT_NEEDS_ATTENTION' OR $11 > (
    SELECT count(*) FROM notification WHERE recipient = $5 AND recipient <> 'customer'
    AND created_at > now() - interval '1 hour' AND channel = $4 AND notice = $3)
ON CONFLICT (position, channel, recipient) DO NOTHING"""
# What waits to be told without a document is not told, once there is one.
_WITHDRAW = """
DELETE FROM notification n USING event e
WHERE n.payment_id = $1 AND n.notice = $2 AND n.channel = $3 AND n.recipient = 'customer'
AND n.status = 'WAITING' AND n.tries = 0 AND e.position = n.position
AND ($4::text IS NULL OR e.data->'refund'->>'id' = $4)"""


async def _tell_customer(core: Core, event: EventRecord, notice: Notice, channel: Channel) -> None:
    to = await _customer(channel, event)
    if to is None:
        return
    await _write(core, event, notice, channel, "customer", None, to.shown)
    superseded = _SUPERSEDES.get(notice)
    if superseded is not None and event.invoice is not None:
        refund = event.invoice.refund_id
        await fetch(
            _WITHDRAW,
            event.invoice.payment_id,
            superseded,
            channel.name,
            str(refund) if refund else None,
        )


async def _tell_staff(
    core: Core, event: EventRecord, notice: Notice, channel: Channel, audience: Audience
) -> None:
    if channel.description.needs is None:
        await _write(core, event, notice, channel, "staff", None, "staff")
        return
    if channel.description.needs is not Address.EMAIL:
        return  # nobody's number is known
    requester = event.refund.requested_by_id if event.refund else None
    lowest = _LOWEST.get(audience, Role.OPERATOR)
    for row in await fetch(
        _STAFF,
        [role for role in Role if role.rank >= lowest.rank],
        requester,
        audience is Audience.REQUESTER,
        requester if notice is Notice.REFUND_REQUESTED else None,
    ):
        await _write(
            core, event, notice, channel, f"staff:{row['id']}", row["id"], mask_email(row["email"])
        )


async def _write(
    core: Core,
    event: EventRecord,
    notice: Notice,
    channel: Channel,
    recipient: str,
    staff_id: UUID | None,
    shown_to: str,
) -> None:
    held = notice in _SUPERSEDES.values()
    await fetch(
        _WRITE,
        uuid4(),
        event.position,
        notice,
        channel.name,
        recipient,
        staff_id,
        event.payment_id or (event.invoice.payment_id if event.invoice else None),
        event.gateway_id,
        shown_to,
        HOLD * core.settings.poll_scale if held else timedelta(0),
        MOST_PER_HOUR,
    )


async def _customer(channel: Channel, event: EventRecord) -> Recipient | None:
    """Where the customer is reached; None: nowhere by this channel."""
    invoice, payment = event.invoice, event.payment
    [row] = await fetch(
        _CUSTOMER,
        invoice.customer_id if invoice else payment.customer_id if payment else None,
        event.payment_id or (invoice.payment_id if invoice else None),
        invoice.id if invoice else None,
    )
    locale = row["locale"] if row["locale"] in LANGUAGES else None
    match channel.description.needs:
        case Address.EMAIL:
            found, shown = row["email"], mask_email(row["email"] or "")
        case Address.PHONE:
            found, shown = row["phone"], mask_phone(row["phone"] or "")
        case None:
            found, shown = "", "customer"
    return None if found is None else Recipient(to=found, shown=shown, locale=locale)


def mask_email(address: str) -> str:
    """`aline@example.rw` as people who need not know it may see it: `al****@example.rw`."""
    name, _, domain = address.rpartition("@")
    return f"{name[:2]}****@{domain}"


# ── sending ──────────────────────────────────────────────────────────────────────────────────────

_DUE = """
WITH due AS (
    SELECT id FROM notification WHERE status = 'WAITING' AND next_try_at <= now()
    ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE notification n SET tries = tries + 1, next_try_at = now() + $2::interval
FROM due WHERE n.id = due.id RETURNING n.*"""
# Only by whoever took it last, and only while nobody else may have taken it.
_BEGIN = """
UPDATE notification SET status = 'SENDING', next_try_at = now() + $3::interval
WHERE id = $1 AND tries = $2 AND status = 'WAITING' AND next_try_at > now() RETURNING id"""
_AGAIN = """
UPDATE notification SET status = 'WAITING', cause = $3, next_try_at = now() + $4::interval
WHERE id = $1 AND tries = $2 AND status IN ('WAITING', 'SENDING')"""
# What is certain replaces what was not known.
_END = f"""
WITH ended AS (
    UPDATE notification SET status = $3, cause = $4, ended_at = now(), next_try_at = NULL
    WHERE id = $1 AND tries = $2
    AND (status IN ('WAITING', 'SENDING') OR status = 'UNKNOWN' AND $3 = 'SENT') RETURNING id
)
INSERT INTO audit_entry {AUDIT_COLUMNS}
SELECT $5, $6, $7, $8, $9::jsonb, $10 FROM ended"""
_LEFT = f"""
WITH ended AS (
    UPDATE notification SET status = 'UNKNOWN', next_try_at = NULL, ended_at = now(),
        cause = 'the process died while it was being sent'
    WHERE status = 'SENDING' AND next_try_at <= now() RETURNING id, notice, channel, shown_to
)
INSERT INTO audit_entry {AUDIT_COLUMNS}
SELECT $1, $2, $3, $4 || id, $5::jsonb || jsonb_build_object(
    'notice', notice, 'channel', channel, 'to', shown_to), $6 FROM ended RETURNING object"""


async def send_due(core: Core, limit: int = 8) -> int:
    """Sends what is due; gives how much that was. Any number of processes may call it at once."""
    left = await fetch(
        _LEFT, *audit_values("system", "system", "notification.unknown", "notification:", {})
    )
    if left:
        log.warning("messages may or may not have been sent", count=len(left))
    rows = await fetch(_DUE, limit, _LEASE)
    tasks = [spawn(_send(core, row), name=f"tell {row['id']}") for row in rows]
    if tasks:
        # Not gather: whoever stops waiting must not end them between the call and its answer.
        await asyncio.wait(tasks)
    return len(rows)


async def _send(core: Core, row: Row) -> None:
    try:
        delivery = await _deliver(core, row)
    except Retryable:
        return  # its row says what is known
    if delivery is not None:
        await _settle_for_certain(core, row, delivery)


async def _deliver(core: Core, row: Row) -> Delivery | None:
    """None: somebody else has it. Raises Retryable, only before anything has left."""
    channel = core.plugins.channels.get(row["channel"])
    if channel is None:
        return NotDelivered(cause="the channel is not configured", retry=True)
    if row["tries"] <= FISCAL_TRIES and await _awaits_receipt(row):
        return NotDelivered(cause="it waits for the fiscal receipt", retry=True)
    try:
        async with asyncio.timeout(COMPOSE):
            message = await _message(core, row, channel)
    except Retryable:
        raise
    except Exception as error:
        log.exception("a message could not be written", notification=str(row["id"]))
        return NotDelivered(cause=f"it could not be written: {type(error).__name__}", retry=True)
    if message is None:
        return NotDelivered(cause="there is no address any more", retry=False)
    lease = timedelta(seconds=channel.description.call_timeout + 30)
    if not await fetch(_BEGIN, row["id"], row["tries"], lease):
        return None
    return await channel.send(message)


async def _awaits_receipt(row: Row) -> bool:
    """Whether a device is still to sign the invoice: what is attached should be what counts."""
    [found] = await fetch(
        "SELECT EXISTS (SELECT FROM event e JOIN fiscal_receipt f "
        "ON f.invoice_id = (e.data->'invoice'->>'id')::uuid "
        "WHERE e.position = $1 AND f.status <> 'SIGNED') AS awaited",
        row["position"],
    )
    return bool(found["awaited"])


async def _message(core: Core, row: Row, channel: Channel) -> Message | None:
    [found] = await fetch(f"SELECT {EVENT_COLUMNS} FROM event WHERE position = $1", row["position"])
    event = EventRecord.of(found)
    is_customer = row["recipient"] == "customer"
    to = await _customer(channel, event) if is_customer else await _colleague(row)
    if to is None:
        return None
    return await compose(core, event, Notice(row["notice"]), to, row["id"], channel.description)


async def _colleague(row: Row) -> Recipient | None:
    if row["staff_id"] is None:
        return Recipient(to="", shown="staff", locale=None)
    found = await fetch(
        "SELECT email FROM staff WHERE id = $1 AND disabled_at IS NULL", row["staff_id"]
    )
    if not found:
        return None
    return Recipient(to=found[0]["email"], shown=row["shown_to"], locale=None)


async def _settle_for_certain(core: Core, row: Row, delivery: Delivery) -> None:
    """What the channel answered is known here alone: it is written even if the database is away
    for a moment. Written or not, the message is not sent again."""
    for pause in _STUBBORN:
        try:
            await _settle(core, row, delivery)
        except Retryable:
            await asyncio.sleep(pause)
        else:
            return
    await _settle(core, row, delivery)


async def _settle(core: Core, row: Row, delivery: Delivery) -> None:
    match delivery:
        case Delivered():
            await _end(row, NotificationStatus.SENT, None)
        case Unclear(cause=cause):
            await _end(row, NotificationStatus.UNKNOWN, _words(cause))
        case NotDelivered(cause=cause, retry=True) if row["tries"] <= len(PAUSES):
            pause = timedelta(seconds=PAUSES[row["tries"] - 1]) * core.settings.poll_scale
            await fetch(_AGAIN, row["id"], row["tries"], _words(cause), pause)
        case NotDelivered(cause=cause):
            await _end(row, NotificationStatus.FAILED, _words(cause))


async def _end(row: Row, status: NotificationStatus, cause: str | None) -> None:
    if status is not NotificationStatus.SENT:
        log.warning(
            "somebody was not told", notice=row["notice"], channel=row["channel"], cause=cause
        )
    detail: dict[str, Any] = {
        "notice": row["notice"],
        "channel": row["channel"],
        "to": row["shown_to"],
        **({"cause": cause} if cause else {}),
    }
    await fetch(
        _END,
        row["id"],
        row["tries"],
        status,
        cause,
        *audit_values(
            "system",
            "system",
            f"notification.{status.lower()}",
            f"notification:{row['id']}",
            detail,
        ),
    )


def _words(cause: str) -> str:
    return str(hide_addresses(mask_text(printable(cause))))[:500]
