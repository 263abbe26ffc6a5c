"""Text from outside: bounded, printable, in one Unicode spelling."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from dusangire.errors import Invalid
from dusangire.masking import has_card_number


def clean(text: str, *field: str, limit: int = 255, lines: bool = False) -> str:
    """`text` in NFC. Raises Invalid when it is empty, too long, or holds control characters.

    Card numbers are refused too: they must never reach us.
    """
    text = unicodedata.normalize("NFC", text).strip()
    if not text:
        raise Invalid(f"{field[-1]} must not be empty.", field=field)
    if len(text) > limit:
        raise Invalid(f"{field[-1]} has {len(text)} characters; at most {limit} fit.", field=field)
    if any(unicodedata.category(c) in {"Cc", "Cs"} and not (lines and c in "\n\t") for c in text):
        raise Invalid(f"{field[-1]} holds characters that cannot be printed.", field=field)
    if has_card_number(text):
        raise Invalid(
            f"{field[-1]} looks like a card number. Card numbers are never sent to us.", field=field
        )
    return text


def printable(text: str) -> str:
    """`text` from a provider with everything taken out that a database or a terminal minds."""
    text = text.encode("utf-8", "replace").decode()
    return "".join(c if c == "\n" or unicodedata.category(c) != "Cc" else " " for c in text)


def storable(value: Any, depth: int = 32) -> Any:
    """A JSON value as PostgreSQL and orjson take it: no NUL, no half characters, not too deep."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\x00", "")
    if isinstance(value, Mapping | list | tuple) and depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item, depth - 1) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)[:100] if abs(value) < 10**100 else "…"
    return value


def clean_optional(text: str | None, *field: str, limit: int = 255) -> str | None:
    """Like `clean`; nothing and only blanks are None."""
    return clean(text, *field, limit=limit) if text and text.strip() else None
