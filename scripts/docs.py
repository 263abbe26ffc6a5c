"""Writes the parts of the docs that come from the code: `.venv/bin/python scripts/docs.py`.

In a page, what stands between `<!-- name -->` and `<!-- /name -->` is written anew. The contract
tests say which methods there are: plugins/*/tests/test_contract.py and the tutorial's.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from dusangire.testing import GatewayContract, promise_table
from dusangire.testing.tables import (
    Method,
    abilities,
    kept_promises,
    methods,
    provider_codes,
    vocabulary,
)

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES: Mapping[str, Mapping[str, Callable[[list[Method]], str]]] = {
    "contract.md": {"promises": lambda _: promise_table(GatewayContract)},
    "failures.md": {"vocabulary": lambda _: vocabulary(), "codes": provider_codes},
    "methods.md": {"abilities": abilities, "promises": kept_promises},
}


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with generated parts, and its text as it should be."""
    shown = methods(contracts())
    for name, parts in PAGES.items():
        text = (DOCS / name).read_text()
        for part, made in parts.items():
            text = _with(text, part, made(shown))
        yield DOCS / name, text


def contracts() -> list[type[GatewayContract]]:
    """The contract classes of the built-in plugins, by folder, and of the tutorial's."""
    files = [
        *sorted(ROOT.glob("plugins/*/tests/test_contract.py")),
        *sorted(DOCS.glob("tutorial/**/tests/test_contract.py")),
    ]
    return [contract for file in files for contract in _classes(_module(file))]


def _classes(module: ModuleType) -> list[type[GatewayContract]]:
    return [
        member
        for member in vars(module).values()
        if isinstance(member, type)
        and issubclass(member, GatewayContract)
        and member.__module__ == module.__name__
    ]


def _module(file: Path) -> ModuleType:
    # The tutorial's plugin is not installed here.
    if (source := str(file.parents[1] / "src")) not in sys.path:
        sys.path.append(source)
    name = f"contract_of_{re.sub(r'[^a-z]', '_', file.parents[1].name)}"
    spec = spec_from_loader(name, SourceFileLoader(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _with(text: str, part: str, made: str) -> str:
    before, mark, rest = text.partition(f"<!-- {part} -->\n")
    _, end, after = rest.partition(f"\n<!-- /{part} -->")
    assert mark, f"There is no place for {part}."
    assert end, f"The place for {part} has no end."
    return before + mark + made + end + after


if __name__ == "__main__":
    for page, text in pages():
        page.write_text(text)
