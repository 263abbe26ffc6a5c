"""How each gateway does, shared by all processes, and the codes that its plugin does not know."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE gateway_health (
    gateway_id uuid PRIMARY KEY REFERENCES gateway_account (id),
    traffic text NOT NULL DEFAULT 'NO_TRAFFIC',
    success_rate double precision,
    p95_ms bigint,
    last_error text,
    last_error_at timestamptz,
    last_callback_at timestamptz,
    measured_at timestamptz,
    told jsonb NOT NULL DEFAULT '{}',
    term integer NOT NULL DEFAULT 0,
    changed_at timestamptz,
    probes integer NOT NULL DEFAULT 0,
    probe_at timestamptz,
    CONSTRAINT gateway_health_traffic_known
        CHECK (traffic IN ('HEALTHY', 'DEGRADED', 'DOWN', 'NO_TRAFFIC')),
    CONSTRAINT gateway_health_probed_while_open CHECK ((term % 2 = 1) = (probe_at IS NOT NULL))
);

CREATE TABLE unmapped_code (
    id uuid PRIMARY KEY,
    gateway_id uuid NOT NULL REFERENCES gateway_account (id),
    code text NOT NULL,
    count bigint NOT NULL DEFAULT 1,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT unmapped_code_once UNIQUE (gateway_id, code)
);

-- When a gateway was last heard of.
CREATE INDEX gateway_webhook_gateway_idx ON gateway_webhook (gateway_id, received_at);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP INDEX gateway_webhook_gateway_idx;
DROP TABLE unmapped_code, gateway_health;
"""
