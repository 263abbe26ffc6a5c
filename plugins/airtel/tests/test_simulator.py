"""The simulator behaves like Airtel, counts every movement of money, and breaks on the wire."""

import base64
import hashlib
import hmac
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dusangire.gateway import Attempt, Heard, Trust, WebhookRequest
from dusangire.plugins import Plugin
from dusangire.testing.rig import Simulated, serve, simulate, until
from dusangire_airtel.client import Client
from dusangire_airtel.config import Padding
from dusangire_airtel.signing import read_key, signed_headers

NewAttempt = Callable[..., Attempt]
KEY = b"simulated-callback-key"


def order(**changes: Any) -> dict[str, Any]:
    """A right order, except for `changes`: of the subscriber, of the transaction, or of itself."""
    body: dict[str, Any] = {
        "reference": "ORDER1001",
        "subscriber": {"country": "RW", "currency": "RWF", "msisdn": "733123456"},
        "transaction": {"amount": 1500, "country": "RW", "currency": "RWF", "id": uuid4().hex},
    }
    for name, value in changes.items():
        where = {"msisdn": body["subscriber"], "amount": body["transaction"]}.get(name, body)
        (body["transaction"] if name == "id" else where)[name] = value
    return body


@dataclass
class Shop:
    """Whoever Airtel's callbacks are for."""

    status: int = 200
    heard: list[WebhookRequest] = field(default_factory=list)

    async def hear(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        raw = await request.body()
        self.heard.append(WebhookRequest(method=request.method, headers=headers, body=raw))
        return Response(status_code=self.status)

    def statuses(self) -> list[str]:
        return [json.loads(one.body)["transaction"]["status_code"] for one in self.heard]


@asynccontextmanager
async def shop_and_airtel(plugin: Plugin) -> AsyncIterator[tuple[Shop, Simulated]]:
    shop = Shop()
    app = Starlette(routes=[Route("/hook", shop.hear, methods=["PUT", "POST"])])
    async with serve(app) as url, simulate(plugin, webhook_url=f"{url}/hook") as airtel:
        await airtel.tell("settings", scale=0.01)
        yield shop, airtel


async def headers(airtel: Simulated, **changes: str | None) -> dict[str, str]:
    """Those of a right call, except for `changes`; None leaves one out."""
    right: dict[str, str | None] = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {await Client(airtel.gateway).token()}",
        "X-Country": "RW",
        "X-Currency": "RWF",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return {name: value for name, value in right.items() if value is not None}


async def post(airtel: Simulated, body: object, headers: dict[str, str]) -> httpx.Response:
    url = f"{airtel.url}/merchant/v1/payments/"
    return await airtel.control.post(url, content=json.dumps(body), headers=headers)


async def settled(airtel: Simulated, attempt: Attempt, callbacks: int) -> dict[str, Any]:
    """The truth about an attempt once so many callbacks have been answered."""

    async def all_told() -> bool:
        return len((await airtel.transaction(attempt.reference))["webhooks"]) >= callbacks

    await until(all_told)
    return await airtel.transaction(attempt.reference)


# ── who may call, and with what ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, 200, "DP00800001006"),
        ({"Content_Type": "text/plain"}, 415, ""),
        ({"Authorization": None}, 403, "invalid_token"),
        ({"Authorization": "Bearer nonsense"}, 403, "invalid_token"),
        ({"X_Country": None}, 400, "ROUTER110"),
        ({"X_Country": "UG"}, 400, "ROUTER006"),
        ({"X_Currency": None}, 200, "x-wallet-id"),
        ({"X_Currency": "UGX"}, 200, "ROUTER112"),
        # The earlier check answers.
        ({"Content_Type": None, "Authorization": None}, 415, ""),
        ({"Authorization": None, "X_Country": None}, 403, "invalid_token"),
        ({"X_Country": None, "X_Currency": None}, 400, "ROUTER110"),
    ],
)
async def test_a_call_is_checked_in_airtels_order(
    airtel: Simulated, changes: dict[str, str | None], status: int, words: str
) -> None:
    response = await post(airtel, order(), await headers(airtel, **changes))

    assert response.status_code == status
    assert words in response.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"reference": "ABC"}, "ESB000008"),
        ({"reference": "x" * 65}, "ESB000008"),
        ({"reference": "PAY-1001"}, "ESB000008"),
        ({"msisdn": "250733123456"}, "ESB000036"),
        ({"msisdn": "0733123456"}, "ESB000036"),
        ({"msisdn": "73312345"}, "ESB000033"),
        ({"amount": 0}, "DP00800001004"),
        ({"amount": -5}, "DP00800001004"),
        ({"amount": "1500"}, "DP00800001004"),
        ({"amount": 1500.5}, "DP00800001004"),
        ({"amount": 1500.0}, "DP00800001004"),
        ({"amount": True}, "DP00800001004"),
        ({"id": ""}, "ROUTER003"),
        ({"transaction": None}, "ROUTER003"),
        ({"subscriber": "733123456"}, "ROUTER003"),
    ],
)
async def test_a_body_is_refused_with_status_200(
    airtel: Simulated, changes: dict[str, object], code: str
) -> None:
    response = await post(airtel, order(**changes), await headers(airtel))

    told = response.json()["status"]
    assert (response.status_code, told["success"], told["code"]) == (200, False, "400")
    assert code in {told.get("response_code"), told.get("result_code")}
    assert (await airtel.truth())["transactions"] == []


async def test_a_number_may_be_a_json_number(airtel: Simulated) -> None:
    response = await post(airtel, order(msisdn=733123456), await headers(airtel))

    assert response.json()["status"]["success"] is True


@pytest.mark.parametrize("path", ["v1/payments", "v1/payments/", "v2/payments", "v2/payments/"])
async def test_every_payments_path_is_there(airtel: Simulated, path: str) -> None:
    url, ready = f"{airtel.url}/merchant/{path}", await headers(airtel)

    response = await airtel.control.post(url, content=json.dumps(order()), headers=ready)

    assert response.json()["status"]["response_code"] == "DP00800001006"


async def test_a_token_lives_three_minutes(airtel: Simulated) -> None:
    ready = await headers(airtel)
    airtel.watch.forward(181)

    response = await post(airtel, order(), ready)

    assert response.json()["error"] == "invalid_token"


@pytest.mark.parametrize(
    "wrong", [{"client_secret": "wrong"}, {"client_id": "wrong"}, {"grant_type": "password"}]
)
async def test_wrong_credentials_are_refused(airtel: Simulated, wrong: dict[str, str]) -> None:
    config = airtel.gateway.config
    right = {
        "client_id": config.client_id,
        "client_secret": config.client_secret.get_secret_value(),
        "grant_type": "client_credentials",
    }
    url = f"{airtel.url}/auth/oauth2/token"

    refused = await airtel.control.post(url, json=right | wrong)
    given = await airtel.control.post(url, json=right)

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")
    assert given.json()["expires_in"] == "180"


async def test_where_signing_is_on_every_byte_counts(airtel: Simulated) -> None:
    await airtel.tell("settings", signing=True)
    body = json.dumps(order()).encode()
    key = read_key(await Client(airtel.gateway).public_key())
    signed = signed_headers(body, key, Padding.AUTO)
    url, ready = f"{airtel.url}/merchant/v1/payments/", await headers(airtel)

    changed = body.replace(b"1500", b"1501")
    answers = [
        await airtel.control.post(url, content=sent, headers={**ready, **given})
        for sent, given in ((body, {}), (changed, signed), (body + b" ", signed), (body, signed))
    ]

    told = [answer.json()["status"]["response_code"] for answer in answers]
    assert told == ["DP00800001026"] * 3 + ["DP00800001006"]
    assert [answer.status_code for answer in answers] == [403, 403, 403, 200]


async def test_money_ids_look_like_airtels_and_appear_when_paid(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    await airtel.tell("settings", mode="manual")
    attempt = new_attempt()
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)
    url = f"{airtel.url}/standard/v1/payments/{attempt.reference.replace('-', '')}"

    waiting = (await airtel.control.get(url, headers=await headers(airtel))).json()
    await airtel.tell("decide", reference=attempt.reference, decision="approve")
    paid = (await airtel.control.get(url, headers=await headers(airtel))).json()

    assert waiting["data"]["transaction"]["status"] == "TIP"
    assert "airtel_money_id" not in waiting["data"]["transaction"]
    money_id = paid["data"]["transaction"]["airtel_money_id"]
    assert re.fullmatch(r"MP\d{6}\.\d{4}\.A00001", money_id)


async def test_other_questions_are_answered(airtel: Simulated, new_attempt: NewAttempt) -> None:
    await airtel.tell("settings", scale=0)
    attempt = new_attempt(phone="+250730000102")
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    async def paid() -> bool:
        return bool((await airtel.transaction(attempt.reference))["moves"] == 1)

    await until(paid)
    get, ready = airtel.control.get, await headers(airtel)
    balance = (await get(f"{airtel.url}/standard/v2/users/balance", headers=ready)).json()
    payer = (await get(f"{airtel.url}/standard/v1/users/733123456", headers=ready)).json()
    listed = (await get(f"{airtel.url}/merchant/v1/transactions", headers=ready)).json()

    assert balance["data"]["balance"] == "1,001,500.00"
    assert payer["data"]["is_pin_set"] is True
    [row] = listed["data"]["transactions"]
    assert (row["transaction"]["amount"], row["transaction"]["status"]) == ("1500", "TS")


# ── stories and callbacks ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("number", "status", "heard", "moves"),
    [
        ("733123456", "SUCCEEDED", ["TS"], 1),
        ("720000000", "SUCCEEDED", ["TS"], 1),
        ("730000002", "FAILED", ["TF"], 0),
        ("730000003", "FAILED", ["TF"], 0),
        ("730000005", "FAILED", ["TF"], 0),
        ("730000007", "FAILED", ["TF"], 0),
        ("730000008", "FAILED", ["TF"], 0),
        ("730000024", "SUCCEEDED", ["TS"], 1),
        ("730000026", "SUCCEEDED", ["TS"], 1),
        ("730000029", "FAILED", ["TF"], 0),
        ("730000102", "SUCCEEDED", [], 1),
        ("730000103", "SUCCEEDED", ["TS"] * 3, 1),
        ("730000104", "SUCCEEDED", ["TF"], 1),
        ("730000105", "FAILED", ["TS"], 0),
        ("730000106", "SUCCEEDED", ["TS"], 1),
        ("730000107", "SUCCEEDED", ["TS"], 1),
        ("730000117", "SUCCEEDED", ["TS"], 1),
    ],
)
async def test_each_number_tells_its_story(
    plugin: Plugin,
    new_attempt: NewAttempt,
    number: str,
    status: str,
    heard: list[str],
    moves: int,
) -> None:
    attempt = new_attempt(phone=f"+250{number}")

    async with shop_and_airtel(plugin) as (shop, airtel):
        await airtel.plugin.initiate_payment(airtel.gateway, attempt)

        async def decided() -> bool:
            return bool((await airtel.transaction(attempt.reference))["status"] != "PENDING")

        await until(decided)
        told = await settled(airtel, attempt, len(heard))

    assert (told["status"], told["moves"]) == (status, moves)
    assert shop.statuses() == heard


@pytest.mark.parametrize("number", ["730000100", "730000101"])
async def test_some_numbers_never_decide(
    plugin: Plugin, new_attempt: NewAttempt, number: str
) -> None:
    attempt, other = new_attempt(phone=f"+250{number}"), new_attempt()

    async with shop_and_airtel(plugin) as (shop, airtel):
        await airtel.plugin.initiate_payment(airtel.gateway, attempt)
        await airtel.plugin.initiate_payment(airtel.gateway, other)
        await settled(airtel, other, 1)
        told = await airtel.transaction(attempt.reference)

    assert (told["status"], told["webhooks"]) == ("PENDING", [])
    assert len(shop.heard) == 1


@pytest.mark.parametrize("number", ["730000010", "730000025", "730000110", "788123456"])
async def test_some_numbers_are_refused_and_nothing_is_stored(
    airtel: Simulated, number: str
) -> None:
    response = await post(airtel, order(msisdn=number), await headers(airtel))

    told = response.json()["status"]
    assert response.status_code == (500 if number == "730000025" else 400)
    assert told["response_code"] == "DP00800001005"
    assert (await airtel.truth())["transactions"] == []


@pytest.mark.parametrize("way", ["transaction", "body", "header"])
async def test_callbacks_are_hashed_as_one_tells_it_and_can_be_read(
    plugin: Plugin, new_attempt: NewAttempt, way: str
) -> None:
    attempt = new_attempt()

    async with shop_and_airtel(plugin) as (shop, airtel):
        await airtel.tell("settings", callback_hash=way)
        await airtel.plugin.initiate_payment(airtel.gateway, attempt)
        await settled(airtel, attempt, 1)
        heard: Heard = airtel.plugin.read_webhook(airtel.gateway, shop.heard[0])

    assert (heard.reference, heard.trust) == (attempt.reference, Trust.SIGNED)
    raw = shop.heard[0].body
    body = json.loads(raw)
    hashed = {"transaction": _compact(body["transaction"]), "header": raw}.get(way)
    if way == "body":
        hashed = _compact({"transaction": body["transaction"]})
    given = shop.heard[0].headers["hash"] if way == "header" else body["hash"]
    assert given == base64.b64encode(hmac.digest(KEY, hashed or b"", hashlib.sha256)).decode()


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize(("number", "way"), [("730000106", "transaction"), ("733123456", "none")])
async def test_callbacks_may_lack_their_hash(
    plugin: Plugin, new_attempt: NewAttempt, number: str, way: str
) -> None:
    attempt = new_attempt(phone=f"+250{number}")

    async with shop_and_airtel(plugin) as (shop, airtel):
        await airtel.tell("settings", callback_hash=way)
        await airtel.plugin.initiate_payment(airtel.gateway, attempt)
        await settled(airtel, attempt, 1)

    assert list(json.loads(shop.heard[0].body)) == ["transaction"]


@pytest.mark.parametrize(("tries", "status", "came"), [(1, 503, 1), (3, 503, 3), (3, 200, 1)])
async def test_a_callback_is_sent_until_it_is_taken(
    plugin: Plugin, new_attempt: NewAttempt, tries: int, status: int, came: int
) -> None:
    attempt = new_attempt()

    async with shop_and_airtel(plugin) as (shop, airtel):
        shop.status = status
        await airtel.tell("settings", callback_tries=tries)
        await airtel.plugin.initiate_payment(airtel.gateway, attempt)
        told = await settled(airtel, attempt, came)

    assert [one["status"] for one in told["webhooks"]] == [status] * came
    assert len(shop.heard) == came


async def test_callbacks_go_to_no_address_that_a_request_names(airtel: Simulated) -> None:
    ready = await headers(airtel, X_Callback_Url="https://evil.example/hook")

    await post(airtel, order(), ready)

    [told] = (await airtel.truth())["transactions"]
    assert told["webhook_url"] is None


# ── the control API, the phone and the line ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("decision", "status", "reason"),
    [("approve", "SUCCEEDED", None), ("decline", "FAILED", "DP00800001008")],
)
async def test_a_person_decides(
    airtel: Simulated, new_attempt: NewAttempt, decision: str, status: str, reason: str | None
) -> None:
    await airtel.tell("settings", mode="manual", scale=1)
    attempt = new_attempt(description="Order 1042")
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    phone = (await airtel.control.get("phone")).json()
    await airtel.tell("decide", reference=attempt.reference, decision=decision)
    told = await airtel.transaction(attempt.reference)

    assert (phone["name"], phone["color"]) == ("Airtel Money", "#E40000")
    assert phone["waiting"][0]["message"] == "PAY7K3M9Q2X Order 1042"
    assert (told["status"], told["reason"]) == (status, reason)


async def test_amounts_can_choose_the_outcome(airtel: Simulated, new_attempt: NewAttempt) -> None:
    await airtel.tell("settings", scale=0, outcomes={"1500": "DP00800001007"})
    attempt = new_attempt()
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    async def failed() -> bool:
        return bool((await airtel.transaction(attempt.reference))["status"] == "FAILED")

    await until(failed)

    assert (await airtel.transaction(attempt.reference))["reason"] == "DP00800001007"


async def test_money_is_counted_by_reference(airtel: Simulated, new_attempt: NewAttempt) -> None:
    attempts = [new_attempt() for _ in range(3)]
    for attempt in attempts * 2:
        await airtel.plugin.initiate_payment(airtel.gateway, attempt)

    async def all_paid() -> bool:
        return all((await airtel.truth())["moves_by_reference"].values())

    await until(all_paid)

    counted = (await airtel.truth())["moves_by_reference"]
    assert counted == {attempt.reference: 1 for attempt in attempts}


@pytest.mark.parametrize(
    ("fault", "stored"),
    [("lost_replies", 1), ("refused", 0), ("unavailable", 0), ("html", 0), ("truncated", 1)],
)
async def test_the_line_breaks_as_every_simulators_does(
    airtel: Simulated, new_attempt: NewAttempt, fault: str, stored: int
) -> None:
    await airtel.tell("faults", **{fault: 1, "only": "payments"})

    await airtel.plugin.initiate_payment(airtel.gateway, new_attempt())

    assert len((await airtel.truth())["transactions"]) == stored


async def test_reset_forgets_everything(airtel: Simulated, new_attempt: NewAttempt) -> None:
    await airtel.tell("settings", signing=True, callback_tries=3)
    await airtel.tell("reset")

    assert (await airtel.truth())["transactions"] == []
    told = (await airtel.control.get("settings")).json()
    assert (told["signing"], told["callback_tries"], told["delay"]) == (False, 1, 5)


def test_the_simulator_runs_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "dusangire.simulation", "airtel"]
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
        "import sys, dusangire_airtel.gateway; "
        "print(sorted({'starlette', 'uvicorn', 'tortoise', 'pytest', 'jinja2'} & set(sys.modules)))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert printed.stdout.strip() == "[]"
