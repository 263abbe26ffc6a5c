"""Whose name stands on invoices."""

import base64
import binascii
from datetime import datetime
from typing import cast

import strawberry

from dusangire.errors import Invalid
from dusangire.invoicing import merchant
from dusangire_schema import described
from dusangire_schema.context import Info
from dusangire_schema.errors import UserError, answering

# What a merchant always has, by the names of core and of the API.
_ALWAYS = {"name": "name", "vat_registered": "vatRegistered", "locale": "locale"}


@strawberry.type(description="The merchant, as new invoices show them.")
class Merchant:
    name: str
    tin: str | None
    address: str | None
    phone: str | None
    email: str | None
    vat_registered: bool
    locale: str
    footer: str | None
    version: int
    updated_at: datetime

    @described.field("What kind of picture the logo is, such as image/png; null: there is none.")
    def logo_type(self) -> str | None:
        logo = cast("merchant.Merchant", self).logo
        return logo.media_type if logo else None

    @described.field("The logo in base64.")
    def logo(self) -> str | None:
        logo = cast("merchant.Merchant", self).logo
        return base64.b64encode(logo.content).decode() if logo else None


@strawberry.input(
    description="What is left out stays as it is; null takes it away. Invoices that were issued "
    "keep the words they have."
)
class SaveMerchantInput:
    name: str | None = strawberry.UNSET
    tin: str | None = strawberry.field(
        default=strawberry.UNSET, description="Nine digits, as text: it may begin with zeros."
    )
    address: str | None = strawberry.UNSET
    phone: str | None = strawberry.UNSET
    email: str | None = strawberry.UNSET
    vat_registered: bool | None = strawberry.UNSET
    locale: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Of invoices when nobody asks for another language: en, fr or rw.",
    )
    footer: str | None = strawberry.field(
        default=strawberry.UNSET, description="A line or two at the foot of every page."
    )
    logo: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="A PNG, JPEG or SVG picture in base64, of at most 190,000 bytes.",
    )

    def to_core(self) -> merchant.Changes:
        given = {name: value for name, value in vars(self).items() if value is not strawberry.UNSET}
        for name, told in _ALWAYS.items():
            if name in given and given[name] is None:
                raise Invalid(f"{told} cannot be taken away.", field=[told])
        if given.get("logo") is not None:
            given["logo"] = _decoded(given["logo"])
        return cast("merchant.Changes", given)


@strawberry.type
class MerchantPayload:
    merchant: Merchant | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "MerchantPayload":
        return cls(user_errors=errors)


@strawberry.type
class MerchantQueries:
    @described.field("Whose name stands on invoices; null while nobody has said so.")
    async def merchant(self, info: Info) -> Merchant | None:
        return cast("Merchant | None", await merchant.merchant(info.context.actor))


@strawberry.type
class MerchantMutations:
    @strawberry.mutation
    @answering(MerchantPayload.refused)
    async def save_merchant(self, info: Info, input: SaveMerchantInput) -> MerchantPayload:
        saved = await merchant.save(info.context.actor, input.to_core())
        return MerchantPayload(merchant=cast("Merchant", saved))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("The logo must be written in base64.", field=["logo"]) from None
