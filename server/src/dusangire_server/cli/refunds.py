"""dusangire refunds"""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias
from uuid import UUID, uuid4

import typer

from dusangire import queries, refunds
from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.errors import NotFound
from dusangire.records import RefundRequest, RefundStatus
from dusangire.refunds import Approval, RefundDone, RequestRefund
from dusangire_server.cli.output import AsJson, put_facts, put_json, put_table, say, to_json
from dusangire_server.cli.session import run

app = typer.Typer()

Reference: TypeAlias = Annotated[
    str, typer.Argument(metavar="REFUND", help="Its reference, REF-…, or its id.")
]


@app.command("list")
def list_(
    status: Annotated[list[RefundStatus] | None, typer.Option(case_sensitive=False)] = None,
    first: Annotated[int, typer.Option(help="How many, at most 100.")] = 25,
    after: Annotated[str | None, typer.Option(help="A cursor: go on behind it.")] = None,
    as_json: AsJson = False,
) -> None:
    """The refunds, the newest first."""

    async def work(core: Core, _url: str) -> queries.Page[RefundRequest]:
        return await refunds.refunds(core, OPERATOR, status or None, first, after)

    page = run(work)
    if as_json:
        put_json(
            {
                "refunds": page.items,
                "cursor": page.cursors[-1] if page.cursors else None,
                "hasNextPage": page.has_next,
            }
        )
        return
    put_table(
        ("refund", "status", "amount", "asked for by", "reason", "when"),
        [
            (r.reference, r.status, r.amount, r.requested_by.name, r.reason, r.created_at)
            for r in page.items
        ],
    )
    if page.has_next:
        say(f"There are more: --after {page.cursors[-1]}")


@app.command()
def show(reference: Reference, as_json: AsJson = False) -> None:
    """A refund, who decided on it, and what became of it."""

    async def work(core: Core, _url: str) -> tuple[RefundRequest, list[Approval]]:
        found = await _find(core, reference)
        return found, (await refunds.approvals([found.id]))[found.id]

    _put(*run(work), as_json=as_json)


@app.command()
def request(
    payment: Annotated[str, typer.Argument(metavar="PAYMENT", help="PAY-…, or its id.")],
    reason: Annotated[str, typer.Option(help="Why: whoever approves it reads this.")],
    amount: Annotated[
        str | None, typer.Option(help="In major units. Left out: all that can be given back.")
    ] = None,
    currency: Annotated[str, typer.Option()] = "RWF",
    attempt: Annotated[
        UUID | None,
        typer.Option(help="Of a payment that was paid twice, the id of the attempt to give back."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", help="The same key never does it twice. Left out: a random one."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a refund. Somebody with an account approves it, in the browser."""

    async def work(core: Core, _url: str) -> RefundDone:
        wanted = RequestRefund(
            idempotency_key=key or str(uuid4()),
            payment_id=await _payment(core, payment),
            reason=reason,
            amount=amount,
            currency=currency if amount is not None else None,
            attempt_id=attempt,
        )
        return await refunds.request(core, OPERATOR, wanted)

    _done(work, as_json=as_json)


@app.command()
def cancel(
    reference: Reference,
    reason: Annotated[str, typer.Option(help="Why.")],
    as_json: AsJson = False,
) -> None:
    """Take a request back that nobody decided on yet."""

    async def work(core: Core, _url: str) -> RefundDone:
        return await refunds.cancel(core, OPERATOR, (await _find(core, reference)).id, reason)

    _done(work, as_json=as_json)


async def _find(core: Core, text: str) -> RefundRequest:
    try:
        found = await refunds.refund(core, OPERATOR, id=UUID(text))
    except ValueError:
        found = await refunds.refund(core, OPERATOR, reference=text)
    if found is None:
        raise NotFound(f"There is no refund {text}. `dusangire refunds list` shows the newest.")
    return found


async def _payment(core: Core, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        found = await queries.payment(core, OPERATOR, reference=text)
    if found is None:
        raise NotFound(f"There is no payment {text}. `dusangire payments list` shows the newest.")
    return found.id


def _done(work: Callable[[Core, str], Awaitable[RefundDone]], *, as_json: bool) -> None:
    done = run(work)
    if done.replayed and not as_json:
        say("This was done before: here is how it is. Nothing was done now.")
    _put(done.refund, [], as_json=as_json)


def _put(refund: RefundRequest, approvals: list[Approval], *, as_json: bool) -> None:
    if as_json:
        put_json({**to_json(refund), "approvals": to_json(approvals)})
        return
    counting = [approval.by.name for approval in approvals if approval.voided_at is None]
    failure = refund.failure
    put_facts(
        {
            "refund": refund.reference,
            "id": refund.id,
            "payment": refund.payment_id,
            "status": refund.status,
            "amount": refund.amount,
            "reason": refund.reason,
            "by hand": refund.by_hand or None,
            "asked for by": refund.requested_by.name,
            "approved by": tuple(counting),
            "approvals needed": refund.approvals_needed,
            "decided by": refund.decided_by.name if refund.decided_by else None,
            "failure": f"{failure.code}: {failure.message}" if failure else None,
            "evidence": refund.evidence,
            "settled by": refund.settled_by_name,
            "digest": refund.digest,
            "asked for": refund.created_at,
            "completed": refund.completed_at,
        }
    )
