"""One process of ours: started, watched until it answers, killed, frozen, started again."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx


class DidNotStart(Exception):
    """A process ended or did not answer in time; its log says why."""


@dataclass(slots=True)
class Process:
    """A real process, which can be killed at any moment.

    log: where its stdout and stderr go; a restart appends.
    address: its base URL; None for one that listens nowhere.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    log: Path
    address: str | None = None
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        assert self._popen is not None, f"{self.name} was never started"
        return self._popen.pid

    @property
    def memory(self) -> int:
        """Bytes of memory that it holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def until_ready(self, path: str = "/ready", *, seconds: float = 40) -> None:
        """Waits until it answers 200 there. Raises DidNotStart."""
        end = time.monotonic() + seconds
        async with httpx.AsyncClient(base_url=self.address or "", trust_env=False) as http:
            while time.monotonic() < end and self.running:
                try:
                    if (await http.get(path, timeout=2)).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)
        raise DidNotStart(f"{self.name} does not answer:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """As `kill -9`: no goodbye."""
        self._send(signal.SIGKILL)
        self._wait(10)

    def terminate(self) -> None:
        """Asks it to end, and does not wait."""
        self._send(signal.SIGTERM)

    def stop(self, *, patience: float = 25) -> int | None:
        """Asks it to end and waits; what does not listen is killed. Gives the exit status."""
        if self._popen is None:
            return None
        self.terminate()
        try:
            return self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    async def until_ended(self, *, seconds: float = 25) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        assert self._popen is not None
        return await asyncio.to_thread(self._popen.wait, seconds)

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._popen is not None:
            self._popen.send_signal(number)

    def _wait(self, seconds: float) -> None:
        if self._popen is not None:
            self._popen.wait(seconds)


def free_port() -> int:
    """A port that nobody listens on; a process started with it keeps it over its restarts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def clean_environment() -> dict[str, str]:
    """Ours, without the settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DUSANGIRE_")}
