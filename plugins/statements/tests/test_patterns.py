"""No pattern here can be made slow by a file: a hostile line costs what its length costs."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import dusangire_statements

# Cells of a table and lines longer than this many characters never reach these patterns: 60, and
# 120 for the library's, which reads MT940 a second time.
SHORT = {"dates._TIME", "mt940._SECOND_READER"}
REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)


def _patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    for module in pkgutil.iter_modules(dusangire_statements.__path__):
        found = vars(importlib.import_module(f"dusangire_statements.{module.name}"))
        for name, value in found.items():
            if isinstance(value, re.Pattern) and f"{module.name}.{name}" not in SHORT:
                yield f"{module.name}.{name}", value


def slow(pattern: str, flags: int = 0) -> bool:
    """Whether one repetition without end is in another, or follows it with nothing between."""
    return _slow(_parser.parse(pattern, flags), inside=False)


def _slow(tree: Any, *, inside: bool) -> bool:
    follows = False
    for operation, argument in tree:
        endless = operation in REPEATS and argument[1] >= _constants.MAXREPEAT
        if endless and (inside or follows):
            return True
        if any(_slow(part, inside=inside or endless) for part in _parts(argument)):
            return True
        one = _parser.SubPattern(tree.state, [(operation, argument)])
        follows = endless or (follows and one.getwidth()[0] == 0 and operation in REPEATS)
    return False


def _parts(argument: Any) -> Iterator[Any]:
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for one in argument:
            yield from _parts(one)


@pytest.mark.parametrize(
    ("name", "pattern"), [pytest.param(*one, id=one[0]) for one in _patterns()]
)
def test_a_pattern_repeats_nothing_without_end_twice(name: str, pattern: re.Pattern[str]) -> None:
    assert not slow(pattern.pattern, pattern.flags), name


@pytest.mark.parametrize(
    ("pattern", "is_slow"),
    [
        ("(a+)+b", True),
        ("(?:a|b*)*c", True),
        ("[0-9]*,?[0-9]*$", True),
        ("[0-9]*[0-9]*$", True),
        ("[0-9]{0,40}(?:,[0-9]{0,20})?$", False),
        ("[0-9]+,[0-9]+", False),
        ("a*", False),
    ],
)
def test_a_slow_pattern_is_told_from_a_quick_one(pattern: str, is_slow: bool) -> None:
    assert slow(pattern) is is_slow
