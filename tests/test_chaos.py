"""No double charge, no lost payment: 200 payments on a bad line while processes are killed."""

import asyncio
import gc
from pathlib import Path

import pytest
from tests.harness.chaos import Plan, run


# Our own connections, cut while they open, leave sockets for the collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(180)
def test_two_hundred_payments_survive_a_bad_line_and_killed_processes(tmp_path: Path) -> None:
    report = asyncio.run(run(Plan(seed=2026), tmp_path))
    gc.collect()

    print(report.line)
    assert not report.violations, "\n".join(report.violations)
    assert report.charges.total() > 110
    assert all(report.charges[code] > 10 for code in ("mtn", "airtel", "card")), report.line
    assert report.kills.total() >= 4
    assert report.unclear > 0
    assert report.breaks > 0
