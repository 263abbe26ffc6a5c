"""What a merchant's account at Ikaze Pay looks like."""

from pydantic import Field, SecretStr

from dusangire.gateway import GatewayConfig


class IkazeConfig(GatewayConfig):
    """Settings of one account."""

    base_url: str = Field(description="Where Ikaze Pay's API is.", pattern="^https?://")
    client_id: str = Field(description="Your client id, from Ikaze Pay's portal.")
    client_secret: SecretStr = Field(description="The secret that belongs to it.")
    signing_key: SecretStr = Field(description="What Ikaze Pay signs its notifications with.")
