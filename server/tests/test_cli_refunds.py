"""dusangire refunds, as somebody at a terminal uses it: it asks, and never decides."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from server.tests.terminal import Terminal

from dusangire.testing.database import fresh_database


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with fresh_database() as url:
        yield Terminal(tmp_path, {"DUSANGIRE_DATABASE_URL": url, "DUSANGIRE_HOME": str(tmp_path)})


async def _paid_in_cash(terminal: Terminal) -> str:
    await terminal.run("gateways", "save", "cod", "--plugin", "cod")
    made = await terminal.run(
        "payments", "create", "--amount", "5000", "--gateway", "cod", "--json"
    )
    reference = str(made.json["reference"])
    confirmed = await terminal.run(
        "payments", "confirm", reference, "--amount", "5000", "--evidence", "seen"
    )
    assert confirmed.status == 0, confirmed.err
    return reference


async def test_a_refund_is_asked_for_shown_listed_and_taken_back(terminal: Terminal) -> None:
    payment = await _paid_in_cash(terminal)

    asked = await terminal.run(
        "refunds", "request", payment, "--amount", "2000", "--reason", "torn", "--json"
    )
    reference = asked.json["reference"]
    shown = await terminal.run("refunds", "show", reference)
    listed = await terminal.run("refunds", "list", "--status", "requested")
    too_much = await terminal.run("refunds", "request", payment, "--amount", "9", "--reason", " ")
    cancelled = await terminal.run("refunds", "cancel", reference, "--reason", "no", "--json")

    assert asked.json["amount"] == {"amount": "2000", "currency": "RWF"}
    assert asked.json["byHand"] is True
    assert "2,000 RWF" in shown.out
    assert reference in listed.out
    assert too_much.status == 1
    assert cancelled.json["status"] == "CANCELLED"


@pytest.mark.parametrize("word", ["approve", "reject", "settle"])
async def test_nobody_decides_from_the_command_line(terminal: Terminal, word: str) -> None:
    ran = await terminal.run("refunds", word, "REF-00000000")

    assert ran.status == 2
    assert "No such command" in ran.err


async def test_a_refund_that_is_not_there_says_so(terminal: Terminal) -> None:
    ran = await terminal.run("refunds", "show", "REF-00000000")

    assert ran.status == 3
