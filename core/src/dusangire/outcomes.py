"""Outcomes at our door: checked before anything is decided on them, and kept as JSON.

A plugin translates what a provider sent, and a provider may send anything. What cannot be stored
would break the writing down of that very answer, each time the gateway is asked for it again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from dusangire.exchanges import shown_text
from dusangire.gateway import (
    Accepted,
    ApproveOnPhone,
    Failed,
    FollowLink,
    NextAction,
    NotSent,
    Outcome,
    PayInPerson,
    PaymentToken,
    Succeeded,
    TransferToAccount,
    Unknown,
)
from dusangire.lifecycle import RESEND_FOR
from dusangire.money import MAX_MINOR
from dusangire.text import printable, storable

_OUTCOMES: Mapping[str, TypeAdapter[Outcome]] = {
    kind.__name__: TypeAdapter(kind) for kind in (Accepted, Succeeded, Failed, NotSent, Unknown)
}
_ACTIONS: Mapping[str, TypeAdapter[NextAction]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (ApproveOnPhone, FollowLink, TransferToAccount, PayInPerson)
}
_WORDS = frozenset({"message", "cause", "unmapped", "gateway_code"})
_IDS = frozenset({"reference", "gateway_transaction_id"})
_MAX_WORDS = 500
_MAX_ID = 200
_MAX_JSON = 20_000
_MAX_TOKEN = 2_000
_MAX_LABEL = 100


def checked(outcome: object, secrets: Iterable[str] = ()) -> Outcome:
    """The outcome as it may be stored: of the right types, its words printable, masked and cut.

    Raises ValueError, saying what is wrong with it.
    """
    if not isinstance(outcome, Accepted | Succeeded | Failed | NotSent | Unknown):
        raise ValueError(f"{type(outcome).__name__} is no outcome")  # noqa: TRY004 - as the rest
    hidden = tuple(secrets)
    try:
        sound = read_outcome(outcome_json(_tidy(outcome, hidden)))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise ValueError(f"{type(outcome).__name__} with values that do not fit") from error
    sound = _within_bounds(sound)
    if isinstance(outcome, Succeeded) and isinstance(sound, Succeeded):
        return replace(sound, token=_sound_token(outcome.token, hidden))
    return sound


def outcome_json(outcome: Outcome) -> str:
    """An outcome as it is stored: its kind beside its fields, without what charges the payer."""
    data = _values(outcome)
    data.pop("token", None)
    if (action := data.get("next_action")) is not None:
        data["next_action"] = {"kind": type(action).__name__, **asdict(action)}
    return orjson.dumps({"kind": type(outcome).__name__, **data}, default=_iso).decode()


def read_outcome(text: str) -> Outcome:
    """The outcome that `outcome_json` made a text of. Raises ValueError, KeyError."""
    data = orjson.loads(text)
    action = data.pop("next_action", None)
    outcome: Outcome = _read(_OUTCOMES[data.pop("kind")], data)
    if action is None or not isinstance(outcome, Accepted):
        return outcome
    return replace(outcome, next_action=_read(_ACTIONS[action.pop("kind")], action))


def _read(adapter: TypeAdapter[Any], data: Mapping[str, Any]) -> Any:
    try:
        return adapter.validate_json(orjson.dumps(data), strict=True)
    except ValidationError as error:
        raise ValueError("a value is of another type") from error


def _tidy(outcome: Outcome, secrets: tuple[str, ...]) -> Outcome:
    changes: dict[str, Any] = {}
    for name, value in _values(outcome).items():
        if name in _WORDS and isinstance(value, str):
            changes[name] = shown_text(printable(value), secrets)[:_MAX_WORDS]
        elif name in _IDS and isinstance(value, str):
            changes[name] = printable(value)[:_MAX_ID]
        elif name == "plugin_data":
            changes[name] = storable(value)
        elif name == "next_action" and value is not None:
            changes[name] = replace(value, **storable(_texts(value)))
    return replace(outcome, **changes)


def _within_bounds(outcome: Outcome) -> Outcome:
    match outcome:
        case Succeeded(fee=fee) if fee is not None and (
            fee.currency != outcome.amount.currency or not 0 <= fee.minor <= MAX_MINOR
        ):
            # The money moved, whatever is wrong with what it cost.
            return replace(outcome, fee=None)
        case NotSent(retry_after=wait) if wait is not None:
            return replace(outcome, retry_after=min(max(wait, timedelta(0)), RESEND_FOR))
        case Accepted(next_action=FollowLink(url=url)) if not url.startswith(
            ("https://", "http://")
        ):
            raise ValueError("Accepted with a link that is no web address")
        case Accepted() if len(outcome_json(outcome)) > _MAX_JSON:
            raise ValueError(f"Accepted with more than {_MAX_JSON} characters")
        case _:
            return outcome


def _sound_token(token: object, secrets: tuple[str, ...]) -> PaymentToken | None:
    """The token, or None for one that cannot be kept: the money moved all the same."""
    match token:
        case PaymentToken(secret=str(secret), label=str(label), expires_at=expires_at):
            label = shown_text(printable(label), secrets)[:_MAX_LABEL].strip()
            kept = 0 < len(secret) <= _MAX_TOKEN and printable(secret) == secret and label
            dated = expires_at is None or _has_a_zone(expires_at)
            return replace(token, label=label) if kept and dated else None
        case _:
            return None


def _has_a_zone(moment: object) -> bool:
    return isinstance(moment, datetime) and moment.tzinfo is not None


def _values(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _texts(value: Any) -> dict[str, Any]:
    return {n: text for n, text in _values(value).items() if isinstance(text, str | Mapping)}


def _iso(value: object) -> str:
    if isinstance(value, timedelta):
        return f"PT{value.total_seconds():f}S"
    raise TypeError
