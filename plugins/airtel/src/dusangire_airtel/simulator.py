"""An Airtel Money API for laptops and tests: behaves like Airtel's, with one application.

Which number does what stands in `stories`.
"""

import base64
import hashlib
import hmac
import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from dusangire.gateway import JSON, Gateway
from dusangire.simulation import (
    HangUp,
    Script,
    Settings,
    Simulation,
    Status,
    Transaction,
    Webhook,
    build_app,
)
from dusangire_airtel import stories
from dusangire_airtel.config import AirtelConfig, Padding
from dusangire_airtel.mapping import our_reference
from dusangire_airtel.signing import choose, scheme, signature

_FLOAT = Decimal(1_000_000)
_WORDS = {Status.PENDING: "TIP", Status.SUCCEEDED: "TS", Status.FAILED: "TF"}
_MESSAGES = {
    "TS": "success",
    "TF": "failed",
    "TE": "expired",
    "TA": "ambiguous",
    "TIP": "in progress",
}
_PAID = "DP00800001001"
_IN_PROCESS = "DP00800001006"
_UNKNOWN_ID = "ESB000045"


class AirtelSettings(Settings):
    """What can be told to this simulator beyond what any can."""

    delay: float = Field(5, ge=0, description="Seconds until a prompt is decided.")
    token_lifetime: int = Field(180, description="Seconds until a token is refused.")
    lifetime_as: Literal["text", "number"] = Field("text", description="How that is told.")
    token_refusal: Literal[401, 403] = Field(403, description="Status of a token's refusal.")
    signing: bool = Field(False, description="Requests for money must be signed.")
    key_size: Literal[1024, 2048] = Field(1024, description="Another size is another key.")
    duplicate_status: Literal[200, 400] = Field(200, description="Status for an id known already.")
    unknown_status: Literal[200, 404] = Field(200, description="Status for an id nobody knows.")
    callback_hash: Literal["transaction", "body", "header", "none"] = Field(
        "transaction", description="What callbacks are hashed of, or that in a header, or not."
    )
    callback_tries: int = Field(1, ge=1, le=10, description="Until one is answered with 2xx.")


class Refused(Exception):
    """The request fails a check: answered with this."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request for money that fits Airtel's rules."""

    id: str
    amount: str
    msisdn: str
    text: str


def build(gateway: Gateway[AirtelConfig]) -> Starlette:
    """The simulator with the application of `gateway`, a control API and a phone."""
    airtel = Airtel(gateway)
    return build_app(airtel.simulation, airtel.app())


class Airtel:
    """Airtel's side: who may call, what is answered. What becomes of money is `simulation`'s."""

    def __init__(self, gateway: Gateway[AirtelConfig]) -> None:
        self.config = gateway.config
        # As in Airtel's portal: one address for all callbacks.
        self.callback_url = gateway.webhook_url
        self.simulation = Simulation(
            name="Airtel Money",
            color="#E40000",
            clock=gateway.clock,
            webhook=self._callback,
            declined=stories.DECLINED,
            settings=AirtelSettings(signing=gateway.config.message_signing),
        )
        self.tokens: dict[str, datetime] = {}
        self.keys: dict[int, rsa.RSAPrivateKey] = {}
        self.serials: Counter[str] = Counter()

    @property
    def settings(self) -> AirtelSettings:
        settings = self.simulation.settings
        assert isinstance(settings, AirtelSettings)
        return settings

    def app(self) -> ASGIApp:
        app = Starlette(routes=self._routes(), exception_handlers={Refused: _answer_refused})
        app.router.redirect_slashes = False
        return app

    def _routes(self) -> list[Route]:
        post, get = ["POST"], ["GET"]
        pay = [
            f"/merchant/{version}/payments{end}" for version in ("v1", "v2") for end in ("", "/")
        ]
        return [
            Route("/auth/oauth2/token", self.token, methods=post),
            Route("/v1/rsa/encryption-keys", self.encryption_key, methods=get),
            *(Route(path, self.request_payment, methods=post) for path in pay),
            Route("/standard/v1/payments/refund", self.refund, methods=post),
            Route("/standard/v1/payments/{id}", self.enquiry, methods=get),
            Route("/standard/v1/users/balance", self.balance, methods=get),
            Route("/standard/v2/users/balance", self.balance, methods=get),
            Route("/standard/v1/users/{msisdn}", self.payer, methods=get),
            Route("/merchant/v1/transactions", self.summary, methods=get),
        ]

    # ── tokens and keys ──────────────────────────────────────────────────────────────────────────

    async def token(self, request: Request) -> Response:
        body = await request.body()
        _check_json(request)
        wanted = {
            "client_id": self.config.client_id,
            "client_secret": self.config.client_secret.get_secret_value(),
            "grant_type": "client_credentials",
        }
        if _object(body) != wanted:
            raise Refused(_oauth_error(400, "invalid_client", "Invalid client authentication"))
        lifetime = self.settings.token_lifetime
        value = f"{self.simulation.random.getrandbits(160):040x}"
        self.tokens[value] = self.simulation.clock() + timedelta(seconds=lifetime)
        told = str(lifetime) if self.settings.lifetime_as == "text" else lifetime
        return JSONResponse({"access_token": value, "expires_in": told, "token_type": "bearer"})

    async def encryption_key(self, request: Request) -> Response:
        self._check_caller(request)
        public = self._private_key().public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        tomorrow = self.simulation.clock() + timedelta(days=1)
        data = {
            "key_id": self.settings.key_size,
            "key": base64.b64encode(der).decode(),
            "valid_upto": tomorrow.strftime("%d-%m-%Y %H:%M:%S"),
        }
        return _envelope("DP02010001001", "Success", data=data)

    def _private_key(self) -> rsa.RSAPrivateKey:
        size = self.settings.key_size
        if size not in self.keys:
            self.keys[size] = rsa.generate_private_key(65537, size)
        return self.keys[size]

    # ── money ────────────────────────────────────────────────────────────────────────────────────

    async def request_payment(self, request: Request) -> Response:
        body = await self._signed_body(request)
        order = read_order(_object(body), self.config)
        reference = our_reference(order.id)
        known = self.simulation.transactions.get(reference)
        if known is not None:
            known.requests += 1
            text = "External transaction ID already exists."
            raise Refused(_error(self.settings.duplicate_status, None, text, "ESB000041"))
        if order.msisdn in stories.NO_WALLET or order.msisdn[:2] not in {"72", "73"}:
            raise Refused(_error(400, stories.NO_PIN, "Msisdn Not Found"))
        if order.msisdn == stories.BROKEN:
            raise Refused(_error(500, stories.NO_PIN, "Something Went Wrong"))
        self._take(order, reference)
        return self._sudden_answer(order) or _envelope(
            _IN_PROCESS, "SUCCESS", data={"transaction": {"id": order.id, "status": "SUCCESS"}}
        )

    def _sudden_answer(self, order: Order) -> Response | None:
        """The numbers that are answered otherwise than as taken, though they are."""
        return {
            stories.AMBIGUOUS: _error(200, "DP00800001024", "Transaction Timed Out"),
            stories.TIMED_OUT: _error(200, "ROUTER117", "Request Timeout"),
            stories.UNANSWERED: HangUp(),
        }.get(order.msisdn)

    def _take(self, order: Order, reference: str) -> None:
        transaction = Transaction(
            # Judges look for the reference as its owner spells it.
            reference=reference,
            external_id=order.id,
            kind="payment",
            amount=order.amount,
            currency=self.config.currency,
            party=order.msisdn,
            message=order.text,
            created_at=self.simulation.clock(),
            webhook_url=self.callback_url,
            gateway_transaction_id=self._money_id("MP", "A"),
        )
        self.simulation.add(transaction, self._script(order))

    def _script(self, order: Order) -> Script:
        settings = self.settings
        script = stories.script_of(order.msisdn, order.amount, settings.delay, settings.outcomes)
        if settings.mode == "manual" and script == stories.pays(settings.delay):
            return stories.waits_for_a_person()
        return script

    def _money_id(self, kind: str, letter: str) -> str:
        self.serials[kind] += 1
        return f"{kind}{self.simulation.clock():%y%m%d.%H%M}.{letter}{self.serials[kind]:05d}"

    async def refund(self, request: Request) -> Response:
        body = await self._signed_body(request)
        asked = _object(body).get("transaction")
        money_id = asked.get("airtel_money_id") if isinstance(asked, dict) else None
        original = self._paid(money_id)
        if original is None:
            raise Refused(_error(200, None, "Transaction not found", _UNKNOWN_ID))
        given_back = self._refund_of(original)
        if given_back is not None:
            given_back.requests += 1
            # What Airtel says of a second refund is not known; this is our choice.
            raise Refused(_error(200, "DP00800001009", "Do not honor"))
        if code := self.settings.outcomes.get(original.amount):
            raise Refused(_error(200, code, "FAILED"))
        done = self._give_back(original)
        told = {"airtel_money_id": done.gateway_transaction_id, "status": "SUCCESS"}
        return _envelope(_IN_PROCESS, "SUCCESS", data={"transaction": told})

    def _paid(self, money_id: JSON) -> Transaction | None:
        for one in self.simulation.transactions.values():
            if one.gateway_transaction_id == money_id and one.kind == "payment":
                return one if one.status is Status.SUCCEEDED else None
        return None

    def _refund_of(self, original: Transaction) -> Transaction | None:
        found = self.simulation.transactions.values()
        return next((one for one in found if one.original == original.reference), None)

    def _give_back(self, original: Transaction) -> Transaction:
        money_id = self._money_id("CI", "C")
        refund = Transaction(
            reference=money_id,
            external_id=money_id,
            kind="refund",
            amount=original.amount,
            currency=original.currency,
            party=original.party,
            original=original.reference,
            created_at=self.simulation.clock(),
            gateway_transaction_id=money_id,
            # Refunds are answered when they are done, and nobody is told of them again.
            status=Status.SUCCEEDED,
            moves=1,
        )
        self.simulation.add(refund, ())
        return refund

    # ── questions ────────────────────────────────────────────────────────────────────────────────

    async def enquiry(self, request: Request) -> Response:
        self._check_caller(request)
        found = self.simulation.transactions.get(our_reference(request.path_params["id"]))
        if found is None or found.kind != "payment":
            status = self.settings.unknown_status
            raise Refused(_error(status, None, "Transaction not found", _UNKNOWN_ID))
        word, code = _state(found)
        # Unlike a callback's, this message is the same whatever was paid.
        told = {"id": found.external_id, "status": word, "message": _MESSAGES[word]}
        if found.status is Status.SUCCEEDED:
            told["airtel_money_id"] = found.gateway_transaction_id
        data, success = {"transaction": told}, found.status is not Status.FAILED
        return _envelope(code, _MESSAGES[word].upper(), data=data, success=success)

    async def balance(self, request: Request) -> Response:
        self._check_caller(request)
        balance = _FLOAT
        for one in self.simulation.transactions.values():
            balance += Decimal(one.amount) * one.moves * (1 if one.kind == "payment" else -1)
        data = {
            "balance": f"{balance:,.2f}",
            "currency": self.config.currency,
            "account_status": "Active",
        }
        return _envelope("DP02100000001", "SUCCESS", data=data)

    async def payer(self, request: Request) -> Response:
        self._check_caller(request)
        msisdn = request.path_params["msisdn"]
        if msisdn in stories.NO_WALLET or not re.fullmatch(r"7[23]\d{7}", msisdn):
            raise Refused(_error(200, "DP02200000002", "User not found"))
        data = {
            "first_name": "Aline",
            "last_name": "Example",
            "msisdn": msisdn,
            "grade": "SUBS",
            "is_barred": False,
            "is_pin_set": True,
            "registration": {"status": "SUBS"},
            **stories.PAYERS.get(msisdn, {}),
        }
        return _envelope("DP02200000001", "SUCCESS", data=data)

    async def summary(self, request: Request) -> Response:
        self._check_caller(request)
        rows = [_row(one) for one in self.simulation.transactions.values()]
        return _envelope("", "SUCCESS", data={"count": len(rows), "transactions": rows})

    # ── who may call, and with what ──────────────────────────────────────────────────────────────

    async def _signed_body(self, request: Request) -> bytes:
        # The body first: between the checks and the memory no other request may come in, or the
        # same id could be taken twice.
        body = await request.body()
        _check_json(request)
        self._check_caller(request)
        if self.settings.signing and not self._is_signed(request, body):
            raise Refused(_error(403, "DP00800001026", "Forbidden"))
        return body

    def _check_caller(self, request: Request) -> None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        ends = self.tokens.get(bearer)
        if ends is None or ends <= self.simulation.clock():
            text = "The access token is invalid or has expired"
            raise Refused(_oauth_error(self.settings.token_refusal, "invalid_token", text))
        country, currency = request.headers.get("x-country"), request.headers.get("x-currency")
        if not country:
            told = f"Partner {self.config.client_id} not found"
            nobody = {"status_message": told, "status_code": "ROUTER110"}
            raise Refused(JSONResponse(nobody, status_code=400))
        if country != self.config.country:
            raise Refused(_error(400, "ROUTER006", "Invalid Country Code"))
        if not currency:
            text = "Missing request header 'x-wallet-id' for method parameter of type String"
            raise Refused(_error(200, None, text, "ESB000008"))
        if currency != self.config.currency:
            raise Refused(_error(200, "ROUTER112", "Invalid Currency"))

    def _is_signed(self, request: Request, body: bytes) -> bool:
        key = self._private_key()
        try:
            wrapped = base64.b64decode(request.headers.get("x-key", ""), validate=True)
            text = key.decrypt(wrapped, scheme(choose(Padding.AUTO, key.public_key())))
            secret, iv = (base64.b64decode(part, validate=True) for part in text.split(b":"))
            return signature(body, secret, iv) == request.headers.get("x-signature")
        except ValueError:
            return False

    # ── callbacks ────────────────────────────────────────────────────────────────────────────────

    def _callback(self, transaction: Transaction) -> Webhook:
        told: dict[str, JSON] = {
            "id": transaction.external_id,
            "message": _message(transaction),
            "status_code": "TS" if transaction.status is Status.SUCCEEDED else "TF",
        }
        if transaction.status is Status.SUCCEEDED:
            told["airtel_money_id"] = transaction.gateway_transaction_id
        body: dict[str, JSON] = {"transaction": told}
        way = self.settings.callback_hash
        key = self.config.callback_hash_key
        headers = {}
        if key is not None and way != "none" and transaction.note != stories.NO_HASH:
            # A note on it makes the key another one, and the hash a forgery.
            secret = key.get_secret_value() + transaction.note
            found = _hash(secret, told if way == "transaction" else body)
            if way == "header":
                headers["hash"] = found
            else:
                body["hash"] = found
        return Webhook(body=_compact(body), headers=headers, tries=self.settings.callback_tries)


def read_order(body: dict[str, JSON], config: AirtelConfig) -> Order:
    """Raises Refused as Airtel does: with status 200, mostly."""
    subscriber, transaction = body.get("subscriber"), body.get("transaction")
    if not isinstance(subscriber, dict) or not isinstance(transaction, dict):
        raise Refused(_error(200, "ROUTER003", "Missing body parameter"))
    text, msisdn = body.get("reference"), str(subscriber.get("msisdn", ""))
    amount, identity = transaction.get("amount"), transaction.get("id")
    if not isinstance(identity, str) or not identity:
        raise Refused(_error(200, "ROUTER003", "Missing body parameter id"))
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9 ]{4,64}", text):
        raise Refused(_error(200, None, "Invalid reference", "ESB000008"))
    if msisdn.startswith(("0", "250")):
        raise Refused(_error(200, None, "Msisdn should not start with 0 or 250", "ESB000036"))
    if not re.fullmatch(r"\d{9}", msisdn):
        text = "Invalid Msisdn Length. Msisdn Length should be 9"
        raise Refused(_error(200, None, text, "ESB000033"))
    if not _is_amount(amount, config.currency):
        raise Refused(_error(200, "DP00800001004", "Invalid Amount"))
    return Order(id=identity, amount=str(amount), msisdn=msisdn, text=text)


def _is_amount(amount: JSON, currency: str) -> bool:
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or amount <= 0:
        return False
    decimals = -int(Decimal(amount).as_tuple().exponent)
    return decimals <= (0 if currency == "RWF" else 3)


def _state(transaction: Transaction) -> tuple[str, str]:
    """Status word and code of an enquiry."""
    if transaction.status is Status.PENDING:
        return stories.WAITING.get(transaction.party, ("TIP", _IN_PROCESS))
    if transaction.status is Status.SUCCEEDED:
        return "TS", _PAID
    word = "TE" if transaction.reason == stories.EXPIRED else "TF"
    return word, str(transaction.reason)


def _message(transaction: Transaction) -> str:
    """What a callback says to people."""
    if transaction.status is Status.SUCCEEDED:
        amount = f"{transaction.currency} {Decimal(transaction.amount):,f}"
        return f"Paid {amount} to DEMO SHOP. Trans ID {transaction.gateway_transaction_id}."
    return "The transaction failed."


def _row(transaction: Transaction) -> dict[str, JSON]:
    payer = {"msisdn": transaction.party, "currency": transaction.currency}
    return {
        "service": {"type": "MERCHPAY" if transaction.kind == "payment" else "CASHIN"},
        "payer": payer if transaction.kind == "payment" else {},
        "payee": {} if transaction.kind == "payment" else payer,
        "transaction": {
            "airtel_money_id": transaction.gateway_transaction_id,
            "amount": transaction.amount,
            "created_at": transaction.created_at.isoformat(),
            "id": transaction.external_id,
            "reference_number": transaction.message,
            "status": _WORDS[transaction.status],
        },
    }


def _hash(secret: str, value: JSON) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), _compact(value), hashlib.sha256)).decode()


def _compact(value: JSON) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _check_json(request: Request) -> None:
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise Refused(JSONResponse({}, status_code=415))


def _object(body: bytes) -> dict[str, JSON]:
    try:
        value = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(_error(400, "ROUTER003", "Missing body parameter"))
    return value


def _envelope(
    code: str | None,
    message: str,
    *,
    status: int = 200,
    result: str | None = None,
    data: JSON = None,
    success: bool = True,
) -> Response:
    told: dict[str, JSON] = {
        "code": "200" if success else "400",
        "message": message,
        "result_code": result or ("ESB000010" if success else None),
        "response_code": code,
        "success": success,
    }
    envelope: dict[str, JSON] = {"status": {k: v for k, v in told.items() if v is not None}}
    return JSONResponse(envelope if data is None else {"data": data, **envelope}, status)


def _error(status: int, code: str | None, message: str, result: str | None = None) -> Response:
    return _envelope(code, message, status=status, result=result, success=False)


def _oauth_error(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status_code=status)


async def _answer_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response
