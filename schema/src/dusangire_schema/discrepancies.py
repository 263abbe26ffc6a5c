"""What does not agree between the statements and our records, and what people do about it."""

from typing import Annotated, cast

import strawberry

from dusangire.reconciliation import discrepancies as core
from dusangire.reconciliation import measures, suspense
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import DiscrepancyKind, DiscrepancySeverity, DiscrepancyStatus
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import id_of, known_id, required_day
from dusangire_schema.reconciliation import MatchPayload
from dusangire_schema.scalars import DayText
from dusangire_schema.types import Discrepancy, Money


@strawberry.type
class DiscrepancyEdge:
    cursor: str
    node: Discrepancy


@strawberry.type
class DiscrepancyConnection:
    edges: list[DiscrepancyEdge]
    page_info: PageInfo


@strawberry.type
class DiscrepancyPayload:
    discrepancy: Discrepancy | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, found: core.Discrepancy) -> "DiscrepancyPayload":
        return cls(discrepancy=cast("Discrepancy", found))

    @classmethod
    def refused(cls, errors: list[UserError]) -> "DiscrepancyPayload":
        return cls(user_errors=errors)


@strawberry.input
class ResolveDiscrepancyInput:
    discrepancy_id: strawberry.ID
    status: DiscrepancyStatus
    note: str


@strawberry.type
class SuspenseAge:
    days: str = strawberry.field(description="0-1, 2-3, 4-7, 8-30 or >30.")
    count: int
    amount: Money


@strawberry.type(description="Money that came in and is nobody's yet.")
class Suspense:
    account: str
    count: int
    total: Money
    oldest_days: int | None
    ages: list[SuspenseAge]


@strawberry.type
class RuleMeasure:
    rule: str
    automatic: int = strawberry.field(description="Matches that needed no person.")
    undone: int = strawberry.field(description="Of these, the ones that a person took apart.")
    false_match_rate: float | None
    offered: int = strawberry.field(description="Suggestions that a person decided on.")
    accepted: int
    acceptance_rate: float | None


@strawberry.type
class OpenMeasure:
    kind: DiscrepancyKind
    days: str = strawberry.field(description="0-1, 2-3, 4-7, 8-30 or >30.")
    count: int


@strawberry.type(description="How well an account is reconciled. Rates are 0 to 1.")
class ReconciliationMeasures:
    account: str
    lines: int = strawberry.field(description="Booked in the period.")
    automatic: int = strawberry.field(description="Of these, matched without a person.")
    straight_through_rate: float | None
    total: Money
    automatic_total: Money
    straight_through_value_rate: float | None
    rules: list[RuleMeasure]
    open: list[OpenMeasure] = strawberry.field(description="Open discrepancies, as of now.")
    oldest_open_days: int | None
    suspense: Money = strawberry.field(description="Received, whose it is unknown; as of now.")
    clearing: Money = strawberry.field(description="On its way; as of now.")
    days_to_bank: float | None = strawberry.field(
        description="On average, from a payment to its line."
    )
    fee: Money
    gross: Money
    fee_percent: float | None = strawberry.field(description="What was taken, of the gross.")
    agreed_percent: float | None = strawberry.field(description="What the contract says.")


@strawberry.type
class DiscrepancyQueries:
    @strawberry.field
    async def discrepancy(self, info: Info, id: strawberry.ID) -> Discrepancy | None:
        context = info.context
        if (known := id_of(id)) is None:
            return None
        found = await core.discrepancy(context.core, context.actor, known)
        return cast("Discrepancy | None", found)

    @described.field("The newest first. account: a statement account's code.")
    async def discrepancies(
        self,
        info: Info,
        status: list[DiscrepancyStatus] | None = None,
        kind: list[DiscrepancyKind] | None = None,
        first: int | None = 25,
        after: str | None = None,
        severity: list[DiscrepancySeverity] | None = None,
        account: str | None = None,
    ) -> DiscrepancyConnection:
        context = info.context
        wanted = core.DiscrepancyFilter(
            status=status, kind=kind, severity=severity, account=account
        )
        page = await core.discrepancies(
            context.core, context.actor, wanted, page_size(first, 25), after
        )
        return DiscrepancyConnection(
            edges=[
                DiscrepancyEdge(cursor=cursor, node=cast("Discrepancy", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )

    @described.field(
        "Money that came in and is nobody's yet, by age. Its lines: statementLines(status: OPEN)."
    )
    async def suspense(self, info: Info, account: str) -> Suspense:
        found = await suspense.suspense(info.context.core, info.context.actor, account)
        return cast("Suspense", found)

    @described.field("How well an account was reconciled over a period, and how it stands now.")
    async def reconciliation_measures(
        self,
        info: Info,
        account: str,
        from_: Annotated[DayText, strawberry.argument(name="from")],
        to: DayText,
    ) -> ReconciliationMeasures:
        context = info.context
        days = required_day(from_, "from"), required_day(to, "to")
        found = await measures.measures(context.core, context.actor, account, *days)
        return cast("ReconciliationMeasures", found)


@strawberry.type
class DiscrepancyMutations:
    @described.field(
        "RESOLVED, IGNORED or WRITTEN_OFF, with the reason. Above the account's limit a write-off "
        "is only asked for (the answer is OPEN, with askedBy), and another person repeats it."
    )
    @answering(DiscrepancyPayload.refused)
    async def resolve_discrepancy(
        self, info: Info, input: ResolveDiscrepancyInput
    ) -> DiscrepancyPayload:
        context = info.context
        discrepancy_id = known_id(input.discrepancy_id, "discrepancyId")
        return DiscrepancyPayload.of(
            await core.resolve(
                context.core, context.actor, discrepancy_id, input.status, input.note
            )
        )

    @described.field("Say who looks after it; without staffId nobody does any more.")
    @answering(DiscrepancyPayload.refused)
    async def assign_discrepancy(
        self, info: Info, id: strawberry.ID, staff_id: strawberry.ID | None = None
    ) -> DiscrepancyPayload:
        context = info.context
        staff = known_id(staff_id, "staffId") if staff_id is not None else None
        return DiscrepancyPayload.of(
            await core.assign(context.core, context.actor, known_id(id, "id"), staff)
        )

    @described.field(
        "Say that a line is the money of a payment. A payment that waits for somebody to see its "
        "money is confirmed by it."
    )
    @answering(MatchPayload.refused)
    async def attach_line(
        self, info: Info, line_id: strawberry.ID, payment_id: strawberry.ID, note: str
    ) -> MatchPayload:
        context = info.context
        return MatchPayload.of(
            await suspense.attach(
                context.core,
                context.actor,
                known_id(line_id, "lineId"),
                known_id(payment_id, "paymentId"),
                note,
            )
        )
