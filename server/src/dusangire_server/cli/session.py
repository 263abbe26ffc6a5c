"""What every command does first and last: settings, logs, database, core, and nothing left over."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TypeVar

from dusangire.core import Core, open_core
from dusangire.database import drained
from dusangire.settings import Settings
from dusangire_server import logs
from dusangire_server.cli.output import progress
from dusangire_server.databases import database, prepare

T = TypeVar("T")

# Longer than any gateway may take: what a command asked of one is written down before it ends.
_PATIENCE = 75.0


def read_settings(*, quiet: bool = True) -> Settings:
    """The settings, with logging set up. quiet: only warnings, unless a level is asked for."""
    settings = Settings.read(os.environ)
    if quiet and "DUSANGIRE_LOG_LEVEL" not in os.environ:
        settings = replace(settings, log_level="warning")
    if quiet and "DUSANGIRE_LOG_FORMAT" not in os.environ:
        settings = replace(settings, log_format="console")
    logs.configure(level=settings.log_level, format=settings.log_format)
    return settings


@contextmanager
def joined(settings: Settings) -> Iterator[str]:
    """The database's address, with a sign of life while the embedded server starts."""
    with ExitStack() as stack:
        with progress("Opening the database …"):
            url = stack.enter_context(database(settings))
        yield url


def run(work: Callable[[Core, str], Awaitable[T]]) -> T:
    """Does one thing with core and the database's address. Raises CannotStart."""
    settings = read_settings()
    with joined(settings) as url:
        return asyncio.run(_run(settings, url, work))


async def _run(settings: Settings, url: str, work: Callable[[Core, str], Awaitable[T]]) -> T:
    await prepare(settings, url)
    async with open_core(settings, url, connections=4) as core:
        try:
            return await work(core, url)
        finally:
            await drained(_PATIENCE, "submit ")
