"""Reads what MTN sends: an unsigned hint that a payment or refund has ended.

MTN's webhooks carry no signature, so anybody who knows the address can write one: it makes us
ask, and decides nothing.
"""

import hashlib
import json
from collections.abc import Mapping

from dusangire.errors import WebhookRejected
from dusangire.gateway import JSON, Heard, Trust, WebhookRequest

MAX_BODY = 16 * 1024
_MAX_ID = 64


def read(request: WebhookRequest) -> Heard:
    """Raises WebhookRejected for what is not a JSON object."""
    fields = _parse(request.body)
    return Heard(
        reference=_reference(fields),
        trust=Trust.UNSIGNED,
        dedupe_key=_digest(fields),
    )


def _parse(body: bytes) -> Mapping[str, JSON]:
    if len(body) > MAX_BODY:
        raise WebhookRejected("MTN's webhooks are smaller than 16 KiB.", status=413)
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WebhookRejected("The body is not JSON.", status=400) from error
    if not isinstance(fields, dict):
        raise WebhookRejected("The body is not a JSON object.", status=400)
    return fields


def _reference(fields: Mapping[str, JSON]) -> str | None:
    # We send our reference as externalId, the only id that MTN repeats. Some of its products
    # are said to add referenceId.
    for name in ("externalId", "referenceId"):
        value = fields.get(name)
        if isinstance(value, str) and 0 < len(value) <= _MAX_ID and value.isprintable():
            return value
    return None


def _digest(fields: Mapping[str, JSON]) -> str:
    names = ("externalId", "status", "financialTransactionId", "amount")
    told = json.dumps([fields.get(name) for name in names])
    return hashlib.sha256(told.encode()).hexdigest()
