"""dusangire plugins"""

import os
import shutil
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dusangire_server.cli.output import AsJson, progress, put_facts, put_json, put_table, say

if TYPE_CHECKING:
    from dusangire.plugins import Plugins
    from dusangire_server.authors.contract import Report

app = typer.Typer()

_GROUP = "dusangire"


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """What is installed, without loading any of it."""
    found = [
        {
            "name": point.name,
            "package": point.dist.name if point.dist else None,
            "version": point.dist.version if point.dist else None,
            "module": point.value,
        }
        for point in sorted(entry_points(group=_GROUP), key=lambda point: point.name)
    ]
    if as_json:
        put_json(found)
    else:
        columns = ("name", "package", "version", "module")
        put_table(columns, [[plugin[column] for column in columns] for plugin in found])


# ── new ──────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def new(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="What merchants will call it: small letters, as mtn."),
    ],
    into: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where to write the new folder.")
    ] = Path(),
) -> None:
    """Write a folder with a payment method that works, to change into yours."""
    from dusangire.errors import Invalid  # noqa: PLC0415 - `list` loads nothing of core
    from dusangire_server.authors.scaffold import create  # noqa: PLC0415

    try:
        folder = create(name, into)
    except Invalid as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from error
    typer.echo(folder)
    say("\nIt keeps its contract as it is. Next:\n")
    for command in _next(folder):
        say(f"  {command}")
    say(f"\n{folder}/README.md says what to change, and in which order.")


def _next(folder: Path) -> tuple[str, str, str]:
    """Install it, run its contract, pay with it: as this environment can do it."""
    python, program = _called("python"), _called("dusangire")
    install = f"{python} -m pip install"
    if find_spec("pip") is None:
        install = f"uv pip install --python {python}"
    # With ./ in front it is a folder to every installer, never the name of a package.
    there = folder if folder.is_absolute() else f"./{folder}"
    return (
        f'{install} -e "{there}[test]"',
        f"{python} -m pytest {there}",
        f"{program} demo",
    )


def _called(program: str) -> str:
    """How to call a program of this environment from here: by its name where that finds it."""
    ours = Path(sys.executable).with_name(program)
    found = shutil.which(program)
    if found is not None and Path(found).parent == ours.parent:
        return program
    if ours.is_relative_to(Path.cwd()):
        return str(ours.relative_to(Path.cwd()))
    return os.fspath(ours)


# ── check ────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its entry point's name, such as mtn.")
    ],
    tests: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            exists=True,
            help="Its tests, with its contract class. Found by itself for a plugin that was "
            "installed from a folder.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load a plugin, show what it can do, and run its contract promise by promise."""
    report = _report(name, tests)
    if as_json:
        put_json(report)
    else:
        _put(report)
    if not report["ok"]:
        say(_verdict(report))
        raise typer.Exit(1)


def _report(name: str, tests: Path | None) -> dict[str, Any]:
    # Here, so that `list` loads neither core nor plugins.
    from dusangire.errors import NotFound  # noqa: PLC0415
    from dusangire.plugins import Plugins  # noqa: PLC0415
    from dusangire_server.cli.session import read_settings  # noqa: PLC0415

    read_settings()
    points = list(entry_points(group=_GROUP, name=name))
    if not points:
        raise NotFound(f"There is no plugin {name!r}. `dusangire plugins list` shows them all.")
    loaded = Plugins.load(installed=points)
    if name in loaded.gateways:
        return _of_gateway(loaded, points[0], tests)
    return _of_other(loaded, points[0])


def _of_gateway(loaded: "Plugins", point: EntryPoint, tests: Path | None) -> dict[str, Any]:
    from dusangire_server.authors import contract  # noqa: PLC0415
    from dusangire_server.authors.advice import advice  # noqa: PLC0415

    plugin = loaded[point.name]
    there = [hook for hook in _hooks() if plugin.implements(hook)]
    starts = "initiate_payment" in there
    with progress("Running its contract …"):
        ran = contract.run(point.name, tests or contract.tests_of(point.dist))
    return {
        "name": point.name,
        "ok": starts and not ran.failed,
        "error": None if starts else "it has no initiate_payment hook",
        "kind": "gateway",
        "package": point.dist.name if point.dist else None,
        "version": plugin.version,
        "title": plugin.description.name,
        "capabilities": sorted(plugin.capabilities),
        "hooks": there,
        "missingHooks": [hook for hook in _hooks() if hook not in there],
        "configKeys": sorted(plugin.description.config.model_fields),
        "contract": _told(ran),
        "advice": advice(plugin),
    }


def _of_other(loaded: "Plugins", point: EntryPoint) -> dict[str, Any]:
    """Of what is broken, and of control plugins: they wrap hooks, and have no contract."""
    module = loaded.manager.get_plugin(point.name)
    callers = loaded.manager.get_hookcallers(module) if module is not None else None
    hooks = [caller.name for caller in callers or ()]
    error = loaded.broken.get(point.name)
    if error is None and not hooks:
        error = "it has no hook at all: is every one marked @hookimpl?"
    return {
        "name": point.name,
        "ok": error is None,
        "error": error,
        "kind": "control" if error is None else None,
        "package": point.dist.name if point.dist else None,
        "version": point.dist.version if point.dist else None,
        "hooks": hooks,
    }


def _hooks() -> list[str]:
    from dusangire import PROJECT, hookspecs  # noqa: PLC0415

    return [name for name, value in vars(hookspecs).items() if hasattr(value, f"{PROJECT}_spec")]


def _told(ran: "Report") -> dict[str, Any]:
    counts = dict.fromkeys(("ok", "failed", "open", "not applicable"), 0)
    for verdict in ran.promises:
        counts[verdict.status] += 1
    return {
        "tests": str(ran.tests) if ran.tests else None,
        "problem": ran.problem,
        "counts": counts,
        "promises": ran.promises,
    }


# ── how it looks ─────────────────────────────────────────────────────────────────────────────────


def _put(report: dict[str, Any]) -> None:
    if report["kind"] is None:
        return
    put_facts(
        {
            "plugin": f"{report['name']} {report['version']} ({report['package']})",
            "title": report.get("title"),
            "can": report.get("capabilities"),
            "hooks": report["hooks"],
            "not there": report.get("missingHooks"),
            "config": report.get("configKeys"),
        }
    )
    if report["kind"] == "control":
        typer.echo("\nIt wraps hooks of every gateway. There is no contract for that.")
        return
    _put_contract(report["contract"])
    _put_list("Worth a look:", report["advice"])


def _put_contract(contract: dict[str, Any]) -> None:
    typer.echo()
    if contract["problem"]:
        typer.echo(f"Its contract was not run to its end: {contract['problem']}")
    for verdict in contract["promises"]:
        typer.echo(f"{verdict.status:<14}  {verdict.group:<9} {verdict.promise}")
        if verdict.reason:
            _put_under(verdict.reason.splitlines()[0])
        if verdict.help:
            _put_under(f"→ {verdict.help}")
    counts = [f"{number} {status}" for status, number in contract["counts"].items() if number]
    if counts:
        typer.echo(f"\n{', '.join(counts)}")


def _put_under(text: str) -> None:
    typer.echo(f"{'':<26}{text}")


def _put_list(title: str, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines):
        if number == 0:
            typer.echo(f"\n{title}")
        typer.echo(f"  - {line}")


def _verdict(report: dict[str, Any]) -> str:
    if report["error"]:
        return f"{report['name']} does not work: {report['error']}."
    contract = report["contract"]
    if contract["problem"]:
        return f"The contract of {report['name']} could not be run."
    return f"{report['name']} breaks {contract['counts']['failed']} of its promises."
