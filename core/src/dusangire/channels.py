"""What channel hooks are given and what they give back: messages to customers and staff.

A channel's author needs this module and `hookspecs`, nothing else.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Address(StrEnum):
    """What a channel needs to know of somebody to reach them."""

    EMAIL = "EMAIL"
    PHONE = "PHONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDescription:
    """A way to reach people.

    name: what staff call it, such as `E-mail`.
    needs: the address it needs; None for one that reaches a place, such as a chat room: then all
        staff are one recipient.
    attachments: whether it can carry an invoice as a PDF. It is not drawn for one that cannot.
    customers, staff: whom it writes to.
    call_timeout: after this many seconds without an answer, nobody knows whether it was sent.
    """

    name: str
    needs: Address | None
    attachments: bool = False
    customers: bool = True
    staff: bool = True
    call_timeout: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A document that goes with a message."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something to tell somebody, in their language.

    id: the same for each try of one message, and no other's.
    to: an e-mail address, or a phone number in E.164, as the channel needs it; "" where it needs
        none.
    notice: what it is about, such as `REFUND_MADE`.
    locale: `rw`, `en` or `fr`.
    subject: one line. text: the whole message, in lines. short: the same in about 150 characters,
        for channels that have little room.
    """

    id: str
    to: str
    notice: str
    locale: str
    subject: str
    text: str
    short: str
    attachments: tuple[Attachment, ...] = ()


# ── what became of it: three answers, and nothing else ───────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The channel has taken it, and answers for it from here on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDelivered:
    """It was certainly not sent. retry: it may work later; False: it never will."""

    cause: str
    retry: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """It may have been sent. No machine sends it again: nobody shall be told twice."""

    cause: str


Delivery: TypeAlias = Delivered | NotDelivered | Unclear
