"""What every resolver of one request shares: who asks, core, and what was loaded already."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from dusangire import codes, health, queries, records, stored_methods
from dusangire.access import Actor
from dusangire.core import Core
from dusangire.stored_methods import StoredMethod


@dataclass(slots=True)
class Loaders:
    """Rows beside the payments of one answer: one query for all of them, only when selected."""

    attempts: DataLoader[UUID, list[records.PaymentAttempt]]
    customers: DataLoader[UUID, records.Customer | None]
    stored_methods: DataLoader[UUID, list[StoredMethod]]
    health: DataLoader[UUID, health.Health]
    unmapped_codes: DataLoader[UUID, list[codes.UnmappedCode]]


@dataclass(slots=True)
class Context:
    """One request. `actor` is whom its token belongs to."""

    core: Core
    actor: Actor
    _loaders: Loaders | None = field(default=None, repr=False)

    @property
    def loaders(self) -> Loaders:
        # Made late: most requests load nothing beside the payment, and making them costs time.
        if self._loaders is None:
            self._loaders = Loaders(
                DataLoader(load_fn=_attempts),
                DataLoader(load_fn=_customers),
                DataLoader(load_fn=_stored_methods),
                DataLoader(load_fn=health.load),
                DataLoader(load_fn=codes.load),
            )
        return self._loaders


Info: TypeAlias = strawberry.Info[Context, None]


async def _attempts(payment_ids: Sequence[UUID]) -> list[list[records.PaymentAttempt]]:
    found = await queries.attempts(payment_ids)
    return [found.get(payment_id, []) for payment_id in payment_ids]


async def _customers(ids: Sequence[UUID]) -> list[records.Customer | None]:
    found = await queries.customers(ids)
    return [found.get(customer_id) for customer_id in ids]


async def _stored_methods(customer_ids: Sequence[UUID]) -> list[list[StoredMethod]]:
    found = await stored_methods.of_customers(customer_ids)
    return [found.get(customer_id, []) for customer_id in customer_ids]
