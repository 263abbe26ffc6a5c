"""A document in words: what the page and the PDF show, as text, in one language.

Both only lay it out. Nothing is computed or translated after this.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO

import segno

from dusangire.invoicing.documents.paper import Buyer, FiscalReceipt, Paper, Seller
from dusangire.invoicing.documents.spelling import (
    KIGALI,
    amount,
    day,
    day_in_kigali,
    figure,
    moment_in_kigali,
    percent,
    quantity,
)
from dusangire.invoicing.documents.words import language_of, word
from dusangire.money import Money
from dusangire.records import InvoiceKind, InvoiceLine, InvoiceStatus

# What the tax authority's receipts are headed with, in every language.
_CLASS_NAMES = {("A", Decimal(0)): "A-EX"}


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Party:
    """label: whether it is the seller or the customer; facts: below the name."""

    label: str
    name: str
    lines: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    place: str
    description: str
    code: str
    quantity: str
    unit_price: str
    tax_class: str
    tax: str
    total: str


@dataclass(frozen=True, slots=True)
class TaxRow:
    """One class and rate: what is taxed, the tax, and both together."""

    name: str
    net: str
    tax: str
    gross: str


@dataclass(frozen=True, slots=True)
class Code:
    """A QR code: its picture, the text behind it, and the words below."""

    svg: str
    text: str
    words: str


@dataclass(frozen=True, slots=True)
class Fiscal:
    """The block of a fiscal receipt, in the tax authority's own words and order.

    facts: what the device says; ours: what our own system adds below.
    """

    title: str
    facts: tuple[Fact, ...]
    ours: tuple[Fact, ...]
    code: Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """stamp: what stands large beside the title, such as Paid; mark: which of the three it is."""

    language: str
    title: str
    number: str
    stamp: str
    mark: str
    notice: str
    facts: tuple[Fact, ...]
    seller: Party
    buyer: Party
    columns: dict[str, str]
    rows: tuple[Row, ...]
    small: str
    taxes: tuple[TaxRow, ...]
    tax_title: str
    taxable: str
    with_vat: str
    totals: tuple[Fact, ...]
    due: Fact | None
    payment_title: str
    payment: tuple[Fact, ...]
    code: Code | None
    fiscal: Fiscal | None
    note: str
    footer: str
    page: str


def sheet_of(paper: Paper, locale: str) -> Sheet:
    """The document in the language of `locale`; in English for one that we do not speak."""
    return _Writer(paper, language_of(locale)).sheet()


@dataclass(frozen=True, slots=True)
class _Writer:
    paper: Paper
    language: str

    def sheet(self) -> Sheet:
        invoice = self.paper.invoice
        return Sheet(
            language=self.language,
            title=self._title(),
            number=invoice.number or "",
            stamp=self._stamp(),
            mark=invoice.status.lower(),
            notice=self._notice(),
            facts=tuple(self._facts()),
            seller=self._seller(self.paper.seller),
            buyer=self._buyer(self.paper.buyer),
            columns={
                name: self._word(name)
                for name in ("description", "quantity", "unit_price", "rate", "vat", "total")
            },
            rows=tuple(map(self._row, self.paper.lines)),
            small=self._word("prices_with_vat").format(currency=invoice.total.currency),
            tax_title=self._word("rate"),
            taxable=self._word("taxable"),
            with_vat=self._word("with_vat"),
            taxes=tuple(self._taxes()),
            totals=(
                Fact(self._word("net"), self._amount(invoice.net)),
                Fact(self._word("vat"), self._amount(invoice.tax)),
                Fact(self._word("total"), self._amount(invoice.total)),
            ),
            due=self._due(),
            payment_title=self._word("payment"),
            payment=tuple(self._payment()),
            code=self._code(),
            fiscal=self._fiscal(self.paper.fiscal) if self.paper.fiscal else None,
            note=invoice.note or "",
            footer=self.paper.footer or "",
            page=self._word("page"),
        )

    def _word(self, name: str) -> str:
        return word(name, self.language)

    # ── what it is ───────────────────────────────────────────────────────────────────────────────

    @property
    def _credits(self) -> bool:
        return self.paper.invoice.kind is InvoiceKind.CREDIT_NOTE

    @property
    def _issued(self) -> bool:
        return self.paper.invoice.status in {InvoiceStatus.ISSUED, InvoiceStatus.PAID}

    def _title(self) -> str:
        """Only what a device signed, for a seller who is registered, is called a tax invoice."""
        if self._credits:
            return self._word("credit_note")
        if not self._issued:
            return self._word("proforma")
        signed = self.paper.fiscal is not None and self.paper.seller.vat_registered
        return self._word("tax_invoice" if signed else "invoice")

    def _notice(self) -> str:
        if not self._issued:
            return self._word("not_official")
        if self.paper.fiscal:
            return ""
        return self._word("fiscal_follows" if self.paper.to_be_signed else "not_fiscal")

    def _stamp(self) -> str:
        status = self.paper.invoice.status
        if status is InvoiceStatus.VOID:
            return self._word("void")
        return self._word("paid") if status is InvoiceStatus.PAID and not self._credits else ""

    def _facts(self) -> Iterator[Fact]:
        invoice = self.paper.invoice
        if invoice.number:
            yield Fact(self._word("number"), invoice.number)
        written = invoice.issued_at or invoice.created_at
        yield Fact(self._word("issued"), day_in_kigali(written, self.language))
        if invoice.due_on and not self._credits:
            yield Fact(self._word("due"), day(invoice.due_on, self.language))
        if self.paper.original_number:
            yield Fact(self._word("original"), self.paper.original_number)

    # ── who ──────────────────────────────────────────────────────────────────────────────────────

    def _seller(self, seller: Seller) -> Party:
        tin = seller.tin or (self._word("no_tin") if seller.name is None else None)
        contact = [one for one in (seller.phone, seller.email) if one]
        return Party(
            self._word("seller"),
            seller.name or self._word("no_seller"),
            (*_lines(seller.address), *contact),
            (Fact(self._word("tin"), tin),) if tin else (),
        )

    def _buyer(self, buyer: Buyer) -> Party:
        named = (("tin", buyer.tin), ("purchase_code", buyer.purchase_code))
        contact = [one for one in (buyer.phone, buyer.email) if one]
        return Party(
            self._word("customer"),
            buyer.name or (contact.pop(0) if contact else "—"),
            (*_lines(buyer.address), *contact),
            tuple(Fact(self._word(name), value) for name, value in named if value),
        )

    # ── what and how much ────────────────────────────────────────────────────────────────────────

    def _amount(self, money: Money) -> str:
        return amount(self._signed(money), self.language)

    def _figure(self, money: Money) -> str:
        return figure(self._signed(money), self.language)

    def _signed(self, money: Money) -> Money:
        """What is given back is printed with a minus."""
        return Money(-money.minor, money.currency) if self._credits else money

    def _row(self, line: InvoiceLine) -> Row:
        return Row(
            place=str(line.place),
            description=line.description,
            code=line.item_code or "",
            quantity=quantity(line.quantity, self.language),
            unit_price=self._figure(line.unit_price),
            tax_class=f"{line.tax_class}\u00a0{percent(line.tax_rate, self.language)}",
            tax=self._figure(line.tax),
            total=self._figure(line.total),
        )

    def _taxes(self) -> Iterator[TaxRow]:
        sums: dict[tuple[str, Decimal], tuple[int, int]] = {}
        for line in self.paper.lines:
            key = (line.tax_class, line.tax_rate)
            tax, total = sums.get(key, (0, 0))
            sums[key] = (tax + line.tax.minor, total + line.total.minor)
        currency = self.paper.invoice.total.currency
        for (tax_class, rate), (tax, total) in sorted(sums.items()):
            yield TaxRow(
                _CLASS_NAMES.get((tax_class, rate), f"{tax_class}-{rate:.2f}%"),
                self._figure(Money(total - tax, currency)),
                self._figure(Money(tax, currency)),
                self._figure(Money(total, currency)),
            )

    def _due(self) -> Fact | None:
        invoice = self.paper.invoice
        if self._credits or invoice.status is InvoiceStatus.VOID:
            return None
        left = invoice.total if self._unpaid else Money(0, invoice.total.currency)
        return Fact(self._word("due_amount"), self._amount(left))

    # ── how it is paid ───────────────────────────────────────────────────────────────────────────

    def _payment(self) -> Iterator[Fact]:
        invoice, payment = self.paper.invoice, self.paper.payment
        if self._credits:
            return
        if invoice.paid_at is not None:
            yield Fact(self._word("paid_at"), moment_in_kigali(invoice.paid_at, self.language))
        if payment is None:
            return
        if payment.method:
            yield Fact(self._word("method"), payment.method)
        if payment.transfer is not None and self._unpaid:
            transfer = payment.transfer
            bank = f"{transfer.bank_name} ({transfer.swift_code})"
            yield Fact(self._word("bank"), bank if transfer.swift_code else transfer.bank_name)
            yield Fact(self._word("account_name"), transfer.account_name)
            yield Fact(self._word("account"), transfer.account_number)
            yield Fact(self._word("transfer_reference"), transfer.reference)
        yield Fact(self._word("reference"), payment.reference)

    @property
    def _unpaid(self) -> bool:
        open_ = {InvoiceStatus.DRAFT, InvoiceStatus.ISSUED}
        return self.paper.invoice.status in open_ and not self._credits

    def _code(self) -> Code | None:
        payment = self.paper.payment
        if payment is None or payment.link is None or not self._unpaid:
            return None
        words = self._word("scan_to_pay" if payment.pays else "scan_to_see")
        return Code(qr_svg(payment.link), payment.link, words)

    # ── what the device signed ───────────────────────────────────────────────────────────────────

    def _fiscal(self, fiscal: FiscalReceipt) -> Fiscal:
        """In the order of the tax authority's layout, with its words, whatever the language."""
        when = fiscal.signed_at.astimezone(KIGALI)
        refers = (
            (Fact("REF. NORMAL RECEIPT#", str(fiscal.original_number)),)
            if fiscal.original_number
            else ()
        )
        facts = (
            *refers,
            Fact("Date", f"{when:%d/%m/%Y}"),
            Fact("Time", f"{when:%H:%M:%S}"),
            Fact("SDC ID", fiscal.sdc_id),
            Fact("RECEIPT NUMBER", f"{fiscal.number}/{fiscal.total_number} {fiscal.label}"),
            Fact("Internal Data", in_fours(fiscal.internal_data)),
            Fact("Receipt Signature", in_fours(fiscal.signature)),
        )
        ours = (
            Fact("RECEIPT NUMBER", str(fiscal.invoice_number)),
            Fact("MRC", fiscal.mrc),
            Fact("ITEMS NUMBER", str(len(self.paper.lines))),
        )
        title = "SDC INFORMATION" + (" · REFUND" if fiscal.label == "NR" else "")
        return Fiscal(title, facts, ours, Code(qr_svg(fiscal.qr), fiscal.qr, ""))


def qr_svg(text: str) -> str:
    """A QR code as an SVG picture, without a margin."""
    out = BytesIO()
    segno.make(text, error="m", micro=False).save(
        out, kind="svg", border=0, xmldecl=False, svgclass=None, lineclass=None, omitsize=True
    )
    return out.getvalue().decode()


def in_fours(text: str) -> str:
    """`ABCD-EFGH-IJ`, as the tax authority prints signatures."""
    plain = text.replace("-", "")
    return "-".join(plain[at : at + 4] for at in range(0, len(plain), 4))


def _lines(text: str | None) -> tuple[str, ...]:
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())
