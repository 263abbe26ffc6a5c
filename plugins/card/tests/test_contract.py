"""The card gateway keeps every promise of the contract."""

from typing import ClassVar
from urllib.parse import urlsplit

import httpx

from dusangire.testing import GatewayContract, payer
from dusangire.testing.stand import Case, Stand
from dusangire_card import gateway

REFUSED = "declined@example.rw"


class TestCard(GatewayContract):
    plugin = gateway
    approves = payer(email="buyer@example.rw")
    declines = payer(email=REFUSED)
    # With more, a refused card ends nothing: the payer may try another.
    config: ClassVar = {"max_attempts": 1}

    async def payer_acts(self, stand: Stand, case: Case) -> None:
        """The payer follows the link and picks a card."""
        link = case.attempt.plugin_data.get("link")
        if link is None:
            # The answer with the link was lost: what if somebody paid nevertheless?
            await stand.control("decide", reference=case.reference, decision="approve")
            return
        page = stand.line_().url + urlsplit(link["url"]).path
        card = "insufficient" if case.attempt.email == REFUSED else "visa-3ds"
        async with httpx.AsyncClient(trust_env=False, verify=False) as browser:
            await browser.post(page, data={"card": card, "act": "pay"})
