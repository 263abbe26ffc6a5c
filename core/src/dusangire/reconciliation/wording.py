"""What a discrepancy says: what happened, and what to do next. Pure; nobody's name is in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any

from dusangire.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one.

    expected: what our records say; actual: what the statement says. reference: our payment's.
    since: the day of the money. account: the name of the statement account. said: what else the
    finding said, by its kind.
    """

    kind: str
    account: str
    currency: str
    since: date
    expected: int | None = None
    actual: int | None = None
    reference: str | None = None
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> str:
        return self._money(self.expected)

    @property
    def theirs(self) -> str:
        return self._money(self.actual)

    @property
    def difference(self) -> str:
        return self._money(abs((self.expected or 0) - (self.actual or 0)))

    @property
    def payment(self) -> str:
        return f"payment {self.reference}" if self.reference else "a payment"

    @property
    def sort(self) -> str:
        return str(self.said.get("sort", ""))

    def _money(self, minor: int | None) -> str:
        return str(Money(minor, self.currency)) if minor is not None else "an amount"


def message(facts: Facts) -> str:
    """What happened, and what to do next, in two or three sentences."""
    return WORDS[facts.kind](facts)


def _missing_in_bank(facts: Facts) -> str:
    due = facts.said.get("latest")
    return (
        f"{_known(facts)} should be on the statement of {facts.account} by {due}, and is not. "
        "Ask the provider or the payer's bank for a proof, and look at your other accounts."
    )


def _known(facts: Facts) -> str:
    """What our records say, as the beginning of a sentence."""
    match facts.said.get("item"):
        case "REFUND":
            return f"The refund of {facts.ours} of {facts.payment}, of {facts.since},"
        case "REVERSAL":
            return f"The {facts.ours} taken back of {facts.payment} on {facts.since}"
        case "PAYOUT":
            return f"The provider's payout of {facts.ours} of {facts.since}"
    return f"The {facts.ours} of {facts.payment} of {facts.since}"


def _missing_at_provider(facts: Facts) -> str:
    return (
        f"{_known(facts)} is not in the provider's records for {facts.account}, which cover that "
        "day. Hold back what was bought, check the payment at the gateway, and ask the provider: "
        "the message that it was paid may have been forged, or a test."
    )


def _missing_in_system(facts: Facts) -> str:
    return (
        f"{facts.theirs} came into {facts.account} on {facts.since}, and no payment of ours names "
        "it. It waits in suspense: find out who sent it, and attach it to their payment."
    )


def _unidentified_debit(facts: Facts) -> str:
    return (
        f"{facts.theirs} left {facts.account} on {facts.since}, and nothing of ours explains it. "
        "Ask the bank today who ordered it: it may be fraud."
    )


def _status_mismatch(facts: Facts) -> str:
    if facts.sort == "failed":
        what = "refund" if facts.said.get("item") == "REFUND" else "payment"
        return (
            f"The statement of {facts.account} says that the {what} of {facts.ours} failed, and "
            f"our records say that it succeeded ({facts.payment}). Check it at the gateway before "
            "anything more is handed over."
        )
    if facts.sort == "refund":
        return (
            f"{facts.theirs} was given back on {facts.since}, and our refund of {facts.payment} is "
            f"{facts.said.get('state')}. Check the refund, and do not send it again."
        )
    return (
        f"{facts.theirs} for {facts.payment} came into {facts.account} on {facts.since}, and the "
        f"payment is {facts.said.get('state')}. Check the payment at the gateway: once it is known "
        "to be paid, it is matched by itself. If the order is gone, give the money back."
    )


def _amount_mismatch(facts: Facts) -> str:
    many = int(facts.said.get("items", 1))
    whose = f"{many} payments" if many > 1 else facts.payment
    parts = int(facts.said.get("lines", 1))
    came = f"{facts.theirs} came in {parts} parts" if parts > 1 else f"{facts.theirs} came"
    head = f"{facts.sort}: {came} for {whose} of {facts.ours}, since {facts.since}"
    match facts.sort:
        case "OVERPAID":
            return (
                f"{head}: {facts.difference} too much. Match it, and give the rest back or keep it "
                "for the payer's next order."
            )
        case "FEE_LIKE":
            return (
                f"{head}: {facts.difference} less, which is what the fee would be. If it is the "
                "fee, match them."
            )
    return (
        f"{head}: {facts.difference} are missing. Ask the payer for the rest, or match it and "
        "write the difference off."
    )


def _fee_mismatch(facts: Facts) -> str:
    return (
        f"{facts.account} took a fee of {facts.theirs} on {facts.since}, and {facts.ours} was "
        "agreed. Compare it with the contract, and ask for the difference."
    )


def _currency_mismatch(facts: Facts) -> str:
    ours = Money(facts.said["ours"], facts.said["our_currency"])
    return (
        f"{facts.theirs} came in {facts.currency} on {facts.since} for {facts.payment} of {ours}. "
        "Nothing converts it by itself: ask the bank what it did, then match it by hand or give it "
        "back."
    )


def _duplicate(facts: Facts) -> str:
    match facts.sort:
        case "transaction":
            return (
                f"{facts.account} has {facts.theirs} twice under one transaction: on "
                f"{facts.said.get('other_date')} and on {facts.since}. Ask whether it moved twice; "
                "if it did, give the second one back."
            )
        case "attempts":
            return (
                f"{facts.theirs} was taken for {facts.payment} of {facts.ours}: the payer paid "
                "twice. Give one of the two back."
            )
        case "gateway":
            return (
                f"{facts.theirs} came into {facts.account} on {facts.since} for {facts.payment}, "
                "which was paid another way already. Give one of the two back."
            )
        case "open":
            return (
                f"{facts.theirs} came more than once into {facts.account} for {facts.payment} of "
                f"{facts.ours}, once more on {facts.since}. Match the right one, and "
                "give the other one back."
            )
    return (
        f"{facts.theirs} came again into {facts.account} on {facts.since} for {facts.payment} of "
        f"{facts.ours}, which was found already. Give the second one back."
    )


def _late(facts: Facts) -> str:
    if facts.sort == "ended":
        return (
            f"{facts.theirs} of {facts.payment} came after the payment had ended. Look whether the "
            "order still stands; if not, give the money back."
        )
    return (
        f"The {facts.ours} of {facts.payment}, paid on {facts.said.get('paid')}, came on "
        f"{facts.since}; it was due by {facts.said.get('latest')}. Nothing is missing: tell the "
        "provider if it happens often."
    )


def _ambiguous(facts: Facts) -> str:
    amount = facts.theirs if facts.actual is not None else facts.ours
    return (
        f"{amount} on {facts.since} in {facts.account} has more than one match that is as good as "
        "the other. Look at the candidates, and match it by hand."
    )


def _reversed(facts: Facts) -> str:
    whose = f"for {facts.payment}" if facts.reference else "without a payment of ours"
    return (
        f"Money of {facts.account} went back on {facts.since}, {whose}: {_went_back(facts)}. Hold "
        "back what was bought, and ask the payer to pay again."
    )


def _went_back(facts: Facts) -> str:
    return facts.theirs if facts.actual else facts.ours


def _chargeback(facts: Facts) -> str:
    whose = f" of {facts.payment}" if facts.reference else ""
    return (
        f"The payer's bank took {_went_back(facts)}{whose} back on {facts.since}. Open a case with "
        "the provider and send it your proofs before its deadline."
    )


def _balance_break(facts: Facts) -> str:
    match facts.sort:
        case "gap":
            return (
                f"The statement of {facts.account} of {facts.said.get('from')} ends with "
                f"{facts.ours}, and the next one, of {facts.said.get('to')}, begins with "
                f"{facts.theirs}: {facts.difference} in between. Import the statement of the days "
                "that are missing."
            )
        case "book":
            return (
                f"The books have {facts.theirs} in {facts.said.get('book')}, and its open items "
                f"come to {facts.ours}. Run the check of the books, and tell whoever runs the "
                "server."
            )
    return (
        f"The lines of the statement of {facts.account} of {facts.since} do not lead from its "
        "opening to its closing balance. Ask the bank for the whole file, and import that."
    )


def _stale_clearing(facts: Facts) -> str:
    return (
        f"{_known(facts)} is still on its way, and no statement has been imported that could show "
        "it. Import the statements of those days; then ask the provider."
    )


WORDS: Mapping[str, Callable[[Facts], str]] = MappingProxyType(
    {
        "MISSING_IN_BANK": _missing_in_bank,
        "MISSING_IN_SYSTEM": _missing_in_system,
        "MISSING_AT_PROVIDER": _missing_at_provider,
        "STATUS_MISMATCH": _status_mismatch,
        "AMOUNT_MISMATCH": _amount_mismatch,
        "FEE_MISMATCH": _fee_mismatch,
        "CURRENCY_MISMATCH": _currency_mismatch,
        "DUPLICATE": _duplicate,
        "LATE": _late,
        "AMBIGUOUS": _ambiguous,
        "REVERSED": _reversed,
        "CHARGEBACK": _chargeback,
        "BALANCE_BREAK": _balance_break,
        "STALE_CLEARING": _stale_clearing,
        "UNIDENTIFIED_DEBIT": _unidentified_debit,
    }
)
