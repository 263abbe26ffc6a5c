"""The schema, put together."""

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    print_schema,
)
from strawberry.schema.config import StrawberryConfig

from dusangire_schema.execution import plans_of
from dusangire_schema.mutations import Mutation
from dusangire_schema.queries import Query
from dusangire_schema.scalars import SCALARS
from dusangire_schema.shortcut import Direct
from dusangire_schema.subscriptions import Subscription

schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=True),
)


def _executable() -> GraphQLSchema:
    """What graphql-core executes. Values that may be left out have no default `null`."""
    found = schema._schema
    slots: list[GraphQLArgument | GraphQLInputField] = []
    for kind in found.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            slots.extend(kind.fields.values())
        elif isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            slots.extend(slot for field in kind.fields.values() for slot in field.args.values())
    for slot in slots:
        if slot.default_value is None:
            slot.default_value = Undefined
    for kind in found.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for field in kind.fields.values():
                field.resolve = Direct.of(field) or field.resolve
    return found


executable = _executable()
plans = plans_of(executable)


def sdl() -> str:
    """The schema in GraphQL's own language, as schema/schema.graphql has it."""
    return print_schema(executable) + "\n"
