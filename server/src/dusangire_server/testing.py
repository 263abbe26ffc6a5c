"""A whole shop in a test: database, core, a gateway, worker, tail and app, asked as callers ask."""

import asyncio
import base64
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from starlette.applications import Starlette

from dusangire.access import OPERATOR, create_api_key
from dusangire.core import Core, open_core
from dusangire.database import fetch
from dusangire.gateway import Environment
from dusangire.people import onetime, sessions, staff
from dusangire.people.sessions import Knock, Session
from dusangire.permissions import Role, Scope
from dusangire.settings import Settings
from dusangire.testing.database import fresh_database
from dusangire.testing.fake import FakeGateway
from dusangire_server import worker
from dusangire_server.app import build_app
from dusangire_server.doors import Doors
from dusangire_server.limits import Limits

CREATE = """mutation($input: CreatePaymentInput!) { createPayment(input: $input) {
    payment { id reference version status amount { amount currency } }
    clientToken replayed userErrors { code message field } } }"""


PASSPHRASE = "umbrella tiger violin sunday"  # noqa: S105 - of nobody real


class Person(str):
    """The cookie of somebody who is signed in. Given as `token` it is sent as a browser does.

    secret: of their code generator; empty for roles that need none.
    """

    __slots__ = ("email", "id", "secret")
    email: str
    id: UUID
    secret: str


@dataclass(slots=True)
class Shop:
    """A running shop. `keys`: an API key for each scope, with that scope alone."""

    core: Core
    app: Starlette
    database_url: str
    keys: Mapping[Scope, str]
    http: httpx.AsyncClient
    gateway: FakeGateway
    _numbers: list[int] = field(default_factory=lambda: [0])

    @property
    def admin(self) -> str:
        return self.keys[Scope.ADMIN]

    async def post(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        """One POST /graphql, as ADMIN unless a token is given; an empty token is none."""
        own = self.headers(token)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"query": query, "variables": variables}
        return await self.http.post("/graphql", json=body, headers={**own, **given})

    def headers(self, token: str | None = None) -> dict[str, str]:
        """How a caller says who they are: a person's browser, or a program."""
        if isinstance(token, Person):
            origin = str(self.http.base_url).rstrip("/")
            name = Doors(self.core.settings).name("session")
            return {"Cookie": f"{name}={token!s}", "X-CSRF": "1", "Origin": origin}
        token = self.admin if token is None else token
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def person(self, role: Role, *, fresh: bool = True, email: str | None = None) -> Person:
        """Somebody who signed in and set up everything.

        fresh: whether they have just shown that it is them.
        """
        self._numbers[0] += 1
        email = email or f"{role.lower()}{self._numbers[0]}@shop.test"
        invited = await staff.create(self.core, OPERATOR, email=email, role=role)
        link = invited.login_url.rpartition("/")[2]
        signed = await sessions.use_link(self.core, Knock(source="test"), link)
        person = Person(signed.token)
        person.email, person.id, person.secret = email, invited.person.id, ""
        await sessions.choose_password(await _session(person), PASSPHRASE)
        session = await _session(person)
        if session.needs_totp:
            person.secret = await sessions.draft(self.core, session)
            code = onetime.code_at(person.secret, time.time() - onetime.STEP)
            await sessions.enrol(self.core, await _session(person), code)
        await self.turn(person, fresh=fresh)
        return person

    async def turn(self, person: Person, *, fresh: bool) -> None:
        """Makes a person one who has just confirmed who they are, or did so long ago."""
        ago = timedelta(0) if fresh else timedelta(minutes=6)
        await fetch(
            "UPDATE staff_session SET confirmed_at = now() - $2::interval WHERE digest = $1",
            staff.link_digest(person),
            ago,
        )

    async def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        """The whole answer: `data` and `errors`."""
        answer: dict[str, Any] = (await self.post(query, variables, token=token)).json()
        return answer

    async def get(
        self, query: str, variables: Mapping[str, Any] | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        """The data of an answer without errors."""
        answer = await self.ask(query, variables, token=token)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def create(self, *, token: str | None = None, **changes: Any) -> dict[str, Any]:
        """The payload of createPayment with a good input, `changes` over it."""
        self._numbers[0] += 1
        given = {
            "idempotencyKey": f"order-{self._numbers[0]}",
            "amount": {"amount": "5000", "currency": "RWF"},
            **changes,
        }
        token = self.keys[Scope.PAYMENTS_WRITE] if token is None else token
        payload: dict[str, Any] = (await self.get(CREATE, {"input": given}, token=token))[
            "createPayment"
        ]
        return payload


async def _session(person: Person) -> Session:
    session = await sessions.find(person)
    assert session is not None
    return session


@asynccontextmanager
async def open_shop(
    *,
    live: bool = False,
    public_url: str | None = None,
    allowed_origins: tuple[str, ...] = (),
    limits: Limits | None = None,
    gateway: FakeGateway | None = None,
    loopback_webhooks: bool = False,
    through: Callable[[str], AbstractAsyncContextManager[str]] = nullcontext,
) -> AsyncIterator[Shop]:
    """Everything running, in a database of its own.

    through: what the connection to the database goes through, such as a wire that can be cut.
    """
    environment = Environment.LIVE if live else Environment.TEST
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(
            home=Path(home),
            environment=environment,
            public_url=public_url,
            allowed_origins=allowed_origins,
            secret_keys="k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            poll_scale=0.01,
            loopback_webhooks=loopback_webhooks,
        )
        gateway = gateway or FakeGateway()
        async with (
            fresh_database() as direct_url,
            through(direct_url) as url,
            open_core(settings, url, plugins={"fake": gateway}) as core,
            _working(core, url),
        ):
            await core.gateways.save(
                OPERATOR, code="fake", plugin="fake", name="Fake Pay", environment=environment,
                config={},
            )  # fmt: skip
            app = build_app(core, limits=limits)
            keys = {scope: (await create_api_key(OPERATOR, scope, [scope]))[1] for scope in Scope}
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as http:
                yield Shop(core, app, url, keys, http, gateway)


@asynccontextmanager
async def _working(core: Core, url: str) -> AsyncIterator[None]:
    started = asyncio.Event()
    tasks = [
        asyncio.create_task(worker.run(core, url)),
        asyncio.create_task(core.tail.run(url, started)),
    ]
    try:
        await started.wait()
        yield
    finally:
        await _stop(tasks)


async def _stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    pending = set(tasks)
    while pending:
        # Until Python 3.12 `wait_for` loses a cancellation that comes as it is woken: say it again.
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)
