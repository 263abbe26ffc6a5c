"""One running system for all journeys of a test process, made whole before each of them."""

import gc
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import pytest_asyncio
from tests.harness.browser import Browser
from tests.harness.client import Merchant
from tests.harness.simulator import Simulator
from tests.harness.system import System, running

from dusangire.testing.database import empty_database

BANK = {
    "bank_name": "Bank of Kigali",
    "account_name": "Umurage Coffee Ltd",
    "account_number": "000400000001",
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that share the system stand together, whatever the random order: a test process that
    runs none of them starts none."""
    items.sort(key=lambda item: "shared_system" not in getattr(item, "fixturenames", ()))


def pytest_collection_finish() -> None:
    """What is there before the first test stays: nobody looks through it after each."""
    gc.collect()
    gc.freeze()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder = tmp_path_factory.mktemp("system")
    gateways = ("mtn", "airtel", "card")
    async with empty_database() as url, running(folder, url, gateways=gateways) as system:
        await system.save_gateway("bank", "bank", BANK)
        yield system


@pytest_asyncio.fixture
async def system(shared_system: System) -> System:
    """The shared system, with everything up and a line without faults."""
    for process in shared_system.processes:
        process.thaw()
        if not process.running:
            process.start()
    for web in shared_system.webs:
        await web.until_ready()
    for code, simulator in shared_system.simulators.items():
        await simulator.faults()
        # A card is picked by whoever opens the page, and by nobody else.
        mode = "manual" if code == "card" else "auto"
        await simulator.settings(mode=mode, delay=0.3, scale=1, outcomes={})
    return shared_system


@pytest_asyncio.fixture
async def mtn(system: System) -> Simulator:
    return system.simulator


@pytest_asyncio.fixture
async def merchant(system: System) -> AsyncIterator[Merchant]:
    async with system.merchant() as merchant:
        yield merchant


@pytest_asyncio.fixture
async def browser(system: System) -> AsyncIterator[Browser]:
    async with system.browser() as browser:
        yield browser


@pytest.fixture
def key() -> str:
    """An idempotency key that nobody used before; payers are told it too."""
    return f"order {uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def swept() -> Iterator[None]:
    """What a test leaves to the collector is collected in that test, not in a later one."""
    yield
    gc.collect()
