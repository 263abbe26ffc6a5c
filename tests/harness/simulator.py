"""MTN's simulator as a process of its own, and the control API that tells the truth."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.harness.processes import Process, clean_environment, free_port

from dusangire.gateway import JSON


@dataclass(frozen=True, slots=True)
class Truth:
    """Every request to move money that reached the provider, and how often its money moved."""

    transactions: list[dict[str, Any]]

    @property
    def by_reference(self) -> dict[str, dict[str, Any]]:
        return {one["reference"]: one for one in self.transactions}

    def told(self, message: str) -> list[dict[str, Any]]:
        """The transactions that were asked for with this text for the payer."""
        return [one for one in self.transactions if one["message"] == message]

    @property
    def pending(self) -> list[str]:
        return [one["reference"] for one in self.transactions if one["status"] == "PENDING"]


@dataclass(slots=True)
class Simulator:
    """The provider. `config` is the account it knows, which a gateway of ours is given too."""

    process: Process
    config: Mapping[str, str]

    @classmethod
    def prepared(cls, folder: Path, config: Mapping[str, str], seed: int = 0) -> "Simulator":
        port = free_port()
        command = [sys.executable, "-m", "dusangire.simulation", "mtn", "--port", str(port)]
        command += ["--config", json.dumps(config), "--seed", str(seed)]
        process = Process(
            "simulator",
            command,
            clean_environment(),
            folder / "simulator.log",
            f"http://127.0.0.1:{port}",
        )
        return cls(process, {**config, "base_url": f"http://127.0.0.1:{port}"})

    @property
    def address(self) -> str:
        assert self.process.address is not None
        return self.process.address

    async def truth(self) -> Truth:
        return Truth((await self._call("GET", "truth"))["transactions"])

    async def faults(self, **faults: JSON) -> None:
        """Sets what goes wrong on the line; what is not named goes well."""
        await self._call("POST", "faults", faults)

    async def settings(self, **settings: JSON) -> None:
        await self._call("POST", "settings", settings)

    async def decide(self, reference: str, *, approve: bool) -> None:
        """The payer taps on the phone."""
        decision = "approve" if approve else "decline"
        await self._call("POST", "decide", {"reference": reference, "decision": decision})

    async def _call(
        self, method: str, path: str, values: Mapping[str, JSON] | None = None
    ) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            url = f"{self.address}/_control/{path}"
            response = await http.request(method, url, json=values)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer
