"""What every client of a provider has to know of HTTP: what never left, and how long to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

# The errors before the first byte has left. After any other, nobody can tell what arrived.
NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def retry_after(response: httpx.Response, now: datetime) -> timedelta | None:
    """How long the provider wants to be left alone: the header in seconds, or as a date (RFC 9110).

    None when it did not say, or said something that is neither.
    """
    text = response.headers.get("retry-after")
    if text is None:
        return None
    try:
        wait = timedelta(seconds=int(text))
    except (ValueError, OverflowError):
        try:
            until = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        wait = (until if until.tzinfo else until.replace(tzinfo=UTC)) - now
    return max(wait, timedelta(0))


def words_of(error: BaseException) -> str:
    """An error in a line, such as `ReadTimeout` or `ConnectError: refused`."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
