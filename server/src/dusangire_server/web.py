"""One web process: the app in uvicorn, the tail of events, and perhaps the worker inside."""

import argparse
import asyncio
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette

from dusangire.core import Core, open_core
from dusangire.errors import DusangireError
from dusangire.settings import Settings
from dusangire_server import logs, worker
from dusangire_server.app import SERVER_OPTIONS, build_app
from dusangire_server.databases import database
from dusangire_server.stopping import GRACE, cancel, finish_calls, first_ended, told_to_stop

log = structlog.get_logger(__name__)

Greeting: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Web:
    """A web process in this event loop.

    with_worker: background work runs inside as well.
    grace: seconds for what is under way when it is told to stop.
    lifeline: see `told_to_stop`.
    """

    listener: socket.socket
    with_worker: bool = False
    grace: float = GRACE
    lifeline: int | None = None

    async def run(self, core: Core, url: str, app: Starlette, greet: Greeting) -> None:
        """Serves until SIGTERM or SIGINT; another SIGINT cuts the end short.

        greet: what to do once connections are accepted.
        Raises what ended a background task, for none of them is meant to end.
        """
        # Nobody may subscribe before the tail knows where the log ends.
        await core.tail.begin()
        server = _Server(app, self.grace)
        with told_to_stop(self.lifeline) as stop:
            tail = asyncio.create_task(core.tail.run(url), name="tail")
            workers = [asyncio.create_task(worker.run(core, url))] if self.with_worker else []
            serving = asyncio.create_task(server.serve(sockets=[self.listener]), name="web")
            greeting = asyncio.create_task(_greet_and_stay(server, greet), name="greeting")
            ended = await first_ended(stop, serving, greeting, tail, *workers)
            end = time.monotonic() + self.grace
            server.should_exit = True
            stop.again = server.force
            await cancel(greeting, *workers)
            await asyncio.wait({serving})
            await cancel(tail)
            await finish_calls(stop, end - time.monotonic())
        for task in ended | {serving}:
            task.result()


async def _greet_and_stay(server: "_Server", greet: Greeting) -> None:
    await server.accepting.wait()
    await greet()
    await asyncio.Event().wait()


class _Server(uvicorn.Server):
    """uvicorn, told by us when to stop: its own way, a signal kills before we have cleaned up."""

    def __init__(self, app: Starlette, grace: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="websockets-sansio",
                # Our logging is set up already.
                log_config=None,
                h11_max_incomplete_event_size=64 * 1024,
                **{**SERVER_OPTIONS, "timeout_graceful_shutdown": max(1, round(grace))},
            )
        )
        self._app = app
        self.accepting = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    def force(self) -> None:
        self.force_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.accepting.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Streams never end by themselves; their clients go on elsewhere from their cursor.
        self._app.state.graphql.closing.set()
        await super().shutdown(sockets)


def serve(
    settings: Settings,
    url: str,
    listener: socket.socket,
    *,
    with_worker: bool = False,
    lifeline: int | None = None,
) -> None:
    """A web process until it is told to stop. Raises CannotStart."""
    web = Web(listener=listener, with_worker=with_worker, lifeline=lifeline)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, url, web))


async def _serve(settings: Settings, url: str, web: Web) -> None:
    async def tell() -> None:
        host, port = web.listener.getsockname()[:2]
        log.info("serving", host=host, port=port, worker=web.with_worker)

    async with open_core(settings, url) as core:
        await web.run(core, url, build_app(core), tell)
    log.info("stopped")


def main() -> None:
    """A web process among others, on a listener it was handed: see `supervisor`."""
    parser = argparse.ArgumentParser(prog="python -m dusangire_server.web")
    parser.add_argument("listener", type=int, help="descriptor of a listening socket")
    parser.add_argument("--with-worker", action="store_true")
    options = parser.parse_args()
    try:
        settings = Settings.read(os.environ)
        logs.configure(level=settings.log_level, format=settings.log_format)
        with database(settings) as url, socket.socket(fileno=options.listener) as listener:
            serve(
                settings,
                url,
                listener,
                with_worker=options.with_worker,
                lifeline=sys.stdin.fileno(),
            )
    except DusangireError as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
