"""Between Airtel's words and ours. Pure; a word that is not here never becomes a decision."""

import re
import unicodedata
from dataclasses import replace
from uuid import UUID

import phonenumbers

from dusangire.gateway import (
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
from dusangire_airtel.client import Answer, json_bytes
from dusangire_airtel.codes import (
    CALLS,
    CODES,
    COLLECTION,
    DUPLICATE,
    NOT_FOUND,
    STATUSES,
    SUCCESS,
)
from dusangire_airtel.config import AirtelConfig

REFERENCE_LENGTH = 64
_MAX_ID = 64
# In some countries' documents these mean "in progress" and "transaction not found".
_DRIFTS_TO_PENDING = "DP00800001003"
_DRIFTS_TO_NOT_FOUND = "DP00800001010"
_DRIFTING = frozenset({_DRIFTS_TO_PENDING, _DRIFTS_TO_NOT_FOUND})
_NO_PIN = "DP00800001005"
_NAMES_A_FIELD = re.compile(
    r"\b(?:missing|invalid)\b.*"
    r"\b(?:headers?|param\w*|fields?|amount|msisdn|country|currency|reference)\b",
    re.IGNORECASE | re.DOTALL,
)
# Older codes that stand beside newer ones, whatever those say.
_COMPANIONS = frozenset({"ESB000008", "ESB000010", "ESB000011", "521002", "521050"})
_DONE = frozenset({"SUCCESS", "TS"})
_UNPAID = Failed(code=FailureCode.OTHER, message="Airtel knows no paid payment with this id.")


# ── to Airtel ────────────────────────────────────────────────────────────────────────────────────


def payment_body(attempt: Attempt, config: AirtelConfig, msisdn: str) -> bytes:
    """The body of a payment request."""
    place = {"country": config.country, "currency": config.currency}
    return json_bytes(
        {
            "reference": reference_text(attempt),
            "subscriber": {**place, "msisdn": msisdn},
            "transaction": {
                "amount": whole(attempt.amount),
                **place,
                "id": transaction_id(attempt.reference),
            },
        }
    )


def refund_body(airtel_money_id: str) -> bytes:
    """The body of a refund: of the whole payment, by Airtel's own id of it."""
    return json_bytes({"transaction": {"airtel_money_id": airtel_money_id}})


def whole(money: Money) -> int | None:
    """The amount as a JSON number. None: it has a fraction, which Airtel documents no form for."""
    return int(money.amount) if money.amount == int(money.amount) else None


def transaction_id(reference: str) -> str:
    """Our reference as Airtel's id: letters and digits only, since no other sign is sure to do."""
    return reference.replace("-", "")


def our_reference(transaction_id: str) -> str:
    """The reference that `transaction_id` was made of; anything else stays as it is."""
    if re.fullmatch(r"[0-9a-f]{32}", transaction_id):
        return str(UUID(transaction_id))
    return transaction_id


def national_number(attempt: Attempt, config: AirtelConfig) -> str | None:
    """The payer's number without country code and leading 0. None: of another country."""
    if attempt.phone is None:
        return None
    number = phonenumbers.parse(attempt.phone)
    if number.country_code != phonenumbers.country_code_for_region(config.country):
        return None
    return phonenumbers.national_significant_number(number)


def reference_text(attempt: Attempt) -> str:
    """What was bought, in letters, digits and blanks, after what it is found by in the portal."""
    text = f"{attempt.payment_reference.replace('-', '')} {attempt.description or ''}"
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9]", " ", plain).split()
    return " ".join(words)[:REFERENCE_LENGTH].strip()


# ── from Airtel ──────────────────────────────────────────────────────────────────────────────────


def outcome_of_request(answer: Answer, accepted: Accepted) -> Outcome:
    """What the answer to a payment request means; `accepted` when Airtel took it.

    Success says that the prompt was sent, and not that anything is paid.
    """
    if answer.http_status == 429:
        # The quota is kept in front of the product, so nothing reached it. A 503 may come from
        # behind it and is unknown like any other 5xx.
        return NotSent(cause="Airtel answered 429", retry_after=answer.retry_after)
    if _says_nothing(answer):
        return _unknown(answer)
    # Airtel takes an id once, so this means "asked already" and not "failed".
    if DUPLICATE & set(answer.codes):
        return accepted
    if answer.success is True or (answer.success is None and answer.code in SUCCESS):
        return _taken(answer, accepted)
    return _refusal_of_request(answer) or _unknown(answer)


def _taken(answer: Answer, accepted: Accepted) -> Outcome:
    known = CODES.get(answer.code or "")
    if answer.http_status != 200 or (known is not None and known.failure is not None):
        return _unknown(answer)
    return replace(
        accepted,
        reference=reference_in(answer),
        unmapped=answer.code if known is None else None,
    )


def _refusal_of_request(answer: Answer) -> Failed | None:
    if answer.code is None:
        return failed(str(answer.http_status)) if str(answer.http_status) in CALLS else None
    if answer.code == _NO_PIN:
        # Nobody can have been asked for a PIN yet: here it is the code for anything at all.
        if answer.http_status == 400 and "msisdn not found" in answer.message.lower():
            return replace(failed("DP02200000002"), gateway_code=answer.code)
        return None
    return None if answer.code == _DRIFTS_TO_PENDING else _refusal(answer)


def outcome_of_enquiry(answer: Answer, attempt: Attempt, accepted: Accepted) -> Outcome:
    """What an enquiry says. `data.transaction.status` decides, wherever there is one."""
    if _says_nothing(answer):
        return _unknown(answer)
    word = answer.transaction.get("status")
    if not isinstance(word, str) or not word:
        return _without_status(answer)
    if answer.http_status != 200:
        return _unknown(answer)
    match word:
        case "TS":
            return _succeeded(answer, attempt)
        case "TF":
            return failed(_reason(answer) or word, reference_in(answer))
        case "TE":
            expired = failed(word, reference_in(answer))
            return replace(expired, gateway_code=_reason(answer) or word)
        case "TA":
            return Unknown(cause="Airtel says TA, ambiguous", gateway_code=word)
        case _:
            new_word = None if word in STATUSES else word
            return replace(accepted, reference=reference_in(answer), unmapped=new_word)


def _succeeded(answer: Answer, attempt: Attempt) -> Outcome:
    if answer.success is False:
        return Unknown(cause="Airtel says TS, and that it is no success", gateway_code=answer.code)
    return Succeeded(
        # Airtel's enquiry does not say how much was paid. It is asked by an id that Airtel takes
        # once, with one amount, and the payer approves that amount or nothing: so what was asked
        # for with this id is all that can have been paid under it. Core's comparison of the two
        # finds nothing here; only Airtel's statement could tell of another amount.
        amount=attempt.amount,
        reference=reference_in(answer) or attempt.reference,
        gateway_transaction_id=_money_id(answer),
    )


def _reason(answer: Answer) -> str | None:
    """The code that says why it failed: the first that is not known to say nothing of it."""
    for code in answer.codes:
        if code not in CODES or CODES[code].failure is not None:
            return code
    return None


def _without_status(answer: Answer) -> Outcome:
    if NOT_FOUND & set(answer.codes) and answer.http_status in {200, 400, 404}:
        return NotSent(cause=str(answer))
    # A refusal by anything but the product's own codes is of the question, not of the payment.
    about_payment = answer.code in COLLECTION.keys() - _DRIFTING
    refusal = _refusal(answer) if about_payment and answer.success is False else None
    if refusal is None or refusal.code is FailureCode.GATEWAY_CONFIGURATION:
        return _unknown(answer)
    return refusal


def outcome_of_refund(answer: Answer, refund: Refund) -> Outcome:
    """What the answer to a refund means. Airtel cannot be asked later: any doubt stays a doubt."""
    if _says_nothing(answer) or answer.http_status == 429:
        return _unknown(answer)
    if answer.success is True:
        word = str(answer.transaction.get("status")).upper().rstrip(".")
        if answer.http_status != 200 or answer.code not in SUCCESS or word not in _DONE:
            return _unknown(answer)
        # As with payments, no amount is said: Airtel gives back all of a payment or nothing.
        return Succeeded(
            amount=refund.amount,
            reference=refund.reference,
            gateway_transaction_id=_money_id(answer),
        )
    if NOT_FOUND & set(answer.codes):
        return replace(_UNPAID, gateway_code=answer.code)
    if answer.code in {_NO_PIN, _DRIFTS_TO_PENDING}:
        return _unknown(answer)
    return _refusal(answer) or _unknown(answer)


def failed(code: str, reference: str | None = None) -> Failed:
    """Airtel's no, in our words where we know them."""
    known = CODES.get(code, STATUSES["TF"])
    return Failed(
        code=known.failure or FailureCode.OTHER,
        message=known.text,
        gateway_code=code,
        reference=reference,
    )


def reference_in(answer: Answer) -> str | None:
    """Whose payment the answer is about, as it says itself."""
    said = answer.transaction.get("id")
    return None if said is None else our_reference(str(said)[:_MAX_ID])


def _money_id(answer: Answer) -> str | None:
    found = answer.transaction.get("airtel_money_id")
    return found if isinstance(found, str) and found else None


def _refusal(answer: Answer) -> Failed | None:
    """A definite no: the first code is one, and no other code leaves it open."""
    if answer.success is True or answer.code is None:
        return None
    meanings = [_meaning(code, answer.message) for code in answer.codes]
    first = meanings[0]
    open_ = [
        code
        for code, meaning in zip(answer.codes, meanings, strict=True)
        if code not in _COMPANIONS and (meaning is None or meaning.failure is None)
    ]
    if first is None or first.failure is None or open_:
        return None
    return Failed(code=first.failure, message=first.text, gateway_code=answer.code)


def _meaning(code: str, message: str) -> Meaning | None:
    if code == "ESB000008" and _NAMES_A_FIELD.search(message[:500]):
        return CODES["400"]
    return CODES.get(code)


def _says_nothing(answer: Answer) -> bool:
    """Whether the answer leaves open what Airtel did."""
    if answer.fields is None:
        # A page with one of these is of whoever stands in front of Airtel's API.
        return answer.http_status not in {401, 403, 404, 405, 415}
    return answer.http_status == 408 or answer.http_status >= 500


def _unknown(answer: Answer) -> Unknown:
    return Unknown(cause=str(answer), gateway_code=answer.code)
