"""Lines and items that name each other: hash joins over everything that is open, all at once.

Each statement writes what it found into `match_found`, and ties into `match_ambiguity`: where a
line has two items or an item two lines, nobody guesses.
"""

# What of the account is still open, and not found by an earlier pass or being decided by a person.
# $1 the account, $2 and $3 its days, $4 the gateways.
LINES = """
    SELECT l.id, l.direction, l.amount, l.currency, l.gross, l.fee, l.charges, l.booking_date,
        l.kind, l.is_reversal, l.bank_reference, l.narration, i.blocks_posting
    FROM statement_line l
    JOIN statement_import i ON i.id = l.statement_import_id
    JOIN statement_account a ON a.id = l.account_id
    LEFT JOIN (
        SELECT unnest(line_ids) AS id FROM match_found WHERE account_id = $1
        UNION SELECT g.line_id FROM recon_match m JOIN match_leg g ON g.match_id = m.id
        WHERE m.account_id = $1 AND m.status = 'SUGGESTED' AND m.decided_by_name IS NOT NULL
            AND g.line_id IS NOT NULL
    ) AS taken ON taken.id = l.id
    WHERE l.account_id = $1 AND l.status IN ('OPEN', 'SUGGESTED') AND l.entry_status = 'BOOKED'
        AND l.posted AND l.kind <> 'FAILED' AND l.booking_date BETWEEN $2 AND $3
        AND l.booking_date > coalesce(a.closed_until, '-infinity') AND taken.id IS NULL"""
ITEMS = """
    SELECT i.id, i.kind, i.direction, i.amount, i.currency, i.fee,
        (i.began_at AT TIME ZONE 'Africa/Kigali')::date AS began,
        (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date AS day
    FROM clearing_item i
    LEFT JOIN (
        SELECT unnest(item_ids) AS id FROM match_found WHERE account_id = $1
        UNION SELECT g.item_id FROM recon_match m JOIN match_leg g ON g.match_id = m.id
        WHERE m.status = 'SUGGESTED' AND m.decided_by_name IS NOT NULL AND g.item_id IS NOT NULL
    ) AS taken ON taken.id = i.id
    WHERE i.status = 'OPEN' AND i.kind <> 'PAYOUT' AND i.gateway_id = ANY($4)
        AND taken.id IS NULL"""

EXACT = "line.amount = item.amount"
# The provider's fee is what it says it is, what our gateway told us, or what the contract says.
_FEE = """(CASE line.direction WHEN 'CREDIT' THEN item.amount - line.amount
        ELSE line.amount - item.amount END)"""
NET = f"""line.amount <> item.amount AND (abs(line.gross) = item.amount
        OR {_FEE} IN (line.fee, line.charges, item.fee)
        OR {_FEE} = round(item.amount * percent / 100) + fixed)"""
WITHIN = f"""line.amount <> item.amount AND abs({_FEE}) <= fixed
        AND abs({_FEE}) <= item.amount * percent / 100"""
# A word may be anybody's: it counts only near the payment.
NEAR = "AND line.booking_date <= item.day + 31"

# $5 confidence, $6 threshold, $7 kinds of the lines' references, $8 of the items', $9 decimals of
# the currency, $10 and $11 a percentage and an amount, $12 the rule, $13 its words.
_SETTINGS = """settings AS (
    SELECT $5::smallint AS confidence, $6::int AS threshold, $9::int AS digits,
        power(10::numeric, $9::int) AS unit, $10::numeric AS percent,
        $11::numeric AS fixed, $12::text AS rule, $13::text AS words
)"""
_SUGGESTED = """(confidence < threshold OR blocks_posting OR EXISTS (
            SELECT FROM match_ambiguity x
            WHERE x.account_id = $1 AND (x.line_id = ANY({lines}) OR x.item_id = ANY({items}))))"""
_PAIR_SUGGESTED = _SUGGESTED.format(lines="ARRAY[counted.line_id]", items="ARRAY[counted.item_id]")
_PARTS_SUGGESTED = _SUGGESTED.format(lines="whole.line_ids", items="ARRAY[whole.item_id]")
_WHOLE_SUGGESTED = _SUGGESTED.format(lines="ARRAY[whole.line_id]", items="whole.item_ids")
_MONEY = """trim(to_char({amount} / unit, CASE digits
            WHEN 0 THEN 'FM999,999,999,999,999,990' WHEN 2 THEN 'FM999,999,999,999,999,990.00'
            ELSE 'FM999,999,999,999,999,990.000' END)) || ' ' || currency"""
_AMOUNT = _MONEY.format(amount="amount")
_DAYS = """CASE WHEN days = 0 THEN 'The same day.' WHEN days = 1 THEN 'Booked 1 day later.'
            WHEN days > 1 THEN 'Booked ' || days || ' days later.'
            ELSE 'Booked ' || -days || ' day(s) before.' END"""
_BOTH_SIDES = f"{_AMOUNT} || ' on both sides.'"
_APART = f"""{_AMOUNT} || ' of ours; on the statement ' || {_MONEY.format(amount="abs(fee)")}
            || CASE WHEN (fee > 0) = (direction = 'CREDIT') THEN ' less.' ELSE ' more.' END"""


def _one_to_one(amounts: str, *, near: str = "", fee: str = "0", difference: str = "0") -> str:
    """One line, one item, which have a reference in common."""
    words = _BOTH_SIDES if fee == difference else _APART
    return f"""
WITH {_SETTINGS}, line AS ({LINES}
), item AS ({ITEMS}
), pair AS (
    SELECT line.id AS line_id, item.id AS item_id, min(r.value) AS value, item.amount,
        line.currency, line.direction, line.booking_date - item.day AS days, line.blocks_posting,
        {_FEE} AS fee
    FROM line
    JOIN line_ref r ON r.line_id = line.id AND r.kind = ANY($7)
    JOIN item_ref q ON q.value = r.value AND q.kind = ANY($8)
    JOIN item ON item.id = q.item_id AND item.direction = line.direction
        AND item.currency = line.currency
    CROSS JOIN settings
    WHERE {amounts} AND line.booking_date >= item.began - 1 {near}
        AND line.kind <> 'CHARGEBACK' AND NOT EXISTS (
            SELECT FROM rejected_pair x WHERE x.line_id = line.id AND x.item_id = item.id)
    GROUP BY line.id, item.id, item.amount, line.amount, line.currency, line.direction,
        line.booking_date, item.day, line.blocks_posting
), counted AS (
    SELECT pair.*, count(*) OVER (PARTITION BY line_id) AS items,
        count(*) OVER (PARTITION BY item_id) AS lines FROM pair
), found AS (
    INSERT INTO match_found (account_id, match_id, line_ids, item_ids, rule, confidence, fee,
        difference, currency, explanation, suggested)
    SELECT $1, gen_random_uuid(), ARRAY[line_id], ARRAY[item_id], rule, confidence, {fee},
        {difference}, currency,
        jsonb_build_array(replace(words, '%', value), {words}, {_DAYS}),
        {_PAIR_SUGGESTED}
    FROM counted CROSS JOIN settings WHERE items = 1 AND lines = 1
    RETURNING id
), ties AS (
    INSERT INTO match_ambiguity (account_id, line_id, item_id, rule, score)
    SELECT $1, line_id, item_id, rule, confidence FROM (
        SELECT *, row_number() OVER (PARTITION BY line_id ORDER BY abs(days), item_id) AS nth,
            row_number() OVER (PARTITION BY item_id ORDER BY abs(days), line_id) AS other
        FROM counted WHERE items > 1 OR lines > 1
    ) AS tied CROSS JOIN settings WHERE nth <= 10 AND other <= 10
    ON CONFLICT DO NOTHING
)
SELECT count(*) AS found FROM found"""


EXACTLY = _one_to_one(EXACT)
EXACTLY_NEAR = _one_to_one(EXACT, near=NEAR)
LESS_FEE = _one_to_one(NET, fee="fee")
NEARLY = _one_to_one(WITHIN, near=NEAR, difference="-fee")


_NAMED = f"""
WITH {_SETTINGS}, line AS ({LINES}
), item AS ({ITEMS}
), pair AS (
    SELECT DISTINCT line.id AS line_id, item.id AS item_id, item.amount AS of_item,
        line.amount AS of_line, line.currency, line.direction, line.booking_date, item.day,
        line.blocks_posting
    FROM line
    JOIN line_ref r ON r.line_id = line.id AND r.kind = ANY($7)
    JOIN item_ref q ON q.value = r.value AND q.kind = ANY($8)
    JOIN item ON item.id = q.item_id AND item.direction = line.direction
        AND item.currency = line.currency
    WHERE line.booking_date >= item.began - 1 AND line.booking_date <= item.day + 31
        AND NOT EXISTS (
            SELECT FROM rejected_pair x WHERE x.line_id = line.id AND x.item_id = item.id)
), counted AS (
    SELECT pair.*, count(*) OVER (PARTITION BY line_id) AS items,
        count(*) OVER (PARTITION BY item_id) AS lines FROM pair
)"""
# Part payments: some lines name one item, and nothing else, and add up to it.
INSTALMENTS = f"""{_NAMED}, whole AS (
    SELECT item_id, of_item AS amount, currency, array_agg(line_id ORDER BY booking_date, line_id)
        AS line_ids, bool_or(blocks_posting) AS blocks_posting, count(*) AS parts,
        max(booking_date) - min(booking_date) AS days
    FROM counted WHERE items = 1
    GROUP BY item_id, of_item, currency, lines
    HAVING count(*) BETWEEN 2 AND 12 AND count(*) = lines AND sum(of_line) = of_item
), found AS (
    INSERT INTO match_found (account_id, match_id, line_ids, item_ids, rule, confidence, fee,
        difference, currency, explanation, suggested)
    SELECT $1, gen_random_uuid(), line_ids, ARRAY[item_id], rule, confidence, 0, 0, currency,
        jsonb_build_array(parts || ' lines name ' || words || '.',
            'Together they are ' || {_AMOUNT} || ', as much as the payment.'),
        {_PARTS_SUGGESTED}
    FROM whole CROSS JOIN settings RETURNING id
)
SELECT count(*) AS found FROM found"""
# One transfer for several: the line names them all, no other line names one, and they add up.
COMBINED = f"""{_NAMED}, whole AS (
    SELECT line_id, of_line AS amount, currency, array_agg(item_id ORDER BY day, item_id)
        AS item_ids, bool_or(blocks_posting) AS blocks_posting, count(*) AS parts
    FROM counted WHERE lines = 1
    GROUP BY line_id, of_line, currency, items
    HAVING count(*) BETWEEN 2 AND 200 AND count(*) = items AND sum(of_item) = of_line
), found AS (
    INSERT INTO match_found (account_id, match_id, line_ids, item_ids, rule, confidence, fee,
        difference, currency, explanation, suggested)
    SELECT $1, gen_random_uuid(), ARRAY[line_id], item_ids, rule, confidence, 0, 0, currency,
        jsonb_build_array('The line names ' || parts || ' ' || words || '.',
            'Together they are ' || {_AMOUNT} || ', as much as the line.'),
        {_WHOLE_SUGGESTED}
    FROM whole CROSS JOIN settings RETURNING id
)
SELECT count(*) AS found FROM found"""
