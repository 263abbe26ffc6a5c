"""A look at a table before it is imported: its first rows, and how its columns would be read."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

from dusangire.access import Actor
from dusangire.core import Core
from dusangire.customers import sees_in_full
from dusangire.errors import Invalid
from dusangire.importing import accounts, profiles, sandbox, uploads
from dusangire.importing.sandbox import Job, Limits, Refused
from dusangire.masking import hide_cards, mask_text
from dusangire.permissions import Permission

# Somebody waits for it, so it takes less than an import may.
_LIMITS = Limits(cpu=5, wall=8, output=4 * 1024 * 1024)
_AT_ONCE = asyncio.Semaphore(2)


async def preview(
    core: Core, actor: Actor, upload_id: UUID, account: str, profile: str | None
) -> Any:
    """The first rows and the proposed mapping, as JSON. Raises Forbidden, NotFound, Invalid."""
    actor.require(Permission.IMPORT_STATEMENTS)
    found = await accounts.by_code(core, account)
    upload = await uploads.find(upload_id)
    await profiles.require(core, found, profile or found.profile)
    async with _AT_ONCE:
        with tempfile.TemporaryDirectory(prefix=uploads.SCRATCH) as folder:
            file, spool = Path(folder) / "statement", Path(folder) / "records"
            await uploads.write_out(core, upload.id, file)
            job = Job(
                file=file,
                file_name=upload.file_name,
                currency=found.currency,
                today=core.today(),
                modules=core.plugins.statement_formats().modules,
                profile=profile or found.profile,
                profiles=await profiles.every(core, found.id),
                preview=True,
                limits=_LIMITS,
            )
            try:
                await sandbox.read(job, spool, _nothing)
                shown = _shown(spool)
            except Refused as refused:
                where = f" (line {refused.line})" if refused.line else ""
                raise Invalid(f"{refused.message}{where}", field=["uploadId"]) from refused
    return _clean(shown, in_full=sees_in_full(actor))


async def _nothing(_done: float) -> None:
    pass


def _shown(spool: Path) -> Any:
    for record in sandbox.records(spool):
        if isinstance(record, tuple) and record[0] == "preview":
            return record[1]
    return None


def _clean(value: Any, *, in_full: bool) -> Any:
    """Without card numbers, and for people without readable phone numbers."""
    if isinstance(value, str):
        return hide_cards(value) if in_full else mask_text(value)
    if isinstance(value, dict):
        return {str(key): _clean(item, in_full=in_full) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, in_full=in_full) for item in value]
    return value
