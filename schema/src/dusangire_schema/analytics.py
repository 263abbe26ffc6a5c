"""What was earned, and how the gateways do."""

from datetime import date
from typing import Annotated, cast

import strawberry

from dusangire.analytics import performance as core_performance
from dusangire.analytics import revenue as core_revenue
from dusangire_schema import described
from dusangire_schema.context import Info
from dusangire_schema.enums import FailureCode, PaymentStatus, RevenueGroup
from dusangire_schema.inputs import required_day
from dusangire_schema.scalars import CurrencyCode, DayText
from dusangire_schema.types import Money


@strawberry.type
class RevenueRow:
    gateway: str | None
    status: PaymentStatus | None
    period_start: date | None
    count: int
    amount: Money = strawberry.field(
        description="What was captured; with STATUS in groupBy, of a status in which nothing was "
        "captured, what was asked for."
    )
    refunded: Money


@strawberry.type
class FailureCount:
    code: FailureCode
    count: int


@strawberry.type
class GatewayPerformance:
    gateway: str
    attempts: int = strawberry.field(description="Those that ended, by the day they were made.")
    succeeded: int
    success_rate: float | None
    p50_seconds: float | None = strawberry.field(
        description="From the request to the success, within 2.5 per cent."
    )
    p95_seconds: float | None
    failures: list[FailureCount]


@strawberry.type
class AnalyticsQueries:
    @described.field(
        "From sums that are kept, some seconds behind the payments. Days are those of Kigali; a "
        "payment counts on the day it was paid, or made if it was not. At most three years."
    )
    async def revenue(
        self,
        info: Info,
        from_: Annotated[DayText, strawberry.argument(name="from")],
        to: DayText,
        currency: CurrencyCode,
        group_by: list[RevenueGroup],
    ) -> list[RevenueRow]:
        rows = await core_revenue.revenue(
            info.context.actor,
            required_day(from_, "from"),
            required_day(to, "to"),
            currency,
            group_by,
        )
        return cast("list[RevenueRow]", rows)

    @described.field("How each gateway did with the attempts of these days.")
    async def gateway_performance(
        self,
        info: Info,
        from_: Annotated[DayText, strawberry.argument(name="from")],
        to: DayText,
    ) -> list[GatewayPerformance]:
        found = await core_performance.gateway_performance(
            info.context.actor, required_day(from_, "from"), required_day(to, "to")
        )
        return cast("list[GatewayPerformance]", found)
