"""Messages by e-mail."""

import asyncio
from dataclasses import replace

import aiosmtplib

from dusangire import hookimpl
from dusangire.channels import (
    Address,
    ChannelDescription,
    Delivered,
    Delivery,
    Message,
    NotDelivered,
    Unclear,
)
from dusangire.masking import mask_text, spellings
from dusangire_email.letter import NoAddress, letter
from dusangire_email.settings import MailSettings, read_settings

# One step of the conversation; all until the letter; all of it. Within the first two, whatever
# breaks has sent nothing, so that they end before the channel's time does.
_STEP = 20.0
_BEFORE = 45.0
_ALL = _BEFORE + 2 * _STEP + 5


@hookimpl
def describe_channel() -> ChannelDescription | None:
    # Read while the plugin is loaded: with an address that is mistyped, nothing starts.
    if read_settings() is None:
        return None
    return ChannelDescription(
        name="E-mail", needs=Address.EMAIL, attachments=True, call_timeout=_ALL
    )


@hookimpl
async def send_message(message: Message) -> Delivery:
    settings = read_settings()
    if settings is None:
        return NotDelivered(cause="DUSANGIRE_SMTP_URL is not set", retry=True)
    return await deliver(settings, message)


async def deliver(settings: MailSettings, message: Message) -> Delivery:
    """One letter, in one conversation with the server."""
    try:
        mail = letter(settings, message)
    except NoAddress:
        return NotDelivered(cause="this is no e-mail address", retry=False)
    server = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        username=settings.user,
        password=settings.password,
        use_tls=settings.tls,
        start_tls=settings.starttls,
        tls_context=settings.tls_context() if settings.tls or settings.starttls else None,
        timeout=_STEP,
    )
    try:
        refused = await _before_the_letter(server, settings, message)
        return _discreet(settings, refused or await _the_letter(server, mail.as_bytes()))
    finally:
        server.close()


def _discreet(settings: MailSettings, delivery: Delivery) -> Delivery:
    """A server may say what it was told, and its words are kept."""
    if isinstance(delivery, Delivered):
        return delivery
    return replace(delivery, cause=mask_text(delivery.cause, spellings(settings.password)))


async def _before_the_letter(
    server: aiosmtplib.SMTP, settings: MailSettings, message: Message
) -> NotDelivered | None:
    """Until the letter itself is said, nothing can have been sent, whatever breaks."""
    try:
        async with asyncio.timeout(_BEFORE):
            await server.connect()
            await server.mail(settings.sender.addr_spec)
            await server.rcpt(message.to)
    except aiosmtplib.SMTPAuthenticationError as error:
        # The setting is wrong, not the recipient: whoever corrects it finds the letters waiting.
        return NotDelivered(cause=f"the server refuses the password: {error.code}", retry=True)
    except aiosmtplib.SMTPRecipientRefused as error:
        return _refused(error.code, error.message)
    except aiosmtplib.SMTPResponseException as error:
        # Who refuses the sender, or wants to know us first, may be told otherwise tomorrow.
        return NotDelivered(cause=_said(error.code, error.message), retry=True)
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
        return NotDelivered(cause=f"{type(error).__name__}: {error}", retry=True)
    return None


async def _the_letter(server: aiosmtplib.SMTP, content: bytes) -> Delivery:
    try:
        await server.data(content)
    except aiosmtplib.SMTPResponseException as error:
        if 400 <= error.code < 600:
            return _refused(error.code, error.message)
        return Unclear(cause=_said(error.code, error.message))
    except (aiosmtplib.SMTPException, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        # It may lie in the recipient's mailbox, although nobody told us.
        return Unclear(cause=f"the server did not say whether it took it: {type(error).__name__}")
    return Delivered()


def _refused(code: int, text: str) -> NotDelivered:
    """4xx: later. 5xx: never."""
    return NotDelivered(cause=_said(code, text), retry=not 500 <= code < 600)


def _said(code: int, text: str) -> str:
    return f"{code} {' '.join(text.split())}"[:300]
