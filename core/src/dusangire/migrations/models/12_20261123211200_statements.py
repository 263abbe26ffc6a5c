"""Statements: what banks and operators wrote down, as it was uploaded and line by line."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE statement_account (
    id uuid PRIMARY KEY,
    code text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    number text,
    gateway_id uuid REFERENCES gateway_account (id),
    profile text,
    settings jsonb NOT NULL DEFAULT '{}',
    closed_until date,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT statement_account_code_key UNIQUE (code),
    CONSTRAINT statement_account_kind_known CHECK (kind IN ('BANK', 'WALLET', 'SETTLEMENT'))
);

CREATE TABLE upload (
    id uuid PRIMARY KEY,
    file_name text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    content bytea NOT NULL,
    created_by_kind text NOT NULL,
    created_by_name text NOT NULL,
    created_by_id uuid REFERENCES staff (id),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE statement_profile (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    code text NOT NULL,
    name text NOT NULL,
    mapping jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT statement_profile_code_key UNIQUE (account_id, code)
);

CREATE TABLE statement_import (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    upload_id uuid NOT NULL REFERENCES upload (id),
    sha256 text NOT NULL,
    status text NOT NULL DEFAULT 'RUNNING',
    format text,
    profile text,
    dry_run boolean NOT NULL,
    lines_read integer NOT NULL DEFAULT 0,
    lines_new integer NOT NULL DEFAULT 0,
    lines_duplicate integer NOT NULL DEFAULT 0,
    lines_rejected integer NOT NULL DEFAULT 0,
    warnings jsonb NOT NULL DEFAULT '[]',
    rejects jsonb NOT NULL DEFAULT '[]',
    preview jsonb,
    error jsonb,
    progress double precision NOT NULL DEFAULT 0,
    blocks_posting boolean NOT NULL DEFAULT false,
    reconcile_due boolean NOT NULL DEFAULT false,
    requested_by_kind text NOT NULL,
    requested_by_name text NOT NULL,
    requested_by_id uuid REFERENCES staff (id),
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    next_try_at timestamptz DEFAULT now(),
    tries integer NOT NULL DEFAULT 0,
    CONSTRAINT statement_import_status_known CHECK (status IN ('RUNNING', 'COMPLETED', 'FAILED'))
);
CREATE UNIQUE INDEX statement_import_file_once ON statement_import (account_id, sha256)
    WHERE status = 'COMPLETED' AND NOT dry_run;
CREATE INDEX statement_import_due_idx ON statement_import (next_try_at) WHERE status = 'RUNNING';
CREATE INDEX statement_import_reconcile_idx ON statement_import (account_id) WHERE reconcile_due;
CREATE INDEX statement_import_created_idx ON statement_import (created_at, id);
CREATE INDEX statement_import_upload_idx ON statement_import (upload_id);

CREATE TABLE statement (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    statement_import_id uuid NOT NULL REFERENCES statement_import (id),
    number text,
    sequence text,
    currency text NOT NULL,
    period_from date,
    period_to date,
    opening bigint,
    closing bigint,
    ties boolean,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX statement_account_idx ON statement (account_id, period_to);
CREATE INDEX statement_import_idx ON statement (statement_import_id);

-- open: neither matched nor set aside. amount: what the account's balance moved by.
CREATE TABLE statement_line (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES statement_account (id),
    statement_id uuid NOT NULL REFERENCES statement (id),
    statement_import_id uuid NOT NULL REFERENCES statement_import (id),
    number integer NOT NULL,
    status text NOT NULL DEFAULT 'OPEN',
    entry_status text NOT NULL,
    kind text NOT NULL,
    direction text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    gross bigint,
    fee bigint,
    charges bigint,
    booking_date date NOT NULL,
    value_date date,
    occurred_at timestamptz,
    is_reversal boolean NOT NULL DEFAULT false,
    transaction_id text,
    our_reference text,
    bank_reference text,
    customer_reference text,
    end_to_end_id text,
    structured_reference text,
    settlement text,
    counterparty text,
    counterparty_account text,
    narration text NOT NULL,
    type_code text,
    running_balance bigint,
    original_amount bigint,
    original_currency text,
    batch_count integer,
    source text NOT NULL,
    fingerprint text NOT NULL,
    occurrence integer NOT NULL,
    posted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT statement_line_once UNIQUE (account_id, fingerprint, occurrence),
    CONSTRAINT statement_line_status_known
        CHECK (status IN ('OPEN', 'SUGGESTED', 'MATCHED', 'IGNORED')),
    CONSTRAINT statement_line_direction_known CHECK (direction IN ('CREDIT', 'DEBIT')),
    CONSTRAINT statement_line_amount_known
        CHECK (amount > 0 OR amount = 0 AND entry_status <> 'BOOKED')
);
CREATE INDEX statement_line_open_idx ON statement_line (account_id, booking_date, id)
    WHERE status IN ('OPEN', 'SUGGESTED');
CREATE INDEX statement_line_listed_idx ON statement_line (booking_date, id);
CREATE INDEX statement_line_status_idx ON statement_line (status, booking_date, id);
CREATE INDEX statement_line_statement_idx ON statement_line (statement_id);
CREATE INDEX statement_line_import_idx ON statement_line (statement_import_id, booking_date);
CREATE INDEX statement_line_settlement_idx ON statement_line (account_id, settlement)
    WHERE settlement IS NOT NULL;

-- What a line names. kind: RF, RF_REPAIRED, ID (both as sure as a key), TOKEN (a word).
CREATE TABLE line_ref (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line_id uuid NOT NULL REFERENCES statement_line (id),
    kind text NOT NULL,
    value text NOT NULL
);
CREATE INDEX line_ref_line_idx ON line_ref (line_id);
CREATE INDEX line_ref_value_idx ON line_ref (value);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE line_ref;
DROP TABLE statement_line;
DROP TABLE statement;
DROP TABLE statement_import;
DROP TABLE statement_profile;
DROP TABLE upload;
DROP TABLE statement_account;
"""
