"""Messages to customers and staff: each event, channel and recipient once."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
-- No address is kept here: it is looked up when the message is sent.
CREATE TABLE notification (
    id uuid PRIMARY KEY,
    position bigint NOT NULL,
    notice text NOT NULL,
    channel text NOT NULL,
    recipient text NOT NULL,
    staff_id uuid REFERENCES staff (id),
    payment_id uuid REFERENCES payment (id),
    gateway_id uuid REFERENCES gateway_account (id),
    shown_to text NOT NULL,
    status text NOT NULL DEFAULT 'WAITING',
    tries integer NOT NULL DEFAULT 0,
    cause text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    next_try_at timestamptz,
    CONSTRAINT notification_once UNIQUE (position, channel, recipient),
    CONSTRAINT notification_status_known CHECK (
        status IN ('WAITING', 'SENDING', 'SENT', 'UNKNOWN', 'FAILED')),
    CONSTRAINT notification_tried_again_until_it_ends CHECK (
        (status IN ('WAITING', 'SENDING')) = (next_try_at IS NOT NULL)),
    CONSTRAINT notification_ends_once CHECK (
        (status IN ('WAITING', 'SENDING')) = (ended_at IS NULL)),
    CONSTRAINT notification_to_staff_or_customer CHECK (
        CASE WHEN staff_id IS NULL THEN recipient IN ('customer', 'staff')
        ELSE recipient = 'staff:' || staff_id END)
);
CREATE INDEX notification_due_idx ON notification (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX notification_payment_idx ON notification (payment_id, created_at)
    WHERE payment_id IS NOT NULL;
CREATE INDEX notification_created_idx ON notification (created_at, id);
CREATE INDEX notification_gateway_idx ON notification (gateway_id, position)
    WHERE gateway_id IS NOT NULL;
CREATE INDEX notification_staff_idx ON notification (recipient, created_at)
    WHERE recipient <> 'customer';
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE notification;
"""
