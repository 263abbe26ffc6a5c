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
    reached bigint NOT NULL DEFAULT 0
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
    CONSTRAINT invoice_adds_up CHECK (total > 0 AND tax >= 0 AND net + tax = total)
);
CREATE INDEX invoice_payment_idx ON invoice (payment_id) WHERE payment_id IS NOT NULL;
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
"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
DROP TABLE invoice_line, invoice, document_counter, merchant;
"""
