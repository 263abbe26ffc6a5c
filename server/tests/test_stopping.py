"""Who is told to stop finishes what is under way."""

import asyncio
from pathlib import Path

from core.tests.refunding import Refunder, given_back, open_refund_shop

from dusangire.database import drained
from dusangire.gateway import Outcome, Refund
from dusangire.testing.database import fresh_database
from dusangire_server.stopping import Stop, finish_calls
from dusangire_server.worker import _Refunds


async def test_the_answer_to_a_refund_that_was_sent_is_waited_for(tmp_path: Path) -> None:
    gateway, arrived, answered = Refunder(), asyncio.Event(), asyncio.Event()

    async def slowly(refund: Refund) -> Outcome:
        arrived.set()
        await answered.wait()
        return given_back(refund)

    gateway.answers("refund", slowly)
    async with fresh_database() as url, open_refund_shop(tmp_path, url, gateway=gateway) as shop:
        refund = await shop.approved(await shop.pay())
        await shop.refund_due()
        await _Refunds(shop.core, 4).start_due()
        await arrived.wait()

        asyncio.get_running_loop().call_later(0.1, answered.set)
        await finish_calls(Stop(), 20)
        status = (await shop.refund_row(refund.id))["status"]
        await drained(20)

        assert status == "SUCCEEDED"
