"""What happened to a payment, in plain words: pure, one sentence for each thing that can happen."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from dusangire.lifecycle import AttemptStatus, AttentionReason, PaymentStatus, TransactionKind
from dusangire.money import Money
from dusangire.records import RefundStatus

Data: TypeAlias = Mapping[str, Any]
# Words with {names}; what is not known is left out, with the comma or bracket around it.
Words: TypeAlias = str | Callable[[Data], str]


def moment(source: str, word: str, data: Data) -> str:
    """A sentence for something that happened, of which `word` says what it was."""
    words = MOMENTS[source].get(word)
    if words is None:
        # From a newer version of ours: better its own name than nothing.
        return f"{word.replace('.', ': ').replace('_', ' ').capitalize()}."
    return words(data) if callable(words) else words


# ── what can happen ──────────────────────────────────────────────────────────────────────────────


def _money(data: Data, name: str = "amount") -> str:
    amount = data.get(name)
    return str(Money(amount, data["currency"])) if amount is not None else "the amount"


def _refund(data: Data) -> str:
    return f"refund {data.get('refund', '')} of {_money(data, 'refund_amount')}"


def _document(data: Data) -> str:
    kind = "credit note" if data.get("invoice_kind") == "CREDIT_NOTE" else "invoice"
    return f"{kind} {data['invoice']}" if data.get("invoice") else kind


def _because(data: Data, name: str) -> str:
    return f": {str(data[name]).rstrip('.')}" if data.get(name) else ""


def _outcome(data: Data) -> str:
    """What was heard, where it says more than the state that follows from it."""
    plain = {None, "", "pending", "succeeded", "succeeded (known already)"}
    return "" if data.get("outcome") in plain else f" ({data['outcome']})"


ACTIONS: Mapping[str, Words] = MappingProxyType(
    {
        "payment.created": lambda d: f"The payment of {_money(d)} was created.",
        "payment.attempted": lambda d: "Another try was begun.",
        "payment.pending": lambda d: f"The payment now waits for the payer{_outcome(d)}.",
        "payment.succeeded": lambda d: f"The payment succeeded{_outcome(d)}.",
        "payment.failed": lambda d: f"The payment failed{_outcome(d)}.",
        "payment.expired": lambda d: "The time to pay was over.",
        "payment.cancelled": lambda d: f"The payment was cancelled{_because(d, 'reason')}.",
        "payment.refunded": lambda d: "Everything was given back.",
        "payment.partially_refunded": lambda d: "A part was given back.",
        "payment.updated": lambda d: f"Something about the payment changed{_outcome(d)}.",
        "payment.reconciled": lambda d: "It was looked for on the statements.",
        "refund.requested": lambda d: f"The {_refund(d)} was asked for{_because(d, 'reason')}.",
        "refund.approved": lambda d: f"The {_refund(d)} was approved.",
        "refund.approvals_voided": lambda d: (
            f"The approvals of the {_refund(d)} do not count any more: it needs new ones."
        ),
        "refund.rejected": lambda d: f"The {_refund(d)} was refused{_because(d, 'note')}.",
        "refund.processing": lambda d: f"The {_refund(d)} is being given back.",
        "refund.unknown": lambda d: f"Nobody knows yet whether the {_refund(d)} was given back.",
        "refund.succeeded": lambda d: f"The {_refund(d)} was given back{_outcome(d)}.",
        "refund.failed": lambda d: f"The {_refund(d)} could not be given back{_outcome(d)}.",
        "refund.cancelled": lambda d: f"The {_refund(d)} was withdrawn.",
        "invoice.drafted": lambda d: f"The {_document(d)} was drafted.",
        "invoice.issued": lambda d: f"The {_document(d)} was issued.",
        "invoice.paid": lambda d: f"The {_document(d)} is paid.",
        "invoice.voided": lambda d: f"The {_document(d)} was made void{_because(d, 'reason')}.",
        "fiscal_receipt.sending": lambda d: (
            f"The receipt of the {_document(d)} goes to the tax authority's device."
        ),
        "fiscal_receipt.signed": lambda d: (
            f"The tax authority's device signed the receipt of the {_document(d)}."
        ),
        "fiscal_receipt.completed": lambda d: (
            f"The receipt of the {_document(d)} was completed by hand."
        ),
        "fiscal_receipt.retried": lambda d: (
            f"The receipt of the {_document(d)} was sent on its way again."
        ),
        "customer.revealed": lambda d: (
            f"The customer's number and address were looked at{_because(d, 'reason')}."
        ),
    }
)

_NUMBER = ("", "The first", "The second", "The third", "The fourth", "The fifth")


def _try(data: Data) -> str:
    number = data.get("number", 0)
    name = _NUMBER[number] if number < len(_NUMBER) else f"The {number}th"
    return f"{name} try, by {data['gateway']},"


def _failure(data: Data) -> str:
    failure = data.get("failure") or {}
    said = f" ({data['gateway']} says {failure['gateway_code']})" if _code(failure) else ""
    return f": {str(failure['message']).rstrip('.')}{said}" if failure.get("message") else ""


def _code(failure: Data) -> bool:
    return bool(failure.get("gateway_code"))


def _transaction(data: Data) -> str:
    found = data.get("gateway_transaction_id")
    return f", as {data['gateway']}'s transaction {found}" if found else ""


ATTEMPTS: Mapping[str, Words] = MappingProxyType(
    {
        "BEGAN": lambda d: f"{_try(d)} was written down, to be sent as {d.get('reference', '')}.",
        AttemptStatus.SUBMITTING: lambda d: f"{_try(d)} is being sent.",
        AttemptStatus.PENDING: lambda d: f"{_try(d)} waits for the payer.",
        AttemptStatus.UNKNOWN: lambda d: f"{_try(d)} may or may not have arrived.",
        AttemptStatus.SUCCEEDED: lambda d: f"{_try(d)} was paid{_transaction(d)}.",
        AttemptStatus.FAILED: lambda d: f"{_try(d)} failed{_failure(d)}.",
        AttemptStatus.EXPIRED: lambda d: f"{_try(d)} ended: the time to pay was over.",
        AttemptStatus.CANCELLED: lambda d: f"{_try(d)} was cancelled{_failure(d)}.",
        AttemptStatus.REVERSED: lambda d: f"{_try(d)} was paid, and taken back by the gateway.",
    }
)


def _answer(data: Data) -> str:
    """What a gateway answered, as we understood it, and how long it took."""
    facts = [
        f"HTTP {data['http_status']}" if data.get("http_status") else "",
        str(data["error_code"]) if data.get("error_code") else "",
        f"{data['duration_ms']} ms" if data.get("duration_ms") is not None else "",
    ]
    told = ", ".join(fact for fact in facts if fact)
    said = f"“{data.get('outcome', '')}”" + (f" ({told})" if told else "")
    return said + _because(data, "error_message")


EXCHANGES: Mapping[str, Words] = MappingProxyType(
    {
        TransactionKind.INITIATE: lambda d: (
            f"{d['gateway']} was asked to take the payment: {_answer(d)}."
        ),
        TransactionKind.STATUS_CHECK: lambda d: (
            f"{d['gateway']} was asked how the payment stands: {_answer(d)}."
        ),
        TransactionKind.CALLBACK: lambda d: f"{d['gateway']} told how it stands: {_answer(d)}.",
        TransactionKind.REFUND: lambda d: (
            f"{d['gateway']} was asked to give money back: {_answer(d)}."
        ),
        TransactionKind.REFUND_STATUS: lambda d: (
            f"{d['gateway']} was asked how the refund stands: {_answer(d)}."
        ),
        TransactionKind.CANCEL: lambda d: (
            f"{d['gateway']} was asked to withdraw the request: {_answer(d)}."
        ),
        TransactionKind.STATEMENT: lambda d: f"A statement told how it stands: {_answer(d)}.",
        TransactionKind.MANUAL: lambda d: f"A person told how it stands: {_answer(d)}.",
    }
)


def _heard(data: Data) -> str:
    ends = {
        "RECEIVED": "it waits to be worked on",
        "DONE": "it was worked on",
        "ORPHAN": "it belongs to no payment",
        "DEAD": "it was given up",
    }
    told = ends.get(str(data.get("status")), "")
    repeated = data.get("repeated") or 0
    again = f", {repeated} more times" if repeated > 1 else ", once more" if repeated else ""
    error = f" ({data['error']})" if data.get("error") else ""
    return f"{again}; {told}{error}" if told else again


WEBHOOKS: Mapping[str, Words] = MappingProxyType(
    {
        "SIGNED": lambda d: f"{d['gateway']} sent a signed message{_heard(d)}.",
        "SHARED_SECRET": lambda d: (
            f"{d['gateway']} sent a message with the shared secret{_heard(d)}."
        ),
        "UNSIGNED": lambda d: (
            f"{d['gateway']} sent a message that anybody could send, so it was asked{_heard(d)}."
        ),
        "UNREAD": lambda d: f"{d['gateway']} sent a message that could not be read{_heard(d)}.",
    }
)

APPROVALS: Mapping[str, Words] = MappingProxyType(
    {
        "APPROVED": lambda d: (
            f"Said yes to the {_refund(d)}{_because(d, 'note')}"
            + (" (does not count any more)." if d.get("voided_at") else ".")
        )
    }
)


def _problem(data: Data) -> str:
    error = data.get("error")
    words = error.get("message") or error.get("code") if isinstance(error, Mapping) else error
    return f": {str(words).rstrip('.')}" if words else ""


def _next(data: Data) -> str:
    return f"; the next try is at {data['next_try_at'][:19]}" if data.get("next_try_at") else ""


RECEIPTS: Mapping[str, Words] = MappingProxyType(
    {
        "QUEUED": lambda d: f"The receipt of {_document(d)} waits for its turn at the device.",
        "SENDING": lambda d: f"The receipt of {_document(d)} is at the tax authority's device.",
        "SIGNED": lambda d: (
            f"The receipt of {_document(d)} has number {d.get('receipt_number', '')}"
            f" of device {d.get('sdc_id', '')}."
        ),
        "REJECTED": lambda d: (
            f"The tax authority's device refused the receipt of {_document(d)}{_problem(d)}."
        ),
        "UNKNOWN": lambda d: (
            f"Nobody knows whether the device has the receipt of {_document(d)}{_problem(d)}."
        ),
        "NEEDS_RECEIPT": lambda d: (
            f"The device has {_document(d)}, but its receipt is missing: a person enters it."
        ),
    }
)


def _shop(data: Data) -> str:
    return f"“{data.get('type', '')}” to {urlsplit(str(data.get('url', ''))).hostname or 'you'}"


DELIVERIES: Mapping[str, Words] = MappingProxyType(
    {
        "DELIVERED": lambda d: f"{_shop(d)} was delivered ({_reached(d)}).",
        "TRIED": lambda d: f"{_shop(d)} was not delivered ({_reached(d)}){_problem(d)}.",
        "PENDING": lambda d: f"{_shop(d)} is to be delivered{_next(d)}.",
        "FAILED": lambda d: f"{_shop(d)} was given up after {d.get('tries')} tries{_problem(d)}.",
        "CANCELLED": lambda d: f"{_shop(d)} is not delivered: its endpoint is off.",
    }
)


def _reached(data: Data) -> str:
    status = data.get("http_status")
    return f"try {data.get('number')}, " + (f"HTTP {status}" if status else "no answer")


def _message(data: Data) -> str:
    notice = str(data.get("notice", "")).replace(".", ": ").replace("_", " ").lower()
    return f"The message “{notice}” to {data.get('to', 'somebody')} by {data.get('channel', '')}"


NOTIFICATIONS: Mapping[str, Words] = MappingProxyType(
    {
        "WAITING": lambda d: f"{_message(d)} waits to be sent{_next(d)}.",
        "SENDING": lambda d: f"{_message(d)} is being sent.",
        "SENT": lambda d: f"{_message(d)} was sent.",
        "UNKNOWN": lambda d: f"{_message(d)} may or may not have arrived{_because(d, 'cause')}.",
        "FAILED": lambda d: f"{_message(d)} could not be sent{_because(d, 'cause')}.",
    }
)

RECONCILIATIONS: Mapping[str, Words] = MappingProxyType(
    {
        "MATCHED": "All of its money was found on a statement.",
        "DISCREPANCY": "It does not agree with a statement: a person must look at it.",
        "NOT_RECONCILED": "Its money is not, or not any more, found on a statement.",
    }
)

MOMENTS: Mapping[str, Mapping[str, Words]] = MappingProxyType(
    {
        "action": ACTIONS,
        "attempt": ATTEMPTS,
        "exchange": EXCHANGES,
        "webhook": WEBHOOKS,
        "approval": APPROVALS,
        "receipt": RECEIPTS,
        "delivery": DELIVERIES,
        "notification": NOTIFICATIONS,
        "reconciliation": RECONCILIATIONS,
    }
)

# ── how it stands ────────────────────────────────────────────────────────────────────────────────


def headline(now: Data, *, at: datetime, zone: tzinfo = UTC) -> tuple[str, datetime | None]:
    """What the state is, why, and what comes next; and when something happens by itself.

    now: the payment as it is stored, with its last attempt, refunds and what is under way.
    at: the present, by the clock of the database.
    """
    told = _Telling(now, at, zone)
    parts = [told.payment(), *told.refunds(), *told.attention(), *told.others()]
    return " ".join(parts), min(told.due, default=None)


ATTENTION: Mapping[AttentionReason, str] = MappingProxyType(
    {
        AttentionReason.OUTCOME_UNKNOWN: (
            "The gateway never said how it ended: a person must find out."
        ),
        AttentionReason.LATE_SUCCESS: (
            "It was paid after it had ended: look whether the order still stands."
        ),
        AttentionReason.AMOUNT_MISMATCH: (
            "The gateway named another amount: a person must look at it."
        ),
        AttentionReason.DUPLICATE_CAPTURE: (
            "The payer paid twice: one of the two has to be given back."
        ),
        AttentionReason.REVERSED_BY_GATEWAY: (
            "The gateway took the money back after it had said yes."
        ),
        AttentionReason.REFUND_UNKNOWN: (
            "Nobody knows whether a refund arrived: a person must find out."
        ),
        AttentionReason.UNMAPPED_STATUS: ("The gateway used a word that its plugin does not know."),
    }
)


class _Telling:
    """The sentences of one headline. due: when something happens by itself."""

    def __init__(self, now: Data, at: datetime, zone: tzinfo) -> None:
        self._now, self._at, self._zone = now, at, zone
        self._attempt: Data = now.get("attempt") or {}
        self.due: list[datetime] = []

    # the payment

    def payment(self) -> str:
        status = PaymentStatus(self._now["status"])
        return f"{status}: {PAYMENTS[status](self)}"

    def created(self) -> str:
        if self._attempt:
            return self.open_attempt()
        return f"nobody has chosen a way to pay yet.{self._until()}"

    def open_attempt(self) -> str:
        """How the last attempt stands, and what is done about it."""
        if not self._attempt or self._attempt["status"] not in OPEN_ATTEMPTS:
            return f"the last try ended, and the next one has not begun.{self._until()}"
        words = OPEN_ATTEMPTS[AttemptStatus(self._attempt["status"])]
        if self._attempt.get("resend"):
            words = "the request never reached {gateway}, so it is sent again{when}."
            return words.format(gateway=self._gateway, when=self._when(self._attempt, "at"))
        return words.format(gateway=self._gateway) + self._asking() + self._then()

    def succeeded(self) -> str:
        moment = self._moment(self._now.get("completed_at"))
        when = f" at {self._clock(moment)}" if moment else ""
        return f"{self._gateway} confirmed {self._sum('captured')}{when}."

    def partly_refunded(self) -> str:
        return f"{self._sum('refunded')} of {self._sum('captured')} was given back."

    def refunded(self) -> str:
        return f"{self._sum('refunded')} was given back: all that was paid."

    def failed(self) -> str:
        failure = self._now.get("failure") or {}
        why = str(failure.get("message") or "the gateway refused").rstrip(".")
        code = failure.get("gateway_code")
        said = f" ({self._gateway} says {code})" if code else ""
        return f"{why}{said}. The payer may try again.{self._until()}" + self._late()

    def expired(self) -> str:
        moment = self._moment(self._now.get("expires_at"))
        when = f" before {self._clock(moment)}" if moment else " in time"
        return f"nobody paid{when}." + self._late()

    def cancelled(self) -> str:
        failure = self._now.get("failure") or {}
        return f"{str(failure.get('message') or 'it was withdrawn').rstrip('.')}." + self._late()

    # the rest

    def refunds(self) -> list[str]:
        told = []
        for refund in self._now.get("refunds") or ():
            words = REFUNDS[RefundStatus(refund["status"])](self, refund)
            if words:
                amount = Money(refund["amount"], refund["currency"])
                told.append(f"Refund {refund['reference']} of {amount} {words}")
        return told

    def requested(self, refund: Data) -> str:
        needed, given = refund.get("approvals_needed", 1), refund.get("approvals", 0)
        who = "a second approver" if given else "another person to approve it"
        return f"waits for {who} ({given} of {needed} said yes)."

    def processing(self, refund: Data) -> str:
        if refund.get("by_hand"):
            return "is approved: a person gives it back, and settles it with evidence."
        return f"is at {refund.get('gateway')}{self._when(refund, '; the next question is at')}."

    def unknown(self, refund: Data) -> str:
        asked = self._when(refund, "; the next question is at")
        end = asked or "; a person finds out, and settles it with evidence"
        return (
            f"may or may not have arrived at {refund.get('gateway')}, so it is not sent again{end}."
        )

    def refund_failed(self, refund: Data) -> str:
        failure = refund.get("failure") or {}
        why = str(failure.get("message") or "the gateway refused").rstrip(".")
        return f"failed: {why}. The money is still here; ask for it anew if it is still wanted."

    def attention(self) -> list[str]:
        return [ATTENTION[AttentionReason(word)] for word in self._now.get("needs_attention") or ()]

    def others(self) -> list[str]:
        told = []
        for receipt in self._now.get("receipts") or ():
            told.append(moment("receipt", receipt["status"], receipt))
            if receipt["status"] in {"QUEUED", "SENDING"}:
                self._when(receipt, "", "next_try_at")
        for delivery in self._now.get("deliveries") or ():
            again = self._when(delivery, "; the next try is at", "next_try_at")
            told.append(f"{_shop(delivery)} failed {_times(delivery['tries'])}{again}.")
        return told

    # small words

    @property
    def _gateway(self) -> str:
        return str(self._attempt.get("gateway") or "the gateway")

    def _sum(self, name: str) -> str:
        return str(Money(self._now[name], self._now["currency"]))

    def _asking(self) -> str:
        asked, last = self._now.get("asked") or 0, self._now.get("last_exchange") or {}
        moment = self._moment(last.get("at"))
        if moment is None:
            return ""
        ago = _ago((self._at - moment).total_seconds())
        said = f"“{last.get('outcome')}”"
        if not asked:
            return f" It answered {said} {ago}."
        return f" It was asked {_times(asked)}, last {ago}: {said}."

    def _then(self) -> str:
        told = self._when(self._attempt, " The next question is at")
        if told:
            return f"{told}."
        if self._attempt.get("lease_until"):
            return " Somebody is asking right now."
        return " Nothing more happens by itself: a person says how it ended." + self._until()

    def _late(self) -> str:
        told = self._when(
            self._attempt, " A payment that comes late is still taken: asked again at"
        )
        return f"{told}." if told else ""

    def _until(self) -> str:
        moment = self._moment(self._now.get("expires_at"))
        if moment is None or moment < self._at:
            return ""
        self.due.append(moment)
        return f" It can be paid until {self._clock(moment)}."

    def _when(self, row: Data, words: str, name: str = "next_check_at") -> str:
        """`words` and when the row is due; nothing if it is not. What is overdue is due now."""
        moment = self._moment(row.get(name))
        if moment is None:
            return ""
        self.due.append(max(moment, self._at))
        clock = "once, as soon as a worker has time" if moment <= self._at else self._clock(moment)
        return f"{words} {clock}" if words.startswith((" ", ";")) else f" {words} {clock}"

    def _moment(self, text: str | None) -> datetime | None:
        return datetime.fromisoformat(text) if text else None

    def _clock(self, moment: datetime) -> str:
        local, today = moment.astimezone(self._zone), self._at.astimezone(self._zone)
        day = "" if local.date() == today.date() else f"{local:%Y-%m-%d} "
        return f"{day}{local:%H:%M:%S}" + (" UTC" if self._zone is UTC else "")


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _ago(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name} ago"
    return f"{max(0, int(seconds))} s ago"


OPEN_ATTEMPTS: Mapping[AttemptStatus, str] = MappingProxyType(
    {
        AttemptStatus.SUBMITTING: "the request is on its way to {gateway}.",
        AttemptStatus.PENDING: "{gateway} has the request, and the payer has not answered yet.",
        AttemptStatus.UNKNOWN: (
            "nobody knows whether the request reached {gateway}, so it is asked, and nothing is "
            "sent again."
        ),
    }
)
PAYMENTS: Mapping[PaymentStatus, Callable[[_Telling], str]] = MappingProxyType(
    {
        PaymentStatus.CREATED: _Telling.created,
        PaymentStatus.PENDING: _Telling.open_attempt,
        PaymentStatus.SUCCEEDED: _Telling.succeeded,
        PaymentStatus.PARTIALLY_REFUNDED: _Telling.partly_refunded,
        PaymentStatus.REFUNDED: _Telling.refunded,
        PaymentStatus.FAILED: _Telling.failed,
        PaymentStatus.EXPIRED: _Telling.expired,
        PaymentStatus.CANCELLED: _Telling.cancelled,
    }
)
REFUNDS: Mapping[RefundStatus, Callable[[_Telling, Data], str]] = MappingProxyType(
    {
        RefundStatus.REQUESTED: _Telling.requested,
        RefundStatus.PROCESSING: _Telling.processing,
        RefundStatus.UNKNOWN: _Telling.unknown,
        RefundStatus.FAILED: _Telling.refund_failed,
        # Over: the list says what became of them.
        RefundStatus.SUCCEEDED: lambda _telling, _refund: "",
        RefundStatus.REJECTED: lambda _telling, _refund: "",
        RefundStatus.CANCELLED: lambda _telling, _refund: "",
    }
)
