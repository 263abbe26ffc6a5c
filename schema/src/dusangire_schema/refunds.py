"""Giving money back: asked for by one person, agreed to by another."""

from typing import cast

import strawberry

from dusangire import refunds as core
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import RefundStatus
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import MoneyInput, id_of, known_id
from dusangire_schema.types import RefundRequest


@strawberry.type
class RefundRequestEdge:
    cursor: str
    node: RefundRequest


@strawberry.type
class RefundRequestConnection:
    edges: list[RefundRequestEdge]
    page_info: PageInfo


@strawberry.input
class RequestRefundInput:
    idempotency_key: str
    payment_id: strawberry.ID
    amount: MoneyInput | None = strawberry.field(
        default=None, description="Left out: all that can be given back."
    )
    reason: str
    attempt_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of a payment that was paid twice, which of the two goes back."
    )

    def to_core(self) -> core.RequestRefund:
        attempt = self.attempt_id
        return core.RequestRefund(
            idempotency_key=self.idempotency_key,
            payment_id=known_id(self.payment_id, "paymentId"),
            amount=self.amount.amount if self.amount else None,
            currency=self.amount.currency if self.amount else None,
            reason=self.reason,
            attempt_id=known_id(attempt, "attemptId") if attempt is not None else None,
        )


@strawberry.input
class DecideRefundInput:
    refund_id: strawberry.ID
    digest: str
    note: str | None = None

    def to_core(self) -> core.DecideRefund:
        return core.DecideRefund(
            refund_id=known_id(self.refund_id, "refundId"), digest=self.digest, note=self.note
        )


@strawberry.input(
    description="For refunds whose outcome only a person can establish "
    "(cash, bank transfer, unknown outcome)."
)
class SettleRefundInput:
    refund_id: strawberry.ID
    succeeded: bool
    evidence: str

    def to_core(self) -> core.SettleRefund:
        return core.SettleRefund(
            refund_id=known_id(self.refund_id, "refundId"),
            succeeded=self.succeeded,
            evidence=self.evidence,
        )


@strawberry.type
class RefundPayload:
    refund: RefundRequest | None = None
    replayed: bool = False
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, done: core.RefundDone) -> "RefundPayload":
        return cls(refund=cast("RefundRequest", done.refund), replayed=done.replayed)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "RefundPayload":
        return cls(user_errors=errors)


@strawberry.type
class RefundQueries:
    @strawberry.field
    async def refund(self, info: Info, id: strawberry.ID) -> RefundRequest | None:
        if (known := id_of(id)) is None:
            return None
        context = info.context
        found = await core.refund(context.core, context.actor, id=known)
        return cast("RefundRequest | None", found)

    @described.field("The newest first.")
    async def refunds(
        self,
        info: Info,
        status: list[RefundStatus] | None = None,
        first: int | None = 25,
        after: str | None = None,
    ) -> RefundRequestConnection:
        context = info.context
        page = await core.refunds(context.core, context.actor, status, page_size(first, 25), after)
        return RefundRequestConnection(
            edges=[
                RefundRequestEdge(cursor=cursor, node=cast("RefundRequest", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )


@strawberry.type
class RefundMutations:
    @described.field("Holds the amount back until another person has decided.")
    @answering(RefundPayload.refused)
    async def request_refund(self, info: Info, input: RequestRefundInput) -> RefundPayload:
        context = info.context
        return RefundPayload.of(await core.request(context.core, context.actor, input.to_core()))

    @described.field("One person's yes, to exactly the request whose digest they name.")
    @answering(RefundPayload.refused)
    async def approve_refund(self, info: Info, input: DecideRefundInput) -> RefundPayload:
        context = info.context
        return RefundPayload.of(await core.approve(context.core, context.actor, input.to_core()))

    @described.field("One person's no: the amount is free again.")
    @answering(RefundPayload.refused)
    async def reject_refund(self, info: Info, input: DecideRefundInput) -> RefundPayload:
        context = info.context
        return RefundPayload.of(await core.reject(context.core, context.actor, input.to_core()))

    @described.field("Takes a request back before it was decided: the amount is free again.")
    @answering(RefundPayload.refused)
    async def cancel_refund(
        self, info: Info, refund_id: strawberry.ID, reason: str
    ) -> RefundPayload:
        context = info.context
        known = known_id(refund_id, "refundId")
        return RefundPayload.of(await core.cancel(context.core, context.actor, known, reason))

    @described.field(
        "What a person found out or did, with evidence: of a refund by hand, or one in doubt."
    )
    @answering(RefundPayload.refused)
    async def settle_refund(self, info: Info, input: SettleRefundInput) -> RefundPayload:
        context = info.context
        return RefundPayload.of(await core.settle(context.core, context.actor, input.to_core()))
