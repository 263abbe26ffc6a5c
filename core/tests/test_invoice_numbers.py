"""Numbers have no gap and no double, whoever issues at once, fails in between, or is killed."""

import asyncio
import sys
from pathlib import Path

from core.tests.conftest import Shop

from dusangire.invoicing import invoices

DOCUMENTS, PROCESSES, TASKS, KILLS = 2_000, 4, 4, 5

# One process with some who issue at once. Each fifth fails after it has its number, before the
# transaction ends. What it says of itself goes to a file: it may be killed at any moment.
ISSUER = """
import asyncio, random, sys
from pathlib import Path
from dusangire.invoicing import invoices
from dusangire.access import OPERATOR
from dusangire.core import open_core
from dusangire.database import fetch
from dusangire.errors import Retryable
from dusangire.settings import Settings

url, home, tasks = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
said = open(home / "said", "a", buffering=1)
settle = invoices._settle_what_was_paid

async def stumble(core, actor, row):
    if random.random() < 0.2:
        said.write("failed\\n")
        raise ZeroDivisionError(row["number"])
    return await settle(core, actor, row)

async def issue(core):
    while True:
        drafts = await fetch(
            "SELECT id FROM invoice WHERE status = 'DRAFT' ORDER BY random() LIMIT 20"
        )
        if not drafts:
            return
        for draft in drafts:
            try:
                await invoices.issue_invoice(core, OPERATOR, draft["id"])
            except (ZeroDivisionError, Retryable):
                pass

async def main():
    async with open_core(Settings(home=home), url, connections=tasks + 1) as core:
        await asyncio.gather(*(issue(core) for _ in range(tasks)))

invoices._settle_what_was_paid = stumble
asyncio.run(main())
"""


async def test_2000_invoices_by_16_with_failures_and_kills_have_every_number_once_in_order(
    shop: Shop, tmp_path: Path
) -> None:
    await _drafts(shop)
    running = [await _issuer(shop, tmp_path) for _ in range(PROCESSES)]
    ended = []

    for kill in range(1, KILLS + 1):
        await _issued(shop, kill * DOCUMENTS // (KILLS + 2), running)
        victim = running.pop(0)
        victim.kill()
        ended.append(await victim.wait())
        running.append(await _issuer(shop, tmp_path))
    ends = [await process.wait() for process in running]

    assert ended == [-9] * KILLS
    assert ends == [0] * PROCESSES
    failed = (tmp_path / "said").read_text().count("failed")
    assert failed > DOCUMENTS * 0.15
    rows = await shop.rows(
        "SELECT number, year, sequence, issued_at FROM invoice WHERE status = 'ISSUED' "
        "ORDER BY year, sequence"
    )
    assert len(rows) == len({row["number"] for row in rows}) == DOCUMENTS
    assert [row["sequence"] for row in rows] == list(range(1, DOCUMENTS + 1))
    assert [row["issued_at"] for row in rows] == sorted(row["issued_at"] for row in rows)
    assert [line.whole for line in await invoices.gaps()] == [True]
    assert await shop.value("SELECT count(*) FROM event WHERE type = 'invoice.issued'") == DOCUMENTS
    assert (
        await shop.value("SELECT count(*) FROM audit_entry WHERE action = 'invoice.issued'")
        == DOCUMENTS
    )


async def _drafts(shop: Shop) -> None:
    await shop.run(
        "WITH drafts AS (INSERT INTO invoice (id, kind, series, currency, net, tax, total) "
        "SELECT gen_random_uuid(), 'INVOICE', 'INV', 'RWF', 100, 18, 118 "
        "FROM generate_series(1, $1) RETURNING id) "
        "INSERT INTO invoice_line (id, invoice_id, place, description, quantity, unit_price, "
        "tax_class, tax_rate, tax, total) SELECT gen_random_uuid(), id, 1, 'Coffee', 1000, 118, "
        "'B', 1800, 18, 118 FROM drafts",
        DOCUMENTS,
    )


async def _issuer(shop: Shop, home: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", ISSUER, shop.url, str(home), str(TASKS)
    )


async def _issued(shop: Shop, count: int, running: list[asyncio.subprocess.Process]) -> None:
    """Waits until so many have a number, and those who give them are alive."""
    while await shop.value("SELECT count(*) FROM invoice WHERE status = 'ISSUED'") < count:
        assert all(process.returncode is None for process in running)
        await asyncio.sleep(0.05)
