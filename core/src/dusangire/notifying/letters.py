"""One message, composed: what an event says, in the recipient's language, with the invoice."""

from dataclasses import dataclass, replace
from uuid import UUID

from dusangire.channels import Attachment, ChannelDescription, Message
from dusangire.core import Core
from dusangire.database import fetch
from dusangire.invoicing.documents.links import page_url
from dusangire.invoicing.documents.paper import load_paper
from dusangire.languages import LANGUAGES
from dusangire.notifying.notices import Facts, Notice, attention_reasons, shop_name, write
from dusangire.records import Invoice, RefundRequest, RefundStatus
from dusangire.tail import EventRecord

# The type of the events that say that nothing is sent to an address of the merchant's any more.
DISABLED = "webhook_endpoint.disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """to: the address. shown: it, masked. locale: the recipient's own; None: the merchant's."""

    to: str
    shown: str
    locale: str | None


async def compose(
    core: Core,
    event: EventRecord,
    notice: Notice,
    recipient: Recipient,
    notification_id: UUID,
    channel: ChannelDescription,
) -> Message:
    """The message. Draws the invoice for channels that can carry it, which takes a moment."""
    rows = await fetch("SELECT name, locale FROM merchant")
    merchant = rows[0] if rows else {"name": None, "locale": "en"}
    locale = recipient.locale or merchant["locale"]
    if locale not in LANGUAGES:
        locale = "en"
    facts = Facts(shop=shop_name(merchant["name"], locale))
    attachments: tuple[Attachment, ...] = ()
    if event.invoice is not None:
        facts = await _of_invoice(facts, event.invoice)
        facts, attachments = await _with_document(core, facts, event.invoice, locale, channel)
    elif event.type == DISABLED:
        facts = await _of_webhook(facts, event)
    elif event.refund is not None:
        facts = _of_refund(facts, event, event.refund, notice)
    elif event.health is not None and event.gateway_id is not None:
        account = await core.gateways.by_id(event.gateway_id)
        facts = replace(facts, gateway=account.name, cause=event.health.last_error or "")
    elif event.discrepancies is not None:
        found = event.discrepancies
        kinds = sorted(found.kinds.items(), key=lambda one: -one[1])
        said = ", ".join(f"{count} × {kind}" for kind, count in kinds)
        facts = replace(facts, account=found.name, count=str(found.count), cause=said)
    elif event.payment is not None:
        payment = event.payment
        facts = replace(
            facts,
            amount=str(payment.captured if payment.captured.minor else payment.amount),
            reference=payment.reference,
            cause=attention_reasons(payment.needs_attention, locale),
        )
    written = write(notice, facts, locale)
    return Message(
        id=str(notification_id),
        to=recipient.to,
        notice=notice.value,
        locale=locale,
        subject=written.subject,
        text=written.text,
        short=written.short,
        attachments=attachments,
    )


def _of_refund(facts: Facts, event: EventRecord, refund: RefundRequest, notice: Notice) -> Facts:
    decided = notice is Notice.REFUND_REJECTED and refund.decided_by is not None
    who = refund.decided_by if decided and refund.decided_by else refund.requested_by
    return replace(
        facts,
        amount=str(refund.amount),
        reference=event.payment.reference if event.payment else "",
        refund=refund.reference,
        who=who.name,
        reason=refund.reason,
        cause=refund.failure.message if refund.failure else "",
    )


async def _of_webhook(facts: Facts, event: EventRecord) -> Facts:
    [row] = await fetch(
        "SELECT data->'webhook_endpoint'->>'origin' AS origin, "
        "data->'webhook_endpoint'->>'because' AS because FROM event WHERE position = $1",
        event.position,
    )
    return replace(facts, address=row["origin"] or "", cause=row["because"] or "")


async def _of_invoice(facts: Facts, invoice: Invoice) -> Facts:
    [row] = await fetch(
        "SELECT (SELECT reference FROM payment WHERE id = $1) AS reference, "
        "(SELECT amount FROM refund WHERE id = $2 AND status = $3) AS returned",
        invoice.payment_id,
        invoice.refund_id,
        RefundStatus.SUCCEEDED,
    )
    returned = replace(invoice.total, minor=row["returned"]) if row["returned"] else None
    return replace(
        facts,
        amount=str(invoice.total),
        reference=row["reference"] or "",
        number=invoice.number or "",
        due=invoice.due_on.isoformat() if invoice.due_on else "",
        returned=str(returned) if returned else "",
    )


async def _with_document(
    core: Core, facts: Facts, invoice: Invoice, locale: str, channel: ChannelDescription
) -> tuple[Facts, tuple[Attachment, ...]]:
    facts = replace(facts, link=page_url(core, invoice, locale) or "")
    if not channel.attachments:
        return facts, ()
    # Here: who sends no invoices need not have what draws them.
    from dusangire.invoicing.documents.pdf import pdf_of  # noqa: PLC0415

    paper = await load_paper(core, invoice.id)
    content = await pdf_of(paper, locale)
    file = f"{invoice.number or invoice.id}.pdf"
    attached = Attachment(name=file, content_type="application/pdf", content=content)
    return replace(facts, file=file), (attached,)
