"""What gateways told us: stored before it is answered, worked on afterwards, kept for ever."""

import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog

from dusangire import attempts, codes, refund_work
from dusangire.core import Core
from dusangire.database import Row, fetch
from dusangire.errors import GatewayConfiguration, GatewayNotFound, NotFound, WebhookRejected
from dusangire.exchanges import secret_values, shown_body
from dusangire.gateway import Heard, Outcome, PaymentToken, Reply, Succeeded, Trust, WebhookRequest
from dusangire.gateways import Account
from dusangire.lifecycle import TransactionKind
from dusangire.masking import (
    HIDDEN,
    has_card_number,
    hide_cards,
    hiding,
    is_secret_name,
    mask_text,
    spellings,
)
from dusangire.outcomes import outcome_json, read_outcome
from dusangire.records import json_of
from dusangire.text import printable

log = structlog.get_logger(__name__)

MAX_TRIES = 10
ORPHAN_FOR = timedelta(hours=24)
# A hint may make the next question earlier, but not more often than this.
HINT_EVERY = timedelta(seconds=10)
_KEPT_HEADERS = frozenset({"content-type", "content-length", "user-agent", "date"})


async def accept(core: Core, code: str, token: str, request: WebhookRequest) -> Reply:
    """Takes a gateway's webhook and gives the answer it expects, after it is stored.

    Raises NotFound (no such gateway, or not its token), WebhookRejected (not from the gateway) and
    Retryable (the database is away: answer 503, so that the gateway tries again).
    """
    account = await _account(core, code, token)
    with hiding(*_hidden(account)):
        return await _accept(core, account, request)


async def _accept(core: Core, account: Account, request: WebhookRequest) -> Reply:
    heard: Heard | None = None
    error: str | None = None
    try:
        heard = _read(account, request)
    except WebhookRejected as rejected:
        log.warning(
            "security: webhook refused",
            gateway=account.code,
            status=rejected.status,
            why=rejected.message,
        )
        raise
    except Exception as raised:
        # A plugin that cannot read its provider's message must not lose it.
        log.exception("webhook not readable", gateway=account.code)
        error = f"{type(raised).__name__}: {raised}"
    await _store(core, account, request, heard, error)
    core.work.set()
    return heard.reply if heard else Reply()


async def _account(core: Core, code: str, token: str) -> Account:
    try:
        account = await core.gateways.by_code(code)
    except GatewayNotFound as error:
        raise NotFound from error
    expected = account.webhook_token.encode()
    readable = account.plugin is not None and account.plugin.implements("read_webhook")
    if not hmac.compare_digest(expected, token.encode("utf-8", "replace")) or not readable:
        raise NotFound
    return account


# A payer's token waits for the worker sealed, and only if they agreed that it is kept.
_STORE = """INSERT INTO gateway_webhook
    (id, gateway_id, dedupe_key, method, headers, body, trust, reference, outcome, error,
     next_try_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, CASE WHEN EXISTS (
        SELECT FROM payment_attempt
        WHERE reference = $8 AND gateway_id = $2 AND store_consent IS NOT NULL
    ) THEN $9::jsonb ELSE $9::jsonb - 'token' END, $10, now())
ON CONFLICT (gateway_id, dedupe_key) DO UPDATE SET repeated = gateway_webhook.repeated + 1
RETURNING id"""


async def _store(
    core: Core,
    account: Account,
    request: WebhookRequest,
    heard: Heard | None,
    error: str | None,
) -> None:
    webhook_id = uuid4()
    key = printable(heard.dedupe_key) if heard else hashlib.sha256(request.body).hexdigest()
    if len(key) > 200 or has_card_number(key):
        key = hashlib.sha256(key.encode()).hexdigest()
    await fetch(
        _STORE,
        webhook_id,
        account.id,
        key,
        printable(request.method)[:10],
        orjson.dumps(_headers(request)).decode(),
        _without_cards(
            _without_secrets(account, request.body, _token(heard.outcome))
            if heard
            else request.body
        ),
        heard.trust.value if heard else None,
        hide_cards(printable(heard.reference))[:200] if heard and heard.reference else None,
        _sealed(core, webhook_id, heard.outcome) if heard and heard.outcome else None,
        mask_text(printable(error))[:1000] if error else None,
    )


# A body that was read is not read again, so that it need not hold what it must not.
_TOKEN = re.compile(rb'("[^"\\]{0,60}token[^"\\]{0,60}"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE)


def _without_secrets(account: Account, body: bytes, known: PaymentToken | None) -> bytes:
    """A body without what charges a payer, and without secrets of ours that a provider repeats."""
    for secret in (*([known.secret] if known else []), *spellings(*_hidden(account))):
        body = body.replace(secret.encode(), HIDDEN.encode())
    return _TOKEN.sub(lambda match: match[1] + f'"{HIDDEN}"'.encode(), body)


def _without_cards(body: bytes) -> bytes:
    """Not even where nobody could read it: of whatever came, a card number is not kept."""
    return hide_cards(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _sealed(core: Core, webhook_id: UUID, outcome: Outcome) -> str:
    """The outcome as it waits for the worker."""
    text = outcome_json(outcome)
    if (token := _token(outcome)) is None:
        return text
    sealed = core.keyring.seal(token.secret, owner=token_owner(webhook_id), field="token")
    kept = {"secret": sealed, "label": token.label, "expires_at": token.expires_at}
    return orjson.dumps({**orjson.loads(text), "token": kept}).decode()


def _opened(core: Core, message: "Message") -> Heard | None:
    """What was heard, with the token that came in it. Raises CannotStart without its key."""
    heard = message.heard
    token = _token(heard.outcome) if heard else None
    if heard is None or token is None or not isinstance(heard.outcome, Succeeded):
        return heard
    secret = core.keyring.unseal(token.secret, owner=token_owner(message.id), field="token")
    outcome = replace(heard.outcome, token=replace(token, secret=secret))
    return replace(heard, outcome=outcome)


def _token(outcome: Outcome | None) -> PaymentToken | None:
    return outcome.token if isinstance(outcome, Succeeded) else None


def token_owner(webhook_id: UUID) -> str:
    """What the token in a stored webhook is sealed for."""
    return f"gateway_webhook:{webhook_id}"


def _headers(request: WebhookRequest) -> dict[str, str]:
    """The headers worth keeping; what may be secret is only noted to have been there."""
    return {
        printable(name): mask_text(printable(value)) if name in _KEPT_HEADERS else HIDDEN
        for name, value in request.headers.items()
        if name in _KEPT_HEADERS or is_secret_name(name)
    }


# ── working on it ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A stored webhook in hand. heard: what was read in it, if that could be done on arrival.

    It is not read again: a signature is often in a header, and those are not kept.
    """

    id: UUID
    gateway_id: UUID
    request: WebhookRequest
    heard: Heard | None
    tries: int
    aged: bool


async def take(core: Core, limit: int) -> list[Message]:
    """Stored webhooks that are due, leased by moving their next try."""
    rows = await fetch(
        """WITH due AS (
            SELECT id FROM gateway_webhook WHERE next_try_at <= now()
            ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        UPDATE gateway_webhook SET tries = tries + 1, next_try_at = now() + $2::interval
        FROM due WHERE gateway_webhook.id = due.id
        RETURNING gateway_webhook.*, received_at < now() - $3::interval AS aged""",
        limit,
        max(timedelta(seconds=2), timedelta(seconds=30) * core.settings.poll_scale),
        ORPHAN_FOR,
    )
    return [
        Message(
            id=row["id"],
            gateway_id=row["gateway_id"],
            request=WebhookRequest(
                method=row["method"], headers=json_of(row["headers"]), body=bytes(row["body"])
            ),
            heard=_heard(row),
            tries=row["tries"],
            aged=row["aged"],
        )
        for row in rows
    ]


def _heard(row: Row) -> Heard | None:
    if row["trust"] is None:
        return None
    return Heard(
        reference=row["reference"],
        trust=Trust(row["trust"]),
        dedupe_key=row["dedupe_key"],
        outcome=read_outcome(row["outcome"]) if row["outcome"] else None,
    )


async def work_on(core: Core, message: Message) -> None:
    """Makes a stored webhook take effect: a hint to ask, or signed evidence to decide on."""
    account = await core.gateways.by_id(message.gateway_id)
    try:
        with hiding(*_hidden(account)):
            heard = _opened(core, message) or _read(account, message.request)
        token = _token(heard.outcome)
        with hiding(token.secret if token else None, *_hidden(account)):
            await _apply(core, account, message, heard)
    except Exception as error:
        # Whatever is wrong with this one, those behind it go on.
        with hiding(*_hidden(account)):
            log.exception("webhook not worked on", gateway=account.code, tries=message.tries)
            await _put_back(core, message, f"{type(error).__name__}: {error}")


def _read(account: Account, request: WebhookRequest) -> Heard:
    if account.plugin is None or account.gateway is None:
        raise GatewayConfiguration(f"the plugin {account.plugin_name} does not work")
    return account.plugin.read_webhook(account.gateway, request)


async def _apply(core: Core, account: Account, message: Message, heard: Heard) -> None:
    attempt_id = await _attempt(account, heard.reference)
    if attempt_id is None:
        refund_id = await refund_work.find(account.id, printable(heard.reference or ""))
        if refund_id is None:
            await _orphan(core, message)
        else:
            await _apply_to_refund(core, account, message, heard, refund_id)
        return
    if heard.outcome is not None and heard.trust is Trust.SIGNED:
        work = await attempts.load(attempt_id)
        await attempts.advance(
            core,
            account,
            work,
            heard.outcome,
            TransactionKind.CALLBACK,
            said=_shown(account, message.request),
        )
        # What could not be read on arrival was kept whole until now.
        late = _late(account, message, _token(heard.outcome))
        await fetch(_DONE, message.id, late)
        await codes.count(core, account, heard.outcome)
    else:
        await _hint(core, account, message, attempt_id)
    core.work.set()


async def _apply_to_refund(
    core: Core, account: Account, message: Message, heard: Heard, refund_id: UUID
) -> None:
    shown = _shown(account, message.request)
    if heard.outcome is not None and heard.trust is Trust.SIGNED:
        await refund_work.heard(core, account, refund_id, heard.outcome, shown)
        await codes.count(core, account, heard.outcome)
    else:
        await refund_work.hint(refund_id, HINT_EVERY * core.settings.poll_scale, shown)
    await fetch(_DONE, message.id, _late(account, message, None))
    core.work.set()


async def _attempt(account: Account, reference: str | None) -> UUID | None:
    rows = await fetch(
        "SELECT id FROM payment_attempt WHERE reference = $1 AND gateway_id = $2",
        printable(reference or ""),
        account.id,
    )
    return rows[0]["id"] if rows else None


_DONE = """UPDATE gateway_webhook SET status = 'DONE', next_try_at = NULL, error = NULL,
    outcome = outcome - 'token', body = coalesce($2, body) WHERE id = $1"""


async def _hint(core: Core, account: Account, message: Message, attempt_id: UUID) -> None:
    """Makes the next question due now, or as soon as the last one is old enough."""
    await fetch(
        """WITH hinted AS (
            UPDATE payment_attempt SET next_check_at = least(
                coalesce(next_check_at, 'infinity'),
                greatest(now(), coalesce(asked_at + $2::interval, now())))
            WHERE id = $1 RETURNING payment_id
        ), log AS (
            INSERT INTO payment_transaction
                (payment_id, gateway_id, kind, outcome, request, response)
            SELECT payment_id, $3, 'CALLBACK', 'heard; asking the gateway', $4::jsonb, NULL
            FROM hinted
        )
        UPDATE gateway_webhook SET status = 'DONE', next_try_at = NULL, error = NULL
        WHERE id = $5""",
        attempt_id,
        HINT_EVERY * core.settings.poll_scale,
        account.id,
        orjson.dumps(_shown(account, message.request)).decode(),
        message.id,
    )


def _shown(account: Account, request: WebhookRequest) -> dict[str, Any]:
    """What came, as it may be shown in a payment's log."""
    content_type = request.headers.get("content-type", "")
    hidden = spellings(*_hidden(account))
    return {"method": request.method, "body": shown_body(request.body, content_type, hidden)}


def _hidden(account: Account) -> list[str]:
    """What a provider may know of us and nobody else: it is kept and logged nowhere."""
    known = secret_values(account.gateway.config) if account.gateway else []
    return [*known, account.webhook_token]


def _late(account: Account, message: Message, known: PaymentToken | None) -> bytes | None:
    """The body to keep of a message that could not be read on arrival; None: as it is."""
    return None if message.heard else _without_secrets(account, message.request.body, known)


async def _orphan(core: Core, message: Message) -> None:
    """About nothing we know: perhaps not yet. Tried again for a day, then listed for people."""
    delay = timedelta(seconds=min(3600, 5 * 2**message.tries)) * core.settings.poll_scale
    await fetch(
        """UPDATE gateway_webhook SET status = 'ORPHAN', error = 'no such attempt',
            next_try_at = CASE WHEN $2 THEN NULL ELSE now() + $3::interval END
        WHERE id = $1""",
        message.id,
        message.aged,
        delay,
    )


async def _put_back(core: Core, message: Message, error: str) -> None:
    dead = message.tries >= MAX_TRIES
    delay = timedelta(seconds=min(3600, 5 * 2**message.tries)) * core.settings.poll_scale
    await fetch(
        """UPDATE gateway_webhook SET error = $2, status = CASE WHEN $3 THEN 'DEAD' ELSE status END,
            next_try_at = CASE WHEN $3 THEN NULL ELSE now() + $4::interval END,
            outcome = CASE WHEN $3 THEN outcome - 'token' ELSE outcome END
        WHERE id = $1""",
        message.id,
        mask_text(printable(error))[:1000],
        dead,
        delay,
    )


async def replay(message_id: UUID) -> None:
    """Puts a dead or orphaned webhook back to work. Raises NotFound."""
    rows = await fetch(
        "UPDATE gateway_webhook SET status = 'RECEIVED', tries = 0, next_try_at = now() "
        "WHERE id = $1 AND status IN ('DEAD', 'ORPHAN') RETURNING id",
        message_id,
    )
    if not rows:
        raise NotFound
