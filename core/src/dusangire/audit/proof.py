"""Whether the audit log is as it was written: checked in the database, or in an export alone."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg
import orjson

from dusangire.audit.entries import GENESIS, SEALED_COLUMNS, Head, form, link, shown
from dusangire.audit.sealing import HEAD, WAITING
from dusangire.database import LOST, lost
from dusangire.errors import Invalid

# More are counted, not named: one is enough to know.
MAX_PROBLEMS = 100
# An entry is sealed within a second, and transactions take seconds: so much earlier than the entry
# before it none happened.
_BACK = timedelta(minutes=10)
_PREFETCH = 5_000
_SEALED = f"SELECT {SEALED_COLUMNS} FROM audit_entry WHERE sequence IS NOT NULL ORDER BY sequence"
_LONGEST_LINE = 64_000_000
_HASH = re.compile(r"[0-9a-f]{64}")
_NAMES = {
    "action", "actor_kind", "actor_name", "at", "correlation_id", "detail", "hash", "id", "object",
    "sequence",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and at which entry. None: with the file as a whole."""

    sequence: int | None
    what: str


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What a check found. head: the last entry there is; waiting: entries not sealed yet.

    suspicions: entries that are as they were sealed, and yet odd. late: how many of the waiting
    ones have waited for more than a minute, though a worker seals them within a second.
    """

    entries: int = 0
    head: Head | None = None
    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0
    suspicions: list[Problem] = field(default_factory=list)
    more_suspicions: int = 0
    waiting: int = 0
    waiting_since: datetime | None = None
    late: int = 0

    @property
    def unchanged(self) -> bool:
        """Whether all that was sealed is as it was."""
        return not self.problems

    @property
    def sound(self) -> bool:
        """Whether it is unchanged, and nothing waits that ought to be sealed: nothing proves it."""
        return self.unchanged and not self.late


class Chain:
    """Checks entries one after the other. kept: heads that somebody kept elsewhere."""

    def __init__(self, kept: Iterable[Head] = ()) -> None:
        self.verdict = Verdict()
        self._kept: dict[int, set[str]] = {}
        for head in kept:
            self._kept.setdefault(head.sequence, set()).add(head.hash)
        self._expected = 1
        self._previous: str | None = GENESIS
        self._before: str | None = None
        self._at: datetime | None = None
        # An entry that does not fit: its sequence, and the hash that it ought to have. The next
        # one tells whether its words or its hash were changed.
        self._doubted: tuple[int, str] | None = None

    def add(self, sequence: int, content: bytes, found: str, at: datetime | None) -> None:
        """The next entry: its `form`, the hash it was given, and when it says it happened."""
        self.verdict.entries += 1
        self._date(sequence, at)
        if sequence < self._expected:
            self._repeated(sequence, content, found)
            return
        if sequence > self._expected:
            self._gap(self._expected, sequence - 1)
        self._check(sequence, content, found)
        for hash_ in sorted(self._kept.pop(sequence, ())):
            if hash_ != found:
                self._problem(
                    sequence,
                    f"it is not what the kept head names: {_short(hash_)} was kept, "
                    f"{_short(found)} is here. It, or what stands before it, was written anew",
                )
        self.verdict.head = Head(sequence, found)
        self._expected, self._before, self._previous = sequence + 1, self._previous, found

    def unreadable(self, sequence: int, why: str) -> None:
        """An entry that stands there, but cannot be read."""
        self.verdict.entries += 1
        self._settle(None)
        self._problem(sequence, why)
        self._expected, self._previous = sequence + 1, None

    def end(self) -> Verdict:
        """After the last entry."""
        self._settle(None)
        last = self._expected - 1
        for sequence, hashes in sorted(self._kept.items()):
            for hash_ in sorted(hashes):
                if sequence > last:
                    missing = f"{last + 1}" if sequence == last + 1 else f"{last + 1} to {sequence}"
                    self._problem(
                        sequence,
                        f"the kept head names it ({_short(hash_)}), but the log ends at {last}: "
                        f"{missing} was deleted from its end",
                    )
                elif sequence == 0:
                    continue
                else:
                    self._problem(sequence, "the kept head names it, but it is not there")
        return self.verdict

    @property
    def next_sequence(self) -> int:
        return self._expected

    def _date(self, sequence: int, at: datetime | None) -> None:
        if at is None:
            self._problem(sequence, "its date is one that no clock shows")
        elif self._at is not None and at < self._at - _BACK:
            what = (
                f"it is of {at:%Y-%m-%d %H:%M:%S}, the entry before it of "
                f"{self._at:%Y-%m-%d %H:%M:%S}: it was put in later, or the clock was set back"
            )
            if len(self.verdict.suspicions) < MAX_PROBLEMS:
                self.verdict.suspicions.append(Problem(sequence, what))
            else:
                self.verdict.more_suspicions += 1
        self._at = at

    def _check(self, sequence: int, content: bytes, found: str) -> None:
        if self._previous is None:
            return  # what stood before it is missing: nothing to compare with
        expected = link(self._previous, content)
        if expected == found:
            self._settle("words")
            return
        if self._doubted is not None and link(self._doubted[1], content) == found:
            self._settle("hash")
            return
        self._settle(None)
        self._doubted = (sequence, expected)
        self._found = found

    def _repeated(self, sequence: int, content: bytes, found: str) -> None:
        """A number that was seen before. Of two, the one that fits is the sealed one."""
        self._problem(sequence, "it is there twice, or not in its place")
        doubted = self._doubted is not None and self._doubted[0] == sequence
        if doubted and self._before is not None and link(self._before, content) == found:
            self._doubted = None
            self._previous = found
            self.verdict.head = Head(sequence, found)

    def _settle(self, changed: str | None) -> None:
        """Says what is wrong with the doubted entry, now that the one after it was seen."""
        if self._doubted is None:
            return
        sequence, expected = self._doubted
        self._doubted = None
        numbers = f"its hash is {_short(self._found)}, what it says gives {_short(expected)}"
        match changed:
            case "hash":
                what = f"its hash was changed, what it says is as it was sealed: {numbers}"
            case "words":
                what = f"what it says is not what was sealed: {numbers}"
                if sequence > 1:
                    what += (
                        f". Either one of its columns was changed, or entry {sequence - 1} was "
                        "changed and given a new hash"
                    )
            case _:
                what = f"it is not what was sealed after entry {sequence - 1}: {numbers}"
        self._problem(sequence, what)

    def _gap(self, first: int, last: int) -> None:
        self._settle(None)
        what = "it was deleted" if first == last else f"it and all up to {last} were deleted"
        self._problem(first, what)
        self._previous = None

    def _problem(self, sequence: int | None, what: str) -> None:
        if len(self.verdict.problems) < MAX_PROBLEMS:
            self.verdict.problems.append(Problem(sequence, what))
        else:
            self.verdict.more_problems += 1

    def problem(self, what: str) -> None:
        """Something wrong with the log as a whole."""
        self._problem(None, what)


def _short(hash_: str) -> str:
    return hash_[:12] + "…"


# ── the database ─────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _reading(url: str) -> Any:
    """A connection that sees one moment of the database, for as long as it takes."""
    try:
        connection = await asyncpg.connect(
            url, timeout=10, server_settings={"application_name": "dusangire audit"}
        )
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield connection
        finally:
            await connection.close(timeout=5)
    except LOST as error:
        raise lost(error) from error


async def verify_database(url: str, kept: Iterable[Head] = ()) -> Verdict:
    """Goes through the whole chain, in one pass and with little memory. Raises Retryable."""
    chain = Chain(kept)
    async with _reading(url) as connection:
        async for row in connection.cursor(_SEALED, prefetch=_PREFETCH):
            sequence = row["sequence"]
            chain.add(sequence, form(row, sequence), row["hash"], row["at"])
        waiting = await connection.fetchrow(WAITING)
    verdict = chain.end()
    verdict.waiting, verdict.waiting_since = waiting["n"], waiting["since"]
    verdict.late = waiting["late"]
    return verdict


async def read_head(url: str) -> Head | None:
    """The last sealed entry. Raises Retryable."""
    async with _reading(url) as connection:
        row = await connection.fetchrow(HEAD)
    return Head(row["sequence"], row["hash"]) if row else None


async def export(url: str, out: BinaryIO) -> Head | None:
    """Writes every sealed entry, one JSON object a line, and the head as the last line."""
    last: Head | None = None
    async with _reading(url) as connection:
        async for row in connection.cursor(_SEALED, prefetch=_PREFETCH):
            last = Head(row["sequence"], row["hash"])
            line = {**shown(row, last.sequence), "hash": last.hash}
            out.write(orjson.dumps(line, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
    out.write(orjson.dumps({"head": _head_json(last)}, option=orjson.OPT_APPEND_NEWLINE))
    await asyncio.to_thread(out.flush)
    return last


def _head_json(head: Head | None) -> dict[str, Any]:
    return {"sequence": head.sequence, "hash": head.hash} if head else {"sequence": 0, "hash": None}


# ── an export ────────────────────────────────────────────────────────────────────────────────────


def verify_export(lines: BinaryIO, kept: Iterable[Head] = ()) -> Verdict:
    """Goes through an export, with nothing else at hand."""
    chain = Chain(kept)
    ended = False
    while line := lines.readline(_LONGEST_LINE):
        if ended:
            chain.problem("something stands behind the last line of the export")
            break
        entry = _entry(line)
        if entry is not None and entry.keys() == {"head"}:
            ended = True
            _compare_end(chain, entry["head"])
        elif entry is None or entry.keys() != _NAMES:
            chain.unreadable(chain.next_sequence, "its line cannot be read as an entry")
        else:
            found, sequence = entry.pop("hash"), entry["sequence"]
            if not isinstance(sequence, int) or not isinstance(found, str):
                chain.unreadable(chain.next_sequence, "its sequence or hash is none")
                continue
            content = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
            chain.add(sequence, content, found, _moment(entry["at"]))
    verdict = chain.end()
    if not ended:
        chain.problem("the export has no last line: it was cut off")
    return verdict


def _entry(line: bytes) -> dict[str, Any] | None:
    """What stands in a line, if it is written the one way that exports are written in."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(entry, dict):
        return None
    options = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    exact = entry.keys() == {"head"} or orjson.dumps(entry, option=options) == line
    return entry if exact else None


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo is not None else None


def _compare_end(chain: Chain, told: Any) -> None:
    last = chain.verdict.head
    if not isinstance(told, Mapping) or dict(told) != _head_json(last):
        where = f"entry {last.sequence}" if last else "nothing"
        chain.problem(f"its last line names another head than it ends with ({where})")


# ── heads that were kept ─────────────────────────────────────────────────────────────────────────


def read_kept(text: str) -> list[Head]:
    """Heads as they are kept: `12:5f3a…`, or a file with one on each line, as text or JSON.

    Raises Invalid.
    """
    if re.fullmatch(r"\d{1,18}:[0-9a-f]{64}", text.strip()):
        return [_head(*text.strip().split(":"))]
    try:
        content = Path(text).read_text()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise Invalid(
            f"{text} is neither a head, such as 12:5f3a…, nor a file with heads."
        ) from error
    try:
        return [_head_of(orjson.loads(content))]
    except orjson.JSONDecodeError:
        pass  # more than one line
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not lines:
        raise Invalid(f"{text} is empty: no head is in it.")
    return [_head_of_line(line) for line in lines]


def _head_of_line(line: str) -> Head:
    if re.fullmatch(r"\d{1,18}:[0-9a-f]{64}", line):
        return _head(*line.split(":"))
    try:
        return _head_of(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        raise Invalid(f"This line names no head: {line[:100]}") from error


def _head_of(value: Any) -> Head:
    if isinstance(value, Mapping):
        value = value.get("head", value)
    if isinstance(value, Mapping) and "sequence" in value and "hash" in value:
        return _head(str(value["sequence"]), str(value["hash"]))
    raise Invalid("A head has a sequence and a hash.")


def _head(sequence: str, hash_: str) -> Head:
    if not sequence.isascii() or not sequence.isdigit() or not _HASH.fullmatch(hash_):
        raise Invalid("A head has a sequence, and a hash of 64 hexadecimal digits.")
    return Head(int(sequence), hash_)
