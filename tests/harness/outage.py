"""A database that dies, stays away for as long as one likes, and comes back."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg

from dusangire.postgres import EmbeddedServer


@dataclass(slots=True)
class Database:
    """An embedded server of our own, to be killed."""

    folder: Path
    server: EmbeddedServer

    async def create(self) -> str:
        """The URL of a new, empty database in it."""
        name = f"test_{uuid4().hex[:12]}"
        connection = await asyncpg.connect(self.server.url)
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()
        return self.server.url_for(name)

    @contextmanager
    def killed(self) -> Iterator[None]:
        """`kill -9` of postgres; its supervisor is held inside, so that it stays away."""
        postgres = self._postgres()
        supervisor = _parent(postgres)
        os.kill(supervisor, signal.SIGSTOP)
        try:
            os.kill(postgres, signal.SIGKILL)
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there, takes connections and answers nothing, as behind a broken network."""
        processes = [self._postgres(), *_children(self._postgres())]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    async def until_back(self, seconds: float = 30) -> float:
        """Waits until it takes connections; gives the moment, in monotonic seconds."""
        end = time.monotonic() + seconds
        while True:
            try:
                connection = await asyncpg.connect(self.server.url, timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.02)
            else:
                await connection.close()
                return time.monotonic()

    def _postgres(self) -> int:
        pid_file = self.folder / "postgresql" / "data" / "postmaster.pid"
        return int(pid_file.read_text().splitlines()[0])


@contextmanager
def own_database(folder: Path) -> Iterator[Database]:
    with EmbeddedServer(folder) as server:
        yield Database(folder, server)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]
