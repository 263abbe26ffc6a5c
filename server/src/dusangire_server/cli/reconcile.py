"""dusangire reconcile"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from textwrap import fill
from typing import Annotated
from uuid import UUID

import typer

from dusangire import sequencer
from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.days import KIGALI
from dusangire.errors import DusangireError, Invalid
from dusangire.reconciliation import discrepancies, runs
from dusangire.reconciliation import report as reports
from dusangire.reconciliation.discrepancies import DiscrepancyFilter, DiscrepancyStatus
from dusangire.reconciliation.report import Report
from dusangire.records import Reconciliation, RunStatus
from dusangire_server.cli.output import AsJson, put_facts, put_json, say, to_json
from dusangire_server.cli.session import run
from dusangire_server.sheets import write_xlsx

_POLL = 0.3
# So many that do not agree are read on a terminal.
_SHOWN = 20


class Form(StrEnum):
    """How a report is written."""

    TABLE = "table"
    CSV = "csv"
    XLSX = "xlsx"


Out = Annotated[Path | None, typer.Option("--out", help="Where to, instead of stdout.")]
As = Annotated[Form, typer.Option("--report", case_sensitive=False, help="How it is written.")]


class RunFailed(DusangireError):
    """The run failed."""


def command(
    account: Annotated[str, typer.Option(help="The statement account's code.")],
    from_: Annotated[
        str | None, typer.Option("--from", help="The first day, such as 2026-11-01; else 30 ago.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="The last day; else today.")] = None,
    form: As = Form.TABLE,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Compares the statements of an account with the payments, and reports.

    Somebody with an account approves the run afterwards, in the browser.
    """
    last = _day(to, "--to") if to else datetime.now(KIGALI).date()
    days = _day(from_, "--from") if from_ else last - timedelta(days=30), last
    check_form(form, out)

    async def work(core: Core, url: str) -> Report:
        with _bar() as tell:
            # The run after an import waits for a worker, and there may be none.
            running = [RunStatus.RUNNING]
            going = await runs.reconciliations(core, OPERATOR, account=account, status=running)
            for before in going.items:
                await _finished(core, url, before, tell)
            begun = await runs.begin(core, OPERATOR, account, *days)
            ended = await _finished(core, url, begun, tell)
        if ended.status is RunStatus.FAILED:
            raise RunFailed(f"The run {ended.id} failed: {ended.error}")
        found = await reports.report(core, OPERATOR, ended.id)
        await put_report(core, found, form, out, as_json=as_json)
        return found

    found = run(work)
    if found.run.status is RunStatus.AWAITING_APPROVAL:
        say("Somebody else has to approve it: approveReconciliation, with this digest.")


async def _finished(
    core: Core, url: str, begun: Reconciliation, tell: Callable[[Reconciliation], None]
) -> Reconciliation:
    """Waits for the run, and goes through it here if no worker has taken it."""
    # What was written before the run began has to have its place in the log.
    stamping = asyncio.create_task(sequencer.run(core, url), name="stamp")
    working = asyncio.create_task(_work(core, begun.id), name="reconcile")
    try:
        while True:
            now = await runs.reconciliation(core, OPERATOR, begun.id)
            assert now is not None, "runs are never deleted"
            tell(now)
            if working.done():
                working.result()  # raises what ended it
            if now.status is not RunStatus.RUNNING:
                return now
            await asyncio.sleep(_POLL)
    finally:
        for task in (working, stamping):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _work(core: Core, run_id: UUID) -> None:
    # A worker may take it first, and die: then it is this one's after all.
    while True:
        await runs.work_due(core, run_id)
        await asyncio.sleep(_POLL)


@contextmanager
def _bar() -> Iterator[Callable[[Reconciliation], None]]:
    """A bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only terminals pay for it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("Reconciling", total=1.0)
        yield lambda now: shown.update(
            task, completed=now.progress, description=now.step or now.status.lower()
        )


async def put_report(
    core: Core, found: Report, form: Form, out: Path | None, *, as_json: bool
) -> None:
    """A report, to a file or to stdout. On a terminal, what does not agree comes in words."""
    if as_json:
        put_json({"reconciliation": found.run, "report": _shown(found)})
        return
    if form is Form.TABLE:
        put_facts({name: _grouped(value) for name, value in found.facts if name})
        await _put_breaks(core, found)
    elif form is Form.XLSX and out is not None:
        with out.open("wb") as file:
            await write_xlsx(OPERATOR, found, file)
    else:
        await _put_csv(found, out)
    if out is not None and form is not Form.TABLE:
        say(f"Written to {out}.")


def _grouped(value: object) -> object:
    return f"{value:,}" if isinstance(value, int | Decimal) else value


async def _put_breaks(core: Core, found: Report) -> None:
    wanted = DiscrepancyFilter(account=found.run.account, status=[DiscrepancyStatus.OPEN])
    page = await discrepancies.discrepancies(core, OPERATOR, wanted, _SHOWN)
    for one in page.items:
        typer.echo(f"\n{one.kind}, {one.since}\n{fill(one.message, 100)}")
    if page.has_next:
        say(f"\nThese are the newest {_SHOWN}. --report csv has all of them.")


async def _put_csv(found: Report, out: Path | None) -> None:
    write: Callable[[str], object]
    if out is None:
        async for piece in reports.csv_of(OPERATOR, found):
            typer.echo(piece, nl=False)
        return
    with out.open("w", encoding="utf-8", newline="") as file:
        write = file.write
        async for piece in reports.csv_of(OPERATOR, found):
            write(piece)


def _shown(found: Report) -> object:
    """The report without the run, which stands beside it."""
    shown = to_json(found)
    return {name: value for name, value in shown.items() if name != "run"}


def check_form(form: Form, out: Path | None) -> None:
    """Raises Invalid for a workbook without a file to put it in."""
    if form is Form.XLSX and out is None:
        raise Invalid("A workbook needs a file: --out report.xlsx")


def _day(text: str, option: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise Invalid(f"{option} must be a day such as 2026-11-01.") from None
