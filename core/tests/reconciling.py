"""Runs for tests: payments that were really paid, and lines that were really booked."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.tests.conftest import Row, Shop, paid
from core.tests.discrepancing import Desk

from dusangire.books import items, posting
from dusangire.database import tx
from dusangire.gateway import Attempt, Outcome
from dusangire.reconciliation import recording, runs
from dusangire.records import Reconciliation

# What is in the books beside what is not matched: both differences must be nothing.
_CLEARING = """SELECT coalesce((SELECT sum(debits - credits) FROM ledger_balance
        WHERE account LIKE 'clearing:%' OR account LIKE 'in_transit:%'), 0)
    - coalesce((SELECT sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END)
        FROM clearing_item WHERE status = 'OPEN'), 0)"""
_SUSPENSE = """SELECT coalesce((SELECT sum(credits - debits) FROM ledger_balance
        WHERE account LIKE 'suspense:%'), 0)
    - coalesce((SELECT sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END)
        FROM statement_line WHERE status IN ('OPEN', 'SUGGESTED')), 0)"""


async def _pays(attempt: Attempt) -> Outcome:
    return paid(attempt, gateway_transaction_id=f"GT-{attempt.reference}")


@dataclass
class Counter:
    """A shop, its accountant's desk, and a worker."""

    shop: Shop
    desk: Desk

    @classmethod
    async def open(cls, shop: Shop, **settings: Any) -> "Counter":
        return cls(shop, await Desk.open(shop, **settings))

    async def paid(self, amount: int = 5000) -> Row:
        """A payment that came in, as an item; with `payment_id`."""
        self.shop.script.says("initiate", _pays)
        done = await self.shop.create(amount=str(amount))
        await self.shop.run("UPDATE event SET position = id WHERE position IS NULL")
        await items.collect(self.shop.core)
        # The lines of the desk are of November 2026.
        await self.shop.run(
            "UPDATE clearing_item SET began_at = '2026-11-02T08:00Z', "
            "occurred_at = '2026-11-02T08:00Z'"
        )
        return await self.shop.row(
            "SELECT i.*, replace(p.reference, '-', '') AS named FROM clearing_item i "
            "JOIN payment p ON p.id = i.payment_id WHERE p.id = $1",
            done.payment.id,
        )

    async def line(self, amount: int = 5000, *refs: tuple[str, str], **columns: Any) -> UUID:
        line_id = await self.desk.line(amount, *refs, posted=False, **columns)
        async with tx():
            await posting.post_lines(self.desk.import_id)
        return line_id

    async def work(self) -> None:
        """What the worker does with the runs that wait."""
        await self.shop.run("UPDATE event SET position = id WHERE position IS NULL")
        while await runs.work_due(self.shop.core):
            pass

    async def suggested(self, line_id: UUID, item: Row) -> UUID:
        """The one suggestion that a machine made of a line and an item."""
        async with tx():
            return await recording.make(
                account_id=self.desk.account_id,
                line_ids=[line_id],
                item_ids=[item["id"]],
                rule="amount-and-day",
                confidence=75,
                explanation=["5,000 RWF on both sides."],
                status="SUGGESTED",
                who=None,
                reconciliation_id=None,
            )

    async def balanced(self) -> tuple[int, int]:
        """How far the books are from the items and from the lines that are open: not at all."""
        return (
            int(await self.shop.value(_CLEARING)),
            int(await self.shop.value(_SUSPENSE)),
        )

    async def told(self, run: Reconciliation) -> list[Row]:
        """The run's events, in their order."""
        return await self.shop.rows(
            "SELECT type, (data -> 'reconciliation' ->> 'progress')::float AS progress, "
            "data -> 'reconciliation' ->> 'status' AS status FROM event "
            "WHERE data -> 'reconciliation' ->> 'id' = $1 ORDER BY id",
            str(run.id),
        )
