"""Speaks Flutterwave's HTTP: paths, envelope, time-outs. Knows nothing of payments.

Every answer is in an envelope whose `status` says only whether the call worked; what became of
the money stands in `data`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn

import httpx
import orjson

from dusangire.gateway import JSON, Clock, Gateway
from dusangire.wire import NEVER_LEFT, retry_after, words_of
from dusangire_card.config import CardConfig
from dusangire_card.provider import AnswerLost, NothingSent


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Flutterwave said: the HTTP status, and the envelope.

    ok: the call worked. data: an object, a list, or nothing.
    """

    http: int
    ok: bool
    message: str
    data: JSON

    @property
    def fields(self) -> Mapping[str, JSON]:
        return self.data if isinstance(self.data, dict) else {}


@dataclass(frozen=True, slots=True)
class Client:
    """Flutterwave's calls for one account.

    Every method raises NoAnswer when there is no usable answer. An answer that is not `ok` is a
    definite no, unless its HTTP status is 409: then something like it was done before.
    """

    gateway: Gateway[CardConfig]

    async def create_link(self, body: Mapping[str, JSON]) -> Answer:
        return await self._call("POST", "/payments", body)

    async def disable_link(self, link: str) -> Answer:
        return await self._call("POST", "/payments/link/disable", {"link": link})

    async def verify(self, reference: str) -> Answer:
        query = {"tx_ref": reference}
        return await self._call("GET", "/transactions/verify_by_reference", query=query)

    async def charge_token(self, body: Mapping[str, JSON]) -> Answer:
        return await self._call("POST", "/tokenized-charges", body)

    async def refund(self, transaction_id: str, body: Mapping[str, JSON]) -> Answer:
        return await self._call("POST", f"/transactions/{transaction_id}/refund", body)

    async def refunds(self, transaction_id: str) -> Answer:
        return await self._call("GET", "/refunds", query={"id": transaction_id})

    async def refund_status(self, refund_id: str) -> Answer:
        return await self._call("GET", f"/refunds/{refund_id}")

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, JSON] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        config = self.gateway.config
        headers = {"Authorization": f"Bearer {config.secret_key.get_secret_value()}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = await self.gateway.http.request(
                method,
                # The client's base URL may be anything; the account's is what was configured.
                config.base_url + path,
                params=query,
                headers=headers,
                content=None if body is None else orjson.dumps(body),
            )
        except NEVER_LEFT as error:
            raise NothingSent(words_of(error)) from error
        except httpx.HTTPError as error:
            raise AnswerLost(words_of(error)) from error
        return _answer(response, self.gateway.clock)


def amount_json(amount: Decimal) -> orjson.Fragment:
    """An amount as a JSON number, digit by digit: it is never a float on its way."""
    return orjson.Fragment(f"{amount:f}")


def _answer(response: httpx.Response, clock: Clock) -> Answer:
    http = response.status_code
    if http == 429:
        # The quota is kept in front of the service: nothing went past it.
        wait = retry_after(response, clock())
        raise NothingSent("Flutterwave answered 429", wait)
    envelope = _object(response.content)
    if envelope is None:
        raise AnswerLost(f"Flutterwave answered {http} without an envelope", _code(http))
    message = envelope.get("message")
    answer = Answer(
        http=http,
        ok=200 <= http < 300 and envelope.get("status") == "success",
        message=message if isinstance(message, str) else "",
        data=envelope.get("data"),
    )
    refused = envelope.get("status") == "error" and (200 <= http < 300 or 400 <= http < 500)
    if not answer.ok and (not refused or http == 408):
        raise AnswerLost(
            f"Flutterwave answered {http} {answer.message[:100]}".rstrip(), _code(http)
        )
    return answer


def _code(http: int) -> str | None:
    return None if 200 <= http < 300 else str(http)


def _object(body: bytes) -> Mapping[str, JSON] | None:
    """None for whatever is not a JSON object: proxies answer HTML, even with status 200."""
    try:
        value = json.loads(body.decode(), parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
