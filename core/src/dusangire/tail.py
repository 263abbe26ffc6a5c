"""The tail of the event log: one reader in each process, feeding that process's subscribers.

Positions have no gaps (see `sequencer`), so that reading from the last one on misses nothing. The
NOTIFY of the sequencer only wakes the reader up; a lost one costs a poll interval.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from dusangire.access import Actor, valid_keys, valid_sessions
from dusangire.cursors import position_cursor
from dusangire.database import LOST, Row, fetch
from dusangire.errors import Retryable, Unauthenticated
from dusangire.health import Health
from dusangire.records import Invoice, Payment, Reconciliation, RefundRequest, json_of

log = structlog.get_logger(__name__)

CHANNEL = "dusangire_events"
POLL = 1.0
ACCESS_CHECK = 2.0
QUEUE = 100
# The type of the events that tell how a gateway does.
HEALTH = "gateway.health"
# The type of the events that tell what a run found that is grave.
DISCREPANCIES = "discrepancy.opened"
_PAGE = 1_000

EVENT_COLUMNS = "position, type, payment_id, data, occurred_at"


class Behind(Exception):
    """More events came than a subscriber's queue holds: it reads on from the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedDiscrepancies:
    """What one run over an account found that is grave and new: how many of each kind."""

    account: str
    name: str
    kinds: Mapping[str, int]

    @property
    def count(self) -> int:
        return sum(self.kinds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One change, with what it changed as the change left it. `health`: a gateway's."""

    position: int
    type: str
    occurred_at: datetime
    payment_id: UUID | None
    payment: Payment | None
    refund: RefundRequest | None = None
    invoice: Invoice | None = None
    reconciliation: Reconciliation | None = None
    discrepancies: OpenedDiscrepancies | None = None
    gateway_id: UUID | None = None
    health: Health | None = None

    @property
    def cursor(self) -> str:
        return position_cursor(self.position)

    @property
    def version(self) -> int:
        return self.payment.version if self.payment else 0

    @classmethod
    def of(cls, row: Row) -> "EventRecord":
        data, told = json_of(row["data"]), row["type"] == HEALTH
        # A refund's event carries its payment too, whose numbers it changed.
        refund, invoice = data.get("refund"), data.get("invoice")
        run = None if row["payment_id"] else data.get("reconciliation")
        opened = data["discrepancies"] if row["type"] == DISCREPANCIES else None
        payment = data["payment"] if refund else data if row["payment_id"] else None
        return cls(
            position=row["position"],
            type=row["type"],
            occurred_at=row["occurred_at"],
            payment_id=row["payment_id"],
            payment=Payment.of_snapshot(payment) if payment else None,
            refund=RefundRequest.of_snapshot(refund) if refund else None,
            invoice=Invoice.of_snapshot(invoice) if invoice else None,
            reconciliation=Reconciliation.of_snapshot(run) if run else None,
            discrepancies=OpenedDiscrepancies(**opened) if opened else None,
            gateway_id=UUID(data["gateway_id"]) if told else None,
            health=Health.of_snapshot(data["health"]) if told else None,
        )


@dataclass(eq=False, slots=True)
class Subscription:
    """What waits for one subscriber: at most QUEUE events.

    of_gateways: the subscriber hears how gateways do, and nothing else.
    behind: more came than has a place here; what did not is in the log.
    """

    actor: Actor
    payment_id: UUID | None
    of_gateways: bool = False
    waiting: deque[EventRecord] = field(default_factory=deque)
    ended: Exception | None = None
    behind: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, event: EventRecord) -> None:
        if len(self.waiting) >= QUEUE:
            # The latest state of a payment says all. Who watches everything must not miss any.
            self.waiting.clear()
            self.behind = self.payment_id is None
        if not self.behind:
            self.waiting.append(event)
        self._woken.set()

    def end(self, why: Exception) -> None:
        self.ended = why
        self.waiting.clear()
        self._woken.set()

    async def next(self) -> EventRecord:
        """The next event. Raises Behind; Unauthenticated when the access was taken away."""
        while True:
            if self.ended is not None:
                raise self.ended
            if self.behind:
                raise Behind
            if self.waiting:
                return self.waiting.popleft()
            self._woken.clear()
            await self._woken.wait()


@dataclass
class Tail:
    """Reads new events once and hands them to whoever subscribed. `position`: the last one read."""

    position: int = 0
    _begun: bool = False
    _of_payment: dict[UUID, set[Subscription]] = field(default_factory=lambda: defaultdict(set))
    _of_all: set[Subscription] = field(default_factory=set)
    _of_gateways: set[Subscription] = field(default_factory=set)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def subscribe(self, actor: Actor, payment_id: UUID | None = None) -> Subscription:
        subscription = Subscription(actor, payment_id)
        (self._of_payment[payment_id] if payment_id else self._of_all).add(subscription)
        return subscription

    def subscribe_to_gateways(self, actor: Actor) -> Subscription:
        subscription = Subscription(actor, None, of_gateways=True)
        self._of_gateways.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        payment_id = subscription.payment_id
        if payment_id is None:
            self._of_all.discard(subscription)
            self._of_gateways.discard(subscription)
            return
        self._of_payment[payment_id].discard(subscription)
        if not self._of_payment[payment_id]:
            del self._of_payment[payment_id]

    def __len__(self) -> int:
        of_payments = sum(map(len, self._of_payment.values()))
        return of_payments + len(self._of_all) + len(self._of_gateways)

    async def begin(self) -> None:
        """Finds the end of the log. Who subscribes before that may miss what is stamped meanwhile.

        Raises Retryable.
        """
        [row] = await fetch("SELECT coalesce(max(position), 0) AS position FROM event")
        self.position = row["position"]
        self._begun = True

    async def run(self, url: str, started: asyncio.Event | None = None) -> None:
        """Follows the log until cancelled, through lost connections too."""
        if not self._begun:
            await self.begin()
        if started is not None:
            started.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(url))
            tasks.create_task(self._follow())
            tasks.create_task(self._watch_access())

    async def _follow(self) -> None:
        while True:
            # Not wait_for: before Python 3.12 it swallows a cancellation that crosses the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self.read()
            except Retryable:
                await asyncio.sleep(POLL)
            except Exception:
                # Subscribers wait for ever if this ends: whatever it was, try again.
                log.exception("reading events interrupted")
                await asyncio.sleep(POLL)

    async def read(self) -> None:
        """Hands on what was stamped since the last time."""
        while True:
            rows = await fetch(
                f"SELECT {EVENT_COLUMNS} FROM event WHERE position > $1 ORDER BY position "
                f"LIMIT {_PAGE}",
                self.position,
            )
            for row in rows:
                self._hand_on(row)
                self.position = row["position"]
            if len(rows) < _PAGE:
                return

    def _hand_on(self, row: Row) -> None:
        watchers = (
            self._of_gateways
            if row["type"] == HEALTH
            else self._of_payment.get(row["payment_id"], set())
        )
        if watchers or self._of_all:
            try:
                event = EventRecord.of(row)
            except (ValueError, KeyError, TypeError):
                # Written by a newer version of ours, in words this one does not know yet.
                log.exception("event not understood", position=row["position"])
                return
            for subscription in [*watchers, *self._of_all]:
                subscription.push(event)

    async def _listen(self, url: str) -> None:
        while True:
            try:
                await self._listen_once(url)
            except (*LOST, asyncpg.PostgresError) as error:
                log.warning("listening for events interrupted", error=str(error))
            await asyncio.sleep(POLL)

    async def _listen_once(self, url: str) -> None:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda *_: lost.set())
            await connection.add_listener(CHANNEL, lambda *_: self._woken.set())
            await lost.wait()
        finally:
            connection.terminate()

    async def _watch_access(self) -> None:
        """Ends the subscriptions of keys that were revoked, of people who signed out or may less
        than before, and of client tokens that ran out."""
        while True:
            await asyncio.sleep(ACCESS_CHECK)
            subscriptions = [
                *self._of_all,
                *self._of_gateways,
                *(s for some in self._of_payment.values() for s in some),
            ]
            try:
                keys = await valid_keys({s.actor.key_id for s in subscriptions if s.actor.key_id})
                sessions = await valid_sessions([s.actor for s in subscriptions])
            except Retryable:
                continue
            for subscription in subscriptions:
                actor = subscription.actor
                ended = actor.key_id is not None and actor.key_id not in keys
                ended = ended or (actor.session_id is not None and actor.session_id not in sessions)
                if ended or actor.expired:
                    subscription.end(Unauthenticated("This token is not valid any more."))
