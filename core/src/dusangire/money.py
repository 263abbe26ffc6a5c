"""An amount of money: an integer of the currency's minor unit, and the currency."""

from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import cache

from iso4217 import Currency

from dusangire.errors import AmountOutOfLimits, CurrencyNotSupported, InvalidAmount

# A PostgreSQL BIGINT holds more; a sum of a thousand of the largest amounts still fits in one.
MAX_MINOR = 9_000_000_000_000_000
# The context everybody shares rounds to 28 digits without a word.
_EXACT = Context(prec=60, traps=[Inexact])


@cache
def exponent(currency: str) -> int:
    """Decimals of a currency by ISO 4217: 0 for RWF, 2 for KES, 3 for BHD.

    Raises CurrencyNotSupported for a code that ISO 4217 does not know.
    """
    try:
        digits = Currency(currency).exponent
    except ValueError as error:
        raise CurrencyNotSupported(
            f"{currency[:10]!r} is not an ISO 4217 currency code."
        ) from error
    if digits is None:
        raise CurrencyNotSupported(f"{currency} has no minor unit and cannot be paid in.")
    return int(digits)


@dataclass(frozen=True, slots=True)
class Money:
    """`minor` units of `currency`: Money(5000, "RWF") is 5,000 francs, Money(150, "USD") $1.50."""

    minor: int
    currency: str

    @classmethod
    def parse(cls, amount: Decimal | int | str, currency: str) -> "Money":
        """A positive amount in major units, exactly, or an error: nothing is ever rounded.

        Raises InvalidAmount (not a number, not positive, too many decimals), AmountOutOfLimits
        (more than can be stored) and CurrencyNotSupported.
        """
        digits = exponent(currency)
        if isinstance(amount, str) and ("_" in amount or not amount.isascii()):
            # Decimal reads 1_000 and the digits of any script as well; a person may not.
            raise InvalidAmount("The amount must be a decimal number, such as 5000.")
        try:
            value = Decimal(amount)
        except (InvalidOperation, ValueError, TypeError) as error:
            raise InvalidAmount("The amount must be a decimal number, such as 5000.") from error
        if not value.is_finite() or value <= 0:
            raise InvalidAmount("The amount must be more than zero.")
        if value.adjusted() > 18:
            raise AmountOutOfLimits("The amount is larger than any payment can be.")
        try:
            minor = value.scaleb(digits, context=_EXACT)
        except Inexact as error:
            raise InvalidAmount("The amount has more decimals than any currency.") from error
        if minor != minor.to_integral_value():
            decimals = "no decimals" if digits == 0 else f"at most {digits} decimals"
            raise InvalidAmount(f"{currency} has {decimals}: {amount} cannot be paid.")
        if minor > MAX_MINOR:
            raise AmountOutOfLimits("The amount is larger than any payment can be.")
        return cls(int(minor), currency)

    @property
    def amount(self) -> Decimal:
        """The amount in major units, exact."""
        return Decimal(self.minor).scaleb(-exponent(self.currency))

    def __str__(self) -> str:
        return f"{self.amount:,f} {self.currency}"
