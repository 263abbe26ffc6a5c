"""What a merchant's application at Airtel looks like: the host, keys and switches of its portal."""

from enum import StrEnum
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from dusangire.gateway import GatewayConfig


class Padding(StrEnum):
    """How an AES key is encrypted for Airtel. AUTO: by the size of Airtel's key."""

    AUTO = "auto"
    PKCS1V15 = "pkcs1v15"
    OAEP = "oaep-sha256"


class HashedPart(StrEnum):
    """Of which bytes a callback's hash is made. AUTO: of any of these."""

    AUTO = "auto"
    TRANSACTION = "transaction"
    TRANSACTION_COMPACT = "transaction-compact"
    BODY = "body"
    BODY_SORTED = "body-sorted"
    RAW_BODY = "raw-body"


class AirtelConfig(GatewayConfig):
    """Settings of one Airtel application: one for tests and another one for real money."""

    base_url: str = Field(
        description="The API host your portal names: https://openapi.airtel.co.rw is Rwanda's own, "
        "https://openapi.airtel.africa serves all countries and is being retired. With openapiuat "
        "instead of openapi it is staging, which rings real phones.",
    )
    country: str = Field("RW", description="ISO code of the country.", pattern=r"^[A-Z]{2}$")
    client_id: str = Field(description="Client ID of the application.", min_length=1)
    client_secret: SecretStr = Field(description="Client secret of the application.")
    callback_hash_key: SecretStr | None = Field(
        None,
        description="The private key shown when callback authentication is switched on. Without "
        "it, callbacks are hints that anybody may give.",
    )
    callback_hash: HashedPart = Field(
        HashedPart.AUTO,
        description="What Airtel hashes. The log of the first callback says which it was.",
    )
    message_signing: bool = Field(
        False, description="Whether message signing is switched on in the portal."
    )
    padding: Padding = Field(Padding.AUTO, description="For message signing.")
    payments_version: Literal["v1", "v2"] = Field(
        "v1", description="Version of the payments path that Airtel opened for the application."
    )
    check_payer: bool = Field(
        False, description="Ask whether the number can pay before asking it to."
    )
    pin: SecretStr | None = Field(
        None,
        description="The merchant's PIN. Only paying out needs it, which DUSANGIRE does not do.",
    )

    @field_validator("base_url")
    @classmethod
    def _must_be_encrypted(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("must look like https://openapi.airtel.co.rw")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise ValueError("must begin with https:// unless it is this machine")
        return url.rstrip("/")

    @field_validator("client_secret")
    @classmethod
    def _must_be_given(cls, value: SecretStr) -> SecretStr:
        if not value:
            raise ValueError("must not be empty")
        return value

    @field_validator("callback_hash_key", "pin")
    @classmethod
    def _empty_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        # An empty key would let anybody sign.
        return value or None


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
