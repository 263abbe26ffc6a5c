"""A MoMo API for laptops and tests: behaves like MTN's, with the account of the gateway's config.

Which number does what stands in `stories`.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal, TypeAlias
from urllib.parse import urlsplit
from uuid import RFC_4122, UUID

from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from dusangire.gateway import JSON, Gateway
from dusangire.simulation import (
    HangUp,
    Script,
    Settings,
    Simulation,
    Status,
    Step,
    Transaction,
    Webhook,
    build_app,
)
from dusangire_mtn.config import MTNConfig
from dusangire_mtn.stories import (
    HOLDERS,
    REFUND_FAILURES,
    REFUND_TALES,
    TRANSFER_FAILURES,
    pays,
    script_of,
    waits_for_a_person,
)

_FLOAT = Decimal(1_000_000)
_WORDS = {Status.PENDING: "PENDING", Status.SUCCEEDED: "SUCCESSFUL", Status.FAILED: "FAILED"}
_APIM_KEY = (
    "Access denied due to invalid subscription key. Make sure to provide a valid key for an "
    "active subscription."
)
_MESSAGES = {
    "RESOURCE_NOT_FOUND": "Requested resource was not found.",
    "RESOURCE_ALREADY_EXIST": "Duplicated reference id. Creation of resource failed.",
    "NOT_ALLOWED": "Authorization failed. Insufficient permissions.",
    "NOT_ALLOWED_TARGET_ENVIRONMENT": "Access to target environment is forbidden.",
    "INVALID_CALLBACK_URL_HOST": "Callback URL does not match the configured value.",
    "INVALID_CURRENCY": "Currency not supported.",
    "INTERNAL_PROCESSING_ERROR": "An internal error occurred while processing.",
    "SERVICE_UNAVAILABLE": "Service temporarily unavailable, try again later.",
    "NOT_SUCCESSFULLY_COMPLETED": "The transaction is not successfully completed.",
}

Kind: TypeAlias = Literal["payment", "refund", "transfer", "deposit"]


class Profile(StrEnum):
    """Which of MTN's systems to be: they word a few refusals differently."""

    SANDBOX = "sandbox"
    RWANDA = "rwanda"
    NEW_PLATFORM = "new_platform"


class MTNSettings(Settings):
    """What can be told to this simulator beyond what any can."""

    profile: Profile = Profile.RWANDA
    webhook_method: Literal["AUTO", "PUT", "POST"] = Field(
        "AUTO", description="AUTO: PUT, but POST for version 1 of deposit and refund."
    )
    webhook_host: str | None = Field(
        None, description="The registered host: webhooks to any other are refused."
    )
    token_lifetime: int = Field(3600, description="Seconds until a token is refused.")
    strict_products: bool = Field(True, description="Tokens work for their own product only.")
    unknown_original: Literal["404", "FAILED"] = Field(
        "404", description="How a refund of a payment nobody knows is refused."
    )


@dataclass(slots=True)
class User:
    """An API user: who may get tokens, and where its webhooks may go."""

    host: str | None
    key: str | None = None
    product: str | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token, the product it is for, and its end."""

    product: str
    expires_at: datetime


class Refused(Exception):
    """The request fails a check: answered with this."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def build(gateway: Gateway[MTNConfig]) -> Starlette:
    """The simulator with the account of `gateway`, a control API and a phone."""
    sandbox = gateway.config.target_environment == "sandbox"
    settings = MTNSettings(
        profile=Profile.SANDBOX if sandbox else Profile.RWANDA,
        # The sandbox asks nobody, so nothing is waited for.
        delay=0 if sandbox else 3,
        webhook_host=gateway.webhook_url and urlsplit(gateway.webhook_url).hostname,
        strict_products=not sandbox,
    )
    simulation = Simulation(
        name="MTN MoMo",
        color="#FFCC00",
        clock=gateway.clock,
        webhook=_webhook,
        declined="APPROVAL_REJECTED",
        settings=settings,
    )
    return build_app(simulation, MoMo(gateway.config, simulation).app())


class MoMo:
    """MTN's side: who may call, and what is answered. What becomes of money is `simulation`'s."""

    def __init__(self, config: MTNConfig, simulation: Simulation) -> None:
        self.config = config
        self.simulation = simulation
        self.keys: dict[str, str] = {
            config.subscription_key(product): product for product in config.products
        }
        self.users: dict[str, User] = {}
        self.tokens: dict[str, IssuedToken] = {}
        for product in config.products:
            user, key = config.credentials(product)
            # One user may serve both products, as it does on the new platform.
            shared = user in self.users
            self.users[user] = User(host=None, key=key, product=None if shared else product)

    @property
    def settings(self) -> MTNSettings:
        settings = self.simulation.settings
        assert isinstance(settings, MTNSettings)
        return settings

    def app(self) -> ASGIApp:
        app = Starlette(routes=self._routes(), exception_handlers={Refused: _answer_refused})
        # MTN wants the slash at the end of /token/ and redirects nobody.
        app.router.redirect_slashes = False
        return app

    def _routes(self) -> list[Route]:
        products = "{product:str}"
        post, get = ["POST"], ["GET"]
        return [
            Route("/v1_0/apiuser", self.create_user, methods=post),
            Route("/v1_0/apiuser/{user}/apikey", self.create_key, methods=post),
            Route("/v1_0/apiuser/{user}", self.show_user, methods=get),
            Route(f"/{products}/token/", self.token, methods=post),
            Route("/collection/v1_0/requesttopay", self.request_to_pay, methods=post),
            Route(
                "/collection/v1_0/requesttopay/{reference}/deliverynotification",
                self.notify,
                methods=post,
            ),
            Route("/disbursement/{version}/refund", self.refund, methods=post),
            Route("/disbursement/{version}/deposit", self.deposit, methods=post),
            Route(f"/{products}/v1_0/transfer", self.transfer, methods=post),
            Route(f"/{products}/v1_0/account/balance", self.balance, methods=get),
            Route(f"/{products}/v1_0/account/balance/{{currency}}", self.balance, methods=get),
            Route(f"/{products}/v1_0/accountholder/{{type}}/{{id}}/active", self.active),
            Route(f"/{products}/v1_0/accountholder/msisdn/{{id}}/basicuserinfo", self.person),
            Route(f"/{products}/v1_0/{{kind}}/{{reference}}", self.status, methods=get),
        ]

    # ── provisioning, in the sandbox ─────────────────────────────────────────────────────────────

    async def create_user(self, request: Request) -> Response:
        body = _object(await request.body())
        self._check_key(request, None)
        user = _reference(request)
        host = body.get("providerCallbackHost")
        if not isinstance(host, str):
            raise Refused(Response(status_code=400))
        if user in self.users:
            raise Refused(_error(409, "RESOURCE_ALREADY_EXIST"))
        self.users[user] = User(host=host)
        return Response(status_code=201)

    async def create_key(self, request: Request) -> Response:
        self._check_key(request, None)
        _check_empty(request, await request.body())
        user = self._user(request)
        user.key = f"{self.simulation.random.getrandbits(128):032x}"
        return JSONResponse({"apiKey": user.key}, status_code=201)

    async def show_user(self, request: Request) -> Response:
        self._check_key(request, None)
        user = self._user(request)
        environment = self.config.target_environment
        return JSONResponse(
            {"providerCallbackHost": user.host or "", "targetEnvironment": environment}
        )

    def _user(self, request: Request) -> User:
        user = self.users.get(request.path_params["user"])
        if user is None:
            raise Refused(_error(404, "RESOURCE_NOT_FOUND"))
        return user

    # ── tokens ───────────────────────────────────────────────────────────────────────────────────

    async def token(self, request: Request) -> Response:
        product = request.path_params["product"]
        body = await request.body()
        self._check_agent(request)
        self._check_key(request, product)
        _check_empty(request, body)
        if (
            self.settings.profile is Profile.NEW_PLATFORM
            and request.headers.get("x-target-environment") != self.config.target_environment
        ):
            error = {"error": "Invalid or missing X-Target-Environment header"}
            raise Refused(JSONResponse(error, status_code=400))
        self._check_credentials(request, product)
        lifetime = self.settings.token_lifetime
        value = f"eyJ0eXAiOiJKV1Qi.{self.simulation.random.getrandbits(256):064x}.simulated"
        self.tokens[value] = IssuedToken(
            product, self.simulation.clock() + timedelta(seconds=lifetime)
        )
        return JSONResponse(
            {"access_token": value, "token_type": "access_token", "expires_in": lifetime}
        )

    def _check_credentials(self, request: Request, product: str) -> None:
        name, key = _basic(request.headers.get("authorization", ""))
        user = self.users.get(name)
        fits = user is not None and user.product in (None, product)
        if (
            user is None
            or user.key is None
            or user.key != key
            or not (fits or not self.settings.strict_products)
        ):
            if self.settings.profile is Profile.NEW_PLATFORM:
                raise Refused(JSONResponse({"error": "invalid_client"}, status_code=401))
            # The old platform reports wrong credentials as its own trouble.
            raise Refused(JSONResponse({"error": "login_failed"}, status_code=500))

    # ── money ────────────────────────────────────────────────────────────────────────────────────

    async def request_to_pay(self, request: Request) -> Response:
        order = await self._order(request, "collection", "payer")
        sudden = self._sudden_answer(order)
        if sudden is not None:
            return sudden
        self._take(order, "payment", self._payment_script(order))
        return Response(status_code=202)

    async def refund(self, request: Request) -> Response:
        order = await self._order(request, "disbursement", None)
        original = self.simulation.transactions.get(order.original or "")
        if original is None and order.original not in {*REFUND_FAILURES, *REFUND_TALES}:
            if self.settings.unknown_original == "404":
                raise Refused(_error(404, "RESOURCE_NOT_FOUND"))
            script = self._failure("TRANSACTION_NOT_FOUND")
        else:
            script = self._refund_script(order, original)
        self._take(order, "refund", script, original.party if original else "")
        return Response(status_code=202)

    async def deposit(self, request: Request) -> Response:
        order = await self._order(request, "disbursement", "payee")
        self._take(order, "deposit", self._payment_script(order))
        return Response(status_code=202)

    async def transfer(self, request: Request) -> Response:
        order = await self._order(request, request.path_params["product"], "payee")
        reason = TRANSFER_FAILURES.get(order.party)
        script = self._failure(reason) if reason else self._payment_script(order)
        self._take(order, "transfer", script)
        return Response(status_code=202)

    async def status(self, request: Request) -> Response:
        product, kind = request.path_params["product"], request.path_params["kind"]
        self._check_caller(request, product)
        transaction = self.simulation.transactions.get(request.path_params["reference"])
        if transaction is None or transaction.kind != kind.replace("requesttopay", "payment"):
            raise Refused(_error(404, "RESOURCE_NOT_FOUND"))
        if transaction.hidden_reads:
            transaction.hidden_reads -= 1
            raise Refused(_error(404, "RESOURCE_NOT_FOUND"))
        return JSONResponse(_told(transaction))

    async def notify(self, request: Request) -> Response:
        self._check_caller(request, "collection")
        transaction = self.simulation.transactions.get(request.path_params["reference"])
        if transaction is None:
            raise Refused(_error(404, "RESOURCE_NOT_FOUND"))
        if transaction.status is not Status.SUCCEEDED:
            raise Refused(_error(409, "NOT_SUCCESSFULLY_COMPLETED"))
        return Response(status_code=200)

    def _sudden_answer(self, order: "Order") -> Response | None:
        """The numbers that are answered otherwise than with 202."""
        last = order.party.removeprefix("250780000")
        if last == "208":
            self._take(order, "payment", pays(self.settings.delay)).hidden_reads = 1
            return Response(status_code=202)
        if last in ("002", "004", "005"):
            self._take(order, "payment", self._payment_script(order))
        return {
            "001": _error(500, "INVALID_CALLBACK_URL_HOST"),
            "002": _error(409, "RESOURCE_ALREADY_EXIST"),
            "003": _error(500, "INTERNAL_PROCESSING_ERROR"),
            "004": _error(500, "INTERNAL_PROCESSING_ERROR"),
            "005": HangUp(),
        }.get(last)

    def _payment_script(self, order: "Order") -> Script:
        settings = self.settings
        script = script_of(order.party, order.amount, settings.delay, settings.outcomes)
        if settings.mode == "manual" and script == pays(settings.delay):
            return waits_for_a_person()
        return script

    def _refund_script(self, order: "Order", original: Transaction | None) -> Script:
        if original is None:
            reason = REFUND_FAILURES.get(order.original or "")
            tale = REFUND_TALES.get(order.original or "", pays)
            return self._failure(reason) if reason else tale(self.settings.delay)
        if original.kind != "payment":
            return self._failure("TRANSACTION_NOT_FOUND")
        if original.status is not Status.SUCCEEDED:
            return self._failure("TRANSACTION_NOT_COMPLETED")
        if Decimal(order.amount) > self._refundable(original):
            return self._failure("NOT_ALLOWED")
        reason = self.settings.outcomes.get(order.amount)
        return self._failure(reason) if reason else pays(self.settings.delay)

    def _refundable(self, original: Transaction) -> Decimal:
        """What no refund, done or still running, has taken."""
        taken = sum(
            Decimal(one.amount)
            for one in self.simulation.transactions.values()
            if one.original == original.reference and one.status is not Status.FAILED
        )
        return Decimal(original.amount) - taken

    def _failure(self, reason: str) -> Script:
        return (Step(after=self.settings.delay, status=Status.FAILED, reason=reason),)

    def _take(self, order: "Order", kind: Kind, script: Script, party: str = "") -> Transaction:
        transaction = Transaction(
            reference=order.reference,
            external_id=order.external_id,
            kind=kind,
            amount=order.amount,
            currency=order.currency,
            party=party or order.party,
            message=order.message,
            note=order.note,
            original=order.original,
            created_at=self.simulation.clock(),
            webhook_url=order.webhook_url,
            webhook_method=self._webhook_method(order, kind),
            gateway_transaction_id=f"{self.simulation.random.randrange(10**9, 10**10)}",
        )
        self.simulation.add(transaction, script)
        return transaction

    def _webhook_method(self, order: "Order", kind: Kind) -> str:
        if self.settings.webhook_method != "AUTO":
            return self.settings.webhook_method
        return "POST" if order.version == "v1_0" and kind in ("deposit", "refund") else "PUT"

    async def _order(self, request: Request, product: str, party: str | None) -> "Order":
        # The body first: between the checks and the memory no other request may come in, or the
        # same reference could be taken twice.
        body = await request.body()
        self._check_caller(request, product)
        reference = _reference(request)
        known = self.simulation.transactions.get(reference)
        if known is not None:
            known.requests += 1
            raise Refused(_error(409, "RESOURCE_ALREADY_EXIST"))
        version = request.path_params.get("version", "v1_0")
        url = request.headers.get("x-callback-url")
        order = read_order(_object(body), reference, party, url, version)
        if order.currency != self.config.currency:
            raise Refused(_error(500, "INVALID_CURRENCY"))
        self._check_webhook_host(order)
        return order

    def _check_webhook_host(self, order: "Order") -> None:
        registered = self.settings.webhook_host
        if order.webhook_url is None or registered is None:
            return
        if urlsplit(order.webhook_url).hostname != registered:
            raise Refused(_error(500, "INVALID_CALLBACK_URL_HOST"))

    # ── accounts ─────────────────────────────────────────────────────────────────────────────────

    async def balance(self, request: Request) -> Response:
        self._check_caller(request, request.path_params["product"])
        balance = _FLOAT
        for one in self.simulation.transactions.values():
            balance += Decimal(one.amount) * one.moves * (1 if one.kind == "payment" else -1)
        return JSONResponse({"availableBalance": f"{balance:f}", "currency": self.config.currency})

    async def active(self, request: Request) -> Response:
        self._check_caller(request, request.path_params["product"])
        status, answer = HOLDERS.get(request.path_params["id"], (200, True))
        return JSONResponse({"result": answer}) if status == 200 else _error(status, str(answer))

    async def person(self, request: Request) -> Response:
        self._check_caller(request, request.path_params["product"])
        return JSONResponse(
            {
                "given_name": "Sand",
                "family_name": "Box",
                "birthdate": "1990-01-31",
                "locale": "en_RW",
                "gender": "FEMALE",
                "status": "ACTIVE",
            }
        )

    # ── who may call ─────────────────────────────────────────────────────────────────────────────

    def _check_caller(self, request: Request, product: str) -> None:
        self._check_agent(request)
        self._check_key(request, product)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        token = self.tokens.get(bearer)
        if (
            token is None
            or token.expires_at <= self.simulation.clock()
            or (self.settings.strict_products and token.product != product)
        ):
            unauthorized = {"statusCode": 401, "message": "Unauthorized"}
            raise Refused(JSONResponse(unauthorized, status_code=401))
        if request.headers.get("x-target-environment") != self.config.target_environment:
            raise Refused(_error(500, "NOT_ALLOWED_TARGET_ENVIRONMENT"))

    def _check_key(self, request: Request, product: str | None) -> None:
        """`product` None: any key will do."""
        found = self.keys.get(request.headers.get("ocp-apim-subscription-key", ""))
        if found is None or product not in (None, found):
            denied = {"statusCode": 401, "message": _APIM_KEY}
            raise Refused(JSONResponse(denied, status_code=401))

    def _check_agent(self, request: Request) -> None:
        agent = request.headers.get("user-agent", "")
        if self.settings.profile is Profile.NEW_PLATFORM and "python-requests" in agent:
            raise Refused(HTMLResponse("<html><h1>403 Forbidden</h1></html>", status_code=403))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request to move money that fits MTN's rules."""

    reference: str
    external_id: str
    amount: str
    currency: str
    party: str
    message: str
    note: str
    original: str | None
    webhook_url: str | None
    version: str


def read_order(
    body: Mapping[str, JSON],
    reference: str,
    party: str | None,
    webhook_url: str | None,
    version: str,
) -> Order:
    """Raises Refused with an empty 400, as MTN does for whatever it does not like.

    party: `payer` or `payee`; None for a refund, which names its original instead.
    """
    amount, currency = body.get("amount"), body.get("currency")
    texts = [body.get(name, "") for name in ("externalId", "payerMessage", "payeeNote")]
    who = body.get(party or "")
    number = who.get("partyId") if isinstance(who, dict) else None
    original = body.get("referenceIdToRefund")
    fine = (
        isinstance(amount, str)
        and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,3})?", amount) is not None
        and Decimal(amount) > 0
        and isinstance(currency, str)
        and all(isinstance(text, str) and len(text) <= 160 and "'" not in text for text in texts)
        and (isinstance(number, str) if party else isinstance(original, str))
        # MTN refuses a number with a plus.
        and not str(number).startswith("+")
        and version in ("v1_0", "v2_0")
    )
    if not fine:
        raise Refused(Response(status_code=400))
    return Order(
        reference=reference,
        external_id=texts[0],
        amount=str(amount),
        currency=str(currency),
        party=number or "",
        message=texts[1],
        note=texts[2],
        original=original,
        webhook_url=webhook_url,
        version=version,
    )


def _told(transaction: Transaction) -> dict[str, JSON]:
    """A transaction as status answers and webhooks show it."""
    party = "payer" if transaction.kind == "payment" else "payee"
    told: dict[str, JSON] = {
        "externalId": transaction.external_id,
        "amount": transaction.amount,
        "currency": transaction.currency,
        party: {"partyIdType": "MSISDN", "partyId": transaction.party},
        "payerMessage": transaction.message,
        "payeeNote": transaction.note,
        "status": _WORDS[transaction.status],
    }
    if transaction.status is Status.SUCCEEDED:
        told["financialTransactionId"] = transaction.gateway_transaction_id
    if transaction.status is Status.FAILED:
        told["reason"] = transaction.reason
    return told


def _webhook(transaction: Transaction) -> Webhook:
    body = json.dumps(_told(transaction)).encode()
    return Webhook(body=body, method=transaction.webhook_method)


def _reference(request: Request) -> str:
    text = request.headers.get("x-reference-id", "")
    try:
        fine = UUID(text).version == 4 and UUID(text).variant == RFC_4122 and len(text) == 36
    except ValueError:
        fine = False
    if not fine:
        raise Refused(Response(status_code=400))
    return text.lower()


def _object(body: bytes) -> dict[str, JSON]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(Response(status_code=400))
    return value


def _check_empty(request: Request, body: bytes) -> None:
    if "content-length" not in request.headers:
        raise Refused(Response(status_code=411))
    if body:
        raise Refused(Response(status_code=400))


def _basic(authorization: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode()
    except ValueError:
        return "", ""
    user, _, key = text.partition(":")
    return user, key


def _error(status: int, code: str) -> Response:
    return JSONResponse({"code": code, "message": _MESSAGES[code]}, status_code=status)


async def _answer_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response
