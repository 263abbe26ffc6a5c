"""Bank transfer keeps every promise that has a meaning where nobody can be asked."""

from dusangire.testing import GatewayContract, payer
from dusangire_bank import gateway


class TestBank(GatewayContract):
    plugin = gateway
    approves = payer(phone="+250788123456")
