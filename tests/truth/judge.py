"""Compares what was found with what is true: matches, faults, and the books."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from tests.truth.known import Fault, Line, Month

_LINES = """SELECT l.id, a.code AS account, l.booking_date AS day, l.amount, l.direction, l.status,
    coalesce(l.transaction_id, l.bank_reference, l.customer_reference, '') AS mark, l.narration
FROM statement_line l JOIN statement_account a ON a.id = l.account_id"""
_ITEMS = """SELECT i.id, i.kind, i.settlement, p.reference AS payment, r.reference AS refund,
    coalesce(t.number, 1) AS attempt, i.status, i.amount
FROM clearing_item i LEFT JOIN payment p ON p.id = i.payment_id
LEFT JOIN refund r ON r.id = i.refund_id LEFT JOIN payment_attempt t ON t.id = i.attempt_id"""
_MATCHES = """SELECT m.id, m.status, m.rule, m.confidence, m.difference,
    array_remove(array_agg(g.line_id), NULL) AS lines,
    array_remove(array_agg(g.item_id), NULL) AS items
FROM recon_match m JOIN match_leg g ON g.match_id = m.id
WHERE m.status IN ('CONFIRMED', 'SUGGESTED') GROUP BY m.id"""
_FOUND = """SELECT d.kind, d.key, d.status, p.reference AS payment, d.line_id, i.settlement,
    a.code AS account, d.message
FROM discrepancy d JOIN statement_account a ON a.id = d.account_id
LEFT JOIN payment p ON p.id = d.payment_id LEFT JOIN clearing_item i ON i.id = d.item_id
WHERE d.status = 'OPEN'"""
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
    on, and that were not matched. unclassed: faults that no open discrepancy of their class tells
    of. breaks: books that do not tie. state: everything found, in words that two runs can share.
    """

    confirmed: int = 0
    suggested: int = 0
    false: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    sure: int = 0
    unclassed: list[str] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    state: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return 1 - len(self.missed) / self.sure if self.sure else 1.0


Row = Mapping[str, Any]


async def judge(url: str, month: Month) -> Verdict:
    """Reads everything and compares it with the month."""
    connection = await asyncpg.connect(url)
    try:
        lines = await connection.fetch(_LINES)
        items = await connection.fetch(_ITEMS)
        matches = await connection.fetch(_MATCHES)
        found = await connection.fetch(_FOUND)
        breaks = [
            f"{dict(row)}"
            for statement in (_CLEARING_BREAKS, _SUSPENSE_BREAKS, _BANK_BREAKS)
            for row in await connection.fetch(statement)
        ]
    finally:
        await connection.close()
    rows = ([dict(row) for row in part] for part in (lines, items, matches, found))
    return _verdict(month, next(rows), next(rows), next(rows), next(rows), breaks)


def _verdict(
    month: Month,
    lines: Iterable[Row],
    items: Iterable[Row],
    matches: Iterable[Row],
    found: Iterable[Row],
    breaks: list[str],
) -> Verdict:
    verdict = Verdict(breaks=breaks)
    known = _known(month)
    rows = {row["id"]: row for row in lines}
    true = {line_id: known.get(_key(row)) for line_id, row in rows.items()}
    names = {row["id"]: _name(row) for row in items}
    matched = set()
    for match in matches:
        said = sorted(names[item] for item in match["items"])
        about = [rows[line] for line in match["lines"]]
        shown = " + ".join(sorted(f"{row['account']}:{row['mark']}" for row in about))
        verdict.state.append(f"{match['status']} {match['rule']}: {shown} = {', '.join(said)}")
        if match["status"] == "SUGGESTED":
            verdict.suggested += 1
            continue
        verdict.confirmed += 1
        verdict.rules[match["rule"]] += 1
        matched |= set(match["lines"])
        if not _is_true([true[line] for line in match["lines"]], about, said):
            verdict.false.append(
                f"{match['rule']} ({match['confidence']}): {shown} is not {', '.join(said)}"
            )
    for line_id, row in rows.items():
        line = true[line_id]
        if line is not None and line.sure:
            verdict.sure += 1
            if line_id not in matched:
                verdict.missed.append(
                    f"{row['account']}:{row['mark']} {row['amount']} {row['narration']!r} "
                    f"is {', '.join(sorted(line.truth))} ({row['status']})"
                )
    told = list(found)
    for row in told:
        verdict.kinds[row["kind"]] += 1
        verdict.state.append(f"{row['kind']} {row['account']} {row['payment']}")
    marks = defaultdict(set)
    for line_id, row in rows.items():
        marks[row["mark"]].add(line_id)
    for fault in month.faults:
        if not any(_tells(row, fault, marks) for row in told):
            others = sorted(
                {row["kind"] for row in told if _about(row, fault, marks)} or {"nothing"}
            )
            verdict.unclassed.append(
                f"{fault.name} ({fault.payment or fault.mark}) is not {fault.kind} "
                f"but {', '.join(others)}"
            )
    verdict.state.sort()
    return verdict


def _known(month: Month) -> dict[tuple[Any, ...], Line]:
    return {
        (account, line.day, abs(line.amount), line.amount > 0, line.mark): line
        for account, lines in month.lines.items()
        for line in lines
    }


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


def _is_true(lines: list[Line | None], rows: list[Row], said: list[str]) -> bool:
    if any(line is None for line in lines):
        return False
    truths = [line.truth for line in lines if line is not None]
    if said:
        # Each line is about what it was matched with, and all of that is in it.
        return set().union(*truths) == set(said) and all(truths)
    if len(rows) == 1:
        [truth] = truths
        return all(name.startswith(("charge ", "payout ")) for name in truth) and bool(truth)
    # Lines alone: one takes the other back.
    zero = sum(row["amount"] if row["direction"] == "CREDIT" else -row["amount"] for row in rows)
    return len(set(truths)) == 1 and zero == 0


def _about(row: Row, fault: Fault, marks: Mapping[str, set[Any]]) -> bool:
    if fault.payment and row["payment"] == fault.payment:
        return True
    if fault.mark and row["line_id"] in marks.get(fault.mark, set()):
        return True
    if fault.mark and row["settlement"] == fault.mark:
        return True
    return not fault.payment and not fault.mark and row["account"] == fault.account


def _tells(row: Row, fault: Fault, marks: Mapping[str, set[Any]]) -> bool:
    return bool(row["kind"] == fault.kind and _about(row, fault, marks))
