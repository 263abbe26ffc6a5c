"""What the environment says about limits, and what is said about what cannot be right."""

import os
import subprocess
import sys

import pytest

from dusangire.errors import CannotStart
from dusangire.money import Money
from dusangire_limits.settings import LimitSettings, read_settings

PER_PAYMENT, PER_DAY, TIME_ZONE = (
    "DUSANGIRE_LIMIT_PER_PAYMENT",
    "DUSANGIRE_LIMIT_PER_DAY",
    "DUSANGIRE_LIMIT_TIME_ZONE",
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DUSANGIRE_LIMIT_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("empty", [{}, {PER_DAY: "", PER_PAYMENT: ""}], ids=["unset", "empty"])
def test_without_settings_there_are_no_limits(
    monkeypatch: pytest.MonkeyPatch, empty: dict[str, str]
) -> None:
    for name, value in empty.items():
        monkeypatch.setenv(name, value)

    settings = read_settings()

    assert (settings.per_payment, settings.per_day) == ({}, {})
    assert settings.time_zone.key == "Africa/Kigali"


def test_a_limit_is_an_amount_for_each_currency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PER_PAYMENT, "RWF 500000")
    monkeypatch.setenv(PER_DAY, " RWF 1000000,USD 800.50 ")
    monkeypatch.setenv(TIME_ZONE, "Europe/Paris")

    settings = read_settings()

    assert settings.per_payment == {"RWF": Money(500_000, "RWF")}
    assert settings.per_day == {"RWF": Money(1_000_000, "RWF"), "USD": Money(80_050, "USD")}
    assert settings.time_zone.key == "Europe/Paris"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        (PER_DAY, "500000", "is not an ISO 4217 currency code"),
        (PER_DAY, "RWF", "must be a decimal number"),
        (PER_DAY, "RWF 500,000", "is not an ISO 4217 currency code"),
        (PER_DAY, "RWF 500_000", "must be a decimal number"),
        (PER_DAY, "RWF 0", "must be more than zero"),
        (PER_DAY, "RWF -1", "must be more than zero"),
        (PER_DAY, "RWF 1.5", "RWF has no decimals"),
        (PER_DAY, "RWF 1, RWF 2", "RWF is there twice"),
        (PER_DAY, "RWF 1,", "is not an ISO 4217 currency code"),
        (PER_PAYMENT, "rwf 500000", "is not an ISO 4217 currency code"),
        (PER_PAYMENT, "FRW 500000", "is not an ISO 4217 currency code"),
        (TIME_ZONE, "Kigali", "invalid timezone"),
        (TIME_ZONE, "../etc/passwd", "invalid timezone"),
    ],
)
def test_what_cannot_be_a_limit_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(CannotStart) as refused:
        read_settings()

    assert refused.value.message.startswith(f"{name} is {value!r}: ")
    assert why in refused.value.message
    assert "It takes" in refused.value.message


@pytest.mark.parametrize("name", ["DUSANGIRE_LIMIT_PERDAY", "DUSANGIRE_LIMIT_per_day"])
def test_a_limit_whose_name_is_mistyped_is_not_silently_no_limit(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "RWF 500000")

    with pytest.raises(CannotStart, match=f"{name} is no setting"):
        read_settings()


def test_nothing_starts_with_a_limit_that_is_mistyped() -> None:
    code = "from dusangire.plugins import Plugins; Plugins.load()"

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, PER_DAY: "RWF lots"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 1
    assert f"CannotStart: {PER_DAY} is 'RWF lots'" in ran.stderr


def test_the_installed_plugin_holds_the_limits_of_the_environment() -> None:
    code = (
        "from dusangire.plugins import Plugins; plugins = Plugins.load(); "
        "print(plugins.broken, plugins.manager.get_plugin('limits').settings.per_day['RWF'])"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, PER_DAY: "RWF 1000000"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout == "{} 1,000,000 RWF\n"


def test_settings_do_not_change_under_way() -> None:
    with pytest.raises(ValueError, match="frozen"):
        LimitSettings().per_day = {}  # type: ignore[misc]
