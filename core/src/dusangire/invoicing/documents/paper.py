"""Everything that one document shows, read together and never changed afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from dusangire.core import Core
from dusangire.customers import shown_email, shown_phone
from dusangire.database import Row, fetch
from dusangire.errors import NotFound
from dusangire.gateway import FollowLink, NextAction, TransferToAccount
from dusangire.invoicing import merchant
from dusangire.invoicing.documents.logo import Logo
from dusangire.lifecycle import PaymentStatus
from dusangire.records import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, Payment

_PAYABLE = frozenset({PaymentStatus.CREATED, PaymentStatus.PENDING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """Whose name stands on it. name: None while nobody has said who the merchant is."""

    name: str | None = None
    tin: str | None = None
    address: str | None = None
    phone: str | None = None
    email: str | None = None
    vat_registered: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Seller":
        """From the copy that an issued invoice keeps, or from `Merchant.as_seller`."""
        return cls(
            name=data.get("name"),
            tin=data.get("tin"),
            address=data.get("address"),
            phone=data.get("phone"),
            email=data.get("email"),
            vat_registered=bool(data.get("vat_registered")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """Whom it is for, as far as it is known."""

    name: str | None = None
    tin: str | None = None
    address: str | None = None
    phone: str | None = None
    email: str | None = None
    purchase_code: str | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Buyer":
        """From the copy that an issued invoice keeps, or from a row of `customer`."""
        names = ("name", "tin", "address", "phone", "email", "purchase_code")
        return cls(**{name: data.get(name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Paying:
    """The payment behind it. method: what the payer knows the gateway by.

    link: where a payer goes on, while it is not paid; pays: paying is possible there.
    transfer: the account to send the money to.
    """

    reference: str
    method: str | None = None
    link: str | None = None
    pays: bool = False
    transfer: TransferToAccount | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FiscalReceipt:
    """What a tax authority's device signed. original_number: the receipt that is given back.

    number, total_number: how many receipts of this label, and how many of all, it had signed.
    invoice_number: ours, as the device knows it. qr: the text behind the QR code.
    """

    label: str
    number: int
    total_number: int
    sdc_id: str
    mrc: str
    internal_data: str
    signature: str
    signed_at: datetime
    invoice_number: int
    qr: str
    original_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """One document. seller: as it was when the document was issued.

    to_be_signed: there is a fiscal device, which declares it sooner or later.
    locale: the merchant's, for whoever names no other.
    """

    invoice: Invoice
    lines: Sequence[InvoiceLine]
    seller: Seller
    buyer: Buyer
    payment: Paying | None = None
    original_number: str | None = None
    fiscal: FiscalReceipt | None = None
    to_be_signed: bool = False
    logo: Logo | None = None
    footer: str | None = None
    locale: str = "en"

    def in_part(self) -> "Paper":
        """As people see it: with the buyer's number and address in part."""
        phone, email = shown_phone(self.buyer.phone), shown_email(self.buyer.email)
        return replace(self, buyer=replace(self.buyer, phone=phone, email=email))


_INVOICE = """
SELECT i.*, o.number AS original_number, p.id AS paying, g.name AS method,
    c.name AS c_name, c.email AS c_email, c.phone AS c_phone
FROM invoice i
LEFT JOIN invoice o ON o.id = i.original_id
LEFT JOIN payment p ON p.id = i.payment_id
LEFT JOIN gateway_account g ON g.id = p.gateway_id
LEFT JOIN customer c ON c.id = i.customer_id
WHERE i.id = $1"""
_LINES = """
SELECT l.*, i.currency FROM invoice_line l JOIN invoice i ON i.id = l.invoice_id
WHERE l.invoice_id = $1 ORDER BY l.place"""
# Of one invoice a device may have signed a sale and, later, that it was given back.
_FISCAL = """
SELECT f.*, o.rcpt_no AS original_rcpt_no FROM fiscal_receipt f
LEFT JOIN fiscal_receipt o ON o.id = f.follows_id AND o.fiscal_label = 'NS'
WHERE f.invoice_id = $1 AND f.fiscal_label = $2 AND f.status = 'SIGNED'"""


async def load_paper(core: Core, invoice_id: UUID) -> Paper:
    """What the document of an invoice shows now. Raises NotFound.

    Whether somebody may see it, the caller asks.
    """
    rows = await fetch(_INVOICE, invoice_id)
    if not rows:
        raise NotFound(field=["id"])
    [row] = rows
    invoice, profile = Invoice.of(row), await merchant.load()
    seller = invoice.seller or (profile.as_seller() if profile else {})
    buyer = invoice.buyer or {name: row[f"c_{name}"] for name in ("name", "email", "phone")}
    return Paper(
        invoice=invoice,
        lines=tuple(InvoiceLine.of(line) for line in await fetch(_LINES, invoice_id)),
        seller=Seller.of(seller),
        buyer=Buyer.of(buyer),
        payment=await _paying(core, invoice, row),
        original_number=row["original_number"],
        fiscal=await _fiscal(invoice),
        to_be_signed=core.plugins.fiscal is not None,
        logo=profile.logo if profile else None,
        footer=seller.get("footer"),
        locale=profile.locale if profile else "en",
    )


async def _paying(core: Core, invoice: Invoice, row: Row) -> Paying | None:
    if row["paying"] is None:
        return None
    [found] = await fetch("SELECT * FROM payment WHERE id = $1", row["paying"])
    payment = Payment.of(found)
    if payment.status not in _PAYABLE or invoice.status is InvoiceStatus.VOID:
        return Paying(reference=payment.reference, method=row["method"])
    action = _still_possible(core, payment.next_action)
    pays = isinstance(action, FollowLink)
    public = core.settings.public_url
    ours = f"{public}/return/{payment.reference}" if public else None
    return Paying(
        reference=payment.reference,
        method=row["method"],
        link=action.url if isinstance(action, FollowLink) else ours,
        pays=pays,
        transfer=action if isinstance(action, TransferToAccount) else None,
    )


def _still_possible(core: Core, action: NextAction | None) -> NextAction | None:
    expires_at = getattr(action, "expires_at", None)
    return None if expires_at is not None and expires_at <= core.clock() else action


async def _fiscal(invoice: Invoice) -> FiscalReceipt | None:
    label = "NR" if invoice.kind is InvoiceKind.CREDIT_NOTE else "NS"
    rows = await fetch(_FISCAL, invoice.id, label)
    if not rows:
        return None
    [row] = rows
    return FiscalReceipt(
        label=row["fiscal_label"],
        number=row["rcpt_no"],
        total_number=row["tot_rcpt_no"],
        sdc_id=row["sdc_id"],
        mrc=row["mrc_no"],
        internal_data=row["internal_data"],
        signature=row["receipt_signature"],
        signed_at=row["sdc_datetime"],
        invoice_number=row["invc_no"],
        qr=row["qr_payload"],
        original_number=row["original_rcpt_no"],
    )
