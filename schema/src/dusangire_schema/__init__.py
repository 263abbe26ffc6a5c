"""The GraphQL words for payments."""

from dusangire_schema.context import Context, context_of
from dusangire_schema.execution import Memory, PlainExecutor
from dusangire_schema.schema import executable, plans, schema, sdl
from dusangire_schema.shortcut import Shortcut, shortcut

__all__ = [
    "Context",
    "Memory",
    "PlainExecutor",
    "Shortcut",
    "context_of",
    "executable",
    "plans",
    "schema",
    "sdl",
    "shortcut",
]
