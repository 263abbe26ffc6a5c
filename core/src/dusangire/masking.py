"""What may be seen of a message: secrets never, phone numbers only in part."""

import base64
import math
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from dusangire.phone import mask_phone

HIDDEN = "•••"

# Names under which providers send secrets. Matched in JSON keys, form fields and header names.
_SECRET_NAME = re.compile(
    r"secret|token|password|passwd|authorization|api[-_]?key|subscription[-_]?key|signature"
    r"|\bpin\b|cvv|cvc|hash$|cookie|callback[-_]?url",
    re.IGNORECASE,
)
_NOT_SECRET = {"token_type"}

# Rwandan numbers in any spelling, and any other number in E.164: enough digits to call somebody.
_PHONE = re.compile(r"(?<![\w.-])(?:\+?250[ -]?|0)7\d(?:[ -]?\d){7}(?![\w-])|\+\d{9,15}(?![\w-])")
# A number without any prefix, in words that say what it is: "msisdn 788123456 is barred".
_NAMED_PHONE = re.compile(
    r"(?P<name>(?:msisdn|phone|mobile|party_?id|subscriber)[^\d\s]{0,12}\s{0,2}[^\d\s]{0,4})"
    r"(?P<number>7\d{8})(?!\d)",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"(?<![\w.+-])([\w+-])[\w.+-]{0,63}@(?=[\w-]{1,63}\.\w)")
# Under these names any spelling is a phone number, even one without a prefix.
_PHONE_NAME = re.compile(r"msisdn|phone|mobile|party_?id$", re.IGNORECASE)
# Any run of digits that is long enough; a card number is often followed by its expiry or code.
_CARD = re.compile(r"(?<![\w-])\d(?:[ .-]?\d){12,}(?![\w-])")
# The same in one piece, with letters or dashes around it, as in FLW-MOCK-4111111111111111.
_GLUED = re.compile(r"(?<!\d)\d{13,19}(?!\d)")
# Groups as they are embossed, whatever is between them and around: two blanks, a slash, letters.
_EMBOSSED = re.compile(
    r"(?<!\d)\d{4}(?:(?:[\W_]{1,3}\d{4}){3,}(?:[\W_]{1,3}\d{1,3})?"
    r"|[\W_]{1,3}\d{6}[\W_]{1,3}\d{4,5})(?!\d)"
)
# How the networks' numbers begin, and how long they are: a time in milliseconds or a bar code
# passes the Luhn check one time in ten, but is no card.
_NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3[05689]\d{12,17}"
    r"|(?:6\d|5[0678])\d{14,17}"
)
_SHORTEST, _LONGEST = 13, 19
_LONGEST_RUN = 1_000

_MAX_TEXT = 4_000
# Of shorter secrets the base64 would be found in texts that have nothing to do with them.
_SHORTEST_CODED = 8

_hidden: ContextVar[tuple[str, ...]] = ContextVar("hidden", default=())


@contextmanager
def hiding(*secrets: str | None) -> Iterator[None]:
    """Inside, nothing that is masked shows `secrets`: no log line, no exchange, no outcome's words.

    For what is secret during one call alone, such as a payer's token.
    """
    token = _hidden.set((*_hidden.get(), *spellings(*secrets)))
    try:
        yield
    finally:
        _hidden.reset(token)


def spellings(*secrets: str | None) -> list[str]:
    """Each secret as it is, as it stands in an address, and in base64 or hex."""
    return [
        spelling
        for secret in secrets
        if secret
        for spelling in dict.fromkeys(
            (secret, quote(secret), quote(secret, safe=""), *_coded(secret))
        )
    ]


# Every call to a gateway asks for those of its account.
@lru_cache(maxsize=256)
def _coded(secret: str) -> tuple[str, ...]:
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) < _SHORTEST_CODED:
        return ()
    found = [raw.hex()]
    for before in range(3):
        # Basic authentication has it behind a user's name: these characters are its own there.
        text = base64.b64encode(bytes(before) + raw).decode()
        own = text[math.ceil(before * 8 / 6) : (before + len(raw)) * 8 // 6]
        found += [own, own.replace("+", "-").replace("/", "_")]
    return tuple(found)


def _is_card(digits: str) -> bool:
    if not _NETWORKS.fullmatch(digits):
        return False
    doubled = (sum(divmod(int(d) * 2, 10)) for d in digits[-2::-2])
    return (sum(doubled) + sum(int(d) for d in digits[-1::-2])) % 10 == 0


def has_card_number(text: str) -> bool:
    """Whether digits stand in `text` that a card network could have given out."""
    return any(_mask_card(match) != match.group() for match in _CARD.finditer(text))


def hide_cards(text: str) -> str:
    """`text` without card numbers, and otherwise as it was.

    It goes further than `has_card_number`: a masked id of a provider's is a small loss, while an
    order that is refused for the digits in its number is a large one. About one in fifty ids of
    sixteen digits looks like a card and is hidden.
    """
    hidden = _GLUED.sub(_mask_card, _CARD.sub(_mask_long_run, text))
    return _EMBOSSED.sub(_mask_long_run, hidden)


def _mask_long_run(match: re.Match[str]) -> str:
    # No honest message counts that far, and to look at each of its digits takes seconds.
    return HIDDEN if len(match.group()) > _LONGEST_RUN else _mask_card(match)


def _mask_card(match: re.Match[str]) -> str:
    """The run of digits; hidden if groups in it make up a card number."""
    # Digits of any script, as plain ones.
    groups = [
        "".join(str(int(digit)) for digit in group) for group in re.findall(r"\d+", match.group())
    ]
    for first in range(len(groups)):
        digits = ""
        for group in groups[first : first + _LONGEST]:
            digits += group
            if len(digits) > _LONGEST:
                break
            if len(digits) >= _SHORTEST and _is_card(digits):
                return HIDDEN
    return match.group()


def mask_text(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without any of `secrets`, card numbers or readable phone numbers; cut at 4,000."""
    for secret in (*secrets, *_hidden.get()):
        if secret:
            text = text.replace(secret, HIDDEN)
    # Cards first: the middle of a spaced one may look like a phone number.
    text = hide_cards(text)
    text = _PHONE.sub(lambda match: mask_phone(re.sub(r"[ -]", "", match.group())), text)
    text = _NAMED_PHONE.sub(lambda match: match["name"] + mask_phone(match["number"]), text)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"


def hide_addresses(value: Any) -> Any:
    """A JSON value in whose texts e-mail addresses stand in part: `a•••@example.rw`.

    For what others wrote. Our own people's addresses say who did something, and stay.
    """
    if isinstance(value, str):
        return _EMAIL.sub(rf"\1{HIDDEN}@", value) if "@" in value else value
    if isinstance(value, Mapping):
        return {hide_addresses(key): hide_addresses(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hide_addresses(item) for item in value]
    return value


def mask_json(value: Any, secrets: Iterable[str] = ()) -> Any:
    """A JSON value with every text masked, and everything under a secret's name hidden."""
    if isinstance(value, str):
        return mask_text(value, secrets)
    if isinstance(value, Mapping):
        return {
            mask_text(str(key), secrets): _mask_named(str(key), item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_json(item, secrets) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        masked = mask_text(str(value), secrets)
        return value if masked == str(value) else masked
    return value


def _mask_named(name: str, value: Any, secrets: Iterable[str]) -> Any:
    if is_secret_name(name) and value:
        return HIDDEN
    masked = mask_json(value, secrets)
    digits = str(masked).removeprefix("+")
    if _PHONE_NAME.search(name) and digits.isdigit() and len(digits) > 6:
        return mask_phone(str(masked))
    return masked


def is_secret_name(name: str) -> bool:
    """Whether values under this name are hidden whatever they are."""
    return name.lower() not in _NOT_SECRET and _SECRET_NAME.search(name) is not None


def mask_log(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: nothing secret reaches a log line."""
    return {
        key: HIDDEN if is_secret_name(key) else hide_addresses(mask_json(item))
        for key, item in event.items()
    }
