"""The books: each thing is in them once, they agree at any moment, nothing is ever rubbed out."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from core.tests.conftest import Row, Shop

from dusangire.access import OPERATOR, Actor
from dusangire.books import items, ledger, periods, posting, self_check
from dusangire.database import fetch, tx
from dusangire.errors import Forbidden, IllegalState, Invalid, SelfApproval
from dusangire.permissions import Role
from dusangire.reconciliation import recording

DAY = date(2026, 10, 5)
NOON = "2026-10-05T10:00:00Z"


@dataclass
class Desk:
    """A shop seen by its accountant: what happened is written straight into the tables."""

    shop: Shop
    connection: Any
    accounts: dict[str, UUID] = field(default_factory=dict)

    async def run(self, statement: str, *values: Any) -> list[Row]:
        return [dict(row) for row in await self.connection.fetch(statement, *values)]

    async def account(self, code: str, kind: str, gateway: str | None = None) -> UUID:
        account_id = uuid4()
        await self.run(
            "INSERT INTO statement_account (id, code, name, kind, currency, gateway_id) VALUES "
            "($1, $2, $2, $3, 'RWF', (SELECT id FROM gateway_account WHERE code = $4))",
            account_id,
            code,
            kind,
            gateway,
        )
        self.accounts[code] = account_id
        return account_id

    async def capture(self, amount: int = 5000, fee: int | None = None) -> UUID:
        """A payment that succeeded, by SQL alone; gives its id."""
        payment_id = uuid4()
        await self.run(
            "INSERT INTO payment (id, reference, status, amount, currency, captured, "
            "order_reference) VALUES ($1, $2, 'SUCCEEDED', $3, 'RWF', $3, 'Order 7')",
            payment_id,
            f"PAY-{payment_id.hex[:8].upper()}",
            amount,
        )
        await self.pay_again(payment_id, 1, fee)
        return payment_id

    async def pay_again(self, payment_id: UUID, number: int = 2, fee: int | None = None) -> None:
        await self.run(
            "INSERT INTO payment_attempt (id, payment_id, number, gateway_id, environment, status, "
            "reference, gateway_transaction_id, phone, fee, completed_at) VALUES ($1, $2, $3, "
            "(SELECT id FROM gateway_account WHERE code = 'script'), 'TEST', 'SUCCEEDED', $4, $5, "
            "'+250788123456', $6, $7::text::timestamptz)",
            uuid4(),
            payment_id,
            number,
            f"ref-{uuid4().hex}",
            f"GT-{uuid4().hex[:10]}",
            fee,
            NOON,
        )
        await self.tell(payment_id, "payment.succeeded")

    async def reverse(self, payment_id: UUID) -> None:
        await self.run(
            "UPDATE payment_attempt SET status = 'REVERSED' WHERE payment_id = $1", payment_id
        )
        await self.run(
            "UPDATE payment SET needs_attention = '[\"REVERSED_BY_GATEWAY\"]' WHERE id = $1",
            payment_id,
        )
        await self.tell(payment_id, "payment.updated")

    async def tell(self, payment_id: UUID, type_: str, times: int = 1) -> None:
        await self.run(
            "INSERT INTO event (type, payment_id, data, position) SELECT $2, id, "
            "to_jsonb(payment), (SELECT coalesce(max(position), 0) FROM event) + n "
            "FROM payment, generate_series(1, $3) AS n WHERE id = $1",
            payment_id,
            type_,
            times,
        )

    async def refund(self, payment_id: UUID, amount: int) -> None:
        """A refund that succeeded; how it was approved does not matter here."""
        refund_id = uuid4()
        async with self.connection.transaction():
            await self.run("SET LOCAL session_replication_role = replica")
            await self.run(
                "INSERT INTO refund (id, reference, payment_id, attempt_id, gateway_id, status, "
                "amount, currency, reason, digest, by_hand, requested_by_kind, requested_by_name, "
                "gateway_reference, completed_at) SELECT $1, $2, $3, id, gateway_id, 'SUCCEEDED', "
                "$4, 'RWF', 'x', 'x', false, 'system', 'system', $2, $5::text::timestamptz "
                "FROM payment_attempt WHERE payment_id = $3 ORDER BY number LIMIT 1",
                refund_id,
                f"REF-{refund_id.hex[:8].upper()}",
                payment_id,
                amount,
                NOON,
            )
            await self.run(
                "INSERT INTO event (type, payment_id, data, position) SELECT 'refund.succeeded', "
                "payment_id, jsonb_build_object('refund', to_jsonb(refund)), "
                "(SELECT coalesce(max(position), 0) + 1 FROM event) FROM refund WHERE id = $1",
                refund_id,
            )

    async def imported(self, code: str, *lines: dict[str, Any]) -> list[UUID]:
        """Lines of one file: signed amounts, and whatever else they say; gives their ids."""
        import_id, ids = await self.lines(code, *lines)
        async with tx():
            await posting.post_lines(import_id)
        return ids

    async def lines(self, code: str, *lines: dict[str, Any]) -> tuple[UUID, list[UUID]]:
        upload, imported, statement = uuid4(), uuid4(), uuid4()
        await self.run(
            "INSERT INTO upload (id, file_name, size, sha256, content, created_by_kind, "
            "created_by_name) VALUES ($1, 'a.csv', 1, $2, '', 'system', 'system')",
            upload,
            upload.hex,
        )
        await self.run(
            "INSERT INTO statement_import (id, account_id, upload_id, sha256, dry_run, status, "
            "requested_by_kind, requested_by_name) "
            "VALUES ($1, $2, $3, $4, false, 'COMPLETED', 'system', 'system')",
            imported,
            self.accounts[code],
            upload,
            upload.hex,
        )
        await self.run(
            "INSERT INTO statement (id, account_id, statement_import_id, currency) "
            "VALUES ($1, $2, $3, 'RWF')",
            statement,
            self.accounts[code],
            imported,
        )
        ids = []
        for number, line in enumerate(lines, 1):
            ids.append(uuid4())
            amount = line["amount"]
            await self.run(
                "INSERT INTO statement_line (id, account_id, statement_id, statement_import_id, "
                "number, entry_status, kind, direction, amount, currency, booking_date, "
                "settlement, transaction_id, fee, narration, source, fingerprint, occurrence) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'RWF', $10, $11, $12, $13, '', '', "
                "$1::uuid::text, 0)",
                ids[-1],
                self.accounts[code],
                statement,
                imported,
                number,
                line.get("status", "BOOKED"),
                line.get("kind", "OTHER"),
                "CREDIT" if amount > 0 else "DEBIT",
                abs(amount),
                line.get("date", DAY),
                line.get("settlement"),
                line.get("transaction"),
                line.get("fee"),
            )
        return imported, ids

    async def match(self, code: str, lines: list[UUID], found: list[UUID]) -> UUID:
        async with tx():
            return await recording.make(
                account_id=self.accounts[code],
                line_ids=lines,
                item_ids=found,
                rule="manual",
                confidence=100,
                explanation=["A person said so."],
                status="CONFIRMED",
                who=OPERATOR,
                reconciliation_id=None,
            )

    async def unmatch(self, match_id: UUID) -> None:
        async with tx():
            await recording.end(match_id, "UNMATCHED", OPERATOR, None)

    async def items(self, status: str = "OPEN") -> list[Row]:
        return await self.run(
            "SELECT * FROM clearing_item WHERE status = $1 ORDER BY created_at, kind, id", status
        )

    async def entries(self) -> list[tuple[str, str, str, int]]:
        rows = await self.run("SELECT cause, debit, credit, amount FROM ledger_entry ORDER BY id")
        return [(row["cause"], row["debit"], row["credit"], row["amount"]) for row in rows]

    async def balances(self) -> dict[str, int]:
        """Of each account that is not at zero."""
        rows = await self.run("SELECT account, debits - credits AS balance FROM ledger_balance")
        return {row["account"]: row["balance"] for row in rows if row["balance"]}

    async def breaks(self) -> list[tuple[str, str]]:
        return [(row["rule"], row["account"]) for row in await fetch(self_check._SUMS)]

    async def hire(self) -> Actor:
        staff_id = uuid4()
        name = f"{staff_id.hex[:8]}@shop.example.rw"
        await self.run(
            "INSERT INTO staff (id, email, name, role) VALUES ($1, $2, $2, 'APPROVER')",
            staff_id,
            name,
        )
        return Actor(
            kind="staff",
            name=name,
            role=Role.APPROVER,
            staff_id=staff_id,
            confirmed_at=self.shop.core.clock().timestamp(),
        )


@pytest.fixture
async def desk(shop: Shop) -> AsyncIterator[Desk]:
    connection = await asyncpg.connect(shop.url)
    desk = Desk(shop, connection)
    await desk.account("bk", "BANK")
    await desk.account("wallet", "WALLET", "script")
    await desk.account("report", "SETTLEMENT", "script")
    yield desk
    await connection.close()


# ── what happened at the gateways ────────────────────────────────────────────────────────────────


async def test_a_captured_payment_is_owed_by_its_gateway(desk: Desk) -> None:
    payment_id = await desk.capture(15_000, fee=570)

    await items.collect(desk.shop.core)

    [item] = await desk.items()
    told = (item["kind"], item["direction"], item["amount"], item["fee"], item["book"])
    assert told == ("PAYMENT", "CREDIT", 15_000, 570, "clearing:script")
    assert item["payment_id"] == payment_id
    assert await desk.entries() == [("captured", "clearing:script", "receivable", 15_000)]
    assert await desk.breaks() == []


async def test_an_item_is_found_by_every_name_it_has(desk: Desk) -> None:
    payment_id = await desk.capture()

    await items.collect(desk.shop.core)

    rows = await desk.run("SELECT kind, value FROM item_ref")
    attempt = await desk.shop.attempt(payment_id)
    names = {row["kind"]: row["value"] for row in rows}
    assert names == {
        "PAYMENT": f"PAY{payment_id.hex[:8].upper()}",
        "TXN": attempt["gateway_transaction_id"].replace("-", "").upper(),
        "TX_REF": attempt["reference"].replace("-", "").upper(),
        "ORDER": "ORDER7",
    }


async def test_a_payment_that_was_paid_twice_is_owed_twice(desk: Desk) -> None:
    payment_id = await desk.capture(5000)
    await desk.pay_again(payment_id)

    await items.collect(desk.shop.core)

    assert [item["amount"] for item in await desk.items()] == [5000, 5000]
    assert await desk.balances() == {"clearing:script": 10_000, "receivable": -10_000}


async def test_refunds_and_reversals_go_the_other_way(desk: Desk) -> None:
    refunded, reversed_ = await desk.capture(5000), await desk.capture(3000)
    await desk.refund(refunded, 1000)
    await desk.refund(refunded, 500)
    await desk.reverse(reversed_)

    await items.collect(desk.shop.core)

    kinds = sorted((item["kind"], item["direction"], item["amount"]) for item in await desk.items())
    assert kinds == [
        ("PAYMENT", "CREDIT", 3000),
        ("PAYMENT", "CREDIT", 5000),
        ("REFUND", "DEBIT", 500),
        ("REFUND", "DEBIT", 1000),
        ("REVERSAL", "DEBIT", 3000),
    ]
    assert await desk.balances() == {"clearing:script": 3500, "receivable": -3500}
    assert await desk.breaks() == []


async def test_whoever_collects_and_however_often_each_thing_is_taken_in_once(desk: Desk) -> None:
    payments = [await desk.capture() for _ in range(10)]
    await desk.refund(payments[0], 100)
    for payment_id in payments:
        await desk.tell(payment_id, "payment.updated", times=3)

    await asyncio.gather(*(items.collect(desk.shop.core) for _ in range(5)))
    await items.collect(desk.shop.core)
    await desk.run("UPDATE follower SET position = 0 WHERE name = 'books'")
    await items.collect(desk.shop.core)

    assert len(await desk.items()) == 11
    assert await desk.balances() == {"clearing:script": 49_900, "receivable": -49_900}


async def test_who_begins_before_there_is_anything_takes_in_the_first_payment(desk: Desk) -> None:
    assert await items.collect(desk.shop.core) == 0
    await desk.capture()

    await items.collect(desk.shop.core)

    assert len(await desk.items()) == 1


async def test_what_broke_off_is_taken_in_whole_the_next_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.capture()
    monkeypatch.setattr(items, "_INVOICES", "SELECT $1::int / 0, $2::int")
    with pytest.raises(Exception, match="division by zero"):
        await items.collect(desk.shop.core)
    monkeypatch.undo()
    assert await desk.entries() == []

    await items.collect(desk.shop.core)

    assert len(await desk.entries()) == 1
    assert await desk.breaks() == []


# ── lines and payouts ────────────────────────────────────────────────────────────────────────────


async def test_a_line_waits_in_suspense_and_only_what_is_booked_counts(desk: Desk) -> None:
    import_id, _ = await desk.lines(
        "bk", {"amount": 700}, {"amount": -200}, {"amount": 50, "status": "PENDING"}
    )
    for _again in range(2):
        async with tx():
            await posting.post_lines(import_id)

    assert await desk.balances() == {"bank:bk": 500, "suspense:bk": -500}
    assert len(await desk.entries()) == 2
    assert await desk.breaks() == []


async def test_a_report_pays_out_what_its_lines_add_up_to(desk: Desk) -> None:
    await desk.imported(
        "report",
        {"amount": 14_430, "settlement": "SET-1"},
        {"amount": -1000, "settlement": "SET-1", "kind": "REFUND"},
        {"amount": 900, "settlement": "SET-2"},
        {"amount": -13_430, "settlement": "SET-1", "kind": "PAYOUT"},
    )

    await desk.imported("report", {"amount": 70, "settlement": "SET-1"})

    payouts = [
        (item["settlement"], item["direction"], item["amount"]) for item in await desk.items()
    ]
    assert sorted(payouts) == [("SET-1", "CREDIT", 13_500), ("SET-2", "CREDIT", 900)]
    assert await desk.balances() == {"in_transit:report": 14_400, "suspense:report": -14_400}
    assert await desk.breaks() == []


async def test_what_is_reported_after_the_bank_confirmed_a_payout_makes_another(desk: Desk) -> None:
    await desk.imported("report", {"amount": 900, "settlement": "SET-1"})
    [payout] = await desk.items()
    [arrived] = await desk.imported("bk", {"amount": 900})
    await desk.match("bk", [arrived], [payout["id"]])

    await desk.imported("report", {"amount": -40, "settlement": "SET-1"})

    [second] = await desk.items()
    told = second["settlement"], second["direction"], second["amount"]
    assert told == ("SET-1#2", "DEBIT", 40)
    assert await desk.breaks() == []


async def test_a_payout_that_comes_to_nothing_is_not_waited_for(desk: Desk) -> None:
    await desk.imported("report", {"amount": 900, "settlement": "SET-1"})

    await desk.imported("report", {"amount": -900, "settlement": "SET-1"})

    assert await desk.items() == []
    assert await desk.breaks() == []


async def test_a_wallet_emptied_to_the_bank_is_money_in_transit(desk: Desk) -> None:
    await desk.imported("wallet", {"amount": 5000})
    [line] = await desk.imported(
        "wallet", {"amount": -4000, "kind": "PAYOUT", "transaction": "W-99"}
    )

    [payout] = await desk.items()
    assert (payout["settlement"], payout["direction"], payout["amount"]) == ("W-99", "CREDIT", 4000)
    [row] = await desk.run("SELECT status FROM statement_line WHERE id = $1", line)
    assert row["status"] == "MATCHED"
    assert await desk.balances() == {
        "bank:wallet": 1000,
        "suspense:wallet": -5000,
        "in_transit:wallet": 4000,
    }
    assert await desk.breaks() == []


async def test_a_payout_of_a_file_that_does_not_agree_waits_for_a_person(desk: Desk) -> None:
    import_id, [line] = await desk.lines("wallet", {"amount": -4000, "kind": "PAYOUT"})
    await desk.run("UPDATE statement_import SET blocks_posting = true WHERE id = $1", import_id)
    async with tx():
        await posting.post_lines(import_id)
    waiting = await desk.items(), await desk.balances()

    await desk.run("UPDATE statement_import SET blocks_posting = false WHERE id = $1", import_id)
    for _ in range(2):
        async with tx():
            await posting.post_payouts(import_id)

    assert waiting == ([], {"bank:wallet": -4000, "suspense:wallet": 4000})
    [payout] = await desk.items()
    assert payout["amount"] == 4000
    assert await desk.balances() == {"bank:wallet": -4000, "in_transit:wallet": 4000}
    [row] = await desk.run("SELECT status FROM statement_line WHERE id = $1", line)
    assert row["status"] == "MATCHED"
    assert await desk.breaks() == []


async def test_a_wallets_payout_is_undone_unless_the_bank_confirmed_it(desk: Desk) -> None:
    await desk.imported(
        "wallet", {"amount": -4000, "kind": "PAYOUT"}, {"amount": -1, "kind": "PAYOUT"}
    )
    first, second = await desk.items()
    [arrived] = await desk.imported("bk", {"amount": first["amount"]})
    await desk.match("bk", [arrived], [first["id"]])
    matches = {
        row["item_id"]: row["match_id"]
        for row in await desk.run("SELECT * FROM ledger_entry WHERE cause = 'payout'")
    }

    with pytest.raises(IllegalState):
        await desk.unmatch(matches[first["id"]])
    await desk.unmatch(matches[second["id"]])

    assert await desk.items() == []
    assert await desk.breaks() == []


# ── matches ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_match_takes_a_line_out_of_suspense_and_a_payment_out_of_clearing(
    desk: Desk,
) -> None:
    await desk.capture(15_000, fee=570)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    [line] = await desk.imported("report", {"amount": 14_430, "settlement": "S", "fee": 570})

    await desk.match("report", [line], [item["id"]])

    assert await desk.balances() == {
        "receivable": -15_000,
        "fees:script": 570,
        "in_transit:report": 14_430,
    }
    assert await desk.breaks() == []


async def test_a_difference_that_was_accepted_is_written_off(desk: Desk) -> None:
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    [line] = await desk.imported("bk", {"amount": 5010})

    await desk.match("bk", [line], [item["id"]])

    assert await desk.balances() == {"receivable": -5000, "bank:bk": 5010, "write_off": -10}
    assert await desk.breaks() == []


async def test_a_match_undone_leaves_the_books_as_before_and_both_entries_in_them(
    desk: Desk,
) -> None:
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    [line] = await desk.imported("bk", {"amount": 4990})
    before = await desk.balances()
    match_id = await desk.match("bk", [line], [item["id"]])

    for _again in range(2):
        async with tx():
            await posting.unpost_match(match_id, "somebody")
    await desk.unmatch(match_id)

    assert await desk.balances() == before
    causes = [cause for cause, *_ in await desk.entries()]
    assert causes == ["captured", "line", "match", "difference", "match", "difference"]
    assert await desk.breaks() == []


async def test_a_match_is_booked_once(desk: Desk) -> None:
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    [line] = await desk.imported("bk", {"amount": 5000})
    match_id = await desk.match("bk", [line], [item["id"]])

    async with tx():
        await posting.post_matches([match_id], "somebody")

    assert len(await desk.entries()) == 3
    assert await desk.breaks() == []


async def test_a_match_that_does_not_add_up_is_not_booked(desk: Desk) -> None:
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    [line] = await desk.imported("bk", {"amount": 5000})
    match_id = await desk.match("bk", [line], [item["id"]])
    await desk.run("UPDATE recon_match SET fee = 1 WHERE id = $1", match_id)

    async with tx():
        with pytest.raises(IllegalState, match="does not add up"):
            await posting.post_matches([match_id], "somebody")


# ── write-offs ───────────────────────────────────────────────────────────────────────────────────


async def test_what_is_written_off_is_written_off_once(desk: Desk) -> None:
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    [line] = await desk.imported("bk", {"amount": 40})

    async with tx():
        await posting.post_write_off_item(item["id"], "Aline", "lost")
        await posting.post_write_off_line(line, "Aline", "nobody's")
    for again in (
        posting.post_write_off_item(item["id"], "Aline", "x"),
        posting.post_write_off_line(line, "Aline", "x"),
    ):
        with pytest.raises(IllegalState):
            async with tx():
                await again

    assert await desk.balances() == {"receivable": -5000, "bank:bk": 40, "write_off": 4960}
    assert await desk.breaks() == []


async def test_what_is_matched_is_not_written_off(desk: Desk) -> None:
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    [line] = await desk.imported("bk", {"amount": 5000})
    await desk.match("bk", [line], [item["id"]])

    for refused in (
        posting.post_write_off_item(item["id"], "Aline", "x"),
        posting.post_write_off_line(line, "Aline", "x"),
    ):
        with pytest.raises(IllegalState):
            async with tx():
                await refused


# ── whatever happens, in whatever order ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(4))
async def test_the_books_agree_after_whatever_happens(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    day = _Day(desk, chance)
    await desk.imported("wallet", {"amount": -7, "kind": "PAYOUT"})

    for _step in range(60):
        await day.anything()
        assert await desk.breaks() == [], day.story

    kinds = {cause for cause, *_ in await desk.entries()}
    assert {"captured", "refunded", "line", "match", "payout", "written_off"} <= kinds


@dataclass
class _Day:
    """Somebody does one thing after the other."""

    desk: Desk
    chance: random.Random
    payments: list[UUID] = field(default_factory=list)
    matches: list[UUID] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    async def anything(self) -> None:
        deeds = [self.capture, self.capture, self.refund, self.reverse, self.bank, self.wallet]
        deeds += [self.report, self.match, self.match, self.match, self.unmatch, self.write_off]
        deed = self.chance.choice(deeds)
        self.story.append(deed.__name__)
        await deed()

    async def capture(self) -> None:
        payment_id = await self.desk.capture(self.chance.randint(100, 9000))
        self.payments.append(payment_id)
        await items.collect(self.desk.shop.core)

    async def refund(self) -> None:
        if self.payments:
            await self.desk.refund(self.chance.choice(self.payments), self.chance.randint(1, 99))
            await items.collect(self.desk.shop.core)

    async def reverse(self) -> None:
        if self.payments and self.chance.random() < 0.3:
            await self.desk.reverse(self.payments.pop())
            await items.collect(self.desk.shop.core)

    async def bank(self) -> None:
        await self.desk.imported("bk", {"amount": self._amount()}, {"amount": self._amount()})

    async def wallet(self) -> None:
        kind = self.chance.choice(["OTHER", "PAYOUT"])
        await self.desk.imported("wallet", {"amount": -abs(self._amount()), "kind": kind})

    async def report(self) -> None:
        settlement = self.chance.choice(["S1", "S2", None])
        lines = [{"amount": self._amount(), "settlement": settlement} for _ in range(3)]
        await self.desk.imported("report", *lines)

    async def match(self) -> None:
        """Lines and items at random: what is between them is booked as a difference."""
        code = self.chance.choice(["bk", "wallet", "report"])
        open_lines = await self.desk.run(
            "SELECT id FROM statement_line WHERE account_id = $1 AND status = 'OPEN' ORDER BY "
            "number, fingerprint",
            self.desk.accounts[code],
        )
        open_items = await self.desk.items()
        if open_lines and open_items:
            lines = self.chance.sample([row["id"] for row in open_lines], 1)
            some = min(len(open_items), self.chance.randint(1, 2))
            found = self.chance.sample([row["id"] for row in open_items], some)
            self.matches.append(await self.desk.match(code, lines, found))

    async def unmatch(self) -> None:
        if self.matches:
            await self.desk.unmatch(self.matches.pop(self.chance.randrange(len(self.matches))))

    async def write_off(self) -> None:
        found = await self.desk.items()
        lines = await self.desk.run("SELECT id FROM statement_line WHERE status = 'OPEN'")
        async with tx():
            if found and self.chance.random() < 0.5:
                await posting.post_write_off_item(found[0]["id"], "Aline", "small")
            elif lines:
                await posting.post_write_off_line(lines[0]["id"], "Aline", "small")

    def _amount(self) -> int:
        return self.chance.choice([-1, 1, 1]) * self.chance.randint(1, 9000)


# ── the self-check ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE ledger_balance SET debits = debits + 1 WHERE account = 'bank:bk'", "BALANCE"),
        ("UPDATE ledger_balance SET debits = debits + 1 WHERE account = 'bank:bk'", "ZERO"),
        ("UPDATE clearing_item SET amount = amount + 1 WHERE status = 'OPEN'", "OPEN_ITEMS"),
        ("UPDATE clearing_item SET amount = amount + 1 WHERE status = 'OPEN'", "CUSTOMERS"),
        ("UPDATE statement_line SET status = 'MATCHED' WHERE status = 'OPEN'", "SUSPENSE"),
        ("UPDATE statement_line SET amount = amount + 1 WHERE status = 'OPEN'", "LINES"),
        ("UPDATE recon_match SET status = 'UNMATCHED'", "MATCH"),
        ("UPDATE clearing_item SET status = 'OPEN'", "MATCHED"),
    ],
)
async def test_each_sum_that_does_not_agree_is_found(desk: Desk, damage: str, found: str) -> None:
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    line, _other = await desk.imported("bk", {"amount": 5000}, {"amount": 300})
    await desk.match("bk", [line], [item["id"]])
    await desk.capture(700)
    await items.collect(desk.shop.core)
    assert await desk.breaks() == []

    await desk.run(damage)

    assert found in {rule for rule, _ in await desk.breaks()}


async def test_a_break_is_an_open_discrepancy_until_the_books_agree_again(desk: Desk) -> None:
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    await desk.run("UPDATE clearing_item SET amount = 4000")

    found = await self_check.check(OPERATOR)

    assert not found.sound
    assert {("OPEN_ITEMS", 4000, 5000)} <= {(b.rule, b.expected, b.actual) for b in found.breaks}
    told = "SELECT DISTINCT kind FROM discrepancy WHERE status = 'OPEN'"
    assert [row["kind"] for row in await desk.run(told)] == ["BALANCE_BREAK"]

    await desk.run("UPDATE clearing_item SET amount = 5000")
    await desk.run("UPDATE books_check SET checked_at = now() - interval '1 hour'")
    assert (await self_check.check(OPERATOR)).sound
    assert await desk.run(told) == []


async def test_the_nightly_check_is_made_once_a_day_by_one_process(desk: Desk) -> None:
    done = await asyncio.gather(*(self_check.check_nightly(desk.shop.core) for _ in range(4)))

    assert sum(done) == 1
    assert await self_check.check_nightly(desk.shop.core) == 0
    last = await self_check.last(OPERATOR)
    assert last is not None
    assert last.sound


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_balance_says_what_it_is_made_of(desk: Desk) -> None:
    await desk.capture(5000)
    await desk.capture(700)
    await items.collect(desk.shop.core)
    await desk.imported("bk", {"amount": 300})

    found = {one.account: one for one in await ledger.balances(OPERATOR)}

    clearing, suspense = found["clearing:script"], found["suspense:bk"]
    assert (clearing.balance.minor, clearing.open_items) == (5700, 2)
    assert clearing.oldest_open is not None
    assert (suspense.balance.minor, suspense.open_items) == (-300, 1)
    assert found["receivable"].open_items is None
    waiting = await ledger.clearing(OPERATOR)
    assert {one.account for one in waiting} == {"clearing:script", "suspense:bk"}
    assert {one.difference.minor for one in waiting if one.difference} == {0}


async def test_entries_are_read_page_by_page_the_newest_first(desk: Desk) -> None:
    days = [DAY + timedelta(days=n) for n in range(5)]
    await desk.imported("bk", *({"amount": 10 + n, "date": day} for n, day in enumerate(days)))
    await desk.imported("wallet", {"amount": 1})

    seen: list[int] = []
    after = None
    while True:
        page = await ledger.entries(OPERATOR, "bank:bk", days[1], None, 2, after)
        seen += [entry.amount.minor for entry in page.items]
        if not page.has_next:
            break
        after = page.cursors[-1]

    assert seen == [14, 13, 12, 11]
    with pytest.raises(Invalid):
        await ledger.entries(OPERATOR, after="bm9uc2Vuc2U")


# ── closed periods ───────────────────────────────────────────────────────────────────────────────


async def close(desk: Desk, until: date, account: str = "bk") -> None:
    asked = await periods.close_period(desk.shop.core, await desk.hire(), account, until)
    await periods.confirm_period(await desk.hire(), asked.id)


async def test_two_people_close_a_period_and_two_open_it_again(desk: Desk) -> None:
    one, other = await desk.hire(), await desk.hire()
    asked = await periods.close_period(desk.shop.core, one, "bk", DAY, "October")
    async with tx():
        await periods.require_open(desk.accounts["bk"], DAY)

    with pytest.raises(SelfApproval):
        await periods.confirm_period(one, asked.id)
    done = await periods.confirm_period(other, asked.id)

    assert (done.status, done.asked_by, done.decided_by) == ("DONE", one.name, other.name)
    with pytest.raises(IllegalState, match="closed until"):
        async with tx():
            await periods.require_open(desk.accounts["bk"], DAY + timedelta(days=1), DAY)

    reopened = await periods.reopen_period(desk.shop.core, other, "bk", None)
    await periods.confirm_period(one, reopened.id)
    async with tx():
        await periods.require_open(desk.accounts["bk"], DAY)
    actions = await desk.run("SELECT action FROM audit_entry WHERE action LIKE 'period.%'")
    assert [row["action"] for row in actions] == [
        "period.close_asked",
        "period.close_confirmed",
        "period.reopen_asked",
        "period.reopen_confirmed",
    ]


async def test_nobody_closes_a_period_twice_or_in_the_future_or_during_a_run(desk: Desk) -> None:
    core, one = desk.shop.core, await desk.hire()
    today = core.today()
    with pytest.raises(Invalid):
        await periods.close_period(core, one, "bk", today)
    with pytest.raises(Forbidden):
        await periods.close_period(core, OPERATOR, "bk", DAY)
    asked = await periods.close_period(core, one, "bk", DAY)
    with pytest.raises(IllegalState, match="asked for this account already"):
        await periods.close_period(core, one, "bk", DAY)

    await desk.run(
        "INSERT INTO reconciliation (id, account_id, kind, from_date, to_date, requested_by_kind, "
        "requested_by_name) VALUES ($1, $2, 'NIGHTLY', $3, $3, 'system', 'system')",
        uuid4(),
        desk.accounts["bk"],
        DAY,
    )
    with pytest.raises(IllegalState, match="being reconciled"):
        await periods.confirm_period(await desk.hire(), asked.id)
    refused = await periods.confirm_period(one, asked.id, agreed=False)
    assert refused.status == "REFUSED"


async def test_the_database_lets_nobody_confirm_what_they_asked_for(desk: Desk) -> None:
    one = await desk.hire()
    asked = await periods.close_period(desk.shop.core, one, "bk", DAY)

    with pytest.raises(asyncpg.CheckViolationError, match="period_close_by_another_person"):
        await desk.run(
            "UPDATE period_close SET status = 'DONE', decided_by_id = asked_by_id WHERE id = $1",
            asked.id,
        )


async def test_what_is_late_is_booked_on_the_first_open_day(desk: Desk) -> None:
    await close(desk, DAY)
    await close(desk, DAY, "wallet")
    await desk.capture(5000)
    await items.collect(desk.shop.core)
    [item] = await desk.items()
    [line] = await desk.imported("bk", {"amount": 5000, "date": DAY - timedelta(days=9)})
    await desk.match("bk", [line], [item["id"]])

    rows = await desk.run("SELECT DISTINCT date FROM ledger_entry")

    assert [row["date"] for row in rows] == [DAY + timedelta(days=1)]


# ── what the database refuses ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entry SET amount = amount + 1",
        "DELETE FROM ledger_entry",
        "TRUNCATE ledger_entry CASCADE",
    ],
)
async def test_the_books_are_written_in_ink(desk: Desk, statement: str) -> None:
    await desk.imported("bk", {"amount": 1})

    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
        await desk.run(statement)


@pytest.mark.parametrize(
    ("debit", "credit", "amount"),
    [("a", "a", 1), ("a", "b", 0), ("a", "b", -1)],
)
async def test_no_entry_can_make_the_books_lean(
    desk: Desk, debit: str, credit: str, amount: int
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await desk.run(
            "INSERT INTO ledger_entry (cause, debit, credit, amount, currency, date, actor) "
            "VALUES ('x', $1, $2, $3, 'RWF', current_date, 'x')",
            debit,
            credit,
            amount,
        )
