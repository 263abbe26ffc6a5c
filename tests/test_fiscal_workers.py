"""Real worker processes and a VSDC: what becomes of a sale when a worker ends."""

import asyncio
import sys
from pathlib import Path

from plugins.vsdc.tests.conftest import Office, office  # noqa: F401 - a fixture
from tests.harness.processes import Process, clean_environment

from dusangire.simulation import Faults
from dusangire_vsdc.config import PREFIX, VsdcSettings

_DUSANGIRE = Path(sys.executable).parent / "dusangire"


def worker(office: Office, folder: Path, number: int = 1) -> Process:  # noqa: F811
    """One that is told of the office's database and of its VSDC."""
    plugin = office.core.plugins.fiscal
    assert plugin is not None
    settings = plugin.description.config
    assert isinstance(settings, VsdcSettings)
    told = settings.model_dump(include={"url", "tin", "branch", "device_serial", "item_class"})
    return Process(
        name=f"worker {number}",
        command=[_DUSANGIRE, "worker"],
        environment={
            **clean_environment(),
            "DUSANGIRE_DATABASE_URL": office.url,
            "DUSANGIRE_HOME": str(folder),
            **{f"{PREFIX}{name.upper()}": value for name, value in told.items()},
        },
        log=folder / f"worker-{number}.log",
    )


async def test_a_worker_that_is_told_to_stop_waits_for_the_receipt(
    office: Office,  # noqa: F811
    tmp_path: Path,
) -> None:
    invoice = await office.sell()
    office.vsdc.line.faults = Faults(latency=2)
    one = worker(office, tmp_path)
    one.start()
    try:
        async with asyncio.timeout(60):
            while (await office.receipt(invoice))["status"] != "SENDING":  # noqa: ASYNC110 - a row
                await asyncio.sleep(0.02)

        one.terminate()
        status = await one.until_ended()
    finally:
        one.kill()

    row = await office.receipt(invoice)
    assert (status, row["status"], row["doubted"]) == (0, "SIGNED", False)
    assert office.vsdc.requests == {1: 1}
