"""The simulator is as strict and as odd as Flutterwave; its page needs nothing but a browser."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from plugins.card.tests.conftest import Bench, link_of
from starlette.applications import Starlette
from starlette.routing import Mount

from dusangire.gateway import Attempt, Succeeded
from dusangire.masking import has_card_number
from dusangire.money import Money
from dusangire.testing.rig import serve, until
from dusangire_card.flutterwave.cards import CARDS

NewAttempt = Callable[..., Attempt]
KEY = "FLWSECK_TEST-simulated-secret-key-X"
ORDER = {
    "tx_ref": "r-1",
    "amount": 5000,
    "currency": "RWF",
    "customer": {"email": "buyer@example.rw"},
    "redirect_url": "https://shop.example.rw/return",
}


async def call(bench: Bench, method: str, path: str, body: object = None, key: str = KEY) -> Any:
    answer = await bench.page.request(
        method,
        f"{bench.simulated.url}{path}",
        json=body,
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )
    return answer.status_code, answer.json()


# ── the API ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/payments", "/v3/payments"])
async def test_the_version_in_the_path_is_optional(bench: Bench, path: str) -> None:
    status, told = await call(bench, "POST", path, ORDER)

    assert (status, told["status"]) == (200, "success")
    assert told["data"]["link"].startswith(f"{bench.simulated.url}/v3/hosted/pay/flwlnk-")


@pytest.mark.parametrize(
    ("key", "message"),
    [("", "Authorization required"), ("FLWSECK_TEST-other-X", "Invalid authorization key")],
)
async def test_without_the_key_nobody_is_served(bench: Bench, key: str, message: str) -> None:
    status, told = await call(bench, "POST", "/v3/payments", ORDER, key)

    assert (status, told["message"], told["data"]) == (401, message, None)


@pytest.mark.parametrize("missing", ["tx_ref", "amount", "customer"])
async def test_what_is_needed_is_asked_for(bench: Bench, missing: str) -> None:
    body = {name: value for name, value in ORDER.items() if name != missing}

    status, told = await call(bench, "POST", "/v3/payments", body)

    assert (status, told["status"]) == (400, "error")
    assert "is required" in told["message"]


@pytest.mark.parametrize("amount", [-5, "x", "NaN", [5]])
async def test_an_amount_must_be_one(bench: Bench, amount: object) -> None:
    status, _ = await call(bench, "POST", "/v3/payments", {**ORDER, "amount": amount})

    assert status == 400


async def test_a_forgotten_currency_is_naira(bench: Bench) -> None:
    await call(bench, "POST", "/v3/payments", {k: v for k, v in ORDER.items() if k != "currency"})

    assert (await bench.simulated.transaction("r-1"))["currency"] == "NGN"


async def test_a_reference_makes_nothing_safe(bench: Bench, new_attempt: NewAttempt) -> None:
    """A kept card charged twice under one reference is charged twice: so a resend would show."""
    attempt = await bench.begin(new_attempt(keeps_method=True))
    await bench.pays(attempt)
    paid = await bench.asks(attempt)
    assert isinstance(paid, Succeeded)
    assert paid.token is not None
    email, _, token = paid.token.secret.partition(" ")
    charge = {**ORDER, "token": token, "email": email, "narration": "again"}

    for _ in range(2):
        await call(bench, "POST", "/v3/tokenized-charges", charge)

    assert await bench.moves("r-1") == 2


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


async def page(bench: Bench, attempt: Attempt) -> httpx.Response:
    return await bench.page.get(link_of(attempt))


async def test_the_page_works_without_scripts_and_without_the_internet(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt(description='Tea & <b>"coffee"</b>'))

    shown = await page(bench, attempt)

    assert shown.status_code == 200
    assert "<script" not in shown.text
    assert not re.search(r'(src|href)="', shown.text)
    assert "Tea &amp; &lt;b&gt;" in shown.text
    assert "15,000 RWF" in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    [nonce] = re.findall('<style nonce="([^"]+)">', shown.text)
    assert f"'nonce-{nonce}'" in shown.headers["content-security-policy"]


async def test_nobody_can_type_a_card_number_in(bench: Bench, new_attempt: NewAttempt) -> None:
    shown = (await page(bench, await bench.begin(new_attempt()))).text

    assert set(re.findall('<input type="([a-z]+)"', shown)) == {"radio"}
    assert shown.count('type="radio"') == len(CARDS)
    assert "<textarea" not in shown
    assert not has_card_number(re.sub("<[^>]*>", " ", shown))


async def test_everything_on_the_page_has_a_name_for_those_who_listen(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    shown = (await page(bench, await bench.begin(new_attempt()))).text

    assert '<html lang="en">' in shown
    assert "<legend>" in shown
    # Each choice is inside its label, and one is chosen.
    assert shown.count("<label>") == shown.count("<input") == len(CARDS)
    assert shown.count("checked") - shown.count(":checked") == 1


async def test_a_refusal_is_said_on_the_page_and_another_card_can_be_tried(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())

    refused = await bench.pays(attempt, "insufficient")

    assert refused.status_code == 200
    assert 'role="alert"' in refused.text
    assert "Insufficient Funds" in refused.text
    assert 'type="radio"' in refused.text


async def test_with_the_last_card_refused_the_payer_goes_back(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    gateway = bench.simulated.configured(
        max_attempts=2, redirect_base_url="https://shop.example.rw"
    )
    attempt = await bench.begin(new_attempt(), gateway)

    answers = [await bench.pays(attempt, "fraud") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 303, 409]
    assert "status=failed" in answers[1].headers["location"]


async def test_cancelling_goes_back_and_leaves_the_page_open(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    gateway = bench.simulated.configured(redirect_base_url="https://shop.example.rw")
    attempt = await bench.begin(new_attempt(), gateway)

    back = await bench.pays(attempt, act="cancel")
    paid = await bench.pays(attempt)

    assert "status=cancelled" in back.headers["location"]
    assert "status=successful" in paid.headers["location"]


async def test_a_page_can_be_paid_once(bench: Bench, new_attempt: NewAttempt) -> None:
    attempt = await bench.begin(new_attempt())

    answers = [await bench.pays(attempt) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 409]
    assert "This has been paid." in answers[1].text
    assert await bench.moves(attempt.reference) == 1


@pytest.mark.parametrize("form", [{}, {"card": "gold"}, {"act": "pay"}, {"card": "", "act": "x"}])
async def test_an_odd_form_pays_nothing(
    bench: Bench, new_attempt: NewAttempt, form: dict[str, str]
) -> None:
    attempt = await bench.begin(new_attempt())

    answer = await bench.page.post(link_of(attempt), data=form)

    assert answer.status_code == 400
    assert await bench.moves(attempt.reference) == 0


async def test_a_page_that_is_over_or_unknown_takes_nothing(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())
    bench.simulated.watch.forward(31 * 60)

    over = await bench.pays(attempt)
    unknown = await bench.page.get(link_of(attempt) + "x")
    await bench.simulated.tell("reset")
    forgotten = await bench.page.get(link_of(attempt))

    assert (over.status_code, unknown.status_code, forgotten.status_code) == (409, 404, 404)
    assert "The time to pay is over." in over.text


# ── without a person ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("outcomes", "end"), [({}, True), ({"15000": "Insufficient"}, False)])
async def test_it_can_pay_by_itself_or_refuse_by_the_amount(
    bench: Bench, new_attempt: NewAttempt, outcomes: dict[str, str], end: bool
) -> None:
    await bench.simulated.tell("settings", mode="auto", outcomes=outcomes)
    attempt = await bench.begin(new_attempt())

    async def decided() -> bool:
        told = await bench.simulated.transaction(attempt.reference)
        return bool(told["status"] != "PENDING")

    await until(decided)
    assert isinstance(await bench.asks(attempt), Succeeded) is end


async def test_a_person_can_decide_on_the_phone_too(bench: Bench, new_attempt: NewAttempt) -> None:
    attempt = await bench.begin(new_attempt())
    waiting = (await bench.simulated.control.get("phone")).json()["waiting"]

    await bench.simulated.tell("decide", reference=attempt.reference, decision="approve")

    assert [one["reference"] for one in waiting] == [attempt.reference]
    assert isinstance(await bench.asks(attempt), Succeeded)


async def test_an_amount_can_refuse_any_card(bench: Bench, new_attempt: NewAttempt) -> None:
    await bench.simulated.tell("settings", outcomes={"666": "Insufficient Funds"})
    attempt = await bench.begin(new_attempt(Money(666, "RWF")))

    refused = await bench.pays(attempt)

    assert "Insufficient Funds" in refused.text
    assert await bench.moves(attempt.reference) == 0


@pytest.mark.parametrize("path", ["", "/v3", "/simulators/card", "/simulators/card/v3"])
async def test_the_page_is_where_the_caller_found_the_simulator(bench: Bench, path: str) -> None:
    simulator = bench.plugin.simulator(bench.gateway)
    assert simulator is not None
    outer = Starlette(routes=[Mount("/simulators/card", simulator), Mount("/", simulator)])

    async with serve(outer) as url:
        answer = await bench.page.post(
            f"{url}{path}/payments", json=ORDER, headers={"Authorization": f"Bearer {KEY}"}
        )
        link = answer.json()["data"]["link"]
        shown = await bench.page.get(link)

    assert link.startswith(url)
    assert shown.status_code == 200


async def test_who_has_no_address_for_the_simulator_is_told_the_accounts(bench: Bench) -> None:
    answer = await bench.page.post(
        f"{bench.simulated.url}/v3/payments",
        json=ORDER,
        headers={"Authorization": f"Bearer {KEY}", "Host": "simulator.test"},
    )

    assert answer.json()["data"]["link"].startswith("http://127.0.0.1/v3/hosted/pay/")
