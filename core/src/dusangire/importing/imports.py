"""Files become lines: asked for by a person, done by a worker, once however often it is tried.

All rows of a file are written in one transaction. Whatever dies before its end leaves nothing but
the import itself, which a worker takes up again.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson
import structlog

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values, correlation_id
from dusangire.books import posting
from dusangire.core import Core
from dusangire.database import LOST, Row, fetch, tx
from dusangire.errors import IllegalState, NotFound, Retryable, UnknownFormat
from dusangire.importing import accounts, profiles, sandbox, uploads
from dusangire.importing.accounts import StatementAccount, same_number
from dusangire.importing.integrity import Before, Tally, Warned, blocks, shortened
from dusangire.importing.lines import Lines, cleaned
from dusangire.importing.sandbox import Job, Limits, Refused
from dusangire.masking import hide_cards
from dusangire.permissions import Permission
from dusangire.reconciliation import runs
from dusangire.records import json_of
from dusangire.statements import (
    Entry,
    EntryStatus,
    Record,
    Rejected,
    Remark,
    StatementEnd,
    StatementHead,
)
from dusangire.text import clean, printable

log = structlog.get_logger(__name__)

MOST_REJECTS = 1_000
"""So many lines that could not be read are kept for a person to look at."""

_PREVIEW = 20
# After so many new lines the plans of earlier statements are not to be trusted.
_MANY = 1_000
_COUNTED = "ANALYZE statement_line, line_ref"
_CHUNK = 500
_TRIES = 5
# Longer than reading may take; renewed as long as it goes on.
_LEASE = 150.0


class ImportStatus(StrEnum):
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """format, profile: None: as the file itself shows."""

    upload_id: UUID
    account: str
    format: str | None = None
    profile: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedLine:
    """A line that could not be read. The others were."""

    line: int
    message: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementImport:
    """One file at work, or done.

    error: why nothing of it was kept. preview: of a try, the first lines as they would be stored.
    blocks_posting: its balances do not agree, so no machine matches its lines until a person has
    looked.
    """

    id: UUID
    account_id: UUID
    upload_id: UUID
    status: ImportStatus
    format: str | None
    profile: str | None
    dry_run: bool
    lines_read: int
    lines_new: int
    lines_duplicate: int
    lines_rejected: int
    warnings: tuple[Warned, ...]
    rejected: tuple[RejectedLine, ...]
    preview: tuple[dict[str, Any], ...]
    error: Warned | None
    progress: float
    blocks_posting: bool
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "StatementImport":
        error = json_of(row["error"]) if row["error"] is not None else None
        return cls(
            id=row["id"],
            account_id=row["account_id"],
            upload_id=row["upload_id"],
            status=ImportStatus(row["status"]),
            format=row["format"],
            profile=row["profile"],
            dry_run=row["dry_run"],
            lines_read=row["lines_read"],
            lines_new=row["lines_new"],
            lines_duplicate=row["lines_duplicate"],
            lines_rejected=row["lines_rejected"],
            warnings=tuple(Warned(**one) for one in json_of(row["warnings"])),
            rejected=tuple(RejectedLine(**one) for one in json_of(row["rejects"])),
            preview=tuple(json_of(row["preview"]) or ()) if row["preview"] is not None else (),
            error=Warned(**error) if error else None,
            progress=row["progress"],
            blocks_posting=row["blocks_posting"],
            created_at=row["created_at"],
            finished_at=row["finished_at"],
        )


# ── asked for ────────────────────────────────────────────────────────────────────────────────────

# Whoever asks for the same at the same moment waits here.
_LOCK = "SELECT id FROM statement_account WHERE id = $1 FOR NO KEY UPDATE"
_EARLIER = """SELECT * FROM statement_import
WHERE account_id = $1 AND sha256 = $2 AND dry_run = $3
    AND (status = 'RUNNING' OR status = 'COMPLETED' AND NOT dry_run)
ORDER BY created_at LIMIT 1"""
_ASK = f"""WITH asked AS (
    INSERT INTO statement_import (id, account_id, upload_id, sha256, format, profile, dry_run,
        requested_by_kind, requested_by_name, requested_by_id, correlation_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING *
), note AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $12, $13, $14, $15, $16::jsonb, $17 FROM asked
)
SELECT * FROM asked"""


async def import_statement(core: Core, actor: Actor, request: ImportRequest) -> StatementImport:
    """Has a worker import a file. The same file for the same account is imported once: asked for
    again, the earlier import is the answer.

    Raises Forbidden, NotFound (account, upload), UnknownFormat.
    """
    actor.require(Permission.IMPORT_STATEMENTS)
    account = await accounts.by_code(core, request.account)
    upload = await uploads.find(request.upload_id)
    known = core.plugins.statement_formats()
    if request.format is not None and request.format not in known.formats:
        raise UnknownFormat(
            f"There is no format {request.format[:40]!r}; there are {', '.join(known.formats)}.",
            field=["format"],
        )
    profile = request.profile or account.profile
    await profiles.require(core, account, profile)
    async with tx():
        await fetch(_LOCK, account.id)
        rows = await fetch(_EARLIER, account.id, upload.sha256, request.dry_run)
        if not rows:
            import_id = uuid4()
            said = {
                "account": account.code,
                "upload": str(upload.id),
                "sha256": upload.sha256,
                "dry_run": request.dry_run,
            }
            rows = await fetch(
                _ASK,
                import_id,
                account.id,
                upload.id,
                upload.sha256,
                request.format,
                profile,
                request.dry_run,
                actor.kind,
                actor.name,
                actor.staff_id,
                correlation_id(),
                *audit_values(
                    actor.kind,
                    actor.name,
                    "statement.import_requested",
                    f"statement_import:{import_id}",
                    said,
                ),
            )
    core.work.set()
    return StatementImport.of(rows[0])


_FIND = "SELECT * FROM statement_import WHERE id = $1"
_NEWEST = "SELECT * FROM statement_import ORDER BY created_at DESC, id DESC LIMIT $1"


async def find(actor: Actor, import_id: UUID) -> StatementImport | None:
    """Raises Forbidden."""
    actor.require(Permission.READ_STATEMENTS)
    rows = await fetch(_FIND, import_id)
    return StatementImport.of(rows[0]) if rows else None


async def newest(actor: Actor, limit: int = 25) -> list[StatementImport]:
    """The imports that were asked for last. Raises Forbidden."""
    actor.require(Permission.READ_STATEMENTS)
    return [StatementImport.of(row) for row in await fetch(_NEWEST, max(1, min(limit, 100)))]


# ── released by a person ─────────────────────────────────────────────────────────────────────────

_RELEASE = f"""WITH released AS (
    UPDATE statement_import SET blocks_posting = false, reconcile_due = lines_new > 0
    WHERE id = $1 AND blocks_posting RETURNING *
), note AS (
    INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $2, $3, $4, $5, $6::jsonb, $7 FROM released
)
SELECT * FROM released"""


async def release(core: Core, actor: Actor, import_id: UUID, note: str) -> StatementImport:
    """A person looked at the warnings: from now on the lines are matched like all others.

    Raises Forbidden, NotFound, IllegalState for an import that is not done. Doing it again changes
    nothing.
    """
    actor.require(Permission.DECIDE_MATCHES)
    note = clean(note, "note", limit=500)
    rows = await fetch(_FIND, import_id)
    if not rows:
        raise NotFound("There is no such import.", field=["id"])
    if rows[0]["status"] != ImportStatus.COMPLETED or rows[0]["dry_run"]:
        raise IllegalState("Only an import that is done has lines to release.")
    said = audit_values(
        actor.kind,
        actor.name,
        "statement.import_released",
        f"statement_import:{import_id}",
        {"note": note},
    )
    async with tx():
        released = await fetch(_RELEASE, import_id, *said)
        await posting.post_payouts(import_id)
    if released:
        await runs.after_import(core, rows[0]["account_id"], import_id)
    return StatementImport.of((await fetch(_FIND, import_id))[0])


# ── done by a worker ─────────────────────────────────────────────────────────────────────────────

_TAKE = """UPDATE statement_import SET tries = tries + 1,
    next_try_at = now() + make_interval(secs => $1)
WHERE id = (
    SELECT id FROM statement_import
    WHERE status = 'RUNNING' AND next_try_at <= now() AND ($2::uuid IS NULL OR id = $2)
    ORDER BY next_try_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING *"""
_RENEW = """UPDATE statement_import
SET progress = greatest(progress, $3), next_try_at = now() + make_interval(secs => $4)
WHERE id = $1 AND tries = $2 AND status = 'RUNNING'"""
_HOLD = """SELECT id FROM statement_import
WHERE id = $1 AND tries = $2 AND status = 'RUNNING' FOR UPDATE"""
_FAIL = f"""WITH failed AS (
    UPDATE statement_import SET status = 'FAILED', error = $3::jsonb, finished_at = now(),
        next_try_at = NULL, format = coalesce($4, format)
    WHERE id = $1 AND tries = $2 AND status = 'RUNNING' RETURNING id
)
INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $5, $6, $7, $8, $9::jsonb, $10 FROM failed"""


async def work_due(core: Core, import_id: UUID | None = None, limits: Limits | None = None) -> int:
    """Takes one import that waits and does it; gives how many it took.

    import_id: of the one to do, for whoever waits for it.
    """
    rows = await fetch(_TAKE, _LEASE, import_id)
    if not rows:
        return 0
    await _work_on(core, rows[0], limits or Limits())
    return 1


async def _work_on(core: Core, row: Row, limits: Limits) -> None:
    account = await accounts.by_id(row["account_id"])
    if row["tries"] > _TRIES:
        await _fail(row, Refused("UNREADABLE_FILE", "It was begun five times and never ended."))
        return
    result = _Result()
    try:
        with tempfile.TemporaryDirectory(prefix=uploads.SCRATCH) as folder:
            spool = Path(folder) / "records"
            await _read(core, account, row, limits, Path(folder) / "statement", spool)
            await _store(core, account, row, spool, result)
    except Refused as refused:
        await _fail(row, refused, result.format)
        return
    except NotFound as error:
        await _fail(row, Refused("NOT_FOUND", error.message))
        return
    log.info("statement imported", account=account.code, new=result.new, known=result.known)
    if not row["dry_run"] and result.new:
        await runs.after_import(core, account.id, row["id"])


async def _read(
    core: Core, account: StatementAccount, row: Row, limits: Limits, file: Path, spool: Path
) -> None:
    upload = await uploads.find(row["upload_id"])
    await uploads.write_out(core, upload.id, file)
    job = Job(
        file=file,
        file_name=upload.file_name,
        currency=account.currency,
        today=core.today(),
        modules=core.plugins.statement_formats().modules,
        format=row["format"],
        profile=row["profile"],
        profiles=await profiles.every(core, account.id),
        limits=limits,
    )
    await sandbox.read(job, spool, _progress(row))


def _progress(row: Row) -> Callable[[float], Awaitable[None]]:
    told = asyncio.get_running_loop().time()

    async def tell(done: float) -> None:
        nonlocal told
        now = asyncio.get_running_loop().time()
        if now - told < 0.5:
            return
        told = now
        # Nothing depends on it but a bar on somebody's screen, and a lease that is long anyway.
        with suppress(Retryable, TimeoutError, *LOST):
            await fetch(_RENEW, row["id"], row["tries"], 0.9 * done, _LEASE)

    return tell


async def _fail(row: Row, refused: Refused, format: str | None = None) -> None:
    error = {"code": refused.code, "message": _told(refused.message), "line": refused.line}
    said = audit_values(
        row["requested_by_kind"],
        row["requested_by_name"],
        "statement.import_failed",
        f"statement_import:{row['id']}",
        error,
    )
    text = orjson.dumps(error).decode()
    await fetch(_FAIL, row["id"], row["tries"], text, format, *said)


# ── stored, all or nothing ───────────────────────────────────────────────────────────────────────


class _DryRun(Exception):
    """Undoes what a try wrote."""


@dataclass(slots=True)
class _Result:
    """What came of a file."""

    format: str | None = None
    read: int = 0
    new: int = 0
    known: int = 0
    rejected: int = 0
    warned: list[Warned] = field(default_factory=list)
    rejects: list[RejectedLine] = field(default_factory=list)
    preview: list[dict[str, Any]] = field(default_factory=list)


async def _store(
    core: Core, account: StatementAccount, row: Row, spool: Path, result: _Result
) -> None:
    with suppress(_DryRun):
        async with tx(patience=60):
            # Another worker may have taken it over, and one file at a time goes into an account.
            if not await fetch(_HOLD, row["id"], row["tries"]):
                raise Refused("CONFLICT", "Another worker has taken this import over.")
            await fetch(_LOCK, account.id)
            await _Storing(core, account, row, result).all_of(spool)
            if row["dry_run"]:
                raise _DryRun
            await _finish(row, result)
            await posting.post_lines(row["id"])
    if row["dry_run"]:
        await _finish(row, result)
    elif result.new >= _MANY:
        async with tx(patience=60):
            await fetch(_COUNTED)


_FINISH = f"""WITH done AS (
    UPDATE statement_import SET status = 'COMPLETED', progress = 1, finished_at = now(),
        next_try_at = NULL, format = $3, lines_read = $4, lines_new = $5, lines_duplicate = $6,
        lines_rejected = $7, warnings = $8::jsonb, rejects = $9::jsonb, preview = $10::jsonb,
        blocks_posting = $11, reconcile_due = NOT dry_run AND $6 > 0
    WHERE id = $1 AND tries = $2 AND status = 'RUNNING' RETURNING id
)
INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $12, $13, $14, $15, $16::jsonb, $17 FROM done"""


async def _finish(row: Row, result: _Result) -> None:
    said = {
        "read": result.read,
        "new": result.new,
        "known": result.known,
        "rejected": result.rejected,
        "warnings": sorted({one.code for one in result.warned}),
        "dry_run": row["dry_run"],
    }
    await fetch(
        _FINISH,
        row["id"],
        row["tries"],
        result.format,
        result.read,
        result.new,
        result.known,
        result.rejected,
        orjson.dumps([asdict(one) for one in shortened(result.warned)]).decode(),
        orjson.dumps([asdict(one) for one in result.rejects]).decode(),
        orjson.dumps(result.preview).decode() if row["dry_run"] else None,
        blocks(result.warned) and not row["dry_run"],
        *audit_values(
            row["requested_by_kind"],
            row["requested_by_name"],
            "statement.imported",
            f"statement_import:{row['id']}",
            said,
        ),
    )


_OPEN = """INSERT INTO statement (id, account_id, statement_import_id, currency)
VALUES ($1, $2, $3, $4)"""
_CLOSE = """UPDATE statement SET number = $2, sequence = $3, period_from = $4, period_to = $5,
    opening = $6, closing = $7, ties = $8 WHERE id = $1"""
_LINES = """WITH given AS (
    SELECT * FROM jsonb_to_recordset($3::jsonb) AS given (
        id uuid, statement_id uuid, number integer, status text, entry_status text, kind text,
        direction text, amount bigint, currency text, gross bigint, fee bigint, charges bigint,
        booking_date date, value_date date, occurred_at timestamptz, is_reversal boolean,
        transaction_id text, our_reference text, bank_reference text, customer_reference text,
        end_to_end_id text, structured_reference text, settlement text, counterparty text,
        counterparty_account text, narration text, type_code text, running_balance bigint,
        original_amount bigint, original_currency text, batch_count integer, source text,
        fingerprint text, occurrence integer, refs jsonb)
), stored AS (
    INSERT INTO statement_line (id, account_id, statement_import_id, statement_id, number, status,
        entry_status, kind, direction, amount, currency, gross, fee, charges, booking_date,
        value_date, occurred_at, is_reversal, transaction_id, our_reference, bank_reference,
        customer_reference, end_to_end_id, structured_reference, settlement, counterparty,
        counterparty_account, narration, type_code, running_balance, original_amount,
        original_currency, batch_count, source, fingerprint, occurrence)
    SELECT id, $1, $2, statement_id, number, status,
        entry_status, kind, direction, amount, currency, gross, fee, charges, booking_date,
        value_date, occurred_at, is_reversal, transaction_id, our_reference, bank_reference,
        customer_reference, end_to_end_id, structured_reference, settlement, counterparty,
        counterparty_account, narration, type_code, running_balance, original_amount,
        original_currency, batch_count, source, fingerprint, occurrence
    FROM given ORDER BY number
    ON CONFLICT (account_id, fingerprint, occurrence) DO NOTHING
    RETURNING id
), named AS (
    INSERT INTO line_ref (line_id, kind, value)
    SELECT given.id, ref ->> 0, ref ->> 1
    FROM given JOIN stored USING (id)
    CROSS JOIN LATERAL jsonb_array_elements(given.refs) WITH ORDINALITY AS named (ref, place)
    ORDER BY given.number, place
)
SELECT id FROM stored"""
_BEFORE = """SELECT closing, period_to, sequence FROM statement
WHERE account_id = $1 AND id <> $2 AND closing IS NOT NULL AND period_to IS NOT NULL
    AND ($3::date IS NULL OR period_to <= $3)
ORDER BY period_to DESC, created_at DESC, id DESC LIMIT 1"""
_ADOPT = "UPDATE statement_account SET number = $2 WHERE id = $1 AND number IS NULL"


@dataclass(slots=True)
class _Storing:
    """The records of one file on their way into the tables."""

    core: Core
    account: StatementAccount
    row: Row
    result: _Result
    _lines: Lines = field(init=False)
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    _statement_id: UUID | None = None
    _tally: Tally | None = None
    _skips: bool = False
    _statements: int = 0
    _skipped: dict[str, int] = field(default_factory=dict)
    _number: str | None = None
    _before: Before | None = None
    _own_lines: int = 0
    _foreign: Entry | None = None

    def __post_init__(self) -> None:
        self._lines = Lines(self.account, self.row["id"])
        self._number = self.account.number

    async def all_of(self, spool: Path) -> None:
        for record in sandbox.records(spool):
            await self._take(record)
        await self._end(StatementEnd())
        await self._flush()
        self._look_back()
        if self._foreign is not None and not self._own_lines:
            raise Refused(
                "INVALID",
                f"The lines are in {self._foreign.amount.currency[:3]}; the account "
                f"{self.account.code} is in {self.account.currency}.",
                self._foreign.line,
            )
        if not self._statements and self._skipped:
            raise Refused("INVALID", next(iter(self._skipped)))

    async def _take(self, record: Record | tuple[str, Any]) -> None:
        match record:
            case tuple():
                if record[0] == "format":
                    self.result.format = _told(str(record[1]))[:40]
            case StatementHead():
                await self._begin(record)
            case Entry():
                await self._add(record)
            case StatementEnd():
                await self._end(record)
            case Remark():
                self._warn(record.code[:40], record.message, record.line)
            case Rejected():
                self._reject(record)

    async def _begin(self, head: StatementHead) -> None:
        await self._end(StatementEnd())
        why = self._another(head)
        self._skips = why is not None
        if why is not None:
            self._skipped[why] = self._skipped.get(why, 0) + 1
            return
        if self._number is None and head.account and "*" not in head.account:
            # From now on a file of another account is noticed.
            self._number = _told(head.account)[:64]
            await fetch(_ADOPT, self.account.id, self._number)
        self._statements += 1
        self._statement_id = uuid5(self.row["id"], str(self._statements))
        self._tally = Tally(
            head=head,
            currency=self.account.currency,
            today=self.core.today(),
        )
        await fetch(
            _OPEN, self._statement_id, self.account.id, self.row["id"], self.account.currency
        )

    def _another(self, head: StatementHead) -> str | None:
        """Why a statement is not this account's; None: it is."""
        if head.currency is not None and head.currency != self.account.currency:
            return (
                f"The statement is in {_told(head.currency)[:10]}; the account "
                f"{self.account.code} is in {self.account.currency}."
            )
        if head.account and self._number and not _may_be_same(head.account, self._number):
            return (
                f"The statement is of the account {_ending(head.account)}; {self.account.code} "
                f"is {_ending(self._number)}."
            )
        return None

    async def _add(self, entry: Entry) -> None:
        if self._skips:
            return
        if self._tally is None or self._statement_id is None:
            await self._begin(StatementHead())
        assert self._tally is not None
        assert self._statement_id is not None
        self.result.read += 1
        entry = self._in_currency(entry)
        line = self._lines.line(entry, self._statement_id, entry.line)
        self._tally.add(entry)
        if len(self.result.preview) < _PREVIEW and self.row["dry_run"]:
            self.result.preview.append(_shown(cleaned(entry)))
        if self._closed(entry):
            self._warn(
                "CLOSED_PERIOD",
                f"{entry.booking_date} is in a period that is closed; the books take this line on "
                "the first open day.",
                entry.line,
            )
        self._waiting.append(line)
        if len(self._waiting) >= _CHUNK:
            await self._flush()

    def _in_currency(self, entry: Entry) -> Entry:
        """A line in another currency is kept to be read, and moves nothing here: what it came to
        in the account's own currency the file does not say."""
        if entry.amount.currency == self.account.currency:
            self._own_lines += 1
            return entry
        self._foreign = self._foreign or entry
        self._warn(
            "CURRENCY",
            f"This line is in {entry.amount.currency[:3]}; the account is in "
            f"{self.account.currency}. It is kept, and counted nowhere.",
            entry.line,
        )
        return replace(entry, status=EntryStatus.INFO)

    def _closed(self, entry: Entry) -> bool:
        until = self.account.closed_until
        told = any(one.code == "CLOSED_PERIOD" for one in self.result.warned[-200:])
        return until is not None and entry.booking_date <= until and not told

    async def _flush(self) -> None:
        if not self._waiting:
            return
        text = orjson.dumps(self._waiting, default=str).decode()
        stored = await fetch(_LINES, self.account.id, self.row["id"], text)
        new = {row["id"] for row in stored}
        self.result.new += len(new)
        self.result.known += len(self._waiting) - len(new)
        for line in self._waiting:
            if line["occurrence"] and line["id"] in new:
                self._twin(line)
        self._waiting.clear()

    def _twin(self, line: dict[str, Any]) -> None:
        self._warn(
            "EQUAL_LINES",
            "This line says the same as another one of the same day. Both are kept.",
            line["number"],
        )

    async def _end(self, end: StatementEnd) -> None:
        tally, statement_id = self._tally, self._statement_id
        self._tally, self._statement_id, self._skips = None, None, False
        if tally is None or statement_id is None:
            return
        head = tally.head
        first = head.period_from or end.period_from or tally.first_day
        last = head.period_to or end.period_to or tally.last_day
        opening = tally.opening(end)
        before = self._before or await self._known_before(statement_id, first)
        for warned in tally.close(end, before):
            self._warn(warned.code, warned.message, warned.line)
        await fetch(
            _CLOSE,
            statement_id,
            _short(head.number),
            _short(head.sequence),
            first,
            last,
            opening,
            end.closing,
            tally.ties(end),
        )
        self._before = Before(closing=end.closing, until=last, sequence=head.sequence)

    async def _known_before(self, statement_id: UUID, first: Any) -> Before:
        rows = await fetch(_BEFORE, self.account.id, statement_id, first)
        if not rows:
            return Before()
        [row] = rows
        return Before(closing=row["closing"], until=row["period_to"], sequence=row["sequence"])

    def _look_back(self) -> None:
        for why, statements in self._skipped.items():
            self._warn(
                "OTHER_ACCOUNT", f"{why} {statements} of the file's statements were left out."
            )
        if self.result.known:
            self._warn(
                "OVERLAP",
                f"{self.result.known} of {self.result.read} lines were known from earlier files.",
            )
        if self.result.rejected:
            self._warn("REJECTED", f"{self.result.rejected} lines could not be read.")

    def _reject(self, rejected: Rejected) -> None:
        if self._skips:
            return
        self.result.rejected += 1
        if len(self.result.rejects) < MOST_REJECTS:
            self.result.rejects.append(
                RejectedLine(
                    line=rejected.line,
                    message=_told(rejected.message),
                    text=_told(rejected.raw)[:300],
                )
            )

    def _warn(self, code: str, message: str, line: int | None = None) -> None:
        self.result.warned.append(Warned(code=code, message=_told(message), line=line))


def _shown(entry: Entry) -> dict[str, Any]:
    """An entry of a try, as JSON."""
    values = {one.name: getattr(entry, one.name) for one in fields(entry)}
    plain: dict[str, Any] = orjson.loads(orjson.dumps(values, default=str))
    return {name: value for name, value in plain.items() if value not in (None, "", [])}


def _may_be_same(found: str, known: str) -> bool:
    if "*" in found or "*" in known:
        # A number that the bank itself hides in part.
        return found.strip()[-4:] == known.strip()[-4:]
    return same_number(found, known)


def _ending(number: str) -> str:
    bare = accounts.bare_number(number)
    return f"•••{bare[-4:]}" if len(bare) > 6 else bare


def _short(text: str | None) -> str | None:
    return _told(text)[:60] if text else None


def _told(text: str) -> str:
    return hide_cards(printable(text[:1_000]))[:500]
