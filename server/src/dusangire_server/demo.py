"""The demo: everything on this machine, with simulated gateways, sample data and things to try."""

import asyncio
import os
import re
import shlex
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx
import orjson
from starlette.types import ASGIApp

from dusangire import payments, queries
from dusangire.access import OPERATOR, create_api_key
from dusangire.core import Core, open_core
from dusangire.cursors import position_cursor
from dusangire.database import migrate
from dusangire.errors import CannotStart, GatewayNotFound, NotFound, Unauthenticated
from dusangire.gateway import TransferToAccount
from dusangire.gateways import Account
from dusangire.intake import ConfirmPayment, CreatePayment, CustomerInput, MethodInput
from dusangire.invoicing import merchant
from dusangire.lifecycle import PaymentStatus
from dusangire.masking import HIDDEN
from dusangire.people import staff
from dusangire.permissions import Role, Scope
from dusangire.plugins import Capability, Plugin
from dusangire.records import Payment
from dusangire.settings import Settings
from dusangire_server.app import build_app
from dusangire_server.web import Web

_HOST = "127.0.0.1"
# Only the demo has people whom nobody made.
ADMIN, APPROVER = "admin@demo.test", "approver@demo.test"

# Nobody has paid here with real money, so nobody is kept waiting at the end.
_GRACE = 1.0
_READY_WITHIN = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """Something to try: a sentence, and a command for bash."""

    about: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What there is, once everything is ready. simulators: a page for each, by gateway.

    login_url, approver_url: each signs somebody in once; an administrator, and the second person
        whom a refund needs. statement: a file of the bank's, to be imported, if there is a bank.
    """

    graphql_url: str
    login_url: str
    approver_url: str
    api_key: str
    simulators: Mapping[str, str]
    statement: str | None
    tries: tuple[Try, ...]


async def run(
    settings: Settings, url: str, listener: socket.socket, greet: Callable[[Welcome], None]
) -> None:
    """The demo until SIGINT or SIGTERM. greet: called when everything is ready.

    Raises CannotStart.
    """
    if settings.live:
        raise CannotStart("The demo has simulated gateways only: unset DUSANGIRE_ENVIRONMENT.")
    address = "http://{}:{}".format(*listener.getsockname())
    settings = replace(settings, public_url=settings.public_url or address, loopback_webhooks=True)
    await migrate(url)
    async with open_core(settings, url) as core:
        await _name_merchant()
        simulated = await _configure(core, address)
        # Beside the gateways', but nobody approves anything there.
        fiscal = core.plugins.simulate_fiscal(f"{address}/simulators")
        app = build_app(core, simulators=simulated | dict([fiscal] if fiscal else []))

        async def welcome() -> None:
            await _until_ready(address)
            await _make_samples(core)
            greet(await _welcome(core, address, simulated))

        web = Web(listener=listener, with_worker=True, grace=_GRACE)
        await web.run(core, url, app, welcome)


async def _until_ready(address: str) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:  # noqa: S501 - it is us
        async with asyncio.timeout(_READY_WITHIN):
            while (await http.get(f"{address}/ready")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def _name_merchant() -> None:
    """Somebody whose name stands on invoices, unless there is one."""
    if await merchant.load() is None:
        await merchant.save(
            OPERATOR,
            {
                "name": "Demo Shop Ltd",
                "tin": "999991130",
                "address": "KG 7 Ave\nKigali, Rwanda",
                "vat_registered": True,
                "footer": "A demo: nothing here was sold, and no money was paid.",
            },
        )


# ── gateways ─────────────────────────────────────────────────────────────────────────────────────


async def _configure(core: Core, address: str) -> dict[str, ASGIApp]:
    """A gateway for each plugin that has an example config; the simulators behind them."""
    simulators = {}
    for plugin in core.plugins.gateways.values():
        if plugin.description.example_config is None:
            continue
        account = await _save(core, plugin, f"{address}/simulators/{plugin.name}")
        simulator = _simulator(plugin, account, address)
        if simulator is not None:
            simulators[account.code] = simulator
    return simulators


async def _save(core: Core, plugin: Plugin, base_url: str) -> Account:
    config = dict(plugin.description.example_config or {})
    if "base_url" in plugin.description.config.model_fields:
        config["base_url"] = base_url
    try:
        known = await core.gateways.by_code(plugin.name)
    except GatewayNotFound:
        known = None
    if known is not None and not _is_outdated(known, base_url):
        return known
    if known is not None:
        # What somebody added to the example is not sent to another address unasked.
        fields = plugin.description.config.model_fields
        for name, value in known.shown_config.items():
            if name in fields and name not in config and str(value).startswith(HIDDEN):
                config[name] = fields[name].get_default(call_default_factory=True)
    return await core.gateways.save(
        OPERATOR,
        code=plugin.name,
        plugin=plugin.name,
        name=plugin.description.name,
        environment=core.settings.environment,
        config=config,
    )


def _is_outdated(account: Account, base_url: str) -> bool:
    """Whether a demo saved it, on another port or for an older version of the plugin.

    A provider's real sandbox stays as it is.
    """
    address = str(account.shown_config.get("base_url", ""))
    ours = re.fullmatch(rf"http://{re.escape(_HOST)}:\d+/simulators/[^/]+", address)
    return ours is not None and (address != base_url or account.gateway is None)


def _simulator(plugin: Plugin, account: Account, address: str) -> ASGIApp | None:
    if account.gateway is None or not plugin.implements("simulator"):
        return None
    if not str(account.shown_config.get("base_url", address)).startswith(f"{address}/"):
        return None
    return plugin.simulator(account.gateway)


# ── sample data ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A payment to begin with. then: what happens to it after it was created."""

    order: str
    amount: str
    description: str
    gateway: str | None = None
    phone: str | None = None
    customer: str = "Uwase Aline"
    then: Callable[[Core, Payment], Awaitable[object]] | None = None


async def _confirm(core: Core, payment: Payment) -> object:
    request = ConfirmPayment(
        idempotency_key=f"sample-confirm-{payment.order_reference}",
        payment_id=payment.id,
        amount=payment.amount.amount,
        currency=payment.amount.currency,
        evidence="Collected by Jean the courier",
    )
    return await payments.confirm_payment(core, OPERATOR, request)


async def _cancel(core: Core, payment: Payment) -> object:
    return await payments.cancel_payment(core, OPERATOR, payment.id, "The customer is not at home")


# Which number does what is the simulators' business; nothing here says how a payment ends.
SAMPLES = (
    Sample(order="A-1001", amount="12500", description="Coffee, 2 kg", gateway="mtn",
           phone="0788 100 200"),
    Sample(order="A-1002", amount="48000", description="Rice cooker", gateway="mtn",
           phone="0780 000 101", customer="Mugisha Eric"),
    Sample(order="A-1003", amount="7500", description="Honey, 1 kg", gateway="mtn",
           phone="0780 000 105", customer="Ingabire Diane"),
    Sample(order="A-1004", amount="15000", description="Basket", gateway="cod"),
    Sample(order="A-1005", amount="9000", description="Tea, 1 kg", gateway="cod", then=_confirm,
           customer="Mugisha Eric"),
    Sample(order="A-1006", amount="22000", description="Lamp", gateway="cod", then=_cancel),
    Sample(order="A-1007", amount="30000", description="Radio", customer="Ingabire Diane"),
    Sample(order="A-1008", amount="6400", description="Soap, 12 pieces", gateway="airtel",
           phone="0728 100 200", customer="Habimana Jean"),
    Sample(order="A-1009", amount="55000", description="Bicycle pump", gateway="airtel",
           phone="0730 000 008", customer="Mugisha Eric"),
    Sample(order="A-1010", amount="85000", description="Weekend in Musanze", gateway="card",
           customer="Habimana Jean"),
    Sample(order="A-1011", amount="240000", description="Sewing machine", gateway="bank"),
)  # fmt: skip
# Payers who approve. Any other gateway that rings phones gets the first one's.
PAYERS = {"mtn": "0788 123 456", "airtel": "0728 123 456"}


async def _make_samples(core: Core) -> None:
    """On the first start only."""
    if (await queries.payments(core, OPERATOR, queries.PaymentFilter(), first=1)).items:
        return
    codes = {account.code for account in await core.gateways.all() if account.enabled}
    for sample in SAMPLES:
        if sample.gateway is None or sample.gateway in codes:
            await _make(core, sample)


async def _make(core: Core, sample: Sample) -> None:
    name = sample.customer
    method = MethodInput(gateway=sample.gateway, phone=sample.phone) if sample.gateway else None
    request = CreatePayment(
        idempotency_key=f"sample-{sample.order}",
        amount=sample.amount,
        currency="RWF",
        order_reference=sample.order,
        description=sample.description,
        customer=CustomerInput(reference=name.lower().replace(" ", "-"), name=name),
        method=method,
        # A gateway with a simulator answers in a moment, and nobody waits for it here.
        wait_ms=None if sample.then else 0,
    )
    done = await payments.create_payment(core, OPERATOR, request)
    if sample.then is not None:
        await sample.then(core, done.payment)


# A transfer that somebody made for a sample, what the bank took for it, and money of a stranger.
_STATEMENT = """Date,Value Date,Reference,Description,Debit,Credit,Balance
{day},{day},FT0001,TRANSFER FROM UWASE ALINE {reference},,{amount},{first}
{day},{day},FT0001,TRANSFER COMMISSION,500,,{second}
{day},{day},FT0002,TRANSFER FROM KAMANA PAUL,,18000,{third}
"""


async def _write_statement(core: Core) -> str | None:
    """The bank's file, the same at each start: the transfer is the one that a sample waits for."""
    file = core.settings.home / "bank-statement.csv"
    if file.exists():
        return str(file)
    waiting = queries.PaymentFilter(gateway=["bank"], status=[PaymentStatus.PENDING])
    for payment in (await queries.payments(core, OPERATOR, waiting, first=1)).items:
        if isinstance(payment.next_action, TransferToAccount):
            before, paid = 100_000, int(payment.amount.amount)
            text = _STATEMENT.format(
                day=core.today(),
                reference=payment.next_action.reference,
                amount=paid,
                first=before + paid,
                second=before + paid - 500,
                third=before + paid - 500 + 18_000,
            )
            file.write_text(text)
            return str(file)
    return None


# ── the welcome ──────────────────────────────────────────────────────────────────────────────────


async def _welcome(core: Core, address: str, simulators: Mapping[str, object]) -> Welcome:
    url, key = f"{address}/graphql", await _api_key(core)
    accounts = [
        account
        for account in await core.gateways.all()
        if account.enabled and account.plugin is not None
    ]
    phones = sorted((one for one in accounts if _rings(one)), key=_most_known)
    found = [_try_phone(phones, url, key), _try_stream(core, url, key)]
    # Three are enough: more would be a manual.
    found.append(_try_link(accounts, url, key) or await _try_person(core, accounts, url, key))
    first = [account.code for account in phones if account.code in simulators]
    return Welcome(
        graphql_url=url,
        login_url=await _login_url(core, ADMIN, Role.ADMIN),
        approver_url=await _login_url(core, APPROVER, Role.APPROVER),
        api_key=key,
        simulators={
            code: f"{address}/simulators/{code}/" for code in dict.fromkeys([*first, *simulators])
        },
        statement=await _write_statement(core),
        tries=tuple(one for one in found if one is not None),
    )


def _rings(account: Account) -> bool:
    return account.plugin is not None and account.plugin.description.needs_phone


def _leads_to_a_page(account: Account) -> bool:
    """What needs no phone and can be asked what happened, happens on a page of the provider's."""
    return not _rings(account) and Capability.STATUS_CHECK in account.capabilities


def _most_known(account: Account) -> tuple[int, str]:
    known = list(PAYERS)
    place = known.index(account.code) if account.code in known else len(known)
    return place, account.code


async def _login_url(core: Core, email: str, role: Role) -> str:
    """A new link for one of the demo's people, as at each start."""
    try:
        person = await staff.find(OPERATOR, email)
    except NotFound:
        return (await staff.create(core, OPERATOR, email=email, role=role)).login_url
    if person.disabled_at is not None:
        await staff.enable(OPERATOR, person.id)
    return (await staff.new_link(core, OPERATOR, person.id)).login_url


async def _api_key(core: Core) -> str:
    """The demo's own key, the same at each start; kept in the home folder, for us only."""
    file = core.settings.home / "demo.key"
    try:
        key = file.read_text().strip()
        await core.authenticator.actor(key)
    except (FileNotFoundError, Unauthenticated):
        _, key = await create_api_key(OPERATOR, "demo", list(Scope))
        file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(key)
    return key


def _try_phone(accounts: Sequence[Account], url: str, key: str) -> Try | None:
    if not accounts:
        return None
    methods = [f'gateway: "{one.code}", phone: "{_payer(one)}"' for one in accounts]
    about = f"Take a payment with {accounts[0].name}. "
    about += "The payer approves it: SUCCEEDED within seconds."
    for account, method in zip(accounts[1:], methods[1:], strict=True):
        about += f" {account.name} is `{method}`."
    query = _create("5000", methods[0], "id reference status")
    return Try(about=about, command=_curl(url, key, query))


def _try_link(accounts: Sequence[Account], url: str, key: str) -> Try | None:
    account = next(filter(_leads_to_a_page, accounts), None)
    if account is None:
        return None
    shown = "reference nextAction { __typename ... on FollowLink { url } }"
    return Try(
        about=f"Take a payment with {account.name}: open the url that this prints, and pay there. "
        "You come back to a page that tells how it ended.",
        command=_curl(url, key, _create("12000", f'gateway: "{account.code}"', shown)),
    )


def _create(amount: str, method: str, shown: str) -> str:
    # A key of its own for each start: pasted twice, the same payment comes back.
    return (
        f'mutation {{ createPayment(input: {{ idempotencyKey: "try-{uuid4().hex[:8]}", '
        f'amount: {{ amount: "{amount}", currency: "RWF" }}, method: {{ {method} }} '
        f"}}) {{ payment {{ {shown} }} replayed userErrors {{ message }} }} }}"
    )


def _payer(account: Account) -> str:
    return PAYERS.get(account.code, next(iter(PAYERS.values())))


def _try_stream(core: Core, url: str, key: str) -> Try:
    cursor = position_cursor(core.tail.position)
    query = (
        f'subscription {{ events(after: "{cursor}") '
        "{ type occurredAt payment { reference status amount { amount currency } } } }"
    )
    return Try(
        about="Watch it: every change since this start, and the next ones as they happen. "
        "Ctrl-C ends it.",
        command=_curl(url, key, query, stream=True),
    )


async def _try_person(core: Core, accounts: Sequence[Account], url: str, key: str) -> Try | None:
    by_hand = [one for one in accounts if Capability.MANUAL_CONFIRMATION in one.capabilities]
    if not by_hand:
        return None
    account = min(by_hand, key=lambda one: one.code != "cod")
    payment = await _waiting_payment(core, account)
    amount = f'{{ amount: "{payment.amount.amount:f}", currency: "{payment.amount.currency}" }}'
    query = (
        f'mutation {{ confirmPayment(input: {{ idempotencyKey: "cash-{payment.reference}", '
        f'paymentId: "{payment.id}", amount: {amount}, evidence: "Jean the courier" '
        "}) { payment { reference status } userErrors { message } } }"
    )
    return Try(
        about=f"{account.name}: somebody saw the money for {payment.reference} arrive.",
        command=_curl(url, key, query),
    )


async def _waiting_payment(core: Core, account: Account) -> Payment:
    wanted = queries.PaymentFilter(gateway=[account.code], status=[PaymentStatus.PENDING])
    waiting = await queries.payments(core, OPERATOR, wanted, first=1)
    if waiting.items:
        return waiting.items[0]
    request = CreatePayment(
        idempotency_key=f"cash-{uuid4()}",
        amount="15000",
        currency="RWF",
        description="Basket",
        method=MethodInput(gateway=account.code),
    )
    return (await payments.create_payment(core, OPERATOR, request)).payment


def _curl(url: str, key: str, query: str, *, stream: bool = False) -> str:
    body: dict[str, Any] = {"query": query}
    lines = [
        f"curl -s{'N' * stream} {url}",
        f"-H 'Authorization: Bearer {key}'",
        "-H 'Content-Type: application/json'",
        *(["-H 'Accept: text/event-stream'"] if stream else []),
        f"-d {shlex.quote(orjson.dumps(body).decode())}",
    ]
    return " \\\n  ".join(lines)
