"""Who was told what: the messages to customers and staff."""

from typing import cast

import strawberry

from dusangire.notifying import notifications
from dusangire_schema import described
from dusangire_schema.connections import page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import NotificationStatus
from dusangire_schema.inputs import known_id
from dusangire_schema.types import Notification


@strawberry.type
class NotificationQueries:
    @described.field(
        "Messages to customers and staff, the newest first. The ones to look at are FAILED and "
        "UNKNOWN."
    )
    async def notifications(
        self,
        info: Info,
        payment_id: strawberry.ID | None = None,
        statuses: list[NotificationStatus] | None = None,
        first: int | None = 50,
    ) -> list[Notification]:
        found = await notifications.listed(
            info.context.actor,
            payment_id=known_id(payment_id, "paymentId") if payment_id is not None else None,
            status=statuses,
            first=page_size(first, 50),
        )
        return cast("list[Notification]", found)
