"""OFX 1 (SGML, whose tags are often not closed) and OFX 2 (XML); QFX is the same.

The two are read alike, tag by tag: what stands behind a tag is its value, whether the tag is
closed or not. A document type, and with it entities, is refused.
"""

import calendar
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

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
from dusangire_statements.amounts import WrongAmount, with_comma, with_point
from dusangire_statements.charsets import beginning_of, encoding_of

__all__ = ["FORMAT"]

_CHUNK = 1 << 16
_LONGEST = 10_000
_DEEPEST = 100
_MOST_FIELDS = 200
_RAW = 2_000
_START = re.compile(r"OFXHEADER\s{0,5}[:=]|<OFX>", re.IGNORECASE)
_NAME = re.compile(r"/?[A-Za-z][A-Za-z0-9._]{0,39}")
_DATE = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})(?:\.[0-9]{1,6})?)?"
    r"(?:\[([+-]?[0-9]{1,2})(?:\.([0-9]{1,2}))?(?::[A-Za-z0-9]{0,10})?\])?"
)
_STATEMENTS = frozenset({"STMTRS", "CCSTMTRS"})
_ANSWERS = frozenset({"STMTTRNRS", "CCSTMTTRNRS", "SONRS"})
_ENTRIES = frozenset({"STMTTRN", "STMTTRNP"})
# Only what has meaning here: anything else without a value may as well be an empty field.
_GROUPS = _STATEMENTS | _ANSWERS | _ENTRIES | {
    "STATUS", "BANKACCTFROM", "CCACCTFROM", "BANKACCTTO", "CCACCTTO", "BANKTRANLIST",
    "BANKTRANLISTP", "LEDGERBAL", "AVAILBAL", "PAYEE", "CURRENCY", "ORIGCURRENCY", "BAL",
    "BALLIST", "FI",
}  # fmt: skip


@dataclass(slots=True)
class _Group:
    """An element with elements in it. Those that begin an account or an entry keep the fields."""

    tag: str
    line: int
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Token:
    line: int
    tag: str
    value: str


def recognises(head: bytes) -> bool:
    return _START.search(beginning_of(head)) is not None


def read(file: Path, options: ReadOptions) -> Iterator[Record]:
    return _Reader(options).records(_tokens(file))


def _pieces(file: Path) -> Iterator[tuple[int, str]]:
    """The file cut before each `<`, with the line where a piece begins."""
    # Windows letters are what OFX 1 declares (CHARSET:1252), and where DOS's would be wrong.
    encoding = encoding_of(file)
    encoding = "cp1252" if encoding == "cp852" else encoding
    line, rest = 1, ""
    with file.open(encoding=encoding, errors="replace") as opened:
        while True:
            try:
                chunk = opened.read(_CHUNK)
            except UnicodeError as error:
                raise Unreadable(f"This is not text in {encoding}.", line=line) from error
            *whole, rest = (rest + chunk).split("<")
            if not chunk:
                whole.append(rest)
            for piece in whole:
                if len(piece) > _LONGEST:
                    raise Unreadable("A tag or its text goes on without end.", line=line)
                yield line, piece
                line += piece.count("\n")
            if not chunk:
                return
            if len(rest) > _LONGEST:
                raise Unreadable("A tag or its text goes on without end.", line=line)


def _tokens(file: Path) -> Iterator[_Token]:
    pieces = _pieces(file)
    next(pieces)  # what stands before the first tag: the header of OFX 1
    pending: _Token | None = None
    for line, piece in pieces:
        if piece.startswith("![CDATA["):
            text, after = _literal(piece[8:], pieces, line)
            if pending is not None:
                # Kept from being read as markup: it is text already.
                pending.value += text + html.unescape(after)
            continue
        if piece.startswith("!--"):
            _skip("-->", piece, pieces, line)
            continue
        if piece.startswith("!"):
            raise Unreadable(
                "The file declares a document type or entities. Statements have none, and such "
                "files are refused.",
                line=line,
            )
        tag, closed, value = piece.partition(">")
        if piece.startswith("?"):
            continue
        name = _NAME.match(tag)
        if not closed or name is None:
            # A `<` in the text of somebody who does not know that it has to be written &lt;.
            if pending is not None and not closed:
                pending.value += f"<{html.unescape(piece)}"
                continue
            raise Unreadable("The tag cannot be read.", line=line)
        if pending is not None:
            yield pending
        value = "" if tag.endswith("/") else html.unescape(value)
        pending = _Token(line, name[0].upper(), value)
    if pending is not None:
        yield pending


def _literal(piece: str, pieces: Iterator[tuple[int, str]], line: int) -> tuple[str, str]:
    """The text until `]]>`, and what follows it."""
    text = piece
    while "]]>" not in text:
        _, more = next(pieces, (line, None))
        if more is None or len(text) > _LONGEST:
            raise Unreadable("A CDATA section goes on without end.", line=line)
        text += f"<{more}"
    told, _, after = text.partition("]]>")
    return told, after


def _skip(end: str, piece: str, pieces: Iterator[tuple[int, str]], line: int) -> None:
    while end not in piece:
        _, more = next(pieces, (line, None))
        if more is None:
            raise Unreadable("A comment goes on without end.", line=line)
        piece = more


class _Reader:
    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._groups: list[_Group] = []
        self._statement: dict[str, str] = {}
        self._in_statement = False
        self._has_begun = False
        self._seen = False

    def records(self, tokens: Iterator[_Token]) -> Iterator[Record]:
        line = 1
        for token in tokens:
            line = token.line
            value = token.value.strip()
            if token.tag.startswith("/"):
                yield from self._close(token.tag[1:])
            elif token.tag in _GROUPS and not value:
                yield from self._open(token)
            elif self._groups:
                self._keep(token, value)
        yield from self._close_from(0)
        if not self._seen:
            raise Unreadable("There is no statement of an account in this file.", line=line)

    def _keep(self, token: _Token, value: str) -> None:
        group = self._groups[-1]
        if len(group.fields) >= _MOST_FIELDS:
            raise Unreadable(f"{group.tag} has too many fields.", line=token.line)
        if value:
            group.fields.setdefault(token.tag, value)

    def _open(self, token: _Token) -> Iterator[Record]:
        tags = [group.tag for group in self._groups]
        if token.tag in tags:
            # It was not closed.
            yield from self._close_from(tags.index(token.tag))
        if len(self._groups) >= _DEEPEST:
            raise Unreadable("The tags are nested too deeply.", line=token.line)
        if token.tag in _ENTRIES:
            yield from self._head()
        if token.tag in _STATEMENTS:
            self._statement, self._in_statement, self._has_begun = {}, True, False
            self._seen = True
        self._groups.append(_Group(token.tag, token.line))

    def _close(self, tag: str) -> Iterator[Record]:
        tags = [group.tag for group in self._groups]
        if tag in tags:
            yield from self._close_from(len(tags) - 1 - tags[::-1].index(tag))

    def _close_from(self, position: int) -> Iterator[Record]:
        while len(self._groups) > position:
            group = self._groups.pop()
            yield from self._finish(group)

    def _finish(self, group: _Group) -> Iterator[Record]:
        outer = self._groups[-1] if self._groups else None
        if group.tag == "STATUS":
            yield from _status(group)
        elif group.tag in _ENTRIES:
            yield from self._entry(group)
        elif group.tag in {"PAYEE", "CURRENCY", "ORIGCURRENCY", "BANKACCTTO", "CCACCTTO"}:
            if outer is not None:
                outer.fields |= {f"{group.tag}/{name}": to for name, to in group.fields.items()}
        elif group.tag in _STATEMENTS:
            self._statement |= group.fields
            yield from self._head()
            yield self._end(group.line)
            self._in_statement = False
        else:
            self._statement |= {
                f"{group.tag}/{name}": value for name, value in group.fields.items()
            }

    def _currency(self) -> str:
        for group in self._groups:
            if group.tag in _STATEMENTS and (currency := group.fields.get("CURDEF")):
                return currency
        return self._statement.get("CURDEF") or self._options.currency

    def _head(self) -> Iterator[Record]:
        if self._has_begun or not self._in_statement:
            return
        self._has_begun = True
        told = dict(self._statement)
        for group in self._groups:
            told |= {f"{group.tag}/{name}": value for name, value in group.fields.items()}
        account = told.get("BANKACCTFROM/ACCTID") or told.get("CCACCTFROM/ACCTID")
        yield StatementHead(
            account=account,
            currency=self._currency(),
            period_from=_day(told.get("BANKTRANLIST/DTSTART", "")),
            period_to=_day(told.get("BANKTRANLIST/DTEND", "")),
        )

    def _end(self, line: int) -> StatementEnd:
        balances = []
        for name in ("LEDGERBAL/BALAMT", "AVAILBAL/BALAMT"):
            text = self._statement.get(name)
            try:
                balances.append(None if text is None else _signed(text, self._currency())[0])
            except WrongAmount as error:
                raise Unreadable(f"The balance {name[:-7]}: {error}", line=line) from error
        # There is no opening balance in OFX.
        return StatementEnd(closing=balances[0], available=balances[1])

    def _entry(self, group: _Group) -> Iterator[Record]:
        told = group.fields
        raw = " ".join(f"{name}={value}" for name, value in told.items())[:_RAW]
        currency = told.get("CURRENCY/CURSYM") or self._currency()
        try:
            minor, rounded = _signed(told.get("TRNAMT", ""), currency)
            posted = told.get("DTPOSTED") or told.get("DTTRAN") or told.get("DTUSER") or ""
            day, clamped, moment = _date(posted)
        except ValueError as error:
            yield Rejected(line=group.line, message=str(error), raw=raw)
            return
        name = told.get("NAME") or told.get("PAYEE/NAME") or ""
        memo = told.get("MEMO", "")
        status = EntryStatus.PENDING if group.tag == "STMTTRNP" else EntryStatus.BOOKED
        yield Entry(
            line=group.line,
            booking_date=day,
            value_date=_day(told.get("DTAVAIL", "")),
            occurred_at=moment,
            direction=Direction.CREDIT if minor >= 0 else Direction.DEBIT,
            amount=Money(abs(minor), currency),
            status=status if minor else EntryStatus.INFO,
            kind=EntryKind.FEE if told.get("TRNTYPE") in {"FEE", "SRVCHG"} else EntryKind.OTHER,
            transaction_id=told.get("SRVRTID"),
            bank_reference=told.get("FITID"),
            customer_reference=told.get("CHECKNUM") or told.get("REFNUM"),
            counterparty=name or None,
            counterparty_account=told.get("BANKACCTTO/ACCTID") or told.get("CCACCTTO/ACCTID"),
            narration=memo if memo.startswith(name) else f"{name} {memo}".strip(),
            narration_parts=tuple(filter(None, (name, memo))),
            type_code=told.get("TRNTYPE"),
            raw=raw,
        )
        if clamped:
            yield Remark(
                code="IMPOSSIBLE_DATE",
                message="There is no such day; the last one of its month was taken.",
                line=group.line,
            )
        if rounded:
            yield Remark(
                code="TOO_MANY_DECIMALS",
                message=f"{told['TRNAMT'][:40]} has more decimals than {currency}; it was rounded.",
                line=group.line,
            )


def _status(group: _Group) -> Iterator[Record]:
    code = group.fields.get("CODE", "0")
    if code.strip("0") == "":
        return
    message = group.fields.get("MESSAGE", "no reason given")[:200]
    if group.fields.get("SEVERITY", "ERROR").upper() == "ERROR":
        raise Unreadable(f"The bank answered with error {code[:10]}: {message}.", line=group.line)
    yield Remark(
        code="BANK_SAYS", message=f"The bank says {code[:10]}: {message}.", line=group.line
    )


def _signed(text: str, currency: str) -> tuple[int, bool]:
    """`-34.51`, `+5`, `-34,51`. OFX has no marks between thousands."""
    sign = -1 if text.startswith("-") else 1
    amount = text[1:] if text[:1] in {"-", "+"} else text
    if "," not in amount:
        minor, rounded = with_point(amount, currency)
        return sign * minor, rounded
    if "." in amount:
        raise WrongAmount(f"It is unclear what the marks in {text[:40]!r} mean.")
    minor, rounded = with_comma(amount, currency)
    if rounded:
        # 1,234 francs: would it be a thousand, or one and a bit?
        raise WrongAmount(f"It is unclear what the comma in {text[:40]!r} means.")
    return sign * minor, False


def _date(text: str) -> tuple[date, bool, datetime | None]:
    """The day as it is written, whether it had to be moved, and the moment, where it is known."""
    found = _DATE.match(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a date.")
    year, month, day = (int(part) for part in found.groups()[:3])
    if not 1 <= month <= 12 or not 1 <= day <= 31 or year == 0:
        raise ValueError(f"There is no date {text[:8]}.")
    last = calendar.monthrange(year, month)[1]
    on = date(year, month, min(day, last))
    hour, minute, second, offset, part = found.groups()[3:]
    # Without a zone the hour is often made up: noon or midnight.
    if hour is None or offset is None or abs(int(offset)) > 14 or int(hour) > 23:
        return on, day > last, None
    if int(minute) > 59 or int(second) > 59:
        return on, day > last, None
    minutes = int((part or "0").ljust(2, "0")) * 60 // 100
    shift = timedelta(hours=int(offset), minutes=-minutes if offset.startswith("-") else minutes)
    moment = datetime(
        on.year, on.month, on.day, int(hour), int(minute), int(second), tzinfo=timezone(shift)
    )
    return on, day > last, moment


def _day(text: str) -> date | None:
    try:
        return _date(text)[0]
    except ValueError:
        return None


FORMAT = StatementFormat(
    name="ofx",
    title="OFX 1 and 2, QFX",
    recognises=recognises,
    read=read,
    media_types=("application/x-ofx", "application/vnd.intu.qfx"),
)
