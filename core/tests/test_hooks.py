"""Every hook is in docs/hooks.md, with its exact arguments, an example and a test."""

import inspect
import re
from pathlib import Path

import pluggy
import pytest

from dusangire import PROJECT, hookspecs

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "hooks.md"
EXAMPLES = HERE / "test_hook_examples.py"


def _hooks() -> dict[str, list[str]]:
    """The hooks that pluggy knows, with their arguments, in the order of hookspecs.py."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return {
        name: list(inspect.signature(specification).parameters)
        for name, specification in vars(hookspecs).items()
        if inspect.isfunction(specification) and hasattr(manager.hook, name)
    }


def _sections() -> dict[str, tuple[list[str], str]]:
    """What the docs say of each hook: the arguments in the heading, and the text below it."""
    found = re.findall(r"^## (\w+)\((.*?)\)\n(.*?)(?=^## |\Z)", DOCS.read_text(), re.M | re.S)
    return {name: (_words(arguments), text) for name, arguments, text in found}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


HOOKS = _hooks()


def test_there_are_hooks() -> None:
    assert "initiate_payment" in HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_with_its_exact_arguments(hook: str) -> None:
    sections = _sections()

    assert hook in sections, f"docs/hooks.md has no section about {hook}."
    assert sections[hook][0] == HOOKS[hook]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_argument_is_explained_and_an_example_uses_the_hook(hook: str) -> None:
    _, text = _sections()[hook]

    explained = [_words(line.replace("`", "")) for line in re.findall(r"^- (`.*?):", text, re.M)]
    assert [name for names in explained for name in names] == HOOKS[hook]
    assert re.search(rf"^@hookimpl\n(async )?def {hook}\(", text, re.M)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_section_says_what_the_hook_is_for_and_what_it_must_not_do(hook: str) -> None:
    _, text = _sections()[hook]

    assert text.lstrip()[:1].isupper()
    assert "**Must not**" in text
    assert "**Gives**" in text or "| Outcome | Means here" in text


@pytest.mark.parametrize("hook", [h for h in HOOKS if "_payment" in h or "_refund" in h])
def test_each_outcome_is_explained_where_there_are_outcomes(hook: str) -> None:
    _, text = _sections()[hook]

    rows = " ".join(re.findall(r"^\| (`.*?) \|", text, re.M))
    assert set(re.findall(r"\b(Accepted|Succeeded|Failed|NotSent|Unknown)\b", rows)) == {
        "Accepted", "Succeeded", "Failed", "NotSent", "Unknown",
    }  # fmt: skip


def test_every_documented_hook_exists() -> None:
    in_the_table = re.findall(r"^\| \[(\w+)\]\(#", DOCS.read_text(), re.M)

    assert list(_sections()) == list(HOOKS)
    assert in_the_table == list(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook: str) -> None:
    assert re.search(rf"^(async )?def test_hook_{hook}_\w+\(", EXAMPLES.read_text(), re.M)


def test_every_hook_has_a_docstring() -> None:
    assert [hook for hook in HOOKS if not getattr(hookspecs, hook).__doc__] == []
