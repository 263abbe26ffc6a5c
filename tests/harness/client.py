"""A merchant's program: GraphQL over HTTP, repeated under the same key until there is an answer."""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import httpx

PAYMENT = """
fragment P on Payment {
  id reference version status description
  amount { amount currency } captured { amount currency }
  refunded { amount currency } refundable { amount currency }
  needsAttention failure { code gatewayCode message }
  createdAt expiresAt
}
fragment A on Payment {
  nextAction { ... on FollowLink { url } }
  attempts { number status gatewayReference gatewayTransactionId gateway { code } failure { code } }
}
"""
# A refund wherever it is told of.
REFUND = (
    "{ id reference version status reason digest byHand approvalsNeeded "
    "amount { amount currency } requestedBy { kind name } approvals { by { kind name } } "
    "payment { id reference } }"
)
CREATE = (
    "mutation($input: CreatePaymentInput!) { answer: createPayment(input: $input) "
    "{ payment { ...P } clientToken replayed userErrors { code message field } } }"
)
ATTEMPT = (
    "mutation($input: AttemptPaymentInput!) { answer: attemptPayment(input: $input) "
    "{ payment { ...P } replayed userErrors { code message field } } }"
)
CONFIRM = (
    "mutation($input: ConfirmPaymentInput!) { answer: confirmPayment(input: $input) "
    "{ payment { ...P } replayed userErrors { code message field } } }"
)
CHECK = (
    "mutation($id: ID!) { answer: checkPayment(paymentId: $id) "
    "{ payment { ...P } userErrors { code message field } } }"
)
CANCEL = (
    "mutation($input: CancelPaymentInput!) { answer: cancelPayment(input: $input) "
    "{ payment { ...P } userErrors { code message field } } }"
)
SAVE_GATEWAY = (
    "mutation($input: SaveGatewayInput!) { answer: saveGateway(input: $input) "
    "{ gateway { code webhookUrl } userErrors { code message field } } }"
)
GATEWAYS = "{ gateways { code } }"
ONE = "query($id: ID!) { payment(id: $id) { ...P ...A } }"
# With all that goes back of it, as one moment showed it.
ONE_WITH_REFUNDS = (
    "query($id: ID!) { payment(id: $id) { ...P refunds { id status amount { amount } } } }"
)
MANY = (
    "query($after: String) { payments(first: 100, after: $after, orderBy: CREATED_ASC) "
    "{ edges { node { ...P ...A } } pageInfo { hasNextPage endCursor } } }"
)
REFUNDS = (
    "query($after: String) { refunds(first: 100, after: $after) "
    f"{{ edges {{ node {REFUND} }} pageInfo {{ hasNextPage endCursor }} }} }}"
)
INVOICES = (
    "query($after: String) { invoices(first: 100, after: $after) { edges { node { id version "
    "number kind status issuedAt total { amount currency } payment { id } refund { id } } } "
    "pageInfo { hasNextPage endCursor } } }"
)
# Gateways have events too, which are about no payment.
OF_PAYMENTS = json.dumps(
    [
        *(
            f"payment.{word}"
            for word in (
                "created", "updated", "pending", "succeeded", "partially_refunded", "refunded",
                "failed", "expired", "cancelled",
            )
        ),
        *(
            f"refund.{word}"
            for word in (
                "requested", "approved", "rejected", "processing", "unknown", "succeeded",
                "failed", "cancelled",
            )
        ),
    ]
)  # fmt: skip
OF_INVOICES = json.dumps([f"invoice.{word}" for word in ("drafted", "issued", "paid", "voided")])
EVENT = (
    "{ cursor type occurredAt payment { ...P } "
    "refund { id reference version status amount { amount currency } } }"
)
MISSED = (
    f"query($after: String) {{ events(first: 100, after: $after, types: {OF_PAYMENTS}) {EVENT} }}"
)
MISSED_OF_INVOICES = (
    f"query($after: String) {{ events(first: 100, after: $after, types: {OF_INVOICES}) "
    "{ cursor type occurredAt invoice { id version number kind status } } }"
)
TRANSACTIONS = (
    "query($id: ID!, $after: String) { payment(id: $id) { transactions(first: 100, after: $after) "
    "{ edges { node { id kind outcome httpStatus errorCode errorMessage request response "
    "durationMs createdAt gateway { code } } } pageInfo { hasNextPage endCursor } } } }"
)

# The caller is told to try again: nothing is certain yet.
TRY_AGAIN = frozenset({"RETRYABLE", "GATEWAY_UNAVAILABLE"})


class Refused(Exception):
    """The server refuses the request as such: not logged in, not valid GraphQL, or its own bug."""


class NoAnswer(Exception):
    """Nobody knows what became of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One entry of a client's history.

    result: `ok` it was done, `fail` it was refused and nothing was done, `info` nobody knows.
    charge: what the payer is told at the provider; one for each thing that may be paid once.
    seconds: how long the answer took.
    """

    operation: str
    key: str
    charge: str
    result: str
    seconds: float
    payment_id: str | None = None
    version: int | None = None
    status: str | None = None
    replayed: bool = False
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a mutation said."""

    payment: dict[str, Any] | None
    replayed: bool = False
    client_token: str | None = None
    codes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        assert self.payment is not None, f"refused: {self.codes}"
        return str(self.payment["id"])

    @property
    def status(self) -> str:
        assert self.payment is not None, f"refused: {self.codes}"
        return str(self.payment["status"])


@dataclass(slots=True)
class Merchant:
    """Talks to any of `addresses`; keeps everything that was said in `history`."""

    addresses: Sequence[str]
    token: str
    seed: int = 0
    patience: float = 45
    history: list[Said] = field(default_factory=list)
    http: httpx.AsyncClient = field(init=False, repr=False)
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.http = httpx.AsyncClient(
            trust_env=False,
            timeout=15,
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    # ── what a merchant does ─────────────────────────────────────────────────────────────────────

    async def create(
        self,
        key: str,
        *,
        amount: str = "1500",
        gateway: str | None = "mtn",
        phone: str | None = "250788000111",
        description: str | None = None,
        **more: Any,
    ) -> Answer:
        """Creates a payment; without `description` the payer is told the key."""
        charge = description or key
        values: dict[str, Any] = {
            "idempotencyKey": key,
            "amount": {"amount": amount, "currency": "RWF"},
            "description": charge,
            **more,
        }
        if gateway is not None:
            values["method"] = {"gateway": gateway} | ({"phone": phone} if phone else {})
        return await self._insist("createPayment", CREATE, key, charge, values)

    async def attempt(
        self, key: str, payment_id: str, *, charge: str, gateway: str, phone: str | None = None
    ) -> Answer:
        method = {"gateway": gateway} | ({"phone": phone} if phone else {})
        values = {"idempotencyKey": key, "paymentId": payment_id, "method": method}
        return await self._insist("attemptPayment", ATTEMPT, key, charge, values)

    async def confirm(
        self, key: str, payment_id: str, *, charge: str, amount: str, evidence: str
    ) -> Answer:
        values = {
            "idempotencyKey": key,
            "paymentId": payment_id,
            "amount": {"amount": amount, "currency": "RWF"},
            "evidence": evidence,
        }
        return await self._insist("confirmPayment", CONFIRM, key, charge, values)

    async def check(self, payment_id: str) -> Answer:
        return _answer((await self.ask(CHECK, id=payment_id))["answer"])

    async def cancel(self, payment_id: str, reason: str) -> Answer:
        values = {"paymentId": payment_id, "reason": reason}
        return _answer((await self.ask(CANCEL, input=values))["answer"])

    async def save_gateway(
        self, code: str, plugin: str, config: Mapping[str, Any]
    ) -> dict[str, Any]:
        values = {
            "code": code,
            "plugin": plugin,
            "name": code.upper(),
            "environment": "TEST",
            "config": dict(config),
        }
        answer = (await self.ask(SAVE_GATEWAY, input=values))["answer"]
        if answer["userErrors"]:
            raise Refused(answer["userErrors"])
        saved: dict[str, Any] = answer["gateway"]
        return saved

    # ── what a merchant reads ────────────────────────────────────────────────────────────────────

    async def payment(self, payment_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.ask(ONE, id=payment_id))["payment"]
        return found

    async def payments(self) -> list[dict[str, Any]]:
        """All of them, the oldest first."""
        return await self._pages("payments", MANY)

    async def refunds(self) -> list[dict[str, Any]]:
        """All of them, the newest first."""
        return await self._pages("refunds", REFUNDS)

    async def invoices(self) -> list[dict[str, Any]]:
        """Invoices and credit notes, the newest first."""
        return await self._pages("invoices", INVOICES)

    async def events(self, after: str | None = None) -> list[dict[str, Any]]:
        """All about payments and refunds since `after`, in commit order."""
        return await self._events(MISSED, after)

    async def invoice_events(self) -> list[dict[str, Any]]:
        """All about invoices and credit notes, in commit order."""
        return await self._events(MISSED_OF_INVOICES)

    async def _events(self, document: str, after: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            cursor = found[-1]["cursor"] if found else after
            page = (await self.ask(document, after=cursor))["events"]
            found += page
            if len(page) < 100:
                return found

    async def _pages(self, field: str, document: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = (await self.ask(document, after=after))[field]
            found += [edge["node"] for edge in page["edges"]]
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]

    async def transactions(self, payment_id: str) -> list[dict[str, Any]]:
        """The log of a payment, the oldest first."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            answer = await self.ask(TRANSACTIONS, id=payment_id, after=after)
            page = answer["payment"]["transactions"]
            found += [edge["node"] for edge in page["edges"]]
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]

    async def until(
        self, payment_id: str, *statuses: str, seconds: float = 15, attention: str | None = None
    ) -> dict[str, Any]:
        """The payment once it has one of these states. Raises TimeoutError, saying what it is."""
        end = time.monotonic() + seconds
        while True:
            payment = await self.payment(payment_id)
            flagged = attention is None or attention in payment["needsAttention"]
            if payment["status"] in statuses and flagged:
                return payment
            if time.monotonic() > end:
                raise TimeoutError(f"not {statuses} after {seconds} s: {payment}")
            await asyncio.sleep(0.05)

    async def until_gateway(self, address: str, code: str) -> None:
        """Waits until that web process knows the gateway: they remember them for two seconds."""
        alone = replace(self, addresses=[address])
        async with alone:
            known: set[str] = set()
            while code not in known:
                await asyncio.sleep(0.1)
                known = {one["code"] for one in (await alone.ask(GATEWAYS))["gateways"]}

    # ── how it speaks ────────────────────────────────────────────────────────────────────────────

    async def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """Asks until there is an answer. Raises Refused, and NoAnswer when patience is over."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return await self.ask_once(document, **variables)
            except NoAnswer:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(self._random.uniform(0.02, 0.2))

    async def ask_once(self, document: str, **variables: Any) -> dict[str, Any]:
        """One request. Raises NoAnswer when trying again is right, Refused otherwise."""
        address = self._random.choice(self.addresses)
        try:
            response = await self.http.post(
                f"{address}/graphql",
                json={"query": with_fragments(document), "variables": variables},
                headers=self._headers(address),
            )
        except httpx.HTTPError as error:
            raise NoAnswer(repr(error)) from error
        if response.status_code in (429, 502, 503, 504):
            raise NoAnswer(f"HTTP {response.status_code}: {response.text[:300]}")
        try:
            body = response.json()
        except ValueError as error:
            raise Refused(f"HTTP {response.status_code}: {response.text[:300]}") from error
        if errors := body.get("errors"):
            codes = {error.get("extensions", {}).get("code") for error in errors}
            raise (NoAnswer if codes <= TRY_AGAIN else Refused)(str(errors))
        data: dict[str, Any] = body["data"]
        return data

    def _headers(self, _address: str) -> dict[str, str]:
        """Who we are."""
        return {"Authorization": f"Bearer {self.token}"}

    async def _insist(
        self, operation: str, document: str, key: str, charge: str, values: Mapping[str, Any]
    ) -> Answer:
        """Repeats a mutation under its key until it is clear what became of it."""
        end = time.monotonic() + self.patience
        while True:
            began = time.monotonic()
            try:
                answer = _answer((await self.ask_once(document, input=values))["answer"])
            except NoAnswer as error:
                answer, why = None, str(error)
            said = _said(operation, key, charge, answer, time.monotonic() - began)
            self.history.append(said)
            if answer is not None and said.result != "info":
                return answer
            if time.monotonic() > end:
                raise NoAnswer(f"{operation} {key}: {answer.codes if answer else why}")
            await asyncio.sleep(self._random.uniform(0.02, 0.3))


def with_fragments(document: str) -> str:
    """The document with the fragments it uses: an unused one is an error in GraphQL."""
    head, _, attempts = PAYMENT.partition("fragment A")
    return (
        document
        + (head if "...P" in document else "")
        + (f"fragment A{attempts}" if "...A" in document else "")
    )


def _answer(payload: Mapping[str, Any]) -> Answer:
    return Answer(
        payment=payload["payment"],
        replayed=payload.get("replayed", False),
        client_token=payload.get("clientToken"),
        codes=tuple(error["code"] for error in payload["userErrors"]),
    )


def _said(operation: str, key: str, charge: str, answer: Answer | None, seconds: float) -> Said:
    if answer is None or (answer.codes and set(answer.codes) <= TRY_AGAIN):
        result = "info"
    else:
        result = "fail" if answer.codes else "ok"
    payment = answer.payment if answer else None
    return Said(
        operation=operation,
        key=key,
        charge=charge,
        result=result,
        seconds=seconds,
        payment_id=payment["id"] if payment else None,
        version=payment["version"] if payment else None,
        status=payment["status"] if payment else None,
        replayed=answer.replayed if answer else False,
        codes=answer.codes if answer else (),
    )
