"""Whose name stands on invoices: the merchant's own name, number, address and logo."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

import structlog

from dusangire.access import Actor
from dusangire.audit.entries import AUDIT_COLUMNS, audit_values
from dusangire.database import Row, fetch
from dusangire.errors import Conflict, Invalid
from dusangire.invoicing.documents.logo import Logo, read_logo
from dusangire.languages import LANGUAGES
from dusangire.permissions import Permission
from dusangire.text import clean, clean_optional

log = structlog.get_logger(__name__)

_TIN = re.compile(r"[0-9]{9}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """tin: nine digits, kept as text for the zeros they may begin with.

    locale: of documents when nobody asks for another: en, fr or rw.
    footer: a line or two at the foot of every document.
    """

    name: str
    tin: str | None
    address: str | None
    phone: str | None
    email: str | None
    vat_registered: bool
    locale: str
    footer: str | None
    logo: Logo | None
    version: int
    updated_at: datetime

    @classmethod
    def of(cls, row: Row) -> "Merchant":
        """From a row of `merchant`."""
        logo = row["logo"]
        return cls(
            name=row["name"],
            tin=row["tin"],
            address=row["address"],
            phone=row["phone"],
            email=row["email"],
            vat_registered=row["vat_registered"],
            locale=row["locale"],
            footer=row["footer"],
            logo=Logo(bytes(logo), row["logo_type"]) if logo is not None else None,
            version=row["version"],
            updated_at=row["updated_at"],
        )

    def as_seller(self) -> dict[str, Any]:
        """What an invoice keeps a copy of when it is issued: `Invoice.seller`."""
        return {
            "name": self.name,
            "tin": self.tin,
            "address": self.address,
            "phone": self.phone,
            "email": self.email,
            "vat_registered": self.vat_registered,
            "footer": self.footer,
        }


class Changes(TypedDict, total=False):
    """What shall be different; what is left out stays. None takes a value away.

    logo: the bytes of a PNG, JPEG or SVG picture.
    """

    name: str
    tin: str | None
    address: str | None
    phone: str | None
    email: str | None
    vat_registered: bool
    locale: str
    footer: str | None
    logo: bytes | None


async def load() -> Merchant | None:
    """The profile as it is; None while nobody has said who we are."""
    rows = await fetch("SELECT * FROM merchant WHERE id = 1")
    return Merchant.of(rows[0]) if rows else None


async def merchant(actor: Actor) -> Merchant | None:
    """The profile; None while nobody has said who we are. Raises Forbidden."""
    actor.require(Permission.READ_MERCHANT)
    return await load()


async def save(actor: Actor, changes: Changes) -> Merchant:
    """Changes the profile. Invoices that were issued keep the copy they have.

    Raises Forbidden, Invalid, and Conflict when somebody else changed it at the same moment.
    """
    actor.require(Permission.WRITE_MERCHANT)
    before = await load()
    values = {**_values(before), **_checked(changes)}
    if not values.get("name"):
        raise Invalid("The merchant needs a name: it stands on every invoice.", field=["name"])
    await _check_print(changes)
    if values["vat_registered"] and not values["tin"]:
        raise Invalid(
            "A merchant who is registered for VAT has a TIN, and invoices must show it.",
            field=["tin"],
        )
    rows = await fetch(
        f"""WITH saved AS (
            INSERT INTO merchant (id, name, tin, address, phone, email, vat_registered, locale,
                footer, logo, logo_type)
            VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ON CONFLICT (id) DO UPDATE SET name = $1, tin = $2, address = $3, phone = $4,
                email = $5, vat_registered = $6, locale = $7, footer = $8, logo = $9,
                logo_type = $10, version = merchant.version + 1, updated_at = now()
            WHERE merchant.version = $11
            RETURNING *
        ), audit AS (
            INSERT INTO audit_entry {AUDIT_COLUMNS}
            SELECT $12, $13, $14, $15, $16::jsonb, $17 FROM saved
        )
        SELECT * FROM saved""",
        *(values[name] for name in _COLUMNS),
        before.version if before else 0,
        *audit_values(
            actor.kind,
            actor.name,
            "merchant.saved",
            "merchant",
            _told(values, [name for name in _COLUMNS if values[name] != _values(before)[name]]),
        ),
    )
    if not rows:
        raise Conflict
    return Merchant.of(rows[0])


_COLUMNS = (
    "name", "tin", "address", "phone", "email", "vat_registered", "locale", "footer", "logo",
    "logo_type",
)  # fmt: skip


def _values(known: Merchant | None) -> dict[str, Any]:
    """The columns as they are."""
    if known is None:
        nothing = dict.fromkeys(_COLUMNS)
        return {**nothing, "vat_registered": False, "locale": "en"}
    plain = {name: getattr(known, name) for name in _COLUMNS if name not in {"logo", "logo_type"}}
    return {**plain, **_logo_columns(known.logo)}


def _logo_columns(logo: Logo | None) -> dict[str, Any]:
    return {
        "logo": logo.content if logo else None,
        "logo_type": logo.media_type if logo else None,
    }


def _checked(changes: Changes) -> dict[str, Any]:
    """The changed columns. Raises Invalid, naming the first that is not acceptable."""
    checked: dict[str, Any] = {}
    if "name" in changes:
        checked["name"] = clean(changes["name"], "name", limit=200)
    if "tin" in changes:
        checked["tin"] = _tin(changes["tin"])
    if "address" in changes:
        checked["address"] = _lines(changes["address"], "address", limit=500)
    if "phone" in changes:
        checked["phone"] = clean_optional(changes["phone"], "phone", limit=60)
    if "email" in changes:
        checked["email"] = _email(changes["email"])
    if "vat_registered" in changes:
        checked["vat_registered"] = changes["vat_registered"]
    if "locale" in changes:
        checked["locale"] = _locale(changes["locale"])
    if "footer" in changes:
        checked["footer"] = _lines(changes["footer"], "footer", limit=500)
    if "logo" in changes:
        given = changes["logo"]
        checked |= _logo_columns(read_logo(given, "logo") if given is not None else None)
    return checked


async def _check_print(changes: Changes) -> None:
    """Raises Invalid for a logo that no document could be printed with."""
    if (content := changes.get("logo")) is not None:
        # With it comes the program that prints, which whoever only loads the profile need not have.
        from dusangire.invoicing.documents.pdf import check_logo  # noqa: PLC0415

        await check_logo(read_logo(content, "logo"))


def _tin(text: str | None) -> str | None:
    tin = clean_optional(text, "tin")
    # \d would take the digits of any script.
    if tin is not None and not _TIN.fullmatch(tin):
        raise Invalid("A TIN has nine digits, such as 102345678.", field=["tin"])
    return tin


def _email(text: str | None) -> str | None:
    email = clean_optional(text, "email", limit=254)
    if email is not None and not _EMAIL.fullmatch(email):
        raise Invalid("This is not an e-mail address.", field=["email"])
    return email


def _locale(text: str) -> str:
    if text not in LANGUAGES:
        raise Invalid(f"locale is one of {', '.join(LANGUAGES)}.", field=["locale"])
    return text


def _lines(text: str | None, field: str, *, limit: int) -> str | None:
    return clean(text, field, limit=limit, lines=True) if text and text.strip() else None


def _told(values: Mapping[str, Any], changed: list[str]) -> dict[str, Any]:
    """What the audit says: which values changed, and those that decide about taxes in full."""
    told: dict[str, Any] = {"changed": changed}
    for name in ("name", "tin", "vat_registered"):
        if name in changed:
            told[name] = values[name]
    if "logo" in changed and values["logo"] is not None:
        told["logo_sha256"] = hashlib.sha256(values["logo"]).hexdigest()
    return told
