"""Where files arrive: POST /uploads, multipart with one field `file`, answered 201 {"id": …}.

The file is written to the disk as it comes and counted on the way: what is too large, too slow or
broken off leaves nothing behind. Its name is for people; nothing is opened by it.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message as EmailMessage
from pathlib import Path
from typing import Any, BinaryIO, cast

import structlog
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.types import Receive, Scope, Send

from dusangire.access import Actor
from dusangire.database import LOST
from dusangire.errors import ConfirmationNeeded, Forbidden, Invalid, Retryable
from dusangire.importing import uploads
from dusangire.permissions import Permission
from dusangire_schema.errors import masked
from dusangire_server.doors import Doors, header
from dusangire_server.graphql import GraphQL, Refused
from dusangire_server.http import correlation_id, send_json

log = structlog.get_logger(__name__)

PATIENCE = 60.0
"""Seconds for a whole file, however slowly it comes."""

AT_ONCE = 8
"""So many files come in at a time; each may wait on the disk with 20 MB."""

_FRAME = 64 * 1024
_LONGEST_HEADER = 4 * 1024


@dataclass(slots=True)
class Uploads:
    """The route, as an ASGI app. doors: whose cookies count."""

    graphql: GraphQL
    doors: Doors
    patience: float = PATIENCE
    coming: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            upload_id = await self._take(scope, receive)
        except Refused as refused:
            await send_json(send, refused.status, refused.answer, (b"connection", b"close"))
        except Exception:
            log.exception("upload failed")
            await send_json(send, 500, {"errors": [masked(correlation_id(scope))]})
        else:
            await send_json(send, 201, {"id": upload_id})

    async def _take(self, scope: Scope, receive: Receive) -> str:
        boundary = _boundary(scope)
        actor = await self._caller(scope)
        if self.coming >= AT_ONCE:
            raise Refused(503, "RETRYABLE", "Many files are coming in. Try again in a moment.")
        self.coming += 1
        try:
            async with _received(receive, boundary, self.patience) as part:
                kept = await uploads.keep(self.graphql.core, actor, part.path, part.name)
        except Invalid as error:
            raise Refused(400, error.code, error.message) from error
        except (Retryable, *LOST) as error:
            raise Refused(503, "RETRYABLE", "We could not store it. Try again.") from error
        finally:
            self.coming -= 1
        return str(kept)

    async def _caller(self, scope: Scope) -> Actor:
        """Who sends it. Nothing of the body is read before that is known."""
        session = self.doors.session(scope) if header(scope, b"x-csrf") == "1" else ""
        caller = await self.graphql.caller(header(scope, b"authorization"), session)
        try:
            caller.actor.require(Permission.IMPORT_STATEMENTS)
        except (Forbidden, ConfirmationNeeded) as error:
            raise Refused(403, error.code, error.message) from error
        self.graphql.take(caller)
        return caller.actor


def _boundary(scope: Scope) -> bytes:
    if scope["method"] != "POST":
        raise Refused(405, "BAD_REQUEST", "Send files with POST.")
    said = EmailMessage()
    said["content-type"] = header(scope, b"content-type")[:1_000]
    boundary = said.get_param("boundary")
    if said.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise Refused(415, "BAD_REQUEST", "Send the file as multipart/form-data, field `file`.")
    if header(scope, b"content-encoding") not in {"", "identity"}:
        raise Refused(415, "BAD_REQUEST", "Send the body as it is, not compressed.")
    length = header(scope, b"content-length")
    if length.isdigit() and int(length[:12]) > uploads.LARGEST + _FRAME:
        raise _too_large()
    return boundary.encode("latin-1", "replace")


@dataclass(slots=True)
class _Part:
    """The file as it comes in."""

    path: Path
    file: BinaryIO
    name: str = ""
    size: int = 0
    files: int = 0
    done: bool = False
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: str = ""

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._take_header,
            "on_header_value": self._take_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._look,
            "on_part_data": self._take_data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = ""
        self._header.clear()
        self._value.clear()

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._bound()

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound()

    def _bound(self) -> None:
        if len(self._header) + len(self._value) > _LONGEST_HEADER:
            raise Refused(400, "BAD_REQUEST", "The part's headers are too long.")

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = self._value.decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _look(self) -> None:
        self.files += 1
        said = EmailMessage()
        # Line breaks cannot be in it: they would have ended the header.
        said["content-disposition"] = self._disposition.replace("\r", "").replace("\n", "")
        if self.files > 1 or said.get_param("name", header="content-disposition") != "file":
            raise Refused(400, "BAD_REQUEST", "Send one part only: the field `file`.")
        self.name = said.get_filename("")

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        self.size += end - start
        if self.size > uploads.LARGEST:
            raise _too_large()
        self.file.write(data[start:end])

    def _end(self) -> None:
        self.done = True


@asynccontextmanager
async def _received(receive: Receive, boundary: bytes, patience: float) -> AsyncIterator[_Part]:
    """The file on the disk for as long as it takes to store it. Raises Refused."""
    with tempfile.TemporaryDirectory(prefix=uploads.SCRATCH) as folder:
        path = Path(folder) / "file"
        with path.open("xb") as file:
            part = _Part(path, file)
            try:
                async with asyncio.timeout(patience):
                    await _feed(receive, MultipartParser(boundary, cast("Any", part.callbacks())))
            except TimeoutError:
                raise Refused(408, "BAD_REQUEST", "The file came too slowly.") from None
            except FormParserError as error:
                raise Refused(400, "BAD_REQUEST", "This is no multipart body.") from error
        if not part.done or not part.files:
            raise Refused(400, "BAD_REQUEST", "The body ends before the file does.")
        yield part


async def _feed(receive: Receive, parser: MultipartParser) -> None:
    taken = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "BAD_REQUEST", "The connection was closed.")
        chunk = message.get("body", b"")
        taken += len(chunk)
        if taken > uploads.LARGEST + _FRAME:
            raise _too_large()
        parser.write(chunk)
        if not message.get("more_body", False):
            return


def _too_large() -> Refused:
    return Refused(413, "TOO_LARGE", f"A file has at most {uploads.LARGEST:,} bytes.")
