"""A merchant's server that is told what happens, over a line that is as bad as any other."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field

from standardwebhooks import Webhook, WebhookVerificationError
from tests.harness.known import Told

_SAID = {200: "OK", 400: "Bad Request", 500: "Internal Server Error"}


@dataclass(slots=True)
class Sink:
    """Listens while it is open. `told` is what arrived, in the order in which it did.

    refused, lost: shares of what arrives that is answered with 500, or not at all.
    """

    seed: int = 0
    secret: str = ""
    refused: float = 0
    lost: float = 0
    told: list[Told] = field(default_factory=list)
    url: str = ""
    _random: random.Random = field(init=False, repr=False)
    _server: asyncio.Server | None = field(default=None, repr=False)
    _talks: set["asyncio.Task[None]"] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def __aenter__(self) -> "Sink":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hooks"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while (status := await self._hear(reader)) is not None:
                    head = f"HTTP/1.1 {status} {_SAID[status]}\r\ncontent-length: 0\r\n\r\n"
                    writer.write(head.encode())
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def _hear(self, reader: asyncio.StreamReader) -> int | None:
        """Takes one message; gives the answer, None where there will be none."""
        _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = (await reader.readexactly(int(headers["content-length"]))).decode()
        status: int | None = 200
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            status = 400
        else:
            luck = self._random.random()
            if luck < self.refused + self.lost:
                status = 500 if luck < self.refused else None
        self.told.append(
            Told(
                id=headers.get("webhook-id", ""),
                body=body,
                genuine=status != 400,
                acknowledged=status == 200,
            )
        )
        return status
