"""Whatever a fiscal plugin does, core sees an outcome, and a doubt is never lost."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from pydantic import BaseModel, SecretStr

from dusangire import hookimpl
from dusangire.core import now
from dusangire.errors import CannotStart, Invalid
from dusangire.fiscal import (
    AlreadyDeclared,
    FiscalDescription,
    NotSent,
    Rejected,
    Signed,
    Unknown,
)
from dusangire.fiscalization.plugin import FiscalPlugin
from dusangire.fiscalization.receipts import ReceiptStatus, remainder
from dusangire.fiscalization.signing import after
from dusangire.plugins import Plugins

SECRET = "canary-till-token-77c1"
Answer: TypeAlias = Callable[[], Awaitable[object]]

SIGNED = Signed(
    receipt_number=1,
    total_number=1,
    sdc_id="SDC010000005",
    mrc_no="WIS01006230",
    internal_data="ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    signature="ABCDEFGHIJKLMNOP",
    signed_at=datetime(2026, 11, 23, 8, 15, 31, tzinfo=UTC),
)


class Config(BaseModel):
    token: SecretStr = SecretStr(SECRET)


class Till:
    """A device that answers what it is told to."""

    def __init__(self, answer: Answer, *, configured: bool = True) -> None:
        self.answer = answer
        self.configured = configured

    @hookimpl
    def describe_fiscal_device(self) -> FiscalDescription | None:
        return (
            FiscalDescription(
                name="Till",
                tin="000111111",
                branch="00",
                base_url="http://till",
                config=Config(),
                tax_classes=frozenset("ABCD"),
                call_timeout=0.2,
            )
            if self.configured
            else None
        )

    @hookimpl
    async def initialize_fiscal_device(self) -> Any:
        return await self.answer()

    @hookimpl
    async def declare_item(self) -> Any:
        return await self.answer()

    @hookimpl
    async def sign_document(self) -> Any:
        return await self.answer()


def says(value: object) -> Answer:
    async def answer() -> object:
        return value

    return answer


async def breaks() -> object:
    raise RuntimeError(SECRET)


async def leaves() -> object:
    raise SystemExit(1)


async def hangs() -> object:
    await asyncio.sleep(3600)
    return SIGNED


async def gives_up() -> object:
    raise asyncio.CancelledError


def plugin(answer: Answer) -> FiscalPlugin:
    loaded = Plugins.load({"till": Till(answer)}, installed=()).fiscal
    assert loaded is not None
    return loaded


async def outcomes(answer: Answer) -> list[object]:
    one, nothing = plugin(answer), SimpleNamespace()
    async with one.opened(now) as device:
        return [
            await one.initialize(device),
            await one.declare(device, nothing),  # type: ignore[arg-type]
            await one.sign(device, nothing),  # type: ignore[arg-type]
        ]


@pytest.mark.parametrize(
    "answer",
    [breaks, leaves, hangs, gives_up, says(None), says("signed"), says(200)],
    ids=["raises", "exits", "hangs", "cancels", "nothing", "text", "number"],
)
async def test_whatever_a_plugin_does_is_unknown_and_never_a_refusal(answer: Answer) -> None:
    found = await outcomes(answer)

    assert all(isinstance(outcome, Unknown) for outcome in found)
    assert SECRET not in str(found)


@pytest.mark.parametrize(
    "change",
    [
        {"receipt_number": 0},
        {"receipt_number": "27"},
        {"total_number": 2**63},
        {"sdc_id": ""},
        {"signature": None},
        {"internal_data": "A\x00B"},
        {"mrc_no": "x" * 101},
        {"signed_at": datetime(2026, 11, 23)},  # noqa: DTZ001
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_receipt_that_cannot_be_one_is_a_doubt(change: dict[str, Any]) -> None:
    values = {name: getattr(SIGNED, name) for name in SIGNED.__slots__}

    [*_, outcome] = await outcomes(says(Signed(**{**values, **change})))

    assert isinstance(outcome, Unknown)


async def test_words_of_a_device_are_masked_and_cut() -> None:
    words = f"{SECRET} +250788123456 4111111111111111 \x00" + "x" * 1_000

    [*_, outcome] = await outcomes(says(Rejected(code="910", message=words)))

    assert isinstance(outcome, Rejected)
    assert SECRET not in outcome.message
    assert "788123456" not in outcome.message
    assert "4111111111111111" not in outcome.message
    assert len(outcome.message) <= 500


def test_two_devices_at_once_stop_the_start() -> None:
    tills = {"first": Till(breaks), "second": Till(breaks)}

    with pytest.raises(CannotStart, match="first and second would both sign"):
        Plugins.load(tills, installed=())


def test_a_device_that_is_not_configured_is_none() -> None:
    tills = {"idle": Till(breaks, configured=False), "second": Till(breaks)}

    found = Plugins.load(tills, installed=()).fiscal

    assert found is not None
    assert found.name == "second"


def test_a_device_that_cannot_sign_is_no_device() -> None:
    class Half:
        describe_fiscal_device = Till.describe_fiscal_device
        configured = True

    with pytest.raises(ValueError, match="initialize_fiscal_device"):
        Plugins.load({"half": Half()}, installed=())


# ── what a receipt is afterwards ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outcome", "sent", "doubted", "status"),
    [
        (SIGNED, True, False, "SIGNED"),
        (SIGNED, True, True, "SIGNED"),
        (NotSent(cause="refused"), True, False, "QUEUED"),
        (NotSent(cause="refused"), True, True, "UNKNOWN"),
        (NotSent(cause="refused"), False, False, "QUEUED"),
        (Unknown(cause="lost"), True, False, "UNKNOWN"),
        (Unknown(cause="lost"), True, True, "UNKNOWN"),
        (Unknown(cause="lost"), False, False, "QUEUED"),
        (Rejected(code="910", message="no"), True, False, "REJECTED"),
        (AlreadyDeclared(code="994", message="seen"), True, False, "REJECTED"),
        (AlreadyDeclared(code="994", message="seen"), True, True, "NEEDS_RECEIPT"),
    ],
)
def test_every_outcome_leads_to_one_state(
    outcome: Any, sent: bool, doubted: bool, status: str
) -> None:
    assert after(outcome, sent=sent, doubted=doubted) is ReceiptStatus(status)


# ── what stays sold ──────────────────────────────────────────────────────────────────────────────


def line(total: int, tax_class: str = "B") -> dict[str, Any]:
    rate = 1800 if tax_class == "B" else 0
    tax = (2 * total * rate + 10_000 + rate) // (2 * (10_000 + rate))
    return {
        "place": 1, "description": "Tea", "quantity": 2000, "unit_price": total // 2,
        "tax_class": tax_class, "tax_rate": rate, "tax": tax, "total": total, "item_code": None,
    }  # fmt: skip


def test_what_was_credited_is_taken_from_the_last_lines_of_its_class() -> None:
    sold = {"lines": [line(7000), line(500, "A"), line(3500)]}

    left = remainder(sold, {"lines": [line(4000)]})

    assert [(one["tax_class"], one["total"]) for one in left["lines"]] == [("B", 6500), ("A", 500)]
    assert (left["total"], left["tax"]) == (7000, 992)
    assert left["lines"][0]["quantity"] == 1000
    assert left["lines"][0]["unit_price"] == 6500


def test_more_than_was_sold_leaves_nothing_to_sell_anew() -> None:
    with pytest.raises(Invalid):
        remainder({"lines": [line(100, "A")]}, {"lines": [line(100, "B")]})
