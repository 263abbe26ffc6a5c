"""A broken plugin is left out and the rest works; control plugins wrap every gateway."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import pytest

from dusangire import hookimpl
from dusangire.errors import CannotStart, GatewayNotFound, WebhookRejected
from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    Gateway,
    GatewayConfig,
    GatewayDescription,
    Heard,
    NotSent,
    Outcome,
    Refund,
    Succeeded,
    TestReport,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.money import Money
from dusangire.plugins import Capability, Plugin, Plugins
from dusangire.testing import FakeGateway, payer
from dusangire.testing.stand import Stand, load

Call: TypeAlias = Coroutine[Any, Any, Outcome]

PRICE = Money(5_000, "RWF")
PAYER = payer(phone="+250780000000")
WEBHOOK = WebhookRequest(method="POST", headers={}, body=b"{}")
START = """
from dusangire import hookimpl
from dusangire.gateway import *

@hookimpl
def describe_gateway():
    return GatewayDescription(name="Pay", config=GatewayConfig)
"""
BROKEN = {
    "raises on import": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "leaves on import": ("raise SystemExit(3)", "SystemExit: 3"),
    "has a syntax error": ("def", "SyntaxError"),
    "needs what is not there": ("import no_such_library", "ModuleNotFoundError"),
    "misspells a hook": (
        START + "@hookimpl\nasync def initate_payment(gateway, attempt): ...",
        "initate_payment",
    ),
    "asks for another argument": (
        START + "@hookimpl\nasync def check_payment(gateway, payment): ...",
        "payment",
    ),
    "describes itself as nonsense": (
        START.replace("GatewayDescription(name=", "dict(name="),
        "describe_gateway answered dict",
    ),
    "raises when asked to describe itself": (
        START.replace("return ", "raise KeyError('name')\n    return "),
        "KeyError: 'name'",
    ),
    "leaves when asked to describe itself": (
        START.replace("return ", "raise SystemExit('bye')\n    return "),
        "SystemExit: bye",
    ),
    "has no config": (START.replace("config=GatewayConfig", "config=None"), "AttributeError"),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., EntryPoint]]:
    """Puts a module on the path, and gives its entry point."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, source: str) -> EntryPoint:
        (tmp_path / f"dusangire_{name}.py").write_text(source)
        return EntryPoint(name=name, value=f"dusangire_{name}", group="dusangire")

    yield install
    for name in set(sys.modules) - known:
        if name.startswith("dusangire_"):
            del sys.modules[name]


@asynccontextmanager
async def at(plugin: Plugin) -> AsyncIterator[Stand]:
    async with Stand.open(plugin, simulated=False) as stand:
        yield stand


async def initiate(plugin: Plugin) -> Outcome:
    async with at(plugin) as stand:
        return await stand.case(PAYER, PRICE).initiate()


# ── what is broken is left out ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("source", "says"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_plugin_is_reported_and_the_rest_works(
    install: Callable[..., EntryPoint], source: str, says: str
) -> None:
    bad, good = install("bad", source), install("good", START)

    plugins = Plugins.load({"fake": FakeGateway()}, installed=[bad, good])

    assert sorted(plugins.gateways) == ["fake", "good"]
    assert list(plugins.broken) == ["bad"]
    assert says in plugins.broken["bad"]
    assert isinstance(await initiate(plugins["fake"]), Accepted)


@pytest.mark.parametrize(("source", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_nothing_of_a_broken_plugin_stays(
    install: Callable[..., EntryPoint], source: str, says: str
) -> None:
    plugins = Plugins.load(installed=[install("bad", source)])

    assert plugins.manager.get_plugins() == set()


async def test_an_object_that_breaks_sets_of_plugins_is_left_out() -> None:
    class Odd(FakeGateway):
        __hash__ = None  # type: ignore[assignment]

    plugins = Plugins.load({"fake": FakeGateway()}, installed=())

    with pytest.raises(TypeError, match="unhashable"):
        plugins.register("odd", Odd(), "1")
    assert isinstance(await initiate(plugins["fake"]), Accepted)


def test_a_plugin_can_stop_the_start_instead_of_being_left_out(
    install: Callable[..., EntryPoint],
) -> None:
    source = "from dusangire.errors import CannotStart\nraise CannotStart('SHOP_LIMIT is odd.')"

    with pytest.raises(CannotStart, match=r"SHOP_LIMIT is odd\."):
        Plugins.load(installed=[install("ceilings", source), install("good", START)])


def test_two_plugins_of_one_name_are_not_mixed_up(install: Callable[..., EntryPoint]) -> None:
    first, second = install("pay", START), replace_name(install("other", START), "pay")

    plugins = Plugins.load(installed=[first, second])

    assert module_name(plugins["pay"].module) == "dusangire_pay"
    assert "another plugin 'pay'" in plugins.broken["pay"]


def test_a_plugin_that_is_not_there_is_asked_for_with_those_that_are() -> None:
    plugins = Plugins.load({"fake": FakeGateway()}, installed=())

    with pytest.raises(GatewayNotFound, match=r"no plugin 'mtn' installed\. Installed: fake"):
        plugins["mtn"]


def test_a_module_without_a_description_is_no_gateway(install: Callable[..., EntryPoint]) -> None:
    plugins = Plugins.load(installed=[install("quiet", "from dusangire import hookimpl")])

    assert (plugins.gateways, plugins.broken) == ({}, {})


# ── what it can do is what it implements ─────────────────────────────────────────────────────────


HOOKS = {
    "initiate_payment": set(),
    "check_payment": {Capability.STATUS_CHECK},
    "cancel_payment": {Capability.CANCEL},
    "refund_payment": {Capability.REFUND, Capability.PARTIAL_REFUND},
    "read_webhook": {Capability.CALLBACK},
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_capability_is_there_because_its_hook_is(
    install: Callable[..., EntryPoint], hook: str
) -> None:
    takes = "refund" if "refund" in hook else "request" if "webhook" in hook else "attempt"
    source = f"{START}\n@hookimpl\ndef {hook}(gateway, {takes}): ..."

    plugin = Plugins.load(installed=[install("pay", source)])["pay"]

    by_hand = {Capability.MANUAL_CONFIRMATION} if hook != "check_payment" else set()
    assert plugin.capabilities == HOOKS[hook] | by_hand


def test_a_function_without_the_mark_is_no_hook(install: Callable[..., EntryPoint]) -> None:
    source = f"{START}\nasync def check_payment(gateway, attempt): ..."

    plugin = Plugins.load(installed=[install("pay", source)])["pay"]

    assert plugin.capabilities == {Capability.MANUAL_CONFIRMATION}


def test_a_provider_that_refunds_only_whole_payments_says_so() -> None:
    fake = FakeGateway()
    whole = replace(fake.describe_gateway(), partial_refunds=False)

    plugin = replace(load(fake), description=whole)

    assert Capability.REFUND in plugin.capabilities
    assert Capability.PARTIAL_REFUND not in plugin.capabilities


def test_a_control_plugin_gives_no_gateway_a_capability() -> None:
    plugins = Plugins.load({"cash": Doing(None), "watch": Watch()}, installed=())

    assert plugins["cash"].capabilities == {
        Capability.MANUAL_CONFIRMATION, Capability.CALLBACK, Capability.CANCEL,
        Capability.REFUND, Capability.PARTIAL_REFUND,
    }  # fmt: skip
    assert list(plugins.gateways) == ["cash"]


# ── whatever a hook does, there is an outcome ────────────────────────────────────────────────────


class Doing:
    """A gateway whose hooks all do the same: give a value, raise it, or wait for ever."""

    def __init__(self, step: object) -> None:
        self.step = step

    async def play(self) -> Any:
        if self.step == "hang":
            await asyncio.sleep(60)
        if isinstance(self.step, BaseException):
            raise self.step
        return self.step

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(name="Doing", config=GatewayConfig, call_timeout=0.02)

    @hookimpl
    async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        outcome: Outcome = await self.play()
        return outcome

    @hookimpl
    async def cancel_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        outcome: Outcome = await self.play()
        return outcome

    @hookimpl
    async def check_payer(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome | None:
        outcome: Outcome | None = await self.play()
        return outcome

    @hookimpl
    async def refund_payment(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        outcome: Outcome = await self.play()
        return outcome

    @hookimpl
    async def check_refund(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        outcome: Outcome = await self.play()
        return outcome

    @hookimpl
    async def test_gateway(self, gateway: Gateway[Any]) -> TestReport:
        report: TestReport = await self.play()
        return report

    @hookimpl
    def read_webhook(self, gateway: Gateway[Any], request: WebhookRequest) -> Heard:
        if isinstance(self.step, BaseException):
            raise self.step
        heard: Any = self.step
        return heard  # type: ignore[no-any-return]


DOES = ["hang", RuntimeError("a bug"), SystemExit(1), asyncio.CancelledError(), "nonsense", {}]


# tests/test_attempts.py asks the same of payments, down to their rows.
@pytest.mark.parametrize("step", DOES, ids=repr)
async def test_whatever_a_refund_hook_does_the_refund_is_unknown(step: object) -> None:
    async with at(load(Doing(step))) as stand:
        refund = stand.refund(stand.case({}, PRICE), 1_000)

        sent = await stand.plugin.refund_payment(stand.gateway, refund)
        asked = await stand.plugin.check_refund(stand.gateway, refund)

    assert isinstance(sent, Unknown)
    assert isinstance(asked, Unknown)


@pytest.mark.parametrize("step", [*DOES, None, Accepted(), Unknown(cause="?")], ids=repr)
async def test_in_doubt_a_payer_may_go_on(step: object) -> None:
    async with at(load(Doing(step))) as stand:
        attempt = stand.case({}, PRICE).attempt

        assert await stand.plugin.check_payer(stand.gateway, attempt) is None


@pytest.mark.parametrize(
    "step",
    [
        "hang",
        RuntimeError("a bug"),
        SystemExit(1),
        asyncio.CancelledError(),
        "nonsense",
        None,
    ],
    ids=repr,
)
async def test_whatever_a_test_does_there_is_a_report(step: object) -> None:
    async with at(load(Doing(step))) as stand:
        try:
            report = await stand.plugin.test_gateway(stand.gateway)
        except BaseException as error:
            pytest.fail(f"{error!r} came out")

    assert not report.ok
    assert report.message.startswith("The plugin ")


async def test_a_gateway_without_a_test_has_nothing_to_test() -> None:
    async with at(load(FakeGateway())) as stand:
        report = await stand.plugin.test_gateway(stand.gateway)

    assert report == TestReport(ok=True, message="Fake Pay has nothing to test.")


async def test_a_hook_that_is_not_there_is_unknown() -> None:
    async with at(load(Doing(None))) as stand:
        outcome = await stand.plugin.check_payment(stand.gateway, stand.case({}, PRICE).attempt)

    assert isinstance(outcome, Unknown)


async def test_a_caller_who_goes_away_ends_the_call() -> None:
    async with at(load(Doing("hang"))) as stand:
        task = asyncio.create_task(stand.case({}, PRICE).initiate())
        await asyncio.sleep(0)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────


PAID = Succeeded(amount=PRICE, reference="7a1f")


@pytest.mark.parametrize(
    ("trust", "outcome"),
    [(Trust.SIGNED, PAID), (Trust.SHARED_SECRET, None), (Trust.UNSIGNED, None)],
)
async def test_only_a_signed_webhook_carries_an_outcome(
    trust: Trust, outcome: Outcome | None
) -> None:
    heard = Heard(reference="7a1f", trust=trust, dedupe_key="7a1f PAID", outcome=PAID)
    async with at(load(Doing(heard))) as stand:
        read = stand.plugin.read_webhook(stand.gateway, WEBHOOK)

    assert read == replace(heard, outcome=outcome)
    dropped = ["outcome of a webhook that is not signed was dropped"] if outcome is None else []
    assert [one["event"] for one in stand.logged] == dropped


@pytest.mark.parametrize("step", [None, "nonsense", {}, PAID], ids=repr)
async def test_a_webhook_read_as_nonsense_is_an_error_not_a_message(step: object) -> None:
    async with at(load(Doing(step))) as stand:
        with pytest.raises(TypeError, match="read_webhook answered"):
            stand.plugin.read_webhook(stand.gateway, WEBHOOK)


async def test_a_rejected_webhook_stays_rejected() -> None:
    async with at(load(Doing(WebhookRejected("no", status=403)))) as stand:
        with pytest.raises(WebhookRejected, match="no"):
            stand.plugin.read_webhook(stand.gateway, WEBHOOK)


# ── control plugins ──────────────────────────────────────────────────────────────────────────────


class Named:
    """A gateway that says its name, so that one can see who was called."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(name=self.name, config=GatewayConfig)

    @hookimpl
    async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return NotSent(cause=self.name)


class Watch:
    """Notes what it sees, and changes nothing."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl(wrapper=True)
    def initiate_payment(
        self, gateway: Gateway[Any], attempt: Attempt
    ) -> Generator[None, Call, Call]:
        return self._noted(gateway, (yield))

    async def _noted(self, gateway: Gateway[Any], coroutine: Call) -> Outcome:
        outcome = await coroutine
        self.seen.append(f"{gateway.code}: {type(outcome).__name__}")
        return outcome


class Annotate:
    @hookimpl(wrapper=True)
    def initiate_payment(
        self, gateway: Gateway[Any], attempt: Attempt
    ) -> Generator[None, Call, Call]:
        return self._annotated((yield))

    async def _annotated(self, coroutine: Call) -> Outcome:
        outcome = await coroutine
        assert isinstance(outcome, NotSent)
        return replace(outcome, cause=f"{outcome.cause}, annotated")


class Veto:
    @hookimpl(wrapper=True)
    def initiate_payment(
        self, gateway: Gateway[Any], attempt: Attempt
    ) -> Generator[None, Call, Call]:
        coroutine = yield
        coroutine.close()
        return self._no()

    async def _no(self) -> Outcome:
        return Failed(code=FailureCode.OTHER, message="Not today.")


class Raise:
    @hookimpl(wrapper=True)
    def initiate_payment(
        self, gateway: Gateway[Any], attempt: Attempt
    ) -> Generator[None, Call, Call]:
        coroutine = yield
        coroutine.close()
        raise RuntimeError("a bug in the control plugin")


def three(**controls: object) -> Plugins:
    gateways = {name: Named(name) for name in ("a", "b", "c")}
    return Plugins.load({**gateways, **controls}, installed=())


@pytest.mark.parametrize("name", ["a", "b", "c"])
async def test_a_gateway_is_served_by_its_own_plugin(name: str) -> None:
    assert await initiate(three()[name]) == NotSent(cause=name)


async def test_a_control_plugin_sees_every_gateway_once() -> None:
    watch = Watch()
    plugins = three(watch=watch)

    for name in ("a", "b", "c"):
        await initiate(plugins[name])

    assert watch.seen == ["a: NotSent", "b: NotSent", "c: NotSent"]


async def test_a_control_plugin_can_annotate() -> None:
    assert await initiate(three(note=Annotate())["b"]) == NotSent(cause="b, annotated")


async def test_a_control_plugin_can_veto() -> None:
    outcome = await initiate(three(veto=Veto())["b"])

    assert outcome == Failed(code=FailureCode.OTHER, message="Not today.")


async def test_the_control_plugin_loaded_last_is_outermost() -> None:
    watch = Watch()

    await initiate(three(veto=Veto(), watch=watch)["b"])

    assert watch.seen == ["b: Failed"]


async def test_a_control_plugin_that_raises_makes_it_unknown() -> None:
    assert await initiate(three(bad=Raise())["b"]) == Unknown(
        cause="the plugin failed: RuntimeError"
    )


async def test_a_hook_of_a_module_that_is_no_gateway_is_never_called() -> None:
    class Intruder:
        @hookimpl
        async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
            raise AssertionError

    assert await initiate(three(intruder=Intruder())["b"]) == NotSent(cause="b")


def test_a_gateway_that_wraps_others_is_refused() -> None:
    class Both(Named):
        @hookimpl(wrapper=True, specname="initiate_payment")
        def guard(self, gateway: Gateway[Any], attempt: Attempt) -> Generator[None, Call, Call]:
            return (yield)

    with pytest.raises(ValueError, match="plugin of its own"):
        three(both=Both("both"))


async def test_a_gateway_that_is_registered_later_does_not_serve_others() -> None:
    plugins = three()
    await initiate(plugins["b"])

    plugins.register("late", Named("late"), "0")

    assert await initiate(plugins["b"]) == NotSent(cause="b")


def replace_name(point: EntryPoint, name: str) -> EntryPoint:
    return EntryPoint(name=name, value=point.value, group=point.group)


def module_name(module: object) -> str:
    assert isinstance(module, ModuleType)
    return module.__name__
