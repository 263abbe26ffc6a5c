"""Entries of a file as the lines that are stored: cleaned, named, and told apart.

A line is known again by what the bank says of it, wherever it stands and in whichever export. Two
lines that are equal in all of it are two payments if one file has both: they are counted.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any
from uuid import UUID

from dusangire.importing.accounts import StatementAccount
from dusangire.importing.sandbox import Refused
from dusangire.masking import hide_cards
from dusangire.money import MAX_MINOR, Money
from dusangire.reconciliation.references import normalised, references_of
from dusangire.statements import Entry, EntryKind, EntryStatus
from dusangire.text import printable

_FIRST_DAY, _LAST_DAY = date(1990, 1, 1), date(2100, 1, 1)
_REFERENCE, _NAME, _NARRATION, _SOURCE = 140, 200, 2_000, 2_000
_REFERENCES = (
    "transaction_id",
    "our_reference",
    "bank_reference",
    "customer_reference",
    "end_to_end_id",
    "structured_reference",
    "settlement",
)


@dataclass(slots=True)
class Lines:
    """Makes the lines of one file, in its order."""

    account: StatementAccount
    import_id: UUID
    seen: Counter[bytes] = field(default_factory=Counter)

    def line(self, entry: Entry, statement_id: UUID, number: int) -> dict[str, Any]:
        """A row of statement_line, and under `refs` its rows of line_ref. Raises Refused."""
        self._check(entry)
        fingerprint = _fingerprint(self.account.id, entry)
        occurrence = self.seen[fingerprint]
        self.seen[fingerprint] += 1
        clean = cleaned(entry)
        booked = clean.status is EntryStatus.BOOKED
        return {
            # The same line of the same account has the same id, whichever import brings it.
            "id": _line_id(fingerprint, occurrence),
            "statement_id": statement_id,
            "number": number,
            # Nobody has to explain what did not move any money.
            "status": "OPEN" if booked else "IGNORED",
            "entry_status": clean.status,
            "kind": clean.kind,
            "direction": clean.direction,
            "amount": clean.amount.minor,
            "currency": clean.amount.currency,
            "gross": clean.gross and clean.gross.minor,
            "fee": clean.fee and clean.fee.minor,
            "charges": clean.charges and clean.charges.minor,
            "booking_date": clean.booking_date,
            "value_date": clean.value_date,
            "occurred_at": clean.occurred_at,
            "is_reversal": clean.is_reversal,
            **{name: getattr(clean, name) for name in _REFERENCES},
            "counterparty": clean.counterparty,
            "counterparty_account": clean.counterparty_account,
            "narration": clean.narration,
            "type_code": clean.type_code,
            "running_balance": clean.running_balance,
            "original_amount": clean.original_amount and clean.original_amount.minor,
            "original_currency": clean.original_amount and clean.original_amount.currency,
            "batch_count": clean.batch_count,
            "source": clean.raw,
            "fingerprint": fingerprint.hex(),
            "occurrence": occurrence,
            # What failed with the provider names the payment that we may call paid.
            "refs": references_of(clean, self.account.number)
            if booked or clean.kind is EntryKind.FAILED
            else [],
        }

    def _check(self, entry: Entry) -> None:
        currency = self.account.currency
        amounts = (entry.amount, entry.gross, entry.fee, entry.charges, entry.original_amount)
        least = 1 if entry.status is EntryStatus.BOOKED else 0
        if entry.amount.minor < least or any(_is_too_much(amount) for amount in amounts):
            raise Refused("INVALID", "This is no amount that a statement can hold.", entry.line)
        if abs(entry.running_balance or 0) > MAX_MINOR:
            raise Refused("INVALID", "This is no balance that an account can have.", entry.line)
        for amount in (entry.gross, entry.fee, entry.charges):
            if amount is not None and amount.currency not in {currency, entry.amount.currency}:
                raise Refused(
                    "INVALID",
                    f"A part of this line is in {amount.currency[:3]}, not {currency}.",
                    entry.line,
                )
        for day in (entry.booking_date, entry.value_date):
            if day is not None and not _FIRST_DAY <= day < _LAST_DAY:
                raise Refused("INVALID", f"{day} is no day of a statement.", entry.line)


def _is_too_much(amount: Money | None) -> bool:
    return amount is not None and not -MAX_MINOR <= amount.minor <= MAX_MINOR


def cleaned(entry: Entry) -> Entry:
    """As it is stored: printable, bounded, without card numbers."""
    references: dict[str, Any] = {
        name: _text(getattr(entry, name), _REFERENCE) for name in _REFERENCES
    }
    return replace(
        entry,
        **references,
        counterparty=_text(entry.counterparty, _NAME),
        counterparty_account=_text(entry.counterparty_account, _REFERENCE),
        narration=_text(entry.narration, _NARRATION) or "",
        narration_parts=tuple(_text(part, _NARRATION) or "" for part in entry.narration_parts[:40]),
        type_code=_text(entry.type_code, 20),
        raw=_text(entry.raw, _SOURCE) or "",
    )


def _text(text: str | None, limit: int) -> str | None:
    if not text:
        return None
    plain = text if text.isascii() and text.isprintable() else printable(text)
    # Most texts hold too few digits for a card.
    if sum(map(str.isdigit, plain)) >= 13:
        plain = hide_cards(plain[: 4 * limit])
    return plain[:limit].strip() or None


def _fingerprint(account_id: UUID, entry: Entry) -> bytes:
    """What makes a line this one. Where it stands in a file, and the balance beside it, do not.

    A payment that is announced and one that is booked are two. The ids that a provider gives are
    part of it: two exports may each have one half of a day, with equal amounts in both.
    """
    parts = (
        account_id,
        entry.booking_date,
        entry.value_date,
        entry.direction,
        entry.amount.minor,
        entry.amount.currency,
        entry.status,
        entry.transaction_id,
        entry.our_reference,
        entry.bank_reference,
        entry.customer_reference,
        entry.end_to_end_id,
        entry.kind if entry.transaction_id else None,
        None if entry.transaction_id else entry.occurred_at,
        normalised(entry.narration[: 2 * _NARRATION]),
    )
    text = "\x1f".join("" if part is None else str(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _line_id(fingerprint: bytes, occurrence: int) -> UUID:
    digest = hashlib.sha256(fingerprint + occurrence.to_bytes(4, "big")).digest()
    return UUID(bytes=digest[:16], version=4)
