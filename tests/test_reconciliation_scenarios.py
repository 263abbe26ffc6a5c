"""Thirty stories of money and statements, each from the file as it comes to what is found in it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.truth import files
from tests.truth.desk import Desk, open_desk
from tests.truth.known import KIGALI, Line, Paid, Refunded
from tests.truth.month import rf

from dusangire.access import OPERATOR, Actor
from dusangire.errors import IllegalState
from dusangire.gateway import Environment, Succeeded
from dusangire.money import Money
from dusangire.permissions import Role
from dusangire.reconciliation import decisions, report, runs
from dusangire.testing.database import fresh_database

MONDAY = date(2026, 10, 5)
NAMES = ("PAY-7K3M9Q2X", "PAY-8H2N4RTV", "PAY-9WXY6ZAB", "PAY-2CDE5FGH", "PAY-3JKM7NPQ")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with fresh_database() as url, open_desk(tmp_path, url) as desk:
        yield desk


def paid(n: int = 0, amount: int = 15_000, gateway: str = "bank", **changes: Any) -> Paid:
    """The nth payment: captured on Monday at nine."""
    name = NAMES[n] if n < len(NAMES) else f"PAY-X{n:07d}"
    at = datetime(2026, 10, 5, 9, n % 60, tzinfo=KIGALI)
    given = {"name": name, "gateway": gateway, "amount": amount, "at": at}
    return Paid(**{**given, **changes})


def line(amount: int, note: str = "", mark: str = "FT1", day: int = 0, **changes: Any) -> Line:
    """A line so many days after Monday."""
    when = MONDAY + timedelta(days=day)
    return Line(**{"day": when, "amount": amount, "mark": mark, "note": note, **changes})


def wallet(payment: Paid, **changes: Any) -> Line:
    """The line of a wallet's report that tells of a payment."""
    given = {
        "day": payment.at.date(), "at": payment.at, "amount": payment.amount,
        "mark": payment.transaction or "9001", "ours": payment.attempt,
    }  # fmt: skip
    return Line(**{**given, **changes})


def settled(payment: Paid, fee: int = 570, **changes: Any) -> Line:
    """The line of a card gateway's report that tells of a payment."""
    given = {"gross": payment.amount, "fee": fee, "settlement": "FLW1"}
    return wallet(payment, **{"amount": payment.amount - fee, **given, **changes})


async def bank(desk: Desk, *lines: Line, opening: int = 0, number: int = 1) -> None:
    done = await desk.bring("bank", files.mt940(lines, opening=opening, number=number), "a.sta")
    assert done.status == "COMPLETED", done.error


async def matches(desk: Desk, status: str = "CONFIRMED") -> list[tuple[list[str], list[str]]]:
    """What was put together: the marks of lines, and what they are about."""
    found = await desk.rows(
        """SELECT array_remove(array_agg(DISTINCT coalesce(l.transaction_id, l.bank_reference)
                ORDER BY coalesce(l.transaction_id, l.bank_reference)), NULL) AS marks,
            array_remove(array_agg(coalesce(i.settlement, r.reference, p.reference)
                ORDER BY p.reference), NULL) AS names
        FROM recon_match m JOIN match_leg g ON g.match_id = m.id
        LEFT JOIN statement_line l ON l.id = g.line_id
        LEFT JOIN clearing_item i ON i.id = g.item_id LEFT JOIN payment p ON p.id = i.payment_id
        LEFT JOIN refund r ON r.id = i.refund_id
        WHERE m.status = $1 GROUP BY m.id ORDER BY 1, 2""",
        status,
    )
    return [(row["marks"], row["names"]) for row in found]


async def kinds(desk: Desk, status: str = "OPEN") -> list[str]:
    found = await desk.rows(
        "SELECT kind FROM discrepancy WHERE status = $1 ORDER BY kind, key", status
    )
    return [row["kind"] for row in found]


async def the(desk: Desk, kind: str) -> dict[str, Any]:
    """The one open discrepancy of a kind."""
    return await desk.row("SELECT * FROM discrepancy WHERE kind = $1 AND status = 'OPEN'", kind)


async def balance(desk: Desk, account: str) -> int:
    """Debits less credits."""
    rows = await desk.rows(
        "SELECT debits - credits AS balance FROM ledger_balance WHERE account = $1", account
    )
    return sum(row["balance"] for row in rows)


async def total(desk: Desk) -> int:
    rows = await desk.rows("SELECT debits - credits AS balance FROM ledger_balance")
    return sum(row["balance"] for row in rows)


async def status(desk: Desk, payment: Paid) -> str:
    row = await desk.row("SELECT status FROM payment WHERE id = $1", payment.id)
    return str(row["status"])


async def accountant(desk: Desk) -> Actor:
    """A person who may decide."""
    staff_id = uuid4()
    await desk.rows(
        "INSERT INTO staff (id, email, name, role) VALUES ($1, $2, $2, 'APPROVER')",
        staff_id,
        "aline@shop.example.rw",
    )
    return Actor(
        kind="staff",
        name="aline@shop.example.rw",
        role=Role.APPROVER,
        staff_id=staff_id,
        confirmed_at=desk.core.clock().timestamp(),
    )


async def match_id(desk: Desk, status: str) -> UUID:
    row = await desk.row("SELECT id FROM recon_match WHERE status = $1", status)
    found: UUID = row["id"]
    return found


# ── references ───────────────────────────────────────────────────────────────────────────────────


async def test_01_one_to_one_rf_exact(desk: Desk) -> None:
    payment = paid()
    await desk.load([payment])

    await bank(desk, line(15_000, f"Incoming Trsf | UWASE {rf(payment.body)}"))
    await desk.reconcile("bank")

    assert await matches(desk) == [(["FT1"], [payment.name])]
    found = await desk.row("SELECT confidence, difference, explanation FROM recon_match")
    assert (found["confidence"], found["difference"]) == (100, 0)
    assert payment.body in found["explanation"]
    assert await kinds(desk) == []
    assert await balance(desk, "bank:bank") == 15_000
    assert await balance(desk, "clearing:bank") == await balance(desk, "suspense:bank") == 0


async def test_02_rf_with_spaces_lower_case_a_wrap_at_65_and_o_for_0(desk: Desk) -> None:
    names = ("PAY-70M19Q2X", *NAMES[1:4])
    payments = [paid(n, 10_000 + n, name=name) for n, name in enumerate(names)]
    await desk.load(payments)
    mistyped, spaced, lower, cut = (rf(payment.body) for payment in payments)

    await bank(
        desk,
        line(10_000, f"FROM A {mistyped[:2]}{mistyped[2:].replace('0', 'O')}", "FT0"),
        line(10_001, f"FROM B {spaced[:4]} {spaced[4:8]} {spaced[8:12]} {spaced[12:]}", "FT1"),
        line(10_002, f"from c {lower.lower()}", "FT2"),
        line(10_003, f"{'X' * 55} {cut} and more", "FT3"),
    )
    await desk.reconcile("bank")

    assert await matches(desk) == [([f"FT{n}"], [name]) for n, name in enumerate(names)]


async def test_03_two_equal_amounts_without_a_reference_are_not_guessed(desk: Desk) -> None:
    await desk.load([paid(0), paid(1)])

    await bank(desk, line(15_000, "Incoming", "FT1"), line(15_000, "Incoming", "FT2"))
    await desk.reconcile("bank")

    assert await matches(desk) == []
    assert "AMBIGUOUS" in await kinds(desk)


async def test_04_of_two_equal_amounts_the_one_with_a_reference_leaves_the_other(
    desk: Desk,
) -> None:
    one, other = paid(0), paid(1)
    await desk.load([one, other])

    await bank(desk, line(15_000, rf(one.body), "FT1"), line(15_000, "Incoming", "FT2"))
    await desk.reconcile("bank")

    assert await matches(desk) == [(["FT1"], [one.name])]
    assert await matches(desk, "SUGGESTED") == [(["FT2"], [other.name])]


# ── payouts ──────────────────────────────────────────────────────────────────────────────────────


def _card_day() -> tuple[list[Paid], Refunded, list[Line]]:
    """Thirty-seven cards and a refund."""
    payments = [paid(n, 15_000 + n, "card", transaction=f"8{n:05d}", fee=570) for n in range(37)]
    payments[0] = replace(payments[0], refunded=4_000)
    back = Refunded(
        name="RFD-1", of=payments[0], amount=4_000, transaction="8R1",
        at=payments[0].at + timedelta(hours=2),
    )  # fmt: skip
    lines = [settled(payment) for payment in payments]
    lines.append(settled(
        payments[0], mark="8R1", ours="RFD-1-1", amount=-4_000, gross=-4_000, fee=0, word="refund"
    ))  # fmt: skip
    return payments, back, lines


async def test_05_a_card_payout_of_37_payments_less_fees_and_a_refund_is_one_line(
    desk: Desk,
) -> None:
    payments, back, lines = _card_day()
    await desk.load(payments, [back])

    await desk.bring("card", files.settlement_csv(lines), "a.csv")
    net = sum(one.amount for one in lines)
    await bank(desk, line(net, "FLUTTERWAVE SETTLEMENT", day=1))
    await desk.reconcile("card")
    await desk.reconcile("bank")

    assert len(await matches(desk)) == 39
    assert (["FT1"], ["FLW1"]) in await matches(desk)
    assert await balance(desk, "in_transit:card") == await balance(desk, "clearing:card") == 0
    assert await balance(desk, "bank:bank") == net
    assert await balance(desk, "fees:card") == 37 * 570
    assert await total(desk) == 0


async def test_06_a_payout_with_a_payment_that_we_do_not_know(desk: Desk) -> None:
    payments, back, lines = _card_day()
    await desk.load(payments[:36], [back])

    await desk.bring("card", files.settlement_csv(lines), "a.csv")
    await bank(desk, line(sum(one.amount for one in lines), "FLUTTERWAVE SETTLEMENT", day=1))
    await desk.reconcile("card")
    await desk.reconcile("bank")

    assert len(await matches(desk)) == 38
    assert (["FT1"], ["FLW1"]) in await matches(desk)
    assert await kinds(desk) == ["MISSING_IN_SYSTEM"]
    assert (await the(desk, "MISSING_IN_SYSTEM"))["actual"] in {lines[36].amount, lines[36].gross}


async def test_07_a_customer_pays_in_two_transfers(desk: Desk) -> None:
    payment = paid()
    await desk.load([payment])

    await bank(
        desk, line(9_000, rf(payment.body), "FT1"), line(6_000, rf(payment.body), "FT2", day=1)
    )
    await desk.reconcile("bank")

    assert await matches(desk) == [(["FT1", "FT2"], [payment.name])]


@pytest.mark.parametrize("listed", [True, False], ids=["with the list", "without the list"])
async def test_08_one_transfer_pays_three(desk: Desk, listed: bool) -> None:
    payments = [paid(n, 10_000 + 700 * n, payer="UWASE MARIE CLAIRE") for n in range(3)]
    await desk.load(payments)
    note = " ".join(payment.name for payment in payments) if listed else "UWASE MARIE CLAIRE"

    transfer = line(32_100, f"Incoming | {note}", payer="UWASE MARIE CLAIRE")
    await desk.bring("bank", files.camt([transfer]), "a.xml")
    await desk.reconcile("bank")

    everything = [(["FT1"], sorted(payment.name for payment in payments))]
    found = [(marks, sorted(names)) for marks, names in await matches(desk)]
    assert found == (everything if listed else [])
    if not listed:
        offered = [(marks, sorted(names)) for marks, names in await matches(desk, "SUGGESTED")]
        assert offered == everything


@pytest.mark.parametrize("more", [500, -500], ids=["too much", "too little"])
async def test_09_overpaid_and_underpaid_by_500(desk: Desk, more: int) -> None:
    payment = paid()
    await desk.load([payment])

    await bank(desk, line(15_000 + more, rf(payment.body)))
    await desk.reconcile("bank")

    assert await matches(desk) == []
    found = await the(desk, "AMOUNT_MISMATCH")
    assert found["actual"] - found["expected"] == more
    assert found["payment_id"] == payment.id


async def test_10_a_usd_payment_is_no_rwf_line(desk: Desk) -> None:
    payment = paid(currency="USD")
    await desk.load([payment])

    await bank(desk, line(15_000, rf(payment.body)))
    await desk.reconcile("bank")

    assert await matches(desk) == await matches(desk, "SUGGESTED") == []
    assert (await the(desk, "CURRENCY_MISMATCH"))["payment_id"] == payment.id


# ── files ────────────────────────────────────────────────────────────────────────────────────────


async def test_11_the_same_file_twice(desk: Desk) -> None:
    payment = paid()
    await desk.load([payment])
    content = files.mt940([line(15_000, rf(payment.body))])

    first = await desk.bring("bank", content)
    await desk.reconcile("bank")
    again = await desk.bring("bank", content)
    await desk.reconcile("bank")

    assert again.id == first.id
    assert await matches(desk) == [(["FT1"], [payment.name])]
    assert await balance(desk, "bank:bank") == 15_000


async def test_12_overlapping_exports(desk: Desk) -> None:
    payments = [paid(n, 10_000 + n) for n in range(3)]
    await desk.load(payments)
    lines = [line(p.amount, rf(p.body), f"FT{n}", day=n) for n, p in enumerate(payments)]

    await desk.bring("bank", files.bank_csv(lines[:2]), "a.csv")
    second = await desk.bring("bank", files.bank_csv(lines[1:], opening=10_000), "b.csv")
    await desk.reconcile("bank")

    assert (second.lines_new, second.lines_duplicate) == (1, 1)
    assert len(await matches(desk)) == 3
    assert await balance(desk, "bank:bank") == 30_003


async def test_13_legitimate_twins_stay_two(desk: Desk) -> None:
    coffee = line(-450, "COFFEE SHOP", "FT9")
    content = files.bank_csv([coffee, coffee], opening=10_000)

    await desk.bring("bank", content, "a.csv")
    longer = files.bank_csv([coffee, coffee, line(-100, "TEA", "FT10", day=1)], opening=10_000)
    second = await desk.bring("bank", longer, "b.csv")
    await desk.reconcile("bank")

    assert (second.lines_new, second.lines_duplicate) == (1, 2)
    assert await balance(desk, "bank:bank") == -1_000
    assert "DUPLICATE" not in await kinds(desk)


async def test_14_a_reversal_on_the_next_day_takes_its_line_back(desk: Desk) -> None:
    await bank(
        desk,
        line(8_000, "MISTAKE OF THE BANK 4711", "FT1"),
        line(-8_000, "MISTAKE OF THE BANK 4711", "FT1", day=1, reversal=True),
    )
    await desk.reconcile("bank")

    assert await matches(desk) == [(["FT1"], [])]
    assert await balance(desk, "suspense:bank") == await balance(desk, "bank:bank") == 0


async def test_15_a_fee_row_that_shares_the_reference(desk: Desk) -> None:
    payment = paid()
    await desk.load([payment])

    rows = [line(15_000, rf(payment.body), "FT7"), line(-500, "Charge", "FT7", word="FEE")]
    await desk.bring("bank", files.bank_csv(rows), "a.csv")
    await desk.reconcile("bank")

    assert sorted(await matches(desk)) == [(["FT7"], []), (["FT7"], [payment.name])]
    assert await balance(desk, "fees:bank") == 500
    assert await balance(desk, "suspense:bank") == 0


# ── what became of the payment ───────────────────────────────────────────────────────────────────


async def test_16_money_that_comes_after_the_payment_was_cancelled(desk: Desk) -> None:
    payment = paid(status="CANCELLED")
    await desk.load([payment])

    await bank(desk, line(15_000, rf(payment.body), day=1))
    await desk.reconcile("bank")

    assert await status(desk, payment) == "SUCCEEDED"
    assert await matches(desk) == [(["FT1"], [payment.name])]
    assert (await the(desk, "LATE"))["payment_id"] == payment.id


async def test_a_bank_account_that_is_no_gateways_own_settles_transfers_and_nothing_else(
    desk: Desk,
) -> None:
    courier = await desk.core.gateways.save(
        OPERATOR,
        code="courier",
        plugin="cod",
        name="Courier",
        environment=Environment.TEST,
        config={"currency": "RWF"},
    )
    desk.gateways["courier"] = courier.id
    transfer = paid(0, status="PENDING", transaction=None)
    delivery = paid(1, gateway="courier", status="PENDING", transaction=None)
    await desk.load([transfer, delivery])
    await desk.rows("UPDATE statement_account SET gateway_id = NULL WHERE code = 'bank'")

    await bank(desk, line(15_000, rf(transfer.body)), line(15_000, rf(delivery.body), "FT2"))
    await desk.reconcile("bank")

    assert await status(desk, transfer) == "SUCCEEDED"
    assert await status(desk, delivery) == "PENDING"
    assert await matches(desk) == [(["FT1"], [transfer.name])]


async def test_17_a_lost_webhook_is_a_status_mismatch_until_the_gateway_is_asked(
    desk: Desk,
) -> None:
    payment = paid(gateway="mtn", status="PENDING", transaction=None)
    await desk.load([payment])
    gateway = desk.plugins["test-mtn"]

    await desk.bring("mtn", files.wallet_csv([wallet(payment)]), "a.csv")
    await desk.reconcile("mtn")
    before = await kinds(desk)
    gateway.says[payment.attempt] = Succeeded(
        amount=Money(15_000, "RWF"), reference=payment.attempt, gateway_transaction_id="9001"
    )
    await desk.ask()
    await desk.reconcile("mtn")

    assert before == ["STATUS_MISMATCH"]
    assert await status(desk, payment) == "SUCCEEDED"
    assert await matches(desk) == [(["9001"], [payment.name])]
    assert "STATUS_MISMATCH" not in await kinds(desk)


async def test_18_the_operators_number_counts_more_than_a_name(desk: Desk) -> None:
    payment = paid(gateway="mtn", transaction="9001", payer="MUGISHA ERIC")
    await desk.load([payment])

    told = wallet(payment, payer="KAYITESI GRACE", ours="")
    await desk.bring("mtn", files.wallet_csv([told]), "a.csv")
    await desk.reconcile("mtn")

    assert await matches(desk) == [(["9001"], [payment.name])]
    assert (await desk.row("SELECT confidence FROM recon_match"))["confidence"] == 100


async def test_19_half_past_eleven_at_night_belongs_to_the_day_in_kigali(desk: Desk) -> None:
    night = paid(0, gateway="mtn", transaction="9001", at=datetime(2026, 10, 5, 21, 30, tzinfo=UTC))
    morning = paid(
        1, gateway="mtn", transaction="9002", at=datetime(2026, 10, 5, 22, 30, tzinfo=UTC)
    )
    await desk.load([night, morning])

    # The operator has closed its day already.
    told = [wallet(p, day=date(2026, 10, 6), at=p.at + timedelta(minutes=31)) for p in
            (night, morning)]  # fmt: skip
    await desk.bring("mtn", files.wallet_csv(told), "a.csv")
    await desk.reconcile("mtn")

    assert len(await matches(desk)) == 2
    days = await desk.rows(
        "SELECT e.date FROM ledger_entry e JOIN clearing_item i ON i.id = e.item_id "
        "WHERE e.cause = 'captured' ORDER BY i.occurred_at"
    )
    assert [row["date"] for row in days] == [date(2026, 10, 5), date(2026, 10, 6)]


async def test_20_public_holidays_shift_a_payout(desk: Desk) -> None:
    # Good Friday, a weekend, Easter Monday and the day after: the third business day is 10 April.
    at = datetime(2026, 4, 2, 9, tzinfo=KIGALI)
    payment = paid(gateway="card", transaction="8001", fee=570, at=at)
    await desk.load([payment])

    await desk.bring("card", files.settlement_csv([settled(payment)]), "a.csv")
    arrived = replace(line(14_430, "FLUTTERWAVE SETTLEMENT"), day=date(2026, 4, 10))
    await bank(desk, arrived)
    await desk.reconcile("bank", date(2026, 3, 1), date(2026, 5, 1))

    assert (["FT1"], ["FLW1"]) in await matches(desk)


# ── people ───────────────────────────────────────────────────────────────────────────────────────


async def test_21_a_pair_that_a_person_rejected_is_not_offered_again(desk: Desk) -> None:
    await desk.load([paid()])
    await bank(desk, line(15_000, "Incoming"))
    await desk.reconcile("bank")
    offered = await matches(desk, "SUGGESTED")

    await decisions.reject_match(
        desk.core, await accountant(desk), await match_id(desk, "SUGGESTED"), "not hers"
    )
    await desk.reconcile("bank")

    assert offered == [(["FT1"], [NAMES[0]])]
    assert await matches(desk, "SUGGESTED") == await matches(desk) == []


async def test_22_after_an_unmatch_and_another_run_the_books_are_even(desk: Desk) -> None:
    payment = paid()
    await desk.load([payment])
    await bank(desk, line(15_000, rf(payment.body)))
    await desk.reconcile("bank")

    await decisions.unmatch(
        desk.core, await accountant(desk), await match_id(desk, "CONFIRMED"), "a mistake"
    )
    open_again = await balance(desk, "clearing:bank"), await balance(desk, "suspense:bank")
    await desk.reconcile("bank")

    assert open_again == (15_000, -15_000)
    assert await total(desk) == 0
    unexplained = await desk.row(
        "SELECT coalesce(sum(amount), 0) AS open FROM statement_line WHERE status <> 'MATCHED'"
    )
    assert await balance(desk, "suspense:bank") == -unexplained["open"]
    assert await balance(desk, "clearing:bank") == unexplained["open"]


async def test_23_of_two_runs_at_once_one_wins(desk: Desk) -> None:
    begun = await asyncio.gather(
        *(runs.begin(desk.core, OPERATOR, "bank", MONDAY, MONDAY) for _ in range(4)),
        return_exceptions=True,
    )

    won = [one for one in begun if not isinstance(one, BaseException)]
    assert len(won) == 1
    assert all(isinstance(one, IllegalState) for one in begun if one not in won)


async def test_24_a_subset_sum_bomb_is_ambiguous_and_over_in_time(desk: Desk) -> None:
    payments = [paid(n, 10_000, payer="UWASE MARIE CLAIRE") for n in range(40)]
    await desk.load(payments)

    transfer = line(70_000, "Incoming", payer="UWASE MARIE CLAIRE")
    await desk.bring("bank", files.camt([transfer]), "a.xml")
    async with asyncio.timeout(60):
        await desk.reconcile("bank")

    assert await matches(desk) == await matches(desk, "SUGGESTED") == []
    assert "AMBIGUOUS" in await kinds(desk)


async def test_25_a_formula_in_a_narration_is_text_in_the_export(desk: Desk) -> None:
    await bank(desk, line(15_000, '=HYPERLINK("http://x.example","y")'))
    run = await desk.reconcile("bank")

    found = await report.report(desk.core, OPERATOR, run["id"])
    text = "".join([part async for part in report.csv_of(OPERATOR, found)])

    assert "HYPERLINK" in text
    cells = [cell.strip('"') for row in text.splitlines() for cell in row.split(",")]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


# Properties 26 and 27 have a file of their own: test_reconciliation_properties.py.


async def test_28_a_courier_who_is_2_000_short(desk: Desk) -> None:
    payments = [paid(n, 20_000 + n, "cod") for n in range(3)]
    await desk.load(payments)
    report_lines = [
        wallet(p, mark=f"WB{n}", ours=p.name, gross=p.amount, fee=500, amount=p.amount - 500,
               settlement="REM20261005")
        for n, p in enumerate(payments)
    ]  # fmt: skip

    await desk.bring("cod", files.courier_csv(report_lines), "a.csv")
    await bank(desk, line(58_503 - 2_000, "CASH DEPOSIT COURIER REM20261005", day=1))
    await desk.reconcile("cod")
    await desk.reconcile("bank")

    assert len(await matches(desk)) == 3
    found = await the(desk, "AMOUNT_MISMATCH")
    assert (found["expected"], found["actual"]) == (58_503, 56_503)


async def test_29_a_chargeback_after_the_settlement(desk: Desk) -> None:
    payment = paid(gateway="card", transaction="8001", fee=570)
    await desk.load([payment])
    back = settled(
        payment, mark="CB1", day=date(2026, 10, 12), amount=-15_000, gross=-15_000, fee=0,
        at=datetime(2026, 10, 12, 9, tzinfo=KIGALI), word="chargeback", settlement="FLW2",
    )  # fmt: skip

    await desk.bring("card", files.settlement_csv([settled(payment)]), "a.csv")
    await desk.reconcile("card")
    await desk.bring("card", files.settlement_csv([back]), "b.csv")
    await desk.reconcile("card")

    assert await matches(desk) == [(["8001"], [payment.name])]
    assert (await the(desk, "CHARGEBACK"))["payment_id"] == payment.id


async def test_30_balance_continuity_gap_is_a_balance_break(desk: Desk) -> None:
    await bank(desk, line(1_000, "one", "FT1"), opening=0, number=1)
    # The statement of the day between is missing.
    await bank(desk, line(2_000, "three", "FT3", day=2), opening=6_000, number=3)
    await desk.reconcile("bank")

    found = await the(desk, "BALANCE_BREAK")
    assert found["severity"] == "CRITICAL"
    assert found["actual"] - found["expected"] in {5_000, -5_000}
