"""What an author may have forgotten: nothing of it is broken, all of it is missed one day."""

from collections.abc import Iterator

from dusangire.gateway import FailureCode, GatewayConfig
from dusangire.masking import is_secret_name
from dusangire.plugins import Plugin

# What is stored and shown as it is.
_SHOWN = (str, str | None)


def advice(plugin: Plugin) -> list[str]:
    """Sentences: what is missing, and what that costs."""
    return [*_of_hooks(plugin), *_of_codes(plugin), *_of_config(plugin), *_of_looks(plugin)]


def has_network(plugin: Plugin) -> bool:
    """Whether there is a provider behind it. Cash has none."""
    fields = plugin.description.config.model_fields
    return "base_url" in fields or plugin.implements("simulator")


def _of_hooks(plugin: Plugin) -> Iterator[str]:
    has = plugin.implements
    if has("refund_payment") and not has("check_refund"):
        yield "refund_payment without check_refund: a refund whose answer is lost stays unknown."
    if not has_network(plugin):
        return
    if not has("check_payment"):
        yield "No check_payment: a person has to confirm every payment whose answer is lost."
    if not has("simulator"):
        yield "No simulator: the demo cannot offer it, and nothing about the wire is checked."
    if not has("test_gateway"):
        yield "No test_gateway: a wrong setting is found by the first payer."


def _of_codes(plugin: Plugin) -> Iterator[str]:
    codes = plugin.description.codes
    if has_network(plugin) and not codes:
        yield "The description has no codes: staff read the provider's words, and none is counted."
    others = sorted(code for code, one in codes.items() if one.failure is FailureCode.OTHER)
    if others:
        yield f"These codes mean OTHER, which tells payers nothing: {', '.join(others)}."


def _of_config(plugin: Plugin) -> Iterator[str]:
    for name, field in plugin.description.config.model_fields.items():
        if name in GatewayConfig.model_fields:
            continue
        if is_secret_name(name) and field.annotation in _SHOWN:
            yield f"The setting {name} looks like a secret and is no SecretStr: it is shown."
        if not field.description:
            yield f"The setting {name} has no description: nobody knows what to type in."


def _of_looks(plugin: Plugin) -> Iterator[str]:
    if plugin.description.example_config is None:
        yield "No example_config: neither demo nor contract has an account to try it with."
    if plugin.description.brand_color is None:
        yield "No brand_color: payers see it in grey."
