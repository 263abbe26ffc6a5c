"""Who did what: an entry in the change's own transaction, never changed afterwards.

After the commit `sealing` gives each entry its sequence and a hash over everything before it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from structlog.contextvars import get_contextvars

AUDIT_COLUMNS = "(actor_kind, actor_name, action, object, detail, correlation_id)"


def audit_values(
    actor_kind: str, actor_name: str, action: str, object_: str, detail: Mapping[str, Any]
) -> tuple[str, str, str, str, str, str | None]:
    """The values of AUDIT_COLUMNS, in their order. `detail` must hold nothing secret."""
    return (
        actor_kind,
        actor_name,
        action,
        object_,
        orjson.dumps(detail).decode(),
        correlation_id(),
    )


def correlation_id() -> str | None:
    """The id that ties together what one request led to: logs, audit, later checks."""
    found = get_contextvars().get("correlation_id")
    return str(found) if found is not None else None


# ── the chain ────────────────────────────────────────────────────────────────────────────────────

GENESIS = "0" * 64
"""What stands before the first entry."""

# Of a moment that no clock shows, such as infinity or before Christ, the database gives none.
SEALED_COLUMNS = (
    "id, sequence, CASE WHEN at >= '0001-01-02' AND at < '9999-12-31' THEN at END AS at, "
    "actor_kind, actor_name, action, object, detail::text AS detail, correlation_id, hash"
)


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain. Kept elsewhere, it proves all entries up to it."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"


def form(row: Mapping[str, Any], sequence: int) -> bytes:
    """What of an entry is hashed: JSON with sorted names, without spaces, in UTF-8.

    `at` is UTC with six decimals; `detail` is the text that PostgreSQL gives for it, as one string,
    so that no reader's idea of numbers changes it. docs/guides/prove-the-audit-log.md has it all.
    Without an `at` an entry is sealed too, so that the ones after it are; `proof` names it.
    """
    return orjson.dumps(shown(row, sequence), option=orjson.OPT_SORT_KEYS)


def shown(row: Mapping[str, Any], sequence: int) -> dict[str, Any]:
    """An entry as it is hashed and exported, by the names of its columns."""
    at = row["at"]
    return {
        "action": row["action"],
        "actor_kind": row["actor_kind"],
        "actor_name": row["actor_name"],
        "at": at and at.isoformat(timespec="microseconds")[:26] + "Z",
        "correlation_id": row["correlation_id"],
        "detail": row["detail"],
        "id": row["id"],
        "object": row["object"],
        "sequence": sequence,
    }


def link(previous: str, content: bytes) -> str:
    """The hash of an entry: SHA-256 over the hash before it, a line feed, and its `form`."""
    return hashlib.sha256(previous.encode() + b"\n" + content).hexdigest()
