"""Reconciliation: runs, matches and their legs, what does not agree."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
ALTER TABLE payment_transaction DROP CONSTRAINT payment_transaction_kind_known,
    ADD CONSTRAINT payment_transaction_kind_known CHECK (kind IN ('INITIATE', 'STATUS_CHECK',
        'CALLBACK', 'REFUND', 'REFUND_STATUS', 'CANCEL', 'MANUAL', 'STATEMENT'));

CREATE TABLE reconciliation (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    kind text NOT NULL,
    from_date date NOT NULL,
    to_date date NOT NULL,
    version integer NOT NULL DEFAULT 1,
    status text NOT NULL DEFAULT 'RUNNING',
    step text,
    progress double precision NOT NULL DEFAULT 0,
    counts jsonb NOT NULL DEFAULT '{}',
    error text,
    note text,
    requested_by_kind text NOT NULL,
    requested_by_name text NOT NULL,
    requested_by_id uuid REFERENCES staff (id),
    decided_by_kind text,
    decided_by_name text,
    decided_by_id uuid REFERENCES staff (id),
    decided_at timestamptz,
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    next_try_at timestamptz DEFAULT now(),
    tries integer NOT NULL DEFAULT 0,
    night date,
    CONSTRAINT reconciliation_once_a_night UNIQUE (account_id, night),
    CONSTRAINT reconciliation_kind_known CHECK (kind IN ('MANUAL', 'IMPORT', 'NIGHTLY')),
    CONSTRAINT reconciliation_status_known CHECK (status IN (
        'RUNNING', 'AWAITING_APPROVAL', 'APPROVED', 'REJECTED', 'FAILED')),
    CONSTRAINT reconciliation_period_known CHECK (from_date <= to_date),
    CONSTRAINT reconciliation_decided_by_another_person CHECK (decided_by_id <> requested_by_id)
);
CREATE UNIQUE INDEX reconciliation_one_running ON reconciliation (account_id)
    WHERE status = 'RUNNING';
CREATE INDEX reconciliation_created_idx ON reconciliation (created_at, id);
CREATE INDEX reconciliation_due_idx ON reconciliation (next_try_at) WHERE status = 'RUNNING';

-- difference: what the lines bring more (or less) than the items, fees taken off; booked as such.
CREATE TABLE recon_match (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    reconciliation_id uuid REFERENCES reconciliation (id),
    status text NOT NULL,
    rule text NOT NULL,
    confidence smallint NOT NULL,
    explanation jsonb NOT NULL DEFAULT '[]',
    currency text NOT NULL,
    fee bigint NOT NULL DEFAULT 0,
    difference bigint NOT NULL DEFAULT 0,
    decided_by_kind text,
    decided_by_name text,
    decided_by_id uuid REFERENCES staff (id),
    decided_at timestamptz,
    note text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT recon_match_status_known
        CHECK (status IN ('SUGGESTED', 'CONFIRMED', 'REJECTED', 'UNMATCHED')),
    CONSTRAINT recon_match_confidence_known CHECK (confidence BETWEEN 0 AND 100)
);
CREATE INDEX recon_match_account_idx ON recon_match (account_id, status, created_at, id);
CREATE INDEX recon_match_run_idx ON recon_match (reconciliation_id);

-- live: the match is suggested or confirmed. A line and an item are in one such match at most.
CREATE TABLE match_leg (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    match_id uuid NOT NULL REFERENCES recon_match (id),
    line_id uuid REFERENCES statement_line (id),
    item_id uuid REFERENCES clearing_item (id),
    live boolean NOT NULL DEFAULT true,
    CONSTRAINT match_leg_one_side CHECK (num_nonnulls(line_id, item_id) = 1)
);
CREATE INDEX match_leg_match_idx ON match_leg (match_id);
CREATE UNIQUE INDEX match_leg_line_once ON match_leg (line_id)
    WHERE live AND line_id IS NOT NULL;
CREATE UNIQUE INDEX match_leg_item_once ON match_leg (item_id)
    WHERE live AND item_id IS NOT NULL;

ALTER TABLE ledger_entry ADD CONSTRAINT ledger_entry_match_fkey
    FOREIGN KEY (match_id) REFERENCES recon_match (id);

-- A person's no: this line and this item are never put together again by a machine.
CREATE TABLE rejected_pair (
    id uuid PRIMARY KEY,
    line_id uuid NOT NULL REFERENCES statement_line (id),
    item_id uuid NOT NULL REFERENCES clearing_item (id),
    rejected_by text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rejected_pair_once UNIQUE (line_id, item_id)
);

-- What a run has found and not written down yet; the next run of the account begins without it.
-- A million rows are written at once: nothing is kept of each that can be made when it is taken,
-- and nothing is indexed, since they are taken page by page.
-- named: how a line and an item name each other; the rest of the explanation is made from them.
CREATE UNLOGGED TABLE match_found (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id uuid NOT NULL,
    line_ids uuid[] NOT NULL,
    item_ids uuid[] NOT NULL,
    rule text NOT NULL,
    confidence smallint NOT NULL,
    fee bigint NOT NULL,
    difference bigint NOT NULL,
    currency text NOT NULL,
    named text,
    explanation jsonb,
    suggested boolean NOT NULL,
    CONSTRAINT match_found_explained CHECK (num_nonnulls(named, explanation) = 1)
);

-- Lines and items that more than one other would fit: a person picks. Each run writes them anew.
CREATE TABLE match_ambiguity (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    line_id uuid NOT NULL REFERENCES statement_line (id),
    item_id uuid NOT NULL REFERENCES clearing_item (id),
    rule text NOT NULL,
    score smallint NOT NULL,
    CONSTRAINT match_ambiguity_once UNIQUE (line_id, item_id)
);
CREATE INDEX match_ambiguity_account_idx ON match_ambiguity (account_id);
CREATE INDEX match_ambiguity_item_idx ON match_ambiguity (item_id);

-- key: what it is about, so that each run finds the same one again.
CREATE TABLE discrepancy (
    id uuid PRIMARY KEY,
    key text NOT NULL,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    kind text NOT NULL,
    severity text NOT NULL,
    status text NOT NULL DEFAULT 'OPEN',
    payment_id uuid REFERENCES payment (id),
    item_id uuid REFERENCES clearing_item (id),
    line_id uuid REFERENCES statement_line (id),
    match_id uuid REFERENCES recon_match (id),
    currency text NOT NULL,
    expected bigint,
    actual bigint,
    message text NOT NULL,
    candidates jsonb NOT NULL DEFAULT '[]',
    since date NOT NULL,
    assigned_to_id uuid REFERENCES staff (id),
    resolution text,
    resolved_by_kind text,
    resolved_by_name text,
    resolved_by_id uuid REFERENCES staff (id),
    resolved_at timestamptz,
    asked_by_id uuid REFERENCES staff (id),
    asked_by_name text,
    reconciliation_id uuid REFERENCES reconciliation (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT discrepancy_kind_known CHECK (kind IN (
        'MISSING_IN_BANK', 'MISSING_IN_SYSTEM', 'MISSING_AT_PROVIDER', 'STATUS_MISMATCH',
        'AMOUNT_MISMATCH', 'FEE_MISMATCH', 'CURRENCY_MISMATCH', 'DUPLICATE', 'LATE', 'AMBIGUOUS',
        'REVERSED', 'CHARGEBACK', 'BALANCE_BREAK', 'STALE_CLEARING', 'UNIDENTIFIED_DEBIT')),
    CONSTRAINT discrepancy_status_known CHECK (status IN (
        'OPEN', 'RESOLVED', 'WRITTEN_OFF', 'IGNORED', 'AUTO_RESOLVED')),
    CONSTRAINT discrepancy_severity_known CHECK (severity IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL'))
);
CREATE UNIQUE INDEX discrepancy_open_once ON discrepancy (key) WHERE status = 'OPEN';
CREATE INDEX discrepancy_key_idx ON discrepancy (key, resolved_at);
CREATE INDEX discrepancy_listed_idx ON discrepancy (created_at, id);
CREATE INDEX discrepancy_status_idx ON discrepancy (status, created_at, id);
CREATE INDEX discrepancy_payment_idx ON discrepancy (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX discrepancy_line_idx ON discrepancy (line_id) WHERE line_id IS NOT NULL;
CREATE INDEX discrepancy_account_idx ON discrepancy (account_id, status);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE discrepancy;
DROP TABLE match_ambiguity;
DROP TABLE match_found;
DROP TABLE rejected_pair;
DROP TABLE match_leg;
ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_match_fkey;
DROP TABLE recon_match;
DROP TABLE reconciliation;
"""
