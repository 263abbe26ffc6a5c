"""The examples of docs/hooks.md: a plugin for Umoja Pay, and three that wrap every gateway."""

# ruff: noqa: E402, F811 - examples bring their own imports

import asyncio
import inspect
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from dusangire.core import now as utc_now
from dusangire.exchanges import note, recording
from dusangire.fiscal import FiscalLine, Label
from dusangire.fiscalization.plugin import FiscalPlugin
from dusangire.gateway import Environment
from dusangire.money import Money
from dusangire.plugins import Plugin, Plugins
from dusangire.testing import FakeGateway, GatewayContract, payer
from dusangire.testing.stand import Case, Stand, load

DOCS = Path(__file__).parents[2] / "docs" / "hooks.md"
PRICE = Money(5_000, "RWF")

# example: what the hooks share
import hashlib
import hmac
import json
from decimal import Decimal
from typing import TYPE_CHECKING

import httpx
from pydantic import Field, SecretStr

from dusangire import hookimpl
from dusangire.errors import CallerError, WebhookRejected
from dusangire.gateway import (
    JSON,
    Accepted,
    ApproveOnPhone,
    Attempt,
    Failed,
    FailureCode,
    Gateway,
    GatewayConfig,
    GatewayDescription,
    Heard,
    NotSent,
    Outcome,
    PaymentToken,
    Refund,
    Succeeded,
    TestReport,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.wire import NEVER_LEFT

if TYPE_CHECKING:
    from starlette.types import ASGIApp

REASONS = {
    "NO_MONEY": FailureCode.INSUFFICIENT_FUNDS,
    "SAID_NO": FailureCode.DECLINED_BY_PAYER,
    "WITHDRAWN": FailureCode.CANCELLED,
}


class UmojaConfig(GatewayConfig):
    base_url: str = Field(description="Where Umoja Pay's API is.")
    api_key: SecretStr = Field(description="Your key, from Umoja Pay's portal.")


async def call(
    gateway: Gateway[UmojaConfig], method: str, path: str, body: JSON = None
) -> httpx.Response:
    """One call to Umoja Pay. Raises httpx.HTTPError."""
    key = gateway.config.api_key.get_secret_value()
    return await gateway.http.request(method, path, json=body, headers={"X-Api-Key": key})


def read(text: str | bytes) -> dict[str, JSON]:
    """The JSON object in what Umoja Pay says; an empty one for whatever is not one."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def outcome_of(told: dict[str, JSON]) -> Outcome:
    """What Umoja Pay says of one payment or refund, in our words."""
    reference, word = told.get("reference"), told.get("status")
    if not isinstance(reference, str) or not isinstance(word, str):
        return Unknown(cause="an answer that cannot be read")
    match word:
        case "PAID":
            try:
                amount = Money.parse(Decimal(told["amount"]), told["currency"])
            except (CallerError, ArithmeticError, KeyError, TypeError, ValueError):
                return Unknown(cause="an amount that cannot be read")
            return Succeeded(
                amount=amount,
                reference=reference,
                gateway_transaction_id=told.get("id"),
                token=token_of(told),
            )
        case "REFUSED":
            code = REASONS.get(str(told.get("reason")), FailureCode.OTHER)
            message = f"Umoja Pay refused: {code.lower().replace('_', ' ')}."
            return Failed(
                code=code, message=message, gateway_code=told.get("reason"), reference=reference
            )
        case "WAITING":
            return Accepted(reference=reference)
        case _:
            return Accepted(reference=reference, unmapped=word)


def token_of(told: dict[str, JSON]) -> PaymentToken | None:
    """What charges this wallet again: there when we asked Umoja Pay to keep it."""
    token = told.get("wallet_token")
    return PaymentToken(secret=token, label="Umoja Pay wallet") if isinstance(token, str) else None


def refusal_of(answer: httpx.Response) -> Outcome:
    """A request that was turned down, if that is what the answer says."""
    if answer.status_code == 422 and (word := read(answer.content).get("error")):
        return Failed(
            code=REASONS.get(str(word), FailureCode.OTHER),
            message="Umoja Pay turned the request down.",
            gateway_code=str(word),
        )
    return Unknown(cause=f"Umoja Pay answered {answer.status_code}")


# end of example


# example: describe_gateway
@hookimpl
def describe_gateway() -> GatewayDescription:
    return GatewayDescription(
        name="Umoja Pay",
        config=UmojaConfig,
        brand_color="#0B7A75",
        needs_phone=True,
        call_timeout=30,
        example_config={"api_key": "simulated-umoja-key"},
    )


# end of example


# example: initiate_payment
@hookimpl
async def initiate_payment(gateway: Gateway[UmojaConfig], attempt: Attempt) -> Outcome:
    if attempt.phone is None or attempt.amount.currency != gateway.config.currency:
        return Failed(code=FailureCode.GATEWAY_CONFIGURATION, message="Umoja Pay cannot take that.")
    body = {
        "reference": attempt.reference,
        "amount": f"{attempt.amount.amount:f}",
        "currency": attempt.amount.currency,
        "phone": attempt.phone,
        "keep": attempt.keeps_method,
        "webhook_url": gateway.webhook_url,
    }
    try:
        answer = await call(gateway, "POST", "/payments", body)
    except NEVER_LEFT as error:
        return NotSent(cause=type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    if answer.status_code == 201 and read(answer.content):
        message = f"Approve {attempt.amount} on your phone."
        return Accepted(next_action=ApproveOnPhone(phone=attempt.phone, message=message))
    return refusal_of(answer)


# end of example


# example: charge_token
@hookimpl
async def charge_token(gateway: Gateway[UmojaConfig], attempt: Attempt, token: str) -> Outcome:
    if attempt.amount.currency != gateway.config.currency:
        return Failed(code=FailureCode.GATEWAY_CONFIGURATION, message="Umoja Pay cannot take that.")
    body = {
        "reference": attempt.reference,
        "amount": f"{attempt.amount.amount:f}",
        "currency": attempt.amount.currency,
        "wallet_token": token,
        "webhook_url": gateway.webhook_url,
    }
    try:
        answer = await call(gateway, "POST", "/payments", body)
    except NEVER_LEFT as error:
        return NotSent(cause=type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    if answer.status_code == 201 and read(answer.content):
        return Accepted()
    return refusal_of(answer)


# end of example


# example: check_payment
@hookimpl
async def check_payment(gateway: Gateway[UmojaConfig], attempt: Attempt) -> Outcome:
    try:
        answer = await call(gateway, "GET", f"/payments/{attempt.reference}")
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    told = read(answer.content)
    if answer.status_code == 404 and told.get("error") == "NO_SUCH_REFERENCE":
        return NotSent(cause="Umoja Pay does not know the reference")
    if answer.status_code != 200:
        return Unknown(cause=f"Umoja Pay answered {answer.status_code}")
    return outcome_of(told)


# end of example


# example: cancel_payment
@hookimpl
async def cancel_payment(gateway: Gateway[UmojaConfig], attempt: Attempt) -> Outcome:
    try:
        answer = await call(gateway, "DELETE", f"/payments/{attempt.reference}")
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    if answer.status_code != 200:
        return Unknown(cause=f"Umoja Pay answered {answer.status_code}")
    return outcome_of(read(answer.content))


# end of example


# example: check_payer
@hookimpl
async def check_payer(gateway: Gateway[UmojaConfig], attempt: Attempt) -> Outcome | None:
    try:
        # In the body: paths are written to logs, and phone numbers must not be.
        answer = await call(gateway, "POST", "/wallets/search", {"phone": attempt.phone})
    except httpx.HTTPError:
        return None
    if answer.status_code == 404 and read(answer.content).get("error") == "NO_SUCH_WALLET":
        return Failed(
            code=FailureCode.PAYER_NOT_FOUND, message="This number has no Umoja Pay wallet."
        )
    return None


# end of example


# example: refund_payment
@hookimpl
async def refund_payment(gateway: Gateway[UmojaConfig], refund: Refund) -> Outcome:
    body = {
        "reference": refund.reference,
        "payment": refund.attempt.reference,
        "amount": f"{refund.amount.amount:f}",
        "currency": refund.amount.currency,
    }
    try:
        answer = await call(gateway, "POST", "/refunds", body)
    except NEVER_LEFT as error:
        return NotSent(cause=type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    if answer.status_code == 201 and read(answer.content):
        return Accepted()
    return refusal_of(answer)


# end of example


# example: check_refund
@hookimpl
async def check_refund(gateway: Gateway[UmojaConfig], refund: Refund) -> Outcome:
    try:
        answer = await call(gateway, "GET", f"/refunds/{refund.reference}")
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    told = read(answer.content)
    if answer.status_code == 404 and told.get("error") == "NO_SUCH_REFERENCE":
        return NotSent(cause="Umoja Pay does not know the reference")
    if answer.status_code != 200:
        return Unknown(cause=f"Umoja Pay answered {answer.status_code}")
    return outcome_of(told)


# end of example


# example: read_webhook
def sign(config: UmojaConfig, text: str) -> str:
    return hmac.digest(
        config.api_key.get_secret_value().encode(),
        text.encode(errors="surrogatepass"),
        hashlib.sha256,
    ).hex()


@hookimpl
def read_webhook(gateway: Gateway[UmojaConfig], request: WebhookRequest) -> Heard:
    message = read(request.body)
    text, signature = message.get("text"), message.get("signature")
    if not isinstance(text, str) or not isinstance(signature, str):
        raise WebhookRejected("This is not one of Umoja Pay's messages.", status=400)
    expected, given = sign(gateway.config, text).encode(), signature.encode(errors="surrogatepass")
    if not hmac.compare_digest(expected, given):
        raise WebhookRejected("The signature is not Umoja Pay's.", status=401)
    told = read(text)
    return Heard(
        reference=told.get("reference"),
        trust=Trust.SIGNED,
        dedupe_key=f"{told.get('reference')} {told.get('status')}",
        outcome=outcome_of(told),
    )


# end of example


# example: test_gateway
@hookimpl
async def test_gateway(gateway: Gateway[UmojaConfig]) -> TestReport:
    try:
        answer = await call(gateway, "GET", "/account")
    except httpx.HTTPError as error:
        return TestReport(
            ok=False, message=f"Umoja Pay cannot be reached: {error}. Check base_url."
        )
    if answer.status_code == 401:
        return TestReport(ok=False, message="Umoja Pay refuses the key. Check api_key.")
    currency = read(answer.content).get("currency")
    if currency != gateway.config.currency:
        return TestReport(ok=False, message=f"The account is in {currency}. Check currency.")
    return TestReport(ok=True, message="Umoja Pay knows you.")


# end of example
# A hook, whatever its name looks like to pytest.
test_gateway.__test__ = False  # type: ignore[attr-defined]


# example: simulator
@hookimpl
def simulator(gateway: Gateway[UmojaConfig]) -> "ASGIApp":
    # Here, because servers that never simulate have no starlette to import.
    import secrets

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from dusangire.simulation import (
        Settings,
        Simulation,
        Status,
        Step,
        Transaction,
        Webhook,
        build_app,
    )

    words = {Status.PENDING: "WAITING", Status.SUCCEEDED: "PAID", Status.FAILED: "REFUSED"}

    kept: set[str] = set()  # references of payments whose wallet shall be kept
    wallets: dict[str, str] = {}  # whose phone a token charges

    def told(one: Transaction) -> dict[str, JSON]:
        answer = {
            "id": one.gateway_transaction_id,
            "reference": one.reference,
            "amount": one.amount,
            "currency": one.currency,
            "status": words[one.status],
            "reason": one.note or one.reason,
        }
        if one.reference in kept and one.status is Status.SUCCEEDED:
            tokens = {phone: token for token, phone in wallets.items()}
            token = tokens.get(one.party) or f"umoja-{secrets.token_hex(16)}"
            wallets[token] = one.party
            answer["wallet_token"] = token
        return answer

    def webhook(one: Transaction) -> Webhook:
        text = json.dumps(told(one))
        signed = {"text": text, "signature": sign(gateway.config, text)}
        return Webhook(body=json.dumps(signed).encode())

    simulation = Simulation(
        name="Umoja Pay",
        color="#0B7A75",
        clock=gateway.clock,
        webhook=webhook,
        declined="SAID_NO",
        settings=Settings(delay=1),
    )
    known = simulation.transactions

    def too_much(asked: dict[str, JSON]) -> bool:
        payment = known.get(asked["payment"])
        if payment is None or payment.status is not Status.SUCCEEDED:
            return True
        back = [Decimal(one.amount) for one in known.values() if one.original == payment.reference]
        return sum(back) + Decimal(asked["amount"]) > Decimal(payment.amount)

    async def take(request: Request) -> JSONResponse:
        asked = await request.json()
        if asked["reference"] in known:
            known[asked["reference"]].requests += 1
            return JSONResponse(told(known[asked["reference"]]), 201)
        is_refund = "payment" in asked
        if is_refund and too_much(asked):
            return JSONResponse({"error": "TOO_MUCH"}, 422)
        phone = asked.get("phone") or wallets.get(asked.get("wallet_token"), "")
        if not is_refund and not phone:
            return JSONResponse({"error": "NO_SUCH_TOKEN"}, 422)
        if asked.get("keep"):
            kept.add(asked["reference"])
        says_no = phone == "+250780000102"
        one = Transaction(
            reference=asked["reference"],
            external_id=asked["reference"],
            kind="refund" if is_refund else "payment",
            amount=asked["amount"],
            currency=asked["currency"],
            party=phone,
            created_at=gateway.clock(),
            original=asked.get("payment"),
            webhook_url=asked.get("webhook_url"),
            gateway_transaction_id=f"UM-{len(known) + 1}",
        )
        end = Step(
            after=0 if is_refund else simulation.settings.delay,
            status=Status.FAILED if says_no else Status.SUCCEEDED,
            reason="SAID_NO" if says_no else None,
        )
        simulation.add(one, () if simulation.settings.mode == "manual" else (end,))
        return JSONResponse(told(one), 201)

    async def tell(request: Request) -> JSONResponse:
        if (one := known.get(request.path_params["reference"])) is None:
            return JSONResponse({"error": "NO_SUCH_REFERENCE"}, 404)
        if request.method == "DELETE" and one.status is Status.PENDING:
            one.note = "WITHDRAWN"
            simulation.decide(one.reference, approve=False)
        return JSONResponse(told(one))

    async def wallet(request: Request) -> JSONResponse:
        if (await request.json())["phone"] == "+250780000404":
            return JSONResponse({"error": "NO_SUCH_WALLET"}, 404)
        return JSONResponse({})

    async def account(request: Request) -> JSONResponse:
        if request.headers["x-api-key"] != gateway.config.api_key.get_secret_value():
            return JSONResponse({"error": "BAD_KEY"}, 401)
        return JSONResponse({"currency": gateway.config.currency})

    routes = [
        Route("/payments", take, methods=["POST"]),
        Route("/payments/{reference}", tell, methods=["GET", "DELETE"]),
        Route("/refunds", take, methods=["POST"]),
        Route("/refunds/{reference}", tell),
        Route("/wallets/search", wallet, methods=["POST"]),
        Route("/account", account),
    ]
    return build_app(simulation, Starlette(routes=routes))


# end of example


# example: describe_channel
import os

from dusangire.channels import (
    Address,
    ChannelDescription,
    Delivered,
    Delivery,
    Message,
    NotDelivered,
    Unclear,
)
from dusangire.errors import CannotStart

SMS = "https://sms.umoja.example"


@hookimpl
def describe_channel() -> ChannelDescription | None:
    key = os.environ.get("UMOJA_SMS_KEY")
    if key is None:
        return None
    if not key.startswith("sms-"):
        raise CannotStart("UMOJA_SMS_KEY is not a key of Umoja SMS: those begin with sms-.")
    return ChannelDescription(name="SMS", needs=Address.PHONE, staff=False, call_timeout=20)


# end of example


# example: send_message
@hookimpl
async def send_message(message: Message) -> Delivery:
    sms = {"id": message.id, "to": message.to, "text": message.short}
    headers = {"X-Api-Key": os.environ["UMOJA_SMS_KEY"]}
    try:
        async with httpx.AsyncClient(timeout=15) as http:
            answer = await http.post(f"{SMS}/messages", json=sms, headers=headers)
    except NEVER_LEFT as error:
        return NotDelivered(cause=type(error).__name__, retry=True)
    except httpx.HTTPError as error:
        return Unclear(cause=type(error).__name__)
    if answer.status_code == 201:
        return Delivered()
    if answer.status_code == 422:
        return NotDelivered(cause="no such number", retry=False)
    if answer.status_code == 429:
        return NotDelivered(cause="too many at once", retry=True)
    return Unclear(cause=f"Umoja SMS answered {answer.status_code}")


# end of example


# example: describe_fiscal_device
from pydantic import BaseModel

from dusangire.errors import CannotStart
from dusangire.fiscal import FiscalDescription


class TillConfig(BaseModel):
    token: SecretStr


def till(url: str, tin: str, token: str) -> FiscalDescription:
    return FiscalDescription(
        name="Umoja Till",
        tin=tin,
        branch="00",
        base_url=url,
        config=TillConfig(token=SecretStr(token)),
        tax_classes=frozenset("ABCD"),
    )


@hookimpl
def describe_fiscal_device() -> FiscalDescription | None:
    url, tin = os.environ.get("UMOJA_TILL_URL"), os.environ.get("UMOJA_TILL_TIN", "")
    if not url:
        return None
    if len(tin) != 9 or not (tin.isascii() and tin.isdigit()):
        raise CannotStart("UMOJA_TILL_TIN takes the nine digits of your TIN.")
    return till(url, tin, os.environ.get("UMOJA_TILL_TOKEN", ""))


# end of example


# example: initialize_fiscal_device
from dusangire.fiscal import FiscalDevice, Initialized, InitialOutcome, Rejected


async def ask(device: FiscalDevice, path: str, body: JSON) -> tuple[int, dict[str, JSON]]:
    """One call to the till: the status and what it said. Raises httpx.HTTPError."""
    config = device.description.config
    assert isinstance(config, TillConfig)
    headers = {"X-Token": config.token.get_secret_value()}
    answer = await device.http.post(path, json=body, headers=headers)
    return answer.status_code, read(answer.content)


@hookimpl
async def initialize_fiscal_device(device: FiscalDevice) -> InitialOutcome:
    try:
        status, told = await ask(device, "/hello", {"tin": device.description.tin})
    except NEVER_LEFT as error:
        return NotSent(cause=type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    if status == 401:
        return Rejected(code="TOKEN", message="The till refuses the token.")
    if status != 200 or not isinstance(told.get("last"), int):
        return Unknown(cause=f"the till answered {status}")
    return Initialized(last_number=told["last"])


# end of example


# example: declare_item
from dusangire.fiscal import Declared, FiscalItem, ItemOutcome


@hookimpl
async def declare_item(device: FiscalDevice, item: FiscalItem) -> ItemOutcome:
    body = {"number": item.number, "name": item.name, "class": item.tax_class}
    try:
        status, told = await ask(device, "/items", body)
    except NEVER_LEFT as error:
        return NotSent(cause=type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    if status == 422:
        return Rejected(code=str(told.get("error")), message="The till refuses the item.")
    return Declared() if status == 200 else Unknown(cause=f"the till answered {status}")


# end of example


# example: sign_document
from datetime import datetime

from dusangire.fiscal import AlreadyDeclared, FiscalDocument, Signed, SigningOutcome


@hookimpl
async def sign_document(device: FiscalDevice, document: FiscalDocument) -> SigningOutcome:
    body = {
        "number": document.number,
        "kind": document.label,
        "of": document.original_number,
        "total": document.total,
        "tax": document.tax,
        "items": [[line.item.number, line.total] for line in document.lines],
    }
    try:
        status, told = await ask(device, "/documents", body)
    except NEVER_LEFT as error:
        return NotSent(cause=type(error).__name__)
    except httpx.HTTPError as error:
        return Unknown(cause=type(error).__name__)
    match status:
        case 200:
            return Signed(
                receipt_number=told["receipt"],
                total_number=told["of_all"],
                sdc_id=told["till"],
                mrc_no=told["machine"],
                internal_data=told["data"],
                signature=told["signature"],
                signed_at=datetime.fromisoformat(told["at"]),
                raw=told,
            )
        case 409:
            return AlreadyDeclared(code="409", message="The till has this number.")
        case 422:
            return Rejected(code=str(told.get("error")), message="The till refuses the document.")
    return Unknown(cause=f"the till answered {status}")


# end of example


# example: fiscal_simulator
from dusangire.fiscal import FiscalSimulator


@hookimpl
def fiscal_simulator(base_url: str) -> FiscalSimulator | None:
    from datetime import UTC

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    documents: set[int] = set()

    async def hello(request: Request) -> JSONResponse:
        if request.headers["x-token"] != "simulated-token":
            return JSONResponse({}, 401)
        return JSONResponse({"last": max(documents, default=0)})

    async def item(request: Request) -> JSONResponse:
        return JSONResponse({})

    async def sign_it(request: Request) -> JSONResponse:
        asked = await request.json()
        if asked["number"] in documents:
            return JSONResponse({}, 409)
        if asked["total"] <= 0:
            return JSONResponse({"error": "NOTHING_SOLD"}, 422)
        documents.add(asked["number"])
        return JSONResponse(
            {
                "receipt": len(documents),
                "of_all": len(documents),
                "till": "TILL00000001",
                "machine": "UMOJA000001",
                "data": f"{asked['number']:026d}",
                "signature": f"{asked['total']:016d}",
                "at": datetime.now(UTC).isoformat(),
            }
        )

    routes = [
        Route("/hello", hello, methods=["POST"]),
        Route("/items", item, methods=["POST"]),
        Route("/documents", sign_it, methods=["POST"]),
    ]
    description = till(base_url, "999991130", "simulated-token")
    return FiscalSimulator(description=description, app=Starlette(routes=routes))


# end of example


# example: statement_formats
from collections.abc import Iterator, Sequence
from datetime import date

from dusangire.statements import (
    Direction,
    Entry,
    EntryKind,
    MappingProfile,
    ReadOptions,
    Record,
    StatementEnd,
    StatementFormat,
    StatementHead,
    Unreadable,
)
from dusangire.statements import Rejected as RejectedLine

REPORT = "UMOJA PAYOUT"


def recognises(head: bytes) -> bool:
    return head.startswith(REPORT.encode())


def read_report(file: Path, options: ReadOptions) -> Iterator[Record]:
    """`UMOJA PAYOUT <id> <day> <net>`, and below it `<payment> <gross> <fee>` for each payment."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        try:
            _, _, payout, day, total = lines.readline(200).split()
            paid_on, net = date.fromisoformat(day), Money.parse(total, options.currency)
        except (CallerError, ValueError) as error:
            raise Unreadable("This is not one of Umoja Pay's payouts.", line=1) from error
        yield StatementHead(account="UMOJA", currency=options.currency, number=payout)
        number = 1
        while line := lines.readline(200):
            number += 1
            try:
                reference, gross, fee = line.split()
                paid = Money.parse(gross, options.currency)
                kept = Money.parse(fee, options.currency)
                amount = Money.parse(paid.amount - kept.amount, options.currency)
            except (CallerError, ValueError) as error:
                yield RejectedLine(line=number, message=f"It cannot be read: {error}", raw=line)
                continue
            yield Entry(
                line=number,
                booking_date=paid_on,
                direction=Direction.CREDIT,
                kind=EntryKind.PAYMENT,
                amount=amount,
                gross=paid,
                fee=kept,
                our_reference=reference,
                settlement=payout,
            )
        yield StatementEnd(total_credits=net.minor)


@hookimpl
def statement_formats() -> Sequence[StatementFormat | MappingProfile]:
    return [
        StatementFormat(
            name="umoja-payout",
            title="Umoja Pay payouts",
            recognises=recognises,
            read=read_report,
        )
    ]


# end of example


# example: a control plugin that watches
import time
from collections.abc import Coroutine, Generator
from typing import Any, TypeAlias

Call: TypeAlias = Coroutine[Any, Any, Outcome]


class Stopwatch:
    """Logs how long each gateway takes to take a payment."""

    @hookimpl(wrapper=True)
    def initiate_payment(
        self, gateway: Gateway[Any], attempt: Attempt
    ) -> Generator[None, Call, Call]:
        coroutine = yield
        return self._timed(gateway, coroutine)

    async def _timed(self, gateway: Gateway[Any], coroutine: Call) -> Outcome:
        started = time.monotonic()
        outcome = await coroutine
        seconds = round(time.monotonic() - started, 3)
        gateway.log.info("payment sent", outcome=type(outcome).__name__, seconds=seconds)
        return outcome


# end of example


# example: a control plugin that vetoes
class Ceiling:
    """Refuses payments over a ceiling, whatever the gateway would take."""

    def __init__(self, minor: int) -> None:
        self.minor = minor

    @hookimpl(wrapper=True)
    def initiate_payment(
        self, gateway: Gateway[Any], attempt: Attempt
    ) -> Generator[None, Call, Call]:
        call = yield
        return self._below(gateway, attempt, call)

    @hookimpl(wrapper=True)
    def charge_token(self, gateway: Gateway[Any], attempt: Attempt) -> Generator[None, Call, Call]:
        call = yield
        return self._below(gateway, attempt, call)

    async def _below(self, gateway: Gateway[Any], attempt: Attempt, call: Call) -> Outcome:
        try:
            if attempt.amount.minor <= self.minor:
                return await call
            gateway.note("ceiling", self.minor)
            message = "Ask the shop to split it."
            return Failed(code=FailureCode.AMOUNT_OUT_OF_LIMITS, message=message)
        finally:
            call.close()  # one that never began sends nothing, and says nothing


# end of example


# example: a control plugin that vetoes refunds
class RefundCeiling:
    """Large refunds are for the bank transfer of a person."""

    def __init__(self, minor: int) -> None:
        self.minor = minor

    @hookimpl(wrapper=True)
    def refund_payment(self, gateway: Gateway[Any], refund: Refund) -> Generator[None, Call, Call]:
        call = yield
        return self._below(gateway, refund, call)

    async def _below(self, gateway: Gateway[Any], refund: Refund, call: Call) -> Outcome:
        allowed = refund.amount.minor <= self.minor
        gateway.note("refund ceiling", {"most": self.minor, "allowed": allowed})
        try:
            if allowed:
                return await call
            message = "Refunds of this size are made by hand."
            return Failed(code=FailureCode.AMOUNT_OUT_OF_LIMITS, message=message)
        finally:
            call.close()


# end of example


UMOJA = sys.modules[__name__]


class TestUmojaPay(GatewayContract):
    plugin = UMOJA
    approves = payer(phone="+250780000000")
    declines = payer(phone="+250780000102")


@pytest.fixture
def plugin() -> Plugin:
    return load(UMOJA)


@pytest.fixture
async def stand(plugin: Plugin) -> AsyncIterator[Stand]:
    async with Stand.open(plugin) as stand:
        yield stand


@pytest.fixture
def case(stand: Stand) -> Case:
    return stand.case(payer(phone="+250780000000"), PRICE)


def test_hook_describe_gateway_says_what_the_merchant_sees(plugin: Plugin) -> None:
    assert plugin.description.name == "Umoja Pay"
    assert set(UmojaConfig.model_fields) - set(GatewayConfig.model_fields) == {
        "base_url",
        "api_key",
    }


async def test_hook_initiate_payment_sends_and_says_what_the_payer_does_next(case: Case) -> None:
    outcome = await case.initiate()

    assert isinstance(outcome, Accepted)
    assert isinstance(outcome.next_action, ApproveOnPhone)
    assert [one.reference for one in await case.stand.payments()] == [case.reference]


async def test_hook_charge_token_charges_a_payer_who_comes_back(stand: Stand) -> None:
    first = stand.case(payer(phone="+250780000000"), PRICE, keeps_method=True)
    await first.initiate()
    kept = await first.settle()
    assert isinstance(kept, Succeeded)
    assert kept.token is not None

    again = stand.case({}, Money(700, "RWF"))
    outcome = await again.charge(kept.token.secret)

    assert isinstance(outcome, Accepted)
    assert isinstance(await again.settle(), Succeeded)
    assert [one.amount for one in await stand.paid()] == [5_000, 700]


async def test_hook_check_payment_tells_what_became_of_it(case: Case) -> None:
    await case.initiate()

    outcome = await case.settle()

    assert outcome == Succeeded(
        amount=PRICE, reference=case.reference, gateway_transaction_id="UM-1"
    )


async def test_hook_cancel_payment_withdraws_what_nobody_approved(case: Case) -> None:
    await case.stand.control("settings", mode="manual")
    await case.initiate()

    outcome = await case.cancel()

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.CANCELLED


async def test_hook_cancel_payment_says_when_it_was_too_late(case: Case) -> None:
    await case.initiate()
    await case.settle()

    assert isinstance(await case.cancel(), Succeeded)


@pytest.mark.parametrize(
    ("phone", "found"), [("+250780000404", FailureCode.PAYER_NOT_FOUND), ("+250780000000", None)]
)
async def test_hook_check_payer_refuses_only_who_certainly_cannot_pay(
    stand: Stand, phone: str, found: FailureCode | None
) -> None:
    case = stand.case(payer(phone=phone), PRICE)

    failed = await stand.plugin.check_payer(stand.gateway, case.attempt)

    assert (failed and failed.code) == found


async def test_hook_refund_payment_asks_for_a_part_back(case: Case) -> None:
    await case.initiate()
    await case.settle()
    refund = case.stand.refund(case, 2_000)

    outcome = await case.stand.plugin.refund_payment(case.stand.gateway, refund)

    assert isinstance(outcome, Accepted)
    await case.stand.quiet(refund.reference)
    assert await case.stand.given_back() == 2_000


async def test_hook_check_refund_tells_what_became_of_it(case: Case) -> None:
    await case.initiate()
    await case.settle()
    refund = case.stand.refund(case, 2_000)
    unheard = await case.stand.plugin.check_refund(case.stand.gateway, refund)

    outcome = await case.stand.give_back(refund)

    assert isinstance(unheard, NotSent)
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.reference) == (Money(2_000, "RWF"), refund.reference)


async def test_hook_read_webhook_believes_what_is_signed(case: Case) -> None:
    await case.initiate()
    request = await case.stand.webhook(case)

    heard = case.stand.read(request)

    assert isinstance(heard, Heard)
    assert (heard.trust, heard.reference) == (Trust.SIGNED, case.reference)
    assert isinstance(heard.outcome, Succeeded)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(False, "Umoja Pay knows you."), (True, "Umoja Pay refuses the key. Check api_key.")],
    ids=["a right key", "a wrong key"],
)
async def test_hook_test_gateway_says_what_to_do(stand: Stand, wrong: bool, says: str) -> None:
    gateway = stand.elsewhere(wrong_secrets=wrong)

    report = await stand.plugin.test_gateway(gateway)

    assert report == TestReport(ok=not wrong, message=says)


async def test_hook_simulator_answers_as_the_provider(stand: Stand) -> None:
    answer = await call(stand.gateway, "GET", "/account")

    assert stand.gateway.environment is Environment.TEST
    assert answer.json() == {"currency": "RWF"}


async def test_a_control_plugin_watches_every_gateway() -> None:
    plugins = Plugins.load({"watch": Stopwatch(), "fake": FakeGateway()}, installed=())
    async with Stand.open(plugins["fake"], simulated=False) as stand:
        outcome = await stand.case(payer(phone="+250780000000"), PRICE).initiate()

    assert isinstance(outcome, Accepted)
    assert [(one["event"], one["outcome"]) for one in stand.logged] == [
        ("payment sent", "Accepted")
    ]


async def test_a_control_plugin_vetoes_before_anything_is_sent() -> None:
    plugins = Plugins.load({"ceiling": Ceiling(4_999), "fake": FakeGateway()}, installed=())
    async with Stand.open(plugins["fake"]) as stand:
        attempt = stand.case(payer(phone="+250780000000"), PRICE).attempt
        with recording() as recorded:
            initiated = await stand.plugin.initiate_payment(
                replace(stand.gateway, note=note), attempt
            )
        charged = await stand.plugin.charge_token(stand.gateway, attempt, "umoja-token")
        sent = len(stand.line_().carried)
        small = await stand.case(payer(phone="+250780000000"), Money(4_999, "RWF")).initiate()
        known = await stand.payments()

    assert isinstance(initiated, Failed)
    assert initiated.code is FailureCode.AMOUNT_OUT_OF_LIMITS
    assert isinstance(charged, Failed)
    assert (recorded.notes, sent) == ({"ceiling": 4_999}, 0)
    assert isinstance(small, Accepted)
    assert [one.amount for one in known] == [4_999]


async def test_a_control_plugin_vetoes_a_refund() -> None:
    plugins = Plugins.load({"ceiling": RefundCeiling(2_000), "umoja": UMOJA}, installed=())
    async with Stand.open(plugins["umoja"]) as stand:
        case = stand.case(payer(phone="+250780000000"), PRICE)
        await case.initiate()
        await case.settle()
        large, small = stand.refund(case, 2_001), stand.refund(case, 2_000)
        gateway = replace(stand.gateway, note=note)

        with recording() as recorded:
            refused = await stand.plugin.refund_payment(gateway, large)
        nothing = await stand.given_back()
        taken = await stand.plugin.refund_payment(gateway, small)
        await stand.quiet(small.reference)
        back = await stand.given_back()

    assert isinstance(refused, Failed)
    assert recorded.notes == {"refund ceiling": {"most": 2_000, "allowed": False}}
    assert isinstance(taken, Accepted)
    assert [int(amount) for amount in (nothing, back)] == [0, 2_000]


@pytest.fixture
def a_till() -> FiscalPlugin:
    """The till of the examples, whose calls go to its simulator."""
    plugins = Plugins.load({"umoja": UMOJA}, installed=())
    name_and_app = plugins.simulate_fiscal("http://simulators")
    assert name_and_app is not None
    assert plugins.fiscal is not None
    name, app = name_and_app
    mounted = Starlette(routes=[Mount(f"/{name}", app)])
    return replace(plugins.fiscal, transport=httpx.ASGITransport(mounted))


def a_document(number: int, total: int = 1180) -> FiscalDocument:
    item = FiscalItem(number=1, name="Tea", code="TEA", tax_class="B", unit_price=total)
    line = FiscalLine(
        place=1,
        item=item,
        description="Tea",
        quantity=Decimal(1),
        unit_price=total,
        tax_class="B",
        tax_rate=Decimal(18),
        tax=total * 18 // 118,
        total=total,
    )
    return FiscalDocument(
        number=number,
        label=Label.NS,
        original_number=None,
        invoice_number="INV-2026-000001",
        issued_at=utc_now(),
        currency="RWF",
        lines=(line,),
        tax=line.tax,
        total=total,
    )


TOLD = Message(
    id="m-1",
    to="+250788123456",
    notice="REFUND_MADE",
    locale="rw",
    subject="s",
    text="t",
    short="Wasubijwe amafaranga",
)


@pytest.mark.parametrize(("key", "channels"), [(None, []), ("sms-1", ["sms"])])
def test_hook_describe_channel_is_idle_until_it_is_configured(
    monkeypatch: pytest.MonkeyPatch, key: str | None, channels: list[str]
) -> None:
    monkeypatch.delenv("UMOJA_SMS_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("UMOJA_SMS_KEY", key)

    assert list(Plugins.load({"sms": UMOJA}, installed=[]).channels) == channels


def test_hook_describe_channel_stops_the_start_when_a_setting_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UMOJA_SMS_KEY", "mistyped")

    with pytest.raises(CannotStart, match="UMOJA_SMS_KEY"):
        Plugins.load({"sms": UMOJA}, installed=[])


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (201, Delivered()),
        (422, NotDelivered(cause="no such number", retry=False)),
        (429, NotDelivered(cause="too many at once", retry=True)),
        (500, Unclear(cause="Umoja SMS answered 500")),
        (0, Unclear(cause="RemoteProtocolError")),
    ],
)
async def test_hook_send_message_says_what_became_of_it(
    monkeypatch: pytest.MonkeyPatch, status: int, told: Delivery
) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = re.findall(rb"content-length: (\d+)", head.lower())
        asked.append(json.loads(await reader.readexactly(int(length))))
        if status:
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    monkeypatch.setenv("UMOJA_SMS_KEY", "sms-1")
    monkeypatch.setattr(UMOJA, "SMS", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    channel = Plugins.load({"sms": UMOJA}, installed=[]).channels["sms"]

    assert await channel.send(TOLD) == told

    server.close()
    await server.wait_closed()
    assert asked == [{"id": "m-1", "to": "+250788123456", "text": "Wasubijwe amafaranga"}]


async def test_hook_send_message_was_not_sent_where_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("UMOJA_SMS_KEY", "sms-1")
    monkeypatch.setattr(UMOJA, "SMS", f"http://127.0.0.1:{unused_tcp_port}")
    channel = Plugins.load({"sms": UMOJA}, installed=[]).channels["sms"]

    assert await channel.send(TOLD) == NotDelivered(cause="ConnectError", retry=True)


def test_hook_describe_fiscal_device_reads_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"URL": "http://till", "TIN": "000111111", "TOKEN": "t"}.items():
        monkeypatch.setenv(f"UMOJA_TILL_{name}", value)
    plugins = Plugins.load({"umoja": UMOJA}, installed=())
    monkeypatch.setenv("UMOJA_TILL_TIN", "1")

    assert plugins.fiscal is not None
    assert plugins.fiscal.description.tin == "000111111"
    with pytest.raises(CannotStart, match="UMOJA_TILL_TIN"):
        Plugins.load({"umoja": UMOJA}, installed=())


async def test_hook_initialize_fiscal_device_says_where_numbers_are(a_till: FiscalPlugin) -> None:
    async with a_till.opened(utc_now) as device:
        ready = await a_till.initialize(device)
        await a_till.sign(device, a_document(7))
        again = await a_till.initialize(device)
    wrong = replace(a_till, description=till("http://simulators/umoja", "999991130", "wrong"))
    async with wrong.opened(utc_now) as device:
        refused = await wrong.initialize(device)

    assert (ready, again) == (Initialized(last_number=0), Initialized(last_number=7))
    assert isinstance(refused, Rejected)


async def test_hook_declare_item_makes_an_item_known(a_till: FiscalPlugin) -> None:
    item = a_document(1).lines[0].item
    async with a_till.opened(utc_now) as device:
        twice = [await a_till.declare(device, item) for _ in range(2)]

    assert twice == [Declared(), Declared()]


async def test_hook_sign_document_brings_the_receipt_once(a_till: FiscalPlugin) -> None:
    async with a_till.opened(utc_now) as device:
        signed = await a_till.sign(device, a_document(1))
        again = await a_till.sign(device, a_document(1))
        nothing = await a_till.sign(device, a_document(2, total=0))

    assert isinstance(signed, Signed)
    assert (signed.receipt_number, signed.signature) == (1, "0000000000001180")
    assert isinstance(again, AlreadyDeclared)
    assert isinstance(nothing, Rejected)


async def test_hook_fiscal_simulator_stands_for_the_device(a_till: FiscalPlugin) -> None:
    gone = replace(a_till, description=till("http://127.0.0.1:1", "999991130", "t"), transport=None)
    async with gone.opened(utc_now) as device:
        outcomes = [
            await gone.initialize(device),
            await gone.declare(device, a_document(1).lines[0].item),
            await gone.sign(device, a_document(1)),
        ]

    assert a_till.description.base_url == "http://simulators/umoja"
    assert all(isinstance(outcome, NotSent) for outcome in outcomes)


def test_hook_statement_formats_reads_a_payout_payment_by_payment(tmp_path: Path) -> None:
    known = Plugins.load({"umoja": UMOJA}, installed=[]).statement_formats()
    report = tmp_path / "payout.txt"
    report.write_text("UMOJA PAYOUT P7 2026-11-23 9800\nA1 5000 100\nwhat\nA2 5000 100\n")
    options = ReadOptions(currency="RWF", today=date(2026, 11, 23))
    umoja = known.formats["umoja-payout"]

    head, first, wrong, second, end = umoja.read(report, options)

    assert umoja.recognises(report.read_bytes())
    assert isinstance(head, StatementHead)
    assert isinstance(first, Entry)
    assert isinstance(second, Entry)
    assert (first.amount, first.gross, first.fee) == (
        Money(4_900, "RWF"), Money(5_000, "RWF"), Money(100, "RWF"),
    )  # fmt: skip
    assert (second.line, second.our_reference, second.settlement) == (4, "A2", "P7")
    assert wrong == RejectedLine(
        line=3,
        message="It cannot be read: not enough values to unpack (expected 3, got 1)",
        raw="what\n",
    )
    assert end == StatementEnd(total_credits=9_800)


def test_hook_statement_formats_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    report = tmp_path / "payout.txt"
    report.write_text("UMOJA PAYOUT P7 yesterday 9800\n")
    options = ReadOptions(currency="RWF", today=date(2026, 11, 23))

    with pytest.raises(Unreadable, match="payouts") as caught:
        list(read_report(report, options))

    assert caught.value.line == 1


def test_the_examples_in_the_docs_are_the_ones_above() -> None:
    here = re.findall(r"^# example: .*?\n(.*?)^# end of example", inspect.getsource(UMOJA), MARKED)

    documented = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), MARKED)

    assert [example.rstrip() for example in documented] == [example.rstrip() for example in here]


MARKED = re.MULTILINE | re.DOTALL
