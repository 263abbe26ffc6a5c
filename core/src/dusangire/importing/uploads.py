"""Files as people uploaded them: sealed, never changed, forgotten when nobody imports them."""

import asyncio
import hashlib
import os
import shutil
import tempfile
import time
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import structlog

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.core import Core
from dusangire.database import fetch, tx
from dusangire.errors import Invalid, NotFound
from dusangire.keyring import Keyring
from dusangire.masking import hide_cards
from dusangire.permissions import Permission

log = structlog.get_logger(__name__)

LARGEST = 20 * 1024 * 1024
"""Bytes of one file. A month of a busy shop is a tenth of it."""

KEPT = timedelta(days=7)
"""How long a file waits to be imported."""

SCRATCH = "dusangire-file-"
"""How folders begin in which a file lies open while it is read."""

_LONGEST_NAME = 120
# Seconds: nothing is read for so long.
_LEFT_BEHIND = 6 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    id: UUID
    file_name: str
    size: int
    sha256: str
    created_at: datetime


_KEEP = f"""WITH kept AS (
    INSERT INTO upload
        (id, file_name, size, sha256, content, created_by_kind, created_by_name, created_by_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
)
INSERT INTO audit_entry {AUDIT_COLUMNS} SELECT $9, $10, $11, $12, $13::jsonb, $14 FROM kept"""
_FIND = "SELECT id, file_name, size, sha256, created_at FROM upload WHERE id = $1"
_CONTENT = "SELECT content FROM upload WHERE id = $1"


async def keep(core: Core, actor: Actor, file: Path, file_name: str) -> UUID:
    """Stores a file and gives its id. Raises Forbidden; Invalid for a file that is empty or too
    large."""
    actor.require(Permission.IMPORT_STATEMENTS)
    upload_id = uuid4()
    size, digest, sealed = await asyncio.to_thread(_sealed, core.keyring, upload_id, file)
    name = shown_name(file_name)
    async with tx(patience=60):
        await fetch(
            _KEEP,
            upload_id,
            name,
            size,
            digest,
            sealed,
            actor.kind,
            actor.name,
            actor.staff_id,
            *audit_values(
                actor.kind,
                actor.name,
                "upload.stored",
                f"upload:{upload_id}",
                {"sha256": digest, "size": size},
            ),
        )
    return upload_id


def _sealed(keyring: Keyring, upload_id: UUID, file: Path) -> tuple[int, str, bytes]:
    content = file.read_bytes()
    if not content:
        raise Invalid("The file is empty.", field=["file"])
    if len(content) > LARGEST:
        raise Invalid(f"The file is larger than {LARGEST:,} bytes.", field=["file"])
    digest = hashlib.sha256(content).hexdigest()
    return len(content), digest, keyring.seal_bytes(content, owner=_owner(upload_id), field="file")


def shown_name(text: str) -> str:
    """A file's name for people to read: never a path, and nothing is ever opened by it."""
    name = text.replace("\\", "/").rsplit("/", 1)[-1]
    plain = "".join(c for c in name if unicodedata.category(c)[0] not in "CZ" or c == " ")
    return hide_cards(plain.strip(" ."))[:_LONGEST_NAME] or "statement"


async def find(upload_id: UUID) -> Upload:
    """Raises NotFound."""
    rows = await fetch(_FIND, upload_id)
    if not rows:
        raise NotFound(
            "There is no such upload. Files that nobody imported are forgotten after a week.",
            field=["uploadId"],
        )
    return Upload(**rows[0])


async def write_out(core: Core, upload_id: UUID, file: Path) -> None:
    """Puts the file's content into `file`. Raises NotFound when it was forgotten, CannotStart."""
    rows = await fetch(_CONTENT, upload_id)
    if not rows or not rows[0]["content"]:
        raise NotFound("This file was forgotten: upload it again.", field=["uploadId"])
    await asyncio.to_thread(_unsealed, core.keyring, upload_id, rows[0]["content"], file)


def _unsealed(keyring: Keyring, upload_id: UUID, sealed: bytes, file: Path) -> None:
    content = keyring.unseal_bytes(sealed, owner=_owner(upload_id), field="file")
    file.touch(mode=0o600)
    file.write_bytes(content)


def anew(keyring: Keyring, upload_id: UUID, sealed: bytes) -> bytes:
    """Sealed with the newest key."""
    owner = _owner(upload_id)
    content = keyring.unseal_bytes(sealed, owner=owner, field="file")
    return keyring.seal_bytes(content, owner=owner, field="file")


def _owner(upload_id: UUID) -> str:
    return f"upload:{upload_id}"


# ── forgetting ───────────────────────────────────────────────────────────────────────────────────

# Of a file that could not be imported only the reason is kept.
_FORGET = f"""WITH old AS (
    SELECT id, EXISTS (SELECT FROM statement_import i WHERE i.upload_id = u.id) AS is_named
    FROM upload u WHERE created_at < $1 AND content <> '' AND NOT EXISTS (
        SELECT FROM statement_import i
        WHERE i.upload_id = u.id
            AND (i.status = 'RUNNING' OR i.status = 'COMPLETED' AND NOT i.dry_run)
    ) LIMIT 100 FOR UPDATE SKIP LOCKED
), emptied AS (
    UPDATE upload SET content = '' FROM old WHERE upload.id = old.id AND is_named
), gone AS (
    DELETE FROM upload USING old WHERE upload.id = old.id AND NOT is_named
)
INSERT INTO audit_entry {AUDIT_COLUMNS}
SELECT 'system', 'system', 'upload.forgotten', 'upload:' || id, '{{}}'::jsonb, NULL FROM old
RETURNING id"""


async def forget(core: Core) -> int:
    """Forgets up to a hundred files that waited for too long; gives how many.

    And what processes that were killed had laid open on this machine.
    """
    await asyncio.to_thread(_clear_away, Path(tempfile.gettempdir()))
    return len(await fetch(_FORGET, core.clock() - KEPT))


def _clear_away(folder: Path) -> None:
    for left in folder.glob(f"{SCRATCH}*"):
        # Gone meanwhile, or another's: neither is for us to take away.
        with suppress(OSError):
            found = left.lstat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > _LEFT_BEHIND:
                shutil.rmtree(left)
