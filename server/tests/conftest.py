"""Running shops. There is one at a time in a process: its database is the process's database."""

from collections.abc import AsyncIterator

import pytest_asyncio

from dusangire_server.testing import Shop, open_shop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    """One shop for all tests of a module, which must leave it as good as they found it."""
    async with open_shop() as opened:
        yield opened


@pytest_asyncio.fixture
async def own_shop() -> AsyncIterator[Shop]:
    """A shop to break."""
    async with open_shop() as opened:
        yield opened
