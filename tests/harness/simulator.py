"""A provider's simulator as a process of its own, and the control API that tells the truth."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.harness.processes import Process, clean_environment, free_port
from tests.harness.providers import Provider

from dusangire.gateway import JSON


@dataclass(frozen=True, slots=True)
class Truth:
    """Every request to move money that reached a provider, and how often its money moved.

    transactions: from payers. Each has the code of its gateway in `gateway`, and in `message` what
        the payer was charged for.
    refunds: back to them; `original` is the reference of what they were charged.
    """

    transactions: list[dict[str, Any]]
    refunds: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, parts: Iterable["Truth"]) -> "Truth":
        """What all providers know together."""
        known = list(parts)
        return cls(
            [one for part in known for one in part.transactions],
            [one for part in known for one in part.refunds],
        )

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

    provider: Provider
    process: Process
    config: Mapping[str, JSON] = field(default_factory=dict)

    @classmethod
    def prepared(cls, folder: Path, provider: Provider, seed: int = 0) -> "Simulator":
        port, code = free_port(), provider.code
        command = [sys.executable, "-m", "dusangire.simulation", code, "--port", str(port)]
        command += ["--config", json.dumps(provider.account), "--seed", str(seed)]
        process = Process(
            f"simulator-{code}",
            command,
            clean_environment(),
            folder / f"simulator-{code}.log",
            f"http://127.0.0.1:{port}",
        )
        return cls(provider, process, {**provider.account, "base_url": f"http://127.0.0.1:{port}"})

    async def start(self, webhook_url: str | None = None) -> None:
        """Starts it; webhook_url: what is registered there."""
        if webhook_url is not None:
            self.process.command = [*self.process.command, "--webhook-url", webhook_url]
        self.process.start()
        await self.process.until_ready("/_control/truth")

    @property
    def address(self) -> str:
        assert self.process.address is not None
        return self.process.address

    async def truth(self) -> Truth:
        told = (await self._call("GET", "truth"))["transactions"]
        code, charge_of = self.provider.code, self.provider.charge_of
        told = [{**one, "gateway": code} for one in told]
        return Truth(
            [
                {**one, "message": charge_of(one["message"])}
                for one in told
                if one["kind"] != "refund"
            ],
            [one for one in told if one["kind"] == "refund"],
        )

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
