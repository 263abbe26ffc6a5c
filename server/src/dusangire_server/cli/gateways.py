"""dusangire gateways"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dusangire import health
from dusangire.access import OPERATOR
from dusangire.breaker import BreakerState
from dusangire.core import Core
from dusangire.errors import GatewayNotFound
from dusangire.gateway import Environment, TestReport
from dusangire.gateways import Account
from dusangire.health import Health
from dusangire.plugins import Plugin
from dusangire_server.cli.output import AsJson, progress, put_facts, put_json, put_table, say
from dusangire_server.cli.session import run

app = typer.Typer()


@app.command()
def plugins(as_json: AsJson = False) -> None:
    """The kinds of gateway that can be configured, and what each wants to know."""

    async def work(core: Core, _url: str) -> list[Plugin]:
        return list(core.plugins.gateways.values())

    found = run(work)
    if as_json:
        put_json([_plugin(plugin) for plugin in found])
        return
    put_table(
        ("plugin", "title", "can", "config"),
        [(p.name, p.description.name, p.capabilities, list(_keys(p))) for p in found],
    )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """The configured gateways: how they do, and the addresses for their webhooks."""

    async def work(core: Core, _url: str) -> list[tuple[Account, Health]]:
        accounts = await core.gateways.all()
        # Where no worker runs, nobody else measures.
        await health.measure(core)
        return list(zip(accounts, await health.load([a.id for a in accounts]), strict=True))

    found = run(work)
    if as_json:
        put_json([{**_account(account), "health": condition} for account, condition in found])
        return
    put_table(
        ("gateway", "name", "plugin", "environment", "enabled", "health", "paid", "webhooks"),
        [
            (
                a.code,
                a.name,
                a.plugin_name,
                a.environment.lower(),
                a.enabled,
                _condition(condition),
                _percent(condition.success_rate),
                _webhook(a),
            )
            for a, condition in found
        ],
    )


@app.command()
def save(
    code: Annotated[str, typer.Argument(metavar="CODE", help="Such as mtn.")],
    plugin: Annotated[
        str | None, typer.Option(help="Its plugin; needed for a new gateway.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting; several times. KEY=@FILE and KEY=env:NAME keep a secret out of the "
            "list of processes.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What payers read.")] = None,
    environment: Annotated[
        Environment | None, typer.Option(case_sensitive=False, help="As this installation's.")
    ] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a gateway or change it. What is left out stays as it is.

    Where base_url changes to another host, every secret is given again.
    """
    config = _read_config(settings or [])

    async def work(core: Core, _url: str) -> Account:
        known = await _known(core, code)
        if known is None and plugin is None:
            raise typer.BadParameter(
                f"{code} is a new gateway: say which plugin serves it, "
                f"one of {', '.join(sorted(core.plugins.gateways)) or 'none installed'}.",
                param_hint="--plugin",
            )
        chosen = plugin or (known.plugin_name if known else "")
        return await core.gateways.save(
            OPERATOR,
            code=code,
            plugin=chosen,
            name=name or (known.name if known else core.plugins[chosen].description.name),
            environment=environment or core.settings.environment,
            config={**(known.shown_config if known else {}), **config},
            enabled=enabled if enabled is not None else known is None or known.enabled,
        )

    account = run(work)
    if as_json:
        put_json(_account(account))
        return
    say(f"{account.code} is saved. `dusangire gateways test {account.code}` tries it.")
    put_facts(
        {
            "gateway": account.code,
            "name": account.name,
            "plugin": account.plugin_name,
            "enabled": account.enabled,
            "webhooks": _webhook(account),
            **account.shown_config,
        }
    )


@app.command("test")
def try_(code: Annotated[str, typer.Argument(metavar="CODE")], as_json: AsJson = False) -> None:
    """Try a gateway's configuration, without moving money."""

    async def work(core: Core, _url: str) -> TestReport:
        return await core.gateways.test(OPERATOR, code)

    with progress(f"Asking {code} …"):
        report = run(work)
    if as_json:
        put_json({"code": code, "ok": report.ok, "message": report.message})
    else:
        typer.echo(f"{'ok' if report.ok else 'fail'}  {report.message}")
    if not report.ok:
        raise typer.Exit(1)


# ── reading settings ─────────────────────────────────────────────────────────────────────────────


def _read_config(settings: list[str]) -> dict[str, str]:
    config = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            # Not repeated in the message: it may be a secret without its name.
            raise typer.BadParameter("write it as KEY=VALUE.", param_hint="--set")
        config[key.strip()] = _read_value(key, value)
    return config


def _read_value(key: str, value: str) -> str:
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise typer.BadParameter(
                f"{key}: the file {value[1:]} cannot be read: {reason}.", param_hint="--set"
            ) from error
    if value.startswith("env:"):
        found = os.environ.get(value[4:])
        if found is None:
            raise typer.BadParameter(
                f"{key}: the environment variable {value[4:]} is not set.", param_hint="--set"
            )
        return found
    return value


async def _known(core: Core, code: str) -> Account | None:
    try:
        return await core.gateways.by_code(code.strip().lower())
    except GatewayNotFound:
        return None


# ── showing ──────────────────────────────────────────────────────────────────────────────────────


def _account(account: Account) -> dict[str, Any]:
    return {
        "code": account.code,
        "name": account.name,
        "plugin": account.plugin_name,
        "pluginInstalled": account.plugin is not None,
        "environment": account.environment,
        "enabled": account.enabled,
        "currencies": account.currencies,
        "capabilities": sorted(account.capabilities),
        "webhookUrl": account.webhook_url if _hears(account) else None,
        "webhookPath": _path(account) if _hears(account) else None,
        "config": account.shown_config,
    }


def _condition(condition: Health) -> str:
    words = condition.status.lower().replace("_", " ")
    return f"{words}, left alone" if condition.breaker is BreakerState.OPEN else words


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.0%}"


def _hears(account: Account) -> bool:
    return "CALLBACK" in account.capabilities


def _path(account: Account) -> str:
    return f"/webhooks/{account.code}/{account.webhook_token}"


def _webhook(account: Account) -> str:
    """The address; only its path while nobody knows where we can be reached."""
    return (account.webhook_url or _path(account)) if _hears(account) else ""


def _plugin(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "version": plugin.version,
        "title": plugin.description.name,
        "capabilities": sorted(plugin.capabilities),
        "needsPhone": plugin.description.needs_phone,
        "configSchema": plugin.description.config.model_json_schema(),
    }


def _keys(plugin: Plugin) -> Mapping[str, object]:
    return plugin.description.config.model_fields
