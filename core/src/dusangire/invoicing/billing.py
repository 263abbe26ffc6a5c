"""What an invoice is made of before it is one: lines that add up, and whom it is made out to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID, uuid4

import orjson

from dusangire.core import Core
from dusangire.database import fetch
from dusangire.errors import CallerError, CurrencyNotSupported, Invalid, InvalidAmount
from dusangire.invoicing.vat import REGISTERED, UNREGISTERED, tax_of
from dusangire.languages import in_language
from dusangire.money import MAX_MINOR, Money
from dusangire.records import InvoiceKind
from dusangire.text import clean, clean_optional

MAX_LINES = 200
SERIES: Mapping[InvoiceKind, str] = {InvoiceKind.INVOICE: "INV", InvoiceKind.CREDIT_NOTE: "CN"}
_PAYMENT = {"en": "Payment {}", "fr": "Paiement {}", "rw": "Kwishyura {}"}
# Thousandths, as scales show them.
_FINEST, _MOST = Decimal("0.001"), Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineInput:
    """What is sold. unit_price: with tax, in major units, as the caller wrote it.

    tax_class: A, B, C or D; left out, B for a merchant who is registered for VAT, otherwise D.
    item_code: the merchant's own, or the one that fiscal receipts name.
    """

    description: str
    unit_price: Decimal | int | str
    currency: str
    quantity: Decimal | int | str = 1
    tax_class: str | None = None
    item_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerInput:
    """Whom an invoice is made out to, where that is more than the customer of the payment.

    purchase_code: the six characters with which a business may deduct what it bought.
    """

    name: str | None = None
    tax_id: str | None = None
    purchase_code: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line as its row has it: thousandths, hundredths of a per cent, minor units with tax."""

    place: int
    description: str
    quantity: int
    unit_price: int
    tax_class: str
    tax_rate: int
    tax: int
    total: int
    item_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An invoice or credit note that can be written. Its money is the sum of its lines'."""

    kind: InvoiceKind
    currency: str
    lines: Sequence[Line]
    customer_id: UUID | None = None
    payment_id: UUID | None = None
    refund_id: UUID | None = None
    original_id: UUID | None = None
    buyer: Mapping[str, Any] | None = None
    note: str | None = None
    due_on: date | None = None

    def json(self) -> str:
        """What DRAFTED writes."""
        total, tax = sum(line.total for line in self.lines), sum(line.tax for line in self.lines)
        own = {name: getattr(self, name) for name in self.__slots__ if name != "lines"}
        ids = {name: str(value) if value else None for name, value in own.items() if "_id" in name}
        said = {
            **own,
            **ids,
            "id": str(uuid4()),
            "series": SERIES[self.kind],
            "total": total,
            "tax": tax,
            "net": total - tax,
            "lines": [asdict(line) for line in self.lines],
        }
        return orjson.dumps(said).decode()


# Writes the draft that a row of `wanted` holds, if there is any, unless its payment has an invoice.
DRAFTED = """
drafted AS (
    INSERT INTO invoice (id, kind, series, currency, net, tax, total, customer_id, payment_id,
        refund_id, original_id, buyer, note, due_on)
    SELECT d.* FROM wanted, jsonb_to_record(wanted.draft) AS d(id uuid, kind text, series text,
        currency text, net bigint, tax bigint, total bigint, customer_id uuid, payment_id uuid,
        refund_id uuid, original_id uuid, buyer jsonb, note text, due_on date)
    ON CONFLICT DO NOTHING RETURNING *
), drafted_line AS (
    INSERT INTO invoice_line (id, invoice_id, place, description, quantity, unit_price, tax_class,
        tax_rate, tax, total, item_code)
    SELECT gen_random_uuid(), drafted.id, l.* FROM drafted, wanted,
        jsonb_to_recordset(wanted.draft->'lines') AS l(place smallint, description text,
            quantity bigint, unit_price bigint, tax_class text, tax_rate integer, tax bigint,
            total bigint, item_code text)
)"""
# A phone number stands where a person looks it up, not in a log that is sent to others.
DRAFTED_EVENT = """
drafted_event AS (
    INSERT INTO event (type, data)
    SELECT 'invoice.drafted', jsonb_build_object('invoice',
        to_jsonb(drafted) #- '{buyer,phone}' #- '{buyer,email}') FROM drafted
)"""


@dataclass(frozen=True, slots=True)
class TaxRules:
    """What a seller's lines may hold. default: the class of a line that says none."""

    rates: Mapping[str, Decimal]
    default: str
    may_charge: bool
    locale: str

    def rate(self, tax_class: str) -> int:
        return int(self.rates[tax_class] * 100)


async def tax_rules(core: Core) -> TaxRules:
    rows = await fetch("SELECT vat_registered, locale FROM merchant WHERE id = 1")
    registered = bool(rows) and rows[0]["vat_registered"]
    return TaxRules(
        rates=core.settings.tax_rates,
        default=REGISTERED if registered else UNREGISTERED,
        # While nobody has said who we are, nobody has said that we are not registered either.
        may_charge=registered or not rows,
        locale=rows[0]["locale"] if rows else "en",
    )


def whole_line(rules: TaxRules, payment: Money, description: str | None, reference: str) -> Line:
    """The one line of an invoice for which nobody said what was sold."""
    rate = rules.rate(rules.default)
    return Line(
        place=1,
        description=description or in_language(_PAYMENT, rules.locale).format(reference),
        quantity=1000,
        unit_price=payment.minor,
        tax_class=rules.default,
        tax_rate=rate,
        tax=tax_of(payment.minor, rate),
        total=payment.minor,
    )


def checked_lines(rules: TaxRules, given: Sequence[LineInput], amount: Money) -> list[Line]:
    """Lines that come to `amount`. Raises Invalid, InvalidAmount, naming the field."""
    if not 1 <= len(given) <= MAX_LINES:
        raise Invalid(f"An invoice has between 1 and {MAX_LINES} lines.", field=["lines"])
    lines = [_line(rules, place, one, amount.currency) for place, one in enumerate(given, start=1)]
    total = sum(line.total for line in lines)
    if total != amount.minor:
        more = "more" if total > amount.minor else "less"
        came, off = Money(total, amount.currency), Money(abs(total - amount.minor), amount.currency)
        raise Invalid(
            f"The lines add up to {came}, which is {off} {more} than the amount of {amount}.",
            field=["lines"],
        )
    return lines


def _line(rules: TaxRules, place: int, given: LineInput, currency: str) -> Line:
    field = ("lines", str(place - 1))
    if given.currency != currency:
        raise CurrencyNotSupported(
            f"The payment is in {currency}: so are its lines.",
            field=[*field, "unitPrice", "currency"],
        )
    try:
        price = Money.parse(given.unit_price, currency)
    except CallerError as error:
        raise type(error)(error.message, field=[*field, "unitPrice", "amount"]) from error
    quantity = _quantity(given.quantity, *field, "quantity")
    # Half up, as tax is: a third of a kilogram has no price in whole francs otherwise.
    total = (2 * price.minor * quantity + 1000) // 2000
    if not 0 < total <= MAX_MINOR:
        raise InvalidAmount("This line comes to no amount that can be paid.", field=field)
    tax_class = _tax_class(rules, given.tax_class, *field, "taxClass")
    rate = rules.rate(tax_class)
    return Line(
        place=place,
        description=clean(given.description, *field, "description", limit=200),
        quantity=quantity,
        unit_price=price.minor,
        tax_class=tax_class,
        tax_rate=rate,
        tax=tax_of(total, rate),
        total=total,
        item_code=clean_optional(given.item_code, *field, "itemCode", limit=20),
    )


def _quantity(given: Decimal | int | str, *field: str) -> int:
    """Thousandths. Raises Invalid."""
    text = str(given).strip()
    try:
        quantity = Decimal(text) if text.isascii() and "_" not in text else Decimal("NaN")
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite() or not 0 < quantity <= _MOST or quantity % _FINEST:
        raise Invalid(
            "quantity is a number above zero with at most three decimals, such as 2 or 0.5.",
            field=field,
        )
    return int(quantity * 1000)


def _tax_class(rules: TaxRules, given: str | None, *field: str) -> str:
    tax_class = rules.default if given is None else given.strip().upper()
    if tax_class not in rules.rates:
        raise Invalid(f"taxClass is one of {', '.join(sorted(rules.rates))}.", field=field)
    if rules.rates[tax_class] and not rules.may_charge:
        raise Invalid(
            f"Class {tax_class} holds VAT, and the merchant is not registered for it: "
            "`dusangire merchant set` says who is.",
            field=field,
        )
    return tax_class


def checked_buyer(given: BuyerInput | None) -> dict[str, str] | None:
    """What an invoice says of the buyer beside the customer's own facts. Raises Invalid."""
    if given is None:
        return None
    tin = clean_optional(given.tax_id, "buyer", "taxId")
    if tin is not None and not re.fullmatch(r"[0-9]{9}", tin):
        raise Invalid("A TIN has nine digits, such as 102345678.", field=["buyer", "taxId"])
    code = clean_optional(given.purchase_code, "buyer", "purchaseCode")
    if code is not None and not re.fullmatch(r"[0-9A-Za-z]{6}", code):
        raise Invalid("A purchase code has six characters.", field=["buyer", "purchaseCode"])
    said = {
        "name": clean_optional(given.name, "buyer", "name"),
        "tin": tin,
        "purchase_code": code.upper() if code else None,
        "address": clean_optional(given.address, "buyer", "address"),
    }
    return {name: text for name, text in said.items() if text} or None
