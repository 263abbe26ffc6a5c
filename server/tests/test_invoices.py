"""Invoices through the front door: made when a payment succeeds, read by those it concerns."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from graphql import parse, validate

from dusangire.permissions import Scope
from dusangire_schema import executable
from dusangire_server.testing import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVOICE = """id number kind status version note dueOn issuedAt paidAt
    net { amount currency } tax { amount } total { amount }
    seller { name taxId } buyer { name taxId purchaseCode }
    lines { description quantity unitPrice { amount } taxClass taxRate tax { amount }
        total { amount } itemCode }
    payment { reference } customer { reference } creditNotes { number } original { number }
    refund { reference } pdfUrl(locale: "fr")"""
OF_PAYMENT = "query($id: ID!) { payment(id: $id) { status invoice { " + INVOICE + " } } }"
CREATE = (
    "mutation($input: CreateInvoiceInput!) { createInvoice(input: $input) { invoice { "
    + INVOICE
    + " } replayed userErrors { code message field } } }"
)
ISSUE = (
    "mutation($id: ID!) { issueInvoice(id: $id) { invoice { number status } "
    "userErrors { code message } } }"
)
VOID = (
    'mutation($id: ID!) { voidInvoice(id: $id, reason: "test") { invoice { number status } '
    "userErrors { code message } } }"
)
PAID = {"gateway": "fake", "phone": "0780000001"}


def price(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "RWF"}


async def invoice_of(shop: Shop, payment_id: str, *, token: str | None = None) -> dict[str, Any]:
    """The paid invoice of a payment, once a worker made it."""
    async with asyncio.timeout(20):
        while True:
            payment = (await shop.get(OF_PAYMENT, {"id": payment_id}, token=token))["payment"]
            if payment["invoice"] and payment["invoice"]["status"] == "PAID":
                invoice: dict[str, Any] = payment["invoice"]
                return invoice
            await asyncio.sleep(0.05)


async def create(shop: Shop, payment_id: str, key: str, **changes: Any) -> dict[str, Any]:
    given = {"idempotencyKey": key, "paymentId": payment_id, **changes}
    payload: dict[str, Any] = (await shop.get(CREATE, {"input": given}))["createInvoice"]
    return payload


async def test_a_payment_with_lines_ends_as_a_paid_invoice_that_the_payer_can_read(
    shop: Shop,
) -> None:
    made = await shop.create(
        amount=price("10500"),
        customer={"reference": "C-7", "name": "Keza"},
        method=PAID,
        lines=[
            {
                "description": "Beans",
                "quantity": "2",
                "unitPrice": price("3500"),
                "taxClass": "B",
                "itemCode": "BEANS",
            },
            {"description": "Milk", "unitPrice": price("3500"), "taxClass": "A"},
        ],
        buyer={"name": "Keza Ltd", "taxId": "000111222", "purchaseCode": "ab12cd"},
    )
    assert made["userErrors"] == []

    invoice = await invoice_of(shop, made["payment"]["id"], token=made["clientToken"])

    assert invoice["number"].startswith("INV-")
    assert invoice["lines"] == [
        {
            "description": "Beans",
            "quantity": "2",
            "unitPrice": {"amount": "3500"},
            "taxClass": "B",
            "taxRate": "18",
            "tax": {"amount": "1068"},
            "total": {"amount": "7000"},
            "itemCode": "BEANS",
        },
        {
            "description": "Milk",
            "quantity": "1",
            "unitPrice": {"amount": "3500"},
            "taxClass": "A",
            "taxRate": "0",
            "tax": {"amount": "0"},
            "total": {"amount": "3500"},
            "itemCode": None,
        },
    ]
    assert invoice["net"]["amount"] == "9432"
    assert invoice["buyer"] == {
        "name": "Keza Ltd",
        "taxId": "000111222",
        "purchaseCode": "AB12CD",
    }
    assert invoice["payment"] == {"reference": made["payment"]["reference"]}
    assert invoice["customer"] == {"reference": "C-7"}
    assert f"/invoices/{invoice['id']}.pdf?" in invoice["pdfUrl"]


async def test_lines_that_do_not_add_up_are_refused_with_the_difference(shop: Shop) -> None:
    made = await shop.create(lines=[{"description": "Tea", "unitPrice": price("4500")}])

    [error] = made["userErrors"]
    assert made["payment"] is None
    assert (error["code"], error["field"]) == ("INVALID", ["lines"])
    assert "500 RWF less" in error["message"]


async def test_francs_with_decimals_are_refused_on_a_line(shop: Shop) -> None:
    made = await shop.create(lines=[{"description": "Tea", "unitPrice": price("5000.50")}])

    [error] = made["userErrors"]
    assert error["code"] == "INVALID_AMOUNT"
    assert error["field"] == ["lines", "0", "unitPrice", "amount"]


async def test_a_draft_is_made_issued_and_cannot_be_thrown_away_then(shop: Shop) -> None:
    payment = (await shop.create())["payment"]

    first = await create(shop, payment["id"], "d-1", note="Thank you", dueOn="2026-12-24")
    again = await create(shop, payment["id"], "d-1", note="Thank you", dueOn="2026-12-24")
    issued = (await shop.get(ISSUE, {"id": first["invoice"]["id"]}))["issueInvoice"]["invoice"]
    voided = (await shop.get(VOID, {"id": first["invoice"]["id"]}))["voidInvoice"]

    assert (first["invoice"]["status"], first["invoice"]["number"]) == ("DRAFT", None)
    assert (first["invoice"]["note"], first["invoice"]["dueOn"]) == ("Thank you", "2026-12-24")
    assert (again["replayed"], again["invoice"]["id"]) == (True, first["invoice"]["id"])
    assert issued["status"] == "ISSUED"
    assert [error["code"] for error in voided["userErrors"]] == ["ILLEGAL_STATE"]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"dueOn": "24.12.2026"}, "INVALID", ["dueOn"]),
        ({"paymentId": "x"}, "NOT_FOUND", ["paymentId"]),
        ({"lines": []}, "INVALID", ["lines"]),
        ({"buyer": {"taxId": "12345678"}}, "INVALID", ["buyer", "taxId"]),
        ({"note": "4111 1111 1111 1111"}, "INVALID", ["note"]),
    ],
)
async def test_a_draft_that_cannot_be_is_refused_with_its_field(
    shop: Shop, changes: dict[str, Any], code: str, field: list[str]
) -> None:
    payment = (await shop.create())["payment"]

    [error] = (await create(shop, payment["id"], "bad", **changes))["userErrors"]

    assert (error["code"], error["field"]) == (code, field)


async def test_an_invoice_is_found_by_its_number_and_not_by_strangers(shop: Shop) -> None:
    own, other = await shop.create(method=PAID), await shop.create(method=PAID)
    number = (await invoice_of(shop, own["payment"]["id"]))["number"]
    query = "query($number: String!) { invoice(number: $number) { number } }"

    found = [
        (await shop.get(query, {"number": asked}, token=token))["invoice"]
        for asked, token in (
            (number, own["clientToken"]),
            (number.lower(), shop.keys[Scope.PAYMENTS_READ]),
            (number, other["clientToken"]),
            (number, shop.keys[Scope.RECONCILIATION]),
            ("INV-1999-000001", shop.admin),
        )
    ]

    assert found == [{"number": number}] * 2 + [None] * 3


async def test_the_list_goes_page_by_page(shop: Shop) -> None:
    for _ in range(3):
        await create(shop, (await shop.create())["payment"]["id"], f"page-{_}")
    query = (
        "query($after: String) { invoices(status: [DRAFT], first: 2, after: $after) "
        "{ edges { node { id status } } pageInfo { hasNextPage endCursor } } }"
    )

    first = (await shop.get(query))["invoices"]
    second = (await shop.get(query, {"after": first["pageInfo"]["endCursor"]}))["invoices"]

    assert first["pageInfo"]["hasNextPage"]
    assert not {edge["node"]["id"] for edge in first["edges"]} & {
        edge["node"]["id"] for edge in second["edges"]
    }


async def test_events_of_invoices_carry_them(shop: Shop) -> None:
    made = await shop.create(method=PAID)
    invoice = await invoice_of(shop, made["payment"]["id"])
    query = (
        '{ events(types: ["invoice.issued", "invoice.paid"]) '
        "{ type payment { id } invoice { id number status } } }"
    )

    async def told() -> list[dict[str, Any]]:
        events = (await shop.get(query))["events"]
        return [event for event in events if event["invoice"]["id"] == invoice["id"]]

    async with asyncio.timeout(10):
        while len(await told()) < 2:  # noqa: ASYNC110 - a worker tells it
            await asyncio.sleep(0.05)

    shown = {"id": invoice["id"], "number": invoice["number"]}
    assert await told() == [
        {"type": "invoice.issued", "payment": None, "invoice": {**shown, "status": "ISSUED"}},
        {"type": "invoice.paid", "payment": None, "invoice": {**shown, "status": "PAID"}},
    ]


async def test_what_the_guide_shows_can_be_asked() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "send-invoices.md"
    shown = re.findall(r"```graphql\n(.*?)```", guide.read_text(), re.DOTALL)

    assert len(shown) == 5
    assert [validate(executable, parse(text)) for text in shown] == [[]] * 5


async def test_the_mutations_say_what_they_do() -> None:
    mutation = executable.mutation_type
    assert mutation is not None

    for name in ("createInvoice", "issueInvoice", "voidInvoice"):
        assert mutation.fields[name].description
