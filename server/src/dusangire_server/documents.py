"""GraphQL documents: parsed, measured and validated once, then remembered.

Queries of real clients are few and come again and again; parsing and validating them costs more
than answering. The memory is bounded, and the longest unused goes first.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)

from dusangire_schema import Memory, Shortcut, executable, plans, shortcut
from dusangire_server.limits import Limits, excess, measure, root_fields

_REMEMBERED = 500
# A document longer than this is somebody's one-off; it would push out many short ones.
_LONGEST = 16 * 1024
# They ask a gateway and have no key of their own, or guess at a password: once in a document.
_ONCE = frozenset({"checkPayment", "cancelPayment", "testGateway", "confirmIdentity"})
# graphql-core's rules, made ready once. @defer and @stream are not in the schema.
_RULES = specified_rules


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document.

    introspects: it asks for the schema itself. shortcut: the short way to its answer, if any.
    """

    kind: OperationType
    root_fields: int
    introspects: bool
    shortcut: Shortcut | None


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was looked at. errors: why it cannot be executed."""

    node: DocumentNode | None
    errors: tuple[GraphQLError, ...] = ()
    operations: Mapping[str | None, Operation] = field(default_factory=dict)
    memory: Memory | None = None

    def operation(self, name: str | None) -> Operation:
        """The operation to execute. Raises GraphQLError when it is not clear which."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        if name is None:
            raise GraphQLError("Must provide operation name if query contains multiple operations.")
        if name not in self.operations:
            raise GraphQLError("There is no operation with this name in the document.")
        return self.operations[name]


@dataclass(slots=True)
class Documents:
    """The documents that were seen lately, by their text."""

    limits: Limits
    _known: OrderedDict[str, Document] = field(default_factory=OrderedDict)

    def __getitem__(self, text: str) -> Document:
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        found = look_at(text, self.limits)
        if len(text) <= _LONGEST:
            self._known[text] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def __len__(self) -> int:
        return len(self._known)


def look_at(text: str, limits: Limits) -> Document:
    """Tokens, then limits, then validation: each keeps the next from working too hard."""
    try:
        node = parse(text, max_tokens=limits.tokens, max_source_length=limits.source)
        errors = excess(measure(node), limits)
        errors = errors or validate(
            executable, node, _RULES, max_errors=limits.errors, hide_suggestions=True
        )
        errors = errors or _repeated(node)
    except GraphQLSyntaxError as error:
        return Document(None, (error,))
    except RecursionError:
        return Document(None, (GraphQLError("The document is nested too deeply."),))
    if errors:
        return Document(None, tuple(errors[: limits.errors]))
    # Directives may include a field for one request and not for the next.
    memory: Memory | None = None if "@" in text else {}
    return Document(node, (), _operations(node, short=memory is not None), memory)


def _operations(document: DocumentNode, *, short: bool) -> dict[str | None, Operation]:
    found: dict[str | None, Operation] = {}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            roots = root_fields(document, definition)
            found[definition.name.value if definition.name else None] = Operation(
                definition.operation,
                root_fields=max(1, sum(roots.values())),
                introspects=bool(roots.keys() & {"__schema", "__type"}),
                shortcut=shortcut(executable, plans, document, definition) if short else None,
            )
    return found


def _repeated(document: DocumentNode) -> list[GraphQLError]:
    errors: list[GraphQLError] = []
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            roots = root_fields(document, definition)
            errors.extend(
                GraphQLError(
                    f"{name} can be called once in a document.", extensions={"code": "TOO_COMPLEX"}
                )
                for name in sorted(_ONCE)
                if roots[name] > 1
            )
    return errors
