"""The contract: what every gateway promises, a stranger's included.

    class TestMTN(GatewayContract):
        plugin = dusangire_mtn.gateway
        approves = {"phone": "+250788123456"}
        declines = {"phone": "+250780000102"}

The plugin runs as core runs it, over real HTTP, against its own simulator, on a line that breaks.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

import pytest
import pytest_asyncio

from dusangire.errors import WebhookRejected
from dusangire.gateway import (
    JSON,
    Accepted,
    Failed,
    FailureCode,
    Heard,
    NotSent,
    Outcome,
    PayInPerson,
    Refund,
    Succeeded,
    TransferToAccount,
    Unknown,
)
from dusangire.lifecycle import AttemptStatus, TransactionKind
from dusangire.money import Money
from dusangire.plugins import Plugin
from dusangire.testing import forgery, manners
from dusangire.testing.line import (
    NO_ANSWER,
    NONSENSE,
    REPLY_CLOSED,
    REPLY_CUT,
    REQUEST_LOST,
    Trouble,
    nobody_listens,
)
from dusangire.testing.promises import (
    Promise,
    a_network,
    a_status_check,
    an_end_of_its_own,
    kept_methods,
    partial_refunds,
    promise,
    promises,
    refunds,
    repeatable_refunds,
    webhooks,
    withdrawals,
)
from dusangire.testing.stand import Case, Payer, Stand, load

_PRICE = 5_000
# Distinctive, so that it is found in an answer and changed there.
_DISTINCT = 73_317
_NEW_WORD = "SOMETHING_NEW"
_PATIENCE = 0.15
_LIMIT = 1.0


class GatewayContract:
    """Subclass it, set these, and pytest runs every promise that applies.

    plugin: the module (or object) with the hooks.
    approves: what a payer types in who then pays, such as {"phone": "+250780000000"}.
    declines: what a payer types in who then refuses.
    config: settings over those of `describe_gateway().example_config`.
    never_seen: strings that must not be seen anywhere, beside secrets and phone numbers.
    amounts: minor units that the provider takes.
    """

    plugin: object
    approves: ClassVar[Payer] = {"phone": "+250780000000"}
    declines: ClassVar[Payer | None] = None
    config: ClassVar[Mapping[str, JSON]] = {}
    never_seen: ClassVar[tuple[str, ...]] = ()
    amounts: ClassVar[tuple[int, ...]] = (115, 1_999, 123_457)

    async def payer_acts(self, stand: Stand, case: Case) -> None:
        """What the payer does after the next action, where input alone does not decide it.

        The provider may refuse it, when the payment was withdrawn: then there is nothing to do.
        """

    # ── Money ────────────────────────────────────────────────────────────────────────────────────

    @promise("Money", a_network)
    async def test_repeating_a_key_moves_money_once(self, stand: Stand) -> None:
        """The same attempt, initiated again and again, is one payment.

        Troubleshooting: send `attempt.reference` as the provider's idempotency key or id. What
        the provider answers to a repetition ("exists already") means Accepted, never Failed.
        """
        case = self._case(stand)

        await case.initiate()
        again = await case.initiate()
        await self.payer_acts(stand, case)
        await stand.quiet()
        much_later = await case.initiate()
        await stand.quiet()

        for outcome in (again, much_later):
            assert not isinstance(outcome, Failed | NotSent), f"A repetition gave {outcome}."
        paid = await stand.paid()
        assert len(paid) == 1, f"One key moved money {len(paid)} times: {paid}"
        assert paid[0].moves == 1, f"One key moved money {paid[0].moves} times."

    @promise("Money")
    async def test_the_amount_arrives_exactly(self, stand: Stand) -> None:
        """The provider is asked for exactly the amount, and the amount reported is the provider's.

        Troubleshooting: send `attempt.amount.amount` (a Decimal) or `.minor`, never a float.
        Succeeded.amount comes out of the provider's answer, not out of the attempt: core compares
        the two, and cannot when they are the same by construction.
        """
        for minor in self.amounts:
            await self._arrives(stand, self._case(stand, minor))
        if stand.plugin.implements("check_payment") and stand.line:
            await self._is_the_providers(stand)

    @promise("Money")
    async def test_an_unsupported_currency_is_refused_before_anything_is_sent(
        self, stand: Stand
    ) -> None:
        """An amount in another currency than the account's is Failed, and nobody hears of it.

        Troubleshooting: compare `attempt.amount.currency` with `gateway.config.currency` first
        thing in `initiate_payment`, and give Failed(GATEWAY_CONFIGURATION, ...).
        """
        foreign = "KES" if stand.gateway.config.currency != "KES" else "UGX"
        case = stand.case(self.approves, Money(_PRICE, foreign))

        outcome = await case.initiate()

        assert isinstance(outcome, Failed), f"{foreign} on this account gave {outcome}."
        sent = [carried.request.target for carried in stand.line.carried] if stand.line else []
        assert not sent, f"Something was sent before {foreign} was refused: {sent}"

    @promise("Money", a_network)
    async def test_two_keys_at_once_are_two_payments(self, stand: Stand) -> None:
        """The same payer, amount and moment, but two attempts: two payments.

        Troubleshooting: keep nothing between calls, and let nothing but `attempt.reference` say
        what is the same payment.
        """
        one, other = self._case(stand), self._case(stand)

        await asyncio.gather(one.initiate(), other.initiate())
        await asyncio.gather(self.payer_acts(stand, one), self.payer_acts(stand, other))
        await stand.quiet()

        paid = await stand.paid()
        assert len(paid) == 2, f"Two keys at once moved money {len(paid)} times: {paid}"

    @promise("Money", kept_methods, a_network)
    async def test_charging_a_kept_method_again_moves_money_once(self, stand: Stand) -> None:
        """A payer who comes back is charged exactly, and the same attempt charged twice pays once.

        Troubleshooting: give Succeeded(token=...) when `attempt.keeps_method` and the provider
        sent a token, and send `attempt.reference` as the charge's own id or idempotency key.
        """
        token = await self._kept(stand)
        before = len(await stand.paid())
        case = self._case(stand, _DISTINCT)

        await case.charge(token)
        again = await case.charge(token)
        await stand.quiet()

        assert not isinstance(again, Failed | NotSent), f"A repetition gave {again}."
        paid = (await stand.paid())[before:]
        assert len(paid) == 1, f"One key moved money {len(paid)} times: {paid}"
        assert paid[0].moves == 1, f"One key moved money {paid[0].moves} times."
        wanted = case.attempt.amount
        assert paid[0].amount == wanted.amount, f"{wanted} arrived as {paid[0].amount}."
        if stand.plugin.implements("check_payment"):
            outcome = await case.settle()
            assert isinstance(outcome, Succeeded), f"It was charged, and the status is {outcome}."

    # ── Endings ──────────────────────────────────────────────────────────────────────────────────

    @promise("Endings", a_status_check)
    async def test_an_approval_succeeds(self, stand: Stand) -> None:
        """A payer who approves has paid, once core has checked reference and amount.

        Troubleshooting: does `approves` name a payer whom your simulator lets approve? Give
        Succeeded with the amount and the reference of the provider's answer.
        """
        case = await self._initiated(stand)

        outcome = await case.settle()

        assert isinstance(outcome, Succeeded), f"An approval gave {outcome}."
        assert outcome.amount == case.attempt.amount
        assert case.paid, f"Core does not believe {outcome} about {case.reference}."
        if stand.line:
            assert await stand.paid(), "It says Succeeded, and no money moved."
            await self._is_about_this_payment(stand, case)

    @promise("Endings", a_status_check)
    async def test_a_decline_is_a_value_with_a_reason(self, stand: Stand) -> None:
        """A payer who refuses gives Failed, with a code of ours and words for people.

        Troubleshooting: a decline is not an exception and not Unknown. Map the provider's word
        to a FailureCode; keep the word itself in `gateway_code`.
        """
        assert self.declines is not None, "Set `declines` to a payer who refuses."
        case = await self._initiated(stand, self.declines)

        outcome = case.outcome if isinstance(case.outcome, Failed) else await case.settle()

        assert isinstance(outcome, Failed), f"A decline gave {outcome}. {stand.crashes}"
        assert outcome.code not in {FailureCode.OTHER, FailureCode.NOT_SENT}, (
            f"A decline that everybody knows has the code {outcome.code}; "
            f"map {outcome.gateway_code!r} to the right one."
        )
        assert outcome.message.strip(), "A decline needs words that a person can read."
        if stand.line:
            assert not await stand.paid(), "It says Failed, and money moved."

    @promise("Endings", a_network, a_status_check)
    async def test_an_unknown_provider_word_stays_pending(self, stand: Stand) -> None:
        """A status word that nobody knew when the plugin was written is Accepted(unmapped=word).

        Each word of the provider's answer is replaced in turn; one of them must be the one that
        decides, and none may turn into an ending that the provider did not say.

        Troubleshooting: end the table of status words with "anything else is pending". Neither
        success nor failure is ever the default.
        """
        case = await self._initiated(stand)
        await stand.quiet(case.reference)
        outcomes = [outcome async for outcome in self._with_new_words(stand, case)]

        guessed = [o for o in outcomes if isinstance(o, Failed | NotSent)]
        assert not guessed, f"A word nobody knows became an ending: {guessed}"
        pending = [o for o in outcomes if isinstance(o, Accepted) and o.unmapped == _NEW_WORD]
        assert pending, (
            "No word of the answer decides what the plugin says: with each of them replaced by "
            f"{_NEW_WORD} it never gave Accepted(unmapped={_NEW_WORD!r}) but {outcomes}"
        )
        if self.declines is None:
            return
        declined = await self._initiated(stand, self.declines)
        await stand.quiet(declined.reference)
        outcomes = [outcome async for outcome in self._with_new_words(stand, declined)]
        assert not [o for o in outcomes if isinstance(o, Succeeded)], (
            f"A declined payment succeeded by a word nobody knows: {outcomes}"
        )

    @promise("Endings", an_end_of_its_own)
    async def test_a_final_state_stays_final(self, stand: Stand) -> None:
        """Once a payment has ended, asking again says the same, and a cancellation changes nothing.

        Troubleshooting: answer from what the provider says, every time; `cancel_payment` of a
        payment that succeeded gives Succeeded ("too late"), not Failed.
        """
        case = await self._initiated(stand)
        can_ask = stand.plugin.implements("check_payment")

        first = await case.settle() if can_ask else await case.cancel()
        status = case.payment.status
        later = [await case.ask() for _ in range(2)] if can_ask else [await case.cancel()]

        assert isinstance(first, Succeeded | Failed), f"There is no end to stay: {first}"
        for outcome in later:
            assert type(outcome) is type(first), f"First {first}, later {outcome}"
        if stand.plugin.implements("cancel_payment"):
            await case.cancel()
        assert case.payment.status is status, f"{status} became {case.payment.status}."
        assert case.state.status is not AttemptStatus.REVERSED, "The end was taken back."

    @promise("Endings", withdrawals, a_network)
    async def test_what_is_withdrawn_cannot_be_paid_any_more(self, stand: Stand) -> None:
        """Failed(CANCELLED) is said when no money can move any more; in doubt it is not said.

        The payer tries to pay after the withdrawal, and the answer to another one is lost.

        Troubleshooting: give CANCELLED for the provider's own "it is withdrawn" and for nothing
        else: not because the request was sent, and not when its answer was lost (Unknown). In
        your simulator, what is withdrawn cannot be paid.
        """
        await self._warm(stand)
        await stand.control("settings", mode="manual")
        case, doubtful = self._case(stand), self._case(stand)
        await case.initiate()
        await doubtful.initiate()
        before = len(await stand.paid())

        outcome = await case.cancel()
        await stand.approve(case)
        await self.payer_acts(stand, case)
        await stand.quiet(case.reference)
        paid = len(await stand.paid()) - before
        with stand.line_().broken(REPLY_CUT):
            lost = await stand.plugin.cancel_payment(stand.gateway, doubtful.attempt)

        if isinstance(outcome, Failed):
            assert outcome.code is FailureCode.CANCELLED, f"A withdrawal gave {outcome}."
            assert not paid, f"It says {outcome}, and then money moved."
        assert not isinstance(lost, Failed | Succeeded), (
            f"A withdrawal nobody answered gave {lost}."
        )

    # ── The wire ─────────────────────────────────────────────────────────────────────────────────

    @promise("The wire", a_network)
    async def test_a_lost_reply_is_unknown_not_failed(self, stand: Stand) -> None:
        """The request was processed and the answer lost: Unknown, for payment and status.

        Troubleshooting: only an error before the first byte left is NotSent (ConnectError,
        ConnectTimeout, PoolTimeout). ReadError, RemoteProtocolError and ReadTimeout are Unknown.
        From `check_payment`, NotSent means that the provider does not know the reference.
        """
        await self._warm(stand)
        for trouble in (REPLY_CUT, REPLY_CLOSED):
            outcome = await self._initiated_on_broken_line(stand, trouble)
            assert isinstance(outcome, Unknown), f"{trouble} after a payment: {outcome}"
        case = await self._initiated(stand)
        if stand.plugin.implements("check_payment"):
            for trouble in (REPLY_CUT, REPLY_CLOSED):
                with stand.line_().broken(trouble):
                    outcome = await case.ask()
                assert isinstance(outcome, Unknown), f"{trouble} after a question: {outcome}"

    @promise("The wire", kept_methods, a_network)
    async def test_a_lost_reply_to_a_charge_is_unknown_not_failed(self, stand: Stand) -> None:
        """A kept method was charged and the answer lost: Unknown, and the status tells the truth.

        Troubleshooting: as for a payment. Translate errors of `charge_token` with the same code.
        """
        token = await self._kept(stand)
        for trouble in (REPLY_CUT, REPLY_CLOSED):
            before = len(await stand.paid())
            case = self._case(stand)
            with stand.line_().broken(trouble, await stand.money_asked()):
                outcome = await case.charge(token)
            await stand.quiet()

            paid = len(await stand.paid()) - before
            assert isinstance(outcome, Unknown), f"{trouble} after a charge: {outcome}"
            assert paid == 1, f"{trouble} after a charge, and money moved {paid} times."
            if stand.plugin.implements("check_payment"):
                asked = await case.settle()
                assert isinstance(asked, Succeeded), f"It was charged, and the status is {asked}."

    @promise("The wire", a_network, a_status_check)
    async def test_after_a_lost_reply_status_tells_the_truth(self, stand: Stand) -> None:
        """Whether the request or its answer was lost: the next question says what really happened.

        Troubleshooting: `check_payment` asks the provider about `attempt.reference` and nothing
        else; it needs nothing from the answer that was lost.
        """
        await self._warm(stand)
        arrived, lost = self._case(stand), self._case(stand)

        with stand.line_().broken(REPLY_CUT, await stand.money_asked()):
            await stand.plugin.initiate_payment(stand.gateway, arrived.attempt)
        with stand.line_().broken(REQUEST_LOST):
            await stand.plugin.initiate_payment(stand.gateway, lost.attempt)
        await self.payer_acts(stand, arrived)
        outcome, nothing = await arrived.settle(), await lost.ask()

        assert isinstance(outcome, Succeeded), f"The money moved, and the status is {outcome}."
        assert isinstance(nothing, NotSent | Unknown), (
            f"The request never arrived, and the status is {nothing}."
        )

    @promise("The wire", a_network)
    async def test_a_refused_connection_is_not_sent(self, stand: Stand) -> None:
        """Nobody listens there: NotSent, with and without an access token at hand.

        A question that was not answered says nothing: from `check_payment` it is Unknown.

        Troubleshooting: translate httpx.ConnectError where the request is made. When the access
        token cannot be fetched, the payment was not sent either.
        """
        await self._warm(stand)
        known = len(await stand.truth())
        with nobody_listens() as url:
            for forget in (False, True):
                gateway = stand.elsewhere(base_url=url, forget_tokens=forget)
                case = self._case(stand)
                outcome = await case.initiate(gateway)
                assert isinstance(outcome, NotSent), f"A refused connection gave {outcome}."
                if stand.plugin.implements("check_payment"):
                    answer = await case.ask(gateway)
                    assert isinstance(answer, Unknown), f"A question nobody heard gave {answer}."
        assert len(await stand.truth()) == known

    @promise("The wire", a_network)
    async def test_a_slow_provider_times_out_within_the_limit(self, stand: Stand) -> None:
        """No answer within the client's time: Unknown, before core has to cut the call off.

        Troubleshooting: `gateway.http` has a timeout. Leave it alone, or shorten it; never pass
        timeout=None or a client of your own.
        """
        await self._warm(stand)
        plugin, gateway = stand.impatient(_LIMIT), stand.elsewhere(timeout=_PATIENCE)
        case = self._case(stand)
        line = stand.line_()

        started = time.monotonic()
        with line.broken(NO_ANSWER, await stand.money_asked()):
            outcome = await plugin.initiate_payment(gateway, case.attempt)
        took = time.monotonic() - started

        assert isinstance(outcome, Unknown), f"A provider that never answers gave {outcome}."
        assert took < _LIMIT * 0.9, f"It waited {took:.1f} s where the client waits {_PATIENCE} s."
        if stand.plugin.implements("check_payment"):
            started = time.monotonic()
            with line.broken(NO_ANSWER):
                outcome = await plugin.check_payment(gateway, case.attempt)
            took = time.monotonic() - started
            assert isinstance(outcome, Unknown), f"A question never answered gave {outcome}."
            assert took < _LIMIT * 0.9, f"A question waited {took:.1f} s."

    @promise("The wire", a_network)
    async def test_nonsense_is_unknown_not_a_crash(self, stand: Stand) -> None:
        """HTML, truncated JSON, another shape, 40 MB: Unknown, and no exception.

        Troubleshooting: look at status and content before believing either, and expect that any
        field is missing or of another type. `gateway.http` cuts large answers off with an
        httpx.TransportError.
        """
        await self._warm(stand)
        case = await self._initiated(stand)
        can_ask = stand.plugin.implements("check_payment")

        for nonsense in NONSENSE.values():
            outcome = await self._initiated_on_broken_line(stand, nonsense)
            assert isinstance(outcome, Unknown), f"{nonsense} after a payment gave {outcome}."
            if can_ask:
                with stand.line_().broken(nonsense):
                    answer = await case.ask()
                assert isinstance(answer, Unknown), f"{nonsense} after a question gave {answer}."
            assert not stand.crashes, f"{nonsense} broke the plugin: {stand.crashes}"

    # ── Webhooks ─────────────────────────────────────────────────────────────────────────────────

    @promise("Webhooks", webhooks, a_network)
    async def test_a_forged_webhook_never_succeeds_a_payment(self, stand: Stand) -> None:
        """A genuine webhook with anything in it changed carries no outcome.

        Troubleshooting: an outcome is only for Trust.SIGNED, and SIGNED only for a signature over
        the bytes that say so, compared with hmac.compare_digest. Otherwise give no outcome.
        """
        case, victim = await self._initiated(stand), self._case(stand, _DISTINCT)
        genuine = await stand.webhook(case)
        heard = stand.read(genuine)
        assert isinstance(heard, Heard)

        for forged in forgery.variations(genuine, {case.reference: victim.reference}):
            try:
                believed = stand.read(forged)
            except Exception:  # noqa: S112 - another promise is about that
                continue
            if isinstance(believed, Heard) and isinstance(believed.outcome, Succeeded):
                same = (believed.reference, believed.outcome) == (heard.reference, heard.outcome)
                assert same, f"Believed though it was changed: {forged.body!r}"
        dropped = [event for event in stand.logged if "not signed" in str(event.get("event"))]
        assert not dropped, "An outcome was given without Trust.SIGNED; core dropped it."

    @promise("Webhooks", webhooks, a_network)
    async def test_a_repeated_webhook_changes_nothing(self, stand: Stand) -> None:
        """The same message has the same dedupe key, however often it comes; another has another.

        Troubleshooting: make the key of what the message says (the provider's event id, or a
        digest of the body), not of the headers, the time or the provider's name.
        """
        case, other = await self._initiated(stand), await self._initiated(stand)
        request, another = await stand.webhook(case), await stand.webhook(other)
        delivered_later = replace(
            request, headers={**request.headers, "date": "Mon, 01 Jun 2026 08:00:00 GMT"}
        )

        heard, again, different = (stand.read(one) for one in (request, delivered_later, another))

        assert isinstance(heard, Heard)
        assert isinstance(again, Heard)
        assert isinstance(different, Heard)
        assert again.dedupe_key == heard.dedupe_key, "The same message has two keys."
        assert different.dedupe_key != heard.dedupe_key, "Two messages have one key."
        if heard.outcome is not None:
            case.hear(heard.outcome, TransactionKind.CALLBACK)
            again_heard = case.hear(heard.outcome, TransactionKind.CALLBACK)
            assert again_heard.event is None, f"A repetition made news: {again_heard.note}"

    @promise("Webhooks", webhooks, a_network)
    async def test_webhook_and_status_agree(self, stand: Stand) -> None:
        """A webhook names our reference, and what a signed one says is what the status says.

        Troubleshooting: Heard.reference is `attempt.reference`; send it in a field that the
        provider repeats. Translate both kinds of message with the same table.
        """
        for payer in (self.approves, self.declines):
            if payer is None:
                continue
            case = await self._initiated(stand, payer)
            heard = stand.read(await stand.webhook(case))
            assert isinstance(heard, Heard)
            assert heard.reference == case.reference
            if heard.outcome is None or not stand.plugin.implements("check_payment"):
                continue
            asked = await stand.plugin.check_payment(stand.gateway, case.attempt)
            assert {type(heard.outcome), type(asked)} != {Succeeded, Failed}, (
                f"The webhook says {heard.outcome}, the status says {asked}."
            )
            if isinstance(heard.outcome, Succeeded) and isinstance(asked, Succeeded):
                assert heard.outcome.amount == asked.amount

    @promise("Webhooks", webhooks, a_network)
    async def test_put_post_and_odd_encodings_are_read_or_rejected(self, stand: Stand) -> None:
        """PUT and POST mean the same, and no bytes whatever break the plugin.

        Troubleshooting: raise WebhookRejected for what cannot be read, and do not look at the
        method. Deep nesting raises RecursionError, odd bytes UnicodeDecodeError, and any field
        may be missing or of another type.
        """
        case = await self._initiated(stand)
        genuine = await stand.webhook(case)

        heard = [stand.read(replace(genuine, method=method)) for method in ("PUT", "POST")]
        assert all(isinstance(one, Heard) for one in heard), f"PUT and POST: {heard}"
        assert heard[0] == heard[1]

        for odd in forgery.oddities(genuine):
            try:
                answer = stand.read(odd)
            except Exception as error:
                pytest.fail(f"read_webhook raised {error!r} for {odd.body[:80]!r}")
            status = answer.status if isinstance(answer, WebhookRejected) else answer.reply.status
            assert status < 500, f"Answered {status} to {odd.body[:80]!r}"

    # ── Refunds ──────────────────────────────────────────────────────────────────────────────────

    @promise("Refunds", refunds, a_network)
    async def test_never_more_than_was_paid_goes_back(self, stand: Stand) -> None:
        """A refund of more than the payment, and a second one that exceeds it, move nothing.

        Troubleshooting: use the provider's refund of that payment, which knows its limit, and
        not a transfer to the payer. Where the provider has no limit, compare first.
        """
        case = await self._paid(stand)

        await stand.give_back(stand.refund(case, _PRICE + 1))
        if stand.plugin.description.partial_refunds:
            await stand.give_back(stand.refund(case, 3_000))
            await stand.give_back(stand.refund(case, 3_000))
        await stand.quiet()

        back, paid = await stand.given_back(), case.attempt.amount.amount
        assert back <= paid, f"{back} went back of a payment of {paid}."

    @promise("Refunds", refunds, partial_refunds, a_network)
    async def test_partial_refunds_add_up(self, stand: Stand) -> None:
        """Two parts of a payment go back exactly, and make the whole.

        Troubleshooting: send `refund.amount`, not `refund.attempt.amount`. A provider that takes
        only whole payments back is described with `partial_refunds=False`.
        """
        case = await self._paid(stand)

        for minor in (2_000, 3_000):
            outcome = await stand.give_back(stand.refund(case, minor))
            expected = Money(minor, case.attempt.amount.currency)
            assert isinstance(outcome, Succeeded), f"A refund of {expected} gave {outcome}."
            assert outcome.amount == expected
        assert await stand.given_back() == case.attempt.amount.amount

    @promise("Refunds", refunds, a_network)
    async def test_a_lost_refund_answer_is_unknown_and_never_sent_again(self, stand: Stand) -> None:
        """Paid out, and the answer lost: Unknown; nothing says afterwards that it may be repeated.

        NotSent, from `refund_payment` or `check_refund`, is what lets core send a refund again.

        Troubleshooting: repeat nothing yourself. Only an error before the first byte left is
        NotSent. Where `check_refund` cannot find out, it gives Unknown, and a person looks.
        """
        case = await self._paid(stand)
        refund = self._refund(stand, case)

        with stand.line_().broken(REPLY_CUT, await stand.money_asked()):
            outcome = await stand.plugin.refund_payment(stand.gateway, refund)
        await stand.quiet()
        back = await stand.refunded()

        assert isinstance(outcome, Unknown), f"{REPLY_CUT} after a refund: {outcome}"
        assert back == [1], f"One lost answer, and money went back {sum(back)} times."
        if stand.plugin.implements("check_refund"):
            asked = await stand.plugin.check_refund(stand.gateway, refund)
            assert not isinstance(asked, Failed | NotSent), f"It was paid, and is told as {asked}."
            assert await stand.refunded() == back, "Asking paid it again."

    @promise("Refunds", refunds, repeatable_refunds, a_network)
    async def test_repeating_a_refund_key_pays_once(self, stand: Stand) -> None:
        """The same refund, asked for again, goes back once.

        Troubleshooting: send `refund.reference` as the provider's key. A provider without keys
        for refunds is described with `repeatable_refunds=False`: then no machine repeats one.
        """
        case = await self._paid(stand)
        refund = self._refund(stand, case)

        await stand.give_back(refund)
        again = await stand.give_back(refund)

        assert not isinstance(again, Failed | NotSent), f"A repetition gave {again}."
        moved = [moved for moved in await stand.truth() if moved.is_refund and moved.moves]
        assert len(moved) == 1, f"One key went back {len(moved)} times: {moved}"
        assert moved[0].moves == 1

    @promise("Refunds", refunds, a_network)
    async def test_a_refused_refund_has_a_reason(self, stand: Stand) -> None:
        """A refund that the provider refuses is Failed, with words and with the provider's code.

        Troubleshooting: as for declines. Map the provider's words for refunds too: a code that is
        in no table makes a refusal Unknown, and nobody learns why.
        """
        case = await self._paid(stand)

        outcome = await stand.give_back(stand.refund(case, _PRICE + 1))

        if isinstance(outcome, Succeeded):
            return  # nothing was refused: test_never_more_than_was_paid_goes_back judges that
        assert isinstance(outcome, Failed), f"A refused refund gave {outcome}. {stand.crashes}"
        assert outcome.message.strip(), "A refusal needs words that a person can read."
        assert outcome.gateway_code or outcome.code is not FailureCode.OTHER, (
            "A refusal needs the provider's own word, or a code of ours that says why."
        )

    # ── Manners ──────────────────────────────────────────────────────────────────────────────────

    @promise("Manners")
    async def test_no_secret_in_logs_errors_or_stored_bodies(
        self,
        stand: Stand,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Neither secrets nor tokens nor whole phone numbers are written down, whatever happens.

        Troubleshooting: log with `gateway.log` and without the config, put no secret into a
        message or into plugin_data, and send tokens in headers, never in a URL.
        """
        caplog.set_level(0)
        payers = [payer for payer in (self.approves, self.declines) if payer]
        seen = await manners.everything_seen(stand, payers, _PRICE, partial(self.payer_acts, stand))
        seen["the log"] = caplog.text
        seen["standard output"], seen["standard error"] = capsys.readouterr()

        for what, secret in manners.secrets_of(stand, payers, self.never_seen):
            places = [place for place, text in seen.items() if secret in text]
            assert not places, f"{what} can be seen in {', '.join(places)}."

    @promise("Manners")
    async def test_nothing_happens_on_import(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Importing the plugin opens, writes, starts, prints and connects nothing.

        Troubleshooting: move the work into the function that needs it. A server imports every
        installed plugin, whether or not it is used.
        """
        happened = manners.what_importing_does(self.plugin)
        printed = "".join(capsys.readouterr())

        assert not happened, f"Importing did this: {happened}"
        assert not printed, f"Importing printed this: {printed}"

    @promise("Manners")
    async def test_nothing_of_the_contract_was_overridden(self) -> None:
        """Every promise is the contract's own, or openly marked xfail with a reason.

        Troubleshooting: to leave a promise open, override it, mark it with
        @pytest.mark.xfail(reason="…") and let it call super().
        """
        quiet = [
            f"{owner.__name__}.{name}"
            for owner in type(self).__mro__
            if not issubclass(GatewayContract, owner)
            for name, value in vars(owner).items()
            if name in _FIXED and not _openly_left(value)
        ]
        assert not quiet, f"These are the contract's own, and were changed: {', '.join(quiet)}"

    # ── how ──────────────────────────────────────────────────────────────────────────────────────

    @pytest.fixture
    def asked(self, request: pytest.FixtureRequest) -> Promise | None:
        """The promise that the test is about; None for a test that a subclass added."""
        name = getattr(request.node, "originalname", request.node.name)
        found = getattr(getattr(GatewayContract, name, None), "promise", None)
        return found if isinstance(found, Promise) else None

    @pytest.fixture(autouse=True)
    def loaded(self, asked: Promise | None) -> Plugin:
        """The plugin as core loads it. Skips what does not apply to it."""
        assert hasattr(self, "plugin"), "Set `plugin` to the module with the hooks."
        plugin = load(self.plugin)
        if asked is not None and (reason := asked.does_not_apply(plugin)):
            pytest.skip(reason)
        return plugin

    @pytest_asyncio.fixture
    async def stand(self, loaded: Plugin, asked: Promise | None) -> AsyncIterator[Stand]:
        """The plugin on the test stand, with an address for webhooks where they matter."""
        reachable = asked is None or webhooks in asked.needs or asked.group == "Manners"
        async with Stand.open(loaded, self.config, reachable=reachable) as stand:
            yield stand

    def _case(self, stand: Stand, minor: int = _PRICE, payer: Payer | None = None) -> Case:
        return stand.case(payer or self.approves, Money(minor, stand.gateway.config.currency))

    async def _initiated(self, stand: Stand, payer: Payer | None = None) -> Case:
        case = self._case(stand, payer=payer)
        await case.initiate()
        await self.payer_acts(stand, case)
        return case

    async def _paid(self, stand: Stand) -> Case:
        case = await self._initiated(stand)
        await case.settle()
        return case

    def _refund(self, stand: Stand, case: Case) -> Refund:
        """One that could be paid twice, where the provider takes parts."""
        return stand.refund(case, 2_000 if stand.plugin.description.partial_refunds else _PRICE)

    async def _warm(self, stand: Stand) -> None:
        """A first payment, so that what breaks next is the payment and not the login."""
        case = await self._initiated(stand)
        if stand.plugin.implements("check_payment"):
            await case.settle()
        if stand.plugin.implements("refund_payment"):
            await stand.plugin.refund_payment(stand.gateway, stand.refund(case, _PRICE))

    async def _kept(self, stand: Stand) -> str:
        """The token of a payer who agreed to have the method kept."""
        case = stand.case(
            self.approves, Money(_PRICE, stand.gateway.config.currency), keeps_method=True
        )
        await case.initiate()
        await self.payer_acts(stand, case)
        outcome = await case.settle()
        assert isinstance(outcome, Succeeded), f"An approval gave {outcome}."
        assert outcome.token, "The payer agreed to have the method kept, and there is no token."
        return outcome.token.secret

    async def _initiated_on_broken_line(self, stand: Stand, trouble: Trouble) -> Outcome:
        known = len(await stand.truth())
        case = self._case(stand)
        with stand.line_().broken(trouble, await stand.money_asked()):
            outcome = await stand.plugin.initiate_payment(stand.gateway, case.attempt)
        assert len(await stand.truth()) > known, (
            "No request to move money reached the simulator. Does the plugin use gateway.http and "
            f"config.base_url? It answered {outcome}."
        )
        return outcome

    async def _arrives(self, stand: Stand, case: Case) -> None:
        outcome = await case.initiate()
        action = outcome.next_action if isinstance(outcome, Accepted) else None
        if isinstance(action, TransferToAccount | PayInPerson):
            assert action.amount == case.attempt.amount, "The payer is asked for another amount."
        if stand.line is None:
            return
        await self.payer_acts(stand, case)
        await stand.quiet()
        newest = (await stand.payments())[-1]
        wanted = case.attempt.amount
        assert newest.amount == wanted.amount, f"{wanted} arrived as {newest.amount}."
        assert newest.currency == wanted.currency

    async def _is_the_providers(self, stand: Stand) -> None:
        case = self._case(stand, _DISTINCT)
        await case.initiate()
        await self.payer_acts(stand, case)
        await stand.quiet(case.reference)
        for trouble in (
            forgery.another_amount(case.attempt.amount),
            forgery.another_currency(case.attempt.amount),
        ):
            with stand.line_().broken(trouble):
                outcome = await case.ask()
            assert not case.paid or not trouble.happened, (
                f"The provider says another amount than {case.attempt.amount}, and the plugin "
                f"says {outcome}: is that the provider's amount, or ours?"
            )

    async def _is_about_this_payment(self, stand: Stand, case: Case) -> None:
        other = str(uuid.uuid4())
        trouble = forgery.another_text(case.reference, other)
        with stand.line_().broken(trouble):
            outcome = await stand.plugin.check_payment(stand.gateway, case.attempt)
        if trouble.happened and isinstance(outcome, Succeeded):
            assert outcome.reference == other, (
                "The provider answered about another payment, and the plugin says it is this one."
            )

    async def _with_new_words(self, stand: Stand, case: Case) -> AsyncIterator[Outcome]:
        line = stand.line_()
        before = len(line.carried)
        await stand.plugin.check_payment(stand.gateway, case.attempt)
        answers = [one.answer for one in line.carried[before:] if one.answer]
        for answer in answers:
            for trouble in forgery.new_words(answer, _NEW_WORD):
                with line.broken(trouble):
                    yield await stand.plugin.check_payment(stand.gateway, case.attempt)


def _openly_left(value: object) -> bool:
    marks = getattr(value, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)


PROMISES = tuple(promises(GatewayContract))
# What a subclass sets; everything else is the contract's own.
_YOURS = {
    *("plugin", "approves", "declines", "config", "never_seen", "amounts", "payer_acts"),
    *("__module__", "__doc__", "__qualname__", "__firstlineno__", "__static_attributes__"),
    *("__annotations__", "__dict__", "__weakref__", "pytestmark"),
}
_FIXED = {name for name in vars(GatewayContract) if name not in _YOURS}
