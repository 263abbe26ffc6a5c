"""dusangire payments why: how a payment came to where it is, for people who were asked."""

import os
from datetime import UTC, datetime, tzinfo

import typer

from dusangire import timeline
from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.lifecycle import PaymentStatus
from dusangire.records import Payment
from dusangire.timeline import Moment, Story
from dusangire_server.cli.output import put_json, say, to_json

_COLOURS = {
    PaymentStatus.SUCCEEDED: typer.colors.GREEN,
    PaymentStatus.FAILED: typer.colors.RED,
    PaymentStatus.EXPIRED: typer.colors.RED,
    PaymentStatus.CANCELLED: typer.colors.RED,
}


async def story(core: Core, payment: Payment) -> Story:
    """Its story, with times as the clock on the wall shows them."""
    return await timeline.of(core, OPERATOR, payment.id, zone=_zone())


def put(payment: Payment, found: Story, *, as_json: bool) -> None:
    """On stdout; aligned, and in colours only on a terminal."""
    if as_json:
        put_json({"payment": payment.reference, "status": payment.status, **to_json(found)})
        return
    status, _, rest = found.headline.partition(":")
    colour = _COLOURS.get(payment.status, typer.colors.YELLOW)
    _echo(f"{payment.reference}  {payment.amount}")
    _echo(_styled(status, colour) + f":{_printable(rest)}")
    if found.left_out:
        say(f"{found.left_out} older moments are left out.")
    width = max((len(_who(moment)) for moment in found.moments), default=0)
    day = None
    for moment in found.moments:
        local = moment.at.astimezone(_zone())
        if local.date() != day:
            day = local.date()
            _echo("\n" + _styled(f"{day}", typer.colors.BRIGHT_BLACK))
        clock = f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"
        _echo(f"{_styled(clock, typer.colors.BRIGHT_BLACK)}  {_line(moment, width)}")


def _line(moment: Moment, width: int) -> str:
    return f"{_printable(_who(moment)).ljust(width)}  {_printable(moment.what)}"


def _who(moment: Moment) -> str:
    return moment.who.name if moment.who else moment.source


def _zone() -> tzinfo:
    return datetime.now().astimezone().tzinfo or UTC


def _printable(text: str) -> str:
    # Words of gateways may hold anything, even what steers a terminal.
    return text if text.isprintable() else ascii(text)[1:-1]


def _styled(text: str, colour: str) -> str:
    return text if "NO_COLOR" in os.environ else typer.style(text, fg=colour)


def _echo(text: str) -> None:
    # Leaves colours out by itself where no terminal is.
    typer.echo(text)
