"""Formats of statements come from any plugin; a broken one takes no other with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dusangire import hookimpl
from dusangire.plugins import Plugins
from dusangire.statements import MappingProfile, ReadOptions, Record, StatementFormat


def read(file: Path, options: ReadOptions) -> Iterator[Record]:
    return iter(())


def a_format(name: str, title: str = "") -> StatementFormat:
    return StatementFormat(name=name, title=title, recognises=lambda head: False, read=read)


def a_profile(code: str, name: str = "") -> MappingProfile:
    return MappingProfile(code=code, name=name, mapping={})


def giving(answer: Callable[[], object]) -> object:
    """A plugin whose hook gives this."""

    @hookimpl
    def statement_formats() -> object:
        return answer()

    return type("Module", (SimpleNamespace,), {"__hash__": object.__hash__})(
        statement_formats=statement_formats
    )


def leave() -> object:
    raise SystemExit(3)


def divide() -> object:
    return 1 // 0


def halfway() -> Iterator[StatementFormat]:
    yield a_format("half")
    raise RuntimeError("no licence")


def test_formats_and_profiles_of_all_plugins_are_there_by_name() -> None:
    modules = {
        "a": giving(lambda: [a_format("one"), a_profile("bank")]),
        "b": giving(lambda: (a_format("two"), a_profile("wallet"))),
        "c": giving(lambda: None),
        "d": giving(list),
    }

    plugins = Plugins.load(modules, installed=[])

    known = plugins.statement_formats()
    assert sorted(known.formats) == ["one", "two"]
    assert sorted(known.profiles) == ["bank", "wallet"]
    assert plugins.broken == {}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (divide, "ZeroDivisionError"),
        (leave, "SystemExit"),
        (halfway, "no licence"),
        (lambda: "mt940", "it gave str"),
        (lambda: 7, "TypeError"),
        (lambda: [a_format("x"), 7], "it gave int"),
        (lambda: [a_format("")], "without a name"),
        (lambda: [a_format(7)], "without a name"),  # type: ignore[arg-type]
    ],
)
def test_a_plugin_that_fails_to_say_its_formats_is_reported_and_left_out(
    answer: Callable[[], object], says: str
) -> None:
    plugins = Plugins.load(
        {"bad": giving(answer), "good": giving(lambda: [a_format("one")])}, installed=[]
    )

    assert list(plugins.statement_formats().formats) == ["one"]
    assert list(plugins.broken) == ["bad"]
    assert says in plugins.broken["bad"]


def test_of_two_formats_with_one_name_the_first_stays_and_the_other_is_reported() -> None:
    modules = {
        "b": giving(lambda: [a_format("x", "second"), a_format("y"), a_profile("p", "second")]),
        "a": giving(lambda: [a_format("x", "first"), a_profile("p", "first")]),
    }

    plugins = Plugins.load(modules, installed=[])

    known = plugins.statement_formats()
    assert known.formats["x"].title == "first"
    assert known.profiles["p"].name == "first"
    assert "y" in known.formats
    assert list(plugins.broken) == ["b"]


def test_a_plugin_that_comes_later_brings_its_formats() -> None:
    plugins = Plugins.load({}, installed=[])

    plugins.register("late", giving(lambda: [a_format("late")]), "1")

    assert list(plugins.statement_formats().formats) == ["late"]


def test_the_standard_formats_are_installed() -> None:
    assert {"mt940", "camt", "ofx"} <= set(Plugins.load().statement_formats().formats)


def test_only_modules_that_give_a_format_are_imported_to_read_a_file() -> None:
    known = Plugins.load().statement_formats()

    # A gateway's profile is data, and its code, with all that it imports, stays out of there.
    assert "flutterwave_transactions" in known.profiles
    assert list(known.modules) == ["dusangire_statements.plugin"]
