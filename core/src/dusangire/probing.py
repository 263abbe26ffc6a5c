"""Looking whether a gateway that is left alone answers again: by reading, never by a charge."""

import structlog

from dusangire import attempts, watch
from dusangire.core import Core
from dusangire.database import spawn
from dusangire.errors import Retryable
from dusangire.gateways import Account

log = structlog.get_logger(__name__)


async def probe_due(core: Core) -> int:
    """Looks at every gateway whose time for a look has come. One process looks at a time."""
    started = 0
    for account in await core.gateways.all():
        if not account.watch.probe_is_due or account.plugin is None:
            continue
        term = account.watch.breaker.term
        if (probes := await watch.claim_probe(account)) is not None:
            spawn(probe(core, account, term, probes), name=f"proceed probing {account.code}")
            started += 1
    return started


async def probe(core: Core, account: Account, term: int, probes: int) -> None:
    """One look, and the next one later if nothing came of it.

    An attempt that is due is asked about: it wants an answer anyway. Otherwise the plugin's own
    test is made, and without one the latest attempt is asked about once more.
    """
    try:
        await _look(core, account, term)
        if account.watch.breaker.term == term:
            await watch.put_off(core, account, term, probes)
    except Retryable:
        log.warning("probe left for later", gateway=account.code)


async def _look(core: Core, account: Account, term: int) -> None:
    plugin, gateway = account.plugin, account.gateway
    if plugin is None or gateway is None:
        return
    asks, tests = plugin.implements("check_payment"), plugin.implements("test_gateway")
    work = await attempts.take_to_probe(core, account.id, due=tests) if asks else None
    if work is not None:
        await attempts.proceed(core, account, work)
    elif tests:
        report = await plugin.test_gateway(gateway)
        await watch.looked(core, account, term, ok=report.ok, message=report.message)
    else:
        # Nothing can be read there: after the pause the next payment tells.
        await watch.looked(core, account, term, ok=True, message=None)
