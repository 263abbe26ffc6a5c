"""Listeners, and several web processes side by side that are started again when they die.

dusangire serve ─┬─ web process, listener 1     Each has a listener of its own, and the kernel
                 ├─ web process, listener 2     spreads connections over them. All listeners
                 └─ web process, listener 3     stay open here: who waits in the queue of a
                                                dead process is answered by the next one.
"""

import errno
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from dusangire.errors import CannotStart
from dusangire_server.stopping import GRACE

log = structlog.get_logger(__name__)

# Linux spreads connections over sockets with the same port; elsewhere one socket serves all.
_SPREADS = sys.platform == "linux"
_BACKLOG = 2048
# A process that ends with an error sooner than this could not start.
_SETTLED = 10.0


def listen(host: str, port: int, processes: int = 1) -> list[socket.socket]:
    """A listener for each process. Raises CannotStart, and says which port is free."""
    first = _open(host, port)
    if processes == 1 or not _SPREADS:
        return [first] * processes
    # Only now is it certain that the port is ours alone: sharing it would succeed in any case.
    port = first.getsockname()[1]
    first.close()
    return [_open(host, port, shared=True) for _ in range(processes)]


def _open(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, reuse_port=shared
        )
    except OSError as error:
        raise CannotStart(_why(error, host, port)) from error
    except OverflowError as error:
        raise CannotStart(f"There is no port {port}: the highest is 65535.") from error


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        free = next((p for p in range(port + 1, port + 100) if _is_free(host, p)), None)
        advice = f" Try `--port {free}`." if free else ""
        return f"Port {port} of {host} is taken by another program.{advice}"
    if error.errno == errno.EACCES:
        return f"Only root may use port {port}. Choose one above 1023, such as `--port 8000`."
    return f"{host} port {port} cannot be listened on: {error.strerror or error}."


def _is_free(host: str, port: int) -> bool:
    try:
        _open(host, port).close()
    except CannotStart:
        return False
    return True


# ── several ──────────────────────────────────────────────────────────────────────────────────────


def supervise(listeners: Sequence[socket.socket], *, with_worker: bool) -> int:
    """Keeps a web process running on each listener until told to stop; the exit status."""
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: told.append(number))
    children = [_Child(listener, with_worker) for listener in listeners]
    try:
        for child in children:
            child.start()
        while not told and all(child.keep() for child in children):
            time.sleep(0.1)
        return 0 if told else 1
    finally:
        _stop(children, told)


def _stop(children: Sequence["_Child"], told: list[int]) -> None:
    end = time.monotonic() + GRACE + 5
    for child in children:
        child.send(signal.SIGTERM)
    signals = len(told)
    while any(child.is_running for child in children) and time.monotonic() < end:
        if len(told) > signals:
            signals = len(told)
            for child in children:
                child.send(signal.SIGINT)
        time.sleep(0.05)
    for child in children:
        child.end()


@dataclass(eq=False)
class _Child:
    """A web process, started again with growing pauses when it dies."""

    listener: socket.socket
    with_worker: bool
    _process: "subprocess.Popen[bytes] | None" = None
    _started_at: float = field(default=0)
    _settled: bool = False
    _failures: int = 0

    def start(self) -> None:
        number = self.listener.fileno()
        options = ["--with-worker"] if self.with_worker else []
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dusangire_server.web", str(number), *options],
            stdin=subprocess.PIPE,  # never written to: it closes when we die, however we do
            stdout=subprocess.DEVNULL,
            pass_fds=(number,),
            start_new_session=True,  # Ctrl-C is for us, and we tell them
        )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def keep(self) -> bool:
        """Starts it again if it died; False when it cannot start at all."""
        lived = time.monotonic() - self._started_at
        if self.is_running:
            self._settled = self._settled or lived > _SETTLED
            self._failures = 0 if lived > _SETTLED else self._failures
            return True
        assert self._process is not None
        status = self._process.returncode
        if status > 0 and not self._settled:
            return False
        # A pause before the next start, so that what cannot start does not eat the machine.
        if lived > min(30, 2**self._failures - 1):
            log.warning("web process died and is started again", status=status)
            self._failures += 1
            self.end()
            self.start()
        return True

    def send(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
