"""Payment methods of payers who come back, kept with their consent.

Written by hand, as the first migration says.
"""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE stored_method (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES customer (id),
    gateway_id uuid NOT NULL REFERENCES gateway_account (id),
    kind text NOT NULL,
    label text NOT NULL,
    phone text,
    token text,
    fingerprint text,
    consent text NOT NULL,
    consented_at timestamptz NOT NULL,
    consented_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    expires_at timestamptz,
    removed_at timestamptz,
    CONSTRAINT stored_method_kind_known CHECK (kind IN ('PHONE', 'TOKEN')),
    CONSTRAINT stored_method_phone_or_token CHECK (removed_at IS NOT NULL OR (
        (phone IS NOT NULL) = (kind = 'PHONE')
        AND (token IS NOT NULL) = (kind = 'TOKEN')
        AND (fingerprint IS NOT NULL) = (kind = 'TOKEN'))),
    CONSTRAINT stored_method_wiped_when_removed CHECK (removed_at IS NULL OR (
        phone IS NULL AND token IS NULL AND fingerprint IS NULL AND expires_at IS NULL
        AND label = ''))
);
CREATE UNIQUE INDEX stored_method_once
    ON stored_method (customer_id, gateway_id, coalesce(phone, fingerprint))
    WHERE removed_at IS NULL;

ALTER TABLE payment_attempt
    ADD COLUMN stored_method_id uuid REFERENCES stored_method (id),
    ADD COLUMN store_consent text,
    ADD COLUMN store_consent_by text,
    ADD CONSTRAINT payment_attempt_consent_is_somebodys
        CHECK ((store_consent IS NULL) = (store_consent_by IS NULL));
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
ALTER TABLE payment_attempt DROP CONSTRAINT payment_attempt_consent_is_somebodys,
    DROP COLUMN stored_method_id, DROP COLUMN store_consent, DROP COLUMN store_consent_by;
DROP TABLE stored_method;
"""
