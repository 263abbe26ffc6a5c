"""An office: a core on a database of its own, a simulated VSDC behind real HTTP, and invoices."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from dusangire.core import Core, open_core
from dusangire.database import fetch
from dusangire.fiscalization import receipts, signing
from dusangire.fiscalization.plugin import FiscalPlugin
from dusangire.followers import follow
from dusangire.settings import Settings
from dusangire.testing.database import fresh_database
from dusangire.testing.rig import serve
from dusangire_vsdc import device
from dusangire_vsdc.config import VsdcSettings
from dusangire_vsdc.simulator import EXAMPLE, Vsdc

Row = dict[str, Any]
ISSUED_AT = datetime(2026, 11, 23, 8, 15, 30, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of an invoice: `total` francs, tax in them."""

    total: int
    tax_class: str = "B"
    rate: int = 1800
    description: str = "Hosting, 1 month"
    code: str | None = None

    @property
    def tax(self) -> int:
        return round_half_up(self.total * self.rate, 10_000 + self.rate)


def round_half_up(over: int, under: int) -> int:
    return (2 * over + under) // (2 * under)


@dataclass(kw_only=True)
class Office:
    """A merchant with a VSDC. `vsdc`: what the simulator knows, and what it is told to do."""

    core: Core
    url: str
    vsdc: Vsdc
    numbers: dict[str, int] = field(default_factory=dict)

    async def sell(self, *lines: Line, currency: str = "RWF", **columns: Any) -> UUID:
        """A paid invoice, and its event acted on."""
        return await self._issue("INVOICE", "PAID", lines or [Line(total=15000)], currency, columns)

    async def credit(self, invoice_id: UUID, *lines: Line, currency: str = "RWF") -> UUID:
        """A credit note for a part of an invoice."""
        columns = {"original_id": invoice_id, "note": "The customer brought it back"}
        return await self._issue("CREDIT_NOTE", "ISSUED", lines, currency, columns)

    async def _issue(
        self, kind: str, status: str, lines: Sequence[Line], currency: str, columns: Row
    ) -> UUID:
        series = "INV" if kind == "INVOICE" else "CN"
        self.numbers[series] = number = self.numbers.get(series, 0) + 1
        total, tax = sum(line.total for line in lines), sum(line.tax for line in lines)
        [row] = await fetch(
            "INSERT INTO invoice (id, kind, series, currency, net, tax, total, buyer, seller, "
            "original_id, note) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb, $10, "
            "$11) RETURNING id",
            uuid4(),
            kind,
            series,
            currency,
            total - tax,
            tax,
            total,
            columns.get("buyer", '{"name": "Umukiriya", "phone": "+250780000000"}'),
            '{"name": "Example Shop", "address": "Kigali"}',
            columns.get("original_id"),
            columns.get("note"),
        )
        for place, line in enumerate(lines, start=1):
            await fetch(
                "INSERT INTO invoice_line (id, invoice_id, place, description, quantity, "
                "unit_price, tax_class, tax_rate, tax, total, item_code) "
                "VALUES ($1, $2, $3, $4, 1000, $5, $6, $7, $8, $5, $9)",
                uuid4(),
                row["id"],
                place,
                line.description,
                line.total,
                line.tax_class,
                line.rate,
                line.tax,
                line.code,
            )
        await fetch(
            "UPDATE invoice SET status = $2, year = 2026, sequence = $3, number = $4, "
            "issued_at = $5::timestamptz, "
            "paid_at = CASE WHEN $2 = 'PAID' THEN $5::timestamptz END WHERE id = $1",
            row["id"],
            status,
            number,
            f"{series}-2026-{number:06d}",
            ISSUED_AT,
        )
        await self.hear(row["id"])
        return UUID(str(row["id"]))

    async def hear(self, invoice_id: UUID) -> None:
        """An event of an invoice, and what follows from it."""
        await fetch(
            "INSERT INTO event (type, data, position) SELECT 'invoice.paid', "
            "jsonb_build_object('invoice', to_jsonb(i)), "
            "(SELECT coalesce(max(position), 0) + 1 FROM event) FROM invoice i WHERE id = $1",
            invoice_id,
        )
        await self.follow()

    async def follow(self) -> None:
        """What a worker does with the events."""
        while await follow(self.core, [receipts.FOLLOWER]):
            pass
        assert await self.rows("SELECT error FROM follower_debt") == []

    async def work(self, rounds: int = 20) -> None:
        """Rounds of a worker, each as if every waiting time were over."""
        for _ in range(rounds):
            await self.due()
            if not await signing.sign_due(self.core):
                return

    async def sends(self) -> "asyncio.Task[int]":
        """A worker in the middle of a call: the device has the sale, its answer is to come."""
        sender = asyncio.create_task(signing.sign_due(self.core))
        while not self.vsdc.sales:  # noqa: ASYNC110 - the simulator tells nobody
            await asyncio.sleep(0.01)
        return sender

    async def killed(self, worker: "asyncio.Task[Any]") -> None:
        """What a worker was doing is over, in the middle of a call too."""
        ended = [
            worker,
            *(task for task in asyncio.all_tasks() if task.get_name().startswith("sign ")),
        ]
        for task in ended:
            task.cancel()
        await asyncio.wait(ended)

    async def due(self) -> None:
        await self.run("UPDATE fiscal_receipt SET next_try_at = now() - interval '1 s'")
        await self.run("UPDATE fiscal_device SET next_try_at = now() - interval '1 s'")

    async def receipt(self, invoice_id: UUID, label: str | None = None) -> Row:
        rows = await self.rows(
            "SELECT * FROM fiscal_receipt WHERE invoice_id = $1 "
            "AND ($2::text IS NULL OR fiscal_label = $2)",
            invoice_id,
            label,
        )
        [row] = rows
        return row

    async def rows(self, statement: str, *values: Any) -> list[Row]:
        """What another connection sees."""
        connection = await asyncpg.connect(self.url)
        try:
            return [dict(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    async def run(self, statement: str, *values: Any) -> None:
        await self.rows(statement, *values)

    @contextmanager
    def without_device(self) -> Iterator[None]:
        """As a process that was started without the settings of the device."""
        plugin, self.core.plugins.fiscal = self.core.plugins.fiscal, None
        yield
        self.core.plugins.fiscal = plugin

    def configure(self, **settings: Any) -> None:
        """Other settings, as after a restart."""
        plugin = self.core.plugins.fiscal
        assert plugin is not None
        config = plugin.description.config.model_copy(update=settings)
        assert isinstance(config, VsdcSettings)
        changed = replace(device.describe(config), call_timeout=plugin.description.call_timeout)
        self.core.plugins.fiscal = replace(plugin, description=changed)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with fresh_database() as url:
        vsdc = Vsdc(VsdcSettings.model_validate({**EXAMPLE, "url": "http://vsdc"}))
        async with (
            serve(vsdc.app) as address,
            open_core(Settings(home=tmp_path, poll_scale=0.01), url) as core,
        ):
            settings = VsdcSettings.model_validate({**EXAMPLE, "url": address})
            description = replace(device.describe(settings), call_timeout=2)
            core.plugins.fiscal = FiscalPlugin("vsdc", device, core.plugins.manager, description)
            office = Office(core=core, url=url, vsdc=vsdc)
            await office.follow()
            yield office
