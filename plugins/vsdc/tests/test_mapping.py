"""What is sent to a VSDC, and what its words mean."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dusangire.fiscal import (
    AlreadyDeclared,
    Buyer,
    FiscalDocument,
    FiscalItem,
    FiscalLine,
    Label,
    Rejected,
    Seller,
    Signed,
    Unknown,
)
from dusangire.fiscalization.receipts import in_groups, qr_payload
from dusangire_vsdc.client import Answer
from dusangire_vsdc.config import CLASSES, VsdcSettings
from dusangire_vsdc.device import describe
from dusangire_vsdc.mapping import RATES, item_code, outcome_of, sale_body
from dusangire_vsdc.simulator import EXAMPLE

SETTINGS = VsdcSettings.model_validate({**EXAMPLE, "url": "http://vsdc", "item_type": "3"})
DEVICE = describe(SETTINGS)
SIGNED = Signed(
    receipt_number=27,
    total_number=32,
    sdc_id="SDC010000005",
    mrc_no="WIS01006230",
    internal_data="ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    signature="ABCDEFGHIJKLMNOP",
    signed_at=datetime(2026, 11, 23, 8, 15, 31, tzinfo=UTC),
)
REPLY = {
    "rcptNo": 27,
    "totRcptNo": 32,
    "intrlData": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "rcptSign": "ABCDEFGHIJKLMNOP",
    "vsdcRcptPbctDate": "20261123101531",
    "sdcId": "SDC010000005",
    "mrcNo": "WIS01006230",
}


def line(total: int, tax: int, tax_class: str = "B", **changes: Any) -> FiscalLine:
    item = FiscalItem(number=1, name="Sale", code=None, tax_class=tax_class, unit_price=total)
    one = FiscalLine(
        place=1,
        item=item,
        description="Hosting, 1 month",
        quantity=Decimal(1),
        unit_price=total,
        tax_class=tax_class,
        tax_rate=Decimal(RATES[tax_class]),
        tax=tax,
        total=total,
    )
    return replace(one, **changes)


def document(*lines: FiscalLine, **changes: Any) -> FiscalDocument:
    one = FiscalDocument(
        number=1042,
        label=Label.NS,
        original_number=None,
        invoice_number="INV-2026-000042",
        issued_at=datetime(2026, 11, 23, 8, 15, 30, tzinfo=UTC),
        currency="RWF",
        lines=lines,
        tax=sum(one.tax for one in lines),
        total=sum(one.total for one in lines),
        method="mtn",
        buyer=Buyer(name="Umukiriya", phone="+250780000000"),
        seller=Seller(name="Example Shop", address="Kigali"),
    )
    return replace(one, **changes)


def body(*lines: FiscalLine, **changes: Any) -> dict[str, Any]:
    return sale_body(SETTINGS, DEVICE, document(*lines, **changes))


def test_a_sale_is_sent_as_rra_documents_it() -> None:
    sent = body(line(15000, 2288))

    assert sent == {
        "invcNo": 1042, "orgInvcNo": 0, "custTin": None, "custNm": "Umukiriya",
        "salesTyCd": "N", "rcptTyCd": "S", "pmtTyCd": "06", "salesSttsCd": "02",
        "cfmDt": "20261123101530", "salesDt": "20261123", "stockRlsDt": None, "cnclReqDt": None,
        "cnclDt": None, "rfdDt": None, "rfdRsnCd": None,
        "totItemCnt": 1,
        "taxblAmtA": 0, "taxblAmtB": 15000, "taxblAmtC": 0, "taxblAmtD": 0,
        "taxRtA": 0, "taxRtB": 18, "taxRtC": 0, "taxRtD": 0,
        "taxAmtA": 0, "taxAmtB": 2288, "taxAmtC": 0, "taxAmtD": 0,
        "totTaxblAmt": 15000, "totTaxAmt": 2288, "totAmt": 15000,
        "prchrAcptcYn": "N", "remark": "INV-2026-000042",
        "regrId": "system", "regrNm": "system", "modrId": "system", "modrNm": "system",
        "receipt": {
            "custTin": None, "custMblNo": "0780000000", "rptNo": 1, "trdeNm": "Example Shop",
            "adrs": "Kigali", "topMsg": "Murakaza neza", "btmMsg": "Murakoze", "prchrAcptcYn": "N",
        },
        "itemList": [
            {
                "itemSeq": 1, "itemCd": "RW3NTXU0000001", "itemClsCd": "8111000000",
                "itemNm": "Hosting, 1 month", "bcd": None, "pkgUnitCd": "NT", "pkg": 1,
                "qtyUnitCd": "U", "qty": 1, "prc": 15000, "splyAmt": 15000, "dcRt": 0, "dcAmt": 0,
                "isrccCd": None, "isrccNm": None, "isrcRt": None, "isrcAmt": None,
                "taxTyCd": "B", "taxblAmt": 15000, "taxAmt": 2288, "totAmt": 15000,
            }
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "code"),
    [("cod", "01"), ("card", "05"), ("mtn", "06"), ("airtel", "06"), ("bank", "07"),
     ("umoja", "07"), (None, "07")],
)  # fmt: skip
def test_how_it_was_paid_is_told(method: str | None, code: str) -> None:
    assert body(line(100, 15), method=method)["pmtTyCd"] == code


def test_a_refund_names_its_sale_its_time_and_its_reason() -> None:
    sent = body(line(100, 15), label=Label.NR, original_number=1041)

    told = [sent[name] for name in ("rcptTyCd", "orgInvcNo", "salesSttsCd", "rfdDt", "rfdRsnCd")]
    assert told == ["R", 1041, "05", "20261123101530", "06"]
    assert sent["totAmt"] == 100


def test_midnight_is_kigalis() -> None:
    sent = body(line(100, 15), issued_at=datetime(2026, 11, 23, 22, 30, tzinfo=UTC))

    assert (sent["cfmDt"], sent["salesDt"]) == ("20261124003000", "20261124")


@pytest.mark.parametrize(
    ("tin", "sent"), [("000111111", "000111111"), ("12345678", None), ("١٢٣٤٥٦٧٨٩", None)]
)
def test_a_buyers_tin_is_nine_digits_and_keeps_its_zeros(tin: str, sent: str | None) -> None:
    told = body(line(100, 15), buyer=Buyer(tin=tin, purchase_code="AB12CD"))

    assert (told["custTin"], told["receipt"]["custTin"]) == (sent, sent)
    assert told["prcOrdCd"] == "AB12CD"


def test_a_quantity_that_the_vsdc_cannot_count_is_sold_as_one_piece() -> None:
    half = line(500, 76, quantity=Decimal("0.5"), unit_price=1000)
    fine = line(125, 19, quantity=Decimal("0.125"), unit_price=1000)

    first, second = body(half, fine)["itemList"]

    assert (first["qty"], first["prc"], first["splyAmt"]) == (0.5, 1000, 500)
    assert (second["qty"], second["prc"], second["splyAmt"]) == (1, 125, 125)


LINES = st.lists(
    st.tuples(st.integers(1, 10**9), st.sampled_from(CLASSES)), min_size=1, max_size=12
)


@given(LINES)
def test_the_sums_of_the_classes_are_the_totals(parts: list[tuple[int, str]]) -> None:
    lines = [
        line(total, round(Decimal(total) * RATES[name] / (100 + RATES[name])), name)
        for total, name in parts
    ]

    sent = body(*lines)

    assert sum(sent[f"taxblAmt{name}"] for name in CLASSES) == sent["totAmt"]
    assert sum(sent[f"taxAmt{name}"] for name in CLASSES) == sent["totTaxAmt"]
    assert sum(one["totAmt"] for one in sent["itemList"]) == sent["totTaxblAmt"]
    for name in CLASSES:
        of = [one for one in sent["itemList"] if one["taxTyCd"] == name]
        assert sum(one["taxAmt"] for one in of) == sent[f"taxAmt{name}"]


def test_items_have_codes_as_rra_makes_them() -> None:
    item = FiscalItem(number=12, name="Bag", code="BAG", tax_class="B", unit_price=1)
    boxes = SETTINGS.model_copy(
        update={"item_type": "2", "package_unit": "NT", "quantity_unit": "BA"}
    )

    assert item_code(boxes, item) == "RW2NTBA0000012"


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


def answered(code: str, data: dict[str, Any] | None = None) -> object:
    return outcome_of(Answer(code=code, message="said", data=data or {}), DEVICE.zone)


def test_a_receipt_is_read_as_it_is() -> None:
    assert answered("000", REPLY) == SIGNED


@pytest.mark.parametrize("missing", REPLY)
def test_a_receipt_without_a_part_of_it_is_a_doubt_and_no_refusal(missing: str) -> None:
    left = {name: value for name, value in REPLY.items() if name != missing}

    assert isinstance(answered("000", left), Unknown)
    assert isinstance(answered("000", {**REPLY, missing: None}), Unknown)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, AlreadyDeclared) for code in ("994", "921")),
        *((code, Rejected) for code in ("001", "901", "903", "910", "911", "912", "922")),
        *((code, Unknown) for code in ("891", "894", "899", "990", "991", "993", "999", "XYZ")),
    ],
)
def test_every_code_means_one_thing(code: str, kind: type[object]) -> None:
    assert isinstance(answered(code), kind)


# ── on paper ─────────────────────────────────────────────────────────────────────────────────────


def test_the_qr_code_holds_exactly_this() -> None:
    assert qr_payload(DEVICE, SIGNED) == (
        "23112026#101531#SDC010000005#27#ABCDEFGHIJKLMNOPQRSTUVWXYZ#ABCDEFGHIJKLMNOP"
    )


def test_the_qr_code_can_be_another_text() -> None:
    device = replace(DEVICE, qr_template="https://rra.example/{sdc_id}/{receipt_number}")

    assert qr_payload(device, SIGNED) == "https://rra.example/SDC010000005/27"


def test_signatures_are_printed_in_groups_of_four() -> None:
    assert in_groups(SIGNED.internal_data) == "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ"
    assert in_groups(SIGNED.signature) == "ABCD-EFGH-IJKL-MNOP"
