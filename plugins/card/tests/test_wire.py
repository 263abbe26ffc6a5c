"""What a bad line or an odd answer means: never a guess, never a second charge."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from plugins.card.tests.conftest import Bench
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dusangire.gateway import (
    Accepted,
    Attempt,
    Environment,
    Failed,
    FailureCode,
    Gateway,
    NotSent,
    Outcome,
    Refund,
    Succeeded,
    Unknown,
)
from dusangire.testing.rig import free_port, serve
from dusangire_card.flutterwave.driver import Flutterwave

NewAttempt = Callable[..., Attempt]
NewRefund = Callable[..., Refund]
REFERENCE = "7b1d0f9e-2c3a-4e58-8a17-6f5e4d3c2b1a"
LINK = "https://checkout.flutterwave.com/v3/hosted/pay/flwlnk-01j0example"
CHARGE: dict[str, Any] = {
    "id": 910000001,
    "tx_ref": REFERENCE,
    "flw_ref": "FLW-MOCK-0a1b2c",
    "amount": 15000,
    "currency": "RWF",
    "app_fee": 570,
    "processor_response": "Approved",
    "status": "successful",
}


@dataclass
class Odd:
    """Answers every call with whatever a test wants, and remembers the requests."""

    answer: Callable[[Request], Response]
    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._any, methods=["POST", "GET"])])

    async def _any(self, request: Request) -> Response:
        self.requests.append(request)
        self.bodies.append(await request.body())
        return self.answer(request)


@pytest.fixture
async def odd(bench: Bench) -> AsyncIterator[tuple[Odd, Gateway[Any]]]:
    odd = Odd(lambda _request: said({"link": LINK}))
    async with serve(odd.app()) as url:
        yield odd, bench.simulated.configured(base_url=f"{url}/v3")


def said(data: object, http: int = 200, status: str = "success", message: str = "") -> Response:
    return raw(json.dumps({"status": status, "message": message, "data": data}), http)


def error(http: int, message: str) -> Response:
    return said(None, http, "error", message)


def raw(body: str | bytes, http: int = 200, content_type: str = "application/json") -> Response:
    return Response(body, http, media_type=content_type)


async def _oversized() -> AsyncIterator[bytes]:
    for _ in range(40):
        yield b" " * 1_000_000


def crashes(bench: Bench) -> list[Any]:
    """Exceptions that core had to catch: their outcome is Unknown by core's doing, not ours."""
    events = {"hook raised", "hook answered nonsense"}
    return [entry for entry in bench.simulated.logged if entry["event"] in events]


NONSENSE: list[Any] = [
    pytest.param(lambda _: raw("<html>", 200, "text/html"), id="a page with 200"),
    pytest.param(lambda _: raw("<html>", 403, "text/html"), id="a page with 403"),
    pytest.param(lambda _: raw("<html>"), id="a page called JSON"),
    pytest.param(lambda _: raw(""), id="nothing"),
    pytest.param(lambda _: raw('{"status": "succ'), id="half a JSON"),
    pytest.param(lambda _: raw("[]"), id="a list"),
    pytest.param(lambda _: raw("{}"), id="no envelope"),
    pytest.param(lambda _: raw(b"\xff\xfe{}"), id="not even text"),
    pytest.param(lambda _: raw('{"a":' * 100_000), id="deep nesting"),
    pytest.param(lambda _: raw('{"status": "success", "data": NaN}'), id="NaN"),
    pytest.param(lambda _: raw('{"status": "success", "data": ' + "9" * 9_000 + "}"), id="a giant"),
    pytest.param(lambda _: raw('{"status": "success", "x": 1e99999999999}'), id="a huge exponent"),
    pytest.param(lambda _: said(None), id="no data"),
    pytest.param(lambda _: said([1, 2]), id="data of another shape"),
    pytest.param(lambda _: said({}, status="SOMETHING_NEW"), id="an unknown word"),
    pytest.param(lambda _: StreamingResponse(_oversized()), id="40 MB"),
    pytest.param(lambda _: said({}, 302), id="a redirect"),
    pytest.param(lambda _: error(500, "An error occurred"), id="500"),
    pytest.param(lambda _: error(503, "Please contact support"), id="503"),
    pytest.param(lambda _: error(408, "Timeout"), id="408"),
]


@pytest.mark.parametrize("answer", NONSENSE)
@pytest.mark.parametrize(
    "hook", ["initiate_payment", "check_payment", "refund_payment", "check_refund"]
)
async def test_nonsense_is_unknown(
    bench: Bench,
    odd: tuple[Odd, Gateway[Any]],
    new_attempt: NewAttempt,
    new_refund: NewRefund,
    hook: str,
    answer: Callable[[Request], Response],
) -> None:
    server, gateway = odd
    attempt = new_attempt(gateway_transaction_id="910000001")
    subject = new_refund(attempt) if "refund" in hook else attempt
    nothing_yet = said([]) if hook == "refund_payment" else None
    server.answer = lambda request: (
        nothing_yet if nothing_yet and request.method == "GET" else answer(request)
    )

    outcome = await getattr(bench.plugin, hook)(gateway, subject)

    assert isinstance(outcome, Unknown), outcome
    assert not crashes(bench)


# ── the answer to a request for a page ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [
        (lambda: error(400, "currency is required"), "GATEWAY_CONFIGURATION", "is required"),
        (lambda: error(400, "Something else"), "GATEWAY_CONFIGURATION", "400"),
        (lambda: error(401, "Invalid authorization key"), "GATEWAY_CONFIGURATION", "401"),
        (lambda: error(403, "not enabled for you"), "GATEWAY_CONFIGURATION", "403"),
        (lambda: error(404, "No such thing"), "GATEWAY_CONFIGURATION", "404"),
        (lambda: error(200, "Amount exceeds your limit"), "AMOUNT_OUT_OF_LIMITS", "exceed"),
        (lambda: error(200, "No."), "GATEWAY_ERROR", "200"),
    ],
)
async def test_a_clear_no_is_failed_with_a_known_code(
    bench: Bench,
    odd: tuple[Odd, Gateway[Any]],
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
    code: str,
    word: str,
) -> None:
    server, gateway = odd
    server.answer = lambda _request: answer()

    outcome = await bench.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (FailureCode(code), word)
    assert word in bench.plugin.description.codes


@pytest.mark.parametrize("http", [409, 500, 502, 503, 504])
async def test_what_decides_nothing_is_unknown_with_its_code(
    bench: Bench, odd: tuple[Odd, Gateway[Any]], new_attempt: NewAttempt, http: int
) -> None:
    server, gateway = odd
    server.answer = lambda _request: error(http, "")

    outcome = await bench.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, Unknown)
    assert outcome.gateway_code == str(http)
    assert bench.plugin.description.codes[str(http)].failure is None


@pytest.mark.parametrize(
    ("header", "wait"),
    [("7", timedelta(seconds=7)), ("soon", None), ("-1", timedelta(0)), (None, None)],
)
async def test_too_many_calls_are_not_sent_and_may_wait(
    bench: Bench,
    odd: tuple[Odd, Gateway[Any]],
    new_attempt: NewAttempt,
    header: str | None,
    wait: timedelta | None,
) -> None:
    server, gateway = odd
    headers = {} if header is None else {"retry-after": header}
    server.answer = lambda _request: Response("{}", 429, headers=headers)

    outcome = await bench.plugin.initiate_payment(gateway, new_attempt())

    assert isinstance(outcome, NotSent)
    assert outcome.retry_after == wait


async def test_where_nobody_listens_nothing_was_sent(
    bench: Bench, new_attempt: NewAttempt, new_refund: NewRefund
) -> None:
    gateway = bench.simulated.configured(base_url=f"http://127.0.0.1:{free_port()}")
    attempt = new_attempt(gateway_transaction_id="1")

    assert isinstance(await bench.plugin.initiate_payment(gateway, attempt), NotSent)
    assert isinstance(await bench.plugin.refund_payment(gateway, new_refund(attempt)), NotSent)
    assert isinstance(await bench.plugin.check_payment(gateway, attempt), Unknown)
    assert isinstance(await bench.plugin.check_refund(gateway, new_refund(attempt)), Unknown)
    assert isinstance(await bench.plugin.cancel_payment(gateway, attempt), Unknown)


async def test_what_is_sent_is_exactly_this(
    bench: Bench, odd: tuple[Odd, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    server, gateway = odd
    attempt = new_attempt(reference=REFERENCE, expires_at=datetime.now(UTC) + timedelta(minutes=9))

    await bench.plugin.initiate_payment(replace(gateway, public_url="https://p.rw"), attempt)

    assert server.requests[0].url.path == "/v3/payments"
    assert server.requests[0].headers["authorization"].startswith("Bearer FLWSECK_TEST-")
    assert json.loads(server.bodies[0], parse_float=Decimal) == {
        "tx_ref": REFERENCE,
        "amount": 15000,
        "currency": "RWF",
        "redirect_url": "https://p.rw/return/PAY-7K3M9Q2X",
        "payment_options": "card",
        "customer": {"email": "buyer@example.rw"},
        "customizations": {"title": "Example Shop", "description": "Order 1042"},
        "meta": {"payment": "PAY-7K3M9Q2X"},
        "session_duration": 8,
        "configurations": {"session_duration": 8, "max_retry_attempt": 5},
    }


# ── where payers are sent ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("link", "is_safe"),
    [
        (LINK, True),
        ("https://flutterwave.com/pay/x", True),
        ("http://checkout.flutterwave.com/pay/x", False),
        ("https://flutterwave.com.evil.example/pay", False),
        ("https://evilflutterwave.com/pay", False),
        ("https://evil.example/flutterwave.com", False),
        ("https://evil.example\\@checkout.flutterwave.com/", False),
        ("https://evil.example\\.flutterwave.com/", False),
        ("https://user@checkout.flutterwave.com/", False),
        ("https://checkout.flutterwave.com:8443/", False),
        ("https://checkout.flutterwave.com:port/", False),
        ("https://checkout.flutter\twave.com/", False),
        ("https://checkout.flutterwavé.com/", False),
        ("https://checkout.flutterwave.com/4111111111111111", False),
        ("javascript:alert(1)//checkout.flutterwave.com", False),
        ("//checkout.flutterwave.com", False),
        ("https://[checkout.flutterwave.com/", False),
        ("http://10.0.0.1/pay", False),
        ("https://checkout.flutterwave.com/" + "x" * 2_000, False),
        ("", False),
    ],
)
async def test_payers_are_sent_to_flutterwaves_own_pages_only(
    bench: Bench,
    odd: tuple[Odd, Gateway[Any]],
    new_attempt: NewAttempt,
    link: str,
    is_safe: bool,
) -> None:
    server, gateway = odd
    server.answer = lambda _request: said({"link": link})

    outcome = await bench.plugin.initiate_payment(gateway, new_attempt())

    if is_safe:
        assert isinstance(outcome, Accepted)
    else:
        assert isinstance(outcome, Failed)
        assert outcome.code is FailureCode.GATEWAY_ERROR


async def test_a_page_on_this_machine_is_for_simulators_in_test_mode(bench: Bench) -> None:
    here = "http://127.0.0.1:9/v3/hosted/pay/x"
    real = "https://api.flutterwave.com/v3"

    def is_safe(gateway: Gateway[Any]) -> bool:
        return Flutterwave(gateway).is_safe(here)

    assert is_safe(bench.gateway)
    assert not is_safe(replace(bench.gateway, environment=Environment.LIVE))
    assert not is_safe(bench.simulated.configured(base_url=real))


async def test_other_hosts_can_be_allowed_by_name(bench: Bench) -> None:
    gateway = bench.simulated.configured(link_hosts=["pay.example.rw"])

    assert Flutterwave(gateway).is_safe("https://pay.example.rw/x")
    assert not Flutterwave(gateway).is_safe(LINK)


# ── the answer to a question ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, Succeeded, id="as it should be"),
        pytest.param({"amount": "15000"}, Succeeded, id="the amount as text"),
        pytest.param({"amount": 15000.0}, Succeeded, id="the amount with a point"),
        pytest.param({"id": "910000001"}, Succeeded, id="the id as text"),
        pytest.param({"id": None}, Succeeded, id="no id"),
        pytest.param({"app_fee": "x"}, Succeeded, id="a fee that is none"),
        pytest.param({"app_fee": 15001}, Succeeded, id="a fee that is more than the payment"),
        pytest.param({"card": "x"}, Succeeded, id="a card of another shape"),
        pytest.param({"amount": 15000.5}, Unknown, id="half a franc"),
        pytest.param({"amount": "15 000"}, Unknown, id="an amount for people"),
        pytest.param({"amount": "１５０００"}, Unknown, id="digits of another script"),
        pytest.param({"amount": None}, Unknown, id="no amount"),
        pytest.param({"amount": True}, Unknown, id="an amount that is true"),
        pytest.param({"amount": -15000}, Unknown, id="less than nothing"),
        pytest.param({"amount": [15000]}, Unknown, id="a list"),
        pytest.param({"currency": None}, Unknown, id="no currency"),
        pytest.param({"currency": "XYZ"}, Unknown, id="no such currency"),
        pytest.param({"tx_ref": None}, Unknown, id="nobody's"),
        pytest.param({"status": None}, Unknown, id="no status"),
        pytest.param({"status": 1}, Unknown, id="a status of another type"),
        pytest.param({"status": "pending"}, Accepted, id="pending"),
        pytest.param({"status": "failed"}, Failed, id="failed, and no page to try again on"),
        pytest.param({"status": "SUCCESSFUL"}, Accepted, id="a word that is not quite it"),
        pytest.param({"status": "reversed"}, Accepted, id="a word we do not know"),
    ],
)
async def test_a_charge_is_read_so(
    bench: Bench,
    odd: tuple[Odd, Gateway[Any]],
    new_attempt: NewAttempt,
    change: dict[str, Any],
    expected: type[Outcome],
) -> None:
    server, gateway = odd
    server.answer = lambda _request: said({**CHARGE, **change})

    outcome = await bench.plugin.check_payment(gateway, new_attempt(reference=REFERENCE))

    assert isinstance(outcome, expected), outcome
    assert not crashes(bench)


async def test_an_unknown_word_is_pending_and_shown(
    bench: Bench, odd: tuple[Odd, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    server, gateway = odd
    server.answer = lambda _request: said({**CHARGE, "status": "on-hold"})

    outcome = await bench.plugin.check_payment(gateway, new_attempt())

    assert isinstance(outcome, Accepted)
    assert (outcome.unmapped, outcome.reference) == ("on-hold", REFERENCE)


async def test_an_answer_about_another_payment_says_so(
    bench: Bench, odd: tuple[Odd, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    server, gateway = odd
    server.answer = lambda _request: said(CHARGE)

    outcome = await bench.plugin.check_payment(gateway, new_attempt())

    assert isinstance(outcome, Succeeded)
    assert outcome.reference == REFERENCE


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: error(401, "Invalid authorization key"), id="a wrong key"),
        pytest.param(lambda: error(404, "Not here"), id="no such call"),
        pytest.param(lambda: error(400, "Something"), id="an unknown error"),
        pytest.param(lambda: Response("{}", 429), id="too many calls"),
    ],
)
async def test_a_question_that_is_refused_says_nothing_about_the_money(
    bench: Bench,
    odd: tuple[Odd, Gateway[Any]],
    new_attempt: NewAttempt,
    answer: Callable[[], Response],
) -> None:
    server, gateway = odd
    server.answer = lambda _request: answer()

    assert isinstance(await bench.plugin.check_payment(gateway, new_attempt()), Unknown)


async def test_play_money_is_not_believed_in_live_mode(
    bench: Bench, odd: tuple[Odd, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    server, _ = odd
    server.answer = lambda _request: said(CHARGE)
    live = bench.simulated.configured(
        base_url=odd[1].config.base_url, secret_key="FLWSECK-live-key-X"
    )

    outcome = await bench.plugin.check_payment(
        replace(live, environment=Environment.LIVE), new_attempt(reference=REFERENCE)
    )

    assert isinstance(outcome, Unknown)
    assert "play money" in outcome.cause


async def test_in_live_mode_payers_need_somewhere_to_come_back_to(
    bench: Bench, odd: tuple[Odd, Gateway[Any]], new_attempt: NewAttempt
) -> None:
    server, gateway = odd
    live = bench.simulated.configured(
        base_url=gateway.config.base_url, secret_key="FLWSECK-live-key-X"
    )

    outcome = await bench.plugin.initiate_payment(
        replace(live, environment=Environment.LIVE), new_attempt()
    )

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.GATEWAY_CONFIGURATION
    assert not server.requests
