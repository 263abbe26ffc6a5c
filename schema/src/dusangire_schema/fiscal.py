"""Fiscal receipts: the list that needs a person, and what a person does."""

from typing import cast

import strawberry

from dusangire.fiscalization import receipts
from dusangire_schema import described
from dusangire_schema.connections import page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import ReceiptStatus
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import known_id, moment
from dusangire_schema.scalars import MomentText
from dusangire_schema.types import FiscalReceipt


@strawberry.input(description="What stands on the device's own receipt.")
class CompleteFiscalReceiptInput:
    id: strawberry.ID
    receipt_number: int = strawberry.field(description="Of RECEIPT NUMBER 27/32 NS: 27.")
    total_number: int = strawberry.field(description="Of RECEIPT NUMBER 27/32 NS: 32.")
    sdc_id: str
    mrc_no: str
    internal_data: str = strawberry.field(description="26 characters, with dashes or without.")
    signature: str = strawberry.field(description="16 characters, with dashes or without.")
    signed_at: MomentText
    evidence: str = strawberry.field(description="Where you read it.")

    def to_core(self) -> receipts.CompleteReceipt:
        signed_at = moment(self.signed_at, "signedAt")
        assert signed_at is not None
        return receipts.CompleteReceipt(
            id=known_id(self.id, "id"),
            receipt_number=self.receipt_number,
            total_number=self.total_number,
            sdc_id=self.sdc_id,
            mrc_no=self.mrc_no,
            internal_data=self.internal_data,
            signature=self.signature,
            signed_at=signed_at,
            evidence=self.evidence,
        )


@strawberry.type
class FiscalReceiptPayload:
    fiscal_receipt: FiscalReceipt | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "FiscalReceiptPayload":
        return cls(user_errors=errors)


@strawberry.type
class FiscalQueries:
    @described.field(
        "Fiscal receipts, the oldest first; by status, such as REJECTED and NEEDS_RECEIPT, which "
        "wait for a person."
    )
    async def fiscal_receipts(
        self, info: Info, statuses: list[ReceiptStatus] | None = None, first: int | None = 25
    ) -> list[FiscalReceipt]:
        found = await receipts.listed(info.context.actor, statuses, page_size(first, 25))
        return cast("list[FiscalReceipt]", found)


@strawberry.type
class FiscalMutations:
    @described.field("Enter what the device signed while its answer was lost.")
    @answering(FiscalReceiptPayload.refused)
    async def complete_fiscal_receipt(
        self, info: Info, input: CompleteFiscalReceiptInput
    ) -> FiscalReceiptPayload:
        context = info.context
        done = await receipts.complete(context.core, context.actor, input.to_core())
        return FiscalReceiptPayload(fiscal_receipt=cast("FiscalReceipt", done))

    @described.field(
        "Send a rejected receipt again, once what was wrong is corrected. newNumber: the device "
        "has another document under its number, which the evidence shows."
    )
    @answering(FiscalReceiptPayload.refused)
    async def retry_fiscal_receipt(
        self,
        info: Info,
        id: strawberry.ID,
        new_number: bool | None = False,
        evidence: str | None = None,
    ) -> FiscalReceiptPayload:
        context = info.context
        done = await receipts.retry(
            context.core,
            context.actor,
            known_id(id, "id"),
            new_number=new_number is True,
            evidence=evidence or "",
        )
        return FiscalReceiptPayload(fiscal_receipt=cast("FiscalReceipt", done))
