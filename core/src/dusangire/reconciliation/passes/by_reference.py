"""Lines and items that name each other: hash joins over everything that is open, all at once.

First a statement puts whatever fits into `match_pair`, a table of its transaction: this way the
database uses all its processors, which it does not for a statement that writes into other tables.
Then each pass takes its pairs from there and writes what it found into `match_found`, and ties
into `match_ambiguity`: where a line has two items or an item two lines, nobody guesses.
"""

# What of the account is still open, on either side.
# $1 the account, $2 and $3 its days, $4 the gateways.
_OPEN_LINES = """
    SELECT l.id, l.direction, l.amount, l.currency, l.gross, l.fee, l.charges, l.booking_date,
        l.kind, l.is_reversal, l.bank_reference, l.narration,
        l.statement_import_id = ANY (ARRAY(SELECT id FROM statement_import
            WHERE account_id = $1 AND blocks_posting)) AS blocks_posting
    FROM statement_line l
    WHERE l.account_id = $1 AND l.status IN ('OPEN', 'SUGGESTED') AND l.entry_status = 'BOOKED'
        AND l.posted AND l.kind <> 'FAILED' AND l.booking_date BETWEEN $2 AND $3
        AND coalesce(l.booking_date > (
            SELECT closed_until FROM statement_account WHERE id = $1), true)"""
_OPEN_ITEMS = """
    SELECT i.id, i.kind, i.direction, i.amount, i.currency, i.fee,
        (i.began_at AT TIME ZONE 'Africa/Kigali')::date AS began,
        (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date AS day
    FROM clearing_item i
    WHERE i.status = 'OPEN' AND i.kind <> 'PAYOUT' AND i.gateway_id = ANY($4)"""
# What an earlier pass found, or a person is deciding.
_TAKEN_LINES = """(
        SELECT unnest(line_ids) AS id FROM match_found WHERE account_id = $1
        UNION ALL SELECT g.line_id FROM recon_match m JOIN match_leg g ON g.match_id = m.id
        WHERE m.account_id = $1 AND m.status = 'SUGGESTED' AND m.decided_by_name IS NOT NULL
            AND g.line_id IS NOT NULL
    ) AS taken"""
_TAKEN_ITEMS = """(
        SELECT unnest(item_ids) AS id FROM match_found WHERE account_id = $1
        UNION ALL SELECT g.item_id FROM recon_match m JOIN match_leg g ON g.match_id = m.id
        WHERE m.status = 'SUGGESTED' AND m.decided_by_name IS NOT NULL AND g.item_id IS NOT NULL
    ) AS taken"""
LINES = f"""{_OPEN_LINES}
        AND NOT EXISTS (SELECT FROM {_TAKEN_LINES} WHERE taken.id = l.id)"""
ITEMS = f"""{_OPEN_ITEMS}
        AND NOT EXISTS (SELECT FROM {_TAKEN_ITEMS} WHERE taken.id = i.id)"""

_SAME = "line.amount = item.amount"
# The provider's fee is what it says it is, what our gateway told us, or what the contract says.
_FEE = """(CASE line.direction WHEN 'CREDIT' THEN item.amount - line.amount
        ELSE line.amount - item.amount END)"""
_NET = f"""line.amount <> item.amount AND (abs(line.gross) = item.amount
        OR {_FEE} IN (line.fee, line.charges, item.fee)
        OR {_FEE} = round(item.amount * percent / 100) + fixed)"""
_WITHIN = f"""line.amount <> item.amount AND abs({_FEE}) <= fixed
        AND abs({_FEE}) <= item.amount * percent / 100"""
# A word may be anybody's: it counts only near the payment.
_NEAR = "line.booking_date <= item.day + 31"
_NO_CHARGEBACK = "line.kind <> 'CHARGEBACK'"


def _pairs(*conditions: str) -> str:
    """Each line and item with a reference in common, once for each pass that compares it.

    Day by day, and so found and written down: what belongs to a day lies together in the tables.
    $5 and $6 the kinds of the lines' and the items' references that the first pass compares, $7 and
    $8 the second's; $9 and $10 a percentage and an amount.
    """
    # In a CASE, the planner does not take them for independent of each other and of the reference,
    # which makes ten pairs of a million, and one process sort them all.
    which = " AND ".join(
        (
            "item.direction = line.direction",
            "item.currency = line.currency",
            "line.booking_date >= item.began - 1",
            *conditions,
        )
    )
    return f"""
CREATE TEMPORARY TABLE match_pair ON COMMIT DROP AS
WITH settings AS (SELECT $9::numeric AS percent, $10::numeric AS fixed),
line AS ({_OPEN_LINES}
), item AS ({_OPEN_ITEMS}
)
SELECT DISTINCT ON (line.booking_date, line.id, item.id, pass)
    line.id AS line_id, item.id AS item_id,
    CASE WHEN q.kind = ANY($6::text[]) THEN 1 ELSE 2 END AS pass, r.value, line.amount AS of_line,
    item.amount AS of_item, {_FEE} AS fee, line.currency, line.booking_date,
    line.booking_date - item.day AS days, line.blocks_posting
FROM line
JOIN line_ref r ON r.line_id = line.id AND r.kind = ANY($5::text[] || $7::text[])
JOIN item_ref q ON q.value = r.value AND (r.kind = ANY($5) AND q.kind = ANY($6)
    OR r.kind = ANY($7) AND q.kind = ANY($8::text[]))
JOIN item ON item.id = q.item_id
CROSS JOIN settings
WHERE CASE WHEN {which} THEN true ELSE false END
ORDER BY line.booking_date, line.id, item.id, pass, r.value"""


EXACTLY = _pairs(_SAME, _NO_CHARGEBACK)
EXACTLY_NEAR = _pairs(_SAME, _NEAR, _NO_CHARGEBACK)
LESS_FEE = _pairs(_NET, _NO_CHARGEBACK)
NEARLY = _pairs(_WITHIN, _NEAR, _NO_CHARGEBACK)
WHATEVER = _pairs(_NEAR)

COUNTED = "ANALYZE match_pair (line_id, item_id, pass)"
"""So that the passes over a million pairs are planned for a million."""

# ── in words ─────────────────────────────────────────────────────────────────────────────────────

_MONEY = """trim(to_char({amount} / unit, CASE digits
            WHEN 0 THEN 'FM999,999,999,999,999,990' WHEN 2 THEN 'FM999,999,999,999,999,990.00'
            ELSE 'FM999,999,999,999,999,990.000' END)) || ' ' || currency"""
_AMOUNT = _MONEY.format(amount="amount")
EXPLANATION = f"""jsonb_build_array(named,
        {_AMOUNT} || CASE WHEN missing = 0 THEN ' on both sides.'
            ELSE ' of ours; on the statement ' || {_MONEY.format(amount="abs(missing)")}
                || CASE (missing > 0) WHEN direction = 'CREDIT' THEN ' less.' ELSE ' more.' END END,
        CASE WHEN days = 0 THEN 'The same day.' WHEN days = 1 THEN 'Booked 1 day later.'
            WHEN days > 1 THEN 'Booked ' || days || ' days later.'
            ELSE 'Booked ' || -days || ' day(s) before.' END)"""
"""Of one line and one item. Needs named, amount, missing, currency, direction, days, unit and
digits."""

# ── passes over the pairs ───────────────────────────────────────────────────────────────────────

# $1 the account, $2 which of the pairs, $3 the rule, $4 its confidence, $5 its words, $6 the
# threshold, $7 decimals of the currency, $8 whether what is missing is nobody's fee.
_PAIR = f"""settings AS (
    SELECT $3::text AS rule, $4::smallint AS confidence, $5::text AS words, $6::int AS threshold,
        $7::int AS digits, power(10::numeric, $7::int) AS unit, $8::boolean AS tolerated
), pair AS MATERIALIZED (
    SELECT * FROM match_pair p WHERE pass = $2
        AND NOT EXISTS (SELECT FROM {_TAKEN_LINES} WHERE taken.id = p.line_id)
        AND NOT EXISTS (SELECT FROM {_TAKEN_ITEMS} WHERE taken.id = p.item_id)
        AND NOT EXISTS (SELECT FROM rejected_pair x
            WHERE x.line_id = p.line_id AND x.item_id = p.item_id)
)"""
# One line, one item, and neither fits another. How much and how long after is put into words when
# the match is written down.
ONE_TO_ONE = f"""
WITH {_PAIR}, two_items AS (
    SELECT line_id FROM pair GROUP BY line_id HAVING count(*) > 1
), two_lines AS (
    SELECT item_id FROM pair GROUP BY item_id HAVING count(*) > 1
), unsure AS (
    SELECT line_id AS id FROM match_ambiguity WHERE account_id = $1
    UNION SELECT item_id FROM match_ambiguity WHERE account_id = $1
), ties AS (
    INSERT INTO match_ambiguity (account_id, line_id, item_id, rule, score)
    SELECT $1, line_id, item_id, $3, $4 FROM (
        SELECT *, row_number() OVER (PARTITION BY line_id ORDER BY abs(days), item_id) AS nth,
            row_number() OVER (PARTITION BY item_id ORDER BY abs(days), line_id) AS other
        FROM pair WHERE line_id IN (SELECT line_id FROM two_items)
            OR item_id IN (SELECT item_id FROM two_lines)
    ) AS tied WHERE nth <= 10 AND other <= 10
    ON CONFLICT DO NOTHING
)
INSERT INTO match_found (account_id, line_ids, item_ids, rule, confidence, fee, difference,
    currency, named, suggested)
SELECT $1, ARRAY[line_id], ARRAY[item_id], $3, $4, CASE WHEN $8 THEN 0 ELSE fee END,
    CASE WHEN $8 THEN -fee ELSE 0 END, currency, replace($5, '%', value),
    $4 < $6 OR blocks_posting OR line.id IS NOT NULL OR item.id IS NOT NULL
FROM pair
LEFT JOIN unsure AS line ON line.id = pair.line_id
LEFT JOIN unsure AS item ON item.id = pair.item_id
WHERE NOT EXISTS (SELECT FROM two_items t WHERE t.line_id = pair.line_id)
    AND NOT EXISTS (SELECT FROM two_lines t WHERE t.item_id = pair.item_id)"""
# Few at a time: lines and items in one match, and whether another pass was not sure of one of them.
_SUGGESTED = """(confidence < threshold OR blocks_posting OR EXISTS (
            SELECT FROM match_ambiguity x
            WHERE x.account_id = $1 AND (x.line_id = ANY({lines}) OR x.item_id = ANY({items}))))"""
_PARTS_SUGGESTED = _SUGGESTED.format(lines="whole.line_ids", items="ARRAY[whole.item_id]")
_WHOLE_SUGGESTED = _SUGGESTED.format(lines="ARRAY[whole.line_id]", items="whole.item_ids")
_COUNTED = f"""{_PAIR}, counted AS (
    SELECT pair.*, count(*) OVER (PARTITION BY line_id) AS items,
        count(*) OVER (PARTITION BY item_id) AS lines FROM pair
)"""
# Part payments: some lines name one item, and nothing else, and add up to it.
INSTALMENTS = f"""
WITH {_COUNTED}, whole AS (
    SELECT item_id, of_item AS amount, currency, array_agg(line_id ORDER BY booking_date, line_id)
        AS line_ids, bool_or(blocks_posting) AS blocks_posting, count(*) AS parts
    FROM counted WHERE items = 1
    GROUP BY item_id, of_item, currency, lines
    HAVING count(*) BETWEEN 2 AND 12 AND count(*) = lines AND sum(of_line) = of_item
)
INSERT INTO match_found (account_id, line_ids, item_ids, rule, confidence, fee, difference,
    currency, explanation, suggested)
SELECT $1, line_ids, ARRAY[item_id], rule, confidence, 0, 0, currency,
    jsonb_build_array(parts || ' lines name ' || words || '.',
        'Together they are ' || {_AMOUNT} || ', as much as the payment.'),
    {_PARTS_SUGGESTED}
FROM whole CROSS JOIN settings"""
# One transfer for several: the line names them all, no other line names one, and they add up.
COMBINED = f"""
WITH {_COUNTED}, whole AS (
    SELECT line_id, of_line AS amount, currency,
        array_agg(item_id ORDER BY booking_date - days, item_id) AS item_ids,
        bool_or(blocks_posting) AS blocks_posting, count(*) AS parts
    FROM counted WHERE lines = 1
    GROUP BY line_id, of_line, currency, items
    HAVING count(*) BETWEEN 2 AND 200 AND count(*) = items AND sum(of_item) = of_line
)
INSERT INTO match_found (account_id, line_ids, item_ids, rule, confidence, fee, difference,
    currency, explanation, suggested)
SELECT $1, ARRAY[line_id], item_ids, rule, confidence, 0, 0, currency,
    jsonb_build_array('The line names ' || parts || ' ' || words || '.',
        'Together they are ' || {_AMOUNT} || ', as much as the line.'),
    {_WHOLE_SUGGESTED}
FROM whole CROSS JOIN settings"""
