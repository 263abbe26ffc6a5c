"""Money goes back once, and never more than was paid."""

from dusangire.gateway import Failed, FailureCode, Succeeded
from dusangire.money import Money
from dusangire.testing import Stand, payer


async def test_a_part_goes_back(stand: Stand) -> None:
    case = stand.case(payer(phone="+250788123456"), Money(5_000, "RWF"))
    await case.initiate()
    await case.settle()

    outcome = await stand.give_back(stand.refund(case, 2_000))

    assert isinstance(outcome, Succeeded)
    assert outcome.amount == Money(2_000, "RWF")


async def test_what_was_never_paid_does_not_go_back(stand: Stand) -> None:
    case = stand.case(payer(phone="+250780000102"), Money(5_000, "RWF"))
    await case.initiate()
    await case.settle()

    outcome = await stand.give_back(stand.refund(case, 2_000))

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (FailureCode.GATEWAY_ERROR, "NOT_PAID")
