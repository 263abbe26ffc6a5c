"""The fake gateway keeps the contract over HTTP, and does the same in memory."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from dusangire.gateway import Accepted, Failed, FailureCode, Outcome, Succeeded
from dusangire.money import Money
from dusangire.testing import FakeGateway, GatewayContract, payer
from dusangire.testing.fake import (
    APPROVES,
    APPROVES_AFTER_ALL,
    APPROVES_WITH_THREE_WEBHOOKS,
    APPROVES_WITHOUT_WEBHOOK,
    DECLINES,
    DOES_NOT_ANSWER,
    HAS_NO_MONEY,
    STAYS_PENDING,
)
from dusangire.testing.stand import Payer, Stand, load

DOCS = Path(__file__).parents[2] / "docs" / "contract.md"
PRICE = Money(5_000, "RWF")


class TestFakePay(GatewayContract):
    plugin = FakeGateway()
    approves = payer(phone="+250780000000")
    declines = payer(phone="+250780000102")


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    """The fake without its simulator: nothing but memory."""
    fake = FakeGateway(outcomes={"666": "NO_MONEY"})
    async with Stand.open(load(fake), simulated=False) as stand:
        yield stand


@pytest.mark.parametrize(
    ("who", "code"),
    [
        pytest.param(HAS_NO_MONEY, FailureCode.INSUFFICIENT_FUNDS, id="who has no money"),
        pytest.param(DECLINES, FailureCode.DECLINED_BY_PAYER, id="who declines"),
        pytest.param(DOES_NOT_ANSWER, FailureCode.PAYER_TIMEOUT, id="who does not answer"),
    ],
)
async def test_a_number_decides_why_it_fails(stand: Stand, who: Payer, code: FailureCode) -> None:
    outcome = await _after_a_moment(stand, who)

    assert isinstance(outcome, Failed)
    assert outcome.code is code


@pytest.mark.parametrize("who", [APPROVES, APPROVES_WITHOUT_WEBHOOK, APPROVES_WITH_THREE_WEBHOOKS])
async def test_other_numbers_pay(stand: Stand, who: Payer) -> None:
    outcome = await _after_a_moment(stand, who)

    assert isinstance(outcome, Succeeded)


async def test_one_number_stays_pending(stand: Stand) -> None:
    assert isinstance(await _after_a_moment(stand, STAYS_PENDING), Accepted)


async def test_one_number_pays_after_all(stand: Stand) -> None:
    assert isinstance(await _after_a_moment(stand, APPROVES_AFTER_ALL), Failed)


async def test_an_amount_can_decide_too(stand: Stand) -> None:
    outcome = await _after_a_moment(stand, APPROVES, Money(666, "RWF"))

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.INSUFFICIENT_FUNDS


async def test_a_pending_payment_can_be_withdrawn(stand: Stand) -> None:
    case = stand.case(STAYS_PENDING, PRICE)
    await case.initiate()

    outcome = await case.cancel()

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.CANCELLED


async def test_a_payment_and_its_refund_in_memory_are_in_the_truth() -> None:
    fake = FakeGateway()
    async with Stand.open(load(fake), simulated=False) as stand:
        case = stand.case(APPROVES, PRICE)
        await case.initiate()
        await case.settle()

        refund = await stand.give_back(stand.refund(case, 2_000))

        truth = fake.provider(stand.gateway).truth()
    assert isinstance(refund, Succeeded)
    assert [(one["kind"], one["amount"], one["moves"]) for one in truth["transactions"]] == [
        ("payment", "5000", 1),
        ("refund", "2000", 1),
    ]


def test_the_numbers_in_the_docs_are_the_ones_that_decide() -> None:
    documented = set(re.findall(r"^\| `(\+250\d+)`", DOCS.read_text(), re.MULTILINE))

    decide: list[Mapping[str, str]] = [HAS_NO_MONEY, DECLINES, DOES_NOT_ANSWER, STAYS_PENDING]
    decide += [APPROVES_WITHOUT_WEBHOOK, APPROVES_WITH_THREE_WEBHOOKS, APPROVES_AFTER_ALL]
    assert documented == {who["phone"] for who in decide}


def test_the_example_in_the_docs_is_the_one_above() -> None:
    example = DOCS.read_text().partition("```python\n")[2].partition("```")[0]

    body = example.partition("class ")[2]

    assert "class " + body in Path(__file__).read_text()


async def _after_a_moment(stand: Stand, who: Payer, amount: Money = PRICE) -> Outcome:
    case = stand.case(who, amount)
    outcome = await case.initiate()
    assert isinstance(outcome, Accepted)
    return await case.settle() if who is not STAYS_PENDING else await case.ask()
