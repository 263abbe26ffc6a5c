"""Versions with known holes are not used, whatever the lock says."""

from importlib.metadata import version

import pytest


@pytest.mark.parametrize(
    ("package", "floor"),
    [
        ("strawberry-graphql", (0, 327, 2)),
        ("starlette", (1, 3, 1)),
        ("h11", (0, 16, 0)),
        ("tortoise-orm", (0, 16, 6)),
        ("uvicorn", (0, 11, 7)),
    ],
)
def test_s66_versions_with_known_holes_are_not_used(package: str, floor: tuple[int, ...]) -> None:
    assert tuple(int(part) for part in version(package).split(".")[:3]) >= floor
