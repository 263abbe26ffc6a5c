"""Runs: one at a time, to the same end whoever dies on the way, and approved by somebody else."""

import asyncio
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from core.tests.conftest import Shop
from core.tests.reconciling import Counter

from dusangire.access import OPERATOR, SYSTEM, Actor
from dusangire.errors import Forbidden, IllegalState, Invalid, NotFound, SelfApproval, StaleApproval
from dusangire.outbox.body import body_of
from dusangire.permissions import Role, Scope
from dusangire.reconciliation import decisions, matching, recording, report, runs
from dusangire.reconciliation.report import cell
from dusangire.records import Reconciliation, RunKind, RunStatus
from dusangire.tail import EVENT_COLUMNS, EventRecord

FROM, TO = date(2026, 11, 1), date(2026, 11, 20)


@pytest.fixture
async def counter(shop: Shop) -> Counter:
    return await Counter.open(shop)


async def test_a_run_tells_its_progress_in_order_up_to_one(counter: Counter) -> None:
    await _matchable(counter)
    run = await _begin(counter)

    await counter.work()

    told = await counter.told(run)
    progress = [row["progress"] for row in told]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert len(told) >= 5
    assert told[-1]["type"] == "reconciliation.awaiting_approval"
    assert {row["type"] for row in told[:-1]} == {"reconciliation.progress"}


async def test_a_run_says_what_it_came_to(counter: Counter) -> None:
    await _matchable(counter)
    await counter.line(700)
    run = await _begin(counter)

    await counter.work()

    ended = await _now(counter, run)
    assert (ended.matched_count, ended.matched_total.minor, ended.unmatched_lines) == (1, 5000, 1)
    assert ended.status is RunStatus.AWAITING_APPROVAL
    assert await counter.balanced() == (0, 0)


async def test_of_concurrent_runs_one_wins_and_the_others_are_told(counter: Counter) -> None:
    """Scenario 23."""
    answers = await asyncio.gather(*(_begin(counter) for _ in range(4)), return_exceptions=True)

    errors = [one for one in answers if isinstance(one, BaseException)]
    assert len(errors) == 3
    assert all(isinstance(one, IllegalState) and "goes on already" in str(one) for one in errors)


async def test_a_worker_killed_at_any_step_leaves_a_run_that_ends_the_same(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _matchable(counter)
    run = await _begin(counter)
    await counter.shop.run("UPDATE event SET position = id WHERE position IS NULL")
    steps = ["references", "references and fees", "suggestions"]

    for step in steps:
        await _killed_at(counter, monkeypatch, step)
    await counter.work()

    ended = await _now(counter, run)
    assert (ended.status, ended.matched_count) == (RunStatus.AWAITING_APPROVAL, 1)
    assert await counter.shop.value("SELECT count(*) FROM recon_match") == 1
    assert await counter.balanced() == (0, 0)


async def test_whoever_lost_the_lease_changes_nothing_any_more(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await _begin(counter)
    await counter.shop.run("UPDATE event SET position = id WHERE position IS NULL")

    async def slow(*_: Any) -> None:
        # Meanwhile its lease is over, and another worker takes the run and ends it.
        monkeypatch.undo()
        await counter.shop.run("UPDATE reconciliation SET next_try_at = now()")
        await runs.work_due(counter.shop.core)

    monkeypatch.setattr(matching, "match", slow)
    await runs.work_due(counter.shop.core)

    told = [row["type"] for row in await counter.told(run)]
    assert told.count("reconciliation.awaiting_approval") == 1
    assert "reconciliation.failed" not in told


async def test_a_run_that_cannot_go_on_fails_in_words_and_makes_room(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("no such thing as +250788123456")

    monkeypatch.setattr(matching, "match", broken)
    run = await _begin(counter)
    await counter.work()
    monkeypatch.undo()

    failed = await _now(counter, run)
    assert failed.status is RunStatus.FAILED
    assert failed.error is not None
    assert "+250788123456" not in failed.error
    assert (await _begin(counter)).status is RunStatus.RUNNING


async def test_a_run_by_itself_needs_nobodys_approval(counter: Counter) -> None:
    await counter.line()

    run = await runs.after_import(
        counter.shop.core, counter.desk.account_id, counter.desk.import_id
    )
    await counter.work()

    assert run is not None
    ended = await _now(counter, run)
    assert (ended.kind, ended.status) == (RunKind.IMPORT, RunStatus.APPROVED)
    assert ended.decided_by is not None
    assert ended.decided_by.kind == "system"


async def test_an_import_during_a_run_has_its_own_afterwards(counter: Counter) -> None:
    core, desk = counter.shop.core, counter.desk
    await _begin(counter)
    await counter.line()
    # Its transaction began before the run did, and ended after.
    await counter.shop.run(
        "UPDATE statement_import SET reconcile_due = true, finished_at = now() - interval '1 hour'"
    )

    meanwhile = await runs.after_import(core, desk.account_id, desk.import_id)
    await counter.work()
    begun = [await runs.begin_due(core), await runs.begin_due(core)]
    await counter.work()

    assert (meanwhile, begun) == (None, [1, 0])
    kinds = await counter.shop.rows("SELECT kind FROM reconciliation ORDER BY created_at")
    assert [row["kind"] for row in kinds] == ["MANUAL", "IMPORT"]


@pytest.mark.parametrize(("last", "more"), [(TO, 0), (date(2026, 11, 3), 1)])
async def test_a_run_over_other_days_leaves_an_import_its_own(
    counter: Counter, last: date, more: int
) -> None:
    core = counter.shop.core
    await counter.line()
    await counter.shop.run("UPDATE statement_import SET reconcile_due = true")

    await runs.begin(core, OPERATOR, "main", FROM, last)
    await counter.work()

    assert await runs.begin_due(core) == more


async def test_each_account_has_one_run_a_night_however_many_workers(counter: Counter) -> None:
    core = counter.shop.core
    await counter.shop.run("UPDATE statement_account SET created_at = now() - interval '3 days'")

    begun = sum(await asyncio.gather(*(runs.begin_due(core) for _ in range(4))))
    await counter.work()
    again = await runs.begin_due(core)

    assert (begun, again) == (1, 0)
    [row] = await counter.shop.rows("SELECT kind, status FROM reconciliation")
    assert (row["kind"], row["status"]) == ("NIGHTLY", "APPROVED")


async def test_lines_of_a_file_that_does_not_agree_are_suggested_until_a_person_looked(
    counter: Counter,
) -> None:
    await _matchable(counter)
    await counter.shop.run("UPDATE statement_import SET blocks_posting = true")
    await _ended(counter)
    blocked = await counter.shop.rows("SELECT status, rule FROM recon_match")
    posted = await counter.shop.value("SELECT count(*) FROM ledger_entry WHERE cause = 'match'")

    await counter.shop.run("UPDATE statement_import SET blocks_posting = false")
    await _ended(counter)

    assert ([dict(row) for row in blocked], posted) == (
        [{"status": "SUGGESTED", "rule": "exact-reference"}],
        0,
    )
    live = await counter.shop.rows("SELECT status FROM recon_match WHERE status <> 'UNMATCHED'")
    assert [row["status"] for row in live] == ["CONFIRMED"]
    assert await counter.balanced() == (0, 0)


async def test_a_machines_suggestion_gives_way_to_what_is_sure(counter: Counter) -> None:
    other, item = await counter.paid(), await counter.paid()
    line_id = await counter.line(5000, ("RF", item["named"]))
    guessed = await counter.suggested(line_id, other)

    await _ended(counter)

    [sure] = await counter.shop.rows(
        "SELECT g.item_id FROM recon_match m JOIN match_leg g ON g.match_id = m.id "
        "WHERE m.status = 'CONFIRMED' AND g.item_id IS NOT NULL"
    )
    assert sure["item_id"] == item["id"]
    ended = await counter.shop.row("SELECT status, note FROM recon_match WHERE id = $1", guessed)
    assert (ended["status"], ended["note"]) == ("UNMATCHED", recording.SUPERSEDED)
    free = await counter.shop.value("SELECT status FROM clearing_item WHERE id = $1", other["id"])
    assert free == "OPEN"
    assert await counter.balanced() == (0, 0)


# ── approving ────────────────────────────────────────────────────────────────────────────────────


async def test_nobody_approves_what_they_asked_for_not_even_through_their_key(
    counter: Counter,
) -> None:
    boss = await counter.desk.hire(Role.APPROVER)
    scopes = frozenset({Scope.RECONCILIATION})
    key = Actor(kind="api_key", name="books", scopes=scopes, staff_id=boss.staff_id)
    run = await _ended(counter, key)

    with pytest.raises(SelfApproval):
        await runs.approve(counter.shop.core, boss, run.id)

    other = await counter.desk.hire(Role.APPROVER)
    approved = await runs.approve(counter.shop.core, other, run.id, digest=run.digest)
    again = await runs.approve(counter.shop.core, other, run.id, digest=run.digest)
    assert approved == again
    assert approved.approved_by is not None
    assert approved.approved_by.name == other.name


async def test_what_changed_since_it_was_seen_is_not_approved(counter: Counter) -> None:
    jane, boss = await counter.desk.hire(Role.OPERATOR), await counter.desk.hire(Role.APPROVER)
    item, line_id = await counter.paid(), await counter.line(4999)
    seen = await _ended(counter)
    core = counter.shop.core
    await counter.shop.run("UPDATE statement_account SET settings = '{\"write_off_limit\": 10}'")
    wanted = decisions.MatchLines(
        line_ids=[line_id], payment_ids=[item["payment_id"]], note="one franc short"
    )
    await decisions.match_lines(core, jane, wanted)

    with pytest.raises(StaleApproval):
        await runs.approve(core, boss, seen.id, digest=seen.digest)

    now = await _now(counter, seen)
    assert now.digest != seen.digest
    assert (await runs.approve(core, boss, seen.id, digest=now.digest)).matched_count == 1


async def test_a_broken_balance_is_approved_only_with_a_reason(counter: Counter) -> None:
    boss = await counter.desk.hire(Role.APPROVER)
    await counter.desk.statement(FROM, TO, opening=0, closing=10, ties=False)
    run = await _ended(counter)

    with pytest.raises(IllegalState, match="say in the note why"):
        await runs.approve(counter.shop.core, boss, run.id)

    approved = await runs.approve(counter.shop.core, boss, run.id, "The bank sends a new one.")
    assert approved.note == "The bank sends a new one."


async def test_of_two_who_decide_at_once_one_wins(counter: Counter) -> None:
    one, two = [await counter.desk.hire(Role.APPROVER) for _ in range(2)]
    run, core = await _ended(counter), counter.shop.core

    answers = await asyncio.gather(
        runs.approve(core, one, run.id, "all well"),
        runs.reject(core, two, run.id, "not at all"),
        return_exceptions=True,
    )

    [error] = [answer for answer in answers if isinstance(answer, BaseException)]
    assert isinstance(error, IllegalState)
    decided = await counter.shop.value(
        "SELECT count(*) FROM audit_entry WHERE action ~ '^reconciliation.(approved|rejected)$'"
    )
    assert decided == 1


async def test_what_cannot_be_begun_is_refused(counter: Counter) -> None:
    core = counter.shop.core
    viewer = await counter.desk.hire(Role.VIEWER)

    with pytest.raises(Invalid):
        await runs.begin(core, OPERATOR, "main", TO, FROM)
    with pytest.raises(Invalid):
        await runs.begin(core, OPERATOR, "main", TO - timedelta(days=2000), TO)
    with pytest.raises(NotFound):
        await runs.begin(core, OPERATOR, "nowhere", FROM, TO)
    with pytest.raises(Forbidden):
        await runs.begin(core, viewer, "main", FROM, TO)


async def test_merchants_are_told_what_a_run_came_to_and_not_how_far_it_is(
    counter: Counter,
) -> None:
    await _ended(counter)

    rows = await counter.shop.rows(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE type LIKE 'reconciliation.%' ORDER BY id"
    )
    bodies = [body_of(EventRecord.of({**row, "position": 1})) for row in rows]

    assert bodies[:-1] == [None] * (len(bodies) - 1)
    assert bodies[-1] is not None
    assert '"status":"AWAITING_APPROVAL"' in bodies[-1]


# ── the report ───────────────────────────────────────────────────────────────────────────────────


async def test_the_report_adds_up(counter: Counter) -> None:
    await _matchable(counter)
    await counter.line(700, narration="=HYPERLINK(1)")
    await counter.line(200, direction="DEBIT")
    await counter.paid(900)
    await counter.shop.run("UPDATE statement SET opening = 1000, closing = 6500")
    run = await _ended(counter)

    found = await report.report(counter.shop.core, OPERATOR, run.id)
    text = "".join([piece async for piece in report.csv_of(OPERATOR, found)])

    assert found.unexplained is not None
    assert (found.opening, found.unexplained.minor) == (found.opening, 0)
    assert found.straight_through == Decimal(100)
    assert [sums.count for sums in found.lines] == [1, 0, 2, 0]
    assert (found.in_transit.count, found.in_transit.came_in.minor) == (1, 900)
    assert '"\'=HYPERLINK(1)"' in text
    assert ",5000," in text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("-1+1", "'-1+1"),
        ("+250788123456", "'+250788123456"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\t=1", "' =1"),
        ("\r=1", "' =1"),
        ("\tJean", "' Jean"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff20x", "'\uff20x"),
        ("\u200b\u00a0=1", "'\u200b\u00a0=1"),
        ("Jean = Marie", "Jean = Marie"),
        ("", ""),
    ],
)
def test_no_text_of_a_report_becomes_a_formula(text: str, safe: str) -> None:
    assert cell(text) == safe


@pytest.mark.parametrize("value", [5, Decimal("-12.50"), date(2026, 11, 2), None])
def test_amounts_and_days_stay_what_they_are(value: Any) -> None:
    assert cell(value) is value


async def _matchable(counter: Counter) -> None:
    item = await counter.paid()
    await counter.line(5000, ("RF", item["named"]))


async def _begin(counter: Counter, actor: Actor = OPERATOR) -> Reconciliation:
    return await runs.begin(counter.shop.core, actor, "main", FROM, TO)


async def _ended(counter: Counter, actor: Actor = OPERATOR) -> Reconciliation:
    run = await _begin(counter, actor)
    await counter.work()
    return await _now(counter, run)


async def _now(counter: Counter, run: Reconciliation) -> Reconciliation:
    found = await runs.reconciliation(counter.shop.core, SYSTEM, run.id)
    assert found is not None
    return found


async def _killed_at(counter: Counter, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A worker that dies when the run comes to a step, and its lease over at once."""
    reached = asyncio.Event()
    real: Any = matching.match

    async def match(*given: Any) -> None:
        tell = given[-1]

        async def dies(what: str, part: float) -> None:
            await tell(what, part)
            if what == step:
                reached.set()
                await asyncio.Event().wait()

        await real(*given[:-1], dies)

    with monkeypatch.context() as patched:
        patched.setattr(matching, "match", match)
        working = asyncio.create_task(runs.work_due(counter.shop.core))
        await asyncio.wait_for(reached.wait(), 20)
        working.cancel()
        await asyncio.wait([working])
    await counter.shop.run("UPDATE reconciliation SET next_try_at = now()")
