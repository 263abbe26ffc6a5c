"""A reconciliation as the merchant's people and programs see it, from the upload to the yes."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
import pytest_asyncio
from server.tests.terminal import Terminal
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from dusangire.database import fetch
from dusangire.permissions import Role, Scope
from dusangire.reconciliation.measures import Waiting
from dusangire.testing import formats
from dusangire.testing.rig import serve, until
from dusangire_server.doors import Doors
from dusangire_server.graphql import GraphQL
from dusangire_server.limits import Limits
from dusangire_server.metrics import Metrics
from dusangire_server.sheets import Sheets
from dusangire_server.testing import Person, Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

WATCH = """subscription { events(types: ["reconciliation.progress",
    "reconciliation.awaiting_approval", "discrepancy.opened"]) { type
    reconciliation { id status progress }
    discrepancies { account name count kinds { kind count } } } }"""
IMPORT = """mutation ($input: ImportStatementInput!) { importStatement(input: $input) {
    import { id } userErrors { code message } } }"""
IMPORTED = """query ($id: ID!) { statementImport(id: $id) { status dryRun linesNew preview
    warnings { code } error { code message line } } }"""
RECONCILE = """mutation ($input: ReconcileInput!) { reconcile(input: $input) {
    reconciliation { id status } userErrors { code message } } }"""
APPROVE = """mutation ($id: ID!, $digest: String) { approveReconciliation(id: $id, note: "seen",
    digest: $digest) { reconciliation { status approvedBy { name } }
    userErrors { code message } } }"""
RUN = "query ($id: ID!) { reconciliation(id: $id) { status progress digest matchedCount } }"
LINES = """{ statementLines(account: "fake", first: 50) { edges { node {
    id narration amount { amount } status match { id status rule confidence explanation
    payments { id } lines { id } } } } } }"""
PAYMENT = """query ($id: ID!) { payment(id: $id) { reconciliationStatus
    discrepancies { kind status } } }"""
MATCH = "match { id status waitsForAnother difference { amount } decidedBy { name } lines { id } "
MATCH += "payments { id } } userErrors { code message }"
CONFIRM = f"mutation ($id: ID!) {{ confirmMatch(id: $id) {{ {MATCH} }} }}"
REJECT = f'mutation ($id: ID!) {{ rejectMatch(id: $id, note: "not his") {{ {MATCH} }} }}'
UNMATCH = f'mutation ($id: ID!) {{ unmatch(id: $id, note: "a mistake") {{ {MATCH} }} }}'
BY_HAND = f"mutation ($input: MatchLinesInput!) {{ matchLines(input: $input) {{ {MATCH} }} }}"
ATTACH = f"""mutation ($line: ID!, $payment: ID!) {{
    attachLine(lineId: $line, paymentId: $payment, note: "her receipt") {{ {MATCH} }} }}"""
FOUND = """{ discrepancies(status: [OPEN], account: "fake", first: 50) { edges { node {
    id kind severity line { id } } } } }"""
RESOLVE = """mutation ($input: ResolveDiscrepancyInput!) { resolveDiscrepancy(input: $input) {
    discrepancy { status askedBy { name } resolvedBy { name } } userErrors { code message } } }"""
SAVE = """mutation ($input: SaveStatementAccountInput!) { saveStatementAccount(input: $input) {
    account { code settings } userErrors { code message } } }"""
PREVIEW = """mutation ($id: ID!) { previewStatement(uploadId: $id, account: "bk") {
    preview userErrors { code message } } }"""
MAP = """mutation ($mapping: JSON!) { saveStatementProfile(account: "bk", code: "ours",
    name: "Ours", mapping: $mapping) { profile { code } userErrors { code message } } }"""
PERIOD = "{ period { id status closedUntil } userErrors { code message } }"
CLOSE = f'mutation ($day: Date!) {{ closePeriod(account: "kcb", until: $day) {PERIOD} }}'
REOPEN = f'mutation {{ reopenPeriod(account: "kcb", note: "a late letter") {PERIOD} }}'
CONFIRM_PERIOD = f"mutation ($id: ID!) {{ confirmPeriod(id: $id) {PERIOD} }}"

# What a payer may write, and what a spreadsheet would run; \u200b is not seen.
FORMULAS = ("=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(1)", "\uff1d1+1", "\u200b=2+2")
# No two of these add up to a payment, so that each line stays what it is.
ODD = (111, 113, 117, 119, 123, 127)
LIMIT = 100
LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE Document [
  <!ENTITY a "ha ha ha ha ha ha ha ha ha ha">
  <!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
  <!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
]>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02">
  <BkToCstmrStmt><GrpHdr><MsgId>&c;</MsgId></GrpHdr></BkToCstmrStmt>
</Document>
"""
TABLE = """Book Date,Value Date,Reference,Narration,Debit,Credit,Balance
2026-11-02,2026-11-02,FT26306AB1C2,Incoming Trsf | SHOP CUSTOMER A 0000017,,"15,000","115,000"
2026-11-03,2026-11-03,FT26307QQ7D1,IB Account transfer : SUPPLIER B,"20,000",,"95,000"
"""


@dataclass
class Month:
    """What the run came to, and who watched it. lines: by amount; payments: ids by amount."""

    shop: Shop
    people: Mapping[str, Person]
    payments: Mapping[int, str]
    today: date
    tried: dict[str, Any] = field(default_factory=dict)
    after_trying: dict[str, int] = field(default_factory=dict)
    run: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    async def line(self, amount: int) -> dict[str, Any]:
        edges = (await self.shop.get(LINES))["statementLines"]["edges"]
        nodes = [edge["node"] for edge in edges]
        [found] = [node for node in nodes if node["amount"]["amount"] == str(amount)]
        return dict(found)

    async def standing(self, amount: int) -> str:
        found = await self.shop.get(PAYMENT, {"id": self.payments[amount]})
        return str(found["payment"]["reconciliationStatus"])

    async def do(self, who: str, document: str, **variables: Any) -> dict[str, Any]:
        """The payload of a mutation."""
        answer = await self.shop.get(document, variables, token=self.people[who])
        [payload] = answer.values()
        return dict(payload)

    async def upload(self, content: bytes | str, name: str = "day.txt") -> str:
        sent = await self.shop.http.post(
            "/uploads",
            files={"file": (name, content)},
            headers=self.shop.headers(self.people["operator"]),
        )
        assert sent.status_code == 201, sent.text
        return str(sent.json()["id"])

    async def imported(self, upload: str, account: str, **options: Any) -> dict[str, Any]:
        """An import that has ended."""
        asked = {"uploadId": upload, "account": account, **options}
        begun = await self.do("operator", IMPORT, input=asked)
        assert begun["userErrors"] == []
        told: dict[str, Any] = {}

        async def ended() -> bool:
            found = await self.shop.get(IMPORTED, {"id": begun["import"]["id"]})
            told.update(found["statementImport"])
            return bool(told["status"] != "RUNNING")

        await until(ended)
        return told

    async def audited(self, object_: str) -> list[tuple[str, str]]:
        """What the log says about something: the action, and by whom."""
        rows = await fetch(
            "SELECT action, actor_name FROM audit_entry WHERE object = $1 ORDER BY id", object_
        )
        return [(row["action"], row["actor_name"]) for row in rows]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def month(shop: Shop) -> AsyncIterator[Month]:
    """A statement that came in by HTTP, and a run over it that waits for a second person."""
    shop.core.plugins.register("plain", formats, version="0")
    roles = {"operator": Role.OPERATOR, "one": Role.APPROVER, "two": Role.APPROVER}
    people = {name: await shop.person(role) for name, role in roles.items()}
    people["viewer"] = await shop.person(Role.VIEWER)
    for code, kind in (("fake", "WALLET"), ("bk", "BANK"), ("kcb", "BANK")):
        settings = {"write_off_limit": LIMIT}
        wanted = {"code": code, "name": code.title(), "kind": kind, "settings": settings}
        if code == "fake":
            wanted["gateway"] = "fake"
        saved = await shop.get(SAVE, {"input": wanted})
        assert saved["saveStatementAccount"]["userErrors"] == []
    made = {amount: await _paid(shop, amount) for amount in (15_000, 7_300, 9_100, 4_200, 6_500)}
    today = (await fetch("SELECT (now() AT TIME ZONE 'Africa/Kigali')::date AS day"))[0]["day"]
    told = Month(shop, people, {amount: one["id"] for amount, one in made.items()}, today)
    named = f"FOR {made[15_000]['reference']}"
    texts = {15_000: named, 7_300: "CASH", 9_100: "CASH", 4_150: "LESS", 6_000: "LESS", 8_800: "X"}
    upload = await told.upload(
        _statement(today, {**texts, **dict(zip(ODD, FORMULAS, strict=True))})
    )

    told.tried = await told.imported(upload, "fake", dryRun=True)
    told.after_trying = {
        table: (await fetch(f"SELECT count(*) AS n FROM {table}"))[0]["n"]
        for table in ("statement", "statement_line", "ledger_entry WHERE cause = 'line'")
    }
    async with serve(shop.app) as base, _watching(base, shop, people["viewer"]) as events:
        done = await told.imported(upload, "fake")
        assert (done["status"], done["linesNew"]) == ("COMPLETED", 12), done
        told.run = await _begun(told)
        async for event in events:
            told.events.append(event)
            run = event["reconciliation"] or {}
            if (run.get("id"), run.get("status")) == (told.run, "AWAITING_APPROVAL"):
                break
    yield told


async def _paid(shop: Shop, amount: int) -> dict[str, Any]:
    made = await shop.create(
        method={"gateway": "fake", "phone": "0780000000"},
        amount={"amount": str(amount), "currency": "RWF"},
    )
    payment: dict[str, Any] = made["payment"]
    query = "query ($id: ID!) { payment(id: $id) { status } }"

    async def succeeded() -> bool:
        found = await shop.get(query, {"id": payment["id"]})
        return bool(found["payment"]["status"] == "SUCCEEDED")

    await until(succeeded)
    return payment


def _statement(day: date, texts: Mapping[int, str]) -> bytes:
    entries = [f"{day} C {amount} - {text}" for amount, text in texts.items()]
    return "\n".join([f"STATEMENT - - RWF - - {day} {day}", *entries, "END", ""]).encode()


async def _begun(month: Month) -> str:
    days = {"account": "fake", "from": "2026-01-01", "to": str(month.today)}
    found: list[str] = []

    async def ready() -> bool:
        # The run after the import may still go on, and then another one is refused.
        begun = await month.do("one", RECONCILE, input=days)
        if begun["userErrors"]:
            assert begun["userErrors"][0]["code"] in {"ILLEGAL_STATE", "RETRYABLE"}
            return False
        found.append(begun["reconciliation"]["id"])
        return True

    await until(ready)
    return found[0]


@asynccontextmanager
async def _watching(
    base: str, shop: Shop, person: Person
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """What a dashboard of ours hears, over a socket with the person's cookie."""
    async with connect(
        base.replace("http", "ws") + "/graphql",
        subprotocols=[Subprotocol("graphql-transport-ws")],
        proxy=None,
        origin=Origin(base),
        additional_headers={"Cookie": shop.headers(person)["Cookie"]},
    ) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        subscribe = {"type": "subscribe", "id": "1", "payload": {"query": WATCH}}
        await socket.send(json.dumps(subscribe))

        async def events() -> AsyncIterator[dict[str, Any]]:
            async with asyncio.timeout(60):
                while True:
                    message = json.loads(await socket.recv())
                    if message["type"] == "ping":
                        await socket.send('{"type": "pong"}')
                        continue
                    assert message["type"] == "next", message
                    yield message["payload"]["data"]["events"]

        yield events()


# ── from the file to the yes ─────────────────────────────────────────────────────────────────────


async def test_a_dry_run_shows_the_lines_and_stores_none(month: Month) -> None:
    assert (month.tried["status"], month.tried["dryRun"]) == ("COMPLETED", True)
    assert month.tried["preview"][0]["narration"].startswith("FOR ")
    assert set(month.after_trying.values()) == {0}


async def test_a_dashboard_sees_the_run_rise_to_one_and_wait(month: Month) -> None:
    runs = [one["reconciliation"] for one in month.events if one["reconciliation"]]
    progress = [run["progress"] for run in runs if run["id"] == month.run]

    assert progress == sorted(progress)
    assert len(set(progress)) > 2
    assert (progress[0], progress[-1]) == (0, 1)
    assert month.events[-1]["type"] == "reconciliation.awaiting_approval"


async def test_a_dashboard_hears_of_what_is_grave_once(month: Month) -> None:
    opened = [one["discrepancies"] for one in month.events if one["type"] == "discrepancy.opened"]

    kinds = {one["kind"]: one["count"] for told in opened for one in told["kinds"]}
    assert {told["account"] for told in opened} == {"fake"}
    # The six odd lines, and the three that no payment fits.
    assert kinds["MISSING_IN_SYSTEM"] == 9
    assert len(opened) == 1
    assert opened[0]["count"] == sum(kinds.values())


async def test_a_line_that_names_its_payment_is_matched_with_reasons(month: Month) -> None:
    line = await month.line(15_000)

    assert (line["status"], line["match"]["status"]) == ("MATCHED", "CONFIRMED")
    assert [one["id"] for one in line["match"]["payments"]] == [month.payments[15_000]]
    assert [one["id"] for one in line["match"]["lines"]] == [line["id"]]
    assert line["match"]["explanation"]
    assert await month.standing(15_000) == "MATCHED"


async def test_whoever_asked_does_not_approve_and_another_person_does(month: Month) -> None:
    own = await month.do("one", APPROVE, id=month.run)
    stale = await month.do("two", APPROVE, id=month.run, digest="of another day")
    low = await month.shop.ask(APPROVE, {"id": month.run}, token=month.people["operator"])
    done = await month.do("two", APPROVE, id=month.run)

    assert own["userErrors"][0]["code"] == "SELF_APPROVAL"
    assert stale["userErrors"][0]["code"] == "STALE_APPROVAL"
    assert "FORBIDDEN" in json.dumps(low)
    assert done["reconciliation"]["status"] == "APPROVED"
    assert done["reconciliation"]["approvedBy"]["name"] == month.people["two"].email
    assert await month.audited(f"reconciliation:{month.run}") == [
        ("reconciliation.begun", month.people["one"].email),
        ("reconciliation.finished", "system"),
        ("reconciliation.approved", month.people["two"].email),
    ]


# ── decisions ────────────────────────────────────────────────────────────────────────────────────


async def test_a_suggestion_is_confirmed_and_the_payment_says_so(month: Month) -> None:
    line = await month.line(7_300)
    offered = line["match"]

    done = await month.do("operator", CONFIRM, id=offered["id"])
    late = await month.do("one", REJECT, id=offered["id"])

    assert (line["status"], offered["status"]) == ("SUGGESTED", "SUGGESTED")
    assert done["match"]["status"] == "CONFIRMED"
    assert done["match"]["decidedBy"]["name"] == month.people["operator"].email
    assert late["userErrors"][0]["code"] == "CONFLICT"
    assert (await month.line(7_300))["status"] == "MATCHED"
    assert await month.standing(7_300) == "MATCHED"
    email = month.people["operator"].email
    assert await month.audited(f"match:{offered['id']}") == [("match.confirmed", email)]


async def test_a_suggestion_is_rejected_and_line_and_payment_are_open_again(month: Month) -> None:
    offered = (await month.line(9_100))["match"]

    done = await month.do("operator", REJECT, id=offered["id"])

    line = await month.line(9_100)
    assert done["match"]["status"] == "REJECTED"
    assert (line["status"], line["match"]) == ("OPEN", None)
    assert [one["id"] for one in done["match"]["lines"]] == [line["id"]]
    email = month.people["operator"].email
    assert await month.audited(f"match:{offered['id']}") == [("match.rejected", email)]


async def test_put_together_by_hand_and_taken_apart_again(month: Month) -> None:
    line = await month.line(4_150)
    both = {"lineIds": [line["id"]], "paymentIds": [month.payments[4_200]], "note": "he said"}

    made = await month.do("operator", BY_HAND, input=both)
    again = await month.do("operator", BY_HAND, input=both)
    standing = await month.standing(4_200)
    apart = await month.do("operator", UNMATCH, id=made["match"]["id"])

    assert (made["match"]["status"], made["match"]["difference"]["amount"]) == ("CONFIRMED", "-50")
    assert again["match"]["id"] == made["match"]["id"]
    assert standing == "MATCHED"
    assert apart["match"]["status"] == "UNMATCHED"
    assert (await month.line(4_150))["status"] == "OPEN"
    assert await month.standing(4_200) != "MATCHED"
    books = await month.shop.get("{ booksCheck(now: true) { sound breaks { message } } }")
    assert books["booksCheck"] == {"sound": True, "breaks": []}
    said = [action for action, _ in await month.audited(f"match:{made['match']['id']}")]
    assert said == ["match.confirmed", "match.unmatched"]


async def test_a_difference_above_the_limit_needs_the_yes_of_a_second_person(month: Month) -> None:
    line = await month.line(6_000)
    both = {"lineIds": [line["id"]], "paymentIds": [month.payments[6_500]], "note": "a discount"}

    asked = await month.do("one", BY_HAND, input=both)
    own = await month.do("one", CONFIRM, id=asked["match"]["id"])
    lower = await month.shop.ask(
        CONFIRM, {"id": asked["match"]["id"]}, token=month.people["operator"]
    )
    done = await month.do("two", CONFIRM, id=asked["match"]["id"])

    assert (asked["match"]["status"], asked["match"]["waitsForAnother"]) == ("SUGGESTED", True)
    assert own["userErrors"][0]["code"] == "SELF_APPROVAL"
    assert "FORBIDDEN" in json.dumps(lower)
    assert (done["match"]["status"], done["match"]["waitsForAnother"]) == ("CONFIRMED", False)
    assert await month.audited(f"match:{asked['match']['id']}") == [
        ("match.agreed", month.people["one"].email),
        ("match.confirmed", month.people["two"].email),
    ]


async def test_money_of_an_unknown_payer_is_given_to_its_payment(month: Month) -> None:
    line, late = await month.line(8_800), await _paid(month.shop, 8_800)
    total = '{ suspense(account: "fake") { count total { amount } } }'
    before = (await month.shop.get(total))["suspense"]

    given = await month.do("operator", ATTACH, line=line["id"], payment=late["id"])

    after = (await month.shop.get(total))["suspense"]
    assert given["match"]["status"] == "CONFIRMED"
    assert [one["id"] for one in given["match"]["payments"]] == [late["id"]]
    assert int(before["total"]["amount"]) - int(after["total"]["amount"]) == 8_800
    assert before["count"] - after["count"] == 1
    shown = await month.shop.get(PAYMENT, {"id": late["id"]})
    assert shown["payment"]["reconciliationStatus"] == "MATCHED"
    email = month.people["operator"].email
    assert await month.audited(f"match:{given['match']['id']}") == [("match.confirmed", email)]


async def test_a_loss_above_the_limit_is_written_off_by_two(month: Month) -> None:
    line = await month.line(ODD[0])
    edges = (await month.shop.get(FOUND))["discrepancies"]["edges"]
    nodes = [edge["node"] for edge in edges]
    [found] = [one for one in nodes if one["line"] and one["line"]["id"] == line["id"]]
    wanted = {"discrepancyId": found["id"], "status": "WRITTEN_OFF", "note": "nobody asks for it"}

    asked = await month.do("one", RESOLVE, input=wanted)
    own = await month.do("one", RESOLVE, input=wanted)
    done = await month.do("two", RESOLVE, input=wanted)

    one, two = (month.people[name].email for name in ("one", "two"))
    assert asked["discrepancy"]["status"] == "OPEN"
    assert asked["discrepancy"]["askedBy"]["name"] == one
    assert own["userErrors"][0]["code"] == "SELF_APPROVAL"
    assert done["discrepancy"]["status"] == "WRITTEN_OFF"
    assert done["discrepancy"]["resolvedBy"]["name"] == two
    assert await month.audited(f"discrepancy:{found['id']}") == [
        ("discrepancy.write_off_asked", one),
        ("discrepancy.written_off", two),
    ]


async def test_a_discrepancy_is_given_to_somebody_and_resolved(month: Month) -> None:
    line = await month.line(ODD[1])
    edges = (await month.shop.get(FOUND))["discrepancies"]["edges"]
    nodes = [edge["node"] for edge in edges]
    [found] = [one for one in nodes if one["line"] and one["line"]["id"] == line["id"]]
    assign = """mutation ($id: ID!, $staff: ID) { assignDiscrepancy(id: $id, staffId: $staff) {
        discrepancy { assignedTo { name } } userErrors { code } } }"""
    seen = {"discrepancyId": found["id"], "status": "RESOLVED", "note": "The bank explained it"}

    given = await month.do(
        "operator", assign, id=found["id"], staff=str(month.people["operator"].id)
    )
    done = await month.do("operator", RESOLVE, input=seen)

    email = month.people["operator"].email
    assert given["discrepancy"]["assignedTo"]["name"] == email
    assert done["discrepancy"]["status"] == "RESOLVED"
    assert await month.audited(f"discrepancy:{found['id']}") == [
        ("discrepancy.assigned", email),
        ("discrepancy.resolved", email),
    ]


async def test_figures_for_prometheus_tell_what_waits(month: Month) -> None:
    answer = await month.shop.http.get("/metrics", headers=month.shop.headers())

    row = 'dusangire_open_discrepancies{kind="MISSING_IN_SYSTEM",severity="HIGH"} '
    [told] = [line for line in answer.text.splitlines() if line.startswith(row)]
    assert 1 <= float(told.removeprefix(row)) <= 10
    assert 'dusangire_suspense_lines{account="fake"} ' in answer.text
    assert 'dusangire_suspense_lines{account="bk"} ' in answer.text
    for name in ("discrepancy", "suspense"):
        assert f"dusangire_oldest_{name}_seconds" in answer.text


async def test_a_kind_that_is_dealt_with_is_no_figure_any_more() -> None:
    metrics = Metrics()
    some = {("DUPLICATE", "HIGH"): 2}
    metrics.reconciling(Waiting(discrepancies=some, oldest_seconds=9, suspense={"bk": (3, 5)}))
    before = metrics.text().decode()

    metrics.reconciling(Waiting(discrepancies={}, oldest_seconds=0, suspense={"bk": (0, 0)}))

    after = metrics.text().decode()
    assert 'open_discrepancies{kind="DUPLICATE",severity="HIGH"} 2.0' in before
    assert "DUPLICATE" not in after
    assert 'dusangire_suspense_lines{account="bk"} 0.0' in after


# ── reports ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_report_is_a_file_to_be_saved_and_never_kept(month: Month) -> None:
    types = {"csv": "text/csv", "xlsx": "application/vnd.openxmlformats-officedocument"}
    for ending, kind in types.items():
        path = f"/reconciliations/{month.run}.{ending}"
        answer = await month.shop.http.get(path, headers=month.shop.headers())

        name = f"reconciliation-fake-2026-01-01-{month.today}.{ending}"
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
async def test_who_gets_a_report(month: Month, ending: str) -> None:
    shop, own = month.shop, f"/reconciliations/{month.run}.{ending}"
    nobodys = f"/reconciliations/00000000-0000-4000-8000-000000000000.{ending}"
    asked = {
        "nobody": (own, {}),
        "wrong key": (own, {"Authorization": "Bearer dsg_test_nothing"}),
        "other key": (own, shop.headers(shop.keys[Scope.PAYMENTS_READ])),
        "accountant": (own, shop.headers(shop.keys[Scope.RECONCILIATION])),
        "viewer": (own, shop.headers(month.people["viewer"])),
        "no run": (nobodys, shop.headers()),
        "no id": (f"/reconciliations/x.{ending}", shop.headers()),
    }

    status = {
        who: (await shop.http.get(path, headers=headers)).status_code
        for who, (path, headers) in asked.items()
    }
    posted = await shop.http.post(own, headers=shop.headers())

    assert status == {
        "nobody": 401,
        "wrong key": 401,
        "other key": 403,
        "accountant": 200,
        "viewer": 200,
        "no run": 404,
        "no id": 404,
    }
    assert posted.status_code == 405


async def test_s45_nothing_in_a_report_is_a_formula_and_amounts_are_numbers(month: Month) -> None:
    path = f"/reconciliations/{month.run}"
    as_csv = await month.shop.http.get(f"{path}.csv", headers=month.shop.headers())
    as_xlsx = await month.shop.http.get(f"{path}.xlsx", headers=month.shop.headers())
    text = as_csv.content.decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text.split("\r\n\r\n", 1)[1])))
    book = openpyxl.load_workbook(io.BytesIO(as_xlsx.content))
    header, *rows = book["Rows"].iter_rows()
    at = {cell.value: place for place, cell in enumerate(header)}

    lines = {Decimal(row["in"]): row["text"] for row in table if row["section"] == "line"}
    cells = {row[at["in"]].value: row for row in rows if row[at["section"]].value == "line"}
    for amount, formula in zip(ODD, FORMULAS, strict=True):
        assert lines[Decimal(amount)].startswith("'"), formula
        assert str(cells[amount][at["text"]].value).startswith("'"), formula
        assert cells[amount][at["text"]].data_type == "s"
        assert cells[amount][at["in"]].data_type == "n"
    assert "f" not in {
        cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row
    }
    assert len(rows) == len(table)


async def test_the_command_line_tells_the_same_sums(month: Month) -> None:
    shop = month.shop
    settings = {
        "DUSANGIRE_DATABASE_URL": shop.database_url,
        "DUSANGIRE_HOME": str(shop.core.settings.home),
        "DUSANGIRE_SECRET_KEYS": shop.core.settings.secret_keys or "",
    }
    terminal = Terminal(shop.core.settings.home, settings)

    said = await terminal.run("reconciliations", "report", month.run)
    sent = await shop.http.get(f"/reconciliations/{month.run}.csv", headers=shop.headers())

    summary = sent.content.decode("utf-8-sig").split("\r\n\r\n", 1)[0]
    facts = dict(csv.reader(io.StringIO(summary)))
    assert said.status == 0, said.err
    assert facts["lines matched"]
    for name in ("lines matched", "lines matched, in", "lines not matched, in", "digest"):
        [shown] = [line for line in said.out.splitlines() if line.split("  ")[0].strip() == name]
        assert shown.split()[-1].replace(",", "") == facts[name], name


class Reader:
    """Somebody who asks one of the routes for a report, and takes nothing until they are let."""

    def __init__(self, shop: Shop, sheets: Sheets, month: Month) -> None:
        self.route = next(one for one in sheets.routes if isinstance(one, Route))
        key = shop.headers()["Authorization"].encode()
        self.scope = {
            "type": "http",
            "method": "GET",
            "headers": [(b"authorization", key)],
            "path_params": {"id": month.run},
        }
        self.takes = asyncio.Event()
        self.status = 0

    async def read(self) -> int:
        await self.route.endpoint(self.scope, self._nothing, self._send)
        return self.status

    async def _nothing(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        if self.status == 200:
            await self.takes.wait()


async def test_a_report_has_its_place_until_its_reader_has_it_all(month: Month) -> None:
    sheets = Sheets(month.shop.app.state.graphql, Doors(month.shop.core.settings))
    readers = [Reader(month.shop, sheets, month) for _ in range(9)]
    route = readers[0].route
    for reader in readers:
        reader.route = route
    reading = [asyncio.create_task(reader.read()) for reader in readers[:8]]

    async def begun() -> bool:
        return all(reader.status == 200 for reader in readers[:8])

    await until(begun)
    readers[8].takes.set()
    ninth = await readers[8].read()
    for reader in readers:
        reader.takes.set()
    done = await asyncio.gather(*reading)

    assert ninth == 503
    assert done == [200] * 8
    assert await readers[8].read() == 200


async def test_whoever_reads_a_report_too_slowly_loses_their_place(month: Month) -> None:
    sheets = Sheets(month.shop.app.state.graphql, Doors(month.shop.core.settings), patience=0.05)
    reader = Reader(month.shop, sheets, month)

    reading = asyncio.create_task(reader.read())
    ended, _ = await asyncio.wait([reading], timeout=10)

    assert ended == {reading}
    assert isinstance(reading.exception(), TimeoutError)
    route: Any = reader.route.endpoint
    assert route.making == 0


async def test_reports_count_as_requests(month: Month) -> None:
    graphql = GraphQL(month.shop.core, Limits(per_key=0), Metrics())
    reader = Reader(month.shop, Sheets(graphql, Doors(month.shop.core.settings)), month)

    reader.takes.set()

    assert await reader.read() == 429


# ── accounts, previews, periods, bombs ───────────────────────────────────────────────────────────


async def test_a_table_is_looked_at_with_the_mapping_that_is_proposed(month: Month) -> None:
    upload = await month.upload(TABLE, "november.csv")

    seen = await month.do("operator", PREVIEW, id=upload)

    shown, nothing = seen["preview"], "SELECT 1 FROM statement_import WHERE upload_id = $1"
    assert seen["userErrors"] == []
    assert (shown["profile"], shown["problem"]) == ("bank_of_kigali", None)
    assert shown["rows"][2][3] == "IB Account transfer : SUPPLIER B"
    assert shown["mapping"]["columns"]["description"] == "narration"
    assert await fetch(nothing, upload) == []


async def test_a_mapping_of_ones_own_is_saved_and_used(month: Month) -> None:
    table = TABLE.replace("Narration", "Story").replace("Book Date", "Day of it")
    upload = await month.upload(table, "december.csv")
    columns = {
        "booking_date": "day of it",
        "reference": "reference",
        "description": "story",
        "debit": "debit",
        "credit": "credit",
    }
    mapping = {"match": {"header_all": ["day of it", "story"]}, "columns": columns}
    mapping |= {
        "dates": ["%Y-%m-%d"],
        "sign": "columns",
        "numbers": {"thousands": ",", "decimal": "."},
    }

    saved = await month.shop.get(MAP, {"mapping": mapping})
    assert saved["saveStatementProfile"]["userErrors"] == []
    done = await month.imported(upload, "bk", profile="ours")

    assert (done["status"], done["linesNew"]) == ("COMPLETED", 2), done
    search = '{ statementLines(search: "SUPPLIER B") { edges { node { direction bookingDate } } } }'
    [edge] = (await month.shop.get(search))["statementLines"]["edges"]
    assert edge["node"] == {"direction": "DEBIT", "bookingDate": "2026-11-03"}
    said = {action for action, _ in await month.audited("statement_account:bk")}
    assert {"statement_account.saved", "statement_profile.saved"} <= said


async def test_a_period_is_closed_and_opened_by_two_and_takes_no_lines(month: Month) -> None:
    yesterday = month.today - timedelta(days=1)
    closed = """SELECT 1 FROM ledger_entry e JOIN statement_line l ON l.id = e.line_id
        JOIN statement_account a ON a.id = l.account_id WHERE a.code = 'kcb' AND e.date <= $1"""

    asked = await month.do("one", CLOSE, day=str(yesterday))
    own = await month.do("one", CONFIRM_PERIOD, id=asked["period"]["id"])
    done = await month.do("two", CONFIRM_PERIOD, id=asked["period"]["id"])
    upload = await month.upload(_statement(yesterday, {31_000: "LATE"}))
    late = await month.imported(upload, "kcb")
    booked = await fetch(closed, yesterday)
    # Nobody opens or closes what is being reconciled.
    await _reconciled("kcb")
    opening = await month.do("two", REOPEN)
    opened = await month.do("one", CONFIRM_PERIOD, id=opening["period"]["id"])

    one, two = (month.people[name].email for name in ("one", "two"))
    assert own["userErrors"][0]["code"] == "SELF_APPROVAL"
    assert done["period"]["closedUntil"] == str(yesterday)
    assert (late["status"], late["linesNew"]) == ("COMPLETED", 1)
    assert "CLOSED_PERIOD" in {one["code"] for one in late["warnings"]}
    assert booked == []
    assert (opened["period"]["status"], opened["period"]["closedUntil"]) == ("DONE", None)
    said = [one for one in await month.audited("statement_account:kcb") if "period" in one[0]]
    assert said == [
        ("period.close_asked", one),
        ("period.close_confirmed", two),
        ("period.reopen_asked", two),
        ("period.reopen_confirmed", one),
    ]


async def _reconciled(account: str) -> None:
    async def ended() -> bool:
        return bool(
            await fetch(
                "SELECT 1 FROM reconciliation r JOIN statement_account a ON a.id = r.account_id "
                "WHERE a.code = $1 AND r.kind = 'IMPORT' AND r.status = 'APPROVED'",
                account,
            )
        )

    await until(ended)


async def test_s42_a_billion_laughs_is_refused_with_its_line_and_hurts_nobody(month: Month) -> None:
    upload = await month.upload(LAUGHS, "november.xml")

    told = await month.imported(upload, "bk")

    assert (told["status"], told["linesNew"]) == ("FAILED", 0)
    assert told["error"]["line"] is not None
    assert told["error"]["message"]
    assert (await month.shop.get("{ viewer { kind } }"))["viewer"]
