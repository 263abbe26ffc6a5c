"""Gateways that no line of a test leaves the machine for: a wallet, a card gateway, a courier."""

from dataclasses import dataclass, field
from typing import Any

from dusangire import hookimpl
from dusangire.gateway import (
    Accepted,
    Attempt,
    Gateway,
    GatewayConfig,
    GatewayDescription,
    Outcome,
)
from dusangire.statements import AccountKind


@dataclass(eq=False)
class Simple:
    """A gateway whose statements are of this kind.

    says: what it answers when it is asked about an attempt, by the attempt's reference.
    asked: the references it was asked about.
    """

    name: str
    statement: AccountKind
    says: dict[str, Outcome] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @hookimpl
    def describe_gateway(self) -> GatewayDescription:
        return GatewayDescription(name=self.name, config=GatewayConfig, statement=self.statement)

    @hookimpl
    async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return Accepted()

    @hookimpl
    async def check_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        self.asked.append(attempt.reference)
        return self.says.get(attempt.reference, Accepted())


def simple_gateways() -> dict[str, Simple]:
    """By the name of their plugin, which is that of their gateway too, with `test-` before it."""
    return {
        "test-mtn": Simple("Wallet", AccountKind.WALLET),
        "test-card": Simple("Card", AccountKind.SETTLEMENT),
        "test-cod": Simple("Courier", AccountKind.SETTLEMENT),
    }
