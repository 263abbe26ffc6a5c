"""What a month knows of itself: payments, refunds, lines of statements, and the faults in them.

Items are called by their names: a payment by its reference, a refund by its own, a payout by what
the provider calls it. A line knows the names of what it is about, whatever is printed on it.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo

KIGALI = ZoneInfo("Africa/Kigali")


def id_of(name: str) -> UUID:
    """The same id for the same name, in each run."""
    return uuid5(NAMESPACE_URL, f"truth:{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """A payment with its one attempt.

    name: its reference. at: when it was captured, or when it was asked for. status: of the payment
    and of its attempt. second: the gateway's id of a second attempt that captured it once more.
    """

    name: str
    gateway: str
    amount: int
    at: datetime
    currency: str = "RWF"
    status: str = "SUCCEEDED"
    transaction: str | None = None
    fee: int | None = None
    phone: str | None = None
    payer: str | None = None
    order: str | None = None
    second: str | None = None
    refunded: int = 0

    @property
    def id(self) -> UUID:
        return id_of(self.name)

    @property
    def attempt(self) -> str:
        """What was sent along to the gateway."""
        return str(id_of(f"sent along with {self.name}"))

    @property
    def again(self) -> str:
        """What was sent along with the second attempt."""
        return str(id_of(f"sent along again with {self.name}"))

    @property
    def body(self) -> str:
        """As banks print it: the reference without its dash."""
        return self.name.replace("-", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """Money given back."""

    name: str
    of: Paid
    amount: int
    at: datetime
    transaction: str | None = None

    @property
    def id(self) -> UUID:
        return id_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a statement. amount: more than zero when money came in; net of fees.

    mark: the bank's or provider's own number of it. truth: what it is about. sure: a reference of
    ours survived on it, so that a machine has to find what it is about.
    """

    day: date
    amount: int
    mark: str
    note: str = ""
    at: datetime | None = None
    gross: int | None = None
    fee: int | None = None
    ours: str | None = None
    settlement: str | None = None
    payer: str | None = None
    payer_account: str | None = None
    word: str = "PAYMENT"
    status: str = "SUCCESSFUL"
    reversal: bool = False
    truth: frozenset[str] = frozenset()
    sure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is wrong: what it was called when it was put in, and the class it belongs to.

    kind: None when nothing may be said of it. payment: the reference of the one it is about; mark:
    the line's.
    """

    name: str
    kind: str | None
    account: str
    payment: str | None = None
    mark: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of an account, with its lines in their order."""

    account: str
    name: str
    content: bytes
    lines: tuple[Line, ...]


@dataclass(slots=True, kw_only=True)
class Month:
    """All of it."""

    begin: date
    end: date
    payments: list[Paid] = field(default_factory=list)
    refunds: list[Refunded] = field(default_factory=list)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    # Money that left or came between two statements, in a file that nobody has.
    unseen: int = 0
