"""dusangire secrets"""

import typer

from dusangire import rotation
from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.rotation import Rotated
from dusangire_server.cli.output import AsJson, progress, put_json, say
from dusangire_server.cli.session import run

app = typer.Typer()


@app.callback()
def _group() -> None: ...


@app.command()
def rotate(as_json: AsJson = False) -> None:
    """Seal everything with the first key of DUSANGIRE_SECRET_KEYS. Safe at any time, and again."""

    async def work(core: Core, _url: str) -> Rotated:
        return await rotation.rotate(core, OPERATOR)

    with progress("Sealing …"):
        done = run(work)
    if as_json:
        put_json(done)
        return
    say(
        f"{done.gateways} gateways, {done.stored_methods} stored methods, "
        f"{done.webhook_endpoints} webhook endpoints and {done.code_generators} code generators "
        "were sealed anew. "
        f"Everything is sealed with {done.key} now: older keys may go from DUSANGIRE_SECRET_KEYS "
        "once every process has it first."
    )
