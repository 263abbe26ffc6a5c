"""Books: what is owed to us and by us at each gateway, and entries that cannot fail to balance."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
-- Money we know of that a statement has to confirm. book: the ledger account it is in.
-- direction CREDIT: it will come in; DEBIT: it will go out.
CREATE TABLE clearing_item (
    id uuid PRIMARY KEY,
    gateway_id uuid REFERENCES gateway_account (id),
    account_id uuid REFERENCES statement_account (id),
    book text NOT NULL,
    kind text NOT NULL,
    direction text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    fee bigint,
    status text NOT NULL DEFAULT 'OPEN',
    payment_id uuid REFERENCES payment (id),
    attempt_id uuid REFERENCES payment_attempt (id),
    refund_id uuid REFERENCES refund (id),
    settlement text,
    payer_account text,
    payer_name text,
    began_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT clearing_item_kind_known
        CHECK (kind IN ('PAYMENT', 'REFUND', 'REVERSAL', 'PAYOUT')),
    CONSTRAINT clearing_item_direction_known CHECK (direction IN ('CREDIT', 'DEBIT')),
    CONSTRAINT clearing_item_status_known CHECK (status IN ('OPEN', 'MATCHED', 'WRITTEN_OFF')),
    CONSTRAINT clearing_item_amount_positive CHECK (amount > 0)
);
CREATE UNIQUE INDEX clearing_item_attempt_once ON clearing_item (attempt_id, kind)
    WHERE attempt_id IS NOT NULL;
CREATE UNIQUE INDEX clearing_item_refund_once ON clearing_item (refund_id)
    WHERE refund_id IS NOT NULL;
CREATE UNIQUE INDEX clearing_item_payout_once ON clearing_item (account_id, settlement)
    WHERE kind = 'PAYOUT';
CREATE INDEX clearing_item_open_idx ON clearing_item (gateway_id, occurred_at, id)
    WHERE status = 'OPEN';
CREATE INDEX clearing_item_book_idx ON clearing_item (book, currency) WHERE status = 'OPEN';
CREATE INDEX clearing_item_payment_idx ON clearing_item (payment_id)
    WHERE payment_id IS NOT NULL;

-- What a statement may call it. kind: PAYMENT (our reference, which an RF is made of), TXN (the
-- gateway's id), TX_REF (what we sent along), REFUND, ORDER, INVOICE, SETTLEMENT.
CREATE TABLE item_ref (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item_id uuid NOT NULL REFERENCES clearing_item (id),
    kind text NOT NULL,
    value text NOT NULL
);
CREATE INDEX item_ref_item_idx ON item_ref (item_id);
CREATE INDEX item_ref_value_idx ON item_ref (value);

-- One row takes an amount from one account to another: the books cannot fail to balance.
CREATE TABLE ledger_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause text NOT NULL,
    debit text NOT NULL,
    credit text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    date date NOT NULL,
    item_id uuid REFERENCES clearing_item (id),
    line_id uuid REFERENCES statement_line (id),
    match_id uuid,
    reverses bigint,
    actor text NOT NULL,
    note text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ledger_entry_amount_positive CHECK (amount > 0),
    CONSTRAINT ledger_entry_two_accounts CHECK (debit <> credit),
    CONSTRAINT ledger_entry_reversed_once UNIQUE (reverses)
);
CREATE INDEX ledger_entry_match_idx ON ledger_entry (match_id) WHERE match_id IS NOT NULL;
CREATE INDEX ledger_entry_item_idx ON ledger_entry (item_id) WHERE item_id IS NOT NULL;
CREATE INDEX ledger_entry_line_idx ON ledger_entry (line_id) WHERE line_id IS NOT NULL;
CREATE INDEX ledger_entry_date_idx ON ledger_entry (date, id);
CREATE INDEX ledger_entry_debit_idx ON ledger_entry (debit, date, id);
CREATE INDEX ledger_entry_credit_idx ON ledger_entry (credit, date, id);
-- The same thing happens to an item, a line and a match once, whoever tries it again.
CREATE UNIQUE INDEX ledger_entry_item_once ON ledger_entry (item_id, cause)
    WHERE cause IN ('captured', 'refunded', 'reversed') AND reverses IS NULL;
CREATE UNIQUE INDEX ledger_entry_line_once ON ledger_entry (line_id, cause)
    WHERE cause IN ('line', 'payout') AND reverses IS NULL;
CREATE UNIQUE INDEX ledger_entry_match_once ON ledger_entry (match_id, cause, item_id)
    NULLS NOT DISTINCT WHERE match_id IS NOT NULL AND reverses IS NULL;

-- One person asks to close the days up to one, or to open them again; another one decides.
CREATE TABLE period_close (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    kind text NOT NULL,
    closed_until date,
    status text NOT NULL DEFAULT 'ASKED',
    note text,
    asked_by_name text NOT NULL,
    asked_by_id uuid NOT NULL REFERENCES staff (id),
    decided_by_name text,
    decided_by_id uuid REFERENCES staff (id),
    decision_note text,
    decided_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT period_close_kind_known CHECK (kind IN ('CLOSE', 'REOPEN')),
    CONSTRAINT period_close_status_known CHECK (status IN ('ASKED', 'DONE', 'REFUSED')),
    CONSTRAINT period_close_by_another_person
        CHECK (status <> 'DONE' OR decided_by_id IS NOT NULL AND decided_by_id <> asked_by_id)
);
CREATE UNIQUE INDEX period_close_asked_once ON period_close (account_id) WHERE status = 'ASKED';
CREATE INDEX period_close_listed_idx ON period_close (account_id, created_at);

-- What the self-check found; breaks is empty when the books are sound.
CREATE TABLE books_check (
    id uuid PRIMARY KEY,
    entries bigint NOT NULL,
    breaks jsonb NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX books_check_at_idx ON books_check (checked_at);

-- Kept by a trigger: debits and credits of each account so far.
CREATE TABLE ledger_balance (
    id varchar(200) PRIMARY KEY,
    account text NOT NULL,
    currency text NOT NULL,
    debits bigint NOT NULL DEFAULT 0,
    credits bigint NOT NULL DEFAULT 0,
    CONSTRAINT ledger_balance_once UNIQUE (account, currency)
);

CREATE FUNCTION ledger_keep_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_balance AS b (id, account, currency, debits, credits)
    SELECT account || ' ' || currency, account, currency, sum(debit), sum(credit) FROM (
        SELECT debit AS account, currency, amount AS debit, 0 AS credit FROM fresh
        UNION ALL SELECT credit, currency, 0, amount FROM fresh
    ) AS moved GROUP BY account, currency ORDER BY account, currency
    ON CONFLICT (id) DO UPDATE SET debits = b.debits + excluded.debits,
        credits = b.credits + excluded.credits;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_entry_balance AFTER INSERT ON ledger_entry
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION ledger_keep_balance();
CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_entry_no_truncate BEFORE TRUNCATE ON ledger_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE books_check;
DROP TABLE period_close;
DROP TABLE ledger_entry;
DROP TABLE ledger_balance;
DROP FUNCTION ledger_keep_balance;
DROP TABLE item_ref;
DROP TABLE clearing_item;
"""
