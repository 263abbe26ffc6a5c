"""One row of a table as an entry of a statement, or why it is none."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import TypeVar
from zoneinfo import ZoneInfo

from dusangire.money import Money
from dusangire.statements import (
    Direction,
    Entry,
    EntryKind,
    EntryStatus,
    Remark,
    Unreadable,
)
from dusangire_statements import columns as naming
from dusangire_statements import dates, numbers
from dusangire_statements.cells import MOST_EXACT, cell_of, shown
from dusangire_statements.deciding import Decided, known_currency
from dusangire_statements.workbooks import Cell

__all__ = ["RAW_LIMIT", "BadRow", "RowReader"]

RAW_LIMIT = 2_000
# The day of money is the merchant's.
KIGALI = ZoneInfo("Africa/Kigali")
_LOST_DIGITS = re.compile(r"\d(?:[.,]\d+)?E\+\d{1,3}", re.IGNORECASE)
_REFERENCES = (
    "reference", "transaction_id", "our_reference", "customer_reference", "end_to_end_id",
    "structured_reference", "settlement", "payer_account",
)  # fmt: skip
_OUTGOING = {EntryKind.REFUND, EntryKind.FEE, EntryKind.PAYOUT, EntryKind.CHARGEBACK}
WordT = TypeVar("WordT")


class BadRow(ValueError):
    """One row that cannot be read. The text says why."""


class RowReader:
    """Turns rows into entries, as decided, and keeps what is to be said once for all of them."""

    def __init__(self, decided: Decided) -> None:
        self._as = decided
        self._found = decided.table.found
        self._mapping = decided.mapping
        self._said: dict[str, list[int]] = {}
        self._messages: dict[str, str] = {}
        words = self._mapping.statuses
        self._statuses = {
            **_words(words.failed, "failed"),
            **_words(words.pending, "pending"),
            **_words(words.success, "success"),
        }
        self._kinds: dict[str, EntryKind] = {}
        for kind in (EntryKind.PAYMENT, *sorted(_OUTGOING)):
            self._kinds |= _words(getattr(self._mapping.types, kind.value.lower()), kind)
        self._reversals = {naming.normalised(word) for word in self._mapping.types.reversal}
        self._credits = {*map(_flag, self._mapping.flag.credit)}
        self._debits = {*map(_flag, self._mapping.flag.debit)}

    def entry(self, line: int, row: Sequence[Cell]) -> tuple[Entry, Remark | None]:
        """The entry of a complete row. Raises BadRow."""
        moment, remark = self._moment(line, row)
        value_date = self._value_date(row)
        kind, is_reversal = self._kind(row)
        status = self._status(line, row)
        amounts = self._amounts(line, row, kind)
        if status == "failed" and amounts.gross == 0 and amounts.moved:
            # A parcel came back: nothing was collected, and the courier is paid all the same.
            status, kind = "success", EntryKind.FEE
        if amounts.moved == 0 or status == "failed":
            entry_status = EntryStatus.INFO
        else:
            entry_status = EntryStatus.PENDING if status == "pending" else EntryStatus.BOOKED
        texts = {name: self._reference(row, name) for name in _REFERENCES}
        narration = self._text(row, "description")
        entry = Entry(
            line=line,
            booking_date=moment.day,
            direction=amounts.direction,
            amount=Money(amounts.moved, amounts.currency),
            status=entry_status,
            kind=EntryKind.FAILED if status == "failed" else kind,
            value_date=value_date,
            occurred_at=moment.at,
            gross=amounts.money(amounts.gross),
            fee=amounts.money(amounts.fee),
            is_reversal=is_reversal or amounts.is_reversal,
            transaction_id=texts["transaction_id"],
            our_reference=texts["our_reference"],
            bank_reference=texts["reference"],
            customer_reference=texts["customer_reference"],
            end_to_end_id=texts["end_to_end_id"],
            structured_reference=texts["structured_reference"],
            settlement=texts["settlement"],
            counterparty=self._text(row, "payer") or None,
            counterparty_account=texts["payer_account"],
            narration=narration,
            narration_parts=tuple(
                part for piece in narration.split("|") if (part := piece.strip())
            ),
            type_code=self._text(row, "type") or None,
            running_balance=self._minor(row, "balance", amounts.currency),
            raw=" | ".join(shown(cell) for cell in row)[:RAW_LIMIT],
        )
        return entry, remark

    def remarks(self) -> Iterator[Remark]:
        """What was said of several rows, once."""
        for key, lines in self._said.items():
            count = f" ({len(lines)} rows)" if len(lines) > 1 else ""
            yield Remark(code=key.split(":")[0], message=self._messages[key] + count, line=lines[0])

    def say(self, code: str, message: str, line: int, about: str = "") -> None:
        key = f"{code}:{about}"
        if key in self._said or len(self._said) < 50:
            self._messages.setdefault(key, message)
            self._said.setdefault(key, []).append(line)

    def _text(self, row: Sequence[Cell], name: str) -> str:
        return shown(cell_of(row, self._found.get(name)))

    def _reference(self, row: Sequence[Cell], name: str) -> str | None:
        if name not in self._found:
            return None
        cell = cell_of(row, self._found[name])
        lost = isinstance(cell, float) and (not cell.is_integer() or abs(cell) >= MOST_EXACT)
        if lost or (isinstance(cell, str) and _LOST_DIGITS.fullmatch(cell.strip())):
            column = self._as.table.first[self._as.table.header][1][self._found[name]]
            raise BadRow(
                f"The column {column!r} was kept as a number and lost digits ({shown(cell)}). "
                "Format the column as text where the file is made, and export it again."
            )
        return shown(cell).lstrip("'").strip() or None

    def _moment(self, line: int, row: Sequence[Cell]) -> tuple[dates.Moment, Remark | None]:
        moment = self._date(cell_of(row, self._found["booking_date"]))
        remark = None
        if moment.clamped:
            text = self._text(row, "booking_date")
            remark = Remark(
                code="IMPOSSIBLE_DATE",
                message=f"{text!r} does not exist: read as {moment.day}.",
                line=line,
            )
        at = moment.at
        if "time" in self._found and (told := self._time_of_day(row)) is not None:
            at = datetime.combine(moment.day, told)
        if at is None or (at.tzinfo is None and at.time() == time()):
            return replace(moment, at=None), remark
        at = at if at.tzinfo else at.replace(tzinfo=self._as.zone)
        return replace(moment, at=at, day=at.astimezone(KIGALI).date()), remark

    def _time_of_day(self, row: Sequence[Cell]) -> time | None:
        cell = cell_of(row, self._found["time"])
        if isinstance(cell, datetime):
            return cell.time()
        if isinstance(cell, time):
            return cell
        if not (text := shown(cell)):
            return None
        try:
            told, zone = dates.parse_time(text)
        except dates.BadDate as error:
            raise BadRow(f"The time {error}.") from error
        return told.replace(tzinfo=zone)

    def _value_date(self, row: Sequence[Cell]) -> date | None:
        cell = cell_of(row, self._found.get("value_date"))
        return self._date(cell).day if shown(cell) else None

    def _date(self, cell: Cell) -> dates.Moment:
        try:
            if isinstance(cell, datetime):
                return _in_range(dates.Moment(cell.date(), cell))
            if isinstance(cell, date):
                return _in_range(dates.Moment(cell))
            if isinstance(cell, (int, float)) and not isinstance(cell, bool):
                number = float(cell)
                # Files write 20261102 as a number too.
                if 19_900_000 <= number < 21_010_000 and number.is_integer():
                    return dates.parse(str(int(number)), None)
                return dates.serial(number)
            return dates.parse(shown(cell), self._as.order, self._mapping.dates)
        except dates.BadDate as error:
            raise BadRow(f"The date {error}.") from error

    def _kind(self, row: Sequence[Cell]) -> tuple[EntryKind, bool]:
        word = naming.normalised(self._text(row, "type"))
        return self._kinds.get(word, EntryKind.OTHER), word in self._reversals

    def _status(self, line: int, row: Sequence[Cell]) -> str:
        if "status" not in self._found:
            return "success"
        text = self._text(row, "status")
        status = self._statuses.get(naming.normalised(text))
        if status is None:
            self.say(
                "UNKNOWN_STATUS",
                f"The status {text[:60]!r} is not known: taken as pending.",
                line,
                text[:60],
            )
        return status or "pending"

    def _number(self, row: Sequence[Cell], name: str) -> numbers.Number | None:
        cell = cell_of(row, self._found.get(name))
        try:
            if isinstance(cell, (int, float)) and not isinstance(cell, bool):
                return numbers.Number(numbers.number_of(float(cell)))
            return numbers.parse(cell, self._as.style) if isinstance(cell, str) else _no_number()
        except numbers.BadNumber as error:
            raise BadRow(f"The {name.replace('_', ' ')} {error}.") from error

    def _minor(self, row: Sequence[Cell], name: str, currency: str) -> int | None:
        number = self._number(row, name)
        if number is None:
            return None
        minor, _ = self._in_minor(number, name, currency)
        return -minor if number.mark == "D" else minor

    def _in_minor(self, number: numbers.Number, name: str, currency: str) -> tuple[int, bool]:
        try:
            return numbers.minor_units(
                number.value, currency, self._mapping.numbers.excess_decimals
            )
        except numbers.BadNumber as error:
            value = f"{number.value:f}"[:40]
            raise BadRow(f"The {name.replace('_', ' ')} {value} {error}.") from error

    def _amounts(self, line: int, row: Sequence[Cell], kind: EntryKind) -> "Amounts":
        told = {
            name: number
            for name in (*naming.AMOUNTS, "fee")
            if name in self._found and (number := self._number(row, name)) is not None
        }
        currency = self._row_currency(row, told)
        minor: dict[str, int] = {}
        for name, number in told.items():
            minor[name], rounded = self._in_minor(number, name, currency)
            if rounded:
                self.say("ROUNDED", f"More decimals than {currency} has were rounded.", line)
        amounts = self._moved(row, minor, told, kind, currency)
        if amounts.gross is not None and amounts.fee is not None and "net" in minor:
            expected = amounts.gross - amounts.fee
            if amounts.direction is Direction.CREDIT and expected != amounts.moved:
                self.say("FEE_SUM", "Gross less fee is not the net.", line)
        return amounts

    def _row_currency(self, row: Sequence[Cell], told: dict[str, numbers.Number]) -> str:
        if text := self._text(row, "currency"):
            try:
                code = known_currency(text, text)
            except Unreadable as error:
                raise BadRow(error.message) from error
        else:
            code = ""
        beside = {number.currency for number in told.values() if number.currency}
        for word in beside:
            try:
                known = known_currency(word, word)
            except Unreadable as error:
                raise BadRow(error.message) from error
            if code and known != code:
                raise BadRow(f"The row is in {code} and in {known}.")
            code = known
        return code or self._as.currency

    def _moved(
        self,
        row: Sequence[Cell],
        minor: dict[str, int],
        told: dict[str, numbers.Number],
        kind: EntryKind,
        currency: str,
    ) -> "Amounts":
        if self._as.sign == "columns":
            return self._of_columns(minor, currency)
        main, gross, fee = self._parts(minor)
        mark = next((told[name].mark for name in ("amount", "net", "gross") if name in told), None)
        sign = -1 if main < 0 else 1
        is_reversal = False
        if self._as.sign == "flag":
            flag = self._flag_of(row)
            is_reversal, sign = sign < 0, flag * sign
        elif self._as.sign == "type":
            if kind is EntryKind.OTHER:
                word = self._text(row, "type")[:60]
                raise BadRow(
                    f"The type {word!r} is not known: whether money came in or went out cannot be "
                    "said. Add it to `types` in the mapping"
                )
            if kind in _OUTGOING:
                sign = -1
            is_reversal = kind is EntryKind.PAYMENT and sign < 0
        elif mark is not None:
            sign = 1 if mark == "C" else -1
        moved = abs(main)
        if self._mapping.amount_is == "gross" and "amount" in minor and "net" not in minor:
            gross = abs(minor["amount"])
            moved = gross + (-(fee or 0) if sign > 0 else (fee or 0))
            if moved < 0:
                moved, sign = -moved, -1
        direction = Direction.CREDIT if sign > 0 else Direction.DEBIT
        return Amounts(direction, moved, currency, gross, fee, is_reversal)

    def _parts(self, minor: dict[str, int]) -> tuple[int, int | None, int | None]:
        """What the balance moved by, with its sign; the gross and the fee, without."""
        gross = abs(minor["gross"]) if "gross" in minor else None
        fee = abs(minor["fee"]) if "fee" in minor else None
        if "net" in minor:
            main = minor["net"]
            if fee is None and gross is not None and gross >= abs(main):
                fee = gross - abs(main)
        elif "amount" in minor:
            main = minor["amount"]
        else:
            paid = minor["gross"]
            main = paid - (fee or 0)
        return main, gross, fee

    def _flag_of(self, row: Sequence[Cell]) -> int:
        name = "dc_flag" if "dc_flag" in self._found else "type"
        word = _flag(self._text(row, name))
        if word in self._credits:
            return 1
        if word in self._debits:
            return -1
        raise BadRow(f"{self._text(row, name)[:60]!r} says neither debit nor credit.")

    def _of_columns(self, minor: dict[str, int], currency: str) -> "Amounts":
        debit, credit = minor.get("debit", 0), minor.get("credit", 0)
        if debit and credit:
            raise BadRow("Both debit and credit have an amount.")
        fee = abs(minor["fee"]) if "fee" in minor else None
        gross = abs(minor["gross"]) if "gross" in minor else None
        if debit:
            backwards = {
                "any": False, "negative": debit > 0, "positive": debit < 0,
            }[self._mapping.debit_sign]  # fmt: skip
            direction = Direction.CREDIT if backwards else Direction.DEBIT
            return Amounts(direction, abs(debit), currency, gross, fee, backwards)
        direction = Direction.DEBIT if credit < 0 else Direction.CREDIT
        return Amounts(direction, abs(credit), currency, gross, fee, credit < 0)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What one row moved, in minor units."""

    direction: Direction
    moved: int
    currency: str
    gross: int | None
    fee: int | None
    is_reversal: bool

    def money(self, minor: int | None) -> Money | None:
        return None if minor is None else Money(minor, self.currency)


def _no_number() -> numbers.Number:
    raise numbers.BadNumber("is a date, not an amount")


def _in_range(moment: dates.Moment) -> dates.Moment:
    if not 1990 <= moment.day.year <= 2100:
        raise dates.BadDate(f"{moment.day} cannot be right")
    return moment


def _words(words: Sequence[str], value: WordT) -> dict[str, WordT]:
    return {naming.normalised(word): value for word in words}


def _flag(word: str) -> str:
    return word.strip().lower().rstrip(".")
