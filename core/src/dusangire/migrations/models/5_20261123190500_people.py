"""People: their accounts, sessions, one-time links, and how often somebody guessed wrong."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE staff (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    password text,
    totp text,
    totp_step bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz,
    CONSTRAINT staff_email_key UNIQUE (email),
    CONSTRAINT staff_role_known CHECK (role IN ('VIEWER', 'OPERATOR', 'APPROVER', 'ADMIN'))
);

ALTER TABLE api_key ADD COLUMN created_by_id uuid REFERENCES staff (id);

CREATE TABLE staff_session (
    id uuid PRIMARY KEY,
    staff_id uuid NOT NULL REFERENCES staff (id),
    digest text NOT NULL,
    totp_draft text,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT staff_session_digest_key UNIQUE (digest)
);
CREATE INDEX staff_session_open_idx ON staff_session (staff_id) WHERE ended_at IS NULL;

CREATE TABLE staff_link (
    id uuid PRIMARY KEY,
    staff_id uuid NOT NULL REFERENCES staff (id),
    digest text NOT NULL,
    reset_password boolean NOT NULL,
    reset_totp boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    CONSTRAINT staff_link_digest_key UNIQUE (digest)
);
CREATE INDEX staff_link_unused_idx ON staff_link (staff_id) WHERE used_at IS NULL;

-- `key` is a digest: neither an e-mail that somebody typed nor an address is kept here.
CREATE TABLE login_throttle (
    key varchar(64) PRIMARY KEY,
    tries integer NOT NULL DEFAULT 1,
    last_at timestamptz NOT NULL DEFAULT now(),
    blocked_until timestamptz NOT NULL DEFAULT now()
);
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE login_throttle;
DROP TABLE staff_link;
DROP TABLE staff_session;
ALTER TABLE api_key DROP COLUMN created_by_id;
DROP TABLE staff;
"""
