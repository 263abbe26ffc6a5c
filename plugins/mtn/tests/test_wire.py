"""What a bad line or an odd answer means: never a guess, never a second charge."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
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
from dusangire.testing.rig import Simulated, free_port, serve
from dusangire_mtn.mapping import REASONS

NewAttempt = Callable[..., Attempt]
REFERENCE = "7b1d0f9e-2c3a-4e58-8a17-6f5e4d3c2b1a"
TOKEN = {"access_token": "t0", "token_type": "access_token", "expires_in": 3600}
SUCCESS = {
    "financialTransactionId": "1195500001",
    "externalId": REFERENCE,
    "amount": "1500",
    "currency": "RWF",
    "status": "SUCCESSFUL",
}


@dataclass
class OddMTN:
    """Answers tokens and product calls with whatever a test wants, and remembers the requests."""

    answer: Callable[[], Response] = lambda: Response(status_code=202)
    token: Callable[[], Response] = lambda: said(200, TOKEN)
    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/{product}/token/", self._token, methods=["POST"]),
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
async def odd(momo: Simulated) -> AsyncIterator[tuple[OddMTN, Gateway[Any]]]:
    odd = OddMTN()
    async with serve(odd.app()) as url:
        yield odd, momo.configured(base_url=url)


def said(status: int, body: object = b"", content_type: str = "application/json") -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(content, status, media_type=content_type if content else None)


def problem(status: int, code: str) -> Response:
    return said(status, {"code": code, "message": "…"})


async def _oversized() -> AsyncIterator[bytes]:
    for _ in range(40):
        yield b" " * 1_000_000


def oversized(status: int) -> Response:
    return StreamingResponse(_oversized(), status, media_type="application/json")


def crashes(momo: Simulated) -> list[Any]:
    """Exceptions that core had to catch: their outcome is Unknown by core's doing, not ours."""
    return [entry for entry in momo.logged if entry["event"] == "hook raised"]


def deep(status: int) -> Response:
    return said(status, b'{"a":' * 100_000 + b"1" + b"}" * 100_000)


# ── the answer to a request to pay ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(lambda: said(202), Accepted, id="202 is accepted"),
        pytest.param(
            lambda: problem(409, "RESOURCE_ALREADY_EXIST"), Accepted, id="409 means asked already"
        ),
        pytest.param(lambda: said(409), Accepted, id="an empty 409 too"),
        pytest.param(lambda: said(429, {"statusCode": 429}), NotSent, id="429 may be repeated"),
        pytest.param(
            lambda: problem(503, "SERVICE_UNAVAILABLE"), Unknown, id="503 may come after acceptance"
        ),
        pytest.param(
            lambda: problem(500, "INTERNAL_PROCESSING_ERROR"), Unknown, id="MTN's catch-all"
        ),
        pytest.param(
            lambda: problem(500, "SERVICE_UNAVAILABLE"), Unknown, id="a 500 that says it is a 503"
        ),
        pytest.param(lambda: problem(500, "SOMETHING_NEW"), Unknown, id="a code we do not know"),
        pytest.param(lambda: said(500), Unknown, id="an empty 500"),
        pytest.param(lambda: said(502, b"<html>", "text/html"), Unknown, id="a 502 page"),
        pytest.param(lambda: said(504), Unknown, id="504"),
        pytest.param(lambda: said(408), Unknown, id="408"),
        pytest.param(lambda: said(200, {}), Unknown, id="a 200 where 202 is due"),
        pytest.param(lambda: said(200, b"<html>", "text/html"), Unknown, id="HTML with 200"),
        pytest.param(lambda: said(202, b"<html>", "text/html"), Unknown, id="HTML with 202"),
        pytest.param(lambda: said(202, b'{"sta'), Unknown, id="truncated JSON with 202"),
        pytest.param(lambda: said(500, b'{"code":"NOT_ALL'), Unknown, id="truncated JSON with 500"),
        pytest.param(lambda: said(302), Unknown, id="a redirect"),
        pytest.param(lambda: oversized(202), Unknown, id="40 MB"),
        pytest.param(lambda: deep(202), Unknown, id="deep nesting"),
        pytest.param(lambda: said(400), Failed, id="an empty 400"),
        pytest.param(lambda: problem(400, "VALIDATION_ERROR"), Failed, id="400 with a code"),
        pytest.param(lambda: said(401, {"statusCode": 401}), Failed, id="401 twice"),
        pytest.param(lambda: said(403, b"<html>", "text/html"), Failed, id="the firewall's 403"),
        pytest.param(lambda: said(403, {"message": "FORBIDDEN IP"}), Failed, id="FORBIDDEN IP"),
        pytest.param(lambda: said(404), Failed, id="no API there"),
        pytest.param(lambda: said(411), Failed, id="411"),
    ],
)
async def test_the_answer_to_a_request_to_pay_means(
    momo: Simulated,
    odd: tuple[OddMTN, Gateway[Any]],
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
    expected: type[Outcome],
) -> None:
    mtn, gateway = odd
    mtn.answer = answer

    outcome = await momo.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, expected)
    assert not crashes(momo)
    if isinstance(outcome, Failed):
        assert outcome.code is FailureCode.GATEWAY_CONFIGURATION


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("NOT_ALLOWED", FailureCode.GATEWAY_CONFIGURATION),
        ("NOT_ALLOWED_TARGET_ENVIRONMENT", FailureCode.GATEWAY_CONFIGURATION),
        ("INVALID_CALLBACK_URL_HOST", FailureCode.GATEWAY_CONFIGURATION),
        ("INVALID_CURRENCY", FailureCode.GATEWAY_CONFIGURATION),
        ("PAYER_NOT_FOUND", FailureCode.PAYER_NOT_FOUND),
        ("PAYEE_NOT_FOUND", FailureCode.GATEWAY_CONFIGURATION),
        ("NOT_ENOUGH_FUNDS", FailureCode.INSUFFICIENT_FUNDS),
        ("PAYER_LIMIT_REACHED", FailureCode.PAYER_LIMIT_REACHED),
        ("PAYEE_NOT_ALLOWED_TO_RECEIVE", FailureCode.GATEWAY_CONFIGURATION),
    ],
)
async def test_a_500_with_a_definite_code_is_a_definite_no(
    momo: Simulated,
    odd: tuple[OddMTN, Gateway[Any]],
    new_attempt: NewAttempt,
    code: str,
    expected: FailureCode,
) -> None:
    mtn, gateway = odd
    mtn.answer = lambda: problem(500, code)

    outcome = await momo.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (expected, code)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0", 0), ("-5", 0), ("soon", None), ("9" * 20, None), ("9" * 5000, None)],
)
async def test_mtns_wish_to_be_left_alone_is_passed_on(
    momo: Simulated,
    odd: tuple[OddMTN, Gateway[Any]],
    new_attempt: NewAttempt,
    header: str,
    seconds: int | None,
) -> None:
    mtn, gateway = odd
    mtn.answer = lambda: Response(status_code=429, headers={"Retry-After": header})

    outcome = await momo.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, NotSent)
    assert outcome.retry_after == (None if seconds is None else timedelta(seconds=seconds))


async def test_a_date_to_come_back_at_is_understood(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    mtn, gateway = odd
    later = momo.watch() + timedelta(seconds=90)
    text = later.strftime("%a, %d %b %Y %H:%M:%S GMT")
    mtn.answer = lambda: Response(status_code=429, headers={"Retry-After": text})

    outcome = await momo.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, NotSent)
    assert outcome.retry_after is not None
    assert 80 <= outcome.retry_after.total_seconds() <= 91


# ── the answer to a status call ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(lambda: said(200, SUCCESS), Succeeded, id="successful"),
        pytest.param(lambda: said(200, SUCCESS | {"status": "PENDING"}), Accepted, id="pending"),
        pytest.param(
            lambda: said(200, SUCCESS | {"status": "PAUSED"}), Accepted, id="an unknown word"
        ),
        pytest.param(lambda: said(200, SUCCESS | {"status": "FAILED"}), Failed, id="failed"),
        pytest.param(lambda: said(200, SUCCESS | {"status": 7}), Unknown, id="a status of 7"),
        pytest.param(lambda: said(200, {"amount": "1500"}), Unknown, id="no status"),
        pytest.param(lambda: said(200, SUCCESS | {"amount": None}), Unknown, id="no amount"),
        pytest.param(lambda: said(200, SUCCESS | {"amount": "1e3"}), Unknown, id="1e3"),
        pytest.param(lambda: said(200, SUCCESS | {"amount": "1_500"}), Unknown, id="1_500"),
        pytest.param(lambda: said(200, SUCCESS | {"amount": "1,500"}), Unknown, id="1,500"),
        pytest.param(lambda: said(200, SUCCESS | {"amount": "15.5"}), Unknown, id="half a franc"),
        pytest.param(lambda: said(200, SUCCESS | {"amount": "-1500"}), Unknown, id="negative"),
        pytest.param(lambda: said(200, SUCCESS | {"amount": "NaN"}), Unknown, id="NaN"),
        pytest.param(lambda: said(200, SUCCESS | {"amount": 1500.0}), Unknown, id="a float"),
        pytest.param(lambda: said(200, SUCCESS | {"currency": "XXX"}), Unknown, id="no currency"),
        pytest.param(lambda: said(200, SUCCESS | {"currency": None}), Unknown, id="null currency"),
        pytest.param(lambda: said(200, SUCCESS | {"externalId": None}), Unknown, id="whose?"),
        pytest.param(lambda: said(200, [SUCCESS]), Unknown, id="a list"),
        pytest.param(lambda: said(200), Unknown, id="nothing"),
        pytest.param(lambda: said(200, b"<html>", "text/html"), Unknown, id="HTML with 200"),
        pytest.param(
            lambda: said(200, SUCCESS, "text/html"), Unknown, id="JSON that says it is HTML"
        ),
        pytest.param(lambda: said(200, b'{"status":"SUCC'), Unknown, id="truncated JSON"),
        pytest.param(lambda: said(200, b"\xff\xfe{"), Unknown, id="odd encoding"),
        pytest.param(lambda: oversized(200), Unknown, id="40 MB"),
        pytest.param(lambda: deep(200), Unknown, id="deep nesting"),
        pytest.param(lambda: problem(404, "RESOURCE_NOT_FOUND"), NotSent, id="not known"),
        pytest.param(lambda: said(404, b"<html>", "text/html"), Unknown, id="a 404 page"),
        pytest.param(lambda: said(404, {"statusCode": 404}), Unknown, id="another 404"),
        pytest.param(lambda: said(400), Unknown, id="400"),
        pytest.param(lambda: said(401, {"statusCode": 401}), Unknown, id="401 twice"),
        pytest.param(lambda: said(403), Unknown, id="403"),
        pytest.param(lambda: said(429), Unknown, id="429"),
        pytest.param(lambda: problem(500, "NOT_ALLOWED"), Unknown, id="500 with a code"),
        pytest.param(
            lambda: problem(500, "INTERNAL_PROCESSING_ERROR"), Unknown, id="MTN's catch-all"
        ),
        pytest.param(lambda: said(503), Unknown, id="503"),
    ],
)
async def test_the_answer_to_a_status_call_means(
    momo: Simulated,
    odd: tuple[OddMTN, Gateway[Any]],
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
    expected: type[Outcome],
) -> None:
    mtn, gateway = odd
    mtn.answer = answer

    outcome = await momo.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, expected)
    assert not crashes(momo)


async def test_a_success_is_told_in_mtns_figures_not_in_ours(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    mtn, gateway = odd
    theirs = {"amount": "20.50", "currency": "EUR", "externalId": "somebody else's"}
    mtn.answer = lambda: said(200, SUCCESS | theirs)

    outcome = await momo.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert outcome == Succeeded(
        amount=Money(2050, "EUR"),
        reference="somebody else's",
        gateway_transaction_id="1195500001",
    )


async def test_an_unknown_status_word_is_pending_and_told(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    mtn, gateway = odd
    mtn.answer = lambda: said(200, SUCCESS | {"status": "PAUSED"})

    outcome = await momo.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Accepted)
    assert (outcome.reference, outcome.unmapped) == (REFERENCE, "PAUSED")


@pytest.mark.parametrize("code", ["INTERNAL_PROCESSING_ERROR", "SOMETHING_NEW", None])
async def test_the_code_of_an_answer_that_decides_nothing_is_told(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt, code: str | None
) -> None:
    mtn, gateway = odd
    mtn.answer = lambda: problem(500, code) if code else said(500)

    sent = await momo.plugin.initiate_payment(gateway, new_attempt())
    asked = await momo.plugin.check_payment(gateway, new_attempt())

    assert isinstance(sent, Unknown)
    assert isinstance(asked, Unknown)
    assert (sent.gateway_code, asked.gateway_code) == (code, code)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: said(400),
        lambda: problem(400, "VALIDATION_ERROR"),
        lambda: problem(400, "INVALID_REFERENCE_ID"),
        lambda: said(401, {"statusCode": 401}),
        lambda: said(401, {"error": "invalid_client"}),
        lambda: said(403, b"<html>", "text/html"),
        lambda: said(404),
        lambda: said(411),
        lambda: said(500, {"error": "login_failed"}),
        lambda: problem(500, "NOT_ALLOWED"),
    ],
)
async def test_every_refusal_that_mtn_documents_has_a_code_that_is_known(
    momo: Simulated,
    odd: tuple[OddMTN, Gateway[Any]],
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
) -> None:
    mtn, gateway = odd
    mtn.answer = answer

    outcome = await momo.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, Failed)
    meaning = momo.plugin.description.codes.get(outcome.gateway_code or "")
    assert meaning is not None
    assert meaning.failure is outcome.code


REASON_ROWS = {
    "NOT_ENOUGH_FUNDS": FailureCode.INSUFFICIENT_FUNDS,
    "LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED": FailureCode.INSUFFICIENT_FUNDS,
    "PAYER_LIMIT_REACHED": FailureCode.PAYER_LIMIT_REACHED,
    "PAYEE_LIMIT_REACHED": FailureCode.GATEWAY_ERROR,
    "PAYER_NOT_FOUND": FailureCode.PAYER_NOT_FOUND,
    "PAYEE_NOT_FOUND": FailureCode.GATEWAY_CONFIGURATION,
    "PAYEE_NOT_ALLOWED_TO_RECEIVE": FailureCode.GATEWAY_CONFIGURATION,
    "SENDER_ACCOUNT_NOT_ACTIVE": FailureCode.PAYER_BLOCKED,
    "APPROVAL_REJECTED": FailureCode.DECLINED_BY_PAYER,
    "PAYMENT_NOT_APPROVED": FailureCode.DECLINED_BY_PAYER,
    "TRANSACTION_CANCELED": FailureCode.CANCELLED,
    "EXPIRED": FailureCode.PAYER_TIMEOUT,
    "COULD_NOT_PERFORM_TRANSACTION": FailureCode.PAYER_TIMEOUT,
    "INTERNAL_PROCESSING_ERROR": FailureCode.GATEWAY_ERROR,
    "SERVICE_UNAVAILABLE": FailureCode.GATEWAY_ERROR,
    "NOT_ALLOWED": FailureCode.GATEWAY_CONFIGURATION,
    "NOT_ALLOWED_TARGET_ENVIRONMENT": FailureCode.GATEWAY_CONFIGURATION,
    "INVALID_CALLBACK_URL_HOST": FailureCode.GATEWAY_CONFIGURATION,
    "INVALID_CURRENCY": FailureCode.GATEWAY_CONFIGURATION,
    "RESOURCE_NOT_FOUND": FailureCode.OTHER,
    "RESOURCE_ALREADY_EXIST": FailureCode.OTHER,
    "TRANSACTION_NOT_FOUND": FailureCode.OTHER,
    "TRANSACTION_NOT_COMPLETED": FailureCode.OTHER,
    "TRANSFER_TYPE_UNKNOWN": FailureCode.GATEWAY_CONFIGURATION,
    "ONGOING": FailureCode.OTHER,
    "PAYER_DELAYED": FailureCode.OTHER,
    "PAYEE_DELAYED": FailureCode.OTHER,
    "UNSUPPORTED_SCOPE": FailureCode.OTHER,
    "CONSENT_MISMATCH": FailureCode.OTHER,
    "MISSING_SCOPE_INSTRUCTION": FailureCode.OTHER,
}


def test_every_reason_is_published(momo: Simulated) -> None:
    assert REASONS.items() <= momo.plugin.description.codes.items()


def test_every_reason_is_promised_here() -> None:
    assert {word: meaning.failure for word, meaning in REASONS.items()} == REASON_ROWS


@pytest.mark.parametrize("shape", ["text", "object"])
async def test_every_reason_is_understood_in_both_of_mtns_shapes(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt, shape: str
) -> None:
    mtn, gateway = odd
    told = {}
    for word in REASON_ROWS:
        reason = word if shape == "text" else {"code": word, "message": "…"}
        failure = SUCCESS | {"status": "FAILED", "reason": reason}
        mtn.answer = lambda failure=failure: said(200, failure)  # type: ignore[misc]  # bound now
        outcome = await momo.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))
        assert isinstance(outcome, Failed)
        assert outcome.message
        told[outcome.gateway_code] = outcome.code

    assert told == REASON_ROWS


@pytest.mark.parametrize(
    "reason", [None, 7, [], {}, {"code": 7}, "", "A\x00B", "\ud800", "x" * 9999]
)
async def test_a_reason_of_any_shape_is_a_failure_that_can_be_stored(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt, reason: object
) -> None:
    mtn, gateway = odd
    mtn.answer = lambda: said(200, SUCCESS | {"status": "FAILED", "reason": reason})

    outcome = await momo.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.OTHER
    word = outcome.gateway_code or ""
    assert "\x00" not in word
    assert len(word.encode()) <= 500


# ── the line ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["lost_replies", "truncated", "oversized"])
async def test_a_lost_reply_is_unknown_and_the_status_then_tells_the_truth(
    momo: Simulated, new_attempt: NewAttempt, fault: str
) -> None:
    await momo.tell("faults", **{fault: 1, "only": "requesttopay", "times": 1})
    attempt = new_attempt()

    lost = await momo.plugin.initiate_payment(momo.gateway, attempt)
    await asyncio.sleep(0.1)
    told = await momo.plugin.check_payment(momo.gateway, attempt)

    assert isinstance(lost, Unknown)
    assert isinstance(told, Succeeded)
    assert (await momo.transaction(attempt.reference))["moves"] == 1


async def test_a_reply_that_never_comes_is_unknown(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    await momo.tell("faults", hung_replies=1, only="requesttopay")
    attempt = new_attempt()

    async with httpx.AsyncClient(timeout=0.2) as impatient:
        gateway = replace(momo.gateway, http=impatient)
        outcome = await momo.plugin.initiate_payment(gateway, attempt)

    assert isinstance(outcome, Unknown)
    assert (await momo.transaction(attempt.reference))["requests"] == 1


async def test_a_refused_connection_is_not_sent(momo: Simulated, new_attempt: NewAttempt) -> None:
    gateway = momo.configured(base_url=f"http://127.0.0.1:{free_port()}")

    outcome = await momo.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, NotSent)


async def test_a_host_that_does_not_exist_is_not_sent(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    gateway = momo.configured(base_url="https://momo.invalid")

    outcome = await momo.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, NotSent)


async def test_not_being_able_to_ask_is_unknown_not_unsent(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    gateway = momo.configured(base_url=f"http://127.0.0.1:{free_port()}")

    outcome = await momo.plugin.check_payment(gateway, new_attempt())

    assert isinstance(outcome, Unknown)


async def test_a_client_without_a_limit_still_reads_no_40_mb(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    mtn, gateway = odd
    mtn.answer = lambda: oversized(200)

    async with httpx.AsyncClient() as plain:
        outcome = await momo.plugin.check_payment(replace(gateway, http=plain), new_attempt())

    assert outcome == Unknown(cause="MTN's answer is larger than 1 MB")


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_payments_at_once_ask_for_one_token(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    mtn, gateway = odd

    await asyncio.gather(*(momo.plugin.initiate_payment(gateway, new_attempt()) for _ in range(50)))

    assert mtn.paths().count("/collection/token/") == 1


async def test_a_token_is_renewed_in_time(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    mtn, gateway = odd

    for seconds in (0, 2900, 200):
        momo.watch.forward(seconds)
        await momo.plugin.initiate_payment(gateway, new_attempt())

    assert mtn.paths().count("/collection/token/") == 2


async def test_a_token_call_is_what_mtn_wants(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    mtn, gateway = odd

    await momo.plugin.initiate_payment(gateway, new_attempt())

    headers = mtn.requests[0].headers
    assert mtn.bodies[0] == b""
    assert headers.getlist("content-length") == ["0"]
    assert headers["x-target-environment"] == "mtnrwanda"
    assert headers["ocp-apim-subscription-key"] == "simulated-collection-key"
    assert "python" not in headers["user-agent"]


async def test_a_refused_token_is_renewed_once_for_the_same_reference(
    momo: Simulated, new_attempt: NewAttempt
) -> None:
    await momo.plugin.initiate_payment(momo.gateway, new_attempt())
    await momo.tell("reset")
    await momo.tell("settings", scale=0.01)
    momo.watch.forward(-7200)
    await momo.tell("settings", token_lifetime=1)
    attempt = new_attempt()

    outcome = await momo.plugin.initiate_payment(momo.gateway, attempt)

    assert isinstance(outcome, Accepted)
    assert (await momo.transaction(attempt.reference))["requests"] == 1


async def test_a_token_refused_twice_is_the_accounts_fault(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    mtn, gateway = odd
    mtn.answer = lambda: said(401, {"statusCode": 401, "message": "Unauthorized"})
    attempt = new_attempt()

    outcome = await momo.plugin.initiate_payment(gateway, attempt)

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.GATEWAY_CONFIGURATION
    assert mtn.paths() == ["/collection/token/", "/collection/v1_0/requesttopay"] * 2
    sent = [request.headers.get("x-reference-id") for request in mtn.requests]
    assert sent == [None, attempt.reference] * 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(lambda: said(500, {"error": "login_failed"}), Failed, id="login_failed"),
        pytest.param(lambda: said(401, {"error": "invalid_client"}), Failed, id="invalid_client"),
        pytest.param(lambda: said(401, {"statusCode": 401}), Failed, id="wrong key"),
        pytest.param(lambda: said(400, {"error": "Invalid"}), Failed, id="no target environment"),
        pytest.param(lambda: said(403, b"<html>", "text/html"), Failed, id="firewall"),
        pytest.param(lambda: said(500, b"Internal server error", "text/plain"), NotSent, id="500"),
        pytest.param(lambda: said(429), NotSent, id="429"),
        pytest.param(lambda: said(503), NotSent, id="503"),
        pytest.param(lambda: said(200, b"<html>", "text/html"), NotSent, id="HTML with 200"),
        pytest.param(lambda: said(200, b'{"acc'), NotSent, id="truncated JSON"),
        pytest.param(lambda: said(200, {"access_token": ""}), NotSent, id="an empty token"),
        pytest.param(lambda: said(200, {"access_token": "a\nb"}), NotSent, id="an evil token"),
        pytest.param(lambda: oversized(200), NotSent, id="40 MB"),
    ],
)
async def test_without_a_token_nothing_was_sent(
    momo: Simulated,
    odd: tuple[OddMTN, Gateway[Any]],
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
    expected: type[Outcome],
) -> None:
    mtn, gateway = odd
    mtn.token = answer

    outcome = await momo.plugin.initiate_payment(gateway, new_attempt())
    asked = await momo.plugin.check_payment(gateway, new_attempt())

    assert isinstance(outcome, expected)
    assert isinstance(asked, Unknown)
    assert set(mtn.paths()) == {"/collection/token/"}


@pytest.mark.parametrize("lifetime", [None, 0, -1, "3600", "soon", 1e300, 10**400, True])
async def test_any_lifetime_of_a_token_will_do(
    momo: Simulated, odd: tuple[OddMTN, Gateway[Any]], new_attempt: NewAttempt, lifetime: object
) -> None:
    mtn, gateway = odd
    mtn.token = lambda: said(200, TOKEN | {"expires_in": lifetime})

    outcomes = [await momo.plugin.initiate_payment(gateway, new_attempt()) for _ in range(2)]

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert mtn.paths().count("/collection/token/") == 1


# ── webhooks' address ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "wanted", "sent"),
    [
        ("https://pay.example.rw/webhooks/mtn/c0ffee01", True, True),
        ("https://pay.example.rw/webhooks/mtn/c0ffee01", False, False),
        (None, True, False),
    ],
)
async def test_the_webhooks_address_is_sent_only_when_there_is_one(
    momo: Simulated,
    odd: tuple[OddMTN, Gateway[Any]],
    new_attempt: NewAttempt,
    url: str | None,
    wanted: bool,
    sent: bool,
) -> None:
    mtn, gateway = odd
    config = gateway.config.model_copy(update={"send_callback_url": wanted})

    await momo.plugin.initiate_payment(
        replace(gateway, webhook_url=url, config=config), new_attempt()
    )

    assert mtn.requests[-1].headers.get("x-callback-url") == (url if sent else None)
