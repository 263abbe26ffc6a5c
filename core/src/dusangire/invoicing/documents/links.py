"""Links to one invoice: whoever has one may read that invoice until the link is too old.

A link for somebody who sees customers' numbers in part shows them in part too, and its token says
so: nobody can make another of it.
"""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from itsdangerous import BadSignature

from dusangire.core import Core
from dusangire.invoicing.documents.words import language_of
from dusangire.records import Invoice

# A link that a program asked for is used at once; one in a letter is found again weeks later.
SHORT = timedelta(minutes=15)
DAYS_IN_A_LETTER = 30

_PURPOSE = "invoice"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a link is for. expired: it was ours, and its time is over.

    in_full: the buyer's number and address are shown as they are.
    """

    invoice_id: UUID
    expired: bool
    in_full: bool = True


def pdf_url(
    core: Core, invoice: Invoice, locale: str | None = None, *, in_full: bool = True
) -> str:
    """The invoice as a PDF, for 15 minutes. A path alone while DUSANGIRE_PUBLIC_URL is not set.

    in_full: with the buyer's number and address as they are.
    """
    return _link(core, invoice, locale, token(core, invoice.id, SHORT, in_full=in_full), ".pdf")


def page_url(
    core: Core, invoice: Invoice, locale: str | None = None, *, days: int = DAYS_IN_A_LETTER
) -> str | None:
    """The invoice as a page, for a letter. None while DUSANGIRE_PUBLIC_URL is not set: a letter
    is read where a path leads nowhere."""
    if core.settings.public_url is None:
        return None
    return _link(core, invoice, locale, token(core, invoice.id, timedelta(days=days)), "")


def token(core: Core, invoice_id: UUID, life: timedelta, *, in_full: bool = True) -> str:
    """What lets its holder read one invoice for a while."""
    expires = int((core.clock() + life).timestamp())
    return str(core.keyring.signer(_PURPOSE).dumps([invoice_id.hex, expires, in_full]))


def opened(core: Core, text: str) -> Opened | None:
    """What a token is for; None for one that is not ours."""
    try:
        invoice_hex, expires, in_full = core.keyring.signer(_PURPOSE).loads(text)
        expired = core.clock().timestamp() > float(expires)
        return Opened(UUID(hex=invoice_hex), expired, in_full is True)
    except (BadSignature, ValueError, TypeError, AttributeError):
        return None


def _link(core: Core, invoice: Invoice, locale: str | None, signed: str, suffix: str) -> str:
    query = {"token": signed}
    if locale:
        query["locale"] = language_of(locale)
    base = core.settings.public_url or ""
    return f"{base}/invoices/{invoice.id}{suffix}?{urlencode(query)}"
