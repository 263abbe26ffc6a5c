"""What a system keeps: the values of every table, and the lines of its log."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from dusangire.database import fetch
from dusangire_server import logs

_OWN_LEVELS = ("dusangire", "dusangire_server", "dusangire_schema", "uvicorn", "uvicorn.error")


async def columns_kept() -> dict[str, str]:
    """The text of every value, by `table.column`."""
    tables = await fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
        "AND relnamespace = 'public'::regnamespace"
    )
    kept: dict[str, list[str]] = {}
    for table in tables:
        name = table["relname"]
        for row in await fetch(f'SELECT * FROM "{name}"'):
            for column, value in row.items():
                kept.setdefault(f"{name}.{column}", []).append(_text(value))
    return {column: "\n".join(values) for column, values in kept.items()}


async def everything_kept() -> dict[str, str]:
    """The text of every row, by table; empty for a table without rows."""
    tables: dict[str, list[str]] = {
        row["relname"]: []
        for row in await fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
            "AND relnamespace = 'public'::regnamespace"
        )
    }
    for column, text in (await columns_kept()).items():
        tables[column.partition(".")[0]].append(text)
    return {table: "\n".join(texts) for table, texts in tables.items()}


def _text(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


@contextmanager
def logged(level: str = "debug", format: str = "json") -> Iterator[io.StringIO]:
    """Everything that is logged inside, by us and by libraries, as the server writes it."""
    out, before = io.StringIO(), structlog.get_config()
    root = logging.getLogger()
    handlers, root_level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in _OWN_LEVELS}
    # The server ends whatever handlers it finds, and pytest still needs its own.
    root.handlers[:] = []
    logs.configure(level=level, format=format, stream=out)
    logging.captureWarnings(capture=False)
    # Loggers of modules outlive this, and must not go on writing here.
    structlog.configure(**{**structlog.get_config(), "cache_logger_on_first_use": False})
    root.handlers += handlers
    try:
        yield out
    finally:
        root.handlers[:] = handlers
        root.setLevel(root_level)
        for name, number in levels.items():
            logging.getLogger(name).setLevel(number)
        structlog.configure(**before)
