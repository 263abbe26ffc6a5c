"""The books as an accountant reads them: through GraphQL and at the command line."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from server.tests.terminal import Terminal

from dusangire.permissions import Role, Scope
from dusangire.testing.rig import until
from dusangire_server.testing import Person, Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

PERIOD = "{ period { id account status closedUntil askedBy { name } decidedBy { name } } "
PERIOD += "userErrors { code message } }"
CLOSE = 'mutation { closePeriod(account: "fake", until: "2026-01-31", note: "January") ' + PERIOD
CLOSE += " }"
CONFIRM = "mutation($id: ID!) { confirmPeriod(id: $id) " + PERIOD + " }"
BOOKS = """{ books { account balance { amount currency } openItems openTotal { amount }
    oldestOpen difference { amount } } }"""
ENTRIES = """query($account: String, $after: String) {
    ledgerEntries(account: $account, first: 1, after: $after) {
        edges { cursor node { id date cause debit credit amount { amount } paymentId actor } }
        pageInfo { hasNextPage endCursor } } }"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def paid(shop: Shop) -> AsyncIterator[list[str]]:
    """Two payments that the books have."""
    made = [
        await shop.create(method={"gateway": "fake", "phone": "0780000000"}, waitMs=8000)
        for _ in range(2)
    ]

    async def collected() -> bool:
        found = await _book(shop, "clearing:fake")
        return found is not None and found["openItems"] == 2

    await until(collected)
    yield [one["payment"]["id"] for one in made]


async def _book(shop: Shop, account: str) -> Any:
    found = await shop.get(BOOKS, token=shop.keys[Scope.RECONCILIATION])
    return next((book for book in found["books"] if book["account"] == account), None)


async def test_a_worker_brings_what_was_paid_into_the_books(shop: Shop, paid: list[str]) -> None:
    clearing, receivable = await _book(shop, "clearing:fake"), await _book(shop, "receivable")

    assert clearing["balance"] == {"amount": "10000", "currency": "RWF"}
    assert (clearing["openTotal"], clearing["difference"]) == ({"amount": "10000"}, {"amount": "0"})
    assert clearing["oldestOpen"] is not None
    assert receivable["balance"]["amount"] == "-10000"
    assert receivable["openItems"] is None


async def test_entries_are_listed_a_page_at_a_time(shop: Shop, paid: list[str]) -> None:
    first = (await shop.get(ENTRIES, {"account": "clearing:fake"}))["ledgerEntries"]
    after = {"account": "clearing:fake", "after": first["pageInfo"]["endCursor"]}
    second = (await shop.get(ENTRIES, after))["ledgerEntries"]

    assert first["pageInfo"]["hasNextPage"] is True
    assert second["pageInfo"]["hasNextPage"] is False
    nodes = [page["edges"][0]["node"] for page in (first, second)]
    assert {node["paymentId"] for node in nodes} == set(paid)
    assert {(node["cause"], node["debit"], node["credit"]) for node in nodes} == {
        ("captured", "clearing:fake", "receivable")
    }


async def test_whoever_asks_for_a_period_to_be_closed_does_not_confirm_it(shop: Shop) -> None:
    one, other = await shop.person(Role.APPROVER), await shop.person(Role.APPROVER)
    asked = (await shop.get(CLOSE, token=one))["closePeriod"]["period"]

    own = await _confirmed(shop, asked["id"], one)
    done = await _confirmed(shop, asked["id"], other)
    again = await _confirmed(shop, asked["id"], other)

    assert own["userErrors"][0]["code"] == "SELF_APPROVAL"
    assert done["period"]["status"] == "DONE"
    assert done["period"]["askedBy"]["name"] == one.email
    assert done["period"]["decidedBy"]["name"] == other.email
    assert again["userErrors"][0]["code"] == "ILLEGAL_STATE"
    listed = await shop.get("{ periods { id closedUntil } }")
    assert listed["periods"] == [{"id": asked["id"], "closedUntil": "2026-01-31"}]


async def _confirmed(shop: Shop, period_id: str, person: Person) -> Any:
    return (await shop.get(CONFIRM, {"id": period_id}, token=person))["confirmPeriod"]


async def test_the_check_and_the_balances_are_there_at_the_command_line(
    shop: Shop, paid: list[str]
) -> None:
    settings = {
        "DUSANGIRE_DATABASE_URL": shop.database_url,
        "DUSANGIRE_HOME": str(shop.core.settings.home),
        "DUSANGIRE_SECRET_KEYS": shop.core.settings.secret_keys or "",
    }
    terminal = Terminal(shop.core.settings.home, settings)

    checked = await terminal.run("books", "check", "--json")
    shown = await terminal.run("books", "balances")

    assert checked.json["sound"] is True
    assert checked.json["breaks"] == []
    assert "clearing:fake" in shown.out
    answer = await shop.get("{ booksCheck { sound checkedAt breaks { rule } } }")
    assert answer["booksCheck"]["sound"] is True
