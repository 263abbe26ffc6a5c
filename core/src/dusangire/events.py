"""Live events: what happened since a cursor, and what happens from now on."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from uuid import UUID

from dusangire import queries
from dusangire.access import Actor
from dusangire.core import Core
from dusangire.cursors import read_position
from dusangire.database import fetch
from dusangire.errors import Invalid, NotFound
from dusangire.gateways import Account
from dusangire.permissions import Permission
from dusangire.records import Payment
from dusangire.tail import EVENT_COLUMNS, Behind, EventRecord, Subscription

MAX_MISSED = 500


async def missed(
    core: Core,
    actor: Actor,
    after: str | None = None,
    types: Sequence[str] | None = None,
    first: int = 100,
) -> list[EventRecord]:
    """Events after a cursor, in commit order. Raises Forbidden; Invalid for a strange cursor."""
    actor.require(Permission.READ_PAYMENTS)
    if not 1 <= first <= MAX_MISSED:
        raise Invalid(f"first must be between 1 and {MAX_MISSED}.", field=["first"])
    position = read_position(after) if after is not None else 0
    return await _stored(position, types, first)


async def watch_payment(
    core: Core, actor: Actor, payment_id: UUID, after_version: int | None = None
) -> AsyncGenerator[EventRecord, None]:
    """The payment now, unless the caller has that version, then every change.

    Raises NotFound; Unauthenticated when the token is taken away.
    """
    if not actor.may_see(payment_id):
        raise NotFound(field=["id"])
    # Subscribed before the state is read: what changes in between waits in the queue.
    subscription = core.tail.subscribe(actor, payment_id)
    try:
        head = core.tail.position
        payment = await queries.payment(core, actor, id=payment_id)
        if payment is None:
            raise NotFound(field=["id"])
        seen = after_version or 0
        if payment.version > seen:
            seen = payment.version
            yield _now(payment, head)
        while True:
            event = await subscription.next()
            if event.version > seen:
                seen = event.version
                yield event
    finally:
        core.tail.unsubscribe(subscription)


async def watch(
    core: Core, actor: Actor, after: str | None = None, types: Sequence[str] | None = None
) -> AsyncGenerator[EventRecord, None]:
    """Every event from a cursor on; without one, from now on. Raises Unauthenticated."""
    actor.require(Permission.READ_PAYMENTS)
    position = read_position(after) if after is not None else core.tail.position
    subscription = core.tail.subscribe(actor)
    try:
        while True:
            # More events than a queue holds may come at once: then they are read from the log.
            subscription.behind = False
            async with aclosing(_catch_up(position, types)) as stored:
                async for event in stored:
                    if subscription.ended is not None:
                        raise subscription.ended
                    position = event.position
                    yield event
            with suppress(Behind):
                async for event in _live(subscription):
                    if event.position > position:
                        position = event.position
                        if types is None or event.type in types:
                            yield event
    finally:
        core.tail.unsubscribe(subscription)


async def watch_gateways(core: Core, actor: Actor) -> AsyncGenerator[Account, None]:
    """Every gateway as it does now, then each whose condition changed. Raises Unauthenticated."""
    subscription = core.tail.subscribe_to_gateways(actor)
    try:
        while True:
            # Whoever was too slow for the changes gets what they came to.
            subscription.behind = False
            for account in await core.gateways.all():
                yield account
            with suppress(Behind):
                async for event in _live(subscription):
                    if (account_now := await gateway_of(core, event)) is not None:
                        yield account_now
    finally:
        core.tail.unsubscribe(subscription)


async def gateway_of(core: Core, event: EventRecord) -> Account | None:
    """The gateway that an event is about, with its condition as the event told it."""
    if event.gateway_id is None:
        return None
    return replace(await core.gateways.by_id(event.gateway_id), told=event.health)


async def _live(subscription: Subscription) -> AsyncGenerator[EventRecord, None]:
    while True:
        yield await subscription.next()


async def _catch_up(
    position: int, types: Sequence[str] | None
) -> AsyncGenerator[EventRecord, None]:
    while True:
        events = await _stored(position, types, MAX_MISSED)
        for event in events:
            position = event.position
            yield event
        if len(events) < MAX_MISSED:
            return


async def _stored(position: int, types: Sequence[str] | None, first: int) -> list[EventRecord]:
    rows = await fetch(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE position > $1 "
        "AND ($2::text[] IS NULL OR type = ANY($2)) ORDER BY position LIMIT $3",
        position,
        list(types) if types is not None else None,
        first,
    )
    return [EventRecord.of(row) for row in rows]


def _now(payment: Payment, head: int) -> EventRecord:
    return EventRecord(
        position=head,
        type=f"payment.{payment.status.lower()}",
        occurred_at=payment.updated_at,
        payment_id=payment.id,
        payment=payment,
    )
