"""One process's view of the system: settings, keys, plugins, gateways and the clock."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from dusangire import database
from dusangire.access import Authenticator
from dusangire.days import KIGALI
from dusangire.egress import Egress, trusted
from dusangire.gateways import Gateways
from dusangire.keyring import Keyring
from dusangire.notifying.console import Console
from dusangire.outbox import sealed
from dusangire.plugins import Plugins
from dusangire.settings import Settings
from dusangire.tail import Tail


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(kw_only=True)
class Core:
    """What every use case is given first.

    work: set when there is something for a worker of this process to do at once.
    news: set when this process wrote an event, so that its sequencer need not wait for its poll.
    egress: where the merchant's webhooks may be sent.
    tail: hands new events to this process's subscribers, once somebody runs it.
    """

    settings: Settings
    keyring: Keyring
    plugins: Plugins
    gateways: Gateways
    authenticator: Authenticator
    clock: Callable[[], datetime] = now
    work: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    egress: Egress = field(default_factory=Egress)
    tail: Tail = field(default_factory=Tail)

    def today(self) -> date:
        """The day in Rwanda."""
        return self.clock().astimezone(KIGALI).date()


@asynccontextmanager
async def open_core(
    settings: Settings,
    database_url: str,
    *,
    plugins: Mapping[str, object] | None = None,
    clock: Callable[[], datetime] = now,
    connections: int = 16,
) -> AsyncIterator[Core]:
    """Connects, loads the plugins and opens the gateways; closes all of it at the end.

    plugins: modules by name, beside the installed ones.
    Raises CannotStart when a setting, a key or the database is not right.
    """
    keyring = Keyring.open(settings)
    trusted(settings.ca_bundle)
    await database.connect(database_url, connections=connections)
    gateways: Gateways | None = None
    try:
        modules = dict(plugins or {})
        if settings.console_messages:
            modules["console"] = Console(sys.stderr.write)
        loaded = Plugins.load(modules)
        gateways = Gateways(settings=settings, keyring=keyring, plugins=loaded, clock=clock)
        # A wrong key is found here, before anything is served or written.
        await gateways.reload()
        await sealed.check(keyring)
        yield Core(
            settings=settings,
            keyring=keyring,
            plugins=loaded,
            gateways=gateways,
            authenticator=Authenticator(keyring),
            clock=clock,
            egress=Egress.of_webhooks(settings),
        )
    finally:
        if gateways is not None:
            await gateways.close()
        await database.disconnect()
