"""A wrong account is named in plain words, with what to do; a wrong setting is not accepted."""

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated, serve, simulate
from dusangire_mtn.config import MTNConfig


async def report(momo: Simulated, **changes: object) -> tuple[bool, str]:
    told = await momo.plugin.test_gateway(momo.configured(**changes))
    return told.ok, told.message


async def test_a_right_account_is_accepted(momo: Simulated) -> None:
    assert await report(momo) == (
        True,
        "MTN accepts the account for Collection and Disbursement.",
    )


async def test_without_disbursement_it_says_that_refunds_are_missing(momo: Simulated) -> None:
    ok, message = await report(
        momo,
        disbursement_subscription_key=None,
        disbursement_api_user=None,
        disbursement_api_key=None,
    )

    assert ok
    assert "Refunds need the disbursement_ settings" in message


@pytest.mark.parametrize("profile", ["rwanda", "new_platform"])
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("collection_api_key", "wrong", "collection_api_user and collection_api_key"),
        ("collection_api_user", "wrong", "collection_api_user and collection_api_key"),
        ("collection_subscription_key", "wrong", "collection_subscription_key"),
        ("disbursement_api_key", "wrong", "disbursement_api_user and disbursement_api_key"),
        ("disbursement_subscription_key", "wrong", "disbursement_subscription_key"),
        (
            "collection_subscription_key",
            "simulated-disbursement-key",
            "collection_subscription_key",
        ),
        ("target_environment", "mtnuganda", "Set target_environment"),
        ("base_url", "http://127.0.0.1:1", "could not be reached"),
        ("base_url", "https://momo.invalid", "Check base_url"),
    ],
)
async def test_a_wrong_setting_is_named(
    momo: Simulated, profile: str, setting: str, value: str, words: str
) -> None:
    await momo.tell("settings", profile=profile)

    ok, message = await report(momo, **{setting: value})

    assert not ok
    assert words in message
    assert "simulated-" not in message


@pytest.mark.parametrize("status", [200, 403])
async def test_a_firewall_is_named(momo: Simulated, status: int) -> None:
    async def page(_request: Request) -> Response:
        return HTMLResponse("<h1>Request Rejected</h1>", status_code=status)

    async with serve(Starlette(routes=[Route("/{path:path}", page, methods=["POST"])])) as url:
        ok, message = await report(momo, base_url=url)

    assert not ok
    assert "public IP address" in message


async def test_another_currency_is_named(momo: Simulated) -> None:
    ok, message = await report(momo, currency="EUR")

    assert not ok
    assert "Set currency to RWF" in message


async def test_a_busy_mtn_is_no_wrong_setting(momo: Simulated) -> None:
    await momo.tell("faults", unavailable=1, only="balance")

    ok, message = await report(momo)

    assert not ok
    assert "Try again later" in message


async def test_the_sandbox_with_its_own_currency_is_accepted(plugin: Plugin) -> None:
    async with simulate(plugin, target_environment="sandbox", currency="EUR") as sandbox:
        assert (await report(sandbox))[0]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"base_url": "http://proxy.momoapi.mtn.co.rw"}, id="not encrypted"),
        pytest.param({"base_url": "proxy.momoapi.mtn.co.rw"}, id="no scheme"),
        pytest.param({"base_url": "ftp://127.0.0.1"}, id="another scheme"),
        pytest.param({"base_url": "https://user:secret@mtn.example"}, id="with a password"),
        pytest.param({"base_url": "https://mtn.example?x=1"}, id="with a query"),
        pytest.param({"base_url": "http://127.0.0.1.example.com"}, id="only looks like here"),
        pytest.param({"target_environment": "MTN Rwanda"}, id="a name for people"),
        pytest.param({"disbursement_api_user": ""}, id="two of three"),
        pytest.param({"colour": "yellow"}, id="a setting there is not"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused(
    plugin: Plugin, changes: dict[str, object]
) -> None:
    example = {**(plugin.description.example_config or {}), "base_url": "https://mtn.example"}

    with pytest.raises(ValidationError):
        MTNConfig.model_validate({**example, **changes})


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy.momoapi.mtn.co.rw/",
        "http://localhost:9000",
        "http://[::1]:9000/simulators/mtn/",
    ],
)
def test_an_address_is_kept_without_its_last_slash(plugin: Plugin, url: str) -> None:
    example = plugin.description.example_config or {}

    config = MTNConfig.model_validate({**example, "base_url": url})

    assert config.base_url == url.rstrip("/")


def test_there_is_no_hidden_address(plugin: Plugin) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        MTNConfig.model_validate(plugin.description.example_config)


def test_secrets_are_not_shown(plugin: Plugin) -> None:
    example = {**(plugin.description.example_config or {}), "base_url": "https://mtn.example"}

    assert "-secret" not in repr(MTNConfig.model_validate(example))
