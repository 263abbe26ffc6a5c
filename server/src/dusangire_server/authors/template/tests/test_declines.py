"""Who cannot pay, and why, in our words."""

from collections.abc import AsyncIterator

import pytest

from dusangire.gateway import Failed, FailureCode
from dusangire.money import Money
from dusangire.testing import Stand, payer
from dusangire.testing.stand import load
from examplepay_plugin import gateway
from examplepay_plugin.mapping import CODES
from examplepay_plugin.simulator import REFUSALS


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with Stand.open(load(gateway)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("phone", "code"),
    [
        ("+250780000101", FailureCode.INSUFFICIENT_FUNDS),
        ("+250780000102", FailureCode.DECLINED_BY_PAYER),
        ("+250780000103", FailureCode.PAYER_TIMEOUT),
    ],
)
async def test_a_refusal_has_its_reason(stand: Stand, phone: str, code: FailureCode) -> None:
    case = stand.case(payer(phone=phone), Money(5_000, "RWF"))

    await case.initiate()
    outcome = await case.settle()

    assert isinstance(outcome, Failed)
    assert outcome.code is code


def test_every_reason_of_the_simulator_is_in_the_table() -> None:
    assert set(REFUSALS.values()) <= set(CODES)


async def test_a_wrong_key_is_found_by_testing_the_gateway(stand: Stand) -> None:
    stranger = stand.elsewhere(wrong_secrets=True)

    mine = await stand.plugin.test_gateway(stand.gateway)
    theirs = await stand.plugin.test_gateway(stranger)

    assert mine.ok
    assert not theirs.ok
    assert "api_key" in theirs.message
