"""The hooks: everything a plugin can tell or do. This page is the map.

A gateway plugin implements `describe_gateway`, `initiate_payment` and whatever else its provider
can do, as `@hookimpl` functions of one module. What it implements is what it can do: nothing is
declared twice. Hooks that talk to the provider are coroutines; the others are plain functions
without I/O. docs/hooks.md has a page for each.

A control plugin wraps hooks of all gateways with `@hookimpl(wrapper=True)`.

A channel plugin implements `describe_channel` and `send_message`: it tells people what happened.

A plugin that reads statements implements `statement_formats`; a gateway may, for its own reports.

A fiscal plugin implements `describe_fiscal_device`, `initialize_fiscal_device`, `declare_item` and
`sign_document`: it has a tax authority's device sign what was sold.
"""

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from dusangire import hookspec
from dusangire.channels import ChannelDescription, Delivery, Message
from dusangire.fiscal import (
    FiscalDescription,
    FiscalDevice,
    FiscalDocument,
    FiscalItem,
    FiscalSimulator,
    InitialOutcome,
    ItemOutcome,
    SigningOutcome,
)
from dusangire.gateway import (
    Attempt,
    Gateway,
    GatewayConfig,
    GatewayDescription,
    Heard,
    Outcome,
    Refund,
    TestReport,
    WebhookRequest,
)
from dusangire.statements import MappingProfile, StatementFormat

if TYPE_CHECKING:
    from starlette.types import ASGIApp


@hookspec(firstresult=True)
def describe_gateway() -> GatewayDescription | None:
    """Name, colour, config and payer input of the payment method."""


@hookspec(firstresult=True)
def initiate_payment(
    gateway: Gateway[GatewayConfig], attempt: Attempt
) -> Awaitable[Outcome] | None:
    """Ask the provider to move the money."""


@hookspec(firstresult=True)
def charge_token(
    gateway: Gateway[GatewayConfig], attempt: Attempt, token: str
) -> Awaitable[Outcome] | None:
    """As initiate_payment, for a payer who comes back: charge what was kept as a PaymentToken."""


@hookspec(firstresult=True)
def check_payment(gateway: Gateway[GatewayConfig], attempt: Attempt) -> Awaitable[Outcome] | None:
    """Ask the provider what became of it."""


@hookspec(firstresult=True)
def cancel_payment(gateway: Gateway[GatewayConfig], attempt: Attempt) -> Awaitable[Outcome] | None:
    """Withdraw it. Failed(CANCELLED): withdrawn for certain. Succeeded: it was too late."""


@hookspec(firstresult=True)
def check_payer(
    gateway: Gateway[GatewayConfig], attempt: Attempt
) -> Awaitable[Outcome | None] | None:
    """Look before asking: Failed when this payer certainly cannot pay, None otherwise."""


@hookspec(firstresult=True)
def refund_payment(gateway: Gateway[GatewayConfig], refund: Refund) -> Awaitable[Outcome] | None:
    """Ask the provider to give money back."""


@hookspec(firstresult=True)
def check_refund(gateway: Gateway[GatewayConfig], refund: Refund) -> Awaitable[Outcome] | None:
    """Ask the provider what became of a refund."""


@hookspec(firstresult=True)
def read_webhook(gateway: Gateway[GatewayConfig], request: WebhookRequest) -> Heard | None:
    """Verify and translate what the provider sent. Pure: no I/O. Raises WebhookRejected."""


@hookspec(firstresult=True)
def test_gateway(gateway: Gateway[GatewayConfig]) -> Awaitable[TestReport] | None:
    """Try the configuration without moving money, and say in words what is wrong."""


@hookspec(firstresult=True)
def simulator(gateway: Gateway[GatewayConfig]) -> "ASGIApp | None":
    """An app that behaves like the provider, for laptops and tests."""


@hookspec(firstresult=True)
def describe_channel() -> ChannelDescription | None:
    """A way to reach people and what it needs; None: not configured. Raises CannotStart."""


@hookspec(firstresult=True)
def send_message(message: Message) -> Awaitable[Delivery] | None:
    """Send one message to one recipient, and say what became of it."""


@hookspec(firstresult=True)
def describe_fiscal_device() -> FiscalDescription | None:
    """The device that signs receipts; None: not configured. Raises CannotStart."""


@hookspec(firstresult=True)
def initialize_fiscal_device(device: FiscalDevice) -> Awaitable[InitialOutcome] | None:
    """Make the device ready, once, and say which number it was last given."""


@hookspec(firstresult=True)
def declare_item(device: FiscalDevice, item: FiscalItem) -> Awaitable[ItemOutcome] | None:
    """Tell the device of something that is sold, before its first sale."""


@hookspec(firstresult=True)
def sign_document(
    device: FiscalDevice, document: FiscalDocument
) -> Awaitable[SigningOutcome] | None:
    """Declare one sale or refund, and bring back its receipt."""


@hookspec(firstresult=True)
def fiscal_simulator(base_url: str) -> FiscalSimulator | None:
    """A device for laptops and tests, which answers at `base_url`."""


@hookspec
def statement_formats() -> Sequence[StatementFormat | MappingProfile] | None:
    """Formats of statement files, and how the columns of known tables are to be read."""
