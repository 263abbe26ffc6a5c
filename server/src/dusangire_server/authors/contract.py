"""Runs the contract of one installed plugin, in a process of its own, promise by promise.

    python -m dusangire_server.authors.contract mtn plugins/mtn/tests report.json

Needs pytest, which `dusangire[testing]` brings.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import Distribution, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dusangire_server.authors.scaffold import GROUP

if TYPE_CHECKING:
    import pytest

_LAST_WORDS = 2_000


class Kept(StrEnum):
    """How it is with a promise."""

    OK = "ok"
    FAILED = "failed"
    OPEN = "open"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One promise of one contract class. help: what to do about a promise that failed."""

    group: str
    promise: str
    test: str
    contract: str
    status: Kept
    reason: str | None = None
    help: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of running the contract. problem: why it was not run, or not to its end."""

    tests: Path | None = None
    problem: str | None = None
    promises: tuple[Verdict, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a promise is broken, or there are tests and they say nothing."""
        broken = any(verdict.status is Kept.FAILED for verdict in self.promises)
        return broken or (self.tests is not None and self.problem is not None)


def tests_of(distribution: Distribution | None) -> Path | None:
    """The tests in the folder that a distribution was installed from; None for a wheel's."""
    told = distribution.read_text("direct_url.json") if distribution is not None else None
    url = urlsplit(json.loads(told)["url"] if told else "")
    if url.scheme != "file":
        return None
    folder = Path(url2pathname(url.path)) / "tests"
    return folder if folder.is_dir() else None


def run(name: str, tests: Path | None) -> Report:
    """The contract of the plugin with this entry point, as the classes in `tests` set it up."""
    if tests is None:
        return Report(
            problem="its tests are not here: it was not installed from a folder that has some. "
            "Name them with --tests PATH."
        )
    if any(importlib.util.find_spec(needed) is None for needed in ("pytest", "pytest_asyncio")):
        return Report(tests=tests, problem='pytest is missing: pip install "dusangire[testing]"')
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        # With -P the folder we are in is not importable: what is installed is what is checked.
        command = [sys.executable, "-P", "-m", __spec__.name, name, str(tests.absolute())]
        ran = subprocess.run(
            [*command, str(file)],
            cwd=tests if tests.is_dir() else tests.parent,
            capture_output=True,
            check=False,
        )
        if not file.exists():
            said = (ran.stdout + ran.stderr).decode(errors="replace").strip()
            return Report(tests=tests, problem=f"pytest did not run:\n{said[-_LAST_WORDS:]}")
        told = json.loads(file.read_text())
    verdicts = tuple(Verdict(**{**one, "status": Kept(one["status"])}) for one in told["promises"])
    problem = "\n".join(told["problems"]) or None
    if not verdicts and problem is None:
        problem = f"no subclass of GatewayContract there has the plugin {name!r}."
    return Report(tests=tests, problem=problem, promises=verdicts)


# ── in the process of its own ────────────────────────────────────────────────────────────────────


class Watcher:
    """A plugin of pytest: leaves the promises of one gateway, and notes how it is with each."""

    def __init__(self, plugin: object) -> None:
        self.plugin = plugin
        self.problems: list[str] = []
        self.verdicts: dict[str, Verdict] = {}

    def pytest_collection_modifyitems(
        self, config: "pytest.Config", items: "list[pytest.Item]"
    ) -> None:
        others = [item for item in items if not self._asks(item)]
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)

    def pytest_collectreport(self, report: "pytest.CollectReport") -> None:
        if report.failed:
            self.problems.append(f"{report.nodeid} cannot be read:\n{report.longreprtext}")

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        status, reason = _judged(report)
        if report.when != "call" and status is Kept.OK:
            return
        known = self.verdicts.get(report.nodeid)
        if known is None or status is Kept.FAILED:
            self.verdicts[report.nodeid] = _verdict(report.nodeid, status, reason)

    def left_out(self) -> Iterator[str]:
        """What nobody looked at, because of an option of pytest or of the author's settings."""
        from dusangire.testing.contract import PROMISES  # noqa: PLC0415

        for contract in {verdict.contract for verdict in self.verdicts.values()}:
            asked = {one.test for one in self.verdicts.values() if one.contract == contract}
            if missing := [one.words for one in PROMISES if one.test not in asked]:
                yield f"{contract} was not asked about: {', '.join(missing)}."

    def _asks(self, item: "pytest.Item") -> bool:
        from dusangire.testing import GatewayContract  # noqa: PLC0415

        contract = getattr(item, "cls", None)
        if not (isinstance(contract, type) and issubclass(contract, GatewayContract)):
            return False
        plugin = getattr(contract, "plugin", None)
        # A contract may make an object of its own; two modules are only the same if they are one.
        alike = type(plugin) is type(self.plugin) and not isinstance(plugin, ModuleType)
        return (plugin is self.plugin or alike) and _promise(item.nodeid) is not None


def _verdict(nodeid: str, status: Kept, reason: str | None) -> Verdict:
    promise = _promise(nodeid)
    contract = nodeid.split("::")[-2]
    return Verdict(
        group=promise.group,
        promise=promise.words,
        test=promise.test,
        contract=contract,
        status=status,
        reason=reason,
        help=_help(promise.test) if status is Kept.FAILED else None,
    )


def _judged(report: "pytest.TestReport") -> tuple[Kept, str | None]:
    left_open = getattr(report, "wasxfail", None)
    if report.skipped and left_open is not None:
        return Kept.OPEN, left_open
    if report.skipped:
        told = report.longrepr
        reason = told[2] if isinstance(told, tuple) else str(told)
        return Kept.NOT_APPLICABLE, reason.removeprefix("Skipped: ")
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        message = getattr(crash, "message", None) or report.longreprtext
        return Kept.FAILED, message.removeprefix("AssertionError: ")
    return Kept.OK, None


def _promise(nodeid: str) -> Any:
    from dusangire.testing import GatewayContract  # noqa: PLC0415

    test = nodeid.rpartition("::")[2].partition("[")[0]
    return getattr(getattr(GatewayContract, test, None), "promise", None)


def _help(test: str) -> str | None:
    from dusangire.testing import GatewayContract  # noqa: PLC0415

    told = " ".join((getattr(GatewayContract, test).__doc__ or "").split())
    return told.partition("Troubleshooting: ")[2] or None


def main(name: str, tests: str, file: str) -> None:
    import pytest  # noqa: PLC0415 - a server has none

    [point, *_] = entry_points(group=GROUP, name=name)
    watcher = Watcher(point.load())
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    if importlib.util.find_spec("xdist") is not None:
        options.append("-n0")
    pytest.main([*options, tests], plugins=[watcher])
    verdicts = [asdict(verdict) for verdict in watcher.verdicts.values()]
    problems = [*watcher.problems, *watcher.left_out()]
    Path(file).write_text(json.dumps({"promises": verdicts, "problems": problems}))


if __name__ == "__main__":
    main(*sys.argv[1:])
