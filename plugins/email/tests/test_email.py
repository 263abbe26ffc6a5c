"""Letters go out once, over a line that nobody else reads, to a real SMTP server."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dusangire.channels import Attachment, Delivered, Message, NotDelivered, Unclear
from dusangire_email import channel
from dusangire_email.channel import deliver
from dusangire_email.letter import NoAddress, letter
from dusangire_email.settings import MailSettings

PASSWORD = "canary-smtp-41af"
MESSAGE = Message(
    id="0b6f7a52-6ad1-4f54-8c43-2f3a1c6f0d11",
    to="aline@example.rw",
    notice="INVOICE_PAID",
    locale="fr",
    subject="Paiement reçu, facture INV-2026-1",
    text="Bonjour,\n\nÀ voir ici : https://pay.example.rw/invoices/1\n.\nMerci.\n",
    short="Paiement reçu",
    attachments=(
        Attachment(name="INV-2026-1.pdf", content_type="application/pdf", content=b"%PDF-1.7 \x00"),
    ),
)


@dataclass
class Mailbox:
    """What a mail server took, and what it says on the way."""

    letters: list[Envelope] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    to_mail: str | None = None
    to_rcpt: str | None = None
    to_data: str | None = None

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.to_mail is not None:
            return self.to_mail
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.to_rcpt is not None:
            return self.to_rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.to_data == "hang up":
            assert isinstance(server.transport, asyncio.Transport)
            self.letters.append(envelope)
            server.transport.abort()
            return "250 nobody hears this"
        if self.to_data is not None:
            return self.to_data
        self.letters.append(envelope)
        self.encrypted.append(session.ssl is not None)
        return "250 OK"

    def mail(self) -> EmailMessage:
        [envelope] = self.letters
        assert isinstance(envelope.content, bytes)
        found = message_from_bytes(envelope.content, policy=default)
        assert isinstance(found, EmailMessage)
        return found


class _Talk(SMTP):
    """One client's conversation, which a test can end: a failed handshake leaves half of it."""

    def __init__(self, mailbox: Mailbox, **given: Any) -> None:
        super().__init__(mailbox, hostname="mail.test", **given)
        self._lines: list[asyncio.Transport] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._lines.append(transport)
        super().connection_made(transport)

    async def end(self) -> None:
        for line in self._lines:
            line.abort()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
            await asyncio.gather(self._handler_coroutine, return_exceptions=True)


@asynccontextmanager
async def mail_server(
    mailbox: Mailbox, *, tls: ssl.SSLContext | None = None, wrapped: bool = False, **given: Any
) -> AsyncIterator[MailSettings]:
    talks: list[_Talk] = []

    def session() -> SMTP:
        talks.append(_Talk(mailbox, tls_context=None if wrapped else tls, **given))
        return talks[-1]

    server = await asyncio.get_running_loop().create_server(
        session, "127.0.0.1", 0, ssl=tls if wrapped else None
    )
    try:
        yield MailSettings(
            host="127.0.0.1",
            port=server.sockets[0].getsockname()[1],
            tls=wrapped,
            starttls=tls is not None and not wrapped,
            sender=Address(display_name="Isoko Ltd", addr_spec="pay@isoko.rw"),
        )
    finally:
        server.close()
        await server.wait_closed()
        for talk in talks:
            await talk.end()
        await _turns()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "mail.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


# ── what arrives ─────────────────────────────────────────────────────────────────────────────────


async def test_a_letter_arrives_as_it_was_written() -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as settings:
        assert await deliver(settings, MESSAGE) == Delivered()

    mail = mailbox.mail()
    assert mailbox.letters[0].rcpt_tos == ["aline@example.rw"]
    assert mail["From"] == "Isoko Ltd <pay@isoko.rw>"
    assert mail["Subject"] == "Paiement reçu, facture INV-2026-1"
    assert mail["Auto-Submitted"] == "auto-generated"
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == MESSAGE.text
    [pdf] = mail.iter_attachments()
    assert (pdf.get_filename(), pdf.get_content()) == ("INV-2026-1.pdf", b"%PDF-1.7 \x00")


async def test_a_letter_that_is_sent_again_has_the_same_id() -> None:
    ids = set()
    for _ in range(2):
        mailbox = Mailbox()
        async with mail_server(mailbox) as settings:
            await deliver(settings, MESSAGE)
        ids.add(mailbox.mail()["Message-ID"])

    assert ids == {f"<{MESSAGE.id}@isoko.rw>"}


SENDER = MailSettings(
    host="localhost",
    port=25,
    tls=False,
    starttls=False,
    sender=Address(display_name="Isoko", addr_spec="pay@isoko.rw"),
)


@pytest.mark.parametrize(
    "to",
    [
        "",
        "aline",
        "aline@",
        "@example.rw",
        "aline@example.rw\r\nBcc: all@example.rw",
        "aline@example.rw\nRCPT TO:<all@example.rw>",
        "aline@example.rw, all@example.rw",
        "Aline <aline@example.rw>",
        "a line@example.rw",
        "alinée@example.rw",
        "aline@exämple.rw",
    ],
)
async def test_what_is_no_single_address_is_never_written_to(to: str) -> None:
    with pytest.raises(NoAddress):
        letter(SENDER, replace(MESSAGE, to=to))

    assert await deliver(SENDER, replace(MESSAGE, to=to)) == NotDelivered(
        cause="this is no e-mail address", retry=False
    )


def test_no_subject_adds_a_header() -> None:
    mail = letter(SENDER, replace(MESSAGE, subject="Hello\r\nBcc: all@example.rw"))

    head, _, _ = mail.as_bytes().partition(b"\r\n\r\n")
    assert mail["Bcc"] is None
    assert b"\nBcc" not in head


# ── the line ─────────────────────────────────────────────────────────────────────────────────────


async def test_starttls_comes_before_the_password_and_the_letter(
    certificate: Path, server_tls: ssl.SSLContext
) -> None:
    mailbox, seen = Mailbox(), []

    def login(server: SMTP, session: Session, *given: Any) -> AuthResult:
        seen.append((session.ssl is not None, given[-1]))
        return AuthResult(success=True)

    async with mail_server(mailbox, tls=server_tls, authenticator=login) as settings:
        told = await deliver(
            replace(settings, ca_file=str(certificate), user="pay", password=PASSWORD), MESSAGE
        )

    assert told == Delivered()
    assert seen == [(True, LoginPassword(b"pay", PASSWORD.encode()))]
    assert mailbox.encrypted == [True]


async def test_tls_from_the_first_byte(certificate: Path, server_tls: ssl.SSLContext) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox, tls=server_tls, wrapped=True) as settings:
        told = await deliver(replace(settings, ca_file=str(certificate)), MESSAGE)

    assert told == Delivered()


async def test_a_server_without_starttls_is_told_nothing(certificate: Path) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as settings:
        told = await deliver(
            replace(settings, starttls=True, ca_file=str(certificate), user="pay", password="x"),
            MESSAGE,
        )

    assert isinstance(told, NotDelivered)
    assert told.retry
    assert mailbox.letters == []


async def test_a_server_that_cannot_prove_who_it_is_is_told_nothing(
    server_tls: ssl.SSLContext,
) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox, tls=server_tls) as settings:
        told = await deliver(settings, MESSAGE)

    assert isinstance(told, NotDelivered)
    assert mailbox.letters == []


# ── what the server says ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("step", "says", "retry"),
    [
        ("to_mail", "451 later", True),
        ("to_mail", "550 you may not", True),
        ("to_rcpt", "450 greylisted", True),
        ("to_rcpt", "550 no such user", False),
        ("to_data", "452 mailbox full", True),
        ("to_data", "554 spam", False),
    ],
)
async def test_a_refusal_says_whether_to_try_again(step: str, says: str, retry: bool) -> None:
    mailbox = Mailbox()
    setattr(mailbox, step, says)
    async with mail_server(mailbox) as settings:
        told = await deliver(settings, MESSAGE)

    assert told == NotDelivered(cause=says, retry=retry)


async def test_a_line_that_breaks_after_the_letter_is_unclear() -> None:
    mailbox = Mailbox(to_data="hang up")
    async with mail_server(mailbox) as settings:
        told = await deliver(settings, MESSAGE)

    assert isinstance(told, Unclear)
    assert len(mailbox.letters) == 1


async def test_a_server_that_never_answers_the_letter_is_unclear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "_STEP", 0.3)
    took = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        while line := await reader.readline():
            if line == b".\r\n":
                took.set()
            elif line == b"DATA\r\n":
                writer.write(b"354 go on\r\n")
            elif line.split(b" ")[0].strip() in {b"EHLO", b"MAIL", b"RCPT"}:
                writer.write(b"250 OK\r\n")
        writer.close()

    async with _listening(mute) as port:
        told = await deliver(replace(SENDER, host="127.0.0.1", port=port), MESSAGE)

    assert took.is_set()
    assert isinstance(told, Unclear)


async def test_a_line_that_breaks_before_the_letter_is_tried_again() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        await reader.readline()
        writer.close()

    async with _listening(rude) as port:
        told = await deliver(replace(SENDER, host="127.0.0.1", port=port), MESSAGE)

    assert isinstance(told, NotDelivered)
    assert told.retry


async def test_where_nobody_listens_it_is_tried_again(unused_tcp_port: int) -> None:
    told = await deliver(replace(SENDER, host="127.0.0.1", port=unused_tcp_port), MESSAGE)

    assert isinstance(told, NotDelivered)
    assert told.retry


async def test_a_wrong_password_is_said_without_the_password(
    certificate: Path, server_tls: ssl.SSLContext
) -> None:
    def login(*_: Any) -> AuthResult:
        return AuthResult(success=False, handled=False)

    async with mail_server(Mailbox(), tls=server_tls, authenticator=login) as settings:
        told = await deliver(
            replace(settings, ca_file=str(certificate), user="pay", password=PASSWORD), MESSAGE
        )

    assert isinstance(told, NotDelivered)
    assert told.retry
    assert "535" in told.cause
    assert PASSWORD not in told.cause


@asynccontextmanager
async def _listening(talk: Callable[..., Any]) -> AsyncIterator[int]:
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[Any]] = []

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await talk(reader, writer)

    server = await asyncio.start_server(noted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _turns()


async def _turns() -> None:
    """Sockets are closed a turn or two of the loop after they are told to."""
    for _ in range(5):
        await asyncio.sleep(0)
