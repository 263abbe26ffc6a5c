"""Only Ikaze Pay can tell us that somebody paid."""

import json
from dataclasses import replace

import pytest

from dusangire.errors import WebhookRejected
from dusangire.gateway import Heard, Succeeded, Trust
from dusangire.money import Money
from dusangire.testing import Stand, payer


async def test_a_notification_tells_that_it_was_paid(stand: Stand) -> None:
    case = stand.case(payer(phone="+250788123456"), Money(5_000, "RWF"))
    await case.initiate()

    heard = stand.read(await stand.webhook(case))

    assert isinstance(heard, Heard)
    assert heard.trust is Trust.SIGNED
    assert isinstance(heard.outcome, Succeeded)
    assert heard.reference == heard.outcome.reference == case.reference


@pytest.mark.parametrize(
    ("change", "status"),
    [({"signature": "0" * 64}, 401), ({"text": '{"state": "PAID"}'}, 401), ({"text": None}, 400)],
)
async def test_whatever_else_is_turned_away(
    stand: Stand, change: dict[str, str | None], status: int
) -> None:
    case = stand.case(payer(phone="+250788123456"), Money(5_000, "RWF"))
    await case.initiate()
    genuine = await stand.webhook(case)
    forged = json.dumps(json.loads(genuine.body) | change).encode()

    answer = stand.read(replace(genuine, body=forged))

    assert isinstance(answer, WebhookRejected)
    assert answer.status == status
