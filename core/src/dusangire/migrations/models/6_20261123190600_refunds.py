"""Refunds: requested, decided by somebody else, sent, settled."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE refund (
    id uuid PRIMARY KEY,
    reference text NOT NULL,
    payment_id uuid NOT NULL REFERENCES payment (id),
    attempt_id uuid NOT NULL REFERENCES payment_attempt (id),
    gateway_id uuid NOT NULL REFERENCES gateway_account (id),
    version integer NOT NULL DEFAULT 1,
    status text NOT NULL DEFAULT 'REQUESTED',
    amount bigint NOT NULL,
    currency text NOT NULL,
    reason text NOT NULL,
    digest text NOT NULL,
    approvals_needed smallint NOT NULL DEFAULT 1,
    by_hand boolean NOT NULL,
    requested_by_kind text NOT NULL,
    requested_by_name text NOT NULL,
    requested_by_id uuid REFERENCES staff (id),
    decided_by_kind text,
    decided_by_name text,
    decided_by_id uuid REFERENCES staff (id),
    decided_at timestamptz,
    gateway_reference text NOT NULL,
    gateway_transaction_id text,
    plugin_data jsonb NOT NULL DEFAULT '{}',
    failure jsonb,
    evidence text,
    settled_by_name text,
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    next_check_at timestamptz,
    lease_until timestamptz,
    asked_at timestamptz,
    sent_at timestamptz,
    checks integer NOT NULL DEFAULT 0,
    resend boolean NOT NULL DEFAULT false,
    not_found integer NOT NULL DEFAULT 0,
    not_found_since timestamptz,
    CONSTRAINT refund_reference_key UNIQUE (reference),
    CONSTRAINT refund_gateway_reference_key UNIQUE (gateway_reference),
    CONSTRAINT refund_amount_positive CHECK (amount > 0),
    CONSTRAINT refund_status_known CHECK (status IN (
        'REQUESTED', 'PROCESSING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'REJECTED', 'CANCELLED')),
    CONSTRAINT refund_approvals_needed_known CHECK (approvals_needed IN (1, 2)),
    CONSTRAINT refund_decided_by_another_person CHECK (decided_by_id <> requested_by_id)
);
CREATE INDEX refund_payment_idx ON refund (payment_id, created_at);
CREATE INDEX refund_created_idx ON refund (created_at, id);
CREATE INDEX refund_due_idx ON refund (next_check_at) WHERE next_check_at IS NOT NULL;

CREATE TABLE refund_approval (
    id uuid PRIMARY KEY,
    refund_id uuid NOT NULL REFERENCES refund (id),
    staff_id uuid NOT NULL REFERENCES staff (id),
    digest text NOT NULL,
    note text,
    approved_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refund_approval_once UNIQUE (refund_id, staff_id)
);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE refund_approval, refund;
"""
