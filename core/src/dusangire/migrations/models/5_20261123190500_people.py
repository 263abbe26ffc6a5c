"""Staff."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE staff (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    CONSTRAINT staff_email_key UNIQUE (email),
    CONSTRAINT staff_role_known CHECK (role IN ('VIEWER', 'OPERATOR', 'APPROVER', 'ADMIN'))
);

ALTER TABLE api_key ADD COLUMN created_by_id uuid REFERENCES staff (id);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
ALTER TABLE api_key DROP COLUMN created_by_id;
DROP TABLE staff;
"""
