"""What is known after a run: the material of the judges."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from tests.harness.browser import Shown
from tests.harness.client import Said
from tests.harness.simulator import Truth

# The customer paid, whatever went back since.
PAID = frozenset({"SUCCEEDED", "PARTIALLY_REFUNDED", "REFUNDED"})


@dataclass(frozen=True, slots=True)
class Watched:
    """What one subscriber saw, in its order. payment_id None: it watched everything."""

    payment_id: str | None
    events: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Stored:
    """A webhook in our inbox."""

    body: str
    times: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A webhook that reached the merchant. genuine: its signature is ours."""

    id: str
    body: str
    genuine: bool = True
    acknowledged: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An entry in the history of refunds: who was asked for what, and how it ended.

    result: as in `Said`. reason: what the refund is known by; each is asked for once.
    """

    operation: str
    reason: str
    result: str
    refund_id: str | None = None
    version: int | None = None
    replayed: bool = False
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """All that is known after a run.

    payments, events, refunds, invoices, invoice_events: our answers over GraphQL; events are those
        of payments and refunds. A refund has beside it what the gateway calls it and its charge.
    inbox, sessions: read from the database.
    observed: versions and states of payments read while the run went on.
    glimpsed: payments with their refunds, read while the run went on.
    shown: what payers saw on our page when they came back.
    told: what the merchant's server was sent; None when there is none.
    audit: what `audit verify` said; None when it was not asked.
    audited: how many entries the audit log has of each object.
    logs: what processes wrote, by name. seen: other text that people or programs get to see.
    secrets: what must not be in either; private: what must not be in logs.
    """

    truth: Truth
    history: Sequence[Said]
    payments: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]
    asked: Sequence[Asked] = ()
    refunds: Sequence[dict[str, Any]] = ()
    invoices: Sequence[dict[str, Any]] | None = None
    invoice_events: Sequence[dict[str, Any]] = ()
    inbox: Sequence[Stored] = ()
    watched: Sequence[Watched] = ()
    observed: Sequence[tuple[str, int, str]] = ()
    glimpsed: Sequence[dict[str, Any]] = ()
    shown: Sequence[Shown] = ()
    told: Sequence[Told] | None = None
    audit: Mapping[str, Any] | None = None
    audited: Mapping[str, int] = field(default_factory=dict)
    sessions: Mapping[str, int] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    private: Sequence[str] = ()

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        return {payment["id"]: payment for payment in self.payments}

    @cached_property
    def succeeded(self) -> set[str]:
        """References whose money moved at the provider."""
        return {one["reference"] for one in self.truth.transactions if one["moves"]}

    @cached_property
    def events_of(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events:
            if event["payment"] is not None:
                found[event["payment"]["id"]].append(event)
        return found

    @cached_property
    def events_of_refunds(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events:
            if event.get("refund"):
                found[event["refund"]["id"]].append(event)
        return found


Judge: TypeAlias = Callable[[Evidence], Iterator[str]]


# ── what a provider holds for a refund ───────────────────────────────────────────────────────────

_TAKEN = frozenset({"PROCESSING", "UNKNOWN", "SUCCEEDED"})


def refund_behind(
    given: Mapping[str, Any], refunds: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """The request of ours that money went back for at a provider; None when nobody asked."""
    if given["gateway"] == "airtel":
        # It keeps no word of ours, and gives back whole payments only: one at most is right.
        mine = [one for one in refunds if one["charge"] == given["original"]]
        mine.sort(key=lambda one: one["status"] not in _TAKEN)
    else:
        # A card's refund that is there a second time has a number behind our reference.
        name = given["reference"].partition("/")[0]
        mine = [one for one in refunds if one["gatewayReference"] == name]
    return mine[0] if mine else None
