"""Values on the wire: exact amounts, moments with a zone, phone numbers as people write them.

Scalars pass on what they were given, as text: whether it is a good amount or phone number is for
core to say, so that the caller gets a UserError that names the field, not a protocol error.
"""

from contextvars import ContextVar
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NewType

import strawberry
from graphql import (
    FloatValueNode,
    GraphQLError,
    IntValueNode,
    StringValueNode,
    ValueNode,
    print_ast,
    value_from_ast_untyped,
)
from strawberry.types.scalar import ScalarDefinition

from dusangire.customers import shown_phone

CurrencyCode = NewType("CurrencyCode", str)
PhoneNumber = NewType("PhoneNumber", str)
JSON = NewType("JSON", object)

# What an input holds: the text as it came, not checked yet.
DecimalText = NewType("DecimalText", str)
MomentText = NewType("MomentText", str)
DayText = NewType("DayText", str)

# Longer texts are cut: no amount, moment, phone number or currency needs more, so a cut one is
# as wrong as it was before.
_LONGEST = 200


def decimal_out(value: Decimal) -> str:
    return format(value, "f")


def moment_out(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()[:-6] + "Z"


def text_in(value: Any) -> str:
    """A JSON value as text. `5000`, `5000.5` and `"5000"` are all good ways to write an amount."""
    return (value if isinstance(value, str) else repr(value))[:_LONGEST]


def text_of_literal(node: ValueNode, _variables: dict[str, Any] | None = None) -> str:
    # The digits as they were written: a float in between would lose some.
    if isinstance(node, StringValueNode | IntValueNode | FloatValueNode):
        return node.value[:_LONGEST]
    return print_ast(node)[:_LONGEST]


def json_of_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    try:
        return value_from_ast_untyped(node, variables)
    except RecursionError:
        raise GraphQLError("This JSON value is nested too deeply.", node) from None


def _same(value: Any) -> Any:
    return value


# Whether whoever asks sees numbers as they are: people see a part of them.
_in_full: ContextVar[bool] = ContextVar("in_full", default=True)


def show_numbers(*, in_full: bool) -> None:
    """How the answers of this task show phone numbers from here on."""
    _in_full.set(in_full)


def phone_out(value: Any) -> Any:
    return value if _in_full.get() else shown_phone(value)


def _text(name: str, serialize: Any, description: str | None = None) -> ScalarDefinition:
    return strawberry.scalar(
        name=name,
        description=description,
        serialize=serialize,
        parse_value=text_in,
        parse_literal=text_of_literal,
    )


_DECIMAL = _text("Decimal", decimal_out)
_MOMENT = _text("DateTime", moment_out)
_DAY = _text("Date", date.isoformat)

SCALARS: dict[object, ScalarDefinition] = {
    Decimal: _DECIMAL,
    DecimalText: _DECIMAL,
    datetime: _MOMENT,
    MomentText: _MOMENT,
    date: _DAY,
    DayText: _DAY,
    PhoneNumber: _text(
        "PhoneNumber",
        phone_out,
        "E.164, accepts national Rwandan spellings (0788…, 250788…, +250 788 …).",
    ),
    CurrencyCode: _text("CurrencyCode", _same, "ISO 4217 alphabetic code."),
    JSON: strawberry.scalar(
        name="JSON", serialize=_same, parse_value=_same, parse_literal=json_of_literal
    ),
}
