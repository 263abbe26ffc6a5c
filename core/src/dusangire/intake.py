"""What callers ask for, checked before anything is done: each error names its field."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from pydantic import ValidationError

from dusangire import stored_methods
from dusangire.core import Core
from dusangire.errors import (
    CallerError,
    GatewayConfiguration,
    GatewayDisabled,
    GatewayNotFound,
    Invalid,
    InvalidPhone,
)
from dusangire.gateways import Account, check_amount
from dusangire.invoicing.billing import BuyerInput, LineInput
from dusangire.masking import has_card_number
from dusangire.money import Money
from dusangire.phone import parse_phone
from dusangire.plugins import Capability
from dusangire.stored_methods import StoredMethod, StoredMethodKind
from dusangire.text import clean, clean_optional
from dusangire.watch import refuse_if_unavailable

DEFAULT_LIFETIME = timedelta(hours=24)
MAX_LIFETIME = timedelta(days=90)
MAX_WAIT_MS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerInput:
    reference: str
    name: str | None = None
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodInput:
    """How the payer wants to pay: a gateway's code, and what that gateway asks for.

    store_consent: the words with which the payer agreed that the method is kept for the next time.
    """

    gateway: str
    phone: str | None = None
    email: str | None = None
    stored_method_id: str | None = None
    store_consent: str | None = None
    details: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePayment:
    """amount: major units, as the caller wrote it. wait_ms: how long to wait for the gateway.

    lines: what is sold, for the invoice; buyer: whom it is made out to. With either, the payment
        comes with a draft of its invoice.
    """

    idempotency_key: str
    amount: Decimal | int | str
    currency: str
    order_reference: str | None = None
    description: str | None = None
    customer: CustomerInput | None = None
    method: MethodInput | None = None
    return_url: str | None = None
    metadata: Any = None
    expires_at: datetime | None = None
    lines: Sequence[LineInput] | None = None
    buyer: BuyerInput | None = None
    wait_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateInvoice:
    """lines: what is sold; left out, one line of the payment's whole amount."""

    idempotency_key: str
    payment_id: UUID
    lines: Sequence[LineInput] | None = None
    buyer: BuyerInput | None = None
    note: str | None = None
    due_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPayment:
    idempotency_key: str
    payment_id: UUID
    method: MethodInput
    return_url: str | None = None
    wait_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmPayment:
    """Money that a person saw arrive. evidence: who collected it, or the bank's reference."""

    idempotency_key: str
    payment_id: UUID
    amount: Decimal | int | str
    currency: str
    evidence: str
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A checked payment method. stored: the kept one that is used."""

    account: Account
    phone: str | None
    email: str | None
    details: Mapping[str, Any]
    stored: StoredMethod | None = None
    store_consent: str | None = None


def fingerprint(request: CreatePayment | CreateInvoice | AttemptPayment | ConfirmPayment) -> str:
    """A digest of what was asked for: not of the key, nor of how long to wait for the answer.

    Spellings of the same amount, text, phone number or time have the same digest.
    """
    said = _plain_fields(request)
    del said["idempotency_key"]
    said.pop("wait_ms", None)
    for part in ("method", "customer"):
        if said.get(part) is not None:
            said[part] = _plain_fields(said[part])
    if (method := said.get("method")) is not None and method["store_consent"] is None:
        del method["store_consent"]  # keys from before it could be given stay as they were
    _plain_invoice(said)
    if "amount" in said:
        said["amount"] = _plain(said["amount"])
    if (moment := said.get("expires_at")) is not None and moment.tzinfo is not None:
        said["expires_at"] = moment.timestamp()
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return hashlib.sha256(orjson.dumps(said, default=str, option=options)).hexdigest()
    except orjson.JSONEncodeError:
        return ""  # nothing like it was ever stored


def _plain_invoice(said: dict[str, Any]) -> None:
    """What an invoice needs; keys from before it could be given stay as they were."""
    for name in ("lines", "buyer"):
        if said.get(name) is None:
            said.pop(name, None)
    if "buyer" in said:
        said["buyer"] = _plain_fields(said["buyer"])
    if "lines" in said:
        said["lines"] = [_plain_line(line) for line in said["lines"]]


def _plain_line(line: LineInput) -> dict[str, Any]:
    numbers = {"quantity": _plain(line.quantity), "unit_price": _plain(line.unit_price)}
    return {**_plain_fields(line), **numbers}


def _plain_fields(request: Any) -> dict[str, Any]:
    values = {field.name: getattr(request, field.name) for field in fields(request)}
    return {name: _plain_text(name, value) for name, value in values.items()}


def _plain_text(name: str, value: Any) -> Any:
    if not isinstance(value, str) or name == "metadata":
        return value
    text = unicodedata.normalize("NFC", value).strip() or None
    try:
        return parse_phone(text) if text and name == "phone" else text
    except InvalidPhone:
        return text


def _plain(amount: Decimal | int | str) -> str:
    try:
        return f"{Decimal(amount).normalize():f}"
    except (ArithmeticError, ValueError, TypeError):
        return str(amount)


def checked_money(amount: Decimal | int | str, currency: str) -> Money:
    try:
        return Money.parse(amount, currency)
    except CallerError as error:
        part = "currency" if error.code == "CURRENCY_NOT_SUPPORTED" else "amount"
        raise type(error)(error.message, field=["amount", part]) from error


async def checked_method(
    core: Core, given: MethodInput, money: Money, customer: str | UUID | None
) -> Method:
    """customer: whose stored methods may be used: the merchant's reference, or the id."""
    try:
        account = await core.gateways.by_code(given.gateway)
    except GatewayNotFound as error:
        raise GatewayNotFound(error.message, field=["method", "gateway"]) from error
    if not account.enabled:
        raise GatewayDisabled(field=["method", "gateway"])
    if account.plugin is None:
        raise GatewayConfiguration(
            f"{account.name} cannot be used now: its plugin does not work.",
            field=["method", "gateway"],
        )
    if account.environment is not core.settings.environment:
        raise GatewayConfiguration(
            f"{account.name} is a {account.environment.lower()} gateway; this installation runs in "
            f"{core.settings.environment.lower()} mode.",
            field=["method", "gateway"],
        )
    try:
        check_amount(account, money)
    except CallerError as error:
        part = "currency" if error.code == "CURRENCY_NOT_SUPPORTED" else "amount"
        raise type(error)(error.message, field=["amount", part]) from error
    consent = _consent(account, given.store_consent, customer)
    description = account.plugin.description
    phone = _phone(given.phone, "method", "phone")
    stored = None
    if given.stored_method_id is not None:
        stored = await stored_methods.usable(core, account, given.stored_method_id, customer)
        phone = _phone_of(stored, phone)
    charged_by_token = stored is not None and stored.kind is StoredMethodKind.TOKEN
    if description.needs_phone and phone is None and not charged_by_token:
        raise InvalidPhone(
            f"{account.name} needs the payer's phone number.", field=["method", "phone"]
        )
    try:
        details = description.details.model_validate({} if given.details is None else given.details)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Invalid(
            f"{first['msg']}.",
            field=["method", "details", *(str(part) for part in first["loc"])],
        ) from None
    _json_text(given.details, "method", "details")
    # Last: what will never be accepted is said first.
    refuse_if_unavailable(account)
    return Method(
        account=account,
        phone=phone,
        email=_email(given.email, "method", "email"),
        details=details.model_dump(mode="json"),
        stored=stored,
        store_consent=consent,
    )


def _consent(account: Account, given: str | None, customer: str | UUID | None) -> str | None:
    """The words to keep a method with. Raises Invalid where nothing can be kept."""
    field = ("method", "storeConsent")
    if given is None:
        return None
    words = clean(given, *field, limit=1_000, lines=True)
    if Capability.STORED_METHOD not in account.capabilities:
        raise Invalid(f"{account.name} keeps no payment methods.", field=field)
    if customer is None:
        raise Invalid("A method is kept for a customer: the payment needs one.", field=field)
    return words


def _phone_of(stored: StoredMethod, given: str | None) -> str | None:
    if stored.phone is not None and given not in {None, stored.phone}:
        raise Invalid(
            "The stored method has another number. Give one of the two.", field=["method", "phone"]
        )
    return stored.phone or given


def checked_customer(given: CustomerInput | None) -> CustomerInput | None:
    if given is None:
        return None
    return CustomerInput(
        reference=clean(given.reference, "customer", "reference"),
        name=clean_optional(given.name, "customer", "name"),
        email=_email(given.email, "customer", "email"),
        phone=_phone(given.phone, "customer", "phone"),
    )


def _phone(text: str | None, *field: str) -> str | None:
    try:
        return parse_phone(text) if text and text.strip() else None
    except InvalidPhone as error:
        raise InvalidPhone(field=field) from error


def _email(text: str | None, *field: str) -> str | None:
    email = clean_optional(text, *field, limit=254)
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", email):
        raise Invalid("This is not an e-mail address.", field=field)
    return email


def checked_metadata(value: Any) -> str | None:
    return None if value is None else _json_text(value, "metadata")


def _json_text(value: Any, *field: str) -> str:
    """JSON as it is stored. Raises Invalid: over 8 KB, control characters, a card number."""
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise Invalid("This cannot be stored as JSON.", field=field) from error
    if len(text) > 8_192:
        raise Invalid("This is more than 8 KB of JSON.", field=field)
    if "\\u0000" in text:
        raise Invalid("This holds characters that cannot be stored.", field=field)
    if has_card_number(text):
        raise Invalid(
            "This looks like a card number. Card numbers are never sent to us.", field=field
        )
    return text


def checked_return_url(core: Core, text: str | None) -> str | None:
    url = clean_optional(text, "returnUrl", limit=2_000)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Invalid("The return address is no address.", field=["returnUrl"]) from error
    local = not core.settings.live and parts.hostname in {"localhost", "127.0.0.1"}
    if not parts.hostname or (parts.scheme != "https" and not (local and parts.scheme == "http")):
        raise Invalid("The return address must be a full https address.", field=["returnUrl"])
    origin = f"{parts.scheme}://{parts.netloc.lower()}"
    if (core.settings.live or core.settings.allowed_origins) and origin not in _pages(core):
        # Whoever follows a link to us must not end up on a page that anybody chose.
        raise Invalid(
            f"Payers are sent back to known pages only. Add {origin} to DUSANGIRE_ALLOWED_ORIGINS.",
            field=["returnUrl"],
        )
    return url


def _pages(core: Core) -> frozenset[str]:
    """Origins of pages that belong to the merchant."""
    url = urlsplit(core.settings.public_url or "")
    return frozenset({*core.settings.allowed_origins, f"{url.scheme}://{url.netloc.lower()}"})


def checked_expiry(
    given: datetime | None, created_at: datetime, method: Method | None
) -> datetime | None:
    if given is None:
        # Cash and transfers take as long as they take; a prompt on a phone does not.
        asks = method is None or Capability.STATUS_CHECK in method.account.capabilities
        return created_at + DEFAULT_LIFETIME if asks else None
    if given.tzinfo is None:
        raise Invalid("expiresAt needs an offset, such as Z or +02:00.", field=["expiresAt"])
    if not created_at < given <= created_at + MAX_LIFETIME:
        raise Invalid("expiresAt must be within the next 90 days.", field=["expiresAt"])
    return given.astimezone(UTC)


def check_wait(wait_ms: int | None) -> None:
    if wait_ms is not None and not 0 <= wait_ms <= MAX_WAIT_MS:
        raise Invalid(f"waitMs must be between 0 and {MAX_WAIT_MS}.", field=["waitMs"])
