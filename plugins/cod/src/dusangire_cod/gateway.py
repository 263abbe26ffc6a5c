"""Cash on delivery: the payer hands the money to whoever brings the order.

Nobody can be asked whether that happened, so a person confirms each payment.
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from pydantic import Field

from dusangire import hookimpl
from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    Gateway,
    GatewayConfig,
    GatewayDescription,
    Outcome,
    PayInPerson,
)
from dusangire.statements import AccountKind, MappingProfile, StatementFormat


class CashConfig(GatewayConfig):
    """Settings of cash on delivery."""

    currency: str = Field("RWF", description="ISO 4217 code of the cash that is taken.")
    max_amount: Decimal | None = Field(
        None, gt=0, description="The most a courier should carry for one order, in major units."
    )


@hookimpl
def describe_gateway() -> GatewayDescription:
    return GatewayDescription(
        name="Cash on delivery",
        config=CashConfig,
        brand_color="#1F8A4C",
        statement=AccountKind.SETTLEMENT,
        example_config={"currency": "RWF", "max_amount": "500000"},
    )


@hookimpl
def statement_formats() -> Sequence[StatementFormat | MappingProfile]:
    return [MappingProfile.read(Path(__file__).with_name("cod_courier_remittance.toml"))]


@hookimpl
async def initiate_payment(gateway: Gateway[CashConfig], attempt: Attempt) -> Outcome:
    if attempt.amount.currency != gateway.config.currency:
        return Failed(
            code=FailureCode.GATEWAY_CONFIGURATION,
            message=f"Cash is taken in {gateway.config.currency} only.",
        )
    message = f"Please have {attempt.amount} ready when your order arrives."
    return Accepted(next_action=PayInPerson(message=message, amount=attempt.amount))


@hookimpl
async def cancel_payment(gateway: Gateway[CashConfig], attempt: Attempt) -> Outcome:
    return Failed(code=FailureCode.CANCELLED, message="No cash will be collected.")
