"""Example Pay keeps every promise of the contract."""

from dusangire.testing import GatewayContract, payer
from examplepay_plugin import gateway


class TestExamplePay(GatewayContract):
    plugin = gateway
    approves = payer(phone="+250780000000")
    declines = payer(phone="+250780000102")
