"""Log lines: JSON or for a console, on stderr, with nothing secret in them.

Our own code logs through structlog; uvicorn and other libraries through `logging`. Both come out
the same way, with the correlation id of the request they belong to.
"""

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import ExcInfo, Processor

from dusangire.masking import mask_log

# Libraries tell too much below this: httpx whole addresses, and with them the tokens of webhooks;
# Tortoise statements with their values.
_FOREIGN = logging.WARNING
_OURS = ("dusangire", "dusangire_server", "dusangire_schema")
# What is masked is cut at 4,000 characters, and the end of a traceback says most.
_LONGEST_TRACEBACK = 3_500


def configure(*, level: str = "info", format: str = "json", stream: TextIO | None = None) -> None:
    """Sets up every logger of this process.

    level: `debug`, `info`, `warning` or `error`. format: `json` or `console`.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    out = stream or sys.stderr
    ends = _ends(format, colors=out.isatty())
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_SHARED, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.contextvars.merge_contextvars],
            processors=[
                _foreign_name,
                ProcessorFormatter.remove_processors_meta,
                *_SHARED,
                *ends,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, _FOREIGN), force=True)
    for name in (*_OURS, "uvicorn"):
        logging.getLogger(name).setLevel(number)
    # uvicorn tells of each WebSocket that comes and goes; we count them instead.
    logging.getLogger("uvicorn.error").setLevel(max(number, _FOREIGN))
    logging.captureWarnings(capture=True)


def _ends(format: str, *, colors: bool) -> list[Processor]:
    if format == "console":
        return [_one_line, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=40)]
    return [structlog.processors.JSONRenderer(serializer=_json)]


def _last_words(exc_info: ExcInfo) -> str:
    text = "".join(traceback.format_exception(*exc_info))
    return text if len(text) <= _LONGEST_TRACEBACK else "…" + text[-_LONGEST_TRACEBACK:]


def _foreign_name(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    record: logging.LogRecord = event["_record"]
    return {**event, "level": record.levelname.lower(), "logger": record.name}


def _plain(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Whatever is no JSON becomes text here, so that the masking after it sees all of it."""
    return {key: _as_json(value) for key, value in event.items()}


def _as_json(value: Any) -> Any:
    try:
        return orjson.loads(_json(value))
    except (orjson.JSONEncodeError, RecursionError):  # 2**64, half a surrogate pair
        return ascii(value)


def _one_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """On a console a text from outside could otherwise forge lines or steer the terminal."""
    return {
        key: _escaped(value) if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
    }


def _escaped(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def _json(value: Any, **_options: Any) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


_SHARED: list[Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(_last_words),
    _plain,
    mask_log,
]
