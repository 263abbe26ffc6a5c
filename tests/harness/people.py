"""People with an account of their own, who sign in as a browser does and decide on refunds."""

import asyncio
import html
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tests.harness.client import Merchant, NoAnswer, Refused
from tests.harness.system import System

from dusangire.people.onetime import STEP, code_at

SESSION = "dusangire-session"
CREATE_STAFF = (
    "mutation($email: String!, $role: Role!) { answer: createStaff(email: $email, role: $role) "
    "{ staff { id email } loginUrl userErrors { code message field } } }"
)
CONFIRM = (
    "mutation($password: String!, $code: String) { answer: confirmIdentity(password: $password, "
    "code: $code) { viewer { confirmedUntil } userErrors { code message field } } }"
)
CONFIRMED = "{ viewer { confirmedUntil } }"
_KEY = re.compile(r"<code>([A-Z2-7 ]+)</code>")


@dataclass(slots=True)
class Person(Merchant):
    """Somebody whose browser keeps a session: `token` is its cookie.

    key: of the code generator on the phone; empty for a role that needs none.
    """

    email: str = ""
    password: str = field(default_factory=lambda: f"canary-{secrets.token_hex(12)}")
    key: str = ""
    link: str = ""
    _spent: int = 0
    _confirmed_at: float = 0
    _asked: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def sign_up(self, link: str) -> None:
        """By the link that somebody was given: a password, and a code where one is needed."""
        address = self.addresses[0]
        self.link = urlsplit(link).path
        await self._submit(address, self.link, {})
        await self._submit(address, "/admin/password", {"new": self.password})
        page = await self.http.get(f"{address}/admin/")
        if found := _KEY.search(html.unescape(page.text)):
            self.key = found[1].replace(" ", "")
            # The one before is taken as well, so that the code of now is left for the next time.
            self._spent = int(time.time()) // STEP - 1
            code = code_at(self.key, self._spent * STEP)
            await self._submit(address, "/admin/code", {"code": code})

    async def hire(self, email: str, role: str) -> "Person":
        """A new account, and its owner, signed up."""
        answer = (await self.ask(CREATE_STAFF, email=email, role=role))["answer"]
        if answer["userErrors"]:
            raise Refused(answer["userErrors"])
        person = Person(self.addresses, "", self.seed, self.patience, email=email)
        await person.sign_up(answer["loginUrl"])
        return person

    async def confirm_identity(self, refused_at: float) -> None:
        """Shows that it is them, unless they did so since they were refused for it."""
        async with self._asked:
            if self._confirmed_at > refused_at:
                return
            code = await self._next_code() if self.key else None
            try:
                answer = await self.ask_once(CONFIRM, password=self.password, code=code)
                if answer["answer"]["userErrors"]:
                    raise Refused(answer["answer"]["userErrors"])
            except NoAnswer:
                # A code is worth half a minute: whether it counted is looked up.
                until = (await self.ask(CONFIRMED))["viewer"]["confirmedUntil"]
                if until is None or datetime.fromisoformat(until) < datetime.now(UTC):
                    return
            self._confirmed_at = time.monotonic()

    async def _next_code(self) -> str:
        """Each code is good once, and the one of the next half minute is taken already."""
        self._spent = max(self._spent + 1, int(time.time()) // STEP)
        while self._spent > int(time.time()) // STEP + 1:  # noqa: ASYNC110 - nothing to wait for
            await asyncio.sleep(0.2)
        return code_at(self.key, self._spent * STEP)

    async def _submit(self, address: str, path: str, form: dict[str, str]) -> None:
        answer = await self.http.post(
            f"{address}{path}", data=form, headers={"Origin": address}, follow_redirects=False
        )
        if answer.status_code != 303:
            raise Refused(f"{path}: HTTP {answer.status_code}: {answer.text[-500:]}")
        self.token = self.http.cookies.get(SESSION) or self.token

    def _headers(self, address: str) -> dict[str, str]:
        # The cookie goes along by itself, as from a page of ours.
        return {"Origin": address, "X-CSRF": "1"}

    def canaries(self) -> list[str]:
        """What must never be seen."""
        known = (self.password, self.key, self.token, self.link.rpartition("/")[2])
        return [text for text in known if text]


@dataclass(slots=True)
class Office:
    """Who works for the merchant. Either of the two approvers may decide; the teller may not."""

    approvers: tuple[Person, Person]
    teller: Person

    @property
    def everybody(self) -> tuple[Person, ...]:
        return (*self.approvers, self.teller)

    async def close(self) -> None:
        for person in self.everybody:
            await person.http.aclose()

    @classmethod
    async def open(cls, system: System) -> "Office":
        """The first account by the command line, the others by whoever has it."""
        invited = await system.command(
            *("staff", "create", "--email", "aline@shop.test", "--role", "ADMIN", "--json")
        )
        aline = Person(system.addresses, "", email="aline@shop.test", patience=90)
        await aline.sign_up(invited["loginUrl"])
        eric = await aline.hire("eric@shop.test", "APPROVER")
        return cls((aline, eric), await aline.hire("keza@shop.test", "OPERATOR"))
