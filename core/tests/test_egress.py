"""Our own HTTP reaches public addresses over TLS, and nothing else, whatever an address looks like.

S37, S38 and S39 of the security checklist.
"""

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from core.tests.sink import Authority, Sink, open_sink

from dusangire.core import open_core
from dusangire.egress import Egress, LookUps, NotAllowed, trusted
from dusangire.errors import CannotStart
from dusangire.exchanges import open_client
from dusangire.gateway import Environment
from dusangire.settings import Settings

PUBLIC = "93.184.215.14"


class Names:
    """A toy name server: each name has one answer after the other, the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


# What each means to somebody: this machine, its neighbours, the cloud's metadata.
SPELLINGS = [
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.1/",
    "https://127.0.0.1/",
    "https://127.0.0.2:443/",
    "https://0/",
    "https://0.0.0.0/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b::8.8.8.8]/",
    "https://[64:ff9b:1::10.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://localhost/",
    "https://localhost./",
    "https://LOCALHOST/",
    "https://shop.localhost/",
    "https://shop.local/",
    "https://metadata.google.internal/",
    "https://shop/",
    "https://shop.example.rw./",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "https://shop.example.rw@127.0.0.1/",
    "https://127.0.0.1@shop.example.rw/",
    "https://user:secret@shop.example.rw/",
    "https://@shop.example.rw/",
    "https://shop.example.rw\\@127.0.0.1/",
    "https://shop.example.rw:22/",
    "https://shop.example.rw:8443/",
    "https://shop.example.rw:0/",
    "https://shop.example.rw:99999/",
    "https://shop.example.rw/#127.0.0.1",
    "https:///shop.example.rw",
    "https:shop.example.rw",
    "https://",
    "https://[",
    "http://shop.example.rw/",
    "http://127.0.0.1/",
    "file:///etc/passwd",
    "gopher://shop.example.rw:443/_GET",
    "ftp://shop.example.rw/",
    "//shop.example.rw/",
    "shop.example.rw",
    "",
    " https://shop.example.rw/",
    "https://shop.example.rw/\r\nHost: inside",
    "https://shop.example.rw/" + "a" * 3000,
]


@pytest.mark.parametrize("url", SPELLINGS)
async def test_s37_an_address_that_is_not_plainly_public_is_refused(url: str) -> None:
    names = Names([PUBLIC])

    with pytest.raises(NotAllowed):
        await Egress(resolve=names).check(url)

    assert names.asked == []


# IANA's registries of special-purpose addresses, one or two of each block. What is private to one
# version of Python's ipaddress is public to another: none of these depends on it.
SPECIAL = [
    *("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.0.1", "172.31.255.255"),
    *("192.0.0.1", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.192", "192.0.0.255"),
    *("192.0.2.1", "192.88.99.2", "192.168.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"),
    *("239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "100:0:0:1::1"),
    *("2001::1", "2001:1::1", "2001:1::2", "2001:2::1", "2001:3::1", "2001:4:112::1"),
    *("2001:10::1", "2001:20::1", "2001:2f:ffff::1", "2001:30::1", "2001:1ff:ffff::1"),
    *("2001:db8::1", "2002:808:808::1", "3fff::1", "3fff:fff:ffff::1", "5f00::1"),
    *("fc00::1", "fdff::1", "fe80::1", "fec0::1", "ff0e::1"),
]


@pytest.mark.parametrize("address", SPECIAL)
async def test_s37_special_addresses_are_refused_on_every_version_of_python(address: str) -> None:
    literal = f"[{address}]" if ":" in address else address

    with pytest.raises(NotAllowed):
        await Egress().check(f"https://{literal}/")
    with pytest.raises(NotAllowed):
        await Egress(resolve=Names([address])).check("https://shop.example.rw/")


@pytest.mark.parametrize(
    "address",
    ["191.255.255.255", "192.0.1.1", "192.88.98.1", "192.88.100.1", "2001:200::1", "2003::1",
     "2a00:1450::1", "2c0f:fe40::1"],
)  # fmt: skip
async def test_their_neighbours_are_taken(address: str) -> None:
    await Egress(resolve=Names([address])).check("https://shop.example.rw/")


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example.rw/hooks?from=us",
        "https://shop.example.rw:443/",
        "https://SHOP.example.rw/",
        "https://xn--caf-dma.example.rw/",
        "https://8.8.8.8/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/",
        "https://a_b.example.rw/",
    ],
)
async def test_a_public_address_is_taken(url: str) -> None:
    await Egress(resolve=Names([PUBLIC])).check(url)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        [PUBLIC, "::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["fe80::1%eth0"],
        ["not an address"],
    ],
    ids=str,
)
async def test_s37_every_address_of_a_name_must_be_public(addresses: list[str]) -> None:
    # As of a name such as 127.0.0.1.nip.example, which looks like any other.
    egress = Egress(resolve=Names(addresses))

    with pytest.raises(NotAllowed):
        await egress.check("https://127.0.0.1.nip.example/")


async def test_a_name_that_nobody_knows_is_said_to_be_one() -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(NotAllowed, match=r"shop\.example\.rw cannot be found"):
        await Egress(resolve=nobody).check("https://shop.example.rw/")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Names that begin with `slow` are looked up until the test ends; the others mean PUBLIC."""
    ended, asked = threading.Event(), Counter[str]()

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked[host] += 1
        if host.startswith("slow"):
            ended.wait()
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    ended.set()


async def _all_in_vain(names: LookUps, hosts: Sequence[str]) -> None:
    tasks = [asyncio.create_task(names(host, 443)) for host in hosts]
    for one in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(one, OSError)


async def test_merchants_names_that_hang_keep_no_payment_waiting(hanging: Counter[str]) -> None:
    names = LookUps("webhooks", patience=0.1)
    await _all_in_vain(names, [f"slow{n}.example" for n in range(32)])

    # Every thread for webhooks hangs still. Gateways have others, and so has everything else.
    async with asyncio.timeout(30):
        found = await Egress.of_gateways(Settings()).addresses("bank.example", 443)
        elsewhere = await asyncio.get_running_loop().getaddrinfo("database.example", 5432)

    settings = Settings()
    assert Egress.of_webhooks(settings).resolve is not Egress.of_gateways(settings).resolve
    assert found == [PUBLIC]
    assert elsewhere[0][4][0] == PUBLIC


async def test_a_name_that_hangs_takes_one_thread_however_often_it_is_asked(
    hanging: Counter[str],
) -> None:
    names = LookUps("webhooks", patience=0.1)
    await _all_in_vain(names, ["slow.example"] * 100)
    await _all_in_vain(names, ["slow.example"] * 100)

    assert await names("shop.example", 443) == [PUBLIC]
    assert await names("shop.example", 443) == [PUBLIC]
    # Whoever asks later is told what is true then.
    assert hanging == {"slow.example": 1, "shop.example": 2}


async def test_a_name_that_hangs_cannot_be_found(hanging: Counter[str]) -> None:
    egress = Egress(resolve=LookUps("webhooks", patience=0.1))

    with pytest.raises(NotAllowed, match="cannot be found"):
        await egress.check("https://slow.example/")


async def test_other_ports_are_taken_when_they_are_named() -> None:
    egress = Egress(resolve=Names([PUBLIC]), ports=frozenset({443, 8443}))

    await egress.check("https://shop.example.rw:8443/")
    with pytest.raises(NotAllowed, match="443, 8443"):
        await egress.check("https://shop.example.rw:5432/")


# ── the connection ───────────────────────────────────────────────────────────────────────────────


async def _post(egress: Egress, url: str) -> int:
    async with egress.transport() as transport:
        response = await transport.handle_async_request(httpx.Request("POST", url, content="{}"))
        await response.aread()
        await response.aclose()
        return response.status_code


async def test_s37_a_name_that_means_something_else_when_it_is_called_is_refused() -> None:
    async with open_sink() as sink:
        names = Names([PUBLIC], ["127.0.0.1"])
        egress = Egress(resolve=names, ports=frozenset({sink.port}))
        url = f"https://rebinding.example:{sink.port}/"
        await egress.check(url)

        with pytest.raises(httpx.ConnectError, match="public addresses alone"):
            await _post(egress, url)

    assert sink.received == []
    assert names.asked == ["rebinding.example", "rebinding.example"]


async def test_s37_the_connection_goes_to_the_address_that_was_looked_at(tmp_path: Path) -> None:
    authority = Authority.new(tmp_path)
    tls = authority.server("shop.example.rw", tmp_path)
    async with open_sink(tls, "shop.example.rw") as sink:
        # Asked once: what it would say a moment later is not what is connected to.
        names = Names(["127.0.0.1"], ["203.0.113.7"])
        egress = Egress(resolve=names, loopback=True, ca_bundle=authority.bundle)

        status = await _post(egress, sink.url)

    assert status == 204
    assert names.asked == ["shop.example.rw"]
    assert sink.received[0].headers["host"] == f"shop.example.rw:{sink.port}"


async def test_this_machine_is_reached_only_where_that_was_allowed() -> None:
    async with open_sink() as sink:
        with pytest.raises(httpx.ConnectError):
            await _post(Egress(), sink.url)
        with pytest.raises(httpx.ConnectError):
            await _post(Egress(ports=None), sink.url)
        reached = await _post(Egress(loopback=True), sink.url)

    assert reached == 204
    assert len(sink.received) == 1


async def test_where_this_machine_is_allowed_its_neighbours_are_not() -> None:
    egress = Egress(loopback=True, resolve=Names(["10.0.0.1"]))

    for url in ("http://10.0.0.1/", "https://10.0.0.1/", "http://shop.example.rw/", "http://0/"):
        with pytest.raises(NotAllowed):
            egress.read(url)
    with pytest.raises(NotAllowed):
        await egress.check("https://shop.example.rw/")


# ── S39: TLS ─────────────────────────────────────────────────────────────────────────────────────


async def _tls_sink(sink: Sink, ca_bundle: Path | None) -> int:
    return await _post(Egress(loopback=True, ca_bundle=ca_bundle), sink.url)


async def test_s39_a_certificate_of_nobody_we_know_is_refused(tmp_path: Path) -> None:
    async with open_sink(Authority.new(tmp_path).server("127.0.0.1", tmp_path)) as sink:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await _tls_sink(sink, None)

    assert sink.received == []


async def test_s39_a_banks_own_authority_can_be_trusted(tmp_path: Path) -> None:
    authority = Authority.new(tmp_path)
    async with open_sink(authority.server("127.0.0.1", tmp_path)) as sink:
        assert await _tls_sink(sink, authority.bundle) == 204


async def test_s39_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    authority = Authority.new(tmp_path)
    async with open_sink(authority.server("other.example.rw", tmp_path)) as sink:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await _tls_sink(sink, authority.bundle)

    assert sink.received == []


def test_s39_tls_is_1_2_or_newer_and_never_unchecked(tmp_path: Path) -> None:
    for context in (trusted(), trusted(Authority.new(tmp_path).bundle)):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


def test_a_bundle_that_is_none_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")

    with pytest.raises(CannotStart, match="DUSANGIRE_CA_BUNDLE"):
        trusted(empty)
    with pytest.raises(CannotStart, match="DUSANGIRE_CA_BUNDLE"):
        trusted(tmp_path / "missing.pem")


# ── S38: gateways ────────────────────────────────────────────────────────────────────────────────


async def test_s38_a_gateway_whose_name_leads_inside_is_not_called() -> None:
    live = Settings(environment=Environment.LIVE)
    async with open_sink() as sink:
        egress = replace(Egress.of_gateways(live), resolve=Names([PUBLIC], ["127.0.0.1"]))
        base_url = f"https://bank.example:{sink.port}"
        await egress.check(base_url)

        async with open_client(base_url, transport=egress.transport()) as http:
            with pytest.raises(httpx.ConnectError, match="public addresses alone"):
                await http.get("/balance")

    assert sink.received == []


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["0", "443,", "https", "70000", "443;8443", "-1", "４４３"])
def test_a_port_that_is_none_is_named(text: str) -> None:
    with pytest.raises(CannotStart, match="DUSANGIRE_WEBHOOK_PORTS"):
        Settings.read({"DUSANGIRE_WEBHOOK_PORTS": text})


def test_what_the_environment_says_of_outgoing_connections() -> None:
    settings = Settings.read(
        {
            "DUSANGIRE_WEBHOOK_PORTS": "443, 8443",
            "DUSANGIRE_CA_BUNDLE": "bank.pem",
            "DUSANGIRE_LOOPBACK_WEBHOOKS": "yes",
        }
    )

    egress = Egress.of_webhooks(settings)
    assert (egress.ports, egress.ca_bundle) == (frozenset({443, 8443}), Path("bank.pem"))
    assert egress.loopback
    assert not Egress.of_webhooks(Settings()).loopback
    assert not Egress.of_webhooks(replace(settings, environment=Environment.LIVE)).loopback
    assert not Egress.of_gateways(replace(settings, environment=Environment.LIVE)).loopback


def test_webhooks_to_this_machine_are_not_for_live_mode() -> None:
    with pytest.raises(CannotStart, match="DUSANGIRE_LOOPBACK_WEBHOOKS"):
        Settings.read({"DUSANGIRE_ENVIRONMENT": "live", "DUSANGIRE_LOOPBACK_WEBHOOKS": "yes"})


async def test_a_process_does_not_start_with_a_bundle_that_is_none(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, ca_bundle=tmp_path / "missing.pem")

    with pytest.raises(CannotStart, match="DUSANGIRE_CA_BUNDLE"):
        async with open_core(settings, "postgres://nowhere.invalid/none"):
            pass
