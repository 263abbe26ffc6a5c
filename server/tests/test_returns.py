"""Payers come back from a provider's page: over real HTTP, with whatever their browser says."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from dusangire import hookimpl
from dusangire.database import fetch
from dusangire.failures import EXPLANATIONS
from dusangire.gateway import Attempt, FailureCode, Gateway, Outcome
from dusangire.testing.fake import FakeConfig, FakeGateway
from dusangire.testing.rig import serve
from dusangire_server.app import build_app
from dusangire_server.limits import Limits
from dusangire_server.pages import chosen_language
from dusangire_server.returns import AGAIN
from dusangire_server.testing import Shop, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAYS, DECLINES, WAITS = "0780000000", "0780000102", "0780000201"
LIES = "status=successful&tx_ref=x&transaction_id=910000001&resp=%7B%22status%22%3A%22ok%22%7D"
EVIL = "<script>window.__x=1</script><img src=x onerror=window.__x=1>\"'"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Slow(FakeGateway):
    """A gateway that answers questions only while it may."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()

    @hookimpl
    async def check_payment(self, gateway: Gateway[FakeConfig], attempt: Attempt) -> Outcome:
        await self.answers.wait()
        return await super().check_payment(gateway, attempt)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(gateway=Slow()) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(shop.app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


async def paying(shop: Shop, phone: str, **changes: Any) -> dict[str, Any]:
    method = {"gateway": "fake", "phone": phone}
    created = await shop.create(method=method, waitMs=5000, **changes)
    assert created["userErrors"] == []
    payment: dict[str, Any] = created["payment"]
    return payment


async def ended(shop: Shop, phone: str, status: str, **changes: Any) -> dict[str, Any]:
    payment = await paying(shop, phone, **changes)
    async with asyncio.timeout(5):
        while (await row(payment))["status"] != status:  # noqa: ASYNC110 - the worker does it
            await asyncio.sleep(0.01)
    return payment


async def row(payment: dict[str, Any]) -> dict[str, Any]:
    [found] = await fetch("SELECT * FROM payment WHERE id = $1", payment["id"])
    return found


async def leave_to_visitors(payment: dict[str, Any]) -> None:
    """No worker will ask about it."""
    await fetch(
        "UPDATE payment_attempt SET next_check_at = NULL, lease_until = NULL, "
        "asked_at = now() - interval '1 h' WHERE payment_id = $1",
        payment["id"],
    )


async def questions(payment: dict[str, Any]) -> int:
    [found] = await fetch(
        "SELECT count(*) AS n FROM payment_transaction "
        "WHERE payment_id = $1 AND kind <> 'INITIATE'",
        payment["id"],
    )
    return int(found["n"])


def state(page: httpx.Response) -> str:
    [found] = re.findall('data-state="([a-z]+)"', page.text)
    return str(found)


# ── what is true ─────────────────────────────────────────────────────────────────────────────────


async def test_a_paid_payment_is_shown_as_paid(shop: Shop, http: httpx.AsyncClient) -> None:
    payment = await ended(
        shop, PAYS, "SUCCEEDED", amount={"amount": "12500", "currency": "RWF"}, orderReference="A-7"
    )

    page = await http.get(f"/return/{payment['reference']}")

    assert (page.status_code, state(page)) == (200, "paid")
    assert "12,500 RWF" in page.text
    assert "A-7" in page.text
    assert payment["reference"] in page.text
    assert "refresh" not in page.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_s64_a_browser_that_says_paid_pays_nothing(
    shop: Shop, http: httpx.AsyncClient, method: str
) -> None:
    payment = await paying(shop, WAITS)

    page = await http.request(
        method, f"/return/{payment['reference']}?{LIES}", data={"status": "successful"},
        follow_redirects=True,
    )  # fmt: skip

    assert state(page) == "waiting"
    assert (await row(payment))["status"] == "PENDING"
    assert (await row(payment))["captured"] == 0


@pytest.mark.parametrize("word", ["cancelled", "failed"])
async def test_a_browser_that_says_cancelled_cancels_nothing(
    shop: Shop, http: httpx.AsyncClient, word: str
) -> None:
    payment = await paying(shop, WAITS)

    page = await http.get(f"/return/{payment['reference']}?status={word}&tx_ref=x")

    account = await shop.core.gateways.by_code("fake")
    assert account.gateway is not None
    [attempt] = await fetch("SELECT * FROM payment_attempt WHERE payment_id = $1", payment["id"])
    there = shop.gateway.provider(account.gateway).simulation.transactions[attempt["reference"]]
    assert state(page) == "waiting"
    assert attempt["status"] == "PENDING"
    assert (there.status, there.note) == ("PENDING", "")


@pytest.mark.parametrize(("language", "word"), [("en", "Not paid"), ("fr", "Non payé")])
async def test_a_declined_payment_says_why_and_what_to_do(
    shop: Shop, http: httpx.AsyncClient, language: str, word: str
) -> None:
    payment = await ended(shop, DECLINES, "FAILED")

    page = await http.get(f"/return/{payment['reference']}?lang={language}&{LIES}")

    explained = EXPLANATIONS[FailureCode.DECLINED_BY_PAYER]
    assert state(page) == "unpaid"
    assert word in page.text
    assert explained.message[language].replace("'", "&#39;") in page.text
    assert explained.next_step[language].replace("'", "&#39;") in page.text


# ── who asks ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reference", ["PAY-00000000", "PAY-0", "x", "%00", "%F0%9F%92%B8", "'--"])
async def test_what_is_not_ours_looks_all_the_same(http: httpx.AsyncClient, reference: str) -> None:
    answer = await http.get(f"/return/{reference}")
    another = await http.get("/return/PAY-ZZZZZZZZ")

    assert answer.status_code == 404
    assert answer.text == another.text


async def test_a_name_of_many_kilobytes_is_not_ours(http: httpx.AsyncClient) -> None:
    assert (await http.get(f"/return/PAY-{'0' * 20_000}")).status_code == 404


async def test_the_page_says_nothing_about_the_person(shop: Shop, http: httpx.AsyncClient) -> None:
    customer = {
        "reference": "aline-1", "name": "Uwase Aline", "email": "aline@example.rw",
        "phone": "0788123456",
    }  # fmt: skip
    payment = await ended(
        shop, PAYS, "SUCCEEDED", customer=customer, description="A pregnancy test",
        metadata={"secret": "kept"}, orderReference="0788123456",
    )  # fmt: skip

    page = await http.get(f"/return/{payment['reference']}")

    for told in (*customer.values(), "pregnancy", "kept", payment["id"], "123456", "780000000"):
        assert told not in page.text


async def test_looking_whether_something_is_there_asks_nobody(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    payment = await paying(shop, WAITS)
    await leave_to_visitors(payment)
    before = await questions(payment)

    head = await http.head(f"/return/{payment['reference']}")

    assert (head.status_code, head.content) == (200, b"")
    assert await questions(payment) == before
    await http.get(f"/return/{payment['reference']}")
    assert await questions(payment) == before + 1


async def test_too_many_pages_for_one_address_are_refused_for_a_moment(shop: Shop) -> None:
    payment = await ended(shop, PAYS, "SUCCEEDED")
    app = build_app(shop.core, limits=Limits(per_address=3))
    async with serve(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        answers = [await http.get(f"/return/{payment['reference']}") for _ in range(20)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert answers[0].status_code == 200
    assert refused
    assert refused[0].headers["retry-after"] == "1"
    assert 'http-equiv="refresh"' in refused[0].text


# ── going on ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("return_url", "expected"),
    [
        ("https://shop.example.rw/done", "https://shop.example.rw/done?{ours}"),
        ("https://shop.example.rw/?a=1&b=%20", "https://shop.example.rw/?a=1&b=%20&{ours}"),
        ("https://shop.example.rw/x?q=#top", "https://shop.example.rw/x?q=&{ours}#top"),
        ("https://shop.example.rw/ürü", "https://shop.example.rw/%C3%BCr%C3%BC?{ours}"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_payer_goes_on_to_the_shop_with_our_ids_and_no_status(
    shop: Shop, http: httpx.AsyncClient, return_url: str, expected: str, method: str
) -> None:
    payment = await ended(shop, PAYS, "SUCCEEDED", returnUrl=return_url)

    answer = await http.request(method, f"/return/{payment['reference']}?{LIES}")

    ours = f"payment={payment['id']}&reference={payment['reference']}"
    assert answer.status_code == 303
    assert answer.headers["location"] == expected.format(ours=ours)


async def test_no_query_sends_the_payer_anywhere_else(shop: Shop, http: httpx.AsyncClient) -> None:
    payment = await ended(shop, PAYS, "SUCCEEDED", returnUrl="https://shop.example.rw/done")
    without = await ended(shop, PAYS, "SUCCEEDED")
    evil = "return_url=https://evil.example&returnUrl=https://evil.example&url=//evil.example"
    evil += "&redirect_url=https://evil.example&next=https://evil.example&lang=https://evil.example"

    answer = await http.get(
        f"/return/{payment['reference']}?{evil}",
        headers={"x-forwarded-host": "evil.example", "host": "evil.example"},
    )
    page = await http.get(f"/return/{without['reference']}?{evil}&n=//evil.example")

    target = urlsplit(answer.headers["location"])
    assert target.netloc == "shop.example.rw"
    assert [name for name, _ in parse_qsl(target.query)] == ["payment", "reference"]
    assert page.status_code == 200
    assert "evil" not in page.text


async def test_a_post_is_shown_as_a_page_that_can_be_loaded_again(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    payment = await ended(shop, PAYS, "SUCCEEDED")

    answer = await http.post(f"/return/{payment['reference'].lower()}", content=b"x" * 100_000)

    assert (answer.status_code, answer.headers["location"]) == (303, payment["reference"])
    page = await http.get(answer.url.join(answer.headers["location"]))
    assert state(page) == "paid"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_refused(http: httpx.AsyncClient, method: str) -> None:
    assert (await http.request(method, "/return/PAY-00000000")).status_code == 405


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_undecided_page_looks_again_after_2_5_and_15_seconds_and_then_rests(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    payment = await paying(shop, WAITS)
    waits, query = [], ""
    for _ in range(len(AGAIN) + 1):
        page = await http.get(f"/return/{payment['reference']}{query}")
        found = re.search('http-equiv="refresh" content="([0-9]+); url=([^"]+)"', page.text)
        if found is None:
            break
        waits.append(int(found[1]))
        query = found[2].replace("&amp;", "&")
        await asyncio.sleep(0.02)  # less than fifty a second

    assert waits[:3] == [2, 5, 15]
    assert len(waits) == len(AGAIN)
    assert "Look again" in page.text


@pytest.mark.parametrize("count", ["-1", "1e9", "999999999999", "٣", "1.5", "", "%00", "<b>"])
async def test_a_count_that_is_none_begins_anew(
    shop: Shop, http: httpx.AsyncClient, count: str
) -> None:
    payment = await paying(shop, WAITS)

    page = await http.get(f"/return/{payment['reference']}?n={count}")

    assert 'content="2; url=?n=1&amp;lang=en"' in page.text


@pytest.mark.parametrize(
    ("header", "query", "language"),
    [
        ("", "", "en"),
        ("rw", "", "rw"),
        ("fr-FR,fr;q=0.9,en;q=0.8", "", "fr"),
        ("de-DE,de;q=0.9,rw;q=0.5,en;q=0.4", "", "rw"),
        ("en;q=0.1, fr;q=0.2", "", "fr"),
        ("sw, de", "", "en"),
        ("fr;q=0, rw;q=nan", "", "en"),
        ("*", "", "en"),
        ("," * 10_000, "", "en"),
        ("fr", "?lang=rw", "rw"),
        ("fr", "?lang=de", "fr"),
        ("fr", "?lang=%3Cscript%3E", "fr"),
    ],
)
async def test_the_page_speaks_the_payers_language(
    shop: Shop, http: httpx.AsyncClient, header: str, query: str, language: str
) -> None:
    page = await http.get(f"/return/PAY-00000000{query}", headers={"accept-language": header})

    assert f'<html lang="{language}">' in page.text


async def test_a_language_is_matched_by_its_name_and_not_by_its_beginning() -> None:
    assert chosen_language(None, "rwk") == "en"
    assert chosen_language(None, "frr, RW-RW") == "rw"


async def test_s61_the_page_may_do_nothing_and_nobody_keeps_it(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    payment = await paying(shop, WAITS)

    for path in (payment["reference"], "PAY-00000000"):
        headers = (await http.get(f"/return/{path}")).headers
        policy = headers["content-security-policy"]
        assert headers.get_list("content-security-policy") == [policy]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        for rule in ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
            assert rule in policy
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-robots-tag"] == "noindex, nofollow"
        assert "set-cookie" not in headers


async def test_s62_hostile_text_stays_text(shop: Shop, http: httpx.AsyncClient) -> None:
    payment = await ended(shop, PAYS, "SUCCEEDED", orderReference=EVIL)

    page = await http.get(f"/return/{payment['reference']}?lang={EVIL}&n={EVIL}")

    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "&lt;script&gt;" in page.text


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on PATH")
async def test_a_browser_follows_a_payment_until_it_is_paid(shop: Shop) -> None:
    payment = await paying(shop, WAITS, orderReference=EVIL)
    account = await shop.core.gateways.by_code("fake")
    assert account.gateway is not None
    [attempt] = await fetch("SELECT * FROM payment_attempt WHERE payment_id = $1", payment["id"])
    provider = shop.gateway.provider(account.gateway)

    async with serve(shop.app) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = await browser.new_page(locale="fr-RW", java_script_enabled=True)
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        await page.goto(f"{url}/return/{payment['reference']}?{LIES}")
        await expect(page.locator("h1")).to_have_text("Pas encore confirmé")
        await expect(page.locator("dd").nth(1)).to_have_text(EVIL)

        provider.simulation.decide(attempt["reference"], approve=True)

        # By itself: nobody presses anything.
        await expect(page.locator("h1")).to_have_text("Payé", timeout=15_000)
        assert await page.evaluate("window.__x") is None
        size = await page.evaluate("getComputedStyle(document.body).maxWidth")
        await browser.close()
        assert size == "448px", "the style is not applied"
        assert [one for one in troubles if "404" not in one] == [], "not only the missing icon"


async def test_a_slow_gateway_does_not_hold_the_page(shop: Shop, http: httpx.AsyncClient) -> None:
    assert isinstance(shop.gateway, Slow)
    payment = await paying(shop, WAITS)
    await leave_to_visitors(payment)
    shop.gateway.answers.clear()
    try:
        page = await http.get(f"/return/{payment['reference']}", timeout=30)
    finally:
        shop.gateway.answers.set()

    assert state(page) == "waiting"
