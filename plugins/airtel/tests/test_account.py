"""A wrong account is named in plain words, with what to do; a wrong setting is not accepted."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated, serve, simulate
from dusangire_airtel.config import AirtelConfig

HOOK = "https://pay.example.rw/webhooks/airtel/c0ffee"


@pytest.fixture
async def airtel(plugin: Plugin) -> AsyncIterator[Simulated]:
    """As the others, with an address for callbacks."""
    async with simulate(plugin, webhook_url=HOOK) as simulated:
        yield simulated


async def report(airtel: Simulated, **changes: object) -> tuple[bool, str]:
    told = await airtel.plugin.test_gateway(airtel.configured(**changes))
    return told.ok, told.message


async def test_a_right_account_is_accepted(airtel: Simulated) -> None:
    assert await report(airtel) == (True, "Airtel accepts the application.")


async def test_a_right_account_that_signs_is_accepted(airtel: Simulated) -> None:
    ok, message = await report(airtel, message_signing=True)

    assert (ok, message) == (True, "Airtel accepts the application with message signing.")


async def test_it_says_what_callbacks_lack(airtel: Simulated) -> None:
    ok, message = await report(airtel, callback_hash_key=None)
    unreachable = replace(airtel.configured(), webhook_url=None)
    told = await airtel.plugin.test_gateway(unreachable)

    assert ok
    assert "set callback_hash_key" in message
    assert told.ok
    assert "by asking" in told.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_secret": "wrong"}, "client_id or client_secret"),
        ({"client_id": "wrong"}, "client_id or client_secret"),
        ({"country": "UG"}, "Correct country"),
        ({"currency": "UGX"}, "Correct currency"),
        ({"base_url": "http://127.0.0.1:1"}, "could not be reached"),
        ({"base_url": "https://airtel.invalid"}, "Check base_url"),
        ({"message_signing": True, "padding": "oaep-sha256"}, "Check padding"),
    ],
)
async def test_a_wrong_setting_is_named(
    airtel: Simulated, changes: dict[str, object], words: str
) -> None:
    ok, message = await report(airtel, **changes)

    assert not ok
    assert words in message
    assert "simulated-" not in message


@pytest.mark.parametrize("status", [200, 403, 404])
async def test_a_firewall_or_another_site_is_named(airtel: Simulated, status: int) -> None:
    async def page(_request: Request) -> Response:
        return HTMLResponse("<h1>Request Rejected</h1>", status_code=status)

    async with serve(Starlette(routes=[Route("/{path:path}", page, methods=["POST"])])) as url:
        ok, message = await report(airtel, base_url=url)

    assert not ok
    assert "base_url" in message


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, {"data": {"balance": "1", "currency": "UGX"}}, "Set currency to UGX"),
        (200, {"status": {"response_code": "DP02100000002", "success": False}}, "no wallet"),
        (400, {"status_code": "ROUTER007"}, "may not work in this country"),
        (401, {}, "public IP address"),
        (403, "Forbidden", "public IP address"),
        (404, {}, "no such Airtel API"),
        (429, {}, "Try again later"),
        (503, {}, "Try again later"),
        (200, {}, "Ask Airtel"),
        (200, {"status": {"response_code": "DP02100000000", "success": False}}, "Ask Airtel"),
    ],
)
async def test_an_account_that_does_not_work_is_explained(
    airtel: Simulated, status: int, body: object, words: str
) -> None:
    async def token(_request: Request) -> Response:
        return JSONResponse({"access_token": "t0", "expires_in": "180"})

    async def balance(_request: Request) -> Response:
        return JSONResponse(body, status_code=status)

    routes = [
        Route("/auth/oauth2/token", token, methods=["POST"]),
        Route("/standard/{version}/users/balance", balance),
    ]
    async with serve(Starlette(routes=routes)) as url:
        ok, message = await report(airtel, base_url=url)

    assert not ok
    assert words in message


async def test_the_older_balance_is_asked_where_there_is_no_newer(airtel: Simulated) -> None:
    async def token(_request: Request) -> Response:
        return JSONResponse({"access_token": "t0", "expires_in": "180"})

    async def balance(_request: Request) -> Response:
        return JSONResponse({"data": {"balance": "37,600.00", "currency": "RWF"}})

    routes = [
        Route("/auth/oauth2/token", token, methods=["POST"]),
        Route("/standard/v1/users/balance", balance),
    ]
    async with serve(Starlette(routes=routes)) as url:
        assert (await report(airtel, base_url=url))[0]


async def test_an_application_without_a_key_is_named(airtel: Simulated) -> None:
    async def token(_request: Request) -> Response:
        return JSONResponse({"access_token": "t0", "expires_in": "180"})

    async def balance(_request: Request) -> Response:
        return JSONResponse({"data": {"balance": "37,600.00", "currency": "RWF"}})

    async def no_key(_request: Request) -> Response:
        return JSONResponse({"status": {"response_code": "DP02010001000", "success": False}})

    routes = [
        Route("/auth/oauth2/token", token, methods=["POST"]),
        Route("/standard/v2/users/balance", balance),
        Route("/v1/rsa/encryption-keys", no_key),
    ]
    async with serve(Starlette(routes=routes)) as url:
        ok, message = await report(airtel, base_url=url, message_signing=True)

    assert not ok
    assert "Add the product Collection" in message


async def test_a_busy_airtel_is_no_wrong_setting(airtel: Simulated) -> None:
    await airtel.tell("faults", unavailable=1, only="balance")

    ok, message = await report(airtel)

    assert not ok
    assert "Try again later" in message


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"base_url": "http://openapi.airtel.co.rw"}, id="not encrypted"),
        pytest.param({"base_url": "openapi.airtel.co.rw"}, id="no scheme"),
        pytest.param({"base_url": "https://user:secret@airtel.example"}, id="with a password"),
        pytest.param({"base_url": "https://airtel.example?x=1"}, id="with a query"),
        pytest.param({"base_url": "http://127.0.0.1.example.com"}, id="only looks like here"),
        pytest.param({"country": "Rwanda"}, id="a country's name"),
        pytest.param({"client_id": ""}, id="no client"),
        pytest.param({"client_secret": ""}, id="no secret"),
        pytest.param({"padding": "none"}, id="no padding"),
        pytest.param({"payments_version": "v3"}, id="a version there is not"),
        pytest.param({"callback_hash": "md5"}, id="a hash there is not"),
        pytest.param({"colour": "red"}, id="a setting there is not"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused(
    plugin: Plugin, changes: dict[str, object]
) -> None:
    example = {**(plugin.description.example_config or {}), "base_url": "https://airtel.example"}

    with pytest.raises(ValidationError):
        AirtelConfig.model_validate({**example, **changes})


@pytest.mark.parametrize(
    "url",
    [
        "https://openapi.airtel.co.rw/",
        "https://openapiuat.airtel.africa",
        "http://localhost:9000",
        "http://[::1]:9000/simulators/airtel/",
    ],
)
def test_an_address_is_kept_without_its_last_slash(plugin: Plugin, url: str) -> None:
    example = plugin.description.example_config or {}

    config = AirtelConfig.model_validate({**example, "base_url": url})

    assert config.base_url == url.rstrip("/")


def test_there_is_no_hidden_address(plugin: Plugin) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        AirtelConfig.model_validate(plugin.description.example_config)


def test_an_empty_key_is_no_key(plugin: Plugin) -> None:
    example = {**(plugin.description.example_config or {}), "base_url": "https://airtel.example"}

    config = AirtelConfig.model_validate({**example, "callback_hash_key": "", "pin": ""})

    assert (config.callback_hash_key, config.pin) == (None, None)


def test_secrets_are_not_shown(plugin: Plugin) -> None:
    example = {**(plugin.description.example_config or {}), "base_url": "https://airtel.example"}

    shown = repr(AirtelConfig.model_validate({**example, "pin": "4711"}))

    assert "simulated-" not in shown
    assert "4711" not in shown
