"""Which database a process uses: the one that is named, or the embedded one in the home folder."""

from collections.abc import Iterator
from contextlib import contextmanager

from dusangire.database import migrate
from dusangire.errors import CannotStart
from dusangire.postgres import EmbeddedServer
from dusangire.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Its address; the embedded server runs while somebody is inside. Raises CannotStart."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with EmbeddedServer(settings.home) as server:
        yield server.url


async def prepare(settings: Settings, url: str) -> None:
    """Brings the embedded database up to date. Raises CannotStart when another one is not."""
    if settings.database_url is None:
        await migrate(url)
    elif missing := await migrate(url, check=True):
        raise CannotStart(
            f"The database lacks {len(missing)} migration{'s' * (len(missing) > 1)}: "
            "run `dusangire migrate` first."
        )
