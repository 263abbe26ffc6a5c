"""The list of promises: their groups, their words, and when one does not apply."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from inspect import getdoc
from typing import Any, Protocol, TypeVar

import pytest

from dusangire.plugins import Plugin

GROUPS = ("Money", "Endings", "The wire", "Webhooks", "Refunds", "Manners")

TestT = TypeVar("TestT", bound=Callable[..., Any])


class Need(Protocol):
    """Why a promise does not apply to a plugin, in words; None when it does."""

    def __call__(self, plugin: Plugin) -> str | None: ...


def a_network(plugin: Plugin) -> str | None:
    """it has a simulator to talk to"""
    if plugin.implements("simulator"):
        return None
    name = plugin.description.name
    if "base_url" in plugin.description.config.model_fields:
        return f"{name} has no simulator, so nobody can say what really happened"
    return f"{name} has no network to fail"


def a_status_check(plugin: Plugin) -> str | None:
    """it can be asked (`check_payment`)"""
    return _hook(plugin, "check_payment", "cannot be asked: a person confirms its payments")


def an_end_of_its_own(plugin: Plugin) -> str | None:
    """it can say how a payment ended (`check_payment` or `cancel_payment`)"""
    if plugin.implements("cancel_payment"):
        return None
    return _hook(plugin, "check_payment", "never says how a payment ended")


def webhooks(plugin: Plugin) -> str | None:
    """it hears webhooks (`read_webhook`)"""
    return _hook(plugin, "read_webhook", "sends no webhooks")


def refunds(plugin: Plugin) -> str | None:
    """it gives money back (`refund_payment`)"""
    return _hook(plugin, "refund_payment", "gives no money back by itself")


def repeatable_refunds(plugin: Plugin) -> str | None:
    """a refund sent twice is paid once (`repeatable_refunds`)"""
    if plugin.description.repeatable_refunds:
        return None
    return f"{plugin.description.name} may pay a refund twice that is sent twice, so none ever is"


def withdrawals(plugin: Plugin) -> str | None:
    """it takes a request back (`cancel_payment`)"""
    return _hook(plugin, "cancel_payment", "takes no request back")


def kept_methods(plugin: Plugin) -> str | None:
    """it charges payers who come back (`charge_token`)"""
    return _hook(plugin, "charge_token", "keeps no payment method for the next time")


def partial_refunds(plugin: Plugin) -> str | None:
    """it gives a part back (`partial_refunds`)"""
    if plugin.description.partial_refunds:
        return None
    return f"{plugin.description.name} gives back all or nothing"


def _hook(plugin: Plugin, hook: str, lacks: str) -> str | None:
    return None if plugin.implements(hook) else f"{plugin.description.name} {lacks}"


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: `test` is the name of its method."""

    test: str
    group: str
    needs: tuple[Need, ...]
    meaning: str

    @property
    def words(self) -> str:
        return self.test.removeprefix("test_").replace("_", " ")

    @property
    def condition(self) -> str:
        return " and ".join(getdoc(need) or "" for need in self.needs) or "always"

    def does_not_apply(self, plugin: Plugin) -> str | None:
        reasons = (need(plugin) for need in self.needs)
        return next((reason for reason in reasons if reason is not None), None)


def promise(group: str, *needs: Need) -> Callable[[TestT], TestT]:
    """Makes a coroutine a promise of `group`, which applies where all `needs` are met.

    `needs` alone decide, so that a table of what applies can be made without running anything:
    what skips itself on the way fails.
    """

    def decorate(test: TestT) -> TestT:
        assert group in GROUPS
        meaning = (getdoc(test) or "").split("\n\n")[0].replace("\n", " ")

        @wraps(test)
        async def keeps(*arguments: Any, **named: Any) -> None:
            try:
                await test(*arguments, **named)
            except pytest.skip.Exception as skipped:
                pytest.fail(f"It applies, and yet it was skipped: {skipped}")

        keeps.promise = Promise(test.__name__, group, needs, meaning)  # type: ignore[attr-defined]
        marked: TestT = pytest.mark.asyncio(keeps)
        return marked

    return decorate


def promises(contract: type) -> Iterator[Promise]:
    """The promises of a contract class, in order."""
    for member in vars(contract).values():
        found = getattr(member, "promise", None)
        if isinstance(found, Promise):
            yield found


def promise_table(contract: type) -> str:
    """The promises as a table in Markdown, for docs/contract.md."""
    rows = ["| Group | Promise | What it means | Asked of a plugin when |", "|---|---|---|---|"]
    rows += [
        f"| {one.group} | `{one.test}` | {one.meaning} | {one.condition} |"
        for one in promises(contract)
    ]
    return "\n".join(rows)
