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
    _fetching: dict[str, "asyncio.Task[str]"] = field(default_factory=dict)

    async def get(self, name: str, fetch: Callable[[], Awaitable[tuple[str, timedelta]]]) -> str:
        """The token `name`; `fetch` gives a new one and its lifetime, once for all who wait.

        A token is renewed when a sixth of its lifetime is left. What `fetch` raises, all who wait
        for it get: a provider that hangs is not asked again by each of them in turn.
        """
        token = self._tokens.get(name)
        if token is not None and self.clock() < token.renew_at:
            return token.value
        if name not in self._fetching:
            task = asyncio.create_task(self._fetch(name, fetch))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._fetching[name] = task
        # Whoever gives up waiting leaves the others their token.
        return await asyncio.shield(self._fetching[name])

    async def _fetch(self, name: str, fetch: Callable[[], Awaitable[tuple[str, timedelta]]]) -> str:
        asked_at = self.clock()
        try:
            value, lifetime = await fetch()
            self._tokens[name] = Token(value, asked_at + lifetime * 5 / 6)
        finally:
            del self._fetching[name]
        return value

    def forget(self, name: str, value: str) -> None:
        """Drop a token that the provider refused, unless somebody renewed it meanwhile."""
        token = self._tokens.get(name)
        if token is not None and token.value == value:
            del self._tokens[name]
