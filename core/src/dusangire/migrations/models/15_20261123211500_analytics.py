"""Analytics: sums that are kept, so that a question costs the same however many payments there are."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE revenue_rollup (
    id uuid PRIMARY KEY,
    day date NOT NULL,
    gateway_id uuid REFERENCES gateway_account (id),
    currency text NOT NULL,
    status text NOT NULL,
    count bigint NOT NULL,
    amount numeric(40) NOT NULL,
    captured numeric(40) NOT NULL,
    refunded numeric(40) NOT NULL,
    CONSTRAINT revenue_rollup_once UNIQUE NULLS NOT DISTINCT (currency, day, gateway_id, status)
);

-- outcome: OPEN, SUCCEEDED or why not. bucket: how long it took, of those that succeeded.
CREATE TABLE attempt_rollup (
    id uuid PRIMARY KEY,
    day date NOT NULL,
    gateway_id uuid NOT NULL REFERENCES gateway_account (id),
    outcome text NOT NULL,
    bucket integer,
    count bigint NOT NULL,
    CONSTRAINT attempt_rollup_once UNIQUE NULLS NOT DISTINCT (day, gateway_id, outcome, bucket)
);

-- What of each attempt is in attempt_rollup.
CREATE TABLE attempt_tally (
    attempt_id uuid PRIMARY KEY REFERENCES payment_attempt (id),
    outcome text NOT NULL,
    bucket integer
);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE attempt_tally;
DROP TABLE attempt_rollup;
DROP TABLE revenue_rollup;
"""
