"""What we tell merchants: each event once for each endpoint that wants it, tried until it arrives.

By Standard Webhooks 1.0 (https://www.standardwebhooks.com). The row of a delivery is its schedule:
it is leased before it is sent and settled afterwards, so that a crash in between sends it again,
with the same id.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import httpx
import structlog
from standardwebhooks import Webhook

from dusangire import wire
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import Row, fetch, spawn
from dusangire.egress import NotAllowed
from dusangire.errors import Retryable
from dusangire.exchanges import shown_text
from dusangire.followers import Follower
from dusangire.masking import spellings
from dusangire.outbox.body import FAMILIES, body_of, wanted_by
from dusangire.outbox.sealed import opened
from dusangire.tail import EventRecord
from dusangire.transactions import assert_no_transaction

log = structlog.get_logger(__name__)

# Seconds before each try, counted from the one before. By then it was tried for three days.
SCHEDULE = (
    0,
    5,
    5 * 60,
    30 * 60,
    2 * 3600,
    5 * 3600,
    10 * 3600,
    14 * 3600,
    20 * 3600,
    24 * 3600,
)
# Receivers that were away together do not come back together.
_JITTER = 0.1
# All of it: to find the address, connect, send, and read the answer to its end.
PATIENCE = 10.0
MAX_ANSWER = 64 * 1024
MAX_SHOWN = 500
MAX_RETRY_AFTER = timedelta(hours=24)
# Longer than a try may take: whoever holds it then is dead, or will not be believed.
_LEASE = timedelta(seconds=30)
# After so long without a single success nobody is listening.
DISABLED_AFTER = timedelta(days=5)
# How long a try can be looked at. That it was told, and what, stays.
TRIES_KEPT = timedelta(days=90)
# Tries at a time at one endpoint, of one worker. One that fails gets fewer: it may be in trouble.
PLACES = 8
PLACES_IN_TROUBLE = 2
CONNECTIONS = 128
POLL = 0.25


# ── what is to be told ───────────────────────────────────────────────────────────────────────────

_ADD = """INSERT INTO webhook_delivery
    (id, endpoint_id, position, type, payment_id, body, next_try_at)
SELECT gen_random_uuid(), id, $1, $2, $3, $4, now() FROM webhook_endpoint
WHERE enabled AND events ?| $5::text[]
ON CONFLICT (endpoint_id, position) DO NOTHING"""


async def _tell(core: Core, event: EventRecord) -> None:
    if (body := body_of(event)) is None:
        return
    payment_id = event.payment_id or (event.invoice.payment_id if event.invoice else None)
    await fetch(_ADD, event.position, event.type, payment_id, body, wanted_by(event.type))


FOLLOWER = Follower(name="webhooks", types=FAMILIES, act=_tell)


# ── telling it ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A delivery in hand. step: how far its schedule has come; tries: counts all of them."""

    id: UUID
    endpoint_id: UUID
    url: str
    body: str
    tries: int
    step: int
    secrets: tuple[str, ...]

    @property
    def message_id(self) -> str:
        return message_id(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a try. error: why there is no answer, or none that counts."""

    status: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a delivery after a try. wait: until the next one; gone: nobody is there."""

    status: str
    step: int
    wait: timedelta | None = None
    gone: bool = False


def message_id(delivery_id: UUID) -> str:
    """The `webhook-id` of a delivery: the same in every try, and when it is sent anew."""
    return f"msg_{delivery_id.hex}"


_WAITING = """SELECT id, failures, (
    SELECT count(*) FROM (
        SELECT FROM webhook_delivery
        WHERE endpoint_id = e.id AND next_try_at <= now() LIMIT $1
    ) due) AS due
FROM webhook_endpoint e WHERE enabled"""


async def run(core: Core) -> None:
    """Delivers until cancelled. Tries under way are finished by their own tasks."""
    outbox = _Outbox(core)
    try:
        while True:
            await outbox.start_due()
            await asyncio.sleep(max(0.05, POLL * min(1.0, core.settings.poll_scale)))
    finally:
        outbox.stopping = True
        spawn(outbox.close(), name="webhook connections")


class _Outbox:
    """The places at each endpoint: so many tries at a time, however slow another one is."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._transport = core.egress.transport(connections=CONNECTIONS)
        self._taken: Counter[UUID] = Counter()
        self.stopping = False

    async def start_due(self) -> None:
        try:
            for endpoint_id, places in (await waiting(self._core)).items():
                for _ in range(places - self._taken[endpoint_id]):
                    self._taken[endpoint_id] += 1
                    spawn(self._deliver(endpoint_id), name=f"webhook {endpoint_id}")
        except Retryable:
            pass
        except Exception:
            log.exception("webhooks interrupted")

    async def _deliver(self, endpoint_id: UUID) -> None:
        try:
            while not self.stopping and await deliver_next(
                self._core, self._transport, endpoint_id
            ):
                pass
        except Retryable:
            log.warning("webhook left for later", endpoint=str(endpoint_id))
        finally:
            self._taken[endpoint_id] -= 1

    async def close(self) -> None:
        while self._taken.total():  # noqa: ASYNC110 - nobody else waits for it
            await asyncio.sleep(0.05)
        await self._transport.aclose()


async def waiting(core: Core) -> dict[UUID, int]:
    """Endpoints with something due, and how many tries there may be at each at a time."""
    return {
        row["id"]: min(row["due"], PLACES_IN_TROUBLE if row["failures"] else PLACES)
        for row in await fetch(_WAITING, PLACES)
        if row["due"]
    }


async def deliver_next(
    core: Core,
    transport: httpx.AsyncBaseTransport,
    endpoint_id: UUID,
    *,
    patience: float = PATIENCE,
) -> bool:
    """Tries what has waited longest at one endpoint; False when nothing is due.

    transport: the guarded one, `core.egress.transport()`.
    """
    taken = await _take(core, endpoint_id)
    if taken is None:
        return False
    at, started = core.clock(), time.monotonic()
    answer = await _send(core, transport, taken, at, patience)
    verdict = judge(answer, taken.step, core.settings.poll_scale)
    await _settle(core, taken, answer, verdict, at, round((time.monotonic() - started) * 1000))
    return True


_TAKE_ONE = """WITH due AS (
    SELECT d.id FROM webhook_delivery d JOIN webhook_endpoint e ON e.id = d.endpoint_id
    WHERE d.endpoint_id = $1 AND e.enabled AND d.next_try_at <= now()
    ORDER BY d.next_try_at LIMIT 1 FOR UPDATE OF d SKIP LOCKED
)
UPDATE webhook_delivery d SET tries = d.tries + 1, next_try_at = now() + $2::interval
FROM due, webhook_endpoint e WHERE d.id = due.id AND e.id = d.endpoint_id
RETURNING d.id, d.endpoint_id, d.body, d.tries, d.step, e.url, e.secret,
    CASE WHEN e.previous_until > now() THEN e.previous_secret END AS previous_secret"""


async def _take(core: Core, endpoint_id: UUID) -> Taken | None:
    rows = await fetch(_TAKE_ONE, endpoint_id, _LEASE)
    return _taken(core, rows[0]) if rows else None


def _taken(core: Core, row: Row) -> Taken:
    return Taken(
        id=row["id"],
        endpoint_id=row["endpoint_id"],
        url=row["url"],
        body=row["body"],
        tries=row["tries"],
        step=row["step"],
        secrets=opened(core.keyring, row),
    )


def headers(taken: Taken, at: datetime) -> dict[str, str]:
    """As Standard Webhooks has them; while the secret changes, signed with both."""
    signatures = (
        Webhook(secret).sign(msg_id=taken.message_id, timestamp=at, data=taken.body)
        for secret in taken.secrets
    )
    return {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "dusangire/0.1",
        "webhook-id": taken.message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


async def _send(
    core: Core,
    transport: httpx.AsyncBaseTransport,
    taken: Taken,
    at: datetime,
    patience: float,
) -> Answer:
    assert_no_transaction("send a webhook")
    try:
        core.egress.read(taken.url)
        async with asyncio.timeout(patience):
            return await _ask(core, transport, taken, at)
    except TimeoutError:
        return Answer(error=f"no whole answer within {patience:g} seconds")
    except NotAllowed as error:
        return Answer(error=str(error))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Answer(error=shown_text(wire.words_of(error), taken.secrets)[:MAX_SHOWN])


async def _ask(
    core: Core, transport: httpx.AsyncBaseTransport, taken: Taken, at: datetime
) -> Answer:
    # Not by a client: it would keep cookies for the next one, and might follow a redirect.
    request = httpx.Request("POST", taken.url, content=taken.body, headers=headers(taken, at))
    response = await transport.handle_async_request(request)
    try:
        text = shown_text(
            (await _beginning(response)).decode("utf-8", "replace"), spellings(*taken.secrets)
        )
    finally:
        await response.aclose()
    status = response.status_code
    return Answer(
        status=status,
        text=text[:MAX_SHOWN] or None,
        retry_after=wire.retry_after(response, core.clock()) if status in {429, 503} else None,
        error=None if 200 <= status < 300 else _why_not(status),
    )


async def _beginning(response: httpx.Response) -> bytes:
    body = bytearray()
    # As it is: what was packed to be large when unpacked stays packed.
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= MAX_ANSWER:
            break
    return bytes(body[:MAX_ANSWER])


def _why_not(status: int) -> str:
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed"
    return f"answered {status}"


def judge(answer: Answer, step: int, scale: float = 1.0) -> Verdict:
    """What becomes of a delivery that got this answer at this step of its schedule.

    scale: multiplies every waiting time.
    """
    if answer.status is not None and 200 <= answer.status < 300 and answer.error is None:
        return Verdict(status="DELIVERED", step=step)
    if answer.status == 410:
        return Verdict(status="FAILED", step=step, gone=True)
    following = step + 1
    if following >= len(SCHEDULE):
        return Verdict(status="FAILED", step=step)
    wait = timedelta(seconds=SCHEDULE[following])
    asked = min(answer.retry_after or timedelta(0), MAX_RETRY_AFTER)
    spread = random.uniform(1, 1 + _JITTER)  # noqa: S311 - nothing is guarded by it
    return Verdict(status="PENDING", step=following, wait=max(wait, asked) * spread * scale)


_SETTLE = f"""WITH delivery AS (
    -- Whoever held it for too long finds that somebody else tried it since.
    UPDATE webhook_delivery SET status = $3, step = $4, http_status = $5, error = $6,
        ended_at = CASE WHEN $3 <> 'PENDING' THEN now() END,
        next_try_at = CASE WHEN $3 = 'PENDING' THEN now() + $7::interval END
    WHERE id = $1 AND tries = $2 AND status = 'PENDING' RETURNING endpoint_id
), try AS (
    INSERT INTO webhook_try
        (id, delivery_id, number, http_status, error, answer, duration_ms, tried_at)
    VALUES ($8, $1, $2, $5, $6, $9, $10, $11) ON CONFLICT (delivery_id, number) DO NOTHING
), well AS (
    -- A busy endpoint's row is written once a second.
    UPDATE webhook_endpoint SET failures = 0, failing_since = NULL, last_success_at = now()
    FROM delivery WHERE id = delivery.endpoint_id AND $3 = 'DELIVERED' AND (failures > 0
        OR coalesce(last_success_at, '-infinity') < now() - interval '1 second')
), held AS (
    -- Of two that fail at once, one finds it enabled and says that it is not any more.
    SELECT e.id, e.enabled FROM webhook_endpoint e JOIN delivery ON e.id = delivery.endpoint_id
    WHERE $3 <> 'DELIVERED' FOR UPDATE OF e
), badly AS (
    UPDATE webhook_endpoint SET failures = failures + 1, last_failure_at = now(), last_error = $6,
        failing_since = coalesce(failing_since, now()),
        enabled = webhook_endpoint.enabled
            AND NOT ($12 OR coalesce(failing_since < now() - $13::interval, false)),
        disabled_because = CASE WHEN NOT webhook_endpoint.enabled THEN disabled_because
            WHEN $12 THEN 'It answered 410: nobody is there any more.'
            WHEN failing_since < now() - $13::interval
                THEN 'For days not one delivery succeeded.' END
    FROM held WHERE webhook_endpoint.id = held.id
    RETURNING webhook_endpoint.*, held.enabled AS was_enabled
), disabled AS (
    SELECT id, disabled_because, last_error, substring(url FROM '^[a-z]+://[^/?]+') AS origin
    FROM badly WHERE was_enabled AND NOT enabled
), event AS (
    INSERT INTO event (type, data)
    SELECT 'webhook_endpoint.disabled', jsonb_build_object('webhook_endpoint',
        jsonb_build_object('id', id, 'origin', origin, 'because', disabled_because,
            'lastError', last_error))
    FROM disabled
), audit AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS}
    SELECT $14, $15, $16, 'webhook_endpoint:' || id,
        $18::jsonb || jsonb_build_object('because', disabled_because, 'origin', origin), $19
    FROM disabled WHERE $17::text IS NOT NULL
)
SELECT id FROM disabled"""


async def _settle(
    core: Core, taken: Taken, answer: Answer, verdict: Verdict, at: datetime, took_ms: int
) -> None:
    disabled = await fetch(
        _SETTLE,
        taken.id,
        taken.tries,
        verdict.status,
        verdict.step,
        answer.status,
        answer.error,
        verdict.wait,
        uuid4(),
        answer.text,
        took_ms,
        at,
        verdict.gone,
        DISABLED_AFTER * core.settings.poll_scale,
        *audit_values("system", "system", "webhook_endpoint.disabled", "", {}),
    )
    if disabled:
        core.news.set()


# ── forgetting ───────────────────────────────────────────────────────────────────────────────────

_FORGET = """DELETE FROM webhook_try WHERE id IN (
    SELECT id FROM webhook_try WHERE tried_at < $1 LIMIT 10000 FOR UPDATE SKIP LOCKED)
RETURNING id"""


async def forget(core: Core) -> int:
    """Removes up to ten thousand tries that are too old; gives how many there were."""
    return len(await fetch(_FORGET, core.clock() - TRIES_KEPT))
