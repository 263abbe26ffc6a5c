"""dusangire schema"""

import typer

from dusangire_schema import sdl
from dusangire_server.cli.output import AsJson, put_json

app = typer.Typer()


@app.callback()
def _group() -> None: ...


@app.command("print")
def print_(as_json: AsJson = False) -> None:
    """The schema in GraphQL's own language."""
    if as_json:
        put_json({"sdl": sdl()})
    else:
        typer.echo(sdl(), nl=False)
