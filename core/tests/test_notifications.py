"""Customers and staff are told once, in their language, and never on a guess."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from core.tests.conftest import PHONE, Shop, open_shop, paid, settle

from dusangire import hookimpl
from dusangire.access import OPERATOR
from dusangire.channels import (
    Address,
    ChannelDescription,
    Delivered,
    Delivery,
    Message,
    NotDelivered,
    Unclear,
)
from dusangire.errors import CannotStart
from dusangire.followers import follow
from dusangire.gateway import Accepted, Attempt, Outcome
from dusangire.intake import CustomerInput, MethodInput
from dusangire.lifecycle import AttentionReason
from dusangire.notifying import notifications
from dusangire.notifying.notices import ATTENTION, WORDS, Facts, Notice, gaps, write
from dusangire.notifying.notifications import (
    FISCAL_TRIES,
    FOLLOWER,
    MOST_PER_HOUR,
    PAUSES,
    TELLS,
    send_due,
)
from dusangire.plugins import Plugins
from dusangire.settings import Settings

EMAIL = "aline.canary@example.rw"
ALINE = CustomerInput(reference="aline", name="Uwase Aline", email=EMAIL)


@dataclass(eq=False)
class Post:
    """A channel that does what it is told: each message takes the next step, the last one stays."""

    needs: Address | None = Address.EMAIL
    steps: deque[Delivery | BaseException | Callable[[], Awaitable[Delivery]]] = field(
        default_factory=lambda: deque([Delivered()])
    )
    sent: list[Message] = field(default_factory=list)
    call_timeout: float = 60

    def says(self, *steps: Any) -> None:
        self.steps = deque(steps)

    @hookimpl
    def describe_channel(self) -> ChannelDescription:
        return ChannelDescription(name="Post", needs=self.needs, call_timeout=self.call_timeout)

    @hookimpl
    async def send_message(self, message: Message) -> Delivery:
        self.sent.append(message)
        step = self.steps.popleft() if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, BaseException):
            raise step
        return await step() if callable(step) else step


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
async def told(tmp_path: Path, url: str, post: Post) -> AsyncIterator[Shop]:
    """A shop that tells people by post."""
    async with open_shop(tmp_path, url, plugins={"post": post}) as shop:
        yield shop


async def look(shop: Shop) -> None:
    """What the sequencer and the follower do."""
    await shop.run("UPDATE event SET position = id WHERE position IS NULL")
    while await follow(shop.core, [FOLLOWER]):
        pass


async def send_now(shop: Shop) -> int:
    """One round of a worker, everything that waits being due."""
    await shop.run("UPDATE notification SET next_try_at = now() WHERE status = 'WAITING'")
    return await send_due(shop.core, 100)


async def rows(shop: Shop) -> list[dict[str, Any]]:
    return await shop.rows("SELECT * FROM notification ORDER BY position, recipient, channel")


async def notices(shop: Shop) -> list[tuple[str, str]]:
    return [(row["notice"], row["recipient"]) for row in await rows(shop)]


async def take_money(shop: Shop, **changes: Any) -> UUID:
    """A payment that succeeded."""

    async def succeed(attempt: Attempt) -> Outcome:
        return paid(attempt)

    shop.script.says("initiate", succeed)
    return (await shop.create(**{"customer": ALINE, **changes})).payment.id


async def hire(shop: Shop, role: str, *, disabled: bool = False) -> UUID:
    staff_id = uuid4()
    await shop.run(
        "INSERT INTO staff (id, email, name, role, disabled_at) "
        "VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN now() END)",
        staff_id,
        f"{role.lower()}-{staff_id.hex[:4]}@shop.rw",
        role.title(),
        role,
        disabled,
    )
    return staff_id


async def write_down(shop: Shop, statement: str, *values: Any) -> None:
    """As if others had done all that leads up to it: no trigger asks how it came about."""
    connection = await asyncpg.connect(shop.url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.fetch(statement, *values)
    finally:
        await connection.close()


async def refund(shop: Shop, payment_id: UUID, status: str, **changes: Any) -> UUID:
    """A refund of a payment, and the event that says so."""
    values: dict[str, Any] = {
        "requested_by_kind": "api_key",
        "requested_by_name": "shop",
        "requested_by_id": None,
        "reason": "The basket was torn",
        "failure": None,
        **changes,
    }
    refund_id = uuid4()
    await write_down(
        shop,
        "WITH made AS (INSERT INTO refund (id, reference, payment_id, attempt_id, gateway_id, "
        "status, amount, currency, reason, digest, by_hand, requested_by_kind, requested_by_name, "
        "requested_by_id, gateway_reference, failure) SELECT $1, $2, p.id, a.id, a.gateway_id, $3, "
        "1500, 'RWF', $4, 'd', false, $5, $6, $7, $8, $9::jsonb FROM payment p "
        "JOIN payment_attempt a ON a.payment_id = p.id WHERE p.id = $10 RETURNING *) "
        "INSERT INTO event (type, payment_id, data) SELECT 'refund.' || lower($3), $10, "
        "jsonb_build_object('payment', to_jsonb(p) - 'search', 'refund', to_jsonb(made)) "
        "FROM made, payment p WHERE p.id = $10",
        refund_id,
        f"RF-{refund_id.hex[:8]}",
        status,
        values["reason"],
        values["requested_by_kind"],
        values["requested_by_name"],
        values["requested_by_id"],
        str(uuid4()),
        orjson.dumps(values["failure"]).decode() if values["failure"] else None,
        payment_id,
    )
    return refund_id


async def invoice(
    shop: Shop,
    payment_id: UUID | None,
    what: str,
    *,
    kind: str = "INVOICE",
    refund_id: UUID | None = None,
    now: str | None = None,
) -> UUID:
    """An invoice, and the event that says what happened to it. now: what it is by the time."""
    invoice_id = uuid4()
    await write_down(
        shop,
        "WITH made AS (INSERT INTO invoice (id, kind, status, series, year, sequence, number, "
        "currency, net, tax, total, payment_id, refund_id, issued_at, paid_at, original_id) "
        "VALUES ($1, $2, $3, 'INV', 2026, $4::bigint, 'INV-2026-' || $4::bigint, 'RWF', 4237, "
        "763, 5000, $5, $6, now(), CASE WHEN $3 = 'PAID' THEN now() END, "
        "CASE WHEN $2 = 'CREDIT_NOTE' THEN gen_random_uuid() END) RETURNING *) "
        "INSERT INTO event (type, data) SELECT $7, jsonb_build_object('invoice', "
        "to_jsonb(made) || jsonb_build_object('status', $8::text)) FROM made",
        invoice_id,
        kind,
        now or what.upper(),
        await shop.value("SELECT count(*) + 1 FROM invoice"),
        payment_id,
        refund_id,
        f"invoice.{what}",
        what.upper(),
    )
    return invoice_id


# ── the customer ─────────────────────────────────────────────────────────────────────────────────


async def test_a_customer_is_told_that_their_payment_arrived(told: Shop, post: Post) -> None:
    payment_id = await take_money(told)
    await look(told)

    await send_now(told)

    [message] = post.sent
    payment = await told.payment(payment_id)
    assert message.to == EMAIL
    assert message.subject == "Payment received: 5,000 RWF"
    assert payment["reference"] in message.text
    [row] = await rows(told)
    assert (row["status"], row["tries"], row["payment_id"]) == ("SENT", 1, payment_id)


async def test_the_address_the_payer_typed_serves_where_the_shop_knows_none(
    told: Shop, post: Post
) -> None:
    typed = MethodInput(gateway="script", phone=PHONE, email="typed@example.rw")
    await take_money(told, customer=None, method=typed)
    await look(told)

    await send_now(told)

    assert [message.to for message in post.sent] == ["typed@example.rw"]


async def test_whoever_cannot_be_reached_is_not_waited_for(told: Shop) -> None:
    await take_money(told, customer=None)

    await look(told)

    assert await rows(told) == []


@pytest.mark.parametrize(
    ("locale", "subject"),
    [
        ("rw", "Ubwishyu bwakiriwe: 5,000 RWF"),
        ("fr", "Paiement reçu : 5,000 RWF"),
        ("en", "Payment received: 5,000 RWF"),
        ("sw", "Payment received: 5,000 RWF"),
        (7, "Payment received: 5,000 RWF"),
    ],
)
async def test_the_language_is_the_one_that_the_shop_noted_with_the_payment(
    told: Shop, post: Post, locale: object, subject: str
) -> None:
    await take_money(told, metadata={"locale": locale})
    await look(told)

    await send_now(told)

    assert post.sent[0].subject == subject


async def test_without_a_note_the_language_is_the_merchants(told: Shop, post: Post) -> None:
    await told.run("INSERT INTO merchant (name, locale) VALUES ('Isoko Ltd', 'rw')")
    await take_money(told, metadata=["no", "object"])
    await look(told)

    await send_now(told)

    assert post.sent[0].locale == "rw"
    assert "Isoko Ltd" in post.sent[0].text


async def test_with_an_invoice_there_is_one_message_not_two(told: Shop, post: Post) -> None:
    payment_id = await take_money(told)
    await look(told)
    assert await notices(told) == [("PAYMENT_RECEIVED", "customer")]

    await invoice(told, payment_id, "paid")
    await look(told)
    await send_now(told)

    assert [message.notice for message in post.sent] == ["INVOICE_PAID"]
    assert "INV-2026-1" in post.sent[0].subject
    assert "/invoices/" in post.sent[0].text


async def test_with_a_credit_note_there_is_one_message_about_that_refund(
    told: Shop, post: Post
) -> None:
    payment_id = await take_money(told)
    first = await refund(told, payment_id, "SUCCEEDED")
    await refund(told, payment_id, "SUCCEEDED")
    await look(told)

    await invoice(told, payment_id, "issued", kind="CREDIT_NOTE", refund_id=first)
    await look(told)
    await send_now(told)

    told_of = sorted(message.notice for message in post.sent)
    assert told_of == ["CREDIT_NOTE_ISSUED", "PAYMENT_RECEIVED", "REFUND_MADE"]
    [note] = [message for message in post.sent if message.notice == "CREDIT_NOTE_ISSUED"]
    assert "has sent 1,500 RWF back to you" in note.text


async def test_an_invoice_that_is_paid_already_asks_for_no_money(told: Shop) -> None:
    payment_id = await take_money(told)
    await look(told)

    await invoice(told, payment_id, "issued", now="PAID")
    await look(told)

    assert await notices(told) == [("PAYMENT_RECEIVED", "customer")]


async def test_a_payment_that_changes_after_it_succeeded_has_one_receipt(told: Shop) -> None:
    payment_id = await take_money(told)
    await attention(told, payment_id, "DUPLICATE_CAPTURE")

    await look(told)

    assert await notices(told) == [("PAYMENT_RECEIVED", "customer")]


async def test_an_invoice_waits_for_its_fiscal_receipt_for_a_while(told: Shop, post: Post) -> None:
    payment_id = await take_money(told)
    invoice_id = await invoice(told, payment_id, "paid")
    await write_down(
        told,
        "INSERT INTO fiscal_receipt (id, device_id, invoice_id, sale_id, fiscal_label, document) "
        "VALUES (gen_random_uuid(), gen_random_uuid(), $1, $1, 'NS', '{}')",
        invoice_id,
    )
    await look(told)

    for _ in range(FISCAL_TRIES):
        await send_now(told)
    [waiting] = await rows(told)
    await send_now(told)

    assert (waiting["status"], waiting["cause"]) == ("WAITING", "it waits for the fiscal receipt")
    assert [message.notice for message in post.sent] == ["INVOICE_PAID"]


async def test_an_invoice_to_pay_is_sent(told: Shop, post: Post) -> None:
    told.script.says("initiate", Accepted())
    payment_id = (await told.create(customer=ALINE)).payment.id
    await invoice(told, payment_id, "issued")
    await look(told)

    await send_now(told)

    assert [message.subject for message in post.sent] == ["Invoice INV-2026-1: 5,000 RWF"]


async def test_a_customer_is_told_of_their_refund(told: Shop, post: Post) -> None:
    payment_id = await take_money(told)
    await refund(told, payment_id, "SUCCEEDED")
    await look(told)

    await send_now(told)

    # Messages that are due together leave together.
    assert {message.subject for message in post.sent} == {
        "Payment received: 5,000 RWF",
        "Money back: 1,500 RWF",
    }
    assert len(post.sent) == 2


async def test_what_is_switched_off_is_told_nobody(tmp_path: Path, url: str, post: Post) -> None:
    async with open_shop(
        tmp_path, url, plugins={"post": post}, notices_off=("PAYMENT_RECEIVED",)
    ) as shop:
        await take_money(shop)
        await look(shop)

        assert await rows(shop) == []


# ── staff ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_refund_to_decide_is_told_to_those_who_may_but_not_to_who_asked(
    told: Shop, post: Post
) -> None:
    for role in ("VIEWER", "OPERATOR"):
        await hire(told, role)
    await hire(told, "APPROVER", disabled=True)
    asking, other, admin = [await hire(told, r) for r in ("APPROVER", "APPROVER", "ADMIN")]
    payment_id = await take_money(told, customer=None)
    await refund(told, payment_id, "REQUESTED", requested_by_id=asking, requested_by_kind="staff")

    await look(told)
    await send_now(told)

    assert {row["staff_id"] for row in await rows(told)} == {other, admin}
    assert {message.subject for message in post.sent} == {"Refund to decide: 1,500 RWF"}
    assert "The basket was torn" in post.sent[0].text


@pytest.mark.parametrize("status", ["FAILED", "UNKNOWN"])
async def test_a_refund_in_trouble_is_told_to_approvers_and_to_who_asked_once(
    told: Shop, status: str
) -> None:
    asking, approver = [await hire(told, r) for r in ("OPERATOR", "APPROVER")]
    bystander = await hire(told, "OPERATOR")
    payment_id = await take_money(told, customer=None)

    await refund(told, payment_id, status, requested_by_id=asking)
    await refund(told, payment_id, status, requested_by_id=approver)
    await look(told)

    found = [row["staff_id"] for row in await rows(told)]
    assert bystander not in found
    assert sorted(map(str, found)) == sorted(map(str, [asking, approver, approver]))


async def test_only_who_asked_hears_that_it_was_rejected(told: Shop) -> None:
    asking = await hire(told, "OPERATOR")
    await hire(told, "ADMIN")
    payment_id = await take_money(told, customer=None)

    await refund(told, payment_id, "REJECTED", requested_by_id=asking)
    await look(told)

    assert [row["staff_id"] for row in await rows(told)] == [asking]


async def attention(shop: Shop, payment_id: UUID, *reasons: str) -> None:
    await shop.run(
        "WITH changed AS (UPDATE payment SET version = version + 1, needs_attention = $2::jsonb "
        "WHERE id = $1 RETURNING *) INSERT INTO event (type, payment_id, data) "
        "SELECT 'payment.' || lower(status), id, to_jsonb(changed) - 'search' FROM changed",
        payment_id,
        orjson.dumps(reasons).decode(),
    )


async def test_operators_are_told_when_a_payment_begins_to_need_somebody(
    told: Shop, post: Post
) -> None:
    await hire(told, "OPERATOR")
    await hire(told, "VIEWER")
    payment_id = await take_money(told, customer=None)
    await attention(told, payment_id, "LATE_SUCCESS")
    await attention(told, payment_id, "LATE_SUCCESS")
    await attention(told, payment_id)

    await look(told)
    await send_now(told)

    [message] = post.sent
    assert message.notice == "PAYMENT_NEEDS_ATTENTION"
    assert "the money arrived after the payment had ended" in message.text


async def test_a_gateways_bad_day_is_a_few_messages_not_hundreds(told: Shop) -> None:
    await hire(told, "OPERATOR")
    payment_id = await take_money(told, customer=None)
    for _ in range(MOST_PER_HOUR + 3):
        await attention(told, payment_id, "OUTCOME_UNKNOWN")
        await attention(told, payment_id)

    await look(told)

    assert len(await rows(told)) == MOST_PER_HOUR


async def health(shop: Shop, traffic: str) -> None:
    await shop.run(
        "WITH g AS (SELECT id FROM gateway_account WHERE code = 'script'), h AS ("
        "INSERT INTO gateway_health (gateway_id, traffic) SELECT id, $1 FROM g "
        "ON CONFLICT (gateway_id) DO UPDATE SET traffic = $1 RETURNING *) "
        "INSERT INTO event (type, data) SELECT 'gateway.health', "
        "jsonb_build_object('gateway_id', gateway_id, 'health', to_jsonb(h)) FROM h",
        traffic,
    )


async def test_operators_are_told_that_a_gateway_is_down_and_that_it_is_up_again(
    told: Shop,
) -> None:
    await hire(told, "OPERATOR")
    for traffic in ("HEALTHY", "DOWN", "DOWN", "DEGRADED", "HEALTHY", "DOWN"):
        await health(told, traffic)

    await look(told)

    assert [row["notice"] for row in await rows(told)] == [
        "GATEWAY_DOWN",
        "GATEWAY_UP",
        "GATEWAY_DOWN",
    ]


async def test_admins_are_told_that_a_webhook_was_switched_off(told: Shop, post: Post) -> None:
    await hire(told, "APPROVER")
    admin = await hire(told, "ADMIN")
    await told.run(
        "INSERT INTO event (type, data) VALUES ('webhook_endpoint.disabled', jsonb_build_object("
        "'webhook_endpoint', jsonb_build_object('id', gen_random_uuid(), 'origin', "
        "'https://shop.example.rw', 'because', 'It answered 410.', 'lastError', '410')))"
    )

    await look(told)
    await send_now(told)

    assert [row["staff_id"] for row in await rows(told)] == [admin]
    assert post.sent[0].subject == "Webhook switched off: https://shop.example.rw"
    assert "It answered 410." in post.sent[0].text


async def test_what_is_grave_in_a_statement_is_one_message_a_run_to_each(
    told: Shop, post: Post
) -> None:
    operator, approver = await hire(told, "OPERATOR"), await hire(told, "APPROVER")
    await hire(told, "VIEWER")

    await told.run(
        "INSERT INTO event (type, data) VALUES ('discrepancy.opened', jsonb_build_object("
        '\'discrepancies\', \'{"account": "bk", "name": "Bank of Kigali", '
        '"kinds": {"MISSING_IN_SYSTEM": 3, "DUPLICATE": 1}}\'::jsonb))'
    )
    await look(told)
    await send_now(told)

    to = {f"staff:{operator}", f"staff:{approver}"}
    assert sorted(await notices(told)) == sorted(("DISCREPANCIES_FOUND", one) for one in to)
    assert len(post.sent) == 2
    assert post.sent[0].subject == "Bank of Kigali: 4 grave discrepancies"
    assert "3 × MISSING_IN_SYSTEM, 1 × DUPLICATE" in post.sent[0].text


async def test_who_left_before_it_was_sent_is_not_told(told: Shop, post: Post) -> None:
    operator = await hire(told, "OPERATOR")
    await health(told, "DOWN")
    await look(told)
    await told.run("UPDATE staff SET disabled_at = now() WHERE id = $1", operator)

    await send_now(told)

    assert post.sent == []
    [row] = await rows(told)
    assert (row["status"], row["cause"]) == ("FAILED", "there is no address any more")


# ── never twice ──────────────────────────────────────────────────────────────────────────────────


async def test_workers_at_once_send_each_message_once(told: Shop, post: Post) -> None:
    for _ in range(12):
        await take_money(told)
    await asyncio.gather(*(look(told) for _ in range(4)))
    await told.run("UPDATE notification SET next_try_at = now()")

    await asyncio.gather(*(send_due(told.core, 5) for _ in range(8)))

    assert len(post.sent) == 12
    assert len({message.id for message in post.sent}) == 12


async def test_an_event_that_is_acted_on_again_tells_nobody_again(told: Shop, post: Post) -> None:
    await take_money(told)
    await look(told)
    await send_now(told)
    await told.run("UPDATE follower SET position = 0")

    await look(told)
    await send_now(told)

    assert len(post.sent) == 1


@pytest.mark.parametrize(
    "step",
    [
        Unclear(cause="the line broke"),
        RuntimeError("broken"),
        SystemExit(),
        asyncio.CancelledError(),
    ],
    ids=lambda step: type(step).__name__,
)
async def test_what_may_have_been_sent_is_never_sent_again(
    told: Shop, post: Post, step: Any
) -> None:
    post.says(step)
    await take_money(told)
    await look(told)

    await send_now(told)
    await send_now(told)

    [row] = await rows(told)
    assert (row["status"], row["next_try_at"]) == ("UNKNOWN", None)
    assert len(post.sent) == 1


async def test_a_channel_that_hangs_is_ended_and_unclear(
    tmp_path: Path, url: str, post: Post
) -> None:
    post.call_timeout = 0.05

    async def hang() -> Delivery:
        await asyncio.Event().wait()
        return Delivered()

    post.says(hang)
    async with open_shop(tmp_path, url, plugins={"post": post}) as shop:
        await take_money(shop)
        await look(shop)

        await send_now(shop)

        [row] = await rows(shop)
        assert (row["status"], row["cause"]) == ("UNKNOWN", "no answer within 0.05 s")


async def test_who_dies_while_sending_leaves_a_message_that_is_not_sent_again(
    told: Shop, post: Post
) -> None:
    await take_money(told)
    await look(told)
    await told.run(
        "UPDATE notification SET status = 'SENDING', tries = 1, "
        "next_try_at = now() - interval '1 second'"
    )

    await send_now(told)

    [row] = await rows(told)
    assert row["status"] == "UNKNOWN"
    assert "died" in row["cause"]
    assert post.sent == []


async def test_who_dies_before_sending_leaves_a_message_that_is_sent(
    told: Shop, post: Post
) -> None:
    await take_money(told)
    await look(told)
    await told.run("UPDATE notification SET tries = 1, next_try_at = now() + interval '1 minute'")
    assert await send_due(told.core) == 0

    await send_now(told)

    assert len(post.sent) == 1


async def test_who_wakes_up_after_another_took_it_does_not_send(told: Shop, post: Post) -> None:
    await take_money(told)
    await look(told)
    [row] = await rows(told)
    await told.run("UPDATE notification SET tries = 2, next_try_at = now() + interval '1 minute'")

    await notifications._send(told.core, {**row, "tries": 1})

    assert post.sent == []


async def test_an_answer_that_comes_late_but_is_certain_counts(told: Shop, post: Post) -> None:
    await take_money(told)
    await look(told)

    async def overtaken() -> Delivery:
        await told.run("UPDATE notification SET next_try_at = now() - interval '1 second'")
        await send_due(told.core)
        assert [row["status"] for row in await rows(told)] == ["UNKNOWN"]
        return Delivered()

    post.says(overtaken)
    await send_now(told)

    assert [row["status"] for row in await rows(told)] == ["SENT"]


# ── trying again ─────────────────────────────────────────────────────────────────────────────────


async def test_what_was_certainly_not_sent_is_sent_later(told: Shop, post: Post) -> None:
    post.says(NotDelivered(cause="451 try later", retry=True), Delivered())
    await take_money(told)
    await look(told)

    await send_now(told)
    [waiting] = await rows(told)
    await send_now(told)

    assert (waiting["status"], waiting["cause"]) == ("WAITING", "451 try later")
    assert [row["status"] for row in await rows(told)] == ["SENT"]
    assert len({message.id for message in post.sent}) == 1


async def test_trying_again_comes_to_an_end(told: Shop, post: Post) -> None:
    post.says(NotDelivered(cause="451 try later", retry=True))
    await take_money(told)
    await look(told)

    for _ in range(len(PAUSES) + 3):
        await send_now(told)

    [row] = await rows(told)
    assert (row["status"], row["next_try_at"]) == ("FAILED", None)
    assert len(post.sent) == len(PAUSES) + 1


async def test_what_is_refused_for_good_is_not_tried_again(told: Shop, post: Post) -> None:
    post.says(NotDelivered(cause=f"550 no such user {PHONE}", retry=False))
    await take_money(told)
    await look(told)

    await send_now(told)
    await send_now(told)

    [row] = await rows(told)
    assert (row["status"], row["tries"]) == ("FAILED", 1)
    assert PHONE not in row["cause"]
    assert len(post.sent) == 1


# ── what is kept, and who sees it ────────────────────────────────────────────────────────────────


async def test_no_address_is_kept_in_clear_and_every_end_is_in_the_audit_log(
    told: Shop, post: Post
) -> None:
    await take_money(told)
    await look(told)
    await send_now(told)

    [row] = await rows(told)
    [entry] = await told.rows("SELECT * FROM audit_entry WHERE action = 'notification.sent'")
    assert row["shown_to"] == "al****@example.rw"
    assert EMAIL not in str(row)
    assert EMAIL not in str(entry)
    assert entry["object"] == f"notification:{row['id']}"


async def test_staff_see_what_was_told_about_a_payment(told: Shop) -> None:
    payment_id = await take_money(told)
    await take_money(told)
    await look(told)
    await send_now(told)

    [one] = await notifications.listed(OPERATOR, payment_id=payment_id)

    assert (one.notice, one.channel, one.to) == ("PAYMENT_RECEIVED", "post", "al****@example.rw")
    assert await notifications.of_payments([payment_id]) == {payment_id: [one]}


# ── the words ────────────────────────────────────────────────────────────────────────────────────


def test_every_notice_has_words_and_somebody_to_read_them() -> None:
    assert set(WORDS) == set(TELLS) == set(Notice)
    assert set(ATTENTION) == set(AttentionReason)
    assert {tuple(sorted(texts)) for texts in (*WORDS.values(), *ATTENTION.values())} == {
        ("en", "fr", "rw")
    }


@pytest.mark.parametrize("notice", Notice)
def test_all_languages_tell_the_same(notice: Notice) -> None:
    words = WORDS[notice].values()

    assert len({gaps(one) for one in words}) == 1
    assert len({tuple(sorted(re.findall(r"\{\w+\}", one.subject))) for one in words}) == 1
    assert len({one.subject for one in words}) == 3


FULL = Facts(
    shop="Isoko\r\nBcc: all@example.rw",
    amount="5,000 RWF",
    reference="PAY-1",
    refund="RF-1",
    number="INV-2026-1",
    file="INV-2026-1.pdf",
    link="https://pay.example.rw/invoices/1",
    due="2026-12-31",
    who="{shop}\x1b[31m",
    reason=f"call {PHONE} or 0788 123 456, card 4111 1111 1111 1111",
    cause="x" * 5_000,
    gateway="MTN\nX-Spam: yes",
    address="https://shop.example.rw\r\nX: y",
    returned="1,500 RWF",
    account="Bank\r\nBcc: all@example.rw",
    count="3",
)


@pytest.mark.parametrize("locale", ["rw", "en", "fr", "sw"])
@pytest.mark.parametrize("notice", Notice)
def test_nothing_typed_breaks_a_header_or_shows_a_number(notice: Notice, locale: str) -> None:
    written = write(notice, FULL, locale)

    for text in (written.subject, written.short):
        assert text.isprintable()
    assert len(written.short) <= 150
    assert "\r" not in written.text
    assert "\x1b" not in written.text
    for hidden in ("788123456", "788 123 456", "4111 1111", "4111111111111111"):
        assert hidden not in written.text
    assert "{" not in written.text.replace("{shop}", "")
    assert len(written.text) < 2_000


def test_a_line_about_what_there_is_not_is_left_out() -> None:
    bare = replace(FULL, file="", link="")

    assert "attached" in write(Notice.INVOICE_PAID, FULL, "en").text
    assert "attached" not in write(Notice.INVOICE_PAID, bare, "en").text
    assert "See it here" not in write(Notice.INVOICE_PAID, bare, "en").text


# ── settings and the plugin ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["PAYMENT", "GATEWAY_UP", "payment_received"])
def test_a_notice_that_is_mistyped_is_named(text: str) -> None:
    with pytest.raises(CannotStart, match=f"DUSANGIRE_NOTICES_OFF has '{text}'"):
        Settings.read({"DUSANGIRE_NOTICES_OFF": text})


def test_messages_are_never_printed_in_live_mode() -> None:
    environ = {"DUSANGIRE_CONSOLE_MESSAGES": "1", "DUSANGIRE_ENVIRONMENT": "live"}

    with pytest.raises(CannotStart, match="DUSANGIRE_CONSOLE_MESSAGES"):
        Settings.read(environ)


def test_a_channel_that_is_not_configured_is_none() -> None:
    class Idle:
        @hookimpl
        def describe_channel(self) -> ChannelDescription | None:
            return None

        @hookimpl
        async def send_message(self, message: Message) -> Delivery:
            return Delivered()

    assert Plugins.load({"idle": Idle()}, installed=[]).channels == {}


async def test_the_console_shows_one_line_a_message_and_no_address(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_shop(tmp_path, url, console_messages=True) as shop:
        await hire(shop, "OPERATOR")
        await hire(shop, "ADMIN")
        await take_money(shop)
        await health(shop, "DOWN")
        await look(shop)
        await send_now(shop)
        await settle()

    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("message")]
    assert len(shown) == 2
    assert sum("5,000 RWF" in line for line in shown) == 1
    assert EMAIL not in str(shown)
