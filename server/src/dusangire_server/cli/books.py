"""dusangire books"""

import typer

from dusangire.access import OPERATOR
from dusangire.books import items, ledger, self_check
from dusangire.books.ledger import BookBalance
from dusangire.books.self_check import Checked
from dusangire.core import Core
from dusangire_server.cli.output import AsJson, progress, put_json, put_table, say, to_json
from dusangire_server.cli.session import run

app = typer.Typer()


@app.command()
def check(as_json: AsJson = False) -> None:
    """Computes every sum of the books again. Exits with 1 when one does not agree."""

    async def work(core: Core, _url: str) -> Checked:
        await items.collect(core)
        return await self_check.check(OPERATOR)

    with progress("Adding up …"):
        found = run(work)
    if as_json:
        put_json({"sound": found.sound, **to_json(found)})
    else:
        for one in found.breaks:
            typer.echo(
                f"{one.rule} {one.account} {one.currency}: {one.actual} instead of "
                f"{one.expected}, in minor units. {one.message}"
            )
        say(f"{found.entries} entries checked at {found.checked_at:%Y-%m-%d %H:%M:%S} UTC.")
        say("The books agree." if found.sound else "The books do NOT agree.")
    if not found.sound:
        raise typer.Exit(1)


@app.command()
def balances(as_json: AsJson = False) -> None:
    """Every account of the books, and what is open in it."""

    async def work(core: Core, _url: str) -> list[BookBalance]:
        await items.collect(core)
        return await ledger.balances(OPERATOR)

    found = run(work)
    if as_json:
        put_json({"books": to_json(found)})
        return
    put_table(
        ("account", "balance", "open", "of", "difference"),
        [
            (one.account, one.balance, one.open_total, one.open_items, one.difference)
            for one in found
        ],
    )
