"""Airtel Money: the payer approves a prompt on the phone. The hooks, in our words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dusangire import hookimpl
from dusangire.gateway import (
    JSON,
    Accepted,
    ApproveOnPhone,
    Attempt,
    CheckSchedule,
    Failed,
    FailureCode,
    Gateway,
    GatewayDescription,
    Heard,
    NotSent,
    Outcome,
    Refund,
    TestReport,
    Unknown,
    WebhookRequest,
)
from dusangire.money import Money
from dusangire.statements import MappingProfile, StatementFormat
from dusangire_airtel import webhook
from dusangire_airtel.client import AirtelError, Client, Misconfigured, NothingSent
from dusangire_airtel.codes import CODES
from dusangire_airtel.config import AirtelConfig
from dusangire_airtel.mapping import (
    failed,
    national_number,
    outcome_of_enquiry,
    outcome_of_refund,
    outcome_of_request,
    payment_body,
    refund_body,
    transaction_id,
    whole,
)
from dusangire_airtel.trial import try_account

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BRAND_COLOR = "#E40000"
_BARRED = "DP00800001010"
_NO_WALLET = "DP02200000002"


@hookimpl
def describe_gateway() -> GatewayDescription:
    return GatewayDescription(
        name="Airtel Money",
        config=AirtelConfig,
        brand_color=BRAND_COLOR,
        needs_phone=True,
        partial_refunds=False,
        repeatable_refunds=False,
        codes=CODES,
        # Airtel wants to be asked after three minutes and not before, and core comes up to a
        # tenth of a delay early. A callback makes it ask at once.
        check_schedule=CheckSchedule(first=(200, 60, 120, 240, 600, 1200), then=3600),
        # A token, Airtel's key, and the call itself.
        call_timeout=75,
        # Airtel publishes no limit. Its users advise five requests a second, and a call takes
        # about one.
        concurrency=5,
        example_config={
            "country": "RW",
            "currency": "RWF",
            "client_id": "5e0c7d1a-93b4-4f6e-8a52-1b2c3d4e5f60",
            "client_secret": "simulated-client-secret",
            "callback_hash_key": "simulated-callback-key",
        },
    )


@hookimpl
def statement_formats() -> Sequence[StatementFormat | MappingProfile]:
    return [MappingProfile.read(Path(__file__).with_name("airtel_money_merchant.toml"))]


@hookimpl
async def initiate_payment(gateway: Gateway[AirtelConfig], attempt: Attempt) -> Outcome:
    config = gateway.config
    msisdn = national_number(attempt, config)
    if msisdn is None:
        return replace(
            failed(_NO_WALLET),
            message=f"Airtel Money needs a phone number of {config.country}.",
            gateway_code=None,
        )
    if (problem := _wrong_amount(gateway, attempt.amount)) is not None:
        return problem
    try:
        answer = await Client(gateway).request_payment(payment_body(attempt, config, msisdn))
    except AirtelError as error:
        return _without_answer(error)
    return _noted(gateway, outcome_of_request(answer, _accepted(gateway, attempt)))


@hookimpl
async def check_payment(gateway: Gateway[AirtelConfig], attempt: Attempt) -> Outcome:
    try:
        answer = await Client(gateway).payment_status(transaction_id(attempt.reference))
    except AirtelError as error:
        # Not being able to ask says nothing about the money, whatever the cause.
        return Unknown(cause=str(error))
    outcome = outcome_of_enquiry(answer, attempt, _accepted(gateway, attempt))
    asked_at, sent_to = gateway.config.base_url, attempt.plugin_data.get("base_url")
    if isinstance(outcome, NotSent) and sent_to not in {None, asked_at}:
        # Airtel moves its countries to hosts of their own. Whether those know what the old one
        # took is not told, and believing a "not found" would send it again.
        return Unknown(cause=f"it was sent to {sent_to}, and {asked_at} may not know it")
    return _noted(gateway, outcome)


@hookimpl
async def check_payer(gateway: Gateway[AirtelConfig], attempt: Attempt) -> Outcome | None:
    msisdn = national_number(attempt, gateway.config)
    if not gateway.config.check_payer or msisdn is None:
        return None
    try:
        answer = await Client(gateway).payer(msisdn)
    except AirtelError:
        return None
    if answer.code == _NO_WALLET and answer.success is False:
        return failed(_NO_WALLET)
    if answer.http_status == 200 and answer.success is True:
        return _unable(answer.data)
    return None


@hookimpl
async def refund_payment(gateway: Gateway[AirtelConfig], refund: Refund) -> Outcome:
    paid, money_id = refund.attempt.amount, refund.attempt.gateway_transaction_id
    if refund.amount != paid:
        return Failed(
            code=FailureCode.AMOUNT_OUT_OF_LIMITS,
            message=f"Airtel gives back whole payments only: {paid}, and not {refund.amount}.",
        )
    if money_id is None:
        return Failed(
            code=FailureCode.GATEWAY_ERROR,
            message="Airtel's own id of the payment is not known, and a refund needs it. "
            "Give the money back in Airtel's portal.",
        )
    try:
        answer = await Client(gateway).refund(refund_body(money_id))
    except AirtelError as error:
        return _without_answer(error)
    return _noted(gateway, outcome_of_refund(answer, refund))


# There is no check_refund. Airtel has no enquiry for refunds, and its list of transactions names
# neither the refund's reference nor the payment it gives back: it could not prove that a refund
# did not happen. What was not answered is for a person, with Airtel's portal.


@hookimpl
def read_webhook(gateway: Gateway[AirtelConfig], request: WebhookRequest) -> Heard:
    return webhook.read(gateway, request)


@hookimpl
async def test_gateway(gateway: Gateway[AirtelConfig]) -> TestReport:
    return await try_account(gateway)


@hookimpl
def simulator(gateway: Gateway[AirtelConfig]) -> "ASGIApp":
    from dusangire_airtel.simulator import build  # noqa: PLC0415 - servers that never simulate

    return build(gateway)


# ── what the hooks share ─────────────────────────────────────────────────────────────────────────


def _accepted(gateway: Gateway[AirtelConfig], attempt: Attempt) -> Accepted:
    prompt = None
    if attempt.phone is not None:
        # How long the prompt lives is not published, so no end is told.
        prompt = ApproveOnPhone(
            phone=attempt.phone,
            message=f"Approve {attempt.amount} with your Airtel Money PIN on your phone.",
        )
    return Accepted(next_action=prompt, plugin_data={"base_url": gateway.config.base_url})


def _wrong_amount(gateway: Gateway[AirtelConfig], amount: Money) -> Failed | None:
    currency = gateway.config.currency
    if amount.currency != currency:
        return Failed(
            code=FailureCode.GATEWAY_CONFIGURATION,
            message=f"This Airtel account is in {currency}, not in {amount.currency}.",
        )
    if whole(amount) is None:
        return Failed(
            code=FailureCode.AMOUNT_OUT_OF_LIMITS,
            message=f"Airtel takes whole {currency} only, and not {amount}.",
        )
    return None


def _unable(payer: JSON) -> Failed | None:
    """Why this payer certainly cannot pay. Names in the answer are nobody's business here."""
    if payer.get("is_barred") is True:
        return replace(failed(_BARRED), message="The number is barred at Airtel Money.")
    if payer.get("is_pin_set") is False:
        return replace(failed(_BARRED), message="The number has no Airtel Money PIN yet.")
    return None


def _without_answer(error: AirtelError) -> Outcome:
    if isinstance(error, Misconfigured):
        return Failed(code=FailureCode.GATEWAY_CONFIGURATION, message=str(error))
    if isinstance(error, NothingSent):
        return NotSent(cause=str(error), retry_after=error.retry_after)
    return Unknown(cause=str(error))


def _noted(gateway: Gateway[AirtelConfig], outcome: Outcome) -> Outcome:
    """Writes words that the tables lack to the log."""
    word = None
    match outcome:
        case Accepted(unmapped=str(found)):
            word = found
        case Failed(gateway_code=str(found)) | Unknown(gateway_code=str(found)):
            word = found if found not in CODES else None
    if word is not None:
        gateway.log.warning("unknown Airtel code", word=word[:_LOGGED])
    return outcome


# A word of Airtel's may be as long as its answer.
_LOGGED = 100
