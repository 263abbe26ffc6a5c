"""The web process, the worker and the command line."""
