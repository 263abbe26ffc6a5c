"""What the environment says of the VSDC: the `DUSANGIRE_VSDC_…` variables."""

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dusangire.errors import CannotStart
from dusangire.fiscal import PartialRefunds

PREFIX = "DUSANGIRE_VSDC_"
CLASSES = ("A", "B", "C", "D")
QR_TEMPLATE = "{date}#{time}#{sdc_id}#{receipt_number}#{internal_data}#{signature}"
_QR_FIELDS = ("date", "time", "sdc_id", "receipt_number", "internal_data", "signature")
# One row for each setting: what it takes, in words.
_TAKES = {
    "DUSANGIRE_VSDC_URL": "the address of your VSDC, such as http://localhost:8080",
    "DUSANGIRE_VSDC_TIN": "the nine digits of your TIN",
    "DUSANGIRE_VSDC_BRANCH": "the two characters of your branch; 00 is the head office",
    "DUSANGIRE_VSDC_DEVICE_SERIAL": "the serial number that RRA gave your device",
    "DUSANGIRE_VSDC_LAST_NUMBER": "the highest invcNo it was ever sent; 0 for a new device",
    "DUSANGIRE_VSDC_TAX_CLASSES": "words of your invoice lines, such as EXPORT=C, NONE=D",
    "DUSANGIRE_VSDC_PARTIAL_REFUNDS": "allow or full_and_reissue",
    "DUSANGIRE_VSDC_REFUND_REASON": "a reason code of RRA's, such as 06",
    "DUSANGIRE_VSDC_ITEM_CLASS": "RRA's item class of what you sell, ten digits",
    "DUSANGIRE_VSDC_ITEM_TYPE": "1 for raw material, 2 for a product, 3 for a service",
    "DUSANGIRE_VSDC_PACKAGE_UNIT": "a package unit of RRA's, such as NT",
    "DUSANGIRE_VSDC_QUANTITY_UNIT": "a quantity unit of RRA's, such as U",
    "DUSANGIRE_VSDC_QR_TEMPLATE": f"a text with {', '.join(f'{{{name}}}' for name in _QR_FIELDS)}",
}


def _pairs(value: object) -> object:
    """`EXPORT=C, NONE=D` by word."""
    if not isinstance(value, str):
        return value
    pairs = dict(part.strip().partition("=")[::2] for part in value.split(",") if part.strip())
    return {word.strip(): name.strip() for word, name in pairs.items()}


TaxClasses = Annotated[Mapping[str, Literal["A", "B", "C", "D"]], NoDecode, BeforeValidator(_pairs)]


class VsdcSettings(BaseSettings):
    """How the VSDC is reached, and what is told to it. Without a URL the plugin does nothing."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    url: str = Field(pattern=r"^https?://\S+$")
    # Nine ASCII digits, kept as text: some begin with zeros.
    tin: str = Field(pattern=r"^[0-9]{9}$")
    branch: str = Field("00", pattern=r"^[0-9A-Z]{2}$")
    device_serial: str = Field(min_length=1, max_length=100)
    last_number: int | None = Field(None, ge=0, lt=2**53)
    tax_classes: TaxClasses = Field(default_factory=dict)
    partial_refunds: PartialRefunds = PartialRefunds.ALLOW
    refund_reason: str = Field("06", pattern=r"^(0[1-9]|1[0-3])$")
    item_class: str = Field(pattern=r"^[0-9]{10}$")
    item_type: Literal["1", "2", "3"] = "2"
    package_unit: str = Field("NT", pattern=r"^[0-9A-Z]{2}$")
    quantity_unit: str = Field("U", pattern=r"^[0-9A-Z]{1,2}$")
    qr_template: str = QR_TEMPLATE

    @field_validator("qr_template")
    @classmethod
    def _can_be_filled_in(cls, value: str) -> str:
        try:
            filled = value.format(**dict.fromkeys(_QR_FIELDS, "x"))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError("it cannot be filled in") from error
        if filled == value:
            raise ValueError("nothing in it is filled in")
        return value

    @property
    def classes(self) -> Mapping[str, str]:
        """The VSDC's class of each word that an invoice line may have: its own, and yours."""
        return {**{name: name for name in CLASSES}, **self.tax_classes}


def read_settings() -> VsdcSettings | None:
    """None without DUSANGIRE_VSDC_URL. Raises CannotStart, naming the variable."""
    for name in os.environ:
        if name.startswith(PREFIX) and name not in _TAKES:
            raise CannotStart(f"{name} is no setting. There are {', '.join(_TAKES)}.")
    if not os.environ.get("DUSANGIRE_VSDC_URL"):
        return None
    try:
        return VsdcSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{str(first['loc'][0]).upper()}"
        takes = _TAKES[name]
        given = os.environ.get(name)
        if not given:
            raise CannotStart(f"{name} is missing. It takes {takes}.") from error
        raise CannotStart(f"{name} is {given!r}. It takes {takes}.") from error
