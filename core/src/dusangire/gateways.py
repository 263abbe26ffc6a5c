"""The configured gateways: saved with sealed secrets, kept open in memory, tested on request."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import orjson
import structlog
from pydantic import SecretStr, ValidationError

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.database import Row, fetch, spawn
from dusangire.egress import Egress, NotAllowed
from dusangire.errors import (
    AmountOutOfLimits,
    CallerError,
    Conflict,
    CurrencyNotSupported,
    GatewayConfiguration,
    GatewayNotFound,
    Invalid,
)
from dusangire.exchanges import note, open_client
from dusangire.gateway import Clock, Environment, Gateway, GatewayConfig, TestReport
from dusangire.health import Health
from dusangire.history import Payers
from dusangire.keyring import Keyring
from dusangire.masking import HIDDEN
from dusangire.money import Money, exponent
from dusangire.permissions import Permission
from dusangire.plugins import Capability, Plugin, Plugins
from dusangire.settings import Settings
from dusangire.text import clean
from dusangire.tokens import TokenCache
from dusangire.watch import WATCH_COLUMNS, Seen, Watch

log = structlog.get_logger(__name__)

# How long a process may not notice that another one changed a gateway.
MEMORY = 2.0
# How often a code that nobody knows is looked up again.
FRESH = 0.2
# Calls that may wait for a free place at one gateway, however quick it is.
MAX_WAITING = 500
# Nobody who asks for a payment waits longer than this for the first answer (see MAX_WAIT_MS), and
# a prompt that reaches the payer's phone later than that finds nobody.
PATIENCE = 10.0


@dataclass(slots=True)
class Places:
    """The places at one gateway: so many calls at a time, however slow it is.

    taken: since when each place is taken, by the task that has it; on the monotonic clock.
    """

    limit: int
    semaphore: asyncio.Semaphore
    waiting: int = 0
    taken: dict["asyncio.Task[Any] | None", float] = field(default_factory=dict)
    _usual: float = 0

    @property
    def free(self) -> int:
        return max(0, self.limit - len(self.taken) - self.waiting)

    @property
    def crowded(self) -> bool:
        """Whether one more would wait for longer than makes sense."""
        return self.waiting >= MAX_WAITING or (self.free == 0 and self.wait > PATIENCE)

    @property
    def wait(self) -> float:
        """About how many seconds the next one waits for its place."""
        # A gateway that hangs shows in the calls under way, before the first of them has ended.
        now = time.monotonic()
        lasting = sum(now - since for since in self.taken.values()) / self.limit
        return (self.waiting + 1) / self.limit * max(self._usual, lasting)

    async def __aenter__(self) -> None:
        self.waiting += 1
        try:
            await self.semaphore.acquire()
        finally:
            self.waiting -= 1
        self.taken[asyncio.current_task()] = time.monotonic()

    async def __aexit__(self, *_error: object) -> None:
        took = time.monotonic() - self.taken.pop(asyncio.current_task())
        # The latest dozen or so counts.
        self._usual += (took - self._usual) / 8
        self.semaphore.release()


@dataclass(frozen=True, kw_only=True)
class Account:
    """A configured gateway, ready to be called.

    plugin: None when the plugin that serves it is not installed any more.
    webhook_token: 128 random bits in the path that its webhooks come by.
    told: its condition as an event told it; None: as it is now.
    """

    id: UUID
    code: str
    name: str
    plugin_name: str
    plugin: Plugin | None
    environment: Environment
    enabled: bool
    version: int
    gateway: Gateway[Any] | None
    webhook_token: str
    webhook_url: str | None
    shown_config: Mapping[str, Any]
    places: Places
    watch: Watch
    told: Health | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.plugin.capabilities if self.plugin else frozenset()

    @property
    def currencies(self) -> tuple[str, ...]:
        return (self.gateway.config.currency,) if self.gateway else ()

    @property
    def looks_first(self) -> bool:
        """Whether the payer can be checked before anything is asked of them."""
        return self.plugin is not None and self.plugin.implements("check_payer")

    @property
    def call_timeout(self) -> float:
        return self.plugin.description.call_timeout if self.plugin else 60


@dataclass
class Gateways:
    """All configured gateways of this process's environment, by code and by id.

    observers: are told of every call of a hook.
    """

    settings: Settings
    keyring: Keyring
    plugins: Plugins
    clock: Clock
    transport: Any = None
    observers: list[Callable[[Account, Seen], None]] = field(default_factory=list)
    _accounts: dict[UUID, Account] = field(default_factory=dict)
    _loaded_at: float = float("-inf")
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def _egress(self) -> Egress:
        return Egress.of_gateways(self.settings)

    async def by_code(self, code: str) -> Account:
        """Raises GatewayNotFound."""
        found = self._find(code, await self.all())
        if found is None and time.monotonic() - self._loaded_at > FRESH:
            # Another process may have saved it since.
            await self.reload()
            found = self._find(code, self._accounts.values())
        if found is not None:
            return found
        raise GatewayNotFound(f"There is no gateway {code[:40]!r}. The gateways query lists them.")

    def _find(self, code: str, accounts: Iterable[Account]) -> Account | None:
        return next((account for account in accounts if account.code == code), None)

    async def by_id(self, gateway_id: UUID) -> Account:
        if gateway_id not in self._accounts:
            await self.reload()
        return self._accounts[gateway_id]

    async def all(self) -> list[Account]:
        """Every gateway, as it was at most two seconds ago."""
        if time.monotonic() - self._loaded_at > MEMORY:
            await self.reload()
        return list(self._accounts.values())

    async def reload(self) -> None:
        """Reads what changed. Raises CannotStart when a secret cannot be opened."""
        asked_at = time.monotonic()
        async with self._loading:
            if self._loaded_at > asked_at:
                return
            started_at = time.monotonic()
            rows = await fetch(
                f"SELECT a.*, {WATCH_COLUMNS} FROM gateway_account a "
                "LEFT JOIN gateway_health h ON h.gateway_id = a.id ORDER BY a.code"
            )
            accounts: dict[UUID, Account] = {}
            for row in rows:
                known = self._accounts.get(row["id"])
                if known is None or known.version != row["version"]:
                    if known is not None and known.gateway is not None:
                        # Calls under way still use the old client; it is closed when they ended.
                        spawn(_close_later(known), name=f"close {known.code}")
                    known = self._open(row, known)
                known.watch.learn(row)
                accounts[row["id"]] = known
            self._accounts = accounts
            # What was committed while we read may be missing: whoever asked since reads again.
            self._loaded_at = started_at

    async def close(self) -> None:
        for account in self._accounts.values():
            if account.gateway is not None:
                await account.gateway.http.aclose()

    async def save(
        self,
        actor: Actor,
        *,
        code: str,
        plugin: str,
        name: str,
        environment: Environment,
        config: Mapping[str, Any],
        enabled: bool = True,
    ) -> Account:
        """Creates or changes a gateway. Secrets that are left out or hidden stay as they are,
        unless `base_url` leads to another host: nobody is sent what was not given for them.

        Raises Forbidden, Invalid, GatewayNotFound (no such plugin), GatewayConfiguration.
        """
        actor.require(Permission.CONFIGURE_GATEWAYS)
        code, name = _code(code), clean(name, "name", limit=100)
        installed = self._plugin(plugin)
        if environment is not self.settings.environment:
            raise GatewayConfiguration(
                f"This installation runs in {self.settings.environment.lower()} mode; "
                f"a {environment.lower()} gateway would mix real money with play money.",
                field=["environment"],
            )
        rows = await fetch("SELECT * FROM gateway_account WHERE code = $1", code)
        row = rows[0] if rows else None
        if row is not None and row["plugin"] != plugin:
            raise GatewayConfiguration(
                f"{code} is served by the plugin {row['plugin']}. Use another code.",
                field=["plugin"],
            )
        if row is not None and row["environment"] != environment:
            raise GatewayConfiguration(
                f"{code} is a {row['environment'].lower()} gateway and stays one: its payments "
                "are. Use another code.",
                field=["environment"],
            )
        gateway_id = row["id"] if row else uuid4()
        kept = self._secrets(row) if row else {"webhook_token": secrets.token_urlsafe(16)}
        given = {key: value for key, value in config.items() if not _hidden(value)}
        # A setting that a new version of the plugin no longer has is forgotten with this.
        known = set(installed.description.config.model_fields) - {"webhook_token"}
        values = {**{key: kept[key] for key in known & set(kept)}, **given}
        parsed = _parse(installed, values, environment)
        _check_address(parsed, self._egress)
        plain, secret = _split(parsed)
        if row is not None:
            _check_secrets(orjson.loads(row["config"]), plain, set(secret) - set(given), parsed)
        sealed = {
            key: self.keyring.seal(value, owner=str(gateway_id), field=key)
            for key, value in {**secret, "webhook_token": kept["webhook_token"]}.items()
        }
        saved = await fetch(
            f"""WITH saved AS (
                INSERT INTO gateway_account
                    (id, code, name, plugin, environment, enabled, config, secrets)
                VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb)
                ON CONFLICT (code) DO UPDATE SET name = $3, enabled = $6, config = $7::jsonb,
                    secrets = $8::jsonb, version = gateway_account.version + 1, updated_at = now()
                WHERE gateway_account.id = $1 AND gateway_account.version = $15
                RETURNING id
            ), audit AS (
                INSERT INTO audit_entry {AUDIT_COLUMNS}
                SELECT $9, $10, $11, $12, $13::jsonb, $14 FROM saved
            ), probe AS (
                -- Perhaps this is the repair: one that gave no answers is looked at now.
                UPDATE gateway_health SET probe_at = now()
                WHERE gateway_id = $1 AND probe_at > now() AND EXISTS (SELECT FROM saved)
            )
            SELECT id FROM saved""",
            gateway_id,
            code,
            name,
            plugin,
            environment,
            enabled,
            orjson.dumps(plain).decode(),
            orjson.dumps(sealed).decode(),
            *audit_values(
                actor.kind,
                actor.name,
                "gateway.saved",
                f"gateway:{code}",
                {"plugin": plugin, "enabled": enabled, "changed": sorted(given)},
            ),
            row["version"] if row else 0,
        )
        if not saved:
            # Secrets sealed for one row cannot be opened in another: nothing may be mixed.
            raise Conflict
        await self.reload()
        return await self.by_code(code)

    async def test(self, actor: Actor, code: str) -> TestReport:
        """Tries a gateway without moving money. Raises Forbidden, GatewayNotFound."""
        actor.require(Permission.CONFIGURE_GATEWAYS)
        account = await self.by_code(code)
        if account.plugin is None or account.gateway is None:
            return TestReport(
                ok=False, message=f"The plugin {account.plugin_name!r} is not installed."
            )
        return await account.plugin.test_gateway(account.gateway)

    def _plugin(self, name: str) -> Plugin:
        try:
            return self.plugins[name]
        except GatewayNotFound as error:
            raise GatewayNotFound(error.message, field=["plugin"]) from error

    def _secrets(self, row: Row) -> dict[str, str]:
        return {
            key: self.keyring.unseal(blob, owner=str(row["id"]), field=key)
            for key, blob in orjson.loads(row["secrets"]).items()
        }

    def _open(self, row: Row, known: Account | None) -> Account:
        plugin = self.plugins.gateways.get(row["plugin"])
        opened = self._secrets(row)
        token = opened.pop("webhook_token")
        plain = orjson.loads(row["config"])
        url = self.settings.public_url
        webhook_url = f"{url}/webhooks/{row['code']}/{token}" if url else None
        account = Account(
            id=row["id"],
            code=row["code"],
            name=row["name"],
            plugin_name=row["plugin"],
            plugin=plugin,
            environment=Environment(row["environment"]),
            enabled=row["enabled"],
            version=row["version"],
            gateway=None,
            webhook_token=token,
            webhook_url=webhook_url,
            shown_config={**plain, **{key: _shown(value) for key, value in opened.items()}},
            places=known.places if known else _places(plugin),
            watch=known.watch if known else Watch(),
        )
        if plugin is None:
            log.error("gateway without its plugin", gateway=row["code"], plugin=row["plugin"])
            return account
        try:
            config = _parse(plugin, {**plain, **opened}, account.environment)
        except GatewayConfiguration as error:
            log.error("gateway left out", gateway=row["code"], error=error.message)  # noqa: TRY400
            return replace(account, plugin=None)
        return replace(
            account, gateway=self._gateway(account, plugin, config, [*opened.values(), token])
        )

    def _gateway(
        self, account: Account, plugin: Plugin, config: GatewayConfig, hidden: list[str]
    ) -> Gateway[Any]:
        # Without a webhook hook there is nobody to listen to what the provider would send.
        hears = plugin.implements("read_webhook")
        return Gateway(
            code=account.code,
            environment=account.environment,
            config=config,
            http=open_client(
                getattr(config, "base_url", ""),
                secrets=hidden,
                transport=self.transport
                or self._egress.transport(connections=plugin.description.concurrency),
                timeout=plugin.description.call_timeout / 2,
                connections=plugin.description.concurrency,
            ),
            tokens=TokenCache(self.clock),
            webhook_url=account.webhook_url if hears else None,
            clock=self.clock,
            log=log.bind(gateway=account.code),
            public_url=self.settings.public_url,
            history=Payers(account.environment),
            note=partial(note, secrets=hidden),
        )


def check_amount(account: Account, money: Money) -> None:
    """Raises CurrencyNotSupported and AmountOutOfLimits, before anything is sent."""
    if account.gateway is None:
        raise GatewayConfiguration(f"{account.name} cannot be used: see `gateways test`.")
    config: GatewayConfig = account.gateway.config
    if money.currency != config.currency:
        raise CurrencyNotSupported(f"{account.name} takes {config.currency}, not {money.currency}.")
    least = Money.parse(config.min_amount, config.currency) if config.min_amount else None
    most = Money.parse(config.max_amount, config.currency) if config.max_amount else None
    if least is not None and money.minor < least.minor:
        raise AmountOutOfLimits(f"{account.name} takes {least} or more.")
    if most is not None and money.minor > most.minor:
        raise AmountOutOfLimits(f"{account.name} takes at most {most} at a time.")


def _places(plugin: Plugin | None) -> Places:
    limit = plugin.description.concurrency if plugin else 1
    return Places(limit, asyncio.Semaphore(limit))


async def _close_later(account: Account) -> None:
    assert account.gateway is not None
    await asyncio.sleep(account.call_timeout)
    await account.gateway.http.aclose()


def _code(text: str) -> str:
    code = clean(text, "code", limit=40)
    if not code.replace("-", "").replace("_", "").isalnum() or not code.isascii():
        raise Invalid("A gateway code has letters, digits, - and _ only.", field=["code"])
    return code.lower()


def _parse(plugin: Plugin, values: Mapping[str, Any], environment: Environment) -> GatewayConfig:
    try:
        # So that a config can tell live keys from test keys: `info.context["environment"]`.
        config = plugin.description.config.model_validate(
            dict(values), context={"environment": environment}
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = [str(part) for part in first["loc"]]
        raise GatewayConfiguration(
            f"{'.'.join(path) or 'config'}: {first['msg']}.", field=["config", *path]
        ) from None
    try:
        exponent(config.currency)
        for limit in ("min_amount", "max_amount"):
            if (value := getattr(config, limit)) is not None:
                Money.parse(value, config.currency)
    except CallerError as error:
        raise GatewayConfiguration(error.message, field=["config"]) from error
    return config


def _split(config: GatewayConfig) -> tuple[dict[str, Any], dict[str, str]]:
    """The config's plain values and its secrets."""
    secret = {
        key: value.get_secret_value() for key, value in config if isinstance(value, SecretStr)
    }
    plain = config.model_dump(mode="json", exclude=set(secret), exclude_none=True)
    return plain, secret


def _check_address(config: GatewayConfig, egress: Egress) -> None:
    """A gateway's address is https and public; loopback is for simulators in test mode."""
    address = getattr(config, "base_url", None)
    if not address:
        return
    try:
        egress.read(str(address))
    except NotAllowed as error:
        raise GatewayConfiguration(
            "base_url must be a public https address. Loopback addresses are for simulators, "
            f"in test mode. {error}",
            field=["config", "base_url"],
        ) from error


def _check_secrets(
    before: Mapping[str, Any], after: Mapping[str, Any], kept: Iterable[str], config: GatewayConfig
) -> None:
    """Secrets are write-only: an address of somebody else would read them."""
    if _origin(before.get("base_url")) == _origin(after.get("base_url")):
        return
    fields = type(config).model_fields
    # What a plugin itself says is no secret.
    missing = sorted(name for name in kept if getattr(config, name) != fields[name].default)
    if missing:
        raise GatewayConfiguration(
            "base_url leads to another host than before, which must not learn the secrets that "
            f"are stored. Give these again with it: {', '.join(missing)}.",
            field=["config", missing[0]],
        )


def _origin(url: object) -> tuple[str, str | None, int | None]:
    parts = urlsplit(str(url or ""))
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _shown(secret: str) -> str:
    return f"{HIDDEN}{secret[-4:]}" if len(secret) >= 12 else HIDDEN


def _hidden(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(HIDDEN)
