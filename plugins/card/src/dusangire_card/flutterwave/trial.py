"""Tries an account without moving money, and says in words what is wrong and what to do."""

from dusangire.gateway import Environment, Gateway, TestReport
from dusangire_card.config import CardConfig
from dusangire_card.flutterwave import mapping
from dusangire_card.flutterwave.client import Client
from dusangire_card.provider import AnswerLost, NoAnswer

# Nobody's: a reference of ours is a UUID.
_NOBODYS = "dusangire-test"


async def try_account(gateway: Gateway[CardConfig]) -> TestReport:
    """Asks about a payment that there is not: only a right key is told so."""
    problem = await _problem(gateway)
    if problem is not None:
        return TestReport(ok=False, message=problem)
    kind = "play" if gateway.environment is Environment.TEST else "real"
    return TestReport(
        ok=True, message=f"Flutterwave accepts the key, for {kind} money.{_webhooks(gateway)}"
    )


async def _problem(gateway: Gateway[CardConfig]) -> str | None:
    if not gateway.config.fits(gateway.environment):
        return (
            f"secret_key is not a {gateway.environment.lower()} key. Copy the key of this "
            "environment from Flutterwave's dashboard."
        )
    if gateway.environment is Environment.LIVE and not _return_address(gateway):
        return (
            "Payers have nowhere to come back to. Set redirect_base_url, or DUSANGIRE_PUBLIC_URL."
        )
    try:
        answer = await Client(gateway).verify(_NOBODYS)
    except AnswerLost as error:
        return _without_envelope(gateway, error)
    except NoAnswer as error:
        return (
            f"Flutterwave could not be reached at {gateway.config.base_url} ({error}). Check "
            "base_url, and that the network lets this server through."
        )
    if answer.ok or mapping.is_unknown(answer):
        return None
    code = str(answer.http)
    if code in mapping.HTTP:
        return mapping.HTTP[code].text
    return f"Flutterwave answered {code}, which is unexpected."


def _without_envelope(gateway: Gateway[CardConfig], error: AnswerLost) -> str:
    if error.code is not None and error.code.startswith("5"):
        return f"Flutterwave is busy or in trouble: it answered {error.code}. Try again later."
    return (
        f"Something else than Flutterwave answers at {gateway.config.base_url}, or nothing "
        f"({error}). Check base_url: it is https://api.flutterwave.com/v3."
    )


def _return_address(gateway: Gateway[CardConfig]) -> str | None:
    return gateway.config.redirect_base_url or gateway.public_url


def _webhooks(gateway: Gateway[CardConfig]) -> str:
    if gateway.webhook_url is None:
        return " Webhooks cannot reach this server: payments are found out by asking."
    # The address has a secret in it, and reports are shown and logged.
    return " Webhooks: see that the dashboard has this gateway's webhook address and hash."
