"""What `revenue` over a year costs with few payments and with many.

The events of a year are loaded in bulk and taken in by the tail that keeps the sums, as it does
while payments happen; then the question is asked as the API asks it.
"""

import argparse
import asyncio
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from dusangire import database
from dusangire.access import OPERATOR
from dusangire.analytics import rollups
from dusangire.analytics.revenue import RevenueGroup, revenue
from dusangire.core import open_core
from dusangire.postgres import EmbeddedServer
from dusangire.settings import Settings

FEW, MANY = 10_000, 2_000_000
GOAL = 1.5
_ASKED = 200

# Five gateways and four ends, spread evenly over 2025. Only what the sums are made of: the payments
# themselves are not needed, and two million of them would take ten minutes.
_GATEWAYS = """
INSERT INTO gateway_account (id, code, name, plugin, environment)
SELECT gen_random_uuid(), 'g' || n, 'Gateway ' || n, 'cod', 'TEST'
FROM generate_series(1, 5) AS n"""
_EVENTS = """
INSERT INTO event (position, type, payment_id, data)
SELECT $1 + n, 'payment.succeeded', gen_random_uuid(), jsonb_build_object('gateway_id', g.id,
    'currency', 'RWF', 'status', status, 'amount', 5000 + n % 977,
    'captured', CASE WHEN n % 5 < 4 THEN 5000 + n % 977 ELSE 0 END,
    'refunded', CASE WHEN status = 'REFUNDED' THEN 5000 + n % 977 ELSE 0 END,
    'created_at', paid, 'completed_at', paid)
FROM generate_series(1, $2::int) AS n
JOIN (SELECT id, row_number() OVER (ORDER BY code) - 1 AS i FROM gateway_account) AS g
    ON g.i = n % 7 % 5
CROSS JOIN LATERAL (SELECT timestamptz '2025-01-01 12:00+02' + n % 365 * interval '1 day' AS paid,
    (ARRAY['SUCCEEDED', 'SUCCEEDED', 'SUCCEEDED', 'REFUNDED', 'FAILED'])[1 + n % 5] AS status
) AS made"""


async def measure(payments: int) -> dict[str, float]:
    """Milliseconds of the question, the middle one of many, and events a second of the tail."""
    with (
        tempfile.TemporaryDirectory(prefix="dusangire-bench-") as folder,
        EmbeddedServer(Path(folder)) as server,
    ):
        await database.migrate(server.url)
        async with open_core(Settings(home=Path(folder)), server.url, plugins={}) as core:
            await _load(server.url, payments)
            begun = time.perf_counter()
            while await rollups.keep(core):
                pass
            kept = time.perf_counter() - begun
            times = [await _ask() for _ in range(_ASKED)]
    return {"milliseconds": 1000 * median(times), "eventsPerSecond": payments / kept}


async def _load(url: str, payments: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_GATEWAYS)
        # Events without their payments.
        await connection.execute("SET session_replication_role = replica")
        for done in range(0, payments, 100_000):
            await connection.execute(_EVENTS, done, min(100_000, payments - done))
        await connection.execute("VACUUM ANALYZE event")
    finally:
        await connection.close()


async def _ask() -> float:
    begun = time.perf_counter()
    rows = await revenue(
        OPERATOR,
        date(2025, 1, 1),
        date(2025, 12, 31),
        "RWF",
        [RevenueGroup.GATEWAY, RevenueGroup.MONTH],
    )
    seconds = time.perf_counter() - begun
    assert len(rows) == 60, rows
    return seconds


async def compare(many: int = MANY) -> dict[str, Any]:
    """Both sizes in one run, and their ratio."""
    small, large = await measure(FEW), await measure(many)
    ratio = large["milliseconds"] / small["milliseconds"]
    return {
        "payments": [FEW, many],
        "milliseconds": [round(small["milliseconds"], 2), round(large["milliseconds"], 2)],
        "ratio": round(ratio, 2),
        "goal": GOAL,
        "tailEventsPerSecond": round(large["eventsPerSecond"]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.revenue")
    parser.add_argument("--payments", type=int, default=MANY)
    print(asyncio.run(compare(parser.parse_args().payments)))
