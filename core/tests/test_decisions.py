"""What people decide about matches: once, with their name, and the books follow."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import pytest
from core.tests.conftest import Shop
from core.tests.reconciling import Counter

from dusangire.access import OPERATOR, Actor
from dusangire.errors import (
    CallerError,
    Conflict,
    Forbidden,
    IllegalState,
    Invalid,
    NotFound,
    SelfApproval,
)
from dusangire.permissions import Role, Scope
from dusangire.reconciliation import decisions, runs
from dusangire.reconciliation.decisions import MatchLines
from dusangire.records import MatchStatus

DAYS = date(2026, 11, 1), date(2026, 11, 20)
SUGGESTED, CONFIRMED = MatchStatus.SUGGESTED, MatchStatus.CONFIRMED
REJECTED, UNMATCHED = MatchStatus.REJECTED, MatchStatus.UNMATCHED


@pytest.fixture
async def counter(shop: Shop) -> Counter:
    return await Counter.open(shop)


async def test_a_yes_books_the_match_and_the_payment_says_so(counter: Counter) -> None:
    jane, item, line_id = await _person(counter), await counter.paid(), await counter.line()
    match_id = await counter.suggested(line_id, item)

    match = await decisions.confirm_match(counter.shop.core, jane, match_id, "seen on paper")

    payment = await counter.shop.payment(item["payment_id"])
    assert (match.status, match.decided_by and match.decided_by.name) == (CONFIRMED, jane.name)
    assert payment["reconciliation_status"] == "MATCHED"
    assert await counter.balanced() == (0, 0)
    assert await _audited(counter, match_id) == [(jane.name, "match.confirmed")]


async def test_the_same_decision_twice_is_one(counter: Counter) -> None:
    jane, item, line_id = await _person(counter), await counter.paid(), await counter.line()
    match_id, core = await counter.suggested(line_id, item), counter.shop.core

    first = await decisions.confirm_match(core, jane, match_id)
    again = await decisions.confirm_match(core, jane, match_id)
    undone = await decisions.unmatch(core, jane, match_id, "the wrong customer")
    undone_again = await decisions.unmatch(core, jane, match_id, "the wrong customer")

    assert (first, undone) == (again, undone_again)
    assert [action for _, action in await _audited(counter, match_id)] == [
        "match.confirmed",
        "match.unmatched",
    ]


Decide = Callable[[Counter, Actor, Any], Awaitable[Any]]


@pytest.mark.parametrize("second", ["confirm", "reject"])
async def test_of_two_people_at_once_one_wins_and_the_other_is_told(
    counter: Counter, second: str
) -> None:
    jane, john = await _person(counter), await _person(counter)
    match_id = await counter.suggested(await counter.line(), await counter.paid())
    other = decisions.confirm_match if second == "confirm" else decisions.reject_match

    answers = await asyncio.gather(
        decisions.confirm_match(counter.shop.core, jane, match_id),
        other(counter.shop.core, john, match_id),
        return_exceptions=True,
    )

    [error] = [one for one in answers if isinstance(one, BaseException)]
    assert isinstance(error, Conflict)
    assert "since" in str(error)
    assert len(await _audited(counter, match_id)) == 1
    assert await counter.balanced() == (0, 0)


async def test_what_a_person_rejected_is_not_offered_again(counter: Counter) -> None:
    """Scenario 21."""
    jane, item = await _person(counter), await counter.paid()
    line_id = await counter.line()
    match_id = await counter.suggested(line_id, item)

    await decisions.reject_match(counter.shop.core, jane, match_id)
    await runs.begin(counter.shop.core, OPERATOR, "main", *DAYS)
    await counter.work()

    assert await counter.shop.value("SELECT count(*) FROM match_leg WHERE live") == 0
    assert await counter.shop.value("SELECT count(*) FROM rejected_pair") == 1


async def test_unmatched_and_run_again_the_books_are_as_before(counter: Counter) -> None:
    """Scenario 22: reversing entries, nothing deleted, and no machine does it again."""
    jane, core = await _person(counter), counter.shop.core
    item = await counter.paid()
    line_id = await counter.line(5000, ("RF", item["named"]))
    before = await _balances(counter)
    await runs.begin(core, OPERATOR, "main", *DAYS)
    await counter.work()
    [matched] = (await decisions.matches(core, OPERATOR, [CONFIRMED])).items

    undone = await decisions.unmatch(core, jane, matched.id, "it is another Jean")
    await runs.begin(core, OPERATOR, "main", *DAYS)
    await counter.work()

    assert undone.status is UNMATCHED
    assert await _balances(counter) == before
    assert await counter.balanced() == (0, 0)
    status = "SELECT status FROM statement_line WHERE id = $1"
    assert await counter.shop.value(status, line_id) == "OPEN"
    payment = await counter.shop.payment(item["payment_id"])
    assert payment["reconciliation_status"] != "MATCHED"


async def test_a_person_puts_one_line_and_two_payments_together(counter: Counter) -> None:
    jane = await _person(counter)
    one, two = await counter.paid(5000), await counter.paid(3000)
    wanted = _wanted(await counter.line(8000), one, two)

    match = await decisions.match_lines(counter.shop.core, jane, wanted)
    again = await decisions.match_lines(counter.shop.core, jane, wanted)

    assert (match.status, match.difference.minor) == (CONFIRMED, 0)
    assert again.id == match.id
    assert await counter.balanced() == (0, 0)


async def test_a_persons_choice_takes_the_place_of_a_suggestion(counter: Counter) -> None:
    jane, right, wrong = await _person(counter), await counter.paid(), await counter.paid()
    line_id = await counter.line()
    suggestion = await counter.suggested(line_id, wrong)

    match = await decisions.match_lines(counter.shop.core, jane, _wanted(line_id, right))

    ended = await decisions.match(counter.shop.core, OPERATOR, suggestion)
    assert (match.status, ended and ended.status) == (CONFIRMED, REJECTED)


async def test_a_difference_above_the_limit_needs_the_yes_of_two(counter: Counter) -> None:
    jane, boss, item = await _person(counter), await _boss(counter), await counter.paid()
    core, wanted = counter.shop.core, _wanted(await counter.line(4500), item)

    asked = await decisions.match_lines(core, jane, wanted)
    with pytest.raises(SelfApproval):
        await decisions.confirm_match(core, jane, asked.id)
    with pytest.raises(Forbidden):
        await decisions.confirm_match(core, await _person(counter), asked.id)
    unbooked = await counter.balanced()
    done = await decisions.confirm_match(core, boss, asked.id)

    assert (asked.status, asked.waits_for_another) == (SUGGESTED, True)
    assert (done.status, done.difference.minor) == (CONFIRMED, -500)
    assert [unbooked, await counter.balanced()] == [(0, 0), (0, 0)]
    balance = "SELECT debits - credits FROM ledger_balance WHERE account = 'write_off'"
    assert await counter.shop.value(balance) == 500
    assert await _audited(counter, asked.id) == [
        (jane.name, "match.agreed"),
        (boss.name, "match.confirmed"),
    ]


async def test_a_first_yes_survives_the_machine(counter: Counter) -> None:
    jane, item = await _person(counter), await counter.paid()
    line_id = await counter.line(4500, ("RF", item["named"]))
    asked = await decisions.match_lines(counter.shop.core, jane, _wanted(line_id, item))

    await runs.begin(counter.shop.core, OPERATOR, "main", *DAYS)
    await counter.work()

    now = await decisions.match(counter.shop.core, OPERATOR, asked.id)
    assert now == asked


async def test_a_small_difference_within_the_limit_needs_one(shop: Shop) -> None:
    counter = await Counter.open(shop, write_off_limit=500)
    jane, item = await _person(counter), await counter.paid()

    match = await decisions.match_lines(shop.core, jane, _wanted(await counter.line(4500), item))

    assert match.status is CONFIRMED
    assert await counter.balanced() == (0, 0)


async def test_a_closed_period_is_not_touched(counter: Counter) -> None:
    jane, item, line_id = await _person(counter), await counter.paid(), await counter.line()
    match_id, core = await counter.suggested(line_id, item), counter.shop.core
    await decisions.confirm_match(core, jane, match_id)
    later = await counter.line()
    other = await counter.paid()
    await counter.shop.run("UPDATE statement_account SET closed_until = '2026-11-10'")

    with pytest.raises(IllegalState, match="closed until"):
        await decisions.unmatch(core, jane, match_id, "a mistake")
    with pytest.raises(IllegalState, match="closed until"):
        await decisions.match_lines(core, jane, _wanted(later, other))

    assert await counter.balanced() == (0, 0)


async def test_what_cannot_be_put_together_is_refused_in_words(counter: Counter) -> None:
    jane, item, line_id = await _person(counter), await counter.paid(), await counter.line()
    unbooked = await counter.desk.line(entry_status="PENDING", posted=False)
    core = counter.shop.core
    other = await counter.paid()
    await decisions.match_lines(core, jane, _wanted(await counter.line(), other))

    refused: list[tuple[MatchLines, type[CallerError]]] = [
        (_wanted(unbooked, item), IllegalState),
        (_wanted(line_id, other), IllegalState),
        (_wanted(item["id"], item), NotFound),
        (MatchLines(line_ids=[line_id], note="x"), Invalid),
        (MatchLines(line_ids=[], payment_ids=[item["payment_id"]], note="x"), Invalid),
        (MatchLines(line_ids=[line_id] * 1, payment_ids=[item["payment_id"]], note=" "), Invalid),
    ]
    for wanted, error in refused:
        with pytest.raises(error):
            await decisions.match_lines(core, jane, wanted)


@pytest.mark.parametrize(
    "actor",
    [
        OPERATOR,
        Actor(kind="api_key", name="shop", scopes=frozenset({Scope.ADMIN})),
        Actor(kind="staff", name="viewer", role=Role.VIEWER),
    ],
    ids=lambda actor: actor.kind,
)
async def test_only_people_who_may_decide(counter: Counter, actor: Actor) -> None:
    match_id = await counter.suggested(await counter.line(), await counter.paid())

    with pytest.raises(Forbidden):
        await decisions.confirm_match(counter.shop.core, actor, match_id)


def _wanted(line_id: Any, *items: Any) -> MatchLines:
    return MatchLines(
        line_ids=[line_id], payment_ids=[item["payment_id"] for item in items], note="by phone"
    )


async def _person(counter: Counter) -> Actor:
    return await counter.desk.hire(Role.OPERATOR)


async def _boss(counter: Counter) -> Actor:
    return await counter.desk.hire(Role.APPROVER)


async def _audited(counter: Counter, match_id: Any) -> list[tuple[str, str]]:
    rows = await counter.shop.rows(
        "SELECT actor_name, action FROM audit_entry WHERE object = $1 ORDER BY id",
        f"match:{match_id}",
    )
    return [(row["actor_name"], row["action"]) for row in rows]


async def _balances(counter: Counter) -> list[tuple[str, int]]:
    rows = await counter.shop.rows(
        "SELECT account, debits - credits AS balance FROM ledger_balance ORDER BY account"
    )
    return [(row["account"], row["balance"]) for row in rows if row["balance"]]
