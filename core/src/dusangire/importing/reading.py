"""Reads one statement file in a process of its own: `python -m dusangire.importing.reading`.

A file can do no harm here: the process may take little memory and little time, may write no file,
starts without the server's environment and therefore without its secrets, and is killed when it
takes too long. Where the system lets an ordinary user do so it has no network either.

On stdin comes one line, what to read; on stdout go the records, one JSON object a line. On stderr
`at N` says that line N of the file was reached. `sandbox` is the other side.
"""

import ctypes
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson

from dusangire.statements import (
    Entry,
    MappingProfile,
    ReadOptions,
    Record,
    Rejected,
    Remark,
    StatementEnd,
    StatementFormat,
    StatementHead,
    Unreadable,
)

KINDS: Mapping[str, type[Any]] = {
    "head": StatementHead,
    "entry": Entry,
    "end": StatementEnd,
    "remark": Remark,
    "rejected": Rejected,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
# So much of a file is looked at to see what it is.
_BEGINNING = 64 * 1024
_EVERY = 200
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


class _Refused(Exception):
    """What is said instead of records. code: see `sandbox.Refused`."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.line = code, message, line


def main() -> None:
    job = orjson.loads(sys.stdin.buffer.readline())
    _confine(job)
    line = 0
    try:
        for number, record in enumerate(_records(job)):
            line = getattr(record, "line", None) or line
            if number >= job["most"]:
                raise _Refused(  # noqa: TRY301 - said below, like all others
                    "TOO_LARGE", f"The file has more than {job['most']:,} lines.", line
                )
            _say({"t": _NAMES[type(record)], "v": _plain(record)})
            if number % _EVERY == 0:
                sys.stdout.buffer.flush()
                sys.stderr.write(f"at {line}\n")
                sys.stderr.flush()
    except Unreadable as error:
        _say(_ending("UNREADABLE_FILE", error.message, error.line))
    except _Refused as error:
        _say(_ending(error.code, error.message, error.line))
    except (MemoryError, RecursionError):
        _say(_ending("UNREADABLE_FILE", "The file takes more memory than a statement may.", line))
    # A format's mistake must not look like a file without lines.
    except Exception as error:
        what = f"The format could not read on ({type(error).__name__})."
        _say(_ending("UNREADABLE_FILE", what, line))
    else:
        _say({"t": "done"})
    sys.stdout.buffer.flush()


def _confine(job: Mapping[str, Any]) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_CPU, job["cpu"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))
    # Refused where ordinary users may not do this: then nothing but good manners keeps a format
    # from the network.
    ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK)


def _records(job: Mapping[str, Any]) -> Iterator[Record]:
    formats, profiles = _installed(job["modules"])
    profiles.update({one["code"]: MappingProfile(**one) for one in job["profiles"]})
    file = Path(job["path"])
    chosen = _format(formats, job["format"], file)
    profile = None
    if job["profile"] is not None:
        profile = profiles.get(job["profile"])
        if profile is None:
            raise _Refused("UNKNOWN_FORMAT", f"There is no mapping profile {job['profile']!r}.")
    options = ReadOptions(
        currency=job["currency"],
        today=date.fromisoformat(job["today"]),
        file_name=job["file_name"],
        profile=profile,
        profiles=tuple(profiles.values()),
    )
    _say({"t": "format", "v": chosen.name})
    if job["preview"]:
        _say({"t": "preview", "v": _preview(chosen, file, options)})
        return
    yield from chosen.read(file, options)


def _installed(
    modules: list[str],
) -> tuple[dict[str, StatementFormat], dict[str, MappingProfile]]:
    formats: dict[str, StatementFormat] = {}
    profiles: dict[str, MappingProfile] = {}
    for name in modules:
        for found in import_module(name).statement_formats() or ():
            if isinstance(found, MappingProfile):
                profiles.setdefault(found.code, found)
            else:
                formats.setdefault(found.name, found)
    return formats, profiles


def _format(
    formats: Mapping[str, StatementFormat], asked: str | None, file: Path
) -> StatementFormat:
    if asked is not None:
        if asked in formats:
            return formats[asked]
        raise _Refused("UNKNOWN_FORMAT", f"There is no format {asked!r}.")
    with file.open("rb") as opened:
        beginning = opened.read(_BEGINNING)
    # A table may look like anything, so the ones that know their files for sure are asked first.
    for found in sorted(formats.values(), key=lambda one: one.uses_profiles):
        if found.recognises(beginning):
            return found
    known = ", ".join(sorted(formats)) or "none"
    raise _Refused("UNKNOWN_FORMAT", f"This file is in no format that can be read: {known}.")


def _preview(chosen: StatementFormat, file: Path, options: ReadOptions) -> Any:
    show = getattr(chosen, "preview", None)
    return None if show is None else show(file, options)


def _plain(record: Record) -> dict[str, Any]:
    values = ((field.name, getattr(record, field.name)) for field in fields(record))
    return {name: value for name, value in values if value is not None}


def _ending(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"t": "refused", "code": code, "message": message, "line": line}


def _say(value: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
