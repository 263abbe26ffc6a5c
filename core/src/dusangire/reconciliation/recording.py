"""Matches written down: lines and items that belong together, and what that does to the books.

Inside the caller's transaction; `standing.refresh` is the caller's, after everything else. Nothing
is deleted: a match that no longer holds is ended, and its entries in the books are reversed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import orjson
import structlog

from dusangire.access import Actor
from dusangire.books import posting
from dusangire.database import fetch, tx
from dusangire.errors import Conflict
from dusangire.money import exponent
from dusangire.reconciliation import standing
from dusangire.reconciliation.passes.by_reference import EXPLANATION

log = structlog.get_logger(__name__)

PAGES = 400
"""Matches of so many pages of `match_found` are written in one transaction, about twenty thousand:
locks and memory stay small."""

SUPERSEDED = "superseded"

# One line after the other, then one item after the other, always in the order of their ids: two
# who write at once wait for each other and never lock each other out.
_LOCK_LINES = """
SELECT count(*) FROM (
    SELECT l.id FROM statement_line l JOIN match_leg g ON g.line_id = l.id
    WHERE g.match_id = ANY($1) ORDER BY l.id FOR NO KEY UPDATE OF l
) AS held"""
_LOCK_ITEMS = """
SELECT count(*) FROM (
    SELECT i.id FROM clearing_item i JOIN match_leg g ON g.item_id = i.id
    WHERE g.match_id = ANY($1) ORDER BY i.id FOR NO KEY UPDATE OF i
) AS held"""
_CONFIRM = """
WITH confirmed AS (
    UPDATE recon_match SET status = 'CONFIRMED', decided_by_kind = $2, decided_by_name = $3,
        decided_by_id = $4, decided_at = now()
    WHERE id = ANY($1) RETURNING id
), lines AS (
    UPDATE statement_line l SET status = 'MATCHED'
    FROM match_leg g JOIN confirmed ON confirmed.id = g.match_id WHERE l.id = g.line_id
), items AS (
    UPDATE clearing_item i SET status = 'MATCHED'
    FROM match_leg g JOIN confirmed ON confirmed.id = g.match_id WHERE i.id = g.item_id
)
SELECT count(*) AS confirmed FROM confirmed"""
_ENDED = """
WITH ended AS (
    UPDATE recon_match SET status = $2, decided_by_kind = $3, decided_by_name = $4,
        decided_by_id = $5, decided_at = now(), note = coalesce($6, note)
    WHERE id = ANY($1) {which} RETURNING id
), legs AS (
    UPDATE match_leg g SET live = false FROM ended WHERE g.match_id = ended.id
    RETURNING g.line_id, g.item_id
), lines AS (
    UPDATE statement_line l SET status = 'OPEN' FROM legs WHERE l.id = legs.line_id
)
UPDATE clearing_item i SET status = 'OPEN' FROM legs WHERE i.id = legs.item_id"""
_END = _ENDED.format(which="")
# A machine ends what a machine suggested. What a person confirmed a moment ago stays.
_GIVE_WAY = _ENDED.format(which="AND status = 'SUGGESTED' AND decided_by_name IS NULL")
# What changed while we waited for the locks is seen by a statement that begins after it.
_CHANGED = """
SELECT m.id FROM recon_match m JOIN match_leg g ON g.match_id = m.id
LEFT JOIN statement_line l ON l.id = g.line_id LEFT JOIN clearing_item i ON i.id = g.item_id
WHERE m.id = ANY($1) AND (m.status <> 'SUGGESTED' OR NOT g.live
    OR l.status NOT IN ('OPEN', 'SUGGESTED') OR i.status <> 'OPEN') LIMIT 1"""
_STATUS = "SELECT status FROM recon_match WHERE id = $1"
# What lines bring more than items is a fee where one is known that explains it, or else a
# difference. In a provider's report, a fee is a fee, whatever is left.
_SUMS = """
SELECT a.kind AS account_kind, a.currency,
    (SELECT coalesce(sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END), 0)::bigint
     FROM statement_line WHERE id = ANY($2)) AS lines,
    (SELECT coalesce(sum(coalesce(fee, 0) + coalesce(charges, 0)), 0)::bigint
     FROM statement_line WHERE id = ANY($2)) AS line_fees,
    (SELECT coalesce(sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END), 0)::bigint
     FROM clearing_item WHERE id = ANY($3)) AS items,
    (SELECT coalesce(sum(fee), 0)::bigint FROM clearing_item WHERE id = ANY($3)) AS item_fees,
    (SELECT max(currency) FROM statement_line WHERE id = ANY($2)) AS line_currency
FROM statement_account a WHERE a.id = $1"""
_MAKE = """
WITH made AS (
    INSERT INTO recon_match (id, account_id, reconciliation_id, status, rule, confidence,
        explanation, currency, fee, difference)
    VALUES ($1, $2, $3, 'SUGGESTED', $4, $5, $6::jsonb, $7, $8, $9) RETURNING id
), lines AS (
    UPDATE statement_line SET status = 'SUGGESTED' WHERE id = ANY($10)
)
INSERT INTO match_leg (match_id, line_id, item_id)
SELECT $1, leg.line_id, leg.item_id FROM (
    SELECT line_id, NULL::uuid AS item_id FROM unnest($10::uuid[]) AS line_id
    UNION ALL SELECT NULL, item_id FROM unnest($11::uuid[]) AS item_id
) AS leg, made"""


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left between lines and items: the provider's fee, and a difference to be written
    off. Minor units; `difference` is more than zero when the lines bring more."""

    fee: int
    difference: int


def rest_of(lines: int, items: int, line_fees: int, item_fees: int, *, report: bool) -> Rest:
    """lines, items: sums with their signs. report: the lines are a provider's, fees and all."""
    missing = items - lines
    if missing == 0:
        return Rest(0, 0)
    if missing in {line_fees, item_fees}:
        return Rest(missing, 0)
    if report and line_fees:
        return Rest(line_fees, line_fees - missing)
    return Rest(0, -missing)


async def make(
    *,
    account_id: UUID,
    line_ids: Sequence[UUID],
    item_ids: Sequence[UUID],
    rule: str,
    confidence: int,
    explanation: Sequence[str],
    status: str,
    who: Actor | None,
    reconciliation_id: UUID | None,
) -> UUID:
    """A match of these lines and items, suggested or, with `who`, confirmed; gives its id.

    Raises tortoise's IntegrityError when one of them is in another match by now.
    """
    [sums] = await fetch(_SUMS, account_id, list(line_ids), list(item_ids))
    rest = rest_of(
        sums["lines"],
        sums["items"],
        sums["line_fees"],
        sums["item_fees"],
        report=sums["account_kind"] == "SETTLEMENT",
    )
    match_id = uuid4()
    await fetch(
        _MAKE,
        match_id,
        account_id,
        reconciliation_id,
        rule,
        confidence,
        orjson.dumps(list(explanation)).decode(),
        sums["line_currency"] or sums["currency"],
        rest.fee,
        rest.difference,
        list(line_ids),
        list(item_ids),
    )
    if status == "CONFIRMED":
        assert who is not None, "somebody confirmed it"
        await confirm([match_id], who)
    return match_id


async def confirm(match_ids: Sequence[UUID], who: Actor) -> None:
    """Suggested matches are confirmed, and the books get their entries. Raises Conflict."""
    ids = list(match_ids)
    await fetch(_LOCK_LINES, ids)
    await fetch(_LOCK_ITEMS, ids)
    if await fetch(_CHANGED, ids):
        raise Conflict("This was decided or set aside by somebody else meanwhile: look again.")
    await fetch(_CONFIRM, ids, who.kind, who.name, who.staff_id)
    await posting.post_matches(ids, who.name)


async def end(match_id: UUID, status: str, who: Actor, note: str | None) -> None:
    """Ends a match: its lines and items are open again, its entries in the books reversed.

    status: REJECTED, or UNMATCHED for one that was confirmed.
    """
    await fetch(_LOCK_LINES, [match_id])
    await fetch(_LOCK_ITEMS, [match_id])
    [row] = await fetch(_STATUS, match_id)
    if row["status"] == "CONFIRMED":
        await posting.unpost_match(match_id, who.name)
    await fetch(_END, [match_id], str(status), who.kind, who.name, who.staff_id, note)


# ── many at once ─────────────────────────────────────────────────────────────────────────────────

# A person may have decided meanwhile: what is no longer open is left alone. Suggestions of the
# machine's give way to a match.
_INTO_BATCH = f"""
INSERT INTO match_batch (id, account_id, line_ids, item_ids, rule, confidence, fee, difference,
    currency, suggested, explanation)
SELECT id, account_id, line_ids, item_ids, rule, confidence, fee, difference, currency, suggested,
    coalesce(explanation, {EXPLANATION})
FROM (
    SELECT taken.*, i.amount, i.direction, taken.fee - taken.difference AS missing,
        $2::int AS digits,
        l.booking_date - (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date AS days,
        power(10::numeric, $2::int) AS unit
    FROM taken LEFT JOIN statement_line l ON taken.named IS NOT NULL AND l.id = taken.line_ids[1]
    LEFT JOIN clearing_item i ON taken.named IS NOT NULL AND i.id = taken.item_ids[1]
) AS found"""
_TAKE = f"""
WITH taken AS (
    DELETE FROM match_found WHERE account_id = $1 AND NOT suggested
        AND ctid >= $3::tid AND ctid < $4::tid RETURNING *
){_INTO_BATCH}"""
_EXTENT = """SELECT pg_relation_size('match_found') / current_setting('block_size')::int AS pages"""
_HOLD_LINES = """
SELECT count(*) FROM (
    SELECT id FROM statement_line WHERE id IN (SELECT unnest(line_ids) FROM match_batch)
    ORDER BY id FOR NO KEY UPDATE
) AS held"""
_HOLD_ITEMS = """
SELECT count(*) FROM (
    SELECT id FROM clearing_item WHERE id IN (SELECT unnest(item_ids) FROM match_batch)
    ORDER BY id FOR NO KEY UPDATE
) AS held"""
# What changed since the search is left for the next run: what is not open any more, what a person
# is deciding, and what does not add up now, such as a payout that grew by a later file.
_DROP_CHANGED = """
WITH leg AS (
    SELECT b.match_id, line.id AS line_id, NULL::uuid AS item_id
    FROM match_batch b CROSS JOIN LATERAL unnest(b.line_ids) AS line (id)
    UNION ALL SELECT b.match_id, NULL, item.id
    FROM match_batch b CROSS JOIN LATERAL unnest(b.item_ids) AS item (id)
), summed AS (
    SELECT leg.match_id, bool_and(CASE WHEN leg.item_id IS NULL
            THEN coalesce(l.status IN ('OPEN', 'SUGGESTED') AND l.posted, false)
            ELSE coalesce(i.status = 'OPEN', false) END) AS free,
        sum(CASE coalesce(l.direction, i.direction) WHEN 'CREDIT' THEN 1 ELSE -1 END
            * coalesce(l.amount, -i.amount)) AS remaining
    FROM leg LEFT JOIN statement_line l ON l.id = leg.line_id
    LEFT JOIN clearing_item i ON i.id = leg.item_id
    GROUP BY leg.match_id
), decided AS (
    SELECT leg.match_id FROM leg JOIN match_leg g ON g.live AND g.line_id = leg.line_id
    JOIN recon_match m ON m.id = g.match_id WHERE m.decided_by_name IS NOT NULL
    UNION ALL SELECT leg.match_id FROM leg JOIN match_leg g ON g.live AND g.item_id = leg.item_id
    JOIN recon_match m ON m.id = g.match_id WHERE m.decided_by_name IS NOT NULL
)
DELETE FROM match_batch b USING summed
WHERE summed.match_id = b.match_id AND (NOT free OR remaining <> b.difference - b.fee
    OR b.match_id IN (SELECT match_id FROM decided))
RETURNING b.rule, b.line_ids, b.item_ids, free AND remaining <> b.difference - b.fee AS odd"""
_IN_THE_WAY = """
SELECT DISTINCT g.match_id FROM match_batch b
CROSS JOIN LATERAL unnest(b.line_ids) AS line (id)
JOIN match_leg g ON g.live AND g.line_id = line.id
UNION
SELECT g.match_id FROM match_batch b
CROSS JOIN LATERAL unnest(b.item_ids) AS item (id)
JOIN match_leg g ON g.live AND g.item_id = item.id
"""
# $1 the run, $2 the status, $3 to $5 who confirmed it.
_WRITE = """
WITH made AS (
    INSERT INTO recon_match (id, account_id, reconciliation_id, status, rule, confidence,
        explanation, currency, fee, difference, decided_by_kind, decided_by_name, decided_by_id,
        decided_at)
    SELECT match_id, account_id, $1, $2, rule, confidence, explanation, currency, fee, difference,
        $3, $4, $5, CASE $2 WHEN 'CONFIRMED' THEN now() END
    FROM match_batch ORDER BY id
    RETURNING id
), legs AS (
    INSERT INTO match_leg (match_id, line_id, item_id)
    SELECT b.match_id, leg.line_id, leg.item_id FROM match_batch b
    CROSS JOIN LATERAL (
        SELECT unnest(b.line_ids) AS line_id, NULL::uuid AS item_id
        UNION ALL SELECT NULL, unnest(b.item_ids)
    ) AS leg
), lines AS (
    UPDATE statement_line l SET status = CASE $2 WHEN 'CONFIRMED' THEN 'MATCHED' ELSE $2 END
    FROM (SELECT unnest(line_ids) AS id FROM match_batch) AS leg WHERE l.id = leg.id
), items AS (
    UPDATE clearing_item i SET status = 'MATCHED'
    FROM (SELECT unnest(item_ids) AS id FROM match_batch) AS leg
    WHERE i.id = leg.id AND $2 = 'CONFIRMED'
)
SELECT id FROM made"""
_PAYMENTS = """
SELECT DISTINCT i.payment_id FROM match_batch b CROSS JOIN LATERAL unnest(b.item_ids) AS item (id)
JOIN clearing_item i ON i.id = item.id WHERE i.payment_id IS NOT NULL"""
_BATCH_TABLE = """CREATE TEMPORARY TABLE match_batch (
    LIKE match_found, match_id uuid NOT NULL DEFAULT gen_random_uuid()) ON COMMIT DROP"""
_CURRENCY = "SELECT currency FROM statement_account WHERE id = $1"


async def confirm_found(account_id: UUID, reconciliation_id: UUID | None, who: Actor) -> int:
    """Writes down what is sure among what was found, a batch in a transaction; gives how many.

    Its own transactions. A crash in between leaves whole batches, and the next run finds the rest.
    """
    written, digits = 0, await _digits(account_id)
    [extent] = await fetch(_EXTENT)
    for page in range(0, extent["pages"], PAGES):
        async with tx(patience=60):
            await fetch(_BATCH_TABLE)
            await fetch(_TAKE, account_id, digits, (page, 0), (page + PAGES, 0))
            [row] = await fetch("SELECT count(*) AS taken FROM match_batch")
            if row["taken"]:
                await fetch("ANALYZE match_batch")
                written += await _write_batch(reconciliation_id, who)
    return written


async def _digits(account_id: UUID) -> int:
    [row] = await fetch(_CURRENCY, account_id)
    return exponent(row["currency"])


async def _write_batch(reconciliation_id: UUID | None, who: Actor) -> int:
    await _hold()
    await _give_way([row["match_id"] for row in await fetch(_IN_THE_WAY)], who)
    confirmed = "CONFIRMED", who.kind, who.name, who.staff_id
    ids = [row["id"] for row in await fetch(_WRITE, reconciliation_id, *confirmed)]
    await posting.post_matches(ids, who.name)
    await standing.refresh([row["payment_id"] for row in await fetch(_PAYMENTS)])
    return len(ids)


async def _hold() -> None:
    """What the batch is of stays as it is from here on; what changed before is not of it."""
    await fetch(_HOLD_LINES)
    await fetch(_HOLD_ITEMS)
    for row in await fetch(_DROP_CHANGED):
        if row["odd"]:
            log.warning(
                "a match does not add up any more, and is left for the next run",
                rule=row["rule"],
                lines=[str(one) for one in row["line_ids"]],
                items=[str(one) for one in row["item_ids"]],
            )


async def _give_way(match_ids: Sequence[UUID], who: Actor) -> None:
    if match_ids:
        ids = list(match_ids)
        await fetch(_GIVE_WAY, ids, "UNMATCHED", who.kind, who.name, who.staff_id, SUPERSEDED)


# ── suggestions ──────────────────────────────────────────────────────────────────────────────────

_TAKE_SUGGESTED = f"""
WITH taken AS (
    DELETE FROM match_found WHERE account_id = $1 AND suggested RETURNING *
){_INTO_BATCH}"""
# What stands already, to the letter, is left as it is: somebody may be looking at it.
_KNOWN = """
WITH standing AS (
    SELECT m.id, m.rule, m.confidence, m.fee, m.difference,
        array_agg(g.line_id ORDER BY g.line_id) FILTER (WHERE g.line_id IS NOT NULL) AS lines,
        coalesce(array_agg(g.item_id ORDER BY g.item_id) FILTER (WHERE g.item_id IS NOT NULL),
            '{}') AS items
    FROM recon_match m JOIN match_leg g ON g.match_id = m.id
    WHERE m.account_id = $1 AND m.status = 'SUGGESTED' AND m.decided_by_name IS NULL
    GROUP BY m.id
), same AS (
    SELECT s.id, b.match_id FROM standing s JOIN match_batch b ON b.rule = s.rule
        AND b.confidence = s.confidence AND b.fee = s.fee AND b.difference = s.difference
        AND (SELECT array_agg(x ORDER BY x) FROM unnest(b.line_ids) AS x) = s.lines
        AND coalesce((SELECT array_agg(x ORDER BY x) FROM unnest(b.item_ids) AS x), '{}') = s.items
), kept AS (
    DELETE FROM match_batch b USING same WHERE b.match_id = same.match_id
)
SELECT id FROM standing WHERE id NOT IN (SELECT id FROM same) ORDER BY id"""
# Another account's suggestion for the same item was there first.
_DROP_TAKEN = """
DELETE FROM match_batch b WHERE EXISTS (
    SELECT FROM match_leg g WHERE g.live AND (g.line_id = ANY(b.line_ids)
        OR g.item_id = ANY(b.item_ids)))"""


async def suggest_found(account_id: UUID, reconciliation_id: UUID | None, who: Actor) -> None:
    """The account's suggestions are what this run found: those not found again have ended."""
    async with tx(patience=60):
        await fetch(_BATCH_TABLE)
        await fetch(_TAKE_SUGGESTED, account_id, await _digits(account_id))
        await _hold()
        gone = [row["id"] for row in await fetch(_KNOWN, account_id)]
        await fetch(_LOCK_LINES, gone)
        await fetch(_LOCK_ITEMS, gone)
        await _give_way(gone, who)
        await fetch(_DROP_TAKEN)
        await fetch(_WRITE, reconciliation_id, "SUGGESTED", None, None, None)
