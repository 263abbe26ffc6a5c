"""dusangire audit"""

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from dusangire.audit import proof
from dusangire.audit.entries import Head
from dusangire.audit.proof import Verdict
from dusangire.audit.sealing import head_line
from dusangire.core import Core
from dusangire.errors import Invalid, NotFound
from dusangire_server.cli.output import AsJson, progress, put_json, say, to_json
from dusangire_server.cli.session import run

app = typer.Typer()


@app.command()
def verify(
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Check this file alone, without a database."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD",
            help="What `audit head` said before, 12:5f3a…, or a file with such lines: "
            "entries deleted from the end are noticed.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Whether every entry is as it was written: each one that is not is named. Exits with 1.

    So it does when entries wait to be sealed for more than a minute: nothing proves these yet.
    """
    kept = proof.read_kept(head) if head is not None else []
    begun = time.monotonic()
    with progress("Going through the log …"):
        verdict = _of_file(export, kept) if export else _of_database(kept)
    if as_json:
        put_json({"sound": verdict.sound, **to_json(verdict)})
    else:
        _tell(verdict, time.monotonic() - begun, kept=len(kept))
    if not verdict.sound:
        raise typer.Exit(1)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write; - for stdout.")],
) -> None:
    """Every sealed entry as JSON Lines, and the head as the last line."""

    async def work(_core: Core, url: str) -> Head | None:
        if str(file) == "-":
            return await proof.export(url, sys.stdout.buffer)
        with _opened(file) as out:
            return await proof.export(url, out)

    last = run(work)
    say(f"The head is {last}." if last else "No entry is sealed yet.")


@app.command()
def head(as_json: AsJson = False) -> None:
    """The last entry's sequence and hash. Kept elsewhere, they prove all entries before."""

    async def work(_core: Core, url: str) -> Head | None:
        return await proof.read_head(url)

    last = run(work)
    if last is None:
        raise NotFound("No entry is sealed yet: a worker does it, `dusangire worker`.")
    if as_json:
        put_json(head_line(last, datetime.now(UTC)), one_line=True)
    else:
        typer.echo(str(last))


def _of_file(path: Path, kept: list[Head]) -> Verdict:
    try:
        with path.open("rb") as lines:
            return proof.verify_export(lines, kept)
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error


def _of_database(kept: list[Head]) -> Verdict:
    async def work(_core: Core, url: str) -> Verdict:
        return await proof.verify_database(url, kept)

    return run(work)


def _opened(path: Path) -> BinaryIO:
    try:
        # Who did what is not for every account of the machine.
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}.") from error


def _tell(verdict: Verdict, seconds: float, *, kept: int) -> None:
    for problem in verdict.problems:
        where = f"entry {problem.sequence}: " if problem.sequence is not None else ""
        typer.echo(f"{where}{problem.what}")
    if verdict.more_problems:
        typer.echo(f"… and {verdict.more_problems} more")
    for odd in verdict.suspicions:
        typer.echo(f"entry {odd.sequence} is odd: {odd.what}")
    if verdict.more_suspicions:
        typer.echo(f"… and {verdict.more_suspicions} more odd ones")
    if verdict.waiting:
        say(f"{verdict.waiting} entries are not sealed yet.")
    say(f"{verdict.entries} entries checked in {seconds:.1f} s.")
    if not verdict.unchanged:
        say("The log is NOT as it was written.")
    elif verdict.head is None:
        say("No entry is sealed.")
    else:
        say(f"The chain is whole. Its head is {verdict.head}.")
        if not kept:
            say(
                "Whether its last entries are missing, or were changed and sealed anew, only a "
                "head kept elsewhere tells: --head."
            )
    if verdict.late:
        say(
            f"{verdict.late} entries have waited for more than a minute: nothing proves them yet. "
            "Is a worker running? If so, somebody else holds its lock."
        )
