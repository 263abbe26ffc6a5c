"""The profiles that are shipped: files made after what is known of each bank and wallet.

None of the files is a real one: no free sample of a Rwandan statement exists.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from plugins.statements.tests.tabling import csv, options, read, xlsx

from dusangire.gateway import GatewayDescription
from dusangire.money import Money
from dusangire.statements import AccountKind, EntryKind, EntryStatus, MappingProfile
from dusangire.statements_mapping import BadMapping, check
from dusangire_airtel import gateway as airtel
from dusangire_bank import gateway as bank
from dusangire_card import gateway as card
from dusangire_cod import gateway as cod
from dusangire_mtn import gateway as mtn
from dusangire_statements import plugin, tables

PROFILES: Mapping[str, MappingProfile] = {
    profile.code: profile
    for module in (plugin, mtn, airtel, card, cod)
    for profile in module.statement_formats()
    if isinstance(profile, MappingProfile)
}

BANK_OF_KIGALI = """\
Bank of Kigali Account Statement
Customer Name,SHOP LTD
Account No,000400000001
Currency,RWF
Period : 2026-11-01 To 2026-11-30
Total Debits,"20,500"
Total Credits,"20,000"
Open Balance,"100,000"
Closing Balance,"99,500"
Book Date,Value Date,Reference,Narration,Debit,Credit,Balance
2026-11-02,2026-11-02,FT26306AB1C2,Incoming Trsf | SHOP CUSTOMER A 0000017,,"15,000","115,000"
2026-11-02,2026-11-02,FTCM26306XY,MTN MOMO : transfer | 2507XX RF59RW00000042,,"5,000","120,000"
2026-11-03,2026-11-03,FT26307QQ7D1,IB Account transfer : SUPPLIER B | invoice 77,"20,000",,"100,000"
2026-11-03,2026-11-03,FT26307QQ7D1,Charge,500,,"99,500"
2026-11-04,2026-11-04,FT26308AA000,IB Account transfer : SCHOOL | school fees,"1,000",,"98,500"
"""


@pytest.mark.parametrize("code", sorted(PROFILES))
def test_every_profile_that_is_shipped_can_be_used(code: str) -> None:
    profile = PROFILES[code]

    mapping = check(profile.mapping)

    assert mapping.columns.booking_date
    assert mapping.match.header_all or mapping.match.title_contains
    assert profile.name


def test_none_says_that_it_was_tried_with_a_real_file() -> None:
    assert [code for code, profile in PROFILES.items() if profile.verified] == []


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        (mtn.describe_gateway(), AccountKind.WALLET),
        (airtel.describe_gateway(), AccountKind.WALLET),
        (bank.describe_gateway(), AccountKind.BANK),
        (card.describe_gateway(), AccountKind.SETTLEMENT),
        (cod.describe_gateway(), AccountKind.SETTLEMENT),
    ],
    ids=["mtn", "airtel", "bank", "card", "cod"],
)
def test_each_gateway_says_what_its_statements_tell_of(
    description: GatewayDescription, kind: AccountKind
) -> None:
    assert description.statement is kind


def test_a_file_like_bank_of_kigalis_has_its_fee_known_by_the_shared_reference(
    tmp_path: Path,
) -> None:
    found = read(csv(tmp_path, BANK_OF_KIGALI), options(profiles=PROFILES.values()))

    assert "bank_of_kigali" in found.remarks["PROFILE"].message
    assert found.signed == [15_000, 5_000, -20_000, -500, -1_000]
    assert [entry.kind is EntryKind.FEE for entry in found.entries] == [False] * 3 + [True, False]
    assert found.entries[1].narration_parts == (
        "MTN MOMO : transfer",
        "2507XX RF59RW00000042",
    )
    assert (found.head.account, found.head.opening) == ("000400000001", 100_000)
    assert (found.end.closing, found.end.total_credits) == (99_500, 20_000)
    assert found.head.period_to == date(2026, 11, 30)
    assert found.rejected == []


def test_a_fee_is_known_before_its_transfer_too(tmp_path: Path) -> None:
    head, columns, rows = (
        BANK_OF_KIGALI.splitlines()[:9],
        BANK_OF_KIGALI.splitlines()[9],
        BANK_OF_KIGALI.splitlines()[10:],
    )
    file = csv(tmp_path, "\n".join([*head, columns, *reversed(rows)]))

    found = read(file, options(profiles=PROFILES.values()))

    assert [entry.amount.minor for entry in found.entries if entry.kind is EntryKind.FEE] == [500]


@pytest.mark.parametrize(
    ("code", "text", "signed"),
    [
        (
            "equity_bank",
            (
                "Equity Bank Rwanda\nDate,Description,Debit (RWF),Credit (RWF),Balance\n"
                '02/11/2026,x,,"1,234","1,234"\n03/11/2026,y,"200",,"1,034"\n'
            ),
            [1234, -200],
        ),
        (
            "kcb_bank",
            (
                "KCB iBank\nTransaction Date,Value Date,Description,Debit,Credit,Running Balance\n"
                '02/11/2026,02/11/2026,BALANCE B/FWD,0.00,0.00,"1,000.00"\n'
                '02/11/2026,02/11/2026,x,0.00,"1,234.00","2,234.00"\n'
            ),
            [0, 1234],
        ),
        (
            "kcb_ibank",
            (
                "Transaction Date,Value Date,Transaction Details,Money Out,Money In,Ledger Balance,"
                "Bank Reference Number\n"
                '02.11.2026,02.11.2026,x,0.00,"1,234.00","2,234.00",FT1\n'
            ),
            [1234],
        ),
        (
            "ecobank",
            (
                "Ecobank\nTransaction Date,Value Date,Reference,Description,Debit,Credit,Balance\n"
                "02-Nov-2026,02-Nov-2026,R1,x,,1234,1234\n"
            ),
            [1234],
        ),
        (
            "im_bank",
            (
                "I&M Bank (Rwanda)\nTransaction Date,Value Date,Reference,Narration,Debit,Credit,"
                "Balance\n02/11/2026,02/11/2026,R1,x,,1234,1234\n"
            ),
            [1234],
        ),
        (
            "mpesa_style",
            (
                "Receipt No.,Completion Time,Details,Transaction Status,Paid In,Withdrawn,Balance\n"
                'SK1,2026-11-02 10:05:00,Payment from 2547,Completed,"1,234.00",,"1,234.00"\n'
                'SK1,2026-11-02 10:05:00,Pay merchant Charge,Completed,,"-10.00","1,224.00"\n'
            ),
            [1234, -10],
        ),
        (
            "airtel_money_merchant",
            (
                "Airtel Money statement\nDate,Description,Credit,Debit,Balance,Reference\n"
                "02-11-26 11:32 PM,Payment,5000,,5000,PP261102.2332.C12345\n"
                "03/11/26,Withdrawal to bank,,5000,0,PP261103.0800.C12346\n"
            ),
            [5000, -5000],
        ),
    ],
)
def test_a_file_as_it_is_described_is_read(
    tmp_path: Path, code: str, text: str, signed: list[int]
) -> None:
    found = read(csv(tmp_path, text), options(profiles=PROFILES.values()))

    assert f"{code!r}" in found.remarks["PROFILE"].message
    assert (found.signed, found.rejected) == (signed, [])
    assert found.entries[0].booking_date == date(2026, 11, 2)


def test_a_file_like_mtns_gives_gross_fee_ids_and_what_did_not_happen(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["Id", "External id", "Date", "Status", "Type", "Information", "To message", "From",
         "From name", "Amount", "Currency", "Fee", "Currency", "Balance", "Currency"],
        ["6123456789", "f3a1", "2026-11-02 10:05:00", "Successful", "Payment", "", "RF59RW00000042",
         "FRI:250788000001/MSISDN", "UWASE A", 15000, "RWF", 150, "RWF", 14850, "RWF"],
        ["6123456790", "f3a2", "2026-11-02 10:06:00", "Failed", "Payment", "", "", "", "", 5000,
         "RWF", 0, "RWF", 14850, "RWF"],
        ["6123456791", "f3a3", "2026-11-02 10:07:00", "Successful", "Refund", "", "", "", "", 1000,
         "RWF", 0, "RWF", 13850, "RWF"],
        ["6123456792", "", "2026-11-03 08:00:00", "Successful", "Settlement", "", "", "", "",
         13850, "RWF", 0, "RWF", 0, "RWF"],
    ]  # fmt: skip

    found = read(xlsx(tmp_path, rows), options(profiles=PROFILES.values()))

    assert "'mtn_momo_merchant'" in found.remarks["PROFILE"].message
    paid, failed, refunded, payout = found.entries
    assert (paid.amount, paid.gross, paid.fee) == (
        Money(14850, "RWF"),
        Money(15000, "RWF"),
        Money(150, "RWF"),
    )
    assert (paid.transaction_id, paid.our_reference) == ("6123456789", "f3a1")
    assert paid.occurred_at == datetime(2026, 11, 2, 8, 5, tzinfo=UTC)
    assert (failed.kind, failed.status) == (EntryKind.FAILED, EntryStatus.INFO)
    assert [refunded.kind, payout.kind] == [EntryKind.REFUND, EntryKind.PAYOUT]
    assert found.signed == [14850, 5000, -1000, -13850]


def test_a_file_like_flutterwaves_gives_net_and_settlement(tmp_path: Path) -> None:
    text = (
        "id,tx_ref,flw_ref,amount,charged_amount,app_fee,amount_settled,currency,status,created_at,"
        "customer_name,settlement_id\n"
        "4975363,f3a1,FLW-MOCK-1,15000,15000,570.4,14429.6,RWF,successful,"
        "2026-11-02T22:30:00.000Z,A B,S77\n"
    )

    found = read(csv(tmp_path, text), options(profiles=PROFILES.values()))

    entry = found.entries[0]
    assert (entry.amount.minor, entry.settlement) == (14430, "S77")
    assert (entry.transaction_id, entry.our_reference) == ("4975363", "f3a1")
    assert entry.booking_date == date(2026, 11, 3)
    assert found.remarks["ROUNDED"].line == 2


def test_a_couriers_list_keeps_what_a_returned_parcel_costs(tmp_path: Path) -> None:
    text = (
        "Collected on,Order,Waybill,Customer,Phone,Status,Collected,Courier fee,To pay,Remittance\n"
        "13/11/2026,PAY-7K3M9Q2X,W1,A,0788000001,Delivered,15000,1000,14000,REM-9\n"
        "13/11/2026,PAY-8K3M9Q2X,W2,B,0788000002,Returned,0,0,0,REM-9\n"
        "13/11/2026,PAY-9K3M9Q2X,W3,C,0788000003,Returned,0,500,-500,REM-9\n"
    )

    found = read(csv(tmp_path, text), options(profiles=PROFILES.values()))

    assert found.signed == [14000, 0, -500]
    assert [entry.status for entry in found.entries] == [
        EntryStatus.BOOKED,
        EntryStatus.INFO,
        EntryStatus.BOOKED,
    ]
    assert found.entries[2].kind is EntryKind.FEE
    assert {entry.settlement for entry in found.entries} == {"REM-9"}


def test_german_columns_and_decimals_are_read(tmp_path: Path) -> None:
    text = (
        "Buchungstag;Verwendungszweck;Betrag;CCY;IBAN;Ref\n"
        "2026-04-02;Rent;-1.234,56;EUR;DE02120300000000202051;R-1\n"
        "2026-04-05;Pay;3.500,00;EUR;DE02120300000000202051;R-2\n"
        "2026-04-09;Coffee;-4,50;EUR;DE02120300000000202051;R-3\n"
    )

    found = read(csv(tmp_path, text), options("EUR", profiles=PROFILES.values()))

    assert found.signed == [-123456, 350000, -450]
    assert "'european'" in found.remarks["PROFILE"].message


def test_a_preview_names_the_profile_that_fits_and_shows_its_mapping(tmp_path: Path) -> None:
    shown = tables.preview(csv(tmp_path, BANK_OF_KIGALI), options(profiles=PROFILES.values()))

    assert (shown.profile, shown.header_line) == ("bank_of_kigali", 10)
    assert "nobody has tried" in shown.why
    assert check(shown.mapping) == check(PROFILES["bank_of_kigali"].mapping)


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"colums": {}}, "colums is not known here"),
        ({"columns": {"date": "Date"}}, "columns.date is not known here"),
        ({"dates": ["%d/%m"]}, "must have a year, a month and a day"),
        ({"dates": ["%Q/%d/%m/%Y"]}, "has a %Q that is not known"),
        ({"numbers": {"thousands": ","}}, "both thousands and decimal"),
        ({"numbers": {"thousands": ",", "decimal": ","}}, "cannot be the same"),
        ({"sign": "perhaps"}, "sign: "),
        ({"timezone": "Africa/Nowhere"}, "is no time zone"),
        ({"encoding": "morse"}, "is no text encoding"),
        ({"encoding": "hex"}, "is no text encoding"),
        ({"skip_rows_matching": ["("]}, "is no regular expression"),
        ({"skip_rows_matching": ["(a+)+$"]}, "must not repeat a group"),
        ({"currency": {"default": "francs"}}, "currency.default"),
    ],
)
def test_a_mapping_that_cannot_be_used_says_why(
    mapping: Mapping[str, object], problem: str
) -> None:
    with pytest.raises(BadMapping) as refused:
        check(mapping)

    assert problem in str(refused.value)
