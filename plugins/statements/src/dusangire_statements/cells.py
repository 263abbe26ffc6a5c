"""A cell, whatever a file keeps in it, as text."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from dusangire_statements import columns as naming
from dusangire_statements.workbooks import Cell

__all__ = ["MOST_EXACT", "cell_of", "is_complete", "shown"]

# A spreadsheet's number has fifteen digits: of a longer one the last are made up.
MOST_EXACT = 10**15
_QUOTED_FORMULA = re.compile(r'="([^"]*)"')


def cell_of(row: Sequence[Cell], index: int | None) -> Cell:
    return row[index] if index is not None and index < len(row) else ""


def shown(cell: Cell) -> str:
    """A cell as text. What looks like a formula is text."""
    if isinstance(cell, str):
        text = cell.strip()
        if not text.isascii():
            text = text.replace("\u00a0", " ").replace("\u202f", " ").strip()
        if text.startswith('="') and (found := _QUOTED_FORMULA.fullmatch(text)):
            return found[1]
        return text
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < MOST_EXACT else repr(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    return str(cell)


def is_complete(row: Sequence[Cell], found: Mapping[str, int]) -> bool:
    """Whether a row has a date and an amount: then it is an entry, whatever else it says."""
    if shown(cell_of(row, found["booking_date"])) == "":
        return False
    return any(
        name in found and shown(cell_of(row, found[name])) not in {"", "-"}
        for name in naming.AMOUNTS
    )
