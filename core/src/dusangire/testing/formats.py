"""A statement format for tests: one line an entry, easy to write, and wicked when it is told to.

    STATEMENT number account currency opening closing from until
    2026-11-02 C 15000 FT1 Jean bought coffee
    END

A `-` stands for what is not said. `| balance` at the end of an entry is the balance after it. A
single word such as LOOP lets the format misbehave as a hostile file would make a real one.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path

from dusangire import hookimpl
from dusangire.money import Money
from dusangire.statements import (
    Direction,
    Entry,
    ReadOptions,
    Record,
    Rejected,
    StatementEnd,
    StatementFormat,
    StatementHead,
    Unreadable,
)


def read(file: Path, options: ReadOptions) -> Iterator[Record]:
    closing: int | None = None
    with file.open(encoding="utf-8") as lines:
        for line, text in enumerate(lines, 1):
            words = text.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] in _WICKED:
                _WICKED[words[0]]()
            elif words[0] == "STATEMENT":
                head, closing = _head(words)
                yield head
            elif words[0] == "END":
                yield StatementEnd(closing=closing)
                closing = None
            else:
                yield _entry(line, text, options)


def _head(words: list[str]) -> tuple[StatementHead, int | None]:
    number, account, currency, opening, closing, begin, end = (
        None if word == "-" else word for word in words[1:8]
    )
    head = StatementHead(
        number=number,
        sequence=number,
        account=account,
        currency=currency,
        opening=int(opening) if opening else None,
        period_from=date.fromisoformat(begin) if begin else None,
        period_to=date.fromisoformat(end) if end else None,
    )
    return head, int(closing) if closing else None


def _entry(line: int, text: str, options: ReadOptions) -> Entry | Rejected:
    said, _, balance = text.partition("|")
    try:
        day, mark, amount, reference, *words = said.split()
        if amount == "stop":
            raise Unreadable("The file ends here.", line=line)
        return Entry(
            line=line,
            booking_date=date.fromisoformat(day),
            direction=Direction.CREDIT if mark == "C" else Direction.DEBIT,
            amount=Money(int(amount), options.currency),
            bank_reference=None if reference == "-" else reference,
            narration=" ".join(words),
            running_balance=int(balance) if balance.strip() else None,
            raw=text.strip(),
        )
    except ValueError as error:
        return Rejected(line=line, message=str(error), raw=text.strip())


def _loop() -> None:
    while True:
        pass


def _sleep() -> None:
    time.sleep(3600)


def _bomb() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(16 * 1024 * 1024))


def _flood() -> None:
    while True:
        sys.stdout.buffer.write(b'{"t":"remark","v":{"code":"X","message":"x"}}\n' * 1000)


def _nonsense() -> None:
    sys.stdout.buffer.write(b'{"t":"entry","v":{"line":"what?"}}\n')


def _crash() -> None:
    os.abort()


def _leave() -> None:
    os._exit(0)


def _spy() -> None:
    """Tells what it can see and do that it should not."""
    seen = [name for name in os.environ if name.startswith(("DUSANGIRE", "HTTP", "http"))]
    try:
        Path("written").write_text("x", encoding="utf-8")
        seen.append("a file")
    except OSError:
        pass
    raise Unreadable(f"seen: {seen}")


_WICKED: Mapping[str, Callable[[], None]] = {
    "LOOP": _loop,
    "SLEEP": _sleep,
    "BOMB": _bomb,
    "FLOOD": _flood,
    "NONSENSE": _nonsense,
    "CRASH": _crash,
    "LEAVE": _leave,
    "SPY": _spy,
}


@hookimpl
def statement_formats() -> list[StatementFormat]:
    return [
        StatementFormat(
            name="plain",
            title="Plain lines, for tests",
            recognises=lambda beginning: beginning.startswith((b"STATEMENT ", b"# plain")),
            read=read,
        )
    ]
