"""Who tests the tests: the contract runs on gateways that are wrong on purpose."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

# Pytester forgets modules that were first imported inside it, and httpx keeps classes of this one.
import httpcore  # noqa: F401
import pytest
from _pytest.pytester import HookRecorder

from dusangire.testing import (
    fake_provider,  # noqa: F401
    promise_table,
)
from dusangire.testing.contract import PROMISES, GatewayContract

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
OPTIONS = (
    *("-p", "no:randomly", "-p", "no:xdist", "-p", "no:timeout"),
    # This one imports all of Hypothesis at the end of each run, for nothing.
    *("-p", "no:hypothesispytest", "-p", "no:cacheprovider"),
    *("-W", "error", "-o", "asyncio_default_fixture_loop_scope=function", "--tb=line"),
)
CONTRACT = """
from {module} import {plugin}
from dusangire.testing import GatewayContract

class TestIt(GatewayContract):
    plugin = {plugin}()
    approves = {{"phone": "+250780000000"}}
    declines = {{"phone": "+250780000102"}}
"""
# What a class cannot show.
LOUD_MODULES = {
    "a file is written": "open('was-here', 'w').close()",
    "a name is looked up": "__import__('socket').getaddrinfo('localhost', 80)",
    "a thread is started": (
        "__import__('threading').Thread("
        "target=__import__('time').sleep, args=(1,), daemon=True).start()"
    ),
    "a process is started": "__import__('subprocess').run(['true'])",
    "something is printed": "print('Thank you for using Fake Pay')",
}
QUIET_CHANGES = {
    "replaced": "    async def test_an_approval_succeeds(self): ...",
    "deleted": "    test_an_approval_succeeds = None",
    "skipped": (
        "    @__import__('pytest').mark.skip(reason='later')\n"
        "    async def test_an_approval_succeeds(self): ..."
    ),
    "left open without a reason": (
        "    @__import__('pytest').mark.xfail\n    async def test_an_approval_succeeds(self): ..."
    ),
    "weakened underneath": "    async def _warm(self, stand): ...",
    "let off": "    loaded = None",
}
LEFT_OPEN = """
    @__import__('pytest').mark.xfail(reason='The provider does this in March.')
    async def test_an_approval_succeeds(self, stand):
        await super().test_an_approval_succeeds(stand)
"""
SKIPS_ON_THE_WAY = """
    async def payer_acts(self, stand, case):
        __import__("pytest").skip("no browser here")
"""
WITHOUT_NETWORK = """
from dusangire.gateway import Accepted, GatewayConfig, GatewayDescription
from dusangire import hookimpl

class ByHand:
    @hookimpl
    def describe_gateway(self):
        return GatewayDescription(name="By hand", config=GatewayConfig)

    @hookimpl
    async def initiate_payment(self, gateway, attempt):
        return Accepted()
"""


def _wrong_gateways() -> dict[str, str]:
    """Their names, and the promise that each breaks."""
    # By its path: a folder of tests is no package, and its files are not to be found by name.
    loader = SourceFileLoader("wrong_gateways", str(HERE / "wrong_gateways.py"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module: Any = module_from_spec(spec)
    loader.exec_module(module)
    return {wrong.__name__: wrong.breaks for wrong in module.Wrong.__subclasses__()}


WRONG = _wrong_gateways()


def run(
    pytester: pytest.Pytester, text: str, *, mode: str = "auto", only: str = ""
) -> HookRecorder:
    pytester.syspathinsert(HERE)
    pytester.syspathinsert(pytester.path)
    file = pytester.makepyfile(text)
    return pytester.inline_run(*OPTIONS, f"--asyncio-mode={mode}", "-k", only, file)


def broken(ran: HookRecorder) -> set[str]:
    """The promises that were not kept."""
    _, _, failed = ran.listoutcomes()
    return {re.sub(r"\[.*", "", report.nodeid.rpartition("::")[2]) for report in failed}


def reasons(ran: HookRecorder) -> dict[str, str]:
    _, skipped, _ = ran.listoutcomes()
    return {
        re.sub(r"\[.*", "", report.nodeid.rpartition("::")[2]): report.longrepr[2]
        for report in skipped
        if isinstance(report.longrepr, tuple)
    }


@pytest.mark.parametrize(("plugin", "promise"), WRONG.items())
def test_exactly_the_broken_promise_fails(
    pytester: pytest.Pytester, plugin: str, promise: str
) -> None:
    ran = run(pytester, CONTRACT.format(module="wrong_gateways", plugin=plugin))

    assert broken(ran) == {promise}


@pytest.mark.parametrize("line", LOUD_MODULES.values(), ids=LOUD_MODULES.keys())
def test_a_plugin_that_does_something_on_import_fails(pytester: pytest.Pytester, line: str) -> None:
    loud = "from dusangire.testing import FakeGateway\nclass Loud(FakeGateway): ...\n"
    pytester.makepyfile(loud=loud + line)

    ran = run(pytester, CONTRACT.format(module="loud", plugin="Loud"), only="nothing")

    assert broken(ran) == {"test_nothing_happens_on_import"}


@pytest.mark.parametrize("change", QUIET_CHANGES.values(), ids=QUIET_CHANGES.keys())
def test_a_contract_that_was_quietly_changed_fails(pytester: pytest.Pytester, change: str) -> None:
    text = CONTRACT.format(module="dusangire.testing", plugin="FakeGateway") + change

    ran = run(pytester, text + "\n", only="nothing_of_the_contract")

    assert broken(ran) == {"test_nothing_of_the_contract_was_overridden"}


def test_a_promise_may_be_left_open_with_a_reason(pytester: pytest.Pytester) -> None:
    text = CONTRACT.format(module="dusangire.testing", plugin="FakeGateway") + LEFT_OPEN

    ran = run(pytester, text)

    assert broken(ran) == set()


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_a_right_gateway_keeps_every_promise(pytester: pytest.Pytester, mode: str) -> None:
    ran = run(
        pytester, CONTRACT.format(module="dusangire.testing", plugin="FakeGateway"), mode=mode
    )

    assert broken(ran) == set()
    assert reasons(ran) == {}
    assert {promise.test for promise in PROMISES} == set(_passed(ran))


def test_what_does_not_apply_is_skipped_with_the_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(by_hand=WITHOUT_NETWORK)

    ran = run(pytester, CONTRACT.format(module="by_hand", plugin="ByHand"))

    assert reasons(ran) == {
        promise.test: f"Skipped: By hand {reason}"
        for promise in PROMISES
        if (reason := _why_by_hand_is_let_off(promise.group, promise.test)) is not None
    }
    # It takes any currency, and there is nobody to notice.
    assert broken(ran) == {"test_an_unsupported_currency_is_refused_before_anything_is_sent"}


def test_a_provider_that_refunds_only_whole_payments_is_not_asked_for_parts(
    pytester: pytest.Pytester,
) -> None:
    ran = run(pytester, CONTRACT.format(module="wrong_gateways", plugin="AllOrNothing"))

    assert broken(ran) == set()
    assert reasons(ran) == {
        "test_partial_refunds_add_up": "Skipped: Fake Pay gives back all or nothing"
    }


def test_a_provider_without_keys_for_refunds_is_sent_none_twice(pytester: pytest.Pytester) -> None:
    ran = run(pytester, CONTRACT.format(module="wrong_gateways", plugin="WithoutKeysForRefunds"))

    assert broken(ran) == set()
    assert reasons(ran) == {
        "test_repeating_a_refund_key_pays_once": (
            "Skipped: Fake Pay may pay a refund twice that is sent twice, so none ever is"
        )
    }


def test_a_promise_that_applies_cannot_be_skipped_on_the_way(pytester: pytest.Pytester) -> None:
    text = CONTRACT.format(module="dusangire.testing", plugin="FakeGateway") + SKIPS_ON_THE_WAY

    ran = run(pytester, text, only="an_approval_succeeds or nothing_of_the_contract")

    assert broken(ran) == {"test_an_approval_succeeds"}
    assert reasons(ran) == {}


def test_every_promise_has_a_gateway_that_breaks_it() -> None:
    elsewhere = {
        "test_nothing_happens_on_import",
        "test_nothing_of_the_contract_was_overridden",
    }

    assert {promise.test for promise in PROMISES} == set(WRONG.values()) | elsewhere


def test_every_promise_says_what_to_do_when_it_fails() -> None:
    for promise in PROMISES:
        text = getattr(GatewayContract, promise.test).__doc__
        assert "Troubleshooting:" in text, promise.test


def test_the_table_of_promises_in_the_docs_is_current() -> None:
    text = (DOCS / "contract.md").read_text()

    table = text.partition("<!-- promises -->\n")[2].partition("\n<!-- /promises -->")[0]

    assert table == promise_table(GatewayContract)


def test_importing_dusangire_does_not_import_pytest() -> None:
    code = "import sys, dusangire.hookspecs, dusangire.plugins; print('pytest' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def _passed(ran: HookRecorder) -> Iterator[str]:
    passed, _, _ = ran.listoutcomes()
    for report in passed:
        yield re.sub(r"\[.*", "", report.nodeid.rpartition("::")[2])


def _why_by_hand_is_let_off(group: str, test: str) -> str | None:
    if test in {"test_repeating_a_key_moves_money_once", "test_two_keys_at_once_are_two_payments"}:
        return "has no network to fail"
    if test == "test_a_final_state_stays_final":
        return "never says how a payment ended"
    if test == "test_an_unknown_provider_word_stays_pending":
        return "has no network to fail"
    if test == "test_what_is_withdrawn_cannot_be_paid_any_more":
        return "takes no request back"
    if test in {
        "test_charging_a_kept_method_again_moves_money_once",
        "test_a_lost_reply_to_a_charge_is_unknown_not_failed",
    }:
        return "keeps no payment method for the next time"
    return {
        "Endings": "cannot be asked: a person confirms its payments",
        "The wire": "has no network to fail",
        "Webhooks": "sends no webhooks",
        "Refunds": "gives no money back by itself",
    }.get(group)
