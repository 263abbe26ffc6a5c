"""The arrows between the members, and what a checkout may not contain."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = {f"plugins/{path.name}": f"dusangire_{path.name}" for path in ROOT.glob("plugins/*")}
# Each member, its package, and what of ours it may import beside itself.
MEMBERS = {"core": "dusangire", "schema": "dusangire_schema", "server": "dusangire_server"}
MEMBERS |= PLUGINS
ARROWS = {
    "core": set[str](),
    "schema": {"dusangire"},
    "server": {"dusangire", "dusangire_schema"},
    **{plugin: {"dusangire"} for plugin in PLUGINS},
}
# A process of the server runs with a real plugin; a plugin and its tests are one thing.
TESTED_FROM_OUTSIDE = {"server"}
# What aerich runs by its path.
NO_PACKAGES = {"core/src/dusangire/migrations"}

INDEX = re.compile(
    r"pypi\.org|python[h]osted\.org|index-url[ =]+http|[/]simple/|--find-links[ =]|tool\.uv\.index"
)
MACHINE = re.compile(r"/(home|Users|root|work|mnt)/\w|[A-Z]:\\\\?Users")
VARIABLE = re.compile(r"DUSANGIRE_[A-Z_]*[A-Z]")


# ── the arrows ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_imports_only_along_the_arrows(member: str) -> None:
    allowed = ARROWS[member] | {MEMBERS[member]}
    folders = ["src"] if member in TESTED_FROM_OUTSIDE else ["src", "tests"]

    across = [
        f"{path.relative_to(ROOT)} imports {name}"
        for folder in folders
        for path in sorted((ROOT / member / folder).rglob("*.py"))
        for name in imported(path.read_text())
        if is_ours(name) and name.partition(".")[0] not in allowed
    ]

    assert across == []


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_depends_only_along_the_arrows(member: str) -> None:
    allowed = {name.replace("_", "-") for name in ARROWS[member] | {MEMBERS[member]}}

    depends = {re.split(r"[\[<>=!~ ;]", one)[0] for one in required(project(member))}

    assert {one for one in depends if is_ours(one)} <= allowed


@pytest.mark.parametrize("member", MEMBERS)
def test_nobody_needs_a_private_name_of_another_member(member: str) -> None:
    private = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / member / "src").rglob("*.py"))
        for name in imported(path.read_text())
        if is_ours(name) and name.partition(".")[0] != MEMBERS[member] and "._" in name
    ]

    assert private == []


@pytest.mark.parametrize("member", [member for member in MEMBERS if member not in PLUGINS])
def test_a_plugin_is_named_by_its_entry_point_only(member: str) -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number} {word}"
        for path in sorted((ROOT / member / "src").rglob("*.py"))
        for number, word in words_of_code(path.read_text())
        for package in PLUGINS.values()
        if word.partition(".")[0] == package
    ]

    assert named == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_is_found_by_its_entry_point(plugin: str) -> None:
    points = project(plugin)["entry-points"]

    assert list(points) == ["dusangire"]
    assert list(points["dusangire"]) == [plugin.partition("/")[2]]
    assert all(value.startswith(f"{PLUGINS[plugin]}.") for value in points["dusangire"].values())


def test_importing_dusangire_is_light() -> None:
    heavy = "{'tortoise', 'asyncpg', 'httpx', 'pydantic', 'starlette', 'pytest'}"
    code = f"import sys, dusangire; print(sorted({heavy} & set(sys.modules)))"

    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )

    assert ran.stdout == "[]\n"
    assert ran.stderr == ""


# ── the layout ───────────────────────────────────────────────────────────────────────────────────


def test_every_member_of_the_workspace_has_its_arrows() -> None:
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]

    found = {
        str(path.relative_to(ROOT))
        for pattern in workspace["members"]
        for path in ROOT.glob(pattern)
        if path.is_dir()
    }

    assert found == set(MEMBERS)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_has_all_that_a_member_has(member: str) -> None:
    folder = ROOT / member

    assert (folder / "README.md").read_text().startswith("# ")
    assert project(member)["name"] == MEMBERS[member].replace("_", "-")
    assert list((folder / "tests").glob("test_*.py"))
    assert visible(folder / "src") == [MEMBERS[member]]
    assert (folder / "src" / MEMBERS[member] / "py.typed").exists()


@pytest.mark.parametrize("member", MEMBERS)
def test_there_are_no_namespace_packages(member: str) -> None:
    folders = {path.parent for path in (ROOT / member / "src").rglob("*.py")}

    without = {
        str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()
    }

    assert {one for one in without if not one.startswith(tuple(NO_PACKAGES))} == set()


@pytest.mark.parametrize("member", MEMBERS)
def test_code_is_in_src_or_tests(member: str) -> None:
    code = {path.relative_to(ROOT / member).parts[0] for path in (ROOT / member).rglob("*.py")}

    assert code <= {"src", "tests"}


# ── what a checkout may not contain ──────────────────────────────────────────────────────────────


def test_no_file_names_a_package_index_or_a_machine() -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in checked_in()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if INDEX.search(line) or MACHINE.search(line)
    ]

    assert named == []


@pytest.mark.parametrize(
    "line",
    [
        "https://" + "pypi" + ".org/simple",
        'registry = { url = "https://mirror.example/' + 'simple/" }',
        "--extra-index-" + "url https://mirror.example/python",
        "--find-" + "links wheels",
        "/ho" + "me/somebody/payments",
        "/wo" + "rk/main/core",
        "C:\\Us" + "ers\\somebody",
    ],
)
def test_an_index_or_a_machine_would_be_found(line: str) -> None:
    assert INDEX.search(line) or MACHINE.search(line)


def test_the_lock_file_of_uv_stays_here() -> None:
    assert "uv.lock" not in git("ls-files").split("\0")
    assert "uv.lock" in (ROOT / ".gitignore").read_text().splitlines()


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


def test_every_variable_is_documented_and_every_documented_one_is_used() -> None:
    code = [path for member in MEMBERS for path in (ROOT / member / "src").rglob("*.py")]
    code += [ROOT / "Makefile", *(ROOT / "scripts").iterdir(), *ROOT.glob("bench/*.py")]
    docs = [ROOT / "README.md", ROOT / "docs" / "guides" / "run-it.md"]

    used = variables(code)

    assert used
    assert variables(docs) == used


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def is_ours(name: str) -> bool:
    return re.match(r"dusangire(?![a-z])", name) is not None


@cache
def imported(source: str) -> list[str]:
    """Full names, those in functions included: `from a import b` gives a.b."""
    return list(_imported(source))


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def words_of_code(source: str) -> Iterator[tuple[int, str]]:
    """Names and texts, but no docstrings."""
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield from ((node.lineno, word) for word in re.findall(r"[\w.]+", text))
            case ast.Name(id=name):
                yield node.lineno, name
            case ast.Import() | ast.ImportFrom():
                yield from ((node.lineno, name) for name in imported(ast.unparse(node)))


@cache
def project(member: str) -> dict[str, Any]:
    told: dict[str, Any] = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    return told


def required(told: dict[str, Any]) -> list[str]:
    extra = told.get("optional-dependencies", {}).values()
    return [*told["dependencies"], *(one for group in extra for one in group)]


def visible(folder: Path) -> list[str]:
    names = (path.name for path in folder.iterdir())
    return [name for name in names if not name.startswith((".", "__")) and "egg-info" not in name]


def variables(paths: list[Path]) -> set[str]:
    return {name for path in paths for name in VARIABLE.findall(path.read_text())}


def checked_in() -> list[Path]:
    """What is in git, and what would be with the next `git add`."""
    names = git("ls-files", "--cached", "--others", "--exclude-standard").split("\0")
    return [ROOT / name for name in sorted(set(names)) if name and (ROOT / name).is_file()]


def git(*words: str) -> str:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(
        ["git", *words, *(["-z"] if words[0] == "ls-files" else [])],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
