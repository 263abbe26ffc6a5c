"""Files become lines: nothing twice, nothing lost, and what does not agree is said."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from core.tests.conftest import open_shop
from core.tests.importing import HEAD, LINES, Bank, codes, statement

from dusangire import rotation
from dusangire.access import OPERATOR, SYSTEM, Actor
from dusangire.database import LOST
from dusangire.errors import Forbidden, Invalid, NotFound, Retryable, UnknownFormat
from dusangire.importing import accounts, imports, profiles, uploads
from dusangire.importing.imports import ImportRequest, ImportStatus
from dusangire.importing.sandbox import Limits
from dusangire.keyring import Keyring
from dusangire.permissions import Scope
from dusangire.reconciliation import runs
from dusangire.testing import formats


@pytest.fixture
async def bank(tmp_path: Path, url: str) -> AsyncIterator[Bank]:
    async with open_shop(tmp_path, url, plugins={"plain": formats}) as shop:
        yield await Bank.open(shop, tmp_path)


async def test_a_statement_becomes_lines_with_what_they_name(bank: Bank) -> None:
    done = await bank.imported(statement())

    assert (done.status, done.error) == (ImportStatus.COMPLETED, None)
    assert (done.lines_read, done.lines_new, done.lines_duplicate) == (3, 3, 0)
    assert (done.format, done.progress, codes(done)) == ("plain", 1, [])
    [one] = await bank.shop.rows("SELECT * FROM statement")
    assert (one["opening"], one["closing"], one["ties"]) == (100000, 119500, True)
    refs = await bank.shop.rows("SELECT kind, value FROM line_ref WHERE kind = 'RF'")
    assert [(row["kind"], row["value"]) for row in refs] == [("RF", "RW00000042")]


async def test_the_same_file_three_times_is_one_import(bank: Bank) -> None:
    first = await bank.imported(statement())
    lines = await bank.lines()

    again = [await bank.imported(statement()) for _ in range(2)]

    assert [one.id for one in again] == [first.id] * 2
    assert await bank.lines() == lines
    assert await bank.shop.value("SELECT count(*) FROM statement_import") == 1


async def test_who_asks_twice_at_once_gets_one_import(bank: Bank) -> None:
    asked = await asyncio.gather(*(bank.ask(statement()) for _ in range(4)))

    assert len({one.id for one in asked}) == 1


async def test_overlapping_halves_bring_each_line_once(bank: Bank) -> None:
    await bank.imported(statement(*LINES[:2], head=None))

    second = await bank.imported(statement(*LINES[1:], head=None))

    assert (second.lines_new, second.lines_duplicate) == (1, 1)
    assert codes(second) == ["OVERLAP"]
    assert len(await bank.lines()) == 3


async def test_equal_lines_of_one_file_are_two_and_the_surplus_of_a_later_one_is_new(
    bank: Bank,
) -> None:
    twin = "2026-11-02 D 450 - coffee"
    first = await bank.imported(statement(twin, twin, head=None))

    second = await bank.imported(statement(twin, twin, twin, head=None))

    assert (first.lines_new, codes(first)) == (2, ["EQUAL_LINES"])
    assert (second.lines_new, second.lines_duplicate) == (1, 2)
    assert len(await bank.lines()) == 3


async def test_the_order_of_the_lines_changes_nothing_but_their_numbers(bank: Bank) -> None:
    clean = await bank.second()

    await bank.imported(statement(head=None))
    await bank.imported(statement(*reversed(LINES), head=None), account=clean)

    forward, backward = await bank.lines("bk", number=False), await bank.lines(clean, number=False)
    assert forward == backward
    assert (await bank.imported(statement(*reversed(LINES), head=None))).lines_new == 0


# Where the connection is cut: after the file was taken, with some rows written, at the very end.
POINTS = {
    "at what a line names": ("INSERT", "line_ref", "true"),
    "at the first statement": ("INSERT", "statement", "true"),
    "at a line": ("INSERT", "statement_line", "NEW.number > 3"),
    "at the statement's end": ("UPDATE", "statement", "true"),
    "when it is done": ("UPDATE", "statement_import", "NEW.status = 'COMPLETED'"),
}


@pytest.mark.parametrize("point", list(POINTS))
async def test_a_kill_leaves_nothing_and_the_next_try_the_rows_of_one_clean_import(
    bank: Bank, point: str
) -> None:
    event, table, when = POINTS[point]
    asked = await bank.ask(statement())
    await bank.shop.run(
        "CREATE OR REPLACE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'"
    )
    await bank.shop.run(
        f"CREATE TRIGGER cut BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) "
        "EXECUTE FUNCTION cut()"
    )
    with pytest.raises((Retryable, *LOST)):
        await imports.work_due(bank.shop.core, asked.id)
    assert await bank.lines() == []
    await bank.shop.run("DROP FUNCTION cut CASCADE")

    await bank.shop.run("UPDATE statement_import SET next_try_at = now()")
    done = await bank.work(asked)

    assert (done.status, done.lines_new, done.lines_duplicate) == (ImportStatus.COMPLETED, 3, 0)
    clean = await bank.second()
    await bank.imported(statement(), account=clean)
    assert await bank.lines("bk") == await bank.lines(clean)


async def test_a_worker_that_lost_its_lease_writes_nothing(bank: Bank) -> None:
    asked = await bank.ask(statement())
    [row] = await bank.shop.rows("SELECT * FROM statement_import")

    await bank.work(asked)
    await imports._work_on(bank.shop.core, row, Limits())

    assert await bank.shop.value("SELECT count(*) FROM statement") == 1
    assert await bank.shop.value("SELECT count(*) FROM statement_line") == 3


async def test_what_never_ends_is_given_up_after_five_tries(bank: Bank) -> None:
    asked = await bank.ask(statement())
    await bank.shop.run("UPDATE statement_import SET tries = 5")

    done = await bank.work(asked)

    assert done.status is ImportStatus.FAILED


async def test_a_try_stores_nothing_but_what_it_found(bank: Bank) -> None:
    before = await bank.shop.counts()

    done = await bank.imported(statement(), dry_run=True)

    assert (done.status, done.lines_new, done.blocks_posting) == (ImportStatus.COMPLETED, 3, False)
    assert [one["narration"] for one in done.preview][1:] == ["coffee for Jean", "charge"]
    after = await bank.shop.counts()
    grown = {name for name, rows in after.items() if rows != before[name]}
    assert grown <= {"statement_import", "upload", "audit_entry"}
    assert (await bank.imported(statement())).lines_new == 3


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (statement(LINES[0], "2026-11-02 C stop x"), "UNREADABLE_FILE", 4),
        (b"\x00\x01 no statement", "UNKNOWN_FORMAT", None),
        (statement(head=HEAD.replace("RWF", "EUR")), "INVALID", None),
        (statement("2026-11-02 C 9999999999999999999 x y"), "INVALID", 3),
        (statement("2026-11-02 C 9100000000000000 x y"), "INVALID", 3),
        (statement("2026-11-02 C 0 x y"), "INVALID", 3),
        (statement("1066-11-02 C 5 x y"), "INVALID", 3),
    ],
    ids=["broken", "unknown", "currency", "beyond", "too much", "nothing", "day"],
)
async def test_a_file_that_cannot_be_read_leaves_the_reason_and_nothing_else(
    bank: Bank, content: str | bytes, code: str, line: int | None
) -> None:
    before = await bank.shop.counts()

    done = await bank.imported(content)

    assert done.status is ImportStatus.FAILED
    assert done.error is not None
    assert done.error.code == code
    assert line is None or done.error.line == line
    after = await bank.shop.counts()
    grown = {name for name, rows in after.items() if rows != before[name]}
    assert grown == {"statement_import", "upload", "audit_entry"}


async def test_a_statement_of_another_account_is_refused_and_its_part_of_a_file_left_out(
    bank: Bank,
) -> None:
    await bank.imported(statement())
    other = HEAD.replace("000400012345", "000400099999").replace("STATEMENT 1", "STATEMENT 2")

    refused = await bank.imported(statement(head=other))
    mixed = await bank.imported(
        statement() + statement("2026-11-04 C 7 z other", head=other).replace("# plain", "")
    )

    assert refused.error is not None
    assert "•••9999" in refused.error.message
    assert "00099999" not in refused.error.message
    assert (mixed.lines_read, mixed.lines_duplicate, codes(mixed)) == (
        3,
        3,
        ["OTHER_ACCOUNT", "OVERLAP"],
    )


async def test_lines_that_cannot_be_read_are_listed_and_the_others_kept(bank: Bank) -> None:
    done = await bank.imported(statement(LINES[0], "2026-02-30 C 5 x y", head=None))

    assert (done.lines_new, done.lines_rejected, codes(done)) == (1, 1, ["REJECTED"])
    assert [(one.line, one.text) for one in done.rejected] == [(3, "2026-02-30 C 5 x y")]


async def test_balances_that_do_not_agree_wait_for_a_person(bank: Bank) -> None:
    done = await bank.imported(statement(*LINES[:2]))

    assert codes(done) == ["BALANCE_TIE"]
    assert done.blocks_posting
    for _ in range(2):
        released = await imports.release(bank.shop.core, SYSTEM, done.id, "the bank confirmed it")
        assert not released.blocks_posting
    entries = await bank.shop.rows(
        "SELECT detail->>'note' AS note FROM audit_entry WHERE action = 'statement.import_released'"
    )
    assert entries == [{"note": "the bank confirmed it"}]


async def test_lines_released_during_a_run_have_their_own_afterwards(bank: Bank) -> None:
    core = bank.shop.core
    done = await bank.imported(statement(*LINES[:2]))
    before = await runs.begin_due(core)
    await imports.release(core, SYSTEM, done.id, "the bank confirmed it")
    await runs.work_due(core)

    assert (before, await runs.begin_due(core)) == (0, 1)


async def test_card_numbers_are_masked_before_anything_is_stored(bank: Bank) -> None:
    card = "4111 1111 1111 1111"

    await bank.imported(
        statement(f"2026-11-02 C 5 4111111111111111 card {card} ok", f"bad {card}", head=None),
        file_name="of 4111111111111111.txt",
    )

    for table in ("statement_line", "line_ref", "statement_import", "audit_entry", "event"):
        text = str(await bank.shop.rows(f"SELECT to_jsonb(t)::text AS t FROM {table} t"))
        assert "4111" not in text, table
    name = await bank.shop.value("SELECT file_name FROM upload")
    assert "4111" not in name


async def test_every_step_is_in_the_audit_log(bank: Bank) -> None:
    mapping = {"columns": {"booking_date": "date", "amount": "amount"}}
    await bank.imported(statement(LINES[0]))
    await bank.imported(b"nothing")
    await profiles.save(bank.shop.core, OPERATOR, "bk", "mine", "My export", mapping)

    entries = await bank.shop.rows(
        "SELECT actor_name, action FROM audit_entry WHERE id > "
        "(SELECT min(id) FROM audit_entry WHERE action = 'statement_account.saved') "
        "AND (action LIKE 'statement%' OR action LIKE 'upload%') ORDER BY id"
    )

    assert {row["actor_name"] for row in entries} == {OPERATOR.name}
    assert [row["action"] for row in entries] == [
        "upload.stored",
        "statement.import_requested",
        "statement.imported",
        "upload.stored",
        "statement.import_requested",
        "statement.import_failed",
        "statement_profile.saved",
    ]


@pytest.mark.parametrize("mapping", [{"colums": {}}, {"columns": {"amount": 5}}])
async def test_a_mapping_that_cannot_work_is_refused_in_words(
    bank: Bank, mapping: dict[str, object]
) -> None:
    with pytest.raises(Invalid) as refused:
        await profiles.save(bank.shop.core, OPERATOR, "bk", "mine", "My export", mapping)

    assert refused.value.field == ("mapping",)
    assert await profiles.own(await bank.account_id()) == []


async def test_who_may_not_import_cannot_and_nothing_unknown_is_taken(bank: Bank) -> None:
    done = await bank.ask(statement())
    reader = Actor(kind="api_key", name="shop", scopes=frozenset({Scope.PAYMENTS_WRITE}))

    with pytest.raises(Forbidden):
        await imports.import_statement(
            bank.shop.core, reader, ImportRequest(upload_id=done.upload_id, account="bk")
        )
    with pytest.raises(Forbidden):
        await uploads.keep(bank.shop.core, reader, bank.folder / "file-1", "x")
    with pytest.raises(NotFound):
        await bank.ask(statement(), account="nobody")
    with pytest.raises(UnknownFormat):
        await bank.ask(statement(), format="pdf")
    with pytest.raises(UnknownFormat):
        await bank.ask(statement(), profile="nothing")


async def test_files_are_sealed_and_those_nobody_imported_are_forgotten(bank: Bank) -> None:
    kept = await bank.imported(statement())
    failed = await bank.imported(b"nothing")
    assert b"MTN" not in await bank.shop.value(
        "SELECT content FROM upload WHERE id = $1", kept.upload_id
    )

    bank.shop.clock.forward(days=8)
    forgotten = await uploads.forget(bank.shop.core)

    assert forgotten == 1
    left = await bank.shop.rows("SELECT id, length(content) > 0 AS there FROM upload ORDER BY 2")
    assert [(row["id"], row["there"]) for row in left] == [
        (failed.upload_id, False),
        (kept.upload_id, True),
    ]


async def test_what_a_killed_process_laid_open_is_cleared_away(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(bank.folder))
    left, at_work = (bank.folder / f"{uploads.SCRATCH}{name}" for name in ("left", "at-work"))
    other = bank.folder / "another-programs"
    for folder in (left, at_work, other):
        folder.mkdir()
        (folder / "statement").write_text("15000")
    long_ago = time.time() - 86_400
    os.utime(left, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))

    await uploads.forget(bank.shop.core)

    assert (left.exists(), at_work.exists(), other.exists()) == (False, True, True)


async def test_new_keys_seal_the_files_anew(bank: Bank) -> None:
    done = await bank.ask(statement())
    core = bank.shop.core
    old = dict(core.keyring.keys)
    core.keyring = Keyring({"k2": bytes(32), **old})

    rotated = await rotation.rotate(core, OPERATOR)
    core.keyring = Keyring({"k2": bytes(32)})

    assert rotated.uploads == 1
    assert (await bank.work(done)).lines_new == 3


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\november.csv", "november.csv"),
        ('a";b\r\n.csv', 'a";b.csv'),
        ("..", "statement"),
        ("", "statement"),
        ("a" * 500, "a" * 120),
    ],
)
def test_a_files_name_is_never_a_path(given: str, shown: str) -> None:
    assert uploads.shown_name(given) == shown


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("000400012345", "0004 0001-2345", True),
        ("BKIGRWRW/000400012345", "000400012345", True),
        ("000400012345RWF", "000400012345", True),
        ("000400012345", "400012345", False),
        ("000400012345", "000400012346", False),
        ("45", "000400012345", False),
    ],
)
def test_two_spellings_of_an_account(one: str, other: str, same: bool) -> None:
    assert accounts.same_number(one, other) is same
