"""Tax is worked out line by line, half up, and parts that are given back add up to the whole."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dusangire.invoicing.vat import Sold, credit, share, tax_of

STANDARD = 1800

amounts = st.integers(1, 10**12)
rates = st.sampled_from([0, 500, 1600, STANDARD, 1950, 9999])


@pytest.mark.parametrize(
    ("gross", "tax"),
    [
        (118, 18), (1, 0), (3, 0), (4, 1), (100, 15), (999, 152), (1000, 153), (3500, 534),
        (7000, 1068), (10500, 1602), (15000, 2288), (1000000, 152542),
    ],
)  # fmt: skip
def test_tax_is_what_the_vectors_say(gross: int, tax: int) -> None:
    assert tax_of(gross, STANDARD) == tax


def test_a_documents_tax_is_the_sum_of_its_lines_not_of_its_total() -> None:
    # Three lines of 3 francs hold nothing each; 9 francs at once would hold 1.
    assert sum(tax_of(3, STANDARD) for _ in range(3)) == 0
    assert tax_of(9, STANDARD) == 1


@given(amounts, rates)
def test_tax_is_the_formula_rounded_half_up(gross: int, rate: int) -> None:
    per_cent = Decimal(rate) / 100
    exact = Decimal(gross) * per_cent / (100 + per_cent)

    assert tax_of(gross, rate) == int(exact.quantize(Decimal(1), ROUND_HALF_UP))


@given(amounts, amounts, rates)
def test_more_holds_no_less_tax(gross: int, more: int, rate: int) -> None:
    assert 0 <= tax_of(gross, rate) <= tax_of(gross + more, rate) <= gross + more


parts = st.lists(st.integers(0, 10**9), min_size=1, max_size=20)


@given(parts, st.data())
def test_shares_come_to_the_amount_and_none_is_more_than_its_part(
    whole: list[int], data: st.DataObject
) -> None:
    amount = data.draw(st.integers(0, sum(whole)))

    shares = share(amount, whole)

    assert sum(shares) == amount
    assert all(0 <= got <= part for got, part in zip(shares, whole, strict=True))
    total = sum(whole)
    if total:
        assert all(
            abs(got - Decimal(amount) * part / total) < 1
            for got, part in zip(shares, whole, strict=True)
        )


@pytest.mark.parametrize("amount", [-1, 31])
def test_more_than_there_is_cannot_be_shared(amount: int) -> None:
    with pytest.raises(ValueError, match="cannot be spread"):
        share(amount, [10, 20])


lines = st.lists(st.tuples(st.integers(1, 100_000), rates), min_size=1, max_size=8)


@given(lines, st.lists(st.integers(1, 60_000), max_size=10))
def test_credits_of_any_sizes_add_up_to_what_was_sold_and_its_tax(
    sold: list[tuple[int, int]], amounts: list[int]
) -> None:
    totals = [(total, tax_of(total, rate), rate) for total, rate in sold]
    credited, taxed = [0] * len(sold), [0] * len(sold)
    left = sum(total for total, _ in sold)

    for amount in [*amounts, left]:
        amount = min(amount, left)  # noqa: PLW2901 - the last one takes the rest
        now = [Sold(*line, done) for line, done in zip(totals, credited, strict=True)]
        for place, (part, tax) in enumerate(credit(now, amount)):
            assert 0 <= tax <= part
            assert abs(tax - tax_of(part, totals[place][2])) <= 1
            credited[place] += part
            taxed[place] += tax
        left -= amount

    assert credited == [total for total, _, _ in totals]
    assert taxed == [tax for _, tax, _ in totals]


def test_many_small_credits_hold_the_tax_of_the_whole() -> None:
    # Each credit of 3 francs alone would hold no tax, and 18 would be left for the last franc.
    credited = taxed = 0

    for _ in range(39):
        [(part, tax)] = credit([Sold(118, 18, STANDARD, credited)], 3)
        credited, taxed = credited + part, taxed + tax
    [(last, last_tax)] = credit([Sold(118, 18, STANDARD, credited)], 1)

    assert (last, last_tax) == (1, 0)
    assert taxed == 18
