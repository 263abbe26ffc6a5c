"""dusangire analytics"""

from datetime import date, datetime, timedelta
from typing import Annotated

import typer

from dusangire.access import OPERATOR
from dusangire.analytics.performance import GatewayPerformance, gateway_performance
from dusangire.analytics.revenue import RevenueGroup, RevenueRow, revenue
from dusangire.core import Core
from dusangire.days import KIGALI
from dusangire.errors import Invalid
from dusangire_server.cli.output import AsJson, put_json, put_table, to_json
from dusangire_server.cli.session import run

app = typer.Typer()

From = Annotated[str | None, typer.Option("--from", help="The first day; 30 days ago.")]
To = Annotated[str | None, typer.Option("--to", help="The last day; today.")]


@app.command("revenue")
def revenue_(
    from_: From = None,
    to: To = None,
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "RWF",
    by: Annotated[
        list[RevenueGroup] | None,
        typer.Option(case_sensitive=False, help="Give it twice to divide by two things."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What was earned: by gateway and month, unless --by says otherwise."""
    begin, end = _days(from_, to)
    groups = by or [RevenueGroup.GATEWAY, RevenueGroup.MONTH]

    async def work(_core: Core, _url: str) -> list[RevenueRow]:
        return await revenue(OPERATOR, begin, end, currency.upper(), groups)

    rows = run(work)
    if as_json:
        put_json({"revenue": to_json(rows)})
        return
    put_table(
        ("from", "gateway", "status", "payments", "amount", "refunded"),
        [
            (
                row.period_start,
                row.gateway,
                row.status,
                row.count,
                row.amount,
                row.refunded,
            )
            for row in rows
        ],
    )


@app.command()
def gateways(from_: From = None, to: To = None, as_json: AsJson = False) -> None:
    """How each gateway did: how often it succeeded, how fast, and why it failed."""
    begin, end = _days(from_, to)

    async def work(_core: Core, _url: str) -> list[GatewayPerformance]:
        return await gateway_performance(OPERATOR, begin, end)

    found = run(work)
    if as_json:
        put_json({"gateways": to_json(found)})
        return
    put_table(
        ("gateway", "attempts", "succeeded", "rate", "half within", "95% within", "why not"),
        [
            (
                one.gateway,
                one.attempts,
                one.succeeded,
                None if one.success_rate is None else f"{one.success_rate:.1%}",
                None if one.p50_seconds is None else f"{one.p50_seconds:.1f} s",
                None if one.p95_seconds is None else f"{one.p95_seconds:.1f} s",
                ", ".join(f"{failure.code} {failure.count}" for failure in one.failures[:3]),
            )
            for one in found
        ],
    )


def _days(from_: str | None, to: str | None) -> tuple[date, date]:
    end = _day(to, "--to") if to else datetime.now(KIGALI).date()
    return (_day(from_, "--from") if from_ else end - timedelta(days=30)), end


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{option} takes a day such as 2026-11-23, not {text[:40]!r}.") from error
