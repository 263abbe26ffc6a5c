"""Which number makes the simulator do what.

Every other number that begins with 72 or 73 pays after `delay` seconds.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from dusangire.simulation import Script, Status, Step

DECLINED = "DP00800001008"
NO_PIN = "DP00800001005"
EXPIRED = "DP00800001029"
BARRED = "DP00800001010"
# What a webhook's claim puts into the transaction's note, to have it hashed otherwise.
WRONG_HASH = "wrong hash"
NO_HASH = "no hash"
_PROMPT_LIFE = 60


def script_of(number: str, amount: str, delay: float, outcomes: Mapping[str, str]) -> Script:
    """What becomes of a payment by `number`."""
    code = outcomes.get(amount) or FAILURES.get(number)
    if code is not None:
        return _fails(code, delay)
    return TALES.get(number, pays)(delay)


def pays(delay: float) -> Script:
    return (Step(after=delay, status=Status.SUCCEEDED),)


def waits_for_a_person(_delay: float = 0) -> Script:
    """Nothing by itself, until Airtel gives the prompt up."""
    return _fails(NO_PIN, _PROMPT_LIFE)


def _fails(code: str, delay: float) -> Script:
    return (Step(after=delay, status=Status.FAILED, reason=code),)


def _never_ends(_delay: float) -> Script:
    return ()


def _pays_silently(delay: float) -> Script:
    return (Step(after=delay, status=Status.SUCCEEDED, webhooks=0),)


def _pays_and_says_so_thrice(delay: float) -> Script:
    return (Step(after=delay, status=Status.SUCCEEDED, webhooks=3),)


def _is_told_to_have_failed_and_pays(delay: float) -> Script:
    return (
        Step(after=delay, claim={"status": Status.FAILED}),
        Step(after=10, status=Status.SUCCEEDED, webhooks=0),
    )


def _is_forged(delay: float) -> Script:
    lie = {"status": Status.SUCCEEDED, "note": WRONG_HASH}
    return (Step(after=delay, status=Status.FAILED, reason=DECLINED, claim=lie),)


def _is_told_without_hash(delay: float) -> Script:
    return (Step(after=delay, status=Status.SUCCEEDED, claim={"note": NO_HASH}),)


FAILURES: Mapping[str, str] = MappingProxyType(
    {
        "730000002": "DP00800001002",
        "730000003": "DP00800001003",
        "730000007": "DP00800001007",
        "730000008": DECLINED,
        "730000029": EXPIRED,
        "730000108": BARRED,
        "730000109": BARRED,
    }
)

TALES: Mapping[str, Callable[[float], Script]] = MappingProxyType(
    {
        "730000005": waits_for_a_person,
        "730000100": _never_ends,
        "730000101": _never_ends,
        "730000102": _pays_silently,
        "730000103": _pays_and_says_so_thrice,
        "730000104": _is_told_to_have_failed_and_pays,
        "730000105": _is_forged,
        "730000106": _is_told_without_hash,
    }
)

# Numbers without a wallet are told at once, as are all that are not Airtel's.
NO_WALLET = frozenset({"730000010", "730000110"})
AMBIGUOUS = "730000024"
BROKEN = "730000025"
UNANSWERED = "730000026"
TIMED_OUT = "730000117"

# While such a payment waits, an enquiry shows this status and code.
WAITING: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"730000100": ("TA", "DP00800001000"), "730000107": ("TIP", "DP00800001999")}
)

# What a look-up of the payer shows, where all is not well.
PAYERS: Mapping[str, Mapping[str, bool]] = MappingProxyType(
    {"730000108": {"is_barred": True}, "730000109": {"is_pin_set": False}}
)
