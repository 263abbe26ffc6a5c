"""What can go wrong, in one tree.

DusangireError
├── CallerError                 the caller can correct it; GraphQL shows it as a UserError
│   ├── Invalid                 INVALID
│   ├── NotFound                NOT_FOUND
│   ├── Forbidden               FORBIDDEN
│   │   └── ConfirmationNeeded  a person must type their password or code again
│   ├── Conflict                CONFLICT
│   ├── IdempotencyMismatch     IDEMPOTENCY_MISMATCH
│   ├── InvalidAmount           INVALID_AMOUNT
│   ├── CurrencyNotSupported    CURRENCY_NOT_SUPPORTED
│   ├── AmountOutOfLimits       AMOUNT_OUT_OF_LIMITS
│   ├── InvalidPhone            INVALID_PHONE
│   ├── GatewayNotFound         GATEWAY_NOT_FOUND
│   ├── GatewayDisabled         GATEWAY_DISABLED
│   ├── GatewayUnavailable      GATEWAY_UNAVAILABLE
│   ├── GatewayRejected         GATEWAY_REJECTED
│   ├── GatewayConfiguration    GATEWAY_CONFIGURATION
│   ├── IllegalState            ILLEGAL_STATE
│   ├── AttemptOpen             ATTEMPT_OPEN
│   ├── Expired                 EXPIRED
│   ├── RefundExceedsCaptured   REFUND_EXCEEDS_CAPTURED
│   ├── RefundNotSupported      REFUND_NOT_SUPPORTED
│   ├── SelfApproval            SELF_APPROVAL
│   ├── StaleApproval           STALE_APPROVAL
│   ├── UnknownFormat           UNKNOWN_FORMAT
│   └── Retryable               RETRYABLE: it may or may not have happened, the same key tells
├── Unauthenticated             no token, or none that we know
│   └── SignInRefused           a person who is not let in
├── TooManyTries                to sign in: wait
├── WebhookRejected             not from the gateway: answered with its status, nothing stored
└── CannotStart                 a setting or a key is wrong: the process says which and stops
    ├── PostgresNotFound        postgres.py: no server binaries
    └── PostgresFailedToStart   postgres.py: they do not run here

The docstring of a class is its message.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """Stable words for what the caller can correct (`ErrorCode` in the API)."""

    INVALID = "INVALID"
    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    CONFLICT = "CONFLICT"
    IDEMPOTENCY_MISMATCH = "IDEMPOTENCY_MISMATCH"
    INVALID_AMOUNT = "INVALID_AMOUNT"
    CURRENCY_NOT_SUPPORTED = "CURRENCY_NOT_SUPPORTED"
    AMOUNT_OUT_OF_LIMITS = "AMOUNT_OUT_OF_LIMITS"
    INVALID_PHONE = "INVALID_PHONE"
    GATEWAY_NOT_FOUND = "GATEWAY_NOT_FOUND"
    GATEWAY_DISABLED = "GATEWAY_DISABLED"
    GATEWAY_UNAVAILABLE = "GATEWAY_UNAVAILABLE"
    GATEWAY_REJECTED = "GATEWAY_REJECTED"
    GATEWAY_CONFIGURATION = "GATEWAY_CONFIGURATION"
    ILLEGAL_STATE = "ILLEGAL_STATE"
    ATTEMPT_OPEN = "ATTEMPT_OPEN"
    EXPIRED = "EXPIRED"
    REFUND_EXCEEDS_CAPTURED = "REFUND_EXCEEDS_CAPTURED"
    REFUND_NOT_SUPPORTED = "REFUND_NOT_SUPPORTED"
    SELF_APPROVAL = "SELF_APPROVAL"
    STALE_APPROVAL = "STALE_APPROVAL"
    UNREADABLE_FILE = "UNREADABLE_FILE"
    UNKNOWN_FORMAT = "UNKNOWN_FORMAT"
    DUPLICATE_FILE = "DUPLICATE_FILE"
    TOO_LARGE = "TOO_LARGE"
    RETRYABLE = "RETRYABLE"


class DusangireError(Exception):
    """Something went wrong in DUSANGIRE payments."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self)


class CallerError(DusangireError):
    """The request cannot be done as it stands."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID

    def __init__(self, message: str | None = None, *, field: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.field = tuple(field)


class Invalid(CallerError):
    """A value is not acceptable."""

    code = ErrorCode.INVALID


class NotFound(CallerError):
    """There is no such thing, or you may not see it."""

    code = ErrorCode.NOT_FOUND


class Forbidden(CallerError):
    """Your token does not allow this. Ask for a key with the right scope."""

    code = ErrorCode.FORBIDDEN


class ConfirmationNeeded(Forbidden):
    """Confirm that it is you first: call confirmIdentity with your password or code."""


class Conflict(CallerError):
    """Somebody else changed it meanwhile. Read it again, then decide."""

    code = ErrorCode.CONFLICT


class IdempotencyMismatch(CallerError):
    """This idempotency key was used before with other input. Nothing was done; use a new key."""

    code = ErrorCode.IDEMPOTENCY_MISMATCH


class InvalidAmount(CallerError):
    """The amount must be a positive decimal number."""

    code = ErrorCode.INVALID_AMOUNT


class CurrencyNotSupported(CallerError):
    """This currency cannot be used here."""

    code = ErrorCode.CURRENCY_NOT_SUPPORTED


class AmountOutOfLimits(CallerError):
    """The amount is outside the limits of this payment method."""

    code = ErrorCode.AMOUNT_OUT_OF_LIMITS


class InvalidPhone(CallerError):
    """This is not a phone number we can use. Write it like 0788 123 456 or +250788123456."""

    code = ErrorCode.INVALID_PHONE


class GatewayNotFound(CallerError):
    """There is no gateway with this code. The `gateways` query lists them."""

    code = ErrorCode.GATEWAY_NOT_FOUND


class GatewayDisabled(CallerError):
    """This gateway is switched off. Choose another payment method."""

    code = ErrorCode.GATEWAY_DISABLED


class GatewayUnavailable(CallerError):
    """This gateway cannot be reached now. Try again later or choose another payment method."""

    code = ErrorCode.GATEWAY_UNAVAILABLE


class GatewayRejected(CallerError):
    """The gateway refuses this payer. Check the number or choose another payment method."""

    code = ErrorCode.GATEWAY_REJECTED


class GatewayConfiguration(CallerError):
    """The gateway's configuration is not complete or not right."""

    code = ErrorCode.GATEWAY_CONFIGURATION


class IllegalState(CallerError):
    """This cannot be done in the payment's present state."""

    code = ErrorCode.ILLEGAL_STATE


class AttemptOpen(CallerError):
    """An attempt is still open at the gateway: the payer may still pay. Wait until it ended."""

    code = ErrorCode.ATTEMPT_OPEN


class Expired(CallerError):
    """The payment's time is over. Create a new payment."""

    code = ErrorCode.EXPIRED


class RefundExceedsCaptured(CallerError):
    """This is more than is left of the payment to give back."""

    code = ErrorCode.REFUND_EXCEEDS_CAPTURED


class RefundNotSupported(CallerError):
    """This gateway cannot give this back."""

    code = ErrorCode.REFUND_NOT_SUPPORTED


class SelfApproval(CallerError):
    """Nobody decides on a refund that they asked for themselves. Ask somebody else."""

    code = ErrorCode.SELF_APPROVAL


class StaleApproval(CallerError):
    """This is not the request that you saw. Read it again, then decide."""

    code = ErrorCode.STALE_APPROVAL


class UnknownFormat(CallerError):
    """There is no such format of statements."""

    code = ErrorCode.UNKNOWN_FORMAT


class Retryable(CallerError):
    """Try again with the same idempotency key: it may or may not have happened already."""

    code = ErrorCode.RETRYABLE


class Unauthenticated(DusangireError):
    """Send `Authorization: Bearer <API key or client token>` with a token that is valid."""


class SignInRefused(Unauthenticated):
    """The e-mail, the password or the code is not right."""


class TooManyTries(DusangireError):
    """There were too many tries to sign in."""

    def __init__(self, message: str | None = None, *, wait: int) -> None:
        super().__init__(message or f"There were too many tries. Wait {wait} seconds.")
        self.wait = wait


class WebhookRejected(DusangireError):
    """This does not come from the gateway."""

    def __init__(self, message: str | None = None, *, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class CannotStart(DusangireError):
    """A setting is missing or wrong."""
