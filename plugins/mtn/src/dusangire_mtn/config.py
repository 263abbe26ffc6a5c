"""What a merchant's account at MTN looks like: hosts, keys and users, as MTN hands them out."""

from ipaddress import ip_address
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from dusangire.gateway import GatewayConfig

Product: TypeAlias = Literal["collection", "disbursement"]


class MTNConfig(GatewayConfig):
    """Settings of one MTN MoMo account. Without the three `disbursement_` ones: no refunds."""

    base_url: str = Field(
        description="The MoMo API host MTN gave you, such as https://proxy.momoapi.mtn.co.rw.",
    )
    target_environment: str = Field(
        description="`mtnrwanda` in production, `sandbox` in the sandbox.",
        pattern=r"^[a-z]+$",
    )
    collection_subscription_key: SecretStr = Field(description="Key of the product Collection.")
    collection_api_user: str = Field(description="API user, or User ID, for Collection.")
    collection_api_key: SecretStr = Field(description="API key, or Credential Token, of that user.")
    disbursement_subscription_key: SecretStr | None = Field(
        None, description="Key of the product Disbursement, which refunds need."
    )
    disbursement_api_user: str | None = Field(None, description="API user for Disbursement.")
    disbursement_api_key: SecretStr | None = Field(None, description="API key of that user.")
    check_payer: bool = Field(
        False, description="Ask whether the number has a wallet before asking it to pay."
    )
    send_callback_url: bool = Field(
        True, description="Ask MTN for webhooks. Off: payments are found out by asking only."
    )

    @field_validator("base_url")
    @classmethod
    def _must_be_encrypted(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("must look like https://proxy.momoapi.mtn.co.rw")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise ValueError("must begin with https:// unless it is this machine")
        # A doubled slash in a path is one of the things MTN answers with 400.
        return url.rstrip("/")

    @field_validator("disbursement_subscription_key", "disbursement_api_key", mode="after")
    @classmethod
    def _empty_secret_is_none(cls, value: SecretStr | None) -> SecretStr | None:
        return value or None

    @field_validator("disbursement_api_user", mode="after")
    @classmethod
    def _empty_text_is_none(cls, value: str | None) -> str | None:
        return value or None

    @model_validator(mode="after")
    def _all_or_none(self) -> "MTNConfig":
        given = [
            self.disbursement_subscription_key,
            self.disbursement_api_user,
            self.disbursement_api_key,
        ]
        if any(given) and not all(given):
            raise ValueError("give all three disbursement_ settings, or none of them")
        return self

    @property
    def can_refund(self) -> bool:
        return self.disbursement_api_key is not None

    @property
    def products(self) -> tuple[Product, ...]:
        return ("collection", "disbursement") if self.can_refund else ("collection",)

    def subscription_key(self, product: Product) -> str:
        if product == "collection":
            return self.collection_subscription_key.get_secret_value()
        return _secret(self.disbursement_subscription_key)

    def credentials(self, product: Product) -> tuple[str, str]:
        """API user and API key."""
        if product == "collection":
            return self.collection_api_user, self.collection_api_key.get_secret_value()
        return self.disbursement_api_user or "", _secret(self.disbursement_api_key)


def _secret(value: SecretStr | None) -> str:
    return "" if value is None else value.get_secret_value()


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
