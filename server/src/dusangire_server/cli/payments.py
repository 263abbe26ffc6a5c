"""dusangire payments"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from uuid import UUID, uuid4

import orjson
import typer

from dusangire import events, payments, queries, stored_methods
from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.errors import NotFound
from dusangire.intake import ConfirmPayment, CreatePayment, CustomerInput, MethodInput
from dusangire.lifecycle import PaymentStatus
from dusangire.payments import Done
from dusangire.queries import Page, PaymentFilter, PaymentOrder
from dusangire.records import Payment, PaymentAttempt, PaymentTransaction
from dusangire.stored_methods import StoredMethod
from dusangire.tail import EventRecord
from dusangire.timeline import Story
from dusangire_server.cli import why
from dusangire_server.cli.output import (
    AsJson,
    progress,
    put_facts,
    put_json,
    put_table,
    say,
    to_json,
)
from dusangire_server.cli.session import run

app = typer.Typer()

Reference: TypeAlias = Annotated[
    str, typer.Argument(metavar="PAYMENT", help="Its reference, PAY-…, or its id.")
]
Key: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key", help="The same key never does it twice. Left out: a random one."
    ),
]

# What a payment does not leave by itself. A failed one may be tried again, but somebody has to.
_ENDED = frozenset(PaymentStatus) - {PaymentStatus.CREATED, PaymentStatus.PENDING}


@app.command()
def create(
    amount: Annotated[str, typer.Option(help="In major units: 5000, or 10.50.")],
    currency: Annotated[str, typer.Option()] = "RWF",
    gateway: Annotated[
        str | None, typer.Option(help="Its code. Left out: the payer chooses later.")
    ] = None,
    phone: Annotated[str | None, typer.Option(help="The payer's.")] = None,
    email: Annotated[str | None, typer.Option(help="The payer's.")] = None,
    order: Annotated[str | None, typer.Option(help="Your reference of the order.")] = None,
    description: Annotated[str | None, typer.Option()] = None,
    customer: Annotated[str | None, typer.Option(help="Your reference of the customer.")] = None,
    stored_method: Annotated[
        str | None, typer.Option(help="The id of one; `payments methods` lists them.")
    ] = None,
    store_consent: Annotated[
        str | None, typer.Option(help="Keep the method: the words the payer agreed to.")
    ] = None,
    details: Annotated[str | None, typer.Option(help="What the gateway wants, as JSON.")] = None,
    metadata: Annotated[str | None, typer.Option(help="Yours to keep, as JSON.")] = None,
    return_url: Annotated[str | None, typer.Option(help="Where a hosted page leads back.")] = None,
    wait_ms: Annotated[
        int | None, typer.Option(help="How long to wait for the gateway's first answer.")
    ] = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Take a payment."""
    method = MethodInput(
        gateway=gateway or "",
        phone=phone,
        email=email,
        stored_method_id=stored_method,
        store_consent=store_consent,
        details=_read_json(details, "--details"),
    )
    request = CreatePayment(
        idempotency_key=key or str(uuid4()),
        amount=amount,
        currency=currency,
        order_reference=order,
        description=description,
        customer=CustomerInput(reference=customer) if customer else None,
        method=method if gateway else None,
        return_url=return_url,
        metadata=_read_json(metadata, "--metadata"),
        wait_ms=wait_ms,
    )

    async def work(core: Core, _url: str) -> "_Shown":
        done = await payments.create_payment(core, OPERATOR, request)
        return await _shown(core, done)

    with progress("Asking the gateway …" if gateway else "Writing …"):
        found = run(work)
    _put(found, as_json=as_json)


@app.command()
def show(reference: Reference, as_json: AsJson = False) -> None:
    """A payment, its attempts, and what was said with the gateways."""

    async def work(
        core: Core, _url: str
    ) -> tuple["_Shown", list[PaymentAttempt], list[PaymentTransaction]]:
        payment = await _find(core, reference)
        tries = (await queries.attempts([payment.id]))[payment.id]
        said = await queries.transactions(core, OPERATOR, payment.id, first=100)
        return await _shown(core, Done(payment=payment)), tries, said.items

    found, tries, said = run(work)
    if as_json:
        put_json(
            {
                **found.json,
                "attempts": [_by_code(found, one) for one in tries],
                "transactions": [_by_code(found, one) for one in said],
            }
        )
        return
    _put(found, as_json=False)
    typer.echo()
    put_table(
        ("attempt", "gateway", "status", "our reference", "their id", "began"),
        [
            (
                a.number,
                found.codes[a.gateway_id],
                a.status,
                a.gateway_reference,
                a.gateway_transaction_id,
                a.created_at,
            )
            for a in tries
        ],
    )
    typer.echo()
    put_table(
        ("when", "what", "http", "ms", "outcome"),
        [(t.created_at, t.kind, t.http_status, t.duration_ms, t.outcome) for t in said],
    )


@app.command("list")
def list_(
    status: Annotated[list[PaymentStatus] | None, typer.Option(case_sensitive=False)] = None,
    gateway: Annotated[list[str] | None, typer.Option(help="Codes.")] = None,
    phone: Annotated[str | None, typer.Option(help="The payer's or the customer's.")] = None,
    customer: Annotated[str | None, typer.Option(help="Your reference of the customer.")] = None,
    order: Annotated[str | None, typer.Option(help="Your reference of the order.")] = None,
    search: Annotated[str | None, typer.Option(help="Words in references, names, errors.")] = None,
    attention: Annotated[
        bool | None, typer.Option("--attention/--no-attention", help="Those a person must look at.")
    ] = None,
    order_by: Annotated[
        PaymentOrder, typer.Option(case_sensitive=False)
    ] = PaymentOrder.CREATED_DESC,
    first: Annotated[int, typer.Option(min=1, max=queries.MAX_PAGE)] = 25,
    after: Annotated[str | None, typer.Option(help="The cursor that a list ended with.")] = None,
    as_json: AsJson = False,
) -> None:
    """Payments, the newest first."""
    wanted = PaymentFilter(
        status=status,
        gateway=gateway,
        phone=phone,
        customer=customer,
        order_reference=order,
        search=search,
        needs_attention=attention,
    )

    async def work(core: Core, _url: str) -> tuple[Page[Payment], dict[UUID, str]]:
        page = await queries.payments(core, OPERATOR, wanted, order_by, first, after)
        return page, await _codes(core)

    page, codes = run(work)
    end = page.cursors[-1] if page.cursors else None
    if as_json:
        shown = [_Shown(payment, codes).json for payment in page.items]
        put_json({"payments": shown, "endCursor": end, "hasNextPage": page.has_next})
        return
    put_table(
        ("payment", "created", "amount", "gateway", "status", "order", "why"),
        [
            (
                p.reference,
                p.created_at,
                p.amount,
                _Shown(p, codes).code,
                p.status,
                p.order_reference,
                p.failure and p.failure.code,
            )
            for p in page.items
        ],
    )
    if page.has_next:
        say(f"There are more: --after {end}")


@app.command()
def check(reference: Reference, as_json: AsJson = False) -> None:
    """Ask the gateway now what became of a payment."""
    _change(reference, as_json, lambda core, p: payments.check_payment(core, OPERATOR, p.id))


@app.command()
def cancel(
    reference: Reference,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    as_json: AsJson = False,
) -> None:
    """End a payment that nobody paid."""
    _change(
        reference, as_json, lambda core, p: payments.cancel_payment(core, OPERATOR, p.id, reason)
    )


@app.command()
def confirm(
    reference: Reference,
    evidence: Annotated[str, typer.Option(help="Who collected it, or the bank's reference.")],
    amount: Annotated[str | None, typer.Option(help="What arrived. Left out: what is due.")] = None,
    currency: Annotated[str | None, typer.Option()] = None,
    note: Annotated[str | None, typer.Option()] = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Settle a payment that you saw arrive: cash, or a bank transfer."""

    async def settle(core: Core, payment: Payment) -> Done:
        request = ConfirmPayment(
            idempotency_key=key or str(uuid4()),
            payment_id=payment.id,
            amount=amount or payment.amount.amount,
            currency=currency or payment.amount.currency,
            evidence=evidence,
            note=note,
        )
        return await payments.confirm_payment(core, OPERATOR, request)

    _change(reference, as_json, settle)


@app.command()
def methods(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="Your reference of them.")],
    remove: Annotated[
        str | None, typer.Option(metavar="ID", help="Wipe this one, then list the rest.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The payment methods that a customer agreed to have kept."""

    async def work(core: Core, _url: str) -> tuple[list[StoredMethod], dict[UUID, str]]:
        kept = await stored_methods.of_customer(OPERATOR, customer)
        if remove is not None:
            await stored_methods.remove(OPERATOR, _one_of(kept, remove).id)
            kept = await stored_methods.of_customer(OPERATOR, customer)
        return kept, await _codes(core)

    kept, codes = run(work)
    if as_json:
        put_json([_method(one, codes) for one in kept])
        return
    put_table(
        ("id", "gateway", "method", "kept", "last used", "expires", "consent"),
        [
            (
                m.id,
                codes.get(m.gateway_id),
                m.label,
                m.consented_at,
                m.last_used_at,
                m.expires_at,
                m.consent,
            )
            for m in kept
        ],
    )


@app.command("why")
def why_(reference: Reference, as_json: AsJson = False) -> None:
    """Why a payment is in its state, what comes next, and all that happened to it, in words."""

    async def work(core: Core, _url: str) -> tuple[Payment, Story]:
        payment = await _find(core, reference)
        return payment, await why.story(core, payment)

    payment, story = run(work)
    why.put(payment, story, as_json=as_json)


@app.command()
def watch(
    reference: Annotated[
        str | None,
        typer.Argument(metavar="PAYMENT", help="Its reference or id. Left out: every payment."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Every change as it happens: of one payment until it ended, or of all until Ctrl-C."""

    async def work(core: Core, url: str) -> None:
        payment = await _find(core, reference) if reference else None
        async with _tail(core, url), aclosing(_changes(core, payment)) as changes:
            if payment is None:
                say("Watching every payment; Ctrl-C ends it.")
            async for event in changes:
                if event.payment is None:
                    continue  # how a gateway does: see `gateways list`
                await _tell(core, event, as_json=as_json)
                if payment and event.payment and event.payment.status in _ENDED:
                    return

    run(work)


# ── watching ─────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _tail(core: Core, url: str) -> AsyncIterator[None]:
    started = asyncio.Event()
    task = asyncio.create_task(core.tail.run(url, started))
    try:
        await started.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _changes(core: Core, payment: Payment | None) -> Any:
    if payment is None:
        return events.watch(core, OPERATOR)
    return events.watch_payment(core, OPERATOR, payment.id)


async def _tell(core: Core, event: EventRecord, *, as_json: bool) -> None:
    shown = _Shown(event.payment, await _codes(core)) if event.payment else None
    if as_json:
        put_json(
            {
                "cursor": event.cursor,
                "type": event.type,
                "occurredAt": event.occurred_at,
                "payment": shown and shown.json,
            },
            one_line=True,
        )
        return
    moment = event.occurred_at.astimezone().strftime("%H:%M:%S")
    words = (
        f"{shown.payment.reference}  {shown.payment.amount}  {shown.code or ''}" if shown else ""
    )
    typer.echo(f"{moment}  {event.type:<28}  {words}")


# ── finding and showing ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Shown:
    """A payment, and the codes of the gateways there are."""

    payment: Payment
    codes: dict[UUID, str]
    replayed: bool | None = None

    @property
    def code(self) -> str | None:
        return self.codes.get(self.payment.gateway_id) if self.payment.gateway_id else None

    @property
    def json(self) -> dict[str, Any]:
        plain = to_json(self.payment)
        del plain["gatewayId"]
        extra = {} if self.replayed is None else {"replayed": self.replayed}
        return {**plain, "gateway": self.code, **extra}


async def _shown(core: Core, done: Done) -> _Shown:
    return _Shown(done.payment, await _codes(core), done.replayed)


async def _codes(core: Core) -> dict[UUID, str]:
    return {account.id: account.code for account in await core.gateways.all()}


async def _find(core: Core, text: str) -> Payment:
    try:
        found = await queries.payment(core, OPERATOR, id=UUID(text))
    except ValueError:
        found = await queries.payment(core, OPERATOR, reference=text)
    if found is None:
        raise NotFound(f"There is no payment {text}. `dusangire payments list` shows the newest.")
    return found


def _change(
    reference: str, as_json: bool, change: Callable[[Core, Payment], Awaitable[Done]]
) -> None:
    async def work(core: Core, _url: str) -> _Shown:
        return await _shown(core, await change(core, await _find(core, reference)))

    with progress("Asking …"):
        found = run(work)
    _put(found, as_json=as_json)


def _put(found: _Shown, *, as_json: bool) -> None:
    payment = found.payment
    if as_json:
        put_json(found.json)
        return
    if found.replayed:
        say("This key was used before: here is what it made then. Nothing was done now.")
    action, failure = payment.next_action, payment.failure
    put_facts(
        {
            "payment": payment.reference,
            "id": payment.id,
            "status": payment.status,
            "amount": payment.amount,
            "captured": payment.captured if payment.captured.minor else None,
            "refunded": payment.refunded if payment.refunded.minor else None,
            "gateway": found.code,
            "next": getattr(action, "message", None) or getattr(action, "url", None),
            "why": failure and f"{failure.code}: {failure.message}",
            "look at": payment.needs_attention,
            "order": payment.order_reference,
            "description": payment.description,
            "created": payment.created_at,
            "expires": payment.expires_at if payment.status not in _ENDED else None,
            "ended": payment.completed_at,
        }
    )


def _one_of(kept: list[StoredMethod], text: str) -> StoredMethod:
    for one in kept:
        if str(one.id) == text:
            return one
    raise NotFound(f"This customer has no stored method {text}.")


def _method(method: StoredMethod, codes: dict[UUID, str]) -> dict[str, Any]:
    """As the API shows it: without the number."""
    plain = to_json(method)
    for name in ("phone", "customerId", "gatewayId", "removedAt"):
        del plain[name]
    return {**plain, "gateway": codes.get(method.gateway_id)}


def _by_code(found: _Shown, thing: PaymentAttempt | PaymentTransaction) -> dict[str, Any]:
    plain = to_json(thing)
    plain["gateway"] = found.codes.get(thing.gateway_id)
    for name in ("gatewayId", "paymentId"):
        plain.pop(name, None)
    return {**plain, "id": str(plain["id"])}


def _read_json(text: str | None, option: str) -> Any:
    try:
        return orjson.loads(text) if text is not None else None
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"this is not JSON: {error}.", param_hint=option) from error
