"""dusangire worker"""

import asyncio
from typing import Annotated

import typer
import uvloop

from dusangire.core import Core, open_core
from dusangire.settings import Settings
from dusangire_server import worker
from dusangire_server.cli.session import joined, read_settings
from dusangire_server.databases import prepare
from dusangire_server.stopping import GRACE, cancel, finish_calls, first_ended, told_to_stop


def command(
    concurrency: Annotated[
        int, typer.Option(min=1, max=10_000, help="Attempts worked on at the same time.")
    ] = 64,
) -> None:
    settings = read_settings(quiet=False)
    with (
        joined(settings) as url,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_work(settings, url, concurrency))


async def _work(settings: Settings, url: str, concurrency: int) -> None:
    await prepare(settings, url)
    async with open_core(settings, url) as core:
        await _until_told(core, url, concurrency)


async def _until_told(core: Core, url: str, concurrency: int) -> None:
    with told_to_stop() as stop:
        working = asyncio.create_task(worker.run(core, url, concurrency=concurrency))
        ended = await first_ended(stop, working)
        await cancel(working)
        await finish_calls(stop, GRACE)
    for task in ended:
        task.result()
