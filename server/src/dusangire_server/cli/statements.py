"""dusangire statements"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.errors import Invalid
from dusangire.importing import accounts, imports, stored, uploads
from dusangire.importing.accounts import StatementAccount
from dusangire.importing.imports import ImportRequest, ImportStatus, StatementImport
from dusangire.importing.stored import LineFilter, LineStatus, StatementLine
from dusangire.money import Money
from dusangire.queries import Page
from dusangire.statements import AccountKind
from dusangire_server.cli.output import AsJson, put_facts, put_json, put_table, say
from dusangire_server.cli.session import run

app = typer.Typer()

Account = Annotated[str, typer.Option("--account", help="Code of the statement account.")]
_POLL = 0.2


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="What the bank or the operator gave you.")],
    account: Account,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, store nothing.")] = False,
    format: Annotated[str | None, typer.Option(help="Such as mt940; else by its content.")] = None,
    profile: Annotated[str | None, typer.Option(help="How its columns are read.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take a statement's lines in. The same file again changes nothing."""

    async def work(core: Core, _url: str) -> StatementImport:
        upload_id = await uploads.keep(core, OPERATOR, _readable(file), file.name)
        asked = await imports.import_statement(
            core,
            OPERATOR,
            ImportRequest(
                upload_id=upload_id,
                account=account,
                format=format,
                profile=profile,
                dry_run=dry_run,
            ),
        )
        return await _done(core, asked)

    done = run(work)
    for one in done.warnings:
        say(f"{one.code}: {one.message}" + (f" (line {one.line})" if one.line else ""))
    for rejected in done.rejected[:20]:
        say(f"line {rejected.line} was left out: {rejected.message}")
    if as_json:
        put_json(_plain(done))
    elif done.error is None:
        _put(done)
    if done.error is not None:
        where = f" (line {done.error.line})" if done.error.line else ""
        say(f"Error: {done.error.message}{where}")
        raise typer.Exit(1)


def _readable(file: Path) -> Path:
    if not file.is_file():
        raise Invalid(f"There is no file {file}.", field=["file"])
    if file.stat().st_size > uploads.LARGEST:
        raise Invalid(f"The file is larger than {uploads.LARGEST:,} bytes.", field=["file"])
    return file


async def _done(core: Core, asked: StatementImport) -> StatementImport:
    """Waits for it; where no worker runs, this process does the work."""
    with _bar() as show:
        working = asyncio.create_task(imports.work_due(core, asked.id))
        try:
            while True:
                found = await imports.find(OPERATOR, asked.id)
                assert found is not None
                show(found.progress)
                if found.status is not ImportStatus.RUNNING:
                    await working
                    return found
                if working.done():
                    # Another process has it, or had it: after its lease it may be taken again.
                    await working
                    working = asyncio.create_task(imports.work_due(core, asked.id))
                await asyncio.sleep(_POLL)
        finally:
            working.cancel()


@contextmanager
def _bar() -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console  # noqa: PLC0415 - only terminals pay for it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Reading the statement …", total=1.0)
        yield lambda done: progress.update(task, completed=done)


def _put(done: StatementImport) -> None:
    put_facts(
        {
            "import": done.id,
            "format": done.format,
            "read": done.lines_read,
            "new": done.lines_new,
            "known already": done.lines_duplicate,
            "left out": done.lines_rejected,
            "waits for a person": "yes: see the warnings" if done.blocks_posting else None,
        }
    )
    if done.dry_run:
        say("This was a dry run: nothing was stored.")
        put_table(
            ("day", "direction", "amount", "narration"),
            [
                (
                    one["booking_date"],
                    one["direction"],
                    Money(one["amount"]["minor"], one["amount"]["currency"]),
                    one.get("narration") or one.get("counterparty"),
                )
                for one in done.preview
            ],
        )


def _plain(done: StatementImport) -> dict[str, Any]:
    return {
        "id": done.id,
        "status": done.status,
        "format": done.format,
        "dryRun": done.dry_run,
        "linesRead": done.lines_read,
        "linesNew": done.lines_new,
        "linesDuplicate": done.lines_duplicate,
        "linesRejected": done.lines_rejected,
        "warnings": done.warnings,
        "rejected": done.rejected,
        "preview": done.preview if done.dry_run else None,
        "error": done.error,
        "blocksPosting": done.blocks_posting,
    }


@app.command("accounts")
def accounts_(as_json: AsJson = False) -> None:
    """The accounts that statements are of."""

    async def work(_core: Core, _url: str) -> list[StatementAccount]:
        return await accounts.accounts(OPERATOR)

    found = run(work)
    if as_json:
        put_json(
            [
                {
                    "code": one.code,
                    "name": one.name,
                    "kind": one.kind,
                    "currency": one.currency,
                    "number": one.number,
                    "profile": one.profile,
                    "closedUntil": one.closed_until,
                }
                for one in found
            ]
        )
        return
    put_table(
        ("code", "name", "kind", "currency", "number", "profile", "closed until"),
        [
            (
                one.code,
                one.name,
                one.kind,
                one.currency,
                one.number,
                one.profile,
                one.closed_until,
            )
            for one in found
        ],
    )


@app.command()
def save(
    code: Annotated[str, typer.Argument(metavar="ACCOUNT", help="A short name for it.")],
    name: Annotated[str, typer.Option(help="As people call it.")],
    kind: Annotated[AccountKind, typer.Option(case_sensitive=False)] = AccountKind.BANK,
    currency: Annotated[str, typer.Option()] = "RWF",
    number: Annotated[str | None, typer.Option(help="With the zeros in front.")] = None,
    gateway: Annotated[str | None, typer.Option(help="The only gateway whose money it is.")] = None,
    profile: Annotated[str | None, typer.Option(help="How its columns are read.")] = None,
) -> None:
    """Say where statements come from. A gateway's own account is there by itself."""

    async def work(core: Core, _url: str) -> StatementAccount:
        return await accounts.save(
            core,
            OPERATOR,
            code=code,
            name=name,
            kind=kind,
            currency=currency,
            number=number,
            gateway=gateway,
            profile=profile,
        )

    say(f"Saved {run(work).code}.")


@app.command()
def lines(
    account: Annotated[str | None, typer.Option("--account")] = None,
    status: Annotated[list[LineStatus] | None, typer.Option(case_sensitive=False)] = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="DAY")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="DAY")] = None,
    import_id: Annotated[str | None, typer.Option("--import", metavar="ID")] = None,
    search: Annotated[str | None, typer.Option(help="In narration, payer, references.")] = None,
    first: Annotated[int, typer.Option(help="How many, at most 100.")] = 25,
    after: Annotated[str | None, typer.Option(help="The cursor that the last page gave.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lines of statements, the newest day first."""
    wanted = LineFilter(
        account=account,
        status=status or None,
        from_=_day(from_, "from"),
        to=_day(to, "to"),
        import_id=_id(import_id),
        search=search,
    )

    async def work(core: Core, _url: str) -> Page[StatementLine]:
        return await stored.lines(core, OPERATOR, wanted, first, after)

    page = run(work)
    end = page.cursors[-1] if page.cursors else None
    if as_json:
        put_json({"lines": page.items, "endCursor": end, "hasNextPage": page.has_next})
        return
    put_table(
        ("day", "account", "direction", "amount", "status", "reference", "narration"),
        [
            (
                one.booking_date,
                one.account,
                one.direction,
                one.amount,
                one.status,
                one.reference,
                one.narration[:80],
            )
            for one in page.items
        ],
    )
    if page.has_next:
        say(f"There are more: --after {end}")


def _day(text: str | None, name: str) -> date | None:
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise Invalid(f"{name} must be a day such as 2026-11-02.", field=[name]) from error


def _id(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text is not None else None
    except ValueError as error:
        raise Invalid("This is no id of an import.", field=["import"]) from error
