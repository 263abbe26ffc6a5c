"""Cash on delivery keeps every promise that has a meaning for cash."""

from dusangire.testing import GatewayContract, payer
from dusangire_cod import gateway


class TestCashOnDelivery(GatewayContract):
    plugin = gateway
    approves = payer(phone="+250788123456")
