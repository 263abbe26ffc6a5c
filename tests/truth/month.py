"""Makes a month: payments of four gateways, what the statements say of them, and faults in between.

The same seed gives the same month. Every class of fault is there at least once; besides, references
are lost, cut, typed in lower case or with an O for a zero, payouts wait for holidays, and exports
overlap.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import partial

import holidays
from tests.truth import files
from tests.truth.files import Days
from tests.truth.known import KIGALI, Fault, File, Line, Month, Paid, Refunded

BEGIN, END = date(2026, 10, 1), date(2026, 10, 31)
# Statements go on until everything of the month that will arrive has arrived.
UNTIL = date(2026, 11, 12)
NOISE = 0.03
# What the card gateway keeps, as its contract says: hundredths of a per cent.
CARD_FEE, COURIER_FEE = 380, 500
WALLET_OPENING, BANK_OPENING = 50_000_000, 1_000_000

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FIRST = ("JEAN", "MARIE", "ERIC", "ALINE", "CLAUDE", "DIANE", "PATRICK", "YVES", "GRACE", "OLIVE")
_LAST = (
    "UWASE", "MUGISHA", "HABIMANA", "MUKAMANA", "NIYONZIMA", "INGABIRE", "KAYITESI", "NSHUTI",
    "BIZIMANA", "UMUTONI", "RUKUNDO", "ISHIMWE",
)  # fmt: skip
_SHARES = (("mtn", 55), ("bank", 20), ("card", 20), ("cod", 5))
_HOLIDAYS = holidays.country_holidays("RW", years=(2026,))


def rf(body: str) -> str:
    """The creditor reference of ISO 11649 that has this body."""
    number = int("".join(str(int(c, 36)) for c in f"{body}RF00"))
    return f"RF{98 - number % 97:02d}{body}"


def business_day(day: date, after: int = 0) -> date:
    """The day itself if banks work on it, else the next one; then `after` more."""
    while True:
        if day.weekday() < 5 and day not in _HOLIDAYS:
            if after == 0:
                return day
            after -= 1
        day += timedelta(days=1)


def build(payments: int, seed: int = 1) -> Month:
    """A month of so many payments."""
    return _Maker(payments, seed).make()


@dataclass(slots=True)
class _Maker:
    count: int
    seed: int
    rng: random.Random = field(init=False)
    month: Month = field(init=False)
    used: set[str] = field(default_factory=set)
    lines: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))
    marks: int = 0

    def make(self) -> Month:
        self.rng = random.Random(self.seed)
        self.month = Month(begin=BEGIN, end=END)
        plan = self._plan()
        for gateway, fault in plan:
            paid = self._payment(gateway)
            (_FAULTS[gateway][fault] if fault else _GOOD[gateway])(self, paid)
        self._settle_cards()
        self._settle_courier()
        self._empty_wallet()
        self._charges()
        self._lose_a_statement()
        for account, lines in self.lines.items():
            self.month.lines[account] = sorted(lines, key=lambda line: (line.day, line.mark))
        return self.month

    def _plan(self) -> list[tuple[str, str | None]]:
        """Which gateway each payment takes, and what goes wrong with it."""
        names = [(gateway, fault) for gateway, made in _FAULTS.items() for fault in made]
        wrong = max(len(names), round(self.count * NOISE))
        plan: list[tuple[str, str | None]] = [names[n % len(names)] for n in range(wrong)]
        gateways = [gateway for gateway, share in _SHARES for _ in range(share)]
        good = [gateway for gateway, _ in _SHARES]
        good += [self.rng.choice(gateways) for _ in range(self.count - wrong - len(good))]
        plan += [(gateway, None) for gateway in good]
        self.rng.shuffle(plan)
        return plan

    # ── payments and lines ───────────────────────────────────────────────────────────────────────

    def _payment(self, gateway: str) -> Paid:
        day = BEGIN + timedelta(days=self.rng.randrange((END - BEGIN).days + 1))
        # Some in the last half hour of the day, when providers have begun the next one.
        late = self.rng.random() < 0.05
        hour, minute = (23, self.rng.randrange(30, 60)) if late else (self.rng.randrange(6, 23), 0)
        at = datetime.combine(
            day, time(hour, minute or self.rng.randrange(60), self.rng.randrange(60)), KIGALI
        )
        amount = self.rng.randrange(10, 2_500) * 100
        paid = Paid(
            name=f"PAY-{self._word(8)}",
            gateway=gateway,
            amount=amount,
            at=at,
            phone=f"+25078{self.rng.randrange(10**7):07d}",
            payer=f"{self.rng.choice(_FIRST)} {self.rng.choice(_LAST)}",
            order=f"ORD-{len(self.month.payments) + 10_000}",
        )
        match gateway:
            case "mtn":
                paid = replace(paid, transaction=self._mark(""))
            case "card":
                fee = amount * CARD_FEE // 10_000
                paid = replace(paid, transaction=self._mark("8"), fee=fee)
        return paid

    def keep(self, paid: Paid) -> Paid:
        self.month.payments.append(paid)
        return paid

    def fault(
        self,
        name: str,
        kind: str | None,
        account: str,
        paid: Paid | None = None,
        mark: str | None = None,
    ) -> None:
        payment = paid.name if paid else None
        self.month.faults.append(
            Fault(name=name, kind=kind, account=account, payment=payment, mark=mark)
        )

    def _word(self, length: int) -> str:
        while True:
            word = "".join(self.rng.choice(_ALPHABET) for _ in range(length))
            if word not in self.used:
                self.used.add(word)
                return word

    def _mark(self, prefix: str) -> str:
        self.marks += 1
        return f"{prefix}{9_000_000_000 + self.marks}"

    def wallet_line(self, paid: Paid, **changes: object) -> Line:
        line = Line(
            day=paid.at.date(),
            at=paid.at,
            amount=paid.amount,
            mark=paid.transaction or self._mark(""),
            ours=paid.attempt,
            payer=paid.payer,
            payer_account=(paid.phone or "").lstrip("+"),
            truth=frozenset({paid.name}),
            sure=True,
        )
        return replace(line, **changes)  # type: ignore[arg-type]

    def bank_line(self, paid: Paid, note: str, **changes: object) -> Line:
        days = 1 if paid.at.hour >= 16 else 0
        line = Line(
            day=business_day(paid.at.date() + timedelta(days=days)),
            amount=paid.amount,
            mark=self._mark("FT"),
            note=f"Incoming Trsf frm local banks | {paid.payer} {note}".strip(),
            payer=paid.payer,
            truth=frozenset({paid.name}),
            sure=bool(note),
        )
        return replace(line, **changes)  # type: ignore[arg-type]

    def add(self, account: str, line: Line) -> Line:
        self.lines[account].append(line)
        return line

    # ── what follows from many ───────────────────────────────────────────────────────────────────

    def _settle_cards(self) -> None:
        """Each day's card payments leave in one sum, which the bank has a business day later."""
        self._pay_out("card", "FLW", "FLUTTERWAVE SETTLEMENT")

    def _settle_courier(self) -> None:
        """The courier brings the cash of a day; in the middle of the month 2,000 are short."""
        short = self._pay_out("cod", "REM", "CASH DEPOSIT COURIER", short=2_000)
        if short:
            self.fault("courier short", "AMOUNT_MISMATCH", "bank", mark=short)

    def _pay_out(self, account: str, prefix: str, words: str, short: int = 0) -> str | None:
        by_day: dict[date, list[int]] = defaultdict(list)
        for index, line in enumerate(self.lines[account]):
            by_day[line.day].append(index)
        days = sorted(by_day)
        lost = days[len(days) // 3] if account == "card" else None
        shorted = days[len(days) // 2] if short else None
        found = None
        for day in days:
            name = f"{prefix}{day:%Y%m%d}"
            total = 0
            for index in by_day[day]:
                self.lines[account][index] = replace(self.lines[account][index], settlement=name)
                total += self.lines[account][index].amount
            arrives = business_day(day + timedelta(days=1))
            if day == lost:
                self.fault("payout never came", "MISSING_IN_BANK", "bank", mark=name)
                continue
            if day == shorted:
                total, found = total - short, name
            named = self.rng.random() < 0.5 or day == shorted
            self.add(
                "bank",
                Line(
                    day=arrives,
                    amount=total,
                    mark=self._mark("FT"),
                    note=f"{words} {name if named else ''}".strip(),
                    truth=frozenset({f"payout {name}"}),
                    sure=named and day != shorted,
                ),
            )
        return found

    def _empty_wallet(self) -> None:
        """Each Friday the wallet sends a round sum to the bank."""
        for n, day in enumerate(d for d in _days(BEGIN, UNTIL) if d.weekday() == 4):
            amount, mark = 3_000_000 + 10_000 * n, self._mark("")
            truth = frozenset({f"payout {mark}"})
            self.add("mtn", Line(
                day=day, at=datetime.combine(day, time(17), KIGALI), amount=-amount, mark=mark,
                word="SETTLEMENT", note="To bank", truth=truth,
            ))  # fmt: skip
            self.add("bank", Line(
                day=business_day(day + timedelta(days=1)), amount=amount, mark=self._mark("FT"),
                note=f"MTN MOBILE MONEY : settlement | {mark}", truth=truth, sure=True,
            ))  # fmt: skip

    def _charges(self) -> None:
        """Two charges that are equal to the last letter, and both real."""
        for day in (date(2026, 10, 7), date(2026, 10, 21)):
            mark = self._mark("FT")
            for _ in range(2):
                self.add("bank", Line(
                    day=day, amount=-500, mark=mark, note="Charge", word="FEE",
                    truth=frozenset({f"charge {mark}"}),
                ))  # fmt: skip

    def _lose_a_statement(self) -> None:
        """Something was paid in between two statements, and no file has it."""
        self.month.unseen = 6_000
        self.fault("a statement is missing", "BALANCE_BREAK", "bank")


def _days(begin: date, end: date) -> Iterator[date]:
    while begin <= end:
        yield begin
        begin += timedelta(days=1)


# ── what is as it should be ──────────────────────────────────────────────────────────────────────


def _good_wallet(m: _Maker, paid: Paid) -> None:
    chance = m.rng.random()
    if chance < 0.02:
        paid = replace(paid, refunded=paid.amount // 200 * 100 or 100)
    m.keep(paid)
    line = m.wallet_line(paid)
    if chance > 0.98:
        # The export has one of the two names only.
        line = replace(line, ours="") if chance > 0.99 else replace(line, payer="")
    m.add("mtn", line)
    if paid.refunded:
        back = Refunded(
            name=f"RFD-{m._word(8)}", of=paid, amount=paid.refunded,
            at=paid.at + timedelta(hours=1), transaction=m._mark(""),
        )  # fmt: skip
        m.month.refunds.append(back)
        m.add("mtn", m.wallet_line(
            paid, day=back.at.date(), at=back.at, amount=-back.amount, mark=back.transaction or "",
            ours=f"{back.name}-1", word="REFUND", truth=frozenset({back.name}),
        ))  # fmt: skip


def _good_card(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    m.add("card", _card_line(m, paid))


def _card_line(m: _Maker, paid: Paid, **changes: object) -> Line:
    fee = paid.fee or 0
    line = m.wallet_line(paid, gross=paid.amount, fee=fee, amount=paid.amount - fee)
    return replace(line, **changes)  # type: ignore[arg-type]


def _good_cod(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    line = m.wallet_line(paid, mark=m._mark("WB"), gross=paid.amount, fee=COURIER_FEE,
        amount=paid.amount - COURIER_FEE, ours=paid.name)  # fmt: skip
    m.add("cod", line)


def _good_bank(m: _Maker, paid: Paid) -> None:
    """References as people type them; one in twenty is lost."""
    chance = m.rng.random()
    reference = rf(paid.body)
    # A fifth was not confirmed by a person: the statement settles it.
    settled = chance > 0.05 and m.rng.random() < 0.2
    m.keep(replace(paid, status="PENDING") if settled else paid)
    if chance < 0.05:
        m.add("bank", m.bank_line(paid, ""))
    elif chance < 0.15:
        m.add("bank", m.bank_line(paid, " ".join(_in_fours(reference))))
    elif chance < 0.25:
        m.add("bank", m.bank_line(paid, reference.lower()))
    elif chance < 0.30 and not settled:
        m.add("bank", m.bank_line(paid, paid.name))
    elif chance < 0.40 and not settled and _mistyped(reference) != reference:
        m.add("bank", m.bank_line(paid, _mistyped(reference)))
    elif chance < 0.45 and paid.amount > 2_000 and not settled:
        half = paid.amount // 2
        m.add("bank", m.bank_line(paid, reference, amount=half))
        m.add("bank", m.bank_line(paid, reference, amount=paid.amount - half))
    elif chance < 0.50:
        line = m.add("bank", m.bank_line(paid, reference))
        m.add("bank", Line(
            day=line.day, amount=-200, mark=line.mark, note="Charge", word="FEE",
            truth=frozenset({f"charge {line.mark}"}),
        ))  # fmt: skip
    else:
        m.add("bank", m.bank_line(paid, reference))


def _in_fours(text: str) -> list[str]:
    return [text[n : n + 4] for n in range(0, len(text), 4)]


def _mistyped(reference: str) -> str:
    return reference[:2] + reference[2:].translate(str.maketrans("01", "OI"))


_GOOD: dict[str, Callable[[_Maker, Paid], None]] = {
    "mtn": _good_wallet, "card": _good_card, "cod": _good_cod, "bank": _good_bank,
}  # fmt: skip


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


def _unreported(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    m.fault("not in the report", "MISSING_AT_PROVIDER", paid.gateway, paid)


def _failed_here(m: _Maker, paid: Paid) -> None:
    m.keep(replace(paid, status="FAILED"))
    m.add("mtn", m.wallet_line(paid, sure=False))
    m.fault("success there, failed here", "STATUS_MISMATCH", "mtn", paid)


def _failed_there(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    m.add("mtn", m.wallet_line(paid, status="FAILED", sure=False))
    m.fault("failed there, success here", "STATUS_MISMATCH", "mtn", paid)


def _less_in_wallet(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    m.add("mtn", m.wallet_line(paid, amount=paid.amount - 500, sure=False))
    m.fault("500 less in the wallet", "AMOUNT_MISMATCH", "mtn", paid)


def _reported_twice(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    m.add("mtn", m.wallet_line(paid, sure=False))
    m.add("mtn", m.wallet_line(paid, at=paid.at + timedelta(seconds=40), note="again", sure=False))
    m.fault("reported twice", "DUPLICATE", "mtn", paid, paid.transaction)


def _captured_twice(m: _Maker, paid: Paid) -> None:
    paid = replace(paid, second=m._mark(""))
    m.keep(paid)
    m.add("mtn", m.wallet_line(paid))
    m.add("mtn", m.wallet_line(
        paid, mark=paid.second, ours=paid.again, truth=frozenset({f"{paid.name} again"})
    ))  # fmt: skip
    m.fault("captured twice", "DUPLICATE", "mtn", paid)


def _nobodys_wallet_credit(m: _Maker, paid: Paid) -> None:
    mark = m._mark("")
    m.add("mtn", m.wallet_line(
        paid, mark=mark, amount=paid.amount + 37, ours=m._word(12), truth=frozenset(), sure=False
    ))  # fmt: skip
    m.fault("nobody's credit in the wallet", "MISSING_IN_SYSTEM", "mtn", mark=mark)


def _nobodys_wallet_debit(m: _Maker, paid: Paid) -> None:
    mark = m._mark("")
    m.add("mtn", m.wallet_line(
        paid, mark=mark, amount=-paid.amount - 37, ours="", word="TRANSFER", truth=frozenset(),
        sure=False,
    ))  # fmt: skip
    m.fault("nobody's debit in the wallet", "UNIDENTIFIED_DEBIT", "mtn", mark=mark)


def _late_in_wallet(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    at = paid.at + timedelta(days=10)
    m.add("mtn", m.wallet_line(paid, day=at.date(), at=at))
    m.fault("late in the wallet", "LATE", "mtn", paid)


def _fee_not_agreed(m: _Maker, paid: Paid) -> None:
    fee = (paid.fee or 0) + 700
    m.keep(paid)
    m.add("card", _card_line(m, paid, fee=fee, amount=paid.amount - fee))
    m.fault("fee not as agreed", "FEE_MISMATCH", "card", paid)


def _charged_back(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    m.add("card", _card_line(m, paid))
    day = min(business_day(paid.at.date() + timedelta(days=6)), UNTIL)
    mark = m._mark("CB")
    m.add("card", _card_line(
        m, paid, day=day, at=datetime.combine(day, time(12), KIGALI), amount=-paid.amount,
        gross=-paid.amount, fee=0, mark=mark, word="CHARGEBACK", truth=frozenset(), sure=False,
    ))  # fmt: skip
    m.fault("charged back", "CHARGEBACK", "card", mark=mark)


def _nobodys_card(m: _Maker, paid: Paid) -> None:
    mark = m._mark("8")
    m.add("card", _card_line(
        m, paid, mark=mark, ours=m._word(12), truth=frozenset(), sure=False
    ))  # fmt: skip
    m.fault("not ours in the settlement", "MISSING_IN_SYSTEM", "card", mark=mark)


def _other_currency(m: _Maker, paid: Paid) -> None:
    paid = m.keep(replace(paid, currency="USD"))
    m.add("bank", m.bank_line(paid, rf(paid.body), truth=frozenset(), sure=False))
    m.fault("another currency", "CURRENCY_MISMATCH", "bank", paid)


def _less_at_bank(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    m.add("bank", m.bank_line(paid, rf(paid.body), amount=paid.amount - 500, sure=False))
    m.fault("500 less at the bank", "AMOUNT_MISMATCH", "bank", paid)


def _more_at_bank(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    m.add("bank", m.bank_line(paid, rf(paid.body), amount=paid.amount + 500, sure=False))
    m.fault("500 more at the bank", "AMOUNT_MISMATCH", "bank", paid)


def _paid_twice(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    line = m.add("bank", m.bank_line(paid, rf(paid.body), sure=False))
    m.add("bank", m.bank_line(
        paid, rf(paid.body), day=business_day(line.day + timedelta(days=1)), sure=False
    ))  # fmt: skip
    m.fault("paid twice", "DUPLICATE", "bank", paid)


def _twins(m: _Maker, paid: Paid) -> None:
    """Two who pay the same on the same day and say nothing."""
    amount = paid.amount + 13
    for _ in range(2):
        twin = m.keep(replace(
            paid, name=f"PAY-{m._word(8)}", amount=amount,
            order=f"ORD-{len(m.month.payments) + 10_000}", payer=None, phone=None,
        ))  # fmt: skip
        line = m.add("bank", replace(m.bank_line(twin, ""), note="Incoming Trsf", payer=None))
        m.fault("twins without a word", "AMBIGUOUS", "bank", mark=line.mark)


def _cancelled_before(m: _Maker, paid: Paid) -> None:
    m.keep(replace(paid, status="CANCELLED"))
    m.add("bank", m.bank_line(paid, rf(paid.body), day=business_day(paid.at.date(), 2)))
    m.fault("paid after it was cancelled", "LATE", "bank", paid)


def _late_at_bank(m: _Maker, paid: Paid) -> None:
    paid = m.keep(replace(paid, at=min(paid.at, datetime(2026, 10, 20, 12, tzinfo=KIGALI))))
    m.add("bank", m.bank_line(paid, rf(paid.body), day=business_day(paid.at.date(), 12)))
    m.fault("late at the bank", "LATE", "bank", paid)


def _on_its_way(m: _Maker, paid: Paid) -> None:
    """Captured on the last day that is looked at: nothing is missing yet."""
    m.keep(replace(paid, at=datetime(2026, 11, 19, 12, tzinfo=KIGALI), amount=paid.amount + 59))
    m.fault("on its way", None, paid.gateway, paid)


def _from_before(m: _Maker, paid: Paid) -> None:
    """Captured before the first statement that there is."""
    m.keep(replace(paid, at=datetime(2026, 8, 10, 12, tzinfo=KIGALI), amount=paid.amount + 61))
    m.fault("from before the statements", "STALE_CLEARING", paid.gateway, paid)


def _never_came(m: _Maker, paid: Paid) -> None:
    # An amount that no other has: nothing may look like it.
    m.keep(replace(paid, amount=paid.amount + 41))
    m.fault("never came", "MISSING_IN_BANK", "bank", paid)


def _nobodys_credit(m: _Maker, paid: Paid) -> None:
    line = m.add("bank", m.bank_line(
        paid, "SALARY", amount=paid.amount + 43, truth=frozenset(), sure=False
    ))  # fmt: skip
    m.fault("nobody's credit at the bank", "MISSING_IN_SYSTEM", "bank", mark=line.mark)


def _nobodys_debit(m: _Maker, paid: Paid) -> None:
    line = m.add("bank", replace(
        m.bank_line(paid, ""), amount=-paid.amount - 47, note="ATM WITHDRAWAL", truth=frozenset()
    ))  # fmt: skip
    m.fault("nobody's debit at the bank", "UNIDENTIFIED_DEBIT", "bank", mark=line.mark)


def _sent_back(m: _Maker, paid: Paid) -> None:
    m.keep(paid)
    line = m.add("bank", m.bank_line(paid, rf(paid.body), sure=False))
    m.add("bank", replace(
        line, day=business_day(line.day + timedelta(days=1)), amount=-line.amount, reversal=True,
        note=f"REVERSAL {line.note}",
    ))  # fmt: skip
    m.fault("taken back by the bank", "REVERSED", "bank", paid, line.mark)


_FAULTS: dict[str, dict[str, Callable[[_Maker, Paid], None]]] = {
    "mtn": {
        "unreported": _unreported,
        "failed here": _failed_here,
        "failed there": _failed_there,
        "less": _less_in_wallet,
        "reported twice": _reported_twice,
        "captured twice": _captured_twice,
        "on its way": _on_its_way,
        "nobody's credit": _nobodys_wallet_credit,
        "nobody's debit": _nobodys_wallet_debit,
        "late": _late_in_wallet,
    },
    "card": {
        "fee": _fee_not_agreed,
        "chargeback": _charged_back,
        "nobody's": _nobodys_card,
        "unreported": _unreported,
    },
    "bank": {
        "currency": _other_currency,
        "less": _less_at_bank,
        "more": _more_at_bank,
        "twice": _paid_twice,
        "twins": _twins,
        "cancelled": _cancelled_before,
        "late": _late_at_bank,
        "never": _never_came,
        "on its way": _on_its_way,
        "before": _from_before,
        "nobody's credit": _nobodys_credit,
        "nobody's debit": _nobodys_debit,
        "back": _sent_back,
    },
}


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def write(month: Month, days: int = 7) -> list[File]:
    """The month's files: the wallet's exports overlap by a day, the bank changes its format.

    days: that a file of the wallet or the bank is of; two of the bank's at least are needed for
    one to be missing in between.
    """
    spans = _spans(days)
    return [*_wallet_files(month, spans), *_reports(month), *_bank_files(month, spans)]


def _wallet_files(month: Month, spans: list[Days]) -> Iterator[File]:
    lines = month.lines.get("mtn", [])
    opening = WALLET_OPENING
    for n, (begin, end) in enumerate(spans):
        chosen = [x for x in lines if begin <= x.day <= end + timedelta(days=1)]
        yield _file("mtn", f"wallet-{n}.csv", files.wallet_csv(chosen, opening=opening), chosen)
        opening += sum(
            x.amount for x in lines if begin <= x.day <= end and x.status == "SUCCESSFUL"
        )


def _reports(month: Month) -> Iterator[File]:
    card, cod = month.lines.get("card", []), month.lines.get("cod", [])
    yield _file("card", "settlements.csv", files.settlement_csv(card), card)
    yield _file("cod", "courier.csv", files.courier_csv(cod), cod)


def _bank_files(month: Month, spans: list[Days]) -> Iterator[File]:
    opening = BANK_OPENING
    lines = month.lines.get("bank", [])
    make: Callable[..., bytes]
    for n, (begin, end) in enumerate(spans):
        chosen = [line for line in lines if begin <= line.day <= end]
        match n % 3:
            case 0:
                name, make = f"bank-{n}.csv", files.bank_csv
            case 1:
                name, make = f"bank-{n}.sta", partial(files.mt940, number=n)
            case _:
                name, make = f"bank-{n}.xml", files.camt
        content = make(chosen, opening=opening, days=(begin, end))
        yield _file("bank", name, content, chosen)
        opening += sum(line.amount for line in chosen) + (month.unseen if n == 0 else 0)


def _spans(days: int) -> list[Days]:
    count = (UNTIL - BEGIN).days // days + 1
    begins = [BEGIN + timedelta(days=days * n) for n in range(count)]
    return [(begin, min(begin + timedelta(days=days - 1), UNTIL)) for begin in begins]


def _file(account: str, name: str, content: bytes, lines: list[Line]) -> File:
    return File(account=account, name=name, content=content, lines=tuple(lines))
