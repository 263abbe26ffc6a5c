"""ISO 20022 camt.052, camt.053 and camt.054: what banks say about an account, as XML.

Read by the names of the elements, whatever their namespace or version. One entry at a time is in
memory. A file with a document type, and with it entities, is refused: no bank needs one.
"""

import calendar
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from sys import intern
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl
from zoneinfo import ZoneInfo

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

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
from dusangire_statements.amounts import WrongAmount, with_point
from dusangire_statements.charsets import beginning_of

__all__ = ["FORMAT"]

DEEPEST = 100
_CHUNK = 1 << 16
_LONGEST_TEXT = 10_000
_RAW = 2_000
_ROOTS = frozenset({"BkToCstmrStmt", "BkToCstmrAcctRpt", "BkToCstmrDbtCdtNtfctn"})
_STATEMENTS = frozenset({"Stmt", "Rpt", "Ntfctn"})
_ROOT = re.compile(r"<(?:[A-Za-z0-9_.-]{1,40}:)?BkToCstmr(?:Stmt|AcctRpt|DbtCdtNtfctn)[\s/>]")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_STATUSES = {
    "BOOK": EntryStatus.BOOKED,
    "PDNG": EntryStatus.PENDING,
    "FUTR": EntryStatus.PENDING,
    "INFO": EntryStatus.INFO,
}
_DIRECTIONS = {"CRDT": Direction.CREDIT, "DBIT": Direction.DEBIT}
_FEES = frozenset({"CHRG", "FEES", "COMM", "COMI", "COME", "COMT"})
_NOT_GIVEN = frozenset({"", "NOTPROVIDED", "NOT PROVIDED", "NONREF"})


@dataclass(slots=True)
class _Node:
    """One element, with what is in it."""

    tag: str
    line: int
    currency: str = ""
    text: str = ""
    children: Sequence["_Node"] = ()

    def add(self, child: "_Node") -> None:
        if not isinstance(self.children, list):
            self.children = []
        self.children.append(child)

    def all(self, *path: str) -> list["_Node"]:
        found = [self]
        for tag in path:
            found = [child for one in found for child in one.children if child.tag == tag]
        return found

    def get(self, *path: str) -> "_Node | None":
        found = self.all(*path)
        return found[0] if found else None

    def word(self, *path: str) -> str:
        """The text of the first element there; empty, when there is none or it says so."""
        found = self.get(*path)
        text = " ".join(found.text.split()) if found is not None else ""
        return "" if text.upper() in _NOT_GIVEN else text

    def first(self, *paths: str) -> str:
        """The first of several places that has a text; each `A/B/C`."""
        return next((word for path in paths if (word := self.word(*path.split("/")))), "")

    def leaves(self) -> Iterator["_Node"]:
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def flat(self) -> str:
        """The texts with their names, for a person to see what was in the file."""
        text = ""
        for leaf in self.leaves():
            text += f"{leaf.tag}={leaf.text.strip()} "
            if len(text) > _RAW:
                break
        return text.strip()[:_RAW]


def recognises(head: bytes) -> bool:
    return _ROOT.search(beginning_of(head)) is not None


def read(file: Path, options: ReadOptions) -> Iterator[Record]:
    parser = DefusedExpatParser(forbid_dtd=True)
    pieces = _Pieces(options, parser.getLineNumber)
    parser.setContentHandler(pieces)
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                parser.feed(chunk)
                yield from pieces.taken()
        parser.close()
    except SAXParseException as error:
        raise Unreadable(
            f"This is not well-formed XML: {error.getMessage()}.", line=error.getLineNumber()
        ) from error
    except DefusedXmlException as error:
        raise Unreadable(
            "The file declares a document type or entities. Statements have none, and such files "
            "are refused.",
            line=pieces.line,
        ) from error
    except (LookupError, UnicodeError, ValueError) as error:
        # What Python raises for an encoding that XML cannot be read in.
        raise Unreadable(f"The encoding cannot be read: {error}.", line=pieces.line) from error
    yield from pieces.taken()
    if not pieces.has_root:
        raise Unreadable("This XML is not a camt.052, camt.053 or camt.054 message.", line=1)


class _Pieces(ContentHandler):
    """Collects the pieces of a statement, one at a time, and has the reader take them."""

    def __init__(self, options: ReadOptions, line: Callable[[], int | None]) -> None:
        super().__init__()
        self._reader = _Reader(options)
        self._records: list[Record] = []
        self._path: list[str] = []
        self._piece: list[_Node] = []
        self._line = line
        self.has_root = False

    @property
    def line(self) -> int:
        return self._line() or 1

    def taken(self) -> list[Record]:
        records, self._records = self._records, []
        return records

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 - SAX's name
        if len(self._path) >= DEEPEST:
            raise Unreadable(f"The XML is nested deeper than {DEEPEST} levels.", line=self.line)
        # A batch of many thousand payments repeats few words.
        tag = intern(name.rpartition(":")[2])
        parent = self._path[-1] if self._path else ""
        self._path.append(tag)
        if self._piece or parent in _STATEMENTS or tag == "GrpHdr":
            node = _Node(tag, self.line, currency=intern(attrs.get("Ccy", "").strip()))
            if self._piece:
                self._piece[-1].add(node)
            self._piece.append(node)
        elif tag in _STATEMENTS and parent in _ROOTS:
            self._reader.begin(tag, self.line)
        elif tag in _ROOTS:
            self.has_root = True

    def characters(self, content: str) -> None:
        # Between elements there is nothing but line breaks.
        if self._piece and not self._piece[-1].children:
            node = self._piece[-1]
            if len(node.text) + len(content) > _LONGEST_TEXT:
                raise Unreadable(
                    f"The text of {node.tag} is longer than {_LONGEST_TEXT:,} characters.",
                    line=node.line,
                )
            node.text += content

    def endElement(self, name: str) -> None:  # noqa: N802
        tag = self._path.pop()
        if self._piece:
            node = self._piece.pop()
            if not self._piece:
                self._records.extend(self._reader.take(node))
        elif tag in _STATEMENTS and self._path and self._path[-1] in _ROOTS:
            self._records.extend(self._reader.finish())


class _Reader:
    """Makes records of the pieces."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._page = ""
        self._is_last_page = True
        self._kind = ""
        self._line = 1
        self._parts: list[_Node] = []
        self._has_begun = False

    def begin(self, kind: str, line: int) -> None:
        self._kind, self._line, self._parts, self._has_begun = kind, line, [], False

    def take(self, piece: _Node) -> Iterator[Record]:
        if piece.tag == "GrpHdr":
            self._page = piece.word("MsgPgntn", "PgNb")
            self._is_last_page = piece.word("MsgPgntn", "LastPgInd").lower() not in {"false", "0"}
        elif piece.tag == "Ntry":
            amount = piece.get("Amt")
            yield from self._head(amount.currency if amount is not None else "")
            yield from self._entries(piece)
        elif len(self._parts) < _LONGEST_TEXT:
            self._parts.append(piece)

    def finish(self) -> Iterator[Record]:
        yield from self._head()
        whole = self._whole()
        summary = whole.get("TxsSummry") or _Node("TxsSummry", self._line)
        count = summary.word("TtlNtries", "NbOfNtries")
        closing = _balance(whole, self._currency(whole), "CLBD")
        yield StatementEnd(
            opening=_balance(whole, self._currency(whole), "OPBD", "PRCD"),
            closing=closing,
            available=_balance(whole, self._currency(whole), "CLAV", "ITAV"),
            continued=not self._is_last_page or _is_page(whole, "CLBD"),
            entries=int(count) if re.fullmatch(r"[0-9]{1,9}", count) else None,
            total_credits=_total(summary.get("TtlCdtNtries", "Sum"), self._currency(whole)),
            total_debits=_total(summary.get("TtlDbtNtries", "Sum"), self._currency(whole)),
        )
        self._parts = []

    def _whole(self) -> _Node:
        return _Node(self._kind, self._line, children=self._parts)

    def _currency(self, whole: _Node, entry: str = "") -> str:
        balance = whole.get("Bal", "Amt")
        return (
            whole.word("Acct", "Ccy")
            or (balance.currency if balance is not None else "")
            or entry
            or self._options.currency
        )

    def _head(self, entry: str = "") -> Iterator[Record]:
        if self._has_begun:
            return
        self._has_begun = True
        whole = self._whole()
        page = whole.first("StmtPgntn/PgNb", "RptPgntn/PgNb", "NtfctnPgntn/PgNb") or self._page
        yield StatementHead(
            account=whole.first("Acct/Id/IBAN", "Acct/Id/Othr/Id", "Acct/Id/PrtryAcct/Id") or None,
            currency=self._currency(whole, entry),
            number=whole.first("ElctrncSeqNb", "LglSeqNb", "Id") or None,
            sequence=page or None,
            period_from=_day(whole.first("FrToDt/FrDtTm", "FrToDt/FrDt")),
            period_to=_day(whole.first("FrToDt/ToDtTm", "FrToDt/ToDt")),
            opening=_balance(whole, self._currency(whole), "OPBD", "PRCD"),
            continues=page not in {"", "1"} or _is_page(whole, "OPBD"),
        )
        if word := whole.word("CpyDplctInd"):
            yield Remark(
                code="COPY",
                message=f"The bank says that this is a copy or a duplicate ({word[:20]}).",
                line=self._line,
            )

    def _entries(self, node: _Node) -> Iterator[Record]:
        try:
            parent, remarks = self._parent(node)
            details = node.all("NtryDtls", "TxDtls")
            children, problem = self._children(parent, details)
        except ValueError as error:
            yield Rejected(line=node.line, message=str(error), raw=node.flat())
            return
        if len(details) == 1:
            yield _with_details(parent, node, details[0])
        elif children:
            yield from children
        else:
            count = _count(node.all("NtryDtls", "Btch", "NbOfTxs")) or len(details)
            yield replace(parent, batch_count=count if count > 1 else None)
        if problem:
            remarks.append(Remark(code="DETAILS_DO_NOT_ADD_UP", message=problem, line=node.line))
        yield from remarks

    def _parent(self, node: _Node) -> tuple[Entry, list[Remark]]:
        """The entry as one line, without what its details say. Raises ValueError."""
        amount = node.get("Amt")
        if amount is None:
            raise ValueError("The entry has no amount.")
        currency = amount.currency or self._currency(self._whole())
        minor, rounded = with_point(amount.text.strip(), currency)
        status = node.first("Sts/Cd", "Sts/Prtry", "Sts")
        booked, clamped = _date_of(node, "BookgDt")
        valued, also = _date_of(node, "ValDt")
        day = booked or valued
        if day is None:
            raise ValueError("The entry has no date.")
        remarks = []
        if clamped or also:
            remarks.append(
                Remark(
                    code="IMPOSSIBLE_DATE",
                    message="There is no such day; the last one of its month was taken.",
                    line=node.line,
                )
            )
        if rounded:
            remarks.append(
                Remark(
                    code="TOO_MANY_DECIMALS",
                    message=f"{amount.text.strip()} has more decimals than {currency}; "
                    "it was rounded.",
                    line=node.line,
                )
            )
        code = _type_code(node)
        entry = Entry(
            line=node.line,
            booking_date=day,
            value_date=valued,
            occurred_at=_moment(node.word("BookgDt", "DtTm"), self._options.timezone),
            direction=_direction(node),
            amount=Money(minor, currency),
            status=self._status(status) if minor else EntryStatus.INFO,
            kind=EntryKind.FEE if _FEES & set((code or "").split("/")) else EntryKind.OTHER,
            is_reversal=node.word("RvslInd").lower() in {"true", "1"},
            bank_reference=node.first("AcctSvcrRef", "NtryRef") or None,
            narration=node.word("AddtlNtryInf"),
            type_code=code,
            charges=_charges(node, currency),
            original_amount=_original(node, currency),
            raw=node.flat(),
        )
        return entry, remarks

    def _status(self, word: str) -> EntryStatus:
        """A word that is not known, or none outside of a statement of the day: it may happen."""
        if not word and self._kind == "Stmt":
            return EntryStatus.BOOKED
        return _STATUSES.get(word.upper(), EntryStatus.PENDING)

    def _children(self, parent: Entry, details: list[_Node]) -> tuple[list[Entry], str]:
        """An entry for each detail, if they sum up to the whole; else why they do not stand."""
        currency = parent.amount.currency
        children, total = [], 0
        for node in details:
            amount = node.get("Amt") or node.get("AmtDtls", "TxAmt", "Amt")
            if amount is None or (amount.currency or currency) != currency:
                if len(details) == 1:
                    return [], ""
                return [], "Not every payment of this entry has an amount; it was kept as one line."
            minor, rounded = with_point(amount.text.strip(), currency)
            way = _direction(node) if node.get("CdtDbtInd") is not None else parent.direction
            total += minor if way is parent.direction else -minor
            child = replace(
                parent,
                line=node.line,
                direction=way,
                amount=Money(minor, currency),
                status=parent.status if minor else EntryStatus.INFO,
                charges=None,
                original_amount=None,
                raw=node.flat(),
            )
            children.append(_with_details(child, node, node))
            if len(details) > 1:
                node.children = ()  # what is read needs no room any more
            if rounded:
                return [], "A payment of this entry has too many decimals; it was kept as one line."
        if total != parent.amount.minor and details:
            return [], "The payments of this entry do not sum up to it; it was kept as one line."
        return children, ""


def _with_details(entry: Entry, whole: _Node, node: _Node) -> Entry:
    """The entry with what the details of one payment say. whole: where its amounts stand."""
    parties, currency = node.get("RltdPties"), entry.amount.currency
    who = "Dbtr" if entry.direction is Direction.CREDIT else "Cdtr"
    name = account = ""
    if parties is not None:
        name = parties.first(
            f"Ultmt{who}/Nm", f"Ultmt{who}/Pty/Nm", f"{who}/Nm", f"{who}/Pty/Nm",
            f"{who}/Agt/FinInstnId/Nm",
        )  # fmt: skip
        account = parties.first(f"{who}Acct/Id/IBAN", f"{who}Acct/Id/Othr/Id")
    structured, parts = _remittance(node)
    returned = " ".join(
        filter(None, [node.word("RtrInf", "Rsn", "Cd"), node.word("RtrInf", "AddtlInf")])
    )
    told = " ".join(parts) or node.word("AddtlTxInf") or entry.narration
    return replace(
        entry,
        transaction_id=node.first("Refs/TxId", "Refs/UETR") or None,
        bank_reference=node.word("Refs", "AcctSvcrRef") or entry.bank_reference,
        customer_reference=node.first("Refs/InstrId", "Refs/ChqNb", "Refs/PmtInfId") or None,
        end_to_end_id=node.word("Refs", "EndToEndId") or None,
        structured_reference=structured or None,
        counterparty=name or None,
        counterparty_account=account or None,
        narration=f"{told} {returned}".strip(),
        narration_parts=tuple(parts),
        type_code=_type_code(node) or entry.type_code,
        charges=_charges(node, currency) or _charges(whole, currency),
        original_amount=_original(node, currency) or _original(whole, currency),
    )


def _remittance(node: _Node) -> tuple[str, list[str]]:
    """The structured reference, and the texts in the order of the file."""
    reference = ""
    parts = [" ".join(text.text.split()) for text in node.all("RmtInf", "Ustrd")]
    for one in node.all("RmtInf", "Strd"):
        found = one.first("CdtrRefInf/Ref", "CdtrRefInf/CdtrRef", "CdtrRef")
        reference, other = (reference, found) if reference else (found, "")
        parts += [other, one.word("RfrdDocInf", "Nb")]
        parts += [" ".join(text.text.split()) for text in one.all("AddtlRmtInf")]
    return reference, [part for part in parts if part]


def _direction(node: _Node) -> Direction:
    word = node.word("CdtDbtInd").upper()
    if word not in _DIRECTIONS:
        raise ValueError(f"{word[:20]!r} is neither CRDT nor DBIT.")
    return _DIRECTIONS[word]


def _type_code(node: _Node) -> str | None:
    code = node.get("BkTxCd")
    if code is None:
        return None
    path = [
        code.word("Domn", "Cd"),
        code.word("Domn", "Fmly", "Cd"),
        code.word("Domn", "Fmly", "SubFmlyCd"),
    ]
    return "/".join(filter(None, path)) or code.word("Prtry", "Cd") or None


def _count(nodes: list[_Node]) -> int:
    return sum(int(node.text) for node in nodes if re.fullmatch(r"[0-9]{1,9}", node.text.strip()))


def _charges(node: _Node, currency: str) -> Money | None:
    """What a bank adds of its own free will: where it cannot be read, it is not there."""
    charges = node.get("Chrgs")
    if charges is None:
        return None
    total = charges.get("TtlChrgsAndTaxAmt") or charges.get("Amt")
    amounts = [total] if total is not None else charges.all("Rcrd", "Amt")
    minor = 0
    for amount in amounts:
        read = _money(amount, currency)
        if read is None or read.currency != currency:
            return None
        minor += read.minor
    return Money(minor, currency) if minor else None


def _original(node: _Node, currency: str) -> Money | None:
    """What was instructed, in another currency than the account's."""
    for path in ("InstdAmt", "TxAmt"):
        amount = node.get("AmtDtls", path, "Amt")
        read = _money(amount, currency) if amount is not None else None
        if read is not None and read.currency != currency:
            return read
    return None


def _money(node: _Node, currency: str) -> Money | None:
    try:
        minor, _ = with_point(node.text.strip(), node.currency or currency)
    except WrongAmount:
        return None
    return Money(minor, node.currency or currency)


def _balance_nodes(whole: _Node, code: str) -> list[_Node]:
    return [one for one in whole.all("Bal") if one.word("Tp", "CdOrPrtry", "Cd") == code]


def _balance(whole: _Node, currency: str, *codes: str) -> int | None:
    """Raises Unreadable: a statement with a broken balance is a broken file."""
    for code in codes:
        for node in _balance_nodes(whole, code):
            amount = node.get("Amt")
            try:
                if amount is None:
                    raise WrongAmount("it has no amount.")
                minor, rounded = with_point(amount.text.strip(), amount.currency or currency)
                if rounded:
                    raise WrongAmount("it has more decimals than its currency.")
                return minor if _direction(node) is Direction.CREDIT else -minor
            except ValueError as error:
                raise Unreadable(f"The balance {code}: {error}", line=node.line) from error
    return None


def _is_page(whole: _Node, code: str) -> bool:
    return any(one.word("Tp", "SubTp", "Cd") == "INTM" for one in _balance_nodes(whole, code))


def _total(node: _Node | None, currency: str) -> int | None:
    if node is None:
        return None
    try:
        return with_point(node.text.strip(), currency)[0]
    except WrongAmount as error:
        raise Unreadable(f"The total: {error}", line=node.line) from error


def _date_of(node: _Node, tag: str) -> tuple[date | None, bool]:
    """The day as the bank wrote it. Some write a time into `Dt` too. Raises ValueError."""
    text = node.first(f"{tag}/Dt", f"{tag}/DtTm")
    if not text:
        return None, False
    found = _DATE.match(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a date.")
    year, month, day = (int(part) for part in found.groups())
    if not 1 <= month <= 12 or not 1 <= day <= 31 or year == 0:
        raise ValueError(f"There is no date {text[:10]}.")
    last = calendar.monthrange(year, month)[1]
    return date(year, month, min(day, last)), day > last


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _moment(text: str, zone: str) -> datetime | None:
    """Midnight is how a day is written where a moment is asked for."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.time() == time(0):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo(zone))


FORMAT = StatementFormat(
    name="camt",
    title="ISO 20022 camt.052, camt.053, camt.054",
    recognises=recognises,
    read=read,
    media_types=("application/xml", "text/xml"),
)
