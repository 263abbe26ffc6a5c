"""Amounts as the standard formats write them, to integers of the minor unit: no float anywhere."""

import re
from decimal import ROUND_HALF_UP, Decimal

from dusangire.errors import CurrencyNotSupported
from dusangire.money import MAX_MINOR, exponent

# Currencies that are gone are still in the archives of banks.
_WITHDRAWN = {
    "ATS": 2, "BEF": 0, "DEM": 2, "ESP": 0, "FIM": 2, "FRF": 2, "GRD": 0,
    "IEP": 2, "ITL": 0, "LUF": 0, "NLG": 2, "PTE": 0,
}  # fmt: skip
_WITH_POINT = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{0,10})?|\.[0-9]{1,10})")
_WITH_COMMA = re.compile(r"(?:[0-9]{1,18}(?:,[0-9]{0,10})?|,[0-9]{1,10})")


class WrongAmount(ValueError):
    """What stands there is no amount; the message says why."""


def decimals(currency: str) -> int:
    """Raises WrongAmount for a currency that there is not."""
    try:
        return exponent(currency)
    except CurrencyNotSupported as error:
        if currency in _WITHDRAWN:
            return _WITHDRAWN[currency]
        raise WrongAmount(f"{currency[:10]!r} is not a currency.") from error


def with_point(text: str, currency: str) -> tuple[int, bool]:
    """`1234.50` as minor units, and whether it had more decimals than the currency: then rounded.

    Raises WrongAmount: not a number (NaN, Infinity, 1e9), or more than can be stored.
    """
    if not _WITH_POINT.fullmatch(text):
        raise WrongAmount(f"{text[:40]!r} is not an amount.")
    exact = Decimal(text).scaleb(decimals(currency))
    minor = int(exact.to_integral_value(ROUND_HALF_UP))
    if minor > MAX_MINOR:
        raise WrongAmount(f"{text[:40]!r} is larger than any amount can be.")
    return minor, minor != exact


def with_comma(text: str, currency: str) -> tuple[int, bool]:
    """`1234,50`, `1234,` and, with a comma behind them, points between thousands."""
    if "," in text:
        whole, _, rest = text.partition(",")
        if "." in whole and not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{3}){1,6}", whole):
            raise WrongAmount(f"{text[:40]!r} is not an amount.")
        text = f"{whole.replace('.', '')},{rest}"
    elif "." in text:
        # Without a comma a point is a decimal one only where it cannot stand for thousands.
        if not re.fullmatch(r"[0-9]{1,18}\.[0-9]{1,2}", text) or decimals(currency) == 0:
            raise WrongAmount(f"It is unclear what the point in {text[:40]!r} means.")
        text = text.replace(".", ",")
    if not _WITH_COMMA.fullmatch(text):
        raise WrongAmount(f"{text[:40]!r} is not an amount.")
    return with_point(text.replace(",", "."), currency)
