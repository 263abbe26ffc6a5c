"""Speaks Example Pay's HTTP. Knows nothing of payments.

NothingSent     the request certainly did not reach Example Pay: it may be sent again
AnswerLost      the request may have arrived; what was answered is not known
"""

# Step 3. Headers, tokens and signatures belong here. Keep `gateway.http`: it has the time-outs, and
# it writes the payment's log with secrets masked.

import json
from dataclasses import dataclass

import httpx

from dusangire.gateway import JSON, Gateway
from dusangire.wire import NEVER_LEFT
from examplepay_plugin.config import ExamplePayConfig


class NothingSent(Exception):
    """The request did not reach Example Pay."""


class AnswerLost(Exception):
    """Example Pay's answer was lost."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. fields: the JSON object of the body; empty for anything else."""

    status: int
    fields: dict[str, JSON]

    def text(self, name: str) -> str | None:
        value = self.fields.get(name)
        return value if isinstance(value, str) and value else None


async def call(
    gateway: Gateway[ExamplePayConfig], method: str, path: str, body: JSON = None
) -> Answer:
    """One call. Raises NothingSent and AnswerLost."""
    headers = {"X-Api-Key": gateway.config.api_key.get_secret_value()}
    try:
        answer = await gateway.http.request(method, path, json=body, headers=headers)
    except NEVER_LEFT as error:
        raise NothingSent(type(error).__name__) from error
    except httpx.HTTPError as error:
        raise AnswerLost(type(error).__name__) from error
    return Answer(answer.status_code, _object(answer.content))


def _object(body: bytes) -> dict[str, JSON]:
    """Firewalls answer HTML with status 200, and lines break: expect anything."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
