"""A chaos run: many payments, a bad line, processes that are killed, and then the judges.

Of a third of the payments something goes back meanwhile: a program asks for it, people sign in,
show that it is them and decide. The merchant's server is told of everything.

Every run is drawn from its seed. Two runs of the same seed ask for the same payments and suffer
the same kinds of faults; when exactly a process dies is up to the machine.
"""

import asyncio
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from tests.harness.browser import Browser
from tests.harness.client import ONE_WITH_REFUNDS, Answer, Merchant, NoAnswer, Refused
from tests.harness.evidence import Rest, gather, quiet, refunds_of
from tests.harness.invariants import violations
from tests.harness.known import Evidence, refund_behind
from tests.harness.live import Subscriber, over_sse, over_websocket
from tests.harness.people import Office
from tests.harness.processes import Process
from tests.harness.providers import PROVIDERS
from tests.harness.refunds import TALES as RETURNS
from tests.harness.refunds import Desk, Return, once_paid
from tests.harness.simulator import Truth
from tests.harness.sink import Sink
from tests.harness.stories import KNOWN_PHONES, TALES, Customer
from tests.harness.system import System, running

from dusangire.testing.database import empty_database

# Giving back all of a payment takes two people, a part of it one.
_SETTINGS = {"DUSANGIRE_TWO_APPROVERS_ABOVE": "RWF 1000", "DUSANGIRE_LOOPBACK_WEBHOOKS": "yes"}
_CREATE_ENDPOINT = (
    'mutation($url: String!) { answer: createWebhookEndpoint(url: $url, events: ["*"]) '
    "{ secret userErrors { code message field } } }"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens in a run. Rates are shares of 1.

    gateways: which methods payers use, with commas; MTN's is one of them.
    seconds: over which the payments are spread.
    kills: how often, spread over the same time, a web process or worker is killed; a quarter of
        them are frozen for longer than a lease instead, and wake up again.
    scale: DUSANGIRE_POLL_SCALE.
    clients: how many payments are asked for at a time at most.
    refunds: of which payments something goes back, as soon as they are paid.
    refused_by_merchant, lost_by_merchant: webhooks to the merchant that are answered with 500, or
        not at all.
    """

    seed: int = 0
    gateways: str = "mtn,airtel,card,cod"
    payments: int = 200
    seconds: float = 14
    kills: int = 8
    webs: int = 2
    workers: int = 2
    scale: float = 0.02
    clients: int = 40
    lost_replies: float = 0.1
    duplicated_webhooks: float = 0.2
    dropped_webhooks: float = 0.1
    delayed_webhooks: float = 0.1
    refused: float = 0.02
    unavailable: float = 0.02
    html: float = 0.01
    truncated: float = 0.01
    refunds: float = 0.33
    refused_by_merchant: float = 0.05
    lost_by_merchant: float = 0.05

    @property
    def methods(self) -> list[str]:
        return self.gateways.split(",")

    @property
    def faults(self) -> dict[str, float]:
        names = ("lost_replies", "duplicated_webhooks", "dropped_webhooks", "delayed_webhooks")
        line = ("refused", "unavailable", "html", "truncated")
        return {name: getattr(self, name) for name in (*names, *line)} | {"webhook_delay": 1.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a run."""

    plan: Plan
    seconds: float
    start: float
    rest: float
    hurried: int
    charges: Counter[str]
    ends: Counter[str]
    refunds: Counter[str]
    refunds_double: int
    refunds_lost: int
    documents: Counter[str]
    webhooks: int
    kills: Counter[str]
    breaks: int
    unclear: int
    double: int
    lost: int
    lost_webhooks: int
    violations: list[str]

    @property
    def line(self) -> str:
        """The run in one line."""
        ends = " ".join(f"{end.lower()}={count}" for end, count in sorted(self.ends.items()))
        kills = " ".join(f"{kind}={count}" for kind, count in sorted(self.kills.items()))
        charges = " ".join(f"{code}={count}" for code, count in sorted(self.charges.items()))
        refunds = " ".join(f"{what}={count}" for what, count in self.refunds.items())
        documents = " ".join(f"{kind.lower()}s={n}" for kind, n in sorted(self.documents.items()))
        return (
            f"seed={self.plan.seed} payments={self.plan.payments} {kills} "
            f"unclear_answers={self.unclear} broken_streams={self.breaks} hurried={self.hurried} | "
            f"charges={self.charges.total()} ({charges}) {ends} | refunds {refunds} "
            f"double={self.refunds_double} lost={self.refunds_lost} | "
            f"{documents} webhooks_to_merchant={self.webhooks} | "
            f"double={self.double} lost={self.lost} "
            f"lost_webhooks={self.lost_webhooks} violations={len(self.violations)} | "
            f"{self.seconds:.1f} s, of which {self.start:.1f} to start and {self.rest:.1f} to rest"
        )


async def run(plan: Plan, folder: Path) -> Report:
    """One run with a database and processes of its own. Their logs are kept in `folder`."""
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    async with (
        empty_database() as url,
        running(
            folder,
            url,
            webs=plan.webs,
            workers=plan.workers,
            scale=plan.scale,
            seed=plan.seed,
            cod="cod" in plan.methods,
            gateways=[code for code in plan.methods if code in PROVIDERS],
            settings=_SETTINGS,
        ) as system,
        Sink(plan.seed, refused=plan.refused_by_merchant, lost=plan.lost_by_merchant) as sink,
    ):
        return await _Run(plan, system, sink, began).play()


# Gives the payment's id, if there is one; and what is done with a payment that is paid.
Errand: TypeAlias = Callable[[], Awaitable[str | None]]
GiveBack: TypeAlias = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class _Run:
    plan: Plan
    system: System
    sink: Sink
    began: float
    started: float = field(default_factory=time.monotonic)
    draw: random.Random = field(init=False)
    merchant: Merchant = field(init=False)
    browser: Browser = field(init=False)
    desk: Desk = field(init=False)
    observed: list[tuple[str, int, str]] = field(default_factory=list)
    glimpsed: list[dict[str, Any]] = field(default_factory=list)
    subscribers: list[Subscriber] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    phones: list[str] = field(default_factory=list)
    _spoilt: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.plan.seed)
        self.merchant = self.system.merchant(self.plan.seed)
        self.merchant.patience = 90
        self.browser = self.system.browser(self.plan.seed)

    async def play(self) -> Report:
        for simulator in self.system.simulators.values():
            await simulator.settings(delay=0.4, scale=0.2)
            await simulator.faults(**self.plan.faults)
        async with self.merchant, self.browser, AsyncExitStack() as watching:
            await self._open_office(watching)
            await self._watch_all(watching)
            async with asyncio.TaskGroup() as tasks:
                paying = tasks.create_task(self._pay_all(watching))
                tasks.create_task(self._spoil())
                tasks.create_task(self._read(paying))
            await self._let_pages_close()
            for simulator in self.system.simulators.values():
                await simulator.faults()
            self.sink.refused = self.sink.lost = 0
            rest = await quiet(self.system)
            await self._say_what_nobody_knew()
            await quiet(self.system)
            await self._let_subscribers_finish()
            return await self._judge(rest)

    # ── paying ───────────────────────────────────────────────────────────────────────────────────

    async def _pay_all(self, watching: AsyncExitStack) -> None:
        errands = [self._errand(number, watching) for number in range(self.plan.payments)]
        moments = [self.draw.uniform(0, self.plan.seconds) for _ in errands]
        returns = self._returns()
        places = asyncio.Semaphore(self.plan.clients)

        async def one(errand: Errand, moment: float, give_back: GiveBack | None) -> None:
            await asyncio.sleep(moment)
            async with places:
                payment_id = await errand()
            if payment_id is not None and give_back is not None:
                await give_back(payment_id)

        async with asyncio.TaskGroup() as tasks:
            for each in zip(errands, moments, returns, strict=True):
                tasks.create_task(one(*each))

    def _errand(self, number: int, watching: AsyncExitStack) -> "Errand":
        """Draws one customer's story; drawn before anything runs, so that a seed repeats it."""
        key = f"chaos {self.plan.seed} {number:04}"
        tales = [tale for tale in TALES if tale.possible(self.plan.methods)]
        [tale] = self.draw.choices(tales, [tale.share for tale in tales])
        phone = tale.payers_phone(self.draw)
        customer = Customer(
            system=self.system,
            merchant=self.merchant,
            browser=self.browser,
            key=key,
            gateway=tale.gateway,
            phone=phone,
            cards=tale.cards,
        )
        if phone is not None:
            self.phones.append(phone)
        again = self.draw.random() < 0.15
        mistaken = self.draw.random() < 0.1
        watched = number % 8 == 0

        async def errand() -> str | None:
            answer = await tale.story(customer)
            if answer.payment is None:
                return None
            if watched:
                await self._watch(watching, answer, number)
            if again:
                await tale.story(customer)
            if mistaken:
                await self.merchant.create(key, gateway=tale.gateway, phone=phone, amount="99999")
            return answer.id

        return errand

    async def _let_pages_close(self) -> None:
        """The time runs out for cards that were refused, and for half of those that never came.

        The page stays open until then: its payer might try another card.
        """
        truth = (await self.system.truth()).by_reference
        for payment in await self.merchant.payments():
            attempts = payment["attempts"]
            if payment["status"] != "PENDING" or attempts[-1]["gateway"]["code"] != "card":
                continue
            there = truth.get(attempts[-1]["gatewayReference"])
            if there is None or there["status"] != "PENDING" or self.draw.random() < 0.5:
                await self.system.let_time_run_out(payment["id"])

    # ── giving back ──────────────────────────────────────────────────────────────────────────────

    async def _open_office(self, stack: AsyncExitStack) -> None:
        """People who decide, and a server of the merchant's that is told of it all."""
        answer = (await self.merchant.ask(_CREATE_ENDPOINT, url=self.sink.url))["answer"]
        if answer["userErrors"]:
            raise Refused(answer["userErrors"])
        self.sink.secret = answer["secret"]
        office = await Office.open(self.system)
        stack.push_async_callback(office.close)
        self.desk = Desk(self.merchant, office, self.plan.seed)
        # They signed in just now. Before they decide, they show again that it is them.
        await self.system.let_confirmations_grow_old()

    def _returns(self) -> "list[GiveBack | None]":
        """What goes back of each payment, if it is paid; drawn before anything runs."""
        draw = random.Random(self.plan.seed + 3)
        found: list[GiveBack | None] = []
        for number in range(self.plan.payments):
            wanted, luck = draw.random() < self.plan.refunds, draw.random()
            [story] = draw.choices(list(RETURNS), list(RETURNS.values()))
            found.append(self._give_back(number, story, luck) if wanted else None)
        return found

    def _give_back(
        self, number: int, story: Callable[[Return], Awaitable[None]], luck: float
    ) -> "GiveBack":
        async def give_back(payment_id: str) -> None:
            gateway = await once_paid(self.merchant, payment_id, seconds=8)
            if gateway is None:
                return
            name = f"return {self.plan.seed} {number:04}"
            await story(
                Return(desk=self.desk, name=name, payment_id=payment_id, gateway=gateway, luck=luck)
            )

        return give_back

    async def _say_what_nobody_knew(self) -> None:
        """An approver looks at the provider's own pages, for half of the refunds in doubt."""
        draw = random.Random(self.plan.seed + 4)
        refunds = await refunds_of(self.system, self.merchant)
        truth = await self.system.truth()
        for refund in refunds:
            if refund["status"] != "UNKNOWN" or draw.random() < 0.5:
                continue
            given = [one for one in truth.refunds if refund_behind(one, refunds) == refund]
            moved = any(one["moves"] for one in given)
            await self.desk.settle(refund, self.desk.office.approvers[0], succeeded=moved)

    # ── spoiling ─────────────────────────────────────────────────────────────────────────────────

    async def _spoil(self) -> None:
        draw = random.Random(self.plan.seed + 1)
        pause = self.plan.seconds / max(1, self.plan.kills)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.plan.kills):
                await asyncio.sleep(pause * draw.uniform(0.5, 1.3))
                victim = draw.choice(self.system.processes)
                frozen, wait = draw.random() < 0.25, draw.random()
                if victim in self._spoilt:
                    whole = [p for p in self.system.processes if p not in self._spoilt]
                    victim = draw.choice(whole)
                tasks.create_task(
                    self._freeze(victim, wait) if frozen else self._kill(victim, wait)
                )

    async def _freeze(self, victim: Process, wait: float) -> None:
        self.kills["frozen"] += 1
        self._spoilt.append(victim)
        victim.freeze()
        await asyncio.sleep(3.2 + 1.3 * wait)
        victim.thaw()
        self._spoilt.remove(victim)

    async def _kill(self, victim: Process, wait: float) -> None:
        self.kills["killed_webs" if victim in self.system.webs else "killed_workers"] += 1
        self._spoilt.append(victim)
        victim.kill()
        await asyncio.sleep(0.5 * wait)
        victim.start()
        self._spoilt.remove(victim)

    # ── watching ─────────────────────────────────────────────────────────────────────────────────

    async def _watch_all(self, watching: AsyncExitStack) -> None:
        """One subscriber over each transport sees everything from the first payment on."""
        first = f"chaos {self.plan.seed} first"
        await self.merchant.create(first)
        cursor = (await self.merchant.events())[0]["cursor"] if await self._stamped() else None
        for transport in (over_websocket, over_sse):
            subscriber = Subscriber(
                self.system.addresses, self.system.token, cursor=cursor, transport=transport
            )
            self.subscribers.append(await watching.enter_async_context(subscriber))

    async def _stamped(self) -> bool:
        end = time.monotonic() + 20
        while not await self.merchant.events():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.05)
        return True

    async def _watch(self, watching: AsyncExitStack, answer: Answer, number: int) -> None:
        subscriber = Subscriber(
            self.system.addresses,
            answer.client_token or self.system.token,
            payment_id=answer.id,
            seed=number,
            transport=over_sse if number % 16 else over_websocket,
        )
        self.subscribers.append(await watching.enter_async_context(subscriber))

    async def _read(self, paying: "asyncio.Task[None]") -> None:
        """Reads payments all the time, as a dashboard would; drops a subscriber now and then."""
        draw = random.Random(self.plan.seed + 2)
        while not paying.done():
            known = [said.payment_id for said in self.merchant.history if said.payment_id]
            if known:
                try:
                    answer = await self.merchant.ask(ONE_WITH_REFUNDS, id=draw.choice(known))
                except NoAnswer:
                    continue
                payment = answer["payment"]
                self.glimpsed.append(payment)
                self.observed.append((payment["id"], payment["version"], payment["status"]))
            if draw.random() < 0.1:
                draw.choice(self.subscribers).drop()
            await asyncio.sleep(0.05)

    async def _let_subscribers_finish(self) -> None:
        """Until they have what there is, or for so long that they never will."""
        events = await self.merchant.events()
        final = {event["payment"]["id"]: event["payment"]["version"] for event in events}
        end = time.monotonic() + 10
        while time.monotonic() < end:
            behind = [
                one
                for one in self.subscribers
                if not one.seen
                or (one.payment_id is None and one.cursors[-1] != events[-1]["cursor"])
                or (one.payment_id is not None and one.versions[-1] < final[one.payment_id])
            ]
            if not behind:
                return
            await asyncio.sleep(0.1)

    async def _keep(self, payment: dict[str, Any]) -> None:
        """Writes down what is known of a payment that something is wrong with."""
        log = await self.merchant.transactions(payment["id"])
        told = [event for event in await self.merchant.events() if _is_of(event, payment)]
        text = json.dumps({"payment": payment, "log": log, "events": told}, indent=1)
        (self.system.folder / f"{payment['reference']}.json").write_text(text)

    # ── judging ──────────────────────────────────────────────────────────────────────────────────

    async def _judge(self, rest: Rest) -> Report:
        private = [phone[3:] for phone in self.phones if phone not in KNOWN_PHONES]
        evidence = await gather(
            self.system,
            self.merchant.history,
            subscribers=self.subscribers,
            observed=self.observed,
            glimpsed=self.glimpsed,
            shown=self.browser.shown,
            asked=self.desk.history,
            told=self.sink.told,
            secrets=[
                self.sink.secret,
                *(text for person in self.desk.office.everybody for text in person.canaries()),
            ],
            private=private,
            audit=True,
        )
        found = violations(evidence)
        for payment in evidence.payments:
            names = {payment["reference"]} | {
                refund["reference"]
                for refund in evidence.refunds
                if refund["payment"]["id"] == payment["id"]
            }
            if any(name in text for text in found for name in names):
                await self._keep(payment)
        return Report(
            plan=self.plan,
            seconds=time.monotonic() - self.began,
            start=self.started - self.began,
            rest=rest.seconds,
            hurried=rest.hurried,
            charges=_charges(evidence.truth),
            ends=Counter(payment["status"] for payment in evidence.payments),
            refunds=_refunds(evidence),
            refunds_double=sum(text.startswith(("I7:", "I8:")) for text in found),
            refunds_lost=sum(text.startswith("I8: LOST") for text in found),
            documents=Counter(one["kind"] for one in evidence.invoices or ()),
            webhooks=len({one.id for one in self.sink.told}),
            kills=self.kills,
            breaks=sum(subscriber.breaks for subscriber in self.subscribers),
            unclear=sum(said.result == "info" for said in evidence.history),
            double=sum(text.startswith("I1:") for text in found),
            lost=sum(text.startswith("I2:") for text in found),
            lost_webhooks=sum(text.startswith("I5:") for text in found),
            violations=found,
        )


def _charges(truth: Truth) -> Counter[str]:
    """How often money moved at each provider."""
    moved: Counter[str] = Counter()
    for one in truth.transactions:
        moved[one["gateway"]] += one["moves"]
    return moved


def _refunds(evidence: Evidence) -> Counter[str]:
    """How many were asked for, refused, approved and sent, and what became of all of them."""
    refused = {one.reason for one in evidence.asked if one.operation == "request"}
    approved = {one["refund"]["id"] for one in evidence.events if one["type"] == "refund.approved"}
    found = Counter(
        requested=len(evidence.refunds),
        refused=len(refused - {one["reason"] for one in evidence.refunds}),
        approved=len(approved),
        sent=sum(one["sends"] > 0 for one in evidence.refunds),
        sendings=sum(one["sends"] for one in evidence.refunds),
        ever_in_doubt=len(
            {one["refund"]["id"] for one in evidence.events if one["type"] == "refund.unknown"}
        ),
        at_providers=len(evidence.truth.refunds),
    )
    found.update(refund["status"].lower() for refund in evidence.refunds)
    return found


def _is_of(event: dict[str, Any], payment: dict[str, Any]) -> bool:
    return bool(event["payment"]["id"] == payment["id"])


async def run_many(
    plan: Plan, runs: int, folder: Path, tell: Callable[[Report], None]
) -> Sequence[Report]:
    """Run after run with the seeds plan.seed, plan.seed + 1, …; tells of each when it ended."""
    reports = []
    for number in range(runs):
        this = replace(plan, seed=plan.seed + number)
        reports.append(await run(this, folder / f"seed-{this.seed}"))
        tell(reports[-1])
    return reports
