"""Paying on the page, over real HTTP to the simulator: what is asked for, and how it ends."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from plugins.card.tests.conftest import Bench, link_in, link_of

from dusangire.gateway import (
    Accepted,
    Attempt,
    Environment,
    Failed,
    FailureCode,
    NotSent,
    PaymentToken,
    Succeeded,
    Unknown,
)
from dusangire.lifecycle import (
    NOT_FOUND_FOR,
    RESEND_FOR,
    AttemptState,
    AttemptStatus,
    integrity_problem,
)
from dusangire.money import Money
from dusangire.testing.rig import until
from dusangire_card.flutterwave.cards import CARDS

NewAttempt = Callable[..., Attempt]


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_payer_pays_on_the_page(bench: Bench, new_attempt: NewAttempt) -> None:
    attempt = await bench.begin(new_attempt())

    before = await bench.asks(attempt)
    await bench.pays(attempt)
    outcome = await bench.asks(attempt)

    assert link_in(before).url == link_of(attempt)
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.reference) == (attempt.amount, attempt.reference)
    assert await bench.moves(attempt.reference) == 1


async def test_the_page_is_asked_for_with_currency_and_address(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    gateway = replace(bench.gateway, public_url="https://pay.example.rw")
    attempt = await bench.begin(new_attempt(), gateway)

    response = await bench.pays(attempt)

    told = await bench.simulated.transaction(attempt.reference)
    assert (told["amount"], told["currency"], told["party"]) == ("15000", "RWF", "buyer@example.rw")
    assert response.status_code == 303
    assert response.headers["location"].startswith(
        f"https://pay.example.rw/return/PAY-7K3M9Q2X?status=successful&tx_ref={attempt.reference}"
    )


async def test_a_set_return_address_goes_before_the_public_one(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    gateway = replace(
        bench.simulated.configured(redirect_base_url="https://shop.example.rw/"),
        public_url="https://pay.example.rw",
    )
    attempt = await bench.begin(new_attempt(), gateway)

    response = await bench.pays(attempt, act="cancel")

    assert response.headers["location"].startswith("https://shop.example.rw/return/PAY-7K3M9Q2X?")
    assert "transaction_id" not in response.headers["location"]


@pytest.mark.parametrize(
    ("left", "minutes"), [(None, 30), (90, 30), (20, 20), (1, 1)], ids=lambda value: f"{value} min"
)
async def test_a_page_never_lives_longer_than_the_payment(
    bench: Bench, new_attempt: NewAttempt, left: int | None, minutes: int
) -> None:
    now = datetime.now(UTC)
    ends = None if left is None else now + timedelta(minutes=left, seconds=30)

    attempt = await bench.begin(new_attempt(expires_at=ends))

    page = link_in(await bench.asks(attempt))
    assert page.expires_at is not None
    lifetime = page.expires_at - now
    assert timedelta(minutes=minutes) <= lifetime <= timedelta(minutes=minutes, seconds=20)


async def test_with_no_time_left_no_page_is_made(bench: Bench, new_attempt: NewAttempt) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=50)

    outcome = await bench.plugin.initiate_payment(bench.gateway, new_attempt(expires_at=soon))

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.EXPIRED
    assert not (await bench.simulated.truth())["transactions"]


async def test_asked_again_it_is_the_same_page(bench: Bench, new_attempt: NewAttempt) -> None:
    attempt = await bench.begin(new_attempt())

    again = await bench.begin(attempt)

    assert link_of(again) == link_of(attempt)
    assert (await bench.simulated.transaction(attempt.reference))["requests"] == 1


async def test_payers_without_an_address_get_one_that_stays_theirs(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    async def address(**fields: object) -> str:
        attempt = await bench.begin(new_attempt(email=None, **fields))
        told: str = (await bench.simulated.transaction(attempt.reference))["party"]
        return told

    first, again, other = (
        await address(customer="Uwase, Aline <3"),
        await address(customer="Uwase, Aline <3", payment_reference="PAY-OTHER"),
        await address(customer="Mugisha"),
    )

    assert first == again != other
    assert first.startswith("buyer+")
    assert first.endswith("@buyers.example.rw")


# ── refused cards ────────────────────────────────────────────────────────────────────────────────


async def test_a_refused_card_ends_nothing_while_the_page_is_open(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "insufficient")

    refused = await bench.asks(attempt)
    await bench.pays(attempt, "visa-3ds")
    outcome = await bench.asks(attempt)

    assert link_in(refused).url == link_of(attempt)
    assert isinstance(outcome, Succeeded)


@pytest.mark.parametrize(
    ("card", "code", "word"),
    [
        ("insufficient", FailureCode.INSUFFICIENT_FUNDS, "insufficient"),
        ("declined", FailureCode.CARD_DECLINED, "declined"),
        ("fraud", FailureCode.CARD_DECLINED, "fraud"),
        ("do-not-honour", FailureCode.CARD_DECLINED, "do not honour"),
        ("expired", FailureCode.CARD_DECLINED, "expired card"),
        ("wrong-code", FailureCode.AUTHENTICATION_FAILED, "invalid otp"),
        ("new-reason", FailureCode.CARD_DECLINED, "Tuesday is closed"),
    ],
)
async def test_where_one_card_is_all_its_refusal_is_the_end(
    bench: Bench, new_attempt: NewAttempt, card: str, code: FailureCode, word: str
) -> None:
    strict = bench.simulated.configured(max_attempts=1)
    attempt = await bench.begin(new_attempt(), strict)
    await bench.pays(attempt, card)

    outcome = await bench.plugin.check_payment(strict, attempt)

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (code, word)
    assert outcome.message


async def test_before_a_refusal_is_the_end_the_page_is_closed(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    # The page itself would still take cards.
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "declined")

    outcome = await bench.plugin.check_payment(bench.simulated.configured(max_attempts=1), attempt)
    response = await bench.pays(attempt, "visa-3ds")

    assert isinstance(outcome, Failed)
    assert response.status_code == 409
    assert await bench.moves(attempt.reference) == 0


async def test_every_refusing_card_has_a_meaning(bench: Bench) -> None:
    known = bench.plugin.description.codes
    reasons = {card.reason for card in CARDS.values() if card.reason}

    unknown = {reason for reason in reasons if not any(word in reason.lower() for word in known)}

    assert unknown == {"Tuesday is closed"}


# ── cards that take their time ───────────────────────────────────────────────────────────────────


async def test_a_card_that_is_being_charged_is_pending(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "pending")
    bench.simulated.watch.forward(24 * 3600)

    outcome = await bench.asks(attempt)

    assert isinstance(outcome, Accepted)
    assert outcome.reference == attempt.reference


async def test_a_slow_bank_succeeds_in_the_end(bench: Bench, new_attempt: NewAttempt) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "slow")

    async def paid() -> bool:
        return isinstance(await bench.asks(attempt), Succeeded)

    await until(paid)


@pytest.mark.parametrize("http", [200, 400, 404])
async def test_not_found_just_after_paying_is_no_end(
    bench: Bench, new_attempt: NewAttempt, http: int
) -> None:
    await bench.simulated.tell("settings", not_found_http=http)
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "hidden")

    outcomes = [await bench.asks(attempt) for _ in range(3)]

    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, Succeeded]


# ── the end of the page ──────────────────────────────────────────────────────────────────────────


async def test_a_page_nobody_used_expires_after_a_grace_and_is_closed(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())

    bench.simulated.watch.forward(31 * 60)
    in_grace = await bench.asks(attempt)
    bench.simulated.watch.forward(15 * 60)
    outcome = await bench.asks(attempt)

    assert isinstance(in_grace, Accepted)
    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.EXPIRED


async def test_the_page_is_closed_before_it_is_said_to_have_expired(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())
    bench.simulated.watch.forward(46 * 60)
    await bench.asks(attempt)
    # Had it not been closed, it would be open again by its own clock.
    bench.simulated.watch.forward(-46 * 60)

    response = await bench.pays(attempt)

    assert response.status_code == 409
    assert await bench.moves(attempt.reference) == 0


async def test_money_that_came_at_the_last_moment_counts(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "hidden")
    bench.simulated.watch.forward(46 * 60)

    first = await bench.asks(attempt)
    later = await bench.asks(attempt)

    # Not found twice: once before the page was closed, once after.
    assert isinstance(first, Failed)
    assert isinstance(later, Succeeded)


async def test_a_refused_card_is_the_end_once_the_page_is_over(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "fraud")
    bench.simulated.watch.forward(31 * 60)

    outcome = await bench.asks(attempt)

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.gateway_code) == (FailureCode.CARD_DECLINED, "fraud")


async def test_when_the_page_cannot_be_closed_nothing_has_ended(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())
    bench.simulated.watch.forward(46 * 60)
    await bench.simulated.tell("faults", refused=1, only="disable")

    assert isinstance(await bench.asks(attempt), Unknown)


# ── withdrawing ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tried", [None, "insufficient"])
async def test_a_withdrawn_page_takes_no_card_any_more(
    bench: Bench, new_attempt: NewAttempt, tried: str | None
) -> None:
    attempt = await bench.begin(new_attempt())
    if tried:
        await bench.pays(attempt, tried)

    outcome = await bench.plugin.cancel_payment(bench.gateway, attempt)
    response = await bench.pays(attempt)

    assert isinstance(outcome, Failed)
    assert outcome.code is FailureCode.CANCELLED
    assert response.status_code == 409
    assert await bench.moves(attempt.reference) == 0


async def test_withdrawing_twice_says_the_same(bench: Bench, new_attempt: NewAttempt) -> None:
    attempt = await bench.begin(new_attempt())

    outcomes = [await bench.plugin.cancel_payment(bench.gateway, attempt) for _ in range(2)]

    assert [type(outcome) for outcome in outcomes] == [Failed, Failed]


async def test_withdrawing_what_is_paid_is_too_late(bench: Bench, new_attempt: NewAttempt) -> None:
    attempt = await bench.paid(new_attempt())

    assert isinstance(await bench.plugin.cancel_payment(bench.gateway, attempt), Succeeded)


async def test_a_card_in_the_middle_of_it_cannot_be_withdrawn(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "pending")

    assert isinstance(await bench.plugin.cancel_payment(bench.gateway, attempt), Unknown)


@pytest.mark.parametrize("fault", ["lost_replies", "unavailable", "html"])
@pytest.mark.parametrize("only", ["disable", "verify"])
async def test_a_withdrawal_whose_answer_is_lost_is_unknown(
    bench: Bench, new_attempt: NewAttempt, fault: str, only: str
) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.simulated.tell("faults", **{fault: 1}, only=only)

    assert isinstance(await bench.plugin.cancel_payment(bench.gateway, attempt), Unknown)


# ── an answer with the link that was lost ────────────────────────────────────────────────────────


async def test_after_a_lost_link_another_is_made_and_money_moves_once(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()
    await bench.simulated.tell("faults", lost_replies=1, only="payments", times=1)

    lost = await bench.plugin.initiate_payment(bench.gateway, attempt)
    asked = await bench.asks(attempt)
    attempt = await bench.begin(attempt)
    await bench.pays(attempt)

    assert isinstance(lost, Unknown)
    # Nobody has the first link, so nobody can pay by it: sending again is safe.
    assert isinstance(asked, NotSent)
    assert isinstance(await bench.asks(attempt), Succeeded)
    assert await bench.moves(attempt.reference) == 1


def test_core_believes_in_a_lost_link_while_it_may_still_make_another(bench: Bench) -> None:
    first, second, third = bench.plugin.description.check_schedule.first[:3]

    # With the jitter of a tenth that core gives each of them.
    assert (second + third) * 0.9 >= NOT_FOUND_FOR.total_seconds()
    assert (first + second + third) * 1.1 <= RESEND_FOR.total_seconds()


async def test_withdrawing_what_may_still_be_on_its_way_is_unknown(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt()

    soon = await bench.plugin.cancel_payment(bench.gateway, attempt)
    bench.simulated.watch.forward(31 * 60)
    later = await bench.plugin.cancel_payment(bench.gateway, attempt)

    assert isinstance(soon, Unknown)
    assert isinstance(later, Failed)


# ── what the gateway says, not what we asked for ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("card", "said"),
    [("naira", Money(1_500_000, "NGN")), ("one-less", Money(14_999, "RWF"))],
)
async def test_another_amount_is_said_as_it_is_and_core_refuses_it(
    bench: Bench, new_attempt: NewAttempt, card: str, said: Money
) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, card)

    outcome = await bench.asks(attempt)

    assert isinstance(outcome, Succeeded)
    assert outcome.amount == said
    state = AttemptState(
        status=AttemptStatus.PENDING,
        reference=attempt.reference,
        amount=attempt.amount,
        created_at=attempt.created_at,
    )
    assert integrity_problem(state, outcome)


async def test_a_fee_on_top_is_not_the_amount(bench: Bench, new_attempt: NewAttempt) -> None:
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt, "with-fee")

    outcome = await bench.asks(attempt)

    assert isinstance(outcome, Succeeded)
    assert outcome.amount == attempt.amount


@pytest.mark.parametrize("numbers", ["integer", "decimal", "text"])
async def test_an_amount_is_read_however_it_is_written(
    bench: Bench, new_attempt: NewAttempt, numbers: str
) -> None:
    await bench.simulated.tell("settings", numbers=numbers)
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt)

    outcome = await bench.asks(attempt)

    assert isinstance(outcome, Succeeded)
    assert outcome.amount == attempt.amount


async def test_a_fee_with_decimals_is_rounded_and_kept_exactly_beside_it(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    notes: list[tuple[str, object]] = []
    gateway = replace(bench.gateway, note=lambda name, value: notes.append((name, value)))
    attempt = await bench.begin(new_attempt(Money(1_250, "RWF")))
    await bench.pays(attempt)

    outcome = await bench.plugin.check_payment(gateway, attempt)

    assert isinstance(outcome, Succeeded)
    assert outcome.fee == Money(48, "RWF")
    assert notes == [("exact fee", "47.5 RWF")]


@pytest.mark.parametrize("hook", ["initiate_payment", "check_payment", "cancel_payment"])
async def test_with_the_key_of_the_other_environment_nothing_is_sent(
    bench: Bench, new_attempt: NewAttempt, hook: str
) -> None:
    gateway = replace(bench.gateway, environment=Environment.LIVE)
    await bench.simulated.tell("faults", hung_replies=1)

    outcome = await getattr(bench.plugin, hook)(gateway, new_attempt())

    expected = Failed if hook == "initiate_payment" else Unknown
    assert isinstance(outcome, expected)
    assert not (await bench.simulated.truth())["transactions"]


# ── kept cards ───────────────────────────────────────────────────────────────────────────────────


async def kept(bench: Bench, new_attempt: NewAttempt, **fields: object) -> PaymentToken:
    attempt = await bench.begin(new_attempt(keeps_method=True, customer="uwase", **fields))
    await bench.pays(attempt)
    outcome = await bench.asks(attempt)
    assert isinstance(outcome, Succeeded)
    assert outcome.token is not None
    return outcome.token


async def test_a_card_is_kept_only_when_the_payer_agreed(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    token = await kept(bench, new_attempt)
    attempt = await bench.begin(new_attempt())
    await bench.pays(attempt)
    outcome = await bench.asks(attempt)

    assert token.label == "Mastercard •••• 0229"
    assert token.secret not in repr(token)
    assert isinstance(outcome, Succeeded)
    assert outcome.token is None


async def test_a_token_ends_with_the_card_or_after_a_year(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    now = datetime.now(UTC)
    by_year = await kept(bench, new_attempt)
    by_card = await kept(bench, new_attempt, created_at=datetime(2031, 6, 1, tzinfo=UTC))

    assert by_year.expires_at is not None
    assert timedelta(days=364) < by_year.expires_at - now < timedelta(days=366)
    assert by_card.expires_at == datetime(2031, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize("email", ["buyer@example.rw", None])
async def test_a_kept_card_is_charged_whatever_address_the_payer_has_now(
    bench: Bench, new_attempt: NewAttempt, email: str | None
) -> None:
    token = await kept(bench, new_attempt, email=email)
    attempt = new_attempt(Money(5_000, "RWF"), email="new@example.rw")

    outcome = await bench.plugin.charge_token(bench.gateway, attempt, token.secret)

    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.reference) == (attempt.amount, attempt.reference)
    assert (await bench.simulated.transaction(attempt.reference))["currency"] == "RWF"


async def test_a_token_that_is_not_valid_any_more_fails(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    outcome = await bench.plugin.charge_token(
        bench.gateway, new_attempt(), "buyer@example.rw flw-t1nf-gone-k3n"
    )

    assert isinstance(outcome, Failed)
    assert outcome.gateway_code == "token or email"


async def test_a_charge_whose_answer_is_lost_is_unknown_and_never_made_twice(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    token, attempt = await kept(bench, new_attempt), new_attempt()
    await bench.simulated.tell("faults", lost_replies=1, only="tokenized", times=1)

    lost = await bench.plugin.charge_token(bench.gateway, attempt, token.secret)
    again = await bench.plugin.charge_token(bench.gateway, attempt, token.secret)

    assert isinstance(lost, Unknown)
    assert isinstance(again, Succeeded)
    assert isinstance(await bench.asks(attempt), Succeeded)
    told = await bench.simulated.transaction(attempt.reference)
    assert (told["moves"], told["requests"]) == (1, 1)


async def test_a_charge_that_may_have_been_sent_before_is_not_sent_because_it_is_not_seen(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    token, attempt = await kept(bench, new_attempt), new_attempt()
    bench.simulated.watch.forward(90)

    outcome = await bench.plugin.charge_token(bench.gateway, attempt, token.secret)

    assert isinstance(outcome, Unknown)
    assert len((await bench.simulated.truth())["transactions"]) == 1


async def test_a_charge_that_is_not_seen_is_unknown_for_as_long_as_it_may_be_hidden(
    bench: Bench, new_attempt: NewAttempt
) -> None:
    attempt = new_attempt(uses_stored_method=True)

    young = await bench.asks(attempt)
    bench.simulated.watch.forward(31 * 60)
    old = await bench.asks(attempt)

    assert isinstance(young, Unknown)
    assert isinstance(old, NotSent)


async def test_a_bank_may_want_the_payer_to_confirm(bench: Bench, new_attempt: NewAttempt) -> None:
    token, attempt = await kept(bench, new_attempt), new_attempt()
    await bench.simulated.tell("settings", kept_card="redirect")

    outcome = await bench.plugin.charge_token(bench.gateway, attempt, token.secret)
    page = link_in(outcome)
    waiting = replace(attempt, plugin_data=outcome.plugin_data)  # type: ignore[union-attr]
    withdrawn = await bench.plugin.cancel_payment(bench.gateway, waiting)
    await bench.pays(waiting)

    assert "/confirm-" in page.url
    # The bank's page cannot be closed.
    assert isinstance(withdrawn, Unknown)
    assert isinstance(await bench.asks(waiting), Succeeded)


@pytest.mark.parametrize(("answer", "expected"), [("declined", Failed), ("pending", Accepted)])
async def test_a_kept_card_can_be_refused_or_take_its_time(
    bench: Bench, new_attempt: NewAttempt, answer: str, expected: type
) -> None:
    token = await kept(bench, new_attempt)
    await bench.simulated.tell("settings", kept_card=answer, scale=1)

    outcome = await bench.plugin.charge_token(bench.gateway, new_attempt(), token.secret)

    assert isinstance(outcome, expected)
