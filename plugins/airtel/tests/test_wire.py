"""What a bad line or an odd answer means: never a guess, never a second prompt."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    Gateway,
    NotSent,
    Outcome,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from dusangire.testing.rig import Simulated, free_port, serve, until
from dusangire_airtel.client import Client
from dusangire_airtel.codes import CODES

NewAttempt = Callable[..., Attempt]
Odd = tuple["OddAirtel", Gateway[Any]]
REFERENCE = "7b1d0f9e-2c3a-4e58-8a17-6f5e4d3c2b1a"
ID = REFERENCE.replace("-", "")
TOKEN = {"access_token": "t0", "token_type": "bearer", "expires_in": "180"}


@dataclass
class OddAirtel:
    """Answers tokens and calls with whatever a test wants, and remembers the requests."""

    answer: Callable[[], Response] = field(default_factory=lambda: taken)
    token: Callable[[], Response] = lambda: said(200, TOKEN)
    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/auth/oauth2/token", self._token, methods=["POST"]),
                Route("/{path:path}", self._other, methods=["POST", "GET"]),
            ]
        )

    async def _token(self, request: Request) -> Response:
        await self._keep(request)
        return self.token()

    async def _other(self, request: Request) -> Response:
        await self._keep(request)
        return self.answer()

    async def _keep(self, request: Request) -> None:
        self.requests.append(request)
        self.bodies.append(await request.body())

    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


@pytest.fixture
async def odd(airtel: Simulated) -> AsyncIterator[Odd]:
    odd = OddAirtel()
    async with serve(odd.app()) as url:
        yield odd, airtel.configured(base_url=url)


def said(status: int, body: object = b"", content_type: str = "application/json") -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(content, status, media_type=content_type if content else None)


def envelope(
    http_status: int = 200,
    *,
    code: str | None = None,
    result: str | None = None,
    success: bool | None = False,
    message: str = "…",
    **transaction: object,
) -> Response:
    """Airtel's own envelope; what is None is left out."""
    told = {
        "code": "200" if success else 400,
        "message": message,
        "response_code": code,
        "result_code": result,
        "success": success,
    }
    body: dict[str, Any] = {"status": {k: v for k, v in told.items() if v is not None}}
    if transaction:
        body["data"] = {"transaction": transaction}
    return said(http_status, body)


def taken(**changes: Any) -> Response:
    told = {"code": "DP00800001006", "result": "ESB000010", "success": True, "id": ID}
    return envelope(**{**told, "status": "SUCCESS", **changes})


def enquired(status: object, **changes: Any) -> Response:
    told = {"code": "DP00800001001", "success": status != "TF", "id": ID, "status": status}
    return envelope(**{**told, **changes})


async def _oversized() -> AsyncIterator[bytes]:
    for _ in range(40):
        yield b" " * 1_000_000


def oversized() -> Response:
    return StreamingResponse(_oversized(), 200, media_type="application/json")


def page(status: int) -> Response:
    return said(status, b"<html>Request Rejected</html>", "text/html")


def crashes(airtel: Simulated) -> list[Any]:
    """Exceptions that core had to catch: their outcome is Unknown by core's doing, not ours."""
    return [entry for entry in airtel.logged if entry["event"] == "hook raised"]


# ── the answer to a payment request ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(taken, Accepted, id="in process is accepted"),
        pytest.param(lambda: taken(code="DP00800001001"), Accepted, id="001 is no more than 006"),
        pytest.param(lambda: taken(status="Success."), Accepted, id="Success. with a dot"),
        pytest.param(lambda: taken(code=None), Accepted, id="the older code alone"),
        pytest.param(lambda: taken(code=None, result=None), Accepted, id="success and no code"),
        pytest.param(lambda: taken(success=None), Accepted, id="006 and no word of success"),
        pytest.param(
            lambda: taken(code="DP00800001024"), Accepted, id="ambiguous, and called a success"
        ),
        pytest.param(lambda: envelope(result="ESB000041"), Accepted, id="asked already"),
        pytest.param(lambda: envelope(400, result="ESB000041"), Accepted, id="the same with 400"),
        pytest.param(
            lambda: envelope(400, code="DP00800001005", result="ESB000041"),
            Accepted,
            id="asked already, under a code for anything",
        ),
        pytest.param(lambda: said(429, {}), NotSent, id="429 may be repeated"),
        pytest.param(lambda: page(429), NotSent, id="a 429 page too"),
        pytest.param(lambda: said(503, {}), Unknown, id="503 may come after acceptance"),
        pytest.param(lambda: taken(http_status=500), Unknown, id="success with 500"),
        pytest.param(lambda: taken(http_status=202), Unknown, id="success with 202"),
        pytest.param(lambda: taken(code="DP00800001007"), Unknown, id="success, but no money"),
        pytest.param(lambda: envelope(code="DP00800001000"), Unknown, id="ambiguous"),
        pytest.param(lambda: envelope(code="DP00800001006"), Unknown, id="in process, no success"),
        pytest.param(lambda: envelope(code="DP00800001024"), Unknown, id="timed out"),
        pytest.param(lambda: envelope(code="DP00800001999"), Unknown, id="a code nobody knows"),
        pytest.param(
            lambda: envelope(code="DP00800001007", result="ESB0000900"),
            Unknown,
            id="no money, but possibly ambiguous",
        ),
        pytest.param(
            lambda: envelope(code="DP00800001007", result="ESB999999"),
            Unknown,
            id="no money, beside a code nobody knows",
        ),
        pytest.param(
            lambda: envelope(code="DP00800001003"), Unknown, id="003 is in progress in Zambia"
        ),
        pytest.param(lambda: envelope(400, code="DP00800001005"), Unknown, id="005 with 400"),
        pytest.param(
            lambda: envelope(500, code="DP00800001005", message="Msisdn Not Found"),
            Unknown,
            id="no wallet with 500",
        ),
        pytest.param(lambda: envelope(code="ROUTER117"), Unknown, id="the gateway's time-out"),
        pytest.param(lambda: said(400, {"status_code": "ROUTER117"}), Unknown, id="in its shape"),
        pytest.param(lambda: envelope(result="ESB000001"), Unknown, id="something went wrong"),
        pytest.param(lambda: envelope(result="ESB000008"), Unknown, id="008 names nothing"),
        pytest.param(lambda: envelope(500, code="DP00800001002"), Unknown, id="any code with 500"),
        pytest.param(envelope, Unknown, id="no success and no code"),
        pytest.param(lambda: envelope(success=None), Unknown, id="no word of anything"),
        pytest.param(lambda: said(200, {}), Unknown, id="an empty object"),
        pytest.param(lambda: said(200), Unknown, id="nothing"),
        pytest.param(lambda: said(200, {"status": "SUCCESS"}), Unknown, id="another shape"),
        pytest.param(lambda: said(200, {"status": {"success": "true"}}), Unknown, id="as a text"),
        pytest.param(lambda: said(408), Unknown, id="408"),
        pytest.param(lambda: said(500), Unknown, id="an empty 500"),
        pytest.param(lambda: page(502), Unknown, id="a 502 page"),
        pytest.param(lambda: said(504), Unknown, id="504"),
        pytest.param(lambda: said(302), Unknown, id="a redirect"),
        pytest.param(lambda: page(200), Unknown, id="HTML with 200"),
        pytest.param(lambda: page(400), Unknown, id="HTML with 400"),
        pytest.param(lambda: said(200, b'{"status":{"succ'), Unknown, id="truncated JSON"),
        pytest.param(lambda: said(200, [1]), Unknown, id="a list"),
        pytest.param(lambda: said(200, b"9" * 5_000), Unknown, id="a giant number"),
        pytest.param(lambda: said(200, b'{"a":' * 100_000), Unknown, id="deep nesting"),
        pytest.param(oversized, Unknown, id="40 MB"),
    ],
)
async def test_the_answer_to_a_payment_request_means(
    airtel: Simulated,
    odd: Odd,
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
    expected: type[Outcome],
) -> None:
    provider, gateway = odd
    provider.answer = answer

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, expected)
    assert not crashes(airtel)


CONFIGURATION = FailureCode.GATEWAY_CONFIGURATION


@pytest.mark.parametrize(
    ("answer", "code", "gateway_code"),
    [
        (lambda: envelope(code="DP00800001002"), FailureCode.WRONG_PIN, "DP00800001002"),
        (
            lambda: envelope(code="DP00800001004", result="ESB000008"),
            FailureCode.AMOUNT_OUT_OF_LIMITS,
            "DP00800001004",
        ),
        (
            lambda: envelope(code="DP00800001007", result="ESB000011"),
            FailureCode.INSUFFICIENT_FUNDS,
            "DP00800001007",
        ),
        (lambda: envelope(code="DP00800001010"), FailureCode.PAYER_BLOCKED, "DP00800001010"),
        (
            lambda: envelope(400, code="DP00800001005", message="Msisdn Not Found"),
            FailureCode.PAYER_NOT_FOUND,
            "DP00800001005",
        ),
        (lambda: envelope(403, code="DP00800001026"), CONFIGURATION, "DP00800001026"),
        (lambda: envelope(result="ESB000033"), FailureCode.PAYER_NOT_FOUND, "ESB000033"),
        (lambda: envelope(result="ESB000039"), CONFIGURATION, "ESB000039"),
        (
            lambda: envelope(
                result="ESB000008",
                message="Missing request header 'x-wallet-id' for method parameter",
            ),
            CONFIGURATION,
            "ESB000008",
        ),
        (
            lambda: envelope(result="ESB000008", message="Invalid reference"),
            CONFIGURATION,
            "ESB000008",
        ),
        (
            lambda: said(
                400, {"status_code": "ROUTER110", "status_message": "Partner 1 not found"}
            ),
            CONFIGURATION,
            "ROUTER110",
        ),
        (lambda: envelope(400, code="ROUTER006"), CONFIGURATION, "ROUTER006"),
        (lambda: said(400, {"message": "bad request"}), CONFIGURATION, "400"),
        (lambda: said(401, {"message": "Unauthorized"}), CONFIGURATION, "401"),
        (lambda: said(403, {"message": "Forbidden"}), CONFIGURATION, "403"),
        (lambda: page(403), CONFIGURATION, "403"),
        (lambda: page(404), CONFIGURATION, "404"),
        (lambda: said(405), CONFIGURATION, "405"),
        (lambda: said(415, {}), CONFIGURATION, "415"),
    ],
)
async def test_a_definite_no_is_a_failure_with_a_reason(
    airtel: Simulated,
    odd: Odd,
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
    code: FailureCode,
    gateway_code: str,
) -> None:
    provider, gateway = odd
    provider.answer = answer

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (code, gateway_code)
    assert outcome.message
    assert gateway_code in CODES


async def test_a_new_code_of_success_is_pending_and_flagged(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    provider.answer = lambda: taken(code="DP00800001999")

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Accepted)
    assert outcome.unmapped == "DP00800001999"
    assert [entry["word"] for entry in airtel.logged] == ["DP00800001999"]


async def test_an_unknown_code_is_told_and_logged(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    provider.answer = lambda: envelope(code="DP00800001999")

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, Unknown)
    assert outcome.gateway_code == "DP00800001999"
    assert [entry["word"] for entry in airtel.logged] == ["DP00800001999"]


async def test_an_answer_about_another_payment_is_told_as_such(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    provider.answer = lambda: taken(id="PAY0000000001")

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Accepted)
    assert outcome.reference == "PAY0000000001"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0", 0), ("-5", 0), ("soon", None), ("9" * 20, None), ("9" * 5000, None)],
)
async def test_airtels_wish_to_be_left_alone_is_passed_on(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt, header: str, seconds: int | None
) -> None:
    provider, gateway = odd
    provider.answer = lambda: Response(status_code=429, headers={"Retry-After": header})

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, NotSent)
    assert outcome.retry_after == (None if seconds is None else timedelta(seconds=seconds))


async def test_a_request_is_what_airtel_wants(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd

    await airtel.plugin.initiate_payment(gateway, new_attempt(reference=REFERENCE))
    await airtel.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert provider.paths() == [
        "/auth/oauth2/token",
        "/merchant/v1/payments/",
        f"/standard/v1/payments/{ID}",
    ]
    assert json.loads(provider.bodies[0]) == {
        "client_id": gateway.config.client_id,
        "client_secret": "simulated-client-secret",
        "grant_type": "client_credentials",
    }
    assert provider.bodies[1] == (
        b'{"reference":"PAY7K3M9Q2X","subscriber":{"country":"RW","currency":"RWF",'
        b'"msisdn":"733123456"},"transaction":{"amount":1500,"country":"RW","currency":"RWF",'
        b'"id":"%s"}}' % ID.encode()
    )
    assert provider.bodies[2] == b""
    for request in provider.requests[1:]:
        told = {name: request.headers[name] for name in ("accept", "content-type", "authorization")}
        assert told == {
            "accept": "*/*",
            "content-type": "application/json",
            "authorization": "Bearer t0",
        }
        assert (request.headers["x-country"], request.headers["x-currency"]) == ("RW", "RWF")
        assert "x-signature" not in request.headers


# ── the answer to an enquiry ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(lambda: enquired("TS"), Succeeded, id="paid"),
        pytest.param(lambda: enquired("TS", code="DP00800001006"), Succeeded, id="paid, code 006"),
        pytest.param(lambda: enquired("TS", code="DP00800001999"), Succeeded, id="paid, new code"),
        pytest.param(lambda: enquired("TS", code=None), Succeeded, id="paid, no code"),
        pytest.param(lambda: enquired("TS", id=None), Succeeded, id="paid, and no id repeated"),
        pytest.param(lambda: enquired("TS", success=False), Unknown, id="paid, but no success"),
        pytest.param(lambda: enquired("TS", http_status=500), Unknown, id="paid, with 500"),
        pytest.param(lambda: enquired("TS", http_status=404), Unknown, id="paid, with 404"),
        pytest.param(lambda: enquired("TF", code="DP00800001002"), Failed, id="failed"),
        pytest.param(lambda: enquired("TF", code="DP00800001006"), Failed, id="failed, code 006"),
        pytest.param(lambda: enquired("TF", code="DP00800001999"), Failed, id="failed, new code"),
        pytest.param(lambda: enquired("TF", code=None), Failed, id="failed, no code"),
        pytest.param(lambda: enquired("TE"), Failed, id="expired"),
        pytest.param(lambda: enquired("TIP", code="DP00800001002"), Accepted, id="in progress"),
        pytest.param(lambda: enquired("TI"), Accepted, id="initiated"),
        pytest.param(lambda: enquired("TA", code="DP00800001002"), Unknown, id="ambiguous"),
        pytest.param(lambda: enquired("TX"), Accepted, id="a status nobody knows"),
        pytest.param(lambda: enquired("ts"), Accepted, id="a status in small letters"),
        pytest.param(lambda: enquired("SUCCESS"), Accepted, id="success is no status of enquiries"),
        pytest.param(lambda: envelope(code="DP00800001001", success=True), Unknown, id="no status"),
        pytest.param(lambda: enquired(""), Unknown, id="an empty status"),
        pytest.param(lambda: enquired(7), Unknown, id="a status that is no text"),
        pytest.param(lambda: envelope(code="DP00800001002"), Failed, id="no status, wrong PIN"),
        pytest.param(lambda: envelope(code="DP00800001005"), Failed, id="no status, no PIN"),
        pytest.param(lambda: envelope(code="DP00800001029"), Failed, id="no status, expired"),
        pytest.param(
            lambda: envelope(code="DP00800001002", success=None), Unknown, id="and no word of it"
        ),
        pytest.param(
            lambda: envelope(code="DP00800001002", result="ESB000014"),
            Unknown,
            id="no status, wrong PIN, but it could not be read",
        ),
        pytest.param(lambda: envelope(code="DP00800001003"), Unknown, id="003 may be in progress"),
        pytest.param(lambda: envelope(code="DP00800001010"), Unknown, id="010 may be not found"),
        pytest.param(lambda: envelope(code="DP00800001999"), Unknown, id="no status, new code"),
        pytest.param(lambda: envelope(code="DP00800001026"), Unknown, id="a refused question"),
        pytest.param(lambda: envelope(result="ESB000011"), Unknown, id="the question failed"),
        pytest.param(lambda: envelope(result="ESB000014"), Unknown, id="could not be read"),
        pytest.param(lambda: said(400, {"status_code": "ROUTER110"}), Unknown, id="ROUTER110"),
        pytest.param(lambda: envelope(result="ESB000045"), NotSent, id="not known"),
        pytest.param(lambda: envelope(404, result="ESB000045"), NotSent, id="not known, with 404"),
        pytest.param(lambda: envelope(code="DP00800001025"), NotSent, id="not known, newer code"),
        pytest.param(lambda: envelope(500, result="ESB000045"), Unknown, id="not known, with 500"),
        pytest.param(lambda: said(404, {}), Unknown, id="another 404"),
        pytest.param(lambda: page(404), Unknown, id="a 404 page"),
        pytest.param(lambda: page(200), Unknown, id="HTML with 200"),
        pytest.param(lambda: said(200, b'{"data":{"transaction":{"sta'), Unknown, id="truncated"),
        pytest.param(lambda: said(200, {"data": [], "status": 7}), Unknown, id="odd types"),
        pytest.param(lambda: said(401, {"error": "invalid_token"}), Unknown, id="no token twice"),
        pytest.param(lambda: said(403, {}), Unknown, id="403"),
        pytest.param(lambda: said(429, {}), Unknown, id="429"),
        pytest.param(lambda: said(503, {}), Unknown, id="503"),
        pytest.param(oversized, Unknown, id="40 MB"),
    ],
)
async def test_the_answer_to_an_enquiry_means(
    airtel: Simulated,
    odd: Odd,
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
    expected: type[Outcome],
) -> None:
    provider, gateway = odd
    provider.answer = answer

    outcome = await airtel.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, expected)
    assert not crashes(airtel)


async def test_a_success_is_about_the_payment_that_airtel_names(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    provider.answer = lambda: enquired("TS", id="PAY0000000001", airtel_money_id="MP1")

    outcome = await airtel.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert outcome == Succeeded(
        amount=Money(1500, "RWF"), reference="PAY0000000001", gateway_transaction_id="MP1"
    )


async def test_airtels_id_is_believed_of_paid_payments_only(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    provider.answer = lambda: enquired("TF", code="DP00800001007", airtel_money_id="MP1")

    outcome = await airtel.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert outcome == Failed(
        code=FailureCode.INSUFFICIENT_FUNDS,
        message=CODES["DP00800001007"].text,
        gateway_code="DP00800001007",
        reference=REFERENCE,
    )


async def test_an_unknown_status_is_pending_and_logged(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    provider.answer = lambda: enquired("TX")

    outcome = await airtel.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Accepted)
    assert (outcome.reference, outcome.unmapped) == (REFERENCE, "TX")
    assert [entry["word"] for entry in airtel.logged] == ["TX"]


@pytest.mark.parametrize(
    ("code", "result", "told"),
    [
        ("DP00800001007", "ESB000010", "DP00800001007"),
        (None, "ESB000011", "ESB000011"),
        ("DP00800001006", "ESB000010", "TF"),
        (None, None, "TF"),
        ("SOMETHING_NEW", "ESB000010", "SOMETHING_NEW"),
    ],
)
async def test_the_reason_is_the_first_code_that_gives_one(
    airtel: Simulated,
    odd: Odd,
    new_attempt: NewAttempt,
    code: str | None,
    result: str | None,
    told: str,
) -> None:
    provider, gateway = odd
    provider.answer = lambda: enquired("TF", code=code, result=result)

    outcome = await airtel.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Failed)
    assert outcome.gateway_code == told


# ── the line ─────────────────────────────────────────────────────────────────────────────────────


async def ended(airtel: Simulated, attempt: Attempt) -> Outcome:
    told: list[Outcome] = []

    async def decided() -> bool:
        told.append(await airtel.plugin.check_payment(airtel.gateway, attempt))
        return not isinstance(told[-1], Accepted)

    await until(decided)
    return told[-1]


@pytest.mark.parametrize("fault", ["lost_replies", "truncated", "oversized"])
async def test_a_lost_reply_is_unknown_and_the_enquiry_then_tells_the_truth(
    airtel: Simulated, new_attempt: NewAttempt, fault: str
) -> None:
    await airtel.tell("settings", scale=0)
    await airtel.tell("faults", **{fault: 1, "only": "payments", "times": 1})
    attempt = new_attempt()

    lost = await airtel.plugin.initiate_payment(airtel.gateway, attempt)
    told = await ended(airtel, attempt)

    assert isinstance(lost, Unknown)
    assert isinstance(told, Succeeded)
    assert (await airtel.transaction(attempt.reference))["moves"] == 1


async def test_a_reply_that_never_comes_is_unknown(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    await airtel.tell("faults", hung_replies=1, only="payments")
    attempt = new_attempt()

    async with httpx.AsyncClient(timeout=0.2) as impatient:
        gateway = replace(airtel.gateway, http=impatient)
        outcome = await airtel.plugin.initiate_payment(gateway, attempt)

    assert isinstance(outcome, Unknown)
    assert (await airtel.transaction(attempt.reference))["requests"] == 1


@pytest.mark.parametrize("signing", [False, True])
async def test_a_refused_connection_is_not_sent(
    airtel: Simulated, new_attempt: NewAttempt, signing: bool
) -> None:
    here = airtel.configured(message_signing=signing)
    await airtel.plugin.initiate_payment(here, new_attempt())
    nowhere = here.config.model_copy(update={"base_url": f"http://127.0.0.1:{free_port()}"})

    for gateway in (replace(here, config=nowhere), airtel.configured(**nowhere.model_dump())):
        outcome = await airtel.plugin.initiate_payment(gateway, new_attempt())
        asked = await airtel.plugin.check_payment(gateway, new_attempt())

        assert isinstance(outcome, NotSent)
        assert isinstance(asked, Unknown)


async def test_a_host_that_does_not_exist_is_not_sent(
    airtel: Simulated, new_attempt: NewAttempt
) -> None:
    gateway = airtel.configured(base_url="https://airtel.invalid")

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, NotSent)


async def test_a_client_without_a_limit_still_reads_no_40_mb(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    provider.answer = oversized

    async with httpx.AsyncClient() as plain:
        outcome = await airtel.plugin.check_payment(replace(gateway, http=plain), new_attempt())

    assert outcome == Unknown(cause="Airtel's answer is larger than 1 MB")


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_payments_at_once_ask_for_one_token(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd

    await asyncio.gather(
        *(airtel.plugin.initiate_payment(gateway, new_attempt()) for _ in range(50))
    )

    assert provider.paths().count("/auth/oauth2/token") == 1


@pytest.mark.parametrize(
    ("lifetime", "used"),
    [("180", 165), (180, 165), ("3600", 3585), ("30", 25), (None, 165), ("soon", 165), (0, 165)],
)
async def test_a_token_is_renewed_fifteen_seconds_before_its_end(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt, lifetime: object, used: int
) -> None:
    provider, gateway = odd
    provider.token = lambda: said(200, TOKEN | {"expires_in": lifetime})

    # A request may take a few seconds by itself.
    for seconds in (0, used - 10, 11):
        airtel.watch.forward(seconds)
        before = provider.paths().count("/auth/oauth2/token")
        await airtel.plugin.initiate_payment(gateway, new_attempt())

    assert (before, provider.paths().count("/auth/oauth2/token")) == (1, 2)


@pytest.mark.parametrize("lifetime", [-1, 1e300, 10**400, True, [], "180.0", "²"])
async def test_any_lifetime_of_a_token_will_do(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt, lifetime: object
) -> None:
    provider, gateway = odd
    provider.token = lambda: said(200, TOKEN | {"expires_in": lifetime})

    outcomes = [
        await airtel.plugin.initiate_payment(gateway, new_attempt(reference=REFERENCE))
        for _ in range(2)
    ]

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert provider.paths().count("/auth/oauth2/token") == 1


@pytest.mark.parametrize("refusal", [401, 403])
async def test_a_refused_token_is_renewed_once_for_the_same_request(
    airtel: Simulated, new_attempt: NewAttempt, refusal: int
) -> None:
    await airtel.tell("settings", token_refusal=refusal, token_lifetime=1, lifetime_as="number")
    gateway = airtel.configured()
    await gateway.tokens.get(f"token of {gateway.config.client_id}", _expired)
    attempt = new_attempt()

    outcome = await airtel.plugin.initiate_payment(gateway, attempt)

    assert isinstance(outcome, Accepted)
    assert (await airtel.transaction(attempt.reference))["requests"] == 1


async def _expired() -> tuple[str, timedelta]:
    return "expired", timedelta(hours=1)


async def test_a_token_refused_twice_is_the_accounts_fault(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    provider.answer = lambda: said(403, {"error": "invalid_token", "error_description": "…"})

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Failed)
    assert outcome.code is CONFIGURATION
    assert provider.paths() == ["/auth/oauth2/token", "/merchant/v1/payments/"] * 2
    assert provider.bodies[1] == provider.bodies[3]


async def test_a_bare_401_renews_the_token_too(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt
) -> None:
    provider, gateway = odd
    answers = [said(401, {"message": "Unauthorized"}), taken()]
    provider.answer = lambda: answers.pop(0)

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Accepted)
    assert provider.paths() == ["/auth/oauth2/token", "/merchant/v1/payments/"] * 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(lambda: said(400, {"error": "invalid_client"}), Failed, id="invalid_client"),
        pytest.param(lambda: said(500, {"error": "invalid_client"}), Failed, id="with any status"),
        pytest.param(lambda: page(403), Failed, id="firewall"),
        pytest.param(lambda: page(404), Failed, id="no such site"),
        pytest.param(lambda: said(500), NotSent, id="500"),
        pytest.param(lambda: said(429), NotSent, id="429"),
        pytest.param(lambda: said(503), NotSent, id="503"),
        pytest.param(lambda: page(200), NotSent, id="HTML with 200"),
        pytest.param(lambda: said(200, b'{"acc'), NotSent, id="truncated JSON"),
        pytest.param(lambda: said(200, {"access_token": ""}), NotSent, id="an empty token"),
        pytest.param(lambda: said(200, {"access_token": "a\nb"}), NotSent, id="an evil token"),
        pytest.param(oversized, NotSent, id="40 MB"),
    ],
)
async def test_without_a_token_nothing_was_sent(
    airtel: Simulated,
    odd: Odd,
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
    expected: type[Outcome],
) -> None:
    provider, gateway = odd
    provider.token = answer

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt())
    asked = await airtel.plugin.check_payment(gateway, new_attempt())

    assert isinstance(outcome, expected)
    assert isinstance(asked, Unknown)
    assert set(provider.paths()) == {"/auth/oauth2/token"}


# ── signatures ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def signed(airtel: Simulated) -> Gateway[Any]:
    await airtel.tell("settings", signing=True)
    return airtel.configured(message_signing=True)


async def test_an_unsigned_request_is_refused_where_signing_is_on(
    airtel: Simulated, signed: Gateway[Any], new_attempt: NewAttempt
) -> None:
    outcome = await airtel.plugin.initiate_payment(airtel.gateway, new_attempt())

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (CONFIGURATION, "DP00800001026")
    assert isinstance(await airtel.plugin.initiate_payment(signed, new_attempt()), Accepted)


@pytest.mark.parametrize("size", [1024, 2048])
async def test_the_padding_follows_the_size_of_airtels_key(
    airtel: Simulated, signed: Gateway[Any], new_attempt: NewAttempt, size: int
) -> None:
    await airtel.tell("settings", key_size=size)

    assert isinstance(await airtel.plugin.initiate_payment(signed, new_attempt()), Accepted)


async def test_a_new_key_of_airtels_is_fetched_after_a_refused_signature(
    airtel: Simulated, signed: Gateway[Any], new_attempt: NewAttempt
) -> None:
    await airtel.plugin.initiate_payment(signed, new_attempt())
    await airtel.tell("settings", key_size=2048)
    attempt = new_attempt()

    outcome = await airtel.plugin.initiate_payment(signed, attempt)

    assert isinstance(outcome, Accepted)
    assert (await airtel.transaction(attempt.reference))["requests"] == 1


async def test_the_key_is_fetched_once_a_day(
    airtel: Simulated, signed: Gateway[Any], new_attempt: NewAttempt
) -> None:
    async with counting(signed) as (paths, gateway):
        for hours in (0, 10, 13):
            airtel.watch.forward(hours * 3600)
            await airtel.plugin.initiate_payment(gateway, new_attempt())

    assert paths.count("/v1/rsa/encryption-keys") == 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"key": "not a key"}, Failed),
        ({"key": 7}, NotSent),
        ({}, NotSent),
        ([], NotSent),
    ],
)
async def test_without_a_usable_key_nothing_is_sent(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt, data: object, expected: type[Outcome]
) -> None:
    provider, _ = odd
    provider.answer = lambda: said(200, {"data": data, "status": {"success": True}})
    base_url = str(odd[1].config.base_url)
    gateway = airtel.configured(message_signing=True, base_url=base_url)

    outcome = await airtel.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, expected)
    assert "/merchant/v1/payments/" not in provider.paths()


@pytest.mark.parametrize("valid_upto", ["23-11-2020 21:29:26", "31-12-2999 21:29:26", "soon", 7])
async def test_any_end_of_a_key_will_do(
    airtel: Simulated, odd: Odd, new_attempt: NewAttempt, valid_upto: object
) -> None:
    provider, _ = odd
    real = await Client(airtel.gateway).public_key()
    provider.answer = lambda: said(200, {"data": {"key": real, "valid_upto": valid_upto}})
    gateway = airtel.configured(message_signing=True, base_url=str(odd[1].config.base_url))

    for _ in range(2):
        await airtel.plugin.initiate_payment(gateway, new_attempt())

    assert provider.paths().count("/v1/rsa/encryption-keys") == 1
    assert provider.paths().count("/merchant/v1/payments/") == 2


@asynccontextmanager
async def counting(gateway: Gateway[Any]) -> AsyncIterator[tuple[list[str], Gateway[Any]]]:
    paths: list[str] = []

    async def note(request: httpx.Request) -> None:
        paths.append(request.url.path)

    async with httpx.AsyncClient(event_hooks={"request": [note]}) as http:
        yield paths, replace(gateway, http=http)
