"""Phone numbers: what people type in, kept as E.164."""

from typing import NewType

import phonenumbers

from dusangire.errors import InvalidPhone

PhoneNumber = NewType("PhoneNumber", str)
"""E.164, such as +250788123456."""


def parse_phone(text: str, region: str = "RW") -> PhoneNumber:
    """E.164 of a number in national (0788…) or international (250788…, +250 788 …) spelling.

    Test numbers of providers are valid numbers of other countries, so any country is accepted.
    Raises InvalidPhone.
    """
    if len(text) > 40 or not text.isprintable():
        raise InvalidPhone
    candidates = (text, "+" + text.strip()) if text.strip().startswith("2") else (text,)
    for candidate in candidates:
        try:
            number = phonenumbers.parse(candidate, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number) and not number.extension:
            return PhoneNumber(
                phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            )
    raise InvalidPhone


def mask_phone(number: str) -> str:
    """`+250788123456` as people who need not know it may see it: `+2507****456`.

    A national spelling shows no more of the number: `0788123456` is `07****456`.
    """
    shown = 5 if number.startswith("+") else max(0, len(number) - 8)
    return f"{number[:shown]}****{number[-3:]}"
