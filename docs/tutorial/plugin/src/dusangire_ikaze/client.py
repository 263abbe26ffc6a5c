"""Speaks Ikaze Pay's HTTP: tokens, headers, lost answers. Knows nothing of payments.

NothingSent      the request certainly did not reach Ikaze Pay: it may be sent again
└── BadClient    Ikaze Pay refuses the client: a person must correct the settings
AnswerLost       the request may have arrived; what was answered is not known
"""

import json
from dataclasses import dataclass
from datetime import timedelta

import httpx

from dusangire.gateway import JSON, Gateway
from dusangire.wire import NEVER_LEFT
from dusangire_ikaze.config import IkazeConfig


class NothingSent(Exception):
    """The request did not reach Ikaze Pay."""


class BadClient(NothingSent):
    """Ikaze Pay refuses client_id or client_secret."""


class AnswerLost(Exception):
    """Ikaze Pay's answer was lost."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. fields: the JSON object of the body; empty for anything else."""

    status: int
    fields: dict[str, JSON]

    def text(self, name: str) -> str | None:
        value = self.fields.get(name)
        return value if isinstance(value, str) and value else None


@dataclass(frozen=True, slots=True)
class Client:
    """The calls of one account. They raise NothingSent and AnswerLost."""

    gateway: Gateway[IkazeConfig]

    async def get(self, path: str) -> Answer:
        return await self._call("GET", path, None)

    async def post(self, path: str, body: dict[str, JSON]) -> Answer:
        return await self._call("POST", path, body)

    async def _call(self, method: str, path: str, body: JSON) -> Answer:
        """With a token; one that is refused is renewed once. Then the same is sent again."""
        token = await self._token()
        answer = await self._send(method, path, body, token)
        if answer.status == 401:
            self.gateway.tokens.forget("ikaze", token)
            answer = await self._send(method, path, body, await self._token())
        return answer

    async def _token(self) -> str:
        """From the cache: of all who wait for a new one, one asks."""
        return await self.gateway.tokens.get("ikaze", self._new_token)

    async def _new_token(self) -> tuple[str, timedelta]:
        config = self.gateway.config
        client = httpx.BasicAuth(config.client_id, config.client_secret.get_secret_value())
        try:
            answer = _read(await self.gateway.http.post("/token", auth=client))
        except httpx.HTTPError as error:
            # A lost token is nothing: the call that moves money has not begun.
            raise NothingSent(f"no token: {type(error).__name__}") from error
        if answer.status == 401:
            raise BadClient("Ikaze Pay refuses the client. Check client_id and client_secret.")
        token, seconds = answer.text("token"), answer.fields.get("expires_in")
        if answer.status != 200 or token is None or not isinstance(seconds, int):
            raise NothingSent(f"no token: Ikaze Pay answered {answer.status}")
        return token, timedelta(seconds=seconds)

    async def _send(self, method: str, path: str, body: JSON, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            answer = await self.gateway.http.request(method, path, json=body, headers=headers)
        except NEVER_LEFT as error:
            raise NothingSent(type(error).__name__) from error
        except httpx.HTTPError as error:
            raise AnswerLost(type(error).__name__) from error
        return _read(answer)


def _read(answer: httpx.Response) -> Answer:
    """Firewalls answer HTML with status 200, and lines break: expect anything."""
    try:
        value = json.loads(answer.content)
    except (ValueError, RecursionError):
        value = None
    return Answer(answer.status_code, value if isinstance(value, dict) else {})
