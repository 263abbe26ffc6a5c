"""Whose word is taken for where a request comes from (S36), and that we are reached by https."""

from ipaddress import ip_network

import pytest
from starlette.types import Message, Receive, Scope, Send

from dusangire.errors import CannotStart
from dusangire.settings import Settings
from dusangire_server.http import Guard

PROXIES = tuple(map(ip_network, ("127.0.0.1", "10.0.0.0/24", "2001:db8::/64")))


async def seen(client: str, *told: str, trusted: bool = True) -> str:
    """The address that the app behind the guard is told."""
    found: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope["client"][0])

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    headers = [(b"x-forwarded-for", value.encode()) for value in told]
    scope = {"type": "http", "path": "/", "client": (client, 1), "headers": headers}
    await Guard(app, proxies=PROXIES if trusted else ())(scope, receive, send)
    return found[0]


@pytest.mark.parametrize(
    ("client", "told", "address"),
    [
        ("127.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("::ffff:127.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("127.0.0.1", ("1.1.1.1, 203.0.113.9",), "203.0.113.9"),
        ("127.0.0.1", ("1.1.1.1", "203.0.113.9, 10.0.0.7"), "203.0.113.9"),
        ("2001:db8::1", ("2001:db8:1::5",), "2001:db8:1::5"),
        ("127.0.0.1", (), "127.0.0.1"),
        ("127.0.0.1", ("10.0.0.7",), "10.0.0.7"),
        ("127.0.0.1", ("203.0.113.9, nonsense",), "127.0.0.1"),
        ("198.51.100.1", ("127.0.0.1",), "198.51.100.1"),
        ("10.0.1.1", ("203.0.113.9",), "10.0.1.1"),
        ("a socket", ("203.0.113.9",), "a socket"),
    ],
)
async def test_s36_the_last_hop_that_no_proxy_of_ours_is_counts(
    client: str, told: tuple[str, ...], address: str
) -> None:
    assert await seen(client, *told) == address


async def test_s36_without_a_setting_nobody_is_believed() -> None:
    assert await seen("127.0.0.1", "203.0.113.9", trusted=False) == "127.0.0.1"


def test_trusted_proxies_are_addresses_and_networks() -> None:
    settings = Settings.read({"DUSANGIRE_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/24,2001:db8::/64"})

    assert settings.trusted_proxies == PROXIES


@pytest.mark.parametrize("text", ["proxy.example.rw", "10.0.0.0/33", "10.0.0.1/24", "*"])
def test_what_is_no_network_is_said_at_the_start(text: str) -> None:
    with pytest.raises(CannotStart, match="DUSANGIRE_TRUSTED_PROXIES"):
        Settings.read({"DUSANGIRE_TRUSTED_PROXIES": text})


@pytest.mark.parametrize(
    ("environment", "url", "starts"),
    [
        ("live", "https://pay.example.rw", True),
        ("live", "http://pay.example.rw", False),
        ("LIVE", "http://localhost.example.rw", False),
        ("live", "http://[broken", False),
        ("live", "http://127.0.0.1:8000", True),
        ("live", "http://[::1]:8000", True),
        ("live", "http://localhost:8000", True),
        ("test", "http://pay.example.rw", True),
    ],
)
def test_in_live_mode_passwords_go_by_https(environment: str, url: str, starts: bool) -> None:
    environ = {"DUSANGIRE_ENVIRONMENT": environment, "DUSANGIRE_PUBLIC_URL": url}
    if starts:
        assert Settings.read(environ).public_url == url
        return
    with pytest.raises(CannotStart, match="DUSANGIRE_PUBLIC_URL"):
        Settings.read(environ)
