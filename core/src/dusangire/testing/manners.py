"""What a plugin lets others see, and what it does when nobody asked."""

import base64
import importlib
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import phonenumbers

from dusangire.errors import WebhookRejected
from dusangire.exchanges import recording
from dusangire.gateway import (
    Accepted,
    Failed,
    Gateway,
    NotSent,
    Outcome,
    PaymentToken,
    Succeeded,
    Unknown,
)
from dusangire.masking import mask_json, spellings
from dusangire.money import Money
from dusangire.phone import parse_phone
from dusangire.testing.line import NONSENSE, REPLY_CUT, nobody_listens
from dusangire.testing.stand import Case, Payer, Stand, secrets

# Shorter ones would be found in times, sizes and references by chance.
_LONG_ENOUGH = 6


async def everything_seen(
    stand: Stand, payers: Iterable[Payer], price: int, acts: Callable[[Case], Awaitable[None]]
) -> dict[str, str]:
    """A good day and some bad ones, and every text that was left behind, by place.

    payers: the first of them pays. acts: what a payer does after the next action.
    """
    amount = Money(price, stand.gateway.config.currency)
    first, *others = payers
    texts: list[str] = []
    exchanges: list[Any] = []
    if stand.plugin.implements("charge_token"):
        texts, exchanges = await _a_return(
            stand, stand.case(first, amount, keeps_method=True), acts
        )
    with recording() as recorded:
        for payer in (first, *others):
            texts += await _a_day(stand, stand.case(payer, amount), acts)
        if stand.line:
            texts += await _bad_days(stand, first, amount)
        texts.append((await stand.plugin.test_gateway(stand.gateway)).message)
    exchanges += [asdict(one) for one in recorded.exchanges]
    return {
        "what core keeps of the exchanges": _json(exchanges),
        "the gateway's log": _json(stand.logged),
        "messages, causes or plugin_data": _json(texts),
        "what a webhook is answered": _json(list(_replies(stand))),
    }


def secrets_of(
    stand: Stand, payers: Iterable[Payer], others: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """What must not be seen, each with words for it that may be."""
    for secret in secrets(stand.gateway.config):
        if len(secret) >= _LONG_ENOUGH:
            yield "A secret of the config", secret
    for token in _tokens(stand):
        yield "An access token", token
    for token in stand.kept:
        yield "A payer's token", token
    for payer in payers:
        if "phone" in payer:
            number = phonenumbers.parse(parse_phone(payer["phone"]))
            yield "A payer's phone number", str(number.national_number)
    for place, other in enumerate(others, 1):
        yield f"String {place} of never_seen", other


async def _a_day(stand: Stand, case: Case, acts: Callable[[Case], Awaitable[None]]) -> list[str]:
    plugin, gateway = stand.plugin, stand.gateway
    texts = [_text(await case.initiate())]
    await acts(case)
    if plugin.implements("check_payment"):
        texts.append(_text(await case.settle()))
    if plugin.implements("refund_payment") and case.paid:
        for more in (1, 0):
            refund = stand.refund(case, case.attempt.amount.minor + more)
            texts.append(_text(await stand.give_back(refund)))
    if plugin.implements("cancel_payment"):
        texts.append(_text(await case.cancel()))
    failed = await plugin.check_payer(gateway, case.attempt)
    return texts if failed is None else [*texts, _text(failed)]


async def _a_return(
    stand: Stand, case: Case, acts: Callable[[Case], Awaitable[None]]
) -> tuple[list[str], list[Any]]:
    """A payer has the method kept and comes back: texts, and exchanges as core keeps them."""
    await case.initiate()
    await acts(case)
    with recording() as recorded:
        texts = [_text(await case.settle())]
    # Core knows the token by then, and hides it in the answer that brought it.
    brought = [asdict(one) for one in recorded.exchanges]
    exchanges: list[Any] = mask_json(brought, spellings(*stand.kept))
    with recording() as recorded:
        for token in sorted(stand.kept):
            again = stand.case({}, case.attempt.amount)
            texts += [_text(await again.charge(token)), _text(await again.ask())]
    return texts, exchanges + [asdict(one) for one in recorded.exchanges]


async def _bad_days(stand: Stand, payer: Payer, amount: Money) -> list[str]:
    line = stand.line_()
    strangers = stand.elsewhere(forget_tokens=True, wrong_secrets=True)
    texts = await _a_call(stand, strangers, payer, amount)
    with nobody_listens() as url:
        nobody = stand.elsewhere(base_url=url, forget_tokens=True)
        texts += await _a_call(stand, nobody, payer, amount)
    for trouble in (REPLY_CUT, NONSENSE["html_called_json"], NONSENSE["truncated_json"]):
        for forget in (False, True):
            with line.broken(trouble):
                gateway = stand.elsewhere(forget_tokens=forget)
                texts += await _a_call(stand, gateway, payer, amount)
    return texts


async def _a_call(stand: Stand, gateway: Gateway[Any], payer: Payer, amount: Money) -> list[str]:
    case = stand.case(payer, amount)
    texts = [_text(await stand.plugin.initiate_payment(gateway, case.attempt))]
    if stand.plugin.implements("check_payment"):
        texts.append(_text(await stand.plugin.check_payment(gateway, case.attempt)))
    charges = [stand.case({}, amount).charge(token, gateway) for token in stand.kept]
    texts += [_text(await charge) for charge in charges]
    texts.append((await stand.plugin.test_gateway(gateway)).message)
    return texts


def _text(outcome: Outcome) -> str:
    """The parts of an outcome that are written down for people. A phone to prompt is not."""
    match outcome:
        case Accepted(next_action=action, unmapped=word, plugin_data=data):
            return _json([word, dict(data), getattr(action, "message", None)])
        case Failed(message=message, gateway_code=code):
            return _json([message, code])
        case NotSent(cause=cause) | Unknown(cause=cause):
            return cause
        case Succeeded(token=PaymentToken(label=label)):
            return label
        case _:
            return ""


def _replies(stand: Stand) -> Iterator[str]:
    for request in stand.received:
        heard = stand.read(request)
        if isinstance(heard, WebhookRejected):
            yield heard.message
        else:
            yield f"{heard.reply.body!r} {heard.dedupe_key}"


def _tokens(stand: Stand) -> set[str]:
    """Credentials that were made on the way, as the line saw them."""
    found = set()
    for carried in stand.line.carried if stand.line else ():
        scheme, _, value = carried.request.header("authorization").partition(" ")
        if value:
            found.add(value)
        if scheme.lower() == "basic":
            found.add(base64.b64decode(value).decode("latin-1").partition(":")[2])
    return {token for token in found if len(token) >= _LONG_ENOUGH}


def _json(value: Any) -> str:
    # Not escaped, so that what is looked for is found as it is.
    return json.dumps(value, ensure_ascii=False, default=str)


# ── importing ────────────────────────────────────────────────────────────────────────────────────

_LOUD = (
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.putenv"),
    *("os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree", "sqlite3.connect"),
    *("time.sleep", "urllib.Request", "signal.pthread_kill"),
)
_watching: list[tuple[int, list[str]]] = []
_hooked: list[bool] = []


def what_importing_does(plugin: object) -> list[str]:
    """What happens when the plugin is imported anew, in words of Python's audit events."""
    name = plugin.__name__ if hasattr(plugin, "__name__") else type(plugin).__module__
    package = name.partition(".")[0]
    with _forgotten(name if package == "dusangire" else package), _watched() as happened:
        importlib.import_module(name)
    return happened


@contextmanager
def _forgotten(package: str) -> Iterator[None]:
    """As if `package` had never been imported; afterwards everything is as it was."""
    ours = {
        name: module
        for name, module in sys.modules.items()
        if name == package or name.startswith(package + ".")
    }
    for name in ours:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
            del sys.modules[name]
        sys.modules.update(ours)


@contextmanager
def _watched() -> Iterator[list[str]]:
    if not _hooked:
        # There is no way to take an audit hook away again, so there is one, mostly asleep.
        sys.addaudithook(_notice)
        _hooked.append(True)
    happened: list[str] = []
    threads = set(threading.enumerate())
    _watching.append((threading.get_ident(), happened))
    try:
        yield happened
    finally:
        _watching.pop()
        happened += [f"{thread} was started" for thread in set(threading.enumerate()) - threads]


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or _watching[-1][0] != threading.get_ident():
        return
    if event in _LOUD or (event == "open" and _writes(arguments)):
        _watching[-1][1].append(f"{event} {arguments[:2]!r}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, mode, _ = arguments
    if "__pycache__" in str(path):
        return False
    return isinstance(mode, str) and bool(set(mode) & set("wax+"))
