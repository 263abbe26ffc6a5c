"""Airtel keeps every promise of the contract, with and without message signing."""

from collections.abc import Mapping
from typing import ClassVar

from dusangire.gateway import JSON
from dusangire.testing import GatewayContract, payer
from dusangire_airtel import gateway


class TestAirtel(GatewayContract):
    plugin = gateway
    approves = payer(phone="+250733123456")
    declines = payer(phone="+250730000008")


class TestAirtelSigned(TestAirtel):
    config: ClassVar[Mapping[str, JSON]] = {"message_signing": True, "payments_version": "v2"}
