"""What does not agree, found kind by kind: each line and each item counts once, for what it is.

All of it is set-based and happens in tables that are gone with the transaction, so that a month of
an account costs the same few statements as a day.
"""

from datetime import date, timedelta

from dusangire.core import Core
from dusangire.database import fetch
from dusangire.importing.accounts import StatementAccount
from dusangire.reconciliation import calendar

# How far back a match is looked at for having come late.
_LOOK_BACK = timedelta(days=120)

# ── what is looked at ────────────────────────────────────────────────────────────────────────────

_SCOPE_TABLE = """
CREATE TEMPORARY TABLE disc_scope (account_id uuid, code text, gateway_id uuid, kind text,
    currency text, since date, covered_from date, covered_to date, today date, stale_after int,
    fee_percent numeric, fee_fixed bigint) ON COMMIT DROP"""
# Until when the money of a day may come, and when it is missed badly.
_WINDOW_TABLE = """
CREATE TEMPORARY TABLE disc_window (day date PRIMARY KEY, latest date, payout_latest date)
    ON COMMIT DROP"""
_LINE_TABLE = """
CREATE TEMPORARY TABLE disc_line (id uuid PRIMARY KEY, suggested boolean, kind text,
    direction text, amount bigint, gross bigint, fee bigint, charges bigint, currency text,
    booking_date date, is_reversal boolean) ON COMMIT DROP"""
# A line and what it names: an item, or a payment or refund that we do not call done.
_PAIR_TABLE = """
CREATE TEMPORARY TABLE disc_pair (line_id uuid, item_id uuid, payment_id uuid, target text,
    kind text, status text, state text, direction text, amount bigint, currency text, fee bigint,
    ours boolean, strong boolean) ON COMMIT DROP"""
_FOUND_TABLE = """CREATE TEMPORARY TABLE disc_found (key text PRIMARY KEY, kind text, severity text,
    payment_id uuid, item_id uuid, line_id uuid, match_id uuid, currency text, expected bigint,
    actual bigint, since date, candidates jsonb DEFAULT '[]', said jsonb DEFAULT '{}',
    takes uuid[] DEFAULT '{}') ON COMMIT DROP"""
_TAKEN_TABLE = "CREATE TEMPORARY TABLE disc_taken (id uuid PRIMARY KEY) ON COMMIT DROP"
_TAKE = """INSERT INTO disc_taken SELECT DISTINCT unnest(takes) FROM disc_found
ON CONFLICT DO NOTHING"""

_SCOPE = """
INSERT INTO disc_scope
SELECT $1, $2, $3, $4, $5,
    least(coalesce(r.from_date, s.covered_from, $6), (SELECT min(since) FROM discrepancy
        WHERE account_id = $1 AND status = 'OPEN')),
    least(s.covered_from, m.covered_from), least(greatest(s.covered_to, m.covered_to), $6),
    $6, $7, $8, $9
FROM (SELECT 1) AS one
LEFT JOIN reconciliation r ON r.id = $10
CROSS JOIN (
    SELECT min(coalesce(period_from, first)) AS covered_from,
        max(coalesce(period_to, last)) AS covered_to
    FROM statement t LEFT JOIN LATERAL (
        SELECT min(booking_date) AS first, max(booking_date) AS last FROM statement_line l
        WHERE l.statement_id = t.id AND (t.period_from IS NULL OR t.period_to IS NULL)
    ) l ON true WHERE t.account_id = $1
) s
-- Who asks for a period says that its statements are there.
CROSS JOIN (
    SELECT min(from_date) AS covered_from, max(to_date) AS covered_to FROM reconciliation
    WHERE account_id = $1 AND kind = 'MANUAL' AND status <> 'FAILED'
) m
RETURNING since, covered_from, covered_to"""
_WINDOW = """INSERT INTO disc_window
SELECT * FROM unnest($1::date[], $2::date[], $3::date[])"""

_LINES = """
INSERT INTO disc_line
SELECT l.id, l.status = 'SUGGESTED', l.kind, l.direction, l.amount, l.gross, l.fee, l.charges,
    l.currency, l.booking_date, l.is_reversal
FROM disc_scope s JOIN statement_line l ON l.account_id = s.account_id
WHERE l.status IN ('OPEN', 'SUGGESTED') AND l.entry_status = 'BOOKED' AND l.kind <> 'FAILED'"""
# A reference with check digits is the payment's, whichever gateway it went by.
_PAIRS_OF_ITEMS = """
INSERT INTO disc_pair
SELECT DISTINCT ON (l.id, i.id) l.id, i.id, i.payment_id, 'i:' || i.id, i.kind, i.status, NULL,
    i.direction, i.amount, i.currency, i.fee,
    s.gateway_id IS NULL OR i.gateway_id = s.gateway_id OR i.kind = 'PAYOUT',
    r.kind <> 'TOKEN' OR q.kind IN ('PAYMENT', 'TXN', 'TX_REF', 'REFUND') AS strong
FROM disc_line l CROSS JOIN disc_scope s
JOIN line_ref r ON r.line_id = l.id AND r.kind IN ('RF', 'RF_REPAIRED', 'ID', 'TOKEN')
JOIN item_ref q ON q.value = r.value JOIN clearing_item i ON i.id = q.item_id
WHERE (s.gateway_id IS NULL OR i.gateway_id = s.gateway_id OR r.kind = 'RF'
        OR i.kind = 'PAYOUT' AND s.kind = 'BANK')
    AND (i.account_id IS NULL OR i.account_id <> s.account_id)
    AND NOT EXISTS (SELECT FROM rejected_pair x WHERE x.line_id = l.id AND x.item_id = i.id)
ORDER BY l.id, i.id, strong DESC"""
# How they are written with us: PAY-7K3M9Q2X, and a UUID with its dashes.
_PAIRS_OF_UNPAID = """
INSERT INTO disc_pair
SELECT DISTINCT ON (l.id, p.id) l.id, NULL, p.id, 'p:' || p.id, 'PAYMENT', 'UNPAID', p.status,
    'CREDIT', p.amount, p.currency, NULL, true, true
FROM disc_line l JOIN line_ref r ON r.line_id = l.id
JOIN LATERAL (
    SELECT id FROM payment WHERE r.value ~ '^PAY[0-9A-Z]{8}$'
        AND reference = 'PAY-' || substr(r.value, 4)
    UNION ALL
    SELECT payment_id FROM payment_attempt WHERE r.value ~ '^[0-9A-F]{32}$'
        AND reference = lower(regexp_replace(r.value, '(.{8})(.{4})(.{4})(.{4})(.{12})',
            '\\1-\\2-\\3-\\4-\\5'))
) AS named ON true
JOIN payment p ON p.id = named.id
WHERE l.direction = 'CREDIT' AND p.captured = 0"""
_PAIRS_BY_TRANSACTION = """
INSERT INTO disc_pair
SELECT DISTINCT ON (l.id, p.id) l.id, NULL, p.id, 'p:' || p.id, 'PAYMENT', 'UNPAID', p.status,
    'CREDIT', p.amount, p.currency, NULL, true, true
FROM disc_scope s
JOIN payment_attempt a ON a.gateway_id = s.gateway_id AND a.created_at >= s.since - 10
    AND a.status NOT IN ('SUCCEEDED', 'REVERSED') AND a.gateway_transaction_id IS NOT NULL
JOIN line_ref r ON r.kind = 'ID'
    AND r.value = upper(regexp_replace(a.gateway_transaction_id, '[^A-Za-z0-9]', '', 'g'))
JOIN disc_line l ON l.id = r.line_id AND l.direction = 'CREDIT'
JOIN payment p ON p.id = a.payment_id AND p.captured = 0
WHERE NOT EXISTS (SELECT FROM disc_pair x WHERE x.line_id = l.id AND x.payment_id = p.id)"""
_PAIRS_OF_REFUNDS = """
INSERT INTO disc_pair
SELECT DISTINCT ON (l.id, f.id) l.id, NULL, f.payment_id, 'r:' || f.id, 'REFUND', 'UNPAID',
    f.status, 'DEBIT', f.amount, f.currency, NULL, true, true
FROM disc_line l JOIN line_ref r ON r.line_id = l.id
JOIN LATERAL (
    SELECT * FROM refund WHERE r.value ~ '^REF[0-9A-Z]{8}$'
        AND reference = 'REF-' || substr(r.value, 4)
    UNION ALL
    SELECT * FROM refund WHERE r.value ~ '^[0-9A-F]{32}$'
        AND gateway_reference = lower(regexp_replace(r.value,
            '(.{8})(.{4})(.{4})(.{4})(.{12})', '\\1-\\2-\\3-\\4-\\5'))
) AS f ON true
WHERE l.direction = 'DEBIT' AND f.status <> 'SUCCEEDED'"""

# ── the kinds, in the order in which something is said to be one of them ─────────────────────────

_CURRENCY = """
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, line_id, currency, actual, since,
    said, takes)
SELECT DISTINCT ON (l.id) 'CURRENCY_MISMATCH|' || p.target || '|' || l.id, 'CURRENCY_MISMATCH',
    'CRITICAL', p.payment_id, p.item_id, l.id, l.currency, l.amount, l.booking_date,
    jsonb_build_object('ours', p.amount, 'our_currency', p.currency),
    ARRAY[l.id, coalesce(p.item_id, p.payment_id)]
FROM disc_pair p JOIN disc_line l ON l.id = p.line_id
WHERE p.strong AND p.direction = l.direction AND p.currency <> l.currency
    AND NOT EXISTS (SELECT FROM disc_pair x WHERE x.line_id = l.id AND x.strong
        AND x.currency = l.currency AND x.direction = l.direction)
ORDER BY l.id, p.target ON CONFLICT DO NOTHING"""

# Where neither was matched, for each would do, that is the same cause.
_SAME_TRANSACTION = """
INSERT INTO disc_found (key, kind, severity, payment_id, line_id, currency, actual, since, said,
    takes)
SELECT DISTINCT ON (l.id) 'DUPLICATE||' || l.id, 'DUPLICATE', 'HIGH',
    (SELECT min(p.payment_id::text)::uuid FROM disc_pair p WHERE p.line_id = l.id AND p.strong),
    l.id, l.currency, l.amount, l.booking_date,
    jsonb_build_object('sort', 'transaction', 'other_date', o.booking_date),
    ARRAY[l.id] || CASE o.status WHEN 'MATCHED' THEN '{}' ELSE o.id || ARRAY(
        SELECT p.item_id FROM disc_pair p
        WHERE p.line_id = l.id AND p.strong AND p.status = 'OPEN') END
FROM disc_line l
JOIN line_ref r ON r.line_id = l.id AND r.kind = 'ID'
JOIN line_ref q ON q.value = r.value AND q.kind = 'ID' AND q.line_id <> l.id
JOIN statement_line o ON o.id = q.line_id
JOIN statement_line t ON t.id = l.id
JOIN disc_scope s ON s.account_id = o.account_id
WHERE o.transaction_id = t.transaction_id AND o.direction = l.direction AND o.amount = l.amount
    AND o.currency = l.currency AND o.entry_status = 'BOOKED'
    AND NOT (o.is_reversal OR l.is_reversal OR l.kind IN ('FEE', 'PAYOUT') OR l.suggested)
    AND (o.status = 'MATCHED' OR (o.booking_date, o.id) < (l.booking_date, l.id))
    AND NOT EXISTS (SELECT FROM disc_taken WHERE id = l.id)
ORDER BY l.id, o.booking_date, o.id ON CONFLICT DO NOTHING"""
_PAID_AGAIN = """
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, line_id, currency, expected,
    actual, since, said, takes)
SELECT DISTINCT ON (l.id) 'DUPLICATE|' || p.target || '|' || l.id, 'DUPLICATE', 'HIGH',
    p.payment_id, p.item_id, l.id, l.currency, p.amount, l.amount, l.booking_date,
    jsonb_build_object('sort', CASE WHEN p.ours THEN 'line' ELSE 'gateway' END), ARRAY[l.id]
FROM disc_pair p JOIN disc_line l ON l.id = p.line_id
WHERE p.strong AND p.item_id IS NOT NULL AND p.direction = l.direction AND p.currency = l.currency
    AND (p.status = 'MATCHED' OR NOT p.ours)
    AND NOT (l.is_reversal OR l.kind IN ('FEE', 'PAYOUT') OR l.suggested)
    AND NOT EXISTS (SELECT FROM disc_pair x WHERE x.line_id = l.id AND x.direction = l.direction
        AND x.ours AND x.status IN ('OPEN', 'UNPAID'))
    AND NOT EXISTS (SELECT FROM disc_taken WHERE id = l.id)
ORDER BY l.id, p.target ON CONFLICT DO NOTHING"""
# Each of them would do alone, so that nothing was matched: which one is the other, a person says.
# One may be suggested by its day; it is the other one then that came twice.
_PAID_TWICE = """
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, line_id, currency, expected,
    actual, since, said, takes)
SELECT 'DUPLICATE|' || target || '|' || line_id, 'DUPLICATE', 'HIGH', payment_id, item_id, line_id,
    currency, amount, came, booking_date, '{"sort": "open"}', takes
FROM (
    SELECT p.target, p.payment_id, p.item_id, p.amount, p.currency, l.id AS line_id,
        l.amount AS came, l.booking_date, l.suggested,
        array_agg(l.id) OVER (PARTITION BY p.item_id) || p.item_id AS takes,
        row_number() OVER (PARTITION BY p.item_id
            ORDER BY l.suggested DESC, l.booking_date, l.id) AS nth
    FROM disc_pair p JOIN disc_line l ON l.id = p.line_id
    WHERE p.strong AND p.ours AND p.status = 'OPEN' AND p.direction = l.direction
        AND p.currency = l.currency AND p.amount IN (l.amount, l.gross)
        AND NOT (l.is_reversal OR l.kind IN ('FEE', 'PAYOUT'))
        AND NOT EXISTS (SELECT FROM disc_pair x WHERE x.line_id = l.id AND x.strong
            AND x.target <> p.target AND x.direction = l.direction)
        AND NOT EXISTS (SELECT FROM disc_taken WHERE id IN (l.id, p.item_id))
) AS equal WHERE nth > 1 AND NOT suggested ON CONFLICT DO NOTHING"""
_CAPTURED_TWICE = """
INSERT INTO disc_found (key, kind, severity, payment_id, currency, expected, actual, since, said)
SELECT 'DUPLICATE|p:' || p.id || '|', 'DUPLICATE', 'HIGH', p.id, p.currency, p.amount,
    p.captured - p.refunded, (coalesce(p.completed_at, p.created_at)
        AT TIME ZONE 'Africa/Kigali')::date, '{"sort": "attempts"}'
FROM disc_scope s, payment p
WHERE p.needs_attention <> '[]' AND p.needs_attention ? 'DUPLICATE_CAPTURE'
    AND p.captured - p.refunded > p.amount AND EXISTS (
        SELECT FROM clearing_item i WHERE i.payment_id = p.id AND i.gateway_id = s.gateway_id)
ON CONFLICT DO NOTHING"""

_PAID_WITHOUT_US = """
INSERT INTO disc_found (key, kind, severity, payment_id, line_id, currency, expected, actual, since,
    said, takes)
SELECT DISTINCT ON (l.id) 'STATUS_MISMATCH|' || p.target || '|' || l.id, 'STATUS_MISMATCH',
    'CRITICAL', p.payment_id, l.id, l.currency, p.amount, l.amount, l.booking_date,
    jsonb_build_object('sort', lower(p.kind), 'state', p.state), ARRAY[l.id, p.payment_id]
FROM disc_pair p JOIN disc_line l ON l.id = p.line_id
WHERE p.status = 'UNPAID' AND p.currency = l.currency AND p.direction = l.direction
    AND p.amount IN (l.amount, l.gross) AND l.kind <> 'FEE'
    AND NOT EXISTS (SELECT FROM disc_pair x WHERE x.line_id = l.id AND x.direction = l.direction
        AND x.ours AND x.status = 'OPEN' AND x.strong)
    AND NOT EXISTS (SELECT FROM disc_taken WHERE id = l.id)
ORDER BY l.id, p.target ON CONFLICT DO NOTHING"""
# Few lines failed, and much is open: from the few to the many.
_FAILED_THERE = """
WITH failed AS MATERIALIZED (
    SELECT l.id, l.direction, l.booking_date, s.gateway_id
    FROM disc_scope s
    JOIN statement_line l ON l.account_id = s.account_id AND l.booking_date >= s.since
        AND l.kind = 'FAILED'
), named AS MATERIALIZED (
    SELECT DISTINCT l.*, q.item_id
    FROM failed l JOIN line_ref r ON r.line_id = l.id AND r.kind <> 'PHONE'
    JOIN item_ref q ON q.value = r.value AND q.kind IN ('TXN', 'TX_REF')
)
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, line_id, currency, expected,
    actual, since, said, takes)
SELECT DISTINCT ON (i.id) 'STATUS_MISMATCH|i:' || i.id || '|' || l.id, 'STATUS_MISMATCH',
    'CRITICAL', i.payment_id, i.id, l.id, i.currency, i.amount, 0, l.booking_date,
    jsonb_build_object('sort', 'failed', 'item', i.kind), ARRAY[i.id]
FROM named l
JOIN clearing_item i ON i.id = l.item_id AND i.status = 'OPEN' AND i.direction = l.direction
WHERE l.gateway_id IS NULL OR i.gateway_id = l.gateway_id
ORDER BY i.id, l.booking_date DESC, l.id ON CONFLICT DO NOTHING"""

_WENT_BACK = """
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, line_id, currency, expected,
    actual, since, takes)
SELECT DISTINCT ON (l.id) kind || '|' || coalesce(target, '') || '|' || l.id, kind, 'HIGH',
    payment_id, item_id, l.id, l.currency, l.expected, l.amount, l.booking_date, ARRAY[l.id]
FROM (
    SELECT l.id, CASE WHEN l.kind = 'CHARGEBACK' THEN 'CHARGEBACK' ELSE 'REVERSED' END AS kind,
        p.target, p.payment_id, p.item_id, l.currency, p.amount AS expected, l.amount,
        l.booking_date
    FROM disc_line l
    LEFT JOIN disc_pair p ON p.line_id = l.id AND p.strong AND p.kind = 'PAYMENT'
        AND p.direction = 'CREDIT'
    WHERE l.direction = 'DEBIT' AND l.kind <> 'FEE' AND NOT l.suggested
        AND (p.line_id IS NOT NULL OR l.kind = 'CHARGEBACK')
        AND NOT EXISTS (SELECT FROM disc_pair x WHERE x.line_id = l.id AND x.strong
            AND x.direction = 'DEBIT' AND x.ours)
        AND NOT EXISTS (SELECT FROM disc_taken WHERE id = l.id)
) AS l
ORDER BY l.id, target ON CONFLICT DO NOTHING"""
# The bank took back its own line: the two are paired, and what they meant to pay is not paid.
_TAKEN_BACK = """
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, line_id, match_id, currency,
    expected, actual, since, takes)
SELECT DISTINCT ON (i.id) 'REVERSED|i:' || i.id || '|', 'REVERSED', 'HIGH', i.payment_id, i.id,
    pair.line_id, pair.match_id, i.currency, i.amount, 0, pair.booking_date, ARRAY[i.id]
FROM (
    SELECT m.id AS match_id, max(l.booking_date) AS booking_date,
        (array_agg(l.id ORDER BY l.booking_date DESC, l.id))[1] AS line_id,
        array_agg(l.id) AS lines
    FROM disc_scope s
    JOIN statement_line l ON l.account_id = s.account_id AND l.booking_date >= s.since - 10
        AND l.status = 'MATCHED'
    JOIN match_leg g ON g.line_id = l.id AND g.live
    JOIN recon_match m ON m.id = g.match_id AND m.status = 'CONFIRMED'
    WHERE NOT EXISTS (
        SELECT FROM match_leg x WHERE x.match_id = m.id AND x.item_id IS NOT NULL AND x.live)
    GROUP BY m.id HAVING count(DISTINCT l.direction) = 2
) AS pair
CROSS JOIN disc_scope s
JOIN line_ref r ON r.line_id = ANY(pair.lines) AND r.kind IN ('RF', 'RF_REPAIRED', 'ID')
JOIN item_ref q ON q.value = r.value
JOIN clearing_item i ON i.id = q.item_id AND i.status = 'OPEN' AND i.kind = 'PAYMENT'
WHERE s.gateway_id IS NULL OR i.gateway_id = s.gateway_id
ORDER BY i.id, pair.booking_date DESC, pair.match_id ON CONFLICT DO NOTHING"""

# Parts of one payment are one cause; so is one transfer for many.
_AMOUNTS = """
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, line_id, match_id, currency,
    expected, actual, since, said, takes)
WITH pair AS (
    SELECT p.*, l.currency AS line_currency, coalesce(l.gross, l.amount) AS came, l.charges,
        l.booking_date, count(*) OVER (PARTITION BY l.id) AS targets
    FROM disc_pair p JOIN disc_line l ON l.id = p.line_id
    WHERE p.status IN ('OPEN', 'UNPAID') AND p.ours AND p.currency = l.currency
        AND p.direction = l.direction AND l.kind <> 'FEE'
        AND (p.strong OR NOT EXISTS (
            SELECT FROM disc_pair x WHERE x.line_id = l.id AND (x.strong OR x.target <> p.target)))
        AND NOT EXISTS (SELECT FROM disc_taken WHERE id IN (l.id, p.item_id, p.payment_id))
), cause AS (
    SELECT target AS about, payment_id, item_id, (array_agg(line_id ORDER BY booking_date, line_id)
        )[1] AS line_id, line_currency, amount AS expected, sum(came)::bigint AS actual,
        min(booking_date) AS since, max(fee) AS fee, sum(charges)::bigint AS charges,
        count(*) AS lines, 1::bigint AS items,
        array_agg(line_id) || coalesce(item_id, payment_id) AS takes
    FROM pair WHERE targets = 1 GROUP BY target, payment_id, item_id, line_currency, amount
    UNION ALL
    SELECT '', NULL, NULL, line_id, line_currency, sum(amount)::bigint, max(came),
        min(booking_date), sum(fee)::bigint, max(charges), 1, count(*),
        array_agg(coalesce(item_id, payment_id)) || line_id
    FROM pair WHERE targets > 1 GROUP BY line_id, line_currency
)
SELECT 'AMOUNT_MISMATCH|' || about || '|' || CASE WHEN about = '' THEN line_id::text ELSE '' END,
    'AMOUNT_MISMATCH', 'HIGH', payment_id, item_id, line_id,
    (SELECT match_id FROM match_leg g WHERE g.line_id = cause.line_id AND g.live), line_currency,
    expected, actual, cause.since, jsonb_build_object('lines', lines, 'items', items, 'sort', CASE
        WHEN actual > expected THEN 'OVERPAID'
        WHEN expected - actual IN (fee, charges, round(expected * s.fee_percent / 100)
            + s.fee_fixed) THEN 'FEE_LIKE'
        ELSE 'UNDERPAID' END), takes
FROM cause CROSS JOIN disc_scope s WHERE actual <> expected
ON CONFLICT DO NOTHING"""

# What matching found as good as something else; it says which. The line is what a person looks at.
_AMBIGUOUS = """
INSERT INTO disc_found (key, kind, severity, line_id, currency, actual, since, candidates, takes)
SELECT 'AMBIGUOUS||' || l.id, 'AMBIGUOUS', 'MEDIUM', l.id, l.currency, l.amount, l.booking_date,
    jsonb_agg(jsonb_build_object('item', i.id, 'payment', p.reference, 'payment_id', p.id,
            'settlement', i.settlement, 'amount', i.amount, 'date',
            (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date, 'score', a.score)
        ORDER BY a.score DESC, i.occurred_at, i.id),
    ARRAY[l.id] || array_agg(i.id)
FROM disc_scope s JOIN match_ambiguity a ON a.account_id = s.account_id
JOIN disc_line l ON l.id = a.line_id AND NOT l.suggested
JOIN clearing_item i ON i.id = a.item_id AND i.status = 'OPEN'
LEFT JOIN payment p ON p.id = i.payment_id
WHERE NOT EXISTS (SELECT FROM disc_taken WHERE id = l.id)
GROUP BY l.id ON CONFLICT DO NOTHING"""

_LATE = """
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, line_id, match_id, currency,
    expected, actual, since, said)
SELECT DISTINCT ON (i.id) 'LATE|i:' || i.id || '|', 'LATE', 'MEDIUM', i.payment_id, i.id, l.id,
    g.match_id, i.currency, i.amount, i.amount, l.booking_date,
    jsonb_build_object('sort', 'match', 'paid', w.day, 'latest', w.latest)
FROM disc_scope s
JOIN statement_line l ON l.account_id = s.account_id AND l.booking_date >= s.since
    AND l.status = 'MATCHED'
JOIN match_leg g ON g.line_id = l.id AND g.live
JOIN match_leg h ON h.match_id = g.match_id AND h.live AND h.item_id IS NOT NULL
JOIN clearing_item i ON i.id = h.item_id AND i.direction = 'CREDIT' AND i.status = 'MATCHED'
JOIN disc_window w ON w.day = (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date
WHERE l.booking_date > CASE WHEN i.kind = 'PAYOUT' THEN w.payout_latest ELSE w.latest END
ORDER BY i.id, l.booking_date, l.id ON CONFLICT DO NOTHING"""
_LATE_SUCCESS = """
INSERT INTO disc_found (key, kind, severity, payment_id, currency, expected, actual, since, said)
SELECT 'LATE|p:' || p.id || '|', 'LATE', 'MEDIUM', p.id, p.currency, p.amount, p.captured,
    (coalesce(p.completed_at, p.created_at) AT TIME ZONE 'Africa/Kigali')::date,
    '{"sort": "ended"}'
FROM disc_scope s, payment p
WHERE p.needs_attention <> '[]' AND p.needs_attention ? 'LATE_SUCCESS' AND p.captured > 0
    AND EXISTS (
        SELECT FROM clearing_item i WHERE i.payment_id = p.id AND i.gateway_id = s.gateway_id)
ON CONFLICT DO NOTHING"""

_FEES = """
INSERT INTO disc_found (key, kind, severity, payment_id, line_id, currency, expected, actual, since)
SELECT 'FEE_MISMATCH||' || l.id, 'FEE_MISMATCH', 'LOW', (
        SELECT i.payment_id FROM match_leg g JOIN match_leg h ON h.match_id = g.match_id AND h.live
        JOIN clearing_item i ON i.id = h.item_id WHERE g.line_id = l.id AND g.live
        ORDER BY i.payment_id LIMIT 1
    ), l.id, l.currency, l.agreed, l.fee, l.booking_date
FROM (
    SELECT l.*, (round(coalesce(l.gross, l.amount + l.fee) * s.fee_percent / 100)
        + s.fee_fixed)::bigint AS agreed
    FROM disc_scope s
    JOIN statement_line l ON l.account_id = s.account_id AND l.booking_date >= s.since
    WHERE s.fee_percent IS NOT NULL AND l.fee IS NOT NULL AND l.direction = 'CREDIT'
        AND l.entry_status = 'BOOKED' AND l.status IN ('OPEN', 'SUGGESTED', 'MATCHED')
        AND l.kind IN ('PAYMENT', 'OTHER')
) AS l
-- Half a minor unit goes one way with them and the other way with us.
WHERE abs(l.fee - l.agreed) > 1
    AND NOT EXISTS (SELECT FROM disc_taken WHERE id = l.id)
ON CONFLICT DO NOTHING"""

# What this account's statements have to show: a payout is the bank's; a payment is its gateway's
# own account's, and the bank's where the gateway has none.
_EXPECTED = """
    SELECT i.*, (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date AS day
    FROM disc_scope s JOIN clearing_item i ON i.status = 'OPEN' AND i.currency = s.currency AND (
        i.account_id IS NULL AND i.gateway_id = s.gateway_id
            AND (s.kind <> 'BANK' OR NOT EXISTS (SELECT FROM statement_account o
                WHERE o.gateway_id = i.gateway_id AND o.kind <> 'BANK'))
        OR i.kind = 'PAYOUT' AND s.kind = 'BANK'
        OR s.gateway_id IS NULL AND s.kind = 'BANK' AND i.account_id IS NULL AND NOT EXISTS (
            SELECT FROM statement_account o WHERE o.gateway_id = i.gateway_id))
    WHERE NOT EXISTS (SELECT FROM match_leg g WHERE g.item_id = i.id AND g.live)
        AND NOT EXISTS (SELECT FROM disc_taken WHERE id IN (i.id, i.payment_id))"""
# Inside its window money is on its way; the day after, it is missing.
_MISSING = f"""
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, currency, expected, actual, since,
    said, takes)
SELECT kind || '|i:' || id || '|', kind, severity, payment_id, id, currency, amount, 0, day,
    jsonb_build_object('item', item_kind, 'latest', latest), ARRAY[id]
FROM (
    SELECT i.id, i.payment_id, i.currency, i.amount, i.day, i.kind AS item_kind, t.latest,
        CASE s.kind WHEN 'BANK' THEN 'MISSING_IN_BANK' ELSE 'MISSING_AT_PROVIDER' END AS kind,
        CASE WHEN s.kind <> 'BANK' THEN 'CRITICAL'
            WHEN s.covered_to > t.latest + 2 THEN 'HIGH' ELSE 'MEDIUM' END AS severity
    FROM ({_EXPECTED}) AS i CROSS JOIN disc_scope s JOIN disc_window w ON w.day = i.day
    CROSS JOIN LATERAL (SELECT CASE WHEN i.kind = 'PAYOUT' THEN w.payout_latest ELSE w.latest END
        AS latest) AS t
    WHERE t.latest <= s.covered_to AND i.day >= s.covered_from
) AS missing ON CONFLICT DO NOTHING"""
_STALE = f"""
INSERT INTO disc_found (key, kind, severity, payment_id, item_id, currency, expected, since, said,
    takes)
SELECT 'STALE_CLEARING|i:' || i.id || '|', 'STALE_CLEARING', 'MEDIUM', i.payment_id, i.id,
    i.currency, i.amount, i.day, jsonb_build_object('item', i.kind), ARRAY[i.id]
FROM ({_EXPECTED}) AS i CROSS JOIN disc_scope s WHERE i.day < s.today - s.stale_after
ON CONFLICT DO NOTHING"""
_UNKNOWN_LINES = """
INSERT INTO disc_found (key, kind, severity, line_id, currency, actual, since, said, takes)
SELECT kind || '||' || id, kind, 'HIGH', id, currency, amount, booking_date,
    jsonb_build_object('line', line_kind), ARRAY[id]
FROM (
    SELECT l.id, l.currency, l.amount, l.booking_date, l.kind AS line_kind, CASE l.direction
        WHEN 'CREDIT' THEN 'MISSING_IN_SYSTEM' ELSE 'UNIDENTIFIED_DEBIT' END AS kind
    FROM disc_line l WHERE NOT l.suggested AND NOT EXISTS (SELECT FROM disc_taken WHERE id = l.id)
) AS l ON CONFLICT DO NOTHING"""

_DOES_NOT_TIE = """
INSERT INTO disc_found (key, kind, severity, currency, expected, since, said)
SELECT 'BALANCE_BREAK|statement:' || t.id || '|', 'BALANCE_BREAK', 'CRITICAL', t.currency,
    t.closing, coalesce(t.period_to, t.created_at::date),
    jsonb_build_object('sort', 'tie', 'number', t.number)
FROM disc_scope s JOIN statement t ON t.account_id = s.account_id AND t.ties = false
ON CONFLICT DO NOTHING"""
# A statement goes on where the last one before it ended. Where several end on that day, one of
# them has to be it; a statement that overlaps with an earlier one is not looked at.
_GAPS = """
INSERT INTO disc_found (key, kind, severity, currency, expected, actual, since, said)
SELECT 'BALANCE_BREAK|gap:' || before.period_to || ':' || t.period_from || ':' || t.currency || '|',
    'BALANCE_BREAK', 'CRITICAL', t.currency, before.closing, t.opening, t.period_from,
    jsonb_build_object('sort', 'gap', 'from', before.period_to, 'to', t.period_from)
FROM disc_scope s JOIN statement t ON t.account_id = s.account_id
JOIN LATERAL (
    SELECT b.period_to, min(b.closing) AS closing, bool_or(b.closing = t.opening) AS continues
    FROM statement b
    WHERE b.account_id = t.account_id AND b.currency = t.currency AND b.closing IS NOT NULL
        AND b.period_to < t.period_from
    GROUP BY b.period_to ORDER BY b.period_to DESC LIMIT 1
) AS before ON NOT before.continues
WHERE t.opening IS NOT NULL AND NOT EXISTS (
    SELECT FROM statement o WHERE o.account_id = t.account_id AND o.currency = t.currency
        AND o.id <> t.id AND o.period_from < t.period_from AND o.period_to >= t.period_from)
    AND NOT EXISTS (
    SELECT FROM statement o WHERE o.account_id = t.account_id AND o.currency = t.currency
        AND o.period_from = t.period_from AND o.opening = before.closing)
ON CONFLICT DO NOTHING"""
# What is on its way at a gateway is what its open items say, to the franc.
_BOOKS = """
INSERT INTO disc_found (key, kind, severity, currency, expected, actual, since, said)
SELECT 'BALANCE_BREAK|book:' || b.book || ':' || b.currency || '|', 'BALANCE_BREAK', 'CRITICAL',
    b.currency, expected, actual, s.today, jsonb_build_object('sort', 'book', 'book', b.book)
FROM disc_scope s CROSS JOIN LATERAL (
    SELECT b.account AS book, b.currency, b.debits - b.credits AS actual, coalesce((
        SELECT sum(CASE i.direction WHEN 'CREDIT' THEN i.amount ELSE -i.amount END)
        FROM clearing_item i
        WHERE i.book = b.account AND i.currency = b.currency AND i.status = 'OPEN'), 0)::bigint
        AS expected
    FROM ledger_balance b WHERE b.account IN ('in_transit:' || s.code, 'clearing:' || (
        SELECT code FROM gateway_account WHERE id = s.gateway_id))
) AS b WHERE expected <> actual ON CONFLICT DO NOTHING"""


async def detect(
    core: Core, account: StatementAccount, reconciliation_id: object, to_date: date
) -> None:
    """Writes everything that does not agree into `disc_found`, a table of this transaction."""
    await _prepare()
    today = min(core.today(), to_date)
    settings = account.settings
    [scope] = await fetch(
        _SCOPE,
        account.id,
        account.code,
        account.gateway_id,
        str(account.kind),
        account.currency,
        today,
        settings.stale_after,
        settings.fee_percent,
        settings.fee_fixed,
        reconciliation_id,
    )
    begin = min(scope["since"], scope["covered_from"] or scope["since"]) - _LOOK_BACK
    days = [begin + timedelta(days=n) for n in range((today - begin).days + 1)]
    await fetch(
        _WINDOW,
        days,
        [calendar.business_days_after(day, settings.days_after) for day in days],
        [calendar.business_days_after(day, settings.payout_after) for day in days],
    )
    await _name_names()
    await _look()


async def _prepare() -> None:
    await fetch(_SCOPE_TABLE)
    await fetch(_WINDOW_TABLE)
    await fetch(_LINE_TABLE)
    await fetch(_PAIR_TABLE)
    await fetch(_FOUND_TABLE)
    await fetch(_TAKEN_TABLE)


async def _name_names() -> None:
    """Puts open lines together with what they name."""
    await fetch(_LINES)
    await fetch(_PAIRS_OF_ITEMS)
    await fetch(_PAIRS_OF_UNPAID)
    await fetch(_PAIRS_BY_TRANSACTION)
    await fetch(_PAIRS_OF_REFUNDS)
    await fetch("ANALYZE disc_line")
    await fetch("ANALYZE disc_pair")


async def _look() -> None:
    """Kind by kind; what one has taken is not there for the next."""
    await fetch(_CURRENCY)
    await fetch(_TAKE)
    await fetch(_SAME_TRANSACTION)
    await fetch(_TAKE)
    await fetch(_PAID_AGAIN)
    await fetch(_TAKE)
    await fetch(_PAID_TWICE)
    await fetch(_TAKE)
    await fetch(_CAPTURED_TWICE)
    await fetch(_TAKE)
    await fetch(_PAID_WITHOUT_US)
    await fetch(_TAKE)
    await fetch(_FAILED_THERE)
    await fetch(_TAKE)
    await fetch(_WENT_BACK)
    await fetch(_TAKE)
    await fetch(_TAKEN_BACK)
    await fetch(_TAKE)
    await fetch(_AMOUNTS)
    await fetch(_TAKE)
    await fetch(_AMBIGUOUS)
    await fetch(_TAKE)
    await fetch(_LATE)
    await fetch(_TAKE)
    await fetch(_LATE_SUCCESS)
    await fetch(_TAKE)
    await fetch(_FEES)
    await fetch(_TAKE)
    await fetch(_MISSING)
    await fetch(_TAKE)
    await fetch(_STALE)
    await fetch(_TAKE)
    await fetch(_UNKNOWN_LINES)
    await fetch(_TAKE)
    await fetch(_DOES_NOT_TIE)
    await fetch(_TAKE)
    await fetch(_GAPS)
    await fetch(_TAKE)
    await fetch(_BOOKS)
    await fetch(_TAKE)
