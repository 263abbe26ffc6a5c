"""The tutorial: its pages build its plugin, and its plugin takes a payment in the demo."""

import asyncio
import contextlib
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness.environment import Environment

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial"
PLUGIN = TUTORIAL / "plugin"
PAGES = sorted(TUTORIAL.glob("[0-9]-*.md"))
BLOCK = re.compile(r"^\*\*`([\w/.]+)`\*\*\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a plugin says about itself; the reader writes another.
OF_ITS_OWN = {"README.md"}
SECONDS = 60


@dataclass(frozen=True)
class Block:
    """Code on a page. lines: which lines of the file it shows."""

    file: str
    text: str

    @property
    def path(self) -> str:
        """In the plugin's folder; pages leave the package out."""
        inside = self.file.startswith("tests/")
        return self.file if inside else f"src/dusangire_ikaze/{self.file}"

    def lines(self) -> set[int] | None:
        """The numbers of the lines that it shows, others left out; None: it is no excerpt."""
        whole = (PLUGIN / self.path).read_text().splitlines()
        shown: set[int] = set()
        # A chunk at a time: a decorator alone fits everywhere, together with its function once.
        for chunk in self.text.strip().split("\n\n\n"):
            rest = chunk.splitlines()
            while rest:
                start, size = _longest(rest, whole)
                if size == 0:
                    return None
                shown.update(range(start, start + size))
                rest = rest[size:]
        return shown


def _longest(lines: list[str], whole: list[str]) -> tuple[int, int]:
    """Where the most of `lines`, from the first on, stand together; and how many."""
    sizes = [
        next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
        for start in range(len(whole))
        if (pairs := list(zip(lines, whole[start:], strict=False)))
    ]
    return sizes.index(max(sizes)), max(sizes)


def blocks(page: Path) -> Iterator[Block]:
    return (Block(*found) for found in BLOCK.findall(page.read_text()))


def code_files() -> set[str]:
    found = (path for path in PLUGIN.rglob("*") if path.is_file())
    names = {str(path.relative_to(PLUGIN)) for path in found if "__pycache__" not in path.parts}
    return {name for name in names if not name.startswith(".")} - OF_ITS_OWN


# ── the pages ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_python_is_an_excerpt_of_the_plugin(page: Path) -> None:
    found = list(blocks(page))

    strangers = [block.file for block in found if block.lines() is None]

    assert strangers == []
    assert page.read_text().count("```python") == len(found)


@pytest.mark.parametrize("page", [*PAGES, TUTORIAL / "README.md"], ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text())

    lost = [
        f"{path}#{anchor}"
        for path, anchor in links
        if not (page.parent / path).exists()
        or (anchor and anchor not in _anchors((page.parent / path).read_text()))
    ]

    assert links
    assert lost == []


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_every_line_of_the_plugin_is_on_a_page() -> None:
    shown: dict[str, set[int]] = {}
    for block in (block for page in PAGES for block in blocks(page)):
        shown.setdefault(block.path, set()).update(block.lines() or ())

    hidden = [
        f"{path}:{number + 1} {line}"
        for path, numbers in shown.items()
        for number, line in enumerate((PLUGIN / path).read_text().splitlines())
        if line and number not in numbers
    ]

    assert hidden == []


def test_what_no_page_shows_is_what_the_first_command_wrote(begun: Path) -> None:
    shown = {block.path for page in PAGES for block in blocks(page)}

    different = [
        path
        for path in sorted(code_files() - shown)
        if not (begun / path).exists() or (begun / path).read_text() != (PLUGIN / path).read_text()
    ]

    assert different == []


def test_the_plugin_needs_nothing_that_a_stranger_has_not() -> None:
    sources = [path.read_text() for path in PLUGIN.rglob("*.py")]

    imported = {
        name for text in sources for name in re.findall(r"^\s*from (dusangire\S*)", text, re.M)
    }

    assert imported
    assert not [
        name for name in imported if not re.match(r"dusangire(_ikaze)?(\.[a-z]\w*)*$", name)
    ]


# ── following them ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment.copy(tmp_path / "environment")


@pytest.fixture
def begun(environment: Environment, tmp_path: Path) -> Path:
    """What page 1 leaves: a new plugin, installed."""
    ran = environment.run(environment.dusangire, "plugins", "new", "ikaze", cwd=tmp_path)
    assert ran.status == 0, ran.err
    folder = tmp_path / "dusangire-ikaze"
    environment.install(folder, editable=True)
    return folder


def follow(folder: Path, page: int) -> None:
    """As a reader does up to the end of that page."""
    (folder / "tests" / "test_declines.py").unlink()
    shown: dict[str, set[int]] = {}
    for block in (block for one in PAGES[:page] for block in blocks(one)):
        shown.setdefault(block.path, set()).update(block.lines() or ())
    for path, numbers in shown.items():
        lines = (PLUGIN / path).read_text().splitlines(keepends=True)
        (folder / path).write_text("".join(lines[number] for number in sorted(numbers)))


async def test_after_page_2_the_provider_answers(environment: Environment, begun: Path) -> None:
    follow(begun, 2)

    async with running(environment, begun, "-m", "dusangire.simulation", "ikaze") as process:
        assert process.stdout is not None
        address = (await asyncio.wait_for(process.stdout.readline(), SECONDS)).decode().strip()
        token, push = [
            await curl(command.replace("http://127.0.0.1:9100", address))
            for command in re.findall(r"^curl .*$", PAGES[1].read_text(), re.MULTILINE)
        ]

    assert json.loads(token)["token"]
    assert json.loads(push) == {"code": "TOKEN_EXPIRED"}


@pytest.mark.parametrize(
    ("page", "tests"),
    [(3, "tests/test_account.py"), (4, "tests"), (5, "-k=webhook")],
)
def test_after_a_page_its_tests_pass(
    environment: Environment, begun: Path, page: int, tests: str
) -> None:
    follow(begun, page)

    ran = environment.run(environment.python, "-m", "pytest", tests, cwd=begun)

    assert ran.status == 0, ran.out
    assert re.search(r"[1-9]\d* passed", ran.out)


def test_after_the_last_page_nothing_is_left_to_say(environment: Environment, begun: Path) -> None:
    follow(begun, 6)

    ran = environment.run(environment.dusangire, "plugins", "check", "ikaze", "--json", cwd=begun)

    assert ran.status == 0, ran.out
    promises = ran.json["contract"]["promises"]
    assert {one["status"] for one in promises} == {"ok", "not applicable"}
    assert {one["status"] for one in promises if one["group"] in {"Webhooks", "Refunds"}} == {"ok"}
    assert {"REFUND", "PARTIAL_REFUND", "CALLBACK", "STATUS_CHECK"} <= set(ran.json["capabilities"])
    assert ran.json["advice"] == []


# ── in the demo ──────────────────────────────────────────────────────────────────────────────────


async def test_the_tutorial_plugin_takes_a_payment_in_the_demo(
    environment: Environment, tmp_path: Path
) -> None:
    environment.install(PLUGIN)
    shop = tmp_path / "shop"
    shop.mkdir()

    async with demo(environment, shop) as welcome:
        payment = await pay(welcome, "the-finished-one")

    assert payment == {"status": "SUCCEEDED", "gateway": "ikaze"}


async def test_a_demo_outlives_the_change_from_the_first_page_to_the_last(
    environment: Environment, begun: Path, tmp_path: Path
) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()

    async with demo(environment, shop) as welcome:
        first = await pay(welcome, "the-first-one")
    follow(begun, 6)
    async with demo(environment, shop) as welcome:
        second = await pay(welcome, "the-second-one")

    assert first["status"] == second["status"] == "SUCCEEDED"


@contextlib.asynccontextmanager
async def running(
    environment: Environment, folder: Path, *words: str | Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of Python's, in a folder; killed if it does not end by itself."""
    with (folder / "stderr.txt").open("ab") as err:
        process = await asyncio.create_subprocess_exec(
            environment.python,
            *words,
            cwd=folder,
            env=environment.variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=err,
        )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def demo(environment: Environment, folder: Path) -> AsyncIterator[dict[str, Any]]:
    """What the demo says once it is ready."""
    words = (environment.dusangire, "demo", "--port", str(_free_port()), "--no-open", "--json")
    async with running(environment, folder, *words) as process:
        assert process.stdout is not None
        said = b""
        async with asyncio.timeout(SECONDS):
            while not said.endswith(b"\n}\n"):
                line = await process.stdout.readline()
                assert line, (folder / "stderr.txt").read_text()
                said += line
        yield json.loads(said)


async def pay(welcome: dict[str, Any], key: str) -> dict[str, Any]:
    """The payment of page 1, as it is written there, and how it ended."""
    [command] = re.findall(r"^curl .*?}}}}'$", PAGES[0].read_text(), re.MULTILINE | re.DOTALL)
    command = command.replace("http://127.0.0.1:8000/graphql", welcome["graphqlUrl"])
    command = command.replace("$KEY", welcome["apiKey"]).replace("my-first-one", key)
    answer = json.loads(await curl(command))
    reference = answer["data"]["createPayment"]["payment"]["reference"]
    query = f'{{ payment(reference: "{reference}") {{ status gateway {{ code }} }} }}'
    headers = {"Authorization": f"Bearer {welcome['apiKey']}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        async with asyncio.timeout(SECONDS):
            while True:
                told = (await http.post(welcome["graphqlUrl"], json={"query": query})).json()
                payment = told["data"]["payment"]
                if payment["status"] not in {"CREATED", "PENDING"}:
                    return {"status": payment["status"], "gateway": payment["gateway"]["code"]}
                await asyncio.sleep(0.1)


async def curl(command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
