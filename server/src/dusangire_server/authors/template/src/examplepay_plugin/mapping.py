"""Between Example Pay's words and ours. Pure: no calls."""

# Step 4. Put every code of your provider's documentation into CODES, and every status word into
# `outcome_of_status`. Whatever is in neither is never taken for an ending.

from collections.abc import Mapping
from types import MappingProxyType

from dusangire.errors import CallerError
from dusangire.gateway import (
    JSON,
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    Meaning,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from examplepay_plugin.client import Answer

CODES: Mapping[str, Meaning] = MappingProxyType(
    {
        "NO_MONEY": Meaning(FailureCode.INSUFFICIENT_FUNDS, "The wallet does not hold enough."),
        "SAID_NO": Meaning(FailureCode.DECLINED_BY_PAYER, "The payer declined."),
        "NO_ANSWER": Meaning(FailureCode.PAYER_TIMEOUT, "The payer did not answer in time."),
        "NO_WALLET": Meaning(FailureCode.PAYER_NOT_FOUND, "This number has no wallet."),
        "BAD_AMOUNT": Meaning(FailureCode.AMOUNT_OUT_OF_LIMITS, "The amount is not allowed."),
        "BAD_KEY": Meaning(FailureCode.GATEWAY_CONFIGURATION, "The api_key is refused."),
        # With None a code decides nothing: core asks again.
        "BUSY": Meaning(None, "Example Pay is busy."),
    }
)


def payment_body(attempt: Attempt) -> dict[str, JSON]:
    """What is sent. The reference makes a repetition safe; the amount is never a float."""
    return {
        "reference": attempt.reference,
        "amount": f"{attempt.amount.amount:f}",
        "currency": attempt.amount.currency,
        "phone": attempt.phone,
        "text": attempt.description or attempt.payment_reference,
    }


def outcome_of_create(answer: Answer, accepted: Accepted) -> Outcome:
    """What the answer to a new payment means; `accepted` when Example Pay has it."""
    # A repeated reference is answered 200 with the payment that exists: accepted, not failed.
    if answer.status in {200, 201} and answer.text("status"):
        return accepted
    return _outcome_of_error(answer)


def outcome_of_status(answer: Answer) -> Outcome:
    """What the answer to a question means."""
    # Only the provider's own "no such payment" is NotSent. A wrong path is a 404, too.
    if answer.status == 404 and answer.text("error") == "NO_SUCH_PAYMENT":
        return NotSent(cause="Example Pay does not know the reference")
    reference, word = answer.text("reference"), answer.text("status")
    if answer.status != 200 or reference is None or word is None:
        return Unknown(cause=f"Example Pay answered {answer.status}")
    match word:
        case "WAITING":
            return Accepted(reference=reference)
        case "PAID":
            return _succeeded(answer, reference)
        case "REFUSED":
            return _failed(answer.text("reason") or "", reference)
        case _:
            return Accepted(reference=reference, unmapped=word)


def _succeeded(answer: Answer, reference: str) -> Outcome:
    """Amount and reference as the provider says them: core compares them with what was asked."""
    try:
        amount = Money.parse(answer.text("amount") or "", answer.text("currency") or "")
    except CallerError as error:
        return Unknown(cause=f"an amount that cannot be read: {error}")
    return Succeeded(amount=amount, reference=reference, gateway_transaction_id=answer.text("id"))


def _failed(code: str, reference: str | None = None) -> Outcome:
    meaning = CODES.get(code, Meaning(FailureCode.OTHER, "No reason that we know."))
    if meaning.failure is None:
        return Unknown(cause=meaning.text, gateway_code=code)
    return Failed(
        code=meaning.failure, message=meaning.text, gateway_code=code or None, reference=reference
    )


def _outcome_of_error(answer: Answer) -> Outcome:
    """A refusal is a failure only if its code is known, and the status says it was refused."""
    code = answer.text("error")
    if code is not None and code in CODES and 400 <= answer.status < 500:
        return _failed(code)
    return Unknown(cause=f"Example Pay answered {answer.status}", gateway_code=code)
