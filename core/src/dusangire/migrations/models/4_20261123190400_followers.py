"""Who follows the log of events, how far each has come, and what each could not do yet."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE follower (
    name varchar(100) PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,
    stalled_at bigint,
    stalls integer NOT NULL DEFAULT 0
);

CREATE TABLE follower_debt (
    id uuid PRIMARY KEY,
    follower text NOT NULL,
    position bigint NOT NULL,
    error text NOT NULL,
    tries integer NOT NULL DEFAULT 1,
    next_try_at timestamptz NOT NULL,
    CONSTRAINT follower_debt_once UNIQUE (follower, position)
);
CREATE INDEX follower_debt_due_idx ON follower_debt (next_try_at);

-- What happened before there were followers is not followed: nobody expects an invoice for it now.
INSERT INTO follower (name, position)
SELECT name, (SELECT max(position) FROM event)
FROM unnest(ARRAY['invoices', 'notifications', 'webhooks']) AS name
WHERE EXISTS (SELECT FROM event WHERE position IS NOT NULL);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE follower_debt, follower;
"""
