"""A message as an e-mail: headers that nobody can add to, plain text, the invoice attached."""

from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from dusangire.channels import Message
from dusangire_email.settings import MailSettings


class NoAddress(ValueError):
    """This is no e-mail address that every server takes: one in ASCII, that is."""


def letter(settings: MailSettings, message: Message) -> EmailMessage:
    """The letter. Raises NoAddress. Sent again, it is the same letter, with the same Message-ID."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = settings.sender
    mail["To"] = _recipient(message.to)
    if settings.reply_to is not None:
        mail["Reply-To"] = settings.reply_to
    mail["Subject"] = " ".join(message.subject.split())
    mail["Message-ID"] = f"<{message.id}@{settings.sender.domain}>"
    # Nobody's holiday notice answers a machine.
    mail["Auto-Submitted"] = "auto-generated"
    mail["Content-Language"] = message.locale
    mail.set_content(message.text)
    for attachment in message.attachments:
        kind, _, subtype = attachment.content_type.partition("/")
        mail.add_attachment(
            attachment.content, maintype=kind, subtype=subtype, filename=attachment.name
        )
    return mail


def _recipient(text: str) -> Address:
    # What a shop's customer typed once: one address, and nothing that could begin another line.
    try:
        address = Address(addr_spec=text)
    except (ValueError, IndexError, MessageError) as error:
        raise NoAddress from error
    if not address.username or not address.domain or not text.isascii() or " " in text:
        raise NoAddress
    return address
