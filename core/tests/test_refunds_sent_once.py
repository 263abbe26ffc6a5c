"""Where a repeated refund would be paid twice, no machine repeats one, whatever a plugin says."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from dusangire import hookimpl
from dusangire.exchanges import open_client, recording
from dusangire.gateway import (
    Accepted,
    Attempt,
    Environment,
    Failed,
    FailureCode,
    Gateway,
    GatewayConfig,
    GatewayDescription,
    NotSent,
    Outcome,
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from dusangire.plugins import Plugin
from dusangire.testing.stand import load
from dusangire.tokens import TokenCache

# A busy machine is slow, and not wrong.
patiently = settings(deadline=None, max_examples=200)

PRICE = Money(5_000, "RWF")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
REFUND = Refund(
    reference=str(uuid.UUID(int=7, version=4)),
    refund_reference="REF-1",
    attempt=Attempt(
        reference=str(uuid.UUID(int=8, version=4)),
        payment_reference="PAY-1",
        amount=PRICE,
        created_at=NOON,
    ),
    amount=PRICE,
    reason="A bag was torn",
    created_at=NOON,
)
REFUSED, LOST, ANSWERED, SILENT = "refused", "lost", "answered", "nothing is sent"


class Saying:
    """A plugin that says what it is told to, after whatever happened on the line."""

    def __init__(self, *, repeatable: bool) -> None:
        self.repeatable = repeatable
        self.sends = True
        self.says: Outcome = Unknown(cause="lost")

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(
            name="Says", config=GatewayConfig, repeatable_refunds=self.repeatable
        )

    @hookimpl
    async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return Accepted()

    @hookimpl
    async def refund_payment(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        if self.sends:
            try:
                await gateway.http.post("/refunds", json={"amount": "5000"})
            except httpx.HTTPError:
                return self.says
        return self.says

    @hookimpl
    async def check_refund(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        return self.says


@dataclass
class Provider(httpx.AsyncBaseTransport):
    """Pays out whatever arrives, each time."""

    line: str = ANSWERED
    paid_out: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.line == REFUSED:
            raise httpx.ConnectError("refused")
        self.paid_out += 1
        if self.line == LOST:
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(200, json={}, request=request)


@dataclass
class Rig:
    """A plugin, its provider, and a machine that sends a refund again whenever it may."""

    repeatable: bool = False
    provider: Provider = field(default_factory=Provider)
    plugin: Plugin = field(init=False)

    def __post_init__(self) -> None:
        self.module = Saying(repeatable=self.repeatable)
        self.plugin = load(self.module)
        self.gateway: Gateway[Any] = Gateway(
            code="says",
            environment=Environment.TEST,
            config=GatewayConfig(),
            http=open_client("http://says.test", transport=self.provider),
            tokens=TokenCache(lambda: NOON),
            webhook_url=None,
            clock=lambda: NOON,
            log=structlog.get_logger(),
        )

    async def send(self, line: str, says: Outcome) -> Outcome:
        self.provider.line, self.module.says = line, says
        self.module.sends = line != SILENT
        return await self.plugin.refund_payment(self.gateway, REFUND)

    async def ask(self, says: Outcome) -> Outcome:
        self.module.says = says
        return await self.plugin.check_refund(self.gateway, REFUND)

    async def live(self, story: Sequence[tuple[str, Outcome]]) -> None:
        """Sends once, then asks, and sends again each time that an outcome allows it."""
        may_send = True
        for line, says in story:
            outcome = await (self.send(line, says) if may_send else self.ask(says))
            may_send = isinstance(outcome, NotSent)


said: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        NotSent(cause="not known"),
        NotSent(cause="not known"),
        Unknown(cause="lost"),
        Accepted(),
        Failed(code=FailureCode.OTHER, message="No."),
        Succeeded(amount=PRICE, reference=REFUND.reference),
    ]
)
stories = st.lists(
    st.tuples(st.sampled_from([REFUSED, LOST, ANSWERED, SILENT]), said), min_size=1, max_size=12
)


@patiently
@given(stories)
def test_no_sequence_of_answers_pays_a_refund_twice(story: list[tuple[str, Outcome]]) -> None:
    rig = Rig()

    asyncio.run(rig.live(story))

    assert rig.provider.paid_out <= 1


async def test_a_provider_that_pays_a_reference_once_may_be_sent_it_again() -> None:
    rig = Rig(repeatable=True)

    assert isinstance(await rig.send(LOST, NotSent(cause="429")), NotSent)
    assert isinstance(await rig.ask(NotSent(cause="not known")), NotSent)


@pytest.mark.parametrize("line", [LOST, ANSWERED])
async def test_what_may_have_arrived_is_never_not_sent(line: str) -> None:
    rig = Rig()

    outcome = await rig.send(line, NotSent(cause="it said so"))

    assert isinstance(outcome, Unknown)
    assert "it said so" in outcome.cause


@pytest.mark.parametrize("line", [REFUSED, SILENT])
async def test_what_certainly_never_left_may_be_sent(line: str) -> None:
    rig = Rig()

    assert isinstance(await rig.send(line, NotSent(cause="refused")), NotSent)
    assert rig.provider.paid_out == 0


async def test_a_refund_the_provider_does_not_know_is_for_a_person_to_look_at() -> None:
    rig = Rig()

    outcome = await rig.ask(NotSent(cause="not known"))

    assert isinstance(outcome, Unknown)


async def test_the_exchanges_of_a_refund_are_still_kept_with_it() -> None:
    rig = Rig()

    with recording() as recorded:
        await rig.send(LOST, Unknown(cause="lost"))
        await rig.send(ANSWERED, Accepted())

    assert [exchange.http_status for exchange in recorded.exchanges] == [None, 200]
