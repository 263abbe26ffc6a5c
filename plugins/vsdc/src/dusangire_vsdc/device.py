"""The hooks: a VSDC signs what was sold in Rwanda."""

from dusangire import hookimpl
from dusangire.fiscal import (
    Declared,
    FiscalDescription,
    FiscalDevice,
    FiscalDocument,
    FiscalItem,
    FiscalSimulator,
    Initialized,
    InitialOutcome,
    ItemOutcome,
    NotSent,
    Rejected,
    SigningOutcome,
    Unknown,
)
from dusangire_vsdc.client import Answer, AnswerLost, NothingSent, call
from dusangire_vsdc.config import VsdcSettings, read_settings
from dusangire_vsdc.mapping import (
    ALREADY,
    RATES,
    REFUSALS,
    SUCCESS,
    item_body,
    outcome_of,
    sale_body,
)

# Read while the plugin is loaded: with a setting that is wrong, nothing starts.
_SETTINGS = read_settings()
_INSTALLED = "902"
_TAX_TYPES = "04"


def describe(settings: VsdcSettings) -> FiscalDescription:
    """What core needs to know of the device that these settings are about."""
    return FiscalDescription(
        name="VSDC",
        tin=settings.tin,
        branch=settings.branch,
        base_url=settings.url,
        config=settings,
        tax_classes=frozenset(settings.classes),
        partial_refunds=settings.partial_refunds,
        qr_template=settings.qr_template,
    )


@hookimpl
def describe_fiscal_device() -> FiscalDescription | None:
    return describe(_SETTINGS) if _SETTINGS is not None else None


@hookimpl
async def initialize_fiscal_device(device: FiscalDevice) -> InitialOutcome:
    settings = _of(device)
    try:
        answer = await call(
            device, "/initializer/selectInitInfo", {"dvcSrlNo": settings.device_serial}
        )
        if answer.code == SUCCESS:
            last = max(_last_number(answer), settings.last_number or 0)
        elif answer.code == _INSTALLED and settings.last_number is not None:
            last = settings.last_number
        elif answer.code == _INSTALLED:
            # What it was sent before is not told a second time, and a number must not come twice.
            return Rejected(
                code=answer.code,
                message="The device is installed already. Set DUSANGIRE_VSDC_LAST_NUMBER to the "
                "highest invcNo that it was ever sent, or to 0 if it was sent none.",
            )
        else:
            return _refused(answer)
        return await _same_rates(device) or Initialized(last_number=last)
    except NothingSent as error:
        return NotSent(cause=str(error))
    except AnswerLost as error:
        return Unknown(cause=str(error))


def _last_number(answer: Answer) -> int:
    info = answer.data.get("info")
    counters = info if isinstance(info, dict) else answer.data
    names = ("lastSaleInvcNo", "lastInvcNo")
    found = [counters[name] for name in names if isinstance(counters.get(name), int)]
    return max(found, default=0)


async def _same_rates(device: FiscalDevice) -> Rejected | None:
    """RRA's list of tax types says what each class's rate is: it has to be what we send."""
    answer = await call(device, "/code/selectCodes", {"lastReqDt": "20200101000000"})
    for one in answer.data.get("clsList") or []:
        if str(one.get("cdCls")) != _TAX_TYPES:
            continue
        for code in one.get("dtlList") or []:
            name, rate = code.get("cd"), str(code.get("userDfnCd1") or "").rstrip("%")
            if name in RATES and rate and float(rate) != RATES[name]:
                return Rejected(
                    code="RATE",
                    message=f"RRA says that class {name} has {rate} %; this software knows "
                    f"{RATES[name]} %. Update it before anything is declared.",
                )
    return None


@hookimpl
async def declare_item(device: FiscalDevice, item: FiscalItem) -> ItemOutcome:
    try:
        answer = await call(device, "/items/saveItems", item_body(_of(device), item))
    except NothingSent as error:
        return NotSent(cause=str(error))
    except AnswerLost as error:
        return Unknown(cause=str(error))
    if answer.code == SUCCESS or answer.code in ALREADY:
        return Declared()
    return _refused(answer)


@hookimpl
async def sign_document(device: FiscalDevice, document: FiscalDocument) -> SigningOutcome:
    settings, description = _of(device), device.description
    try:
        answer = await call(
            device, "/trnsSales/saveSales", sale_body(settings, description, document)
        )
    except NothingSent as error:
        return NotSent(cause=str(error))
    except AnswerLost as error:
        return Unknown(cause=str(error))
    return outcome_of(answer, description.zone)


@hookimpl
def fiscal_simulator(base_url: str) -> FiscalSimulator | None:
    # Here, because servers that never simulate need none of it.
    from dusangire_vsdc.simulator import EXAMPLE, Vsdc  # noqa: PLC0415

    settings = VsdcSettings.model_validate({**EXAMPLE, "url": base_url})
    return FiscalSimulator(description=describe(settings), app=Vsdc(settings, fresh=False).app)


def _refused(answer: Answer) -> Rejected | Unknown:
    words = f"{REFUSALS.get(answer.code, 'The VSDC says:')} {answer.message}".strip()
    if answer.code in REFUSALS:
        return Rejected(code=answer.code, message=words)
    return Unknown(cause=f"The VSDC answered {answer.code} {answer.message}".strip())


def _of(device: FiscalDevice) -> VsdcSettings:
    config = device.description.config
    assert isinstance(config, VsdcSettings)
    return config
