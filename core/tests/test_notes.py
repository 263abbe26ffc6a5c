"""What plugins remark during a call: kept with its outcome, masked, and never too much."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from core.tests.conftest import SECRET, Shop, open_shop

from dusangire import hookimpl
from dusangire.exchanges import MAX_NOTES, note, recording
from dusangire.gateway import Attempt, Gateway, Outcome
from dusangire.money import Money
from dusangire.records import json_of

Call: TypeAlias = Coroutine[Any, Any, Outcome]
Remark: TypeAlias = Callable[[Gateway[Any]], None]


@dataclass(eq=False)
class Remarks:
    """A control plugin that says something about each payment before it is sent."""

    says: Remark = lambda gateway: gateway.note("risk", 0.25)

    @hookimpl(wrapper=True)
    def initiate_payment(
        self, gateway: Gateway[Any], attempt: Attempt
    ) -> Generator[None, Call, Call]:
        call = yield
        return self._remark(gateway, call)

    async def _remark(self, gateway: Gateway[Any], call: Call) -> Outcome:
        try:
            self.says(gateway)
            return await call
        finally:
            call.close()


@pytest.fixture
def remarks() -> Remarks:
    return Remarks()


@pytest.fixture
async def watched(tmp_path: Path, url: str, remarks: Remarks) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path, url, plugins={"remarks": remarks}) as shop:
        yield shop


async def _notes(shop: Shop, payment_id: UUID) -> list[Any]:
    return [json_of(row["notes"]) for row in await shop.log(payment_id)]


async def test_a_note_is_kept_with_the_call_it_is_about(watched: Shop) -> None:
    created = await watched.create()

    await watched.work_now()

    assert await _notes(watched, created.payment.id) == [{"risk": 0.25}, None]


async def test_a_note_of_a_call_that_broke_is_kept_too(watched: Shop, remarks: Remarks) -> None:
    def breaks(gateway: Gateway[Any]) -> None:
        gateway.note("seen", "before it broke")
        raise RuntimeError("broken")

    remarks.says = breaks

    created = await watched.create()

    [row] = await watched.log(created.payment.id)
    assert json_of(row["notes"]) == {"seen": "before it broke"}
    assert row["outcome"].startswith("unknown: the plugin failed")


async def test_a_note_is_masked_like_everything_else(watched: Shop, remarks: Remarks) -> None:
    def tells(gateway: Gateway[Any]) -> None:
        gateway.note("said", [f"key {SECRET}", "call +250788123456", {"pin": "1234"}])
        gateway.note("token", "abc")

    remarks.says = tells

    created = await watched.create()

    [found] = await _notes(watched, created.payment.id)
    assert found["said"][0] == "key •••"
    assert "788123456" not in str(found)
    assert (found["said"][2], found["token"]) == ({"pin": "•••"}, "•••")


async def test_a_note_that_cannot_be_stored_does_not_lose_the_outcome(
    watched: Shop, remarks: Remarks
) -> None:
    def odd(gateway: Gateway[Any]) -> None:
        gateway.note("a\x00\ud800" + "x" * 500, {"\x00": "\ud800", 1: 2**70, "not": float("nan")})
        gateway.note("object", {"money": Money(5_000, "RWF"), "number": Decimal("0.1")})

    remarks.says = odd

    created = await watched.create()

    assert created.payment.status == "PENDING"
    [found] = await _notes(watched, created.payment.id)
    assert found["object"] == {"money": "5,000 RWF", "number": "0.1"}
    assert len(found) == 2


# ── how much ─────────────────────────────────────────────────────────────────────────────────────


def test_the_same_name_again_replaces_what_was_said() -> None:
    with recording() as recorded:
        note("risk", 1)
        note("risk", 2)

    assert recorded.notes == {"risk": 2}


def test_there_are_never_too_many_notes_nor_too_long_ones() -> None:
    with recording() as recorded:
        note("list", ["x" * 1_000] * 100)
        for number in range(MAX_NOTES + 3):
            note(f"note {number}", "x" * 10_000)

    assert len(recorded.notes) == MAX_NOTES
    assert len(str(recorded.notes)) < MAX_NOTES * 4_100


def test_outside_of_a_call_a_note_is_dropped() -> None:
    note("nobody", "hears this")

    with recording() as recorded:
        pass

    assert recorded.notes == {}


async def test_calls_at_once_do_not_mix_their_notes() -> None:
    async def one(number: int) -> Any:
        with recording() as recorded:
            await asyncio.sleep(0)
            note("number", number)
            await asyncio.sleep(0)
        return recorded.notes

    found = await asyncio.gather(one(1), one(2))

    assert list(found) == [{"number": 1}, {"number": 2}]
