"""Audit entries get their place in the chain: a number without gaps, and a hash over all before."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
ALTER TABLE audit_entry
    ADD COLUMN sequence bigint,
    ADD COLUMN hash text,
    ADD CONSTRAINT audit_entry_sealed_whole CHECK ((sequence IS NULL) = (hash IS NULL));

-- Partial: an entry enters them when it is sealed, so that whoever writes one pays for none.
CREATE UNIQUE INDEX audit_entry_sequence_key ON audit_entry (sequence) WHERE sequence IS NOT NULL;
CREATE INDEX audit_entry_action_idx ON audit_entry (action, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX audit_entry_actor_idx ON audit_entry (actor_name, sequence)
    WHERE sequence IS NOT NULL;
CREATE INDEX audit_entry_unsealed_idx ON audit_entry (id) WHERE sequence IS NULL;

-- What a gateway said about one payment is part of its story.
CREATE INDEX gateway_webhook_reference_idx ON gateway_webhook (reference)
    WHERE reference IS NOT NULL;

-- An entry is sealed once. `*=` compares the bytes of all columns, also of those to come.
CREATE FUNCTION seal_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.sequence IS NULL AND NEW.sequence IS NOT NULL
        AND NEW.hash IS NOT NULL
    THEN
        OLD.sequence := NEW.sequence;
        OLD.hash := NEW.hash;
        IF NEW *= OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
DROP TRIGGER audit_entry_append_only ON audit_entry;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION seal_only();
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TRIGGER audit_entry_append_only ON audit_entry;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP FUNCTION seal_only();
DROP INDEX gateway_webhook_reference_idx, audit_entry_unsealed_idx, audit_entry_actor_idx,
    audit_entry_action_idx, audit_entry_sequence_key;
ALTER TABLE audit_entry DROP COLUMN sequence, DROP COLUMN hash;
"""
