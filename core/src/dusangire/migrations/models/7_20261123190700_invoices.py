"""Invoices and credit notes, their numbers, and whose name stands on them."""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
CREATE TABLE merchant (
    id smallint PRIMARY KEY DEFAULT 1,
    name text NOT NULL,
    tin text,
    address text,
    phone text,
    email text,
    vat_registered boolean NOT NULL DEFAULT false,
    locale text NOT NULL DEFAULT 'en',
    footer text,
    logo bytea,
    logo_type text,
    version integer NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT merchant_is_one CHECK (id = 1),
    CONSTRAINT merchant_tin_has_nine_digits CHECK (tin ~ '^[0-9]{9}$')
);

CREATE TABLE document_counter (
    name varchar(100) PRIMARY KEY,
    reached bigint NOT NULL DEFAULT 0,
    last_at timestamptz
);

-- Amounts are minor units and include tax; quantity is in thousandths, tax_rate in hundredths of a
-- per cent (1800 is 18 %).
CREATE TABLE invoice (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'DRAFT',
    version integer NOT NULL DEFAULT 1,
    series text NOT NULL,
    year smallint,
    sequence bigint,
    number text,
    currency text NOT NULL,
    net bigint NOT NULL,
    tax bigint NOT NULL,
    total bigint NOT NULL,
    customer_id uuid REFERENCES customer (id),
    payment_id uuid REFERENCES payment (id),
    refund_id uuid REFERENCES refund (id),
    original_id uuid REFERENCES invoice (id),
    seller jsonb,
    buyer jsonb,
    note text,
    due_on date,
    issued_at timestamptz,
    paid_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT invoice_number_key UNIQUE (number),
    CONSTRAINT invoice_sequence_key UNIQUE (series, year, sequence),
    CONSTRAINT invoice_kind_known CHECK (kind IN ('INVOICE', 'CREDIT_NOTE')),
    CONSTRAINT invoice_status_known CHECK (status IN ('DRAFT', 'ISSUED', 'PAID', 'VOID')),
    CONSTRAINT invoice_numbered_when_issued CHECK (
        (status IN ('ISSUED', 'PAID')) = (number IS NOT NULL AND year IS NOT NULL
            AND sequence IS NOT NULL AND issued_at IS NOT NULL)),
    CONSTRAINT invoice_adds_up CHECK (total > 0 AND tax >= 0 AND net + tax = total),
    CONSTRAINT invoice_paid_at_a_time CHECK ((status = 'PAID') = (paid_at IS NOT NULL)),
    CONSTRAINT invoice_credits_an_original CHECK (
        (kind = 'CREDIT_NOTE') = (original_id IS NOT NULL)
        AND (kind = 'CREDIT_NOTE' OR refund_id IS NULL))
);
CREATE INDEX invoice_payment_idx ON invoice (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX invoice_original_idx ON invoice (original_id) WHERE original_id IS NOT NULL;
CREATE UNIQUE INDEX invoice_one_of_payment ON invoice (payment_id)
    WHERE kind = 'INVOICE' AND status <> 'VOID';
CREATE UNIQUE INDEX invoice_one_of_refund ON invoice (refund_id);
CREATE INDEX invoice_created_idx ON invoice (created_at, id);

CREATE TABLE invoice_line (
    id uuid PRIMARY KEY,
    invoice_id uuid NOT NULL REFERENCES invoice (id),
    place smallint NOT NULL,
    description text NOT NULL,
    quantity bigint NOT NULL,
    unit_price bigint NOT NULL,
    tax_class text NOT NULL,
    tax_rate integer NOT NULL,
    tax bigint NOT NULL,
    total bigint NOT NULL,
    item_code text,
    CONSTRAINT invoice_line_place_key UNIQUE (invoice_id, place),
    CONSTRAINT invoice_line_adds_up CHECK (quantity > 0 AND tax >= 0 AND tax <= total)
);

ALTER TABLE idempotency_key ADD COLUMN invoice_id uuid REFERENCES invoice (id);

-- What was issued stays as it was issued: only that it was paid may be added.
CREATE FUNCTION keep_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    may_change CONSTANT text[] := ARRAY['status', 'paid_at', 'version', 'updated_at'];
    lines record;
BEGIN
    IF TG_OP = 'DELETE' OR OLD.status = 'VOID' THEN
        RAISE EXCEPTION 'an invoice stays: % refused', TG_OP
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.number IS NOT NULL THEN
        IF to_jsonb(NEW) - may_change <> to_jsonb(OLD) - may_change
            OR NOT (NEW.status = OLD.status OR (OLD.status = 'ISSUED' AND NEW.status = 'PAID'))
            OR (OLD.paid_at IS NOT NULL AND NEW.paid_at IS DISTINCT FROM OLD.paid_at) THEN
            RAISE EXCEPTION '% is issued: it cannot be changed', OLD.number
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW.number IS NOT NULL THEN
        SELECT coalesce(sum(total), 0) AS total, coalesce(sum(tax), 0) AS tax INTO lines
            FROM invoice_line WHERE invoice_id = NEW.id;
        IF (lines.total, lines.tax) <> (NEW.total, NEW.tax) THEN
            RAISE EXCEPTION 'the lines of % do not add up to it', NEW.number
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoice_stays BEFORE UPDATE OR DELETE ON invoice
    FOR EACH ROW EXECUTE FUNCTION keep_invoice();
CREATE TRIGGER invoice_no_truncate BEFORE TRUNCATE ON invoice
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A line comes with its draft. The draft may come in the same statement: then it is not seen here.
CREATE FUNCTION keep_invoice_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' OR EXISTS (
        SELECT FROM invoice WHERE id = NEW.invoice_id AND status <> 'DRAFT') THEN
        RAISE EXCEPTION 'the lines of an invoice stay: % refused', TG_OP
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoice_line_stays BEFORE INSERT OR UPDATE OR DELETE ON invoice_line
    FOR EACH ROW EXECUTE FUNCTION keep_invoice_line();
CREATE TRIGGER invoice_line_no_truncate BEFORE TRUNCATE ON invoice_line
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The credit notes of an invoice never add up to more than it. Its row is locked, so that two at
-- once are counted one after the other.
CREATE FUNCTION keep_credit_within_original() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    original invoice%ROWTYPE;
    credited record;
BEGIN
    SELECT * INTO original FROM invoice WHERE id = NEW.original_id FOR UPDATE;
    SELECT coalesce(sum(total), 0) AS total, coalesce(sum(tax), 0) AS tax INTO credited
        FROM invoice WHERE original_id = NEW.original_id AND status <> 'VOID' AND id <> NEW.id;
    IF original.kind <> 'INVOICE' OR original.number IS NULL
        OR original.currency <> NEW.currency
        OR credited.total + NEW.total > original.total
        OR credited.tax + NEW.tax > original.tax THEN
        RAISE EXCEPTION 'this credits more than %', original.number
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoice_credit_within_original BEFORE INSERT ON invoice
    FOR EACH ROW WHEN (NEW.kind = 'CREDIT_NOTE')
    EXECUTE FUNCTION keep_credit_within_original();
-- A draft's money may not grow afterwards either.
CREATE TRIGGER invoice_credit_stays_within_original BEFORE UPDATE ON invoice
    FOR EACH ROW WHEN (NEW.kind = 'CREDIT_NOTE' AND (OLD.total, OLD.tax, OLD.original_id, OLD.kind)
        IS DISTINCT FROM (NEW.total, NEW.tax, NEW.original_id, NEW.kind))
    EXECUTE FUNCTION keep_credit_within_original();
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
ALTER TABLE idempotency_key DROP COLUMN invoice_id;
DROP TABLE invoice_line, invoice, document_counter, merchant;
DROP FUNCTION keep_invoice();
DROP FUNCTION keep_invoice_line();
DROP FUNCTION keep_credit_within_original();
"""
