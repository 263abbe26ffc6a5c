"""A plugin's simulator in a process of its own: `python -m dusangire.simulation mtn --port 9100`.

Writes its address to stdout once it can be reached; talk goes to stderr.
"""

import argparse
import json
import socket
import sys
from datetime import UTC, datetime
from typing import Any

import httpx
import structlog
import uvicorn
from starlette.types import ASGIApp

from dusangire.errors import CannotStart, DusangireError
from dusangire.gateway import JSON, Environment, Gateway
from dusangire.plugins import Plugin, Plugins
from dusangire.simulation.simulation import Simulation
from dusangire.tokens import TokenCache


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        with socket.create_server((options.host, options.port), backlog=1024) as listener:
            address = f"http://{options.host}:{listener.getsockname()[1]}"
            app = load(options, address)
            print(address, flush=True)  # noqa: T201 - the address is the output
            config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none")
            uvicorn.Server(config).run(sockets=[listener])
    except (DusangireError, ValueError, OSError) as error:
        raise SystemExit(f"simulation: {error}") from error


def load(options: argparse.Namespace, address: str) -> ASGIApp:
    """The simulator of the plugin with this entry point name. Raises CannotStart."""
    plugin = Plugins.load()[options.plugin]
    app = plugin.simulator(_gateway(plugin, options, address))
    if app is None:
        raise CannotStart(f"The plugin {options.plugin!r} has no simulator.")
    simulation = getattr(getattr(app, "state", None), "simulation", None)
    if isinstance(simulation, Simulation):
        simulation.random.seed(options.seed)
    return app


def _gateway(plugin: Plugin, options: argparse.Namespace, address: str) -> Gateway[Any]:
    config = {**(plugin.description.example_config or {}), "base_url": address, **options.config}
    return Gateway(
        code=plugin.name,
        environment=Environment.TEST,
        config=plugin.description.config.model_validate(config),
        http=httpx.AsyncClient(),
        tokens=TokenCache(_now),
        webhook_url=options.webhook_url,
        clock=_now,
        log=structlog.get_logger(plugin.name),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dusangire.simulation", description=__doc__)
    parser.add_argument("plugin", help="entry point name of the plugin, such as mtn")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--config", type=_object, default={}, help="JSON over the plugin's example config"
    )
    parser.add_argument("--webhook-url", help="the only host that webhooks may be sent to")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same faults")
    return parser


def _object(text: str) -> dict[str, JSON]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return value


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
