"""The command line, `dusangire`: a module for each command or group of commands."""

from dusangire_server.cli.main import main

__all__ = ["main"]
