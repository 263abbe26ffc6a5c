"""dusangire serve"""

import asyncio
from typing import Annotated

import typer

from dusangire_server.cli.session import joined, read_settings
from dusangire_server.databases import prepare
from dusangire_server.supervisor import listen, supervise


def command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Web processes.")] = 1,
    with_worker: Annotated[
        bool, typer.Option("--with-worker", help="Do background work in here as well.")
    ] = False,
) -> None:
    settings = read_settings(quiet=False)
    listeners = listen(host, port, workers)
    with joined(settings) as url:
        asyncio.run(prepare(settings, url))
        if workers > 1:
            raise typer.Exit(supervise(listeners, with_worker=with_worker))
        from dusangire_server.web import serve  # noqa: PLC0415 - what supervisors never need

        serve(settings, url, listeners[0], with_worker=with_worker)
