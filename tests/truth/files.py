"""Statement files as banks, operators and couriers write them, from lines that are known."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TypeAlias
from xml.sax.saxutils import escape

from tests.truth.known import KIGALI, Line

BANK_ACCOUNT = "000400000001"
Days: TypeAlias = tuple[date, date]


def _days(lines: Sequence[Line]) -> Days:
    days = [line.day for line in lines] or [date(2026, 10, 1)]
    return min(days), max(days)


def bank_csv(
    lines: Sequence[Line],
    *,
    opening: int = 0,
    account: str = BANK_ACCOUNT,
    days: Days | None = None,
) -> bytes:
    """As Bank of Kigali lays it out; synthetic: no real file of theirs was seen.

    days: what the statement is of, when that is not from its first line to its last.
    """
    begin, end = days or _days(lines)
    closing = opening + sum(line.amount for line in lines)
    rows: list[list[object]] = [
        ["Bank of Kigali Account Statement"],
        ["Account No", account],
        ["Period :", f"{begin} To {end}"],
        ["Currency", "RWF"],
        ["Open Balance", f"{opening:,}"],
        ["Closing Balance", f"{closing:,}"],
        ["Book Date", "Value Date", "Reference", "Narration", "Debit", "Credit", "Balance"],
    ]
    balance = opening
    for line in lines:
        balance += line.amount
        debit = f"{-line.amount:,}" if line.amount < 0 else ""
        credit = f"{line.amount:,}" if line.amount > 0 else ""
        rows.append([line.day, line.day, line.mark, line.note, debit, credit, f"{balance:,}"])
    return _csv(rows)


def mt940(
    lines: Sequence[Line],
    *,
    opening: int = 0,
    number: int = 1,
    account: str = BANK_ACCOUNT,
    currency: str = "RWF",
    days: Days | None = None,
) -> bytes:
    """One message; narrations are cut hard at 65 characters, as banks do."""
    begin, end = days or _days(lines)
    closing = opening + sum(line.amount for line in lines)
    text = [":20:STATEMENT", f":25:{account}", f":28C:{number}/1", _balance("60F", begin, opening)]
    for line in lines:
        back = "R" if line.reversal else ""
        mark = ("C" if line.amount > 0 else "D") if not back else _taken_back(line)
        text.append(
            f":61:{line.day:%y%m%d}{line.day:%m%d}{mark}{abs(line.amount)},"
            f"N{'CHG' if line.word == 'FEE' else 'TRF'}NONREF//{line.mark}"
        )
        parts = range(0, max(len(line.note), 1), 65)
        text += [(":86:" if n == 0 else "") + line.note[n : n + 65] for n in parts]
    text.append(_balance("62F", end, closing))
    return ("\r\n".join([*text, "-"]) + "\r\n").replace("RWF", currency).encode()


def _taken_back(line: Line) -> str:
    # RC takes a credit back, so that money goes out; RD the other way.
    return "RC" if line.amount < 0 else "RD"


def _balance(tag: str, day: date, amount: int) -> str:
    return f":{tag}:{'C' if amount >= 0 else 'D'}{day:%y%m%d}RWF{abs(amount)},"


def camt(
    lines: Sequence[Line],
    *,
    opening: int = 0,
    account: str = BANK_ACCOUNT,
    days: Days | None = None,
) -> bytes:
    """camt.053, version 8; an account without an IBAN, as in Rwanda."""
    begin, end = days or _days(lines)
    closing = opening + sum(line.amount for line in lines)
    entries = "".join(
        f'<Ntry><Amt Ccy="RWF">{abs(line.amount)}</Amt><CdtDbtInd>{_sign(line.amount)}</CdtDbtInd>'
        f"{'<RvslInd>true</RvslInd>' if line.reversal else ''}<Sts><Cd>BOOK</Cd></Sts>"
        f"<BookgDt><Dt>{line.day}</Dt></BookgDt><ValDt><Dt>{line.day}</Dt></ValDt>"
        f"<AcctSvcrRef>{line.mark}</AcctSvcrRef>"
        f"{_CHARGE if line.word == 'FEE' else ''}<NtryDtls><TxDtls>"
        f"<Refs><EndToEndId>NOTPROVIDED</EndToEndId></Refs>{_debtor(line)}"
        f"<RmtInf><Ustrd>{escape(line.note)}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
        for line in lines
    )
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>M-{begin}</MsgId><CreDtTm>{end}T23:00:00+02:00</CreDtTm></GrpHdr>"
        f"<Stmt><Id>S-{begin}</Id><CreDtTm>{end}T23:00:00+02:00</CreDtTm>"
        f"<Acct><Id><Othr><Id>{account}</Id></Othr></Id><Ccy>RWF</Ccy></Acct>"
        f"{_camt_balance('OPBD', begin, opening)}{_camt_balance('CLBD', end, closing)}{entries}"
        "</Stmt></BkToCstmrStmt></Document>"
    ).encode()


_CHARGE = (
    "<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>MDOP</Cd><SubFmlyCd>CHRG</SubFmlyCd></Fmly></Domn>"
    "</BkTxCd>"
)


def _debtor(line: Line) -> str:
    if not line.payer or line.amount < 0:
        return ""
    return f"<RltdPties><Dbtr><Pty><Nm>{escape(line.payer)}</Nm></Pty></Dbtr></RltdPties>"


def _camt_balance(code: str, day: date, amount: int) -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>"
        f'<Amt Ccy="RWF">{abs(amount)}</Amt><CdtDbtInd>{_sign(amount)}</CdtDbtInd>'
        f"<Dt><Dt>{day}</Dt></Dt></Bal>"
    )


def _sign(amount: int) -> str:
    return "CRDT" if amount >= 0 else "DBIT"


def wallet_csv(lines: Sequence[Line], *, opening: int = 0) -> bytes:
    """As the merchant portal of a wallet exports it; the columns are those of such platforms."""
    rows: list[list[object]] = [
        ["Id", "External id", "Date", "Status", "Type", "Information", "From", "From name", "To",
         "To name", "Amount", "Fee", "Currency", "Balance"]
    ]  # fmt: skip
    balance = opening
    for line in lines:
        if line.status == "SUCCESSFUL":
            balance += line.amount
        rows.append(
            [line.mark, line.ours or "", _moment(line), line.status, line.word, line.note,
             line.payer_account or "", line.payer or "", "", "", line.amount, line.fee or 0, "RWF",
             balance]
        )  # fmt: skip
    return _csv(rows)


def settlement_csv(lines: Sequence[Line]) -> bytes:
    """As a card gateway lists what it pays out, payment by payment."""
    rows: list[list[object]] = [
        ["id", "tx_ref", "flw_ref", "created_at", "status", "type", "charged_amount", "app_fee",
         "amount_settled", "currency", "settlement_id", "customer_name", "narration"]
    ]  # fmt: skip
    rows += [
        [line.mark, line.ours or "", f"FLW-MOCK-{line.mark}", _moment(line), line.status,
         line.word, line.gross if line.gross is not None else line.amount, line.fee or 0,
         line.amount, "RWF", line.settlement or "", line.payer or "", line.note]
        for line in lines
    ]  # fmt: skip
    return _csv(rows)


def courier_csv(lines: Sequence[Line]) -> bytes:
    """What a courier collected at doors, order by order."""
    rows: list[list[object]] = [
        ["Date", "Waybill", "Payment reference", "Collected", "Fee", "Net", "Currency",
         "Remittance"]
    ]  # fmt: skip
    for line in lines:
        gross = line.gross if line.gross is not None else line.amount
        rows.append(
            [line.day, line.mark, line.ours or "", gross, line.fee or 0, line.amount, "RWF",
             line.settlement or ""]
        )  # fmt: skip
    return _csv(rows)


def _moment(line: Line) -> str:
    return line.at.astimezone(KIGALI).strftime("%Y-%m-%d %H:%M:%S") if line.at else f"{line.day}"


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
