"""Statements over HTTP: a file comes in by POST /uploads, and GraphQL imports it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from dusangire.database import fetch
from dusangire.importing import uploads
from dusangire.permissions import Role, Scope
from dusangire.testing import formats
from dusangire_server.doors import Doors
from dusangire_server.testing import Shop
from dusangire_server.uploads import Uploads

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATEMENT = b"""STATEMENT 1 000400012345 RWF 100 - 2026-11-02 2026-11-03
2026-11-02 C 15000 FT26306A from 0788123456 RF59RW00000042
2026-11-03 D 500 FT26306B charge
wrong line
END
"""
IMPORT = """mutation ($input: ImportStatementInput!) { importStatement(input: $input) {
    import { id status dryRun } userErrors { code field message } } }"""
FIND = """query ($id: ID!) { statementImport(id: $id) { status format linesRead linesNew
    linesDuplicate linesRejected progress warnings { code message line }
    rejected { line message text } error { code message line } } }"""
SAVE = """mutation ($input: SaveStatementAccountInput!) { saveStatementAccount(input: $input) {
    account { code kind currency settings } userErrors { code field message } } }"""


async def send(
    shop: Shop, token: str | None, content: bytes = STATEMENT, name: str = "november.txt"
) -> httpx.Response:
    key = shop.keys[Scope.RECONCILIATION] if token is None else token
    return await shop.http.post(
        "/uploads", files={"file": (name, content)}, headers=shop.headers(key)
    )


async def ended(shop: Shop, import_id: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            found = await shop.get(FIND, {"id": import_id})
            told: dict[str, Any] = found["statementImport"]
            if told["status"] != "RUNNING":
                return told
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bank(shop: Shop) -> AsyncIterator[Shop]:
    """A shop with a bank account, and a format that is easy to write."""
    shop.core.plugins.register("plain", formats, version="0")
    saved = await shop.get(SAVE, {"input": {"code": "bk", "name": "BK", "kind": "BANK"}})
    assert saved["saveStatementAccount"]["userErrors"] == []
    sent = await send(shop, None)
    assert sent.status_code == 201
    asked = await shop.get(
        IMPORT,
        {"input": {"uploadId": sent.json()["id"], "account": "bk"}},
        token=shop.keys[Scope.RECONCILIATION],
    )
    assert asked["importStatement"]["userErrors"] == []
    done = await ended(shop, asked["importStatement"]["import"]["id"])
    assert (done["status"], done["linesRead"], done["linesNew"]) == ("COMPLETED", 2, 2), done
    assert (done["progress"], [one["line"] for one in done["rejected"]]) == (1, [4])
    yield shop


async def test_a_file_becomes_lines_that_anybody_with_the_right_can_read(bank: Shop) -> None:
    viewer = await bank.person(Role.VIEWER)
    lines = '{ statementLines(account: "bk", search: "rf59") { edges { node { account narration '
    lines += "bookingDate direction amount { amount currency } reference status } } } }"
    shown = await bank.get(lines, token=viewer)
    in_full = await bank.get(lines)

    [edge] = shown["statementLines"]["edges"]
    assert edge["node"]["amount"] == {"amount": "15000", "currency": "RWF"}
    assert (edge["node"]["bookingDate"], edge["node"]["reference"]) == ("2026-11-02", "FT26306A")
    # People see a payer's number in part; programs, which have to find the payer, in full.
    assert "0788123456" not in edge["node"]["narration"]
    assert "0788123456" in in_full["statementLines"]["edges"][0]["node"]["narration"]


async def test_lines_come_page_by_page(bank: Shop) -> None:
    page = """query ($after: String) { statementLines(first: 1, after: $after) {
        edges { node { bookingDate } } pageInfo { endCursor hasNextPage } } }"""
    first = (await bank.get(page))["statementLines"]
    after = first["pageInfo"]["endCursor"]
    second = (await bank.get(page, {"after": after}))["statementLines"]
    wrong = await bank.ask(page, {"after": "x"})

    days = [one["edges"][0]["node"]["bookingDate"] for one in (first, second)]
    assert days == ["2026-11-03", "2026-11-02"]
    assert second["pageInfo"]["hasNextPage"] is False
    assert wrong["errors"]


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        (Scope.PAYMENTS_READ, 403),
        (Scope.PAYMENTS_WRITE, 403),
        (Scope.RECONCILIATION, 201),
        (Scope.ADMIN, 201),
    ],
)
async def test_which_keys_may_upload(bank: Shop, scope: Scope, status: int) -> None:
    assert (await send(bank, bank.keys[scope])).status_code == status


async def test_a_person_uploads_from_a_page_of_ours_only(bank: Shop) -> None:
    operator, viewer = await bank.person(Role.OPERATOR), await bank.person(Role.VIEWER)
    own = bank.headers(operator)
    without: Mapping[str, Mapping[str, str]] = {
        "csrf": {name: value for name, value in own.items() if name != "X-CSRF"},
        "origin": {name: value for name, value in own.items() if name != "Origin"},
        "foreign": {**own, "Origin": "https://evil.example"},
    }

    let_in = await send(bank, operator)
    refused = {
        why: (await bank.http.post("/uploads", files={"file": b"x"}, headers=headers)).status_code
        for why, headers in without.items()
    }

    assert let_in.status_code == 201
    assert refused == {"csrf": 401, "origin": 401, "foreign": 401}
    assert (await send(bank, viewer)).status_code == 403
    assert (await send(bank, "")).status_code == 401


def _multipart(name: str = "file", more: bytes = b"") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'.encode()
    return head + b"hello\r\n" + more + b"--x--\r\n"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (_multipart(), "multipart/form-data; boundary=x", 201),
        (_multipart(), "application/json", 415),
        (_multipart(), "multipart/form-data", 415),
        (_multipart("other"), "multipart/form-data; boundary=x", 400),
        (_multipart(more=_multipart()[:-7]), "multipart/form-data; boundary=x", 400),
        (_multipart()[:-9], "multipart/form-data; boundary=x", 400),
        (b"nothing of the kind", "multipart/form-data; boundary=x", 400),
        (b"", "multipart/form-data; boundary=x", 400),
        (_multipart("f" * 9_000), "multipart/form-data; boundary=x", 400),
    ],
)
async def test_only_one_whole_file_is_taken(
    bank: Shop, body: bytes, content_type: str, status: int
) -> None:
    headers = {**bank.headers(), "Content-Type": content_type}

    answer = await bank.http.post("/uploads", content=body, headers=headers)

    assert answer.status_code == status
    assert "id" in answer.json() or answer.json()["errors"][0]["message"]


async def test_an_empty_file_is_refused_and_other_methods_are_not_there(bank: Shop) -> None:
    empty = await send(bank, None, b"")
    got = await bank.http.get("/uploads", headers=bank.headers())

    assert (empty.status_code, empty.json()["errors"][0]["extensions"]["code"]) == (400, "INVALID")
    assert got.status_code == 405


async def test_a_giant_file_is_refused_however_it_comes_and_leaves_nothing(bank: Shop) -> None:
    before = _leftovers(), await _stored()

    async def endless() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(2 * uploads.LARGEST // 2**20):
            yield bytes(2**20)

    headers = {**bank.headers(), "Content-Type": "multipart/form-data; boundary=x"}
    told = await bank.http.post(
        "/uploads", content=b"", headers={**headers, "Content-Length": str(500 * 2**20)}
    )
    chunked = await bank.http.post("/uploads", content=endless(), headers=headers)

    assert (told.status_code, chunked.status_code) == (413, 413)
    assert chunked.json()["errors"][0]["extensions"]["code"] == "TOO_LARGE"
    assert (_leftovers(), await _stored()) == before


async def test_a_file_that_comes_too_slowly_is_refused_and_leaves_nothing(bank: Shop) -> None:
    before = _leftovers(), await _stored()
    graphql = bank.app.state.graphql
    route = Uploads(graphql, Doors(bank.core.settings), patience=0.1)
    status: list[int] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.04)
        return {"type": "http.request", "body": b"--x\r\n"[:1], "more_body": True}

    async def answer(message: Any) -> None:
        status.append(message.get("status", 0))

    headers = [(b"content-type", b"multipart/form-data; boundary=" + b"-" * 60)]
    headers.append((b"authorization", f"Bearer {bank.admin}".encode()))
    scope = {"method": "POST", "headers": headers, "state": {"correlation_id": "x"}}
    await route(scope, receive, answer)

    assert status[0] == 408
    assert (_leftovers(), await _stored()) == before
    assert route.coming == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", 'a";b', "x" * 3_000])
async def test_a_files_name_opens_nothing(bank: Shop, name: str) -> None:
    sent = await send(bank, None, name=name)

    assert sent.status_code == 201
    [row] = await fetch("SELECT file_name FROM upload WHERE id = $1", sent.json()["id"])
    assert "/" not in row["file_name"]
    assert len(row["file_name"]) <= 120


async def test_what_is_wrong_with_an_import_is_told_in_words(bank: Shop) -> None:
    sent = (await send(bank, None, b"STATEMENT - - EUR - - - -\n")).json()["id"]

    def ask(**changes: Any) -> dict[str, Any]:
        return {"input": {"uploadId": sent, "account": "bk", **changes}}

    unknown = await bank.get(IMPORT, ask(format="pdf"))
    nobody = await bank.get(IMPORT, ask(account="nobody"))
    lost = await bank.get(IMPORT, ask(uploadId="00000000-0000-4000-8000-000000000000"))
    failed = await bank.get(IMPORT, ask())
    told = await ended(bank, failed["importStatement"]["import"]["id"])

    codes = [one["importStatement"]["userErrors"][0]["code"] for one in (unknown, nobody, lost)]
    assert codes == ["UNKNOWN_FORMAT", "NOT_FOUND", "NOT_FOUND"]
    assert told["status"] == "FAILED"
    assert told["error"] == {
        "code": "INVALID",
        "message": "The statement is in EUR; the account bk is in RWF.",
        "line": None,
    }


async def test_an_account_is_made_from_its_gateway_and_keeps_its_currency(bank: Shop) -> None:
    sent = (await send(bank, None)).json()["id"]
    await bank.get(IMPORT, {"input": {"uploadId": sent, "account": "fake", "dryRun": True}})
    listed = await bank.get("{ statementAccounts { code kind currency settings } }")
    changed = await bank.get(
        SAVE, {"input": {"code": "bk", "name": "BK", "kind": "BANK", "currency": "USD"}}
    )
    wrong = await bank.get(
        SAVE,
        {"input": {"code": "x", "name": "X", "kind": "BANK", "settings": {"tolerance": "lots"}}},
    )

    accounts = {one["code"]: one for one in listed["statementAccounts"]}
    assert accounts["fake"]["currency"] == "RWF"
    assert accounts["bk"]["settings"]["tolerance"] == 0
    assert changed["saveStatementAccount"]["userErrors"][0]["code"] == "ILLEGAL_STATE"
    assert wrong["saveStatementAccount"]["userErrors"][0]["field"] == ["settings", "tolerance"]


def _leftovers() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("dusangire-upload-*"))


async def _stored() -> int:
    return int((await fetch("SELECT count(*) AS n FROM upload"))[0]["n"])
