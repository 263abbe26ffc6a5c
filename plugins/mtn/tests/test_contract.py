"""MTN keeps every promise of the contract."""

from dusangire.testing import GatewayContract, payer
from dusangire_mtn import gateway


class TestMTN(GatewayContract):
    plugin = gateway
    approves = payer(phone="+250788123456")
    declines = payer(phone="+250780000102")
