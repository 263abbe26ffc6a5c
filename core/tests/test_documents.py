"""Invoices on paper: what they must show, what they must not seem, and what nobody can slip in."""

import asyncio
import io
import os
import re
import struct
import subprocess
import sys
import zlib
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from core.tests.conftest import Shop
from pypdf import PdfReader

from dusangire.access import OPERATOR
from dusangire.errors import Invalid, NotFound
from dusangire.gateway import TransferToAccount
from dusangire.invoicing import merchant
from dusangire.invoicing.documents import links
from dusangire.invoicing.documents.html import html_of
from dusangire.invoicing.documents.logo import JPEG, LARGEST, PNG, SVG, Logo, read_logo
from dusangire.invoicing.documents.paper import (
    Buyer,
    FiscalReceipt,
    Paper,
    Paying,
    Seller,
    load_paper,
)
from dusangire.invoicing.documents.pdf import check_logo, make_pdf, pdf_of
from dusangire.invoicing.documents.sheet import in_fours, sheet_of
from dusangire.invoicing.documents.spelling import amount, day_in_kigali, quantity
from dusangire.invoicing.documents.words import WORDS
from dusangire.languages import LANGUAGES
from dusangire.money import Money
from dusangire.records import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus

MOMENT = datetime(2026, 11, 23, 8, 15, 31, tzinfo=UTC)
TINY_JPEG = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAFA3PEY8MlBGQUZaVVBfeMiCeG5uePWvuZHI////////////////////////////"
    "////////////////////////2wBDAVVaWnhpeOuCguv//////////////////////////////////////////////////////"
    "///////////////////wAARCAABAAIDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAA"
    "AAAAAA/8QAFAEBAAAAAAAAAAAAAAAAAAAAAP/EABQRAQAAAAAAAAAAAAAAAAAAAAD/2gAMAwEAAhEDEQA/AIgAf//Z"
)
PLAIN_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10">'
    b'<defs><linearGradient id="a"><stop offset="0" stop-color="#0e6b55"/></linearGradient></defs>'
    b'<rect width="20" height="10" fill="url(#a)"/></svg>'
)


def rwf(minor: int) -> Money:
    return Money(minor, "RWF")


def line(place: int = 1, **changes: Any) -> InvoiceLine:
    """One line, with its total and tax worked out from the rest."""
    given: dict[str, Any] = {
        "description": "Hosting, 1 month",
        "quantity": Decimal(1),
        "unit_price": rwf(15_000),
        "tax_class": "B",
        "tax_rate": Decimal(18),
        "item_code": None,
        **changes,
    }
    total = int(given["quantity"] * given["unit_price"].minor)
    tax = total * given["tax_rate"] / (100 + given["tax_rate"])
    return InvoiceLine(
        place=place,
        total=rwf(total),
        tax=rwf(int(tax.quantize(Decimal(1), ROUND_HALF_UP))),
        **given,
    )


def invoice(*lines: InvoiceLine, **changes: Any) -> Invoice:
    total, tax = (sum(getattr(one, name).minor for one in lines) for name in ("total", "tax"))
    given: dict[str, Any] = {
        "id": UUID(int=7),
        "kind": InvoiceKind.INVOICE,
        "status": InvoiceStatus.PAID,
        "version": 3,
        "number": "INV-2026-000042",
        "net": rwf(total - tax),
        "tax": rwf(tax),
        "total": rwf(total),
        "issued_at": MOMENT,
        "paid_at": MOMENT,
        "created_at": MOMENT,
        **dict.fromkeys(
            ("customer_id", "payment_id", "refund_id", "original_id", "seller", "buyer", "note",
             "due_on")
        ),
        **changes,
    }  # fmt: skip
    return Invoice(**given)


LINES = (
    line(1, item_code="RW3NTXU0000001"),
    line(2, description="Agaseke basket", quantity=Decimal(2), unit_price=rwf(7_000)),
    line(
        3, description="Coffee, per kg", quantity=Decimal("2.5"), unit_price=rwf(4_200),
        tax_class="A", tax_rate=Decimal(0),
    ),
)  # fmt: skip
SELLER = Seller(
    name="Inyange Crafts Ltd",
    tin="002345678",
    address="KG 11 Ave 42\nKigali",
    phone="+250 788 000 111",
    email="accounts@crafts.example.rw",
    vat_registered=True,
)
BUYER = Buyer(name="Rénovation & Fils", tin="108765432", address="Huye", purchase_code="A1B2C3")
FISCAL = FiscalReceipt(
    label="NS",
    number=27,
    total_number=32,
    sdc_id="SDC010000005",
    mrc="WIS01006230",
    internal_data="ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    signature="ABCDEFGHIJKLMNOP",
    signed_at=MOMENT,
    invoice_number=1042,
    qr="23112026#101531#SDC010000005#27#ABCDEFGHIJKLMNOPQRSTUVWXYZ#ABCDEFGHIJKLMNOP",
)
PAPER = Paper(
    invoice=invoice(*LINES),
    lines=LINES,
    seller=SELLER,
    buyer=BUYER,
    payment=Paying(reference="PAY-7K3M9Q2X", method="MTN Mobile Money"),
    footer="Murakoze cyane",
)
UNPAID = replace(PAPER, invoice=invoice(*LINES, status=InvoiceStatus.ISSUED, paid_at=None))
DRAFT = replace(
    PAPER,
    invoice=invoice(*LINES, status=InvoiceStatus.DRAFT, number=None, issued_at=None, paid_at=None),
)
CREDIT = replace(
    PAPER,
    invoice=invoice(
        LINES[1], kind=InvoiceKind.CREDIT_NOTE, number="CN-2026-000007", paid_at=None,
        status=InvoiceStatus.ISSUED,
    ),
    lines=LINES[1:2],
    original_number="INV-2026-000042",
)  # fmt: skip


def text_of(pdf: bytes) -> str:
    """What a reader can copy out of a PDF, on one line."""
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]
    return re.sub(r"[\s\u00a0]+", " ", " ".join(pages).replace("\u200b", ""))


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


# ── what it must show ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "told",
    [
        "Tax invoice",
        "INV-2026-000042",
        "23 November 2026",
        "Inyange Crafts Ltd",
        "KG 11 Ave 42",
        "TIN 002345678",
        "Rénovation & Fils",
        "TIN 108765432",
        "Purchase code A1B2C3",
        "Agaseke basket 2 7,000 B 18% 2,136 14,000",
        "Coffee, per kg 2.5 4,200 A 0% 0 10,500",
        "A-EX 10,500 0 10,500",
        "B-18.00% 24,576 4,424 29,000",
        "Total without VAT 35,076 RWF",
        "VAT 4,424 RWF",
        "Total 39,500 RWF",
        "Amount due 0 RWF",
        "PAID",
        "23 November 2026, 10:15",
        "MTN Mobile Money",
        "PAY-7K3M9Q2X",
        "Murakoze cyane",
        "Page 1 of 1",
    ],
)
def test_a_tax_invoice_shows_all_that_the_law_asks_for(told: str) -> None:
    assert told in text_of(signed_pdf())


PRINTED: dict[str, bytes] = {}


def signed_pdf() -> bytes:
    if "signed" not in PRINTED:
        PRINTED["signed"] = make_pdf(replace(PAPER, fiscal=FISCAL), "en")
    return PRINTED["signed"]


def test_the_page_shows_what_the_pdf_shows() -> None:
    paper = replace(PAPER, fiscal=FISCAL)
    page = re.sub(r"<style>.*</style>|<[^>]+>", " ", html_of(paper, "en"), flags=re.DOTALL)
    page = re.sub(r"\s+", " ", plain(page)).replace("&amp;", "&")

    printed = text_of(signed_pdf())

    only_on_paper = {"Page", "of", "·"}
    assert set(printed.replace("PAID", "Paid").split()) - set(page.split()) <= only_on_paper


@pytest.mark.parametrize(
    ("locale", "told"),
    [
        ("fr", ["Facture", "Payé", "23 novembre 2026", "Total 39 500 RWF", "2,5", "B 18 %"]),
        ("rw", ["Fagitire", "Byishyuwe", "23 Ugushyingo 2026", "Igiteranyo 39,500 RWF"]),
        ("rw-RW", ["Umucuruzi", "Umukiriya", "Itariki"]),
        ("en_GB", ["Invoice", "Customer"]),
        ("de", ["Invoice", "Customer"]),
    ],
)
def test_it_speaks_the_readers_language(locale: str, told: list[str]) -> None:
    text = text_of(make_pdf(PAPER, locale))

    assert [word for word in told if word.upper() not in text.upper()] == []


def test_every_word_is_there_in_three_languages() -> None:
    assert {name: set(LANGUAGES) - set(words) for name, words in WORDS.items()} == {
        name: set() for name in WORDS
    }


@pytest.mark.parametrize(
    ("money", "language", "told"),
    [
        (Money(15_000, "RWF"), "en", "15,000 RWF"),
        (Money(15_000, "RWF"), "fr", "15 000 RWF"),
        (Money(15_000, "RWF"), "rw", "15,000 RWF"),
        (Money(-1_234_567, "RWF"), "en", "−1,234,567 RWF"),
        (Money(150_050, "USD"), "en", "1,500.50 USD"),
        (Money(150_050, "USD"), "fr", "1 500,50 USD"),
        (Money(0, "RWF"), "fr", "0 RWF"),
    ],
)
def test_amounts_are_spelled_as_the_language_does(money: Money, language: str, told: str) -> None:
    spelled = amount(money, language)

    assert plain(spelled) == told
    assert " " not in spelled, "an amount is never broken over two lines"


@pytest.mark.parametrize(
    ("value", "told"), [("2", "2"), ("10.000", "10"), ("2.500", "2.5"), ("1200", "1,200")]
)
def test_quantities_have_no_zeros_at_their_end(value: str, told: str) -> None:
    assert quantity(Decimal(value), "en") == told


def test_a_day_begins_at_midnight_in_kigali() -> None:
    late = datetime(2026, 12, 31, 22, 30, tzinfo=UTC)

    assert plain(day_in_kigali(late, "en")) == "1 January 2027"
    assert plain(day_in_kigali(late, "fr")) == "1er janvier 2027"


# ── what it must not seem ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("paper", "title", "notice"),
    [
        (DRAFT, "Proforma invoice", "PROFORMA. THIS IS NOT AN OFFICIAL RECEIPT."),
        (UNPAID, "Invoice", "This is not a fiscal receipt."),
        (PAPER, "Invoice", "This is not a fiscal receipt."),
        (
            replace(PAPER, to_be_signed=True),
            "Invoice",
            "This is not a fiscal receipt. The fiscal receipt (EBM) follows.",
        ),
        (replace(PAPER, fiscal=FISCAL), "Tax invoice", ""),
        (
            replace(PAPER, fiscal=FISCAL, seller=replace(SELLER, vat_registered=False)),
            "Invoice",
            "",
        ),
        (CREDIT, "Credit note", "This is not a fiscal receipt."),
    ],
)
def test_only_what_a_device_signed_looks_like_a_tax_receipt(
    paper: Paper, title: str, notice: str
) -> None:
    sheet = sheet_of(paper, "en")

    assert (sheet.title, sheet.notice) == (title, notice)
    assert (sheet.fiscal is None) == (paper.fiscal is None)
    assert ("SDC INFORMATION" in html_of(paper, "en")) == (paper.fiscal is not None)


def test_a_cancelled_draft_says_so_and_asks_for_nothing() -> None:
    paper = replace(DRAFT, invoice=replace(DRAFT.invoice, status=InvoiceStatus.VOID))
    paper = replace(paper, payment=Paying(reference="PAY-1", link="https://pay.example.rw/x"))

    sheet = sheet_of(paper, "en")

    assert (sheet.stamp, sheet.due, sheet.code) == ("Cancelled", None, None)


def test_a_credit_note_names_its_invoice_and_has_negative_amounts() -> None:
    text = text_of(make_pdf(CREDIT, "en"))

    assert "For invoice INV-2026-000042" in text
    assert "Agaseke basket 2 −7,000 B 18% −2,136 −14,000" in text
    assert "Total −14,000 RWF" in text
    assert "Amount due" not in text
    assert "PAID" not in text


# ── the device's block, and how to pay ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "told",
    [
        "SDC INFORMATION",
        "Date 23/11/2026",
        "Time 10:15:31",
        "SDC ID SDC010000005",
        "RECEIPT NUMBER 27/32 NS",
        "Internal Data ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ",
        "Receipt Signature ABCD-EFGH-IJKL-MNOP",
        "RECEIPT NUMBER 1042",
        "MRC WIS01006230",
        "ITEMS NUMBER 3",
    ],
)
def test_a_signed_invoice_shows_what_the_device_said(told: str) -> None:
    assert told in text_of(signed_pdf())


def test_a_signed_credit_note_names_the_receipt_that_is_given_back() -> None:
    fiscal = replace(FISCAL, label="NR", number=1, total_number=33, original_number=27)

    text = text_of(make_pdf(replace(CREDIT, fiscal=fiscal), "en"))

    assert "REF. NORMAL RECEIPT# 27" in text
    assert "1/33 NR" in text


def test_the_devices_qr_code_holds_its_text_exactly() -> None:
    sheet = sheet_of(replace(PAPER, fiscal=FISCAL), "en")
    assert sheet.fiscal is not None

    assert sheet.fiscal.code.text == FISCAL.qr
    assert FISCAL.qr in html_of(replace(PAPER, fiscal=FISCAL), "en")


def test_signatures_are_written_in_groups_of_four_once() -> None:
    assert in_fours("ABCDEFGHIJ") == in_fours("ABCD-EFGH-IJ") == "ABCD-EFGH-IJ"


def test_an_unpaid_invoice_says_where_to_send_the_money() -> None:
    transfer = TransferToAccount(
        bank_name="Bank of Kigali", account_name="Inyange Crafts", account_number="00040-99",
        swift_code="BKIGRWRW", reference="RF18PAY", amount=rwf(39_500),
    )  # fmt: skip
    paying = Paying(
        reference="PAY-7K3M9Q2X", method="Bank", link="https://p.rw/r", transfer=transfer
    )
    due = replace(UNPAID.invoice, due_on=date(2026, 12, 7), note="Within 5 days.")

    text = text_of(make_pdf(replace(UNPAID, payment=paying, invoice=due), "en"))

    for told in (
        "Bank of Kigali (BKIGRWRW)", "00040-99", "RF18PAY", "Amount due 39,500 RWF",
        "Due date 7 December 2026", "Within 5 days.", "Scan to see your payment",
    ):  # fmt: skip
        assert told in text


def test_a_paid_invoice_asks_nobody_to_pay_again() -> None:
    paying = Paying(reference="PAY-1", link="https://pay.example.rw/x", pays=True)

    sheet = sheet_of(replace(PAPER, payment=paying), "en")

    assert sheet.code is None


def test_without_a_profile_it_says_that_the_seller_is_missing() -> None:
    text = text_of(make_pdf(replace(PAPER, seller=Seller(), buyer=Buyer()), "en"))

    assert "[The seller's name is not set]" in text
    assert "TIN [not set]" in text


# ── the same, always ─────────────────────────────────────────────────────────────────────────────


async def test_the_same_paper_gives_the_same_bytes() -> None:
    paper = replace(UNPAID, logo=Logo(PLAIN_SVG, SVG), fiscal=FISCAL)

    first, again = await asyncio.gather(pdf_of(paper, "rw"), pdf_of(paper, "rw"))
    later = await pdf_of(paper, "rw")

    assert first == again == later
    assert first != await pdf_of(paper, "fr")


def test_two_hundred_lines_go_over_pages_with_the_head_on_each() -> None:
    lines = [line(n, description=f"Item {n}") for n in range(1, 201)]
    paper = replace(PAPER, invoice=invoice(*lines), lines=lines)

    pages = [p.extract_text() for p in PdfReader(io.BytesIO(make_pdf(paper, "en"))).pages]

    assert len(pages) > 3
    assert [f"Page {n} of {len(pages)}" in page for n, page in enumerate(pages, 1)] == (
        [True] * len(pages)
    )
    assert all("Unit price" in page for page in pages[:-1])
    found = [int(n) for n in re.findall(r"Item (\d+)", "\n".join(pages))]
    assert found == list(range(1, 201))


# ── S47: what nobody can slip in ─────────────────────────────────────────────────────────────────


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port, and whatever came to it."""
    came: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


HOSTILE = [
    "<img src=http://127.0.0.1:{port}/a>",
    "<script>window.__x=1</script>",
    '#read("/etc/passwd")',
    '#image("http://127.0.0.1:{port}/b")',
    '#import "@preview/cetz:0.3.1"',
    "$ x^2 $ *bold* _it_ `raw` @label <label> // no /* comment */ \\ = #{{ }}",
    '"); panic("x"); ("',
    "{{{{ 7 * 7 }}}}{{% raw %}}",
    "=HYPERLINK(1)",
]


@pytest.mark.parametrize("text", HOSTILE)
async def test_s47_hostile_text_stays_text_and_nothing_is_fetched(text: str) -> None:
    async with listening() as (port, came):
        text = text.format(port=port)
        paper = replace(
            UNPAID,
            seller=replace(SELLER, name=text, address=text),
            buyer=replace(BUYER, name=text, tin=None),
            lines=[replace(LINES[0], description=text, item_code=text)],
            invoice=replace(UNPAID.invoice, note=text),
            payment=Paying(reference="PAY-1", method=text, link="https://pay.example.rw/x"),
            footer=text,
        )
        pdf, html = await pdf_of(paper, "en"), html_of(paper, "en")

    printed = re.sub(r"\s", "", text_of(pdf))
    assert printed.count(re.sub(r"\s", "", text)) >= 6
    assert "root:" not in printed
    assert "<script" not in html
    assert re.findall(r"<img[^>]+src=(?!\"data:)", html) == []
    assert came == []


@pytest.mark.parametrize(
    "text",
    ["W" * 4000, "عميل من كيغالي", "שלום עולם", "Zoë 🎉 Ω ŋ ꞌ", "\u202edrawkcab", "a\u0301" * 50],
    ids=["long word", "Arabic", "Hebrew", "emoji", "override", "marks"],
)
async def test_s47_odd_text_neither_breaks_the_paper_nor_leaves_it(text: str) -> None:
    paper = replace(
        PAPER, buyer=Buyer(name=text[:255]), lines=[replace(LINES[0], description=text)]
    )

    pdf = await pdf_of(paper, "en")

    pages = [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]
    # Nothing else says how wide a line is: of the narrowest letters 190 fit on this paper.
    assert max(len(line) for page in pages for line in page.splitlines()) < 190
    assert "INV-2026-000042" in text_of(pdf)


async def test_a_long_word_is_printed_whole() -> None:
    word = "".join(f"{n:04d}" for n in range(1000))
    paper = replace(PAPER, lines=[replace(LINES[0], description=word)])

    printed = re.sub(r"\s", "", text_of(await pdf_of(paper, "en")))

    assert len(printed) > 4000
    for part in ("0000", "04990500", "0999"):
        assert part in printed


# ── logos ────────────────────────────────────────────────────────────────────────────────────────


def png(width: int = 2, height: int = 1) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = zlib.compress(b"\x00" + b"\x0e\x6b\x55" * 2)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "media_type"), [(png(), PNG), (TINY_JPEG, JPEG), (PLAIN_SVG, SVG)]
)
async def test_a_logo_is_printed_whatever_kind_of_picture_it_is(
    content: bytes, media_type: str
) -> None:
    logo = read_logo(content)

    await check_logo(logo)
    pdf = await pdf_of(replace(PAPER, logo=logo), "en")

    assert logo.media_type == media_type
    assert len(pdf) > 10_000
    assert f'src="data:{media_type};base64,' in html_of(replace(PAPER, logo=logo), "en")


def svg(inside: str, head: str = "") -> bytes:
    return f'{head}<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>'.encode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GIF89a....", id="a GIF"),
        pytest.param(b"%PDF-1.7", id="a PDF"),
        pytest.param(b"<html><svg", id="HTML"),
        pytest.param(PLAIN_SVG + b" " * LARGEST, id="too large"),
        pytest.param(png(60_000, 60_000), id="a bomb"),
        pytest.param(png(0, 1), id="no pixels"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10", id="half a JPEG"),
        pytest.param(svg("<script>1</script>"), id="a script"),
        pytest.param(svg('<rect onload="x()"/>'), id="a handler"),
        pytest.param(svg('<image href="http://a.example/x.png"/>'), id="another picture"),
        pytest.param(svg('<image href="data:image/png;base64,AAAA"/>'), id="a picture inside"),
        pytest.param(svg('<use href="#a"/>'), id="a reference that may unfold"),
        pytest.param(svg("<foreignObject/>"), id="HTML inside"),
        pytest.param(svg("<text>x</text>"), id="text in an unknown font"),
        pytest.param(svg('<rect fill="url(http://a.example/x)"/>'), id="a fill from outside"),
        pytest.param(svg("<rect style=\"fill: URL( '//a.example')\"/>"), id="a style from outside"),
        pytest.param(svg("<style>@import 'http://a.example'</style>"), id="an import"),
        pytest.param(svg("<style>@\\69mport 'x'</style>"), id="an import in disguise"),
        pytest.param(svg("<style>a{fill:url(x)}</style>"), id="a fill in a style"),
        pytest.param(
            svg('<a xmlns:x="http://www.w3.org/1999/xlink" x:href="javascript:1"/>'), id="a link"
        ),
        pytest.param(svg("", '<!DOCTYPE svg [<!ENTITY a "b">]>'), id="an entity"),
        pytest.param(svg("", '<!DOCTYPE svg SYSTEM "http://a.example">'), id="a DTD"),
        pytest.param(svg("", '<?xml-stylesheet href="http://a.example"?>'), id="a style sheet"),
        pytest.param(svg("", '<?xml version="1.0" encoding="latin-1"?>'), id="another encoding"),
        pytest.param(svg("<g>" * 60 + "</g>" * 60), id="nested"),
        pytest.param(svg("<g>"), id="not closed"),
        pytest.param("<svg/>".encode("utf-16"), id="UTF-16"),
    ],
)
def test_s38_a_logo_that_could_fetch_run_or_unfold_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid):
        read_logo(content, "logo")


async def test_a_broken_picture_is_refused_before_it_spoils_every_invoice() -> None:
    broken = png()[:-30] + b"x" * 30

    with pytest.raises(Invalid, match="cannot be printed"):
        await check_logo(read_logo(broken))


# ── links ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_link_opens_one_invoice_for_a_quarter_of_an_hour(shop: Shop) -> None:
    url = links.pdf_url(shop.core, PAPER.invoice, "fr-RW")
    token = re.findall("token=([^&]+)", url)[0]

    at_once = links.opened(shop.core, token)
    shop.clock.forward(minutes=14)
    in_time = links.opened(shop.core, token)
    shop.clock.forward(minutes=2)
    late = links.opened(shop.core, token)

    assert url.startswith(f"https://pay.example.rw/invoices/{PAPER.invoice.id}.pdf?")
    assert url.endswith("locale=fr")
    assert at_once == in_time == links.Opened(PAPER.invoice.id, expired=False)
    assert late == links.Opened(PAPER.invoice.id, expired=True)


async def test_a_link_in_a_letter_is_good_for_thirty_days(shop: Shop) -> None:
    url = links.page_url(shop.core, PAPER.invoice)
    assert url is not None
    token = re.findall("token=([^&]+)", url)[0]

    shop.clock.forward(days=29)
    in_time = links.opened(shop.core, token)
    shop.clock.forward(days=2)
    late = links.opened(shop.core, token)

    assert in_time is not None
    assert not in_time.expired
    assert late is not None
    assert late.expired


async def test_a_token_of_another_kind_or_changed_opens_nothing(shop: Shop) -> None:
    good = links.token(shop.core, PAPER.invoice.id, timedelta(hours=1))
    client = shop.core.authenticator.client_token(PAPER.invoice.id)
    flipped = [good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in (0, 5, 40)]

    for forged in ("", "é", "x.y", client, client.removeprefix("dct_"), *flipped):
        assert links.opened(shop.core, forged) is None


async def test_without_an_address_of_ours_a_letter_has_no_link(shop: Shop) -> None:
    shop.core.settings = replace(shop.core.settings, public_url=None)

    assert links.page_url(shop.core, PAPER.invoice) is None
    assert links.pdf_url(shop.core, PAPER.invoice).startswith("/invoices/")


# ── from the tables ──────────────────────────────────────────────────────────────────────────────


async def drafted(shop: Shop, **changes: Any) -> UUID:
    """A draft with one line, as a row."""
    given = {"payment_id": None, "currency": "RWF", **changes}
    invoice_id = uuid4()
    await shop.run(
        "INSERT INTO invoice (id, kind, series, currency, net, tax, total, payment_id) "
        "VALUES ($1, 'INVOICE', 'INV', $2, 12712, 2288, 15000, $3)",
        invoice_id, given["currency"], given["payment_id"],
    )  # fmt: skip
    await shop.run(
        "INSERT INTO invoice_line (id, invoice_id, place, description, quantity, unit_price, "
        "tax_class, tax_rate, tax, total) VALUES ($1, $2, 1, 'Hosting', 1000, 15000, 'B', 1800, "
        "2288, 15000)",
        uuid4(), invoice_id,
    )  # fmt: skip
    return invoice_id


async def test_a_draft_shows_the_merchant_and_the_customer_as_they_are_now(shop: Shop) -> None:
    await merchant.save(OPERATOR, {"name": "Inyange", "tin": "002345678", "logo": PLAIN_SVG})
    invoice_id = await drafted(shop)

    paper = await load_paper(shop.core, invoice_id)

    assert (paper.seller.name, paper.seller.tin) == ("Inyange", "002345678")
    assert paper.logo == Logo(PLAIN_SVG, SVG)
    assert [one.description for one in paper.lines] == ["Hosting"]
    assert paper.lines[0].quantity == 1
    assert text_of(await pdf_of(paper, "en")).count("Inyange") == 1


async def test_an_issued_invoice_keeps_the_words_it_was_issued_with(shop: Shop) -> None:
    await merchant.save(OPERATOR, {"name": "Inyange", "footer": "Old foot"})
    saved = await merchant.load()
    assert saved is not None
    invoice_id = await drafted(shop)
    await shop.run(
        "UPDATE invoice SET status = 'ISSUED', year = 2026, sequence = 1, number = 'INV-2026-1', "
        "issued_at = now(), buyer = '{\"name\": \"Aline\"}', seller = $2::jsonb WHERE id = $1",
        invoice_id, as_json(saved.as_seller()),
    )  # fmt: skip
    await merchant.save(OPERATOR, {"name": "Another", "footer": "New foot"})

    paper = await load_paper(shop.core, invoice_id)

    assert (paper.seller.name, paper.footer, paper.buyer.name) == ("Inyange", "Old foot", "Aline")


def as_json(value: Any) -> str:
    import orjson

    return orjson.dumps(value).decode()


async def test_what_the_device_signed_is_shown_and_what_it_did_not_is_not(shop: Shop) -> None:
    invoice_id, device_id = await drafted(shop), uuid4()
    await shop.run(
        "INSERT INTO fiscal_device (id, tin, branch, plugin) VALUES ($1, '002345678', '00', 'v')",
        device_id,
    )
    await shop.run(
        "INSERT INTO fiscal_receipt (id, device_id, invoice_id, sale_id, fiscal_label, status, "
        "document, invc_no, rcpt_no, tot_rcpt_no, sdc_id, mrc_no, internal_data, "
        "receipt_signature, sdc_datetime, qr_payload) VALUES (gen_random_uuid(), $1, $2, $2, 'NS', "
        "'UNKNOWN', '{}', 1042, 27, 32, $3, $4, $5, $6, $7, $8)",
        device_id, invoice_id, FISCAL.sdc_id, FISCAL.mrc, FISCAL.internal_data, FISCAL.signature,
        FISCAL.signed_at, FISCAL.qr,
    )  # fmt: skip

    before = await load_paper(shop.core, invoice_id)
    await shop.run("UPDATE fiscal_receipt SET status = 'SIGNED', signed_at = now()")
    after = await load_paper(shop.core, invoice_id)

    assert before.fiscal is None
    assert after.fiscal == FISCAL


async def test_an_open_payment_is_followed_by_its_code(shop: Shop) -> None:
    done = await shop.create()
    paper = await load_paper(shop.core, await drafted(shop, payment_id=done.payment.id))

    assert paper.payment is not None
    assert paper.payment.method == "Script"
    assert paper.payment.link == f"https://pay.example.rw/return/{done.payment.reference}"
    assert not paper.payment.pays


async def test_an_invoice_that_is_not_there_is_not_found(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await load_paper(shop.core, uuid4())


def test_nothing_of_this_is_imported_before_it_is_needed() -> None:
    look = (
        "import sys, dusangire, dusangire.invoicing.merchant; "
        "print([n for n in ('typst', 'jinja2', 'segno') if n in sys.modules])"
    )

    said = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, env=os.environ
    )

    assert said.stdout.strip() == "[]"


def test_the_clock_of_a_document_is_two_hours_ahead_of_utc() -> None:
    noon = datetime(2026, 6, 1, 23, 0, tzinfo=timezone(timedelta(hours=1)))

    assert plain(day_in_kigali(noon, "rw")) == "2 Kamena 2026"
