"""What the environment says about e-mail, and what is said about what cannot be right."""

import os
from email.headerregistry import Address
from pathlib import Path

import pytest

from dusangire.errors import CannotStart
from dusangire.plugins import Plugins
from dusangire_email import channel
from dusangire_email.settings import read_settings

URL, CA, FROM, REPLY_TO = (
    "DUSANGIRE_SMTP_URL",
    "DUSANGIRE_SMTP_CA_FILE",
    "DUSANGIRE_MAIL_FROM",
    "DUSANGIRE_MAIL_REPLY_TO",
)
PASSWORD = "canary-smtp-41af"
GOOD = {URL: f"smtp://pay:{PASSWORD}@mail.isoko.rw", FROM: "Isoko Ltd <pay@isoko.rw>"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("DUSANGIRE_SMTP_", "DUSANGIRE_MAIL_"))]:
        monkeypatch.delenv(name)


def _set(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("values", [{}, {URL: ""}, {FROM: "pay@isoko.rw"}])
def test_without_a_server_there_is_no_channel(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    _set(monkeypatch, values)

    assert read_settings() is None
    assert Plugins.load({"email": channel}, installed=[]).channels == {}


def test_with_a_server_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, GOOD)

    plugins = Plugins.load({"email": channel}, installed=[])

    assert plugins.channels["email"].description.attachments


@pytest.mark.parametrize(
    ("url", "port", "tls", "starttls"),
    [
        ("smtp://mail.isoko.rw", 587, False, True),
        ("smtp://mail.isoko.rw:2525", 2525, False, True),
        ("smtps://mail.isoko.rw", 465, True, False),
        ("smtp://localhost:25", 25, False, False),
        ("smtp://127.0.0.1:25", 25, False, False),
        ("smtp://localhost.evil.rw:25", 25, False, True),
        ("smtp://10.0.0.1", 587, False, True),
    ],
)
def test_only_this_machine_is_spoken_to_in_clear(
    monkeypatch: pytest.MonkeyPatch, url: str, port: int, tls: bool, starttls: bool
) -> None:
    _set(monkeypatch, {**GOOD, URL: url})

    settings = read_settings()

    assert settings is not None
    assert (settings.port, settings.tls, settings.starttls) == (port, tls, starttls)


def test_all_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "smtps://pay%40isoko.rw:p%2Fw@mail.isoko.rw"
    _set(monkeypatch, {**GOOD, URL: url, REPLY_TO: "help@isoko.rw"})

    settings = read_settings()

    assert settings is not None
    assert (settings.user, settings.password) == ("pay@isoko.rw", "p/w")
    assert settings.sender == Address("Isoko Ltd", addr_spec="pay@isoko.rw")
    assert settings.reply_to == Address(addr_spec="help@isoko.rw")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (URL, f"http://pay:{PASSWORD}@mail.isoko.rw"),
        (URL, f"pay:{PASSWORD}@mail.isoko.rw"),
        (URL, f"smtp://pay:{PASSWORD}@mail.isoko.rw:port"),
        (URL, f"smtp://pay:{PASSWORD}@mail.isoko.rw/folder"),
        (URL, "smtp://pay@mail.isoko.rw"),
        (FROM, ""),
        (FROM, "Isoko"),
        (FROM, "pay@isoko"),
        (REPLY_TO, "help"),
        (CA, "no such file"),
        ("DUSANGIRE_MAIL_FORM", "pay@isoko.rw"),
    ],
)
def test_what_cannot_be_right_is_named_and_no_password_is_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    _set(monkeypatch, {**GOOD, name: value})

    with pytest.raises(CannotStart, match=name) as refused:
        Plugins.load({"email": channel}, installed=[])

    assert PASSWORD not in str(refused.value)


def test_a_file_that_holds_no_certificate_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    _set(monkeypatch, {**GOOD, CA: str(tmp_path / "ca.pem")})

    with pytest.raises(CannotStart, match=CA):
        read_settings()


def test_nobody_sees_the_password_by_looking_at_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch, GOOD)

    assert PASSWORD not in repr(read_settings())
