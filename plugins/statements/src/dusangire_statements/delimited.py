"""CSV: text whose encoding and delimiter nobody says, read line by line with its limits."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dusangire.statements import Unreadable
from dusangire_statements.charsets import beginning_of, encoding_of

__all__ = ["DELIMITERS", "Delimited", "looks_like_text", "modal_width"]

DELIMITERS = (",", ";", "\t", "|")
FIELD_LIMIT = 10_000
# A record may hold a few line ends between quotes; one that never ends would hold the whole file.
RECORD_LINES = 50
LINE_LIMIT = 200_000
# Any bytes are letters in these.
_NEVER_CERTAIN = {"cp852", "cp1252"}
_OTHER_FORMATS = re.compile(
    r"\s*(<|\{1:|:20:|OFXHEADER|%PDF|940\s|[A-Z]{6}[A-Z0-9]{2,5}\s+94[02]\s)"
)


class Delimited:
    """The rows of a CSV file.

    guessed: the encoding, where the bytes do not prove it.
    """

    def __init__(self, file: Path, *, encoding: str = "auto", delimiter: str = "auto") -> None:
        self._file = file
        self.encoding = encoding_of(file) if encoding == "auto" else encoding
        self.guessed = encoding == "auto" and self.encoding in _NEVER_CERTAIN
        self._errors = "replace" if self.guessed else "strict"
        self._hint = self._hinted()
        self.delimiter = (self._hint or ",") if delimiter == "auto" else delimiter
        self.certain = delimiter != "auto" or self._hint is not None

    def choose(self, quality: Callable[[Iterator[tuple[int, list[str]]]], tuple[int, ...]]) -> None:
        """Take the delimiter under which the beginning of the file looks best."""
        if not self.certain:
            self.delimiter = max(
                DELIMITERS, key=lambda sign: quality(_as_far_as_readable(self._read(sign)))
            )
            self.certain = True

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Each record with the line it begins on. Raises Unreadable."""
        return self._read(self.delimiter)

    def _read(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        try:
            with self._file.open(encoding=self.encoding, errors=self._errors, newline="") as stream:
                lines = _Lines(stream.readline, skip=1 if self._hint else 0)
                reader = csv.reader(lines, delimiter=delimiter)
                for record in reader:
                    if any(len(field) > FIELD_LIMIT for field in record):
                        raise Unreadable(
                            f"A field is longer than {FIELD_LIMIT:,} characters.",
                            line=lines.started,
                        )
                    yield lines.started, record
                    lines.next_record()
        except csv.Error as error:
            raise Unreadable(
                f"Line {lines.started} is no CSV: {error}.", line=lines.started
            ) from error
        except UnicodeError as error:
            raise Unreadable(
                f"The file is not written in {self.encoding}, as its mapping says."
            ) from error

    def _hinted(self) -> str | None:
        """What spreadsheets write into the first line: `sep=;`."""
        try:
            with self._file.open(encoding=self.encoding, errors=self._errors, newline="") as stream:
                found = re.fullmatch(r"\"?sep=(.)\"?\s*", stream.readline(20))
        except UnicodeError:
            return None
        return found[1] if found and found[1] in DELIMITERS else None


def _as_far_as_readable(rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Under a wrong delimiter quotes are not closed; under the right one that is said later."""
    with suppress(Unreadable):
        yield from rows


class _Lines:
    """The lines of a file, counted; stops where one record swallows them."""

    def __init__(self, readline: Callable[[int], str], skip: int) -> None:
        self._readline = readline
        self._read = 0
        self.started = skip + 1
        for _ in range(skip):
            self._next()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if line := self._next():
            return line
        raise StopIteration

    def next_record(self) -> None:
        self.started = self._read + 1

    def _next(self) -> str:
        if self._read - self.started + 1 >= RECORD_LINES:
            raise Unreadable(
                f"A quote that is opened on line {self.started} is not closed: "
                f"{RECORD_LINES} lines would be one field.",
                line=self.started,
            )
        line = self._readline(LINE_LIMIT + 1)
        self._read += 1
        if len(line) > LINE_LIMIT:
            raise Unreadable(
                f"Line {self._read} is longer than {LINE_LIMIT:,} characters.", line=self._read
            )
        if "\0" in line:
            raise Unreadable(f"Line {self._read} has a NUL in it: no text.", line=self._read)
        return line


def looks_like_text(head: bytes) -> bool:
    """Whether the beginning of a file may be a table of text, and is no format of its own."""
    text = beginning_of(head)
    if "\0" in text or _OTHER_FORMATS.match(text):
        return False
    return any(text.count(sign) >= 2 for sign in DELIMITERS)


def modal_width(records: Sequence[Sequence[str]]) -> tuple[int, int]:
    """How many records have the most frequent number of fields above one, and that number."""
    widths = [len(record) for record in records if len(record) > 1]
    if not widths:
        return 0, 0
    width = max(set(widths), key=lambda one: (widths.count(one), one))
    return widths.count(width), width
