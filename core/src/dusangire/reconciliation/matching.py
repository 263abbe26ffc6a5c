"""What belongs together: the lines of a statement, and the money that we know of.

The surest way first; what it found, the next ways leave alone. References are joined set by set in
the database, amounts and payers compared in small buckets here. The same lines and the same money
give the same matches, in whatever order they came, and a tie is never guessed: a person picks.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

import orjson
import structlog

from dusangire.access import SYSTEM
from dusangire.core import Core
from dusangire.database import Row, fetch, tx
from dusangire.importing.accounts import StatementAccount
from dusangire.money import exponent
from dusangire.reconciliation import recording, settling
from dusangire.reconciliation.passes import by_reference, leftovers, within_the_statement
from dusangire.reconciliation.passes.by_reference import ITEMS, LINES
from dusangire.reconciliation.references import normalised

log = structlog.get_logger(__name__)

Tell = Callable[[str, float], Awaitable[None]]

# Seconds that one statement may take: a million lines are joined at once.
PATIENCE = 900.0
# Lines that an earlier run left open are looked at again for so long.
LOOK_BACK = timedelta(days=45)
# What no reference explains is compared here, in memory: so many lines, the earliest first.
MOST_LEFTOVERS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One way to make matches of the pairs that a search has put together.

    of: the first or the second kinds of references that its search compares. tolerated: what is
    missing is nobody's fee.
    """

    rule: str
    confidence: int
    words: str
    of: int = 1
    statement: str = by_reference.ONE_TO_ONE
    tolerated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Lines and items with a reference in common, put together once for some passes.

    compares: kinds of the lines' references, and of the items'; once or twice, no kind of the
    items' in both.
    """

    pairs: str
    compares: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    passes: tuple[Pass, ...]


_IDS = ("TXN", "TX_REF", "REFUND", "SETTLEMENT")
_NAMES = ("ORDER", "INVOICE", "PAYMENT", "TXN", "TX_REF", "REFUND")
_SURE = ((("ID",), _IDS), (("RF", "ID"), ("PAYMENT",)))
_ANY = ("RF", "ID", "RF_REPAIRED", "TOKEN")
_SAME_ID = "The statement names the transaction %."
_SAME_REFERENCE = "The statement names the payment's reference %."
_NAMED = "The statement names %."

EXACT = Search(
    pairs=by_reference.EXACTLY,
    compares=_SURE,
    passes=(
        Pass(rule="exact-reference", confidence=100, of=1, words=_SAME_ID),
        Pass(rule="exact-reference", confidence=100, of=2, words=_SAME_REFERENCE),
    ),
)
NET = Search(
    pairs=by_reference.LESS_FEE,
    compares=_SURE,
    passes=(
        Pass(rule="net-of-fee", confidence=98, of=1, words=_SAME_ID),
        Pass(rule="net-of-fee", confidence=98, of=2, words=_SAME_REFERENCE),
    ),
)
WORDS = Search(
    pairs=by_reference.EXACTLY_NEAR,
    compares=((("TOKEN", "ID"), _NAMES),),
    passes=(
        Pass(rule="weak-reference", confidence=95, words="The words of the statement name %."),
    ),
)
REPAIRED = Search(
    pairs=by_reference.EXACTLY,
    compares=((("RF_REPAIRED",), ("PAYMENT",)),),
    passes=(
        Pass(
            rule="repaired-reference",
            confidence=92,
            words="With characters that look alike put right, the statement names %.",
        ),
    ),
)
SEVERAL = Search(
    pairs=by_reference.WHATEVER,
    compares=((_ANY, _NAMES),),
    passes=(
        Pass(
            rule="instalments",
            confidence=92,
            statement=by_reference.INSTALMENTS,
            words="the same payment",
        ),
        Pass(
            rule="combined",
            confidence=92,
            statement=by_reference.COMBINED,
            words="payments",
        ),
    ),
)
NEARLY = Search(
    pairs=by_reference.NEARLY,
    compares=((("RF", "ID", "TOKEN"), (*_IDS, "PAYMENT", "ORDER", "INVOICE")),),
    passes=(Pass(rule="tolerance", confidence=85, words=_NAMED, tolerated=True),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a run looks at: days of an account, and the gateways whose money it shows."""

    account: StatementAccount
    begin: date
    end: date
    gateways: tuple[UUID, ...]

    @property
    def values(self) -> tuple[UUID, date, date, list[UUID]]:
        return self.account.id, self.begin, self.end, list(self.gateways)


# A provider's own report or wallet tells of its payments; a bank account only of those whose
# provider has no other account.
_GATEWAYS = """
SELECT g.id FROM gateway_account g
WHERE CASE WHEN $2::uuid IS NOT NULL
    THEN g.id = $2 AND ($3 <> 'BANK' OR NOT EXISTS (SELECT FROM statement_account o
        WHERE o.gateway_id = g.id AND o.id <> $1 AND o.kind <> 'BANK'))
    ELSE NOT EXISTS (SELECT FROM statement_account o WHERE o.gateway_id = g.id) END
ORDER BY g.id"""
# For each hash and each sort of this transaction: a million lines are sorted without the disk.
_MEMORY = "SET LOCAL work_mem = '64MB'"
_NO_TIES = "DELETE FROM match_ambiguity WHERE account_id = $1"
_TIES_SOLVED = """
DELETE FROM match_ambiguity x WHERE account_id = $1 AND (
    EXISTS (SELECT FROM match_leg g WHERE g.line_id = x.line_id AND g.live)
    OR EXISTS (SELECT FROM match_leg g WHERE g.item_id = x.item_id AND g.live))"""


async def scope_of(account: StatementAccount, from_date: date, to_date: date) -> Scope:
    """What a run over these days looks at; what was left open shortly before, too."""
    rows = await fetch(_GATEWAYS, account.id, account.gateway_id, str(account.kind))
    return Scope(
        account=account,
        begin=from_date - LOOK_BACK,
        end=to_date,
        gateways=tuple(row["id"] for row in rows),
    )


async def match(
    core: Core,
    account: StatementAccount,
    reconciliation_id: UUID | None,
    from_date: date,
    to_date: date,
    tell: Tell,
) -> None:
    """Finds what belongs together among what is open, and writes it down.

    In transactions of its own: a run that is cut short leaves whole matches, and the next one goes
    on. Only what is sure is confirmed; the rest are suggestions, which replace the earlier ones.
    """
    scope = await scope_of(account, from_date, to_date)
    async with tx(patience=60):
        await fetch("DELETE FROM match_found WHERE account_id = $1", account.id)
        await fetch(_NO_TIES, account.id)

    async def write() -> None:
        await recording.confirm_found(account.id, reconciliation_id, SYSTEM)

    await tell("what the bank took back", 0.02)
    await _within(scope, within_the_statement.TAKEN_BACK, True)
    await write()
    await tell("references", 0.05)
    await exact(scope)
    await write()
    await tell("settling payments", 0.35)
    if await settling.settle(core, account, scope.gateways, scope.begin, scope.end):
        await exact(scope)
        await write()
    await tell("references and fees", 0.45)
    await _by_reference(scope, NET)
    await write()
    await tell("words", 0.6)
    for search in (WORDS, REPAIRED, SEVERAL):
        await _by_reference(scope, search)
    await _within(scope, within_the_statement.TAKEN_BACK, False)
    await _within(scope, within_the_statement.FEES)
    await write()
    if account.settings.tolerance:
        await _by_reference(scope, NEARLY)
    await tell("amounts and payers", 0.75)
    await _leftovers(scope)
    await write()
    await tell("suggestions", 0.95)
    await recording.suggest_found(account.id, reconciliation_id, SYSTEM)
    await fetch(_TIES_SOLVED, account.id)


async def exact(scope: Scope) -> None:
    """Finds lines and items with the same sure reference and the same amount."""
    await _by_reference(scope, EXACT)


async def _by_reference(scope: Scope, search: Search) -> None:
    settings = scope.account.settings
    percent, fixed = settings.fee_percent, settings.fee_fixed
    if search is NEARLY:
        percent, fixed = settings.tolerance_percent, settings.tolerance
    (of_lines, of_items), (other_lines, other_items) = (*search.compares, ((), ()))[:2]
    kinds = list(of_lines), list(of_items), list(other_lines), list(other_items)
    async with tx(patience=PATIENCE):
        await fetch(_MEMORY)
        await fetch(search.pairs, *scope.values, *kinds, percent, fixed)
        await fetch(by_reference.COUNTED)
        for one in search.passes:
            await fetch(
                one.statement,
                scope.account.id,
                one.of,
                one.rule,
                one.confidence,
                one.words,
                settings.threshold,
                exponent(scope.account.currency),
                one.tolerated,
            )


async def _within(scope: Scope, statement: str, *values: bool) -> None:
    async with tx(patience=PATIENCE):
        await fetch(statement, *scope.values, scope.account.settings.threshold, *values)


# ── what no reference explains ───────────────────────────────────────────────────────────────────

_OPEN_LINES = f"""
WITH line AS ({LINES})
SELECT line.*, l.counterparty, l.counterparty_account,
    coalesce((SELECT array_agg(r.value) FROM line_ref r
        WHERE r.line_id = line.id AND r.kind = 'PHONE'), '{{}}') AS phones,
    coalesce((SELECT array_agg(r.value) FROM line_ref r
        WHERE r.line_id = line.id AND r.kind IN ('ID', 'TOKEN')), '{{}}') AS words
FROM line JOIN statement_line l USING (id)
WHERE $4::uuid[] IS NOT NULL AND line.kind NOT IN ('FEE', 'CHARGEBACK') AND NOT line.is_reversal
ORDER BY line.booking_date, line.id LIMIT $5"""
_OPEN_ITEMS = f"""
WITH item AS ({ITEMS})
SELECT item.*, i.payer_account, i.payer_name FROM item JOIN clearing_item i USING (id)
WHERE item.day BETWEEN $2::date - 60 AND $3::date + 7 AND $1::uuid IS NOT NULL
    AND item.currency = $6
    AND NOT EXISTS (SELECT FROM match_leg g JOIN recon_match m ON m.id = g.match_id
        WHERE g.item_id = item.id AND g.live AND m.account_id <> $1)
ORDER BY item.day, item.id LIMIT $5"""
# Payouts of all providers arrive at the bank.
_OPEN_PAYOUTS = """
SELECT i.id, i.kind, i.direction, i.amount, i.currency, i.settlement,
    (i.began_at AT TIME ZONE 'Africa/Kigali')::date AS began,
    (i.occurred_at AT TIME ZONE 'Africa/Kigali')::date AS day, g.code, g.name, g.plugin,
    s.name AS account_name, s.settings -> 'payout_words' AS payout_words,
    coalesce((SELECT array_agg(q.value) FROM item_ref q WHERE q.item_id = i.id), '{}') AS words
FROM clearing_item i JOIN gateway_account g ON g.id = i.gateway_id
LEFT JOIN statement_account s ON s.id = i.account_id
WHERE i.status = 'OPEN' AND i.kind = 'PAYOUT' AND i.currency = $1
    AND NOT EXISTS (SELECT FROM match_leg g JOIN recon_match m ON m.id = g.match_id
        WHERE g.item_id = i.id AND g.live
            AND (m.decided_by_name IS NOT NULL OR m.account_id <> $2))
ORDER BY i.occurred_at, i.id LIMIT $3"""
_REJECTED = """
SELECT x.line_id, x.item_id FROM rejected_pair x JOIN statement_line l ON l.id = x.line_id
WHERE l.account_id = $1 AND l.status IN ('OPEN', 'SUGGESTED')"""
_TIED = """
SELECT line_id AS id FROM match_ambiguity WHERE account_id = $1
UNION SELECT item_id FROM match_ambiguity WHERE account_id = $1"""
_FOUND = """
INSERT INTO match_found (account_id, line_ids, item_ids, rule, confidence, fee, difference,
    currency, explanation, suggested)
SELECT $1, x.line_ids, x.item_ids, x.rule, x.confidence, 0, x.difference, x.currency,
    x.explanation, x.suggested
FROM jsonb_to_recordset($2::jsonb) AS x (line_ids uuid[], item_ids uuid[], rule text,
    confidence smallint, difference bigint, currency text, explanation jsonb, suggested boolean)"""
_CANDIDATES = """
INSERT INTO match_ambiguity (account_id, line_id, item_id, rule, score)
SELECT $1, x.line_id, x.item_id, x.rule, x.score
FROM jsonb_to_recordset($2::jsonb) AS x (line_id uuid, item_id uuid, rule text, score smallint)
ON CONFLICT DO NOTHING"""


async def _leftovers(scope: Scope) -> None:
    account = scope.account
    async with tx(patience=PATIENCE):
        lines = [_line(row) for row in await fetch(_OPEN_LINES, *scope.values, MOST_LEFTOVERS)]
        if len(lines) == MOST_LEFTOVERS:
            log.warning("not all open lines were compared", account=account.code)
        rows = await fetch(_OPEN_ITEMS, *scope.values, MOST_LEFTOVERS, account.currency)
        items = [_item(row) for row in rows]
        if account.kind == "BANK":
            limit = account.currency, account.id, MOST_LEFTOVERS
            words = account.settings.payout_words
            items += [_payout(row, words) for row in await fetch(_OPEN_PAYOUTS, *limit)]
        rejected = await fetch(_REJECTED, account.id)
        tied = await fetch(_TIED, account.id)
    terms = leftovers.Terms(
        days_before=account.settings.days_before,
        days_after=account.settings.days_after,
        payout_before=account.settings.payout_before,
        payout_after=account.settings.payout_after,
        tolerance=account.settings.tolerance,
        tolerance_percent=account.settings.tolerance_percent,
        threshold=account.settings.threshold,
        auto_payer=account.settings.auto_payer,
        rejected=frozenset((row["line_id"], row["item_id"]) for row in rejected),
        tied=frozenset(row["id"] for row in tied),
    )
    matches, candidates = leftovers.match(lines, items, terms)
    async with tx(patience=60):
        await fetch(_FOUND, account.id, orjson.dumps([_found(one) for one in matches]).decode())
        await fetch(_CANDIDATES, account.id, orjson.dumps(candidates, default=str).decode())


def _line(row: Row) -> leftovers.OpenLine:
    account = row["counterparty_account"]
    return leftovers.OpenLine(
        id=row["id"],
        direction=row["direction"],
        amount=row["amount"],
        currency=row["currency"],
        day=row["booking_date"],
        name=row["counterparty"],
        payers=frozenset([*row["phones"], *([normalised(account)] if account else [])]),
        narration=row["narration"],
        words=frozenset(row["words"]),
        trusted=not row["blocks_posting"],
    )


def _item(row: Row) -> leftovers.OpenItem:
    return leftovers.OpenItem(
        id=row["id"],
        kind=row["kind"],
        direction=row["direction"],
        amount=row["amount"],
        currency=row["currency"],
        began=row["began"],
        day=row["day"],
        name=row["payer_name"],
        payer=row["payer_account"],
    )


def _payout(row: Row, words: Sequence[str]) -> leftovers.OpenItem:
    own = orjson.loads(row["payout_words"]) if row["payout_words"] else []
    provider = (*words, *own, row["name"], row["code"], row["plugin"], row["account_name"])
    return leftovers.OpenItem(
        id=row["id"],
        kind=row["kind"],
        direction=row["direction"],
        amount=row["amount"],
        currency=row["currency"],
        began=row["began"],
        day=row["day"],
        words=frozenset(row["words"]),
        provider=tuple(word for word in provider if word),
    )


def _found(found: leftovers.Match) -> dict[str, object]:
    return {
        "line_ids": _array(found.line_ids),
        "item_ids": _array(found.item_ids),
        "rule": found.rule,
        "confidence": found.confidence,
        "difference": found.difference,
        "currency": found.currency,
        "explanation": found.explanation,
        "suggested": not found.sure,
    }


def _array(ids: Sequence[UUID]) -> list[str]:
    return [str(one) for one in ids]
