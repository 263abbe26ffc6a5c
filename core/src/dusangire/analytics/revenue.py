"""What was earned, by gateway, status and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID

from dusangire.access import Actor
from dusangire.analytics.rollups import PAID
from dusangire.database import fetch
from dusangire.errors import Invalid
from dusangire.lifecycle import PaymentStatus
from dusangire.money import Money, exponent
from dusangire.permissions import Permission

# Longer than a comparison with the same month of last year needs.
MAX_DAYS = 3 * 366


class RevenueGroup(StrEnum):
    """What revenue is divided by. A week begins on Monday."""

    GATEWAY = "GATEWAY"
    STATUS = "STATUS"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


_PERIODS = (RevenueGroup.DAY, RevenueGroup.WEEK, RevenueGroup.MONTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevenueRow:
    """One group. What is not grouped by is None.

    amount: what was captured; of a status in which nothing was, what was asked for.
    """

    gateway: str | None
    status: PaymentStatus | None
    period_start: date | None
    count: int
    amount: Money
    refunded: Money


# status: without one, payments that brought nothing in are left out.
_REVENUE = """
SELECT CASE WHEN $4 THEN gateway_id END AS gateway_id, CASE WHEN $5 THEN status END AS status,
    CASE WHEN $6::text IS NOT NULL THEN date_trunc($6, day::timestamp)::date END AS period_start,
    sum(count)::bigint AS count, sum(refunded) AS refunded,
    sum(CASE WHEN status = ANY($7) THEN captured ELSE amount END) AS amount
FROM revenue_rollup
WHERE currency = $1 AND day BETWEEN $2 AND $3 AND ($5 OR status = ANY($7))
GROUP BY 1, 2, 3 HAVING sum(count) <> 0 ORDER BY 3, 1, 2"""


async def revenue(
    actor: Actor, from_: date, to: date, currency: str, group_by: Sequence[RevenueGroup]
) -> list[RevenueRow]:
    """What was earned on the days from `from_` to `to`, both included, as Kigali counts days.

    A payment counts on the day it was paid, or, if it was not, on the day it was made. It is some
    seconds behind the payments. Raises Forbidden, Invalid, CurrencyNotSupported.
    """
    actor.require(Permission.READ_ANALYTICS)
    check_days(from_, to)
    exponent(currency)
    periods = [group for group in _PERIODS if group in group_by]
    if len(periods) > 1:
        raise Invalid("groupBy takes one of DAY, WEEK and MONTH.", field=["groupBy"])
    rows = await fetch(
        _REVENUE,
        currency,
        from_,
        to,
        RevenueGroup.GATEWAY in group_by,
        RevenueGroup.STATUS in group_by,
        periods[0].value.lower() if periods else None,
        list(PAID),
    )
    codes = await gateway_codes()
    return [
        RevenueRow(
            gateway=codes[row["gateway_id"]] if row["gateway_id"] else None,
            status=PaymentStatus(row["status"]) if row["status"] else None,
            period_start=row["period_start"],
            count=row["count"],
            amount=Money(int(row["amount"]), currency),
            refunded=Money(int(row["refunded"]), currency),
        )
        for row in rows
    ]


async def gateway_codes() -> dict[UUID, str]:
    """The code of each gateway there ever was."""
    return {row["id"]: row["code"] for row in await fetch("SELECT id, code FROM gateway_account")}


def check_days(from_: date, to: date) -> None:
    """Raises Invalid for days that are none, or too many."""
    if from_ > to:
        raise Invalid("from is after to.", field=["from"])
    if (to - from_).days > MAX_DAYS:
        raise Invalid("At most three years at once.", field=["from"])
