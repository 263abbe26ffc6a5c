"""What the environment says about limits: the `DUSANGIRE_LIMIT_…` variables."""

import os
from collections.abc import Mapping
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dusangire.errors import CallerError, CannotStart
from dusangire.money import Money

_PREFIX = "DUSANGIRE_LIMIT_"
_AMOUNTS = "amounts such as RWF 500000, with commas between currencies"
_TAKES = {
    "DUSANGIRE_LIMIT_PER_PAYMENT": _AMOUNTS,
    "DUSANGIRE_LIMIT_PER_DAY": _AMOUNTS,
    "DUSANGIRE_LIMIT_TIME_ZONE": "the name of a time zone, such as Africa/Kigali",
}


def _amounts(value: object) -> object:
    """`RWF 500000, USD 400.50` by currency."""
    if not isinstance(value, str):
        return value
    amounts: dict[str, Money] = {}
    for part in value.split(","):
        currency, _, amount = part.strip().partition(" ")
        if currency in amounts:
            raise ValueError(f"{currency} is there twice")
        try:
            amounts[currency] = Money.parse(amount.strip(), currency)
        except CallerError as error:
            raise ValueError(error.message) from error
    return amounts


Amounts = Annotated[Mapping[str, Money], NoDecode, BeforeValidator(_amounts)]


class LimitSettings(BaseSettings):
    """The most that is taken, by currency. A currency that is not named has no limit.

    time_zone: where a day begins.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    per_payment: Amounts = Field(default_factory=dict)
    per_day: Amounts = Field(default_factory=dict)
    time_zone: ZoneInfo = ZoneInfo("Africa/Kigali")


def read_settings() -> LimitSettings:
    """Raises CannotStart, naming the variable and what it takes.

    A name that is mistyped is refused too: the limit that somebody meant would not hold.
    """
    for name in os.environ:
        if name.startswith(_PREFIX) and name not in _TAKES:
            raise CannotStart(f"{name} is no setting. There are {', '.join(_TAKES)}.")
    try:
        return LimitSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{_PREFIX}{str(first['loc'][0]).upper()}"
        why = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise CannotStart(
            f"{name} is {os.environ.get(name)!r}: {why}. It takes {_TAKES[name]}."
        ) from error
