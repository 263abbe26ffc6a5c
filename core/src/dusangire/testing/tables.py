"""Tables for the docs, made from the code: who promises what, and what each code means."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dusangire.failures import EXPLANATIONS, Explanation
from dusangire.gateway import FailureCode, Meaning
from dusangire.languages import LANGUAGES
from dusangire.plugins import Plugin
from dusangire.testing.contract import PROMISES, GatewayContract
from dusangire.testing.promises import Promise
from dusangire.testing.stand import load

KEPT, NO = "✓", "–"


@dataclass(frozen=True, slots=True)
class Method:
    """A payment method as the docs show it. `contracts`: the classes that run its contract."""

    plugin: Plugin
    contracts: tuple[type[GatewayContract], ...]

    @property
    def name(self) -> str:
        return self.plugin.description.name

    def why_not(self, promise: Promise) -> str | None:
        """Why a promise is not kept: as the run says it when it skips. None: it is kept."""
        if reason := promise.does_not_apply(self.plugin):
            return reason
        left = [_left_open(getattr(contract, promise.test)) for contract in self.contracts]
        return next((f"{self.name} leaves it open: {reason}" for reason in left if reason), None)


def methods(contracts: Iterable[type[GatewayContract]]) -> list[Method]:
    """One for each plugin, in the order in which they come."""
    by_plugin: dict[int, list[type[GatewayContract]]] = {}
    for contract in contracts:
        by_plugin.setdefault(id(contract.plugin), []).append(contract)
    return [Method(load(found[0].plugin), tuple(found)) for found in by_plugin.values()]


def _left_open(member: object) -> str | None:
    marks = getattr(member, "pytestmark", [])
    return next((mark.kwargs.get("reason") for mark in marks if mark.name == "xfail"), None)


# ── methods ──────────────────────────────────────────────────────────────────────────────────────


def _implemented(hook: str) -> Callable[[Plugin], bool]:
    return lambda plugin: plugin.implements(hook)


def _first_question(plugin: Plugin) -> str:
    schedule = plugin.description.check_schedule
    if not plugin.implements("check_payment"):
        return NO
    return f"{(*schedule.first, schedule.then)[0]:g} s"


def _kept(plugin: Plugin) -> str:
    if plugin.implements("charge_token"):
        return "by a token"
    return "by phone number" if plugin.description.needs_phone else NO


_ABILITIES: Sequence[tuple[str, Callable[[Plugin], bool | str]]] = (
    ("the payer's phone number is needed", lambda plugin: plugin.description.needs_phone),
    ("it can be asked what became of a payment", _implemented("check_payment")),
    ("first asked after", _first_question),
    ("a person confirms its payments", lambda plugin: not plugin.implements("check_payment")),
    ("it hears webhooks", _implemented("read_webhook")),
    ("it takes a request back", _implemented("cancel_payment")),
    ("it can look before it asks the payer", _implemented("check_payer")),
    ("it gives money back", _implemented("refund_payment")),
    (
        "it gives a part back",
        lambda plugin: plugin.implements("refund_payment") and plugin.description.partial_refunds,
    ),
    (
        "a refund sent twice is paid once",
        lambda plugin: (
            plugin.implements("refund_payment") and plugin.description.repeatable_refunds
        ),
    ),
    ("it can be asked what became of a refund", _implemented("check_refund")),
    ("who comes back can be charged", _kept),
    ("its settings can be tried", _implemented("test_gateway")),
    ("it has a simulator", _implemented("simulator")),
)


def abilities(shown: Sequence[Method]) -> str:
    """What each method can do, as its plugin implements and describes it."""

    def cell(value: bool | str) -> str:
        return value if isinstance(value, str) else KEPT if value else NO

    rows = [[what, *(cell(can(one.plugin)) for one in shown)] for what, can in _ABILITIES]
    return _table(["Ability", *(one.name for one in shown)], rows)


def kept_promises(shown: Sequence[Method]) -> str:
    """Which method keeps which promise of the contract, and why it does not where it does not."""
    reasons: dict[str, int] = {}

    def cell(method: Method, promise: Promise) -> str:
        reason = method.why_not(promise)
        if reason is None:
            return KEPT
        return f"{NO} ({reasons.setdefault(reason, len(reasons) + 1)})"

    rows = [
        [one.group, one.words, one.condition, *(cell(method, one) for method in shown)]
        for one in PROMISES
    ]
    table = _table(
        ["Group", "Promise", "Asked of a plugin when", *(one.name for one in shown)], rows
    )
    return "\n".join([table, "", *(f"{number}. {why}" for why, number in reasons.items())])


# ── failures ─────────────────────────────────────────────────────────────────────────────────────


def vocabulary() -> str:
    """Every failure code: what staff and payers read."""
    rows = [_explained(code, EXPLANATIONS[code]) for code in FailureCode]
    head = ["Code", "Means", "The payer reads", "and can do this", "Retry"]
    return _table(head, rows)


def _explained(code: FailureCode, explanation: Explanation) -> list[str]:
    def all_of(texts: Mapping[str, str]) -> str:
        return "<br>".join(f"{name}: {texts[name]}" for name in LANGUAGES)

    return [
        f"`{code}`",
        explanation.meaning,
        all_of(explanation.message),
        all_of(explanation.next_step),
        "yes" if explanation.retryable else "no",
    ]


def provider_codes(shown: Iterable[Method]) -> str:
    """For each method whose provider has codes: what becomes of each, and what staff read."""
    return "\n\n".join(
        f"### {one.name}\n\n{_codes(one.plugin.description.codes)}"
        for one in shown
        if one.plugin.description.codes
    )


def _codes(codes: Mapping[str, Meaning]) -> str:
    rows = [_meant(code, meaning) for code, meaning in codes.items()]
    return _table(["Code", "Becomes", "Staff read"], rows)


def _meant(code: str, meaning: Meaning) -> list[str]:
    becomes = f"`{meaning.failure}`" if meaning.failure else "nothing: the gateway is asked"
    return [f"`{code}`", becomes, meaning.text]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
