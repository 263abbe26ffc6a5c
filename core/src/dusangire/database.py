"""The database: one pool with limits, one way to run a statement, one way to hold a transaction."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import structlog
from aerich import Command
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import (
    TransactionalDBClient,
    TransactionContext,
    TransactionContextPooled,
)
from tortoise.connection import get_connection, get_connections
from tortoise.context import TortoiseContext
from tortoise.exceptions import DBConnectionError, OperationalError, TransactionManagementError
from tortoise.transactions import in_transaction

from dusangire.errors import CannotStart, Retryable
from dusangire.transactions import assert_no_transaction, inside_transaction

log = structlog.get_logger(__name__)

Row = dict[str, Any]

# A caller is told within five seconds that the database is away, also when it hangs.
ACQUIRE_TIMEOUT = 3.0
STATEMENT_TIMEOUT = 4.0
RELEASE_TIMEOUT = 0.3
_MIGRATION_LOCK = 0x64757361  # "dusa": any number, the same for all who migrate
_MIGRATIONS = Path(__file__).parent / "migrations"

# The connection is gone, or was never there: nobody knows whether the statement took effect.
LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # What asyncpg says of a connection whose server said goodbye while nobody used it.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.TooManyConnectionsError,
    asyncpg.exceptions.QueryCanceledError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    asyncpg.exceptions.InsufficientResourcesError,
    # Somebody else holds the row for longer than we wait.
    asyncpg.exceptions.LockNotAvailableError,
    # Ours was ended: idle in a transaction for too long, or never begun on a lost connection.
    TransactionManagementError,
)
# At the start an address that leads nowhere, or is none, is said to be one.
_UNREACHABLE = (*LOST, asyncpg.PostgresError, DBConnectionError, ValueError, OverflowError)
_COLLIDED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class _Pool(asyncpg.Pool):
    """asyncpg waits for a free connection for ever; we wait three seconds.

    And it waits as long again for a server that is asked to cancel a statement and does not answer.
    """

    def acquire(self, *, timeout: float | None = None) -> Any:
        return super().acquire(timeout=timeout or ACQUIRE_TIMEOUT)

    def release(self, connection: Any, *, timeout: float | None = None) -> Any:
        return super().release(connection, timeout=timeout or RELEASE_TIMEOUT)


async def _keep(_connection: Any) -> None:
    """No reset query when a connection goes back: nothing of ours outlives its transaction."""


class _Transaction(TransactionContextPooled):
    """Whoever is cancelled while the transaction begins gives its connection back.

    Tortoise gives back at the end only, and what never began has none: after so many callers that
    went away at that moment, no connection would be left.
    """

    async def __aenter__(self) -> TransactionalDBClient:
        try:
            return await super().__aenter__()
        except BaseException:
            taken = self.client._connection
            if taken is not None:
                # BEGIN may be under way there: nobody else gets this one.
                taken.terminate()
            if hasattr(self, "token"):
                get_connections().reset(self.token)
            raise


class Client(AsyncpgDBClient):
    """Tortoise's client on a pool with limits."""

    def _in_transaction(self) -> TransactionContext:
        return _Transaction(TransactionWrapper(self), self._pool_init_lock)

    async def create_pool(self, **kwargs: Any) -> asyncpg.Pool:
        return await _Pool(
            reset=_keep,
            max_queries=50_000,
            max_inactive_connection_lifetime=300,
            connect=None,
            setup=None,
            init=None,
            record_class=asyncpg.Record,
            **kwargs,
        )


client_class = Client  # what Tortoise looks for in an engine module


def _config(url: str, connections: int) -> dict[str, Any]:
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    credentials: dict[str, Any] = {
        "host": query.pop("host", None) or parts.hostname or "localhost",
        "port": int(query.pop("port", None) or parts.port or 5432),
        "user": unquote(parts.username or "postgres"),
        "password": unquote(parts.password) if parts.password is not None else None,
        "database": unquote(parts.path.lstrip("/")) or "postgres",
        "minsize": 1,
        "maxsize": connections,
        "timeout": ACQUIRE_TIMEOUT,
        # The server cancels first; this is for one that does not answer at all.
        "command_timeout": STATEMENT_TIMEOUT + 0.2,
        "application_name": "dusangire",
        "server_settings": {
            "statement_timeout": str(round(STATEMENT_TIMEOUT * 1000)),
            "lock_timeout": "2000",
            "idle_in_transaction_session_timeout": "10000",
            "timezone": "UTC",
            # Plans for one-row statements do not repay compiling them.
            "jit": "off",
        },
    }
    if "sslmode" in query:
        credentials["ssl"] = query.pop("sslmode")
    return {
        "connections": {"default": {"engine": __name__, "credentials": credentials}},
        "apps": {
            "models": {
                "models": ["dusangire.models", "aerich.models"],
                "default_connection": "default",
            }
        },
        "use_tz": True,
        "timezone": "UTC",
    }


_context: TortoiseContext | None = None


async def connect(url: str, *, connections: int = 16) -> None:
    """Opens the pool of this process.

    url: `postgres://user:password@host:port/database`, or with `?host=/socket/folder`.
    Raises CannotStart when there is no server, or one older than PostgreSQL 15.
    """
    global _context  # noqa: PLW0603 - Tortoise has one pool a process, and so have we
    try:
        # The global fallback makes the pool visible to every task, whoever started it.
        _context = TortoiseContext()
        with _context:
            await _context.init(_config(url, connections), _enable_global_fallback=True)
        [row] = await fetch("SELECT current_setting('server_version_num')::int AS version")
    except (Retryable, *_UNREACHABLE) as error:
        await disconnect()
        raise CannotStart(
            f"The database does not answer: {error.__cause__ or error}. "
            "Check DUSANGIRE_DATABASE_URL."
        ) from error
    except BaseException:
        await disconnect()
        raise
    if row["version"] < 150000:
        await disconnect()
        raise CannotStart(f"PostgreSQL 15 or newer is needed, this is {row['version'] // 10000}.")


async def disconnect() -> None:
    """Closes the pool."""
    if _context is not None:
        await _context.close_connections()


async def migrate(url: str, *, check: bool = False) -> list[str]:
    """Brings the database up to date; gives the names of the migrations it applied.

    Any number of processes may do it at once: an advisory lock lets them pass one by one.
    check: apply nothing, give what is missing.
    """
    lock = await _migration_lock(url)
    try:
        config = _config(url, connections=2)
        credentials = config["connections"]["default"]["credentials"]
        # An index on a large table takes longer than a request may.
        credentials["server_settings"] |= {"statement_timeout": "0", "lock_timeout": "0"}
        credentials["command_timeout"] = None
        async with TortoiseContext() as context:
            await context.init(config)
            command = Command(config, app="models", location=str(_MIGRATIONS))
            await command.init()
            return await _missing(command) if check else await command.upgrade()
    finally:
        await lock.close()


async def _migration_lock(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except _UNREACHABLE as error:
        raise CannotStart(
            f"The database does not answer: {error}. Check DUSANGIRE_DATABASE_URL."
        ) from error
    await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK)
    return connection


async def _missing(command: Command) -> list[str]:
    try:
        return await command.heads()
    except OperationalError:  # not even aerich's own table
        return await command.history()


async def fetch(statement: str, *values: Any) -> list[Row]:
    """Runs one statement, inside the transaction if there is one, and gives its rows.

    Deadlocks are tried again. Raises Retryable when the connection was lost: the statement may
    have taken effect.
    """
    connection = get_connection("default")
    try:
        if (patience := _patience.get()) is not None:
            async with connection.acquire_connection() as patient:
                rows = await patient.fetch(statement, *values, timeout=patience)
            return [dict(row) for row in rows]
        return await connection.execute_query_dict(statement, list(values))
    except _COLLIDED:
        if inside_transaction.get():
            raise
        try:
            return await _again(connection.execute_query_dict, statement, list(values))
        except _COLLIDED as error:  # again and again
            raise lost(error) from error
    except LOST as error:
        raise lost(error) from error


@retry(
    retry=retry_if_exception_type(_COLLIDED),
    stop=stop_after_attempt(5),
    wait=wait_random(0, 0.05),
    reraise=True,
)
async def _again(run: Callable[..., Awaitable[list[Row]]], *arguments: Any) -> list[Row]:
    try:
        return await run(*arguments)
    except LOST as error:
        raise lost(error) from error


def lost(error: BaseException) -> Retryable:
    """The error a caller gets when the database went away."""
    log.warning("database lost", error=f"{type(error).__name__}: {error}")
    return Retryable(
        "The database did not answer in time. Try again with the same idempotency key: "
        "it tells whether this took effect."
    )


_patience: ContextVar[float | None] = ContextVar("patience", default=None)


@asynccontextmanager
async def tx(*, patience: float | None = None) -> AsyncIterator[None]:
    """A transaction. Inside it no task, no gateway call and no message may start.

    patience: seconds that each statement may take, for work on a million rows at once; without it
    as long as a request may wait. Raises Retryable when the connection was lost, even at COMMIT: it
    may have committed.
    """
    token, patient = inside_transaction.set(True), _patience.set(patience)
    try:
        async with in_transaction():
            if patience is not None:
                limit = str(round(patience * 1000))
                # Planned for its values each time: a plan for any list of ids is one for ten of
                # them, and PostgreSQL takes to it when a statement comes the sixth time.
                await fetch(
                    "SELECT set_config('statement_timeout', $1, true), "
                    "set_config('idle_in_transaction_session_timeout', $1, true), "
                    "set_config('lock_timeout', '10000', true), "
                    "set_config('plan_cache_mode', 'force_custom_plan', true)",
                    limit,
                )
            yield
    except (*LOST, *_COLLIDED) as error:
        raise lost(error) from error
    finally:
        _patience.reset(patient)
        inside_transaction.reset(token)


_background: set[asyncio.Task[Any]] = set()


def spawn(work: Any, *, name: str) -> "asyncio.Task[Any]":
    """Starts a task that is kept until it ended, and never inside a transaction."""
    assert_no_transaction("start a task")
    task = asyncio.create_task(work, name=name)
    _background.add(task)
    task.add_done_callback(_ended)
    return task


async def drained(patience: float, *names: str) -> bool:
    """Waits for the tasks of `spawn` whose names begin with one of `names`, or for all.

    False when some are still running after `patience` seconds; they are left alone.
    """
    end = asyncio.get_running_loop().time() + patience
    while left := {task for task in _background if task.get_name().startswith(names or ("",))}:
        seconds = end - asyncio.get_running_loop().time()
        if seconds <= 0:
            return False
        await asyncio.wait(left, timeout=seconds)
    return True


def _ended(task: "asyncio.Task[Any]") -> None:
    _background.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background task failed", task=task.get_name(), exc_info=error)
