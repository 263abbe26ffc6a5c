"""SWIFT MT940 and MT942: the statements that banks give to companies.

The library mt-940 reads a file as a whole: it strips and joins the lines, so that a number of a
line is lost, and it stops at the first line that it cannot read. Here the file is cut into its
tags line by line; what the library then reads in a tag is compared with what we read in it.
"""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import mt940

from dusangire.money import Money
from dusangire.statements import (
    Direction,
    Entry,
    EntryKind,
    EntryStatus,
    ReadOptions,
    Record,
    Rejected,
    Remark,
    StatementEnd,
    StatementFormat,
    StatementHead,
    Unreadable,
)
from dusangire_statements.amounts import WrongAmount, with_comma
from dusangire_statements.charsets import beginning_of, lines_of
from dusangire_statements.information import Information, information_of

__all__ = ["FORMAT"]

# A tag with more text than this is a broken file, not a long narration.
_MOST_LINES = 200
_MOST_TEXT = 10_000
_RAW = 2_000

_TAG = re.compile(r":([0-9]{2}[A-Z]?|NS):(.*)", re.DOTALL)
_KNOWN = frozenset({
    "12", "13", "13D", "20", "21", "25", "25P", "26", "28", "28C", "34F", "60", "60F", "60M",
    "61", "62", "62F", "62M", "64", "65", "86", "90C", "90D", "NS",
})  # fmt: skip
_BALANCE = re.compile(
    r"R?([CD])([0-9]{6})([A-Z]{3})([0-9][0-9.]{0,40}(?:,[0-9]{0,20})?)\s{0,10}-?\}?"
)
_ENTRY = re.compile(
    r"([0-9]{6})([0-9]{4}|\s{4})?(R[CD]|E[CD]|[CD])([A-Z])?\s?([0-9][0-9.]{0,40}(?:,[0-9]{0,20})?)"
    r"([NSF][A-Z0-9 ]{3})?(.*)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(r"([0-9]{1,20})(?:/([0-9]{1,10}))?")
_FLOOR = re.compile(r"([A-Z]{3})[CD ]?[0-9,]{0,20}")
_TOTAL = re.compile(r"([0-9]{1,10})([A-Z]{3})([0-9][0-9.]{0,40}(?:,[0-9]{0,20})?)")
_ORIGINAL = re.compile(r"/OCMT/([A-Z]{3})([0-9,.]{1,20})/")
_CHARGES = re.compile(r"/CHGS/([A-Z]{3})([0-9,.]{1,20})/")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")

_MARKS = {
    "C": (Direction.CREDIT, False, EntryStatus.BOOKED),
    "D": (Direction.DEBIT, False, EntryStatus.BOOKED),
    # A reversal takes the money the other way: that of a credit is money out.
    "RC": (Direction.DEBIT, True, EntryStatus.BOOKED),
    "RD": (Direction.CREDIT, True, EntryStatus.BOOKED),
    "EC": (Direction.CREDIT, False, EntryStatus.PENDING),
    "ED": (Direction.DEBIT, False, EntryStatus.PENDING),
}
_FEES = frozenset({"NCHG", "NCOM", "SCHG", "SCOM", "FCHG", "FCOM"})
_SECOND_READER = mt940.tags.Statement().re
# Half a year: an entry date has no year, and lies near its value date.
_HALF_A_YEAR = 183


@dataclass(slots=True)
class _Tag:
    """One tag, or the end of a message (an empty name)."""

    line: int
    name: str
    lines: list[str] = field(default_factory=list)

    @property
    def first(self) -> str:
        return self.lines[0].strip() if self.lines else ""

    @property
    def raw(self) -> str:
        return f":{self.name}:" + "\n".join(self.lines)


@dataclass(slots=True)
class _Message:
    """What is known of the message that is being read."""

    line: int
    account: str | None = None
    number: str | None = None
    page: str | None = None
    currency: str | None = None
    opening: int | None = None
    opened: date | None = None
    continues: bool = False
    closing: int | None = None
    closed: date | None = None
    continued: bool = False
    available: int | None = None
    total_credits: int | None = None
    total_debits: int | None = None
    entries: int | None = None
    has_begun: bool = False
    is_closed: bool = False


def recognises(head: bytes) -> bool:
    start = beginning_of(head)
    return bool(
        re.search(r"^:20:", start, re.MULTILINE)
        and re.search(r"^:(?:25P?|28C?|34F|60[FM]?|61|62[FM]?):", start, re.MULTILINE)
    )


def read(file: Path, options: ReadOptions) -> Iterator[Record]:
    return _Reader(options).records(_tags(file))


def _tags(file: Path) -> Iterator[_Tag]:
    """The tags of a file, with the lines that continue them. An empty name ends a message."""
    tag: _Tag | None = None
    size = 0
    for number, line in lines_of(file):
        start = _TAG.match(line)
        # A narration may have a line that looks like a tag that there is not.
        if start and (start[1] in _KNOWN or tag is None or tag.name != "86"):
            if tag is not None:
                yield tag
            tag, size = _Tag(number, start[1], [start[2]]), 0
        elif line.strip() in {"-", "-}"} or line.startswith("{1:"):
            if tag is not None:
                yield tag
            yield _Tag(number, "")
            tag = None
        elif tag is not None and line.strip():
            tag.lines.append(line)
            size += len(line)
            if len(tag.lines) > _MOST_LINES or size > _MOST_TEXT:
                raise Unreadable(f"The tag :{tag.name}: goes on without end.", line=tag.line)
    if tag is not None:
        yield tag


class _Reader:
    """Puts tags together to statements: pages of one are merged."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._message: _Message | None = None
        self._page: _Message | None = None  # one that goes on on another page, perhaps
        self._entry: _Tag | None = None
        self._unknown: set[str] = set()

    def records(self, tags: Iterator[_Tag]) -> Iterator[Record]:
        seen = False
        last = 1
        for tag in tags:
            last = tag.line
            seen = seen or tag.name == "20"
            if tag.name == "86" and self._entry is not None:
                yield from self._take_entry(tag)
                continue
            yield from self._take_entry(None)
            yield from self._take(tag)
        yield from self._take_entry(None)
        yield from self._finish()
        if self._page is not None:
            yield _end(self._page)
        if not seen:
            raise Unreadable("There is no tag :20:, with which a statement begins.", line=last)

    def _take(self, tag: _Tag) -> Iterator[Record]:  # noqa: PLR0912 - one case for each tag
        if tag.name in {"", "20"}:
            yield from self._finish()
            if tag.name == "20":
                self._message = _Message(tag.line)
            return
        message = self._message
        if message is None:
            raise Unreadable(f"The tag :{tag.name}: stands before a tag :20:.", line=tag.line)
        match tag.name:
            case "25" | "25P":
                message.account = tag.first or None
            case "28" | "28C":
                if number := _NUMBER.match(tag.first):
                    message.number, message.page = number[1], number[2]
            case "34F":
                if floor := _FLOOR.fullmatch(tag.first):
                    message.currency = message.currency or floor[1]
            case "60" | "60F" | "60M":
                if message.is_closed or message.opening is not None:
                    # Some banks write :20: once for several statements.
                    yield from self._finish()
                    message = self._message = _Message(
                        tag.line, account=message.account, number=message.number
                    )
                message.opening, message.opened, message.currency = _balance(tag)
                message.continues = tag.name == "60M"
            case "61":
                yield from self._begin(message)
                self._entry = tag
            case "62" | "62F" | "62M":
                if message.currency is None:
                    message.currency = _balance(tag)[2]
                yield from self._begin(message)
                message.closing, message.closed, currency = _balance(tag)
                if currency != message.currency:
                    raise Unreadable(
                        f"The statement begins in {message.currency} and ends in {currency}.",
                        line=tag.line,
                    )
                message.is_closed, message.continued = True, tag.name == "62M"
            case "64":
                message.available = _balance(tag)[0]
            case "90C" | "90D":
                self._take_total(tag, message)
            case name if name not in _KNOWN and name not in self._unknown:
                self._unknown.add(name)
                yield Remark(
                    code="UNKNOWN_TAG", message=f"The tag :{name}: was left out.", line=tag.line
                )

    def _take_total(self, tag: _Tag, message: _Message) -> None:
        total = _TOTAL.match(tag.first)
        if total is None:
            raise Unreadable(f"The total :{tag.name}: cannot be read.", line=tag.line)
        try:
            minor, _ = with_comma(total[3], total[2])
        except WrongAmount as error:
            raise Unreadable(f"The total :{tag.name}: {error}", line=tag.line) from error
        message.currency = message.currency or total[2]
        message.entries = (message.entries or 0) + int(total[1])
        if tag.name == "90C":
            message.total_credits = minor
        else:
            message.total_debits = minor

    def _begin(self, message: _Message) -> Iterator[Record]:
        """The head, as late as everything in it is known; nothing, when a page goes on."""
        if message.has_begun:
            return
        message.has_begun = True
        page, self._page = self._page, None
        if page is not None and message.continues and _same(page, message):
            if page.closing != message.opening:
                yield Remark(
                    code="PAGE_CHAIN",
                    message="The page does not begin where the one before it ended.",
                    line=message.line,
                )
            return
        if page is not None:
            yield _end(page)
        yield StatementHead(
            account=message.account,
            currency=message.currency or self._options.currency,
            number=message.number,
            sequence=message.page,
            period_from=message.opened,
            opening=message.opening,
            continues=message.continues,
        )

    def _finish(self) -> Iterator[Record]:
        message, self._message = self._message, None
        if message is None:
            return
        yield from self._begin(message)
        if message.continued:
            self._page = message
        else:
            yield _end(message)

    def _take_entry(self, details: _Tag | None) -> Iterator[Record]:
        tag, self._entry = self._entry, None
        if tag is None:
            return
        assert self._message is not None
        currency = self._message.currency or self._options.currency
        raw = (tag.raw if details is None else f"{tag.raw}\n{details.raw}")[:_RAW]
        try:
            entry, remarks = _entry(tag, details, currency)
        except ValueError as error:
            yield Rejected(line=tag.line, message=str(error), raw=raw)
            return
        yield replace(entry, raw=raw)
        yield from remarks


def _same(page: _Message, message: _Message) -> bool:
    return (page.account, page.number, page.currency) == (
        message.account,
        message.number,
        message.currency,
    )


def _end(message: _Message) -> StatementEnd:
    return StatementEnd(
        closing=message.closing,
        available=message.available,
        continued=message.continued,
        total_credits=message.total_credits,
        total_debits=message.total_debits,
        entries=message.entries,
        period_to=message.closed,
    )


def _balance(tag: _Tag) -> tuple[int, date, str]:
    """Raises Unreadable: a statement with a broken balance is a broken file."""
    found = _BALANCE.fullmatch(tag.first)
    if found is None:
        raise Unreadable(f"The balance :{tag.name}: cannot be read.", line=tag.line)
    mark, day, currency, amount = found.groups()
    try:
        minor, rounded = with_comma(amount, currency)
        on, _ = _date(day)
    except ValueError as error:
        raise Unreadable(f"The balance :{tag.name}: {error}", line=tag.line) from error
    if rounded:
        raise Unreadable(
            f"The balance :{tag.name}: has more decimals than {currency}.", line=tag.line
        )
    return (minor if mark == "C" else -minor), on, currency


def _entry(tag: _Tag, details: _Tag | None, currency: str) -> tuple[Entry, list[Remark]]:
    """Raises ValueError, which says what cannot be read."""
    found = _ENTRY.fullmatch(tag.lines[0])
    if found is None:
        raise ValueError("The tag :61: cannot be read.")
    day, entered, mark, _, text, type_code, rest = found.groups()
    if type_code is None and rest.strip()[:1] not in {"", "/"}:
        # Not the end of the amount: 1e9 would be one franc, and 1,2,3 a bit more.
        raise ValueError("What follows the amount in the tag :61: cannot be read.")
    direction, is_reversal, status = _MARKS[mark.upper()]
    minor, rounded = with_comma(text, currency)
    value_date, clamped = _date(day)
    booking_date, also = _entered(entered, value_date)
    own, _, banks = rest.partition("//")
    extra = " ".join(line.strip() for line in tag.lines[1:])
    told = information_of(details.lines if details is not None else [])
    type_code = type_code.strip() if type_code else None
    remarks = []
    if clamped or also:
        remarks.append(
            Remark(
                code="IMPOSSIBLE_DATE",
                message="There is no such day; the last one of its month was taken.",
                line=tag.line,
            )
        )
    if rounded:
        remarks.append(
            Remark(
                code="TOO_MANY_DECIMALS",
                message=f"{text} has more decimals than {currency}; it was rounded.",
                line=tag.line,
            )
        )
    if _reads_differently(tag.lines[0], text, mark, day):
        remarks.append(
            Remark(
                code="DOUBTFUL_LINE",
                message="This line can be read in two ways. Compare it with the bank's paper.",
                line=tag.line,
            )
        )
    entry = Entry(
        line=tag.line,
        booking_date=booking_date,
        value_date=value_date,
        direction=direction,
        amount=Money(minor, currency),
        status=status if minor else EntryStatus.INFO,
        kind=EntryKind.FEE if type_code in _FEES else EntryKind.OTHER,
        is_reversal=is_reversal,
        bank_reference=_reference(banks),
        customer_reference=_reference(own) or told.customer_reference,
        end_to_end_id=told.end_to_end_id,
        structured_reference=told.structured_reference,
        counterparty=told.counterparty,
        counterparty_account=told.account or _account(extra),
        narration=_narration(told, extra),
        narration_parts=told.parts or ((extra,) if extra else ()),
        type_code="/".join(filter(None, (type_code, told.code))) or None,
        original_amount=_amount_in(_ORIGINAL, extra),
        charges=_amount_in(_CHARGES, extra),
    )
    return entry, remarks


def _narration(told: Information, extra: str) -> str:
    if not extra or extra in told.text:
        return told.text
    return f"{told.text} {extra}".strip()


def _reference(text: str) -> str | None:
    text = text.strip()
    # EREF and KREF say that the reference stands in :86:.
    return None if text in {"", "NONREF", "EREF", "EREF+", "KREF", "KREF+"} else text


def _account(extra: str) -> str | None:
    return extra if _IBAN.fullmatch(extra) else None


def _amount_in(pattern: re.Pattern[str], extra: str) -> Money | None:
    """What a bank adds of its own free will: where it cannot be read, it is not there."""
    found = pattern.search(extra)
    if found is None:
        return None
    try:
        minor, _ = with_comma(found[2], found[1])
    except WrongAmount:
        return None
    return Money(minor, found[1])


def _date(text: str) -> tuple[date, bool]:
    """YYMMDD, and whether it had to be moved: the day is not in that month. Raises ValueError."""
    two, month, day = int(text[:2]), int(text[2:4]), int(text[4:6])
    return _clamped(two + (1900 if two >= 80 else 2000), month, day)


def _clamped(year: int, month: int, day: int) -> tuple[date, bool]:
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        raise ValueError(f"There is no date {year:04}-{month:02}-{day:02}.")
    last = calendar.monthrange(year, month)[1]
    return date(year, month, min(day, last)), day > last


def _entered(text: str | None, value_date: date) -> tuple[date, bool]:
    """The entry date: month and day only, of the year that is nearest to the value date."""
    if text is None or not text.strip():
        return value_date, False
    month, day = int(text[:2]), int(text[2:])
    on, clamped = _clamped(value_date.year, month, day)
    if (on - value_date).days > _HALF_A_YEAR:
        return _clamped(value_date.year - 1, month, day)
    if (value_date - on).days > _HALF_A_YEAR:
        return _clamped(value_date.year + 1, month, day)
    return on, clamped


def _reads_differently(line: str, amount: str, mark: str, day: str) -> bool:
    """Whether the library mt-940 sees another date, mark or amount here.

    It does not know marks of expected entries, nor points between thousands.
    """
    if mark.upper()[0] == "E" or "." in amount:
        return False
    # Only the beginning: that is where these stand.
    other = _SECOND_READER.match(line[:120])
    if other is None:
        return False
    return (
        other["year"] + other["month"] + other["day"] != day
        or other["status"].upper() != mark.upper()
        or other["amount"] != amount[:15]
    )


FORMAT = StatementFormat(
    name="mt940",
    title="SWIFT MT940 and MT942",
    recognises=recognises,
    read=read,
    media_types=("text/plain", "application/octet-stream"),
)
