"""MTN Mobile Money: the payer approves a prompt on the phone. The hooks, in our words."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dusangire import hookimpl
from dusangire.gateway import (
    JSON,
    Accepted,
    ApproveOnPhone,
    Attempt,
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
from dusangire_mtn import webhook
from dusangire_mtn.client import Answer, BadCredentials, Client, MTNError, NothingSent
from dusangire_mtn.config import MTNConfig
from dusangire_mtn.mapping import (
    CODES,
    REASONS,
    REFUND_REASONS,
    failed,
    msisdn,
    outcome_of_create,
    outcome_of_status,
    payment_body,
    refund_body,
)
from dusangire_mtn.trial import try_account

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_PROMPT_LIFE = timedelta(minutes=5)
_BRAND_COLOR = "#FFCC00"


@hookimpl
def describe_gateway() -> GatewayDescription:
    return GatewayDescription(
        name="MTN MoMo",
        config=MTNConfig,
        brand_color=_BRAND_COLOR,
        needs_phone=True,
        codes=CODES,
        # A token, which takes up to 20 s on MTN's new platform, and the call itself.
        call_timeout=65,
        example_config={
            "target_environment": "mtnrwanda",
            "currency": "RWF",
            "collection_subscription_key": "simulated-collection-key",
            "collection_api_user": "3f2b8c1e-5d47-4a90-9b6e-0c1d2e3f4a5b",
            "collection_api_key": "simulated-collection-secret",
            "disbursement_subscription_key": "simulated-disbursement-key",
            "disbursement_api_user": "9a1c7e52-6b38-4f0d-8e21-7d6c5b4a3f2e",
            "disbursement_api_key": "simulated-disbursement-secret",
        },
    )


@hookimpl
def statement_formats() -> Sequence[StatementFormat | MappingProfile]:
    return [MappingProfile.read(Path(__file__).with_name("mtn_momo_merchant.toml"))]


@hookimpl
async def initiate_payment(gateway: Gateway[MTNConfig], attempt: Attempt) -> Outcome:
    if attempt.phone is None:
        return Failed(code=FailureCode.PAYER_NOT_FOUND, message="MTN MoMo needs a phone number.")
    if attempt.amount.currency != gateway.config.currency:
        return _wrong_currency(gateway, attempt.amount)
    accepted = Accepted(next_action=_prompt(attempt), plugin_data=_platform(gateway))
    try:
        answer = await Client(gateway).request_to_pay(attempt.reference, payment_body(attempt))
    except MTNError as error:
        return _without_answer(error)
    return outcome_of_create(answer, "collection", accepted, REASONS)


@hookimpl
async def check_payment(gateway: Gateway[MTNConfig], attempt: Attempt) -> Outcome:
    async def ask() -> Answer:
        return await Client(gateway).payment_status(attempt.reference)

    outcome = await _ask(gateway, ask, attempt.plugin_data, is_refund=False)
    if isinstance(outcome, Accepted):
        # The answer to the request may have been lost, and with it what the payer has to do.
        return replace(outcome, next_action=_prompt(attempt))
    return outcome


@hookimpl
async def check_payer(gateway: Gateway[MTNConfig], attempt: Attempt) -> Outcome | None:
    if not gateway.config.check_payer or attempt.phone is None:
        return None
    try:
        answer = await Client(gateway).is_active(msisdn(attempt))
    except MTNError:
        return None
    unknown_number = answer.status == 404 and answer.fields is not None
    inactive = answer.status == 200 and (answer.fields or {}).get("result") is False
    if not unknown_number and not inactive:
        return None
    return replace(failed("PAYER_NOT_FOUND", REASONS), gateway_code=answer.code)


@hookimpl
async def refund_payment(gateway: Gateway[MTNConfig], refund: Refund) -> Outcome:
    if not gateway.config.can_refund:
        return Failed(
            code=FailureCode.GATEWAY_CONFIGURATION,
            message="Refunds need the product Disbursement: set the three disbursement_ settings.",
        )
    if refund.amount.currency != gateway.config.currency:
        return _wrong_currency(gateway, refund.amount)
    accepted = Accepted(plugin_data=_platform(gateway))
    try:
        answer = await Client(gateway).refund(refund.reference, refund_body(refund))
    except MTNError as error:
        return _without_answer(error)
    return outcome_of_create(answer, "disbursement", accepted, REFUND_REASONS)


@hookimpl
async def check_refund(gateway: Gateway[MTNConfig], refund: Refund) -> Outcome:
    if not gateway.config.can_refund:
        return Unknown(cause="the disbursement_ settings are missing")

    async def ask() -> Answer:
        return await Client(gateway).refund_status(refund.reference)

    return await _ask(gateway, ask, refund.plugin_data, is_refund=True)


@hookimpl
def read_webhook(gateway: Gateway[MTNConfig], request: WebhookRequest) -> Heard:
    return webhook.read(request)


@hookimpl
async def test_gateway(gateway: Gateway[MTNConfig]) -> TestReport:
    return await try_account(gateway)


@hookimpl
def simulator(gateway: Gateway[MTNConfig]) -> "ASGIApp":
    from dusangire_mtn.simulator import build  # noqa: PLC0415 - servers that never simulate

    return build(gateway)


# ── what the hooks share ─────────────────────────────────────────────────────────────────────────


async def _ask(
    gateway: Gateway[MTNConfig],
    ask: Callable[[], Awaitable[Answer]],
    plugin_data: Mapping[str, JSON],
    *,
    is_refund: bool,
) -> Outcome:
    try:
        answer = await ask()
    except MTNError as error:
        # Not being able to ask says nothing about the money, whatever the cause.
        return Unknown(cause=str(error))
    reasons = REFUND_REASONS if is_refund else REASONS
    outcome = outcome_of_status(answer, reasons, plugin_data)
    asked_at, sent_to = gateway.config.base_url, plugin_data.get("base_url")
    if isinstance(outcome, NotSent) and sent_to not in (None, asked_at):
        # MTN's platforms do not know each other's transactions, so a 404 here would make core
        # send again what the other one took.
        return Unknown(cause=f"it was sent to {sent_to}, and {asked_at} cannot know it")
    return outcome


def _prompt(attempt: Attempt) -> ApproveOnPhone | None:
    if attempt.phone is None:
        return None
    return ApproveOnPhone(
        phone=attempt.phone,
        message=f"Approve {attempt.amount} with your MTN MoMo PIN on your phone.",
        expires_at=attempt.created_at + _PROMPT_LIFE,
    )


def _wrong_currency(gateway: Gateway[MTNConfig], amount: Money) -> Failed:
    return Failed(
        code=FailureCode.GATEWAY_CONFIGURATION,
        message=f"This MTN account is in {gateway.config.currency}, not in {amount.currency}.",
    )


def _platform(gateway: Gateway[MTNConfig]) -> dict[str, JSON]:
    return {"base_url": gateway.config.base_url}


def _without_answer(error: MTNError) -> Outcome:
    if isinstance(error, BadCredentials):
        return Failed(code=FailureCode.GATEWAY_CONFIGURATION, message=str(error))
    if isinstance(error, NothingSent):
        return NotSent(cause=str(error), retry_after=error.retry_after)
    return Unknown(cause=str(error))
