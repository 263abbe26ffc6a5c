"""Matching a million payments with a million lines, beside the bare join of the same tables.

    python -m bench.matching --payments 1000000

The tables are filled in the database by itself. The limit is what PostgreSQL needs to put the same
pairs into a table, knowing nothing of ties, of people who said no, or of closed periods.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from dusangire.access import OPERATOR, SYSTEM
from dusangire.core import open_core
from dusangire.database import migrate
from dusangire.gateway import Environment
from dusangire.importing import accounts
from dusangire.importing.accounts import StatementAccount
from dusangire.postgres import EmbeddedServer
from dusangire.reconciliation import matching, recording
from dusangire.settings import Settings

ROUNDS = 3
GOAL = 3.0
BEGIN, END = date(2026, 10, 1), date(2026, 11, 2)
# One in so many lines names nothing, or pays another amount.
ODD = 97

# The nth payment: its reference, what the operator calls it, its price. The same for both sides,
# day after day of a month.
_PAYMENTS = """
INSERT INTO payment (id, reference, status, amount, currency, captured, gateway_id, created_at,
    updated_at, completed_at)
SELECT md5('payment ' || n)::uuid, 'PAY-' || lpad(upper(to_hex(n)), 8, '0'), 'SUCCEEDED',
    1000 + n % 5000 * 10, 'RWF', 1000 + n % 5000 * 10, $1, at, at, at
FROM (SELECT n, timestamptz '2026-10-01 06:00+02' + (n - 1)::bigint * 30 / $3 * interval '1 day'
    AS at FROM generate_series($2::int, $3::int) AS n) AS made"""
_ATTEMPTS = """
INSERT INTO payment_attempt (id, payment_id, number, gateway_id, environment, status, reference,
    gateway_transaction_id, created_at, completed_at)
SELECT md5('attempt ' || p.reference)::uuid, p.id, 1, $1, 'TEST', 'SUCCEEDED', p.reference || '-1',
    'T' || substr(p.reference, 5), p.created_at, p.completed_at
FROM generate_series($2::int, $3::int) AS n JOIN payment p ON p.id = md5('payment ' || n)::uuid"""
_ITEMS = """
INSERT INTO clearing_item (id, gateway_id, book, kind, direction, amount, currency, payment_id,
    attempt_id, began_at, occurred_at)
SELECT md5('item ' || n)::uuid, $1, 'clearing:wallet', 'PAYMENT', 'CREDIT', p.amount, p.currency,
    p.id, md5('attempt ' || p.reference)::uuid, p.created_at, p.completed_at
FROM generate_series($2::int, $3::int) AS n JOIN payment p ON p.id = md5('payment ' || n)::uuid"""
_ITEM_REFS = """
INSERT INTO item_ref (item_id, kind, value)
SELECT md5('item ' || n)::uuid, kind, value FROM generate_series($1::int, $2::int) AS n
CROSS JOIN LATERAL (VALUES ('PAYMENT', 'PAY' || lpad(upper(to_hex(n)), 8, '0')),
    ('TXN', 'T' || lpad(upper(to_hex(n)), 8, '0')),
    ('TX_REF', 'PAY' || lpad(upper(to_hex(n)), 8, '0') || '1')) AS named (kind, value)"""
_LINES = f"""
INSERT INTO statement_line (id, account_id, statement_id, statement_import_id, number,
    entry_status, kind, direction, amount, currency, booking_date, transaction_id, narration,
    source, fingerprint, occurrence, posted)
SELECT md5('line ' || n)::uuid, $1, $2, $3, n, 'BOOKED', 'PAYMENT', 'CREDIT',
    1000 + n % 5000 * 10 + CASE WHEN n % {ODD} = 1 THEN 500 ELSE 0 END, 'RWF',
    date '2026-10-01' + ((n - 1)::bigint * 30 / $5)::int,
    CASE WHEN n % {ODD} = 0 THEN 'X' ELSE 'T' END || lpad(upper(to_hex(n)), 8, '0'),
    'Payment', '', md5('line ' || n), 0, true
FROM generate_series($4::int, $5::int) AS n"""
_LINE_REFS = f"""
INSERT INTO line_ref (line_id, kind, value)
SELECT md5('line ' || n)::uuid, kind, value FROM generate_series($1::int, $2::int) AS n
CROSS JOIN LATERAL (VALUES
    ('ID', CASE WHEN n % {ODD} = 0 THEN 'X' ELSE 'T' END || lpad(upper(to_hex(n)), 8, '0')),
    ('ID', CASE WHEN n % {ODD} = 0 THEN 'X' ELSE 'PAY' END || lpad(upper(to_hex(n)), 8, '0')
        || '1')) AS named (kind, value)"""
_COUNT = "SELECT count(*) AS pairs FROM line_ref l JOIN item_ref i ON i.value = l.value"
_BARE = """
CREATE TABLE bare_pairs AS
SELECT DISTINCT line.id AS line_id, item.id AS item_id
FROM statement_line line JOIN line_ref l ON l.line_id = line.id
JOIN item_ref i ON i.value = l.value JOIN clearing_item item ON item.id = i.item_id
WHERE line.status = 'OPEN' AND item.status = 'OPEN'
    AND item.amount = line.amount AND item.currency = line.currency
    AND item.direction = line.direction"""
_TABLES = [
    "payment",
    "payment_attempt",
    "clearing_item",
    "item_ref",
    "statement_line",
    "line_ref",
]
# Those that keep no promise of the table's: they can go and come back.
_INDEXES = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS made
FROM pg_index i WHERE i.indrelid = ANY($1::text[]::regclass[])
    AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.matching")
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = asyncio.run(matched(options.payments))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


async def matched(payments: int = 1_000_000) -> dict[str, Any]:
    """Fills a server of its own, measures there, and gives the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="dusangire-bench-") as folder,
        EmbeddedServer(Path(folder)) as server,
    ):
        await migrate(server.url)
        settings = Settings(home=Path(folder), public_url="https://pay.example.rw")
        async with open_core(settings, server.url) as core:
            await core.gateways.save(
                OPERATOR,
                code="wallet",
                plugin="cod",
                name="Wallet",
                environment=Environment.TEST,
                config={"currency": "RWF"},
            )
            gateway = (await core.gateways.by_code("wallet")).id
            account = await accounts.by_code(core, "wallet")
            await _fill(server.url, gateway, account.id, payments)
            return await _measure(server.url, account, payments)


async def _fill(url: str, gateway: UUID, account: UUID, payments: int) -> None:
    """The tables without their indexes first: those are made at the end, each at once."""
    connection = await asyncpg.connect(url)
    try:
        statement_id, import_id = await _statement(connection, account)
        indexes = await connection.fetch(_INDEXES, _TABLES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        # What the rows refer to is in the same tables; nothing here asks again.
        await connection.execute("SET session_replication_role = replica")
        # While the tables are filled, not while anything is measured.
        await connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
        await connection.execute("SELECT pg_reload_conf()")
        lines = account, statement_id, import_id
        for name, statement, values in (
            ("payments", _PAYMENTS, (gateway,)),
            ("attempts", _ATTEMPTS, (gateway,)),
            ("items", _ITEMS, (gateway,)),
            ("what items are called", _ITEM_REFS, ()),
            ("lines", _LINES, lines),
            ("what lines name", _LINE_REFS, ()),
        ):
            took = await _seconds(connection.execute(statement, *values, 1, payments, timeout=1800))
            say(f"matching           {name}: {took:.1f} s")
        took = sum(
            [await _seconds(connection.execute(one["made"], timeout=1800)) for one in indexes]
        )
        say(f"matching           {len(indexes)} indexes: {took:.1f} s")
        took = await _seconds(connection.execute("VACUUM ANALYZE", timeout=1800))
        await connection.execute("ALTER SYSTEM RESET max_wal_size")
        await connection.execute("SELECT pg_reload_conf()")
        took += await _seconds(connection.execute("CHECKPOINT", timeout=1800))
        say(f"matching           vacuum, analyze, checkpoint: {took:.1f} s")
    finally:
        await connection.close()


async def _statement(
    connection: "asyncpg.Connection[asyncpg.Record]", account: UUID
) -> tuple[UUID, UUID]:
    """An import of one file, which the lines are of."""
    upload_id, import_id, statement_id = uuid4(), uuid4(), uuid4()
    await connection.execute(
        "INSERT INTO upload (id, file_name, size, sha256, content, created_by_kind, "
        "created_by_name) VALUES ($1, 'bench', 0, 'bench', '', 'operator', 'bench')",
        upload_id,
    )
    await connection.execute(
        "INSERT INTO statement_import (id, account_id, upload_id, sha256, status, dry_run, "
        "requested_by_kind, requested_by_name, next_try_at) "
        "VALUES ($1, $2, $3, 'bench', 'COMPLETED', false, 'operator', 'bench', NULL)",
        import_id,
        account,
        upload_id,
    )
    await connection.execute(
        "INSERT INTO statement (id, account_id, statement_import_id, currency) "
        "VALUES ($1, $2, $3, 'RWF')",
        statement_id,
        account,
        import_id,
    )
    return statement_id, import_id


async def _measure(
    url: str, account: StatementAccount, payments: int, rounds: int = ROUNDS
) -> dict[str, Any]:
    scope = await matching.scope_of(account, BEGIN, END)
    connection = await asyncpg.connect(url)
    bare, finding, pairs, found = list[float](), list[float](), 0, 0
    try:
        await connection.execute("SET statement_timeout = 0")
        counting = await _seconds(connection.fetchval(_COUNT, timeout=1800))
        for _ in range(rounds):
            await connection.execute("DROP TABLE IF EXISTS bare_pairs")
            bare.append(await _seconds(connection.execute(_BARE, timeout=1800)))
            pairs = await connection.fetchval("SELECT count(*) FROM bare_pairs")
            await connection.execute("TRUNCATE match_found, match_ambiguity")
            finding.append(await _seconds(matching.exact(scope)))
            found = await connection.fetchval("SELECT count(*) FROM match_found")
        before = _peak()
        recording_took = await _seconds(recording.confirm_found(account.id, None, SYSTEM))
        confirmed = await connection.fetchval(
            "SELECT count(*) FROM recon_match WHERE status = 'CONFIRMED'"
        )
    finally:
        await connection.close()
    if not pairs == found == confirmed:
        raise RuntimeError(f"{pairs} pairs, {found} found, {confirmed} confirmed")
    ratios = [ours / theirs for ours, theirs in zip(finding, bare, strict=True)]
    result = {
        "payments": payments,
        "pairs": pairs,
        "count_s": round(counting, 2),
        "bare_join_s": [round(one, 2) for one in bare],
        "exact_s": [round(one, 2) for one in finding],
        "ratio": round(median(ratios), 3),
        "recording_s": round(recording_took, 2),
        "recorded_per_second": round(confirmed / recording_took),
        "peak_mb": {"after_finding": before, "after_recording": _peak()},
        "goal": GOAL,
    }
    say(
        f"matching           {payments:,} x {payments:,}: exact passes {median(finding):.1f} s, "
        f"bare join {median(bare):.1f} s: {result['ratio']:.2f} times (goal at most {GOAL:.2f}); "
        f"recorded {result['recorded_per_second']:,}/s; peak {_peak():.0f} MB"
    )
    return result


async def _seconds(work: Awaitable[object]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


def _peak() -> float:
    """Megabytes that this process held at most; PostgreSQL works in its own."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
