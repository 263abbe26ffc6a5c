"""What gateway hooks are given and what they give back.

A plugin author needs this module and `hookspecs`, nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import httpx
import structlog
from pydantic import BaseModel, ConfigDict, Field

from dusangire.money import Money
from dusangire.phone import PhoneNumber
from dusangire.statements import AccountKind
from dusangire.tokens import TokenCache

JSON: TypeAlias = Any
Clock: TypeAlias = Callable[[], datetime]


class Environment(StrEnum):
    """Whether a gateway account moves real money."""

    TEST = "TEST"
    LIVE = "LIVE"


class FailureCode(StrEnum):
    """Why money did not move. The gateway's own word stays beside it."""

    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    DECLINED_BY_PAYER = "DECLINED_BY_PAYER"
    PAYER_TIMEOUT = "PAYER_TIMEOUT"
    WRONG_PIN = "WRONG_PIN"
    PAYER_NOT_FOUND = "PAYER_NOT_FOUND"
    PAYER_LIMIT_REACHED = "PAYER_LIMIT_REACHED"
    PAYER_BLOCKED = "PAYER_BLOCKED"
    AMOUNT_OUT_OF_LIMITS = "AMOUNT_OUT_OF_LIMITS"
    CARD_DECLINED = "CARD_DECLINED"
    AUTHENTICATION_FAILED = "AUTHENTICATION_FAILED"
    NOT_SENT = "NOT_SENT"
    GATEWAY_ERROR = "GATEWAY_ERROR"
    GATEWAY_CONFIGURATION = "GATEWAY_CONFIGURATION"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    OTHER = "OTHER"


# ── what the payer does next: a closed set ───────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveOnPhone:
    """A prompt waits on the payer's phone."""

    phone: PhoneNumber
    message: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowLink:
    """The payer continues on the provider's page."""

    url: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferToAccount:
    """The payer transfers `amount` and quotes `reference`.

    instructions: what to do, in words, by language: `rw`, `en`, `fr`.
    """

    bank_name: str
    account_name: str
    account_number: str
    reference: str
    amount: Money
    swift_code: str | None = None
    expires_at: datetime | None = None
    instructions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PayInPerson:
    """The payer hands `amount` over in person."""

    message: str
    amount: Money


NextAction: TypeAlias = ApproveOnPhone | FollowLink | TransferToAccount | PayInPerson


# ── the five outcomes, and nothing else ──────────────────────────────────────────────────────────
# `reference` is the reference the gateway's answer was about, as the answer itself says it; a
# plugin whose provider does not repeat it gives the one it asked with. Core compares it, the
# amount and the currency with what was sent, on every answer, so that no plugin can forget to.


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The gateway has it and has not decided. From `check_payment`: still undecided.

    unmapped: the gateway's status word, when it is one we do not know. Unknown words are pending.
    plugin_data: kept with the attempt and handed back with it.
    """

    next_action: NextAction | None = None
    expires_at: datetime | None = None
    reference: str | None = None
    unmapped: str | None = None
    plugin_data: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentToken:
    """What charges this payer again without their typing anything.

    secret: the provider's token. Core keeps it encrypted, and only with the payer's consent.
    label: what the payer knows it by, such as "Visa •••• 4242".
    """

    secret: str = field(repr=False)
    label: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The money moved: `amount` as the gateway says it, never as we asked for it.

    token: what the provider gave for charging this payer again, if it gave anything.
    """

    amount: Money
    reference: str
    gateway_transaction_id: str | None = None
    fee: Money | None = None
    token: PaymentToken | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The gateway said no, for good: no money moved and none will under this reference."""

    code: FailureCode
    message: str
    gateway_code: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """It certainly never reached the gateway: sending the same reference again is safe.

    From `check_payment` and `check_refund`: the gateway does not know the reference. Core asks
    several times before it believes that, since some gateways answer so for a moment after
    accepting.
    retry_after: the gateway's wish, if it had one.
    """

    cause: str
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It may or may not have happened: ask, never send again.

    gateway_code: the provider's code, when it gave one. Codes that the description's `codes` lack
        are counted, and shown to staff.
    """

    cause: str
    gateway_code: str | None = None


Outcome: TypeAlias = Accepted | Succeeded | Failed | NotSent | Unknown


# ── what a gateway is ────────────────────────────────────────────────────────────────────────────


class GatewayConfig(BaseModel):
    """The settings every gateway has. A plugin's config derives from this and adds its own.

    Secrets are `SecretStr`: they are encrypted at rest and never shown again.
    `min_amount` and `max_amount` are in major units, per payment, and checked before anything is
    sent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field("RWF", description="ISO 4217 code of the account's currency.")
    min_amount: Decimal | None = Field(None, description="Smallest payment, in major units.")
    max_amount: Decimal | None = Field(None, description="Largest payment, in major units.")


class NoDetails(BaseModel):
    """A gateway that asks the payer for nothing beyond phone and e-mail."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSchedule:
    """When an open attempt is asked about: after each of `first`, then every `then` (seconds)."""

    first: tuple[float, ...] = (5, 10, 20, 40)
    then: float = 60


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a provider's code means.

    failure: why no money moved; None when the code ends nothing and the gateway is asked.
    text: for the merchant's staff, in English. Payers read `dusangire.failures`.
    """

    failure: FailureCode | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDescription:
    """What a plugin is, in one value. What it can do is not said here: it is what it implements.

    needs_phone: the payer's phone number must be given.
    partial_refunds: the provider takes a part of a payment back, if `refund_payment` exists.
    repeatable_refunds: the provider pays a refund of the same reference only once, however often
        it is sent. Where it does not promise that, no machine ever sends a refund again.
    codes: every code of the provider's that is known, and what it means.
    call_timeout: seconds one hook call may take before its outcome is Unknown.
    concurrency: calls to one account at a time; more wait.
    statement: what the provider's own statements tell of: a WALLET that holds what was paid at
        once, an account at a BANK, or a SETTLEMENT that is paid out to a bank later.
    example_config: a config that works against the plugin's simulator. `base_url` is filled in
        by whoever mounts the simulator. The demo offers every gateway that has one.
    """

    name: str
    config: type[GatewayConfig]
    details: type[BaseModel] = NoDetails
    brand_color: str | None = None
    needs_phone: bool = False
    partial_refunds: bool = True
    repeatable_refunds: bool = True
    codes: Mapping[str, Meaning] = field(default_factory=dict)
    check_schedule: CheckSchedule = CheckSchedule()
    call_timeout: float = 60
    concurrency: int = 16
    statement: AccountKind = AccountKind.WALLET
    example_config: Mapping[str, JSON] | None = None


ConfigT = TypeVar("ConfigT", bound=GatewayConfig)


class History(Protocol):
    """What is known of a payer, for control plugins."""

    async def paid(self, attempt: "Attempt", *, since: datetime) -> Money:
        """What the payer's other attempts since then come to, in this one's currency.

        Those that succeeded, and those that still may. The payer is known by the customer
        reference or the phone number.
        """
        ...


class _NoHistory:
    """Of a payer who is new."""

    async def paid(self, attempt: "Attempt", *, since: datetime) -> Money:
        return Money(0, attempt.amount.currency)


_NO_HISTORY = _NoHistory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway(Generic[ConfigT]):
    """A configured account at a provider, with everything that has state. Hooks keep none.

    http: an httpx client whose calls are timed, masked and kept in the payment's log. Its base
        URL is `config.base_url` where the config has one.
    tokens: a cache for access tokens that asks for each only once, however many wait.
    webhook_url: where the provider shall send its webhooks; None when nobody can reach us.
    public_url: our own address as payers reach it, without a slash at the end; None as above.
        `{public_url}/return/{attempt.payment_reference}` is where a hosted page sends them back.
    history: what the payer paid before.
    note: `gateway.note("risk", 0.7)` keeps a remark with this call in the payment's log.
    clock: the time now, with its zone.
    log: a structlog logger that masks secrets and phone numbers.
    """

    code: str
    environment: Environment
    config: ConfigT
    http: httpx.AsyncClient
    tokens: TokenCache
    webhook_url: str | None
    clock: Clock
    log: structlog.typing.FilteringBoundLogger
    public_url: str | None = None
    history: History = field(default_factory=lambda: _NO_HISTORY)
    note: Callable[[str, JSON], None] = lambda _name, _value: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to move money from the payer: what a gateway needs to know of it.

    reference: a random UUID version 4, stored before the call: the only id to send. The same
        attempt always has the same.
    payment_reference: for people, such as PAY-7K3M9Q2X.
    expires_at: when the payment's time is over; None: never.
    customer: the merchant's own reference of the customer, when the payment names one.
    keeps_method: the payer agreed that this method is kept for the next time.
    uses_stored_method: it is paid with a method that was kept before: the payer types in nothing.
    details: what the payer gave, validated by the description's `details` model.
    plugin_data: what the plugin left with its last Accepted.
    """

    reference: str
    payment_reference: str
    amount: Money
    created_at: datetime
    phone: PhoneNumber | None = None
    email: str | None = None
    description: str | None = None
    order_reference: str | None = None
    return_url: str | None = None
    gateway_transaction_id: str | None = None
    expires_at: datetime | None = None
    customer: str | None = None
    keeps_method: bool = False
    uses_stored_method: bool = False
    details: Mapping[str, JSON] = field(default_factory=dict)
    plugin_data: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money to give back: `amount` of `attempt`, which succeeded.

    reference: a random UUID version 4 of the refund itself, stored before the call.
    """

    reference: str
    refund_reference: str
    attempt: Attempt
    amount: Money
    reason: str
    created_at: datetime
    plugin_data: Mapping[str, JSON] = field(default_factory=dict)


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """What arrived: the raw bytes (at most 256 KiB) and the headers with lower-case names."""

    method: str
    headers: Mapping[str, str]
    body: bytes


class Trust(StrEnum):
    """How far a webhook can be believed. Only a SIGNED one may carry an outcome."""

    SIGNED = "SIGNED"
    SHARED_SECRET = "SHARED_SECRET"  # noqa: S105 - a word, not a secret
    UNSIGNED = "UNSIGNED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The exact answer that the provider expects."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a webhook says.

    reference: our attempt's (or refund's) reference; None when it names none.
    dedupe_key: equal for repetitions of the same message, different for different ones.
    outcome: only with Trust.SIGNED; anything else is a hint to ask.
    """

    reference: str | None
    trust: Trust
    dedupe_key: str
    outcome: Outcome | None = None
    reply: Reply = Reply()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """Whether a configuration works, and in words what is wrong and what to do."""

    __test__ = False  # not a test class, whatever its name looks like to pytest

    ok: bool
    message: str
