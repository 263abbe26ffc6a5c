"""What fiscal hooks are given and what they give back.

A tax authority's device signs each sale. An author of a plugin for one needs this module and
`hookspecs`, nothing else. Amounts are minor units of the document's currency and include tax.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias
from zoneinfo import ZoneInfo

import httpx
import structlog
from pydantic import BaseModel

from dusangire.gateway import JSON, Clock, NotSent, Unknown

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = [
    "AlreadyDeclared",
    "Buyer",
    "Declared",
    "FiscalDescription",
    "FiscalDevice",
    "FiscalDocument",
    "FiscalItem",
    "FiscalLine",
    "FiscalSimulator",
    "InitialOutcome",
    "Initialized",
    "ItemOutcome",
    "Label",
    "NotSent",
    "PartialRefunds",
    "Rejected",
    "Seller",
    "Signed",
    "SigningOutcome",
    "Unknown",
]


class Label(StrEnum):
    """What a fiscal receipt is: a normal sale, or the refund of one."""

    NS = "NS"
    NR = "NR"


class PartialRefunds(StrEnum):
    """How a part of a sale is given back.

    FULL_AND_REISSUE: the whole sale is refunded, and what is left of it is sold anew.
    """

    ALLOW = "allow"
    FULL_AND_REISSUE = "full_and_reissue"


@dataclass(frozen=True, slots=True, kw_only=True)
class FiscalDescription:
    """The device that a plugin was configured for.

    name: what people call it, such as VSDC.
    tin, branch: the taxpayer, nine digits, and which of its branches. Each pair has one line of
        numbers, and one document at a time is sent for it.
    tax_classes: the words in invoice lines that the device has a class for.
    currencies: what it signs in.
    qr_template: the text behind the QR code, with {date}, {time}, {sdc_id}, {receipt_number},
        {internal_data} and {signature}.
    zone: where the device's clock is.
    call_timeout: seconds one hook call may take before its outcome is Unknown.
    """

    name: str
    tin: str
    branch: str
    base_url: str
    config: BaseModel
    tax_classes: frozenset[str]
    currencies: frozenset[str] = frozenset({"RWF"})
    partial_refunds: PartialRefunds = PartialRefunds.ALLOW
    qr_template: str = "{date}#{time}#{sdc_id}#{receipt_number}#{internal_data}#{signature}"
    zone: ZoneInfo = ZoneInfo("Africa/Kigali")
    call_timeout: float = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class FiscalDevice:
    """A device with everything that has state. Hooks keep none.

    http: an httpx client on `description.base_url`, with time limits, a limit for answers and
        without redirects.
    """

    description: FiscalDescription
    http: httpx.AsyncClient
    clock: Clock
    log: structlog.typing.FilteringBoundLogger


@dataclass(frozen=True, slots=True, kw_only=True)
class FiscalItem:
    """What is sold. `number`: given once for each item of this device, from 1 on.

    code: the merchant's own; None for whatever has none: all of a tax class share one item.
    """

    number: int
    name: str
    code: str | None
    tax_class: str
    unit_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FiscalLine:
    """One line. `tax_rate`: in per cent. `quantity` times `unit_price` is `total`."""

    place: int
    item: FiscalItem
    description: str
    quantity: Decimal
    unit_price: int
    tax_class: str
    tax_rate: Decimal
    tax: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """Whoever bought, as far as it is known. purchase_code: what makes it deductible for them."""

    name: str | None = None
    tin: str | None = None
    phone: str | None = None
    purchase_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """Whoever sold."""

    name: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FiscalDocument:
    """A sale or a refund, to be signed.

    number: ours, growing with each document of this device; the same one whenever the same
        document is sent again.
    original_number: of the sale that a refund gives back.
    invoice_number: what people know it by, such as INV-2026-000042.
    method: the name of the plugin that it was paid with; None when nobody knows.
    reason: why it is given back.
    """

    number: int
    label: Label
    original_number: int | None
    invoice_number: str
    issued_at: datetime
    currency: str
    lines: tuple[FiscalLine, ...]
    tax: int
    total: int
    method: str | None = None
    reason: str | None = None
    buyer: Buyer = Buyer()
    seller: Seller = Seller()


# ── what hooks give ──────────────────────────────────────────────────────────────────────────────
# NotSent and Unknown are those of gateways: it certainly never left, or nobody can tell.


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The device signed it: this is the fiscal receipt.

    receipt_number: of its label; total_number: of all. raw: the answer as it came.
    """

    receipt_number: int
    total_number: int
    sdc_id: str
    mrc_no: str
    internal_data: str
    signature: str
    signed_at: datetime
    raw: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyDeclared:
    """The device has a document with this number, and does not say what it answered then."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A final no: the device did not take it, and a person must correct something."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialized:
    """The device is ready. last_number: the highest number that it was ever given."""

    last_number: int


@dataclass(frozen=True, slots=True)
class Declared:
    """The device knows the item."""


SigningOutcome: TypeAlias = Signed | AlreadyDeclared | Rejected | NotSent | Unknown
InitialOutcome: TypeAlias = Initialized | Rejected | NotSent | Unknown
ItemOutcome: TypeAlias = Declared | Rejected | NotSent | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class FiscalSimulator:
    """A device for laptops and tests: an app that behaves like it, and what to say of it."""

    description: FiscalDescription
    app: "ASGIApp"
