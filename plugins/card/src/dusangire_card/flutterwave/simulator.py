"""A Flutterwave for laptops and tests: its API, and a page where a person picks a test card.

Which card does what stands in `cards`. Amounts can choose as well, by the setting `outcomes`:
{"666": "Insufficient Funds"} is what the bank says, {"13": "failed"} what becomes of a refund.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal
from urllib.parse import parse_qs, urlencode, urlsplit

import jinja2
import orjson
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from dusangire.gateway import JSON, Gateway
from dusangire.simulation import Settings, Simulation, Status, Step, Transaction, Webhook, build_app
from dusangire_card.config import CardConfig, is_here
from dusangire_card.flutterwave.cards import CARDS, EVERY_DAY, FIRST, Card
from dusangire_card.flutterwave.client import amount_json

_FEE = Decimal("0.038")
_NOT_FOUND = "No transaction was found for this id"
_WORDS = {Status.PENDING: "pending", Status.SUCCEEDED: "successful", Status.FAILED: "failed"}
_EXPIRY = "10/31"
_CLOSED = "the page was closed"


class FlutterwaveSettings(Settings):
    """What can be told to this simulator beyond what any can."""

    mode: Literal["auto", "manual"] = Field(
        "manual", description="auto: the first card is picked after `delay`, without a person."
    )
    not_found_http: Literal[200, 400, 404] = Field(
        400, description="The HTTP status of a charge that there is not."
    )
    numbers: Literal["integer", "decimal", "text"] = Field(
        "integer", description="How amounts are written: 15000, 15000.0 or '15000'."
    )
    webhook_shape: Literal["event", "flat"] = Field("event", description="In `data`, or flat.")
    webhook_proof: Literal["hash", "hmac", "wrong"] = Field("hash", description="What proves it.")
    refund_ends: str = Field("completed-mpgs", description="The status of a refund that is done.")
    kept_card: Literal["success", "redirect", "pending", "declined"] = Field(
        "success", description="What a kept card answers."
    )


@dataclass(slots=True)
class Link:
    """A page that takes a card for `reference`. card: the only one, where it is a kept one."""

    reference: str
    title: str
    description: str
    redirect_url: str | None
    email: str
    until: datetime
    tries: int
    card: Card | None = None
    disabled: bool = False


@dataclass(slots=True)
class Charge:
    """One try with a card."""

    id: int
    reference: str
    card: Card
    email: str
    created_at: datetime


@dataclass(slots=True)
class Books:
    """What Flutterwave remembers beside the money: pages, the newest charges, kept cards."""

    links: dict[str, Link] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    emails: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, tuple[str, Card]] = field(default_factory=dict)
    last_id: int = 910_000_000

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id


class Refused(Exception):
    """The call fails a check: answered with this."""

    def __init__(self, http: int, message: str) -> None:
        super().__init__(message)
        self.response = said(http, None, message, "error")


def build(gateway: Gateway[CardConfig]) -> Starlette:
    """The simulator with the account of `gateway`, a control API and a phone."""

    def told(transaction: Transaction) -> Webhook:
        return flutterwave.webhook(transaction)

    simulation = Simulation(
        name="Flutterwave",
        color="#1A56DB",
        clock=gateway.clock,
        webhook=told,
        declined="Transaction declined",
        settings=FlutterwaveSettings(),
    )
    flutterwave = Flutterwave(gateway.config, gateway.webhook_url, simulation, Books())
    return build_app(simulation, flutterwave.app())


class Flutterwave:
    """Flutterwave's side: who may call, what is answered, and the page."""

    def __init__(
        self,
        config: CardConfig,
        webhook_url: str | None,
        simulation: Simulation,
        books: Books,
    ) -> None:
        self.config = config
        self.webhook_url = webhook_url
        self.simulation = simulation
        self.books = books
        self.templates = jinja2.Environment(
            loader=jinja2.PackageLoader("dusangire_card.flutterwave"), autoescape=True
        )

    @property
    def settings(self) -> FlutterwaveSettings:
        settings = self.simulation.settings
        assert isinstance(settings, FlutterwaveSettings)
        return settings

    def app(self) -> ASGIApp:
        routes = self._routes()
        # As Flutterwave's own address has /v3 at its end, both are understood.
        return Starlette(
            routes=[*routes, Mount("/v3", routes=routes)],
            exception_handlers={Refused: _answer_refused},
        )

    def _routes(self) -> list[Route]:
        post = ["POST"]
        return [
            Route("/payments", self.create, methods=post),
            Route("/payments/link/disable", self.disable, methods=post),
            Route("/transactions/verify_by_reference", self.verify_by_reference),
            Route("/transactions/{id}/verify", self.verify),
            Route("/transactions/{id}/refund", self.refund, methods=post),
            Route("/tokenized-charges", self.charge_token, methods=post),
            Route("/refunds", self.refunds),
            Route("/refunds/{id}", self.show_refund),
            Route("/hosted/pay/{link}", self.page, methods=["GET"]),
            Route("/hosted/pay/{link}", self.act, methods=post),
        ]

    # ── links ────────────────────────────────────────────────────────────────────────────────────

    async def create(self, request: Request) -> Response:
        body = await self._body(request, "tx_ref", "amount")
        email = _inner(body, "customer").get("email")
        if not isinstance(email, str) or "@" not in email:
            raise Refused(400, "customer email is required")
        reference = str(body["tx_ref"])
        self._transaction(reference, body, email)
        configurations = _inner(body, "configurations")
        looks = _inner(body, "customizations")
        minutes = int(configurations.get("session_duration") or body.get("session_duration") or 30)
        code = f"flwlnk-{self.simulation.random.getrandbits(80):020x}"
        self.books.links[code] = Link(
            reference=reference,
            title=str(looks.get("title") or "A shop"),
            description=str(looks.get("description") or ""),
            redirect_url=body.get("redirect_url"),
            email=email,
            until=self.simulation.clock() + timedelta(minutes=minutes),
            tries=int(configurations.get("max_retry_attempt") or 5),
        )
        return said(200, {"link": self._page_url(request, code)}, "Hosted Link")

    async def disable(self, request: Request) -> Response:
        body = await self._body(request, "link")
        link = self.books.links.get(str(body["link"]).rpartition("/")[2])
        if link is None or link.reference not in self.simulation.transactions:
            raise Refused(400, "Invalid payment link")
        if link.disabled:
            raise Refused(400, "Payment link has already been disabled")
        link.disabled = True
        self._end_unpaid(link.reference)
        return said(200, None, "Payment link has been disabled successfully")

    def _end_unpaid(self, reference: str) -> None:
        """With its last page closed, nobody can pay any more, not even on the phone."""
        is_open = any(
            one.reference == reference and not one.disabled for one in self.books.links.values()
        )
        transaction = self.simulation.transactions[reference]
        if not is_open and self._newest(reference) is None:
            step = Step(after=0, status=Status.FAILED, reason=_CLOSED, webhooks=0)
            self.simulation.play(transaction.reference, (step,))

    def _transaction(self, reference: str, body: Mapping[str, JSON], email: str) -> Transaction:
        """The payment that is asked for. A `tx_ref` does not make asking again safe."""
        known = self.simulation.transactions.get(reference)
        if known is not None:
            known.requests += 1
            return known
        transaction = Transaction(
            reference=reference,
            external_id=reference,
            kind="payment",
            amount=f"{_amount(body):f}",
            # What a forgotten currency means at Flutterwave.
            currency=str(body.get("currency") or "NGN"),
            party=email,
            message=str(_inner(body, "customizations").get("description") or ""),
            created_at=self.simulation.clock(),
            webhook_url=self.webhook_url,
            gateway_transaction_id="",
        )
        self.books.emails[reference] = email
        slowly = self._bank_says(replace(FIRST, ends="later"), transaction)
        script = slowly.script(self.settings.delay) if self.settings.mode == "auto" else ()
        self.simulation.add(transaction, script)
        return transaction

    def _bank_says(self, card: Card, transaction: Transaction) -> Card:
        """The card, refused where the amount says so."""
        reason = self.settings.outcomes.get(transaction.amount)
        return replace(card, reason=reason) if reason else card

    # ── the page ─────────────────────────────────────────────────────────────────────────────────

    def _page_url(self, request: Request, code: str) -> str:
        # Where the caller found us, under whatever path we are mounted there; a caller that has no
        # address for us is told the account's.
        url = request.url
        root = f"{url.scheme}://{url.netloc}{request.scope['root_path']}"
        if not is_here(url.hostname or ""):
            root = self.config.base_url
        return f"{root.removesuffix('/v3')}/v3/hosted/pay/{code}"

    async def page(self, request: Request) -> Response:
        link = self._link(request)
        return self._shown(link, problem=self._closed(link))

    async def act(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        link = self._link(request)
        if form.get("act") == ["cancel"]:
            return self._back(link, "cancelled")
        if problem := self._closed(link):
            return self._shown(link, problem=problem, http=409)
        chosen = CARDS.get((form.get("card") or [""])[0])
        card = link.card or chosen
        if card is None:
            return self._shown(link, problem="Choose one of the cards.", http=400)
        return self._pay(link, card)

    def _pay(self, link: Link, card: Card) -> Response:
        transaction = self.simulation.transactions[link.reference]
        link.tries -= 1
        self.charge(link.reference, card, link.email)
        if transaction.status is Status.PENDING or transaction.status is Status.SUCCEEDED:
            return self._back(link, _WORDS[transaction.status])
        if link.tries > 0:
            return self._shown(link, problem=f"The bank says: {transaction.reason}. Try another.")
        return self._back(link, "failed")

    def charge(self, reference: str, card: Card, email: str) -> Charge:
        """A try with a card. What becomes of it begins."""
        transaction = self.simulation.transactions[reference]
        card = self._bank_says(card, transaction)
        charge = Charge(
            id=self.books.new_id(),
            reference=reference,
            card=card,
            email=email,
            created_at=self.simulation.clock(),
        )
        self.books.charges[reference] = charge
        transaction.gateway_transaction_id = str(charge.id)
        transaction.hidden_reads = card.hidden_reads
        transaction.status, transaction.reason = Status.PENDING, None
        self.simulation.play(reference, card.script(self.settings.delay))
        return charge

    def _link(self, request: Request) -> Link:
        link = self.books.links.get(request.path_params["link"])
        if link is None or link.reference not in self.simulation.transactions:
            raise Refused(404, "This payment page does not exist")
        return link

    def _closed(self, link: Link) -> str | None:
        transaction = self.simulation.transactions[link.reference]
        if transaction.status is Status.SUCCEEDED:
            return "This has been paid."
        if link.disabled:
            return "The shop has closed this page."
        if self.simulation.clock() >= link.until:
            return "The time to pay is over."
        if link.tries <= 0:
            return "Too many cards were refused."
        if link.reference in self.books.charges and transaction.status is Status.PENDING:
            return "The bank is working on it."
        return None

    def _shown(self, link: Link, *, problem: str | None = None, http: int = 200) -> Response:
        transaction = self.simulation.transactions[link.reference]
        is_open = self._closed(link) is None
        nonce = secrets.token_urlsafe(12)
        page = self.templates.get_template("checkout.html").render(
            nonce=nonce,
            title=link.title,
            heading=_heading(transaction, is_open=is_open),
            description=link.description,
            amount=f"{Decimal(transaction.amount):,f}",
            currency=transaction.currency,
            problem=problem,
            cards=_choices(link, is_open=is_open),
            back=self._back_url(link, _WORDS[transaction.status]),
        )
        headers = {
            # No form-action: browsers would stop the way back to the shop with it.
            "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; "
            "base-uri 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return HTMLResponse(page, http, headers=headers)

    def _back(self, link: Link, word: str) -> Response:
        url = self._back_url(link, word)
        return RedirectResponse(url, 303) if url else self._shown(link)

    def _back_url(self, link: Link, word: str) -> str | None:
        if not link.redirect_url:
            return None
        query = {"status": word, "tx_ref": link.reference}
        charge = self.books.charges.get(link.reference)
        if charge is not None and word != "cancelled":
            query["transaction_id"] = str(charge.id)
        separator = "&" if urlsplit(link.redirect_url).query else "?"
        return f"{link.redirect_url}{separator}{urlencode(query)}"

    # ── charges ──────────────────────────────────────────────────────────────────────────────────

    async def verify_by_reference(self, request: Request) -> Response:
        self._check_key(request)
        return self._verified(request.query_params.get("tx_ref", ""))

    async def verify(self, request: Request) -> Response:
        self._check_key(request)
        charge = self._charge_by_id(request.path_params["id"])
        return self._verified(charge.reference if charge else "")

    def _verified(self, reference: str) -> Response:
        charge = self._newest(reference)
        if charge is None:
            raise Refused(self.settings.not_found_http, _NOT_FOUND)
        transaction = self.simulation.transactions[reference]
        if transaction.hidden_reads:
            transaction.hidden_reads -= 1
            raise Refused(self.settings.not_found_http, _NOT_FOUND)
        return said(200, self._told(transaction, charge), "Transaction fetched successfully")

    def _newest(self, reference: str) -> Charge | None:
        """The newest charge; what was decided without the page is one with the first card."""
        transaction = self.simulation.transactions.get(reference)
        if transaction is None or transaction.kind != "payment":
            return None
        charge = self.books.charges.get(reference)
        decided = transaction.status is not Status.PENDING and transaction.reason != _CLOSED
        if charge is None and decided:
            charge = Charge(
                id=self.books.new_id(),
                reference=reference,
                card=FIRST,
                email=self.books.emails[reference],
                created_at=self.simulation.clock(),
            )
            self.books.charges[reference] = charge
            transaction.gateway_transaction_id = str(charge.id)
        return charge

    def _charge_by_id(self, text: str) -> Charge | None:
        known = self.simulation.transactions
        found = (one for one in self.books.charges.values() if one.reference in known)
        return next((one for one in found if str(one.id) == text), None)

    async def charge_token(self, request: Request) -> Response:
        body = await self._body(request, "token", "email", "amount", "tx_ref", "narration")
        kept = self.books.tokens.get(str(body["token"]))
        if kept is None or kept[0] != body["email"]:
            raise Refused(400, "wrong token or email passed")
        email, card = kept
        reference = str(body["tx_ref"])
        transaction = self._transaction(reference, body, email)
        if self.settings.kept_card == "redirect":
            return self._confirmation(request, transaction, body, card)
        answers = {"pending": "slow", "declined": "declined"}
        story = CARDS.get(answers.get(self.settings.kept_card, ""))
        charge = self.charge(reference, story or card, email)
        words = {Status.PENDING: "Charge initiated", Status.SUCCEEDED: "Charge successful"}
        message = words.get(transaction.status, "Charge failed")
        return said(200, self._told(transaction, charge), message)

    def _confirmation(
        self, request: Request, transaction: Transaction, body: Mapping[str, JSON], card: Card
    ) -> Response:
        charge = Charge(
            id=self.books.new_id(),
            reference=transaction.reference,
            card=card,
            email=str(body["email"]),
            created_at=self.simulation.clock(),
        )
        code = f"confirm-{self.simulation.random.getrandbits(80):020x}"
        self.books.links[code] = Link(
            reference=transaction.reference,
            title="Your bank",
            description=str(body["narration"]),
            redirect_url=body.get("redirect_url"),
            email=charge.email,
            until=self.simulation.clock() + timedelta(hours=1),
            tries=1,
            card=card,
        )
        page = self._page_url(request, code)
        authorization = {"mode": "redirect", "redirect": page}
        told = {**self._told(transaction, charge), "meta": {"authorization": authorization}}
        return said(200, told, "Charge initiated")

    def _told(self, transaction: Transaction, charge: Charge) -> dict[str, JSON]:
        """A charge as verify shows it."""
        card = charge.card
        amount = Decimal(transaction.amount) - card.less
        fee = amount * _FEE
        told: dict[str, JSON] = {
            "id": charge.id,
            "tx_ref": charge.reference,
            "flw_ref": f"FLW-MOCK-{charge.id:x}",
            "amount": self._number(amount),
            "currency": card.currency or transaction.currency,
            "merchant_fee": 0,
            "processor_response": transaction.reason or "Approved",
            "narration": "CARD Transaction",
            "status": _WORDS[transaction.status],
            "payment_type": "card",
            "created_at": charge.created_at.isoformat(),
            "customer": {"id": 3_300_001, "email": charge.email},
            "card": {
                "first_6digits": card.first6,
                "last_4digits": card.last4,
                "issuer": "EXAMPLE BANK",
                "country": "RW",
                "type": card.brand,
                "expiry": _EXPIRY,
            },
        }
        if transaction.status is Status.SUCCEEDED:
            told |= {
                "charged_amount": self._number(amount + card.more),
                "app_fee": amount_json(fee.normalize()),
                "amount_settled": amount_json((amount - fee).normalize()),
            }
            told["card"]["token"] = self._token(charge)
        return told

    def _number(self, amount: Decimal) -> JSON:
        match self.settings.numbers:
            case "text":
                return f"{amount:f}"
            case "decimal":
                return orjson.Fragment(f"{amount:.1f}")
            case _:
                return amount_json(amount)

    def _token(self, charge: Charge) -> str:
        token = f"flw-t1nf-{charge.id:x}-k3n"
        self.books.tokens[token] = (charge.email, charge.card)
        return token

    # ── refunds ──────────────────────────────────────────────────────────────────────────────────

    async def refund(self, request: Request) -> Response:
        body = await self._body(request)
        charge = self._charge_by_id(request.path_params["id"])
        if charge is None:
            raise Refused(400, _NOT_FOUND)
        original = self.simulation.transactions[charge.reference]
        amount = _amount(body) if "amount" in body else Decimal(original.amount)
        self._check_refundable(original, amount)
        comments = str(body.get("comments") or "")
        number = str(self.books.new_id())
        # Each one is a refund of its own, whatever it says: there are no keys here.
        reference = comments.partition(" ")[0] or number
        if reference in self.simulation.transactions:
            reference = f"{reference}/{number}"
        transaction = Transaction(
            reference=reference,
            external_id=reference,
            kind="refund",
            amount=f"{amount:f}",
            currency=original.currency,
            party=original.party,
            message=comments,
            original=original.reference,
            created_at=self.simulation.clock(),
            webhook_url=self.webhook_url,
            gateway_transaction_id=number,
        )
        fails = self.settings.outcomes.get(transaction.amount) == "failed"
        status = Status.FAILED if fails else Status.SUCCEEDED
        self.simulation.add(transaction, (Step(after=self.settings.delay, status=status),))
        return said(200, self._told_refund(transaction), "Transaction refund initiated")

    def _check_refundable(self, original: Transaction, amount: Decimal) -> None:
        if original.status is not Status.SUCCEEDED:
            raise Refused(400, "Only successful transactions can be refunded")
        if "insufficient" in self.settings.outcomes.get(f"{amount:f}", ""):
            raise Refused(400, "Insufficient funds in your available balance")
        taken = sum(
            Decimal(one.amount)
            for one in self.simulation.transactions.values()
            if one.original == original.reference and one.status is not Status.FAILED
        )
        if taken >= Decimal(original.amount):
            raise Refused(409, "Transaction has already been refunded")
        if taken + amount > Decimal(original.amount):
            raise Refused(400, "The refund amount exceeds what is left of the transaction")

    async def refunds(self, request: Request) -> Response:
        self._check_key(request)
        charge = self._charge_by_id(request.query_params.get("id", ""))
        found = [
            self._told_refund(one)
            for one in self.simulation.transactions.values()
            if charge is not None and one.original == charge.reference
        ]
        return said(200, found, "Refunds fetched")

    async def show_refund(self, request: Request) -> Response:
        self._check_key(request)
        for one in self.simulation.transactions.values():
            if one.kind == "refund" and one.gateway_transaction_id == request.path_params["id"]:
                return said(200, self._told_refund(one), "Refund fetched")
        raise Refused(404, "Refund not found")

    def _told_refund(self, refund: Transaction) -> dict[str, JSON]:
        words = {Status.PENDING: "completed", Status.SUCCEEDED: self.settings.refund_ends}
        charge = self.books.charges[refund.original or ""]
        return {
            "id": int(refund.gateway_transaction_id),
            "tx_id": charge.id,
            "amount_refunded": self._number(Decimal(refund.amount)),
            "status": words.get(refund.status, "failed"),
            "destination": "payment_source",
            "comments": refund.message,
            "meta": {"source": "availablebalance"},
            "created_at": refund.created_at.isoformat(),
        }

    # ── webhooks ─────────────────────────────────────────────────────────────────────────────────

    def webhook(self, transaction: Transaction) -> Webhook:
        told = self._told_event(transaction)
        body = orjson.dumps(told)
        secret = self.config.webhook_secret_hash.get_secret_value()
        seal = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
        headers = {
            "hash": {"verif-hash": secret},
            "hmac": {"flutterwave-signature": seal},
            "wrong": {"verif-hash": "somebody-else"},
        }
        return Webhook(body=body, headers=headers[self.settings.webhook_proof])

    def _told_event(self, transaction: Transaction) -> dict[str, JSON]:
        flat = self.settings.webhook_shape == "flat"
        if transaction.kind == "refund":
            told = self._told_refund(transaction)
            return _flat_refund(told) if flat else {"event": "refund.completed", "data": told}
        charge = self._newest(transaction.reference)
        assert charge is not None
        told = self._told(transaction, charge)
        # A token is given to those who ask with the key only.
        told["card"].pop("token", None)
        event = {"event.type": "CARD_TRANSACTION"}
        if flat:
            return _flat_charge(told) | event
        return {"event": "charge.completed", **event, "data": told}

    # ── who may call ─────────────────────────────────────────────────────────────────────────────

    async def _body(self, request: Request, *needed: str) -> dict[str, JSON]:
        # The body first: between the checks and the memory no other request may come in.
        raw = await request.body()
        self._check_key(request)
        try:
            body = json.loads(raw, parse_float=Decimal)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise Refused(400, "The body is not JSON")
        for name in needed:
            if not body.get(name):
                raise Refused(400, f"{name} is required")
        return body

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            raise Refused(401, "Authorization required")
        if given.removeprefix("Bearer ") != self.config.secret_key.get_secret_value():
            raise Refused(401, "Invalid authorization key")


def _heading(transaction: Transaction, *, is_open: bool) -> str:
    if transaction.status is Status.SUCCEEDED:
        return "Paid. Thank you."
    return "Pay by card" if is_open else "This page is closed"


def _choices(link: Link, *, is_open: bool) -> list[list[Card]]:
    """The cards to choose from: those of every day, and behind a click the odd ones."""
    if not is_open:
        return []
    if link.card:
        return [[link.card]]
    cards = list(CARDS.values())
    return [cards[:EVERY_DAY], cards[EVERY_DAY:]]


def said(http: int, data: JSON, message: str, word: str = "success") -> Response:
    """An answer in Flutterwave's envelope."""
    body = orjson.dumps({"status": word, "message": message, "data": data})
    return Response(body, http, media_type="application/json")


def _amount(body: Mapping[str, JSON]) -> Decimal:
    try:
        amount = Decimal(str(body.get("amount")))
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise Refused(400, "amount must be a number greater than 0")
    return amount


def _inner(body: Mapping[str, JSON], name: str) -> Mapping[str, JSON]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _flat_charge(told: Mapping[str, JSON]) -> dict[str, JSON]:
    """The form that older accounts still send."""
    names = {"tx_ref": "txRef", "flw_ref": "flwRef", "created_at": "createdAt", "app_fee": "appfee"}
    card = told["card"]
    kept = {names.get(name, name): value for name, value in told.items() if name != "card"}
    return {**kept, "entity": {"card6": card["first_6digits"], "card_last4": card["last_4digits"]}}


def _flat_refund(told: Mapping[str, JSON]) -> dict[str, JSON]:
    names = {
        "amount_refunded": "AmountRefunded",
        "tx_id": "TransactionId",
        "created_at": "createdAt",
    }
    flat = {names.get(name, name): value for name, value in told.items()}
    # An object inside a text: so it comes.
    return {**flat, "meta": json.dumps(told["meta"])}


async def _answer_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response
