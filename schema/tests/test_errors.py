"""What callers are told when something goes wrong, and what only we are."""

import asyncpg
import pytest
from graphql import GraphQLError
from structlog.testing import capture_logs

from dusangire.errors import Forbidden, Invalid, InvalidPhone, Retryable, Unauthenticated
from dusangire_schema.errors import Shown, answering, formatted, shown
from dusangire_schema.mutations import PaymentPayload


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            InvalidPhone(field=["method", "phone"]),
            Shown("INVALID_PHONE", InvalidPhone().message, ("method", "phone")),
        ),
        (Forbidden("No."), Shown("FORBIDDEN", "No.")),
        (Unauthenticated("Old."), Shown("UNAUTHENTICATED", "Old.")),
        (asyncpg.ConnectionDoesNotExistError(), Shown("RETRYABLE", Retryable().message)),
        (ConnectionResetError(), Shown("RETRYABLE", Retryable().message)),
        (ValueError("password=hunter2"), None),
    ],
)
def test_an_error_is_told_or_kept(error: Exception, told: Shown | None) -> None:
    assert shown(error) == told


def test_an_error_of_ours_is_masked_and_logged_under_the_same_id() -> None:
    cause = ValueError("password=hunter2")

    with capture_logs() as logged:
        told = formatted(GraphQLError("hunter2", path=["payment"], original_error=cause), "id-7")

    assert "hunter2" not in str(told)
    assert told["extensions"] == {"code": "INTERNAL", "correlationId": "id-7"}
    assert told["path"] == ["payment"]
    assert logged[0]["exc_info"] is cause


def test_an_error_of_the_request_itself_is_shown() -> None:
    told = formatted(GraphQLError("Cannot query field 'x'."), "id-7")

    assert told == {"message": "Cannot query field 'x'.", "extensions": {"code": "BAD_REQUEST"}}


def test_an_error_a_caller_can_correct_names_its_field() -> None:
    error = Invalid("first must be between 1 and 100.", field=["first"])

    told = formatted(GraphQLError("-", path=["payments"], original_error=error), "id-7")

    assert told["message"] == "first must be between 1 and 100."
    assert told["extensions"] == {"code": "INVALID", "field": ["first"]}


async def test_a_mutation_answers_with_a_user_error() -> None:
    @answering(PaymentPayload.refused)
    async def mutate() -> PaymentPayload:
        raise InvalidPhone(field=["method", "phone"])

    payload = await mutate()

    [error] = payload.user_errors
    assert (error.code, error.field) == ("INVALID_PHONE", ["method", "phone"])
    assert payload.payment is None


async def test_a_lost_database_is_a_user_error_of_a_mutation() -> None:
    @answering(PaymentPayload.refused)
    async def mutate() -> PaymentPayload:
        raise asyncpg.ConnectionDoesNotExistError

    assert (await mutate()).user_errors[0].code == "RETRYABLE"


async def test_a_bug_in_a_mutation_is_no_user_error() -> None:
    @answering(PaymentPayload.refused)
    async def mutate() -> PaymentPayload:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await mutate()
