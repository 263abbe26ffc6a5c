"""A wrong account is named in plain words, with what to do; a wrong setting is not accepted."""

from dataclasses import replace
from typing import Any

import pytest
from plugins.card.tests.conftest import Bench
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from dusangire.gateway import Environment, Gateway
from dusangire.plugins import Plugin
from dusangire.testing.rig import free_port, serve
from dusangire_card.config import CardConfig

LIVE_KEY = "FLWSECK-0123456789abcdef-X"
TEST_KEY = "FLWSECK_TEST-0123456789abcdef-X"


def config(plugin: Plugin, context: Any = None, **changes: object) -> CardConfig:
    example = {
        **(plugin.description.example_config or {}),
        "base_url": "https://api.flutterwave.com/v3",
    }
    return CardConfig.model_validate({**example, **changes}, context=context)


# ── the key ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "environment", "fits"),
    [
        (TEST_KEY, Environment.TEST, True),
        (LIVE_KEY, Environment.LIVE, True),
        (LIVE_KEY, Environment.TEST, False),
        (TEST_KEY, Environment.LIVE, False),
    ],
)
def test_a_key_is_saved_only_for_the_money_it_moves(
    plugin: Plugin, key: str, environment: Environment, fits: bool
) -> None:
    context = {"environment": environment}

    if fits:
        assert config(plugin, context, secret_key=key).fits(environment)
    else:
        with pytest.raises(ValidationError, match="secret_key") as raised:
            config(plugin, context, secret_key=key)
        assert "0123456789" not in str(raised.value.errors(include_input=False))
    assert config(plugin, secret_key=key).fits(environment) is fits


@pytest.mark.parametrize(
    "key", ["FLWPUBK_TEST-0123456789abcdef-X", "FLWPUBK-0123-X", "", "flwseck-1", "sk_live_1"]
)
def test_another_kind_of_key_is_refused(plugin: Plugin, key: str) -> None:
    with pytest.raises(ValidationError, match="FLWSECK"):
        config(plugin, secret_key=key)


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"base_url": "http://api.flutterwave.com/v3"}, id="not encrypted"),
        pytest.param({"base_url": "api.flutterwave.com/v3"}, id="no scheme"),
        pytest.param({"base_url": "https://me:secret@flutterwave.com"}, id="with a password"),
        pytest.param({"base_url": ""}, id="nothing"),
        pytest.param({"redirect_base_url": "http://shop.example.rw"}, id="a return in the open"),
        pytest.param({"redirect_base_url": "https://shop.example.rw?x=1"}, id="with a query"),
        pytest.param({"webhook_secret_hash": "short"}, id="a hash to guess"),
        pytest.param({"email_domain": "example"}, id="no domain"),
        pytest.param({"email_domain": "a@example.rw"}, id="an address"),
        pytest.param({"session_minutes": 0}, id="no time"),
        pytest.param({"session_minutes": 1441}, id="longer than a day"),
        pytest.param({"max_attempts": 0}, id="no card"),
        pytest.param({"link_hosts": []}, id="nowhere to go"),
        pytest.param({"link_hosts": ["com"]}, id="a whole top-level domain"),
        pytest.param({"link_hosts": ["https://flutterwave.com"]}, id="an address for a host"),
        pytest.param({"brand_logo_url": "http://shop.example.rw/x.png"}, id="a picture"),
        pytest.param({"provider": "stripe"}, id="another provider"),
        pytest.param({"card_number": "x"}, id="a setting there is not"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused(
    plugin: Plugin, changes: dict[str, object]
) -> None:
    with pytest.raises(ValidationError):
        config(plugin, **changes)


def test_hosts_can_be_one_text(plugin: Plugin) -> None:
    hosts = config(plugin, link_hosts="flutterwave.com, pay.example.rw").link_hosts

    assert hosts == ("flutterwave.com", "pay.example.rw")


def test_there_is_no_hidden_address(plugin: Plugin) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        CardConfig.model_validate(plugin.description.example_config)


def test_secrets_are_not_shown(plugin: Plugin) -> None:
    assert "simulated" not in repr(config(plugin))


def test_no_setting_and_no_detail_asks_for_a_card(plugin: Plugin) -> None:
    assert not plugin.description.details.model_fields
    words = " ".join(CardConfig.model_fields).lower()
    assert not any(word in words for word in ("pan", "cvv", "cvc", "number", "expiry"))


# ── trying it ────────────────────────────────────────────────────────────────────────────────────


async def report(bench: Bench, gateway: Gateway[Any] | None = None) -> tuple[bool, str]:
    told = await bench.plugin.test_gateway(gateway or bench.gateway)
    assert "simulated-" not in told.message
    return told.ok, told.message


@pytest.mark.parametrize("http", [200, 400, 404])
async def test_a_right_account_is_accepted_and_nothing_moves(bench: Bench, http: int) -> None:
    await bench.simulated.tell("settings", not_found_http=http)

    ok, message = await report(bench)

    assert ok
    assert "play money" in message
    assert not (await bench.simulated.truth())["transactions"]


async def test_without_webhooks_it_says_so_and_with_them_what_to_set(bench: Bench) -> None:
    heard = replace(bench.gateway, webhook_url="https://pay.example.rw/webhooks/card/s3cr3t-path")

    _, without = await report(bench)
    _, with_them = await report(bench, heard)

    assert "by asking" in without
    assert "dashboard" in with_them
    assert "s3cr3t-path" not in with_them


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("secret_key", "FLWSECK_TEST-wrong-X", "secret_key"),
        ("base_url", "https://card.invalid/v3", "Check base_url"),
    ],
)
async def test_a_wrong_setting_is_named(bench: Bench, setting: str, value: str, words: str) -> None:
    ok, message = await report(bench, bench.simulated.configured(**{setting: value}))

    assert not ok
    assert words in message


async def test_an_address_where_nobody_is_is_named(bench: Bench) -> None:
    gateway = bench.simulated.configured(base_url=f"http://127.0.0.1:{free_port()}")

    ok, message = await report(bench, gateway)

    assert not ok
    assert "could not be reached" in message


async def test_the_key_of_the_other_environment_is_named(bench: Bench) -> None:
    ok, message = await report(bench, replace(bench.gateway, environment=Environment.LIVE))

    assert not ok
    assert "live key" in message


async def test_in_live_mode_a_missing_return_address_is_named(bench: Bench) -> None:
    gateway = bench.simulated.configured(secret_key=LIVE_KEY)

    ok, message = await report(bench, replace(gateway, environment=Environment.LIVE))

    assert not ok
    assert "redirect_base_url" in message


@pytest.mark.parametrize("status", [200, 403])
async def test_a_page_in_flutterwaves_place_is_named(bench: Bench, status: int) -> None:
    async def page(_request: Request) -> Response:
        return HTMLResponse("<h1>Request Rejected</h1>", status_code=status)

    async with serve(Starlette(routes=[Route("/{path:path}", page)])) as url:
        ok, message = await report(bench, bench.simulated.configured(base_url=url))

    assert not ok
    assert "Something else than Flutterwave" in message


async def test_a_busy_flutterwave_is_no_wrong_setting(bench: Bench) -> None:
    await bench.simulated.tell("faults", unavailable=1)

    ok, message = await report(bench)

    assert not ok
    assert "Try again later" in message
