"""Value added tax that prices include: how much of each line it is, and of each part given back.

Tax is worked out line by line and rounded half up to the currency's minor unit; a document's tax is
the sum of its lines'. Everything is integers: minor units, and hundredths of a per cent for rates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

# RRA's letters: A exempt, B the standard rate, C exports, D a seller who is not registered.
TAX_RATES: Mapping[str, Decimal] = MappingProxyType(
    {"A": Decimal(0), "B": Decimal(18), "C": Decimal(0), "D": Decimal(0)}
)
# What a seller's prices hold when nothing else is said.
REGISTERED, UNREGISTERED = "B", "D"


def tax_of(gross: int, rate: int) -> int:
    """The tax in `gross`, which includes it: 18 of 118 at `rate` 1800, which is 18 %."""
    whole = 10_000 + rate
    return (2 * gross * rate + whole) // (2 * whole)


def share(amount: int, parts: Sequence[int]) -> list[int]:
    """`amount` spread over `parts` in proportion, without a rest: never more than a part itself.

    amount: at most the sum of the parts. What does not divide goes to those who lost most of it by
    rounding, the first of them when several did.
    """
    whole = sum(parts)
    if not 0 <= amount <= whole:
        raise ValueError(f"{amount} cannot be spread over {whole}")
    if whole == 0:
        return [0 for _ in parts]
    shares = [amount * part // whole for part in parts]
    rests = sorted(range(len(parts)), key=lambda place: (-(amount * parts[place] % whole), place))
    for place in rests[: amount - sum(shares)]:
        shares[place] += 1
    return shares


@dataclass(frozen=True, slots=True)
class Sold:
    """A line as it was sold, and how much of it was credited so far. Minor units, tax included."""

    total: int
    tax: int
    rate: int
    credited: int = 0


def credit(lines: Sequence[Sold], amount: int) -> list[tuple[int, int]]:
    """What a credit of `amount` takes off each line: with tax, and the tax in it.

    The tax is what the formula gives for all that was credited so far, less what it gave before:
    so the taxes of several credits add up to the line's own when all of it is credited.
    """
    shares = share(amount, [line.total - line.credited for line in lines])
    return [(part, _credited_tax(line, part)) for line, part in zip(lines, shares, strict=True)]


def _credited_tax(line: Sold, part: int) -> int:
    return _tax_up_to(line, line.credited + part) - _tax_up_to(line, line.credited)


def _tax_up_to(line: Sold, credited: int) -> int:
    return line.tax if credited == line.total else tax_of(credited, line.rate)
