"""A finance desk: files come in as bytes, are imported and reconciled as the server would do it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
from tests.truth.gateways import Simple, simple_gateways
from tests.truth.known import File, Paid, Refunded
from tests.truth.loading import load

from dusangire import attempts, database, sequencer
from dusangire.access import OPERATOR
from dusangire.core import Core, open_core
from dusangire.gateway import Environment
from dusangire.importing import accounts, imports, profiles, uploads
from dusangire.importing.imports import ImportRequest, StatementImport
from dusangire.reconciliation import runs
from dusangire.settings import Settings

Row: TypeAlias = dict[str, Any]

BANK = {
    "bank_name": "Bank of Kigali",
    "account_name": "Umurage Coffee Ltd",
    "account_number": "000400000001",
}
# What each account has agreed with its provider, and how it names its payouts.
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "card": {"fee_percent": "3.8"},
    "cod": {"fee_fixed": 500, "fee_percent": "0"},
    "bank": {
        "payout_words": ["FLUTTERWAVE SETTLEMENT", "CASH DEPOSIT COURIER", "MTN MOBILE MONEY"]
    },
}
_PROFILES: Mapping[str, Mapping[str, Any]] = {
    "mtn": {
        "columns": {
            "booking_date": "date", "transaction_id": "id", "our_reference": "external id",
            "status": "status", "type": "type", "description": "information", "payer": "from name",
            "payer_account": "from", "amount": "amount", "fee": "fee", "currency": "currency",
        },
        "sign": "signed",
        "dates": ["%Y-%m-%d %H:%M:%S"],
    },
    "card": {
        "columns": {
            "booking_date": "created_at", "transaction_id": "id", "our_reference": "tx_ref",
            "status": "status", "type": "type", "gross": "charged_amount", "fee": "app_fee",
            "net": "amount_settled", "currency": "currency", "settlement": "settlement_id",
            "payer": "customer_name", "description": "narration",
        },
        "sign": "signed",
        "dates": ["%Y-%m-%d %H:%M:%S"],
    },
    "cod": {
        "columns": {
            "booking_date": "date", "transaction_id": "waybill",
            "our_reference": "payment reference", "gross": "collected", "fee": "fee", "net": "net",
            "currency": "currency", "settlement": "remittance",
        },
        "sign": "signed",
        "dates": ["%Y-%m-%d"],
    },
    "bank": {
        "columns": {
            "booking_date": "book date", "value_date": "value date", "reference": "reference",
            "description": "narration", "debit": "debit", "credit": "credit", "balance": "balance",
        },
        "sign": "columns",
        "dates": ["%Y-%m-%d"],
        "numbers": {"thousands": ",", "decimal": "."},
        "metadata": {
            "opening_balance": "open balance", "closing_balance": "closing balance",
            "account": "account no",
        },
        "fee_rows": {"narration_regex": "(?i)^charge"},
    },
}  # fmt: skip


@dataclass(eq=False)
class Desk:
    """A core at work with four gateways: `mtn` (a wallet), `card`, `cod`, and `bank`."""

    core: Core
    url: str
    folder: Path
    gateways: dict[str, UUID]
    plugins: dict[str, Simple]
    files: int = 0
    imports: list[StatementImport] = field(default_factory=list)

    async def load(self, payments: Iterable[Paid], refunds: Iterable[Refunded] = ()) -> None:
        await load(self.url, self.gateways, payments, refunds)

    async def bring(self, account: str, content: bytes, name: str = "a.txt") -> StatementImport:
        """Uploads a file and has it imported."""
        self.files += 1
        file = self.folder / f"file-{self.files}"
        await asyncio.to_thread(file.write_bytes, content)
        upload_id = await uploads.keep(self.core, OPERATOR, file, name)
        profile = "own" if name.endswith(".csv") else None
        asked = await imports.import_statement(
            self.core,
            OPERATOR,
            ImportRequest(upload_id=upload_id, account=account, profile=profile),
        )
        await imports.work_due(self.core, asked.id)
        done = await imports.find(OPERATOR, asked.id)
        assert done is not None
        self.imports.append(done)
        return done

    async def bring_all(self, files: Sequence[File]) -> None:
        """Several files, each of which has to be read."""
        for file in files:
            done = await self.bring(file.account, file.content, file.name)
            assert done.status == "COMPLETED", (file.name, done.error)
            assert done.lines_rejected == 0, (file.name, done.rejected[:3])

    async def reconcile(
        self, account: str, begin: date = date(2026, 9, 1), end: date = date(2026, 11, 20)
    ) -> Row:
        """A run of an account, after those that its imports began."""
        await self.work()
        run = await runs.begin(self.core, OPERATOR, account, begin, end)
        await self.work()
        return await self.row("SELECT * FROM reconciliation WHERE id = $1", run.id)

    async def work(self) -> None:
        """Goes through the runs that wait, and those that follow from them."""
        await self.stamped()
        while await runs.work_due(self.core):
            await self.stamped()
        failed = await self.rows(
            "SELECT a.code, r.kind, r.error FROM reconciliation r "
            "JOIN statement_account a ON a.id = r.account_id WHERE r.status = 'FAILED'"
        )
        assert failed == [], failed

    async def ask(self) -> None:
        """Asks the gateways about what is due, as a worker does."""
        places = {one.id: one.places.free for one in await self.core.gateways.all()}
        for work in await attempts.take_due(self.core, 10, places):
            account = await self.core.gateways.by_id(work.gateway_id)
            await attempts.proceed(self.core, account, work)

    async def stamped(self) -> None:
        """Waits for the sequencer."""
        while await self.rows("SELECT FROM event WHERE position IS NULL LIMIT 1"):
            self.core.news.set()
            await asyncio.sleep(0.01)

    async def rows(self, statement: str, *values: Any) -> list[Row]:
        connection = await asyncpg.connect(self.url)
        try:
            return [dict(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    async def row(self, statement: str, *values: Any) -> Row:
        [row] = await self.rows(statement, *values)
        return row


@asynccontextmanager
async def open_desk(folder: Path, url: str) -> AsyncIterator[Desk]:
    """A desk on a migrated database."""
    settings = Settings(home=folder, poll_scale=0.01, public_url="https://pay.example.rw")
    plugins = simple_gateways()
    async with open_core(settings, url, plugins=plugins) as core:
        gateways: dict[str, UUID] = {}
        for code in ("mtn", "card", "cod", "bank"):
            account = await core.gateways.save(
                OPERATOR,
                code=code,
                plugin="bank" if code == "bank" else f"test-{code}",
                name=code.upper(),
                environment=Environment.TEST,
                config=BANK if code == "bank" else {},
            )
            gateways[code] = account.id
            made = await accounts.by_code(core, code)
            if code in _SETTINGS:
                await accounts.save(
                    core,
                    OPERATOR,
                    code=code,
                    name=made.name,
                    kind=made.kind,
                    currency=made.currency,
                    number=made.number,
                    gateway=code,
                    settings=_SETTINGS[code],
                )
            await profiles.save(core, OPERATOR, code, "own", "As they write it", _PROFILES[code])
        stamping = asyncio.create_task(sequencer.run(core, url))
        yield Desk(core=core, url=url, folder=folder, gateways=gateways, plugins=plugins)
        await _settle()
        stamping.cancel()
        with suppress(asyncio.CancelledError):
            await stamping


async def _settle() -> None:
    """Waits for the tasks that go on after their caller has its answer."""
    while tasks := [
        task for task in database._background if not task.get_name().startswith("close")
    ]:
        await asyncio.wait(tasks, timeout=5)
    for task in database._background:
        task.cancel()
    await asyncio.sleep(0)
