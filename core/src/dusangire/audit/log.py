"""Reading who did what: sealed entries, the newest first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dusangire.access import Actor
from dusangire.cursors import position_cursor, read_position
from dusangire.database import Row, fetch
from dusangire.errors import Invalid
from dusangire.permissions import Permission
from dusangire.queries import MAX_PAGE, Page
from dusangire.records import Who, json_of
from dusangire.text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One entry of the audit log, in its place in the chain."""

    sequence: int
    at: datetime
    actor: Who
    action: str
    object: str
    detail: Any
    correlation_id: str | None
    hash: str

    @classmethod
    def of(cls, row: Row) -> "AuditRecord":
        return cls(
            sequence=row["sequence"],
            at=row["at"],
            actor=Who(row["actor_kind"], row["actor_name"]),
            action=row["action"],
            object=row["object"],
            detail=json_of(row["detail"]),
            correlation_id=row["correlation_id"],
            hash=row["hash"],
        )


_ENTRIES = """SELECT sequence, at, actor_kind, actor_name, action, object, detail, correlation_id,
    hash
FROM audit_entry WHERE sequence < $2"""
_PAGE = "ORDER BY sequence DESC LIMIT $1"
# Whatever is asked for is found by the index on the narrowest column.
_ALL = f"{_ENTRIES} {_PAGE}"
_BY_ACTOR = f"{_ENTRIES} AND actor_name = $3 {_PAGE}"
_BY_ACTION = f"{_ENTRIES} AND action = $3 AND ($4::text IS NULL OR actor_name = $4) {_PAGE}"
_BY_OBJECT = f"""{_ENTRIES} AND object = $3 AND ($4::text IS NULL OR action = $4)
    AND ($5::text IS NULL OR actor_name = $5) {_PAGE}"""


async def entries(
    actor: Actor,
    first: int = 50,
    after: str | None = None,
    *,
    object: str | None = None,
    action: str | None = None,
    actor_name: str | None = None,
) -> Page[AuditRecord]:
    """A page of the log; everything given must hold. An entry is there within a second.

    object: such as `payment:PAY-7K3M9Q2X`; action: such as `refund.approved`; actor_name: of a
    person, their e-mail address. Raises Forbidden, Invalid.
    """
    actor.require(Permission.READ_AUDIT)
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    for name, text in (("object", object), ("action", action), ("actor", actor_name)):
        if text is not None and (len(text) > 500 or printable(text) != text):
            raise Invalid(f"{name} is not text that anything has.", field=[name])
    before = read_position(after) if after is not None else 2**63 - 1
    limit = first + 1
    if object is not None:
        rows = await fetch(_BY_OBJECT, limit, before, object, action, actor_name)
    elif action is not None:
        rows = await fetch(_BY_ACTION, limit, before, action, actor_name)
    elif actor_name is not None:
        rows = await fetch(_BY_ACTOR, limit, before, actor_name)
    else:
        rows = await fetch(_ALL, limit, before)
    return Page(
        items=[AuditRecord.of(row) for row in rows[:first]],
        cursors=[position_cursor(row["sequence"]) for row in rows[:first]],
        has_next=len(rows) > first,
    )
