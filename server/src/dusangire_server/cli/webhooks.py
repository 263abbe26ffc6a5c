"""dusangire webhooks"""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.errors import NotFound
from dusangire.outbox import endpoints as merchant_webhooks
from dusangire.outbox.endpoints import Delivery, DeliveryStatus, Endpoint
from dusangire.queries import MAX_PAGE
from dusangire_server.cli.output import AsJson, put_json, put_table, say, to_json
from dusangire_server.cli.session import run

app = typer.Typer()

Id = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its id.")]


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Such as https://shop.example.rw/pay.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="*, payment.*, or one such as payment.succeeded; several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A new endpoint. Its secret is shown this once, on stdout."""

    async def work(core: Core, _url: str) -> tuple[Endpoint, str]:
        return await merchant_webhooks.create(core, OPERATOR, url, event or ["*"])

    endpoint, secret = run(work)
    _put_secret(endpoint, secret, as_json=as_json)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every endpoint, and how it does."""

    async def work(_core: Core, _url: str) -> list[Endpoint]:
        return await merchant_webhooks.endpoints(OPERATOR)

    endpoints = run(work)
    if as_json:
        put_json(endpoints)
        return
    put_table(
        ("endpoint", "address", "events", "enabled", "failures", "last success", "why not"),
        [
            (
                one.id,
                one.url,
                one.events,
                one.enabled,
                one.health.failures,
                one.health.last_success_at,
                one.disabled_because or (one.health.last_error if one.health.failures else None),
            )
            for one in endpoints
        ],
    )


@app.command()
def rotate(
    endpoint: Id,
    overlap_hours: Annotated[
        int, typer.Option(help="How long the old secret signs as well; 0: not any more.")
    ] = 24,
    as_json: AsJson = False,
) -> None:
    """A new secret for an endpoint. It is shown this once, on stdout."""

    async def work(core: Core, _url: str) -> tuple[Endpoint, str]:
        return await merchant_webhooks.rotate(core, OPERATOR, _id(endpoint), overlap_hours)

    changed, secret = run(work)
    _put_secret(changed, secret, as_json=as_json)


@app.command()
def disable(endpoint: Id, as_json: AsJson = False) -> None:
    """Send nothing to an endpoint. What waits for it goes on waiting."""
    _switch(endpoint, enabled=False, as_json=as_json)


@app.command()
def enable(endpoint: Id, as_json: AsJson = False) -> None:
    """Send to an endpoint again, what waited first."""
    _switch(endpoint, enabled=True, as_json=as_json)


@app.command()
def delete(endpoint: Id, as_json: AsJson = False) -> None:
    """End an endpoint. What it was told stays in the records."""

    async def work(_core: Core, _url: str) -> Endpoint:
        return await merchant_webhooks.delete(OPERATOR, _id(endpoint))

    deleted = run(work)
    if as_json:
        put_json(deleted)
    else:
        say(f"{deleted.url} is deleted.")


@app.command("test")
def try_(endpoint: Id, as_json: AsJson = False) -> None:
    """Send webhook.test to an endpoint. A worker does it: see `deliveries`."""

    async def work(core: Core, _url: str) -> Delivery:
        return await merchant_webhooks.send_test(core, OPERATOR, _id(endpoint))

    _put_on_its_way(run(work), as_json=as_json)


@app.command()
def deliveries(
    endpoint: Id,
    status: Annotated[DeliveryStatus | None, typer.Option(case_sensitive=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_PAGE)] = 25,
    as_json: AsJson = False,
) -> None:
    """What an endpoint was told, the newest first."""

    async def work(_core: Core, _url: str) -> list[Delivery]:
        found = await merchant_webhooks.deliveries(
            OPERATOR, _id(endpoint), status=status, first=limit
        )
        return found.items

    found = run(work)
    if as_json:
        put_json([{**to_json(one), "messageId": one.message_id} for one in found])
        return
    put_table(
        ("delivery", "type", "status", "tries", "created", "next try", "latest answer"),
        [
            (
                one.id,
                one.type,
                one.status.lower(),
                one.tries,
                one.created_at,
                one.next_try_at,
                one.error or one.http_status,
            )
            for one in found
        ],
    )


@app.command()
def redeliver(
    delivery: Annotated[
        str | None, typer.Argument(metavar="DELIVERY", help="Its id, or msg_….")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="All that failed at this endpoint instead.")
    ] = None,
    hours: Annotated[int, typer.Option(min=1, max=24 * 365, help="Of the last so many.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Send a delivery anew, or all that failed at an endpoint."""
    if (delivery is None) == (endpoint is None):
        raise typer.BadParameter("Name one delivery, or an endpoint with --endpoint.")

    async def one(core: Core, _url: str) -> Delivery:
        known = _id((delivery or "").removeprefix("msg_"))
        return await merchant_webhooks.redeliver(core, OPERATOR, known)

    async def all_(core: Core, _url: str) -> int:
        since = datetime.now(UTC) - timedelta(hours=hours)
        return await merchant_webhooks.redeliver_failed(core, OPERATOR, _id(endpoint or ""), since)

    if delivery is not None:
        _put_on_its_way(run(one), as_json=as_json)
        return
    count = run(all_)
    if as_json:
        put_json({"count": count})
    else:
        say(f"{count} deliveries are sent anew.")


def _switch(endpoint: str, *, enabled: bool, as_json: bool) -> None:
    async def work(core: Core, _url: str) -> Endpoint:
        return await merchant_webhooks.update(core, OPERATOR, _id(endpoint), enabled=enabled)

    changed = run(work)
    if as_json:
        put_json(changed)
    else:
        say(f"{changed.url} is switched {'on' if changed.enabled else 'off'}.")


def _put_secret(endpoint: Endpoint, secret: str, *, as_json: bool) -> None:
    if as_json:
        put_json({**to_json(endpoint), "secret": secret})
        return
    say(f"{endpoint.id} is told {', '.join(endpoint.events)}. Its secret is shown this once:")
    typer.echo(secret)


def _put_on_its_way(delivery: Delivery, *, as_json: bool) -> None:
    if as_json:
        put_json({**to_json(delivery), "messageId": delivery.message_id})
    else:
        say(
            f"{delivery.id} is on its way. "
            f"`dusangire webhooks deliveries {delivery.endpoint_id}` shows what comes of it."
        )


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(
            f"{text[:60]!r} is no id. `dusangire webhooks list` shows them all."
        ) from error
