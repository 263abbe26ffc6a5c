"""The receiver in docs/guides/receive-webhooks.md does what the guide says of it."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from graphql import parse, validate

from dusangire.outbox.body import TYPES, WILDCARDS
from dusangire.outbox.deliveries import Taken, headers
from dusangire_schema import executable

GUIDE = (Path(__file__).parents[2] / "docs/guides/receive-webhooks.md").read_text()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    [code] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "receive-webhooks.md", "exec"), names)
    transport = httpx.ASGITransport(app=names["app"])
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.test") as http:
        yield http


async def send(http: httpx.AsyncClient, version: int, *, secret: str = SECRET) -> int:
    payment = {"id": "1", "version": version, "status": "SUCCEEDED", "orderReference": "ORDER-7"}
    taken = Taken(
        id=uuid4(),
        endpoint_id=uuid4(),
        url="https://shop.test/hooks/payments",
        body=orjson.dumps({"type": "payment.succeeded", "data": {"payment": payment}}).decode(),
        tries=1,
        step=0,
        secrets=(secret,),
    )
    answer = await http.post(
        taken.url, content=taken.body, headers=headers(taken, datetime.now(UTC))
    )
    return answer.status_code


async def test_the_guides_receiver_ships_once_and_takes_no_forgery(
    receiver: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "whsec_" + "B" * 43 + "="

    statuses = [
        await send(receiver, 4),
        await send(receiver, 4),
        await send(receiver, 3),
        await send(receiver, 5, secret=other),
    ]

    assert statuses == [204, 204, 204, 400]
    assert capsys.readouterr().out == "ship ORDER-7\n"


def test_the_guide_names_every_event() -> None:
    named = re.findall(r"`((?:payment|refund|invoice|reconciliation)\.[a-z_*]+|\*)`", GUIDE)
    assert {*named} >= TYPES | WILDCARDS


def test_what_the_guide_asks_of_the_api_is_there() -> None:
    documents = re.findall(r"```graphql\n(.*?)```", GUIDE, re.DOTALL)

    assert documents
    assert [error for text in documents for error in validate(executable, parse(text))] == []
