"""Cursors: opaque marks in a list, given back to go on from there."""

import base64
from collections.abc import Iterable
from typing import Any

import orjson

from dusangire.errors import Invalid


def make_cursor(key: Iterable[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(list(key))).decode().rstrip("=")


def read_cursor(text: str, parts: int) -> list[Any]:
    """The key a cursor was made of. Raises Invalid for one that is not ours."""
    try:
        key = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError as error:
        raise Invalid("This cursor is not one of ours.", field=["after"]) from error
    if not isinstance(key, list) or len(key) != parts:
        raise Invalid("This cursor is not one of ours.", field=["after"])
    return key


def position_cursor(position: int) -> str:
    return make_cursor([position])


def read_position(text: str) -> int:
    """The position of a cursor of events. Raises Invalid."""
    [position] = read_cursor(text, 1)
    if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position < 2**63:
        raise Invalid("This cursor is not one of ours.", field=["after"])
    return position
