"""What the environment says: the `DUSANGIRE_…` variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dusangire.errors import CannotStart
from dusangire.gateway import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one process.

    database_url: None means the embedded server in `home`.
    public_url: what gateways and payers reach; None: nobody from outside does.
    secret_keys: `id:base64key,…`; the first one encrypts.
    allowed_origins: pages of other hosts, such as the shop's, that may call the API from a
        browser and that payers may be sent back to.
    poll_scale: multiplies every waiting time of the check schedule; tests use 0.01.
    """

    database_url: str | None = None
    home: Path = Path(".dusangire")
    environment: Environment = Environment.TEST
    public_url: str | None = None
    secret_keys: str | None = None
    log_level: str = "info"
    log_format: str = "json"
    allowed_origins: tuple[str, ...] = ()
    poll_scale: float = 1.0

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
            public_url=_url(environ.get("DUSANGIRE_PUBLIC_URL")),
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
            poll_scale=_positive("DUSANGIRE_POLL_SCALE", environ.get("DUSANGIRE_POLL_SCALE")),
        )


def _environment(text: str) -> Environment:
    return Environment(_one_of("DUSANGIRE_ENVIRONMENT", text, "test", "live").upper())


def _one_of(name: str, text: str, *words: str) -> str:
    if text.lower() not in words:
        raise CannotStart(f"{name} is {text!r}; it takes {' or '.join(words)}.")
    return text.lower()


def _url(text: str | None) -> str | None:
    if not text:
        return None
    if not text.startswith(("http://", "https://")):
        raise CannotStart(
            f"DUSANGIRE_PUBLIC_URL is {text!r}; it takes an address such as https://pay.example.rw."
        )
    return text.rstrip("/")


def _origins(text: str | None) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/") for part in (text or "").split(",") if part.strip())
    for origin in origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") > 2:
            raise CannotStart(
                f"DUSANGIRE_ALLOWED_ORIGINS has {origin!r}; it takes origins such as "
                "https://shop.example.rw, with commas between them."
            )
    return origins


def _positive(name: str, text: str | None) -> float:
    try:
        value = float(text or 1)
    except ValueError:
        value = 0
    if not 0 < value <= 1000:
        raise CannotStart(f"{name} is {text!r}; it takes a number above 0, such as 1 or 0.01.")
    return value
