"""Reads what Airtel sends: a callback that something ended, hashed if the portal says so.

Airtel sends intermediate callbacks as well as final ones and does not mark which is which. So even
a genuine one only makes us ask: no callback carries an outcome.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping

from dusangire.errors import WebhookRejected
from dusangire.gateway import JSON, Gateway, Heard, Trust, WebhookRequest
from dusangire_airtel.config import AirtelConfig, HashedPart
from dusangire_airtel.mapping import our_reference

MAX_BODY = 16 * 1024
_MAX_ID = 64
_TOLD = ("id", "status_code", "airtel_money_id", "message")
_BLANKS = re.compile(r"[ \t\n\r]*")


def read(gateway: Gateway[AirtelConfig], request: WebhookRequest) -> Heard:
    """Raises WebhookRejected for what is no callback, or not hashed with the account's key."""
    text, fields = _parse(request.body)
    transaction = _transaction(fields)
    key = gateway.config.callback_hash_key
    if key is not None:
        wanted = gateway.config.callback_hash
        parts = _hashed_parts(request, text, fields)
        tried = {part: hashed for part, hashed in parts if wanted in {HashedPart.AUTO, part}}
        found = _matching(key.get_secret_value(), _hash(request, fields), tried)
        if found is None:
            raise WebhookRejected("The hash is missing or does not fit.")
        # Airtel does not say of which bytes it makes the hash: the first live callback does.
        gateway.log.info("callback hash fits", made_of=found.value)
    return Heard(
        reference=our_reference(transaction["id"]),
        trust=Trust.UNSIGNED if key is None else Trust.SIGNED,
        dedupe_key=_digest(transaction),
    )


def _parse(body: bytes) -> tuple[str, Mapping[str, JSON]]:
    if len(body) > MAX_BODY:
        raise WebhookRejected("Airtel's callbacks are smaller than 16 KiB.", status=413)
    try:
        text = body.decode()
        fields = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise WebhookRejected("The body is not JSON.", status=400) from error
    if not isinstance(fields, dict):
        raise WebhookRejected("The body is not a JSON object.", status=400)
    return text, fields


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    # Of two members with one name, one could be hashed and the other one believed.
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)


def _transaction(fields: Mapping[str, JSON]) -> Mapping[str, JSON]:
    transaction = fields.get("transaction")
    found = transaction.get("id") if isinstance(transaction, dict) else None
    if not isinstance(found, str) or not 0 < len(found) <= _MAX_ID or not found.isprintable():
        raise WebhookRejected("The body names no transaction.", status=400)
    assert isinstance(transaction, dict)
    return transaction


def _hash(request: WebhookRequest, fields: Mapping[str, JSON]) -> str:
    given = fields.get("hash", request.headers.get("hash"))
    return given if isinstance(given, str) else ""


def _hashed_parts(
    request: WebhookRequest, text: str, fields: Mapping[str, JSON]
) -> Iterator[tuple[HashedPart, bytes]]:
    """The bytes that Airtel may have hashed, as its documents and its users tell."""
    rest = {name: value for name, value in fields.items() if name != "hash"}
    yield HashedPart.TRANSACTION, dict(_members(text))["transaction"].encode()
    yield HashedPart.TRANSACTION_COMPACT, _compact(fields["transaction"])
    yield HashedPart.BODY, _compact(rest)
    yield HashedPart.BODY_SORTED, _compact(rest, sort_keys=True)
    if "hash" not in fields:
        yield HashedPart.RAW_BODY, request.body


def _matching(key: str, given: str, parts: Mapping[HashedPart, bytes]) -> HashedPart | None:
    matching = [
        part
        for part, hashed in parts.items()
        if hmac.compare_digest(_hmac(key, hashed), given.encode("utf-8", "surrogatepass"))
    ]
    return matching[0] if matching else None


def _hmac(key: str, hashed: bytes) -> bytes:
    return base64.b64encode(hmac.digest(key.encode(), hashed, hashlib.sha256))


def _compact(value: JSON, *, sort_keys: bool = False) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort_keys)
    return text.encode("utf-8", "surrogatepass")


def _members(text: str) -> Iterator[tuple[str, str]]:
    """The members of a JSON object (known to be one, and not empty) as they are written."""
    decoder = json.JSONDecoder()
    position = _after_blanks(text, 0)
    while text[position] != "}":
        name, end = decoder.raw_decode(text, _after_blanks(text, position + 1))
        start = _after_blanks(text, _after_blanks(text, end) + 1)
        _, end = decoder.raw_decode(text, start)
        yield name, text[start:end]
        position = _after_blanks(text, end)


def _after_blanks(text: str, position: int) -> int:
    blanks = _BLANKS.match(text, position)
    assert blanks is not None
    return blanks.end()


def _digest(transaction: Mapping[str, JSON]) -> str:
    told = json.dumps([transaction.get(name) for name in _TOLD])
    return hashlib.sha256(told.encode()).hexdigest()
