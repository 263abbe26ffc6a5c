"""dusangire doctor: one look at everything that is often wrong."""

import asyncio
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import typer

from dusangire import codes, health
from dusangire.access import OPERATOR, list_api_keys
from dusangire.audit.sealing import WAITING
from dusangire.books import self_check
from dusangire.breaker import BreakerState
from dusangire.codes import UnmappedCode
from dusangire.core import Core, open_core
from dusangire.database import fetch, migrate
from dusangire.errors import DusangireError
from dusangire.fiscalization import receipts
from dusangire.fiscalization.receipts import Unsigned
from dusangire.gateways import Account
from dusangire.health import Health, HealthStatus
from dusangire.invoicing import invoices, merchant
from dusangire.keyring import Keyring
from dusangire.settings import Settings
from dusangire_server.cli.output import AsJson, progress, put_json
from dusangire_server.cli.session import joined, read_settings

# Seconds a gateway has for an answer here.
_PATIENCE = 15.0
# A device that has not reached the tax authority for a day stops: half of it is left to see why.
_UNSIGNED_FOR = 12 * 3600
_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    name: str
    status: Verdict
    message: str
    fix: str | None = None


def command(as_json: AsJson = False) -> None:
    settings = read_settings()
    with progress("Looking …"):
        findings = list(_examine(settings))
    bad = any(finding.status is Verdict.FAIL for finding in findings)
    if as_json:
        put_json({"ok": not bad, "checks": findings})
    else:
        for finding in findings:
            _put(finding)
    if bad:
        raise typer.Exit(1)


def _put(finding: Finding) -> None:
    status = typer.style(f"{finding.status:<5}", fg=_COLORS[finding.status])
    typer.echo(f"{status} {finding.name:<12} {finding.message}")
    if finding.fix:
        typer.echo(f"{'':<19}→ {finding.fix}")


def _examine(settings: Settings) -> Iterator[Finding]:
    yield _keys(settings)
    try:
        with joined(settings) as url:
            yield from asyncio.run(_all(_with_database(settings, url)))
    except DusangireError as error:
        yield Finding("database", Verdict.FAIL, str(error), "See the message.")


async def _all(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


# ── without core ─────────────────────────────────────────────────────────────────────────────────


def _keys(settings: Settings) -> Finding:
    file = settings.home / "secret.keys"
    try:
        Keyring.open(settings)
    except DusangireError as error:
        return Finding("keys", Verdict.FAIL, str(error))
    if settings.secret_keys:
        return Finding("keys", Verdict.OK, "DUSANGIRE_SECRET_KEYS seals the gateways' secrets.")
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        return Finding("keys", Verdict.WARN, f"Others can read {file}.", f"chmod 600 {file}")
    return Finding("keys", Verdict.OK, f"{file} seals the gateways' secrets. Keep a copy of it.")


async def _with_database(settings: Settings, url: str) -> AsyncIterator[Finding]:
    missing = await migrate(url, check=True)
    if missing and settings.database_url is None:
        await migrate(url)
        missing = []
    if missing:
        yield Finding("database", Verdict.OK, "It answers.")
        lacks = f"{len(missing)} of them are missing."
        yield Finding("migrations", Verdict.FAIL, lacks, "dusangire migrate")
        return
    async with open_core(settings, url, connections=4) as core:
        yield await _database()
        yield Finding("migrations", Verdict.OK, "The tables are up to date.")
        yield await _clock()
        yield await _api_keys()
        yield await _merchant()
        yield await _numbers()
        yield await _worker()
        yield await _audit(settings)
        yield await _books()
        for name, error in core.plugins.broken.items():
            fix = f"dusangire plugins check {name}, or uninstall it"
            yield Finding("plugin", Verdict.FAIL, f"{name} cannot be loaded: {error}", fix)
        async for finding in _gateways(core):
            yield finding
        if core.plugins.fiscal is not None:
            yield receipts_finding(core.plugins.fiscal.description.name, await receipts.unsigned())


# ── with core ────────────────────────────────────────────────────────────────────────────────────


async def _database() -> Finding:
    [row] = await fetch("SELECT current_setting('server_version') AS version")
    return Finding("database", Verdict.OK, f"PostgreSQL {row['version']} answers.")


async def _clock() -> Finding:
    before = datetime.now(UTC)
    [row] = await fetch("SELECT clock_timestamp() AS now")
    # The database said it somewhere between our two looks at our own clock.
    middle = before + (datetime.now(UTC) - before) / 2
    off = abs((row["now"] - middle).total_seconds())
    if off < 2:
        return Finding(
            "clock", Verdict.OK, f"The database's clock is {off * 1000:.0f} ms off ours."
        )
    verdict = Verdict.FAIL if off > 30 else Verdict.WARN
    return Finding(
        "clock",
        verdict,
        f"The database's clock is {off:.0f} s off ours.",
        "Let NTP (chrony, systemd-timesyncd) set the clocks of both machines.",
    )


async def _api_keys() -> Finding:
    keys = [key for key in await list_api_keys(OPERATOR) if key.revoked_at is None]
    if not keys:
        fix = "dusangire keys create --name shop --scope PAYMENTS_READ --scope PAYMENTS_WRITE"
        return Finding("api keys", Verdict.WARN, "There is none, so nobody can call the API.", fix)
    return Finding("api keys", Verdict.OK, f"{len(keys)} can be used.")


async def _numbers() -> Finding:
    """Whether every number of an invoice and a credit note is there, once and in its turn."""
    lines = await invoices.gaps()
    broken = [line for line in lines if not line.whole]
    if not broken:
        issued = sum(line.issued for line in lines)
        return Finding("invoices", Verdict.OK, f"{issued} have numbers without gaps.")
    told = "; ".join(
        f"{line.name}: {line.reached} given, {line.issued} there from {line.first} to {line.last}, "
        f"{line.out_of_order} out of order"
        for line in broken
    )
    fix = "Somebody changed the tables by hand: compare them with a backup."
    return Finding("invoices", Verdict.FAIL, told, fix)


async def _merchant() -> Finding:
    found = await merchant.load()
    if found is None:
        fix = 'dusangire merchant set --name "…" --tin … --address "…"'
        return Finding("merchant", Verdict.WARN, "Invoices do not say who sells.", fix)
    missing = [name for name in ("tin", "address") if getattr(found, name) is None]
    if missing:
        fix = f"dusangire merchant set --{missing[0]} …"
        text = f"Invoices do not show the merchant's {' and '.join(missing)}.".replace("tin", "TIN")
        return Finding("merchant", Verdict.WARN, text, fix)
    return Finding("merchant", Verdict.OK, f"Invoices are from {found.name}, TIN {found.tin}.")


async def _books() -> Finding:
    """What the newest self-check found."""
    found = await self_check.last(OPERATOR)
    if found is None:
        return Finding("books", Verdict.OK, "Nobody has checked them yet: a worker does at night.")
    when = f"{found.checked_at:%Y-%m-%d %H:%M} UTC"
    if found.sound:
        return Finding("books", Verdict.OK, f"They agreed at {when}: {found.entries} entries.")
    first = found.breaks[0]
    told = f"They did not agree at {when}: {first.account} {first.currency}, {first.message}"
    return Finding("books", Verdict.FAIL, told, "dusangire books check")


async def _worker() -> Finding:
    """Whether anybody does the background work: the one who orders events holds a lock for it."""
    [row] = await fetch(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'dusangire sequencer') AS workers, "
        # What waits for a gateway that gives no answers is said of the gateway.
        "(SELECT count(*) FROM payment_attempt a LEFT JOIN gateway_health h USING (gateway_id) "
        "WHERE next_check_at < now() - interval '1 minute' AND coalesce(h.term % 2, 0) = 0) "
        "AS late"
    )
    if not row["workers"]:
        return Finding(
            "worker",
            Verdict.WARN,
            f"None is running; {row['late']} payments wait to be asked about.",
            "dusangire worker, or dusangire serve --with-worker",
        )
    if row["late"]:
        late = f"{row['late']} payments wait for more than a minute to be asked about."
        return Finding("worker", Verdict.WARN, late, "Run another dusangire worker.")
    return Finding("worker", Verdict.OK, f"{row['workers']} running, and nothing is late.")


async def _audit(settings: Settings) -> Finding:
    """Whether who did what is sealed, and whether somebody else knows how far."""
    [waiting] = await fetch(WAITING)
    if waiting["late"]:
        return Finding(
            "audit",
            Verdict.WARN,
            f"{waiting['late']} entries have waited for more than a minute to be sealed.",
            "Run a dusangire worker. If one runs, somebody else holds its lock: see pg_locks.",
        )
    if settings.live and settings.audit_head_file is None:
        return Finding(
            "audit",
            Verdict.WARN,
            "The head of the log is kept in our own log alone; without a head kept elsewhere "
            "nobody can prove that the last entries are as they were.",
            "Set DUSANGIRE_AUDIT_HEAD_FILE, or keep what `dusangire audit head` says.",
        )
    return Finding("audit", Verdict.OK, "Every entry is sealed within a minute.")


def receipts_finding(device: str, unsigned: Unsigned) -> Finding:
    """Whether the tax authority's device keeps up with what is sold."""
    name = "receipts"
    oldest = f"the oldest has waited for {unsigned.oldest_seconds / 3600:.0f} h"
    if unsigned.stopped is not None:
        return Finding(
            name,
            Verdict.FAIL,
            f"{device} signs nothing more, {unsigned.waiting} wait and {oldest}: "
            f"{unsigned.stopped}",
            "Correct what it says, then retryFiscalReceipt.",
        )
    if unsigned.needing:
        return Finding(
            name,
            Verdict.WARN,
            f"{unsigned.needing} need a person; {oldest}.",
            "fiscalReceipts(statuses: [REJECTED, NEEDS_RECEIPT]) lists them.",
        )
    if unsigned.oldest_seconds > _UNSIGNED_FOR:
        return Finding(
            name,
            Verdict.WARN,
            f"{unsigned.waiting} are not signed; {oldest}.",
            f"See whether {device} runs and reaches RRA: it stops after 24 h.",
        )
    return Finding(name, Verdict.OK, f"{device} has signed all but {unsigned.waiting}.")


async def _gateways(core: Core) -> AsyncIterator[Finding]:
    accounts = await core.gateways.all()
    if not accounts:
        fix = "dusangire gateways save CODE --plugin NAME --set KEY=VALUE …"
        yield Finding("gateways", Verdict.WARN, "None is configured.", fix)
    for finding in await asyncio.gather(*(_gateway(core, account) for account in accounts)):
        yield finding
    await health.measure(core)
    ids = [account.id for account in accounts]
    conditions = zip(accounts, await health.load(ids), await codes.load(ids), strict=True)
    for account, condition, unmapped in conditions:
        for finding in _condition(account, condition, codes.still_unmapped(account, unmapped)):
            yield finding
    hearing = [account.code for account in accounts if "CALLBACK" in account.capabilities]
    if hearing and core.settings.public_url is None:
        yield Finding(
            "webhooks",
            Verdict.WARN,
            f"{', '.join(hearing)} cannot reach us: payments are found out by asking only.",
            "Set DUSANGIRE_PUBLIC_URL to our address from outside.",
        )


def _condition(
    account: Account, condition: Health, unmapped: Sequence[UnmappedCode]
) -> Iterator[Finding]:
    """What payments and questions of the last hour show."""
    name = f"gateway {account.code}"
    why = f" Last error: {condition.last_error}." if condition.last_error else ""
    if condition.breaker is BreakerState.OPEN:
        yield Finding(
            name,
            Verdict.FAIL,
            f"It gives no answers, so new payments with it are refused.{why}",
            f"dusangire gateways test {account.code}; a worker looks by itself each minute",
        )
    elif condition.status in {HealthStatus.DOWN, HealthStatus.DEGRADED}:
        share = "All" if condition.status is HealthStatus.DOWN else "Half or more"
        yield Finding(
            name,
            Verdict.WARN,
            f"{share} of its payments of the last hour broke at the gateway.{why}",
            f"dusangire gateways test {account.code}; ask the provider",
        )
    if unmapped:
        words = ", ".join(f"{one.code} ({one.count}×)" for one in unmapped[:5])
        yield Finding(
            name,
            Verdict.WARN,
            f"It uses codes that the plugin {account.plugin_name} does not know: {words}.",
            "Tell the plugin's author.",
        )


async def _gateway(core: Core, account: Account) -> Finding:
    name = f"gateway {account.code}"
    if account.plugin is None or account.gateway is None:
        return Finding(
            name,
            Verdict.FAIL,
            f"Its plugin {account.plugin_name!r} is not installed, or its settings do not fit it.",
            f"Install the plugin, or dusangire gateways save {account.code} --set …",
        )
    if not account.enabled:
        return Finding(name, Verdict.OK, "Switched off.")
    try:
        async with asyncio.timeout(_PATIENCE):
            report = await core.gateways.test(OPERATOR, account.code)
    except TimeoutError:
        return Finding(
            name,
            Verdict.FAIL,
            f"It did not answer within {_PATIENCE:.0f} s.",
            f"dusangire gateways test {account.code}",
        )
    fix = None if report.ok else f"dusangire gateways save {account.code} --set …"
    return Finding(name, Verdict.OK if report.ok else Verdict.FAIL, report.message, fix)
