"""Which commands there are, and what becomes of their errors.

A command's module is imported when that command is asked for, so that `--help` is there at once.
"""

import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any

import typer

from dusangire.errors import DusangireError, GatewayNotFound, NotFound

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "Everything on this machine, with simulated gateways and sample data.",
        "serve": "The web process: the API, and what gateways send.",
        "worker": "Background work: run any number of them.",
        "migrate": "Bring the database up to date. Safe to run twice at once.",
        "doctor": "What is right and wrong with this installation, and what to do.",
        "payments": "Create, read, watch and settle payments.",
        "refunds": "Ask for refunds, and see what became of them.",
        "statements": "Take in what banks and operators wrote down, and look at it.",
        "reconcile": "Compare an account's statements with the payments, and report.",
        "reconciliations": "The runs so far, and their reports.",
        "gateways": "The configured gateways, and the plugins that serve them.",
        "keys": "API keys.",
        "invoices": "Find invoices and credit notes, and give drafts their numbers.",
        "merchant": "Whose name, number and logo stand on invoices.",
        "staff": "The people who work with it: accounts, roles and links to sign in.",
        "analytics": "What was earned, and how the gateways do.",
        "books": "What is owed, on its way and unexplained, and whether it all agrees.",
        "audit": "Who did what, and the proof that nobody changed it since.",
        "webhooks": "Where the merchant is told what happens, and what it was told.",
        "secrets": "The keys that seal credentials and cards.",
        "plugins": "For authors of gateways: the installed plugins.",
        "schema": "The GraphQL schema.",
    }
)

FAILED, USAGE, NOT_FOUND, INTERRUPTED = 1, 2, 3, 130


def main() -> None:
    """Runs the command; exits with 0 ok, 1 failed, 2 usage, 3 not found."""
    words = sys.argv[1:]
    try:
        application(words)()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except Exception as error:
        if "--debug" in words or os.environ.get("DUSANGIRE_LOG_LEVEL", "").lower() == "debug":
            raise
        typer.echo(explained(error), err=True)
        missing = isinstance(error, NotFound | GatewayNotFound)
        raise SystemExit(NOT_FOUND if missing else FAILED) from None


def explained(error: Exception) -> str:
    """What happened and what to do, in a line or two."""
    if isinstance(error, DusangireError):
        field = ".".join(getattr(error, "field", ()))
        return f"Error: {error}" + (f" ({field})" if field else "")
    from dusangire.masking import mask_text  # noqa: PLC0415 - phone numbers take time to import

    return (
        f"Error: {type(error).__name__}: {mask_text(str(error))}\n"
        "This is not expected. Run it again as `dusangire --debug …` to see where it happens."
    )


def application(words: Sequence[str]) -> typer.Typer:
    """The application, with the module of the command that `words` name."""
    app = typer.Typer(
        name="dusangire",
        help="DUSANGIRE payments: take money by every method, from one place.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        callback=_options,
    )
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, about in COMMANDS.items():
        if name != asked:
            app.command(name, help=about)(_not_asked)
            continue
        module = _imported(f"dusangire_server.cli.{name}")
        if isinstance(group := getattr(module, "app", None), typer.Typer):
            app.add_typer(group, name=name, help=about, no_args_is_help=True)
        else:
            app.command(name, help=about)(module.command)
    return app


def _imported(name: str) -> Any:
    """A module. What it brings stays as long as the process: nobody looks for garbage there."""
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show logs and tracebacks.")] = False,
) -> None:
    if debug:
        logging.getLogger().setLevel(logging.DEBUG)
        os.environ["DUSANGIRE_LOG_LEVEL"] = "debug"


def _not_asked() -> None:
    raise AssertionError("another command was asked for")
