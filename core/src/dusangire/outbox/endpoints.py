"""Where the merchant wants to be told what happens: endpoints, secrets, what they were told."""

import base64
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import orjson

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.cursors import make_cursor, read_cursor
from dusangire.database import Row, fetch, tx
from dusangire.egress import NotAllowed
from dusangire.errors import IllegalState, Invalid, NotFound
from dusangire.outbox.body import FAMILIES, TEST, TYPES, WILDCARDS, body
from dusangire.outbox.deliveries import message_id
from dusangire.outbox.sealed import secret_owner
from dusangire.permissions import Permission
from dusangire.queries import MAX_PAGE, Page
from dusangire.records import json_of

MAX_ENDPOINTS = 16
MAX_EVENTS = 50
MAX_OVERLAP_HOURS = 7 * 24
# Sent anew by one request.
MAX_REDELIVERED = 10_000


class DeliveryStatus(StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointHealth:
    """failures: in a row, since the last success."""

    failures: int
    failing_since: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the merchant is told what happens.

    disabled_because: why nothing is sent; None while it is.
    old_secret_until: until then its former secret signs too.
    """

    id: UUID
    url: str
    events: tuple[str, ...]
    enabled: bool
    disabled_because: str | None
    old_secret_until: datetime | None
    created_at: datetime
    health: EndpointHealth

    @classmethod
    def of(cls, row: Row) -> "Endpoint":
        until = row["previous_until"]
        return cls(
            id=row["id"],
            url=row["url"],
            events=tuple(json_of(row["events"])),
            enabled=row["enabled"],
            disabled_because=row["disabled_because"],
            old_secret_until=until if until and until > datetime.now(UTC) else None,
            created_at=row["created_at"],
            health=EndpointHealth(
                failures=row["failures"],
                failing_since=row["failing_since"],
                last_success_at=row["last_success_at"],
                last_failure_at=row["last_failure_at"],
                last_error=row["last_error"],
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one endpoint. http_status, error: of the latest try."""

    id: UUID
    endpoint_id: UUID
    type: str
    payment_id: UUID | None
    body: str
    status: DeliveryStatus
    tries: int
    http_status: int | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None
    next_try_at: datetime | None

    @property
    def message_id(self) -> str:
        return message_id(self.id)

    @classmethod
    def of(cls, row: Row) -> "Delivery":
        names = ("id", "endpoint_id", "type", "payment_id", "body", "tries", "http_status", "error")
        moments = ("created_at", "ended_at", "next_try_at")
        values = {name: row[name] for name in (*names, *moments)}
        return cls(status=DeliveryStatus(row["status"]), **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try to deliver. answer: how the body of the answer begins."""

    delivery_id: UUID
    number: int
    http_status: int | None
    error: str | None
    answer: str | None
    duration_ms: int
    tried_at: datetime

    @classmethod
    def of(cls, row: Row) -> "Try":
        names = ("delivery_id", "number", "http_status", "error", "answer", "duration_ms")
        return cls(tried_at=row["tried_at"], **{name: row[name] for name in names})


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────

_CREATE = f"""WITH endpoint AS (
    INSERT INTO webhook_endpoint (id, url, events, secret) VALUES ($1, $2, $3::jsonb, $4)
    RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} VALUES ($5, $6, $7, $8, $9::jsonb, $10)
)
SELECT * FROM endpoint"""
_COUNT = """SELECT count(*) AS n FROM (
    SELECT FROM webhook_endpoint WHERE deleted_at IS NULL FOR UPDATE) held"""
_ENDPOINTS = "SELECT * FROM webhook_endpoint WHERE deleted_at IS NULL ORDER BY created_at, id"
_ENDPOINT = "SELECT * FROM webhook_endpoint WHERE id = $1 AND deleted_at IS NULL"


async def create(core: Core, actor: Actor, url: str, events: Sequence[str]) -> tuple[Endpoint, str]:
    """A new endpoint and its secret, which is shown this once. Raises Forbidden, Invalid."""
    actor.require(Permission.MANAGE_WEBHOOKS)
    asked = _events(events)
    url = await _url(core, url)
    endpoint_id, secret = uuid4(), _new_secret()
    async with tx():
        [held] = await fetch(_COUNT)
        if held["n"] >= MAX_ENDPOINTS:
            raise Invalid(f"There are {MAX_ENDPOINTS} endpoints already: delete one first.")
        [row] = await fetch(
            _CREATE,
            endpoint_id,
            url,
            orjson.dumps(asked).decode(),
            core.keyring.seal(secret, owner=secret_owner(endpoint_id), field="secret"),
            *_audit(actor, "created", endpoint_id, {"origin": _origin(url), "events": asked}),
        )
    return Endpoint.of(row), secret


async def endpoints(actor: Actor) -> list[Endpoint]:
    """Every endpoint, oldest first. Raises Forbidden."""
    actor.require(Permission.READ_WEBHOOKS)
    return [Endpoint.of(row) for row in await fetch(_ENDPOINTS)]


async def by_ids(actor: Actor, ids: Sequence[UUID]) -> dict[UUID, Endpoint]:
    """Endpoints by their ids, deleted ones too. Raises Forbidden."""
    actor.require(Permission.READ_WEBHOOKS)
    rows = await fetch("SELECT * FROM webhook_endpoint WHERE id = ANY($1::uuid[])", list(ids))
    return {row["id"]: Endpoint.of(row) for row in rows}


# Whoever is switched on again begins with a clean slate.
_UPDATE = f"""WITH endpoint AS (
    UPDATE webhook_endpoint SET url = coalesce($2, url), events = coalesce($3::jsonb, events),
        enabled = coalesce($4, enabled),
        disabled_because = CASE WHEN coalesce($4, enabled) THEN NULL
            ELSE coalesce(disabled_because, 'Somebody switched it off.') END,
        failures = CASE WHEN $4 AND NOT enabled THEN 0 ELSE failures END,
        failing_since = CASE WHEN $4 AND NOT enabled THEN NULL ELSE failing_since END,
        updated_at = now()
    WHERE id = $1 AND deleted_at IS NULL RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $5, $6, $7, $8, $9::jsonb, $10 FROM endpoint
)
SELECT * FROM endpoint"""


async def update(
    core: Core,
    actor: Actor,
    endpoint_id: UUID,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> Endpoint:
    """Changes what is given; the rest stays. What waits for an endpoint that is switched off is
    sent when it is switched on again. Raises Forbidden, Invalid, NotFound."""
    actor.require(Permission.MANAGE_WEBHOOKS)
    asked = _events(events) if events is not None else None
    url = await _url(core, url) if url is not None else None
    changed = {"events": asked, "enabled": enabled, "origin": _origin(url) if url else None}
    rows = await fetch(
        _UPDATE,
        endpoint_id,
        url,
        orjson.dumps(asked).decode() if asked is not None else None,
        enabled,
        *_audit(
            actor,
            "updated",
            endpoint_id,
            {name: value for name, value in changed.items() if value is not None},
        ),
    )
    core.work.set()
    return Endpoint.of(_one(rows))


_DELETE = f"""WITH endpoint AS (
    UPDATE webhook_endpoint SET enabled = false, deleted_at = now(), updated_at = now(),
        disabled_because = 'It was deleted.', previous_secret = NULL, previous_until = NULL
    WHERE id = $1 AND deleted_at IS NULL RETURNING *
), cancelled AS (
    UPDATE webhook_delivery SET status = 'CANCELLED', ended_at = now(), next_try_at = NULL
    FROM endpoint WHERE endpoint_id = endpoint.id AND webhook_delivery.status = 'PENDING'
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $2, $3, $4, $5, $6::jsonb, $7 FROM endpoint
)
SELECT * FROM endpoint"""


async def delete(actor: Actor, endpoint_id: UUID) -> Endpoint:
    """Switches an endpoint off for ever; what it was told stays in the records.

    Raises Forbidden, NotFound.
    """
    actor.require(Permission.MANAGE_WEBHOOKS)
    return Endpoint.of(
        _one(await fetch(_DELETE, endpoint_id, *_audit(actor, "deleted", endpoint_id, {})))
    )


_ROTATE = f"""WITH endpoint AS (
    UPDATE webhook_endpoint SET secret = $2, updated_at = now(),
        previous_secret = CASE WHEN $3::interval > '0' THEN secret END,
        previous_until = CASE WHEN $3::interval > '0' THEN now() + $3::interval END
    WHERE id = $1 AND deleted_at IS NULL RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $4, $5, $6, $7, $8::jsonb, $9 FROM endpoint
)
SELECT * FROM endpoint"""


async def rotate(
    core: Core, actor: Actor, endpoint_id: UUID, overlap_hours: int = 24
) -> tuple[Endpoint, str]:
    """A new secret, shown this once. The old one signs too for `overlap_hours`; 0: not any more.

    Raises Forbidden, Invalid, NotFound.
    """
    actor.require(Permission.MANAGE_WEBHOOKS)
    if not 0 <= overlap_hours <= MAX_OVERLAP_HOURS:
        raise Invalid(
            f"overlapHours must be between 0 and {MAX_OVERLAP_HOURS}.", field=["overlapHours"]
        )
    secret = _new_secret()
    rows = await fetch(
        _ROTATE,
        endpoint_id,
        core.keyring.seal(secret, owner=secret_owner(endpoint_id), field="secret"),
        timedelta(hours=overlap_hours),
        *_audit(actor, "secret_rotated", endpoint_id, {"overlap_hours": overlap_hours}),
    )
    return Endpoint.of(_one(rows)), secret


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _events(events: Sequence[str]) -> list[str]:
    if not 1 <= len(events) <= MAX_EVENTS:
        raise Invalid(f"Name 1 to {MAX_EVENTS} events; * is all of them.", field=["events"])
    for name in events:
        if name not in WILDCARDS and name not in TYPES:
            raise Invalid(
                f"{name[:40]!r} is no event. There are: *, "
                f"{', '.join(f'{family}*' for family in FAMILIES)}, {', '.join(sorted(TYPES))}.",
                field=["events"],
            )
    return sorted(set(events))


async def _url(core: Core, url: str) -> str:
    try:
        await core.egress.check(url)
    except NotAllowed as error:
        raise Invalid(str(error), field=["url"]) from error
    return url


def _origin(url: str) -> str:
    """What of an address may be written down everywhere: some have a password in what follows."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _one(rows: list[Row]) -> Row:
    if not rows:
        raise NotFound(field=["id"])
    return rows[0]


def _audit(
    actor: Actor, action: str, endpoint_id: UUID, detail: dict[str, object]
) -> tuple[str, str, str, str, str, str | None]:
    object_ = f"webhook_endpoint:{endpoint_id}"
    return audit_values(actor.kind, actor.name, f"webhook_endpoint.{action}", object_, detail)


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────

_TEST = f"""WITH endpoint AS (
    SELECT id FROM webhook_endpoint WHERE id = $1 AND enabled
), delivery AS (
    INSERT INTO webhook_delivery (id, endpoint_id, type, body, next_try_at)
    SELECT $2, id, $3, $4, now() FROM endpoint RETURNING *
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $5, $6, $7, $8, $9::jsonb, $10 FROM endpoint
)
SELECT * FROM delivery"""


async def send_test(core: Core, actor: Actor, endpoint_id: UUID) -> Delivery:
    """Sends `webhook.test`: read the delivery again to see what came of it.

    Raises Forbidden, NotFound; IllegalState when the endpoint is switched off.
    """
    actor.require(Permission.MANAGE_WEBHOOKS)
    said = body(TEST, core.clock(), {"endpointId": str(endpoint_id), "message": "It works."})
    rows = await fetch(
        _TEST, endpoint_id, uuid4(), TEST, said, *_audit(actor, "tested", endpoint_id, {})
    )
    if not rows:
        await _refuse_disabled(endpoint_id)
    core.work.set()
    return Delivery.of(_one(rows))


_REDELIVER = f"""WITH delivery AS (
    UPDATE webhook_delivery d SET status = 'PENDING', step = 0, ended_at = NULL, next_try_at = now()
    FROM webhook_endpoint e
    WHERE d.id = $1 AND e.id = d.endpoint_id AND e.enabled AND d.status <> 'PENDING' RETURNING d.*
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $2, $3, $4, $5 || endpoint_id, $6::jsonb, $7 FROM delivery
)
SELECT * FROM delivery"""
_DELIVERY = "SELECT * FROM webhook_delivery WHERE id = $1"


async def redeliver(core: Core, actor: Actor, delivery_id: UUID) -> Delivery:
    """Sends it anew, with the same `webhook-id` and body, from the beginning of the schedule.

    Raises Forbidden, NotFound; IllegalState when its endpoint is switched off.
    """
    actor.require(Permission.MANAGE_WEBHOOKS)
    rows = await fetch(
        _REDELIVER,
        delivery_id,
        *audit_values(
            actor.kind,
            actor.name,
            "webhook_delivery.redelivered",
            "webhook_endpoint:",
            {"delivery": str(delivery_id)},
        ),
    )
    if not rows:
        found = _one(await fetch(_DELIVERY, delivery_id))
        if found["status"] != DeliveryStatus.PENDING:
            await _refuse_disabled(found["endpoint_id"])
        # It is on its way.
        rows = [found]
    core.work.set()
    return Delivery.of(rows[0])


_REDELIVER_FAILED = f"""WITH failed AS (
    SELECT d.id FROM webhook_delivery d JOIN webhook_endpoint e ON e.id = d.endpoint_id
    WHERE d.endpoint_id = $1 AND e.enabled AND d.status = 'FAILED' AND d.created_at >= $2
    ORDER BY d.created_at LIMIT $3 FOR UPDATE OF d SKIP LOCKED
), again AS (
    UPDATE webhook_delivery d SET status = 'PENDING', step = 0, ended_at = NULL, next_try_at = now()
    FROM failed WHERE d.id = failed.id RETURNING d.id
), counted AS (
    SELECT count(*) AS n FROM again
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $4, $5, $6, $7, $8::jsonb || jsonb_build_object('deliveries', n), $9 FROM counted
)
SELECT n FROM counted"""


async def redeliver_failed(core: Core, actor: Actor, endpoint_id: UUID, since: datetime) -> int:
    """Sends anew what was given up of what happened since then; gives how many that are.

    Raises Forbidden, NotFound; IllegalState when the endpoint is switched off.
    """
    actor.require(Permission.MANAGE_WEBHOOKS)
    await _refuse_disabled(endpoint_id)
    [row] = await fetch(
        _REDELIVER_FAILED,
        endpoint_id,
        since,
        MAX_REDELIVERED,
        *audit_values(
            actor.kind,
            actor.name,
            "webhook_delivery.redelivered",
            f"webhook_endpoint:{endpoint_id}",
            {"since": since.isoformat()},
        ),
    )
    core.work.set()
    return int(row["n"])


async def _refuse_disabled(endpoint_id: UUID) -> None:
    row = _one(await fetch(_ENDPOINT, endpoint_id))
    if not row["enabled"]:
        raise IllegalState(
            f"This endpoint is switched off: {row['disabled_because']} Switch it on first.",
            field=["id"],
        )


_DELIVERIES = """SELECT * FROM webhook_delivery
WHERE endpoint_id = $1 AND ($2::text IS NULL OR status = $2)
    AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
ORDER BY created_at DESC, id DESC LIMIT $5"""


async def deliveries(
    actor: Actor,
    endpoint_id: UUID,
    *,
    status: DeliveryStatus | None = None,
    first: int = 25,
    after: str | None = None,
) -> Page[Delivery]:
    """What an endpoint was told, newest first. Raises Forbidden; Invalid for a strange cursor."""
    actor.require(Permission.READ_WEBHOOKS)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    moment, delivery_id = _mark(after) if after is not None else (None, None)
    rows = await fetch(_DELIVERIES, endpoint_id, status, moment, delivery_id, first + 1)
    shown = [Delivery.of(row) for row in rows[:first]]
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


async def delivery(actor: Actor, delivery_id: UUID) -> Delivery | None:
    """Raises Forbidden."""
    actor.require(Permission.READ_WEBHOOKS)
    rows = await fetch(_DELIVERY, delivery_id)
    return Delivery.of(rows[0]) if rows else None


_TRIES = """SELECT t.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT * FROM webhook_try WHERE delivery_id = wanted.id ORDER BY number DESC LIMIT 100) t
ORDER BY t.delivery_id, t.number"""


async def tries(actor: Actor, delivery_ids: Sequence[UUID]) -> dict[UUID, list[Try]]:
    """The tries of each delivery, the latest hundred, in their order. Raises Forbidden."""
    actor.require(Permission.READ_WEBHOOKS)
    found: dict[UUID, list[Try]] = defaultdict(list)
    for row in await fetch(_TRIES, list(delivery_ids)):
        found[row["delivery_id"]].append(Try.of(row))
    return found
