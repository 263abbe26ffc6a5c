"""What the docs say of methods, promises and codes is what the code says."""

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dusangire.gateway import FailureCode, GatewayDescription
from dusangire.plugins import Plugin, Plugins
from dusangire.testing import GatewayContract
from dusangire.testing.contract import PROMISES
from dusangire.testing.tables import Method, kept_promises, methods, provider_codes

ROOT = Path(__file__).parents[1]


def _docs() -> Any:
    loader = SourceFileLoader("write_docs", str(ROOT / "scripts" / "docs.py"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


DOCS = _docs()
CONTRACTS: list[type[GatewayContract]] = DOCS.contracts()
METHODS = methods(CONTRACTS)
INSTALLED: dict[str, Plugin] = Plugins.load().gateways


@pytest.mark.parametrize("page", DOCS.PAGES)
def test_the_generated_parts_are_current(page: str) -> None:
    wanted = {path.name: text for path, text in DOCS.pages()}

    assert (ROOT / "docs" / page).read_text() == wanted[page], "run: make docs"


@pytest.mark.parametrize("name", INSTALLED)
def test_every_installed_method_runs_the_contract_and_is_in_the_docs(name: str) -> None:
    assert INSTALLED[name].module in [one.plugin.module for one in METHODS]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_no_contract_is_skipped_or_changed_by_a_mark(contract: type[GatewayContract]) -> None:
    marks = [mark.name for mark in getattr(contract, "pytestmark", [])]

    assert not {"skip", "skipif", "xfail"} & set(marks)
    assert {one.test for one in PROMISES} <= {name for name in dir(contract) if "test_" in name}


@pytest.mark.parametrize("name", INSTALLED)
def test_every_code_says_to_staff_what_it_means(name: str) -> None:
    codes = INSTALLED[name].description.codes

    for code, meaning in codes.items():
        assert code == code.strip() != ""
        assert meaning.failure is None or meaning.failure in FailureCode
        assert re.fullmatch(r"\S.*[.]", meaning.text), f"{code}: {meaning.text}"


def test_a_promise_that_is_left_open_is_open_in_the_table_too() -> None:
    [tried, *_] = CONTRACTS

    class LeavesOneOpen(tried):  # type: ignore[valid-type,misc]
        @pytest.mark.xfail(reason="The provider does this in March.")
        async def test_an_approval_succeeds(self, stand: Any) -> None:
            await super().test_an_approval_succeeds(stand)

    table = kept_promises(methods([LeavesOneOpen]))

    row = next(line for line in table.splitlines() if "an approval succeeds" in line)
    assert row.split(" | ")[-1].startswith("– (")
    assert "leaves it open: The provider does this in March." in table


def test_a_method_without_codes_has_no_table_of_them() -> None:
    bare = [one for one in METHODS if not one.plugin.description.codes]

    assert provider_codes(bare) == ""


def test_two_contracts_of_one_plugin_are_one_method() -> None:
    [tried, *_] = CONTRACTS

    class WithOtherSettings(tried):  # type: ignore[valid-type,misc]
        config: ClassVar = {"currency": "RWF"}

    [one] = methods([tried, WithOtherSettings])

    assert isinstance(one, Method)
    assert isinstance(one.plugin.description, GatewayDescription)
    assert one.contracts == (tried, WithOtherSettings)
