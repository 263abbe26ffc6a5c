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
    settled_by_id uuid REFERENCES staff (id),
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    next_check_at timestamptz,
    lease_until timestamptz,
    turn integer NOT NULL DEFAULT 0,
    asked_at timestamptz,
    sent_at timestamptz,
    sends integer NOT NULL DEFAULT 0,
    checks integer NOT NULL DEFAULT 0,
    not_found integer NOT NULL DEFAULT 0,
    not_found_since timestamptz,
    CONSTRAINT refund_reference_key UNIQUE (reference),
    CONSTRAINT refund_gateway_reference_key UNIQUE (gateway_reference),
    CONSTRAINT refund_amount_positive CHECK (amount > 0),
    CONSTRAINT refund_status_known CHECK (status IN (
        'REQUESTED', 'PROCESSING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'REJECTED', 'CANCELLED')),
    CONSTRAINT refund_approvals_needed_known CHECK (approvals_needed IN (1, 2)),
    CONSTRAINT refund_decided_by_another_person CHECK (decided_by_id <> requested_by_id),
    CONSTRAINT refund_settled_by_another_person
        CHECK (by_hand OR settled_by_id <> requested_by_id)
);
CREATE INDEX refund_payment_idx ON refund (payment_id, created_at);
CREATE INDEX refund_created_idx ON refund (created_at, id);
CREATE INDEX refund_status_idx ON refund (status, created_at, id);
CREATE INDEX refund_due_idx ON refund (gateway_id, next_check_at) WHERE next_check_at IS NOT NULL;

CREATE TABLE refund_approval (
    id uuid PRIMARY KEY,
    refund_id uuid NOT NULL REFERENCES refund (id),
    staff_id uuid NOT NULL REFERENCES staff (id),
    digest text NOT NULL,
    note text,
    approved_at timestamptz NOT NULL DEFAULT now(),
    voided_at timestamptz
);
CREATE UNIQUE INDEX refund_approval_once ON refund_approval (refund_id, staff_id)
    WHERE voided_at IS NULL;

ALTER TABLE idempotency_key ADD COLUMN refund_id uuid REFERENCES refund (id);

-- Four eyes hold for whoever writes to the tables, not only for our own code.
CREATE FUNCTION refund_approval_is_anothers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked refund%ROWTYPE;
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.id, NEW.refund_id, NEW.staff_id, NEW.digest, NEW.approved_at)
        IS DISTINCT FROM (OLD.id, OLD.refund_id, OLD.staff_id, OLD.digest, OLD.approved_at)
    THEN
        RAISE EXCEPTION 'an approval is never changed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT * INTO asked FROM refund WHERE id = NEW.refund_id;
    IF NEW.staff_id = asked.requested_by_id THEN
        RAISE EXCEPTION 'nobody approves a refund of their own'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.voided_at IS NULL AND NEW.digest <> asked.digest THEN
        RAISE EXCEPTION 'this approval is of another request'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refund_approval_by_another_person BEFORE INSERT OR UPDATE ON refund_approval
    FOR EACH ROW EXECUTE FUNCTION refund_approval_is_anothers();

CREATE FUNCTION refund_is_what_was_approved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'REQUESTED' THEN
            RAISE EXCEPTION 'a refund begins as a request'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.payment_id, NEW.attempt_id, NEW.gateway_id, NEW.amount, NEW.currency, NEW.reason,
            NEW.digest, NEW.approvals_needed, NEW.by_hand, NEW.requested_by_kind,
            NEW.requested_by_name, NEW.requested_by_id, NEW.gateway_reference)
        IS DISTINCT FROM
        (OLD.payment_id, OLD.attempt_id, OLD.gateway_id, OLD.amount, OLD.currency, OLD.reason,
            OLD.digest, OLD.approvals_needed, OLD.by_hand, OLD.requested_by_kind,
            OLD.requested_by_name, OLD.requested_by_id, OLD.gateway_reference)
    THEN
        RAISE EXCEPTION 'a request for a refund is never changed: cancel it and make another'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.status <> OLD.status AND OLD.status IN ('REJECTED', 'CANCELLED') THEN
        RAISE EXCEPTION 'this refund has ended: %', OLD.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.status = 'REQUESTED' AND NEW.status IN ('PROCESSING', 'UNKNOWN', 'SUCCEEDED', 'FAILED')
        AND (SELECT count(DISTINCT staff_id) FROM refund_approval
            WHERE refund_id = NEW.id AND voided_at IS NULL AND digest = NEW.digest
                AND staff_id IS DISTINCT FROM NEW.requested_by_id) < NEW.approvals_needed
    THEN
        RAISE EXCEPTION 'this refund is not approved'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refund_as_approved BEFORE INSERT OR UPDATE ON refund
    FOR EACH ROW EXECUTE FUNCTION refund_is_what_was_approved();
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
ALTER TABLE idempotency_key DROP COLUMN refund_id;
DROP TABLE refund_approval, refund;
DROP FUNCTION refund_is_what_was_approved();
DROP FUNCTION refund_approval_is_anothers();
"""
