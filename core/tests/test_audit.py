"""The audit log proves itself: whatever a superuser changes in it is named."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from core.tests.conftest import Shop, until
from structlog.testing import capture_logs

from dusangire.access import OPERATOR, create_api_key
from dusangire.audit import log as audit_log
from dusangire.audit import proof, sealing
from dusangire.audit.entries import GENESIS, SEALED_COLUMNS, Head, form, link
from dusangire.audit.proof import Verdict
from dusangire.errors import Invalid
from dusangire.permissions import Scope

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "prove-the-audit-log.md"


async def seal(shop: Shop) -> int:
    connection = await asyncpg.connect(shop.url)
    try:
        return await sealing.seal(connection)
    finally:
        await connection.close()


async def filled(shop: Shop, entries: int = 8) -> None:
    """A sealed log of entries."""
    await shop.run(
        "INSERT INTO audit_entry (actor_kind, actor_name, action, object, detail, correlation_id) "
        "SELECT 'staff', 'aline@example.rw', 'refund.approved', 'refund:REF-' || n, "
        "jsonb_build_object('n', n, 'why', 'Ubwishyu bwagarutse – é'), 'c-' || n "
        f"FROM generate_series(1, {entries - await shop.value('SELECT count(*) FROM audit_entry')})"
        " AS n"
    )
    await seal(shop)


async def tamper(shop: Shop, *statements: str) -> None:
    """What a superuser does who switches the triggers off."""
    connection = await asyncpg.connect(shop.url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
    finally:
        await connection.close()


async def exported(shop: Shop) -> bytes:
    out = io.BytesIO()
    await proof.export(shop.url, out)
    return out.getvalue()


def named(verdict: Verdict) -> list[int | None]:
    return [problem.sequence for problem in verdict.problems]


def said(verdict: Verdict) -> str:
    return "\n".join(problem.what for problem in verdict.problems)


@pytest.fixture
async def log(shop: Shop) -> Shop:
    await filled(shop)
    return shop


# ── sealing ──────────────────────────────────────────────────────────────────────────────────────


async def test_entries_are_numbered_without_gaps_and_chained_from_the_named_beginning(
    log: Shop,
) -> None:
    rows = await log.rows(f"SELECT {SEALED_COLUMNS} FROM audit_entry ORDER BY sequence")

    previous = GENESIS
    for number, row in enumerate(rows, 1):
        assert row["sequence"] == number
        previous = link(previous, form(row, number))
        assert row["hash"] == previous
    assert len(rows) == 8


async def test_a_worker_seals_within_a_second(shop: Shop) -> None:
    task = asyncio.create_task(sealing.run(shop.core, shop.url))
    await until(lambda: _all_sealed(shop))

    await create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])

    await until(lambda: _all_sealed(shop))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sealing.POLL <= 0.5
    assert (await proof.verify_database(shop.url)).sound


async def _all_sealed(shop: Shop) -> bool:
    return bool(await shop.value("SELECT count(*) = 0 FROM audit_entry WHERE sequence IS NULL"))


async def test_an_entry_that_commits_late_gets_the_next_number_not_a_gap(shop: Shop) -> None:
    slow = await asyncpg.connect(shop.url)
    open_one = slow.transaction()
    await open_one.start()
    await slow.execute(
        "INSERT INTO audit_entry (actor_kind, actor_name, action, object) "
        "VALUES ('system', 'system', 'slow', 'o')"
    )
    await create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])
    await seal(shop)

    await open_one.commit()
    await slow.close()
    await seal(shop)

    rows = await shop.rows("SELECT id, sequence, action FROM audit_entry ORDER BY sequence")
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["action"] == "slow"
    assert rows[-1]["id"] < rows[-2]["id"]
    assert (await proof.verify_database(shop.url)).sound


async def test_many_sealers_and_writers_at_once_leave_one_chain(shop: Shop) -> None:
    async def write(name: str) -> None:
        for _ in range(10):
            await create_api_key(OPERATOR, name, [Scope.PAYMENTS_READ])

    async def stamp() -> None:
        connection = await asyncpg.connect(shop.url)
        for _ in range(40):
            try:
                await sealing.seal(connection)
            except (sealing._Overtaken, asyncpg.PostgresError):
                await asyncio.sleep(0)
        await connection.close()

    await asyncio.gather(*(write(f"w{n}") for n in range(4)), *(stamp() for _ in range(4)))
    await seal(shop)

    verdict = await proof.verify_database(shop.url)
    assert verdict.sound
    assert verdict.waiting == 0
    assert verdict.entries == await shop.value("SELECT count(*) FROM audit_entry")


async def test_a_sealer_that_dies_leaves_whole_batches_and_the_next_one_goes_on(
    shop: Shop,
) -> None:
    await create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])
    connection = await asyncpg.connect(shop.url)
    transaction = connection.transaction()
    await transaction.start()
    await sealing.seal(connection)
    connection.terminate()  # before its commit

    await until(lambda: _sealed_after_all(shop))

    assert (await proof.verify_database(shop.url)).sound


async def _sealed_after_all(shop: Shop) -> bool:
    try:
        await seal(shop)
    except asyncpg.PostgresError:
        return False
    return await _all_sealed(shop)


async def test_sealing_is_the_one_change_that_the_database_allows(log: Shop) -> None:
    await create_api_key(OPERATOR, "till", [Scope.PAYMENTS_READ])
    for change in (
        "sequence = 99",
        "hash = 'x'",
        "sequence = 99, hash = 'x', action = 'y'",
        "sequence = 99, hash = 'x', detail = '{}'",
        "sequence = 99, hash = 'x', at = now()",
        "sequence = 99, hash = 'x', correlation_id = 'y'",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            await log.run(f"UPDATE audit_entry SET {change} WHERE sequence IS NULL")
    for change in ("sequence = NULL, hash = NULL", "sequence = 99, hash = 'x'", "hash = 'x'"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            await log.run(f"UPDATE audit_entry SET {change} WHERE sequence = 3")

    await log.run("UPDATE audit_entry SET sequence = 99, hash = 'x' WHERE sequence IS NULL")


async def test_two_entries_cannot_have_one_number(log: Shop) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await tamper(log, "UPDATE audit_entry SET sequence = 3 WHERE sequence = 4")


# ── what a superuser can do, and what is said of it ──────────────────────────────────────────────

FORGED = (
    "INSERT INTO audit_entry (actor_kind, actor_name, action, object, sequence, hash) "
    "VALUES ('staff', 'x', 'y', 'z', {sequence}, repeat('a', 64))"
)
COLUMNS = {
    "id": "id = DEFAULT",
    "at": "at = at + interval '1 microsecond'",
    "actor_kind": "actor_kind = 'stafg'",
    "actor_name": "actor_name = 'eline@example.rw'",
    "action": "action = 'refund.rejected'",
    "object": "object = object || '0'",
    "detail": "detail = jsonb_set(detail, '{n}', '6.0')",
    "correlation_id": "correlation_id = NULL",
}


@pytest.mark.parametrize("column", COLUMNS)
async def test_one_byte_changed_is_named(log: Shop, column: str) -> None:
    before = (await log.row("SELECT * FROM audit_entry WHERE sequence = 6"))[column]
    await tamper(log, f"UPDATE audit_entry SET {COLUMNS[column]} WHERE sequence = 6")
    assert (await log.row("SELECT * FROM audit_entry WHERE sequence = 6"))[column] != before

    verdict = await proof.verify_database(log.url)

    assert named(verdict) == [6]
    assert "what it says is not what was sealed" in said(verdict)
    assert named(proof.verify_export(io.BytesIO(await exported(log)))) == [6]


@pytest.mark.parametrize(
    ("what", "statements", "entries", "words"),
    [
        (
            "a hash is changed",
            ["UPDATE audit_entry SET hash = repeat('0', 64) WHERE sequence = 4"],
            [4],
            "its hash was changed, what it says is as it was sealed",
        ),
        ("a row is deleted", ["DELETE FROM audit_entry WHERE sequence = 4"], [4], "was deleted"),
        (
            "several rows are deleted",
            ["DELETE FROM audit_entry WHERE sequence IN (4, 5, 6)"],
            [4],
            "all up to 6 were deleted",
        ),
        (
            "the first row is deleted",
            ["DELETE FROM audit_entry WHERE sequence = 1"],
            [1],
            "deleted",
        ),
        (
            "the numbers close up after a deletion",
            [
                "DELETE FROM audit_entry WHERE sequence = 4",
                "UPDATE audit_entry SET sequence = -sequence WHERE sequence > 4",
                "UPDATE audit_entry SET sequence = -sequence - 1 WHERE sequence < 0",
            ],
            [4, 5, 6, 7],
            "not what was sealed",
        ),
        (
            "two rows are swapped",
            [
                "UPDATE audit_entry SET sequence = 99 WHERE sequence = 4",
                "UPDATE audit_entry SET sequence = 4 WHERE sequence = 5",
                "UPDATE audit_entry SET sequence = 5 WHERE sequence = 99",
            ],
            [4, 5, 6],
            "not what was sealed",
        ),
        (
            "a row is inserted at the end with a hash of its own making",
            [FORGED.format(sequence=9)],
            [9],
            "not what was sealed",
        ),
        (
            "a row is inserted in the middle",
            [
                "DROP INDEX audit_entry_sequence_key",
                FORGED.format(sequence=4),
            ],
            [4],
            "there twice",
        ),
        (
            "a sealed row is unsealed",
            ["UPDATE audit_entry SET sequence = NULL, hash = NULL WHERE sequence = 4"],
            [4],
            "deleted",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
async def test_what_a_superuser_did_is_named(
    log: Shop, what: str, statements: list[str], entries: list[int], words: str
) -> None:
    await tamper(log, *statements)

    verdict = await proof.verify_database(log.url)

    assert named(verdict) == entries, what
    assert words in said(verdict)
    if "twice" not in words:
        assert named(proof.verify_export(io.BytesIO(await exported(log)))) == entries


async def test_a_hash_worked_out_anew_for_one_row_breaks_the_next_one(log: Shop) -> None:
    await tamper(log, "UPDATE audit_entry SET actor_name = 'eve@example.rw' WHERE sequence = 5")
    rows = await log.rows(
        f"SELECT {SEALED_COLUMNS} FROM audit_entry WHERE sequence IN (4, 5) ORDER BY sequence"
    )
    forged = link(rows[0]["hash"], form(rows[1], 5))
    await tamper(log, f"UPDATE audit_entry SET hash = '{forged}' WHERE sequence = 5")

    verdict = await proof.verify_database(log.url)

    assert named(verdict) == [6]
    assert "entry 5 was changed and given a new hash" in said(verdict)


# ── what waits, and what is odd ──────────────────────────────────────────────────────────────────

UNSEALED = (
    "INSERT INTO audit_entry (at, actor_kind, actor_name, action, object) "
    "VALUES ({at}, 'staff', 'eve@example.rw', 'refund.approved', 'refund:REF-1')"
)


async def test_a_log_with_entries_that_nobody_seals_is_not_sound(log: Shop) -> None:
    await log.run(UNSEALED.format(at="now()"))
    at_once = await proof.verify_database(log.url)
    await log.run(UNSEALED.format(at="now() - interval '2 minutes'"))

    later = await proof.verify_database(log.url)

    assert (at_once.sound, at_once.waiting, at_once.late) == (True, 1, 0)
    assert (later.sound, later.unchanged, later.waiting, later.late) == (False, True, 2, 1)


async def test_a_worker_in_standby_says_when_whoever_holds_the_lock_seals_nothing(
    log: Shop,
) -> None:
    await log.run(UNSEALED.format(at="now() - interval '2 minutes'"))
    thief = await asyncpg.connect(log.url)
    await thief.execute("SELECT pg_advisory_lock($1)", sealing._LOCK)

    with capture_logs() as logged:
        task = asyncio.create_task(sealing.run(log.core, log.url))
        await until(lambda: _has(logged, "security: audit entries are not sealed"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await thief.close()

    [warning] = [line for line in logged if line["event"].startswith("security")]
    assert (warning["log_level"], warning["late"]) == ("warning", 1)


async def _has(logged: Sequence[Mapping[str, Any]], event: str) -> bool:
    return any(line["event"] == event for line in logged)


async def test_an_entry_dated_long_before_the_one_before_it_is_called_odd(log: Shop) -> None:
    await log.run(UNSEALED.format(at="now() - interval '9 minutes'"))
    await log.run(UNSEALED.format(at="now() - interval '300 days'"))
    await seal(log)

    verdict = await proof.verify_database(log.url)
    of_file = proof.verify_export(io.BytesIO(await exported(log)))

    assert verdict.sound
    assert [odd.sequence for odd in verdict.suspicions] == [10]
    assert "it was put in later" in verdict.suspicions[0].what
    assert of_file.suspicions == verdict.suspicions


@pytest.mark.parametrize("at", ["infinity", "-infinity", "0044-03-15 BC"])
async def test_a_date_that_no_clock_shows_is_named_and_sealing_goes_on(log: Shop, at: str) -> None:
    await log.run(UNSEALED.format(at=f"'{at}'"))
    await log.run(UNSEALED.format(at="now()"))
    await seal(log)
    sealed = await proof.verify_database(log.url)
    file = proof.verify_export(io.BytesIO(await exported(log)))
    await tamper(log, f"UPDATE audit_entry SET at = '{at}' WHERE sequence = 3")
    changed = await proof.verify_database(log.url)

    assert (named(sealed), sealed.waiting) == ([9], 0)
    assert "its date is one that no clock shows" in said(sealed)
    assert file.problems == sealed.problems
    assert set(named(changed)) == {3, 9}


async def test_an_entry_taken_out_changed_and_sealed_anew_is_shown_by_a_kept_head_alone(
    log: Shop,
) -> None:
    kept = await proof.read_head(log.url)
    assert kept is not None
    await tamper(
        log,
        "UPDATE audit_entry SET actor_name = 'nobody', sequence = NULL, hash = NULL "
        "WHERE sequence = 8",
    )
    await seal(log)

    assert (await proof.verify_database(log.url)).sound
    assert named(await proof.verify_database(log.url, [kept])) == [8]
    assert "only a head kept elsewhere" in " ".join((sealing.__doc__ or "").split())


# ── heads kept elsewhere ─────────────────────────────────────────────────────────────────────────


async def test_the_last_rows_deleted_are_noticed_against_a_kept_head(log: Shop) -> None:
    kept = await proof.read_head(log.url)
    assert kept is not None
    await tamper(log, "DELETE FROM audit_entry WHERE sequence > 6")

    alone = await proof.verify_database(log.url)
    against = await proof.verify_database(log.url, [kept])
    file = proof.verify_export(io.BytesIO(await exported(log)), [kept])

    assert alone.sound
    assert named(against) == named(file) == [8]
    assert "7 to 8 was deleted from its end" in said(against)


async def test_a_log_written_anew_from_some_entry_on_is_noticed_against_a_kept_head(
    log: Shop,
) -> None:
    kept = await proof.read_head(log.url)
    assert kept is not None
    await tamper(
        log,
        "UPDATE audit_entry SET actor_name = 'eve@example.rw' WHERE sequence = 5",
        "UPDATE audit_entry SET sequence = NULL, hash = NULL WHERE sequence >= 5",
    )
    await seal(log)

    assert (await proof.verify_database(log.url)).sound
    against = await proof.verify_database(log.url, [kept])

    assert named(against) == [8]
    assert "not what the kept head names" in said(against)


async def test_a_head_of_before_proves_a_log_that_grew_since(log: Shop) -> None:
    kept = await proof.read_head(log.url)
    assert kept is not None
    await filled(log, 12)

    verdict = await proof.verify_database(log.url, [kept])

    assert verdict.sound
    assert verdict.head is not None
    assert verdict.head.sequence == 12


async def test_the_head_is_kept_once_a_day_in_the_file_that_is_named(
    log: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "heads"
    crier = sealing._Crier(file)
    connection = await asyncpg.connect(log.url)
    for hour in (
        datetime(2026, 11, 23, 8, tzinfo=UTC),
        datetime(2026, 11, 23, 20, tzinfo=UTC),
        datetime(2026, 11, 24, 1, tzinfo=UTC),
    ):
        await crier.tell(connection, hour)
    await connection.close()

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["at"] for line in lines] == ["2026-11-23T08:00:00Z", "2026-11-24T01:00:00Z"]
    assert file.stat().st_mode & 0o777 == 0o600
    kept = proof.read_kept(str(file))
    assert kept[0] == await proof.read_head(log.url)
    assert (await proof.verify_database(log.url, kept)).sound


async def test_a_head_that_cannot_be_written_is_tried_again_later(
    log: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "nowhere" / "heads"
    crier = sealing._Crier(file)
    connection = await asyncpg.connect(log.url)
    now = datetime(2026, 11, 23, 8, tzinfo=UTC)
    await crier.tell(connection, now)
    file.parent.mkdir()

    await crier.tell(connection, now)
    early = file.exists()
    crier._not_before = 0
    await crier.tell(connection, now)

    await connection.close()
    assert not early
    assert len(file.read_text().splitlines()) == 1


def test_a_head_is_read_however_it_was_kept(tmp_path: Path) -> None:
    hash_ = "5f" * 32
    head, file = Head(12, hash_), tmp_path / "kept"

    for content in (
        f"12:{hash_}\n",
        f'{{"sequence": 12, "hash": "{hash_}"}}',
        f'{{\n  "at": "x",\n  "sequence": 12,\n  "hash": "{hash_}"\n}}\n',
    ):
        file.write_text(content)
        assert proof.read_kept(str(file)) == [head]
    assert proof.read_kept(f"12:{hash_}") == [head]
    for wrong in ("12", "12:xyz", "12:" + "F" * 64, str(tmp_path / "none"), "\0"):
        with pytest.raises(Invalid):
            proof.read_kept(wrong)
    for wrong in ("", "x", "{}", '{"sequence": "a", "hash": 1}', "[]"):
        file.write_text(wrong)
        with pytest.raises(Invalid):
            proof.read_kept(str(file))


# ── exports ──────────────────────────────────────────────────────────────────────────────────────


def _edited(lines: list[bytes], at: int, change: Callable[[dict[str, Any]], object]) -> list[bytes]:
    entry = orjson.loads(lines[at])
    change(entry)
    changed = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    return [*lines[:at], changed, *lines[at + 1 :]]


@pytest.mark.parametrize(
    ("change", "entries"),
    [
        (lambda lines: lines, []),
        (lambda lines: lines[:3] + lines[4:], [4]),
        (lambda lines: lines[:-1], [None]),
        (lambda lines: lines[:-2] + lines[-1:], [None]),
        (lambda lines: [*lines, lines[0]], [None]),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], [2, 2]),
        (lambda lines: [*lines[:2], b"not json\n", *lines[3:]], [3]),
        (lambda lines: [*lines[:2], lines[2].replace(b":", b": ", 1), *lines[3:]], [3]),
        (lambda lines: _edited(lines, 2, lambda e: e.update(action="x")), [3]),
        (lambda lines: _edited(lines, 2, lambda e: e.pop("detail")), [3]),
        (lambda lines: _edited(lines, 2, lambda e: e.update(sequence="3")), [3]),
        (lambda lines: [], [None]),
    ],
    ids=[
        "nothing changed",
        "a line is gone",
        "the end is cut off",
        "the last entry is gone",
        "something is added behind",
        "two lines are swapped",
        "a line is not JSON",
        "a line is written in another way",
        "a word is changed",
        "a column is gone",
        "a number became text",
        "the file is empty",
    ],
)
async def test_an_export_proves_itself_alone(
    log: Shop, change: Callable[[list[bytes]], list[bytes]], entries: list[int | None]
) -> None:
    lines = (await exported(log)).splitlines(keepends=True)

    verdict = proof.verify_export(io.BytesIO(b"".join(change(lines))))

    assert named(verdict) == entries


async def test_the_guides_own_script_verifies_an_export(log: Shop, tmp_path: Path) -> None:
    text = GUIDE.read_text()
    script = text.partition("```python\n")[2].partition("```")[0]
    assert 5 < len(script.splitlines()) <= 20
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(await exported(log))
    bad.write_bytes(good.read_bytes().replace(b"refund.approved", b"refund.rejected", 1))

    def run(path: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
        )

    fine, broken = await asyncio.to_thread(run, good), await asyncio.to_thread(run, bad)

    head = await proof.read_head(log.url)
    assert fine.returncode == 0, fine.stderr
    assert str(head) in fine.stdout
    assert broken.returncode == 1
    first = next(
        n for n, line in enumerate(bad.read_bytes().splitlines(), 1) if b"refund.rejected" in line
    )
    assert str(first) in broken.stderr + broken.stdout


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


async def test_the_log_is_read_newest_first_page_by_page_and_narrowed(log: Shop) -> None:
    first = await audit_log.entries(OPERATOR, 3)
    second = await audit_log.entries(OPERATOR, 100, first.cursors[-1])
    mine = await audit_log.entries(OPERATOR, 100, actor_name="aline@example.rw")
    approved = await audit_log.entries(OPERATOR, 100, action="refund.approved")
    one = await audit_log.entries(OPERATOR, 100, object="refund:REF-2")

    assert [entry.sequence for entry in first.items + second.items] == list(range(8, 0, -1))
    assert first.has_next
    assert not second.has_next
    assert {entry.action for entry in mine.items} == {"refund.approved"}
    assert len(mine.items) >= 2
    assert mine.items == approved.items
    assert [entry.object for entry in one.items] == ["refund:REF-2"]
    assert await _nothing(audit_log.entries(OPERATOR, 5, object="refund:REF-2", action="x"))


async def _nothing(page: Awaitable[Any]) -> bool:
    return not (await page).items
