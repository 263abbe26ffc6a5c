"""The whole system as real processes: migrations, simulators, web processes, workers."""

import asyncio
import base64
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from tests.harness.browser import Browser
from tests.harness.client import Merchant
from tests.harness.processes import DidNotStart, Process, clean_environment, free_port
from tests.harness.providers import Accounts
from tests.harness.simulator import Simulator, Truth

_DUSANGIRE = Path(sys.executable).parent / "dusangire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What must never be seen outside the places made for it. All of it is recognisable."""

    sealing_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    accounts: Accounts = field(default_factory=Accounts)

    def texts(self) -> list[str]:
        return [base64.b64encode(self.sealing_key).decode(), *self.accounts.texts()]


@dataclass(slots=True)
class System:
    """A running system.

    token: an API key that may do everything a key can.
    environment: of every process of ours.
    """

    folder: Path
    database_url: str
    environment: dict[str, str]
    secrets: Secrets
    simulators: dict[str, Simulator]
    webs: list[Process]
    workers: list[Process]
    token: str = ""
    webhook_urls: dict[str, str] = field(default_factory=dict)

    @property
    def simulator(self) -> Simulator:
        """MTN's, which every system has."""
        return self.simulators["mtn"]

    @property
    def processes(self) -> list[Process]:
        """Ours: not the simulators, which stay alive as the outer world does."""
        return [*self.webs, *self.workers]

    @property
    def addresses(self) -> list[str]:
        return [web.address for web in self.webs if web.address is not None]

    def merchant(self, seed: int = 0) -> Merchant:
        return Merchant(self.addresses, self.token, seed)

    def browser(self, seed: int = 0) -> Browser:
        return Browser(self.addresses, seed)

    async def truth(self) -> Truth:
        """What all providers know."""
        simulators = self.simulators.values()
        return Truth.of(await asyncio.gather(*(one.truth() for one in simulators)))

    async def let_time_run_out(self, payment_id: str) -> None:
        """Makes this moment the end of the payment's time, and the next question due."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(
                "UPDATE payment SET expires_at = now() WHERE id = $1::text::uuid", payment_id
            )
            await connection.execute(
                "UPDATE payment_attempt SET next_check_at = least(next_check_at, now()) "
                "WHERE payment_id = $1::text::uuid",
                payment_id,
            )
        finally:
            await connection.close()

    async def let_confirmations_grow_old(self) -> None:
        """Whoever showed that it was them has to show it again."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(
                "UPDATE staff_session SET confirmed_at = now() - interval '6 minutes'"
            )
        finally:
            await connection.close()

    async def command(self, *arguments: str, may_fail: bool = False) -> Any:
        """Runs `dusangire …`; gives what it printed, read as JSON if it is."""
        process = await asyncio.create_subprocess_exec(
            _DUSANGIRE,
            *arguments,
            env=self.environment,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, talk = await process.communicate()
        with (self.folder / "commands.log").open("ab") as log:
            log.write(talk)
        if process.returncode != 0 and not (may_fail and printed):
            raise DidNotStart(f"dusangire {' '.join(arguments)}: {talk.decode()[-3000:]}")
        return json.loads(printed) if "--json" in arguments else printed.decode()

    async def audit(self) -> Any:
        """What `dusangire audit verify` says of the log."""
        return await self.command("audit", "verify", "--json", may_fail=True)

    async def open_gateway(self, code: str) -> None:
        """The gateway with its simulator, which is told where its webhooks go."""
        simulator = self.simulators[code]
        await self.save_gateway(code, code, simulator.config)
        asks = simulator.provider.asks_for_url
        await simulator.start(self.webhook_urls[code] if asks else None)

    async def save_gateway(self, code: str, plugin: str, config: Mapping[str, Any]) -> None:
        """Configures a gateway, and waits until every web process has heard of it."""
        async with self.merchant() as merchant:
            saved = await merchant.save_gateway(code, plugin, config)
            for address in self.addresses:
                await merchant.until_gateway(address, code)
        if saved["webhookUrl"]:
            self.webhook_urls[code] = saved["webhookUrl"]

    def logs(self) -> dict[str, str]:
        """What our processes and commands wrote, by name."""
        files = [process.log for process in self.processes] + [self.folder / "commands.log"]
        return {file.stem: file.read_text() for file in files if file.exists()}


@asynccontextmanager
async def running(
    folder: Path,
    database_url: str,
    *,
    webs: int = 1,
    workers: int = 1,
    scale: float = 0.02,
    seed: int = 0,
    cod: bool = True,
    gateways: Sequence[str] = ("mtn",),
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[System]:
    """Everything started and ready inside the block; everything stopped after it.

    gateways: those with a simulator, MTN's among them.
    settings: more of the environment of every process of ours.
    scale: DUSANGIRE_POLL_SCALE, which shortens every waiting time of the check schedule.
    """
    secrets = Secrets(accounts=Accounts.at(*gateways))
    system = _prepared(
        folder, database_url, secrets, webs=webs, workers=workers, scale=scale, seed=seed
    )
    system.environment.update(settings or {})
    try:
        await system.command("migrate")
        for process in system.processes:
            process.start()
        key = await system.command(
            "keys", "create", "--name", "harness", "--scope", "ADMIN", "--json"
        )
        system.token = key["secret"]
        for web in system.webs:
            await web.until_ready()
        for code in system.simulators:
            await system.open_gateway(code)
        if cod:
            await system.save_gateway("cod", "cod", {"currency": "RWF"})
        yield system
    finally:
        providers = [simulator.process for simulator in system.simulators.values()]
        for process in [*system.processes, *providers]:
            process.thaw()
            process.kill()


def _prepared(
    folder: Path,
    database_url: str,
    canaries: Secrets,
    *,
    webs: int,
    workers: int,
    scale: float,
    seed: int,
) -> System:
    folder.mkdir(parents=True, exist_ok=True)
    ports = [free_port() for _ in range(webs)]
    environment = {
        **clean_environment(),
        "DUSANGIRE_DATABASE_URL": database_url,
        "DUSANGIRE_HOME": str(folder / "home"),
        "DUSANGIRE_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
        "DUSANGIRE_SECRET_KEYS": f"k1:{base64.b64encode(canaries.sealing_key).decode()}",
        "DUSANGIRE_LOG_LEVEL": "debug",
        "DUSANGIRE_POLL_SCALE": str(scale),
    }
    return System(
        folder=folder,
        database_url=database_url,
        environment=environment,
        secrets=canaries,
        simulators={
            provider.code: Simulator.prepared(folder, provider, seed)
            for provider in canaries.accounts.providers
        },
        webs=[
            Process(
                f"web{number}",
                [_DUSANGIRE, "serve", "--host", "127.0.0.1", "--port", str(port)],
                environment,
                folder / f"web{number}.log",
                f"http://127.0.0.1:{port}",
            )
            for number, port in enumerate(ports, 1)
        ],
        workers=[
            Process(
                f"worker{number}",
                [_DUSANGIRE, "worker"],
                environment,
                folder / f"worker{number}.log",
            )
            for number in range(1, workers + 1)
        ],
    )
