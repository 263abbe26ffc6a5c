"""dusangire migrate"""

import asyncio
from typing import Annotated

import typer

from dusangire.database import migrate
from dusangire_server.cli.output import AsJson, progress, put_json, say
from dusangire_server.cli.session import joined, read_settings


def command(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if something is missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    settings = read_settings()
    with joined(settings) as url, progress("Migrating …"):
        names = asyncio.run(migrate(url, check=check))
    if as_json:
        put_json({"missing" if check else "applied": names})
    elif not names:
        say("The database is up to date.")
    else:
        for name in names:
            typer.echo(name)
        say("These are missing: run `dusangire migrate`." if check else "The database is ready.")
    if check and names:
        raise typer.Exit(1)
