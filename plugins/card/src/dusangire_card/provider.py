"""What a provider of a hosted card page can do, in our words.

The gateway asks through this; how long a link lives, what ends a payment and what is never sent
twice is decided there, once for all providers.

NoAnswer            there is no answer that can be used
├── NothingSent     the request certainly did not reach the provider
└── AnswerLost      the request may have arrived; what was said is not known
Refused             the provider understood, and said no: nothing was done
UnsafeLink          the page is not the provider's own
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from dusangire.gateway import (
    Attempt,
    Failed,
    Heard,
    Meaning,
    Outcome,
    Refund,
    TestReport,
    WebhookRequest,
)


class NoAnswer(Exception):
    """The provider did not answer."""


class NothingSent(NoAnswer):
    """The request did not reach the provider."""

    def __init__(self, cause: str, retry_after: timedelta | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class AnswerLost(NoAnswer):
    """The provider's answer was lost or cannot be read. code: what there was of it."""

    def __init__(self, cause: str, code: str | None = None) -> None:
        super().__init__(cause)
        self.code = code


class Refused(Exception):
    """The provider does not do it."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


class UnsafeLink(Exception):
    """The page is not the provider's own, and nobody is sent there."""


class Provider(Protocol):
    """One account at a provider. Everything that talks raises NoAnswer and Refused."""

    @property
    def codes(self) -> Mapping[str, Meaning]:
        """Every code that it gives, and what it means."""
        ...

    async def create_link(self, attempt: Attempt, return_url: str | None, minutes: int) -> str:
        """The address of a page that takes a card for `attempt`, open for `minutes`.

        return_url: where the page sends the payer afterwards. Raises UnsafeLink too.
        """
        ...

    async def close_link(self, url: str) -> None:
        """Nobody can begin to pay on the page any more. It may be closed already."""
        ...

    async def find_charge(self, attempt: Attempt) -> Outcome | None:
        """What became of the newest card that was tried; None: none was.

        Failed is about that card: on an open page the payer may try another.
        """
        ...

    async def charge_token(self, attempt: Attempt, token: str, return_url: str | None) -> Outcome:
        """Charges a kept card. Accepted with a FollowLink when the payer has to confirm it."""
        ...

    async def start_refund(self, refund: Refund, transaction_id: str) -> Outcome:
        """Asks for money back of a charge. Never asked again."""
        ...

    async def find_refund(self, refund: Refund, transaction_id: str) -> Outcome | None:
        """What became of this very refund; None when the provider shows none."""
        ...

    def hear(self, request: WebhookRequest) -> Heard:
        """Raises WebhookRejected."""
        ...

    async def try_account(self) -> TestReport:
        """A call that moves nothing, and what is wrong in words."""
        ...
