"""Where the merchant is told what happens, and what it was told: Standard Webhooks."""

from datetime import datetime
from typing import cast
from uuid import UUID

import orjson
import strawberry

from dusangire.errors import Invalid
from dusangire.outbox import endpoints as core
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import WebhookDeliveryStatus
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import id_of, known_id, moment
from dusangire_schema.scalars import JSON, MomentText


@strawberry.type(description="One try to deliver.")
class WebhookTry:
    number: int
    http_status: int | None
    error: str | None
    answer: str | None = strawberry.field(description="How the body of the answer begins, masked.")
    duration_ms: int
    tried_at: datetime


@strawberry.type(description="One event for one endpoint.")
class WebhookDelivery:
    endpoint_id: strawberry.Private[UUID]
    payment_id: strawberry.Private[UUID | None]
    body: strawberry.Private[str]
    id: strawberry.ID
    message_id: str = strawberry.field(
        description="The webhook-id header: the same in every try, and when it is sent anew."
    )
    type: str
    status: WebhookDeliveryStatus
    tries: int = strawberry.field(description="How often it was tried.")
    http_status: int | None = strawberry.field(description="Of the latest try.")
    error: str | None = strawberry.field(description="Why the latest try did not succeed.")
    created_at: datetime
    ended_at: datetime | None
    next_try_at: datetime | None

    @described.field("What is sent: type, timestamp, data.")
    def payload(self) -> JSON:
        return JSON(orjson.loads(self.body))

    @described.field("The tries, in their order; of many the latest hundred.")
    async def log(self, info: Info) -> list[WebhookTry]:
        found = await info.context.loaders.webhook_tries.load(cast("core.Delivery", self).id)
        return cast("list[WebhookTry]", found)

    @strawberry.field
    async def endpoint(self, info: Info) -> "WebhookEndpoint":
        found = await info.context.loaders.webhook_endpoints.load(self.endpoint_id)
        return cast("WebhookEndpoint", found)


@strawberry.type
class WebhookDeliveryEdge:
    cursor: str
    node: WebhookDelivery


@strawberry.type
class WebhookDeliveryConnection:
    edges: list[WebhookDeliveryEdge]
    page_info: PageInfo


@strawberry.type
class WebhookEndpointHealth:
    failures: int = strawberry.field(description="In a row, since the last success.")
    failing_since: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: str | None


@strawberry.type
class WebhookEndpoint:
    id: strawberry.ID
    url: str
    events: list[str]
    enabled: bool
    created_at: datetime
    disabled_because: str | None = strawberry.field(
        description="Why nothing is sent to it; null while it is."
    )
    old_secret_until: datetime | None = strawberry.field(
        description="Until then webhooks are signed with its former secret as well."
    )
    health: WebhookEndpointHealth

    @described.field("What it was told, the newest first.")
    async def deliveries(
        self,
        info: Info,
        first: int | None = 25,
        after: str | None = None,
        status: WebhookDeliveryStatus | None = None,
    ) -> WebhookDeliveryConnection:
        _refuse_nested(info)
        page = await core.deliveries(
            info.context.actor,
            cast("core.Endpoint", self).id,
            status=status,
            first=page_size(first, 25),
            after=after,
        )
        return WebhookDeliveryConnection(
            edges=[
                WebhookDeliveryEdge(cursor=cursor, node=cast("WebhookDelivery", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )


def _refuse_nested(info: Info) -> None:
    """A page of deliveries for each delivery of a page is more than anybody can read."""
    above = info.path.prev
    while above is not None:
        if above.typename == "WebhookDelivery":
            raise Invalid("deliveries cannot be asked for below a delivery.", field=["deliveries"])
        above = above.prev


@strawberry.type
class WebhookEndpointPayload:
    endpoint: WebhookEndpoint | None = None
    secret: str | None = strawberry.field(default=None, description="Shown once.")
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, endpoint: core.Endpoint, secret: str | None = None) -> "WebhookEndpointPayload":
        return cls(endpoint=cast("WebhookEndpoint", endpoint), secret=secret)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "WebhookEndpointPayload":
        return cls(user_errors=errors)


@strawberry.type
class WebhookDeliveryPayload:
    delivery: WebhookDelivery | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, delivery: core.Delivery) -> "WebhookDeliveryPayload":
        return cls(delivery=cast("WebhookDelivery", delivery))

    @classmethod
    def refused(cls, errors: list[UserError]) -> "WebhookDeliveryPayload":
        return cls(user_errors=errors)


@strawberry.type
class RedeliverFailedPayload:
    count: int = strawberry.field(default=0, description="How many are sent anew.")
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "RedeliverFailedPayload":
        return cls(user_errors=errors)


@strawberry.type
class WebhookQueries:
    @strawberry.field
    async def webhook_endpoints(self, info: Info) -> list[WebhookEndpoint]:
        return cast("list[WebhookEndpoint]", await core.endpoints(info.context.actor))

    @strawberry.field
    async def webhook_delivery(self, info: Info, id: strawberry.ID) -> WebhookDelivery | None:
        known = id_of(id) or UUID(int=0)
        return cast("WebhookDelivery | None", await core.delivery(info.context.actor, known))


@strawberry.type
class WebhookMutations:
    @described.field(
        "events: *, payment.*, refund.*, invoice.*, or types such as payment.succeeded."
    )
    @answering(WebhookEndpointPayload.refused)
    async def create_webhook_endpoint(
        self, info: Info, url: str, events: list[str]
    ) -> WebhookEndpointPayload:
        context = info.context
        made, secret = await core.create(context.core, context.actor, url, events)
        return WebhookEndpointPayload.of(made, secret)

    @described.field("What is left out stays. What waited is sent when it is switched on again.")
    @answering(WebhookEndpointPayload.refused)
    async def update_webhook_endpoint(
        self,
        info: Info,
        id: strawberry.ID,
        url: str | None = None,
        events: list[str] | None = None,
        enabled: bool | None = None,
    ) -> WebhookEndpointPayload:
        context = info.context
        return WebhookEndpointPayload.of(
            await core.update(
                context.core,
                context.actor,
                known_id(id, "id"),
                url=url,
                events=events,
                enabled=enabled,
            )
        )

    @described.field("For ever. What it was told stays in the records.")
    @answering(WebhookEndpointPayload.refused)
    async def delete_webhook_endpoint(
        self, info: Info, id: strawberry.ID
    ) -> WebhookEndpointPayload:
        return WebhookEndpointPayload.of(await core.delete(info.context.actor, known_id(id, "id")))

    @described.field("A new secret. Until overlapHours are over the old one signs as well.")
    @answering(WebhookEndpointPayload.refused)
    async def rotate_webhook_secret(
        self, info: Info, id: strawberry.ID, overlap_hours: int | None = 24
    ) -> WebhookEndpointPayload:
        context = info.context
        hours = 24 if overlap_hours is None else overlap_hours
        made, secret = await core.rotate(context.core, context.actor, known_id(id, "id"), hours)
        return WebhookEndpointPayload.of(made, secret)

    @described.field("Sends webhook.test. Ask for the delivery again to see what came of it.")
    @answering(WebhookDeliveryPayload.refused)
    async def test_webhook_endpoint(self, info: Info, id: strawberry.ID) -> WebhookDeliveryPayload:
        context = info.context
        return WebhookDeliveryPayload.of(
            await core.send_test(context.core, context.actor, known_id(id, "id"))
        )

    @described.field("The same webhook-id and body again.")
    @answering(WebhookDeliveryPayload.refused)
    async def redeliver(self, info: Info, delivery_id: strawberry.ID) -> WebhookDeliveryPayload:
        context = info.context
        return WebhookDeliveryPayload.of(
            await core.redeliver(context.core, context.actor, known_id(delivery_id, "deliveryId"))
        )

    @described.field("What was given up of what happened since then.")
    @answering(RedeliverFailedPayload.refused)
    async def redeliver_failed(
        self, info: Info, endpoint_id: strawberry.ID, since: MomentText
    ) -> RedeliverFailedPayload:
        context = info.context
        known, start = known_id(endpoint_id, "endpointId"), moment(since, "since")
        if start is None:
            raise Invalid("since must be a moment.", field=["since"])
        return RedeliverFailedPayload(
            count=await core.redeliver_failed(context.core, context.actor, known, start)
        )
