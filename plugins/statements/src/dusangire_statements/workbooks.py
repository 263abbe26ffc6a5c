"""Spreadsheets: .xlsx, .ods and .xls as rows of cells, once it is certain that they are harmless.

A workbook is a ZIP archive, and an archive of 195 KB can hold 200 MB. Everything in it is counted
by inflating it piece by piece and keeping nothing, before the reader sees it: what the archive says
of its own sizes is not believed.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import BinaryIO, TypeAlias

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
    WorksheetNotFound,
    XmlError,
    ZipError,
)

from dusangire.statements import Unreadable

__all__ = ["OLE", "ZIP", "Cell", "Workbook", "require_harmless"]

Cell: TypeAlias = str | int | float | bool | date | datetime | time | timedelta

ZIP = b"PK\x03\x04"
OLE = bytes.fromhex("D0CF11E0A1B11AE1")
MEMBERS = 100
RATIO = 100
# What a file of a few kilobytes may inflate to whatever its ratio: XML of small tables packs well.
SMALL = 2 * 2**20
INFLATED = 160 * 2**20
CELLS = 6_000_000
SHEETS = 30
_CHUNK = 2**16
_NESTED_NAMES = (".zip", ".gz", ".7z", ".rar", ".jar", ".xlsx", ".xls", ".ods", ".docx", ".tar")
_NESTED = (ZIP, b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x1f\x8b", b"BZh")
_ROW = re.compile(rb"<(?:[A-Za-z]\w*:)?row\b[^<>]{0,400}?\br\s*=\s*[\"'](\d{1,9})")
_COLUMN = re.compile(rb"\br\s*=\s*[\"']([A-Za-z]{1,3})\d")
_REPEATED = re.compile(rb"number-columns-repeated\s*=\s*[\"'](\d{1,9})")
# In the directory of an old workbook names are UTF-16.
_OLD_MACROS = "_VBA_PROJECT".encode("utf-16-le")


class Workbook:
    """The sheets of a file that `require_harmless` let through. Formulas are not evaluated."""

    def __init__(self, file: Path) -> None:
        require_harmless(file)
        try:
            with file.open("rb") as stream:
                self._book = CalamineWorkbook.from_filelike(stream)
        except PasswordError as error:
            raise Unreadable(_PROTECTED) from error
        except (CalamineError, XmlError, ZipError, OSError, ValueError) as error:
            raise Unreadable("The workbook is damaged: it cannot be opened.") from error
        self.sheets = tuple(
            sheet.name
            for sheet in self._book.sheets_metadata
            if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
        )[:SHEETS]
        self._open: dict[str, CalamineSheet] = {}

    def rows(self, name: str) -> Iterator[tuple[int, list[Cell]]]:
        """The rows of a sheet, numbered as a spreadsheet shows them. Raises Unreadable."""
        if name not in self._open:
            self._open.clear()  # one at a time is in memory
            try:
                self._open[name] = self._book.get_sheet_by_name(name)
            except WorksheetNotFound as error:
                raise Unreadable(f"There is no sheet {name!r} in the workbook.") from error
            except (CalamineError, XmlError, ZipError, ValueError) as error:
                raise Unreadable(f"The sheet {name!r} is damaged: it cannot be read.") from error
        sheet = self._open[name]
        yield from enumerate(sheet.iter_rows(), start=1)


_PROTECTED = "The workbook is protected with a password: save it without one."


def require_harmless(file: Path) -> None:
    """Raises Unreadable for a workbook with macros or one made to hurt whoever opens it."""
    with file.open("rb") as stream:
        magic = stream.read(8)
        if magic.startswith(ZIP):
            _require_harmless_archive(file, stream)
        elif magic == OLE:
            stream.seek(0)
            if _OLD_MACROS in stream.read():
                raise Unreadable(_MACROS)
        else:
            raise Unreadable("This is no workbook.")


_MACROS = "The workbook has macros: save it as .xlsx without them."


def _require_harmless_archive(file: Path, stream: BinaryIO) -> None:
    members = _members(file)
    _require_plain_names(members)
    names = {member.filename for member in members}
    if "xl/workbook.xml" not in names and "content.xml" not in names:
        raise Unreadable("This archive is no .xlsx or .ods workbook.")
    limit = max(SMALL, RATIO * file.stat().st_size)
    inflated = 0
    ends = [member.header_offset for member in members[1:]] + [file.stat().st_size]
    for member, end in zip(members, ends, strict=True):
        extent = _Extent()
        for piece in _inflated(stream, member, end):
            inflated += len(piece)
            if inflated > min(limit, INFLATED):
                raise Unreadable(
                    f"The workbook holds more than {min(limit, INFLATED) // 2**20} MB, "
                    "far more than its size: it is refused."
                )
            extent.see(piece, member.filename)


def _members(file: Path) -> list[zipfile.ZipInfo]:
    """In the order in which they lie in the file."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, UnicodeError) as error:
        raise Unreadable("The workbook is damaged: it cannot be opened.") from error
    if len(members) > MEMBERS:
        raise Unreadable(f"The workbook has {len(members)} parts; at most {MEMBERS} are read.")
    members = [member for member in members if not member.is_dir()]
    if len({member.filename for member in members}) != len(members):
        raise Unreadable("The workbook has two parts of the same name: it is refused.")
    return sorted(members, key=lambda member: member.header_offset)


def _require_plain_names(members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        name = member.orig_filename
        low = name.lower()
        if "vbaproject" in low or low.endswith(("workbook.bin", "/macrosheets")):
            raise Unreadable(_MACROS)
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise Unreadable("The workbook has a part that points out of it: it is refused.")
        if low.endswith(_NESTED_NAMES):
            raise Unreadable("The workbook has an archive in it: it is refused.")
        if member.flag_bits & 0x1:
            raise Unreadable(_PROTECTED)


def _inflated(stream: BinaryIO, member: zipfile.ZipInfo, end: int) -> Iterator[bytes]:
    """The content of one part, piece by piece. end: where the next one begins."""
    stream.seek(member.header_offset)
    header = stream.read(30)
    if len(header) < 30 or not header.startswith(ZIP):
        raise Unreadable("The workbook is damaged: it cannot be opened.")
    skipped = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    left = member.compress_size
    if member.header_offset + 30 + skipped + left > end:
        raise Unreadable("The parts of the workbook overlap: it is refused.")
    stream.seek(skipped, 1)
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise Unreadable("The workbook is packed in a way that is not read.")
    packed = member.compress_type == zipfile.ZIP_DEFLATED
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while left > 0 and (raw := stream.read(min(_CHUNK, left))):
        left -= len(raw)
        if not packed:
            yield raw
            continue
        try:
            while raw:
                yield inflater.decompress(raw, 16 * _CHUNK)
                raw = inflater.unconsumed_tail
        except zlib.error as error:
            raise Unreadable("The workbook is damaged: it cannot be opened.") from error


class _Extent:
    """How far a sheet reaches: a reader keeps a cell for each place up to its last one."""

    def __init__(self) -> None:
        self._tail = b""
        self._columns = 1
        self._rows = 1
        self._started = False

    def see(self, piece: bytes, name: str) -> None:
        if not self._started and piece:
            self._started = True
            if piece.startswith(_NESTED):
                raise Unreadable("The workbook has an archive in it: it is refused.")
            if name.endswith((".xml", ".rels")) and piece[:2] in {b"\xff\xfe", b"\xfe\xff"}:
                raise Unreadable("The workbook is written in a way that is not read.")
        text = self._tail + piece
        if name.endswith((".xml", ".rels")) and (b"<!DOCTYPE" in text or b"<!ENTITY" in text):
            raise Unreadable("The workbook declares entities: it is refused.")
        if "sheet" in name and name.endswith(".xml"):
            self._measure(text)
        elif name == "content.xml":
            widest = max((int(found) for found in set(_REPEATED.findall(text))), default=0)
            if widest > 16_384:
                raise Unreadable("A sheet of the workbook is too wide to be read.")
        self._tail = text[-500:]

    def _measure(self, text: bytes) -> None:
        for letters in set(_COLUMN.findall(text)):
            number = 0
            for letter in letters.upper():
                number = number * 26 + letter - 64
            self._columns = max(self._columns, number)
        rows = _ROW.findall(text)
        self._rows = max(self._rows, max(map(int, rows), default=0))
        if self._columns * self._rows > CELLS:
            raise Unreadable(
                f"A sheet of the workbook reaches to row {self._rows:,} and column "
                f"{self._columns:,}: delete the empty rows and columns, or save it as CSV."
            )
