"""Entries: what statement lines, matches and write-offs do to the books.

All of it runs inside the caller's transaction, over any number of rows at once, and does nothing
twice. A line waits in `suspense:<account>` until a match takes it out again; an item waits in its
book, such as `clearing:<gateway>`. So at any moment suspense is what no line explains yet, and a
book is what no statement has confirmed yet.
"""

from collections.abc import Sequence
from uuid import UUID

from dusangire.database import fetch
from dusangire.errors import IllegalState

# An entry of a closed period is posted to the first open day, and nobody closes one meanwhile.
_HOLD_ACCOUNT = """SELECT a.id, a.kind FROM statement_account a
JOIN statement_import i ON i.account_id = a.id WHERE i.id = $1 FOR NO KEY UPDATE OF a"""

# A report's own line of the payout tells what its other lines add up to, and moves nothing.
_SET_ASIDE = """UPDATE statement_line SET status = 'IGNORED'
WHERE statement_import_id = $1 AND kind = 'PAYOUT' AND status = 'OPEN' AND NOT posted
    AND entry_status = 'BOOKED'"""

_LINES = """
WITH fresh AS (
    UPDATE statement_line l SET posted = true FROM statement_account a
    WHERE l.statement_import_id = $1 AND l.entry_status = 'BOOKED' AND NOT l.posted
        AND a.id = l.account_id AND NOT (a.kind = 'SETTLEMENT' AND l.kind = 'PAYOUT')
    RETURNING l.*, a.code, a.closed_until,
        CASE a.kind WHEN 'SETTLEMENT' THEN 'in_transit:' ELSE 'bank:' END || a.code AS held
)
INSERT INTO ledger_entry (cause, debit, credit, amount, currency, date, line_id, actor)
SELECT 'line', CASE direction WHEN 'CREDIT' THEN held ELSE 'suspense:' || code END,
    CASE direction WHEN 'CREDIT' THEN 'suspense:' || code ELSE held END,
    amount, currency, greatest(booking_date, closed_until + 1), id, 'system'
FROM fresh ORDER BY booking_date, number RETURNING line_id"""

# What a report says will be paid out, by its payouts: the lines of one add up to its item. More of
# them add to it while nobody has matched it, and make another one afterwards. Without the name of a
# payout, a day's lines are one.
_PAYOUTS = """
WITH fresh AS (
    SELECT l.*, coalesce(nullif(settlement, ''), booking_date::text) AS payout,
        nullif(upper(regexp_replace(settlement, '[^A-Za-z0-9]', '', 'g')), '') AS named,
        CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END AS signed,
        coalesce(occurred_at, booking_date::timestamp AT TIME ZONE 'Africa/Kigali') AS at
    FROM statement_line l WHERE id = ANY($1::uuid[])
), sums AS (
    SELECT account_id, currency, payout, min(named) AS named, sum(signed)::bigint AS signed,
        min(at) AS first, max(at) AS last
    FROM fresh GROUP BY account_id, currency, payout
), known AS (
    SELECT sums.*, item.id AS item_id, a.gateway_id, 'in_transit:' || a.code AS book,
        sums.signed + coalesce(CASE item.direction WHEN 'CREDIT' THEN item.amount
            WHEN 'DEBIT' THEN -item.amount END, 0) AS total,
        (SELECT count(*) FROM clearing_item other
            WHERE other.account_id = sums.account_id AND other.kind = 'PAYOUT'
                AND (other.settlement = payout OR starts_with(other.settlement, payout || '#'))
        ) AS before
    FROM sums JOIN statement_account a ON a.id = sums.account_id
    LEFT JOIN LATERAL (
        SELECT id, direction, amount FROM clearing_item open
        WHERE open.account_id = sums.account_id AND open.kind = 'PAYOUT'
            AND open.currency = sums.currency AND open.status = 'OPEN'
            AND (open.settlement = payout OR starts_with(open.settlement, payout || '#'))
        ORDER BY created_at, id LIMIT 1 FOR UPDATE) AS item ON true
), grown AS (
    UPDATE clearing_item SET occurred_at = greatest(occurred_at, known.last),
        amount = CASE WHEN total = 0 THEN amount ELSE abs(total) END,
        direction = CASE WHEN total < 0 THEN 'DEBIT' ELSE 'CREDIT' END,
        status = CASE WHEN total = 0 THEN 'WRITTEN_OFF' ELSE status END
    FROM known WHERE clearing_item.id = known.item_id
), made AS (
    INSERT INTO clearing_item (id, gateway_id, account_id, book, kind, direction, amount, currency,
        settlement, began_at, occurred_at)
    SELECT gen_random_uuid(), gateway_id, account_id, book, 'PAYOUT',
        CASE WHEN total < 0 THEN 'DEBIT' ELSE 'CREDIT' END, abs(total), currency,
        payout || CASE WHEN before > 0 THEN '#' || before + 1 ELSE '' END, first, last
    FROM known WHERE item_id IS NULL AND total <> 0
    RETURNING id, account_id, currency, settlement
)
INSERT INTO item_ref (item_id, kind, value)
SELECT made.id, 'SETTLEMENT', named FROM made JOIN known USING (account_id, currency)
WHERE named IS NOT NULL
    AND made.settlement = payout || CASE WHEN before > 0 THEN '#' || before + 1 ELSE '' END"""

# A wallet that is emptied to the bank: the line explains itself, and the bank has to confirm it.
_EMPTIED = """
WITH fresh AS MATERIALIZED (
    SELECT l.*, gen_random_uuid() AS item_id, gen_random_uuid() AS match_id, a.code, a.gateway_id,
        a.closed_until, coalesce(nullif(settlement, ''), nullif(transaction_id, ''),
            nullif(bank_reference, ''), booking_date::text) AS payout,
        coalesce(occurred_at, booking_date::timestamp AT TIME ZONE 'Africa/Kigali') AS at
    FROM statement_line l JOIN statement_account a ON a.id = l.account_id
    JOIN statement_import i ON i.id = l.statement_import_id AND NOT i.blocks_posting
    WHERE i.id = $1 AND a.kind = 'WALLET' AND l.kind = 'PAYOUT'
        AND l.direction = 'DEBIT' AND l.status = 'OPEN' AND l.posted
), counted AS (
    SELECT fresh.*, row_number() OVER (PARTITION BY payout ORDER BY booking_date, number, id) + (
        SELECT count(*) FROM clearing_item other
        WHERE other.account_id = fresh.account_id AND other.kind = 'PAYOUT'
            AND (other.settlement = payout OR starts_with(other.settlement, payout || '#'))
    ) AS nth
    FROM fresh
), made AS (
    INSERT INTO clearing_item (id, gateway_id, account_id, book, kind, direction, amount, currency,
        settlement, began_at, occurred_at)
    SELECT item_id, gateway_id, account_id, 'in_transit:' || code, 'PAYOUT', 'CREDIT', amount,
        currency, payout || CASE WHEN nth > 1 THEN '#' || nth ELSE '' END, at, at
    FROM counted
), named AS (
    INSERT INTO item_ref (item_id, kind, value)
    SELECT DISTINCT item_id, kind, value FROM (
        SELECT item_id, said.kind, upper(regexp_replace(value, '[^A-Za-z0-9]', '', 'g')) AS value
        FROM fresh CROSS JOIN LATERAL (VALUES ('SETTLEMENT', settlement), ('TXN', transaction_id),
            ('SETTLEMENT', bank_reference)) AS said (kind, value)
    ) AS refs WHERE value <> ''
), matched AS (
    INSERT INTO recon_match (id, account_id, status, rule, confidence, explanation, currency,
        decided_by_kind, decided_by_name, decided_at)
    SELECT match_id, account_id, 'CONFIRMED', 'payout', 100, jsonb_build_array(
        'The statement calls this line a payout: money on its way to the bank.'), currency,
        'system', 'system', now()
    FROM fresh
), leg AS (
    INSERT INTO match_leg (match_id, line_id) SELECT match_id, id FROM fresh
), explained AS (
    UPDATE statement_line SET status = 'MATCHED' FROM fresh WHERE statement_line.id = fresh.id
)
INSERT INTO ledger_entry
    (cause, debit, credit, amount, currency, date, item_id, line_id, match_id, actor)
SELECT 'payout', 'in_transit:' || code, 'suspense:' || code, amount, currency,
    greatest(booking_date, closed_until + 1), item_id, id, match_id, 'system'
FROM fresh ORDER BY booking_date, number"""


async def post_lines(import_id: UUID) -> None:
    """Takes the booked lines of an import into the books, each once, and what they pay out."""
    held = await fetch(_HOLD_ACCOUNT, import_id)
    lines = [row["line_id"] for row in await fetch(_LINES, import_id)]
    if held and held[0]["kind"] == "SETTLEMENT":
        await fetch(_SET_ASIDE, import_id)
        await fetch(_PAYOUTS, lines)
    await post_payouts(import_id)


async def post_payouts(import_id: UUID) -> None:
    """Takes what a wallet's lines call a payout as money on its way to the bank, each line once.

    Nothing while the import waits for a person: its lines explain nothing by themselves.
    """
    await fetch(_HOLD_ACCOUNT, import_id)
    await fetch(_EMPTIED, import_id)


# ── matches ──────────────────────────────────────────────────────────────────────────────────────

_HOLD_MATCHES = """SELECT id FROM statement_account WHERE id IN (
    SELECT account_id FROM recon_match WHERE id = ANY($1::uuid[])) ORDER BY id FOR SHARE"""

# The lines bring what the items say, less the fee, plus the difference: else nothing is posted.
_UNTIED = """
WITH legs AS (
    SELECT leg.match_id, coalesce(l.currency, i.currency) AS currency,
        l.account_id <> m.account_id OR NOT l.posted AS astray,
        coalesce(CASE l.direction WHEN 'CREDIT' THEN l.amount ELSE -l.amount END, 0) AS brought,
        coalesce(CASE i.direction WHEN 'CREDIT' THEN i.amount WHEN 'DEBIT' THEN -i.amount END, 0)
            AS said
    FROM match_leg leg JOIN recon_match m ON m.id = leg.match_id
    LEFT JOIN statement_line l ON l.id = leg.line_id LEFT JOIN clearing_item i ON i.id = leg.item_id
    WHERE leg.match_id = ANY($1::uuid[]) AND leg.live
)
SELECT m.id FROM recon_match m LEFT JOIN legs ON legs.match_id = m.id
WHERE m.id = ANY($1::uuid[])
GROUP BY m.id HAVING m.status <> 'CONFIRMED' OR bool_or(legs.currency <> m.currency)
    OR bool_or(astray) OR count(legs.match_id) = 0
    OR sum(brought) <> sum(said) - m.fee + m.difference"""

_MATCHES = """
WITH leg AS MATERIALIZED (
    SELECT g.match_id, l.booking_date, i.id AS item_id, i.book, i.direction, i.amount, i.gateway_id
    FROM match_leg g LEFT JOIN statement_line l ON l.id = g.line_id
    LEFT JOIN clearing_item i ON i.id = g.item_id
    WHERE g.match_id = ANY($1::uuid[]) AND g.live
), matched AS (
    SELECT m.id, m.currency, m.fee, m.difference, 'suspense:' || a.code AS suspense,
        greatest(max(leg.booking_date), a.closed_until + 1) AS day,
        'fees:' || coalesce(min(g.code), a.code) AS fees
    FROM recon_match m JOIN statement_account a ON a.id = m.account_id
    JOIN leg ON leg.match_id = m.id LEFT JOIN gateway_account g ON g.id = leg.gateway_id
    WHERE m.id = ANY($1::uuid[]) GROUP BY m.id, a.id
), moved AS (
    SELECT 'match' AS cause, suspense AS debit, leg.book AS credit,
        CASE leg.direction WHEN 'CREDIT' THEN leg.amount ELSE -leg.amount END AS amount,
        leg.item_id, m.id, m.currency, m.day
    FROM matched m JOIN leg ON leg.match_id = m.id AND leg.item_id IS NOT NULL
    UNION ALL
    SELECT 'fee', fees, suspense, fee, NULL, id, currency, day FROM matched WHERE fee <> 0
    UNION ALL
    SELECT 'difference', suspense, 'write_off', difference, NULL, id, currency, day
    FROM matched WHERE difference <> 0
)
INSERT INTO ledger_entry
    (cause, debit, credit, amount, currency, date, item_id, match_id, actor)
SELECT cause, CASE WHEN amount > 0 THEN debit ELSE credit END,
    CASE WHEN amount > 0 THEN credit ELSE debit END,
    abs(amount), currency, day, item_id, id, $2
FROM moved ORDER BY day, id, cause DESC, item_id ON CONFLICT DO NOTHING"""


async def post_matches(match_ids: Sequence[UUID], actor: str) -> None:
    """Takes what these confirmed matches explain out of suspense and out of the items' books.

    Raises IllegalState when one of them is not confirmed, or its lines do not bring what its items
    say, less the fee, plus the difference.
    """
    if not match_ids:
        return
    ids = list(match_ids)
    await fetch(_HOLD_MATCHES, ids)
    if untied := await fetch(_UNTIED, ids):
        raise IllegalState(
            f"The match {untied[0]['id']} does not add up any more, and is not booked. Let the "
            "account be reconciled again."
        )
    await fetch(_MATCHES, ids, actor)


# A payout that was on its way is not any more; the bank must not have confirmed it.
_RECALL = """
WITH recalled AS (
    SELECT i.id, i.status = 'OPEN' AND NOT EXISTS (
        SELECT FROM match_leg leg WHERE leg.item_id = i.id AND leg.live) AS free
    FROM ledger_entry e JOIN clearing_item i ON i.id = e.item_id
    WHERE e.match_id = $1 AND e.cause = 'payout' AND e.reverses IS NULL FOR UPDATE OF i
), gone AS (
    UPDATE clearing_item SET status = 'WRITTEN_OFF' FROM recalled
    WHERE clearing_item.id = recalled.id AND free
)
SELECT id FROM recalled WHERE NOT free"""

# Nothing is deleted: each entry gets one that takes it back, today.
_REVERSE = """
INSERT INTO ledger_entry (cause, debit, credit, amount, currency, date, item_id, line_id, match_id,
    reverses, actor, note)
SELECT e.cause, e.credit, e.debit, e.amount, e.currency, greatest(e.date, a.closed_until + 1,
    (now() AT TIME ZONE 'Africa/Kigali')::date), e.item_id, e.line_id, e.match_id, e.id, $2, $3
FROM ledger_entry e JOIN recon_match m ON m.id = e.match_id
JOIN statement_account a ON a.id = m.account_id
WHERE e.match_id = $1 AND e.reverses IS NULL ORDER BY e.id ON CONFLICT DO NOTHING"""


async def unpost_match(match_id: UUID, actor: str, note: str | None = None) -> None:
    """Takes the entries of a match back, by entries of their own.

    Raises IllegalState for a wallet's payout that the bank has confirmed meanwhile.
    """
    await fetch(_HOLD_MATCHES, [match_id])
    if await fetch(_RECALL, match_id):
        raise IllegalState(
            "The bank's line of this payout is matched, or about to be. Undo that match first."
        )
    await fetch(_REVERSE, match_id, actor, note)


# ── write-offs ───────────────────────────────────────────────────────────────────────────────────

_WRITE_OFF_LINE = """
WITH line AS (
    SELECT l.id, l.account_id, l.amount, l.currency, l.booking_date, l.direction
    FROM statement_line l WHERE l.id = $1 AND l.posted AND l.status = 'OPEN'
        AND NOT EXISTS (SELECT FROM match_leg WHERE line_id = l.id AND live)
        AND NOT EXISTS (SELECT FROM ledger_entry e WHERE e.line_id = l.id
            AND e.cause = 'written_off' AND e.reverses IS NULL
            AND NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id))
    FOR NO KEY UPDATE
), aside AS (
    UPDATE statement_line SET status = 'IGNORED' FROM line WHERE statement_line.id = line.id
)
INSERT INTO ledger_entry (cause, debit, credit, amount, currency, date, line_id, actor, note)
SELECT 'written_off',
    CASE direction WHEN 'CREDIT' THEN 'suspense:' || a.code ELSE 'write_off' END,
    CASE direction WHEN 'CREDIT' THEN 'write_off' ELSE 'suspense:' || a.code END,
    amount, line.currency, greatest(a.closed_until + 1, (now() AT TIME ZONE 'Africa/Kigali')::date),
    line.id, $2, $3
FROM line JOIN statement_account a ON a.id = line.account_id RETURNING id"""

_WRITE_OFF_ITEM = """
WITH item AS (
    SELECT i.* FROM clearing_item i WHERE i.id = $1 AND i.status = 'OPEN'
        AND NOT EXISTS (SELECT FROM match_leg WHERE item_id = i.id AND live)
        AND NOT EXISTS (SELECT FROM ledger_entry e WHERE e.item_id = i.id
            AND e.cause = 'written_off' AND e.reverses IS NULL
            AND NOT EXISTS (SELECT FROM ledger_entry r WHERE r.reverses = e.id))
    FOR NO KEY UPDATE
), gone AS (
    UPDATE clearing_item SET status = 'WRITTEN_OFF' FROM item WHERE clearing_item.id = item.id
)
INSERT INTO ledger_entry (cause, debit, credit, amount, currency, date, item_id, actor, note)
SELECT 'written_off', CASE direction WHEN 'CREDIT' THEN 'write_off' ELSE book END,
    CASE direction WHEN 'CREDIT' THEN book ELSE 'write_off' END, amount, currency, greatest(
        (SELECT max(closed_until) + 1 FROM statement_account a
            WHERE a.id = item.account_id OR a.gateway_id = item.gateway_id),
        (now() AT TIME ZONE 'Africa/Kigali')::date),
    id, $2, $3
FROM item RETURNING id"""


async def post_write_off_line(line_id: UUID, actor: str, note: str) -> None:
    """Money in suspense that nobody will explain; its line is set aside. Raises IllegalState."""
    # Whoever waits for the row has to look again afterwards, in a statement of its own.
    await fetch("SELECT FROM statement_line WHERE id = $1 FOR NO KEY UPDATE", line_id)
    if not await fetch(_WRITE_OFF_LINE, line_id, actor, note):
        raise IllegalState(
            "This line is matched, or written off already, or not in the books. If a match is "
            "suggested for it, reject that first."
        )


async def post_write_off_item(item_id: UUID, actor: str, note: str) -> None:
    """Money that will not come in, or need not go out. Raises IllegalState."""
    await fetch("SELECT FROM clearing_item WHERE id = $1 FOR NO KEY UPDATE", item_id)
    if not await fetch(_WRITE_OFF_ITEM, item_id, actor, note):
        raise IllegalState(
            "This is matched, or written off already. If a match is suggested for it, reject that "
            "first."
        )
