"""Who cannot pay, and why, in our words."""

from datetime import timedelta

import pytest

from dusangire.gateway import Accepted, Failed, FailureCode
from dusangire.money import Money
from dusangire.testing import Stand, payer
from dusangire_ikaze.codes import CODES
from dusangire_ikaze.simulator import REFUSALS

PRICE = Money(5_000, "RWF")


@pytest.mark.parametrize(
    ("phone", "code"),
    [
        ("+250780000101", FailureCode.INSUFFICIENT_FUNDS),
        ("+250780000102", FailureCode.DECLINED_BY_PAYER),
        ("+250780000103", FailureCode.PAYER_TIMEOUT),
    ],
)
async def test_a_refusal_has_its_reason(stand: Stand, phone: str, code: FailureCode) -> None:
    case = stand.case(payer(phone=phone), PRICE)

    await case.initiate()
    outcome = await case.settle()

    assert isinstance(outcome, Failed)
    assert outcome.code is code


def test_every_code_of_the_simulator_is_in_the_table() -> None:
    assert set(REFUSALS.values()) <= set(CODES)


async def test_a_wrong_secret_is_no_payment_and_says_so(stand: Stand) -> None:
    stranger = stand.elsewhere(wrong_secrets=True, forget_tokens=True)
    case = stand.case(payer(phone="+250788123456"), PRICE)

    outcome = await case.initiate(stranger)

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.GATEWAY_CONFIGURATION
    assert await stand.truth() == []


async def test_a_token_that_is_refused_is_renewed(stand: Stand) -> None:
    async def outdated() -> tuple[str, timedelta]:
        return "a-token-of-yesterday", timedelta(hours=1)

    await stand.gateway.tokens.get("ikaze", outdated)
    case = stand.case(payer(phone="+250788123456"), PRICE)

    outcome = await case.initiate()

    assert isinstance(outcome, Accepted)
    assert len(await stand.truth()) == 1
