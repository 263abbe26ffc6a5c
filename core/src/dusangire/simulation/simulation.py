"""A simulated provider: what it was asked for, what becomes of it in time, and whom it tells."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import asdict, replace
from random import Random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dusangire.errors import IllegalState, NotFound
from dusangire.gateway import JSON, Clock
from dusangire.simulation.line import Faults, FaultySource
from dusangire.simulation.transactions import Script, Status, Step, Transaction
from dusangire.simulation.webhooks import Courier, Webhook


class Settings(BaseModel):
    """How a simulator behaves when all is well. A plugin may add its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["auto", "manual"] = Field(
        "auto", description="Prompts are approved after `delay`, or only by a person."
    )
    delay: float = Field(3, ge=0, description="Seconds until a prompt is decided.")
    scale: float = Field(1, ge=0, description="Multiplies every waiting time.")
    outcomes: dict[str, str] = Field(
        default_factory=dict, description="Failure reasons by amount, such as {'666': 'EXPIRED'}."
    )


class Simulation:
    """The memory and the clockwork of a simulated provider.

    name, color: what the phone shows.
    webhook: the provider's own way of telling about a transaction.
    declined: the provider's reason when a person declines.
    """

    def __init__(
        self,
        *,
        name: str,
        color: str,
        clock: Clock,
        webhook: Callable[[Transaction], Webhook],
        declined: JSON,
        settings: Settings,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.color = color
        self.clock = clock
        self.settings = settings
        self.transactions: dict[str, Transaction] = {}
        self.random = Random(seed)  # noqa: S311 - repeatable, and nothing here is secret
        self.line = FaultySource(self.random, Faults())
        self._first_settings = settings
        self._webhook = webhook
        self._declined = declined
        self._courier = Courier(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._scripts: dict[str, asyncio.Task[None]] = {}

    def add(self, transaction: Transaction, script: Script) -> None:
        """Remembers a transaction and lets its script begin."""
        self.transactions[transaction.reference] = transaction
        self._scripts[transaction.reference] = self._spawn(self._play(transaction, script))

    def decide(self, reference: str, *, approve: bool) -> None:
        """A person answers the prompt; the script ends. Raises NotFound and IllegalState."""
        transaction = self.transactions.get(reference)
        if transaction is None:
            raise NotFound(f"There is no transaction {reference!r}.")
        if transaction.status is not Status.PENDING:
            raise IllegalState(f"It is {transaction.status} already.")
        if approve:
            self.play(reference, (Step(after=0, status=Status.SUCCEEDED),))
        else:
            self.play(reference, (Step(after=0, status=Status.FAILED, reason=self._declined),))

    def play(self, reference: str, script: Script) -> None:
        """Another script takes over, such as after a second try. What is due at once, happens."""
        transaction = self.transactions[reference]
        self._scripts[reference].cancel()
        transaction.decides_at = None
        while script and not script[0].after:
            self._take(transaction, script[0])
            script = script[1:]
        self._scripts[reference] = self._spawn(self._play(transaction, script))

    def set_faults(self, faults: Faults) -> None:
        self.line.faults = faults
        self.line.suffered = 0

    def reset(self, seed: int) -> None:
        """Forgets everything, and begins the same random anew."""
        for task in self._tasks:
            task.cancel()
        self.transactions.clear()
        self._scripts.clear()
        self.settings = self._first_settings
        self.random.seed(seed)
        self.set_faults(Faults())

    def truth(self) -> dict[str, JSON]:
        """Everything that really happened, for judges: JSON-ready."""
        moved: dict[str, Counter[str]] = {"reference": Counter(), "external_id": Counter()}
        for transaction in self.transactions.values():
            moved["reference"][transaction.reference] += transaction.moves
            moved["external_id"][transaction.external_id] += transaction.moves
        return {
            "transactions": [_told(transaction) for transaction in self.transactions.values()],
            "moves_by_reference": dict(moved["reference"]),
            "moves_by_external_id": dict(moved["external_id"]),
        }

    def seconds_left(self, transaction: Transaction) -> float | None:
        """Until the script decides; None when only a person will, or it is decided."""
        if transaction.decides_at is None or transaction.status is not Status.PENDING:
            return None
        return max(0, transaction.decides_at - asyncio.get_running_loop().time())

    async def _play(self, transaction: Transaction, script: Script) -> None:
        for step in script:
            seconds = step.after * self.settings.scale
            if step.status is not None:
                transaction.decides_at = asyncio.get_running_loop().time() + seconds
            await asyncio.sleep(seconds)
            self._take(transaction, step)

    def _take(self, transaction: Transaction, step: Step) -> None:
        if step.status is not None:
            transaction.status, transaction.reason = step.status, step.reason
            transaction.moves += step.status is Status.SUCCEEDED
        if transaction.webhook_url is not None and step.webhooks:
            webhook = self._webhook(replace(transaction, **step.claim))
            for _ in range(step.webhooks * (1 + self._happens("duplicated_webhooks"))):
                self._spawn(self._tell(transaction, transaction.webhook_url, webhook))

    async def _tell(self, transaction: Transaction, url: str, webhook: Webhook) -> None:
        if self._happens("dropped_webhooks"):
            transaction.webhooks.append(self._courier.drop(webhook))
            return
        if self._happens("delayed_webhooks"):
            await asyncio.sleep(self.random.random() * self.line.faults.webhook_delay)
        for _ in range(webhook.tries):
            transaction.webhooks.append(await self._courier.deliver(url, webhook))
            if transaction.webhooks[-1].arrived:
                break

    def _happens(self, rate: str) -> bool:
        return self.line.happens(getattr(self.line.faults, rate))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _told(transaction: Transaction) -> dict[str, JSON]:
    told = asdict(transaction)
    del told["decides_at"], told["hidden_reads"]
    told["created_at"] = transaction.created_at.isoformat()
    for delivery in told["webhooks"]:
        delivery["sent_at"] = delivery["sent_at"].isoformat()
    return told
