"""How long a provider wants to be left alone, and how an error is told."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from dusangire.wire import retry_after, words_of

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("0", timedelta(0)),
        ("-5", timedelta(0)),
        ("Mon, 23 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Mon, 23 Nov 2026 12:00:30 -0000", timedelta(seconds=30)),
        ("Mon, 23 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("soon", None),
        ("9" * 30, None),
        ("", None),
    ],
)
def test_a_providers_wish_is_read_in_seconds_or_as_a_date(
    header: str, wait: timedelta | None
) -> None:
    assert retry_after(httpx.Response(503, headers={"Retry-After": header}), NOW) == wait


def test_no_wish_is_none() -> None:
    assert retry_after(httpx.Response(503), NOW) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [(httpx.ReadTimeout(""), "ReadTimeout"), (httpx.ConnectError("no"), "ConnectError: no")],
)
def test_an_error_is_told_in_a_line(error: Exception, words: str) -> None:
    assert words_of(error) == words
