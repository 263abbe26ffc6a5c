"""What can be watched."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import strawberry

from dusangire import events
from dusangire_schema import described
from dusangire_schema.context import Info
from dusangire_schema.inputs import known_id
from dusangire_schema.queries import event_types
from dusangire_schema.types import Event, Gateway


@strawberry.type
class Subscription:
    @described.subscription(
        "The payment now, then every change. afterVersion skips what the client already has."
    )
    async def payment_updated(
        self, info: Info, id: strawberry.ID, after_version: int | None = None
    ) -> AsyncGenerator[Event, None]:
        context = info.context
        watched = events.watch_payment(
            context.core, context.actor, known_id(id, "id"), after_version
        )
        async with aclosing(watched):
            async for event in watched:
                yield cast("Event", event)

    @described.subscription("Everything the caller may see, from a cursor on.")
    async def events(
        self, info: Info, after: str | None = None, types: list[str] | None = None
    ) -> AsyncGenerator[Event, None]:
        watched = events.watch(info.context.core, info.context.actor, after, event_types(types))
        async with aclosing(watched):
            async for event in watched:
                yield cast("Event", event)

    @described.subscription("Every gateway as it does now, then each whose condition changed.")
    async def gateway_health(self, info: Info) -> AsyncGenerator[Gateway, None]:
        watched = events.watch_gateways(info.context.core, info.context.actor)
        async with aclosing(watched):
            async for account in watched:
                yield cast("Gateway", account)
