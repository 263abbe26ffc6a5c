"""Money that came in and is nobody's yet: how much, since when, and giving it to its payment."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from dusangire import payments
from dusangire.access import Actor
from dusangire.books import items, periods
from dusangire.core import Core
from dusangire.database import Row, fetch, tx
from dusangire.errors import Conflict, IllegalState, NotFound, Retryable
from dusangire.importing import accounts
from dusangire.intake import ConfirmPayment
from dusangire.money import Money
from dusangire.permissions import Permission
from dusangire.reconciliation import decisions
from dusangire.reconciliation.decisions import MatchLines
from dusangire.reconciliation.settling import CLAIM
from dusangire.records import Match
from dusangire.text import clean

# Upper ends of the ages that are told apart, in days; what is older is in the last one.
AGES = (1, 3, 7, 30)
NAMES = ("0-1", "2-3", "4-7", "8-30", ">30")


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """How much is how old. days: such as `4-7`."""

    days: str
    count: int
    amount: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspense:
    """What came into an account and is explained by nothing yet. oldest_days: None: nothing is."""

    account: str
    count: int
    total: Money
    oldest_days: int | None
    ages: Sequence[Age]


_AGEING = """
SELECT width_bucket($2::date - booking_date, ARRAY[2, 4, 8, 31]) AS age, count(*) AS count,
    sum(amount)::bigint AS amount, max($2::date - booking_date) AS oldest
FROM statement_line
WHERE account_id = $1 AND status IN ('OPEN', 'SUGGESTED') AND direction = 'CREDIT'
    AND entry_status = 'BOOKED' AND currency = $3
GROUP BY 1"""


async def suspense(core: Core, actor: Actor, account: str) -> Suspense:
    """Raises Forbidden, NotFound."""
    actor.require(Permission.READ_STATEMENTS)
    found = await accounts.by_code(core, account)
    today = core.today()
    rows = await fetch(_AGEING, found.id, today, found.currency)
    by_age = {row["age"]: row for row in rows}
    return Suspense(
        account=found.code,
        count=sum(row["count"] for row in rows),
        total=Money(sum(row["amount"] for row in rows), found.currency),
        oldest_days=max((max(0, row["oldest"]) for row in rows), default=None),
        ages=[_age(name, by_age.get(age), found.currency) for age, name in enumerate(NAMES)],
    )


def _age(name: str, row: Row | None, currency: str) -> Age:
    count, amount = (row["count"], row["amount"]) if row else (0, 0)
    return Age(days=name, count=count, amount=Money(amount, currency))


# ── whose it is ──────────────────────────────────────────────────────────────────────────────────

_LINE = "SELECT * FROM statement_line WHERE id = $1"
_PAYMENT = "SELECT id, reference, amount, currency, captured FROM payment WHERE id = $1"
# One line pays for one payment, whoever says so first.
_CLAIMED = """SELECT payment_id FROM idempotency_key
WHERE scope = 'merchant' AND operation = 'attachLine' AND key = $1"""
_BOOKED = "SELECT 1 FROM clearing_item WHERE payment_id = $1 AND direction = 'CREDIT'"
_PATIENCE = 30


async def attach(core: Core, actor: Actor, line_id: UUID, payment_id: UUID, note: str) -> Match:
    """Says that a line is the money of a payment: a person's match, with the person's reason.

    A payment that waits for somebody to see its money is confirmed by it. A difference is treated
    as `decisions.match_lines` does. Raises Forbidden, NotFound, Invalid, IllegalState, Conflict;
    Retryable while the payment's money is being booked: then the same request again matches it.
    """
    actor.require(Permission.DECIDE_MATCHES)
    note = clean(note, "note", limit=500)
    lines, known = await fetch(_LINE, line_id), await fetch(_PAYMENT, payment_id)
    if not lines:
        raise NotFound("There is no such line.", field=["lineId"])
    if not known:
        raise NotFound("There is no such payment.", field=["paymentId"])
    if known[0]["captured"] == 0:
        await _confirm(core, actor, lines[0], known[0], note)
    await _until_booked(core, payment_id)
    wanted = MatchLines(line_ids=[line_id], payment_ids=[payment_id], note=note)
    return await decisions.match_lines(core, actor, wanted)


async def _confirm(core: Core, actor: Actor, line: Row, payment: Row, note: str) -> None:
    _check_enough(line, payment)
    async with tx():
        await periods.require_open(line["account_id"], line["booking_date"])
        await fetch(CLAIM, uuid4(), str(line["id"]), payment["id"])
        [claimed] = await fetch(_CLAIMED, str(line["id"]))
    if claimed["payment_id"] != payment["id"]:
        raise Conflict("Somebody gave this line to another payment already.")
    money = Money(payment["amount"], payment["currency"])
    await payments.confirm_payment(
        core,
        actor,
        ConfirmPayment(
            idempotency_key=f"line-{line['id']}",
            payment_id=payment["id"],
            amount=money.amount,
            currency=money.currency,
            evidence=f"statement line {line['id']} of {line['booking_date']}",
            note=note,
        ),
    )


def _check_enough(line: Row, payment: Row) -> None:
    if line["direction"] != "CREDIT" or line["entry_status"] != "BOOKED":
        raise IllegalState("Only money that came in pays for something.")
    if line["status"] not in {"OPEN", "SUGGESTED"}:
        raise IllegalState("This line is matched or set aside already.")
    if line["currency"] != payment["currency"]:
        raise IllegalState(
            f"The line is in {line['currency']}, and the payment in {payment['currency']}."
        )
    if line["amount"] < payment["amount"]:
        came, asked = (Money(row["amount"], row["currency"]) for row in (line, payment))
        raise IllegalState(
            f"{came} came, and the payment is of {asked}: it is not paid yet. Ask the payer for "
            "the rest, or make a payment of what came."
        )


async def _until_booked(core: Core, payment_id: UUID) -> None:
    for _ in range(_PATIENCE):
        while await items.collect(core):
            pass
        if await fetch(_BOOKED, payment_id):
            return
        await asyncio.sleep(0.1)
    raise Retryable(
        "The payment is confirmed, and its money is being booked. Send the same request again in a "
        "moment: then the line is matched."
    )
