"""Scalars pass on what callers wrote, exactly, and never fail for it."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from graphql import parse_value

from dusangire.errors import CallerError, Invalid
from dusangire_schema.inputs import decimal, id_of, json_value, moment
from dusangire_schema.scalars import decimal_out, moment_out, text_in, text_of_literal


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("5000", "5000"),
        ('"5000.10"', "5000.10"),
        ("12345678901234567.89", "12345678901234567.89"),
        ("1e3", "1e3"),
        ('"nonsense"', "nonsense"),
        ("true", "true"),
        ("[1]", "[1]"),
        ("{a: 1}", "{ a: 1 }"),
    ],
)
def test_a_literal_keeps_its_digits(literal: str, text: str) -> None:
    assert text_of_literal(parse_value(literal)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("5000", "5000"), (5000, "5000"), (0.1, "0.1"), (True, "True"), ([1], "[1]"), ({}, "{}")],
)
def test_a_json_value_becomes_text_whatever_it_is(value: Any, text: str) -> None:
    assert text_in(value) == text


def test_an_endless_text_is_cut() -> None:
    assert len(text_in("9" * 100_000)) == 200


@pytest.mark.parametrize(
    ("amount", "text"),
    [(Decimal(5000), "5000"), (Decimal("0.10"), "0.10"), (Decimal("1E+9"), "1000000000")],
)
def test_an_amount_is_written_out_exactly(amount: Decimal, text: str) -> None:
    assert decimal_out(amount) == text


def test_a_moment_is_written_in_utc() -> None:
    kigali = timezone(timedelta(hours=2))

    written = moment_out(datetime(2026, 11, 23, 14, 30, tzinfo=kigali))

    assert written == "2026-11-23T12:30:00Z"


def test_a_moment_is_read_with_its_offset() -> None:
    assert moment("2026-11-23T14:30:00+02:00", "expiresAt") == datetime(
        2026, 11, 23, 12, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("text", ["2026-11-23T14:30:00", "2026-11-23", "soon", "", "1", "9" * 200])
def test_a_moment_without_an_offset_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(Invalid) as raised:
        moment(text, "expiresAt")

    assert raised.value.field == ("expiresAt",)


@pytest.mark.parametrize("text", ["", "x", "1,5", "--1"])
def test_a_filter_amount_that_is_no_number_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(CallerError) as raised:
        decimal(text, "filter", "amountMin")

    assert raised.value.field == ("filter", "amountMin")


@pytest.mark.parametrize("text", ["", "1", "PAY-7K3M9Q2X", "\x00", "é" * 40, None])
def test_text_that_cannot_be_an_id_is_unknown_not_an_error(text: str | None) -> None:
    assert id_of(text) is None


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [_deep(300), {"a": 2**70}, {"a": "\x00"}, "\x00"])
def test_json_that_cannot_be_kept_is_refused_with_its_field(value: Any) -> None:
    with pytest.raises(Invalid) as raised:
        json_value(value, "metadata")

    assert raised.value.field == ("metadata",)
