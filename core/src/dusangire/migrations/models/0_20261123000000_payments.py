"""Payments, their attempts, events, audit and everything a first payment needs.

Written by hand where it matters: aerich drops CHECK constraints and partial indexes silently.
core/tests/test_migrations.py compares a migrated database with the models and with the list of
constraints and indexes that must exist.
"""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE IF NOT EXISTS aerich (
    id serial PRIMARY KEY,
    version varchar(255) NOT NULL,
    app varchar(100) NOT NULL,
    content jsonb NOT NULL
);

CREATE TABLE gateway_account (
    id uuid PRIMARY KEY,
    code text NOT NULL,
    name text NOT NULL,
    plugin text NOT NULL,
    environment text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    config jsonb NOT NULL DEFAULT '{}',
    secrets jsonb NOT NULL DEFAULT '{}',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT gateway_account_code_key UNIQUE (code),
    CONSTRAINT gateway_account_environment_known CHECK (environment IN ('TEST', 'LIVE'))
);

CREATE TABLE customer (
    id uuid PRIMARY KEY,
    reference text NOT NULL,
    name text,
    email text,
    phone text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT customer_reference_key UNIQUE (reference)
);
CREATE INDEX customer_phone_idx ON customer (phone) WHERE phone IS NOT NULL;

CREATE TABLE payment (
    id uuid PRIMARY KEY,
    reference text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    status text NOT NULL DEFAULT 'CREATED',
    amount bigint NOT NULL,
    currency text NOT NULL,
    captured bigint NOT NULL DEFAULT 0,
    refunded bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0,
    order_reference text,
    description text,
    customer_id uuid REFERENCES customer (id),
    gateway_id uuid REFERENCES gateway_account (id),
    next_action jsonb,
    failure jsonb,
    failure_code text,
    needs_attention jsonb NOT NULL DEFAULT '[]',
    reconciliation_status text NOT NULL DEFAULT 'NOT_RECONCILED',
    metadata jsonb,
    return_url text,
    search text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    completed_at timestamptz,
    CONSTRAINT payment_reference_key UNIQUE (reference),
    CONSTRAINT payment_amount_positive CHECK (amount > 0),
    CONSTRAINT payment_version_positive CHECK (version > 0),
    CONSTRAINT payment_money_not_negative
        CHECK (captured >= 0 AND refunded >= 0 AND reserved >= 0),
    CONSTRAINT payment_refunds_within_captured CHECK (refunded + reserved <= captured),
    CONSTRAINT payment_status_known CHECK (status IN (
        'CREATED', 'PENDING', 'SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED',
        'FAILED', 'EXPIRED', 'CANCELLED')),
    CONSTRAINT payment_captured_when_succeeded
        CHECK ((status IN ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED')) = (captured > 0)),
    CONSTRAINT payment_currency_code CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT payment_reconciliation_known
        CHECK (reconciliation_status IN ('NOT_RECONCILED', 'MATCHED', 'DISCREPANCY'))
);
CREATE INDEX payment_created_idx ON payment (created_at, id);
CREATE INDEX payment_amount_idx ON payment (amount, id);
CREATE INDEX payment_status_idx ON payment (status, created_at, id);
CREATE INDEX payment_customer_idx ON payment (customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX payment_order_idx ON payment (order_reference) WHERE order_reference IS NOT NULL;
CREATE INDEX payment_attention_idx ON payment (created_at) WHERE needs_attention <> '[]';
CREATE INDEX payment_unpaid_expiry_idx ON payment (expires_at) WHERE status = 'CREATED';

-- Search by any part of a word needs trigrams; a server without the extension scans instead.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX payment_search_idx ON payment USING gin (search gin_trgm_ops);
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE NOTICE 'pg_trgm is not available: searching payments will be slow';
END $$;

CREATE TABLE payment_attempt (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payment (id),
    number smallint NOT NULL,
    gateway_id uuid NOT NULL REFERENCES gateway_account (id),
    environment text NOT NULL,
    status text NOT NULL DEFAULT 'SUBMITTING',
    version integer NOT NULL DEFAULT 1,
    reference text NOT NULL,
    gateway_transaction_id text,
    phone text,
    email text,
    details jsonb NOT NULL DEFAULT '{}',
    plugin_data jsonb NOT NULL DEFAULT '{}',
    failure jsonb,
    fee bigint,
    return_url text,
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    next_check_at timestamptz,
    lease_until timestamptz,
    asked_at timestamptz,
    checks integer NOT NULL DEFAULT 0,
    late boolean NOT NULL DEFAULT false,
    resend boolean NOT NULL DEFAULT false,
    not_found integer NOT NULL DEFAULT 0,
    not_found_since timestamptz,
    CONSTRAINT payment_attempt_reference_key UNIQUE (reference),
    CONSTRAINT payment_attempt_number_key UNIQUE (payment_id, number),
    CONSTRAINT payment_attempt_status_known CHECK (status IN (
        'SUBMITTING', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'EXPIRED', 'CANCELLED',
        'REVERSED')),
    CONSTRAINT payment_attempt_environment_known CHECK (environment IN ('TEST', 'LIVE')),
    CONSTRAINT payment_attempt_fee_not_negative CHECK (fee >= 0)
);
CREATE UNIQUE INDEX payment_attempt_one_open ON payment_attempt (payment_id)
    WHERE status IN ('SUBMITTING', 'PENDING', 'UNKNOWN');
CREATE INDEX payment_attempt_due_idx ON payment_attempt (gateway_id, next_check_at)
    WHERE next_check_at IS NOT NULL;
CREATE INDEX payment_attempt_phone_idx ON payment_attempt (phone) WHERE phone IS NOT NULL;
CREATE INDEX payment_attempt_gateway_idx ON payment_attempt (gateway_id, created_at);

CREATE TABLE payment_transaction (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payment (id),
    gateway_id uuid NOT NULL REFERENCES gateway_account (id),
    kind text NOT NULL,
    outcome text NOT NULL,
    http_status smallint,
    error_code text,
    error_message text,
    request jsonb,
    response jsonb,
    duration_ms integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payment_transaction_kind_known CHECK (kind IN (
        'INITIATE', 'STATUS_CHECK', 'CALLBACK', 'REFUND', 'REFUND_STATUS', 'CANCEL', 'MANUAL'))
);
CREATE INDEX payment_transaction_payment_idx ON payment_transaction (payment_id, id);

CREATE TABLE idempotency_key (
    id uuid PRIMARY KEY,
    scope text NOT NULL,
    operation text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    payment_id uuid NOT NULL REFERENCES payment (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_key_once UNIQUE (scope, operation, key)
);

CREATE TABLE gateway_webhook (
    id uuid PRIMARY KEY,
    gateway_id uuid NOT NULL REFERENCES gateway_account (id),
    dedupe_key text NOT NULL,
    method text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    trust text,
    reference text,
    outcome jsonb,
    status text NOT NULL DEFAULT 'RECEIVED',
    repeated integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz,
    error text,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT gateway_webhook_once UNIQUE (gateway_id, dedupe_key),
    CONSTRAINT gateway_webhook_status_known
        CHECK (status IN ('RECEIVED', 'DONE', 'ORPHAN', 'DEAD'))
);
CREATE INDEX gateway_webhook_due_idx ON gateway_webhook (next_try_at)
    WHERE next_try_at IS NOT NULL;

CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    position bigint,
    type text NOT NULL,
    payment_id uuid REFERENCES payment (id),
    data jsonb NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT event_position_key UNIQUE (position)
);
CREATE INDEX event_unstamped_idx ON event (id) WHERE position IS NULL;
CREATE INDEX event_payment_idx ON event (payment_id, id) WHERE payment_id IS NOT NULL;

CREATE TABLE audit_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor_kind text NOT NULL,
    actor_name text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    correlation_id text
);
CREATE INDEX audit_entry_object_idx ON audit_entry (object, id);

CREATE TABLE api_key (
    id uuid PRIMARY KEY,
    public_id text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    scopes jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT api_key_public_id_key UNIQUE (public_id)
);

-- What is written stays: not even a careless UPDATE by a superuser rewrites history unnoticed.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_entry_no_truncate BEFORE TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER payment_transaction_append_only BEFORE UPDATE OR DELETE ON payment_transaction
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER payment_transaction_no_truncate BEFORE TRUNCATE ON payment_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE api_key, audit_entry, event, gateway_webhook, idempotency_key, payment_transaction,
    payment_attempt, payment, customer, gateway_account;
DROP FUNCTION refuse_change();
"""
