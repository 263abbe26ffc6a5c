"""What a bank writes behind `:86:`: free text, `?20` fields, or `/EREF/` codes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Information", "information_of"]

# The width that SWIFT gives to a line of :86:; a line as long as that is cut, not ended.
WIDTH = 65
# The width of a ?20 field, in which the same holds.
FIELD_WIDTH = 27

_FIELDS = re.compile(r"\s?([0-9]{3})?([^0-9A-Za-z\s/])(?=[0-9]{2})")
_WORDS = re.compile(r"\b(EREF|KREF|MREF|CRED|DEBT|SVWZ|ABWA|ABWE|IBAN|BIC|PURP|COAM|OAMT)\+")
_CODES = re.compile(
    r"/(EREF|PREF|REMI|NAME|IBAN|BENM|ORDP|CSID|MARF|TRTP|RTRN|ADDR|ISDT|PURP|ULTB|ULTD|CNTP|BIC"
    r"|SVCL|TRCD|PT|PY|OCMT|CHGS|EXCH)/"
)
_STARTS_WITH_A_CODE = re.compile(r"/[A-Z]{2,4}/")
_NOTHING = frozenset({"", "NOTPROVIDED", "NOT PROVIDED", "NONREF"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Information:
    """What `:86:` says. parts: its lines or fields as the bank cut them."""

    text: str = ""
    parts: tuple[str, ...] = ()
    code: str | None = None
    end_to_end_id: str | None = None
    customer_reference: str | None = None
    structured_reference: str | None = None
    counterparty: str | None = None
    account: str | None = None


def information_of(lines: Sequence[str]) -> Information:
    if not lines:
        return Information()
    if start := _FIELDS.match(lines[0]):
        return _of_fields("".join(lines)[start.end() - 1 :], start[1], start[2])
    if _STARTS_WITH_A_CODE.match(lines[0]) and _CODES.search(lines[0]):
        return _of_codes(lines)
    return Information(text=_joined(lines), parts=_parts(lines))


def _joined(lines: Sequence[str]) -> str:
    """The text of lines that were cut at a width, in the middle of a word."""
    lengths = {len(line) for line in lines[:-1]}
    own_width = lengths.pop() if len(lines) > 2 and len(lengths) == 1 else WIDTH
    text = ""
    for line in lines:
        text += line
        if len(line) not in {WIDTH, max(own_width, 20)}:
            text += " "
    return " ".join(text.split())


def _of_fields(text: str, code: str | None, mark: str) -> Information:
    fields = [(piece[:2], piece[2:]) for piece in text.split(mark) if piece[:2].isdigit()]
    told = [value for number, value in fields if "20" <= number <= "29" or "60" <= number <= "63"]
    all_told = _joined_fields(told)
    words = _words(all_told)
    names = "".join(value for number, value in fields if number in {"32", "33"})
    account = next((value for number, value in fields if number == "31"), "")
    posting = next((value for number, value in fields if number == "00"), "")
    return Information(
        text=" ".join((words.get("SVWZ") or all_told or posting).split()),
        parts=tuple(value.strip() for value in told if value.strip()),
        code=code,
        end_to_end_id=_given(words.get("EREF")),
        customer_reference=_given(words.get("KREF")),
        counterparty=_given(words.get("ABWA")) or _given(names),
        account=_given(account) or _given(words.get("IBAN")),
    )


def _joined_fields(values: Sequence[str]) -> str:
    """As the lines of free text: only a field that is full goes on in the next one."""
    width = min(max((len(value) for value in values), default=0), FIELD_WIDTH)
    text = "".join(value + ("" if len(value) >= width else " ") for value in values)
    return text.strip()


def _words(text: str) -> dict[str, str]:
    """`EREF+A SVWZ+B` as {"": "", "EREF": "A", "SVWZ": "B"}."""
    first, *rest = _WORDS.split(text)
    found = {"": first.strip()}
    for word, value in zip(rest[::2], rest[1::2], strict=True):
        found.setdefault(word, value.strip())
    return found


def _of_codes(lines: Sequence[str]) -> Information:
    # Banks that write codes cut wherever a line is full, a few characters earlier or later.
    text = "".join(line + ("" if len(line) >= WIDTH - 5 else " ") for line in lines)
    _, *rest = _CODES.split(text)
    found: dict[str, str] = {}
    for code, value in zip(rest[::2], rest[1::2], strict=True):
        if not found.get(code):
            found[code] = value.strip(" /")
    told, structured = found.get("REMI", ""), None
    kind, _, value = told.partition("/")
    if kind == "USTD":
        told = value.strip(" /")
    elif kind == "STRD":
        # /REMI/STRD/CUR/<reference>/: who issued it, then it.
        told = structured = value.rpartition("/")[2].strip()
    return Information(
        text=told or found.get("PY", "") or text,
        parts=_parts(lines),
        code=found.get("TRCD") or None,
        end_to_end_id=_given(found.get("EREF")),
        customer_reference=_given(found.get("PREF")),
        structured_reference=structured or None,
        counterparty=_given(found.get("NAME")),
        account=_given(found.get("IBAN")),
    )


def _parts(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.strip() for line in lines if line.strip())


def _given(value: str | None) -> str | None:
    value = " ".join((value or "").split())
    return None if value.upper() in _NOTHING else value
