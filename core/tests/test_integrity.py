"""Whether a statement holds together, and who has to look when it does not."""

from datetime import date

import pytest

from dusangire.importing.integrity import Before, Tally, Warned, blocks, shortened
from dusangire.money import Money
from dusangire.statements import Direction, Entry, EntryStatus, StatementEnd, StatementHead

TODAY = date(2026, 11, 23)
DAY = date(2026, 11, 2)


def entry(amount: int, balance: int | None = None, day: date = DAY, line: int = 1) -> Entry:
    return Entry(
        line=line,
        booking_date=day,
        direction=Direction.CREDIT if amount > 0 else Direction.DEBIT,
        amount=Money(abs(amount), "RWF"),
        running_balance=balance,
        status=EntryStatus.BOOKED if amount else EntryStatus.INFO,
    )


def found(
    *entries: Entry,
    head: StatementHead | None = None,
    end: StatementEnd | None = None,
    before: Before | None = None,
) -> list[str]:
    tally = Tally(head=head or StatementHead(), currency="RWF", today=TODAY)
    for one in entries:
        tally.add(one)
    return [one.code for one in tally.close(end or StatementEnd(), before or Before())]


@pytest.mark.parametrize(
    ("closing", "codes"), [(119_500, []), (119_501, ["BALANCE_TIE"]), (None, [])]
)
def test_the_lines_lead_from_the_opening_to_the_closing_balance(
    closing: int | None, codes: list[str]
) -> None:
    lines = entry(20_000), entry(-500), entry(0)

    assert (
        found(*lines, head=StatementHead(opening=100_000), end=StatementEnd(closing=closing))
        == codes
    )


@pytest.mark.parametrize(
    ("balances", "codes"),
    [
        ((110, 105, 125), []),
        ((110, 105, 126), ["RUNNING_BALANCE"]),
    ],
)
def test_each_balance_follows_from_the_one_before_in_either_order(
    balances: tuple[int, ...], codes: list[str]
) -> None:
    lines = [
        entry(amount, balance, line=number)
        for number, (amount, balance) in enumerate(zip((10, -5, 20), balances, strict=True), 1)
    ]

    assert found(*lines) == codes
    assert found(*reversed(lines)) == codes


@pytest.mark.parametrize(
    ("end", "codes"),
    [
        (StatementEnd(total_credits=30, total_debits=5, entries=3), []),
        (StatementEnd(total_debits=-5), []),
        (StatementEnd(total_credits=31), ["TOTALS"]),
        (StatementEnd(entries=4), ["TOTALS"]),
    ],
)
def test_declared_totals_are_compared(end: StatementEnd, codes: list[str]) -> None:
    assert found(entry(10), entry(-5), entry(20), end=end) == codes


@pytest.mark.parametrize(
    ("before", "codes"),
    [
        (Before(closing=100, until=date(2026, 11, 1)), []),
        (Before(closing=101, until=date(2026, 11, 1)), ["CONTINUITY"]),
        # A month is missing in between; nobody said that these two are neighbours.
        (Before(closing=101, until=date(2026, 9, 30)), []),
        (Before(sequence="1"), []),
        (Before(sequence="6"), ["SEQUENCE_GAP"]),
    ],
)
def test_a_statement_goes_on_where_the_one_before_ended(before: Before, codes: list[str]) -> None:
    head = StatementHead(opening=100, period_from=DAY, sequence="8" if codes else "2")

    assert found(entry(10), head=head, before=before) == codes


def test_days_outside_the_period_and_to_come_are_said_once() -> None:
    head = StatementHead(period_from=DAY, period_to=DAY)
    near, far = date(2026, 11, 5), date(2026, 11, 6)

    assert found(entry(1, day=near), head=head) == []
    assert found(entry(1, day=far), entry(1, day=far), head=head) == ["PERIOD"]
    assert found(entry(1, day=date(2026, 11, 24))) == ["FUTURE_DATE"]


@pytest.mark.parametrize(
    ("code", "stops"),
    [
        ("BALANCE_TIE", True),
        ("RUNNING_BALANCE", True),
        ("TOTALS", True),
        ("CURRENCY", True),
        ("OVERLAP", False),
    ],
)
def test_only_balances_stop_the_machine(code: str, stops: bool) -> None:
    assert blocks([Warned(code=code, message="")]) is stops


def test_thousands_of_warnings_become_some() -> None:
    many = [Warned(code="X", message="")] * 1_000

    assert len(shortened(many)) == 201
    assert shortened(many)[-1].message == "There are 800 more warnings."
