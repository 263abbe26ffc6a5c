"""The books: balances, entries, their self-check, and closed periods."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, cast

import strawberry

from dusangire.books import ledger, periods, self_check
from dusangire.records import Who
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import day, known_id, required_day
from dusangire_schema.scalars import CurrencyCode, DayText
from dusangire_schema.types import Actor, Money


@strawberry.enum
class PeriodRequestKind(StrEnum):
    CLOSE = "CLOSE"
    REOPEN = "REOPEN"


@strawberry.enum
class PeriodRequestStatus(StrEnum):
    ASKED = "ASKED"
    DONE = "DONE"
    REFUSED = "REFUSED"


@strawberry.type(
    description="One account of the books: receivable, clearing:<gateway>, in_transit:<account>, "
    "bank:<account>, fees:<gateway>, suspense:<account> or write_off."
)
class BookBalance:
    account: str
    currency: CurrencyCode
    debits: Money
    credits: Money
    balance: Money = strawberry.field(description="Debits less credits; may be less than zero.")
    open_items: int | None = strawberry.field(
        description="Of clearing and in_transit, what no statement has confirmed yet; of suspense, "
        "the lines that nobody has explained yet."
    )
    open_total: Money | None
    oldest_open: datetime | None
    difference: Money | None = strawberry.field(
        description="Of the balance, what these do not account for. Anything but zero is a fault."
    )


@strawberry.type(description="An amount that went from the credit account to the debit account.")
class LedgerEntry:
    id: strawberry.ID
    date: date
    cause: str = strawberry.field(
        description="captured, refunded, reversed, line, match, fee, difference, payout or "
        "written_off."
    )
    debit: str
    credit: str
    amount: Money
    payment_id: strawberry.ID | None
    line_id: strawberry.ID | None
    match_id: strawberry.ID | None
    reverses: strawberry.ID | None = strawberry.field(description="The entry that it takes back.")
    actor: str
    note: str | None
    created_at: datetime


@strawberry.type
class LedgerEntryEdge:
    cursor: str
    node: LedgerEntry


@strawberry.type
class LedgerEntryConnection:
    edges: list[LedgerEntryEdge]
    page_info: PageInfo


@strawberry.type(description="A sum that does not agree. Amounts are minor units, as text.")
class BooksBreak:
    rule: str
    account: str
    currency: CurrencyCode
    message: str

    @strawberry.field
    def expected(self) -> str:
        return str(cast("self_check.Break", self).expected)

    @strawberry.field
    def actual(self) -> str:
        return str(cast("self_check.Break", self).actual)


@strawberry.type
class BooksCheck:
    sound: bool
    checked_at: datetime
    breaks: list[BooksBreak]

    @described.field("How many entries there were.")
    def entries(self) -> str:
        return str(cast("self_check.Checked", self).entries)


@strawberry.type(description="That an account's days be closed, or opened again.")
class PeriodRequest:
    id: strawberry.ID
    account: str
    kind: PeriodRequestKind
    closed_until: date | None = strawberry.field(
        description="The last day that is closed once it is done; null: none is."
    )
    status: PeriodRequestStatus
    note: str | None
    decision_note: str | None
    decided_at: datetime | None
    created_at: datetime
    open_discrepancies: int = strawberry.field(
        description="What is still open up to that day. It can be closed all the same."
    )

    @strawberry.field
    def asked_by(self) -> Actor:
        return cast("Actor", Who("staff", cast("periods.PeriodClose", self).asked_by))

    @strawberry.field
    def decided_by(self) -> Actor | None:
        name = cast("periods.PeriodClose", self).decided_by
        return cast("Actor", Who("staff", name)) if name is not None else None


@strawberry.type
class PeriodPayload:
    period: PeriodRequest | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "PeriodPayload":
        return cls(user_errors=errors)


@strawberry.type
class BooksQueries:
    @described.field("Every account of the books, with what its balance is made of.")
    async def books(self, info: Info) -> list[BookBalance]:
        return cast("list[BookBalance]", await ledger.balances(info.context.actor))

    @described.field(
        "The entries of one account of the books, or of all, the newest first. Days are those of "
        "Kigali."
    )
    async def ledger_entries(
        self,
        info: Info,
        account: str | None = None,
        from_: Annotated[DayText | None, strawberry.argument(name="from")] = None,
        to: DayText | None = None,
        first: int | None = 50,
        after: str | None = None,
    ) -> LedgerEntryConnection:
        page = await ledger.entries(
            info.context.actor,
            account,
            day(from_, "from"),
            day(to, "to"),
            page_size(first, 50),
            after,
        )
        return LedgerEntryConnection(
            edges=[
                LedgerEntryEdge(cursor=cursor, node=cast("LedgerEntry", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )

    @described.field(
        "Whether the books are sound: what the newest self-check found, or with now: true, one of "
        "this minute. A worker makes one every night."
    )
    async def books_check(self, info: Info, now: bool = False) -> BooksCheck | None:
        actor = info.context.actor
        found = await (self_check.check(actor) if now else self_check.last(actor))
        return cast("BooksCheck | None", found)

    @described.field("Which periods somebody asked to close or open again, the newest first.")
    async def periods(self, info: Info, account: str | None = None) -> list[PeriodRequest]:
        return cast("list[PeriodRequest]", await periods.periods(info.context.actor, account))


@strawberry.type
class BooksMutations:
    @described.field(
        "Asks that an account's days up to this one be closed. Another person confirms it."
    )
    @answering(PeriodPayload.refused)
    async def close_period(
        self, info: Info, account: str, until: DayText, note: str | None = None
    ) -> PeriodPayload:
        core, actor = info.context.core, info.context.actor
        asked = await periods.close_period(core, actor, account, required_day(until, "until"), note)
        return PeriodPayload(period=cast("PeriodRequest", asked))

    @described.field(
        "Asks that an account be closed only up to this day, or without one, not at all. Another "
        "person confirms it."
    )
    @answering(PeriodPayload.refused)
    async def reopen_period(
        self, info: Info, account: str, until: DayText | None = None, note: str | None = None
    ) -> PeriodPayload:
        core, actor = info.context.core, info.context.actor
        asked = await periods.reopen_period(core, actor, account, day(until, "until"), note)
        return PeriodPayload(period=cast("PeriodRequest", asked))

    @described.field(
        "Does what another person asked for with closePeriod or reopenPeriod, or with agreed: "
        "false, refuses it."
    )
    @answering(PeriodPayload.refused)
    async def confirm_period(
        self, info: Info, id: strawberry.ID, agreed: bool = True, note: str | None = None
    ) -> PeriodPayload:
        period_id = known_id(id, "id")
        decided = await periods.confirm_period(
            info.context.actor, period_id, agreed=agreed, note=note
        )
        return PeriodPayload(period=cast("PeriodRequest", decided))
