"""Example Pay: the payer approves a request on the phone. The hooks, in our words."""

# Step 5. Change the description, then each hook. They are all described in docs/hooks.md, with what
# each of the five outcomes makes happen.

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
    NotSent,
    Outcome,
    TestReport,
    Unknown,
)
from examplepay_plugin.client import AnswerLost, NothingSent, call
from examplepay_plugin.config import ExamplePayConfig
from examplepay_plugin.mapping import (
    CODES,
    outcome_of_create,
    outcome_of_status,
    payment_body,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp


@hookimpl
def describe_gateway() -> GatewayDescription:
    return GatewayDescription(
        name="Example Pay",
        config=ExamplePayConfig,
        brand_color="#0B7A75",
        needs_phone=True,
        codes=CODES,
        # What your simulator accepts. `base_url` is filled in by whoever mounts it.
        example_config={"api_key": "simulated-examplepay-key"},
    )


@hookimpl
async def initiate_payment(gateway: Gateway[ExamplePayConfig], attempt: Attempt) -> Outcome:
    if attempt.phone is None:
        return Failed(code=FailureCode.PAYER_NOT_FOUND, message="A phone number is needed.")
    if attempt.amount.currency != gateway.config.currency:
        return Failed(
            code=FailureCode.GATEWAY_CONFIGURATION,
            message=f"This account is in {gateway.config.currency}.",
        )
    message = f"Approve {attempt.amount} on your phone."
    accepted = Accepted(next_action=ApproveOnPhone(phone=attempt.phone, message=message))
    try:
        answer = await call(gateway, "POST", "/payments", payment_body(attempt))
    except NothingSent as error:
        return NotSent(cause=str(error))
    except AnswerLost as error:
        return Unknown(cause=str(error))
    return outcome_of_create(answer, accepted)


@hookimpl
async def check_payment(gateway: Gateway[ExamplePayConfig], attempt: Attempt) -> Outcome:
    try:
        answer = await call(gateway, "GET", f"/payments/{attempt.reference}")
    except (NothingSent, AnswerLost) as error:
        # Not being able to ask says nothing about the money.
        return Unknown(cause=str(error))
    return outcome_of_status(answer)


@hookimpl
async def test_gateway(gateway: Gateway[ExamplePayConfig]) -> TestReport:
    try:
        answer = await call(gateway, "GET", "/account")
    except (NothingSent, AnswerLost) as error:
        return TestReport(ok=False, message=f"It cannot be reached: {error}. Check base_url.")
    if answer.status == 401:
        return TestReport(ok=False, message="Example Pay refuses the key. Check api_key.")
    if answer.status != 200:
        return TestReport(ok=False, message=f"It answers {answer.status}. Check base_url.")
    currency = answer.text("currency")
    if currency != gateway.config.currency:
        return TestReport(ok=False, message=f"The account is in {currency}. Check currency.")
    return TestReport(ok=True, message="Example Pay accepts the account.")


@hookimpl
def simulator(gateway: Gateway[ExamplePayConfig]) -> "ASGIApp":
    # Here, because servers that never simulate have no starlette to import.
    from examplepay_plugin.simulator import build  # noqa: PLC0415

    return build(gateway)
