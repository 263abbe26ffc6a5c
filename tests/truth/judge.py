"""Compares what was found with what is true: matches, faults, and the books."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from tests.truth.known import Fault, Line, Month

_LINES = """SELECT l.id, a.code AS account, l.booking_date AS day, l.amount, l.direction, l.status,
    coalesce(l.transaction_id, l.bank_reference, l.customer_reference, '') AS mark, l.narration
FROM statement_line l JOIN statement_account a ON a.id = l.account_id"""
_ITEMS = """SELECT i.id, i.kind, i.settlement, p.reference AS payment, r.reference AS refund,
    coalesce(t.number, 1) AS attempt, i.status, i.amount, i.direction
FROM clearing_item i LEFT JOIN payment p ON p.id = i.payment_id
LEFT JOIN refund r ON r.id = i.refund_id LEFT JOIN payment_attempt t ON t.id = i.attempt_id"""
_MATCHES = """SELECT m.id, m.status, m.rule, m.confidence, m.fee, m.difference,
    array_remove(array_agg(g.line_id), NULL) AS lines,
    array_remove(array_agg(g.item_id), NULL) AS items
FROM recon_match m JOIN match_leg g ON g.match_id = m.id
WHERE m.status IN ('CONFIRMED', 'SUGGESTED') GROUP BY m.id"""
_FOUND = """SELECT d.kind, d.key, d.status, p.reference AS payment, d.line_id, i.settlement,
    a.code AS account, d.message, d.candidates
FROM discrepancy d JOIN statement_account a ON a.id = d.account_id
LEFT JOIN payment p ON p.id = d.payment_id LEFT JOIN clearing_item i ON i.id = d.item_id
WHERE d.status = 'OPEN'"""
_PAYMENTS = "SELECT reference AS name, status FROM payment"
# Money that an account says is on its way, and what is really open, where the two differ.
_CLEARING_BREAKS = """
WITH open AS (
    SELECT book, currency, sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END) AS open
    FROM clearing_item WHERE status = 'OPEN' GROUP BY book, currency
), kept AS (
    SELECT account AS book, currency, debits - credits AS balance FROM ledger_balance
    WHERE account LIKE 'clearing:%' OR account LIKE 'in\\_transit:%'
)
SELECT book, currency, coalesce(balance, 0) AS balance, coalesce(open, 0) AS open
FROM kept FULL JOIN open USING (book, currency)
WHERE coalesce(balance, 0) <> coalesce(open, 0)"""
_SUSPENSE_BREAKS = """
WITH open AS (
    SELECT 'suspense:' || a.code AS account, l.currency,
        sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END) AS open
    FROM statement_line l JOIN statement_account a ON a.id = l.account_id
    WHERE l.entry_status = 'BOOKED' AND l.posted AND l.status IN ('OPEN', 'SUGGESTED')
    GROUP BY 1, 2
), kept AS (
    SELECT account, currency, credits - debits AS balance FROM ledger_balance
    WHERE account LIKE 'suspense:%'
)
SELECT account, currency, coalesce(balance, 0) AS balance, coalesce(open, 0) AS open
FROM kept FULL JOIN open USING (account, currency)
WHERE coalesce(balance, 0) <> coalesce(open, 0)"""
_BANK_BREAKS = """
WITH booked AS (
    SELECT CASE a.kind WHEN 'SETTLEMENT' THEN NULL ELSE 'bank:' || a.code END AS account,
        l.currency, sum(CASE direction WHEN 'CREDIT' THEN amount ELSE -amount END) AS booked
    FROM statement_line l JOIN statement_account a ON a.id = l.account_id
    WHERE l.entry_status = 'BOOKED' AND l.posted GROUP BY 1, 2
), kept AS (
    SELECT account, currency, debits - credits AS balance FROM ledger_balance
    WHERE account LIKE 'bank:%'
)
SELECT account, currency, balance, booked FROM kept JOIN booked USING (account, currency)
WHERE balance <> booked"""


@dataclass(slots=True)
class Verdict:
    """What a run came to.

    false: confirmed matches that are not true, in words. missed: lines that a reference survived
    on, and that were not matched. lost: lines that are not there, or not as often, and payments
    that became something else. unclassed: faults that are not told of in their class, once.
    unexplained: discrepancies that nothing put in explains. breaks: books that do not tie. state:
    everything found, in words that two runs can share.
    """

    confirmed: int = 0
    suggested: int = 0
    suggested_truly: int = 0
    false: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    sure: int = 0
    lost: list[str] = field(default_factory=list)
    unclassed: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    state: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return 1 - len(self.missed) / self.sure if self.sure else 1.0

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be, in words."""
        parts = {
            "FALSE": self.false,
            "LOST": self.lost,
            "UNCLASSED": self.unclassed,
            "UNEXPLAINED": self.unexplained,
            "BROKEN": self.breaks,
        }
        return [f"{title} {text}" for title, found in parts.items() for text in found]


Row = Mapping[str, Any]


async def judge(url: str, month: Month) -> Verdict:
    """Reads everything and compares it with the month."""
    connection = await asyncpg.connect(url)
    try:
        read = [
            [dict(row) for row in await connection.fetch(statement)]
            for statement in (_LINES, _ITEMS, _MATCHES, _FOUND, _PAYMENTS)
        ]
        breaks = [
            f"{dict(row)}"
            for statement in (_CLEARING_BREAKS, _SUSPENSE_BREAKS, _BANK_BREAKS)
            for row in await connection.fetch(statement)
        ]
    finally:
        await connection.close()
    lines, items, matches, found, payments = read
    about = _About(month, lines, items)
    verdict = Verdict(breaks=breaks, lost=[*about.lost, *_other_states(month, payments)])
    _compare_matches(verdict, about, matches)
    _compare_faults(verdict, about, month, found)
    verdict.state.sort()
    return verdict


class _About:
    """What each row of the database is, by the month's names."""

    def __init__(self, month: Month, lines: Sequence[Row], items: Sequence[Row]) -> None:
        truth = _known(month)
        self.lines = {row["id"]: row for row in lines}
        self.truth = {row["id"]: truth.get(_key(row)) for row in lines}
        self.items = {row["id"]: row for row in items}
        self.names = {row["id"]: _name(row) for row in items}
        # Each line of the files once, and no other.
        there = Counter(_key(row) for row in lines)
        written = Counter(_key_of(a, line) for a, some in month.lines.items() for line in some)
        self.lost = [
            f"{key} is there {there[key]} times instead of {written[key]}"
            for key in sorted(there.keys() | written.keys(), key=str)
            if there[key] != written[key]
        ]
        self.faulty = {fault.payment for fault in month.faults if fault.payment}

    def shown(self, line_ids: Iterable[Any]) -> str:
        rows = [self.lines[line_id] for line_id in line_ids]
        return " + ".join(sorted(f"{row['account']}:{row['mark']}" for row in rows))


def _other_states(month: Month, payments: Sequence[Row]) -> list[str]:
    """Payments that are not what they have to be once all statements are there."""
    settled = {
        name
        for line in month.lines.get("bank", [])
        if line.sure and line.amount > 0
        for name in line.truth
    }
    status = {row["name"]: row["status"] for row in payments}
    wrong = []
    for paid in month.payments:
        should = paid.status
        if paid.name in settled and should in {"PENDING", "CANCELLED"}:
            should = "SUCCEEDED"
        if paid.refunded:
            should = "REFUNDED" if paid.refunded == paid.amount else "PARTIALLY_REFUNDED"
        if status.get(paid.name) != should:
            wrong.append(f"{paid.name} is {status.get(paid.name)} and should be {should}")
    return wrong


def _compare_matches(verdict: Verdict, about: _About, matches: Sequence[Row]) -> None:
    matched = set()
    for match in matches:
        said = sorted(about.names[item] for item in match["items"])
        shown = about.shown(match["lines"])
        verdict.state.append(f"{match['status']} {match['rule']}: {shown} = {', '.join(said)}")
        true = _is_true(about, match, said)
        if match["status"] == "SUGGESTED":
            verdict.suggested += 1
            verdict.suggested_truly += true
            continue
        verdict.confirmed += 1
        verdict.rules[match["rule"]] += 1
        matched |= set(match["lines"])
        if not true:
            verdict.false.append(
                f"{match['rule']} ({match['confidence']}): {shown} is not {', '.join(said)}"
            )
    for line_id, row in about.lines.items():
        line = about.truth[line_id]
        if line is not None and line.sure:
            verdict.sure += 1
            if line_id not in matched:
                verdict.missed.append(
                    f"{row['account']}:{row['mark']} {row['amount']} {row['narration']!r} "
                    f"is {', '.join(sorted(line.truth))} ({row['status']})"
                )


def _is_true(about: _About, match: Row, said: list[str]) -> bool:
    lines = [about.truth[line_id] for line_id in match["lines"]]
    known = [line for line in lines if line is not None]
    if not known or len(known) < len(lines) or not all(line.truth for line in known):
        return False
    truths = [line.truth for line in known]
    came = sum(map(_signed, (about.lines[line_id] for line_id in match["lines"])))
    if said:
        # Each line is about what it was matched with, all of that is in it, and it is as much: but
        # for the fee that the statement itself tells of.
        asked = sum(map(_signed, (about.items[item_id] for item_id in match["items"])))
        fees = sum(line.fee or 0 for line in known)
        return (
            set().union(*truths) == set(said)
            and len(said) == len(set(said))
            and match["difference"] == 0
            and match["fee"] in {0, fees}
            and came == asked - match["fee"]
        )
    if len(lines) == 1:
        return all(name.startswith(("charge ", "payout ")) for name in truths[0])
    # Lines alone: one takes the other back.
    return len(set(truths)) == 1 and came == 0


def _signed(row: Row) -> int:
    return int(row["amount"] if row["direction"] == "CREDIT" else -row["amount"])


def _compare_faults(verdict: Verdict, about: _About, month: Month, found: Sequence[Row]) -> None:
    faults = _Faults(about, month.faults)
    told: Counter[int] = Counter()
    others: dict[int, set[str]] = defaultdict(set)
    for row in found:
        verdict.kinds[row["kind"]] += 1
        verdict.state.append(f"{row['kind']} {row['account']} {row['payment']}")
        near = faults.near(row)
        of_kind = [n for n in near if month.faults[n].kind == row["kind"]]
        # One discrepancy tells of one fault; of two, the one that nothing told of yet.
        for n in sorted(of_kind, key=lambda n: told[n])[:1]:
            told[n] += 1
        for n in near:
            others[n].add(row["kind"])
        if not of_kind and not _may_be(about, row):
            names = sorted({month.faults[n].name for n in near}) or ["nothing"]
            verdict.unexplained.append(f"{row['message']} ({row['kind']}; near {names})")
    for n, fault in enumerate(month.faults):
        if told[n] != (0 if fault.kind is None else 1):
            verdict.unclassed.append(
                f"{fault.name} ({fault.payment or fault.mark or fault.account}) is {fault.kind} "
                f"{told[n]} times; {', '.join(sorted(others[n])) or 'nothing'}"
            )


class _Faults:
    """The faults that a discrepancy is about: the same payment, line, payout, or account."""

    def __init__(self, about: _About, faults: list[Fault]) -> None:
        self.about = about
        self.by_payment: dict[str, list[int]] = defaultdict(list)
        self.by_mark: dict[str, list[int]] = defaultdict(list)
        self.by_account: dict[str, list[int]] = defaultdict(list)
        for n, fault in enumerate(faults):
            if fault.payment:
                self.by_payment[fault.payment].append(n)
            if fault.mark:
                self.by_mark[fault.mark].append(n)
            if not fault.payment and not fault.mark:
                self.by_account[fault.account].append(n)

    def near(self, row: Row) -> list[int]:
        found = set(self.by_payment.get(row["payment"] or "", ()))
        found |= set(self.by_mark.get(row["settlement"] or "", ()))
        if row["line_id"]:
            found |= set(self.by_mark.get(self.about.lines[row["line_id"]]["mark"], ()))
            line = self.about.truth[row["line_id"]]
            for name in line.truth if line else ():
                found |= set(self.by_payment.get(name, ()))
                found |= set(self.by_mark.get(name.removeprefix("payout "), ()))
        if not (row["payment"] or row["line_id"] or row["settlement"]):
            found |= set(self.by_account.get(row["account"], ()))
        return sorted(found)


def _may_be(about: _About, row: Row) -> bool:
    """Whether a reference that was lost explains this: a person has to pick, and can pick truly."""
    line = about.truth.get(row["line_id"])
    if row["kind"] != "AMBIGUOUS" or line is None or line.sure or not line.truth:
        return False
    candidates = json.loads(row["candidates"])
    named = {one["payment"] or f"payout {one['settlement']}" for one in candidates}
    return bool(named & line.truth)


def _known(month: Month) -> dict[tuple[Any, ...], Line]:
    return {_key_of(a, line): line for a, lines in month.lines.items() for line in lines}


def _key_of(account: str, line: Line) -> tuple[Any, ...]:
    return (account, line.day, abs(line.amount), line.amount > 0, line.mark)


def _key(row: Row) -> tuple[Any, ...]:
    credit = row["direction"] == "CREDIT"
    return (row["account"], row["day"], row["amount"], credit, row["mark"])


def _name(row: Row) -> str:
    match row["kind"]:
        case "PAYMENT":
            return f"{row['payment']} again" if row["attempt"] == 2 else str(row["payment"])
        case "REFUND":
            return str(row["refund"])
        case "PAYOUT":
            return f"payout {row['settlement']}"
        case kind:
            return f"{kind} {row['payment']}"
