"""Execution without ceremony where a field is a plain attribute.

graphql-core makes a path and an info object for every field, also where an attribute is all there
is to read. Reading those directly, and remembering what a document selects, makes the execution of
`payment(id)` several times as fast. Whatever is not plain, or goes wrong, takes graphql-core's own
way, so that answers and errors are the same: schema/tests/test_execution.py compares the two.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias
from uuid import UUID

from graphql import (
    Executor,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    is_leaf_type,
)
from strawberry.types.field import StrawberryField

Reader: TypeAlias = Callable[[Any], Any]
Memory: TypeAlias = dict[tuple[str, int], Any]


class _NotPlain(Exception):
    """This value takes graphql-core's own way."""


@dataclass(slots=True)
class _Plan:
    """How a plain field is answered: its attribute, read and put out.

    put_out: for a leaf or a list of leaves. flat: for an object, how its own fields are answered.
    With neither, only an empty value is plain.
    """

    read: Reader
    required: bool
    put_out: Reader | None = None
    flat: "Plans | None" = None
    type: GraphQLObjectType | None = None


Plans: TypeAlias = dict[str, _Plan]


class PlainExecutor(Executor[Any]):
    """An executor that answers plain fields itself.

    plans: from `plans_of`, by the name of the type.
    memory: what a document without directives selects, kept with the document.
    """

    def __init__(
        self,
        *args: Any,
        plans: dict[str, Plans],
        memory: Memory | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._plans = plans
        self._memory = memory

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Any,
        grouped_field_set: dict[str, Any],
        position_context: Any,
    ) -> Any:
        plans = self._plans.get(parent_type.name)
        if not plans:
            return super().execute_fields(
                parent_type, source_value, path, grouped_field_set, position_context
            )
        answer: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, details in grouped_field_set.items():
            try:
                answer[name] = self._plain(plans, source_value, details)
            except Exception:
                answer[name] = None
                rest[name] = details
        if not rest:
            return answer
        others = super().execute_fields(parent_type, source_value, path, rest, position_context)
        if isinstance(others, dict):
            return {**answer, **others}
        return _merged(answer, others)

    def _plain(self, plans: Plans, source: Any, details: Any) -> Any:
        plan = plans[details[0].node.name.value]
        value = plan.read(source)
        if value is None:
            if plan.required:
                raise _NotPlain
            return None
        if plan.put_out is not None:
            return plan.put_out(value)
        if plan.flat is None or plan.type is None:
            raise _NotPlain
        fields = self.collect_subfields(plan.type, details).grouped_field_set
        return {name: self._plain(plan.flat, value, inner) for name, inner in fields.items()}

    def collect_subfields(self, return_type: GraphQLObjectType, field_details_list: Any) -> Any:
        memory = self._memory
        if memory is None or len(field_details_list) > 1:
            return super().collect_subfields(return_type, field_details_list)
        key = (return_type.name, id(field_details_list[0].node))
        found = memory.get(key)
        if found is None:
            found = memory[key] = super().collect_subfields(return_type, field_details_list)
        return found


async def _merged(answer: dict[str, Any], others: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return {**answer, **await others}


# ── plans ────────────────────────────────────────────────────────────────────────────────────────


def plans_of(schema: GraphQLSchema) -> dict[str, Plans]:
    """Which fields of each type are plain, and how they are answered."""
    plans: dict[str, Plans] = {}
    roots = {schema.query_type, schema.mutation_type, schema.subscription_type}
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and kind not in roots and kind.name[:2] != "__":
            plans[kind.name] = _plans_of_type(kind)
    return plans


def _plans_of_type(kind: GraphQLObjectType) -> Plans:
    found = {name: _plan(field) for name, field in kind.fields.items()}
    plans = {name: plan for name, plan in found.items() if plan is not None}
    plans["__typename"] = _Plan(read=lambda _source: kind.name, required=True, put_out=_text)
    return plans


def _plan(field: GraphQLField) -> _Plan | None:
    read = _reader(field)
    if read is None:
        return None
    required = isinstance(field.type, GraphQLNonNull)
    kind = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    plan = _Plan(read=read, required=required)
    if is_leaf_type(kind):
        plan.put_out = leaf(kind)
    elif isinstance(kind, GraphQLList):
        plan.put_out = _leaves(kind)
    elif isinstance(kind, GraphQLObjectType) and _is_flat(kind):
        plan.type, plan.flat = kind, _plans_of_type(kind)
    return plan


def _reader(field: GraphQLField) -> Reader | None:
    """An attribute, or a method that needs nothing but its object."""
    declared = field.extensions.get("strawberry-definition")
    if not isinstance(declared, StrawberryField):
        return None
    if declared.is_basic_field:
        return attrgetter(declared.python_name)
    method = declared.base_resolver
    if method is None or method.is_async or declared.extensions or declared.is_subscription:
        return None
    alone = method.info_parameter is None and not method.arguments
    return method if alone else None


def _is_flat(kind: GraphQLObjectType) -> bool:
    """Whether an object has nothing but plain leaves."""
    return kind.is_type_of is None and all(map(_is_plain_leaf, kind.fields.values()))


def _is_plain_leaf(field: GraphQLField) -> bool:
    kind = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    return is_leaf_type(kind) and _plan(field) is not None


def _leaves(kind: GraphQLList[Any]) -> Reader | None:
    item = kind.of_type
    if not isinstance(item, GraphQLNonNull) or not is_leaf_type(item.of_type):
        return None
    put_out = leaf(item.of_type)
    return lambda values: [put_out(value) for value in values]


def leaf(kind: GraphQLLeafType) -> Reader:
    """How a value of a leaf type is put out. What does not fit raises."""
    if isinstance(kind, GraphQLEnumType):
        # The words of our enums are their values, so a member finds its name as its text does.
        return {value.value: name for name, value in kind.values.items()}.__getitem__
    known = {GraphQLString: _text, GraphQLID: _id, GraphQLInt: _int, GraphQLBoolean: _bool}
    return known.get(kind) or kind.coerce_output_value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _NotPlain
    return value


def _id(value: Any) -> str:
    # The database driver has a subclass of its own.
    return str(value) if isinstance(value, UUID) else _text(value)


def _int(value: Any) -> int:
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise _NotPlain
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _NotPlain
    return value
