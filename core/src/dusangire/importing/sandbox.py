"""Has a statement file read by another process, so that no file can hurt this one.

What comes back lies in a file too, line by line, and is checked again record by record: it is the
word of a process that read what a stranger may have written.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from pydantic import TypeAdapter, ValidationError

from dusangire.importing.reading import KINDS
from dusangire.statements import MappingProfile, Record

# How far it has come, from 0 to 1.
Tell: TypeAlias = Callable[[float], Awaitable[None]]

_CHUNK = 64 * 1024
# Of what the process says beside its records only the latest is looked at.
_MURMUR = 4 * 1024


class Refused(Exception):
    """Why a file is not imported. code: a word of `ErrorCode`. line: of the file."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.line = code, message, line


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What reading a file may take: bytes of memory, seconds of work and of waiting, lines, bytes
    of what was read."""

    memory: int = 512 * 1024 * 1024
    cpu: int = 30
    wall: float = 60
    lines: int = 200_000
    output: int = 384 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be read, and how.

    modules: those that give the formats; a format is code. profiles: all there are; they are data,
    so that a gateway that ships one need not be imported for it.
    """

    file: Path
    file_name: str
    currency: str
    today: date
    modules: Sequence[str]
    format: str | None = None
    profile: str | None = None
    profiles: Sequence[MappingProfile] = ()
    preview: bool = False
    limits: Limits = field(default_factory=Limits)


async def read(job: Job, spool: Path, tell: Tell) -> None:
    """Reads the file; the records lie in `spool` then, for `records`. Raises Refused."""
    total = max(1, await asyncio.to_thread(_count_lines, job.file))
    folder = spool.with_name(f"{spool.name}.folder")
    folder.mkdir(mode=0o700)
    process = await asyncio.create_subprocess_exec(
        # -I: nothing of ours is taken from the environment or the folder, -B: nothing is written.
        *(sys.executable, "-I", "-B", "-X", "utf8", "-m", "dusangire.importing.reading"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
        start_new_session=True,
    )
    reached = _Reached()
    try:
        async with asyncio.timeout(job.limits.wall):
            await _together(
                _give(process, job),
                _take(process, spool, job.limits),
                reached.follow(process, total, tell),
            )
            await process.wait()
    except TimeoutError:
        raise Refused(
            "UNREADABLE_FILE",
            f"Reading took longer than {job.limits.wall:g} seconds. {reached.words}",
            reached.line or None,
        ) from None
    except _Flood as flood:
        raise Refused("TOO_LARGE", f"{flood} {reached.words}", reached.line or None) from None
    finally:
        await _end(process)
    if process.returncode:
        raise _crash(process.returncode, reached, job.limits)


def records(spool: Path) -> Iterator[Record | tuple[str, Any]]:
    """What was read, in its order; `("format", name)` and `("preview", …)` among it.

    Raises Refused for what the process refused, for nonsense, and when the end is missing.
    """
    line: int | None = None
    with spool.open("rb") as file:
        for text in _lines(file):
            found = _record(text, line)
            if found is None:
                return
            line = getattr(found, "line", None) or line
            yield found
    raise Refused("UNREADABLE_FILE", "Reading stopped in the middle of the file.", line)


# ── the process ──────────────────────────────────────────────────────────────────────────────────


class _Flood(Exception):
    """More was read out of the file than any statement holds."""

    def __str__(self) -> str:
        return self.__doc__ or ""


@dataclass(slots=True)
class _Reached:
    """How far the process has come, by its own word."""

    line: int = 0

    @property
    def words(self) -> str:
        return f"It had come to line {self.line}." if self.line else ""

    async def follow(self, process: asyncio.subprocess.Process, total: int, tell: Tell) -> None:
        assert process.stderr is not None
        rest = b""
        while chunk := await process.stderr.read(_CHUNK):
            *said, rest = (rest + chunk).split(b"\n")
            rest = rest[-_MURMUR:]
            lines = [int(word[3:]) for word in said if _says_where(word)]
            if lines:
                self.line = max(self.line, lines[-1])
                await tell(min(1.0, self.line / total))


def _says_where(word: bytes) -> bool:
    return word.startswith(b"at ") and word[3:].isdigit() and len(word) < 12


async def _give(process: asyncio.subprocess.Process, job: Job) -> None:
    assert process.stdin is not None
    said = {
        "path": str(job.file),
        "file_name": job.file_name,
        "currency": job.currency,
        "today": job.today,
        "modules": list(job.modules),
        "format": job.format,
        "profile": job.profile,
        "profiles": [
            {
                "code": one.code,
                "name": one.name,
                "mapping": dict(one.mapping),
                "verified": one.verified,
            }
            for one in job.profiles
        ],
        "preview": job.preview,
        "memory": job.limits.memory,
        "cpu": job.limits.cpu,
        "most": job.limits.lines,
    }
    # It may have died already: its exit says why.
    with suppress(ConnectionError):
        process.stdin.write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
        await process.stdin.drain()
    process.stdin.close()


async def _take(process: asyncio.subprocess.Process, spool: Path, limits: Limits) -> None:
    assert process.stdout is not None
    taken = 0
    with spool.open("wb") as file:
        while chunk := await process.stdout.read(_CHUNK):
            taken += len(chunk)
            if taken > limits.output:
                raise _Flood
            file.write(chunk)


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """All of them, or none: when one fails the others are over too before it is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def _end(process: asyncio.subprocess.Process) -> None:
    # With everything it may have started.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # asyncio does not see the end of a process before that of its pipes, nor that of a pipe whose
    # buffer is full: https://github.com/python/cpython/issues/119710
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        while await pipe.read(_CHUNK):
            pass
    await process.wait()


def _crash(status: int, reached: _Reached, limits: Limits) -> Refused:
    if status in {-signal.SIGXCPU, -signal.SIGKILL}:
        what = f"Reading took more than {limits.cpu} seconds of work."
    else:
        what = "Reading broke down: the file may be damaged, or need too much memory."
    return Refused("UNREADABLE_FILE", f"{what} {reached.words}".strip(), reached.line or None)


def _count_lines(file: Path) -> int:
    with file.open("rb") as opened:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: opened.read(1 << 20), b""))


# ── what it said ─────────────────────────────────────────────────────────────────────────────────

_LONGEST = 512 * 1024
_KINDS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in KINDS.items()}


def _lines(file: Any) -> Iterator[bytes]:
    while text := file.readline(_LONGEST):
        yield text


def _record(text: bytes, line: int | None) -> Record | tuple[str, Any] | None:
    """One record; None: that was all. Raises Refused."""
    try:
        said = orjson.loads(text)
        kind = said["t"]
        if kind == "done":
            return None
        if kind == "refused":
            raise Refused(str(said["code"]), str(said["message"])[:500], said["line"])
        if kind in {"format", "preview"}:
            return kind, said["v"]
        found: Record = _KINDS[kind].validate_python(said["v"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise Refused(
            "UNREADABLE_FILE",
            "The format gave something that is no statement. Its author has to mend it.",
            line,
        ) from error
    return found
