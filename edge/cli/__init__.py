"""The command line: one module a command. `main` is the entry point of `shelfmatch` and `python -m shelfmatch.edge.cli`."""

from .app import main

__all__ = ["main"]
