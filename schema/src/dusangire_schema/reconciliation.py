"""Runs over statements, and what people decide about matches."""

from typing import cast

import strawberry

from dusangire.reconciliation import decisions, runs
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import MatchStatus, ReconciliationRunStatus
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import id_of, known_id, required_day
from dusangire_schema.scalars import DayText
from dusangire_schema.types import Match, PaymentReconciliation


@strawberry.type
class PaymentReconciliationEdge:
    cursor: str
    node: PaymentReconciliation


@strawberry.type
class PaymentReconciliationConnection:
    edges: list[PaymentReconciliationEdge]
    page_info: PageInfo


@strawberry.type
class MatchEdge:
    cursor: str
    node: Match


@strawberry.type
class MatchConnection:
    edges: list[MatchEdge]
    page_info: PageInfo


@strawberry.input
class ReconcileInput:
    account: str
    from_: DayText = strawberry.field(name="from")
    to: DayText


@strawberry.input
class MatchLinesInput:
    line_ids: list[strawberry.ID]
    payment_ids: list[strawberry.ID]
    item_ids: list[strawberry.ID] = strawberry.field(
        default_factory=list,
        description="Payouts, and single captures or refunds of a payment, as discrepancies name "
        "them.",
    )
    note: str

    def to_core(self) -> decisions.MatchLines:
        return decisions.MatchLines(
            line_ids=[known_id(one, "lineIds") for one in self.line_ids],
            payment_ids=[known_id(one, "paymentIds") for one in self.payment_ids],
            item_ids=[known_id(one, "itemIds") for one in self.item_ids],
            note=self.note,
        )


@strawberry.type
class ReconciliationPayload:
    reconciliation: PaymentReconciliation | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, run: object) -> "ReconciliationPayload":
        return cls(reconciliation=cast("PaymentReconciliation", run))

    @classmethod
    def refused(cls, errors: list[UserError]) -> "ReconciliationPayload":
        return cls(user_errors=errors)


@strawberry.type
class MatchPayload:
    match: Match | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, match: object) -> "MatchPayload":
        return cls(match=cast("Match", match))

    @classmethod
    def refused(cls, errors: list[UserError]) -> "MatchPayload":
        return cls(user_errors=errors)


@strawberry.type
class ReconciliationQueries:
    @strawberry.field
    async def reconciliation(self, info: Info, id: strawberry.ID) -> PaymentReconciliation | None:
        context = info.context
        if (known := id_of(id)) is None:
            return None
        found = await runs.reconciliation(context.core, context.actor, known)
        return cast("PaymentReconciliation | None", found)

    @described.field("The newest first.")
    async def reconciliations(
        self,
        info: Info,
        first: int | None = 25,
        after: str | None = None,
        account: str | None = None,
        status: list[ReconciliationRunStatus] | None = None,
    ) -> PaymentReconciliationConnection:
        context = info.context
        page = await runs.reconciliations(
            context.core,
            context.actor,
            page_size(first, 25),
            after,
            account=account,
            status=status,
        )
        return PaymentReconciliationConnection(
            edges=[
                PaymentReconciliationEdge(cursor=cursor, node=cast("PaymentReconciliation", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )

    @strawberry.field
    async def match(self, info: Info, id: strawberry.ID) -> Match | None:
        context = info.context
        if (known := id_of(id)) is None:
            return None
        found = await decisions.match(context.core, context.actor, known)
        return cast("Match | None", found)

    @described.field("The newest first.")
    async def matches(
        self,
        info: Info,
        status: list[MatchStatus] | None = None,
        account: str | None = None,
        first: int | None = 25,
        after: str | None = None,
    ) -> MatchConnection:
        context = info.context
        page = await decisions.matches(
            context.core, context.actor, status, account, page_size(first, 25), after
        )
        return MatchConnection(
            edges=[
                MatchEdge(cursor=cursor, node=cast("Match", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )


@strawberry.type
class ReconciliationMutations:
    @described.field(
        "Compares an account with the payments, over days of its statements. Watch it by "
        "events of the type reconciliation.progress."
    )
    @answering(ReconciliationPayload.refused)
    async def reconcile(self, info: Info, input: ReconcileInput) -> ReconciliationPayload:
        context = info.context
        days = required_day(input.from_, "input", "from"), required_day(input.to, "input", "to")
        return ReconciliationPayload.of(
            await runs.begin(context.core, context.actor, input.account, *days)
        )

    @described.field(
        "Another person's yes. With the digest of the run as they saw it, it is refused if that "
        "changed since."
    )
    @answering(ReconciliationPayload.refused)
    async def approve_reconciliation(
        self, info: Info, id: strawberry.ID, note: str | None = None, digest: str | None = None
    ) -> ReconciliationPayload:
        context = info.context
        return ReconciliationPayload.of(
            await runs.approve(context.core, context.actor, known_id(id, "id"), note, digest)
        )

    @described.field("Another person's no, with the reason. What was matched stays.")
    @answering(ReconciliationPayload.refused)
    async def reject_reconciliation(
        self, info: Info, id: strawberry.ID, note: str
    ) -> ReconciliationPayload:
        context = info.context
        return ReconciliationPayload.of(
            await runs.reject(context.core, context.actor, known_id(id, "id"), note)
        )

    @described.field(
        "Yes to a suggestion. With a difference above the account's limit, a second person who may "
        "write off says it too."
    )
    @answering(MatchPayload.refused)
    async def confirm_match(
        self, info: Info, id: strawberry.ID, note: str | None = None
    ) -> MatchPayload:
        context = info.context
        return MatchPayload.of(
            await decisions.confirm_match(context.core, context.actor, known_id(id, "id"), note)
        )

    @described.field("No to a suggestion: these are not put together again by themselves.")
    @answering(MatchPayload.refused)
    async def reject_match(
        self, info: Info, id: strawberry.ID, note: str | None = None
    ) -> MatchPayload:
        context = info.context
        return MatchPayload.of(
            await decisions.reject_match(context.core, context.actor, known_id(id, "id"), note)
        )

    @described.field("Puts lines and payments together by hand.")
    @answering(MatchPayload.refused)
    async def match_lines(self, info: Info, input: MatchLinesInput) -> MatchPayload:
        context = info.context
        return MatchPayload.of(
            await decisions.match_lines(context.core, context.actor, input.to_core())
        )

    @described.field("Takes a confirmed match apart, with reversing entries in the books.")
    @answering(MatchPayload.refused)
    async def unmatch(self, info: Info, id: strawberry.ID, note: str) -> MatchPayload:
        context = info.context
        return MatchPayload.of(
            await decisions.unmatch(context.core, context.actor, known_id(id, "id"), note)
        )
