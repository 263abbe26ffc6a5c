"""Chaos runs in a row, a line for each: `python -m tests.harness --runs 10`.

Exits with 1 when anything that must hold did not.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from tests.harness.chaos import Plan, Report, run_many


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.harness",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--logs", type=Path, help="keep the logs of all processes here")
    for one in fields(Plan):
        name = f"--{one.name.replace('_', '-')}"
        parser.add_argument(name, type=type(one.default), default=one.default)
    options = vars(parser.parse_args())
    runs, logs = options.pop("runs"), options.pop("logs")
    folder = logs or Path(tempfile.mkdtemp(prefix="dusangire-chaos-"))
    reports = asyncio.run(run_many(Plan(**options), runs, folder, _tell))
    print(
        f"{len(reports)} runs: {sum(r.charges.total() for r in reports)} charges, "
        f"{sum(r.double for r in reports)} double, {sum(r.lost for r in reports)} lost, "
        f"{sum(r.refunds['at_providers'] for r in reports)} refunds, "
        f"{sum(r.refunds_double for r in reports)} twice or unasked, "
        f"{sum(r.refunds_lost for r in reports)} lost, "
        f"{sum(r.lost_webhooks for r in reports)} lost webhooks, "
        f"{sum(len(r.violations) for r in reports)} violations; logs in {folder}"
    )
    sys.exit(any(report.violations for report in reports))


def _tell(report: Report) -> None:
    print(report.line, flush=True)
    for violation in report.violations:
        print(f"    {violation}", flush=True)


if __name__ == "__main__":
    main()
