"""Speaks Airtel's HTTP: paths, headers, tokens, signatures. Knows nothing of payments.

AirtelError            Airtel did not give an answer that can be used
├── NothingSent        the request certainly did not reach Airtel's payment service
│   └── Misconfigured  Airtel refuses our keys or settings: a person must correct them
└── AnswerLost         the request may have arrived; what Airtel said is not known
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus

import httpx

from dusangire.gateway import JSON, Clock, Gateway
from dusangire.wire import NEVER_LEFT, retry_after, words_of
from dusangire_airtel.config import AirtelConfig
from dusangire_airtel.signing import UnusableKey, read_key, signed_headers

MAX_ANSWER = 1_000_000
SIGNATURE_REFUSED = frozenset({"DP00800001026", "DP00800001027", "DP00800001028"})
_LIFETIME = 180
_EARLY = 15
_KEY_LIFETIME = timedelta(days=1)
_SHORTEST_KEY_LIFETIME = timedelta(minutes=10)


class AirtelError(Exception):
    """Airtel did not answer."""


class NothingSent(AirtelError):
    """The request did not reach Airtel."""

    def __init__(self, cause: str, retry_after: timedelta | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class Misconfigured(NothingSent):
    """Airtel does not work with these settings."""


class AnswerLost(AirtelError):
    """Airtel's answer was lost or cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Airtel said, in any of its three envelopes.

    fields: the JSON object of the body; None when the body is anything else than that or empty.
    retry_after: how long Airtel wants to be left alone, if it said so.
    """

    http_status: int
    fields: Mapping[str, JSON] | None = field(default_factory=dict)
    retry_after: timedelta | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes, best first: of the product, of products that are older, of the router."""
        found = (
            _text(self._status, "response_code"),
            _text(self._status, "result_code"),
            _text(self.fields, "status_code"),
            _text(self.fields, "error"),
        )
        return tuple(code for code in found if code is not None)

    @property
    def code(self) -> str | None:
        return self.codes[0] if self.codes else None

    @property
    def success(self) -> bool | None:
        value = self._status.get("success")
        return value if isinstance(value, bool) else None

    @property
    def message(self) -> str:
        found = (
            _text(self._status, "message"),
            _text(self.fields, "status_message"),
            _text(self.fields, "error_description"),
        )
        return next((text for text in found if text is not None), "")

    @property
    def data(self) -> Mapping[str, JSON]:
        return _object(self.fields, "data")

    @property
    def transaction(self) -> Mapping[str, JSON]:
        return _object(self.data, "transaction")

    @property
    def _status(self) -> Mapping[str, JSON]:
        return _object(self.fields, "status")

    @property
    def refuses_token(self) -> bool:
        # Airtel says so with 403 or 401; a firewall's 403 has no such word.
        return "invalid_token" in self.codes

    def __str__(self) -> str:
        if self.fields is None:
            return f"Airtel answered {self.http_status} with something else than JSON"
        return " ".join([f"Airtel answered {self.http_status}", *self.codes])


@dataclass(frozen=True, slots=True)
class Client:
    """Airtel's calls for one application. Every method raises AirtelError without usable answer."""

    gateway: Gateway[AirtelConfig]

    async def request_payment(self, body: bytes) -> Answer:
        """Has the payer asked for money. Repeating the same id is safe: Airtel takes it once."""
        path = f"/merchant/{self.gateway.config.payments_version}/payments/"
        answer = await self._post(path, body)
        if self.gateway.config.message_signing and SIGNATURE_REFUSED & set(answer.codes):
            # Airtel may have changed its key: refused for that, nothing was taken.
            answer = await self._post(path, body)
        return answer

    async def payment_status(self, transaction_id: str) -> Answer:
        return await self._get(f"/standard/v1/payments/{transaction_id}")

    async def refund(self, body: bytes) -> Answer:
        """Gives a payment back. Airtel has no key for refunds: never to be repeated in doubt."""
        return await self._post("/standard/v1/payments/refund", body, repeatable=False)

    async def balance(self) -> Answer:
        answer = await self._get("/standard/v2/users/balance")
        if answer.http_status in (404, 405):
            answer = await self._get("/standard/v1/users/balance")
        return answer

    async def payer(self, msisdn: str) -> Answer:
        return await self._get(f"/standard/v1/users/{msisdn}")

    async def check_signing(self) -> None:
        """Whether something could be signed. Raises Misconfigured, or NothingSent without a key."""
        self._signed(b"{}", await self.public_key())

    # ── calls ────────────────────────────────────────────────────────────────────────────────────

    async def _get(self, path: str) -> Answer:
        return await self._call("GET", path, None, {}, repeatable=True)

    async def _post(self, path: str, body: bytes, *, repeatable: bool = True) -> Answer:
        if not self.gateway.config.message_signing:
            return await self._call("POST", path, body, {}, repeatable=repeatable)
        key = await self.public_key()
        signed = self._signed(body, key)
        answer = await self._call("POST", path, body, signed, repeatable=repeatable)
        if SIGNATURE_REFUSED & set(answer.codes):
            self.gateway.tokens.forget(self._key_name, key)
        return answer

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        repeatable: bool,
    ) -> Answer:
        """One call with a token; a refused token is renewed once and the same call repeated.

        repeatable: also where only the status says so, and not Airtel's own word.
        """
        token = await self.token()
        answer = await self._send(method, path, body, {**self._headers(token), **headers})
        if answer.refuses_token or (repeatable and answer.http_status == HTTPStatus.UNAUTHORIZED):
            self.gateway.tokens.forget(self._token_name, token)
            token = await self.token()
            answer = await self._send(method, path, body, {**self._headers(token), **headers})
        return answer

    def _headers(self, token: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {token}",
            "X-Country": self.gateway.config.country,
            "X-Currency": self.gateway.config.currency,
        }

    # ── tokens and keys ──────────────────────────────────────────────────────────────────────────

    @property
    def _token_name(self) -> str:
        return f"token of {self.gateway.config.client_id}"

    @property
    def _key_name(self) -> str:
        return f"public key for {self.gateway.config.client_id}"

    async def token(self) -> str:
        """A token that works now, from the cache if it has one. Raises NothingSent."""
        return await self.gateway.tokens.get(self._token_name, self._new_token)

    async def public_key(self) -> str:
        """Airtel's public key in Base64, from the cache if it has one. Raises NothingSent."""
        return await self.gateway.tokens.get(self._key_name, self._new_key)

    def _signed(self, body: bytes, key: str) -> dict[str, str]:
        try:
            return signed_headers(body, read_key(key), self.gateway.config.padding)
        except UnusableKey as error:
            raise Misconfigured(f"{error}. Check padding.") from error

    async def _new_token(self) -> tuple[str, timedelta]:
        config = self.gateway.config
        body = json_bytes(
            {
                "client_id": config.client_id,
                "client_secret": config.client_secret.get_secret_value(),
                "grant_type": "client_credentials",
            }
        )
        try:
            answer = await self._send("POST", "/auth/oauth2/token", body, {})
        except AnswerLost as error:
            # Losing a token is nothing: the money call has not begun.
            raise NothingSent(f"no access token: {error}") from error
        if answer.http_status == HTTPStatus.OK:
            return _token_in(answer)
        if "invalid_client" in answer.codes or answer.http_status in _REFUSALS:
            raise Misconfigured(why_refused(answer))
        raise NothingSent(f"no access token: {answer}", answer.retry_after)

    async def _new_key(self) -> tuple[str, timedelta]:
        try:
            answer = await self._get("/v1/rsa/encryption-keys")
        except AnswerLost as error:
            raise NothingSent(f"no public key: {error}") from error
        key = _text(answer.data, "key")
        if answer.http_status != HTTPStatus.OK or key is None:
            if _KEY_REFUSED in answer.codes or answer.http_status in _REFUSALS:
                raise Misconfigured(why_refused(answer))
            raise NothingSent(f"no public key: {answer}", answer.retry_after)
        return key, _key_lifetime(_text(answer.data, "valid_upto"), self.gateway.clock())

    # ── the wire ─────────────────────────────────────────────────────────────────────────────────

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        http = self.gateway.http
        request = http.build_request(
            method,
            # The client's base URL may be anything; the account's is what was configured.
            self.gateway.config.base_url + path,
            # Exactly these bytes: a body that is put together anew does not fit its signature.
            content=body,
            headers={
                "Content-Type": "application/json",
                "Accept": "*/*",
                # A body that unpacks to more than it weighs could pass the limit below.
                "Accept-Encoding": "identity",
                **headers,
            },
        )
        try:
            response = await http.send(request, stream=True)
            try:
                return _answer(response, await _body(response), self.gateway.clock)
            finally:
                await response.aclose()
        except NEVER_LEFT as error:
            raise NothingSent(words_of(error)) from error
        except httpx.HTTPError as error:
            raise AnswerLost(words_of(error)) from error


# 401 and 403: not our keys, or not from this address. 404 and 405: another site than Airtel's API.
_REFUSALS = frozenset({400, 401, 403, 404, 405, 415})
_KEY_REFUSED = "DP02010001000"


def json_bytes(value: Mapping[str, JSON]) -> bytes:
    """JSON as it is signed and sent."""
    return json.dumps(value, separators=(",", ":")).encode()


def why_refused(answer: Answer) -> str:
    """In words, for who configures the account: what is wrong and what to do."""
    if "invalid_client" in answer.codes:
        return (
            "Airtel refuses client_id or client_secret. Copy both from the application in the "
            "portal; those of staging do not work in production, nor the reverse."
        )
    if _KEY_REFUSED in answer.codes:
        return (
            "Airtel gives the application no key for message signing. Add the product Collection "
            "to it in the portal, or switch message_signing off."
        )
    if answer.http_status in (401, 403):
        return (
            "Airtel turns this server away. Add its public IP address in the portal, and check "
            "base_url."
        )
    if answer.http_status in (404, 405):
        return (
            "There is no such Airtel API at base_url. Compare base_url with the portal, and "
            "payments_version with what Airtel opened for you."
        )
    said = f" {answer.message}" if answer.message else ""
    return f"{answer}: it does not accept the request.{said}"


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise AnswerLost("Airtel's answer is larger than 1 MB")
    return bytes(body)


def _answer(response: httpx.Response, body: bytes, clock: Clock) -> Answer:
    wait = retry_after(response, clock())
    answer = Answer(http_status=response.status_code, retry_after=wait)
    return replace(answer, fields=_parsed(body)) if body.strip() else answer


def _parsed(body: bytes) -> Mapping[str, JSON] | None:
    """None for whatever is not a JSON object: firewalls answer HTML, even with status 200."""
    try:
        value = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(fields: Mapping[str, JSON] | None, name: str) -> str | None:
    value = (fields or {}).get(name)
    return value if isinstance(value, str) and value else None


def _object(fields: Mapping[str, JSON] | None, name: str) -> Mapping[str, JSON]:
    value = (fields or {}).get(name)
    return value if isinstance(value, dict) else {}


def _token_in(answer: Answer) -> tuple[str, timedelta]:
    if answer.fields is None:
        raise NothingSent("no access token: a web page or broken JSON came instead")
    token = _text(answer.fields, "access_token")
    if token is None or not token.isascii() or not token.isprintable():
        raise NothingSent("no access token in Airtel's answer")
    # A number, or a text of one; Airtel's tokens have always lived three minutes.
    lifetime = str(answer.fields.get("expires_in"))
    seconds = int(lifetime) if re.fullmatch(r"[1-9][0-9]{0,8}", lifetime) else _LIFETIME
    return token, _cached_for(min(seconds, 86_400))


def _cached_for(seconds: int) -> timedelta:
    """So that the cache, which renews when a sixth is left, renews 15 seconds before the end.

    Of three minutes, half a minute would be a sixth of the life for nothing.
    """
    used = seconds - min(_EARLY, seconds / 6)
    return timedelta(seconds=used) * 6 / 5


def _key_lifetime(valid_upto: str | None, now: datetime) -> timedelta:
    """A day, or less where the key ends earlier. Its time has no zone: taken as UTC."""
    try:
        end = datetime.strptime(valid_upto or "", "%d-%m-%Y %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return _KEY_LIFETIME
    return min(_KEY_LIFETIME, max(end - now, _SHORTEST_KEY_LIFETIME))
