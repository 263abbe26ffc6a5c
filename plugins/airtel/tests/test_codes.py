"""Every code that Airtel is known to use has a meaning, and none has one that it should not."""

import pytest

from dusangire.gateway import FailureCode
from dusangire.plugins import Plugin
from dusangire_airtel.codes import CODES

CONFIGURATION = FailureCode.GATEWAY_CONFIGURATION

# By Airtel's documents, as far as its users confirm them. None: it ends nothing, ask.
COLLECTION = {
    "000": None,
    "001": None,
    "002": FailureCode.WRONG_PIN,
    "003": FailureCode.PAYER_LIMIT_REACHED,
    "004": FailureCode.AMOUNT_OUT_OF_LIMITS,
    "005": FailureCode.PAYER_TIMEOUT,
    "006": None,
    "007": FailureCode.INSUFFICIENT_FUNDS,
    "008": FailureCode.DECLINED_BY_PAYER,
    "009": FailureCode.GATEWAY_ERROR,
    "010": FailureCode.PAYER_BLOCKED,
    "024": None,
    "025": None,
    "026": CONFIGURATION,
    "027": CONFIGURATION,
    "028": CONFIGURATION,
    "029": FailureCode.EXPIRED,
}
DISBURSEMENT = {
    "000": None,
    "001": None,
    "003": FailureCode.PAYER_LIMIT_REACHED,
    "004": FailureCode.AMOUNT_OUT_OF_LIMITS,
    "005": FailureCode.GATEWAY_ERROR,
    "006": None,
    "007": FailureCode.INSUFFICIENT_FUNDS,
    "009": CONFIGURATION,
    "010": CONFIGURATION,
    "011": None,
    "012": FailureCode.PAYER_NOT_FOUND,
    "013": CONFIGURATION,
    "014": None,
    "015": FailureCode.OTHER,
    "016": CONFIGURATION,
    "017": None,
    "018": CONFIGURATION,
    "019": CONFIGURATION,
}
ACCOUNT = {
    "DP02010001000": CONFIGURATION,
    "DP02010001001": None,
    "DP02100000000": None,
    "DP02100000001": None,
    "DP02100000002": CONFIGURATION,
    "DP02200000000": None,
    "DP02200000001": None,
    "DP02200000002": FailureCode.PAYER_NOT_FOUND,
}
ROUTER = {
    "001": CONFIGURATION,
    "003": CONFIGURATION,
    "005": CONFIGURATION,
    "006": CONFIGURATION,
    "007": CONFIGURATION,
    "110": CONFIGURATION,
    "112": CONFIGURATION,
    "114": CONFIGURATION,
    "115": FailureCode.WRONG_PIN,
    "116": CONFIGURATION,
    "117": None,
    "119": CONFIGURATION,
}
LEGACY = {
    "ESB000001": None,
    "ESB000004": None,
    "ESB000008": None,
    "ESB000010": None,
    "ESB000011": FailureCode.GATEWAY_ERROR,
    "ESB000014": None,
    "ESB000033": FailureCode.PAYER_NOT_FOUND,
    "ESB000034": CONFIGURATION,
    "ESB000035": CONFIGURATION,
    "ESB000036": FailureCode.PAYER_NOT_FOUND,
    "ESB000039": CONFIGURATION,
    "ESB000041": None,
    "ESB000045": None,
    "ESB0000900": None,
    "521002": FailureCode.PAYER_NOT_FOUND,
    "521050": None,
}
STATUSES = {
    "TS": None,
    "TF": FailureCode.OTHER,
    "TE": FailureCode.EXPIRED,
    "TA": None,
    "TIP": None,
    "TI": None,
}
CALLS = dict.fromkeys(
    ("invalid_client", "invalid_token", "400", "401", "403", "404", "405", "415"), CONFIGURATION
)
PROMISED = {
    **{f"DP00800001{last}": failure for last, failure in COLLECTION.items()},
    **{f"DP00900001{last}": failure for last, failure in DISBURSEMENT.items()},
    **ACCOUNT,
    **{f"ROUTER{last}": failure for last, failure in ROUTER.items()},
    **LEGACY,
    **STATUSES,
    **CALLS,
}


def test_every_code_is_promised_here() -> None:
    assert {code: meaning.failure for code, meaning in CODES.items()} == PROMISED


def test_every_code_says_something_to_staff(plugin: Plugin) -> None:
    assert plugin.description.codes is CODES
    assert all(meaning.text.endswith(".") for meaning in CODES.values())


@pytest.mark.parametrize("code", ["DP00800001001", "DP00900001001", "ESB000010", "TS"])
def test_no_code_of_success_is_a_failure(code: str) -> None:
    assert CODES[code].failure is None
