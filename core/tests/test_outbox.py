"""Merchants are told what happened: signed, once for each endpoint, until it arrives.

S37, S40 and F36 of the checklists. The sink is a real server; it verifies as a receiver would.
"""

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import orjson
import pytest
from core.tests.conftest import PHONE, Shop, open_shop, paid, until
from core.tests.sink import Authority, Reply, Sink, endless, open_sink, silent, trickling
from core.tests.test_followers import stamp
from standardwebhooks import WebhookVerificationError

from dusangire import followers, rotation
from dusangire.access import OPERATOR, Actor
from dusangire.core import open_core
from dusangire.errors import (
    CannotStart,
    ConfirmationNeeded,
    Forbidden,
    IllegalState,
    Invalid,
    NotFound,
)
from dusangire.intake import CustomerInput
from dusangire.keyring import Keyring
from dusangire.outbox import deliveries as outbox
from dusangire.outbox import endpoints as merchant_webhooks
from dusangire.outbox.deliveries import DISABLED_AFTER, PLACES, SCHEDULE, Answer, judge
from dusangire.outbox.endpoints import Delivery, DeliveryStatus, Endpoint, Try
from dusangire.permissions import Role, Scope
from dusangire.settings import Settings


@dataclass
class Desk:
    """A shop whose endpoint is a sink."""

    shop: Shop
    sink: Sink
    endpoint: Endpoint
    secret: str
    transport: httpx.AsyncBaseTransport

    async def happen(self, **changes: Any) -> UUID:
        """A payment that succeeds, and what its events lead to."""
        self.shop.script.says("initiate", self._pays)
        done = await self.shop.create(**changes)
        await self.follow()
        return done.payment.id

    @staticmethod
    async def _pays(attempt: Any) -> Any:
        return paid(attempt)

    async def follow(self) -> None:
        await stamp(self.shop)
        while await followers.follow(self.shop.core, (outbox.FOLLOWER,)):
            pass

    async def work(self, *, patience: float = 5) -> int:
        """One round of a worker: everything that is due, each once."""
        done = 0
        for endpoint_id in await outbox.waiting(self.shop.core):
            while await outbox.deliver_next(
                self.shop.core, self.transport, endpoint_id, patience=patience
            ):
                done += 1
        return done

    async def work_now(self, *, patience: float = 5) -> int:
        """The same, as if the time of everything that waits had come."""
        await self.shop.run(
            "UPDATE webhook_delivery SET next_try_at = now() WHERE next_try_at IS NOT NULL"
        )
        return await self.work(patience=patience)

    async def deliveries(self, **wanted: Any) -> list[Delivery]:
        wanted = {"first": 100, **wanted}
        page = await merchant_webhooks.deliveries(OPERATOR, self.endpoint.id, **wanted)
        return page.items

    async def tested(self) -> Delivery:
        return await merchant_webhooks.send_test(self.shop.core, OPERATOR, self.endpoint.id)

    async def again(self, delivery: Delivery) -> Delivery:
        found = await merchant_webhooks.delivery(OPERATOR, delivery.id)
        assert found is not None
        return found

    async def now(self) -> Endpoint:
        return (await merchant_webhooks.by_ids(OPERATOR, [self.endpoint.id]))[self.endpoint.id]

    async def log(self, delivery: Delivery) -> list[Try]:
        return (await merchant_webhooks.tries(OPERATOR, [delivery.id])).get(delivery.id, [])


@asynccontextmanager
async def open_desk(shop: Shop, *events: str) -> AsyncIterator[Desk]:
    async with open_sink() as sink, shop.core.egress.transport() as transport:
        endpoint, secret = await merchant_webhooks.create(
            shop.core, OPERATOR, sink.url, events or ("*",)
        )
        yield Desk(shop, sink, endpoint, secret, transport)


@pytest.fixture
async def near(tmp_path: Path, url: str) -> AsyncIterator[Shop]:
    """A shop that may send webhooks to this machine."""
    async with open_shop(tmp_path, url, loopback_webhooks=True) as shop:
        yield shop


@pytest.fixture
async def desk(near: Shop) -> AsyncIterator[Desk]:
    async with open_desk(near) as desk:
        yield desk


# ── what is said ─────────────────────────────────────────────────────────────────────────────────


async def test_a_receiver_verifies_what_happened_with_the_library(desk: Desk) -> None:
    payment_id = await desk.happen(order_reference="ORDER-7", metadata={"cart": 12})
    await desk.work()

    told = [one.verified(desk.secret) for one in desk.sink.received]
    assert {one["type"] for one in told} == {"payment.created", "payment.succeeded"}
    [succeeded] = [one for one in told if one["type"] == "payment.succeeded"]
    payment = succeeded["data"]["payment"]
    assert payment["id"] == str(payment_id)
    assert payment["amount"] == {"amount": "5000", "currency": "RWF"}
    assert payment["captured"] == {"amount": "5000", "currency": "RWF"}
    assert (payment["status"], payment["orderReference"]) == ("SUCCEEDED", "ORDER-7")
    assert payment["metadata"] == {"cart": 12}
    assert payment["version"] > 1
    assert datetime.fromisoformat(succeeded["timestamp"]) <= datetime.now(UTC)


async def test_the_headers_are_those_of_standard_webhooks(desk: Desk) -> None:
    await desk.tested()
    await desk.work()

    headers = desk.sink.received[0].headers
    assert headers["webhook-id"].startswith("msg_")
    assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    version, _, signature = headers["webhook-signature"].partition(",")
    assert (version, len(base64.b64decode(signature))) == ("v1", 32)
    assert headers["content-type"] == "application/json"


async def test_the_signature_is_that_of_the_specification(desk: Desk) -> None:
    await desk.tested()
    await desk.work()

    [one] = desk.sink.received
    key = base64.b64decode(desk.secret.removeprefix("whsec_"))
    signed = f"{one.id}.{one.headers['webhook-timestamp']}.{one.body}".encode()
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert one.headers["webhook-signature"] == f"v1,{expected}"


async def test_a_changed_body_and_another_secret_do_not_verify(desk: Desk) -> None:
    await desk.happen()
    await desk.work()
    [one, *_] = desk.sink.received

    with pytest.raises(WebhookVerificationError):
        replace(one, body=one.body.replace("5000", "9000")).verified(desk.secret)
    with pytest.raises(WebhookVerificationError):
        one.verified("whsec_" + base64.b64encode(b"x" * 32).decode())


async def test_s40_a_secret_has_256_bits_is_shown_once_and_is_stored_sealed(desk: Desk) -> None:
    kind, _, encoded = desk.secret.partition("_")
    [row] = await desk.shop.rows("SELECT * FROM webhook_endpoint")
    audit = await desk.shop.rows("SELECT * FROM audit_entry")

    assert (kind, len(base64.b64decode(encoded))) == ("whsec", 32)
    assert desk.secret not in str(row)
    assert row["secret"].partition(":")[0] == desk.shop.core.keyring.newest
    assert encoded not in str(audit)
    assert desk.secret not in str(await desk.now())


async def test_phone_numbers_and_people_are_left_out(desk: Desk) -> None:
    customer = CustomerInput(reference="C-1", name="Mutoni", phone=PHONE, email="m@example.rw")
    await desk.happen(
        customer=customer,
        description="for 0788 123 456",
        metadata={"call": "+250788123456", "phone": "788123456"},
    )
    await desk.work()

    said = "".join(one.body for one in desk.sink.received)
    assert len(desk.sink.received) == 2
    for secret in ("788123456", "788 123 456", "Mutoni", "m@example.rw"):
        assert secret not in said


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (("*",), ["payment.created", "payment.succeeded"]),
        (("payment.*",), ["payment.created", "payment.succeeded"]),
        (("payment.succeeded",), ["payment.succeeded"]),
        (("payment.succeeded", "payment.*"), ["payment.created", "payment.succeeded"]),
        (("refund.*", "invoice.*"), []),
        (("payment.failed",), []),
    ],
    ids=str,
)
async def test_an_endpoint_is_told_what_it_asked_for(
    near: Shop, events: tuple[str, ...], told: list[str]
) -> None:
    async with open_desk(near, *events) as desk:
        await desk.happen()

        assert sorted(one.type for one in await desk.deliveries()) == told


async def test_each_event_leads_to_one_delivery_for_each_endpoint(desk: Desk) -> None:
    async with open_sink() as other:
        await merchant_webhooks.create(desk.shop.core, OPERATOR, other.url, ["payment.succeeded"])
        await desk.happen()
        await desk.shop.run("UPDATE follower SET position = 0")
        await desk.follow()
        await desk.work()

    assert len(desk.sink.received) == 2
    assert len(other.received) == 1
    assert len({*desk.sink.ids, *other.ids}) == 3
    assert await desk.shop.value("SELECT count(*) FROM follower_debt") == 0


async def test_an_endpoint_that_is_switched_off_is_told_nothing(desk: Desk) -> None:
    core = desk.shop.core
    await merchant_webhooks.update(core, OPERATOR, desk.endpoint.id, enabled=False)

    await desk.happen()

    assert await desk.deliveries() == []


# ── until it arrives ─────────────────────────────────────────────────────────────────────────────


async def test_the_schedule_is_that_of_the_specification() -> None:
    hour = 3600
    expected = [5, 300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]

    waits, step = [], 0
    while (verdict := judge(Answer(status=500, error="answered 500"), step)).wait is not None:
        waits.append(verdict.wait.total_seconds())
        step = verdict.step

    assert verdict.status == "FAILED"
    assert len(waits) == len(expected)
    for wait, least in zip(waits, expected, strict=True):
        assert least <= wait <= least * 1.1


@pytest.mark.parametrize(
    ("reply", "status", "why"),
    [
        (500, 500, "answered 500"),
        (404, 404, "answered 404"),
        (429, 429, "answered 429"),
        ((302, {"location": "http://127.0.0.1:9/inside"}), 302, "redirects are not followed"),
        ((308, {"location": "/elsewhere"}), 308, "redirects are not followed"),
        (silent, None, "no whole answer within 0.3 seconds"),
        (trickling, None, "no whole answer within 0.3 seconds"),
    ],
    ids=["500", "404", "429", "302", "308", "silent", "trickling"],
)
async def test_whatever_goes_wrong_is_tried_to_the_end_of_the_schedule_with_one_id(
    desk: Desk, reply: Reply, status: int | None, why: str
) -> None:
    desk.sink.says(reply)
    delivery = await desk.tested()
    tries, patience = 0, 0.3 if status is None else 10
    while await desk.work_now(patience=patience):
        tries += 1

    ended = await desk.again(delivery)
    told = await desk.log(delivery)
    assert tries == len(SCHEDULE) == len(desk.sink.received) == len(told) == ended.tries
    assert (ended.status, ended.http_status) == (DeliveryStatus.FAILED, status)
    assert why in (ended.error or "")
    assert {*desk.sink.ids} == {delivery.message_id}
    assert {one.path for one in desk.sink.received} == {"/hooks"}
    assert [one.number for one in told] == list(range(1, len(SCHEDULE) + 1))
    for one in desk.sink.received:
        one.verified(desk.secret)


async def test_each_try_waits_for_its_time(desk: Desk) -> None:
    desk.sink.says(500)
    delivery = await desk.tested()

    await desk.work_now()
    [row] = await desk.shop.rows(
        "SELECT next_try_at - now() AS wait, step FROM webhook_delivery WHERE id = $1", delivery.id
    )
    await desk.shop.run("UPDATE webhook_delivery SET next_try_at = now() + interval '1 hour'")
    early = await desk.work()

    assert row["wait"] <= timedelta(seconds=5) * 1.1 * desk.shop.core.settings.poll_scale
    assert row["step"] == 1
    assert early == 0


async def test_it_is_over_once_it_arrived(desk: Desk) -> None:
    desk.sink.says(500, silent, 200)
    delivery = await desk.tested()

    for patience in (10, 0.3, 10, 10):
        await desk.work_now(patience=patience)

    ended = await desk.again(delivery)
    health = (await desk.now()).health
    assert (ended.status, ended.tries) == (DeliveryStatus.DELIVERED, 3)
    assert len(desk.sink.received) == 3
    assert (health.failures, health.failing_since) == (0, None)
    assert health.last_success_at is not None
    assert health.last_failure_at is not None


async def test_410_disables_at_once_and_says_so(desk: Desk) -> None:
    desk.sink.says(410)
    delivery, waits = await desk.tested(), await desk.tested()

    first = await desk.work_now()
    await desk.happen()

    endpoint = await desk.now()
    events = await desk.shop.rows("SELECT * FROM event WHERE type = 'webhook_endpoint.disabled'")
    entries = await desk.shop.rows(
        "SELECT * FROM audit_entry WHERE action = 'webhook_endpoint.disabled'"
    )
    assert (first, len(desk.sink.received)) == (1, 1)
    assert not endpoint.enabled
    assert endpoint.disabled_because == "It answered 410: nobody is there any more."
    assert (await desk.again(delivery)).status is DeliveryStatus.FAILED
    assert (await desk.again(waits)).status is DeliveryStatus.PENDING
    assert len(await desk.deliveries()) == 2
    [event] = [orjson.loads(row["data"])["webhook_endpoint"] for row in events]
    assert event["id"] == str(endpoint.id)
    assert [row["actor_kind"] for row in entries] == ["system"]


async def test_two_410s_at_once_disable_once(desk: Desk) -> None:
    desk.sink.says(410)
    await desk.tested()
    await desk.tested()

    async def both_wait() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        mine = " AND datname = current_database()"
        return bool(await desk.shop.value(waiting + mine) == 2)

    holder = await asyncpg.connect(desk.shop.url)
    async with holder.transaction():
        await holder.execute("SELECT FROM webhook_endpoint FOR UPDATE")
        deliver = outbox.deliver_next(desk.shop.core, desk.transport, desk.endpoint.id)
        other = outbox.deliver_next(desk.shop.core, desk.transport, desk.endpoint.id)
        both = asyncio.gather(deliver, other)
        await until(both_wait)
    await both
    await holder.close()

    assert len(desk.sink.received) == 2
    assert await desk.shop.value("SELECT count(*) FROM event WHERE type LIKE 'webhook%'") == 1


async def test_after_days_of_failures_alone_an_endpoint_is_disabled(desk: Desk) -> None:
    scaled = DISABLED_AFTER * desk.shop.core.settings.poll_scale
    desk.sink.says(500)
    await desk.tested()
    await desk.work_now()
    still = await desk.now()
    await desk.shop.run(
        "UPDATE webhook_endpoint SET failing_since = now() - $1::interval",
        scaled + timedelta(seconds=1),
    )

    await desk.work_now()

    ended = await desk.now()
    assert (still.enabled, ended.enabled) == (True, False)
    assert ended.disabled_because == "For days not one delivery succeeded."


async def test_what_waited_is_sent_when_somebody_switches_it_on_again(desk: Desk) -> None:
    core = desk.shop.core
    desk.sink.says(410)
    await desk.tested()
    await desk.tested()
    await desk.work_now()
    desk.sink.says(200)

    quiet = await desk.work_now()
    endpoint = await merchant_webhooks.update(core, OPERATOR, desk.endpoint.id, enabled=True)
    sent = await desk.work_now()

    assert (quiet, sent) == (0, 1)
    assert (endpoint.enabled, endpoint.disabled_because) == (True, None)
    assert endpoint.health.failures == 0


@pytest.mark.parametrize(
    ("status", "asked", "waits"),
    [
        (429, timedelta(minutes=10), timedelta(minutes=10)),
        (503, timedelta(minutes=10), timedelta(minutes=10)),
        (429, timedelta(seconds=1), timedelta(seconds=5)),
        (429, timedelta(days=400), timedelta(hours=24)),
    ],
    ids=str,
)
async def test_who_asks_to_be_left_alone_is_within_bounds(
    status: int, asked: timedelta, waits: timedelta
) -> None:
    verdict = judge(Answer(status=status, error="answered", retry_after=asked), 0)

    assert verdict.wait is not None
    assert waits <= verdict.wait <= waits * 1.1


async def test_retry_after_is_read_from_the_answer(desk: Desk) -> None:
    desk.sink.says((429, {"retry-after": "36000"}))
    await desk.tested()
    await desk.work_now()

    wait = await desk.shop.value("SELECT next_try_at - now() FROM webhook_delivery")
    # Ten hours, a hundredth of it as all waiting times of a test.
    assert wait > timedelta(seconds=300)


async def test_an_answer_without_end_is_not_read_to_the_end_and_shown_in_part(desk: Desk) -> None:
    desk.sink.says(endless)
    delivery = await desk.tested()

    await desk.work()

    [told] = await desk.log(delivery)
    assert (await desk.again(delivery)).status is DeliveryStatus.DELIVERED
    assert len(told.answer or "") == 500


# ── crashes, and several at once ─────────────────────────────────────────────────────────────────


async def test_f36_a_crash_between_sending_and_writing_sends_it_again_with_its_id(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = await desk.tested()

    async def dies(*_arguments: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "_settle", dies)
        with pytest.raises(asyncio.CancelledError):
            await desk.work()
    leased = await desk.work()
    await desk.work_now()

    assert leased == 0
    assert desk.sink.ids == [delivery.message_id] * 2
    assert (await desk.again(delivery)).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize(
    ("second", "status", "failures"),
    [(200, DeliveryStatus.DELIVERED, 0), (503, DeliveryStatus.PENDING, 1)],
)
async def test_f38_who_held_it_for_too_long_changes_nothing(
    desk: Desk, second: int, status: DeliveryStatus, failures: int
) -> None:
    delivery = await desk.tested()
    let_go = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.write(b"HTTP/1.1 500 Late\r\ncontent-length: 0\r\n\r\n")

    async def has_come() -> bool:
        return bool(desk.sink.received)

    desk.sink.says(slow, second)
    stalled = asyncio.create_task(desk.work())
    await until(has_come)
    await desk.work_now()
    let_go.set()
    await stalled

    ended = await desk.again(delivery)
    told = await desk.log(delivery)
    assert (ended.status, ended.tries, ended.http_status) == (status, 2, second)
    assert sorted((one.number, one.http_status) for one in told) == [(1, 500), (2, second)]
    assert (await desk.now()).health.failures == failures


async def test_f37_two_workers_deliver_each_once(desk: Desk) -> None:
    for _ in range(30):
        await desk.tested()

    async with desk.shop.core.egress.transport() as second:
        other = replace(desk, transport=second)
        done = await asyncio.gather(*(one.work() for one in (desk, other) * 3))

    assert sum(done) == len(desk.sink.received) == len({*desk.sink.ids}) == 30


async def _wait(sink: Sink, count: int) -> None:
    async def enough() -> bool:
        return len(sink.received) >= count

    await until(enough, within=10)


@asynccontextmanager
async def at_work(shop: Shop) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.run(shop.core))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_silent_endpoint_holds_up_no_other(desk: Desk) -> None:
    let_go = asyncio.Event()

    async def holds(writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with open_sink() as other:
        endpoint, _ = await merchant_webhooks.create(desk.shop.core, OPERATOR, other.url, ["*"])
        other.says(holds)
        for _ in range(40):
            await merchant_webhooks.send_test(desk.shop.core, OPERATOR, endpoint.id)
            await desk.tested()

        async with at_work(desk.shop):
            await _wait(desk.sink, 40)
            await _wait(other, PLACES)
            held = other.most_at_once
            let_go.set()
            await _wait(other, 40)

    assert held == PLACES
    assert len({*desk.sink.ids}) == len(desk.sink.received) == 40
    assert len({*other.ids}) == len(other.received) == 40


async def test_an_endpoint_in_trouble_gets_fewer_places(desk: Desk) -> None:
    for _ in range(20):
        await desk.tested()
    well = await outbox.waiting(desk.shop.core)
    await desk.shop.run("UPDATE webhook_endpoint SET failures = 1, failing_since = now()")

    in_trouble = await outbox.waiting(desk.shop.core)

    assert (well, in_trouble) == ({desk.endpoint.id: 8}, {desk.endpoint.id: 2})


async def test_tries_under_way_are_finished_when_a_worker_stops(desk: Desk) -> None:
    let_go = asyncio.Event()

    async def holds(writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    desk.sink.says(holds)
    first, _second = await desk.tested(), await desk.tested()
    await desk.shop.run(
        "UPDATE webhook_delivery SET next_try_at = 'infinity' WHERE id <> $1", first.id
    )

    async with at_work(desk.shop):
        await _wait(desk.sink, 1)
    let_go.set()

    async def settled() -> bool:
        return (await desk.again(first)).status is DeliveryStatus.DELIVERED

    await until(settled)
    assert len(desk.sink.received) == 1


# ── the secret changes ───────────────────────────────────────────────────────────────────────────


async def test_while_a_secret_changes_both_sign_and_afterwards_the_new_one_alone(
    desk: Desk,
) -> None:
    core = desk.shop.core
    endpoint, new = await merchant_webhooks.rotate(core, OPERATOR, desk.endpoint.id, 24)
    await desk.tested()
    await desk.work()
    await desk.shop.run("UPDATE webhook_endpoint SET previous_until = now()")
    await desk.tested()
    await desk.work()

    during, after = desk.sink.received
    assert endpoint.old_secret_until is not None
    assert len(during.headers["webhook-signature"].split(" ")) == 2
    during.verified(desk.secret)
    during.verified(new)
    assert len(after.headers["webhook-signature"].split(" ")) == 1
    after.verified(new)
    with pytest.raises(WebhookVerificationError):
        after.verified(desk.secret)


async def test_without_overlap_the_old_secret_is_gone_at_once(desk: Desk) -> None:
    endpoint, new = await merchant_webhooks.rotate(
        desk.shop.core, OPERATOR, desk.endpoint.id, overlap_hours=0
    )
    await desk.tested()
    await desk.work()

    assert endpoint.old_secret_until is None
    assert await desk.shop.value("SELECT previous_secret FROM webhook_endpoint") is None
    desk.sink.received[0].verified(new)
    with pytest.raises(WebhookVerificationError):
        desk.sink.received[0].verified(desk.secret)


async def test_with_a_wrong_key_for_an_endpoint_the_process_does_not_start(
    tmp_path: Path, url: str
) -> None:
    old, new = (f"k{n}:{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
    async with open_shop(tmp_path, url, secret_keys=old, loopback_webhooks=True) as shop:
        address = "http://127.0.0.1:9/hooks"
        endpoint, _ = await merchant_webhooks.create(shop.core, OPERATOR, address, ["*"])
        await shop.run("DELETE FROM gateway_health")
        await shop.run("DELETE FROM gateway_account")

    for keys in (new, f"k1:{new.partition(':')[2]}"):
        with pytest.raises(CannotStart, match=rf"(?s)webhook_endpoint:{endpoint.id}.*'k1'"):
            async with open_core(Settings(home=tmp_path, secret_keys=keys), url):
                pass

    async with open_core(Settings(home=tmp_path, secret_keys=f"{new},{old}"), url):
        await merchant_webhooks.delete(OPERATOR, endpoint.id)
    # What will never sign again stops nobody.
    async with open_core(Settings(home=tmp_path, secret_keys=new), url):
        pass


async def test_new_keys_seal_the_secrets_of_endpoints_too(desk: Desk) -> None:
    core = desk.shop.core
    await merchant_webhooks.rotate(core, OPERATOR, desk.endpoint.id, 24)
    core.keyring = Keyring({"k2": b"n" * 32, **core.keyring.keys})
    core.gateways.keyring = core.keyring

    done = await rotation.rotate(core, OPERATOR)
    again = await rotation.rotate(core, OPERATOR)
    core.keyring = Keyring({"k2": b"n" * 32})
    await desk.tested()
    await desk.work()

    assert (done.webhook_endpoints, again.webhook_endpoints) == (1, 0)
    desk.sink.received[0].verified(desk.secret)


async def test_old_tries_are_forgotten_and_what_was_told_is_not(desk: Desk) -> None:
    old, new = await desk.tested(), await desk.tested()
    await desk.work()
    age = "UPDATE webhook_try SET tried_at = $2::timestamptz - $3::interval WHERE delivery_id = $1"
    now, day = desk.shop.core.clock(), timedelta(days=1)
    await desk.shop.run(age, old.id, now, 91 * day)
    await desk.shop.run(age, new.id, now, 89 * day)

    assert await outbox.forget(desk.shop.core) == 1
    assert await outbox.forget(desk.shop.core) == 0

    assert await desk.log(old) == []
    assert len(await desk.log(new)) == 1
    assert (await desk.again(old)).status is DeliveryStatus.DELIVERED


# ── again ────────────────────────────────────────────────────────────────────────────────────────


async def _give_up(desk: Desk, count: int) -> list[Delivery]:
    desk.sink.says(500)
    for _ in range(count):
        await desk.tested()
    await desk.shop.run("UPDATE webhook_delivery SET step = 9")
    await desk.work_now()
    desk.sink.says(200)
    desk.sink.received.clear()
    return await desk.deliveries(status=DeliveryStatus.FAILED)


async def test_a_delivery_is_sent_anew_with_its_id_and_its_body(desk: Desk) -> None:
    [failed] = await _give_up(desk, 1)

    again = await merchant_webhooks.redeliver(desk.shop.core, OPERATOR, failed.id)
    await desk.work()
    twice = await merchant_webhooks.redeliver(desk.shop.core, OPERATOR, failed.id)
    await desk.work()

    assert (again.status, twice.status) == (DeliveryStatus.PENDING, DeliveryStatus.PENDING)
    assert desk.sink.ids == [failed.message_id] * 2
    assert {one.body for one in desk.sink.received} == {failed.body}
    assert (await desk.again(failed)).tries == 3


async def test_what_failed_since_a_moment_is_sent_anew(desk: Desk) -> None:
    core = desk.shop.core
    failed = await _give_up(desk, 3)
    long_ago = failed[0]
    await desk.shop.run(
        "UPDATE webhook_delivery SET created_at = now() - interval '2 days' WHERE id = $1",
        long_ago.id,
    )

    since = datetime.now(UTC) - timedelta(days=1)
    count = await merchant_webhooks.redeliver_failed(core, OPERATOR, desk.endpoint.id, since)
    await desk.work()

    assert count == 2
    assert {*desk.sink.ids} == {one.message_id for one in failed} - {long_ago.message_id}


async def test_a_deleted_endpoint_is_sent_nothing_and_its_history_stays(desk: Desk) -> None:
    core = desk.shop.core
    [failed] = await _give_up(desk, 1)
    waits = await desk.tested()

    await merchant_webhooks.delete(OPERATOR, desk.endpoint.id)
    await desk.happen()
    sent = await desk.work_now()

    assert (sent, desk.sink.received) == (0, [])
    assert await merchant_webhooks.endpoints(OPERATOR) == []
    assert (await desk.again(waits)).status is DeliveryStatus.CANCELLED
    assert (await desk.again(failed)).status is DeliveryStatus.FAILED
    for call in (
        merchant_webhooks.redeliver(core, OPERATOR, failed.id),
        merchant_webhooks.update(core, OPERATOR, desk.endpoint.id, enabled=True),
        merchant_webhooks.rotate(core, OPERATOR, desk.endpoint.id),
        merchant_webhooks.delete(OPERATOR, desk.endpoint.id),
    ):
        with pytest.raises(NotFound):
            await call


async def test_nothing_is_sent_anew_to_who_is_switched_off(desk: Desk) -> None:
    core = desk.shop.core
    [failed] = await _give_up(desk, 1)
    await merchant_webhooks.update(core, OPERATOR, desk.endpoint.id, enabled=False)

    for call in (
        merchant_webhooks.redeliver(core, OPERATOR, failed.id),
        merchant_webhooks.redeliver_failed(core, OPERATOR, desk.endpoint.id, failed.created_at),
        merchant_webhooks.send_test(core, OPERATOR, desk.endpoint.id),
    ):
        with pytest.raises(IllegalState, match="Somebody switched it off"):
            await call


async def test_deliveries_are_listed_page_by_page(desk: Desk) -> None:
    for _ in range(5):
        await desk.tested()
    wanted = [one.id for one in await desk.deliveries()]

    seen, after = [], None
    while True:
        page = await merchant_webhooks.deliveries(OPERATOR, desk.endpoint.id, first=2, after=after)
        seen += [one.id for one in page.items]
        if not page.has_next:
            break
        after = page.cursors[-1]

    assert seen == wanted
    assert await desk.deliveries(status=DeliveryStatus.FAILED) == []
    with pytest.raises(Invalid):
        await desk.deliveries(after="nonsense")


# ── where it may go ──────────────────────────────────────────────────────────────────────────────


async def test_s37_without_leave_this_machine_is_no_endpoint(shop: Shop) -> None:
    for address in ("http://127.0.0.1:9/", "https://127.0.0.1/", "https://localhost/"):
        with pytest.raises(Invalid) as refused:
            await merchant_webhooks.create(shop.core, OPERATOR, address, ["*"])
        assert refused.value.field == ("url",)

    assert await shop.value("SELECT count(*) FROM webhook_endpoint") == 0


async def test_s37_an_address_is_looked_at_before_every_delivery(near: Shop) -> None:
    answers = [["203.0.114.7"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async with open_sink() as sink:
        ports = frozenset({sink.port})
        near.core.egress = replace(near.core.egress, loopback=False, ports=ports, resolve=rebinding)
        url = f"https://rebinding.example:{sink.port}/"
        endpoint, secret = await merchant_webhooks.create(near.core, OPERATOR, url, ["*"])
        async with near.core.egress.transport() as transport:
            desk = Desk(near, sink, endpoint, secret, transport)
            delivery = await desk.tested()
            await desk.work_now()

    ended = await desk.again(delivery)
    assert sink.received == []
    assert "does not lead to public addresses alone" in (ended.error or "")
    assert "127.0.0.1" not in (ended.error or "")


async def test_s39_an_own_authority_is_trusted_and_a_stranger_is_not(
    near: Shop, tmp_path: Path
) -> None:
    authority = Authority.new(tmp_path)
    async with open_sink(authority.server("127.0.0.1", tmp_path)) as sink:
        endpoint, secret = await merchant_webhooks.create(near.core, OPERATOR, sink.url, ["*"])
        known = replace(near.core.egress, ca_bundle=authority.bundle)
        async with near.core.egress.transport() as strict, known.transport() as trusting:
            desk = Desk(near, sink, endpoint, secret, strict)
            delivery = await desk.tested()
            await desk.work()
            refused = await desk.again(delivery)
            before = len(sink.received)
            desk.transport = trusting
            await desk.work_now()

    assert before == 0
    assert "CERTIFICATE_VERIFY_FAILED" in (refused.error or "")
    sink.received[0].verified(secret)


# ── who may, and what is refused ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "events", [[], ["payment.suceeded"], ["payments.*"], ["webhook.test"], ["*"] * 51, [""]]
)
async def test_an_event_that_does_not_exist_is_refused(near: Shop, events: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        await merchant_webhooks.create(near.core, OPERATOR, "http://127.0.0.1:9/", events)

    assert refused.value.field == ("events",)


async def test_there_is_an_end_to_endpoints(near: Shop) -> None:
    for _ in range(merchant_webhooks.MAX_ENDPOINTS):
        await merchant_webhooks.create(near.core, OPERATOR, "http://127.0.0.1:9/", ["*"])

    with pytest.raises(Invalid, match="16 endpoints"):
        await merchant_webhooks.create(near.core, OPERATOR, "http://127.0.0.1:9/", ["*"])


async def test_endpoints_are_for_admins_who_confirmed_who_they_are(near: Shop) -> None:
    writer = Actor(kind="api_key", name="till", scopes=frozenset({Scope.PAYMENTS_WRITE}))
    operator = Actor(kind="staff", name="o@example.rw", role=Role.OPERATOR, staff_id=uuid4())
    admin = replace(operator, role=Role.ADMIN)

    async def create(actor: Actor) -> None:
        await merchant_webhooks.create(near.core, actor, "http://127.0.0.1:9/", ["*"])

    for actor in (writer, operator):
        with pytest.raises(Forbidden):
            await create(actor)
    with pytest.raises(ConfirmationNeeded):
        await create(admin)
    assert await merchant_webhooks.endpoints(operator) == []
    with pytest.raises(Forbidden):
        await merchant_webhooks.endpoints(writer)


async def test_every_change_is_in_the_audit_log_without_the_secret(desk: Desk) -> None:
    core, id_ = desk.shop.core, desk.endpoint.id
    url = desk.sink.url + "?token=canary-in-the-address"
    await merchant_webhooks.update(core, OPERATOR, id_, url=url, events=["payment.*"])
    _, new = await merchant_webhooks.rotate(core, OPERATOR, id_)
    [failed] = await _give_up(desk, 1)
    await merchant_webhooks.redeliver(core, OPERATOR, failed.id)
    await merchant_webhooks.delete(OPERATOR, id_)

    entries = await desk.shop.rows(
        "SELECT * FROM audit_entry WHERE object = $1 ORDER BY id", f"webhook_endpoint:{id_}"
    )
    assert [row["action"] for row in entries] == [
        "webhook_endpoint.created",
        "webhook_endpoint.updated",
        "webhook_endpoint.secret_rotated",
        "webhook_endpoint.tested",
        "webhook_delivery.redelivered",
        "webhook_endpoint.deleted",
    ]
    for secret in (desk.secret, new, "canary-in-the-address"):
        assert secret not in str(entries)
