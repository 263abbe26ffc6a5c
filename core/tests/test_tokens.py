"""Access tokens: fetched once for all who wait, renewed in time, never kept when refused."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from dusangire.tokens import TokenCache

HOUR = timedelta(hours=1)


class Provider:
    """Gives token after token, slowly; refuses while `down`."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def clock(self) -> datetime:
        return self.now

    async def fetch(self) -> tuple[str, timedelta]:
        self.asked += 1
        await asyncio.sleep(0.01)
        if self.down:
            raise TimeoutError
        return f"token {self.asked}", HOUR


async def test_fifty_who_wait_cost_one_request() -> None:
    provider = Provider()
    cache = TokenCache(provider.clock)

    tokens = await asyncio.gather(*(cache.get("a", provider.fetch) for _ in range(50)))

    assert set(tokens) == {"token 1"}
    assert provider.asked == 1


async def test_a_failure_is_shared_and_the_next_one_asks_again() -> None:
    provider = Provider()
    provider.down = True
    cache = TokenCache(provider.clock)

    failed = await asyncio.gather(
        *(cache.get("a", provider.fetch) for _ in range(50)), return_exceptions=True
    )
    provider.down = False

    assert {type(error) for error in failed} == {TimeoutError}
    assert provider.asked == 1
    assert await cache.get("a", provider.fetch) == "token 2"


async def test_whoever_gives_up_leaves_the_others_their_token() -> None:
    provider = Provider()
    cache = TokenCache(provider.clock)
    first = asyncio.create_task(cache.get("a", provider.fetch))
    second = asyncio.create_task(cache.get("a", provider.fetch))
    await asyncio.sleep(0)

    first.cancel()

    assert await second == "token 1"
    assert provider.asked == 1


@pytest.mark.parametrize(
    ("minutes", "asked"), [(49, 1), (51, 2)], ids=["early: the same", "late: a new one"]
)
async def test_a_token_is_renewed_before_it_ends(minutes: int, asked: int) -> None:
    provider = Provider()
    cache = TokenCache(provider.clock)
    await cache.get("a", provider.fetch)

    provider.now += timedelta(minutes=minutes)
    await cache.get("a", provider.fetch)

    assert provider.asked == asked


async def test_a_refused_token_is_forgotten_but_not_its_successor() -> None:
    provider = Provider()
    cache = TokenCache(provider.clock)
    old = await cache.get("a", provider.fetch)

    cache.forget("a", old)
    new = await cache.get("a", provider.fetch)
    cache.forget("a", old)

    assert await cache.get("a", provider.fetch) == new
    assert provider.asked == 2
