"""Speaks MTN's HTTP: paths, headers, tokens, time-outs. Knows nothing of payments.

MTNError              MTN did not give an answer that can be used
├── NothingSent       the request certainly did not reach MTN's payment service
│   └── BadCredentials    MTN refuses our keys, user or address: a person must correct them
└── AnswerLost        the request may have arrived; what MTN said is not known
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import httpx

from dusangire.gateway import JSON, Clock, Gateway
from dusangire.wire import NEVER_LEFT, retry_after, words_of
from dusangire_mtn.config import MTNConfig, Product

MAX_ANSWER = 1_000_000
# Where MTN does not say how long a token lives; it has always been an hour.
_UNTOLD_LIFETIME = 600


class MTNError(Exception):
    """MTN did not answer."""


class NothingSent(MTNError):
    """The request did not reach MTN."""

    def __init__(self, cause: str, retry_after: timedelta | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class BadCredentials(NothingSent):
    """MTN does not let us in."""


class AnswerLost(MTNError):
    """MTN's answer was lost or cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What MTN said.

    fields: the JSON object of the body; None when the body is anything else than that or empty.
    retry_after: how long MTN wants to be left alone, if it said so.
    """

    status: int
    fields: Mapping[str, JSON] | None = field(default_factory=dict)
    retry_after: timedelta | None = None

    @property
    def code(self) -> str | None:
        """The word in MTN's error envelope, such as PAYER_NOT_FOUND."""
        return self.text("code")

    def text(self, name: str) -> str | None:
        value = (self.fields or {}).get(name)
        return value if isinstance(value, str) and value else None


@dataclass(frozen=True, slots=True)
class Client:
    """MTN's calls for one account. Every method raises MTNError when there is no usable answer."""

    gateway: Gateway[MTNConfig]

    async def request_to_pay(self, reference: str, body: Mapping[str, JSON]) -> Answer:
        path = "/collection/v1_0/requesttopay"
        return await self._create("collection", path, reference, body)

    async def payment_status(self, reference: str) -> Answer:
        return await self._read("collection", f"/collection/v1_0/requesttopay/{reference}")

    async def refund(self, reference: str, body: Mapping[str, JSON]) -> Answer:
        return await self._create("disbursement", "/disbursement/v2_0/refund", reference, body)

    async def refund_status(self, reference: str) -> Answer:
        # There is no v2_0 status: v1_0 answers for refunds of both versions.
        return await self._read("disbursement", f"/disbursement/v1_0/refund/{reference}")

    async def is_active(self, msisdn: str) -> Answer:
        path = f"/collection/v1_0/accountholder/msisdn/{msisdn}/active"
        return await self._read("collection", path)

    async def balance(self, product: Product) -> Answer:
        return await self._read(product, f"/{product}/v1_0/account/balance")

    async def token(self, product: Product) -> str:
        """A token that works now, from the cache if it has one. Raises NothingSent."""
        user, _ = self.gateway.config.credentials(product)

        async def fetch() -> tuple[str, timedelta]:
            return await self._new_token(product)

        return await self.gateway.tokens.get(f"{product} {user}", fetch)

    async def _create(
        self, product: Product, path: str, reference: str, body: Mapping[str, JSON]
    ) -> Answer:
        headers = {"X-Reference-Id": reference}
        if self.gateway.webhook_url and self.gateway.config.send_callback_url:
            headers["X-Callback-Url"] = self.gateway.webhook_url
        return await self._call(product, "POST", path, headers, body)

    async def _read(self, product: Product, path: str) -> Answer:
        return await self._call(product, "GET", path, {}, None)

    async def _call(
        self,
        product: Product,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, JSON] | None,
    ) -> Answer:
        """One call with a token; a refused token is renewed once and the same call repeated."""
        token = await self.token(product)
        answer = await self._send(method, path, self._with_token(product, token, headers), body)
        if answer.status == 401:
            user, _ = self.gateway.config.credentials(product)
            self.gateway.tokens.forget(f"{product} {user}", token)
            token = await self.token(product)
            answer = await self._send(method, path, self._with_token(product, token, headers), body)
        return answer

    def _with_token(
        self, product: Product, token: str, headers: Mapping[str, str]
    ) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {token}",
            **self._always(product),
            **headers,
        }

    def _always(self, product: Product) -> dict[str, str]:
        return {
            "Ocp-Apim-Subscription-Key": self.gateway.config.subscription_key(product),
            "X-Target-Environment": self.gateway.config.target_environment,
            # A body that unpacks to more than it weighs could pass the limit below.
            "Accept-Encoding": "identity",
        }

    async def _new_token(self, product: Product) -> tuple[str, timedelta]:
        # The new platform's user and token contain = and punctuation, and want them as they are.
        credentials = httpx.BasicAuth(*self.gateway.config.credentials(product))
        try:
            answer = await self._send(
                "POST",
                f"/{product}/token/",
                # Without a length MTN answers 411; with a body, 400.
                self._always(product) | {"Content-Length": "0"},
                None,
                auth=credentials,
            )
        except AnswerLost as error:
            # Losing a token is nothing: the money call has not begun.
            raise NothingSent(f"no access token: {error}") from error
        if answer.status == 200:
            return _token_in(answer)
        if is_refusal(answer):
            raise BadCredentials(why_refused(answer, product))
        raise NothingSent(f"no access token: MTN answered {answer.status}", answer.retry_after)

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, JSON] | None,
        *,
        auth: httpx.Auth | None = None,
    ) -> Answer:
        http = self.gateway.http
        request = http.build_request(
            method,
            # The client's base URL may be anything; the account's is what was configured.
            self.gateway.config.base_url + path,
            headers=headers,
            content=None if body is None else json.dumps(body).encode(),
        )
        if body is not None:
            request.headers["Content-Type"] = "application/json"
        try:
            response = await http.send(request, auth=auth, stream=True)
            try:
                return _answer(response, await _body(response), self.gateway.clock)
            finally:
                await response.aclose()
        except NEVER_LEFT as error:
            raise NothingSent(words_of(error)) from error
        except httpx.HTTPError as error:
            raise AnswerLost(words_of(error)) from error


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise AnswerLost("MTN's answer is larger than 1 MB")
    return bytes(body)


def _answer(response: httpx.Response, body: bytes, clock: Clock) -> Answer:
    wait = retry_after(response, clock())
    fields = _object(body, response.headers.get("content-type", "")) if body.strip() else {}
    return Answer(status=response.status_code, fields=fields, retry_after=wait)


def _object(body: bytes, content_type: str) -> Mapping[str, JSON] | None:
    """None for whatever is not a JSON object: firewalls answer HTML, even with status 200."""
    if "json" not in content_type.lower():
        return None
    try:
        value = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _token_in(answer: Answer) -> tuple[str, timedelta]:
    if answer.fields is None:
        raise NothingSent("no access token: a web page or broken JSON came instead")
    token = answer.fields.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise NothingSent("no access token in MTN's answer")
    lifetime = str(answer.fields.get("expires_in"))
    seconds = int(lifetime) if re.fullmatch(r"[1-9][0-9]{0,8}", lifetime) else _UNTOLD_LIFETIME
    return token, timedelta(seconds=min(seconds, 86_400))


def is_refusal(answer: Answer) -> bool:
    """Whether MTN refuses the account as such; asking again as we are would not help."""
    # The sandbox and the old platform answer wrong credentials with 500 and {"error":
    # "login_failed"}: the only 500 of a token call that is not MTN's own trouble.
    if answer.status == 500:
        return answer.text("error") == "login_failed"
    return 400 <= answer.status < 500 and answer.status not in (408, 409, 429)


def why_refused(answer: Answer, product: Product) -> str:
    """In words, for who configures the account: what is wrong and what to do."""
    name = product.capitalize()
    said = answer.text("message") or ""
    if answer.status == 401 and "subscription key" in said.lower():
        return (
            f"MTN refuses the {name} subscription key. Copy the key of the product {name} "
            f'(not "{name} Widget") from the portal into {product}_subscription_key.'
        )
    if answer.status == 500 or answer.text("error") == "invalid_client":
        return (
            f"MTN refuses the {name} API user or API key. Set {product}_api_user and "
            f"{product}_api_key to the pair that the portal shows for this environment; a "
            "production user does not work in the sandbox, nor the reverse."
        )
    if answer.status == 400:
        return (
            "MTN does not accept the target environment. Set target_environment to the name of "
            "your market, such as mtnrwanda, or to sandbox."
        )
    if answer.status == 403:
        return (
            "MTN's firewall turns this server away. Ask MTN to allow this server's public IP "
            f"address for {name}, and check base_url."
        )
    if answer.status == 404:
        return "There is no MoMo API at base_url. Check its spelling against what MTN gave you."
    return f"MTN refuses the account: it answered {answer.status} {said}".rstrip()
