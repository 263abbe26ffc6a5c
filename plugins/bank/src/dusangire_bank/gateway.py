"""Bank transfer: the payer sends the money to the merchant's account and quotes a reference.

Banks tell only the account's owner, often a day later and on paper. So a person who sees the money
on the account confirms each payment.
"""

from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from stdnum import bic
from stdnum.exceptions import ValidationError

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
    TransferToAccount,
)
from dusangire.statements import AccountKind
from dusangire_bank.instructions import instructions
from dusangire_bank.reference import creditor_reference


def _bic(text: str) -> str:
    try:
        return str(bic.validate(text))
    except ValidationError as error:
        raise ValueError("this is no SWIFT code (BIC), such as BKIGRWRW") from error


Line = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$"
    ),
]
# Digits with zeros in front, and what banks print between them.
AccountNumber = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=4, max_length=40, pattern=r"^[0-9A-Za-z][0-9A-Za-z ./-]+$"
    ),
]


class BankConfig(GatewayConfig):
    """One bank account. Who has several saves a gateway for each."""

    bank_name: Line = Field(description="Name of your bank, as payers know it.")
    account_name: Line = Field(description="Name of the account's owner, as the bank has it.")
    account_number: AccountNumber = Field(
        description="Number of the account, as payers type it: with the zeros in front."
    )
    swift_code: Annotated[str, AfterValidator(_bic)] | None = Field(
        None, description="SWIFT code (BIC) of your bank, for transfers from abroad."
    )
    currency: str = Field("RWF", description="ISO 4217 code of the account's currency.")


@hookimpl
def describe_gateway() -> GatewayDescription:
    return GatewayDescription(
        name="Bank transfer",
        config=BankConfig,
        brand_color="#2B4C7E",
        statement=AccountKind.BANK,
        example_config={
            "bank_name": "Bank of Kigali",
            "account_name": "Umurage Coffee Ltd",
            "account_number": "000400000001",
            "swift_code": "BKIGRWRW",
            "currency": "RWF",
        },
    )


@hookimpl
async def initiate_payment(gateway: Gateway[BankConfig], attempt: Attempt) -> Outcome:
    config = gateway.config
    if attempt.amount.currency != config.currency:
        return Failed(
            code=FailureCode.GATEWAY_CONFIGURATION,
            message=f"This account takes {config.currency} only.",
        )
    transfer = TransferToAccount(
        bank_name=config.bank_name,
        account_name=config.account_name,
        account_number=config.account_number,
        swift_code=config.swift_code,
        reference=creditor_reference(attempt.payment_reference),
        amount=attempt.amount,
        expires_at=attempt.expires_at,
    )
    return Accepted(next_action=replace(transfer, instructions=instructions(transfer)))


@hookimpl
async def cancel_payment(gateway: Gateway[BankConfig], attempt: Attempt) -> Outcome:
    # Nobody can stop a transfer, only stop asking for one. A payer who was quicker is not lost:
    # a payment that was cancelled can still be confirmed, and is flagged then.
    return Failed(
        code=FailureCode.CANCELLED,
        message="Please do not transfer the money any more. If you have sent it already, "
        "tell the shop: it arrives all the same.",
    )
