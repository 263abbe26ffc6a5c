"""What a simulated provider was asked to do, and the script of what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from dusangire.gateway import JSON
from dusangire.simulation.webhooks import Delivery


class Status(StrEnum):
    """Our words, whatever the provider calls them."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`after` seconds since the step before, something happens and is told.

    status: the new one; None leaves it as it is.
    webhooks: how many times it is told.
    claim: fields of the transaction about which the webhook lies.
    """

    after: float
    status: Status | None = None
    reason: JSON = None
    webhooks: int = 1
    claim: Mapping[str, Any] = field(default_factory=dict)


Script: TypeAlias = tuple[Step, ...]


@dataclass(slots=True, kw_only=True)
class Transaction:
    """One request to move money, as the provider knows it: the truth.

    reference: the id the client chose; it makes repeating safe.
    amount: the text as it was sent.
    party: whose money it is, such as 250788123456.
    original: the reference of the payment that a refund gives back.
    requests: how many times it was asked for, refused repetitions included.
    moves: how many times money moved. More than one is a double charge.
    decides_at: when the script changes the status next, in seconds of the event loop.
    """

    reference: str
    external_id: str
    kind: str
    amount: str
    currency: str
    party: str
    created_at: datetime
    message: str = ""
    note: str = ""
    original: str | None = None
    webhook_url: str | None = None
    webhook_method: str = "POST"
    gateway_transaction_id: str
    status: Status = Status.PENDING
    reason: JSON = None
    requests: int = 1
    moves: int = 0
    hidden_reads: int = 0
    decides_at: float | None = None
    webhooks: list[Delivery] = field(default_factory=list)
