"""How much one caller may ask for: of the server in a second, and of one document.

A document is measured by one walk that visits each fragment once: ten fragments that use each
other ten times are measured as quickly as they are written.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import structlog
from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from dusangire.access import Actor

log = structlog.get_logger(__name__)

# Larger counts are all the same: too large. Without a ceiling, nested fragments make numbers of
# a thousand digits.
_CEILING = 1_000_000
# Introspection nests by the shape of its own types; graphql-core has a rule for its lists.
_INTROSPECTION = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one caller may ask for. Sizes are in bytes, times in seconds.

    per_key, per_client, per_person: root fields a second, for an API key, for a client token, and
        for somebody who is signed in.
    per_address: pages a second, for what comes without a token. Behind a proxy all payers share
        one address.
    connections: open sockets and event streams of one token.
    """

    body: int = 256 * 1024
    per_key: int = 10_000
    per_client: int = 20
    per_person: int = 200
    per_address: int = 50
    source: int = 64 * 1024
    tokens: int = 1_000
    depth: int = 10
    aliases: int = 15
    fields: int = 400
    directives: int = 8
    repetitions: int = 25
    errors: int = 5
    deadline: float = 10
    message: int = 64 * 1024
    init_wait: float = 5
    subscriptions: int = 10
    connections_per_key: int = 50
    connections_per_client: int = 5
    access_check: float = 2
    heartbeat: float = 12

    def rate(self, actor: Actor) -> int:
        if actor.session_id is not None:
            return self.per_person
        return self.per_client if actor.payment_id is not None else self.per_key

    def connections(self, actor: Actor) -> int:
        of_client = actor.payment_id is not None
        return self.connections_per_client if of_client else self.connections_per_key


# ── a second ─────────────────────────────────────────────────────────────────────────────────────


class _Counts(Storage):
    """Counters of this process. The library's own memory storage starts a thread for each hit."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, tuple[float, int]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        return Exception

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        now = time.monotonic()
        ends, count = self._counts.get(key, (0.0, 0))
        if now >= ends:
            self._forget(now)
            ends, count = now + expiry, 0
        self._counts[key] = (ends, count + amount)
        return count + amount

    def get(self, key: str) -> int:
        ends, count = self._counts.get(key, (0.0, 0))
        return count if time.monotonic() < ends else 0

    def get_expiry(self, key: str) -> float:
        return self._counts.get(key, (time.monotonic(), 0))[0]

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        self._counts.pop(key, None)

    def _forget(self, now: float) -> None:
        if len(self._counts) > 10_000:
            self._counts = {key: kept for key, kept in self._counts.items() if kept[0] > now}


@dataclass(slots=True)
class Rates:
    """Root fields that each token used this second."""

    limits: Limits
    _limiter: FixedWindowRateLimiter = field(
        default_factory=lambda: FixedWindowRateLimiter(_Counts())
    )
    _items: dict[int, RateLimitItem] = field(default_factory=dict)

    def take(self, actor: Actor, root_fields: int = 1) -> bool:
        """Whether so many more fit into this second."""
        rate = self.limits.rate(actor)
        item = self._items.get(rate)
        if item is None:
            item = self._items[rate] = RateLimitItemPerSecond(rate)
        fits = self._limiter.hit(item, identity(actor), cost=root_fields)
        if not fits:
            log.warning("security: too many requests", actor=actor.name, rate=rate)
        return fits

    def take_address(self, address: str) -> bool:
        """Whether one more page for this address fits into this second."""
        item = RateLimitItemPerSecond(self.limits.per_address)
        fits = self._limiter.hit(item, "address", neighbours(address))
        if not fits:
            log.warning("security: too many pages", rate=self.limits.per_address)
        return fits


def neighbours(address: str) -> str:
    """The address; of one in IPv6 the part that is the same for all that a caller can choose."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else address


def identity(actor: Actor) -> str:
    """One word for the token behind an actor."""
    return str(actor.key_id or actor.payment_id or actor.staff_id or actor.name)


# ── a document ───────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Size:
    """How much a selection asks for, with its fragments unfolded."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    directives: int = 0
    repetitions: int = 0

    def add(self, other: "Size", deeper: int = 0) -> None:
        self.depth = max(self.depth, other.depth + deeper)
        self.aliases = min(self.aliases + other.aliases, _CEILING)
        self.fields = min(self.fields + other.fields, _CEILING)
        self.directives = min(self.directives + other.directives, _CEILING)
        self.repetitions = max(self.repetitions, other.repetitions)


def measure(document: DocumentNode) -> Size:
    """The size of all operations of a document together; its depth is the deepest one's."""
    meter = _Meter(document)
    size = Size()
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            size.add(meter.selections(definition.selection_set))
            size.directives += len(definition.directives or ())
    return size


def excess(size: Size, limits: Limits) -> list[GraphQLError]:
    """What a document has too much of."""
    return [
        GraphQLError(
            f"The document has too much: {name}: {_said(count)}, at most {most}.",
            extensions={"code": "TOO_COMPLEX"},
        )
        for name, count, most in (
            ("depth", size.depth, limits.depth),
            ("aliases", size.aliases, limits.aliases),
            ("fields", size.fields, limits.fields),
            ("directives", size.directives, limits.directives),
            # Validation compares each repetition of a field with all others of it.
            ("repetitions of a field", size.repetitions, limits.repetitions),
        )
        if count > most
    ]


def _said(count: int) -> str:
    return f"{count:,}" if count < _CEILING else "a million or more"


def root_fields(document: DocumentNode, operation: OperationDefinitionNode) -> Counter[str]:
    """How often an operation selects each root field. For documents within the limits."""
    fragments = _fragments(document)
    found: Counter[str] = Counter()
    waiting = [operation.selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            if isinstance(selection, FieldNode):
                found[selection.name.value] += 1
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                waiting.append(fragments[selection.name.value].selection_set)
    return found


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }


class _Meter:
    def __init__(self, document: DocumentNode) -> None:
        self._fragments = _fragments(document)
        self._sizes: dict[str, Size] = {}

    def selections(self, selection_set: SelectionSetNode | None) -> Size:
        size = Size()
        selections = selection_set.selections if selection_set else ()
        size.repetitions = _repetitions(selections)
        for selection in selections:
            size.directives += _count(selection.directives)
            if isinstance(selection, FieldNode):
                size.fields += 1
                size.aliases += selection.alias is not None
                inner = self.selections(selection.selection_set)
                if selection.name.value in _INTROSPECTION:
                    inner.depth = 0
                size.add(inner, deeper=1)
            elif isinstance(selection, InlineFragmentNode):
                size.add(self.selections(selection.selection_set))
            elif isinstance(selection, FragmentSpreadNode):
                size.add(self._fragment(selection.name.value))
        return size

    def _fragment(self, name: str) -> Size:
        size = self._sizes.get(name)
        if size is None:
            # A fragment inside itself counts as nothing here: a rule of validation refuses it.
            self._sizes[name] = Size()
            definition = self._fragments.get(name)
            size = self.selections(definition.selection_set if definition else None)
            size.directives += _count(definition.directives if definition else None)
            self._sizes[name] = size
        return size


def _repetitions(selections: Iterable[SelectionNode]) -> int:
    names = Counter(
        (selection.alias or selection.name).value
        for selection in selections
        if isinstance(selection, FieldNode)
    )
    return max(names.values(), default=0)


def _count(directives: Iterable[DirectiveNode] | None) -> int:
    return sum(1 for _ in directives or ())
