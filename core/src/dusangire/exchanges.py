"""The log of exchanges: every HTTP call to a gateway, timed and masked, kept with its payment."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson
from pydantic import SecretStr

from dusangire.egress import trusted
from dusangire.gateway import JSON
from dusangire.masking import (
    HIDDEN,
    hide_addresses,
    is_secret_name,
    mask_json,
    mask_text,
    spellings,
)
from dusangire.text import storable
from dusangire.transactions import assert_no_transaction
from dusangire.wire import NEVER_LEFT, words_of

MAX_ANSWER = 1_000_000
# Remarks of one call, and characters of one and of its name: a log is read by people.
MAX_NOTES = 20
MAX_NOTE = 4_000
MAX_NAME = 100
# A shorter header is a switch such as `X-Token: no`, and hiding it would hide words.
_SHORTEST_SECRET = 8
_ANY_KEYS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
# What ends a call before its first byte leaves.
_NEVER_LEFT = frozenset(error.__name__ for error in NEVER_LEFT)
_SHOWN_HEADERS = frozenset(
    {"content-type", "content-length", "retry-after", "x-reference-id", "x-target-environment"}
)


class AnswerTooLarge(httpx.TransportError):
    """The gateway's answer is larger than any honest one (1 MB). It was cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One HTTP call to a gateway, masked. `error`: why there is no answer."""

    request: dict[str, Any]
    response: dict[str, Any] | None
    http_status: int | None
    duration_ms: int
    error: str | None = None

    @property
    def may_have_arrived(self) -> bool:
        """Whether a byte of it may have reached the gateway."""
        return self.error is None or self.error.partition(":")[0] not in _NEVER_LEFT


@dataclass(slots=True)
class Recording:
    """The exchanges of one hook call, in order, and what plugins remarked meanwhile."""

    exchanges: list[Exchange] = field(default_factory=list)
    notes: dict[str, JSON] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def duration_ms(self) -> int:
        return round((time.monotonic() - self.started) * 1000)


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextmanager
def recording() -> Iterator[Recording]:
    """Collects the exchanges that a gateway's client makes inside the block.

    What an inner block collected, the one around it has too.
    """
    current, around = Recording(), _recording.get()
    token = _recording.set(current)
    try:
        yield current
    finally:
        _recording.reset(token)
        if around is not None:
            around.exchanges += current.exchanges
            around.notes |= current.notes


def note(name: str, value: JSON, *, secrets: Sequence[str] = ()) -> None:
    """Keeps a remark with the hook call under way; outside of one it is dropped.

    The same name again replaces what it said. What JSON has no form for is kept as text, and of a
    remark that is too long its beginning.
    """
    current = _recording.get()
    name = mask_text(storable(name)[:MAX_NAME], secrets)
    if current is None or (len(current.notes) >= MAX_NOTES and name not in current.notes):
        return
    plain = orjson.loads(orjson.dumps(storable(value), default=_as_text, option=_ANY_KEYS))
    [masked] = hide_addresses(mask_json({name: plain}, secrets)).values()
    if not isinstance(masked, str) and len(text := orjson.dumps(masked).decode()) > MAX_NOTE:
        masked = f"{text[:MAX_NOTE]}…"
    current.notes[name] = masked


def _as_text(value: object) -> str:
    return str(storable(str(value)))


def open_client(
    base_url: str = "",
    *,
    secrets: Sequence[str] = (),
    transport: httpx.AsyncBaseTransport | None = None,
    timeout: float = 30,
    connections: int = 16,
) -> httpx.AsyncClient:
    """The client a gateway's hooks are given: bounded, recorded, without redirects.

    secrets: the account's secret values, hidden wherever they would be written down.
    Raises AnswerTooLarge (an httpx.TransportError) for answers over 1 MB.
    """
    inner = transport or httpx.AsyncHTTPTransport(
        verify=trusted(),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )
    return httpx.AsyncClient(
        base_url=base_url,
        transport=_RecordingTransport(inner, spellings(*secrets)),
        timeout=httpx.Timeout(timeout, connect=min(10, timeout)),
        headers={"User-Agent": "dusangire/0.1"},
        trust_env=False,
    )


class _RecordingTransport(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, secrets: Sequence[str]) -> None:
        self._inner = inner
        self._secrets = secrets

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # A provider is never called inside a transaction: it would hold locks for seconds.
        assert_no_transaction("call a gateway")
        started = time.monotonic()
        answer: httpx.Response | None = None
        error: BaseException | None = None
        try:
            answer = await self._answer(request)
        except (httpx.HTTPError, asyncio.CancelledError) as raised:
            error = raised
            raise
        else:
            return answer
        finally:
            if (current := _recording.get()) is not None:
                current.exchanges.append(self._exchange(request, answer, error, started))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        body = bytearray()
        unpacked = httpx.Response(
            response.status_code, headers=response.headers, stream=_Slices(response)
        )
        try:
            async for chunk in unpacked.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise AnswerTooLarge(
                        "The gateway's answer is larger than 1 MB.", request=request
                    )
        finally:
            await response.aclose()
        return httpx.Response(
            response.status_code,
            headers=[
                (name, value)
                for name, value in response.headers.raw
                if name.lower() not in {b"content-encoding", b"content-length"}
            ],
            content=bytes(body),
            request=request,
            extensions=response.extensions,
        )

    def _exchange(
        self,
        request: httpx.Request,
        answer: httpx.Response | None,
        error: BaseException | None,
        started: float,
    ) -> Exchange:
        # A provider may quote our request, and with it what opened the door this time.
        secrets = [*self._secrets, *_credentials(request.headers)]
        return Exchange(
            request={
                "method": request.method,
                "url": hide_addresses(mask_text(str(request.url), secrets)),
                "headers": _headers(request.headers, secrets),
                "body": _body(request.content, request.headers, secrets),
            },
            response=None
            if answer is None
            else {
                "headers": _headers(answer.headers, secrets),
                "body": _body(answer.content, answer.headers, secrets),
            },
            http_status=None if answer is None else answer.status_code,
            duration_ms=round((time.monotonic() - started) * 1000),
            error=None if error is None else mask_text(words_of(error), secrets),
        )


def _credentials(headers: httpx.Headers) -> list[str]:
    """What headers say in secret, with and without the word before it, such as Bearer."""
    values = [value for name, value in headers.items() if is_secret_name(name)]
    bare = [value.rpartition(" ")[2] for value in values]
    return [value for value in dict.fromkeys((*values, *bare)) if len(value) >= _SHORTEST_SECRET]


def _headers(headers: httpx.Headers, secrets: Sequence[str]) -> dict[str, str]:
    return {
        name: mask_text(value, secrets) if name in _SHOWN_HEADERS else HIDDEN
        for name, value in headers.items()
        if name in _SHOWN_HEADERS or is_secret_name(name)
    }


def _body(body: bytes, headers: httpx.Headers, secrets: Sequence[str]) -> Any:
    return shown_body(body, headers.get("content-type", ""), secrets)


class _Slices(httpx.AsyncByteStream):
    """An answer in small slices, so that a packed gigabyte is noticed before it is unpacked."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        async for chunk in self._response.stream:
            for start in range(0, len(chunk), 4096):
                yield chunk[start : start + 4096]


def shown_body(body: bytes, content_type: str, secrets: Sequence[str] = ()) -> Any:
    """A body as it may be kept: JSON and forms by their names, anything else as text.

    JSON is read as such whatever the content type says: some providers call it text/html.
    """
    text = body[:20_000].decode("utf-8", "replace")
    try:
        return hide_addresses(mask_json(storable(json.loads(text)), secrets)) if text else None
    except (ValueError, RecursionError):
        pass
    if "form-urlencoded" in content_type:
        return hide_addresses(mask_json(storable(dict(parse_qsl(text))), secrets))
    return shown_text(text, secrets)


def shown_text(text: str, secrets: Sequence[str] = ()) -> str:
    """Words of a provider as they may be kept: masked, whatever of its message they quote."""
    return str(hide_addresses(mask_text(_NAMED.sub(_hide_secret, storable(text)), secrets)))


# JSON that was cut off or is not quite JSON still has its secrets beside their names.
_NAMED = re.compile(r'("(?P<name>[^"\\]{1,60})"\s*:\s*)"(?:[^"\\]|\\.)*"?')


def _hide_secret(match: re.Match[str]) -> str:
    return f'{match[1]}"{HIDDEN}"' if is_secret_name(match["name"]) else match[0]


def secret_values(config: Iterable[tuple[str, Any]]) -> list[str]:
    """The values of a config's `SecretStr` fields: what must never be seen."""
    return [value.get_secret_value() for _, value in config if isinstance(value, SecretStr)]
