"""A terminal for tests: commands as processes of their own, without a second of imports each.

One process for each test process has imported everything already. A command is a copy of it (fork)
with its own environment, folder and output, and ends as the program ends.
"""

import asyncio
import atexit
import json
import os
import subprocess
import sys
import threading
import traceback
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Terminal:
    """A shell with an environment of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    async def run(self, *words: str, **environment: str) -> Ran:
        given = {"PATH": os.environ["PATH"], **self.environment, **environment}
        with TemporaryDirectory(prefix="dusangire-terminal-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            job = {"words": words, "folder": str(self.folder), "environment": given}
            ended = _mother().run({**job, "out": str(out), "err": str(err)})
            status = await asyncio.wrap_future(ended)
            return _ran(status, out, err)


def _ran(status: int, out: Path, err: Path) -> Ran:
    return Ran(status, out.read_text(), err.read_text())


class _Mother:
    """Speaks with the process that commands are copies of."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._waiting: dict[int, Future[int]] = {}
        self._lock = threading.Lock()
        self._last = 0
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.end)

    def run(self, job: dict[str, Any]) -> "Future[int]":
        assert self._process.stdin is not None
        ended: Future[int] = Future()
        with self._lock:
            self._last += 1
            self._waiting[self._last] = ended
            self._process.stdin.write(json.dumps({**job, "number": self._last}) + "\n")
            self._process.stdin.flush()
        return ended

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            self._waiting.pop(told["number"]).set_result(told["status"])
        for ended in self._waiting.values():
            ended.set_exception(RuntimeError("the mother of all commands is gone"))

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()


@cache
def _mother() -> _Mother:
    return _Mother()


# ── the process that commands are copies of ──────────────────────────────────────────────────────


def _be_mother() -> None:
    import pkgutil
    from importlib import import_module
    from importlib.metadata import entry_points

    import dusangire_server.cli as commands

    for module in pkgutil.iter_modules(commands.__path__):
        import_module(f"{commands.__name__}.{module.name}")
    for point in entry_points(group="dusangire"):
        point.load()
    # Each with a child that waits, so that the reading goes on.
    for line in sys.stdin:
        job = json.loads(line)
        while _reap(block=False):
            pass
        if os.fork() == 0:
            status = _run_and_wait(job)
            os.write(1, json.dumps({"number": job["number"], "status": status}).encode() + b"\n")
            os._exit(0)
    while _reap(block=True):
        pass


def _reap(*, block: bool) -> bool:
    try:
        pid, _status = os.waitpid(-1, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return False
    return pid != 0


def _run_and_wait(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _run(job)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run(job: dict[str, Any]) -> None:
    from dusangire_server.cli.main import main

    status = 1
    try:
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        flags = os.O_WRONLY | os.O_CREAT
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(job["out"], flags), 1)
        os.dup2(os.open(job["err"], flags), 2)
        sys.argv = ["dusangire", *job["words"]]
        main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _be_mother()
