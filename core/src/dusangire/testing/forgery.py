"""Changed messages: answers with other words in them, webhooks that the provider never sent."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from dusangire.gateway import JSON, WebhookRequest
from dusangire.money import Money
from dusangire.testing.line import Answer, Trouble

Path: TypeAlias = tuple[str | int, ...]

_ODD_BODIES = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"17",
    b'"text"',
    b"{",
    b"\xff\xfe\x00\x80",
    b"\x00" * 1_000,
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b" " * 256 * 1024,
    b"9" * 5_000,
    b"a=1&b=%FF%00",
    b"<?xml version='1.0'?><a/>",
)
_ODD_VALUES: tuple[JSON, ...] = (None, [], {}, 1, True, "", "\ud800", "\u0000", "é" * 3_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Trouble):
    """A trouble that knows whether there was anything to change."""

    log: list[bool] = field(default_factory=list)

    @property
    def happened(self) -> bool:
        return any(self.log)


def _change(name: str, pattern: bytes, by: bytes) -> Change:
    log: list[bool] = []

    def spoil(answer: Answer) -> Answer:
        body, times = re.subn(pattern, by, answer.body)
        log.append(times > 0)
        return replace(answer, body=body)

    return Change(name=name, spoil=spoil, log=log)


def another_amount(amount: Money) -> Change:
    """Wherever an answer says `amount`, in major or in minor units, it says one more."""
    # In one pattern both spellings would have to have one replacement, so the last digit moves.
    major, minor = f"{amount.amount:f}".encode(), str(amount.minor).encode()
    last = b"8" if minor[-1:] != b"8" else b"9"
    either = rb"(?<![\w.-])(%s|%s)\d(?![\w-])" % (re.escape(major[:-1]), re.escape(minor[:-1]))
    return _change("another amount", either, rb"\g<1>" + last)


def another_currency(amount: Money) -> Change:
    code, other = amount.currency.encode(), b"KES" if amount.currency != "KES" else b"UGX"
    return _change("another currency", rb"\b%s\b" % code, other)


def another_text(text: str, other: str) -> Change:
    return _change("another reference", re.escape(text.encode()), other.encode())


def new_words(answer: Answer, word: str) -> Iterator[Trouble]:
    """For each text in a JSON answer: the answer with `word` in its place."""
    for path, value in _leaves(_parsed(answer.body)):
        if isinstance(value, str):
            yield Trouble(name=f"{word} at {path}", spoil=_plant(path, word))


def variations(genuine: WebhookRequest, others: Mapping[str, str]) -> Iterator[WebhookRequest]:
    """`genuine` with each thing in it changed in turn, and with each of `others` for its key."""
    for text, other in others.items():
        body = genuine.body.replace(text.encode(), other.encode())
        yield replace(genuine, body=body)
        yield replace(genuine, body=body, headers=_plain(genuine.headers))
    parsed = _parsed(genuine.body)
    for path, value in _leaves(parsed):
        changed = json.dumps(_with(parsed, path, _another(value))).encode()
        yield replace(genuine, body=changed)
        yield replace(genuine, body=changed, headers=_plain(genuine.headers))


def oddities(genuine: WebhookRequest) -> Iterator[WebhookRequest]:
    """Bytes that somebody will send one day."""
    encoded = genuine.body.decode("utf-8", "replace")
    for body in (*_ODD_BODIES, encoded.encode("utf-16"), b"\xef\xbb\xbf" + genuine.body):
        yield replace(genuine, body=body)
    yield replace(genuine, headers={})
    yield replace(genuine, headers={**genuine.headers, "content-type": "text/plain; charset=x"})
    yield replace(genuine, headers=dict.fromkeys(genuine.headers, "\xff"))
    parsed = _parsed(genuine.body)
    for path, _ in _leaves(parsed):
        for value in _ODD_VALUES:
            yield replace(genuine, body=json.dumps(_with(parsed, path, value)).encode())


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in ("content-type", "content-length") if name in headers}


def _another(value: JSON) -> JSON:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str() if value.isdigit():
            return str(int(value) + 1)
        case _:
            return "FORGED"


def _parsed(body: bytes) -> JSON:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _leaves(value: JSON, path: Path = ()) -> Iterator[tuple[Path, JSON]]:
    items: Iterable[tuple[str | int, JSON]]
    match value:
        case dict():
            items = value.items()
        case list():
            items = enumerate(value)
        case _:
            yield path, value
            return
    for key, item in items:
        yield from _leaves(item, (*path, key))


def _with(value: JSON, path: Path, leaf: JSON) -> JSON:
    """A copy of `value` with `leaf` at `path`. Raises LookupError or TypeError."""
    if not path:
        return leaf
    copy: JSON = value.copy()
    copy[path[0]] = _with(copy[path[0]], path[1:], leaf)
    return copy


def _plant(path: Path, word: str) -> Callable[[Answer], Answer]:
    def spoil(answer: Answer) -> Answer:
        try:
            body = json.dumps(_with(_parsed(answer.body), path, word))
        except (LookupError, TypeError, AttributeError):
            return answer  # not the answer that the path was found in
        return replace(answer, body=body.encode())

    return spoil
