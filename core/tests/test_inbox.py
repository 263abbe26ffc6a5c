"""What gateways tell us: kept before it is answered, believed only when signed, never lost."""

import asyncio
import hmac
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from core.tests.conftest import AMOUNT, Cash, Script, Shop, open_shop, paid, settle

from dusangire import inbox, payments
from dusangire.access import OPERATOR
from dusangire.errors import NotFound, Retryable, WebhookRejected
from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    Heard,
    NotSent,
    Outcome,
    Reply,
    Succeeded,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.lifecycle import PaymentStatus
from dusangire.masking import HIDDEN
from dusangire.money import Money

KEY = b"the provider's key"
DECLINED = Failed(code=FailureCode.DECLINED_BY_PAYER, message="The payer said no.")


def message(body: Any, *, method: str = "POST", **headers: str) -> WebhookRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WebhookRequest(
        method=method, headers={"content-type": "application/json", **headers}, body=raw
    )


def signed(body: Any) -> WebhookRequest:
    raw = json.dumps(body).encode()
    return message(raw, **{"x-signature": hmac.new(KEY, raw, "sha256").hexdigest()})


def says(outcome: Outcome | None, trust: Trust = Trust.SIGNED) -> Callable[[WebhookRequest], Heard]:
    """A reader that finds the reference in the body and `outcome` for all of them."""

    def read(request: WebhookRequest) -> Heard:
        told = json.loads(request.body)
        return Heard(
            reference=told["reference"],
            trust=trust,
            dedupe_key=str(told.get("id", told["reference"])),
            outcome=outcome,
            reply=Reply(body=b"thank you"),
        )

    return read


def verifies(request: WebhookRequest) -> Heard:
    """Signed in a header, as most providers do it."""
    expected = hmac.new(KEY, request.body, "sha256").hexdigest()
    given = request.headers.get("x-signature", "")
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise WebhookRejected
    told = json.loads(request.body)
    return Heard(
        reference=told["reference"],
        trust=Trust.SIGNED,
        dedupe_key=told["id"],
        outcome=Succeeded(
            amount=Money(told["amount"], told["currency"]),
            reference=told["reference"],
            gateway_transaction_id="GT-9",
        ),
    )


async def send(shop: Shop, request: WebhookRequest, code: str = "script") -> Reply:
    account = await shop.account(code)
    return await inbox.accept(shop.core, code, account.webhook_token, request)


async def reference_of(shop: Shop, payment_id: Any) -> str:
    reference: str = (await shop.attempt(payment_id))["reference"]
    return reference


# ── the door ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", ["", "wrong", "é", "\ud800", "\x00", "x" * 100_000])
async def test_a_wrong_token_finds_nothing_and_stores_nothing(shop: Shop, token: str) -> None:
    shop.script.reads = says(None)

    with pytest.raises(NotFound):
        await inbox.accept(shop.core, "script", token, message({"reference": "x"}))

    assert (await shop.counts())["gateway_webhook"] == 0
    assert shop.script.heard == []


@pytest.mark.parametrize("code", ["nobody", "cash", "", "\x00"])
async def test_a_gateway_that_does_not_listen_cannot_be_told_from_one_that_is_not_there(
    shop: Shop, code: str
) -> None:
    token = (await shop.account("cash")).webhook_token

    with pytest.raises(NotFound) as refused:
        await inbox.accept(shop.core, code, token, message({}))

    assert str(refused.value) == str(NotFound())


async def test_the_token_of_another_gateway_does_not_open_this_one(shop: Shop) -> None:
    token = (await shop.account("cash")).webhook_token

    with pytest.raises(NotFound):
        await inbox.accept(shop.core, "script", token, message({}))


async def test_a_webhook_is_stored_before_it_is_answered(shop: Shop) -> None:
    shop.script.reads = says(None)

    reply = await send(shop, message({"reference": "unknown"}))

    row = await shop.row("SELECT * FROM gateway_webhook")
    assert reply == Reply(body=b"thank you")
    assert (row["status"], row["body"]) == ("RECEIVED", b'{"reference": "unknown"}')


async def test_when_the_database_is_away_nothing_is_acknowledged(tmp_path: Path, url: str) -> None:
    async with open_shop(tmp_path, url, connections=1) as shop:
        shop.script.reads = says(None)
        await shop.account()
        lock = "BEGIN; LOCK TABLE gateway_webhook; SELECT pg_sleep(4)"
        blocked = asyncio.create_task(_script(shop.url, lock))
        await asyncio.sleep(0.3)

        with pytest.raises(Retryable):
            await send(shop, message({"reference": "x"}))

        await blocked
        assert (await shop.counts())["gateway_webhook"] == 0


async def _script(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statements)
    await connection.close()


async def test_a_forged_webhook_is_refused_and_changes_nothing(shop: Shop) -> None:
    shop.script.reads = verifies
    created = await shop.create()
    before = await shop.counts()
    forged = message(
        {
            "id": "1",
            "reference": await reference_of(shop, created.payment.id),
            "amount": 5000,
            "currency": "RWF",
        },
        **{"x-signature": "0" * 64},
    )

    with pytest.raises(WebhookRejected):
        await send(shop, forged)

    assert await shop.counts() == before


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_post_and_put_are_both_heard(shop: Shop, method: str) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    created = await shop.create()
    told = {"reference": await reference_of(shop, created.payment.id)}

    await send(shop, message(told, method=method))
    await shop.read_mail()

    assert await shop.value("SELECT status FROM gateway_webhook") == "DONE"


async def test_secrets_in_headers_are_not_kept(shop: Shop) -> None:
    shop.script.reads = says(None)
    headers = {
        "authorization": "Bearer canary",
        "x-signature": "canary",
        "x-callback-token": "canary",
        "verif-hash": "canary",
        "cookie": "canary",
        "x-phone": "canary",
        "user-agent": "MTN\x00 +250788123456",
    }

    await send(shop, message({"reference": "x"}, **headers))

    kept = await shop.value("SELECT headers FROM gateway_webhook")
    assert "canary" not in kept
    assert "788123456" not in kept
    assert json.loads(kept)["x-signature"] == "•••"


# ── once ─────────────────────────────────────────────────────────────────────────────────────────


CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"reference": "R-1", "pan": CARD}, id="in a text"),
        pytest.param({"reference": "R-1", "pan": 4111111111111111}, id="as a number"),
        pytest.param({"reference": CARD}, id="as the reference"),
        pytest.param({"reference": "R-1", "id": CARD}, id="as the id of the message"),
        pytest.param(f'<pan ref="\xff">{CARD}</pan>'.encode("latin-1"), id="in what is no JSON"),
    ],
)
async def test_no_card_number_is_kept_whatever_comes(shop: Shop, body: Any) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)

    await send(shop, message(body))
    await shop.read_mail()

    [row] = await shop.rows("SELECT * FROM gateway_webhook")
    kept = row["body"].decode("latin-1") + str(row)
    assert "4111111111111111" not in re.sub("[ -]", "", kept)
    assert HIDDEN.encode() in row["body"]


async def test_what_has_no_card_number_is_kept_byte_for_byte(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    body = b'{"reference": "R-1", "at": 1700000000000, "odd": "\xff\xc3\xa9\x00"}'

    await send(shop, message(body))

    assert await shop.value("SELECT body FROM gateway_webhook") == body


async def test_the_same_webhook_again_is_counted_and_acknowledged(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    created = await shop.create()
    told = {"reference": await reference_of(shop, created.payment.id), "id": "event-1"}

    replies = await asyncio.gather(*(send(shop, message(told)) for _ in range(10)))

    row = await shop.row("SELECT * FROM gateway_webhook")
    assert row["repeated"] == 9
    assert set(replies) == {Reply(body=b"thank you")}


async def test_other_bytes_of_the_same_event_are_the_same_event(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)

    await send(shop, message(b'{"reference": "r", "id": "1"}'))
    await send(shop, message(b'{"id":"1","reference":"r"}'))

    assert (await shop.counts())["gateway_webhook"] == 1


@pytest.mark.parametrize(
    "prefix", ["", "k" * 500, "\x00", "\ud800"], ids=["", "long", "nul", "half"]
)
async def test_different_events_are_different_however_they_are_named(
    shop: Shop, prefix: str
) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)

    await send(shop, message({"reference": "r", "id": prefix + "1"}))
    await send(shop, message({"reference": "r", "id": prefix + "2"}))

    assert (await shop.counts())["gateway_webhook"] == 2


# ── evidence and hints ───────────────────────────────────────────────────────────────────────────


async def test_a_success_signed_in_a_header_is_applied_after_the_header_is_gone(
    shop: Shop,
) -> None:
    shop.script.reads = verifies
    created = await shop.create()
    told = {
        "id": "1",
        "reference": await reference_of(shop, created.payment.id),
        "amount": 5000,
        "currency": "RWF",
    }

    await send(shop, signed(told))
    await shop.read_mail()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)
    assert await shop.value("SELECT status FROM gateway_webhook") == "DONE"
    assert shop.script.called("check") == []


@pytest.mark.parametrize(
    "told", [{"amount": 4999}, {"amount": 50_000}, {"currency": "USD"}], ids=str
)
async def test_a_signed_success_of_another_amount_is_refused_and_flagged(
    shop: Shop, told: dict[str, Any]
) -> None:
    shop.script.reads = verifies
    created = await shop.create()
    reference = await reference_of(shop, created.payment.id)

    await send(
        shop, signed({"id": "1", "reference": reference, "amount": 5000, "currency": "RWF", **told})
    )
    await shop.read_mail()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["needs_attention"]) == ("PENDING", '["AMOUNT_MISMATCH"]')


async def test_a_signed_success_about_another_reference_is_refused(shop: Shop) -> None:
    created = await shop.create()
    shop.script.reads = says(Succeeded(amount=AMOUNT, reference="of another payment"))

    await send(shop, message({"reference": await reference_of(shop, created.payment.id)}))
    await shop.read_mail()

    assert (await shop.payment(created.payment.id))["status"] == "PENDING"


@pytest.mark.parametrize("trust", [Trust.UNSIGNED, Trust.SHARED_SECRET])
async def test_what_is_not_signed_only_makes_the_next_question_due(
    shop: Shop, trust: Trust
) -> None:
    created = await shop.create()
    reference = await reference_of(shop, created.payment.id)
    shop.script.reads = says(Succeeded(amount=AMOUNT, reference=reference), trust)
    await shop.run(
        "UPDATE payment_attempt SET next_check_at = now() + interval '1 h', asked_at = NULL"
    )

    await send(shop, message({"reference": reference}))
    await shop.read_mail()
    unchanged = await shop.payment(created.payment.id)
    await shop.work()

    assert unchanged["status"] == "PENDING"
    assert shop.script.called("check") == [reference]


async def test_hints_ask_at_most_once_in_ten_seconds(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    created = await shop.create()
    reference = await reference_of(shop, created.payment.id)
    # Asked in a moment from now, so that it makes no difference how long this test takes.
    await shop.run(
        "UPDATE payment_attempt SET asked_at = now() + interval '1 min', "
        "next_check_at = now() + interval '1 h'"
    )

    for n in range(20):
        await send(shop, message({"reference": reference, "id": n}))
    await shop.read_mail()

    attempt = await shop.attempt(created.payment.id)
    wait = attempt["next_check_at"] - attempt["asked_at"]
    assert wait == inbox.HINT_EVERY * shop.core.settings.poll_scale


async def test_a_hint_while_the_gateway_is_asked_is_not_forgotten(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    created = await shop.create()
    reference = await reference_of(shop, created.payment.id)

    async def hears_meanwhile(attempt: Attempt) -> Outcome:
        await shop.run("UPDATE payment_attempt SET asked_at = now() - interval '1 min'")
        await send(shop, message({"reference": reference}))
        await shop.read_mail()
        return Accepted()

    shop.script.says("check", hears_meanwhile, paid_now)
    await shop.run("UPDATE payment_attempt SET checks = 9")
    await shop.work_now()

    await shop.work()

    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"


async def paid_now(attempt: Attempt) -> Outcome:
    return paid(attempt)


async def test_a_hint_from_the_other_gateway_moves_nothing(tmp_path: Path, url: str) -> None:
    other = Script(reads=says(None, Trust.UNSIGNED))
    async with open_shop(tmp_path, url, plugins={"other": other}) as shop:
        await shop.save_gateway("other", "other")
        created = await shop.create()
        before = await shop.attempt(created.payment.id)

        await send(shop, message({"reference": before["reference"]}), "other")
        await shop.read_mail()

        assert await shop.attempt(created.payment.id) == before
        assert await shop.value("SELECT status FROM gateway_webhook") == "ORPHAN"


# ── in any order ─────────────────────────────────────────────────────────────────────────────────


async def test_a_webhook_before_the_reply_of_the_create_call_ends_right(shop: Shop) -> None:
    shop.script.reads = verifies

    async def webhook_first(attempt: Attempt) -> Outcome:
        told = {"id": "1", "reference": attempt.reference, "amount": 5000, "currency": "RWF"}
        await send(shop, signed(told))
        await shop.read_mail()
        return Accepted()

    shop.script.says("initiate", webhook_first)

    created = await shop.create()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)
    assert [e["status"] for e in await shop.events(created.payment.id)] == ["CREATED", "SUCCEEDED"]


@pytest.mark.parametrize(
    "outcome", [NotSent(cause="refused"), Unknown(cause="lost"), DECLINED], ids=repr
)
async def test_after_a_signed_success_a_reply_of_the_create_call_takes_nothing_back(
    shop: Shop, outcome: Outcome
) -> None:
    shop.script.reads = verifies

    async def webhook_first(attempt: Attempt) -> Outcome:
        told = {"id": "1", "reference": attempt.reference, "amount": 5000, "currency": "RWF"}
        await send(shop, signed(told))
        await shop.read_mail()
        return outcome

    shop.script.says("initiate", webhook_first)

    created = await shop.create()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)


@pytest.mark.parametrize("outcome", [Accepted(), Unknown(cause="?"), NotSent(cause="?")], ids=repr)
async def test_what_comes_after_the_success_never_lowers_it(shop: Shop, outcome: Outcome) -> None:
    shop.script.says("initiate", paid_now)
    created = await shop.create()
    before = await shop.payment(created.payment.id)
    shop.script.reads = says(outcome)

    await send(shop, message({"reference": await reference_of(shop, created.payment.id)}))
    await shop.read_mail()

    assert await shop.payment(created.payment.id) == before


async def test_a_webhook_for_a_payment_that_comes_later_is_tried_again(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    early = "5f0c2f1e-7d4a-4c0e-9a53-0b9f6a1c2d3e"
    await send(shop, message({"reference": early}))
    await shop.read_mail()
    orphan = await shop.row("SELECT * FROM gateway_webhook")

    created = await shop.create()
    await shop.run("UPDATE payment_attempt SET reference = $1", early)
    await shop.read_mail()

    assert (orphan["status"], orphan["next_try_at"] is not None) == ("ORPHAN", True)
    assert await shop.value("SELECT status FROM gateway_webhook") == "DONE"
    assert created.payment.status is PaymentStatus.PENDING


async def test_an_orphan_is_left_to_people_after_a_day_and_makes_no_payment(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    await send(shop, message({"reference": "nobody knows"}))
    await shop.run("UPDATE gateway_webhook SET received_at = now() - interval '25 h'")

    await shop.read_mail()

    row = await shop.row("SELECT * FROM gateway_webhook")
    assert (row["status"], row["next_try_at"]) == ("ORPHAN", None)
    assert (await shop.counts())["payment"] == 0


# ── what nobody can read ─────────────────────────────────────────────────────────────────────────


def breaks(request: WebhookRequest) -> Heard:
    raise RuntimeError("I cannot read this\x00\ud800")


async def test_a_poison_message_is_dead_after_ten_tries_and_can_be_replayed(shop: Shop) -> None:
    shop.script.reads = breaks
    created = await shop.create()
    told = {"reference": await reference_of(shop, created.payment.id)}
    assert await send(shop, message(told)) == Reply()

    tries = [await shop.read_mail() for _ in range(12)]
    dead = await shop.row("SELECT * FROM gateway_webhook")
    shop.script.reads = says(None, Trust.UNSIGNED)
    await inbox.replay(dead["id"])
    await shop.read_mail()

    assert sum(tries) == 10
    assert (dead["status"], dead["tries"], dead["next_try_at"]) == ("DEAD", 10, None)
    assert "I cannot read this" in dead["error"]
    assert await shop.value("SELECT status FROM gateway_webhook") == "DONE"


async def test_what_is_behind_a_poison_message_moves_on(shop: Shop) -> None:
    created = await shop.create()
    reference = await reference_of(shop, created.payment.id)
    shop.script.reads = breaks
    await send(shop, message({"reference": "poison"}))
    shop.script.reads = says(None, Trust.UNSIGNED)
    await send(shop, message({"reference": reference}))
    shop.script.reads = breaks

    await shop.read_mail()

    rows = await shop.rows("SELECT status FROM gateway_webhook ORDER BY received_at")
    assert [row["status"] for row in rows] == ["RECEIVED", "DONE"]


async def test_only_the_dead_and_the_orphaned_can_be_replayed(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    created = await shop.create()
    await send(shop, message({"reference": await reference_of(shop, created.payment.id)}))
    await shop.read_mail()

    with pytest.raises(NotFound):
        await inbox.replay(await shop.value("SELECT id FROM gateway_webhook"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"reference": "%s", "x": "\\u0000"}',
        b'{"reference": "%s", "x": "\\ud800"}',
        b'{"reference": "%s", "x": ' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"reference": "%s", "x": 123456789012345678901234567890}',
        b'{"reference": "%s", "x": NaN}',
        b'{"reference": "%s", "x": "' + b"y" * 200_000 + b'"}',
    ],
    ids=["nul", "half a character", "deep", "large number", "not a number", "long"],
)
async def test_strange_bytes_do_not_keep_a_webhook_from_its_effect(shop: Shop, body: bytes) -> None:
    created = await shop.create()
    reference = await reference_of(shop, created.payment.id)
    shop.script.reads = says(Succeeded(amount=AMOUNT, reference=reference))

    await send(shop, message(body.replace(b"%s", reference.encode())))
    await shop.read_mail()

    assert (await shop.payment(created.payment.id))["status"] == "SUCCEEDED"


@pytest.mark.parametrize("reference", ["\x00", "\ud800", "x" * 10_000, None])
async def test_a_strange_reference_is_an_orphan(shop: Shop, reference: str | None) -> None:
    shop.script.reads = lambda _: Heard(reference=reference, trust=Trust.UNSIGNED, dedupe_key="1")

    await send(shop, message({}))
    await shop.read_mail()

    assert await shop.value("SELECT status FROM gateway_webhook") == "ORPHAN"


async def test_a_webhook_of_a_plugin_that_is_gone_waits_for_it(tmp_path: Path, url: str) -> None:
    async with open_shop(tmp_path, url) as shop:
        shop.script.reads = breaks
        await send(shop, message({"reference": "x"}))
        await shop.run("UPDATE gateway_account SET plugin = 'gone', version = version + 1")
        await shop.core.gateways.reload()

        await shop.read_mail()

        row = await shop.row("SELECT * FROM gateway_webhook")
        assert (row["status"], row["next_try_at"] is not None) == ("RECEIVED", True)


async def test_two_workers_share_the_mail(shop: Shop) -> None:
    shop.script.reads = says(None, Trust.UNSIGNED)
    for n in range(20):
        await send(shop, message({"reference": str(n)}))

    taken = await asyncio.gather(*(inbox.take(shop.core, 5) for _ in range(4)))

    ids = [one.id for messages in taken for one in messages]
    assert all(len(messages) <= 5 for messages in taken)
    assert len(ids) == len(set(ids))


async def test_the_log_shows_what_was_heard_masked(shop: Shop) -> None:
    created = await shop.create()
    reference = await reference_of(shop, created.payment.id)
    shop.script.reads = says(Succeeded(amount=AMOUNT, reference=reference))

    told = {"reference": reference, "msisdn": "250788123456", "token": "canary"}
    await send(shop, message(told))
    await shop.read_mail()

    callback = (await shop.log(created.payment.id))[-1]
    assert (callback["kind"], callback["outcome"]) == ("CALLBACK", "succeeded")
    assert reference in callback["request"]
    assert "788123456" not in callback["request"]
    assert "canary" not in callback["request"]


async def test_a_hint_for_a_payment_in_cash_changes_nothing(shop: Shop) -> None:
    assert not hasattr(Cash, "read_webhook")
    account = await shop.account("cash")

    with pytest.raises(NotFound):
        await inbox.accept(shop.core, "cash", account.webhook_token, message({"reference": "x"}))


async def test_asking_and_hearing_at_once_agree(shop: Shop) -> None:
    shop.script.reads = verifies
    shop.script.says("check", paid_now)
    created = await shop.create()
    told = {
        "id": "1",
        "reference": await reference_of(shop, created.payment.id),
        "amount": 5000,
        "currency": "RWF",
    }
    await send(shop, signed(told))

    await asyncio.gather(
        shop.read_mail(),
        payments.check_payment(shop.core, OPERATOR, created.payment.id),
        payments.check_payment(shop.core, OPERATOR, created.payment.id),
    )
    await settle()

    payment = await shop.payment(created.payment.id)
    assert (payment["status"], payment["captured"]) == ("SUCCEEDED", AMOUNT.minor)
    statuses = [event["status"] for event in await shop.events(created.payment.id)]
    assert statuses.count("SUCCEEDED") == 1
