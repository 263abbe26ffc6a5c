"""Between MTN's words and ours. Pure; a word that is not here never becomes a decision.

Words from MTN's common errors, its reason list and live answers.
"""

import re
import unicodedata
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
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from dusangire_mtn.client import Answer, is_refusal, why_refused
from dusangire_mtn.config import Product

MESSAGE_LENGTH = 160
_BAD_FORM = "MTN does not accept the request's form. Check the number, currency and base_url."

REASONS: Mapping[str, Meaning] = MappingProxyType(
    {
        "NOT_ENOUGH_FUNDS": Meaning(
            FailureCode.INSUFFICIENT_FUNDS,
            "There is not enough money in the wallet for the amount and MTN's fee.",
        ),
        "LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED": Meaning(
            FailureCode.INSUFFICIENT_FUNDS,
            "There is not enough money in the wallet, or a limit was reached.",
        ),
        "PAYER_LIMIT_REACHED": Meaning(
            FailureCode.PAYER_LIMIT_REACHED,
            "The payer's wallet has reached its limit. Try a smaller amount or later.",
        ),
        "PAYEE_LIMIT_REACHED": Meaning(
            FailureCode.GATEWAY_ERROR,
            "The receiving wallet has reached its limit. Try later.",
        ),
        "PAYER_NOT_FOUND": Meaning(
            FailureCode.PAYER_NOT_FOUND,
            "This number has no MTN MoMo wallet.",
        ),
        "PAYEE_NOT_FOUND": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "MTN does not find the merchant's wallet.",
        ),
        "PAYEE_NOT_ALLOWED_TO_RECEIVE": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "The merchant's wallet is not allowed to receive money.",
        ),
        "SENDER_ACCOUNT_NOT_ACTIVE": Meaning(
            FailureCode.PAYER_BLOCKED,
            "The payer's wallet is blocked or not activated. The payer must contact MTN.",
        ),
        "APPROVAL_REJECTED": Meaning(FailureCode.DECLINED_BY_PAYER, "The payer declined."),
        "PAYMENT_NOT_APPROVED": Meaning(
            FailureCode.DECLINED_BY_PAYER, "The payer did not approve."
        ),
        "TRANSACTION_CANCELED": Meaning(FailureCode.CANCELLED, "The request was cancelled."),
        "EXPIRED": Meaning(FailureCode.PAYER_TIMEOUT, "The payer did not answer in time."),
        "COULD_NOT_PERFORM_TRANSACTION": Meaning(
            FailureCode.PAYER_TIMEOUT,
            "The payer did not enter the PIN in time.",
        ),
        # MTN's catch-all; as the reason of an ended transaction it mostly means too little money.
        "INTERNAL_PROCESSING_ERROR": Meaning(
            FailureCode.GATEWAY_ERROR,
            "MTN could not do it. Often the wallet does not hold enough money.",
        ),
        "SERVICE_UNAVAILABLE": Meaning(
            FailureCode.GATEWAY_ERROR, "MTN was not available. Try later."
        ),
        "NOT_ALLOWED": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "MTN does not allow the merchant's account to do this.",
        ),
        "NOT_ALLOWED_TARGET_ENVIRONMENT": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "target_environment is not the account's.",
        ),
        "INVALID_CALLBACK_URL_HOST": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "The webhook's host is not registered at MTN. Register it, or unset send_callback_url.",
        ),
        "INVALID_CURRENCY": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "The account is not in this currency: EUR in the sandbox, RWF in production.",
        ),
        "TRANSFER_TYPE_UNKNOWN": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "This kind of transfer is not set up for the merchant's account.",
        ),
        "RESOURCE_NOT_FOUND": Meaning(FailureCode.OTHER, "MTN does not know the original payment."),
        "RESOURCE_ALREADY_EXIST": Meaning(FailureCode.OTHER, "MTN knows this reference already."),
        "TRANSACTION_NOT_FOUND": Meaning(
            FailureCode.OTHER, "MTN does not know the original payment."
        ),
        "TRANSACTION_NOT_COMPLETED": Meaning(
            FailureCode.OTHER, "The original payment is not complete."
        ),
        # Names of sandbox scenarios, seen as reasons; the status beside them decides.
        "ONGOING": Meaning(FailureCode.OTHER, "MTN says it was still going on."),
        "PAYER_DELAYED": Meaning(FailureCode.OTHER, "MTN says the payer was delayed."),
        "PAYEE_DELAYED": Meaning(FailureCode.OTHER, "MTN says the payee was delayed."),
        # Of payments by consent, which we do not use.
        "UNSUPPORTED_SCOPE": Meaning(FailureCode.OTHER, "MTN says the scope is not supported."),
        "CONSENT_MISMATCH": Meaning(FailureCode.OTHER, "MTN says the consent does not match."),
        "MISSING_SCOPE_INSTRUCTION": Meaning(FailureCode.OTHER, "MTN says the scope is missing."),
    }
)

# In a refund the payer of the payment is MTN's payee, and the merchant its payer.
REFUND_REASONS: Mapping[str, Meaning] = MappingProxyType(
    {
        **REASONS,
        "NOT_ENOUGH_FUNDS": Meaning(
            FailureCode.INSUFFICIENT_FUNDS,
            "The disbursement account does not hold enough, or the payer's wallet is full.",
        ),
        "PAYER_LIMIT_REACHED": Meaning(
            FailureCode.GATEWAY_ERROR,
            "The disbursement account has reached its limit. Try later.",
        ),
        "PAYER_NOT_FOUND": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "MTN does not find the merchant's wallet.",
        ),
        "SENDER_ACCOUNT_NOT_ACTIVE": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "The merchant's wallet is blocked or not activated.",
        ),
        "PAYEE_LIMIT_REACHED": Meaning(
            FailureCode.PAYER_LIMIT_REACHED,
            "The payer's wallet has reached its limit and cannot receive this now.",
        ),
        "PAYEE_NOT_FOUND": Meaning(
            FailureCode.PAYER_NOT_FOUND,
            "The payer's number has no MTN MoMo wallet any more.",
        ),
        "PAYEE_NOT_ALLOWED_TO_RECEIVE": Meaning(
            FailureCode.PAYER_BLOCKED,
            "The payer's wallet is not allowed to receive money.",
        ),
    }
)

# What MTN says of a call and not of a transaction, and the statuses it says without a word.
_REFUSALS: Mapping[str, Meaning] = {
    "VALIDATION_ERROR": Meaning(FailureCode.GATEWAY_CONFIGURATION, _BAD_FORM),
    "INVALID_REFERENCE_ID": Meaning(FailureCode.GATEWAY_CONFIGURATION, _BAD_FORM),
    "NOT_SUCCESSFULLY_COMPLETED": Meaning(None, "MTN has not completed it yet."),
    "login_failed": Meaning(
        FailureCode.GATEWAY_CONFIGURATION, "MTN refuses the API user or the API key."
    ),
    "invalid_client": Meaning(
        FailureCode.GATEWAY_CONFIGURATION, "MTN refuses the API user or the API key."
    ),
    "400": Meaning(FailureCode.GATEWAY_CONFIGURATION, _BAD_FORM),
    "401": Meaning(
        FailureCode.GATEWAY_CONFIGURATION, "MTN refuses the subscription key, API user or API key."
    ),
    "403": Meaning(
        FailureCode.GATEWAY_CONFIGURATION, "MTN's firewall turns this server's address away."
    ),
    "404": Meaning(FailureCode.GATEWAY_CONFIGURATION, "There is no MoMo API at base_url."),
    "411": Meaning(FailureCode.GATEWAY_CONFIGURATION, _BAD_FORM),
}
CODES: Mapping[str, Meaning] = MappingProxyType({**REASONS, **_REFUSALS})
_NO_REASON = Meaning(FailureCode.OTHER, "MTN gave no reason that we know.")

# With these words a 500 is a definite no. All others (INTERNAL_PROCESSING_ERROR above all) leave
# open whether MTN took the request.
DEFINITE = frozenset(
    {
        "NOT_ALLOWED",
        "NOT_ALLOWED_TARGET_ENVIRONMENT",
        "INVALID_CALLBACK_URL_HOST",
        "INVALID_CURRENCY",
        "PAYER_NOT_FOUND",
        "PAYEE_NOT_FOUND",
        "NOT_ENOUGH_FUNDS",
        "LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED",
        "PAYER_LIMIT_REACHED",
        "PAYEE_LIMIT_REACHED",
        "PAYEE_NOT_ALLOWED_TO_RECEIVE",
        "SENDER_ACCOUNT_NOT_ACTIVE",
        "TRANSFER_TYPE_UNKNOWN",
        "TRANSACTION_NOT_FOUND",
        "TRANSACTION_NOT_COMPLETED",
    }
)


# ── to MTN ───────────────────────────────────────────────────────────────────────────────────────


def payment_body(attempt: Attempt) -> dict[str, JSON]:
    """The body of a requesttopay."""
    return {
        **_money(attempt.amount),
        # The only id of ours in a webhook, so it is the reference itself.
        "externalId": attempt.reference,
        "payer": {"partyIdType": "MSISDN", "partyId": msisdn(attempt)},
        "payerMessage": message(attempt.description, attempt.payment_reference),
        "payeeNote": message(attempt.order_reference, attempt.payment_reference),
    }


def refund_body(refund: Refund) -> dict[str, JSON]:
    """The body of a refund. MTN finds the payee by the original."""
    return {
        **_money(refund.amount),
        "externalId": refund.reference,
        "payerMessage": message(refund.reason, refund.refund_reference),
        "payeeNote": message(refund.refund_reference, refund.attempt.payment_reference),
        "referenceIdToRefund": refund.attempt.reference,
    }


def msisdn(attempt: Attempt) -> str:
    """The payer's number as MTN wants it: digits only; a + is refused."""
    return (attempt.phone or "").removeprefix("+")


def message(text: str | None, fallback: str) -> str:
    """`text` in what MTN accepts: an apostrophe or an emoji is a 400, an empty text a 500."""
    plain = unicodedata.normalize("NFKD", text or "").encode("ascii", "ignore").decode()
    allowed = re.sub(r"[^A-Za-z0-9 .,:_/-]", " ", plain)
    return " ".join(allowed.split())[:MESSAGE_LENGTH].strip() or fallback


def _money(money: Money) -> dict[str, JSON]:
    return {"amount": f"{money.amount:f}", "currency": money.currency}


# ── from MTN ─────────────────────────────────────────────────────────────────────────────────────


def outcome_of_create(
    answer: Answer,
    product: Product,
    accepted: Accepted,
    reasons: Mapping[str, Meaning],
) -> Outcome:
    """What the answer to a requesttopay or refund means; `accepted` when MTN took it."""
    if answer.status == 202 and answer.fields is not None:
        return accepted
    # MTN answers a repeated reference with 409 whatever the body says,
    # so here 409 means "already asked", not "failed".
    if answer.status == 409:
        return accepted
    if answer.status == 429:
        # The quota is kept by the gateway in front of MTN: nothing went past it. A 503 may come
        # from behind it, after the request was taken, and is unknown like any other 5xx.
        return NotSent(cause="MTN answered 429", retry_after=answer.retry_after)
    code = answer.code
    if code in DEFINITE or (code in reasons and 400 <= answer.status < 500):
        return failed(code or "", reasons)
    if is_refusal(answer):
        return Failed(
            code=FailureCode.GATEWAY_CONFIGURATION,
            message=_why_not(answer, product),
            gateway_code=code or answer.text("error") or str(answer.status),
        )
    return _unclear(answer)


def outcome_of_status(
    answer: Answer, reasons: Mapping[str, Meaning], plugin_data: Mapping[str, JSON]
) -> Outcome:
    """What the answer to a status call means."""
    if answer.status == 404 and answer.code == "RESOURCE_NOT_FOUND":
        return NotSent(cause="MTN does not know the reference")
    word = answer.text("status")
    if answer.status != 200 or word is None:
        # An error of the status call says nothing about the money.
        return _unclear(answer)
    reference = answer.text("externalId")
    match word:
        case "SUCCESSFUL":
            return _succeeded(answer, reference)
        case "FAILED":
            return failed(reason_in(answer), reasons, reference)
        case "PENDING":
            return Accepted(reference=reference, plugin_data=plugin_data)
        case _:
            return Accepted(reference=reference, plugin_data=plugin_data, unmapped=word)


def _unclear(answer: Answer) -> Unknown:
    code = answer.code
    return Unknown(cause=f"MTN answered {answer.status} {code or ''}".rstrip(), gateway_code=code)


def _succeeded(answer: Answer, reference: str | None) -> Outcome:
    try:
        amount = parse_amount((answer.fields or {}).get("amount"), answer.text("currency"))
    except (CallerError, ValueError) as error:
        return Unknown(cause=f"MTN's amount cannot be read: {error}")
    if reference is None:
        return Unknown(cause="MTN's answer does not say whose payment it is")
    return Succeeded(
        amount=amount,
        reference=reference,
        gateway_transaction_id=answer.text("financialTransactionId"),
    )


def parse_amount(amount: JSON, currency: str | None) -> Money:
    """MTN's amount exactly. Raises CallerError and ValueError."""
    # Decimal would also take 1_500, 1e3 and digits of other scripts.
    if not isinstance(amount, str) or not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,6})?", amount):
        raise ValueError(f"amount is {str(amount)[:40]!r}")
    if currency is None:
        raise ValueError("there is no currency")
    return Money.parse(amount, currency)


def reason_in(answer: Answer) -> str:
    """The reason word: a text in practice, an object with `code` by MTN's own schema."""
    reason = (answer.fields or {}).get("reason")
    if isinstance(reason, Mapping):
        reason = reason.get("code") or reason.get("message")
    return reason if isinstance(reason, str) else ""


def failed(word: str, reasons: Mapping[str, Meaning], reference: str | None = None) -> Failed:
    """MTN's no, in our words where we know them."""
    known = reasons.get(word, _NO_REASON)
    return Failed(
        code=known.failure or FailureCode.OTHER,
        message=known.text,
        gateway_code=word or None,
        reference=reference,
    )


def _why_not(answer: Answer, product: Product) -> str:
    if answer.status == 400:
        # Nearly always without a body.
        return _BAD_FORM
    return why_refused(answer, product)
