"""Ikaze Pay: the payer approves a push on the phone. The hooks, in our words."""

from typing import TYPE_CHECKING

from dusangire import hookimpl
from dusangire.gateway import (
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
from dusangire_ikaze import webhook
from dusangire_ikaze.client import AnswerLost, BadClient, Client, NothingSent
from dusangire_ikaze.codes import CODES
from dusangire_ikaze.config import IkazeConfig
from dusangire_ikaze.mapping import outcome_of_create, outcome_of_status, push_body, refund_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp


@hookimpl
def describe_gateway() -> GatewayDescription:
    return GatewayDescription(
        name="Ikaze Pay",
        config=IkazeConfig,
        brand_color="#C2410C",
        needs_phone=True,
        codes=CODES,
        # What the simulator accepts. `base_url` is filled in by whoever mounts it.
        example_config={
            "client_id": "simulated-client",
            "client_secret": "simulated-client-secret",
            "signing_key": "simulated-signing-key",
        },
    )


@hookimpl
async def initiate_payment(gateway: Gateway[IkazeConfig], attempt: Attempt) -> Outcome:
    if attempt.phone is None:
        return Failed(code=FailureCode.PAYER_NOT_FOUND, message="Ikaze Pay needs a phone number.")
    if attempt.amount.currency != gateway.config.currency:
        return _wrong_currency(gateway)
    message = f"Approve {attempt.amount} on your phone."
    accepted = Accepted(next_action=ApproveOnPhone(phone=attempt.phone, message=message))
    try:
        answer = await Client(gateway).post("/pushes", push_body(attempt, gateway.webhook_url))
    except (NothingSent, AnswerLost) as error:
        return _without_answer(error)
    return outcome_of_create(answer, accepted)


@hookimpl
async def check_payment(gateway: Gateway[IkazeConfig], attempt: Attempt) -> Outcome:
    return await _ask(gateway, f"/pushes/{attempt.reference}")


@hookimpl
async def refund_payment(gateway: Gateway[IkazeConfig], refund: Refund) -> Outcome:
    if refund.amount.currency != gateway.config.currency:
        return _wrong_currency(gateway)
    try:
        answer = await Client(gateway).post("/refunds", refund_body(refund))
    except (NothingSent, AnswerLost) as error:
        return _without_answer(error)
    return outcome_of_create(answer, Accepted())


@hookimpl
async def check_refund(gateway: Gateway[IkazeConfig], refund: Refund) -> Outcome:
    return await _ask(gateway, f"/refunds/{refund.reference}")


@hookimpl
def read_webhook(gateway: Gateway[IkazeConfig], request: WebhookRequest) -> Heard:
    return webhook.read(gateway, request)


@hookimpl
async def test_gateway(gateway: Gateway[IkazeConfig]) -> TestReport:
    try:
        answer = await Client(gateway).get("/account")
    except BadClient as error:
        return TestReport(ok=False, message=str(error))
    except (NothingSent, AnswerLost) as error:
        return TestReport(ok=False, message=f"It cannot be reached: {error}. Check base_url.")
    currency = answer.text("currency")
    if answer.status != 200 or currency is None:
        return TestReport(ok=False, message=f"It answers {answer.status}. Check base_url.")
    if currency != gateway.config.currency:
        return TestReport(ok=False, message=f"The account is in {currency}. Check currency.")
    return TestReport(ok=True, message="Ikaze Pay accepts the account.")


@hookimpl
def simulator(gateway: Gateway[IkazeConfig]) -> "ASGIApp":
    # Here, because servers that never simulate have no starlette to import.
    from dusangire_ikaze.simulator import build  # noqa: PLC0415

    return build(gateway)


# ── what the hooks share ─────────────────────────────────────────────────────────────────────────


async def _ask(gateway: Gateway[IkazeConfig], path: str) -> Outcome:
    try:
        answer = await Client(gateway).get(path)
    except (NothingSent, AnswerLost) as error:
        # Not being able to ask says nothing about the money, whatever the cause.
        return Unknown(cause=str(error))
    return outcome_of_status(answer)


def _without_answer(error: NothingSent | AnswerLost) -> Outcome:
    """After a call that moves money: only what certainly never left may be sent again."""
    if isinstance(error, BadClient):
        return Failed(code=FailureCode.GATEWAY_CONFIGURATION, message=str(error))
    if isinstance(error, NothingSent):
        return NotSent(cause=str(error))
    return Unknown(cause=str(error))


def _wrong_currency(gateway: Gateway[IkazeConfig]) -> Failed:
    message = f"This account is in {gateway.config.currency}."
    return Failed(code=FailureCode.GATEWAY_CONFIGURATION, message=message)
