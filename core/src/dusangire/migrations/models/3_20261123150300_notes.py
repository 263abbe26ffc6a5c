"""What plugins remark while they are called: beside the answer, in the payment's log."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
ALTER TABLE payment_transaction ADD COLUMN notes jsonb;
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
ALTER TABLE payment_transaction DROP COLUMN notes;
"""
