"""Tables for tests: written to a file, read by the format, sorted by what they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from openpyxl import Workbook

from dusangire.statements import (
    Entry,
    MappingProfile,
    ReadOptions,
    Record,
    Rejected,
    Remark,
    StatementEnd,
    StatementHead,
)
from dusangire_statements import tables

TODAY = date(2026, 11, 23)


@dataclass
class Read:
    """What a table gave."""

    records: list[Record]

    @property
    def entries(self) -> list[Entry]:
        return [record for record in self.records if isinstance(record, Entry)]

    @property
    def rejected(self) -> list[Rejected]:
        return [record for record in self.records if isinstance(record, Rejected)]

    @property
    def remarks(self) -> dict[str, Remark]:
        return {record.code: record for record in self.records if isinstance(record, Remark)}

    @property
    def head(self) -> StatementHead:
        return next(record for record in self.records if isinstance(record, StatementHead))

    @property
    def end(self) -> StatementEnd:
        return next(record for record in self.records if isinstance(record, StatementEnd))

    @property
    def signed(self) -> list[int]:
        """The amounts, less than zero where money went out."""
        return [
            entry.amount.minor * (1 if entry.direction == "CREDIT" else -1)
            for entry in self.entries
        ]


def options(
    currency: str = "RWF",
    *,
    mapping: Mapping[str, object] | None = None,
    profiles: Iterable[MappingProfile] = (),
) -> ReadOptions:
    profile = None
    if mapping is not None:
        profile = MappingProfile(code="own", name="My own", mapping=mapping)
    return ReadOptions(currency=currency, today=TODAY, profile=profile, profiles=tuple(profiles))


def read(file: Path, how: ReadOptions | None = None) -> Read:
    return Read(list(tables.read(file, how or options())))


def csv(folder: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    file = folder / "upload"
    file.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return file


def xlsx(folder: Path, rows: Sequence[Sequence[object]]) -> Path:
    file = folder / "upload"
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    book.save(file)
    return file
