"""What a merchant's account for card payments looks like. No setting is about a card."""

from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, ValidationInfo, field_validator

from dusangire.gateway import Environment, GatewayConfig

# A label at least, then dots: a bare top-level domain belongs to nobody who pays us.
Host = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$", max_length=253)
]


class CardConfig(GatewayConfig):
    """Settings of one account. The payer types the card in on the provider's page, never here."""

    provider: Literal["flutterwave"] = Field(
        "flutterwave", description="Whose page takes the card."
    )
    # It is one address for play money and real money, so a default could not mix the two up. But
    # a gateway that forgot its simulator would then tell a stranger about every payment.
    base_url: str = Field(
        min_length=1, description="The API's address: https://api.flutterwave.com/v3."
    )
    secret_key: SecretStr = Field(
        description="FLWSECK_TEST-… for play money, FLWSECK-… for real money."
    )
    webhook_secret_hash: SecretStr = Field(
        min_length=16, description="The secret hash that you chose in the webhook settings."
    )
    email_domain: Host = Field(
        description="A domain of yours. Payers without an e-mail get an address in it: "
        "Flutterwave asks for one, and may write to it."
    )
    redirect_base_url: str | None = Field(
        None, description="Where payers come back to. Without it: the server's public address."
    )
    session_minutes: int = Field(30, ge=1, le=1440, description="How long a page stays open.")
    max_attempts: int = Field(
        5, ge=1, le=20, description="Cards a payer may try. 1: the first refusal ends the payment."
    )
    country: str = Field(
        "RW", pattern=r"^[A-Z]{2}$", description="The account's country, for charging kept cards."
    )
    brand_title: str | None = Field(
        None, max_length=60, description="The name above the provider's page."
    )
    brand_logo_url: str | None = Field(
        None, description="The picture above the provider's page: an https address."
    )
    link_hosts: tuple[Host, ...] = Field(
        ("flutterwave.com",),
        min_length=1,
        description="Payers are sent to these hosts, and those below them, only.",
    )
    refund_final_after_days: int = Field(
        15,
        ge=1,
        le=90,
        description="Some accounts never say more of a refund than that it was taken. After this "
        "many days it counts as done.",
    )

    @field_validator("secret_key")
    @classmethod
    def _is_for_this_environment(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        kind = environment_of(key.get_secret_value())
        if kind is None:
            raise ValueError("must be the secret key, which begins with FLWSECK")
        context: Any = info.context or {}
        environment = context.get("environment")
        if environment not in {None, kind}:
            raise ValueError(
                f"is a {kind.lower()} key, and this is a {environment.lower()} gateway"
            )
        return key

    @field_validator("link_hosts", mode="before")
    @classmethod
    def _as_a_list(cls, hosts: Any) -> Any:
        """On a command line they are one text, with commas or blanks between."""
        return hosts.replace(",", " ").split() if isinstance(hosts, str) else hosts

    @field_validator("base_url", "redirect_base_url")
    @classmethod
    def _must_be_an_address(cls, url: str | None) -> str | None:
        if not url:
            return None
        parts = urlsplit(url)
        if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("must look like https://api.flutterwave.com/v3")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_here(parts.hostname)):
            raise ValueError("must begin with https:// unless it is this machine")
        return url.rstrip("/")

    @field_validator("brand_logo_url")
    @classmethod
    def _must_be_encrypted(cls, url: str | None) -> str | None:
        if url and not url.startswith("https://"):
            raise ValueError("must begin with https://")
        return url or None

    def fits(self, environment: Environment) -> bool:
        """Whether the key moves the money that the gateway is for."""
        return environment_of(self.secret_key.get_secret_value()) is environment


def environment_of(key: str) -> Environment | None:
    """What a key moves, by its form; None when it is no secret key at all."""
    if key.startswith("FLWSECK_TEST-"):
        return Environment.TEST
    return Environment.LIVE if key.startswith("FLWSECK-") else None


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
