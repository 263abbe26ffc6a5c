"""A provider that behaves like Example Pay, for laptops and tests.

    POST /payments               201 with the payment; 200 when the reference is known already
    GET  /payments/{reference}   200, or 404 NO_SUCH_PAYMENT
    GET  /account                200 with the account's currency, or 401 BAD_KEY

It shares nothing with the hooks but the config: the contract breaks the line between the two.
"""

# Step 1. Write down here what your provider does, from its documentation and from its sandbox. A
# phone to tap on, faults and the control API come with `build_app`.

import json
from collections.abc import Mapping
from types import MappingProxyType

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dusangire.gateway import JSON, Gateway
from dusangire.simulation import (
    Script,
    Settings,
    Simulation,
    Status,
    Step,
    Transaction,
    Webhook,
    build_app,
)
from examplepay_plugin.config import ExamplePayConfig

# Which number refuses, and why. Every other one pays.
REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "+250780000101": "NO_MONEY",
        "+250780000102": "SAID_NO",
        "+250780000103": "NO_ANSWER",
    }
)
_WORDS = {Status.PENDING: "WAITING", Status.SUCCEEDED: "PAID", Status.FAILED: "REFUSED"}


def build(gateway: Gateway[ExamplePayConfig]) -> Starlette:
    """The simulator with the account of `gateway`."""
    simulation = Simulation(
        name="Example Pay",
        color="#0B7A75",
        clock=gateway.clock,
        webhook=_webhook,
        declined="SAID_NO",
        settings=Settings(delay=3),
    )
    provider = Provider(gateway.config, simulation)
    routes = [
        Route("/payments", provider.take, methods=["POST"]),
        Route("/payments/{reference}", provider.tell),
        Route("/account", provider.account),
    ]
    return build_app(simulation, Starlette(routes=routes))


class Provider:
    """Who may call, and what is answered. What becomes of money is `simulation`'s."""

    def __init__(self, config: ExamplePayConfig, simulation: Simulation) -> None:
        self.config = config
        self.simulation = simulation

    async def take(self, request: Request) -> Response:
        # The body first: between the look and the memory nobody else may come in.
        asked = await request.json()
        if (refusal := self._refusal(request)) is not None:
            return refusal
        known = self.simulation.transactions.get(asked["reference"])
        if known is not None:
            known.requests += 1
            return JSONResponse(_told(known))
        payment = Transaction(
            reference=asked["reference"],
            external_id=asked["reference"],
            kind="payment",
            amount=asked["amount"],
            currency=asked["currency"],
            party=asked["phone"],
            message=asked["text"],
            created_at=self.simulation.clock(),
            gateway_transaction_id=f"EX-{len(self.simulation.transactions) + 1}",
        )
        self.simulation.add(payment, self._script(payment))
        return JSONResponse(_told(payment), 201)

    async def tell(self, request: Request) -> Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        known = self.simulation.transactions.get(request.path_params["reference"])
        if known is None:
            return JSONResponse({"error": "NO_SUCH_PAYMENT"}, 404)
        return JSONResponse(_told(known))

    async def account(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse({"currency": self.config.currency})

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("x-api-key") == self.config.api_key.get_secret_value():
            return None
        return JSONResponse({"error": "BAD_KEY"}, 401)

    def _script(self, payment: Transaction) -> Script:
        settings = self.simulation.settings
        reason = settings.outcomes.get(payment.amount) or REFUSALS.get(payment.party)
        if reason is not None:
            return (Step(after=settings.delay, status=Status.FAILED, reason=reason),)
        if settings.mode == "manual":
            return ()
        return (Step(after=settings.delay, status=Status.SUCCEEDED),)


def _told(payment: Transaction) -> dict[str, JSON]:
    return {
        "id": payment.gateway_transaction_id,
        "reference": payment.reference,
        "amount": payment.amount,
        "currency": payment.currency,
        "status": _WORDS[payment.status],
        "reason": payment.reason,
    }


def _webhook(payment: Transaction) -> Webhook:
    """Sent where a transaction has a `webhook_url`; Example Pay's have none."""
    return Webhook(body=json.dumps(_told(payment)).encode())
