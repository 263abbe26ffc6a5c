"""How an error reaches the caller: one table for user errors and protocol errors alike.

What the caller can correct is told in full. Anything else is ours to find out: it is logged, and
the caller gets an id to quote.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import strawberry
import structlog
from graphql import GraphQLError

from dusangire.database import LOST
from dusangire.errors import CallerError, ErrorCode, Retryable, Unauthenticated
from dusangire.masking import is_secret_name

log = structlog.get_logger(__name__)

P = ParamSpec("P")
_USER_CODES = frozenset(code.value for code in ErrorCode)
INTERNAL = "INTERNAL"
UNAUTHENTICATED = "UNAUTHENTICATED"
BAD_REQUEST = "BAD_REQUEST"


@strawberry.type(
    description="Something the caller can correct. "
    "code is stable; message is for people; field is the input path."
)
class UserError:
    code: ErrorCode
    message: str
    field: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What the caller is told of an error."""

    code: str
    message: str
    field: Sequence[str] = ()


def shown(error: BaseException) -> Shown | None:
    """What the caller may know of `error`; None when it is nobody's business but ours."""
    match error:
        case CallerError():
            return Shown(error.code, error.message, error.field)
        case Unauthenticated():
            return Shown(UNAUTHENTICATED, error.message)
    # The database went away: nobody knows whether the last statement took effect.
    if isinstance(error, LOST) or isinstance(error.__cause__, LOST):
        return Shown(Retryable.code, Retryable().message)
    return None


class Payload(Protocol):
    """A mutation's answer, which can be made of user errors alone."""

    user_errors: list[UserError]


T = TypeVar("T", bound=Payload)


def answering(
    refused: Callable[[list[UserError]], T],
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Makes a mutation answer with `refused` when the caller can correct what went wrong."""

    def wrap(resolve: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(resolve)
        async def resolved(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await resolve(*args, **kwargs)
            except Exception as error:
                told = shown(error)
                if told is None or told.code not in _USER_CODES:
                    raise
                return refused([_user_error(told)])

        return resolved

    return wrap


def _user_error(told: Shown) -> UserError:
    return UserError(
        code=ErrorCode(told.code), message=told.message, field=list(told.field) or None
    )


def formatted(error: GraphQLError, correlation_id: str) -> dict[str, Any]:
    """One entry of `errors` in an answer. What must not be seen is logged and masked."""
    answer: dict[str, Any] = {}
    if error.locations:
        answer["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path:
        answer["path"] = error.path
    cause = _cause(error)
    if cause is None:
        extensions = error.extensions or {"code": BAD_REQUEST}
        return {"message": _unquoted(error.message), **answer, "extensions": dict(extensions)}
    if (told := shown(cause)) is not None:
        extensions = {"code": told.code}
        if told.field:
            extensions["field"] = list(told.field)
        return {"message": told.message, **answer, "extensions": extensions}
    log.error("request failed", path=error.path, exc_info=cause)
    return {**masked(correlation_id), **answer}


def _unquoted(message: str) -> str:
    """What does not fit is quoted; but a password in the wrong shape is still a password."""
    about, found, _ = message.partition(": ")
    secret = about.startswith("Variable '$") and is_secret_name(about)
    return f"{about}." if found and secret else message


def masked(correlation_id: str) -> dict[str, Any]:
    """The entry that stands for an error which is ours."""
    return {
        "message": f"Something went wrong on our side. Quote {correlation_id} when you ask us.",
        "extensions": {"code": INTERNAL, "correlationId": correlation_id},
    }


def _cause(error: GraphQLError) -> BaseException | None:
    """The exception behind an error; None when the request itself was at fault."""
    if error.path is None:
        # Raised before anything was resolved: by the parser, a rule or the variables.
        return None
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    # An argument that did not fit carries the node it stands at; a result that did not fit is ours.
    if isinstance(cause, GraphQLError) and cause.nodes:
        return None
    return cause or error
