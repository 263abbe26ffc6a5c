"""Every code in Ikaze Pay's documentation, and what it means."""

from collections.abc import Mapping
from types import MappingProxyType

from dusangire.gateway import FailureCode, Meaning

CODES: Mapping[str, Meaning] = MappingProxyType(
    {
        "LOW_BALANCE": Meaning(FailureCode.INSUFFICIENT_FUNDS, "The wallet does not hold enough."),
        "PAYER_SAID_NO": Meaning(FailureCode.DECLINED_BY_PAYER, "The payer declined."),
        "NO_REPLY": Meaning(FailureCode.PAYER_TIMEOUT, "The payer did not answer in time."),
        "NO_WALLET": Meaning(FailureCode.PAYER_NOT_FOUND, "This number has no wallet."),
        "BAD_CLIENT": Meaning(FailureCode.GATEWAY_CONFIGURATION, "The client is refused."),
        "TOO_MUCH": Meaning(FailureCode.AMOUNT_OUT_OF_LIMITS, "More than is left of the payment."),
        "NOT_PAID": Meaning(FailureCode.GATEWAY_ERROR, "The payment was never paid."),
        # These decide nothing: whoever hears them asks again.
        "ID_USED": Meaning(None, "Ikaze Pay has this id already."),
        "MAINTENANCE": Meaning(None, "Ikaze Pay is being worked on."),
    }
)
