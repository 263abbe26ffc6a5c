"""Ikaze keeps every promise of the contract."""

from dusangire.testing import GatewayContract, payer
from dusangire_ikaze import gateway


class TestIkaze(GatewayContract):
    plugin = gateway
    approves = payer(phone="+250780000000")
    declines = payer(phone="+250780000102")
