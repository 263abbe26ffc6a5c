"""Somebody with a browser: follows a link, pays on the provider's page, and comes back."""

import asyncio
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import httpx

_FORM = re.compile(r'<form method="post"')
_STATE = re.compile(r'data-state="([a-z]+)"')


@dataclass(frozen=True, slots=True)
class Shown:
    """What our page said about a payment: `paid`, `waiting`, `unpaid`, `nobody`."""

    reference: str
    state: str


@dataclass(slots=True)
class Browser:
    """addresses: of our web processes; one is as good as another.

    shown: what payers saw when they came back.
    """

    addresses: Sequence[str]
    seed: int = 0
    patience: float = 20
    shown: list[Shown] = field(default_factory=list)
    http: httpx.AsyncClient = field(init=False, repr=False)
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.http = httpx.AsyncClient(trust_env=False, timeout=15)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def pay(self, link: str, *cards: str) -> str | None:
        """Tries one card after another on the page behind `link`, until one is taken.

        Presses again when there is no answer, as people do. Gives the address that the page sends
        the payer back to; None when it sends nowhere.
        """
        end = time.monotonic() + self.patience
        left = list(cards)
        while left and time.monotonic() < end:
            page = await self._load("GET", link, end)
            if page is None or not _FORM.search(page.text):
                break  # paid already, or closed
            answer = await self._press(link, {"act": "pay", "card": left[0]})
            if answer is None:
                continue  # the page tells whether it was taken
            if answer.status_code in {200, 303}:
                left.pop(0)
            if answer.status_code == 303 and "location" in answer.headers:
                return str(answer.headers["location"])
        return None

    async def give_up(self, link: str) -> str | None:
        """Presses "Cancel" on the page. Gives the address that it sends the payer back to."""
        answer = await self._press(link, {"act": "cancel"})
        return answer.headers.get("location") if answer is not None else None

    async def come_back(self, address: str) -> str | None:
        """Opens our page; gives what it says, or where it leads. None when nobody answers."""
        end = time.monotonic() + self.patience
        parts = urlsplit(address)
        while time.monotonic() < end:
            ours = urlsplit(self._random.choice(self.addresses))
            url = urlunsplit(parts._replace(netloc=ours.netloc))
            page = await self._once("GET", url)
            if page is not None and page.status_code == 303:
                return str(page.headers["location"])
            if page is not None and page.status_code in {200, 404}:
                found = _STATE.search(page.text)
                state = found[1] if found else "no page"
                self.shown.append(Shown(parts.path.rpartition("/")[2], state))
                return state
            await asyncio.sleep(self._random.uniform(0.05, 0.3))
        return None

    async def stay(self, address: str) -> str | None:
        """As come_back; looks again, as the page does by itself, until it is decided."""
        end = time.monotonic() + self.patience
        state = await self.come_back(address)
        while state == "waiting" and time.monotonic() < end:
            await asyncio.sleep(0.1)
            state = await self.come_back(address)
        return state

    async def _press(self, link: str, form: dict[str, str]) -> httpx.Response | None:
        return await self._once("POST", link, form)

    async def _load(self, method: str, url: str, end: float) -> httpx.Response | None:
        """The page, loaded again while the line is bad."""
        while time.monotonic() < end:
            page = await self._once(method, url)
            if page is not None and "<main>" in page.text:
                return page
            await asyncio.sleep(self._random.uniform(0.02, 0.2))
        return None

    async def _once(
        self, method: str, url: str, form: dict[str, str] | None = None
    ) -> httpx.Response | None:
        try:
            return await self.http.request(method, url, data=form)
        except httpx.HTTPError:
            return None
