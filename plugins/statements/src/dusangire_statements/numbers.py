"""An amount as somebody wrote it: `1,234`, `1.234,56`, `(RWF 5 000)`, `12.50 CR`, `300-`.

Nothing is guessed from one amount: which sign groups thousands is the profile's, or decided from
all amounts of a file together.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Literal

from dusangire.money import MAX_MINOR, exponent

__all__ = ["BadNumber", "Number", "NumberStyle", "decide", "minor_units", "parse"]

# A text longer than this is no amount; it also keeps the work on hostile ones small.
LENGTH_LIMIT = 60
_SPACES = dict.fromkeys(map(ord, "\u00a0\u202f\u2007\u2009\u2002\u2003\u2008\u200a\u3000\t"), " ")
_SIGNS = {**_SPACES, ord("\u2212"): "-", ord("\u2013"): "-", ord("\u2019"): "'", ord("\u02bc"): "'"}
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff\u202a\u202c"))
_PREFIX = re.compile(r"^[-+(]?\s*([A-Z]{3}|FRW|RF|[$€£])(?=\s|:|\.\s|[-+(\d])", re.IGNORECASE)
_SUFFIX = re.compile(r"(?<=[\d.,)+\s-])([A-Z]{3}|FRW|RF|[$€£])\.?\)?$", re.IGNORECASE)
_MARK = re.compile(r"(?<=[\d.,)+-])\s*(CR|DR|C|D)\.?$", re.IGNORECASE)
_TRAILING = re.compile(r"(?<=[\d., ])([-+])$")
_SCIENTIFIC = re.compile(r"^[-+]?\d+(?:[.,]\d+)?e[-+]?\d+$", re.IGNORECASE)
_SYMBOLS = {"FRW": "RWF", "RF": "RWF", "$": "USD", "€": "EUR", "£": "GBP"}
_EXACT = Context(prec=LENGTH_LIMIT + 10)
_EXCEL_DIGITS = 15


class BadNumber(ValueError):
    """No amount, or not one that can be read without guessing. The text says why."""


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How thousands are grouped and where decimals begin. Spaces and apostrophes always group."""

    thousands: str = ","
    decimal: str = "."
    parentheses_negative: bool = True
    trailing_sign: bool = True


@dataclass(frozen=True, slots=True)
class Number:
    """A value, the CR or DR behind it as `mark` (C or D), and the currency beside it."""

    value: Decimal
    mark: Literal["C", "D"] | None = None
    currency: str | None = None


def parse(text: str, style: NumberStyle) -> Number | None:
    """The number; None for an empty text or a dash alone. Raises BadNumber."""
    if len(text) > LENGTH_LIMIT:
        raise BadNumber("is too long for an amount")
    bare, negative, mark, currency = _stripped(text, style)
    if not bare:
        if any(sign.isalnum() for sign in text):
            raise BadNumber(f"{text!r} is no amount")
        return None
    value = _unsigned(bare, text, style)
    return Number(-value if negative and value else value, mark, currency)


def number_of(value: float) -> Decimal:
    """The number that a spreadsheet shows: its floats have 15 digits. Raises BadNumber."""
    number = Decimal(format(value, f".{_EXCEL_DIGITS}g"))
    if not number.is_finite():
        raise BadNumber("is no number")
    return number


def minor_units(
    value: Decimal, currency: str, excess: Literal["reject", "round"] = "reject"
) -> tuple[int, bool]:
    """The value in minor units, and whether it had to be rounded. Raises BadNumber."""
    digits = exponent(currency)
    if abs(value) > MAX_MINOR:
        raise BadNumber("is larger than any amount can be")
    scaled = value.scaleb(digits, context=_EXACT)
    whole = scaled.quantize(Decimal(1), rounding=ROUND_HALF_UP, context=_EXACT)
    if whole != scaled and excess == "reject":
        decimals = "no decimals" if digits == 0 else f"at most {digits} decimals"
        raise BadNumber(f"has more decimals than {currency} has: {currency} has {decimals}")
    if abs(whole) > MAX_MINOR:
        raise BadNumber("is larger than any amount can be")
    return int(whole), whole != scaled


def decide(texts: Iterable[str], currency: str) -> NumberStyle | None:
    """Which signs a whole column uses; None: its amounts contradict each other.

    A sign before anything but three digits begins decimals, and so does one that comes once,
    behind another. A sign that comes twice groups thousands. Three digits behind a single sign
    are thousands, as no currency but a few has three decimals; in those few it is not decided.
    """
    decimals: set[str] = set()
    groups: set[str] = set()
    unsure: set[str] = set()
    for text in texts:
        _evidence(text, decimals, groups, unsure)
        if len(decimals) > 1 or decimals & groups:
            return None
    if not decimals and unsure - groups and exponent(currency) == 3:
        return None
    if decimals & unsure and exponent(currency) != 3:
        return None
    decimal = next(iter(decimals), None)
    if decimal is None:
        decimal = "." if "," in groups | unsure or not groups | unsure else ","
        if {",", "."} <= groups | unsure:
            return None
    return NumberStyle(thousands="," if decimal == "." else ".", decimal=decimal)


def _evidence(text: str, decimals: set[str], groups: set[str], unsure: set[str]) -> None:
    if len(text) > LENGTH_LIMIT:
        return
    signs = re.findall(r"[.,]", text)
    if not signs or not re.search(r"\d", text):
        return
    bare = re.sub(r"[^\d.,]", "", text)
    last, behind = signs[-1], len(re.split(r"[.,]", bare)[-1])
    if len(set(signs)) == 2:
        groups.add(next(sign for sign in signs if sign != last))
        (decimals if signs.count(last) == 1 else groups).add(last)
    elif len(signs) > 1:
        groups.add(last)
    elif behind == 3 and not bare.startswith(last):
        unsure.add(last)
    else:
        decimals.add(last)


def _stripped(
    text: str, style: NumberStyle
) -> tuple[str, bool, Literal["C", "D"] | None, str | None]:
    """What is left without signs, whether they say negative, the CR or DR, and the currency."""
    bare = text.translate(_INVISIBLE).translate(_SIGNS).strip()
    mark: Literal["C", "D"] | None = None
    if found := _MARK.search(bare):
        mark = "C" if found[1].upper().startswith("C") else "D"
        bare = bare[: found.start()]
    currency = None
    if found := _PREFIX.search(bare) or _SUFFIX.search(bare):
        word = found[1].upper()
        currency = _SYMBOLS.get(word, word)
        behind = bare[found.end(1) :]
        # `RWF. 50` and `RWF: 50` lose their sign, `RWF .50` keeps its decimals.
        behind = behind[1:] if behind.startswith((": ", ". ", ":")) else behind
        bare = (bare[: found.start(1)] + behind.lstrip()).strip()
    negatives = 0
    if style.parentheses_negative and bare.startswith("(") and bare.endswith(")"):
        bare, negatives = bare[1:-1].strip(), 1
    bare, minus = _leading_sign(bare)
    negatives += minus
    if style.trailing_sign and (found := _TRAILING.search(bare)):
        negatives += found[1] == "-"
        bare = bare[: found.start()].rstrip()
    if negatives > 1 or (negatives and mark):
        raise BadNumber(f"{text!r} has more than one sign")
    return bare, bool(negatives), mark, currency


def _leading_sign(text: str) -> tuple[str, bool]:
    if len(text) > 1 and text[0] in "+-":
        return text[1:].lstrip(), text[0] == "-"
    return ("", False) if text == "-" else (text, False)


def _unsigned(bare: str, text: str, style: NumberStyle) -> Decimal:
    if _SCIENTIFIC.match(bare):
        raise BadNumber(f"{text!r} has lost its digits; format the column as a number or as text")
    group = "[ '" + (re.escape(style.thousands) if style.thousands not in {" ", "'"} else "") + "]"
    point = re.escape(style.decimal)
    shape = rf"(?:[0-9]{{1,3}}(?:({group})[0-9]{{3}}(?:\1[0-9]{{3}})*)|[0-9]*)(?:{point}[0-9]*)?"
    found = re.fullmatch(shape, bare)
    if not found or not re.search("[0-9]", bare):
        raise BadNumber(f"{text!r} is no amount with {_described(style)}")
    digits = re.sub(group, "", bare).replace(style.decimal, ".")
    return Decimal(digits.rstrip(".") or "0")


def _described(style: NumberStyle) -> str:
    grouped = f"thousands as {style.thousands!r} and " if style.thousands else ""
    return f"{grouped}decimals after {style.decimal!r}"
