"""The installed plugins: found by entry point, asked through pluggy, kept at arm's length."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy
import structlog

from dusangire import PROJECT, hookspecs
from dusangire.channels import (
    ChannelDescription,
    Delivered,
    Delivery,
    Message,
    NotDelivered,
    Unclear,
)
from dusangire.errors import CannotStart, GatewayNotFound
from dusangire.exchanges import recording, secret_values
from dusangire.fiscal import FiscalDescription
from dusangire.fiscalization.plugin import FiscalPlugin, simulated
from dusangire.gateway import (
    Accepted,
    Attempt,
    Failed,
    Gateway,
    GatewayDescription,
    Heard,
    NotSent,
    Outcome,
    Refund,
    TestReport,
    Trust,
    Unknown,
    WebhookRequest,
)
from dusangire.masking import hiding
from dusangire.outcomes import checked
from dusangire.statements import MappingProfile, StatementFormat, StatementFormats

if TYPE_CHECKING:
    from starlette.types import ASGIApp

log = structlog.get_logger(__name__)


class Capability(StrEnum):
    """What a gateway can do (`GatewayCapability` in the API)."""

    REFUND = "REFUND"
    PARTIAL_REFUND = "PARTIAL_REFUND"
    CANCEL = "CANCEL"
    STATUS_CHECK = "STATUS_CHECK"
    CALLBACK = "CALLBACK"
    STORED_METHOD = "STORED_METHOD"
    MANUAL_CONFIRMATION = "MANUAL_CONFIRMATION"
    STATEMENT = "STATEMENT"


class _Broke(Exception):
    """A hook did not give an answer; the message says why."""


@dataclass(frozen=True)
class Plugin:
    """One payment method. `name` is the name of its entry point.

    Whatever a hook does (raise, hang, return nonsense), the methods here answer with an Outcome.
    """

    name: str
    version: str
    module: object
    manager: pluggy.PluginManager
    description: GatewayDescription
    _callers: dict[str, pluggy.HookCaller] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def capabilities(self) -> frozenset[Capability]:
        """Derived from what the module implements, so that it cannot be wrong."""
        has = self.implements
        found = {
            Capability.REFUND: has("refund_payment"),
            Capability.PARTIAL_REFUND: has("refund_payment") and self.description.partial_refunds,
            Capability.CANCEL: has("cancel_payment"),
            Capability.STATUS_CHECK: has("check_payment"),
            Capability.CALLBACK: has("read_webhook"),
            # Where the payer is reached by phone, their number is all that needs to be kept.
            Capability.STORED_METHOD: has("charge_token") or self.description.needs_phone,
            # Where the gateway cannot say what happened, only a person can.
            Capability.MANUAL_CONFIRMATION: not has("check_payment"),
            Capability.STATEMENT: has("statement_formats"),
        }
        return frozenset(capability for capability, present in found.items() if present)

    def implements(self, hook: str) -> bool:
        return hook in self._hooks

    @cached_property
    def _hooks(self) -> frozenset[str]:
        return frozenset(caller.name for caller in self.manager.get_hookcallers(self.module) or ())

    async def initiate_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return await self._outcome("initiate_payment", gateway=gateway, attempt=attempt)

    async def charge_token(self, gateway: Gateway[Any], attempt: Attempt, token: str) -> Outcome:
        return await self._outcome("charge_token", gateway=gateway, attempt=attempt, token=token)

    async def check_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return await self._outcome("check_payment", gateway=gateway, attempt=attempt)

    async def cancel_payment(self, gateway: Gateway[Any], attempt: Attempt) -> Outcome:
        return await self._outcome("cancel_payment", gateway=gateway, attempt=attempt)

    async def refund_payment(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        """NotSent, and only that, lets a machine send the refund again.

        Where a repetition would be paid twice, the plugin's word for it is not enough: nothing of
        this call may have left.
        """
        with recording() as seen:
            outcome = await self._outcome("refund_payment", gateway=gateway, refund=refund)
        if any(exchange.may_have_arrived for exchange in seen.exchanges):
            return self._never_again(outcome)
        return outcome

    async def check_refund(self, gateway: Gateway[Any], refund: Refund) -> Outcome:
        outcome = await self._outcome("check_refund", gateway=gateway, refund=refund)
        return self._never_again(outcome)

    def _never_again(self, outcome: Outcome) -> Outcome:
        """A refund that may have arrived, where sending it again could pay it again."""
        if isinstance(outcome, NotSent) and not self.description.repeatable_refunds:
            return Unknown(cause=f"it may have been paid, a person must look: {outcome.cause}")
        return outcome

    async def check_payer(self, gateway: Gateway[Any], attempt: Attempt) -> Failed | None:
        """Failed when this payer certainly cannot pay. Any doubt is None: go on and ask."""
        if not self.implements("check_payer"):
            return None
        outcome = await self._outcome("check_payer", gateway=gateway, attempt=attempt)
        return outcome if isinstance(outcome, Failed) else None

    async def test_gateway(self, gateway: Gateway[Any]) -> TestReport:
        if not self.implements("test_gateway"):
            return TestReport(ok=True, message=f"{self.description.name} has nothing to test.")
        try:
            report = await self._call("test_gateway", gateway=gateway)
        except _Broke as error:
            return TestReport(ok=False, message=f"The plugin failed while testing: {error}.")
        if not isinstance(report, TestReport):
            return TestReport(ok=False, message=f"The plugin answered {report!r}.")
        return report

    def read_webhook(self, gateway: Gateway[Any], request: WebhookRequest) -> Heard:
        """Raises WebhookRejected, and whatever a broken plugin raises."""
        try:
            heard = self._hook("read_webhook")(gateway=gateway, request=request)
        except SystemExit as error:
            raise RuntimeError("the plugin wanted to end the process") from error
        if not isinstance(heard, Heard):
            raise TypeError(f"read_webhook answered {type(heard).__name__}, not Heard")
        if heard.outcome is not None:
            heard = replace(heard, outcome=checked(heard.outcome, secret_values(gateway.config)))
        if heard.outcome is not None and heard.trust is not Trust.SIGNED:
            gateway.log.warning("outcome of a webhook that is not signed was dropped")
            return replace(heard, outcome=None)
        return heard

    def simulator(self, gateway: Gateway[Any]) -> "ASGIApp | None":
        app: ASGIApp | None = self._hook("simulator")(gateway=gateway)
        return app

    async def _outcome(self, hook: str, **arguments: Any) -> Outcome:
        gateway: Gateway[Any] = arguments["gateway"]
        try:
            outcome = await self._call(hook, **arguments)
        except _Broke as error:
            # Whatever broke, the call may have gone out before: it is unknown, not failed.
            return Unknown(cause=str(error))
        if outcome is None and hook == "check_payer":
            return Accepted()
        try:
            return checked(outcome, secret_values(gateway.config))
        except ValueError as error:
            gateway.log.warning("hook answered nonsense", hook=hook, problem=str(error))
            return Unknown(cause=f"the plugin answered nonsense: {error}")

    async def _call(self, hook: str, **arguments: Any) -> Any:
        """What the hook gave. Raises _Broke, whatever else the plugin did."""
        hidden = secret_values(arguments["gateway"].config)
        try:
            with hiding(*hidden):
                async with asyncio.timeout(self.description.call_timeout):
                    return await self._hook(hook)(**arguments)
        except TimeoutError as error:
            raise _Broke(f"no answer within {self.description.call_timeout:g} s") from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise _Broke("the plugin cancelled its own call") from error
        except (Exception, SystemExit) as error:
            # What a plugin raises may quote its settings.
            with hiding(*hidden):
                arguments["gateway"].log.warning("hook raised", hook=hook, exc_info=True)
            raise _Broke(f"the plugin failed: {type(error).__name__}") from error

    def _hook(self, name: str) -> pluggy.HookCaller:
        """The hook with this gateway's implementation, and the wrappers of control plugins."""
        if name not in self._callers:
            others = [
                plugin
                for plugin in self.manager.get_plugins()
                if plugin is not self.module and not self._wraps(plugin, name)
            ]
            self._callers[name] = self.manager.subset_hook_caller(name, others)
        return self._callers[name]

    def forget_callers(self) -> None:
        """What was registered since is left out, or wraps, from now on."""
        self._callers.clear()

    def _wraps(self, plugin: object, name: str) -> bool:
        return any(
            implementation.plugin is plugin
            and (implementation.wrapper or implementation.hookwrapper)
            for implementation in getattr(self.manager.hook, name).get_hookimpls()
        )


@dataclass(frozen=True)
class Channel:
    """One way to tell people what happened. `name` is the name of its entry point.

    Whatever its hook does (raise, hang, return nonsense), `send` answers.
    """

    name: str
    description: ChannelDescription
    _send: pluggy.HookCaller = field(repr=False, compare=False)

    async def send(self, message: Message) -> Delivery:
        """Whatever broke, the message may have gone out before: it is unclear, not undelivered."""
        try:
            async with asyncio.timeout(self.description.call_timeout):
                delivery = await self._send(message=message)
        except TimeoutError:
            return Unclear(cause=f"no answer within {self.description.call_timeout:g} s")
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return Unclear(cause="the plugin cancelled its own call")
        except (Exception, SystemExit) as error:
            log.warning("hook raised", hook="send_message", channel=self.name, exc_info=True)
            return Unclear(cause=f"the plugin failed: {type(error).__name__}")
        if not isinstance(delivery, Delivered | NotDelivered | Unclear):
            return Unclear(cause=f"the plugin answered nonsense: {type(delivery).__name__}")
        return delivery


@dataclass
class Plugins:
    """What is installed: `gateways` and `channels` by name, and what was left out as broken."""

    manager: pluggy.PluginManager
    gateways: dict[str, Plugin] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    fiscal: FiscalPlugin | None = None
    broken: dict[str, str] = field(default_factory=dict)
    _formats: StatementFormats | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls,
        modules: Mapping[str, object] | None = None,
        *,
        installed: Iterable[EntryPoint] | None = None,
    ) -> "Plugins":
        """Every installed plugin, and `modules` (by name) beside them.

        A plugin that cannot be loaded is reported and left out; the rest works. Raises CannotStart
        when a plugin does: without its limits, say, there shall be no payments.
        """
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        plugins = cls(manager)
        found = entry_points(group=PROJECT) if installed is None else installed
        for point in sorted(found, key=lambda point: point.name):
            plugins._load(point)
        for name, module in (modules or {}).items():
            plugins.register(name, module, version="0")
        plugins.statement_formats()  # so that what is wrong with them is known at once
        return plugins

    def __getitem__(self, name: str) -> Plugin:
        try:
            return self.gateways[name]
        except KeyError:
            known = ", ".join(sorted(self.gateways)) or "none"
            raise GatewayNotFound(
                f"There is no plugin {name!r} installed. Installed: {known}."
            ) from None

    def register(self, name: str, module: object, version: str) -> None:
        """Adds a plugin; raises what pluggy raises for hooks that do not fit."""
        if name in self.gateways or self.manager.has_plugin(name):
            raise ValueError(f"There is another plugin {name!r} already.")
        # pluggy puts plugins into sets, at every call: one that cannot be hashed would break all.
        hash(module)
        try:
            self.manager.register(module, name)
            self.manager.check_pending()
            description = self._describe(module)
            channel = self._describe_channel(module)
            fiscal = self._describe_fiscal(name, module)
            if description is not None and self._wraps_any(module):
                raise ValueError(  # noqa: TRY301 - undone below, like what pluggy raises
                    "A gateway may not wrap hooks: put the wrapper into a plugin of its own."
                )
        # Half a plugin must not stay: what pluggy took in before it raised is taken out.
        except (Exception, SystemExit):
            if self.manager.get_plugin(name) is module:
                self.manager.unregister(module)
            raise
        self._formats = None
        for plugin in self.gateways.values():
            plugin.forget_callers()
        if description is not None:
            self.gateways[name] = Plugin(name, version, module, self.manager, description)
        if channel is not None:
            others = [other for other in self.manager.get_plugins() if other is not module]
            send = self.manager.subset_hook_caller("send_message", others)
            self.channels[name] = Channel(name, channel, send)
        if fiscal is not None:
            self.fiscal = FiscalPlugin(name, module, self.manager, fiscal)

    def _wraps_any(self, module: object) -> bool:
        return any(
            implementation.plugin is module
            and (implementation.wrapper or implementation.hookwrapper)
            for caller in self.manager.get_hookcallers(module) or ()
            for implementation in caller.get_hookimpls()
        )

    def _load(self, point: EntryPoint) -> None:
        try:
            module = point.load()
            version = point.dist.version if point.dist is not None else "0"
            self.register(point.name, module, version)
        except CannotStart:
            raise
        # A stranger's code may raise anything when it is imported, even SystemExit.
        except (Exception, SystemExit) as error:
            self.broken[point.name] = f"{type(error).__name__}: {error}"
            log.exception("plugin left out: it could not be loaded", plugin=point.name)

    def _describe(self, module: object) -> GatewayDescription | None:
        describe = getattr(module, "describe_gateway", None)
        if describe is None or self.manager.parse_hookimpl_opts(module, "describe_gateway") is None:
            return None
        description = describe()
        if not isinstance(description, GatewayDescription):
            raise TypeError(f"describe_gateway answered {type(description).__name__}")
        json.dumps(description.config.model_json_schema())
        return description

    def _describe_channel(self, module: object) -> ChannelDescription | None:
        describe = getattr(module, "describe_channel", None)
        if describe is None or self.manager.parse_hookimpl_opts(module, "describe_channel") is None:
            return None
        description = describe()
        if description is not None and not isinstance(description, ChannelDescription):
            raise TypeError(f"describe_channel answered {type(description).__name__}")
        if self.manager.parse_hookimpl_opts(module, "send_message") is None:
            raise ValueError("A channel needs the hook send_message.")
        return description

    def _describe_fiscal(self, name: str, module: object) -> FiscalDescription | None:
        if not self._has(module, "describe_fiscal_device"):
            return None
        description = getattr(module, "describe_fiscal_device")()  # noqa: B009 - a hook's name
        if description is not None and not isinstance(description, FiscalDescription):
            raise TypeError(f"describe_fiscal_device answered {type(description).__name__}")
        needed = ("initialize_fiscal_device", "declare_item", "sign_document")
        if missing := [hook for hook in needed if not self._has(module, hook)]:
            raise ValueError(f"A fiscal device needs the hook {missing[0]}.")
        if description is not None and self.fiscal is not None:
            # Each sale has to be declared once: with two devices, both would.
            raise CannotStart(
                f"{self.fiscal.name} and {name} would both sign receipts. Configure one of them."
            )
        return description

    def _has(self, module: object, hook: str) -> bool:
        return (
            getattr(module, hook, None) is not None
            and self.manager.parse_hookimpl_opts(module, hook) is not None
        )

    def statement_formats(self) -> StatementFormats:
        """Every statement format and mapping profile that the plugins give.

        A plugin that raises or answers nonsense is reported and left out, and so is a name that
        another plugin, before it by name, has given already: the others work.
        """
        if self._formats is None:
            formats: dict[str, StatementFormat] = {}
            profiles: dict[str, MappingProfile] = {}
            modules: set[str] = set()
            for name, module in sorted(self.manager.list_name_plugin(), key=lambda one: one[0]):
                if module is None or not self._has(module, "statement_formats"):
                    continue
                for given in self._given_formats(name, module):
                    taken = (
                        given.name in formats
                        if isinstance(given, StatementFormat)
                        else given.code in profiles
                    )
                    if taken:
                        self._report(name, f"another plugin gives {_name_of(given)!r} already")
                    elif isinstance(given, StatementFormat):
                        formats[given.name] = given
                        if isinstance(module, ModuleType):
                            modules.add(module.__name__)
                    else:
                        profiles[given.code] = given
            self._formats = StatementFormats(
                formats=formats, profiles=profiles, modules=sorted(modules)
            )
        return self._formats

    def _given_formats(
        self, name: str, module: object
    ) -> Sequence[StatementFormat | MappingProfile]:
        others = [other for other in self.manager.get_plugins() if other is not module]
        try:
            answers = self.manager.subset_hook_caller("statement_formats", others)()
            given = [_named(one) for answer in answers for one in answer]
        # A stranger's code may raise anything.
        except (Exception, SystemExit) as error:
            self._report(name, f"statement_formats failed: {type(error).__name__}: {error}")
            return []
        return given

    def _report(self, name: str, problem: str) -> None:
        self.broken[name] = problem
        log.warning("statement formats left out", plugin=name, problem=problem)

    def simulate_fiscal(self, address: str) -> "tuple[str, ASGIApp] | None":
        """Takes the simulator of the first plugin that has one for the fiscal device, whatever
        was configured: nobody tries things out at a tax authority's.

        address: what its name is put behind; where the app that is given has to answer.
        None, and no device, when no plugin has a simulator.
        """
        self.fiscal = None
        for name, module in self.manager.list_name_plugin():
            if module is None or not self._has(module, "fiscal_simulator"):
                continue
            found = simulated(name, module, self.manager, f"{address}/{name}")
            if found is not None:
                self.fiscal = FiscalPlugin(name, module, self.manager, found.description)
                return name, found.app
        return None


def _named(one: object) -> StatementFormat | MappingProfile:
    """What a plugin gave, if it is what it should be. Raises TypeError."""
    if not isinstance(one, StatementFormat | MappingProfile):
        raise TypeError(f"it gave {type(one).__name__}")
    if not isinstance(_name_of(one), str) or not _name_of(one):
        raise TypeError("it gave one without a name")
    return one


def _name_of(given: StatementFormat | MappingProfile) -> str:
    return given.name if isinstance(given, StatementFormat) else given.code
