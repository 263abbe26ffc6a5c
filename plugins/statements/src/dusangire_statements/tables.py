"""Tables: the CSV or XLSX that a bank, a wallet or a provider lets a merchant download.

Whose table it is decides a profile: the one that was asked for, the one that fits, or the names of
the columns alone. The file is read twice, so that dates and amounts are understood from all of its
rows together, and row by row, so that a long one needs no more memory than a short one.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from dusangire.statements import (
    Direction,
    Entry,
    EntryKind,
    Preview,
    ReadOptions,
    Record,
    Rejected,
    Remark,
    StatementEnd,
    StatementFormat,
    StatementHead,
    Unreadable,
)
from dusangire_statements import columns as naming
from dusangire_statements import dates, numbers
from dusangire_statements.cells import cell_of, is_complete, shown
from dusangire_statements.choosing import Table, first_of, first_of_sheet, quality, understood
from dusangire_statements.deciding import Decided, decided
from dusangire_statements.delimited import Delimited, looks_like_text
from dusangire_statements.rows import RAW_LIMIT, BadRow, RowReader
from dusangire_statements.workbooks import OLE, ZIP, Cell, Workbook

__all__ = ["FORMATS", "preview", "read"]

PREVIEW_ROWS = 20


def read(file: Path, options: ReadOptions) -> Iterator[Record]:
    """The records of a table. Raises Unreadable."""
    table = understood(file, options)
    how = decided(table, options)
    yield Remark(code="PROFILE", message=table.why)
    if isinstance(table.source, Delimited) and table.source.guessed:
        yield Remark(
            code="ENCODING",
            message=f"The file does not say how it is written: read as {table.source.encoding}.",
        )
    for name in table.missing:
        wanted = getattr(table.mapping.columns, name)[0]
        yield Remark(code="MISSING_COLUMN", message=f"The column {wanted!r} ({name}) is not there.")
    yield _head(how)
    reader = RowReader(how)
    yield from _with_fees(_entries(how, reader), how)
    yield from reader.remarks()
    yield _end(how)


def _entries(how: Decided, reader: RowReader) -> Iterator[Record]:
    table = how.table
    begins, names = table.first[table.header][0], table.names
    date_column = table.found["booking_date"]
    heading = table.first[table.header][1][date_column]
    skipped = [re.compile(text, re.IGNORECASE) for text in how.mapping.skip_rows_matching]
    stops = [re.compile(text, re.IGNORECASE) for text in how.mapping.footer.stop_matching]
    ended = False
    for line, row in table.rows():
        if line <= begins:
            continue
        if is_complete(row, table.found):
            if shown(cell_of(row, date_column)) == heading and _is_header(row, names):
                continue
            try:
                entry, remark = reader.entry(line, row)
            except BadRow as error:
                text = " | ".join(shown(cell) for cell in row)
                yield Rejected(line=line, message=_ended(str(error)), raw=text[:RAW_LIMIT])
                continue
            yield entry
            if remark:
                yield remark
            continue
        texts = [text for cell in row if (text := shown(cell))]
        ended = ended or _matches(stops, texts)
        if not texts or ended or _matches(skipped, texts) or how.labels.knows(texts):
            continue
        if any(shown(cell_of(row, table.found.get(name))) for name in naming.AMOUNTS):
            raw = " | ".join(shown(cell) for cell in row)[:RAW_LIMIT]
            yield Rejected(line=line, message="There is an amount without a date.", raw=raw)
        else:
            reader.say("NO_AMOUNT", "A row has no amount and was left out.", line)


def _ended(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _is_header(row: Sequence[Cell], names: Sequence[str]) -> bool:
    return naming.named([shown(cell) for cell in row]) == names


def _matches(patterns: Sequence[re.Pattern[str]], texts: Sequence[str]) -> bool:
    return any(pattern.search(text[:500]) for pattern in patterns for text in texts)


def _with_fees(records: Iterator[Record], how: Decided) -> Iterator[Record]:
    """The records, in which the bank's own fees are known as such, in whatever order they come."""
    rule = how.mapping.fee_rows
    if rule is None:
        yield from records
        return
    says = re.compile(rule.narration_regex)
    shared = _shared_references(how) if rule.same_reference_as_parent else None
    for record in records:
        if (
            isinstance(record, Entry)
            and record.kind is EntryKind.OTHER
            and record.direction is Direction.DEBIT
            and says.search(record.narration[:500])
            and (shared is None or record.bank_reference in shared)
        ):
            yield replace(record, kind=EntryKind.FEE)
        else:
            yield record


def _shared_references(how: Decided) -> set[str]:
    """The bank's references that more than one row has: those of a transfer and of its fee."""
    column = how.table.found.get("reference")
    counts = Counter(
        shown(cell_of(row, column))
        for _line, row in how.table.rows()
        if column is not None and is_complete(row, how.table.found)
    )
    return {reference for reference, count in counts.items() if reference and count > 1}


def _head(how: Decided) -> StatementHead:
    period = _period(how)
    return StatementHead(
        account=how.labels.text("account"),
        currency=how.currency,
        number=how.labels.text("number"),
        period_from=period[0],
        period_to=period[1],
        opening=_told(how, "opening_balance"),
    )


def _end(how: Decided) -> StatementEnd:
    return StatementEnd(
        closing=_told(how, "closing_balance"),
        available=_told(how, "available_balance"),
        total_credits=_told(how, "total_credits"),
        total_debits=_told(how, "total_debits"),
    )


def _told(how: Decided, label: str) -> int | None:
    """An amount that the file says of itself; None where it cannot be read."""
    text = how.labels.text(label)
    if text is None:
        return None
    try:
        number = numbers.parse(text, how.style)
        if number is None:
            return None
        minor, _ = numbers.minor_units(number.value, how.currency, "reject")
    except numbers.BadNumber:
        return None
    return -minor if number.mark == "D" else minor


def _period(how: Decided) -> tuple[date | None, date | None]:
    labels = how.labels
    begins, ends = labels.text("period_from"), labels.text("period_to")
    if (whole := labels.text("period")) and not (begins and ends):
        parts = re.split(r"\s+(?:to|au|until|bis|[-–])\s+", whole[:100], flags=re.IGNORECASE)
        begins, ends = (parts[0], parts[-1]) if len(parts) == 2 else (None, None)
    return _day(begins, how), _day(ends, how)


def _day(text: str | None, how: Decided) -> date | None:
    if not text:
        return None
    order = how.order or dates.order_of(how.mapping.dates)
    try:
        return dates.parse(text, order, how.mapping.dates).day
    except dates.BadDate:
        return None


# ── for a person to look at ────────────────────────────────────────────────────────────────────


def preview(file: Path, options: ReadOptions) -> Preview:
    """The first rows of a table and how it would be read. Raises Unreadable."""
    try:
        table = understood(file, options)
    except Unreadable as error:
        return _unread(file, options, error)
    problem = None
    try:
        decided(table, options)
    except Unreadable as error:
        problem = error.message
    header = table.first[table.header][1]
    return Preview(
        rows=tuple(tuple(row) for _, row in table.first[:PREVIEW_ROWS]),
        first_line=table.first[0][0],
        header_line=table.first[table.header][0],
        profile=table.profile.code if table.profile else None,
        why=table.why,
        mapping=_proposed(table),
        unknown_columns=tuple(
            name for index, name in enumerate(header) if name and index not in table.found.values()
        ),
        sheets=table.source.sheets if isinstance(table.source, Workbook) else (),
        problem=problem,
    )


def _proposed(table: Table) -> dict[str, object]:
    """The mapping to begin with: the profile's, or one that names what was found."""
    if table.profile is not None:
        return dict(table.profile.mapping)
    header = table.first[table.header][1]
    return {"columns": {name: header[index] for name, index in table.found.items()}}


def _unread(file: Path, options: ReadOptions, error: Unreadable) -> Preview:
    """What can be shown of a file whose columns nobody knows yet."""
    with file.open("rb") as stream:
        magic = stream.read(8)
    sheets: tuple[str, ...] = ()
    if magic.startswith(ZIP) or magic == OLE:
        book = Workbook(file)
        sheets = book.sheets
        rows = [
            (line, [shown(cell) for cell in row]) for line, row in first_of_sheet(book, sheets[0])
        ]
    else:
        source = Delimited(file)
        source.choose(lambda found: quality(found, options))
        rows = list(first_of(source.rows(), PREVIEW_ROWS))
    return Preview(
        rows=tuple(tuple(row) for _, row in rows[:PREVIEW_ROWS]),
        first_line=rows[0][0] if rows else 1,
        problem=error.message,
        sheets=sheets,
    )


FORMATS = (
    StatementFormat(
        name="csv",
        title="CSV",
        recognises=looks_like_text,
        read=read,
        preview=preview,
        uses_profiles=True,
        media_types=("text/csv", "text/plain"),
    ),
    StatementFormat(
        name="xlsx",
        title="Excel (XLSX, XLS) or OpenDocument (ODS)",
        recognises=lambda head: head.startswith((ZIP, OLE)),
        read=read,
        preview=preview,
        uses_profiles=True,
        media_types=("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",),
    ),
)
