"""POST /graphql as callers and attackers know it. S numbers are those of the security checklist."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from graphql import get_introspection_query

from dusangire.permissions import Scope
from dusangire_server.testing import CREATE, Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIEWER = "{ viewer { kind } }"


def _codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


# ── the request (S2, S3, S4, S5, S12) ────────────────────────────────────────────────────────────


async def test_s2_a_large_body_is_refused_whatever_its_length_says(shop: Shop) -> None:
    headers = {"Authorization": f"Bearer {shop.admin}", "Content-Type": "application/json"}
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 50_000_000:
            taken += 64_000
            yield b" " * 64_000

    told = await shop.http.post("/graphql", content=b" " * 300_000, headers=headers)
    streamed = await shop.http.post("/graphql", content=endless(), headers=headers)

    assert (told.status_code, streamed.status_code) == (413, 413)
    assert streamed.json()["errors"][0]["extensions"]["code"] == "TOO_LARGE"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 100_000, id="S3 brackets"),
        pytest.param(
            b'{"query":"{viewer{kind}}","variables":' + b'{"a":' * 600 + b"1" + b"}" * 601
        ),
        pytest.param(b"", id="nothing"),
        pytest.param(b"nonsense", id="no JSON"),
        pytest.param(b'{"query":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"query":"\\ud800"}', id="half a character"),
        pytest.param(b"[]", id="S5 an empty batch"),
        pytest.param(b'[{"query":"{viewer{kind}}"}]', id="S5 a batch"),
        pytest.param(b"1", id="a number"),
        pytest.param(b"{}", id="no query"),
        pytest.param(b'{"query":null}', id="null"),
        pytest.param(b'{"query":["{viewer{kind}}"]}', id="a list of queries"),
        pytest.param(b'{"query":"{viewer{kind}}","variables":[]}', id="a list of variables"),
        pytest.param(b'{"query":"{viewer{kind}}","operationName":{}}', id="an odd name"),
    ],
)
async def test_a_body_that_is_no_request_is_a_400(shop: Shop, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {shop.admin}", "Content-Type": "application/json"}

    response = await shop.http.post("/graphql", content=body, headers=headers)

    assert response.status_code == 400
    assert _codes(response.json()) == ["BAD_REQUEST"]


@pytest.mark.parametrize(
    ("method", "content_type", "status"),
    [
        ("GET", "application/json", 405),
        ("PUT", "application/json", 405),
        ("DELETE", "application/json", 405),
        ("POST", "application/x-www-form-urlencoded", 415),
        ("POST", "text/plain", 415),
        ("POST", "multipart/form-data; boundary=x", 415),
        ("POST", "application/jsonp", 415),
        ("POST", "", 415),
        ("POST", "application/json; charset=utf-8", 200),
    ],
)
async def test_s4_only_json_by_post_is_taken(
    shop: Shop, method: str, content_type: str, status: int
) -> None:
    response = await shop.http.request(
        method,
        "/graphql",
        params={"query": VIEWER} if method == "GET" else None,
        content=json.dumps({"query": VIEWER}),
        headers={"Authorization": f"Bearer {shop.admin}", "Content-Type": content_type},
    )

    assert response.status_code == status


async def test_s5_a_document_asks_a_gateway_once(shop: Shop) -> None:
    check = 'checkPayment(paymentId: "1") { replayed }'
    two = f"mutation {{ a: {check} b: {check} }}"

    answer = await shop.ask(two)

    assert _codes(answer) == ["TOO_COMPLEX"]


async def test_s5_each_money_mutation_of_a_document_has_its_own_key(shop: Shop) -> None:
    given = {"amount": {"amount": "100", "currency": "RWF"}}
    two = CREATE.replace(
        "$input: CreatePaymentInput!", "$a: CreatePaymentInput!, $b: CreatePaymentInput!"
    )
    two = two.replace("createPayment(input: $input)", "a: createPayment(input: $a)")[:-1]
    two += " b: createPayment(input: $b) { payment { id } } }"

    data = await shop.get(
        two, {"a": {**given, "idempotencyKey": "a"}, "b": {**given, "idempotencyKey": "b"}}
    )

    assert data["a"]["payment"]["id"] != data["b"]["payment"]["id"]


async def test_s12_the_route_answers_without_a_redirect(shop: Shop) -> None:
    response = await shop.post(VIEWER)

    assert response.status_code == 200
    assert response.json() == {"data": {"viewer": {"kind": "api_key"}}}


# ── who asks (S22, S23) ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer dpk_x_y", "Bearer dct_x", "dpk_x", "é"],
)
async def test_without_a_token_of_ours_there_is_a_401(
    shop: Shop, authorization: str | None
) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}

    response = await shop.http.post("/graphql", json={"query": VIEWER}, headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert _codes(response.json()) == ["UNAUTHENTICATED"]


async def test_s23_forged_client_tokens_open_nothing(shop: Shop) -> None:
    token = (await shop.create())["clientToken"]
    body, _, signature = token.removeprefix("dct_").rpartition(".")
    forged = [
        f"dct_{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        f"dct_{body}.",
        f"dct_{body}",
        f"dct_.{signature}",
        f"dct_{body[:-2]}.{signature}",
        f"dct_{body}.{signature}.{signature}",
        "dct_" + "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
        f"dpk_{body}_{signature}",
        "dct_" + "A" * 10_000,
        "dct_\x00",
        f"{token} x",
    ]

    statuses = [(await shop.post(VIEWER, token=one)).status_code for one in forged]

    assert statuses == [401] * len(forged)
    assert (await shop.post(VIEWER, token=token)).status_code == 200


async def test_a_key_is_shown_once(shop: Shop) -> None:
    made = await shop.get(
        'mutation { createApiKey(name: "till", scopes: [ADMIN]) { apiKey { prefix } secret } }'
    )
    secret = made["createApiKey"]["secret"].rpartition("_")[2]

    listed = await shop.get("{ apiKeys { id name prefix scopes createdAt lastUsedAt revokedAt } }")

    assert secret not in json.dumps(listed)
    assert made["createApiKey"]["apiKey"]["prefix"] in json.dumps(listed)


# ── how much (S1, S6, S9, S10) ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        "first: 0",
        "first: -1",
        "first: 101",
        "first: 1000000000",
        'after: "forged"',
        'after: "WzFd"',
        'after: "W10"',
        'after: "\\u0000"',
        'after: ""',
        'after: "WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwgIngiXQ"',
        'filter: { createdFrom: "yesterday" }',
        'filter: { createdTo: "2026-11-23T10:00:00" }',
        'filter: { search: "\\u0000" }',
        'filter: { orderReference: "\\u0000" }',
        'filter: { gateway: ["\\u0000"] }',
        'filter: { amountMin: "NaN" }',
        'filter: { amountMin: "x" }',
    ],
)
async def test_s9_a_page_that_cannot_be_is_invalid_not_a_crash(shop: Shop, arguments: str) -> None:
    answer = await shop.ask(f"{{ payments({arguments}) {{ edges {{ cursor }} }} }}")

    assert answer["data"] is None
    assert _codes(answer)[0] in {"INVALID", "INVALID_AMOUNT"}


@pytest.mark.parametrize("cursor", ["forged", "WzFdxx", "WzE4NDQ2NzQ0MDczNzA5NTUxNjE1XQ", "W10"])
async def test_s9_forged_cursors_of_events_and_logs_are_invalid(shop: Shop, cursor: str) -> None:
    payment_id = (await shop.create())["payment"]["id"]

    events = await shop.ask("query($c: String) { events(after: $c) { cursor } }", {"c": cursor})
    log = await shop.ask(
        """query($id: ID!, $c: String) { payment(id: $id) {
            transactions(after: $c) { edges { cursor } } } }""",
        {"id": payment_id, "c": cursor},
    )

    assert _codes(events) == ["INVALID"]
    assert _codes(log) == ["INVALID"]


# ── errors (S7, S8) ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("{ viewr { kind } }", "Cannot query field 'viewr'"),
        ("{ payments(orderBy: NEWEST) { edges { cursor } } }", "NEWEST"),
        ("{ viewer { kind }", "Syntax Error"),
        ("query A { viewer { kind } } query B { viewer { kind } }", "operation name"),
        ("fragment f on Query { viewer { kind } }", "never used"),
        ("{ payment(id: \x00) { id } }", "Syntax Error"),
        ("query($first: Int) { payments(first: $first) { edges { cursor } } }", "$first"),
    ],
)
async def test_s7_a_fault_of_the_request_is_told_without_suggestions(
    shop: Shop, query: str, shown: str
) -> None:
    answer = await shop.ask(query, {"first": "many"})

    assert shown in answer["errors"][0]["message"]
    assert "Did you mean" not in json.dumps(answer)


async def test_s8_test_mode_shows_the_schema_to_every_key(shop: Shop) -> None:
    answer = await shop.ask(get_introspection_query(), token=shop.keys[Scope.PAYMENTS_READ])

    assert "errors" not in answer
    assert (await shop.ask(get_introspection_query(), token=""))["errors"]


# ── what every answer has (S36, S61, S69) ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/graphql", "/health", "/ready", "/metrics", "/webhooks/a/b", "/x"]
)
async def test_every_answer_has_the_headers_that_browsers_need(shop: Shop, path: str) -> None:
    response = await shop.http.post(path)

    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("given", ["a b", "x" * 65, "a\tb", "é"])
async def test_a_strange_request_id_is_replaced(shop: Shop, given: str) -> None:
    response = await shop.http.get("/health", headers={b"X-Request-Id": given.encode()})

    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


async def test_s69_health_and_readiness_tell_nothing_more(shop: Shop) -> None:
    health, ready = await shop.http.get("/health"), await shop.http.get("/ready")

    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


async def test_s69_metrics_are_for_staff(shop: Shop) -> None:
    await shop.get(VIEWER)

    answers = {
        token: await shop.http.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        for token in ("", shop.keys[Scope.PAYMENTS_WRITE], shop.admin)
    }

    assert [answer.status_code for answer in answers.values()] == [401, 403, 200]
    assert 'dusangire_graphql_seconds_count{operation="query"}' in answers[shop.admin].text


# ── hostile values (S11, S21, S29, S65) ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"amount": {"amount": "x", "currency": "RWF"}}, "INVALID_AMOUNT", ["amount", "amount"]),
        ({"amount": {"amount": "0", "currency": "RWF"}}, "INVALID_AMOUNT", None),
        ({"amount": {"amount": "-5", "currency": "RWF"}}, "INVALID_AMOUNT", None),
        ({"amount": {"amount": "10.5", "currency": "RWF"}}, "INVALID_AMOUNT", None),
        ({"amount": {"amount": "1e400", "currency": "RWF"}}, "AMOUNT_OUT_OF_LIMITS", None),
        ({"amount": {"amount": True, "currency": "RWF"}}, "INVALID_AMOUNT", None),
        ({"amount": {"amount": [1], "currency": "RWF"}}, "INVALID_AMOUNT", None),
        ({"amount": {"amount": "NaN", "currency": "RWF"}}, "INVALID_AMOUNT", None),
        ({"amount": {"amount": "1", "currency": "XXY"}}, "CURRENCY_NOT_SUPPORTED", None),
        ({"amount": {"amount": "1", "currency": 5}}, "CURRENCY_NOT_SUPPORTED", None),
        ({"method": {"gateway": "fake", "phone": "12"}}, "INVALID_PHONE", ["method", "phone"]),
        ({"method": {"gateway": "fake", "phone": {"a": 1}}}, "INVALID_PHONE", None),
        ({"method": {"gateway": "nope", "phone": "0788123456"}}, "GATEWAY_NOT_FOUND", None),
        ({"method": {"gateway": "\x00"}}, "GATEWAY_NOT_FOUND", None),
        ({"expiresAt": "2099-01-01T00:00:00"}, "INVALID", ["expiresAt"]),
        ({"expiresAt": "soon"}, "INVALID", ["expiresAt"]),
        ({"expiresAt": 5}, "INVALID", ["expiresAt"]),
        ({"description": "a\x00b"}, "INVALID", ["description"]),
        ({"description": "x" * 100_000}, "INVALID", ["description"]),
        ({"description": "4111 1111 1111 1111"}, "INVALID", ["description"]),
        ({"orderReference": "a\u202e\x07"}, "INVALID", ["orderReference"]),
        ({"idempotencyKey": ""}, "INVALID", ["idempotencyKey"]),
        ({"customer": {"reference": "\x00"}}, "INVALID", ["customer", "reference"]),
        ({"metadata": {"a": "\x00"}}, "INVALID", ["metadata"]),
        ({"waitMs": -1}, "INVALID", ["waitMs"]),
        ({"waitMs": 10001}, "INVALID", ["waitMs"]),
    ],
)
async def test_s11_what_the_caller_can_correct_is_a_user_error(
    shop: Shop, changes: dict[str, Any], code: str, field: list[str] | None
) -> None:
    payload = await shop.create(**changes)

    [error] = payload["userErrors"]
    assert error["code"] == code
    assert payload["payment"] is None
    if field is not None:
        assert error["field"] == field


@pytest.mark.parametrize("unknown", ["status", "captured", "refunded", "fee", "version", "id"])
async def test_s29_a_caller_cannot_set_what_is_not_theirs(shop: Shop, unknown: str) -> None:
    given = {"idempotencyKey": "k", "amount": {"amount": 1, "currency": "RWF"}, unknown: "1"}

    answer = await shop.ask(CREATE, {"input": given})

    assert "data" not in answer or answer["data"] is None
    assert unknown in answer["errors"][0]["message"]


INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE payment; --",
    "1; SELECT pg_sleep(9)",
    "%' OR 1=1 --",
    "\\'; --",
    "$1",
    "${1}",
    "') UNION SELECT secrets::text FROM gateway_account --",
    "a%_\\",
    "\u02bc OR 1=1",
]


@pytest.mark.parametrize("text", INJECTIONS)
async def test_s65_text_never_becomes_part_of_a_statement(shop: Shop, text: str) -> None:
    created = await shop.create(orderReference="plain")

    started = time.monotonic()
    for name in ("search", "customer", "orderReference"):
        found = await shop.get(
            "query($f: PaymentFilter) { payments(filter: $f) { totalCount edges { cursor } } }",
            {"f": {name: text}},
        )
        assert found["payments"] == {"totalCount": 0, "edges": []}
    found = await shop.get("query($t: String!) { payment(reference: $t) { id } }", {"t": text})

    assert found["payment"] is None
    assert time.monotonic() - started < 5
    assert (await shop.create(orderReference="plain"))["payment"]["id"] != created["payment"]["id"]


@pytest.mark.parametrize(
    "unknown", ["0b0e7c5e-5d0c-4b8e-9a51-0d8f6d3b1c11", "PAY-1", "", "\x00", "x" * 5000, "{}", "1"]
)
async def test_s21_an_id_that_is_none_is_unknown(shop: Shop, unknown: str) -> None:
    found = await shop.get("query($id: ID!) { payment(id: $id) { id } }", {"id": unknown})
    cancelled = await shop.get(
        "mutation($i: CancelPaymentInput!) { cancelPayment(input: $i) { userErrors { code } } }",
        {"i": {"paymentId": unknown, "reason": "test"}},
    )

    assert found["payment"] is None
    assert cancelled["cancelPayment"]["userErrors"] == [{"code": "NOT_FOUND"}]
