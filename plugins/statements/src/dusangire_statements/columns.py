"""The names of columns: found among the first rows, and understood in four languages."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

from dusangire.statements_mapping import Columns

__all__ = ["AMOUNTS", "find", "generic", "has_essentials", "named", "normalised", "resolved"]

AMOUNTS = ("amount", "debit", "credit", "gross", "net")

# Normalised as `normalised` does. The first field that claims a name gets it.
_ALIASES: Mapping[str, str] = {
    "booking_date": "date|book date|booking date|transaction date|trans date|txn date|posting date"
    "|post date|entry date|date operation|date de l operation|date d operation|date comptable"
    "|itariki|buchungstag|buchungsdatum|datum|completion time|date time|datetime|timestamp"
    "|transaction date time|created at|created on|transaction time|paid at|collected on",
    "value_date": "value date|val date|date valeur|date de valeur|valuta|wertstellung|valutadatum",
    "time": "time|heure|isaha|uhrzeit",
    "description": "description|narration|details|transaction details|particulars|remarks|memo"
    "|libelle|motif|ibisobanuro|verwendungszweck|buchungstext|information|note|narrative",
    "transaction_id": "transaction id|txn id|financial transaction id|trans id|receipt no"
    "|receipt number|transaction no|airtel money id|flw ref",
    "our_reference": "external id|external transaction id|merchant reference|tx ref"
    "|merchant transaction id|our reference|order reference|payment reference",
    "reference": "reference|ref|ref no|reference no|reference number|bank reference number"
    "|bank reference|cheque no|numero|reference operation|referenz|indango",
    "settlement": "settlement id|payout id|settlement reference|disburse ref|remittance"
    "|remittance no|batch id|settlement",
    "debit": "debit|debits|money out|withdrawal|withdrawals|withdrawn|paid out|dr|debit amount"
    "|sortie|retrait|soll|amafaranga yasohotse",
    "credit": "credit|credits|money in|deposit|deposits|paid in|cr|credit amount|entree|versement"
    "|haben|amafaranga yinjiye",
    "gross": "gross|gross amount|amount collected|collected|montant brut|brutto",
    "fee": "fee|fees|app fee|charge|charges|commission|frais|gebuhr|provider fee|merchant fee",
    "net": "net|net amount|amount settled|settled amount|montant net|netto|settlement amount",
    "amount": "amount|montant|amafaranga|transaction amount|betrag|umsatz",
    "dc_flag": "dr cr|cr dr|d c|c d|sens|debit credit|credit debit|soll haben",
    "balance": "balance|running balance|ledger balance|solde|available balance|saldo"
    "|asigaye|closing balance",
    "payer": "name|from|from name|counterparty|payer|beneficiary|nom|customer name|customer"
    "|payer name|auftraggeber|empfanger|amazina",
    "payer_account": "counterparty account|from account|msisdn|phone|compte|payer account"
    "|phone number|customer phone|telefone|iban|account number",
    "currency": "currency|ccy|devise|wahrung|ifaranga",
    "status": "status|transaction status|statut|state",
    "type": "type|transaction type|txn type|kind",
}
_FIELD_OF = {
    alias: field
    for field, aliases in reversed(list(_ALIASES.items()))
    for alias in aliases.split("|")
}
_UNIT = re.compile(r" (rwf|frw|usd|eur|kes|ugx|tzs|bif|gbp)$")
_ESSENTIAL_NUMBER = 3


@lru_cache(maxsize=50_000)
def normalised(text: str) -> str:
    """Lower case, without accents and punctuation, with single spaces."""
    decomposed = unicodedata.normalize("NFKD", text[:300])
    bare = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return " ".join(re.sub(r"[^a-z0-9]+", " ", bare.lower()).split())


def named(cells: Sequence[str]) -> list[str]:
    """The names in a row, normalised; of equal ones the second is `amount#2`."""
    names: list[str] = []
    for cell in cells:
        name = normalised(cell)
        copies = 1 + sum(1 for other in names if other.split("#")[0] == name)
        names.append(f"{name}#{copies}" if name and copies > 1 else name)
    return names


def generic(names: Sequence[str]) -> dict[str, int]:
    """The columns that are understood by their names alone."""
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        field = _FIELD_OF.get(name) or _FIELD_OF.get(_UNIT.sub("", name))
        if field is not None:
            found.setdefault(field, index)
    return found


def resolved(names: Sequence[str], columns: Columns) -> tuple[dict[str, int], list[str]]:
    """Where the columns of a mapping are, and those of its fields that are nowhere."""
    found: dict[str, int] = {}
    missing: list[str] = []
    for field in Columns.model_fields:
        wanted: tuple[str, ...] = getattr(columns, field)
        for name in wanted:
            base, sign, copy = name.partition("#")
            key = normalised(base) + (f"#{copy}" if sign and copy != "1" else "")
            if key in names:
                found[field] = names.index(key)
                break
        else:
            if wanted:
                missing.append(field)
    return found, missing


def has_essentials(found: Mapping[str, int]) -> bool:
    """Whether there are a date and an amount among the columns."""
    return "booking_date" in found and any(field in found for field in AMOUNTS)


def find(
    rows: Sequence[Sequence[str]], columns: Columns | None
) -> tuple[int, dict[str, int]] | None:
    """The first row that names the columns, and where each is. columns: None for any names."""
    for index, row in enumerate(rows):
        names = named(row)
        found = generic(names) if columns is None else resolved(names, columns)[0]
        if has_essentials(found) and len(found) >= (_ESSENTIAL_NUMBER if columns is None else 2):
            return index, found
    return None
