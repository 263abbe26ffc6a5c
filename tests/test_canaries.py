"""Marked secrets, phone numbers, addresses and a card number, sent through everything at once.

A whole shop with all its doors: three providers that repeat whatever they hear, a merchant's server
and a mail server that do the same, a device for receipts, people who sign in, and a plugin that
talks too much. Afterwards nothing secret is in a table, in the log, in the metrics or in an answer;
a phone number and an address only where they belong.
"""

import asyncio
import base64
import html
import json
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send
from tests.harness.kept import columns_kept, logged

from dusangire import hookimpl
from dusangire.database import fetch
from dusangire.gateway import Attempt, Failed, FailureCode, Outcome, Refund, Succeeded
from dusangire.people import onetime
from dusangire.permissions import Role
from dusangire.testing.fake import STAYS_PENDING, Configured, FakeGateway, sign
from dusangire.testing.rig import free_port, serve, simulate, until
from dusangire_server.testing import PASSPHRASE, Person, Shop, open_shop

# What stands beside each canary, so that it is known that the words around it were kept.
MARK = "repeated-words"
PAN = "4111111111111111"
PHONE, AIRTEL_PHONE, WAITING_PHONE = "+250788123456", "+250731234567", STAYS_PENDING["phone"]
# In the merchant's own words, which nobody else is told as they are.
WORDS_PHONE = "+250788999111"
EMAIL = "aline.canary@payers.example.rw"
PAYER_EMAIL = "payer.canary@payers.example.rw"
FORGED = 'a\nINFO forged \x1b[2J\u2028{"level": "info"}'


def spelled(phone: str) -> list[str]:
    """A number as people and providers write it."""
    bare = phone.removeprefix("+250")
    parted = f"{bare[:3]} {bare[3:6]} {bare[6:]}"
    return [phone, f"250{bare}", f"0{bare}", f"0{parted}", f"+250 {parted}", f"250-{bare}"]


CHATTER = " | ".join(
    [MARK, *spelled(PHONE), *spelled(AIRTEL_PHONE), EMAIL, PAYER_EMAIL, PAN, "4111 1111 1111 1111"]
)

# ── the finder ───────────────────────────────────────────────────────────────────────────────────


def forms(secret: str | bytes) -> set[str]:
    """How a secret may stand in a text: as it is, in base64, hex, JSON, HTML or an address."""
    raw = secret.encode() if isinstance(secret, str) else secret
    found = {raw.hex(), "".join(f"%{byte:02x}" for byte in raw)}
    for before in range(3):
        # Wherever it stands in a longer text, these characters of the base64 are its own.
        text = base64.b64encode(bytes(before) + raw).decode()
        own = text[math.ceil(before * 8 / 6) : (before + len(raw)) * 8 // 6]
        found |= {own, own.translate(str.maketrans("+/", "-_"))}
    if isinstance(secret, str):
        found |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
        found |= {json.dumps(secret)[1:-1], html.escape(secret)}
    return {form.lower() for form in found}


def holds(text: str, secret: str | bytes) -> bool:
    lowered = text.lower()
    return any(form in lowered for form in forms(secret))


def holds_number(text: str, digits: str) -> bool:
    """Whether the digits stand in a text, whatever parts them, or coded."""
    parted = r"(?:[ .()-]|%20|\+){0,2}".join(digits)
    return re.search(parted, text) is not None or holds(text, digits)


def holds_phone(text: str, phone: str) -> bool:
    return holds_number(text, phone.removeprefix("+250"))


@pytest.mark.parametrize("around", ["{}", "user:{}", "ab{}", '{{"key": "{}"}}', "x={}&y"])
@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(lambda text: text, id="as it is"),
        pytest.param(lambda text: base64.b64encode(text.encode()).decode(), id="base64"),
        pytest.param(lambda text: base64.urlsafe_b64encode(text.encode()).decode(), id="base64url"),
        pytest.param(lambda text: text.encode().hex(), id="hex"),
        pytest.param(lambda text: text.encode().hex().upper(), id="HEX"),
        pytest.param(lambda text: quote(text, safe=""), id="in an address"),
        pytest.param(lambda text: "".join(f"%{b:02X}" for b in text.encode()), id="all coded"),
        pytest.param(json.dumps, id="JSON"),
        pytest.param(html.escape, id="HTML"),
    ],
)
def test_the_finder_finds_whatever_was_made_of_a_secret(around: str, coded: Any) -> None:
    secret, another = 'canary+/=&"key>?', 'canary+/=&"kex>?'

    assert holds(f"before {coded(around.format(secret))} after", secret)
    assert not holds(f"before {coded(around.format(another))} after", secret)


@pytest.mark.parametrize("text", [*spelled(PHONE), "(0788) 12.34.56", "%2B250788123456"])
def test_the_finder_finds_every_spelling_of_a_number(text: str) -> None:
    assert holds_phone(f"call {text} now", PHONE)
    assert holds_phone(base64.b64encode(f"call {PHONE} now".encode()).decode(), PHONE)
    assert holds_number(f"paid with {PAN[:4]}-{PAN[4:]}", PAN)
    assert not holds_phone("call +2507****456, not 0788123457", PHONE)


# ── who repeats what they hear ───────────────────────────────────────────────────────────────────


@dataclass
class Repeater:
    """Stands before a provider, and puts all it was told into each answer."""

    url: str
    http: httpx.AsyncClient

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        query = f"?{request.url.query}" if request.url.query else ""
        answer = await self.http.request(
            request.method,
            f"{self.url}{request.url.path}{query}",
            headers=request.headers.items(),
            content=body,
        )
        await self._repeated(request, body, answer)(scope, receive, send)

    def _repeated(self, request: Request, body: bytes, answer: httpx.Response) -> Response:
        try:
            told = answer.json()
        except ValueError:
            kind = answer.headers.get("content-type")
            return Response(answer.content, answer.status_code, media_type=kind)
        if isinstance(told, dict):
            _talk(told)
            heard = " ".join(f"{name}: {value}" for name, value in request.headers.items())
            told |= {
                "repeated": f"{CHATTER} {heard} {request.url} {body.decode('utf-8', 'replace')}",
                "heard": {"headers": dict(request.headers), "list": [[PHONE, {"n": int(PAN)}]]},
                "number": int(PHONE.removeprefix("+")),
                PHONE: "as a name",
                PAN: "as a name",
            }
        return JSONResponse(told, answer.status_code)


def _talk(told: dict[str, Any]) -> None:
    """Makes the provider's words for people longer."""
    for name, value in told.items():
        if isinstance(value, dict):
            _talk(value)
        elif name in {"message", "processor_response", "narration", "payerMessage"}:
            told[name] = f"{value} {CHATTER}"


class Talkative(FakeGateway):
    """A plugin that says too much: in its words, its codes, its remarks, its log and its errors."""

    failures = 0

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        key = gateway.config.api_key.get_secret_value()
        if attempt.phone == WAITING_PHONE:
            Talkative.failures += 1
            raise RuntimeError(f"{FORGED} {CHATTER} {key}")
        gateway.log.info(f"asked with {key}", payer=CHATTER, token=key, heard=FORGED)
        gateway.note("asked", f"{CHATTER} {key}")
        return await FakeGateway.check_payment(self, gateway, attempt)

    @hookimpl
    async def refund_payment(self, gateway: Configured, refund: Refund) -> Outcome:
        if refund.amount.minor == 666:
            key = gateway.config.api_key.get_secret_value()
            return Failed(
                code=FailureCode.OTHER,
                message=f"{key} {CHATTER} {FORGED}",
                gateway_code=f"E {PHONE} {PAN} {key}",
            )
        return await FakeGateway.refund_payment(self, gateway, refund)

    def outcome_of_told(self, told: Mapping[str, Any], asked: Any) -> Outcome:
        outcome = super().outcome_of_told(told, asked)
        if isinstance(outcome, Succeeded):
            return replace(outcome, gateway_transaction_id=f"F-{told.get('id')}")
        return outcome


class _Talk(SMTP):
    """A conversation of the mail server that can be ended."""

    def __init__(self, post: "PostOffice") -> None:
        super().__init__(
            post, hostname="mail.test", authenticator=post.knows, auth_require_tls=False
        )
        self._post = post

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._post.lines.append((transport, self._handler_coroutine))


@dataclass
class PostOffice:
    """A mail server that says everything back: first it refuses the password, then a recipient."""

    password: str
    logins: int = 0
    recipients: int = 0
    letters: list[Envelope] = field(default_factory=list)
    lines: list[Any] = field(default_factory=list)

    def knows(
        self, server: SMTP, session: Session, envelope: Envelope, how: str, said: LoginPassword
    ) -> AuthResult:
        self.logins += 1
        right = said.password.decode() == self.password and self.logins > 1
        refusal = f"535 not {said.password.decode()} {CHATTER}"
        return AuthResult(success=right, handled=False, message=None if right else refusal)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.recipients += 1
        if self.recipients <= 2:
            code = 450 if self.recipients == 1 else 550
            return f"{code} <{address}> is refused, {self.password} {CHATTER}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.letters.append(envelope)
        return "250 OK"


@asynccontextmanager
async def post_office(office: PostOffice) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: _Talk(office), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        for transport, task in office.lines:
            transport.abort()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)


@dataclass
class MerchantsServer:
    """A sink that answers with all it knows: with 500 at first, then with 200."""

    secrets: list[str] = field(default_factory=list)
    asked: int = 0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/hooks", self.hear, methods=["POST"])])

    async def hear(self, request: Request) -> Response:
        self.asked += 1
        known = " ".join(self.secrets)
        coded = base64.b64encode(known.encode()).decode()
        words = f"{MARK} {known} {CHATTER[:200]} {FORGED} {coded}"
        return PlainTextResponse(words, 500 if self.asked < 3 else 200)


# ── one run through everything ───────────────────────────────────────────────────────────────────


@dataclass
class Run:
    """secrets: by what they are. columns: what is kept, by table.column. answers: all that were
    given but those in which a secret is shown once."""

    secrets: dict[str, str | bytes] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    log: str = ""
    metrics: str = ""

    def marked(self, what: str) -> str:
        """A new secret."""
        self.secrets[what] = secret = f"canary+{what.replace(' ', '-')}/{secrets.token_hex(12)}=="
        return secret

    def nobody_asked(self) -> dict[str, str]:
        """What is kept, logged and counted without anybody asking."""
        return {**self.columns, "the log": self.log, "the metrics": self.metrics}

    def places(self) -> dict[str, str]:
        """Every place where nothing secret may be."""
        answers = {f"answer {number}": text for number, text in enumerate(self.answers)}
        return {**self.nobody_asked(), **answers}


GATEWAYS = "{ gateways { code config health { lastError } } apiKeys { name } }"
SAVE_GATEWAY = """mutation($input: SaveGatewayInput!) { saveGateway(input: $input) {
    gateway { code config } userErrors { code message field } } }"""
REQUEST = """mutation($input: RequestRefundInput!) { requestRefund(input: $input) {
    refund { id digest } userErrors { code message } } }"""
APPROVE = """mutation($input: DecideRefundInput!) { approveRefund(input: $input) {
    refund { status } userErrors { code message } } }"""
REFUND = "query($id: ID!) { refund(id: $id) { status failure { code message gatewayCode } } }"
STATUS = "query($id: ID!) { payment(id: $id) { status reference } }"
ALL_ABOUT = """query($id: ID!) { payment(id: $id) { id status description failure { code message }
    transactions { edges { node { kind outcome errorMessage errorCode request response notes } } }
    notifications { to cause } } }"""
INVOICES = "{ invoices(first: 50) { edges { node { id status pdfUrl payment { id } } } } }"
REVEAL = """mutation($id: ID!, $reason: String!) { revealCustomer(reason: $reason, paymentId: $id) {
    customer { phone } userErrors { code message } } }"""
ENDPOINT = """mutation($url: String!) { createWebhookEndpoint(url: $url, events: ["*"]) {
    endpoint { id } secret userErrors { code message } } }"""
ROTATE = """mutation($id: ID!) { rotateWebhookSecret(id: $id, overlapHours: 1) {
    secret userErrors { code message } } }"""
DELIVERIES = """{ webhookEndpoints { health { lastError } deliveries(first: 50) { edges { node {
    status error payload log { error answer } } } } } }"""
CONFIRM = """mutation($password: String!, $code: String) {
    confirmIdentity(password: $password, code: $code) { viewer { name } userErrors { code } } }"""


@dataclass
class Walk:
    """Goes through every door of a shop, with the canaries in hand. page: a payer's browser."""

    run: Run
    shop: Shop
    page: httpx.AsyncClient

    def listen(self) -> None:
        """Keeps every answer from now on."""
        self.shop.http.event_hooks = {"response": [self._keep]}

    async def _keep(self, response: httpx.Response) -> None:
        self.run.answers.append((await response.aread()).decode("utf-8", "replace"))

    async def shown_once(
        self, query: str, variables: Mapping[str, Any] | None = None, token: str | None = None
    ) -> Any:
        """An answer with a secret in it: that is not held against it."""
        before = len(self.run.answers)
        answer = await self.shop.get(query, variables, token=token)
        del self.run.answers[before:]
        [payload] = answer.values()
        return payload

    # ── the doors ────────────────────────────────────────────────────────────────────────────────

    async def save(self, code: str, url: str, config: Mapping[str, Any]) -> None:
        given = {
            "code": code,
            "plugin": code,
            "name": code.title(),
            "environment": "TEST",
            "config": {**config, "base_url": url},
        }
        answer = await self.shop.get(SAVE_GATEWAY, {"input": given})
        assert answer["saveGateway"]["userErrors"] == []
        secret = self.run.marked(f"{code} misplaced")
        for wrong in (
            {**given, "config": {**config, "base_url": secret}},
            {**given, "config": {**config, "currency": secret}},
            {**given, "config": {**config, "base_url": f"https://{secret}@127.0.0.1/"}},
            {**given, "config": {**config, "no_such_setting": secret}},
        ):
            refused = await self.shop.get(SAVE_GATEWAY, {"input": wrong})
            assert refused["saveGateway"]["userErrors"]

    async def keys(self) -> None:
        made = await self.shown_once(
            'mutation { createApiKey(name: "till", scopes: [PAYMENTS_READ]) { secret } }'
        )
        keys = {"API key": made["secret"], **{f"key {s}": k for s, k in self.shop.keys.items()}}
        for what, key in keys.items():
            self.run.secrets[what] = key
            self.run.secrets[f"secret part of {what}"] = key.split("_", 2)[2]
        key = made["secret"]
        coded = base64.b64encode(f"{key}:".encode()).decode()
        for header in (f"Bearer {key}x", f"Basic {coded}", key, f"Bearer x{key}", f"Token {key}"):
            await self.shop.http.post(
                "/graphql", json={"query": "{ __typename }"}, headers={"Authorization": header}
            )
        await self.shop.http.get(f"/graphql?api_key={key}&query=%7B__typename%7D")
        await self.shop.http.get(f"/no/such/{key}")
        await self.shop.http.post("/graphql", content=f"{key} is no JSON")
        await self.shop.http.get("/metrics", headers={"Authorization": f"Bearer {key}x"})

    async def people(self, admin: Person) -> Person:
        """An approver, by every step that a person takes; what is secret about them is marked."""
        run, http = self.run, self.shop.http
        invited = await self.shown_once(
            'mutation { createStaff(email: "chantal@staff.example.rw", role: APPROVER) '
            "{ loginUrl userErrors { code message } } }",
            token=admin,
        )
        assert invited["loginUrl"], invited
        link = invited["loginUrl"].rpartition("/")[2]
        password = run.marked("password")
        run.secrets["link of a person"] = link
        transport = httpx.ASGITransport(app=self.shop.app, raise_app_exceptions=False)
        home = str(http.base_url).rstrip("/")
        async with httpx.AsyncClient(
            transport=transport,
            base_url=home,
            headers={"Origin": home, "X-CSRF": "1"},
        ) as browser:
            await browser.get(f"/admin/link/{link}")
            await browser.post(f"/admin/link/{link}")
            await browser.post("/admin/password", data={"new": password})
            [seed] = re.findall(r"<code>([A-Z2-7 ]+)</code>", (await browser.get("/admin/")).text)
            seed = seed.replace(" ", "")
            run.secrets["seed of a code generator"] = seed
            run.secrets["seed, decoded"] = base64.b32decode(seed)
            run.secrets["session after the link"] = browser.cookies["dusangire-session"]
            await browser.post("/admin/code", data={"code": onetime.code_at(seed, time.time())})
            await browser.post("/admin/logout")

            form = {"email": "chantal@staff.example.rw", "password": password}
            browser.event_hooks = {"response": [self._keep]}
            # What people do: the password in the wrong field, the wrong code, the used link.
            await browser.post("/admin/login", data={**form, "email": password, "code": "000000"})
            await browser.post("/admin/login", data={**form, "code": "000000"})
            await browser.post("/admin/login", data=form, headers={"Origin": FORGED[:1] + "://x"})
            await browser.get(f"/admin/login?password={quote(password, safe='')}")
            await browser.get(f"/admin/link/{link}")
            await browser.post(f"/admin/link/{link}", data={"code": "000000"})
            await fetch("DELETE FROM login_throttle")

            # A code counts once, and half a minute is long.
            await fetch("UPDATE staff SET totp_step = 0")
            code = onetime.code_at(seed, time.time())
            signed = await browser.post("/admin/login", data={**form, "code": code})
            assert signed.headers["location"] == "/admin/"
            person = Person(browser.cookies["dusangire-session"])
            person.email, person.secret = "chantal@staff.example.rw", seed
            run.secrets["session"] = str(person)
            run.secrets["device"] = browser.cookies["dusangire-device"]
            await fetch("UPDATE staff SET totp_step = 0")
            for given in (
                {"password": password, "code": "000000"},
                {"password": {"wrong": password}, "code": code},
                {"password": password, "code": onetime.code_at(seed, time.time())},
            ):
                answer = await self.shop.post(CONFIRM, given, token=person)
            assert answer.json()["data"]["confirmIdentity"]["viewer"], answer.text
            await self.shop.post(f'{{ viewer {{ "{password}', token=person)
        return person

    async def colleague(self, role: Role) -> Person:
        person = await self.shop.person(role)
        self.run.secrets[f"session of {role}"] = str(person)
        self.run.secrets["password of colleagues"] = PASSPHRASE
        if person.secret:
            self.run.secrets[f"seed of {role}"] = person.secret
        return person

    async def pay(self, gateway: str, **changes: Any) -> dict[str, Any]:
        """A payment, its customer with a number and an address."""
        before = len(self.run.answers)
        created = await self.shop.create(
            method={"gateway": gateway, **changes.pop("method", {})},
            customer={"reference": "aline", "name": "Uwase Aline", "phone": PHONE, "email": EMAIL},
            waitMs=3000,
            **changes,
        )
        del self.run.answers[before:]
        token = created["clientToken"]
        self.run.secrets[f"client token {len(self.run.secrets)}"] = token
        self.run.secrets[f"its signature {len(self.run.secrets)}"] = token.rpartition(".")[2]
        payment: dict[str, Any] = created["payment"]
        assert payment, created
        await self.shop.post(STATUS, {"id": payment["id"]}, token=token)
        await self.shop.post(STATUS, {"id": payment["id"]}, token=f"{token}x")
        await self.shop.post(REVEAL, {"id": payment["id"], "reason": "mine"}, token=token)
        await self.shop.http.get(f"/return/{token}?token={token}&phone={quote(PHONE)}")
        return payment

    async def becomes(self, payment_id: str, *statuses: str) -> None:
        async def is_so() -> bool:
            found = await self.shop.get(STATUS, {"id": payment_id})
            return found["payment"]["status"] in statuses

        await until(is_so, seconds=15)

    async def give_back(self, payment_id: str, amount: str, by: Person, *ends: str) -> None:
        asker = self.shop.admin
        wanted = {
            "idempotencyKey": f"refund of {payment_id} {amount}",
            "paymentId": payment_id,
            "amount": {"amount": amount, "currency": "RWF"},
            "reason": f"Torn, said {MARK}",
        }
        asked = (await self.shop.get(REQUEST, {"input": wanted}, token=asker))["requestRefund"]
        assert asked["refund"], asked
        decision = {"refundId": asked["refund"]["id"], "digest": asked["refund"]["digest"]}
        done = await self.shop.get(APPROVE, {"input": decision}, token=by)
        assert done["approveRefund"]["refund"], done

        async def ended() -> bool:
            found = await self.shop.get(REFUND, {"id": asked["refund"]["id"]})
            return found["refund"]["status"] in ends

        await until(ended, seconds=15)

    async def forgers(self) -> None:
        """Messages that nobody signed, to every gateway, with everything in them."""
        body = json.dumps({"phone": spelled(PHONE), "pan": PAN, "email": EMAIL, "words": CHATTER})
        for account in await self.shop.core.gateways.all():
            self.run.secrets[f"address of {account.code}'s webhooks"] = account.webhook_token
            path = f"/webhooks/{account.code}/{account.webhook_token}"
            for where in (path, f"{path}x", f"/webhooks/{quote(FORGED)}/{PAN}"):
                await self.shop.http.post(
                    where,
                    content=body,
                    headers={"verif-hash": "wrong", "user-agent": f"{PHONE} {PAN}"},
                )
                await self.shop.http.put(where, content=b"\xff" + body.encode())

    async def told_signed(self, reference: str) -> None:
        """A message of the provider itself, which repeats what it should not even know."""
        account = await self.shop.core.gateways.by_code("fake")
        assert account.gateway is not None
        key = account.gateway.config.api_key.get_secret_value()
        told = {
            "id": f"F {MARK}",
            "reference": reference,
            "status": f"ODD {CHATTER} {key}",
            "amount": "5000",
            "currency": "RWF",
            "words": f"{CHATTER} {key} {account.webhook_url}",
        }
        body = json.dumps({"event": told, "signature": sign(account.gateway.config, told)})
        path = f"/webhooks/fake/{account.webhook_token}"
        answer = await self.shop.http.post(path, content=body)
        assert answer.status_code == 200

    async def invoices(self) -> None:
        """Follows the links of all invoices, and of some that are none."""
        found = await self.shown_once(INVOICES)
        for edge in found["edges"]:
            url = httpx.URL(edge["node"]["pdfUrl"])
            token = url.params["token"]
            self.run.secrets[f"invoice link {edge['node']['id']}"] = token
            self.run.secrets[f"its signature {edge['node']['id']}"] = token.rpartition(".")[2]
            path = url.raw_path.decode()
            before = len(self.run.answers)
            page = await self.shop.http.get(path.replace(".pdf", ""))
            # The page links to itself and to its PDF with the token it was opened with.
            del self.run.answers[before:]
            assert page.status_code == 200
            await self.shop.http.get(path.replace("token=", "token=x"))
            await self.shop.http.get(f"/invoices/{secrets.token_hex(4)}?token={quote(token)}")

    async def words(self) -> None:
        """Lines that are none, and numbers, wherever a caller may write words."""
        for header in ("origin", "user-agent", "x-request-id", "accept-language", "referer"):
            await self.shop.http.get(
                f"/no/{quote(FORGED)}",
                headers={header.encode(): FORGED.encode("latin-1", "replace")},
            )
        given = {
            "idempotencyKey": f"{FORGED} {PHONE}",
            "amount": {"amount": "5000", "currency": FORGED},
        }
        create = "mutation a($input: CreatePaymentInput!) { createPayment(input: $input) {"
        query = f"{create} payment {{ id }} userErrors {{ code message }} }} }}"
        for changes in (
            {},
            {"amount": {"amount": FORGED, "currency": "RWF"}},
            {"description": f"{PAN} {FORGED}"},
            {"customer": {"reference": FORGED, "phone": f"{PHONE}x", "email": f"{EMAIL} x"}},
            {"method": {"gateway": FORGED, "phone": PAN}},
            {"method": {"gateway": "fake", "phone": PHONE, "details": {PAN: FORGED}}},
            {"metadata": {"card": PAN}},
            {"returnUrl": f"https://x/{PAN}"},
        ):
            await self.shop.post(query, {"input": {**given, **changes}})


async def _open(run: Run, stack: AsyncExitStack) -> Walk:
    """A shop with a mail server, a merchant's server, a device for receipts and all gateways."""
    enter = stack.enter_async_context
    monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
    office = PostOffice(run.marked("SMTP password"))
    mail_port = await enter(post_office(office))
    login = quote(office.password, safe="")
    monkeypatch.setenv("DUSANGIRE_SMTP_URL", f"smtp://pay:{login}@127.0.0.1:{mail_port}")
    monkeypatch.setenv("DUSANGIRE_MAIL_FROM", "Isoko Ltd <pay@isoko.rw>")
    port, public = free_port(), "http://127.0.0.1:"
    shop = await enter(
        open_shop(public_url=f"{public}{port}", gateway=Talkative(), loopback_webhooks=True)
    )
    await enter(serve(shop.app, port=port))
    _with_device(shop, run)
    stack.callback(setattr, shop.core.plugins, "fiscal", None)
    page = await enter(httpx.AsyncClient(verify=False, trust_env=False, timeout=10))
    walk = Walk(run, shop, page)
    walk.listen()
    await shop.get(
        'mutation { saveMerchant(input: { name: "Isoko Ltd", tin: "123456789" }) '
        "{ userErrors { code } } }"
    )
    sink = MerchantsServer()
    url = f"{await enter(serve(sink.app()))}/hooks"
    made = await walk.shown_once(ENDPOINT, {"url": url})
    turned = await walk.shown_once(ROTATE, {"id": made["endpoint"]["id"]})
    sink.secrets = [made["secret"], turned["secret"]]
    for number, secret in enumerate(sink.secrets):
        run.secrets[f"webhook secret {number}"] = secret
        run.secrets[f"webhook secret {number}, decoded"] = base64.b64decode(secret[6:])
    for code, config in _configs(run).items():
        plugin = shop.core.plugins[code]
        simulated = await enter(simulate(plugin, **config))
        await simulated.tell("settings", scale=0.01)
        url = await enter(serve(Repeater(simulated.url, page)))
        await walk.save(code, url, {**(plugin.description.example_config or {}), **config})
    return walk


def _configs(run: Run) -> dict[str, dict[str, Any]]:
    return {
        "fake": {"api_key": run.marked("fake key"), "webhook_key": run.marked("fake signing key")},
        "mtn": {
            "collection_subscription_key": run.marked("mtn subscription"),
            "collection_api_key": run.marked("mtn key"),
            "disbursement_subscription_key": run.marked("mtn other subscription"),
            "disbursement_api_key": run.marked("mtn other key"),
        },
        "airtel": {
            "client_secret": run.marked("airtel secret"),
            "callback_hash_key": run.marked("airtel hash key"),
            "pin": run.marked("airtel pin"),
        },
        "card": {
            "secret_key": f"FLWSECK_TEST-{run.marked('card key')}",
            "webhook_secret_hash": run.marked("card hash"),
        },
    }


async def _payments(walk: Walk) -> dict[str, dict[str, Any]]:
    """One by each way to pay, one that is declined and one that waits."""
    words = f"call {WORDS_PHONE} {MARK}"
    made = {
        "card": await walk.pay("card", method={"email": PAYER_EMAIL}),
        "fake": await walk.pay("fake", method={"phone": PHONE}),
        "mtn": await walk.pay(
            "mtn",
            method={"phone": PHONE},
            description=words,
            orderReference=words,
            metadata={"note": words, "deep": [{"phone": WORDS_PHONE}]},
        ),
        "airtel": await walk.pay("airtel", method={"phone": AIRTEL_PHONE}),
        "declined": await walk.pay("fake", method={"phone": "+250780000102"}),
        "waiting": await walk.pay("fake", method={"phone": WAITING_PHONE}),
    }
    for name in ("fake", "mtn", "airtel"):
        await walk.becomes(made[name]["id"], "SUCCEEDED")

    waiting = made["waiting"]["id"]
    check = "mutation($id: ID!) { checkPayment(paymentId: $id) { userErrors { code } } }"
    await walk.shop.post(check, {"id": waiting})
    [row] = await fetch("SELECT reference FROM payment_attempt WHERE payment_id = $1", waiting)
    await walk.told_signed(row["reference"])
    await walk.told_signed(f"nobody's {PHONE}")

    query = "query($id: ID!) { payment(id: $id) { nextAction { ... on FollowLink { url } } } }"
    card = made["card"]
    link = (await walk.shop.get(query, {"id": card["id"]}))["payment"]["nextAction"]["url"]
    await walk.page.post(link, data={"card": "visa-3ds", "act": "pay"})
    await walk.shop.http.get(f"/return/{card['reference']}?card={PAN}&phone={quote(PHONE)}")
    await walk.becomes(card["id"], "SUCCEEDED")
    return made


async def _walk(run: Run, stack: AsyncExitStack) -> None:
    """Everything, once."""
    walk = await _open(run, stack)
    shop = walk.shop
    await walk.keys()
    viewer, admin = await walk.colleague(Role.VIEWER), await walk.colleague(Role.ADMIN)
    approver = await walk.people(admin)
    made = await _payments(walk)
    await walk.give_back(made["fake"]["id"], "666", approver, "FAILED")
    for name in ("fake", "mtn", "card"):
        await walk.give_back(made[name]["id"], "1000", approver, "SUCCEEDED")
    seen = {"id": made["mtn"]["id"], "reason": f"called {CHATTER[:300]}"}
    await shop.get(REVEAL, seen, token=admin)
    await shop.post(f"{REVEAL} # {CHATTER}", {**seen, "reason": PAN}, token=viewer)
    await walk.forgers()
    await walk.words()
    try:
        await until(_all_told, seconds=20)
    except TimeoutError:
        raise AssertionError(await _what_is_open()) from None
    await walk.invoices()
    audited, followed = "{ auditLog { edges { node { detail } } } }", "{ events { type } }"
    for query in (GATEWAYS, DELIVERIES, audited, followed, "{ staff { email } }"):
        await shop.get(query, token=admin)
    for payment in made.values():
        await shop.get(ALL_ABOUT, {"id": payment["id"]}, token=admin)
    run.metrics = (await shop.http.get("/metrics", headers=shop.headers(shop.admin))).text
    run.columns = await columns_kept()


async def _all_told() -> bool:
    """Whether payers have their letters, the merchant its webhooks, the device its sales."""
    [row] = await fetch(
        """SELECT (SELECT count(*) FROM notification WHERE notice = 'INVOICE_PAID'
            AND status = 'SENT') AS letters,
        (SELECT count(*) FROM webhook_delivery WHERE status = 'DELIVERED') AS delivered,
        (SELECT count(*) FROM webhook_delivery WHERE status = 'PENDING') AS pending,
        (SELECT count(*) FROM fiscal_receipt WHERE status = 'SIGNED') AS signed,
        (SELECT count(*) FROM gateway_webhook WHERE status = 'RECEIVED') AS waiting"""
    )
    some = row["letters"] >= 3 and row["delivered"] > 5 and row["signed"] >= 3
    return some and not row["pending"] and not row["waiting"] and Talkative.failures > 0


async def _what_is_open() -> str:
    found = [
        *await fetch("SELECT notice, status, cause FROM notification"),
        *await fetch("SELECT type, status, error FROM webhook_delivery"),
        *await fetch("SELECT status, error FROM fiscal_receipt"),
        *await fetch("SELECT status, error FROM gateway_webhook"),
    ]
    return "\n".join(str(dict(row)) for row in found)


def _with_device(shop: Shop, run: Run) -> None:
    """Receipts are signed by a simulated device, which gives out a key when it is installed."""
    plugins = shop.core.plugins
    found = plugins.simulate_fiscal("http://simulators")
    assert found is not None
    assert plugins.fiscal is not None
    name, app = found
    transport = httpx.ASGITransport(Starlette(routes=[Mount(f"/{name}", app)]))
    plugins.fiscal = replace(plugins.fiscal, transport=transport)
    run.secrets["key of the receipt device"] = "simulated-communication-key"
    run.secrets["access tokens of MTN's simulator"] = "eyJ0eXAiOiJKV1Qi"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Run]:
    run = Run()
    Talkative.failures = 0
    with logged() as log:
        async with AsyncExitStack() as stack:
            await _walk(run, stack)
        run.log = log.getvalue()
    yield run


# ── what must be nowhere ─────────────────────────────────────────────────────────────────────────


def test_the_canaries_flew(run: Run) -> None:
    """Where words of others are kept, these were: so that looking for canaries there means much."""
    for place in (
        "payment_transaction.response",
        "payment_transaction.notes",
        "payment_transaction.error_message",
        "gateway_webhook.body",
        "refund.failure",
        "webhook_try.answer",
        "notification.cause",
        "audit_entry.detail",
    ):
        assert MARK in run.columns[place], place
    assert MARK in run.log
    assert len(run.secrets) > 40
    assert len(run.answers) > 100


def test_s52_no_secret_is_kept_logged_counted_or_answered(run: Run) -> None:
    found = leaks(run)
    assert not found, "\n".join(found)


def leaks(run: Run) -> list[str]:
    places = {place: text.lower() for place, text in run.places().items()}
    known = {what: forms(secret) for what, secret in run.secrets.items()}
    return [
        f"{what} is in {place}"
        for what, shapes in known.items()
        for place, text in places.items()
        if any(shape in text for shape in shapes)
    ]


def test_s53_the_card_number_is_nowhere(run: Run) -> None:
    found = [place for place, text in run.places().items() if holds_number(text, PAN)]
    assert not found, "\n".join(found)


# Where a payer's number or address is kept in clear, and why.
_AS_IT_CAME = (
    "the provider's message as it came, which settles what was said; the API never shows it"
)
_ON_PAPER = "whom an invoice was made out to stays as it was on the day of issue"
NUMBERS_BELONG = {
    "customer.phone": "who the customer is",
    "payment_attempt.phone": "who is asked to pay, and asked about until it is settled",
    "clearing_item.payer_account": "a statement names the payer by it",
    "payment.next_action": "the payer is shown on which phone to approve",
    "event.data": "the payment as it was then, with what the payer was shown",
    "gateway_webhook.body": _AS_IT_CAME,
    "invoice.buyer": _ON_PAPER,
}
_WORDS = "the merchant's own words about a payment, for its people"
WORDS_STAY = {
    "payment.description": _WORDS,
    "payment.order_reference": _WORDS,
    "payment.metadata": _WORDS,
    "item_ref.value": "a statement may quote the order",
    "payment.search": "people look for a payment by these words",
    "event.data": "the payment as it was then",
    "invoice_line.description": "what was sold, as it stands on the invoice",
    "fiscal_receipt.document": "the invoice as it was declared",
    "webhook_delivery.body": "orderReference alone: the merchant finds the order by it",
    "gateway_webhook.body": _AS_IT_CAME,
}
ADDRESSES_BELONG = {
    "customer.email": "who the customer is",
    "payment_attempt.email": "the provider's page asks for it",
    "gateway_webhook.body": _AS_IT_CAME,
    "invoice.buyer": _ON_PAPER,
}


def test_s52_phone_numbers_are_only_where_they_belong(run: Run) -> None:
    numbers = (PHONE, AIRTEL_PHONE, WAITING_PHONE)
    found = {
        place
        for place, text in run.nobody_asked().items()
        if any(holds_phone(text, number) for number in numbers)
    }
    assert found == NUMBERS_BELONG.keys()


def test_s52_numbers_in_a_merchants_words_stay_in_these(run: Run) -> None:
    found = {place for place, text in run.nobody_asked().items() if holds_phone(text, WORDS_PHONE)}
    assert found == WORDS_STAY.keys()


def test_s52_addresses_are_only_where_they_belong(run: Run) -> None:
    found = {
        place
        for place, text in run.nobody_asked().items()
        if holds(text, EMAIL) or holds(text, PAYER_EMAIL)
    }
    assert found == ADDRESSES_BELONG.keys()


def test_s54_a_line_of_the_log_is_one_of_ours(run: Run) -> None:
    lines = run.log.splitlines()

    assert len(lines) > 20
    for line in run.log.split("\n")[:-1]:
        told = json.loads(line)
        assert {"event", "level", "timestamp"} <= told.keys()
        assert told["level"] in {"debug", "info", "warning", "error", "critical"}
        assert "\x1b" not in line
    assert "INFO forged" in run.log, "It was written down, so this proves something."
