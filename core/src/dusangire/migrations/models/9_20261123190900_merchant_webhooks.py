"""Where the merchant wants to be told what happened, what was told, and each try to tell it."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
-- Secrets are sealed. The previous one signs too until `previous_until`.
CREATE TABLE webhook_endpoint (
    id uuid PRIMARY KEY,
    url text NOT NULL,
    events jsonb NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    disabled_because text,
    deleted_at timestamptz,
    secret text NOT NULL,
    previous_secret text,
    previous_until timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_endpoint_deleted_is_disabled CHECK (deleted_at IS NULL OR NOT enabled),
    CONSTRAINT webhook_endpoint_previous_ends CHECK (
        (previous_secret IS NULL) = (previous_until IS NULL)),
    CONSTRAINT webhook_endpoint_why_disabled CHECK (enabled = (disabled_because IS NULL))
);

-- `step` is how far the schedule of tries has come; `tries` counts all of them, for ever.
CREATE TABLE webhook_delivery (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoint (id),
    position bigint,
    type text NOT NULL,
    payment_id uuid REFERENCES payment (id),
    body text NOT NULL,
    status text NOT NULL DEFAULT 'PENDING',
    tries integer NOT NULL DEFAULT 0,
    step integer NOT NULL DEFAULT 0,
    http_status integer,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    next_try_at timestamptz,
    CONSTRAINT webhook_delivery_once UNIQUE (endpoint_id, position),
    CONSTRAINT webhook_delivery_status_known CHECK (
        status IN ('PENDING', 'DELIVERED', 'FAILED', 'CANCELLED')),
    CONSTRAINT webhook_delivery_pending_until_it_ends CHECK (
        (status = 'PENDING') = (next_try_at IS NOT NULL)
        AND (status = 'PENDING') = (ended_at IS NULL))
);
CREATE INDEX webhook_delivery_due_idx ON webhook_delivery (endpoint_id, next_try_at)
    WHERE next_try_at IS NOT NULL;
CREATE INDEX webhook_delivery_endpoint_idx ON webhook_delivery (endpoint_id, created_at, id);
CREATE INDEX webhook_delivery_payment_idx ON webhook_delivery (payment_id, created_at)
    WHERE payment_id IS NOT NULL;

CREATE TABLE webhook_try (
    id uuid PRIMARY KEY,
    delivery_id uuid NOT NULL REFERENCES webhook_delivery (id),
    number integer NOT NULL,
    http_status integer,
    error text,
    answer text,
    duration_ms integer NOT NULL,
    tried_at timestamptz NOT NULL,
    CONSTRAINT webhook_try_number_key UNIQUE (delivery_id, number)
);
CREATE INDEX webhook_try_age_idx ON webhook_try (tried_at);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE webhook_try, webhook_delivery, webhook_endpoint;
"""
