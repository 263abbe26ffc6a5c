"""What was found is written down as it is by then."""

from core.tests.conftest import Shop
from core.tests.reconciling import Counter
from structlog.testing import capture_logs

from dusangire.access import SYSTEM
from dusangire.reconciliation import matching, recording


async def test_what_does_not_add_up_any_more_is_left_for_the_next_run(shop: Shop) -> None:
    counter = await Counter.open(shop)
    sound, changed = await counter.paid(5000), await counter.paid(7000)
    lines = [
        await counter.line(5000, ("RF", sound["named"])),
        await counter.line(7000, ("RF", changed["named"])),
    ]
    await _exact(counter)

    # As a payout grows by an import that is committed in between.
    await shop.run("UPDATE clearing_item SET amount = 7500 WHERE id = $1", changed["id"])
    with capture_logs() as said:
        written = await recording.confirm_found(counter.desk.account_id, None, SYSTEM)
    await shop.run("UPDATE clearing_item SET amount = 7000 WHERE id = $1", changed["id"])

    statuses = [
        await shop.value("SELECT status FROM statement_line WHERE id = $1", one) for one in lines
    ]
    assert (written, statuses) == (1, ["MATCHED", "OPEN"])
    assert await counter.balanced() == (0, 0)
    [warning] = [one for one in said if one["log_level"] == "warning"]
    assert warning["items"] == [str(changed["id"])]

    await _exact(counter)
    assert await recording.confirm_found(counter.desk.account_id, None, SYSTEM) == 1
    assert await counter.balanced() == (0, 0)


async def test_what_is_not_open_any_more_is_not_written_and_not_complained_about(
    shop: Shop,
) -> None:
    counter = await Counter.open(shop)
    item = await counter.paid(5000)
    line_id = await counter.line(5000, ("RF", item["named"]))
    await _exact(counter)

    await shop.run("UPDATE statement_line SET status = 'IGNORED' WHERE id = $1", line_id)
    with capture_logs() as said:
        written = await recording.confirm_found(counter.desk.account_id, None, SYSTEM)

    assert (written, said) == (0, [])


async def _exact(counter: Counter) -> None:
    days = await counter.shop.row("SELECT min(booking_date), max(booking_date) FROM statement_line")
    scope = await matching.scope_of(await counter.desk.account(), days["min"], days["max"])
    await matching.exact(scope)
