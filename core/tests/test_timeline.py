"""Why is this payment in this state? Each thing that happens has a sentence, and all are told."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from core.tests.conftest import PHONE, SECRET, Shop, paid

from dusangire import customers, sentences, timeline
from dusangire.access import OPERATOR, Actor
from dusangire.database import fetch
from dusangire.errors import Forbidden, NotFound
from dusangire.gateway import Attempt, Failed, FailureCode, Outcome, Trust, Unknown
from dusangire.intake import CustomerInput
from dusangire.lifecycle import AttemptStatus, AttentionReason, PaymentStatus, TransactionKind
from dusangire.permissions import RULES, Permission, Role, Rule, Scope
from dusangire.records import RefundStatus

SOURCES = Path(timeline.__file__).parent
AT = datetime(2026, 11, 23, 14, 30, 0, tzinfo=UTC)
REFUND = {"refund": "REF-1", "refund_amount": 3000, "currency": "RWF"}

# ── sentences ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "word", "data", "sentence"),
    [
        (
            "action",
            "payment.created",
            {"amount": 5000, "currency": "RWF"},
            "The payment of 5,000 RWF was created.",
        ),
        (
            "action",
            "payment.cancelled",
            {"reason": "out of stock."},
            "The payment was cancelled: out of stock.",
        ),
        (
            "action",
            "refund.requested",
            {**REFUND, "reason": "came broken"},
            "The refund REF-1 of 3,000 RWF was asked for: came broken.",
        ),
        (
            "action",
            "invoice.issued",
            {"invoice": "INV-2026-000042"},
            "The invoice INV-2026-000042 was issued.",
        ),
        (
            "action",
            "invoice.issued",
            {"invoice": "CN-2026-000001", "invoice_kind": "CREDIT_NOTE"},
            "The credit note CN-2026-000001 was issued.",
        ),
        (
            "action",
            "customer.revealed",
            {"reason": "they called"},
            "The customer's number and address were looked at: they called.",
        ),
        (
            "attempt",
            "BEGAN",
            {"number": 2, "gateway": "MTN", "reference": "0b0e"},
            "The second try, by MTN, was written down, to be sent as 0b0e.",
        ),
        (
            "attempt",
            "FAILED",
            {
                "number": 1,
                "gateway": "MTN",
                "failure": {
                    "message": "Not enough money.",
                    "gateway_code": "NOT_ENOUGH_FUNDS",
                },
            },
            "The first try, by MTN, failed: Not enough money (MTN says NOT_ENOUGH_FUNDS).",
        ),
        (
            "attempt",
            "SUCCEEDED",
            {"number": 12, "gateway": "MTN", "gateway_transaction_id": "987"},
            "The 12th try, by MTN, was paid, as MTN's transaction 987.",
        ),
        (
            "exchange",
            "INITIATE",
            {"gateway": "MTN", "outcome": "pending", "http_status": 202, "duration_ms": 120},
            "MTN was asked to take the payment: “pending” (HTTP 202, 120 ms).",
        ),
        (
            "exchange",
            "STATUS_CHECK",
            {"gateway": "MTN", "outcome": "unknown", "error_message": "no answer in time"},
            "MTN was asked how the payment stands: “unknown”: no answer in time.",
        ),
        (
            "webhook",
            "UNSIGNED",
            {"gateway": "MTN", "status": "DONE", "repeated": 2},
            (
                "MTN sent a message that anybody could send, so it was asked, 2 more times; "
                "it was worked on."
            ),
        ),
        (
            "approval",
            "APPROVED",
            {**REFUND, "note": "seen the parcel", "voided_at": "2026"},
            "Said yes to the refund REF-1 of 3,000 RWF: seen the parcel (does not count any more).",
        ),
        (
            "receipt",
            "REJECTED",
            {"invoice": "INV-1", "error": {"code": "910", "message": "bad TIN"}},
            "The tax authority's device refused the receipt of invoice INV-1: bad TIN.",
        ),
        (
            "delivery",
            "TRIED",
            {
                "type": "payment.succeeded",
                "url": "https://shop.rw/x",
                "number": 3,
                "error": "reset",
            },
            "“payment.succeeded” to shop.rw was not delivered (try 3, no answer): reset.",
        ),
        (
            "notification",
            "SENT",
            {"notice": "payment.succeeded", "to": "a•••@x.rw", "channel": "email"},
            "The message “payment: succeeded” to a•••@x.rw by email was sent.",
        ),
        ("action", "cash_drawer.opened", {}, "Cash drawer: opened."),
    ],
)
def test_what_happened_is_said_in_a_sentence(
    source: str, word: str, data: dict[str, Any], sentence: str
) -> None:
    assert sentences.moment(source, word, data) == sentence


ALL = {
    "gateway": "MTN", "number": 1, "currency": "RWF", "amount": 5, "refund": "REF-1", "tries": 2,
    "refund_amount": 5, "invoice": "INV-1", "outcome": "pending", "type": "a", "url": "https://x.rw",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (TransactionKind, sentences.EXCHANGES),
        (AttemptStatus, sentences.ATTEMPTS.keys() - {"BEGAN"}),
        ([*Trust, "UNREAD"], sentences.WEBHOOKS),
        (PaymentStatus, sentences.PAYMENTS),
        (RefundStatus, sentences.REFUNDS),
        (AttentionReason, sentences.ATTENTION),
    ],
    ids=["exchanges", "attempts", "webhooks", "payments", "refunds", "attention"],
)
def test_every_word_of_ours_has_a_sentence(words: Any, said: Any) -> None:
    assert set(map(str, words)) == set(map(str, said))


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ("fiscal_receipt_status_known", sentences.RECEIPTS),
        ("webhook_delivery_status_known", sentences.DELIVERIES.keys() - {"TRIED"}),
        ("notification_status_known", sentences.NOTIFICATIONS),
    ],
)
async def test_every_state_that_the_database_knows_has_a_sentence(
    shop: Shop, constraint: str, said: Any
) -> None:
    text = await shop.value(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", constraint
    )

    assert set(re.findall(r"'(\w+)'", text)) == set(said)


def _actions() -> set[str]:
    """The actions on payments, refunds and invoices that stand anywhere in the source."""
    words = set()
    for path in SOURCES.rglob("*.py"):
        words |= set(
            re.findall(
                r"[\"']((?:payment|refund|invoice|fiscal_receipt|customer)\.[a-z_]+)[\"']",
                path.read_text(),
            )
        )
    return words - {"invoice.html", "invoice.typ", "invoice.css", "invoice.pdf"}


def test_every_action_has_a_sentence() -> None:
    missing = _actions() - sentences.ACTIONS.keys()

    assert len(_actions()) > 15
    assert missing == set()
    events = {f"payment.{status.lower()}" for status in PaymentStatus}
    events |= {f"refund.{status.lower()}" for status in RefundStatus}
    assert events <= sentences.ACTIONS.keys()


@pytest.mark.parametrize(
    ("source", "word"),
    [(source, str(word)) for source, words in sentences.MOMENTS.items() for word in words],
)
def test_no_sentence_is_code(source: str, word: str) -> None:
    for data in (ALL, {"gateway": "MTN", "currency": "RWF", "number": 1, "tries": 2}):
        sentence = sentences.moment(source, word, data)

        assert sentence[0].isupper() or sentence[0] == "“"
        assert sentence.endswith(".")
        assert "None" not in sentence
        assert not re.search(r"[A-Z]+_[A-Z]+|\w+\.\w+\b(?<!x\.rw)|[{}]", sentence), sentence


# ── headlines ────────────────────────────────────────────────────────────────────────────────────


def now(status: str, attempt: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    attempt = {"gateway": "MTN", **attempt} if attempt else None
    return {
        "status": status, "currency": "RWF", "amount": 5000, "captured": 0, "refunded": 0,
        "expires_at": "2026-11-23T15:00:00+00:00", "attempt": attempt, **more,
    }  # fmt: skip


def asked(outcome: str, seconds: int) -> dict[str, Any]:
    return {"at": (AT - timedelta(seconds=seconds)).isoformat(), "outcome": outcome}


DUE = "2026-11-23T14:30:05+00:00"


@pytest.mark.parametrize(
    ("state", "headline", "due"),
    [
        (
            now("CREATED"),
            "CREATED: nobody has chosen a way to pay yet. It can be paid until 15:00:00 UTC.",
            "15:00:00",
        ),
        (
            now(
                "PENDING",
                {"status": "PENDING", "next_check_at": DUE},
                asked=3,
                last_exchange=asked("pending", 12),
            ),
            ("PENDING: MTN has the request, and the payer has not answered yet. It was asked "
            "3 times, last 12 s ago: “pending”. The next question is at 14:30:05 UTC."),
            "14:30:05",
        ),
        (
            now("PENDING", {"status": "UNKNOWN", "next_check_at": "2026-11-23T14:00:00+00:00"}),
            ("PENDING: nobody knows whether the request reached MTN, so it is asked, and nothing "
            "is sent again. The next question is at once, as soon as a worker has time."),
            "14:30:00",
        ),
        (
            now("CREATED", {"status": "SUBMITTING", "resend": True, "next_check_at": DUE}),
            "CREATED: the request never reached MTN, so it is sent again at 14:30:05 UTC.",
            "14:30:05",
        ),
        (
            now("PENDING", {"status": "PENDING"}),
            ("PENDING: MTN has the request, and the payer has not answered yet. Nothing more "
            "happens by itself: a person says how it ended. It can be paid until 15:00:00 UTC."),
            "15:00:00",
        ),
        (
            now(
                "FAILED",
                {"status": "FAILED"},
                failure={"message": "Not enough money.", "gateway_code": "LOW"},
                expires_at="2026-11-24T15:00:00+00:00",
            ),
            ("FAILED: Not enough money (MTN says LOW). The payer may try again. "
            "It can be paid until 2026-11-24 15:00:00 UTC."),
            "15:00:00",
        ),
        (
            now("EXPIRED", {"status": "EXPIRED", "next_check_at": DUE}),
            ("EXPIRED: nobody paid before 15:00:00 UTC. A payment that comes late is still taken: "
            "asked again at 14:30:05 UTC."),
            "14:30:05",
        ),
        (
            now("CANCELLED", failure={"message": "out of stock"}),
            "CANCELLED: out of stock.",
            None,
        ),
        (
            now(
                "SUCCEEDED",
                {"status": "SUCCEEDED"},
                captured=5000,
                completed_at="2026-11-23T14:00:00+00:00",
                needs_attention=["LATE_SUCCESS"],
            ),
            ("SUCCEEDED: MTN confirmed 5,000 RWF at 14:00:00 UTC. It was paid after it had ended: "
            "look whether the order still stands."),
            None,
        ),
        (
            now(
                "SUCCEEDED",
                {"status": "SUCCEEDED"},
                captured=5000,
                refunds=[
                    {
                        "status": "REQUESTED", "reference": "REF-1", "amount": 3000,
                        "currency": "RWF", "approvals": 1, "approvals_needed": 2,
                    }
                ],
            ),
            ("SUCCEEDED: MTN confirmed 5,000 RWF. Refund REF-1 of 3,000 RWF waits for a second "
            "approver (1 of 2 said yes)."),
            None,
        ),
        (
            now(
                "PARTIALLY_REFUNDED",
                captured=5000,
                refunded=2000,
                refunds=[
                    {
                        "status": "UNKNOWN", "reference": "REF-2", "amount": 3000,
                        "currency": "RWF", "gateway": "MTN",
                    },
                    {
                        "status": "PROCESSING", "reference": "REF-3", "amount": 1,
                        "currency": "RWF", "by_hand": True,
                    },
                ],
            ),
            ("PARTIALLY_REFUNDED: 2,000 RWF of 5,000 RWF was given back. Refund REF-2 of 3,000 RWF "
            "may or may not have arrived at MTN, so it is not sent again; a person finds out, and "
            "settles it with evidence. Refund REF-3 of 1 RWF is approved: a person gives it back, "
            "and settles it with evidence."),
            None,
        ),
        (
            now(
                "REFUNDED",
                captured=5000,
                refunded=5000,
                deliveries=[
                    {
                        "type": "refund.succeeded", "url": "https://shop.rw/hook", "tries": 2,
                        "next_try_at": DUE,
                    }
                ],
                receipts=[{"status": "QUEUED", "invoice": "CN-1", "next_try_at": DUE}],
            ),
            ("REFUNDED: 5,000 RWF was given back: all that was paid. The receipt of invoice CN-1 "
            "waits for its turn at the device. “refund.succeeded” to shop.rw failed twice; "
            "the next try is at 14:30:05 UTC."),
            "14:30:05",
        ),
    ],
)  # fmt: skip
def test_the_headline_says_what_is_why_and_what_comes_next(
    state: dict[str, Any], headline: str, due: str | None
) -> None:
    said, next_at = sentences.headline(state, at=AT)

    assert said == headline
    assert (f"{next_at:%H:%M:%S}" if next_at else None) == due


# ── the whole story ──────────────────────────────────────────────────────────────────────────────


async def story(shop: Shop, payment_id: UUID) -> timeline.Story:
    return await timeline.of(shop.core, OPERATOR, payment_id)


async def test_a_payment_tells_its_story_in_order(shop: Shop) -> None:
    async def succeed(attempt: Attempt) -> Outcome:
        return paid(attempt)

    shop.script.says("check", Unknown(cause="no answer in time"), succeed)
    done = await shop.create()
    await shop.work_now()
    await shop.work_now()

    told = await story(shop, done.payment.id)

    assert [(moment.source, moment.what.partition(":")[0]) for moment in told.moments] == [
        ("action", "The payment of 5,000 RWF was created."),
        ("attempt", told.moments[1].what.partition(":")[0]),
        ("exchange", "Script was asked to take the payment"),
        ("action", "The payment now waits for the payer."),
        ("exchange", "Script was asked how the payment stands"),
        ("exchange", "Script was asked how the payment stands"),
        ("action", "The payment succeeded."),
        ("attempt", "The first try, by Script, was paid, as Script's transaction GT-1."),
    ]
    assert told.headline.startswith("SUCCEEDED: Script confirmed 5,000 RWF at ")
    assert told.moments[0].who is not None
    assert told.moments[0].who.name == "command line"
    assert list(told.moments) == sorted(told.moments, key=lambda moment: moment.at)
    assert told == await story(shop, done.payment.id)
    assert PHONE not in str(told)
    assert SECRET not in str(told)


async def test_everything_beside_a_payment_is_in_its_story(shop: Shop) -> None:
    async def succeed(attempt: Attempt) -> Outcome:
        return paid(attempt)

    shop.script.says("initiate", succeed)
    done = await shop.create(
        customer=CustomerInput(reference="C-1", phone=PHONE, email="aline@example.rw")
    )
    payment_id = done.payment.id
    attempt = await shop.attempt(payment_id)
    await _beside(shop, payment_id, attempt)
    await customers.reveal(OPERATOR, payment_id=payment_id, reason="the payer called")
    await shop.run(
        "INSERT INTO event (type, payment_id, data) "
        "VALUES ('payment.reconciled', $1, '{\"reconciliation_status\": \"MATCHED\"}')",
        payment_id,
    )

    told = await story(shop, payment_id)

    words = "\n".join(moment.what for moment in told.moments)
    for sentence in (
        "Scripted sent a signed message; it was worked on.",
        "Said yes to the refund REF-1 of 3,000 RWF: seen.",
        "The refund REF-1 of 3,000 RWF was asked for: broken.",
        "The invoice INV-2026-000001 was issued.",
        "The receipt of invoice INV-2026-000001 waits for its turn at the device.",
        "“payment.succeeded” to shop.example.rw was not delivered (try 1, HTTP 500): HTTP 500.",
        "“payment.succeeded” to shop.example.rw is to be delivered; the next try is at ",
        "The message “payment: succeeded” to a•••@example.rw by email was sent.",
        "The customer's number and address were looked at: the payer called.",
    ):
        assert sentence.replace("Scripted", "Script") in words
    assert {moment.source for moment in told.moments} == set(sentences.MOMENTS)
    assert "waits for a second approver (1 of 2 said yes)" in told.headline
    assert "shop.example.rw failed once; the next try is at " in told.headline
    assert told.next_at is not None
    # Some have a password in what stands behind the host.
    assert "https://shop.example.rw" in str(told)
    assert "PATH" not in str(told)
    assert "topsecret" not in str(told)


@pytest.mark.parametrize(
    ("permission", "told_by"),
    [
        (Permission.READ_REFUNDS, "REF-1"),
        (Permission.READ_INVOICES, "INV-2026-000001"),
        (Permission.READ_WEBHOOKS, "shop.example.rw"),
        (Permission.READ_NOTIFICATIONS, "The message “payment: succeeded”"),
        (Permission.READ_AUDIT, "the payer called"),
    ],
)
async def test_s20_the_story_leaves_out_what_somebody_may_not_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, permission: Permission, told_by: str
) -> None:
    done = await shop.create(customer=CustomerInput(reference="C-1", phone=PHONE))
    await _beside(shop, done.payment.id, await shop.attempt(done.payment.id))
    await customers.reveal(OPERATOR, payment_id=done.payment.id, reason="the payer called")
    approver = Actor(kind="staff", name="a", role=Role.APPROVER)

    whole = await timeline.of(shop.core, approver, done.payment.id)
    monkeypatch.setattr("dusangire.access.RULES", {**RULES, permission: Rule(Role.ADMIN)})
    part = await timeline.of(shop.core, approver, done.payment.id)

    assert told_by in str(whole)
    assert told_by not in str(part)
    assert 0 < len(part.moments) < len(whole.moments)


async def _beside(shop: Shop, payment_id: UUID, attempt: dict[str, Any]) -> None:
    """What the other parts of the system write around a payment."""
    staff, refund, invoice, endpoint, delivery, device = (uuid4() for _ in range(6))
    await shop.run(
        "INSERT INTO staff (id, email, name, role) "
        "VALUES ($1, 'eric@example.rw', 'Eric', 'APPROVER')",
        staff,
    )
    await shop.run(
        "INSERT INTO gateway_webhook (id, gateway_id, dedupe_key, method, headers, body, trust, "
        "reference, status) VALUES ($1, $2, 'k', 'POST', '{}', '', 'SIGNED', $3, 'DONE')",
        uuid4(),
        attempt["gateway_id"],
        attempt["reference"],
    )
    await shop.run(
        "INSERT INTO refund (id, reference, payment_id, attempt_id, gateway_id, amount, currency, "
        "reason, digest, approvals_needed, by_hand, requested_by_kind, requested_by_name, "
        "gateway_reference) VALUES ($1, 'REF-1', $2, $3, $4, 3000, 'RWF', 'broken', 'd', 2, "
        "false, 'api_key', 'till', 'x')",
        refund,
        payment_id,
        attempt["id"],
        attempt["gateway_id"],
    )
    await shop.run(
        "INSERT INTO refund_approval (id, refund_id, staff_id, digest, note) "
        "VALUES ($1, $2, $3, 'd', 'seen')",
        uuid4(),
        refund,
        staff,
    )
    await shop.run(
        "INSERT INTO invoice (id, kind, status, series, year, sequence, number, currency, net, "
        "tax, total, payment_id, issued_at) VALUES ($1, 'INVOICE', 'ISSUED', 'INV', 2026, 1, "
        "'INV-2026-000001', 'RWF', 4237, 763, 5000, $2, now())",
        invoice,
        payment_id,
    )
    await shop.run(
        "INSERT INTO audit_entry (actor_kind, actor_name, action, object, detail) VALUES "
        "('api_key', 'till', 'refund.requested', 'refund:REF-1', '{\"reason\": \"broken\"}'), "
        "('system', 'system', 'invoice.issued', 'invoice:' || $1::text, '{}')",
        str(invoice),
    )
    await shop.run(
        "INSERT INTO fiscal_device (id, tin, branch, plugin) VALUES ($1, '123456789', '00', 'x')",
        device,
    )
    await shop.run(
        "INSERT INTO fiscal_receipt (id, device_id, invoice_id, sale_id, fiscal_label, document) "
        "VALUES ($1, $2, $3, $3, 'NS', '{}')",
        uuid4(),
        device,
        invoice,
    )
    await shop.run(
        "INSERT INTO webhook_endpoint (id, url, events, secret) "
        "VALUES ($1, 'https://shop.example.rw/PATH?key=topsecret', '[]', 's')",
        endpoint,
    )
    await shop.run(
        "INSERT INTO webhook_delivery (id, endpoint_id, position, type, payment_id, body, tries, "
        "next_try_at) VALUES ($1, $2, 1, 'payment.succeeded', $3, '{}', 1, "
        "now() + interval '5 min')",
        delivery,
        endpoint,
        payment_id,
    )
    await shop.run(
        "INSERT INTO webhook_try (id, delivery_id, number, http_status, error, duration_ms, "
        "tried_at) VALUES ($1, $2, 1, 500, 'HTTP 500', 5, now())",
        uuid4(),
        delivery,
    )
    await shop.run(
        "INSERT INTO notification (id, position, notice, channel, recipient, payment_id, shown_to, "
        "status, ended_at) VALUES ($1, 1, 'payment.succeeded', 'email', 'customer', $2, "
        "'a•••@example.rw', 'SENT', now())",
        uuid4(),
        payment_id,
    )


async def test_the_story_is_read_in_one_statement(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await shop.create()
    statements = []

    async def counted(statement: str, *values: Any) -> Any:
        statements.append(statement)
        return await fetch(statement, *values)

    monkeypatch.setattr("dusangire.timeline.fetch", counted)
    await story(shop, done.payment.id)

    assert len(statements) == 1


async def test_a_failed_payment_says_why(shop: Shop) -> None:
    shop.script.says(
        "initiate",
        Failed(
            code=FailureCode.INSUFFICIENT_FUNDS,
            message="Not enough money on the account.",
            gateway_code="LOW",
        ),
    )
    done = await shop.create()

    told = await story(shop, done.payment.id)

    assert told.headline.startswith(
        "FAILED: Not enough money on the account (Script says LOW). The payer may try again."
    )


async def test_a_story_that_is_too_long_tells_its_end(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await shop.create()
    account = await shop.account()
    await shop.run(
        "INSERT INTO payment_transaction (payment_id, gateway_id, kind, outcome, created_at) "
        "SELECT $1, $2, 'STATUS_CHECK', 'n ' || n, now() + n * interval '1 s' "
        "FROM generate_series(1, 1200) n",
        done.payment.id,
        account.id,
    )

    told = await story(shop, done.payment.id)

    assert len(told.moments) == timeline.MOST
    assert told.left_out == 204
    assert "“n 1200”" in told.moments[-1].what


@pytest.mark.parametrize(
    ("actor", "error"),
    [
        (Actor(kind="client", name="payer"), NotFound),
        (Actor(kind="staff", name="x"), Forbidden),
        (Actor(kind="api_key", name="x", scopes=frozenset({Scope.PAYMENTS_WRITE})), Forbidden),
    ],
    ids=["the payer", "somebody without a role", "a key that makes payments only"],
)
async def test_the_story_is_not_for_everybody(
    shop: Shop, actor: Actor, error: type[Exception]
) -> None:
    done = await shop.create()

    with pytest.raises(error):
        await timeline.of(shop.core, actor, done.payment.id)
    viewer = Actor(kind="staff", name="v", role=Role.VIEWER)
    assert (await timeline.of(shop.core, viewer, done.payment.id)).moments


async def test_no_payment_has_no_story(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await story(shop, uuid4())
