"""Giving money back: whole payments, at most once, over real HTTP to the simulator."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dusangire.gateway import (
    Attempt,
    Failed,
    FailureCode,
    Gateway,
    NotSent,
    Outcome,
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.money import Money
from dusangire.testing.rig import Simulated, free_port, serve

NewAttempt = Callable[..., Attempt]
NewRefund = Callable[..., Refund]
MONEY_ID = "MP260101.0900.A00001"


async def paid(airtel: Simulated, attempt: Attempt) -> Attempt:
    """The attempt as core knows it once it has been paid."""
    await airtel.plugin.initiate_payment(airtel.gateway, attempt)
    async with asyncio.timeout(5):
        while True:
            outcome = await airtel.plugin.check_payment(airtel.gateway, attempt)
            if isinstance(outcome, Succeeded):
                return replace(attempt, gateway_transaction_id=outcome.gateway_transaction_id)
            await asyncio.sleep(0.01)


async def refunds(airtel: Simulated) -> list[dict[str, Any]]:
    told = (await airtel.truth())["transactions"]
    return [one for one in told if one["kind"] == "refund"]


async def test_a_refund_gives_the_whole_payment_back(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await paid(airtel, new_attempt()))

    outcome = await airtel.plugin.refund_payment(airtel.gateway, refund)

    [told] = await refunds(airtel)
    assert outcome == Succeeded(
        amount=Money(1500, "RWF"),
        reference=refund.reference,
        gateway_transaction_id=told["gateway_transaction_id"],
    )
    assert (told["moves"], told["original"]) == (1, refund.attempt.reference)


@pytest.mark.parametrize("signing", [False, True])
async def test_a_refund_is_signed_where_signing_is_on(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund, signing: bool
) -> None:
    refund = new_refund(await paid(airtel, new_attempt()))
    await airtel.tell("settings", signing=True)
    gateway = airtel.configured(message_signing=signing)

    outcome = await airtel.plugin.refund_payment(gateway, refund)

    assert isinstance(outcome, Succeeded if signing else Failed)
    assert len(await refunds(airtel)) == signing


@pytest.mark.parametrize("minor", [1, 1499, 1501])
async def test_a_part_is_refused_in_words_and_not_sent(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund, minor: int
) -> None:
    attempt = await paid(airtel, new_attempt())

    outcome = await airtel.plugin.refund_payment(airtel.gateway, new_refund(attempt, minor))

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.AMOUNT_OUT_OF_LIMITS
    assert "whole payments only: 1,500 RWF" in outcome.message
    assert await refunds(airtel) == []


async def test_a_payment_whose_airtel_id_is_missing_is_not_refunded(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = replace(await paid(airtel, new_attempt()), gateway_transaction_id=None)

    outcome = await airtel.plugin.refund_payment(airtel.gateway, new_refund(attempt))

    assert isinstance(outcome, Failed)
    assert "portal" in outcome.message
    assert await refunds(airtel) == []


async def test_a_payment_that_airtel_does_not_know_is_not_refunded(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = new_attempt(gateway_transaction_id=MONEY_ID)

    outcome = await airtel.plugin.refund_payment(airtel.gateway, new_refund(attempt))

    assert isinstance(outcome, Failed)
    assert outcome.gateway_code == "ESB000045"


async def test_a_payment_is_given_back_once(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = await paid(airtel, new_attempt())
    await airtel.plugin.refund_payment(airtel.gateway, new_refund(attempt))

    outcome = await airtel.plugin.refund_payment(airtel.gateway, new_refund(attempt))

    assert isinstance(outcome, Failed)
    assert outcome.gateway_code == "DP00800001009"
    assert [one["moves"] for one in await refunds(airtel)] == [1]


async def test_a_refused_refund_says_why(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    attempt = await paid(airtel, new_attempt())
    await airtel.tell("settings", outcomes={"1500": "DP00900001007"})

    outcome = await airtel.plugin.refund_payment(airtel.gateway, new_refund(attempt))

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (
        FailureCode.INSUFFICIENT_FUNDS,
        "DP00900001007",
    )


@pytest.mark.parametrize("fault", ["lost_replies", "truncated", "oversized"])
async def test_a_lost_refund_answer_is_unknown_and_never_not_sent(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund, fault: str
) -> None:
    refund = new_refund(await paid(airtel, new_attempt()))
    await airtel.tell("faults", **{fault: 1, "only": "refund"})

    outcome = await airtel.plugin.refund_payment(airtel.gateway, refund)

    assert isinstance(outcome, Unknown)
    # The money went back once, and the plugin did not try again by itself.
    assert [(one["moves"], one["requests"]) for one in await refunds(airtel)] == [(1, 1)]


@pytest.mark.parametrize("fault", ["refused", "unavailable", "html"])
async def test_a_refund_that_may_not_have_arrived_is_unknown_too(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund, fault: str
) -> None:
    refund = new_refund(await paid(airtel, new_attempt()))
    await airtel.tell("faults", **{fault: 1, "only": "refund"})

    outcome = await airtel.plugin.refund_payment(airtel.gateway, refund)

    assert isinstance(outcome, Unknown)
    assert await refunds(airtel) == []


async def test_only_a_refund_that_certainly_never_left_is_not_sent(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    refund = new_refund(await paid(airtel, new_attempt()))
    nowhere = airtel.configured(base_url=f"http://127.0.0.1:{free_port()}")

    outcome = await airtel.plugin.refund_payment(nowhere, refund)

    assert isinstance(outcome, NotSent)


# ── odd answers ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class OddRefunds:
    """Answers refunds with whatever a test wants."""

    status: int = 200
    body: Any = None
    count: int = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/auth/oauth2/token", self._token, methods=["POST"]),
                Route("/standard/v1/payments/refund", self._refund, methods=["POST"]),
            ]
        )

    async def _token(self, _request: Request) -> Response:
        return JSONResponse({"access_token": "t0", "expires_in": "180"})

    async def _refund(self, _request: Request) -> Response:
        self.count += 1
        if self.body is None:
            return Response(status_code=self.status)
        return JSONResponse(self.body, status_code=self.status)


@pytest.fixture
async def odd(airtel: Simulated) -> AsyncIterator[tuple[OddRefunds, Gateway[Any]]]:
    odd = OddRefunds()
    async with serve(odd.app()) as url:
        yield odd, airtel.configured(base_url=url)


def told(
    code: str | None, *, success: bool = True, status: str | None = "SUCCESS", **more: str
) -> dict[str, Any]:
    said = {"response_code": code, "success": success, **more}
    data = {"transaction": {"airtel_money_id": "CI260101.0930.C00002", "status": status}}
    return {"data": data, "status": said} if status else {"status": said}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, told("DP00800001006"), Succeeded, id="done"),
        pytest.param(200, told("DP00800001001"), Succeeded, id="done, code 001"),
        pytest.param(200, told("DP00900001001", status="TS"), Succeeded, id="done, as a payout"),
        pytest.param(200, told("DP00800001006", status=None), Unknown, id="no word that it is"),
        pytest.param(200, told("DP00800001006", status="TIP"), Unknown, id="in progress"),
        pytest.param(200, told("DP00800001000"), Unknown, id="ambiguous"),
        pytest.param(200, told("DP00800001999"), Unknown, id="success with a new code"),
        pytest.param(200, told("DP00800001007"), Unknown, id="success with a refusal"),
        pytest.param(500, told("DP00800001006"), Unknown, id="success with 500"),
        pytest.param(202, told("DP00800001006"), Unknown, id="success with 202"),
        pytest.param(200, told("DP00800001009", success=False, status=None), Failed, id="refused"),
        pytest.param(200, told("DP00900001010", success=False, status=None), Failed, id="not we"),
        pytest.param(
            200, told("DP00800001003", success=False), Unknown, id="003 may be in progress"
        ),
        pytest.param(400, told("DP00800001005", success=False), Unknown, id="005 for anything"),
        pytest.param(200, told("DP00900001011", success=False), Unknown, id="a similar one exists"),
        pytest.param(200, told("DP00900001017", success=False), Unknown, id="its id exists"),
        pytest.param(200, told("DP00900001014", success=False), Unknown, id="timed out"),
        pytest.param(200, told("DP00800001999", success=False), Unknown, id="a new code"),
        pytest.param(500, told("DP00800001009", success=False), Unknown, id="refused with 500"),
        pytest.param(
            200,
            told("DP00800001009", success=False, result_code="ESB0000900"),
            Unknown,
            id="refused, but possibly ambiguous",
        ),
        pytest.param(400, {"status_code": "ROUTER110"}, Failed, id="no such partner"),
        pytest.param(400, {"status_code": "ROUTER117"}, Unknown, id="the gateway's time-out"),
        pytest.param(400, {"message": "?"}, Unknown, id="400 without a code"),
        pytest.param(400, None, Unknown, id="an empty 400"),
        pytest.param(401, {}, Unknown, id="401 without a word"),
        pytest.param(403, None, Unknown, id="an empty 403"),
        pytest.param(404, None, Unknown, id="an empty 404"),
        pytest.param(429, told("DP00800001009", success=False), Unknown, id="refused with 429"),
        pytest.param(503, {}, Unknown, id="503"),
        pytest.param(200, [], Unknown, id="a list"),
    ],
)
async def test_the_answer_to_a_refund_means(
    airtel: Simulated,
    odd: tuple[OddRefunds, Gateway[Any]],
    new_attempt: NewAttempt,
    new_refund: NewRefund,
    status: int,
    body: object,
    expected: type[Outcome],
) -> None:
    provider, gateway = odd
    provider.status, provider.body = status, body
    refund = new_refund(new_attempt(gateway_transaction_id=MONEY_ID))

    outcome = await airtel.plugin.refund_payment(gateway, refund)

    assert isinstance(outcome, expected)
    assert provider.count == 1
    assert not [entry for entry in airtel.logged if entry["event"] == "hook raised"]


async def test_a_refund_whose_token_is_refused_is_sent_once_more_since_it_never_got_in(
    airtel: Simulated,
    odd: tuple[OddRefunds, Gateway[Any]],
    new_attempt: NewAttempt,
    new_refund: NewRefund,
) -> None:
    provider, gateway = odd
    provider.status, provider.body = 403, {"error": "invalid_token"}
    refund = new_refund(new_attempt(gateway_transaction_id=MONEY_ID))

    outcome = await airtel.plugin.refund_payment(gateway, refund)

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.GATEWAY_CONFIGURATION
    assert provider.count == 2


async def test_a_refund_whose_signature_is_refused_is_not_sent_again(
    airtel: Simulated, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    await airtel.tell("settings", signing=True)
    signed = airtel.configured(message_signing=True)
    airtel = replace(airtel, gateway=signed)
    one, other = [await paid(airtel, new_attempt()) for _ in range(2)]
    await airtel.tell("settings", key_size=2048)

    refused = await airtel.plugin.refund_payment(signed, new_refund(one))
    done = await airtel.plugin.refund_payment(signed, new_refund(other))

    assert isinstance(refused, Failed)
    assert refused.gateway_code == "DP00800001026"
    assert isinstance(done, Succeeded)
