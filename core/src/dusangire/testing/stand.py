"""A gateway on the test stand: as core runs it, against its simulator, over the faulty line."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import httpx
import pytest
import structlog
from pydantic import SecretStr

from dusangire.errors import WebhookRejected
from dusangire.exchanges import open_client, secret_values
from dusangire.gateway import (
    JSON,
    Accepted,
    Attempt,
    Environment,
    Failed,
    Gateway,
    GatewayConfig,
    Heard,
    NotSent,
    Outcome,
    Refund,
    Succeeded,
    WebhookRequest,
)
from dusangire.lifecycle import (
    AttemptState,
    AttemptStatus,
    Change,
    PaymentState,
    PaymentStatus,
    Timing,
    TransactionKind,
    decide,
)
from dusangire.masking import hiding, mask_log
from dusangire.money import Money
from dusangire.phone import parse_phone
from dusangire.plugins import Capability, Plugin, Plugins
from dusangire.testing.line import (
    Answer,
    Carried,
    Line,
    Request,
    Strikes,
    inside,
    listen,
)
from dusangire.tokens import TokenCache

if TYPE_CHECKING:
    from starlette.types import ASGIApp

Payer: TypeAlias = Mapping[str, JSON]


def payer(**given: JSON) -> Payer:
    """What a payer types in: payer(phone="+250788123456")."""
    return MappingProxyType(given)


NOWHERE = "http://127.0.0.1:9"
TIMEOUT = 5.0
# Simulated payers take seconds to decide; a hundredth of that is enough for a test.
_SCALE = 0.01
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What the provider says really became of one request to move money. Amount in major units."""

    reference: str
    amount: Decimal
    currency: str
    status: str
    moves: int
    requests: int
    original: str | None

    @property
    def is_refund(self) -> bool:
        return self.original is not None


def after(
    payment: PaymentState, attempt: AttemptState, change: Change
) -> tuple[PaymentState, AttemptState]:
    """What a change makes of the two, as core writes it down."""
    attention = payment.attention | ({change.attention} if change.attention else set())
    return (
        replace(
            payment,
            status=change.payment_status,
            captured=payment.captured + change.captured,
            attention=attention,
        ),
        replace(
            attempt,
            status=change.attempt_status,
            checks=change.checks,
            late=change.late,
            resend=change.resend,
            not_found=change.not_found,
            not_found_since=change.not_found_since,
        ),
    )


@dataclass(slots=True)
class Case:
    """One payment at the gateway, kept as core keeps it."""

    stand: "Stand"
    attempt: Attempt
    payment: PaymentState
    state: AttemptState
    outcome: Outcome | None = None

    @property
    def reference(self) -> str:
        return self.attempt.reference

    @property
    def paid(self) -> bool:
        return self.payment.status is PaymentStatus.SUCCEEDED

    async def initiate(self, gateway: Gateway[Any] | None = None) -> Outcome:
        plugin, gateway = self.stand.plugin, gateway or self.stand.gateway
        outcome = await plugin.initiate_payment(gateway, self.attempt)
        self.hear(outcome, TransactionKind.INITIATE)
        return outcome

    async def charge(self, token: str, gateway: Gateway[Any] | None = None) -> Outcome:
        """Initiates it with a kept method."""
        plugin, gateway = self.stand.plugin, gateway or self.stand.gateway
        self.attempt = replace(self.attempt, uses_stored_method=True)
        with hiding(token):
            outcome = await plugin.charge_token(gateway, self.attempt, token)
        self.hear(outcome, TransactionKind.INITIATE)
        return outcome

    async def ask(self, gateway: Gateway[Any] | None = None) -> Outcome:
        plugin, gateway = self.stand.plugin, gateway or self.stand.gateway
        outcome = await plugin.check_payment(gateway, self.attempt)
        self.hear(outcome, TransactionKind.STATUS_CHECK)
        return outcome

    async def cancel(self) -> Outcome:
        outcome = await self.stand.plugin.cancel_payment(self.stand.gateway, self.attempt)
        self.hear(outcome, TransactionKind.CANCEL)
        return outcome

    async def settle(self) -> Outcome:
        """Waits until the provider has decided, and gives what the gateway says of it."""
        await self.stand.quiet(self.reference)
        outcome = await self.ask()
        until = time.monotonic() + (0.5 if self.stand.line else _PATIENCE)
        while not isinstance(outcome, Succeeded | Failed) and time.monotonic() < until:
            await asyncio.sleep(0.05)
            outcome = await self.ask()
        return outcome

    def hear(self, outcome: Outcome, kind: TransactionKind) -> Change:
        """What core makes of an outcome, with its integrity check."""
        can_ask = Capability.STATUS_CHECK in self.stand.plugin.capabilities
        timing = Timing(now=self.stand.gateway.clock(), can_ask=can_ask)
        change = decide(self.payment, self.state, outcome, kind, timing)
        self.payment, self.state = after(self.payment, self.state, change)
        self.outcome = outcome
        if isinstance(outcome, Accepted) and outcome.plugin_data:
            self.attempt = replace(self.attempt, plugin_data=outcome.plugin_data)
        if isinstance(outcome, Succeeded):
            if outcome.token:
                self.stand.kept.add(outcome.token.secret)
            self.attempt = replace(
                self.attempt, gateway_transaction_id=outcome.gateway_transaction_id
            )
        return change


@dataclass(slots=True)
class Stand:
    """`plugin` with a configured `gateway`, the `line` to its simulator, and its webhooks.

    line: None for a plugin without a simulator.
    logged: what went through the gateway's logger, masked as core masks it.
    kept: tokens that charge a payer again, as the provider gave them out.
    """

    plugin: Plugin
    gateway: Gateway[Any]
    line: Line | None = None
    logged: list[dict[str, Any]] = field(default_factory=list)
    received: list[WebhookRequest] = field(default_factory=list)
    _simulator: httpx.AsyncClient | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    kept: set[str] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        plugin: Plugin,
        config: Mapping[str, JSON] | None = None,
        *,
        reachable: bool = True,
        simulated: bool = True,
    ) -> AsyncIterator["Stand"]:
        """Everything running. `config` goes over the plugin's example.

        reachable: whether there is an address for webhooks; a laptop has none.
        simulated: whether its simulator is the provider, if it has one.
        """
        async with AsyncExitStack() as stack:
            logged: list[dict[str, Any]] = []
            received: list[WebhookRequest] = []

            async def catch(request: Request) -> Answer:
                received.append(_webhook(request))
                return Answer(status=200)

            webhook_url = None
            # As in core: who does not listen has no address to give away.
            if reachable and plugin.implements("read_webhook"):
                webhook_url = await stack.enter_async_context(listen(catch)) + "/webhooks"
            values: Mapping[str, JSON] = {
                **(plugin.description.example_config or {}),
                **(config or {}),
            }
            line = simulator = None
            if simulated and plugin.implements("simulator"):
                app = _simulator(plugin, values, webhook_url, logged)
                line = await stack.enter_async_context(Line.to(app))
                simulator = await stack.enter_async_context(inside(app))
            gateway = _gateway(
                plugin, _based(plugin, values, line.url if line else None), webhook_url, logged
            )
            stack.push_async_callback(gateway.http.aclose)
            stand = cls(plugin, gateway, line, logged, received, simulator, stack)
            if line is not None:
                await stand.control("reset")
                await stand.control("settings", scale=_SCALE)
            yield stand

    def line_(self) -> Line:
        """The line, of a plugin that has one."""
        assert self.line is not None
        return self.line

    # ── a payment ────────────────────────────────────────────────────────────────────────────────

    def case(self, payer: Payer, amount: Money, *, keeps_method: bool = False) -> Case:
        """A payment that nobody has asked for yet."""
        given = dict(payer)
        phone, email = given.pop("phone", None), given.pop("email", None)
        details = self.plugin.description.details.model_validate(given)
        attempt = Attempt(
            reference=str(uuid.uuid4()),
            payment_reference=f"PAY-{uuid.uuid4().hex[:8].upper()}",
            amount=amount,
            created_at=self.gateway.clock(),
            phone=None if phone is None else parse_phone(phone),
            email=email,
            description="Two bags of coffee",
            return_url="https://shop.example.rw/thanks",
            keeps_method=keeps_method,
            details=details.model_dump(mode="json"),
        )
        state = AttemptState(
            status=AttemptStatus.SUBMITTING,
            reference=attempt.reference,
            amount=amount,
            created_at=attempt.created_at,
        )
        return Case(self, attempt, PaymentState(status=PaymentStatus.PENDING), state)

    def refund(self, case: Case, amount: int) -> Refund:
        """A refund of `amount` minor units that nobody has asked for yet."""
        return Refund(
            reference=str(uuid.uuid4()),
            refund_reference=f"REF-{uuid.uuid4().hex[:8].upper()}",
            attempt=case.attempt,
            amount=Money(amount, case.attempt.amount.currency),
            reason="A bag was torn",
            created_at=self.gateway.clock(),
        )

    async def give_back(self, refund: Refund, gateway: Gateway[Any] | None = None) -> Outcome:
        """Asks for a refund and waits for its end."""
        gateway = gateway or self.gateway
        outcome = await self.plugin.refund_payment(gateway, refund)
        if isinstance(outcome, Succeeded | Failed) or not self.plugin.implements("check_refund"):
            return outcome
        if isinstance(outcome, Accepted):
            refund = replace(refund, plugin_data=outcome.plugin_data)
        await self.quiet(refund.reference)
        outcome = await self.plugin.check_refund(gateway, refund)
        until = time.monotonic() + 0.5
        while not isinstance(outcome, Succeeded | Failed | NotSent) and time.monotonic() < until:
            await asyncio.sleep(0.05)
            outcome = await self.plugin.check_refund(gateway, refund)
        return outcome

    # ── other circumstances ──────────────────────────────────────────────────────────────────────

    def elsewhere(
        self,
        *,
        base_url: str | None = None,
        timeout: float = TIMEOUT,
        forget_tokens: bool = False,
        wrong_secrets: bool = False,
    ) -> Gateway[Any]:
        """The same account at another address, with less patience, or with wrong credentials."""
        config: GatewayConfig = self.gateway.config
        changes: dict[str, Any] = {} if base_url is None else {"base_url": base_url}
        if wrong_secrets:
            changes |= _wrong(config)
        config = config.model_copy(update=changes)
        http = _client(config, timeout)
        self._stack.push_async_callback(http.aclose)
        tokens = TokenCache(self.gateway.clock) if forget_tokens else self.gateway.tokens
        return replace(self.gateway, config=config, http=http, tokens=tokens)

    def impatient(self, seconds: float) -> Plugin:
        """The plugin with another limit for one call."""
        description = replace(self.plugin.description, call_timeout=seconds)
        return replace(self.plugin, description=description)

    async def money_asked(self) -> Strikes:
        """Strikes at the answer of the request that moves money, and at its repetitions."""
        known = sum(moved.requests for moved in await self.truth())
        struck: set[tuple[str, str]] = set()

        async def strikes(carried: Carried) -> bool:
            request = (carried.request.method, carried.request.target)
            if sum(moved.requests for moved in await self.truth()) > known:
                struck.add(request)
            return request in struck

        return strikes

    # ── the truth ────────────────────────────────────────────────────────────────────────────────

    async def truth(self) -> list[Moved]:
        """Every request to move money that the provider knows."""
        assert self._simulator is not None
        answer = await self._simulator.get("/_control/truth")
        answer.raise_for_status()
        return [
            Moved(
                reference=told["reference"],
                amount=Decimal(told["amount"]),
                currency=told["currency"],
                status=told["status"],
                moves=told["moves"],
                requests=told["requests"],
                original=told["original"],
            )
            for told in answer.json()["transactions"]
        ]

    async def payments(self) -> list[Moved]:
        return [moved for moved in await self.truth() if not moved.is_refund]

    async def paid(self) -> list[Moved]:
        return [moved for moved in await self.payments() if moved.moves]

    async def given_back(self) -> Decimal:
        """All that went back, in major units."""
        refunds = [moved for moved in await self.truth() if moved.is_refund]
        return sum((moved.amount * moved.moves for moved in refunds), Decimal(0))

    async def refunded(self) -> list[int]:
        """How many times each refund moved money."""
        return [moved.moves for moved in await self.truth() if moved.is_refund and moved.moves]

    async def approve(self, case: Case) -> None:
        """The payer taps on "approve", if there is anything to tap on."""
        assert self._simulator is not None
        decision = {"reference": case.reference, "decision": "approve"}
        answer = await self._simulator.post("/_control/decide", json=decision)
        assert answer.status_code < 500, f"The simulator answered {answer.status_code}."

    async def control(self, path: str, **values: JSON) -> None:
        """Posts to the simulator's control API."""
        assert self._simulator is not None
        answer = await self._simulator.post(f"/_control/{path}", json=values)
        answer.raise_for_status()

    async def quiet(self, reference: str | None = None) -> None:
        """Waits until the provider has decided about `reference`, or about everything."""
        if self.line is None:
            return
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            about = [m for m in await self.truth() if reference in {None, m.reference}]
            if all(moved.status != "PENDING" for moved in about):
                return
            await asyncio.sleep(0.01)

    # ── webhooks ─────────────────────────────────────────────────────────────────────────────────

    async def webhook(self, case: Case) -> WebhookRequest:
        """The last webhook about `case`; fails when none comes."""
        until = time.monotonic() + _PATIENCE
        await self.quiet(case.reference)
        while time.monotonic() < until:
            for request in reversed(self.received):
                heard = self.read(request)
                if isinstance(heard, Heard) and heard.reference == case.reference:
                    return request
            await asyncio.sleep(0.01)
        pytest.fail(
            f"No webhook that names {case.reference} came to {self.gateway.webhook_url}; "
            f"{len(self.received)} others did."
        )

    def read(self, request: WebhookRequest) -> Heard | WebhookRejected:
        try:
            return self.plugin.read_webhook(self.gateway, request)
        except WebhookRejected as rejected:
            return rejected

    # ── what can be seen ─────────────────────────────────────────────────────────────────────────

    @property
    def crashes(self) -> list[str]:
        """What core had to catch: exceptions and nonsense out of hooks."""
        return [
            json.dumps(event, default=str)
            for event in self.logged
            if event.get("event") in {"hook raised", "hook answered nonsense"}
        ]


def load(module: object) -> Plugin:
    """`module` as core loads it."""
    name = getattr(module, "__name__", type(module).__name__).rpartition(".")[0] or "plugin"
    plugins = Plugins.load({name: module}, installed=())
    assert plugins.gateways, f"{module!r} has no describe_gateway hook. Is it marked @hookimpl?"
    return plugins[name]


def _simulator(
    plugin: Plugin,
    values: Mapping[str, JSON],
    webhook_url: str | None,
    logged: list[dict[str, Any]],
) -> "ASGIApp":
    app = plugin.simulator(_gateway(plugin, _based(plugin, values, NOWHERE), webhook_url, logged))
    assert app is not None, "The simulator hook gave None."
    return app


def _based(plugin: Plugin, values: Mapping[str, JSON], url: str | None) -> Mapping[str, JSON]:
    if url is None or "base_url" not in plugin.description.config.model_fields:
        return values
    return {**values, "base_url": url}


def _gateway(
    plugin: Plugin,
    values: Mapping[str, JSON],
    webhook_url: str | None,
    logged: list[dict[str, Any]],
) -> Gateway[Any]:
    def clock() -> datetime:
        return datetime.now(UTC)

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> NoReturn:
        logged.append(dict(event))
        raise structlog.DropEvent

    config = plugin.description.config.model_validate(values)
    return Gateway(
        code=plugin.name,
        environment=Environment.TEST,
        config=config,
        http=_client(config, TIMEOUT),
        tokens=TokenCache(clock),
        webhook_url=webhook_url,
        clock=clock,
        log=structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[structlog.processors.format_exc_info, _mask, keep],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            cache_logger_on_first_use=True,
        ),
    )


def _mask(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return mask_log(logger, method, dict(event))


def _client(config: GatewayConfig, timeout: float) -> httpx.AsyncClient:
    # Everything here is plain HTTP on this machine; loading certificates would take the most time.
    transport = httpx.AsyncHTTPTransport(verify=False)
    base_url = getattr(config, "base_url", "")
    return open_client(base_url, secrets=secrets(config), transport=transport, timeout=timeout)


def secrets(config: GatewayConfig) -> list[str]:
    """The secret values of a config."""
    return secret_values(config)


def _wrong(config: GatewayConfig) -> Iterable[tuple[str, Any]]:
    """Each secret with another last character: of the right form, and useless."""
    for name, value in vars(config).items():
        if isinstance(value, SecretStr) and value:
            secret = value.get_secret_value()
            yield name, SecretStr(secret[:-1] + ("0" if secret[-1] != "0" else "1"))


def _webhook(request: Request) -> WebhookRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
    return WebhookRequest(method=request.method, headers=headers, body=request.body)
