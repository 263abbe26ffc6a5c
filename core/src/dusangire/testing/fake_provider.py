"""The provider behind FakeGateway: as small as a provider can be that keeps every promise."""

import json
import secrets
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

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
from dusangire.testing.fake import (
    APPROVES_AFTER_ALL,
    APPROVES_WITH_THREE_WEBHOOKS,
    APPROVES_WITHOUT_WEBHOOK,
    DECLINES,
    DOES_NOT_ANSWER,
    HAS_NO_MONEY,
    STAYS_PENDING,
    FakeConfig,
    sign,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_WORDS = {Status.PENDING: "WAITING", Status.SUCCEEDED: "PAID", Status.FAILED: "REFUSED"}
_WITHDRAWN = "WITHDRAWN"
_REFUSALS = {
    HAS_NO_MONEY["phone"]: "NO_MONEY",
    DECLINES["phone"]: "SAID_NO",
    DOES_NOT_ANSWER["phone"]: "NO_ANSWER",
}


class _Refused(Exception):
    def __init__(self, status: int, word: str) -> None:
        super().__init__(word)
        self.status, self.word = status, word


class FakeProvider:
    """`app` is its API, `simulation` its memory; `cards`: whose phone a token it gave out charges.

    POST /token · POST /payments · GET /payments/{reference} · POST /payments/{reference}/cancel
    POST /refunds · GET /refunds/{reference}
    """

    def __init__(
        self,
        gateway: Gateway[FakeConfig],
        *,
        delay: float,
        outcomes: Mapping[str, str],
        limits_refunds: bool,
    ) -> None:
        self.config = gateway.config
        self.limits_refunds = limits_refunds
        self.cards: dict[str, str] = {}
        self._keeping: set[str] = set()
        self.simulation = Simulation(
            name="Fake Pay",
            color="#7A5AF8",
            clock=gateway.clock,
            webhook=self._webhook,
            declined="SAID_NO",
            settings=Settings(delay=delay, outcomes=dict(outcomes)),
        )
        self.app: ASGIApp = build_app(self.simulation, self._api())
        self._token = f"fake-token-{secrets.token_hex(8)}"

    def truth(self) -> dict[str, JSON]:
        """Everything that really happened."""
        return self.simulation.truth()

    def _api(self) -> Starlette:
        one = partial(Route, methods=["GET"])
        do = partial(Route, methods=["POST"])
        return Starlette(
            routes=[
                do("/token", self._give_token),
                do("/payments", self._take_payment),
                one("/payments/{reference}", self._tell),
                do("/payments/{reference}/cancel", self._withdraw),
                do("/refunds", self._take_refund),
                one("/refunds/{reference}", self._tell),
            ],
            exception_handlers={_Refused: _say_no},
        )

    async def _give_token(self, request: Request) -> Response:
        if request.headers.get("x-api-key") != self.config.api_key.get_secret_value():
            raise _Refused(401, "BAD_KEY")
        return JSONResponse({"access_token": self._token, "expires_in": 3600})

    async def _take_payment(self, request: Request) -> Response:
        asked = await self._asked(request)
        if (known := self._known(asked)) is not None:
            return self._answer(known)
        if "token" in asked:
            if asked["token"] not in self.cards:
                raise _Refused(422, "NO_CARD")
            asked["phone"] = self.cards[asked["token"]]
        if asked.get("keep"):
            self._keeping.add(asked["reference"])
        return self._begin("payment", asked, self._story(asked), party=asked["phone"])

    async def _take_refund(self, request: Request) -> Response:
        asked = await self._asked(request)
        if (known := self._known(asked)) is not None:
            return self._answer(known)
        original = self.simulation.transactions.get(asked["payment"])
        if original is None or original.status is not Status.SUCCEEDED:
            raise _Refused(422, "NOT_PAID")
        given = [one for one in self.simulation.transactions.values() if self._is_of(one, original)]
        total = sum(Decimal(one.amount) for one in given) + Decimal(asked["amount"])
        if self.limits_refunds and total > Decimal(original.amount):
            raise _Refused(422, "TOO_MUCH")
        script = (Step(after=0, status=Status.SUCCEEDED, webhooks=0),)
        return self._begin(
            "refund", asked, script, party=original.party, original=original.reference
        )

    async def _withdraw(self, request: Request) -> Response:
        transaction = self._find(request)
        if transaction.status is Status.PENDING:
            transaction.note = _WITHDRAWN
            self.simulation.decide(transaction.reference, approve=False)
        return self._answer(transaction)

    async def _tell(self, request: Request) -> Response:
        return self._answer(self._find(request))

    async def _asked(self, request: Request) -> dict[str, JSON]:
        self._let_in(request)
        asked: dict[str, JSON] = await request.json()
        if asked["currency"] != self.config.currency:
            raise _Refused(422, "WRONG_CURRENCY")
        return asked

    def _known(self, asked: Mapping[str, JSON]) -> Transaction | None:
        known = self.simulation.transactions.get(asked["reference"])
        if known is not None:
            known.requests += 1
        return known

    def _begin(
        self,
        kind: str,
        asked: Mapping[str, JSON],
        script: Script,
        *,
        party: str,
        original: str | None = None,
    ) -> Response:
        transaction = Transaction(
            reference=asked["reference"],
            external_id=asked["reference"],
            kind=kind,
            amount=asked["amount"],
            currency=asked["currency"],
            party=party,
            created_at=self.simulation.clock(),
            original=original,
            webhook_url=asked.get("webhook_url"),
            gateway_transaction_id=f"FAKE-{len(self.simulation.transactions) + 1}",
        )
        self.simulation.add(transaction, script)
        return self._answer(transaction, status=201)

    def _story(self, asked: Mapping[str, JSON]) -> Script:
        delay, phone = self.simulation.settings.delay, asked["phone"]
        yes = Step(after=delay, status=Status.SUCCEEDED)
        reason = self.simulation.settings.outcomes.get(asked["amount"]) or _REFUSALS.get(phone)
        if reason is not None:
            return (Step(after=delay, status=Status.FAILED, reason=reason),)
        if phone == STAYS_PENDING["phone"] or self.simulation.settings.mode == "manual":
            return ()
        if phone == APPROVES_WITHOUT_WEBHOOK["phone"]:
            return (Step(after=delay, status=Status.SUCCEEDED, webhooks=0),)
        if phone == APPROVES_WITH_THREE_WEBHOOKS["phone"]:
            return (Step(after=delay, status=Status.SUCCEEDED, webhooks=3),)
        if phone == APPROVES_AFTER_ALL["phone"]:
            no = Step(after=delay, status=Status.FAILED, reason="NO_ANSWER")
            return (no, Step(after=1, status=Status.SUCCEEDED))
        return (yes,)

    def _is_of(self, one: Transaction, original: Transaction) -> bool:
        return one.original == original.reference and one.status is not Status.FAILED

    def _let_in(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self._token}":
            raise _Refused(401, "BAD_TOKEN")

    def _find(self, request: Request) -> Transaction:
        self._let_in(request)
        transaction = self.simulation.transactions.get(request.path_params["reference"])
        if transaction is None:
            raise _Refused(404, "NOT_FOUND")
        return transaction

    def _answer(self, transaction: Transaction, status: int = 200) -> Response:
        return JSONResponse(self._told(transaction), status_code=status)

    def _webhook(self, transaction: Transaction) -> Webhook:
        told = self._told(transaction)
        return Webhook(
            body=json.dumps({"event": told, "signature": sign(self.config, told)}).encode()
        )

    def _told(self, transaction: Transaction) -> dict[str, JSON]:
        told = {
            "id": transaction.gateway_transaction_id,
            "reference": transaction.reference,
            "amount": transaction.amount,
            "currency": transaction.currency,
            "phone": transaction.party,
            "status": _WORDS[transaction.status],
            "reason": transaction.note or transaction.reason,
        }
        if transaction.reference in self._keeping and transaction.status is Status.SUCCEEDED:
            told["token"] = self._card(transaction.party)
        return told

    def _card(self, phone: str) -> str:
        """The same payer has the same token."""
        known = {owner: token for token, owner in self.cards.items()}
        token = known.get(phone) or f"fake-card-{secrets.token_hex(16)}"
        self.cards[token] = phone
        return token


async def _say_no(_request: Request, error: Exception) -> Response:
    assert isinstance(error, _Refused)
    return JSONResponse({"error": error.word}, status_code=error.status)
