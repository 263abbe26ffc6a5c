"""Reads what Ikaze Pay sends: a push or refund that has ended, signed with the account's key."""

import hashlib
import hmac
import json

from dusangire.errors import WebhookRejected
from dusangire.gateway import JSON, Gateway, Heard, Trust, WebhookRequest
from dusangire_ikaze.config import IkazeConfig
from dusangire_ikaze.mapping import outcome_of


def read(gateway: Gateway[IkazeConfig], request: WebhookRequest) -> Heard:
    """Raises WebhookRejected for whatever is not from Ikaze Pay."""
    message = _object(request.body)
    text, signature = message.get("text"), message.get("signature")
    if not isinstance(text, str) or not isinstance(signature, str):
        raise WebhookRejected("This is not one of Ikaze Pay's notifications.", status=400)
    # First the signature, over the text as it came; only then is the text believed.
    if not hmac.compare_digest(_bytes(_signed(gateway.config, text)), _bytes(signature)):
        raise WebhookRejected("The signature is not Ikaze Pay's.", status=401)
    told = _object(text)
    reference = told.get("id")
    return Heard(
        reference=reference if isinstance(reference, str) else None,
        trust=Trust.SIGNED,
        dedupe_key=f"{reference} {told.get('state')}",
        outcome=outcome_of(told),
    )


def _signed(config: IkazeConfig, text: str) -> str:
    key = config.signing_key.get_secret_value().encode()
    return hmac.new(key, _bytes(text), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    # JSON may hold half a character, which plain UTF-8 refuses.
    return text.encode(errors="surrogatepass")


def _object(body: str | bytes) -> dict[str, JSON]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
