"""DUSANGIRE payments: what a payment is. Importing this does nothing and stays light."""

import pluggy

PROJECT = "dusangire"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

__all__ = ["PROJECT", "hookimpl", "hookspec"]
