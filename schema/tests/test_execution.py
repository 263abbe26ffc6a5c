"""The quick ways answer as graphql-core does: values, order, nulls and errors."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest
import strawberry
from graphql import (
    ExecutionResult,
    Executor,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    execute,
    parse,
)
from strawberry.schema.config import StrawberryConfig

from dusangire.errors import Invalid
from dusangire.gateway import ApproveOnPhone, FailureCode, PayInPerson
from dusangire.lifecycle import AttentionReason, Failure, PaymentStatus
from dusangire.money import Money
from dusangire.phone import PhoneNumber
from dusangire.records import Payment as Record
from dusangire_schema import PlainExecutor, executable, plans
from dusangire_schema.execution import plans_of
from dusangire_schema.scalars import SCALARS
from dusangire_schema.shortcut import Direct, Shortcut, shortcut
from dusangire_schema.types import Payment

MOMENT = datetime(2026, 11, 23, 12, 30, 1, 250_000, tzinfo=UTC)
RECORD = Record(
    id=UUID(int=7),
    reference="PAY-7K3M9Q2X",
    version=3,
    status=PaymentStatus.FAILED,
    amount=Money(5000, "RWF"),
    captured=Money(0, "RWF"),
    refunded=Money(0, "RWF"),
    refundable=Money(1050, "USD"),
    order_reference=None,
    description="Two bags",
    customer_id=None,
    gateway_id=None,
    next_action=ApproveOnPhone(phone=PhoneNumber("+250788123456"), message="Approve"),
    failure=Failure(code=FailureCode.INSUFFICIENT_FUNDS, message="Not enough"),
    needs_attention=(AttentionReason.LATE_SUCCESS,),
    reconciliation_status="MATCHED",
    metadata={"basket": [1, 2]},
    return_url=None,
    created_at=MOMENT,
    updated_at=MOMENT,
    expires_at=None,
    completed_at=MOMENT,
)
EVERYTHING = """query($with: Boolean = true, $without: Boolean = false) { payment {
    __typename id ref: reference version status
    amount { amount currency } refundable { __typename amount } refundable { currency }
    ...Rest description @include(if: $with) orderReference @skip(if: $without)
    nextAction { __typename ... on ApproveOnPhone { phone message expiresAt }
        ... on PayInPerson { message amount { amount } } }
    failure { code message gatewayCode retryable payerMessage nextStep(locale: "rw-RW") }
    needsAttention reconciliationStatus
    customer { name } gateway { code } refunds { id } invoice { id }
} }
fragment Rest on Payment { metadata createdAt completedAt expiresAt captured { amount } }"""


@strawberry.type
class Query:
    @strawberry.field
    def payment(self, info: strawberry.Info[Any, None]) -> Payment | None:
        return cast("Payment", info.context)

    @strawberry.field
    async def later(self, info: strawberry.Info[Any, None]) -> Payment | None:
        return cast("Payment", info.context)

    @strawberry.field
    def by_id(
        self, info: strawberry.Info[Any, None], id: strawberry.ID | None = None
    ) -> Payment | None:
        return cast("Payment | None", info.context if id == "7" else None)

    @strawberry.field
    def broken(self, info: strawberry.Info[Any, None]) -> Payment | None:
        raise Invalid("This is broken.", field=["id"])

    @strawberry.field
    async def broken_required(self, info: strawberry.Info[Any, None]) -> Payment:
        raise Invalid("This is broken.", field=["id"])

    @strawberry.field
    def payments(self, info: strawberry.Info[Any, None]) -> list[Payment]:
        return cast("list[Payment]", [info.context, info.context])


SCHEMA: GraphQLSchema = strawberry.Schema(
    query=Query, config=StrawberryConfig(scalar_map=SCALARS)
)._schema
PLANS = plans_of(SCHEMA)
for _field in cast("GraphQLObjectType", SCHEMA.query_type).fields.values():
    _field.resolve = Direct.of(_field) or _field.resolve


async def _run(
    query: str, record: Any, memory: dict[Any, Any] | None = None, *, plain: bool
) -> ExecutionResult:
    options: Mapping[str, Any] = (
        {"executor_class": PlainExecutor, "plans": PLANS, "memory": memory}
        if plain
        else {"executor_class": Executor}
    )
    result = execute(SCHEMA, parse(query), context_value=record, **options)
    return await result if inspect.isawaitable(result) else result


def _seen(result: ExecutionResult) -> tuple[Any, list[Any]]:
    errors = [(e.message, e.path, e.locations) for e in result.errors or ()]
    return result.data, errors


RECORDS = [
    pytest.param(RECORD, id="a payment"),
    pytest.param(replace(RECORD, failure=None, next_action=None), id="with nothing optional"),
    pytest.param(
        replace(RECORD, next_action=PayInPerson(message="Pay", amount=Money(5000, "RWF"))),
        id="to be paid in person",
    ),
    pytest.param(replace(RECORD, reference=cast("str", None)), id="without a reference"),
    pytest.param(replace(RECORD, version=2**40), id="with a version that does not fit"),
    pytest.param(replace(RECORD, amount=Money(1, "XXX")), id="in no currency"),
    pytest.param(replace(RECORD, reconciliation_status="ODD"), id="with an unknown word"),
    pytest.param(replace(RECORD, created_at=cast("datetime", 5)), id="without a moment"),
    pytest.param(None, id="none"),
]


@pytest.mark.parametrize("record", RECORDS)
async def test_an_answer_is_the_same_as_graphql_cores(record: Record | None) -> None:
    own = await _run(EVERYTHING, record, plain=True)
    theirs = await _run(EVERYTHING, record, plain=False)

    assert _seen(own) == _seen(theirs)
    assert str(own.data) == str(theirs.data), "the order of fields is the query's"


SHORT = {
    "a payment": """query($x: Int = 1) { found: payment {
        __typename id ref: reference version status amount { amount currency }
        refundable { __typename amount } refundable { currency } ...Rest description
        nextAction { __typename ... on ApproveOnPhone { phone message expiresAt }
            ... on PayInPerson { message amount { amount } } }
        failure { code message gatewayCode retryable } needsAttention reconciliationStatus } }
        fragment Rest on Payment { metadata createdAt completedAt captured { amount } }""",
    "a late one": "{ later { id amount { amount } failure { code } } }",
    "a list": "{ payments { id version amount { amount } } }",
    "an argument": "query($id: ID) { byId(id: $id) { id } }",
    "an argument that does not fit": "query($id: [ID!]) { byId(id: $id) { id } }",
    "an error": "{ broken { id } }",
    "an error where nothing may be missing": "{ brokenRequired { id } }",
}


def _short(query: str) -> Shortcut | None:
    document = parse(query)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return shortcut(SCHEMA, PLANS, document, operation)


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("query", SHORT.values(), ids=SHORT.keys())
async def test_the_short_way_leads_to_the_same_answer(query: str, record: Record | None) -> None:
    short = _short(query)
    assert short is not None

    own = await short.answer(record, {"id": "7"}, 5)

    theirs = await _run(query, record, plain=False)
    if own is None:
        assert theirs.errors or "$id" in query, "only what goes wrong takes the long way"
    elif "$id" not in query:
        assert _seen(own) == _seen(theirs)
        assert str(own.data) == str(theirs.data), "the order of fields is the query's"


@pytest.mark.parametrize(
    "query",
    [
        "{ payment { id customer { name } } }",
        "{ payment { id } later { id } }",
        "{ payment { transactions { pageInfo { hasNextPage } } } }",
        "{ __typename }",
        "{ __schema { queryType { name } } }",
    ],
)
def test_what_is_not_plain_has_no_short_way(query: str) -> None:
    assert _short(query) is None


async def test_lists_and_late_answers_are_the_same_too() -> None:
    query = "{ payments { id amount { amount } } later { id amount { amount } customer { id } } }"

    own = await _run(query, RECORD, plain=True)

    assert _seen(own) == _seen(await _run(query, RECORD, plain=False))


async def test_what_is_remembered_of_a_document_does_not_change_its_answers() -> None:
    document = parse("{ payment { id amount { amount } failure { code } } }")
    memory: dict[Any, Any] = {}
    options: Mapping[str, Any] = {"executor_class": PlainExecutor, "plans": PLANS}

    answers: list[dict[str, Any]] = []
    for record in (RECORD, replace(RECORD, failure=None), RECORD):
        result = execute(SCHEMA, document, context_value=record, memory=memory, **options)
        assert isinstance(result, ExecutionResult)
        assert result.data is not None
        answers.append(result.data)

    assert memory
    assert answers[0] == answers[2]
    assert answers[1] == {**answers[0], "payment": {**answers[0]["payment"], "failure": None}}


def test_the_hot_fields_of_a_payment_are_plain() -> None:
    assert {"id", "status", "amount", "captured", "createdAt"} <= plans["Payment"].keys()
    assert "customer" not in plans["Payment"]
    assert executable.query_type is not None
