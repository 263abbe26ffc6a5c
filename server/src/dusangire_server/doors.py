"""The cookies of people, and which requests may come with them.

A browser sends a cookie along with whatever a page makes it send, so a cookie counts only for
requests of our own pages: these say so in `Origin`, which no page can forge.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import Scope

from dusangire.settings import Settings

_DEVICE_LIFE = 365 * 24 * 3600
_LONGEST_COOKIES = 2 * 1024


def header(scope: Scope, name: bytes) -> str:
    """A header's first value; empty when there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


@dataclass(frozen=True, slots=True)
class Doors:
    """How this server's own pages are known."""

    settings: Settings

    def session(self, scope: Scope) -> str:
        """The session's cookie, if the request comes from a page of our own; else nothing."""
        return self.cookie(scope, "session") if self.is_ours(scope) else ""

    def cookie(self, scope: Scope, name: str) -> str:
        """A cookie of ours, whoever sent it: enough for showing a page, not for doing anything."""
        text = header(scope, b"cookie")
        if len(text) > _LONGEST_COOKIES:
            return ""
        # Ours have no quotes. Python's own reader takes seconds for a hostile text that has.
        pairs = (pair.strip().partition("=") for pair in text.split(";"))
        return next((value for key, _, value in pairs if key == self.name(name)), "")

    def is_ours(self, scope: Scope) -> bool:
        origin = header(scope, b"origin")
        if not origin or origin == "null":
            return False
        if self._url is not None and origin == _origin(self._url):
            return True
        # In live mode there is one address. Elsewhere whatever name the page was opened by.
        host = header(scope, b"host")
        fixed = self.settings.live and self._url is not None
        return not fixed and bool(host) and origin in {f"http://{host}", f"https://{host}"}

    def let_in(self, token: str, device: str) -> tuple[tuple[str, str], ...]:
        """The headers that set both cookies."""
        return (
            ("set-cookie", self._set("session", token)),
            ("set-cookie", self._set("device", device, f"; Max-Age={_DEVICE_LIFE}")),
        )

    def let_out(self) -> tuple[str, str]:
        """The header that takes the session's cookie away. The device stays known."""
        return ("set-cookie", self._set("session", "", "; Max-Age=0"))

    def _set(self, name: str, value: str, more: str = "") -> str:
        # Lax, for links in e-mails lead to our pages too. What does something asks for more.
        secure = "; Secure" if self._is_https else ""
        return f"{self.name(name)}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}"

    def name(self, name: str) -> str:
        """What a cookie of ours is called."""
        # Browsers take `__Host-` from this very host alone, over https, for no other path.
        return f"__Host-dusangire-{name}" if self._is_https else f"dusangire-{name}"

    @property
    def _url(self) -> str | None:
        return self.settings.public_url

    @property
    def _is_https(self) -> bool:
        return self._url is not None and self._url.startswith("https://")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
