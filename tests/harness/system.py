"""The whole system as real processes: migrations, MTN's simulator, web processes, workers."""

import asyncio
import base64
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.client import Merchant
from tests.harness.processes import DidNotStart, Process, clean_environment, free_port
from tests.harness.simulator import Simulator

_DUSANGIRE = Path(sys.executable).parent / "dusangire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What must never be seen outside the places made for it. All of it is recognisable."""

    sealing_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    mtn: Mapping[str, str] = field(
        default_factory=lambda: {
            name: f"canary-{name.replace('_', '-')}-{secrets.token_hex(8)}"
            for name in (
                "collection_subscription_key",
                "collection_api_key",
                "disbursement_subscription_key",
                "disbursement_api_key",
            )
        }
    )

    def texts(self) -> list[str]:
        return [base64.b64encode(self.sealing_key).decode(), *self.mtn.values()]


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
    simulator: Simulator
    webs: list[Process]
    workers: list[Process]
    token: str = ""
    webhook_urls: dict[str, str] = field(default_factory=dict)

    @property
    def processes(self) -> list[Process]:
        """Ours: not the simulator, which stays alive as the outer world does."""
        return [*self.webs, *self.workers]

    @property
    def addresses(self) -> list[str]:
        return [web.address for web in self.webs if web.address is not None]

    def merchant(self, seed: int = 0) -> Merchant:
        return Merchant(self.addresses, self.token, seed)

    async def command(self, *arguments: str) -> Any:
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
        if process.returncode != 0:
            raise DidNotStart(f"dusangire {' '.join(arguments)}: {talk.decode()[-3000:]}")
        return json.loads(printed) if "--json" in arguments else printed.decode()

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
) -> AsyncIterator[System]:
    """Everything started and ready inside the block; everything stopped after it.

    scale: DUSANGIRE_POLL_SCALE, which shortens every waiting time of the check schedule.
    """
    system = _prepared(folder, database_url, webs=webs, workers=workers, scale=scale, seed=seed)
    try:
        system.simulator.process.start()
        await system.command("migrate")
        for process in system.processes:
            process.start()
        key = await system.command(
            "keys", "create", "--name", "harness", "--scope", "ADMIN", "--json"
        )
        system.token = key["secret"]
        await system.simulator.process.until_ready("/_control/truth")
        for web in system.webs:
            await web.until_ready()
        await system.save_gateway("mtn", "mtn", system.simulator.config)
        if cod:
            await system.save_gateway("cod", "cod", {"currency": "RWF"})
        yield system
    finally:
        for process in [*system.processes, system.simulator.process]:
            process.thaw()
            process.kill()


def _prepared(
    folder: Path, database_url: str, *, webs: int, workers: int, scale: float, seed: int
) -> System:
    folder.mkdir(parents=True, exist_ok=True)
    canaries = Secrets()
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
    account = {
        "target_environment": "mtnrwanda",
        "currency": "RWF",
        "collection_api_user": "3f2b8c1e-5d47-4a90-9b6e-0c1d2e3f4a5b",
        "disbursement_api_user": "9a1c7e52-6b38-4f0d-8e21-7d6c5b4a3f2e",
        **canaries.mtn,
    }
    return System(
        folder=folder,
        database_url=database_url,
        environment=environment,
        secrets=canaries,
        simulator=Simulator.prepared(folder, account, seed),
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
