"""Between our words and the VSDC's: documents to bodies, answers to outcomes. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from dusangire.fiscal import (
    AlreadyDeclared,
    FiscalDescription,
    FiscalDocument,
    FiscalItem,
    FiscalLine,
    Label,
    Rejected,
    Signed,
    SigningOutcome,
    Unknown,
)
from dusangire.gateway import JSON
from dusangire_vsdc.client import Answer
from dusangire_vsdc.config import CLASSES, VsdcSettings

# What each class's rate is where no line says so, in per cent.
RATES = {"A": 0, "B": 18, "C": 0, "D": 0}
# How it was paid, by the name of our plugin. A bank transfer has no code of its own: other.
PAYMENT_TYPES = {"cod": "01", "card": "05", "mtn": "06", "airtel": "06", "bank": "07"}
OTHER = "07"
SUCCESS = "000"
# The number is known: 921 says it of a sale, 994 of any document.
ALREADY = frozenset({"921", "994"})
# Our mistake or a setting's: the same request would be refused again.
REFUSALS: Mapping[str, str] = {
    "001": "The VSDC finds nothing for this request.",
    "900": "The VSDC misses a header. This is a mistake of this software.",
    "901": "The VSDC does not know this device. Check DUSANGIRE_VSDC_TIN, _BRANCH, _DEVICE_SERIAL.",
    "902": "The device is installed already.",
    "903": "This address is not a VSDC's. Check DUSANGIRE_VSDC_URL.",
    "910": "The VSDC refuses a value. This is a mistake of this software or of a setting.",
    "911": "The VSDC saw no body. This is a mistake of this software.",
    "912": "The VSDC refuses the method. This is a mistake of this software.",
    "922": "The VSDC does not have the sale that this refund is of.",
    "995": "The VSDC misses a file.",
}
_WHO = {"regrId": "system", "regrNm": "system", "modrId": "system", "modrNm": "system"}


def outcome_of(answer: Answer, zone: ZoneInfo) -> SigningOutcome:
    """What the VSDC says of a document. A code that we do not know is Unknown, never a no."""
    if answer.code == SUCCESS:
        return _signed(answer, zone)
    message = f"{REFUSALS.get(answer.code, 'The VSDC says:')} {answer.message}".strip()
    if answer.code in ALREADY:
        return AlreadyDeclared(
            code=answer.code, message=f"The VSDC has this number already. {answer.message}".strip()
        )
    if answer.code in REFUSALS:
        return Rejected(code=answer.code, message=message)
    return Unknown(cause=f"The VSDC answered {answer.code} {answer.message}".strip())


def _signed(answer: Answer, zone: ZoneInfo) -> Signed | Unknown:
    data = answer.data
    try:
        at = datetime.strptime(str(data["vsdcRcptPbctDate"]), "%Y%m%d%H%M%S").replace(tzinfo=zone)
        return Signed(
            receipt_number=int(data["rcptNo"]),
            total_number=int(data["totRcptNo"]),
            sdc_id=_text(data["sdcId"]),
            mrc_no=_text(data["mrcNo"]),
            internal_data=_text(data["intrlData"]),
            signature=_text(data["rcptSign"]),
            signed_at=at,
            raw=answer.raw,
        )
    except (KeyError, TypeError, ValueError) as error:
        return Unknown(cause=f"The VSDC took it, but its receipt cannot be read: {error!r:.60}")


def _text(value: JSON) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not text")
    return value


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────


def item_code(settings: VsdcSettings, item: FiscalItem) -> str:
    """RW3NTXU0000001: country, type, package unit, quantity unit, seven digits."""
    unit = settings.quantity_unit.rjust(2, "X")
    return f"RW{settings.item_type}{settings.package_unit}{unit}{item.number:07d}"


def item_body(settings: VsdcSettings, item: FiscalItem) -> dict[str, JSON]:
    """`/items/saveItems`"""
    return {
        "itemCd": item_code(settings, item),
        "itemClsCd": settings.item_class,
        "itemTyCd": settings.item_type,
        "itemNm": item.name[:200],
        "itemStdNm": None,
        "orgnNatCd": "RW",
        "pkgUnitCd": settings.package_unit,
        "qtyUnitCd": settings.quantity_unit,
        "taxTyCd": settings.classes[item.tax_class],
        "btchNo": None,
        "bcd": None,
        "dftPrc": item.unit_price,
        "isrcAplcbYn": "N",
        "useYn": "Y",
        **_WHO,
    }


def sale_body(
    settings: VsdcSettings, description: FiscalDescription, document: FiscalDocument
) -> dict[str, JSON]:
    """`/trnsSales/saveSales`: amounts are whole francs and include tax, in refunds too."""
    at = document.issued_at.astimezone(description.zone)
    moment, refund = f"{at:%Y%m%d%H%M%S}", document.label is Label.NR
    buyer_tin = _tin(document.buyer.tin)
    return {
        "invcNo": document.number,
        "orgInvcNo": document.original_number or 0,
        "custTin": buyer_tin,
        # A purchase code makes the receipt deductible for the buyer whose TIN it belongs to.
        **({"prcOrdCd": document.buyer.purchase_code} if document.buyer.purchase_code else {}),
        "custNm": (document.buyer.name or "")[:60] or None,
        "salesTyCd": "N",
        "rcptTyCd": "R" if refund else "S",
        "pmtTyCd": PAYMENT_TYPES.get(document.method or "", OTHER),
        "salesSttsCd": "05" if refund else "02",
        "cfmDt": moment,
        "salesDt": f"{at:%Y%m%d}",
        "stockRlsDt": None,
        "cnclReqDt": None,
        "cnclDt": None,
        "rfdDt": moment if refund else None,
        "rfdRsnCd": settings.refund_reason if refund else None,
        "totItemCnt": len(document.lines),
        **_sums(settings, document.lines),
        "totTaxblAmt": document.total,
        "totTaxAmt": document.tax,
        "totAmt": document.total,
        "prchrAcptcYn": "N",
        "remark": document.invoice_number[:400],
        **_WHO,
        "receipt": {
            "custTin": buyer_tin,
            "custMblNo": _mobile(document.buyer.phone),
            "rptNo": 1,
            "trdeNm": (document.seller.name or "")[:20],
            "adrs": (document.seller.address or "").replace("\n", ", ")[:200],
            "topMsg": "Murakaza neza",
            "btmMsg": "Murakoze",
            "prchrAcptcYn": "N",
        },
        "itemList": [
            _line(settings, place, line) for place, line in enumerate(document.lines, start=1)
        ],
    }


def _sums(settings: VsdcSettings, lines: Sequence[FiscalLine]) -> dict[str, JSON]:
    """For each class: what is taxed (with its tax, as the VSDC wants it), the rate, the tax."""
    of = {name: [x for x in lines if settings.classes[x.tax_class] == name] for name in CLASSES}
    return {
        **{f"taxblAmt{name}": sum(line.total for line in some) for name, some in of.items()},
        **{
            f"taxRt{name}": _number(some[0].tax_rate) if some else RATES[name]
            for name, some in of.items()
        },
        **{f"taxAmt{name}": sum(line.tax for line in some) for name, some in of.items()},
    }


def _line(settings: VsdcSettings, place: int, line: FiscalLine) -> dict[str, JSON]:
    quantity, price = line.quantity, line.unit_price
    if quantity != round(quantity, 2):
        # The VSDC counts in hundredths; what does not fit is sold as one piece.
        quantity, price = Decimal(1), line.total
    return {
        "itemSeq": place,
        "itemCd": item_code(settings, line.item),
        "itemClsCd": settings.item_class,
        "itemNm": line.description[:200],
        "bcd": None,
        "pkgUnitCd": settings.package_unit,
        "pkg": 1,
        "qtyUnitCd": settings.quantity_unit,
        "qty": _number(quantity),
        "prc": price,
        "splyAmt": line.total,
        "dcRt": 0,
        "dcAmt": 0,
        "isrccCd": None,
        "isrccNm": None,
        "isrcRt": None,
        "isrcAmt": None,
        "taxTyCd": settings.classes[line.tax_class],
        "taxblAmt": line.total,
        "taxAmt": line.tax,
        "totAmt": line.total,
    }


def _number(value: Decimal) -> JSON:
    """A quantity or a rate as JSON has it. Amounts of money are integers from edge to edge."""
    return int(value) if value == value.to_integral_value() else float(value)


def _tin(text: str | None) -> str | None:
    return text if text and len(text) == 9 and text.isascii() and text.isdigit() else None


def _mobile(phone: str | None) -> str:
    """As people write it: 0780000000."""
    if phone is None or not phone.startswith("+250"):
        return ""
    return f"0{phone.removeprefix('+250')}"[:20]
