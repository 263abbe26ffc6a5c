"""What the environment says: the `DUSANGIRE_…` variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from dusangire.errors import CallerError, CannotStart
from dusangire.gateway import Environment
from dusangire.invoicing.vat import TAX_RATES
from dusangire.money import Money
from dusangire.notifying.notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one process.

    database_url: None means the embedded server in `home`.
    public_url: what gateways and payers reach; None: nobody from outside does.
    secret_keys: `id:base64key,…`; the first one encrypts.
    allowed_origins: pages of other hosts, such as the shop's, that may call the API from a
        browser and that payers may be sent back to.
    trusted_proxies: whose word is taken for which address a request comes from.
    audit_head_file: where the head of the audit log is noted once a day; None: in the log alone.
    tax_rates: per cent of each tax class that a line of an invoice may have.
    webhook_ports: where the merchant's webhooks may be sent.
    loopback_webhooks: they may be sent to this machine too; never in live mode.
    ca_bundle: a PEM file of authorities that are trusted beside the system's.
    notices_off: what nobody is told, by the names of `Notice`.
    console_messages: messages are printed; in test mode only.
    poll_scale: multiplies every waiting time of the check schedule; tests use 0.01.
    two_approvers_above: refunds of more than this need two people to approve them, by currency.
    """

    database_url: str | None = None
    home: Path = Path(".dusangire")
    environment: Environment = Environment.TEST
    public_url: str | None = None
    secret_keys: str | None = None
    log_level: str = "info"
    log_format: str = "json"
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    audit_head_file: Path | None = None
    tax_rates: Mapping[str, Decimal] = field(default_factory=lambda: TAX_RATES)
    webhook_ports: tuple[int, ...] = (443,)
    loopback_webhooks: bool = False
    ca_bundle: Path | None = None
    notices_off: tuple[str, ...] = ()
    console_messages: bool = False
    poll_scale: float = 1.0
    two_approvers_above: tuple[Money, ...] = ()

    @property
    def live(self) -> bool:
        return self.environment is Environment.LIVE

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises CannotStart, naming the variable and what it takes."""
        return cls(
            database_url=environ.get("DUSANGIRE_DATABASE_URL") or None,
            home=Path(environ.get("DUSANGIRE_HOME") or ".dusangire"),
            environment=_environment(environ.get("DUSANGIRE_ENVIRONMENT") or "test"),
            public_url=_public_url(environ),
            secret_keys=environ.get("DUSANGIRE_SECRET_KEYS") or None,
            log_level=_one_of(
                "DUSANGIRE_LOG_LEVEL",
                environ.get("DUSANGIRE_LOG_LEVEL") or "info",
                "debug",
                "info",
                "warning",
                "error",
            ),
            log_format=_one_of(
                "DUSANGIRE_LOG_FORMAT",
                environ.get("DUSANGIRE_LOG_FORMAT") or "json",
                "json",
                "console",
            ),
            allowed_origins=_origins(environ.get("DUSANGIRE_ALLOWED_ORIGINS")),
            trusted_proxies=_networks(environ.get("DUSANGIRE_TRUSTED_PROXIES")),
            audit_head_file=_path(environ.get("DUSANGIRE_AUDIT_HEAD_FILE")),
            tax_rates=_rates(environ.get("DUSANGIRE_TAX_RATES")),
            webhook_ports=_ports(environ.get("DUSANGIRE_WEBHOOK_PORTS")),
            loopback_webhooks=_loopback(environ),
            ca_bundle=_path(environ.get("DUSANGIRE_CA_BUNDLE")),
            notices_off=_notices(environ.get("DUSANGIRE_NOTICES_OFF")),
            console_messages=_console(environ),
            poll_scale=_positive("DUSANGIRE_POLL_SCALE", environ.get("DUSANGIRE_POLL_SCALE")),
            two_approvers_above=_amounts(
                "DUSANGIRE_TWO_APPROVERS_ABOVE", environ.get("DUSANGIRE_TWO_APPROVERS_ABOVE")
            ),
        )


def _environment(text: str) -> Environment:
    return Environment(_one_of("DUSANGIRE_ENVIRONMENT", text, "test", "live").upper())


def _one_of(name: str, text: str, *words: str) -> str:
    if text.lower() not in words:
        raise CannotStart(f"{name} is {text!r}; it takes {' or '.join(words)}.")
    return text.lower()


def _public_url(environ: Mapping[str, str]) -> str | None:
    text = environ.get("DUSANGIRE_PUBLIC_URL")
    live = (environ.get("DUSANGIRE_ENVIRONMENT") or "").lower() == "live"
    if not text:
        return None
    if not text.startswith(("http://", "https://")):
        raise CannotStart(
            f"DUSANGIRE_PUBLIC_URL is {text!r}; it takes an address such as https://pay.example.rw."
        )
    if live and text.startswith("http://") and not _is_loopback(text):
        raise CannotStart(
            f"DUSANGIRE_PUBLIC_URL is {text!r}; in live mode it begins with https://, for "
            "passwords and cookies go that way."
        )
    return text.rstrip("/")


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _networks(text: str | None) -> tuple[IPv4Network | IPv6Network, ...]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    try:
        return tuple(ip_network(part) for part in parts)
    except ValueError as error:
        raise CannotStart(
            f"DUSANGIRE_TRUSTED_PROXIES is {text!r}; it takes addresses and networks such as "
            "127.0.0.1, 10.0.0.0/24, with commas between them."
        ) from error


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _origins(text: str | None) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/") for part in (text or "").split(",") if part.strip())
    for origin in origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") > 2:
            raise CannotStart(
                f"DUSANGIRE_ALLOWED_ORIGINS has {origin!r}; it takes origins such as "
                "https://shop.example.rw, with commas between them."
            )
    return origins


def _rates(text: str | None) -> Mapping[str, Decimal]:
    rates = dict(TAX_RATES)
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        letter, _, number = (side.strip() for side in part.partition("="))
        if not re.fullmatch(r"[A-D]", letter) or not re.fullmatch(r"\d{1,2}(\.\d{1,2})?", number):
            raise CannotStart(
                f"DUSANGIRE_TAX_RATES has {part!r}; it takes a per cent for each of the classes "
                "A, B, C and D that differs, such as B=18,C=0."
            )
        rates[letter] = Decimal(number)
    return rates


def _ports(text: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in (text or "443").split(",")]
    ports = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    if len(ports) < len(parts) or not all(0 < port < 65536 for port in ports):
        raise CannotStart(f"DUSANGIRE_WEBHOOK_PORTS is {text!r}; it takes ports such as 443,8443.")
    return ports


def _loopback(environ: Mapping[str, str]) -> bool:
    name = "DUSANGIRE_LOOPBACK_WEBHOOKS"
    wanted = _one_of(name, environ.get(name) or "no", "yes", "no") == "yes"
    if wanted and (environ.get("DUSANGIRE_ENVIRONMENT") or "").lower() == "live":
        raise CannotStart(f"{name} is for test mode: in live mode webhooks leave this machine.")
    return wanted


def _notices(text: str | None) -> tuple[str, ...]:
    names = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    # Who heard that a gateway is down shall hear that it is up again.
    known = [notice.value for notice in Notice if notice is not Notice.GATEWAY_UP]
    for name in names:
        if name not in known:
            raise CannotStart(
                f"DUSANGIRE_NOTICES_OFF has {name!r}; it takes {', '.join(known)}, with commas "
                "between them."
            )
    return names


def _console(environ: Mapping[str, str]) -> bool:
    text = environ.get("DUSANGIRE_CONSOLE_MESSAGES") or "0"
    if text not in {"0", "1"}:
        raise CannotStart(f"DUSANGIRE_CONSOLE_MESSAGES is {text!r}; it takes 0 or 1.")
    if text == "1" and (environ.get("DUSANGIRE_ENVIRONMENT") or "test").lower() == "live":
        raise CannotStart(
            "DUSANGIRE_CONSOLE_MESSAGES prints what customers are told: it is for test mode. "
            "Unset it."
        )
    return text == "1"


def _amounts(name: str, text: str | None) -> tuple[Money, ...]:
    """One amount for each currency: `RWF 500000, USD 400`."""
    amounts: dict[str, Money] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        try:
            currency, amount = part.split()
            amounts[currency] = Money.parse(amount, currency)
        except (CallerError, ValueError) as error:
            raise CannotStart(
                f"{name} has {part.strip()!r}; it takes amounts such as RWF 500000, USD 400."
            ) from error
    return tuple(amounts.values())


def _positive(name: str, text: str | None) -> float:
    try:
        value = float(text or 1)
    except ValueError:
        value = 0
    if not 0 < value <= 1000:
        raise CannotStart(f"{name} is {text!r}; it takes a number above 0, such as 1 or 0.01.")
    return value
