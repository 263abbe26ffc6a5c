"""No statement file can hurt the service: it is read by a process with little of everything."""

import asyncio
from datetime import date
from pathlib import Path

import pytest

from dusangire.importing import sandbox
from dusangire.importing.sandbox import Job, Limits, Refused
from dusangire.statements import Entry, Record

MODULES = ("dusangire.testing.formats",)


async def _read(folder: Path, content: str, limits: Limits | None = None) -> list[Record]:
    file, spool = folder / "file", folder / "spool"
    file.write_text(content)
    job = Job(
        file=file,
        file_name="x",
        currency="RWF",
        today=date(2026, 11, 23),
        modules=MODULES,
        limits=limits or Limits(),
    )
    told: list[float] = []

    async def tell(done: float) -> None:
        told.append(done)

    await sandbox.read(job, spool, tell)
    found = [one for one in sandbox.records(spool) if not isinstance(one, tuple)]
    assert all(0 <= one <= 1 for one in told)
    return found


LINE = "2026-11-02 C 5 ref coffee\n"


async def test_what_is_read_comes_back_as_it_was(tmp_path: Path) -> None:
    found = await _read(tmp_path, "# plain\n" + LINE * 3)

    assert [one.line for one in found if isinstance(one, Entry)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("word", "limits", "message"),
    [
        ("BOMB", Limits(), "more memory than a statement may"),
        ("LOOP", Limits(cpu=2), "more than 2 seconds of work"),
        ("SLEEP", Limits(wall=3), "longer than 3 seconds"),
        ("FLOOD", Limits(output=1 << 20), "More was read out of the file"),
        ("CRASH", Limits(), "Reading broke down"),
        ("LEAVE", Limits(), "stopped in the middle"),
        ("NONSENSE", Limits(), "something that is no statement"),
    ],
)
async def test_a_wicked_file_is_refused_and_nothing_else_happens(
    tmp_path: Path, word: str, limits: Limits, message: str
) -> None:
    with pytest.raises(Refused, match=message) as refused:
        await _read(tmp_path, f"# plain\n{LINE}{word}\n", limits)

    assert refused.value.code in {"UNREADABLE_FILE", "TOO_LARGE"}
    assert refused.value.line in {None, 2}
    # The service goes on.
    (tmp_path / "next").mkdir()
    assert len(await _read(tmp_path / "next", "# plain\n" + LINE)) == 1


async def test_more_lines_than_a_statement_has_are_refused_where_they_begin(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="more than 100 lines") as refused:
        await _read(tmp_path, "# plain\n" + LINE * 200, Limits(lines=100))

    assert (refused.value.code, refused.value.line) == ("TOO_LARGE", 102)


async def test_the_process_has_no_environment_of_ours_and_writes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUSANGIRE_SECRET_KEYS", "canary")
    monkeypatch.setenv("HTTPS_PROXY", "canary")

    with pytest.raises(Refused, match=r"seen: \[\]"):
        await _read(tmp_path, "# plain\nSPY\n")


async def test_a_reader_that_is_not_waited_for_ends_too(tmp_path: Path) -> None:
    reading = asyncio.create_task(_read(tmp_path, "# plain\nSLEEP\n"))
    await asyncio.sleep(0.2)

    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
