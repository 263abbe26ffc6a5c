"""A chaos run: many payments, a bad line, processes that are killed, and then the judges.

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
from typing import Any

from tests.harness.browser import Browser
from tests.harness.client import Answer, Merchant, NoAnswer
from tests.harness.evidence import Rest, gather, quiet
from tests.harness.invariants import violations
from tests.harness.live import Subscriber, over_sse, over_websocket
from tests.harness.processes import Process
from tests.harness.providers import PROVIDERS
from tests.harness.simulator import Truth
from tests.harness.stories import KNOWN_PHONES, TALES, Customer
from tests.harness.system import System, running

from dusangire.testing.database import empty_database


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens in a run. Rates are shares of 1.

    gateways: which methods payers use, with commas; MTN's is one of them.
    seconds: over which the payments are spread.
    kills: how often, spread over the same time, a web process or worker is killed; a quarter of
        them are frozen for longer than a lease instead, and wake up again.
    scale: DUSANGIRE_POLL_SCALE.
    clients: how many payments are asked for at a time at most.
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
        return (
            f"seed={self.plan.seed} payments={self.plan.payments} {kills} "
            f"unclear_answers={self.unclear} broken_streams={self.breaks} hurried={self.hurried} | "
            f"charges={self.charges.total()} ({charges}) {ends} | "
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
        ) as system,
    ):
        return await _Run(plan, system, began).play()


@dataclass(slots=True)
class _Run:
    plan: Plan
    system: System
    began: float
    started: float = field(default_factory=time.monotonic)
    draw: random.Random = field(init=False)
    merchant: Merchant = field(init=False)
    browser: Browser = field(init=False)
    observed: list[tuple[str, int, str]] = field(default_factory=list)
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
            await self._watch_all(watching)
            async with asyncio.TaskGroup() as tasks:
                paying = tasks.create_task(self._pay_all(watching))
                tasks.create_task(self._spoil())
                tasks.create_task(self._read(paying))
            await self._let_pages_close()
            for simulator in self.system.simulators.values():
                await simulator.faults()
            rest = await quiet(self.system)
            await self._let_subscribers_finish()
            return await self._judge(rest)

    # ── paying ───────────────────────────────────────────────────────────────────────────────────

    async def _pay_all(self, watching: AsyncExitStack) -> None:
        errands = [self._errand(number, watching) for number in range(self.plan.payments)]
        moments = [self.draw.uniform(0, self.plan.seconds) for _ in errands]
        places = asyncio.Semaphore(self.plan.clients)

        async def one(errand: Callable[[], Awaitable[None]], moment: float) -> None:
            await asyncio.sleep(moment)
            async with places:
                await errand()

        async with asyncio.TaskGroup() as tasks:
            for errand, moment in zip(errands, moments, strict=True):
                tasks.create_task(one(errand, moment))

    def _errand(self, number: int, watching: AsyncExitStack) -> Callable[[], Awaitable[None]]:
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

        async def errand() -> None:
            answer = await tale.story(customer)
            if answer.payment is None:
                return
            if watched:
                await self._watch(watching, answer, number)
            if again:
                await tale.story(customer)
            if mistaken:
                await self.merchant.create(key, gateway=tale.gateway, phone=phone, amount="99999")

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
                    payment = await self.merchant.payment(draw.choice(known))
                except NoAnswer:
                    continue
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
            shown=self.browser.shown,
            private=private,
        )
        found = violations(evidence)
        for payment in evidence.payments:
            if any(payment["reference"] in text for text in found):
                await self._keep(payment)
        return Report(
            plan=self.plan,
            seconds=time.monotonic() - self.began,
            start=self.started - self.began,
            rest=rest.seconds,
            hurried=rest.hurried,
            charges=_charges(evidence.truth),
            ends=Counter(payment["status"] for payment in evidence.payments),
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
