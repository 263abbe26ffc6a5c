"""Ikaze Pay on the test stand: its hooks, its simulator, and the line between them."""

from collections.abc import AsyncIterator

import pytest

from dusangire.testing import Stand
from dusangire.testing.stand import load
from dusangire_ikaze import gateway


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with Stand.open(load(gateway)) as opened:
        yield opened
