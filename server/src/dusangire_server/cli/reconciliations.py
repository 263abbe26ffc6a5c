"""dusangire reconciliations"""

from typing import Annotated
from uuid import UUID

import typer

from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.queries import Page
from dusangire.reconciliation import report as reports
from dusangire.reconciliation import runs
from dusangire.reconciliation.report import Report
from dusangire.records import Reconciliation, RunStatus
from dusangire_server.cli.output import AsJson, put_json, put_table, say
from dusangire_server.cli.reconcile import As, Form, Out, check_form, put_report
from dusangire_server.cli.session import run

app = typer.Typer()


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option(help="Of this statement account alone.")] = None,
    status: Annotated[list[RunStatus] | None, typer.Option(case_sensitive=False)] = None,
    first: Annotated[int, typer.Option(help="How many, at most 100.")] = 25,
    after: Annotated[str | None, typer.Option(help="A cursor: go on behind it.")] = None,
    as_json: AsJson = False,
) -> None:
    """The runs, the newest first."""

    async def work(core: Core, _url: str) -> Page[Reconciliation]:
        return await runs.reconciliations(
            core, OPERATOR, first, after, account=account, status=status or None
        )

    page = run(work)
    if as_json:
        put_json(
            {
                "reconciliations": page.items,
                "cursor": page.cursors[-1] if page.cursors else None,
                "hasNextPage": page.has_next,
            }
        )
        return
    put_table(
        ("run", "account", "from", "to", "kind", "status", "matched", "open lines", "breaks"),
        [
            (
                item.id,
                item.account,
                item.from_,
                item.to,
                item.kind,
                item.status,
                item.matched_count,
                item.unmatched_lines,
                item.discrepancy_count,
            )
            for item in page.items
        ],
    )
    if page.has_next:
        say(f"There are more: --after {page.cursors[-1]}")


@app.command()
def report(
    run_id: Annotated[UUID, typer.Argument(metavar="RUN", help="The run's id.")],
    form: As = Form.TABLE,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """The report of a run, as things are now."""
    check_form(form, out)

    async def work(core: Core, _url: str) -> Report:
        found = await reports.report(core, OPERATOR, run_id)
        await put_report(core, found, form, out, as_json=as_json)
        return found

    run(work)
