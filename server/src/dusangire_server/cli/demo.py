"""dusangire demo"""

import asyncio
import os
import sys
import threading
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop
from rich.console import Console

from dusangire.errors import CannotStart
from dusangire.settings import Settings
from dusangire_server.cli.output import AsJson, put_json, say
from dusangire_server.cli.session import joined, read_settings
from dusangire_server.supervisor import listen

if TYPE_CHECKING:
    from dusangire_server.demo import Welcome


def command(
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    as_json: AsJson = False,
) -> None:
    # Its sample data must never end up in a database that somebody happens to have named.
    settings = replace(read_settings(), database_url=None, console_messages=True)
    if settings.live:
        raise CannotStart("The demo has simulated gateways only: unset DUSANGIRE_ENVIRONMENT.")
    [listener] = listen("127.0.0.1", port)

    def greet(welcome: "Welcome") -> None:
        if as_json:
            put_json(welcome)
        else:
            _put(welcome, settings)
        sys.stdout.flush()
        if not no_open:
            _open(welcome)

    with ExitStack() as stack:
        with ThreadPoolExecutor(1) as beside:
            opening = beside.submit(stack.enter_context, joined(settings))
            # While PostgreSQL starts: importing all of this takes as long.
            from dusangire_server import demo  # noqa: PLC0415
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(demo.run(settings, opening.result(), listener, greet))
    say(f"Stopped. The data stays in {settings.home}.")


def _put(welcome: "Welcome", settings: Settings) -> None:
    out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    out.print("\nDUSANGIRE payments is ready.\n", style="bold green")
    facts = {
        "GraphQL": welcome.graphql_url,
        "Dashboard": f"{welcome.login_url}  (signs you in once)",
        "Second person": f"{welcome.approver_url}  (for refunds, in another browser)",
        "API key": welcome.api_key,
        **{f"Phone, {code}": f"{page}  (approve or decline)" for code, page in _phones(welcome)},
        "Data": f"{settings.home.absolute()}  (the next start keeps it)",
    }
    for name, value in facts.items():
        out.print(f"  {name:<13} {value}")
    for number, item in enumerate(welcome.tries, 1):
        out.print(f"\n{number}. {item.about}\n", style="bold")
        out.print(item.command)
    out.print("\nOr from another terminal:\n", style="bold")
    program = _program(settings)
    out.print(f"{program} payments list\n{program} payments watch")
    if welcome.statement is not None:
        out.print("\nThe bank's statement has come. See what it explains:\n", style="bold")
        out.print(f"{program} statements import {welcome.statement} --account bank")
        out.print(f"{program} reconcile --account bank")
    out.print("\nCtrl-C stops everything.", style="dim")


def _phones(welcome: "Welcome") -> list[tuple[str, str]]:
    return list(welcome.simulators.items())


def _program(settings: Settings) -> str:
    """How to call this program from another terminal in the same folder."""
    home = "" if settings.home == Path(".dusangire") else f"DUSANGIRE_HOME={settings.home} "
    program = Path(sys.argv[0])
    if any(Path(folder) == program.parent for folder in os.get_exec_path()):
        return f"{home}{program.name}"
    return f"{home}{program}"


def _open(welcome: "Welcome") -> None:
    """The first simulator's page in a browser, where there is a screen to see it on.

    Not the link that signs in: the person who reads it chooses in which browser.
    """
    screen = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    pages = list(welcome.simulators.values())
    if screen and pages:
        # Some browsers are waited for; the demo waits for nobody.
        threading.Thread(target=webbrowser.open, args=pages[:1], daemon=True).start()
