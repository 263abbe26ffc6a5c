"""Between Flutterwave's words and ours. Pure; a word that is not here never becomes an ending.

Flutterwave has no codes: a bank's reason and an error are free text. So the texts are looked
through for known words, and the word that was found is the code that is kept.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from types import MappingProxyType

from dusangire.errors import CallerError
from dusangire.gateway import (
    JSON,
    Accepted,
    Attempt,
    Environment,
    Failed,
    FailureCode,
    Meaning,
    Outcome,
    PaymentToken,
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.money import MAX_MINOR, Money, exponent
from dusangire_card.flutterwave.client import Answer, amount_json

# The first that is found in a text counts, so the general ones come last.
BANK_WORDS: Mapping[str, Meaning] = MappingProxyType(
    {
        "insufficient": Meaning(
            FailureCode.INSUFFICIENT_FUNDS, "There is not enough money on the card."
        ),
        "expired card": Meaning(FailureCode.CARD_DECLINED, "The card has expired."),
        "incorrect pin": Meaning(FailureCode.AUTHENTICATION_FAILED, "The PIN was wrong."),
        "invalid otp": Meaning(FailureCode.AUTHENTICATION_FAILED, "The one-time code was wrong."),
        "authentication": Meaning(
            FailureCode.AUTHENTICATION_FAILED, "The bank could not make sure who is paying."
        ),
        "fraud": Meaning(
            FailureCode.CARD_DECLINED, "The bank suspects fraud. The payer must ask the bank."
        ),
        "limit": Meaning(FailureCode.PAYER_LIMIT_REACHED, "The card has reached a limit."),
        "timed out": Meaning(FailureCode.GATEWAY_ERROR, "The bank did not answer in time."),
        "timeout": Meaning(FailureCode.GATEWAY_ERROR, "The bank did not answer in time."),
        "not permitted": Meaning(
            FailureCode.CARD_DECLINED, "The card may not be used for this payment."
        ),
        "not allowed": Meaning(
            FailureCode.CARD_DECLINED, "The card may not be used for this payment."
        ),
        "do not honor": Meaning(FailureCode.CARD_DECLINED, "The bank refused, without a reason."),
        "do not honour": Meaning(FailureCode.CARD_DECLINED, "The bank refused, without a reason."),
        "declined": Meaning(FailureCode.CARD_DECLINED, "The bank declined the card."),
    }
)
_NO_REASON = Meaning(FailureCode.CARD_DECLINED, "The bank refused, for a reason we do not know.")

# Words in the message of a call that was refused.
CALL_WORDS: Mapping[str, Meaning] = MappingProxyType(
    {
        "token or email": Meaning(
            FailureCode.CARD_DECLINED,
            "The kept card cannot be charged any more. The payer can pay on the page.",
        ),
        "exceed": Meaning(
            FailureCode.AMOUNT_OUT_OF_LIMITS, "The amount is more than Flutterwave takes here."
        ),
        "already": Meaning(None, "It was done before, and has to be asked about."),
        "insufficient": Meaning(
            FailureCode.INSUFFICIENT_FUNDS,
            "The available balance at Flutterwave is too small for it.",
        ),
        "not enabled": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "Flutterwave has not switched this on for the account. Ask its support.",
        ),
        "is required": Meaning(
            FailureCode.GATEWAY_CONFIGURATION, "Flutterwave misses something in the request."
        ),
    }
)
NOT_FOUND = "no transaction was found"

# When no word is known, the HTTP status is the code.
HTTP: Mapping[str, Meaning] = MappingProxyType(
    {
        "200": Meaning(FailureCode.GATEWAY_ERROR, "Flutterwave does not do it."),
        "400": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "Flutterwave does not accept the request. Check currency and settings.",
        ),
        "401": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "Flutterwave refuses the secret key. Copy it again into secret_key.",
        ),
        "403": Meaning(
            FailureCode.GATEWAY_CONFIGURATION,
            "Flutterwave does not allow the account to do this. Ask its support to switch it on.",
        ),
        "404": Meaning(
            FailureCode.GATEWAY_CONFIGURATION, "There is no such call at base_url. Check it."
        ),
        "408": Meaning(None, "Flutterwave gave up waiting for the request."),
        "409": Meaning(None, "Flutterwave knows something like it, and has to be asked."),
        "429": Meaning(None, "There were too many calls. It is tried again later."),
        "500": Meaning(None, "Flutterwave is in trouble, and has to be asked again."),
        "502": Meaning(None, "Flutterwave is in trouble, and has to be asked again."),
        "503": Meaning(None, "Flutterwave gave up after half a minute, and has to be asked."),
        "504": Meaning(None, "Flutterwave is in trouble, and has to be asked again."),
    }
)

# A refund that Flutterwave took is `completed`; the money is there only with one of these.
REFUND_DONE = frozenset(
    {
        "completed-mpgs",
        "completed-bank-transfer",
        "completed-momo",
        "completed-offline",
        "completed-preauth",
        "successful",
    }
)
REFUND_TAKEN = "completed"
REFUND_RUNNING = frozenset({"new", "pending", "pending-momo", "processing", REFUND_TAKEN})
REFUND_FAILED: Mapping[str, Meaning] = MappingProxyType(
    {
        "failed": Meaning(FailureCode.GATEWAY_ERROR, "Flutterwave could not give the money back."),
        "cancelled": Meaning(FailureCode.CANCELLED, "The refund was cancelled at Flutterwave."),
    }
)

CODES: Mapping[str, Meaning] = MappingProxyType(
    {**CALL_WORDS, **BANK_WORDS, **REFUND_FAILED, **HTTP}
)

_BRANDS = {
    "mastercard": "Mastercard",
    "visa": "Visa",
    "verve": "Verve",
    "american express": "American Express",
    "amex": "American Express",
}
_TOKEN_LIFE = timedelta(days=365)
# Shorter than any card number, and longer than any id that Flutterwave gave so far.
_ID = re.compile(r"[0-9]{1,12}")


# ── to Flutterwave ───────────────────────────────────────────────────────────────────────────────


def link_body(
    attempt: Attempt,
    email: str,
    return_url: str | None,
    minutes: int,
    max_attempts: int,
    brand: Mapping[str, str | None],
) -> dict[str, JSON]:
    """The body of a hosted payment.

    How long it lives stands in two places: Flutterwave's own pages do not agree where it belongs.
    """
    customer = {"email": email, "phonenumber": (attempt.phone or "").removeprefix("+")}
    looks = {**brand, "description": attempt.description}
    session = {"session_duration": minutes, "max_retry_attempt": max_attempts}
    return _filled(
        {
            **money_body(attempt.amount),
            "tx_ref": attempt.reference,
            "redirect_url": return_url,
            "payment_options": "card",
            "customer": _filled(customer),
            "customizations": _filled(looks),
            "meta": {"payment": attempt.payment_reference},
            "session_duration": minutes,
            "configurations": session,
        }
    )


def token_body(
    attempt: Attempt, token: str, email: str, country: str, return_url: str | None
) -> dict[str, JSON]:
    """The body of a charge of a kept card."""
    return _filled(
        {
            **money_body(attempt.amount),
            "tx_ref": attempt.reference,
            "token": token,
            "email": email,
            "country": country,
            "narration": attempt.description or attempt.payment_reference,
            "redirect_url": return_url,
        }
    )


def refund_body(refund: Refund) -> dict[str, JSON]:
    """The body of a refund. Left out, the amount would mean all of it."""
    return {
        "amount": amount_json(refund.amount.amount),
        # The only place where Flutterwave keeps a word of ours: it is what we find it by.
        "comments": f"{refund.reference} {refund.refund_reference}",
    }


def money_body(money: Money) -> dict[str, JSON]:
    """Major units. Without a currency Flutterwave would take naira."""
    return {"amount": amount_json(money.amount), "currency": money.currency}


def _filled(values: Mapping[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in values.items() if value not in (None, "", {})}


# ── from Flutterwave: charges ────────────────────────────────────────────────────────────────────


def outcome_of_charge(
    fields: Mapping[str, JSON], attempt: Attempt, environment: Environment, email: str
) -> Outcome:
    """What a charge is, as verify or the charge itself tells it. Failed is about this card."""
    reference, word = _text(fields, "tx_ref"), _text(fields, "status")
    if reference is None or word is None:
        return Unknown(cause="Flutterwave's answer does not say whose charge it is, or what of it")
    if environment is Environment.LIVE and (_text(fields, "flw_ref") or "").startswith("FLW-MOCK"):
        return Unknown(cause="Flutterwave answers about play money, and this is a live gateway")
    match word:
        case "successful":
            return _succeeded(fields, reference, attempt, email)
        case "failed":
            return declined(_text(fields, "processor_response") or "", reference)
        case "pending":
            return Accepted(reference=reference)
        case _:
            return Accepted(reference=reference, unmapped=word)


def _succeeded(fields: Mapping[str, JSON], reference: str, attempt: Attempt, email: str) -> Outcome:
    try:
        amount = parse_amount(fields.get("amount"), _text(fields, "currency"))
    except (CallerError, ValueError) as error:
        return Unknown(cause=f"Flutterwave's amount cannot be read: {error}")
    return Succeeded(
        amount=amount,
        reference=reference,
        gateway_transaction_id=id_in(fields),
        fee=_fee(fields, amount),
        token=_token(fields.get("card"), attempt, email) if attempt.keeps_method else None,
    )


def declined(text: str, reference: str | None = None) -> Failed:
    """The bank's no. Its own text is kept as the code only when nothing in it is known."""
    word, meaning = _found(text, BANK_WORDS) or (text, _NO_REASON)
    return _failed(word, meaning, reference)


def refused(answer: Answer) -> Failed | None:
    """A refused call in our words; None when the answer decides nothing and has to be asked."""
    code = str(answer.http)
    fallback = (code, HTTP.get(code, HTTP["400"]))
    # Who may not call at all is told that, whatever else the message says.
    known = None if answer.http in (401, 403) else _found(answer.message, CALL_WORDS)
    word, meaning = known or fallback
    if meaning.failure is None or answer.http == 409:
        return None
    return _failed(word, meaning)


def is_unknown(answer: Answer) -> bool:
    """Whether verify knows no charge: with HTTP 400, 404 or even 200, so the text decides."""
    return not answer.ok and NOT_FOUND in answer.message.lower()


def parse_amount(value: JSON, currency: str | None) -> Money:
    """Flutterwave's amount exactly: a number or a text. Raises CallerError and ValueError."""
    if currency is None:
        raise ValueError("there is no currency")
    return Money.parse(_decimal(value), currency)


def exact_fee(fields: Mapping[str, JSON]) -> Decimal | None:
    """What Flutterwave kept, to the last decimal; None when it does not say."""
    try:
        fee = _decimal(fields.get("app_fee"))
    except ValueError:
        return None
    return fee if fee >= 0 else None


def _fee(fields: Mapping[str, JSON], amount: Money) -> Money | None:
    """What is more than the payment itself is some other number in the fee's place."""
    fee = rounded_fee(exact_fee(fields), amount.currency)
    return fee if fee is not None and fee.minor <= amount.minor else None


def rounded_fee(fee: Decimal | None, currency: str) -> Money | None:
    """A fee as money. Fees have decimals even in francs, which have none; half a franc is one."""
    if fee is None or fee.adjusted() > 18:
        return None
    minor = fee.scaleb(exponent(currency)).to_integral_value(ROUND_HALF_UP)
    return Money(int(minor), currency) if minor <= MAX_MINOR else None


def id_in(fields: Mapping[str, JSON], name: str = "id") -> str | None:
    """A numeric id, which may come as a text."""
    value = fields.get(name)
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if _ID.fullmatch(text) else None


def _decimal(value: JSON) -> Decimal:
    # Decimal would also take 1_500, 1e3 and digits of other scripts.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,10})?", value):
        return Decimal(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        try:
            return Decimal(value)
        except InvalidOperation as error:
            raise ValueError("the number is too long") from error
    raise ValueError("there is no number")


# ── from Flutterwave: cards ──────────────────────────────────────────────────────────────────────


def _token(card: JSON, attempt: Attempt, email: str) -> PaymentToken | None:
    """The token with the address that it is bound to: with any other it is refused."""
    if not isinstance(card, dict) or (token := _text(card, "token")) is None:
        return None
    if not re.fullmatch(r"[!-~]{1,200}", token):
        return None
    ends = [attempt.created_at + _TOKEN_LIFE, _card_end(_text(card, "expiry"))]
    return PaymentToken(
        secret=f"{email} {token}",
        label=card_label(card),
        expires_at=min(end for end in ends if end is not None),
    )


def parse_token(secret: str) -> tuple[str, str]:
    """The token and its address, as they were put together above."""
    email, _, token = secret.partition(" ")
    return token, email


def card_label(card: Mapping[str, JSON]) -> str:
    """Such as `Visa •••• 4242`. Nothing of a card but its brand and four digits is taken over."""
    kind = (_text(card, "type") or "").lower()
    brand = next((name for word, name in _BRANDS.items() if word in kind), "Card")
    digits = _text(card, "last_4digits") or ""
    return f"{brand} •••• {digits}" if re.fullmatch(r"[0-9]{4}", digits) else brand


def _card_end(expiry: str | None) -> datetime | None:
    """The end of the month on the card, such as 10/31."""
    found = re.fullmatch(r"(0[1-9]|1[0-2])/(?:20)?([0-9]{2})", expiry or "")
    if found is None:
        return None
    month, year = int(found[1]), 2000 + int(found[2])
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


# ── from Flutterwave: refunds ────────────────────────────────────────────────────────────────────


def outcome_of_refund(
    fields: Mapping[str, JSON], refund: Refund, now: datetime, final_after: timedelta
) -> Outcome:
    """What a refund is that was found to be ours. An unknown word is one still under way."""
    word = (_text(fields, "status") or "").lower()
    if not word:
        return Unknown(cause="Flutterwave's answer does not say what became of the refund")
    paid_out = _disburse_status(fields.get("meta"))
    if paid_out == "failed" or word in REFUND_FAILED:
        code = word if word in REFUND_FAILED else "failed"
        return _failed(code, REFUND_FAILED[code], refund.reference)
    assumed = word == REFUND_TAKEN and now - refund.created_at >= final_after
    if word in REFUND_DONE or (word == REFUND_TAKEN and paid_out == "successful") or assumed:
        return _given_back(fields, refund)
    found = id_in(fields)
    return Accepted(
        reference=refund.reference,
        unmapped=None if word in REFUND_RUNNING else word,
        plugin_data={"refund_id": found} if found else {},
    )


def _given_back(fields: Mapping[str, JSON], refund: Refund) -> Outcome:
    try:
        amount = parse_amount(fields.get("amount_refunded"), refund.amount.currency)
    except (CallerError, ValueError) as error:
        return Unknown(cause=f"Flutterwave's amount cannot be read: {error}")
    return Succeeded(
        amount=amount, reference=refund.reference, gateway_transaction_id=id_in(fields)
    )


def is_about(fields: JSON, refund: Refund, transaction_id: str) -> bool:
    """Whether an entry of Flutterwave's list is this very refund: by our words in it alone.

    Amount and time would fit another refund of the same payment as well.
    """
    return (
        isinstance(fields, dict)
        and refund.reference in (_text(fields, "comments") or "")
        and id_in(fields, "tx_id") in {None, transaction_id}
    )


def _disburse_status(meta: JSON) -> str | None:
    """In `meta`, which is an object here and a text with JSON in it there."""
    if isinstance(meta, str):
        try:
            meta = json.loads(meta)
        except (ValueError, RecursionError):
            return None
    return _text(meta, "disburse_status") if isinstance(meta, dict) else None


# ── words ────────────────────────────────────────────────────────────────────────────────────────


def _found(text: str, words: Mapping[str, Meaning]) -> tuple[str, Meaning] | None:
    lower = text.lower()
    return next(((word, words[word]) for word in words if word in lower), None)


def _failed(word: str, meaning: Meaning, reference: str | None = None) -> Failed:
    return Failed(
        code=meaning.failure or FailureCode.OTHER,
        message=meaning.text,
        gateway_code=word or None,
        reference=reference,
    )


def _text(fields: Mapping[str, JSON], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None
