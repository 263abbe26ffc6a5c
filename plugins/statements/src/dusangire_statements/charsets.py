"""In which letters a text file is written, found from its bytes."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from dusangire.statements import Unreadable

LONGEST_LINE = 10_000
_CHUNK = 1 << 16
_MARKS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


def encoding_of(file: Path) -> str:
    """The encoding: by its mark, then UTF-8, then what old bank software writes."""
    letters_of_dos = letters_of_windows = 0
    utf8 = codecs.getincrementaldecoder("utf-8")()
    is_utf8 = True
    with file.open("rb") as opened:
        head = opened.read(_CHUNK)
        if (marked := _marked(head)) is not None:
            return marked
        chunk = head
        while chunk:
            if is_utf8:
                try:
                    utf8.decode(chunk)
                except UnicodeDecodeError:
                    is_utf8 = False
            letters_of_dos += sum(chunk.count(byte) for byte in range(0x80, 0xA0))
            letters_of_windows += sum(chunk.count(byte) for byte in range(0xC0, 0x100))
            chunk = opened.read(_CHUNK)
    if is_utf8 and not utf8.getstate()[0]:
        return "utf-8"
    # Letters with accents lie in 80-9F in DOS's cp852, and in C0-FF in Windows' cp1252.
    return "cp852" if letters_of_dos > letters_of_windows else "cp1252"


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, from 1, without their ends. Raises Unreadable.

    One line at a time is in memory, and none that is longer than any format's.
    """
    encoding = encoding_of(file)
    with file.open(encoding=encoding, errors="replace") as opened:
        number = 0
        while True:
            number += 1
            try:
                line = opened.readline(LONGEST_LINE + 1)
            except UnicodeError as error:
                raise Unreadable(f"This is not text in {encoding}.", line=number) from error
            if not line:
                return
            if len(line) > LONGEST_LINE:
                raise Unreadable(
                    f"The line is longer than {LONGEST_LINE:,} characters.", line=number
                )
            yield number, line.rstrip("\n").replace("\0", "")


def beginning_of(head: bytes) -> str:
    """The first part of a file as text, good enough to recognise a format by."""
    return head.decode(_marked(head) or "latin-1", errors="replace").removeprefix("\ufeff")


def _marked(head: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # Half of the bytes of Latin text in UTF-16 are NUL.
    start = head[:400]
    if len(start) >= 4 and start[1::2].count(0) > len(start) // 3:
        return "utf-16-le"
    if len(start) >= 4 and start[0::2].count(0) > len(start) // 3:
        return "utf-16-be"
    return None
