"""How the columns of tables are read: profiles that plugins ship, and the merchant's own."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import orjson

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import fetch, tx
from dusangire.errors import Invalid, UnknownFormat
from dusangire.importing import accounts
from dusangire.importing.accounts import StatementAccount
from dusangire.permissions import Permission
from dusangire.records import json_of
from dusangire.statements import MappingProfile
from dusangire.statements_mapping import BadMapping, check
from dusangire.text import clean

_LARGEST = 32 * 1024
_MOST = 50
_OWN = "SELECT code, name, mapping FROM statement_profile WHERE account_id = $1 ORDER BY code"
_SAVE = f"""WITH saved AS (
    INSERT INTO statement_profile (id, account_id, code, name, mapping)
    VALUES ($1, $2, $3, $4, $5::jsonb)
    ON CONFLICT (account_id, code) DO UPDATE SET name = $4, mapping = $5::jsonb
    RETURNING id
)
INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $6, $7, $8, $9, $10::jsonb, $11 FROM saved"""


async def own(account_id: UUID) -> list[MappingProfile]:
    """Those that were saved for an account."""
    return [
        MappingProfile(code=row["code"], name=row["name"], mapping=json_of(row["mapping"]))
        for row in await fetch(_OWN, account_id)
    ]


async def known(core: Core, actor: Actor, account: str | None) -> list[MappingProfile]:
    """All there are: an account's own stand before the shipped ones of the same code.

    Raises Forbidden, NotFound.
    """
    actor.require(Permission.READ_STATEMENTS)
    account_id = (await accounts.by_code(core, account)).id if account is not None else None
    return sorted(await every(core, account_id), key=lambda one: one.code)


async def every(core: Core, account_id: UUID | None) -> list[MappingProfile]:
    """What plugins ship, and in its place or beside it what is an account's own."""
    found = dict(core.plugins.statement_formats().profiles)
    if account_id is not None:
        found.update({one.code: one for one in await own(account_id)})
    return list(found.values())


async def require(core: Core, account: StatementAccount, code: str | None) -> None:
    """Raises UnknownFormat when there is no profile of this code."""
    if code is None or code in core.plugins.statement_formats().profiles:
        return
    if all(one.code != code for one in await own(account.id)):
        raise UnknownFormat(f"There is no mapping profile {code[:60]!r}.", field=["profile"])


async def save(
    core: Core, actor: Actor, account: str, code: str, name: str, mapping: Mapping[str, Any]
) -> MappingProfile:
    """Creates an account's profile or changes it. Raises Forbidden, NotFound, Invalid."""
    actor.require(Permission.CONFIGURE_STATEMENTS)
    found = await accounts.by_code(core, account)
    code, name = _code(code), clean(name, "name", limit=100)
    text = orjson.dumps(dict(mapping)).decode()
    if len(text) > _LARGEST:
        raise Invalid("A mapping has at most 32 KB.", field=["mapping"])
    _check(mapping)
    async with tx():
        mine = await own(found.id)
        if len(mine) >= _MOST and all(one.code != code for one in mine):
            raise Invalid(f"An account has at most {_MOST} profiles.", field=["code"])
        await fetch(
            _SAVE,
            uuid4(),
            found.id,
            code,
            name,
            text,
            *audit_values(
                actor.kind,
                actor.name,
                "statement_profile.saved",
                f"statement_account:{found.code}",
                {"profile": code},
            ),
        )
    return MappingProfile(code=code, name=name, mapping=dict(mapping))


def _check(mapping: Mapping[str, Any]) -> None:
    """Raises Invalid, with a sentence for each thing that is wrong."""
    try:
        check(mapping)
    except BadMapping as error:
        raise Invalid(str(error)[:1_000], field=["mapping"]) from error


def _code(text: str) -> str:
    code = clean(text, "code", limit=60)
    if not code.replace("-", "").replace("_", "").isalnum() or not code.isascii():
        raise Invalid("A profile's code has letters, digits, - and _ only.", field=["code"])
    return code.lower()
