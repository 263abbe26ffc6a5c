"""What is over a limit is refused before anybody hears of it; what is below goes its way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dusangire.errors import Retryable
from dusangire.exchanges import note, recording
from dusangire.gateway import Accepted, Attempt, Failed, FailureCode, Gateway, NotSent, Outcome
from dusangire.money import Money
from dusangire.plugins import Plugins
from dusangire.testing import FakeGateway, payer
from dusangire.testing.stand import Case, Stand
from dusangire_limits.control import Limits
from dusangire_limits.settings import LimitSettings

PAYER = payer(phone="+250780000000")
FRANCS = LimitSettings(
    per_payment={"RWF": Money(50_000, "RWF")}, per_day={"RWF": Money(100_000, "RWF")}
)
# Half past midnight in Kigali, which is still the day before in London.
NOW = datetime(2026, 11, 22, 22, 30, tzinfo=UTC)


@dataclass
class Paid:
    """A history in which every payer paid so much; None: it cannot be read now."""

    minor: int | None
    asked: list[datetime] = field(default_factory=list)

    async def paid(self, attempt: Attempt, *, since: datetime) -> Money:
        self.asked.append(since)
        if self.minor is None:
            raise Retryable
        return Money(self.minor, attempt.amount.currency)


@asynccontextmanager
async def shop(settings: LimitSettings = FRANCS) -> AsyncIterator[Stand]:
    """A fake gateway behind HTTP, so that every byte to its provider is counted."""
    plugins = Plugins.load({"strict": Limits(settings), "fake": FakeGateway()}, installed=())
    async with Stand.open(plugins["fake"]) as stand:
        yield stand


def at(stand: Stand, history: Paid, now: datetime = NOW) -> Gateway[Any]:
    return replace(stand.gateway, history=history, note=note, clock=lambda: now)


def francs(stand: Stand, minor: int) -> Case:
    return stand.case(PAYER, Money(minor, "RWF"))


async def _heard(stand: Stand) -> int:
    """What the provider heard of: requests on the line, and payments it knows."""
    return len(stand.line_().carried) + len(await stand.payments())


@pytest.mark.parametrize(
    ("minor", "before", "code"),
    [
        pytest.param(50_000, 0, None, id="as much as one may be"),
        pytest.param(50_001, 0, FailureCode.AMOUNT_OUT_OF_LIMITS, id="more than one may be"),
        pytest.param(50_000, 50_000, None, id="as much as a day may come to"),
        pytest.param(50_000, 50_001, FailureCode.PAYER_LIMIT_REACHED, id="more than that"),
        pytest.param(1, 100_000, FailureCode.PAYER_LIMIT_REACHED, id="a franc more"),
    ],
)
async def test_a_limit_is_the_most_that_is_taken(
    minor: int, before: int, code: FailureCode | None
) -> None:
    async with shop() as stand:
        outcome = await francs(stand, minor).initiate(at(stand, Paid(before)))
        known = await stand.payments()

    assert (outcome.code if isinstance(outcome, Failed) else None) == code
    assert len(known) == (1 if code is None else 0)


async def test_of_what_is_refused_not_one_byte_leaves() -> None:
    async with shop() as stand:
        gateway = at(stand, Paid(100_000))
        attempt = francs(stand, 1).attempt

        initiated = await stand.plugin.initiate_payment(gateway, attempt)
        charged = await stand.plugin.charge_token(gateway, attempt, "token-of-the-payer")

        assert isinstance(initiated, Failed)
        assert isinstance(charged, Failed)
        assert await _heard(stand) == 0


@pytest.mark.parametrize("hook", ["initiate_payment", "charge_token"])
async def test_every_attempt_that_was_looked_at_is_annotated(hook: str) -> None:
    async def call(stand: Stand, minor: int) -> tuple[Outcome, Any]:
        given = {"token": "token-of-the-payer"} if hook == "charge_token" else {}
        with recording() as recorded:
            outcome = await getattr(stand.plugin, hook)(
                gateway=at(stand, Paid(60_000)), attempt=francs(stand, minor).attempt, **given
            )
        return outcome, recorded.notes["limits"]

    async with shop() as stand:
        _, let_through = await call(stand, 5_000)
        _, refused = await call(stand, 45_000)

    facts = {"per_payment": "50,000 RWF", "per_day": "100,000 RWF", "paid_today": "60,000 RWF"}
    assert let_through == {**facts, "refused": None}
    assert refused == {**facts, "refused": "PAYER_LIMIT_REACHED"}


async def test_a_currency_without_limits_is_not_looked_at() -> None:
    history = Paid(10**12)
    async with shop(LimitSettings(per_day={"USD": Money(1, "USD")})) as stand:
        with recording() as recorded:
            outcome = await francs(stand, 10**9).initiate(at(stand, history))

    assert isinstance(outcome, Accepted)
    assert (history.asked, recorded.notes) == ([], {})


async def test_what_a_payer_paid_is_not_told_to_whoever_types_in_their_number() -> None:
    async with shop() as stand:
        outcome = await francs(stand, 40_000).initiate(at(stand, Paid(73_317)))

    assert isinstance(outcome, Failed)
    assert "73,317" not in outcome.message
    assert "100,000 RWF" in outcome.message


# ── whose day, and which ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "begins"),
    [
        ("Africa/Kigali", datetime(2026, 11, 22, 22, 0, tzinfo=UTC)),
        ("Europe/London", datetime(2026, 11, 22, 0, 0, tzinfo=UTC)),
    ],
)
async def test_a_day_begins_where_the_business_is(zone: str, begins: datetime) -> None:
    history = Paid(0)
    async with shop(FRANCS.model_copy(update={"time_zone": ZoneInfo(zone)})) as stand:
        await francs(stand, 1).initiate(at(stand, history))

    assert [since.astimezone(UTC) for since in history.asked] == [begins]


async def test_who_cannot_be_recognised_has_no_day_but_every_payment_has_a_limit() -> None:
    history = Paid(10**9)
    async with shop() as stand:
        gateway = at(stand, history)
        small, large = francs(stand, 50_000).attempt, francs(stand, 50_001).attempt

        # The fake gateway needs a phone number, but that is its own affair.
        let_through = await _noted(stand, gateway, replace(small, phone=None))
        refused = await _noted(stand, gateway, replace(large, phone=None))
        by_customer = await _noted(stand, gateway, replace(small, phone=None, customer="C-1"))

    assert let_through == {
        "per_payment": "50,000 RWF", "per_day": "100,000 RWF", "refused": None,
    }  # fmt: skip
    assert refused["refused"] == "AMOUNT_OUT_OF_LIMITS"
    assert by_customer["refused"] == "PAYER_LIMIT_REACHED"
    assert len(history.asked) == 1


async def _noted(stand: Stand, gateway: Gateway[Any], attempt: Attempt) -> Any:
    with recording() as recorded:
        await stand.plugin.charge_token(gateway, attempt, "token-of-the-payer")
    return recorded.notes["limits"]


# ── when something is wrong ──────────────────────────────────────────────────────────────────────


async def test_when_the_past_cannot_be_read_nothing_is_sent_and_it_is_tried_again() -> None:
    async with shop() as stand:
        outcome = await francs(stand, 1).initiate(at(stand, Paid(None)))

        assert isinstance(outcome, NotSent)
        assert await _heard(stand) == 0


class Doubtful(FakeGateway):
    """A gateway that loses the database after it asked for the money."""

    async def begin(self, *arguments: Any) -> Outcome:
        await super().begin(*arguments)
        raise Retryable


async def test_what_broke_after_the_money_was_asked_for_is_never_called_unsent() -> None:
    plugins = Plugins.load({"strict": Limits(FRANCS), "fake": Doubtful()}, installed=())
    async with Stand.open(plugins["fake"]) as stand:
        outcome = await francs(stand, 1).initiate(at(stand, Paid(0)))

        assert not isinstance(outcome, NotSent | Failed)
        assert len(await stand.payments()) == 1
