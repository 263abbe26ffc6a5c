"""Every code of Airtel's that is known, and what it means for the payment.

The meanings of collection codes drift from country to country. So whether a payment has ended is
read from its status; its code then says why, and decides alone only where there is no status.
"""

from collections.abc import Mapping
from types import MappingProxyType

from dusangire.gateway import FailureCode, Meaning

_CONFIGURATION = FailureCode.GATEWAY_CONFIGURATION

# `data.transaction.status` of an enquiry, and `status_code` of a callback.
STATUSES: Mapping[str, Meaning] = {
    "TS": Meaning(None, "Paid."),
    "TF": Meaning(FailureCode.OTHER, "Failed, and Airtel gave no reason that we know."),
    "TE": Meaning(FailureCode.EXPIRED, "The prompt expired before the payer answered it."),
    "TA": Meaning(None, "Ambiguous: it may still be paid. Look it up in Airtel's portal."),
    "TIP": Meaning(None, "In progress."),
    "TI": Meaning(None, "Initiated."),
}

COLLECTION: Mapping[str, Meaning] = {
    "DP00800001000": Meaning(None, "Ambiguous, still being processed."),
    "DP00800001001": Meaning(None, "Success, if the status says so too."),
    "DP00800001002": Meaning(FailureCode.WRONG_PIN, "The payer entered a wrong PIN."),
    "DP00800001003": Meaning(
        FailureCode.PAYER_LIMIT_REACHED, "The payer's wallet has reached a limit."
    ),
    "DP00800001004": Meaning(
        FailureCode.AMOUNT_OUT_OF_LIMITS, "The amount is less than Airtel takes."
    ),
    "DP00800001005": Meaning(
        FailureCode.PAYER_TIMEOUT,
        "The payer did not enter the PIN. In some countries: not enough money.",
    ),
    "DP00800001006": Meaning(None, "In process: the payer is being asked."),
    "DP00800001007": Meaning(
        FailureCode.INSUFFICIENT_FUNDS,
        "There is not enough money in the wallet. In some countries: the payer declined.",
    ),
    "DP00800001008": Meaning(FailureCode.DECLINED_BY_PAYER, "The payer declined."),
    "DP00800001009": Meaning(FailureCode.GATEWAY_ERROR, "Airtel refused without saying why."),
    "DP00800001010": Meaning(
        FailureCode.PAYER_BLOCKED,
        "The number may not pay: it is barred, given up or not registered for Airtel Money.",
    ),
    "DP00800001024": Meaning(None, "Timed out at Airtel: it may still be paid."),
    "DP00800001025": Meaning(None, "Airtel does not know the transaction, or not yet."),
    "DP00800001026": Meaning(
        _CONFIGURATION,
        "Airtel says that the signature does not fit the body. Compare message_signing and "
        "padding with the portal.",
    ),
    "DP00800001027": Meaning(_CONFIGURATION, "Airtel cannot use the key of the signature."),
    "DP00800001028": Meaning(_CONFIGURATION, "Airtel cannot use the key of the signature."),
    "DP00800001029": Meaning(
        FailureCode.EXPIRED, "The prompt expired before the payer answered it."
    ),
}

# Of paying out. DUSANGIRE does not, but a refund is paid out too and may be answered so.
DISBURSEMENT: Mapping[str, Meaning] = {
    "DP00900001000": Meaning(None, "Ambiguous, still being processed."),
    "DP00900001001": Meaning(None, "Success."),
    "DP00900001003": Meaning(
        FailureCode.PAYER_LIMIT_REACHED, "The wallet has reached its limit for today."
    ),
    "DP00900001004": Meaning(
        FailureCode.AMOUNT_OUT_OF_LIMITS, "The amount is not one that Airtel takes."
    ),
    "DP00900001005": Meaning(FailureCode.GATEWAY_ERROR, "Airtel says it failed."),
    "DP00900001006": Meaning(None, "Being processed."),
    "DP00900001007": Meaning(
        FailureCode.INSUFFICIENT_FUNDS, "The merchant's wallet does not hold enough money."
    ),
    "DP00900001009": Meaning(_CONFIGURATION, "Airtel does not know the merchant's wallet."),
    "DP00900001010": Meaning(_CONFIGURATION, "The merchant's wallet may not pay out."),
    "DP00900001011": Meaning(None, "Airtel has a similar transaction already."),
    "DP00900001012": Meaning(FailureCode.PAYER_NOT_FOUND, "The number has no Airtel Money wallet."),
    "DP00900001013": Meaning(_CONFIGURATION, "Airtel does not accept the form of the request."),
    "DP00900001014": Meaning(None, "Timed out at Airtel: it may still be paid out."),
    "DP00900001015": Meaning(FailureCode.OTHER, "Airtel does not know the transaction."),
    "DP00900001016": Meaning(_CONFIGURATION, "Airtel says the signature does not fit the body."),
    "DP00900001017": Meaning(None, "Airtel has a transaction with this id already."),
    "DP00900001018": Meaning(_CONFIGURATION, "Airtel does not let the application pay out."),
    "DP00900001019": Meaning(_CONFIGURATION, "The merchant's wallet is barred."),
}

ACCOUNT: Mapping[str, Meaning] = {
    "DP02010001000": Meaning(_CONFIGURATION, "Airtel gives the application no encryption key."),
    "DP02010001001": Meaning(None, "The encryption key."),
    "DP02100000000": Meaning(None, "Airtel cannot tell the balance now."),
    "DP02100000001": Meaning(None, "The balance."),
    "DP02100000002": Meaning(_CONFIGURATION, "Airtel finds no wallet of the merchant's."),
    "DP02200000000": Meaning(None, "Airtel cannot look the payer up now."),
    "DP02200000001": Meaning(None, "The payer has a wallet."),
    "DP02200000002": Meaning(FailureCode.PAYER_NOT_FOUND, "The number has no Airtel Money wallet."),
}

# Airtel's gateway answers these before any product has seen the request.
ROUTER: Mapping[str, Meaning] = {
    "ROUTER001": Meaning(_CONFIGURATION, "The merchant's wallet is not set up at Airtel."),
    "ROUTER003": Meaning(_CONFIGURATION, "A header or field is missing in the request."),
    "ROUTER005": Meaning(_CONFIGURATION, "The application has no way to this country."),
    "ROUTER006": Meaning(_CONFIGURATION, "Airtel does not know the country. Correct country."),
    "ROUTER007": Meaning(_CONFIGURATION, "The application may not work in this country."),
    "ROUTER110": Meaning(
        _CONFIGURATION, "Airtel does not find the merchant. Correct country and base_url."
    ),
    "ROUTER112": Meaning(_CONFIGURATION, "The currency is not the country's. Correct currency."),
    "ROUTER114": Meaning(_CONFIGURATION, "Airtel could not check the merchant's PIN."),
    "ROUTER115": Meaning(FailureCode.WRONG_PIN, "A wrong PIN was entered."),
    "ROUTER116": Meaning(_CONFIGURATION, "Airtel cannot decrypt the merchant's PIN."),
    "ROUTER117": Meaning(None, "Timed out at Airtel's gateway: it may still be paid."),
    "ROUTER119": Meaning(_CONFIGURATION, "The currency is missing or wrong. Correct currency."),
}

# Older codes, in `result_code`.
LEGACY: Mapping[str, Meaning] = {
    "ESB000001": Meaning(None, "Something went wrong at Airtel: it may still be paid."),
    "ESB000004": Meaning(None, "Airtel had trouble beginning: it may still be paid."),
    "ESB000008": Meaning(
        None, "A field or header is not valid, if the message names one. Otherwise open."
    ),
    "ESB000010": Meaning(None, "Success, if the status says so too."),
    "ESB000011": Meaning(FailureCode.GATEWAY_ERROR, "Airtel says it failed."),
    "ESB000014": Meaning(None, "Airtel could not read the status."),
    "ESB000033": Meaning(FailureCode.PAYER_NOT_FOUND, "The number has the wrong length."),
    "ESB000034": Meaning(_CONFIGURATION, "Airtel does not know the country. Correct country."),
    "ESB000035": Meaning(_CONFIGURATION, "Airtel does not know the currency. Correct currency."),
    "ESB000036": Meaning(FailureCode.PAYER_NOT_FOUND, "The number must not begin with 0."),
    "ESB000039": Meaning(_CONFIGURATION, "The merchant is not set up for this country."),
    "ESB000041": Meaning(None, "Airtel has this payment already."),
    "ESB000045": Meaning(None, "Airtel does not know the transaction, or not yet."),
    "ESB0000900": Meaning(None, "Possibly ambiguous: it may still be paid."),
    "521002": Meaning(FailureCode.PAYER_NOT_FOUND, "The number is not one of Airtel's."),
    "521050": Meaning(None, "Stands beside other codes, and says nothing by itself."),
}

# What is said of a call and not of a payment: words of the token service, and bare statuses.
CALLS: Mapping[str, Meaning] = {
    "invalid_client": Meaning(_CONFIGURATION, "Airtel refuses client_id or client_secret."),
    "invalid_token": Meaning(_CONFIGURATION, "Airtel refuses the token it gave a moment before."),
    "400": Meaning(_CONFIGURATION, "Airtel does not accept the form of the request."),
    "401": Meaning(_CONFIGURATION, "Airtel turns this server away."),
    "403": Meaning(
        _CONFIGURATION,
        "Airtel turns this server away. Add its public IP address in the portal.",
    ),
    "404": Meaning(
        _CONFIGURATION, "There is no such Airtel API. Correct base_url or payments_version."
    ),
    "405": Meaning(
        _CONFIGURATION, "There is no such Airtel API. Correct base_url or payments_version."
    ),
    "415": Meaning(_CONFIGURATION, "Airtel does not accept the form of the request."),
}

CODES: Mapping[str, Meaning] = MappingProxyType(
    {**STATUSES, **COLLECTION, **DISBURSEMENT, **ACCOUNT, **ROUTER, **LEGACY, **CALLS}
)

# A reference that Airtel has already: an earlier request arrived.
DUPLICATE = frozenset({"ESB000041"})
NOT_FOUND = frozenset({"ESB000045", "DP00800001025"})
# How Airtel says that all is well.
SUCCESS = frozenset({"DP00800001001", "DP00800001006", "DP00900001001", "ESB000010"})
