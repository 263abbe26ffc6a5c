"""Invoices for whoever has a link, over HTTP; and the merchant's profile through GraphQL."""

import asyncio
import io
import re
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright
from pypdf import PdfReader

from dusangire.access import OPERATOR
from dusangire.database import fetch
from dusangire.invoicing import merchant
from dusangire.invoicing.documents import links
from dusangire.invoicing.documents.paper import load_paper
from dusangire.permissions import Role
from dusangire.testing.rig import serve
from dusangire_server.app import build_app
from dusangire_server.limits import Limits
from dusangire_server.testing import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = "<script>window.__x=1</script><img src=x onerror=window.__x=1>\"'"
LOGO = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="20" height="10"/></svg>'
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SAVE = """mutation ($input: SaveMerchantInput!) { saveMerchant(input: $input) {
    merchant { name tin vatRegistered logoType logo version }
    userErrors { code field message } } }"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def invoice_id(shop: Shop) -> AsyncIterator[UUID]:
    """An issued invoice of a merchant with a logo."""
    await merchant.save(
        OPERATOR, {"name": "Inyange Crafts", "tin": "002345678", "locale": "rw", "logo": LOGO}
    )
    yield await issued("Hosting, 1 month")
    await fetch("DELETE FROM merchant")


async def issued(description: str) -> UUID:
    profile = await merchant.load()
    assert profile is not None
    made = uuid4()
    await fetch(
        "INSERT INTO invoice (id, kind, series, currency, net, tax, total) "
        "VALUES ($1, 'INVOICE', 'INV', 'RWF', 12712, 2288, 15000)",
        made,
    )
    await fetch(
        "INSERT INTO invoice_line (id, invoice_id, place, description, quantity, unit_price, "
        "tax_class, tax_rate, tax, total) VALUES ($1, $2, 1, $3, 1000, 15000, 'B', 1800, 2288, "
        "15000)",
        uuid4(),
        made,
        description,
    )
    await fetch(
        "UPDATE invoice SET status = 'ISSUED', year = 2026, sequence = $2, "
        "number = 'INV-2026-' || $2::bigint, issued_at = now(), seller = $3::jsonb WHERE id = $1",
        made,
        made.int % 1_000_000,
        '{"name": "Inyange Crafts", "tin": "002345678", "vat_registered": true}',
    )
    return made


async def path(shop: Shop, invoice_id: UUID, *, minutes: float = 15) -> str:
    token = links.token(shop.core, invoice_id, timedelta(minutes=minutes))
    return f"/invoices/{invoice_id}.pdf?token={token}"


def page_of(path: str) -> str:
    return path.replace(".pdf", "")


# ── the documents ────────────────────────────────────────────────────────────────────────────────


async def test_the_link_of_the_api_gives_the_pdf(shop: Shop, invoice_id: UUID) -> None:
    paper = await load_paper(shop.core, invoice_id)

    answer = await shop.http.get(links.pdf_url(shop.core, paper.invoice, "fr"))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    number = paper.invoice.number
    assert answer.headers["content-disposition"] == f'attachment; filename="{number}.pdf"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    text = PdfReader(io.BytesIO(answer.content)).pages[0].extract_text()
    assert "Facture" in text
    assert "Inyange Crafts" in text


PHONE, EMAIL = "+250788123456", "aline@example.rw"


async def _shown(shop: Shop, url: str) -> str:
    """All that the page and the PDF of a link show."""
    page, pdf = await shop.http.get(page_of(url)), await shop.http.get(url)
    assert (page.status_code, pdf.status_code) == (200, 200)
    return page.text + PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()


async def test_an_invoice_shows_people_numbers_in_part_and_customers_their_own(
    shop: Shop, invoice_id: UUID
) -> None:
    customer = {"reference": "C-77", "name": "Aline", "phone": PHONE, "email": EMAIL}
    payment = (await shop.create(customer=customer))["payment"]
    made = await shop.get(
        'mutation { createInvoice(input: { idempotencyKey: "paper-1" '
        f'paymentId: "{payment["id"]}" }}) {{ invoice {{ id }} userErrors {{ message }} }} }}'
    )
    query = f'{{ invoice(id: "{made["createInvoice"]["invoice"]["id"]}") {{ id pdfUrl }} }}'

    server = (await shop.get(query))["invoice"]["pdfUrl"]
    for role in Role:
        person = await shop.person(role)
        theirs = (await shop.get(query, token=person))["invoice"]["pdfUrl"]
        shown = await _shown(shop, theirs)

        assert PHONE not in shown, role
        assert EMAIL not in shown, role
        assert "+2507****456" in shown
        assert "a•••@example.rw" in shown
    whole = await _shown(shop, server)
    assert PHONE in whole
    assert EMAIL in whole


async def test_a_payment_that_is_paid_ends_as_a_pdf(shop: Shop, invoice_id: UUID) -> None:
    payment = (
        await shop.create(
            method={"gateway": "fake", "phone": "0780000000"},
            waitMs=5000,
            description="Ibitenge 2",
            customer={"reference": "C-7", "name": "Uwase Aline"},
        )
    )["payment"]
    query = "{ invoices(first: 10) { edges { node { status pdfUrl payment { id } } } } }"

    urls: list[str] = []
    async with asyncio.timeout(10):
        while not urls:
            nodes = [edge["node"] for edge in (await shop.get(query))["invoices"]["edges"]]
            urls = [
                node["pdfUrl"]
                for node in nodes
                if node["payment"] == {"id": payment["id"]} and node["status"] == "PAID"
            ]
            await asyncio.sleep(0.02)
    pdf = await shop.http.get(urls[0])

    text = PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    for told in ("Inyange", "Uwase Aline", "Ibitenge 2", "PAID", payment["reference"]):
        assert told in text


async def test_the_same_link_without_its_ending_gives_a_page_with_a_button(
    shop: Shop, invoice_id: UUID
) -> None:
    page = await shop.http.get(page_of(await path(shop, invoice_id)) + "&locale=en")

    assert page.status_code == 200
    assert "Hosting, 1 month" in page.text
    button = re.findall(r'class="button" href="([^"]+)"', page.text)[0].replace("&amp;", "&")
    pdf = await shop.http.get(page.url.join(button))
    assert (pdf.status_code, pdf.content[:5]) == (200, b"%PDF-")


@pytest.mark.parametrize(
    ("query", "accepted", "title"),
    [
        ("&locale=fr", "rw", "Facture"),
        ("&locale=fr-RW", None, "Facture"),
        ("&locale=xx", "fr", "Invoice"),
        ("", "fr-FR,en;q=0.5", "Facture"),
        ("", None, "Fagitire"),
    ],
)
async def test_the_link_then_the_browser_then_the_merchant_say_the_language(
    shop: Shop, invoice_id: UUID, query: str, accepted: str | None, title: str
) -> None:
    headers = {"accept-language": accepted} if accepted else {}

    page = await shop.http.get(page_of(await path(shop, invoice_id)) + query, headers=headers)

    assert f"<h1>{title}</h1>" in page.text


async def test_s61_the_page_may_do_nothing_and_nobody_keeps_it(
    shop: Shop, invoice_id: UUID
) -> None:
    for address in (await path(shop, invoice_id), "/invoices/x.pdf?token=x"):
        headers = (await shop.http.get(page_of(address))).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert "script" not in policy
        for rule in ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
            assert rule in policy
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-robots-tag"] == "noindex, nofollow"


# ── who may not ──────────────────────────────────────────────────────────────────────────────────


async def test_a_link_that_is_too_old_says_so_kindly(shop: Shop, invoice_id: UUID) -> None:
    old = await path(shop, invoice_id, minutes=-1)

    for address in (old, page_of(old)):
        answer = await shop.http.get(address, headers={"accept-language": "fr"})
        assert answer.status_code == 410
        assert "Ce lien a expiré" in answer.text
        assert "Hosting" not in answer.text


async def test_s21_what_is_not_ours_and_what_is_not_there_look_all_the_same(
    shop: Shop, invoice_id: UUID
) -> None:
    good = await path(shop, invoice_id)
    token = good.partition("token=")[2]
    client = shop.core.authenticator.client_token(invoice_id).removeprefix("dct_")
    unknown = await path(shop, uuid4())
    answers = [
        await shop.http.get(address)
        for address in (
            unknown,
            f"/invoices/{uuid4()}.pdf?token={token}",
            f"/invoices/{invoice_id}.pdf",
            f"/invoices/{invoice_id}.pdf?token=",
            f"/invoices/{invoice_id}.pdf?token={token[:-1]}",
            f"/invoices/{invoice_id}.pdf?token={client}",
            f"/invoices/x'--.pdf?token={token}",
            f"/invoices/{invoice_id}?token=%F0%9F%92%B8%00",
        )
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert (await shop.http.get(good)).status_code == 200


async def test_an_api_key_is_no_link(shop: Shop, invoice_id: UUID) -> None:
    answer = await shop.http.get(f"/invoices/{invoice_id}.pdf", headers=shop.headers())

    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_refused(shop: Shop, invoice_id: UUID, method: str) -> None:
    answer = await shop.http.request(method, await path(shop, invoice_id))

    assert answer.status_code == 405


async def test_too_many_documents_for_one_address_are_refused_for_a_moment(
    shop: Shop, invoice_id: UUID
) -> None:
    app = build_app(shop.core, limits=Limits(per_address=3))
    transport = httpx.ASGITransport(app=app)
    address = page_of(await path(shop, invoice_id))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as http:
        answers = [await http.get(address) for _ in range(20)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert answers[0].status_code == 200
    assert refused
    assert refused[0].headers["retry-after"] == "1"


async def test_more_pdfs_at_once_than_can_be_made_soon_are_refused_for_a_moment(
    shop: Shop, invoice_id: UUID
) -> None:
    address = await path(shop, invoice_id)

    answers = await asyncio.gather(*(shop.http.get(address) for _ in range(40)))

    later = await shop.http.get(address)
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    assert sum(answer.status_code == 200 for answer in answers) >= 16
    assert later.status_code == 200


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on PATH")
async def test_s62_in_a_browser_hostile_text_stays_text_and_the_page_fits_a_phone(
    shop: Shop, invoice_id: UUID
) -> None:
    await merchant.save(OPERATOR, {"logo": LOGO})
    address = page_of(await path(shop, await issued(f"{EVIL} {'W' * 300}")))

    async with serve(shop.app) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = await browser.new_page(viewport={"width": 360, "height": 740})
        asked: list[str] = []
        troubles: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: troubles.append(message.text))
        await page.goto(f"{url}{address}")
        told = await page.locator("td.description").inner_text()
        ran = await page.evaluate("window.__x")
        width = await page.evaluate("document.documentElement.scrollWidth")
        shown = await page.evaluate("document.querySelector('img.logo').naturalWidth")
        await browser.close()

    assert EVIL in told
    assert ran is None
    assert width == 360
    assert shown > 0, "the logo is not blocked"
    elsewhere = [one for one in asked if not one.startswith(("data:", f"{url}/invoices/"))]
    assert [one for one in elsewhere if "favicon" not in one] == []
    assert [one for one in troubles if "404" not in one] == []


# ── the profile ──────────────────────────────────────────────────────────────────────────────────


async def saved(shop: Shop, **given: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await shop.get(SAVE, {"input": given}))["saveMerchant"]
    return payload


async def test_the_profile_is_saved_and_read_through_the_api(shop: Shop, invoice_id: UUID) -> None:
    logo = b64encode(LOGO).decode()

    payload = await saved(shop, name="Inyange", tin="000111111", vatRegistered=True, logo=logo)
    read = await shop.get("{ merchant { name tin locale logoType } }")

    assert payload["userErrors"] == []
    assert payload["merchant"]["logo"] == logo
    assert read["merchant"] == {
        "name": "Inyange", "tin": "000111111", "locale": "rw", "logoType": "image/svg+xml",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tin": "12345678"}, ["tin"]),
        ({"logo": "not base64!"}, ["logo"]),
        ({"logo": "R0lGODlh"}, ["logo"]),
        ({"name": None}, ["name"]),
        ({"vatRegistered": None}, ["vatRegistered"]),
        ({"locale": "sw"}, ["locale"]),
    ],
)
async def test_what_cannot_be_printed_is_refused_by_name(
    shop: Shop, invoice_id: UUID, given: dict[str, Any], field: list[str]
) -> None:
    payload = await saved(shop, **given)

    assert payload["merchant"] is None
    assert [(one["code"], one["field"]) for one in payload["userErrors"]] == [("INVALID", field)]


async def test_null_takes_the_logo_away_and_nothing_else(shop: Shop, invoice_id: UUID) -> None:
    before = (await shop.get("{ merchant { name tin } }"))["merchant"]

    payload = await saved(shop, logo=None)

    assert payload["merchant"]["logo"] is None
    assert {name: payload["merchant"][name] for name in before} == before


async def test_the_page_says_nothing_while_the_database_is_away(
    shop: Shop, invoice_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr("dusangire_server.papers.load_paper", away)

    answer = await shop.http.get(await path(shop, invoice_id))

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
