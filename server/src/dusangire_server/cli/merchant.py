"""dusangire merchant"""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.errors import NotFound
from dusangire.invoicing import merchant
from dusangire.invoicing.merchant import Changes, Merchant
from dusangire_server.cli.output import AsJson, put_facts, put_json, say
from dusangire_server.cli.session import run

app = typer.Typer()


@app.command()
def show(as_json: AsJson = False) -> None:
    """Whose name, number and logo stand on invoices."""

    async def work(_core: Core, _url: str) -> Merchant | None:
        return await merchant.merchant(OPERATOR)

    found = run(work)
    if found is None:
        raise NotFound(
            "Nobody has said who the merchant is. "
            'Do it with `dusangire merchant set --name "…" --tin … --address "…"`.'
        )
    _put(found, as_json)


@app.command("set")
def set_(
    name: Annotated[str | None, typer.Option(help="As it is registered.")] = None,
    tin: Annotated[str | None, typer.Option(help="Nine digits.")] = None,
    address: Annotated[
        str | None, typer.Option(help=r"Lines are parted by a line break or by \n.")
    ] = None,
    phone: Annotated[str | None, typer.Option(help="For customers.")] = None,
    email: Annotated[str | None, typer.Option(help="For customers.")] = None,
    vat_registered: Annotated[
        bool | None, typer.Option("--vat/--no-vat", help="Registered for VAT, or not.")
    ] = None,
    locale: Annotated[str | None, typer.Option(help="Language of invoices: en, fr or rw.")] = None,
    footer: Annotated[str | None, typer.Option(help="A line or two on every page.")] = None,
    logo: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG, JPEG or SVG, at most 200 KB.")
    ] = None,
    no_logo: Annotated[bool, typer.Option("--no-logo", help="Take the logo away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say or change it. What is left out stays; an empty text takes a value away."""
    texts = {
        "name": name, "tin": tin, "address": _lines(address), "phone": phone, "email": email,
        "footer": _lines(footer), "locale": locale,
    }  # fmt: skip
    changes: dict[str, Any] = {key: text for key, text in texts.items() if text is not None}
    if vat_registered is not None:
        changes["vat_registered"] = vat_registered
    if logo is not None:
        changes["logo"] = _read(logo)
    elif no_logo:
        changes["logo"] = None
    if not changes:
        raise typer.BadParameter("say what shall change, such as --name or --logo.")

    async def work(_core: Core, _url: str) -> Merchant:
        return await merchant.save(OPERATOR, cast("Changes", changes))

    saved = run(work)
    if not as_json:
        say("Saved. Invoices that were issued keep the words they have.")
    _put(saved, as_json)


def _put(found: Merchant, as_json: bool) -> None:
    logo = found.logo
    shown = {
        "name": found.name,
        "tin": found.tin,
        "address": found.address,
        "phone": found.phone,
        "email": found.email,
        "vatRegistered": found.vat_registered,
        "locale": found.locale,
        "footer": found.footer,
        "logo": f"{logo.media_type}, {len(logo.content):,} bytes" if logo else None,
    }
    if as_json:
        put_json({**shown, "version": found.version, "updatedAt": found.updated_at})
        return
    names = {"tin": "TIN", "vatRegistered": "VAT registered", "email": "e-mail"}
    flat = {names.get(key, key): _flat(value) for key, value in shown.items()}
    put_facts(flat)


def _flat(value: object) -> object:
    """An address on one line."""
    return ", ".join(value.splitlines()) if isinstance(value, str) else value


def _lines(text: str | None) -> str | None:
    return text.replace("\\n", "\n") if text is not None else None


def _read(path: Path) -> bytes:
    try:
        # More than fits, and no more: somebody may name a film.
        with path.open("rb") as file:
            return file.read(1_000_000)
    except OSError as error:
        raise typer.BadParameter(
            f"the file {path} cannot be read: {error.strerror}.", param_hint="--logo"
        ) from error
