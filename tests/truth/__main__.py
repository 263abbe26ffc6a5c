"""`python -m tests.truth --payments 10000`: makes a month, reconciles it, and says how well."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.truth.desk import Desk, open_desk
from tests.truth.judge import Verdict, judge
from tests.truth.known import Month
from tests.truth.month import build, write

from dusangire.reconciliation.discrepancies import DiscrepancyKind
from dusangire.testing.database import fresh_database

ORDER = ("mtn", "card", "cod", "bank")


async def reconciled(desk: Desk, month: Month, days: int = 7) -> dict[str, float]:
    """Loads the month, brings all its files, and runs each account; gives seconds by step.

    days: see `write`.
    """
    times: dict[str, float] = {}

    def lap(name: str, began: float) -> None:
        times[name] = round(time.monotonic() - began, 2)

    began = time.monotonic()
    await desk.load(month.payments, month.refunds)
    lap("load", began)
    began = time.monotonic()
    await desk.bring_all(write(month, days))
    lap("import", began)
    began = time.monotonic()
    await desk.work()
    lap("runs after imports", began)
    for account in ORDER:
        began = time.monotonic()
        await desk.reconcile(account)
        lap(f"run {account}", began)
    return times


async def _main(payments: int, seed: int) -> int:
    month = build(payments, seed)
    with tempfile.TemporaryDirectory(prefix="dusangire-truth-") as folder:
        async with fresh_database() as url, open_desk(Path(folder), url) as desk:
            times = await reconciled(desk, month)
            verdict = await judge(url, month)
    _tell(month, verdict, times)
    classes = {fault.kind for fault in month.faults} - {None}
    _say(f"classes of faults: {len(classes)} of {len(DiscrepancyKind)}")
    return bool(verdict.wrong or verdict.recall < 0.98 or classes != set(DiscrepancyKind))


def _tell(month: Month, verdict: Verdict, times: dict[str, float]) -> None:
    lines = sum(map(len, month.lines.values()))
    _say(f"{len(month.payments)} payments, {lines} lines, {len(month.faults)} faults")
    _say(f"seconds: {times}")
    _say(f"{verdict.confirmed} confirmed: {dict(verdict.rules)}")
    _say(f"{verdict.suggested} suggested, {verdict.suggested_truly} of them truly")
    _say(f"discrepancies: {dict(verdict.kinds)}")
    _say(f"false matches: {len(verdict.false)}")
    _say(f"found where a reference survived: {verdict.recall:.4%} of {verdict.sure}")
    _say(f"lines lost or doubled, payments in another state: {len(verdict.lost)}")
    _say(f"faults not in their class: {len(verdict.unclassed)}")
    _say(f"discrepancies that nothing explains: {len(verdict.unexplained)}")
    for text in [*verdict.wrong, *(f"MISSED {text}" for text in verdict.missed)][:60]:
        _say(f"  {text}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.truth")
    parser.add_argument("--payments", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.exit(asyncio.run(_main(options.payments, options.seed)))
