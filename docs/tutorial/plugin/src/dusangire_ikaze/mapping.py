"""Between Ikaze Pay's words and ours. Pure: no calls."""

from collections.abc import Mapping

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
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from dusangire_ikaze.client import Answer
from dusangire_ikaze.codes import CODES


def push_body(attempt: Attempt, notify: str | None) -> dict[str, JSON]:
    """What asks for money. The id makes a repetition safe; the amount is never a float."""
    return {
        "id": attempt.reference,
        "amount": f"{attempt.amount.amount:f}",
        "currency": attempt.amount.currency,
        "payer": (attempt.phone or "").removeprefix("+"),
        "text": attempt.description or attempt.payment_reference,
        "notify": notify,
    }


def refund_body(refund: Refund) -> dict[str, JSON]:
    """What gives money back: under an id of its own, tied to the push that was paid."""
    return {
        "id": refund.reference,
        "push": refund.attempt.reference,
        "amount": f"{refund.amount.amount:f}",
        "currency": refund.amount.currency,
    }


def outcome_of_create(answer: Answer, accepted: Accepted) -> Outcome:
    """What the answer to a new push or refund means; `accepted` when Ikaze Pay has it."""
    if answer.status == 202 and answer.text("state"):
        return accepted
    code = answer.text("code")
    # An id that is used is one that arrived before: accepted, whatever became of it.
    if answer.status == 409 and code == "ID_USED":
        return accepted
    if answer.status == 422 and code is not None and code in CODES:
        return _failed(code)
    return Unknown(cause=f"Ikaze Pay answered {answer.status}", gateway_code=code)


def outcome_of_status(answer: Answer) -> Outcome:
    """What the answer to a question about a push or refund means."""
    # Only Ikaze Pay's own "no such id" is NotSent. A wrong path is a 404, too.
    if answer.status == 404 and answer.text("code") == "NO_SUCH_ID":
        return NotSent(cause="Ikaze Pay does not know the id")
    if answer.status != 200:
        return Unknown(cause=f"Ikaze Pay answered {answer.status}")
    return outcome_of(answer.fields)


def outcome_of(told: Mapping[str, JSON]) -> Outcome:
    """What Ikaze Pay says of one push or refund, in our words."""
    reference, state = told.get("id"), told.get("state")
    if not isinstance(reference, str) or not isinstance(state, str):
        return Unknown(cause="an answer that cannot be read")
    match state:
        case "ASKED":
            return Accepted(reference=reference)
        case "PAID":
            return _succeeded(told, reference)
        case "DECLINED" | "EXPIRED":
            return _failed(str(told.get("code") or state), reference)
        case _:
            # A word that came after this was written is never an ending.
            return Accepted(reference=reference, unmapped=state)


def _succeeded(told: Mapping[str, JSON], reference: str) -> Outcome:
    """Amount and reference as Ikaze Pay says them: core compares them with what was asked."""
    amount, currency, receipt = told.get("amount"), told.get("currency"), told.get("receipt")
    if not isinstance(amount, str) or not isinstance(currency, str):
        return Unknown(cause="an amount that cannot be read")
    try:
        money = Money.parse(amount, currency)
    except CallerError as error:
        return Unknown(cause=f"an amount that cannot be read: {error}")
    transaction_id = receipt if isinstance(receipt, str) else None
    return Succeeded(amount=money, reference=reference, gateway_transaction_id=transaction_id)


def _failed(code: str, reference: str | None = None) -> Outcome:
    meaning = CODES.get(code, Meaning(FailureCode.OTHER, "No reason that we know."))
    if meaning.failure is None:
        return Unknown(cause=meaning.text, gateway_code=code)
    return Failed(
        code=meaning.failure, message=meaning.text, gateway_code=code, reference=reference
    )
