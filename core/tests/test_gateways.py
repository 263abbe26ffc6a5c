"""Configured gateways: their secrets stay secret, and they never reach where they must not."""

import asyncio
import json
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from core.tests.conftest import Clock, Script, Shop, open_shop, until
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from dusangire import hookimpl
from dusangire.access import OPERATOR, Actor
from dusangire.core import open_core
from dusangire.errors import (
    CallerError,
    CannotStart,
    Conflict,
    ErrorCode,
    Forbidden,
    GatewayNotFound,
)
from dusangire.gateway import Environment, Gateway, GatewayConfig, GatewayDescription, TestReport
from dusangire.gateways import Gateways
from dusangire.keyring import Keyring
from dusangire.permissions import Scope
from dusangire.settings import Settings

KEY_1 = "k1:" + "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
KEY_2 = "k2:" + "MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI="
CANARY = "canary-of-the-gateway-0001"
OTHER_CANARY = "canary-of-the-gateway-0002"


class BankConfig(GatewayConfig):
    base_url: str = Field("https://bank.example", description="Where the bank is.")
    client_id: str
    client_secret: SecretStr
    pin: SecretStr | None = None


class Bank(Script):
    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(name="Bank", config=BankConfig)

    @hookimpl
    async def test_gateway(self, gateway: Gateway[Any]) -> TestReport:
        secret = gateway.config.client_secret.get_secret_value()
        return TestReport(ok=secret == CANARY, message="tried")


@pytest.fixture
async def bank(tmp_path: Path, url: str) -> Any:
    async with open_shop(tmp_path, url, plugins={"savings": Bank()}) as shop:
        yield shop


async def save(shop: Shop, **changes: Any) -> Any:
    config = {"client_id": "shop", "client_secret": CANARY, **changes.pop("config", {})}
    given: dict[str, Any] = {
        "code": "savings",
        "plugin": "savings",
        "name": "The bank",
        "environment": Environment.TEST,
        "config": config,
        **changes,
    }
    return await shop.core.gateways.save(OPERATOR, **given)


class Strict(Script):
    """A gateway whose live keys are refused in test mode, and the other way round."""

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(name="Strict", config=StrictConfig)


class StrictConfig(GatewayConfig):
    key: str

    @field_validator("key")
    @classmethod
    def _of_this_environment(cls, key: str, info: ValidationInfo) -> str:
        environment = (info.context or {}).get("environment")
        if environment is not None and not key.startswith(environment.lower()):
            raise ValueError(f"this is no {environment.lower()} key")
        return key


async def test_a_config_can_refuse_the_keys_of_the_other_environment(
    tmp_path: Path, url: str
) -> None:
    async with open_shop(tmp_path, url, plugins={"strict": Strict()}) as shop:
        with pytest.raises(CallerError) as refused:
            await shop.save_gateway("strict", "strict", key="live-1")
        saved = await shop.save_gateway("strict", "strict", key="test-1")

        await shop.run(
            "UPDATE gateway_account SET config = jsonb_set(config, '{key}', '\"live-1\"'), "
            "version = version + 1 WHERE code = 'strict'"
        )
        await shop.core.gateways.reload()
        opened = await shop.account("strict")

    assert refused.value.code is ErrorCode.GATEWAY_CONFIGURATION
    assert refused.value.field == ("config", "key")
    assert saved.gateway is not None
    assert (opened.plugin, opened.gateway) == (None, None)


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_secret_is_shown_by_its_last_four_characters_only(bank: Shop) -> None:
    account = await save(bank)

    assert account.shown_config["client_secret"] == "•••0001"
    assert CANARY not in str(account.shown_config)


@pytest.mark.parametrize("secret", ["short", "eleven-long", ""])
async def test_of_a_short_secret_nothing_is_shown(bank: Shop, secret: str) -> None:
    account = await save(bank, config={"client_secret": secret})

    assert account.shown_config["client_secret"] == "•••"


async def test_no_table_holds_a_secret_in_clear(bank: Shop) -> None:
    account = await save(bank)
    tables = await bank.counts()

    dump = ""
    for table in tables:
        rows = await bank.rows(f'SELECT t::text AS line FROM "{table}" t')
        dump += " ".join(row["line"] for row in rows)

    assert CANARY not in dump
    assert account.webhook_token not in dump
    assert "client_secret" in dump


async def test_what_is_left_out_or_hidden_stays_as_it_was(bank: Shop) -> None:
    first = await save(bank)

    for config in ({}, {"client_secret": "•••0001"}, {"client_secret": "•••"}):
        saved = await bank.core.gateways.save(
            OPERATOR,
            code="savings",
            plugin="savings",
            name="Renamed",
            environment=Environment.TEST,
            config={"client_id": "shop", **config},
        )
        assert saved.gateway.config.client_secret.get_secret_value() == CANARY  # type: ignore[union-attr]

    assert saved.webhook_token == first.webhook_token
    assert (saved.id, saved.name) == (first.id, "Renamed")


@pytest.mark.parametrize(
    "address",
    ["https://evil.example", "https://bank.example:8443", "https://bank.example.evil.example/v1"],
)
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "client_secret, pin"),
        ({"client_secret": "•••0001", "pin": "•••"}, "client_secret, pin"),
        ({"client_secret": OTHER_CANARY}, "pin"),
    ],
    ids=str,
)
async def test_what_is_stored_is_not_sent_to_another_host(
    bank: Shop, address: str, given: dict[str, Any], named: str
) -> None:
    await save(bank, config={"pin": "1234-5678-9012"})
    before = await bank.rows("SELECT * FROM gateway_account ORDER BY code")

    with pytest.raises(CallerError) as refused:
        await bank.save_gateway("savings", "savings", client_id="shop", base_url=address, **given)

    assert refused.value.code is ErrorCode.GATEWAY_CONFIGURATION
    assert refused.value.field == ("config", named.partition(",")[0])
    assert refused.value.message.endswith(f": {named}.")
    assert await bank.rows("SELECT * FROM gateway_account ORDER BY code") == before


async def test_whoever_gives_the_secrets_again_may_move_a_gateway(bank: Shop) -> None:
    await save(bank, config={"pin": "1234-5678-9012"})

    moved = await save(bank, config={"base_url": "https://bank2.example", "pin": None})
    path = await bank.save_gateway(
        "savings", "savings", client_id="shop", base_url="https://BANK2.example:443/v2"
    )

    assert moved.gateway.config.base_url == "https://bank2.example"
    assert moved.gateway.config.pin is None
    assert path.gateway is not None
    assert path.gateway.config.client_secret.get_secret_value() == CANARY


async def test_a_new_secret_replaces_the_old_one_at_once(bank: Shop) -> None:
    await save(bank)
    assert (await bank.core.gateways.test(OPERATOR, "savings")).ok

    saved = await save(bank, config={"client_secret": OTHER_CANARY})

    assert saved.gateway.config.client_secret.get_secret_value() == OTHER_CANARY
    assert not (await bank.core.gateways.test(OPERATOR, "savings")).ok


async def test_the_audit_names_what_was_changed_and_not_the_values(bank: Shop) -> None:
    await save(bank)

    detail = await bank.value(
        "SELECT detail FROM audit_entry WHERE object = 'gateway:savings' ORDER BY id DESC LIMIT 1"
    )

    assert json.loads(detail)["changed"] == ["client_id", "client_secret"]
    assert CANARY not in detail


async def test_two_sealed_values_cannot_change_places(bank: Shop) -> None:
    await save(bank, config={"pin": "1234-5678-9012"})
    await save(bank, code="other", config={"pin": "1234-5678-9012"})

    await bank.run(
        "UPDATE gateway_account a SET secrets = b.secrets, version = a.version + 1 "
        "FROM gateway_account b WHERE a.code = 'savings' AND b.code = 'other'"
    )

    with pytest.raises(CannotStart, match="cannot be opened"):
        await bank.core.gateways.reload()


async def test_two_fields_cannot_change_places(bank: Shop) -> None:
    await save(bank, config={"pin": "1234-5678-9012"})

    await bank.run(
        "UPDATE gateway_account SET version = version + 1, secrets = jsonb_build_object("
        "'client_secret', secrets->'pin', 'pin', secrets->'client_secret', "
        "'webhook_token', secrets->'webhook_token') WHERE code = 'savings'"
    )

    with pytest.raises(CannotStart, match="cannot be opened"):
        await bank.core.gateways.reload()


@pytest.mark.parametrize("blob", ["", "k1", "k1:", "k1:AAAA", "k1:!!!", "dev:é", "dev:AAAA"])
async def test_a_damaged_value_says_which_one_it_is(bank: Shop, blob: str) -> None:
    account = await save(bank)
    await bank.run(
        "UPDATE gateway_account SET version = version + 1, "
        "secrets = jsonb_set(secrets, '{client_secret}', to_jsonb($1::text)) "
        "WHERE code = 'savings'",
        blob,
    )

    with pytest.raises(CannotStart, match=f"{account.id}.client_secret"):
        await bank.core.gateways.reload()


async def start(url: str, home: Path, keys: str | None) -> None:
    settings = Settings(home=home, secret_keys=keys)
    async with open_core(settings, url, plugins={"savings": Bank(), "script": Script()}):
        pass


async def test_with_a_wrong_key_the_process_does_not_start_and_names_the_key(
    tmp_path: Path, url: str
) -> None:
    async with open_shop(tmp_path, url, plugins={"savings": Bank()}, secret_keys=KEY_1) as shop:
        await save(shop)
        before = await shop.rows("SELECT * FROM gateway_account ORDER BY code")

    with pytest.raises(CannotStart, match="'k1'"):
        await start(url, tmp_path, KEY_2)
    with pytest.raises(CannotStart, match="'k1'"):
        await start(url, tmp_path, "k1:" + KEY_2.partition(":")[2])
    with pytest.raises(CannotStart, match="'k1'"):
        await start(url, tmp_path, None)

    await start(url, tmp_path, f"{KEY_2},{KEY_1}")
    assert await shop.rows("SELECT * FROM gateway_account ORDER BY code") == before


@pytest.mark.parametrize(
    "keys", ["k1", "k1:", ":AAAA", "k1:short", "k1:é", "k1:" + "A" * 44, "k 1:x", ",", "k1:AA,,"]
)
def test_a_key_that_is_none_is_named_and_never_shown(keys: str) -> None:
    with pytest.raises(CannotStart) as refused:
        Keyring.parse(keys)

    assert "DUSANGIRE_SECRET_KEYS" in str(refused.value)
    assert "short" not in str(refused.value).replace("with a key", "")


def test_live_mode_needs_a_key_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="DUSANGIRE_SECRET_KEYS is not set"):
        Keyring.open(Settings(home=tmp_path, environment=Environment.LIVE))

    assert not (tmp_path / "secret.keys").exists()


async def test_processes_that_start_together_for_the_first_time_have_one_key(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; from pathlib import Path; from dusangire.keyring import Keyring; "
        "from dusangire.settings import Settings; "
        "print(Keyring.open(Settings(home=Path(sys.argv[1]))).keys['dev'].hex())"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(6)
    ]

    keys = {(await process.communicate())[0] for process in processes}

    assert len(keys) == 1
    assert modes_in(tmp_path) == {"secret.keys": 0o600}


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


# ── saving ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"plugin": "nobody"}, "GATEWAY_NOT_FOUND", "plugin"),
        ({"code": ""}, "INVALID", "code"),
        ({"code": "a/b"}, "INVALID", "code"),
        ({"code": "ü"}, "INVALID", "code"),
        ({"code": "x" * 41}, "INVALID", "code"),
        ({"name": "\x00"}, "INVALID", "name"),
        ({"name": "x" * 101}, "INVALID", "name"),
        ({"environment": Environment.LIVE}, "GATEWAY_CONFIGURATION", "environment"),
        ({"config": {"client_id": None}}, "GATEWAY_CONFIGURATION", "config.client_id"),
        ({"config": {"typo": 1}}, "GATEWAY_CONFIGURATION", "config.typo"),
        ({"config": {"client_secret": 5}}, "GATEWAY_CONFIGURATION", "config.client_secret"),
        ({"config": {"currency": "XYZ"}}, "GATEWAY_CONFIGURATION", "config"),
        ({"config": {"min_amount": "0.5"}}, "GATEWAY_CONFIGURATION", "config"),
        ({"config": {"max_amount": "-1"}}, "GATEWAY_CONFIGURATION", "config"),
    ],
    ids=lambda value: ascii(value)[:50],
)
async def test_a_wrong_setting_is_named_and_nothing_is_saved(
    bank: Shop, changes: dict[str, Any], code: str, field: str
) -> None:
    before = await bank.counts()

    with pytest.raises(CallerError) as refused:
        await save(bank, **changes)

    assert (str(refused.value.code), ".".join(refused.value.field)) == (code, field)
    assert CANARY not in str(refused.value)
    assert await bank.counts() == before


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ADMIN])
async def test_only_admin_saves_and_tests(bank: Shop, scope: Scope) -> None:
    actor = Actor(kind="api_key", name="x", scopes=frozenset({scope}))

    with pytest.raises(Forbidden):
        await bank.core.gateways.save(
            actor,
            code="x",
            plugin="savings",
            name="x",
            environment=Environment.TEST,
            config={},
        )
    with pytest.raises(Forbidden):
        await bank.core.gateways.test(actor, "script")


async def test_a_code_stays_with_its_plugin(bank: Shop) -> None:
    await save(bank)

    with pytest.raises(CallerError) as refused:
        await save(bank, plugin="cash", config={})

    assert refused.value.field == ("plugin",)


async def test_two_who_create_the_same_gateway_at_once_leave_one_that_opens(bank: Shop) -> None:
    for n in range(10):
        answers = await asyncio.gather(
            *(save(bank, code=f"new-{n}") for _ in range(4)), return_exceptions=True
        )
        assert all(isinstance(one, Conflict) for one in answers if isinstance(one, BaseException))
        assert any(not isinstance(one, BaseException) for one in answers)

    core = bank.core
    restarted = Gateways(core.settings, core.keyring, core.plugins, core.clock)
    assert len(await restarted.all()) == 12
    await restarted.close()


async def test_who_saves_sees_what_was_saved_however_busy_the_others_are(bank: Shop) -> None:
    async def keep_reloading() -> None:
        while True:
            await bank.core.gateways.reload()

    readers = [asyncio.create_task(keep_reloading()) for _ in range(4)]

    for n in range(40):
        saved = await save(bank, name=f"Bank {n}")
        assert saved.name == f"Bank {n}"

    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)


async def test_another_process_sees_the_change_within_seconds(bank: Shop) -> None:
    await save(bank)
    await bank.core.gateways.by_code("savings")
    await bank.run(
        "UPDATE gateway_account SET name = 'Elsewhere', version = version + 1 "
        "WHERE code = 'savings'"
    )

    async def seen() -> bool:
        return (await bank.core.gateways.by_code("savings")).name == "Elsewhere"

    await until(seen, within=5)


async def test_a_gateway_without_its_plugin_is_shown_and_not_used(bank: Shop) -> None:
    await save(bank)
    await bank.run("UPDATE gateway_account SET plugin = 'gone', version = version + 1")
    await bank.core.gateways.reload()

    account = await bank.core.gateways.by_code("savings")

    assert (account.plugin, account.capabilities) == (None, frozenset())
    assert not (await bank.core.gateways.test(OPERATOR, "savings")).ok
    with pytest.raises(CallerError) as refused:
        await bank.create()
    assert refused.value.code is ErrorCode.GATEWAY_CONFIGURATION


async def test_a_config_that_its_plugin_no_longer_takes_leaves_only_that_one_out(
    bank: Shop,
) -> None:
    await save(bank)
    await bank.run(
        "UPDATE gateway_account SET config = config || '{\"old\": 1}', version = version + 1 "
        "WHERE code = 'savings'"
    )
    await bank.core.gateways.reload()

    assert (await bank.core.gateways.by_code("savings")).plugin is None
    assert (await bank.core.gateways.by_code("script")).plugin is not None


async def test_an_unknown_gateway_is_named(bank: Shop) -> None:
    with pytest.raises(GatewayNotFound, match="nobody"):
        await bank.core.gateways.by_code("nobody")


# ── live and test ────────────────────────────────────────────────────────────────────────────────


async def test_a_test_gateway_takes_no_payment_in_live_mode(tmp_path: Path, url: str) -> None:
    async with open_shop(tmp_path, url, secret_keys=KEY_1) as shop:
        await shop.create()
    settings = Settings(home=tmp_path, secret_keys=KEY_1, environment=Environment.LIVE)
    script = Script()

    async with open_core(settings, url, plugins={"script": script}, clock=Clock()) as core:
        live = replace(shop, core=core, script=script)
        with pytest.raises(CallerError) as refused:
            await live.create(idempotency_key="live")
        with pytest.raises(CallerError) as kept:
            await core.gateways.save(
                OPERATOR,
                code="script",
                plugin="script",
                name="Script",
                environment=Environment.LIVE,
                config={},
            )

    assert refused.value.code is ErrorCode.GATEWAY_CONFIGURATION
    assert kept.value.field == ("environment",)
    assert script.calls == []


# ── where a gateway may be ───────────────────────────────────────────────────────────────────────

INSIDE = [
    "https://127.0.0.1",
    "https://127.1",
    "https://0",
    "https://0.0.0.0",
    "https://2130706433",
    "https://0x7f000001",
    "https://0x7f.1",
    "https://127.0.0.0x1",
    "https://017700000001",
    "https://0177.0.0.1",
    "https://[::1]",
    "https://[::]",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[64:ff9b::7f00:1]",
    "https://[2002:7f00:1::]",
    "https://[fe80::1]",
    "https://[fd00::1]",
    "https://localhost",
    "https://LOCALHOST.",
    "https://a.localhost",
    "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.1",
    "https://172.16.0.1",
    "https://192.168.1.1",
    "https://100.64.0.1",
    "https://224.0.0.1",
    "https://[ff0e::1]",
    "https://user:pass@127.0.0.1",
    "https://bank.example@127.0.0.1",
    "https://127。0。0。1",
    "https://１２７.0.0.1",
    "https://postgres",
    "https://metadata.google.internal",
    "https://printer.local",
    "http://bank.example",
    "ftp://bank.example",
    "file:///etc/passwd",
    "gopher://bank.example",
    "//bank.example",
    "bank.example",
    "https://",
    "https://[",
    "https://[::1",
]


@pytest.mark.parametrize("address", INSIDE)
async def test_in_live_mode_a_gateway_is_at_a_public_https_address(
    tmp_path: Path, url: str, address: str
) -> None:
    settings = Settings(home=tmp_path, secret_keys=KEY_1, environment=Environment.LIVE)
    async with open_core(settings, url, plugins={"savings": Bank()}) as core:
        with pytest.raises(CallerError) as refused:
            await core.gateways.save(
                OPERATOR,
                code="savings",
                plugin="savings",
                name="Bank",
                environment=Environment.LIVE,
                config={"client_id": "x", "client_secret": CANARY, "base_url": address},
            )

        assert refused.value.field == ("config", "base_url")
        assert await core.gateways.all() == []


@pytest.mark.parametrize(
    "address",
    [
        "https://bank.example",
        "https://api.bank.co.rw:8443/v1",
        "https://8.8.8.8",
        "https://bank.xn--p1ai",
    ],
)
async def test_in_live_mode_a_public_address_is_taken(
    tmp_path: Path, url: str, address: str
) -> None:
    settings = Settings(home=tmp_path, secret_keys=KEY_1, environment=Environment.LIVE)
    async with open_core(settings, url, plugins={"savings": Bank()}) as core:
        saved = await core.gateways.save(
            OPERATOR,
            code="savings",
            plugin="savings",
            name="Bank",
            environment=Environment.LIVE,
            config={"client_id": "x", "client_secret": CANARY, "base_url": address},
        )

    assert saved.shown_config["base_url"] == address


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("http://127.0.0.1:9000/simulators/bank", True),
        ("http://localhost:9000", True),
        ("http://[::1]:9000", True),
        ("", True),
        ("http://169.254.169.254", False),
        ("https://169.254.169.254", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
    ],
)
async def test_in_test_mode_a_simulator_may_be_on_this_machine_and_nowhere_near(
    bank: Shop, address: str, taken: bool
) -> None:
    try:
        await save(bank, config={"base_url": address})
        was_taken = True
    except CallerError:
        was_taken = False

    assert was_taken is taken
