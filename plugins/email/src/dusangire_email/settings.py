"""Where e-mail is sent from: `DUSANGIRE_SMTP_…` and `DUSANGIRE_MAIL_…`."""

import os
import ssl
from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import parseaddr
from urllib.parse import unquote, urlsplit

from pydantic_settings import BaseSettings, SettingsConfigDict

from dusangire.errors import CannotStart

_PREFIXES = ("DUSANGIRE_SMTP_", "DUSANGIRE_MAIL_")
_TAKES = {
    "DUSANGIRE_SMTP_URL": "smtp://user:password@host:587, or smtps://user:password@host:465",
    "DUSANGIRE_SMTP_CA_FILE": "a file with certificates in PEM",
    "DUSANGIRE_MAIL_FROM": "an address such as Isoko Ltd <pay@isoko.rw>",
    "DUSANGIRE_MAIL_REPLY_TO": "an address such as help@isoko.rw",
}
_PORTS = {"smtp": 587, "smtps": 465}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class _Environ(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="DUSANGIRE_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    smtp_url: str | None = None
    smtp_ca_file: str | None = None
    mail_from: str | None = None
    mail_reply_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """A mail server, and whose name the letters carry.

    tls: encrypted from the first byte. starttls: encrypted before anything is said; never given up.
    """

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    tls: bool
    starttls: bool
    ca_file: str | None = None
    sender: Address
    reply_to: Address | None = None

    def __repr__(self) -> str:
        return f"MailSettings({self.host}:{self.port})"

    def tls_context(self) -> ssl.SSLContext:
        """Who cannot prove to be that server is not spoken to."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def read_settings() -> MailSettings | None:
    """None without DUSANGIRE_SMTP_URL. Raises CannotStart, naming what is wrong."""
    for name in os.environ:
        if name.startswith(_PREFIXES) and name not in _TAKES:
            raise CannotStart(f"{name} is no setting. There are {', '.join(_TAKES)}.")
    given = _Environ()
    if given.smtp_url is None:
        return None
    host, port, user, password, scheme = _server(given.smtp_url)
    if given.mail_from is None:
        raise _wrong("DUSANGIRE_MAIL_FROM", "it is not set")
    settings = MailSettings(
        host=host,
        port=port,
        user=user,
        password=password,
        tls=scheme == "smtps",
        # What stays on this machine needs no disguise, unless somebody named whom to trust.
        starttls=scheme == "smtp" and (host not in _LOOPBACK or given.smtp_ca_file is not None),
        ca_file=given.smtp_ca_file,
        sender=_address("DUSANGIRE_MAIL_FROM", given.mail_from),
        reply_to=_address("DUSANGIRE_MAIL_REPLY_TO", given.mail_reply_to)
        if given.mail_reply_to
        else None,
    )
    try:
        settings.tls_context()
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise _wrong("DUSANGIRE_SMTP_CA_FILE", f"it cannot be read: {why}") from error
    return settings


def _server(text: str) -> tuple[str, int, str | None, str | None, str]:
    # Its password never stands in a message.
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _wrong("DUSANGIRE_SMTP_URL", "it is no address") from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise _wrong("DUSANGIRE_SMTP_URL", "it is no address of a mail server")
    if (parts.username is None) != (parts.password is None):
        raise _wrong("DUSANGIRE_SMTP_URL", "a user and a password belong together")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return parts.hostname, port or _PORTS[parts.scheme], user, password, parts.scheme


def _address(name: str, text: str) -> Address:
    shown, address = parseaddr(text)
    try:
        found = Address(display_name=shown, addr_spec=address)
    except (ValueError, IndexError) as error:
        raise _wrong(name, "it is no address") from error
    if not found.username or "." not in found.domain or not text.isprintable():
        raise _wrong(name, "it is no address")
    return found


def _wrong(name: str, why: str) -> CannotStart:
    return CannotStart(f"{name}: {why}. It takes {_TAKES[name]}.")
