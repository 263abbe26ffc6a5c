"""Months whose truth is known: nothing is matched that is not so, and little is overlooked."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.truth.__main__ import reconciled
from tests.truth.desk import Desk, open_desk
from tests.truth.judge import Verdict, judge
from tests.truth.known import Month
from tests.truth.month import build

from dusangire.testing.database import fresh_database


@asynccontextmanager
async def _desk(folder: Path) -> AsyncIterator[Desk]:
    async with fresh_database() as url, open_desk(folder, url) as desk:
        yield desk


async def test_a_month_is_matched_truly_and_each_fault_is_in_its_class(tmp_path: Path) -> None:
    month = build(400, seed=7)

    async with _desk(tmp_path) as desk:
        await reconciled(desk, month)
        verdict = await judge(desk.url, month)
        await reconciled_again(desk)
        again = await judge(desk.url, month)

    assert verdict.false == []
    assert verdict.recall >= 0.98, verdict.missed
    assert verdict.unclassed == []
    assert verdict.breaks == again.breaks == []
    assert again.state == verdict.state


async def test_lines_and_files_in_another_order_come_to_the_same(tmp_path: Path) -> None:
    month = build(60, seed=3)

    straight = await _state(tmp_path, month)
    shuffled = await _state(tmp_path, _shuffled(month))

    assert shuffled == straight


async def reconciled_again(desk: Desk) -> None:
    for account in ("mtn", "card", "cod", "bank"):
        await desk.reconcile(account)


async def _state(folder: Path, month: Month) -> list[str]:
    async with _desk(folder) as desk:
        await reconciled(desk, month)
        verdict: Verdict = await judge(desk.url, month)
    return verdict.state


def _shuffled(month: Month) -> Month:
    """The same lines in another order; what they are about stays."""
    rng = random.Random(1)
    return replace(
        month,
        payments=rng.sample(month.payments, len(month.payments)),
        lines={account: rng.sample(lines, len(lines)) for account, lines in month.lines.items()},
    )
