"""How amounts, quantities, rates and days are written in each language."""

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from dusangire.money import Money

# Rwanda has no summer time, so no table of time zones is needed, which small systems lack.
KIGALI = timezone(timedelta(hours=2), "Africa/Kigali")

_NO_BREAK = "\u00a0"
_MINUS = "\u2212"
_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "rw": "Mutarama Gashyantare Werurwe Mata Gicurasi Kamena Nyakanga Kanama Nzeri Ukwakira "
    "Ugushyingo Ukuboza",
}


def figure(money: Money, language: str) -> str:
    """`15,000`, in French `15 000`: for a column whose currency stands above it."""
    return number(money.amount, language)


def amount(money: Money, language: str) -> str:
    """`15,000 RWF`, in French `15 000 RWF`; never broken at the end of a line."""
    return f"{figure(money, language)}{_NO_BREAK}{money.currency}"


def number(value: Decimal, language: str) -> str:
    """With the language's marks, and with the decimals it has."""
    text = f"{abs(value):,f}"
    if language == "fr":
        text = text.replace(",", _NO_BREAK).replace(".", ",")
    return f"{_MINUS}{text}" if value < 0 else text


def quantity(value: Decimal, language: str) -> str:
    """Without zeros at its end: `2`, `1.5`."""
    whole = value == value.to_integral_value()
    return number(value.quantize(Decimal(1)) if whole else value.normalize(), language)


def percent(value: Decimal, language: str) -> str:
    """`18%`, in French `18 %`."""
    return quantity(value, language) + (f"{_NO_BREAK}%" if language == "fr" else "%")


def day(value: date, language: str) -> str:
    """`23 November 2026`."""
    months = _MONTHS.get(language, _MONTHS["en"]).split()
    first = language == "fr" and value.day == 1
    return f"{value.day}{'er' * first}{_NO_BREAK}{months[value.month - 1]} {value.year}"


def day_in_kigali(moment: datetime, language: str) -> str:
    return day(moment.astimezone(KIGALI).date(), language)


def moment_in_kigali(moment: datetime, language: str) -> str:
    """`23 November 2026, 10:15`."""
    return f"{day_in_kigali(moment, language)}, {moment.astimezone(KIGALI):%H:%M}"
