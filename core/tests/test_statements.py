"""No statement is made of values: what stands in its text was written by us (see S608 in ruff)."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for member in ("core", "schema", "server", "plugins/*")
    for path in ROOT.glob(f"{member}/src/**/*.py")
)
# Who gets a statement, as its first argument; `add` is the one of `_Where` in queries.py.
TAKERS = {"fetch", "fetchrow", "fetchval", "execute", "executemany", "add", "_administer"}
SQL = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|FROM \w+|WHERE|ORDER BY|LIMIT|VALUES|NOTIFY"
    r"|LISTEN|ILIKE|RETURNING|WITH \w+ AS|(CREATE|DROP|ALTER|TRUNCATE) [A-Z]+)\b"
)
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")

# (file, what is put in) and why it cannot come from outside.
ALLOWED = {
    (
        "dusangire/queries.py",
        "where.text",
    ): "made by _Where.add, whose conditions are statements here too",
    ("dusangire/queries.py", "' AND '.join(self.conditions)"): "the conditions of _Where.add",
    (
        "dusangire/queries.py",
        "column",
    ): "one of our own columns, from a table or an if with two words",
    ("dusangire/queries.py", "way"): "ASC or DESC",
    ("dusangire/queries.py", "comparison"): "one of our own operators, from a table of two",
    (
        "dusangire/testing/database.py",
        "statement",
    ): "handed on by _administer, whose callers are seen",
    ("dusangire/reconciliation/passes/by_reference.py", "which"): "written in this file",
    ("dusangire/reconciliation/matching.py", "search.pairs"): "a constant of by_reference",
    ("dusangire/reconciliation/matching.py", "one.statement"): "a constant of by_reference",
    ("dusangire/reconciliation/matching.py", "by_reference.COUNTED"): "a constant of by_reference",
    ("dusangire/reconciliation/matching.py", "statement"): "a constant of within_the_statement",
    ("dusangire/database.py", "statement"): "handed on by fetch, whose callers are seen",
    ("dusangire_server/graphql.py", "executable"): "a GraphQL document",
    ("dusangire_server/http.py", "admitted"): "a GraphQL document",
    ("dusangire/testing/database.py", "name"): "the name of a test's database, made by _new",
    ("dusangire/testing/database.py", "_template()"): "the name of the tests' own template",
    ("dusangire/testing/database.py", "template"): "a TEMPLATE clause written in the same file",
    (
        "dusangire/testing/database.py",
        "row['datname']",
    ): "the name of a test's database, made by _new",
}
# What may be filled in with `.format`, with words that stand right there.
TEMPLATES = {"_TAKE"}


def problems(path: str, source: str) -> list[str]:
    """What in a file makes a statement out of something that is not ours."""
    tree = parsed(source)
    ours = _constants(tree)
    return [
        f"{path}:{node.lineno}: {ast.unparse(node)[:90]}"
        for node in _suspects(tree)
        if not _sound(node, ours) and (path, ast.unparse(node)) not in ALLOWED
    ]


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _suspects(tree: ast.Module) -> Iterator[ast.expr]:
    """Whatever is put into a statement, or is given to somebody who runs one."""
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values) if _is_sql(node):
                yield from (part.value for part in values if isinstance(part, ast.FormattedValue))
            case ast.BinOp(op=ast.Add() | ast.Mod()) if _is_sql(node.left) or _is_sql(node.right):
                yield node
            case ast.Call(func=ast.Attribute(value=text, attr="format" | "join" | "replace")) if (
                _is_sql(text) or _named(text) in TEMPLATES
            ):
                yield node
            case ast.Call(func=func, args=[statement, *_]) if _named(
                func
            ) in TAKERS and not _is_of_a_set(node):
                if isinstance(statement, ast.JoinedStr):
                    values = statement.values
                    yield from (p.value for p in values if isinstance(p, ast.FormattedValue))
                else:
                    yield statement


def _sound(node: ast.expr, ours: set[str]) -> bool:
    match node:
        case ast.Constant(value=str() | int()):
            return True
        case ast.Name(id=name):
            return name in ours
        case ast.IfExp(body=yes, orelse=no):
            return _sound(yes, ours) and _sound(no, ours)
        # A number, whatever was asked for: `_page` gives an int or raises.
        case ast.BinOp(
            left=ast.Call(func=ast.Name(id="_page")),
            op=ast.Add(),
            right=ast.Constant(value=int()),
        ):
            return True
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=name), attr="format"), args=[], keywords=words
        ):
            return name in TEMPLATES and all(isinstance(w.value, ast.Constant) for w in words)
        case _:
            return False


def _constants(tree: ast.Module) -> set[str]:
    """UPPER_CASE names of the module: assigned once at its top, or imported there."""
    names: list[str] = []
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
            case ast.ImportFrom(module=str(module), names=imported):
                if module.startswith("dusangire"):
                    names += [alias.asname or alias.name for alias in imported]
    again = {node.id for node in ast.walk(tree) if _is_local(node, tree)}  # type: ignore[attr-defined]
    return {name for name in names if CONSTANT.fullmatch(name) and names.count(name) == 1} - again


def _is_local(node: ast.AST, tree: ast.Module) -> bool:
    top = {id(target) for one in tree.body for target in _targets(one)}
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in top


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _is_sql(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=str(text)):
            return SQL.search(text) is not None
        case ast.JoinedStr(values=values):
            # A value stands for a word, so that `FROM {table}` is seen.
            parts = [str(p.value) if isinstance(p, ast.Constant) else "x" for p in values]
            return SQL.search("".join(parts)) is not None
        case _:
            return False


def _named(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return None


def _is_of_a_set(call: ast.Call) -> bool:
    """`add` is a word of sets and others, too; statements are added to a `where`."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="where"), attr="add"):
            return False
        case ast.Attribute(attr="add") | ast.Name(id="add"):
            return True
        case _:
            return False


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)).partition("/src/")[2]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_statement_is_made_of_values(path: Path) -> None:
    assert problems(_short(path), path.read_text()) == []


def test_there_is_something_to_look_at() -> None:
    paths = {_short(path) for path in SOURCES}

    found = [n for path in SOURCES for n in _suspects(parsed(path.read_text()))]

    assert {"dusangire/queries.py", "dusangire/attempts.py", "dusangire/access.py"} <= paths
    assert len(found) > 50


@pytest.mark.parametrize(("path", "name"), ALLOWED)
def test_nothing_is_allowed_that_is_not_there(path: str, name: str) -> None:
    [source] = [one for one in SOURCES if _short(one) == path]

    assert name in {ast.unparse(node) for node in _suspects(parsed(source.read_text()))}


@pytest.mark.parametrize(
    "source",
    [
        "fetch(f\"SELECT * FROM payment WHERE reference = '{reference}'\")",
        'fetch("SELECT * FROM payment WHERE reference = " + reference)',
        "fetch(\"SELECT * FROM payment WHERE reference = '%s'\" % reference)",
        'fetch("SELECT * FROM payment WHERE reference = {}".format(reference))',
        'fetch("SELECT * FROM " + TABLE)',
        'fetch(f"SELECT * FROM {table}")',
        'fetch(f"SELECT * FROM payment ORDER BY {order.lower()}")',
        'fetch(f"SELECT 1 LIMIT {first + 1}")',
        "fetch(statement)",
        "connection.execute(build(name))",
        'connection.execute(f"NOTIFY {channel}")',
        'connection.execute(f"{verb} payment")',
        'where.add(f"{field} = ?", value)',
        "where.add(condition)",
        'text = f"WHERE {condition}"',
        'def of(NAME): return f"SELECT * FROM {NAME}"',
        'NAME = input()\nNAME = input()\nfetch(f"SELECT * FROM {NAME}")',
        'from shop import TABLE\nfetch(f"SELECT * FROM {TABLE}")',
        'T = "a"\ndef f():\n    global T\n    T = input()\n    fetch(f"SELECT * FROM {T}")',
        '_TAKE = "WITH due AS ({due})"\nX = _TAKE.format(due=due)',
        '_OTHER = "SELECT {which} FROM payment"\nfetch(_OTHER.format(which="id"))',
        '", ".join(["SELECT 1", name]) + " WHERE " + name',
    ],
)
def test_a_statement_made_of_values_is_found(source: str) -> None:
    assert problems("x.py", source)


@pytest.mark.parametrize(
    "source",
    [
        'fetch("SELECT * FROM payment WHERE reference = $1", reference)',
        'COLUMNS = "id, code"\nfetch(f"SELECT {COLUMNS} FROM gateway_account")',
        'from dusangire.audit.entries import AUDIT_COLUMNS\nX = f"SELECT {AUDIT_COLUMNS}"',
        'fetch(f"SELECT * FROM payment LIMIT {_page(first) + 1}")',
        "fetch(f\"SELECT * FROM payment ORDER BY id {'ASC' if up else 'DESC'}\")",
        '_TAKE = "WITH due AS ({due})"\nX = _TAKE.format(due="SELECT 1")',
        'raise Invalid(f"{name} is not text that anything has.")',
        "seen.add(key)",
    ],
)
def test_a_statement_of_our_own_words_is_left_alone(source: str) -> None:
    assert problems("x.py", source) == []
