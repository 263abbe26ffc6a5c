"""What the environment says of the VSDC, and what is said about what cannot be right."""

import os

import pytest

from dusangire.errors import CannotStart
from dusangire.fiscal import PartialRefunds
from dusangire_vsdc.config import PREFIX, read_settings

RIGHT = {
    "URL": "http://localhost:8080",
    "TIN": "000111111",
    "DEVICE_SERIAL": "dev-1",
    "ITEM_CLASS": "8111000000",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def given(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in {**RIGHT, **values}.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)


@pytest.mark.parametrize("url", [None, ""])
def test_without_an_address_the_plugin_does_nothing(
    monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    if url is not None:
        monkeypatch.setenv(f"{PREFIX}URL", url)

    assert read_settings() is None


def test_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TAX_CLASSES="EXPORT=C, NONE=D", PARTIAL_REFUNDS="full_and_reissue")

    settings = read_settings()

    assert settings is not None
    assert (settings.tin, settings.branch) == ("000111111", "00")
    assert settings.partial_refunds is PartialRefunds.FULL_AND_REISSUE
    assert settings.classes == {
        "A": "A", "B": "B", "C": "C", "D": "D", "EXPORT": "C", "NONE": "D",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "localhost:8080"),
        ("TIN", "12345678"),
        ("TIN", "1234567890"),
        ("TIN", "12345678a"),
        ("TIN", "١٢٣٤٥٦٧٨٩"),
        ("BRANCH", "0"),
        ("DEVICE_SERIAL", ""),
        ("ITEM_CLASS", "811"),
        ("ITEM_TYPE", "4"),
        ("LAST_NUMBER", "-1"),
        ("TAX_CLASSES", "EXPORT=Z"),
        ("TAX_CLASSES", "EXPORT"),
        ("PARTIAL_REFUNDS", "sometimes"),
        ("REFUND_REASON", "99"),
        ("QR_TEMPLATE", "{name}"),
        ("QR_TEMPLATE", "always the same"),
        ("QR_TEMPLATE", "{date"),
    ],
)
def test_what_cannot_be_right_stops_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    given(monkeypatch, **{name: value})

    with pytest.raises(CannotStart, match=f"{PREFIX}{name} .* It takes"):
        read_settings()


@pytest.mark.parametrize("name", ["TIN", "DEVICE_SERIAL", "ITEM_CLASS"])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    given(monkeypatch)
    monkeypatch.delenv(f"{PREFIX}{name}")

    with pytest.raises(CannotStart, match=f"{PREFIX}{name} is missing"):
        read_settings()


def test_a_name_that_is_mistyped_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, BRANSH="01")

    with pytest.raises(CannotStart, match="BRANSH is no setting"):
        read_settings()
