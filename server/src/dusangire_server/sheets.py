"""Reports of runs for whoever keeps the books: GET /reconciliations/{id}.csv, and .xlsx.

The token comes in the header, or a page of ours comes with its session. A file is sent to be saved,
never to be shown, and nothing in it is a formula.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeAlias
from uuid import UUID

import structlog
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from dusangire.access import Actor
from dusangire.database import LOST
from dusangire.errors import Forbidden, NotFound, Retryable, Unauthenticated
from dusangire.people import sessions
from dusangire.reconciliation import report
from dusangire.reconciliation.report import COLUMNS, Cell, Report
from dusangire_server.doors import Doors, header
from dusangire_server.graphql import GraphQL

log = structlog.get_logger(__name__)

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# A sheet holds no more rows; a CSV has no such end.
_MOST_ROWS = 1_000_000
_AT_ONCE = 500
_IN_MEMORY = 8 * 1024 * 1024
# Whoever comes while so many are under way tries again a little later. A workbook is in memory; a
# CSV goes out as it is read, and lasts as long as its reader takes.
_WORKBOOKS = 2
_TABLES = 8

PATIENCE = 300.0
"""Seconds for a whole report, however slowly it is read."""

_Make: TypeAlias = Callable[[Actor, Report], Awaitable[Response]]


@dataclass(slots=True)
class Sheets:
    """The routes. doors: whose cookies count."""

    graphql: GraphQL
    doors: Doors
    patience: float = PATIENCE

    @property
    def routes(self) -> list[BaseRoute]:
        csv, xlsx = _Sheet(self, _as_csv, _TABLES), _Sheet(self, _as_xlsx, _WORKBOOKS)
        return [
            Route("/reconciliations/{id}.csv", csv, methods=["GET"]),
            Route("/reconciliations/{id}.xlsx", xlsx, methods=["GET"]),
        ]

    async def answer(self, request: Request, make: _Make) -> Response:
        try:
            actor = await self._actor(request)
            if not self.graphql.rates.take(actor):
                text = "Too many requests. Try again in a second."
                return _refused(429, "RATE_LIMITED", text, "1")
            found = await report.report(self.graphql.core, actor, _id(request))
            response = await make(actor, found)
        except Unauthenticated as error:
            return _refused(401, "UNAUTHENTICATED", error.message)
        except Forbidden as error:
            return _refused(403, error.code, error.message)
        except NotFound as error:
            return _refused(404, error.code, error.message)
        except (Retryable, *LOST):
            return _refused(503, "RETRYABLE", "The database is away. Try again.", "5")
        return response

    async def _actor(self, request: Request) -> Actor:
        scheme, _, token = header(request.scope, b"authorization").partition(" ")
        if scheme.lower() == "bearer":
            return await self.graphql.core.authenticator.actor(token.strip())
        # Opening a link changes nothing: the cookie is enough, whichever page has the link.
        return await sessions.actor_of(self.doors.cookie(request.scope, "session"))


@dataclass(slots=True)
class _Sheet:
    """One of the routes, as an ASGI app: it has its place until the last byte has left."""

    sheets: Sheets
    make: _Make
    at_once: int
    making: int = field(default=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.making >= self.at_once:
            busy = _refused(503, "RETRYABLE", "Other reports are being made. Try again.", "2")
            await busy(scope, receive, send)
            return
        self.making += 1
        try:
            async with asyncio.timeout(self.sheets.patience):
                response = await self.sheets.answer(Request(scope), self.make)
                await response(scope, receive, send)
        finally:
            self.making -= 1


def _id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise NotFound("There is no such run.") from None


def _refused(status: int, code: str, message: str, retry_after: str | None = None) -> Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


async def _as_csv(actor: Actor, found: Report) -> Response:
    return StreamingResponse(
        report.csv_of(actor, found),
        media_type="text/csv; charset=utf-8",
        headers=_saved(found, "csv"),
    )


async def _as_xlsx(actor: Actor, found: Report) -> Response:
    with SpooledTemporaryFile(_IN_MEMORY) as file:
        await write_xlsx(actor, found, file)
        file.seek(0)
        content = await asyncio.to_thread(file.read)
    return Response(content, media_type=_XLSX, headers=_saved(found, "xlsx"))


def _saved(found: Report, ending: str) -> dict[str, str]:
    # That it is not kept and not guessed at is said of every answer, by Guard.
    return {"Content-Disposition": f'attachment; filename="{file_name(found)}.{ending}"'}


def file_name(found: Report) -> str:
    """How the file of a report is called: of letters, digits and dashes alone."""
    run = found.run
    code = "".join(c for c in run.account if c.isascii() and (c.isalnum() or c in "-_"))
    return f"reconciliation-{code}-{run.from_}-{run.to}"


async def write_xlsx(actor: Actor, found: Report, file: IO[bytes]) -> None:
    """The report as a workbook: a summary, and a sheet with every row."""
    book = Workbook(write_only=True)
    summary, sheet = book.create_sheet("Summary"), book.create_sheet("Rows")
    for name, value in found.facts:
        if name and value is not None:
            summary.append([_cell(summary, name), _cell(summary, value)])
    sheet.append(list(COLUMNS))
    waiting: list[tuple[Cell, ...]] = []
    count = 0
    async for values in report.rows(actor, found):
        count += 1
        if count > _MOST_ROWS:
            waiting.append(("There are more rows than a sheet holds: take the CSV.",))
            break
        waiting.append(values)
        if len(waiting) >= _AT_ONCE:
            await asyncio.to_thread(_add, sheet, waiting)
            waiting = []
    await asyncio.to_thread(_add, sheet, waiting)
    await asyncio.to_thread(book.save, file)


def _add(sheet: Any, rows: list[tuple[Cell, ...]]) -> None:
    for values in rows:
        sheet.append([_cell(sheet, value) for value in values])


def _cell(sheet: Any, value: Cell) -> Any:
    """Texts are texts, whatever they begin with; numbers and days keep their kind."""
    if not isinstance(value, str):
        return value
    cell = WriteOnlyCell(sheet, str(report.cell(value)))
    cell.data_type = "s"
    return cell
