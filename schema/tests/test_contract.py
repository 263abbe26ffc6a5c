"""The schema keeps what clients were promised, and says so in a file."""

import subprocess
import sys
from pathlib import Path

import pytest
from graphql import GraphQLNamedType, build_schema

import dusangire_schema

PRINTED = Path(__file__).parents[1] / "schema.graphql"
CHECK = Path(__file__).parents[3] / "shared" / "tools" / "check_contract.py"
CONTRACT = Path(__file__).parents[3] / "shared" / "design" / "api.graphql"

# What later issues bring. Whoever brings it takes it off this list.
LATER_FIELDS: dict[str, str] = {}
LATER_TYPES = ""


def test_the_printed_schema_is_current() -> None:
    assert PRINTED.read_text() == dusangire_schema.sdl(), "run: dusangire schema print"


@pytest.mark.skipif(not CHECK.exists(), reason="the contract lies beside the repository")
def test_every_promise_of_the_contract_is_kept_but_those_of_later_issues() -> None:
    result = subprocess.run(
        [sys.executable, CHECK, PRINTED], capture_output=True, text=True, check=False
    )

    broken = {line.partition(": ")[2] for line in result.stdout.splitlines() if "removed" in line}
    later = {f"{name} was removed." for name in LATER_TYPES.split()} | {
        f"Field {root}.{name} was removed."
        for root, names in LATER_FIELDS.items()
        for name in names.split()
    }
    assert broken == later
    assert f"{len(later)} broken promises" in result.stdout


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract lies beside the repository")
def test_every_description_of_the_contract_is_carried_over() -> None:
    promised = _described(build_schema(CONTRACT.read_text()).type_map)
    carried = _described(build_schema(PRINTED.read_text()).type_map)

    later = {*LATER_TYPES.split()}
    lost = {
        place: text
        for place, text in promised.items()
        if place.split(".")[0] not in later and _flat(carried.get(place)) != _flat(text)
    }
    assert lost == {}


def _flat(text: str | None) -> str:
    return " ".join((text or "").split())


def _described(types: dict[str, GraphQLNamedType]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, kind in types.items():
        if name.startswith("__") or name in {"ID", "Int", "String", "Boolean", "Float"}:
            continue
        if kind.description:
            found[name] = kind.description
        for field_name, field in getattr(kind, "fields", {}).items():
            if field.description:
                found[f"{name}.{field_name}"] = field.description
    return found
