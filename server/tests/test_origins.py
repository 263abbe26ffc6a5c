"""Pages of other hosts: a shop's checkout page calls the API with its client token."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from dusangire.errors import CannotStart
from dusangire.settings import Settings
from dusangire.testing.rig import serve
from dusangire_server.testing import Shop, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = "https://shop.example.rw"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listed() -> AsyncIterator[Shop]:
    async with open_shop(allowed_origins=(SHOP,)) as opened:
        yield opened


async def test_a_listed_page_may_call_the_api(listed: Shop) -> None:
    asked = await listed.http.options("/graphql", headers={"Origin": SHOP, **PREFLIGHT})
    answer = await listed.post("{ viewer { kind } }", Origin=SHOP)

    assert asked.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", SHOP + ".evil.example"])
async def test_s15_any_other_page_may_not(listed: Shop, origin: str) -> None:
    asked = await listed.http.options("/graphql", headers={"Origin": origin, **PREFLIGHT})
    answer = await listed.post("{ viewer { kind } }", Origin=origin)

    assert asked.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("origin", "opens"), [(SHOP, True), ("https://evil.example", False)])
async def test_s15_a_listed_page_may_open_a_socket(listed: Shop, origin: str, opens: bool) -> None:
    async with serve(listed.app) as base:
        socket = connect(
            base.replace("http", "ws") + "/graphql",
            subprotocols=[Subprotocol("graphql-transport-ws")],
            origin=Origin(origin),
            proxy=None,
        )
        if not opens:
            with pytest.raises(InvalidStatus):
                await socket
            return
        await (await socket).close()


async def test_what_is_no_origin_stops_the_start() -> None:
    with pytest.raises(CannotStart, match="DUSANGIRE_ALLOWED_ORIGINS"):
        Settings.read({"DUSANGIRE_ALLOWED_ORIGINS": "shop.example.rw"})
