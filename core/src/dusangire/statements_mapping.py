"""How the columns of somebody's CSV or XLSX are to be read, as data that a person can write.

A mapping names the columns and says what their words and numbers mean. It is checked here, whether
it came with a plugin or was typed in by a person, and told in sentences what is wrong with it.
"""

import codecs
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

__all__ = ["BadMapping", "Columns", "TableMapping", "check"]

PATTERN_LIMIT = 200
_PARTS = re.compile(
    r"(?P<reference>\\[1-9]|\(\?P=)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[aiLmsux-]+\)"
    r"|(?P<open>\((?:\?P?[:=!<>]*)?)|(?P<close>\))(?P<again>[*+{])?|(?P<choice>[*+?{|])|.",
    re.DOTALL,
)
_DATE_DIRECTIVES = set("YymdbBHIMSpfzZ%")


class BadMapping(ValueError):
    """The mapping cannot be used. problems: one sentence each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _pattern(text: str) -> str:
    if _may_explode(text):
        raise ValueError(
            "must not repeat a group that has a repetition, something optional or alternatives in "
            "it, nor refer back to a group"
        )
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return text


def _may_explode(pattern: str) -> bool:
    """Whether it may take exponential time on a text made for it: a group that is repeated can be
    read in more than one way, at any depth. Stricter than need be."""
    # Of each group that is open here: whether there is a choice in it.
    choices = [False]
    for part in _PARTS.finditer(pattern):
        if part["reference"]:
            return True
        if part["open"]:
            choices.append(False)
        elif part["choice"]:
            choices[-1] = True
        elif part["close"] and len(choices) > 1:
            inside = choices.pop()
            if inside and part["again"]:
                return True
            choices[-1] |= inside or part["again"] is not None
    return False


def _date_format(text: str) -> str:
    used = re.findall(r"%(.)", text)
    if unknown := [word for word in used if word not in _DATE_DIRECTIVES]:
        raise ValueError(f"has a %{unknown[0]} that is not known here")
    if not ({"Y", "y"} & set(used) and {"m", "b", "B"} & set(used) and "d" in used):
        raise ValueError("must have a year, a month and a day, such as %d/%m/%Y")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError("is no time zone, such as Africa/Kigali") from error
    return name


def _encoding(name: str) -> str:
    if name == "auto":
        return name
    try:
        codec = codecs.lookup(name)
        "é1".encode(codec.name)
    except (LookupError, UnicodeError) as error:
        raise ValueError("is no text encoding, such as utf-8 or cp1252") from error
    return codec.name


Words: TypeAlias = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=PATTERN_LIMIT)], ...],
    BeforeValidator(_listed),
    Field(max_length=60),
]
Pattern: TypeAlias = Annotated[str, Field(max_length=PATTERN_LIMIT), AfterValidator(_pattern)]
Patterns: TypeAlias = Annotated[tuple[Pattern, ...], BeforeValidator(_listed), Field(max_length=60)]
DateFormats: TypeAlias = Annotated[
    tuple[Annotated[str, Field(max_length=40), AfterValidator(_date_format)], ...],
    BeforeValidator(_listed),
    Field(max_length=20),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Match(_Part):
    """Which files a profile is for. All that is said must hold; a profile that says nothing here
    is used only when it is asked for.

    title_contains: one of these stands above the columns or names the sheet.
    header_all: all of these are columns. header_none: none of these is.
    """

    title_contains: Words = ()
    header_all: Words = ()
    header_none: Words = ()


class Header(_Part):
    """Where the names of the columns are: in one of the first `search_rows` rows."""

    search_rows: int = Field(40, ge=1, le=200)


class Columns(_Part):
    """The name of the column each thing is in, or several names of which the first is taken.

    Of columns that have the same name `amount#2` is the second.
    """

    booking_date: Words = ()
    value_date: Words = ()
    time: Words = ()
    description: Words = ()
    reference: Words = ()
    transaction_id: Words = ()
    our_reference: Words = ()
    customer_reference: Words = ()
    end_to_end_id: Words = ()
    structured_reference: Words = ()
    settlement: Words = ()
    debit: Words = ()
    credit: Words = ()
    amount: Words = ()
    dc_flag: Words = ()
    balance: Words = ()
    gross: Words = ()
    fee: Words = ()
    net: Words = ()
    currency: Words = ()
    status: Words = ()
    type: Words = ()
    payer: Words = ()
    payer_account: Words = ()


class Numbers(_Part):
    """How amounts are written. `auto`: decided from all amounts of the file together.

    excess_decimals: what becomes of more decimals than the currency has: `reject` the line, or
        `round` it, half up, and say so.
    """

    thousands: Literal["auto", ",", ".", " ", "'", ""] = "auto"
    decimal: Literal["auto", ",", "."] = "auto"
    parentheses_negative: bool = True
    trailing_sign: bool = True
    excess_decimals: Literal["reject", "round"] = "reject"

    @model_validator(mode="after")
    def _two_signs(self) -> Self:
        if (self.thousands == "auto") != (self.decimal == "auto"):
            raise ValueError("say both thousands and decimal, or neither")
        if self.thousands == self.decimal != "auto":
            raise ValueError("thousands and decimal cannot be the same sign")
        return self


class Flag(_Part):
    """The words in `dc_flag` for money in and money out."""

    credit: Words = ("cr", "c", "credit", "in", "+", "h", "haben")
    debit: Words = ("dr", "d", "debit", "out", "-", "s", "soll")


class Currency(_Part):
    """default: what amounts are in when the file does not say; otherwise the account's."""

    default: str | None = Field(None, pattern="^[A-Z]{3}$")


class Metadata(_Part):
    """The labels beside or before which a file tells of itself, outside of its columns."""

    opening_balance: Words = ()
    closing_balance: Words = ()
    available_balance: Words = ()
    account: Words = ()
    currency: Words = ()
    number: Words = ()
    period: Words = ()
    period_from: Words = ()
    period_to: Words = ()
    total_credits: Words = ()
    total_debits: Words = ()


class Footer(_Part):
    """stop_matching: of rows after which no row without a date and an amount is looked at."""

    stop_matching: Patterns = ()


class FeeRows(_Part):
    """Which debits are the bank's own fees.

    narration_regex: what they say. same_reference_as_parent: they also have the reference of the
        row before or after them.
    """

    same_reference_as_parent: bool = True
    narration_regex: Pattern = r"(?i)\b(charges?|fees?|commission|vat|levy|frais)\b"


class Statuses(_Part):
    """The words in `status`. One that is in none of the lists is pending."""

    success: Words = (
        "success", "successful", "succeeded", "completed", "complete", "settled", "posted",
        "booked", "paid", "ok", "ts", "approved",
    )  # fmt: skip
    pending: Words = ("pending", "processing", "in progress", "initiated", "tip", "created")
    failed: Words = (
        "failed", "failure", "declined", "rejected", "cancelled", "canceled", "error", "tf",
        "expired", "not delivered", "returned to sender",
    )  # fmt: skip


class Types(_Part):
    """The words in `type`. One that is in none of the lists means that the file does not say."""

    payment: Words = ("payment", "merchant payment", "collection", "debit request", "charge")
    refund: Words = ("refund", "refunded", "merchant refund")
    fee: Words = ("fee", "fees", "charges", "commission")
    payout: Words = (
        "payout", "settlement", "withdrawal", "cash out", "transfer to bank", "disbursement",
        "bank transfer",
    )  # fmt: skip
    chargeback: Words = ("chargeback", "dispute")
    reversal: Words = ("reversal", "reversed")


class TableMapping(_Part):
    """The whole of it. Every part has a default; without any `columns` they are found by name.

    sheet: of a workbook, its number from 0 or its name.
    sign: `columns`: debit and credit have a column each. `signed`: the amount has a sign.
        `flag`: `dc_flag` says it. `type`: `type` says it: only payments bring money in.
    debit_sign: `any`: a sign in the debit column means nothing. `negative`: debits are written
        with a minus, and one without it gives money back. `positive`: the reverse.
    amount_is: `moved`: the amount is what the balance moved by. `gross`: what the payer paid;
        the fee beside it was kept of it.
    skip_rows_matching: rows that are no entries. One with a date and an amount is never skipped.
    """

    match: Match = Match()
    encoding: Annotated[str, AfterValidator(_encoding)] = "auto"
    delimiter: Literal["auto", ",", ";", "\t", "|"] = "auto"
    sheet: int | str | None = None
    header: Header = Header()
    columns: Columns = Columns()
    dates: DateFormats = ()
    numbers: Numbers = Numbers()
    sign: Literal["auto", "columns", "signed", "flag", "type"] = "auto"
    flag: Flag = Flag()
    debit_sign: Literal["any", "negative", "positive"] = "any"
    amount_is: Literal["moved", "gross"] = "moved"
    currency: Currency = Currency()
    metadata: Metadata = Metadata()
    skip_rows_matching: Patterns = (r"^(opening|closing)\b", r"^balance\b", r"^(sub)?\s?totals?\b")
    footer: Footer = Footer()
    fee_rows: FeeRows | None = None
    statuses: Statuses = Statuses()
    types: Types = Types()
    timezone: Annotated[str, AfterValidator(_zone)] | None = None


def check(mapping: Mapping[str, object]) -> TableMapping:
    """The mapping, ready to be used. Raises BadMapping."""
    try:
        return TableMapping.model_validate(dict(mapping))
    except ValidationError as error:
        raise BadMapping(tuple(_sentence(problem) for problem in error.errors()[:10])) from error


def _sentence(problem: Mapping[str, object]) -> str:
    """What pydantic found, as a person says it."""
    where = problem["loc"]
    assert isinstance(where, tuple)
    path = ".".join(str(part) for part in where) or "The mapping"
    if problem["type"] == "extra_forbidden":
        return f"{path} is not known here; see the guide for the names there are."
    text = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{path}: {text}."
