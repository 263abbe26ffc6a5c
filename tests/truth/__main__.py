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

from dusangire.testing.database import fresh_database

ORDER = ("mtn", "card", "cod", "bank")


async def reconciled(desk: Desk, month: Month) -> dict[str, float]:
    """Loads the month, brings all its files, and runs each account; gives seconds by step."""
    times: dict[str, float] = {}

    def lap(name: str, began: float) -> None:
        times[name] = round(time.monotonic() - began, 2)

    began = time.monotonic()
    await desk.load(month.payments, month.refunds)
    lap("load", began)
    began = time.monotonic()
    await desk.bring_all(write(month))
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
            for done in desk.imports:
                if done.warnings:
                    _say(f"{done.id} {done.format}: {[one.code for one in done.warnings]}")
            verdict = await judge(url, month)
    _tell(month, verdict, times)
    return bool(verdict.false or verdict.breaks or verdict.unclassed or verdict.recall < 0.98)


def _tell(month: Month, verdict: Verdict, times: dict[str, float]) -> None:
    lines = sum(map(len, month.lines.values()))
    _say(f"{len(month.payments)} payments, {lines} lines, {len(month.faults)} faults")
    _say(f"seconds: {times}")
    _say(f"{verdict.confirmed} confirmed, {verdict.suggested} suggested; rules {verdict.rules}")
    _say(f"discrepancies: {verdict.kinds}")
    _say(f"false matches: {len(verdict.false)}")
    _say(f"found where a reference survived: {verdict.recall:.4%} of {verdict.sure}")
    _say(f"faults not in their class: {len(verdict.unclassed)}")
    for title, found in (
        ("FALSE", verdict.false),
        ("MISSED", verdict.missed),
        ("UNCLASSED", verdict.unclassed),
        ("BROKEN", verdict.breaks),
    ):
        for text in found[:40]:
            _say(f"  {title} {text}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.truth")
    parser.add_argument("--payments", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.exit(asyncio.run(_main(options.payments, options.seed)))
