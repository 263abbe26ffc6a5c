"""Whose table it is: the profile that was asked for, one that fits, or the names alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dusangire.statements import MappingProfile, ReadOptions, Unreadable
from dusangire.statements_mapping import BadMapping, Columns, TableMapping, check
from dusangire_statements import columns as naming
from dusangire_statements.cells import shown
from dusangire_statements.delimited import Delimited, modal_width
from dusangire_statements.workbooks import OLE, ZIP, Cell, Workbook

__all__ = ["Table", "first_of", "first_of_sheet", "quality", "understood"]


@dataclass(frozen=True)
class Table:
    """A table that is understood so far: where its columns are, and by which mapping.

    header: the index of the row that names the columns among the first rows.
    """

    source: Delimited | Workbook
    sheet: str
    first: Sequence[tuple[int, list[str]]]
    header: int
    found: dict[str, int]
    missing: Sequence[str]
    mapping: TableMapping
    profile: MappingProfile | None
    why: str

    def rows(self) -> Iterator[tuple[int, Sequence[Cell]]]:
        """Every row of the file, also those above the columns."""
        if isinstance(self.source, Workbook):
            yield from self.source.rows(self.sheet)
        else:
            yield from self.source.rows()

    @property
    def names(self) -> list[str]:
        return naming.named(self.first[self.header][1])


def understood(file: Path, options: ReadOptions) -> Table:
    """The table in a file. Raises Unreadable."""
    with file.open("rb") as stream:
        magic = stream.read(8)
    asked = checked(options.profile) if options.profile else None
    if magic.startswith(ZIP) or magic == OLE:
        return _of_workbook(Workbook(file), options, asked)
    source = Delimited(
        file,
        encoding=asked.encoding if asked else "auto",
        delimiter=asked.delimiter if asked else "auto",
    )
    source.choose(lambda rows: quality(rows, options))
    table = _of_rows(source, "", list(first_of(source.rows(), 200)), options, asked)
    if table is None:
        raise _no_columns(asked, options)
    return table


def _of_workbook(book: Workbook, options: ReadOptions, asked: TableMapping | None) -> Table:
    wanted = asked.sheet if asked else None
    sheets = book.sheets
    if isinstance(wanted, int):
        sheets = book.sheets[wanted : wanted + 1]
    elif wanted is not None:
        sheets = (wanted,)
    for sheet in sheets:
        rows = [(line, [shown(cell) for cell in row]) for line, row in first_of_sheet(book, sheet)]
        if table := _of_rows(book, sheet, rows, options, asked):
            return table
    raise _no_columns(asked, options)


def first_of_sheet(book: Workbook, sheet: str) -> Iterator[tuple[int, Sequence[Cell]]]:
    for count, row in enumerate(book.rows(sheet)):
        if count == 200:
            return
        yield row


def first_of(rows: Iterator[tuple[int, list[str]]], limit: int) -> Iterator[tuple[int, list[str]]]:
    for count, row in enumerate(rows):
        if count == limit:
            return
        yield row


def quality(rows: Iterator[tuple[int, list[str]]], options: ReadOptions) -> tuple[int, ...]:
    """How much the beginning of a file looks like a table under one delimiter."""
    first = [row for _, row in first_of(rows, 100)]
    understood = 0
    for profile in (*options.profiles, *((options.profile,) if options.profile else ())):
        if found := naming.find(first[:40], checked(profile).columns):
            understood = max(understood, len(found[1]))
    if found := naming.find(first[:40], None):
        understood = max(understood, len(found[1]))
    return (understood, *modal_width(first))


def _of_rows(
    source: Delimited | Workbook,
    sheet: str,
    rows: Sequence[tuple[int, list[str]]],
    options: ReadOptions,
    asked: TableMapping | None,
) -> Table | None:
    """The table that begins in these rows, if one does."""
    if asked is not None:
        assert options.profile is not None
        why = f"The profile {options.profile.code!r} was asked for."
        return _fitted(source, sheet, rows, options.profile, asked, why)
    fitting = [
        table
        for profile in options.profiles
        if (table := _matched(source, sheet, rows, profile)) is not None
    ]
    if fitting:
        return max(fitting, key=_fitness)
    return _fitted(
        source,
        sheet,
        rows,
        None,
        TableMapping(),
        "No profile fits: the names of the columns were understood by themselves.",
    )


def _fitness(table: Table) -> tuple[bool, int, int]:
    match = table.mapping.match
    return bool(match.title_contains), len(match.header_all), len(table.found)


def _matched(
    source: Delimited | Workbook,
    sheet: str,
    rows: Sequence[tuple[int, list[str]]],
    profile: MappingProfile,
) -> Table | None:
    mapping = checked(profile)
    match = mapping.match
    if not (match.title_contains or match.header_all):
        return None
    table = _fitted(source, sheet, rows, profile, mapping, "")
    if table is None:
        return None
    names = set(table.names)
    above = " ".join([sheet, *(cell for _, row in rows[: table.header] for cell in row)])
    title = naming.normalised(above[:300]) + " " + above.lower()[:5_000]
    if match.title_contains and not any(word.lower() in title for word in match.title_contains):
        return None
    if not all(naming.normalised(name) in names for name in match.header_all):
        return None
    if any(naming.normalised(name) in names for name in match.header_none):
        return None
    doubt = "" if profile.verified else ", which nobody has tried with a file of yours yet"
    return replace(table, why=f"It looks like {profile.name} (profile {profile.code!r}{doubt}).")


def _fitted(
    source: Delimited | Workbook,
    sheet: str,
    rows: Sequence[tuple[int, list[str]]],
    profile: MappingProfile | None,
    mapping: TableMapping,
    why: str,
) -> Table | None:
    """The table as a mapping reads it, if its columns are there."""
    by_name = mapping.columns == Columns()
    searched = [row for _, row in rows[: mapping.header.search_rows]]
    at = naming.find(searched, None if by_name else mapping.columns)
    if at is None:
        return None
    index, found = at
    missing = [] if by_name else naming.resolved(naming.named(rows[index][1]), mapping.columns)[1]
    return Table(source, sheet, rows, index, found, missing, mapping, profile, why)


def checked(profile: MappingProfile) -> TableMapping:
    try:
        return check(profile.mapping)
    except BadMapping as error:
        raise Unreadable(f"The profile {profile.code!r} cannot be used. {error}") from error


def _no_columns(asked: TableMapping | None, options: ReadOptions) -> Unreadable:
    if asked is not None and options.profile is not None:
        columns = asked.columns
        wanted = [
            *columns.booking_date[:1],
            *(name for kind in naming.AMOUNTS for name in getattr(columns, kind)[:1]),
        ]
        return Unreadable(
            f"No row among the first {asked.header.search_rows} has the columns that the profile "
            f"{options.profile.code!r} names: {', '.join(map(repr, wanted))}."
        )
    return Unreadable(
        "No row among the first 40 names columns that are understood: a date, an amount (or debit "
        "and credit) and one more. Say in a mapping what your columns are called."
    )
