"""Signing in by HTTP, and what a cookie is good for. S numbers are those of the checklist."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
import pytest_asyncio
import structlog
from playwright.async_api import async_playwright, expect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from dusangire.access import OPERATOR
from dusangire.database import fetch
from dusangire.people import onetime, staff
from dusangire.permissions import Role
from dusangire.testing.rig import serve
from dusangire_server.app import build_app
from dusangire_server.limits import Limits
from dusangire_server.testing import PASSPHRASE, Person, Shop, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
HERE = "http://shop.test"
EVIL = "https://evil.example"
VIEWER = "{ viewer { kind name role confirmedUntil } }"
EVENTS = "subscription { events { type } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(limits=Limits(per_address=10_000, access_check=0.1)) as opened:
        yield opened


@asynccontextmanager
async def browsing(shop: Shop, base: str = HERE) -> AsyncIterator[httpx.AsyncClient]:
    """A browser of its own: it keeps cookies, and says which page it is on."""
    transport = httpx.ASGITransport(app=shop.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url=base, headers={"Origin": base}
    ) as browser:
        yield browser


async def link_for(shop: Shop, role: Role, email: str) -> str:
    made = await staff.create(shop.core, OPERATOR, email=email, role=role)
    return "/admin/link/" + made.login_url.rpartition("/")[2]


async def code_of(person: Person) -> str:
    """A code that was not used yet."""
    await fetch("UPDATE staff SET totp_step = 0 WHERE id = $1", person.id)
    return onetime.code_at(person.secret, time.time())


async def form_of(person: Person, **changes: str) -> dict[str, str]:
    code = await code_of(person) if person.secret else ""
    return {"email": person.email, "password": PASSPHRASE, "code": code, **changes}


# ── from the link to the page ────────────────────────────────────────────────────────────────────


async def test_a_link_leads_to_a_password_a_phone_and_the_page(shop: Shop) -> None:
    path = await link_for(shop, Role.ADMIN, "first@shop.test")
    async with browsing(shop) as browser:
        for looks in (
            await browser.get(path, headers={"Sec-Purpose": "prefetch"}),
            await browser.head(path),
        ):
            assert looks.status_code == 200
        assert not browser.cookies, "whoever only looks uses nothing up"

        opened = await browser.get(path)
        assert (opened.status_code, opened.headers["location"]) == (303, "/admin/")
        assert "Choose a password" in (await browser.get("/admin/")).text
        weak = await browser.post("/admin/password", data={"new": "password1234"})
        assert (weak.status_code, "easily guessed" in weak.text) == (400, True)
        await browser.post("/admin/password", data={"new": PASSPHRASE})
        page = (await browser.get("/admin/")).text
        assert "<svg" in page
        [secret] = re.findall(r"<code>([A-Z2-7 ]+)</code>", page)
        code = onetime.code_at(secret.replace(" ", ""), time.time())
        wrong = await browser.post("/admin/code", data={"code": "000000"})
        assert wrong.status_code == 400
        assert secret in wrong.text, "the same as before"
        await browser.post("/admin/code", data={"code": code})

        page = (await browser.get("/admin/")).text
        assert "Hello, first" in page
        assert "admin" in page
        again = await browser.get(path)
        assert (again.status_code, "does not work" in again.text) == (404, True)


async def test_who_became_approver_later_types_the_password_to_set_up_a_phone(shop: Shop) -> None:
    person = await shop.person(Role.OPERATOR, fresh=False)
    await staff.change_role(OPERATOR, person.id, Role.APPROVER)
    async with browsing(shop) as browser:
        browser.cookies.set("dusangire-session", str(person))
        page = (await browser.get("/admin/")).text
        [secret] = re.findall(r"<code>([A-Z2-7 ]+)</code>", page)
        form = {"code": onetime.code_at(secret.replace(" ", ""), time.time())}
        without = await browser.post("/admin/code", data=form)
        done = await browser.post("/admin/code", data={**form, "password": PASSPHRASE})

        assert 'name="password"' in page
        assert without.status_code == 400
        assert done.headers["location"] == "/admin/"
        assert "Hello" in (await browser.get("/admin/")).text


@pytest.mark.parametrize("site", ["cross-site", "same-site", "signed in"])
async def test_s63_a_link_on_another_site_signs_nobody_out_or_in(shop: Shop, site: str) -> None:
    victim = await shop.person(Role.ADMIN)
    path = await link_for(shop, Role.VIEWER, f"evil-{site.replace(' ', '-')}@shop.test")
    headers = {} if site == "signed in" else {"Sec-Fetch-Site": site}
    async with browsing(shop) as browser:
        if site == "signed in":
            browser.cookies.set("dusangire-session", str(victim))
        shown = await browser.get(path, headers=headers)
        assert (shown.status_code, "set-cookie" in shown.headers) == (200, False)
        assert "<button>Sign in</button>" in shown.text
        assert (await shop.ask(VIEWER, token=victim))["data"]["viewer"]["name"] == victim.email

        pressed = await browser.post(path)

    assert pressed.headers["location"] == "/admin/"


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_a_link_that_was_typed_is_used_by_opening_it(shop: Shop, site: str) -> None:
    path = await link_for(shop, Role.VIEWER, f"typed-{site}@shop.test")
    async with browsing(shop) as browser:
        # A session that is over keeps nobody from using a link.
        browser.cookies.set("dusangire-session", "of-yesterday")
        opened = await browser.get(path, headers={"Sec-Fetch-Site": site})

    assert (opened.status_code, opened.headers["location"]) == (303, "/admin/")


async def test_a_person_signs_in_and_out(shop: Shop) -> None:
    person = await shop.person(Role.APPROVER)
    async with browsing(shop) as browser:
        assert (await browser.get("/admin/")).headers["location"] == "/admin/login"

        signed = await browser.post("/admin/login", data=await form_of(person))
        assert signed.headers["location"] == "/admin/"
        assert person.email in (await browser.get("/admin/")).text
        token = browser.cookies["dusangire-session"]
        await browser.post("/admin/logout")

        assert "dusangire-session" not in browser.cookies
        replayed = await browser.get("/admin/", headers={"Cookie": f"dusangire-session={token}"})
        assert replayed.headers["location"] == "/admin/login"


@pytest.mark.parametrize(
    "wrong", [{"password": "no"}, {"code": "000000"}, {"email": "nobody@shop.test"}, {"email": ""}]
)
async def test_s24_a_refusal_says_nothing_about_what_was_wrong(
    shop: Shop, wrong: dict[str, str]
) -> None:
    person = await shop.person(Role.APPROVER)
    async with browsing(shop) as browser:
        refused = await browser.post("/admin/login", data=await form_of(person, **wrong))

    assert refused.status_code == 401
    assert "The e-mail, the password or the code is not right." in refused.text
    assert person.email not in refused.text
    assert not browser.cookies


async def test_who_tries_too_often_is_told_to_wait(shop: Shop) -> None:
    async with browsing(shop) as browser:
        form = {"email": "guessed@shop.test", "password": "x"}
        for _ in range(5):
            await browser.post("/admin/login", data=form)
        refused = await browser.post("/admin/login", data=form)
    await fetch("DELETE FROM login_throttle")

    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 30


async def test_a_program_may_sign_in_as_a_browser_does(shop: Shop) -> None:
    person = await shop.person(Role.VIEWER)

    signed = await shop.http.post("/admin/login", data=await form_of(person))
    shop.http.cookies.clear()

    assert signed.status_code == 303


# ── the cookie (S25) ─────────────────────────────────────────────────────────────────────────────


async def test_s25_a_cookie_is_for_this_host_and_no_script(shop: Shop) -> None:
    person = await shop.person(Role.VIEWER)
    async with browsing(shop) as browser:
        await browser.get("/admin/login", headers={"Cookie": "dusangire-session=planted"})
        signed = await browser.post(
            "/admin/login",
            data=await form_of(person),
            headers={"Cookie": "dusangire-session=planted"},
        )

    for line in signed.headers.get_list("set-cookie"):
        [cookie] = SimpleCookie(line).values()
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
        assert cookie["domain"] == ""
        assert cookie.value != "planted"


async def test_s25_over_https_a_cookie_is_bound_to_the_host(own_shop_https: Shop) -> None:
    person = await own_shop_https.person(Role.VIEWER)
    async with browsing(own_shop_https, "https://pay.example.rw") as browser:
        signed = await browser.post("/admin/login", data=await form_of(person))
        answer = await browser.post("/graphql", json={"query": VIEWER}, headers={"X-CSRF": "1"})

    lines = signed.headers.get_list("set-cookie")
    assert signed.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert len(lines) == 2
    assert all(line.startswith("__Host-dusangire-") and "; Secure" in line for line in lines)
    assert answer.json()["data"]["viewer"]["name"] == person.email


@pytest_asyncio.fixture(loop_scope="module")
async def own_shop_https(shop: Shop) -> AsyncIterator[Shop]:
    """The same shop as seen at its public address."""
    settings = shop.core.settings
    shop.core.settings = replace(settings, public_url="https://pay.example.rw")
    yield replace(shop, app=build_app(shop.core))
    shop.core.settings = settings


@pytest.mark.parametrize(
    ("cookies", "name"),
    [
        ("dusangire-session={}", True),
        ("a[b]=1;dusangire-session={} ; c", True),
        ('a="\\\\"; dusangire-session={}', True),
        ("xdusangire-session={}", False),
        ("Dusangire-Session={}", False),
        ('"; dusangire-session={}"', False),
        ("dusangire-session={}; a=" + "x" * 2_048, False),
    ],
)
async def test_a_cookie_is_found_by_its_name_alone_and_soon(
    shop: Shop, cookies: str, name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await shop.person(Role.VIEWER)
    # Python's own reader takes the square of the length: CVE-2024-7592.
    monkeypatch.setattr(SimpleCookie, "load", None)

    headers = {**shop.headers(person), "Cookie": cookies.format(str(person))}
    answer = await shop.http.post("/graphql", json={"query": VIEWER}, headers=headers)

    assert answer.status_code == (200 if name else 401)


# ── CSRF (S63) ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://shop.test.evil.example"},
        {"Origin": "http://shop.test:81"},
        {"X-CSRF": "0"},
        {"X-CSRF": ""},
    ],
)
async def test_s63_a_cookie_without_proof_of_our_page_is_no_cookie(
    shop: Shop, headers: dict[str, str]
) -> None:
    person = await shop.person(Role.VIEWER)

    refused = await shop.http.post(
        "/graphql", json={"query": VIEWER}, headers={**shop.headers(person), **headers}
    )
    let_in = await shop.ask(VIEWER, token=person)

    assert refused.status_code == 401
    assert let_in["data"]["viewer"]["role"] == "VIEWER"


@pytest.mark.parametrize("path", ["/admin/logout", "/admin/password", "/admin/code"])
@pytest.mark.parametrize("origin", [EVIL, "null", ""])
async def test_s63_another_page_cannot_send_our_forms(shop: Shop, path: str, origin: str) -> None:
    person = await shop.person(Role.VIEWER)
    async with browsing(shop) as browser:
        browser.cookies.set("dusangire-session", str(person))

        refused = await browser.post(path, data={"new": "x"}, headers={"Origin": origin})

    assert refused.status_code == 403
    assert (await shop.ask(VIEWER, token=person))["data"]["viewer"]["name"] == person.email


@pytest.mark.parametrize("headers", [{"Origin": EVIL}, {"Sec-Fetch-Site": "cross-site"}])
async def test_s63_another_page_cannot_sign_a_visitor_in(
    shop: Shop, headers: dict[str, str]
) -> None:
    person = await shop.person(Role.VIEWER)
    link = await link_for(shop, Role.VIEWER, f"l{len(headers)}{person.email}")

    for path in ("/admin/login", link):
        refused = await shop.http.post(path, data=await form_of(person), headers=headers)
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers


async def test_a_bearer_token_counts_before_a_cookie(shop: Shop) -> None:
    person = await shop.person(Role.VIEWER)
    headers = {**shop.headers(person), "Authorization": f"Bearer {shop.admin}"}

    answer = await shop.http.post("/graphql", json={"query": VIEWER}, headers=headers)
    wrong = await shop.http.post(
        "/graphql", json={"query": VIEWER}, headers={**headers, "Authorization": "Bearer no"}
    )

    assert answer.json()["data"]["viewer"]["kind"] == "api_key"
    assert wrong.status_code == 401


# ── showing who one is (S26) ─────────────────────────────────────────────────────────────────────

CONFIRM = """mutation($password: String!, $code: String) { confirmIdentity(
    password: $password, code: $code) { viewer { confirmedUntil } userErrors { code message } } }"""
KEY = 'mutation { createApiKey(name: "till", scopes: [ADMIN]) { secret userErrors { message } } }'


async def test_s26_a_stale_session_confirms_and_goes_on(shop: Shop) -> None:
    person = await shop.person(Role.ADMIN, fresh=False)
    refused = await shop.get(KEY, token=person)
    assert "confirmIdentity" in refused["createApiKey"]["userErrors"][0]["message"]
    assert (await shop.get(VIEWER, token=person))["viewer"]["confirmedUntil"] is None

    code = await code_of(person)
    done = await shop.get(CONFIRM, {"password": PASSPHRASE, "code": code}, token=person)

    assert done["confirmIdentity"]["userErrors"] == []
    assert done["confirmIdentity"]["viewer"]["confirmedUntil"] is not None
    assert (await shop.get(KEY, token=person))["createApiKey"]["secret"] is not None


async def test_s6_a_document_guesses_once(shop: Shop) -> None:
    person = await shop.person(Role.VIEWER)
    fields = " ".join(
        f'a{n}: confirmIdentity(password: "guess {n}") {{ viewer {{ kind }} }}' for n in range(15)
    )

    answer = await shop.ask(f"mutation {{ {fields} }}", token=person)

    assert answer["errors"][0]["extensions"]["code"] == "TOO_COMPLEX"
    assert (await shop.ask(VIEWER, token=person))["data"] is not None


async def test_an_administrator_makes_changes_and_ends_accounts(shop: Shop) -> None:
    admin = await shop.person(Role.ADMIN)
    made = await shop.get(
        'mutation { createStaff(email: "New@Shop.test" role: VIEWER name: "New") '
        "{ staff { id email role hasPassword } loginUrl userErrors { code } } }",
        token=admin,
    )
    new = made["createStaff"]["staff"]
    assert (new["email"], new["hasPassword"]) == ("new@shop.test", False)
    assert "/admin/link/" in made["createStaff"]["loginUrl"]

    changes = [
        (f'changeStaffRole(id: "{new["id"]}" role: OPERATOR)', "staff { role }"),
        (f'newStaffLink(id: "{new["id"]}" resetPassword: true)', "loginUrl"),
        (f'disableStaff(id: "{new["id"]}")', "staff { disabledAt }"),
        (f'enableStaff(id: "{new["id"]}")', "staff { disabledAt }"),
    ]
    done: list[Any] = []
    for call, shown in changes:
        answer = await shop.get(
            f"mutation {{ {call} {{ {shown} userErrors {{ code }} }} }}", token=admin
        )
        [payload] = answer.values()
        assert payload.pop("userErrors") == []
        done.append(payload)

    assert done[0] == {"staff": {"role": "OPERATOR"}}
    assert "/admin/link/" in done[1]["loginUrl"]
    assert done[2]["staff"]["disabledAt"] is not None
    assert done[3]["staff"]["disabledAt"] is None


async def test_nobody_changes_their_own_role(shop: Shop) -> None:
    admin = await shop.person(Role.ADMIN)

    answer = await shop.get(
        "mutation($id: ID!) { changeStaffRole(id: $id role: VIEWER) { userErrors { code } } }",
        {"id": str(admin.id)},
        token=admin,
    )

    assert answer["changeStaffRole"]["userErrors"] == [{"code": "FORBIDDEN"}]


async def test_s56_a_refusal_is_logged_with_who_and_what(shop: Shop) -> None:
    person = await shop.person(Role.VIEWER)
    with structlog.testing.capture_logs() as logged:
        await shop.ask(KEY, token=person)

    assert {
        "event": "security: not allowed",
        "log_level": "warning",
        "actor": str(person.id),
        "permission": "MANAGE_KEYS",
    } in logged


# ── what stays open ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["sign out", "disable", "lower", "new password"])
async def test_s18_s25_an_open_stream_ends_within_five_seconds(shop: Shop, how: str) -> None:
    person = await shop.person(Role.OPERATOR)
    async with serve(shop.app) as url:
        headers = {**shop.headers(person), "Origin": url, "Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(trust_env=False, timeout=15) as http,
            http.stream(
                "POST", f"{url}/graphql", json={"query": EVENTS}, headers=headers
            ) as stream,
        ):
            assert stream.status_code == 200
            await _take_away(shop, person, how, url)
            async with asyncio.timeout(5):
                async for _ in stream.aiter_bytes():
                    pass


async def _take_away(shop: Shop, person: Person, how: str, url: str) -> None:
    match how:
        case "disable":
            await staff.disable(OPERATOR, person.id)
        case "lower":
            await staff.change_role(OPERATOR, person.id, Role.VIEWER)
        case "sign out":
            async with httpx.AsyncClient(trust_env=False) as http:
                headers = {**shop.headers(person), "Origin": url}
                assert (await http.post(f"{url}/admin/logout", headers=headers)).status_code == 303
        case "new password":
            async with browsing(shop) as browser:
                await browser.post("/admin/login", data=await form_of(person))
                form = {"password": PASSPHRASE, "new": "seven purple boats at noon"}
                changed = await browser.post("/admin/password", data=form)
                assert changed.headers["location"] == "/admin/?done=password"


@asynccontextmanager
async def socket_of(
    url: str, cookie: str, origin: str | None, payload: dict[str, str] | None = None
) -> AsyncIterator[ClientConnection]:
    """A socket that a page on `origin` opened, after its greeting."""
    address = url.replace("http", "ws") + "/graphql"
    async with connect(
        address,
        subprotocols=[Subprotocol("graphql-transport-ws")],
        proxy=None,
        origin=Origin(origin) if origin else None,
        additional_headers={"Cookie": cookie},
    ) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": payload or {}}))
        yield socket


async def test_s15_a_page_of_ours_watches_with_its_cookie_until_it_is_taken_away(
    shop: Shop,
) -> None:
    person = await shop.person(Role.VIEWER)
    cookie = shop.headers(person)["Cookie"]
    async with serve(shop.app) as url, socket_of(url, cookie, url) as socket:
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        subscribe = {"type": "subscribe", "id": "1", "payload": {"query": EVENTS}}
        await socket.send(json.dumps(subscribe))

        await staff.disable(OPERATOR, person.id)

        async with asyncio.timeout(5):
            await socket.wait_closed()
    assert socket.close_code == 4403


@pytest.mark.parametrize("origin", [None, "https://shop.example.rw"])
async def test_s15_a_cookie_counts_for_no_other_page(shop: Shop, origin: str | None) -> None:
    person = await shop.person(Role.VIEWER)
    shops = replace(shop.core.settings, allowed_origins=("https://shop.example.rw",))
    shop.core.settings, before = shops, shop.core.settings
    app = build_app(shop.core)
    shop.core.settings = before
    cookie = shop.headers(person)["Cookie"]

    async with serve(app) as url, socket_of(url, cookie, origin) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


async def test_a_wrong_token_is_not_made_good_by_a_cookie(shop: Shop) -> None:
    person = await shop.person(Role.VIEWER)
    cookie = shop.headers(person)["Cookie"]

    async with (
        serve(shop.app) as url,
        socket_of(url, cookie, url, {"authorization": "Bearer no"}) as socket,
    ):
        with pytest.raises(ConnectionClosed):
            await socket.recv()


# ── pages ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/admin/login", "/admin/link/none", "/admin/"])
async def test_s61_pages_run_no_script_and_are_kept_by_nobody(shop: Shop, path: str) -> None:
    response = await shop.http.get(path, follow_redirects=True)

    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe-inline" not in policy
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "same-origin"
    assert "<script" not in response.text


async def test_s62_a_hostile_name_stays_text(shop: Shop) -> None:
    made = await staff.create(
        shop.core,
        OPERATOR,
        email='"><svg/onload=x>@shop.test',
        role=Role.VIEWER,
        name="<script>x</script>",
    )
    path = "/admin/link/" + made.login_url.rpartition("/")[2]
    async with browsing(shop) as browser:
        page = (await browser.get(path)).text
        await browser.post(path)
        await browser.post("/admin/password", data={"new": PASSPHRASE})
        page += (await browser.get("/admin/")).text

    assert "<script>x" not in page
    assert "<svg/onload" not in page


@pytest.mark.parametrize(
    "body", [b"", b"%", b"email=%ff", b"&" * 100, "email=é".encode(), b"email=%00", b"a" * 9_000]
)
async def test_a_form_that_is_none_is_refused(shop: Shop, body: bytes) -> None:
    headers = {"Origin": HERE, "Content-Type": "application/x-www-form-urlencoded"}

    response = await shop.http.post("/admin/login", content=body, headers=headers)
    await fetch("DELETE FROM login_throttle")

    assert response.status_code == (413 if len(body) > 8_192 else 401)


# ── a real browser ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on PATH")
async def test_a_browser_without_scripts_goes_from_the_link_to_the_end(shop: Shop) -> None:
    path = await link_for(shop, Role.ADMIN, "browser@shop.test")
    async with serve(shop.app) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = await (await browser.new_context(java_script_enabled=False)).new_page()
        await page.goto(f"{url}{path}")
        await page.get_by_label("New password").fill(PASSPHRASE)
        await page.get_by_role("button", name="Save it").click()
        secret = (await page.locator("code").inner_text()).replace(" ", "")
        await page.get_by_label("The code that the app shows").fill(
            onetime.code_at(secret, time.time())
        )
        await page.get_by_role("button", name="Finish").click()
        await expect(page.locator("h1")).to_have_text("Hello, browser")
        await expect(page.locator("dd").nth(1)).to_have_text("admin")

        await page.get_by_role("button", name="Sign out").click()

        await expect(page.locator("h1")).to_have_text("Sign in")
        await page.goto(f"{url}/admin/")
        await expect(page.locator("h1")).to_have_text("Sign in")
        await browser.close()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on PATH")
async def test_s63_a_form_on_another_site_does_nothing(shop: Shop) -> None:
    person = await shop.person(Role.VIEWER)
    async with serve(shop.app) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        context = await browser.new_context()
        await context.add_cookies([{"name": "dusangire-session", "value": str(person), "url": url}])
        page = await context.new_page()
        await page.set_content(
            f'<form method="post" action="{url}/admin/logout"><button>Win</button></form>'
        )
        await page.get_by_role("button").click()
        await expect(page.locator("h1")).to_have_text("Not now")
        await browser.close()

    assert (await shop.ask(VIEWER, token=person))["data"]["viewer"]["name"] == person.email
