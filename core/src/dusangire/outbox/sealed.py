"""The secrets of merchants' endpoints as they are stored: sealed, each for its own endpoint."""

from uuid import UUID

from dusangire.database import Row, fetch
from dusangire.keyring import Keyring

_ENDPOINTS = """SELECT id AS endpoint_id, secret,
    CASE WHEN previous_until > now() THEN previous_secret END AS previous_secret
FROM webhook_endpoint WHERE deleted_at IS NULL"""


def secret_owner(endpoint_id: UUID) -> str:
    """What an endpoint's secret is sealed for."""
    return f"webhook_endpoint:{endpoint_id}"


def opened(keyring: Keyring, row: Row) -> tuple[str, ...]:
    """The secrets that sign now, the newest first. Raises CannotStart."""
    owner = secret_owner(row["endpoint_id"])
    sealed = [blob for blob in (row["secret"], row["previous_secret"]) if blob]
    return tuple(keyring.unseal(blob, owner=owner, field="secret") for blob in sealed)


async def check(keyring: Keyring) -> None:
    """Opens them all. Raises CannotStart, naming the one that cannot be opened."""
    for row in await fetch(_ENDPOINTS):
        opened(keyring, row)
