"""What a bank transfer promises of its own."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from dusangire.gateway import Accepted, Failed, FailureCode, TransferToAccount
from dusangire.lifecycle import AttemptStatus, PaymentStatus
from dusangire.money import Money
from dusangire.plugins import Capability, Plugin
from dusangire.testing.stand import Case, Stand, load
from dusangire_bank import gateway

ACCOUNT: dict[str, Any] = {
    "bank_name": "Bank of Kigali",
    "account_name": "Umurage Coffee Ltd",
    "account_number": "000400000001",
}


@pytest.fixture
def plugin() -> Plugin:
    return load(gateway)


@pytest.fixture
async def stand(plugin: Plugin) -> AsyncIterator[Stand]:
    async with Stand.open(plugin) as stand:
        yield stand


@pytest.fixture
def case(stand: Stand) -> Case:
    case = stand.case({}, Money(15_000, "RWF"))
    case.attempt = replace(case.attempt, payment_reference="PAY-7K3M9Q2X")
    return case


async def transfer_of(case: Case) -> TransferToAccount:
    outcome = await case.initiate()
    assert isinstance(outcome, Accepted)
    assert isinstance(outcome.next_action, TransferToAccount)
    return outcome.next_action


async def test_the_payer_is_told_where_to_send_what_and_what_to_quote(case: Case) -> None:
    until = datetime(2026, 12, 1, tzinfo=UTC)
    case.attempt = replace(case.attempt, expires_at=until)

    transfer = await transfer_of(case)

    assert replace(transfer, instructions={}) == TransferToAccount(
        **ACCOUNT,
        swift_code="BKIGRWRW",
        reference="RF43PAY7K3M9Q2X",
        amount=Money(15_000, "RWF"),
        expires_at=until,
    )


@pytest.mark.parametrize(
    ("language", "amount", "begins"),
    [
        ("rw", "15,000 RWF", "Ohereza 15,000 RWF kuri konti 000400000001"),
        ("en", "15,000 RWF", "Transfer 15,000 RWF to account 000400000001"),
        ("fr", "15\N{NO-BREAK SPACE}000 RWF", "Virez 15\N{NO-BREAK SPACE}000 RWF sur le compte"),
    ],
)
async def test_the_instructions_say_all_of_it_in_words(
    case: Case, language: str, amount: str, begins: str
) -> None:
    transfer = await transfer_of(case)

    text = transfer.instructions[language]
    assert text.startswith(begins)
    for fact in (*ACCOUNT.values(), amount, "RF43 PAY7 K3M9 Q2X", "BKIGRWRW"):
        assert fact in text
    assert "{" not in text


async def test_decimals_are_written_as_a_language_writes_them(plugin: Plugin) -> None:
    async with Stand.open(plugin, {"currency": "USD"}) as stand:
        transfer = await transfer_of(stand.case({}, Money(123_450, "USD")))

    assert "1,234.50 USD" in transfer.instructions["en"]
    assert "1\N{NO-BREAK SPACE}234,50 USD" in transfer.instructions["fr"]


async def test_without_a_swift_code_nothing_is_said_of_it(plugin: Plugin) -> None:
    async with Stand.open(plugin, {"swift_code": None}) as stand:
        transfer = await transfer_of(stand.case({}, Money(15_000, "RWF")))

    assert transfer.swift_code is None
    assert not any("SWIFT" in text or "None" in text for text in transfer.instructions.values())


async def test_braces_in_a_name_are_letters_like_others(plugin: Plugin) -> None:
    async with Stand.open(plugin, {"account_name": "{amount} & {Sons}"}) as stand:
        transfer = await transfer_of(stand.case({}, Money(15_000, "RWF")))

    assert "of {amount} & {Sons} at" in transfer.instructions["en"]


async def test_the_same_payment_has_the_same_reference_again(case: Case) -> None:
    first = await transfer_of(case)
    again = await transfer_of(case)

    assert first == again


async def test_a_cancelled_transfer_says_what_to_do_if_it_is_on_its_way(case: Case) -> None:
    await case.initiate()

    outcome = await case.cancel()

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.CANCELLED
    assert "If you have sent it already" in outcome.message
    assert (case.state.status, case.payment.status) == (
        AttemptStatus.CANCELLED,
        PaymentStatus.CANCELLED,
    )


def test_a_person_confirms_and_nothing_else_is_promised(plugin: Plugin) -> None:
    assert plugin.capabilities == {Capability.CANCEL, Capability.MANUAL_CONFIRMATION}
    assert not plugin.description.needs_phone


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


def test_every_setting_is_described() -> None:
    assert [
        name for name, field in gateway.BankConfig.model_fields.items() if not field.description
    ] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"account_number": "12"},
        {"account_number": "RW 1; drop"},
        {"account_number": 400000001},
        {"account_name": "  "},
        {"bank_name": "Bank\nof Kigali"},
        {"swift_code": "BKIG"},
        {"swift_code": "BKIG99RW"},
        {"currency": None},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_right_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        gateway.BankConfig.model_validate({**ACCOUNT, **wrong})


def test_zeros_in_front_of_an_account_number_stay() -> None:
    config = gateway.BankConfig.model_validate({**ACCOUNT, "account_number": " 0004-000 001 "})

    assert config.account_number == "0004-000 001"


@pytest.mark.parametrize("missing", ACCOUNT)
def test_an_account_without_its_facts_is_none(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        gateway.BankConfig.model_validate({n: v for n, v in ACCOUNT.items() if n != missing})
