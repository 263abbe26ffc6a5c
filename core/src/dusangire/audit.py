"""Who did what: an entry in the change's own transaction, never changed afterwards."""

from collections.abc import Mapping
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
