"""Reading payments: one, many by filter, and what belongs to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from dusangire.access import Actor
from dusangire.core import Core
from dusangire.cursors import make_cursor, read_cursor, read_position
from dusangire.database import Row, fetch
from dusangire.errors import Invalid, InvalidPhone, NotFound
from dusangire.gateway import FailureCode
from dusangire.lifecycle import PaymentStatus
from dusangire.money import exponent
from dusangire.permissions import Permission
from dusangire.phone import parse_phone
from dusangire.records import Customer, Payment, PaymentAttempt, PaymentTransaction
from dusangire.text import printable

T = TypeVar("T")

MAX_PAGE = 100


class PaymentOrder(StrEnum):
    CREATED_DESC = "CREATED_DESC"
    CREATED_ASC = "CREATED_ASC"
    AMOUNT_DESC = "AMOUNT_DESC"
    AMOUNT_ASC = "AMOUNT_ASC"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter:
    """Everything given must hold. Amounts are in major units of `currency` (RWF if left out)."""

    status: Sequence[PaymentStatus] | None = None
    gateway: Sequence[str] | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    amount_min: Decimal | None = None
    amount_max: Decimal | None = None
    currency: str | None = None
    phone: str | None = None
    customer: str | None = None
    order_reference: str | None = None
    failure_code: Sequence[FailureCode] | None = None
    reconciliation_status: Sequence[str] | None = None
    needs_attention: bool | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list, a cursor for each item, and whether there is more behind."""

    items: list[T]
    cursors: list[str]
    has_next: bool


PAYMENT = "SELECT * FROM payment WHERE id = $1"
_PAYMENT_BY_REFERENCE = "SELECT * FROM payment WHERE reference = $1"


async def payment(
    core: Core,
    actor: Actor,
    *,
    id: UUID | None = None,
    reference: str | None = None,
) -> Payment | None:
    """A payment by id or by its reference; None when there is none or the actor may not see it."""
    if id is not None:
        rows = await fetch(PAYMENT, id) if actor.may_see(id) else []
    elif reference is not None and printable(reference) == reference:
        rows = await fetch(_PAYMENT_BY_REFERENCE, reference.strip().upper())
    else:
        rows = []
    if not rows or not actor.may_see(rows[0]["id"]):
        return None
    return Payment.of(rows[0])


async def payments(
    core: Core,
    actor: Actor,
    wanted: PaymentFilter,
    order: PaymentOrder = PaymentOrder.CREATED_DESC,
    first: int = 25,
    after: str | None = None,
) -> Page[Payment]:
    """A page of payments. Raises Forbidden; Invalid for a page size or cursor that is not ours."""
    actor.require(Permission.READ_PAYMENTS)
    column = "amount" if order.startswith("AMOUNT") else "created_at"
    descending = order.endswith("DESC")
    where = _Where()
    _narrow(where, wanted)
    if after is not None:
        _after(where, after, column, descending)
    way = "DESC" if descending else "ASC"
    rows = await fetch(
        f"SELECT payment.* FROM payment {where.text} "
        f"ORDER BY {column} {way}, id {way} LIMIT {_page(first) + 1}",
        *where.values,
    )
    return _page_of(rows, first, Payment.of, lambda row: [_plain(row[column]), row["id"].hex])


async def count_payments(core: Core, actor: Actor, wanted: PaymentFilter) -> int:
    """How many payments the filter lets through. Raises Forbidden."""
    actor.require(Permission.READ_PAYMENTS)
    where = _Where()
    _narrow(where, wanted)
    [row] = await fetch(f"SELECT count(*) AS n FROM payment {where.text}", *where.values)
    return int(row["n"])


async def attempts(payment_ids: Sequence[UUID]) -> dict[UUID, list[PaymentAttempt]]:
    """The attempts of each payment, in their order."""
    found: dict[UUID, list[PaymentAttempt]] = {payment_id: [] for payment_id in payment_ids}
    for row in await fetch(
        "SELECT * FROM payment_attempt WHERE payment_id = ANY($1) ORDER BY payment_id, number",
        list(payment_ids),
    ):
        found[row["payment_id"]].append(PaymentAttempt.of(row))
    return found


async def payments_by_id(ids: Sequence[UUID]) -> dict[UUID, Payment]:
    rows = await fetch("SELECT * FROM payment WHERE id = ANY($1)", list(ids))
    return {row["id"]: Payment.of(row) for row in rows}


async def customers(ids: Sequence[UUID]) -> dict[UUID, Customer]:
    rows = await fetch("SELECT * FROM customer WHERE id = ANY($1)", list(ids))
    return {row["id"]: Customer.of(row) for row in rows}


async def transactions(
    core: Core, actor: Actor, payment_id: UUID, first: int = 50, after: str | None = None
) -> Page[PaymentTransaction]:
    """Every exchange with a gateway about a payment, oldest first.

    Raises NotFound for a payer: how the merchant talks to a gateway is not theirs to read.
    """
    if not actor.may(Permission.READ_EXCHANGES):
        raise NotFound
    start = read_position(after) if after is not None else 0
    rows = await fetch(
        "SELECT * FROM payment_transaction WHERE payment_id = $1 AND id > $2 "
        f"ORDER BY id LIMIT {_page(first) + 1}",
        payment_id,
        start,
    )
    return _page_of(rows, first, PaymentTransaction.of, lambda row: [row["id"]])


# ── narrowing ────────────────────────────────────────────────────────────────────────────────────


class _Where:
    """Conditions with numbered parameters: nothing from outside becomes part of a statement."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        for value in values:
            self.values.append(value)
            condition = condition.replace("?", f"${len(self.values)}", 1)
        self.conditions.append(condition)

    @property
    def text(self) -> str:
        return f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""


def _narrow(where: _Where, wanted: PaymentFilter) -> None:
    for column, values in (
        ("status", wanted.status),
        ("failure_code", wanted.failure_code),
        ("reconciliation_status", wanted.reconciliation_status),
    ):
        if values is not None:
            where.add(f"{column} = ANY(?::text[])", [str(value) for value in values])
    if wanted.gateway is not None:
        where.add(
            "gateway_id IN (SELECT id FROM gateway_account WHERE code = ANY(?::text[]))",
            [_text(code, "gateway") for code in wanted.gateway],
        )
    if wanted.created_from is not None:
        where.add("created_at >= ?", _moment(wanted.created_from, "createdFrom"))
    if wanted.created_to is not None:
        where.add("created_at < ?", _moment(wanted.created_to, "createdTo"))
    _narrow_amount(where, wanted)
    if wanted.phone is not None:
        phone = _phone(wanted.phone)
        where.add(
            "(id IN (SELECT payment_id FROM payment_attempt WHERE phone = ?) "
            "OR customer_id IN (SELECT id FROM customer WHERE phone = ?))",
            phone,
            phone,
        )
    if wanted.customer is not None:
        where.add(
            "customer_id IN (SELECT id FROM customer WHERE reference = ?)",
            _text(wanted.customer, "customer"),
        )
    if wanted.order_reference is not None:
        where.add("order_reference = ?", _text(wanted.order_reference, "orderReference"))
    if wanted.needs_attention is not None:
        where.add(f"needs_attention {'<>' if wanted.needs_attention else '='} '[]'")
    for word in _text(wanted.search or "", "search").split()[:8]:
        where.add("search ILIKE ?", f"%{_literal(word)}%")


def _narrow_amount(where: _Where, wanted: PaymentFilter) -> None:
    currency = wanted.currency
    if currency is not None:
        where.add("currency = ?", _text(currency, "currency"))
    for amount, comparison, name in (
        (wanted.amount_min, ">=", "amountMin"),
        (wanted.amount_max, "<=", "amountMax"),
    ):
        if amount is not None:
            where.add(f"amount {comparison} ?", _minor(amount, currency or "RWF", name))


def _minor(amount: Decimal | str | int, currency: str, name: str) -> int:
    try:
        minor = Decimal(amount).scaleb(exponent(currency))
        return int(max(Decimal(-1), min(minor, Decimal(2**62))))
    except (ArithmeticError, ValueError) as error:
        raise Invalid("This is not an amount.", field=["filter", name]) from error


def _moment(moment: datetime, name: str) -> datetime:
    if moment.tzinfo is None:
        raise Invalid("A time needs an offset, such as Z or +02:00.", field=["filter", name])
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise Invalid("This is outside all time.", field=["filter", name]) from error


def _phone(text: str) -> str:
    try:
        return parse_phone(text)
    except InvalidPhone as error:
        raise InvalidPhone(field=["filter", "phone"]) from error


def _text(text: str, name: str) -> str:
    if len(text) > 255 or printable(text) != text:
        raise Invalid(f"{name} is not text that anything has.", field=["filter", name])
    return text


def _literal(word: str) -> str:
    return word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


# ── pages ────────────────────────────────────────────────────────────────────────────────────────


def _page(first: int) -> int:
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    return first


def _page_of(
    rows: list[Row], first: int, make: Callable[[Row], T], key: Callable[[Row], list[Any]]
) -> Page[T]:
    shown = rows[:first]
    return Page(
        items=[make(row) for row in shown],
        cursors=[make_cursor(key(row)) for row in shown],
        has_next=len(rows) > first,
    )


def _after(where: _Where, after: str, column: str, descending: bool) -> None:
    value, hex_id = read_cursor(after, 2)
    try:
        mark: datetime | int
        if column == "created_at":
            mark = datetime.fromisoformat(value).astimezone(UTC)
        else:
            mark = max(-1, min(int(value), 2**62))
        where.add(f"({column}, id) {'<' if descending else '>'} (?, ?)", mark, UUID(hex=hex_id))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Invalid("This cursor is not one of ours.", field=["after"]) from error


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


__all__ = [
    "Page",
    "PaymentFilter",
    "PaymentOrder",
    "attempts",
    "count_payments",
    "customers",
    "payment",
    "payments",
    "payments_by_id",
    "transactions",
]
