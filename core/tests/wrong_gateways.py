"""Gateways that are wrong on purpose: each breaks one promise, and no other.

`breaks` names the promise. The contract kit's own test runs the contract on each of them.
"""

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

import httpx

from dusangire import hookimpl
from dusangire.errors import WebhookRejected
from dusangire.gateway import (
    JSON,
    Accepted,
    Attempt,
    Failed,
    FailureCode,
    GatewayDescription,
    Heard,
    NotSent,
    Outcome,
    PaymentToken,
    Refund,
    Succeeded,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.money import Money
from dusangire.testing.fake import Configured, FakeGateway


class Wrong(FakeGateway):
    breaks: ClassVar[str]


# ── Money ────────────────────────────────────────────────────────────────────────────────────────


class ChargesAgain(Wrong):
    """A repeated key is sent under a new one."""

    breaks = "test_repeating_a_key_moves_money_once"

    def __init__(self) -> None:
        super().__init__()
        self.sent: set[str] = set()

    def payment_body(self, gateway: Configured, attempt: Attempt) -> dict[str, JSON]:
        body = super().payment_body(gateway, attempt)
        if attempt.reference in self.sent:
            body["reference"] = str(uuid.uuid4())
        self.sent.add(attempt.reference)
        return body


class CallsARepetitionAFailure(Wrong):
    """What exists already cannot be asked for again."""

    breaks = "test_repeating_a_key_moves_money_once"

    def __init__(self) -> None:
        super().__init__()
        self.sent: set[str] = set()

    @hookimpl
    async def initiate_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        if attempt.reference in self.sent:
            return Failed(code=FailureCode.OTHER, message="It exists already.")
        self.sent.add(attempt.reference)
        return await super().initiate_payment(gateway, attempt)


class RoundsToHundreds(Wrong):
    """Nobody has coins."""

    breaks = "test_the_amount_arrives_exactly"

    def payment_body(self, gateway: Configured, attempt: Attempt) -> dict[str, JSON]:
        amount = round(attempt.amount.amount, -2)
        return super().payment_body(gateway, attempt) | {"amount": f"{amount:f}"}


class EchoesOurAmount(Wrong):
    """Reports what we asked for, whatever the provider says."""

    breaks = "test_the_amount_arrives_exactly"

    def outcome_of_told(self, told: Mapping[str, JSON], asked: Money | None) -> Outcome:
        outcome = super().outcome_of_told(told, asked)
        if isinstance(outcome, Succeeded) and asked is not None:
            return replace(outcome, amount=asked)
        return outcome


class IgnoresTheCurrency(Wrong):
    """Takes francs for whatever it is asked."""

    breaks = "test_an_unsupported_currency_is_refused_before_anything_is_sent"

    @hookimpl
    async def initiate_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        francs = Money(attempt.amount.minor, gateway.config.currency)
        return await super().initiate_payment(gateway, replace(attempt, amount=francs))


class LeavesTheCurrencyToTheProvider(Wrong):
    """Refuses it in the end, but only after asking."""

    breaks = "test_an_unsupported_currency_is_refused_before_anything_is_sent"

    @hookimpl
    async def initiate_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        await super().check_payment(gateway, attempt)
        return await super().initiate_payment(gateway, attempt)


class MergesTwins(Wrong):
    """The same payer and amount at the same moment must be a double click."""

    breaks = "test_two_keys_at_once_are_two_payments"

    def __init__(self) -> None:
        super().__init__()
        self.going_on: set[tuple[str | None, Money]] = set()

    @hookimpl
    async def initiate_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        twin = (attempt.phone, attempt.amount)
        if twin in self.going_on:
            return self.accepted(attempt)
        self.going_on.add(twin)
        try:
            return await super().initiate_payment(gateway, attempt)
        finally:
            self.going_on.discard(twin)


class ChargesAKeptMethodAgain(Wrong):
    """A repeated charge is sent under a new key."""

    breaks = "test_charging_a_kept_method_again_moves_money_once"

    def __init__(self) -> None:
        super().__init__()
        self.charged: set[str] = set()

    @hookimpl
    async def charge_token(self, gateway: Configured, attempt: Attempt, token: str) -> Outcome:
        if attempt.reference in self.charged:
            attempt = replace(attempt, reference=str(uuid.uuid4()))
        self.charged.add(attempt.reference)
        return await super().charge_token(gateway, attempt, token)


class RoundsWhatItCharges(Wrong):
    """Who comes back pays in hundreds."""

    breaks = "test_charging_a_kept_method_again_moves_money_once"

    @hookimpl
    async def charge_token(self, gateway: Configured, attempt: Attempt, token: str) -> Outcome:
        amount = Money(round(attempt.amount.minor, -2), attempt.amount.currency)
        return await super().charge_token(gateway, replace(attempt, amount=amount), token)


# ── Endings ──────────────────────────────────────────────────────────────────────────────────────


class SaysThisOneWhateverTheAnswer(Wrong):
    """An answer about another payment is taken for one about ours."""

    breaks = "test_an_approval_succeeds"

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().check_payment(gateway, attempt)
        if isinstance(outcome, Succeeded):
            return replace(outcome, reference=attempt.reference)
        return outcome


class RaisesADecline(Wrong):
    """A decline is an exception."""

    breaks = "test_a_decline_is_a_value_with_a_reason"

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().check_payment(gateway, attempt)
        if isinstance(outcome, Failed) and outcome.gateway_code == "SAID_NO":
            raise RuntimeError(outcome.message)
        return outcome


class DeclinesWithoutAReason(Wrong):
    """A decline that everybody knows is OTHER."""

    breaks = "test_a_decline_is_a_value_with_a_reason"
    reasons: Mapping[str, tuple[FailureCode, str]] = {
        word: reason for word, reason in FakeGateway.reasons.items() if word != "SAID_NO"
    }


class GuessesSuccess(Wrong):
    """What is not a failure must be a success."""

    breaks = "test_an_unknown_provider_word_stays_pending"

    def outcome_of_unknown_word(self, word: str, reference: str) -> Outcome:
        return Succeeded(amount=Money(5_000, "RWF"), reference=reference)


class GuessesFailure(Wrong):
    """What is not a success must be a failure."""

    breaks = "test_an_unknown_provider_word_stays_pending"

    def outcome_of_unknown_word(self, word: str, reference: str) -> Outcome:
        return Failed(code=FailureCode.OTHER, message="It did not work.", gateway_code=word)


class KeepsTheNewWordToItself(Wrong):
    """Pending, but nobody learns that there is a new word."""

    breaks = "test_an_unknown_provider_word_stays_pending"

    def outcome_of_unknown_word(self, word: str, reference: str) -> Outcome:
        return Accepted(reference=reference)


class Forgets(Wrong):
    """After a success was told once, it is not known any more."""

    breaks = "test_a_final_state_stays_final"
    told: ClassVar[str | None] = None

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().check_payment(gateway, attempt)
        if isinstance(outcome, Succeeded):
            if self.told == outcome.reference == attempt.reference:
                return Accepted(reference=outcome.reference)
            type(self).told = outcome.reference
        return outcome


class WithdrawsWhatIsPaid(Wrong):
    """A cancellation always works."""

    breaks = "test_a_final_state_stays_final"

    @hookimpl
    async def cancel_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().cancel_payment(gateway, attempt)
        if isinstance(outcome, Succeeded):
            return Failed(code=FailureCode.CANCELLED, message="Withdrawn.")
        return outcome


class SaysWithdrawnAndTellsNobody(Wrong):
    """Forgets that the payer still has the prompt."""

    breaks = "test_what_is_withdrawn_cannot_be_paid_any_more"

    @hookimpl
    async def cancel_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().check_payment(gateway, attempt)
        if isinstance(outcome, Accepted):
            return Failed(code=FailureCode.CANCELLED, message="Withdrawn.")
        return outcome


class TakesAWithdrawalForDone(Wrong):
    """It was asked for, so it must have happened."""

    breaks = "test_what_is_withdrawn_cannot_be_paid_any_more"

    def withdrawal_without_answer(self, error: httpx.HTTPError) -> Outcome:
        if isinstance(error, _LOST):
            return Failed(code=FailureCode.CANCELLED, message="Withdrawn.")
        return super().withdrawal_without_answer(error)


class CallsAWithdrawalSomethingElse(Wrong):
    """A withdrawn payment looks like one that the payer refused."""

    breaks = "test_what_is_withdrawn_cannot_be_paid_any_more"
    reasons: Mapping[str, tuple[FailureCode, str]] = {
        **FakeGateway.reasons,
        "WITHDRAWN": (FailureCode.DECLINED_BY_PAYER, "The payer declined."),
    }


# ── The wire ─────────────────────────────────────────────────────────────────────────────────────

_LOST = (httpx.ReadError, httpx.RemoteProtocolError)
_LOST_NAMES = tuple(error.__name__ for error in _LOST)


class CallsALostReplyFailed(Wrong):
    """No answer means no."""

    breaks = "test_a_lost_reply_is_unknown_not_failed"

    def outcome_without_answer(self, error: httpx.HTTPError) -> Outcome:
        if isinstance(error, _LOST):
            return Failed(code=FailureCode.GATEWAY_ERROR, message="No answer.")
        return super().outcome_without_answer(error)


class CallsALostReplyNotSent(Wrong):
    """No answer means that nothing was sent."""

    breaks = "test_a_lost_reply_is_unknown_not_failed"

    def outcome_without_answer(self, error: httpx.HTTPError) -> Outcome:
        if isinstance(error, httpx.RemoteProtocolError):
            return NotSent(cause="no answer")
        return super().outcome_without_answer(error)


class CallsALostQuestionNotSent(Wrong):
    """No answer to a question means that the provider does not know the payment."""

    breaks = "test_a_lost_reply_is_unknown_not_failed"

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().check_payment(gateway, attempt)
        lost = isinstance(outcome, Unknown) and outcome.cause.startswith("ReadError")
        return NotSent(cause="not known") if lost else outcome


class CallsALostChargeFailed(Wrong):
    """No answer to the charge of a kept card means no."""

    breaks = "test_a_lost_reply_to_a_charge_is_unknown_not_failed"

    @hookimpl
    async def charge_token(self, gateway: Configured, attempt: Attempt, token: str) -> Outcome:
        outcome = await super().charge_token(gateway, attempt, token)
        lost = isinstance(outcome, Unknown) and outcome.cause.startswith(_LOST_NAMES)
        return Failed(code=FailureCode.CARD_DECLINED, message="No answer.") if lost else outcome


class ChargesAgainWhenNobodyAnswers(Wrong):
    """Tries once more, under a new key, when the answer to a charge was lost."""

    breaks = "test_a_lost_reply_to_a_charge_is_unknown_not_failed"

    @hookimpl
    async def charge_token(self, gateway: Configured, attempt: Attempt, token: str) -> Outcome:
        outcome = await super().charge_token(gateway, attempt, token)
        if isinstance(outcome, Unknown) and outcome.cause.startswith(_LOST_NAMES):
            again = replace(attempt, reference=str(uuid.uuid4()))
            await super().charge_token(gateway, again, token)
        return outcome


class BelievesOnlyWhatItHeard(Wrong):
    """A payment whose acceptance it did not hear of does not exist."""

    breaks = "test_after_a_lost_reply_status_tells_the_truth"

    def __init__(self) -> None:
        super().__init__()
        self.heard_of: set[str] = set()

    @hookimpl
    async def initiate_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().initiate_payment(gateway, attempt)
        if isinstance(outcome, Accepted):
            self.heard_of.add(attempt.reference)
        return outcome

    @hookimpl
    async def charge_token(self, gateway: Configured, attempt: Attempt, token: str) -> Outcome:
        self.heard_of.add(attempt.reference)
        return await super().charge_token(gateway, attempt, token)

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().check_payment(gateway, attempt)
        if isinstance(outcome, Unknown) or attempt.reference in self.heard_of:
            return outcome
        return NotSent(cause="never accepted")


class TakesNobodyForMaybe(Wrong):
    """A refused connection may have been anything."""

    breaks = "test_a_refused_connection_is_not_sent"

    def outcome_without_answer(self, error: httpx.HTTPError) -> Outcome:
        return Unknown(cause="something went wrong")


class TakesAnUnheardQuestionForAnAnswer(Wrong):
    """A question that nobody heard is answered with "not known"."""

    breaks = "test_a_refused_connection_is_not_sent"

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        outcome = await super().check_payment(gateway, attempt)
        refused = isinstance(outcome, Unknown) and "ConnectError" in outcome.cause
        return NotSent(cause="not reached") if refused else outcome


class WaitsForever(Wrong):
    """Switches the time-out off."""

    breaks = "test_a_slow_provider_times_out_within_the_limit"

    async def send(
        self,
        gateway: Configured,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, JSON] | None,
        **options: Any,
    ) -> httpx.Response:
        return await super().send(
            gateway, method, path, headers, body, **{**options, "timeout": None}
        )


class ExpectsJSON(Wrong):
    """An answer is JSON, always."""

    breaks = "test_nonsense_is_unknown_not_a_crash"

    def read(self, answer: httpx.Response) -> Mapping[str, JSON] | None:
        told: Mapping[str, JSON] = json.loads(answer.content)
        return told


class BelievesAnyTwoHundred(Wrong):
    """Status 200 is enough."""

    breaks = "test_nonsense_is_unknown_not_a_crash"

    def outcome_of_create(self, answer: httpx.Response, accepted: Accepted) -> Outcome:
        if answer.status_code == 200:
            return accepted
        return super().outcome_of_create(answer, accepted)


class CallsAServersTroubleFailed(Wrong):
    """A 502 means no."""

    breaks = "test_nonsense_is_unknown_not_a_crash"

    def outcome_of_create(self, answer: httpx.Response, accepted: Accepted) -> Outcome:
        if answer.status_code >= 500:
            return Failed(code=FailureCode.GATEWAY_ERROR, message="The provider is down.")
        return super().outcome_of_create(answer, accepted)


# ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────


class BelievesForgeries(Wrong):
    """Does not look at the signature."""

    breaks = "test_a_forged_webhook_never_succeeds_a_payment"

    @hookimpl
    def read_webhook(self, gateway: Configured, request: WebhookRequest) -> Heard:
        try:
            return super().read_webhook(gateway, request)
        except WebhookRejected as rejected:
            if rejected.status != 401:
                raise
        told = json.loads(request.body)["event"]
        if not all(isinstance(told[key], str) for key in ("id", "reference", "status")):
            raise WebhookRejected(status=400)
        return Heard(
            reference=told["reference"],
            trust=Trust.SIGNED,
            dedupe_key=f"{told['id']} {told['status']}",
            outcome=self.outcome_of_told(told, None),
        )


class DecidesWithoutASignature(Wrong):
    """Gives outcomes that only a signature could vouch for."""

    breaks = "test_a_forged_webhook_never_succeeds_a_payment"

    @hookimpl
    def read_webhook(self, gateway: Configured, request: WebhookRequest) -> Heard:
        return replace(super().read_webhook(gateway, request), trust=Trust.UNSIGNED)


class HasOneDedupeKey(Wrong):
    """All messages are the same to it."""

    breaks = "test_a_repeated_webhook_changes_nothing"

    @hookimpl
    def read_webhook(self, gateway: Configured, request: WebhookRequest) -> Heard:
        return replace(super().read_webhook(gateway, request), dedupe_key="fake")


class NeverSeesARepetition(Wrong):
    """Every message is a new one to it."""

    breaks = "test_a_repeated_webhook_changes_nothing"

    @hookimpl
    def read_webhook(self, gateway: Configured, request: WebhookRequest) -> Heard:
        heard = super().read_webhook(gateway, request)
        return replace(heard, dedupe_key=heard.dedupe_key + request.headers.get("date", ""))


class HearsOnlyGoodNews(Wrong):
    """A signed message is a success, whatever it says."""

    breaks = "test_webhook_and_status_agree"

    @hookimpl
    def read_webhook(self, gateway: Configured, request: WebhookRequest) -> Heard:
        heard = super().read_webhook(gateway, request)
        told = json.loads(request.body)["event"]
        amount = Money.parse(Decimal(told["amount"]), told["currency"])
        return replace(heard, outcome=Succeeded(amount=amount, reference=told["reference"]))


class RefusesPut(Wrong):
    """Knows POST only."""

    breaks = "test_put_post_and_odd_encodings_are_read_or_rejected"

    @hookimpl
    def read_webhook(self, gateway: Configured, request: WebhookRequest) -> Heard:
        if request.method != "POST":
            raise WebhookRejected("Send a POST.", status=405)
        return super().read_webhook(gateway, request)


class ChokesOnOddBytes(Wrong):
    """Expects UTF-8 before it expects anything else."""

    breaks = "test_put_post_and_odd_encodings_are_read_or_rejected"

    @hookimpl
    def read_webhook(self, gateway: Configured, request: WebhookRequest) -> Heard:
        request.body.decode()
        return super().read_webhook(gateway, request)


# ── Refunds ──────────────────────────────────────────────────────────────────────────────────────


class GivesBackMoreThanWasPaid(Wrong):
    """Its provider does not mind, and neither does it."""

    breaks = "test_never_more_than_was_paid_goes_back"

    def __init__(self) -> None:
        super().__init__(limits_refunds=False)


class GivesBackAllOrNothing(Wrong):
    """Takes a part for the whole."""

    breaks = "test_partial_refunds_add_up"

    def refund_body(self, refund: Refund) -> dict[str, JSON]:
        if refund.amount.minor > refund.attempt.amount.minor:
            return super().refund_body(refund)
        return super().refund_body(replace(refund, amount=refund.attempt.amount))


class GivesBackAgain(Wrong):
    """A repeated key is sent under a new one."""

    breaks = "test_repeating_a_refund_key_pays_once"

    def __init__(self) -> None:
        super().__init__()
        self.sent: set[str] = set()

    def refund_body(self, refund: Refund) -> dict[str, JSON]:
        body = super().refund_body(refund)
        if refund.reference in self.sent:
            body["reference"] = str(uuid.uuid4())
        self.sent.add(refund.reference)
        return body


class CallsALostRefundFailed(Wrong):
    """No answer means that nothing went back."""

    breaks = "test_a_lost_refund_answer_is_unknown_and_never_sent_again"

    def refund_without_answer(self, error: httpx.HTTPError) -> Outcome:
        if isinstance(error, _LOST):
            return Failed(code=FailureCode.GATEWAY_ERROR, message="No answer.")
        return super().refund_without_answer(error)


class OffersALostRefundForSendingAgain(Wrong):
    """No answer means that nothing was sent."""

    breaks = "test_a_lost_refund_answer_is_unknown_and_never_sent_again"

    def refund_without_answer(self, error: httpx.HTTPError) -> Outcome:
        return NotSent(cause="no answer")


class SendsALostRefundAgain(Wrong):
    """Tries once more, under a new key, when the answer was lost."""

    breaks = "test_a_lost_refund_answer_is_unknown_and_never_sent_again"

    @hookimpl
    async def refund_payment(self, gateway: Configured, refund: Refund) -> Outcome:
        outcome = await super().refund_payment(gateway, refund)
        if isinstance(outcome, Unknown) and outcome.cause.startswith(_LOST_NAMES):
            await super().refund_payment(gateway, replace(refund, reference=str(uuid.uuid4())))
        return outcome


class ForgetsALostRefund(Wrong):
    """A refund whose acceptance it did not hear of does not exist."""

    breaks = "test_a_lost_refund_answer_is_unknown_and_never_sent_again"

    def __init__(self) -> None:
        super().__init__()
        self.heard_of: set[str] = set()

    @hookimpl
    async def refund_payment(self, gateway: Configured, refund: Refund) -> Outcome:
        outcome = await super().refund_payment(gateway, refund)
        if isinstance(outcome, Accepted):
            self.heard_of.add(refund.reference)
        return outcome

    @hookimpl
    async def check_refund(self, gateway: Configured, refund: Refund) -> Outcome:
        if refund.reference not in self.heard_of:
            return NotSent(cause="never accepted")
        return await super().check_refund(gateway, refund)


class RefusesARefundWithoutAReason(Wrong):
    """Just no."""

    breaks = "test_a_refused_refund_has_a_reason"
    reasons: Mapping[str, tuple[FailureCode, str]] = {
        **FakeGateway.reasons,
        "TOO_MUCH": (FailureCode.OTHER, " "),
    }


# ── Manners ──────────────────────────────────────────────────────────────────────────────────────

_SECRETS = "test_no_secret_in_logs_errors_or_stored_bodies"


class LogsItsKey(Wrong):
    """Tells the server's log what it opens the provider with."""

    breaks = _SECRETS

    @hookimpl
    async def check_payment(self, gateway: Configured, attempt: Attempt) -> Outcome:
        key = gateway.config.api_key.get_secret_value()
        logging.getLogger("fake").debug("asking with %s", key)
        return await super().check_payment(gateway, attempt)


class PutsTheTokenIntoTheAddress(Wrong):
    """Where the exchange log, and every proxy on the way, writes it down."""

    breaks = _SECRETS

    async def send(
        self,
        gateway: Configured,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, JSON] | None,
        **options: Any,
    ) -> httpx.Response:
        credentials = headers.get("Authorization", "").removeprefix("Bearer ")
        return await super().send(
            gateway, method, f"{path}?with={credentials}", headers, body, **options
        )


class KeepsItsKeyInPluginData(Wrong):
    """Stores a secret where nothing is encrypted."""

    breaks = _SECRETS

    def accepted(self, attempt: Attempt) -> Accepted:
        return replace(super().accepted(attempt), plugin_data={"key": "fake-api-key"})


class PrintsTheKeyItIsGiven(Wrong):
    """Left over from an evening of debugging."""

    breaks = _SECRETS

    @hookimpl
    async def check_refund(self, gateway: Configured, refund: Refund) -> Outcome:
        print(gateway.config.webhook_key.get_secret_value())
        return await super().check_refund(gateway, refund)


class LogsThePayersToken(Wrong):
    """Tells the server's log what charges the payer."""

    breaks = _SECRETS

    @hookimpl
    async def charge_token(self, gateway: Configured, attempt: Attempt, token: str) -> Outcome:
        logging.getLogger("fake").debug("charging %s", token)
        return await super().charge_token(gateway, attempt, token)


class NamesTheTokenInItsLabel(Wrong):
    """Shows the payer what charges them."""

    breaks = _SECRETS

    def token_of(self, told: Mapping[str, JSON]) -> PaymentToken | None:
        token = super().token_of(told)
        return token and replace(token, label=f"Fake {token.secret}")


# ── What is not wrong ────────────────────────────────────────────────────────────────────────────


class AllOrNothing(FakeGateway):
    """A provider that takes only whole payments back: nothing wrong with that."""

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return replace(super().describe_gateway(), partial_refunds=False)


class WithoutKeysForRefunds(FakeGateway):
    """A provider that pays each refund it is sent, and cannot be asked about any: Airtel is one."""

    check_refund = None  # type: ignore[assignment]  # no such hook

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return replace(super().describe_gateway(), repeatable_refunds=False)

    def refund_body(self, refund: Refund) -> dict[str, JSON]:
        return {**super().refund_body(refund), "reference": str(uuid.uuid4())}

    @hookimpl
    async def refund_payment(self, gateway: Configured, refund: Refund) -> Outcome:
        outcome = await super().refund_payment(gateway, refund)
        if isinstance(outcome, Accepted):
            return Succeeded(amount=refund.amount, reference=refund.reference)
        return outcome
