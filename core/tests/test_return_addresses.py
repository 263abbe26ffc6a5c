"""Payers are sent back to pages that belong to the merchant, and to no others."""

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dusangire.core import Core
from dusangire.errors import Invalid
from dusangire.gateway import Environment
from dusangire.intake import checked_return_url
from dusangire.settings import Settings

SHOP = "https://shop.example.rw"


def core_with(**settings: Any) -> Core:
    """Settings are all that is looked at."""
    return cast("Core", SimpleNamespace(settings=dataclasses.replace(Settings(), **settings)))


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "https://shop.example.rw.evil.example/",
        "https://shop.example.rw@evil.example/",
        "https://shop.example.rw:8443/",
        "https://shop.example.rw%2eevil.example/",
        "https://other.example.rw/?next=https://shop.example.rw",
    ],
)
@pytest.mark.parametrize("environment", list(Environment))
def test_another_page_than_the_registered_ones_is_refused(
    environment: Environment, address: str
) -> None:
    core = core_with(environment=environment, allowed_origins=(SHOP,))

    with pytest.raises(Invalid, match="DUSANGIRE_ALLOWED_ORIGINS") as refused:
        checked_return_url(core, address)

    assert refused.value.field == ("returnUrl",)


@pytest.mark.parametrize("address", [f"{SHOP}/done?order=7#top", "https://SHOP.example.rw/done"])
def test_a_registered_page_is_taken(address: str) -> None:
    core = core_with(environment=Environment.LIVE, allowed_origins=(SHOP,))

    assert checked_return_url(core, address) == address


def test_our_own_address_is_taken() -> None:
    core = core_with(environment=Environment.LIVE, public_url="https://pay.example.rw")

    assert checked_return_url(core, "https://pay.example.rw/shop")


def test_in_live_mode_nothing_registered_means_nothing_allowed() -> None:
    with pytest.raises(Invalid):
        checked_return_url(core_with(environment=Environment.LIVE), f"{SHOP}/done")


def test_in_test_mode_any_page_is_taken_as_long_as_none_is_registered() -> None:
    assert checked_return_url(core_with(), "https://laptop.example/done")
