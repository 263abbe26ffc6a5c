"""The condition of a gateway as its callers see it: the breaker, shared by all processes.

Each process counts its own calls. Whoever has seen enough writes the change into the gateway's row
at once; the others read it with the gateways, two seconds later at most.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from dusangire import codes
from dusangire.breaker import Breaker, Call, gentle_share, is_answer, probe_wait
from dusangire.database import Row, fetch
from dusangire.errors import GatewayUnavailable, Retryable
from dusangire.exchanges import Exchange
from dusangire.gateway import Failed, NotSent, Outcome, Unknown
from dusangire.lifecycle import TransactionKind
from dusangire.masking import mask_text

if TYPE_CHECKING:
    from dusangire.core import Core
    from dusangire.gateways import Account

log = structlog.get_logger(__name__)

# In a storm of failures the latest one is told now and then, not each.
ERROR_EVERY = 5.0
MAX_ERROR = 500


@dataclass(slots=True)
class Watch:
    """What this process knows of one gateway's condition; it stays when the settings change.

    probe_at, changed_at: on the monotonic clock.
    talks: whether the plugin ever made a network call. One that makes none cannot be cut off.
    """

    breaker: Breaker = Breaker()
    probe_at: float = math.inf
    changed_at: float = -math.inf
    talks: bool = False
    logged_codes: set[str] = field(default_factory=set)
    _changing: bool = False
    _error_at: float = -math.inf

    @property
    def is_open(self) -> bool:
        return self.breaker.is_open

    @property
    def probe_is_due(self) -> bool:
        return self.is_open and time.monotonic() >= self.probe_at

    @property
    def retry_in(self) -> int:
        """Seconds until it may be worth trying again."""
        wait = self.probe_at - time.monotonic()
        return max(1, math.ceil(wait)) if math.isfinite(wait) else 1

    def share_of(self, places: int, scale: float) -> int:
        """How many of the places due work may take: few, just after the breaker closed."""
        return gentle_share(places, time.monotonic() - self.changed_at, scale)

    def learn(self, row: Row) -> None:
        """Takes in the shared row, as `WATCH_COLUMNS` gives it."""
        now, before = time.monotonic(), self.breaker
        self.breaker = before.learned(row["term"] or 0)
        if self.breaker.term == (row["term"] or 0):
            self.probe_at = now + row["probe_in"] if row["probe_in"] is not None else math.inf
            if row["changed_ago"] is not None:
                self.changed_at = now - row["changed_ago"]


WATCH_COLUMNS = """h.term, extract(epoch FROM h.probe_at - now())::float8 AS probe_in,
    extract(epoch FROM now() - h.changed_at)::float8 AS changed_ago"""


def refuse_if_unavailable(account: "Account") -> None:
    """Raises GatewayUnavailable: what is sent now would get no answer, or none in time."""
    field_ = ["method", "gateway"]
    if account.watch.is_open:
        raise GatewayUnavailable(
            f"{account.name} gives no answers at the moment. Choose another payment method, or "
            f"try again in {account.watch.retry_in} s.",
            field=field_,
        )
    if account.places.crowded:
        raise GatewayUnavailable(
            f"{account.name} is very slow at the moment, and many are waiting for it. Choose "
            "another payment method, or try again in a minute.",
            field=field_,
        )


# ── seeing ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One call of a hook: what it was about, in which term it began, and what came of it.

    about: the attempt's reference.
    """

    about: str
    kind: TransactionKind
    term: int
    outcome: Outcome
    exchanges: Sequence[Exchange]
    duration_ms: int


async def saw(core: "Core", account: "Account", seen: Seen) -> None:
    """Takes in a call. Nothing is written while all is well.

    Never raises: what became of the money is written elsewhere, and more important.
    """
    try:
        for tell in core.gateways.observers:
            tell(account, seen)
        answered = _answered(account.watch, seen)
        if answered is not None:
            call = Call(time.monotonic(), seen.about, answered)
            await _took_in(core, account, call, seen.term, _words(seen.outcome))
    except Retryable:
        log.warning("a gateway's condition was not written down", gateway=account.code)
    except Exception:
        log.exception("a gateway's condition was not written down", gateway=account.code)
    await codes.count(core, account, seen.outcome)


async def looked(
    core: "Core", account: "Account", term: int, *, ok: bool, message: str | None
) -> None:
    """Takes in a look that was no call about an attempt. Raises Retryable."""
    call = Call(time.monotonic(), "a look", ok)
    await _took_in(core, account, call, term, message)


def _answered(watch: Watch, seen: Seen) -> bool | None:
    """None when the call says nothing about the gateway, because it did not get that far."""
    if seen.exchanges:
        watch.talks = True
        return is_answer(seen.kind, seen.outcome, seen.exchanges)
    # Somebody else's call fetched the token for all, or the hook broke before it had sent anything.
    sending = seen.kind is TransactionKind.INITIATE
    lost = isinstance(seen.outcome, Unknown) or (isinstance(seen.outcome, NotSent) and sending)
    return False if watch.talks and lost else None


def _words(outcome: Outcome) -> str | None:
    match outcome:
        case Unknown(cause=words) | NotSent(cause=words) | Failed(message=words):
            return mask_text(words)[:MAX_ERROR]
        case _:
            return None


async def _took_in(
    core: "Core", account: "Account", call: Call, term: int, error: str | None
) -> None:
    watch = account.watch
    watch.breaker = watch.breaker.saw(call, term)
    error = None if call.answered else error
    if watch.breaker.must_change(call.at) and not watch._changing:
        watch._changing = True
        try:
            await _change(core, account, error)
        finally:
            watch._changing = False
    elif error is not None and call.at - watch._error_at >= ERROR_EVERY:
        watch._error_at = call.at
        await fetch(_ERROR, account.id, error)


_ERROR = """
INSERT INTO gateway_health (gateway_id, last_error, last_error_at) VALUES ($1, $2, now())
ON CONFLICT (gateway_id) DO UPDATE SET last_error = $2, last_error_at = now()"""

# Whoever has seen enough in this term begins the next one; who comes second changes nothing.
_CHANGE = f"""
WITH changed AS (
    INSERT INTO gateway_health AS h
        (gateway_id, term, changed_at, probe_at, last_error, last_error_at)
    SELECT $1, 1, now(), now() + $3::interval, $4, CASE WHEN $4::text IS NOT NULL THEN now() END
    WHERE $2 = 0 OR EXISTS (SELECT FROM gateway_health WHERE gateway_id = $1)
    ON CONFLICT (gateway_id) DO UPDATE SET term = h.term + 1, changed_at = now(), probes = 0,
        probe_at = CASE WHEN h.term % 2 = 0 THEN now() + $3::interval END,
        last_error = coalesce($4, h.last_error),
        last_error_at = CASE WHEN $4::text IS NOT NULL THEN now() ELSE h.last_error_at END
    WHERE h.term = $2
    RETURNING *
), event AS (
    INSERT INTO event (type, data)
    SELECT 'gateway.health',
        jsonb_build_object('gateway_id', gateway_id, 'health', to_jsonb(changed))
    FROM changed
)
SELECT {WATCH_COLUMNS} FROM changed h"""


async def _change(core: "Core", account: "Account", error: str | None) -> None:
    """Opens the breaker, or closes it, for everybody."""
    wait = probe_wait(0, core.settings.poll_scale)
    rows = await fetch(_CHANGE, account.id, account.watch.breaker.term, wait, error)
    if not rows:
        await core.gateways.reload()  # another process was first
        return
    account.watch.learn(rows[0])
    if account.watch.is_open:
        log.error("gateway left alone: it gives no answers", gateway=account.code, error=error)
    else:
        log.info("gateway answers again", gateway=account.code)
        core.work.set()
    core.news.set()


# ── probing ──────────────────────────────────────────────────────────────────────────────────────


async def claim_probe(account: "Account") -> int | None:
    """The number of probes so far, when it is this process's turn to look; None otherwise.

    A process that dies meanwhile leaves the turn to another one when the call would have ended.
    """
    rows = await fetch(
        "UPDATE gateway_health SET probe_at = now() + $3::interval "
        "WHERE gateway_id = $1 AND term = $2 AND probe_at <= now() RETURNING probes",
        account.id,
        account.watch.breaker.term,
        timedelta(seconds=account.call_timeout + 10),
    )
    account.watch.probe_at = time.monotonic() + 1  # the next reading of the row knows better
    return rows[0]["probes"] if rows else None


async def put_off(core: "Core", account: "Account", term: int, probes: int) -> None:
    """After a probe without an answer: the next one later."""
    wait = probe_wait(probes + 1, core.settings.poll_scale)
    rows = await fetch(
        "UPDATE gateway_health SET probes = probes + 1, probe_at = now() + $3::interval "
        "WHERE gateway_id = $1 AND term = $2 RETURNING 1",
        account.id,
        term,
        wait,
    )
    if rows:
        account.watch.probe_at = time.monotonic() + wait.total_seconds()
