"""A database made from zero has every table, constraint, index and trigger that must exist."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aerich import Command
from core.tests.conftest import Shop
from tortoise import fields
from tortoise.context import TortoiseContext
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.models import Model

from dusangire import database, models
from dusangire.database import migrate
from dusangire.health import HealthStatus
from dusangire.intake import CustomerInput
from dusangire.lifecycle import AttemptStatus, PaymentStatus, TransactionKind
from dusangire.testing.database import empty_database

MODELS: list[type[Model]] = [
    model
    for model in vars(models).values()
    if isinstance(model, type) and issubclass(model, Model) and model is not Model
]

CHECKS = {
    "audit_entry_sealed_whole",
    "clearing_item_amount_positive",
    "clearing_item_direction_known",
    "clearing_item_kind_known",
    "clearing_item_status_known",
    "discrepancy_kind_known",
    "discrepancy_severity_known",
    "discrepancy_status_known",
    "fiscal_device_reached_not_negative",
    "fiscal_device_tin_has_nine_digits",
    "fiscal_receipt_complete_when_signed",
    "fiscal_receipt_label_known",
    "fiscal_receipt_numbered_when_sent",
    "fiscal_receipt_refund_names_a_sale",
    "fiscal_receipt_status_known",
    "gateway_account_environment_known",
    "gateway_health_probed_while_open",
    "gateway_health_traffic_known",
    "gateway_webhook_status_known",
    "invoice_adds_up",
    "invoice_credits_an_original",
    "invoice_kind_known",
    "invoice_line_adds_up",
    "invoice_numbered_when_issued",
    "invoice_paid_at_a_time",
    "invoice_status_known",
    "ledger_entry_amount_positive",
    "ledger_entry_two_accounts",
    "match_found_explained",
    "match_leg_one_side",
    "merchant_is_one",
    "merchant_tin_has_nine_digits",
    "notification_ends_once",
    "notification_status_known",
    "notification_to_staff_or_customer",
    "notification_tried_again_until_it_ends",
    "payment_amount_positive",
    "payment_attempt_consent_is_somebodys",
    "payment_attempt_environment_known",
    "payment_attempt_fee_not_negative",
    "payment_attempt_status_known",
    "payment_captured_when_succeeded",
    "payment_currency_code",
    "payment_money_not_negative",
    "payment_reconciliation_known",
    "payment_refunds_within_captured",
    "payment_status_known",
    "payment_transaction_kind_known",
    "payment_version_positive",
    "period_close_by_another_person",
    "period_close_kind_known",
    "period_close_status_known",
    "recon_match_confidence_known",
    "recon_match_status_known",
    "reconciliation_decided_by_another_person",
    "reconciliation_kind_known",
    "reconciliation_period_known",
    "reconciliation_status_known",
    "refund_amount_positive",
    "refund_approvals_needed_known",
    "refund_decided_by_another_person",
    "refund_settled_by_another_person",
    "refund_status_known",
    "staff_role_known",
    "statement_account_kind_known",
    "statement_import_status_known",
    "statement_line_amount_known",
    "statement_line_direction_known",
    "statement_line_status_known",
    "stored_method_kind_known",
    "stored_method_phone_or_token",
    "stored_method_wiped_when_removed",
    "webhook_delivery_pending_until_it_ends",
    "webhook_delivery_status_known",
    "webhook_endpoint_deleted_is_disabled",
    "webhook_endpoint_previous_ends",
    "webhook_endpoint_why_disabled",
}
UNIQUE = {
    "api_key_public_id_key": "(public_id)",
    "attempt_rollup_once": "NULLS NOT DISTINCT (day, gateway_id, outcome, bucket)",
    "customer_reference_key": "(reference)",
    "event_position_key": "(position)",
    "fiscal_device_key": "(tin, branch)",
    "fiscal_item_key": "(device_id, key)",
    "fiscal_item_number_key": "(device_id, number)",
    "fiscal_receipt_invc_no_key": "(device_id, invc_no)",
    "fiscal_receipt_once": "(invoice_id, fiscal_label)",
    "follower_debt_once": "(follower, position)",
    "gateway_account_code_key": "(code)",
    "gateway_webhook_once": "(gateway_id, dedupe_key)",
    "idempotency_key_once": "(scope, operation, key)",
    "invoice_line_place_key": "(invoice_id, place)",
    "invoice_number_key": "(number)",
    "invoice_sequence_key": "(series, year, sequence)",
    "ledger_balance_once": "(account, currency)",
    "ledger_entry_reversed_once": "(reverses)",
    "match_ambiguity_once": "(line_id, item_id)",
    "notification_once": "(position, channel, recipient)",
    "payment_attempt_number_key": "(payment_id, number)",
    "payment_attempt_reference_key": "(reference)",
    "payment_reference_key": "(reference)",
    "reconciliation_once_a_night": "(account_id, night)",
    "refund_gateway_reference_key": "(gateway_reference)",
    "refund_reference_key": "(reference)",
    "rejected_pair_once": "(line_id, item_id)",
    "revenue_rollup_once": "NULLS NOT DISTINCT (currency, day, gateway_id, status)",
    "staff_email_key": "(email)",
    "staff_link_digest_key": "(digest)",
    "staff_session_digest_key": "(digest)",
    "statement_account_code_key": "(code)",
    "statement_line_once": "(account_id, fingerprint, occurrence)",
    "statement_profile_code_key": "(account_id, code)",
    "unmapped_code_once": "(gateway_id, code)",
    "webhook_delivery_once": "(endpoint_id, position)",
    "webhook_try_number_key": "(delivery_id, number)",
}
INDEXES = {
    "audit_entry_action_idx": "(action, sequence) WHERE (sequence IS NOT NULL)",
    "audit_entry_actor_idx": "(actor_name, sequence) WHERE (sequence IS NOT NULL)",
    "audit_entry_object_idx": "(object, id)",
    "audit_entry_sequence_key": "(sequence) WHERE (sequence IS NOT NULL)",
    "audit_entry_unsealed_idx": "(id) WHERE (sequence IS NULL)",
    "books_check_at_idx": "(checked_at)",
    "clearing_item_attempt_once": "(attempt_id, kind) WHERE (attempt_id IS NOT NULL)",
    "clearing_item_book_idx": "(book, currency) WHERE (status = 'OPEN'::text)",
    "clearing_item_open_idx": "(gateway_id, occurred_at, id) WHERE (status = 'OPEN'::text)",
    "clearing_item_payment_idx": "(payment_id) WHERE (payment_id IS NOT NULL)",
    "clearing_item_payout_once": "(account_id, settlement) WHERE (kind = 'PAYOUT'::text)",
    "clearing_item_refund_once": "(refund_id) WHERE (refund_id IS NOT NULL)",
    "customer_phone_idx": "(phone) WHERE (phone IS NOT NULL)",
    "discrepancy_account_idx": "(account_id, status)",
    "discrepancy_key_idx": "(key, resolved_at)",
    "discrepancy_line_idx": "(line_id) WHERE (line_id IS NOT NULL)",
    "discrepancy_listed_idx": "(created_at, id)",
    "discrepancy_open_once": "(key) WHERE (status = 'OPEN'::text)",
    "discrepancy_payment_idx": "(payment_id) WHERE (payment_id IS NOT NULL)",
    "discrepancy_status_idx": "(status, created_at, id)",
    "event_payment_idx": "(payment_id, id) WHERE (payment_id IS NOT NULL)",
    "event_unstamped_idx": '(id) WHERE ("position" IS NULL)',
    "fiscal_receipt_place_idx": "(place)",
    "fiscal_receipt_sale_idx": "(sale_id, place)",
    "fiscal_receipt_unsigned_idx": "(device_id, place) WHERE (status <> 'SIGNED'::text)",
    "follower_debt_due_idx": "(next_try_at)",
    "gateway_webhook_due_idx": "(next_try_at) WHERE (next_try_at IS NOT NULL)",
    "gateway_webhook_gateway_idx": "(gateway_id, received_at)",
    "gateway_webhook_reference_idx": "(reference) WHERE (reference IS NOT NULL)",
    "invoice_created_idx": "(created_at, id)",
    "invoice_one_of_payment": (
        "(payment_id) WHERE ((kind = 'INVOICE'::text) AND (status <> 'VOID'::text))"
    ),
    "invoice_one_of_refund": "(refund_id)",
    "invoice_original_idx": "(original_id) WHERE (original_id IS NOT NULL)",
    "invoice_payment_idx": "(payment_id) WHERE (payment_id IS NOT NULL)",
    "item_ref_item_idx": "(item_id)",
    "item_ref_value_idx": "(value)",
    "ledger_entry_credit_idx": "(credit, date, id)",
    "ledger_entry_date_idx": "(date, id)",
    "ledger_entry_debit_idx": "(debit, date, id)",
    "ledger_entry_item_idx": "(item_id) WHERE (item_id IS NOT NULL)",
    "ledger_entry_item_once": (
        "(item_id, cause) WHERE ((cause = ANY (ARRAY['captured'::text, 'refunded'::text, "
        "'reversed'::text])) AND (reverses IS NULL))"
    ),
    "ledger_entry_line_idx": "(line_id) WHERE (line_id IS NOT NULL)",
    "ledger_entry_line_once": (
        "(line_id, cause) WHERE ((cause = ANY (ARRAY['line'::text, 'payout'::text])) AND "
        "(reverses IS NULL))"
    ),
    "ledger_entry_match_idx": "(match_id) WHERE (match_id IS NOT NULL)",
    "ledger_entry_match_once": (
        "(match_id, cause, item_id) NULLS NOT DISTINCT WHERE ((match_id IS NOT NULL) AND "
        "(reverses IS NULL))"
    ),
    "line_ref_line_idx": "(line_id)",
    "line_ref_value_idx": "(value)",
    "match_ambiguity_account_idx": "(account_id)",
    "match_ambiguity_item_idx": "(item_id)",
    "match_leg_item_once": "(item_id) WHERE (live AND (item_id IS NOT NULL))",
    "match_leg_line_once": "(line_id) WHERE (live AND (line_id IS NOT NULL))",
    "match_leg_match_idx": "(match_id)",
    "notification_created_idx": "(created_at, id)",
    "notification_due_idx": "(next_try_at) WHERE (next_try_at IS NOT NULL)",
    "notification_gateway_idx": '(gateway_id, "position") WHERE (gateway_id IS NOT NULL)',
    "notification_payment_idx": "(payment_id, created_at) WHERE (payment_id IS NOT NULL)",
    "notification_staff_idx": "(recipient, created_at) WHERE (recipient <> 'customer'::text)",
    "payment_amount_idx": "(amount, id)",
    "payment_attempt_due_idx": "(gateway_id, next_check_at) WHERE (next_check_at IS NOT NULL)",
    "payment_attempt_gateway_idx": "(gateway_id, created_at)",
    "payment_attempt_phone_idx": "(phone) WHERE (phone IS NOT NULL)",
    "payment_attention_idx": "(created_at) WHERE (needs_attention <> '[]'::jsonb)",
    "payment_created_idx": "(created_at, id)",
    "payment_customer_idx": "(customer_id) WHERE (customer_id IS NOT NULL)",
    "payment_order_idx": "(order_reference) WHERE (order_reference IS NOT NULL)",
    "payment_search_idx": "(search gin_trgm_ops)",
    "payment_status_idx": "(status, created_at, id)",
    "payment_transaction_payment_idx": "(payment_id, id)",
    "payment_unpaid_expiry_idx": "(expires_at) WHERE (status = 'CREATED'::text)",
    "period_close_asked_once": "(account_id) WHERE (status = 'ASKED'::text)",
    "period_close_listed_idx": "(account_id, created_at)",
    "recon_match_account_idx": "(account_id, status, created_at, id)",
    "recon_match_run_idx": "(reconciliation_id)",
    "reconciliation_created_idx": "(created_at, id)",
    "reconciliation_due_idx": "(next_try_at) WHERE (status = 'RUNNING'::text)",
    "reconciliation_one_running": "(account_id) WHERE (status = 'RUNNING'::text)",
    "refund_approval_once": "(refund_id, staff_id) WHERE (voided_at IS NULL)",
    "refund_created_idx": "(created_at, id)",
    "refund_due_idx": "(gateway_id, next_check_at) WHERE (next_check_at IS NOT NULL)",
    "refund_payment_idx": "(payment_id, created_at)",
    "refund_status_idx": "(status, created_at, id)",
    "staff_link_unused_idx": "(staff_id) WHERE (used_at IS NULL)",
    "staff_session_open_idx": "(staff_id) WHERE (ended_at IS NULL)",
    "statement_account_idx": "(account_id, period_to)",
    "statement_import_created_idx": "(created_at, id)",
    "statement_import_due_idx": "(next_try_at) WHERE (status = 'RUNNING'::text)",
    "statement_import_file_once": (
        "(account_id, sha256) WHERE ((status = 'COMPLETED'::text) AND (NOT dry_run))"
    ),
    "statement_import_idx": "(statement_import_id)",
    "statement_import_reconcile_idx": "(account_id) WHERE reconcile_due",
    "statement_import_upload_idx": "(upload_id)",
    "statement_line_import_idx": "(statement_import_id, booking_date)",
    "statement_line_listed_idx": "(booking_date, id)",
    "statement_line_open_idx": (
        "(account_id, booking_date, id) WHERE (status = ANY (ARRAY['OPEN'::text, "
        "'SUGGESTED'::text]))"
    ),
    "statement_line_settlement_idx": "(account_id, settlement) WHERE (settlement IS NOT NULL)",
    "statement_line_statement_idx": "(statement_id)",
    "statement_line_status_idx": "(status, booking_date, id)",
    "webhook_delivery_due_idx": "(endpoint_id, next_try_at) WHERE (next_try_at IS NOT NULL)",
    "webhook_delivery_endpoint_idx": "(endpoint_id, created_at, id)",
    "webhook_delivery_payment_idx": "(payment_id, created_at) WHERE (payment_id IS NOT NULL)",
    "webhook_try_age_idx": "(tried_at)",
}
TRIGGERS = {
    "audit_entry_append_only",
    "audit_entry_no_truncate",
    "invoice_credit_stays_within_original",
    "invoice_credit_within_original",
    "invoice_line_no_truncate",
    "invoice_line_stays",
    "invoice_no_truncate",
    "invoice_stays",
    "ledger_entry_append_only",
    "ledger_entry_balance",
    "ledger_entry_no_truncate",
    "payment_transaction_append_only",
    "payment_transaction_no_truncate",
    "refund_approval_by_another_person",
    "refund_as_approved",
}
TYPES: dict[type[fields.Field[Any]], str] = {
    fields.UUIDField: "uuid",
    fields.TextField: "text",
    fields.CharField: "character varying",
    fields.JSONField: "jsonb",
    fields.BooleanField: "boolean",
    fields.SmallIntField: "smallint",
    fields.BigIntField: "bigint",
    fields.IntField: "integer",
    fields.FloatField: "double precision",
    fields.DatetimeField: "timestamp with time zone",
    fields.DateField: "date",
    fields.DecimalField: "numeric",
    fields.BinaryField: "bytea",
    ArrayField: "ARRAY",
}


@pytest.fixture
async def nothing() -> AsyncIterator[str]:
    async with empty_database() as url:
        yield url


async def ask(url: str, statement: str, *values: Any) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


# ── what must exist ──────────────────────────────────────────────────────────────────────────────


async def test_every_check_is_there_and_no_other(url: str) -> None:
    rows = await ask(
        url,
        "SELECT conname, convalidated FROM pg_constraint "
        "WHERE contype = 'c' AND connamespace = 'public'::regnamespace",
    )

    assert {row["conname"] for row in rows} == CHECKS
    assert all(row["convalidated"] for row in rows)


async def test_every_unique_constraint_is_there_and_no_other(url: str) -> None:
    rows = await ask(
        url,
        "SELECT conname, pg_get_constraintdef(oid) AS said FROM pg_constraint "
        "WHERE contype = 'u' AND connamespace = 'public'::regnamespace",
    )

    found = {row["conname"]: row["said"].replace('"', "").removeprefix("UNIQUE ") for row in rows}
    assert found == UNIQUE


async def test_every_index_is_there_and_no_other(url: str) -> None:
    rows = await ask(
        url,
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
        "AND indexname NOT IN (SELECT conname FROM pg_constraint) AND tablename <> 'aerich'",
    )

    found = {
        row["indexname"]: re.sub(r"^.* USING \w+ ", "", row["indexdef"])
        for row in rows
        if row["indexname"] not in {"payment_attempt_one_open", "stored_method_once"}
    }
    assert found == INDEXES


async def test_one_open_attempt_is_a_unique_index(url: str) -> None:
    [row] = await ask(
        url, "SELECT indexdef FROM pg_indexes WHERE indexname = 'payment_attempt_one_open'"
    )

    assert row["indexdef"].startswith("CREATE UNIQUE INDEX")
    assert all(f"'{status}'" in row["indexdef"] for status in ("SUBMITTING", "PENDING", "UNKNOWN"))


async def test_a_method_is_kept_once_by_a_unique_index(url: str) -> None:
    [row] = await ask(url, "SELECT indexdef FROM pg_indexes WHERE indexname = 'stored_method_once'")

    assert row["indexdef"] == (
        "CREATE UNIQUE INDEX stored_method_once ON public.stored_method USING btree "
        "(customer_id, gateway_id, COALESCE(phone, fingerprint)) WHERE (removed_at IS NULL)"
    )


async def test_history_is_guarded_by_triggers(url: str) -> None:
    rows = await ask(url, "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal")

    assert {row["tgname"] for row in rows} == TRIGGERS
    assert all(row["tgenabled"] == b"O" for row in rows)


async def test_every_reference_is_a_foreign_key_that_restricts(url: str) -> None:
    rows = await ask(
        url,
        "SELECT conrelid::regclass::text AS source, a.attname, confrelid::regclass::text AS target,"
        " confdeltype FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = conrelid"
        " AND a.attnum = conkey[1] WHERE contype = 'f'",
    )

    expected = {
        (model._meta.db_table, f"{name}_id")
        for model in MODELS
        for name in model._meta.fk_fields | model._meta.o2o_fields
    }
    assert {(row["source"], row["attname"]) for row in rows} == expected
    assert {row["confdeltype"] for row in rows} == {b"a"}


# ── the models ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
async def test_the_columns_are_those_of_the_model(url: str, model: type[Model]) -> None:
    # Models know the columns of their references once they were connected.
    await database.connect(url, connections=1)
    await database.disconnect()
    rows = await ask(
        url,
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = $1",
        model._meta.db_table,
    )

    found = {row["column_name"]: (row["data_type"], row["is_nullable"] == "YES") for row in rows}
    expected = {}
    for name, column in model._meta.fields_db_projection.items():
        field = model._meta.fields_map[name]
        expected[column] = ("uuid" if field.reference else TYPES[type(field)], field.null)
    assert found == expected


async def test_every_table_has_a_model(url: str) -> None:
    rows = await ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")

    tables = {row["tablename"] for row in rows}
    assert tables == {model._meta.db_table for model in MODELS} | {"aerich"}


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ("payment_status_known", PaymentStatus),
        ("payment_attempt_status_known", AttemptStatus),
        ("payment_transaction_kind_known", TransactionKind),
        ("gateway_health_traffic_known", HealthStatus),
    ],
)
async def test_the_database_knows_the_words_that_we_know(
    url: str, constraint: str, words: Any
) -> None:
    [row] = await ask(
        url,
        "SELECT pg_get_constraintdef(oid) AS said FROM pg_constraint WHERE conname = $1",
        constraint,
    )

    assert set(re.findall(r"'(\w+)'", row["said"])) == set(words)


# ── migrating ────────────────────────────────────────────────────────────────────────────────────


async def test_migrating_twice_does_it_once(nothing: str) -> None:
    first = await migrate(nothing)
    second = await migrate(nothing)

    assert first
    assert second == []


async def test_check_tells_what_is_missing_and_applies_nothing(nothing: str) -> None:
    missing = await migrate(nothing, check=True)
    tables = await ask(nothing, "SELECT 1 FROM pg_tables WHERE tablename = 'payment'")

    assert tables == []
    assert await migrate(nothing) == missing
    assert await migrate(nothing, check=True) == []


async def test_processes_that_migrate_at_once_pass_one_by_one(nothing: str) -> None:
    code = (
        "import asyncio, sys; from dusangire.database import migrate; "
        "print(len(asyncio.run(migrate(sys.argv[1]))))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, nothing, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]

    said = [(await process.communicate())[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(int(text) for text in said)[:2] == [0, 0]
    assert sum(int(text) for text in said) == len(await ask(nothing, "SELECT id FROM aerich"))


async def test_a_migration_can_be_taken_back_and_applied_again(nothing: str) -> None:
    await migrate(nothing)
    config = database._config(nothing, 2)
    async with TortoiseContext() as context:
        await context.init(config)
        command = Command(config, app="models", location=str(database._MIGRATIONS))
        await command.init()
        await command.downgrade(version=0, delete=False)

    left = await ask(
        nothing,
        "SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind = 'r' UNION ALL SELECT proname FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace AND proname = 'refuse_change'",
    )
    assert [row["name"] for row in left] == ["aerich"]
    assert await migrate(nothing)


async def test_a_database_with_history_upgrades_and_what_is_old_is_not_followed(
    nothing: str,
) -> None:
    await migrate(nothing)
    config = database._config(nothing, 2)
    async with TortoiseContext() as context:
        await context.init(config)
        command = Command(config, app="models", location=str(database._MIGRATIONS))
        await command.init()
        await command.downgrade(version=4, delete=False)
    tables = await ask(nothing, "SELECT FROM pg_tables WHERE tablename = 'follower'")
    await ask(
        nothing,
        "WITH paid AS (INSERT INTO payment (id, reference, amount, currency, status, captured) "
        "VALUES ($1, 'PAY-1', 5000, 'RWF', 'SUCCEEDED', 5000) RETURNING id) "
        "INSERT INTO event (type, payment_id, data, position) "
        "SELECT type, id, '{}', position FROM paid, "
        "unnest(ARRAY['payment.created', 'payment.succeeded'], ARRAY[1, 2]) AS e(type, position)",
        uuid4(),
    )

    await migrate(nothing)

    assert tables == []
    found = await ask(nothing, "SELECT name, position FROM follower ORDER BY name")
    assert {row["position"] for row in found} == {2}
    assert {"invoices", "notifications", "webhooks"} <= {row["name"] for row in found}


async def test_migrating_waits_for_nobody_who_only_reads(nothing: str) -> None:
    await migrate(nothing)
    reader = await asyncpg.connect(nothing)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT * FROM payment")

    async with asyncio.timeout(10):
        assert await migrate(nothing) == []

    await transaction.rollback()
    await reader.close()


# ── what the database refuses ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("table", ["audit_entry", "payment_transaction"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET id = DEFAULT",
        "DELETE FROM {table}",
        "TRUNCATE {table}",
        "TRUNCATE {table} CASCADE",
        "WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT * FROM gone",
    ],
)
async def test_history_cannot_be_changed(shop: Shop, table: str, statement: str) -> None:
    await shop.create()
    before = await shop.counts()

    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
        await shop.run(statement.format(table=table))

    assert before[table] > 0
    assert await shop.counts() == before


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("payment_amount_positive", "amount = 0"),
        ("payment_amount_positive", "amount = -1"),
        ("payment_version_positive", "version = 0"),
        ("payment_money_not_negative", "captured = -1"),
        ("payment_money_not_negative", "refunded = -1"),
        ("payment_money_not_negative", "reserved = -1"),
        ("payment_refunds_within_captured", "refunded = 1"),
        ("payment_refunds_within_captured", "reserved = 1"),
        (
            "payment_refunds_within_captured",
            "status = 'SUCCEEDED', captured = 10, refunded = 6, reserved = 5",
        ),
        ("payment_status_known", "status = 'PAID'"),
        ("payment_captured_when_succeeded", "status = 'SUCCEEDED'"),
        ("payment_captured_when_succeeded", "captured = 1"),
        ("payment_currency_code", "currency = 'rwf'"),
        ("payment_currency_code", "currency = 'RWFX'"),
        ("payment_reconciliation_known", "reconciliation_status = 'MAYBE'"),
    ],
)
async def test_a_payment_that_cannot_be_is_refused(
    shop: Shop, constraint: str, change: str
) -> None:
    await shop.create()

    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await shop.run(f"UPDATE payment SET {change}")

    # Which of two broken constraints is named first is up to the database.
    assert refused.value.constraint_name in {constraint, "payment_captured_when_succeeded"}


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("payment_attempt_status_known", "status = 'PAID'"),
        ("payment_attempt_environment_known", "environment = 'SANDBOX'"),
        ("payment_attempt_fee_not_negative", "fee = -1"),
        ("payment_attempt_consent_is_somebodys", "store_consent = 'yes'"),
        ("payment_attempt_consent_is_somebodys", "store_consent_by = 'api_key: shop'"),
    ],
)
async def test_an_attempt_that_cannot_be_is_refused(
    shop: Shop, constraint: str, change: str
) -> None:
    await shop.create()

    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await shop.run(f"UPDATE payment_attempt SET {change}")

    assert refused.value.constraint_name == constraint


async def test_a_gateway_and_a_webhook_that_cannot_be_are_refused(shop: Shop) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.run("UPDATE gateway_account SET environment = 'SANDBOX'")
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.run(
            "INSERT INTO gateway_webhook "
            "(id, gateway_id, dedupe_key, method, headers, body, status) "
            "SELECT $1, id, 'k', 'POST', '{}', '', 'LOST' FROM gateway_account LIMIT 1",
            uuid4(),
        )


@pytest.mark.parametrize("status", ["SUBMITTING", "PENDING", "UNKNOWN"])
async def test_a_second_open_attempt_is_refused(shop: Shop, status: str) -> None:
    await shop.create()

    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await shop.run(
            "INSERT INTO payment_attempt (id, payment_id, number, gateway_id, environment, "
            "reference, status) SELECT $1, payment_id, 2, gateway_id, environment, 'other', $2 "
            "FROM payment_attempt",
            uuid4(),
            status,
        )

    assert refused.value.constraint_name == "payment_attempt_one_open"


async def test_what_belongs_to_a_payment_keeps_it(shop: Shop) -> None:
    await shop.create()

    for table in ("payment", "gateway_account"):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await shop.run(f"DELETE FROM {table}")


STORE = (
    "INSERT INTO stored_method (id, customer_id, gateway_id, kind, label, phone, token, "
    "fingerprint, consent, consented_at, consented_by) "
    "SELECT gen_random_uuid(), customer.id, gateway_account.id, $1, 'a label', $2, $3, $4, 'yes', "
    "now(), 'api_key: shop' FROM customer, gateway_account WHERE code = 'script'"
)


@pytest.mark.parametrize(
    ("kind", "phone", "token", "fingerprint"),
    [
        ("PHONE", None, None, None),
        ("PHONE", "+250788123456", "k1:sealed", "f"),
        ("PHONE", "+250788123456", None, "f"),
        ("PHONE", None, "k1:sealed", "f"),
        ("TOKEN", None, None, None),
        ("TOKEN", None, "k1:sealed", None),
        ("TOKEN", "+250788123456", "k1:sealed", "f"),
        ("TOKEN", "+250788123456", None, None),
        ("CARD", None, "k1:sealed", "f"),
    ],
)
async def test_a_stored_method_is_a_number_or_a_token(
    shop: Shop, kind: str, phone: str | None, token: str | None, fingerprint: str | None
) -> None:
    await shop.create(customer=CustomerInput(reference="C-1"))

    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await shop.run(STORE, kind, phone, token, fingerprint)

    assert refused.value.constraint_name in {
        "refund_amount_positive",
        "refund_approvals_needed_known",
        "refund_decided_by_another_person",
        "refund_status_known",
        "staff_role_known",
        "stored_method_kind_known",
        "stored_method_phone_or_token",
    }


@pytest.mark.parametrize("left", ["label", "phone", "token", "fingerprint", "expires_at"])
async def test_nothing_of_a_removed_method_stays(shop: Shop, left: str) -> None:
    await shop.create(customer=CustomerInput(reference="C-1"))
    await shop.run(STORE, "PHONE", "+250788123456", None, None)
    wiped = dict.fromkeys(("phone", "token", "fingerprint", "expires_at"), "NULL")
    wiped |= {"label": "''", "removed_at": "now()"}
    value = "now()" if left == "expires_at" else "'left'"

    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await shop.run(_set({**wiped, left: value}))
    await shop.run(_set(wiped))

    assert refused.value.constraint_name == "stored_method_wiped_when_removed"


def _set(values: dict[str, str]) -> str:
    changes = ", ".join(f"{name} = {value}" for name, value in values.items())
    return f"UPDATE stored_method SET {changes}"


async def test_the_same_method_twice_is_refused_until_it_is_removed(shop: Shop) -> None:
    await shop.create(customer=CustomerInput(reference="C-1"))
    await shop.run(STORE, "TOKEN", None, "k1:sealed", "f")

    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await shop.run(STORE, "TOKEN", None, "k1:sealed otherwise", "f")

    assert refused.value.constraint_name == "stored_method_once"
