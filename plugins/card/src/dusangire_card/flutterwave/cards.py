"""The cards on the simulator's page, and what becomes of a payment with each.

The first eight behave as Flutterwave's own test cards with these last digits; of a card there is
no more here than what Flutterwave itself shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from dusangire.simulation import Script, Status, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card to choose on the page.

    reason: what the bank says when it refuses. ends: when it is decided.
    webhooks: how many are sent. hidden_reads: how often its charge is "not found" at first.
    less, more: of the amount, what the charge takes less and what the payer pays more.
    """

    name: str
    brand: Literal["MASTERCARD", "VISA", "VERVE"]
    first6: str
    last4: str
    story: str
    reason: str | None = None
    ends: Literal["at once", "later", "never"] = "at once"
    webhooks: int = 1
    hidden_reads: int = 0
    less: Decimal = Decimal(0)
    more: Decimal = Decimal(0)
    currency: str | None = None

    def script(self, delay: float) -> Script:
        """What becomes of a charge."""
        if self.ends == "never":
            return ()
        return (
            Step(
                after=delay if self.ends == "later" else 0,
                status=Status.FAILED if self.reason else Status.SUCCEEDED,
                reason=self.reason,
                webhooks=self.webhooks,
            ),
        )


def _pays(name: str, story: str, **changes: object) -> Card:
    values: dict[str, object] = {"brand": "VISA", "first6": "418742", "last4": "4246", **changes}
    return Card(name=name, story=story, **values)  # type: ignore[arg-type]  # a table of ours


def _refuses(name: str, story: str, reason: str, **changes: object) -> Card:
    values = {"brand": "MASTERCARD", "first6": "539983", "last4": "4723", **changes}
    return _pays(name, story, reason=reason, **values)


_ALL = (
    _pays(
        "mastercard-3ds",
        "Pays, after 3-D Secure",
        brand="MASTERCARD",
        first6="543898",
        last4="0229",
    ),
    _pays("visa-3ds", "Pays, after 3-D Secure"),
    _pays(
        "mastercard-pin",
        "Pays, after PIN and one-time code",
        brand="MASTERCARD",
        first6="553188",
        last4="2950",
    ),
    _pays("verve", "Pays", brand="VERVE", first6="506146", last4="4667"),
    _refuses("declined", "Is declined", "Transaction declined"),
    _refuses("fraud", "Is suspected of fraud", "Suspected fraud", first6="559013", last4="4314"),
    _refuses("do-not-honour", "Is refused", "Do Not Honour", first6="514301", last4="9965"),
    _refuses(
        "insufficient",
        "Has too little money",
        "Insufficient Funds",
        first6="525858",
        last4="6506",
    ),
    _refuses("expired", "Has expired", "Expired card, pick up", last4="1029"),
    _refuses("wrong-code", "Wrong one-time code", "Invalid OTP supplied", last4="3310"),
    _refuses("new-reason", "A reason nobody knows", "Tuesday is closed", last4="8888"),
    _pays("slow", "Pays after a while", ends="later", last4="3030"),
    _pays("pending", "Stays pending for ever", ends="never", last4="0000"),
    _pays("silent", "Pays without a webhook", webhooks=0, last4="2020"),
    _pays("thrice", "Pays, with three webhooks", webhooks=3, last4="3333"),
    _pays("hidden", "Pays, but is not found at first", hidden_reads=2, last4="4040"),
    _pays("one-less", "Pays one franc too little", less=Decimal(1), last4="9999"),
    _pays("naira", "Pays the number, but in naira", currency="NGN", last4="5660"),
    _pays("with-fee", "Pays the fee on top", more=Decimal(190), last4="1900"),
)
CARDS: Mapping[str, Card] = MappingProxyType({card.name: card for card in _ALL})
FIRST = _ALL[0]
# So many from the beginning are Flutterwave's own; the others are for odd days.
EVERY_DAY = 8
