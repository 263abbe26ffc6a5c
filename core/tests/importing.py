"""Statements for tests, on a database of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from core.tests.conftest import Row, Shop

from dusangire.access import OPERATOR
from dusangire.importing import accounts, imports, uploads
from dusangire.importing.imports import ImportRequest, StatementImport
from dusangire.importing.sandbox import Limits
from dusangire.statements import AccountKind

HEAD = "STATEMENT 1 000400012345 RWF 100000 119500 2026-11-02 2026-11-03"
LINES = (
    "2026-11-02 C 15000 FT26306A MTN MOBILE MONEY RF59RW00000042 | 115000",
    "2026-11-02 C 5000 FT26306B coffee for Jean | 120000",
    "2026-11-03 D 500 FT26306B charge | 119500",
)


def statement(*lines: str, head: str | None = HEAD) -> str:
    return "\n".join(["# plain", *([head] if head else []), *(lines or LINES), "END", ""])


@dataclass
class Bank:
    """A shop with a bank account `bk`, and files for it."""

    shop: Shop
    folder: Path
    files: int = 0

    @classmethod
    async def open(cls, shop: Shop, folder: Path) -> "Bank":
        await _save(shop, "bk")
        return cls(shop, folder)

    async def ask(
        self, content: str | bytes, account: str = "bk", **wanted: Any
    ) -> StatementImport:
        """Uploads a file and asks for its import."""
        self.files += 1
        file = self.folder / f"file-{self.files}"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        name = wanted.pop("file_name", "november.txt")
        upload_id = await uploads.keep(self.shop.core, OPERATOR, file, name)
        request = ImportRequest(upload_id=upload_id, account=account, **wanted)
        return await imports.import_statement(self.shop.core, OPERATOR, request)

    async def work(self, asked: StatementImport, limits: Limits | None = None) -> StatementImport:
        await imports.work_due(self.shop.core, asked.id, limits)
        found = await imports.find(OPERATOR, asked.id)
        assert found is not None
        return found

    async def imported(self, content: str | bytes, **wanted: Any) -> StatementImport:
        return await self.work(await self.ask(content, **wanted))

    async def account_id(self) -> UUID:
        return (await accounts.by_code(self.shop.core, "bk")).id

    async def second(self) -> str:
        """Another account, to compare with."""
        await _save(self.shop, "bk2")
        return "bk2"

    async def lines(self, account: str = "bk", *, number: bool = True) -> list[Row]:
        """An account's lines with all that is stored of them, apart from whose they are."""
        left_out = ["id", "account_id", "fingerprint", "created_at", "statement_id"]
        left_out += ["statement_import_id", *([] if number else ["number"])]
        return await self.shop.rows(
            "SELECT (to_jsonb(l) - $2::text[])::text AS line, "
            "(SELECT jsonb_agg(jsonb_build_array(kind, value) ORDER BY r.id) FROM line_ref r "
            "WHERE line_id = l.id)::text AS refs FROM statement_line l "
            "JOIN statement_account a ON a.id = l.account_id WHERE a.code = $1 ORDER BY 1, 2",
            account,
            left_out,
        )


async def _save(shop: Shop, code: str) -> None:
    await accounts.save(
        shop.core,
        OPERATOR,
        code=code,
        name="Bank of Kigali",
        kind=AccountKind.BANK,
        currency="RWF",
    )


def codes(found: StatementImport) -> Sequence[str]:
    return [one.code for one in found.warnings]
