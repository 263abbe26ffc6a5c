"""The formats of this package, as the hook gives them."""

from collections.abc import Sequence
from pathlib import Path

from dusangire import hookimpl
from dusangire.statements import MappingProfile, StatementFormat
from dusangire_statements import camt, mt940, ofx, tables

PROFILES = Path(__file__).parent / "profiles"


@hookimpl
def statement_formats() -> Sequence[StatementFormat | MappingProfile]:
    profiles = [MappingProfile.read(file) for file in sorted(PROFILES.glob("*.toml"))]
    return [mt940.FORMAT, camt.FORMAT, ofx.FORMAT, *tables.FORMATS, *profiles]
