"""What statement formats are given and what they give back.

A bank, a wallet operator or a gateway writes down what it did with the merchant's money; the file
comes in a format. An author of a format, or of a mapping profile for tables, needs this module and
`hookspecs`, nothing else. Amounts are minor units.

A format reads a file as a stream of records: one `StatementHead`, its `Entry`s, one `StatementEnd`,
then perhaps the next head; `Remark` and `Rejected` anywhere. It runs in a process of its own with
little memory and little time, and knows neither the database nor the network.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from dusangire.money import Money

__all__ = [
    "AccountKind",
    "Direction",
    "Entry",
    "EntryKind",
    "EntryStatus",
    "MappingProfile",
    "Preview",
    "ReadOptions",
    "Record",
    "Rejected",
    "Remark",
    "StatementEnd",
    "StatementFormat",
    "StatementFormats",
    "StatementHead",
    "Unreadable",
]


class AccountKind(StrEnum):
    """What a statement tells of.

    BANK: an account at a bank. WALLET: the merchant's own wallet at an operator: what payers paid
    is in it at once. SETTLEMENT: a provider's report of what it will pay out, payment by payment:
    the money itself arrives at a bank, as one sum.
    """

    BANK = "BANK"
    WALLET = "WALLET"
    SETTLEMENT = "SETTLEMENT"


class Direction(StrEnum):
    """Which way the money went, seen from the merchant."""

    CREDIT = "CREDIT"
    DEBIT = "DEBIT"


class EntryStatus(StrEnum):
    """BOOKED: it happened. PENDING: it may. INFO: nothing moved, such as a line of zero."""

    BOOKED = "BOOKED"
    PENDING = "PENDING"
    INFO = "INFO"


class EntryKind(StrEnum):
    """What an entry is, as far as the file says.

    PAYMENT: of a payer. REFUND: back to one. FEE: of the bank or provider, on its own line.
    PAYOUT: the provider's transfer to the merchant's bank, or the wallet emptied to it.
    CHARGEBACK: a payer's bank took it back. FAILED: the provider says it did not happen.
    OTHER: the file does not say.
    """

    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    FEE = "FEE"
    PAYOUT = "PAYOUT"
    CHARGEBACK = "CHARGEBACK"
    FAILED = "FAILED"
    OTHER = "OTHER"


class Unreadable(Exception):
    """The file cannot be read any further; nothing of it is kept.

    line: where, counted from 1 as an editor or a spreadsheet does.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementHead:
    """The beginning of a statement.

    account: its number, as the file has it. opening: minor units, negative when overdrawn.
    continues: of a page, whether it goes on where the page before it ended.
    """

    account: str | None = None
    currency: str | None = None
    number: str | None = None
    sequence: str | None = None
    period_from: date | None = None
    period_to: date | None = None
    opening: int | None = None
    continues: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a statement.

    line: where it stands in the file, counted from 1.
    amount: what the account's balance moved by, more than zero (zero in INFO). Of a settlement
        report, what is paid out for it: the net.
    gross, fee: what the payer paid, and what the provider kept of it, where the file says so.
    occurred_at: the moment, where the file has one; without an offset in it, the profile's zone.
    is_reversal: it takes back another entry; `direction` already says which way the money went.
    transaction_id: the provider's own, equal to what its API gave.
    our_reference: what we sent along: an external id, a transaction reference.
    bank_reference: the bank's, often shared by a transfer and its fee.
    customer_reference, end_to_end_id, structured_reference: what the payer's side sent along.
    settlement: names the payout that this entry is a part of.
    charges: what the bank says it kept of this transfer, where it does.
    """

    line: int
    booking_date: date
    direction: Direction
    amount: Money
    status: EntryStatus = EntryStatus.BOOKED
    kind: EntryKind = EntryKind.OTHER
    value_date: date | None = None
    occurred_at: datetime | None = None
    gross: Money | None = None
    fee: Money | None = None
    charges: Money | None = None
    is_reversal: bool = False
    transaction_id: str | None = None
    our_reference: str | None = None
    bank_reference: str | None = None
    customer_reference: str | None = None
    end_to_end_id: str | None = None
    structured_reference: str | None = None
    settlement: str | None = None
    counterparty: str | None = None
    counterparty_account: str | None = None
    narration: str = ""
    narration_parts: tuple[str, ...] = ()
    type_code: str | None = None
    running_balance: int | None = None
    original_amount: Money | None = None
    batch_count: int | None = None
    raw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementEnd:
    """The end of a statement, and what it says of itself.

    closing: minor units, negative when overdrawn. continued: another page follows.
    total_*: what the file declares, to be compared with its entries.
    """

    closing: int | None = None
    available: int | None = None
    continued: bool = False
    total_credits: int | None = None
    total_debits: int | None = None
    entries: int | None = None
    period_from: date | None = None
    period_to: date | None = None
    opening: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something a person should know; reading goes on. code: such as IMPOSSIBLE_DATE."""

    code: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One line that could not be read: the others are kept, and a person corrects this one."""

    line: int
    message: str
    raw: str = ""


Record: TypeAlias = StatementHead | Entry | StatementEnd | Remark | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingProfile:
    """How the columns of somebody's CSV or XLSX are to be read, as data.

    mapping: see docs/guides/map-the-columns-of-your-bank.md for its keys.
    verified: tried with real files.
    """

    code: str
    name: str
    mapping: Mapping[str, object]
    verified: bool = False

    @classmethod
    def read(cls, file: Path) -> "MappingProfile":
        """From a TOML file named after its code, with `name`, `verified` and the mapping."""
        mapping = tomllib.loads(file.read_text(encoding="utf-8"))
        name, verified = mapping.pop("name"), mapping.pop("verified", False)
        return cls(code=file.stem, name=name, verified=verified, mapping=mapping)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a format may need to know.

    currency: of the account; what a file without a currency is in. file_name: as it was uploaded,
    for its ending only. profile: the one that was asked for; profiles: all there are.
    timezone: of moments that have none. today: the merchant's date.
    """

    currency: str
    today: date
    file_name: str = ""
    profile: MappingProfile | None = None
    profiles: tuple[MappingProfile, ...] = ()
    timezone: str = "Africa/Kigali"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The beginning of a table and how it would be read, for a person to correct.

    rows: the first rows, as text; first_line: where the first of them stands in the file.
    header_line: where the names of the columns were found.
    profile: the code of the one that fits; None: `mapping` was made from the names alone.
    why: in words, how that was decided. problem: why it cannot be read like that, if it cannot.
    unknown_columns: names that the mapping makes no use of. sheets: of a workbook.
    """

    rows: tuple[tuple[str, ...], ...]
    first_line: int = 1
    header_line: int | None = None
    profile: str | None = None
    why: str = ""
    mapping: Mapping[str, object] = field(default_factory=dict)
    unknown_columns: tuple[str, ...] = ()
    sheets: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFormat:
    """One file format.

    name: for ever, such as `mt940`. recognises: takes the first 64 KiB of a file.
    read: gives the records of a file, in order. Raises Unreadable.
    preview: of a table: shows its beginning. Raises Unreadable when there is no table at all.
    """

    name: str
    title: str
    recognises: Callable[[bytes], bool]
    read: Callable[[Path, ReadOptions], Iterator[Record]]
    preview: Callable[[Path, ReadOptions], Preview] | None = None
    uses_profiles: bool = False
    media_types: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFormats:
    """What all plugins together can read: formats by name, mapping profiles by code.

    modules: those that give a format, for another process to import; profiles are data.
    """

    formats: Mapping[str, StatementFormat]
    profiles: Mapping[str, MappingProfile]
    modules: Sequence[str] = ()
