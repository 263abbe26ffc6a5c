"""Access tokens of providers: fetched once, shared by all who wait, renewed in time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and when to stop using it (the provider's lifetime less a margin)."""

    value: str
    renew_at: datetime


@dataclass(slots=True)
class TokenCache:
    """One token per name (a provider's product), one request for it at a time.

    clock: the time now, with its zone.
    """

    clock: Callable[[], datetime]
    _tokens: dict[str, Token] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def get(self, name: str, fetch: Callable[[], Awaitable[tuple[str, timedelta]]]) -> str:
        """The token `name`; `fetch` gives a new one and its lifetime, and is called by one waiter.

        A token is renewed when a sixth of its lifetime is left.
        """
        token = self._tokens.get(name)
        if token is not None and self.clock() < token.renew_at:
            return token.value
        async with self._locks.setdefault(name, asyncio.Lock()):
            token = self._tokens.get(name)
            if token is None or self.clock() >= token.renew_at:
                asked_at = self.clock()
                value, lifetime = await fetch()
                token = Token(value, asked_at + lifetime * 5 / 6)
                self._tokens[name] = token
        return token.value

    def forget(self, name: str, value: str) -> None:
        """Drop a token that the provider refused, unless somebody renewed it meanwhile."""
        token = self._tokens.get(name)
        if token is not None and token.value == value:
            del self._tokens[name]
