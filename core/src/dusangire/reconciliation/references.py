"""What a line of a statement names: payment references, ids, phone numbers, words.

A payer types the reference by hand, a bank cuts it at 65 columns, an export wraps it in a sentence.
Everything is compared as `normalised`, the same on the side of the payments.
"""

import re
from collections.abc import Iterator
from itertools import pairwise, product

from dusangire.money import exponent
from dusangire.statements import Entry

__all__ = ["ID", "LIMIT", "PHONE", "RF", "RF_REPAIRED", "TOKEN", "normalised", "references_of"]

RF = "RF"
RF_REPAIRED = "RF_REPAIRED"
ID = "ID"
TOKEN = "TOKEN"  # noqa: S105 - a word
PHONE = "PHONE"

LIMIT = 64
"""So many references of one line are kept: the sure ones first."""

# Narrations are short; what a stranger makes long is read this far.
_LONGEST = 4000
_RF_STARTS = 16
_RF_BODY = 21
# Of two characters that look alike, O and 0 for instance, people type either.
_ALIKE = {"O": "O0", "0": "0O", "I": "I1", "1": "1I", "L": "L1"}
_TO_DIGITS = str.maketrans("OIL", "011")
_MOST_DOUBTS = 4

_OTHERS = re.compile(r"[^A-Za-z0-9]+")
_RF_START = re.compile(r"RF(?=[0-9OIL]{2}[A-Z0-9])")
_PHONE = re.compile(r"(?<!\d)(?:\+?250[ -]?|0)(7[2389](?:[ -]?\d){7})(?!\d)")
_WORDS = re.compile(r"[A-Za-z0-9]+(?:[-/._#][A-Za-z0-9]+)*")
# Amounts with thousands: a word, or two, that are no reference.
_AMOUNT = re.compile(r"(?<![A-Za-z0-9])\d{1,3}(?:[, ]\d{3})+(?:\.\d{1,2})?(?![A-Za-z0-9])")
_DATE = re.compile(
    r"(?<![A-Za-z0-9/-])(?:(?:19|20)\d\d[-/.]?(?:1[0-2]|0?[1-9])[-/.]?(?:3[01]|[12]\d|0?[1-9])"
    r"|(?:3[01]|[12]\d|0?[1-9])[-/.](?:1[0-2]|0?[1-9])[-/.](?:19|20)?\d\d"
    r"|(?:3[01]|[12]\d|0[1-9])(?:1[0-2]|0[1-9])20\d\d)"
    r"(?:[T ]?[0-2]\d:?[0-5]\d(?::?[0-5]\d)?)?(?![A-Za-z0-9/-])"
)
# PAY-7K3M9Q2X, normalised: no I, L, O or U is in it.
_OURS = re.compile(r"PAY[0-9A-HJKMNP-TV-Z]{8}")
_NO_REFERENCE = frozenset({"NONREF", "NOTPROVIDED", "NONE", "NOREF", "NA", "N/A", "NULL"})


def normalised(text: str) -> str:
    """Letters and digits only, in upper case: `pay-7k3m 9q2x` is PAY7K3M9Q2X.

    The database makes the same with upper(regexp_replace(text, '[^A-Za-z0-9]', '', 'g')).
    """
    return _OTHERS.sub("", text).upper()


def references_of(entry: Entry, own_account: str | None) -> list[tuple[str, str]]:
    """What an entry names, as (kind, value), each once, the surest first, at most LIMIT.

    own_account: the account that the statement is of; on a statement it says nothing.
    """
    found: dict[tuple[str, str], None] = {}
    own = normalised(own_account or "")
    for kind, value in _all(entry, own):
        if value and value != own and len(value) <= 100:
            found.setdefault((kind, value))
        if len(found) >= LIMIT:
            break
    return list(found)


def _all(entry: Entry, own: str) -> Iterator[tuple[str, str]]:
    fields = _typed(entry)
    texts = [text[:_LONGEST] for text in (entry.narration, " ".join(entry.narration_parts)) if text]
    for value in fields:
        yield ID, value
    squeezed = list(dict.fromkeys([*fields, *map(normalised, texts)]))
    for text in squeezed:
        for body in _found(text):
            yield RF, body
    for text in texts:
        for phone in _PHONE.findall(text):
            yield PHONE, "250" + normalised(phone)
    if entry.counterparty_account and (phone := _PHONE.search(entry.counterparty_account)):
        yield PHONE, "250" + normalised(phone[1])
    for text in squeezed:
        for body in _mended(text):
            yield RF_REPAIRED, body
    plain = _plain_amounts(entry)
    for text in dict.fromkeys([*texts, *(field for field in _raw(entry) if field)]):
        for word in _words(text):
            if word not in plain and word != own:
                yield TOKEN, word


def _raw(entry: Entry) -> tuple[str | None, ...]:
    return (entry.bank_reference, entry.customer_reference, entry.end_to_end_id)


def _typed(entry: Entry) -> list[str]:
    own = (entry.transaction_id, entry.our_reference, entry.settlement)
    theirs = (
        entry.structured_reference,
        entry.end_to_end_id,
        entry.customer_reference,
        entry.bank_reference,
    )
    values = [normalised(text[:_LONGEST]) for text in own if text]
    # What a payer's side sent along is a key only when it is long enough to be one.
    values += [value for text in theirs if text and len(value := normalised(text[:_LONGEST])) > 3]
    return [value for value in dict.fromkeys(values) if value and value not in _NO_REFERENCE]


# ── creditor references (ISO 11649) ──────────────────────────────────────────────────────────────


def _found(text: str) -> Iterator[str]:
    """Bodies of all references whose check digits hold, for every place where one may end."""
    for start in _starts(text):
        check = text[start + 2 : start + 4]
        if check.isdigit():
            yield from _holding(text[start + 4 : start + 4 + _RF_BODY], check)


def _mended(text: str) -> Iterator[str]:
    """As `_found`, after reading characters that look alike as each other."""
    for start in _starts(text):
        written = text[start + 2 : start + 4 + _RF_BODY]
        check, body = written[:2].translate(_TO_DIGITS), written[2:]
        sure = set(_holding(body, written[:2])) if written[:2].isdigit() else set()
        for variant in dict.fromkeys(_variants(body)):
            for mended in _holding(variant, check):
                if mended not in sure and len(mended) >= 4:
                    yield mended


def _starts(text: str) -> list[int]:
    return [found.start() for found in _RF_START.finditer(text)][:_RF_STARTS]


def _holding(body: str, check: str) -> Iterator[str]:
    rest = 0
    header = 271500 + int(check)  # R is 27, F is 15
    for length, character in enumerate(body, start=1):
        value = int(character, 36)
        rest = (rest * (10 if value < 10 else 100) + value) % 97
        if (rest * 1_000_000 + header) % 97 == 1 and (stripped := body[:length].lstrip("0")):
            yield stripped


def _variants(body: str) -> Iterator[str]:
    yield body
    doubts = [place for place, character in enumerate(body) if character in _ALIKE]
    letters = len(body) - len(body.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    yield body.translate(_TO_DIGITS)
    yield body[:letters] + body[letters:].translate(_TO_DIGITS)
    yield body.replace("0", "O").replace("1", "I")
    few = doubts[:_MOST_DOUBTS]
    for choice in product(*(_ALIKE[body[place]] for place in few)):
        written = list(body)
        for place, character in zip(few, choice, strict=True):
            written[place] = character
        yield "".join(written)


# ── words ────────────────────────────────────────────────────────────────────────────────────────


def _words(text: str) -> Iterator[str]:
    """Words that may be an order, an invoice or an id: four letters and digits, one a digit."""
    text = _PHONE.sub(" ", _DATE.sub(" ", _AMOUNT.sub(" ", text)))
    runs = [part[0] for part in _WORDS.finditer(text)]
    words = [normalised(run) for run in runs]
    for word, run in zip(words, runs, strict=True):
        if _telling(word):
            yield word
        if len(word) < len(run):
            yield from (part for part in map(str.upper, _OTHERS.split(run)) if _telling(part))
    # PAY 7K3M9Q2X, INV 2026 000042: the name of the number stands before it.
    for first, second in pairwise(words):
        if first.isalpha() and len(first) <= 8 and _telling(first + second):
            yield first + second
    for first, second, third in zip(words, words[1:], words[2:], strict=False):
        if first.isalpha() and len(first) <= 8 and _telling(first + second + third):
            yield first + second + third


def _telling(word: str) -> bool:
    # One in twenty of our own references happens to be letters only.
    if _OURS.fullmatch(word):
        return True
    if not (4 <= len(word) <= 64 and any(character.isdigit() for character in word)):
        return False
    return not (len(word) == 4 and word.isdigit() and word[:2] in {"19", "20"})


def _plain_amounts(entry: Entry) -> set[str]:
    """The entry's own amounts as a narration may repeat them."""
    plain = set()
    for money in (entry.amount, entry.gross, entry.fee, entry.charges, entry.original_amount):
        if money is not None:
            digits = exponent(money.currency)
            whole, rest = divmod(money.minor, 10**digits)
            plain |= {str(whole), str(money.minor), f"{money.currency}{whole}", f"FRW{whole}"}
            plain.add(f"{whole}{rest:0{digits}d}" if digits else str(whole))
    return plain
