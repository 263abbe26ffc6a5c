"""How the process is: /health, /ready and /metrics. They tell no versions and no addresses."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import dusangire
from dusangire import codes
from dusangire.database import fetch
from dusangire.errors import Retryable
from dusangire.fiscalization import receipts
from dusangire.health import load as load_health
from dusangire.permissions import Permission
from dusangire.reconciliation import measures
from dusangire_server.graphql import GraphQL, Refused
from dusangire_server.metrics import CONTENT_TYPE

log = structlog.get_logger(__name__)

# A hundred thousand lines that nobody has explained take a moment to count.
COUNT_EVERY = 15.0


async def health(_request: Request) -> Response:
    """Alive: it answers."""
    return JSONResponse({"status": "ok"})


@dataclass(slots=True)
class Status:
    """The routes that need to look at something."""

    graphql: GraphQL
    _counted_at: float = field(default=-math.inf)

    async def ready(self, _request: Request) -> Response:
        """Ready for requests: the database answers and has all migrations."""
        try:
            found = {row["version"] for row in await fetch("SELECT version FROM aerich")}
        except Exception as error:
            # Whatever is wrong with the database, others shall get the requests.
            log.warning("not ready", error=type(error).__name__)
            return JSONResponse({"status": "the database does not answer"}, 503)
        if not _migrations() <= found:
            return JSONResponse({"status": "migrations are missing"}, 503)
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """Prometheus's text format, for API keys with the scope ADMIN."""
        try:
            caller = await self.graphql.caller(request.headers.get("authorization", ""))
        except Refused as refused:
            return JSONResponse(refused.answer, refused.status)
        if not caller.actor.may(Permission.READ_METRICS):
            return JSONResponse({"status": "this needs an API key with the scope ADMIN"}, 403)
        await self._look_at_gateways()
        await self._look_at_receipts()
        await self._look_at_statements()
        return Response(self.graphql.metrics.text(), media_type=CONTENT_TYPE)

    async def _look_at_gateways(self) -> None:
        """What all processes know; without the database the last look stays."""
        try:
            accounts = await self.graphql.core.gateways.all()
            ids = [account.id for account in accounts]
            found = zip(accounts, await load_health(ids), await codes.load(ids), strict=True)
        except Retryable:
            return
        for account, health_, unmapped in found:
            known = codes.still_unmapped(account, unmapped)
            self.graphql.metrics.gateway(account.code, health_.breaker, len(known))

    async def _look_at_receipts(self) -> None:
        if self.graphql.core.plugins.fiscal is None:
            return
        try:
            self.graphql.metrics.fiscal(await receipts.unsigned())
        except Retryable:
            return

    async def _look_at_statements(self) -> None:
        now = time.monotonic()
        if now - self._counted_at < COUNT_EVERY:
            return
        self._counted_at = now
        try:
            self.graphql.metrics.reconciling(await measures.waiting())
        except Retryable:
            return


def _migrations() -> set[str]:
    folder = Path(dusangire.__file__).parent / "migrations" / "models"
    return {file.name for file in folder.glob("[0-9]*.py")}
