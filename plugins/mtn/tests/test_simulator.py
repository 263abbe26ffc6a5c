"""The simulator behaves like MTN, counts every movement of money, and breaks on the real wire."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dusangire.gateway import Attempt
from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated, serve, simulate, until
from dusangire_mtn.client import Client

NewAttempt = Callable[..., Attempt]
KEY = {"Ocp-Apim-Subscription-Key": "simulated-collection-key"}
ORDER = {
    "amount": "1500",
    "currency": "RWF",
    "externalId": "order-1",
    "payer": {"partyIdType": "MSISDN", "partyId": "250788123456"},
    "payerMessage": "Order 1042",
    "payeeNote": "Order 1042",
}


@dataclass
class Shop:
    """Whoever MTN's webhooks are for."""

    status: int = 200
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def hear(self, request: Request) -> Response:
        self.heard.append((request.method, json.loads(await request.body())))
        return Response(status_code=self.status)

    def statuses(self) -> list[str]:
        return [body["status"] for _, body in self.heard]


@asynccontextmanager
async def shop_and_momo(plugin: Plugin) -> AsyncIterator[tuple[Shop, Simulated]]:
    shop = Shop()
    app = Starlette(routes=[Route("/hook", shop.hear, methods=["PUT", "POST"])])
    async with serve(app) as url, simulate(plugin, webhook_url=f"{url}/hook") as momo:
        await momo.tell("settings", scale=0.01)
        gateway = replace(momo.gateway, webhook_url=f"{url}/hook")
        yield shop, replace(momo, gateway=gateway)


async def headers(momo: Simulated, **changes: str | None) -> dict[str, str]:
    """Those of a right call, except for `changes`; None leaves one out."""
    right: dict[str, str | None] = {
        **KEY,
        "Authorization": f"Bearer {await Client(momo.gateway).token('collection')}",
        "X-Target-Environment": "mtnrwanda",
        "X-Reference-Id": str(uuid4()),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return {name: value for name, value in right.items() if value is not None}


async def post(momo: Simulated, body: object, headers: dict[str, str]) -> httpx.Response:
    return await momo.control.post(
        f"{momo.url}/collection/v1_0/requesttopay", json=body, headers=headers
    )


async def settled(momo: Simulated, attempt: Attempt, webhooks: int) -> dict[str, Any]:
    """The truth about an attempt once so many webhooks have been answered."""

    async def all_told() -> bool:
        return len((await momo.transaction(attempt.reference))["webhooks"]) >= webhooks

    await until(all_told)
    return await momo.transaction(attempt.reference)


# ── who may call, and with what ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({}, 202, ""),
        ({"Ocp_Apim_Subscription_Key": None}, 401, "subscription key"),
        ({"Ocp_Apim_Subscription_Key": "wrong"}, 401, "subscription key"),
        ({"Ocp_Apim_Subscription_Key": "simulated-disbursement-key"}, 401, "subscription key"),
        ({"Authorization": None}, 401, "Unauthorized"),
        ({"Authorization": "Bearer nonsense"}, 401, "Unauthorized"),
        ({"X_Target_Environment": None}, 500, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        ({"X_Target_Environment": "sandbox"}, 500, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        ({"X_Reference_Id": None}, 400, ""),
        ({"X_Reference_Id": "1042"}, 400, ""),
        ({"X_Reference_Id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}, 400, ""),
    ],
)
async def test_a_call_is_checked_as_mtn_does(
    momo: Simulated, changes: dict[str, str | None], status: int, word: str
) -> None:
    response = await post(momo, ORDER, await headers(momo, **changes))

    assert response.status_code == status
    assert word in response.text
    assert bool(response.text) == bool(word)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"amount": 1500}, 400),
        ({"amount": "0"}, 400),
        ({"amount": "-5"}, 400),
        ({"amount": "1,500"}, 400),
        ({"payer": None}, 400),
        ({"payer": {"partyIdType": "MSISDN", "partyId": "+250788123456"}}, 400),
        ({"payerMessage": "Aline's order"}, 400),
        ({"payeeNote": "x" * 161}, 400),
        ({"currency": "EUR"}, 500),
    ],
)
async def test_a_body_is_checked_as_mtn_does(
    momo: Simulated, changes: dict[str, object], status: int
) -> None:
    response = await post(momo, ORDER | changes, await headers(momo))

    assert response.status_code == status
    assert (await momo.truth())["transactions"] == []


async def test_an_expired_token_is_refused(momo: Simulated) -> None:
    ready = await headers(momo)
    momo.watch.forward(3601)

    assert (await post(momo, ORDER, ready)).status_code == 401


async def test_a_token_of_another_product_is_refused(momo: Simulated) -> None:
    token = await Client(momo.gateway).token("disbursement")

    response = await post(momo, ORDER, await headers(momo, Authorization=f"Bearer {token}"))

    assert response.status_code == 401


async def test_only_the_registered_host_gets_webhooks(plugin: Plugin) -> None:
    async with shop_and_momo(plugin) as (_, momo):
        ready = await headers(momo, X_Callback_Url="https://evil.example/hook")
        response = await post(momo, ORDER, ready)

    assert response.json()["code"] == "INVALID_CALLBACK_URL_HOST"


async def test_an_api_user_can_be_made_as_in_the_sandbox(plugin: Plugin) -> None:
    user = str(uuid4())
    async with simulate(plugin, target_environment="sandbox", currency="EUR") as momo:
        http, url = momo.control, f"{momo.url}/v1_0/apiuser"

        made = await http.post(
            url,
            json={"providerCallbackHost": "pay.example.rw"},
            headers={**KEY, "X-Reference-Id": user},
        )
        again = await http.post(
            url,
            json={"providerCallbackHost": "pay.example.rw"},
            headers={**KEY, "X-Reference-Id": user},
        )
        key = await http.post(f"{url}/{user}/apikey", headers=KEY)
        shown = await http.get(f"{url}/{user}", headers=KEY)
        token = await http.post(
            f"{momo.url}/collection/token/", headers=KEY, auth=(user, key.json()["apiKey"])
        )

    assert (made.status_code, made.text, again.status_code) == (201, "", 409)
    assert re.fullmatch(r"[0-9a-f]{32}", key.json()["apiKey"])
    assert shown.json() == {
        "providerCallbackHost": "pay.example.rw",
        "targetEnvironment": "sandbox",
    }
    assert token.json()["token_type"] == "access_token"


async def test_the_new_platform_turns_away_python_requests(momo: Simulated) -> None:
    await momo.tell("settings", profile="new_platform")
    ready = await headers(momo, User_Agent="python-requests/2.32")

    response = await post(momo, ORDER, ready)

    assert response.status_code == 403
    assert response.headers["content-type"].startswith("text/html")


async def test_other_calls_answer_as_mtn_does(momo: Simulated, new_attempt: NewAttempt) -> None:
    attempt = new_attempt(phone="+250780000202")
    await momo.plugin.initiate_payment(momo.gateway, attempt)
    url, ready = f"{momo.url}/collection/v1_0", await headers(momo)
    await asyncio.sleep(0.1)

    balance = await momo.control.get(f"{url}/account/balance/RWF", headers=ready)
    person = await momo.control.get(
        f"{url}/accountholder/msisdn/250788123456/basicuserinfo", headers=ready
    )
    notified = await momo.control.post(
        f"{url}/requesttopay/{attempt.reference}/deliverynotification", headers=ready
    )

    assert balance.json() == {"availableBalance": "1001500", "currency": "RWF"}
    assert person.json()["family_name"] == "Box"
    assert notified.status_code == 200


async def test_money_can_be_paid_out(momo: Simulated) -> None:
    token = await Client(momo.gateway).token("disbursement")
    ready = await headers(momo, Authorization=f"Bearer {token}")
    ready["Ocp-Apim-Subscription-Key"] = "simulated-disbursement-key"
    order = {**ORDER, "payee": ORDER["payer"]}
    url = f"{momo.url}/disbursement/v1_0"

    for kind in ("transfer", "deposit"):
        ready["X-Reference-Id"] = str(uuid4())
        asked = await momo.control.post(f"{url}/{kind}", json=order, headers=ready)
        await asyncio.sleep(0.1)
        told = await momo.control.get(f"{url}/{kind}/{ready['X-Reference-Id']}", headers=ready)

        assert asked.status_code == 202
        assert told.json()["status"] == "SUCCESSFUL"
        assert told.json()["payee"]["partyId"] == "250788123456"


# ── stories and webhooks ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("phone", "heard", "moves"),
    [
        ("+250788123456", ["SUCCESSFUL"], 1),
        ("+250780000101", ["FAILED"], 0),
        ("+250780000203", ["SUCCESSFUL"] * 3, 1),
        ("+250780000205", ["SUCCESSFUL"], 0),
        ("+250780000206", ["SUCCESSFUL"], 1),
        ("+250780000207", ["FAILED", "SUCCESSFUL"], 1),
    ],
)
async def test_each_number_tells_its_story(
    plugin: Plugin, new_attempt: NewAttempt, phone: str, heard: list[str], moves: int
) -> None:
    attempt = new_attempt(phone=phone)
    async with shop_and_momo(plugin) as (shop, momo):
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        told = await settled(momo, attempt, len(heard))

    assert shop.statuses() == heard
    assert told["moves"] == moves
    assert [delivery["status"] for delivery in told["webhooks"]] == [200] * len(heard)


async def test_a_webhook_may_come_before_what_it_says_is_true(
    plugin: Plugin, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(phone="+250780000204")
    async with shop_and_momo(plugin) as (shop, momo):
        await momo.tell("settings", scale=1, delay=0.01)
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        told = await settled(momo, attempt, 1)

    assert shop.statuses() == ["SUCCESSFUL"]
    assert told["status"] == "PENDING"


async def test_a_silent_success_sends_no_webhook(plugin: Plugin, new_attempt: NewAttempt) -> None:
    attempt = new_attempt(phone="+250780000202")
    async with shop_and_momo(plugin) as (shop, momo):
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        await asyncio.sleep(0.2)
        told = await momo.transaction(attempt.reference)

    assert (told["status"], shop.heard) == ("SUCCEEDED", [])


async def test_a_wrong_amount_stands_in_the_webhook_only(
    plugin: Plugin, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(phone="+250780000206")
    async with shop_and_momo(plugin) as (shop, momo):
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        told = await settled(momo, attempt, 1)

    assert shop.heard[0][1]["amount"] == "999999"
    assert told["amount"] == "1500"


async def test_the_first_question_about_one_number_is_answered_404(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    await momo.tell("settings", scale=1)
    attempt = new_attempt(phone="+250780000208")
    await momo.plugin.initiate_payment(momo.gateway, attempt)

    outcomes = [await momo.plugin.check_payment(momo.gateway, attempt) for _ in range(2)]

    assert [type(outcome).__name__ for outcome in outcomes] == ["NotSent", "Accepted"]


@pytest.mark.parametrize(("setting", "method"), [("AUTO", "PUT"), ("PUT", "PUT"), ("POST", "POST")])
async def test_webhooks_are_put_or_posted(
    plugin: Plugin, new_attempt: NewAttempt, setting: str, method: str
) -> None:
    attempt = new_attempt()
    async with shop_and_momo(plugin) as (shop, momo):
        await momo.tell("settings", webhook_method=setting)
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        await settled(momo, attempt, 1)

    assert [heard[0] for heard in shop.heard] == [method]


async def test_a_webhook_looks_like_the_status_and_can_be_read(
    plugin: Plugin, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(phone="+250780000107")
    async with shop_and_momo(plugin) as (shop, momo):
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        await settled(momo, attempt, 1)
        status = await Client(momo.gateway).payment_status(attempt.reference)

    assert shop.heard[0][1] == status.fields


async def test_the_answer_to_each_webhook_is_remembered(
    plugin: Plugin, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()
    async with shop_and_momo(plugin) as (shop, momo):
        shop.status = 503
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        told = await settled(momo, attempt, 1)

    assert [delivery["status"] for delivery in told["webhooks"]] == [503]
    assert len(shop.heard) == 1


@pytest.mark.parametrize(
    ("faults", "heard", "noted"),
    [
        ({"dropped_webhooks": 1}, 0, 1),
        ({"duplicated_webhooks": 1}, 2, 2),
        ({"delayed_webhooks": 1, "webhook_delay": 0.2}, 1, 1),
    ],
)
async def test_webhooks_get_lost_doubled_and_late(
    plugin: Plugin,
    new_attempt: NewAttempt,
    faults: dict[str, float],
    heard: int,
    noted: int,
) -> None:
    attempt = new_attempt()
    async with shop_and_momo(plugin) as (shop, momo):
        await momo.tell("faults", **faults)
        await momo.plugin.initiate_payment(momo.gateway, attempt)
        told = await settled(momo, attempt, noted)

    assert (len(shop.heard), len(told["webhooks"])) == (heard, noted)


async def test_late_webhooks_come_out_of_order(plugin: Plugin, new_attempt: NewAttempt) -> None:
    attempts = [new_attempt() for _ in range(12)]
    async with shop_and_momo(plugin) as (shop, momo):
        await momo.tell("faults", delayed_webhooks=1, webhook_delay=0.3)
        for attempt in attempts:
            await momo.plugin.initiate_payment(momo.gateway, attempt)
        for attempt in attempts:
            await settled(momo, attempt, 1)

    arrived = [body["externalId"] for _, body in shop.heard]
    assert sorted(arrived) == sorted(attempt.reference for attempt in attempts)
    assert arrived != [attempt.reference for attempt in attempts]


# ── faults on the wire ───────────────────────────────────────────────────────────────────────────


async def test_a_lost_reply_looks_like_a_broken_connection_and_makes_no_noise(
    momo: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    ready = await headers(momo)
    await momo.tell("faults", lost_replies=1, times=1)

    with caplog.at_level(logging.INFO), pytest.raises(httpx.RemoteProtocolError):
        await post(momo, ORDER, ready)

    assert list((await momo.truth())["moves_by_reference"]) == [ready["X-Reference-Id"]]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_refused_request_is_not_done(momo: Simulated) -> None:
    ready = await headers(momo)
    await momo.tell("faults", refused=1, times=1)

    with pytest.raises(httpx.RemoteProtocolError):
        await post(momo, ORDER, ready)

    assert (await momo.truth())["transactions"] == []


async def test_a_hung_reply_never_comes(momo: Simulated) -> None:
    ready = await headers(momo)
    await momo.tell("faults", hung_replies=1, times=1)

    with pytest.raises(httpx.ReadTimeout):
        await momo.control.post(
            f"{momo.url}/collection/v1_0/requesttopay", json=ORDER, headers=ready, timeout=0.2
        )

    assert len((await momo.truth())["transactions"]) == 1


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "done"),
    [
        ("unavailable", 503, "application/json", 0),
        ("html", 200, "text/html; charset=utf-8", 0),
        ("truncated", 202, "application/json", 1),
    ],
)
async def test_an_answer_can_be_spoilt(
    momo: Simulated, fault: str, status: int, content_type: str, done: int
) -> None:
    await momo.tell("faults", **{fault: 1, "only": "requesttopay"})

    response = await post(momo, ORDER, await headers(momo))

    assert (response.status_code, response.headers["content-type"]) == (status, content_type)
    assert len((await momo.truth())["transactions"]) == done


async def test_an_answer_can_be_40_mb_long(momo: Simulated) -> None:
    ready = await headers(momo)
    await momo.tell("faults", oversized=1, times=1)

    response = await post(momo, ORDER, ready)

    assert len(response.content) > 39_000_000


async def test_answers_can_be_slow(momo: Simulated) -> None:
    ready = await headers(momo)
    await momo.tell("faults", latency=0.2)

    response = await post(momo, ORDER, ready)

    assert response.elapsed.total_seconds() >= 0.2


async def test_the_same_seed_gives_the_same_faults(momo: Simulated) -> None:
    async def run(seed: int) -> list[int]:
        await momo.tell("reset", seed=seed)
        await momo.tell("faults", unavailable=0.5)
        url = f"{momo.url}/collection/v1_0/requesttopay/1"
        return [(await momo.control.get(url)).status_code for _ in range(20)]

    assert await run(7) == await run(7)
    assert await run(7) != await run(8)


# ── the control API ──────────────────────────────────────────────────────────────────────────────


async def test_money_is_counted_by_reference_and_by_external_id(momo: Simulated) -> None:
    references = []
    for _ in range(2):
        ready = await headers(momo)
        references.append(ready["X-Reference-Id"])
        for _ in range(3):
            await post(momo, ORDER, ready)
    await asyncio.sleep(0.1)

    truth = await momo.truth()

    assert truth["moves_by_reference"] == dict.fromkeys(references, 1)
    assert truth["moves_by_external_id"] == {"order-1": 2}


@pytest.mark.parametrize(
    ("decision", "status", "moves"), [("approve", "SUCCEEDED", 1), ("decline", "FAILED", 0)]
)
async def test_a_person_decides(
    momo: Simulated, new_attempt: NewAttempt, decision: str, status: str, moves: int
) -> None:
    await momo.tell("settings", mode="manual")
    attempt = new_attempt()
    await momo.plugin.initiate_payment(momo.gateway, attempt)
    await asyncio.sleep(0.1)

    waiting = await momo.transaction(attempt.reference)
    await momo.tell("decide", reference=attempt.reference, decision=decision)
    told = await momo.transaction(attempt.reference)

    assert waiting["status"] == "PENDING"
    assert (told["status"], told["moves"]) == (status, moves)


async def test_a_decision_comes_before_the_script(momo: Simulated, new_attempt: NewAttempt) -> None:
    await momo.tell("settings", scale=0.05)
    attempt = new_attempt()
    await momo.plugin.initiate_payment(momo.gateway, attempt)

    await momo.tell("decide", reference=attempt.reference, decision="decline")
    await asyncio.sleep(0.3)

    assert (await momo.transaction(attempt.reference))["status"] == "FAILED"


async def test_what_is_decided_stays_decided(momo: Simulated, new_attempt: NewAttempt) -> None:
    attempt = new_attempt()
    await momo.plugin.initiate_payment(momo.gateway, attempt)
    await asyncio.sleep(0.1)

    response = await momo.control.post(
        "decide", json={"reference": attempt.reference, "decision": "approve"}
    )

    assert response.status_code == 400
    assert (await momo.transaction(attempt.reference))["moves"] == 1


async def test_amounts_can_choose_the_outcome(momo: Simulated, new_attempt: NewAttempt) -> None:
    await momo.tell("settings", outcomes={"1500": "NOT_ENOUGH_FUNDS"})
    attempt = new_attempt()
    await momo.plugin.initiate_payment(momo.gateway, attempt)
    await asyncio.sleep(0.1)

    assert (await momo.transaction(attempt.reference))["reason"] == "NOT_ENOUGH_FUNDS"


async def test_reset_forgets_everything(momo: Simulated, new_attempt: NewAttempt) -> None:
    before = (await momo.control.get("settings")).json()
    await momo.tell("settings", mode="manual", scale=0.5)
    await momo.tell("faults", unavailable=1, only="nowhere")
    await momo.plugin.initiate_payment(momo.gateway, new_attempt())

    await momo.tell("reset")

    assert (await momo.truth())["transactions"] == []
    assert (await momo.control.get("faults")).json()["unavailable"] == 0
    assert (await momo.control.get("settings")).json() == before | {"scale": 1}


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"seed=1", 415),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, b"{}", 403),
        ({"Content-Type": "application/json", "Origin": "null"}, b"{}", 403),
        ({"Content-Type": "application/json"}, b"{", 400),
        ({"Content-Type": "application/json"}, b"[]", 400),
        ({"Content-Type": "application/json"}, b'{"speed": 1}', 400),
    ],
)
async def test_a_foreign_page_decides_nothing(
    momo: Simulated, headers: dict[str, str], body: bytes, status: int
) -> None:
    for path in ("decide", "faults", "settings", "reset"):
        response = await momo.control.post(path, content=body, headers=headers)

        assert response.status_code == status, path


@pytest.mark.parametrize(
    "faults", [{"lost_replies": 0.6, "html": 0.6}, {"lost_replies": 2}, {"latency": -1}]
)
async def test_impossible_faults_are_refused(momo: Simulated, faults: dict[str, float]) -> None:
    assert (await momo.control.post("faults", json=faults)).status_code == 400


async def test_faults_do_not_touch_the_control_api(momo: Simulated) -> None:
    await momo.tell("faults", lost_replies=1)

    assert (await momo.truth())["transactions"] == []
    assert (await momo.control.get(f"{momo.url}/")).status_code == 200


def test_the_simulator_runs_in_a_process_of_its_own() -> None:
    command = [
        sys.executable,
        "-m",
        "dusangire.simulation",
        "mtn",
        "--config",
        '{"currency":"EUR"}',
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            told = httpx.get(f"{url}/_control/truth", timeout=30)
        finally:
            process.terminate()

    assert told.json()["transactions"] == []


def test_importing_the_plugin_does_nothing_and_stays_light() -> None:
    code = (
        "import sys, dusangire_mtn.gateway; "
        "print(sorted({'starlette', 'uvicorn', 'tortoise', 'pytest', 'jinja2'} & set(sys.modules)))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert printed.stdout.strip() == "[]"
