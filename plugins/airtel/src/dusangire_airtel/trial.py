"""Tries an application without moving money, and says in words what is wrong and what to do."""

from dusangire.gateway import Gateway, TestReport
from dusangire_airtel.client import (
    AirtelError,
    Answer,
    Client,
    Misconfigured,
    NothingSent,
    why_refused,
)
from dusangire_airtel.codes import CODES
from dusangire_airtel.config import AirtelConfig

_NO_HASH = (
    " Callbacks are hints only: switch callback authentication on in the portal and set "
    "callback_hash_key."
)
_NO_CALLBACKS = (
    " Nobody outside can reach this server, so Airtel's callbacks cannot: payments are found out "
    "by asking, which takes three minutes and more."
)


async def try_account(gateway: Gateway[AirtelConfig]) -> TestReport:
    """A token, the balance, and with message signing Airtel's key."""
    client = Client(gateway)
    try:
        problem = _problem(await client.balance(), gateway.config)
        if problem is None and gateway.config.message_signing:
            await client.check_signing()
    except Misconfigured as error:
        return TestReport(ok=False, message=str(error))
    except AirtelError as error:
        return TestReport(ok=False, message=_unreachable(error, gateway.config))
    if problem is not None:
        return TestReport(ok=False, message=problem)
    return TestReport(ok=True, message=_praise(gateway))


def _praise(gateway: Gateway[AirtelConfig]) -> str:
    signed = " with message signing" if gateway.config.message_signing else ""
    praise = f"Airtel accepts the application{signed}."
    if gateway.webhook_url is None:
        return praise + _NO_CALLBACKS
    return praise if gateway.config.callback_hash_key else praise + _NO_HASH


def _unreachable(error: AirtelError, config: AirtelConfig) -> str:
    doubt = "could not be reached" if isinstance(error, NothingSent) else "did not answer"
    return (
        f"Airtel {doubt} at {config.base_url} ({error}). Check base_url, and that Airtel's portal "
        "has this server's public IP address."
    )


def _problem(answer: Answer, config: AirtelConfig) -> str | None:
    currency = answer.data.get("currency")
    if answer.http_status == 200 and "balance" in answer.data and answer.success is not False:
        if currency in {None, config.currency}:
            return None
        return f"The wallet is in {currency}. Set currency to {currency}, not {config.currency}."
    if answer.fields is None and answer.http_status < 500:
        return (
            f"A web page answers at {config.base_url} instead of Airtel: a firewall, or another "
            "site. Check base_url, and that Airtel's portal has this server's public IP address."
        )
    if answer.http_status in {408, 429} or answer.http_status >= 500:
        return f"Airtel is busy or in trouble: it answered {answer.http_status}. Try again later."
    if "x-wallet-id" in answer.message:
        # What Airtel says of a missing or foreign X-Currency.
        return f"Airtel does not take the currency {config.currency}. Correct currency."
    known = [CODES[code] for code in answer.codes if code in CODES]
    if known and known[0].failure is not None:
        return f"{known[0].text} Airtel says {answer.code}."
    if answer.http_status in {401, 403, 404, 405}:
        return why_refused(answer)
    return f"{answer}, which is unexpected. Ask Airtel whether the wallet is linked to the keys."
