"""Tries an account without moving money, and says in words what is wrong and what to do."""

from dusangire.gateway import Gateway, TestReport
from dusangire_mtn.client import (
    Answer,
    AnswerLost,
    BadCredentials,
    Client,
    NothingSent,
    is_refusal,
    why_refused,
)
from dusangire_mtn.config import MTNConfig, Product


async def try_account(gateway: Gateway[MTNConfig]) -> TestReport:
    """A token and the balance for each product that is configured."""
    problems = []
    for product in gateway.config.products:
        problem = await _problem(gateway, product)
        if problem is not None and problem not in problems:
            problems.append(problem)
    if problems:
        return TestReport(ok=False, message=" ".join(problems))
    names = " and ".join(product.capitalize() for product in gateway.config.products)
    refunds = "" if gateway.config.can_refund else " Refunds need the disbursement_ settings."
    return TestReport(ok=True, message=f"MTN accepts the account for {names}.{refunds}")


async def _problem(gateway: Gateway[MTNConfig], product: Product) -> str | None:
    try:
        answer = await Client(gateway).balance(product)
    except BadCredentials as error:
        return str(error)
    except (NothingSent, AnswerLost) as error:
        return (
            f"MTN could not be reached at {gateway.config.base_url} ({error}). Check base_url, "
            "and that the network lets this server through: MTN's firewall may have to allow its "
            "public IP address."
        )
    return _problem_in(answer, product, gateway.config)


def _problem_in(answer: Answer, product: Product, config: MTNConfig) -> str | None:
    if answer.status == 200 and answer.text("availableBalance") is not None:
        return _currency_problem(answer, config)
    if answer.fields is None:
        return (
            f"A web page answers at {config.base_url} instead of MTN: a firewall, or another "
            "site. Check base_url, and ask MTN to allow this server's public IP address."
        )
    # The sandbox shows many accounts no balance; the token before it proves enough there.
    if config.target_environment == "sandbox" and (answer.code or "").startswith("NOT_ALLOWED"):
        return None
    if answer.code == "NOT_ALLOWED_TARGET_ENVIRONMENT":
        return (
            f"The account is not in the target environment {config.target_environment!r}. Set "
            "target_environment to the name of your market, such as mtnrwanda, or to sandbox."
        )
    if answer.code == "NOT_ALLOWED":
        return (
            f"MTN does not let the account use {product.capitalize()}. Ask MTN to activate the "
            "product, or whether the account is restricted."
        )
    if answer.status in (429, 500, 503):
        return f"MTN is busy or in trouble: it answered {answer.status}. Try again later."
    if is_refusal(answer):
        return why_refused(answer, product)
    return f"MTN answered {answer.status} {answer.code or ''}".rstrip() + ", which is unexpected."


def _currency_problem(answer: Answer, config: MTNConfig) -> str | None:
    currency = answer.text("currency")
    if currency in (None, config.currency):
        return None
    return f"The account is in {currency}. Set currency to {currency}, not {config.currency}."
