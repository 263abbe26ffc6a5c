"""A gateway that gives no answers is left alone by all processes, and looked at by reading."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from core.tests.conftest import Script, Shop, open_shop, settle, until

from dusangire import attempts, hookimpl, payments, probing, watch
from dusangire.access import OPERATOR
from dusangire.breaker import IN_A_ROW, Breaker
from dusangire.core import Core
from dusangire.errors import (
    AmountOutOfLimits,
    CallerError,
    CurrencyNotSupported,
    ErrorCode,
    Retryable,
)
from dusangire.gateway import Accepted, Attempt, Outcome, TestReport, Unknown
from dusangire.gateways import PATIENCE, Account, Gateways, Places
from dusangire.intake import MethodInput
from dusangire.testing import FakeGateway
from dusangire.testing.fake import APPROVES, STAYS_PENDING, Configured
from dusangire.testing.fake_provider import FakeProvider
from dusangire.testing.line import (
    NO_ANSWER,
    NONSENSE,
    REPLY_CUT,
    REQUEST_LOST,
    Carried,
    Line,
    Trouble,
    nobody_listens,
)

UNAVAILABLE = Trouble(name="503", spoil=lambda answer: replace(answer, status=503).but(b"{}"))
TOO_MANY = Trouble(name="429", spoil=lambda answer: replace(answer, status=429).but(b"{}"))
REFUSED = Trouble(
    name="credentials refused", spoil=lambda answer: replace(answer, status=401).but(b"{}")
)


class Provable(FakeGateway):
    """A fake whose configuration can be tried, as that of real providers can."""

    call_timeout: float = 60

    @hookimpl
    def describe_gateway(self) -> Any:
        described = FakeGateway.describe_gateway(self)
        return replace(described, call_timeout=self.call_timeout)

    @hookimpl
    async def test_gateway(self, gateway: Configured) -> TestReport:
        answer = await self.ask(gateway, "GET", "/payments/none")
        ok = answer.status_code == 404
        return TestReport(ok=ok, message=f"It answered {answer.status_code}.")


class Held:
    """A gateway that answers when it is let go."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, _attempt: Attempt) -> Outcome:
        self.started.set()
        await self.go.wait()
        return Accepted()


@dataclass
class Wired:
    """A shop, and a gateway whose provider is behind a line that can break."""

    shop: Shop
    line: Line
    provider: FakeProvider

    @property
    def core(self) -> Core:
        return self.shop.core

    async def account(self) -> Account:
        return await self.core.gateways.by_code("fake")

    async def pay(
        self, key: str | None = None, *, phone: str = STAYS_PENDING["phone"], wait_ms: int = 5_000
    ) -> payments.Done:
        return await self.shop.create(
            idempotency_key=key or self.shop.key(),
            method=MethodInput(gateway="fake", phone=phone),
            wait_ms=wait_ms,
        )

    async def refused(
        self, key: str | None = None, *, phone: str = STAYS_PENDING["phone"]
    ) -> CallerError:
        with pytest.raises(CallerError) as refused:
            await self.pay(key, phone=phone)
        return refused.value

    async def fails(self, trouble: Trouble = REPLY_CUT, times: int = IN_A_ROW) -> None:
        """Payments whose call gets no usable answer."""
        with self.line.broken(trouble):
            for _ in range(times):
                await self.pay()

    async def state(self) -> tuple[int, bool]:
        row = await self.shop.row("SELECT term, probe_at IS NOT NULL AS waits FROM gateway_health")
        return row["term"], row["waits"]

    async def look(self) -> int:
        """The next look, as if its time had come."""
        await self.shop.run("UPDATE gateway_health SET probe_at = now() WHERE probe_at > now()")
        await self.core.gateways.reload()
        started = await probing.probe_due(self.core)
        await settle()
        return started

    def sent(self) -> list[str]:
        """The requests that would move money."""
        return [
            one.request.target
            for one in self.line.carried
            if one.request.method == "POST" and one.request.target == "/payments"
        ]

    def asked(self) -> list[str]:
        return [one.request.target for one in self.line.carried if one.request.method == "GET"]

    async def told(self) -> list[dict[str, Any]]:
        return await self.shop.rows(
            "SELECT data->'health'->>'term' AS term, data->'health'->>'last_error' AS error "
            "FROM event WHERE type = 'gateway.health' ORDER BY id"
        )


@asynccontextmanager
async def open_wired(
    tmp_path: Path, url: str, fake: FakeGateway | None = None, **settings: Any
) -> AsyncIterator[Wired]:
    fake = fake or Provable()
    # Real time: what is due shall be so because a test says it.
    chosen = {"poll_scale": 1.0, "public_url": None, **settings}
    async with open_shop(tmp_path, url, plugins={"fake": fake}, **chosen) as shop:
        account = await shop.save_gateway("fake", "fake", base_url="http://127.0.0.1:9")
        assert account.gateway is not None
        provider = fake.new_provider(account.gateway)
        async with Line.to(provider.app) as line:
            account = await shop.save_gateway("fake", "fake", base_url=line.url)
            assert account.gateway is not None
            # The access token is there already, so that each test's trouble is that of payments.
            await fake.ask(account.gateway, "GET", "/payments/none")
            line.carried.clear()
            yield Wired(shop, line, provider)


@pytest.fixture
async def wired(tmp_path: Path, url: str) -> AsyncIterator[Wired]:
    async with open_wired(tmp_path, url) as wired:
        yield wired


@asynccontextmanager
async def another_process(core: Core) -> AsyncIterator[Core]:
    """What a second process has of its own; the database is the same."""
    gateways = Gateways(
        settings=core.settings, keyring=core.keyring, plugins=core.plugins, clock=core.clock
    )
    try:
        yield replace(core, gateways=gateways, work=asyncio.Event(), news=asyncio.Event())
    finally:
        await gateways.close()


# ── opening ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "trouble",
    [REPLY_CUT, REQUEST_LOST, UNAVAILABLE, TOO_MANY, NONSENSE["html"], NONSENSE["html_with_502"]],
    ids=str,
)
async def test_after_five_calls_without_an_answer_new_payments_are_refused(
    wired: Wired, trouble: Trouble
) -> None:
    await wired.fails(trouble)
    before = await wired.shop.counts()

    error = await wired.refused()

    assert error.code is ErrorCode.GATEWAY_UNAVAILABLE
    assert error.field == ("method", "gateway")
    assert "Choose another payment method, or try again in " in error.message
    assert await wired.shop.counts() == before
    assert len(wired.sent()) == IN_A_ROW


async def test_a_gateway_that_cannot_be_reached_is_left_alone(wired: Wired) -> None:
    with nobody_listens() as nowhere:
        await wired.shop.save_gateway("fake", "fake", base_url=nowhere)
        for _ in range(IN_A_ROW):
            await wired.pay()

        error = await wired.refused()

    assert error.code is ErrorCode.GATEWAY_UNAVAILABLE


async def test_a_gateway_that_does_not_answer_in_time_is_left_alone(
    tmp_path: Path, url: str
) -> None:
    fake = Provable()
    fake.call_timeout = 0.4
    async with open_wired(tmp_path, url, fake) as wired:
        await wired.fails(NO_ANSWER)

        error = await wired.refused()

    assert error.code is ErrorCode.GATEWAY_UNAVAILABLE


async def test_f15_refused_credentials_open_it_and_fail_no_payment_that_was_taken(
    wired: Wired,
) -> None:
    taken = [await wired.pay() for _ in range(IN_A_ROW)]
    with wired.line.broken(REFUSED):
        await wired.shop.due()
        await wired.shop.work()

    assert await wired.state() == (1, True)
    for done in taken:
        assert (await wired.shop.payment(done.payment.id))["status"] == "PENDING"


async def test_declines_and_unknown_references_never_open_it(wired: Wired) -> None:
    for _ in range(2 * IN_A_ROW):
        await wired.pay(phone="+250780000102")
    wired.provider.simulation.transactions.clear()
    await wired.shop.due()
    while await wired.shop.work():
        pass

    assert (await wired.account()).watch.breaker.calls
    assert await wired.shop.value("SELECT count(*) FROM gateway_health") == 0
    assert (await wired.pay()).payment.status == "PENDING"


async def test_a_plugin_that_makes_no_network_calls_is_never_cut_off(shop: Shop) -> None:
    shop.script.says("initiate", Unknown(cause="who knows"), RuntimeError("a bug"), SystemExit(1))

    for _ in range(3 * IN_A_ROW):
        await shop.create()

    assert not (await shop.account()).watch.is_open
    assert shop.script.called("initiate") == [
        row["reference"]
        for row in await shop.rows("SELECT reference FROM payment_attempt ORDER BY created_at")
    ]


async def test_a_key_that_was_used_is_answered_while_it_is_open(wired: Wired) -> None:
    first = await wired.pay("the key")
    await wired.fails()

    again = await wired.pay("the key")

    assert (again.replayed, again.payment.id) == (True, first.payment.id)


async def test_a_refused_key_may_come_back_with_another_method(wired: Wired) -> None:
    await wired.fails()
    await wired.refused("the key")

    done = await wired.shop.create(idempotency_key="the key", method=MethodInput(gateway="cash"))

    assert (done.replayed, done.payment.status) == (False, "PENDING")


async def test_another_try_at_it_is_refused_and_at_another_one_is_not(wired: Wired) -> None:
    declined = await wired.pay(phone="+250780000102")
    await wired.shop.work_now()
    await wired.fails()

    with pytest.raises(CallerError) as refused:
        await wired.shop.try_again(
            declined.payment.id, method=MethodInput(gateway="fake", **APPROVES)
        )
    other = await wired.shop.try_again(declined.payment.id, method=MethodInput(gateway="cash"))

    assert refused.value.code is ErrorCode.GATEWAY_UNAVAILABLE
    assert other.payment.status == "PENDING"


async def test_what_can_never_be_accepted_is_said_first(wired: Wired) -> None:
    await wired.fails()

    assert (await wired.refused(phone="12")).code is ErrorCode.INVALID_PHONE


async def test_limits_and_currencies_are_checked_before_anything_is_sent(wired: Wired) -> None:
    account = await wired.account()
    await wired.shop.save_gateway(
        "fake", "fake", base_url=account.shown_config["base_url"], min_amount=100, max_amount=1000
    )
    method = MethodInput(gateway="fake", **APPROVES)

    for amount, currency, error in (
        ("99", "RWF", AmountOutOfLimits),
        ("1001", "RWF", AmountOutOfLimits),
        ("500", "USD", CurrencyNotSupported),
    ):
        with pytest.raises(error):
            await wired.shop.create(amount=amount, currency=currency, method=method)

    assert wired.line.carried == []
    assert await wired.shop.value("SELECT count(*) FROM payment") == 0


# ── what exists already ──────────────────────────────────────────────────────────────────────────


async def test_f17_no_attempt_that_exists_is_failed_or_sent_while_it_is_open(wired: Wired) -> None:
    taken = await wired.pay()
    await wired.fails()
    sent = len(wired.sent())
    await wired.shop.due()

    await payments.check_payment(wired.core, OPERATOR, taken.payment.id)
    with wired.line.broken(UNAVAILABLE):
        await wired.look()

    statuses = await wired.shop.rows("SELECT DISTINCT status FROM payment")
    assert [row["status"] for row in statuses] == ["PENDING"]
    assert len(wired.sent()) == sent


async def test_what_never_left_is_held_back_and_sent_once_it_answers_again(wired: Wired) -> None:
    with nobody_listens() as nowhere:
        await wired.shop.save_gateway("fake", "fake", base_url=nowhere)
        waiting = [await wired.pay() for _ in range(IN_A_ROW)]
    await wired.shop.save_gateway("fake", "fake", base_url=wired.line.url)
    await wired.shop.due()
    account = await wired.account()

    works = await attempts.take_due(wired.core, 100, {account.id: 16}, {account.id})
    for work in works:
        await attempts.proceed(wired.core, account, work)
    held = [await wired.shop.attempt(done.payment.id) for done in waiting]

    assert len(works) == IN_A_ROW
    assert wired.line.carried == []
    assert all(one["status"] == "SUBMITTING" and one["resend"] for one in held)

    await wired.look()
    await wired.shop.work_now()

    sent = [await wired.shop.attempt(done.payment.id) for done in waiting]
    assert all(one["status"] == "PENDING" for one in sent)
    assert sorted(wired.provider.simulation.transactions) == sorted(r["reference"] for r in held)


async def test_what_was_written_as_it_opened_is_held_back(wired: Wired) -> None:
    account = await wired.account()

    done = await wired.pay(wait_ms=0)  # its call is a task that has not begun
    account.watch.breaker = Breaker(1)
    await settle()

    attempt = await wired.shop.attempt(done.payment.id)
    assert (attempt["status"], attempt["resend"]) == ("SUBMITTING", True)
    assert wired.line.carried == []


async def test_what_is_held_back_waits_for_no_place(wired: Wired) -> None:
    account = await wired.account()
    first = await wired.pay(wait_ms=0)
    account.watch.breaker = Breaker(1)
    for _ in range(account.places.limit):
        await account.places.semaphore.acquire()

    await settle()
    [work] = await _due_now(wired)
    async with asyncio.timeout(5):
        await attempts.proceed(wired.core, account, work)

    assert (await wired.shop.attempt(first.payment.id))["checks"] == 2
    assert wired.line.carried == []


async def _due_now(wired: Wired) -> list[attempts.Work]:
    await wired.shop.due()
    account = await wired.account()
    return await attempts.take_due(wired.core, 100, {account.id: 16}, {account.id})


async def test_what_waited_for_a_place_as_it_opened_is_held_back(wired: Wired) -> None:
    account = await wired.account()
    for _ in range(account.places.limit):
        await account.places.semaphore.acquire()
    done = await wired.pay(wait_ms=0)
    await asyncio.sleep(0)  # its task begins, and waits

    account.watch.breaker = Breaker(1)
    account.places.semaphore.release()
    await settle()

    assert (await wired.shop.attempt(done.payment.id))["resend"] is True
    assert wired.line.carried == []


async def test_what_waits_to_be_sent_is_no_way_to_look(wired: Wired) -> None:
    account = await wired.account()
    await wired.pay(wait_ms=0)
    account.watch.breaker = Breaker(1)
    await settle()
    await wired.shop.due()

    assert await attempts.take_to_probe(wired.core, account.id, due=True) is None
    assert await attempts.take_to_probe(wired.core, account.id, due=False) is None


async def test_f18_due_questions_wait_until_it_is_answered(wired: Wired) -> None:
    for _ in range(3):
        await wired.pay()
    await wired.fails()
    await wired.shop.due()
    account = await wired.account()

    taken = await attempts.take_due(wired.core, 100, {account.id: 16}, {account.id})

    assert taken == []


async def test_f18_after_an_outage_the_oldest_questions_come_first_and_few_at_a_time(
    wired: Wired,
) -> None:
    paid = [await wired.pay() for _ in range(8)]
    await wired.fails()
    await wired.look()
    for minutes, done in enumerate(reversed(paid)):
        await wired.shop.run(
            "UPDATE payment_attempt SET next_check_at = now() - make_interval(mins => $2) "
            "WHERE payment_id = $1",
            done.payment.id,
            minutes + 1,
        )
    account = await wired.account()

    share = account.watch.share_of(account.places.limit, 1.0)
    works = await attempts.take_due(wired.core, 100, {account.id: share})

    assert share == 1
    assert [work.payment_id for work in works] == [paid[0].payment.id]


# ── looking ──────────────────────────────────────────────────────────────────────────────────────


async def test_it_looks_by_asking_about_what_is_due_and_never_by_a_charge(wired: Wired) -> None:
    taken = await wired.pay()
    await wired.fails()
    sent, reference = len(wired.sent()), (await wired.shop.attempt(taken.payment.id))["reference"]
    await wired.shop.run(
        "UPDATE payment_attempt SET next_check_at = now() - interval '1 s' WHERE reference = $1",
        reference,
    )

    assert await wired.look() == 1

    assert wired.asked() == [f"/payments/{reference}"]
    assert len(wired.sent()) == sent
    assert await wired.state() == (2, False)
    assert (await wired.pay()).payment.status == "PENDING"


async def test_with_nothing_due_it_tries_the_configuration(wired: Wired) -> None:
    await wired.fails()
    await wired.shop.run("UPDATE payment_attempt SET next_check_at = NULL")
    sent = len(wired.sent())

    await wired.look()

    assert wired.asked() == ["/payments/none"]
    assert (len(wired.sent()), await wired.state()) == (sent, (2, False))


async def test_a_plugin_without_a_test_is_asked_about_the_latest_attempt(
    tmp_path: Path, url: str
) -> None:
    async with open_wired(tmp_path, url, FakeGateway()) as wired:
        await wired.fails()
        await wired.shop.run("UPDATE payment_attempt SET next_check_at = NULL")
        latest = await wired.shop.value(
            "SELECT reference FROM payment_attempt ORDER BY created_at DESC LIMIT 1"
        )
        sent = len(wired.sent())

        await wired.look()

        assert wired.asked() == [f"/payments/{latest}"]
        assert (len(wired.sent()), await wired.state()) == (sent, (2, False))


@pytest.mark.parametrize("trouble", [REPLY_CUT, UNAVAILABLE, REFUSED], ids=str)
async def test_a_look_without_an_answer_leaves_it_open_and_the_next_comes_later(
    wired: Wired, trouble: Trouble
) -> None:
    await wired.fails()
    await wired.shop.due()
    waits = []
    with wired.line.broken(trouble):
        for _ in range(6):
            await wired.look()
            waits.append(
                await wired.shop.value(
                    "SELECT extract(epoch FROM probe_at - now())::float8 FROM gateway_health"
                )
            )

    assert await wired.state() == (1, True)
    for wait, expected in zip(waits, [10, 20, 40, 60, 60, 60], strict=True):
        assert 0.8 * expected < wait <= 1.1 * expected
    assert (await wired.refused()).code is ErrorCode.GATEWAY_UNAVAILABLE


async def test_one_attempt_that_is_never_answered_does_not_keep_it_open(wired: Wired) -> None:
    poisoned = await wired.pay()
    reference = (await wired.shop.attempt(poisoned.payment.id))["reference"]
    await wired.fails()
    await wired.shop.run("UPDATE payment_attempt SET next_check_at = NULL")
    await wired.shop.run(
        "UPDATE payment_attempt SET next_check_at = now() WHERE reference = $1", reference
    )

    async def about_it(carried: Carried) -> bool:
        return reference in carried.request.target

    with wired.line.broken(UNAVAILABLE, about_it):
        await wired.look()
        still_open = await wired.state()
        await wired.look()

    assert still_open == (1, True)
    assert await wired.state() == (2, False)


async def test_a_gateway_whose_settings_were_repaired_is_looked_at_at_once(wired: Wired) -> None:
    await wired.fails()
    assert await probing.probe_due(wired.core) == 0

    await wired.shop.save_gateway("fake", "fake", base_url=wired.line.url, api_key="fake-api-key")

    assert await probing.probe_due(wired.core) == 1
    await settle()
    assert await wired.state() == (2, False)


async def test_only_one_process_looks_at_a_time(wired: Wired) -> None:
    await wired.fails()
    await wired.shop.run("UPDATE gateway_health SET probe_at = now()")
    async with another_process(wired.core) as other:
        await asyncio.gather(wired.core.gateways.reload(), other.gateways.reload())

        started = await asyncio.gather(
            *(probing.probe_due(core) for core in (wired.core, other) * 5)
        )
        await settle()

    assert sum(started) == 1


async def test_a_process_that_dies_while_it_looks_leaves_the_turn_to_another(
    wired: Wired,
) -> None:
    await wired.fails()
    await wired.shop.run("UPDATE gateway_health SET probe_at = now()")
    account = await wired.account()
    assert await watch.claim_probe(account) == 0
    assert await watch.claim_probe(account) is None

    await wired.shop.run("UPDATE gateway_health SET probe_at = now()")

    assert await watch.claim_probe(account) == 0


# ── several processes ────────────────────────────────────────────────────────────────────────────


async def test_what_one_process_finds_out_all_of_them_know(wired: Wired) -> None:
    async with another_process(wired.core) as other:
        account = await other.gateways.by_code("fake")
        await wired.fails()
        assert not account.watch.is_open

        await other.gateways.reload()
        while_open = account.watch.is_open
        await wired.look()
        await other.gateways.reload()

    assert while_open
    assert not account.watch.is_open


async def test_two_that_see_it_at_once_open_it_once(wired: Wired) -> None:
    async with another_process(wired.core) as other:
        second = replace(wired, shop=replace(wired.shop, core=other, keys=1000))
        await asyncio.gather(other.gateways.reload(), wired.fails(times=IN_A_ROW - 1))
        with wired.line.broken(REPLY_CUT):
            for _ in range(IN_A_ROW - 1):
                await second.pay()
            await asyncio.gather(wired.pay(), second.pay())

        states = [(await one.account()).watch.breaker.term for one in (wired, second)]

    assert states == [1, 1]
    assert [event["term"] for event in await wired.told()] == ["1"]


async def test_timeouts_that_come_after_it_closed_do_not_open_it_again(wired: Wired) -> None:
    account = await wired.account()
    late = asyncio.Event()

    async def hangs(_carried: Carried) -> bool:
        await late.wait()
        return True

    with wired.line.broken(REPLY_CUT, hangs):
        slow = [asyncio.create_task(wired.pay()) for _ in range(IN_A_ROW)]

        async def all_sent() -> bool:
            return len(wired.sent()) == IN_A_ROW

        await until(all_sent)
        await wired.shop.run(
            "INSERT INTO gateway_health (gateway_id, term) SELECT id, 2 FROM gateway_account "
            "WHERE code = 'fake'"
        )
        await wired.core.gateways.reload()
        late.set()
        await asyncio.gather(*slow)

    assert account.watch.breaker.term == 2
    assert account.watch.breaker.calls == ()


# ── telling ──────────────────────────────────────────────────────────────────────────────────────


async def test_opening_and_closing_are_events_and_the_error_is_kept(wired: Wired) -> None:
    await wired.fails()
    await wired.look()

    opened, closed = await wired.told()

    assert (opened["term"], closed["term"]) == ("1", "2")
    assert opened["error"] == closed["error"]
    assert "RemoteProtocolError" in opened["error"] or "ReadError" in opened["error"]


async def test_while_all_is_well_nothing_is_written(wired: Wired) -> None:
    for _ in range(3):
        await wired.pay()
    await wired.shop.work_now()

    assert await wired.shop.value("SELECT count(*) FROM gateway_health") == 0
    assert await wired.shop.value("SELECT count(*) FROM unmapped_code") == 0


async def test_a_lost_health_row_never_costs_the_answer(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any) -> Any:
        raise Retryable

    monkeypatch.setattr(watch, "fetch", lost)
    await wired.fails()

    assert await wired.shop.value("SELECT count(*) FROM payment WHERE status = 'PENDING'") == 5
    monkeypatch.undo()
    await wired.fails(times=1)
    assert await wired.state() == (1, True)


# ── a gateway that hangs ─────────────────────────────────────────────────────────────────────────


async def test_other_gateways_payments_finish_while_one_hangs(tmp_path: Path, url: str) -> None:
    hanging = Script(concurrency=2)
    hanging.says("initiate", held := Held())
    async with open_shop(tmp_path, url, plugins={"hanging": hanging}, connections=4) as shop:
        await shop.save_gateway("hanging", "hanging")
        stuck = MethodInput(gateway="hanging", phone="+250788123456")
        for _ in range(50):
            await shop.create(method=stuck, wait_ms=0)
        await held.started.wait()

        finished = await asyncio.gather(*(shop.create() for _ in range(20)))
        taken = (await shop.account("hanging")).places.taken

        assert {done.payment.status for done in finished} == {"PENDING"}
        assert len(taken) == 2
        assert len(hanging.called("initiate")) == 2
        held.go.set()


async def test_who_would_wait_for_longer_than_makes_sense_is_refused(
    tmp_path: Path, url: str
) -> None:
    async with open_shop(tmp_path, url, script=Script(concurrency=2)) as shop:
        shop.script.says("initiate", held := Held())
        for _ in range(3):
            await shop.create(wait_ms=0)
        await held.started.wait()
        places = (await shop.account()).places
        before = await shop.counts()
        for task in places.taken:
            places.taken[task] -= 2 * PATIENCE

        with pytest.raises(CallerError) as refused:
            await shop.create()
        after = await shop.counts()
        held.go.set()
        await settle()

        assert refused.value.code is ErrorCode.GATEWAY_UNAVAILABLE
        assert "very slow" in refused.value.message
        assert after == before
        assert (await shop.create()).payment.status == "PENDING"


async def test_one_slow_call_among_quick_ones_crowds_nothing() -> None:
    places = Places(16, asyncio.Semaphore(16))
    async with places:
        places.taken[asyncio.current_task()] -= 30

        assert not places.crowded


async def test_the_longest_queue_is_bounded_however_quick_the_gateway_is() -> None:
    places = Places(1, asyncio.Semaphore(1))
    async with places:
        places.waiting = 500

        assert places.crowded
