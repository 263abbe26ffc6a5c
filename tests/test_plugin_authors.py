"""A stranger adds a payment method: a folder to begin with, a report, and nothing else breaks."""

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.harness.environment import Environment, Ran
from tests.harness.processes import Process, free_port

from dusangire.testing.database import fresh_database

ROOT = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent
TEMPLATE = "dusangire_server/authors/template"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment.copy(tmp_path / "environment")


def new(environment: Environment, name: str, *words: str, cwd: Path) -> Ran:
    return environment.run(environment.dusangire, "plugins", "new", name, *words, cwd=cwd)


def check(environment: Environment, name: str, *words: str | Path, cwd: Path) -> Ran:
    return environment.run(
        environment.dusangire, "plugins", "check", name, "--json", *words, cwd=cwd
    )


@pytest.fixture
def momo(environment: Environment, tmp_path: Path) -> Path:
    """The folder of a new plugin that is installed, as its author would."""
    folder = tmp_path / new(environment, "momo", cwd=tmp_path).out.strip()
    environment.install(folder, editable=True)
    return folder


def change(file: Path, old: str, text: str) -> None:
    source = file.read_text()
    assert old in source
    file.write_text(source.replace(old, text))


# ── new ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_plugin_keeps_its_contract_at_once(environment: Environment, tmp_path: Path) -> None:
    made = new(environment, "momo", "--into", "mine", cwd=tmp_path)
    [install, test, demo] = [line[2:] for line in made.err.splitlines() if line[:2] == "  "]
    environment.install(tmp_path / "mine" / "dusangire-momo", editable=True)
    tested = environment.run(*shlex.split(test), cwd=tmp_path)
    checked = check(environment, "momo", cwd=tmp_path).json

    assert made.out == "mine/dusangire-momo\n"
    assert install.endswith('-m pip install -e "./mine/dusangire-momo[test]"')
    assert demo == "dusangire demo"
    assert tested.status == 0, tested.out
    assert checked["ok"] is True
    assert checked["contract"]["counts"]["failed"] == checked["contract"]["counts"]["open"] == 0
    assert checked["contract"]["counts"]["ok"] >= 16
    assert checked["advice"] == []


@pytest.mark.parametrize("name", ["x1", "momo", "bank_of_kigali", "a" * 16])
def test_whatever_its_name_it_is_clean_code(tmp_path: Path, name: str) -> None:
    ran = Environment(TOOLS.parent).run(TOOLS / "dusangire", "plugins", "new", name, cwd=tmp_path)
    folder = tmp_path / ran.out.strip()

    first_party = 'lint.isort.known-first-party = ["dusangire*"]'
    linted = subprocess.run(
        [
            *(TOOLS / "ruff", "check", "--isolated", "--line-length=100", "--select=E,F,I"),
            *("--config", first_party, folder),
        ],
        check=False,
        capture_output=True,
        text=True,
    )

    assert linted.returncode == 0, linted.stdout
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert not [text for text in texts if "xample" in text and "example_config" not in text]
    assert (folder / "src" / f"dusangire_{name}" / "py.typed").exists()
    assert not (folder / "tests" / "__init__.py").exists()


@pytest.mark.parametrize(
    "name", ["Momo", "momo-pay", "9pay", "_momo", "momo_", "a__b", "x", "a" * 17, "é1", "../up", ""]
)
def test_what_cannot_be_a_name_is_usage(tmp_path: Path, name: str) -> None:
    ran = Environment(TOOLS.parent).run(TOOLS / "dusangire", "plugins", "new", name, cwd=tmp_path)

    assert ran.status == 2
    assert "small letters" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "owner"), [("mtn", "dusangire-mtn"), ("server", "dusangire_server")]
)
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str, owner: str) -> None:
    ran = Environment(TOOLS.parent).run(TOOLS / "dusangire", "plugins", "new", name, cwd=tmp_path)

    assert ran.status == 1
    assert owner in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "dusangire-momo").mkdir()
    (tmp_path / "dusangire-momo" / "work of weeks").touch()

    ran = Environment(TOOLS.parent).run(TOOLS / "dusangire", "plugins", "new", "momo", cwd=tmp_path)

    assert ran.status == 1
    assert "is there already" in ran.err
    assert [path.name for path in (tmp_path / "dusangire-momo").iterdir()] == ["work of weeks"]
    assert [path.name for path in tmp_path.iterdir()] == ["dusangire-momo"]


def test_an_installed_server_has_the_template(tmp_path: Path) -> None:
    built = subprocess.run(
        [
            *(TOOLS / "uv", "build", "--wheel", "--no-build-isolation", "--offline", "--no-cache"),
            *("--python", sys.executable, "--out-dir", tmp_path, ROOT / "server"),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=Environment(TOOLS.parent).variables,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")

    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if name.startswith(TEMPLATE) and not name.endswith("/")}

    sources = ROOT / "server" / "src"
    expected = {
        str(path.relative_to(sources))
        for path in (sources / TEMPLATE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == expected


# ── check ────────────────────────────────────────────────────────────────────────────────────────


def test_a_broken_promise_is_named_with_what_to_do(
    environment: Environment, momo: Path, tmp_path: Path
) -> None:
    client = momo / "src" / "dusangire_momo" / "client.py"
    change(client, "raise AnswerLost(", "raise NothingSent(")

    shown = environment.run(environment.dusangire, "plugins", "check", "momo", cwd=tmp_path)

    assert shown.status == 1
    told = shown.out[shown.out.index("a lost reply is unknown not failed") :]
    assert "failed          The wire  a lost reply is unknown not failed" in shown.out
    assert "NotSent" in told.splitlines()[1]
    assert "ReadTimeout are Unknown" in told.splitlines()[2]
    assert re.search(r"^\d+ ok, [1-9] failed, \d+ not applicable$", shown.out, re.MULTILINE)
    assert re.search(r"momo breaks [1-9] of its promises", shown.err)


@pytest.fixture
def cash(environment: Environment, tmp_path: Path) -> Path:
    """The contract of a plugin without a network, which is soon run: its file."""
    environment.add("cash", _CASH)
    contract = tmp_path / "tests" / "test_contract.py"
    contract.parent.mkdir()
    contract.write_text(_CONTRACT)
    return contract


_CASH = """
from dusangire import hookimpl
from dusangire.gateway import Accepted, Failed, FailureCode, GatewayConfig, GatewayDescription

@hookimpl
def describe_gateway():
    return GatewayDescription(name="Cash", config=GatewayConfig, example_config={})

@hookimpl
async def initiate_payment(gateway, attempt):
    if attempt.amount.currency != gateway.config.currency:
        return Failed(code=FailureCode.GATEWAY_CONFIGURATION, message="Francs only.")
    return Accepted()
"""
_CONTRACT = """
import pytest
import dusangire_cash
from dusangire.testing import GatewayContract

class TestCash(GatewayContract):
    plugin = dusangire_cash
"""


def test_the_contract_is_found_by_the_path_that_is_given(
    environment: Environment, cash: Path, tmp_path: Path
) -> None:
    ran = check(environment, "cash", "--tests", cash, cwd=tmp_path)

    assert ran.status == 0, ran.err
    assert ran.json["contract"]["counts"]["ok"] >= 4
    assert ran.json["contract"]["problem"] is None


def test_a_promise_left_open_is_shown_with_its_reason(
    environment: Environment, cash: Path, tmp_path: Path
) -> None:
    cash.write_text(
        _CONTRACT + "    @pytest.mark.xfail(reason='Coins come in March.', strict=True)\n"
        "    async def test_the_amount_arrives_exactly(self, stand):\n"
        "        raise NotImplementedError\n"
    )

    ran = check(environment, "cash", "--tests", cash, cwd=tmp_path)

    assert ran.status == 0, ran.err
    [left] = [one for one in ran.json["contract"]["promises"] if one["status"] == "open"]
    assert left["test"] == "test_the_amount_arrives_exactly"
    assert left["reason"] == "Coins come in March."


def test_a_promise_that_was_not_asked_is_no_success(
    environment: Environment, cash: Path, tmp_path: Path
) -> None:
    (cash.parent / "pytest.ini").write_text("[pytest]\naddopts = -k amount\n")

    ran = check(environment, "cash", "--tests", cash, cwd=tmp_path)

    assert ran.status == 1
    assert "not asked about: repeating a key moves" in ran.json["contract"]["problem"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_module", "no_such_module"),
        ("def test_something_else(): ...", "no subclass of GatewayContract"),
        (_CONTRACT.replace("= dusangire_cash", "= object()"), "no subclass of GatewayContract"),
    ],
)
def test_tests_that_say_nothing_about_it_are_no_success(
    environment: Environment, cash: Path, tmp_path: Path, source: str, problem: str
) -> None:
    cash.write_text(source)

    ran = check(environment, "cash", "--tests", cash, cwd=tmp_path)

    assert ran.status == 1
    assert problem in ran.json["contract"]["problem"]


def test_without_its_tests_a_plugin_is_shown_and_the_contract_is_not_claimed(
    environment: Environment, cash: Path, tmp_path: Path
) -> None:
    ran = check(environment, "cash", cwd=tmp_path)

    assert ran.status == 0
    assert "--tests PATH" in ran.json["contract"]["problem"]
    assert ran.json["contract"]["promises"] == []


def test_without_pytest_it_says_what_to_install(environment: Environment, tmp_path: Path) -> None:
    without = (
        "import sys; sys.modules['pytest'] = None; from dusangire_server.cli import main; main()"
    )

    ran = environment.run(
        environment.python, "-c", without, "plugins", "check", "cod", cwd=tmp_path
    )

    assert ran.status == 1
    assert 'pip install "dusangire[testing]"' in ran.out


def test_what_an_author_forgot_is_said(environment: Environment, tmp_path: Path) -> None:
    environment.add("bare", _BARE)

    told = " ".join(check(environment, "bare", cwd=tmp_path).json["advice"])

    for forgotten in ("check_payment", "simulator", "test_gateway", "codes", "example_config"):
        assert forgotten in told
    assert "api_key looks like a secret" in told
    assert "api_key has no description" in told


_BARE = """
from dusangire import hookimpl
from dusangire.gateway import Accepted, GatewayConfig, GatewayDescription

class Config(GatewayConfig):
    base_url: str
    api_key: str

@hookimpl
def describe_gateway():
    return GatewayDescription(name="Bare", config=Config)

@hookimpl
async def initiate_payment(gateway, attempt):
    return Accepted()
"""


def test_a_control_plugin_is_no_gateway_and_works(environment: Environment, tmp_path: Path) -> None:
    environment.add("watch", _WATCH)

    ran = check(environment, "watch", cwd=tmp_path)

    assert ran.status == 0, ran.err
    assert (ran.json["kind"], ran.json["hooks"]) == ("control", ["initiate_payment"])


_WATCH = """
from dusangire import hookimpl

@hookimpl(wrapper=True)
def initiate_payment(gateway, attempt):
    return (yield)
"""

# ── broken plugins ───────────────────────────────────────────────────────────────────────────────

BROKEN = {
    "unimportable": ("import no_such_module", "no_such_module"),
    "leaver": ("raise SystemExit(3)", "SystemExit: 3"),
    "misfit": (
        "from dusangire import hookimpl\n@hookimpl\ndef check_payment(gateway, money): ...",
        "money",
    ),
    "nonsense": (
        "from dusangire import hookimpl\n@hookimpl\ndef describe_gateway(): return 'Nonsense Pay'",
        "describe_gateway answered str",
    ),
}


@pytest.fixture
def infested(environment: Environment) -> Environment:
    """With a plugin for each way to be broken."""
    for name, (source, _) in BROKEN.items():
        environment.add(name, source)
    return environment


def test_a_broken_plugin_is_listed_and_its_check_says_why(
    infested: Environment, tmp_path: Path
) -> None:
    listed = infested.run(infested.dusangire, "plugins", "list", "--json", cwd=tmp_path)
    checked = {name: check(infested, name, cwd=tmp_path) for name in BROKEN}

    assert set(BROKEN) <= {one["name"] for one in listed.json}
    assert {name: ran.status for name, ran in checked.items()} == dict.fromkeys(BROKEN, 1)
    for name, (_, why) in BROKEN.items():
        assert why in checked[name].json["error"]
        assert why in checked[name].err


async def test_beside_broken_plugins_the_rest_starts_and_says_so(
    infested: Environment, tmp_path: Path
) -> None:
    async with fresh_database() as url:
        variables = {"DUSANGIRE_DATABASE_URL": url}
        port = free_port()
        server = Process(
            name="server",
            command=[infested.dusangire, "serve", "--port", str(port)],
            environment={**infested.variables, **variables},
            log=tmp_path / "server.log",
            address=f"http://127.0.0.1:{port}",
        )
        server.start()
        try:
            await server.until_ready()
        finally:
            server.stop()
        doctor, gateways, plugins = (
            infested.run(infested.dusangire, *words, "--json", cwd=tmp_path, variables=variables)
            for words in (("doctor",), ("gateways", "list"), ("gateways", "plugins"))
        )

    log = server.log.read_text()
    complaints = [one for one in doctor.json["checks"] if one["name"] == "plugin"]
    assert doctor.status == 1
    assert len(complaints) == len(BROKEN)
    for name, (_, why) in BROKEN.items():
        assert [one for one in complaints if name in one["message"] and why in one["message"]]
        assert [line for line in log.splitlines() if "plugin left out" in line and name in line]
    assert (gateways.status, gateways.json) == (0, [])
    found = {one["name"] for one in plugins.json}
    assert {"mtn", "cod"} <= found
    assert not found & set(BROKEN)
