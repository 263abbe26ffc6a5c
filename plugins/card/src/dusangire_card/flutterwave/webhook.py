"""Reads what Flutterwave sends: a hint that a charge or a refund has news, and never an outcome.

The hash that comes with it is a shared word and covers nothing of the message: whoever saw one
webhook can write another. So each of them makes us ask, and none decides.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping

from dusangire.errors import WebhookRejected
from dusangire.gateway import JSON, Heard, Trust, WebhookRequest

# We send UUIDs, so nothing else can be ours. It is also too short to hold a card number.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read(request: WebhookRequest, secret: str) -> Heard:
    """Raises WebhookRejected for what is not Flutterwave's, or is no JSON object."""
    trust = _trust(request, secret.encode())
    fields = _parse(request.body)
    data = fields.get("data")
    inner = data if isinstance(data, dict) else fields
    is_refund = any(name in inner for name in ("AmountRefunded", "amount_refunded"))
    reference = _reference(inner, ("comments",) if is_refund else ("tx_ref", "txRef"))
    return Heard(reference=reference, trust=trust, dedupe_key=_digest(is_refund, inner, reference))


def _trust(request: WebhookRequest, secret: bytes) -> Trust:
    """One header must be right, and none that looks like a signature may be wrong."""
    word = request.headers.get("verif-hash")
    signature = request.headers.get("flutterwave-signature")
    shared = _same(word, secret) or _same(signature, secret)
    if signature is not None and not _same(signature, secret):
        seal = _seal(signature)
        if seal is not None and hmac.compare_digest(seal, _hmac(request.body, secret)):
            return Trust.SIGNED
        if seal is not None:
            raise WebhookRejected("The signature is not Flutterwave's.", status=401)
    if not shared:
        raise WebhookRejected("The secret hash is missing or wrong.", status=401)
    return Trust.SHARED_SECRET


def _same(given: str | None, secret: bytes) -> bool:
    return given is not None and hmac.compare_digest(given.encode("utf-8", "replace"), secret)


def _hmac(body: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, body, hashlib.sha256).digest()


def _seal(text: str) -> bytes | None:
    """The 32 bytes of a signature, in hex or base64; None for what does not look like one."""
    if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text)
    try:
        seal = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return seal if len(seal) == 32 else None


def _parse(body: bytes) -> Mapping[str, JSON]:
    try:
        # As text first: JSON may also be UTF-16, where nobody would see a card number in it.
        fields = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise WebhookRejected("The body is not JSON.", status=400) from error
    if not isinstance(fields, dict):
        raise WebhookRejected("The body is not a JSON object.", status=400)
    return fields


def _reference(fields: Mapping[str, JSON], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and (found := _UUID.search(value)):
            return found[0]
    return None


def _digest(is_refund: bool, fields: Mapping[str, JSON], reference: str | None) -> str:
    told = json.dumps([is_refund, fields.get("id"), fields.get("status"), reference])
    return hashlib.sha256(told.encode()).hexdigest()
