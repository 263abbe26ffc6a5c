"""How a payment stands with the statements, written on the payment itself."""

import asyncio
from uuid import UUID, uuid4

from core.tests.conftest import Shop, paid
from core.tests.discrepancing import Desk

from dusangire import timeline
from dusangire.access import OPERATOR
from dusangire.database import fetch, tx
from dusangire.gateway import Accepted, Attempt, Outcome
from dusangire.reconciliation import standing


async def test_a_payment_is_matched_when_all_of_its_money_was_found(shop: Shop) -> None:
    desk, payment_id = await Desk.open(shop), await _payment(shop)
    await desk.item(payment_id, status="MATCHED")
    second = await desk.item(payment_id)

    await _refresh(payment_id)
    half = await _standing(shop, payment_id)
    await shop.run("UPDATE clearing_item SET status = 'WRITTEN_OFF' WHERE id = $1", second)
    await _refresh(payment_id)

    assert (half, await _standing(shop, payment_id)) == ("NOT_RECONCILED", "MATCHED")


async def test_a_grave_discrepancy_stands_above_a_match_and_a_small_one_does_not(
    shop: Shop,
) -> None:
    desk, payment_id = await Desk.open(shop), await _payment(shop)
    await desk.item(payment_id, status="MATCHED")
    seen = []

    for severity in ("LOW", "MEDIUM"):
        await shop.run(
            "INSERT INTO discrepancy (id, key, account_id, kind, severity, payment_id, currency, "
            "message, since) VALUES ($1, $2, $3, 'LATE', $2, $4, 'RWF', '', now())",
            uuid4(),
            severity,
            desk.account_id,
            payment_id,
        )
        await _refresh(payment_id)
        seen.append(await _standing(shop, payment_id))
    await shop.run("UPDATE discrepancy SET status = 'RESOLVED'")
    await _refresh(payment_id)

    assert [*seen, await _standing(shop, payment_id)] == ["MATCHED", "DISCREPANCY", "MATCHED"]


async def test_each_change_has_one_version_and_one_event_and_no_change_has_none(
    shop: Shop,
) -> None:
    desk, payment_id = await Desk.open(shop), await _payment(shop)
    before = await shop.payment(payment_id)
    await desk.item(payment_id, status="MATCHED")

    changed = [await _refresh(payment_id), await _refresh(payment_id)]

    now = await shop.payment(payment_id)
    event = (await shop.events(payment_id))[-1]
    assert changed == [1, 0]
    assert now["version"] == before["version"] + 1
    assert now["updated_at"] > before["updated_at"]
    assert event == {
        "type": "payment.reconciled",
        "version": now["version"],
        "status": now["status"],
    }


async def test_the_story_of_a_payment_says_that_its_money_was_found(shop: Shop) -> None:
    desk, payment_id = await Desk.open(shop), await _payment(shop)
    await desk.item(payment_id, status="MATCHED")
    await _refresh(payment_id)

    story = await timeline.of(shop.core, OPERATOR, payment_id)

    assert story.moments[-1].what == "All of its money was found on a statement."


async def test_whoever_advances_a_payment_at_the_same_moment_loses_nothing(shop: Shop) -> None:
    desk = await Desk.open(shop)
    shop.script.says("initiate", Accepted())
    created = [(await shop.create()).payment.id for _ in range(8)]
    for payment_id in created:
        await desk.item(payment_id, status="MATCHED")
    shop.script.says("check", _pays)
    await shop.due()

    await asyncio.gather(shop.work(), *(_refresh(payment_id) for payment_id in created))

    for payment_id in created:
        events, now = await shop.events(payment_id), await shop.payment(payment_id)
        assert (now["status"], now["reconciliation_status"]) == ("SUCCEEDED", "MATCHED")
        assert [event["version"] for event in events] == list(range(1, now["version"] + 1))


async def test_two_halves_that_are_found_at_the_same_moment_make_a_whole(shop: Shop) -> None:
    desk, payment_id = await Desk.open(shop), await _payment(shop)
    items = [await desk.item(payment_id), await desk.item(payment_id)]
    first_is_in = asyncio.Event()

    async def find(item_id: UUID, first: bool) -> None:
        async with tx():
            if not first:
                await first_is_in.wait()
            await fetch("UPDATE clearing_item SET status = 'MATCHED' WHERE id = $1", item_id)
            await standing.refresh([payment_id])
            first_is_in.set()
            # The other one is at the row by now, or will be: it waits for this commit.
            await fetch("SELECT pg_sleep(0.05)")

    await asyncio.gather(find(items[0], True), find(items[1], False))

    assert await _standing(shop, payment_id) == "MATCHED"


async def test_nobody_is_asked_about(shop: Shop) -> None:
    async with tx():
        assert await standing.refresh([]) == 0


async def _pays(attempt: Attempt) -> Outcome:
    return paid(attempt)


async def _payment(shop: Shop) -> UUID:
    shop.script.says("initiate", _pays)
    return (await shop.create()).payment.id


async def _refresh(payment_id: UUID) -> int:
    async with tx():
        return await standing.refresh([payment_id])


async def _standing(shop: Shop, payment_id: UUID) -> str:
    return str((await shop.payment(payment_id))["reconciliation_status"])
