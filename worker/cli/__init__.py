"""The `innerloop` command. Each sub-command is a module here; `main` is the entry point."""

from worker.cli.app import main

__all__ = ["main"]
