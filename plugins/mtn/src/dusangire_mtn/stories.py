"""Which number makes the simulator do what: MTN's own sandbox numbers, and Rwandan ones.

Every other number pays after `delay` seconds.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from dusangire.gateway import JSON
from dusangire.simulation import Script, Status, Step

_PROMPT_LIFE = 300


def script_of(number: str, amount: str, delay: float, outcomes: Mapping[str, str]) -> Script:
    """What becomes of a payment by `number`."""
    reason = outcomes.get(amount) or FAILURES.get(number)
    if reason is not None:
        return _fails(reason, delay)
    return TALES.get(number, pays)(delay)


def pays(delay: float) -> Script:
    return (Step(after=delay, status=Status.SUCCEEDED),)


def waits_for_a_person(_delay: float = 0) -> Script:
    """Nothing by itself, until MTN gives the prompt up."""
    return _fails("COULD_NOT_PERFORM_TRANSACTION", _PROMPT_LIFE)


def _fails(reason: JSON, delay: float) -> Script:
    return (Step(after=delay, status=Status.FAILED, reason=reason),)


def _never_ends(_delay: float) -> Script:
    return ()


def _pays_silently(delay: float) -> Script:
    return (Step(after=delay, status=Status.SUCCEEDED, webhooks=0),)


def _pays_and_says_so_thrice(delay: float) -> Script:
    return (Step(after=delay, status=Status.SUCCEEDED, webhooks=3),)


def _is_told_before_it_is_true(delay: float) -> Script:
    return (
        Step(after=delay, claim={"status": Status.SUCCEEDED}),
        Step(after=10, status=Status.SUCCEEDED, webhooks=0),
    )


def _is_forged(delay: float) -> Script:
    lie = {"status": Status.SUCCEEDED, "reason": None}
    return (Step(after=delay, status=Status.FAILED, reason="APPROVAL_REJECTED", claim=lie),)


def _is_told_with_another_amount(delay: float) -> Script:
    return (Step(after=delay, status=Status.SUCCEEDED, claim={"amount": "999999"}),)


def _succeeds_late(delay: float) -> Script:
    return (*_fails("EXPIRED", delay), Step(after=delay, status=Status.SUCCEEDED))


def _gives_a_reason_object(delay: float) -> Script:
    reason = {"code": "NOT_ENOUGH_FUNDS", "message": "Not enough funds."}
    return _fails(reason, delay)


def _pays_slowly(_delay: float) -> Script:
    return pays(30)


FAILURES: Mapping[str, str] = MappingProxyType(
    {
        "250780000101": "NOT_ENOUGH_FUNDS",
        "250780000102": "APPROVAL_REJECTED",
        "250780000103": "EXPIRED",
        "250780000104": "PAYER_LIMIT_REACHED",
        "250780000106": "PAYER_NOT_FOUND",
        "250780000108": "SOMETHING_NEW",
        "46733123450": "INTERNAL_PROCESSING_ERROR",
        "46733123451": "APPROVAL_REJECTED",
        "46733123452": "EXPIRED",
        "46733123455": "PAYER_NOT_FOUND",
        "46733123456": "PAYEE_NOT_ALLOWED_TO_RECEIVE",
        "46733123457": "NOT_ALLOWED",
        "46733123458": "NOT_ALLOWED_TARGET_ENVIRONMENT",
        "46733123459": "INVALID_CALLBACK_URL_HOST",
        "46733123460": "INVALID_CURRENCY",
        "46733123461": "INTERNAL_PROCESSING_ERROR",
        "46733123462": "SERVICE_UNAVAILABLE",
        "46733123463": "COULD_NOT_PERFORM_TRANSACTION",
        "46733123464": "TRANSFER_TYPE_UNKNOWN",
    }
)

TALES: Mapping[str, Callable[[float], Script]] = MappingProxyType(
    {
        "250780000105": waits_for_a_person,
        "250780000107": _gives_a_reason_object,
        "250780000201": _never_ends,
        "250780000202": _pays_silently,
        "250780000203": _pays_and_says_so_thrice,
        "250780000204": _is_told_before_it_is_true,
        "250780000205": _is_forged,
        "250780000206": _is_told_with_another_amount,
        "250780000207": _succeeds_late,
        "46733123453": _pays_slowly,
        "46733123454": _never_ends,
    }
)

# Sandbox reasons of transfers differ from those of payments.
TRANSFER_FAILURES: Mapping[str, str] = MappingProxyType(
    {
        **FAILURES,
        "46733123455": "NOT_ENOUGH_FUNDS",
        "46733123456": "PAYER_LIMIT_REACHED",
        "46733123457": "PAYEE_NOT_FOUND",
        "46733123458": "NOT_ALLOWED",
        "46733123459": "NOT_ALLOWED_TARGET_ENVIRONMENT",
        "46733123460": "INVALID_CALLBACK_URL_HOST",
        "46733123461": "INVALID_CURRENCY",
        "46733123462": "INTERNAL_PROCESSING_ERROR",
        "46733123463": "SERVICE_UNAVAILABLE",
    }
)

# In the sandbox the reference of the payment to refund chooses what becomes of the refund.
REFUND_FAILURES: Mapping[str, str] = MappingProxyType(
    {
        "1": "RESOURCE_NOT_FOUND",
        "2": "INTERNAL_PROCESSING_ERROR",
        "3": "APPROVAL_REJECTED",
        "4": "EXPIRED",
        "7": "NOT_ALLOWED",
        "8": "NOT_ALLOWED_TARGET_ENVIRONMENT",
        "9": "INVALID_CALLBACK_URL_HOST",
        "10": "INVALID_CURRENCY",
        "11": "INTERNAL_PROCESSING_ERROR",
        "12": "SERVICE_UNAVAILABLE",
        "13": "COULD_NOT_PERFORM_TRANSACTION",
    }
)
REFUND_TALES: Mapping[str, Callable[[float], Script]] = MappingProxyType(
    {"5": _pays_slowly, "6": _never_ends}
)

# Whether a number has a wallet, where the answer is not yes.
HOLDERS: Mapping[str, tuple[int, JSON]] = MappingProxyType(
    {
        "250780000106": (404, "RESOURCE_NOT_FOUND"),
        "46733123450": (404, "RESOURCE_NOT_FOUND"),
        "46733123451": (200, False),
        "46733123452": (500, "NOT_ALLOWED"),
        "46733123453": (500, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        "46733123454": (500, "INTERNAL_PROCESSING_ERROR"),
        "46733123455": (503, "SERVICE_UNAVAILABLE"),
        "notfound@email.com": (404, "RESOURCE_NOT_FOUND"),
        "notactive@email.com": (200, False),
        "notallowed@email.com": (500, "NOT_ALLOWED"),
        "notallowedtargetenvironment@email.com": (500, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        "internalprocessingerror@email.com": (500, "INTERNAL_PROCESSING_ERROR"),
        "serviceunavailable@email.com": (503, "SERVICE_UNAVAILABLE"),
    }
)
