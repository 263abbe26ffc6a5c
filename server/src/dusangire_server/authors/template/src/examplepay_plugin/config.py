"""What a merchant's account at Example Pay looks like."""

# Step 2. One field for each thing your provider hands out. What must stay secret is a SecretStr.

from pydantic import Field, SecretStr

from dusangire.gateway import GatewayConfig


class ExamplePayConfig(GatewayConfig):
    """Settings of one account. Currency and limits are there already."""

    # No default: nobody shall reach the real provider, or the wrong one, by forgetting a setting.
    base_url: str = Field(description="Where Example Pay's API is.")
    api_key: SecretStr = Field(description="Your key, from Example Pay's portal.")
