"""FakeGateway: a payment method for your own tests, steered by what the payer types in.

It needs no network: without a `base_url` it is its own provider, in memory. Its `simulator` is
that provider behind HTTP, so that the contract's promises about the wire hold for it too.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
from pydantic import Field, SecretStr

from dusangire import hookimpl
from dusangire.errors import CallerError, WebhookRejected
from dusangire.exchanges import open_client
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
    Reply,
    Succeeded,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.money import Money
from dusangire.wire import NEVER_LEFT, words_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from dusangire.testing.fake_provider import FakeProvider

APPROVES = {"phone": "+250780000000"}
"""A payer who approves, as does every number that is not below."""
HAS_NO_MONEY = {"phone": "+250780000101"}
DECLINES = {"phone": "+250780000102"}
DOES_NOT_ANSWER = {"phone": "+250780000103"}
STAYS_PENDING = {"phone": "+250780000201"}
APPROVES_WITHOUT_WEBHOOK = {"phone": "+250780000202"}
APPROVES_WITH_THREE_WEBHOOKS = {"phone": "+250780000203"}
APPROVES_AFTER_ALL = {"phone": "+250780000207"}
"""First it fails, then, a second later, the money moves."""

REASONS: Mapping[str, tuple[FailureCode, str]] = {
    "NO_MONEY": (FailureCode.INSUFFICIENT_FUNDS, "There is not enough money in the wallet."),
    "SAID_NO": (FailureCode.DECLINED_BY_PAYER, "The payer declined."),
    "NO_ANSWER": (FailureCode.PAYER_TIMEOUT, "The payer did not answer in time."),
    "WITHDRAWN": (FailureCode.CANCELLED, "The request was withdrawn."),
    "TOO_MUCH": (FailureCode.AMOUNT_OUT_OF_LIMITS, "That is more than what was paid."),
    "NOT_PAID": (FailureCode.OTHER, "The payment did not succeed, so nothing can go back."),
    "NO_CARD": (FailureCode.CARD_DECLINED, "The provider does not know this card any more."),
    "BAD_KEY": (FailureCode.GATEWAY_CONFIGURATION, "The provider refuses the api_key."),
}


class FakeConfig(GatewayConfig):
    """Settings of the fake. All of them have defaults."""

    base_url: str = Field("", description="Where its simulator is served; empty: in memory.")
    api_key: SecretStr = Field(SecretStr("fake-api-key"), description="Opens the provider.")
    webhook_key: SecretStr = Field(SecretStr("fake-webhook-key"), description="Signs webhooks.")


Configured: TypeAlias = Gateway[FakeConfig]


class FakeGateway:
    """A whole gateway in memory: `Plugins.register("fake", FakeGateway(), "0")`.

    delay: seconds until a payer decides.
    outcomes: reasons (see REASONS) by amount in major units, such as {"666": "NO_MONEY"}.
    limits_refunds: whether the provider minds when more goes back than was paid.
    """

    reasons = REASONS

    def __init__(
        self,
        *,
        delay: float = 0,
        outcomes: Mapping[str, str] | None = None,
        limits_refunds: bool = True,
    ) -> None:
        self.delay = delay
        self.outcomes = dict(outcomes or {})
        self.limits_refunds = limits_refunds
        self._provider: FakeProvider | None = None
        self._http: httpx.AsyncClient | None = None

    # ── hooks ────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(
            name="Fake Pay",
            config=FakeConfig,
            brand_color="#7A5AF8",
            needs_phone=True,
            example_config={"api_key": "fake-api-key", "webhook_key": "fake-webhook-key"},
        )

    @hookimpl
    async def initiate_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        body = self.payment_body(gateway, attempt)
        return await self.begin(gateway, attempt, body, self.outcome_without_answer)

    @hookimpl
    async def charge_token(self, gateway: Configured, attempt: Attempt, token: str) -> Outcome:
        body = {**_body(gateway, attempt), "phone": None, "token": token}
        return await self.begin(gateway, attempt, body, _without_answer)

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        return await self.check(gateway, f"/payments/{attempt.reference}", attempt.amount)

    @hookimpl
    async def cancel_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        try:
            answer = await self.ask(gateway, "POST", f"/payments/{attempt.reference}/cancel", {})
        except httpx.HTTPError as error:
            return self.withdrawal_without_answer(error)
        return self.outcome_of_status(answer, attempt.amount)

    @hookimpl
    async def refund_payment(self, gateway: Configured, refund: Refund) -> Outcome:
        try:
            answer = await self.ask(gateway, "POST", "/refunds", self.refund_body(refund))
        except httpx.HTTPError as error:
            return self.refund_without_answer(error)
        return self.outcome_of_create(answer, Accepted())

    @hookimpl
    async def check_refund(self, gateway: Configured, refund: Refund) -> Outcome:
        return await self.check(gateway, f"/refunds/{refund.reference}", refund.amount)

    @hookimpl
    def read_webhook(self, gateway: Configured, request: WebhookRequest) -> Heard:
        try:
            message = json.loads(request.body)
            told, claimed = message["event"], message["signature"]
            signed = hmac.compare_digest(sign(gateway.config, told).encode(), claimed.encode())
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise WebhookRejected("This is not one of our messages.", status=400) from error
        if not signed:
            raise WebhookRejected
        return Heard(
            reference=told["reference"],
            trust=Trust.SIGNED,
            dedupe_key=f"{told['id']} {told['status']}",
            outcome=self.outcome_of_told(told, None),
            reply=Reply(body=b"OK"),
        )

    @hookimpl
    def simulator(self, gateway: Configured) -> "ASGIApp":
        return self.new_provider(gateway).app

    # ── the provider's words ─────────────────────────────────────────────────────────────────────

    def payment_body(self, gateway: Configured, attempt: Attempt) -> dict[str, JSON]:
        return _body(gateway, attempt)

    def refund_body(self, refund: Refund) -> dict[str, JSON]:
        return {
            "reference": refund.reference,
            "payment": refund.attempt.reference,
            "amount": f"{refund.amount.amount:f}",
            "currency": refund.amount.currency,
        }

    def accepted(self, attempt: Attempt) -> Accepted:
        if attempt.phone is None:
            return Accepted()
        message = f"Approve {attempt.amount} on your phone."
        return Accepted(next_action=ApproveOnPhone(phone=attempt.phone, message=message))

    def outcome_of_create(self, answer: httpx.Response, accepted: Accepted) -> Outcome:
        told = self.read(answer)
        if told is None:
            return Unknown(cause=f"an answer that cannot be read, {answer.status_code}")
        if answer.status_code in {200, 201} and "status" in told:
            return accepted
        return self.outcome_of_error(answer, told)

    def outcome_of_status(self, answer: httpx.Response, asked: Money) -> Outcome:
        told = self.read(answer)
        if told is None:
            return Unknown(cause=f"an answer that cannot be read, {answer.status_code}")
        if answer.status_code == 200 and "status" in told:
            return self.outcome_of_told(told, asked)
        return self.outcome_of_error(answer, told)

    def outcome_of_told(self, told: Mapping[str, JSON], asked: Money | None) -> Outcome:
        """What the provider says of one payment or refund; `asked` is what we sent."""
        word, reference = told.get("status"), str(told.get("reference"))
        match word:
            case "WAITING":
                return Accepted(reference=reference)
            case "PAID":
                try:
                    amount = Money.parse(Decimal(told["amount"]), told["currency"])
                except (CallerError, ArithmeticError, KeyError, TypeError, ValueError):
                    return Unknown(cause="an amount that cannot be read")
                return Succeeded(
                    amount=amount,
                    reference=reference,
                    gateway_transaction_id=told.get("id"),
                    token=self.token_of(told),
                )
            case "REFUSED":
                return self.failed(str(told.get("reason")), reference)
            case _:
                return self.outcome_of_unknown_word(str(word), reference)

    def token_of(self, told: Mapping[str, JSON]) -> PaymentToken | None:
        """What charges this payer again, if they agreed to have it kept."""
        token, phone = told.get("token"), str(told.get("phone"))
        if not isinstance(token, str):
            return None
        return PaymentToken(secret=token, label=f"Fake •••• {phone[-4:]}")

    def outcome_of_unknown_word(self, word: str, reference: str) -> Outcome:
        return Accepted(reference=reference, unmapped=word)

    def outcome_of_error(self, answer: httpx.Response, told: Mapping[str, JSON]) -> Outcome:
        word = told.get("error")
        if word == "NOT_FOUND":
            return NotSent(cause="the provider does not know the reference")
        if word in self.reasons:
            return self.failed(str(word), None)
        return Unknown(cause=f"the provider answered {answer.status_code}")

    def outcome_without_answer(self, error: httpx.HTTPError) -> Outcome:
        return _without_answer(error)

    def refund_without_answer(self, error: httpx.HTTPError) -> Outcome:
        return _without_answer(error)

    def withdrawal_without_answer(self, error: httpx.HTTPError) -> Outcome:
        return Unknown(cause=words_of(error))

    def failed(self, word: str, reference: str | None) -> Failed:
        code, message = self.reasons.get(word, (FailureCode.OTHER, "No reason that we know."))
        return Failed(code=code, message=message, gateway_code=word, reference=reference)

    def read(self, answer: httpx.Response) -> Mapping[str, JSON] | None:
        """The JSON object in an answer; None for whatever is not one."""
        try:
            told = answer.json()
        except (ValueError, RecursionError):
            return None
        return told if isinstance(told, dict) else None

    # ── the wire ─────────────────────────────────────────────────────────────────────────────────

    async def begin(
        self,
        gateway: Configured,
        attempt: Attempt,
        body: Mapping[str, JSON],
        without_answer: Callable[[httpx.HTTPError], Outcome],
    ) -> Outcome:
        if attempt.amount.currency != gateway.config.currency:
            return Failed(
                code=FailureCode.GATEWAY_CONFIGURATION,
                message=f"This account takes {gateway.config.currency} only.",
            )
        try:
            answer = await self.ask(gateway, "POST", "/payments", body)
        except httpx.HTTPError as error:
            return without_answer(error)
        return self.outcome_of_create(answer, self.accepted(attempt))

    async def check(self, gateway: Configured, path: str, asked: Money) -> Outcome:
        try:
            answer = await self.ask(gateway, "GET", path)
        except httpx.HTTPError as error:
            return Unknown(cause=words_of(error))
        return self.outcome_of_status(answer, asked)

    async def ask(
        self, gateway: Configured, method: str, path: str, body: Mapping[str, JSON] | None = None
    ) -> httpx.Response:
        """One call with a token. Raises httpx.HTTPError."""

        async def fetch() -> tuple[str, timedelta]:
            headers = {"X-Api-Key": gateway.config.api_key.get_secret_value()}
            answer = await self.send(gateway, "POST", "/token", headers, None)
            token = (self.read(answer) or {}).get("access_token")
            if not isinstance(token, str):
                raise httpx.ConnectError("no access token")
            return token, timedelta(hours=1)

        token = await gateway.tokens.get("fake", fetch)
        return await self.send(gateway, method, path, {"Authorization": f"Bearer {token}"}, body)

    async def send(
        self,
        gateway: Configured,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, JSON] | None,
        **options: Any,
    ) -> httpx.Response:
        http = gateway.http if gateway.config.base_url else self._in_memory(gateway)
        return await http.request(method, path, headers=headers, json=body, **options)

    # ── the provider itself ──────────────────────────────────────────────────────────────────────

    def new_provider(self, gateway: Configured) -> "FakeProvider":
        from dusangire.testing.fake_provider import FakeProvider  # noqa: PLC0415 - starlette

        return FakeProvider(
            gateway, delay=self.delay, outcomes=self.outcomes, limits_refunds=self.limits_refunds
        )

    def provider(self, gateway: Configured) -> "FakeProvider":
        """The provider in memory, with `truth()` for a test that wants to look."""
        if self._provider is None:
            self._provider = self.new_provider(gateway)
        return self._provider

    def _in_memory(self, gateway: Configured) -> httpx.AsyncClient:
        if self._http is None:
            transport = httpx.ASGITransport(app=self.provider(gateway).app)
            secrets = [gateway.config.api_key.get_secret_value()]
            self._http = open_client("http://fake.test", secrets=secrets, transport=transport)
        return self._http


def sign(config: FakeConfig, told: JSON) -> str:
    """The provider's signature of what it tells: HMAC-SHA256 of its canonical JSON, in hex."""
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    key = config.webhook_key.get_secret_value().encode()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _body(gateway: Configured, attempt: Attempt) -> dict[str, JSON]:
    return {
        "reference": attempt.reference,
        "amount": f"{attempt.amount.amount:f}",
        "currency": attempt.amount.currency,
        "phone": attempt.phone,
        "keep": attempt.keeps_method,
        "webhook_url": gateway.webhook_url,
    }


def _without_answer(error: httpx.HTTPError) -> Outcome:
    if isinstance(error, NEVER_LEFT):
        return NotSent(cause=words_of(error))
    return Unknown(cause=words_of(error))
