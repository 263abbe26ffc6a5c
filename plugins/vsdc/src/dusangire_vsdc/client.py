"""Speaks the VSDC's HTTP: paths, envelope, what was lost. Knows nothing of sales.

VsdcError         there is no answer that can be used
├── NothingSent   the request certainly did not reach the VSDC
└── AnswerLost    it may have arrived; what the VSDC said is not known
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from dusangire.fiscal import FiscalDevice
from dusangire.gateway import JSON
from dusangire.wire import NEVER_LEFT, words_of


class VsdcError(Exception):
    """The VSDC did not answer."""


class NothingSent(VsdcError):
    """The request did not reach the VSDC."""


class AnswerLost(VsdcError):
    """The VSDC's answer was lost or cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The envelope. `code` is resultCd: 000 is success. `raw`: all of it, as it came."""

    code: str
    message: str
    data: Mapping[str, JSON] = field(default_factory=dict)
    raw: Mapping[str, JSON] = field(default_factory=dict)


async def call(device: FiscalDevice, path: str, body: Mapping[str, JSON]) -> Answer:
    """One call; every one carries the taxpayer and the branch. Raises VsdcError."""
    who = {"tin": device.description.tin, "bhfId": device.description.branch}
    try:
        # The client ends answers over 1 MB, and follows no redirect.
        response = await device.http.post(path, json={**who, **body})
    except NEVER_LEFT as error:
        raise NothingSent(words_of(error)) from error
    except httpx.HTTPError as error:
        raise AnswerLost(words_of(error)) from error
    return _read(response)


def _read(response: httpx.Response) -> Answer:
    try:
        told = json.loads(response.content)
    except (ValueError, RecursionError) as error:
        raise AnswerLost(f"HTTP {response.status_code} without JSON") from error
    code = told.get("resultCd") if isinstance(told, dict) else None
    if not isinstance(code, str) or not code.isascii() or len(code) > 10:
        raise AnswerLost(f"HTTP {response.status_code} without a result code")
    data = told.get("data")
    return Answer(
        code=code,
        message=str(told.get("resultMsg") or ""),
        data=data if isinstance(data, dict) else {},
        raw=told,
    )
