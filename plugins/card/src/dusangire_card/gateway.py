"""Card payments on the provider's own page. The hooks, in our words.

No card number ever comes here: payers follow a link, type their card in at the provider, and come
back. What they bring back is a hint; the provider is asked, and what it says counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dusangire import hookimpl
from dusangire.gateway import (
    JSON,
    Accepted,
    Attempt,
    CheckSchedule,
    Environment,
    Failed,
    FailureCode,
    FollowLink,
    Gateway,
    GatewayDescription,
    Heard,
    NotSent,
    Outcome,
    Refund,
    Succeeded,
    TestReport,
    Unknown,
    WebhookRequest,
)
from dusangire.statements import AccountKind, MappingProfile, StatementFormat
from dusangire_card.config import CardConfig
from dusangire_card.flutterwave.driver import Flutterwave
from dusangire_card.flutterwave.mapping import CODES
from dusangire_card.provider import AnswerLost, NoAnswer, NothingSent, Provider, Refused, UnsafeLink

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_BRAND_COLOR = "#1A56DB"
# A page that is over may have a card in hand: so long after its end nothing more can come of it.
_GRACE = timedelta(minutes=15)
# A kept card is charged without the payer, so this one call is never repeated on a guess: core
# sends again a minute after the first sending at the earliest, and so long is a first sending.
_FIRST_SENDING = timedelta(seconds=60)
# So long a charge may be invisible to the provider's own status.
_MAY_BE_HIDDEN = timedelta(minutes=30)


@hookimpl
def describe_gateway() -> GatewayDescription:
    return GatewayDescription(
        name="Card",
        config=CardConfig,
        brand_color=_BRAND_COLOR,
        statement=AccountKind.SETTLEMENT,
        # The provider has no key that makes a refund repeatable.
        repeatable_refunds=False,
        codes=CODES,
        # The first three are for an answer that was lost: the payer waits for the link. The rest
        # is for payers who take their time, and for webhooks that never come.
        check_schedule=CheckSchedule(first=(5, 20, 50, 60, 165, 300, 600), then=1800),
        # The provider itself gives up after 28 seconds.
        call_timeout=75,
        example_config={
            "secret_key": "FLWSECK_TEST-simulated-secret-key-X",
            "webhook_secret_hash": "simulated-webhook-secret-hash",
            "email_domain": "buyers.example.rw",
            "brand_title": "Example Shop",
        },
    )


@hookimpl
def statement_formats() -> Sequence[StatementFormat | MappingProfile]:
    return [MappingProfile.read(Path(__file__).with_name("flutterwave_transactions.toml"))]


@hookimpl
async def initiate_payment(gateway: Gateway[CardConfig], attempt: Attempt) -> Outcome:
    if (problem := _problem(gateway, attempt)) is not None:
        return problem
    if (link := Link.of(attempt)) is not None:
        # Asked again: it is still the one page, or the payer could pay on two.
        return _waiting(link)
    minutes = _minutes(gateway, attempt)
    if minutes < 1:
        return Failed(code=FailureCode.EXPIRED, message="Too little time is left to pay by card.")
    until = gateway.clock() + timedelta(minutes=minutes)
    try:
        url = await _provider(gateway).create_link(attempt, _return_url(gateway, attempt), minutes)
    except UnsafeLink:
        # Nobody was given the link, so nobody can pay by it.
        gateway.log.warning(
            "security: the card page is a stranger's", hosts=gateway.config.link_hosts
        )
        return Failed(
            code=FailureCode.GATEWAY_ERROR,
            message="The provider's page is not one of link_hosts, so nobody was sent there.",
        )
    except (NoAnswer, Refused) as error:
        return _without_answer(error)
    return _waiting(Link(url=url, until=until))


@hookimpl
async def charge_token(gateway: Gateway[CardConfig], attempt: Attempt, token: str) -> Outcome:
    if (problem := _problem(gateway, attempt)) is not None:
        return problem
    provider = _provider(gateway)
    try:
        known = await provider.find_charge(attempt)
        if known is not None:
            return known
        if gateway.clock() - attempt.created_at > _FIRST_SENDING:
            return Unknown(cause="it may have been sent before, and a kept card is charged once")
    except (NoAnswer, Refused) as error:
        # The charge itself was not asked for by this call.
        return NotSent(cause=str(error))
    try:
        outcome = await provider.charge_token(attempt, token, _return_url(gateway, attempt))
    except (NoAnswer, Refused) as error:
        return _without_answer(error)
    if isinstance(outcome, Accepted) and isinstance(outcome.next_action, FollowLink):
        until = gateway.clock() + timedelta(minutes=max(1, _minutes(gateway, attempt)))
        link = Link(url=outcome.next_action.url, until=until, closable=False)
        return _waiting(link, outcome)
    return outcome


@hookimpl
async def check_payment(gateway: Gateway[CardConfig], attempt: Attempt) -> Outcome:
    if not gateway.config.fits(gateway.environment):
        return Unknown(cause="the key is not one of this environment")
    provider, link = _provider(gateway), Link.of(attempt)
    try:
        found = await provider.find_charge(attempt)
        if link is None:
            if found is None and attempt.uses_stored_method and _may_be_hidden(gateway, attempt):
                # No payer needs a link there: the charge itself may be what is not seen.
                return Unknown(cause="a kept card may have been charged: it cannot be seen yet")
            # The answer with the link was lost, so nobody was given it and nobody can pay by it:
            # not knowing the reference is the whole truth, and making another page is safe.
            return found or NotSent(cause="no card was tried, and nobody has a link to try one")
        if _goes_on(gateway, link, found):
            return _still_open(gateway, link, found)
        return await _close(gateway, attempt, link)
    except (NoAnswer, Refused) as error:
        return _unasked(error)


@hookimpl
async def cancel_payment(gateway: Gateway[CardConfig], attempt: Attempt) -> Outcome:
    if not gateway.config.fits(gateway.environment):
        return Unknown(cause="the key is not one of this environment")
    provider, link = _provider(gateway), Link.of(attempt)
    try:
        if link is not None and link.closable:
            await provider.close_link(link.url)
        found = await provider.find_charge(attempt)
    except (NoAnswer, Refused) as error:
        return _unasked(error)
    match found:
        case Succeeded() | Unknown():
            return found
        case Accepted():
            return Unknown(cause="a card is being charged just now: it cannot be withdrawn")
        case None if not _is_withdrawn(gateway, attempt, link):
            return Unknown(cause="it was sent, and what became of it cannot be seen yet")
    return Failed(code=FailureCode.CANCELLED, message="The page is closed, and nobody paid on it.")


@hookimpl
async def refund_payment(gateway: Gateway[CardConfig], refund: Refund) -> Outcome:
    if (problem := _problem(gateway, refund.attempt)) is not None:
        return problem
    provider = _provider(gateway)
    try:
        charge = await _charge_of(provider, refund)
        if not isinstance(charge, str):
            return charge
        # There is no key that would make a repetition harmless, so it is looked for first.
        known = await provider.find_refund(refund, charge)
        return known or await provider.start_refund(refund, charge)
    except (NoAnswer, Refused) as error:
        return _without_answer(error)


@hookimpl
async def check_refund(gateway: Gateway[CardConfig], refund: Refund) -> Outcome:
    if not gateway.config.fits(gateway.environment):
        return Unknown(cause="the key is not one of this environment")
    provider = _provider(gateway)
    try:
        charge = await _charge_of(provider, refund)
        if not isinstance(charge, str):
            return Unknown(cause="the charge to give back cannot be found")
        found = await provider.find_refund(refund, charge)
    except (NoAnswer, Refused) as error:
        return _unasked(error)
    # That it shows none yet does not mean that there is none: a person decides that.
    return found or Unknown(cause="the provider shows no refund with our reference")


@hookimpl
def read_webhook(gateway: Gateway[CardConfig], request: WebhookRequest) -> Heard:
    return _provider(gateway).hear(request)


@hookimpl
async def test_gateway(gateway: Gateway[CardConfig]) -> TestReport:
    return await _provider(gateway).try_account()


@hookimpl
def simulator(gateway: Gateway[CardConfig]) -> "ASGIApp":
    from dusangire_card.flutterwave.simulator import build  # noqa: PLC0415 - as with MTN

    return build(gateway)


def _provider(gateway: Gateway[CardConfig]) -> Provider:
    return Flutterwave(gateway)


# ── the page and its time ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The page that the payer was given, and when it closes by itself.

    closable: whether it can be closed before. A bank's page to confirm on cannot.
    """

    url: str
    until: datetime
    closable: bool = True

    @classmethod
    def of(cls, attempt: Attempt) -> "Link | None":
        kept = attempt.plugin_data.get("link")
        if not isinstance(kept, Mapping):
            return None
        until = datetime.fromisoformat(kept["until"])
        return cls(url=kept["url"], until=until, closable=kept["closable"])

    def kept(self) -> dict[str, JSON]:
        until = self.until.isoformat()
        return {"link": {"url": self.url, "until": until, "closable": self.closable}}


def _waiting(link: Link, outcome: Accepted | None = None) -> Accepted:
    """The payer has the page, or a card in hand there."""
    return replace(
        outcome or Accepted(),
        next_action=FollowLink(url=link.url, expires_at=link.until),
        expires_at=link.until,
        plugin_data=link.kept(),
    )


def _goes_on(gateway: Gateway[CardConfig], link: Link, found: Outcome | None) -> bool:
    """Whether more may come: a payer whose card was refused may try another, for a while."""
    now = gateway.clock()
    match found:
        case None:
            return now < link.until + _GRACE
        case Failed():
            return now < link.until and gateway.config.max_attempts > 1 and link.closable
        case _:
            return True


def _still_open(gateway: Gateway[CardConfig], link: Link, found: Outcome | None) -> Outcome:
    match found:
        case Failed(gateway_code=code, message=message):
            gateway.note("refused card", f"{code}: {message}")
            return _waiting(link)
        case None | Accepted():
            return _waiting(link, found)
        case _:
            return found


async def _close(gateway: Gateway[CardConfig], attempt: Attempt, link: Link) -> Outcome:
    """Nothing came of the page. It is closed, and looked at once more, before that is said."""
    provider = _provider(gateway)
    if link.closable:
        try:
            await provider.close_link(link.url)
        except Refused:
            # It closed by itself. If it did not, the payer could go on, and nothing has ended.
            if gateway.clock() < link.until:
                raise
    last = await provider.find_charge(attempt)
    if isinstance(last, Accepted):
        return _waiting(link, last)
    return last or Failed(code=FailureCode.EXPIRED, message="Nobody paid before the page closed.")


def _is_withdrawn(gateway: Gateway[CardConfig], attempt: Attempt, link: Link | None) -> bool:
    """Whether a payment of which nothing is to be seen is certainly none."""
    if link is not None:
        return link.closable
    return not _may_be_hidden(gateway, attempt)


def _may_be_hidden(gateway: Gateway[CardConfig], attempt: Attempt) -> bool:
    return gateway.clock() - attempt.created_at <= _MAY_BE_HIDDEN


def _minutes(gateway: Gateway[CardConfig], attempt: Attempt) -> int:
    """How long a page may stay open: never longer than the payment."""
    if attempt.expires_at is None:
        return gateway.config.session_minutes
    left = attempt.expires_at - gateway.clock()
    return min(gateway.config.session_minutes, left // timedelta(minutes=1))


def _return_url(gateway: Gateway[CardConfig], attempt: Attempt) -> str | None:
    base = gateway.config.redirect_base_url or gateway.public_url
    return f"{base}/return/{attempt.payment_reference}" if base else None


# ── what the hooks share ─────────────────────────────────────────────────────────────────────────


def _problem(gateway: Gateway[CardConfig], attempt: Attempt) -> Failed | None:
    """Why nothing is sent at all."""
    currency = gateway.config.currency
    if not gateway.config.fits(gateway.environment):
        why = f"secret_key is not a {gateway.environment.lower()} key."
    elif attempt.amount.currency != currency:
        why = f"This card account is in {currency}, not in {attempt.amount.currency}."
    elif gateway.environment is Environment.LIVE and not _return_url(gateway, attempt):
        why = "Payers have nowhere to come back to: set redirect_base_url."
    else:
        return None
    return Failed(code=FailureCode.GATEWAY_CONFIGURATION, message=why)


async def _charge_of(provider: Provider, refund: Refund) -> str | Outcome:
    """The provider's id of the charge to give back, or why there is none."""
    known = refund.attempt.gateway_transaction_id
    if known is not None and known.isascii() and known.isdigit():
        return known
    found = await provider.find_charge(refund.attempt)
    if isinstance(found, Succeeded) and found.gateway_transaction_id is not None:
        return found.gateway_transaction_id
    if isinstance(found, Unknown):
        return found
    return Failed(code=FailureCode.OTHER, message="The provider knows no paid charge to give back.")


def _without_answer(error: NoAnswer | Refused) -> Outcome:
    """What a call that moves money, or lets it move, came to."""
    match error:
        case Refused():
            return error.failed
        case NothingSent():
            return NotSent(cause=str(error), retry_after=error.retry_after)
        case AnswerLost():
            return Unknown(cause=str(error), gateway_code=error.code)
        case _:
            return Unknown(cause=str(error))


def _unasked(error: NoAnswer | Refused) -> Unknown:
    """Not being able to ask says nothing about the money, whatever the cause."""
    code = error.failed.gateway_code if isinstance(error, Refused) else None
    return Unknown(cause=str(error), gateway_code=code)
