"""What cash on delivery promises of its own."""

from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError

from dusangire.gateway import Accepted, Failed, FailureCode, PayInPerson
from dusangire.lifecycle import AttemptStatus, PaymentStatus
from dusangire.money import Money
from dusangire.plugins import Capability, Plugin
from dusangire.testing.stand import Case, Stand, load
from dusangire_cod import gateway


@pytest.fixture
def plugin() -> Plugin:
    return load(gateway)


@pytest.fixture
async def stand(plugin: Plugin) -> AsyncIterator[Stand]:
    async with Stand.open(plugin) as stand:
        yield stand


@pytest.fixture
def case(stand: Stand) -> Case:
    return stand.case({}, Money(15_000, "RWF"))


async def test_the_payer_is_told_how_much_cash_to_have_ready(case: Case) -> None:
    outcome = await case.initiate()

    assert outcome == Accepted(
        next_action=PayInPerson(
            message="Please have 15,000 RWF ready when your order arrives.",
            amount=Money(15_000, "RWF"),
        )
    )


async def test_a_payment_stays_pending_and_nobody_is_asked_about_it(case: Case) -> None:
    await case.initiate()

    assert case.state.status is AttemptStatus.PENDING
    assert case.payment.status is PaymentStatus.PENDING


async def test_a_cancelled_payment_is_cancelled_for_good(case: Case) -> None:
    await case.initiate()

    outcome = await case.cancel()

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.CANCELLED
    assert case.payment.status is PaymentStatus.CANCELLED


def test_a_person_confirms_and_nothing_else_is_promised(plugin: Plugin) -> None:
    assert plugin.capabilities == {
        Capability.CANCEL,
        Capability.MANUAL_CONFIRMATION,
        Capability.STATEMENT,
    }


def test_no_phone_number_is_needed(plugin: Plugin) -> None:
    assert not plugin.description.needs_phone


@pytest.mark.parametrize("most", ["0", "-5", "much"])
def test_a_limit_that_is_no_amount_is_refused(most: str) -> None:
    with pytest.raises(ValidationError, match="max_amount"):
        gateway.CashConfig.model_validate({"max_amount": most})
