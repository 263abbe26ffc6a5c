"""What goes back of a payment: programs ask with a key, people decide, and some press twice."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.harness.client import REFUND, TRY_AGAIN, Merchant, NoAnswer
from tests.harness.known import PAID, Asked
from tests.harness.people import Office, Person


def _document(input_: str, mutation: str) -> str:
    return (
        f"mutation($input: {input_}!) {{ answer: {mutation}(input: $input) "
        f"{{ refund {REFUND} replayed userErrors {{ code message field }} }} }}"
    )


REQUEST = _document("RequestRefundInput", "requestRefund")
APPROVE = _document("DecideRefundInput", "approveRefund")
REJECT = _document("DecideRefundInput", "rejectRefund")
SETTLE = _document("SettleRefundInput", "settleRefund")
CANCEL = (
    "mutation($input: ID!) { answer: cancelRefund(refundId: $input, reason: "
    f'"The customer keeps it") {{ refund {REFUND} userErrors {{ code message field }} }} }}'
)
_OVER = PAID | {"FAILED", "EXPIRED", "CANCELLED"}

Refund: TypeAlias = Mapping[str, Any]


@dataclass(slots=True)
class Desk:
    """Where refunds are asked for and decided on; keeps everything that was said in `history`."""

    merchant: Merchant
    office: Office
    seed: int = 0
    patience: float = 90
    history: list[Asked] = field(default_factory=list)
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def request(
        self, reason: str, payment_id: str, amount: str | None = None
    ) -> Refund | None:
        """By the program's key, and under the reason as its idempotency key; None: refused."""
        values: dict[str, Any] = {
            "idempotencyKey": reason,
            "paymentId": payment_id,
            "reason": reason,
        }
        if amount is not None:
            values["amount"] = {"amount": amount, "currency": "RWF"}
        return await self._insist(self.merchant, "request", REQUEST, reason, values)

    async def cancel(self, refund: Refund) -> Refund | None:
        return await self._insist(self.merchant, "cancel", CANCEL, refund["reason"], refund["id"])

    async def approve(self, refund: Refund, person: Person) -> Refund | None:
        values = {"refundId": refund["id"], "digest": refund["digest"], "note": "I saw it"}
        return await self._insist(person, "approve", APPROVE, refund["reason"], values)

    async def reject(self, refund: Refund, person: Person) -> Refund | None:
        values = {"refundId": refund["id"], "digest": refund["digest"]}
        return await self._insist(person, "reject", REJECT, refund["reason"], values)

    async def settle(self, refund: Refund, person: Person, *, succeeded: bool) -> Refund | None:
        evidence = f"{person.email} {'gave it back' if succeeded else 'found nobody'}"
        values = {"refundId": refund["id"], "succeeded": succeeded, "evidence": evidence}
        return await self._insist(person, "settle", SETTLE, refund["reason"], values)

    async def _insist(
        self, who: Merchant, operation: str, document: str, reason: str, given: Any
    ) -> Refund | None:
        """Repeats it until it is clear what became of it; whoever has to, confirms who they are."""
        end = time.monotonic() + self.patience
        while True:
            began = time.monotonic()
            try:
                answer = (await who.ask_once(document, input=given))["answer"]
            except NoAnswer as error:
                answer, why = None, str(error)
            asked = _asked(operation, reason, answer)
            self.history.append(asked)
            if asked.codes == ("FORBIDDEN",) and isinstance(who, Person):
                await who.confirm_identity(began)
            elif asked.result != "info":
                return answer["refund"] if answer else None
            if time.monotonic() > end:
                raise NoAnswer(f"{operation} {reason}: {asked.codes if answer else why}")
            await asyncio.sleep(self._random.uniform(0.02, 0.3))


def _asked(operation: str, reason: str, answer: Mapping[str, Any] | None) -> Asked:
    codes = tuple(error["code"] for error in answer["userErrors"]) if answer else ()
    if answer is None or (codes and set(codes) <= TRY_AGAIN):
        result = "info"
    else:
        result = "fail" if codes else "ok"
    refund = answer["refund"] if answer else None
    return Asked(
        operation=operation,
        reason=reason,
        result=result,
        refund_id=refund["id"] if refund else None,
        version=refund["version"] if refund else None,
        replayed=bool(answer and answer.get("replayed")),
        codes=codes,
    )


# ── what becomes of one payment ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Somebody wants money back. name: how each reason for it begins.

    luck: from 0 to 1, for what may go either way.
    """

    desk: Desk
    name: str
    payment_id: str
    gateway: str
    luck: float

    @property
    def approvers(self) -> tuple[Person, Person]:
        first, second = self.desk.office.approvers
        return (first, second) if self.luck < 0.5 else (second, first)

    async def request(self, number: int, amount: str | None = None) -> Refund | None:
        # Airtel gives back whole payments only.
        amount = None if self.gateway == "airtel" else amount
        return await self.desk.request(f"{self.name} r{number}", self.payment_id, amount)

    async def agree(self, refund: Refund | None) -> None:
        """As many as are needed say yes, at the same time; by hand, somebody does it."""
        if refund is None:
            return
        needed = self.approvers[: refund["approvalsNeeded"]]
        said = await asyncio.gather(*(self.desk.approve(refund, person) for person in needed))
        await self.hand_over(said[-1])

    async def hand_over(self, refund: Refund | None) -> None:
        if refund is not None and refund["byHand"]:
            teller, done = self.desk.office.teller, self.luck < 0.85
            for _ in range(2):
                await self.desk.settle(refund, teller, succeeded=done)


Story: TypeAlias = Callable[[Return], Awaitable[None]]


async def _all_of_it(back: Return) -> None:
    await back.agree(await back.request(1))


async def _a_part(back: Return) -> None:
    await back.agree(await back.request(1, "400"))


async def _bit_by_bit(back: Return) -> None:
    for number in (1, 2, 3):
        await back.agree(await back.request(number, "500"))


async def _three_at_once(back: Return) -> None:
    asked = await asyncio.gather(*(back.request(number, "600") for number in (1, 2, 3)))
    await asyncio.gather(*(back.agree(refund) for refund in asked))


async def _asked_thrice(back: Return) -> None:
    asked = await asyncio.gather(*(back.request(1, "700") for _ in range(3)))
    await back.desk.request(f"{back.name} r1", back.payment_id, "701")
    await back.agree(asked[0])


async def _too_much(back: Return) -> None:
    for number, amount in enumerate(("1501", "0", "99999"), 1):
        await back.desk.request(f"{back.name} r{number}", back.payment_id, amount)
    await back.agree(await back.request(4))
    await back.request(5, "1")


async def _no_and_asked_again(back: Return) -> None:
    refund = await back.request(1)
    if refund is not None:
        await back.desk.reject(refund, back.approvers[0])
        await back.agree(await back.request(2, "900"))


async def _yes_and_no_at_once(back: Return) -> None:
    refund = await back.request(1, "800")
    if refund is not None:
        yes, no = back.approvers
        said, _ = await asyncio.gather(back.desk.approve(refund, yes), back.desk.reject(refund, no))
        await back.hand_over(said)


async def _pressed_thrice(back: Return) -> None:
    refund = await back.request(1)
    if refund is not None:
        await asyncio.gather(*(back.desk.approve(refund, back.approvers[0]) for _ in range(3)))
        await back.agree(refund)


async def _taken_back(back: Return) -> None:
    refund = await back.request(1)
    if refund is not None:
        await asyncio.gather(back.desk.cancel(refund), back.desk.approve(refund, back.approvers[0]))


async def _left_alone(back: Return) -> None:
    await back.request(1, "300")


TALES: Mapping[Story, float] = {
    _all_of_it: 30,
    _a_part: 14,
    _bit_by_bit: 10,
    _three_at_once: 12,
    _asked_thrice: 8,
    _too_much: 6,
    _no_and_asked_again: 7,
    _yes_and_no_at_once: 6,
    _pressed_thrice: 6,
    _taken_back: 4,
    _left_alone: 4,
}


async def once_paid(merchant: Merchant, payment_id: str, *, seconds: float) -> str | None:
    """The method it was paid with, as soon as it was; None when it was not until then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        payment = await merchant.payment(payment_id)
        if payment["status"] in _OVER:
            paid = [one for one in payment["attempts"] if one["status"] == "SUCCEEDED"]
            return str(paid[0]["gateway"]["code"]) if paid else None
        await asyncio.sleep(0.5)
    return None
