"""What tests of refunds share: a gateway that gives back what it is told to, and people."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from core.tests.conftest import Row, Script, Shop, open_shop, paid

from dusangire import hookimpl, refund_work, refunds
from dusangire.access import OPERATOR, Actor
from dusangire.gateway import Gateway, GatewayDescription, Outcome, Refund, Succeeded
from dusangire.permissions import Role
from dusangire.records import RefundRequest
from dusangire.refunds import DecideRefund, RefundDone, RequestRefund, SettleRefund

Answer: TypeAlias = Outcome | BaseException | Callable[[Refund], Awaitable[Outcome]]


def given_back(refund: Refund, **changes: Any) -> Succeeded:
    return replace(
        Succeeded(amount=refund.amount, reference=refund.reference, gateway_transaction_id="GR-1"),
        **changes,
    )


async def gives_back(refund: Refund) -> Outcome:
    return given_back(refund)


@dataclass(eq=False)
class Refunder(Script):
    """The scripted gateway, which gives back too. paid_out: what left it, whatever it said."""

    refund: deque[Answer] = field(default_factory=lambda: deque([gives_back]))
    check_of_refund: deque[Answer] = field(default_factory=lambda: deque([gives_back]))
    repeatable: bool = False
    partial: bool = True
    paid_out: list[str] = field(default_factory=list)

    def answers(self, hook: str, *steps: Answer) -> None:
        setattr(self, hook, deque(steps))

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return replace(
            super().describe_gateway(),
            repeatable_refunds=self.repeatable,
            partial_refunds=self.partial,
        )

    @hookimpl
    async def refund_payment(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        self.paid_out.append(refund.reference)
        return await self._answer("refund", refund)

    @hookimpl
    async def check_refund(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        return await self._answer("check_of_refund", refund)

    async def _answer(self, hook: str, refund: Refund) -> Outcome:
        self.calls.append((hook, refund.reference))
        steps: deque[Answer] = getattr(self, hook)
        step = steps.popleft() if len(steps) > 1 else steps[0]
        if isinstance(step, BaseException):
            raise step
        return await step(refund) if callable(step) else step


@dataclass(kw_only=True)
class RefundShop(Shop):
    """A shop whose payments go back, and the people who work in it."""

    gateway: Refunder

    async def hire(self, role: Role = Role.APPROVER, *, fresh: bool = True) -> Actor:
        """Somebody with a name and a role, who has just shown that it is them."""
        staff_id = uuid4()
        email = f"{role.lower()}-{staff_id.hex[:8]}@shop.example.rw"
        await self.run(
            "INSERT INTO staff (id, email, name, role) VALUES ($1, $2, $2, $3)",
            staff_id,
            email,
            role.value,
        )
        return Actor(
            kind="staff",
            name=email,
            role=role,
            staff_id=staff_id,
            confirmed_at=self.core.clock().timestamp() if fresh else None,
        )

    async def pay(self, amount: str = "5000", gateway: str = "script") -> UUID:
        """A payment that succeeded."""
        self.script.says("initiate", _pays)
        self.script.says("check", _pays)
        done = await self.create(amount=amount)
        assert done.payment.status == "SUCCEEDED"
        return done.payment.id

    async def ask_back(
        self, payment_id: UUID, actor: Actor = OPERATOR, **changes: Any
    ) -> RefundDone:
        given: dict[str, Any] = {
            "idempotency_key": self.key(),
            "payment_id": payment_id,
            "reason": "A bag was torn",
            **changes,
        }
        if given.get("amount") is not None:
            given.setdefault("currency", "RWF")
        return await refunds.request(self.core, actor, RequestRefund(**given))

    async def approve(self, refund: RefundRequest, actor: Actor, **changes: Any) -> RefundDone:
        decision = {"refund_id": refund.id, "digest": refund.digest, **changes}
        return await refunds.approve(self.core, actor, DecideRefund(**decision))

    async def reject(self, refund: RefundRequest, actor: Actor) -> RefundDone:
        decision = DecideRefund(refund_id=refund.id, digest=refund.digest, note="no")
        return await refunds.reject(self.core, actor, decision)

    async def cancel(self, refund: RefundRequest, actor: Actor) -> RefundDone:
        return await refunds.cancel(self.core, actor, refund.id, "a mistake")

    async def settle(
        self, refund: RefundRequest, actor: Actor, *, succeeded: bool = True
    ) -> RefundDone:
        settled = SettleRefund(refund_id=refund.id, succeeded=succeeded, evidence="I saw it")
        return await refunds.settle(self.core, actor, settled)

    async def approved(self, payment_id: UUID, **changes: Any) -> RefundRequest:
        """A refund that somebody asked for and somebody else agreed to."""
        asked = await self.ask_back(payment_id, await self.hire(Role.OPERATOR), **changes)
        return (await self.approve(asked.refund, await self.hire())).refund

    async def refund_due(self) -> None:
        """Makes every refund due, as if its time had come and whoever had it were dead."""
        await self.run(
            "UPDATE refund SET next_check_at = now() - interval '1 s', lease_until = NULL "
            "WHERE next_check_at IS NOT NULL"
        )

    async def give_back(self) -> int:
        """One round of a worker on the refunds, all of them due."""
        await self.refund_due()
        places = {account.id: account.places.free for account in await self.core.gateways.all()}
        works = await refund_work.take_due(self.core, 200, places)
        for work in works:
            account = await self.core.gateways.by_id(work.gateway_id)
            await refund_work.proceed(self.core, account, work)
        return len(works)

    async def refund_row(self, refund_id: UUID) -> Row:
        return await self.row("SELECT * FROM refund WHERE id = $1", refund_id)

    async def told(self, payment_id: UUID) -> list[str]:
        """The types of the refund events of a payment, in their order."""
        rows = await self.rows(
            "SELECT type FROM event WHERE payment_id = $1 AND type LIKE 'refund.%' ORDER BY id",
            payment_id,
        )
        return [row["type"] for row in rows]


async def _pays(attempt: Any) -> Outcome:
    return paid(attempt)


@asynccontextmanager
async def open_refund_shop(
    home: Path, url: str, *, gateway: Refunder | None = None, **settings: Any
) -> AsyncIterator[RefundShop]:
    gateway = gateway or Refunder()
    async with open_shop(home, url, script=gateway, **settings) as shop:
        yield RefundShop(
            core=shop.core, url=shop.url, clock=shop.clock, script=gateway, gateway=gateway
        )
