"""The API: every operation passes the same defences, however it came in.

Body limit (in `http` and `websocket`), authentication, rate, tokens, limits, validation, deadline,
masked errors: in this order, for POST, event streams and sockets alike.
"""

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from graphql import ExecutionResult, GraphQLError, OperationType, execute, subscribe
from strawberry.execution import optimized_is_awaitable

from dusangire.access import Actor
from dusangire.core import Core
from dusangire.errors import Retryable, Unauthenticated
from dusangire.intake import MAX_WAIT_MS
from dusangire.people import sessions
from dusangire.permissions import Permission
from dusangire_schema import PlainExecutor, context_of, executable, plans
from dusangire_schema.errors import formatted, masked, shown
from dusangire_server.documents import Document, Documents, Operation
from dusangire_server.limits import Limits, Rates, identity
from dusangire_server.metrics import Metrics

log = structlog.get_logger(__name__)

Answer = dict[str, Any]
_is_awaitable = cast("Any", optimized_is_awaitable)


class Refused(Exception):
    """The request is not worked on. status: what HTTP calls it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def answer(self) -> Answer:
        return {"errors": [{"message": str(self), "extensions": {"code": self.code}}]}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. token: what came as `Bearer …`; session: the cookie of a person's session."""

    actor: Actor
    token: str
    session: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks for, as it came."""

    query: str
    variables: Mapping[str, Any] | None = None
    operation_name: str | None = None

    @classmethod
    def of(cls, payload: Any) -> "Asked":
        """Raises Refused for anything but the three members of the protocol."""
        if isinstance(payload, list):
            raise Refused(400, "BAD_REQUEST", "Send one operation at a time: there are no batches.")
        if not isinstance(payload, dict):
            raise Refused(400, "BAD_REQUEST", "Send a JSON object with `query` in it.")
        query = payload.get("query")
        if not isinstance(query, str) or not query.strip():
            raise Refused(400, "BAD_REQUEST", "`query` must be a GraphQL document.")
        variables, name = payload.get("variables"), payload.get("operationName")
        if not isinstance(variables, dict | None) or not isinstance(name, str | None):
            raise Refused(
                400, "BAD_REQUEST", "`variables` must be an object and `operationName` text."
            )
        return cls(query=query, variables=variables, operation_name=name or None)


@dataclass(frozen=True, slots=True)
class Admitted:
    """An operation that may be executed."""

    asked: Asked
    caller: Caller
    document: Document
    operation: Operation

    @property
    def is_subscription(self) -> bool:
        return self.operation.kind is OperationType.SUBSCRIPTION


class Faulty(Exception):
    """The document is at fault: these are the errors to show."""

    def __init__(self, errors: tuple[GraphQLError, ...]) -> None:
        super().__init__("the document is at fault")
        self.errors = errors


@dataclass(slots=True)
class GraphQL:
    """The API of one process."""

    core: Core
    limits: Limits
    metrics: Metrics
    documents: Documents = field(init=False)
    rates: Rates = field(init=False)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.documents = Documents(self.limits)
        self.rates = Rates(self.limits)

    # ── who, and how much ────────────────────────────────────────────────────────────────────────

    async def caller(self, authorization: str, session: str = "", *, seen: bool = True) -> Caller:
        """Whom `Bearer …` stands for, or without it a session. Raises Refused.

        session: a cookie that a page of our own sent. seen: somebody is doing something.
        """
        scheme, _, token = authorization.partition(" ")
        # What comes without a scheme, or with another, is as unknown as an empty token.
        token = token.strip() if scheme.lower() == "bearer" else ""
        try:
            if session and not authorization:
                return Caller(await sessions.actor_of(session, seen=seen), "", session)
            return Caller(await self.core.authenticator.actor(token), token)
        except Unauthenticated as error:
            log.info("security: not authenticated", why=error.message)
            raise Refused(401, "UNAUTHENTICATED", error.message) from error
        except Retryable as error:
            raise Refused(503, error.code, error.message) from error

    async def still_counts(self, caller: Caller) -> bool:
        """Whether a caller who only listens would be let in again, with the same rights."""
        authorization = f"Bearer {caller.token}" if caller.token else ""
        try:
            now = await self.caller(authorization, caller.session, seen=False)
        except Refused as refused:
            return refused.code == Retryable.code
        return now.actor.role == caller.actor.role

    def admit(self, caller: Caller, asked: Asked) -> Admitted:
        """The operation to execute. Raises Refused and Faulty."""
        self.take(caller)
        document = self.documents[asked.query]
        if document.errors:
            raise Faulty(document.errors)
        try:
            operation = document.operation(asked.operation_name)
        except GraphQLError as error:
            raise Faulty((error,)) from error
        if operation.root_fields > 1:
            self.take(caller, operation.root_fields - 1)
        if operation.introspects and not self._may_introspect(caller.actor):
            raise Faulty((GraphQLError("Introspection is for staff. schema.graphql is public."),))
        return Admitted(asked, caller, document, operation)

    @contextmanager
    def connection(self, caller: Caller) -> Iterator[None]:
        """Holds one of the caller's places for connections that stay. Raises Refused."""
        name = identity(caller.actor)
        if self._connections[name] >= self.limits.connections(caller.actor):
            log.warning("security: too many connections", actor=caller.actor.name)
            raise Refused(429, "RATE_LIMITED", "This token has too many open connections.")
        self._connections[name] += 1
        try:
            yield
        finally:
            self._connections[name] -= 1
            if not self._connections[name]:
                del self._connections[name]

    def take(self, caller: Caller, root_fields: int = 1) -> None:
        if not self.rates.take(caller.actor, root_fields):
            raise Refused(429, "RATE_LIMITED", "Too many requests. Try again in a second.")

    def _may_introspect(self, actor: Actor) -> bool:
        return not self.core.settings.live or actor.may(Permission.READ_GATEWAY_SETTINGS)

    # ── execution ────────────────────────────────────────────────────────────────────────────────

    async def execute(self, admitted: Admitted, correlation_id: str) -> Answer:
        """The answer to a query or mutation."""
        with self.metrics.operation(admitted.operation.kind.value):
            try:
                async with asyncio.timeout(self._deadline(admitted)):
                    result = await self._short(admitted) or self._execute(admitted)
                    if inspect.isawaitable(result):
                        result = await result
            except TimeoutError:
                log.warning("deadline passed", actor=admitted.caller.actor.name)
                message = "This took too long and was stopped. A mutation may have taken effect."
                return {"data": None, "errors": [_error(message, Retryable.code)]}
            return answer(result, correlation_id)

    async def _short(self, admitted: Admitted) -> ExecutionResult | None:
        short = admitted.operation.shortcut
        if short is None:
            return None
        context = context_of(self.core, admitted.caller.actor)
        return await short.answer(context, admitted.asked.variables, self.limits.errors)

    def _execute(self, admitted: Admitted) -> Any:
        assert admitted.document.node is not None
        return execute(
            executable,
            admitted.document.node,
            context_value=context_of(self.core, admitted.caller.actor),
            variable_values=cast("dict[str, Any] | None", admitted.asked.variables),
            operation_name=admitted.asked.operation_name,
            max_coercion_errors=self.limits.errors,
            executor_class=PlainExecutor,
            is_awaitable=_is_awaitable,
            hide_suggestions=True,
            plans=plans,
            memory=admitted.document.memory,
        )

    def _deadline(self, admitted: Admitted) -> float:
        # A mutation may be asked to hold its answer for the gateway's.
        held = admitted.operation.kind is OperationType.MUTATION
        return self.limits.deadline + (MAX_WAIT_MS / 1000 if held else 0)

    async def subscribe(
        self, admitted: Admitted, correlation_id: str
    ) -> AsyncGenerator[Answer, None]:
        """The answers to a subscription, as they come. Raises Unwatched when it cannot go on."""
        assert admitted.document.node is not None
        started = subscribe(
            executable,
            admitted.document.node,
            context_value=context_of(self.core, admitted.caller.actor),
            variable_values=cast("dict[str, Any] | None", admitted.asked.variables),
            operation_name=admitted.asked.operation_name,
            executor_class=PlainExecutor,
            is_awaitable=_is_awaitable,
            hide_suggestions=True,
            plans=plans,
            memory=admitted.document.memory,
        )
        if inspect.isawaitable(started):
            started = await started
        if isinstance(started, ExecutionResult):
            raise Unwatched(cast("list[Answer]", answer(started, correlation_id)["errors"]))
        with self.metrics.subscription():
            async with aclosing(cast("AsyncGenerator[ExecutionResult, None]", started)) as results:
                async for result in _watched(results, correlation_id):
                    yield answer(result, correlation_id)


class Unwatched(Exception):
    """A subscription that cannot be started, or cannot go on. errors: as they are shown."""

    def __init__(self, errors: list[Answer]) -> None:
        super().__init__("the subscription ended")
        self.errors = errors

    @property
    def unauthenticated(self) -> bool:
        return any(e["extensions"].get("code") == "UNAUTHENTICATED" for e in self.errors)


async def _watched(
    results: AsyncIterator[ExecutionResult], correlation_id: str
) -> AsyncGenerator[ExecutionResult, None]:
    try:
        async for result in results:
            yield result
    except Exception as error:
        told = shown(error)
        if told is None:
            log.exception("subscription failed")
            raise Unwatched([masked(correlation_id)]) from error
        raise Unwatched([_error(told.message, told.code)]) from error


def answer(result: ExecutionResult, correlation_id: str) -> Answer:
    """A result as it is sent, with errors shown or masked."""
    if not result.errors:
        return {"data": result.data}
    errors = [formatted(error, correlation_id) for error in result.errors]
    return {"data": result.data, "errors": errors}


def faulty(fault: Faulty, correlation_id: str) -> Answer:
    return {"errors": [formatted(error, correlation_id) for error in fault.errors]}


def _error(message: str, code: str) -> Answer:
    return {"message": message, "extensions": {"code": code}}
