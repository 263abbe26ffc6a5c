"""Statement lines and money of ours for tests, put straight into their tables."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from core.tests.conftest import Row, Shop

from dusangire.access import Actor
from dusangire.importing import accounts
from dusangire.importing.accounts import StatementAccount
from dusangire.permissions import Role
from dusangire.reconciliation import discrepancies
from dusangire.reconciliation.discrepancies import Found

# A Monday, and what comes after it.
MONDAY = date(2026, 11, 2)


@dataclass
class Desk:
    """An accountant's desk: one account with statements, and the items that it has to show."""

    shop: Shop
    account_id: UUID
    gateway_id: UUID
    statement_id: UUID
    import_id: UUID
    lines: int = 0

    @classmethod
    async def open(cls, shop: Shop, kind: str = "BANK", **settings: Any) -> "Desk":
        shop.clock.ahead = max(timedelta(0), datetime(2026, 11, 23, tzinfo=UTC) - datetime.now(UTC))
        gateway_id = await shop.value("SELECT id FROM gateway_account WHERE code = 'script'")
        account_id, statement_id, import_id, upload_id = (uuid4() for _ in range(4))
        await shop.run(
            "INSERT INTO statement_account (id, code, name, kind, currency, gateway_id, settings) "
            "VALUES ($1, 'main', 'Main', $2, 'RWF', $3, jsonb_strip_nulls($4::jsonb))",
            account_id,
            kind,
            gateway_id,
            _json(settings),
        )
        await shop.run(
            "INSERT INTO upload (id, file_name, size, sha256, content, created_by_kind, "
            "created_by_name) VALUES ($1, 'a.csv', 1, 'x', 'x', 'staff', 'jane')",
            upload_id,
        )
        await shop.run(
            "INSERT INTO statement_import (id, account_id, upload_id, sha256, status, dry_run, "
            "requested_by_kind, requested_by_name) "
            "VALUES ($1, $2, $3, 'x', 'COMPLETED', false, 'staff', 'jane')",
            import_id,
            account_id,
            upload_id,
        )
        desk = cls(shop, account_id, gateway_id, statement_id, import_id)
        await desk.statement(MONDAY, date(2026, 11, 20), id=statement_id)
        return desk

    async def statement(self, begin: date, end: date, **columns: Any) -> UUID:
        values = {"id": uuid4(), "opening": None, "closing": None, "ties": None, **columns}
        await self.shop.run(
            "INSERT INTO statement (id, account_id, statement_import_id, currency, period_from, "
            "period_to, opening, closing, ties) VALUES ($1, $2, $3, 'RWF', $4, $5, $6, $7, $8)",
            values["id"],
            self.account_id,
            self.import_id,
            begin,
            end,
            values["opening"],
            values["closing"],
            values["ties"],
        )
        found: UUID = values["id"]
        return found

    async def line(self, amount: int = 5000, *refs: tuple[str, str], **columns: Any) -> UUID:
        """A booked line of Wednesday; refs: kind and value."""
        self.lines += 1
        values: dict[str, Any] = {
            "id": uuid4(),
            "account_id": self.account_id,
            "statement_id": self.statement_id,
            "statement_import_id": self.import_id,
            "number": self.lines,
            "entry_status": "BOOKED",
            "kind": "OTHER",
            "direction": "CREDIT",
            "amount": amount,
            "currency": "RWF",
            "booking_date": date(2026, 11, 4),
            "narration": "TRANSFER",
            "source": "",
            "fingerprint": f"line-{self.lines}",
            "occurrence": 1,
            "posted": True,
            **columns,
        }
        await self._insert("statement_line", values)
        for kind, value in refs:
            await self.shop.run(
                "INSERT INTO line_ref (line_id, kind, value) VALUES ($1, $2, $3)",
                values["id"],
                kind,
                value,
            )
        found: UUID = values["id"]
        return found

    async def item(
        self, payment_id: UUID | None, *refs: tuple[str, str], amount: int = 5000, **columns: Any
    ) -> UUID:
        """Money of Monday that a statement has to confirm."""
        day = columns.pop("day", MONDAY)
        values: dict[str, Any] = {
            "id": uuid4(),
            "gateway_id": self.gateway_id,
            "book": "clearing:script",
            "kind": "PAYMENT",
            "direction": "CREDIT",
            "amount": amount,
            "currency": "RWF",
            "payment_id": payment_id,
            "began_at": datetime.combine(day, time(8), UTC),
            "occurred_at": datetime.combine(day, time(8), UTC),
            **columns,
        }
        await self._insert("clearing_item", values)
        for kind, value in refs:
            await self.shop.run(
                "INSERT INTO item_ref (item_id, kind, value) VALUES ($1, $2, $3)",
                values["id"],
                kind,
                value,
            )
        found: UUID = values["id"]
        return found

    async def matched(self, line_ids: list[UUID], item_ids: list[UUID]) -> UUID:
        match_id = uuid4()
        await self.shop.run(
            "INSERT INTO recon_match (id, account_id, status, rule, confidence, currency) "
            "VALUES ($1, $2, 'CONFIRMED', 'strong', 100, 'RWF')",
            match_id,
            self.account_id,
        )
        await self.shop.run(
            "INSERT INTO match_leg (match_id, line_id, item_id) SELECT $1::uuid, l, NULL "
            "FROM unnest($2::uuid[]) l UNION ALL SELECT $1, NULL, i FROM unnest($3::uuid[]) i",
            match_id,
            line_ids,
            item_ids,
        )
        await self.shop.run(
            "UPDATE statement_line SET status = 'MATCHED' WHERE id = ANY($1)", line_ids
        )
        await self.shop.run(
            "UPDATE clearing_item SET status = 'MATCHED' WHERE id = ANY($1)", item_ids
        )
        return match_id

    async def _insert(self, table: str, values: dict[str, Any]) -> None:
        names = ", ".join(values)
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        await self.shop.run(f"INSERT INTO {table} ({names}) VALUES ({places})", *values.values())

    async def account(self) -> StatementAccount:
        return await accounts.by_id(self.account_id)

    async def find(self, to: date = date(2026, 11, 20)) -> Found:
        return await discrepancies.find(self.shop.core, await self.account(), None, to)

    async def open_kinds(self) -> list[str]:
        return [row["kind"] for row in await self.rows() if row["status"] == "OPEN"]

    async def rows(self) -> list[Row]:
        return await self.shop.rows("SELECT * FROM discrepancy ORDER BY created_at, kind, key")

    async def only(self) -> Row:
        [row] = [row for row in await self.rows() if row["status"] == "OPEN"]
        return row

    async def hire(self, role: Role = Role.APPROVER, *, fresh: bool = True) -> Actor:
        staff_id = uuid4()
        email = f"{role.lower()}-{staff_id.hex[:8]}@shop.example.rw"
        await self.shop.run(
            "INSERT INTO staff (id, email, name, role) VALUES ($1, $2, $2, $3)",
            staff_id,
            email,
            role.value,
        )
        return Actor(
            kind="staff",
            name=email,
            role=role,
            staff_id=staff_id,
            confirmed_at=self.shop.core.clock().timestamp() if fresh else None,
        )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
