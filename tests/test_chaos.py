"""No double charge, no lost payment, no refund twice: 200 payments on a bad line, and kill -9."""

import asyncio
import gc
from pathlib import Path

import pytest
from tests.harness.chaos import Plan, run


# Our own connections, cut while they open, leave sockets for the collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(300)
def test_two_hundred_payments_and_their_refunds_survive_a_bad_line_and_kill_9(
    tmp_path: Path,
) -> None:
    report = asyncio.run(run(Plan(seed=2026), tmp_path))
    gc.collect()

    print(report.line)
    assert not report.violations, "\n".join(report.violations)
    assert report.charges.total() > 110
    assert all(report.charges[code] > 10 for code in ("mtn", "airtel", "card")), report.line
    assert report.kills.total() >= 4
    assert report.unclear > 0
    assert report.breaks > 0
    refunds = report.refunds
    assert refunds["requested"] > refunds["approved"] > refunds["sent"] > 20, report.line
    assert refunds["refused"] > 5, report.line
    assert refunds["succeeded"] > 20, report.line
    assert refunds["rejected"] > 0, report.line
    assert report.documents["INVOICE"] > report.documents["CREDIT_NOTE"] > 20, report.line
    assert report.webhooks > 700, report.line
