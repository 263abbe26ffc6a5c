"""A payer comes back from a provider's page: what is true, whatever their browser says.

Nothing that the browser brings is looked at but our own reference. It is no secret either, for
somebody might guess it: so coming back can ask the gateway a little earlier, and do nothing else.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta

import structlog

from dusangire import attempts
from dusangire.attempts import Work
from dusangire.core import Core
from dusangire.database import fetch, spawn
from dusangire.gateways import Account
from dusangire.records import Payment

log = structlog.get_logger(__name__)

# However often the page is loaded, and by however many, a gateway is not asked more often.
ASK_EVERY = timedelta(seconds=2)
# Longer than this nobody looks at an empty page.
PATIENCE = 3.0

_REFERENCE = re.compile(r"PAY-[0-9A-Z]{8}")
_FIND = """
SELECT p.*, coalesce(a.return_url, p.return_url) AS back_to FROM payment p
LEFT JOIN payment_attempt a ON a.payment_id = p.id AND a.number =
    (SELECT max(number) FROM payment_attempt WHERE payment_id = p.id)
WHERE p.reference = $1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The payment as it is now. return_url: where the shop wants the payer to go on."""

    payment: Payment
    return_url: str | None


async def find(reference: str) -> Returned | None:
    """What we know, without asking anybody; None for a reference that is not ours."""
    wanted = reference.strip().upper()
    if not _REFERENCE.fullmatch(wanted):
        return None
    rows = await fetch(_FIND, wanted)
    if not rows:
        return None
    [row] = rows
    return Returned(payment=Payment.of(row), return_url=row["back_to"])


async def come_back(core: Core, reference: str, *, patience: float = PATIENCE) -> Returned | None:
    """What became of the payment, asked anew; after `patience` seconds what we know by then.

    None for a reference that is not ours. Raises Retryable when the database is away.
    """
    known = await find(reference)
    if known is None or known.payment.gateway_id is None:
        return known
    account = await core.gateways.by_id(known.payment.gateway_id)
    asks = account.plugin is not None and account.plugin.implements("check_payment")
    if not asks or account.watch.is_open or not account.places.free:
        return known  # a gateway in trouble is not asked what can be left out
    every = ASK_EVERY * core.settings.poll_scale
    work = await attempts.take_returned(core, known.payment.id, every)
    if work is None:
        return known
    # The task goes on when the payer has waited long enough: the answer must be written.
    task = spawn(_ask(core, account, work), name=f"proceed {work.state.reference}")
    await asyncio.wait({task}, timeout=patience)
    return await find(reference)


async def _ask(core: Core, account: Account, work: Work) -> None:
    # Reloading the page must not use up what is planned.
    await attempts.proceed(core, account, attempts.beside_the_schedule(work))
