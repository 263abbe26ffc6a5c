"""Invoices: drafted, numbered without a gap, paid, credited; what was issued stays."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from core.tests.conftest import Shop, paid, until
from core.tests.test_events import bare

from dusangire.access import OPERATOR, SYSTEM, Actor
from dusangire.core import Core
from dusangire.database import fetch, tx
from dusangire.errors import (
    CurrencyNotSupported,
    Forbidden,
    IdempotencyMismatch,
    IllegalState,
    Invalid,
    InvalidAmount,
    NotFound,
)
from dusangire.followers import follow
from dusangire.intake import CreateInvoice, CustomerInput
from dusangire.invoicing import invoices
from dusangire.invoicing.billing import BuyerInput, LineInput
from dusangire.permissions import Scope
from dusangire.records import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, Payment
from dusangire.tail import EventRecord

Row = dict[str, Any]


def line(description: str = "Coffee", price: str = "5000", **changes: Any) -> LineInput:
    return LineInput(
        **{"description": description, "unit_price": price, "currency": "RWF", **changes}
    )


async def stamp() -> None:
    """What the sequencer does, in one go."""
    await fetch(
        "UPDATE event SET position = id + (SELECT coalesce(max(position), 0) FROM event) "
        "WHERE position IS NULL"
    )


async def followed(shop: Shop) -> None:
    """What a worker does: invoices for what was paid, credit notes for what was given back."""
    await stamp()
    await follow(shop.core, [invoices.FOLLOWER])


async def succeed(shop: Shop, **changes: Any) -> Payment:
    """A paid payment, followed by nobody yet."""
    shop.script.says("initiate", lambda attempt: _now(paid(attempt)))
    return (await shop.create(**changes)).payment


async def _now(value: Any) -> Any:
    return value


async def sold(shop: Shop, **changes: Any) -> tuple[Payment, Invoice]:
    """A paid payment and its invoice."""
    payment = await succeed(shop, **changes)
    await followed(shop)
    return payment, await of(payment)


async def of(payment: Payment) -> Invoice:
    return (await invoices.of_payments([payment.id]))[payment.id]


async def lines_of(invoice: Invoice) -> list[InvoiceLine]:
    return (await invoices.lines([invoice.id]))[invoice.id]


async def draft(shop: Shop, **changes: Any) -> Invoice:
    """A draft of an invoice for a payment that nobody paid yet."""
    payment_id = changes.pop("payment_id", None) or await bare(shop)
    request = CreateInvoice(idempotency_key=shop.key(), payment_id=payment_id, **changes)
    return (await invoices.create_invoice(shop.core, OPERATOR, request)).invoice


async def registered(shop: Shop, **changes: Any) -> None:
    values = {"name": "Ikaze Shop", "tin": "000111111", "vat_registered": True, **changes}
    await shop.run(
        "INSERT INTO merchant (name, tin, vat_registered, locale) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (id) DO UPDATE SET name = $1, tin = $2, vat_registered = $3, locale = $4",
        values["name"],
        values["tin"],
        values["vat_registered"],
        values.get("locale", "en"),
    )


async def give_back(shop: Shop, payment: Payment, amount: int, *, attempt: int = 1) -> UUID:
    """What a refund leaves behind when it succeeded: its row, its payment's sums, its event."""
    refund_id = uuid4()
    connection = await asyncpg.connect(shop.url)
    # The way to a refund that succeeded is tested elsewhere; here only its end matters.
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "INSERT INTO refund (id, reference, payment_id, attempt_id, gateway_id, status, amount, "
        "currency, reason, digest, by_hand, requested_by_kind, requested_by_name, "
        "gateway_reference, completed_at) SELECT $1::uuid, 'REF-' || left($1::uuid::text, 8), "
        "payment_id, id, gateway_id, 'SUCCEEDED', $3, $4, 'Two cups were broken.', 'd', true, "
        "'operator', 'test', $1::uuid::text, now() FROM payment_attempt "
        "WHERE payment_id = $2 AND number = $5",
        refund_id,
        payment.id,
        amount,
        payment.amount.currency,
        attempt,
    )
    await connection.close()
    await shop.run(
        "WITH changed AS (UPDATE payment SET refunded = refunded + $2, version = version + 1, "
        "status = CASE WHEN refunded + $2 = captured THEN 'REFUNDED' ELSE 'PARTIALLY_REFUNDED' "
        "END WHERE id = $1 RETURNING *) "
        "INSERT INTO event (type, payment_id, data) SELECT 'refund.succeeded', $1, "
        "jsonb_build_object('payment', to_jsonb(changed) - 'search', 'refund', to_jsonb(refund)) "
        "FROM changed, refund WHERE refund.id = $3",
        payment.id,
        amount,
        refund_id,
    )
    return refund_id


async def credit_notes(invoice: Invoice) -> list[Invoice]:
    return (await invoices.credit_notes([invoice.id]))[invoice.id]


async def told(shop: Shop) -> list[str]:
    """The types of the events of documents, in their order."""
    rows = await shop.rows("SELECT type FROM event WHERE type LIKE 'invoice.%' ORDER BY id")
    return [row["type"] for row in rows]


# ── an invoice follows a payment ─────────────────────────────────────────────────────────────────


async def test_a_payment_that_succeeds_gets_a_paid_invoice_with_one_line(shop: Shop) -> None:
    payment, invoice = await sold(shop, description="Coffee beans")

    assert (invoice.kind, invoice.status) == (InvoiceKind.INVOICE, InvoiceStatus.PAID)
    assert invoice.number is not None
    assert invoice.number.startswith("INV-")
    assert (invoice.total, invoice.paid_at) == (payment.amount, payment.completed_at)
    [one] = await lines_of(invoice)
    assert (one.description, one.quantity, one.total) == (
        "Coffee beans",
        Decimal(1),
        payment.amount,
    )
    assert await told(shop) == ["invoice.issued", "invoice.paid"]


async def test_a_payment_that_does_not_succeed_gets_none(shop: Shop) -> None:
    payment = (await shop.create()).payment

    await followed(shop)

    assert await invoices.of_payments([payment.id]) == {}


@pytest.mark.parametrize(
    ("locale", "words"), [("en", "Payment"), ("fr", "Paiement"), ("rw", "Kwishyura")]
)
async def test_without_a_description_the_line_names_the_payment(
    shop: Shop, locale: str, words: str
) -> None:
    await registered(shop, locale=locale)
    payment, invoice = await sold(shop)

    assert (await lines_of(invoice))[0].description == f"{words} {payment.reference}"


@pytest.mark.parametrize(("is_registered", "tax_class", "tax"), [(True, "B", 763), (False, "D", 0)])
async def test_who_is_registered_for_vat_sells_with_it(
    shop: Shop, is_registered: bool, tax_class: str, tax: int
) -> None:
    await registered(shop, vat_registered=is_registered)
    _, invoice = await sold(shop)

    assert (await lines_of(invoice))[0].tax_class == tax_class
    assert invoice.tax.minor == tax
    assert invoice.net.minor + invoice.tax.minor == invoice.total.minor == 5000


async def test_the_same_event_twice_makes_one_invoice(shop: Shop) -> None:
    payment, invoice = await sold(shop)

    await shop.run("UPDATE follower SET position = 0 WHERE name = 'invoices'")
    await followed(shop)
    await asyncio.gather(*(follow(shop.core, [invoices.FOLLOWER]) for _ in range(4)))

    assert await of(payment) == invoice
    assert await shop.value("SELECT count(*) FROM invoice") == 1
    assert await told(shop) == ["invoice.issued", "invoice.paid"]


async def test_who_pays_twice_has_one_invoice(shop: Shop) -> None:
    payment, invoice = await sold(shop)
    await shop.run(
        "INSERT INTO event (type, payment_id, data) SELECT type, payment_id, data FROM event "
        "WHERE type = 'payment.succeeded'"
    )

    await followed(shop)

    assert await of(payment) == invoice
    assert await shop.value("SELECT count(*) FROM invoice") == 1


# ── lines ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_payment_comes_with_lines_and_is_invoiced_with_them(shop: Shop) -> None:
    await registered(shop)
    payment = await succeed(
        shop,
        amount="10500",
        lines=[
            line("Beans", "3500", quantity="2", item_code="RW2NTXU0000001"),
            line("Milk", "3500", tax_class="A"),
        ],
    )
    assert (await of(payment)).status is InvoiceStatus.DRAFT

    await followed(shop)

    invoice = await of(payment)
    beans, milk = await lines_of(invoice)
    assert (beans.quantity, beans.total.minor, beans.tax.minor) == (Decimal(2), 7000, 1068)
    assert (beans.tax_class, beans.tax_rate, beans.item_code) == (
        "B",
        Decimal(18),
        "RW2NTXU0000001",
    )
    assert (milk.tax_class, milk.tax.minor) == ("A", 0)
    assert (invoice.tax.minor, invoice.status) == (1068, InvoiceStatus.PAID)
    assert await told(shop) == ["invoice.drafted", "invoice.issued", "invoice.paid"]


@pytest.mark.parametrize(
    ("lines", "message", "field"),
    [
        ([line(price="4500")], "4,500 RWF, which is 500 RWF less than", ("lines",)),
        ([line(), line()], "10,000 RWF, which is 5,000 RWF more than", ("lines",)),
        ([], "between 1 and 200 lines", ("lines",)),
        ([line(price="25")] * 201, "between 1 and 200 lines", ("lines",)),
        ([line("")], "must not be empty", ("lines", "0", "description")),
        ([line("x" * 201)], "at most 200", ("lines", "0", "description")),
        ([line(quantity="0")], "above zero", ("lines", "0", "quantity")),
        ([line(quantity="-1")], "above zero", ("lines", "0", "quantity")),
        ([line(quantity="0.0005")], "three decimals", ("lines", "0", "quantity")),
        ([line(quantity="NaN")], "above zero", ("lines", "0", "quantity")),
        ([line(quantity="1e99")], "above zero", ("lines", "0", "quantity")),
        ([line(quantity="many")], "above zero", ("lines", "0", "quantity")),
        ([line(tax_class="E")], "one of A, B, C, D", ("lines", "0", "taxClass")),
        ([line("4111 1111 1111 1111")], "card number", ("lines", "0", "description")),
    ],
)
async def test_lines_that_cannot_be_are_refused_and_nothing_is_stored(
    shop: Shop, lines: list[LineInput], message: str, field: tuple[str, ...]
) -> None:
    before = await shop.counts()

    with pytest.raises(Invalid, match=message) as refused:
        await shop.create(lines=lines)

    assert refused.value.field == field
    assert await shop.counts() == before


@pytest.mark.parametrize("price", ["2500.50", "0", "-5000", "x"])
async def test_francs_have_no_decimals_on_a_line_either(shop: Shop, price: str) -> None:
    with pytest.raises(InvalidAmount) as refused:
        await shop.create(lines=[line(price=price)])

    assert refused.value.field == ("lines", "0", "unitPrice", "amount")


async def test_lines_are_in_the_payments_currency(shop: Shop) -> None:
    with pytest.raises(CurrencyNotSupported) as refused:
        await shop.create(lines=[line(currency="KES")])

    assert refused.value.field == ("lines", "0", "unitPrice", "currency")


async def test_who_is_not_registered_cannot_charge_vat(shop: Shop) -> None:
    await registered(shop, vat_registered=False)

    with pytest.raises(Invalid, match="not registered"):
        await shop.create(lines=[line(tax_class="B")])


async def test_a_part_of_a_kilogram_is_rounded_half_up(shop: Shop) -> None:
    payment = await succeed(shop, amount="500", lines=[line(price="333", quantity="1.5")])

    [one] = await lines_of(await of(payment))

    assert (one.quantity, one.total.minor) == (Decimal("1.5"), 500)


async def test_cents_add_up_to_the_cent(shop: Shop) -> None:
    await registered(shop)
    payment = await succeed(
        shop,
        amount="1.18",
        currency="USD",
        method=None,
        lines=[line(price="0.59", quantity=2, currency="USD")],
    )

    [one] = await lines_of(await of(payment))

    assert (one.tax.minor, one.total.minor) == (18, 118)


async def test_rates_are_a_setting(shop: Shop) -> None:
    rates = {**shop.core.settings.tax_rates, "C": Decimal("16")}
    object.__setattr__(shop.core.settings, "tax_rates", rates)
    lines = [line(price="116", tax_class="C")]
    payment = await succeed(shop, amount="116", method=None, lines=lines)

    [one] = await lines_of(await of(payment))

    assert (one.tax_rate, one.tax.minor) == (Decimal(16), 16)


async def test_a_key_with_other_lines_is_a_mismatch_and_one_without_stays_as_it_was(
    shop: Shop,
) -> None:
    given: dict[str, Any] = {"method": None, "idempotency_key": "k-1"}
    first = await shop.create(lines=[line()], **given)

    again = await shop.create(lines=[line(price="5000.0", quantity="1.000")], **given)
    with pytest.raises(IdempotencyMismatch):
        await shop.create(lines=[line("Tea")], **given)
    with pytest.raises(IdempotencyMismatch):
        await shop.create(**given)

    assert (again.payment.id, again.replayed) == (first.payment.id, True)
    assert await shop.value("SELECT count(*) FROM invoice") == 1


# ── drafts ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_draft_has_no_number_until_it_is_issued(shop: Shop) -> None:
    made = await draft(shop, note="Thank you", due_on=datetime(2026, 12, 24, tzinfo=UTC).date())
    assert (made.status, made.number, made.issued_at) == (InvoiceStatus.DRAFT, None, None)

    issued = await invoices.issue_invoice(shop.core, OPERATOR, made.id)

    assert issued.status is InvoiceStatus.ISSUED
    assert issued.number == f"INV-{issued.issued_at:%Y}-000001"
    assert (issued.note, str(issued.due_on)) == ("Thank you", "2026-12-24")
    assert await told(shop) == ["invoice.drafted", "invoice.issued"]


async def test_issuing_again_changes_nothing(shop: Shop) -> None:
    made = await draft(shop)
    first = await invoices.issue_invoice(shop.core, OPERATOR, made.id)

    assert await invoices.issue_invoice(shop.core, OPERATOR, made.id) == first
    at_once = await asyncio.gather(
        *(invoices.issue_invoice(shop.core, OPERATOR, made.id) for _ in range(8))
    )

    assert {one.number for one in at_once} == {first.number}
    assert await shop.value("SELECT max(reached) FROM document_counter") == 1


async def test_eight_who_issue_one_draft_give_it_one_number(shop: Shop) -> None:
    made = await draft(shop)

    issued = await asyncio.gather(
        *(invoices.issue_invoice(shop.core, OPERATOR, made.id) for _ in range(8))
    )

    assert len({one.number for one in issued}) == 1
    assert await shop.value("SELECT max(reached) FROM document_counter") == 1


async def test_an_issued_invoice_is_paid_when_its_payment_is(shop: Shop) -> None:
    payment = (await shop.create()).payment
    made = await draft(shop, payment_id=payment.id)
    issued = await invoices.issue_invoice(shop.core, OPERATOR, made.id)
    shop.script.says("check", lambda attempt: _now(paid(attempt)))

    await shop.work_now()
    await followed(shop)

    now = await of(payment)
    assert (now.id, now.number, now.status) == (made.id, issued.number, InvoiceStatus.PAID)
    assert now.issued_at == issued.issued_at


async def test_an_invoice_issued_after_it_was_paid_is_paid_at_once(shop: Shop) -> None:
    payment = await succeed(shop)
    made = await draft(shop, payment_id=payment.id)

    issued = await invoices.issue_invoice(shop.core, OPERATOR, made.id)
    await followed(shop)

    assert issued.status is InvoiceStatus.PAID
    assert await of(payment) == issued


async def test_what_was_given_back_before_the_invoice_came_is_credited_with_it(shop: Shop) -> None:
    payment = await succeed(shop)
    await give_back(shop, payment, 2000)
    made = await draft(shop, payment_id=payment.id)

    await invoices.issue_invoice(shop.core, OPERATOR, made.id)
    await followed(shop)

    assert [note.total.minor for note in await credit_notes(made)] == [2000]


async def test_a_payment_has_one_invoice(shop: Shop) -> None:
    payment_id = await bare(shop)
    await draft(shop, payment_id=payment_id)

    with pytest.raises(IllegalState, match="has an invoice already"):
        await draft(shop, payment_id=payment_id)


async def test_of_eight_who_draft_at_once_one_does(shop: Shop) -> None:
    payment_id = await bare(shop)

    answers = await asyncio.gather(
        *(draft(shop, payment_id=payment_id) for _ in range(8)), return_exceptions=True
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["IllegalState"] * 7 + ["Invoice"]
    assert await shop.value("SELECT count(*) FROM invoice") == 1


async def test_a_key_is_used_once_for_a_draft(shop: Shop) -> None:
    request = CreateInvoice(idempotency_key="k", payment_id=await bare(shop))
    first = await invoices.create_invoice(shop.core, OPERATOR, request)

    again = await asyncio.gather(
        *(invoices.create_invoice(shop.core, OPERATOR, request) for _ in range(8))
    )
    with pytest.raises(IdempotencyMismatch):
        await invoices.create_invoice(
            shop.core, OPERATOR, CreateInvoice(**_changed(request, note="another"))
        )

    assert {done.invoice.id for done in again} == {first.invoice.id}
    assert all(done.replayed for done in again)


def _changed(request: CreateInvoice, **changes: Any) -> dict[str, Any]:
    return {
        "idempotency_key": request.idempotency_key, "payment_id": request.payment_id, **changes
    }  # fmt: skip


async def test_a_draft_is_thrown_away_and_another_made(shop: Shop) -> None:
    payment_id = await bare(shop)
    made = await draft(shop, payment_id=payment_id)

    voided = await invoices.void_invoice(shop.core, OPERATOR, made.id, "Wrong buyer")
    again = await invoices.void_invoice(shop.core, OPERATOR, made.id, "Wrong buyer")

    assert (voided.status, voided) == (InvoiceStatus.VOID, again)
    with pytest.raises(IllegalState):
        await invoices.issue_invoice(shop.core, OPERATOR, made.id)
    assert (await draft(shop, payment_id=payment_id)).id != made.id
    assert await told(shop) == ["invoice.drafted", "invoice.voided", "invoice.drafted"]


async def test_what_is_issued_is_not_thrown_away(shop: Shop) -> None:
    _, invoice = await sold(shop)

    with pytest.raises(IllegalState, match="credit note"):
        await invoices.void_invoice(shop.core, OPERATOR, invoice.id, "Oops")


# ── credit notes ─────────────────────────────────────────────────────────────────────────────────


async def test_a_refund_makes_a_credit_note_that_refers_to_the_invoice(shop: Shop) -> None:
    await registered(shop)
    payment, invoice = await sold(shop, customer=CustomerInput(reference="C-1", name="Keza"))
    refund_id = await give_back(shop, payment, 5000)

    await followed(shop)

    [note] = await credit_notes(invoice)
    assert (note.kind, note.status) == (InvoiceKind.CREDIT_NOTE, InvoiceStatus.ISSUED)
    assert note.number == f"CN-{note.issued_at:%Y}-000001"
    assert (note.original_id, note.refund_id) == (invoice.id, refund_id)
    assert (note.total, note.tax, note.net) == (invoice.total, invoice.tax, invoice.net)
    assert note.buyer == invoice.buyer
    assert [(one.description, one.tax.minor) for one in await lines_of(note)] == [
        (one.description, one.tax.minor) for one in await lines_of(invoice)
    ]


async def test_a_refund_makes_one_credit_note_however_often_it_is_told(shop: Shop) -> None:
    payment, invoice = await sold(shop)
    await give_back(shop, payment, 1000)
    await followed(shop)

    await shop.run("UPDATE follower SET position = 0 WHERE name = 'invoices'")
    await followed(shop)

    assert len(await credit_notes(invoice)) == 1


async def test_credits_in_parts_add_up_to_the_invoice_line_by_line(shop: Shop) -> None:
    await registered(shop)
    payment, invoice = await sold(
        shop,
        amount="10007",
        lines=[line("Beans", "7000"), line("Cups", "3007", tax_class="A")],
    )
    for amount in (3333, 1, 3333, 3340):
        await give_back(shop, payment, amount)

    await followed(shop)

    notes = await credit_notes(invoice)
    assert [note.total.minor for note in notes] == [3333, 1, 3333, 3340]
    assert sum(note.tax.minor for note in notes) == invoice.tax.minor == 1068
    credited: dict[int, int] = {}
    for note in notes:
        for one in await lines_of(note):
            credited[one.place] = credited.get(one.place, 0) + one.total.minor
    assert credited == {1: 7000, 2: 3007}


async def test_more_than_the_invoice_is_never_credited(shop: Shop) -> None:
    payment, invoice = await sold(shop)
    await give_back(shop, payment, 3000)
    await followed(shop)
    statement = (
        "INSERT INTO invoice (id, kind, series, currency, net, tax, total, original_id) "
        "VALUES ($1, 'CREDIT_NOTE', 'CN', 'RWF', $2, 0, $2, $3)"
    )

    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="more than"):
        await shop.run(statement, uuid4(), 2001, invoice.id)
    answers = await asyncio.gather(
        *(shop.run(statement, uuid4(), 1500, invoice.id) for _ in range(4)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(refused) == 3
    assert (
        await shop.value(
            "SELECT sum(total)::bigint FROM invoice WHERE original_id = $1", invoice.id
        )
        == 4500
    )


async def test_money_that_came_twice_and_goes_back_is_not_credited(shop: Shop) -> None:
    payment, invoice = await sold(shop)
    await shop.run(
        "INSERT INTO payment_attempt (id, payment_id, number, gateway_id, environment, reference, "
        "status, completed_at) SELECT $1, payment_id, 2, gateway_id, environment, 'second', "
        "'SUCCEEDED', now() FROM payment_attempt WHERE payment_id = $2",
        uuid4(),
        payment.id,
    )
    await shop.run("UPDATE payment SET captured = 10000 WHERE id = $1", payment.id)

    await give_back(shop, payment, 5000, attempt=2)
    await followed(shop)
    assert await credit_notes(invoice) == []
    await give_back(shop, payment, 5000, attempt=1)
    await followed(shop)

    assert [note.total.minor for note in await credit_notes(invoice)] == [5000]


async def test_a_credit_note_waits_for_an_invoice_that_is_late(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await succeed(shop)
    made = invoices._of_payment

    async def broken(*_: Any) -> Any:
        raise ValueError("no such rate")

    monkeypatch.setattr(invoices, "_of_payment", broken)
    await followed(shop)
    await give_back(shop, payment, 1000)
    await followed(shop)
    assert await shop.value("SELECT count(*) FROM follower_debt") == 2

    monkeypatch.setattr(invoices, "_of_payment", made)
    for _ in range(3):
        await shop.run("UPDATE follower_debt SET next_try_at = now()")
        await follow(shop.core, [invoices.FOLLOWER])

    assert await shop.value("SELECT count(*) FROM follower_debt") == 0
    assert len(await credit_notes(await of(payment))) == 1


async def test_a_credit_note_waits_for_a_draft_that_is_issued_late(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await succeed(shop, lines=[line()])
    made = invoices._issue

    async def broken(*_: Any) -> Any:
        raise ValueError("no such merchant")

    monkeypatch.setattr(invoices, "_issue", broken)
    await followed(shop)
    await give_back(shop, payment, 1000)
    await followed(shop)
    monkeypatch.setattr(invoices, "_issue", made)

    for _ in range(3):
        await shop.run("UPDATE follower_debt SET next_try_at = now()")
        await follow(shop.core, [invoices.FOLLOWER])

    assert await shop.value("SELECT count(*) FROM follower_debt") == 0
    invoice = await of(payment)
    assert invoice.status is InvoiceStatus.PAID
    assert [note.total.minor for note in await credit_notes(invoice)] == [1000]


async def test_who_credits_and_who_issues_take_the_counters_in_one_order(shop: Shop) -> None:
    refunded, _ = await sold(shop)
    late = await succeed(shop)
    await give_back(shop, late, 2000)
    # Not followed: these two are issued and credited by hand, below.
    await stamp()
    await shop.run("UPDATE follower SET position = (SELECT max(position) FROM event)")
    made = await draft(shop, payment_id=late.id)
    await give_back(shop, refunded, 1000)
    paid_now = await succeed(shop)
    await stamp()
    credited, go_on = asyncio.Event(), asyncio.Event()

    async def act(core: Core, event: EventRecord) -> None:
        await invoices.FOLLOWER.act(core, event)
        if event.type == "refund.succeeded":
            credited.set()
            await go_on.wait()

    following = asyncio.create_task(follow(shop.core, [replace(invoices.FOLLOWER, act=act)]))
    await credited.wait()
    issuing = asyncio.create_task(invoices.issue_invoice(shop.core, OPERATOR, made.id))

    async def waits() -> bool:
        return bool(
            await shop.value(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND datname = current_database()"
            )
        )

    await until(waits)
    go_on.set()
    await asyncio.gather(following, issuing)

    assert (await of(paid_now)).status is InvoiceStatus.PAID
    assert [note.total.minor for note in await credit_notes(made)] == [2000]
    assert [note.total.minor for note in await credit_notes(await of(refunded))] == [1000]
    assert all(one.whole for one in await invoices.gaps())


# ── copies ───────────────────────────────────────────────────────────────────────────────────────


async def test_whose_names_stand_on_an_invoice_is_what_was_true_when_it_was_issued(
    shop: Shop,
) -> None:
    await registered(shop)
    customer = CustomerInput(reference="C-1", name="Keza", phone="+250788123456")
    buyer = BuyerInput(name="Keza Ltd", tax_id="000111222", purchase_code="ab12cd")
    payment, invoice = await sold(shop, customer=customer, buyer=buyer)

    await registered(shop, name="Another Name", tin="999999999")
    await shop.run("UPDATE customer SET name = 'Somebody else'")
    await give_back(shop, payment, 1000)
    await followed(shop)

    assert await of(payment) == invoice
    assert invoice.seller is not None
    assert (invoice.seller["name"], invoice.seller["tin"]) == ("Ikaze Shop", "000111111")
    assert invoice.buyer == {
        "reference": "C-1",
        "name": "Keza Ltd",
        "email": None,
        "phone": "+250788123456",
        "tin": "000111222",
        "purchase_code": "AB12CD",
    }
    [note] = await credit_notes(invoice)
    assert note.buyer == invoice.buyer


async def test_without_a_profile_or_a_customer_there_is_no_copy(shop: Shop) -> None:
    _, invoice = await sold(shop)

    assert (invoice.seller, invoice.buyer) == (None, None)


@pytest.mark.parametrize(
    ("buyer", "field"),
    [
        (BuyerInput(tax_id="12345678"), "taxId"),
        (BuyerInput(tax_id="1234567890"), "taxId"),
        (BuyerInput(tax_id="12345678x"), "taxId"),
        (BuyerInput(tax_id="١٢٣٤٥٦٧٨٩"), "taxId"),
        (BuyerInput(purchase_code="12345"), "purchaseCode"),
        (BuyerInput(name="x" * 256), "name"),
    ],
)
async def test_a_buyer_that_cannot_be_is_refused(shop: Shop, buyer: BuyerInput, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        await shop.create(buyer=buyer)

    assert refused.value.field == ("buyer", field)


async def test_events_and_audit_hold_no_phone_number(shop: Shop) -> None:
    customer = CustomerInput(
        reference="C-1", name="Keza", phone="+250788123456", email="keza@example.rw"
    )
    payment, _ = await sold(shop, customer=customer)
    await give_back(shop, payment, 1000)
    await followed(shop)

    said = await shop.rows(
        "SELECT data::text AS said FROM event WHERE type LIKE 'invoice.%' "
        "UNION ALL SELECT detail::text FROM audit_entry WHERE action LIKE 'invoice.%'"
    )

    assert len(said) == 6
    assert all("788123456" not in row["said"] for row in said)
    assert all("keza@example.rw" not in row["said"] for row in said)


async def test_an_event_of_an_invoice_can_be_read_as_one(shop: Shop) -> None:
    payment, invoice = await sold(shop, customer=CustomerInput(reference="C-1", name="Keza"))

    [row] = await shop.rows("SELECT data FROM event WHERE type = 'invoice.paid'")

    told = Invoice.of_snapshot(orjson.loads(row["data"])["invoice"])
    assert (told.id, told.number, told.total) == (invoice.id, invoice.number, invoice.total)
    assert (told.status, told.payment_id) == (InvoiceStatus.PAID, payment.id)


async def test_every_change_is_in_the_audit_log_with_its_actor(shop: Shop) -> None:
    key = Actor(kind="api_key", name="till", scopes=frozenset({Scope.PAYMENTS_WRITE}))
    made = await draft(shop)
    await invoices.issue_invoice(shop.core, key, made.id)
    other = await draft(shop)
    await invoices.void_invoice(shop.core, key, other.id, "Wrong")

    rows = await shop.rows(
        "SELECT actor_name, action, object, detail::text FROM audit_entry "
        "WHERE action LIKE 'invoice.%' ORDER BY id"
    )

    assert [(row["actor_name"], row["action"]) for row in rows] == [
        ("command line", "invoice.drafted"),
        ("till", "invoice.issued"),
        ("command line", "invoice.drafted"),
        ("till", "invoice.voided"),
    ]
    assert rows[1]["object"] == f"invoice:{made.id}"


# ── what was issued stays ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoice SET total = total + 1, net = net + 1",
        "UPDATE invoice SET number = 'INV-2026-000099'",
        "UPDATE invoice SET sequence = 99",
        "UPDATE invoice SET issued_at = issued_at - interval '1 day'",
        "UPDATE invoice SET seller = '{}'",
        "UPDATE invoice SET buyer = '{}'",
        "UPDATE invoice SET note = 'another'",
        "UPDATE invoice SET payment_id = NULL",
        (
            "UPDATE invoice SET status = 'VOID', number = NULL, year = NULL, sequence = NULL, "
            "issued_at = NULL, paid_at = NULL"
        ),
        "UPDATE invoice SET status = 'ISSUED', paid_at = NULL",
        "UPDATE invoice SET paid_at = now()",
        "DELETE FROM invoice",
        "TRUNCATE invoice CASCADE",
        "UPDATE invoice_line SET tax = 0",
        "UPDATE invoice_line SET description = 'another'",
        "DELETE FROM invoice_line",
        "TRUNCATE invoice_line",
        (
            "INSERT INTO invoice_line (id, invoice_id, place, description, quantity, unit_price, "
            "tax_class, tax_rate, tax, total) SELECT gen_random_uuid(), id, 2, 'more', 1000, 1, "
            "'D', 0, 0, 1 FROM invoice"
        ),
    ],
)
async def test_what_was_issued_cannot_be_changed_in_the_database_either(
    shop: Shop, statement: str
) -> None:
    payment, invoice = await sold(shop)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await shop.run(statement)

    assert await of(payment) == invoice
    assert len(await lines_of(invoice)) == 1


async def test_a_number_is_given_only_to_lines_that_add_up(shop: Shop) -> None:
    made = await draft(shop)
    await shop.run("UPDATE invoice SET total = 4999, net = 4999 WHERE id = $1", made.id)

    with pytest.raises(Exception, match="do not add up"):
        await invoices.issue_invoice(shop.core, OPERATOR, made.id)

    assert await shop.value("SELECT coalesce(max(reached), 0) FROM document_counter") == 0


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moment", "year"),
    [
        ("2026-12-31T21:59:59+00:00", 2026),
        ("2026-12-31T22:00:00+00:00", 2027),
        ("2027-01-01T00:30:00+02:00", 2027),
    ],
)
async def test_the_year_of_a_number_is_kigalis(shop: Shop, moment: str, year: int) -> None:
    made = await draft(shop)
    shop.clock.ahead = datetime.fromisoformat(moment) - datetime.now(UTC)
    if moment.endswith("21:59:59+00:00"):
        shop.clock.ahead -= timedelta(minutes=5)  # the test takes a moment too

    issued = await invoices.issue_invoice(shop.core, OPERATOR, made.id)

    assert issued.number == f"INV-{year}-000001"


async def test_each_year_begins_at_one_and_nobody_comes_before_their_turn(shop: Shop) -> None:
    numbers = []
    for days in (0, 0, 400, 400, 0):
        shop.clock.ahead = timedelta(days=days)
        made = await draft(shop)
        numbers.append((await invoices.issue_invoice(shop.core, OPERATOR, made.id)).number)

    assert [str(number)[-6:] for number in numbers] == [
        "000001", "000002", "000001", "000002", "000003",
    ]  # fmt: skip
    assert all(one.whole for one in await invoices.gaps())


async def test_a_clock_that_runs_behind_does_not_issue_before_the_last_one(shop: Shop) -> None:
    first = await invoices.issue_invoice(shop.core, OPERATOR, (await draft(shop)).id)
    shop.clock.ahead = -timedelta(minutes=10)

    second = await invoices.issue_invoice(shop.core, OPERATOR, (await draft(shop)).id)

    assert first.issued_at is not None
    assert second.issued_at is not None
    assert second.issued_at >= first.issued_at
    assert all(one.whole for one in await invoices.gaps())


async def test_what_fails_gives_its_number_back(shop: Shop) -> None:
    made = await draft(shop)

    async def stumble() -> None:
        async with tx():
            turn = await invoices._turn(shop.core, "INV")
            row = await invoices._row(made.id, lock=True)
            await invoices._issue(SYSTEM, turn, row)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stumble()
    issued = await invoices.issue_invoice(shop.core, OPERATOR, made.id)

    assert str(issued.number).endswith("-000001")


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM invoice WHERE sequence = 2",
        "DELETE FROM invoice WHERE sequence = 3",
        "UPDATE document_counter SET reached = 4",
        "DELETE FROM document_counter",
        "UPDATE invoice SET issued_at = issued_at - interval '1 hour' WHERE sequence = 2",
    ],
)
async def test_a_gap_is_found(shop: Shop, damage: str) -> None:
    for _ in range(3):
        await invoices.issue_invoice(shop.core, OPERATOR, (await draft(shop)).id)
    [good] = await invoices.gaps()
    connection = await asyncpg.connect(shop.url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(damage)
    await connection.close()

    [bad] = await invoices.gaps()

    assert (good.whole, good.issued) == (True, 3)
    assert not bad.whole


@pytest.mark.parametrize("sequence", range(2, 8))
async def test_numbers_out_of_order_are_found_wherever_a_part_ends(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, sequence: int
) -> None:
    monkeypatch.setattr(invoices, "_PART", 3)
    for _ in range(7):
        await invoices.issue_invoice(shop.core, OPERATOR, (await draft(shop)).id)
    assert all(one.whole for one in await invoices.gaps())
    connection = await asyncpg.connect(shop.url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "UPDATE invoice SET issued_at = issued_at - interval '1 hour' WHERE sequence = $1",
        sequence,
    )
    await connection.close()

    [bad] = await invoices.gaps()

    assert (bad.issued, bad.first, bad.last, bad.out_of_order) == (7, 1, 7, 1)


# ── who may ──────────────────────────────────────────────────────────────────────────────────────


async def test_who_may_see_a_payment_may_see_its_documents_and_nobody_else(shop: Shop) -> None:
    payment, invoice = await sold(shop)
    own = Actor(kind="client", name="payer", payment_id=payment.id)
    other = Actor(kind="client", name="payer", payment_id=uuid4())

    assert await invoices.invoice(own, id=invoice.id) == invoice
    assert await invoices.invoice(own, number=invoice.number) == invoice
    assert await invoices.invoice(other, id=invoice.id) is None
    assert await invoices.invoice(other, number=invoice.number) is None
    assert await invoices.invoice(OPERATOR, id=uuid4()) is None
    assert await invoices.invoice(OPERATOR, number="INV-\x00") is None
    with pytest.raises(Forbidden):
        await invoices.invoices(own)


@pytest.mark.parametrize("scope", [Scope.PAYMENTS_READ, Scope.REFUNDS_REQUEST])
async def test_writing_needs_the_right_to(shop: Shop, scope: Scope) -> None:
    key = Actor(kind="api_key", name="reader", scopes=frozenset({scope}))
    made = await draft(shop)

    for step in (
        invoices.issue_invoice(shop.core, key, made.id),
        invoices.void_invoice(shop.core, key, made.id, "no"),
        invoices.create_invoice(
            shop.core, key, CreateInvoice(idempotency_key="k", payment_id=made.id)
        ),
    ):
        with pytest.raises(Forbidden):
            await step


async def test_what_is_not_there_is_not_found(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await invoices.issue_invoice(shop.core, OPERATOR, uuid4())
    with pytest.raises(NotFound):
        await invoices.void_invoice(shop.core, OPERATOR, uuid4(), "no")
    with pytest.raises(NotFound):
        await draft(shop, payment_id=uuid4())


async def test_pages_hold_each_document_once_newest_first(shop: Shop) -> None:
    made = [(await draft(shop)).id for _ in range(5)]
    found: list[UUID] = []
    after = None

    while True:
        page = await invoices.invoices(OPERATOR, [InvoiceStatus.DRAFT], first=2, after=after)
        found += [one.id for one in page.items]
        if not page.has_next:
            break
        after = page.cursors[-1]

    assert found == made[::-1]
    assert (await invoices.invoices(OPERATOR, [InvoiceStatus.PAID])).items == []


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJ4IiwgIngiXQ"])
async def test_a_strange_cursor_is_refused(shop: Shop, cursor: str) -> None:
    with pytest.raises(Invalid):
        await invoices.invoices(OPERATOR, after=cursor)
