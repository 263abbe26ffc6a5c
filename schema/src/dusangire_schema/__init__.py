"""The GraphQL words for payments."""

from dusangire_schema.context import Context
from dusangire_schema.execution import Memory, PlainExecutor
from dusangire_schema.schema import executable, plans, schema, sdl

__all__ = ["Context", "Memory", "PlainExecutor", "executable", "plans", "schema", "sdl"]
