"""What a table says of itself outside of its columns: `Account No`, `Closing Balance: 99,500`."""

from collections.abc import Sequence

from dusangire.statements_mapping import Metadata
from dusangire_statements.columns import normalised

__all__ = ["Labels"]

_USUAL = {
    "opening_balance": "opening balance|open balance|balance at period start|balance b fwd"
    "|balance bfwd|balance brought forward|opening bal|solde initial|anfangssaldo",
    "closing_balance": "closing balance|balance at period end|balance c fwd"
    "|balance carried forward|closing bal|solde final|endsaldo",
    "available_balance": "available balance|solde disponible",
    "account": "account|account no|account number|acc no|compte|numero de compte|konto|msisdn"
    "|merchant number|till number",
    "currency": "currency|devise|ccy|wahrung",
    "number": "statement no|statement number",
    "period": "period|statement period|periode|date range",
    "period_from": "from|from date|start date|date from|du",
    "period_to": "to|to date|end date|date to|au",
    "total_credits": "total credits|total credit|total money in|total paid in",
    "total_debits": "total debits|total debit|total money out|total withdrawn",
}


class Labels:
    """The values found beside labels. Of a label that comes on every page the first counts."""

    def __init__(self, metadata: Metadata, balance: int | None) -> None:
        self._balance = balance
        self._values: dict[str, str] = {}
        self._known: dict[str, str] = {}
        for field, usual in _USUAL.items():
            for label in (*getattr(metadata, field), *usual.split("|")):
                self._known.setdefault(normalised(label), field)

    def text(self, field: str) -> str | None:
        """What the file says, if it does."""
        return self._values.get(field)

    def knows(self, texts: Sequence[str]) -> bool:
        """Whether a row begins with one of the labels."""
        return bool(texts) and self._field(texts[0].split(":")[0]) is not None

    def above(self, row: Sequence[str]) -> None:
        """A row before the columns: labels with their values behind them."""
        for index, cell in enumerate(row):
            label, colon, value = cell.partition(":")
            field = self._field(label)
            if field is None:
                continue
            value = value.strip() if colon else ""
            if not value:
                value = next((text for text in row[index + 1 :] if text.strip(" :")), "")
            if value and self._field(value) is None:
                self._values.setdefault(field, value.lstrip(": '"))

    def among(self, row: Sequence[str]) -> None:
        """A row below the columns that is no entry: its balance is in the column of balances."""
        for index, cell in enumerate(row):
            field = self._field(cell.partition(":")[0])
            if field is None:
                continue
            balance = self._balance
            if (
                field in {"opening_balance", "closing_balance", "available_balance"}
                and balance is not None
                and balance < len(row)
                and balance != index
                and row[balance]
            ):
                self._values.setdefault(field, row[balance])
            else:
                self.above(row[index:])
            return

    def _field(self, label: str) -> str | None:
        return self._known.get(normalised(label)) if label else None
