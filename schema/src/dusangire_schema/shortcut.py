"""A query for one thing with plain fields only is answered without an executor.

That is what servers and payers' phones ask most: `payment(id)`, again and again. The steps are
worked out once for a document. Variables, arguments and errors are graphql-core's own; whatever
turns out not to be plain is executed the long way, which a query survives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, TypeAlias

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationDefinitionNode,
    OperationType,
    get_named_type,
    is_leaf_type,
    located_error,
)
from graphql.execution.collect_fields import FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values
from strawberry.types.field import StrawberryField

from dusangire_schema.execution import Plans, Reader, leaf

PutOut: TypeAlias = Callable[[Any], Any]


class NotPlain(Exception):
    """This takes the long way."""


@dataclass(frozen=True, slots=True)
class Direct:
    """A resolver that is called as it is, since none of its arguments needs a conversion.

    Strawberry makes an info object and looks for input objects at each call; ours read
    `info.context` alone, which graphql-core's own info has too.
    """

    resolver: Callable[..., Any]
    with_info: bool

    @classmethod
    def of(cls, field: GraphQLField) -> "Direct | None":
        declared = field.extensions.get("strawberry-definition")
        if not isinstance(declared, StrawberryField) or declared.base_resolver is None:
            return None
        if declared.extensions or declared.is_subscription:
            return None
        resolver = declared.base_resolver
        arguments = zip(field.args.items(), resolver.arguments, strict=True)
        if not all(
            is_leaf_type(get_named_type(argument.type)) and name == own.python_name
            for (name, argument), own in arguments
        ):
            return None
        return cls(resolver, resolver.info_parameter is not None)

    def __call__(self, source: Any, info: Any, **given: Any) -> Any:
        if self.with_info:
            return self.resolver(source, info=info, **given)
        return self.resolver(source, **given)


@dataclass(frozen=True, slots=True)
class _Asking:
    """As much of graphql-core's info as our resolvers read."""

    context: Any


@dataclass(frozen=True, slots=True)
class Shortcut:
    """The short way for one operation. name: of its one root field in the answer."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    name: str
    node: FieldNode
    field: GraphQLField
    put_out: PutOut

    async def answer(
        self, context: Any, variables: Mapping[str, Any] | None, max_errors: int
    ) -> ExecutionResult | None:
        """The answer, or None when it takes the long way after all."""
        values = get_variable_values(
            self.schema,
            self.operation.variable_definitions or (),
            dict(variables or {}),
            max_errors,
            hide_suggestions=True,
        )
        if isinstance(values, list):
            return None
        try:
            given = get_argument_values(self.field, self.node, values, hide_suggestions=True)
        except GraphQLError:
            return None
        try:
            value = self.field.resolve(None, _Asking(context), **given)  # type: ignore[misc]
            if isinstance(value, CoroutineType):
                value = await value
        except Exception as error:
            located = located_error(error, [self.node], [self.name])
            required = isinstance(self.field.type, GraphQLNonNull)
            return ExecutionResult(None if required else {self.name: None}, [located])
        try:
            return ExecutionResult({self.name: self.put_out(value)}, None)
        except Exception:
            # The long way says what is wrong, and where.
            return None


def shortcut(
    schema: GraphQLSchema,
    plans: Mapping[str, Plans],
    document: DocumentNode,
    operation: OperationDefinitionNode,
) -> Shortcut | None:
    """The short way for an operation of a valid document without directives, if it has one."""
    query = schema.query_type
    if operation.operation is not OperationType.QUERY or query is None:
        return None
    worker = _Worker(schema, plans, document, operation)
    try:
        [(name, details)] = collect_fields(
            schema, worker.fragments, _NO_VARIABLES, query, operation
        ).grouped_field_set.items()
        [detail] = details
        field = query.fields[detail.node.name.value]
        if not isinstance(field.resolve, Direct):
            return None
        return Shortcut(
            schema, operation, name, detail.node, field, worker.value(field.type, details)
        )
    except (NotPlain, ValueError, KeyError):
        return None


_NO_VARIABLES = VariableValues({}, {})
_Step: TypeAlias = tuple[str, Reader, PutOut]


class _Worker:
    """Works out how values are put out, from the outside in. Raises NotPlain."""

    def __init__(
        self,
        schema: GraphQLSchema,
        plans: Mapping[str, Plans],
        document: DocumentNode,
        operation: OperationDefinitionNode,
    ) -> None:
        self._schema = schema
        self._plans = plans
        self._operation = operation
        self.fragments = {
            definition.name.value: FragmentDetails(definition)
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }

    def value(self, kind: Any, details: Any) -> PutOut:
        """How a value of `kind` is put out; null is refused where it may not be."""
        if isinstance(kind, GraphQLNonNull):
            inner = self.value(kind.of_type, details)
            return lambda value: _some(inner(value))
        put_out = self._put_out(kind, details)
        return lambda value: None if value is None else put_out(value)

    def _put_out(self, kind: Any, details: Any) -> PutOut:
        if is_leaf_type(kind):
            return leaf(kind)
        if isinstance(kind, GraphQLList):
            item = self.value(kind.of_type, details)
            return lambda values: [item(value) for value in values]
        if isinstance(kind, GraphQLUnionType):
            return self._union(kind, details)
        if isinstance(kind, GraphQLObjectType):
            return self._object(kind, details)
        raise NotPlain

    def _object(self, kind: GraphQLObjectType, details: Any) -> PutOut:
        selected = collect_subfields(
            self._schema, self.fragments, _NO_VARIABLES, self._operation, kind, details
        ).grouped_field_set
        steps = [self._step(kind, name, inner) for name, inner in selected.items()]
        return lambda source: {name: put_out(read(source)) for name, read, put_out in steps}

    def _step(self, kind: GraphQLObjectType, name: str, details: Any) -> _Step:
        field_name = details[0].node.name.value
        plan = self._plans[kind.name].get(field_name)
        if plan is None:
            raise NotPlain
        if field_name == "__typename":
            return name, plan.read, leaf(self._schema.type_map["String"])  # type: ignore[arg-type]
        return name, plan.read, self.value(kind.fields[field_name].type, details)

    def _union(self, kind: GraphQLUnionType, details: Any) -> PutOut:
        members = [(member.is_type_of, self._object(member, details)) for member in kind.types]

        def put_out(value: Any) -> Any:
            for is_type_of, put_out_member in members:
                if is_type_of is not None and is_type_of(value, None):
                    return put_out_member(value)
            raise NotPlain

        return put_out


def _some(value: Any) -> Any:
    if value is None:
        raise NotPlain
    return value
