"""A real PostgreSQL for tests: one server a test run, an empty migrated database a test."""

import atexit
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import asyncpg

import dusangire
from dusangire.database import migrate
from dusangire.postgres import EmbeddedServer

_TEMPLATE_LOCK = 4711


@cache
def server_url() -> str:
    """The address of the server that tests use.

    DUSANGIRE_TEST_DATABASE_URL names one whose databases may be created and dropped; otherwise an
    embedded server is started. Test processes that run side by side share it.
    """
    if url := os.environ.get("DUSANGIRE_TEST_DATABASE_URL"):
        return url
    server = EmbeddedServer(Path(tempfile.gettempdir()) / f"dusangire-tests-{os.getuid()}")
    server.start()
    atexit.register(server.stop)
    return server.url


@asynccontextmanager
async def fresh_database() -> AsyncIterator[str]:
    """The URL of a database of your own, migrated and empty.

    Emptied afterwards and given to the next test of this process: that takes a hundredth of the
    time that PostgreSQL needs for a new one.
    """
    await _prepare()
    name = _emptied.pop() if _emptied else await _copy()
    try:
        yield _url_of(name)
    finally:
        if await _empty(name):
            _emptied.append(name)
        else:
            await _administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@asynccontextmanager
async def empty_database() -> AsyncIterator[str]:
    """The URL of a database of your own without any table, dropped at the end."""
    name = await _new("")
    try:
        yield _url_of(name)
    finally:
        await _administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@cache
def _template() -> str:
    """Another one for every other set of migrations: what a server kept may be older."""
    migrations = sorted((Path(dusangire.__file__).parent / "migrations").rglob("*.py"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in migrations))
    return f"dusangire_template_{digest.hexdigest()[:12]}"


_prepared: set[int] = set()
_emptied: list[str] = []
_shape: dict[str, int] = {}


async def _prepare() -> None:
    """Migrates the template once a run; several test processes wait for the first."""
    if os.getpid() in _prepared:
        return
    _emptied.clear()  # those of the process that this one was forked from
    connection = await asyncpg.connect(server_url())
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _TEMPLATE_LOCK)
        await _sweep(connection)
        # Marked when it is whole: a process that was killed while migrating leaves half of one.
        whole = await connection.fetchval(
            "SELECT datistemplate FROM pg_database WHERE datname = $1", _template()
        )
        if not whole:
            await connection.execute(f'DROP DATABASE IF EXISTS "{_template()}" WITH (FORCE)')
            await connection.execute(f'CREATE DATABASE "{_template()}"')
            await migrate(_url_of(_template()))
            await connection.execute(f'ALTER DATABASE "{_template()}" IS_TEMPLATE true')
    finally:
        await connection.close()
    _prepared.add(os.getpid())


async def _sweep(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Drops what processes that are gone left behind, on a server that only this machine uses."""
    if os.environ.get("DUSANGIRE_TEST_DATABASE_URL"):
        return
    for row in await connection.fetch("SELECT datname FROM pg_database WHERE datname ~ '^test_'"):
        if not _alive(row["datname"].split("_")[1]):
            await connection.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')


def _alive(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


async def _copy() -> str:
    name = await _new(f'TEMPLATE "{_template()}" STRATEGY file_copy')
    # Not asked of the template: while anybody is connected to it, it cannot be copied.
    connection = await asyncpg.connect(_url_of(name))
    _shape[name] = await connection.fetchval(_SHAPE)
    await connection.close()
    return name


async def _new(template: str) -> str:
    name = f"test_{os.getpid()}_{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server_url())
    try:
        # PostgreSQL copies no database that somebody is connected to, as who prepares it is.
        await connection.execute("SELECT pg_advisory_lock($1)", _TEMPLATE_LOCK)
        await connection.execute(f'CREATE DATABASE "{name}" {template}')
    finally:
        await connection.close()
    return name


# A test that changed the tables themselves leaves another number of parts behind.
_SHAPE = """SELECT (SELECT count(*) FROM pg_attribute) + (SELECT count(*) FROM pg_constraint)
    + (SELECT count(*) FROM pg_trigger) + (SELECT count(*) FROM pg_class WHERE relkind <> 't')"""
_EMPTY = """DO $$
DECLARE one regclass;
BEGIN
    -- Without foreign keys and without the triggers that keep history.
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND relkind = 'r' AND relname <> 'aerich'
    LOOP EXECUTE format('DELETE FROM %s', one); END LOOP;
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND relkind = 'S' AND relname NOT LIKE 'aerich%'
    LOOP EXECUTE format('ALTER SEQUENCE %s RESTART', one); END LOOP;
END $$"""


async def _empty(name: str) -> bool:
    try:
        await _administer(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        connection = await asyncpg.connect(_url_of(name))
        try:
            await connection.execute(_EMPTY)
            return bool(await connection.fetchval(_SHAPE) == _shape[name])
        finally:
            await connection.close()
    except (asyncpg.PostgresError, OSError):
        return False


async def _administer(statement: str) -> None:
    connection = await asyncpg.connect(server_url())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _url_of(database: str) -> str:
    base, _, query = server_url().partition("?")
    root = base.rpartition("/")[0]
    return f"{root}/{database}{'?' + query if query else ''}"
