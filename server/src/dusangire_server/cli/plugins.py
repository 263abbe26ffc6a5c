"""dusangire plugins"""

from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from dusangire_server.cli.output import AsJson, put_facts, put_json, put_table, say

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


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its entry point's name, such as mtn.")
    ],
    as_json: AsJson = False,
) -> None:
    """Load a plugin and show what it can do. It runs no contract: the plugin's own tests do."""
    report = _report(name)
    if as_json:
        put_json(report)
    elif "hooks" in report:
        put_facts(
            {
                "plugin": f"{name} {report['version']}",
                "title": report["title"],
                "can": report["capabilities"],
                "hooks": report["hooks"],
                "not there": report["missingHooks"],
                "config": report["configKeys"],
            }
        )
    if not report["ok"]:
        say(f"{name} does not work: {report['error']}.")
        raise typer.Exit(1)


def _report(name: str) -> dict[str, Any]:
    # Here, so that `list` loads neither core nor plugins.
    from dusangire import PROJECT, hookspecs  # noqa: PLC0415
    from dusangire.errors import NotFound  # noqa: PLC0415
    from dusangire.plugins import Plugins  # noqa: PLC0415
    from dusangire_server.cli.session import read_settings  # noqa: PLC0415

    read_settings()
    points = list(entry_points(group=_GROUP, name=name))
    if not points:
        raise NotFound(f"There is no plugin {name!r}. `dusangire plugins list` shows them all.")
    loaded = Plugins.load(installed=points)
    plugin = loaded.gateways.get(name)
    if plugin is None:
        error = loaded.broken.get(name, "it has no describe_gateway hook")
        return {"name": name, "ok": False, "error": error}
    hooks = [name for name, value in vars(hookspecs).items() if hasattr(value, f"{PROJECT}_spec")]
    there = [hook for hook in hooks if plugin.implements(hook)]
    starts = "initiate_payment" in there
    return {
        "name": name,
        "ok": starts,
        "error": None if starts else "it has no initiate_payment hook",
        "version": plugin.version,
        "title": plugin.description.name,
        "capabilities": sorted(plugin.capabilities),
        "hooks": there,
        "missingHooks": [hook for hook in hooks if hook not in there],
        "configKeys": sorted(plugin.description.config.model_fields),
    }
