"""The reference a payer quotes: ISO 11649, which banks check and people may print in fours."""

from stdnum import iso11649
from stdnum.iso7064 import mod_97_10

_LONGEST_BODY = 21


def creditor_reference(payment_reference: str) -> str:
    """PAY-7K3M9Q2X as RF43PAY7K3M9Q2X: at most 25 characters.

    Another digit for a digit, or another letter for a letter, is always noticed; a letter for a
    digit 96 times in 97. Of a longer reference the end is taken: that is where ours differ. Raises
    ValueError for one without a letter or digit.
    """
    body = "".join(c for c in payment_reference if c.isascii() and c.isalnum()).upper()
    if not body:
        raise ValueError(f"{payment_reference!r} has nothing that a bank could print")
    body = body[-_LONGEST_BODY:]
    return f"RF{mod_97_10.calc_check_digits(f'{body}RF')}{body}"


def printed(reference: str) -> str:
    """As banks and invoices print it: RF43 PAY7 K3M9 Q2X."""
    return str(iso11649.format(reference))
