"""Lines that explain themselves: what the bank took back, and what it keeps for its work."""

from dusangire.reconciliation.passes.by_reference import LINES

# A line and the one that takes it back, within five days: the same amount, the other way, with a
# reference in common. $5 threshold, $6 whether the statement itself has to say so.
TAKEN_BACK = f"""
WITH line AS ({LINES}
), pair AS (
    SELECT first.id AS one, later.id AS two, first.currency,
        later.booking_date - first.booking_date AS days,
        first.blocks_posting OR later.blocks_posting AS blocks_posting
    FROM line AS first
    JOIN line AS later ON later.direction <> first.direction AND later.amount = first.amount
        AND later.currency = first.currency AND later.id <> first.id
        AND later.booking_date BETWEEN first.booking_date AND first.booking_date + 5
        AND later.is_reversal = $6 AND NOT first.is_reversal
        AND later.kind NOT IN ('REFUND', 'CHARGEBACK', 'FEE', 'PAYOUT')
    WHERE $4::uuid[] IS NOT NULL AND (first.bank_reference = later.bank_reference OR EXISTS (
        SELECT FROM line_ref a JOIN line_ref b ON b.value = a.value AND b.kind IN ('RF', 'ID')
        WHERE a.line_id = first.id AND a.kind IN ('RF', 'ID') AND b.line_id = later.id))
), counted AS (
    SELECT pair.*, count(*) OVER (PARTITION BY one) AS ones,
        count(*) OVER (PARTITION BY two) AS twos FROM pair
), found AS (
    INSERT INTO match_found (account_id, line_ids, item_ids, rule, confidence, fee,
        difference, currency, explanation, suggested)
    SELECT $1, ARRAY[one, two], '{{}}', 'reversal', 95, 0, 0, currency,
        jsonb_build_array('The two lines have a reference in common and cancel each other out.',
            CASE days WHEN 0 THEN 'The same day.' ELSE days || ' day(s) apart.' END),
        blocks_posting OR 95 < $5::int
    FROM counted WHERE ones = 1 AND twos = 1 RETURNING id
)
SELECT count(*) AS found FROM found"""

# A fee is a fee when the file says so, or when its words do and a line that we know has the same
# reference.
FEES = f"""
WITH line AS ({LINES}
), found AS (
    INSERT INTO match_found (account_id, line_ids, item_ids, rule, confidence, fee,
        difference, currency, explanation, suggested)
    SELECT $1, ARRAY[line.id], '{{}}', 'bank-fee', 92,
        CASE direction WHEN 'DEBIT' THEN amount ELSE -amount END, 0, currency,
        jsonb_build_array(CASE kind WHEN 'FEE' THEN 'The statement calls this a fee.'
            ELSE 'A fee by its words, with the reference of the transfer it is for.' END),
        blocks_posting OR 92 < $5::int
    FROM line WHERE $4::uuid[] IS NOT NULL AND (kind = 'FEE' OR direction = 'DEBIT'
        AND narration ~* '\\m(charges?|fees?|commission|vat|tva|frais)\\M'
        AND kind = 'OTHER' AND EXISTS (
            SELECT FROM statement_line parent
            WHERE parent.account_id = $1 AND parent.id <> line.id
                AND parent.bank_reference = line.bank_reference
                AND parent.booking_date BETWEEN line.booking_date - 5 AND line.booking_date
                AND parent.amount > line.amount
                AND (parent.status = 'MATCHED' OR EXISTS (
                    SELECT FROM match_found f
                    WHERE f.account_id = $1 AND parent.id = ANY(f.line_ids)))))
    RETURNING id
)
SELECT count(*) AS found FROM found"""
