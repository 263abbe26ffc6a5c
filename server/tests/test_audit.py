"""Who did what, asked as people ask: through GraphQL and at the command line."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from server.tests.terminal import Terminal

from dusangire.audit import sealing
from dusangire.database import fetch
from dusangire.permissions import Role, Scope
from dusangire.testing.database import fresh_database
from dusangire_schema import executable
from dusangire_server.testing import PASSPHRASE, Person, Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHONE, EMAIL = "+250780000000", "aline@example.rw"
HIDDEN_PHONE, HIDDEN_EMAIL = "+2507****000", "a•••@example.rw"
CUSTOMER = {"reference": "C-1", "name": "Aline", "phone": PHONE, "email": EMAIL}
METHOD = {"gateway": "fake", "phone": PHONE}
PENDING = {"gateway": "fake", "phone": "+250780000201"}

# ── every mutation has its entry ─────────────────────────────────────────────────────────────────

# Each mutation, once, in this order, by an administrator who has just confirmed who they are; what
# it writes to the log; and what later ones need of the answer.
STEPS = """
createPayment       payment.created
attemptPayment      payment.attempted
cancelPayment       payment.cancelled
requestRefund       refund.requested
rejectRefund        refund.rejected
cancelRefund        refund.cancelled
approveRefund       refund.approved
createInvoice       invoice.drafted
issueInvoice        invoice.issued
voidInvoice         invoice.voided
saveMerchant        merchant.saved
createStaff         staff.created
changeStaffRole     staff.role_changed
disableStaff        staff.disabled
enableStaff         staff.enabled
newStaffLink        staff.link_made
createWebhookEndpoint  webhook_endpoint.created
updateWebhookEndpoint  webhook_endpoint.updated
rotateWebhookSecret webhook_endpoint.secret_rotated
deleteWebhookEndpoint  webhook_endpoint.deleted
saveGateway         gateway.saved
createApiKey        api_key.created
revokeApiKey        api_key.revoked
revealCustomer      customer.revealed
"""
ACTIONS = dict(row.split() for row in STEPS.strip().splitlines())
# Why a mutation is not run here, or needs no entry of its own.
ELSEWHERE = {
    "checkPayment": "asks; what is heard is the gateway's doing, and is in the log as its change",
    "confirmPayment": "core/tests/test_payments.py: needs a gateway that nobody can ask",
    "removeStoredMethod": "server/tests/test_stored_methods.py: needs a card that was kept",
    "testGateway": "asks, and changes nothing",
    "confirmIdentity": "changes nothing but what the person may do for five minutes",
    "settleRefund": "with the tests of refunds: needs one that is given back by hand",
    "testWebhookEndpoint": "sends something that happened to nobody",
    "redeliver": "with the tests of merchant webhooks: needs a delivery that was given up",
    "redeliverFailed": "with the tests of merchant webhooks: needs a delivery that was given up",
    "completeFiscalReceipt": "with the tests of receipts: needs a device",
    "closePeriod": "core/tests/test_books.py: needs a statement account, and another person",
    "reopenPeriod": "core/tests/test_books.py: needs a period that is closed",
    "confirmPeriod": "core/tests/test_books.py: needs what another person asked for",
    "importStatement": "core/tests/test_importing.py: needs a file",
    "releaseImport": "core/tests/test_importing.py: needs an import that waits for a person",
    "saveStatementAccount": "core/tests/test_importing.py",
    "saveStatementProfile": "core/tests/test_importing.py",
    "previewStatement": "looks, and changes nothing",
    "reconcile": "core/tests/test_runs.py: needs a statement account",
    "approveReconciliation": "core/tests/test_runs.py: needs a run that waits",
    "rejectReconciliation": "core/tests/test_runs.py: needs a run that waits",
    "confirmMatch": "core/tests/test_decisions.py: needs a suggestion",
    "rejectMatch": "core/tests/test_decisions.py: needs a suggestion",
    "matchLines": "core/tests/test_decisions.py: needs lines of a statement",
    "unmatch": "core/tests/test_decisions.py: needs a match",
    "resolveDiscrepancy": "core/tests/test_discrepancies.py: needs something that does not agree",
    "assignDiscrepancy": "core/tests/test_discrepancies.py: needs something that does not agree",
    "attachLine": "core/tests/test_discrepancies.py: needs a line of a statement",
    "retryFiscalReceipt": "with the tests of receipts: needs a device",
}


async def test_every_mutation_has_a_row() -> None:
    mutations = executable.mutation_type
    assert mutations is not None

    assert mutations.fields.keys() == ACTIONS.keys() | ELSEWHERE.keys()
    assert not ACTIONS.keys() & ELSEWHERE.keys()


@dataclass
class Run:
    """All of STEPS, once; done: the actions in the log, by whom."""

    shop: Shop
    admin: Person
    other: Person
    ids: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Any] = field(default_factory=dict)

    async def do(self, name: str, arguments: str, selected: str, by: Person | None = None) -> Any:
        document = (
            f"mutation {{ {name}({arguments}) {{ {selected} userErrors {{ code message }} }} }}"
        )
        answer = await self.shop.ask(document, token=by or self.admin)
        payload = (answer.get("data") or {}).get(name)
        if payload is None or payload["userErrors"]:
            self.refused[name] = answer
            return None
        return payload

    async def paid(self) -> str:
        """A payment of an API key that succeeded."""
        created = await self.shop.create(method=METHOD, customer=CUSTOMER, waitMs=8000)
        payment: str = created["payment"]["id"]
        query = "query($id: ID!) { payment(id: $id) { status } }"
        async with asyncio.timeout(10):
            while True:
                told = await self.shop.get(query, {"id": payment})
                if told["payment"]["status"] == "SUCCEEDED":
                    return payment
                await asyncio.sleep(0.02)

    async def refund(self, payment: str, key: str, *, by: Person | None = None) -> Any:
        found = await self.do(
            "requestRefund",
            f'input: {{ idempotencyKey: "{key}" paymentId: "{payment}" reason: "broken" '
            'amount: { amount: "10", currency: "RWF" } }',
            "refund { id digest }",
            by,
        )
        return found["refund"] if found else {"id": "", "digest": ""}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(shop: Shop) -> AsyncIterator[Run]:
    run = Run(shop, await shop.person(Role.ADMIN), await shop.person(Role.ADMIN))
    await _payments(run)
    await _refunds(run)
    await _papers(run)
    await _people(run)
    await _settings(run)
    yield run


async def _payments(run: Run) -> None:
    money = 'amount: { amount: "5000", currency: "RWF" }'
    created = await run.do(
        "createPayment", f'input: {{ idempotencyKey: "a-1" {money} }}', "payment { id }"
    )
    payment = created["payment"]["id"]
    await run.do(
        "attemptPayment",
        f'input: {{ idempotencyKey: "a-2" paymentId: "{payment}" '
        'method: { gateway: "fake" phone: "+250780000102" } waitMs: 8000 }',
        "payment { id }",
    )
    other = await run.do(
        "createPayment", f'input: {{ idempotencyKey: "a-3" {money} }}', "payment { id }"
    )
    await run.do(
        "cancelPayment",
        f'input: {{ paymentId: "{other["payment"]["id"]}" reason: "out of stock" }}',
        "payment { id }",
    )


async def _refunds(run: Run) -> None:
    payment = await run.paid()
    one = await run.refund(payment, "r-1")
    decide = 'input: {{ refundId: "{id}" digest: "{digest}" note: "seen" }}'
    await run.do("rejectRefund", decide.format(**one), "refund { id }", run.other)
    two = await run.refund(payment, "r-2")
    await run.do("cancelRefund", f'refundId: "{two["id"]}" reason: "a mistake"', "refund { id }")
    # Asked for by the other one, so that the administrator may say yes.
    three = await run.refund(payment, "r-3", by=run.other)
    await run.do("approveRefund", decide.format(**three), "refund { id }")
    await run.do(
        "revealCustomer", f'paymentId: "{payment}" reason: "they called"', "customer { phone }"
    )


async def _papers(run: Run) -> None:
    await run.do("saveMerchant", 'input: { name: "Iwacu Shop" }', "merchant { name }")
    for number in (1, 2):
        created = await run.shop.create()
        draft = await run.do(
            "createInvoice",
            f'input: {{ idempotencyKey: "i-{number}" paymentId: "{created["payment"]["id"]}" '
            'lines: [{ description: "Bag" quantity: "1" unitPrice: { amount: "5000", '
            'currency: "RWF" } }] }',
            "invoice { id }",
        )
        id_ = draft["invoice"]["id"] if draft else ""
        if number == 1:
            await run.do("issueInvoice", f'id: "{id_}"', "invoice { id }")
        else:
            await run.do("voidInvoice", f'id: "{id_}" reason: "a mistake"', "invoice { id }")


async def _people(run: Run) -> None:
    made = await run.do("createStaff", 'email: "new@shop.test" role: VIEWER', "staff { id }")
    one = f'id: "{made["staff"]["id"]}"' if made else 'id: ""'
    await run.do("changeStaffRole", f"{one} role: OPERATOR", "staff { id }")
    await run.do("disableStaff", one, "staff { id }")
    await run.do("enableStaff", one, "staff { id }")
    await run.do("newStaffLink", one, "staff { id }")


async def _settings(run: Run) -> None:
    made = await run.do(
        "createWebhookEndpoint",
        'url: "https://93.184.215.14/hook" events: ["payment.succeeded"]',
        "endpoint { id }",
    )
    one = f'id: "{made["endpoint"]["id"]}"' if made else 'id: ""'
    await run.do("updateWebhookEndpoint", f"{one} enabled: false", "endpoint { id }")
    await run.do("rotateWebhookSecret", one, "endpoint { id }")
    await run.do("deleteWebhookEndpoint", one, "endpoint { id }")
    await run.do(
        "saveGateway",
        'input: { code: "second" plugin: "fake" name: "Second" environment: TEST config: {} }',
        "gateway { code }",
    )
    key = await run.do("createApiKey", 'name: "till" scopes: [PAYMENTS_READ]', "apiKey { id }")
    await run.do("revokeApiKey", f'id: "{key["apiKey"]["id"]}"' if key else "", "apiKey { id }")


@pytest.mark.parametrize("name", ACTIONS)
async def test_a_mutation_leaves_an_entry_with_the_persons_name(everything: Run, name: str) -> None:
    assert name not in everything.refused, everything.refused[name]

    rows = await fetch(
        "SELECT actor_name FROM audit_entry WHERE action = $1 AND actor_kind = 'staff' "
        "AND actor_name = ANY($2)",
        ACTIONS[name],
        [everything.admin.email, everything.other.email],
    )

    assert rows, f"{name} left no {ACTIONS[name]}"


async def test_i15_every_state_change_has_an_entry(everything: Run) -> None:
    rows = await fetch(
        "SELECT e.id, e.type FROM event e LEFT JOIN payment p ON p.id = e.payment_id "
        "WHERE e.type <> 'gateway.health' AND NOT EXISTS (SELECT FROM audit_entry a "
        "WHERE a.at = e.occurred_at AND a.object = CASE "
        "WHEN e.type LIKE 'refund.%' THEN 'refund:' || (e.data -> 'refund' ->> 'reference') "
        "WHEN e.type LIKE 'invoice.%' THEN 'invoice:' || (e.data -> 'invoice' ->> 'id') "
        "ELSE 'payment:' || p.reference END)"
    )
    [counted] = await fetch("SELECT count(*) AS n FROM event")

    assert rows == []
    assert counted["n"] > 10


async def test_no_entry_holds_a_secret_or_a_number(everything: Run) -> None:
    rows = await fetch("SELECT a::text AS line FROM audit_entry a")
    text = "\n".join(row["line"] for row in rows)

    secrets = [key.rpartition("_")[2] for key in everything.shop.keys.values()]
    secrets += [PASSPHRASE, str(everything.admin), everything.admin.secret, "fake-api-key"]
    assert [one for one in [*secrets, PHONE, EMAIL] if one in text] == []


# ── reading it ───────────────────────────────────────────────────────────────────────────────────

LOG = """query($object: String, $action: String, $actor: String, $first: Int, $after: String) {
    auditLog(object: $object, action: $action, actor: $actor, first: $first, after: $after) {
        edges { cursor node { sequence at actor { kind name } action object detail hash } }
        pageInfo { hasNextPage endCursor } } }"""


UNSEALED = "SELECT id FROM audit_entry WHERE sequence IS NULL LIMIT 1"


async def log(shop: Shop, **wanted: Any) -> list[dict[str, Any]]:
    """The entries, once all of them are sealed."""
    async with asyncio.timeout(5):
        while await fetch(UNSEALED):  # noqa: ASYNC110 - a worker's turn, outside this test
            await asyncio.sleep(0.02)
    data = await shop.get(LOG, wanted)
    return [edge["node"] for edge in data["auditLog"]["edges"]]


async def test_the_log_is_read_newest_first_and_by_what_is_asked(shop: Shop) -> None:
    created = await shop.create()
    reference = created["payment"]["reference"]

    [entry] = await log(shop, object=f"payment:{reference}")
    every = await log(shop, first=100)

    assert entry["action"] == "payment.created"
    assert entry["actor"] == {"kind": "api_key", "name": Scope.PAYMENTS_WRITE}
    assert len(entry["hash"]) == 64
    numbers = [int(one["sequence"]) for one in every]
    assert numbers == sorted(numbers, reverse=True)
    assert await log(shop, object=f"payment:{reference}", action="payment.failed") == []
    assert await log(shop, actor="nobody") == []


async def test_a_page_goes_on_where_the_last_one_ended(shop: Shop) -> None:
    for _ in range(3):
        await shop.create()
    await log(shop)

    first = (await shop.get(LOG, {"first": 2}))["auditLog"]
    second = (await shop.get(LOG, {"first": 2, "after": first["pageInfo"]["endCursor"]}))[
        "auditLog"
    ]

    assert first["pageInfo"]["hasNextPage"]
    numbers = [int(e["node"]["sequence"]) for page in (first, second) for e in page["edges"]]
    assert numbers == list(range(numbers[0], numbers[0] - 4, -1))


@pytest.mark.parametrize(
    "wanted", [{"first": 0}, {"first": 101}, {"after": "x"}, {"object": "a\u0000b"}]
)
async def test_what_cannot_be_asked_for_is_refused(shop: Shop, wanted: dict[str, Any]) -> None:
    answer = await shop.ask(LOG, wanted)

    assert answer["errors"][0]["extensions"]["code"] == "INVALID"


# ── what people see of customers ─────────────────────────────────────────────────────────────────

SEEN = """query($id: ID!) { payment(id: $id) { id customer { reference name phone email }
    nextAction { ... on ApproveOnPhone { phone } } } }"""
REVEALED = "SELECT count(*) AS n FROM audit_entry WHERE action = 'customer.revealed'"
REVEAL = """mutation($payment: ID, $customer: ID, $reason: String!) {
    revealCustomer(paymentId: $payment, customerId: $customer, reason: $reason) {
        customer { customerId reference name phone email payerPhone payerEmail }
        userErrors { code field } } }"""


@pytest.mark.parametrize("role", Role)
async def test_people_see_numbers_in_part_and_servers_as_they_gave_them(
    shop: Shop, role: Role
) -> None:
    created = await shop.create(method=PENDING, customer=CUSTOMER, waitMs=8000)
    id_ = created["payment"]["id"]
    person = await shop.person(role)

    people = (await shop.get(SEEN, {"id": id_}, token=person))["payment"]
    server = (await shop.get(SEEN, {"id": id_}))["payment"]
    payer = (await shop.get(SEEN, {"id": id_}, token=created["clientToken"]))["payment"]

    assert people["customer"] == {**CUSTOMER, "phone": HIDDEN_PHONE, "email": HIDDEN_EMAIL}
    assert people["nextAction"]["phone"] == "+2507****201"
    assert server["customer"] == payer["customer"] == CUSTOMER
    assert server["nextAction"]["phone"] == PENDING["phone"]


async def test_whoever_looks_a_number_up_is_in_the_log_with_the_reason(shop: Shop) -> None:
    created = await shop.create(method=PENDING, customer=CUSTOMER, waitMs=8000)
    person = await shop.person(Role.OPERATOR)
    variables = {"payment": created["payment"]["id"], "reason": f"they called from {PHONE}"}

    told = (await shop.get(REVEAL, variables, token=person))["revealCustomer"]

    customer = told["customer"]
    assert customer | {"customerId": ""} == {
        "customerId": "", **CUSTOMER, "payerPhone": PENDING["phone"], "payerEmail": None,
    }  # fmt: skip
    [entry, *_] = await log(shop, action="customer.revealed")
    assert entry["actor"] == {"kind": "staff", "name": person.email}
    assert entry["object"] == f"customer:{customer['customerId']}"
    assert entry["detail"] == {
        "reason": f"they called from {HIDDEN_PHONE}",
        "payment": created["payment"]["reference"],
        "customer": "C-1",
    }


async def test_a_payer_without_a_customer_can_be_looked_up_by_the_payment(shop: Shop) -> None:
    created = await shop.create(method=PENDING, waitMs=8000)
    person = await shop.person(Role.OPERATOR)

    told = await shop.get(
        REVEAL, {"payment": created["payment"]["id"], "reason": "x"}, token=person
    )

    assert told["revealCustomer"]["customer"]["payerPhone"] == PENDING["phone"]
    [entry, *_] = await log(shop, action="customer.revealed")
    assert entry["object"] == f"payment:{created['payment']['reference']}"


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"reason": "x"}, "INVALID"),
        ({"reason": " ", "payment": "0b0e7c5e-5d0c-4b8e-9a51-0d8f6d3b1c11"}, "INVALID"),
        ({"reason": "x", "payment": "0b0e7c5e-5d0c-4b8e-9a51-0d8f6d3b1c11"}, "NOT_FOUND"),
        ({"reason": "x", "customer": "nobody"}, "NOT_FOUND"),
    ],
)
async def test_nobody_is_revealed_without_a_reason_or_a_name(
    shop: Shop, variables: dict[str, str], code: str
) -> None:
    person = await shop.person(Role.OPERATOR)
    [before] = await fetch(
        "SELECT count(*) AS n FROM audit_entry WHERE action = 'customer.revealed'"
    )

    told = (await shop.get(REVEAL, variables, token=person))["revealCustomer"]

    assert [error["code"] for error in told["userErrors"]] == [code]
    [after] = await fetch(
        "SELECT count(*) AS n FROM audit_entry WHERE action = 'customer.revealed'"
    )
    assert after == before


# ── why ──────────────────────────────────────────────────────────────────────────────────────────

WHY = """query($id: ID!) { payment(id: $id) { id why { headline nextAt }
    timeline { at who { kind name } what source details } } }"""


async def test_a_payment_says_why_it_is_as_it_is(shop: Shop) -> None:
    created = await shop.create(method={**METHOD, "phone": "+250780000101"}, waitMs=8000)
    async with asyncio.timeout(10):
        while True:
            told = (await shop.get(WHY, {"id": created["payment"]["id"]}))["payment"]
            if told["why"]["headline"].startswith("FAILED"):
                break
            await asyncio.sleep(0.02)

    assert told["why"]["headline"].startswith(
        "FAILED: There is not enough money in the wallet (Fake Pay says NO_MONEY)."
    )
    assert told["timeline"][0]["what"] == "The payment of 5,000 RWF was created."
    assert told["timeline"][0]["who"] == {"kind": "api_key", "name": Scope.PAYMENTS_WRITE}
    assert "+250780000101" not in str(told)


@pytest.mark.parametrize("field", ["why { headline }", "timeline { what }"])
async def test_why_is_not_asked_of_a_whole_list(shop: Shop, field: str) -> None:
    await shop.create()

    answer = await shop.ask(f"{{ payments(first: 100) {{ edges {{ node {{ {field} }} }} }} }}")

    assert answer["data"] is None
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"INVALID"}
    assert "payment(id: …)" in answer["errors"][0]["message"]


async def test_why_is_not_for_a_key_that_only_makes_payments(shop: Shop) -> None:
    created = await shop.create()

    answer = await shop.ask(
        WHY, {"id": created["payment"]["id"]}, token=shop.keys[Scope.PAYMENTS_WRITE]
    )

    assert answer["data"] == {"payment": None}
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"FORBIDDEN"}


@pytest.mark.parametrize("role", Role)
async def test_who_looked_at_a_number_is_in_the_story_for_those_who_may_read_the_log(
    shop: Shop, role: Role
) -> None:
    created = await shop.create(customer=CUSTOMER)
    id_ = created["payment"]["id"]
    operator, person = await shop.person(Role.OPERATOR), await shop.person(role)
    await shop.get(REVEAL, {"payment": id_, "reason": "a secret reason"}, token=operator)

    told = await shop.get(WHY, {"id": id_}, token=person)

    assert ("a secret reason" in str(told)) == (role.rank >= Role.APPROVER.rank)


async def test_why_is_not_for_the_payer(shop: Shop) -> None:
    created = await shop.create()

    answer = await shop.ask(WHY, {"id": created["payment"]["id"]}, token=created["clientToken"])

    assert answer["data"] == {"payment": None}
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"NOT_FOUND"}


# ── the command line ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Office:
    """A shell beside a database with a sealed log."""

    terminal: Terminal
    url: str

    async def tamper(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(statement)
        await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with fresh_database() as url:
        terminal = Terminal(tmp_path, {"DUSANGIRE_DATABASE_URL": url})
        connection = await asyncpg.connect(url)
        for name in ("one", "two", "three"):
            await connection.execute(
                "INSERT INTO audit_entry (actor_kind, actor_name, action, object) "
                "VALUES ('operator', 'command line', 'api_key.created', $1)",
                f"api_key:{name}",
            )
        await sealing.seal(connection)
        await connection.close()
        yield Office(terminal, url)


async def test_verify_says_that_all_is_well_and_what_its_head_is(office: Office) -> None:
    ran = await office.terminal.run("audit", "verify")
    head = (await office.terminal.run("audit", "head")).out.strip()
    as_json = (await office.terminal.run("audit", "verify", "--json")).json

    assert ran.status == 0
    assert ran.out == ""
    assert head in ran.err
    assert head.startswith("3:")
    assert as_json["sound"] is True
    assert "only a head kept elsewhere tells" in ran.err
    assert as_json["entries"] == 3


async def test_verify_names_the_entry_and_exits_with_1(office: Office) -> None:
    await office.tamper("UPDATE audit_entry SET actor_name = 'nobody' WHERE sequence = 2")

    ran = await office.terminal.run("audit", "verify")

    assert ran.status == 1
    assert ran.out.startswith("entry 2: what it says is not what was sealed")
    assert "NOT as it was written" in ran.err


async def test_verify_and_the_doctor_say_that_nobody_seals(office: Office) -> None:
    await office.tamper(
        "INSERT INTO audit_entry (at, actor_kind, actor_name, action, object) "
        "VALUES (now() - interval '1 hour', 'staff', 'x', 'y', 'z')"
    )

    ran = await office.terminal.run("audit", "verify")
    looked = (await office.terminal.run("doctor", "--json")).json

    assert ran.status == 1
    assert "1 entries have waited for more than a minute: nothing proves them yet." in ran.err
    assert "NOT as it was written" not in ran.err
    [line] = [check for check in looked["checks"] if check["name"] == "audit"]
    assert line["status"] == "warn"
    assert "1 entries have waited for more than a minute" in line["message"]


async def test_the_doctor_asks_for_a_kept_head_in_live_mode(office: Office, tmp_path: Path) -> None:
    live = {"DUSANGIRE_ENVIRONMENT": "live", "DUSANGIRE_SECRET_KEYS": f"k1:{'A' * 43}="}
    kept = {**live, "DUSANGIRE_AUDIT_HEAD_FILE": str(tmp_path / "heads")}

    lines = []
    for environment in ({}, live, kept):
        looked = json.loads((await office.terminal.run("doctor", "--json", **environment)).out)
        lines += [check for check in looked["checks"] if check["name"] == "audit"]

    assert [line["status"] for line in lines] == ["ok", "warn", "ok"]
    assert "DUSANGIRE_AUDIT_HEAD_FILE" in lines[1]["fix"]


async def test_an_export_is_verified_without_any_database(office: Office, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    exported = await office.terminal.run("audit", "export", str(file))
    nowhere = {"DUSANGIRE_DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}

    good = await office.terminal.run("audit", "verify", "--export", str(file), **nowhere)
    file.write_bytes(file.read_bytes().replace(b"api_key.created", b"api_key.revoked", 1))
    bad = await office.terminal.run("audit", "verify", "--export", str(file), **nowhere)

    assert exported.status == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert good.status == 0, good.err
    assert bad.status == 1
    assert bad.out.startswith("entry 1: ")


async def test_a_kept_head_shows_that_the_last_entries_are_gone(
    office: Office, tmp_path: Path
) -> None:
    head = (await office.terminal.run("audit", "head")).out.strip()
    kept = tmp_path / "head.json"
    kept.write_text((await office.terminal.run("audit", "head", "--json")).out)
    assert json.loads(kept.read_text())["sequence"] == 3
    await office.tamper("DELETE FROM audit_entry WHERE sequence = 3")

    alone = await office.terminal.run("audit", "verify")
    against = [
        await office.terminal.run("audit", "verify", "--head", given) for given in (head, str(kept))
    ]

    assert alone.status == 0
    assert [ran.status for ran in against] == [1, 1]
    assert all("deleted from its end" in ran.out for ran in against)


async def test_what_is_no_head_or_no_file_is_said_in_words(office: Office, tmp_path: Path) -> None:
    head = await office.terminal.run("audit", "verify", "--head", "yesterday")
    file = await office.terminal.run("audit", "verify", "--export", str(tmp_path / "none"))

    assert (head.status, file.status) == (1, 1)
    assert "neither a head" in head.err
    assert "cannot be read" in file.err
    assert "Traceback" not in head.err + file.err


async def test_why_is_answered_at_the_command_line(office: Office) -> None:
    created = (await office.terminal.run("payments", "create", "--amount", "5000", "--json")).json
    reference = created["reference"]

    ran = await office.terminal.run("payments", "why", reference)
    as_json = (await office.terminal.run("payments", "why", reference, "--json")).json
    unknown = await office.terminal.run("payments", "why", "PAY-NOTHING")

    lines = ran.out.splitlines()
    assert lines[0] == f"{reference}  5,000 RWF"
    assert lines[1].startswith("CREATED: nobody has chosen a way to pay yet.")
    assert lines[-1].endswith("command line  The payment of 5,000 RWF was created.")
    assert "\x1b" not in ran.out
    assert as_json["headline"].startswith("CREATED:")
    assert [moment["source"] for moment in as_json["moments"]] == ["action"]
    assert unknown.status == 3
