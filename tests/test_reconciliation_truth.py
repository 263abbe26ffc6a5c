"""Months whose truth is known: nothing is matched that is not so, and nothing is overlooked.

Small months, with each class of fault; `python -m tests.truth --payments 10000 --seed 1` is the
same for as many payments and whatever seed you like.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.truth.__main__ import ORDER, reconciled
from tests.truth.desk import Desk, open_desk
from tests.truth.judge import Verdict, judge
from tests.truth.known import Month
from tests.truth.month import build

from dusangire.reconciliation.discrepancies import DiscrepancyKind
from dusangire.testing.database import fresh_database

# Of so many days is a file: each one is read by a process of its own.
DAYS = 15


@asynccontextmanager
async def _desk(folder: Path) -> AsyncIterator[Desk]:
    async with fresh_database() as url, open_desk(folder, url) as desk:
        yield desk


async def test_a_month_is_matched_truly_and_each_fault_is_in_its_class(tmp_path: Path) -> None:
    month = build(200, seed=7)

    async with _desk(tmp_path) as desk:
        await reconciled(desk, month, DAYS)
        verdict = await judge(desk.url, month)
        for account in ORDER:
            await desk.reconcile(account)
        again = await judge(desk.url, month)

    assert verdict.wrong == again.wrong == []
    assert verdict.recall >= 0.98, verdict.missed
    assert {fault.kind for fault in month.faults} == {None, *DiscrepancyKind}
    assert again.state == verdict.state


async def test_lines_and_files_in_another_order_come_to_the_same(tmp_path: Path) -> None:
    month = build(60, seed=3)

    straight = await _verdict(tmp_path, month)
    shuffled = await _verdict(tmp_path, _shuffled(month))

    assert straight.wrong == shuffled.wrong == []
    assert shuffled.state == straight.state


async def test_the_judge_sees_whatever_is_not_as_it_was_put_in(tmp_path: Path) -> None:
    month = build(60, seed=5)
    wallet = list(month.lines["mtn"])
    one, other = [n for n, line in enumerate(wallet) if line.sure and line.word == "PAYMENT"][:2]
    wallet[one], wallet[other] = (
        replace(wallet[one], truth=wallet[other].truth),
        replace(wallet[other], truth=wallet[one].truth),
    )
    changed = replace(
        month,
        lines={**month.lines, "mtn": wallet, "cod": month.lines["cod"][1:]},
        faults=[fault for fault in month.faults if fault.kind != "CHARGEBACK"],
        payments=[replace(month.payments[0], status="EXPIRED"), *month.payments[1:]],
    )

    async with _desk(tmp_path) as desk:
        await reconciled(desk, month, DAYS)
        before = await judge(desk.url, month)
        await desk.rows("UPDATE ledger_balance SET debits = debits + 1 WHERE account = 'bank:bank'")
        after = await judge(desk.url, changed)

    assert before.wrong == []
    said = Counter(text.split()[0] for text in after.wrong)
    assert said["FALSE"] == 3, after.wrong
    assert said["LOST"] == 2, after.wrong
    assert said["UNEXPLAINED"] >= 1, after.wrong
    assert said["BROKEN"] == 1, after.wrong


async def _verdict(folder: Path, month: Month) -> Verdict:
    async with _desk(folder) as desk:
        await reconciled(desk, month, DAYS)
        return await judge(desk.url, month)


def _shuffled(month: Month) -> Month:
    """The same lines in another order; what they are about stays."""
    rng = random.Random(1)
    return replace(
        month,
        payments=rng.sample(month.payments, len(month.payments)),
        lines={account: rng.sample(lines, len(lines)) for account, lines in month.lines.items()},
    )
