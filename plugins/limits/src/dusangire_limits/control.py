"""Limits per payer: a payment over them is refused before any gateway hears of it."""

from collections.abc import Coroutine, Generator
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any, TypeAlias

from dusangire import hookimpl
from dusangire.errors import Retryable
from dusangire.gateway import JSON, Attempt, Failed, FailureCode, Gateway, NotSent, Outcome
from dusangire.money import Money
from dusangire_limits.settings import LimitSettings, read_settings

Call: TypeAlias = Coroutine[Any, Any, Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One attempt beside the limits of its currency; None: there is no such limit.

    paid_today: by the same payer; None when nobody knows who pays, or when nobody asked.
    """

    amount: Money
    per_payment: Money | None
    per_day: Money | None
    paid_today: Money | None = None

    @property
    def refusal(self) -> Failed | None:
        # Payers read these. What they paid today is not said: anybody can type in their number.
        if self.per_payment is not None and self.amount.minor > self.per_payment.minor:
            return Failed(
                code=FailureCode.AMOUNT_OUT_OF_LIMITS,
                message=f"One payment may be {self.per_payment} at most.",
            )
        if self.per_day is None or self.paid_today is None:
            return None
        if self.paid_today.minor + self.amount.minor > self.per_day.minor:
            return Failed(
                code=FailureCode.PAYER_LIMIT_REACHED,
                message=f"All payments of one day may come to {self.per_day} at most. "
                "Try again tomorrow, or pay less.",
            )
        return None

    @property
    def note(self) -> JSON:
        """For staff, in the payment's log."""
        facts = {
            "per_payment": self.per_payment,
            "per_day": self.per_day,
            "paid_today": self.paid_today,
        }
        refusal = self.refusal
        return {
            **{name: str(money) for name, money in facts.items() if money is not None},
            "refused": refusal.code.value if refusal else None,
        }


@dataclass(frozen=True, eq=False)
class Limits:
    """The control plugin. Wraps what asks for money, of every gateway."""

    settings: LimitSettings

    @hookimpl(wrapper=True)
    def initiate_payment(
        self, gateway: Gateway[Any], attempt: Attempt
    ) -> Generator[None, Call, Call]:
        call = yield
        return self._within(gateway, attempt, call) if self._limits(attempt) else call

    @hookimpl(wrapper=True)
    def charge_token(self, gateway: Gateway[Any], attempt: Attempt) -> Generator[None, Call, Call]:
        call = yield
        return self._within(gateway, attempt, call) if self._limits(attempt) else call

    def _limits(self, attempt: Attempt) -> bool:
        currency = attempt.amount.currency
        return currency in self.settings.per_payment or currency in self.settings.per_day

    async def _within(self, gateway: Gateway[Any], attempt: Attempt, call: Call) -> Outcome:
        try:
            return await self._refusal(gateway, attempt) or await call
        finally:
            call.close()  # if it never began

    async def _refusal(self, gateway: Gateway[Any], attempt: Attempt) -> Failed | NotSent | None:
        try:
            look = await self._look(gateway, attempt)
        except Retryable:
            # Nothing is let through unseen; and nothing has left, so core tries again soon.
            return NotSent(cause="what the payer paid today cannot be read now")
        gateway.note("limits", look.note)
        return look.refusal

    async def _look(self, gateway: Gateway[Any], attempt: Attempt) -> Look:
        currency = attempt.amount.currency
        look = Look(
            amount=attempt.amount,
            per_payment=self.settings.per_payment.get(currency),
            per_day=self.settings.per_day.get(currency),
        )
        known = attempt.phone is not None or attempt.customer is not None
        if look.refusal or look.per_day is None or not known:
            return look
        paid_today = await gateway.history.paid(attempt, since=self._midnight(gateway.clock()))
        return replace(look, paid_today=paid_today)

    def _midnight(self, now: datetime) -> datetime:
        zone = self.settings.time_zone
        return datetime.combine(now.astimezone(zone).date(), time.min, tzinfo=zone)


# Read while the plugin is loaded: with a limit that is mistyped, nothing starts.
limits = Limits(read_settings())
