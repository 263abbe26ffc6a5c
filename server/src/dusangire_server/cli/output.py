"""What a command says: data to stdout, talk and progress to stderr."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import orjson
import typer

from dusangire.gateway import ApproveOnPhone, FollowLink, PayInPerson, TransferToAccount
from dusangire.money import Money

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

_NOTHING = (None, "", ())


def put_json(value: Any, *, one_line: bool = False) -> None:
    """JSON on stdout, with the names of the API."""
    option = orjson.OPT_UTC_Z | (0 if one_line else orjson.OPT_INDENT_2)
    typer.echo(orjson.dumps(to_json(value), option=option))


def to_json(value: Any) -> Any:
    """Values of core as the API shows them: `order_reference` is `orderReference`."""
    if isinstance(value, Money):
        return {"amount": f"{value.amount:f}", "currency": value.currency}
    if is_dataclass(value):
        # A union in the API, told apart by its type's name.
        action = isinstance(value, ApproveOnPhone | FollowLink | TransferToAccount | PayInPerson)
        kind = {"__typename": type(value).__name__} if action else {}
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {**kind, **{_camel(name): to_json(item) for name, item in named.items()}}
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    # asyncpg has a UUID of its own, which orjson does not know.
    return str(value) if isinstance(value, UUID) else value


def put_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns on stdout; nothing is cut off, whoever reads it."""
    texts = [[name.upper() for name in columns], *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def put_facts(facts: Mapping[str, object]) -> None:
    """A name and a value on each line; what is not there is left out."""
    there = {name: value for name, value in facts.items() if value not in _NOTHING}
    width = max(map(len, there))
    for name, value in there.items():
        typer.echo(f"{name.ljust(width)}  {_cell(value)}")


def say(text: str) -> None:
    """Talk, on stderr."""
    typer.echo(text, err=True)


@contextmanager
def progress(text: str) -> Iterator[None]:
    """A spinner while something takes its time, if somebody is watching."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - only terminals pay for it

    with Console(stderr=True).status(text):
        yield


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list | frozenset):
        return ", ".join(sorted(map(_cell, value)))
    text = "" if value is None else str(value)
    # Words of gateways may hold anything, even what steers a terminal.
    return text if text.isprintable() else ascii(text)[1:-1]


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
