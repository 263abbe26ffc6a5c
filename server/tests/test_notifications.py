"""A payment is made, and its payer has the invoice in their mailbox, once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from io import BytesIO
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session
from pypdf import PdfReader

from dusangire.permissions import Scope
from dusangire_server.testing import Shop, open_shop

EMAIL = "aline.canary@example.rw"
SHOWN = (
    "query ($id: ID!) { payment(id: $id) "
    "{ notifications { notice channel to status tries cause } } }"
)


class _Talk(SMTP):
    """A conversation that the test can end."""

    def __init__(self, mailbox: "Mailbox") -> None:
        super().__init__(mailbox, hostname="mail.test")
        self._mailbox = mailbox

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._mailbox.lines.append((transport, self._handler_coroutine))


@dataclass
class Mailbox:
    letters: list[Envelope] = field(default_factory=list)
    lines: list[Any] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.letters.append(envelope)
        return "250 OK"

    def mails(self) -> list[EmailMessage]:
        found = []
        for envelope in self.letters:
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=default)
            assert isinstance(mail, EmailMessage)
            found.append(mail)
        return found


@pytest_asyncio.fixture
async def mailbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mailbox]:
    """A mail server, and an environment that names it."""
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: _Talk(box), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("DUSANGIRE_SMTP_URL", f"smtp://127.0.0.1:{port}")
    monkeypatch.setenv("DUSANGIRE_MAIL_FROM", "Isoko Ltd <pay@isoko.rw>")
    yield box
    server.close()
    await server.wait_closed()
    for transport, task in box.lines:
        transport.abort()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def posting_shop(mailbox: Mailbox) -> AsyncIterator[Shop]:
    async with open_shop(public_url="https://pay.example.rw") as shop:
        await shop.get(
            'mutation { saveMerchant(input: { name: "Isoko Ltd" tin: "123456789" locale: "en" }) '
            "{ userErrors { code } } }"
        )
        yield shop


async def told(shop: Shop, payment_id: str) -> list[dict[str, Any]]:
    """What was told about a payment, once all of it has ended."""
    async with asyncio.timeout(30):
        while True:
            shown = (await shop.get(SHOWN, {"id": payment_id}))["payment"]["notifications"]
            invoiced = any(one["notice"] == "INVOICE_PAID" for one in shown)
            if invoiced and all(one["status"] not in {"WAITING", "SENDING"} for one in shown):
                return list(shown)
            await asyncio.sleep(0.05)


async def test_a_payer_gets_the_invoice_of_their_payment_as_a_pdf(
    posting_shop: Shop, mailbox: Mailbox
) -> None:
    created = await posting_shop.create(
        method={"gateway": "fake", "phone": "0780000000"},
        customer={"reference": "aline", "name": "Uwase Aline", "email": EMAIL},
        metadata={"locale": "fr"},
    )

    shown = await told(posting_shop, created["payment"]["id"])

    [mail] = [mail for mail in mailbox.mails() if "facture" in mail["Subject"]]
    [pdf] = mail.iter_attachments()
    content = pdf.get_content()
    assert mail["To"] == EMAIL
    assert str(pdf.get_filename()).endswith(".pdf")
    assert "Isoko Ltd" in PdfReader(BytesIO(content)).pages[0].extract_text()
    assert {one["status"] for one in shown} == {"SENT"}
    assert {(one["channel"], one["to"]) for one in shown} == {("email", "al****@example.rw")}


async def test_a_payers_token_does_not_see_who_was_told(
    posting_shop: Shop, mailbox: Mailbox
) -> None:
    created = await posting_shop.create(
        method={"gateway": "fake", "phone": "0780000000"},
        customer={"reference": "aline", "email": EMAIL},
    )
    payment_id = created["payment"]["id"]
    await told(posting_shop, payment_id)

    seen = await posting_shop.get(SHOWN, {"id": payment_id}, token=created["clientToken"])
    listed = await posting_shop.get(
        "query ($id: ID!) { notifications(paymentId: $id, statuses: [SENT]) { to } }",
        {"id": payment_id},
        token=posting_shop.keys[Scope.PAYMENTS_READ],
    )

    assert seen["payment"]["notifications"] == []
    assert {one["to"] for one in listed["notifications"]} == {"al****@example.rw"}
