"""Lists in the Relay way: edges with opaque cursors, and whether there is more."""

from typing import Any

import strawberry

from dusangire.errors import Invalid
from dusangire.queries import MAX_PAGE, Page


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


def page_size(first: int | None, default: int) -> int:
    """Raises Invalid for a size that no list has."""
    size = default if first is None else first
    if not 1 <= size <= MAX_PAGE:
        raise Invalid(f"first must be between 1 and {MAX_PAGE}.", field=["first"])
    return size


def page_info(page: Page[Any], after: str | None) -> PageInfo:
    return PageInfo(
        has_next_page=page.has_next,
        has_previous_page=after is not None,
        start_cursor=page.cursors[0] if page.cursors else None,
        end_cursor=page.cursors[-1] if page.cursors else None,
    )
