"""A provider that behaves like Ikaze Pay, for laptops and tests."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import httpx
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
from dusangire_ikaze.config import IkazeConfig

# Which number refuses, and why. Every other one pays.
REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "250780000101": "LOW_BALANCE",
        "250780000102": "PAYER_SAID_NO",
        "250780000103": "NO_REPLY",
    }
)
_STATES = {Status.PENDING: "ASKED", Status.SUCCEEDED: "PAID", Status.FAILED: "DECLINED"}
_TOKEN_LIFETIME = 600


def build(gateway: Gateway[IkazeConfig]) -> Starlette:
    """The simulator with the account of `gateway`."""
    provider = Provider(gateway)
    post = ["POST"]
    routes = [
        Route("/token", provider.give_token, methods=post),
        Route("/pushes", provider.push, methods=post),
        Route("/pushes/{id}", provider.tell),
        Route("/refunds", provider.refund, methods=post),
        Route("/refunds/{id}", provider.tell),
        Route("/account", provider.account),
    ]
    api = Starlette(routes=routes, exception_handlers={Refused: _refuse})
    return build_app(provider.simulation, api)


class Refused(Exception):
    """Answered with a status and one of Ikaze Pay's codes."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class Provider:
    """Who may call, and what is answered. What becomes of money is `simulation`'s."""

    def __init__(self, gateway: Gateway[IkazeConfig]) -> None:
        self.config = gateway.config
        self.tokens: set[str] = set()
        self.simulation = Simulation(
            name="Ikaze Pay",
            color="#C2410C",
            clock=gateway.clock,
            webhook=self._notification,
            declined="PAYER_SAID_NO",
            settings=Settings(delay=3),
        )

    async def give_token(self, request: Request) -> Response:
        client = httpx.BasicAuth(
            self.config.client_id, self.config.client_secret.get_secret_value()
        )
        [expected] = client.auth_flow(httpx.Request("POST", "http://ikaze.example"))
        if request.headers.get("authorization") != expected.headers["authorization"]:
            raise Refused(401, "BAD_CLIENT")
        token = f"ikaze-token-{self.simulation.random.getrandbits(64):016x}"
        self.tokens.add(token)
        return JSONResponse({"token": token, "expires_in": _TOKEN_LIFETIME})

    async def push(self, request: Request) -> Response:
        asked = await self._asked(request)
        return self._begin("push", asked, asked["payer"], self._script(asked))

    async def refund(self, request: Request) -> Response:
        asked = await self._asked(request)
        paid = self.simulation.transactions.get(asked["push"])
        if paid is None or paid.status is not Status.SUCCEEDED:
            raise Refused(422, "NOT_PAID")
        if Decimal(asked["amount"]) > self._left_of(paid):
            raise Refused(422, "TOO_MUCH")
        script = (Step(after=1, status=Status.SUCCEEDED),)
        return self._begin("refund", asked, paid.party, script)

    async def tell(self, request: Request) -> Response:
        self._let_in(request)
        known = self.simulation.transactions.get(request.path_params["id"])
        if known is None:
            raise Refused(404, "NO_SUCH_ID")
        return JSONResponse(_told(known))

    async def account(self, request: Request) -> Response:
        self._let_in(request)
        return JSONResponse({"currency": self.config.currency})

    async def _asked(self, request: Request) -> dict[str, JSON]:
        """What is asked for, by somebody who may, under an id that is new."""
        # The body first: between the look and the memory nobody else may come in.
        asked: dict[str, JSON] = await request.json()
        self._let_in(request)
        known = self.simulation.transactions.get(asked["id"])
        if known is not None:
            known.requests += 1
            raise Refused(409, "ID_USED")
        return asked

    def _let_in(self, request: Request) -> None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Refused(401, "TOKEN_EXPIRED")

    def _begin(self, kind: str, asked: dict[str, JSON], party: str, script: Script) -> Response:
        known = self.simulation.transactions
        one = Transaction(
            reference=asked["id"],
            external_id=asked["id"],
            kind=kind,
            amount=asked["amount"],
            currency=asked["currency"],
            party=party,
            message=asked.get("text", ""),
            original=asked.get("push"),
            webhook_url=asked.get("notify"),
            created_at=self.simulation.clock(),
            gateway_transaction_id=f"IK-{len(known) + 1}",
        )
        self.simulation.add(one, script)
        return JSONResponse(_told(one), 202)

    def _script(self, asked: dict[str, JSON]) -> Script:
        """What becomes of a push: by amount, by number, by a tap on the phone, or paid."""
        settings = self.simulation.settings
        code = settings.outcomes.get(asked["amount"]) or REFUSALS.get(asked["payer"])
        if code is not None:
            return (Step(after=settings.delay, status=Status.FAILED, reason=code),)
        if settings.mode == "manual":
            return ()
        return (Step(after=settings.delay, status=Status.SUCCEEDED),)

    def _left_of(self, paid: Transaction) -> Decimal:
        """What no refund, done or still running, has taken."""
        known = self.simulation.transactions.values()
        taken = [Decimal(one.amount) for one in known if one.original == paid.reference]
        return Decimal(paid.amount) - sum(taken)

    def _notification(self, one: Transaction) -> Webhook:
        text = json.dumps(_told(one))
        key = self.config.signing_key.get_secret_value().encode()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return Webhook(body=json.dumps({"text": text, "signature": signature}).encode())


def _told(one: Transaction) -> dict[str, JSON]:
    return {
        "id": one.reference,
        "receipt": one.gateway_transaction_id,
        "amount": one.amount,
        "currency": one.currency,
        "state": _STATES[one.status],
        "code": one.reason,
    }


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"code": error.code}, error.status)
