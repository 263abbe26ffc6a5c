"""Words of providers that no table of ours has: counted by gateway, and shown to staff."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import structlog

from dusangire.database import fetch
from dusangire.gateway import Accepted, Failed, Outcome, Unknown
from dusangire.text import printable

if TYPE_CHECKING:
    from dusangire.core import Core
    from dusangire.gateways import Account

log = structlog.get_logger(__name__)

# A provider may send anything as its code, a new one each time: that shall fill no table.
MAX_LENGTH = 100
MAX_CODES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmappedCode:
    """A word that a gateway used `count` times, and that its plugin does not know."""

    code: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime


def unmapped(account: "Account", outcome: Outcome | None) -> str | None:
    """The word in an outcome that the plugin's `codes` lack; a plugin without any has no table."""
    known = account.plugin.description.codes if account.plugin else {}
    match outcome:
        case Accepted(unmapped=str(word)) if known:
            pass
        case Failed(gateway_code=str(word)) | Unknown(gateway_code=str(word)) if known:
            if word in known:
                return None
        case _:
            return None
    return printable(word)[:MAX_LENGTH] or None


# A word that is new is news. Two that are new at the same moment may both find the last place.
_COUNT = """
WITH counted AS (
    INSERT INTO unmapped_code (id, gateway_id, code)
    SELECT $1, $2, $3 WHERE EXISTS (
        SELECT FROM unmapped_code WHERE gateway_id = $2 AND code = $3
    ) OR (SELECT count(*) FROM unmapped_code WHERE gateway_id = $2) < $4
    ON CONFLICT (gateway_id, code)
    DO UPDATE SET count = unmapped_code.count + 1, last_seen_at = now()
    RETURNING gateway_id, count
), event AS (
    INSERT INTO event (type, data)
    SELECT 'gateway.health', jsonb_build_object('gateway_id', gateway_id, 'health', to_jsonb(h))
    FROM counted JOIN gateway_health h USING (gateway_id) WHERE count = 1
)
SELECT count FROM counted"""


async def count(core: "Core", account: "Account", outcome: Outcome | None) -> None:
    """Counts the unmapped word in an outcome, if there is one. Never raises."""
    word = unmapped(account, outcome)
    if word is None:
        return
    if word not in account.watch.logged_codes and len(account.watch.logged_codes) < MAX_CODES:
        account.watch.logged_codes.add(word)
        log.warning("a code that the plugin does not know", gateway=account.code, word=word)
    try:
        rows = await fetch(_COUNT, uuid4(), account.id, word, MAX_CODES)
    except Exception:
        # It is bookkeeping: what became of the money is written elsewhere, and more important.
        log.exception("a code was not counted", gateway=account.code, word=word)
        return
    if rows and rows[0]["count"] == 1:
        core.news.set()


async def load(gateway_ids: Sequence[UUID]) -> list[list[UnmappedCode]]:
    """The unmapped codes of each gateway, the most frequent first, with one query for all."""
    found: dict[UUID, list[UnmappedCode]] = {gateway_id: [] for gateway_id in gateway_ids}
    rows = await fetch(
        "SELECT gateway_id, code, count, first_seen_at, last_seen_at FROM unmapped_code "
        "WHERE gateway_id = ANY($1::uuid[]) ORDER BY count DESC, code",
        list(gateway_ids),
    )
    for row in rows:
        found[row["gateway_id"]].append(
            UnmappedCode(
                code=row["code"],
                count=row["count"],
                first_seen_at=row["first_seen_at"],
                last_seen_at=row["last_seen_at"],
            )
        )
    return [found[gateway_id] for gateway_id in gateway_ids]


def still_unmapped(account: "Account", codes: Sequence[UnmappedCode]) -> list[UnmappedCode]:
    """Without those that a newer version of the plugin knows."""
    known = account.plugin.description.codes if account.plugin else {}
    return [code for code in codes if code.code not in known]
