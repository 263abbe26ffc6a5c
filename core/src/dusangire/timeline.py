"""Why is this payment in this state? Everything that happened to it, in one list, in words.

Who did what, the tries, what was said with the gateways, what they told us, refunds, the invoice,
what the merchant's systems and people were told: one statement reads it all, and `sentences` puts
it into words. What somebody may not read elsewhere is not in the list they get.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any
from uuid import UUID

from dusangire import sentences
from dusangire.access import Actor
from dusangire.core import Core
from dusangire.database import Row, fetch
from dusangire.errors import NotFound
from dusangire.masking import mask_json, mask_text
from dusangire.permissions import Permission
from dusangire.records import Who, json_of

# More would be read by nobody: what came last is what counts.
MOST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened.

    source: action (of somebody), attempt, exchange (with a gateway), webhook (of a gateway),
        approval, receipt, delivery (to the merchant), notification, reconciliation.
    what: a sentence. details: what is known beside it; no secret, and numbers in part.
    """

    at: datetime
    who: Who | None
    what: str
    source: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the state is and why, what happens next and when, and all that led to it.

    next_at: when something happens by itself; None: nothing does, or somebody has to act.
    left_out: how many older moments are not listed.
    """

    headline: str
    next_at: datetime | None
    moments: tuple[Moment, ...]
    left_out: int = 0


# What is left out for who may not read it, in the order of the statement's values from $2 on.
_SOURCES = (
    Permission.READ_REFUNDS,
    Permission.READ_INVOICES,
    Permission.READ_WEBHOOKS,
    Permission.READ_NOTIFICATIONS,
    Permission.READ_AUDIT,
)
# The order of things at one and the same moment: what causes comes before what follows.
_STORY = f"""
WITH p AS (SELECT * FROM payment WHERE id = $1),
a AS (
    SELECT t.*, g.name AS gateway FROM payment_attempt t
    JOIN gateway_account g ON g.id = t.gateway_id WHERE t.payment_id = $1
), r AS (
    SELECT t.*, g.name AS gateway FROM refund t
    JOIN gateway_account g ON g.id = t.gateway_id WHERE t.payment_id = $1 AND $2::boolean
), i AS (
    SELECT * FROM (
        SELECT * FROM invoice WHERE payment_id = $1
        UNION SELECT * FROM invoice WHERE refund_id IN (SELECT id FROM refund WHERE payment_id = $1)
    ) every WHERE $3::boolean
), d AS (
    SELECT * FROM webhook_delivery WHERE payment_id = $1 AND $4::boolean
), endpoint AS (
    -- The rest of an address may be a password.
    SELECT id, substring(url from '^[^/]+//[^/?#]+') AS origin FROM webhook_endpoint
), x AS (
    SELECT t.*, g.name AS gateway FROM payment_transaction t
    JOIN gateway_account g ON g.id = t.gateway_id WHERE t.payment_id = $1
), moment AS (
    SELECT e.at, CASE WHEN e.action IN ('payment.created', 'payment.attempted') THEN 1 ELSE 5 END
            AS place, e.id::text AS tie, 'action' AS source, e.action AS word, e.actor_kind,
        e.actor_name, e.detail || jsonb_strip_nulls(jsonb_build_object('correlation_id',
            e.correlation_id, 'refund', r.reference, 'refund_amount', r.amount,
            'currency', coalesce(r.currency, i.currency, p.currency), 'invoice', i.number,
            'invoice_kind', i.kind, 'invoice_total', i.total, 'amount', p.amount)) AS data
    FROM p, audit_entry e
    LEFT JOIN r ON e.object = 'refund:' || r.reference
    LEFT JOIN i ON e.object = 'invoice:' || i.id
    WHERE (e.object = 'payment:' || p.reference
        OR e.object IN (SELECT 'refund:' || reference FROM r)
        OR e.object IN (SELECT 'invoice:' || id FROM i)
        OR (e.object = 'customer:' || p.customer_id AND e.detail ->> 'payment' = p.reference))
        AND ($6::boolean OR e.action <> 'customer.revealed')
    UNION ALL
    -- It is dated by the clock of the process that wrote it.
    SELECT greatest(a.created_at, (SELECT min(at) FROM audit_entry
            WHERE object = 'payment:' || p.reference)), 2, number::text, 'attempt', 'BEGAN', NULL,
        NULL, jsonb_build_object('number', number, 'gateway', gateway, 'reference', a.reference,
            'phone', phone)
    FROM a, p
    UNION ALL
    SELECT completed_at, 6, number::text, 'attempt', status, NULL, NULL, jsonb_build_object(
        'number', number, 'gateway', gateway, 'reference', reference, 'failure', failure,
        'gateway_transaction_id', gateway_transaction_id)
    FROM a WHERE completed_at IS NOT NULL
    UNION ALL
    SELECT created_at, 4, lpad(id::text, 20, '0'), 'exchange', kind, NULL, NULL,
        jsonb_build_object('gateway', gateway, 'outcome', outcome, 'http_status', http_status,
            'error_code', error_code, 'error_message', error_message, 'duration_ms', duration_ms,
            'notes', notes)
    FROM x
    UNION ALL
    SELECT w.received_at, 3, w.id::text, 'webhook', coalesce(w.trust, 'UNREAD'), NULL, NULL,
        jsonb_build_object('gateway', g.name, 'status', w.status, 'repeated', w.repeated,
            'tries', w.tries, 'error', w.error, 'reference', w.reference)
    FROM gateway_webhook w JOIN gateway_account g ON g.id = w.gateway_id
    WHERE w.reference IN (SELECT reference FROM a UNION SELECT gateway_reference FROM r)
    UNION ALL
    SELECT y.approved_at, 5, y.id::text, 'approval', 'APPROVED', 'staff', s.email,
        jsonb_build_object('refund', r.reference, 'refund_amount', r.amount,
            'currency', r.currency, 'note', y.note, 'voided_at', y.voided_at)
    FROM refund_approval y JOIN r ON r.id = y.refund_id JOIN staff s ON s.id = y.staff_id
    UNION ALL
    SELECT f.updated_at, 7, f.id::text, 'receipt', f.status, NULL, NULL, jsonb_build_object(
        'invoice', i.number, 'tries', f.tries, 'error', f.error, 'sdc_id', f.sdc_id,
        'receipt_number', f.rcpt_no, 'next_try_at', f.next_try_at)
    FROM fiscal_receipt f JOIN i ON i.id = f.invoice_id
    UNION ALL
    SELECT t.tried_at, 8, t.id::text, 'delivery',
        CASE WHEN t.error IS NULL THEN 'DELIVERED' ELSE 'TRIED' END, NULL, NULL,
        jsonb_build_object('type', d.type, 'url', e.origin, 'number', t.number,
            'http_status', t.http_status, 'error', t.error, 'duration_ms', t.duration_ms)
    FROM d JOIN endpoint e ON e.id = d.endpoint_id JOIN webhook_try t ON t.delivery_id = d.id
    UNION ALL
    SELECT coalesce(d.ended_at, d.created_at), 9, d.id::text, 'delivery', d.status, NULL, NULL,
        jsonb_build_object('type', d.type, 'url', e.origin, 'tries', d.tries, 'error', d.error,
            'next_try_at', d.next_try_at)
    FROM d JOIN endpoint e ON e.id = d.endpoint_id WHERE d.status <> 'DELIVERED'
    UNION ALL
    SELECT coalesce(ended_at, created_at), 9, id::text, 'notification', status, NULL, NULL,
        jsonb_build_object('notice', notice, 'channel', channel, 'to', shown_to, 'tries', tries,
            'cause', cause, 'next_try_at', next_try_at)
    FROM notification WHERE payment_id = $1 AND $5::boolean
    UNION ALL
    -- A run matches thousands at once: what it did to one of them is in its event.
    SELECT occurred_at, 7, lpad(id::text, 20, '0'), 'reconciliation',
        data ->> 'reconciliation_status', NULL, NULL, '{{}}'
    FROM event WHERE payment_id = $1 AND type = 'payment.reconciled'
), listed AS (
    SELECT * FROM moment ORDER BY at DESC, place DESC, tie DESC LIMIT {MOST}
)
SELECT now() AS at, 0 AS place, '' AS tie, 'now' AS source, p.status AS word, NULL AS actor_kind,
    NULL AS actor_name, to_jsonb(p) - 'search' - 'metadata' || jsonb_build_object(
        'moments', (SELECT count(*) FROM moment),
        'attempts', (SELECT count(*) FROM a),
        'attempt', (SELECT to_jsonb(a) - 'details' - 'plugin_data' FROM a
            ORDER BY number DESC LIMIT 1),
        'asked', (SELECT count(*) FROM x WHERE kind = 'STATUS_CHECK' AND created_at >= (
            SELECT max(created_at) FROM a)),
        'last_exchange', (SELECT jsonb_build_object('at', created_at, 'kind', kind,
                'outcome', outcome, 'error_message', error_message, 'gateway', gateway)
            FROM x WHERE kind IN ('INITIATE', 'STATUS_CHECK', 'CANCEL') ORDER BY id DESC LIMIT 1),
        'refunds', (SELECT coalesce(jsonb_agg(to_jsonb(r) - 'plugin_data' || jsonb_build_object(
                'approvals', (SELECT count(*) FROM refund_approval y
                    WHERE y.refund_id = r.id AND y.voided_at IS NULL)) ORDER BY created_at), '[]')
            FROM r),
        'receipts', (SELECT coalesce(jsonb_agg(jsonb_build_object('status', f.status,
                'invoice', i.number, 'next_try_at', f.next_try_at, 'error', f.error)
                ORDER BY f.place), '[]')
            FROM fiscal_receipt f JOIN i ON i.id = f.invoice_id WHERE f.status <> 'SIGNED'),
        'deliveries', (SELECT coalesce(jsonb_agg(jsonb_build_object('status', d.status,
                'url', e.origin, 'type', d.type, 'tries', d.tries, 'next_try_at', d.next_try_at)
                ORDER BY d.created_at), '[]')
            FROM d JOIN endpoint e ON e.id = d.endpoint_id
            WHERE d.status = 'PENDING' AND d.tries > 0)
    ) AS data
FROM p
UNION ALL SELECT * FROM listed
ORDER BY at, place, tie"""


async def of(core: Core, actor: Actor, payment_id: UUID, *, zone: tzinfo = UTC) -> Story:
    """The story of a payment. zone: for the times in the headline.

    Raises Forbidden; NotFound also for a payer: how a merchant works is not theirs to read.
    """
    if actor.kind == "client":
        raise NotFound
    actor.require(Permission.READ_PAYMENTS)
    rows = await fetch(_STORY, payment_id, *map(actor.may, _SOURCES))
    state = next((row for row in rows if row["source"] == "now"), None)
    if state is None:
        raise NotFound
    now = json_of(state["data"])
    headline, next_at = sentences.headline(now, at=state["at"], zone=zone)
    moments = tuple(_moment(row) for row in rows if row is not state)
    return Story(
        headline=mask_text(headline),
        next_at=next_at,
        moments=moments,
        left_out=now["moments"] - len(moments),
    )


def _moment(row: Row) -> Moment:
    data = {name: value for name, value in json_of(row["data"]).items() if value is not None}
    return Moment(
        at=row["at"],
        who=Who(row["actor_kind"], row["actor_name"]) if row["actor_kind"] else None,
        what=mask_text(sentences.moment(row["source"], row["word"], data)),
        source=row["source"],
        details=mask_json(data),
    )
