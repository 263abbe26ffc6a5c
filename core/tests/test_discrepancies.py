"""What does not agree: each cause in its kind, once, until it agrees or a person decides."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from core.tests.conftest import Shop, paid, until
from core.tests.discrepancing import MONDAY, Desk

from dusangire.days import KIGALI
from dusangire.errors import (
    ConfirmationNeeded,
    Conflict,
    Forbidden,
    IllegalState,
    Invalid,
    NotFound,
    SelfApproval,
)
from dusangire.gateway import Accepted, Attempt, Outcome
from dusangire.intake import MethodInput
from dusangire.permissions import Role
from dusangire.reconciliation import discrepancies, measures, suspense
from dusangire.reconciliation.discrepancies import DiscrepancyFilter, DiscrepancyStatus
from dusangire.reconciliation.wording import WORDS

RESOLVED, IGNORED = DiscrepancyStatus.RESOLVED, DiscrepancyStatus.IGNORED
WRITTEN_OFF = DiscrepancyStatus.WRITTEN_OFF
RF = ("RF", "PAY7K3M9Q2X")
NAMED = ("PAYMENT", "PAY7K3M9Q2X")
WEDNESDAY, LATER = date(2026, 11, 4), date(2026, 11, 12)

# ── each cause in its kind ───────────────────────────────────────────────────────────────────────

Case = Callable[[Desk], Awaitable[Any]]


async def _in_transit(desk: Desk) -> None:
    await desk.item(await _paid(desk), day=date(2026, 11, 18))


async def _missing(desk: Desk) -> None:
    await desk.item(await _paid(desk))


async def _unknown_credit(desk: Desk) -> None:
    await desk.line()


async def _unknown_debit(desk: Desk) -> None:
    await desk.line(direction="DEBIT")


async def _less(desk: Desk) -> None:
    await desk.item(await _paid(desk), NAMED)
    await desk.line(4500, RF)


async def _more(desk: Desk) -> None:
    await desk.item(await _paid(desk), NAMED)
    await desk.line(5500, RF)


async def _less_by_the_fee(desk: Desk) -> None:
    await desk.item(await _paid(desk), NAMED, fee=190)
    await desk.line(4810, RF)


async def _two_parts_that_are_not_all(desk: Desk) -> None:
    await desk.item(await _paid(desk), NAMED)
    await desk.line(2000, RF)
    await desk.line(2500, RF)


async def _one_transfer_for_two(desk: Desk) -> None:
    await desk.item(await _paid(desk), NAMED)
    await desk.item(await _paid(desk), ("PAYMENT", "PAY00000001"))
    await desk.line(9000, RF, ("RF", "PAY00000001"))


async def _dollars(desk: Desk) -> None:
    await desk.item(await _paid(desk), NAMED, currency="USD")
    await desk.line(5000, RF)


async def _one_transaction_twice(desk: Desk) -> None:
    for _ in range(2):
        await desk.line(5000, ("ID", "GT1"), transaction_id="GT-1")
    [first, _second] = await desk.shop.rows("SELECT id FROM statement_line ORDER BY number")
    await desk.matched([first["id"]], [await desk.item(await _paid(desk))])


async def _one_transaction_twice_and_none_matched(desk: Desk) -> None:
    item = await desk.item(await _paid(desk), ("TXN", "GT1"))
    for _ in range(2):
        line_id = await desk.line(5000, ("ID", "GT1"), transaction_id="GT-1")
        await _as_good(desk, line_id, item)


async def _paid_again(desk: Desk) -> None:
    item = await desk.item(await _paid(desk), NAMED)
    await desk.matched([await desk.line(5000, RF)], [item])
    await desk.line(5000, RF)


async def _paid_twice(desk: Desk) -> None:
    await desk.item(await _paid(desk), NAMED)
    for day in (WEDNESDAY, LATER):
        await desk.line(5000, RF, booking_date=day)


async def _paid_twice_and_one_suggested(desk: Desk) -> None:
    item = await desk.item(await _paid(desk), NAMED)
    first, _second = [await desk.line(5000, RF, booking_date=day) for day in (LATER, WEDNESDAY)]
    await _suggested(desk, first, item)


async def _captured_twice(desk: Desk) -> None:
    payment_id = await _paid(desk)
    item = await desk.item(payment_id)
    await desk.matched([await desk.line()], [item])
    await desk.shop.run(
        "UPDATE payment SET captured = 10000, needs_attention = '[\"DUPLICATE_CAPTURE\"]'"
    )


async def _not_paid_with_us(desk: Desk) -> None:
    reference = await _waiting(desk)
    await desk.line(5000, ("RF", reference))


async def _less_of_what_is_not_paid(desk: Desk) -> None:
    reference = await _waiting(desk)
    await desk.line(4000, ("RF", reference))


async def _failed_there(desk: Desk) -> None:
    await desk.item(await _paid(desk), ("TXN", "GT1"))
    await desk.line(
        0, ("ID", "GT1"), entry_status="INFO", kind="FAILED", transaction_id="GT-1", posted=False
    )


async def _charged_back(desk: Desk) -> None:
    item = await desk.item(await _paid(desk), ("TXN", "GT1"))
    await desk.matched([await desk.line(5000, ("ID", "GT1"))], [item])
    await desk.line(5000, ("ID", "GT1"), direction="DEBIT", kind="CHARGEBACK")


async def _taken_back(desk: Desk) -> None:
    await desk.item(await _paid(desk), NAMED)
    there = await desk.line(5000, RF)
    back = await desk.line(5000, RF, direction="DEBIT", is_reversal=True)
    await desk.matched([there, back], [])


async def _late(desk: Desk) -> None:
    item = await desk.item(await _paid(desk), NAMED)
    await desk.matched([await desk.line(5000, RF, booking_date=LATER)], [item])


async def _late_success(desk: Desk) -> None:
    item = await desk.item(await _paid(desk), NAMED)
    await desk.matched([await desk.line(5000, RF)], [item])
    await desk.shop.run("UPDATE payment SET needs_attention = '[\"LATE_SUCCESS\"]'")


async def _as_good_as_another(desk: Desk) -> None:
    items = [await desk.item(await _paid(desk)) for _ in range(2)]
    line_id = await desk.line()
    for item in items:
        await _as_good(desk, line_id, item)


async def _as_good(desk: Desk, line_id: UUID, item_id: UUID) -> None:
    await desk.shop.run(
        "INSERT INTO match_ambiguity (account_id, line_id, item_id, rule, score) "
        "VALUES ($1, $2, $3, 'amount-date', 60)",
        desk.account_id,
        line_id,
        item_id,
    )


async def _suggested(desk: Desk, line_id: UUID, item_id: UUID) -> None:
    await desk.matched([line_id], [item_id])
    await desk.shop.run("UPDATE recon_match SET status = 'SUGGESTED'")
    await desk.shop.run("UPDATE statement_line SET status = 'SUGGESTED' WHERE status = 'MATCHED'")
    await desk.shop.run("UPDATE clearing_item SET status = 'OPEN'")


async def _does_not_tie(desk: Desk) -> None:
    await desk.shop.run("UPDATE statement SET ties = false")


async def _gap(desk: Desk) -> None:
    await desk.shop.run("UPDATE statement SET opening = 0, closing = 1000")
    await desk.statement(date(2026, 11, 22), date(2026, 11, 23), opening=900, closing=0)


async def _goes_on(desk: Desk) -> None:
    await desk.shop.run("UPDATE statement SET opening = 0, closing = 1000")
    await desk.statement(date(2026, 11, 21), date(2026, 11, 21), opening=1000, closing=700)
    await desk.statement(date(2026, 11, 18), date(2026, 11, 21), opening=400, closing=700)
    await desk.statement(date(2026, 11, 22), date(2026, 11, 23), opening=700, closing=0)


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        (_in_transit, []),
        (_missing, ["MISSING_IN_BANK"]),
        (_unknown_credit, ["MISSING_IN_SYSTEM"]),
        (_unknown_debit, ["UNIDENTIFIED_DEBIT"]),
        (_less, ["AMOUNT_MISMATCH UNDERPAID"]),
        (_more, ["AMOUNT_MISMATCH OVERPAID"]),
        (_less_by_the_fee, ["AMOUNT_MISMATCH FEE_LIKE"]),
        (_two_parts_that_are_not_all, ["AMOUNT_MISMATCH UNDERPAID"]),
        (_one_transfer_for_two, ["AMOUNT_MISMATCH UNDERPAID"]),
        (_dollars, ["CURRENCY_MISMATCH"]),
        (_one_transaction_twice, ["DUPLICATE"]),
        (_one_transaction_twice_and_none_matched, ["DUPLICATE"]),
        (_paid_again, ["DUPLICATE"]),
        (_paid_twice, ["DUPLICATE"]),
        (_paid_twice_and_one_suggested, ["DUPLICATE"]),
        (_captured_twice, ["DUPLICATE"]),
        (_not_paid_with_us, ["STATUS_MISMATCH"]),
        (_less_of_what_is_not_paid, ["AMOUNT_MISMATCH UNDERPAID"]),
        (_failed_there, ["STATUS_MISMATCH"]),
        (_charged_back, ["CHARGEBACK"]),
        (_taken_back, ["REVERSED"]),
        (_late, ["LATE"]),
        (_late_success, ["LATE"]),
        (_as_good_as_another, ["AMBIGUOUS"]),
        (_does_not_tie, ["BALANCE_BREAK"]),
        (_gap, ["BALANCE_BREAK"]),
        (_goes_on, []),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else " ".join(value) or "none",
)
async def test_each_cause_is_found_in_its_kind_and_no_other(
    shop: Shop, case: Case, kinds: list[str]
) -> None:
    desk = await Desk.open(shop)
    await case(desk)

    await desk.find()
    first = await desk.rows()
    await desk.find()

    found = [" ".join((row["kind"], *_sort(row["message"]))) for row in first]
    assert found == kinds
    # And a second run finds the same one again.
    assert await desk.rows() == first


async def test_what_a_provider_never_heard_of_is_missing_there(shop: Shop) -> None:
    desk = await Desk.open(shop, "WALLET", stale_after=60)
    await desk.item(await _paid(desk))
    await desk.item(await _paid(desk), day=date(2026, 10, 30))

    await desk.find()

    only = await desk.only()
    assert (only["kind"], only["severity"]) == ("MISSING_AT_PROVIDER", "CRITICAL")
    assert only["since"] == MONDAY


async def test_a_fee_that_was_not_agreed_is_found_and_one_that_was_is_not(shop: Shop) -> None:
    desk = await Desk.open(shop, "SETTLEMENT", fee_percent="3.8")
    for fee in (190, 250):
        line = await desk.line(5000 - fee, gross=5000, fee=fee, kind="PAYMENT")
        await desk.matched([line], [await desk.item(await _paid(desk))])

    await desk.find()

    only = await desk.only()
    assert (only["kind"], only["severity"]) == ("FEE_MISMATCH", "LOW")
    assert (only["expected"], only["actual"]) == (190, 250)


async def test_money_that_no_statement_could_show_is_stale_and_not_missing(shop: Shop) -> None:
    desk = await Desk.open(shop, stale_after=5)
    await desk.item(await _paid(desk), day=date(2026, 10, 28))

    await desk.find()

    assert await desk.open_kinds() == ["STALE_CLEARING"]


async def test_a_book_that_is_not_its_open_items_is_a_break(shop: Shop) -> None:
    desk = await Desk.open(shop)
    await desk.item(await _paid(desk), day=date(2026, 11, 18))
    entry = (
        "INSERT INTO ledger_entry (cause, debit, credit, amount, currency, date, actor) "
        "VALUES ('captured', 'clearing:script', 'receivable', $1, 'RWF', now(), 'system')"
    )
    await shop.run(entry, 4000)

    await desk.find()
    broken = await desk.only()
    await shop.run(entry, 1000)
    await desk.find()

    assert (broken["kind"], broken["expected"], broken["actual"]) == ("BALANCE_BREAK", 5000, 4000)
    assert await desk.open_kinds() == []


async def test_a_suggestion_that_waits_is_no_discrepancy(shop: Shop) -> None:
    desk = await Desk.open(shop)
    await _suggested(desk, await desk.line(), await desk.item(await _paid(desk)))

    await desk.find()

    assert await desk.open_kinds() == []


# ── once, over all runs ──────────────────────────────────────────────────────────────────────────


async def test_it_closes_by_itself_when_it_agrees_and_the_payment_knows(shop: Shop) -> None:
    desk = await Desk.open(shop)
    payment_id = await _paid(desk)
    item = await desk.item(payment_id)
    opened = await desk.find()
    stood = (await shop.payment(payment_id))["reconciliation_status"]

    await desk.matched([await desk.line()], [item])
    closed = await desk.find()

    [row] = await desk.rows()
    assert (opened.opened, closed.opened, closed.closed) == ({"MISSING_IN_BANK": 1}, {}, 1)
    assert (row["status"], row["resolved_by_name"]) == ("AUTO_RESOLVED", "system")
    assert (stood, (await shop.payment(payment_id))["reconciliation_status"]) == (
        "DISCREPANCY",
        "MATCHED",
    )


async def test_a_second_part_brings_the_same_one_up_to_date(shop: Shop) -> None:
    desk = await Desk.open(shop)
    await desk.item(await _paid(desk), NAMED)
    await desk.line(2000, RF)
    await desk.find()

    await desk.line(2500, RF)
    await desk.find()

    [row] = await desk.rows()
    assert (row["expected"], row["actual"]) == (5000, 4500)
    assert "500 RWF are missing" in row["message"]


@pytest.mark.parametrize("status", [RESOLVED, IGNORED])
async def test_what_a_person_closed_stays_closed_until_its_amounts_change(
    shop: Shop, status: DiscrepancyStatus
) -> None:
    desk = await Desk.open(shop)
    await desk.item(await _paid(desk), NAMED)
    await desk.line(2000, RF)
    await desk.find()
    only, jane = await desk.only(), await desk.hire(Role.OPERATOR)
    await discrepancies.resolve(shop.core, jane, only["id"], status, "They pay the rest in cash")

    await desk.find()
    same = await desk.open_kinds()
    await desk.line(100, RF)
    await desk.find()

    assert same == []
    assert (await desk.only())["actual"] == 2100
    assert len(await desk.rows()) == 2


async def test_two_runs_of_two_workers_write_it_once(shop: Shop) -> None:
    desk = await Desk.open(shop)
    for _ in range(5):
        await desk.line()

    await asyncio.gather(desk.find(), desk.find())

    assert len(await desk.rows()) == 5


async def test_one_word_to_people_for_all_that_is_grave_in_a_run(shop: Shop) -> None:
    desk = await Desk.open(shop)
    for _ in range(3):
        await desk.line()

    await desk.find()
    await desk.find()

    events = await shop.rows("SELECT data FROM event WHERE type = 'discrepancy.opened'")
    assert [event["data"] for event in events] == [
        '{"discrepancies": {"name": "Main", "kinds": {"MISSING_IN_SYSTEM": 3}, "account": "main"}}'
    ]


async def test_no_message_names_a_payer(shop: Shop) -> None:
    desk = await Desk.open(shop)
    await desk.line(counterparty="JEAN UWIMANA", narration="FROM JEAN UWIMANA 0788123456")

    await desk.find()

    message = (await desk.only())["message"]
    assert "UWIMANA" not in message
    assert "0788123456" not in message
    assert "5,000 RWF came into Main on 2026-11-04" in message


def test_every_kind_has_words() -> None:
    assert set(WORDS) == set(discrepancies.DiscrepancyKind)


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_loss_needs_two_people(shop: Shop) -> None:
    desk = await Desk.open(shop)
    payment_id = await _paid(desk)
    item = await desk.item(payment_id)
    await desk.find()
    only = (await desk.only())["id"]
    jane, paul = await desk.hire(), await desk.hire()

    asked = await discrepancies.resolve(shop.core, jane, only, WRITTEN_OFF, "The bank lost it")
    with pytest.raises(SelfApproval):
        await discrepancies.resolve(shop.core, jane, only, WRITTEN_OFF, "The bank lost it")
    entries = await shop.value("SELECT count(*) FROM ledger_entry")
    done = await discrepancies.resolve(shop.core, paul, only, WRITTEN_OFF, "I saw the letter")
    again = await discrepancies.resolve(shop.core, paul, only, WRITTEN_OFF, "I saw the letter")

    assert (asked.status, asked.asked_by_id, entries) == ("OPEN", jane.staff_id, 0)
    assert done == again
    assert (done.status, done.resolved_by_id) == ("WRITTEN_OFF", paul.staff_id)
    [entry] = await shop.rows("SELECT debit, credit, amount, item_id FROM ledger_entry")
    assert entry == {
        "debit": "write_off",
        "credit": "clearing:script",
        "amount": 5000,
        "item_id": item,
    }
    assert (await shop.payment(payment_id))["reconciliation_status"] == "MATCHED"
    actions = await shop.rows(
        "SELECT action, actor_name FROM audit_entry WHERE object = $1 ORDER BY id",
        f"discrepancy:{only}",
    )
    assert [tuple(row.values()) for row in actions] == [
        ("discrepancy.write_off_asked", jane.name),
        ("discrepancy.written_off", paul.name),
    ]


async def test_the_second_person_must_be_one_who_may_write_off(shop: Shop) -> None:
    desk = await Desk.open(shop)
    await desk.line()
    await desk.find()
    only = (await desk.only())["id"]
    await discrepancies.resolve(
        shop.core, await desk.hire(Role.OPERATOR), only, WRITTEN_OFF, "unknown"
    )

    for actor, error in (
        (await desk.hire(Role.OPERATOR), Forbidden),
        (await desk.hire(fresh=False), ConfirmationNeeded),
    ):
        with pytest.raises(error):
            await discrepancies.resolve(shop.core, actor, only, WRITTEN_OFF, "yes")

    assert await shop.value("SELECT count(*) FROM ledger_entry") == 0


async def test_below_the_limit_one_person_is_enough(shop: Shop) -> None:
    desk = await Desk.open(shop, write_off_limit=5000)
    line = await desk.line()
    await desk.find()

    done = await discrepancies.resolve(
        shop.core,
        await desk.hire(Role.OPERATOR),
        (await desk.only())["id"],
        WRITTEN_OFF,
        "Nobody claims it",
    )

    assert done.status == "WRITTEN_OFF"
    status = await shop.value("SELECT status FROM statement_line WHERE id = $1", line)
    entry = await shop.row("SELECT debit, credit FROM ledger_entry")
    assert (status, entry) == ("IGNORED", {"debit": "suspense:main", "credit": "write_off"})


async def test_the_limit_of_one_currency_says_nothing_of_another(shop: Shop) -> None:
    desk = await Desk.open(shop, write_off_limit=5000)
    await desk.line(currency="USD")
    await desk.find()

    asked = await discrepancies.resolve(
        shop.core, await desk.hire(), (await desk.only())["id"], WRITTEN_OFF, "Nobody claims it"
    )

    assert asked.status == "OPEN"
    assert await shop.value("SELECT count(*) FROM ledger_entry") == 0


async def test_nothing_is_written_off_in_a_closed_period(shop: Shop) -> None:
    desk = await Desk.open(shop, write_off_limit=5000)
    line = await desk.line()
    await desk.find()
    only = (await desk.only())["id"]
    await shop.run("UPDATE statement_account SET closed_until = '2026-11-20'")

    with pytest.raises(IllegalState, match="closed until"):
        await discrepancies.resolve(shop.core, await desk.hire(), only, WRITTEN_OFF, "lost")

    assert await shop.value("SELECT status FROM statement_line WHERE id = $1", line) == "OPEN"
    assert await shop.value("SELECT count(*) FROM ledger_entry") == 0


async def test_a_difference_is_written_off_by_matching_the_two(shop: Shop) -> None:
    desk = await Desk.open(shop, write_off_limit=1000)
    payment_id = await _paid(desk)
    await desk.item(payment_id, NAMED)
    await desk.line(4500, RF)
    await desk.find()

    await discrepancies.resolve(
        shop.core, await desk.hire(), (await desk.only())["id"], WRITTEN_OFF, "Bank charges"
    )

    match = await shop.row("SELECT status, difference FROM recon_match")
    lost = await shop.value("SELECT sum(amount) FROM ledger_entry WHERE debit = 'write_off'")
    assert (match, lost) == ({"status": "CONFIRMED", "difference": -500}, 500)
    assert (await shop.payment(payment_id))["reconciliation_status"] == "MATCHED"


async def test_what_was_asked_is_asked_again_when_the_amount_is_another(shop: Shop) -> None:
    desk = await Desk.open(shop)
    item = await desk.item(None, kind="PAYOUT", account_id=None, settlement="S1")
    await desk.find()
    only, jane, paul = (await desk.only())["id"], await desk.hire(), await desk.hire()
    await discrepancies.resolve(shop.core, jane, only, WRITTEN_OFF, "gone")

    await shop.run("UPDATE clearing_item SET amount = 500000 WHERE id = $1", item)
    await desk.find()
    now = await discrepancies.resolve(shop.core, paul, only, WRITTEN_OFF, "yes")

    assert (now.status, now.asked_by_id) == ("OPEN", paul.staff_id)
    assert await shop.value("SELECT count(*) FROM ledger_entry") == 0


async def test_of_two_who_decide_at_once_one_is_told(shop: Shop) -> None:
    desk = await Desk.open(shop)
    await desk.line()
    await desk.find()
    only, people = (await desk.only())["id"], [await desk.hire(), await desk.hire()]

    answers = await asyncio.gather(
        *(
            discrepancies.resolve(shop.core, person, only, status, "so")
            for person, status in zip(people, (RESOLVED, IGNORED), strict=True)
        ),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers].count(Conflict) == 1
    assert await shop.value("SELECT count(*) FROM audit_entry WHERE object LIKE 'discr%'") == 1


@pytest.mark.parametrize(
    ("role", "status", "note", "error"),
    [
        (Role.VIEWER, RESOLVED, "so", Forbidden),
        (Role.ADMIN, DiscrepancyStatus.AUTO_RESOLVED, "so", Invalid),
        (Role.ADMIN, DiscrepancyStatus.OPEN, "so", Invalid),
        (Role.ADMIN, RESOLVED, "  ", Invalid),
    ],
)
async def test_a_decision_that_nobody_may_take_changes_nothing(
    shop: Shop, role: Role, status: DiscrepancyStatus, note: str, error: type[Exception]
) -> None:
    desk = await Desk.open(shop)
    await desk.line()
    await desk.find()

    with pytest.raises(error):
        await discrepancies.resolve(
            shop.core, await desk.hire(role), (await desk.only())["id"], status, note
        )

    assert await desk.open_kinds() == ["MISSING_IN_SYSTEM"]


async def test_where_no_money_is_open_nothing_is_written_off(shop: Shop) -> None:
    desk = await Desk.open(shop)
    await _late(desk)
    await desk.find()

    with pytest.raises(IllegalState):
        await discrepancies.resolve(
            shop.core, await desk.hire(), (await desk.only())["id"], WRITTEN_OFF, "so"
        )


async def test_it_is_given_to_somebody_who_works_here(shop: Shop) -> None:
    desk = await Desk.open(shop)
    await desk.line()
    await desk.find()
    only, jane = (await desk.only())["id"], await desk.hire()

    given = await discrepancies.assign(shop.core, jane, only, jane.staff_id)
    with pytest.raises(NotFound):
        await discrepancies.assign(shop.core, jane, only, only)

    assert given.assigned_to is not None
    assert given.assigned_to.name == jane.name


async def test_the_list_is_narrowed_and_goes_on_where_it_ended(shop: Shop) -> None:
    desk = await Desk.open(shop)
    for direction in ("CREDIT", "CREDIT", "DEBIT"):
        await desk.line(direction=direction)
    await desk.find()
    jane = await desk.hire(Role.VIEWER)
    unknown = DiscrepancyFilter(
        kind=[discrepancies.DiscrepancyKind.MISSING_IN_SYSTEM],
        status=[DiscrepancyStatus.OPEN],
        severity=[discrepancies.Severity.HIGH],
        account="main",
    )

    first = await discrepancies.discrepancies(shop.core, jane, unknown, 1)
    second = await discrepancies.discrepancies(shop.core, jane, unknown, 1, first.cursors[0])
    other = await discrepancies.discrepancies(shop.core, jane, DiscrepancyFilter(account="another"))

    assert (first.has_next, second.has_next, other.items) == (True, False, [])
    assert len({first.items[0].id, second.items[0].id}) == 2


def _sort(message: str) -> list[str]:
    head = message.partition(":")[0]
    return [head] if head.isupper() and " " not in head else []


async def _pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


async def _paid(desk: Desk) -> UUID:
    desk.shop.script.says("initiate", _pays)
    return (await desk.shop.create()).payment.id


async def _waiting(desk: Desk) -> str:
    """A payment that is not paid with us, as a statement writes its reference."""
    desk.shop.script.says("initiate", Accepted())
    return (await desk.shop.create()).payment.reference.replace("-", "")


# ── suspense ─────────────────────────────────────────────────────────────────────────────────────


async def test_suspense_is_told_by_age(shop: Shop) -> None:
    desk = await Desk.open(shop)
    today = shop.core.clock().astimezone(KIGALI).date()
    for days, amount in ((0, 100), (3, 200), (7, 300), (30, 400), (31, 500)):
        await desk.line(amount, booking_date=today - timedelta(days=days))
    await desk.line(9999, direction="DEBIT")

    found = await suspense.suspense(shop.core, await desk.hire(Role.VIEWER), "main")

    assert [(age.days, age.amount.minor) for age in found.ages] == list(
        zip(suspense.NAMES, (100, 200, 300, 400, 500), strict=True)
    )
    assert (found.count, found.total.minor, found.oldest_days) == (5, 1500, 31)


async def test_money_of_an_unknown_payer_is_given_to_its_payment(live_shop: Shop) -> None:
    desk = await Desk.open(live_shop)
    payment_id, line = await _paid(desk), await desk.line()
    await _unstamped(live_shop)

    match = await suspense.attach(
        live_shop.core, await desk.hire(), line, payment_id, "Aline showed me the receipt"
    )

    assert match.status == "CONFIRMED"
    assert match.decided_by is not None
    assert (await live_shop.payment(payment_id))["reconciliation_status"] == "MATCHED"


async def test_a_transfer_that_was_waited_for_is_confirmed_by_its_line(live_shop: Shop) -> None:
    desk = await Desk.open(live_shop)
    method = MethodInput(gateway="cash")
    payment_id = (await live_shop.create(method=method)).payment.id
    line, jane = await desk.line(), await desk.hire()

    match = await suspense.attach(live_shop.core, jane, line, payment_id, "I called the bank")
    again = await suspense.attach(live_shop.core, jane, line, payment_id, "I called the bank")

    payment = await live_shop.payment(payment_id)
    assert match == again
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", 5000)
    assert payment["reconciliation_status"] == "MATCHED"


async def test_less_than_was_asked_for_pays_for_nothing(shop: Shop) -> None:
    desk = await Desk.open(shop)
    payment_id = (await shop.create(method=MethodInput(gateway="cash"))).payment.id
    line = await desk.line(4999)

    with pytest.raises(IllegalState, match="it is not paid yet"):
        await suspense.attach(shop.core, await desk.hire(), line, payment_id, "so")

    assert (await shop.payment(payment_id))["captured"] == 0


async def test_one_line_pays_for_one_of_two_payments(live_shop: Shop) -> None:
    desk = await Desk.open(live_shop)
    method = MethodInput(gateway="cash")
    waiting = [(await live_shop.create(method=method)).payment.id for _ in range(2)]
    line, people = await desk.line(), [await desk.hire(), await desk.hire()]

    answers = await asyncio.gather(
        *(
            suspense.attach(live_shop.core, person, line, payment_id, "mine")
            for person, payment_id in zip(people, waiting, strict=True)
        ),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers].count(Conflict) == 1
    assert await live_shop.value("SELECT sum(captured)::int FROM payment") == 5000


async def _unstamped(shop: Shop) -> None:
    async def stamped() -> bool:
        return not await shop.value("SELECT count(*) FROM event WHERE position IS NULL")

    await until(stamped)


# ── measures ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_needed_no_person_is_counted_by_number_and_by_value(shop: Shop) -> None:
    desk = await Desk.open(shop, "SETTLEMENT", fee_percent="3.8")
    amounts = {"system": 3000, "staff": 1000}
    for decided_by, amount in amounts.items():
        line = await desk.line(amount, gross=amount + 200, fee=200)
        match_id = await desk.matched([line], [await desk.item(await _paid(desk))])
        await shop.run(
            "UPDATE recon_match SET decided_by_kind = $2, decided_by_name = $2 WHERE id = $1",
            match_id,
            decided_by,
        )
    await desk.line(4000)
    await desk.find()
    today = shop.core.clock().astimezone(KIGALI).date()

    found = await measures.measures(
        shop.core, await desk.hire(Role.VIEWER), "main", MONDAY, max(today, LATER)
    )

    assert (found.lines, found.automatic, found.straight_through_rate) == (3, 1, 1 / 3)
    assert found.straight_through_value_rate == 3000 / 8000
    [rule] = found.rules
    assert (rule.automatic, rule.offered, rule.acceptance_rate) == (1, 1, 1.0)
    assert found.days_to_bank == 2
    assert (found.fee.minor, found.gross.minor, found.agreed_percent) == (400, 4400, 3.8)
    assert {one.kind for one in found.open} == {"MISSING_IN_SYSTEM", "FEE_MISMATCH"}
