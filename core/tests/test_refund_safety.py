"""However refunds race, get lost or are cut short: no more goes back than came, and none twice."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from core.tests.conftest import ScriptConfig
from core.tests.refunding import Refunder, RefundShop, given_back, open_refund_shop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dusangire import hookimpl, refund_work
from dusangire.access import Actor
from dusangire.core import Core
from dusangire.database import fetch
from dusangire.errors import CallerError, IllegalState, RefundExceedsCaptured
from dusangire.gateway import (
    Failed,
    FailureCode,
    Gateway,
    GatewayDescription,
    NotSent,
    Outcome,
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.permissions import Role
from dusangire.records import RefundRequest, RefundStatus
from dusangire.refund_lifecycle import REFUND_MOVES, RESERVING, RefundChange
from dusangire.refund_work import RefundWork
from dusangire.testing.database import fresh_database


@pytest.fixture
async def shop(tmp_path: Path, url: str) -> AsyncIterator[RefundShop]:
    async with open_refund_shop(tmp_path, url) as shop:
        yield shop


# ── racing ───────────────────────────────────────────────────────────────────────────────────────


async def test_of_eight_refunds_of_sixty_per_cent_at_once_exactly_one_is_held_back(
    shop: RefundShop,
) -> None:
    payments = [await shop.pay() for _ in range(200)]
    asker = await shop.hire(Role.OPERATOR)
    sampler = asyncio.create_task(_sample(shop.url))

    async def ask(payment_id: UUID) -> bool:
        try:
            await shop.ask_back(payment_id, asker, amount="3000")
        except RefundExceedsCaptured:
            return False
        return True

    async def race(payment_id: UUID) -> int:
        return sum(await asyncio.gather(*(ask(payment_id) for _ in range(8))))

    won: list[int] = []
    for start in range(0, len(payments), 10):
        won += await asyncio.gather(*map(race, payments[start : start + 10]))
    sampler.cancel()
    with suppress(asyncio.CancelledError):
        await sampler

    assert won == [1] * 200
    held = await shop.rows(
        "SELECT reserved, refunded, (SELECT sum(amount) FROM refund WHERE payment_id = p.id)::int "
        "AS asked FROM payment p"
    )
    assert [tuple(row.values()) for row in held] == [(3000, 0, 3000)] * 200


async def _sample(url: str) -> None:
    """Looks all the time, from outside, whether more is held back than came."""
    connection = await asyncpg.connect(url)
    looks = 0
    try:
        while True:
            wrong = await connection.fetch(
                "SELECT p.id FROM payment p WHERE refunded + reserved > captured OR captured < ("
                "SELECT coalesce(sum(amount), 0) FROM refund r WHERE r.payment_id = p.id "
                "AND status NOT IN ('FAILED', 'REJECTED', 'CANCELLED'))"
            )
            assert wrong == []
            looks += 1
    finally:
        assert looks > 10
        await connection.close()


async def test_eight_approvers_at_once_send_it_once(shop: RefundShop) -> None:
    payment_id = await shop.pay()
    asked = await shop.ask_back(payment_id, await shop.hire(Role.OPERATOR))
    approvers = [await shop.hire() for _ in range(8)]

    async def approve(actor: Actor) -> str:
        try:
            return str((await shop.approve(asked.refund, actor)).replayed)
        except CallerError as error:
            return error.code

    said = Counter(await asyncio.gather(*map(approve, approvers)))
    for _ in range(3):
        await shop.give_back()

    assert said == {"False": 1, "ILLEGAL_STATE": 7}
    assert shop.gateway.paid_out == [(await shop.refund_row(asked.refund.id))["gateway_reference"]]
    assert await shop.value("SELECT count(*) FROM refund_approval") == 1


async def test_eight_workers_at_once_send_it_once(shop: RefundShop) -> None:
    payment_id = await shop.pay()
    refund = await shop.approved(payment_id)

    for _ in range(5):
        await asyncio.gather(*(shop.give_back() for _ in range(8)))

    assert len(shop.gateway.paid_out) == 1
    assert (await shop.refund_row(refund.id))["status"] == "SUCCEEDED"


# ── lost answers ─────────────────────────────────────────────────────────────────────────────────


class WireConfig(ScriptConfig):
    base_url: str = "https://wire.example"


class Wire(Refunder):
    """A gateway over a wire, without keys for refunds and without a way to ask about them."""

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(name="Wire", config=WireConfig, repeatable_refunds=False)

    @hookimpl
    async def check_payment(self, gateway: Gateway[Any], attempt: Any) -> Outcome:
        await gateway.http.get("/payments")
        return Succeeded(amount=attempt.amount, reference=attempt.reference)

    @hookimpl
    async def refund_payment(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        try:
            await gateway.http.post("/refunds", json={"payment": refund.attempt.reference})
        except httpx.HTTPError as error:
            # The worst a plugin can say: that it may be sent again.
            return NotSent(cause=str(error))
        return given_back(refund)

    @hookimpl
    async def check_refund(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        return NotSent(cause="we do not know it")


@dataclass
class LossyProvider(httpx.AsyncBaseTransport):
    """Pays out whatever it is asked to, each time, and every answer about it is lost."""

    paid_out: Counter[bytes] = field(default_factory=Counter)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={}, request=request)
        self.paid_out[await request.aread()] += 1
        raise httpx.ReadTimeout("no answer", request=request)


async def test_a_hundred_refunds_whose_answers_are_lost_are_sent_once_each(
    tmp_path: Path, url: str
) -> None:
    provider = LossyProvider()
    async with open_refund_shop(tmp_path, url, plugins={"wire": Wire()}) as shop:
        shop.core.gateways.transport = provider
        payments = [await shop.pay() for _ in range(100)]
        for number in range(0, 100, 5):
            # A gateway that loses more than this in a row is left alone, and nothing is sent to it.
            wire = await shop.save_gateway(f"wire-{number}", "wire")
            await shop.run(
                "UPDATE payment_attempt SET gateway_id = $1 WHERE payment_id = ANY($2)",
                wire.id,
                payments[number : number + 5],
            )
        asker, approver = await shop.hire(Role.OPERATOR), await shop.hire()
        for payment_id in payments:
            await shop.approve((await shop.ask_back(payment_id, asker)).refund, approver)

        for _ in range(8):
            await shop.give_back()
            shop.clock.forward(days=1)

        assert set(provider.paid_out.values()) == {1}
        assert len(provider.paid_out) == 100
        rows = await shop.rows(
            "SELECT r.status, p.reserved, p.refunded, p.needs_attention FROM refund r "
            "JOIN payment p ON p.id = r.payment_id"
        )
        unknown = ("UNKNOWN", 5000, 0, '["REFUND_UNKNOWN"]')
        assert [tuple(row.values()) for row in rows] == [unknown] * 100


@pytest.mark.parametrize("repeatable", [False, True])
async def test_who_dies_between_the_sending_and_the_answer_leaves_it_in_doubt(
    tmp_path: Path, url: str, repeatable: bool
) -> None:
    gateway = Refunder(repeatable=repeatable)
    arrived = asyncio.Event()

    async def hangs(refund: Refund) -> Outcome:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    gateway.answers("refund", hangs)
    gateway.answers("check_of_refund", Unknown(cause="no answer"))
    async with open_refund_shop(tmp_path, url, gateway=gateway) as shop:
        payment_id = await shop.pay()
        refund = await shop.approved(payment_id)

        dying = asyncio.create_task(shop.give_back())
        await arrived.wait()
        sent = await shop.refund_row(refund.id)
        dying.cancel()
        with suppress(asyncio.CancelledError):
            await dying
        for _ in range(3):
            await shop.give_back()

        row, payment = await shop.refund_row(refund.id), await shop.payment(payment_id)
        assert sent["sent_at"] is not None
        assert sent["status"] == "PROCESSING"
        assert (row["status"], payment["reserved"]) == ("UNKNOWN", 5000)
        assert len(gateway.paid_out) == 1


async def test_a_late_answer_of_who_was_given_up_still_counts(shop: RefundShop) -> None:
    payment_id = await shop.pay()
    refund = await shop.approved(payment_id)
    answered, arrived = asyncio.Event(), asyncio.Event()

    async def slowly(refund: Refund) -> Outcome:
        arrived.set()
        await answered.wait()
        return given_back(refund)

    shop.gateway.refund.appendleft(slowly)
    shop.gateway.answers("check_of_refund", Unknown(cause="no answer"))

    slow = asyncio.create_task(shop.give_back())
    await arrived.wait()
    await shop.give_back()
    doubtful = (await shop.refund_row(refund.id))["status"]
    answered.set()
    await slow

    assert doubtful == "UNKNOWN"
    assert (await shop.refund_row(refund.id))["status"] == "SUCCEEDED"
    payment = await shop.payment(payment_id)
    assert (payment["reserved"], payment["refunded"]) == (0, 5000)
    assert payment["needs_attention"] == "[]"


async def test_nobody_settles_a_refund_while_it_is_sent_again(tmp_path: Path, url: str) -> None:
    gateway = Refunder(repeatable=True)
    async with open_refund_shop(tmp_path, url, gateway=gateway) as shop:
        payment_id = await shop.pay()
        refund, approver = await shop.approved(payment_id), await shop.hire()

        async def meanwhile(sent: Refund) -> Outcome:
            with pytest.raises(IllegalState, match="being sent"):
                await shop.settle(refund, approver, succeeded=False)
            with pytest.raises(RefundExceedsCaptured):
                await shop.ask_back(payment_id)
            return given_back(sent)

        gateway.answers("refund", Unknown(cause="lost"), meanwhile)
        gateway.answers("check_of_refund", NotSent(cause="not known"))
        for _ in range(6):
            await shop.give_back()
            shop.clock.forward(minutes=1)

        row, payment = await shop.refund_row(refund.id), await shop.payment(payment_id)
        assert (row["status"], row["sends"]) == ("SUCCEEDED", 2)
        assert (payment["reserved"], payment["refunded"]) == (0, 5000)


async def test_who_was_stopped_for_minutes_sends_nothing_any_more(
    shop: RefundShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    refund = await shop.approved(await shop.pay())
    write_ahead = refund_work._write_ahead

    async def stopped(core: Core, work: RefundWork) -> RefundWork | None:
        ready = await write_ahead(core, work)
        return ready and replace(ready, leased_until=time.monotonic())

    monkeypatch.setattr(refund_work, "_write_ahead", stopped)
    await shop.give_back()
    held = await shop.refund_row(refund.id)
    shop.gateway.answers("check_of_refund", Unknown(cause="no answer"))
    await shop.give_back()

    assert shop.gateway.paid_out == []
    assert (held["status"], held["sends"]) == ("PROCESSING", 1)
    assert (await shop.refund_row(refund.id))["status"] == "UNKNOWN"


async def test_who_was_overtaken_writes_nothing(shop: RefundShop) -> None:
    refund = await shop.approved(await shop.pay())
    stale = await refund_work.load(refund.id)
    assert stale is not None
    places = {(await shop.account()).id: 1}
    [taken] = await refund_work.take_due(shop.core, 1, places)

    change = RefundChange(note="failed", status=RefundStatus.FAILED, event="refund.failed")

    assert await refund_work.write(stale, change, refund_work.Deed()) is None
    assert await refund_work.write(taken, change, refund_work.Deed()) is not None


# ── any order of anything ────────────────────────────────────────────────────────────────────────

STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 2), st.integers(1, 6)),
    st.tuples(st.just("approve"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("approve"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("reject"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("cancel"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("settle"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("right"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("work"), st.integers(0, 5), st.integers(0, 1)),
    st.tuples(st.just("work"), st.integers(0, 5), st.integers(0, 1)),
    st.tuples(st.just("late"), st.integers(1, 30), st.just(0)),
)
ANSWERS = ("pays", "pays, lost", "refuses", "lost", "never left", "pays, dies")


@dataclass
class Story:
    """One payment of 10,000, three people, and whatever they do."""

    shop: RefundShop
    payment_id: UUID
    people: list[Actor]
    refunds: list[RefundRequest] = field(default_factory=list)
    truth: Counter[str] = field(default_factory=Counter)
    answer: str = "pays"
    worker: "asyncio.Task[int]" = field(init=False)

    async def play(self, step: tuple[str, int, int]) -> None:
        what, one, other = step
        with suppress(CallerError):
            await getattr(self, f"_{what}")(one, other)
        await self.check()

    async def _ask(self, who: int, thousands: int) -> None:
        done = await self.shop.ask_back(self.payment_id, self.people[who], amount=f"{thousands}000")
        self.refunds.append(done.refund)

    async def _approve(self, which: int, who: int) -> None:
        if self.refunds:
            await self.shop.approve(self._refund(which), self.people[who])

    async def _reject(self, which: int, who: int) -> None:
        if self.refunds:
            await self.shop.reject(self._refund(which), self.people[who])

    async def _cancel(self, which: int, who: int) -> None:
        if self.refunds:
            refund = self._refund(which)
            await self.shop.cancel(refund, self.people[who])

    async def _settle(self, which: int, who: int) -> None:
        """People look first, and say what is true."""
        if self.refunds:
            refund = self._refund(which)
            reference = (await self.shop.refund_row(refund.id))["gateway_reference"]
            went = self.truth[reference] > 0
            await self.shop.settle(refund, self.people[who], succeeded=went)

    async def _right(self, who: int, back: int) -> None:
        await self.shop.run(
            "UPDATE staff SET disabled_at = CASE WHEN $2 THEN NULL ELSE now() END WHERE id = $1",
            self.people[who].staff_id,
            bool(back),
        )

    async def _late(self, hours: int, _: int) -> None:
        self.shop.clock.forward(hours=hours)

    async def _work(self, answer: int, _: int) -> None:
        self.answer = ANSWERS[answer]
        self.shop.gateway.answers("refund", self._sent)
        self.shop.gateway.answers("check_of_refund", self._asked)
        self.worker = asyncio.create_task(self.shop.give_back())
        with suppress(asyncio.CancelledError):
            await self.worker

    async def _sent(self, refund: Refund) -> Outcome:
        # Where a repetition is paid once, it is paid once.
        again = self.shop.gateway.repeatable and self.truth[refund.reference]
        if self.answer.startswith("pays") and not again:
            self.truth[refund.reference] += 1
        match self.answer:
            case "pays":
                return given_back(refund)
            case "refuses":
                return Failed(code=FailureCode.OTHER, message="No.")
            case "never left":
                return NotSent(cause="refused")
            case "pays, dies":
                self.worker.cancel()
                await asyncio.sleep(1)
                raise AssertionError
            case _:
                return Unknown(cause="lost")

    async def _asked(self, refund: Refund) -> Outcome:
        if self.answer == "lost":
            return Unknown(cause="lost")
        if self.truth[refund.reference]:
            return given_back(refund)
        return NotSent(cause="not known")

    def _refund(self, which: int) -> RefundRequest:
        return self.refunds[which % len(self.refunds)]

    async def check(self) -> None:
        """I7, I8, I9, I11 of this payment."""
        [payment] = await fetch("SELECT * FROM payment WHERE id = $1", self.payment_id)
        rows = await fetch("SELECT * FROM refund WHERE payment_id = $1", self.payment_id)
        held = sum(row["amount"] for row in rows if row["status"] in RESERVING)
        done = sum(row["amount"] for row in rows if row["status"] == "SUCCEEDED")
        assert (payment["reserved"], payment["refunded"]) == (held, done)
        assert held + done <= payment["captured"] == 10_000
        for row in rows:
            await self._check_refund(row)
        went = sum(row["amount"] for row in rows if self.truth[row["gateway_reference"]])
        assert went <= payment["captured"]
        events = await fetch(
            "SELECT coalesce(data->'payment', data)->>'version' AS version FROM event "
            "WHERE payment_id = $1 ORDER BY id",
            self.payment_id,
        )
        assert [int(row["version"]) for row in events] == list(range(1, payment["version"] + 1))

    async def _check_refund(self, row: dict[str, Any]) -> None:
        times = self.truth[row["gateway_reference"]]
        assert times <= 1
        if times:
            assert row["status"] in {"PROCESSING", "UNKNOWN", "SUCCEEDED"}
            others = await fetch(
                "SELECT 1 FROM refund_approval WHERE refund_id = $1 AND staff_id <> $2",
                row["id"],
                row["requested_by_id"],
            )
            assert others
        path = await fetch(
            "SELECT data->'refund'->>'status' AS status FROM event "
            "WHERE data->'refund'->>'id' = $1 ORDER BY id",
            str(row["id"]),
        )
        words = [RefundStatus(step["status"]) for step in path]
        for before, after in pairwise(words):
            assert after is before or after in REFUND_MOVES[before]


@pytest.mark.parametrize("repeatable", [False, True])
def test_no_order_of_anything_gives_back_more_than_came_or_any_refund_twice(
    tmp_path: Path, repeatable: bool
) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def opened() -> RefundShop:
            url = await stack.enter_async_context(fresh_database())
            gateway = Refunder(repeatable=repeatable)
            return await stack.enter_async_context(open_refund_shop(tmp_path, url, gateway=gateway))

        shop = runner.run(opened())

        async def live(steps: Sequence[tuple[str, int, int]]) -> None:
            await shop.run("UPDATE refund SET next_check_at = NULL")
            people = [await shop.hire() for _ in range(3)]
            story = Story(shop, await shop.pay("10000"), people)
            for step in [("ask", 0, 3), *steps]:
                await story.play(step)

        @settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
        @given(st.lists(STEPS, min_size=4, max_size=16))
        def play(steps: list[tuple[str, int, int]]) -> None:
            runner.run(live(steps))

        try:
            play()
        finally:
            runner.run(stack.aclose())
