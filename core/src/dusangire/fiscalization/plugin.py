"""The plugin that talks to a fiscal device: whatever it does, core sees an outcome."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pluggy
import structlog

from dusangire.exchanges import open_client, secret_values
from dusangire.fiscal import (
    AlreadyDeclared,
    Declared,
    FiscalDescription,
    FiscalDevice,
    FiscalDocument,
    FiscalItem,
    FiscalSimulator,
    Initialized,
    InitialOutcome,
    ItemOutcome,
    NotSent,
    Rejected,
    Signed,
    SigningOutcome,
    Unknown,
)
from dusangire.gateway import Clock
from dusangire.masking import mask_json, mask_text
from dusangire.text import printable

log = structlog.get_logger(__name__)

_MAX_WORDS = 500


@dataclass(frozen=True)
class FiscalPlugin:
    """The one active plugin that signs receipts. `name` is the name of its entry point.

    transport: where its calls go in tests; None: to the network.
    """

    name: str
    module: object
    manager: pluggy.PluginManager
    description: FiscalDescription
    transport: httpx.AsyncBaseTransport | None = None

    @asynccontextmanager
    async def opened(self, clock: Clock) -> AsyncIterator[FiscalDevice]:
        """The device with a client of its own. Raises nothing: no call is made."""
        async with open_client(
            self.description.base_url,
            secrets=self._secrets,
            transport=self.transport,
            timeout=self.description.call_timeout,
            connections=2,
        ) as http:
            yield FiscalDevice(description=self.description, http=http, clock=clock, log=log)

    async def initialize(self, device: FiscalDevice) -> InitialOutcome:
        kinds = (Initialized, Rejected, NotSent, Unknown)
        outcome: InitialOutcome = await self._call("initialize_fiscal_device", kinds, device=device)
        return outcome

    async def declare(self, device: FiscalDevice, item: FiscalItem) -> ItemOutcome:
        kinds = (Declared, Rejected, NotSent, Unknown)
        outcome: ItemOutcome = await self._call("declare_item", kinds, device=device, item=item)
        return outcome

    async def sign(self, device: FiscalDevice, document: FiscalDocument) -> SigningOutcome:
        kinds = (Signed, AlreadyDeclared, Rejected, NotSent, Unknown)
        outcome: SigningOutcome = await self._call(
            "sign_document", kinds, device=device, document=document
        )
        if isinstance(outcome, Signed) and (problem := _problem(outcome)):
            # It was declared, but what came back is no receipt: never to be declared again.
            return Unknown(cause=f"the receipt cannot be used: {problem}")
        return outcome

    async def _call(self, hook: str, kinds: tuple[type, ...], **arguments: Any) -> Any:
        try:
            async with asyncio.timeout(self.description.call_timeout):
                outcome = await self._hook(hook)(**arguments)
        except TimeoutError:
            return Unknown(cause=f"no answer within {self.description.call_timeout:g} s")
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return Unknown(cause="the plugin cancelled its own call")
        except (Exception, SystemExit) as error:
            log.warning("fiscal hook raised", hook=hook, exc_info=True)
            # Whatever broke, the call may have gone out before: it is unknown, not rejected.
            return Unknown(cause=f"the plugin failed: {type(error).__name__}")
        if not isinstance(outcome, kinds):
            return Unknown(cause=f"the plugin answered {type(outcome).__name__}")
        return self._tidy(outcome)

    def _tidy(self, outcome: Any) -> Any:
        """Its words printable, masked and cut, so that they can be stored."""

        def words(text: object) -> str:
            return mask_text(printable(str(text)), self._secrets)[:_MAX_WORDS]

        match outcome:
            case Rejected() | AlreadyDeclared():
                return replace(outcome, code=words(outcome.code), message=words(outcome.message))
            case NotSent() | Unknown():
                return replace(outcome, cause=words(outcome.cause))
            case Signed():
                return replace(outcome, raw=mask_json(outcome.raw, self._secrets))
        return outcome

    def _hook(self, name: str) -> pluggy.HookCaller:
        others = [one for one in self.manager.get_plugins() if one is not self.module]
        return self.manager.subset_hook_caller(name, others)

    @property
    def _secrets(self) -> list[str]:
        return secret_values(self.description.config)


def simulated(
    name: str, module: object, manager: pluggy.PluginManager, base_url: str
) -> FiscalSimulator | None:
    """A plugin's simulator, if it has one."""
    others = [one for one in manager.get_plugins() if one is not module]
    hook: Callable[..., FiscalSimulator | None] = manager.subset_hook_caller(
        "fiscal_simulator", others
    )
    return hook(base_url=base_url)


def _problem(signed: Signed) -> str | None:
    for name in ("receipt_number", "total_number"):
        value = getattr(signed, name)
        if not isinstance(value, int) or not 0 < value < 2**63:
            return f"{name} is {value!r:.40}"
    for name in ("sdc_id", "mrc_no", "internal_data", "signature"):
        text = getattr(signed, name)
        if not isinstance(text, str) or not 0 < len(text) <= 100 or not text.isprintable():
            return f"{name} is {text!r:.40}"
    if signed.signed_at.tzinfo is None:
        return "its time has no zone"
    return None
