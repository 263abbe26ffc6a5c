"""dusangire keys"""

from typing import Annotated
from uuid import UUID

import typer

from dusangire.access import OPERATOR, ApiKey, create_api_key, list_api_keys, revoke_api_key
from dusangire.core import Core
from dusangire.errors import NotFound
from dusangire.permissions import Scope
from dusangire_server.cli.output import AsJson, put_json, put_table, say, to_json
from dusangire_server.cli.session import run

app = typer.Typer()


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who will use it.")],
    scope: Annotated[
        list[Scope],
        typer.Option(help="What it may do; give it several times.", case_sensitive=False),
    ],
    as_json: AsJson = False,
) -> None:
    """A new key. Its secret is shown this once, on stdout."""

    async def work(_core: Core, _url: str) -> tuple[ApiKey, str]:
        return await create_api_key(OPERATOR, name, scope)

    key, secret = run(work)
    if as_json:
        put_json({**to_json(key), "secret": secret})
        return
    say(f"{key.name} may: {', '.join(key.scopes)}. The key is shown this once:")
    typer.echo(secret)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every key, without its secret."""

    async def work(_core: Core, _url: str) -> list[ApiKey]:
        return await list_api_keys(OPERATOR)

    keys = run(work)
    if as_json:
        put_json(keys)
        return
    put_table(
        ("key", "name", "scopes", "created", "last used", "revoked"),
        [(k.prefix, k.name, k.scopes, k.created_at, k.last_used_at, k.revoked_at) for k in keys],
    )


@app.command()
def revoke(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Its id or beginning: dpk_1a2b3c4d5e6f.")
    ],
    as_json: AsJson = False,
) -> None:
    """End a key. Whoever uses it is out within five seconds."""

    async def work(_core: Core, _url: str) -> ApiKey:
        return await revoke_api_key(OPERATOR, await _id_of(key))

    revoked = run(work)
    if as_json:
        put_json(revoked)
    else:
        say(f"{revoked.prefix} ({revoked.name}) is revoked.")


async def _id_of(text: str) -> UUID:
    for key in await list_api_keys(OPERATOR):
        # A whole key is accepted too: who revokes a leaked one has just that.
        if text == str(key.id) or text == key.prefix or text.startswith(f"{key.prefix}_"):
            return key.id
    raise NotFound("There is no such API key. `dusangire keys list` shows them all.")
