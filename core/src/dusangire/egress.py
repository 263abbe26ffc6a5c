"""Where our own HTTP may go: over TLS, to public addresses alone, looked at when it connects.

Addresses that people give us (of merchants' webhooks, of gateways) must not reach what stands
behind our firewall. A name is looked up once, every address that it leads to must be public, and
the connection goes to the very address that was looked at: a name server that says something else
a moment later is not asked. The name still stands in the TLS handshake and in the Host header.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpcore
import httpx

from dusangire.errors import CannotStart
from dusangire.settings import Settings

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
# Gives every address of a host, as text. Raises OSError when there is none.
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

HTTPS = 443
MAX_URL = 2_000
# Addresses of one name that are tried, one after the other.
_TRIED = 4
# How long one look-up may take. A name server that is away costs the system five seconds.
_LOOK_UP_WITHIN = 8.0
_LOOK_UPS_AT_A_TIME = 32
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
# Special in IANA's registries, and not private to every version of `ipaddress` that we run on.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # protocols: NAT64's own, discovery
            "192.88.99.0/24",  # whoever answers for 6to4
            "2001::/23",  # protocols: Teredo (an IPv4 address in disguise), ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address in disguise
            "3fff::/20",  # documentation
        ),
    )
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_NO_NAMES = frozenset({"localhost", "local", "internal", "localdomain", "lan", "arpa", "onion"})


class NotAllowed(Exception):
    """This address cannot be used: it must be https, and lead to public addresses only."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class LookUps:
    """Asks the system, in threads of its own.

    Who looks up names that others chose must not hold up anybody else: the event loop's few
    threads stay free for them. A name that hangs takes one thread, however many wait for it.

    patience: seconds after which nobody waits any more, though the thread may still be taken.
    """

    def __init__(self, what_for: str, *, patience: float = _LOOK_UP_WITHIN) -> None:
        self._threads = ThreadPoolExecutor(_LOOK_UPS_AT_A_TIME, f"look-up-{what_for}")
        self._patience = patience
        self._under_way: dict[tuple[str, int], Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Raises OSError, also when it takes too long."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def tell(_looking: Future[list[str]]) -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(done.set)

        looking = self._looking(host, port)
        looking.add_done_callback(tell)
        try:
            async with asyncio.timeout(self._patience):
                await done.wait()
        except TimeoutError as error:
            raise OSError(f"{host} was not found within {self._patience:g} seconds") from error
        return looking.result()

    def _looking(self, host: str, port: int) -> Future[list[str]]:
        looking = self._under_way.get((host, port))
        if looking is None:
            looking = self._under_way[host, port] = self._threads.submit(_ask_system, host, port)
            looking.add_done_callback(lambda _: self._under_way.pop((host, port), None))
        return looking


def _ask_system(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


# Of this process. Apart, so that merchants' name servers keep no payment waiting.
_OF_WEBHOOKS = LookUps("webhooks")
_OF_GATEWAYS = LookUps("gateways")


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """What may be connected to.

    ports: of public addresses; None: any.
    loopback: this machine may be reached too, on any port and without TLS: for simulators and
        tests, never in live mode.
    ca_bundle: certificates of authorities that are trusted beside the system's.
    """

    ports: frozenset[int] | None = frozenset({HTTPS})
    loopback: bool = False
    ca_bundle: Path | None = None
    resolve: Resolver = _OF_WEBHOOKS

    @classmethod
    def of_gateways(cls, settings: Settings) -> "Egress":
        """Banks like odd ports; simulators are on this machine, in test mode."""
        return cls(
            ports=None,
            loopback=not settings.live,
            ca_bundle=settings.ca_bundle,
            resolve=_OF_GATEWAYS,
        )

    @classmethod
    def of_webhooks(cls, settings: Settings) -> "Egress":
        return cls(
            ports=frozenset(settings.webhook_ports),
            loopback=settings.loopback_webhooks and not settings.live,
            ca_bundle=settings.ca_bundle,
        )

    def read(self, url: str) -> tuple[str, int]:
        """The host and port of an address as it is written; nothing is looked up.

        Raises NotAllowed.
        """
        if len(url) > MAX_URL or not url.isascii() or any(c <= " " or c in "\\\x7f" for c in url):
            raise NotAllowed(
                f"An address has at most {MAX_URL} characters, all of them printable ASCII: an "
                "international name is written as xn--…, other characters as %…"
            )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise NotAllowed("This is not an address.") from error
        if "@" in parts.netloc:
            raise NotAllowed("An address holds no name and password.")
        if parts.fragment:
            raise NotAllowed("An address that is called has no part behind #.")
        # Two readers may read one text differently. What both read alike is what will be called.
        try:
            called = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise NotAllowed("This is not an address.") from error
        read = called.raw_host.decode("ascii"), called.port or port, called.scheme
        if read != (host, port, parts.scheme):
            raise NotAllowed("This address can be read in more than one way.")
        near = self.loopback and _is_loopback(host)
        if parts.scheme != "https" and not (near and parts.scheme == "http"):
            raise NotAllowed
        port = port if port is not None else HTTPS if parts.scheme == "https" else 80
        self._allow_name(host, port, near=near)
        return host, port

    def _allow_name(self, host: str, port: int, *, near: bool) -> None:
        if near:
            return
        if self.ports is not None and port not in self.ports:
            allowed = ", ".join(map(str, sorted(self.ports)))
            raise NotAllowed(f"Port {port} is not allowed. Allowed: {allowed}.")
        if (address := _literal(host)) is not None:
            if not _is_public(address):
                raise NotAllowed
        elif not _is_name(host):
            raise NotAllowed

    async def check(self, url: str) -> None:
        """Looks an address up as it would be before a call. Raises NotAllowed."""
        host, port = self.read(url)
        try:
            await self.addresses(host, port)
        except OSError as error:
            raise NotAllowed(f"{host} cannot be found.") from error

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where a connection to the host may go, every address of it looked at.

        Raises NotAllowed when one of them is not public; OSError when there is none.
        """
        literal = _literal(host)
        if literal is None and not (_is_name(host) or (self.loopback and _is_loopback(host))):
            # 2130706433, 0x7f.1 and the like: the system would look them up as addresses.
            raise NotAllowed
        found = [str(literal)] if literal is not None else await self.resolve(host, port)
        if not found:
            raise OSError(f"{host} has no address")
        if not all(self._may_reach(address, port) for address in found):
            # Not which one: whoever may set an address need not learn what names mean inside.
            raise NotAllowed(f"{host}:{port} does not lead to public addresses alone.")
        return list(found)

    def _may_reach(self, text: str, port: int) -> bool:
        address = _literal(text)
        if address is None:
            return False
        if address.is_loopback:
            return self.loopback
        return (self.ports is None or port in self.ports) and _is_public(address)

    def transport(self, *, connections: int = 16) -> httpx.AsyncHTTPTransport:
        """What a client is opened with, so that it reaches nothing else. Raises CannotStart."""
        return _GuardedTransport(self, connections)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if any(address in network for network in _SPECIAL):
        return False
    # Outside it are the rest: mapped and translated IPv4 addresses, segment routing, discard-only.
    return address.version == 4 or address in _GLOBAL_IPV6


def _is_loopback(host: str) -> bool:
    address = _literal(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or (host.endswith(".localhost") and _is_labels(host))


def _is_labels(host: str) -> bool:
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.split("."))


def _is_name(host: str) -> bool:
    """Whether it is a name of the public DNS, and not an address in disguise."""
    last = host.rpartition(".")[2].lower()
    # No top-level domain begins with a digit, and whatever reads 0x7f.1 begins with the end.
    return "." in host and _is_labels(host) and not last[:1].isdigit() and last not in _NO_NAMES


# ── connecting ───────────────────────────────────────────────────────────────────────────────────


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own, with a pool whose connections the guard makes."""

    def __init__(self, egress: Egress, connections: int) -> None:
        context = trusted(egress.ca_bundle)
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=5.0,
            network_backend=_Guard(egress),
        )


class _Guard(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, and to no other."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own word
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(host, port, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host}:{port} cannot be reached in time") from error

    async def _connect(
        self,
        host: str,
        port: int,
        local_address: str | None,
        socket_options: Iterable[Any] | None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._egress.addresses(host, port)
        except (NotAllowed, OSError) as error:
            raise httpcore.ConnectError(str(error)) from error
        last: httpcore.ConnectError | None = None
        for address in addresses[:_TRIED]:
            try:
                return await self._backend.connect_tcp(
                    address, port, None, local_address, socket_options
                )
            except httpcore.ConnectError as error:
                last = error
        raise httpcore.ConnectError(f"{host}:{port} cannot be reached: {last}") from last

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


@cache
def trusted(ca_bundle: Path | None = None) -> ssl.SSLContext:
    """The certificate authorities, read once: it takes longer than a call. TLS 1.2 or newer.

    Raises CannotStart when the file holds no certificates.
    """
    context = httpx.create_ssl_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_bundle is not None:
        try:
            context.load_verify_locations(ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise CannotStart(
                f"DUSANGIRE_CA_BUNDLE: {ca_bundle} cannot be read as certificates (PEM): {error}"
            ) from error
    return context
