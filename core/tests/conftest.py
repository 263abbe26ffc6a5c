"""A core on a database of its own, a gateway that says what it is told to, and a clock to turn."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest
import structlog
from pydantic import SecretStr

from dusangire import attempts, database, hookimpl, inbox, payments, sequencer
from dusangire.access import OPERATOR, Actor
from dusangire.attempts import Work
from dusangire.core import Core, open_core
from dusangire.gateway import (
    Accepted,
    Attempt,
    CheckSchedule,
    Environment,
    Failed,
    FailureCode,
    Gateway,
    GatewayConfig,
    GatewayDescription,
    Heard,
    Outcome,
    Succeeded,
    Unknown,
    WebhookRequest,
)
from dusangire.gateways import Account
from dusangire.intake import AttemptPayment, CreatePayment, MethodInput
from dusangire.masking import mask_log
from dusangire.money import Money
from dusangire.payments import Done
from dusangire.settings import Settings
from dusangire.testing.database import fresh_database

# As the server does it. The default paints tracebacks with every local, which takes a second each.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        mask_log,
        structlog.processors.JSONRenderer(default=str),
    ]
)

Row: TypeAlias = dict[str, Any]
# What a gateway does when it is called: an outcome, or a function that makes one.
Step: TypeAlias = Outcome | BaseException | Callable[[Attempt], Awaitable[Outcome]]

PHONE = "+250788123456"
AMOUNT = Money(5000, "RWF")


SECRET = "canary-secret-8c1f"


class ScriptConfig(GatewayConfig):
    api_key: SecretStr = SecretStr(SECRET)


class Clock:
    """The time of a test: as the real one, until somebody turns it."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, **delay: float) -> None:
        self.ahead += timedelta(**delay)


def paid(attempt: Attempt, **changes: Any) -> Succeeded:
    return replace(
        Succeeded(
            amount=attempt.amount, reference=attempt.reference, gateway_transaction_id="GT-1"
        ),
        **changes,
    )


@dataclass(eq=False)
class Script:
    """A gateway that does what it is told: each call takes the next step, the last one stays.

    calls: (hook, reference) of each call, in their order.
    """

    initiate: deque[Step] = field(default_factory=lambda: deque([Accepted()]))
    check: deque[Step] = field(default_factory=lambda: deque([Accepted()]))
    cancel: deque[Step] = field(default_factory=lambda: deque([Unknown(cause="no")]))
    calls: list[tuple[str, str]] = field(default_factory=list)
    heard: list[WebhookRequest] = field(default_factory=list)
    reads: Callable[[WebhookRequest], Heard] | None = None
    needs_phone: bool = False
    concurrency: int = 16
    call_timeout: float = 60

    def says(self, hook: str, *steps: Step) -> None:
        setattr(self, hook, deque(steps))

    def called(self, hook: str) -> list[str]:
        return [reference for name, reference in self.calls if name == hook]

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(
            name="Scripted",
            config=ScriptConfig,
            needs_phone=self.needs_phone,
            concurrency=self.concurrency,
            call_timeout=self.call_timeout,
            check_schedule=CheckSchedule(first=(5, 10, 20, 40), then=60),
        )

    @hookimpl
    async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return await self._play("initiate", attempt)

    @hookimpl
    async def check_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return await self._play("check", attempt)

    @hookimpl
    async def cancel_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return await self._play("cancel", attempt)

    @hookimpl
    def read_webhook(self, gateway: Gateway[Any], request: WebhookRequest) -> Heard:
        self.heard.append(request)
        assert self.reads is not None
        return self.reads(request)

    async def _play(self, hook: str, attempt: Attempt) -> Outcome:
        self.calls.append((hook, attempt.reference))
        steps: deque[Step] = getattr(self, hook)
        step = steps.popleft() if len(steps) > 1 else steps[0]
        if isinstance(step, BaseException):
            raise step
        return await step(attempt) if callable(step) else step


class Cash:
    """A gateway that nobody can ask: a person says what happened."""

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(name="Cash", config=GatewayConfig)

    @hookimpl
    async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return Accepted()

    @hookimpl
    async def cancel_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return Failed(code=FailureCode.CANCELLED, message="withdrawn")


@dataclass
class Shop:
    """A core at work, what its gateway was told to do, and the plain rows to look at."""

    core: Core
    url: str
    clock: Clock
    script: Script
    keys: int = 0

    def key(self) -> str:
        self.keys += 1
        return f"key-{self.keys}"

    async def create(self, *, actor: Actor = OPERATOR, **changes: Any) -> Done:
        """A payment on the scripted gateway, sent and answered."""
        given: dict[str, Any] = {
            "idempotency_key": self.key(),
            "amount": "5000",
            "currency": "RWF",
            "method": MethodInput(gateway="script", phone=PHONE),
            "wait_ms": 5_000,
            **changes,
        }
        return await payments.create_payment(self.core, actor, CreatePayment(**given))

    async def try_again(self, payment_id: UUID, **changes: Any) -> Done:
        given: dict[str, Any] = {
            "idempotency_key": self.key(),
            "payment_id": payment_id,
            "method": MethodInput(gateway="script", phone=PHONE),
            "wait_ms": 5_000,
            **changes,
        }
        return await payments.attempt_payment(self.core, OPERATOR, AttemptPayment(**given))

    async def account(self, code: str = "script") -> Account:
        return await self.core.gateways.by_code(code)

    async def save_gateway(
        self, code: str, plugin: str, *, enabled: bool = True, **config: Any
    ) -> Account:
        return await self.core.gateways.save(
            OPERATOR,
            code=code,
            plugin=plugin,
            name=code.title(),
            environment=Environment.TEST,
            config=config,
            enabled=enabled,
        )

    async def due(self) -> None:
        """Makes every scheduled attempt due, as if its time had come and its lease were over."""
        await self.run(
            "UPDATE payment_attempt SET next_check_at = now() - interval '1 s', lease_until = NULL "
            "WHERE next_check_at IS NOT NULL"
        )

    async def take(self, limit: int = 10) -> list[Work]:
        places = {account.id: account.places.free for account in await self.core.gateways.all()}
        return await attempts.take_due(self.core, limit, places)

    async def work(self) -> int:
        """One round of a worker: takes what is due, and proceeds with it."""
        works = await self.take()
        for work in works:
            account = await self.core.gateways.by_id(work.gateway_id)
            await attempts.proceed(self.core, account, work)
        return len(works)

    async def work_now(self) -> int:
        await self.due()
        return await self.work()

    async def read_mail(self) -> int:
        """One round of a worker on the stored webhooks, all of them due."""
        await self.run(
            "UPDATE gateway_webhook SET next_try_at = now() WHERE next_try_at IS NOT NULL"
        )
        messages = await inbox.take(self.core, 100)
        for message in messages:
            await inbox.work_on(self.core, message)
        return len(messages)

    async def rows(self, statement: str, *values: Any) -> list[Row]:
        """What another connection sees."""
        connection = await asyncpg.connect(self.url)
        try:
            return [dict(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    async def row(self, statement: str, *values: Any) -> Row:
        [row] = await self.rows(statement, *values)
        return row

    async def value(self, statement: str, *values: Any) -> Any:
        return next(iter((await self.row(statement, *values)).values()))

    async def run(self, statement: str, *values: Any) -> None:
        await self.rows(statement, *values)

    async def attempt(self, payment_id: UUID, number: int = 1) -> Row:
        return await self.row(
            "SELECT * FROM payment_attempt WHERE payment_id = $1 AND number = $2",
            payment_id,
            number,
        )

    async def payment(self, payment_id: UUID) -> Row:
        return await self.row("SELECT * FROM payment WHERE id = $1", payment_id)

    async def log(self, payment_id: UUID) -> list[Row]:
        return await self.rows(
            "SELECT * FROM payment_transaction WHERE payment_id = $1 ORDER BY id", payment_id
        )

    async def events(self, payment_id: UUID) -> list[Row]:
        return await self.rows(
            "SELECT type, (data->>'version')::int AS version, data->>'status' AS status "
            "FROM event WHERE payment_id = $1 ORDER BY id",
            payment_id,
        )

    async def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        tables = await self.rows(
            "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public' ORDER BY relname"
        )
        return {
            table["relname"]: await self.value(f'SELECT count(*) FROM "{table["relname"]}"')
            for table in tables
        }


@asynccontextmanager
async def open_shop(
    home: Path,
    url: str,
    *,
    script: Script | None = None,
    plugins: dict[str, object] | None = None,
    connections: int = 16,
    **settings: Any,
) -> AsyncIterator[Shop]:
    script, clock = script or Script(), Clock()
    chosen = Settings(home=home, poll_scale=0.01, public_url="https://pay.example.rw")
    modules = {"script": script, "cash": Cash(), **(plugins or {})}
    async with open_core(
        replace(chosen, **settings), url, plugins=modules, clock=clock, connections=connections
    ) as core:
        shop = Shop(core=core, url=url, clock=clock, script=script)
        await shop.save_gateway("script", "script")
        await shop.save_gateway("cash", "cash")
        yield shop
        await settle()


async def settle() -> None:
    """Waits for the tasks that go on after their caller has its answer."""
    while tasks := [
        task for task in database._background if not task.get_name().startswith("close")
    ]:
        await asyncio.wait(tasks, timeout=5)
    for task in database._background:
        task.cancel()
    await asyncio.sleep(0)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with fresh_database() as url:
        yield url


@pytest.fixture
async def shop(tmp_path: Path, url: str) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path, url) as shop:
        yield shop


@pytest.fixture
async def live_shop(shop: Shop) -> AsyncIterator[Shop]:
    """A shop whose events are stamped and told as they come."""
    started = asyncio.Event()
    tasks = [
        asyncio.create_task(sequencer.run(shop.core, shop.url)),
        asyncio.create_task(shop.core.tail.run(shop.url, started)),
    ]
    await started.wait()
    yield shop
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], Awaitable[object]], within: float = 5) -> None:
    """Waits until `condition` gives something true."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - the condition is outside this process
            await asyncio.sleep(0.01)
