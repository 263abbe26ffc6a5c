"""What all rows of a table say together: how its numbers, dates and signs are written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

from dusangire.errors import CurrencyNotSupported
from dusangire.money import exponent
from dusangire.statements import ReadOptions, Unreadable
from dusangire.statements_mapping import TableMapping
from dusangire_statements import columns as naming
from dusangire_statements import dates, numbers
from dusangire_statements.cells import cell_of, is_complete, shown
from dusangire_statements.choosing import Table
from dusangire_statements.labels import Labels
from dusangire_statements.workbooks import Cell

__all__ = ["Decided", "decided", "known_currency"]

ROWS_LIMIT = 200_000
DECIDING_TEXTS = 20_000


@dataclass
class Seen:
    """What the first reading found. Texts are kept until enough are there to decide."""

    dates: set[str] = field(default_factory=set)
    amounts: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    signed: bool = False
    rows: int = 0


@dataclass(frozen=True)
class Decided:
    """How the rows of one table are read."""

    table: Table
    style: numbers.NumberStyle
    order: dates.DayOrder | None
    sign: str
    currency: str
    zone: ZoneInfo
    labels: Labels

    @property
    def mapping(self) -> TableMapping:
        return self.table.mapping


def decided(table: Table, options: ReadOptions) -> Decided:
    """Read the whole file once. Raises Unreadable where only a person can decide."""
    seen, labels = seen_in(table)
    style = _style(table, seen, labels, options)
    order = _order(table, seen)
    return Decided(
        table=table,
        style=style,
        order=order,
        sign=_sign(table, seen),
        currency=_currency(table, labels, options),
        zone=ZoneInfo(table.mapping.timezone or options.timezone),
        labels=labels,
    )


def seen_in(table: Table) -> tuple[Seen, Labels]:
    seen, labels = Seen(), Labels(table.mapping.metadata, table.found.get("balance"))
    begins = table.first[table.header][0]
    day, value_day = table.found["booking_date"], table.found.get("value_date")
    amounts = [
        table.found[name]
        for name in ("amount", "debit", "credit", "gross", "fee", "net", "balance")
        if name in table.found
    ]
    for line, row in table.rows():
        if line <= begins:
            if line < begins:
                labels.above([shown(cell) for cell in row])
            continue
        seen.rows += 1
        if seen.rows > ROWS_LIMIT:
            raise Unreadable(f"The table has more than {ROWS_LIMIT:,} rows.", line=line)
        if not is_complete(row, table.found):
            labels.among([shown(cell) for cell in row])
            continue
        for index in (day, value_day):
            if index is not None and len(seen.dates) < DECIDING_TEXTS:
                _keep_text(seen.dates, row, index)
        for index in amounts:
            if len(seen.amounts) < DECIDING_TEXTS:
                _keep_text(seen.amounts, row, index)
        seen.signed = seen.signed or _has_sign(cell_of(row, table.found.get("amount")))
        if "type" in table.found and len(seen.types) < 200:
            seen.types.add(naming.normalised(shown(cell_of(row, table.found["type"]))))
    return seen, labels


def _keep_text(texts: set[str], row: Sequence[Cell], index: int) -> None:
    cell = cell_of(row, index)
    if isinstance(cell, str) and cell and len(cell) <= numbers.LENGTH_LIMIT:
        texts.add(cell)


def _has_sign(cell: Cell) -> bool:
    if isinstance(cell, str):
        return bool(re.search(r"^\W*[-(\u2212]|[-\u2212)]$|(?i:[cd]r?)\.?$", cell.strip()))
    return isinstance(cell, (int, float)) and cell < 0


def _style(table: Table, seen: Seen, labels: Labels, options: ReadOptions) -> numbers.NumberStyle:
    wanted = table.mapping.numbers
    if wanted.decimal != "auto":
        return numbers.NumberStyle(
            wanted.thousands, wanted.decimal, wanted.parentheses_negative, wanted.trailing_sign
        )
    style = numbers.decide(seen.amounts, _currency(table, labels, options))
    if style is None:
        raise Unreadable(
            "The amounts use commas and points in ways that contradict each other, or may mean "
            "either. Say numbers.thousands and numbers.decimal in the mapping."
        )
    return replace(
        style,
        parentheses_negative=wanted.parentheses_negative,
        trailing_sign=wanted.trailing_sign,
    )


def _order(table: Table, seen: Seen) -> dates.DayOrder | None:
    found, unsure = dates.evidence(seen.dates)
    if found is not None or not unsure:
        return found
    order = dates.order_of(table.mapping.dates)
    if order is None:
        example = min(seen.dates, key=lambda text: (len(text), text))
        raise Unreadable(
            f"The dates, such as {example!r}, may be day/month or month/day. "
            'Say which in the mapping: dates = ["%d/%m/%Y"] or ["%m/%d/%Y"].'
        )
    return order


def _sign(table: Table, seen: Seen) -> str:
    wanted, found = table.mapping.sign, table.found
    if wanted != "auto":
        needed = {"columns": ("debit", "credit"), "flag": ("dc_flag",), "type": ("type",)}
        if missing := [name for name in needed.get(wanted, ()) if name not in found]:
            raise Unreadable(f"The table has no column for {' and '.join(missing)}.")
        return wanted
    if "debit" in found or "credit" in found:
        return "columns"
    if "dc_flag" in found:
        return "flag"
    words = {*table.mapping.flag.credit, *table.mapping.flag.debit}
    if "type" in found and not seen.signed and seen.types - {""}:
        return "flag" if seen.types - {""} <= words else "type"
    return "signed"


def _currency(table: Table, labels: Labels, options: ReadOptions) -> str:
    """Of rows that do not say. A header such as `Debit (RWF)` says it for all."""
    told = labels.text("currency")
    if told and re.fullmatch(r"[A-Z]{3}", told.strip()):
        return known_currency(told, told)
    for name in ("amount", "debit", "credit", "net", "gross"):
        if name in table.found:
            header = table.first[table.header][1][table.found[name]]
            found = re.search(r"[(\[/ ]\s*([A-Z]{3})\s*[)\]]?$", header.strip())
            if found and found[1] in {"RWF", "FRW", "USD", "EUR", "GBP", "KES", "UGX", "TZS"}:
                return known_currency(found[1], header)
    return table.mapping.currency.default or options.currency


def known_currency(word: str, text: str) -> str:
    code = word.strip().upper()
    code = "RWF" if code in {"FRW", "RF"} else code
    try:
        exponent(code)
    except CurrencyNotSupported as error:
        raise Unreadable(f"{text[:40]!r} is no currency.") from error
    return code
