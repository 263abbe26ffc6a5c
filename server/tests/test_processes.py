"""The long-running commands, as real processes: how they start, serve, and end without a trace."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from dusangire.cursors import position_cursor
from dusangire.testing.database import empty_database, fresh_database

PROGRAM = Path(sys.executable).with_name("dusangire")
READY_WITHIN = 60

Process = asyncio.subprocess.Process


@contextlib.asynccontextmanager
async def started(*words: str | Path, folder: Path, **environment: str) -> AsyncIterator[Process]:
    """A running program, killed at the end if it is still there."""
    with (folder / "stderr.txt").open("ab") as err:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=folder,
            env={"PATH": os.environ["PATH"], **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=err,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with fresh_database() as address:
        yield address


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
        return found


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(READY_WITHIN):
        while not true():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.05)


async def ready(address: str) -> None:
    async with asyncio.timeout(READY_WITHIN), httpx.AsyncClient() as http:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"{address}/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


async def cli(folder: Path, url: str, *words: str) -> str:
    async with started(PROGRAM, *words, folder=folder, DUSANGIRE_DATABASE_URL=url) as process:
        out, _ = await process.communicate()
    assert process.returncode == 0, (folder / "stderr.txt").read_text()
    return out.decode().strip()


async def stopped(process: Process, number: int = signal.SIGTERM) -> float:
    """Seconds it took to end, with status 0."""
    begin = time.monotonic()
    process.send_signal(number)
    status = await asyncio.wait_for(process.wait(), 30)
    assert status == 0
    return time.monotonic() - begin


def family(pid: int) -> set[int]:
    """The children of a process."""
    return {int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _parent(entry) == pid}


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return None


def running(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def mentioning(text: str) -> list[str]:
    """Command lines of running processes that name `text`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in line:
                found.append(line)
    return found


def is_free(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) != 0


def post(key: str, query: str) -> dict[str, Any]:
    return {"json": {"query": query}, "headers": {"Authorization": f"Bearer {key}"}}


# ── serve and worker ─────────────────────────────────────────────────────────────────────────────


async def test_told_to_stop_it_finishes_answers_and_calls_and_ends_streams(
    tmp_path: Path, url: str, port: int
) -> None:
    address = f"http://127.0.0.1:{port}"
    simulation = (sys.executable, "-m", "dusangire.simulation", "mtn")
    serve = (PROGRAM, "serve", "--port", str(port), "--with-worker")
    async with started(*simulation, folder=tmp_path) as simulated:
        key, provider = await asyncio.gather(
            cli(tmp_path, url, "keys", "create", "--name", "test", "--scope", "ADMIN"),
            _mtn_simulator(simulated),
        )
        await _configure_mtn(tmp_path, url, provider)
        async with (
            started(*serve, folder=tmp_path, DUSANGIRE_DATABASE_URL=url) as web,
            httpx.AsyncClient(timeout=30) as http,
        ):
            await ready(address)
            await http.post(f"{provider}/_control/faults", json={"latency": 1.5})
            stream = asyncio.create_task(_read_stream(http, address, key))
            asked = asyncio.create_task(http.post(f"{address}/graphql", **post(key, _CREATE)))
            await asyncio.sleep(0.4)

            seconds = await stopped(web)

            payment = (await asked).json()["data"]["createPayment"]["payment"]
            shown = await cli(tmp_path, url, "payments", "show", payment["reference"], "--json")
            last = json.loads(shown)["transactions"][-1]
            assert payment["status"] == "CREATED"
            assert (last["kind"], last["httpStatus"]) == ("INITIATE", 202)
            assert "payment.created" in await stream
            assert seconds < 10
    assert is_free(port)


# Answered after a second, when the gateway has not answered yet.
_CREATE = (
    'mutation { createPayment(input: { idempotencyKey: "k", waitMs: 1000, '
    'amount: { amount: "5000", currency: "RWF" }, '
    'method: { gateway: "mtn", phone: "0788123456" } }) { payment { reference status } } }'
)


async def _mtn_simulator(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), READY_WITHIN)).decode().strip()


async def _configure_mtn(folder: Path, url: str, provider: str) -> None:
    from dusangire_mtn.gateway import describe_gateway

    config = {**(describe_gateway().example_config or {}), "base_url": provider}
    settings = [word for pair in config.items() for word in ("--set", "=".join(pair))]
    await cli(folder, url, "gateways", "save", "mtn", "--plugin", "mtn", *settings)


async def _read_stream(http: httpx.AsyncClient, address: str, key: str) -> str:
    query = f'subscription {{ events(after: "{position_cursor(0)}") {{ type }} }}'
    request = post(key, query)
    request["headers"]["Accept"] = "text/event-stream"
    async with http.stream("POST", f"{address}/graphql", **request) as answer:
        return "".join([text async for text in answer.aiter_text()])


async def test_several_web_processes_share_a_port_and_outlive_each_other(
    tmp_path: Path, url: str, port: int
) -> None:
    address = f"http://127.0.0.1:{port}"
    serve = (PROGRAM, "serve", "--port", str(port), "--workers", "2")
    async with started(*serve, folder=tmp_path, DUSANGIRE_DATABASE_URL=url) as web:
        await ready(address)
        children = family(web.pid)
        os.kill(min(children), signal.SIGKILL)

        statuses = []
        for _ in range(6):
            # Each on a connection of its own: some wait for the process that is started again.
            async with httpx.AsyncClient(timeout=30) as http:
                statuses.append((await http.get(f"{address}/health")).status_code)
        await until(lambda: len(family(web.pid)) == 2)
        again = family(web.pid)
        await stopped(web, signal.SIGINT)

    assert len(children) == 2
    assert statuses == [200] * 6
    assert running(children | again) == set()
    assert is_free(port)


async def test_web_processes_end_when_their_supervisor_is_killed(
    tmp_path: Path, url: str, port: int
) -> None:
    serve = (PROGRAM, "serve", "--port", str(port), "--workers", "2")
    async with started(*serve, folder=tmp_path, DUSANGIRE_DATABASE_URL=url) as web:
        await ready(f"http://127.0.0.1:{port}")
        children = family(web.pid)
        web.kill()
        await web.wait()

    await until(lambda: not running(children))
    assert is_free(port)


async def test_serve_refuses_a_database_that_is_not_migrated(tmp_path: Path, port: int) -> None:
    async with (
        empty_database() as url,
        started(
            PROGRAM, "serve", "--port", str(port), folder=tmp_path, DUSANGIRE_DATABASE_URL=url
        ) as web,
    ):
        status = await asyncio.wait_for(web.wait(), READY_WITHIN)

    assert status == 1
    assert "dusangire migrate" in (tmp_path / "stderr.txt").read_text()


async def test_a_worker_stops_at_once_when_it_has_nothing_in_hand(tmp_path: Path, url: str) -> None:
    async with started(PROGRAM, "worker", folder=tmp_path, DUSANGIRE_DATABASE_URL=url) as process:
        await until(lambda: "worker started" in (tmp_path / "stderr.txt").read_text())
        seconds = await stopped(process)

    assert seconds < 3


# ── the demo ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_demo_takes_a_payment_by_what_it_prints_and_keeps_it(
    tmp_path: Path, port: int
) -> None:
    demo = (PROGRAM, "demo", "--port", str(port), "--no-open")
    async with started(*demo, folder=tmp_path) as first:
        shown = await _printed(first)
        tries = _commands(shown)
        made = await _bash(tries[0])
        reference = re.findall(r"PAY-[0-9A-Z]{8}", made)[0]
        watched = await _watch(tries[1], f'"type":"payment.succeeded".*{reference}')
        page = await _pay_on_the_page(await _bash(tries[2]))
        [imports, reconciles] = re.findall(r"^\S+ (statements .+|reconcile .+)$", shown, re.M)
        await _bash(f"env -C {tmp_path} {PROGRAM} {imports}")
        report = await _bash(f"env -C {tmp_path} {PROGRAM} {reconciles}")
        taken = await _refused(tmp_path, *demo)
        seconds = await stopped(first, signal.SIGINT)

    assert "SUCCEEDED" in watched
    assert 'data-state="paid"' in page
    assert re.search(r"^lines matched +2$", report, re.M), report
    assert "18,000 RWF came into" in report
    assert f"Port {port} of 127.0.0.1 is taken" in taken
    assert seconds < 3
    assert is_free(port)
    assert mentioning(str(tmp_path)) == []

    async with started(*demo, folder=tmp_path) as second:
        shown_again = await _printed(second)
        page = await _bash(f"curl -s {_simulator_page(shown_again)}")
        listed = await _bash(_curl_payments(tries[0]))
        await stopped(second, signal.SIGINT)

    assert _key(shown_again) == _key(shown)
    links = re.findall(rf"http://127.0.0.1:{port}/admin/link/[\w-]{{43}}", shown + shown_again)
    assert len(set(links)) == 4, "an administrator and an approver, at each start"
    assert "<html" in page
    assert reference in listed
    assert {"SUCCEEDED", "FAILED", "CREATED", "PENDING", "CANCELLED"} <= set(
        re.findall(r'"status":"(\w+)"', listed)
    )
    assert (tmp_path / ".dusangire" / "demo.key").stat().st_mode & 0o077 == 0
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


async def _printed(process: Process) -> str:
    """What stands on the screen once everything is ready."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(READY_WITHIN):
        while not lines or "Ctrl-C stops everything" not in lines[-1]:
            line = await process.stdout.readline()
            assert line, "the demo ended"
            lines.append(line.decode())
    return "".join(lines)


def _commands(shown: str) -> list[str]:
    return re.findall(r"^(curl (?:.*\\\n)*.*)$", shown, re.MULTILINE)


def _key(shown: str) -> str:
    [key] = re.findall(r"API key +(\S+)", shown)
    return str(key)


def _simulator_page(shown: str) -> str:
    [page] = re.findall(r"(http://\S+/simulators/mtn/)", shown)
    return str(page)


def _curl_payments(command: str) -> str:
    query = "{ payments(first: 50) { edges { node { reference status } } } }"
    return re.sub(r"-d '.*'", f'-d \'{{"query":"{query}"}}\'', command)


async def _pay_on_the_page(printed: str) -> str:
    """Opens the link in an answer and pays; gives the page that the payer comes back to."""
    [link] = re.findall(r'"url":"([^"]+)"', printed)
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as browser:
        checkout = await browser.get(link)
        [card, *_] = re.findall(r'name="card" value="([^"]+)"', checkout.text)
        page = await browser.post(link, data={"act": "pay", "card": card})
        async with asyncio.timeout(READY_WITHIN):
            # As the page does by itself.
            while 'data-state="waiting"' in page.text:
                await asyncio.sleep(0.5)
                page = await browser.get(page.url)
    return page.text


async def _bash(command: str) -> str:
    out, _ = await (await _shell(command)).communicate()
    return out.decode()


async def _shell(command: str) -> Process:
    return await asyncio.create_subprocess_exec(
        "bash", "-c", f"exec {command}", stdout=asyncio.subprocess.PIPE
    )


async def _watch(command: str, until: str) -> str:
    """The line of a stream that matches."""
    process = await _shell(command)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            async for line in process.stdout:
                if re.search(until, line.decode()):
                    return line.decode()
    finally:
        process.kill()
        await process.wait()
    raise AssertionError(f"nothing matched {until}")


async def _refused(folder: Path, *words: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    return err.decode()
